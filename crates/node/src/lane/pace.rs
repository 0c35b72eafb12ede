//! How fast replicas that move may be sent: so many bytes a second from this node, whatever number of shards is on the way.
//!
//! A move reads a whole shard here, sends it and has it written elsewhere, beside what clients do. What bounds it is the rate of the
//! chunks of snapshots for replicas of tables' shards that have no vote yet: those come by a move, and nobody waits for them.
//! A chunk is sent when those before it have had their time; what was not used is not saved up. Snapshots for voters, and those of
//! shard 1, go as fast as they can: a group with such a voter bears one failure less.
//!
//! # Left out
//!
//! The entries of the log that a replica gets behind its snapshot, or instead of one where the log is still whole: the log keeps as
//! many bytes as its own bound allows, and no more.

use quorate_base::Instant;
use quorate_base::time::Duration;

/// So many bytes a second.
const BYTES_PER_SECOND: u64 = 32 << 20;

/// See the page.
#[derive(Default)]
pub(super) struct Pace {
    /// Until then what was sent has its time.
    free_at: Instant,
}

impl Pace {
    /// When the next chunk may be read; now, if that is not later.
    pub(super) fn free_at(&self) -> Instant {
        self.free_at
    }

    /// So many bytes go.
    pub(super) fn takes(&mut self, now: Instant, bytes: usize) {
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / BYTES_PER_SECOND;
        self.free_at = self.free_at.max(now) + Duration::from_nanos(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends chunks of that size as soon as each may go, from one second to another; their bytes.
    fn sent(pace: &mut Pace, seconds: (u64, u64), chunk: usize) -> u64 {
        let (mut now, end) = (at(seconds.0), at(seconds.1));
        let mut bytes = 0;
        while now < end {
            pace.takes(now, chunk);
            bytes += chunk as u64;
            now = now.max(pace.free_at());
        }
        bytes
    }

    fn at(second: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(second)
    }

    /// Claim: over any time, whatever chunks are asked for, as many bytes go as the rate says, and nothing is saved up.
    #[test]
    fn no_more_goes_than_the_rate_says() {
        for chunk in [1_000, 64 << 10, 1 << 20] {
            let mut pace = Pace::default();
            for (from, to) in [(0, 2), (60, 63)] {
                let (bytes, most) = (sent(&mut pace, (from, to), chunk), (to - from) * BYTES_PER_SECOND);
                // The last chunk goes in full, and times are whole nanoseconds.
                let slack = chunk as u64 + most / 1_000;
                assert!(bytes.abs_diff(most) <= slack, "chunks of {chunk}: {bytes} in {} s", to - from);
            }
        }
    }

    #[test]
    fn what_is_small_goes_at_once() {
        let mut pace = Pace::default();
        let now = at(9);
        assert!(pace.free_at() <= now);
        pace.takes(now, 1_000);
        assert!(pace.free_at() <= now + Duration::from_micros(100));
    }
}
