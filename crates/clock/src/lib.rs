//! Clocks that nodes compare: what a wall clock shows, as a value, and how far two of them may be apart.
//!
//! [`quorate_base::Instant`] is a node's own monotonic clock: it measures spans, and no two nodes' zeros have anything to do with each
//! other. A [`Wall`] is what a node takes for the time of day. Two nodes' differ, by an offset that nobody knows; [`MAX_OFFSET`] is
//! what it is *assumed* to be at most, between any two nodes.
//!
//! A [`Hybrid`] clock gives readings for what is to be put into an order that is near that of the time of day: [`hybrid`].
//!
//! What rests on that assumption is one promise only: how old the answer of a read with a bound on staleness is (`quorate_node`,
//! `lane::closed`). No write, no transaction and no linearizable read knows a wall clock at all.

pub mod hybrid;

pub use hybrid::{Hlc, Hybrid};
use quorate_base::time::Duration;
use std::fmt;

/// How far the wall clocks of any two nodes are assumed to be apart at most.
pub const MAX_OFFSET: Duration = Duration::from_millis(500);

/// What a wall clock shows: milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Wall(pub u64);

impl Wall {
    /// The time since `earlier` as two clocks show it that are assumed to be no further apart than [`MAX_OFFSET`]: no less than the
    /// true time since. Both readings were cut to whole milliseconds, hence one more.
    pub fn at_most_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0) + 1) + MAX_OFFSET
    }

    /// Whether it is further ahead of `other` than any clock is assumed to be: whatever it says is not believed.
    pub fn is_too_far_ahead_of(self, other: Self) -> bool {
        Duration::from_millis(self.0.saturating_sub(other.0)) > MAX_OFFSET
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: whatever two clocks are, within the maximum of each other, the true time between two moments is no longer than what is
    /// said of it by the one clock at the first and the other at the second.
    #[test]
    fn an_age_is_never_said_to_be_less_than_it_is() {
        let mut rng = quorate_base::Rng::new(7);
        let most = MAX_OFFSET.as_micros() as u64;
        for _ in 0..10_000 {
            let (first, passed) = (rng.between(most, 1 << 40), rng.below(5_000_000));
            // In microseconds: one clock is right, the other ahead or behind.
            let (ahead, behind) = (rng.below(most + 1), rng.below(2));
            let (one, other) = if behind == 0 { (0, ahead) } else { (ahead, 0) };
            let shown = Wall((first + one) / 1_000);
            let then = Wall((first + passed + other) / 1_000);
            assert!(
                then.at_most_since(shown) >= Duration::from_micros(passed),
                "{first} {passed} {one} {other}"
            );
            assert!(passed > 0 || !shown.is_too_far_ahead_of(then));
        }
    }
}
