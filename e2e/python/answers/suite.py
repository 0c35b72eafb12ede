"""The tools of the suite: a client without its own validation, a count of what was asked, shorthands for values."""

import http.client
import json
import time
from urllib.parse import urlparse

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

INVALID = "One or more parameter values were invalid: "
EMPTY_KEY = (
    "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty "
)
NOT_SCHEMA = "The provided key element does not match the schema"
VALIDATION = "ValidationException"
CONDITION = "ConditionalCheckFailedException"
NOT_FOUND = "ResourceNotFoundException"
ITEM_OPERATIONS = {
    "put_item", "get_item", "update_item", "delete_item", "query", "scan", "update_table", "describe_table",
    "update_time_to_live", "describe_time_to_live",
}


def connect(url):
    config = Config(
        retries={"mode": "standard", "max_attempts": 3}, connect_timeout=5, read_timeout=30, parameter_validation=False
    )
    return boto3.client(
        "dynamodb", endpoint_url=url, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any",
        config=config
    )


def s(text):
    return {"S": text}


def n(number):
    return {"N": str(number)}


def l(*values):
    return {"L": list(values)}


def m(**values):
    return {"M": values}


def v(text):
    return VALIDATION, text


class Suite:
    """Counts what was asked, and gathers what was answered otherwise."""

    def __init__(self):
        self.asked = 0
        self.wrong = []

    def equal(self, what, got, expected):
        self.asked += 1
        if got != expected:
            self.wrong.append(f"{what}: expected {expected!r}, got {got!r}")

    def error(self, what, call, expected):
        """`expected` is a code, or a code and the text: a text in `=` is the whole of it, another a part."""
        self.asked += 1
        code, text = expected if isinstance(expected, tuple) else (expected, "")
        try:
            got = call()
        except ClientError as error:
            found = error.response["Error"]
            there = found.get("Message", "")
            same = there == text[1:] if text.startswith("=") else text in there
            if found["Code"] != code or not same:
                self.wrong.append(f"{what}: expected {code}: {text!r}, got {found['Code']}: {there!r}")
            return error.response
        self.wrong.append(f"{what}: expected {code}: {text!r}, got {short(got)}")
        return None

    def answers(self, what, call):
        self.asked += 1
        try:
            return call()
        except ClientError as error:
            self.wrong.append(f"{what}: {error}")
            return {}


def short(answer):
    answer = {k: v for k, v in answer.items() if k != "ResponseMetadata"} if isinstance(answer, dict) else answer
    return repr(answer)[:300]


class Area:
    """A client, a prefix for names of tables, and shorthands."""

    def __init__(self, suite, client, url, prefix):
        self.suite, self.client, self.url, self.prefix = suite, client, url, prefix
        self.tables = []

    def name(self, name):
        return self.prefix + name

    def table(self, name="t", hash="p:S", sort=None, lsi=(), gsi=(), **more):
        """A table; keys as `name:type`, indexes as (name, hash, sort, projection)."""
        kinds, name = {}, self.name(name)

        def key(hash, sort):
            schema = []
            for kind, part in (("HASH", hash), ("RANGE", sort)):
                if part:
                    attribute, _, scalar = part.partition(":")
                    if scalar:
                        kinds[attribute] = scalar
                    schema.append({"AttributeName": attribute, "KeyType": kind})
            return schema

        def index(index, hash, sort, projection):
            projection = {"ProjectionType": projection} if isinstance(projection, str) else {
                "ProjectionType": "INCLUDE", "NonKeyAttributes": projection}
            return {"IndexName": index, "KeySchema": key(hash, sort), "Projection": projection}

        request = {"TableName": name, "KeySchema": key(hash, sort), "BillingMode": "PAY_PER_REQUEST", **more}
        if lsi:
            request["LocalSecondaryIndexes"] = [index(*i) for i in lsi]
        if gsi:
            request["GlobalSecondaryIndexes"] = [index(*i) for i in gsi]
        request["AttributeDefinitions"] = [{"AttributeName": a, "AttributeType": t} for a, t in kinds.items()]
        self.client.create_table(**request)
        self.client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
        self.tables.append(name)
        return name

    def call(self, operation, **params):
        if "TableName" in params and params["TableName"] is None:
            del params["TableName"]
        elif self.tables and operation in ITEM_OPERATIONS:
            params.setdefault("TableName", self.tables[-1])
        if operation in ("get_item", "query", "scan") and not params.get("ConsistentRead"):
            # Such a read may show an older state, unless the node has just caught up for another.
            self.client.list_tables(Limit=1)
        return getattr(self.client, operation)(**params)

    def error(self, operation, expected, **params):
        what = f"{self.prefix}{operation} {short(params)}"
        return self.suite.error(what, lambda: self.call(operation, **params), expected)

    def ok(self, operation, **params):
        return self.suite.answers(f"{self.prefix}{operation} {short(params)}", lambda: self.call(operation, **params))

    def equal(self, what, got, expected):
        self.suite.equal(f"{self.prefix}{what}", got, expected)

    def item(self, **key):
        return self.ok("get_item", Key=key, ConsistentRead=True).get("Item")

    def clear(self):
        for table in self.tables:
            self.client.delete_table(TableName=table)

    def http(self, operation, body, method="POST", path="/", **headers):
        """A request as it is: status, headers, body."""
        url = urlparse(self.url)
        sent = {
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Date": "20260101T000000Z",
            "Authorization": "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/dynamodb/aws4_request, "
            "SignedHeaders=host;x-amz-date, Signature=0",
        }
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        sent = {name: value for name, value in sent.items() if value is not None}
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request(method, path, text, sent)
        answer = connection.getresponse()
        got = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return got

    def raw(self, operation, body, expected):
        """A request that boto3 cannot send: kind of the error and its text, a part of it, or all behind `=`."""
        status, _, answer = self.http(operation, body)
        self.suite.asked += 1
        try:
            answer = json.loads(answer)
        except ValueError:
            self.suite.wrong.append(f"{self.prefix}{operation} {short(body)}: no JSON: {answer!r}")
            return
        code, text = expected if isinstance(expected, tuple) else (expected, "")
        there = answer.get("message", answer.get("Message", ""))
        same = there == text[1:] if text.startswith("=") else text in there
        if status != 400 or answer.get("__type", "").rpartition("#")[2] != code or not same:
            self.suite.wrong.append(f"{self.prefix}{operation} {short(body)}: expected {code}: {text!r}, got {status} "
                f"{answer}")


def until(a, what, holds, patience=30):
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            a.equal(what, f"not within {patience} s", True)
            return
        time.sleep(0.1)


def sets_sorted(value):
    if isinstance(value, dict):
        return {k: sorted(v) if k in ("SS", "NS", "BS") else sets_sorted(v) for k, v in value.items()}
    return [sets_sorted(v) for v in value] if isinstance(value, list) else value
