//! The fence: how far this node's wall clock is from those of the others, and what it does about it.
//!
//! An answer to a [`Close`](super::Close) says what the answering node's clock showed when it was sent. That was between this node's
//! sending and its hearing, so the difference of the two clocks is known within one round trip. A node is *near* another where the difference
//! is certainly at most half of [`MAX_OFFSET`], and *far* where it certainly is more. Near a majority of the members, itself counted, it is
//! in order; far from a majority it is fenced: it closes nothing, and answers no bounded read by itself. Two nodes that are in order are
//! near one member in common, since majorities meet, and so within [`MAX_OFFSET`] of each other: which is all that a bounded read assumes.
//!
//! Where neither is certain it says `unknown` (two nodes of three that disagree: nobody can tell who is right), and what was decided
//! last stays in force, for clocks do not run apart in moments. Before anything was decided nothing is closed. A clock that was *set*
//! does, and it is seen at once, by the clock that does not jump: then nothing is decided any more. (What the others know of it is
//! older for an interval; it is one that says nothing itself meanwhile.)

use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};
use quorate_clock::{MAX_OFFSET, Wall};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of another's clock counts for so long.
const LASTS: Duration = Duration::from_secs(5);

/// How this node's wall clock stands to those of a majority of the members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Stand {
    /// They are not compared: nothing here depends on them.
    #[default]
    Idle,
    /// Neither of what follows is certain, or nobody has answered yet.
    Unknown,
    /// Within half of the maximum.
    Near,
    /// Further away: so many milliseconds ahead, or behind where negative.
    Far(i64),
}

/// What is known of the others' clocks.
#[derive(Default)]
pub(super) struct Fence {
    /// How many milliseconds another's is ahead of the own: at least, at most, and since when that is known.
    others: BTreeMap<NodeId, (i64, i64, Instant)>,
    stand: Stand,
    /// The last that was decided.
    fenced: Option<bool>,
}

impl Fence {
    /// Another's clock showed `theirs` at some moment between two of the own.
    pub(super) fn compares(&mut self, now: Instant, from: NodeId, theirs: Wall, (sent, heard): (Wall, Wall)) {
        let ahead = |of: Wall| i64::try_from(i128::from(theirs.0) - i128::from(of.0)).unwrap_or(i64::MAX);
        // Each reading was cut to whole milliseconds.
        self.others.insert(from, (ahead(heard) - 1, ahead(sent) + 1, now));
    }

    /// Judges anew, by the clocks of these members.
    pub(super) fn judge(&mut self, now: Instant, me: NodeId, members: &BTreeSet<NodeId>) {
        self.others.retain(|node, (.., at)| members.contains(node) && now.since(*at) < LASTS);
        let half = i64::try_from(MAX_OFFSET.as_millis() / 2).unwrap_or(i64::MAX);
        let majority = members.len() / 2 + 1;
        let near = self.others.values().filter(|(least, most, _)| *least >= -half && *most <= half).count();
        let far: Vec<i64> = self
            .others
            .values()
            .filter(|(least, most, _)| *least > half || *most < -half)
            .map(|(least, most, _)| i64::midpoint(*least, *most))
            .collect();
        self.stand = if near + usize::from(members.contains(&me)) >= majority {
            Stand::Near
        } else if far.len() >= majority {
            let mut far = far;
            far.sort_unstable();
            Stand::Far(-far[far.len() / 2])
        } else {
            Stand::Unknown
        };
        match self.stand {
            Stand::Near => self.fenced = Some(false),
            Stand::Far(_) => self.fenced = Some(true),
            Stand::Unknown | Stand::Idle => {}
        }
    }

    /// Nothing is compared any more, or all of it anew.
    pub(super) fn rests(&mut self) {
        *self = Self::default();
    }

    pub(super) fn stand(&self) -> Stand {
        self.stand
    }

    /// Whether nothing here may rest on the clock.
    pub(super) fn holds_back(&self) -> bool {
        self.fenced != Some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(others: &[(u64, i64, u64)], members: u64) -> (Stand, bool) {
        let mut fence = Fence::default();
        for &(node, ahead, way) in others {
            let (sent, heard) = (Wall(1_000_000), Wall(1_000_000 + way));
            let theirs = Wall((1_000_000 + way / 2).saturating_add_signed(ahead));
            fence.compares(Instant::ZERO, NodeId(node), theirs, (sent, heard));
        }
        fence.judge(Instant::ZERO, NodeId(1), &(1..=members).map(NodeId).collect());
        (fence.stand(), fence.holds_back())
    }

    /// Claim: a node is in order near a majority, fenced far from one, and else says that it does not know.
    #[test]
    fn a_clock_is_judged_by_a_majority() {
        let (near, far, unknown) =
            ((Stand::Near, false), |by| (Stand::Far(by), true), (Stand::Unknown, true));
        for (others, members, expected) in [
            (&[][..], 1, near),
            (&[], 3, unknown),
            (&[(2, 10, 2)], 3, near),
            (&[(2, 10, 2), (3, 90_000, 2)], 3, near),
            // Alone with one that disagrees: who is right?
            (&[(2, 90_000, 2)], 3, unknown),
            (&[(2, 600, 2), (3, 620, 2)], 3, far(-620)),
            (&[(2, -600, 2), (3, -620, 2)], 3, far(600)),
            // It may be near and it may be far: the way was long.
            (&[(2, 240, 100), (3, 260, 100)], 3, unknown),
            (&[(2, 0, 2), (3, 5_000, 2), (4, 5_000, 2), (5, 5_000, 2)], 5, far(-5_000)),
            (&[(2, 0, 2), (3, 0, 2), (4, 5_000, 2), (5, 5_000, 2)], 5, near),
            (&[(2, 0, 2), (4, 5_000, 2), (5, 5_000, 2)], 5, unknown),
        ] {
            assert_eq!(judged(others, members), expected, "{others:?} of {members}");
        }
    }

    /// Claim: whatever the clocks are, two nodes that both judge themselves in order are within the maximum of each other.
    #[test]
    fn two_in_order_are_within_the_maximum() {
        let mut rng = quorate_base::Rng::new(3);
        let mut both = 0;
        for _ in 0..20_000 {
            let members = 1 + rng.below(7);
            let clocks: Vec<u64> = (0..members).map(|_| 1_000_000 + rng.below(1_200)).collect();
            let of = |me: u64, rng: &mut quorate_base::Rng| {
                let mut fence = Fence::default();
                for other in (0..members).filter(|&other| other != me) {
                    if rng.chance(1, 5) {
                        continue;
                    }
                    let way = rng.below(80);
                    let at = rng.below(way + 1);
                    let own = clocks[me as usize];
                    let theirs = Wall(clocks[other as usize] + at);
                    fence.compares(Instant::ZERO, NodeId(other), theirs, (Wall(own), Wall(own + way)));
                }
                fence.judge(Instant::ZERO, NodeId(me), &(0..members).map(NodeId).collect());
                fence.stand() == Stand::Near
            };
            let (a, b) = (rng.below(members), rng.below(members));
            if of(a, &mut rng) && of(b, &mut rng) {
                both += 1;
                let apart = clocks[a as usize].abs_diff(clocks[b as usize]);
                assert!(u128::from(apart) <= MAX_OFFSET.as_millis(), "{clocks:?}: {a} and {b}");
            }
        }
        assert!(both > 2_000, "{both}");
    }
}
