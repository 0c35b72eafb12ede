//! Nodes that are to leave: they are members still and serve, and their replicas of shards move to others.
//!
//! Who removes a member says so first ([`What::Leave`]), and removes it once it has no replica left; or takes it back. The word is a
//! row of shard 1's, so it outlives whoever gave it. Ids of members are not given twice: of one that is gone, it means nothing.

use super::{Placement, Tables, bad};
use crate::digest::Digest;
use crate::kv::source::Source;
use crate::table::layout::row;
use bytes::Bytes;
use quorate_base::{Index, NodeId};
use quorate_protocol::raft::Membership;
use quorate_storage::state::{State, StateResult};
#[cfg(doc)]
use quorate_wire::table::What;
use quorate_wire::table::{Refusal, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// So many nodes may be leaving at once.
const LEAVING_MAX: usize = 64;

/// How a node that is to leave does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaver {
    /// Since which place in shard 1's log it is to leave; `None` if it is not.
    pub since: Option<Index>,
    /// Of so many shards it has something.
    pub shards: usize,
    /// So many of these are on the way to another node.
    pub moving: usize,
    /// So many cannot go: there are too few members beside those that are to leave for as many copies as they have.
    pub stuck: usize,
}

impl Placement {
    /// The nodes that are to leave.
    pub fn leaving(&self) -> BTreeSet<NodeId> {
        self.leaving.keys().copied().collect()
    }

    /// How far a node is, or would be, with leaving, among members of whom these vote.
    pub fn leaver(&self, node: NodeId, voters: &BTreeSet<NodeId>) -> Leaver {
        let stay = voters.iter().filter(|id| **id != node && !self.leaving.contains_key(id)).count();
        let mut leaver = Leaver { since: self.leaving.get(&node).copied(), shards: 0, moving: 0, stuck: 0 };
        for (_, home) in self.homes().filter(|(_, home)| home.hosts(node)) {
            leaver.shards += 1;
            if home.leaving.contains_key(&node) {
                leaver.moving += 1;
            } else if home.replicas.len() > stay {
                leaver.stuck += 1;
            }
        }
        leaver
    }

    /// A configuration with which shards begin, without voters that are to leave, if enough are left for so many copies.
    pub(super) fn without_leaving(&self, founders: &Bytes, copies: u32) -> Bytes {
        let Some(mut membership) = Membership::decode(founders) else { return founders.clone() };
        let before = membership.voters.len();
        membership.voters.retain(|node| !self.leaving.contains_key(node));
        let enough = membership.voters.len() >= before.min(copies as usize).max(1);
        if enough && membership.voters.len() < before { membership.encode() } else { founders.clone() }
    }
}

impl Tables {
    pub(super) fn load_leaving(&self, source: &dyn Source) -> StateResult<BTreeMap<NodeId, Index>> {
        let (from, to) = (self.rows.kind(row::LEAVING), self.rows.kind(row::LEAVING + 1));
        let mut leaving = BTreeMap::new();
        for pair in source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
            let (key, stored) = pair?;
            let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| bad());
            leaving.insert(NodeId(number(&self.rows.rest(&key)?)?), Index(number(&stored)?));
        }
        Ok(leaving)
    }

    /// A node is to leave, or to stay after all.
    pub(in crate::table) fn leave(
        &mut self,
        state: &mut dyn State,
        (node, leaves): (NodeId, bool),
        at: Index,
        digest: &mut Digest,
    ) -> Result<Reply, Refusal> {
        if leaves == self.placement.leaving.contains_key(&node) {
            return Ok(Reply::Placed);
        }
        if !leaves {
            self.stay(state, node, digest);
            return Ok(Reply::Placed);
        }
        if self.placement.leaving.len() >= LEAVING_MAX {
            return Err(Refusal::Limit(format!("{LEAVING_MAX} nodes are to leave already")));
        }
        digest.number(LEAVE);
        digest.number(node.get());
        digest.number(at.get());
        state.put(&self.leaving_row(node), &at.get().to_be_bytes());
        Arc::make_mut(&mut self.placement).leaving.insert(node, at);
        Ok(Reply::Placed)
    }

    /// A node does not leave.
    pub(super) fn stay(&mut self, state: &mut dyn State, node: NodeId, digest: &mut Digest) {
        digest.number(STAY);
        digest.number(node.get());
        state.delete(&self.leaving_row(node));
        Arc::make_mut(&mut self.placement).leaving.remove(&node);
    }

    fn leaving_row(&self, node: NodeId) -> Vec<u8> {
        let mut key = self.rows.kind(row::LEAVING);
        key.extend_from_slice(&node.get().to_be_bytes());
        key
    }
}

/// What the digest calls the effects.
const LEAVE: u64 = 117;
const STAY: u64 = 118;
