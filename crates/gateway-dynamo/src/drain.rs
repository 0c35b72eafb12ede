//! Tables that are being deleted, to their end: it waits for the transactions that are under way in them (`state::table`, `closing`).
//! The door that was asked sees to it, and should that be gone, the one at the leader of shard 1.

use crate::failure::{Answered, Kind, Retry};
use crate::route::{META_PLACE, Place, beside, in_block};
use crate::{Gateway, now_ms, tables, unexpected};
use quorate_base::ShardId;
use quorate_node::api::tables::Block;
use quorate_wire::table::{Command, Reply, What};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So long whoever deletes a table waits for its end, ...
const PATIENCE: Duration = Duration::from_secs(2);
/// ... and looks so often.
const PAUSE: Duration = Duration::from_millis(20);
/// So many shards are asked at once.
const AT_ONCE: usize = 16;

/// Waits for a while until a table is gone that is being deleted.
pub(crate) async fn wait(gateway: &Gateway, table: &str) {
    let end = Instant::now() + PATIENCE;
    // What fails here is tried again, and at last by the leader's door.
    while !finish(gateway, table).await.unwrap_or(false) && Instant::now() < end {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Deletes a table that is being deleted, if nothing is under way in it any more; whether it is gone.
pub(crate) async fn finish(gateway: &Gateway, table: &str) -> Answered<bool> {
    if !is_closing(gateway, table).await? {
        return Ok(true);
    }
    let mut drained = 0;
    // The read went through shard 1's log, so this node's map is as new as the mark.
    if let Some(block) = gateway.door.placement().table(table).cloned() {
        if !is_drained(gateway, table, &block).await? {
            return Ok(false);
        }
        drained = block.count;
    }
    let what = What::Drop { table: table.into(), drained };
    let dropped =
        gateway.write(Command { epoch: META_PLACE.epoch, now: now_ms(), what }, Retry::Harmful).await;
    match dropped {
        Ok(_) => Ok(true),
        Err(error) if error.kind == Kind::NotFound => Ok(true),
        Err(error) if error.kind == Kind::InUse => Ok(false),
        Err(error) => Err(error),
    }
}

async fn is_closing(gateway: &Gateway, table: &str) -> Answered<bool> {
    match tables::definition(gateway, table).await {
        Ok((definition, _)) => Ok(definition.closing),
        Err(error) if error.kind == Kind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

async fn is_drained(gateway: &Gateway, table: &str, block: &Arc<Block>) -> Answered<bool> {
    let inside: Vec<Place> = block.shards().map(|shard| in_block(block, shard)).collect();
    let Some(remembered) = ask(gateway, block, &inside, true).await? else { return Ok(false) };
    if remembered == 0 {
        return Ok(true);
    }
    // Shards that were made before now may take part in what is committed in those: the map must know all of them.
    if !is_closing(gateway, table).await? {
        return Ok(false);
    }
    let placement = gateway.door.placement();
    let placed = placement.blocks().filter(|other| other.first != block.first);
    let placed = placed.flat_map(|other| other.shards().map(|shard| in_block(other, shard)));
    let others: Vec<Place> = [META_PLACE].into_iter().chain(placed).collect();
    Ok(ask(gateway, block, &others, false).await?.is_some())
}

/// Whether these shards are out of all transactions of those of the table, and how many they remember; `None` if one is not.
async fn ask(gateway: &Gateway, block: &Block, places: &[Place], inside: bool) -> Answered<Option<u64>> {
    let mut remembered = 0;
    for places in places.chunks(AT_ONCE) {
        let asked = beside(places.iter().map(|place| {
            let what = What::Drained { first: ShardId(block.first), count: block.count, inside };
            let command = Command { epoch: place.epoch, now: now_ms(), what };
            gateway.write_to(*place, command, Retry::Harmless)
        }));
        for answer in asked.await {
            match answer {
                Ok(Reply::Expired(here)) => remembered += here,
                Ok(_) => return Err(unexpected()),
                Err(error) if error.kind == Kind::InUse => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(Some(remembered))
}
