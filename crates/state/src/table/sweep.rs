//! Background deletion in bounded steps: what dropped tables, indexes and change feeds have left, and records of change
//! feeds that are let go. It changes no answer and no digest, so
//! each replica does it when it likes. A step goes on behind the one before: what was deleted stays in the store for a while, and to go
//! through all of that at each step would take a time that is the square of what is swept.

use super::Tables;
use super::layout::{behind, damaged, row};
use super::stream::stream_id;
use bytes::Bytes;
use quorate_storage::state::{State, StateResult};
use std::ops::Bound;

impl Tables {
    /// Deletes up to `budget` rows of what is garbage. False if there is none.
    pub(crate) fn sweep_step(&mut self, state: &mut dyn State, budget: usize) -> StateResult<bool> {
        let Some(what) = self.garbage.last().cloned() else { return self.trim_step(state, budget) };
        let prefixes = self.left_by(&what)?;
        let (first, mut behind_row) = match self.swept.take() {
            Some((of, at, row)) if of == what => (at, Some(row)),
            _ => (0, None),
        };
        let mut found: Vec<Bytes> = Vec::new();
        for (at, prefix) in prefixes.into_iter().enumerate().skip(first) {
            let to = behind(prefix.clone());
            let from = behind_row.take().map_or(Bound::Included(Bytes::from(prefix)), Bound::Excluded);
            let range = (from.as_ref().map(|from| &from[..]), Bound::Excluded(&to[..]));
            let scan = state.scan(range).take(budget - found.len());
            for pair in scan {
                found.push(pair?.0);
            }
            if found.len() >= budget {
                self.swept = found.last().map(|row| (what.clone(), at, row.clone()));
                break;
            }
        }
        for key in &found {
            state.delete(key);
        }
        if found.len() < budget {
            self.garbage.pop();
            let mut key = self.rows.kind(row::GARBAGE);
            key.extend_from_slice(&what);
            state.delete(&key);
        }
        Ok(true)
    }

    /// Whether there is any, or records of change feeds may be.
    pub(crate) fn is_to_sweep(&self) -> bool {
        !self.garbage.is_empty() || !self.trimming.is_empty()
    }

    fn left_by(&self, what: &Bytes) -> StateResult<Vec<Vec<u8>>> {
        let number = |at: usize| -> StateResult<u32> {
            let bytes = what.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_be_bytes).ok_or_else(|| damaged("the name of what is garbage"))
        };
        match what.len() {
            4 => Ok(self.rows.of_table(number(0)?).into()),
            8 => Ok(vec![self.rows.index(number(0)?, number(4)?, b"")]),
            12 => {
                let id = stream_id(what).ok_or_else(|| damaged("the name of what is garbage"))?;
                Ok([row::RECORD, row::STREAM_FIGURES].map(|row| self.rows.stream(row, id)).into())
            }
            _ => Err(damaged("the name of what is garbage")),
        }
    }
}
