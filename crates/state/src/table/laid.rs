//! Intents that a reader knows to be committed, laid over the rows of a page: it then tells what their outcomes will leave there, and
//! who asks need not wait for those.
//!
//! What an intent changes is worked out as its outcome would, row by row: of the table, or of the index that the page is of. The page is
//! then read from both at once, so that its limits, its filter and its order are those of the state behind the outcomes.

use super::TablesView;
use super::apply::decode_stored;
use super::catalog::{IndexTable, Table, index_bytes};
use super::layout::{damaged, varint};
use super::lock;
use crate::kv::ReadError;
use crate::kv::source::Source;
use bytes::Bytes;
use quorate_base::ShardId;
use quorate_item::Item;
use quorate_item::codec::Codec;
use quorate_protocol::commit::{Lock, TxnId};
use quorate_storage::state::{Range, Scan, StateResult};
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

/// Rows by their keys, in the place of those below; `None` where there is none any more.
pub(super) type Over = BTreeMap<Vec<u8>, Option<Bytes>>;

impl TablesView {
    /// What the intents of these transactions make of a table's rows, and of those of one of its indexes.
    pub(super) fn over(
        &self,
        table: &Table,
        index: Option<&IndexTable>,
        committed: &BTreeSet<TxnId>,
        source: &dyn Source,
    ) -> Result<Over, ReadError> {
        let mut over = Over::new();
        let id = table.definition.id;
        for prepared in committed.iter().filter_map(|id| self.prepared(id)) {
            let images = prepared.images.items.iter().filter(|((of, _), _)| *of == id);
            for ((_, at), image) in images {
                let row = self.rows.item(id, at);
                if let Some(index) = index.filter(|index| index.covers(at)) {
                    let old = source.get(&row)?.map(decode_stored).transpose()?.map(|stored| stored.item);
                    let new = image.as_ref().map(|bytes| Item::decode(bytes)).transpose();
                    let new = new.map_err(|_| damaged("an intent"))?;
                    self.index_over(&mut over, (table, index), old.as_ref(), new.as_ref())?;
                }
                let stored = image.as_ref().map(|bytes| {
                    let mut stored = Vec::with_capacity(10 + bytes.len());
                    varint(&mut stored, prepared.at.get());
                    stored.extend_from_slice(bytes);
                    stored.into()
                });
                over.insert(row, stored);
            }
        }
        Ok(over)
    }

    /// What becomes of the rows of an index where an item becomes another one.
    fn index_over(
        &self,
        over: &mut Over,
        (table, index): (&Table, &IndexTable),
        old: Option<&Item>,
        new: Option<&Item>,
    ) -> Result<(), ReadError> {
        let row = |item: &Item| -> Result<Option<Vec<u8>>, ReadError> {
            let key =
                table.schema.key_of_item(item).map_err(|_| damaged("an item without its key, which"))?;
            let at = index.schema.index_key(item).map(|of_index| index_bytes(&of_index, &key));
            Ok(at.map(|at| self.rows.index(table.definition.id, index.index.id, &at)))
        };
        if let Some(before) = old.map(row).transpose()?.flatten() {
            over.insert(before, None);
        }
        if let (Some(item), Some(behind)) = (new, new.map(row).transpose()?.flatten()) {
            over.insert(behind, Some(index.projected(&table.schema, item).encode().into()));
        }
        Ok(())
    }

    /// The transactions that are undecided here and are about to write items of a table whose keys begin so, as far as somebody wants to
    /// know of the item: each with all its participants.
    pub(super) fn undecided_in(
        &self,
        table: u32,
        beginning: &[u8],
        wanted: impl Fn(&TxnId, &[u8]) -> bool,
    ) -> Vec<(TxnId, Vec<ShardId>)> {
        let mut met = BTreeMap::new();
        for (key, held) in self.held.keys(&lock::item(table, beginning)) {
            let (Lock::Exclusive(id), Some((_, at))) = (held, lock::item_of(key)) else { continue };
            if met.contains_key(id) || !wanted(id, at) {
                continue;
            }
            let Some(prepared) = self.prepared(id) else { continue };
            // What is locked and comes to nothing else than it is has no image.
            if prepared.images.items.contains_key(&(table, Bytes::copy_from_slice(at))) {
                met.insert(*id, prepared.participants.clone());
            }
        }
        met.into_iter().collect()
    }
}

/// A source with other rows laid over its own.
pub(super) struct Laid<'s> {
    pub(super) below: &'s dyn Source,
    pub(super) over: Over,
}

impl Laid<'_> {
    fn merged<'a>(&'a self, below: Scan<'a>, range: Range<'_>, back: bool) -> Scan<'a> {
        if self.over.is_empty() {
            return below;
        }
        let over = self.over.range::<[u8], _>(range);
        let over: Overlying<'a> = if back { Box::new(over.rev()) } else { Box::new(over) };
        Box::new(Merged { below: below.peekable(), over: over.peekable(), back })
    }
}

impl Source for Laid<'_> {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        self.over.get(key).map_or_else(|| self.below.get(key), |row| Ok(row.clone()))
    }

    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.merged(self.below.scan(range), range, false)
    }

    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.merged(self.below.scan_back(range), range, true)
    }
}

type Overlying<'a> = Box<dyn Iterator<Item = (&'a Vec<u8>, &'a Option<Bytes>)> + 'a>;

/// Rows of both in one order.
struct Merged<'a> {
    below: Peekable<Scan<'a>>,
    over: Peekable<Overlying<'a>>,
    back: bool,
}

impl Iterator for Merged<'_> {
    type Item = StateResult<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((over, _)) = self.over.peek() else { return self.below.next() };
            if let Some(below) = self.below.peek() {
                let Ok((below, _)) = below else { return self.below.next() };
                let order = below[..].cmp(&over[..]);
                let order = if self.back { order.reverse() } else { order };
                if order.is_lt() {
                    return self.below.next();
                }
                if order.is_eq() {
                    self.below.next();
                }
            }
            if let Some((key, Some(row))) = self.over.next() {
                return Some(Ok((Bytes::copy_from_slice(key), row.clone())));
            }
        }
    }
}
