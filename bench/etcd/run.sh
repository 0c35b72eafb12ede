#!/usr/bin/env bash
# Quorate beside Debian's etcd, in alternating pairs on the same disk; see run.py for what is printed and for options.
#
#   bench/etcd/run.sh                                   five pairs, about eight minutes
#   bench/etcd/run.sh --pairs 1 --seconds 3             a first look
#   bench/etcd/run.sh --points put:64,get:64 --via all
#
# The machine should be quiet: "steal" and "idle" in the table, and the first line, say how it was.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
if [ -z "${QUORATE:-}" ]; then
    (cd "$root" && cargo build --release --quiet --locked)
    QUORATE="${CARGO_TARGET_DIR:-$root/target}/release/quorate"
fi
export QUORATE
if ! command -v etcd >/dev/null; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq >/dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq etcd-server >/dev/null
fi
exec python3 "$root/bench/etcd/run.py" "$@"
