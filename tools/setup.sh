#!/bin/bash
# Installs what is missing to build, run and test vkattn on a Debian machine, and nothing else.
#
#   tools/setup.sh             C compiler, make; Vulkan loader and a driver when the machine has none
#   tools/setup.sh test        also lavapipe, the software driver that `make test` runs on
#   tools/setup.sh windows     the cross compiler for Windows
#   tools/setup.sh validation  the Vulkan validation layers
#   tools/setup.sh browser     Chromium, for the test that looks at the report's page
#
# What is there is left alone. Without root or apt-get it says what to install and succeeds: vkattn then
# builds without Vulkan, and runs on the CPU.
set -euo pipefail

say() { echo "setup: $*" >&2; }

have_loader() { # ldconfig may not be on the PATH of a user
  # Not a pipe into grep -q: it may end before ldconfig has, which pipefail takes for a failure.
  [[ $(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null) == *libvulkan.so.1* ]]
}

have_driver() { # NAME: is there an ICD file of this name, or any for ''
  if [ -z "$1" ] && [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ]; then return 0; fi
  local d
  for d in /usr/share /etc /usr/local/share /usr/local/etc; do
    compgen -G "$d/vulkan/icd.d/$1*.json" >/dev/null && return 0
  done
  return 1
}

have_layers() { compgen -G '/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json' >/dev/null; }

missing=()
need() { missing+=("$@"); }

check_base() {
  command -v go >/dev/null || { say "Go is missing: get 1.25 or later from https://go.dev/dl"; exit 1; }
  command -v "${CC:-gcc}" >/dev/null || need gcc libc6-dev
  command -v make >/dev/null || need make
  have_loader || need libvulkan1
  have_driver '' || need mesa-vulkan-drivers
}

for part in "${@:-base}"; do
  case $part in
  base) check_base ;;
  test) check_base; have_driver lvp_icd || need mesa-vulkan-drivers ;;
  windows) command -v x86_64-w64-mingw32-gcc >/dev/null || need gcc-mingw-w64-x86-64-win32 ;;
  validation) have_layers || need vulkan-validationlayers ;;
  browser) command -v chromium >/dev/null || need chromium ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac
done

[ ${#missing[@]} -gt 0 ] || exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if ! command -v apt-get >/dev/null; then
  say "missing here, under their Debian names: ${missing[*]}; install them with this system's tools"
  exit 0
fi
if [ "$(id -u)" != 0 ]; then
  say "missing: ${missing[*]}; as root: apt-get install ${missing[*]}"
  exit 0
fi
say "installing ${missing[*]}"
install() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 \
    -o Acquire::Retries=3 install "${missing[@]}" >/dev/null
}
install 2>/dev/null && exit 0
for pause in 0 5 15; do
  sleep $pause
  apt-get -qq -o Acquire::Check-Valid-Until=false update || continue
  install && exit 0
done
say "could not install ${missing[*]}"
exit 1
