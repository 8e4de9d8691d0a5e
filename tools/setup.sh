#!/usr/bin/env bash
# Installs what is missing, and only that: Debian packages, then .venv with PyTorch (whose libtorch the program links) and,
# where asked, what the tests need. A second run looks and does nothing.
#   tools/setup.sh build|test|lint|train
# TORCH   pip's name of the PyTorch to install (default torch==2.13.0). A choice made once is kept until another is made.
#         pip's own settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS) choose where from.
# PYTHON  the Python that makes .venv (default python3); 3.11 or newer.
# Exit codes: 0 all there, 2 something that the user must do (the line to run is printed), else the failing command's.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose="${1:-build}"
default_torch="torch==2.13.0"
say() { printf 'setup: %s\n' "$*"; }
stop() { printf 'setup: %s\n' "$@" >&2; exit 2; }

# package[:program that does as well as the package]
packages=(ca-certificates g++:g++ cmake:cmake ninja-build:ninja ccache:ccache pkg-config:pkg-config git:git python3:python3
          libvips-dev libstb-dev doctest-dev nlohmann-json3-dev libcli11-dev libtomlplusplus-dev
          libgloo-dev libsqlitecpp-dev libsqlite3-dev libcpp-httplib-dev prometheus-cpp-dev zlib1g-dev libarchive-dev)
case "$purpose" in
  build | train) ;;
  test)
    # Other programs' view of our files (tests/restore), man pages and completions (tests/cli).
    packages+=(libimage-exiftool-perl imagemagick libvips-tools mandoc zsh fish bash-completion)
    # tests/web; Ubuntu has it as a snap alone, and the tests say that they are left out
    grep -qs '^ID=ubuntu' /etc/os-release || packages+=(chromium:chromium) ;;
  lint) packages+=(clang-tidy:clang-tidy) ;;
  *) stop "unknown purpose '$purpose': wanted build, test, lint or train" ;;
esac

have_package() {
  local package="${1%%:*}" program=""
  [[ "$1" == *:* ]] && program="${1##*:}"
  if [[ -n "$program" ]] && command -v "$program" >/dev/null 2>&1; then return 0; fi
  [[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" == installed ]]
}

# install_packages NAME...: as root or through a sudo that asks nothing; otherwise says what to run.
install_packages() {
  local as_root=()
  if ! command -v apt-get >/dev/null 2>&1; then
    stop "this system has no apt-get; resflow is built on Debian 12 and Ubuntu 24.04." "Install what these packages hold: $*"
  fi
  if [[ "$(id -u)" != 0 ]]; then
    if ! sudo -n true >/dev/null 2>&1; then
      stop "packages are missing and this is not root. Run this line, then the same make command again:" \
        "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $*"
    fi
    as_root=(sudo -n)
  fi
  say "installing $*"
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

python="${PYTHON:-python3}"
can_make_venv() { "$1" -c 'import venv, ensurepip' 2>/dev/null; }
have_venv() { [[ -x .venv/bin/python ]] && .venv/bin/python -c 'import pip' 2>/dev/null; }

# The Python module is built for the Python of .venv; Debian's own has its headers in a package of their own.
has_headers() { "$1" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))' 2>/dev/null; }
is_debians() { [[ "$("$1" -c 'import sys; print(sys.base_prefix)' 2>/dev/null)" == /usr ]]; }

missing=()
for package in "${packages[@]}"; do have_package "$package" || missing+=("${package%%:*}"); done
have_venv || can_make_venv "$python" || missing+=(python3-venv)
module_python="$python"
have_venv && module_python=.venv/bin/python
if [[ "$purpose" != train ]] && ! has_headers "$module_python"; then
  if ! command -v "$module_python" >/dev/null 2>&1 || is_debians "$module_python"; then
    missing+=(python3-dev)
  else
    say "no Python.h for $module_python: the Python module will be left out. Install that Python's headers to have it"
  fi
fi
[[ ${#missing[@]} == 0 ]] || install_packages "${missing[@]}"

# --- .venv ------------------------------------------------------------------------------------------------------------------
if ! have_venv; then
  # A python3 of the user's own has no use for Debian's package: then Debian's Python makes the .venv.
  can_make_venv "$python" || python=/usr/bin/python3
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "Python 3.11 or newer is needed, $("$python" --version) found. Name another one: make PYTHON=/path/to/python3.12"
  say "making .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv
fi

# pip_once STAMP WANTED ARGUMENTS...: runs `pip install ARGUMENTS` unless the stamp says WANTED.
pip_once() {
  local stamp=".venv/$1" wanted="$2"
  shift 2
  if [[ -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]]; then return 0; fi
  say "pip install $*"
  .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off "$@"
  printf '%s\n' "$wanted" >"$stamp"
}

torch="${TORCH:-}"
if [[ -z "$torch" && -f .venv/resflow-torch && "$(cat .venv/resflow-torch)" == chosen\ * ]]; then
  torch="$(cut -d' ' -f2- .venv/resflow-torch)"
fi
chosen="chosen $torch"
if [[ -z "$torch" || "$torch" == "$default_torch" ]]; then torch="$default_torch" chosen="$default_torch"; fi
# shellcheck disable=SC2086  # TORCH may hold several words, such as options of pip
pip_once resflow-torch "$chosen" $torch

if [[ "$purpose" == test || "$purpose" == lint ]]; then
  pip_once resflow-test "$(sha256sum <tools/requirements-test.txt)" -r tools/requirements-test.txt
fi
if [[ "$purpose" == train ]]; then
  pip_once resflow-train "$(sha256sum <tools/requirements-train.txt)" -r tools/requirements-test.txt -r tools/requirements-train.txt
fi
