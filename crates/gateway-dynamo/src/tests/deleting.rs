//! Tables that are deleted while transactions over several shards hold items of them.

use super::sharded::{Sharded, apply, of_tables};
use super::*;
use crate::{drain, failure::Kind};
use quorate_item::codec::Codec;
use quorate_item::{AttributeValue, Item};
use quorate_node::api::tables::Placement;
use quorate_protocol::commit::{Command as Step, Outcome as Decision, Prepare, TxnId};
use quorate_wire::table::{Action, Execute, Op, Reply, Returns, Token, What};

const ID: TxnId = TxnId { node: NodeId(7), boot: 1, sequence: 1, attempt: 1 };

async fn make(gateway: &Gateway, name: &str, shards: u32) {
    let made = json!({
        "TableName": name,
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
        "Tags": [{ "Key": "quorate:shards", "Value": shards.to_string() }],
    });
    ask(gateway, "CreateTable", made).await.unwrap();
}

fn item() -> Item {
    Item([("id".to_string(), AttributeValue::S("a".into()))].into())
}

/// Where the item of a table lies.
fn shard_of(placement: &Placement, table: &str) -> ShardId {
    let Some(block) = placement.table(table) else { return ShardId(1) };
    block.shard_of(&block.schema.key_of_item(&item()).unwrap()).unwrap()
}

fn put(table: &str) -> Execute {
    let action = Action::Put { item: item().encode().into() };
    let (condition, returns, old_on_failure) = (None, Returns::None, false);
    let op = Op { table: table.into(), action, condition, returns, old_on_failure };
    Execute { atomic: true, token: None, ops: vec![op] }
}

fn step(door: &Sharded, shard: ShardId, step: Step<Execute>) -> Reply {
    let mut shards = door.shards.lock().unwrap();
    let kv = shards.get_mut(&shard.get()).unwrap();
    match apply(kv, &of_tables(What::Commit(step))).unwrap() {
        Body::Reply(quorate_wire::kv::Reply::Table(reply)) => *reply,
        other => panic!("{other:?}"),
    }
}

fn ends(door: &Sharded, shard: ShardId, outcome: Decision) {
    step(door, shard, Step::Outcome { id: ID, outcome });
}

async fn status(gateway: &Gateway, table: &str) -> Result<Value, Kind> {
    let described = ask(gateway, "DescribeTable", json!({ "TableName": table })).await;
    described.map(|described| described["Table"]["TableStatus"].clone()).map_err(|(kind, _)| kind)
}

async fn delete(gateway: &Gateway, table: &str) -> Result<Value, Kind> {
    let deleted = ask(gateway, "DeleteTable", json!({ "TableName": table })).await;
    deleted.map(|answer| answer["TableDescription"]["TableStatus"].clone()).map_err(|(kind, _)| kind)
}

/// A transaction over all three tables that has voted Yes in each of these.
async fn prepared(tables: &[&str]) -> (Gateway, Arc<Sharded>, Vec<ShardId>) {
    let (gateway, door) = Sharded::new();
    for (name, shards) in [("many", 4), ("other", 2), ("one", 1)] {
        make(&gateway, name, shards).await;
    }
    let placement = door.placement();
    let shards: Vec<ShardId> =
        ["many", "other", "one"].iter().map(|table| shard_of(&placement, table)).collect();
    for table in tables {
        let participants = shards.clone();
        let prepare = Prepare { id: ID, began: 1, participants, ops: put(table) };
        let voted = step(&door, shard_of(&placement, table), Step::Prepare(prepare));
        assert!(format!("{voted:?}").contains("Yes"), "{table}: {voted:?}");
    }
    (gateway, door, shards)
}

/// Claim: a table goes when nothing is under way in it any more: not while a transaction holds an item of it, nor while one that is
/// committed in it is undecided elsewhere, since whoever recovers that would hear No of a shard that is gone. Meanwhile it takes
/// nothing, is described as going, and nobody else may change it.
#[tokio::test]
async fn a_table_goes_behind_the_transactions_in_it() {
    let (gateway, door, shards) = prepared(&["many", "other", "one"]).await;
    for table in ["many", "one"] {
        assert_eq!(delete(&gateway, table).await, Ok(json!("DELETING")));
        assert_eq!(status(&gateway, table).await, Ok(json!("DELETING")), "{table}");
        assert_eq!(delete(&gateway, table).await, Err(Kind::InUse));
        let update = json!({ "TableName": table, "DeletionProtectionEnabled": true });
        assert_eq!(ask(&gateway, "UpdateTable", update).await.unwrap_err().0, Kind::InUse);
    }
    let put = json!({ "TableName": "one", "Item": { "id": { "S": "b" } } });
    assert_eq!(ask(&gateway, "PutItem", put).await.unwrap_err().0, Kind::NotFound);
    let get = json!({ "TableName": "one", "Key": { "id": { "S": "b" } } });
    assert_eq!(ask(&gateway, "GetItem", get).await.unwrap_err().0, Kind::NotFound);
    // It is committed, and its gateway dies before all have heard of it.
    ends(&door, shards[0], Decision::Commit);
    assert!(!drain::finish(&gateway, "many").await.unwrap(), "undecided in the others");
    ends(&door, shards[1], Decision::Commit);
    assert!(!drain::finish(&gateway, "many").await.unwrap(), "undecided in shard 1");
    ends(&door, shards[2], Decision::Commit);
    assert_eq!(status(&gateway, "one").await, Err(Kind::NotFound), "it goes with the last that was held");
    assert!(drain::finish(&gateway, "many").await.unwrap());
    assert_eq!(status(&gateway, "many").await, Err(Kind::NotFound));
    let found = json!({ "TableName": "other", "Key": { "id": { "S": "a" } } });
    let found = ask(&gateway, "GetItem", found).await.unwrap();
    assert_eq!(found["Item"], json!({ "id": { "S": "a" } }), "nothing of it is lost elsewhere");
    assert!(!door.shards.lock().unwrap().values().any(|kv| kv.view().tables().is_locked()));
    // Its name is free again.
    make(&gateway, "many", 2).await;
}

/// Claim: a shard of a table that is being deleted votes No from the mark on, for tokens as for items, so that it stays drained.
#[tokio::test]
async fn a_table_that_is_being_deleted_takes_part_in_nothing() {
    let (gateway, door, shards) = prepared(&["many"]).await;
    assert_eq!(delete(&gateway, "many").await, Ok(json!("DELETING")));
    let id = TxnId { sequence: 2, ..ID };
    let word = || Bytes::from_static(b"w");
    let token =
        Execute { token: Some(Token { token: word(), fingerprint: word() }), ops: Vec::new(), ..put("many") };
    for (attempt, ops) in [(1, put("many")), (2, token)] {
        let id = TxnId { attempt, ..id };
        let prepare = Prepare { id, began: 1, participants: shards.clone(), ops };
        let voted = step(&door, shards[0], Step::Prepare(prepare));
        assert!(format!("{voted:?}").contains("Vote(No("), "{voted:?}");
    }
    ends(&door, shards[0], Decision::Abort);
    assert!(drain::finish(&gateway, "many").await.unwrap());
}

/// Claim: a table in which nothing is under way is gone when its deletion is answered.
#[tokio::test]
async fn a_table_that_nobody_uses_goes_at_once() {
    let (gateway, _, _) = prepared(&["other"]).await;
    for table in ["many", "one"] {
        assert_eq!(delete(&gateway, table).await, Ok(json!("DELETING")));
        assert_eq!(status(&gateway, table).await, Err(Kind::NotFound), "{table}");
    }
}
