//! Time as a value: it arrives as an argument and is never asked for.

use std::ops::{Add, Sub};
pub use std::time::Duration;

/// Nanoseconds on a monotonic clock whose zero is of no meaning across restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Instant(pub u64);

impl Instant {
    /// The zero of the clock.
    pub const ZERO: Self = Self(0);

    /// The time since `earlier`, or zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Lets one of many alike through in a while, and counts the others: so that a stranger who errs all the time gets one line
/// in the log and not all of it.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    every: Duration,
    next: Instant,
    missed: u64,
}

impl Throttle {
    /// One every so often; the first at once.
    pub const fn new(every: Duration) -> Self {
        Self { every, next: Instant::ZERO, missed: 0 }
    }

    /// How many were held back since the last one that was let through, if this one is.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        if now < self.next {
            self.missed += 1;
            return None;
        }
        self.next = now + self.every;
        Some(std::mem::take(&mut self.missed))
    }

    /// Whether the next one would be let through, with nothing held back to tell of.
    pub fn is_idle(&self, now: Instant) -> bool {
        now >= self.next && self.missed == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_passes_and_says_how_many_did_not() {
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let mut throttle = Throttle::new(Duration::from_secs(10));
        assert!(throttle.is_idle(at(0)));
        let passed: Vec<_> = [0, 1, 9, 10, 11, 30].map(|s| throttle.pass(at(s))).into();
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)]);
        assert!(!throttle.is_idle(at(39)) && throttle.is_idle(at(40)));
    }
}
