"""Requests for many items: queries, scans, batches, transactions; and what is not there yet."""

import json

from suite import s, n, INVALID, EMPTY_KEY, NOT_SCHEMA, NOT_FOUND, v


def queries(a):
    a.table("t", "p:S", "c:S", lsi=[("loc", "p", "x:N", "KEYS_ONLY")],
        gsi=[("glo", "g:S", "c", ["y"]), ("ghash", "g", None, "ALL"), ("gkeys", "g", "x", "KEYS_ONLY")])
    for at in range(10):
        item = {"p": s("a"), "c": s(f"c{at}"), "x": n(9 - at), "y": n(at), "w": s("w")}
        if at < 6:
            item["g"] = s("one")
        a.ok("put_item", Item=item)
    a.ok("put_item", Item={"p": s("b"), "c": s("c0"), "x": n(1)})
    p = {":p": s("a")}
    cs = lambda answer: [int(i["c"]["S"][1:]) for i in answer.get("Items", [])]

    def query(expression, values, expected, **more):
        more.setdefault("ConsistentRead", True)
        got = a.ok("query", KeyConditionExpression=expression, ExpressionAttributeValues=values, **more)
        a.equal(f"{expression} {more}", cs(got), expected)
        return got

    y = lambda value, other=None: {**p, ":x": value, **({":y": other} if other else {})}
    for condition, values, expected in [
        ("p = :p", p, list(range(10))), (":p = p", p, list(range(10))), ("p = :p AND c = :x", y(s("c3")), [3]),
        ("p = :p AND c < :x", y(s("c3")), [0, 1, 2]), ("p = :p AND c <= :x", y(s("c3")), [0, 1, 2, 3]),
        ("c > :x AND p = :p", y(s("c7")), [8, 9]),
        ("p = :p AND :x > c", y(s("c2")), [0, 1]), ("p = :p AND c BETWEEN :x AND :y", y(s("c3"), s("c5")), [3, 4, 5]),
        ("p = :p AND begins_with(c, :x)", y(s("c")), list(range(10))),
        ("p = :p AND begins_with(c, :x)", y(s("c1")), [1]), ("(p = :p) AND (c >= :x)", y(s("c8")), [8, 9]),
        ("p = :x", {":x": s("nix")}, []),
    ]:
        query(condition, values, expected)
        query(condition, values, expected[::-1], ScanIndexForward=False)
    query("p = :p AND x < :x", y(n(2)), [9, 8], IndexName="loc")
    query("g = :x", {":x": s("one")}, [0, 1, 2, 3, 4, 5], IndexName="glo", ConsistentRead=False)
    query("g = :x AND c > :y", {":x": s("one"), ":y": s("c3")}, [4, 5], IndexName="glo", ConsistentRead=False)

    supported, missed = "=Query key condition not supported", "=Query condition missed key schema element: "
    invalid_key = "Invalid KeyConditionExpression: "
    for expression, text, values, more in [
        ("", invalid_key + "The expression can not be empty;", None, {}),
        ("p", invalid_key + "Syntax error", None, {}), ("p = :p, c = :x", invalid_key + "Syntax error", y(s("c")), {}),
        ("p = :q",
            invalid_key + "An expression attribute value used in expression is not defined; attribute value: "
                ":q", None, {}),
        ("p = :p OR c = :x", "=Invalid operator used in KeyConditionExpression: OR", y(s("c")), {}),
        ("NOT p = :p", "=Invalid operator used in KeyConditionExpression: NOT", p, {}),
        ("p = :p AND c IN (:x)", "=Invalid operator used in KeyConditionExpression: IN", y(s("c")), {}),
        ("p = :p AND c <> :x", "=Invalid operator used in KeyConditionExpression: <>", y(s("c")), {}),
        ("p = :p AND contains(c, :x)", "=Invalid operator used in KeyConditionExpression: contains", y(s("c")), {}),
        ("p = :p AND attribute_exists(c)", "=Invalid operator used in KeyConditionExpression: attribute_exists", p, {}),
        ("p < :p", supported, p, {}), ("begins_with(p, :p)", supported, p, {}),
        ("p BETWEEN :p AND :p", supported, p, {}), ("c = :x", missed + "p", {":x": s("c")}, {}),
        ("p = :p AND w = :x", missed + "c", y(s("c")), {}), ("w = :x", missed + "p", {":x": s("c")}, {}),
        ("p = :p AND p = :p", "=KeyConditionExpressions must only contain one condition per key", p, {}),
        ("p = :p AND c > :x AND c < :x", "=KeyConditionExpressions must only contain one condition per key", y(s("c")),
            {}),
        ("p = :p AND c = :x AND w = :x", "=Conditions can be of length 1 or 2 only", y(s("c")), {}),
        ("p = :p AND size(c) = :x", "=KeyConditionExpressions cannot contain nested operations", y(n(1)), {}),
        ("p.a = :p", "KeyConditionExpressions cannot have conditions on nested attributes", p, {}),
        ("p = c", "=Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition", None,
            {}),
        (":p = :p", "=Invalid condition in KeyConditionExpression: No key attribute specified", p, {}),
        ("p = :p AND c BETWEEN :x AND :y",
            invalid_key + "The BETWEEN operator requires upper bound to be greater than or equal to lower "
                "bound", y(s("c2"), s("c1")), {}),
        ("p = :x", f"={INVALID}Condition parameter type does not match schema type", {":x": n(1)}, {}),
        ("p = :p AND c = :x", f"={INVALID}Condition parameter type does not match schema type", y(n(1)), {}),
        ("p = :p AND begins_with(c, :x)",
            invalid_key + "Incorrect operand type for operator or function; operator or function: begins_with, operand "
                "type: N", y(n(1)), {}),
        ("p = :x", EMPTY_KEY + "string value. Key: p", {":x": s("")}, {}),
        ("p = :p AND x = :x", missed + "c", y(n(1)), {}), ("p = :p", missed + "g", p, {"IndexName": "glo"}),
        ("g = :p AND x = :x", supported, y(n(1)), {"IndexName": "ghash"}),
        ("p = :p AND begins_with(x, :x)", f"={INVALID}Condition parameter type does not match schema type", y(s("1")),
            {"IndexName": "loc"}),
        ("p = :p", "=The table does not have the specified index: nothing", p, {"IndexName": "nothing"}),
        ("g = :p", "=Consistent reads are not supported on global secondary indexes", p,
            {"IndexName": "glo", "ConsistentRead": True}),
        ("g = :p",
            f"={INVALID}Select type ALL_ATTRIBUTES is not supported for global secondary index glo because its "
            f"projection type is not "
            f"ALL", p, {"IndexName": "glo", "Select": "ALL_ATTRIBUTES"}), ("g = :p", f"={INVALID}Global secondary "
                f"index glo does not project [w]", p, {"IndexName": "glo", "ProjectionExpression": "w"}),
    ]:
        more = {**more, **({"ExpressionAttributeValues": values} if values else {})}
        a.error("query", v(text), KeyConditionExpression=expression, **more)
    a.error("query",
        v("=Either the KeyConditions or KeyConditionExpression parameter must be specified in the request."))
    for name, index_name in [("p", None), ("c", None), ("x", "loc"), ("p", "loc")]:
        a.error("query",
            v(f"=Filter Expression can only contain non-primary key attributes: Primary key attribute: {name}"),
                KeyConditionExpression="p = :p",
                FilterExpression=f"attribute_exists({name})", ExpressionAttributeValues=p,
                **({"IndexName": index_name} if index_name else {}))
    a.equal("a filter of the table's key on an index",
        a.ok("query", IndexName="glo", KeyConditionExpression="g = :g", FilterExpression="p = :p",
            ExpressionAttributeValues={":g": s("one"), **p}).get("Count"), 6)

    # What is selected.
    only = lambda **more: a.ok("query", KeyConditionExpression="p = :p AND c = :x",
        ExpressionAttributeValues=y(s("c3")), **more)
    a.equal("all", sorted(only()["Items"][0]), ["c", "g", "p", "w", "x", "y"])
    count = only(Select="COUNT")
    a.equal("count", ("Items" in count, count["Count"], count["ScannedCount"]), (False, 1, 1))
    a.equal("specific", only(Select="SPECIFIC_ATTRIBUTES", ProjectionExpression="y")["Items"], [{"y": n(3)}])
    a.equal("specific, older",
        a.ok("query", KeyConditions={"p": {"ComparisonOperator": "EQ", "AttributeValueList": [s("a")]}},
            Select="SPECIFIC_ATTRIBUTES", AttributesToGet=["y"], Limit=1)["Items"], [{"y": n(0)}])
    a.equal("all of a table", len(only(Select="ALL_ATTRIBUTES")["Items"][0]), 6)
    by_index = lambda index, key, **more: sorted(a.ok("query", IndexName=index, KeyConditionExpression=f"{key} = :k",
        ExpressionAttributeValues={":k": s("a" if key == "p" else "one")}, Limit=1, **more)["Items"][0])
    for name, key, more, expected in [
        ("loc", "p", {}, ["c", "p", "x"]), ("loc", "p", {"Select": "ALL_ATTRIBUTES"}, ["c", "p", "w", "x", "y"]),
        ("loc", "p", {"Select": "ALL_PROJECTED_ATTRIBUTES"}, ["c", "p", "x"]),
        ("loc", "p", {"ProjectionExpression": "w, y"}, ["w", "y"]),
        ("glo", "g", {}, ["c", "g", "p", "y"]),
        ("glo", "g", {"Select": "ALL_PROJECTED_ATTRIBUTES"}, ["c", "g", "p", "y"]),
        ("glo", "g", {"ProjectionExpression": "y"}, ["y"]),
        ("ghash", "g", {"Select": "ALL_ATTRIBUTES"}, ["c", "g", "p", "w", "x", "y"]),
        ("gkeys", "g", {}, ["c", "g", "p", "x"]),
    ]:
        a.equal(f"selected of {name} {more}", by_index(name, key, **more), expected)
    for consistent, of_table, of_index in [(True, 10.0, 1.0), (False, 5.0, 0.5)]:
        got = a.ok("query", IndexName="loc", KeyConditionExpression="p = :p", ExpressionAttributeValues=p,
            Select="ALL_ATTRIBUTES", ConsistentRead=consistent, ReturnConsumedCapacity="INDEXES")["ConsumedCapacity"]
        a.equal("items that an index lacks cost one by one", (got["CapacityUnits"], got["Table"]["CapacityUnits"],
            got["LocalSecondaryIndexes"]["loc"]["CapacityUnits"]), (of_table + of_index, of_table, of_index))
    for text, more in [
        ("ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an IndexName",
            {"Select": "ALL_PROJECTED_ATTRIBUTES"}),
            ("Must specify the AttributesToGet or ProjectionExpression when choosing to get SPECIFIC_ATTRIBUTES",
                {"Select": "SPECIFIC_ATTRIBUTES"}),
        ("Cannot specify the ProjectionExpression when choosing to get ALL_ATTRIBUTES",
            {"Select": "ALL_ATTRIBUTES", "ProjectionExpression": "y"}),
            ("Cannot specify the ProjectionExpression when choosing to get only the Count",
                {"Select": "COUNT", "ProjectionExpression": "y"}),
        ("Cannot specify the ProjectionExpression when choosing to get ALL_PROJECTED_ATTRIBUTES",
            {"Select": "ALL_PROJECTED_ATTRIBUTES", "ProjectionExpression": "y", "IndexName": "loc"}),
    ]:
        a.error("query", v(f"={INVALID}{text}"), KeyConditionExpression="p = :p", ExpressionAttributeValues=p, **more)
        a.error("scan", v(f"={INVALID}{text}"), **more)
    a.error("scan", v(f"={INVALID}Cannot specify the AttributesToGet when choosing to get only the Count"),
        Select="COUNT", AttributesToGet=["y"])

    # Pages.
    def pages(operation="query", **more):
        seen, start, sizes = [], {}, []
        while True:
            answer = a.ok(operation, **more, **start)
            seen += cs(answer)
            sizes.append(answer.get("Count"))
            if "LastEvaluatedKey" not in answer or len(sizes) > 50:
                return seen, sizes
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    condition = dict(KeyConditionExpression="p = :p", ExpressionAttributeValues=p, ConsistentRead=True)
    a.equal("pages of 3", pages(Limit=3, **condition), (list(range(10)), [3, 3, 3, 1]))
    a.equal("pages of 5", pages(Limit=5, **condition), (list(range(10)), [5, 5, 0]))
    a.equal("pages back", pages(Limit=4, ScanIndexForward=False, **condition), (list(range(9, -1, -1)), [4, 4, 2]))
    a.equal("pages of an index", pages(Limit=4, IndexName="loc", **condition), (list(range(9, -1, -1)), [4, 4, 2]))
    a.equal("pages of a global index",
        pages(Limit=2, IndexName="ghash", KeyConditionExpression="g = :g",
            ExpressionAttributeValues={":g": s("one")}) [1], [2, 2, 2, 0])
    a.equal("filtered pages",
        pages(Limit=3, FilterExpression="y > :y",
            **{**condition, "ExpressionAttributeValues": {**p, ":y": n(7)}}), ([8, 9], [0, 0, 1, 1]))
    last = a.ok("query", Limit=1, IndexName="loc", **condition)["LastEvaluatedKey"]
    a.equal("last key of a local index", last, {"p": s("a"), "c": s("c9"), "x": n(0)})
    last = a.ok("query", Limit=1, IndexName="glo", KeyConditionExpression="g = :g",
        ExpressionAttributeValues={":g": s("one")})["LastEvaluatedKey"]
    a.equal("last key of a global index", last, {"p": s("a"), "c": s("c0"), "g": s("one")})
    starting = "The provided starting key is invalid"
    outside = "=The provided starting key is outside query boundaries based on provided conditions"
    for start, text, more in [
        ({"p": s("a")}, starting, {}), ({"p": s("a"), "c": s("c"), "x": n(1)}, starting, {}),
        ({"p": s("a"), "c": n(1)}, starting, {}), ({"p": s("a"), "x": s("c")}, starting, {}), ({}, starting, {}),
        ({"p": s("a"), "c": s("c")}, starting, {"IndexName": "loc"}),
        ({"p": s("a"), "c": s("c"), "x": s("1")}, starting, {"IndexName": "loc"}),
        ({"p": s("b"), "c": s("c")}, outside, {}), ({"p": s("a"), "c": {}}, "Supplied AttributeValue is empty", {}),
        ({"p": s("a"), "c": s("c1")}, "=The provided starting key does not match the range key predicate",
            {"KeyConditionExpression": "p = :p AND c > :x", "ExpressionAttributeValues": y(s("c5"))}),
        ({"p": s("a"), "c": s("c9")}, "=The provided starting key does not match the range key predicate",
            {"KeyConditionExpression": "p = :p AND c < :x", "ExpressionAttributeValues": y(s("c5"))}),
    ]:
        a.error("query", v(text), ExclusiveStartKey=start, **{**condition, **more})
    a.equal("a start that is no item", cs(a.ok("query", ExclusiveStartKey={"p": s("a"), "c": s("c7x")}, **condition)),
        [8, 9])


def scans(a):
    a.table("t", "p:S", "c:N", lsi=[("loc", "p", "x:N", "KEYS_ONLY")], gsi=[("glo", "g:S", None, "KEYS_ONLY")])
    table = a.tables[-1]
    for batch in range(0, 100, 25):
        puts = [{"PutRequest": {"Item": {"p": s(f"p{at % 20}"), "c": n(at), "x": n(at),
            **({"g": s("g")} if at % 2 else {})}}} for at in range(batch, batch + 25)]
        a.ok("batch_write_item", RequestItems={table: puts})
    cs = lambda answer: [int(i["c"]["N"]) for i in answer.get("Items", [])]

    def walk(**more):
        seen, start = [], {}
        while True:
            answer = a.ok("scan", **more, **start)
            seen += cs(answer)
            if "LastEvaluatedKey" not in answer:
                return seen
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    a.equal("all", sorted(walk(ConsistentRead=True)), list(range(100)))
    for limit in [1, 7, 100, 1000]:
        a.equal(f"in pages of {limit}", sorted(walk(ConsistentRead=True, Limit=limit)), list(range(100)))
    for segments in [1, 2, 3, 50]:
        parts = [walk(ConsistentRead=True, Segment=at, TotalSegments=segments, Limit=9) for at in range(segments)]
        a.equal(f"{segments} segments", sorted(sum(parts, [])), list(range(100)))
    a.equal("a local index", len(walk(IndexName="loc", Limit=9, ConsistentRead=True)), 100)
    a.equal("a global index", sorted(walk(IndexName="glo", Limit=9)), list(range(1, 100, 2)))
    got = a.ok("scan", FilterExpression="c < :c AND x >= :x", ExpressionAttributeValues={":c": n(10), ":x": n(5)},
        ConsistentRead=True)
    a.equal("filtered", (sorted(cs(got)), got["ScannedCount"]), ([5, 6, 7, 8, 9], 100))
    total = (
        "The TotalSegments parameter is required but was not present in the request when Segment parameter is present"
    )
    segment = (
        "The Segment parameter is required but was not present in the request when parameter TotalSegments is present"
    )
    less = (
        "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: {} is not less "
        "than TotalSegments: {}"
    )
    first = a.ok("scan", Segment=0, TotalSegments=2, Limit=1).get("LastEvaluatedKey")
    for text, more in [
        ("=" + total, dict(Segment=0)), ("=" + segment, dict(TotalSegments=2)),
        ("=" + less.format(2, 2), dict(Segment=2, TotalSegments=2)),
        ("=" + less.format(5, 2), dict(Segment=5, TotalSegments=2)),
        ("=The table does not have the specified index: nothing", dict(IndexName="nothing")),
        ("=Consistent reads are not supported on global secondary indexes",
            dict(IndexName="glo", ConsistentRead=True)),
                ("at 'indexName' failed to satisfy constraint", dict(IndexName="ab")),
        ("The provided starting key is invalid: " + NOT_SCHEMA, dict(ExclusiveStartKey={"p": s("a")})),
        ("The provided starting key is invalid: " + NOT_SCHEMA, dict(ExclusiveStartKey={"p": s("a"), "c": s("1")})),
        ("The provided starting key is invalid: " + NOT_SCHEMA,
            dict(ExclusiveStartKey={"p": s("a"), "c": n(1), "x": n(1)})),
        ("=The provided starting key is invalid", dict(IndexName="glo", ExclusiveStartKey={"p": s("a"), "c": n(1)})),
        ("=The provided starting key is invalid", dict(IndexName="loc", ExclusiveStartKey={"p": s("a"), "c": n(1)})),
        ("=The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct "
         "Segment. TotalSegments: 2 Segment: 1", dict(Segment=1, TotalSegments=2, ExclusiveStartKey=first)),
        (f"={INVALID}Select type ALL_ATTRIBUTES is not supported for global secondary index glo because its projection "
         f"type is not ALL", dict(IndexName="glo", Select="ALL_ATTRIBUTES")),
    ]:
        a.error("scan", v(text), **more)
    # A page of a megabyte.
    a.table("large", "p:S", "c:N")
    for at in range(6):
        a.ok("put_item", Item={"p": s("a"), "c": n(at), "v": s("x" * 300_000)})
    for operation, more in [("scan", {}),
        ("query", dict(KeyConditionExpression="p = :p", ExpressionAttributeValues={":p": s("a")}))]:
        page = a.ok(operation, ConsistentRead=True, **more)
        a.equal(f"{operation}: a megabyte", (page["Count"], page.get("LastEvaluatedKey")),
            (4, {"p": s("a"), "c": n(3)}))
        page = a.ok(operation, ConsistentRead=True, Select="COUNT", **more)
        a.equal(f"{operation}: a megabyte counted", (page["Count"], "LastEvaluatedKey" in page), (4, True))


def batches(a):
    one = a.table("one")
    two = a.table("two", "p:S", "c:N", lsi=[("loc", "p", "x:N", "ALL")])
    put = lambda *names: [{"PutRequest": {"Item": {"p": s(name)}}} for name in names]
    delete = lambda *names: [{"DeleteRequest": {"Key": {"p": s(name)}}} for name in names]
    more_than = "Member must have length less than or equal to "
    exactly = (
        "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"
    )
    for items, text in [
        ({one: []}, f"=1 validation error detected: Value '{{{one}=[]}}' at 'requestItems' failed to satisfy constraint: Map "
            f"value must satisfy constraint: [{more_than}25, Member must have length greater than or equal to 1]"),
        ({"ab": put("a")}, f"at 'requestItems' failed to satisfy constraint: Map keys must satisfy constraint: [{more_than}255, "
            "Member must have length greater than or equal to 3, "),
        ({one: put(*[f"k{i}" for i in range(26)])},
            f"at 'requestItems' failed to satisfy constraint: Map value must satisfy constraint: [{more_than}25"),
        ({one: put(*[f"k{i}" for i in range(20)]),
            two: [{"PutRequest": {"Item": {"p": s("a"),
                "c": n(i)}}} for i in range(6)]}, "=Too many items requested for the BatchWriteItem call"),
        ({one: put("a", "a")}, "=Provided list of item keys contains duplicates"),
        ({one: put("a") + delete("a")}, "=Provided list of item keys contains duplicates"),
        ({one: [{}]}, "=" + exactly), ({one: [{**put("a")[0], **delete("b")[0]}]}, "=" + exactly),
        ({one: put("")}, "=" + EMPTY_KEY + "string value. Key: p"),
        ({one: [{"PutRequest": {"Item": {"p": s("a"), "x": {}}}}]}, "Supplied AttributeValue is empty"),
        ({two: [{"PutRequest": {"Item": {"p": s("a"), "c": n(1), "x": s("1")}}}]},
            "Type mismatch for Index Key x Expected: N Actual: S IndexName: loc"),
    ]:
        a.error("batch_write_item", v(text), RequestItems=items)
    a.error("batch_write_item", (NOT_FOUND, "=Requested resource not found"), RequestItems={"nothing": put("a")})
    a.error("batch_write_item", (NOT_FOUND, "=Requested resource not found"),
        RequestItems={"nothing": put("a"), one: put("a")})
    a.equal("nothing is written", a.ok("scan", TableName=one, ConsistentRead=True).get("Count"), 0)
    written = a.ok("batch_write_item",
        RequestItems={one: put("a", "b"),
            two: [{"PutRequest": {"Item": {"p": s("a"), "c": n(i),
                "x": n(i)}}} for i in range(3)]}, ReturnConsumedCapacity="INDEXES", ReturnItemCollectionMetrics="SIZE")
    a.equal("all done", written.get("UnprocessedItems"), {})
    a.equal("units",
        sorted((c["TableName"], c["CapacityUnits"],
            c["Table"]["CapacityUnits"]) for c in written["ConsumedCapacity"]), [(one, 2.0, 2.0), (two, 6.0, 3.0)])
    a.equal("collections", written.get("ItemCollectionMetrics"),
        {two: [{"ItemCollectionKey": {"p": s("a")}, "SizeEstimateRangeGB": [0.0, 1.0]}]})
    a.ok("batch_write_item", RequestItems={one: put("c") + delete("a", "nix")})
    a.equal("put and deleted", sorted(i["p"]["S"] for i in a.ok("scan", TableName=one, ConsistentRead=True)["Items"]),
        ["b", "c"])
    # Reads.
    keys = lambda *names: [{"p": s(name)} for name in names]
    for items, text in [
        ({one: {"Keys": []}},
            f"at 'requestItems.{one}.member.keys' failed to satisfy constraint: Member must have length greater than "
            f"or equal to 1"), ({one: {}}, f"Value null at 'requestItems.{one}.member.keys' failed"),
        ({one: {"Keys": keys(*[f"k{i}" for i in range(101)])}},
            f"at 'requestItems.{one}.member.keys' failed to satisfy constraint: {more_than}100"),
        ({one: {"Keys": keys(*[f"k{i}" for i in range(99)])},
            two: {"Keys": [{"p": s("a"),
                "c": n(i)} for i in range(2)]}}, "=Too many items requested for the BatchGetItem call"),
        ({one: {"Keys": keys("a", "a")}}, "=Provided list of item keys contains duplicates"),
        ({two: {"Keys": [{"p": s("a"), "c": n(1)}, {"p": s("a"), "c": n("1.0")}]}},
            "=Provided list of item keys contains duplicates"),
        ({one: {"Keys": keys("a"), "AttributesToGet": ["p"], "ProjectionExpression": "p"}},
            "Can not use both expression and non-expression parameters"),
        ({one: {"Keys": keys("a"), "ProjectionExpression": "p"},
            two: {"Keys": [{"p": s("a"), "c": n(1)}], "AttributesToGet": ["p"]}},
            "=Can not use both expression and non-expression parameters in the same request: Non-expression parameters: "
            "{AttributesToGet} Expression parameters: {ProjectionExpression}"),
            ({one: {"Keys": keys("a"), "ExpressionAttributeNames": {"#a": "p"}}},
                "ExpressionAttributeNames can only be specified when using expressions"),
        ({one: {"Keys": keys("a"), "ProjectionExpression": "p", "ExpressionAttributeNames": {"#a": "p"}}},
            "unused in expressions: keys: {#a}"), ({"ab": {"Keys": keys("a")}}, "length greater than or equal to 3"),
    ]:
        a.error("batch_get_item", v(text), RequestItems=items)
    a.error("batch_get_item", (NOT_FOUND, "=Requested resource not found"),
        RequestItems={"nothing": {"Keys": keys("a")}, one: {"Keys": keys("a")}})
    got = a.ok("batch_get_item",
        RequestItems={one: {"Keys": keys("b", "nix", "c"), "ConsistentRead": True},
            two: {"Keys": [{"p": s("a"), "c": n(1)}], "ProjectionExpression": "#x",
                "ExpressionAttributeNames": {"#x": "x"}, "ConsistentRead": True}}, ReturnConsumedCapacity="TOTAL")
    a.equal("found",
        (sorted(i["p"]["S"] for i in got["Responses"][one]), got["Responses"][two], got["UnprocessedKeys"]),
        (["b", "c"], [{"x": n(1)}], {}))
    a.equal("units of reads", sorted((c["TableName"], c["CapacityUnits"]) for c in got["ConsumedCapacity"]),
        [(one, 3.0), (two, 1.0)])
    a.equal("nothing found", a.ok("batch_get_item", RequestItems={one: {"Keys": keys("nix")}}).get("Responses"),
        {one: []})
    null = "Value null at 'requestItems.{}.member.{}' failed to satisfy constraint: Member must not be null"
    a.error("batch_write_item", v(null.format(one, "1.member.putRequest.item")),
        RequestItems={one: [{"PutRequest": {}}]})
    a.error("batch_write_item", v(null.format(one, "2.member.deleteRequest.key")),
        RequestItems={one: put("a") + [{"DeleteRequest": {}}]})
    # Who calls a table by its ARN is told of it by that.
    arn = a.ok("describe_table", TableName=two)["Table"]["TableArn"]
    key = {"p": s("a"), "c": n(1)}
    told = lambda answer: answer["ConsumedCapacity"]
    asked = a.ok("batch_get_item", RequestItems={arn: {"Keys": [key]}}, ReturnConsumedCapacity="TOTAL")
    a.equal("read by ARN", (list(asked["Responses"]), told(asked)[0]["TableName"]), ([arn], arn))
    asked = a.ok("batch_write_item", RequestItems={arn: [{"PutRequest": {"Item": key}}]},
        ReturnConsumedCapacity="TOTAL", ReturnItemCollectionMetrics="SIZE")
    a.equal("written by ARN", (list(asked["ItemCollectionMetrics"]), told(asked)[0]["TableName"]), ([arn], arn))
    for operation, params in [
        ("put_item", dict(Item=key)), ("get_item", dict(Key=key)), ("delete_item", dict(Key=key)), ("scan", {}),
        ("query", dict(KeyConditionExpression="p = :p", ExpressionAttributeValues={":p": s("a")})),
    ]:
        asked = a.ok(operation, TableName=arn, ReturnConsumedCapacity="TOTAL", **params)
        a.equal(f"{operation} by ARN", told(asked)["TableName"], arn)
    for operation, one_item in [("transact_write_items", {"Put": {"TableName": arn, "Item": key}}),
        ("transact_get_items", {"Get": {"TableName": arn, "Key": key}})]:
        asked = a.ok(operation, TransactItems=[one_item], ReturnConsumedCapacity="TOTAL")
        a.equal(f"{operation} by ARN", told(asked)[0]["TableName"], arn)
    # An answer has 16 MB at most.
    for at in range(0, 45, 5):
        a.ok("batch_write_item",
            RequestItems={one: [{"PutRequest": {"Item": {"p": s(f"l{i}"), "v": s("x" * 400_000)}}} for i in range(at,
                at + 5)]})
    rest, seen, asked = {one: {"Keys": keys(*[f"l{i}" for i in range(45)]), "ConsistentRead": True}}, 0, 0
    while rest and asked < 10:
        got = a.ok("batch_get_item", RequestItems=rest)
        seen, rest, asked = seen + len(got["Responses"].get(one, [])), got["UnprocessedKeys"], asked + 1
    a.equal("18 MB in two answers", (seen, asked), (45, 2))


def transactions(a):
    one = a.table("one")
    two = a.table("two", "p:S", "c:N", gsi=[("glo", "g:S", None, "ALL")])
    key = lambda name: {"p": s(name)}
    put = lambda name, **more: {"Put": {"TableName": one, "Item": {"p": s(name)}, **more}}
    update = lambda name, expression="SET x = :x", values={":x": n(1)}, **more: {"Update": {"TableName": one,
        "Key": key(name), "UpdateExpression": expression, **({"ExpressionAttributeValues": values} if values else {}),
        **more}}
    check = lambda name, condition: {"ConditionCheck": {"TableName": one, "Key": key(name),
        "ConditionExpression": condition}}
    delete = lambda name, **more: {"Delete": {"TableName": one, "Key": key(name), **more}}
    null = "Value null at '{}' failed to satisfy constraint: Member must not be null"
    for items, text in [
        ([], "'[]' at 'transactItems' failed to satisfy constraint: Member must have length greater than or equal to "
            "1"), ([put(f"k{i}") for i in range(101)], "at 'transactItems' failed to satisfy constraint: Member must "
                "have length less than or equal to 100"),
        ([{}], "TransactItems can only contain one of Check, Put, Update or Delete"),
        ([{**put("a"), **delete("b")}], "TransactItems can only contain one of Check, Put, Update or Delete"),
        ([put("a"), delete("a")], "=Transaction request cannot include multiple operations on one item"),
        ([check("a", "attribute_exists(p)"), update("a")],
            "=Transaction request cannot include multiple operations on one item"),
            ([put("a"), {"Put": {"TableName": one}}], null.format("transactItems.2.member.put.item")),
            ([{"Delete": {"Key": key("a")}}], null.format("transactItems.1.member.delete.tableName")),
        ([{"Update": {"TableName": one, "Key": key("a")}}],
            null.format("transactItems.1.member.update.updateExpression")), ([{"ConditionCheck": {"TableName": one,
                "Key": key("a")}}], null.format("transactItems.1.member.conditionCheck.conditionExpression")),
        ([update("a", "SET x = :y")],
            "Invalid UpdateExpression: An expression attribute value used in expression is not defined; attribute "
            "value: :y"),
        ([put("")], "=" + EMPTY_KEY + "string value. Key: p"),
        ([delete("")], "=" + EMPTY_KEY + "string value. Key: p"),
        ([put("b"), update("")], "=" + EMPTY_KEY + "string value. Key: p"),
        ([{"Put": {"TableName": two, "Item": {"p": s("a"), "c": n(1), "g": s("")}}}],
            "One or more parameter values are not valid. A value specified for a secondary index key is not "
            "supported."), ([put("a", ReturnValuesOnConditionCheckFailure="x")], "enum value set: [ALL_OLD, NONE]"),
        ([{"Put": {"TableName": one, "Item": {"p": s("a"), "x": s("y" * 409_600)}}}],
            "=Item size has exceeded the maximum allowed size"),
    ]:
        a.error("transact_write_items", v(text), TransactItems=items)
    a.error("transact_write_items", v("at 'clientRequestToken' failed to satisfy constraint: "
        "Member must have length less than or equal to 36"), TransactItems=[put("a")],
        ClientRequestToken="x" * 37)
    a.error("transact_write_items", (NOT_FOUND, "=Requested resource not found"),
        TransactItems=[{"Put": {"TableName": "nothing", "Item": key("a")}}, put("a")])
    a.ok("put_item", TableName=one, Item={"p": s("a"), "x": n(1), "t": s("text")})

    def cancelled(reasons, items):
        codes = ", ".join(code for code, _ in reasons)
        text = f"=Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
        answer = a.error("transact_write_items", ("TransactionCanceledException", text), TransactItems=items) or {}
        got = [(r["Code"], r.get("Message")) for r in answer.get("CancellationReasons", [])]
        a.equal(f"reasons of {codes}", got, reasons)
        return answer.get("CancellationReasons", [])

    fine, failed, invalid = ("None", None), ("ConditionalCheckFailed",
        "The conditional request failed"), lambda text: ("ValidationError", text)
    cancelled([fine, failed], [put("new"), check("a", "attribute_not_exists(p)")])
    cancelled([failed, fine, failed],
        [put("a", ConditionExpression="attribute_not_exists(p)"), put("b"),
            delete("c", ConditionExpression="attribute_exists(p)")])
    reasons = cancelled([failed],
        [put("a", ConditionExpression="attribute_not_exists(p)", ReturnValuesOnConditionCheckFailure="ALL_OLD")])
    a.equal("what was in the way", [r.get("Item") for r in reasons], [{"p": s("a"), "x": n(1), "t": s("text")}])
    cancelled([invalid(NOT_SCHEMA), fine], [{"Delete": {"TableName": one, "Key": {"q": s("a")}}}, put("b")])
    cancelled([invalid(NOT_SCHEMA)],
        [{"Update": {"TableName": one, "Key": {"p": n(1)}, "UpdateExpression": "REMOVE x"}}])
    cancelled([invalid(INVALID + "Type mismatch for key p expected: S actual: N")],
        [{"Put": {"TableName": one, "Item": {"p": n(1)}}}])
    cancelled([invalid(INVALID + "Missing the key c in the item")],
        [{"Put": {"TableName": two, "Item": {"p": s("a")}}}])
    cancelled([invalid(INVALID + "Type mismatch for Index Key g Expected: S Actual: N IndexName: glo")],
        [{"Put": {"TableName": two, "Item": {"p": s("a"), "c": n(1), "g": n(1)}}}])
    cancelled([invalid("An operand in the update expression has an incorrect data type")],
        [update("a", "SET x = t + :x")])
    cancelled([invalid("The provided expression refers to an attribute that does not exist in the item")],
        [update("a", "SET x = nix", None)])
    cancelled([fine, invalid("The document path provided in the update expression is invalid for update")],
        [put("b"), update("a", "SET nix.y = :x")])
    cancelled([invalid(INVALID + "Cannot update attribute p. This attribute is part of the key")],
        [update("a", "SET p = :x")])
    a.equal("nothing of it", a.ok("scan", TableName=one, ConsistentRead=True)["Count"], 1)
    told = a.ok("transact_write_items",
        TransactItems=[put("b"), update("a"), delete("nix"), check("c", "attribute_not_exists(p)"),
            {"Put": {"TableName": two, "Item": {"p": s("a"), "c": n(1)}}}], ReturnConsumedCapacity="TOTAL",
            ReturnItemCollectionMetrics="SIZE")
    a.equal("units",
        sorted((c["TableName"], c["CapacityUnits"], c["WriteCapacityUnits"]) for c in told["ConsumedCapacity"]), [(one,
            8.0, 8.0), (two, 2.0, 2.0)])
    told = lambda *items, **more: a.ok("transact_write_items", TransactItems=list(items), ReturnConsumedCapacity="INDEXES",
        **more)["ConsumedCapacity"][0]
    for value, of_index in [("a", 1.0), ("b", 2.0)]:
        got = told({"Put": {"TableName": two, "Item": {"p": s("i"), "c": n(1), "g": s(value)}}})
        a.equal("an index is paid for once", (got["Table"]["CapacityUnits"],
            got["GlobalSecondaryIndexes"]["glo"]["CapacityUnits"]), (2.0, of_index))
    # Names and values beside no expression are passed over.
    a.ok("transact_write_items", TransactItems=[put("names", ExpressionAttributeNames={"#a": "b"}),
        delete("values", ExpressionAttributeValues={":x": n(1)})])
    a.ok("transact_get_items", TransactItems=[{"Get": {"TableName": one, "Key": key("names"),
        "ExpressionAttributeNames": {"#a": "b"}}}])
    cancelled([invalid("Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: "
        "IndexKey: g")], [{"Put": {"TableName": two, "Item": {"p": s("a"), "c": n(1)},
            "ConditionExpression": "attribute_exists(g.x)"}}])
    # Tokens.
    token = f"{a.prefix}token"[:36]
    for _ in range(2):
        a.ok("transact_write_items", TransactItems=[update("a", "SET x = x + :x")], ClientRequestToken=token)
    a.equal("done once", a.ok("get_item", TableName=one, Key=key("a"), ConsistentRead=True)["Item"]["x"], n(2))
    a.error("transact_write_items", "IdempotentParameterMismatchException",
        TransactItems=[update("a", "SET x = x - :x")], ClientRequestToken=token)
    for kind in ["WriteCapacityUnits", "ReadCapacityUnits"]:
        got = told({"Put": {"TableName": one, "Item": {"p": s("nine"), "v": s("x" * 9_000)}}},
            ClientRequestToken=f"{a.prefix}nine"[-36:])
        a.equal(f"a token in {kind}", got[kind], {"WriteCapacityUnits": 18.0, "ReadCapacityUnits": 6.0}[kind])
    # Reads.
    get = lambda name, **more: {"Get": {"TableName": one, "Key": key(name), **more}}
    for items, text in [
        ([get("a"), get("a")], "=Transaction request cannot include multiple operations on one item"),
        ([get(f"k{i}") for i in range(101)], "Member must have length less than or equal to 100"),
        ([{}], null.format("transactItems.1.member.get")),
        ([get("a"), {"Get": {"TableName": one}}], null.format("transactItems.2.member.get.key")),
        ([get("")], "=" + EMPTY_KEY + "string value. Key: p"),
        ([get("a", ProjectionExpression="a a")], "Invalid ProjectionExpression: Syntax error"),
        ([get("a", ProjectionExpression="p", ExpressionAttributeNames={"#a": "p"})], "unused in expressions"),
    ]:
        a.error("transact_get_items", v(text), TransactItems=items)
    answer = a.error("transact_get_items",
        ("TransactionCanceledException",
            "=Transaction cancelled, please refer cancellation reasons for specific reasons [None, ValidationError]"),
            TransactItems=[get("a"), {"Get": {"TableName": one, "Key": {"q": s("a")}}}])
    a.equal("reasons of reads", [(r["Code"], r.get("Message")) for r in (answer or {}).get("CancellationReasons", [])],
        [fine, invalid(NOT_SCHEMA)])
    a.error("transact_get_items", ("TransactionCanceledException", "[None, ValidationError]"),
        TransactItems=[get("a"), get("x" * 2_049)])
    a.equal("nothing of an item", a.ok("transact_get_items",
        TransactItems=[get("a", ProjectionExpression="zz")]).get("Responses"), [{}])
    a.equal("nothing of an item that is got", a.ok("get_item", TableName=one, Key=key("a"), ProjectionExpression="zz",
        ConsistentRead=True).get("Item"), {})
    a.error("transact_get_items", (NOT_FOUND, "=Requested resource not found"),
        TransactItems=[get("a"), {"Get": {"TableName": "nothing", "Key": key("a")}}])
    for at in range(11):
        a.ok("put_item", TableName=one, Item={"p": s(f"large{at}"), "v": s("x" * 399_000)})
    a.equal("4 MB", len(a.ok("transact_get_items", TransactItems=[get(f"large{at}") for at in range(10)])["Responses"]), 10)
    a.error("transact_get_items", v("4 MB"), TransactItems=[get(f"large{at}") for at in range(11)])
    got = a.ok("transact_get_items",
        TransactItems=[get("nix"), get("a", ProjectionExpression="x"),
            {"Get": {"TableName": two, "Key": {"p": s("a"), "c": n(1)}}}], ReturnConsumedCapacity="TOTAL")
    a.equal("in order", got["Responses"], [{}, {"Item": {"x": n(2)}}, {"Item": {"p": s("a"), "c": n(1)}}])
    a.equal("units of reads",
        sorted((c["TableName"], c["CapacityUnits"], c["ReadCapacityUnits"]) for c in got["ConsumedCapacity"]), [(one,
            4.0, 4.0), (two, 2.0, 2.0)])


def feeds(a):
    """What streams are asked wrongly."""
    a.table(StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"})
    arn = a.ok("describe_table")["Table"]["LatestStreamArn"]
    describe = lambda **more: json.loads(a.http("DescribeStream", {"StreamArn": arn, **more})[2])["StreamDescription"]
    shard = describe()["Shards"][0]["ShardId"]
    short = "failed to satisfy constraint: Member must have length greater than or equal to "
    iterator = lambda **more: {"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "LATEST", **more}
    for operation, body, text in [
        ("ListStreams", {"ExclusiveStartStreamArn": "x"}, f"'x' at 'exclusiveStartStreamArn' {short}37"),
        ("DescribeStream", {"StreamArn": "x"}, f"'x' at 'streamArn' {short}37"),
        ("DescribeStream", {"StreamArn": arn, "ExclusiveStartShardId": "x"}, f"'exclusiveStartShardId' {short}28"),
        ("DescribeStream", {"StreamArn": arn, "ShardFilter": {"Type": "x"}}, "enum value set: [CHILD_SHARDS]"),
        ("GetShardIterator", iterator(StreamArn="x"), f"'x' at 'streamArn' {short}37"),
        ("GetShardIterator", iterator(ShardId="x"), f"'x' at 'shardId' {short}28"),
        ("GetShardIterator", iterator(SequenceNumber="1"), f"'1' at 'sequenceNumber' {short}21"),
        ("GetShardIterator", iterator(ShardIteratorType="AT_SEQUENCE_NUMBER"), "SequenceNumber must be provided"),
        ("GetShardIterator", iterator(ShardIteratorType="x"), "enum value set: ["),
        ("GetRecords", {"ShardIterator": "x"}, "Invalid ShardIterator"),
    ]:
        a.raw(operation, body, v(text))
    other = f"shardId-{0:020}-{0:08x}"
    a.raw("GetShardIterator", iterator(ShardId=other), (NOT_FOUND, "Shard does not exist"))
    a.raw("DescribeStream", {"StreamArn": f"{arn[:-4]}.000"}, (NOT_FOUND, "not found"))
    a.equal("children of a shard", describe(ShardFilter={"Type": "CHILD_SHARDS", "ShardId": shard})["Shards"], [])


def absent(a):
    """What there is no part of yet says so."""
    for operation, params in [
        ("execute_statement", {"Statement": "SELECT * FROM t"}),
        ("batch_execute_statement", {"Statements": [{"Statement": "x"}]}),
        ("execute_transaction", {"TransactStatements": [{"Statement": "x"}]}),
    ]:
        a.error(operation, ("UnknownOperationException", "PartiQL"), **params)
    a.table()
    table, arn = a.tables[-1], a.ok("describe_table")["Table"]["TableArn"]
    no_table = NOT_FOUND, "=Requested resource not found: Table: nothing not found"
    for operation in ["describe_contributor_insights", "describe_kinesis_streaming_destination"]:
        a.ok(operation, TableName=table)
        a.error(operation, no_table, TableName="nothing")
    for operation in ["update_kinesis_streaming_destination", "describe_table_replica_auto_scaling",
        "update_table_replica_auto_scaling"]:
        a.error(operation, v("is not available"), TableName=table)
    for operation in ["get_resource_policy", "delete_resource_policy"]:
        a.error(operation, (NOT_FOUND, f"{arn}x not found"), ResourceArn=arn + "x")
    a.error("get_resource_policy",
        ("PolicyNotFoundException", f"=Resource-based policy not found for the provided ResourceArn: {arn}"),
            ResourceArn=arn)
    a.ok("delete_resource_policy", ResourceArn=arn)
