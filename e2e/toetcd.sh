#!/usr/bin/env bash
# The way back: a snapshot of `quorate etcd`, taken and restored by etcd's own tools, and an etcd that goes on from it: the same keys at
# every revision that is not compacted, the same leases.
#
#   e2e/toetcd.sh QUORATE [ETCD [TOOL]]
#
# ETCD is the server (default: Debian's, 3.4), TOOL what restores: its etcdctl, or the etcdutl of later releases.
set -euo pipefail
quorate="$(realpath "${1:?toetcd.sh QUORATE [ETCD [TOOL]]}")"
etcd="${2:-etcd}"
tool="${3:-etcdctl}"
export ETCDCTL_API=3
scratch="$(mktemp -d "${TMPDIR:-/tmp}/quorate-toetcd.XXXXXX")"
pids=()
stop_all() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait
    rm -rf "$scratch"
}
trap stop_all EXIT

fail() {
    echo "toetcd.sh: $*" >&2
    tail -n 5 "$scratch"/*.log >&2
    exit 1
}

# serve NAME CLIENT PEER PROGRAM...: starts one member.
serve() {
    local name="$1" client="http://127.0.0.1:$2" peer="http://127.0.0.1:$3"
    shift 3
    "$@" --name solo --data-dir "$scratch/$name" --listen-client-urls "$client" --advertise-client-urls "$client" \
        --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "solo=$peer" >"$scratch/$name.log" 2>&1 &
    pids+=($!)
    for _ in $(seq 100); do
        etcdctl --endpoints "$client" get up >/dev/null 2>&1 && return
        sleep 0.2
    done
    fail "$name does not serve"
}
ours() { etcdctl --endpoints http://127.0.0.1:11379 "$@"; }
theirs() { etcdctl --endpoints http://127.0.0.1:11479 "$@"; }
revision_of() { "$1" get no-such-key -w json | grep -o '"revision":[0-9]*' | cut -d: -f2; }
# Keys with all their numbers, without the header.
pairs() { "$1" get "" --prefix --rev "$2" -w json | sed 's/.*"kvs"://'; }

serve ours 11379 11380 "$quorate" etcd
for n in $(seq 60); do ours put "key$((n % 23))" "value $n" >/dev/null; done
# More than a page, more than four, and nothing.
head -c 5000 /dev/zero | tr '\0' x | ours put long >/dev/null
head -c 300000 /dev/zero | tr '\0' y | ours put longer >/dev/null
ours put empty '' >/dev/null
lease="$(ours lease grant 5000 | cut -d' ' -f2)"
ours put leased of-it --lease "$lease" >/dev/null
printf '\nput a 1\nput b 2\ndel key1\n\n\n' | ours txn >/dev/null
ours del key2 >/dev/null
ours put key2 again >/dev/null
ours compaction 40 --physical >/dev/null
for n in $(seq 20); do ours put "key$((n % 7))" "later $n" >/dev/null; done
ours del key3 >/dev/null
last="$(revision_of ours)"

ours snapshot save "$scratch/snap" >/dev/null 2>&1
"$tool" snapshot status "$scratch/snap" -w json >"$scratch/status"
grep -q "\"revision\":$last," "$scratch/status" || fail "status: $(cat "$scratch/status"), and not revision $last"
"$tool" snapshot restore "$scratch/snap" --name solo --data-dir "$scratch/theirs" --initial-cluster solo=http://127.0.0.1:11480 \
    --initial-advertise-peer-urls http://127.0.0.1:11480 >"$scratch/restore.log" 2>&1 || fail "restore: $(cat "$scratch/restore.log")"
serve theirs 11479 11480 "$etcd"
[ "$(revision_of theirs)" = "$last" ] || fail "revision $(revision_of theirs), and not $last"
for revision in $(seq 40 "$last"); do
    [ "$(pairs ours "$revision")" = "$(pairs theirs "$revision")" ] || fail "keys at revision $revision differ"
done
old="$(theirs get a --rev 39 2>&1 || true)"
[[ "$old" == *"required revision has been compacted"* ]] || fail "revision 39: $old"
[ "$(ours lease list)" = "$(theirs lease list)" ] || fail "leases: $(theirs lease list)"
theirs lease timetolive "$lease" --keys | grep -q 'granted with TTL(5000s).*\[leased\]' || fail "the lease is another one"
# It goes on: a key's version, a compaction over what was there, a lease's end, deletions down to one page, a defragmentation.
theirs put key2 more -w json | grep -q "\"revision\":$((last + 1))" || fail "it does not go on"
theirs lease revoke "$lease" >/dev/null
[ -z "$(theirs get leased)" ] || fail "what hangs on a lease stays"
theirs compaction "$last" --physical >/dev/null
theirs del "" --prefix >/dev/null
theirs compaction "$(revision_of theirs)" --physical >/dev/null
theirs defrag >/dev/null
theirs snapshot save "$scratch/again" >/dev/null 2>&1
said="$("$quorate" snapshot inspect "$scratch/again" 2>&1 || true)"
[[ "$said" == *"holds 0 keys"*"of etcd"* ]] || fail "what that etcd gives: $said"
echo "toetcd.sh: revisions 40 to $last are the same in $("$etcd" --version | head -n 1)"
