#!/usr/bin/env bash
# To be sourced: installs packages, and never asks anybody anything.
set -euo pipefail

# need COMMAND PACKAGE: installs the package where the command is missing.
need() {
    command -v "$1" >/dev/null && return
    apt_install "$2"
    command -v "$1" >/dev/null || { echo "e2e: $2 has brought no $1" >&2; exit 1; }
}

apt_install() {
    local root=() log
    [ "$(id -u)" = 0 ] || root=(sudo -n)
    # What is installed must not start a service of its own.
    root+=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a RUNLEVEL=1)
    log="$(mktemp)"
    echo "e2e: installing $1" >&2
    "${root[@]}" apt-get update -qq </dev/null >"$log" 2>&1 || true
    if ! "${root[@]}" apt-get install -y -qq -o DPkg::Lock::Timeout=300 "$1" </dev/null >>"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        echo "e2e: $1 is missing and cannot be installed; as root: apt-get install $1" >&2
        exit 1
    fi
    rm -f "$log"
}
