//! Which replicas of shards are to move next: a pure function of where they are, who the members are and who is heard.
//!
//! Whoever leads shard 1 asks now and then, and has the answer put into its log ([`What::Move`]); the groups follow by themselves
//! ([`super::placement`]). Nothing is remembered between two questions, so the next leader goes on where the last one was.
//!
//! Before all else a move is called off whose target is a member no more, or was not heard for long: who was to go stays, which holds all
//! that it held, and nothing that is healthy is let go of for one that is not. No move begins towards one that is silent, or that has come just now and may still say in which zone it is.
//!
//! Then a shard leaves nodes that are no members any more, then it gets the copies that it lacks, then it leaves members that are
//! to leave (`state::table`, `placement`), as long as it has no fewer copies without them. Then replicas of one shard are parted
//! that are in one zone, where another zone has fewer of them. And then the load is evened out: the node with the most
//! replicas gives one to a node with two fewer. Wherever a replica goes, it goes to one of the zones that have the fewest of its shard,
//! and evening brings no two together that were apart. So each of the two last either parts replicas or evens the load among as many that
//! are close, and they come to an end. One replica of a shard moves at a time, and only while
//! a majority of its replicas is heard, so that the move takes none of those who could decide. A few shards move
//! at once, since each move reads a whole shard at one node and writes it at another; how fast that goes is bounded where it is sent
//! ([`super::pace`]).

use quorate_base::{Index, NodeId, ShardId};
use quorate_state::table::{Home, Zones};
#[cfg(doc)]
use quorate_wire::table::What;
use std::collections::{BTreeMap, BTreeSet};

/// So many shards move at once.
const AT_ONCE: usize = 4;

/// What is known of the nodes.
pub(super) struct Nodes<'a> {
    /// Those who vote in shard 1.
    pub(super) members: &'a BTreeSet<NodeId>,
    /// Those of them who are to leave.
    pub(super) leaving: &'a BTreeSet<NodeId>,
    /// In which zones they are.
    pub(super) zones: &'a Zones,
    /// Whether one was heard lately.
    pub(super) hears: &'a dyn Fn(NodeId) -> bool,
    /// Whether one was not heard for so long that nobody knows when it will be.
    pub(super) lost: &'a dyn Fn(NodeId) -> bool,
    /// Whether it may be that one has not said yet in which zone it is: nothing moves there before it has.
    pub(super) unsaid: &'a dyn Fn(NodeId) -> bool,
}

/// A shard whose replicas are to be these nodes; `since` is the place of the last word about that.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Move {
    pub(super) shard: ShardId,
    pub(super) since: Index,
    pub(super) replicas: Vec<NodeId>,
}

/// The moves that are to begin now, of shards each with its home and with how many replicas it is to have.
pub(super) fn next(placed: impl Iterator<Item = (ShardId, Home, u32)>, nodes: &Nodes<'_>) -> Vec<Move> {
    let mut copies = BTreeMap::new();
    let homes = placed.map(|(shard, home, many)| {
        copies.insert(shard, many);
        (shard, home)
    });
    let mut homes: BTreeMap<ShardId, Home> = homes.collect();
    let mut load = Load::of(&homes, nodes);
    let mut moves = Vec::new();
    let moving: Vec<ShardId> =
        homes.iter().filter(|(_, home)| home.moving).map(|(shard, _)| *shard).collect();
    // That takes nothing but words, so it waits for no others.
    for shard in &moving {
        let wanted = homes.get(shard).and_then(|home| called_off(home, nodes));
        if let Some(wanted) = wanted {
            begin(&mut moves, &mut homes, &mut load, *shard, wanted);
        }
    }
    let off: BTreeSet<ShardId> = moves.iter().map(|one| one.shard).collect();
    let gone = |home: &Home| home.replicas.keys().any(|node| !nodes.members.contains(node));
    // One that cannot go on, since who is to get it left meanwhile and nobody is left to stay, is turned to another node.
    let stuck = moving.into_iter().filter(|shard| !off.contains(shard) && homes.get(shard).is_some_and(gone));
    let stuck: Vec<ShardId> = stuck.collect();
    let busy =
        |home: &&Home| home.moving && !gone(home) && home.replicas.keys().all(|node| (nodes.hears)(*node));
    let mut room = AT_ONCE.saturating_sub(homes.values().filter(busy).count());
    let still: Vec<ShardId> =
        homes.iter().filter(|(_, home)| !home.moving).map(|(shard, _)| *shard).collect();
    let repaired = stuck.into_iter().chain(still.iter().copied());
    for shard in repaired.collect::<Vec<_>>() {
        if room == 0 {
            return moves;
        }
        let (Some(home), Some(copies)) = (homes.get(&shard), copies.get(&shard)) else { continue };
        let Some(wanted) = load.repaired(home, *copies as usize, nodes) else { continue };
        if begin(&mut moves, &mut homes, &mut load, shard, wanted) {
            room -= 1;
        }
    }
    let mut rest: Vec<ShardId> =
        still.into_iter().filter(|shard| !moves.iter().any(|one| one.shard == *shard)).collect();
    for shard in rest.clone() {
        let parted = homes.get(&shard).and_then(|home| load.parted(home, nodes)).filter(|_| room > 0);
        let Some(wanted) = parted else { continue };
        begin(&mut moves, &mut homes, &mut load, shard, wanted);
        rest.retain(|other| *other != shard);
        room -= 1;
    }
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
pub(super) struct Load(BTreeMap<NodeId, i64>);

impl Load {
    pub(super) fn of(homes: &BTreeMap<ShardId, Home>, nodes: &Nodes<'_>) -> Self {
        let mut load = Self(nodes.members.iter().map(|node| (*node, 0)).collect());
        homes.values().flat_map(|home| home.replicas.keys()).for_each(|node| load.count(*node, 1));
        load
    }

    pub(super) fn count(&mut self, node: NodeId, by: i64) {
        *self.0.entry(node).or_default() += by;
    }

    fn at(&self, node: NodeId) -> i64 {
        self.0.get(&node).copied().unwrap_or_default()
    }

    /// The member with the fewest replicas that stays, is heard and has none of this shard; of those in whose zones are the fewest of
    /// the others that stay.
    fn emptiest(&self, home: &Home, nodes: &Nodes<'_>) -> Option<NodeId> {
        let stays = |node: &&NodeId| nodes.members.contains(*node) && !nodes.leaving.contains(*node);
        let others: Vec<NodeId> = home.replicas.keys().filter(stays).copied().collect();
        let beside = |node: NodeId| nodes.zones.beside(node, others.iter().copied());
        fit(home, nodes).min_by_key(|node| (beside(*node), self.at(*node), *node))
    }

    /// Where a shard is to be that has replicas on nodes which are no members, or fewer than it is to have, or replicas on members that
    /// are to leave.
    pub(super) fn repaired(&self, home: &Home, copies: usize, nodes: &Nodes<'_>) -> Option<BTreeSet<NodeId>> {
        if !is_sound(&home.before(), nodes) {
            return None;
        }
        let has = home.wanted();
        let want = copies.min(nodes.members.len()).max(1);
        let here = has.iter().filter(|node| nodes.members.contains(node)).count();
        let gone = has.iter().find(|node| !nodes.members.contains(node)).copied();
        let leaver = has.iter().find(|node| nodes.leaving.contains(node)).copied();
        let leaver = leaver.filter(|_| gone.is_none() && here >= want);
        let new = if here < want || leaver.is_some() { self.emptiest(home, nodes) } else { None };
        let mut wanted = has;
        if let Some(gone) = gone
            && (new.is_some() || here > 0)
        {
            wanted.remove(&gone);
        }
        if let Some(leaver) = leaver
            && new.is_some()
        {
            wanted.remove(&leaver);
        }
        wanted.extend(new);
        Some(wanted)
    }

    /// Where a shard is to be so that fewer of its replicas are in one zone; `None` where they are as far apart as they can be.
    pub(super) fn parted(&self, home: &Home, nodes: &Nodes<'_>) -> Option<BTreeSet<NodeId>> {
        if !nodes.zones.are_close(&home.wanted()) {
            return None;
        }
        let parts = swaps(home, nodes).filter(|swap| swap.behind < swap.before);
        let best = parts.min_by_key(|swap| {
            let (from, to) = (self.at(swap.from), self.at(swap.to));
            (swap.behind, std::cmp::Reverse(swap.before), to - from, swap.to, std::cmp::Reverse(swap.from))
        })?;
        best.sound(home, nodes)
    }

    /// Where a shard is to be so that a node with many replicas has one fewer, and how many that one has.
    pub(super) fn evened(&self, home: &Home, nodes: &Nodes<'_>) -> Option<(i64, BTreeSet<NodeId>)> {
        let evens = |swap: &Swap| swap.behind <= swap.before && self.at(swap.from) - self.at(swap.to) >= 2;
        let best = swaps(home, nodes).filter(evens).max_by_key(|swap| {
            let to = std::cmp::Reverse((self.at(swap.to), swap.to));
            (self.at(swap.from), swap.from, to)
        })?;
        Some((self.at(best.from), best.sound(home, nodes)?))
    }
}

/// Where a shard is to be whose move cannot go on, since one that it is to be on is a member no more, or comes and was not heard for
/// long: who was to go stays in its place, first of all who has had it longest. Where there is none that could stay, one that comes and is
/// silent is given up, so that another may be found. `None` if the move goes on.
fn called_off(home: &Home, nodes: &Nodes<'_>) -> Option<BTreeSet<NodeId>> {
    let gone = |node: &NodeId| !nodes.members.contains(node);
    let silent = |node: &NodeId, since: &Index| *since == home.at && !gone(node) && (nodes.lost)(*node);
    let newest_first = |of: &BTreeMap<NodeId, Index>| {
        let mut nodes: Vec<(Index, NodeId)> = of.iter().map(|(node, since)| (*since, *node)).collect();
        nodes.sort_by(|one, other| other.cmp(one));
        nodes
    };
    let mut stay: Vec<(Index, NodeId)> = newest_first(&home.leaving);
    stay.retain(|(_, node)| !gone(node));
    let nobody = stay.is_empty();
    stay.retain(|(_, node)| (nodes.hears)(*node));
    let mut wanted = home.wanted();
    for (since, node) in newest_first(&home.replicas) {
        if !gone(&node) && !silent(&node, &since) {
            continue;
        }
        let stays = stay.pop();
        if stays.is_some() || nobody && silent(&node, &since) {
            wanted.remove(&node);
            wanted.extend(stays.map(|(_, node)| node));
        }
    }
    (!wanted.is_empty() && wanted != home.wanted()).then_some(wanted)
}

/// The members that could get a replica of a shard.
fn fit(home: &Home, nodes: &Nodes<'_>) -> impl Iterator<Item = NodeId> {
    let fit = |node: &NodeId| {
        let free = !home.hosts(*node) && !nodes.leaving.contains(node);
        free && (nodes.hears)(*node) && !(nodes.unsaid)(*node)
    };
    nodes.members.iter().copied().filter(fit)
}

/// One node in the place of another.
struct Swap {
    from: NodeId,
    to: NodeId,
    /// How many others of the shard are in the zone of the one, ...
    before: usize,
    /// ... and of the other.
    behind: usize,
}

impl Swap {
    /// Who has the shard then; `None` if too few of them are heard, or of those who have it.
    fn sound(&self, home: &Home, nodes: &Nodes<'_>) -> Option<BTreeSet<NodeId>> {
        let mut wanted = home.wanted();
        let before = is_sound(&wanted, nodes);
        wanted.remove(&self.from);
        wanted.insert(self.to);
        (before && is_sound(&wanted, nodes)).then_some(wanted)
    }
}

/// Each replica that stays and each member that could have it in its place.
fn swaps(home: &Home, nodes: &Nodes<'_>) -> impl Iterator<Item = Swap> {
    let stays = |node: &&NodeId| !nodes.leaving.contains(*node);
    let swap = |from: NodeId, to: NodeId| {
        let others = || home.replicas.keys().copied().filter(move |node| *node != from);
        let (before, behind) = (nodes.zones.beside(from, others()), nodes.zones.beside(to, others()));
        Swap { from, to, before, behind }
    };
    home.replicas.keys().filter(stays).flat_map(move |&from| fit(home, nodes).map(move |to| swap(from, to)))
}

/// Whether a majority is heard.
fn is_sound(replicas: &BTreeSet<NodeId>, nodes: &Nodes<'_>) -> bool {
    replicas.iter().filter(|node| (nodes.hears)(**node)).count() > replicas.len() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    type Homes = BTreeMap<ShardId, Home>;

    /// Shards 2, 3, … on these nodes.
    fn on(all: &[&[u64]]) -> Homes {
        let home = |nodes: &&[u64]| Home::founded(nodes.iter().map(|&n| NodeId(n)), Index(9));
        (2..).map(ShardId).zip(all.iter().map(home)).collect()
    }

    fn ids(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().map(|&n| NodeId(n)).collect()
    }

    fn all_heard<'a>(
        members: &'a BTreeSet<NodeId>,
        leaving: &'a BTreeSet<NodeId>,
        zones: &'a Zones,
    ) -> Nodes<'a> {
        Nodes { members, leaving, zones, hears: &|_| true, lost: &|_| false, unsaid: &|_| false }
    }

    /// What begins next among members of whom these are not heard.
    fn begins(homes: &Homes, members: &[u64], silent: &[u64]) -> Vec<Move> {
        begins_leaving(homes, members, silent, &[])
    }

    /// The same where some of the members are to leave.
    fn begins_leaving(homes: &Homes, members: &[u64], silent: &[u64], leaving: &[u64]) -> Vec<Move> {
        let (members, silent, leaving) = (ids(members), ids(silent), ids(leaving));
        let placed = homes.iter().map(|(shard, home)| (*shard, home.clone(), 3));
        let (zones, hears) = (Zones::default(), |node| !silent.contains(&node));
        let nodes = Nodes { hears: &hears, ..all_heard(&members, &leaving, &zones) };
        next(placed, &nodes)
    }

    fn said(moves: &[Move]) -> Vec<(u32, Vec<u64>)> {
        moves.iter().map(|m| (m.shard.get(), m.replicas.iter().map(|n| n.get()).collect())).collect()
    }

    /// One row: shards, members, who of them is silent, what begins.
    type Row<'a> = (&'a [&'a [u64]], &'a [u64], &'a [u64], &'a [(u32, &'a [u64])]);

    #[test]
    fn what_moves_next() {
        let rows: &[Row<'_>] = &[
            // All is even, or as even as it can be.
            (&[&[1, 2, 3], &[1, 2, 3]], &[1, 2, 3], &[], &[]),
            (&[&[1, 2, 3], &[1, 2, 4], &[1, 3, 4], &[2, 3, 4]], &[1, 2, 3, 4], &[], &[]),
            // One that came gets its share: from who has most, one of each shard.
            (&[&[1, 2, 3], &[1, 2, 3]], &[1, 2, 3, 4], &[], &[(2, &[1, 2, 4])]),
            // Not before it is heard, and not from a shard that could not bear it.
            (&[&[1, 2, 3], &[1, 2, 3]], &[1, 2, 3, 4], &[4], &[]),
            (&[&[1, 2, 3], &[1, 2, 3]], &[1, 2, 3, 4], &[1, 2], &[]),
            // Who was removed is left, for one who has none of it, or for nobody where there is none.
            (&[&[1, 2, 3]], &[1, 2, 4], &[], &[(2, &[1, 2, 4])]),
            (&[&[1, 2, 3]], &[1, 2], &[], &[(2, &[1, 2])]),
            (&[&[1, 2, 3]], &[1, 2, 4, 5], &[4], &[(2, &[1, 2, 5])]),
            // A shard that has too few gets more, one at a time.
            (&[&[1]], &[1, 2, 3], &[], &[(2, &[1, 2])]),
            (&[&[1, 2]], &[1, 2, 3], &[], &[(2, &[1, 2, 3])]),
            (&[&[1, 2]], &[1, 2, 3], &[2], &[]),
            // None of its members is one any more: it goes to one that is first.
            (&[&[7]], &[1, 2, 3], &[], &[(2, &[1])]),
            // What is broken comes before what is uneven.
            (&[&[1, 2, 3], &[1, 2, 3], &[1, 2, 9]], &[1, 2, 3, 4], &[], &[(4, &[1, 2, 4]), (2, &[1, 3, 4])]),
        ];
        for (at, (shards, members, silent, expected)) in rows.iter().enumerate() {
            let begun = said(&begins(&on(shards), members, silent));
            let expected: Vec<(u32, Vec<u64>)> =
                expected.iter().map(|(shard, nodes)| (*shard, nodes.to_vec())).collect();
            assert_eq!(begun, expected, "row {at}");
        }
    }

    /// Shards, members, who of them is silent, who is to leave, what begins.
    type Leaves<'a> = (&'a [&'a [u64]], &'a [u64], &'a [u64], &'a [u64], &'a [(u32, &'a [u64])]);

    #[test]
    fn who_is_to_leave_is_left() {
        let rows: &[Leaves<'_>] = &[
            // For one who has none of it, and never with fewer copies.
            (&[&[1, 2, 3]], &[1, 2, 3, 4], &[], &[3], &[(2, &[1, 2, 4])]),
            (&[&[1, 2, 3]], &[1, 2, 3], &[], &[3], &[]),
            (&[&[1, 2, 3]], &[1, 2, 3, 4], &[4], &[3], &[]),
            // Not for another one who is to leave, and one at a time.
            (&[&[1, 2, 3]], &[1, 2, 3, 4], &[], &[3, 4], &[]),
            (&[&[1, 2, 3]], &[1, 2, 3, 4, 5], &[], &[2, 3], &[(2, &[1, 3, 4])]),
            // It gets nothing any more, though it has the least.
            (&[&[1, 2, 3], &[1, 2, 3]], &[1, 2, 3, 4], &[], &[4], &[]),
            // Also while it is not heard, as long as the others are a majority.
            (&[&[1, 2, 3]], &[1, 2, 3, 4], &[3], &[3], &[(2, &[1, 2, 4])]),
            (&[&[1, 2, 3]], &[1, 2, 3, 4], &[2, 3], &[3], &[]),
            // What lacks copies gets them first.
            (&[&[1, 3]], &[1, 2, 3, 4], &[], &[3], &[(2, &[1, 2, 3])]),
            // Of who is gone already a shard is freed before.
            (&[&[1, 3, 9]], &[1, 2, 3, 4], &[], &[3], &[(2, &[1, 2, 3])]),
        ];
        for (at, (shards, members, silent, leaving, expected)) in rows.iter().enumerate() {
            let begun = said(&begins_leaving(&on(shards), members, silent, leaving));
            let expected: Vec<(u32, Vec<u64>)> =
                expected.iter().map(|(shard, nodes)| (*shard, nodes.to_vec())).collect();
            assert_eq!(begun, expected, "row {at}");
        }
    }

    /// Claim: few move at once; a move onto one that is gone is called off, one onto one that is silent waits and holds up no others.
    #[test]
    fn moves_that_are_under_way_count() {
        let mut homes = on(&[&[1, 2, 3][..]; 12]);
        let first = begins(&homes, &[1, 2, 3, 4], &[]);
        assert_eq!(first.len(), AT_ONCE);
        for one in &first {
            let home = homes[&one.shard].moved_to(&one.replicas, Index(20));
            homes.insert(one.shard, home);
        }
        assert_eq!(begins(&homes, &[1, 2, 3, 4], &[]), []);
        let others = begins(&homes, &[1, 2, 3, 4, 5], &[4]);
        assert!(others.len() == AT_ONCE && others.iter().all(|one| one.replicas.contains(&NodeId(5))));
        let (off, others): (Vec<Move>, _) = begins(&homes, &[1, 2, 3, 5], &[])
            .into_iter()
            .partition(|one| first.iter().any(|first| first.shard == one.shard));
        assert_eq!((off.len(), others.len()), (AT_ONCE, AT_ONCE), "what is called off takes no place");
        for (one, off) in first.iter().zip(&off) {
            assert_eq!((one.shard, off.since, ids(&[1, 2, 3])), (off.shard, Index(20), set(&off.replicas)));
        }
    }

    fn set(nodes: &[NodeId]) -> BTreeSet<NodeId> {
        nodes.iter().copied().collect()
    }

    /// What is moved from where to where, the members, who of them is silent, who for long, what follows if anything does.
    type Off<'a> = (&'a [&'a [u64]], &'a [u64], &'a [u64], &'a [u64], Option<&'a [u64]>);

    /// Claim: a move whose target is gone or silent for long is called off; what is healthy stays, and nothing is given up for one that
    /// may still come.
    #[test]
    fn what_cannot_go_on_is_called_off() {
        let rows: &[Off<'_>] = &[
            (&[&[1, 2, 3], &[1, 2, 4]], &[1, 2, 3, 4], &[], &[], None),
            (&[&[1, 2, 3], &[1, 2, 4]], &[1, 2, 3, 4], &[4], &[], None),
            (&[&[1, 2, 3], &[1, 2, 4]], &[1, 2, 3, 4], &[4], &[4], Some(&[1, 2, 3])),
            (&[&[1, 2, 3], &[1, 2, 4]], &[1, 2, 3], &[], &[], Some(&[1, 2, 3])),
            (&[&[1, 2, 3], &[1, 2, 4]], &[1, 2, 3, 5], &[], &[], Some(&[1, 2, 3])),
            // Another than the target is gone: also for that one who was to go stays.
            (&[&[1, 2, 3], &[1, 2, 4]], &[1, 3, 4], &[], &[], Some(&[1, 3, 4])),
            // Who stays is silent for long: that is no reason.
            (&[&[1, 2, 3], &[1, 2, 4]], &[1, 2, 3, 4], &[2], &[2], None),
            // The one that was to go is silent, too: whoever comes first.
            (&[&[1, 2, 3], &[1, 2, 4]], &[1, 2, 3, 4, 5], &[3, 4], &[3, 4], None),
            // It is gone, and its place is to be taken by another than the silent one.
            (&[&[1, 2, 3], &[1, 2, 4]], &[1, 2, 4, 5], &[4], &[4], Some(&[1, 2])),
            (&[&[1, 2], &[1, 2, 4]], &[1, 2, 4, 5], &[4], &[4], Some(&[1, 2])),
            (&[&[1, 2], &[1, 2, 4]], &[1, 2, 5], &[], &[], Some(&[1, 2, 5])),
            // Turned once already: who has had it longest stays.
            (&[&[1, 2, 3], &[1, 2, 4], &[1, 2, 5]], &[1, 2, 3, 4], &[], &[], Some(&[1, 2, 3])),
            // Called off, and the one that was to stay goes for good: the other, which is back, has its place.
            (&[&[1, 2, 3], &[1, 2, 4], &[1, 2, 3]], &[1, 2, 4], &[], &[], Some(&[1, 2, 4])),
        ];
        for (at, (words, members, silent, lost, expected)) in rows.iter().enumerate() {
            let mut home = on(&words[..1])[&ShardId(2)].clone();
            for (at, nodes) in words[1..].iter().enumerate() {
                let nodes: Vec<NodeId> = nodes.iter().map(|&node| NodeId(node)).collect();
                home = home.moved_to(&nodes, Index(20 + at as u64));
            }
            let (members, leaving, zones) = (ids(members), BTreeSet::new(), Zones::default());
            let (hears, lost) = (|node| !ids(silent).contains(&node), |node| ids(lost).contains(&node));
            let nodes = Nodes { hears: &hears, lost: &lost, ..all_heard(&members, &leaving, &zones) };
            let begun = next([(ShardId(2), home, 3)].into_iter(), &nodes);
            let begun = begun.first().map(|one| set(&one.replicas));
            assert_eq!(begun, expected.map(ids), "row {at}");
        }
    }

    /// Claim: whatever members come and go, the moves come to an end, with the load even and each shard on as many members as it is to have,
    /// in about as many moves as it takes. Seeds 0 to 199.
    #[test]
    fn moves_come_to_an_end() {
        for seed in 0..200 {
            let mut rng = quorate_base::Rng::new(seed);
            let mut homes = on(&vec![&[1, 2, 3][..]; rng.between(1, 40) as usize]);
            let (mut members, mut leaving, mut at) = (ids(&[1, 2, 3]), BTreeSet::new(), 10);
            let zones = Zones::default();
            for id in 4..10 {
                if members.len() > 3 && rng.chance(1, 2) {
                    let gone = *rng.pick(&members.iter().copied().collect::<Vec<_>>());
                    if rng.chance(1, 2) {
                        members.remove(&gone);
                        leaving.remove(&gone);
                    } else if members.len() - leaving.len() > 3 {
                        leaving.insert(gone);
                    }
                } else {
                    members.insert(NodeId(id));
                }
                let mut moves = 0;
                loop {
                    let placed = homes.iter().map(|(shard, home)| (*shard, home.clone(), 3));
                    let nodes = all_heard(&members, &leaving, &zones);
                    let begun = next(placed, &nodes);
                    if begun.is_empty() {
                        break;
                    }
                    for one in begun {
                        (at, moves) = (at + 1, moves + 1);
                        let home = homes[&one.shard].moved_to(&one.replicas, Index(at));
                        assert!(home.wanted().difference(&homes[&one.shard].wanted()).count() <= 1);
                        homes.insert(one.shard, home.arrived());
                    }
                    assert!(moves <= 3 * homes.len(), "seed {seed}: {moves} moves");
                }
                let nodes = all_heard(&members, &leaving, &zones);
                let mut load = Load::of(&homes, &nodes);
                let stay = members.len() - leaving.len();
                if stay >= 3 {
                    let left = leaving.iter().all(|node| load.0.remove(node) == Some(0));
                    assert!(left, "seed {seed}: {leaving:?} of {homes:?}");
                } else {
                    load.0.retain(|node, _| !leaving.contains(node));
                }
                let (least, most) = (load.0.values().min(), load.0.values().max());
                let spread = most.zip(least).map_or(0, |(most, least)| most - least);
                assert!(spread <= 1 + i64::from(stay <= 3) || stay < 3, "seed {seed}: {:?}", load.0);
                // What lacks a copy gets none on one who is to leave.
                let copies = if leaving.is_empty() { 3..=3 } else { stay.min(3)..=3 };
                let whole =
                    |home: &Home| copies.contains(&home.replicas.len()) && home.wanted().is_subset(&members);
                assert!(homes.values().all(whole), "seed {seed}: {homes:?}");
            }
        }
    }

    /// Nodes' zones, shards, who is silent, who is to leave, what begins.
    type Zoned<'a> = (&'a [&'a str], &'a [&'a [u64]], &'a [u64], &'a [u64], &'a [(u32, &'a [u64])]);

    #[test]
    fn zones_keep_replicas_apart() {
        let rows: &[Zoned<'_>] = &[
            // Two in one zone are parted as soon as there is a node that makes it possible.
            (&["a", "a", "b"], &[&[1, 2, 3]], &[], &[], &[]),
            (&["a", "a", "b", "c"], &[&[1, 2, 3]], &[], &[], &[(2, &[1, 3, 4])]),
            (&["a", "a", "b", "b"], &[&[1, 2, 3]], &[], &[], &[]),
            (&["a", "a", "b", "c"], &[&[1, 2, 3]], &[4], &[], &[]),
            (&["a", "a", "b", "c"], &[&[1, 2, 3]], &[], &[4], &[]),
            // Three in one zone: one goes, then the next.
            (&["a", "a", "a", "b", "c"], &[&[1, 2, 3]], &[], &[], &[(2, &[1, 2, 4])]),
            (&["a", "a", "a", "b", "c"], &[&[1, 2, 4]], &[], &[], &[(2, &[1, 4, 5])]),
            (&["a", "a", "a", "b"], &[&[1, 2, 3]], &[], &[], &[(2, &[1, 2, 4])]),
            // One without a zone is one of its own.
            (&["a", "a", "b", ""], &[&[1, 2, 3]], &[], &[], &[(2, &[1, 3, 4])]),
            // Where one leaves, another of its zone takes its place though it has more, ...
            (
                &["a", "b", "c", "c", "b"],
                &[&[1, 2, 3], &[1, 2, 4]],
                &[],
                &[3],
                &[(2, &[1, 2, 4]), (3, &[1, 4, 5])],
            ),
            // ... and if there is none, whoever there is.
            (&["a", "b", "c", "b"], &[&[1, 2, 3]], &[], &[3], &[(2, &[1, 2, 4])]),
            // The load is evened among those of one zone, and no two are brought together for it.
            (&["a", "b", "c", "c"], &[&[1, 2, 3], &[1, 2, 3]], &[], &[], &[(2, &[1, 2, 4])]),
            (&["a", "b", "c", "c", "c"], &[&[1, 2, 3], &[1, 2, 4]], &[], &[], &[]),
            (&["a", "b", "c", "d"], &[&[1, 2, 3], &[1, 2, 3]], &[], &[], &[(2, &[1, 2, 4])]),
        ];
        for (at, (names, shards, silent, leaving, expected)) in rows.iter().enumerate() {
            let members: BTreeSet<NodeId> = (1..=names.len() as u64).map(NodeId).collect();
            let (silent, leaving) = (ids(silent), ids(leaving));
            let named = names.iter().enumerate().filter(|(_, zone)| !zone.is_empty());
            let zones = Zones::of(named.map(|(n, zone)| (NodeId(n as u64 + 1), zone.to_string())));
            let hears = |node| !silent.contains(&node);
            let nodes = Nodes { hears: &hears, ..all_heard(&members, &leaving, &zones) };
            let begun = next(on(shards).into_iter().map(|(shard, home)| (shard, home, 3)), &nodes);
            let expected: Vec<(u32, Vec<u64>)> =
                expected.iter().map(|(shard, nodes)| (*shard, nodes.to_vec())).collect();
            assert_eq!(said(&begun), expected, "row {at}");
        }
    }

    /// Claim: nothing moves to one that may still say in which zone it is, and all that can do without it goes on.
    #[test]
    fn who_may_say_its_zone_is_waited_for() {
        let zones = Zones::of([(1, "a"), (2, "b"), (3, "c")].map(|(node, zone)| (NodeId(node), zone.into())));
        let (leaving, homes) = (BTreeSet::new(), on(&[&[1, 2, 3], &[1, 2, 3]]));
        let begun = |unsaid: &[u64], members: &[u64]| {
            let (members, unsaid) = (ids(members), |node: NodeId| unsaid.contains(&node.get()));
            let nodes = Nodes { unsaid: &unsaid, ..all_heard(&members, &leaving, &zones) };
            said(&next(homes.iter().map(|(shard, home)| (*shard, home.clone(), 3)), &nodes))
        };
        assert_eq!(begun(&[], &[1, 2, 3, 4]), [(2, vec![1, 2, 4])]);
        assert_eq!(begun(&[4], &[1, 2, 3, 4]), []);
        assert_eq!(begun(&[4], &[1, 2, 3, 4, 5]), [(2, vec![1, 2, 5])]);
    }

    /// Claim: whatever members of three to five zones come and go, and whatever zones are named anew, the moves come to an end with no two
    /// replicas of a shard in one zone where there are zones enough, and none brings two together where there is another choice.
    /// Seeds 0 to 199.
    #[test]
    fn moves_end_with_replicas_apart() {
        for seed in 0..200 {
            let mut rng = quorate_base::Rng::new(seed);
            let names = ["a", "b", "c", "d", "e"];
            let many = rng.between(2, 5) as usize;
            let mut zoned: BTreeMap<NodeId, String> = BTreeMap::new();
            let mut homes = on(&vec![&[1, 2, 3][..]; rng.between(1, 30) as usize]);
            let (mut members, mut at) = (ids(&[1, 2, 3]), 10);
            for id in 4..12 {
                let any = *rng.pick(&members.iter().copied().collect::<Vec<_>>());
                if members.len() > 3 && rng.chance(1, 3) {
                    members.remove(&any);
                    zoned.remove(&any);
                } else {
                    members.insert(NodeId(id));
                    zoned.insert(NodeId(id), rng.pick(&names[..many]).to_string());
                }
                if members.contains(&any) && rng.chance(1, 3) {
                    zoned.insert(any, rng.pick(&names[..many]).to_string());
                }
                let (zones, leaving) = (Zones::of(zoned.clone()), BTreeSet::new());
                let nodes = all_heard(&members, &leaving, &zones);
                let enough = zones.many(members.iter().copied()) >= 3;
                let mut moves = 0;
                loop {
                    let begun = next(homes.iter().map(|(shard, home)| (*shard, home.clone(), 3)), &nodes);
                    if begun.is_empty() {
                        break;
                    }
                    for one in begun {
                        (at, moves) = (at + 1, moves + 1);
                        let before = homes[&one.shard].wanted();
                        let home = homes[&one.shard].moved_to(&one.replicas, Index(at)).arrived();
                        let apart = |nodes: &BTreeSet<NodeId>| zones.many(nodes.iter().copied());
                        let stayed = before.intersection(&members).copied().collect();
                        assert!(apart(&home.wanted()) >= apart(&stayed), "seed {seed}: {before:?} {one:?}");
                        homes.insert(one.shard, home);
                    }
                    assert!(moves <= 5 * homes.len(), "seed {seed}: {moves} moves");
                }
                let close = homes.values().filter(|home| zones.are_close(&home.wanted())).count();
                assert!(!enough || close == 0, "seed {seed}: {zones:?} {homes:?}");
            }
        }
    }
}
