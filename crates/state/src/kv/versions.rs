//! All that is in a space, told in etcd's terms: for whoever writes it down for etcd.
//!
//! A version stands in the log of changes, in the order of revisions; or, where its change was swept, with its key alone, in the order
//! of keys. Whoever wants one order puts the two together. What a compaction has left for its sweep may still be among the former.

use super::layout::{Change, PREFIX, Record, parse_event_key, table};
use super::transfer::NUMBERS;
use super::view::KvView;
use super::{ForeignVersion, layout::Rev};
use bytes::Bytes;
use quorate_storage::state::StateResult;
use std::ops::Bound;

/// A pair with its key in the stream of a snapshot.
type Pair = StateResult<(Bytes, Bytes)>;

impl KvView {
    /// The changes that the log has, by revision.
    pub fn logged(&self) -> impl Iterator<Item = StateResult<ForeignVersion>> {
        self.table(table::EVENT).map(|pair| {
            let (key, value) = pair?;
            let (rev, change) = (parse_event_key(&key)?, Change::decode(&value)?);
            Ok(told(rev, change.key, change.put))
        })
    }

    /// The newest versions whose changes the log has no more, by key.
    pub fn swept(&self) -> impl Iterator<Item = StateResult<ForeignVersion>> {
        let swept = self.meta.swept;
        self.table(table::LATEST).filter_map(move |pair| {
            let decoded = pair.and_then(|(key, value)| Ok((key, Record::decode(value)?)));
            match decoded {
                Ok((_, record)) if record.rev >= swept => None,
                Ok((key, record)) => Some(Ok(told(record.rev, key.slice(PREFIX + 1..), Some(record)))),
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// What etcd has no place for, as the pairs of a snapshot's stream, by their keys: the machine's numbers, fences, tables; leases and
    /// alarms, of which it keeps less.
    pub fn beside(&self) -> impl Iterator<Item = Pair> {
        const BEFORE: [(&[u8], u8); 5] = [
            (&[], NUMBERS),
            (&[table::LEASE - 1], table::LEASE),
            // Behind the last lease, which has 8 bytes.
            (&[table::LEASE, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], table::FENCE),
            // Nothing else is behind these in their tables.
            (&[table::META], table::ALARM),
            (&[table::TABLE - 1], table::TABLE),
        ];
        BEFORE.into_iter().flat_map(|(after, letter)| {
            self.stream(after)
                .take_while(move |pair| pair.as_ref().map_or(true, |(key, _)| key.first() == Some(&letter)))
        })
    }

    fn table(&self, table: u8) -> impl Iterator<Item = Pair> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        self.keys.start(&mut from, table);
        self.keys.start(&mut to, table + 1);
        self.view.scan((Bound::Included(&from), Bound::Excluded(&to)))
    }
}

fn told(rev: Rev, key: Bytes, record: Option<Record>) -> ForeignVersion {
    let pair = record.map(|record| record.into_pair(key.clone()));
    ForeignVersion { key, revision: rev.main, sub: rev.sub, pair }
}
