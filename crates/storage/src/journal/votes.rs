//! Terms and votes, kept a second time.
//!
//! A replica that forgets a term or a vote can help two leaders at once, and unlike entries nobody can give them back. So
//! beside the batch of the journal that records them they stand in a file of their own, and a promise waits for both: one
//! damaged place, wherever it is, forgets no vote. The file has two slots that are written in turn, so that a torn write
//! leaves the one before it. A slot is a batch of hard states, as in an opening batch, in the place of a segment that does
//! not exist. Elections are rare: this costs one flush in each, and nothing else.

use super::format::{self, Batch, Found, Place, Record, Stored};
use super::{Damage, Identity, JournalError, Recovered};
use quorate_base::disk::{Disk, DiskErrorKind, File};
use quorate_base::{HardState, ShardId};
use std::collections::BTreeMap;

/// The file's name.
pub(super) const NAME: &str = "votes";
const SLOT: u64 = 16 << 10;
/// More shards than this do not fit into a slot; those beyond have the record in the journal alone.
const MOST: usize = 500;

/// The file, open for writing.
pub(super) struct Votes {
    file: Box<dyn File>,
    identity: Identity,
    /// The newest slot's number.
    number: u64,
    dirty: bool,
}

impl Votes {
    /// Opens the file, or makes an empty one; what it says, and what in it is damaged, goes into `found`.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &str,
        identity: Identity,
        found: &mut Recovered,
    ) -> Result<Self, JournalError> {
        let path = format!("{dir}/{NAME}");
        let file = match disk.open(&path) {
            Err(error) if error.kind == DiskErrorKind::NotFound => {
                let file = disk.create(&path, 2 * SLOT)?;
                disk.sync_dir(dir)?;
                file
            }
            opened => opened?,
        };
        let number = read(&*file, &path, identity, found)?;
        Ok(Self { file, identity, number, dirty: false })
    }

    /// Writes these into the older slot. Nothing is durable before [`Votes::sync`].
    pub(super) fn write(&mut self, hards: &BTreeMap<ShardId, HardState>) -> Result<(), JournalError> {
        if hards.is_empty() {
            return Ok(());
        }
        self.number += 1;
        let slot = self.number % 2;
        let records: Vec<Record<'_>> =
            hards.iter().take(MOST).map(|(&shard, &hard)| Record::Hard(shard, hard)).collect();
        let mut bytes = Vec::new();
        let batch = Batch { number: self.number, durable: self.number - 1 };
        format::put_batch(&mut bytes, place(self.identity, slot), batch, &records);
        self.file.write_at(slot * SLOT, &bytes)?;
        self.dirty = true;
        Ok(())
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if self.dirty {
            self.file.sync()?;
            self.dirty = false;
        }
        Ok(())
    }
}

/// Reads what `file` says, and what in it is damaged, into `found`; the newest slot's number.
fn read(file: &dyn File, path: &str, identity: Identity, found: &mut Recovered) -> Result<u64, JournalError> {
    let size = file.size()?.min(2 * SLOT);
    let mut bytes = vec![0; size as usize];
    file.read_at(0, &mut bytes)?;
    let used = [0, SLOT].map(|at| bytes.iter().skip(at as usize).take(SLOT as usize).any(|&byte| byte != 0));
    let bytes = bytes.into();
    let mut number = 0;
    for slot in 0..2 {
        match format::read_batch(&bytes, place(identity, slot), None) {
            Found::Batch(batch, stored, _) if batch.number > number => {
                number = batch.number;
                found.votes = stored.iter().filter_map(hard).collect();
            }
            Found::Batch(..) => {}
            // What was never written is zeros to its end: anything else is no slot of ours any more.
            Found::Nothing { touched: false } if !used[slot as usize] => {}
            Found::Nothing { .. } => {
                let what =
                    "a second record of terms and votes was cut off or is damaged; the journal has the first";
                found.harmless.push(Damage {
                    file: path.to_string(),
                    offset: slot * SLOT,
                    what,
                    certain: false,
                });
            }
        }
    }
    Ok(number)
}

/// The same, of a file that nobody writes to.
pub(super) fn examine(
    disk: &dyn Disk,
    dir: &str,
    identity: Identity,
    found: &mut Recovered,
) -> Result<(), JournalError> {
    let path = format!("{dir}/{NAME}");
    match disk.open(&path) {
        Err(error) if error.kind == DiskErrorKind::NotFound => {
            let what = "the second record of terms and votes is missing; the journal has the first";
            found.harmless.push(Damage { file: path, offset: 0, what, certain: false });
        }
        opened => drop(read(&*opened?, &path, identity, found)?),
    }
    Ok(())
}

/// What is known of one shard from both places: the newer term, and a vote in it if one place has it.
pub(super) fn newer(journal: HardState, second: HardState) -> HardState {
    let vote = if second.term > journal.term { second.vote } else { journal.vote };
    let vote = if second.term == journal.term { vote.or(second.vote) } else { vote };
    HardState { term: journal.term.max(second.term), vote, commit: journal.commit }
}

/// No segment has the number 0.
const fn place(identity: Identity, slot: u64) -> Place {
    Place { identity, generation: 0, offset: slot * SLOT }
}

fn hard(stored: &Stored) -> Option<(ShardId, HardState)> {
    match stored {
        Stored::Hard(shard, hard) => Some((*shard, *hard)),
        Stored::Entries(..) | Stored::Mark(_) => None,
    }
}
