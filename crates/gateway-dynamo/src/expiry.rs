//! Items whose time is over: the leader's door looks for them, and asks the log to take them away. It also has the log note
//! the time, by which records of streams are let go, and brings deletions of tables to their end that nobody else does.
//!
//! A door knows the wall clock, which no lane does. What it finds is held against the entry's time once more where it is
//! applied, and an item that was written again meanwhile stays. It walks through the tables a few thousand items a second,
//! so that an item goes some time behind its end, as with DynamoDB; until then reads show it.

use crate::route::{META_PLACE, Place};
use crate::{Gateway, Retry, now_ms};
use quorate_node::api::tables::{Overdue, Place as At, Read, ReadReply};
use quorate_node::api::{Body, Request};
use quorate_wire::table::{Command, What};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many items are looked at at once, ...
const ITEMS: usize = 500;
/// ... so often; ...
const EVERY: Duration = Duration::from_millis(100);
/// ... and behind a round through all of them it rests, as it does while another node leads.
const REST: Duration = Duration::from_secs(2);
/// So many go in one entry.
const KEYS: usize = 100;

/// Takes away what ends, for ever.
pub(crate) async fn watch(gateway: Gateway) {
    loop {
        tokio::time::sleep(REST).await;
        round(&gateway).await;
    }
}

/// Looks after all shards that this node leads.
pub(crate) async fn round(gateway: &Gateway) {
    if leads(gateway, META_PLACE).await {
        trim(gateway, META_PLACE).await;
        walk(gateway, META_PLACE).await;
    }
    // Of tables with shards of their own, whoever leads a shard looks after it.
    let placement = gateway.door.placement();
    for block in placement.blocks() {
        let (expires, tells, closing) = wants(gateway, &block.name).await;
        if closing && leads(gateway, META_PLACE).await {
            // What does not end now ends in the next round.
            let _ = crate::drain::finish(gateway, &block.name).await;
            continue;
        }
        if !expires && !tells {
            continue;
        }
        for shard in block.shards() {
            let place = Place { shard, epoch: block.epoch };
            if !leads(gateway, place).await {
                continue;
            }
            if tells {
                trim(gateway, place).await;
            }
            if expires {
                walk(gateway, place).await;
            }
        }
    }
}

/// Goes through a shard once.
async fn walk(gateway: &Gateway, place: Place) {
    let mut after = None;
    loop {
        after = step(gateway, place, after).await;
        if after.is_none() {
            return;
        }
        tokio::time::sleep(EVERY).await;
        if !leads(gateway, place).await {
            return;
        }
    }
}

/// Whether a table has items that end, whether it has, or had, a stream, and whether it is being deleted.
async fn wants(gateway: &Gateway, table: &str) -> (bool, bool, bool) {
    let described = gateway.read(Read::Describe(table.into()), false).await;
    let Ok(ReadReply::Table(described)) = described else { return (false, false, false) };
    let definition = &described.definition;
    (definition.expires.is_some(), definition.latest_stream.is_some(), definition.closing)
}

async fn trim(gateway: &Gateway, place: Place) {
    let now = now_ms();
    if let Ok(ReadReply::TrimIsDue(true)) = gateway.read_from(place, Read::TrimIsDue { now }, false).await {
        // What is not noted now is noted in the next round.
        let command = Command { epoch: place.epoch, now, what: What::Trim };
        let _ = gateway.write_to(place, command, Retry::Harmless).await;
    }
}

async fn leads(gateway: &Gateway, place: Place) -> bool {
    let Ok(answer) = gateway.ask(place.shard, Request::Status).await else { return false };
    matches!(&answer.body, Body::Status(status) if status.leader == answer.head.member)
}

async fn step(gateway: &Gateway, place: Place, after: Option<At>) -> Option<At> {
    let read = Read::Overdue { after, now: now_ms(), items: ITEMS };
    let Ok(ReadReply::Overdue(Overdue { items, next })) = gateway.read_from(place, read, false).await else {
        return None;
    };
    let mut tables: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (table, key) in items {
        tables.entry(table).or_default().push(key);
    }
    for (table, keys) in tables {
        for keys in keys.chunks(KEYS) {
            let what = What::Expire { table, keys: keys.to_vec() };
            // What does not go now goes in the next round.
            let command = Command { epoch: place.epoch, now: now_ms(), what };
            let _ = gateway.write_to(place, command, Retry::Harmless).await;
        }
    }
    next
}
