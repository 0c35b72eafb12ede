//! Which shard an operation is for: that of its item's partition key, where the table has shards of its own; else shard 1.
//!
//! The map is what this node's state of shard 1 says, so it may be old: shard 1 refuses what is not there, and a new shard does not
//! know its table for a moment. Either is asked again a few times, by the newest map, since nothing was done.
//!
//! Of a table that is divided by directory the map says where each tenant lies. One that it does not have is looked for once more by the
//! newest map; then a write of it is refused, and a read finds nothing: it asks any shard.
//!
//! What crosses shards and needs no common moment is divided and put together again. What must be done together, or read at one
//! moment, is the node's: it is the gateway of transactions ([`Request::Transact`], [`Request::Gather`]). One whose items lie in one
//! shard is one entry there, and its token's row beside them. Otherwise the row lies in the shard of the token's hash, of the first
//! table that has any by its name: the same request always finds it, and another one with that token if its first table is the same.

use crate::failure::{Answered, ApiError, Kind, Retry, of_node};
use crate::{Gateway, now_ms, scatter, unexpected};
use bytes::Bytes;
use quorate_base::{Index, ShardId};
use quorate_item::codec::Codec;
use quorate_item::{Condition, Item, Key, KeySchema};
pub(crate) use quorate_node::api::Place;
use quorate_node::api::tables::{
    Block, Division, Get, Got, KeysAsked, Page, Paged, Placement, Read, ReadReply, is_in_segment,
    other_segment,
};
use quorate_node::api::{Body, Gather, Request, Transact};
use quorate_wire::kv::Reply as AnyReply;
use quorate_wire::table::{Action, Command, Done, EPOCH, Execute, Op, Outcome, Reply, Token, What};
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

/// Shard 1: the key-value space, tables without shards of their own, and all definitions.
pub(crate) const META: ShardId = ShardId(1);
/// How often what was routed by an old map is tried again, and after how long.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(30);
/// A replica that is behind what this node knows is asked so often; then the shard's leader is, whatever state would do.
const BEHIND: u32 = 5;
/// So many items of one shard are read at once: a node that has no replica of it is answered by one that has, in one packet.
const ITEMS_AT_ONCE: usize = 16;
/// So many tenants are scanned at once.
const TENANTS_AT_ONCE: usize = 8;
/// A page ends behind about so many bytes of items.
const PAGE_BYTES: usize = 1 << 20;

/// Shard 1, as it is asked.
pub(crate) const META_PLACE: Place = Place { shard: META, epoch: EPOCH };

pub(crate) fn in_block(block: &Block, shard: ShardId) -> Place {
    Place { shard, epoch: block.epoch }
}

/// What routing goes by.
#[derive(Clone)]
pub(crate) struct Map {
    placement: Arc<Placement>,
    /// It is as new as the request.
    newest: bool,
    /// Replicas that may be behind have refused to answer so far.
    behind: bool,
}

/// Where the item with this key lies. Of a key that makes no sense any shard says so.
fn place_of(map: &Map, table: &str, key: impl FnOnce(&KeySchema) -> Option<Key>) -> Answered<Place> {
    let Some(block) = map.placement.table(table) else { return Ok(META_PLACE) };
    let Some(key) = key(&block.schema) else { return Ok(in_block(block, ShardId(block.first))) };
    block.shard_of(&key).map(|shard| in_block(block, shard)).ok_or_else(|| unlisted(block, &key.partition))
}

/// The same for a read that finds nothing of a tenant that is not listed.
fn place_to_look(map: &Map, block: &Block, key: &Key) -> Answered<ShardId> {
    match block.shard_of(key) {
        Some(shard) => Ok(shard),
        None if map.newest => Ok(ShardId(block.first)),
        None => Err(unlisted(block, &key.partition)),
    }
}

fn unlisted(block: &Block, tenant: &[u8]) -> ApiError {
    let key = block.tenant_in_words(tenant).map(|key| {
        let mut text = Vec::new();
        key.write_json(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let (key, table) = (key.unwrap_or_default(), &block.name);
    ApiError::new(
        Kind::Unlisted,
        format!(
            "One or more parameter values were invalid: the directory of table {table} has no tenant {key}: say first in which \
             shard it lies (quorate space assign)"
        ),
    )
}

fn place_of_op(map: &Map, op: &Op) -> Answered<Place> {
    place_of(map, &op.table, |schema| {
        let (item, whole) = match &op.action {
            Action::Put { item } => (item, true),
            Action::Delete { key } | Action::Check { key } | Action::Update { key, .. } => (key, false),
        };
        let item = Item::decode(item).ok()?;
        let key = if whole { schema.key_of_item(&item) } else { schema.key_of(&item) };
        key.ok()
    })
}

/// Where an item that is read lies; `together` with others at one moment only if it is known.
fn place_of_get(map: &Map, get: &Get, together: bool) -> Answered<Place> {
    let key = |schema: &KeySchema| schema.key_of(&get.key).ok();
    match map.placement.table(&get.table) {
        Some(block) if !together => match key(&block.schema) {
            Some(key) => Ok(in_block(block, place_to_look(map, block, &key)?)),
            None => Ok(in_block(block, ShardId(block.first))),
        },
        _ => place_of(map, &get.table, key),
    }
}

/// Does something by the newest map, and again where the map was old.
pub(crate) async fn routed<T, F: Future<Output = Answered<T>>>(
    gateway: &Gateway,
    with: impl Fn(Map) -> F,
) -> Answered<T> {
    let mut left = TRIES;
    let mut newest = false;
    loop {
        let behind = left + BEHIND <= TRIES;
        match with(Map { placement: gateway.door.placement(), newest, behind }).await {
            Err(error) if error.kind == Kind::Unlisted && !newest => {
                // Through shard 1's log, so that this node's map is as new.
                gateway.read(Read::List { after: None, limit: 1 }, true).await?;
                newest = true;
            }
            Err(error) if error.kind == Kind::Moved && left > 0 => {
                left -= 1;
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Of things with their places, the indexes of those of each place.
fn by_place(places: &[Place]) -> BTreeMap<Place, Vec<usize>> {
    let mut of: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    for (at, place) in places.iter().enumerate() {
        of.entry(*place).or_default().push(at);
    }
    of
}

/// Does all of it at once, and waits for all: the shards know nothing of each other.
pub(crate) async fn beside<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    poll_fn(|context| {
        let mut waits = false;
        for (one, done) in all.iter_mut().filter(|(_, done)| done.is_none()) {
            match one.as_mut().poll(context) {
                Poll::Ready(value) => *done = Some(value),
                Poll::Pending => waits = true,
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}

/// What was divided, together again: parts, each with what its things were the how-manieth of.
fn in_order<'a, T>(
    count: usize,
    places: impl Iterator<Item = &'a Vec<usize>>,
    parts: impl IntoIterator<Item = Answered<Vec<T>>>,
) -> Answered<Vec<T>> {
    let mut all: Vec<Option<T>> = (0..count).map(|_| None).collect();
    for (at, part) in places.zip(parts) {
        at.iter().zip(part?).for_each(|(&at, one)| all[at] = Some(one));
    }
    all.into_iter().collect::<Option<_>>().ok_or_else(unexpected)
}

/// Where a transaction over several shards has its token's row.
fn place_of_token(placement: &Placement, ops: &[Op], token: &Token) -> Place {
    let first = ops.iter().map(|op| &op.table).filter(|table| placement.table(table).is_some()).min();
    match first.and_then(|table| placement.table(table)) {
        Some(block) => in_block(block, block.shard_of_token(&token.token)),
        None => META_PLACE,
    }
}

/// Whether a transaction whose items all lie in one shard has its token's row there, too: not where tenants move, or the request, when it
/// comes again behind a move, would not find it.
fn stays_at(placement: &Placement, ops: &[Op], token: &Token, place: Place) -> bool {
    let moves =
        |op: &Op| placement.table(&op.table).is_some_and(|block| block.division == Division::Directory);
    !ops.iter().any(moves) || place_of_token(placement, ops, token) == place
}

/// All operations or none, wherever they lie.
async fn transact(
    gateway: &Gateway,
    token: Option<(Place, Token)>,
    ops: Vec<(Place, Op)>,
    retry: Retry,
) -> Answered<Option<Vec<Done>>> {
    let places: Vec<Place> = ops.iter().map(|(place, _)| *place).collect();
    let request = Request::Transact(Box::new(Transact { now: now_ms(), token, ops }));
    let answer = gateway.ask(META, request).await.map_err(|failure| of_node(failure, retry))?;
    let Body::Reply(AnyReply::Table(reply)) = answer.body else { return Err(unexpected()) };
    match *reply {
        Reply::Executed(done) => {
            for (place, done) in places.into_iter().zip(&done) {
                known(place, vec![done.clone()])?;
            }
            Ok(Some(done))
        }
        Reply::Repeated => Ok(None),
        _ => Err(unexpected()),
    }
}

/// A shard that does not know its table yet is asked again.
fn known(place: Place, done: Vec<Done>) -> Answered<Vec<Done>> {
    let unknown = |done: &Done| matches!(done.outcome, Outcome::NoTable(_));
    if place.shard != META && done.iter().any(unknown) { Err(moved()) } else { Ok(done) }
}

pub(crate) fn moved() -> ApiError {
    ApiError::new(Kind::Moved, "The table's shards are not ready yet. Please retry.")
}

/// Runs operations, in one entry of one shard where they must be done together; `None` says that the token's work was done before.
pub(crate) async fn execute(
    gateway: &Gateway,
    atomic: bool,
    token: Option<Token>,
    ops: Vec<Op>,
    retry: Retry,
) -> Answered<Option<Vec<Done>>> {
    if gateway.door.placement().is_empty() {
        let execute = Execute { atomic, token: token.clone(), ops: ops.clone() };
        match one(gateway, META_PLACE, execute, retry).await {
            Err(error) if error.kind == Kind::Moved => {}
            other => return other,
        }
    }
    let kept = Mutex::new(vec![None; ops.len()]);
    routed(gateway, |map| {
        let (token, ops, kept) = (token.clone(), ops.clone(), &kept);
        async move {
            let places = ops.iter().map(|op| place_of_op(&map, op)).collect::<Answered<Vec<Place>>>()?;
            let (placement, of) = (&map.placement, by_place(&places));
            let stays =
                |place: &Place| token.as_ref().is_none_or(|token| stays_at(placement, &ops, token, *place));
            if let ([place], _) | ([place, ..], true) = (&places[..], of.len() == 1 && atomic)
                && stays(place)
            {
                return one(gateway, *place, Execute { atomic, token, ops }, retry).await;
            }
            if atomic {
                let token = token.map(|token| (place_of_token(placement, &ops, &token), token));
                return transact(gateway, token, places.into_iter().zip(ops).collect(), retry).await;
            }
            let part = |place, at: &[usize]| {
                let ops = at.iter().map(|&at| ops[at].clone()).collect();
                one(gateway, place, Execute { atomic, token: None, ops }, retry)
            };
            // What was done when another part was refused is not done again: somebody may have written behind it.
            let left: Vec<usize> = (0..ops.len()).filter(|&at| known_done(kept)[at].is_none()).collect();
            let of: Vec<(Place, Vec<usize>)> =
                by_place(&left.iter().map(|&at| places[at]).collect::<Vec<_>>())
                    .into_iter()
                    .map(|(place, of)| (place, of.into_iter().map(|n| left[n]).collect()))
                    .collect();
            let parts = beside(of.iter().map(|(place, at)| part(*place, at))).await;
            let mut refused = None;
            for ((_, at), part) in of.iter().zip(parts) {
                match part {
                    Ok(done) => {
                        let mut kept = known_done(kept);
                        at.iter().zip(done.unwrap_or_default()).for_each(|(&at, one)| kept[at] = Some(one));
                    }
                    // One that may not be tried again counts more than one that may.
                    Err(error) if error.kind == Kind::Moved => drop(refused.get_or_insert(error)),
                    Err(error) => refused = Some(error),
                }
            }
            if let Some(error) = refused {
                return Err(error);
            }
            known_done(kept).iter().cloned().collect::<Option<Vec<Done>>>().map(Some).ok_or_else(unexpected)
        }
    })
    .await
}

/// What is known to be done of the operations of a request, while it is routed.
fn known_done(kept: &Mutex<Vec<Option<Done>>>) -> MutexGuard<'_, Vec<Option<Done>>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn one(gateway: &Gateway, place: Place, execute: Execute, retry: Retry) -> Answered<Option<Vec<Done>>> {
    let command = Command { epoch: place.epoch, now: now_ms(), what: What::Execute(execute) };
    match gateway.write_to(place, command, retry).await? {
        Reply::Executed(done) => known(place, done).map(Some),
        Reply::Repeated => Ok(None),
        _ => Err(unexpected()),
    }
}

/// Items by their keys, all at one moment where `together`.
pub(crate) async fn gets(
    gateway: &Gateway,
    gets: Vec<Get>,
    consistent: bool,
    together: bool,
) -> Answered<Vec<Got>> {
    if !together && gateway.door.placement().is_empty() {
        match got(gateway, META_PLACE, gets.clone(), consistent).await {
            Err(error) if error.kind == Kind::Moved => {}
            other => return other,
        }
    }
    routed(gateway, |map| {
        let mut gets = gets.clone();
        let consistent = consistent || map.behind;
        async move {
            let places =
                gets.iter().map(|get| place_of_get(&map, get, together)).collect::<Answered<Vec<Place>>>()?;
            for (get, place) in gets.iter_mut().zip(&places) {
                get.moved =
                    map.placement.table(&get.table).map_or(Index(0), |block| block.moved(place.shard));
            }
            if together {
                return gathered(gateway, places.into_iter().zip(gets).collect()).await;
            }
            let of = by_place(&places);
            if let ([place], _) | ([place, ..], true) = (&places[..], of.len() == 1)
                && gets.len() <= at_once(*place)
            {
                return got(gateway, *place, gets, consistent).await;
            }
            let chunks = of
                .iter()
                .flat_map(|(&place, at)| at.chunks(at_once(place)).map(move |at| (place, at.to_vec())));
            let chunks: Vec<(Place, Vec<usize>)> = chunks.collect();
            let part = |place, at: &[usize]| {
                got(gateway, place, at.iter().map(|&at| gets[at].clone()).collect(), consistent)
            };
            let parts = beside(chunks.iter().map(|(place, at)| part(*place, at))).await;
            in_order(gets.len(), chunks.iter().map(|(_, at)| at), parts)
        }
    })
    .await
}

/// How many items of a shard are read at once; all of shard 1, which every node has.
fn at_once(place: Place) -> usize {
    if place.shard == META { usize::MAX } else { ITEMS_AT_ONCE }
}

/// Items at one moment, wherever they lie.
async fn gathered(gateway: &Gateway, gets: Vec<(Place, Get)>) -> Answered<Vec<Got>> {
    let many = gets.len();
    let (of_shards, of_meta): (Vec<_>, Vec<_>) = gets.iter().partition(|(place, _)| place.shard != META);
    let new = !of_shards.is_empty();
    let elsewhere: BTreeSet<String> = of_meta.into_iter().map(|(_, get)| get.table.clone()).collect();
    let request = Request::Gather(Box::new(Gather { gets, together: true }));
    let answer = gateway.ask(META, request).await.map_err(|failure| of_node(failure, Retry::Harmless));
    let body = match answer {
        Err(error) if new && error.kind == Kind::NotFound => {
            // Which table it was the node does not say: a shard that does not know its own yet, or one that is nowhere.
            for table in &elsewhere {
                let missing = |why: ApiError| if why.kind == Kind::NotFound { error.clone() } else { why };
                crate::tables::described(gateway, table).await.map_err(missing)?;
            }
            return Err(moved());
        }
        answer => answer?.body,
    };
    let Body::Table(reply) = body else { return Err(unexpected()) };
    match *reply {
        ReadReply::Items(got) => Ok(got),
        ReadReply::Changing => Err(crate::transact::in_conflict(many)),
        _ => Err(unexpected()),
    }
}

async fn got(gateway: &Gateway, place: Place, gets: Vec<Get>, consistent: bool) -> Answered<Vec<Got>> {
    match there(place, gateway.read_from(place, Read::Get(gets), consistent).await)? {
        ReadReply::Items(got) => Ok(got),
        _ => Err(unexpected()),
    }
}

/// A shard that does not know its table yet is asked again.
pub(crate) fn there<T>(place: Place, answered: Answered<T>) -> Answered<T> {
    match answered {
        Err(error) if place.shard != META && error.kind == Kind::NotFound => Err(moved()),
        other => other,
    }
}

/// A page of a query, from the shard of its partition, or of a scan, from one shard after the other in the order of slots; of a
/// global index, and of a partition that lies in all shards, from all at once.
pub(crate) async fn page(gateway: &Gateway, page: Page, consistent: bool) -> Answered<Paged> {
    routed(gateway, |map| {
        let page = page.clone();
        let consistent = consistent || map.behind;
        async move {
            let Some(block) = map.placement.table(&page.table) else {
                return paged(gateway, META_PLACE, page, consistent).await;
            };
            if let Some((index, described)) = scatter::global(gateway, &page).await? {
                return scatter::page(gateway, block, &described, &index, &page).await;
            }
            let partition = match &page.keys {
                KeysAsked::All(segment) if block.division == Division::Directory => {
                    return scan_tenants(gateway, (&map, block), &page, *segment, consistent).await;
                }
                KeysAsked::All(segment) => return scan(gateway, block, &page, *segment, consistent).await,
                KeysAsked::Resolved(condition) => Some(condition.partition.clone()),
                KeysAsked::Tenant(partition) => Some(partition.clone()),
                KeysAsked::Condition(condition) => partition_of(&block.schema, condition),
            };
            let shard = match &partition {
                None => ShardId(block.first),
                Some(_) if !block.division.keeps_partitions() => {
                    return scatter::query(gateway, block, &page, consistent).await;
                }
                Some(partition) => {
                    place_to_look(&map, block, &Key { partition: partition.clone(), sort: Vec::new() })?
                }
            };
            let page = Page { moved: block.moved(shard), ..page };
            paged(gateway, in_block(block, shard), page, consistent).await
        }
    })
    .await
}

/// Local indexes have the table's partition key.
fn partition_of(schema: &KeySchema, condition: &Condition) -> Option<Vec<u8>> {
    let partition = KeySchema { partition: schema.partition.clone(), sort: Vec::new() };
    let of_table = schema.condition(condition).or_else(|_| partition.condition(condition));
    if let Ok(condition) = of_table {
        return Some(condition.partition);
    }
    // A condition on an index' sort key, too: its part on the partition key alone says where.
    let Condition::All(parts) = condition else { return None };
    parts.iter().find_map(|part| Some(partition.condition(part).ok()?.partition))
}

pub(crate) async fn paged(gateway: &Gateway, place: Place, page: Page, consistent: bool) -> Answered<Paged> {
    let read = Read::Page(Box::new(page));
    match there(place, gateway.read_from(place, read, consistent).await)? {
        ReadReply::Page(paged) => Ok(paged),
        _ => Err(unexpected()),
    }
}

async fn scan(
    gateway: &Gateway,
    block: &Block,
    page: &Page,
    segment: Option<(u32, u32)>,
    consistent: bool,
) -> Answered<Paged> {
    let (shards, slots) = span(block, segment);
    // Behind the start: an earlier page has been through all shards before its own.
    let start = page.start.as_ref().and_then(|start| {
        let key = block.schema.key_of(&block.schema.only_key(start)).ok()?;
        Some(block.shard_of(&key)?.get())
    });
    if slots.is_none()
        && let (Some((segment, of)), Some(_)) = (segment, start.filter(|at| !shards.contains(at)))
    {
        return Err(ApiError::validation(other_segment(segment, of)));
    }
    let Some(last) = shards.clone().last() else { return Ok(Paged::default()) };
    // One of another segment is refused by the last.
    let start = start.map(|at| at.min(last));
    let mut all = Paged::default();
    let mut room = PAGE_BYTES;
    for shard in start.unwrap_or(shards.start)..shards.end {
        let limit = page.limit.map(|limit| limit.saturating_sub(all.scanned));
        let start = page.start.clone().filter(|_| start.is_none_or(|at| at == shard));
        let part = Page { keys: KeysAsked::All(slots), limit, start, bytes: Some(room), ..page.clone() };
        let part = paged(gateway, in_block(block, ShardId(shard)), part, consistent).await?;
        room = room.saturating_sub(part.bytes).max(1);
        add(&mut all, part);
        if all.last.is_some() {
            break;
        }
    }
    Ok(all)
}

/// Adds a part to a page. One that ends before what it is of does is the last one, and says where the next page begins.
fn add(all: &mut Paged, part: Paged) {
    all.count += part.count;
    all.scanned += part.scanned;
    all.bytes += part.bytes;
    all.fetched += part.fetched;
    all.local |= part.local;
    all.items.extend(part.items);
    all.last = part.last;
}

/// A page of a scan of a table that is divided by directory: tenant by tenant, in the order of their keys. So a scan that goes on behind a
/// move meets each tenant once, wherever it lies. Several are asked at once; who has told more than is left of the page is asked again.
///
/// A scan of the newest state goes by the newest map, and so does one that finds no tenant by the map at hand: that may lack some.
async fn scan_tenants(
    gateway: &Gateway,
    (map, block): (&Map, &Block),
    page: &Page,
    segment: Option<(u32, u32)>,
    consistent: bool,
) -> Answered<Paged> {
    let first = in_block(block, ShardId(block.first));
    let start = page
        .start
        .as_ref()
        .map(|start| block.schema.key_of(&block.schema.only_key(start)).map(|key| key.partition));
    let Ok(start) = start.transpose() else {
        // Any shard says what is wrong with it.
        return paged(gateway, first, page.clone(), consistent).await;
    };
    if let (Some((segment, of)), Some(start)) = (segment, &start)
        && !is_in_segment(start, Some((segment, of)))
    {
        return Err(ApiError::validation(other_segment(segment, of)));
    }
    let mut tenants = block.tenants_from(start.as_deref().unwrap_or_default(), segment).peekable();
    let none = tenants.peek().is_none();
    if !map.newest && (consistent || none) {
        return Err(unlisted(block, start.as_deref().unwrap_or_default()));
    }
    if none {
        // Any shard says whether the rest of it makes sense; there is nothing of such a tenant.
        let nobody = KeysAsked::Tenant(start.clone().unwrap_or_else(|| vec![0]));
        return paged(gateway, first, Page { keys: nobody, start: None, ..page.clone() }, consistent).await;
    }
    let part = |(tenant, shard): (&Bytes, ShardId), limit, room| {
        let keys = KeysAsked::Tenant(tenant.to_vec());
        let start = page.start.clone().filter(|_| start.as_deref() == Some(&tenant[..]));
        let part = Page { keys, limit, start, bytes: Some(room), moved: block.moved(shard), ..page.clone() };
        paged(gateway, in_block(block, shard), part, consistent)
    };
    let mut all = Paged::default();
    loop {
        let asked: Vec<(&Bytes, ShardId)> = tenants.by_ref().take(TENANTS_AT_ONCE).collect();
        let left = |all: &Paged| {
            let limit = page.limit.map(|limit| limit.saturating_sub(all.scanned));
            (limit, PAGE_BYTES.saturating_sub(all.bytes).max(1))
        };
        let (limit, room) = left(&all);
        let parts = beside(asked.iter().map(|tenant| part(*tenant, limit, room))).await;
        for (tenant, told) in asked.into_iter().zip(parts) {
            let (limit, room) = left(&all);
            let mut told = told?;
            // It was asked for as much as there was room for before the others; and one that fills the page says where it ends.
            let (rows, ends) = (limit.unwrap_or(usize::MAX), told.last.is_some());
            let over = told.scanned > rows || told.bytes > room && all.scanned > 0;
            if over || !ends && (told.scanned == rows || told.bytes >= room) {
                told = part(tenant, limit, room).await?;
            }
            add(&mut all, told);
            if all.last.is_some() {
                return Ok(all);
            }
        }
        if tenants.peek().is_none() {
            return Ok(all);
        }
    }
}

/// The shards that a scan's segment has something of, and what it is of each of them. Segments divide the slots, where these are
/// what is divided among the shards, and else the shards: of more segments than shards some are empty.
fn span(block: &Block, segment: Option<(u32, u32)>) -> (Range<u32>, Option<(u32, u32)>) {
    let end = block.first + block.count;
    let Some((segment, of)) = segment.filter(|(_, of)| *of > 0) else { return (block.first..end, None) };
    if block.division != Division::Hash {
        let edge = |n: u32| (u64::from(n) * u64::from(block.count)).div_ceil(u64::from(of)) as u32;
        return (block.first + edge(segment)..block.first + edge(segment + 1), None);
    }
    let edge = |n: u64| (n << 32) / u64::from(of);
    let shard = |slot: u64| block.first + ((slot * u64::from(block.count)) >> 32) as u32;
    let (from, to) = (edge(segment.into()), edge(u64::from(segment) + 1));
    let last = shard(to.saturating_sub(1).max(from)).min(end - 1);
    (shard(from).min(last)..last + 1, Some((segment, of)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    /// Claim: what is for several shards is under way at all of them at once, and each answer comes to its place.
    #[tokio::test]
    async fn shards_are_asked_beside_each_other() {
        let (give, take) = oneshot::channel();
        let (mut give, mut take) = (Some(give), Some(take));
        let places = BTreeMap::from([(2, vec![0, 3]), (3, vec![2]), (4, vec![1])]);
        let part = |(shard, at): (&u32, &Vec<usize>)| {
            // The first shard answers only once the last one was asked.
            let waits = if *shard == 2 { take.take() } else { None };
            let told = if *shard == 4 { give.take() } else { None };
            let part: Vec<String> = at.iter().map(|at| format!("{at} of {shard}")).collect();
            async move {
                if let Some(told) = told {
                    let _ = told.send(());
                }
                match waits {
                    Some(waits) => waits.await.map_err(|_| moved()).map(|()| part),
                    None => Ok(part),
                }
            }
        };
        let parts = beside(places.iter().map(part)).await;
        let all = in_order(4, places.values(), parts);
        assert_eq!(all.unwrap(), ["0 of 2", "1 of 4", "2 of 3", "3 of 2"]);
        let failed = vec![Ok(vec!["a", "b"]), Err(moved()), Ok(vec!["c"])];
        assert_eq!(in_order(4, places.values(), failed), Err(moved()));
        let short = vec![Ok(vec!["a"]), Ok(vec!["b"]), Ok(vec!["c"])];
        assert_eq!(in_order(4, places.values(), short), Err(unexpected()));
    }
}
