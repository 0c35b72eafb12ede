"""A Python client (etcd-sdk-python) against a running cluster: what its users call, each answer asserted, once through
each endpoint; what one endpoint wrote is read through the next.

    client.py URL[,URL...]
"""

import sys
import threading
import time
from urllib.parse import urlparse

import grpc
import pyetcd
from pyetcd import exceptions


def connect(url):
    parts = urlparse(url)
    return pyetcd.client(host=parts.hostname, port=parts.port, timeout=10)


def equal(got, expected, what):
    if got != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {got!r}")


def refused(code, text, call, *args, **kwargs):
    """The call ends with this status."""
    try:
        got = call(*args, **kwargs)
    except grpc.RpcError as error:
        equal((error.code(), error.details()), (code, text), "error")
        return
    raise AssertionError(f"expected {text!r}, got {got!r}")


def eventually(what, holds, patience=10):
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {patience} s")
        time.sleep(0.05)


def value(client, key):
    return client.get(key)[0]


def puts_and_gets(here, there, p):
    first = here.put(p + "a", "one")
    equal(value(there, p + "a"), b"one", "get through another node")
    second = here.put(p + "a", "two", prev_kv=True)
    equal(second.prev_kv.value, b"one", "prev_kv")
    equal(second.header.revision, first.header.revision + 1, "one revision a put")
    _, meta = there.get(p + "a")
    equal((meta.version, meta.create_revision, meta.mod_revision),
          (2, first.header.revision, second.header.revision), "what a key knows of itself")
    equal(there.get(p + "a", revision=first.header.revision)[0], b"one", "get at a revision")
    equal(value(here, p + "none"), None, "get of nothing")
    equal(here.put_if_not_exists(p + "a", "x"), False, "put_if_not_exists of what exists")
    equal(here.put_if_not_exists(p + "b", "x"), True, "put_if_not_exists")
    equal(there.replace(p + "b", "x", "y"), True, "replace")
    equal(there.replace(p + "b", "x", "z"), False, "replace of another value")
    equal(value(here, p + "b"), b"y", "the replaced value")
    equal(here.delete(p + "b"), True, "delete")
    equal(here.delete(p + "b"), False, "delete of nothing")
    big = bytes(range(256)) * 2048
    here.put(p + "big", big)
    equal(value(there, p + "big"), big, "half a MiB of every byte")
    refused(grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: request is too large",
            here.put, p + "big", b"x" * (1536 * 1024 + 1))


def ranges(here, there, p):
    for i in range(1, 6):
        here.put(f"{p}k{i}", f"v{6 - i}")
    values = lambda found: [v for v, _ in found]
    ascending = [b"v5", b"v4", b"v3", b"v2", b"v1"]
    equal(values(there.get_prefix(p + "k")), ascending, "prefix")
    equal(values(there.get_prefix(p + "k", sort_order="descend")), ascending[::-1], "descending keys")
    equal(values(there.get_prefix(p + "k", sort_order="ascend", sort_target="value")), ascending[::-1], "by value")
    equal(values(there.get_range(p + "k2", p + "k4")), [b"v4", b"v3"], "range")
    page = there.get_prefix_response(p + "k", limit=2)
    equal((len(page.kvs), page.count, page.more), (2, 5, True), "limit, count and more")
    equal([v for v, _ in there.get_prefix(p + "k", keys_only=True)], [b""] * 5, "keys_only")
    equal(here.delete_prefix(p + "k").deleted, 5, "delete_prefix")


def transactions(here, there, p):
    t = here.transactions
    here.put(p + "t", "1")
    done, replies = here.transaction(
        compare=[t.value(p + "t") == "1", t.version(p + "t") > 0, t.create(p + "none") == 0],
        success=[t.put(p + "t", "2"), t.get(p + "t")],
        failure=[t.delete(p + "t")])
    equal(done, True, "txn")
    equal(replies[1][0][0], b"2", "a txn reads what it wrote")
    done, _ = there.transaction(compare=[t.value(p + "t") == "1"], success=[], failure=[t.put(p + "t", "3")])
    equal(done, False, "txn whose compare fails")
    nested = [t.txn(compare=[t.value(p + "t") == "3"], success=[t.put(p + "t", "4")], failure=[])]
    here.transaction(compare=[], success=nested, failure=[])
    equal(value(there, p + "t"), b"4", "a nested txn")
    refused(grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", here.transaction,
            compare=[], success=[t.put(p + "t", "5"), t.put(p + "t", "6")], failure=[])


def watches(here, there, p):
    start = here.put(p + "w1", "a").header.revision
    here.put(p + "w2", "b")
    here.delete(p + "w1")
    events, cancel = there.watch_prefix(p + "w", start_revision=start)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(describe(e) for e in events), daemon=True)
    reader.start()
    eventually("three events", lambda: len(seen) >= 3)
    here.put(p + "w2", "c")
    eventually("a fourth", lambda: len(seen) >= 4)
    cancel()
    reader.join(10)
    equal(seen, [("PutEvent", p + "w1", b"a"), ("PutEvent", p + "w2", b"b"), ("DeleteEvent", p + "w1", b""),
                 ("PutEvent", p + "w2", b"c")], "events from an old revision")
    threading.Timer(0.3, here.put, (p + "once", "now")).start()
    equal(there.watch_once(p + "once", timeout=10).value, b"now", "watch_once")


def describe(event):
    return type(event).__name__, event.key.decode(), event.value


def leases(here, there, p):
    lease = here.lease(600)
    here.put(p + "l", "v", lease=lease)
    info = there.get_lease_info(lease.id)
    equal(info.grantedTTL, 600, "granted")
    if not 590 <= info.TTL <= 600:
        raise AssertionError(f"{info.TTL} s are left of 600")
    equal(list(info.keys), [(p + "l").encode()], "its keys")
    equal([r.TTL for r in there.refresh_lease(lease.id)], [600], "keep-alive")
    there.revoke_lease(lease.id)
    equal(value(here, p + "l"), None, "a lease takes its keys along")
    refused(grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found", here.revoke_lease, lease.id)
    short = here.lease(2)
    here.put(p + "short", "v", lease=short)
    eventually("a short lease ends", lambda: value(there, p + "short") is None)


def locks(here, there, p):
    # The client's own lock recipe, on put, get, delete, lease and watch.
    lock = here.lock(p + "lock", ttl=30)
    equal(lock.acquire(timeout=5), True, "lock")
    equal(there.lock(p + "lock", ttl=30).acquire(timeout=1), False, "a lock that another holds")
    equal(lock.release(), True, "unlock")


def compaction(here, there, p):
    for v in "123":
        now = here.put(p + "c", v).header.revision
    here.compact(now, physical=True)
    equal(there.get(p + "c", revision=now)[0], b"3", "get at the compacted revision")
    gone = "etcdserver: mvcc: required revision has been compacted"
    refused(grpc.StatusCode.OUT_OF_RANGE, gone, there.get, p + "c", revision=now - 1)
    refused(grpc.StatusCode.OUT_OF_RANGE, gone, here.compact, now)
    try:
        events, _ = there.watch(p + "c", start_revision=now - 1)
        next(iter(events))
        raise AssertionError("a watch from below the compaction brought an event")
    except exceptions.RevisionCompactedError as error:
        equal(error.compacted_revision, now, "the revision that a watch is told")


def cluster(here, there, urls):
    status = here.status()
    equal([part.isdigit() for part in status.version.split(".")], [True] * 3, f"version {status.version}")
    members = list(there.members)
    equal(sorted(u for m in members for u in m.client_urls), sorted(urls), "members' URLs")
    equal(all(m.name for m in members), True, "members' names")
    if status.leader is None or status.leader.id not in [m.id for m in members]:
        raise AssertionError("the leader is not a member")
    equal(list(here.list_alarms()), [], "alarms")


def several_addresses(urls):
    """gRPC's own way to know several addresses, which clients in C++ use, too: all of them stand where a host's name should."""
    addresses = ",".join(urlparse(url).netloc for url in urls)
    with grpc.insecure_channel(f"ipv4:{addresses}", options=[("grpc.lb_policy_name", "round_robin")]) as channel:
        members = channel.unary_unary("/etcdserverpb.Cluster/MemberList")
        for _ in range(2 * len(urls)):
            equal(b"http" in members(b"", timeout=10, wait_for_ready=True), True, "members' URLs")


def main():
    urls = sys.argv[1].split(",")
    several_addresses(urls)
    for at, url in enumerate(urls):
        here, there = connect(url), connect(urls[(at + 1) % len(urls)])
        p = f"py-{at}/"
        here.delete_prefix(p)
        for part in (puts_and_gets, ranges, transactions, watches, leases, locks, compaction):
            part(here, there, p)
        cluster(here, there, urls)
        here.delete_prefix(p)
        here.close()
        there.close()
        print(f"python: {url}: ok", flush=True)


if __name__ == "__main__":
    main()
