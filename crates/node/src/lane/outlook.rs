//! What is still to be done until all replicas are where they are to be: the plan of [`super::mover`], to its end, if nobody comes or goes.
//!
//! It is for people who wait. The moves are the same kinds in the same order, but shard by shard instead of a few at once: so there may
//! be some more or fewer than there will be. It takes a few passes over the shards, however many are to be moved.

use super::mover::{Load, Nodes};
use quorate_base::{NodeId, ShardId};
use quorate_state::table::{Close, Home, Placement};
use std::collections::{BTreeMap, BTreeSet};

/// So many passes at most: each brings all of what it does nearer to its end, so that a few are enough.
const PASSES: usize = 32;

/// See the page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outlook {
    /// So many replicas are to be moved or made, those on the move included.
    pub left: usize,
    /// Of which tables shards have more than one replica in a zone then, for want of zones.
    pub close: Vec<Close>,
}

impl Outlook {
    /// Among members of whom these vote, if all of them are heard.
    pub fn of(placement: &Placement, voters: &BTreeSet<NodeId>) -> Self {
        let leaving = placement.leaving();
        let (heard, not) = (|_| true, |_| false);
        let nodes = Nodes {
            members: voters,
            leaving: &leaving,
            zones: placement.zones(),
            hears: &heard,
            lost: &not,
            unsaid: &not,
        };
        let mut homes: BTreeMap<ShardId, Home> = placement.homes().collect();
        let copies = |shard| placement.block_of(shard).map_or(1, |block| block.copies as usize);
        let left = through(&mut homes, copies, &nodes);
        let close = placement.close_by(|shard| homes.get(&shard).map(Home::wanted));
        Self { left, close }
    }
}

/// Brings all shards to where they are to be; how many replicas are moved or made for it.
fn through(
    homes: &mut BTreeMap<ShardId, Home>,
    copies: impl Fn(ShardId) -> usize,
    nodes: &Nodes<'_>,
) -> usize {
    let mut left = homes.values().filter(|home| home.moving).count();
    for home in homes.values_mut() {
        *home = home.arrived();
    }
    let mut load = Load::of(homes, nodes);
    for _ in 0..PASSES {
        let before = left;
        for (shard, home) in homes.iter_mut() {
            let has = home.wanted();
            let wanted = next(&load, home, copies(*shard), nodes);
            let Some(wanted) = wanted.filter(|wanted| *wanted != has) else { continue };
            left += wanted.difference(&has).count();
            has.difference(&wanted).for_each(|node| load.count(*node, -1));
            wanted.difference(&has).for_each(|node| load.count(*node, 1));
            let wanted: Vec<NodeId> = wanted.into_iter().collect();
            *home = home.moved_to(&wanted, home.at).arrived();
        }
        if left == before {
            break;
        }
    }
    left
}

/// Where a shard goes next, if anywhere.
fn next(load: &Load, home: &Home, copies: usize, nodes: &Nodes<'_>) -> Option<BTreeSet<NodeId>> {
    let repaired = load.repaired(home, copies, nodes).filter(|wanted| *wanted != home.wanted());
    let parted = || load.parted(home, nodes);
    repaired.or_else(parted).or_else(|| load.evened(home, nodes).map(|(_, wanted)| wanted))
}

#[cfg(test)]
mod tests {
    use super::super::mover;
    use super::*;
    use quorate_base::Index;
    use quorate_state::table::Zones;

    /// Claim: what is said to be left is about what the plan does: no fewer moves than it takes to even out, and no more than a few more,
    /// and none where nothing is to be done. Seeds 0 to 99.
    #[test]
    fn what_is_left_is_what_is_done() {
        for seed in 0..100 {
            let mut rng = quorate_base::Rng::new(seed);
            let home = Home::founded([1, 2, 3].map(NodeId), Index(9));
            let homes: BTreeMap<ShardId, Home> =
                (0..rng.between(1, 60) as u32).map(|n| (ShardId(n + 2), home.clone())).collect();
            let many = rng.between(3, 6);
            let names = ["a", "b", "c", "d"];
            let named: Vec<_> = (1..=many).map(|node| (NodeId(node), rng.pick(&names).to_string())).collect();
            let zones = Zones::of(if rng.chance(1, 3) { Vec::new() } else { named });
            let leaving: BTreeSet<NodeId> =
                if rng.chance(1, 3) { [NodeId(rng.between(1, many))].into() } else { BTreeSet::new() };
            let members: BTreeSet<NodeId> = (1..=many).map(NodeId).collect();
            let (heard, not) = (|_| true, |_| false);
            let (members, zones) = (&members, &zones);
            let nodes = Nodes { members, leaving: &leaving, zones, hears: &heard, lost: &not, unsaid: &not };
            let mut ends = homes.clone();
            let left = through(&mut ends, |_| 3, &nodes);
            let (mut homes, mut done) = (homes, 0_usize);
            loop {
                let begun = mover::next(homes.iter().map(|(shard, home)| (*shard, home.clone(), 3)), &nodes);
                if begun.is_empty() {
                    break;
                }
                for one in begun {
                    done += 1;
                    let home = homes[&one.shard].moved_to(&one.replicas, Index(20)).arrived();
                    homes.insert(one.shard, home);
                }
            }
            let close = |homes: &BTreeMap<ShardId, Home>| {
                homes.values().filter(|home| zones.are_close(&home.wanted())).count()
            };
            assert_eq!(close(&homes), close(&ends), "seed {seed}");
            let near = (done * 3 / 4).saturating_sub(2)..=done * 3 / 2 + 2;
            assert!(near.contains(&left) && (done == 0) == (left == 0), "seed {seed}: {left} of {done}");
        }
    }
}
