"""etcd3gw, which OpenStack's services use: etcd's JSON over HTTP/1.1, through each endpoint; what one endpoint wrote is read through the
next.

    gateway.py URL[,URL...]
"""

import sys
import threading
from urllib.parse import urlparse

import etcd3gw
from etcd3gw import exceptions

from client import equal


def connect(url):
    parts = urlparse(url)
    return etcd3gw.client(host=parts.hostname, port=parts.port, timeout=10)


def soon(call, *args):
    threading.Timer(0.3, call, args).start()


def keys(here, there, p):
    equal(here.put(p + "a", "one"), True, "put")
    equal(there.get(p + "a"), [b"one"], "get through another node")
    equal((here.create(p + "b", "1"), there.create(p + "b", "2")), (True, False), "create once")
    equal((here.replace(p + "b", "1", "2"), here.replace(p + "b", "1", "3")), (True, False), "replace what is there")
    equal([value for value, _ in there.get_prefix(p, sort_order="descend", sort_target="key")], [b"2", b"one"], "a prefix")
    equal((here.delete(p + "b"), here.delete(p + "b")), (True, False), "delete once")
    equal(there.delete_prefix(p), True, "delete a prefix")


def leases(here, there, p):
    lease = here.lease(ttl=60)
    here.put(p + "l", "v", lease=lease)
    equal(lease.keys(), [(p + "l").encode()], "keys of a lease")
    equal((lease.refresh(), lease.ttl() in (59, 60)), (60, True), "its time")
    equal(lease.revoke(), True, "revoke")
    equal(there.get(p + "l"), [], "its key is gone with it")


def locks(here, there, p):
    mine, other = here.lock(p + "lock", ttl=60), there.lock(p + "lock", ttl=60)
    equal((mine.acquire(), mine.is_acquired(), other.acquire()), (True, True, False), "one holds a lock")
    equal((mine.refresh(), mine.release(), other.acquire(), other.release()), (60, True, True, True), "then the other")


def watches(here, there, p):
    events, cancel = here.watch_prefix(p)
    soon(there.put, p + "w", "x")
    event = next(events)
    equal((event["kv"]["key"], event["kv"]["value"]), ((p + "w").encode(), b"x"), "an event")
    cancel()
    soon(there.put, p + "once", "y")
    equal(here.watch_once(p + "once", timeout=10)["kv"]["value"], b"y", "watch once")
    try:
        got = here.watch_once(p + "never", timeout=1)
    except exceptions.WatchTimedOut:
        return
    raise AssertionError(f"expected no event, got {got!r}")


def main():
    urls = sys.argv[1].split(",")
    for at, url in enumerate(urls):
        here, there = connect(url), connect(urls[(at + 1) % len(urls)])
        p = f"gw-{at}/"
        here.delete_prefix(p)
        for part in (keys, leases, locks, watches):
            part(here, there, p)
        equal(sorted(u for m in here.members() for u in m["clientURLs"]), sorted(urls), "members' URLs")
        equal(len(here.status()["version"].split(".")), 3, "version")
        here.delete_prefix(p)
        print(f"gateway: {url}: ok", flush=True)


if __name__ == "__main__":
    main()
