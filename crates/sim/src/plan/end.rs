//! What must hold at the end of a round, when all is healed and nothing is under way: the members agree, and all that was
//! acknowledged is there.

use super::{LEASED, Run, key_bytes, number, point};
use crate::world::{KV, place_of};
use quorate_base::time::Duration;
use quorate_base::{NodeId, ShardId};
use quorate_protocol::raft;
use quorate_state::kv::{KvView, ReadError};
use quorate_wire::kv::{KeyRange, Range, RangeReply, Revision};

impl Run {
    /// All is mended: the cluster must serve again, agree, and have all that was acknowledged. False where it is beyond what is promised.
    pub(super) fn liveness(&mut self) -> Result<bool, String> {
        self.calm = true;
        if let Some(succession) = self.succession.take() {
            self.reunite(succession);
        }
        self.world.fault(|| "all is mended for good, and nothing breaks any more".into());
        self.world.heal();
        self.world.ids().for_each(|id| self.world.start(id));
        let before = self.acknowledged;
        let end = self.world.now + Duration::from_secs(14) + self.backlog();
        // A client alone reads and lists as much as it writes, and needs seconds for some of it.
        let wanted = before + Revision::try_from(self.clients).unwrap_or(1).clamp(1, 6);
        if !self.until(end, |run| run.acknowledged >= wanted)? {
            return Err(format!(
                "Liveness: 14 s after healing {} of {} writes were acknowledged (leader: {:?}, {})",
                self.acknowledged - before,
                wanted - before,
                self.world.leader(),
                self.stuck()
            ));
        }
        // Let what is under way end, then all nodes must agree.
        self.clients = 0;
        let end = self.world.now + Duration::from_secs(6);
        self.until(end, |_| false)?;
        let settled = self.members_settle()?;
        // Where one entry is sent at a time over a slow network, what is under way takes its time (seeds 17 and 241),
        // and the other groups' members follow later.
        let end = self.world.now + Duration::from_secs(60);
        self.until(end, Self::at_rest)?;
        self.converged()?;
        self.final_reads()?;
        self.final_streams()?;
        self.final_revisions()?;
        self.final_fences()?;
        self.final_tables()?;
        self.final_zones()?;
        self.final_drained()?;
        self.final_drops()?;
        self.final_tenants()?;
        Ok(settled)
    }

    /// How long it may take until what nobody has committed yet has gone to all (seed 19: a burst of writes, one entry a round trip).
    fn backlog(&self) -> Duration {
        let tail = |raft: &raft::Raft| raft.last().index.0 - raft.commit().0;
        self.sent_one_by_one(self.world.places.iter().filter_map(|p| p.core(KV)).map(tail).max())
    }

    /// How long until who was away has what it has missed (seed 433).
    pub(super) fn missed(&self) -> Duration {
        let ends = || self.world.places.iter().filter_map(|place| Some(place.core(KV)?.last().index.0));
        self.sent_one_by_one(ends().max().zip(ends().min()).map(|(most, least)| most - least))
    }

    /// How long so many entries take where few go at a time over a slow network to slow disks. What a node was started with counts, not
    /// what was drawn since (seed 484).
    fn sent_one_by_one(&self, entries: Option<u64>) -> Duration {
        let knobs = &self.world.knobs;
        let cores = self.world.places.iter().filter(|place| place.core(KV).is_some());
        let at_a_time = cores.map(|place| place.at_a_time as u64).min().unwrap_or(1).max(1);
        let one = knobs.delay_max.as_nanos() as u64 + knobs.flush_max.as_nanos() as u64;
        Duration::from_nanos(2 * one * (entries.unwrap_or(0) / at_a_time))
    }

    /// What each node is at, in words.
    pub(super) fn stuck(&self) -> String {
        let states: Vec<String> = self
            .world
            .places
            .iter()
            .map(|p| match (&p.running, &p.stopped_why) {
                (Some(r), _) => {
                    let raft = r.lane.raft();
                    let (role, term, last, leader) = (raft.role(), raft.term(), raft.last(), raft.leader());
                    let next = r.lane.deadline();
                    let (commit, applied) = (raft.commit(), r.lane.view().applied().index);
                    let (lost, gone, holds) = (raft.state_lost(), raft.disk_lost(), raft.withholds());
                    format!(
                        "{}: {role:?} term {term} last {last:?} commit {commit} applied {applied} state lost {lost} disk lost {gone} \
                         withholds {holds} leader {leader:?} next {next:?}",
                        p.id
                    )
                }
                (None, why) => format!("{}: down ({})", p.id, why.as_deref().unwrap_or("stopped")),
            })
            .collect();
        states.join("; ")
    }

    /// Nothing is under way: the leader's log is applied to its end, everywhere, no key waits for its lease to end, no transaction holds
    /// an item, and no watcher waits for what it has yet to be told (seed 131: one had just begun anew at another node).
    fn at_rest(&self) -> bool {
        let leader = self.world.leader().and_then(|id| self.world.places[place_of(id)].running.as_ref());
        let through = leader.is_some_and(|r| r.lane.view().applied() == r.lane.raft().last());
        through
            && leader.is_some_and(|r| r.lane.placement().homes().all(|(_, home)| !home.moving))
            && self.final_zones().is_ok()
            && self.undrained().is_none()
            && self.final_drops().is_ok()
            && self.final_tenants().is_ok()
            && self.converged().is_ok()
            && leader.is_some_and(|r| leased(r.lane.view()).is_ok_and(|left| left.kvs.is_empty()))
            && leader.is_some_and(|r| self.watchers.is_through(r.lane.view()))
            && self.world.other_shards().all(|shard| !self.is_locked(shard))
    }

    /// Nothing moves, and the replicas of each shard are in as many zones as they can be.
    fn final_zones(&self) -> Result<(), String> {
        let Some(leader) = self.world.leader() else { return Ok(()) };
        let Some(placement) = self.world.placement_at(leader) else { return Ok(()) };
        let zones = placement.zones();
        let stay = self.world.members().voters.difference(&placement.leaving()).copied().collect::<Vec<_>>();
        let all = zones.many(stay);
        let close = placement.homes().find(|(shard, home)| {
            let wanted = home.wanted();
            zones.many(wanted.iter().copied()) < all.min(wanted.len()) && !self.world.beyond_help(*shard)
        });
        close.map_or(Ok(()), |(shard, home)| {
            Err(format!("zones: shard {shard} is on {:?}, of {zones:?}", home.wanted()))
        })
    }

    /// Who is to leave has no replica any more, but of shards that would have fewer copies without it.
    fn final_drained(&mut self) -> Result<(), String> {
        if let Some(what) = self.undrained() {
            return Err(what);
        }
        let placed = self.world.leader().and_then(|leader| self.world.placement_at(leader));
        let voters = self.world.members().voters.clone();
        if let Some(placement) = placed {
            let leaving = placement.leaving();
            let drained =
                leaving.intersection(&voters).filter(|node| placement.leaver(**node, &voters).shards == 0);
            self.world.counts.times("nodes drained", drained.count() as u64);
        }
        Ok(())
    }

    /// See [`Run::final_drained`]: what is not so, in words.
    fn undrained(&self) -> Option<String> {
        let placement = self.world.placement_at(self.world.leader()?)?;
        let (leaving, voters) = (placement.leaving(), &self.world.members().voters);
        let stay = voters.difference(&leaving).count();
        let goes = |node: &NodeId| leaving.contains(node) && voters.contains(node);
        let (shard, home) = placement.homes().find(|(shard, home)| {
            home.all_hosts().any(|node| goes(&node))
                && home.replicas.len() <= stay
                && !self.world.beyond_help(*shard)
        })?;
        Some(format!("Liveness: {leaving:?} are to leave, and shard {shard} is on {home:?} still"))
    }

    /// Whether a transaction holds items of a shard, which is looked after by its leaders.
    fn is_locked(&self, shard: ShardId) -> bool {
        let mut views =
            self.world.places.iter().filter_map(|place| place.running.as_ref()?.lane.view_of(shard));
        !self.world.beyond_help(shard) && views.any(|view| view.tables().is_locked())
    }

    pub(super) fn converged(&self) -> Result<(), String> {
        self.world.other_shards().chain([KV]).try_for_each(|shard| self.converged_in(shard))
    }

    /// What each node thinks of a shard, in words.
    pub(super) fn cores(&self, shard: ShardId) -> String {
        let core = |place: &crate::place::Place| {
            let raft = place.core(shard)?;
            Some(format!(
                "{}: {:?} {} leader {:?} last {:?} commit {} members {} rests {:?}",
                place.id,
                raft.role(),
                raft.term(),
                raft.leader(),
                raft.last(),
                raft.commit(),
                raft.membership(),
                raft.rests_under()
            ))
        };
        self.world.places.iter().filter_map(core).collect::<Vec<_>>().join("; ")
    }

    fn converged_in(&self, shard: ShardId) -> Result<(), String> {
        // A group beside the key-value space's may be past help while that one is not (seed 39).
        if self.world.beyond_help(shard) {
            return Ok(());
        }
        let mut seen = None;
        let begun = self.world.places.iter().any(|place| place.core(shard).is_some());
        for place in self.world.places.iter().filter(|place| self.world.members().contains(place.id)) {
            let Some(r) = place.running.as_ref() else {
                return Err(format!("node {} is still down: {:?}", place.id, place.stopped_why));
            };
            let Some(kv) = r.applier.kv(shard) else {
                if begun && self.world.hosts(place.id, shard) {
                    return Err(format!("node {} has not begun {shard}", place.id));
                }
                continue;
            };
            if !self.world.hosts(place.id, shard) {
                // What is left of it is swept away.
                continue;
            }
            let state = (kv.applied(), kv.digest());
            // What a snapshot brought is readable once a checkpoint of it is recorded, as a group begins once there is one.
            if r.lane.view_of(shard).is_none_or(|view| view.applied() != kv.applied()) {
                return Err(format!(
                    "node {} cannot read what it has of {shard} ({})",
                    place.id,
                    self.cores(shard)
                ));
            }
            match seen {
                None => seen = Some(state),
                Some(first) if first != state => {
                    return Err(format!(
                        "node {} ends at {state:?} in {shard}, another at {first:?} ({})",
                        place.id,
                        self.cores(shard)
                    ));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Every acknowledged write is there, at every node.
    pub(super) fn final_reads(&self) -> Result<(), String> {
        for place in self.world.places.iter().filter(|place| self.world.members().contains(place.id)) {
            let Some(r) = place.running.as_ref() else { continue };
            let view = r.lane.view();
            for (&key, revisions) in &self.history {
                let Some((&revision, value)) = revisions.last_key_value() else { continue };
                let found = view
                    .range(&Range { range: point(key), ..Range::default() })
                    .map_err(|e| format!("the final read failed: {e:?}"))?;
                let stored = found.kvs.first().map(|kv| (kv.mod_revision, number(&kv.value)));
                match (stored, value) {
                    (Some((at, v)), Some(value)) if at == revision && v == *value => {}
                    (Some((at, _)), _) if at > revision => {}
                    (None, None) => {}
                    // A later write whose answer was lost may have deleted it: it must then be in the history.
                    (None, Some(_)) if self.deleted_after(view, key, revision) => {}
                    (stored, value) => {
                        return Err(format!(
                            "lost write: key {key} was {value:?} at revision {revision}, node {} has {stored:?}",
                            place.id
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    fn deleted_after(&self, view: &KvView, key: u64, revision: Revision) -> bool {
        let wanted = key_bytes(key);
        let mut from = (revision + 1).max(view.compacted());
        // Where the history is gone, a deletion is only possible that somebody had asked for.
        if from > revision + 1 && self.deleting.get(&key).is_some_and(|&asked| asked > 0) {
            return true;
        }
        while from <= view.revision() {
            let Ok(events) = view.history(from, 1 << 20) else { return false };
            let Some(last) = events.last().map(|e| e.kv.mod_revision) else { return false };
            if events.iter().any(|e| e.deleted && e.kv.key == wanted) {
                return true;
            }
            from = last + 1;
        }
        false
    }

    /// Every watcher has been told everything, and leases that were left alone are gone with their keys.
    pub(super) fn final_streams(&self) -> Result<(), String> {
        let members = self.world.members();
        let mut places = self.world.places.iter().filter(|place| members.contains(place.id));
        let Some(running) = places.find_map(|p| p.running.as_ref()) else { return Ok(()) };
        let view = running.lane.view();
        let left = leased(view).map_err(|e| format!("the final read failed: {e:?}"))?;
        if let Some(kv) = left.kvs.first() {
            return Err(format!("{:?} is still there, long after its lease was left alone", kv.key));
        }
        if self.watchers.count() > 0 { self.watchers.judge(view) } else { Ok(()) }
    }
}

/// The keys that have leases.
fn leased(view: &KvView) -> Result<RangeReply, ReadError> {
    let range = KeyRange { key: LEASED.into(), end: "leasee".into() };
    view.range(&Range { range, ..Range::default() })
}
