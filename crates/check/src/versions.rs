//! How many of the newest versions reads returned, by an order that the system gave.
//!
//! Where every write carries a `version`, that is the order of writes, and the smallest k such that each read returns one of the
//! k newest is exact (without it, it lies between bounds: [`crate::fast::Staleness`]). Each read stands as early as it can:
//! right behind its write, and behind all writes and reads that were over before it. Cost: n log n.
//!
//! Takes what failed as absent; a write of unknown outcome that was read as one that ends never.

use crate::history::{History, NEVER};
use crate::sessions::cells::{Access, Cells, Cut, What};
use crate::value::Value;

/// Measures. The error says why it cannot be.
pub fn by_order(history: &History, initial: Value) -> Result<u32, String> {
    let cells = match Cut::new(history, initial) {
        Cut::Cells(cells) => cells,
        Cut::Thin(witness) => return Err(witness.words),
        Cut::Loose(loose) => return Err(loose.why),
        Cut::Unsupported(why) => return Err(why),
    };
    let mut most = 1;
    for key in 0..cells.restless.len() as u32 {
        let register = Register::new(&cells, key);
        let version = |(write, _): &(Span, Vec<Span>)| {
            let told = history.operations[write.source as usize].version;
            told.ok_or_else(|| format!("{} carries no version", history.show(write.source)))
        };
        let order: Vec<u64> = register.values[1..].iter().map(version).collect::<Result<_, _>>()?;
        most = most.max(register.in_order(&order)?);
    }
    Ok(most)
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
    fn new(cells: &Cells, key: u32) -> Self {
        let first = Span { begin: i64::MIN, end: i64::MIN, source: u32::MAX };
        let mut values = vec![(first, Vec::new())];
        let mut place = vec![0u32; cells.accesses.len()];
        let span = |access: &Access| {
            let end = if access.returned == NEVER { i64::MAX } else { i64::from(access.returned) };
            Span { begin: i64::from(access.invoked), end, source: access.source }
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
}
