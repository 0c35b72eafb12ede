#!/usr/bin/env bash
# Makes e2e/python/.venv with the pinned client, once for each state of requirements.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
cmp -s requirements.txt .venv/requirements.txt && exit 0
rm -rf .venv
if ! python3 -m venv .venv >/dev/null 2>&1; then
    # Debian ships venv apart from Python.
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq python3-venv >/dev/null
    rm -rf .venv
    python3 -m venv .venv
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
cp requirements.txt .venv/requirements.txt
