//! The shards of a table that has any of its own: how they are, as this node sees them.

use crate::body::Params;
use crate::failure::Answered;
use crate::limits::Constraints;
use crate::route::Place;
use crate::{Gateway, tables, unexpected};
use quorate_base::ShardId;
use quorate_node::api::tables::{Read, ReadReply};
use quorate_node::api::{Body, Request};
use quorate_wire::table::Figures;
use serde_json::{Value, json};

/// One of them.
struct Shard {
    number: u32,
    /// Who leads it, 0 for nobody.
    leader: u64,
    /// How many entries its log has had.
    entries: u64,
    /// How much is in it; nothing is known before it has its table.
    figures: Option<Figures>,
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
        let figures = match described {
            Ok(ReadReply::Table(described)) => Some(described.figures),
            _ => None,
        };
        all.push(Shard { number: shard.get(), leader, entries, figures });
    }
    Some(all)
}

/// How much a table with shards of its own holds, and whether all of them know of it. `None` if it has none.
pub(crate) async fn figures(gateway: &Gateway, table: &str) -> Option<(Figures, bool)> {
    let (mut sum, mut ready) = (Figures::default(), true);
    for shard in all(gateway, table).await? {
        let Some(figures) = shard.figures else {
            ready = false;
            continue;
        };
        sum.items += figures.items;
        sum.bytes += figures.bytes;
        for (id, items, bytes) in figures.indexes {
            match sum.indexes.iter_mut().find(|(known, ..)| *known == id) {
                Some(known) => (known.1, known.2) = (known.1 + items, known.2 + bytes),
                None => sum.indexes.push((id, items, bytes)),
            }
        }
    }
    Some((sum, ready))
}

/// `Quorate.DescribeShards`, which DynamoDB does not have.
pub(crate) async fn describe(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let mut constraints = Constraints::default();
    let table = constraints.table(params)?;
    constraints.check()?;
    let (_, figures) = tables::definition(gateway, &table).await?;
    let meta = Shard { number: ShardId(1).get(), leader: 0, entries: 0, figures: Some(figures) };
    let shards = match all(gateway, &table).await {
        Some(shards) => shards,
        None => vec![with_status(gateway, meta).await?],
    };
    let members = gateway.ask(ShardId(1), Request::Members { linearizable: false }).await;
    let Ok(Body::Members(members)) = members.map(|answer| answer.body) else { return Err(unexpected()) };
    let replicas: Vec<u64> = members.iter().map(|member| member.id).collect();
    let voters = members.iter().filter(|member| !member.learner).count();
    let shown = shards.into_iter().map(|shard| {
        let ready = shard.figures.is_some();
        let figures = shard.figures.unwrap_or_default();
        json!({
            "Shard": shard.number,
            "Leader": shard.leader,
            "Replicas": replicas,
            "ItemCount": figures.items,
            "SizeBytes": figures.bytes,
            "Entries": shard.entries,
            "Ready": ready,
        })
    });
    Ok(json!({ "TableName": table, "VotingMembers": voters, "Shards": shown.collect::<Vec<_>>() }))
}

async fn with_status(gateway: &Gateway, shard: Shard) -> Answered<Shard> {
    match gateway.ask(ShardId(shard.number), Request::Status).await.map(|answer| answer.body) {
        Ok(Body::Status(status)) => {
            Ok(Shard { leader: status.leader, entries: status.applied.get(), ..shard })
        }
        _ => Err(unexpected()),
    }
}
