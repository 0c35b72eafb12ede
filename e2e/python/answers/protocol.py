"""What goes before any operation: HTTP, JSON of the wrong kind, and the constraints on every request."""

import re
import zlib
from urllib.parse import urlparse

from suite import s, VALIDATION, v


def protocol(a):
    host = urlparse(a.url).netloc
    status, headers, body = a.http("ListTables", {})
    a.equal("status", status, 200)
    a.equal("crc", int(headers.get("x-amz-crc32", -1)), zlib.crc32(body))
    a.equal("content type", headers.get("content-type"), "application/x-amz-json-1.0")
    a.equal("request id", re.fullmatch("[A-Z0-9]{52}", headers.get("x-amzn-requestid", "")) is not None, True)
    a.equal("another id", a.http("ListTables", {})[1]["x-amzn-requestid"] != headers["x-amzn-requestid"], True)
    status, _, body = a.http("", b"", method="GET")
    a.equal("health", (status, body.decode().strip()), (200, f"healthy: {host}"))
    for method, path in [("GET", "/abc"), ("GET", "/health"), ("PUT", "/"), ("DELETE", "/"), ("HEAD", "/abc")]:
        a.equal(f"{method} {path}", a.http("", b"", method=method, path=path)[0], 404)
    status, headers, _ = a.http("", b"", method="OPTIONS", Origin="http://x",
        Access_Control_Request_Headers="x-amz-target")
    a.equal("preflight", (status, headers.get("access-control-allow-origin")), (200, "*"))
    a.equal("allowed", headers.get("access-control-allow-headers"), "x-amz-target")
    exposed = a.http("ListTables", {}, Origin="http://x")[1].get("access-control-expose-headers", "").split(", ")
    a.equal("seen elsewhere", {"x-amzn-requestid", "x-amz-crc32", "quorate-node", "quorate-shard"} - set(exposed), set())
    a.equal("of another origin", a.http("ListTables", {}, Origin="http://x")[1].get("access-control-allow-origin"), "*")
    for target in ["DynamoDB_20120810.Nothing", "DynamoDB_20110101.ListTables", "ListTables", "", None]:
        status, _, body = a.http("", {}, X_Amz_Target=target)
        a.equal(f"target {target}", (status, "UnknownOperationException" in body.decode()), (400, True))
    for kind, status in [("application/x-amz-json-1.0; charset=utf-8", 200), ("application/json", 200), ("text/plain", 404),
        ("application/x-amz-json-1.1", 404), (None, 404)]:
        a.equal(f"content of the type {kind}", a.http("ListTables", {}, Content_Type=kind)[0], status)
    for name, sent, code in [
        ("none", None, "MissingAuthenticationTokenException"),
        ("basic", "Basic x", "MissingAuthenticationTokenException"),
        ("in part", "AWS4-HMAC-SHA256 Credential=a", "IncompleteSignatureException"),
    ]:
        status, _, body = a.http("ListTables", {}, Authorization=sent)
        a.equal(f"signature {name}", (status, code in body.decode()), (400, True))
    for body in ["", "{", "[]", '"x"', "null", '{"Limit":}', '{"a":"\ud800"}'.encode("utf-8", "surrogatepass"), "{} x"]:
        a.raw("ListTables", body, "SerializationException")
    a.equal("17 MB", a.http("ListTables", b"x" * (17 << 20))[0], 413)
    a.equal("16 MB", a.http("ListTables", b"{}".ljust(16 << 20))[0], 200)
    a.raw("PutItem", '{"TableName":"abc","Item":{"a":' + '{"L":[' * 200 + '{"S":"x"}' + "]}" * 200 + "}}", VALIDATION)
    a.equal("endpoints", a.client.describe_endpoints()["Endpoints"][0]["Address"], host)
    # How it was served, for those who ask.
    table = a.table()
    for operation, more, modes in [
        ("PutItem", {"Item": {"p": s("a")}}, {"log"}),
        ("GetItem", {"Key": {"p": s("a")}, "ConsistentRead": True}, {"leader", "read-index", "lease"}),
        ("GetItem", {"Key": {"p": s("a")}}, {"local"}),
    ]:
        request = {"TableName": table, **more}
        headers = a.http(operation, request, Quorate_Evidence="1")[1]
        a.equal(f"evidence of {operation}", headers.get("quorate-mode") in modes, True)
        a.equal(f"the shard of {operation}", headers.get("quorate-shard"), "1")
        for name in ["quorate-node", "quorate-leader", "quorate-term", "quorate-applied", "quorate-micros"]:
            a.equal(f"{name} of {operation}", name in headers, True)
        acks = headers.get("quorate-acks", "").count(",") + 1 if "quorate-acks" in headers else 0
        a.equal(f"who made it so of {operation}", acks * 2 > int(headers.get("quorate-voters", 0)), "local" not in modes)
        unasked = [name for name in a.http(operation, request)[1] if name.startswith("quorate-")]
        a.equal(f"{operation} without evidence", unasked, [])
    a.equal("an unknown member", a.http("ListTables", {"Nothing": [1], "Limit": None})[0], 200)


def serialization(a):
    """Members of another type than theirs."""
    table = a.table()
    string, boolean, number = (f"cannot be converted to {kind}" for kind in ["String", "Boolean", "Integer"])
    parser, payload = "Unexpected token received from parser", "Unexpected value type in payload"
    no_list = "Start of structure or map found where not expected"
    for operation, body, text in [
        ("GetItem", {"TableName": 1, "Key": {}}, f"NUMBER_VALUE {string}"),
        ("GetItem", {"TableName": 1.5, "Key": {}}, f"DECIMAL_VALUE {string}"),
        ("GetItem", {"TableName": True, "Key": {}}, f"TRUE_VALUE {string}"),
        ("GetItem", {"TableName": [], "Key": {}}, "Unrecognized collection type class java.lang.String"),
        ("GetItem", {"TableName": {}, "Key": {}}, "Start of structure or map found where not expected"),
        ("GetItem", {"TableName": table, "Key": "a"}, "Unexpected field type"),
        ("GetItem", {"TableName": table, "Key": []}, "Unrecognized collection type java.util.Map"),
        ("GetItem", {"TableName": table, "Key": {"p": "a"}}, "Unexpected value type in payload"),
        ("GetItem", {"TableName": table, "Key": {"p": {"S": 1}}}, f"NUMBER_VALUE {string}"),
        ("GetItem", {"TableName": table, "Key": {"p": {"N": 1}}}, f"NUMBER_VALUE {string}"),
        ("GetItem", {"TableName": table, "Key": {"p": {"N": 1.5}}}, f"DECIMAL_VALUE {string}"),
        ("GetItem", {"TableName": table, "Key": {"p": {"B": 1}}},
            "only base-64-encoded strings are convertible to bytes"),
        ("GetItem", {"TableName": table, "Key": {"p": {"B": "abc"}}},
            "Base64 encoded length is expected a multiple of 4 bytes"),
        ("GetItem", {"TableName": table, "Key": {"p": {"B": "ab_="}}}, "Invalid Base64 character"),
        ("GetItem", {"TableName": table, "Key": {"p": {"BOOL": "x"}}}, "Unexpected token received from parser"),
        ("GetItem", {"TableName": table, "Key": {"p": {"SS": "x"}}}, "Unexpected field type"),
        ("GetItem", {"TableName": table, "Key": {"p": {"L": {}}}},
            "Start of structure or map found where not expected"),
        ("GetItem", {"TableName": table, "Key": {"p": s("a")}, "ConsistentRead": "true"}, parser),
        ("GetItem", {"TableName": table, "Key": {"p": s("a")}, "ConsistentRead": 1}, boolean),
        ("GetItem", {"TableName": table, "Key": {"p": s("a")}, "AttributesToGet": "a"}, "Unexpected field type"),
        ("GetItem", {"TableName": table, "Key": {"p": s("a")}, "AttributesToGet": [1]}, f"NUMBER_VALUE {string}"),
        ("GetItem", {"TableName": table, "Key": {"p": s("a")}, "ExpressionAttributeNames": []},
            "Unrecognized collection type"),
        ("Query", {"TableName": table, "Limit": "1"}, f"STRING_VALUE {number}"),
        ("Query", {"TableName": table, "Limit": True}, f"TRUE_VALUE {number}"),
        ("PutItem", {"TableName": table, "Item": {"p": {"S": []}}},
            "Unrecognized collection type class java.lang.String"),
        ("PutItem", {"TableName": table, "Item": {"p": s("a"), "b": {"M": {"x": {"N": 5}}}}}, f"NUMBER_VALUE {string}"),
        ("BatchGetItem", {"RequestItems": []}, "Unrecognized collection type"),
        ("BatchWriteItem", {"RequestItems": {table: {}}}, no_list),
        ("CreateTable", {"TableName": "abc", "KeySchema": {}}, "Start of structure or map found where not expected"),
        # It is told before anything else, whatever member it is.
        ("CreateTable", {"Tags": {}}, "Start of structure or map found where not expected"),
        ("Query", {"TableName": "ab", "ScanIndexForward": "x"}, parser),
        ("Scan", {"TableName": "ab", "ExclusiveStartKey": "x"}, "Unexpected field type"),
        # And however deep it lies: beside a table that is not there, a name that none has, what is missing, a bad word.
        ("Query", {"TableName": "missing", "KeyConditions": []}, "Unrecognized collection type java.util.Map"),
        ("Query", {"TableName": "missing", "KeyConditions": {"p": {"AttributeValueList": "x"}}}, "Unexpected field type"),
        ("PutItem", {"Item": {"p": {"S": 1}}}, f"NUMBER_VALUE {string}"),
        ("PutItem", {"TableName": "ab", "Item": {"p": s("a"), "x": {"L": "x"}}}, "Unexpected field type"),
        ("PutItem", {"Item": {"p": s("a")}, "Expected": {"p": {"Exists": 1}}}, f"NUMBER_VALUE {boolean}"),
        ("GetItem", {"TableName": "a!", "Key": {"p": {"S": 1}}}, f"NUMBER_VALUE {string}"),
        ("UpdateItem", {"ReturnValues": "x", "AttributeUpdates": {"a": "x"}}, payload),
        ("CreateTable", {"TableName": "abc", "Tags": ["x"]}, payload),
        ("CreateTable", {"KeySchema": ["x"]}, payload),
        ("CreateTable", {"AttributeDefinitions": "x"}, "Unexpected field type"),
        ("CreateTable", {"ProvisionedThroughput": {"ReadCapacityUnits": "1"}}, "STRING_VALUE cannot be converted to Long"),
        ("UpdateTable", {"GlobalSecondaryIndexUpdates": [{"Create": {"Projection": {"NonKeyAttributes": {}}}}]}, no_list),
        ("BatchWriteItem", {"RequestItems": {"abc": [{"PutRequest": {"Item": {"p": {"N": 1}}}}]},
            "ReturnConsumedCapacity": "Q"}, f"NUMBER_VALUE {string}"),
        ("BatchGetItem", {"RequestItems": {"ab": {"Keys": "x"}}}, "Unexpected field type"),
        ("TransactWriteItems", {"TransactItems": [{"Put": {"Item": {"p": {"S": 1}}}}]}, f"NUMBER_VALUE {string}"),
        ("TransactGetItems", {"TransactItems": [{"Get": {"Key": {"p": "x"}}}, "x"]}, payload),
        ("TagResource", {"Tags": ["x"]}, payload),
        ("UntagResource", {"TagKeys": [1]}, f"NUMBER_VALUE {string}"),
        ("UpdateTimeToLive", {"TimeToLiveSpecification": {"Enabled": "x"}}, parser),
    ]:
        a.raw(operation, body, ("SerializationException", text))


def constraints(a):
    """What every request is held to first, all faults at once."""
    fails = "failed to satisfy constraint: Member must "
    for name, text in [
        ("", f"=1 validation error detected: Value '' at 'tableName' {fails}have length greater than or equal to 1"),
        ("ab", f"=1 validation error detected: Value 'ab' at 'tableName' {fails}have length greater than or equal to "
            f"3"),
        ("x" * 256, f"{fails}have length less than or equal to 255"),
        ("a;b", f"=1 validation error detected: Value 'a;b' at 'tableName' {fails}satisfy regular expression pattern: "
                "[a-zA-Z0-9_.-]+"),
        ("a;", "2 validation errors detected: "),
    ]:
        for operation in ["describe_table", "delete_table", "scan"]:
            a.error(operation, v(text), TableName=name)
        a.error("get_item", v(text), TableName=name, Key={"p": s("a")})
    # Operations on tables themselves say first that none is named.
    for operation in ["create_table", "describe_table", "delete_table", "update_table", "describe_time_to_live"]:
        a.error(operation, v("=The parameter 'TableName' is required but was not present in the request"))
    null = "Value null at '{}' failed to satisfy constraint: Member must not be null"
    for operation, path, params in [
        ("put_item", "tableName", {"Item": {}}),
        ("put_item", "item", {"TableName": "abc"}),
        ("get_item", "key", {"TableName": "abc"}),
        ("delete_item", "key", {"TableName": "abc"}),
        ("update_item", "key", {"TableName": "abc"}),
        ("create_table", "attributeDefinitions", {"TableName": "abc"}),
        ("create_table", "keySchema", {"TableName": "abc"}),
        ("update_time_to_live", "timeToLiveSpecification", {"TableName": "abc"}),
        ("list_tags_of_resource", "resourceArn", {}),
    ]:
        a.error(operation, v(null.format(path)), **params)
    for operation, path in [
        ("BatchGetItem", "requestItems"), ("BatchWriteItem", "requestItems"), ("TransactWriteItems", "transactItems"),
        ("TransactGetItems", "transactItems"), ("PutItem", "tableName"), ("Query", "tableName"),
    ]:
        a.raw(operation, {}, v(null.format(path)))
    enum = "satisfy enum value set: "
    for operation, text, params in [
        ("put_item", f"'x' at 'returnValues' {fails}{enum}[ALL_NEW, UPDATED_OLD, ALL_OLD, NONE, UPDATED_NEW]",
         dict(Item={"p": s("a")}, ReturnValues="x")),
        ("put_item", f"'x' at 'returnConsumedCapacity' {fails}{enum}[INDEXES, TOTAL, NONE]",
         dict(Item={"p": s("a")}, ReturnConsumedCapacity="x")),
        ("put_item", f"'x' at 'returnItemCollectionMetrics' {fails}{enum}[SIZE, NONE]",
         dict(Item={"p": s("a")}, ReturnItemCollectionMetrics="x")),
        ("put_item", f"'x' at 'returnValuesOnConditionCheckFailure' {fails}{enum}[ALL_OLD, NONE]",
         dict(Item={"p": s("a")}, ReturnValuesOnConditionCheckFailure="x")),
        ("scan", f"'0' at 'limit' {fails}have value greater than or equal to 1", dict(Limit=0)),
        ("scan", f"'-1' at 'limit' {fails}have value greater than or equal to 1", dict(Limit=-1)),
        ("query", f"'0' at 'limit' {fails}have value greater than or equal to 1", dict(Limit=0)),
        ("scan", f"'x' at 'select' {fails}{enum}[SPECIFIC_ATTRIBUTES, COUNT, ALL_ATTRIBUTES, ALL_PROJECTED_ATTRIBUTES]",
         dict(Select="x")),
        ("scan", f"'-1' at 'segment' {fails}have value greater than or equal to 0", dict(Segment=-1, TotalSegments=2)),
        ("scan", f"'1000000' at 'segment' {fails}have value less than or equal to 999999",
         dict(Segment=1000000, TotalSegments=2)),
        ("scan", f"'0' at 'totalSegments' {fails}have value greater than or equal to 1",
            dict(Segment=0, TotalSegments=0)),
        ("scan", f"'1000001' at 'totalSegments' {fails}have value less than or equal to 1000000",
         dict(Segment=0, TotalSegments=1000001)),
        ("scan", f"'x' at 'conditionalOperator' {fails}{enum}[OR, AND]", dict(ConditionalOperator="x")),
    ]:
        a.error(operation, v(text), TableName="abc", **params)
    for limit, text in [(0, "greater than or equal to 1"), (101, "less than or equal to 100")]:
        a.error("list_tables", v(f"'{limit}' at 'limit' {fails}have value {text}"), Limit=limit)
    a.error("list_tables", v("exclusiveStartTableName"), ExclusiveStartTableName="a")
    for operation in ["list_backups", "list_global_tables"]:
        a.error(operation, v(f"'0' at 'limit' {fails}have value greater than or equal to 1"), Limit=0)
    # Faults in lists count with the others.
    two, three = ("{} validation errors detected: ".format(count) for count in (2, 3))
    a.error("batch_get_item", v(two), RequestItems={"abc": {"Keys": []}}, ReturnConsumedCapacity="x")
    a.error("transact_write_items", v(three), ReturnConsumedCapacity="x",
        TransactItems=[{"Put": {"TableName": "abc"}}, {"Delete": {"TableName": "abc"}}])
    a.error("update_table", v(two), TableName="abc", BillingMode="x",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "x"})
    a.error("batch_get_item", v(f"at 'requestItems' {fails}have length greater than or equal to 1"), RequestItems={})
    a.error("transact_get_items", v(f"'[]' at 'transactItems' {fails}have length greater than or equal to 1"),
        TransactItems=[])
