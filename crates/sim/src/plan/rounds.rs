//! Rounds: faults for a while, then all is mended and judged, then other faults, over the same cluster.
//!
//! What a round shows it shows within some seconds or never, and what two kinds of faults hide from each other another round may show:
//! so each draws its own faults, network and disks, and what nodes may differ in they differ in, since they start at different times.
//! A round begins with all that there is known: what became of the operations in doubt is read, the history that all have seen is
//! compacted, so that a long run costs no more a second than a short one.

use super::{KEYS, Plan, Run, key_bytes, number, point};
use crate::knobs::Knobs;
use crate::trace::What;
use crate::world::Script;
use quorate_base::Rng;
use quorate_base::time::Duration;
use quorate_state::kv::KvView;
use quorate_wire::kv::{Range, Revision};

/// So long faults go on.
const ROUND: Duration = Duration::from_secs(20);
/// A run that is asked to be this long goes on, for twice as long at most, until so many operations were answered.
const LONG: Duration = Duration::from_secs(300);
/// See there.
const LEAST: u64 = 5_000;
/// So many revisions of what was before are left to a round.
const LEFT: Revision = 20;

impl Run {
    pub(super) fn go(&mut self, plan: &Plan) -> Result<(), String> {
        self.world.ids().for_each(|id| self.world.start(id));
        for watcher in 0..self.watchers.count() {
            self.world.schedule(Duration::from_millis(50), Script::Watcher(watcher));
        }
        if self.churn.is_some() {
            self.world.schedule(Duration::from_secs(1), Script::Members);
        }
        let mut seeds = Rng::stream(plan.seed, "rounds");
        let end = self.world.now + plan.span;
        let least = if plan.span < LONG { 0 } else { LEAST };
        loop {
            self.begin_faults(plan);
            // It takes its time until somebody is given up.
            let long = if self.swarm.stranded && self.world.knobs.groups > 0 { 2 * ROUND } else { ROUND };
            let round =
                if self.world.now < end { end.min(self.world.now + long) } else { self.world.now + long };
            self.until(round, |_| false)?;
            let over = self.world.now >= end && (self.answered >= least || self.world.now >= end + plan.span);
            if !self.liveness()? || over {
                return Ok(());
            }
            self.settle()?;
            self.round += 1;
            self.draw(plan, seeds.next_u64());
        }
    }

    fn begin_faults(&mut self, plan: &Plan) {
        (self.calm, self.world.faults_on, self.clients) = (false, true, plan.clients);
        (self.events, self.progress) = (self.world.events, (self.answered, self.world.now));
        for client in 0..self.clients {
            self.world.schedule(Duration::from_millis(client as u64 + 1), Script::Client(client));
        }
        self.begin_tables();
        self.begin_drops();
        self.begin_movers();
        let round = self.round;
        // Where nobody can be stranded nothing is to be kept away from that.
        let moves = self.world.knobs.groups > 0 && self.world.knobs.members;
        if plan.faults && !(self.swarm.alone && (self.swarm.successions || moves)) {
            self.world.schedule(Duration::from_millis(1500), Script::Nemesis(round));
        }
        (self.succession, self.stranded) = (None, None);
        if plan.faults && self.swarm.stranded && self.world.knobs.groups > 0 {
            self.world.schedule(Duration::from_millis(500), Script::Strand(round));
        }
        if plan.faults && self.swarm.successions {
            self.world.schedule(Duration::from_secs(1), Script::Succession(round));
        }
        if plan.faults && self.swarm.clocks {
            self.world.schedule(Duration::from_secs(1), Script::Clocks(round));
        }
        if plan.faults && self.swarm.machines {
            self.world.schedule(Duration::from_millis(700), Script::Machines(round));
        }
        if self.disks {
            self.world.schedule(Duration::from_secs(2), Script::Disks(round));
        }
        if self.disks && self.swarm.copies {
            self.world.schedule(Duration::from_secs(1), Script::Copies(round));
        }
    }

    /// Other faults, on other networks and disks.
    fn draw(&mut self, plan: &Plan, seed: u64) {
        let mut other = Knobs::draw(seed);
        if plan.swarm && plan.faults {
            other = other.swarm(seed);
        }
        if !plan.faults || !plan.loss {
            (other.drop, other.duplicate) = (0, 0);
        }
        self.world.knobs.turn(other);
        self.swarm = self.world.knobs.swarm.clone();
        self.disks = plan.faults && plan.disks && self.swarm.disks;
        let round = self.round + 1;
        self.world.note(|| What::Fault(format!("round {round} begins")));
    }

    /// What became of all that was in doubt is known now, and what all have seen is compacted.
    fn settle(&mut self) -> Result<(), String> {
        if let Some(leases) = &mut self.leases {
            leases.begin_round();
        }
        let members = self.world.members().clone();
        let mut views = members.nodes().into_iter().filter_map(|id| self.world.view(id));
        let Some(view) = views.next() else { return Ok(()) };
        let (revision, known) = (view.revision(), changes(view)?);
        for (key, at, value) in known {
            let known = self.history.entry(key).or_default();
            // What was there at the compacted revision may have been written long before, and be known.
            if value.is_some() || known.range(..=at).next_back().is_none_or(|(_, before)| before.is_some()) {
                known.entry(at).or_insert(value);
            }
        }
        self.deleting.clear();
        self.compact(revision - LEFT)
    }

    /// As somebody who keeps house does.
    fn compact(&mut self, at: Revision) -> Result<(), String> {
        let Some(leader) = self.world.leader().filter(|_| at > 1) else { return Ok(()) };
        if let Some(compaction) = &mut self.compaction {
            compaction.asks(at);
        }
        self.watchers.forget_before(at);
        self.guests += 1;
        let guest = self.guests;
        self.ask_of(leader, guest, super::Asked::Compact { revision: at });
        let end = self.world.now + Duration::from_secs(5);
        self.until(end, |run| !run.sent.contains_key(&guest)).map(drop)
    }
}

/// All that the history tells of the keys: what was there at the compacted revision, and each change since.
fn changes(view: &KvView) -> Result<Vec<(u64, Revision, Option<u64>)>, String> {
    let (compacted, mut changes) = (view.compacted(), Vec::new());
    for key in (0..KEYS).filter(|_| compacted > 0) {
        let then = Range { range: point(key), revision: compacted, ..Range::default() };
        let found = view.range(&then).map_err(|e| format!("reading what a round began with: {e:?}"))?;
        let there = found.kvs.first().map(|kv| (key, kv.mod_revision, Some(number(&kv.value))));
        changes.push(there.unwrap_or((key, compacted, None)));
    }
    let mut from = compacted + 1;
    while from <= view.revision() {
        let events = view.history(from, 1 << 20).map_err(|e| format!("reading the history: {e:?}"))?;
        let Some(last) = events.last().map(|event| event.kv.mod_revision) else { break };
        for event in events {
            if let Some(key) = (0..KEYS).find(|&key| key_bytes(key) == event.kv.key) {
                let value = (!event.deleted).then(|| number(&event.kv.value));
                changes.push((key, event.kv.mod_revision, value));
            }
        }
        from = last + 1;
    }
    Ok(changes)
}
