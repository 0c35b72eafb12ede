#!/usr/bin/env bash
# Debian's etcdctl (3.4) against a running cluster: every command of the first release, each with its answer asserted,
# once against each endpoint. etcdctl.sh URL[,URL...]
#
# Every endpoint works on keys of its own, reads through the next endpoint what it wrote, and cleans up behind itself.
set -euo pipefail
export ETCDCTL_API=3
endpoints="${1:?etcdctl.sh URL[,URL...]}"
IFS=, read -ra urls <<<"$endpoints"
scratch="$(mktemp -d)"
background=()
stop_all() {
    for pid in "${background[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$scratch"
}
trap stop_all EXIT
checks=0

fail() {
    echo "etcdctl.sh: $*" >&2
    exit 1
}

# is WHAT GOT EXPECTED
is() {
    checks=$((checks + 1))
    [ "$2" = "$3" ] || fail "$url: $1: expected
$3
got
$2"
}

# has WHAT GOT PATTERN: an extended regular expression
has() {
    checks=$((checks + 1))
    grep -Eq -- "$3" <<<"$2" || fail "$url: $1: expected a line like
$3
got
$2"
}

# refused WHAT PATTERN COMMAND...: the command fails and says so.
refused() {
    local what="$1" pattern="$2" said
    shift 2
    if said="$("$@" 2>&1)"; then fail "$url: $what: expected an error like $pattern, got success: $said"; fi
    has "$what" "$said" "$pattern"
}

ctl() { timeout 30 etcdctl --endpoints="$url" "$@"; }
other() { timeout 30 etcdctl --endpoints="$next" "$@"; }
# A number out of etcdctl's JSON, by its first occurrence.
number() { grep -o "\"$1\":-\?[0-9]*" | head -n 1 | cut -d: -f2; }
revision() { ctl get no-such-key -w json | number revision; }
# in_file PATTERN FILE: waits until a line like it is there.
in_file() {
    for _ in $(seq 100); do
        grep -Eq -- "$1" "$2" && return
        sleep 0.1
    done
    fail "$url: no line like $1 after 10 s in
$(cat "$2")"
}

keys_and_values() {
    is "put" "$(ctl put "$p/a" one)" OK
    is "get" "$(ctl get "$p/a")" "$(printf '%s\none' "$p/a")"
    is "get through another node" "$(other get "$p/a" --print-value-only)" one
    is "serializable get" "$(ctl get "$p/a" --consistency=s --print-value-only)" one
    is "get of nothing" "$(ctl get "$p/none")" ""
    is "put --prev-kv" "$(ctl put "$p/a" two --prev-kv)" "$(printf 'OK\n%s\none' "$p/a")"
    is "put of an empty value" "$(ctl put "$p/empty" '')" OK
    is "get of an empty value" "$(ctl get "$p/empty")" "$(printf '%s\n' "$p/empty" && echo)"
    is "put --ignore-lease" "$(ctl put "$p/a" two --ignore-lease)" OK
    is "put --ignore-value" "$(ctl put "$p/a" --ignore-value)" OK
    refused "put --ignore-value of nothing" "key not found" ctl put "$p/none" --ignore-value
    local old
    old="$(revision)"
    is "put of the next" "$(ctl put "$p/a" three)" OK
    is "one revision a put" "$(revision)" "$((old + 1))"
    is "get --rev" "$(ctl get "$p/a" --rev="$old" --print-value-only)" two
    refused "get of a future revision" "required revision is a future revision" ctl get "$p/a" --rev=$((old + 1000))
    local kv
    kv="$(ctl get "$p/a" -w json)"
    is "version" "$(number version <<<"$kv")" 5
    is "mod_revision" "$(number mod_revision <<<"$kv")" "$((old + 1))"
    ctl del "$p/a" >/dev/null
    ctl put "$p/a" again >/dev/null
    is "a key's second life begins at version 1" "$(ctl get "$p/a" -w json | number version)" 1
    is "del of all" "$(ctl del "$p/" --prefix)" 2
}

ranges() {
    local i
    for i in 1 2 3 4 5; do ctl put "$p/k$i" "v$((6 - i))" >/dev/null; done
    is "prefix" "$(ctl get "$p/k" --prefix --print-value-only | paste -sd' ')" "v5 v4 v3 v2 v1"
    is "range" "$(ctl get "$p/k2" "$p/k4" --keys-only | grep . | paste -sd' ')" "$p/k2 $p/k3"
    is "from-key" "$(ctl get "$p/k4" --from-key --limit=2 --print-value-only | paste -sd' ')" "v2 v1"
    is "limit" "$(ctl get "$p/k" --prefix --limit=2 --print-value-only | paste -sd' ')" "v5 v4"
    has "more and count beside a limit" "$(ctl get "$p/k" --prefix --limit=2 -w json)" '"more":true,"count":5'
    is "descending keys" \
        "$(ctl get "$p/k" --prefix --order=DESCEND --print-value-only | paste -sd' ')" "v1 v2 v3 v4 v5"
    is "by value" "$(ctl get "$p/k" --prefix --sort-by=VALUE --order=ASCEND --keys-only | grep . | head -n 1)" "$p/k5"
    is "by modification, limited" \
        "$(ctl get "$p/k" --prefix --sort-by=MODIFY --order=DESCEND --limit=1 --print-value-only)" v1
    is "del of a range" "$(ctl del "$p/k1" "$p/k3")" 2
    is "del --prev-kv" "$(ctl del "$p/k3" --prev-kv)" "$(printf '1\n%s\nv3' "$p/k3")"
    is "del of nothing" "$(ctl del "$p/k3")" 0
    is "del --prefix" "$(ctl del "$p/k" --prefix)" 2
}

transactions() {
    ctl put "$p/t" 1 >/dev/null
    is "txn that succeeds" "$(printf 'value("%s") = "1"\n\nput %s 2\nget %s\n\nput %s 3\n\n' \
        "$p/t" "$p/t" "$p/t" "$p/t" | ctl txn)" "$(printf 'SUCCESS\n\nOK\n\n%s\n2' "$p/t")"
    is "txn that fails" "$(printf 'version("%s") > "5"\n\nput %s 9\n\ndel %s\n\n' "$p/t" "$p/t" "$p/t" | ctl txn)" \
        "$(printf 'FAILURE\n\n1')"
    refused "txn that puts a key twice" "duplicate key given in txn request" \
        ctl txn < <(printf '\nput %s 1\nput %s 2\n\n\n' "$p/t" "$p/t")
    is "txn of creation" "$(printf 'create("%s") = "0"\n\nput %s new\n\n\n' "$p/t" "$p/t" | ctl txn)" \
        "$(printf 'SUCCESS\n\nOK')"
    ctl del "$p/t" >/dev/null
}

watches() {
    local old
    old="$(revision)"
    ctl put "$p/w1" a >/dev/null
    ctl put "$p/w2" b >/dev/null
    ctl del "$p/w1" >/dev/null
    # From an old revision, through another node, with what was there before.
    etcdctl --endpoints="$next" watch "$p/w" --prefix --rev=$((old + 1)) --prev-kv >"$scratch/old" &
    background+=($!)
    # From now on.
    etcdctl --endpoints="$url" watch "$p/w" "$p/x" >"$scratch/now" &
    background+=($!)
    in_file '^DELETE$' "$scratch/old"
    sleep 1
    ctl put "$p/w3" c >/dev/null
    in_file '^c$' "$scratch/old"
    in_file '^c$' "$scratch/now"
    ctl put "$p/w2" d >/dev/null
    in_file '^d$' "$scratch/old"
    in_file '^d$' "$scratch/now"
    is "watch from an old revision" "$(grep . "$scratch/old" | paste -sd' ')" \
        "PUT $p/w1 a PUT $p/w2 b DELETE $p/w1 a $p/w1 PUT $p/w3 c PUT $p/w2 b $p/w2 d"
    is "watch from now" "$(grep . "$scratch/now" | paste -sd' ')" "PUT $p/w3 c PUT $p/w2 d"
    ctl del "$p/w" --prefix >/dev/null
    in_file '^DELETE$' "$scratch/now"
    stop_watches
}

stop_watches() {
    for pid in "${background[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    background=()
}

leases() {
    local granted id
    granted="$(ctl lease grant 600)"
    has "lease grant" "$granted" '^lease [0-9a-f]{16} granted with TTL\(600s\)$'
    id="$(cut -d' ' -f2 <<<"$granted")"
    is "put with a lease" "$(ctl put "$p/l" v --lease="$id")" OK
    has "lease timetolive --keys" "$(other lease timetolive "$id" --keys)" \
        "^lease $id granted with TTL\(600s\), remaining\((600|5[0-9]{2})s\), attached keys\(\[$p/l\]\)$"
    has "lease list" "$(ctl lease list)" "^$id$"
    has "lease keep-alive --once" "$(ctl lease keep-alive --once "$id")" "^lease $id keepalived with TTL\(600\)$"
    is "lease revoke" "$(other lease revoke "$id")" "lease $id revoked"
    is "its key is gone" "$(ctl get "$p/l")" ""
    refused "revoke again" "requested lease not found" ctl lease revoke "$id"
    refused "put with a lease that is gone" "requested lease not found" ctl put "$p/l" v --lease="$id"
    is "timetolive of a lease that is gone" "$(ctl lease timetolive "$id")" "lease $id already expired"
    # A short lease ends by itself.
    id="$(ctl lease grant 2 | cut -d' ' -f2)"
    ctl put "$p/short" v --lease="$id" >/dev/null
    for _ in $(seq 100); do
        [ -n "$(ctl get "$p/short")" ] || break
        sleep 0.1
    done
    is "a lease that ran out took its key along" "$(other get "$p/short")" ""
}

locks() {
    local first second
    is "lock with a command" "$(ctl lock "$p/lock" echo held)" held
    refused "lock with a command that fails" "" ctl lock "$p/failing" false
    timeout 60 etcdctl --endpoints="$url" lock "$p/lock" >"$scratch/lock1" &
    first=$!
    background+=("$first")
    in_file "^$p/lock/[0-9a-f]+$" "$scratch/lock1"
    timeout 60 etcdctl --endpoints="$next" lock "$p/lock" >"$scratch/lock2" &
    second=$!
    background+=("$second")
    for _ in $(seq 100); do
        [ "$(ctl get "$p/lock/" --prefix --keys-only | grep -c .)" -ne 2 ] || break
        sleep 0.1
    done
    is "two in line" "$(ctl get "$p/lock/" --prefix --keys-only | grep -c .)" 2
    is "one waits" "$(cat "$scratch/lock2")" ""
    kill -INT "$first"
    in_file "^$p/lock/[0-9a-f]+$" "$scratch/lock2"
    kill -INT "$second"
    wait "$first" "$second" || true
    is "nobody is in line" "$(ctl get "$p/lock/" --prefix)" ""
    stop_watches
}

elections() {
    local first second
    timeout 60 etcdctl --endpoints="$next" elect -l "$p/elect" >"$scratch/observed" &
    background+=($!)
    timeout 60 etcdctl --endpoints="$url" elect "$p/elect" one >"$scratch/elect1" &
    first=$!
    background+=("$first")
    in_file '^one$' "$scratch/elect1"
    in_file '^one$' "$scratch/observed"
    timeout 60 etcdctl --endpoints="$next" elect "$p/elect" two >"$scratch/elect2" &
    second=$!
    background+=("$second")
    for _ in $(seq 100); do
        [ "$(ctl get "$p/elect/" --prefix --keys-only | grep -c .)" -ne 2 ] || break
        sleep 0.1
    done
    is "one waits to lead" "$(cat "$scratch/elect2")" ""
    kill -INT "$first"
    in_file '^two$' "$scratch/elect2"
    in_file '^two$' "$scratch/observed"
    kill -INT "$second"
    wait "$first" "$second" || true
    is "nobody leads" "$(ctl get "$p/elect/" --prefix)" ""
    stop_watches
}

compaction() {
    local now
    ctl put "$p/c" 1 >/dev/null
    ctl put "$p/c" 2 >/dev/null
    ctl put "$p/c" 3 >/dev/null
    now="$(revision)"
    is "compaction" "$(ctl compaction "$now")" "compacted revision $now"
    is "get at the compacted revision" "$(other get "$p/c" --rev="$now" --print-value-only)" 3
    refused "get below it" "required revision has been compacted" other get "$p/c" --rev=$((now - 1))
    refused "compaction again" "required revision has been compacted" ctl compaction "$now"
    refused "compaction of the future" "required revision is a future revision" ctl compaction $((now + 1000))
    refused "watch from below it" "required revision has been compacted" ctl watch "$p/c" --rev=$((now - 1))
    ctl put "$p/c" 4 >/dev/null
    is "physical compaction" "$(ctl compaction --physical "$(revision)")" "compacted revision $((now + 1))"
    ctl del "$p/c" >/dev/null
}

cluster() {
    local status list
    status="$(ctl endpoint status)"
    has "endpoint status" "$status" "^${url}, [0-9a-f]+, 3\.[0-9]+\.[0-9]+, .*, (true|false), false, [0-9]+, [0-9]+, [0-9]+, $"
    is "one leader" "$(timeout 30 etcdctl --endpoints="$endpoints" endpoint status | grep -c ', true, false,')" 1
    has "endpoint health" "$(ctl endpoint health 2>&1)" "^${url} is healthy: successfully committed proposal: took = "
    list="$(ctl member list)"
    is "member list" "$(grep -Ec '^[0-9a-f]+, started, [^,]+, http://[^,]+, http://[^,]+, false$' <<<"$list")" "${#urls[@]}"
    is "the same members everywhere" "$(other member list | sort)" "$(sort <<<"$list")"
    for each in "${urls[@]}"; do has "its URL is in the list" "$list" ", ${each}, false$"; done
}

# Another node lists it, soon: a list is what the asked node has.
listed() {
    local list
    for _ in $(seq 50); do
        list="$(other member list)"
        grep -Eq -- "$2" <<<"$list" && break
        sleep 0.1
    done
    has "$1" "$list" "$2"
}

# Members that never start: added, refused, promoted in vain, moved, removed. Nobody is in their place.
members() {
    local url_of_new="http://127.0.0.1:$((1001 + at))" moved="http://127.0.0.1:$((1101 + at))" id learner
    # Whoever leads must have heard all the others.
    for _ in $(seq 50); do
        added="$(ctl member add one --peer-urls="$url_of_new" 2>&1)" && break
        grep -q "unhealthy cluster" <<<"$added" || fail "$url: member add: $added"
        sleep 0.2
    done
    has "member add" "$added" '^Member +[0-9a-f]+ added to cluster +[0-9a-f]+$'
    id="$(sed -n 's/^Member *\([0-9a-f]*\) added.*/\1/p' <<<"$added")"
    listed "it is listed" "^$id, unstarted, , $url_of_new, , false$"
    refused "the same address twice" "etcdserver: Peer URLs already exists" other member add two --peer-urls="$url_of_new"
    refused "promoting a voter" "etcdserver: can only promote a learner member$" ctl member promote "$id"
    is "member update" "$(ctl member update "$id" --peer-urls="$moved" | grep -Ec "^Member +$id updated in cluster")" 1
    listed "it is listed elsewhere" "^$id, unstarted, , $moved, , false$"
    is "member remove" "$(other member remove "$id" | grep -Ec "^Member +$id removed from cluster")" 1
    refused "removing it twice" "etcdserver: member not found" ctl member remove "$id"
    refused "updating it then" "etcdserver: member not found" ctl member update "$id" --peer-urls="$moved"
    refused "promoting it then" "etcdserver: member not found" ctl member promote "$id"
    learner="$(ctl member add three --learner --peer-urls="$url_of_new" | sed -n 's/^Member *\([0-9a-f]*\) added.*/\1/p')"
    [ "$learner" != "$id" ] || fail "$url: the id $id was given twice"
    listed "a learner is listed" "^$learner, unstarted, , $url_of_new, , true$"
    refused "a second learner" "etcdserver: too many learner members in cluster" \
        ctl member add four --learner --peer-urls="$moved"
    refused "promoting one that lags" "etcdserver: can only promote a learner member which is in sync with leader" \
        other member promote "$learner"
    ctl member remove "$learner" >/dev/null
    is "all is as it was" "$(ctl member list | wc -l)" "${#urls[@]}"
}

# The leadership goes to this node, by word to whoever leads.
leadership() {
    local leader me
    leader="$(timeout 30 etcdctl --endpoints="$endpoints" endpoint status | grep ', true, false,' | cut -d, -f1)"
    me="$(ctl endpoint status -w fields | sed -n 's/^"MemberID" : //p')"
    me="$(printf '%x' "$me")"
    if [ "$leader" = "$url" ]; then
        refused "moving it to nobody" "etcdserver: bad leader transferee" ctl move-leader 77777
        return
    fi
    refused "asking another than the leader" "no leader endpoint given" ctl move-leader "$me"
    has "move-leader" "$(timeout 30 etcdctl --endpoints="$leader" move-leader "$me")" "^Leadership transferred from [0-9a-f]+ to $me$"
    has "it leads" "$(ctl endpoint status)" ', true, false,'
}

alarms() {
    is "no alarm" "$(ctl alarm list)" ""
    is "disarming none" "$(ctl alarm disarm)" ""
}

maintenance() {
    local size
    ctl put "$p/m" 1 >/dev/null
    has "defrag" "$(ctl defrag 2>&1)" "^Finished defragmenting etcd member\\[$url\\]"
    # Followers may be a heartbeat behind.
    for _ in $(seq 50); do
        [ "$(timeout 30 etcdctl --endpoints="$endpoints" endpoint hashkv --rev="$(revision)" 2>/dev/null |
            cut -d, -f2 | sort | uniq -c | wc -l)" = 1 ] && break
        sleep 0.1
    done
    is "the same hash everywhere" "$(timeout 30 etcdctl --endpoints="$endpoints" endpoint hashkv --rev="$(revision)" |
        cut -d, -f2 | sort | uniq -c | awk '{print $1}')" "${#urls[@]}"
    refused "hash of the future" "required revision is a future revision" ctl endpoint hashkv --rev=$(($(revision) + 1000))
    has "snapshot save" "$(ctl snapshot save "$scratch/snap-$at" 2>&1)" "^Snapshot saved at $scratch/snap-$at\$"
    size="$(stat -c %s "$scratch/snap-$at")"
    is "its sum" "$(tail -c 32 "$scratch/snap-$at" | od -An -tx1 | tr -d ' \n')" \
        "$(head -c $((size - 32)) "$scratch/snap-$at" | sha256sum | cut -d' ' -f1)"
    ctl del "$p/m" >/dev/null
}

# json PATH BODY: etcd's JSON, by curl.
json() { curl -sS --max-time 30 -X POST -d "$2" "$url/v3/$1"; }
b64() { printf '%s' "$1" | base64 -w 0; }

as_json() {
    local key value grant
    key="$(b64 "$p/json")"
    value="$(b64 'a value')"
    has "put" "$(json kv/put "{\"key\":\"$key\",\"value\":\"$value\"}")" '^\{"header":\{.*"revision":"[0-9]+"'
    is "its value" "$(ctl get "$p/json" --print-value-only)" "a value"
    has "range" "$(json kv/range "{\"key\":\"$key\"}")" "\"kvs\":\\[\\{\"key\":\"$key\",.*\"value\":\"$value\".*\"count\":\"1\""
    has "txn" "$(json kv/txn "{\"compare\":[{\"key\":\"$key\",\"target\":\"VERSION\",\"version\":\"1\"}],
        \"success\":[{\"request_delete_range\":{\"key\":\"$key\"}}]}")" '"succeeded":true.*"response_delete_range":.*"deleted":"1"'
    has "refusal" "$(json kv/put '{}')" '"message":"etcdserver: key is not provided"'
    grant="$(json lease/grant '{"TTL":100}' | grep -o '"ID":"[0-9]*"' | cut -d'"' -f4)"
    has "keep-alive" "$(json lease/keepalive "{\"ID\":\"$grant\"}")" "^\\{\"result\":\\{.*\"ID\":\"$grant\",\"TTL\":\"100\""
    json lease/revoke "{\"ID\":\"$grant\"}" >/dev/null
    curl -sSN --max-time 30 -X POST -d "{\"create_request\":{\"key\":\"$key\"}}" "$url/v3/watch" >"$scratch/watched-$at" &
    background+=($!)
    in_file '"created":true' "$scratch/watched-$at"
    ctl put "$p/json" seen >/dev/null
    in_file "\"events\":\\[\\{\"kv\":\\{\"key\":\"$key\"" "$scratch/watched-$at"
    ctl del "$p/json" >/dev/null
}

for at in "${!urls[@]}"; do
    url="${urls[$at]}"
    next="${urls[$(((at + 1) % ${#urls[@]}))]}"
    p="e2e-$at"
    for part in keys_and_values ranges transactions watches leases locks elections compaction cluster alarms maintenance members leadership as_json; do
        "$part"
    done
    echo "etcdctl: $url: ok"
done
echo "etcdctl: $checks checks passed"
