//! What one may ask a replica: where it stands, what it holds, and whether its invariants hold.

use super::{Membership, Phase, Progress, Raft, Role};
use quorate_base::time::Duration;
use quorate_base::{Entry, EntryId, HardState, Index, Instant, NodeId, Term};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};

impl Raft {
    /// Feeds `to` with all that decides how this replica goes on, but time, chance and the names of writes: two replicas
    /// that agree in it are one state to an exhaustive search in which every timer may fire at any moment.
    pub fn fingerprint(&self, to: &mut impl Hasher) {
        (self.hard.term, self.hard.vote, self.hard.commit).hash(to);
        (self.leader, self.led_by, self.given, self.applied, self.term_start).hash(to);
        (self.role as u8, self.hard_write <= self.durable_write, self.withheld.is_some()).hash(to);
        // What was agreed on below the commit index decides nothing.
        (self.state_lost, self.owed, self.agreed.max(self.hard.commit)).hash(to);
        (!self.votes_itself() || self.state_lost).then_some(self.vain).hash(to);
        (self.deaf, self.rest.resting).hash(to);
        self.withheld.filter(|w| w.disk_lost).map(|w| w.term).hash(to);
        // A no counts as silence does, but where a peer becomes reachable again.
        for (node, &(_, withheld)) in self.votes.iter().filter(|(_, (granted, _))| *granted) {
            (node, withheld).hash(to);
        }
        self.log.fingerprint(to);
        for (node, p) in &self.progress {
            (node, p.matched, p.next, p.told, p.under_way.len(), p.withholds.is_some(), p.asker).hash(to);
            match &p.phase {
                Phase::Probe { waiting } => (0, waiting).hash(to),
                Phase::Replicate => 1.hash(to),
                Phase::Snapshot(outgoing) => {
                    2.hash(to);
                    outgoing.fingerprint(to);
                }
            }
        }
        self.transfer.map(|(to, _)| to).hash(to);
        self.reads.fingerprint(to);
        (self.incoming.as_ref().map(|i| (i.next, i.stored)), self.installing).hash(to);
        self.broken.hash(to);
    }

    /// This replica's node.
    pub fn id(&self) -> NodeId {
        self.config.id
    }

    /// Its term.
    pub fn term(&self) -> Term {
        self.hard.term
    }

    /// Its term, vote and commit index.
    pub fn hard(&self) -> HardState {
        self.hard
    }

    /// What it is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether it leads others; one that leads [blindly](super) is not seen to.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader && !self.leads_blindly()
    }

    /// Whether it only listens.
    pub fn is_learner(&self) -> bool {
        self.membership().is_learner(self.config.id)
    }

    /// Whom it follows; itself if it leads.
    pub fn leader(&self) -> Option<NodeId> {
        if self.role == Role::Leader && self.leads_blindly() { None } else { self.leader }
    }

    /// What it knows to be committed.
    pub fn commit(&self) -> Index {
        self.hard.commit
    }

    /// What its machine has applied.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// The end of its log.
    pub fn last(&self) -> EntryId {
        self.log.last()
    }

    /// What stands for the log's beginning.
    pub fn base(&self) -> EntryId {
        self.log.base()
    }

    /// Up to where its disk holds the log.
    pub fn durable(&self) -> Index {
        self.log.durable()
    }

    /// Bytes of log in memory.
    pub fn log_bytes(&self) -> usize {
        self.log.bytes()
    }

    /// The configuration that acts here.
    pub fn membership(&self) -> &Membership {
        // There is always the base's.
        &self.configs[self.configs.len() - 1].1
    }

    /// The newest configuration that is known to be committed, or what stands for the log's beginning.
    pub fn committed_membership(&self) -> &Membership {
        &self.configs[self.committed_config()].1
    }

    /// Where the newest configuration stands, and the newest that is known to be committed.
    pub fn configured_at(&self) -> (Index, Index) {
        (self.configs[self.configs.len() - 1].0, self.configs[self.committed_config()].0)
    }

    fn committed_config(&self) -> usize {
        self.configs.iter().rposition(|&(at, _)| at <= self.hard.commit).unwrap_or(0)
    }

    /// Whether a leader has heard this member (or is it) within the longest election timeout.
    pub fn hears(&self, node: NodeId, now: Instant) -> bool {
        let heard = |p: &Progress| now.since(p.heard) <= self.config.election_max;
        node == self.config.id || self.progress.get(&node).is_some_and(heard)
    }

    /// How long a leader has not heard this member (if it is another one that it knows).
    pub fn silent_for(&self, node: NodeId, now: Instant) -> Duration {
        self.progress.get(&node).map_or(Duration::ZERO, |progress| now.since(progress.heard))
    }

    /// Whether a leader has heard this member (or is it), and the member's yes would count whoever else says yes: it has forgotten
    /// nothing, as far as its last answer tells.
    pub fn hears_sound(&self, node: NodeId, now: Instant) -> bool {
        let own = node == self.config.id && !self.withholds();
        own || self.hears(node, now) && self.progress.get(&node).is_some_and(|p| p.sound == Some(true))
    }

    /// Whether a leader has lately heard a voter, or begun to lead, and does not know yet whether that is sound.
    pub fn has_to_learn(&self, now: Instant) -> bool {
        let unknown = |n: &NodeId| self.progress.get(n).is_some_and(|p| p.sound.is_none());
        self.membership().voters.iter().any(|n| unknown(n) && self.hears(*n, now))
    }

    /// What a leader knows of its followers.
    pub fn progress(&self) -> &BTreeMap<NodeId, Progress> {
        &self.progress
    }

    /// Whether its vote is conditional.
    pub fn withholds(&self) -> bool {
        self.withheld.is_some()
    }

    /// Whether its state is gone, and a snapshot has not yet brought another.
    pub fn state_lost(&self) -> bool {
        self.state_lost
    }

    /// An entry that is still in memory.
    pub fn entry(&self, index: Index) -> Option<&Entry> {
        self.log.get(index)
    }

    /// The term at an index, if known.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term(index)
    }

    /// The follower to hand the leadership to: a voter that has a state, does not withhold, the most caught up, then the one heard last.
    pub fn best_successor(&self) -> Option<NodeId> {
        let voters: BTreeSet<NodeId> = self.membership().voters.clone();
        self.progress
            .iter()
            .filter(|(node, p)| {
                let able = !matches!(p.phase, Phase::Snapshot(_)) && p.withholds.is_none();
                voters.contains(node) && able
            })
            .max_by_key(|(_, p)| (p.matched, p.heard))
            .map(|(&node, _)| node)
    }

    /// What must hold between any two inputs; the text says what does not.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_invariants_behind(EntryId::ZERO)
    }

    /// The same, but of the log only what is behind an entry up to which it was checked before; all of it where that is not there.
    pub fn check_invariants_behind(&self, checked: EntryId) -> Result<(), String> {
        if let Some(why) = &self.broken {
            return Err(why.clone());
        }
        self.log.check(checked)?;
        let (base, last) = (self.log.base().index, self.log.last().index);
        let order = [base.min(self.applied), self.applied, self.given, self.hard.commit, last];
        if !order.is_sorted() {
            return Err(format!("base, applied, given, commit, last are {order:?}"));
        }
        if self.given > self.log.durable() {
            return Err(format!(
                "{:?} was given to the machine, {:?} is durable",
                self.given,
                self.log.durable()
            ));
        }
        if self.log.last().term > self.hard.term {
            return Err(format!("the log is at {:?}, the term {:?}", self.log.last(), self.hard.term));
        }
        if self.role == Role::Leader && self.log.last().term != self.hard.term {
            return Err("a leader's log does not end in its term".into());
        }
        if self.role != Role::Leader && !self.progress.is_empty() {
            return Err("only a leader follows its followers".into());
        }
        for (node, p) in &self.progress {
            if p.matched >= p.next || p.matched > last {
                return Err(format!("{node:?} matched {:?}, next {:?}, last {last:?}", p.matched, p.next));
            }
        }
        Ok(())
    }
}
