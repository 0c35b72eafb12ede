//! Configurations and their quorums, by joint consensus (dissertation, 4.3).
//!
//! A configuration *acts from the moment its entry is in a replica's log*, committed or not, as in the dissertation; a
//! truncated entry takes its configuration with it. Every change of voters goes through a joint one, also a single
//! server's, so the single-server rule and its bug of 2015 have no place here. While joint, every decision needs a majority
//! of the old voters and one of the new. What leaves the voters as they are changes no quorum, and is one entry.
//!
//! A configuration carries the *book* of its members along (names, addresses; see `wire::members`), so that whoever knows
//! who the members are, from journal, log or snapshot, knows where they are. The core does not look into it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_base::{Index, NodeId};
use std::collections::BTreeSet;
use std::fmt;

/// Without a book, as releases wrote it that had none; and with one.
const PLAIN: u8 = 1;
const WITH_BOOK: u8 = 2;
/// No group is larger: a bound for decoding.
const NODES_MAX: usize = 1024;
/// The longest book.
pub const BOOK_MAX: usize = 1 << 20;

/// Who votes and who only listens.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Membership {
    /// The voters; while joint, the incoming ones.
    pub voters: BTreeSet<NodeId>,
    /// While joint, the voters that are on their way out.
    pub outgoing: Option<BTreeSet<NodeId>>,
    /// Those who get the log but have no vote.
    pub learners: BTreeSet<NodeId>,
    /// What the layers above keep with it; at most [`BOOK_MAX`] bytes, empty where they keep nothing.
    pub book: Bytes,
}

impl Membership {
    /// A plain configuration.
    pub fn of_voters(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Self { voters: voters.into_iter().collect(), ..Self::default() }
    }

    /// Whether two majorities rule.
    pub fn is_joint(&self) -> bool {
        self.outgoing.is_some()
    }

    /// Whether the node is in it in any form.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// Whether the node has a vote, old or new.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.as_ref().is_some_and(|o| o.contains(&node))
    }

    /// Whether the node only listens.
    pub fn is_learner(&self, node: NodeId) -> bool {
        self.learners.contains(&node) && !self.is_voter(node)
    }

    /// All nodes.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        let mut all: BTreeSet<NodeId> = self.voters.union(&self.learners).copied().collect();
        all.extend(self.outgoing.iter().flatten());
        all
    }

    /// Whether those who say yes are a majority of each voter set.
    pub fn is_quorum(&self, yes: impl Fn(NodeId) -> bool) -> bool {
        self.sets().all(|set| set.iter().filter(|&&n| yes(n)).count() > set.len() / 2)
    }

    /// Whether every voter says yes.
    pub fn is_unanimous(&self, yes: impl Fn(NodeId) -> bool) -> bool {
        self.sets().all(|set| set.iter().all(|&n| yes(n)))
    }

    /// Whether somebody else than `one` says yes in every majority that it could be part of.
    pub fn meets_majorities_of(&self, one: NodeId, yes: impl Fn(NodeId) -> bool) -> bool {
        self.sets().all(|set| 2 * set.iter().filter(|&&n| n != one && yes(n)).count() >= set.len())
    }

    /// The largest index that a majority of each voter set has reached.
    pub fn reached(&self, of: impl Fn(NodeId) -> Index) -> Index {
        let reached = |set: &BTreeSet<NodeId>| {
            let mut all: Vec<Index> = set.iter().map(|&n| of(n)).collect();
            all.sort_unstable();
            // Of n values, the one that n/2 + 1 of them are at least.
            let at = all.len().saturating_sub(1) / 2;
            all.get(at).copied().unwrap_or_default()
        };
        self.sets().map(reached).min().unwrap_or_default()
    }

    /// On the way from this one to `target`.
    pub fn joint(&self, target: &Self) -> Self {
        Self {
            voters: target.voters.clone(),
            outgoing: Some(self.voters.clone()),
            learners: target.learners.clone(),
            book: target.book.clone(),
        }
    }

    /// At the end of the way.
    pub fn left(&self) -> Self {
        Self { outgoing: None, ..self.clone() }
    }

    fn sets(&self) -> impl Iterator<Item = &BTreeSet<NodeId>> {
        std::iter::once(&self.voters).chain(self.outgoing.iter())
    }

    /// Its form in entries, bases and frames.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(if self.book.is_empty() { PLAIN } else { WITH_BOOK });
        out.put_u8(u8::from(self.is_joint()));
        let empty = BTreeSet::new();
        for set in [&self.voters, self.outgoing.as_ref().unwrap_or(&empty), &self.learners] {
            out.put_u16_le(set.len() as u16);
            for node in set {
                out.put_u64_le(node.0);
            }
        }
        out.put_slice(&self.book);
        out.freeze()
    }

    /// The inverse; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let format = rest.try_get_u8().ok().filter(|format| [PLAIN, WITH_BOOK].contains(format))?;
        let joint = match rest.try_get_u8().ok()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let mut sets: [BTreeSet<NodeId>; 3] = Default::default();
        for set in &mut sets {
            let count = usize::from(rest.try_get_u16_le().ok()?);
            if count > NODES_MAX || rest.len() < count * 8 {
                return None;
            }
            set.extend((0..count).map(|_| NodeId(rest.get_u64_le())));
            if set.len() != count {
                return None;
            }
        }
        let [voters, outgoing, learners] = sets;
        let booked = rest.is_empty() == (format == PLAIN) && rest.len() <= BOOK_MAX;
        let sound = booked && !voters.is_empty() && outgoing.is_empty() != joint;
        let book = Bytes::copy_from_slice(rest);
        sound.then_some(Self { voters, outgoing: joint.then_some(outgoing), learners, book })
    }
}

/// As in `1 2 3 | 1 2 4 + 5`: voters, those on their way out, learners.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |set: &BTreeSet<NodeId>| set.iter().map(|n| n.0.to_string()).collect::<Vec<_>>().join(" ");
        f.write_str(&list(&self.voters))?;
        if let Some(outgoing) = &self.outgoing {
            write!(f, " | {}", list(outgoing))?;
        }
        if !self.learners.is_empty() {
            write!(f, " + {}", list(&self.learners))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().map(|&n| NodeId(n)).collect()
    }

    #[test]
    fn encodes_and_refuses_garbage() {
        let m = Membership {
            voters: ids(&[1, 2, 3]),
            outgoing: Some(ids(&[1, 4])),
            learners: ids(&[9]),
            book: Bytes::new(),
        };
        let bytes = m.encode();
        assert_eq!(Membership::decode(&bytes), Some(m.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(Membership::decode(&bytes[..cut]), None);
        }
        let booked = Membership { book: Bytes::from_static(b"book"), ..m };
        assert_eq!(Membership::decode(&booked.encode()), Some(booked.clone()));
        assert_eq!(Membership::decode(&booked.encode()[..bytes.len()]), None, "the book is missing");
        assert_eq!(booked.joint(&booked.left()).left().book, booked.book, "the core carries it along");
    }

    #[test]
    fn a_joint_quorum_needs_both_and_the_index_is_the_lesser() {
        let old = Membership::of_voters(ids(&[1, 2, 3]));
        let joint = old.joint(&Membership::of_voters(ids(&[3, 4, 5])));
        assert!(!joint.is_quorum(|n| n.0 <= 3), "the outgoing ones alone");
        assert!(!joint.is_quorum(|n| n.0 >= 3 && n.0 != 2), "3, 4, 5 lack a majority of 1, 2, 3");
        assert!(joint.is_quorum(|n| [2, 3, 4].contains(&n.0)));
        assert!(
            old.meets_majorities_of(NodeId(1), |n| n.0 != 1)
                && !old.meets_majorities_of(NodeId(1), |n| n.0 <= 2)
        );
        let two = Membership::of_voters(ids(&[1, 2]));
        assert!(
            two.meets_majorities_of(NodeId(1), |n| n.0 == 2)
                && !two.meets_majorities_of(NodeId(1), |n| n.0 == 1)
        );
        assert!(!Membership::of_voters(ids(&[1])).meets_majorities_of(NodeId(1), |_| true));
        assert_eq!(joint.reached(|n| Index(n.0 * 10)), Index(20));
        assert_eq!(old.reached(|n| Index(n.0)), Index(2));
        assert_eq!(Membership::of_voters(ids(&[1, 2, 3, 4])).reached(|n| Index(n.0)), Index(2));
    }

    /// Seed 8.
    #[test]
    fn no_bytes_are_a_panic_and_what_is_read_is_written_the_same() {
        let mut rng = quorate_base::Rng::new(8);
        let mut read = 0;
        for _ in 0..50_000 {
            let book = Bytes::from_static(if rng.chance(1, 2) { b"b" } else { b"" });
            let m = Membership { voters: ids(&[1, 2]), outgoing: Some(ids(&[1])), learners: ids(&[9]), book };
            let mut bytes = m.encode().to_vec();
            for _ in 0..rng.between(1, 3) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = *rng.pick(&[0, 1, 2, 0xff, rng.clone().next_u64() as u8]);
            }
            bytes.truncate(
                bytes.len() - if rng.chance(1, 4) { rng.below(bytes.len() as u64) as usize } else { 0 },
            );
            if let Some(m) = Membership::decode(&bytes) {
                assert_eq!(Membership::decode(&m.encode()), Some(m));
                read += 1;
            }
            let _ = Membership::decode(&(0..rng.below(40)).map(|_| rng.next_u64() as u8).collect::<Vec<_>>());
        }
        assert!(read > 1_000, "{read}");
    }
}
