#!/usr/bin/env bash
# Makes .venv beside this, or in the directory that is named, with what its requirements.txt pins; once for each state of that.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
. "$here/../apt.sh"
cd "${1:-$here}"
cmp -s requirements.txt .venv/requirements.txt && exit 0

install() {
    "$@" install --quiet --disable-pip-version-check --retries 5 --timeout 60 -r requirements.txt
}

rm -rf .venv
if python3 -m venv .venv >/dev/null 2>&1; then
    install .venv/bin/python -m pip
elif rm -rf .venv && python3 -m venv --without-pip .venv >/dev/null 2>&1 && python3 -m pip --version >/dev/null 2>&1; then
    # Debian ships venv's pip apart from Python; the one outside can install into it, if it is not too old.
    install python3 -m pip --python .venv/bin/python
else
    rm -rf .venv
    apt_install python3-venv
    python3 -m venv .venv
    install .venv/bin/python -m pip
fi
cp requirements.txt .venv/requirements.txt
