"""AWS's SDK for Python (boto3) against a running cluster: change feeds of tables, written through one node and read through
the next, by the client `dynamodbstreams`.

    streams.py URL[,URL...]
"""

import sys
import time

import boto3

from tables import connect, equal, n, refused, s, simple_table


def reader(url):
    return boto3.client(
        "dynamodbstreams", endpoint_url=url, region_name="us-east-1", aws_access_key_id="any", aws_secret_access_key="any"
    )


def streaming_table(client, name, view, **more):
    return client.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": view},
        **more,
    )["TableDescription"]


def only_shard(streams, arn):
    shards = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    equal(len(shards), 1, "shards")
    return shards[0]


def iterator(streams, arn, kind="TRIM_HORIZON", **more):
    shard = only_shard(streams, arn)["ShardId"]
    return streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType=kind, **more)["ShardIterator"]


def read(streams, at, wanted, patience=20, **more):
    """So many records from an iterator on, and the iterator behind them."""
    records, end = [], time.monotonic() + patience
    while len(records) < wanted:
        page = streams.get_records(ShardIterator=at, **more)
        records += page["Records"]
        at = page.get("NextShardIterator")
        if at is None or time.monotonic() > end:
            break
        if not page["Records"]:
            time.sleep(0.05)
    equal(len(records), wanted, "records")
    return records, at


def kinds(records):
    return [record["eventName"] for record in records]


def records(here, url, p):
    streams = reader(url)
    table = p + "items"
    made = streaming_table(here, table, "NEW_AND_OLD_IMAGES")
    arn = made["LatestStreamArn"]
    equal(made["StreamSpecification"], {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}, "specification")
    equal(arn.endswith("/stream/" + made["LatestStreamLabel"]), True, "the label in the ARN")
    latest = iterator(streams, arn, "LATEST")
    key = {"id": s("a")}
    before = time.time()
    here.put_item(TableName=table, Item={**key, "v": n(1)})
    here.put_item(TableName=table, Item={**key, "v": n(1)})
    here.update_item(TableName=table, Key=key, UpdateExpression="SET v = v + :n", ExpressionAttributeValues={":n": n(1)})
    here.delete_item(TableName=table, Key=key)
    here.delete_item(TableName=table, Key=key)
    found, behind = read(streams, latest, 3)
    equal(kinds(found), ["INSERT", "MODIFY", "REMOVE"], "what happened; nothing is told of what changed nothing")
    images = [(r["dynamodb"].get("OldImage", {}).get("v"), r["dynamodb"].get("NewImage", {}).get("v")) for r in found]
    equal(images, [(None, n(1)), (n(1), n(2)), (n(2), None)], "images")
    for record in found:
        equal((record["eventSource"], record["eventVersion"]), ("aws:dynamodb", "1.1"), "source and version")
        equal(record["dynamodb"]["Keys"], key, "keys")
        equal(record["dynamodb"]["StreamViewType"], "NEW_AND_OLD_IMAGES", "view")
        equal("userIdentity" in record, False, "a client did it")
        if abs(record["dynamodb"]["ApproximateCreationDateTime"].timestamp() - before) > 60:
            raise AssertionError(f"dated {record['dynamodb']['ApproximateCreationDateTime']}")
    # Keys have 3 bytes, and images 3 more for `v` and its number.
    equal([r["dynamodb"]["SizeBytes"] for r in found], [9, 15, 9], "sizes")
    equal(len({record["eventID"] for record in found}), 3, "names of records")
    sequence = [record["dynamodb"]["SequenceNumber"] for record in found]
    equal(sequence, sorted(sequence, key=int), "in order")
    equal(streams.get_records(ShardIterator=behind)["Records"], [], "no more yet")
    for kind, left in [("AT_SEQUENCE_NUMBER", 2), ("AFTER_SEQUENCE_NUMBER", 1)]:
        again, _ = read(streams, iterator(streams, arn, kind, SequenceNumber=sequence[1]), left)
        equal(again, found[-left:], kind)
    one, at = read(streams, iterator(streams, arn), 1, Limit=1)
    rest, _ = read(streams, at, 2)
    equal(one + rest, found, "page by page")
    # A batch and a transaction are each one entry of the log, with a record for each item.
    puts = [{"PutRequest": {"Item": {"id": s(f"b{at}")}}} for at in range(10)]
    here.batch_write_item(RequestItems={table: puts})
    here.transact_write_items(TransactItems=[{"Put": {"TableName": table, "Item": {"id": s(f"t{at}")}}} for at in range(10)])
    more, _ = read(streams, behind, 20)
    equal([r["dynamodb"]["Keys"]["id"]["S"] for r in more], [f"{k}{at}" for k in "bt" for at in range(10)], "in the order of the log")
    here.delete_table(TableName=table)


def views(here, url, p):
    streams = reader(url)
    for view, members in [
        ("KEYS_ONLY", [set(), set(), set()]),
        ("NEW_IMAGE", [{"NewImage"}, {"NewImage"}, set()]),
        ("OLD_IMAGE", [set(), {"OldImage"}, {"OldImage"}]),
    ]:
        table = p + view
        arn = streaming_table(here, table, view)["LatestStreamArn"]
        for v in (1, 2):
            here.put_item(TableName=table, Item={"id": s("a"), "v": n(v)})
        here.delete_item(TableName=table, Key={"id": s("a")})
        found, _ = read(streams, iterator(streams, arn), 3)
        equal([set(r["dynamodb"]) & {"NewImage", "OldImage"} for r in found], members, view)
        here.delete_table(TableName=table)


def ends(here, url, p):
    """A stream that is switched off can be read to its end; switched on anew it is another one."""
    streams = reader(url)
    table = p + "items"
    simple_table(here, table)
    on = {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    refused("ValidationException", "no stream to disable", here.update_table, TableName=table, StreamSpecification={"StreamEnabled": False})
    arns = []
    for at in range(2):
        here.update_table(TableName=table, StreamSpecification=on)
        refused("ValidationException", "already has an enabled stream", here.update_table, TableName=table, StreamSpecification=on)
        here.put_item(TableName=table, Item={"id": s(f"k{at}")})
        here.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})
        here.put_item(TableName=table, Item={"id": s(f"none{at}")})
        seen = here.describe_table(TableName=table)["Table"]
        equal("StreamSpecification" in seen, False, "no stream any more")
        arns.append(seen["LatestStreamArn"])
    equal(arns[0] < arns[1], True, "another stream")
    here.update_table(TableName=table, StreamSpecification=on)
    here.put_item(TableName=table, Item={"id": s("k2")})
    arns.append(here.describe_table(TableName=table)["Table"]["LatestStreamArn"])
    here.delete_table(TableName=table)
    for at, arn in enumerate(arns):
        described = streams.describe_stream(StreamArn=arn)["StreamDescription"]
        equal((described["StreamStatus"], described["TableName"]), ("DISABLED", table), "described")
        equal("EndingSequenceNumber" in described["Shards"][0]["SequenceNumberRange"], True, "its shard is closed")
        found, behind = read(streams, iterator(streams, arn), 1)
        equal(found[0]["dynamodb"]["Keys"], {"id": s(f"k{at}")}, "the record")
        while behind is not None:
            page = streams.get_records(ShardIterator=behind)
            equal(page["Records"], [], "nothing behind the end")
            behind = page.get("NextShardIterator")
    listed = streams.list_streams(TableName=table)["Streams"]
    equal([stream["StreamArn"] for stream in listed], arns, "listed")
    paged, after = [], None
    while True:
        more = {"ExclusiveStartStreamArn": after} if after else {}
        page = streams.list_streams(TableName=table, Limit=1, **more)
        paged += [stream["StreamArn"] for stream in page["Streams"]]
        after = page.get("LastEvaluatedStreamArn")
        if after is None:
            break
    equal(paged, arns, "listed page by page")


def sharded(here, url, p):
    """The stream of a table with several shards has as many: each tells of its own items, in order, and begins and ends for itself."""
    streams = reader(url)
    table = p + "items"
    tags = [{"Key": "quorate:shards", "Value": "4"}]
    arn = streaming_table(here, table, "NEW_AND_OLD_IMAGES", Tags=tags)["LatestStreamArn"]
    here.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    shards = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    equal(len(shards), 4, "shards")
    after, paged = {}, []
    while True:
        page = streams.describe_stream(StreamArn=arn, Limit=1, **after)["StreamDescription"]
        paged += page["Shards"]
        if "LastEvaluatedShardId" not in page:
            break
        after = {"ExclusiveStartShardId": page["LastEvaluatedShardId"]}
    equal([shard["ShardId"] for shard in paged], [shard["ShardId"] for shard in shards], "listed one by one")
    for v in range(3):
        for at in range(40):
            here.put_item(TableName=table, Item={"id": s(f"k{at}"), "v": n(v)})
    moves = [{"Update": {"TableName": table, "Key": {"id": s(f"k{at}")}, "UpdateExpression": "SET v = :v",
                         "ExpressionAttributeValues": {":v": n(9)}}} for at in range(10)]
    here.transact_write_items(TransactItems=moves)
    for at in range(40):
        here.delete_item(TableName=table, Key={"id": s(f"k{at}")})
    wanted, told, where = 40 * 4 + 10, {}, {}
    end = time.monotonic() + 20
    at = {
        shard["ShardId"]: streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        for shard in shards
    }
    while sum(map(len, told.values())) < wanted and time.monotonic() < end:
        for shard, iterator_of in list(at.items()):
            page = streams.get_records(ShardIterator=iterator_of, Limit=7)
            at[shard] = page["NextShardIterator"]
            for record in page["Records"]:
                change = record["dynamodb"]
                key = change["Keys"]["id"]["S"]
                told.setdefault(key, []).append((change.get("OldImage", {}).get("v"), change.get("NewImage", {}).get("v")))
                equal(where.setdefault(key, shard), shard, "an item's shard")
    equal(len(set(where.values())), 4, "shards with records")
    for item in range(40):
        values = [None, n(0), n(1), n(2)] + ([n(9)] if item < 10 else []) + [None]
        equal(told[f"k{item}"], list(zip(values, values[1:])), f"what is told of k{item}")
    here.update_table(TableName=table, StreamSpecification={"StreamEnabled": False})

    def ended():
        described = streams.describe_stream(StreamArn=arn)["StreamDescription"]
        ranges = [shard["SequenceNumberRange"] for shard in described["Shards"]]
        return described["StreamStatus"] == "DISABLED" and all("EndingSequenceNumber" in of for of in ranges)

    deadline = time.monotonic() + 20
    while not ended():
        equal(time.monotonic() < deadline, True, "all shards have ended")
        time.sleep(0.05)
    # What is still being changed, as this node sees it, is not deleted.
    here.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1})
    here.delete_table(TableName=table)
    refused("ResourceNotFoundException", "Stream", streams.describe_stream, StreamArn=arn)


def expiry(here, url, p):
    """What time takes away is told as the service's doing."""
    streams = reader(url)
    table = p + "items"
    arn = streaming_table(here, table, "OLD_IMAGE")["LatestStreamArn"]
    here.put_item(TableName=table, Item={"id": s("a"), "end": n(int(time.time()) - 10)})
    here.update_time_to_live(TableName=table, TimeToLiveSpecification={"AttributeName": "end", "Enabled": True})
    found, _ = read(streams, iterator(streams, arn), 2)
    equal(kinds(found), ["INSERT", "REMOVE"], "what happened")
    equal(found[1]["userIdentity"], {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"}, "who did it")
    here.delete_table(TableName=table)


def errors(here, url, p):
    streams = reader(url)
    table = p + "items"
    arn = streaming_table(here, table, "KEYS_ONLY")["LatestStreamArn"]
    shard = only_shard(streams, arn)
    described = streams.describe_stream(StreamArn=arn, ExclusiveStartShardId=shard["ShardId"], Limit=1)["StreamDescription"]
    equal(described["Shards"], [], "no shard behind the last")
    other = arn[:-3] + ("000" if not arn.endswith("000") else "001")
    refused("ResourceNotFoundException", "Stream", streams.describe_stream, StreamArn=other)
    refused("ValidationException", "Invalid StreamArn", streams.describe_stream, StreamArn="x" * 40)
    ask = dict(StreamArn=arn, ShardId=shard["ShardId"])
    get = streams.get_shard_iterator
    refused("ResourceNotFoundException", "Shard", get, StreamArn=arn, ShardId="shardId-" + "0" * 29, ShardIteratorType="LATEST")
    refused("ValidationException", "ShardIteratorType", get, ShardIteratorType="AT_SEQUENCE_NUMBER", **ask)
    refused("ValidationException", "enum value set", get, ShardIteratorType="OLDEST", **ask)
    refused("ValidationException", "SequenceNumber", get, ShardIteratorType="AT_SEQUENCE_NUMBER", SequenceNumber="9" * 21, **ask)
    first = "1" + "0" * 26
    refused("TrimmedDataAccessException", "", get, ShardIteratorType="AT_SEQUENCE_NUMBER", SequenceNumber=first, **ask)
    begin = shard["SequenceNumberRange"]["StartingSequenceNumber"]
    get(ShardIteratorType="AT_SEQUENCE_NUMBER", SequenceNumber=begin, **ask)
    refused("ValidationException", "Invalid ShardIterator", streams.get_records, ShardIterator=arn + "|1|AAAA")
    refused("ValidationException", "limit", streams.get_records, ShardIterator=iterator(streams, arn), Limit=1001)
    bad = {"StreamEnabled": True}
    refused("ValidationException", "UpdateViewType is required", here.update_table, TableName=table, StreamSpecification=bad)
    here.delete_table(TableName=table)


def main():
    urls = sys.argv[1].split(",")
    parts = [records, views, ends, sharded, expiry, errors]
    only = sys.argv[2:]
    for at, url in enumerate(urls):
        here, there = connect(url), urls[(at + 1) % len(urls)]
        for part in parts:
            if not only or part.__name__ in only:
                part(here, there, f"st{at}.{part.__name__}.")
        print(f"streams: {url}: ok", flush=True)


if __name__ == "__main__":
    main()
