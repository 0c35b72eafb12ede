//! A partial order of accesses: each session's own, and edges on top; who is before whom by vector clocks.

use super::cells::{Cells, What};
use crate::budget::{Budget, Spent};

/// Edges on top of the sessions' order: from, to.
pub(super) type Edges = Vec<(u32, u32)>;

/// Vector clocks: by access and session, how many of the session's accesses are before it, or are it.
pub(super) struct Clocks<'a> {
    cells: &'a Cells,
    width: usize,
    rows: Vec<u32>,
}

impl<'a> Clocks<'a> {
    /// The clocks under these edges, or a cycle: each is before the next, the last before the first.
    pub(super) fn new(
        cells: &'a Cells,
        edges: &Edges,
        budget: &mut Budget<'_>,
    ) -> Result<Result<Self, Vec<u32>>, Spent> {
        let (len, width) = (cells.accesses.len(), cells.sessions() as usize);
        let bytes = 4 * (len as u64) * (width as u64) + 12 * (len + edges.len()) as u64;
        budget.take(bytes)?;
        let done = Self::fill(cells, edges, len, width, budget);
        budget.give(bytes);
        done
    }

    fn fill(
        cells: &'a Cells,
        edges: &Edges,
        len: usize,
        width: usize,
        budget: &mut Budget<'_>,
    ) -> Result<Result<Self, Vec<u32>>, Spent> {
        // Edges by their beginning; and how many lead to each.
        let mut starts = vec![0u32; len + 1];
        let mut waits = vec![0u32; len];
        for &(from, to) in edges {
            starts[from as usize + 1] += 1;
            waits[to as usize] += 1;
        }
        for place in 0..len {
            starts[place + 1] += starts[place];
        }
        let mut ends = starts.clone();
        let mut targets = vec![0u32; edges.len()];
        for &(from, to) in edges {
            targets[ends[from as usize] as usize] = to;
            ends[from as usize] += 1;
        }
        let first = |place: usize| cells.place_in_session(place as u32) == 0;
        for (place, wait) in waits.iter_mut().enumerate() {
            *wait += u32::from(!first(place));
        }
        let mut rows = vec![0u32; len * width];
        let mut ready: Vec<u32> = (0..len as u32).filter(|&place| waits[place as usize] == 0).collect();
        let mut passed = 0;
        while let Some(place) = ready.pop() {
            passed += 1;
            let at = place as usize;
            let session = cells.accesses[at].session as usize;
            rows[at * width + session] = cells.place_in_session(place) + 1;
            let next = (at + 1 < len && !first(at + 1)).then_some(place + 1);
            for to in targets[starts[at] as usize..starts[at + 1] as usize].iter().copied().chain(next) {
                budget.step()?;
                let (from, to_row) = (at * width, to as usize * width);
                for column in 0..width {
                    rows[to_row + column] = rows[to_row + column].max(rows[from + column]);
                }
                waits[to as usize] -= 1;
                if waits[to as usize] == 0 {
                    ready.push(to);
                }
            }
        }
        if passed == len {
            return Ok(Ok(Self { cells, width, rows }));
        }
        Ok(Err(cycle(cells, edges, &waits)))
    }

    /// How many accesses of a session are before an access, or are it.
    pub(super) fn seen(&self, access: u32, session: u32) -> u32 {
        self.rows[access as usize * self.width + session as usize]
    }

    /// True where one is before the other, or is it.
    pub(super) fn before(&self, one: u32, other: u32) -> bool {
        self.seen(other, self.cells.accesses[one as usize].session) > self.cells.place_in_session(one)
    }
}

/// A cycle among those that still wait: each of them waits for another of them.
fn cycle(cells: &Cells, edges: &Edges, waits: &[u32]) -> Vec<u32> {
    let stuck = |place: u32| waits[place as usize] > 0;
    let mut before = vec![u32::MAX; waits.len()];
    for (place, before) in before.iter_mut().enumerate() {
        let place = place as u32;
        if stuck(place) && cells.place_in_session(place) > 0 && stuck(place - 1) {
            *before = place - 1;
        }
    }
    for &(from, to) in edges {
        if stuck(from) && stuck(to) {
            before[to as usize] = from;
        }
    }
    let Some(mut at) = (0..waits.len() as u32).find(|&place| stuck(place)) else { return Vec::new() };
    for _ in 0..waits.len() {
        at = before[at as usize];
    }
    let mut round = vec![at];
    while before[round[round.len() - 1] as usize] != at {
        round.push(before[round[round.len() - 1] as usize]);
    }
    round.reverse();
    round
}

/// By cell: the sessions that write it, each with the places of those writes.
pub(super) struct Writes(Vec<Vec<(u32, Vec<u32>)>>);

impl Writes {
    pub(super) fn new(cells: &Cells) -> Self {
        let mut all: Vec<Vec<(u32, Vec<u32>)>> = vec![Vec::new(); cells.restless.len()];
        for (place, access) in
            cells.accesses.iter().enumerate().filter(|(_, access)| access.what == What::Write)
        {
            let of_key = &mut all[access.key as usize];
            match of_key.last_mut() {
                Some((session, places)) if *session == access.session => places.push(place as u32),
                _ => of_key.push((access.session, vec![place as u32])),
            }
        }
        Self(all)
    }

    /// Of each session, its last write to an access's cell that is before the access.
    pub(super) fn latest_before(
        &self,
        cells: &Cells,
        clocks: &Clocks<'_>,
        access: u32,
    ) -> impl Iterator<Item = u32> {
        self.0[cells.accesses[access as usize].key as usize].iter().filter_map(move |(session, places)| {
            let seen = cells.begins[*session as usize] + clocks.seen(access, *session);
            let many = places.partition_point(|&place| place < seen);
            many.checked_sub(1).map(|last| places[last])
        })
    }
}
