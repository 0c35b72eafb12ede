//! How old what was read was: in time, and in versions.
//!
//! **In time** (Golab, Li and Shah, "Analyzing consistency properties for fun and profit", 2011): the smallest Δ such that the
//! history is linearizable once every read begins Δ earlier. It is exact. With values written once, a register is
//! linearizable unless the zones of two values are in each other's way (Gibbons and Korach 1997): each has an operation that
//! ends before one of the other begins. More Δ never hurts, so a bisection finds the smallest. Cost: n log n for each of its
//! steps, one for each bit of the longest time. Δ is local: the worst key has it.
//!
//! **In versions**: the smallest k such that some order of the writes has no read return anything older than the k-th newest
//! value; 1 is linearizable. Where writes carry a `version`, that is their order and k is exact. Else k lies between two bounds:
//! at least as many writes as certainly stand between a read and its write; at most what the order of the writes' invocations
//! gives. (For k of 3 and more no polynomial algorithm is known, and weighted it is NP-complete: arXiv 1309.5522.)
//!
//! Takes what failed as absent; a write of unknown outcome that was read as one that ends never.

use crate::history::{History, NEVER};
use crate::sessions::cells::{Access, Cells, Cut, What};
use crate::value::Value;

/// How stale the reads of a history were at worst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staleness {
    /// In the history's own unit of time; `None` where it tells no times.
    pub time: Option<i64>,
    /// Versions at least: 1 is the newest.
    pub least: u32,
    /// Versions at most.
    pub most: u32,
    /// The writes' order was given, so that the versions are exact.
    pub ordered: bool,
}

/// Measures. The error says why it cannot be.
pub fn staleness(history: &History, initial: Value) -> Result<Staleness, String> {
    let cells = match Cut::new(history, initial) {
        Cut::Cells(cells) => cells,
        Cut::Thin(witness) => return Err(witness.words),
        Cut::Unsupported(why) => return Err(why),
    };
    let mut all =
        Staleness { time: (!history.times.is_empty()).then_some(0), least: 1, most: 1, ordered: true };
    for key in 0..cells.restless.len() as u32 {
        let moments =
            |access: &Access| (i64::from(access.invoked), end(i64::from(access.returned), access.returned));
        let by_moments = Register::new(&cells, key, &moments);
        if let Some(time) = &mut all.time {
            let times = |access: &Access| {
                let (begin, until) = history.times[access.source as usize];
                (begin, end(until, access.returned))
            };
            *time = (*time).max(Register::new(&cells, key, &times).least_shift()?);
        }
        let (least, most, ordered) =
            by_moments.versions(&|source| history.operations[source as usize].version)?;
        (all.least, all.most, all.ordered) =
            (all.least.max(least), all.most.max(most), all.ordered && ordered);
    }
    Ok(all)
}

fn end(time: i64, returned: u32) -> i64 {
    if returned == NEVER { i64::MAX } else { time }
}

#[derive(Clone, Copy)]
struct Span {
    begin: i64,
    end: i64,
    source: u32,
}

/// One cell: each write with its reads; the first is what it held at first.
struct Register {
    values: Vec<(Span, Vec<Span>)>,
}

impl Register {
    fn new(cells: &Cells, key: u32, times: &dyn Fn(&Access) -> (i64, i64)) -> Self {
        let first = Span { begin: i64::MIN, end: i64::MIN, source: u32::MAX };
        let mut values = vec![(first, Vec::new())];
        let mut place = vec![0u32; cells.accesses.len()];
        let span = |access: &Access| {
            let (begin, end) = times(access);
            Span { begin, end, source: access.source }
        };
        let of_key = || cells.accesses.iter().enumerate().filter(|(_, access)| access.key == key);
        for (at, access) in of_key().filter(|(_, access)| access.what == What::Write) {
            place[at] = values.len() as u32;
            values.push((span(access), Vec::new()));
        }
        for (_, access) in of_key() {
            if let What::Read(from) = access.what {
                let value = from.map_or(0, |write| place[write as usize]);
                values[value as usize].1.push(span(access));
            }
        }
        Self { values }
    }

    /// The smallest shift of the reads' beginnings that makes it linearizable.
    fn least_shift(&self) -> Result<i64, String> {
        if self.values.iter().any(|(write, reads)| reads.iter().any(|read| read.end < write.begin)) {
            return Err("a read returned what was written only after it had ended".into());
        }
        let spans = || {
            self.values.iter().flat_map(|(_, reads)| reads).chain(self.values.iter().skip(1).map(|it| &it.0))
        };
        let from = spans().map(|span| span.begin).min().unwrap_or(0);
        let to = spans().map(|span| span.begin).max().unwrap_or(0);
        let (mut low, mut high) = (0, to.saturating_sub(from).saturating_add(1));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.fits(middle) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// True where no two zones are in each other's way, once reads begin so much earlier.
    fn fits(&self, shift: i64) -> bool {
        // First end, last beginning.
        let zone = |(write, reads): &(Span, Vec<Span>)| {
            let first = reads.iter().map(|read| read.end).fold(write.end, i64::min);
            let last = reads.iter().map(|read| read.begin.saturating_sub(shift)).fold(write.begin, i64::max);
            (first, last)
        };
        let zones: Vec<(i64, i64)> = self.values.iter().map(zone).collect();
        let mut forward: Vec<(i64, i64)> =
            zones.iter().filter(|(first, last)| first < last).copied().collect();
        forward.sort_unstable();
        if forward.windows(2).any(|pair| pair[1].0 < pair[0].1) {
            return false;
        }
        zones.iter().filter(|(first, last)| first >= last).all(|&(first, last)| {
            let before = forward.partition_point(|zone| zone.0 < last);
            before == 0 || forward[before - 1].1 <= first
        })
    }

    /// Versions at least and at most, and whether they are exact because the order was given.
    fn versions(&self, version: &dyn Fn(u32) -> Option<u64>) -> Result<(u32, u32, bool), String> {
        let given: Option<Vec<u64>> =
            self.values[1..].iter().map(|(write, _)| version(write.source)).collect();
        if let Some(given) = given {
            let k = self.in_order(&given)?;
            return Ok((k, k, true));
        }
        if self.fits(0) {
            return Ok((1, 1, false));
        }
        let least = self.surely_between().max(2);
        let begins: Vec<u64> = self.values[1..].iter().map(|(write, _)| write.begin as u64).collect();
        Ok((least, self.in_order(&begins)?.max(least), false))
    }

    /// What an order of the writes gives: each read stands right behind all that was over before it, and behind its write.
    fn in_order(&self, order: &[u64]) -> Result<u32, String> {
        let mut sorted: Vec<(u64, usize)> = order.iter().enumerate().map(|(at, &by)| (by, at + 1)).collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err("two writes of a key carry the same version".into());
        }
        // The initial value has the first place.
        let mut place = vec![0u32; self.values.len()];
        for (at, &(_, value)) in sorted.iter().enumerate() {
            place[value] = at as u32 + 1;
        }
        // By end: how far everything is that was over by then.
        let mut over: Vec<(i64, u32)> =
            (1..self.values.len()).map(|at| (self.values[at].0.end, place[at])).collect();
        over.sort_unstable();
        let mut reads: Vec<(i64, i64, u32)> = Vec::new();
        for (value, (_, of_it)) in self.values.iter().enumerate() {
            reads.extend(of_it.iter().map(|read| (read.begin, read.end, place[value])));
        }
        reads.sort_unstable();
        let (mut k, mut next, mut furthest) = (1, 0, 0);
        // Reads that ended push those that begin later.
        let mut ended = std::collections::BinaryHeap::new();
        for (begin, until, own) in reads {
            while next < over.len() && over[next].0 < begin {
                furthest = furthest.max(over[next].1);
                next += 1;
            }
            while let Some(&std::cmp::Reverse((end, at))) = ended.peek()
                && end < begin
            {
                furthest = furthest.max(at);
                ended.pop();
            }
            let at = furthest.max(own);
            k = k.max(at - own + 1);
            ended.push(std::cmp::Reverse((until, at)));
        }
        Ok(k)
    }

    /// So many writes stand certainly between some read and its write, and one more.
    fn surely_between(&self) -> u32 {
        // Writes by their beginnings, found by a tree of counts; put in once they are over.
        let mut begins: Vec<i64> = self.values[1..].iter().map(|(write, _)| write.begin).collect();
        begins.sort_unstable();
        let mut over: Vec<(i64, i64)> =
            self.values[1..].iter().map(|(write, _)| (write.end, write.begin)).collect();
        over.sort_unstable();
        let mut reads: Vec<(i64, i64)> = Vec::new();
        for (write, of_it) in &self.values {
            reads.extend(of_it.iter().map(|read| (read.begin, write.end)));
        }
        reads.sort_unstable();
        let mut counts = vec![0u32; begins.len() + 1];
        let (mut next, mut total, mut most) = (0, 0, 0);
        for (begin, written) in reads {
            while next < over.len() && over[next].0 < begin {
                let mut at = begins.partition_point(|&it| it <= over[next].1);
                while at < counts.len() {
                    counts[at] += 1;
                    at += at & at.wrapping_neg();
                }
                total += 1;
                next += 1;
            }
            let mut at = begins.partition_point(|&it| it <= written);
            let mut early = 0;
            while at > 0 {
                early += counts[at];
                at -= at & at.wrapping_neg();
            }
            most = most.max(total - early);
        }
        most + 1
    }
}
