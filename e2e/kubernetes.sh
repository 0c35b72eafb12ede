#!/usr/bin/env bash
# The tests of Kubernetes' own store (the part of its API server that lives on etcd), against `quorate etcd`.
#
#   e2e/kubernetes.sh QUORATE            all of them
#   e2e/kubernetes.sh QUORATE PATTERN    those whose names match, as `go test -run` takes it
#
# They are the module k8s.io/apiserver as it is, but for the server: it would run inside of the test, and is a process here
# (kubernetes/binary.go). Go must be there. What failed is in the log that is named at the end.
set -euo pipefail
quorate="$(realpath "${1:?kubernetes.sh QUORATE [PATTERN]}")"
pattern="${2:-.}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
version=v0.36.2
# Skipped: what only Kubernetes' own bookkeeping or etcd's inside decides.
skipped=""
export GOFLAGS=-mod=mod GOTOOLCHAIN=local
go="$(command -v go || echo /usr/local/go/bin/go)"
"$go" version >/dev/null || { echo "kubernetes.sh: no Go" >&2; exit 1; }

work="${KUBERNETES:-${CARGO_TARGET_DIR:-$here/target}/kubernetes}"
if [ ! -e "$work/built-$version" ]; then
    rm -rf "$work"
    mkdir -p "$work"
    cd "$work"
    printf 'module fetch\n' >go.mod
    module="$("$go" mod download -json "k8s.io/apiserver@$version" | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')"
    cp -r "$module" apiserver
    chmod -R u+w apiserver
    cd apiserver
    server=pkg/storage/etcd3/testserver
    sed -i -e '/e, err := embed.StartEtcd(cfg)/,/^	}()$/d' -e 's/e\.Server\.Cluster()\.ClientURLs()/startBinary(t, cfg)/' \
        "$server/test_server.go"
    cp "$here/kubernetes/binary.go" "$server/"
    "$go" test -c -o "$work/etcd3.test" ./pkg/storage/etcd3
    "$go" test -c -o "$work/cacher.test" ./pkg/storage/cacher
    touch "$work/built-$version"
fi

export QUORATE="$quorate"
failed=0
for part in etcd3 cacher; do
    log="$work/$part.log"
    if (cd "$work/apiserver/pkg/storage/$part" && timeout 900 "$work/$part.test" -test.timeout 890s -test.parallel 4 -test.v \
        -test.run "$pattern" ${skipped:+-test.skip "$skipped"}) >"$log" 2>&1; then
        echo "ok      $part: $(grep -c '^--- PASS' "$log" || true) tests"
    else
        grep -E '^ *--- FAIL' "$log" | sed "s/^/FAILED  $part /" || true
        echo "$part: $(grep -c '^--- PASS' "$log" || true) passed, others did not: $log" >&2
        failed=1
    fi
done
exit "$failed"
