//! Those who move tenants of a table, in a run. What they do stands in `tenants.rs`.

use super::{Run, answered};
use crate::tenants::{MOVERS, Tenants, any_moves};
use crate::trace::What;
use crate::world::Script;
use quorate_base::NodeId;
use quorate_base::time::Duration;
use quorate_node::api::{Answer, Failure};
use std::ops::Range;

/// They are numbered from here.
const FIRST: usize = 1 << 21;

pub(super) fn all() -> Range<usize> {
    FIRST..FIRST + MOVERS
}

impl Run {
    /// They begin.
    pub(super) fn begin_movers(&mut self) {
        if !self.tenants.as_mut().is_some_and(Tenants::begin) {
            return;
        }
        for client in all() {
            self.world.schedule(Duration::from_millis(7 + client as u64 % 64), Script::Client(client));
        }
    }

    /// One of them takes its next step. While nobody does anything any more, a move goes on all the same.
    pub(super) fn mover(&mut self, client: usize) {
        let begins = self.clients > 0;
        let Some(tenants) = &mut self.tenants else { return };
        let nodes: Vec<NodeId> = self.world.ids().collect();
        let node = tenants.node(client - FIRST, &nodes);
        let placement = self.world.placement_at(node);
        let sent = placement.and_then(|placement| tenants.next(client - FIRST, &placement, begins));
        let words = sent.as_ref().map(|(_, words)| words.clone()).unwrap_or_default();
        let mut reply = self.reply_to(client);
        if sent.is_some() {
            self.world.note(|| What::Asked { client: Some(client), node, op: words.clone() });
        }
        self.asked_tables.insert(client, (node, self.world.now, words));
        match sent {
            Some(((shard, request), _)) if self.world.has(node, shard) => {
                self.world.call_of(shard, node, request, Box::new(move |result| reply.give(result)));
            }
            _ => reply.give(Err(Failure::NoLeader)),
        }
    }

    /// One of them is answered.
    pub(super) fn mover_answered(
        &mut self,
        client: usize,
        result: Result<Answer, Failure>,
    ) -> Result<(), String> {
        let mut node = NodeId(1);
        if let Some((asked, at, words)) = self.asked_tables.remove(&client) {
            node = asked;
            if !words.is_empty() {
                self.world.note(|| answered(Some(client), node, at, words, &result));
            }
        }
        let placement = self.world.placement_at(node);
        let Some(tenants) = &mut self.tenants else { return Ok(()) };
        if let Some(counted) = tenants.answered(client - FIRST, placement.as_deref(), result)? {
            self.world.counts.add(counted);
        }
        let pause = tenants.pause();
        self.world.schedule(Duration::from_millis(pause), Script::Client(client));
        Ok(())
    }

    /// No tenant moves any more. Shards beyond help may keep one.
    pub(super) fn final_tenants(&self) -> Result<(), String> {
        let helpless = || self.world.other_shards().any(|shard| self.world.beyond_help(shard));
        let placement = self.world.leader().and_then(|leader| self.world.placement_at(leader));
        match placement.as_deref().and_then(any_moves) {
            Some(moves) if !helpless() => Err(format!("Liveness: a tenant moves still: {moves:?}")),
            _ => Ok(()),
        }
    }
}
