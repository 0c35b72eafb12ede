//! On which nodes the replicas of a shard are, and where they are to be.
//!
//! A shard begins on the nodes that its table's entry says: the voters of that time, or as many of them in turn as there are to be
//! copies. From then on its *home* changes by entries of shard 1 alone. [`What::Move`] says who is to have a replica; who had one and is
//! to have none keeps it until [`What::Moved`] says that the shard's own group has the members that it was to have: only then may a
//! node forget what it has of the shard. Each word names the place in the log of the one before it, so that whoever
//! decides by an old state decides nothing, and whatever is said twice counts once.
//!
//! A node that has had a replica and forgotten it may get it again. It has promised things then that it knows nothing of, so the home
//! remembers who has left ([`Home::had_left`]): such a one begins as a replica whose disk is lost. (One that is behind in shard 1's log,
//! and whose group has told it by a newer word that it is a member, has forgotten nothing, and does not begin to by the older one.)

use super::{Block, Placement, Tables, bad};
use crate::digest::Digest;
use crate::table::layout::{row, varint};
use bytes::Bytes;
use quorate_base::{Index, NodeId, ShardId};
use quorate_protocol::raft::Membership;
use quorate_storage::state::{State, StateResult};
use quorate_wire::codec::Reader;
#[cfg(doc)]
use quorate_wire::table::What;
use quorate_wire::table::{Refusal, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// No shard has more replicas.
const REPLICAS_MAX: usize = 64;
const FORMAT: u8 = 1;

/// The tag by which a table says how many nodes may fail while it still serves.
const SURVIVE_TAG: &str = "quorate:survive";
/// So many copies survive one.
const COPIES: u32 = 3;

/// Where the replicas of a shard are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Home {
    /// The place in shard 1's log of the last word about who is to have it.
    pub at: Index,
    /// Who has it or is to have it, and since which place in shard 1's log.
    pub replicas: BTreeMap<NodeId, Index>,
    /// Who has it until the move is through.
    pub leaving: BTreeMap<NodeId, Index>,
    /// The group does not have these members for certain.
    pub moving: bool,
    left: BTreeSet<NodeId>,
}

impl Home {
    /// Whether a node has, or may have, something of the shard.
    pub fn hosts(&self, node: NodeId) -> bool {
        self.replicas.contains_key(&node) || self.leaving.contains_key(&node)
    }

    /// All such nodes.
    pub fn all_hosts(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.keys().chain(self.leaving.keys()).copied()
    }

    /// Who is to have it.
    pub fn wanted(&self) -> BTreeSet<NodeId> {
        self.replicas.keys().copied().collect()
    }

    /// Who had it before the move that is under way, as far as they are not gone.
    pub fn before(&self) -> BTreeSet<NodeId> {
        let stayed = self.replicas.iter().filter(|(_, since)| !self.moving || **since < self.at);
        stayed.map(|(node, _)| *node).chain(self.leaving.keys().copied()).collect()
    }

    /// Since when a node has it.
    pub fn since(&self, node: NodeId) -> Option<Index> {
        self.replicas.get(&node).or_else(|| self.leaving.get(&node)).copied()
    }

    /// Whether a node had a replica once and has forgotten it.
    pub fn had_left(&self, node: NodeId) -> bool {
        self.left.contains(&node)
    }

    /// Of a shard that was made at that place of shard 1's log, on these nodes.
    pub fn founded(nodes: impl IntoIterator<Item = NodeId>, made: Index) -> Self {
        let replicas = nodes.into_iter().map(|node| (node, made)).collect();
        Self { at: made, replicas, ..Self::default() }
    }

    /// Behind the word, at that place, that it is to be on these nodes.
    pub fn moved_to(&self, nodes: &[NodeId], at: Index) -> Self {
        let since = |node: &NodeId| (*node, self.since(*node).unwrap_or(at));
        let replicas: BTreeMap<NodeId, Index> = nodes.iter().map(since).collect();
        let had = self.replicas.iter().chain(&self.leaving);
        let leaving = had.filter(|(node, _)| !replicas.contains_key(node)).map(|(node, at)| (*node, *at));
        Self { at, leaving: leaving.collect(), replicas, moving: true, left: self.left.clone() }
    }

    /// Behind the word that it is where it is to be.
    pub fn arrived(&self) -> Self {
        let left = self.left.iter().chain(self.leaving.keys()).copied().collect();
        Self { leaving: BTreeMap::new(), moving: false, left, ..self.clone() }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT, u8::from(self.moving)];
        varint(&mut out, self.at.get());
        for nodes in [&self.replicas, &self.leaving] {
            varint(&mut out, nodes.len() as u64);
            for (node, since) in nodes {
                varint(&mut out, node.get());
                varint(&mut out, since.get());
            }
        }
        varint(&mut out, self.left.len() as u64);
        for node in &self.left {
            varint(&mut out, node.get());
        }
        out
    }

    fn decode(stored: Bytes) -> StateResult<Self> {
        let mut input = Reader::new(stored);
        let mut read = || -> quorate_wire::codec::Read<_> {
            let (format, moving) = (input.u8()?, input.flag()?);
            let at = Index(input.varint()?);
            let mut sets: [BTreeMap<NodeId, Index>; 2] = Default::default();
            for set in &mut sets {
                for _ in 0..input.count()? {
                    set.insert(NodeId(input.varint()?), Index(input.varint()?));
                }
            }
            let left = (0..input.count()?).map(|_| Ok(NodeId(input.varint()?))).collect::<Result<_, _>>()?;
            input.end()?;
            let [replicas, leaving] = sets;
            Ok((format, Self { at, replicas, leaving, moving, left }))
        };
        match read() {
            Ok((FORMAT, home)) => Ok(home),
            _ => Err(bad()),
        }
    }
}

/// How many copies a table asks for by its tags.
pub(super) fn copies(tags: &[(String, String)]) -> u32 {
    let tag = tags.iter().find(|(key, _)| key == SURVIVE_TAG);
    let survive = tag.and_then(|(_, value)| value.parse::<u32>().ok());
    survive.map_or(COPIES, |n| n.saturating_mul(2).saturating_add(1))
}

impl Block {
    /// The nodes on which a shard begins: the voters of the configuration in the entry that made it, or some of them, in turn.
    fn founding(&self, shard: ShardId) -> impl Iterator<Item = NodeId> + '_ {
        let (voters, copies) = (&self.voters, self.copies as usize);
        let first = (shard.get() - self.first) as usize;
        let apart = self.spread.get(first);
        let many = copies.min(voters.len());
        (0..many).map(move |n| apart.map_or(voters[(first + n) % voters.len()], |nodes| nodes[n]))
    }
}

/// See [`Block::founding`] of all shards, where some of the voters are in one zone.
pub(super) fn spread(voters: &[NodeId], zones: &[u32], copies: u32, shards: u32) -> Vec<Vec<NodeId>> {
    if zones.is_empty() { Vec::new() } else { super::zones::spread(voters, zones, copies as usize, shards) }
}

impl Placement {
    /// Where the replicas of a shard are, if it is there.
    pub fn home(&self, shard: ShardId) -> Option<Home> {
        if let Some(home) = self.homes.get(&shard.get()) {
            return Some((**home).clone());
        }
        let block = self.block_of(shard)?;
        Some(Home::founded(block.founding(shard), block.made))
    }

    /// Whether a node is to have a replica of a shard; `None` if there is no such shard.
    pub fn wants(&self, shard: ShardId, node: NodeId) -> Option<bool> {
        match self.homes.get(&shard.get()) {
            Some(home) => Some(home.replicas.contains_key(&node)),
            None => Some(self.block_of(shard)?.founding(shard).any(|other| other == node)),
        }
    }

    /// All shards, each with where its replicas are.
    pub fn homes(&self) -> impl Iterator<Item = (ShardId, Home)> + '_ {
        let shards = self.blocks().flat_map(|block| block.shards());
        shards.filter_map(|shard| Some((shard, self.home(shard)?)))
    }

    /// The shards of which a node has, or may have, something.
    pub fn hosted_by(&self, node: NodeId) -> impl Iterator<Item = ShardId> + '_ {
        self.homes().filter(move |(_, home)| home.hosts(node)).map(|(shard, _)| shard)
    }

    /// Whether a shard was there, or is there and a node has nothing of it.
    pub fn is_elsewhere(&self, shard: ShardId, node: NodeId) -> bool {
        self.was_dropped(shard) || self.home(shard).is_some_and(|home| !home.hosts(node))
    }

    /// The configuration with which a node's replica begins. One that comes to a group listens first, and is told by it who the
    /// members are.
    pub fn first_members(&self, shard: ShardId, node: NodeId) -> Option<Membership> {
        let (block, home) = (self.block_of(shard)?, self.home(shard)?);
        let founders = Membership::decode(&block.founders);
        let founding: BTreeSet<NodeId> = block.founding(shard).collect();
        let book = founders.map(|founders| founders.book).unwrap_or_default();
        if home.since(node) == Some(block.made) {
            return Some(Membership { voters: founding, book, ..Membership::default() });
        }
        let others: BTreeSet<NodeId> = home.before().into_iter().filter(|other| *other != node).collect();
        let voters = if others.is_empty() { founding } else { others };
        let voters: BTreeSet<NodeId> = voters.into_iter().filter(|other| *other != node).collect();
        Some(Membership { voters, learners: [node].into(), ..Membership::default() })
    }
}

impl Tables {
    pub(super) fn load_home(key: &[u8], stored: Bytes) -> StateResult<(u32, Home)> {
        let shard = u32::from_be_bytes(key.try_into().map_err(|_| bad())?);
        Ok((shard, Home::decode(stored)?))
    }

    /// A shard's replicas are to be these nodes.
    pub(in crate::table) fn move_shard(
        &mut self,
        state: &mut dyn State,
        (shard, since): (ShardId, u64),
        replicas: &[NodeId],
        at: Index,
        digest: &mut Digest,
    ) -> Result<Reply, Refusal> {
        let home = self.placement.home(shard).ok_or(Refusal::NotFound)?;
        if home.at != Index(since) {
            return Err(Refusal::StaleEpoch);
        }
        let different: BTreeSet<&NodeId> = replicas.iter().collect();
        if replicas.is_empty() || replicas.len() > REPLICAS_MAX || different.len() < replicas.len() {
            return Err(Refusal::Validation(
                "A shard has from 1 to 64 replicas, each on another node".into(),
            ));
        }
        self.put_home(state, shard, home.moved_to(replicas, at), digest);
        Ok(Reply::Placed)
    }

    /// Its group has the members that it was to have.
    pub(in crate::table) fn moved_shard(
        &mut self,
        state: &mut dyn State,
        (shard, since): (ShardId, u64),
        digest: &mut Digest,
    ) -> Result<Reply, Refusal> {
        let home = self.placement.home(shard).ok_or(Refusal::NotFound)?;
        if home.at != Index(since) {
            return Err(Refusal::StaleEpoch);
        }
        if home.moving {
            self.put_home(state, shard, home.arrived(), digest);
        }
        Ok(Reply::Placed)
    }

    fn put_home(&mut self, state: &mut dyn State, shard: ShardId, home: Home, digest: &mut Digest) {
        let encoded = home.encode();
        digest.number(HOME);
        digest.number(shard.get().into());
        digest.bytes(&encoded);
        state.put(&self.rows.numbered(row::HOME, shard.get(), b""), &encoded);
        Arc::make_mut(&mut self.placement).homes.insert(shard.get(), Arc::new(home));
    }
}

/// What the digest calls the effect.
const HOME: u64 = 116;
