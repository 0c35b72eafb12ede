//! What a leader knows of one follower.

use super::lost::Asker;
use super::snapshot::{Outgoing, Pin};
use quorate_base::{Index, Instant};
use std::collections::VecDeque;

/// How entries go to a follower.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The place where the logs agree is not known: one message, then wait for its answer or a heartbeat's.
    Probe {
        /// A message is under way.
        waiting: bool,
    },
    /// It is known: messages follow each other within the window.
    Replicate,
    /// What it needs is in the log no longer.
    Snapshot(Outgoing),
}

/// Invariant: `matched < next`; in `Replicate`, `under_way` ascends and lies in `matched + 1 ..= next - 1`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The follower's durable log equals the leader's up to here.
    pub matched: Index,
    /// The next entry to send.
    pub next: Index,
    /// How.
    pub phase: Phase,
    /// Last index and bytes of each message under way.
    pub(super) under_way: VecDeque<(Index, usize)>,
    /// When the last probe was sent: a heartbeat's answer that comes sooner says nothing about it.
    pub(super) probed: Instant,
    /// When it last said anything in this term.
    pub(super) heard: Instant,
    /// When it was last sent what tells it that its leader lives.
    pub(super) spoke: Option<Instant>,
    /// The newest heartbeat that it answered with a promise was sent then.
    pub(super) promised: Option<Instant>,
    /// The newest round that it answered without asking for the term itself.
    pub(super) sound_round: Option<u64>,
    /// It has lost its disk and asked for the term.
    pub(super) asker: Option<Asker>,
    /// The oldest message under way, and since when it is the oldest.
    pub(super) stalled: Option<(Index, Instant)>,
    /// The newest commit index that was sent.
    pub(super) told: Index,
    /// Up to here somebody waits there for entries to be committed.
    pub(super) awaits: Index,
    /// It withholds, though it has been shown a committed entry of this term, since then: only a newer term heals it.
    pub(super) withholds: Option<Instant>,
    /// Whether its last answer to a heartbeat said neither that it withholds nor that it asks for the term.
    pub(super) sound: Option<bool>,
    /// It has answered a heartbeat as one that is sound, since there last was no connection to it.
    pub(super) greeted: bool,
    /// It is in the configuration no longer, since then; it is kept for a while so that it hears so.
    pub(super) leaving: Option<Instant>,
    /// The log that is kept for it, from the beginning of a snapshot until what follows the snapshot is sent.
    pub(super) pin: Option<Pin>,
}

impl Progress {
    pub(super) fn new(next: Index, now: Instant) -> Self {
        Self {
            matched: Index(0),
            next,
            phase: Phase::Probe { waiting: false },
            under_way: VecDeque::new(),
            probed: now,
            heard: now,
            spoke: None,
            promised: None,
            sound_round: None,
            asker: None,
            stalled: None,
            told: Index(0),
            awaits: Index(0),
            withholds: None,
            sound: None,
            greeted: false,
            leaving: None,
            pin: None,
        }
    }

    /// It has been shown this term's first entry and still withholds, or it takes no entries: this term does not heal it.
    pub(super) fn withholds_in_vain(&self, term_start: Index) -> bool {
        let shown = self.told >= term_start && self.matched >= term_start;
        shown || self.takes_nothing()
    }

    /// It confirms neither entries nor chunks.
    pub(super) fn takes_nothing(&self) -> bool {
        matches!(self.phase, Phase::Probe { .. }) || self.takes_no_snapshot()
    }

    /// It has stored nothing of the snapshot that it is sent.
    pub(super) fn takes_no_snapshot(&self) -> bool {
        matches!(&self.phase, Phase::Snapshot(outgoing) if outgoing.stored == 0)
    }

    /// The follower confirmed up to `matched`; true if that is news.
    pub(super) fn confirm(&mut self, matched: Index) -> bool {
        while self.under_way.front().is_some_and(|&(last, _)| last <= matched) {
            self.under_way.pop_front();
        }
        let news = matched > self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        match &self.phase {
            Phase::Probe { .. } => self.phase = Phase::Replicate,
            Phase::Snapshot(outgoing) if outgoing.brings(matched) => self.phase = Phase::Replicate,
            Phase::Snapshot(_) | Phase::Replicate => {}
        }
        news
    }

    /// Back to probing from what is confirmed.
    pub(super) fn probe(&mut self, next: Index) {
        self.next = next.max(self.matched.next());
        self.under_way.clear();
        self.phase = Phase::Probe { waiting: false };
    }

    pub(super) fn bytes_under_way(&self) -> usize {
        self.under_way.iter().map(|&(_, bytes)| bytes).sum()
    }
}
