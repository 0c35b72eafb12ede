//! The shards of a table that has any of its own: how they are, as this node sees them.

mod hot;

use crate::body::Params;
use crate::failure::{Answered, ApiError, Kind};
use crate::limits::Constraints;
use crate::route::Place;
use crate::{Gateway, now_ms, tables, unexpected};
use bytes::Bytes;
use quorate_base::{NodeId, ShardId};
use quorate_node::api::tables::{Division, Home, Read, ReadReply, Zones};
use quorate_node::api::{Body, Request};
use quorate_wire::table::{Definition, Figures, IndexState};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// So long a table may be in the making, in milliseconds.
const MAKING: u64 = 120_000;

/// One of them.
struct Shard {
    number: u32,
    /// Who leads it, 0 for nobody.
    leader: u64,
    /// How many entries its log has had.
    entries: u64,
    /// Its table, as it knows it, and how much is in it; nothing is known before it has it.
    figures: Option<Figures>,
    definition: Option<Definition>,
    /// Where its replicas are; not known of shard 1, which is on all members.
    home: Option<Home>,
}

/// The shards of a table, in the order of their slots; `None` if it has none of its own.
async fn all(gateway: &Gateway, table: &str) -> Option<Vec<Shard>> {
    let placement = gateway.door.placement();
    let block = placement.table(table)?;
    let mut all = Vec::new();
    for shard in block.shards() {
        let status = gateway.ask(shard, Request::Status).await.map(|answer| answer.body);
        let (leader, entries) = match status {
            Ok(Body::Status(status)) => (status.leader, status.applied.get()),
            _ => (0, 0),
        };
        let place = Place { shard, epoch: block.epoch };
        let described = gateway.read_from(place, Read::Describe(table.into()), false).await;
        let (figures, definition) = match described {
            Ok(ReadReply::Table(described)) => (Some(described.figures), Some(described.definition)),
            _ => (None, None),
        };
        let home = placement.home(shard);
        all.push(Shard { number: shard.get(), leader, entries, figures, definition, home });
    }
    Some(all)
}

/// How much a table with shards of its own holds, and the state in which it is: whether all of them know of it, and know it as it is
/// defined. An index is being filled as long as one of them fills it. `None` if it has none.
pub(crate) async fn figures(gateway: &Gateway, table: &mut Definition) -> Option<(Figures, &'static str)> {
    let (mut sum, mut status) = (Figures::default(), "ACTIVE");
    let mut filling = BTreeSet::new();
    for shard in all(gateway, &table.name).await? {
        let (Some(figures), Some(known)) = (shard.figures, shard.definition) else {
            status = "CREATING";
            continue;
        };
        for index in &table.globals {
            let here = known.globals.iter().find(|here| here.id == index.id);
            if here.is_none_or(|here| here.state != IndexState::Active) {
                filling.insert(index.id);
            }
        }
        if status == "ACTIVE" && settled(known) != settled(table.clone()) {
            status = "UPDATING";
        }
        sum.items += figures.items;
        sum.bytes += figures.bytes;
        for (id, items, bytes) in figures.indexes {
            match sum.indexes.iter_mut().find(|(known, ..)| *known == id) {
                Some(known) => (known.1, known.2) = (known.1 + items, known.2 + bytes),
                None => sum.indexes.push((id, items, bytes)),
            }
        }
    }
    for index in &mut table.globals {
        let fills = filling.contains(&index.id);
        index.state = if fills { IndexState::Filling(Bytes::new()) } else { IndexState::Active };
    }
    Some((sum, status))
}

/// Refuses to change a table that is still being made or changed: some of its shards have not heard of it yet.
///
/// Nobody is locked out by what takes for ever: a shard that nobody leads is not waited for, nor a table that is not made after a while.
pub(crate) async fn check_settled(gateway: &Gateway, table: &str) -> Answered<()> {
    // Through shard 1's log, so that this node's map is as new. Whether there is such a table is told where it is changed.
    let Ok((definition, _)) = tables::definition(gateway, table).await else { return Ok(()) };
    if definition.closing {
        return Ok(());
    }
    let in_use = |what: &str| {
        let text = "Attempt to change a resource which is still in use: Table is being";
        Err(ApiError::new(Kind::InUse, format!("{text} {what}: {table}")))
    };
    let made = now_ms().saturating_sub(definition.created) > MAKING;
    let mut changes = false;
    for shard in all(gateway, table).await.unwrap_or_default() {
        match shard.definition {
            None if !made => return in_use("created"),
            Some(known) if shard.leader != 0 => changes |= settled(known) != settled(definition.clone()),
            _ => {}
        }
    }
    if changes { in_use("updated") } else { Ok(()) }
}

/// A definition without how far its indexes are, which is each shard's own, and without what is changed beside its state.
fn settled(mut definition: Definition) -> Definition {
    (definition.expires, definition.tags) = (None, Vec::new());
    definition.globals.iter_mut().for_each(|index| index.state = IndexState::Active);
    definition
}

/// `Quorate.DescribeShards`, which DynamoDB does not have.
pub(crate) async fn describe(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let mut constraints = Constraints::default();
    let table = constraints.table(params)?;
    constraints.check()?;
    let (_, figures) = tables::definition(gateway, &table).await?;
    let meta = Shard {
        number: ShardId(1).get(),
        leader: 0,
        entries: 0,
        figures: Some(figures),
        definition: None,
        home: None,
    };
    let shards = match all(gateway, &table).await {
        Some(shards) => shards,
        None => vec![with_status(gateway, meta).await?],
    };
    let members = gateway.ask(ShardId(1), Request::Members { linearizable: false }).await;
    let Ok(Body::Members(members)) = members.map(|answer| answer.body) else { return Err(unexpected()) };
    let everywhere: Vec<u64> = members.iter().map(|member| member.id).collect();
    let mut hot = match params.flag("HotKeys")? {
        Some(true) => hot::of(gateway, &table, &shards, &everywhere).await,
        _ => BTreeMap::new(),
    };
    let voters = members.iter().filter(|member| !member.learner).count();
    // One without shards of its own is on all members.
    let asked = gateway.door.placement().table(&table).map(|block| block.copies as usize);
    let copies = asked.map_or(voters, |copies| copies.min(voters));
    let moving = shards.iter().filter(|shard| shard.home.as_ref().is_some_and(|home| home.moving)).count();
    let placement = gateway.door.placement();
    let zones = placement.zones();
    let shown = shards.into_iter().map(|shard| {
        let nodes = |nodes: BTreeSet<NodeId>| nodes.into_iter().map(NodeId::get).collect::<Vec<_>>();
        let (replicas, comes, goes) = match &shard.home {
            Some(home) => {
                let (before, wanted) = (home.before(), home.wanted());
                let comes = nodes(wanted.difference(&before).copied().collect());
                (nodes(before.clone()), comes, nodes(before.difference(&wanted).copied().collect()))
            }
            None => (everywhere.clone(), Vec::new(), Vec::new()),
        };
        let shared = shared_zones(zones, &shard.home.as_ref().map(Home::wanted).unwrap_or_default());
        let ready = shard.figures.is_some();
        let figures = shard.figures.unwrap_or_default();
        let mut told = json!({
            "Shard": shard.number,
            "Leader": shard.leader,
            "Replicas": replicas,
            "MovesTo": comes,
            "MovesFrom": goes,
            "SharedZones": shared,
            "ItemCount": figures.items,
            "SizeBytes": figures.bytes,
            "Entries": shard.entries,
            "Ready": ready,
        });
        let block = placement.table(&table);
        if let Some(begin) = block.and_then(|block| block.begin(ShardId(shard.number))) {
            let mut text = Vec::new();
            begin.write_json(&mut text);
            told["Begin"] = serde_json::from_slice(&text).unwrap_or_default();
        }
        if let Some(block) = block.filter(|block| block.division == Division::Directory) {
            let at = block.place_of(ShardId(shard.number));
            let lies = |lies: &&u32| Some(**lies) == at;
            told["Tenants"] = json!(block.directory.tenants().values().filter(lies).count());
        }
        if let Some(keys) = hot.remove(&shard.number) {
            told["HotKeys"] = keys;
        }
        told
    });
    let shown: Vec<Value> = shown.collect();
    let zones = members.iter().filter_map(|member| {
        let zone = zones.name(NodeId(member.id))?;
        Some(json!({ "Node": member.id, "Zone": zone }))
    });
    let zones: Vec<Value> = zones.collect();
    Ok(json!({ "TableName": table, "Copies": copies, "Moving": moving, "Zones": zones, "Shards": shown }))
}

/// The zones in which more than one of these nodes is.
fn shared_zones(zones: &Zones, nodes: &BTreeSet<NodeId>) -> BTreeSet<String> {
    let shared = nodes.iter().filter(|node| zones.beside(**node, nodes.iter().copied()) > 1);
    shared.filter_map(|node| zones.name(*node)).map(String::from).collect()
}

async fn with_status(gateway: &Gateway, shard: Shard) -> Answered<Shard> {
    match gateway.ask(ShardId(shard.number), Request::Status).await.map(|answer| answer.body) {
        Ok(Body::Status(status)) => {
            Ok(Shard { leader: status.leader, entries: status.applied.get(), ..shard })
        }
        _ => Err(unexpected()),
    }
}
