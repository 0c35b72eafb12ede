//! How stale the reads of a register are: in time exactly, in versions between two bounds. For registers that [`cell`](super::cell)
//! takes, without compare-and-set.
//!
//! **Time.** The staleness is the smallest Δ such that the history is linearizable if each read counts as invoked Δ earlier
//! (Golab, Li and Shah, "Analyzing consistency properties for fun and profit", 2011). Moving reads changes of a zone only its
//! largest invocation: `s(Δ)` is the larger of the write's invocation and the reads' last one less Δ. More Δ never adds a
//! conflict, so bisection finds the smallest; each round is one sweep over the zones, sorted once by `f`. A read that returned
//! before its write was invoked has no Δ. O(n log n + n log T) for times up to T.
//!
//! **Versions.** A history is k-atomic if in some order that keeps real time each read returns one of the last k values. The
//! smallest k is 1 if it is linearizable; to find it else is quasilinear for 2 and not known to be polynomial from 3 on (Golab,
//! Hurwitz and Li, 2013). So two bounds:
//!
//! - *At least* one more than the writes that lie wholly between the end of a read's own write and its beginning, and 2.
//! - *At most* what an order of the writes gives that keeps real time: by their invocations, or by the first return of a write
//!   and its reads; each read as early as the writes and reads that returned before it let it be. The better of the two.
//!   Both do keep real time: whatever returned before a write was invoked is, by either order, before that write.

use super::NONE;
use crate::budget::{Budget, Spent};
use crate::history::{Call, History, Moment, NEVER};
use crate::models::register::Action;
use crate::table::Table;
use crate::value::Value;

/// How stale reads were at worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// In the history's own unit of time; `None` where it tells no times.
    pub time: Option<i64>,
    /// A read returned one of so many last values: at least, and at most.
    pub versions: (u32, u32),
}

/// A write and the reads of its value, by their places among the calls; [`NONE`] for the first value.
struct Cluster {
    write: u32,
    reads: Vec<u32>,
}

/// Measures. `None` where it is not defined or not known how: values repeat, compare-and-sets, a read of what was never written
/// or written later.
pub(crate) fn measure(
    initial: Value,
    calls: &[Call<Action>],
    history: &History,
    budget: &mut Budget<'_>,
) -> Result<Option<Staleness>, Spent> {
    budget.take(calls.len() as u64 * 64)?;
    let Some(clusters) = clusters(initial, calls) else { return Ok(None) };
    budget.look()?;
    let time = if history.times.len() == history.operations.len() {
        let times = |call: u32| history.times[calls[call as usize].source as usize];
        Some(time(&zones(&clusters, times), budget)?)
    } else {
        None
    };
    let moments = |call: u32| {
        let Call { invoked, returned, .. } = calls[call as usize];
        (i64::from(invoked), i64::from(returned))
    };
    if apart(&zones(&clusters, moments), 0) {
        return Ok(Some(Staleness { time, versions: (1, 1) }));
    }
    let least = at_least(&clusters, calls).max(2);
    let most = [by_invocation, by_first_return].map(|key| at_most(&clusters, calls, key));
    Ok(Some(Staleness { time, versions: (least, most[0].min(most[1])) }))
}

fn clusters(initial: Value, calls: &[Call<Action>]) -> Option<Vec<Cluster>> {
    let mut clusters = vec![Cluster { write: NONE, reads: Vec::new() }];
    let mut of: Table<Value, usize> = Table::default();
    of.insert(initial, 0);
    let mut several: Vec<bool> = vec![false];
    for (place, call) in calls.iter().enumerate() {
        match call.action {
            Action::Write(value) => {
                let fresh = clusters.len();
                let known = *of.or_insert_with(value, || fresh);
                if known != fresh {
                    several[known] = true;
                }
                several.push(false);
                clusters.push(Cluster { write: place as u32, reads: Vec::new() });
            }
            Action::Read(_) => {}
            Action::Swap(..) | Action::Differs(_) => return None,
        }
    }
    for (place, call) in calls.iter().enumerate() {
        let Action::Read(value) = call.action else { continue };
        let &cluster = of.get(&value)?;
        let write = calls.get(clusters[cluster].write as usize);
        if several[cluster] || write.is_some_and(|write| call.precedes(write)) {
            return None;
        }
        clusters[cluster].reads.push(place as u32);
    }
    // A pending write that nobody read may never have been.
    clusters.retain(|cluster| {
        let pending = calls.get(cluster.write as usize).is_some_and(Call::pending);
        !(pending && cluster.reads.is_empty())
    });
    Some(clusters)
}

/// A zone whose end moves.
#[derive(Clone, Copy, Debug)]
struct Moving {
    f: i64,
    write_invoked: i64,
    read_invoked: i64,
}

impl Moving {
    fn s(&self, delta: i64) -> i64 {
        self.write_invoked.max(self.read_invoked.saturating_sub(delta))
    }
}

/// The zones of clusters, sorted by their `f`.
fn zones(clusters: &[Cluster], times: impl Fn(u32) -> (i64, i64)) -> Vec<Moving> {
    let zone = |cluster: &Cluster| {
        let (invoked, returned) =
            if cluster.write == NONE { (i64::MIN, i64::MIN) } else { times(cluster.write) };
        let mut zone = Moving { f: returned, write_invoked: invoked, read_invoked: i64::MIN };
        for (begin, end) in cluster.reads.iter().map(|&read| times(read)) {
            zone.f = zone.f.min(end);
            zone.read_invoked = zone.read_invoked.max(begin);
        }
        zone
    };
    let mut zones: Vec<Moving> = clusters.iter().map(zone).collect();
    zones.sort_unstable_by_key(|zone| zone.f);
    zones
}

/// The smallest Δ that leaves no conflict.
fn time(zones: &[Moving], budget: &mut Budget<'_>) -> Result<i64, Spent> {
    let longest = zones.iter().map(|zone| zone.read_invoked).max().unwrap_or(0);
    let shortest = zones.iter().map(|zone| zone.f).filter(|&f| f != i64::MIN).min().unwrap_or(0);
    // With the greatest, no read is invoked behind anything; and writes alone conflict with nobody.
    let (mut low, mut high) = (0, longest.saturating_sub(shortest).max(0));
    while low < high {
        budget.look()?;
        let middle = low.midpoint(high);
        if apart(zones, middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

/// True where no two zones conflict, sorted by their `f`.
fn apart(zones: &[Moving], delta: i64) -> bool {
    let mut forward: Vec<(i64, i64)> = Vec::new();
    for zone in zones {
        let s = zone.s(delta);
        if zone.f < s {
            if forward.last().is_some_and(|last| zone.f < last.1) {
                return false;
            }
            forward.push((zone.f, s));
        }
    }
    zones.iter().all(|zone| {
        let s = zone.s(delta);
        let before = forward.partition_point(|other| other.0 < s);
        zone.f < s || before == 0 || zone.f >= forward[before - 1].1
    })
}

/// More than the most writes that lie wholly between a write and a read of its value.
fn at_least(clusters: &[Cluster], calls: &[Call<Action>]) -> u32 {
    let mut writes: Vec<(Moment, u32)> = clusters
        .iter()
        .filter_map(|cluster| calls.get(cluster.write as usize))
        .filter(|write| !write.pending())
        .zip(0..)
        .map(|(write, rank)| (write.returned, rank))
        .collect();
    let invoked: Vec<Moment> = clusters
        .iter()
        .filter_map(|cluster| calls.get(cluster.write as usize))
        .filter(|write| !write.pending())
        .map(|write| write.invoked)
        .collect();
    writes.sort_unstable();
    let mut reads: Vec<(Moment, Moment)> = Vec::new();
    for cluster in clusters {
        let returned = calls.get(cluster.write as usize).map_or(0, |write| write.returned);
        reads.extend(cluster.reads.iter().map(|&read| (calls[read as usize].invoked, returned)));
    }
    reads.sort_unstable();
    let mut over = Counts::new(invoked.len());
    let (mut next, mut most) = (0, 0);
    for (begin, from) in reads {
        while let Some(&(_, rank)) = writes.get(next).filter(|(returned, _)| *returned < begin) {
            over.add(rank as usize);
            next += 1;
        }
        // The first value was written before all.
        let first = if from == 0 { 0 } else { invoked.partition_point(|&invoked| invoked < from) };
        most = most.max(next as u32 - over.below(first));
    }
    most + 1
}

/// Counts of places, asked by prefix: a Fenwick tree.
struct Counts(Vec<u32>);

impl Counts {
    fn new(places: usize) -> Self {
        Self(vec![0; places + 1])
    }

    fn add(&mut self, place: usize) {
        let mut at = place + 1;
        while at < self.0.len() {
            self.0[at] += 1;
            at += at & at.wrapping_neg();
        }
    }

    fn below(&self, place: usize) -> u32 {
        let mut at = place;
        let mut sum = 0;
        while at > 0 {
            sum += self.0[at];
            at &= at - 1;
        }
        sum
    }
}

fn by_invocation(cluster: &Cluster, calls: &[Call<Action>]) -> Moment {
    calls.get(cluster.write as usize).map_or(0, |write| write.invoked + 1)
}

fn by_first_return(cluster: &Cluster, calls: &[Call<Action>]) -> Moment {
    let Some(write) = calls.get(cluster.write as usize) else { return 0 };
    let reads = cluster.reads.iter().map(|&read| calls[read as usize].returned);
    reads.chain([write.returned]).min().map_or(NEVER, |first| first.saturating_add(1))
}

/// How old reads are at most if the writes stand in the order of a key.
fn at_most(
    clusters: &[Cluster],
    calls: &[Call<Action>],
    key: impl Fn(&Cluster, &[Call<Action>]) -> Moment,
) -> u32 {
    let mut order: Vec<(Moment, usize)> =
        clusters.iter().enumerate().map(|(place, cluster)| (key(cluster, calls), place)).collect();
    order.sort_unstable();
    // By call: the rank of its value, and whether it is there at all.
    let mut rank = vec![NONE; calls.len()];
    for (at, &(_, place)) in order.iter().enumerate() {
        let cluster = &clusters[place];
        for &call in cluster.reads.iter().chain([&cluster.write]).filter(|&&call| call != NONE) {
            rank[call as usize] = at as u32;
        }
    }
    let mut events: Vec<(Moment, bool, u32)> = Vec::with_capacity(2 * calls.len());
    for (place, call) in calls.iter().enumerate().filter(|(place, _)| rank[*place] != NONE) {
        events.push((call.invoked, false, place as u32));
        events.extend((!call.pending()).then_some((call.returned, true, place as u32)));
    }
    events.sort_unstable();
    // How far it surely is; and by call, where it stands.
    let mut far = 0;
    let mut place_of = rank.clone();
    let mut most = 1;
    for (_, returns, call) in events {
        let call = call as usize;
        if returns {
            far = far.max(place_of[call]);
        } else if matches!(calls[call].action, Action::Read(_)) {
            place_of[call] = far.max(rank[call]);
            most = most.max(place_of[call] - rank[call] + 1);
        }
    }
    most
}
