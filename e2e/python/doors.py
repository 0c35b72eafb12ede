"""What lies around the operations of the DynamoDB door, with AWS's SDK for Python (boto3) and by hand: packed bodies, keys, and
tables as files. It starts nodes of its own where the door must be set up otherwise.

    doors.py PROGRAM URL[,URL...]
"""

import gzip
import http.client
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import zlib

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tables import connect, equal, n, refused, s, simple_table, wide_table


def ask(url, operation, body, headers=None, key=("any", "any"), at=None):
    """One request by hand: status, headers, and the body as it came."""
    said = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810." + operation}
    request = AWSRequest("POST", url + "/", data=body, headers={**said, **(headers or {})})
    SigV4Auth(Credentials(*key), "dynamodb", "eu-west-1").add_auth(request)
    host = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(host.hostname, host.port, timeout=20)
    connection.request("POST", "/", body=body, headers=dict(request.headers))
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def packed(program, url, other, p):
    """A body may be packed both ways; the checksum is over what is sent."""
    here = connect(url)
    table = p + "items"
    simple_table(here, table)
    item = {"id": s("a"), "text": s("word " * 40_000)}
    body = gzip.compress(json.dumps({"TableName": table, "Item": item}).encode())
    status, _, _ = ask(url, "PutItem", body, {"Content-Encoding": "gzip"})
    equal(status, 200, "a packed request")
    wanted = json.dumps({"TableName": table, "Key": {"id": s("a")}, "ConsistentRead": True}).encode()
    status, headers, raw = ask(other, "GetItem", wanted, {"Accept-Encoding": "gzip"})
    equal((status, headers.get("content-encoding")), (200, "gzip"), "a packed answer")
    equal(int(headers["x-amz-crc32"]), zlib.crc32(raw), "checksum")
    equal(json.loads(gzip.decompress(raw))["Item"], item, "the item")
    status, headers, raw = ask(other, "GetItem", wanted)
    equal((headers.get("content-encoding"), json.loads(raw)["Item"]), (None, item), "not packed unless asked for")
    bomb = gzip.compress(b" " * (64 << 20))
    status, _, _ = ask(url, "GetItem", bomb, {"Content-Encoding": "gzip"})
    equal(status, 413, "too much when it is unpacked")
    here.delete_table(TableName=table)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Node:
    """A node of its own, with keys."""

    def __init__(self, program, scratch, keys):
        etcd, dynamo, peer = (free_port() for _ in range(3))
        self.url = f"http://127.0.0.1:{dynamo}"
        command = [program, "serve", "--data", f"{scratch}/node", "--etcd", f"127.0.0.1:{etcd}", "--dynamo", f"127.0.0.1:{dynamo}"]
        command += ["--peer", f"127.0.0.1:{peer}", "--dynamo-keys", keys, "--json", "--exit-with-stdin"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        equal(json.loads(line)["event"], "serving", "the node")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(30)


def client(url, key, secret):
    return boto3.client("dynamodb", endpoint_url=url, region_name="eu-west-1", aws_access_key_id=key, aws_secret_access_key=secret)


def keys(program, url, other, p):
    """Where keys are set up, only who signs with one of them is heard, and nothing of it can be changed on the way."""
    scratch = tempfile.mkdtemp()
    path = pathlib.Path(scratch) / "keys"
    path.write_text("# id and secret\nAKIDONE secret+of/one\nAKIDTWO secretoftwo\n")
    path.chmod(0o600)
    node = Node(program, scratch, str(path))
    try:
        for key, secret in [("AKIDONE", "secret+of/one"), ("AKIDTWO", "secretoftwo")]:
            equal(client(node.url, key, secret).list_tables()["TableNames"], [], "heard")
        refused("UnrecognizedClientException", "security token", client(node.url, "AKIDSIX", "x").list_tables)
        refused("InvalidSignatureException", "does not match", client(node.url, "AKIDONE", "secretoftwo").list_tables)
        one = ("AKIDONE", "secret+of/one")
        status, _, _ = ask(node.url, "ListTables", gzip.compress(b"{}"), {"Content-Encoding": "gzip"}, one)
        equal(status, 200, "packed and signed")
        kind = lambda raw: json.loads(raw)["__type"].split("#")[1]
        status, _, raw = ask(node.url, "ListTables", b"{}", key=("none", "none"))
        equal((status, kind(raw)), (400, "UnrecognizedClientException"), "unknown")
        host = urllib.parse.urlsplit(node.url)
        connection = http.client.HTTPConnection(host.hostname, host.port, timeout=20)
        connection.request("POST", "/", body=b"{}", headers={"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.ListTables"})
        equal(kind(connection.getresponse().read()), "MissingAuthenticationTokenException", "not signed")
        failed = subprocess.run([program, "space", "export", "t", scratch, "--endpoint", node.url], capture_output=True, text=True, env={})
        equal((failed.returncode, "AWS_ACCESS_KEY_ID" in failed.stderr), (1, True), f"told what to do: {failed.stderr}")
        environment = {"AWS_ACCESS_KEY_ID": one[0], "AWS_SECRET_ACCESS_KEY": one[1], "AWS_REGION": "here"}
        simple_table(client(node.url, *one), "signed")
        done = subprocess.run([program, "space", "export", "signed", scratch, "--endpoint", node.url], capture_output=True, text=True, env=environment)
        equal(done.returncode, 0, done.stderr)
    finally:
        node.stop()
        shutil.rmtree(scratch)
    bad = subprocess.run([program, "serve", "--dynamo-keys", "/nowhere"], capture_output=True, text=True)
    equal((bad.returncode, "no door" in bad.stderr), (2, True), bad.stderr)


def space(program, *args):
    done = subprocess.run([program, "space", *args, "--json"], capture_output=True, text=True)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def everything(here, table):
    pages = here.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    key = lambda item: (item["p"]["S"], float(item["q"]["N"]))
    return sorted((item for page in pages for item in page["Items"]), key=key)


def files(program, url, other, p):
    """A table goes into files and comes back from them; what is damaged or incomplete is not imported."""
    here, there = connect(url), connect(other)
    table, copy = p + "items", p + "copy"
    wide_table(here, table)
    for part in range(4):
        puts = [{"p": s(f"p{part}"), "q": n(at), "g": s("x"), "b": {"B": bytes([at])}, "deep": {"L": [{"M": {"é": {"NULL": True}}}]}} for at in range(25)]
        here.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item}} for item in puts]})
    scratch = tempfile.mkdtemp()
    try:
        code, told, said = space(program, "export", table, scratch, "--endpoint", url, "--segments", "3")
        equal((code, said), (0, ""), "exported")
        equal([line["event"] for line in told], ["file"] * 3 + ["exported"], "told")
        equal((told[-1]["items"], told[-1]["files"]), (100, 3), "how much")
        export = pathlib.Path(told[-1]["dir"])
        summary = json.loads((export / "manifest-summary.json").read_text())
        equal((summary["itemCount"], summary["outputFormat"], summary["exportType"]), (100, "DYNAMODB_JSON", "FULL_EXPORT"), "summary")
        lines = [json.loads(line) for line in (export / "manifest-files.json").read_text().splitlines()]
        read = []
        for line in lines:
            data = pathlib.Path(scratch) / line["dataFileS3Key"]
            items = [json.loads(item) for item in gzip.decompress(data.read_bytes()).decode().splitlines()]
            equal((len(items), {tuple(item) for item in items} <= {("Item",)}), (line["itemCount"], True), "lines of a file")
            read += items
        equal(len(read), 100, "items in files")
        code, told, said = space(program, "import", scratch, copy, "--endpoint", other)
        equal((code, told[-1]["items"], told[-1]["made"]), (0, 100, True), f"imported: {said}")
        equal(everything(here, copy), everything(there, table), "the same items")
        described = there.describe_table(TableName=copy)["Table"]
        equal([len(described[name]) for name in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes")], [1, 1], "the same indexes")
        code, _, said = space(program, "import", scratch, copy, "--endpoint", other)
        equal((code, "has items already" in said), (2, True), said)
        code, told, said = space(program, "import", scratch, copy, "--endpoint", other, "--merge")
        equal((code, told[-1]["items"]), (0, 100), f"once more: {said}")
        equal(len(everything(here, copy)), 100, "put twice, there once")
        code, told, said = space(program, "import", scratch, copy, "--endpoint", other, "--skip-files", "2")
        equal((code, len(told)), (0, 2), f"the last file alone: {said}")
        code, _, said = space(program, "import", scratch, "--endpoint", "http://127.0.0.1:1", "--skip-files", "9")
        equal((code, "--skip-files" in said), (2, True), said)
        damaged = pathlib.Path(scratch) / lines[0]["dataFileS3Key"]
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        code, _, said = space(program, "import", scratch, copy + "2", "--endpoint", other)
        equal((code, "MD5" in said), (5, True), said)
        damaged.write_bytes(whole)
        (export / "manifest-summary.json").unlink()
        code, _, said = space(program, "import", scratch, copy + "2", "--endpoint", other)
        equal((code, "no complete export" in said), (2, True), said)
        code, _, said = space(program, "export", p + "none", scratch, "--endpoint", url)
        equal((code, "ResourceNotFoundException" in said), (1, True), said)
    finally:
        shutil.rmtree(scratch)
    for name in (table, copy):
        here.delete_table(TableName=name)


def off(program, url, other, p):
    """What is not there says so by the service's own names."""
    here = connect(url)
    table = p + "items"
    simple_table(here, table)
    arn = "arn:aws:dynamodb:local:000000000000:table/x/backup/0123456789"
    refused("ContinuousBackupsUnavailableException", "not available", here.create_backup, TableName=table, BackupName="b" * 8)
    refused("BackupNotFoundException", "", here.describe_backup, BackupArn=arn)
    refused("GlobalTableNotFoundException", "", here.describe_global_table, GlobalTableName=table)
    refused("PointInTimeRecoveryUnavailableException", "", here.export_table_to_point_in_time, TableArn=arn, S3Bucket="b")
    equal(here.list_backups()["BackupSummaries"], [], "no backups")
    equal(here.list_global_tables()["GlobalTables"], [], "no global tables")
    equal(here.describe_kinesis_streaming_destination(TableName=table)["KinesisDataStreamDestinations"], [], "no destinations")
    here.delete_table(TableName=table)


def main():
    program, urls = sys.argv[1], sys.argv[2].split(",")
    only = sys.argv[3:]
    for at, url in enumerate(urls):
        other = urls[(at + 1) % len(urls)]
        # A node of its own is enough of one.
        parts = [packed, files, off] + ([keys] if at == 0 else [])
        for part in parts:
            if not only or part.__name__ in only:
                part(program, url, other, f"dr{at}.{part.__name__}.")
        print(f"doors: {url}: ok", flush=True)


if __name__ == "__main__":
    main()
