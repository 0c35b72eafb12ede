//! The directory of a table that is divided by one: what the service does not have, so under names of our own. `Quorate.AssignTenant` says
//! in which shard a tenant lies, which is all items of a partition key, and moves it there where it lies in another one;
//! `Quorate.ListTenants` tells of them.
//!
//! A move is driven by the door at the leader of shard 1: what is to be done next follows from how the tenant stands in both shards
//! (`state::table`, `tenants`), so another one goes on where it stops.

use crate::body::Params;
use crate::failure::{Answered, ApiError, Retry};
use crate::limits::Constraints;
use crate::route::{META_PLACE, Place, beside, in_block, moved};
use crate::{Gateway, items, now_ms, tables, unexpected};
use bytes::Bytes;
use quorate_item::{AttributeValue, Item, KeySchema};
use quorate_node::api::tables::{
    Block, Division, Move, Next, Part, Read, ReadReply, TenantSeen, next as next_step,
};
use quorate_node::api::{Body, Request};
use quorate_wire::table::{Assigned, Command, Step, Tenant, What};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// It is looked so often whether a tenant moves, ...
const EVERY: Duration = Duration::from_millis(100);
/// ... and for transactions that hold some of one so often; ...
const PAUSE: Duration = Duration::from_millis(10);
/// ... and for so long at once: meanwhile nobody writes it. Then it is written for a while.
const SEALED: Duration = Duration::from_millis(500);
/// So long a move is driven before it is looked which others there are.
const TURN: Duration = Duration::from_secs(5);
/// A tenant that is written so much that the notes of it do not get few is sealed all the same behind so many copies of them.
const COPIES: u32 = 20;
/// A page of tenants has so many.
const PAGE: i64 = 1_000;

/// The shards of a table that is divided by directory, by the newest map.
async fn directory(gateway: &Gateway, table: &str) -> Answered<Arc<Block>> {
    // Through shard 1's log, so that this node's map is as new.
    tables::definition(gateway, table).await?;
    let block = gateway.door.placement().table(table).cloned();
    block.filter(|block| block.division == Division::Directory).ok_or_else(|| {
        ApiError::validation(format!(
            "One or more parameter values were invalid: table {table} has no directory: it is not partitioned by one (the tag \
             quorate:partition-by)"
        ))
    })
}

/// The partition key that a value is, as rows have it.
fn tenant_key(block: &Block, value: &Value) -> Answered<Bytes> {
    let value = AttributeValue::from_json(value.clone()).map_err(items::of_item)?;
    let [attribute] = &block.schema.partition[..] else { return Err(unexpected()) };
    let key = Item([(attribute.name.clone(), value)].into_iter().collect());
    let partition = KeySchema { partition: block.schema.partition.clone(), sort: Vec::new() };
    partition.key_of(&key).map(|key| key.partition.into()).map_err(items::of_item)
}

fn in_words(block: &Block, tenant: &[u8]) -> Value {
    let mut text = Vec::new();
    let value = block.tenant_in_words(tenant).and_then(|key| key.0.into_iter().next());
    if let Some((_, value)) = value {
        value.write_json(&mut text);
    }
    serde_json::from_slice(&text).unwrap_or_default()
}

/// A tenant, and where it lies or moves.
fn told(block: &Block, tenant: &Bytes, at: u32) -> Value {
    let shard = |at: u32| block.shard_at(at).get();
    let mut told = json!({ "Tenant": in_words(block, tenant), "Shard": shard(at) });
    if let Some(moves) = block.directory.moves().filter(|moves| moves.tenant == *tenant && !moves.arrived) {
        told["MovesTo"] = json!(shard(moves.to));
    }
    told
}

/// The how-manieth shard a new tenant lies in where nobody says: one that has the fewest.
fn emptiest(block: &Block) -> u32 {
    let mut lie = vec![0_u32; block.count as usize];
    for at in block.directory.tenants().values() {
        if let Some(many) = lie.get_mut(*at as usize) {
            *many += 1;
        }
    }
    (0..block.count).min_by_key(|at| lie.get(*at as usize).copied()).unwrap_or(0)
}

/// `Quorate.AssignTenant`.
pub(crate) async fn assign(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let mut constraints = Constraints::default();
    let table = constraints.table(params)?;
    if !params.has("Tenant") {
        constraints.missing("tenant");
    }
    let shard = params.number("Shard")?;
    constraints.at_least(shard, "shard", 1);
    constraints.check()?;
    let block = directory(gateway, &table).await?;
    let key = tenant_key(&block, params.get("Tenant").unwrap_or(&Value::Null))?;
    let lies = block.directory.tenants().get(&key).copied();
    let word = match shard {
        // Somebody else may list it at this moment: then it stays where he says.
        None => Assigned::New(lies.unwrap_or_else(|| emptiest(&block))),
        Some(shard) => {
            let at = u32::try_from(shard).ok().and_then(|shard| block.place_of(quorate_base::ShardId(shard)));
            Assigned::To(at.ok_or_else(|| {
                let (first, last) = (block.first, block.first + block.count - 1);
                ApiError::validation(format!(
                    "One or more parameter values were invalid: the shards of table {table} are {first} to {last}, and {shard} is none of \
                     them"
                ))
            })?)
        }
    };
    let tenant = Tenant { table: block.table, key: key.clone() };
    write(gateway, META_PLACE, What::Assign { tenant, word }).await?;
    let block = directory(gateway, &table).await?;
    // Nobody takes a tenant out of a directory: without it this is another table of that name.
    let lies = block.directory.tenants().get(&key).copied().ok_or_else(moved)?;
    let mut answer = told(&block, &key, lies);
    answer["TableName"] = json!(table);
    Ok(answer)
}

/// `Quorate.ListTenants`.
pub(crate) async fn list(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let mut constraints = Constraints::default();
    let table = constraints.table(params)?;
    let limit = params.number("Limit")?;
    constraints.at_least(limit, "limit", 1);
    constraints.at_most(limit, "limit", PAGE);
    constraints.check()?;
    let block = directory(gateway, &table).await?;
    let start = params.get("ExclusiveStartTenant").map(|value| tenant_key(&block, value)).transpose()?;
    let most = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(PAGE as usize);
    let all = block.directory.tenants();
    let from = start.as_ref().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
    let mut rest = all.range::<Bytes, _>((from, std::ops::Bound::Unbounded));
    let page: Vec<(&Bytes, &u32)> = rest.by_ref().take(most).collect();
    let mut answer = json!({
        "TableName": table,
        "Count": all.len(),
        "Tenants": page.iter().map(|(tenant, at)| told(&block, tenant, **at)).collect::<Vec<_>>(),
    });
    if let (Some(_), Some((last, _))) = (rest.next(), page.last()) {
        answer["LastEvaluatedTenant"] = in_words(&block, last);
    }
    Ok(answer)
}

// ---- moves ----

/// Drives the moves of tenants, for ever.
pub(crate) async fn watch(gateway: Gateway) {
    loop {
        tokio::time::sleep(EVERY).await;
        round(&gateway).await;
    }
}

/// Drives all moves, beside each other, while this node leads shard 1. What fails, or is not through, goes on in the next round.
pub(crate) async fn round(gateway: &Gateway) {
    let moving = |block: &&Arc<Block>| block.directory.moves().is_some();
    let tables: Vec<String> =
        gateway.door.placement().blocks().filter(moving).map(|block| block.name.clone()).collect();
    if !tables.is_empty() && leads(gateway).await {
        beside(tables.iter().map(|table| drive(gateway, table))).await;
    }
}

async fn leads(gateway: &Gateway) -> bool {
    let Ok(answer) = gateway.ask(META_PLACE.shard, Request::Status).await else { return false };
    matches!(&answer.body, Body::Status(status) if status.leader == answer.head.member)
}

/// Drives the move of a table's tenant, to its end if that comes soon.
async fn drive(gateway: &Gateway, table: &str) {
    let end = Instant::now() + TURN;
    let mut sealed: Option<Instant> = None;
    let mut copies = 0;
    while Instant::now() < end {
        let Some(block) = gateway.door.placement().table(table).cloned() else { return };
        let Some(moves) = block.directory.moves().cloned() else { return };
        let run = Run { gateway, block: &block, moves: &moves };
        // Where it comes to is looked at first: what is read of the other then may be copied behind what has been.
        let Ok(to) = run.seen(moves.to, Part::Standing).await else {
            // Nobody is to wait for a shard that does not answer. (Refused where the tenant is not sealed, or is gone already.)
            let _ = run.step(moves.from, Step::Leave).await;
            tokio::time::sleep(EVERY).await;
            continue;
        };
        let Ok(from) = run.seen(moves.from, Part::Noted).await else {
            tokio::time::sleep(EVERY).await;
            continue;
        };
        let began = Instant::now();
        let done = match next_step(&moves, &from, &to) {
            Next::From(step) => {
                sealed = if step == Step::Seal { Some(Instant::now()) } else { None };
                run.step(moves.from, step).await
            }
            Next::To(step) => run.step(moves.to, step).await,
            Next::Copy(upto, behind) => {
                let done = run.copy(upto, behind.get()).await;
                // No more than half of the time: others are served.
                tokio::time::sleep(began.elapsed()).await;
                done
            }
            Next::CopyNoted(_) if copies >= COPIES => {
                (copies, sealed) = (0, Some(Instant::now()));
                run.step(moves.from, Step::Seal).await
            }
            Next::CopyNoted(behind) => {
                copies += 1;
                run.copy_noted(from, behind.get()).await
            }
            Next::Wait if sealed.is_none_or(|since| since.elapsed() > SEALED) => {
                let done = run.step(moves.from, Step::Leave).await;
                tokio::time::sleep(SEALED).await;
                done
            }
            Next::Wait => {
                tokio::time::sleep(PAUSE).await;
                Ok(())
            }
            Next::Arrived => run.word(Assigned::Arrived(moves.at.get())).await,
            Next::Swept => run.word(Assigned::Swept(moves.at.get())).await,
        };
        // Another door was quicker, or somebody does not answer: it is looked again.
        if done.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A move.
struct Run<'a> {
    gateway: &'a Gateway,
    block: &'a Block,
    moves: &'a Move,
}

impl Run<'_> {
    fn tenant(&self) -> Tenant {
        Tenant { table: self.block.table, key: self.moves.tenant.clone() }
    }

    fn place(&self, at: u32) -> Place {
        in_block(self.block, self.block.shard_at(at))
    }

    async fn seen(&self, at: u32, part: Part) -> Answered<TenantSeen> {
        let read = Read::Tenant { table: self.block.name.clone(), key: self.moves.tenant.clone(), part };
        match self.gateway.read_from(self.place(at), read, true).await? {
            ReadReply::Tenant(seen) => Ok(*seen),
            _ => Err(unexpected()),
        }
    }

    async fn step(&self, at: u32, step: Step) -> Answered<()> {
        let what = What::Step { tenant: self.tenant(), since: self.moves.at.get(), step };
        write(self.gateway, self.place(at), what).await
    }

    async fn word(&self, word: Assigned) -> Answered<()> {
        write(self.gateway, META_PLACE, What::Assign { tenant: self.tenant(), word }).await
    }

    async fn copy(&self, upto: Bytes, behind: u64) -> Answered<()> {
        let seen = self.seen(self.moves.from, Part::Rows(upto)).await?;
        let upto = seen.rows.last().map(|(at, ..)| at.clone());
        let rows = seen.rows.into_iter().map(|(at, _, item)| (at, item)).collect();
        self.step(self.moves.to, Step::Copy { behind, rows, upto, whole: !seen.more }).await
    }

    async fn copy_noted(&self, seen: TenantSeen, behind: u64) -> Answered<()> {
        let noted = seen.rows.iter().map(|(at, noted, _)| (at.clone(), *noted)).collect();
        let rows = seen.rows.into_iter().map(|(at, _, item)| (at, item)).collect();
        self.step(self.moves.to, Step::Copy { behind, rows, upto: None, whole: false }).await?;
        self.step(self.moves.from, Step::Noted(noted)).await
    }
}

async fn write(gateway: &Gateway, place: Place, what: What) -> Answered<()> {
    let command = Command { epoch: place.epoch, now: now_ms(), what };
    gateway.write_to(place, command, Retry::Harmless).await.map(drop)
}
