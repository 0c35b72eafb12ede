//! The node's clocks: a monotonic one, its zero at the start of the process, and the wall clock of its system.

use quorate_base::Instant;
use quorate_clock::Wall;
use std::time::{SystemTime, UNIX_EPOCH};

/// A monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Instant {
        let real = self.real();
        #[cfg(feature = "faults")]
        let real = crate::faults::shown(real);
        Instant(real)
    }

    /// The time now, also where a test has ordered another one.
    pub(crate) fn real(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What the wall clock shows.
    pub(crate) fn wall() -> Wall {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        #[cfg(feature = "faults")]
        let wall = crate::faults::wall(wall);
        Wall(wall)
    }

    /// The same moment for the runtime's timers.
    pub(crate) fn tokio(&self, at: Instant) -> tokio::time::Instant {
        #[cfg(feature = "faults")]
        let at = Instant(crate::faults::real(at.0, self.real()));
        tokio::time::Instant::from_std(self.start + std::time::Duration::from_nanos(at.0))
    }
}
