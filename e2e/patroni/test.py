#!/usr/bin/env python3
"""Patroni keeps two servers of PostgreSQL, with its leader key and configuration in the cluster at ENDPOINTS (a comma between two).

    test.py ENDPOINTS DIRECTORY

Who leads is killed and the other takes over within the time of the key; the first comes back as a follower; what was committed is
there; the leadership goes back when that is asked for. PostgreSQL does not run as root: then all of it runs as the user `postgres`.
"""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import psycopg

TTL = 20
"""Patroni takes no shorter one."""
POSTGRES = next((d for d in (f"/usr/lib/postgresql/{n}/bin" for n in range(30, 9, -1)) if os.path.isdir(d)), None)
BIN = os.path.dirname(sys.executable)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(what, seconds, ask):
    """Asks until there is an answer, and says how long that took."""
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        try:
            if answer := ask():
                print(f"{what}: {time.monotonic() - begun:.1f} s", flush=True)
                return answer
        except (OSError, psycopg.Error, ValueError):
            pass
        time.sleep(0.2)
    raise SystemExit(f"{what}: not within {seconds} s")


class Member:
    """One Patroni with its PostgreSQL."""

    def __init__(self, name, hosts, directory):
        self.name, self.home = name, os.path.join(directory, name)
        self.port, self.rest = free_port(), free_port()
        os.makedirs(self.home, mode=0o700)
        self.config = os.path.join(self.home, "patroni.json")
        local = f"127.0.0.1:{self.port}"
        user = {"username": "postgres", "password": "secret"}
        config = {
            "scope": "e2e",
            "name": name,
            "restapi": {"listen": f"127.0.0.1:{self.rest}", "connect_address": f"127.0.0.1:{self.rest}"},
            "etcd3": {"hosts": hosts},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": 2,
                    "retry_timeout": 3,
                    "postgresql": {"use_pg_rewind": True, "parameters": {"fsync": "off", "max_connections": 20}},
                },
                "initdb": ["data-checksums", {"encoding": "UTF8"}],
                "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
            },
            "postgresql": {
                "listen": local,
                "connect_address": local,
                "data_dir": os.path.join(self.home, "data"),
                "bin_dir": POSTGRES,
                "authentication": {"superuser": user, "replication": {**user, "username": "replicator"}},
                "parameters": {"unix_socket_directories": self.home},
            },
        }
        with open(self.config, "w") as file:
            json.dump(config, file)
        self.process = None

    def start(self):
        log = open(os.path.join(self.home, "patroni.log"), "a")
        command = [os.path.join(BIN, "patroni"), self.config]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.home, start_new_session=True)

    def kill(self):
        """Patroni first, so that it does not start its server again; then that."""
        self.process.kill()
        self.process.wait()
        try:
            with open(os.path.join(self.home, "data", "postmaster.pid")) as file:
                os.kill(int(file.readline()), signal.SIGQUIT)
        except (FileNotFoundError, ProcessLookupError):
            pass

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()

    def says(self):
        """What Patroni tells of its member, whether or not all is well."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/patroni", timeout=2) as page:
            return json.load(page)

    def leads(self):
        return self.says().get("role") in ("primary", "master")

    def follows(self):
        said = self.says()
        return said.get("role") == "replica" and said.get("replication_state") == "streaming"

    def sql(self, text):
        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=2",
                             autocommit=True) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else True

    def ctl(self, *words):
        command = [os.path.join(BIN, "patronictl"), "-c", self.config, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=90).stdout


def main(hosts, directory):
    one, two = Member("one", hosts, directory), Member("two", hosts, directory)
    try:
        one.start()
        wait("a first leader", 90, one.leads)
        one.sql("create table t (n int primary key)")
        one.sql("insert into t values (1)")
        two.start()
        wait("a follower that streams", 90, two.follows)
        wait("what was written, at the follower", 10, lambda: two.sql("select n from t") == [(1,)])
        one.kill()
        wait("another leader, behind a kill", TTL + 15, two.leads)
        two.sql("insert into t values (2)")
        one.start()
        wait("the first one follows", 90, one.follows)
        wait("all that was written, at both", 10, lambda: one.sql("select n from t order by n") == [(1,), (2,)])
        two.ctl("switchover", "e2e", "--leader", "two", "--candidate", "one", "--force")
        wait("the leadership given back", 30, one.leads)
        wait("the other follows", 60, two.follows)
        one.ctl("edit-config", "e2e", "--set", "loop_wait=1", "--force")
        wait("a changed configuration", 30, lambda: "loop_wait: 1" in two.ctl("show-config", "e2e"))
        members = json.loads(one.ctl("list", "e2e", "--format", "json"))
        roles = sorted((m["Member"], m["Role"], m["State"]) for m in members)
        assert roles == [("one", "Leader", "running"), ("two", "Replica", "streaming")], roles
        print("patroni: ok")
    finally:
        for member in (two, one):
            member.stop()


if __name__ == "__main__":
    hosts, directory = sys.argv[1].split(","), os.path.abspath(sys.argv[2])
    if POSTGRES is None:
        raise SystemExit("there is no PostgreSQL in /usr/lib/postgresql")
    os.makedirs(directory, exist_ok=True)
    if os.getuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(directory, user.pw_uid, user.pw_gid)
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        os.environ["HOME"] = directory
    main([host.removeprefix("http://") for host in hosts], directory)
