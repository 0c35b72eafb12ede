//! Zones: what fails together, a rack, a room, a data center. Replicas of one shard are kept in different ones.
//!
//! A node says itself in which zone it is ([`What::Zone`]), each time it starts with another name than stands here, and the word is a row
//! of shard 1's. So whoever places replicas knows it without asking anybody, a snapshot brings it along, and a node that was carried to
//! another rack is known there as soon as it runs again; what that breaks is mended by moves. (It does not stand in the configuration
//! with names and addresses: nobody needs it to reach a node, an earlier release could not read it there, and a configuration
//! changes one step at a time.)
//!
//! A node that names no zone is one of its own: nothing is known that it shares. So a cluster without zones is one in which no two
//! replicas are ever too close.
//!
//! # Where a table's shards begin
//!
//! [`spread`] says it for all shards of a table that is made: each replica goes where fewest of its shard are in the zone, of these nodes to
//! the one with the fewest replicas so far, and of these to the next in turn. That is stored as its outcome depends on it: the zones as they
//! were then stand in the block of shards, by number.

use super::{Block, Placement, Tables, bad};
use crate::digest::Digest;
use crate::kv::source::Source;
use crate::table::layout::row;
use quorate_base::{NodeId, ShardId};
use quorate_storage::state::{State, StateResult};
#[cfg(doc)]
use quorate_wire::table::What;
use quorate_wire::table::{Refusal, Reply, is_zone};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// So many nodes may have said in which zone they are.
const NAMED_MAX: usize = 1024;

/// In which zones the nodes are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Zones(BTreeMap<NodeId, String>);

/// How many shards of a table have more than one replica in a zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Close {
    /// Its name.
    pub table: String,
    /// So many.
    pub shards: u32,
    /// And as many replicas in one zone at most.
    pub most: u32,
}

/// How many shards of a table have fewer copies than it asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Short {
    /// Its name.
    pub table: String,
    /// So many.
    pub shards: u32,
    /// One of them has so few.
    pub copies: u32,
    /// It asks for so many.
    pub asked: u32,
}

/// What a node is together with when something fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Zone<'a> {
    /// All that are in a zone of this name.
    Named(&'a str),
    /// It alone.
    Own(NodeId),
}

impl Zones {
    /// Of those that were said.
    pub fn of(said: impl IntoIterator<Item = (NodeId, String)>) -> Self {
        Self(said.into_iter().collect())
    }

    /// Whether no node has said in which one it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a node has said.
    pub fn name(&self, node: NodeId) -> Option<&str> {
        self.0.get(&node).map(String::as_str)
    }

    /// All that was said.
    pub fn names(&self) -> impl Iterator<Item = (NodeId, &str)> {
        self.0.iter().map(|(node, zone)| (*node, zone.as_str()))
    }

    /// Where a node is.
    fn at(&self, node: NodeId) -> Zone<'_> {
        self.name(node).map_or(Zone::Own(node), Zone::Named)
    }

    /// How many zones these nodes are in.
    pub fn many(&self, nodes: impl IntoIterator<Item = NodeId>) -> usize {
        nodes.into_iter().map(|node| self.at(node)).collect::<BTreeSet<_>>().len()
    }

    /// How many of these nodes are in the zone of one.
    pub fn beside(&self, node: NodeId, nodes: impl IntoIterator<Item = NodeId>) -> usize {
        let zone = self.at(node);
        nodes.into_iter().filter(|other| self.at(*other) == zone).count()
    }

    /// Whether two of these nodes are in one zone.
    pub fn are_close(&self, nodes: &BTreeSet<NodeId>) -> bool {
        !self.is_empty() && self.many(nodes.iter().copied()) < nodes.len()
    }

    /// The same by numbers, one for each of these nodes: two have the same where they are in one zone. Empty where no two are.
    pub(super) fn numbered(&self, nodes: &[NodeId]) -> Vec<u32> {
        let mut known: Vec<Zone<'_>> = Vec::new();
        let numbers = nodes.iter().map(|node| {
            let zone = self.at(*node);
            let at = known.iter().position(|other| *other == zone).unwrap_or_else(|| {
                known.push(zone);
                known.len() - 1
            });
            at as u32
        });
        let numbers: Vec<u32> = numbers.collect();
        if known.len() < nodes.len() { numbers } else { Vec::new() }
    }
}

/// On which nodes each of so many shards begins, whose zones have these numbers; see the page.
pub(super) fn spread(nodes: &[NodeId], zones: &[u32], copies: usize, shards: u32) -> Vec<Vec<NodeId>> {
    let mut load = vec![0_u32; nodes.len()];
    let shard = |first: usize| {
        let mut chosen: Vec<usize> = Vec::new();
        for _ in 0..copies.min(nodes.len()) {
            let close = |at: usize| chosen.iter().filter(|other| zones[**other] == zones[at]).count();
            let turn = |at: usize| (at + nodes.len() - first % nodes.len()) % nodes.len();
            let left = (0..nodes.len()).filter(|at| !chosen.contains(at));
            let Some(next) = left.min_by_key(|&at| (close(at), load[at], turn(at))) else { break };
            load[next] += 1;
            chosen.push(next);
        }
        chosen.into_iter().map(|at| nodes[at]).collect()
    };
    (0..shards as usize).map(shard).collect()
}

impl Placement {
    /// In which zones the nodes are.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// Of which tables shards have, and are to have, fewer copies than they ask for.
    pub fn short_shards(&self) -> Vec<Short> {
        let of = |block: &Arc<Block>| {
            let copies = |shard| self.home(shard).map(|home| home.wanted().len() as u32);
            let few = block.shards().filter_map(copies).filter(|&copies| copies < block.copies);
            let (shards, least) = few.fold((0, u32::MAX), |(n, least), copies| (n + 1, least.min(copies)));
            Short { table: block.name.clone(), shards, copies: least, asked: block.copies }
        };
        self.blocks().map(of).filter(|short| short.shards > 0).collect()
    }

    /// Of which tables shards have two replicas in one zone, or are to have.
    pub fn close_shards(&self) -> Vec<Close> {
        self.close_by(|shard| self.home(shard).map(|home| home.wanted()))
    }

    /// The same with the shards on other nodes.
    pub fn close_by(&self, on: impl Fn(ShardId) -> Option<BTreeSet<NodeId>>) -> Vec<Close> {
        let of = |block: &Arc<Block>| {
            let mut close = Close { table: block.name.clone(), shards: 0, most: 0 };
            for nodes in block.shards().filter_map(&on).filter(|nodes| self.zones.are_close(nodes)) {
                let beside = nodes.iter().map(|node| self.zones.beside(*node, nodes.iter().copied()));
                close.most = close.most.max(beside.max().unwrap_or(0) as u32);
                close.shards += 1;
            }
            close
        };
        self.blocks().map(of).filter(|close| close.shards > 0).collect()
    }
}

impl Tables {
    pub(super) fn load_zones(&self, source: &dyn Source) -> StateResult<Zones> {
        let (from, to) = (self.rows.kind(row::ZONE), self.rows.kind(row::ZONE + 1));
        let mut zones = BTreeMap::new();
        for pair in source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
            let (key, stored) = pair?;
            let key = self.rows.rest(&key)?;
            let node = u64::from_be_bytes(key[..].try_into().map_err(|_| bad())?);
            zones.insert(NodeId(node), String::from_utf8(stored.to_vec()).map_err(|_| bad())?);
        }
        Ok(Zones(zones))
    }

    /// A node says in which zone it is; in none where the name is empty.
    pub(in crate::table) fn name_zone(
        &mut self,
        state: &mut dyn State,
        (node, zone): (NodeId, &str),
        digest: &mut Digest,
    ) -> Result<Reply, Refusal> {
        let known = &self.placement.zones;
        if known.name(node).unwrap_or_default() == zone {
            return Ok(Reply::Placed);
        }
        if zone.is_empty() {
            self.forget_zone(state, node, digest);
            return Ok(Reply::Placed);
        }
        if !is_zone(zone) {
            return Err(Refusal::Validation(format!("{zone:?} is no name of a zone")));
        }
        if known.name(node).is_none() && known.0.len() >= NAMED_MAX {
            return Err(Refusal::Limit(format!("{NAMED_MAX} nodes have zones already")));
        }
        digest.number(ZONE);
        digest.number(node.get());
        digest.bytes(zone.as_bytes());
        state.put(&self.zone_row(node), zone.as_bytes());
        Arc::make_mut(&mut self.placement).zones.0.insert(node, zone.to_string());
        Ok(Reply::Placed)
    }

    /// It is not known in which zone a node is.
    pub(super) fn forget_zone(&mut self, state: &mut dyn State, node: NodeId, digest: &mut Digest) {
        digest.number(NO_ZONE);
        digest.number(node.get());
        state.delete(&self.zone_row(node));
        Arc::make_mut(&mut self.placement).zones.0.remove(&node);
    }

    fn zone_row(&self, node: NodeId) -> Vec<u8> {
        let mut key = self.rows.kind(row::ZONE);
        key.extend_from_slice(&node.get().to_be_bytes());
        key
    }
}

/// What the digest calls the effects.
const ZONE: u64 = 119;
const NO_ZONE: u64 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(nodes: &[u64]) -> Vec<NodeId> {
        nodes.iter().map(|&node| NodeId(node)).collect()
    }

    fn zones(names: &[(u64, &str)]) -> Zones {
        Zones::of(names.iter().map(|(node, zone)| (NodeId(*node), zone.to_string())))
    }

    #[test]
    fn who_names_no_zone_is_one_of_its_own() {
        let some = zones(&[(1, "a"), (2, "a"), (4, "b")]);
        assert_eq!(some.many(ids(&[1, 2, 3, 4, 5])), 4);
        assert_eq!(some.numbered(&ids(&[1, 3, 2, 4])), [0, 1, 0, 2]);
        assert_eq!(some.numbered(&ids(&[1, 3, 4])), [0_u32; 0], "no two are together");
        assert!(some.are_close(&ids(&[1, 2, 3]).into_iter().collect()));
        assert!(!some.are_close(&ids(&[1, 3, 5]).into_iter().collect()));
        assert_eq!((some.beside(NodeId(1), ids(&[2, 3])), some.beside(NodeId(5), ids(&[2, 3]))), (1, 0));
    }

    /// A row: the nodes' zones, how many copies, how many zones each shard is to touch, how many replicas of 60 shards the nodes may have.
    type Row<'a> = (&'a [&'a str], usize, usize, (u32, u32));

    #[test]
    fn where_shards_begin() {
        let rows: &[Row<'_>] = &[
            (&["a", "b", "c", "a"], 3, 3, (30, 60)),
            (&["a", "b", "c", "a", "b", "c"], 3, 3, (30, 30)),
            (&["a", "a", "a", "b", "c"], 3, 3, (20, 60)),
            // Zones enough that all nodes get about the same though one has more of them.
            (&["a", "a", "b", "c", "d", "e"], 3, 3, (29, 31)),
            // Too few zones: as many as there are, evenly.
            (&["a", "b", "a", "b"], 3, 2, (45, 45)),
            (&["a", "a", "a", "a", "b"], 5, 2, (60, 60)),
            (&["a", "a", "b", "b", "b"], 4, 2, (40, 60)),
            (&["a", "a", "a"], 3, 1, (60, 60)),
            // Too few nodes.
            (&["a", "a"], 3, 1, (60, 60)),
        ];
        for (at, (names, copies, touched, (least, most))) in rows.iter().enumerate() {
            let nodes = ids(&(1..=names.len() as u64).collect::<Vec<_>>());
            let said = zones(&(1..).zip(names.iter().copied()).collect::<Vec<_>>());
            let shards = spread(&nodes, &said.numbered(&nodes), *copies, 60);
            let mut load: BTreeMap<NodeId, u32> = BTreeMap::new();
            for shard in &shards {
                let different: BTreeSet<NodeId> = shard.iter().copied().collect();
                assert_eq!(different.len(), (*copies).min(nodes.len()), "row {at}");
                assert_eq!(said.many(shard.iter().copied()), *touched, "row {at}: {shard:?}");
                let held = shard.iter().map(|node| said.beside(*node, shard.iter().copied()));
                let even = shard.len().div_ceil(*touched);
                let room = |node: &NodeId| said.beside(*node, nodes.iter().copied()) >= even;
                let full = shard.iter().any(|node| !room(node));
                assert!(full || held.max() <= Some(even), "row {at}: {shard:?} is not even");
                for node in shard {
                    *load.entry(*node).or_default() += 1;
                }
            }
            assert!(load.values().all(|held| (least..=most).contains(&held)), "row {at}: {load:?}");
        }
    }
}
