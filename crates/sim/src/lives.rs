//! What a node must still know when it comes back, and what all logs together must be: by what was seen of every node, over all lives.
//!
//! - *Terms*: a node starts in no earlier term than it has spoken in. *Votes*: it has one vote a term, and remembers it.
//! - *Durability*: what it has confirmed to a leader and that leader has committed is in its log, unless it says that it withholds.
//! - *Withholding*: what withheld and was not healed withholds again.
//! - *Log Matching*: two logs that hold one entry are one log up to there.
//! - *Leader Completeness*, before it is too late: nobody who lacks what is committed could be elected by who is up now.
//!
//! What was deleted with its table, and comes back and withholds, owes neither.
//!
//! The last three see a broken promise when it could first do harm; the harm itself may need many more faults. A node whose disk was
//! lost, or put back to an old copy, starts without a past.

use crate::place::Place;
use crate::world::KV;
use quorate_base::{EntryId, Index, NodeId, ShardId, Term};
use quorate_protocol::raft::{Membership, Message, Raft};
use std::collections::BTreeMap;

/// What was seen of all nodes, in one group.
pub(crate) struct Lives {
    shard: ShardId,
    /// The highest term that a node has spoken in.
    spoke: BTreeMap<NodeId, Term>,
    /// For whom it voted without a condition.
    voted: BTreeMap<(NodeId, Term), NodeId>,
    /// The terms of committed entries.
    committed: BTreeMap<Index, Term>,
    /// How far the leader of a term had committed.
    led: BTreeMap<(Term, NodeId), Index>,
    /// The voters when something was last committed.
    voters: Option<Membership>,
    /// A node knew once that the shard was deleted with its table.
    deleted: bool,
}

impl Lives {
    pub(crate) fn of(shard: ShardId) -> Self {
        Self {
            shard,
            spoke: BTreeMap::new(),
            voted: BTreeMap::new(),
            committed: BTreeMap::new(),
            led: BTreeMap::new(),
            voters: None,
            deleted: false,
        }
    }

    /// The shard was deleted with its table, whoever knows it later.
    pub(crate) fn deleted(&mut self) {
        self.deleted = true;
    }

    /// A node says something to another.
    pub(crate) fn hear(&mut self, from: NodeId, to: NodeId, message: &Message) -> Result<(), String> {
        match *message {
            // What is only asked binds nobody.
            Message::RequestVote { pre: true, .. } | Message::Vote { pre: true, .. } => return Ok(()),
            Message::RequestVote { term, .. } => self.votes(from, term, from)?,
            Message::Vote { term, granted: true, withheld: false, .. } => self.votes(from, term, to)?,
            _ => {}
        }
        let spoke = self.spoke.entry(from).or_default();
        *spoke = message.term().max(*spoke);
        Ok(())
    }

    /// The highest term that a node has spoken in, which its disk therefore knows.
    pub(crate) fn spoke(&self, node: NodeId) -> Term {
        self.spoke.get(&node).copied().unwrap_or_default()
    }

    fn votes(&mut self, node: NodeId, term: Term, candidate: NodeId) -> Result<(), String> {
        let first = *self.voted.entry((node, term)).or_insert(candidate);
        if first == candidate {
            return Ok(());
        }
        Err(format!("Votes: node {node} voted in term {term} for node {first} and for node {candidate}"))
    }

    /// A leader has committed up to its commit index, and before only up to `from`.
    pub(crate) fn commits(&mut self, node: NodeId, raft: &Raft, from: Index) -> Result<(), String> {
        let upto = raft.commit();
        for at in (from.0 + 1..=upto.0).map(Index) {
            let Some(term) = raft.term_at(at) else { continue };
            let known = *self.committed.entry(at).or_insert(term);
            if known != term {
                return Err(format!(
                    "State Machine Safety: index {at} was committed in term {known}, and by node {node} in term {term}"
                ));
            }
        }
        self.led.insert((raft.term(), node), upto);
        self.voters = Some(raft.membership().clone());
        Ok(())
    }

    fn newest(&self) -> Option<EntryId> {
        self.committed.last_key_value().map(|(&index, &term)| EntryId::new(term, index))
    }

    /// Whoever leads holds the newest that is committed, unless that was committed after it was elected.
    pub(crate) fn leads(&self, node: NodeId, raft: &Raft) -> Result<(), String> {
        let by = self.led.iter().next_back().map(|(&(term, _), _)| term);
        match self.newest() {
            Some(newest) if by < Some(raft.term()) && lacks(raft, newest) => Err(format!(
                "Leader Completeness: node {node} leads in term {} and lacks {newest:?}, which is committed",
                raft.term()
            )),
            _ => Ok(()),
        }
    }

    /// Nobody who lacks what is committed could be elected by who is up.
    pub(crate) fn immune(&self, places: &[Place]) -> Result<(), String> {
        let (Some(newest), Some(voters)) = (self.newest(), &self.voters) else { return Ok(()) };
        let whole = |place: &Place| {
            let raft = place.core(self.shard)?;
            let counts = !raft.withholds() && !raft.state_lost() && !raft.disk_lost();
            (counts && voters.is_voter(place.id)).then_some((place.id, raft.last(), lacks(raft, newest)))
        };
        let all: Vec<(NodeId, EntryId, bool)> = places.iter().filter_map(whole).collect();
        for &(node, last, _) in all.iter().filter(|(_, _, lacks)| *lacks) {
            let prefers = |n: NodeId| all.iter().any(|&(id, own, _)| id == n && own <= last);
            if voters.is_quorum(prefers) {
                return Err(format!(
                    "Leader Completeness: node {node}, whose log ends at {last:?}, could be elected without {newest:?}, \
                     which is committed"
                ));
            }
        }
        Ok(())
    }

    /// A node begins a life; `confirmed` says what it had confirmed to the leaders of terms.
    pub(crate) fn begins(
        &mut self,
        place: &Place,
        places: &[Place],
        confirmed: &BTreeMap<(Term, NodeId), BTreeMap<NodeId, Index>>,
    ) -> Result<(), String> {
        let node = place.id;
        // One that was let go of and came back is as one whose disk is lost.
        let came_back = self.shard != KV && place.core(self.shard).is_some_and(Raft::disk_lost);
        if place.disk_lost || place.forgot.is_some() || came_back {
            self.spoke.remove(&node);
            self.voted.retain(|&(voter, _), _| voter != node);
            return Ok(());
        }
        let Some(raft) = place.core(self.shard) else { return Ok(()) };
        // A checkpoint of a newer term heals what it withheld, though it may not have lived to know it.
        if self.shard == KV
            && place.withholds.is_some_and(|term| raft.base().term <= term)
            && !raft.withholds()
        {
            return Err(format!(
                "Withholding: node {node} withheld when it went down, and starts as if it had forgotten nothing"
            ));
        }
        let hard = raft.hard();
        // The second record of terms and votes has forgotten what was deleted, and a damaged journal and a lost state bring back what is
        // left of it. It may have forgotten what it promised then, and says so: its yes counts where all say yes (seeds 1000005, 1000026; of 5, where all had lost their state).
        if raft.withholds() && self.deleted {
            return Ok(());
        }
        if let Some(&spoke) = self.spoke.get(&node).filter(|&&spoke| spoke > hard.term) {
            return Err(format!(
                "Terms: node {node} has spoken in term {spoke}, and starts in term {}",
                hard.term
            ));
        }
        if let Some(&candidate) = self.voted.get(&(node, hard.term)).filter(|&&c| hard.vote != Some(c)) {
            let (term, vote) = (hard.term, hard.vote);
            return Err(format!(
                "Votes: node {node} voted in term {term} for node {candidate}, and starts with {vote:?}"
            ));
        }
        let kept = |(led, by): (&(Term, NodeId), &BTreeMap<NodeId, Index>)| {
            Some(*by.get(&node)?.min(self.led.get(led)?))
        };
        let kept = confirmed.iter().filter_map(kept).max().unwrap_or_default();
        self.durable(node, raft, kept)?;
        for other in places.iter().filter(|other| other.id != node) {
            let Some(there) = other.core(self.shard) else { continue };
            matching((node, raft), (other.id, there))?;
        }
        Ok(())
    }

    fn durable(&self, node: NodeId, raft: &Raft, kept: Index) -> Result<(), String> {
        let last = raft.last().index;
        let says = raft.withholds() || raft.state_lost() || raft.disk_lost();
        if last < kept && !says {
            return Err(format!(
                "Durability: node {node} has confirmed {kept}, which is committed; its log ends at {last}, and it withholds \
                 nothing"
            ));
        }
        // Where it withholds, its log may be one that it has had before what it confirmed; a mixture of both is none.
        let mut same = None;
        for at in (raft.base().index.0 + 1..=last.min(kept).0).rev().map(Index) {
            let (Some(here), Some(there)) = (raft.term_at(at), self.committed.get(&at).copied()) else {
                continue;
            };
            match same {
                _ if here == there => same = same.or(Some(at)),
                None if says => {}
                None => {
                    return Err(format!(
                        "Durability: node {node} has confirmed index {at} of term {there}, and starts with one of term {here}"
                    ));
                }
                Some(above) => {
                    return Err(format!(
                        "Log Matching: node {node} holds what is committed at {above}, and at {at} an entry of term {here}, not \
                         {there}"
                    ));
                }
            }
        }
        Ok(())
    }
}

fn lacks(raft: &Raft, id: EntryId) -> bool {
    let base = raft.base();
    if id.index <= base.index { false } else { raft.term_at(id.index) != Some(id.term) }
}

fn matching((a, one): (NodeId, &Raft), (b, other): (NodeId, &Raft)) -> Result<(), String> {
    let from = one.base().index.max(other.base().index);
    let upto = one.last().index.min(other.last().index);
    let mut same = None;
    for at in (from.0 + 1..=upto.0).rev().map(Index) {
        match (one.term_at(at), other.term_at(at), same) {
            (Some(x), Some(y), None) if x == y => same = Some(at),
            (Some(x), Some(y), Some(above)) if x != y => {
                return Err(format!(
                    "Log Matching: nodes {a} and {b} hold the same entry at {above}, and at {at} those of terms {x} and {y}"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
