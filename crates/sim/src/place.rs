//! A node's place in the world: its disk, its clock, and its parts while it lives.

use crate::copies::Copy;
use quorate_base::{Index, Instant, NodeId, Rng, ShardId, Term};
use quorate_faulty::FaultyDisk;
use quorate_node::applier::{Applier, Cut, Work};
use quorate_node::lane::{Effects, Event, Lane, Seal};
use quorate_node::watch::Hub;
use quorate_protocol::raft;
use quorate_storage::journal::Journal;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// A live node.
pub(crate) struct Running {
    pub(crate) lane: Lane,
    pub(crate) journal: Journal,
    pub(crate) applier: Applier,
    pub(crate) hub: Arc<Mutex<Hub>>,
    pub(crate) effects: Effects,
    pub(crate) to_write: Vec<quorate_base::Append>,
    /// The last entry that was written to the journal.
    pub(crate) written: Index,
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
    pub(crate) fn new(lane: Lane, journal: Journal, applier: Applier, hub: Arc<Mutex<Hub>>) -> Self {
        Self {
            written: lane.raft().last().index,
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
    /// Whether what is to be written replaces entries that were written before.
    pub(crate) fn rewrites(&mut self) -> bool {
        let mut rewrites = false;
        for append in &self.to_write {
            if let (Some(first), Some(last)) = (append.entries.first(), append.entries.last()) {
                rewrites |= first.id.index <= self.written;
                self.written = last.id.index;
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
    pub(crate) running: Option<Box<Running>>,
    pub(crate) life: u64,
    /// So many entries it sends before the first is confirmed, in its present life.
    pub(crate) at_a_time: usize,
    pub(crate) paused_until: Option<Instant>,
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
            running: None,
            life: 0,
            at_a_time: 0,
            paused_until: None,
            stopped_why: None,
            rate: 1_000_000 - drift + clock.below(2 * drift + 1),
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

    /// Whether its disk was put back since, and its connections ended with that.
    pub(crate) fn put_back_after(&self, sent: Instant) -> bool {
        self.forgot.is_some() && self.lost_at.is_some_and(|at| sent <= at)
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
