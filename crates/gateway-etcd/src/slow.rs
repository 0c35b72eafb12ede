//! Calls that took long are told in the log, under etcd's words (`request stats`) and from etcd's bound on
//! (`--warning-unary-request-duration`).
//!
//! Where a disk is slow all calls take long: the log has one line a second, with how many there were in between. Streams last as long
//! as they are wanted, and who waits for a lock waits for its holder: these are not told.

use quorate_base::Instant;
use quorate_base::time::{Duration, Throttle};
use std::sync::{Mutex, PoisonError};
use tonic::Code;

/// How often the log tells of one.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What is told of calls that take long.
#[derive(Debug)]
pub struct Slow {
    /// From how long on; none are told of without.
    beyond: Option<Duration>,
    since: std::time::Instant,
    told: Mutex<Throttle>,
}

impl Default for Slow {
    fn default() -> Self {
        Self::beyond(None)
    }
}

impl Slow {
    /// Tells of calls that take longer.
    pub fn beyond(beyond: Option<Duration>) -> Self {
        Self { beyond, since: std::time::Instant::now(), told: Mutex::new(Throttle::new(TELL_EVERY)) }
    }

    /// The call of the method at `path` was answered after `took`; how many others were not told of, if it is told.
    pub(crate) fn answered(&self, path: &str, took: Duration, code: Code) -> Option<u64> {
        let waits = path.starts_with("/v3lockpb.") || path.starts_with("/v3electionpb.");
        if waits || self.beyond.is_none_or(|beyond| took <= beyond) {
            return None;
        }
        let now = Instant::ZERO + self.since.elapsed();
        let missed = self.told.lock().unwrap_or_else(PoisonError::into_inner).pass(now)?;
        tracing::warn!(
            "time spent" = ?took,
            "response type" = path,
            code = ?code,
            missed,
            "request stats: it took longer than is usual; see how busy this machine and its disk are"
        );
        Some(missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: what takes longer than the bound is told, once in a while; what waits for others by its nature is not, nor is
    /// anything without a bound.
    #[test]
    fn a_slow_call_is_told_once_in_a_while() {
        let ms = Duration::from_millis;
        let slow = Slow::beyond(Some(ms(300)));
        assert_eq!(slow.answered("/etcdserverpb.KV/Put", ms(300), Code::Ok), None);
        assert_eq!(slow.answered("/v3lockpb.Lock/Lock", ms(9000), Code::Ok), None);
        assert_eq!(slow.answered("/etcdserverpb.KV/Put", ms(301), Code::Ok), Some(0));
        assert_eq!(
            slow.answered("/etcdserverpb.KV/Range", ms(400), Code::Unavailable),
            None,
            "the next one counts it"
        );
        assert_eq!(Slow::default().answered("/etcdserverpb.KV/Put", ms(9000), Code::Ok), None);
    }
}
