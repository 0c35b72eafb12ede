#!/usr/bin/env bash
# The numbers of the judges of transactions: histories of a simulated database, read from Elle's EDN, judged by every level.
#
#     bench/check/txns.sh [FOLDER]      histories go there and stay; default: a new folder below the target
#
# ROUNDS (default 5) are measured for each history, the median and the best are printed. With ELLE_CLI=path/to/elle-cli.jar
# and Java the same files are judged by elle-cli.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

TARGET="${CARGO_TARGET_DIR:-$PWD/target}"
FOLDER="${1:-$TARGET/txns}"
ROUNDS="${ROUNDS:-5}"
mkdir -p "$FOLDER"
cargo build --release --locked --quiet -p quorate-check --example txns
TXNS="$TARGET/release/examples/txns"

history() { # NAME TXNS PLAN…
    local name="$1"
    shift
    [ -s "$FOLDER/$name.edn" ] || "$TXNS" write "$@" >"$FOLDER/$name.edn"
}
judge() { # MODEL SECONDS NAME
    echo "== $3 ($1)"
    "$TXNS" judge "$1" "$ROUNDS" "$2" "$FOLDER/$3.edn"
}

echo "$(nproc) cores, load $(cut -d' ' -f1-3 /proc/loadavg); $(git rev-parse --short HEAD)"
history append-200k 200000
history append-1m 1000000
history registers-1m 1000000 registers sessions=50 keys=100 info=0
history chains-1m 1000000 registers read-first sessions=50 keys=100 info=0
history registers-10k 10000 registers sessions=20 info=10 writes=32
history broken-10k 10000 isolation=committed
judge list-append 60 append-200k
judge list-append 60 append-1m
judge rw-register 60 registers-1m
judge rw-register 60 chains-1m
ROUNDS=1 judge rw-register+complete 10 registers-10k
echo "== core"
"$TXNS" core list-append strict-serializable "$FOLDER/broken-10k.edn" | head -1

if [ -n "${ELLE_CLI:-}" ]; then
    for name in append-200k append-1m; do
        echo "== elle-cli $name"
        ( time java -Xmx8g -jar "$ELLE_CLI" --model list-append --consistency-models strict-serializable "$FOLDER/$name.edn" ) 2>&1
    done
fi
