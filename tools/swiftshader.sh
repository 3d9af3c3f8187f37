#!/bin/bash
# Prints the path of a Vulkan ICD file for SwiftShader, fetching the driver first when missing.
#
# SwiftShader is a Vulkan driver in software with small limits (256 invocations, subgroups of 4, no
# 16-bit types), so it runs the fallbacks that other drivers never reach. Debian ships it inside the
# chromium-common package: two files of it are kept, nothing is installed.
#
# VKATTN_SWIFTSHADER_DIR   where they live   [${XDG_CACHE_HOME:-~/.cache}/vkattn/swiftshader]
set -euo pipefail

dir=${VKATTN_SWIFTSHADER_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/vkattn/swiftshader}
icd=$dir/vk_swiftshader_icd.json

files=(./usr/lib/chromium/libvk_swiftshader.so ./usr/lib/chromium/vk_swiftshader_icd.json)

fetch() { # into the current folder
  local p
  for p in chromium-common chromium; do # it has moved between the two
    apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download $p >&2 || continue
    dpkg-deb --fsys-tarfile ${p}_*.deb | tar -xf - --strip-components=4 "${files[@]}" 2>/dev/null && return
  done
  return 1
}

if [ ! -s "$icd" ]; then
  mkdir -p "$(dirname "$dir")"
  exec 9>"$dir.lock"
  flock 9
fi
if [ ! -s "$icd" ]; then
  command -v apt-get >/dev/null || { echo "swiftshader.sh: needs a Debian machine (apt-get)" >&2; exit 1; }
  new=$(mktemp -d "$dir.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  cd "$new"
  echo "swiftshader.sh: taking SwiftShader out of Debian's chromium-common package (32 MB)" >&2
  if ! fetch; then
    echo "swiftshader.sh: once more, with fresh package lists" >&2
    apt-get -qq -o Acquire::Check-Valid-Until=false update >&2 || true
    fetch || { echo "swiftshader.sh: no chromium package holds it" >&2; exit 1; }
  fi
  rm -- *.deb
  chmod 755 .
  cd /
  rm -rf "$dir"
  mv "$new" "$dir"
  trap - EXIT
fi
echo "$icd"
