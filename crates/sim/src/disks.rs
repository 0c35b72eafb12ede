//! What disks do to nodes: they fill, fail, rot, and put writes where they do not belong.
//!
//! A disk that fails says so, and any number may at a time: the node stops, and starts again once it can. One that *lies* (a
//! bit that flips, a write that landed elsewhere) may cost what was acknowledged, so it is one node's at a time, until that
//! node has been seen whole again: more than that a group of three does not promise to survive. Nor does a smaller group.
//!
//! An old copy of a whole disk tells of nothing: what it takes to bear one stands in `copies.rs`. What is left out, for the same
//! reason: the newest write lost without a trace.

use crate::members::told;
use crate::place::{Place, Running};
use crate::plan::Run;
use crate::steps::Breaker;
use crate::world::{KV, Script, World, place_of};
use quorate_base::time::Duration;
use quorate_base::{Index, NodeId, Rng, ShardId};
use quorate_faulty::FaultyDisk;
use quorate_protocol::raft;

/// What the nemesis of the disks does.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Fill { room: u64 },
    FailFlush,
    FailReads { states: bool },
    Misplace,
    FlipState,
    Mend,
}

impl Run {
    /// Disks fail for a while. None of these may cost anything but the node's time.
    pub(crate) fn harm_disks(&mut self, round: u64) {
        if self.calm || round != self.round {
            return;
        }
        let pause = Duration::from_millis(self.lies.between(100, 5000));
        self.world.schedule(pause, Script::Disks(round));
        let one = self.world.any(&mut self.lies);
        let harm = match self.lies.below(8) {
            0..=1 => Harm::Fill { room: self.lies.below(20_000) },
            2..=3 => Harm::FailFlush,
            4 => Harm::FailReads { states: self.lies.chance(1, 2) },
            5 => Harm::Misplace,
            6 => Harm::FlipState,
            _ => Harm::Mend,
        };
        let Some(name) = self.world.takes(Breaker::Disks) else { return };
        self.world.fault(|| match harm {
            Harm::Fill { room } => format!("{name}: the disk of n{one} takes {room} bytes more"),
            Harm::FailFlush => format!("{name}: the next flush of n{one} fails"),
            Harm::FailReads { states } => {
                format!("{name}: reads of n{one} from its {} fail", if states { "checkpoints" } else { "journal" })
            }
            Harm::Misplace => {
                format!("{name}: n{one} is killed, and a write of its journal had landed elsewhere, if none else is harmed")
            }
            Harm::FlipState => {
                format!("{name}: n{one} is killed, and a bit of a checkpoint flips, if none else is harmed")
            }
            Harm::Mend => format!("{name}: all disks are mended"),
        });
        match harm {
            Harm::Fill { room } => self.world.fill(one, room),
            Harm::FailFlush => self.world.fail_flush(one),
            Harm::FailReads { states } => self.world.fail_reads(one, states),
            Harm::Misplace => {
                self.world.kill(one);
                self.world.misplace(one, &mut self.lies);
            }
            Harm::FlipState => {
                self.world.kill(one);
                self.world.flip(one, true, &mut self.lies);
            }
            Harm::Mend => self.world.mend_disks(),
        }
    }
}

/// A node that lacks nothing of what it had.
fn whole(running: &Running, forgot: Option<Index>) -> bool {
    let raft = running.lane.raft();
    let has = |upto: Index| raft.commit() >= upto && raft.durable() >= upto;
    running.lane.is_whole() && forgot.is_none_or(has)
}

impl World {
    /// Flips a bit in the journal of a node that is down, or in its checkpoints if `states`. `rng` says where.
    pub fn flip(&mut self, id: NodeId, states: bool, rng: &mut Rng) {
        let Some(files) = self.files_to_harm(id, if states { "state/" } else { "journal/" }) else { return };
        let (file, bit) = match rng.below(4) {
            0..=1 if !states => self.newly_written(id, &files, rng),
            // Most of a segment is not yet written.
            2 if !states => {
                let (file, size) = rng.pick(&files).clone();
                (file, rng.below((size * 8).min(16_000)))
            }
            _ => {
                let (file, size) = rng.pick(&files).clone();
                (file, rng.below(size * 8))
            }
        };
        let place = &mut self.places[place_of(id)];
        place.disk.flip_bit(&file, bit);
        place.harmed = true;
        self.counts.add(if states { "bits flipped in checkpoints" } else { "bits flipped" });
    }

    /// A bit of one of the newest writes: what they say is what is needed next.
    fn newly_written(&self, id: NodeId, files: &[(String, u64)], rng: &mut Rng) -> (String, u64) {
        let disk = &self.places[place_of(id)].disk;
        // By their names, the newest segment is the last; beside it stand the votes.
        let votes = files.iter().find(|(file, _)| file.ends_with("votes"));
        let begun = |(file, _): &&(String, u64)| !file.ends_with("votes") && !disk.writes(file).is_empty();
        let segment = files.iter().rfind(begun).or(files.last());
        let chosen = if rng.chance(1, 8) { votes.or(segment) } else { segment };
        let Some((file, size)) = chosen else { return (String::new(), 0) };
        let writes = disk.writes(file);
        let back = 1 + rng.below(8.min(writes.len() as u64).max(1)) as usize;
        let (at, len) = writes.len().checked_sub(back).map_or((0, *size as usize), |at| writes[at]);
        (file.clone(), at * 8 + rng.below(8 * len.max(1) as u64))
    }

    /// A node is about to write what replaces entries.
    pub(crate) fn rewrites(&mut self, at: usize) {
        let place = &mut self.places[at];
        let mut segments = place.disk.files().into_iter().map(|(file, _)| file);
        let segment = segments.rfind(|file| file.starts_with("journal/") && !file.ends_with("votes"));
        place.rewrote = segment.map(|file| (file.clone(), place.disk.writes(&file).len()));
        self.counts.add("entries replaced");
        let id = self.places[at].id;
        self.regret(id);
    }

    /// Flips a bit of the newest write of a node that is down that replaced entries, if there were others behind it.
    pub(crate) fn flip_rewrite(&mut self, id: NodeId, rng: &mut Rng) {
        if self.files_to_harm(id, "journal/").is_none() {
            return;
        }
        let place = &mut self.places[place_of(id)];
        let Some((file, number)) = place.rewrote.take() else { return };
        let writes = place.disk.writes(&file);
        let Some(&(from, len)) = writes.get(number).filter(|_| writes.len() > number + 1) else { return };
        place.disk.flip_bit(&file, from * 8 + rng.below(8 * len.max(1) as u64));
        place.harmed = true;
        self.counts.add("bits flipped");
    }

    /// A write of some time ago to the journal of a node that is down had landed elsewhere.
    pub fn misplace(&mut self, id: NodeId, rng: &mut Rng) {
        let Some(files) = self.files_to_harm(id, "journal/") else { return };
        let (file, _) = rng.pick(&files).clone();
        let place = &mut self.places[place_of(id)];
        place.harmed = place.disk.misplace(&file, if rng.chance(1, 4) { "state/" } else { "journal/" });
    }

    /// The disk of a node that is down is lost, and it is taken back with an empty one, which it is told.
    pub(crate) fn lose_disk(&mut self, id: NodeId) {
        if self.files_to_harm(id, "journal/").is_none() || !self.members().contains(id) {
            return;
        }
        let (seed, now, founders) = (self.seed ^ self.events.rotate_left(20), self.now, told(self.members()));
        let place = &mut self.places[place_of(id)];
        place.disk = FaultyDisk::new(seed);
        (place.founders, place.harmed, place.disk_lost, place.lost_at) = (founders, true, true, Some(now));
        (place.copy, place.forgot) = (None, None);
        self.counts.add("disks lost");
    }

    /// The files below `prefix`, if the node is down and none is harmed now.
    fn files_to_harm(&mut self, id: NodeId, prefix: &str) -> Option<Vec<(String, u64)>> {
        let may = self.bears_harm();
        let place = &self.places[place_of(id)];
        let files: Vec<_> =
            place.disk.files().into_iter().filter(|(f, n)| f.starts_with(prefix) && *n > 0).collect();
        (may && place.running.is_none() && !files.is_empty()).then_some(files)
    }

    /// Whether one more disk may lie: none does that has not been seen whole again, and the group is large enough.
    pub(crate) fn bears_harm(&mut self) -> bool {
        for place in &mut self.places {
            if place.gone || place.running.as_deref().is_some_and(|running| whole(running, place.forgot)) {
                (place.harmed, place.forgot) = (false, None);
            }
        }
        self.bears_lies() && !self.places.iter().any(|place| place.harmed)
    }

    /// What is not promised, asked before a group without a leader is held against the core; never so of the key-value space.
    ///
    /// A voter of a group has no replica, and never gets one: it was removed before it was taken back without its disk, or before it heard
    /// of the group at all, and is told of no group any more. Nobody is elected then who needs the word of all, since others withhold
    /// and the rest are no majority: their power went, with torn tails, before the group had followed the removal (seeds 39, 63).
    pub(crate) fn beyond_help(&self, shard: ShardId) -> bool {
        if shard == KV {
            return false;
        }
        let cores = || self.places.iter().filter_map(|place| Some((place.id, place.core(shard)?)));
        let Some((_, newest)) = cores().max_by_key(|(_, raft)| raft.last()) else { return false };
        let (group, members) = (newest.membership(), self.members());
        let unheard = |running: &Running| running.lane.placement().home(shard).is_none();
        let lacks = |place: &Place| place.disk_lost || place.running.as_deref().is_some_and(unheard);
        let gone = |place: &Place| {
            place.core(shard).is_none()
                && lacks(place)
                && group.is_voter(place.id)
                && !members.contains(place.id)
        };
        let sound = |raft: &raft::Raft| !raft.withholds() && !raft.state_lost();
        let votes = |id: NodeId| cores().any(|(node, raft)| node == id && sound(raft));
        self.places.iter().any(gone) && !group.is_quorum(votes)
    }

    /// A node's disk takes `room` bytes more, and then none.
    pub fn fill(&mut self, id: NodeId, room: u64) {
        let disk = &self.places[place_of(id)].disk;
        disk.set_capacity(disk.used() + room);
        self.counts.add("disks filled");
    }

    /// The next flush of a node fails.
    pub fn fail_flush(&mut self, id: NodeId) {
        self.places[place_of(id)].disk.fail_next_sync();
    }

    /// Each flush of a node takes so much longer than it would: the disk answers, and is no good.
    pub fn gray_disk(&mut self, id: NodeId, by: Duration) {
        self.places[place_of(id)].gray = by;
    }

    /// A node's disk fails all reads of its journal, or of its checkpoints.
    pub fn fail_reads(&mut self, id: NodeId, states: bool) {
        self.places[place_of(id)].disk.fail_reads(if states { "state/" } else { "journal/" });
    }

    /// Disks have room again, and fail no more.
    pub fn mend_disks(&mut self) {
        self.places.iter().for_each(|place| place.disk.heal());
    }

    /// Adds what the disks did to the counts, once, at the end.
    pub fn count_disks(&mut self) {
        for at in 0..self.places.len() {
            let fired = self.places[at].disk.fired();
            for (what, times) in [
                ("unflushed writes lost", fired.lost),
                ("unflushed writes torn", fired.torn),
                ("names undone", fired.unnamed),
                ("flushes failed", fired.failed_syncs),
                ("reads failed", fired.failed_reads),
                ("writes that found no room", fired.full),
                ("writes misplaced", fired.misplaced),
            ] {
                self.counts.times(what, times);
            }
        }
    }
}
