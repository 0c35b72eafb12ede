#!/usr/bin/env bash
# A lock alone does not protect: a holder that is paused goes on when another holds it. A fencing token does.
#
#   examples/fencing/run.sh [URL[,URL...]]
#
# Two clerks add 10 to a balance, each under the lock "ledger". The first one is paused between its read and its write, for longer
# than its lease lives. That is shown twice: without the token, where an update is lost, and with it, where the late write is
# refused. Without endpoints a cluster of three nodes is started for it. The program is $QUORATE, else the `quorate` of the path
# or of this repository's target directory. Ends with 0 if all came as it is told here.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
target="${CARGO_TARGET_DIR:-$here/../../target}"
for found in "${QUORATE:-}" "$(command -v quorate || true)" "$target/release/quorate" "$target/debug/quorate"; do
    if [ -n "$found" ] && [ -x "$found" ]; then QUORATE="$found" && break; fi
done
[ -x "${QUORATE:-}" ] || { echo "no quorate is built: cargo build --release" >&2; exit 2; }
scratch="$(mktemp -d)"
cluster=
holder=
cleanup() {
    # Who is stopped hears nothing but this.
    if [ -n "$holder" ]; then kill -KILL "$holder" "-$(cat "$scratch/A.group" 2>/dev/null || echo "$holder")" 2>/dev/null || true; fi
    if [ -n "$cluster" ]; then
        kill "$cluster" 2>/dev/null || true
        wait "$cluster" 2>/dev/null || true
    fi
    rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

endpoints="${1:-}"
if [ -z "$endpoints" ]; then
    exec {from_cluster}< <(exec "$QUORATE" up --ephemeral --any-port --json 2>"$scratch/up.log")
    cluster=$!
    IFS= read -r -t 60 -u "$from_cluster" line || { cat "$scratch/up.log" >&2; exit 1; }
    endpoints="$(grep -o '"etcd":"[^"]*"' <<<"$line" | cut -d'"' -f4 | paste -sd,)"
fi
export QUORATE endpoints scratch

q() { "$QUORATE" "$@" --endpoints "$endpoints"; }
say() { printf '  %s\n' "$*"; }
balance() { q kv get balance | sed 's/.* = //'; }
until_there() {
    for _ in $(seq 600); do
        if [ -e "$1" ]; then return; fi
        sleep 0.05
    done
    echo "fencing: $1 does not come" >&2
    exit 1
}

# A clerk: reads the balance, thinks until it is told to go on, and writes the sum. FENCED says whether it shows its token.
cat >"$scratch/clerk.sh" <<'CLERK'
q() { "$QUORATE" "$@" --endpoints "$endpoints"; }
shown=()
if [ "$FENCED" = yes ]; then shown=(--fence "$QUORATE_FENCE"); fi
old="$(q kv get balance "${shown[@]}" | sed 's/.* = //')"
printf '  %s holds the lock with the token %s, reads %s\n' "$WHO" "$QUORATE_TOKEN" "$old"
echo $$ >"$scratch/$WHO.group"
touch "$scratch/$WHO.read"
while [ ! -e "$scratch/$WHO.go" ]; do sleep 0.05; done
if q kv put balance $((old + 10)) "${shown[@]}" >/dev/null 2>"$scratch/$WHO.refusal"; then
    printf '  %s writes %s\n' "$WHO" $((old + 10))
    touch "$scratch/$WHO.wrote"
else
    printf '  %s writes %s and is refused: %s\n' "$WHO" $((old + 10)) "$(sed -n 's/^error: *//p' "$scratch/$WHO.refusal")"
fi
touch "$scratch/$WHO.done"
CLERK

# Sends a clerk in; it holds the lock for two seconds without a keep-alive.
clerk() { WHO="$1" FENCED="$2" exec "$QUORATE" lock ledger --ttl 2s --endpoints "$endpoints" -- bash "$scratch/clerk.sh"; }

# scene FENCED EXPECTED
scene() {
    local group second
    rm -f "$scratch"/[AB].*
    q kv put balance 100 >/dev/null
    clerk A "$1" 2>"$scratch/A.log" </dev/null &
    holder=$!
    until_there "$scratch/A.read"
    group="$(cat "$scratch/A.group")"
    kill -STOP "$holder" "-$group"
    say "... A is paused: its machine is moved, its memory is swapped out. Its lease ends ..."
    touch "$scratch/B.go"
    clerk B "$1" 2>"$scratch/B.log" </dev/null &
    second=$!
    wait "$second" || { cat "$scratch/B.log" >&2; exit 1; }
    say "... A goes on, and knows of nothing ..."
    touch "$scratch/A.go"
    kill -CONT "-$group"
    until_there "$scratch/A.done"
    kill -CONT "$holder"
    wait "$holder" || true
    holder=
    balance="$(balance)"
    [ "$balance" = "$2" ] || { echo "fencing: the balance is $balance, not $2" >&2; exit 1; }
}

echo "Without the token:"
scene no 110
[ -e "$scratch/A.wrote" ] || { echo "fencing: A has not written" >&2; exit 1; }
say "=> 110. Both added 10 to 100: the update of B is lost, though each held the lock when it was told so."
echo
echo "With the token (the metadata quorate-fence, here by \`quorate kv put --fence\`):"
scene yes 110
[ ! -e "$scratch/A.wrote" ] || { echo "fencing: A was not refused" >&2; exit 1; }
say "=> 110, of B. A is told, and does it again:"
rm -f "$scratch"/A.*
touch "$scratch/A.go"
(clerk A yes) 2>"$scratch/A.log" </dev/null || { cat "$scratch/A.log" >&2; exit 1; }
[ "$(balance)" = 120 ] || { echo "fencing: the balance is $(balance), not 120" >&2; exit 1; }
say "=> 120. Nothing is lost: the store keeps the highest token that it was shown, and the lock raised it when B got it."
