//! A node's place in the world: its disk, its clock, and its parts while it lives.

use crate::copies::Copy;
use quorate_base::time::Duration;
use quorate_base::{Append, Index, Instant, NodeId, Rng, ShardId, Term};
use quorate_clock::{Hlc, Wall};
use quorate_faulty::FaultyDisk;
use quorate_node::applier::{Applier, Cut, Work};
use quorate_node::lane::{Effects, Event, Lane, Seal};
use quorate_node::watch::Hub;
use quorate_protocol::raft;
use quorate_storage::journal::Journal;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// What a wall clock that is not ahead shows when a simulation begins.
const BEGAN: u64 = 1_000_000_000_000;

/// A live node.
pub(crate) struct Running {
    pub(crate) lane: Lane,
    pub(crate) journal: Journal,
    pub(crate) applier: Applier,
    pub(crate) hub: Arc<Mutex<Hub>>,
    pub(crate) effects: Effects,
    pub(crate) to_write: Vec<quorate_base::Append>,
    /// What was written to the journal.
    pub(crate) written: Logs,
    pub(crate) marks: Vec<(u64, Cut)>,
    pub(crate) flushing: bool,
    pub(crate) marking: Vec<(u64, Cut)>,
    pub(crate) work: VecDeque<Work>,
    pub(crate) applying: bool,
    /// There may be something to sweep.
    pub(crate) sweeping: bool,
    pub(crate) seals: VecDeque<Seal>,
    pub(crate) tick_at: Option<Instant>,
}

impl Running {
    /// Of these parts, with nothing under way.
    pub(crate) fn new(
        lane: Lane,
        journal: Journal,
        applier: Applier,
        hub: Arc<Mutex<Hub>>,
        written: Logs,
    ) -> Self {
        Self {
            written,
            lane,
            journal,
            applier,
            hub,
            effects: Effects::default(),
            to_write: Vec::new(),
            marks: Vec::new(),
            flushing: false,
            marking: Vec::new(),
            work: VecDeque::new(),
            applying: false,
            sweeping: false,
            seals: VecDeque::new(),
            tick_at: None,
        }
    }
}

impl Running {
    /// Whether what is to be written replaces entries of a log that were written before.
    pub(crate) fn rewrites(&mut self) -> bool {
        self.written.take(&self.to_write)
    }

    /// Whether a log of a shard that is here was written further than it goes now.
    pub(crate) fn is_behind(&self) -> bool {
        let last = |shard| Some(self.lane.core(shard)?.last().index);
        self.written.0.iter().any(|(&shard, &upto)| last(shard).is_some_and(|last| last < upto))
    }
}

/// How far the log of each shard was written: a journal holds those of all.
#[derive(Default)]
pub(crate) struct Logs(BTreeMap<ShardId, Index>);

impl Logs {
    /// Those of the replicas that a node starts with.
    pub(crate) fn of<'a>(logs: impl Iterator<Item = (ShardId, &'a raft::Raft)>) -> Self {
        Self(logs.map(|(shard, raft)| (shard, raft.last().index)).collect())
    }

    /// These are written; true if any of them replaces entries of its log.
    fn take(&mut self, appends: &[Append]) -> bool {
        let mut rewrites = false;
        for append in appends {
            if let (Some(first), Some(last)) = (append.entries.first(), append.entries.last()) {
                let upto = self.0.insert(append.shard, last.id.index).unwrap_or_default();
                rewrites |= first.id.index <= upto;
            }
        }
        rewrites
    }
}

/// A write to a file of a disk: the file, and the how manyth of those since the last one at its beginning it is.
pub(crate) type Write = (String, usize);

/// A node's place, live or not.
pub(crate) struct Place {
    pub(crate) id: NodeId,
    pub(crate) disk: FaultyDisk,
    /// Each flush takes so much longer than it would.
    pub(crate) gray: Duration,
    pub(crate) running: Option<Box<Running>>,
    pub(crate) life: u64,
    /// So many entries it sends before the first is confirmed, in its present life.
    pub(crate) at_a_time: usize,
    pub(crate) paused_until: Option<Instant>,
    /// Until then its machine applies nothing.
    pub(crate) still_until: Option<Instant>,
    pub(crate) stopped_why: Option<String>,
    /// Nanoseconds on its clock for a million of true ones; its zero is the true one.
    pub(crate) rate: u64,
    /// What was durable on its disk was harmed, and it has not yet been seen whole again.
    pub(crate) harmed: bool,
    /// Its disk was lost, and it has not yet been seen healed.
    pub(crate) disk_lost: bool,
    /// It began its last life in this term, withheld, and was not seen to be healed.
    pub(crate) withholds: Option<Term>,
    /// An old copy of its disk.
    pub(crate) copy: Option<Copy>,
    /// It was put back to an old copy, and up to here it had a log before; until it has been seen to have that much again.
    pub(crate) forgot: Option<Index>,
    /// When its disk was lost or put back: its connections ended then, with what was on its way.
    pub(crate) lost_at: Option<Instant>,
    /// Whom it takes for members when its disk is empty.
    pub(crate) founders: raft::Membership,
    /// Since when it knows that it was removed; see `members.rs`.
    pub(crate) removed: Option<Instant>,
    /// The newest write to its journal that replaced entries.
    pub(crate) rewrote: Option<Write>,
    /// So many milliseconds its wall clock is ahead of the simulation's.
    pub(crate) ahead: u64,
    /// And so many more since it was set.
    pub(crate) set_by: i64,
    /// When that was.
    pub(crate) set_at: Option<Instant>,
    /// Since when it is how far ahead, over all that it was set.
    ahead_since: Vec<(Instant, i64)>,
    /// The latest that its wall clock has shown.
    pub(crate) latest: Wall,
    /// What its hybrid clock has shown last, in whichever life.
    pub(crate) showed: Hlc,
    /// Up to here its hybrid clock may have given out readings, as its directory says.
    pub(crate) bound: Hlc,
    /// It was removed and has stopped, for good.
    pub(crate) gone: bool,
    pub(crate) queued: Vec<Event>,
    /// The role that it was last seen in.
    pub(crate) role: Option<raft::Role>,
}

impl Place {
    /// A new node's, which is not started yet. Its clock runs fast or slow by up to `drift` millionths.
    pub(crate) fn new(seed: u64, id: NodeId, founders: raft::Membership, drift: u64) -> Self {
        let mut clock = Rng::stream(seed ^ (id.get() << 40), "clock");
        Self {
            id,
            disk: FaultyDisk::new(seed ^ (id.get() << 40)),
            gray: Duration::ZERO,
            running: None,
            life: 0,
            at_a_time: 0,
            paused_until: None,
            still_until: None,
            stopped_why: None,
            rate: 1_000_000 - drift + clock.below(2 * drift + 1),
            ahead: 0,
            set_by: 0,
            set_at: None,
            ahead_since: vec![(Instant::ZERO, 0)],
            latest: Wall(0),
            showed: Hlc::default(),
            bound: Hlc::default(),
            harmed: false,
            disk_lost: false,
            withholds: None,
            copy: None,
            forgot: None,
            lost_at: None,
            founders,
            removed: None,
            rewrote: None,
            gone: false,
            queued: Vec::new(),
            role: None,
        }
    }

    /// Its wall clock is ahead by something below `most` milliseconds.
    pub(crate) fn with_wall(mut self, seed: u64, most: u64) -> Self {
        self.ahead = Rng::stream(seed ^ (self.id.get() << 40), "wall clock").below(most + 1);
        self.ahead_since = vec![(Instant::ZERO, self.ahead.cast_signed())];
        self
    }

    /// Its wall clock shows so much more than it did at first.
    pub(crate) fn set_wall(&mut self, now: Instant, by: i64) {
        (self.set_by, self.set_at) = (by, Some(now));
        self.ahead_since.push((now, self.ahead.cast_signed().saturating_add(by)));
    }

    /// When its wall clock showed this first.
    pub(crate) fn showed_first(&self, wall: Wall) -> Option<Instant> {
        let untils = self.ahead_since.iter().skip(1).map(|(at, _)| at.0).chain([u64::MAX]);
        self.ahead_since.iter().zip(untils).find_map(|(&(from, ahead), until)| {
            let millis = i128::from(wall.0) - i128::from(BEGAN) - i128::from(ahead);
            let shows = u64::try_from(millis).ok()?.checked_mul(1_000_000)?;
            let at = shows.max(from.0);
            (at < until && at < shows.saturating_add(1_000_000)).then_some(Instant(at))
        })
    }

    /// What its wall clock shows.
    pub(crate) fn wall(&self, now: Instant) -> Wall {
        Wall((BEGAN + now.0 / 1_000_000 + self.ahead).saturating_add_signed(self.set_by))
    }

    /// Whether its disk was put back since, and its connections ended with that.
    pub(crate) fn put_back_after(&self, sent: Instant) -> bool {
        self.forgot.is_some() && self.lost_at.is_some_and(|at| sent <= at)
    }

    /// Whether it is up, and knows that a shard was deleted.
    pub(crate) fn knows_deleted(&self, shard: ShardId) -> bool {
        self.running.as_deref().is_some_and(|running| running.lane.placement().was_dropped(shard))
    }

    /// Whether it is not up, or knows that a shard was deleted, and has nothing of it.
    pub(crate) fn is_over(&self, shard: ShardId) -> bool {
        self.running.is_none() || self.core(shard).is_none() && self.knows_deleted(shard)
    }

    /// The core of its group of a shard, if it lives.
    pub(crate) fn core(&self, shard: ShardId) -> Option<&raft::Raft> {
        self.running.as_ref()?.lane.core(shard)
    }

    /// What its clock shows.
    pub(crate) fn local(&self, now: Instant) -> Instant {
        Instant((u128::from(now.0) * u128::from(self.rate) / 1_000_000) as u64)
    }
}

/// When a clock of this rate shows `at`.
pub(crate) fn truly(at: Instant, rate: u64) -> Instant {
    Instant((u128::from(at.0) * 1_000_000).div_ceil(u128::from(rate)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::{Entry, EntryId, EntryKind, WriteId};

    fn append(shard: u32, from: u64, upto: u64) -> Append {
        let entry = |index| Entry {
            id: EntryId::new(Term(1), Index(index)),
            kind: EntryKind::Empty,
            data: bytes::Bytes::new(),
        };
        Append {
            shard: ShardId(shard),
            write: WriteId(1),
            hard: None,
            prev: EntryId::new(Term(1), Index(from - 1)),
            entries: (from..=upto).map(entry).collect(),
        }
    }

    /// Claim: what a wall clock shows it has not shown before the moment that is said, over all that it is set; what it never shows it
    /// has shown at none.
    #[test]
    fn a_wall_clock_shows_nothing_before_its_time() {
        let mut place = Place::new(7, NodeId(1), raft::Membership::default(), 0).with_wall(7, 500);
        let mut rng = Rng::new(7);
        let mut first: BTreeMap<Wall, Instant> = BTreeMap::new();
        for now in (1_000_000..6_000_000_000).step_by(500_000).map(Instant) {
            if rng.chance(1, 1_500) {
                place.set_wall(now, rng.below(4_000) as i64 - 2_000);
            }
            first.entry(place.wall(now)).or_insert(now);
        }
        let (mut near, all) = (0, first.len());
        for (wall, at) in first {
            let said = place.showed_first(wall).expect("it was shown");
            assert!(said <= at, "{wall} was shown at {at:?}, not first at {said:?}");
            near += usize::from(at.since(said) <= Duration::from_millis(1));
        }
        assert_eq!(near, all);
        assert_eq!(place.showed_first(Wall(3)), None);
    }

    /// Claim: what is written of one shard's log replaces nothing of another's.
    #[test]
    fn each_log_is_written_for_itself() {
        let mut logs = Logs::default();
        assert!(!logs.take(&[append(1, 1, 9), append(2, 1, 3)]));
        assert!(!logs.take(&[append(2, 4, 4), append(1, 10, 10), append(3, 1, 1)]));
        assert!(logs.take(&[append(1, 11, 11), append(2, 4, 6)]), "the entry 4 of shard 2 was there");
        assert!(!logs.take(&[append(2, 7, 7), append(1, 12, 12)]));
        assert!(logs.take(&[append(1, 12, 12)]));
    }
}
