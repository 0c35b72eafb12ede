//! Which watches look at a range that a key lies in: an interval tree.
//!
//! A balanced tree (Adelson-Velsky and Landis) of the ranges in the order of their first keys, in which each node knows how far the
//! ranges under it reach. A key passes over a subtree that ends before it, so that it finds its k ranges among n in O(log n + k), however
//! they overlap and in whatever order they came: clients choose both.

use super::WatchKey;
use bytes::Bytes;
use quorate_wire::kv::KeyRange;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Ranges with the watches that look at them. None is of a single key, none is empty.
#[derive(Default)]
pub(super) struct Ranges {
    root: Link,
}

type Link = Option<Box<Node>>;

struct Node {
    range: KeyRange,
    watches: BTreeSet<WatchKey>,
    /// The end that lies furthest, of this range and all under it.
    reach: Bytes,
    height: u8,
    left: Link,
    right: Link,
}

impl Ranges {
    /// One more watch looks at `range`.
    pub(super) fn insert(&mut self, range: KeyRange, watch: WatchKey) {
        self.root = Some(insert(self.root.take(), range, watch));
    }

    /// The watch does not look at `range` any more.
    pub(super) fn remove(&mut self, range: &KeyRange, watch: WatchKey) {
        self.root = remove(self.root.take(), range, watch);
    }

    /// Calls `found` with each watch whose range has the key.
    pub(super) fn of_key(&self, key: &[u8], found: &mut impl FnMut(WatchKey)) {
        visit(self.root.as_deref(), key, found);
    }
}

/// No end at all.
const ENDLESS: [u8; 1] = [0];

fn is_before(key: &[u8], end: &[u8]) -> bool {
    end == ENDLESS || key < end
}

fn further(one: &Bytes, other: &Bytes) -> Bytes {
    if one[..] == ENDLESS || (other[..] != ENDLESS && one > other) { one.clone() } else { other.clone() }
}

fn order(one: &KeyRange, other: &KeyRange) -> Ordering {
    one.key.cmp(&other.key).then_with(|| one.end.cmp(&other.end))
}

fn visit(node: Option<&Node>, key: &[u8], found: &mut impl FnMut(WatchKey)) {
    let Some(node) = node.filter(|node| is_before(key, &node.reach)) else { return };
    visit(node.left.as_deref(), key, found);
    if node.range.key[..] <= *key {
        if is_before(key, &node.range.end) {
            node.watches.iter().copied().for_each(&mut *found);
        }
        visit(node.right.as_deref(), key, found);
    }
}

fn insert(link: Link, range: KeyRange, watch: WatchKey) -> Box<Node> {
    let Some(mut node) = link else {
        let (reach, watches) = (range.end.clone(), BTreeSet::from([watch]));
        return Box::new(Node { range, watches, reach, height: 1, left: None, right: None });
    };
    match order(&range, &node.range) {
        Ordering::Less => node.left = Some(insert(node.left.take(), range, watch)),
        Ordering::Greater => node.right = Some(insert(node.right.take(), range, watch)),
        Ordering::Equal => {
            node.watches.insert(watch);
            return node;
        }
    }
    balanced(node)
}

fn remove(link: Link, range: &KeyRange, watch: WatchKey) -> Link {
    let mut node = link?;
    match order(range, &node.range) {
        Ordering::Less => node.left = remove(node.left.take(), range, watch),
        Ordering::Greater => node.right = remove(node.right.take(), range, watch),
        Ordering::Equal => {
            node.watches.remove(&watch);
            if !node.watches.is_empty() {
                return Some(node);
            }
            let Some(right) = node.right.take() else { return node.left.take() };
            let (rest, mut first) = without_first(right);
            first.left = node.left.take();
            first.right = rest;
            node = first;
        }
    }
    Some(balanced(node))
}

/// What is left of a subtree, and its first node.
fn without_first(mut node: Box<Node>) -> (Link, Box<Node>) {
    match node.left.take() {
        None => (node.right.take(), node),
        Some(left) => {
            let (rest, first) = without_first(left);
            node.left = rest;
            (Some(balanced(node)), first)
        }
    }
}

fn height(link: &Link) -> u8 {
    link.as_ref().map_or(0, |node| node.height)
}

/// Takes what is known of the subtrees, which may have changed by one node since.
fn renew(node: &mut Node) {
    node.height = 1 + height(&node.left).max(height(&node.right));
    let under = [&node.left, &node.right].into_iter().flatten();
    node.reach = under.fold(node.range.end.clone(), |reach, node| further(&reach, &node.reach));
}

/// The subtree whose two sides differ in height by one at most again.
fn balanced(mut node: Box<Node>) -> Box<Node> {
    let (left, right) = (height(&node.left), height(&node.right));
    if left > right + 1 {
        if let Some(child) = node.left.take_if(|child| height(&child.right) > height(&child.left)) {
            node.left = Some(raise_right(child));
        }
        return raise_left(node);
    }
    if right > left + 1 {
        if let Some(child) = node.right.take_if(|child| height(&child.left) > height(&child.right)) {
            node.right = Some(raise_left(child));
        }
        return raise_right(node);
    }
    renew(&mut node);
    node
}

/// The left child takes its parent's place.
fn raise_left(mut node: Box<Node>) -> Box<Node> {
    let Some(mut child) = node.left.take() else { return node };
    node.left = child.right.take();
    renew(&mut node);
    child.right = Some(node);
    renew(&mut child);
    child
}

/// The right child takes its parent's place.
fn raise_right(mut node: Box<Node>) -> Box<Node> {
    let Some(mut child) = node.right.take() else { return node };
    node.right = child.left.take();
    renew(&mut node);
    child.left = Some(node);
    renew(&mut child);
    child
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;

    /// Height and reach of a subtree, which is what its nodes say.
    fn sound(link: &Link) -> (u8, Option<Bytes>) {
        let Some(node) = link else { return (0, None) };
        let ((left, l), (right, r)) = (sound(&node.left), sound(&node.right));
        assert!(left.abs_diff(right) <= 1 && node.height == 1 + left.max(right));
        let reach =
            [l, r].into_iter().flatten().fold(node.range.end.clone(), |one, other| further(&one, &other));
        assert_eq!(reach, node.reach);
        (node.height, Some(reach))
    }

    /// Claim: after any insertions and removals a key finds exactly the watches that a look at each range finds, and the tree is balanced.
    #[test]
    fn a_key_finds_what_a_scan_finds() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let (mut tree, mut all) = (Ranges::default(), Vec::new());
            let key = |rng: &mut Rng| Bytes::from(vec![1 + rng.below(3) as u8; 1 + rng.below(4) as usize]);
            for step in 0..300 {
                if rng.chance(2, 3) || all.is_empty() {
                    let (one, other) = (key(&mut rng), key(&mut rng));
                    let end = if one == other || rng.chance(1, 8) {
                        Bytes::from_static(&ENDLESS)
                    } else {
                        one.clone().max(other.clone())
                    };
                    let range = KeyRange { key: one.min(other), end };
                    tree.insert(range.clone(), (step, 0));
                    all.push((range, (step, 0)));
                } else {
                    let (range, watch) = all.swap_remove(rng.below(all.len() as u64) as usize);
                    tree.remove(&range, watch);
                }
                sound(&tree.root);
                let asked = key(&mut rng);
                let mut found = BTreeSet::new();
                tree.of_key(&asked, &mut |watch| assert!(found.insert(watch), "once"));
                let has = |range: &KeyRange| range.key <= asked && is_before(&asked, &range.end);
                let scanned = all.iter().filter(|(range, _)| has(range)).map(|&(_, watch)| watch).collect();
                assert_eq!(found, scanned, "seed {seed}, {asked:?}");
            }
            for (range, watch) in all {
                tree.remove(&range, watch);
            }
            assert!(tree.root.is_none());
        }
    }
}
