//! The door over machines without logs, one for each shard of a table: global indexes and streams are as if it lay in one. A machine
//! of such a shard hears of a change of its table when the test says so.

use super::*;
use quorate_base::rng::Rng;
use quorate_node::api::tables::{Placement, Read, ReadReply};
use quorate_node::api::{Gather, Status, Wait};
use quorate_wire::kv::Command as Any;
use quorate_wire::table::{self, Change, Settings, What};
use std::collections::BTreeMap;

/// The node that answers, and leads all shards.
fn head() -> Head {
    Head { member: 1, ..Head::default() }
}

/// Says of a request to a shard why it fails, if it is to.
pub(super) type Fails = Box<dyn FnMut(ShardId, &Request) -> Option<Failure> + Send>;

/// A node with a machine for each shard.
pub(super) struct Sharded {
    pub(super) shards: Mutex<BTreeMap<u32, Kv>>,
    /// Changes of tables stay unheard of.
    deaf: Mutex<bool>,
    pub(super) fails: Mutex<Fails>,
}

fn machine(shard: u32) -> Kv {
    let identity = Identity { cluster: 1, node: NodeId(1) };
    let mut store = MemoryStore::new(Arc::new(FaultyDisk::new(1)), "state", identity);
    Kv::open(ShardId(shard), store.open(None).unwrap()).unwrap()
}

pub(super) fn apply(kv: &mut Kv, command: &Any) -> Result<Body, Failure> {
    let id = EntryId::new(Term(1), kv.applied().index.next());
    let data = command::encode(NodeId(1), 1, command);
    let applied = kv.apply(&Entry { id, kind: EntryKind::Command, data }).unwrap();
    applied.outcome.map(Body::Reply).map_err(|refused| Failure::Refused(refused, Head::default()))
}

pub(super) fn of_tables(what: What) -> Any {
    Any::Table(Box::new(table::Command { epoch: EPOCH, now: 7_000, what }))
}

impl Sharded {
    pub(super) fn new() -> (Gateway, Arc<Self>) {
        let shards = Mutex::new(BTreeMap::from([(1, machine(1))]));
        let fails: Fails = Box::new(|_, _| None);
        let door = Arc::new(Self { shards, deaf: Mutex::new(false), fails: Mutex::new(fails) });
        (Gateway { door: door.clone() }, door)
    }

    /// Shards hear of their tables.
    fn adopt(&self) {
        let mut shards = self.shards.lock().unwrap();
        let view = shards[&1].view();
        let placement = view.tables().placement().clone();
        shards.retain(|shard, _| *shard == 1 || placement.block_of(ShardId(*shard)).is_some());
        for block in placement.blocks() {
            let definition = view.tables().definition(&block.name).unwrap();
            for shard in block.shards() {
                let kv = shards.entry(shard.get()).or_insert_with(|| machine(shard.get()));
                let definition = Box::new(definition.clone());
                apply(kv, &of_tables(What::Adopt { version: block.version.get(), definition })).unwrap();
            }
        }
    }

    /// Fills what is to be filled, a few items at a time; false if there was nothing.
    fn fill(&self) -> bool {
        let mut any = false;
        for kv in self.shards.lock().unwrap().values_mut() {
            let Some((table, index, _)) = kv.view().tables().filling() else { continue };
            apply(kv, &of_tables(What::Fill { table, index, items: 5 })).unwrap();
            any = true;
        }
        any
    }
}

fn read_of(kv: &Kv, read: &Read) -> Result<ReadReply, Failure> {
    match kv.view().tables_while(read, &|_| true) {
        Ok(reply) => Ok(reply.unwrap()),
        Err(ReadError::Refused(refused)) => Err(Failure::Refused(refused, Head::default())),
        Err(ReadError::Store(error)) => panic!("{error}"),
    }
}

/// Nothing is under way here, so items in several shards are at one moment whenever they are read. A shard that is not there yet has no table.
fn gathered(shards: &BTreeMap<u32, Kv>, gather: &Gather) -> Result<ReadReply, Failure> {
    let mut all = Vec::new();
    for (place, get) in &gather.gets {
        let new = machine(place.shard.get());
        let kv = shards.get(&place.shard.get()).unwrap_or(&new);
        let ReadReply::Items(got) = read_of(kv, &Read::Get(vec![get.clone()]))? else { panic!() };
        all.extend(got);
    }
    Ok(ReadReply::Items(all))
}

impl Door for Sharded {
    fn call(&self, request: Request, wait: Wait, done: Done) {
        self.call_of(ShardId(1), request, wait, done);
    }

    fn call_of(&self, shard: ShardId, request: Request, _: Wait, done: Done) {
        if let Some(failure) = (self.fails.lock().unwrap())(shard, &request) {
            return done(Err(failure));
        }
        let mut shards = self.shards.lock().unwrap();
        if let Request::Gather(gather) = &request {
            let got = gathered(&shards, gather).map(|reply| Body::Table(Box::new(reply)));
            return done(got.map(|body| Answer { head: head(), body }));
        }
        let Some(kv) = shards.get_mut(&shard.get()) else { return done(Err(Failure::NoLeader)) };
        let body = match request {
            Request::Write(mut command) => {
                if let Any::Table(command) = &mut command
                    && let What::Create(definition) = &command.what
                {
                    command.what = What::Place { definition: definition.clone(), founders: Bytes::new() };
                }
                apply(kv, &command)
            }
            Request::Table { read, .. } => read_of(kv, &read).map(|reply| Body::Table(Box::new(reply))),
            // It is the node that the header names, and leads.
            Request::Status => Ok(Body::Status(Status { leader: head().member, ..Status::default() })),
            _ => Err(Failure::NoLeader),
        };
        drop(shards);
        if shard == ShardId(1) && !*self.deaf.lock().unwrap() {
            self.adopt();
        }
        done(body.map(|body| Answer { head: head(), body }));
    }

    fn placement(&self) -> Arc<Placement> {
        self.shards.lock().unwrap()[&1].view().tables().placement().clone()
    }

    quiet!();
}

const INDEXES: [&str; 2] = ["by-city", "late"];

fn index(name: &str, projection: &str) -> Value {
    json!({
        "IndexName": name,
        "KeySchema": [
            { "AttributeName": "city", "KeyType": "HASH" },
            { "AttributeName": "age", "KeyType": "RANGE" },
        ],
        "Projection": { "ProjectionType": projection },
    })
}

fn attributes() -> Value {
    json!([
        { "AttributeName": "id", "AttributeType": "S" },
        { "AttributeName": "city", "AttributeType": "S" },
        { "AttributeName": "age", "AttributeType": "N" },
    ])
}

/// Makes the same table twice: `one` in shard 1, and `many` with shards of its own.
async fn make(gateway: &Gateway) {
    for name in ["one", "many"] {
        let shards = if name == "one" { "1" } else { "4" };
        let made = json!({
            "TableName": name,
            "AttributeDefinitions": attributes(),
            "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
            "BillingMode": "PAY_PER_REQUEST",
            "GlobalSecondaryIndexes": [index("by-city", "ALL")],
            "Tags": [{ "Key": "quorate:shards", "Value": shards }],
            "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" },
        });
        ask(gateway, "CreateTable", made).await.unwrap();
    }
}

/// Writes or deletes an item in both.
async fn write(gateway: &Gateway, rng: &mut Rng) {
    let id = json!({ "S": format!("person {}", rng.below(60)) });
    let (city, age) = (format!("city {}", rng.below(3)), rng.below(9).to_string());
    let gone = rng.chance(1, 5);
    for name in ["one", "many"] {
        if gone {
            let key = json!({ "TableName": name, "Key": { "id": id } });
            ask(gateway, "DeleteItem", key).await.unwrap();
            continue;
        }
        let mut item = json!({ "id": id, "city": { "S": city }, "age": { "N": age }, "odd": { "BOOL": age.as_str() < "5" } });
        if age == "8" {
            // Sparse: this one is in no index.
            item.as_object_mut().unwrap().remove("city");
        }
        ask(gateway, "PutItem", json!({ "TableName": name, "Item": item })).await.unwrap();
    }
}

/// All pages of both tables are alike, with all that they say.
pub(super) async fn alike(gateway: &Gateway, what: &str, body: &Value) -> Vec<Value> {
    let mut body = body.clone();
    let mut found = Vec::new();
    loop {
        let mut pages = Vec::new();
        for name in ["one", "many"] {
            body["TableName"] = json!(name);
            let mut page = ask(gateway, what, body.clone()).await;
            if let Ok(page) = &mut page
                && let Some(capacity) = page.get_mut("ConsumedCapacity")
            {
                capacity["TableName"] = Value::Null;
            }
            pages.push(page);
        }
        assert_eq!(pages[0], pages[1], "{what} {body}");
        let page = pages.remove(0).unwrap();
        found.extend(page["Items"].as_array().cloned().unwrap_or_default());
        match page.get("LastEvaluatedKey") {
            Some(last) => body["ExclusiveStartKey"] = last.clone(),
            None => return found,
        }
    }
}

/// Queries and scans of an index, in all their forms.
async fn reads(gateway: &Gateway, rng: &mut Rng, index: &str) {
    for city in 0..3 {
        for backward in [false, true] {
            let limits = [json!(1), json!(1 + rng.below(20)), Value::Null];
            for limit in limits {
                let mut body = json!({
                    "IndexName": index,
                    "KeyConditionExpression": "city = :c AND age > :a",
                    "ExpressionAttributeValues": { ":c": { "S": format!("city {city}") }, ":a": { "N": "1" } },
                    "ScanIndexForward": !backward,
                    "ReturnConsumedCapacity": "INDEXES",
                });
                if !limit.is_null() {
                    body["Limit"] = limit;
                }
                let all = alike(gateway, "Query", &body).await;
                body["FilterExpression"] = json!("odd = :o");
                body["ExpressionAttributeValues"][":o"] = json!({ "BOOL": true });
                // Also behind pages of which the filter lets nothing through.
                let odd = all.into_iter().filter(|item| item["odd"] == json!({ "BOOL": true }));
                assert_eq!(alike(gateway, "Query", &body).await, odd.collect::<Vec<_>>());
                body["Select"] = json!("COUNT");
                alike(gateway, "Query", &body).await;
                body.as_object_mut().unwrap().remove("Select");
                body["ProjectionExpression"] = json!("id");
                alike(gateway, "Query", &body).await;
            }
        }
    }
    let whole = alike(gateway, "Scan", &json!({ "IndexName": index })).await;
    assert_eq!(alike(gateway, "Scan", &json!({ "IndexName": index, "Limit": 7 })).await, whole);
    for of in [2, 3, 7] {
        let mut parts = Vec::new();
        for segment in 0..of {
            let body = json!({ "IndexName": index, "Limit": 3, "Segment": segment, "TotalSegments": of });
            parts.extend(alike(gateway, "Scan", &body).await);
        }
        assert_eq!(parts, whole, "{of} segments");
    }
}

/// Claim: a global index of a table with shards of its own answers as that of a table that has none, page by page.
#[tokio::test]
async fn an_index_over_shards_is_as_one() {
    for seed in 0..4 {
        let (gateway, _) = Sharded::new();
        let mut rng = Rng::new(seed);
        make(&gateway).await;
        for _ in 0..150 {
            write(&gateway, &mut rng).await;
        }
        reads(&gateway, &mut rng, "by-city").await;
        let bad = [
            json!({ "IndexName": "none" }),
            json!({ "IndexName": "by-city", "ConsistentRead": true }),
            json!({ "IndexName": "by-city", "ExclusiveStartKey": { "id": { "S": "x" } } }),
        ];
        for mut body in bad {
            let mut told = Vec::new();
            for name in ["one", "many"] {
                body["TableName"] = json!(name);
                told.push(ask(&gateway, "Scan", body.clone()).await.unwrap_err());
            }
            assert_eq!(told[0], told[1], "{body}");
        }
    }
}

/// Claim: a scan goes on in the segment that its start is of and in no other, whichever shard that lies in.
#[tokio::test]
async fn a_start_is_of_one_segment() {
    let (gateway, _) = Sharded::new();
    make(&gateway).await;
    for at in 0..10 {
        for table in ["one", "many"] {
            let scan = |segment| {
                json!({
                    "TableName": table, "Segment": segment, "TotalSegments": 5,
                    "ExclusiveStartKey": { "id": { "S": format!("id {at}") } },
                })
            };
            let mut taken = 0;
            for segment in 0..5 {
                let told = ask(&gateway, "Scan", scan(segment)).await.map_err(|(_, text)| text);
                let wrong = format!(
                    "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with \
                     correct Segment. TotalSegments: 5 Segment: {segment}"
                );
                taken += i32::from(told.is_ok());
                assert!(told.is_ok() || told == Err(wrong), "{table} {at}");
            }
            assert_eq!(taken, 1, "{table} {at}");
        }
    }
}

async fn described(gateway: &Gateway) -> Value {
    ask(gateway, "DescribeTable", json!({ "TableName": "many" })).await.unwrap()["Table"].clone()
}

/// Claim: an index that is added is being made until all shards have filled it, and says so; another one waits for that; what is
/// written meanwhile is in it; one that is taken away leaves nothing.
#[tokio::test]
async fn an_index_is_added_and_taken_away() {
    let (gateway, door) = Sharded::new();
    let mut rng = Rng::new(9);
    make(&gateway).await;
    for _ in 0..150 {
        write(&gateway, &mut rng).await;
    }
    *door.deaf.lock().unwrap() = true;
    let add = |table: &str, name: &str| {
        json!({
            "TableName": table,
            "AttributeDefinitions": attributes(),
            "GlobalSecondaryIndexUpdates": [{ "Create": index(name, "KEYS_ONLY") }],
        })
    };
    for table in ["one", "many"] {
        ask(&gateway, "UpdateTable", add(table, INDEXES[1])).await.unwrap();
    }
    // No shard has heard of it.
    let now = described(&gateway).await;
    assert_eq!(
        (&now["TableStatus"], &now["GlobalSecondaryIndexes"][1]["IndexStatus"]),
        (&json!("UPDATING"), &json!("CREATING"))
    );
    door.adopt();
    let mut steps = 0;
    while door.fill() {
        steps += 1;
        if door.shards.lock().unwrap().range(2..).any(|(_, kv)| kv.view().tables().filling().is_some()) {
            let now = described(&gateway).await;
            let late = &now["GlobalSecondaryIndexes"][1];
            assert_eq!(
                (&now["TableStatus"], &late["IndexStatus"], &late["Backfilling"]),
                (&json!("ACTIVE"), &json!("CREATING"), &json!(true))
            );
            assert_eq!(now["GlobalSecondaryIndexes"][0]["IndexStatus"], "ACTIVE");
            let (_, told) = ask(&gateway, "UpdateTable", add("many", "third")).await.unwrap_err();
            assert!(told.contains("Only 1 online index"), "{told}");
            let (_, told) =
                ask(&gateway, "Scan", json!({ "TableName": "many", "IndexName": "late" })).await.unwrap_err();
            assert!(told.contains("Cannot read from backfilling"), "{told}");
        }
        write(&gateway, &mut rng).await;
    }
    assert!(steps > 1, "{steps}");
    let now = described(&gateway).await;
    let whole = ask(&gateway, "DescribeTable", json!({ "TableName": "one" })).await.unwrap()["Table"].clone();
    for at in 0..2 {
        let [there, here] = [&whole, &now].map(|table| &table["GlobalSecondaryIndexes"][at]);
        assert_eq!(here["IndexStatus"], "ACTIVE");
        assert_eq!(
            (&here["ItemCount"], &here["IndexSizeBytes"]),
            (&there["ItemCount"], &there["IndexSizeBytes"])
        );
    }
    assert_eq!((&now["ItemCount"], &now["TableSizeBytes"]), (&whole["ItemCount"], &whole["TableSizeBytes"]));
    reads(&gateway, &mut rng, "late").await;

    let drop = json!({ "TableName": "many", "GlobalSecondaryIndexUpdates": [{ "Delete": { "IndexName": "late" } }] });
    ask(&gateway, "UpdateTable", drop).await.unwrap();
    door.adopt();
    let (_, told) =
        ask(&gateway, "Scan", json!({ "TableName": "many", "IndexName": "late" })).await.unwrap_err();
    assert!(told.contains("does not have the specified index"), "{told}");
    // One of the same name is another one, and is filled anew.
    ask(&gateway, "UpdateTable", add("many", INDEXES[1])).await.unwrap();
    door.adopt();
    while door.fill() {}
    reads(&gateway, &mut rng, "late").await;
}

/// All records of a shard of a stream.
async fn recorded(gateway: &Gateway, arn: &Value, shard: &Value, limit: usize) -> Vec<Value> {
    let from = json!({ "StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON" });
    let mut at = ask(gateway, "GetShardIterator", from).await.unwrap()["ShardIterator"].clone();
    let mut records = Vec::new();
    loop {
        let page = ask(gateway, "GetRecords", json!({ "ShardIterator": at, "Limit": limit })).await.unwrap();
        let found = page["Records"].as_array().unwrap();
        records.extend(found.iter().cloned());
        match page.get("NextShardIterator") {
            Some(next) if !found.is_empty() => at = next.clone(),
            _ => return records,
        }
    }
}

async fn shards_of(gateway: &Gateway, arn: &Value, limit: usize) -> Vec<Value> {
    let mut shards = Vec::new();
    let mut asked = json!({ "StreamArn": arn, "Limit": limit });
    loop {
        let page = ask(gateway, "DescribeStream", asked.clone()).await.unwrap()["StreamDescription"].clone();
        shards.extend(page["Shards"].as_array().unwrap().iter().cloned());
        match page.get("LastEvaluatedShardId") {
            Some(last) => asked["ExclusiveStartShardId"] = last.clone(),
            None => return shards,
        }
    }
}

/// What is told of each item, in order, by its key: kind and images.
fn by_item(records: &[Value]) -> BTreeMap<String, Vec<(Value, Value, Value)>> {
    let mut of: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for record in records {
        let told = &record["dynamodb"];
        let images = (record["eventName"].clone(), told["OldImage"].clone(), told["NewImage"].clone());
        of.entry(told["Keys"].to_string()).or_default().push(images);
    }
    of
}

/// Claim: the shards of a table's stream together tell of each item what the one shard tells of a table that lies in one, in
/// the same order; their names and numbers never meet.
#[tokio::test]
async fn a_stream_has_a_shard_for_each_of_the_table() {
    let (gateway, door) = Sharded::new();
    let mut rng = Rng::new(3);
    make(&gateway).await;
    for _ in 0..200 {
        write(&gateway, &mut rng).await;
    }
    let mut told = Vec::new();
    for (name, count) in [("one", 1), ("many", 4)] {
        let table = ask(&gateway, "DescribeTable", json!({ "TableName": name })).await.unwrap();
        let arn = table["Table"]["LatestStreamArn"].clone();
        let shards = shards_of(&gateway, &arn, 3).await;
        assert_eq!(shards.len(), count);
        assert_eq!(shards_of(&gateway, &arn, 1).await, shards);
        let mut all = Vec::new();
        for shard in &shards {
            let records = recorded(&gateway, &arn, &shard["ShardId"], 7).await;
            assert!(records.len() > 20, "{}", records.len());
            let third = &records[2]["dynamodb"]["SequenceNumber"];
            for (kind, from) in [("AT_SEQUENCE_NUMBER", 2), ("AFTER_SEQUENCE_NUMBER", 3)] {
                let ask_at = json!({ "StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": kind, "SequenceNumber": third });
                let at = ask(&gateway, "GetShardIterator", ask_at).await.unwrap();
                let page =
                    ask(&gateway, "GetRecords", json!({ "ShardIterator": at["ShardIterator"], "Limit": 1 }))
                        .await
                        .unwrap();
                assert_eq!(page["Records"][0], records[from]);
            }
            all.extend(records);
        }
        let ids: std::collections::BTreeSet<String> =
            all.iter().map(|record| record["eventID"].to_string()).collect();
        assert_eq!(ids.len(), all.len());
        if count > 1 {
            // A number of one shard is none of another.
            let number = &all[0]["dynamodb"]["SequenceNumber"];
            let wrong = json!({ "StreamArn": arn, "ShardId": shards[1]["ShardId"], "ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": number });
            assert!(
                ask(&gateway, "GetShardIterator", wrong).await.unwrap_err().1.contains("not one of shard")
            );
        }
        told.push(by_item(&all));
    }
    assert_eq!(told[0], told[1]);

    // It ends in each shard, and another one begins; one that no shard has heard of has no shards.
    let arn = described(&gateway).await["LatestStreamArn"].clone();
    let settings = |on: bool| {
        let mut specification = json!({ "StreamEnabled": on });
        if on {
            specification["StreamViewType"] = json!("KEYS_ONLY");
        }
        json!({ "TableName": "many", "StreamSpecification": specification })
    };
    ask(&gateway, "UpdateTable", settings(false)).await.unwrap();
    write(&gateway, &mut rng).await;
    let ended = shards_of(&gateway, &arn, 100).await;
    assert!(ended.iter().all(|shard| shard["SequenceNumberRange"].get("EndingSequenceNumber").is_some()));
    let mut after = 0;
    for shard in &ended {
        after += recorded(&gateway, &arn, &shard["ShardId"], 1000).await.len();
    }
    assert_eq!(after, told[1].values().map(Vec::len).sum::<usize>(), "nothing behind the end");
    *door.deaf.lock().unwrap() = true;
    ask(&gateway, "UpdateTable", settings(true)).await.unwrap();
    let unheard = described(&gateway).await;
    assert_eq!(unheard["TableStatus"], "UPDATING");
    // It may be ended before they have heard of it by who does not ask the door.
    let ends = Settings { stream: Some(None), ..Settings::default() };
    let change = Change::Settings(Box::new(ends));
    apply(
        door.shards.lock().unwrap().get_mut(&1).unwrap(),
        &of_tables(What::Change { table: "many".into(), change }),
    )
    .unwrap();
    assert_eq!(shards_of(&gateway, &unheard["LatestStreamArn"], 100).await, Vec::<Value>::new());
    door.adopt();
    ask(&gateway, "UpdateTable", settings(true)).await.unwrap();
    *door.deaf.lock().unwrap() = false;
    write(&gateway, &mut rng).await;
    ask(&gateway, "DescribeTable", json!({ "TableName": "many" })).await.unwrap();
    let arn = described(&gateway).await["LatestStreamArn"].clone();
    assert_eq!(shards_of(&gateway, &arn, 100).await.len(), 4);

    // The table takes them along.
    ask(&gateway, "DeleteTable", json!({ "TableName": "many" })).await.unwrap();
    let gone = ask(&gateway, "DescribeStream", json!({ "StreamArn": arn })).await.unwrap_err();
    assert_eq!(gone.0, failure::Kind::NotFound);
    let left = ask(&gateway, "ListStreams", json!({})).await.unwrap();
    assert_eq!(left["Streams"].as_array().unwrap().len(), 1, "{left}");
}

/// Claim: in each shard that a node leads what ends is taken away, from indexes too, its stream tells that time did it, and its records are let
/// go of by notes of its own.
#[tokio::test]
async fn what_ends_in_a_shard_goes() {
    let (gateway, door) = Sharded::new();
    make(&gateway).await;
    let ends = json!({ "TableName": "many", "TimeToLiveSpecification": { "AttributeName": "age", "Enabled": true } });
    ask(&gateway, "UpdateTimeToLive", ends).await.unwrap();
    let (over, later) = (crate::now_ms() / 1000 - 60, crate::now_ms() / 1000 + 6_000);
    for n in 0..40 {
        let end = if n % 2 == 0 { over } else { later };
        let item =
            json!({ "id": { "S": format!("{n}") }, "city": { "S": "x" }, "age": { "N": end.to_string() } });
        ask(&gateway, "PutItem", json!({ "TableName": "many", "Item": item })).await.unwrap();
    }
    let due = |door: &Sharded| {
        let read = Read::TrimIsDue { now: crate::now_ms() };
        let mut shards = door.shards.lock().unwrap();
        let due = shards.range_mut(2..).map(|(_, kv)| kv.view().tables_while(&read, &|_| true).unwrap());
        due.filter(|reply| *reply == Some(ReadReply::TrimIsDue(true))).count()
    };
    assert_eq!(due(&door), 4);
    crate::expiry::round(&gateway).await;
    assert_eq!(due(&door), 0, "each has noted the time");
    for index in [Value::Null, json!("by-city")] {
        let mut scan = json!({ "TableName": "many" });
        if !index.is_null() {
            scan["IndexName"] = index;
        }
        assert_eq!(ask(&gateway, "Scan", scan).await.unwrap()["Count"], 20);
    }
    let arn = described(&gateway).await["LatestStreamArn"].clone();
    let mut by_time = 0;
    for shard in shards_of(&gateway, &arn, 100).await {
        for record in recorded(&gateway, &arn, &shard["ShardId"], 100).await {
            let service = record["userIdentity"]["Type"] == "Service";
            assert_eq!(record["eventName"] == "REMOVE", service);
            by_time += u32::from(service);
        }
    }
    assert_eq!(by_time, 20);
}

/// Claim: what is read at one moment from a table with shards and from one that is nowhere is told that the latter is not there, and not
/// that shards are not ready yet; one whose shard has not heard of it is waited for.
#[tokio::test]
async fn a_missing_table_beside_one_with_shards_is_told_of() {
    let (gateway, door) = Sharded::new();
    *door.deaf.lock().unwrap() = true;
    make(&gateway).await;
    let get = |table: &&str| json!({ "Get": { "TableName": table, "Key": { "id": { "S": "a" } } } });
    let read = |tables: &[&str]| {
        let gets: Vec<Value> = tables.iter().map(get).collect();
        ask(&gateway, "TransactGetItems", json!({ "TransactItems": gets }))
    };
    for tables in [["many", "none"], ["none", "many"]] {
        let (kind, text) = read(&tables).await.unwrap_err();
        assert_eq!((kind, &text[..]), (failure::Kind::NotFound, "Requested resource not found"));
    }
    let late = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        door.adopt();
    };
    let (told, ()) = tokio::join!(read(&["many", "one"]), late);
    assert_eq!(told.unwrap()["Responses"], json!([{}, {}]));
}

/// Claim: a table of which a shard has not heard yet, or not of its last change, is in use; a change that does not concern its state does
/// not bring that about. What takes for ever locks nobody out: a table that is not made after a while can be deleted.
#[tokio::test]
async fn a_table_that_is_being_made_or_changed_is_in_use() {
    let (gateway, door) = Sharded::new();
    *door.deaf.lock().unwrap() = true;
    make(&gateway).await;
    let ends = json!({ "AttributeName": "end", "Enabled": true });
    let expiry = || json!({ "TableName": "many", "TimeToLiveSpecification": ends });
    let stream = || json!({ "TableName": "many", "StreamSpecification": { "StreamEnabled": false } });
    let all = || {
        let deletion = json!({ "TableName": "many" });
        [("UpdateTable", stream()), ("UpdateTimeToLive", expiry()), ("DeleteTable", deletion)]
    };
    let refused = async |what: &str| {
        for (name, body) in all() {
            let text =
                format!("Attempt to change a resource which is still in use: Table is being {what}: many");
            let told = ask(&gateway, name, body).await.unwrap_err();
            assert_eq!(told, (failure::Kind::InUse, text), "{name}");
        }
    };
    refused("created").await;
    door.adopt();
    ask(&gateway, "UpdateTimeToLive", expiry()).await.unwrap();
    assert_eq!(described(&gateway).await["TableStatus"], "ACTIVE");
    ask(&gateway, "UpdateTable", stream()).await.unwrap();
    refused("updated").await;
    // The same table, made long ago, of which no shard can be asked.
    let mut definition = door.shards.lock().unwrap()[&1].view().tables().definition("many").unwrap().clone();
    definition.name = "old".into();
    let made = What::Place { definition: Box::new(definition), founders: Bytes::new() };
    apply(door.shards.lock().unwrap().get_mut(&1).unwrap(), &of_tables(made)).unwrap();
    assert_eq!(crate::shards::check_settled(&gateway, "old").await, Ok(()));
    door.adopt();
    ask(&gateway, "DeleteTable", json!({ "TableName": "many" })).await.unwrap();
}
