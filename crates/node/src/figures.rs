//! What is counted about a running node, for whoever shows it: a histogram that many threads fill, and the lane's own numbers.

use crate::lane::Stand;
use quorate_base::time::Duration;
use quorate_state::kv::Tally;
use quorate_wire::kv::Revision;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// A histogram of times in the form of Prometheus: how many were at most so long, for each bound.
#[derive(Debug)]
pub struct Histogram {
    /// In seconds, ascending.
    bounds: &'static [f64],
    /// One for each bound and one for what is longer.
    counts: Vec<AtomicU64>,
    nanos: AtomicU64,
}

/// The bounds that etcd has for disks: a millisecond, and twice that, up to eight seconds.
pub const DISK_BOUNDS: &[f64] =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192];
/// The bounds that Prometheus has for requests.
pub const REQUEST_BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Histogram {
    /// With these bounds in seconds.
    pub fn new(bounds: &'static [f64]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, counts, nanos: AtomicU64::default() }
    }

    /// One took so long.
    pub fn observe(&self, took: Duration) {
        let nanos = took.as_nanos();
        let seconds = nanos as f64 / 1e9;
        let at = self.bounds.partition_point(|&bound| bound < seconds);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Appends its lines, with `labels` (as in `a="b"`, perhaps empty) on each.
    pub fn write(&self, page: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (at, of) in self.counts.iter().enumerate() {
            count += of.load(Ordering::Relaxed);
            let bound = self.bounds.get(at).map_or_else(|| "+Inf".to_string(), ToString::to_string);
            // Writing to a String cannot fail.
            let _ = writeln!(page, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        let sum = self.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(page, "{name}_sum{braced} {sum}\n{name}_count{braced} {count}");
    }
}

/// The lane's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// How its wall clock stands to the majority's.
    pub clock: Stand,
    /// It knows a leader.
    pub has_leader: bool,
    /// It is the leader.
    pub leads: bool,
    /// It is a learner.
    pub learner: bool,
    /// How often it has heard of another leader.
    pub leader_changes: u64,
    /// What it knows to be committed.
    pub committed: u64,
    /// What its machine has applied.
    pub applied: u64,
    /// Requests that wait for the log.
    pub pending: u64,
    /// Writes that came to nothing, or are in doubt.
    pub failed: u64,
    /// Bytes of all versions.
    pub db_size: i64,
    /// The bound to the former, 0 for none.
    pub quota: i64,
    /// The newest revision.
    pub revision: Revision,
    /// The oldest one that can be read; 0 before the first compaction.
    pub compacted: Revision,
    /// What the machine has done since the start.
    pub tally: Tally,
    /// Rounds of reads of which no read index came.
    pub reads_dropped: u64,
    /// Keep-alives that this node has granted while it led.
    pub renewed: u64,
    /// How many keys there are.
    pub keys: u64,
    /// How many leases there are.
    pub leases: u64,
    /// Transactions over several shards that the node tries to recover, and whose outcome nobody knows.
    pub undecided: u64,
    /// By how much every lease was prolonged since the node stood still while it led.
    pub leases_given_back: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let histogram = Histogram::new(&[0.001, 0.01]);
        for micros in [500, 1_000, 1_001, 20_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut page = String::new();
        histogram.write(&mut page, "h", "a=\"b\"");
        assert_eq!(
            page,
            "h_bucket{a=\"b\",le=\"0.001\"} 2\nh_bucket{a=\"b\",le=\"0.01\"} 3\nh_bucket{a=\"b\",le=\"+Inf\"} 4\n\
             h_sum{a=\"b\"} 0.022501\nh_count{a=\"b\"} 4\n"
        );
        let mut page = String::new();
        histogram.write(&mut page, "h", "");
        assert!(page.starts_with("h_bucket{le=\"0.001\"} 2\n") && page.ends_with("h_count 4\n"), "{page}");
    }
}
