//! A scrub: blocks that nobody reads are read now and then, so that damage is found while there are others to heal from.
//!
//! It goes through the tables of the version that is current when a round begins, a bounded piece a step, past the cache. One
//! that was merged away meanwhile is passed over.

use crate::blocks::{Walked, walk};
use quorate_storage::state::{StateError, StateResult};
use std::path::PathBuf;

/// Where a round is.
#[derive(Default)]
pub(crate) struct Scrub {
    /// Tables still to be read, with the number of bytes that blocks begin in.
    tables: Vec<(PathBuf, u64)>,
    at: u64,
}

impl Scrub {
    /// Reads about `budget` bytes more; false at the end of a round. `tables` is asked for when one begins.
    pub(crate) fn step(
        &mut self,
        budget: u64,
        tables: impl FnOnce() -> Vec<(PathBuf, u64)>,
    ) -> StateResult<bool> {
        if self.tables.is_empty() {
            self.tables = tables();
            self.at = 0;
        }
        let Some((path, end)) = self.tables.last() else { return Ok(false) };
        match walk(path, self.at, *end, budget) {
            Ok(Walked::To(next)) => {
                self.at = next;
                return Ok(true);
            }
            Ok(Walked::Fault(at)) => {
                let context = format!("{} at offset {at}: a block does not verify", path.display());
                return Err(StateError::of_damage(context));
            }
            Ok(Walked::End) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StateError::io(format!("reading {}: {error}", path.display()))),
        }
        self.tables.pop();
        self.at = 0;
        Ok(!self.tables.is_empty())
    }
}
