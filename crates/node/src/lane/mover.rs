//! Which replicas of shards are to move next: a pure function of where they are, who the members are and who is heard.
//!
//! Whoever leads shard 1 asks now and then, and has the answer put into its log ([`What::Move`]); the groups follow by themselves
//! ([`super::placement`]). Nothing is remembered between two questions, so the next leader goes on where the last one was.
//!
//! First of all a shard leaves nodes that are no members any more, then it gets the copies that it lacks, and then the load is evened
//! out: the node with the most replicas gives one to a node with two fewer. One replica of a shard moves at a time, and only while
//! a majority of its replicas is heard, so that the move takes none of those who could decide. A few shards move
//! at once, since each move reads a whole shard at one node and writes it at another.

use quorate_base::{Index, NodeId, ShardId};
use quorate_state::table::{Home, Placement};
#[cfg(doc)]
use quorate_wire::table::What;
use std::collections::{BTreeMap, BTreeSet};

/// So many shards move at once.
const AT_ONCE: usize = 4;

/// What is known of the nodes.
pub(super) struct Nodes<'a> {
    /// Those who vote in shard 1.
    pub(super) members: &'a BTreeSet<NodeId>,
    /// Whether one was heard lately.
    pub(super) hears: &'a dyn Fn(NodeId) -> bool,
}

/// A shard whose replicas are to be these nodes; `since` is the place of the last word about that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Move {
    pub(super) shard: ShardId,
    pub(super) since: Index,
    pub(super) replicas: Vec<NodeId>,
}

/// The moves that are to begin now.
pub(super) fn next(placement: &Placement, nodes: &Nodes<'_>) -> Vec<Move> {
    let mut homes: BTreeMap<ShardId, Home> = placement.homes().collect();
    let mut load = Load::of(&homes, nodes);
    let mut moves = Vec::new();
    let gone = |home: &Home| home.replicas.keys().any(|node| !nodes.members.contains(node));
    // One that cannot go on, since who is to get it left meanwhile, is turned to another node.
    let stuck: Vec<ShardId> =
        homes.iter().filter(|(_, home)| home.moving && gone(home)).map(|(shard, _)| *shard).collect();
    let busy = |home: &&Home| home.moving && home.replicas.keys().all(|node| (nodes.hears)(*node));
    let mut room = AT_ONCE.saturating_sub(homes.values().filter(busy).count());
    let still: Vec<ShardId> =
        homes.iter().filter(|(_, home)| !home.moving).map(|(shard, _)| *shard).collect();
    let repaired = stuck.into_iter().chain(still.iter().copied());
    for shard in repaired.collect::<Vec<_>>() {
        if room == 0 {
            return moves;
        }
        let (Some(home), Some(block)) = (homes.get(&shard), placement.block_of(shard)) else { continue };
        let Some(wanted) = load.repaired(home, block.copies as usize, nodes) else { continue };
        if begin(&mut moves, &mut homes, &mut load, shard, wanted) {
            room -= 1;
        }
    }
    let mut rest: Vec<ShardId> =
        still.into_iter().filter(|shard| !moves.iter().any(|one| one.shard == *shard)).collect();
    while room > 0 {
        let evened = rest.iter().enumerate().filter_map(|(at, shard)| {
            let (most, wanted) = load.evened(homes.get(shard)?, nodes)?;
            Some((most, std::cmp::Reverse(at), *shard, wanted))
        });
        let Some((_, _, shard, wanted)) = evened.max_by_key(|(most, at, ..)| (*most, *at)) else { break };
        begin(&mut moves, &mut homes, &mut load, shard, wanted);
        rest.retain(|other| *other != shard);
        room -= 1;
    }
    moves
}

fn begin(
    moves: &mut Vec<Move>,
    homes: &mut BTreeMap<ShardId, Home>,
    load: &mut Load,
    shard: ShardId,
    wanted: BTreeSet<NodeId>,
) -> bool {
    let Some(home) = homes.get(&shard) else { return false };
    let before = home.wanted();
    if before == wanted {
        return false;
    }
    before.difference(&wanted).for_each(|node| load.count(*node, -1));
    wanted.difference(&before).for_each(|node| load.count(*node, 1));
    moves.push(Move { shard, since: home.at, replicas: wanted.into_iter().collect() });
    true
}

/// How many replicas each node has or is to have.
struct Load(BTreeMap<NodeId, i64>);

impl Load {
    fn of(homes: &BTreeMap<ShardId, Home>, nodes: &Nodes<'_>) -> Self {
        let mut load = Self(nodes.members.iter().map(|node| (*node, 0)).collect());
        homes.values().flat_map(|home| home.replicas.keys()).for_each(|node| load.count(*node, 1));
        load
    }

    fn count(&mut self, node: NodeId, by: i64) {
        *self.0.entry(node).or_default() += by;
    }

    fn at(&self, node: NodeId) -> i64 {
        self.0.get(&node).copied().unwrap_or_default()
    }

    /// The member with the fewest replicas that is heard and has none of this shard.
    fn emptiest(&self, home: &Home, nodes: &Nodes<'_>) -> Option<NodeId> {
        let fit = |node: &&NodeId| !home.hosts(**node) && (nodes.hears)(**node);
        nodes.members.iter().filter(fit).min_by_key(|node| (self.at(**node), **node)).copied()
    }

    /// Where a shard is to be that has replicas on nodes which are no members, or fewer than it is to have.
    fn repaired(&self, home: &Home, copies: usize, nodes: &Nodes<'_>) -> Option<BTreeSet<NodeId>> {
        if !is_sound(&home.before(), nodes) {
            return None;
        }
        let has = home.wanted();
        let want = copies.min(nodes.members.len()).max(1);
        let here = has.iter().filter(|node| nodes.members.contains(node)).count();
        let gone = has.iter().find(|node| !nodes.members.contains(node)).copied();
        let new = if here < want { self.emptiest(home, nodes) } else { None };
        let mut wanted = has;
        if let Some(gone) = gone
            && (new.is_some() || here > 0)
        {
            wanted.remove(&gone);
        }
        wanted.extend(new);
        Some(wanted)
    }

    /// Where a shard is to be so that a node with many replicas has one fewer, and how many that one has.
    fn evened(&self, home: &Home, nodes: &Nodes<'_>) -> Option<(i64, BTreeSet<NodeId>)> {
        let from = home.replicas.keys().max_by_key(|node| (self.at(**node), **node)).copied()?;
        let to = self.emptiest(home, nodes)?;
        let mut wanted = home.wanted();
        wanted.remove(&from);
        wanted.insert(to);
        let even = self.at(from) - self.at(to) < 2;
        (!even && is_sound(&home.wanted(), nodes) && is_sound(&wanted, nodes))
            .then(|| (self.at(from), wanted))
    }
}

/// Whether a majority is heard.
fn is_sound(replicas: &BTreeSet<NodeId>, nodes: &Nodes<'_>) -> bool {
    replicas.iter().filter(|node| (nodes.hears)(**node)).count() > replicas.len() / 2
}
