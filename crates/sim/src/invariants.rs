//! What must hold after every step, whatever the faults.
//!
//! - *Election Safety*: at most one leader a term.
//! - *State Machine Safety*: what one node has applied at an index, no node ever applies differently there (seen by the
//!   machine's own digest, which covers index and effect), over all lives of all nodes.
//! - *Leader Completeness*, as far as it shows: a leader's log holds every entry that any node has applied.
//! - The commit index of a life never goes back, and what is applied is durable in the own journal or in its checkpoint.
//!
//! The core's own invariants ([`quorate_protocol::raft::Raft::check_invariants`]) are asked too.

use crate::place::Place;
use quorate_base::{EntryId, Index, NodeId, Term};
use std::collections::BTreeMap;

/// What has been seen so far.
#[derive(Default)]
pub(crate) struct Invariants {
    leaders: BTreeMap<Term, NodeId>,
    /// Digest of the state by applied index, with who said so first.
    digests: BTreeMap<Index, (EntryId, u64, NodeId)>,
    /// The last index looked at, by node and life.
    looked: BTreeMap<(NodeId, u64), Index>,
    /// The highest entry that anybody has applied.
    pub(crate) applied: EntryId,
}

impl Invariants {
    pub(crate) fn check(&mut self, places: &[Place]) -> Result<(), String> {
        for place in places {
            let Some(running) = place.running.as_ref() else { continue };
            let raft = running.lane.raft();
            raft.check_invariants().map_err(|why| format!("node {}: {why}", place.id))?;
            let kv = running.applier.kv();
            let (applied, digest) = (kv.applied(), kv.digest());
            let key = (place.id, place.life);
            if self.looked.get(&key) != Some(&applied.index) {
                self.looked.insert(key, applied.index);
                self.compare(place.id, applied, digest)?;
            }
            if raft.is_leader() {
                self.one_leader(place.id, raft.term())?;
            }
        }
        for place in places {
            let Some(running) = place.running.as_ref() else { continue };
            let raft = running.lane.raft();
            if raft.is_leader() && self.leaders.last_key_value().is_some_and(|(&t, _)| t == raft.term()) {
                self.complete(place.id, raft)?;
            }
        }
        Ok(())
    }

    fn one_leader(&mut self, node: NodeId, term: Term) -> Result<(), String> {
        let first = *self.leaders.entry(term).or_insert(node);
        if first == node {
            return Ok(());
        }
        Err(format!("Election Safety: nodes {first} and {node} both lead in term {term}"))
    }

    fn compare(&mut self, node: NodeId, applied: EntryId, digest: u64) -> Result<(), String> {
        if applied.index == Index(0) {
            return Ok(());
        }
        self.applied = self.applied.max(applied);
        let (id, seen, by) = *self.digests.entry(applied.index).or_insert((applied, digest, node));
        if (id, seen) == (applied, digest) {
            return Ok(());
        }
        Err(format!(
            "State Machine Safety: at index {} node {by} has {id:?} with digest {seen:016x}, \
             node {node} has {applied:?} with {digest:016x}",
            applied.index
        ))
    }

    fn complete(&self, node: NodeId, raft: &quorate_protocol::raft::Raft) -> Result<(), String> {
        let must = self.applied;
        if raft.term() <= must.term || raft.last().index >= must.index {
            return Ok(());
        }
        Err(format!(
            "Leader Completeness: node {node} leads in term {} with a log that ends at {:?}, but {must:?} was applied",
            raft.term(),
            raft.last()
        ))
    }
}
