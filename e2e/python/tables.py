"""AWS's SDK for Python (boto3) against a running cluster: every operation of the DynamoDB door and its typical errors, each
answer asserted, once through each node; what one node wrote is read through the next.

    tables.py URL[,URL...]
"""

import decimal
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError


def connect(url):
    config = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=5, read_timeout=20)
    return boto3.client(
        "dynamodb",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=config,
    )


def equal(got, expected, what):
    if got != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {got!r}")


def refused(code, text, call, **kwargs):
    """The call ends with this error; its text contains `text`."""
    try:
        got = call(**kwargs)
    except ClientError as error:
        found = error.response["Error"]
        equal(found["Code"], code, f"code of {found['Message']!r}")
        if text not in found["Message"]:
            raise AssertionError(f"expected {text!r} in {found['Message']!r}")
        return error.response
    raise AssertionError(f"expected {code}, got {got!r}")


def eventually(what, holds, patience=20):
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {patience} s")
        time.sleep(0.05)


def s(text):
    return {"S": text}


def n(number):
    return {"N": str(number)}


def simple_table(client, name):
    return client.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )


def wide_table(client, name):
    """Partition and sort key, a local index, a global one, each with another projection."""
    return client.create_table(
        TableName=name,
        AttributeDefinitions=[
            {"AttributeName": "p", "AttributeType": "S"},
            {"AttributeName": "q", "AttributeType": "N"},
            {"AttributeName": "l", "AttributeType": "S"},
            {"AttributeName": "g", "AttributeType": "S"},
        ],
        KeySchema=[{"AttributeName": "p", "KeyType": "HASH"}, {"AttributeName": "q", "KeyType": "RANGE"}],
        LocalSecondaryIndexes=[
            {
                "IndexName": "local",
                "KeySchema": [{"AttributeName": "p", "KeyType": "HASH"}, {"AttributeName": "l", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "global",
                "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}, {"AttributeName": "q", "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["note"]},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def get(client, table, key, **kwargs):
    return client.get_item(TableName=table, Key=key, ConsistentRead=True, **kwargs).get("Item")


def tables(here, there, p):
    name = p + "tables"
    made = simple_table(here, name)["TableDescription"]
    equal((made["TableName"], made["TableStatus"]), (name, "CREATING"), "what was made")
    seen = there.describe_table(TableName=name)["Table"]
    equal(seen["TableStatus"], "ACTIVE", "status")
    equal(seen["KeySchema"], [{"AttributeName": "id", "KeyType": "HASH"}], "key schema")
    equal(seen["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST", "billing")
    equal(seen["TableId"], made["TableId"], "the same on every node")
    refused("ResourceInUseException", f"Table already exists: {name}", simple_table, client=there, name=name)
    simple_table(here, name + "2")
    names = there.list_tables(Limit=1, ExclusiveStartTableName=p)
    equal((names["TableNames"], names["LastEvaluatedTableName"]), ([name], name), "a page of names")
    pages = there.get_paginator("list_tables").paginate(PaginationConfig={"PageSize": 1})
    found = [t for page in pages for t in page["TableNames"] if t.startswith(p)]
    equal(found, [name, name + "2"], "all names")
    for table in found:
        equal(here.delete_table(TableName=table)["TableDescription"]["TableStatus"], "DELETING", "deletion")
    missing = f"Requested resource not found: Table: {name} not found"
    refused("ResourceNotFoundException", missing, there.describe_table, TableName=name)
    refused("ResourceNotFoundException", missing, there.delete_table, TableName=name)
    refused("ValidationException", "at 'tableName' failed to satisfy constraint", here.describe_table, TableName="a;b")
    bad = dict(TableName=name, KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}], BillingMode="PAY_PER_REQUEST")
    refused(
        "ValidationException",
        "Number of attributes in KeySchema does not exactly match",
        here.create_table,
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "x", "AttributeType": "S"},
        ],
        **bad,
    )
    refused(
        "ValidationException",
        "Some index key attributes are not defined",
        here.create_table,
        AttributeDefinitions=[{"AttributeName": "x", "AttributeType": "S"}],
        **bad,
    )


def all_types():
    return {
        "id": s("types"),
        "number": n("-12345678901234567890.123456789012345678"),
        "bytes": {"B": b"\x00\xff"},
        "yes": {"BOOL": True},
        "nothing": {"NULL": True},
        "empty": s(""),
        "texts": {"SS": ["a", "b"]},
        "numbers": {"NS": ["1", "2.5"]},
        "list": {"L": [s("x"), n(1), {"L": []}]},
        "map": {"M": {"deep": {"M": {"er": s("é€𝄞")}}}},
    }


def puts_and_gets(here, there, p):
    table = p + "items"
    simple_table(here, table)
    item = all_types()
    here.put_item(TableName=table, Item=item)
    got = get(there, table, {"id": s("types")})
    got["texts"]["SS"].sort()
    got["numbers"]["NS"].sort()
    equal(got, item, "an item of all types through another node")
    equal(get(there, table, {"id": s("none")}), None, "an item that is not there")
    part = get(
        there,
        table,
        {"id": s("types")},
        ProjectionExpression="#m.deep, #l[1], yes",
        ExpressionAttributeNames={"#m": "map", "#l": "list"},
    )
    equal(part, {"map": {"M": {"deep": item["map"]["M"]["deep"]}}, "list": {"L": [n(1)]}, "yes": item["yes"]}, "a part")
    old = there.put_item(TableName=table, Item={"id": s("types"), "v": n(2)}, ReturnValues="ALL_OLD")["Attributes"]
    equal(old["number"], item["number"], "what was there")
    # An older state will do: it is the asked node's own, and comes to the newest.
    newest = {"id": s("types"), "v": n(2)}
    eventually("the own state", lambda: here.get_item(TableName=table, Key={"id": s("types")}).get("Item") == newest)
    told = here.put_item(
        TableName=table, Item={"id": s("big"), "v": s("x" * 3000)}, ReturnConsumedCapacity="TOTAL"
    )["ConsumedCapacity"]
    equal((told["TableName"], told["CapacityUnits"]), (table, 3.0), "units")
    here.put_item(TableName=table, Item={"id": s("large"), "v": s("x" * (400 * 1024 - 8))})
    too_large = {"id": s("large"), "v": s("x" * (400 * 1024))}
    text = "Item size has exceeded the maximum allowed size"
    refused("ValidationException", text, here.put_item, TableName=table, Item=too_large)
    refused("ResourceNotFoundException", "Requested resource not found", here.get_item, TableName=p + "no", Key={"id": s("a")})
    refused("ResourceNotFoundException", "Requested resource not found", here.put_item, TableName=p + "no", Item={"id": s("a")})
    text = "One or more parameter values were invalid: Missing the key id in the item"
    refused("ValidationException", text, here.put_item, TableName=table, Item={"x": s("a")})
    text = "One or more parameter values were invalid: Type mismatch for key id expected: S actual: N"
    refused("ValidationException", text, here.put_item, TableName=table, Item={"id": n(1)})
    text = "The provided key element does not match the schema"
    refused("ValidationException", text, here.get_item, TableName=table, Key={"other": s("a")})
    here.delete_table(TableName=table)


def conditions(here, there, p):
    table = p + "items"
    simple_table(here, table)
    there.put_item(TableName=table, Item={"id": s("a"), "v": n(1)}, ConditionExpression="attribute_not_exists(id)")
    answer = refused(
        "ConditionalCheckFailedException",
        "The conditional request failed",
        here.put_item,
        TableName=table,
        Item={"id": s("a")},
        ConditionExpression="attribute_not_exists(id)",
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )
    equal(answer["Item"], {"id": s("a"), "v": n(1)}, "the item that was in the way")
    values = {":v": n(1), ":w": n(5)}
    here.delete_item(
        TableName=table,
        Key={"id": s("a")},
        ConditionExpression="v BETWEEN :v AND :w OR size(id) > :w",
        ExpressionAttributeValues=values,
    )
    equal(get(there, table, {"id": s("a")}), None, "deleted")
    equal(here.delete_item(TableName=table, Key={"id": s("a")}, ReturnValues="ALL_OLD").get("Attributes"), None, "nothing")
    bad = dict(TableName=table, Item={"id": s("a")})
    for text, more in [
        ("unused in expressions: keys: {:x}", dict(ConditionExpression="attribute_exists(id)", ExpressionAttributeValues={":x": n(1)})),
        ("An expression attribute value used in expression is not defined; attribute value: :x", dict(ConditionExpression="id = :x")),
        ("Syntax error", dict(ConditionExpression="id = = :x", ExpressionAttributeValues={":x": n(1)})),
        ("reserved keyword", dict(ConditionExpression="attribute_exists(status)")),
        ("Can not use both expression and non-expression", dict(ConditionExpression="attribute_exists(id)", Expected={"id": {"Exists": False}})),
        ("Member must satisfy enum value set", dict(ReturnValues="SOME")),
    ]:
        refused("ValidationException", text, here.put_item, **bad, **more)
    # The older parameters say the same.
    here.put_item(TableName=table, Item={"id": s("b"), "v": n(1)}, Expected={"id": {"Exists": False}})
    refused("ConditionalCheckFailedException", "", here.put_item, TableName=table, Item={"id": s("b")}, Expected={"id": {"Exists": False}})
    here.delete_table(TableName=table)


def updates(here, there, p):
    table = p + "items"
    simple_table(here, table)
    key = {"id": s("a")}

    def update(client, expression, returns="ALL_NEW", values=None, **more):
        if values:
            more["ExpressionAttributeValues"] = values
        answer = client.update_item(TableName=table, Key=key, UpdateExpression=expression, ReturnValues=returns, **more)
        return answer.get("Attributes")

    equal(update(here, "SET v = :v, l = :l", values={":v": n(1), ":l": {"L": [n(1)]}}), {"id": s("a"), "v": n(1), "l": {"L": [n(1)]}}, "made")
    equal(update(there, "SET v = v + :d", "UPDATED_NEW", {":d": n("0.1")}), {"v": n("1.1")}, "added")
    equal(update(here, "ADD v :d SET w = if_not_exists(w, :d)", "UPDATED_OLD", {":d": n(2)}), {"v": n("1.1")}, "old")
    equal(update(there, "SET l = list_append(l, :l) REMOVE w", values={":l": {"L": [n(2)]}})["l"], {"L": [n(1), n(2)]}, "appended")
    equal(update(here, "ADD tags :t", values={":t": {"SS": ["x", "y"]}})["tags"]["SS"], ["x", "y"], "a set")
    equal(update(there, "DELETE tags :t", values={":t": {"SS": ["x"]}})["tags"]["SS"], ["y"], "less of a set")
    equal(update(here, "SET m = :m", "NONE", {":m": {"M": {"a": n(1)}}}), None, "nothing asked")
    equal(update(there, "SET m.b = :v REMOVE m.a", "UPDATED_NEW", {":v": n(2)})["m"], {"M": {"b": n(2)}}, "inside a map")
    equal(update(here, "REMOVE m, l, tags", "ALL_OLD")["m"], {"M": {"b": n(2)}}, "as it was")
    exact = "SET v = :v"
    equal(update(there, exact, values={":v": n("1E+5")})["v"], n(100000), "a number in its one form")
    text = "Cannot update attribute id. This attribute is part of the key"
    refused("ValidationException", text, update, client=here, expression="SET id = :v", values={":v": s("b")})
    text = "The provided expression refers to an attribute that does not exist in the item"
    refused("ValidationException", text, update, client=here, expression="SET x = y + :v", values={":v": n(1)})
    text = "Two document paths overlap"
    refused("ValidationException", text, update, client=here, expression="SET x = :v, x = :v", values={":v": n(1)})
    text = "An operand in the update expression has an incorrect data type"
    refused("ValidationException", text, update, client=here, expression="SET v = id + :v", values={":v": n(1)})
    refused(
        "ConditionalCheckFailedException", "", update, client=here, expression="SET v = :v", values={":v": n(1)},
        ConditionExpression="attribute_not_exists(id)",
    )
    # The older parameters.
    old = here.update_item(
        TableName=table, Key=key, AttributeUpdates={"v": {"Action": "ADD", "Value": n(1)}}, ReturnValues="ALL_NEW"
    )["Attributes"]
    equal(old["v"], n(100001), "added the older way")
    # Without anything it makes the item.
    here.update_item(TableName=table, Key={"id": s("bare")})
    equal(get(there, table, {"id": s("bare")}), {"id": s("bare")}, "a bare item")
    here.delete_table(TableName=table)


def fill_wide(client, table, per=10):
    for part in "ab":
        for at in range(per):
            item = {"p": s(part), "q": n(at), "l": s(f"l{9 - at}"), "note": s(f"n{at}"), "rest": s("r")}
            if at % 2 == 0:
                item["g"] = s("even")
            client.put_item(TableName=table, Item=item)


def numbers(items, name="q"):
    return [int(item[name]["N"]) for item in items]


def queries(here, there, p):
    table = p + "wide"
    wide_table(here, table)
    fill_wide(here, table)

    def query(condition, values, client=there, **more):
        more.setdefault("ConsistentRead", True)
        return client.query(TableName=table, KeyConditionExpression=condition, ExpressionAttributeValues=values, **more)

    equal(numbers(query("p = :p", {":p": s("a")})["Items"]), list(range(10)), "a partition in order")
    for condition, expected in [
        ("q < :x", [0, 1, 2]),
        ("q <= :x", [0, 1, 2, 3]),
        ("q > :x", [4, 5, 6, 7, 8, 9]),
        ("q >= :x", [3, 4, 5, 6, 7, 8, 9]),
        ("q = :x", [3]),
    ]:
        found = query(f"p = :p AND {condition}", {":p": s("a"), ":x": n(3)})["Items"]
        equal(numbers(found), expected, condition)
    found = query("p = :p AND q BETWEEN :x AND :y", {":p": s("a"), ":x": n("2.5"), ":y": n(5)}, ScanIndexForward=False)
    equal(numbers(found["Items"]), [5, 4, 3], "backward")
    page = query("p = :p", {":p": s("a")}, Limit=4)
    equal((page["Count"], page["LastEvaluatedKey"]), (4, {"p": s("a"), "q": n(3)}), "a page")
    page = query("p = :p", {":p": s("a")}, Limit=4, ExclusiveStartKey=page["LastEvaluatedKey"])
    equal(numbers(page["Items"]), [4, 5, 6, 7], "the next page")
    page = query("p = :p", {":p": s("a")}, ExclusiveStartKey={"p": s("a"), "q": n(5)}, ScanIndexForward=False)
    equal(numbers(page["Items"]), [4, 3, 2, 1, 0], "the page before")
    page = query("p = :p", {":p": s("a"), ":n": s("n4")}, FilterExpression="note > :n", ProjectionExpression="q")
    equal((page["Items"], page["ScannedCount"]), ([{"q": n(at)} for at in range(5, 10)], 10), "filtered")
    page = query("p = :p", {":p": s("a")}, Select="COUNT")
    equal((page["Count"], "Items" in page), (10, False), "only how many")
    # A local index, in its own order; what it does not hold is fetched.
    page = query("p = :p AND begins_with(l, :l)", {":p": s("a"), ":l": s("l")}, IndexName="local")
    equal(numbers(page["Items"]), list(range(9, -1, -1)), "by the local index")
    equal(sorted(page["Items"][0]), ["l", "p", "q"], "what it holds")
    page = query("p = :p", {":p": s("a")}, IndexName="local", Select="ALL_ATTRIBUTES", Limit=1)
    equal(page["Items"][0]["rest"], s("r"), "fetched")
    equal(page["LastEvaluatedKey"], {"p": s("a"), "q": n(9), "l": s("l0")}, "keys of a page of an index")
    page = query("p = :p", {":p": s("a")}, IndexName="local", Limit=2, ExclusiveStartKey=page["LastEvaluatedKey"])
    equal(numbers(page["Items"]), [8, 7], "the next page of an index")
    # A global index. What was written is in it, though nobody may ask for that.
    even = dict(IndexName="global", ConsistentRead=False)
    count = lambda: query("g = :g", {":g": s("even")}, **even)["Count"]
    eventually("the global index", lambda: count() == 10)
    page = query("g = :g AND q > :q", {":g": s("even"), ":q": n(3)}, **even)
    equal(numbers(page["Items"]), [4, 4, 6, 6, 8, 8], "by the global index")
    equal(sorted(page["Items"][0]), ["g", "note", "p", "q"], "what it holds")
    here.update_item(
        TableName=table, Key={"p": s("a"), "q": n(4)}, UpdateExpression="SET g = :g", ExpressionAttributeValues={":g": s("odd")}
    )
    here.delete_item(TableName=table, Key={"p": s("a"), "q": n(6)})
    eventually("the global index follows", lambda: count() == 8)
    told = there.query(
        TableName=table, IndexName="global", KeyConditionExpression="g = :g", ExpressionAttributeValues={":g": s("odd")},
        ReturnConsumedCapacity="INDEXES",
    )
    equal(told["ConsumedCapacity"]["GlobalSecondaryIndexes"], {"global": {"CapacityUnits": 0.5}}, "units of an index")
    # The older parameters.
    old = there.query(
        TableName=table, ConsistentRead=True, AttributesToGet=["q"],
        KeyConditions={
            "p": {"ComparisonOperator": "EQ", "AttributeValueList": [s("b")]},
            "q": {"ComparisonOperator": "LT", "AttributeValueList": [n(3)]},
        },
    )
    equal(old["Items"], [{"q": n(0)}, {"q": n(1)}, {"q": n(2)}], "the older way")
    for text, more in [
        ("Query condition missed key schema element: p", dict(KeyConditionExpression="q = :x", ExpressionAttributeValues={":x": n(1)})),
        ("The table does not have the specified index: other", dict(IndexName="other", KeyConditionExpression="p = :x", ExpressionAttributeValues={":x": s("a")})),
        ("Consistent reads are not supported on global secondary indexes", dict(IndexName="global", ConsistentRead=True, KeyConditionExpression="g = :x", ExpressionAttributeValues={":x": s("a")})),
        ("Filter Expression can only contain non-primary key attributes", dict(KeyConditionExpression="p = :x", FilterExpression="q > :x", ExpressionAttributeValues={":x": s("a")})),
        ("Either the KeyConditions or KeyConditionExpression parameter must be specified", dict()),
        ("The provided starting key is outside query boundaries", dict(KeyConditionExpression="p = :x", ExpressionAttributeValues={":x": s("a")}, ExclusiveStartKey={"p": s("b"), "q": n(1)})),
        ("does not project", dict(IndexName="global", KeyConditionExpression="g = :x", ProjectionExpression="rest", ExpressionAttributeValues={":x": s("a")})),
    ]:
        refused("ValidationException", text, here.query, TableName=table, **more)
    text = "Type mismatch for Index Key g Expected: S Actual: N IndexName: global"
    refused("ValidationException", text, here.put_item, TableName=table, Item={"p": s("a"), "q": n(1), "g": n(1)})
    here.delete_table(TableName=table)


def scans(here, there, p):
    table = p + "wide"
    wide_table(here, table)
    fill_wide(here, table, 20)

    def scan(**more):
        pages = there.get_paginator("scan").paginate(TableName=table, ConsistentRead=True, **more)
        return [item for page in pages for item in page["Items"]]

    everything = sorted((item["p"]["S"], int(item["q"]["N"])) for item in scan())
    equal(everything, [(part, at) for part in "ab" for at in range(20)], "all items")
    equal(len(scan(PaginationConfig={"PageSize": 3})), 40, "all items, page by page")
    parts = [scan(Segment=at, TotalSegments=7) for at in range(7)]
    equal(sum(len(part) for part in parts), 40, "all items, in segments")
    few = scan(FilterExpression="q < :q AND #p = :p", ExpressionAttributeNames={"#p": "p"}, ExpressionAttributeValues={":q": n(2), ":p": s("a")})
    equal(sorted(numbers(few)), [0, 1], "filtered")
    equal(there.scan(TableName=table, Select="COUNT", ConsistentRead=True)["Count"], 40, "only how many")
    eventually("the global index", lambda: there.scan(TableName=table, IndexName="global")["Count"] == 20)
    old = scan(ScanFilter={"q": {"ComparisonOperator": "GE", "AttributeValueList": [n(19)]}})
    equal(len(old), 2, "the older way")
    # A page ends at a megabyte.
    for at in range(5):
        there.put_item(TableName=table, Item={"p": s("large"), "q": n(at), "v": s("x" * 300_000)})
    page = there.query(
        TableName=table, KeyConditionExpression="p = :p", ExpressionAttributeValues={":p": s("large")}, ConsistentRead=True
    )
    equal((page["Count"], "LastEvaluatedKey" in page), (4, True), "a page of a megabyte")
    equal(len(scan()), 45, "all of it")
    described = there.describe_table(TableName=table)["Table"]
    equal(described["ItemCount"], 45, "items counted")
    if described["TableSizeBytes"] < 1_500_000:
        raise AssertionError(f"bytes counted: {described['TableSizeBytes']}")
    text = "must be less than parameter TotalSegments"
    refused("ValidationException", text, here.scan, TableName=table, Segment=3, TotalSegments=3)
    here.delete_table(TableName=table)


def batches(here, there, p):
    one, two = p + "one", p + "two"
    simple_table(here, one)
    wide_table(here, two)
    puts = lambda table, make, many: {table: [{"PutRequest": {"Item": make(at)}} for at in range(many)]}
    answer = here.batch_write_item(
        RequestItems={
            **puts(one, lambda at: {"id": s(f"k{at}"), "v": s("x" * 100_000)}, 20),
            **puts(two, lambda at: {"p": s("a"), "q": n(at), "g": s("x")}, 5),
        },
        ReturnConsumedCapacity="TOTAL",
    )
    equal(answer["UnprocessedItems"], {}, "all is written")
    equal(sorted(c["TableName"] for c in answer["ConsumedCapacity"]), [one, two], "units by table")
    here.batch_write_item(RequestItems={two: [{"DeleteRequest": {"Key": {"p": s("a"), "q": n(0)}}}]})
    got = there.batch_get_item(
        RequestItems={
            one: {"Keys": [{"id": s(f"k{at}")} for at in range(25)], "ConsistentRead": True, "ProjectionExpression": "id"},
            two: {"Keys": [{"p": s("a"), "q": n(at)} for at in range(5)], "ConsistentRead": True},
        }
    )
    equal(got["UnprocessedKeys"], {}, "all was read")
    equal((len(got["Responses"][one]), len(got["Responses"][two])), (20, 4), "what is there")
    equal(numbers(got["Responses"][two]), [1, 2, 3, 4], "in order")
    for text, items in [
        ("Member must have length less than or equal to 25", puts(one, lambda at: {"id": s(f"k{at}")}, 26)),
        ("Provided list of item keys contains duplicates", puts(one, lambda at: {"id": s("same")}, 2)),
        ("The provided key element does not match the schema", puts(one, lambda at: {"x": s("same")}, 1)),
    ]:
        refused("ValidationException", text, here.batch_write_item, RequestItems=items)
    text = "Provided list of item keys contains duplicates"
    refused("ValidationException", text, here.batch_get_item, RequestItems={one: {"Keys": [{"id": s("a")}] * 2}})
    refused("ResourceNotFoundException", "", here.batch_get_item, RequestItems={p + "no": {"Keys": [{"id": s("a")}]}})
    refused("ResourceNotFoundException", "", here.batch_write_item, RequestItems=puts(p + "no", lambda at: {"id": s("a")}, 1))
    for table in (one, two):
        here.delete_table(TableName=table)


def transactions(here, there, p):
    one, two = p + "one", p + "two"
    simple_table(here, one)
    simple_table(here, two)
    here.put_item(TableName=one, Item={"id": s("a"), "v": n(10)})
    key = lambda name: {"id": s(name)}

    def move(client, amount, token=None, many=1):
        more = {"ClientRequestToken": token} if token else {}
        return client.transact_write_items(
            TransactItems=[
                {"Update": {
                    "TableName": one, "Key": key("a"), "UpdateExpression": "SET v = v - :n", "ConditionExpression": "v >= :n",
                    "ExpressionAttributeValues": {":n": n(amount)}, "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                }},
                {"Update": {"TableName": two, "Key": key("b"), "UpdateExpression": "ADD v :n", "ExpressionAttributeValues": {":n": n(amount)}}},
                {"ConditionCheck": {"TableName": two, "Key": key("closed"), "ConditionExpression": "attribute_not_exists(id)"}},
            ],
            ReturnConsumedCapacity="TOTAL",
            **more,
        )

    def seen():
        answer = there.transact_get_items(
            TransactItems=[{"Get": {"TableName": one, "Key": key("a")}}, {"Get": {"TableName": two, "Key": key("b")}}, {"Get": {"TableName": two, "Key": key("none")}}]
        )["Responses"]
        equal(answer[2], {}, "an item that is not there")
        return [int(part["Item"]["v"]["N"]) if "Item" in part else None for part in answer[:2]]

    equal(seen(), [10, None], "before")
    told = move(here, 3)["ConsumedCapacity"]
    equal(sorted((c["TableName"], c["CapacityUnits"]) for c in told), [(one, 2.0), (two, 4.0)], "units count twice")
    equal(seen(), [7, 3], "moved")
    move(here, 2, token=p + "once")
    move(there, 2, token=p + "once")
    equal(seen(), [5, 5], "moved once for one token")
    refused("IdempotentParameterMismatchException", "", move, client=here, amount=1, token=p + "once")
    answer = refused("TransactionCanceledException", "[ConditionalCheckFailed, None, None]", move, client=there, amount=6)
    reasons = answer["CancellationReasons"]
    equal([r["Code"] for r in reasons], ["ConditionalCheckFailed", "None", "None"], "reasons in order")
    equal(reasons[0]["Item"], {"id": s("a"), "v": n(5)}, "the item that was in the way")
    equal(seen(), [5, 5], "nothing moved")
    # A transaction that was cancelled is evaluated anew.
    refused("TransactionCanceledException", "", move, client=here, amount=6, token=p + "again")
    here.put_item(TableName=one, Item={"id": s("a"), "v": n(10)})
    move(here, 6, token=p + "again")
    equal(seen(), [4, 11], "moved the second time")
    text = "Transaction request cannot include multiple operations on one item"
    twice = [{"Put": {"TableName": one, "Item": key("x")}}, {"Delete": {"TableName": one, "Key": key("x")}}]
    refused("ValidationException", text, here.transact_write_items, TransactItems=twice)
    answer = refused(
        "TransactionCanceledException", "ValidationError", here.transact_write_items,
        TransactItems=[
            {"Put": {"TableName": one, "Item": key("new")}},
            {"Update": {"TableName": one, "Key": key("a"), "UpdateExpression": "SET v = nothing"}},
        ],
    )
    equal([r["Code"] for r in answer["CancellationReasons"]], ["None", "ValidationError"], "reasons")
    equal(get(there, one, key("new")), None, "nothing of it")
    refused("ResourceNotFoundException", "", here.transact_get_items, TransactItems=[{"Get": {"TableName": p + "no", "Key": key("a")}}])
    for table in (one, two):
        here.delete_table(TableName=table)


def changes(here, there, p):
    """UpdateTable: settings, and a global index that is filled from what is there."""
    table = p + "items"
    simple_table(here, table)
    for at in range(120):
        here.put_item(TableName=table, Item={"id": s(f"k{at}"), "g": s(f"g{at % 3}"), "v": n(at)})
    here.update_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": "g", "AttributeType": "S"}],
        GlobalSecondaryIndexUpdates=[
            {"Create": {"IndexName": "later", "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}}
        ],
    )

    def status():
        indexes = there.describe_table(TableName=table)["Table"].get("GlobalSecondaryIndexes", [])
        return [index["IndexStatus"] for index in indexes]

    eventually("the index is filled", lambda: status() == ["ACTIVE"])
    query = dict(TableName=table, IndexName="later", KeyConditionExpression="g = :g", ExpressionAttributeValues={":g": s("g1")})
    eventually("what was there is in it", lambda: there.query(**query)["Count"] == 40)
    described = there.describe_table(TableName=table)["Table"]
    equal(described["GlobalSecondaryIndexes"][0]["ItemCount"], 120, "items in the index")
    create = {"Create": {"IndexName": "later", "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}], "Projection": {"ProjectionType": "ALL"}}}
    text = "Attempting to create an index which already exists"
    refused("ValidationException", text, there.update_table, TableName=table, GlobalSecondaryIndexUpdates=[create],
            AttributeDefinitions=[{"AttributeName": "g", "AttributeType": "S"}])
    here.update_table(TableName=table, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "later"}}])
    equal(status(), [], "the index is gone")
    here.update_table(TableName=table, DeletionProtectionEnabled=True)
    refused("ValidationException", "protected against deletion", there.delete_table, TableName=table)
    here.update_table(TableName=table, DeletionProtectionEnabled=False)
    here.update_table(TableName=table, BillingMode="PROVISIONED", ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 6})
    described = there.describe_table(TableName=table)["Table"]
    equal(described["ProvisionedThroughput"]["WriteCapacityUnits"], 6, "capacity")
    refused("ValidationException", "At least one of ProvisionedThroughput", here.update_table, TableName=table)
    here.delete_table(TableName=table)


def sharded(here, there, p):
    """A table with several shards: a global index that comes with it and one that is added, page by page in both directions."""
    table = p + "items"
    index = lambda name, projection: {
        "IndexName": name,
        "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}, {"AttributeName": "v", "KeyType": "RANGE"}],
        "Projection": {"ProjectionType": projection},
    }
    named = [{"AttributeName": name, "AttributeType": kind} for name, kind in [("id", "S"), ("g", "S"), ("v", "N")]]
    here.create_table(
        TableName=table,
        AttributeDefinitions=named,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[index("first", "ALL")],
        Tags=[{"Key": "quorate:shards", "Value": "4"}],
    )
    here.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    for at in range(120):
        here.put_item(TableName=table, Item={"id": s(f"k{at}"), "g": s(f"g{at % 3}"), "v": n(at), "even": {"BOOL": at % 2 == 0}})
    here.update_table(
        TableName=table,
        AttributeDefinitions=named,
        GlobalSecondaryIndexUpdates=[{"Create": index("later", "KEYS_ONLY")}],
    )
    states = lambda: [of["IndexStatus"] for of in there.describe_table(TableName=table)["Table"]["GlobalSecondaryIndexes"]]
    eventually("all shards have filled it", lambda: states() == ["ACTIVE", "ACTIVE"])

    def pages(name, **more):
        query = dict(TableName=table, IndexName=name, KeyConditionExpression="g = :g", **more)
        query.setdefault("ExpressionAttributeValues", {}).update({":g": s("g1")})
        found = list(there.get_paginator("query").paginate(**query))
        return found, [int(item["v"]["N"]) for page in found for item in page.get("Items", [])]

    all_of = list(range(1, 120, 3))
    for name in ("first", "later"):
        eventually("the node has all of it", lambda: pages(name)[1] == all_of)
        for size in (1, 7, 40):
            limit = {"PaginationConfig": {"PageSize": size}}
            equal(pages(name, **limit)[1], all_of, "in order")
            found, backward = pages(name, ScanIndexForward=False, **limit)
            equal(backward, all_of[::-1], "in the other order")
            equal({page["ScannedCount"] for page in found[:-1]} <= {size}, True, "pages are full")
    even, found = pages("first", FilterExpression="even = :e", ExpressionAttributeValues={":e": {"BOOL": True}})
    equal(found, all_of[1::2], "those that pass the filter")
    equal((sum(page["Count"] for page in even), sum(page["ScannedCount"] for page in even)), (20, 40), "counted and looked at")
    count = sum(page["Count"] for page in pages("later", Select="COUNT")[0])
    equal(count, 40, "how many")
    parts = []
    for segment in range(3):
        scan = there.get_paginator("scan").paginate(TableName=table, IndexName="later", Segment=segment, TotalSegments=3)
        parts += [item["id"]["S"] for page in scan for item in page["Items"]]
    equal(sorted(parts), sorted(f"k{at}" for at in range(120)), "a scan by segments")
    refused("ValidationException", "Consistent reads are not supported on global", there.query, TableName=table, IndexName="first",
            ConsistentRead=True, KeyConditionExpression="g = :g", ExpressionAttributeValues={":g": s("g1")})
    counts = lambda: [of["ItemCount"] for of in there.describe_table(TableName=table)["Table"]["GlobalSecondaryIndexes"]]
    eventually("sums over all shards", lambda: counts() == [120, 120])
    here.update_table(TableName=table, GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "later"}}])
    eventually("it is gone", lambda: states() == ["ACTIVE"])
    # What is still being changed is not deleted.
    eventually("all shards know", lambda: here.describe_table(TableName=table)["Table"]["TableStatus"] == "ACTIVE")
    here.delete_table(TableName=table)


def tags(here, there, p):
    table = p + "items"
    arn = simple_table(here, table)["TableDescription"]["TableArn"]
    listed = lambda: {t["Key"]: t["Value"] for t in there.list_tags_of_resource(ResourceArn=arn)["Tags"]}
    here.tag_resource(ResourceArn=arn, Tags=[{"Key": "team", "Value": "a"}, {"Key": "x", "Value": ""}])
    equal(listed(), {"team": "a", "x": ""}, "tags")
    here.untag_resource(ResourceArn=arn, TagKeys=["x", "y"])
    equal(listed(), {"team": "a"}, "fewer tags")
    here.tag_resource(ResourceArn=arn, Tags=[{"Key": "quorate:consistency", "Value": "linearizable"}])
    for key, value, text in [
        ("quorate:consistency", "eventual", "not available yet"),
        ("quorate:consistency", "certain", "cannot be"),
        ("quorate:consistencyy", "eventual", "there is no tag"),
        ("quorate:survive", "3", "copies"),
    ]:
        refused("ValidationException", text, here.tag_resource, ResourceArn=arn, Tags=[{"Key": key, "Value": value}])
    refused("ResourceNotFoundException", "", here.tag_resource, ResourceArn=arn + "no", Tags=[{"Key": "a", "Value": "b"}])
    here.delete_table(TableName=table)


def others(here, there, p):
    table = p + "items"
    simple_table(here, table)
    equal(here.describe_limits()["TableMaxReadCapacityUnits"] > 0, True, "limits")
    equal(len(here.describe_endpoints()["Endpoints"]), 1, "endpoints")
    backups = there.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    equal(backups["ContinuousBackupsStatus"], "ENABLED", "backups")
    refused("TableNotFoundException", "Table not found", there.describe_continuous_backups, TableName=p + "no")
    expiry = lambda: there.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    equal(expiry()["TimeToLiveStatus"], "DISABLED", "expiry")
    now = int(time.time())
    for name, end in [("over", now - 10), ("later", now + 3600), ("old", now - 10 * 365 * 86400)]:
        here.put_item(TableName=table, Item={"id": s(name), "end": n(end)})
    here.put_item(TableName=table, Item={"id": s("text"), "end": s(str(now - 10))})
    here.update_time_to_live(TableName=table, TimeToLiveSpecification={"AttributeName": "end", "Enabled": True})
    equal(expiry(), {"TimeToLiveStatus": "ENABLED", "AttributeName": "end"}, "expiry")
    eventually("its time is over", lambda: get(there, table, {"id": s("over")}) is None)
    left = sorted(item["id"]["S"] for item in there.scan(TableName=table, ConsistentRead=True)["Items"])
    equal(left, ["later", "old", "text"], "the others stay")
    refused("ValidationException", "already enabled", here.update_time_to_live, TableName=table,
            TimeToLiveSpecification={"AttributeName": "end", "Enabled": True})
    refused("UnknownOperationException", "not available", here.execute_statement, Statement="SELECT * FROM x")
    here.delete_table(TableName=table)


def resource(here, there, p):
    """What programs mostly use: the resource of boto3, with its own types."""
    table = p + "items"
    simple_table(here, table)
    session = boto3.resource(
        "dynamodb", endpoint_url=there.meta.endpoint_url, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any"
    )
    items = session.Table(table)
    with items.batch_writer() as writer:
        for at in range(60):
            writer.put_item(Item={"id": f"k{at}", "v": decimal.Decimal(at), "l": [1, {"a": None}]})
    equal(items.get_item(Key={"id": "k7"}, ConsistentRead=True)["Item"]["v"], decimal.Decimal(7), "a number")
    equal(items.scan(ConsistentRead=True)["Count"], 60, "all of them")
    items.delete()
    items.wait_until_not_exists()


def main():
    urls = sys.argv[1].split(",")
    parts = [tables, puts_and_gets, conditions, updates, queries, scans, batches, transactions, changes, sharded, tags, others, resource]
    only = sys.argv[2:]
    for at, url in enumerate(urls):
        here, there = connect(url), connect(urls[(at + 1) % len(urls)])
        for part in parts:
            if not only or part.__name__ in only:
                part(here, there, f"py{at}.{part.__name__}.")
        print(f"tables: {url}: ok", flush=True)


if __name__ == "__main__":
    main()
