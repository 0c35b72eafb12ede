#!/usr/bin/env bash
# End-to-end tests: the real binary, real clients. Each part installs what it needs, if it is missing.
#
#   e2e/run.sh prepare                 installs and builds what the parts of `.ci/run` need, and asks nothing
#   e2e/run.sh etcdctl [TARGET]        Debian's etcdctl against each of three nodes
#   e2e/run.sh rust    [TARGET]        the crate etcd-client against each of three nodes
#   e2e/run.sh python  [TARGET]        a Python client against each of three nodes
#   e2e/run.sh patroni [TARGET]        Patroni keeps two servers of PostgreSQL: its leader is killed, comes back, is asked to lead again
#   e2e/run.sh tables               AWS's SDK for Python against the DynamoDB door of each of three nodes
#   e2e/run.sh answers [AREA...]    what the door answers to some thousand requests, most of them wrong, held against DynamoDB's words
#   e2e/run.sh javascript           AWS's SDK for JavaScript against each of three nodes, where Node.js is
#   e2e/run.sh aws                  AWS's SDK for Rust against each of three nodes
#   e2e/run.sh toetcd               a snapshot of ours is restored by etcd's tools, and an etcd goes on from it
#   e2e/run.sh fromdir              a node goes on from data directories of etcd, or refuses them by name
#   e2e/run.sh fencing              the example of a paused holder: an update is lost without its token, and not with it
#   e2e/run.sh diff N  [TARGET]        N random requests, compared with Debian's etcd, and with a current one where Go is
#   e2e/run.sh kill ROUNDS [TARGET]    kill -9 of random nodes under load; every acknowledged write is checked
#   e2e/run.sh powercut ROUNDS [TARGET] the same, and a killed node loses what it had not synced
#   e2e/run.sh failover TIMES [TARGET] how long writes stop when the leader is killed or frozen
#   e2e/run.sh flips N                 bits flip in the files of a stopped node: never a wrong answer, named, and healed
#   e2e/run.sh startup KEYS [TARGET]   how long a cluster with that many keys takes to serve again
#   e2e/run.sh away WRITES [TARGET]    a follower that was away for that many writes catches up while writes go on
#   e2e/run.sh steady SECONDS [TARGET] a leader stays under full load of all processors
#   e2e/run.sh rounds N                N faults of all kinds, members that come and go among them, judged; goes on where it was
#   e2e/run.sh space MIB [TARGET]      nodes with 512 MB of memory serve a space of that size, and start as soon as with a small one
#   e2e/run.sh watchers N [TARGET]     N watchers of 1,000 puts a second while one of them does not read: p99 below 100 ms
#   e2e/run.sh compaction VERSIONS [TARGET] puts beside the compaction of so many: p99 at most doubled
#   e2e/run.sh handover TIMES [TARGET] writes stop for 100 ms at most where a leader hands over; none fails that is tried again
#   e2e/run.sh perf LOAD [TARGET]      etcdctl check perf with that load (s, m, l)
#
# TARGET is quorate (default; the program is $QUORATE, else built in release mode), etcd, or goetcd (one member).
# SEED chooses the random parts (default: drawn and printed). KEEP=1 keeps the data directories.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
root="$(cd .. && pwd)"
export ETCDCTL_API=3

part="${1:-}"
case "$part" in
prepare | etcdctl | toetcd | fromdir | rust | python | patroni | fencing | tables | javascript | aws) target="${2:-quorate}" ;;
answers) target=quorate; areas=("${@:2}") ;;
diff | kill | powercut | failover | startup | away | steady | flips | rounds | space | watchers | compaction | handover | perf) count="${2:?how many?}"; target="${3:-quorate}" ;;
*) sed -n '2,31s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2 ;;
esac

. ./apt.sh

# etcd's package starts a server of its own on the usual ports; here only the program is wanted.
need_etcd() {
    command -v etcd >/dev/null && return
    need etcd etcd-server
    if [ -d /run/systemd/system ]; then
        if [ "$(id -u)" = 0 ]; then systemctl disable --now etcd; else sudo -n systemctl disable --now etcd; fi
    fi </dev/null >/dev/null 2>&1 || true
}

build() {
    cargo build --quiet --locked -p "$1"
}

bin="${CARGO_TARGET_DIR:-$PWD/target}/debug"
scratch="$(mktemp -d "${TMPDIR:-/tmp}/quorate-e2e.XXXXXX")"
starter=
cleanup() {
    local status=$?
    if [ -n "$starter" ]; then
        kill "$starter" 2>/dev/null || true
        wait "$starter" 2>/dev/null || true
    fi
    if [ "$status" -ne 0 ] && [ -d "$scratch" ]; then
        echo "e2e: $part failed; the ends of the logs:" >&2
        find "$scratch" -name '*.log' -o -name log | sort | while read -r log; do
            echo "-- $log" >&2
            tail -n 5 "$log" >&2
        done
    fi
    [ -n "${KEEP:-}" ] && echo "e2e: data kept in $scratch" >&2 || rm -rf "$scratch"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

case "$target" in
quorate)
    if [ -z "${QUORATE:-}" ]; then
        (cd "$root" && env -u CARGO_TARGET_DIR cargo build --release --quiet --locked)
        QUORATE="$root/target/release/quorate"
    fi
    export QUORATE
    ;;
etcd) need_etcd ;;
goetcd) ;;
*) echo "e2e: no target is called $target" >&2; exit 2 ;;
esac

# The newer reference, where Go is new enough to build it; GOETCD is empty otherwise.
goetcd() {
    [ -n "${GOETCD:-}" ] && return
    local go
    GOETCD=
    go="$(command -v go || echo /usr/local/go/bin/go)"
    "$go" version >/dev/null 2>&1 || { echo "e2e: no Go, so no current etcd beside Debian's" >&2; return 0; }
    if (cd goetcd && GOFLAGS=-mod=readonly GOTOOLCHAIN=local timeout 900 "$go" build -o goetcd . 2>"$scratch/go.log"); then
        GOETCD="$PWD/goetcd/goetcd"
    else
        echo "e2e: the current etcd was not built: $(tail -n 1 "$scratch/go.log")" >&2
    fi
    export GOETCD
}
[ "$target" != goetcd ] || goetcd

# Starts a cluster of the target and leaves its endpoints, comma separated, in $endpoints.
start_cluster() {
    local line
    if [ "$target" = quorate ]; then
        exec {from_cluster}< <(exec "$QUORATE" up --json --any-port --data "$scratch/data" 2>"$scratch/up.log")
    else
        build e2e-cluster
        exec {from_cluster}< <(exec "$bin/e2e-cluster" "$target" --data "$scratch/data" 2>"$scratch/up.log" </dev/null)
    fi
    starter=$!
    IFS= read -r -t 120 -u "$from_cluster" line || { cat "$scratch/up.log" >&2; echo "e2e: no cluster" >&2; exit 1; }
    endpoints="$(printf '%s' "$line" | grep -o '"etcd":"[^"]*"' | cut -d'"' -f4 | paste -sd,)"
    [ -n "$endpoints" ] || { echo "e2e: not understood: $line" >&2; exit 1; }
    dynamo="$(printf '%s' "$line" | grep -o '"dynamo":"[^"]*"' | cut -d'"' -f4 | paste -sd, || true)"
}

seed="${SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}"

# The packages of JavaScript's clients; false where Node.js is missing.
node_modules() {
    command -v node >/dev/null && command -v npm >/dev/null || return 1
    cmp -s javascript/package-lock.json javascript/node_modules/.installed && return
    (cd javascript && npm ci --no-audit --no-fund --ignore-scripts --loglevel error) || exit 1
    cp javascript/package-lock.json javascript/node_modules/.installed
}

case "$part" in
prepare)
    need protoc protobuf-compiler
    build e2e-rust
    build e2e-kill
    build e2e-difffuzz
    need_etcd
    goetcd
    ./python/venv.sh
    node_modules || true
    ;;
etcdctl)
    need etcdctl etcd-client
    need curl curl
    start_cluster
    ./etcdctl.sh "$endpoints"
    ;;
toetcd)
    need_etcd
    need etcdctl etcd-client
    ./toetcd.sh "${QUORATE:?names no program}"
    ;;
fromdir)
    need_etcd
    need etcdctl etcd-client
    ./fromdir.sh "${QUORATE:?names no program}"
    ;;
fencing)
    start_cluster
    ../examples/fencing/run.sh "$endpoints"
    ;;
rust)
    need protoc protobuf-compiler
    build e2e-rust
    start_cluster
    "$bin/e2e-rust" --endpoints "$endpoints"
    ;;
python)
    ./python/venv.sh
    start_cluster
    python/.venv/bin/python python/client.py "$endpoints"
    python/.venv/bin/python python/gateway.py "$endpoints"
    ;;
patroni)
    [ -d /usr/lib/postgresql ] || apt_install postgresql
    # PostgreSQL does not run as root: what it runs must be within reach of its own user, as the system's Python is.
    PATH="/usr/bin:$PATH" ./python/venv.sh "$PWD/patroni"
    chmod 711 "$scratch"
    start_cluster
    patroni/.venv/bin/python patroni/test.py "$endpoints" "$scratch/patroni"
    ;;
tables)
    ./python/venv.sh
    start_cluster
    python/.venv/bin/python python/tables.py "$dynamo"
    python/.venv/bin/python python/streams.py "$dynamo"
    python/.venv/bin/python python/doors.py "$QUORATE" "$dynamo"
    ;;
answers)
    ./python/venv.sh
    start_cluster
    python/.venv/bin/python python/answers "$dynamo" ${areas[@]+"${areas[@]}"}
    ;;
javascript)
    if ! node_modules; then
        echo "e2e: no Node.js, so nothing is asked in JavaScript" >&2
        exit 0
    fi
    start_cluster
    node javascript/tables.mjs "$dynamo"
    node javascript/etcd.mjs "$endpoints"
    ;;
aws)
    build e2e-aws
    start_cluster
    "$bin/e2e-aws" --endpoints "$dynamo"
    ;;
diff)
    need_etcd
    goetcd
    build e2e-difffuzz
    # They wait most of the time, so both releases of etcd are compared with at once.
    newer=
    if [ -n "$GOETCD" ] && [ "$target" != goetcd ]; then
        mkdir "$scratch/new"
        "$bin/e2e-difffuzz" --start-a goetcd --start-b "$target" --data "$scratch/new/data" \
            --requests "$count" --seed "$seed" >"$scratch/new/told" 2>&1 &
        newer=$!
    fi
    status=0
    "$bin/e2e-difffuzz" --start-a etcd --start-b "$target" --data "$scratch/old" --requests "$count" --seed "$seed" || status=$?
    if [ -n "$newer" ]; then
        wait "$newer" || status=$?
        cat "$scratch/new/told"
    fi
    exit "$status"
    ;;
kill)
    build e2e-kill
    "$bin/e2e-kill" rounds --target "$target" --data "$scratch" --rounds "$count" --seed "$seed"
    ;;
powercut)
    build e2e-kill
    build e2e-powercut
    "$bin/e2e-kill" rounds --target "$target" --data "$scratch" --rounds "$count" --seed "$seed" \
        --power-cut "$bin/libe2e_powercut.so"
    ;;
failover)
    build e2e-kill
    "$bin/e2e-kill" failover --target "$target" --data "$scratch" --times "$count"
    ;;
startup)
    build e2e-kill
    "$bin/e2e-kill" startup --target "$target" --data "$scratch" --keys "$count"
    ;;
away)
    build e2e-kill
    "$bin/e2e-kill" away --target "$target" --data "$scratch" --writes "$count"
    ;;
flips)
    build e2e-kill
    "$bin/e2e-kill" flips --target "$target" --data "$scratch" --flips "$count" --seed "$seed"
    ;;
rounds)
    if [ -z "${QUORATE_FAULTS:-}" ]; then
        (cd "$root" && env -u CARGO_TARGET_DIR cargo build --release --quiet --locked -p quorate --features faults --target-dir target/faults)
        QUORATE_FAULTS="$root/target/faults/release/quorate"
    fi
    ./rounds.py --rounds "$count" --binary "$QUORATE_FAULTS" --state "${ROUNDS_STATE:-$root/target/rounds}"
    ;;
space)
    build e2e-kill
    "$bin/e2e-kill" space --target "$target" --data "$scratch" --mib "$count" --nodes "${NODES:-3}"
    ;;
watchers)
    build e2e-kill
    "$bin/e2e-kill" watchers --target "$target" --data "$scratch" --watchers "$count" --fan-out "${FAN_OUT:-1}"
    ;;
compaction)
    build e2e-kill
    "$bin/e2e-kill" compaction --target "$target" --data "$scratch" --history "$count"
    ;;
handover)
    build e2e-kill
    "$bin/e2e-kill" handover --target "$target" --data "$scratch" --times "$count"
    ;;
perf)
    need etcdctl etcd-client
    start_cluster
    # Without the bar that it draws.
    etcdctl --endpoints "$endpoints" check perf --load "$count" 2>&1 | tr '\r' '\n' | grep -E '^(PASS|FAIL|Error)|[Ee]rror'
    ;;
steady)
    build e2e-kill
    "$bin/e2e-kill" steady --target "$target" --data "$scratch" --seconds "$count"
    ;;
esac
