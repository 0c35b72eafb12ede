"""Tables: how they are made, described, changed and tagged, and what ends in them."""

import re
import time

from suite import s, n, m, INVALID, VALIDATION, NOT_FOUND, v, until


def key_schema(hash="p", sort=None):
    schema = [{"AttributeName": hash, "KeyType": "HASH"}]
    return schema + ([{"AttributeName": sort, "KeyType": "RANGE"}] if sort else [])


def defined(*names):
    return [{"AttributeName": name, "AttributeType": "S"} for name in names]


def index(name="index", schema=None, projection=None, **more):
    return {"IndexName": name, "KeySchema": schema or key_schema("x"),
        "Projection": projection or {"ProjectionType": "ALL"}, **more}


def creation(a):
    def bad(text, code=VALIDATION, **more):
        request = dict(
            TableName=a.name("bad"), AttributeDefinitions=defined("p"), KeySchema=key_schema(),
            BillingMode="PAY_PER_REQUEST")
        request.update(more)
        request = {name: value for name, value in request.items() if value is not None}
        a.error("create_table", (code, text), **request)

    units = lambda read, write: {"ReadCapacityUnits": read, "WriteCapacityUnits": write}
    fails = "failed to satisfy constraint: Member must "
    bad(f"'tableName' {fails}have length greater than or equal to 3", TableName="ab")
    bad(f"'tableName' {fails}have length less than or equal to 255", TableName="x" * 256)
    bad(f"'tableName' {fails}satisfy regular expression", TableName="a b!")
    bad("Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
        ProvisionedThroughput=units(1, 1))
    for billing in [None, "PROVISIONED"]:
        bad(f"={INVALID}ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is "
            f"PROVISIONED",
            BillingMode=billing)
    bad(f"'0' at 'provisionedThroughput.readCapacityUnits' {fails}have value greater than or equal to 1",
        BillingMode=None, ProvisionedThroughput=units(0, 1))
    bad("Given value 1000000000001 for WriteCapacityUnits is out of bounds", BillingMode=None,
        ProvisionedThroughput=units(1, 1000000000001))
    bad("enum value set: [PROVISIONED, PAY_PER_REQUEST]", BillingMode="x")
    bad("enum value set: [B, N, S]", AttributeDefinitions=[{"AttributeName": "p", "AttributeType": "BOOL"}])
    bad("enum value set: [HASH, RANGE]", KeySchema=[{"AttributeName": "p", "KeyType": "x"}])
    bad(f"'[]' at 'keySchema' {fails}have length greater than or equal to 1", KeySchema=[])
    bad("Value '[KeySchemaElement(attributeName=p, keyType=HASH), KeySchemaElement(attributeName=q, keyType=RANGE), "
        f"KeySchemaElement(attributeName=r, keyType=RANGE)]' at 'keySchema' {fails}have length less than or equal to 2",
        AttributeDefinitions=defined("p", "q", "r"),
        KeySchema=key_schema("p", "q") + [{"AttributeName": "r", "KeyType": "RANGE"}])
    bad(f"{fails}have length less than or equal to 255", AttributeDefinitions=defined("x" * 256),
        KeySchema=key_schema("x" * 256))
    bad("=Invalid KeySchema: The first KeySchemaElement is not a HASH key type",
        KeySchema=[{"AttributeName": "p", "KeyType": "RANGE"}])
    bad("=Invalid KeySchema: The second KeySchemaElement is not a RANGE key type",
        AttributeDefinitions=defined("p", "q"),
        KeySchema=[{"AttributeName": "p", "KeyType": "HASH"}, {"AttributeName": "q", "KeyType": "HASH"}])
    bad("=Both the Hash Key and the Range Key element in the KeySchema have the same name",
        AttributeDefinitions=defined("p", "q"), KeySchema=key_schema("p", "p"))
    bad("=Invalid KeySchema: Some index key attribute have no definition", KeySchema=key_schema("p", "q"))
    bad(f"={INVALID}Some index key attributes are not defined in AttributeDefinitions. Keys: [p], "
        f"AttributeDefinitions: [q]",
        AttributeDefinitions=defined("q"))
    bad(f"={INVALID}Number of attributes in KeySchema does not exactly match number of attributes defined in "
        "AttributeDefinitions", AttributeDefinitions=defined("p", "q"))
    bad("=Attribute Name is duplicated: p", AttributeDefinitions=defined("p", "p"))
    bad("=Invalid table-class parameter provided. Please try again with a valid table-class value: [STANDARD, "
        "STANDARD_INFREQUENT_ACCESS].", TableClass="x")
    stream = lambda **more: dict(StreamSpecification=more)
    bad(f"={INVALID}Table is being created with a stream enabled, UpdateViewType is required",
        **stream(StreamEnabled=True))
    bad(f"={INVALID}Table is being created with a stream disabled, UpdateViewType should not be specified",
        **stream(StreamEnabled=False, StreamViewType="NEW_IMAGE"))
    most = lambda **more: dict(OnDemandThroughput=more)
    bad(f"={INVALID}MaxReadRequestUnits for OnDemandThroughput cannot be specified when the table BillingMode is "
        "PROVISIONED", BillingMode="PROVISIONED", ProvisionedThroughput=units(1, 1), **most(MaxReadRequestUnits=1))
    for number in [0, -2]:
        bad(f"={INVALID}Requested MaxWriteRequestUnits for OnDemandThroughput for table is outside of valid range",
            **most(MaxWriteRequestUnits=number))

    local = lambda *indexes: dict(KeySchema=key_schema("p", "q"), LocalSecondaryIndexes=list(indexes))
    bad(f"={INVALID}List of LocalSecondaryIndexes is empty", LocalSecondaryIndexes=[])
    bad(f"={INVALID}List of GlobalSecondaryIndexes is empty", GlobalSecondaryIndexes=[])
    bad(f"={INVALID}Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex",
        AttributeDefinitions=defined("p", "x"), LocalSecondaryIndexes=[index(schema=key_schema("p", "x"))])
    bad(f"={INVALID}Index KeySchema does not have a range key for index: index", AttributeDefinitions=defined("p", "q"),
        **local(index(schema=key_schema("p"))))
    bad(f"={INVALID}Index KeySchema does not have the same leading hash key as table KeySchema for index: index. index "
        f"hash "
        "key: x, table hash key: p", AttributeDefinitions=defined("p", "q", "x"),
        **local(index(schema=key_schema("x", "q"))))
    bad("Some index key attributes are not defined in AttributeDefinitions. Keys: [p, x], AttributeDefinitions: [p, q]",
        AttributeDefinitions=defined("p", "q"), **local(index(schema=key_schema("p", "x"))))
    bad(f"={INVALID}Number of LocalSecondaryIndexes exceeds per-table limit of 5",
        AttributeDefinitions=defined("p", "q", "x"),
        **local(*[index(f"index{i}", key_schema("p", "x")) for i in range(6)]))
    bad(f"={INVALID}Duplicate index name: same", AttributeDefinitions=defined("p", "q", "x"),
        **local(*[index("same", key_schema("p", "x"))] * 2))
    bad(f"={INVALID}Duplicate index name: same", AttributeDefinitions=defined("p", "q", "x"),
        GlobalSecondaryIndexes=[index("same")], **local(index("same", key_schema("p", "x"))))

    both = defined("p", "x")
    bad(f"={INVALID}Duplicate index name: same", AttributeDefinitions=both, GlobalSecondaryIndexes=[index("same")] * 2)
    bad(f"={INVALID}GlobalSecondaryIndex count exceeds the per-table limit of 20", AttributeDefinitions=both,
        GlobalSecondaryIndexes=[index(f"index{i}") for i in range(21)])
    bad("at 'globalSecondaryIndexes.1.member.indexName' failed", AttributeDefinitions=both,
        GlobalSecondaryIndexes=[index("ab")])
    bad("at 'globalSecondaryIndexes.2.member.indexName' failed", AttributeDefinitions=both,
        GlobalSecondaryIndexes=[index(), index("x" * 256)])
    bad("Some index key attributes are not defined in AttributeDefinitions. Keys: [x], AttributeDefinitions: [p]",
        GlobalSecondaryIndexes=[index()])
    bad("Some AttributeDefinitions are not used. AttributeDefinitions: [p, x, y], keys used: [p, x]",
        AttributeDefinitions=defined("p", "x", "y"), GlobalSecondaryIndexes=[index()])
    for projection, text in [
        ({}, "Unknown ProjectionType: null"),
        ({"ProjectionType": "INCLUDE"}, "ProjectionType is INCLUDE, but NonKeyAttributes is not specified"),
        ({"ProjectionType": "ALL", "NonKeyAttributes": ["a"]},
            "ProjectionType is ALL, but NonKeyAttributes is specified"),
        ({"ProjectionType": "KEYS_ONLY", "NonKeyAttributes": ["a"]},
         "ProjectionType is KEYS_ONLY, but NonKeyAttributes is specified"),
    ]:
        given = index()
        given["Projection"] = projection
        bad(f"={INVALID}{text}", AttributeDefinitions=both, GlobalSecondaryIndexes=[given])
    for names, text in [([], "greater than or equal to 1"), ([f"n{i}" for i in range(21)], "less than or equal to 20")]:
        bad(f"nonKeyAttributes' {fails}have length {text}", AttributeDefinitions=both,
            GlobalSecondaryIndexes=[index(projection={"ProjectionType": "INCLUDE", "NonKeyAttributes": names})])
    bad(f"={INVALID}Duplicate element in NonKeyAttributes: a", AttributeDefinitions=both, GlobalSecondaryIndexes=[
        index(projection={"ProjectionType": "INCLUDE", "NonKeyAttributes": ["a", "b", "a"]})])
    keys = lambda *kinds: [{"AttributeName": f"k{at}", "KeyType": kind} for at, kind in enumerate(kinds)]
    many = defined("p", *[f"k{at}" for at in range(5)])
    bad(f"={INVALID}All HASH key attributes must precede RANGE key attributes in the KeySchema",
        AttributeDefinitions=many[:4], GlobalSecondaryIndexes=[index(schema=keys("HASH", "RANGE", "HASH"))])
    bad(f"={INVALID}The KeySchema exceeds the maximum allowed number of HASH key attributes",
        AttributeDefinitions=many, GlobalSecondaryIndexes=[index(schema=keys(*["HASH"] * 5))])
    bad("per-table limit of 100", AttributeDefinitions=both, GlobalSecondaryIndexes=[
        index(f"index{i}", projection={"ProjectionType": "INCLUDE", "NonKeyAttributes": [f"n{j}" for j in range(20)]})
        for i in range(6)])
    bad(f"={INVALID}ProvisionedThroughput should not be specified for index: index when BillingMode is PAY_PER_REQUEST",
        AttributeDefinitions=both, GlobalSecondaryIndexes=[index(ProvisionedThroughput=units(1, 1))])
    bad("ProvisionedThroughput is not specified for index: index", AttributeDefinitions=both, BillingMode="PROVISIONED",
        ProvisionedThroughput=units(1, 1), GlobalSecondaryIndexes=[index()])
    bad("=The Tag Key provided is invalid, Key: ", Tags=[{"Key": "", "Value": ""}])
    bad("=Number of Tags exceed the current limit for the provided ResourceArn", Tags=[{"Key": f"k{i}", "Value": ""} for i in range(51)])
    bad("Encryption at rest is not available", SSESpecification={"Enabled": True})
    bad("ResourcePolicy: policies of tables are not available", ResourcePolicy="{}")
    bad("GlobalTableSourceArn: global tables are not available", GlobalTableSourceArn="arn:aws:dynamodb:x:1:table/x")
    bad("2 validation errors detected: ", AttributeDefinitions=both, GlobalSecondaryIndexes=[index("a"), index("b")])
    # Names of the greatest length, and of the least; two indexes on the same keys.
    for name in ["abc", "x" * 255, "a.b-c_9"]:
        a.ok("create_table", TableName=name, AttributeDefinitions=defined("p"), KeySchema=key_schema(),
             BillingMode="PAY_PER_REQUEST", SSESpecification={"Enabled": False})
        a.error("create_table", ("ResourceInUseException", f"=Table already exists: {name}"), TableName=name,
                AttributeDefinitions=defined("p"), KeySchema=key_schema(), BillingMode="PAY_PER_REQUEST")
        a.equal("deleted", a.ok("delete_table", TableName=name)["TableDescription"]["TableStatus"], "DELETING")
        a.client.get_waiter("table_not_exists").wait(TableName=name, WaiterConfig={"Delay": 1})
    missing = NOT_FOUND, "=Requested resource not found: Table: nothing not found"
    a.error("describe_table", missing, TableName="nothing")
    a.error("delete_table", missing, TableName="nothing")
    a.error("update_table", missing, TableName="nothing", BillingMode="PAY_PER_REQUEST")
    a.error("describe_time_to_live", missing, TableName="nothing")
    table = a.table("backups")
    for operation, more in [("describe_continuous_backups", {}),
        ("update_continuous_backups", dict(PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False}))]:
        told = a.ok(operation, TableName=table, **more)["ContinuousBackupsDescription"]
        a.equal(operation, (told["ContinuousBackupsStatus"],
            told["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]), ("ENABLED", "DISABLED"))
    a.error("describe_continuous_backups", ("TableNotFoundException", "=Table not found: nothing"), TableName="nothing")
    for operation, params in [
        ("get_item", dict(Key={"p": s("a")})), ("put_item", dict(Item={"p": s("a")})),
        ("delete_item", dict(Key={"p": s("a")})),
        ("update_item", dict(Key={"p": s("a")})), ("scan", {}),
        ("query", dict(KeyConditionExpression="p = :p", ExpressionAttributeValues={":p": s("a")})),
        ("query", dict(KeyConditions={"p": {"ComparisonOperator": "EQ", "AttributeValueList": [s("a")]}})),
    ]:
        a.error(operation, (NOT_FOUND, "=Requested resource not found"), TableName="nothing", **params)


def description(a):
    began = time.time()
    name = a.name("t")
    made = a.ok(
        "create_table", TableName=name, AttributeDefinitions=defined("p", "q", "x"), KeySchema=key_schema("p", "q"),
        ProvisionedThroughput={"ReadCapacityUnits": 3, "WriteCapacityUnits": 4},
        LocalSecondaryIndexes=[index("local", key_schema("p", "x"))],
        GlobalSecondaryIndexes=[index(
            "global", projection={"ProjectionType": "INCLUDE", "NonKeyAttributes": ["n"]},
            ProvisionedThroughput={"ReadCapacityUnits": 1, "WriteCapacityUnits": 2})],
        Tags=[{"Key": "k", "Value": "v"}],
    )["TableDescription"]
    a.tables.append(name)
    a.equal("status when made", made["TableStatus"], "CREATING")
    seen = a.ok("describe_table")["Table"]
    for what, got, expected in [
        ("name", seen["TableName"], name),
        ("status", seen["TableStatus"], "ACTIVE"),
        ("id", re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", seen["TableId"]) is not None, True),
        ("arn", seen["TableArn"].startswith("arn:aws:dynamodb:") and seen["TableArn"].endswith(f":table/{name}"), True),
        ("created", began - 2 < seen["CreationDateTime"].timestamp() < time.time() + 2, True),
        ("items", seen["ItemCount"], 0),
        ("bytes", seen["TableSizeBytes"], 0),
        ("throughput", seen["ProvisionedThroughput"],
         {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 3, "WriteCapacityUnits": 4}),
        ("billing", seen.get("BillingModeSummary"), None),
        ("protection", seen["DeletionProtectionEnabled"], False),
        ("keys", seen["KeySchema"], key_schema("p", "q")),
        ("attributes", sorted(d["AttributeName"] for d in seen["AttributeDefinitions"]), ["p", "q", "x"]),
    ]:
        a.equal(what, got, expected)
    local, of_all = seen["LocalSecondaryIndexes"][0], seen["GlobalSecondaryIndexes"][0]
    a.equal("local index", {k: v for k, v in local.items()}, {
        "IndexName": "local", "IndexArn": f"{seen['TableArn']}/index/local", "KeySchema": key_schema("p", "x"),
        "Projection": {"ProjectionType": "ALL"}, "ItemCount": 0, "IndexSizeBytes": 0})
    a.equal("global index", of_all, {
        "IndexName": "global", "IndexArn": f"{seen['TableArn']}/index/global", "KeySchema": key_schema("x"),
        "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["n"]}, "ItemCount": 0, "IndexSizeBytes": 0,
        "IndexStatus": "ACTIVE", "ProvisionedThroughput":
            {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 1, "WriteCapacityUnits": 2},
        "WarmThroughput": {"ReadUnitsPerSecond": 1, "WriteUnitsPerSecond": 2, "Status": "ACTIVE"}})
    a.equal("by its ARN", a.ok("describe_table", TableName=seen["TableArn"])["Table"]["TableId"], seen["TableId"])
    a.equal("tags", a.ok("list_tags_of_resource", ResourceArn=seen["TableArn"])["Tags"], [{"Key": "k", "Value": "v"}])
    # On demand.
    a.table("demand", gsi=[("global", "x:S", None, "ALL")])
    seen = a.ok("describe_table")["Table"]
    a.equal("on demand", seen["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST")
    none = {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0}
    a.equal("its throughput", seen["ProvisionedThroughput"], none)
    a.equal("its index' throughput", seen["GlobalSecondaryIndexes"][0]["ProvisionedThroughput"], none)
    a.equal("two ids", a.client.describe_table(TableName=name)["Table"]["TableId"] != seen["TableId"], True)


def changes(a):
    a.table("t", gsi=[("first", "x:S", None, "ALL")])
    units = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
    create = lambda name="second", key="y", **more: {"Create": index(name, key_schema(key), **more)}
    update = lambda *changes, defs=("y",), **more: dict(
        GlobalSecondaryIndexUpdates=list(changes), AttributeDefinitions=defined(*defs), **more)
    for text, params in [
        ("At least one of ProvisionedThroughput, ", {}),
        (f"={INVALID}DeletionProtection modification must be the only operation in the request",
         dict(DeletionProtectionEnabled=True, BillingMode="PAY_PER_REQUEST")),
        (f"={INVALID}TableClass modification must be the only operation in the request",
         dict(DeletionProtectionEnabled=True, TableClass="STANDARD")),
        (f"={INVALID}You cannot create or delete index while changing stream status",
         update(create(), StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"})),
        ("enum value set: [PROVISIONED, PAY_PER_REQUEST]", dict(BillingMode="x")),
        (f"={INVALID}ProvisionedThroughput must be specified when BillingMode is PROVISIONED",
         dict(BillingMode="PROVISIONED")),
        (f"={INVALID}ProvisionedThroughput must be specified for index: first",
         dict(BillingMode="PROVISIONED", ProvisionedThroughput=units)),
        ("Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
         dict(ProvisionedThroughput=units)),
        (f"={INVALID}One of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, "
         "GlobalSecondaryIndexUpdate.Delete must not be null", update({})),
        (f"={INVALID}Only one global secondary index update per index is allowed simultaneously. Index: second",
         update(create(), {"Delete": {"IndexName": "second"}})),
        ("Attempting to create an index which already exists", update(create("first"))),
        ("Some index key attributes are not defined in AttributeDefinitions. Keys: [y], AttributeDefinitions: []",
         update(create(), defs=())),
        # That the table has defined it is not enough.
        ("Some index key attributes are not defined in AttributeDefinitions. Keys: [p], AttributeDefinitions: [y]",
         update(create(key="p"))),
        ("=Invalid KeySchema: Some index key attribute have no definition",
         update({"Create": index("second", key_schema("y", "z"))})),
        ("member.create.indexName' failed", update(create("ab"))),
        (f"={INVALID}Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: second when "
         "BillingMode is PAY_PER_REQUEST",
         update(create(ProvisionedThroughput=units))),
        ("ProjectionType is INCLUDE, but NonKeyAttributes is not specified",
         update(create(projection={"ProjectionType": "INCLUDE"}))),
        (f"={INVALID}The only Updates for index: first when TableThroughputMode is PAY_PER_REQUEST can be to "
         "OnDemandThroughput, WarmThroughput", update({"Update": {"IndexName": "first"}})),
        (f"={INVALID}WarmThroughput must have at least one of ReadUnitsPerSecond or WriteUnitsPerSecond specified for index: "
         "first", update({"Update": {"IndexName": "first", "WarmThroughput": {}}})),
        (f"={INVALID}AttributeDefinitions is not specified for index: second",
         dict(GlobalSecondaryIndexUpdates=[create()])),
        (f"={INVALID}The only Updates for index: first when TableThroughputMode is PAY_PER_REQUEST can be to "
         "OnDemandThroughput, WarmThroughput",
         update({"Update": {"IndexName": "first", "ProvisionedThroughput": units}})),
        (f"={INVALID}Only one global secondary index action is allowed per GlobalSecondaryIndexUpdate object",
         update({**create(), "Delete": {"IndexName": "first"}})),
        (f"={INVALID}If stream is being enabled then UpdateViewType is required",
         dict(StreamSpecification={"StreamEnabled": True})),
        (f"={INVALID}If stream is being disabled, then UpdateViewType must not be specified",
         dict(StreamSpecification={"StreamEnabled": False, "StreamViewType": "NEW_IMAGE"})),
        ("=Table has no stream to disable: TableName: " + a.tables[-1],
         dict(StreamSpecification={"StreamEnabled": False})),
    ]:
        a.error("update_table", v(text), **params)
    local = a.table("local", "p:S", "q:S", lsi=[("loc", "p", "z:S", "ALL")])
    a.error("update_table", v("=Cannot delete an index that is not a GlobalSecondaryIndex: loc"), TableName=local,
        GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "loc"}}])
    a.tables.insert(0, a.tables.pop())
    gone = NOT_FOUND, "=Requested resource not found: Index nothing for table " + a.tables[-1]
    a.error("update_table", gone, **update({"Delete": {"IndexName": "nothing"}}))
    a.error("update_table",
        ("LimitExceededException", "Only 1 online index can be created or deleted simultaneously per table"),
            **update(create("one"), create("two")))
    a.error("update_table", ("LimitExceededException", "Only 1 online index can be created or deleted simultaneously "
        "per table"),
            **update(create("one"), {"Delete": {"IndexName": "first"}}))
    # Attributes that nothing uses are passed over, those of a dropped index go.
    changed = a.ok("update_table", **update(create(), defs=("y", "z")))["TableDescription"]
    a.equal("status meanwhile", changed["TableStatus"], "UPDATING")
    made = [i for i in changed["GlobalSecondaryIndexes"] if i["IndexName"] == "second"]
    a.equal("index meanwhile", [(i["IndexStatus"], i.get("Backfilling")) for i in made], [("CREATING", False)])
    first = [i for i in changed["GlobalSecondaryIndexes"] if i["IndexName"] == "first"]
    a.equal("the other one", [(i["IndexStatus"], i["WarmThroughput"]["Status"]) for i in first], [("ACTIVE", "ACTIVE")])
    seen = lambda: a.call("describe_table")["Table"]["GlobalSecondaryIndexes"]
    until(a, "the index", lambda: [i["IndexStatus"] for i in seen()] == ["ACTIVE"] * 2)
    names = lambda: sorted(d["AttributeName"] for d in a.ok("describe_table")["Table"]["AttributeDefinitions"])
    a.equal("attributes", names(), ["p", "x", "y"])
    changed = a.ok("update_table", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "second"}}])["TableDescription"]
    a.equal("index that goes", (changed["TableStatus"],
        sorted((i["IndexName"], i["IndexStatus"]) for i in changed["GlobalSecondaryIndexes"])),
            ("UPDATING", [("first", "ACTIVE"), ("second", "DELETING")]))
    until(a, "the index is gone", lambda: len(a.call("describe_table")["Table"]["GlobalSecondaryIndexes"]) == 1)
    a.equal("attributes behind it", names(), ["p", "x"])
    a.ok("update_table", BillingMode="PROVISIONED",
        ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 6},
         GlobalSecondaryIndexUpdates=[{"Update": {"IndexName": "first", "ProvisionedThroughput": units}}])
    seen = a.ok("describe_table")["Table"]
    a.equal("capacity", (seen["ProvisionedThroughput"]["ReadCapacityUnits"], seen["BillingModeSummary"]["BillingMode"])
            if "BillingModeSummary" in seen else (seen["ProvisionedThroughput"]["ReadCapacityUnits"],
                "PROVISIONED"), (5, "PROVISIONED"))
    a.error("update_table",
        v("The provisioned throughput for the index first will not change. The requested value equals the current value."),
            GlobalSecondaryIndexUpdates=[{"Update": {"IndexName": "first", "ProvisionedThroughput": units}}])
    a.error("update_table", v("The provisioned throughput for the table will not change"),
            ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 6})
    a.ok("update_table", DeletionProtectionEnabled=True)
    a.error("delete_table", v("Resource cannot be deleted as it is currently protected against deletion"),
        TableName=a.tables[-1])
    a.ok("update_table", DeletionProtectionEnabled=False)


def paid(a):
    """Capacity as tables and indexes are told of it, and tell of it again."""
    units = lambda read, write: {"ReadCapacityUnits": read, "WriteCapacityUnits": write}
    ready = lambda read, write: {"ReadUnitsPerSecond": read, "WriteUnitsPerSecond": write, "Status": "ACTIVE"}
    warm = lambda read, write: {"ReadUnitsPerSecond": read, "WriteUnitsPerSecond": write}
    lower = "for WarmThroughput for {} is lower than current WarmThroughput, decreasing WarmThroughput is not supported"
    initial = "for WarmThroughput for {} is lower than initial throughput for OnDemand. See: https://docs.aws.amazon.com/"
    made = dict(TableName=a.name("bad"), AttributeDefinitions=defined("p", "x"), KeySchema=key_schema())
    demand = dict(made, BillingMode="PAY_PER_REQUEST")
    provisioned = dict(made, ProvisionedThroughput=units(5, 5))
    global_index = lambda **more: [index("global", **more)]
    for text, request in [
        (f"{INVALID}Requested ReadUnitsPerSecond {initial.format('table')}",
            dict(demand, GlobalSecondaryIndexes=global_index(), WarmThroughput=warm(11_999, 4_000))),
        (f"{INVALID}Requested WriteUnitsPerSecond {initial.format('index global')}",
            dict(demand, GlobalSecondaryIndexes=global_index(WarmThroughput=warm(12_000, -1)))),
        (f"{INVALID}Requested ReadUnitsPerSecond for WarmThroughput for table is lower than",
            dict(provisioned, GlobalSecondaryIndexes=global_index(ProvisionedThroughput=units(1, 1)),
                WarmThroughput=warm(4, 5))),
        (f"={INVALID}Requested MaxReadRequestUnits for OnDemandThroughput for index global is outside of valid range",
            dict(demand, GlobalSecondaryIndexes=global_index(OnDemandThroughput={"MaxReadRequestUnits": 0}))),
        (f"={INVALID}MaxReadRequestUnits for OnDemandThroughput cannot be specified when the table BillingMode is "
            "PROVISIONED", dict(provisioned, GlobalSecondaryIndexes=global_index(ProvisionedThroughput=units(1, 1),
                OnDemandThroughput={"MaxReadRequestUnits": 5}))),
    ]:
        a.error("create_table", v(text), **request)
    most = lambda **more: {"OnDemandThroughput": more}
    table = a.table("t", gsi=[("global", "x:S", None, "ALL")], **most(MaxReadRequestUnits=5),
        WarmThroughput=warm(12_000, 4_000))
    seen = lambda: a.ok("describe_table")["Table"]
    of_index = lambda **more: dict(GlobalSecondaryIndexUpdates=[{"Update": {"IndexName": "global", **more}}])
    now = seen()
    a.equal("bound", now.get("OnDemandThroughput"), {"MaxReadRequestUnits": 5})
    a.equal("ready", now.get("WarmThroughput"), ready(12_000, 4_000))
    a.equal("unbound index", "OnDemandThroughput" in now["GlobalSecondaryIndexes"][0], False)
    a.equal("ready index", now["GlobalSecondaryIndexes"][0].get("WarmThroughput"), ready(12_000, 4_000))
    a.equal("since it was made", now["BillingModeSummary"]["LastUpdateToPayPerRequestDateTime"], now["CreationDateTime"])
    for change, text in [
        (dict(WarmThroughput=warm(11_999, 4_000)), f"{INVALID}Requested ReadUnitsPerSecond {lower.format('table')}"),
        (of_index(WarmThroughput=warm(12_000, 3)), f"{INVALID}Requested WriteUnitsPerSecond {lower.format('index global')}"),
        (most(MaxWriteRequestUnits=0),
            f"{INVALID}Requested MaxWriteRequestUnits for OnDemandThroughput for table is outside of valid range"),
    ]:
        a.error("update_table", v("=" + text), **change)
    a.ok("update_table", **most(MaxReadRequestUnits=-1, MaxWriteRequestUnits=6))
    a.equal("bound otherwise", seen().get("OnDemandThroughput"), {"MaxWriteRequestUnits": 6})
    a.ok("update_table", **of_index(**most(MaxReadRequestUnits=9), WarmThroughput=warm(12_001, 4_000)))
    of = lambda: seen()["GlobalSecondaryIndexes"][0]
    a.equal("an index is bound", (of().get("OnDemandThroughput"), of().get("WarmThroughput")),
        ({"MaxReadRequestUnits": 9}, ready(12_001, 4_000)))
    a.ok("update_table", BillingMode="PROVISIONED", ProvisionedThroughput=units(3, 3),
        **of_index(ProvisionedThroughput=units(2, 2)))
    now = seen()
    a.equal("paid for by capacity", now["BillingModeSummary"]["BillingMode"], "PROVISIONED")
    a.equal("no bounds any more", ("OnDemandThroughput" in now, "OnDemandThroughput" in of()), (False, False))
    a.equal("as ready as ever", (now["WarmThroughput"], of()["WarmThroughput"]), (ready(12_000, 4_000), ready(12_001, 4_000)))
    a.equal("grew", "LastIncreaseDateTime" in now["ProvisionedThroughput"], True)
    cannot = "cannot be specified when the table BillingMode is PROVISIONED"
    a.error("update_table", v(f"={INVALID}MaxReadRequestUnits for OnDemandThroughput {cannot}"), **most(MaxReadRequestUnits=1))
    a.error("update_table", v(cannot), **of_index(**most(MaxWriteRequestUnits=1)))
    a.ok("update_table", ProvisionedThroughput=units(2, 4))
    now = seen()["ProvisionedThroughput"]
    a.equal("shrank", (now["NumberOfDecreasesToday"], "LastDecreaseDateTime" in now, now["ReadCapacityUnits"]), (1, True, 2))
    a.ok("update_table", BillingMode="PAY_PER_REQUEST")
    now = seen()
    a.equal("later", now["BillingModeSummary"]["LastUpdateToPayPerRequestDateTime"] > now["CreationDateTime"], True)
    a.ok("update_table", TableClass="STANDARD_INFREQUENT_ACCESS")
    now = seen()["TableClassSummary"]
    a.equal("class", (now["TableClass"], "LastUpdateDateTime" in now), ("STANDARD_INFREQUENT_ACCESS", True))
    for text, change in [
        ("at 'replicaUpdates' failed to satisfy constraint: Member must have length greater than or equal to 1",
            dict(ReplicaUpdates=[])),
        ("ReplicaUpdates: global tables are not available", dict(ReplicaUpdates=[{"Create": {"RegionName": "eu-west-1"}}])),
        ("MultiRegionConsistency: global tables are not available", dict(MultiRegionConsistency="STRONG")),
        (f"={INVALID}Table is already encrypted by default", dict(SSESpecification={"Enabled": False})),
        (f"={INVALID}SSEType AES256 is not supported", dict(SSESpecification={"Enabled": True, "SSEType": "AES256"})),
    ]:
        a.error("update_table", v(text), **change)
    # What a table was made with.
    a.table("made", TableClass="STANDARD", DeletionProtectionEnabled=True, BillingMode="PROVISIONED",
        ProvisionedThroughput=units(7, 8))
    now = seen()
    a.equal("made", (now["TableClassSummary"], now["DeletionProtectionEnabled"], now.get("BillingModeSummary")),
        ({"TableClass": "STANDARD"}, True, None))
    a.equal("ready for its own", now["WarmThroughput"], ready(7, 8))
    a.equal("neither grew nor shrank", now["ProvisionedThroughput"], {"NumberOfDecreasesToday": 0, **units(7, 8)})
    a.error("delete_table", v("Resource cannot be deleted as it is currently protected"), TableName=a.tables[-1])
    a.ok("update_table", DeletionProtectionEnabled=False)
    a.equal("the table", table, a.tables[0])


def expiry(a):
    a.table()
    on = lambda name, enabled: dict(TimeToLiveSpecification={"AttributeName": name, "Enabled": enabled})
    state = lambda: a.ok("describe_time_to_live").get("TimeToLiveDescription")
    a.equal("off", state(), {"TimeToLiveStatus": "DISABLED"})
    for text, params in [
        ("TimeToLive is already disabled", on("e", False)),
        ("at 'timeToLiveSpecification.attributeName' failed to satisfy constraint: Member must have length greater "
         "than or "
         "equal to 1", on("", True)),
        ("Member must have length less than or equal to 255", on("x" * 256, True)),
        ("Value null at 'timeToLiveSpecification.enabled'", dict(TimeToLiveSpecification={"AttributeName": "e"})),
    ]:
        a.error("update_time_to_live", v(text), **params)
    answered = a.ok("update_time_to_live", **on("e", True))
    a.equal("on", answered.get("TimeToLiveSpecification"), {"AttributeName": "e", "Enabled": True})
    a.equal("is on", state(), {"TimeToLiveStatus": "ENABLED", "AttributeName": "e"})
    a.error("update_time_to_live", v("TimeToLive is already enabled"), **on("e", True))
    different = v("=TimeToLive is active on a different AttributeName: current AttributeName is e")
    a.error("update_time_to_live", different, **on("f", True))
    a.error("update_time_to_live", different,
            **on("f", False))
    now = int(time.time())
    stays = {"later": n(now + 3600), "text": s(str(now - 10)), "old": n(now - 6 * 365 * 86400), "zero": n(0),
        "map": m()}
    goes = {"over": n(now - 10), "fraction": n(f"{now - 10}.5"), "exponent": n(f"{now - 10}.0e0")}
    for name, end in {**stays, **goes}.items():
        a.ok("put_item", Item={"p": s(name), "e": end})
    names = lambda: sorted(i["p"]["S"] for i in a.call("scan", ConsistentRead=True)["Items"])
    until(a, "ended items go", lambda: names() == sorted(stays))
    a.ok("update_time_to_live", **on("e", False))
    a.equal("off again", state(), {"TimeToLiveStatus": "DISABLED"})


def tags(a):
    table = a.table()
    arn = a.ok("describe_table")["Table"]["TableArn"]
    tag = lambda *keys: [{"Key": key, "Value": "v"} for key in keys]
    listed = lambda: {t["Key"]: t["Value"] for t in a.ok("list_tags_of_resource", ResourceArn=arn)["Tags"]}
    a.equal("none", listed(), {})
    for code, text, of, given in [
        (VALIDATION, "Atleast one Tag needs to be provided", arn, []),
        (VALIDATION, "=The Tag Key provided is invalid, Key: ", arn, tag("")),
        (VALIDATION, "=The Tag Key provided is invalid, Key: null", arn, [{"Value": "v"}]),
        (VALIDATION, "The Tag Key provided is invalid, Key: xx", arn, tag("x" * 129)),
        (VALIDATION, "The Tag Value provided is invalid, Value: xx", arn, [{"Key": "k", "Value": "x" * 257}]),
        (VALIDATION, "=The Tag Value provided is invalid, Value: null", arn, [{"Key": "k"}]),
        (VALIDATION, "=Duplicate Tag Keys provided as input: Duplicate Tag Key found k", arn, tag("k", "k")),
        (VALIDATION, "=Tag Key cannot be prefixed with aws:, Key: aws:k", arn, tag("aws:k")),
        (VALIDATION, "=Number of Tags exceed the current limit for the provided ResourceArn", arn, tag(*[f"k{i}" for i in range(51)])),
        (NOT_FOUND, f"=Requested resource not found: ResourcArn: {arn}x not found", arn + "x", tag("k")),
        ("AccessDeniedException", "dynamodb:TagResource", "no-arn", tag("k")),
        ("AccessDeniedException", "dynamodb:TagResource", "arn:aws:s3:us-east-1:000000000000:x", tag("k")),
        (VALIDATION, "Invalid TableArn", arn.replace("table/", "other/"), tag("k")),
        (VALIDATION, "resourceArn", None, tag("k")),
    ]:
        request = {"ResourceArn": of, "Tags": given} if of else {"Tags": given}
        a.error("tag_resource", (code, text), **request)
    a.ok("tag_resource", ResourceArn=arn, Tags=tag(*[f"k{i}" for i in range(30)], "x" * 128, "ü" * 128))
    a.error("tag_resource", v("Number of Tags exceed the current limit"), ResourceArn=arn, Tags=tag(*[f"n{i}" for i in range(30)]))
    a.equal("many", len(listed()), 32)
    a.ok("tag_resource", ResourceArn=arn, Tags=[{"Key": "k0", "Value": ""}])
    a.equal("changed", listed()["k0"], "")
    a.error("untag_resource", v("Atleast one Tag Key needs to be provided"), ResourceArn=arn, TagKeys=[])
    a.ok("untag_resource", ResourceArn=arn, TagKeys=["k1", "never there"])
    a.equal("fewer", len(listed()), 31)
    for operation, more in [("list_tags_of_resource", {}), ("untag_resource", {"TagKeys": ["k"]})]:
        a.error(operation, (NOT_FOUND, "not found"), ResourceArn=arn + "x", **more)
        a.error(operation, "AccessDeniedException", ResourceArn="no-arn", **more)
    a.equal("the table", table, a.tables[0])
