//! What a search has been at, so that it never goes there twice.
//!
//! A place is the frontier (how many returns are behind it), the mask of linearized operations among those that are open
//! there, and the state. Which pending operations were used comes on top: a place that was left in vain with few of them
//! used is in vain with more, since whatever they could still do the few could have done too. So only the smallest sets of
//! used ones are kept for a place.

use crate::budget::{Budget, Spent};
use crate::table::Table;

/// A place of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place<const W: usize> {
    /// Linearized among the open operations, by slot.
    pub(super) mask: [u64; W],
    /// How many returns are behind it.
    pub(super) frontier: u32,
    /// The state's number.
    pub(super) state: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot<const W: usize> {
    place: Place<W>,
    /// The first of what it was visited with: a place in `links`.
    head: u32,
}

const EMPTY: u32 = u32::MAX;
const LAST: u32 = u32::MAX;

/// The places where a search has been.
#[derive(Debug)]
pub(super) struct Memo<const W: usize> {
    slots: Vec<Slot<W>>,
    filled: usize,
    links: Vec<Link<W>>,
    /// Nothing can be loose: then a place with nothing used has no link.
    plain: bool,
}

/// What a place was visited with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link<const W: usize> {
    /// The loose ones: more are better.
    loose: [u64; W],
    /// The used pending ones: fewer are better.
    used: u32,
    /// The next link of the same place.
    next: u32,
}

impl<const W: usize> Memo<W> {
    pub(super) fn new(plain: bool) -> Self {
        Self { slots: Vec::new(), filled: 0, links: Vec::new(), plain }
    }

    /// Notes that the search is at a place with these pending operations used. False: it has been there, or at one that was
    /// no worse.
    pub(super) fn visit(
        &mut self,
        place: &Place<W>,
        used: u32,
        loose: [u64; W],
        sets: &Sets,
        budget: &mut Budget<'_>,
    ) -> Result<bool, Spent> {
        if 4 * (self.filled + 1) > 3 * self.slots.len() {
            self.grow(budget)?;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash(place) as usize & mask;
        loop {
            let slot = &self.slots[at];
            if slot.place.frontier == EMPTY {
                break;
            }
            if slot.place == *place {
                return self.note(at, used, loose, sets, budget);
            }
            at = (at + 1) & mask;
        }
        let head = self.link(used, loose, LAST, budget)?;
        self.slots[at] = Slot { place: *place, head };
        self.filled += 1;
        Ok(true)
    }

    fn note(
        &mut self,
        at: usize,
        used: u32,
        loose: [u64; W],
        sets: &Sets,
        budget: &mut Budget<'_>,
    ) -> Result<bool, Spent> {
        let mut link = self.slots[at].head;
        // A place with nothing used and nothing to be loose: none is better.
        if link == LAST {
            return Ok(false);
        }
        while link != LAST {
            let known = self.links[link as usize];
            if part_of(loose, known.loose) && sets.within(known.used, used) {
                return Ok(false);
            }
            if part_of(known.loose, loose) && sets.within(used, known.used) {
                self.links[link as usize] = Link { loose, used, ..known };
                return Ok(true);
            }
            link = known.next;
        }
        self.slots[at].head = self.link(used, loose, self.slots[at].head, budget)?;
        Ok(true)
    }

    fn link(&mut self, used: u32, loose: [u64; W], next: u32, budget: &mut Budget<'_>) -> Result<u32, Spent> {
        if self.plain && used == Sets::NONE && next == LAST {
            return Ok(LAST);
        }
        if self.links.len() == self.links.capacity() {
            let more = self.links.len().max(16);
            budget.take((more * size_of::<Link<W>>()) as u64)?;
            self.links.reserve_exact(more);
        }
        self.links.push(Link { loose, used, next });
        Ok(self.links.len() as u32 - 1)
    }

    fn grow(&mut self, budget: &mut Budget<'_>) -> Result<(), Spent> {
        let len =
            if self.slots.len() < 4096 { (self.slots.len() * 4).max(128) } else { self.slots.len() * 2 };
        budget.take((len * size_of::<Slot<W>>()) as u64)?;
        let empty = Slot { place: Place { mask: [0; W], frontier: EMPTY, state: 0 }, head: LAST };
        let old = std::mem::replace(&mut self.slots, vec![empty; len]);
        for slot in &old {
            if slot.place.frontier != EMPTY {
                let mut at = hash(&slot.place) as usize & (len - 1);
                while self.slots[at].place.frontier != EMPTY {
                    at = (at + 1) & (len - 1);
                }
                self.slots[at] = *slot;
            }
        }
        budget.give((old.len() * size_of::<Slot<W>>()) as u64);
        Ok(())
    }
}

fn part_of<const W: usize>(one: [u64; W], other: [u64; W]) -> bool {
    one.iter().zip(other).all(|(one, other)| one & !other == 0)
}

fn hash<const W: usize>(place: &Place<W>) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = (u64::from(place.frontier) << 32 | u64::from(place.state)).wrapping_mul(ODD);
    for word in place.mask {
        hash = (hash ^ (hash >> 29) ^ word).wrapping_mul(ODD);
    }
    hash ^ (hash >> 32)
}

/// Multisets of pending operations by class, interned. Few are used at a time: they are sorted lists.
#[derive(Debug)]
pub(super) struct Sets {
    members: Vec<Box<[u32]>>,
    known: Table<Box<[u32]>, u32>,
    plus: Table<(u32, u32), u32>,
}

impl Sets {
    /// The empty one.
    pub(super) const NONE: u32 = 0;

    pub(super) fn new() -> Self {
        Self { members: vec![Box::default()], known: Table::default(), plus: Table::default() }
    }

    /// The set with one more of a class.
    pub(super) fn plus(&mut self, set: u32, class: u32, budget: &mut Budget<'_>) -> Result<u32, Spent> {
        if let Some(&known) = self.plus.get(&(set, class)) {
            return Ok(known);
        }
        let old = &self.members[set as usize];
        let mut new = Vec::with_capacity(old.len() + 1);
        let at = old.partition_point(|&member| member <= class);
        new.extend_from_slice(&old[..at]);
        new.push(class);
        new.extend_from_slice(&old[at..]);
        let new: Box<[u32]> = new.into();
        let found = if let Some(&known) = self.known.get(&new) {
            known
        } else {
            budget.take(2 * (4 * new.len() as u64 + 16) + 48)?;
            self.members.push(new.clone());
            self.known.insert(new, self.members.len() as u32 - 1);
            self.members.len() as u32 - 1
        };
        self.plus.insert((set, class), found);
        Ok(found)
    }

    /// How many of a class are in it.
    pub(super) fn count(&self, set: u32, class: u32) -> u32 {
        self.members[set as usize].iter().filter(|&&member| member == class).count() as u32
    }

    /// True where all of one are in the other.
    fn within(&self, one: u32, other: u32) -> bool {
        if one == other || one == Self::NONE {
            return true;
        }
        let (one, other) = (&self.members[one as usize], &self.members[other as usize]);
        let mut rest = other.iter();
        one.len() <= other.len() && one.iter().all(|member| rest.any(|other| other == member))
    }
}
