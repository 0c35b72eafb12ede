//! Clients of tables in a run, and what must be true of tables at its end. What they do stands in `tables.rs`.

use super::{ReplyTo, Run, answered};
use crate::tables::{TABLE, Tables, check_feed, check_index};
use crate::trace::What;
use crate::world::{KV, Script};
use quorate_base::Instant;
use quorate_base::time::Duration;
use quorate_node::api::{Answer, Failure};

/// Clients of tables are numbered from here.
pub(super) const FIRST: usize = 1_000;
/// So many there are.
pub(super) const CLIENTS: usize = 3;

/// At which table a client sits, and where there.
fn seat(client: usize) -> (usize, usize) {
    ((client - FIRST) / CLIENTS, (client - FIRST) % CLIENTS)
}

impl Run {
    /// The clients of tables begin.
    pub(super) fn begin_tables(&mut self) {
        let clients: usize = self.tables.iter().map(Tables::clients).sum();
        for client in 0..clients {
            let after = Duration::from_millis(client as u64 + 2);
            self.world.schedule(after, Script::Client(FIRST + client));
        }
    }

    /// A client of tables takes its next step.
    pub(super) fn table_client(&mut self, client: usize) {
        let (at, seat) = seat(client);
        let Some(tables) = self.tables.get_mut(at).filter(|_| self.clients > 0) else { return };
        let (shard, request, words) = tables.next(seat, self.world.now);
        let node = tables.node(&self.world);
        self.world.note(|| What::Asked { client: Some(client), node, op: words.clone() });
        self.asked_tables.insert(client, (node, self.world.now, words));
        let ms = self.world.now.since(Instant::ZERO).as_nanos() as u64 / 1_000_000;
        let mut routed = Some((shard, request));
        if let (Some(tables), Some(placement)) = (self.tables.get(at), self.world.placement_at(node))
            && tables.is_across()
        {
            routed = routed.and_then(|(_, request)| tables.route(&placement, request, ms));
        }
        let mut reply = ReplyTo { client, mail: Some(self.mail.clone()) };
        let Some((shard, request)) = routed.filter(|(shard, _)| self.world.has(node, *shard)) else {
            // A closed door: nothing was sent, as where nobody leads.
            return reply.give(Err(Failure::NoLeader));
        };
        self.world.call_of(shard, node, request, Box::new(move |result| reply.give(result)));
    }

    /// A client of tables is answered.
    pub(super) fn table_answered(
        &mut self,
        client: usize,
        result: Result<Answer, Failure>,
    ) -> Result<(), String> {
        let (now, counts) = (self.world.now, &mut self.world.counts);
        counts.add(if result.is_ok() {
            "steps with tables"
        } else {
            "steps with tables in doubt or refused"
        });
        self.answered += u64::from(result.is_ok());
        if let Some((node, at, words)) = self.asked_tables.remove(&client) {
            self.world.note(|| answered(Some(client), node, at, words, &result));
        }
        let (at, seat) = seat(client);
        let Some(tables) = self.tables.get_mut(at) else { return Ok(()) };
        let pause = Duration::from_micros(tables.pause());
        if let Some(counted) = tables.answered(seat, now, result)? {
            self.world.counts.add(counted);
        }
        self.world.schedule(pause, Script::Client(client));
        Ok(())
    }

    /// All nodes hold the same items and the right index, and what clients saw in this round is what is promised.
    pub(super) fn final_tables(&mut self) -> Result<(), String> {
        let mut all = std::mem::take(&mut self.tables);
        let found = all.iter_mut().try_for_each(|tables| self.final_table(tables));
        self.tables = all;
        found
    }

    fn final_table(&mut self, tables: &mut Tables) -> Result<(), String> {
        if !tables.is_made() {
            return Ok(());
        }
        let lost = |shard| shard != KV && self.world.beyond_help(shard);
        let others = crate::world::others(self.world.knobs.groups);
        if lost(tables.shard()) || tables.is_across() && others.into_iter().any(lost) {
            self.world.counts.add("groups left without a leader, beyond what is promised");
            tables.begin_round();
            return Ok(());
        }
        let mut first = None;
        let members = || self.world.places.iter().filter(|place| self.world.members().contains(place.id));
        for place in members() {
            let Some(running) = place.running.as_ref() else { continue };
            let held = if tables.is_across() {
                // Each shard at the first node behind this one that has it.
                let behind = members().skip_while(|other| other.id != place.id).chain(members());
                let view_of = |shard| {
                    let mut with = behind.clone().filter(|other| self.world.hosts(other.id, shard));
                    with.find_map(|other| other.running.as_ref()?.lane.view_of(shard).map(|view| &**view))
                };
                tables.held_across(running.lane.placement(), view_of)?
            } else {
                let Some(view) = running.lane.view_of(tables.shard()) else { continue };
                check_index(view, tables.name())?;
                if tables.name() != TABLE {
                    check_feed(view, tables.name())?;
                }
                tables.held(view)?
            };
            if first.get_or_insert_with(|| held.clone()) != &held {
                return Err(format!("Tables: node {} holds other items than another", place.id));
            }
        }
        let decided = tables.judge(&first.unwrap_or_default())?;
        self.world.counts.times("histories of items that hold", decided.holds);
        self.world.counts.times("histories of items not decided", decided.open);
        tables.begin_round();
        Ok(())
    }
}
