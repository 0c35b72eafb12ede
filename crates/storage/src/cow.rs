//! A persistent ordered map: a B+tree whose nodes are shared between copies.
//!
//! [`Tree::clone`] takes one reference count, and a write copies only the nodes on its path that another copy still holds
//! (path copying: Driscoll, Sarnak, Sleator and Tarjan, *Making Data Structures Persistent*, 1989; as a B+tree: Rodeh,
//! *B-trees, Shadowing, and Clones*, 2008). So a view of the state is a clone, and it never waits for its writer.
//!
//! Every inner node keeps the sum of the weights below each child ([`Weight`]), so that the weight before a key is found
//! in one descent.
//!
//! Invariants, asserted by [`Tree::check`]: all leaves are equally deep; no node but the root is empty or holds more than
//! `NODE_MAX`; keys ascend; a child's `first` is above all keys of the child before it and not above its own; the weights
//! are the sums.
//!
//! Left out: a lower bound on the fill of nodes. Removal merges a thin node with a neighbour if both fit into one, and
//! lets it be if not: ascending deletion, which is what compaction does, leaves no thin nodes behind.

use std::borrow::Borrow;
use std::ops::Bound;
use std::sync::Arc;

/// The most entries of a leaf and children of an inner node.
const NODE_MAX: usize = 32;
/// A node below this looks for a neighbour to merge with.
const NODE_THIN: usize = NODE_MAX / 4;

/// What a value adds to the sums.
pub trait Weight {
    /// Its weight; it must not change while the value is in a tree.
    fn weight(&self) -> u64;
}

impl Weight for bytes::Bytes {
    fn weight(&self) -> u64 {
        1
    }
}

/// The map. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Tree<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    Inner(Vec<Child<K, V>>),
}

#[derive(Clone, Debug)]
struct Child<K, V> {
    first: K,
    weight: u64,
    node: Arc<Node<K, V>>,
}

impl<K, V> Default for Tree<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone + Weight> Tree<K, V> {
    /// Of entries whose keys ascend, which is much less work than to insert one after the other; `None` if they do not.
    pub fn from_sorted(entries: impl IntoIterator<Item = (K, V)>) -> Option<Self> {
        let (mut level, mut leaf, mut len) = (Vec::new(), Vec::<(K, V)>::with_capacity(NODE_MAX), 0);
        for (key, value) in entries {
            if leaf.last().is_some_and(|(last, _)| *last >= key) {
                return None;
            }
            if leaf.len() == NODE_MAX {
                let full = std::mem::replace(&mut leaf, Vec::with_capacity(NODE_MAX));
                level.extend(Node::Leaf(full).into_child());
            }
            leaf.push((key, value));
            len += 1;
        }
        level.extend(Node::Leaf(leaf).into_child());
        while level.len() > 1 {
            let (mut above, mut left) = (Vec::with_capacity(level.len() / NODE_MAX + 1), level.into_iter());
            while let Some(child) = Node::Inner(left.by_ref().take(NODE_MAX).collect()).into_child() {
                above.push(child);
            }
            level = above;
        }
        Some(level.pop().map_or_else(Self::default, |root| Self { root: root.node, len }))
    }

    /// Sets a key and gives what it held.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (old, split) = Arc::make_mut(&mut self.root).insert(key, value);
        if let Some(right) = split {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            if let Some(first) = left.first() {
                let left = Child { first: first.clone(), weight: left.weight(), node: left };
                self.root = Arc::new(Node::Inner(vec![left, right]));
            }
        }
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes a key and gives what it held.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // Looked for first, so that nothing is copied for a key that is not there.
        self.get(key)?;
        let old = Arc::make_mut(&mut self.root).remove(key);
        while let Node::Inner(children) = &*self.root {
            if children.len() != 1 {
                break;
            }
            let only = children[0].node.clone();
            self.root = only;
        }
        self.len -= usize::from(old.is_some());
        old
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without keys.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => node = &children[child_of(children, key)].node,
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
                    return Some(&entries[at].1);
                }
            }
        }
    }

    /// The last entry whose key is not above `key`.
    pub fn floor<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.iter_back_from(Bound::Included(key)).next()
    }

    /// The weight of all keys below `key`.
    pub fn weight_before<Q: Ord + ?Sized>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
    {
        let (mut node, mut sum) = (&*self.root, 0);
        loop {
            match node {
                Node::Inner(children) => {
                    let at = child_of(children, key);
                    sum += children[..at].iter().map(|c| c.weight).sum::<u64>();
                    node = &children[at].node;
                }
                Node::Leaf(entries) => {
                    let end = entries.partition_point(|(k, _)| k.borrow() < key);
                    return sum + entries[..end].iter().map(|(_, v)| v.weight()).sum::<u64>();
                }
            }
        }
    }

    /// The weight of all keys.
    pub fn weight(&self) -> u64 {
        self.root.weight()
    }

    /// The entries from a bound on, ascending.
    pub fn iter_from<Q: Ord + ?Sized>(&self, from: Bound<&Q>) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let mut path = Vec::new();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => {
                    let at = match from {
                        Bound::Unbounded => 0,
                        Bound::Included(key) | Bound::Excluded(key) => child_of(children, key),
                    };
                    path.push((children.as_slice(), at + 1));
                    node = &children[at].node;
                }
                Node::Leaf(entries) => {
                    let at = match from {
                        Bound::Unbounded => 0,
                        Bound::Included(key) => entries.partition_point(|(k, _)| k.borrow() < key),
                        Bound::Excluded(key) => entries.partition_point(|(k, _)| k.borrow() <= key),
                    };
                    return Iter { path, leaf: entries[at..].iter() };
                }
            }
        }
    }

    /// All entries, ascending.
    pub fn iter(&self) -> Iter<'_, K, V> {
        self.iter_from::<K>(Bound::Unbounded)
    }

    /// The entries down from a bound, descending.
    pub fn iter_back_from<Q: Ord + ?Sized>(&self, from: Bound<&Q>) -> IterBack<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let mut path = Vec::new();
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => {
                    let at = match from {
                        Bound::Unbounded => children.len() - 1,
                        Bound::Included(key) | Bound::Excluded(key) => child_of(children, key),
                    };
                    path.push(&children[..at]);
                    node = &children[at].node;
                }
                Node::Leaf(entries) => {
                    let end = match from {
                        Bound::Unbounded => entries.len(),
                        Bound::Included(key) => entries.partition_point(|(k, _)| k.borrow() <= key),
                        Bound::Excluded(key) => entries.partition_point(|(k, _)| k.borrow() < key),
                    };
                    return IterBack { path, leaf: entries[..end].iter() };
                }
            }
        }
    }

    /// Asserts the invariants: for tests.
    pub fn check(&self)
    where
        K: std::fmt::Debug,
    {
        let mut depths = Vec::new();
        let count = self.root.check(0, true, &mut depths);
        assert_eq!(count, self.len, "entries counted and entries kept count of");
        assert!(depths.windows(2).all(|d| d[0] == d[1]), "leaves at depths {depths:?}");
        let mut last: Option<&K> = None;
        for (key, _) in self {
            assert!(last.is_none_or(|last| last < key), "{key:?} behind {last:?}");
            last = Some(key);
        }
    }
}

impl<'a, K: Ord + Clone, V: Clone + Weight> IntoIterator for &'a Tree<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

fn child_of<K: Borrow<Q>, V, Q: Ord + ?Sized>(children: &[Child<K, V>], key: &Q) -> usize {
    children.partition_point(|c| c.first.borrow() <= key).saturating_sub(1)
}

impl<K: Ord + Clone, V: Clone + Weight> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(children) => children.len(),
        }
    }

    fn first(&self) -> Option<&K> {
        match self {
            Self::Leaf(entries) => entries.first().map(|(k, _)| k),
            Self::Inner(children) => children.first().map(|c| &c.first),
        }
    }

    fn weight(&self) -> u64 {
        match self {
            Self::Leaf(entries) => entries.iter().map(|(_, v)| v.weight()).sum(),
            Self::Inner(children) => children.iter().map(|c| c.weight).sum(),
        }
    }

    /// The value that was there, and a right neighbour if this node had to split.
    fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<Child<K, V>>) {
        match self {
            Self::Leaf(entries) => match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(at) => (Some(std::mem::replace(&mut entries[at].1, value)), None),
                Err(at) => {
                    entries.insert(at, (key, value));
                    (None, split(entries, at).and_then(|right| Self::Leaf(right).into_child()))
                }
            },
            Self::Inner(children) => {
                let at = child_of(children, &key);
                let child = &mut children[at];
                if key < child.first {
                    child.first = key.clone();
                }
                let added = value.weight();
                let (old, right) = Arc::make_mut(&mut child.node).insert(key, value);
                if let Some(right) = right {
                    child.weight = child.node.weight();
                    children.insert(at + 1, right);
                    let right = split(children, at + 1);
                    return (old, right.and_then(|right| Self::Inner(right).into_child()));
                }
                child.weight = child.weight + added - old.as_ref().map_or(0, Weight::weight);
                (old, None)
            }
        }
    }

    fn into_child(self) -> Option<Child<K, V>> {
        let first = self.first()?.clone();
        Some(Child { first, weight: self.weight(), node: Arc::new(self) })
    }

    fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(entries) => {
                let at = entries.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
                Some(entries.remove(at).1)
            }
            Self::Inner(children) => {
                let at = child_of(children, key);
                let child = &mut children[at];
                let old = Arc::make_mut(&mut child.node).remove(key)?;
                child.weight -= old.weight();
                if child.node.len() == 0 {
                    children.remove(at);
                } else if child.node.len() < NODE_THIN {
                    merge(children, at);
                }
                Some(old)
            }
        }
    }

    fn check(&self, depth: usize, root: bool, depths: &mut Vec<usize>) -> usize {
        assert!(root || self.len() > 0, "an empty node at depth {depth}");
        assert!(self.len() <= NODE_MAX, "a node of {} at depth {depth}", self.len());
        match self {
            Self::Leaf(entries) => {
                depths.push(depth);
                entries.len()
            }
            Self::Inner(children) => children
                .iter()
                .map(|c| {
                    assert_eq!(c.weight, c.node.weight(), "weight of a child at depth {depth}");
                    assert!(c.node.first().is_some_and(|f| *f >= c.first), "a child below its first");
                    c.node.check(depth + 1, false, depths)
                })
                .sum(),
        }
    }
}

/// The right part of a node that grew too large by an insertion at `at`. One that grows at its end keeps what it has, so
/// that ascending insertion leaves full nodes behind.
fn split<T>(items: &mut Vec<T>, at: usize) -> Option<Vec<T>> {
    if items.len() <= NODE_MAX {
        return None;
    }
    let cut = if at + 1 == items.len() { NODE_MAX } else { items.len() / 2 };
    Some(items.split_off(cut))
}

/// Merges the child at `at` with a neighbour if both fit into one node.
fn merge<K: Ord + Clone, V: Clone + Weight>(children: &mut Vec<Child<K, V>>, at: usize) {
    let fits =
        |i: usize| i + 1 < children.len() && children[i].node.len() + children[i + 1].node.len() <= NODE_MAX;
    let left = if at > 0 && fits(at - 1) {
        at - 1
    } else if fits(at) {
        at
    } else {
        return;
    };
    let right = children.remove(left + 1);
    let into = &mut children[left];
    into.weight += right.weight;
    match (Arc::make_mut(&mut into.node), Arc::unwrap_or_clone(right.node)) {
        (Node::Leaf(a), Node::Leaf(b)) => a.extend(b),
        (Node::Inner(a), Node::Inner(b)) => a.extend(b),
        _ => unreachable!("siblings are equally deep"),
    }
}

/// Entries, ascending.
pub struct Iter<'a, K, V> {
    path: Vec<(&'a [Child<K, V>], usize)>,
    leaf: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            let (children, at) = self.path.last_mut()?;
            let Some(child) = children.get(*at) else {
                self.path.pop();
                continue;
            };
            *at += 1;
            let mut node = &*child.node;
            while let Node::Inner(children) = node {
                self.path.push((children, 1));
                node = &children[0].node;
            }
            if let Node::Leaf(entries) = node {
                self.leaf = entries.iter();
            }
        }
    }
}

/// Entries, descending.
pub struct IterBack<'a, K, V> {
    path: Vec<&'a [Child<K, V>]>,
    leaf: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iterator for IterBack<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next_back() {
                return Some((key, value));
            }
            let Some((child, rest)) = self.path.last()?.split_last() else {
                self.path.pop();
                continue;
            };
            if let Some(top) = self.path.last_mut() {
                *top = rest;
            }
            let mut node = &*child.node;
            while let Node::Inner(children) = node {
                let (last, rest) = children.split_last()?;
                self.path.push(rest);
                node = &last.node;
            }
            if let Node::Leaf(entries) = node {
                self.leaf = entries.iter();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Heavy(u64);

    impl Weight for Heavy {
        fn weight(&self) -> u64 {
            self.0
        }
    }

    fn compare(tree: &Tree<u32, Heavy>, model: &BTreeMap<u32, Heavy>, rng: &mut Rng) {
        tree.check();
        assert!(tree.iter().eq(model.iter()));
        assert_eq!(tree.weight(), model.values().map(|v| v.0).sum::<u64>());
        for _ in 0..5 {
            let key = rng.below(2_000) as u32;
            let bound = match rng.below(3) {
                0 => Bound::Unbounded,
                1 => Bound::Included(&key),
                _ => Bound::Excluded(&key),
            };
            assert!(tree.iter_from(bound).eq(model.range((bound, Bound::Unbounded))));
            assert!(tree.iter_back_from(bound).eq(model.range((Bound::Unbounded, bound)).rev()));
            assert_eq!(tree.weight_before(&key), model.range(..key).map(|(_, v)| v.0).sum::<u64>());
            assert_eq!(tree.floor(&key), model.range(..=key).next_back());
            assert_eq!(tree.get(&key), model.get(&key));
        }
    }

    #[test]
    fn what_ascends_becomes_the_same_map() {
        let mut rng = Rng::new(7);
        for len in [0, 1, 31, 32, 33, 64, 1_023, 1_024, 1_025, 40_000] {
            let mut model: BTreeMap<u32, Heavy> = (0..len).map(|n| (2 * n, Heavy(rng.below(9)))).collect();
            let mut tree = Tree::from_sorted(model.clone()).unwrap();
            compare(&tree, &model, &mut rng);
            for key in 0..len.min(100) {
                assert_eq!(tree.insert(key, Heavy(1)), model.insert(key, Heavy(1)));
                assert_eq!(tree.remove(&(3 * key)), model.remove(&(3 * key)));
            }
            compare(&tree, &model, &mut rng);
        }
        for bad in [vec![1, 1], vec![2, 1], (0..32).chain([31]).collect()] {
            assert!(Tree::from_sorted(bad.into_iter().map(|key: u32| (key, Heavy(1)))).is_none());
        }
    }

    #[test]
    fn it_agrees_with_an_ordered_map_and_copies_stay_as_they_were() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let (mut tree, mut model) = (Tree::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for step in 0..6_000_u32 {
                let growing = (step / 1_500) % 2 == 0;
                let key = if seed % 3 == 0 { step % 3_000 } else { rng.below(2_000) as u32 };
                if rng.chance(if growing { 9 } else { 1 }, 10) {
                    let value = Heavy(rng.below(9));
                    assert_eq!(tree.insert(key, value.clone()), model.insert(key, value));
                } else {
                    assert_eq!(tree.remove(&key), model.remove(&key));
                }
                if step % 300 == 0 {
                    compare(&tree, &model, &mut rng);
                    copies.push((tree.clone(), model.clone()));
                }
            }
            for (tree, model) in &copies {
                compare(tree, model, &mut rng);
            }
            for key in model.keys() {
                tree.remove(key);
            }
            tree.check();
            assert!(tree.is_empty());
        }
    }
}
