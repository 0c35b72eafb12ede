//! A replica whose whole disk is lost, and that is taken back under its old name.
//!
//! It has forgotten everything: entries that it confirmed, votes, and the terms of both. So nothing that it says may count
//! against what it once promised:
//!
//! - Its votes are conditional (see "Replicas that may have forgotten" on the module's page). It campaigns only once the log that it
//!   got from a leader since says who votes, and then it needs them all, like others that withhold: whoever else was elected in
//!   that term, or committed anything in a later one, had the word of one of them. All of them have spoken in that term then, which
//!   is what a leader vouches for. (Were it not to campaign, its log could be the longest that is left, and keep the others from
//!   ever electing anybody: seed 37 of the simulator, with a torn tail beside it.)
//! - It is *deaf* to entries and snapshots, which it would confirm, until their leader's term is newer than any in which it
//!   promised something that can still matter. A promise mattered only together with those of a majority of its leader's
//!   configuration. So it asks the leader that it hears, which vouches for its own term T by a round of heartbeats that begins
//!   after the question: if one of each majority that the asker could be part of answered in T, no promise of the asker's
//!   former life in a later term has elected anybody or committed anything, in this configuration; and the first of a later
//!   one would have needed a majority of this configuration to take an entry of a later term. So leaders of terms newer than
//!   T may be heeded. (This one makes such a term: it renews its own, as for any replica that withholds.)
//! - Nor do its answers prove to a leader that nobody else leads, for reads by a round or under a lease: its vote may have elected
//!   somebody.
//! - Who answers must know its own promises: one that asks itself does not count. (One that only withholds knows terms and votes.)
//! - It has healed, like others that withhold, with a committed entry of such a term: its log is then what the group's is.
//!
//! It does not ask the members that it knows of: they are those of its founding, or of the log that it has got so far, and
//! may all be gone.
//!
//! Whoever starts it says that it is such a one, and says so again at each start until it has healed. Whether its term was vouched for
//! is not kept, and need not be: a log that is not empty tells. It was deaf until then, so entries and snapshots came from a leader of
//! a newer term, which was durable with them; from such a start on it heeds leaders of terms newer than the one that it comes back
//! with. (Had it to ask again, one restart beside another's lost disk would leave a group without a majority that holds all: seed 162
//! of the simulator.) With an empty log, or where some of it is damaged, it asks anew. Each start asks under a name of its own, so
//! that no answer to an earlier life counts.
//!
//! What remains: a vote of its former life that reaches its candidate only after all this, in a term above T.

use super::{Message, Mutant, Progress, Raft, Role, Withheld, mutant};
use quorate_base::{NodeId, Term};

/// A follower that has asked for the term, at its leader.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Asker {
    /// Its name for this life.
    life: u64,
    /// The first round of heartbeats that began after it asked.
    round: u64,
    /// It was answered.
    answered: bool,
}

impl Asker {
    /// It is deaf for as long as this is so, whatever the term.
    pub(super) fn waits(self) -> bool {
        !self.answered
    }
}

impl Raft {
    // ---- the leader's side ----

    pub(super) fn term_asked(&mut self, from: NodeId, life: u64) {
        if self.role != Role::Leader {
            return;
        }
        let asker = match self.progress.get(&from).and_then(|p| p.asker) {
            Some(asker) if asker.life == life => asker,
            _ => Asker { life, round: self.reads.next_round(), answered: false },
        };
        let vouched = self.membership().meets_majorities_of(from, |n| {
            let sound = |p: &Progress| p.sound_round.is_some_and(|round| round >= asker.round);
            n == self.config.id || self.progress.get(&n).is_some_and(sound)
        });
        if let Some(p) = self.progress.get_mut(&from) {
            p.asker = Some(Asker { answered: vouched, ..asker });
        }
        if vouched {
            let term = self.hard.term;
            self.post(from, Message::TermVouched { term, life });
        }
    }

    // ---- its own ----

    pub(super) fn term_vouched(&mut self, life: u64) {
        if self.deaf == Some(life) {
            self.deaf = None;
            self.withheld = Some(Withheld { term: self.hard.term, disk_lost: true });
        }
    }

    /// All voters have elected it; see the page.
    pub(super) fn elected_with_lost_disk(&mut self) {
        if self.disk_lost() {
            self.deaf = None;
            self.withheld = Some(Withheld { term: Term(self.hard.term.0 - 1), disk_lost: true });
        }
    }

    /// Whether this replica may confirm nothing to the leader of its term.
    pub(super) fn is_deaf(&self) -> bool {
        if mutant(&self.config, Mutant::LostDiskConfirms) {
            return false;
        }
        self.deaf.is_some() || self.withheld.is_some_and(|w| w.disk_lost && self.hard.term <= w.term)
    }

    /// Whether it has lost its disk, and has not healed yet.
    pub fn disk_lost(&self) -> bool {
        self.withheld.is_some_and(|w| w.disk_lost)
    }
}
