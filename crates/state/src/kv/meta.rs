//! The machine's own few numbers, kept as one record that is written at a seal.
//!
//! Between seals they live in memory alone: after a crash everything since the last checkpoint is gone with them, and what
//! the log holds behind it is applied again.

use super::layout::{Cursor, Rev, damaged, varint};
use bytes::Bytes;
use quorate_base::{EntryId, Index, Term};
use quorate_storage::state::{StateError, StateResult};
use quorate_wire::kv::Revision;

const FORMAT: u8 = 6;
/// Of releases that knew no tables that are divided by directory.
const UNLISTED: u8 = 5;
/// Of releases that knew no tables but those that are partitioned by hash.
const HASHED_ALONE: u8 = 4;
/// In this one the newest versions whose changes were not swept were counted as history, too.
const COUNTED_TWICE: u8 = 3;
/// No log grows so long, and no state so large.
pub(super) const NUMBER_MAX: i64 = 1 << 62;

/// The numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Meta {
    /// The last entry that is in the state.
    pub(super) applied: EntryId,
    /// The configuration in force there, encoded.
    pub(super) membership: Bytes,
    /// The newest revision.
    pub(super) revision: Revision,
    /// The oldest revision that can be read; -1 before the first compaction.
    pub(super) compacted: Revision,
    /// Everything before this place of the event log is swept.
    pub(super) swept: Rev,
    /// See [`crate::kv`].
    pub(super) digest: u64,
    /// Bytes of the newest versions, about.
    pub(super) live_bytes: i64,
    /// Bytes of the history without the newest versions, about.
    pub(super) history_bytes: i64,
}

impl Meta {
    pub(super) fn new() -> Self {
        Self {
            applied: EntryId::ZERO,
            membership: Bytes::new(),
            revision: 1,
            compacted: -1,
            swept: Rev::NONE,
            digest: 0,
            live_bytes: 0,
            history_bytes: 0,
        }
    }

    /// What its record takes with its key, about.
    pub(super) fn stored_bytes(&self) -> i64 {
        64 + i64::try_from(self.membership.len()).unwrap_or(i64::MAX / 2)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        for n in [
            self.applied.term.get(),
            self.applied.index.get(),
            self.revision as u64,
            self.compacted as u64,
            self.swept.main as u64,
            u64::from(self.swept.sub),
            self.digest,
            self.live_bytes as u64,
            self.history_bytes as u64,
            self.membership.len() as u64,
        ] {
            varint(&mut out, n);
        }
        out.extend_from_slice(&self.membership);
        out.extend(crc32c::crc32c(&out).to_le_bytes());
        out
    }

    pub(super) fn decode(stored: &[u8]) -> StateResult<Self> {
        let bad = || damaged("the record of applied index and revision");
        let (body, crc) = stored.split_last_chunk::<4>().ok_or_else(bad)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return Err(bad());
        }
        // Its checksum holds: it is whole, and must not be set aside.
        match body.first() {
            Some(&(FORMAT | UNLISTED | HASHED_ALONE | COUNTED_TWICE)) => {}
            Some(&format) if format < FORMAT => {
                return Err(StateError::newer(
                    "key-value state: its format is older than this release reads; bring the data over with a client of etcd",
                ));
            }
            _ => {
                return Err(StateError::newer(
                    "key-value state: its format is newer than this release reads",
                ));
            }
        }
        let mut at = Cursor { bytes: body, at: 1 };
        let mut next = || at.varint().ok_or_else(bad);
        let applied = EntryId::new(Term(next()?), Index(next()?));
        let (revision, compacted) = (next()? as i64, next()? as i64);
        let swept = Rev::new(next()? as i64, u32::try_from(next()?).map_err(|_| bad())?);
        let (digest, live_bytes, mut history_bytes) = (next()?, next()? as i64, next()? as i64);
        if body.first() == Some(&COUNTED_TWICE) {
            history_bytes = history_bytes.saturating_sub(live_bytes.max(0)).max(0);
        }
        let len = usize::try_from(next()?).map_err(|_| bad())?;
        let membership = Bytes::copy_from_slice(at.take(len).ok_or_else(bad)?);
        // Whoever counts on from these must not run over.
        let small = |n: i64| (-NUMBER_MAX..NUMBER_MAX).contains(&n);
        let sound = (0..NUMBER_MAX).contains(&revision) && (-1..=revision).contains(&compacted);
        let small = small(swept.main) && small(live_bytes) && small(history_bytes);
        if !(sound && small && applied.index.get() < NUMBER_MAX as u64) {
            return Err(bad());
        }
        Ok(Self { applied, membership, revision, compacted, swept, digest, live_bytes, history_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_parses_back_and_a_flipped_bit_is_an_error() {
        let meta = Meta {
            applied: EntryId::new(Term(3), Index(900)),
            membership: Bytes::from_static(b"voters"),
            digest: u64::MAX,
            live_bytes: -5,
            ..Meta::new()
        };
        let stored = meta.encode();
        assert_eq!(Meta::decode(&stored), Ok(meta));
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    /// Claim: formats of earlier releases are read; what one of them counted twice is counted once.
    #[test]
    fn the_formats_before_are_read() {
        let meta = Meta { live_bytes: 70, history_bytes: 100, ..Meta::new() };
        let mut stored = meta.encode();
        stored.truncate(stored.len() - 4);
        stored[0] = COUNTED_TWICE;
        stored.extend(crc32c::crc32c(&stored).to_le_bytes());
        assert_eq!(Meta::decode(&stored), Ok(Meta { history_bytes: 30, ..meta.clone() }));
        let body = stored.len() - 4;
        stored[0] = HASHED_ALONE;
        let crc = crc32c::crc32c(&stored[..body]);
        stored[body..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Meta::decode(&stored), Ok(meta));
    }

    #[test]
    fn what_a_newer_release_wrote_is_not_damaged() {
        let mut stored = Meta::new().encode();
        stored[0] = FORMAT + 1;
        let body = stored.len() - 4;
        let crc = crc32c::crc32c(&stored[..body]);
        stored[body..].copy_from_slice(&crc.to_le_bytes());
        assert!(Meta::decode(&stored).is_err_and(|e| !e.damaged() && e.context.contains("newer")));
    }

    #[test]
    fn numbers_that_would_run_over_are_refused() {
        let huge: [fn(&mut Meta); 6] = [
            |m| m.revision = i64::MAX,
            |m| m.revision = -1,
            |m| m.compacted = m.revision + 1,
            |m| m.live_bytes = i64::MAX,
            |m| m.history_bytes = i64::MIN,
            |m| m.applied.index = Index(u64::MAX),
        ];
        for change in huge {
            let mut meta = Meta::new();
            assert_eq!(Meta::decode(&meta.encode()), Ok(meta.clone()));
            change(&mut meta);
            assert!(Meta::decode(&meta.encode()).is_err(), "{meta:?}");
        }
    }
}
