//! The machine's monotonic clock: the same for all processes, so that events of different clients have one order.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine's start.
pub(crate) fn now() -> i64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}
