//! Hybrid logical clocks (Kulkarni and others, *Logical Physical Clocks*, 2014): readings that never go back, that come behind all that a
//! node has heard of, and that are near the time of day.
//!
//! A reading is 48 bits of milliseconds and 16 that count on where the milliseconds do not, in one number: what overflows in the count
//! is carried into the milliseconds. Two departures from the paper. A reading from further ahead than any clock is assumed to be
//! ([`MAX_OFFSET`](crate::MAX_OFFSET)) is rejected and not absorbed, or one wrong clock would pull all others along. And no reading is given out
//! above a *bound* that is durable, so that a node that starts again goes on above all that it ever gave out, whatever its wall
//! clock shows by then. While a higher bound is not durable yet the clock counts on below it: it waits for nobody, and is a little behind.

use crate::Wall;
use quorate_base::time::Duration;
use std::fmt;

/// How far ahead of the wall clock a bound is.
pub const WINDOW: Duration = Duration::from_secs(1);
const LOGICAL: u32 = 16;

/// A reading.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first of a millisecond.
    pub const fn of(wall: Wall) -> Self {
        Self(wall.0 << LOGICAL)
    }

    /// Its millisecond.
    pub const fn wall(self) -> Wall {
        Wall(self.0 >> LOGICAL)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.wall(), self.0 & ((1 << LOGICAL) - 1))
    }
}

/// A clock.
///
/// Invariant: `last <= bound`, and no reading that this or an earlier life has given out is above `last`.
#[derive(Clone, Debug, Default)]
pub struct Hybrid {
    last: Hlc,
    bound: Hlc,
    /// A bound that is to become durable.
    asked: Hlc,
    /// A reading was given out since a bound was asked for.
    used: bool,
}

impl Hybrid {
    /// Of a node whose earlier lives gave out nothing above this.
    pub fn restored(bound: Hlc) -> Self {
        Self { last: bound, bound, asked: bound, used: false }
    }

    /// A reading, above all before it.
    pub fn read(&mut self, wall: Wall) -> Hlc {
        self.used = true;
        let next = Hlc(self.last.0.saturating_add(1)).max(Hlc::of(wall));
        // Behind where it should be as long as it may not go on; at the bound itself it stands.
        self.last = if next <= self.bound {
            next
        } else {
            Hlc(self.last.0.saturating_add(1)).min(self.bound).max(self.last)
        };
        self.last
    }

    /// What it shows, for others to hear: nothing is given out by it.
    pub fn shown(&self) -> Hlc {
        self.last
    }

    /// Another's reading was heard: whatever is read from now on is above it. False if it is from too far ahead, and was not taken.
    pub fn hear(&mut self, wall: Wall, reading: Hlc) -> bool {
        if reading.wall().is_too_far_ahead_of(wall) {
            return false;
        }
        self.last = self.last.max(reading.min(self.bound));
        true
    }

    /// A bound that is to be made durable, once for each.
    pub fn wants(&mut self, wall: Wall) -> Option<Hlc> {
        let half = WINDOW.as_millis() as u64 / 2;
        if !self.used
            || self.bound >= Hlc::of(Wall(wall.0 + half))
            || self.asked >= Hlc::of(Wall(wall.0 + half))
        {
            return None;
        }
        self.used = false;
        self.asked = Hlc::of(Wall(wall.0 + WINDOW.as_millis() as u64));
        Some(self.asked)
    }

    /// A bound is durable.
    pub fn may(&mut self, bound: Hlc) {
        self.bound = self.bound.max(bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_OFFSET;
    use quorate_base::Rng;

    /// A node: its clock, what of bounds is durable, and what it has given out.
    struct Node {
        clock: Hybrid,
        durable: Hlc,
        asked: Option<Hlc>,
        ahead: u64,
        given: Hlc,
    }

    /// Claim: over restarts, bounds that become durable late, and messages between nodes whose clocks jump within the maximum and
    /// beyond it, no node gives out a reading twice or goes back; what is heard comes before what is read then, if it could be absorbed;
    /// and no reading is from further ahead than the true time and what clocks, messages and bounds allow.
    #[test]
    fn readings_never_go_back() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let new = |rng: &mut Rng| Node {
                clock: Hybrid::restored(Hlc::default()),
                durable: Hlc::default(),
                asked: None,
                ahead: rng.below(400),
                given: Hlc::default(),
            };
            let mut nodes = [new(&mut rng), new(&mut rng), new(&mut rng)];
            let (mut time, mut rejected) = (1_000_000, 0);
            for _ in 0..4_000 {
                time += rng.below(30);
                let at = rng.below(3) as usize;
                match rng.below(12) {
                    0 => {
                        // It starts again: what was not durable yet is gone.
                        nodes[at].clock = Hybrid::restored(nodes[at].durable);
                        nodes[at].asked = None;
                    }
                    1 => nodes[at].ahead = rng.below(400),
                    2 if rng.chance(1, 20) => nodes[at].ahead = 3_600_000,
                    3..=5 => {
                        let reading = nodes[rng.below(3) as usize].clock.shown();
                        let wall = Wall(time + nodes[at].ahead);
                        let taken = nodes[at].clock.hear(wall, reading);
                        rejected += u32::from(!taken);
                        assert_eq!(taken, !reading.wall().is_too_far_ahead_of(wall));
                        let before = nodes[at].clock.bound;
                        if taken && reading < before {
                            assert!(nodes[at].clock.shown() >= reading, "seed {seed}");
                        }
                    }
                    6 | 7 => {
                        if let Some(bound) = nodes[at].asked.take() {
                            nodes[at].durable = nodes[at].durable.max(bound);
                            nodes[at].clock.may(bound);
                        }
                    }
                    _ => {
                        let node = &mut nodes[at];
                        let wall = Wall(time + node.ahead);
                        node.asked = node.clock.wants(wall).or(node.asked);
                        let reading = node.clock.read(wall);
                        assert!(reading <= node.durable, "seed {seed}: {reading} is above what is durable");
                        // Before the first bound is durable there is nothing to give.
                        assert!(
                            reading > node.given || reading == node.durable,
                            "seed {seed}: {reading} again"
                        );
                        node.given = reading;
                    }
                }
            }
            assert!(rejected > 0 || nodes.iter().all(|node| node.ahead < 400), "seed {seed}");
        }
        assert!(WINDOW > MAX_OFFSET);
    }

    /// Claim: what overflows in the count is carried into the milliseconds.
    #[test]
    fn the_count_overflows_into_the_milliseconds() {
        let mut clock = Hybrid::restored(Hlc::default());
        clock.may(Hlc::of(Wall(2_000)));
        let mut last = clock.read(Wall(1_000));
        assert_eq!(last, Hlc::of(Wall(1_000)));
        for _ in 0..(1 << LOGICAL) {
            let next = clock.read(Wall(1_000));
            assert!(next > last);
            last = next;
        }
        assert_eq!(last, Hlc::of(Wall(1_001)));
        assert_eq!(format!("{last}"), "1001.0");
    }

    /// Claim: one that starts again while its bound is ahead of its wall clock goes on above it, and asks for a new one only when used.
    #[test]
    fn a_restart_goes_on_above_the_bound() {
        let mut clock = Hybrid::restored(Hlc::of(Wall(5_000)));
        assert_eq!(clock.wants(Wall(4_000)), None, "nobody has read it");
        assert_eq!(clock.read(Wall(4_000)), Hlc::of(Wall(5_000)), "it stands at its bound");
        let bound = clock.wants(Wall(4_800)).unwrap();
        assert_eq!((bound, clock.wants(Wall(4_800))), (Hlc::of(Wall(5_800)), None));
        clock.may(bound);
        assert_eq!(clock.read(Wall(4_801)), Hlc(Hlc::of(Wall(5_000)).0 + 1));
        assert!(!clock.hear(Wall(4_801), Hlc::of(Wall(5_302))));
        assert!(clock.hear(Wall(4_801), Hlc::of(Wall(5_301))));
        assert_eq!(clock.read(Wall(4_802)), Hlc(Hlc::of(Wall(5_301)).0 + 1));
    }
}
