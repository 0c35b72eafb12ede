//! What a flush or a merge writes goes to the disk while it is being made.
//!
//! The tree writes a table into the cache of pages and flushes it at its end: megabytes in one go, behind which the journals on the
//! same device wait for ten milliseconds. So every [`BYTES`] or so the system is asked to begin writing what is there. That is a
//! hint: what makes a table durable is still its flush, and where the hint is not known nothing is lost but evenness.

use std::fs::{File, read_dir};
use std::num::NonZeroU64;
use std::path::PathBuf;

/// About so much gathers before it is sent on.
const BYTES: u64 = 1 << 20;
/// So many tables are written at the same time: a flush's and a merge's.
const TABLES: usize = 2;

/// The tables that are being written below a directory: one for all flushes and merges, since what was sent on and is written by now
/// would leave the cache if it were sent again.
pub(crate) struct Ahead {
    dir: PathBuf,
    gathered: u64,
    /// The newest tables, and how much of each was sent on.
    sent: Vec<(u64, u64)>,
}

impl Ahead {
    /// Of the tables in `dir`, which are named by numbers that grow.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, gathered: 0, sent: Vec::new() }
    }

    /// So many bytes more were written to one of them.
    pub(crate) fn wrote(&mut self, bytes: u64) {
        self.gathered += bytes;
        if self.gathered >= BYTES {
            self.gathered = 0;
            // Who cannot list or open them will be told so where it matters.
            let _ = self.send();
        }
    }

    fn send(&mut self) -> std::io::Result<()> {
        let names = read_dir(&self.dir)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut newest: Vec<u64> = names.collect();
        newest.sort_unstable_by(|a, b| b.cmp(a));
        newest.truncate(TABLES);
        self.sent.retain(|(table, _)| newest.contains(table));
        for table in newest {
            let file = File::open(self.dir.join(table.to_string()))?;
            let len = file.metadata()?.len();
            let sent = self.sent.iter().find(|(sent, _)| *sent == table).map_or(0, |&(_, upto)| upto);
            // Asked to drop pages, the system begins to write those that are dirty, which is nearly all of them; they stay in the cache.
            if let Some(more) = NonZeroU64::new(len.saturating_sub(sent)) {
                rustix::fs::fadvise(&file, sent, Some(more), rustix::fs::Advice::DontNeed)?;
            }
            self.sent.retain(|(sent, _)| *sent != table);
            self.sent.push((table, len));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_newest_tables_is_sent_once() {
        let dir = std::env::temp_dir().join(format!("quorate-ahead-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut ahead = Ahead::new(dir.clone());
        for (table, len) in [(7, 10), (9, 20_000), (10, 30_000)] {
            std::fs::write(dir.join(table.to_string()), vec![1; len]).unwrap();
        }
        std::fs::write(dir.join("no-number"), "").unwrap();
        ahead.wrote(BYTES - 1);
        assert!(ahead.sent.is_empty(), "too little for a call");
        ahead.wrote(1);
        ahead.sent.sort_unstable();
        assert_eq!(ahead.sent, [(9, 20_000), (10, 30_000)]);
        std::fs::write(dir.join("11"), vec![1; 5]).unwrap();
        ahead.wrote(BYTES);
        ahead.sent.sort_unstable();
        assert_eq!(ahead.sent, [(10, 30_000), (11, 5)]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
