//! Transactions over rows with numbers: ranges are read, rows are inserted and deleted in what was read.
//!
//! A range that was read is a promise about rows that are not there. Two transactions that each read the same empty range and
//! each put a row into it cannot stand in an order: the phantom, which no read of a single row shows. A row lives once, and
//! whom it falls to delete it is told by its number, so that two clients never try. Tables are given up for new ones after a
//! while, which keeps what a range holds small.

use super::{Seat, Workload};
use crate::op::{Ended, Kind, Op};
use crate::record::Event;
use quorate_base::Rng;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// So many tables are in use at a time.
const TABLES: u64 = 2;
/// Each for so long.
const TABLE_MS: u64 = 1000;
/// The first row of table t is t times this.
const STRIDE: u64 = 1000;
/// No table has more rows, so that one transaction of etcd can name all of them; a row for each client is always there.
const ROWS: u64 = 90;

/// One client's part.
pub(crate) struct Rows {
    rng: Rng,
    client: u64,
    clients: u64,
    next: u64,
    /// By table: the rows of this client that it has not inserted yet.
    free: BTreeMap<u64, Vec<u64>>,
    /// Rows that were seen, that this client is to delete.
    ours: BTreeSet<u64>,
}

impl Rows {
    /// For one client.
    pub(crate) fn new(seat: &Seat) -> Self {
        Self {
            rng: seat.rng("predicate"),
            client: seat.client,
            clients: seat.clients.max(1),
            next: (seat.client + 1) * 10_000_000,
            free: BTreeMap::new(),
            ours: BTreeSet::new(),
        }
    }

    fn width(&self) -> u64 {
        (ROWS / self.clients).max(1) * self.clients
    }

    /// All of a table, or a part of it.
    fn scan(&mut self, table: u64) -> Value {
        let width = self.width();
        let (mut low, mut high) = (0, width - 1);
        if self.rng.chance(1, 2) {
            let ends = [self.rng.below(width), self.rng.below(width)];
            (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        }
        json!(["scan", table * STRIDE + low, table * STRIDE + high, null])
    }

    /// A row that was never there.
    fn insert(&mut self, table: u64) -> Option<Value> {
        let (client, clients, width) = (self.client, self.clients, self.width());
        let free = self.free.entry(table).or_insert_with(|| {
            (0..width).filter(|row| row % clients == client).map(|row| table * STRIDE + row).collect()
        });
        if free.is_empty() {
            return None;
        }
        let row = free.swap_remove(self.rng.below(free.len() as u64) as usize);
        self.next += 1;
        Some(json!(["insert", row, self.next]))
    }

    /// True for a row that is this client's to delete: it was inserted by the one before it.
    fn is_ours(&self, row: u64) -> bool {
        (row % STRIDE + 1) % self.clients == self.client
    }
}

impl Workload for Rows {
    fn next(&mut self, ms: u64) -> Option<Op> {
        let place = self.rng.below(TABLES);
        let table = (ms + place * TABLE_MS / TABLES) / TABLE_MS * TABLES + place;
        let mut steps = Vec::new();
        if self.rng.chance(4, 5) {
            steps.push(self.scan(table));
        }
        match self.rng.below(10) {
            0..=4 => steps.extend(self.insert(table)),
            5..=7 => {
                if let Some(row) = self.ours.pop_last() {
                    steps.push(json!(["delete", row]));
                }
            }
            _ => {
                let row = table * STRIDE + self.rng.below(self.width());
                steps.push(json!(["r", row, null]));
            }
        }
        if steps.is_empty() {
            steps.push(self.scan(table));
        }
        Some(Op::new("rows", Value::Null, steps))
    }

    fn done(&mut self, op: &Op, ended: &Ended) {
        let steps = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for step in steps(&op.value) {
            // What certainly was not deleted may be tried again.
            if let ("delete", Kind::Fail, Some(row)) =
                (step[0].as_str().unwrap_or(""), ended.kind, step[1].as_u64())
            {
                self.ours.insert(row);
            }
        }
        if ended.kind == Kind::Ok {
            let seen = steps(&ended.value);
            let rows = seen.iter().filter_map(|step| step[3].as_object()).flat_map(|rows| rows.keys());
            let mut met: BTreeSet<u64> = rows.filter_map(|row| row.parse().ok()).collect();
            met.retain(|&row| self.is_ours(row));
            for step in &seen {
                if let ("delete", Some(row)) = (step[0].as_str().unwrap_or(""), step[1].as_u64()) {
                    met.remove(&row);
                }
            }
            self.ours.extend(met);
        }
        // What lies in a table of long ago is nobody's business.
        while self.ours.len() as u64 > 2 * ROWS {
            self.ours.pop_first();
        }
        while self.free.len() as u64 > 2 * TABLES {
            self.free.pop_first();
        }
    }
}

/// A read of each table, whole.
pub(super) fn finals(events: &[Event]) -> Vec<Op> {
    let steps = events.iter().filter_map(|event| event.value.as_array()).flatten();
    let tables: BTreeSet<u64> = steps.filter_map(|step| Some(step[1].as_u64()? / STRIDE)).collect();
    let all = |table: u64| json!([["scan", table * STRIDE, (table + 1) * STRIDE - 1, null]]);
    tables.into_iter().map(|table| Op::new("rows", Value::Null, all(table))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: over all clients each row is inserted at most once and deleted at most once, and both come often.
    #[test]
    fn a_row_lives_once() {
        let (mut inserted, mut deleted, mut scans) = (BTreeSet::new(), BTreeSet::new(), 0);
        let mut all: Vec<Rows> =
            (0..3).map(|client| Rows::new(&Seat { client, clients: 3, seed: 7, from: 0 })).collect();
        let mut there = BTreeMap::new();
        for turn in 0..6000_u64 {
            let part = &mut all[(turn % 3) as usize];
            let Some(op) = part.next(turn * 5) else { continue };
            let mut done = Vec::new();
            for step in op.value.as_array().unwrap() {
                let row = step[1].as_u64().unwrap();
                let mut step = step.clone();
                match step[0].as_str().unwrap() {
                    "insert" => {
                        assert!(inserted.insert(row), "{row} twice");
                        there.insert(row, step[2].clone());
                    }
                    "delete" => {
                        assert!(deleted.insert(row), "{row} is deleted twice");
                        assert!(there.remove(&row).is_some(), "{row} was not there");
                    }
                    "scan" => {
                        scans += 1;
                        let seen = there.range(row..=step[2].as_u64().unwrap());
                        step[3] = seen.map(|(row, value)| (row.to_string(), value.clone())).collect();
                    }
                    _ => {}
                }
                done.push(step);
            }
            part.done(&op, &Ended::ok(done, None));
        }
        assert!(inserted.len() > 1000 && deleted.len() > 500 && scans > 3000);
    }
}
