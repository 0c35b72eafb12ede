#!/usr/bin/env bash
# etcd's own end-to-end tests, with `quorate etcd` in the place of its binary: those that etcdtests.txt names.
#
#   e2e/etcdtests.sh QUORATE            all of them, about five minutes
#   e2e/etcdtests.sh QUORATE PATTERN    those whose names match (an extended regular expression)
#
# The tests are etcd's module for Go, fetched as it is; Go must be there. There is no TLS here, so those that ask for it run without. They choose
# ports from 20000 on. What failed is in the log that is named at the end.
set -euo pipefail
quorate="$(realpath "${1:?etcdtests.sh QUORATE [PATTERN]}")"
pattern="${2:-.}"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
version=v3.6.16
export GOFLAGS=-mod=mod GOTOOLCHAIN=local
go="$(command -v go || echo /usr/local/go/bin/go)"
"$go" version >/dev/null || { echo "etcdtests.sh: no Go" >&2; exit 1; }

work="${ETCDTESTS:-${CARGO_TARGET_DIR:-$here/target}/etcdtests}"
# Built once; only the wrapper around the binary is new each time.
if [ ! -e "$work/built-$version-2" ]; then
    rm -rf "$work"
    mkdir -p "$work/bin"
    cd "$work"
    printf 'module fetch\n' >go.mod
    module="$("$go" mod download -json "go.etcd.io/etcd/tests/v3@$version" | sed -n 's/.*"Dir": "\(.*\)",*/\1/p')"
    cp -r "$module" tests
    chmod -R u+w tests
    cd tests
    # Outside of etcd's repository its other modules are fetched, too.
    sed -i '/^replace (/,/^)/d' go.mod
    sed -i -E "s,(go\.etcd\.io/etcd/(api|client/pkg|client|etcdctl|etcdutl|pkg|server)/v3) v3\.[^ ]+,\1 $version," go.mod
    # Whoever asks for TLS, in either way that there is, gets none.
    sed -i -E 's/(IsPeerTLS|IsPeerAutoTLS|Client\.AutoTLS) = (is[A-Za-z]+|true)/\1 = false/; s/Client\.ConnectionType = (clientConnType|ClientTLS)/Client.ConnectionType = ClientNonTLS/' \
        framework/e2e/cluster.go framework/e2e/e2e.go
    sed -i 's/ConnectionType: e2e.ClientTLS}/}/' e2e/watch_test.go
    "$go" build -o "$work/bin/etcdctl" go.etcd.io/etcd/etcdctl/v3
    "$go" build -o "$work/bin/etcdutl" go.etcd.io/etcd/etcdutl/v3
    "$go" test -c -tags e2e -o "$work/common.test" ./common
    "$go" test -c -o "$work/e2e.test" ./e2e
    touch "$work/built-$version-2"
fi
printf '#!/bin/sh\nexec "%s" etcd "$@"\n' "$quorate" >"$work/bin/etcd"
chmod +x "$work/bin/etcd"

failed=0
log="$work/log"
: >"$log"
# Subtests that need TLS or a release of etcd before this one are not among those.
run() { # BINARY DIRECTORY SUFFIX
    local name
    for name in $(grep -E "^$1 " "$here/etcdtests.txt" | cut -d' ' -f2 | grep -E "$pattern"); do
        if (cd "$work/tests/$1" && timeout 180 "$work/$1.test" -test.timeout 170s -test.run "^${name%%/*}\$${name#"${name%%/*}"}" \
            -test.v -bin-dir "$work/bin") >"$work/one" 2>&1; then
            echo "ok      $1 $name"
        else
            echo "FAILED  $1 $name"
            failed=$((failed + 1))
        fi
        cat "$work/one" >>"$log"
    done
}
run common
run e2e
if [ "$failed" -gt 0 ]; then
    echo "$failed of etcd's tests failed: $log" >&2
    exit 1
fi
