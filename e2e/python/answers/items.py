"""Items: their values and keys, what a write answers, keys of indexes, and what is told of capacity."""

from suite import s, n, l, m, INVALID, EMPTY_KEY, NOT_SCHEMA, CONDITION, v, until, sets_sorted


def values(a):
    a.table()
    both = (
        "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"
    )
    none = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
    over = "Number overflow. Attempting to store a number with magnitude larger than supported range"
    under = "Number underflow. Attempting to store a number with magnitude smaller than supported range"
    precise = "Attempting to store more than 38 significant digits in a Number"
    cannot = "The parameter cannot be converted to a numeric value"
    bad = [
        ({}, none), ({"L": [{}]}, none), ({"M": {"x": {}}}, none),
        ({"S": "a", "N": "1"}, both), ({"NULL": True, "BOOL": True}, both), ({"L": [{"S": "a", "BOOL": True}]}, both),
        ({"NULL": False}, INVALID + "Null attribute value types must have the value of true"),
        ({"N": ""}, cannot), ({"N": "x"}, f"{cannot}: x"), ({"N": " 1"}, f"{cannot}:  1"), ({"N": "1 "}, cannot),
        ({"N": "."}, cannot),
        ({"N": "1e"}, cannot), ({"N": "0x1"}, cannot), ({"N": "1_0"}, cannot), ({"N": "NaN"}, cannot),
        ({"N": "Infinity"}, cannot),
        ({"N": "--1"}, cannot), ({"N": "1.2.3"}, cannot), ({"N": "1e2.5"}, cannot), ({"N": "1,5"}, cannot),
        ({"N": "5+6"}, cannot),
        ({"N": "1e126"}, over), ({"N": "-1e126"}, over), ({"N": "1e1000"}, over), ({"N": "10e125"}, over),
        ({"N": "1e1000000000"}, over),
        ({"N": "1e-131"}, under), ({"N": "-1e-131"}, under), ({"N": "0.1e-130"}, under),
        ({"N": "1" * 39}, precise), ({"N": "1." + "1" * 38}, precise), ({"N": "-0." + "1" * 39}, precise),
        ({"N": "100000000000000000000000000000000000001.5"}, precise),
        ({"SS": []}, INVALID + "An string set  may not be empty"),
        ({"NS": []}, INVALID + "An number set  may not be empty"),
        ({"BS": []}, INVALID + "Binary sets should not be empty"),
        ({"SS": ["a", "b", "a"]}, INVALID + "Input collection [a, b, a] contains duplicates."),
        ({"NS": ["1", "1"]}, "Input collection contains duplicates"),
        ({"NS": ["1", "1.0"]}, "Input collection contains duplicates"),
        ({"BS": [b"a", b"a"]}, "of type BS contains duplicates."),
        ({"NS": ["1", "x"]}, f"{cannot}: x"), ({"NS": ["1", ""]}, cannot),
        ({"L": [{"SS": []}]}, INVALID + "An string set  may not be empty"),
        ({"M": {"a": {"L": [{"N": "x"}]}}}, f"{cannot}: x"),
    ]
    for value, text in bad:
        a.error("put_item", v("=" + text if not text.startswith(("of", cannot)) else text),
            Item={"p": s("a"), "x": value})
        a.error("update_item", v("ExpressionAttributeValues contains invalid value: "), Key={"p": s("a")},
                UpdateExpression="SET x = :x", ExpressionAttributeValues={":x": value})
        a.error("update_item", v(""), Key={"p": s("a")}, AttributeUpdates={"x": {"Action": "PUT", "Value": value}})
        a.error("put_item", v(""), Item={"p": s("a")}, Expected={"x": {"Value": value}})
        a.error("scan", v(""), ScanFilter={"x": {"ComparisonOperator": "EQ", "AttributeValueList": [value]}})
    for value in [{"X": "y"}, {"s": "y"}, {"S": None}, None]:
        a.raw("PutItem", {"TableName": a.tables[-1], "Item": {"p": s("a"), "x": value}}, v("=" + none))
    a.error("put_item", v("=ExpressionAttributeValues contains invalid value: " + none + " for key :x"),
        Item={"p": s("a")},
            ConditionExpression="p = :x", ExpressionAttributeValues={":x": {}})
    numbers = [
        ("1", "1"), ("1.0", "1"), ("1.50", "1.5"), ("0", "0"), ("-0", "0"), ("0.000", "0"), ("0e200", "0"),
        ("+1", "1"), ("01", "1"),
        ("00.10", "0.1"), (".5", "0.5"), ("5.", "5"), ("1e2", "100"), ("1E+2", "100"), ("1e-2", "0.01"),
        ("-1.5e1", "-15"),
        ("123456789012345678901234567890.12345678", "123456789012345678901234567890.12345678"),
        ("9" * 38, "9" * 38), ("0." + "9" * 38, "0." + "9" * 38), ("9" * 38 + "000", "9" * 38 + "000"),
        ("1e125", "1" + "0" * 125), ("-9.9e125", "-99" + "0" * 124), ("1e-130", "0." + "0" * 129 + "1"),
        ("0" * 100 + "1" + "." + "0" * 100, "1"),
    ]
    for text, shown in numbers:
        a.ok("put_item", Item={"p": s("a"), "x": n(text), "s": {"NS": [text]}})
        a.equal(f"the number {text}", a.item(p=s("a")), {"p": s("a"), "x": n(shown), "s": {"NS": [shown]}})
    same = [
        s(""), s("é€𝄞\0\n"), {"B": b""}, {"B": bytes(range(256))}, {"BOOL": True}, {"BOOL": False}, {"NULL": True}, l(), m(),
        l(l(), m(),
            s("")), m(a=l(n(1), {"NULL": True})), {"M": {"a.b": s("x"), "": s("y"), "[0]": s("z")}}, {"SS": ["", "a"]},
        {"BS": [b"", b"a"]}, {"NS": ["-1", "0", "2.5"]},
    ]
    for value in same:
        a.ok("put_item", Item={"p": s("a"), "x": value})
        a.equal(f"the value {value}", a.item(p=s("a")).get("x"), value)
    # Names.
    a.error("put_item", v("=Empty attribute name"), Item={"p": s("a"), "": s("x")})
    a.error("put_item", v("Attribute name is too large, must be less than 65536 bytes"),
        Item={"p": s("a"), "x" * 65536: s("x")})
    a.ok("put_item", Item={"p": s("a"), "x" * 65535: s("x")})
    a.ok("put_item", Item={"p": s("a"), "a.b": s("x"), "#n": s("y"), "ü €": s("z")})
    a.equal("strange names", sorted(a.item(p=s("a"))), ["#n", "a.b", "p", "ü €"])
    # Depth.
    deep = lambda levels: {"S": "x"} if levels == 1 else l(deep(levels - 1))
    a.ok("put_item", Item={"p": s("a"), "x": deep(32)})
    a.equal("32 levels", a.item(p=s("a")).get("x"), deep(32))
    nesting = v("Nesting Levels have exceeded supported limits")
    for levels in [33, 40, 60, 100]:
        a.error("put_item", nesting, Item={"p": s("a"), "x": deep(levels)})
        a.error("update_item", nesting, Key={"p": s("a")}, UpdateExpression="SET x = :x",
                ExpressionAttributeValues={":x": deep(levels)})
        a.error("batch_write_item", nesting,
            RequestItems={a.tables[-1]: [{"PutRequest": {"Item": {"p": s("a"), "x": deep(levels)}}}]})
        a.error("transact_write_items", nesting,
            TransactItems=[{"Put": {"TableName": a.tables[-1], "Item": {"p": s("a"), "x": deep(levels)}}}])
    a.error("update_item", nesting, Key={"p": s("a")}, UpdateExpression="SET x" + "[0]" * 5 + " = :x",
            ExpressionAttributeValues={":x": deep(30)})
    # Sizes: an item's names and values.
    large = v("=Item size has exceeded the maximum allowed size")
    room = 400 * 1024 - len("p") - len("a") - len("x")
    a.ok("put_item", Item={"p": s("a"), "x": s("y" * room)})
    a.error("put_item", large, Item={"p": s("a"), "x": s("y" * (room + 1))})
    a.error("put_item", large, TableName="nothing", Item={"p": s("a"), "x": s("y" * (room + 1))})
    a.error("batch_write_item", large,
        RequestItems={a.tables[-1]: [{"PutRequest": {"Item": {"p": s("a"), "x": s("y" * (room + 1))}}}]})
    a.error("update_item", v("=Item size to update has exceeded the maximum allowed size"), Key={"p": s("a")},
            UpdateExpression="SET z = :z", ExpressionAttributeValues={":z": s("z")})


def keys(a):
    a.table("t", "p:S", "c:B")
    whole = {"p": s("a"), "c": {"B": b"b"}}
    extra = {**whole, "x": s("y")}
    for key in [{}, {"p": s("a")}, {"c": {"B": b"b"}}, extra, {"p": n(1), "c": {"B": b"b"}}, {"p": s("a"), "c": s("b")},
                {"p": s("a"), "x": {"B": b"b"}}, {"p": {"NULL": True}, "c": {"B": b"b"}},
                {"p": {"SS": ["a"]}, "c": {"B": b"b"}}]:
        for operation in ["get_item", "delete_item", "update_item"]:
            a.error(operation, v("=" + NOT_SCHEMA), Key=key)
        a.error("batch_get_item", v("=" + NOT_SCHEMA), RequestItems={a.tables[-1]: {"Keys": [key]}})
        a.error("batch_write_item", v("=" + NOT_SCHEMA), RequestItems={a.tables[-1]: [{"DeleteRequest": {"Key": key}}]})
    for item, text in [
        ({"c": {"B": b"b"}}, INVALID + "Missing the key p in the item"),
        ({"p": s("a")}, INVALID + "Missing the key c in the item"),
        ({"p": n(1), "c": {"B": b"b"}}, INVALID + "Type mismatch for key p expected: S actual: N"),
        ({"p": s("a"), "c": s("b")}, INVALID + "Type mismatch for key c expected: B actual: S"),
        ({"p": {"NULL": True}, "c": {"B": b"b"}}, INVALID + "Type mismatch for key p expected: S actual: NULL"),
        ({"p": l(), "c": {"B": b"b"}}, INVALID + "Type mismatch for key p expected: S actual: L"),
    ]:
        a.error("put_item", v("=" + text), Item=item)
        a.error("batch_write_item", v("=" + NOT_SCHEMA), RequestItems={a.tables[-1]: [{"PutRequest": {"Item": item}}]})
    hash_large = INVALID + "Size of hashkey has exceeded the maximum size limit of2048 bytes"
    sort_large = INVALID + "Aggregated size of all range keys has exceeded the size limit of 1024 bytes"
    for key, text in [
        ({"p": s(""), "c": {"B": b"b"}}, EMPTY_KEY + "string value. Key: p"),
        ({"p": s("a"), "c": {"B": b""}}, EMPTY_KEY + "binary value. Key: c"),
        ({"p": s("x" * 2049), "c": {"B": b"b"}}, hash_large),
        ({"p": s("é" * 1025), "c": {"B": b"b"}}, hash_large),
        ({"p": s("a"), "c": {"B": b"b" * 1025}}, sort_large),
    ]:
        for operation, name in [("get_item", "Key"), ("delete_item", "Key"), ("update_item", "Key"),
            ("put_item", "Item")]:
            a.error(operation, v("=" + text), **{name: key})
        a.error("batch_get_item", v("=" + text), RequestItems={a.tables[-1]: {"Keys": [key]}})
        a.error("batch_write_item", v("=" + text), RequestItems={a.tables[-1]: [{"PutRequest": {"Item": key}}]})
    largest = {"p": s("x" * 2048), "c": {"B": b"b" * 1024}}
    a.ok("put_item", Item=largest)
    a.equal("the largest key", a.item(**largest), largest)
    a.table("numbers", "p:N")
    a.ok("put_item", Item={"p": n("1.0"), "x": s("y")})
    a.equal("a number in another form", a.item(p=n("10e-1")), {"p": n(1), "x": s("y")})


def returned(a):
    a.table()
    key = {"p": s("a")}
    for operation, params in [("put_item", {"Item": key}), ("delete_item", {"Key": key})]:
        for word in ["ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"]:
            a.error(operation, v("=ReturnValues can only be ALL_OLD or NONE"), ReturnValues=word, **params)
        a.ok("delete_item", Key=key)
        a.equal(f"{operation} of nothing", a.ok(operation, ReturnValues="ALL_OLD", **params).get("Attributes"), None)
    a.ok("put_item", Item={**key, "x": n(1)})
    a.equal("nothing asked", a.ok("put_item", Item={**key, "x": n(2)}).get("Attributes"), None)
    a.equal("put", a.ok("put_item", Item={**key, "x": n(3)}, ReturnValues="ALL_OLD").get("Attributes"),
        {**key, "x": n(2)})
    document = {**key, "x": n(1), "y": s("y"), "d": m(a=n(1), b=m(c=n(2), d=n(3))), "l": l(n(0), n(1), n(2)),
        "t": {"SS": ["a", "b"]}}
    one = {":v": n(9)}
    for expression, given, old, new in [
        ("SET x = :v", one, {"x": n(1)}, {"x": n(9)}),
        ("SET z = :v", one, None, {"z": n(9)}),
        ("SET x = :v, z = :v", one, {"x": n(1)}, {"x": n(9), "z": n(9)}),
        ("REMOVE x", None, {"x": n(1)}, None),
        ("REMOVE z", None, None, None),
        ("SET d.a = :v", one, {"d": m(a=n(1))}, {"d": m(a=n(9))}),
        ("SET d.b.c = :v", one, {"d": m(b=m(c=n(2)))}, {"d": m(b=m(c=n(9)))}),
        ("SET d.n = :v", one, None, {"d": m(n=n(9))}),
        ("SET d.a = :v, d.b.d = :v", one, {"d": m(a=n(1), b=m(d=n(3)))}, {"d": m(a=n(9), b=m(d=n(9)))}),
        ("REMOVE d.a", None, {"d": m(a=n(1))}, None),
        ("SET l[1] = :v", one, {"l": l(n(1))}, {"l": l(n(9))}),
        ("ADD x :v", one, {"x": n(1)}, {"x": n(10)}),
        ("ADD t :t", {":t": {"SS": ["c"]}}, {"t": {"SS": ["a", "b"]}}, {"t": {"SS": ["a", "b", "c"]}}),
        ("DELETE t :t", {":t": {"SS": ["a"]}}, {"t": {"SS": ["a", "b"]}}, {"t": {"SS": ["b"]}}),
        ("DELETE t :t", {":t": {"SS": ["a", "b"]}}, {"t": {"SS": ["a", "b"]}}, None),
    ]:
        more = {"ExpressionAttributeValues": given} if given else {}
        for word, expected in [("UPDATED_OLD", old), ("UPDATED_NEW", new), ("ALL_OLD", document), ("NONE", None)]:
            a.ok("put_item", Item=document)
            got = a.ok("update_item", Key=key, UpdateExpression=expression, ReturnValues=word, **more).get("Attributes")
            a.equal(f"{expression} {word}", sets_sorted(got), sets_sorted(expected))
        a.ok("put_item", Item=document)
        got = a.ok("update_item", Key=key, UpdateExpression=expression, ReturnValues="ALL_NEW",
            **more).get("Attributes")
        a.equal(f"{expression} ALL_NEW", sets_sorted(got), sets_sorted(a.item(**key)))
    a.ok("delete_item", Key=key)
    for word, expected in [("ALL_OLD", None), ("UPDATED_OLD", None), ("UPDATED_NEW", {"x": n(9)}),
        ("ALL_NEW", {**key, "x": n(9)})]:
        got = a.ok("update_item", Key=key, UpdateExpression="SET x = :v", ExpressionAttributeValues=one,
            ReturnValues=word)
        a.equal(f"made, {word}", got.get("Attributes"), expected)
        a.ok("delete_item", Key=key)
    a.ok("put_item", Item={**key, "x": n(1)})
    answer = a.error("delete_item", (CONDITION, "=The conditional request failed"), Key=key,
        ConditionExpression="x = :v",
                     ExpressionAttributeValues=one, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    a.equal("what was in the way", (answer or {}).get("Item"), {**key, "x": n(1)})
    answer = a.error("delete_item", CONDITION, Key=key, ConditionExpression="x = :v", ExpressionAttributeValues=one)
    a.equal("not asked what was in the way", "Item" in (answer or {}), False)
    answer = a.error("update_item", CONDITION, Key={"p": s("none")}, ConditionExpression="x = :v",
        UpdateExpression="SET y = :v",
                     ExpressionAttributeValues=one, ReturnValuesOnConditionCheckFailure="ALL_OLD")
    a.equal("nothing was in the way", "Item" in (answer or {}), False)


def indexes(a):
    """What a write says of a key of an index."""
    a.table("t", "p:S", "c:S", lsi=[("loc", "p", "x:N", "ALL")], gsi=[("glo", "g:S", "h:B", "ALL")])
    key = {"p": s("a"), "c": s("b")}
    mismatch = "Type mismatch for Index Key {} Expected: {} Actual: {} IndexName: {}"
    secondary = (
        "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The "
        "AttributeValue for a key attribute cannot contain an empty {} value. IndexName: {}, IndexKey: {}"
    )
    size = "Size limit exceeded for Index Key {} Actual Size: {} bytes Max Size: {} bytes IndexName: {}"
    updated = (
        "One or more parameter values are not valid. The update expression attempted to update a secondary index key "
        "to a value that is not supported. The AttributeValue for a key attribute cannot contain an empty {} value."
    )
    kind = "The update expression attempted to update the secondary index key to unsupported type"
    beyond = "The update expression attempted to update the secondary index key beyond allowed size limits"
    for name, value, put, update, older in [
        ("x", s("1"), INVALID + mismatch.format("x", "N", "S", "loc"), kind,
            INVALID + mismatch.format("x", "N", "S", "loc")), ("x", {"NULL": True}, INVALID + mismatch.format("x", "N",
                "NULL", "loc"), kind, INVALID + mismatch.format("x", "N", "NULL", "loc")),
        ("g", n(1), INVALID + mismatch.format("g", "S", "N", "glo"), kind,
            INVALID + mismatch.format("g", "S", "N", "glo")), ("g", {"SS": ["a"]}, INVALID + mismatch.format("g", "S",
                "SS", "glo"), kind, INVALID + mismatch.format("g", "S", "SS", "glo")),
        ("g", s(""), secondary.format("string", "glo", "g"), updated.format("string"),
            "cannot contain an empty string value"),
            ("h", {"B": b""}, secondary.format("binary", "glo", "h"), updated.format("binary"),
                "cannot contain an empty binary value"),
        ("g", s("x" * 2049), INVALID + size.format("g", 2049, 2048, "glo"), beyond, ""),
        ("h", {"B": b"x" * 1025}, INVALID + size.format("h", 1025, 1024, "glo"), beyond, ""),
    ]:
        a.error("put_item", v("=" + put), Item={**key, name: value})
        a.error("update_item", v("=" + update), Key=key, UpdateExpression=f"SET {name} = :x",
            ExpressionAttributeValues={":x": value})
        a.error("update_item", v(older), Key=key, AttributeUpdates={name: {"Action": "PUT", "Value": value}})
        a.error("batch_write_item", v("=" + put),
            RequestItems={a.tables[-1]: [{"PutRequest": {"Item": {**key, name: value}}}]})
    a.equal("nothing was written", a.item(**key), None)
    found = lambda: a.ok("scan", IndexName="glo").get("Count")
    for update, expected in [("SET g = :g", 0), ("SET h = :h", 1), ("REMOVE g", 0), ("SET g = :g", 1), ("REMOVE h", 0)]:
        values = {k: value for k, value in {":g": s("g"), ":h": {"B": b"h"}}.items() if k in update}
        a.ok("update_item", Key=key, UpdateExpression=update,
            **({"ExpressionAttributeValues": values} if values else {}))
        until(a, f"the index after {update}", lambda: found() == expected)


    # What was there before the index, and is no key of it, is not in it; it stays as long as nobody touches it.
    a.table("late", "p:S")
    for name, value in [("good", s("g")), ("number", n(1)), ("empty", s("")), ("large", s("x" * 2049))]:
        a.ok("put_item", Item={"p": s(name), "g": value})
    a.ok("update_table", AttributeDefinitions=[{"AttributeName": "g", "AttributeType": "S"}],
        GlobalSecondaryIndexUpdates=[{"Create": {"IndexName": "late", "Projection": {"ProjectionType": "ALL"},
            "KeySchema": [{"AttributeName": "g", "KeyType": "HASH"}]}}])
    state = lambda: a.call("describe_table")["Table"]["GlobalSecondaryIndexes"][0]["IndexStatus"]
    until(a, "the late index", lambda: state() == "ACTIVE")
    a.equal("in the late index", [i["p"] for i in a.ok("scan", IndexName="late").get("Items", [])], [s("good")])
    for name in ["good", "number", "empty", "large"]:
        a.ok("update_item", Key={"p": s(name)}, UpdateExpression="SET y = :y", ExpressionAttributeValues={":y": n(1)})
    a.error("update_item", v("=" + kind), Key={"p": s("good")}, UpdateExpression="SET g = :g",
        ExpressionAttributeValues={":g": n(2)})


def capacity(a):
    a.table("t", "p:S", "c:S", lsi=[("loc", "p", "x:N", "ALL")], gsi=[("glo", "g:S", None, "KEYS_ONLY")])
    table = a.tables[-1]
    key = {"p": s("a"), "c": s("b")}
    big = {**key, "v": s("x" * 5000)}
    total = lambda operation, **more: a.ok(operation, ReturnConsumedCapacity="TOTAL", **more).get("ConsumedCapacity")
    detail = lambda operation, **more: a.ok(operation, ReturnConsumedCapacity="INDEXES", **more).get("ConsumedCapacity")
    of = lambda units: {"TableName": table, "CapacityUnits": units}
    a.equal("nix", "ConsumedCapacity" in a.ok("put_item", Item=key, ReturnConsumedCapacity="NONE"), False)
    a.equal("unsaid", "ConsumedCapacity" in a.ok("put_item", Item=key), False)
    for what, got, expected in [
        ("put", lambda: total("put_item", Item=key), of(1.0)),
        ("put 5 KB", lambda: total("put_item", Item=big), of(5.0)),
        ("put over 5 KB", lambda: total("put_item", Item=key), of(5.0)),
        ("delete nothing", lambda: total("delete_item", Key={"p": s("a"), "c": s("nix")}), of(1.0)),
        ("get", lambda: total("get_item", Key=key), of(0.5)),
        ("get newest", lambda: total("get_item", Key=key, ConsistentRead=True), of(1.0)),
        ("get nothing", lambda: total("get_item", Key={"p": s("a"), "c": s("nix")}), of(0.5)),
        ("put again", lambda: total("put_item", Item=big), of(5.0)),
        ("get 5 KB", lambda: total("get_item", Key=key, ConsistentRead=True), of(2.0)),
        ("get a part", lambda: total("get_item", Key=key, ConsistentRead=True, ProjectionExpression="p"), of(2.0)),
        ("query", lambda: total("query", KeyConditionExpression="p = :p", ExpressionAttributeValues={":p": s("a")}),
            of(1.0)),
        ("query nothing", lambda: total("query", KeyConditionExpression="p = :p",
            ExpressionAttributeValues={":p": s("nix")}), of(0.5)),
        ("scan", lambda: total("scan", ConsistentRead=True), of(2.0)),
        ("update",
            lambda: total("update_item", Key=key, UpdateExpression="SET z = :z",
                ExpressionAttributeValues={":z": n(1)}), of(5.0)),
        ("delete", lambda: total("delete_item", Key=key), of(5.0)),
    ]:
        a.equal(what, got(), expected)
    got = detail("put_item", Item={**key, "x": n(1), "g": s("g")})
    a.equal("a put with indexes", got,
        {**of(3.0), "Table": {"CapacityUnits": 1.0}, "LocalSecondaryIndexes": {"loc": {"CapacityUnits": 1.0}},
            "GlobalSecondaryIndexes": {"glo": {"CapacityUnits": 1.0}}})
    a.equal("the same put", detail("put_item", Item={**key, "x": n(1), "g": s("g")}),
        {**of(1.0), "Table": {"CapacityUnits": 1.0}})
    got = detail("query", IndexName="glo", KeyConditionExpression="g = :g", ExpressionAttributeValues={":g": s("g")})
    a.equal("a query of an index", got,
        {**of(0.5), "Table": {"CapacityUnits": 0.0}, "GlobalSecondaryIndexes": {"glo": {"CapacityUnits": 0.5}}})
    got = detail("query", IndexName="loc", KeyConditionExpression="p = :p", ExpressionAttributeValues={":p": s("a")},
        ConsistentRead=True)
    a.equal("a query of a local index", got,
        {**of(1.0), "Table": {"CapacityUnits": 0.0}, "LocalSecondaryIndexes": {"loc": {"CapacityUnits": 1.0}}})
    a.equal("a get with indexes", detail("get_item", Key=key), {**of(0.5), "Table": {"CapacityUnits": 0.5}})
    metrics = {"ItemCollectionKey": {"p": s("a")}, "SizeEstimateRangeGB": [0.0, 1.0]}
    for operation, params in [("put_item", dict(Item=key)), ("update_item", dict(Key=key)),
        ("delete_item", dict(Key=key))]:
        a.equal(f"the collection of {operation}",
            a.ok(operation, ReturnItemCollectionMetrics="SIZE", **params).get("ItemCollectionMetrics"), metrics)
        a.equal(f"{operation} without", a.ok(operation, **params).get("ItemCollectionMetrics"), None)
    a.table("plain")
    a.equal("no local index",
        a.ok("put_item", Item={"p": s("a")}, ReturnItemCollectionMetrics="SIZE").get("ItemCollectionMetrics"), None)
