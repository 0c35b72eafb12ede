//! What those who connect to the peer port do wrong: counted all, told of now and then.
//!
//! Whoever errs tries again, several times a second: the log has each mistake of each host once a minute, with how often it
//! came in between.

use crate::inbox::lock;
use quorate_base::Instant;
use quorate_base::time::Throttle;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often the log tells of the same mistake of the same host.
pub(crate) const TELL_EVERY: Duration = Duration::from_secs(60);
/// So many mistakes are told apart; what comes then is told as one.
const MISTAKES_MAX: usize = 64;

/// Why a connection is refused, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Which of them.
    pub(crate) kind: MistakeKind,
    /// In words, with what to do.
    pub(crate) why: String,
}

/// The mistakes that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MistakeKind {
    /// It said nothing, or left.
    Silent,
    /// Too many were about to greet.
    Crowded,
    /// It speaks something else.
    NoPeer,
    /// Its greeting was damaged.
    Damaged,
    /// It is of another release.
    Version,
    /// It is of another cluster.
    Cluster,
    /// It meant another node.
    Addressee,
    /// It is no member, or this very node.
    Stranger,
    /// It was a member and is none any more.
    Removed,
    /// It is a member with another data directory than it had.
    Forgetful,
    /// It is a member that began with something else.
    Began,
    /// It is a member, and another process is the same one and lives.
    Twin,
    /// A packet was too long or damaged.
    Packet,
    /// A frame was malformed.
    Frame,
    /// The connection failed.
    Broken,
    /// More of them than are told apart.
    Many,
}

impl Mistake {
    /// One of `kind`.
    pub(crate) fn new(kind: MistakeKind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }

    /// Whether somebody is there and will not talk to this node, or this one not to him.
    pub(crate) fn is_refusal(&self) -> bool {
        !matches!(self.kind, MistakeKind::Broken | MistakeKind::Silent)
    }

    /// The connection failed.
    pub(crate) fn broken(error: &std::io::Error) -> Self {
        Self::new(MistakeKind::Broken, error.to_string())
    }
}

/// What peers and those who are none did wrong.
#[derive(Debug, Default)]
pub(crate) struct Mistakes {
    count: AtomicU64,
    told: Mutex<BTreeMap<(MistakeKind, Option<IpAddr>), Throttle>>,
}

impl Mistakes {
    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one; says how many were not told of since the last one, if this one is to be told.
    pub(crate) fn note(&self, kind: MistakeKind, host: Option<IpAddr>, now: Instant) -> Option<u64> {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut told = lock(&self.told);
        if told.len() >= MISTAKES_MAX && !told.contains_key(&(kind, host)) {
            told.retain(|_, throttle| !throttle.is_idle(now));
        }
        let room = told.len() < MISTAKES_MAX || told.contains_key(&(kind, host));
        let key = if room { (kind, host) } else { (MistakeKind::Many, None) };
        told.entry(key).or_insert(Throttle::new(TELL_EVERY)).pass(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_told_once_a_minute_and_hosts_without_number_cost_nothing() {
        let mistakes = Mistakes::default();
        let at = |s| Instant::ZERO + Duration::from_secs(s);
        let host = |n: u32| Some(IpAddr::from(n.to_be_bytes()));
        assert_eq!(mistakes.note(MistakeKind::Version, host(1), at(0)), Some(0));
        assert_eq!(mistakes.note(MistakeKind::Version, host(1), at(1)), None);
        assert_eq!(mistakes.note(MistakeKind::Cluster, host(1), at(1)), Some(0), "another mistake");
        assert_eq!(mistakes.note(MistakeKind::Version, host(2), at(1)), Some(0), "another host");
        assert_eq!(mistakes.note(MistakeKind::Version, host(1), at(61)), Some(1));
        let told = (0..10_000).filter(|n| mistakes.note(MistakeKind::NoPeer, host(*n), at(62)).is_some());
        assert!(told.count() <= MISTAKES_MAX + 1);
        assert!(lock(&mistakes.told).len() <= MISTAKES_MAX + 1);
        assert_eq!(mistakes.count(), 10_005);
    }
}
