#!/usr/bin/env bash
# `quorate etcd` on a data directory of etcd: what etcd kept there goes on, every key at every revision, leases, ids; and what cannot be
# had is refused by name, with nothing written.
#
#   e2e/fromdir.sh QUORATE [ETCD [TOOL]]
#
# ETCD is the server (default: Debian's, 3.4), TOOL what restores: its etcdctl, or the etcdutl of later releases.
set -euo pipefail
quorate="$(realpath "${1:?fromdir.sh QUORATE [ETCD [TOOL]]}")"
etcd="${2:-etcd}"
tool="${3:-etcdctl}"
export ETCDCTL_API=3
scratch="$(mktemp -d "${TMPDIR:-/tmp}/quorate-fromdir.XXXXXX")"
pid=
pids=()
stop_all() {
    for one in "${pids[@]}"; do kill -9 "$one" 2>/dev/null || true; done
    wait 2>/dev/null
    rm -rf "$scratch"
}
trap stop_all EXIT

fail() {
    echo "fromdir.sh: $*" >&2
    tail -n 5 "$scratch"/*.log >&2
    exit 1
}

port=11500
client() { echo "http://127.0.0.1:$((port + 10 * $1))"; }
peer() { echo "http://127.0.0.1:$((port + 10 * $1 + 1))"; }
list() { # COUNT: --initial-cluster of so many
    local n out=
    for n in $(seq "$1"); do out+=",m$n=$(peer "$n")"; done
    echo "${out#,}"
}
# start N OF DIR PROGRAM...: member N of so many; its process in $pid.
start() {
    local n="$1" of="$2" dir="$3"
    shift 3
    "$@" --name "m$n" --data-dir "$dir" --listen-client-urls "$(client "$n")" --advertise-client-urls "$(client "$n")" \
        --listen-peer-urls "$(peer "$n")" --initial-advertise-peer-urls "$(peer "$n")" --initial-cluster "$(list "$of")" \
        >"$scratch/m$n.log" 2>&1 &
    pid=$!
    pids+=("$pid")
}
ready() { # N
    for _ in $(seq 100); do
        at "$1" get up >/dev/null 2>&1 && return
        sleep 0.1
    done
    fail "member $1 does not serve"
}
end() { # PID SIGNAL
    kill "-$2" "$1"
    wait "$1" 2>/dev/null || true
}
at() { local n="$1"; shift; etcdctl --endpoints "$(client "$n")" "$@"; }
revision() { at "$1" get no-such-key -w json | grep -o '"revision":[0-9]*' | cut -d: -f2; }

# All that clients see: each revision from the second on, leases, members, ids.
seen() { # N FROM TO
    local rev
    for rev in $(seq "$2" "$3"); do
        at "$1" get "" --prefix --rev "$rev" -w json | sed 's/.*"kvs"://'
    done
    at "$1" get no-such-key -w json | grep -o '"cluster_id":[0-9]*,"member_id":[0-9]*,"revision":[0-9]*'
    at "$1" lease list
    at "$1" member list -w json | sed 's/.*"members"://'
    at "$1" alarm list
}
files() { (cd "$1" && find member -type f -print0 | sort -z | xargs -0 sha256sum); }

write_some() { # N
    local n lease
    for n in $(seq 30); do at "$1" put "key$((n % 11))" "value $n" >/dev/null; done
    head -c 300000 /dev/zero | tr '\0' y | at "$1" put longer >/dev/null
    at "$1" put empty '' >/dev/null
    lease="$(at "$1" lease grant 5000 | cut -d' ' -f2)"
    at "$1" put leased of-it --lease "$lease" >/dev/null
    printf '\nput a 1\nput b 2\ndel key1\n\n\n' | at "$1" txn >/dev/null
    printf 'value("a") = "1"\n\nput a 2\nget b\n\nput a 3\n\n' | at "$1" txn >/dev/null
    at "$1" del key2 >/dev/null
    at "$1" put key2 again >/dev/null
    at "$1" lease revoke "$(at "$1" lease grant 6000 | cut -d' ' -f2)" >/dev/null
    at "$1" compaction 20 >/dev/null
    at "$1" del key3 key5 >/dev/null
    at "$1" put last one >/dev/null
}

# One member, stopped in order or not.
for signal in TERM KILL; do
    dir="$scratch/one-$signal"
    start 1 1 "$dir" "$etcd"
    ready 1
    write_some 1
    last="$(revision 1)"
    seen 1 20 "$last" >"$scratch/theirs"
    # What comes right before the end stands in the log alone.
    at 1 put at-the-end "$signal" >/dev/null
    end "$pid" "$signal"
    files "$dir" >"$scratch/before"
    start 1 1 "$dir" "$quorate" etcd
    ready 1
    grep -q "taken over from etcd" "$scratch/m1.log" || fail "it does not say what it does"
    [ "$(revision 1)" = $((last + 1)) ] && [ "$(at 1 get at-the-end --print-value-only)" = "$signal" ] || fail "the last put is not there"
    seen 1 20 "$last" | sed "s/\"revision\":$((last + 1))/\"revision\":$last/" >"$scratch/ours"
    diff "$scratch/theirs" "$scratch/ours" >&2 || fail "after $signal it is not what etcd had"
    old="$(at 1 get a --rev 19 2>&1 || true)"
    [[ "$old" == *"has been compacted"* ]] || fail "the compaction is forgotten: $old"
    at 1 put goes on >/dev/null
    # A second start has its own data, and etcd's files are as they were.
    end "$pid" KILL
    start 1 1 "$dir" "$quorate" etcd
    ready 1
    grep -q "own data count" "$scratch/m1.log" || fail "a second start does not say whose data count"
    [ "$(at 1 get goes --print-value-only)" = on ] || fail "a put behind the taking over is gone"
    end "$pid" TERM
    files "$dir" | diff "$scratch/before" - >&2 || fail "etcd's files were touched"
    # Interrupted, it begins again.
    touch "$dir/taking-over"
    start 1 1 "$dir" "$quorate" etcd
    ready 1
    [ -z "$(at 1 get goes)" ] && [ "$(revision 1)" = $((last + 1)) ] || fail "an interrupted one does not begin again"
    end "$pid" TERM
done

# refused DIR COUNT WORDS: a start says so and ends, and has written nothing.
refused() {
    ls -A "$1" >"$scratch/ls"
    files "$1" >"$scratch/before"
    start 1 "$2" "$1" "$quorate" etcd
    local code=0
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -0 "$pid" 2>/dev/null && fail "it was not refused: $3"
    wait "$pid" || code=$?
    [ "$code" != 0 ] || fail "it was not refused: $3"
    grep -q -- "$3" "$scratch/m1.log" || fail "it does not say $3"
    ls -A "$1" | diff "$scratch/ls" - >&2 && files "$1" | diff "$scratch/before" - >&2 || fail "something was written"
}

# A flipped bit in what the log has, or in what describes the store.
dir="$scratch/one-KILL"
find "$dir" -maxdepth 1 -mindepth 1 ! -name member -exec rm -rf {} +
wal="$(find "$dir/member/wal" -name '*.wal' | sort | tail -n 1)"
flip() { # FILE OFFSET
    local byte
    byte="$(od -An -tu1 -j "$2" -N 1 "$1")"
    printf "$(printf '\\%03o' $((byte ^ 4)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
used="$(od -Ad -tx1 -w8 "$wal" | grep -v ' 00 00 00 00 00 00 00 00$' | grep ' ' | tail -n 1 | cut -d' ' -f1 | sed 's/^0*//')"
for offset in 1 9 $((used / 4)) $((used / 2 + 3)) $((used - 12)); do
    flip "$wal" "$offset"
    refused "$dir" 1 "at offset"
    flip "$wal" "$offset"
done
for offset in 20 70 4120; do
    flip "$dir/member/snap/db" "$offset"
    refused "$dir" 1 "does not verify"
    flip "$dir/member/snap/db" "$offset"
done
start 1 1 "$dir" "$quorate" etcd
ready 1
end "$pid" TERM

# While an etcd runs, and where it asks for users.
dir="$scratch/users"
start 1 1 "$dir" "$etcd"
ready 1
server="$pid"
"$quorate" etcd --name m1 --data-dir "$dir" --listen-client-urls "$(client 9)" --advertise-client-urls "$(client 9)" \
    --listen-peer-urls "$(peer 9)" --initial-advertise-peer-urls "$(peer 9)" --initial-cluster "m1=$(peer 9)" >"$scratch/running.log" 2>&1 \
    && fail "it took over what an etcd works on"
grep -q "an etcd runs on this directory" "$scratch/running.log" || fail "it does not say that an etcd runs"
at 1 snapshot save "$scratch/snap" >/dev/null 2>&1
at 1 user add root:secret >/dev/null 2>&1
at 1 user grant-role root root >/dev/null 2>&1 || true
at 1 auth enable >/dev/null
end "$server" TERM
refused "$dir" 1 "asks for users"

# Three members of a restore become three members; three that have run do not.
dir="$scratch/one-TERM"
find "$dir" -maxdepth 1 -mindepth 1 ! -name member -exec rm -rf {} +
start 1 1 "$dir" "$etcd"
ready 1
at 1 snapshot save "$scratch/full" >/dev/null 2>&1
last="$(revision 1)"
seen 1 20 "$last" | grep '^\[' | head -n $((last - 19)) >"$scratch/theirs"
end "$pid" TERM
three() { # KIND PROGRAM...
    local n kind="$1"
    shift
    members=()
    for n in 1 2 3; do
        start "$n" 3 "$scratch/$kind-$n" "$@"
        members+=("$pid")
    done
    for n in 1 2 3; do ready "$n"; done
}
for n in 1 2 3; do
    "$tool" snapshot restore "$scratch/full" --name "m$n" --data-dir "$scratch/three-$n" --initial-cluster "$(list 3)" \
        --initial-advertise-peer-urls "$(peer "$n")" >"$scratch/restore.log" 2>&1 || fail "restore: $(cat "$scratch/restore.log")"
    cp -r "$scratch/three-$n" "$scratch/ran-$n"
done
three three "$quorate" etcd
for n in 1 2 3; do
    [ "$(revision "$n")" = "$last" ] || fail "member $n is at revision $(revision "$n"), and not $last"
    seen "$n" 20 "$last" | grep '^\[' | head -n $((last - 19)) | diff "$scratch/theirs" - >&2 || fail "member $n has other keys"
done
at 2 put three members >/dev/null
hashes="$(etcdctl --endpoints "$(client 1),$(client 2),$(client 3)" endpoint hashkv -w json | grep -o '"hash":[0-9]*' | sort -u | wc -l)"
[ "$hashes" = 1 ] || fail "the members differ"
for one in "${members[@]}"; do end "$one" TERM; done
three ran "$etcd"
at 1 put more than-restored >/dev/null
for one in "${members[@]}"; do end "$one" TERM; done
refused "$scratch/ran-1" 3 "a cluster of 3, which has run"
echo "fromdir.sh: a node goes on from directories of $("$etcd" --version | head -n 1)"
