//! The clients of a table that is deleted and made again, in a run. What they do stands in `drops.rs`.

use super::{Run, answered};
use crate::drops::WRITERS;
use crate::tables::SHARDED;
use crate::trace::What;
use quorate_base::NodeId;
use quorate_base::time::Duration;
use quorate_node::api::{Answer, Failure};

use crate::world::Script;

/// They are numbered from here; the last is who makes and deletes the table.
pub(super) const FIRST: usize = 1 << 20;
pub(super) const DELETES: usize = FIRST + WRITERS;

impl Run {
    /// They begin.
    pub(super) fn begin_drops(&mut self) {
        let Some(drops) = &mut self.drops else { return };
        drops.begin_round();
        // What is being deleted goes on as it is.
        let last = if drops.is_closing() { DELETES } else { DELETES + 1 };
        for client in FIRST..last {
            self.world.schedule(Duration::from_millis(3 + client as u64 % 64), Script::Client(client));
        }
    }

    /// One of them takes its next step. While nobody does anything any more, what is being deleted is deleted all the same.
    pub(super) fn drop_client(&mut self, client: usize) {
        let deletes = client == DELETES;
        let Some(drops) = &mut self.drops else { return };
        if self.clients == 0 && !(deletes && drops.is_closing()) {
            return;
        }
        let nodes: Vec<NodeId> = self.world.ids().collect();
        let node = drops.node(&nodes, deletes);
        let sent = match self.world.placement_at(node) {
            // Clients of the other table know its shards by their numbers: the first ones are its own.
            Some(placement) if deletes && placement.table(SHARDED).is_some() => Some(drops.go_on(node)),
            _ if deletes && drops.is_closing() => Some(drops.go_on(node)),
            _ if deletes => None,
            Some(placement) => drops.next(client - FIRST, &placement),
            None => None,
        };
        let mut reply = self.reply_to(client);
        let words = sent.as_ref().map(|(_, words)| words.clone()).unwrap_or_default();
        self.world.note(|| What::Asked { client: Some(client), node, op: words.clone() });
        self.asked_tables.insert(client, (node, self.world.now, words));
        match sent {
            Some(((shard, request), _)) if self.world.has(node, shard) => {
                self.world.call_of(shard, node, request, Box::new(move |result| reply.give(result)));
            }
            _ => reply.give(Err(Failure::NoLeader)),
        }
    }

    /// One of them is answered.
    pub(super) fn drop_answered(
        &mut self,
        client: usize,
        result: Result<Answer, Failure>,
    ) -> Result<(), String> {
        self.answered += u64::from(result.is_ok());
        let mut node = NodeId(1);
        if let Some((asked, at, words)) = self.asked_tables.remove(&client) {
            node = asked;
            self.world.note(|| answered(Some(client), node, at, words, &result));
        }
        let placement = self.world.placement_at(node);
        let Some(drops) = &mut self.drops else { return Ok(()) };
        let (counted, pause) = if client == DELETES {
            let counted = drops.went_on(placement.as_deref(), result)?;
            (counted, if drops.is_live() { drops.pause(200, 5_000) } else { drops.pause(1, 80) })
        } else {
            let done = drops.answered(client - FIRST, result)?;
            (done.then_some("steps with a table that is deleted"), drops.pause(1, 60))
        };
        if let Some(counted) = counted {
            self.world.counts.add(counted);
        }
        self.world.schedule(Duration::from_millis(pause), Script::Client(client));
        Ok(())
    }

    /// No table is being deleted any more. Shards beyond help may keep one.
    pub(super) fn final_drops(&self) -> Result<(), String> {
        let helpless = || self.world.other_shards().any(|shard| self.world.beyond_help(shard));
        match &self.drops {
            Some(drops) if drops.is_closing() && !helpless() => {
                Err(format!("Liveness: a table is being deleted still: {}", drops.words()))
            }
            _ => Ok(()),
        }
    }
}
