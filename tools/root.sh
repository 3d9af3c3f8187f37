#!/bin/bash
# A Debian sid root with a current shader compiler (glslc, spirv-val) and a current Mesa.
#
#   tools/root.sh path         print its folder, building it first when missing
#   tools/root.sh exec CMD...  run CMD inside it, in this folder, with this repository visible
#   tools/root.sh versions     print what it holds
#   tools/root.sh remove       delete it
#
# VKATTN_ROOT_DIR        where it lives   [${XDG_CACHE_HOME:-~/.cache}/vkattn/root-sid]
# VKATTN_DEBIAN_MIRROR   a Debian archive [the one that apt uses on this machine]
#
# Building needs root, about a minute and 1 GB. Nothing outside the folder changes, but that
# debootstrap is installed when missing. Why: the compilers of older Debians refuse cooperative
# matrices, bfloat16 and integer dot products. Users need none of this, SPIR-V is committed.
set -euo pipefail

suite=sid
packages=(glslang-tools glslc spirv-tools libvulkan1 mesa-vulkan-drivers vulkan-validationlayers
  vulkan-tools)
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
root=${VKATTN_ROOT_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vkattn/root-$suite}
case $root in /*) ;; *) root=$PWD/$root ;; esac
stamp=$root/.vkattn-root

say() { echo "root.sh: $*" >&2; }
die() { say "$*"; exit 1; }

retry() { # CMD...: up to four times
  local n
  for n in 1 2 3; do
    if "$@"; then return 0; fi
    say "failed ($n of 4): $*"
    sleep $((n * 5))
  done
  "$@"
}

# The archive that this machine installs Debian from: from apt itself, else from its sources.
mirror() {
  if [ -n "${VKATTN_DEBIAN_MIRROR:-}" ]; then echo "$VKATTN_DEBIAN_MIRROR"; return; fi
  local found
  found=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk '$1 == "Debian" {print $2; exit}')
  if [ -z "$found" ]; then
    found=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
      awk '/^[[:space:]]*#/ {next} /^(deb |URIs:)/ {for (i = 1; i <= NF; i++) if ($i ~ /^[a-z+]*:\/\/.*\/debian\/?$/) {print $i; exit}}')
  fi
  [ -n "$found" ] || die "no Debian archive in /etc/apt; set VKATTN_DEBIAN_MIRROR"
  echo "${found%/}"
}

inside() { # DIR CMD...: run in a root, with this machine's settings for the network
  local dir=$1
  shift
  env -u LD_LIBRARY_PATH -u LD_PRELOAD DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot "$dir" "$@"
}

install_packages() { # DIR
  local dir=$1 uri
  uri=$(mirror)
  echo "deb $uri $suite main" >"$dir/etc/apt/sources.list"
  rm -f "$dir"/etc/apt/sources.list.d/*
  {
    echo 'Acquire::Check-Valid-Until "false"; Acquire::Check-Date "false"; Acquire::Languages "none";'
    echo 'Acquire::Retries "5"; APT::Install-Recommends "false"; APT::Sandbox::User "root"; Dpkg::Use-Pty "0";'
    apt-config dump 2>/dev/null | grep -iE '^Acquire::(https?|ftp)(::[a-z-]+)*::Proxy|^Acquire::https?::Proxy' || true
  } >"$dir/etc/apt/apt.conf.d/99vkattn"
  printf 'force-unsafe-io\npath-exclude=/usr/share/%s/*\n' doc >"$dir/etc/dpkg/dpkg.cfg.d/vkattn"
  printf 'path-exclude=/usr/share/%s/*\n' man locale info >>"$dir/etc/dpkg/dpkg.cfg.d/vkattn"
  local f
  for f in /etc/resolv.conf /etc/hosts; do
    if [ -r $f ]; then rm -f "$dir$f" && cat $f >"$dir$f"; fi
  done
  if [ -r /etc/ssl/certs/ca-certificates.crt ] && [ ! -e "$dir/etc/ssl/certs/ca-certificates.crt" ]; then
    mkdir -p "$dir/etc/ssl/certs" && cat /etc/ssl/certs/ca-certificates.crt >"$dir/etc/ssl/certs/ca-certificates.crt"
  fi
  retry inside "$dir" apt-get -qq update
  retry inside "$dir" apt-get -qq -y install "${packages[@]}" >"$dir/var/log/vkattn-install.log"
  rm -rf "$dir"/var/cache/apt/*.bin "$dir"/var/cache/apt/archives/*.deb "$dir"/var/lib/apt/lists/* \
    "$dir"/usr/share/{doc,man,locale,info}
}

build() {
  [ "$(id -u)" = 0 ] || die "building $root needs root (debootstrap, chroot)"
  mkdir -p "$(dirname "$root")"
  exec 9>"$root.lock"
  flock -n 9 || { say "another run builds $root, waiting"; flock 9; }
  [ "$(cat "$stamp" 2>/dev/null)" = "${packages[*]}" ] && return
  if [ -e "$stamp" ]; then
    say "adding packages to $root"
    rm -f "$stamp"
    install_packages "$root"
    echo "${packages[*]}" >"$stamp"
    return
  fi
  local began=$SECONDS new=$root.new
  say "building $root (Debian $suite: ${packages[*]})"
  if ! command -v debootstrap >/dev/null; then
    say "installing debootstrap"
    retry apt-get -qq -o Acquire::Check-Valid-Until=false update
    retry apt-get -qq -y --no-install-recommends install debootstrap >/dev/null
  fi
  local uri
  uri=$(mirror)
  rm -rf --one-file-system "$new" "$root"
  # debootstrap checks the signature of the Release file, not its age.
  if ! debootstrap --variant=minbase "$suite" "$new" "$uri" >"$root.log" 2>&1; then
    say "debootstrap failed, once more; the log is $root.log"
    rm -rf --one-file-system "$new"
    debootstrap --variant=minbase "$suite" "$new" "$uri" >"$root.log" 2>&1 || { tail -20 "$root.log" >&2; exit 1; }
  fi
  install_packages "$new"
  echo "${packages[*]}" >"$new/.vkattn-root"
  mv "$new" "$root"
  rm -f "$root.log"
  say "built in $((SECONDS - began)) s, $(du -shx "$root" | cut -f1)"
}

ensure() {
  if [ "$(cat "$stamp" 2>/dev/null)" != "${packages[*]}" ]; then
    # In a mount namespace of its own, so that no mount of debootstrap outlives it.
    if unshare --mount true 2>/dev/null; then
      unshare --mount --propagation private "${BASH_SOURCE[0]}" build
    else
      build
    fi
  fi
}

# Runs "$@" in the root with /proc, /dev, /sys, /tmp and the repository mounted, all in a private
# namespace that ends with the command.
exec_mounted() {
  local ns=(unshare --mount --propagation private)
  [ "$(id -u)" = 0 ] || ns+=(--map-root-user)
  exec "${ns[@]}" bash -euc '
    root=$1 repo=$2 dir=$3
    shift 3
    mkdir -p "$root$repo"
    mount --bind "$root" "$root"
    for d in /proc /dev /sys /tmp; do mount --rbind $d "$root$d"; done
    mkdir -p "$root$repo"
    mount --bind "$repo" "$root$repo"
    export PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin
    unset LD_LIBRARY_PATH LD_PRELOAD
    exec chroot "$root" /bin/sh -c "cd \"\$0\" && exec \"\$@\"" "$dir" "$@"
  ' root.sh "$root" "$repo" "$1" "${@:2}"
}

# The same without mounts: the repository is copied in, and what CMD wrote there is copied out.
exec_copied() {
  local dir=$1 rc=0
  shift
  exec 8>"$root.copy.lock"
  flock 8 # one copy at a time
  say "no mounts permitted: working on a copy of the repository"
  rm -rf --one-file-system "$root$repo"
  mkdir -p "$root$repo"
  tar -C "$repo" --exclude=./.git -cf - . | tar -C "$root$repo" -xf -
  touch "$root/.copied"
  sleep 0.05
  inside "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$dir" "$@" || rc=$?
  (cd "$root$repo" && find . -type f -newer "$root/.copied" -print0 | tar --null -T - -cf -) | tar -C "$repo" -xf -
  rm -rf --one-file-system "$root$repo"
  return $rc
}

case ${1:-} in
build) build ;;
path) ensure; echo "$root" ;;
versions)
  ensure
  inside "$root" sh -c 'glslc --version | head -1; spirv-val --version | head -1; dpkg-query -W mesa-vulkan-drivers vulkan-validationlayers'
  ;;
remove)
  rm -rf --one-file-system "$root" "$root.new" "$root.log" "$root.lock" "$root.copy.lock"
  ;;
exec)
  shift
  [ $# -gt 0 ] || die "exec needs a command"
  ensure
  dir=$PWD
  case $dir/ in "$repo"/* | /tmp/*) ;; *) dir=$repo ;; esac
  if [ -z "${VKATTN_ROOT_COPY:-}" ] && unshare --mount $([ "$(id -u)" = 0 ] || echo --map-root-user) \
    sh -c "mkdir -p '$root/proc' && mount --rbind /proc '$root/proc'" 2>/dev/null; then
    exec_mounted "$dir" "$@"
  else
    exec_copied "$dir" "$@"
  fi
  ;;
*)
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
  ;;
esac
