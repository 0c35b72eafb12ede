//! Clients of tables in a run, and what must be true of tables at its end. What they do stands in `tables.rs`.

use super::{Run, answered};
use crate::tables::{ENDERS, TABLE, Tables, check_ends, check_feed, check_index};
use crate::trace::What;
use crate::world::Script;
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId, ShardId};
use quorate_node::api::{Answer, Failure, Request};

/// Clients of tables are numbered from here.
pub(super) const FIRST: usize = 1_000;
/// So many there are.
pub(super) const CLIENTS: usize = 3;
/// Who does nothing but plain reads at one node is numbered from here: so many of each table.
const LOOKERS: usize = 1 << 16;
const LOOKERS_OF_TABLE: usize = 1 << 12;
/// Whose items end, and who takes them away, are numbered from here.
const ENDS: usize = 1 << 17;

/// At which table a client sits, and where there.
fn seat(client: usize) -> (usize, usize) {
    ((client - FIRST) / CLIENTS, (client - FIRST) % CLIENTS)
}

/// At which table somebody looks, and at which node.
fn watched(looker: usize) -> (usize, NodeId) {
    let number = looker - LOOKERS;
    (number / LOOKERS_OF_TABLE, NodeId((number % LOOKERS_OF_TABLE) as u64))
}

impl Run {
    /// The clients of tables begin.
    pub(super) fn begin_tables(&mut self) {
        let clients: usize = self.tables.iter().map(Tables::clients).sum();
        for client in 0..clients {
            let after = Duration::from_millis(client as u64 + 2);
            self.world.schedule(after, Script::Client(FIRST + client));
        }
        for at in (0..self.tables.len()).filter(|&at| self.tables[at].is_bounded()) {
            for node in self.world.ids() {
                let looker = LOOKERS + at * LOOKERS_OF_TABLE + node.get() as usize % LOOKERS_OF_TABLE;
                self.world.schedule(Duration::from_millis(9), Script::Client(looker));
            }
        }
        for at in (0..self.tables.len()).filter(|&at| self.tables[at].has_ends()) {
            for ender in 0..ENDERS {
                let client = ENDS + at * ENDERS + ender;
                self.world.schedule(Duration::from_millis(ender as u64 + 5), Script::Client(client));
            }
        }
    }

    /// Whose items end, or who takes them away, takes the next step.
    fn ends(&mut self, client: usize) {
        let (at, ender) = ((client - ENDS) / ENDERS, (client - ENDS) % ENDERS);
        let ms = self.ms();
        let Some(tables) = self.tables.get_mut(at).filter(|_| self.clients > 0) else { return };
        let node = tables.node_of_ends(&self.world);
        let placement = self.world.placement_at(node);
        if let Some((shard, request, words)) = tables.end_next(ender, placement.as_deref(), ms) {
            return self.send_of_table(client, at, node, Some((shard, request)), words);
        }
        let again = Duration::from_millis(tables.pause_of_ends());
        self.world.schedule(again, Script::Client(client));
    }

    fn ended(&mut self, client: usize, result: Result<Answer, Failure>) -> Result<(), String> {
        let (at, ender) = ((client - ENDS) / ENDERS, (client - ENDS) % ENDERS);
        let ms = self.ms();
        let Some(tables) = self.tables.get_mut(at) else { return Ok(()) };
        let again = Duration::from_millis(tables.pause_of_ends());
        if let Some((counted, times)) = tables.end_answered(ender, ms, result)? {
            self.world.counts.times(counted, times);
        }
        self.world.schedule(again, Script::Client(client));
        Ok(())
    }

    /// Milliseconds since the beginning.
    fn ms(&self) -> u64 {
        self.world.now.since(Instant::ZERO).as_nanos() as u64 / 1_000_000
    }

    /// Who reads at one node takes the next step.
    fn looks(&mut self, looker: usize) {
        let (at, node) = watched(looker);
        let Some(tables) = self.tables.get_mut(at).filter(|_| self.clients > 0) else { return };
        if !self.world.ids().any(|id| id == node) {
            return;
        }
        let again = Duration::from_millis(tables.looks_again());
        let Some((shard, request, words)) = tables.look_at(node, self.world.now) else {
            return self.world.schedule(again, Script::Client(looker));
        };
        self.ask_of_table(looker, at, node, (shard, request, words));
    }

    fn looked(&mut self, looker: usize, result: Result<Answer, Failure>) -> Result<(), String> {
        let (at, node) = watched(looker);
        let Some(tables) = self.tables.get_mut(at) else { return Ok(()) };
        let again = Duration::from_millis(tables.looks_again());
        if let Some(counted) = tables.looked(node, result, &|wall| self.world.shown_first(wall))? {
            self.world.counts.add(counted);
        }
        self.world.schedule(again, Script::Client(looker));
        Ok(())
    }

    /// A client of tables takes its next step.
    pub(super) fn table_client(&mut self, client: usize) {
        if client >= ENDS {
            return self.ends(client);
        }
        if client >= LOOKERS {
            return self.looks(client);
        }
        let (at, seat) = seat(client);
        let Some(tables) = self.tables.get_mut(at).filter(|_| self.clients > 0) else { return };
        let (shard, request, words) = tables.next(seat, self.world.now);
        let node = tables.node(&self.world);
        self.ask_of_table(client, at, node, (shard, request, words));
    }

    /// Sends a request of a client of a table to a node, as a door would.
    fn ask_of_table(
        &mut self,
        client: usize,
        at: usize,
        node: NodeId,
        (shard, request, words): (ShardId, Request, String),
    ) {
        let ms = self.ms();
        let mut routed = Some((shard, request));
        if let (Some(tables), Some(placement)) = (self.tables.get(at), self.world.placement_at(node))
            && tables.is_across()
        {
            routed = routed.and_then(|(_, request)| tables.route(&placement, request, ms));
        }
        self.send_of_table(client, at, node, routed, words);
    }

    fn send_of_table(
        &mut self,
        client: usize,
        at: usize,
        node: NodeId,
        routed: Option<(ShardId, Request)>,
        words: String,
    ) {
        self.world.note(|| What::Asked { client: Some(client), node, op: words.clone() });
        self.asked_tables.insert(client, (node, self.world.now, words));
        let mut reply = self.reply_to(client);
        let Some((shard, mut request)) = routed.filter(|(shard, _)| self.world.has(node, *shard)) else {
            // A closed door: nothing was sent, as where nobody leads.
            return reply.give(Err(Failure::NoLeader));
        };
        if let Some(tables) = self.tables.get_mut(at) {
            self.world.counts.times("items read as pages", u64::from(tables.paged(&mut request)));
        }
        self.world.call_of(shard, node, request, Box::new(move |result| reply.give(result)));
    }

    /// A client of tables is answered.
    pub(super) fn table_answered(
        &mut self,
        client: usize,
        result: Result<Answer, Failure>,
    ) -> Result<(), String> {
        if let Some((node, at, words)) = self.asked_tables.remove(&client) {
            self.world.note(|| answered(Some(client), node, at, words, &result));
        }
        if client >= ENDS {
            return self.ended(client, result);
        }
        if client >= LOOKERS {
            return self.looked(client, result);
        }
        self.world.counts.add(if result.is_ok() {
            "steps with tables"
        } else {
            "steps with tables in doubt or refused"
        });
        self.answered += u64::from(result.is_ok());
        let now = self.world.now;
        let (at, seat) = seat(client);
        let Some(tables) = self.tables.get_mut(at) else { return Ok(()) };
        let pause = Duration::from_micros(tables.pause());
        let shown = |wall| self.world.shown_first(wall);
        if let Some(counted) = tables.answered(seat, now, result, &shown)? {
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
        let lost = |shard| self.world.beyond_help(shard);
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
                check_ends(view, tables.name())?;
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
