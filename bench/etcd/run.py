#!/usr/bin/env python3
"""Quorate beside etcd: alternating pairs on one machine and one disk, one `quorate bench kv` as the client of both.

Only ratios within one run mean anything: machines, their disks and their neighbours differ too much for figures. Each
pair starts a fresh three-node cluster of each system, in turns first and second, takes every point on it, and stops it.
Printed are the medians over the pairs, the ratios with their spread, and what an operation costs: flushes, and CPU
microseconds of client, leader and followers.

    bench/etcd/run.sh [--pairs 5] [--seconds 10] [--points put:1,put:64,put:256,get:64] [--via leader|all] ...

Left out: anything that a cargo test could assert. This is a measurement, and a busy machine only makes it useless.
"""

import argparse
import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HZ = os.sysconf("SC_CLK_TCK")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=10, help="of each point")
    parser.add_argument("--points", default="put:1,put:64,put:256,get:64", help="OP:CLIENTS[,...]; OP as in quorate bench kv")
    parser.add_argument("--connections", type=int, default=8, help="of the client, at most as many as clients")
    parser.add_argument("--value-size", type=int, default=256)
    parser.add_argument("--keys", type=int, default=10000)
    parser.add_argument("--via", choices=["leader", "all"], default="leader", help="which endpoints the client is given")
    parser.add_argument("--quorate", default=os.environ.get("QUORATE", "target/release/quorate"))
    parser.add_argument("--etcd", default=os.environ.get("ETCD", "etcd"))
    parser.add_argument("--data", help="directory on the disk to be measured [default: the temporary directory]")
    parser.add_argument("--only", choices=["etcd", "quorate"], help="one system alone, for a first look")
    parser.add_argument("--json", metavar="FILE", help="write every single figure there")
    return parser.parse_args()


# --- the machine -------------------------------------------------------------------------------------------------------

def busy_and_steal():
    """Jiffies of all processors so far: all, idle, stolen by neighbours."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(x) for x in file.readline().split()[1:]]
    return sum(fields[:8]), fields[3] + fields[4], fields[7]


def cpu_seconds(pid):
    """User and system time of a process so far."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / HZ


def memory(pid):
    """RssAnon and RssFile in MiB."""
    found = {"RssAnon": float("nan"), "RssFile": float("nan")}
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in found:
                    found[name] = int(rest.split()[0]) / 1024
    except OSError:
        pass
    return found["RssAnon"], found["RssFile"]


def fdatasync_ms(directory, count=200):
    """Median time of a 4 KiB write and fdatasync into a file that is there already."""
    path = os.path.join(directory, "fdatasync")
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(handle, bytes(4096 * count), 0)
        os.fsync(handle)
        times = []
        for at in range(count):
            began = time.perf_counter()
            os.pwrite(handle, b"x" * 4096, at * 4096)
            os.fdatasync(handle)
            times.append(time.perf_counter() - began)
    finally:
        os.close(handle)
        os.unlink(path)
    return statistics.median(times) * 1000


# --- clusters ----------------------------------------------------------------------------------------------------------

def die_with_parent():
    """Runs in the child: a benchmark that is killed leaves no servers behind."""
    os.setpgrp()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def free_ports(count):
    """Ports below those that the kernel gives to outgoing connections."""
    ports, held = [], []
    while len(ports) < count:
        port = random.randrange(15000, 30000)
        listener = socket.socket()
        try:
            listener.bind(("127.0.0.1", port))
            held.append(listener)
            ports.append(port)
        except OSError:
            listener.close()
    for listener in held:
        listener.close()
    return ports


class Cluster:
    """Three nodes: urls and pids by node, and how to stop them."""

    def __init__(self, system, options, directory):
        self.system, self.children = system, []
        os.makedirs(directory)
        (self.start_etcd if system == "etcd" else self.start_quorate)(options, directory)
        self.leader = self.find_leader(options)

    def start_etcd(self, options, directory):
        ports = free_ports(6)
        self.urls = [f"http://127.0.0.1:{port}" for port in ports[:3]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[3:]]
        everyone = ",".join(f"n{i}={peer}" for i, peer in enumerate(peers))
        for i in range(3):
            command = [options.etcd, "--name", f"n{i}", "--data-dir", f"{directory}/n{i}",
                       "--listen-client-urls", self.urls[i], "--advertise-client-urls", self.urls[i],
                       "--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
                       "--initial-cluster", everyone, "--initial-cluster-token", f"bench-{ports[0]}"]
            with open(f"{directory}/n{i}.log", "w", encoding="utf-8") as log:
                self.children.append(subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with_parent))
        self.pids = [child.pid for child in self.children]

    def start_quorate(self, options, directory):
        command = [options.quorate, "up", "--json", "--any-port", "--data", f"{directory}/data"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        self.children.append(child)
        line = child.stdout.readline()
        if not line:
            raise SystemExit(f"bench: {' '.join(command)} says nothing")
        nodes = json.loads(line)["nodes"]
        self.urls = [node["etcd"] for node in nodes]
        self.pids = [node["pid"] for node in nodes]
        threading.Thread(target=child.stdout.read, daemon=True).start()

    def find_leader(self, options):
        """The place of the node that leads, once all are well."""
        command = [options.quorate, "status", "--json", "--endpoints", ",".join(self.urls)]
        end = time.monotonic() + 30
        while True:
            said = subprocess.run(command, capture_output=True, text=True, check=False)
            if said.returncode == 0:
                leaders = [node["endpoint"] for node in json.loads(said.stdout)["nodes"] if node["role"] == "leader"]
                if len(leaders) == 1 and leaders[0] in self.urls:
                    return self.urls.index(leaders[0])
            if time.monotonic() > end:
                raise SystemExit(f"bench: {self.system} has no leader after 30 s: {said.stdout}{said.stderr}")
            time.sleep(0.2)

    def flushes(self):
        """Flushes of the journal since the start, by node; None where a node does not tell."""
        return [flush_count(url) for url in self.urls]

    def stop(self):
        for child in self.children:
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def flush_count(url):
    try:
        with urllib.request.urlopen(url + "/metrics", timeout=2) as reply:
            text = reply.read().decode("utf-8", "replace")
    except (OSError, ValueError):
        return None
    except Exception:  # a server that does not speak HTTP/1.1 there answers with what http.client does not understand
        return None
    found = re.search(r"^(?:etcd_disk_wal_fsync_duration_seconds_count|quorate_journal_flushes_total) (\S+)", text, re.MULTILINE)
    return float(found.group(1)) if found else None


# --- one point ---------------------------------------------------------------------------------------------------------

class Sampler(threading.Thread):
    """CPU time of the nodes over time: what the client does before it measures must not count."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids, self.samples, self.going = pids, [], True

    def run(self):
        while self.going:
            self.take()
            time.sleep(0.1)

    def take(self):
        self.samples.append((time.monotonic(), [cpu_seconds(pid) for pid in self.pids]))

    def last(self, seconds):
        """CPU seconds of each node over about the last `seconds`, with the length of that time."""
        self.going = False
        self.take()
        end, after = self.samples[-1]
        began, before = min(self.samples, key=lambda sample: abs(end - seconds - sample[0]))
        return end - began, [b - a for a, b in zip(before, after)]


def measure(cluster, point, options):
    op, clients = point
    urls = [cluster.urls[cluster.leader]] if options.via == "leader" else cluster.urls
    command = [options.quorate, "bench", "kv", "--json", "--endpoints", ",".join(urls), "--op", op,
               "--clients", str(clients), "--connections", str(min(options.connections, clients)),
               "--value-size", str(options.value_size), "--keys", str(options.keys), "--seconds", str(options.seconds)]
    flushes = cluster.flushes()
    machine = busy_and_steal()
    sampler = Sampler(cluster.pids)
    sampler.start()
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    took, cpu = sampler.last(options.seconds)
    if said.returncode != 0:
        raise SystemExit(f"bench: {cluster.system} {op}: {said.stdout}{said.stderr}")
    result = json.loads(said.stdout.splitlines()[-1])
    all_time, idle, steal = (b - a for a, b in zip(machine, busy_and_steal()))
    ops = max(result["ops_per_s"] * took, 1)
    per_op = [seconds * 1e6 / ops for seconds in cpu]
    followers = [value for at, value in enumerate(per_op) if at != cluster.leader]
    anon, file = zip(*(memory(pid) for pid in cluster.pids))
    told = [after - before for before, after in zip(flushes, cluster.flushes()) if None not in (before, after)]
    return {
        "ops_per_s": result["ops_per_s"], "p50_us": result["p50_us"], "p99_us": result["p99_us"],
        "errors": result["errors"],
        "client_us": result.get("client_cpu_us_per_op", float("nan")),
        "leader_us": per_op[cluster.leader], "follower_us": statistics.mean(followers),
        "flushes": sum(told) / len(told) / max(result["ops"], 1) if told and op != "get" else float("nan"),
        "anon_mib": max(anon), "file_mib": max(file),
        "idle": idle / max(all_time, 1), "steal": steal / max(all_time, 1),
    }


# --- all of them -------------------------------------------------------------------------------------------------------

def one_system(system, options, base, points):
    directory = tempfile.mkdtemp(prefix=f"{system}-", dir=base)
    cluster = None
    try:
        cluster = Cluster(system, options, os.path.join(directory, "c"))
        return {point: measure(cluster, point, options) for point in points}
    finally:
        if cluster:
            cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


def median(rows, field):
    values = [row[field] for row in rows if row[field] == row[field]]
    return statistics.median(values) if values else float("nan")


def number(value, digits=1):
    return "-" if value != value else f"{value:,.{digits}f}"


def ratio(pairs, field):
    """Median of quorate / etcd over the pairs, with the extremes."""
    values = sorted(ours[field] / theirs[field] for theirs, ours in pairs if theirs[field])
    if not values:
        return "-"
    return f"{statistics.median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"


def report(points, results):
    head = ("point", "system", "ops/s", "p50 us", "p99 us", "flush/op", "leader", "follower", "client",
            "anon", "file", "errors", "idle", "steal")
    rows = [head]
    for point in points:
        for system, runs in results.items():
            of = [run[point] for run in runs]
            rows.append((f"{point[0]}:{point[1]}", system, number(median(of, "ops_per_s"), 0),
                         number(median(of, "p50_us"), 0), number(median(of, "p99_us"), 0),
                         number(median(of, "flushes"), 3), number(median(of, "leader_us")),
                         number(median(of, "follower_us")), number(median(of, "client_us")),
                         number(median(of, "anon_mib"), 0), number(median(of, "file_mib"), 0),
                         str(sum(run["errors"] for run in of)),
                         f"{median(of, 'idle') * 100:.0f}%", f"{median(of, 'steal') * 100:.1f}%"))
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths)))
    print("(medians; leader, follower, client: CPU microseconds an operation; anon, file: MiB of the largest node)")
    if len(results) < 2:
        return
    print("\nquorate / etcd: median of the pairs (least to most)")
    for point in points:
        pairs = [(a[point], b[point]) for a, b in zip(results["etcd"], results["quorate"])]
        print(f"  {point[0]}:{point[1]:<4} ops/s {ratio(pairs, 'ops_per_s')}   p50 {ratio(pairs, 'p50_us')}   "
              f"p99 {ratio(pairs, 'p99_us')}")


def main():
    options = arguments()
    options.quorate = os.path.abspath(options.quorate)
    points = [(op, int(clients)) for op, _, clients in (p.partition(":") for p in options.points.split(","))]
    systems = [options.only] if options.only else ["etcd", "quorate"]
    base = tempfile.mkdtemp(prefix="quorate-bench-", dir=options.data)
    results = {system: [] for system in systems}
    try:
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.2f}, fdatasync {fdatasync_ms(base):.3f} ms; "
              f"{options.pairs} pairs of {options.seconds} s a point, client via {options.via}, "
              f"{options.connections} connections, {options.value_size} bytes", flush=True)
        for pair in range(options.pairs):
            for system in systems if pair % 2 == 0 else reversed(systems):
                results[system].append(one_system(system, options, base, points))
                run = results[system][-1]
                line = ", ".join(f"{op}:{n} {run[op, n]['ops_per_s']:,.0f}/s" for op, n in points)
                print(f"pair {pair + 1}: {system}: {line}", file=sys.stderr, flush=True)
        report(points, results)
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                flat = {system: [{f"{op}:{n}": v for (op, n), v in run.items()} for run in runs]
                        for system, runs in results.items()}
                json.dump(flat, file, indent=1)
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
