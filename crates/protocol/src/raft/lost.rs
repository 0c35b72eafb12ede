//! A replica whose whole disk is lost, and that is taken back under its old name.
//!
//! It has forgotten everything: entries that it confirmed, votes, and the terms of both. So nothing that it says may count
//! against what it once promised:
//!
//! - Its votes are conditional, and it never campaigns (see "Replicas that may have forgotten" on the module's page).
//! - It is *deaf* to entries and snapshots, which it would confirm, until it knows that their leader's term is newer than any
//!   in which it promised something. A promise mattered only together with those of a majority. Each such majority has somebody
//!   else in it, and no promise of theirs is of a later term than they are in now. So it asks the others for their terms, until
//!   so many have told that one of each such majority is among them; only leaders of later terms than all of these count. (Its
//!   leader makes such a term: it renews its own, as for any replica that withholds, and wins without this one's vote.)
//! - It has healed, like others that withhold, with a committed entry of such a term: its log is then what the group's is.
//!
//! Whoever starts it says that it is such a one, and says so again at each start until it has healed: what it had learnt in
//! between is not kept, and is learnt anew.
//!
//! What remains: a vote of its former life that reaches its candidate only after all this, in a term above all terms told.

use super::{Message, Mutant, Raft, Withheld, mutant};
use quorate_base::{NodeId, Term};
use std::collections::BTreeSet;

/// Who has told its term, and the newest one told.
#[derive(Clone, Debug, Default)]
pub(super) struct Deaf {
    pub(super) told: BTreeSet<NodeId>,
    pub(super) newest: Term,
}

impl Raft {
    /// What a message tells of the terms in which its sender has promised something.
    pub(super) fn learn_term(&mut self, from: NodeId, message: &Message) {
        let Some(deaf) = &mut self.deaf else { return };
        let term = match message {
            // A candidate has promised nothing in this term but its own vote to itself.
            Message::RequestVote { term, .. } => Term(term.get().saturating_sub(1)),
            message => message.term(),
        };
        deaf.told.insert(from);
        deaf.newest = deaf.newest.max(term);
        let (told, newest) = (deaf.told.clone(), deaf.newest);
        if self.membership().meets_majorities_of(self.config.id, |n| told.contains(&n)) {
            self.deaf = None;
            self.withheld = Some(Withheld { term: newest, disk_lost: true });
        }
    }

    /// Asks those for their terms that have not told them. A pre-vote for a term that they are in is always answered.
    pub(super) fn ask_terms(&mut self) {
        let Some(deaf) = &self.deaf else { return };
        let (term, last) = (self.hard.term, self.log.last());
        let silent: Vec<NodeId> =
            self.membership().nodes().into_iter().filter(|n| !deaf.told.contains(n)).collect();
        for node in silent {
            if node != self.config.id && self.membership().is_voter(node) {
                self.post(node, Message::RequestVote { term, pre: true, transfer: false, last });
            }
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
