//! Pages: queries over one partition and scans over all of them, of a table or of an index.
//!
//! A page ends behind so many items, or behind 1 MB of them, counted before the filter; then it says with which keys the
//! next one begins. Items lie in the order of slot, partition key and sort key: a scan's order is no order of the keys, unless the table
//! is partitioned by range ([`super::division`]), and a segment of a scan is a range of slots.

use super::TablesView;
use super::apply::decode_stored;
use super::catalog::{IndexTable, Table, index_bytes};
use super::division::hashed;
use super::laid::Laid;
use super::layout::{behind, damaged};
use super::read::{KeysAsked, Page, Paged, Row, invalid};
use crate::kv::ReadError;
use crate::kv::source::Source;
use bytes::Bytes;
use quorate_item::codec::Codec;
use quorate_item::{Error, Item, KeyCondition, KeySchema};
use quorate_protocol::commit::TxnId;
use quorate_wire::table::{IndexState, Projected};
use std::collections::BTreeSet;
use std::ops::Bound;

/// A page ends behind so many bytes of items.
const PAGE_BYTES: usize = 1 << 20;
/// Each item that is fetched for an index is paid for by itself, in units of so many bytes.
const READ_UNIT: usize = 4096;

/// What a page is of.
struct Rows<'t> {
    table: &'t Table,
    index: Option<&'t IndexTable>,
    /// What all its rows begin with.
    prefix: Vec<u8>,
}

impl TablesView {
    /// A page, with the intents of transactions laid over it that whoever asks knows to be committed, if he asks for votes himself.
    pub(super) fn page(
        &self,
        page: &Page,
        committed: Option<&BTreeSet<TxnId>>,
        source: &dyn Source,
    ) -> Result<Paged, ReadError> {
        self.looked_at(page, (committed, None), source)
    }

    /// What a page would look at, row by row: for whoever merges rows of several shards, and then knows how many of them count.
    pub(super) fn page_rows(&self, page: &Page, source: &dyn Source) -> Result<(Vec<Row>, bool), ReadError> {
        let mut told = Vec::new();
        self.check_moved(self.table(&page.table)?, page.moved)?;
        let paged = self.looked_at(page, (None, Some(&mut told)), source)?;
        Ok((told, paged.last.is_some()))
    }

    fn looked_at(
        &self,
        page: &Page,
        (committed, told): (Option<&BTreeSet<TxnId>>, Option<&mut Vec<Row>>),
        source: &dyn Source,
    ) -> Result<Paged, ReadError> {
        let table = self.table(&page.table)?;
        let rows = self.rows_of(table, page)?;
        let schema = rows.schema();
        let condition = match &page.keys {
            KeysAsked::All(_) => None,
            KeysAsked::Condition(condition) => {
                Some(schema.condition(condition).map_err(|error| invalid(error.message()))?)
            }
            KeysAsked::Resolved(condition) => Some(condition.clone()),
            KeysAsked::Tenant(partition) => Some(KeyCondition {
                partition: partition.clone(),
                sort: (Bound::Unbounded, Bound::Unbounded),
            }),
        };
        let indexes = table.indexes.iter().map(|index| &index.schema);
        page.check(&table.schema, indexes, schema).map_err(|error| invalid(error.message()))?;
        rows.check_projection(page)?;
        let (mut from, mut to) = rows.range(page, condition.as_ref());
        if let Some(start) = &page.start {
            let query = condition.is_some() && !matches!(page.keys, KeysAsked::Tenant(_));
            let at = rows.start_at(start, query)?;
            let inside = |at: &[u8]| above(&from, at) && below(&to, at);
            if !inside(&at) {
                return Err(rows.start_outside(start, condition.as_ref(), &page.keys));
            }
            if page.backward {
                to = Bound::Excluded(at);
            } else {
                from = Bound::Excluded(at);
            }
        }
        let partition = condition.as_ref().filter(|_| rows.index.is_none_or(|index| !index.global));
        if let Some(of) = partition {
            self.check_here(table, (&of.partition, page.moved))?;
        }
        let partition =
            partition.map(|of| [&table.division.slot_of(&of.partition)[..], &of.partition[..]].concat());
        let partition = partition.unwrap_or_default();
        // Whoever reads it again for himself has read it before.
        if !partition.is_empty() && committed.is_none() {
            table.hot.note(&partition, false);
        }
        let over = committed.filter(|committed| !committed.is_empty());
        let over = over.map(|committed| self.over(table, rows.index, committed, source)).transpose()?;
        let laid = over.map(|over| Laid { below: source, over });
        let source = laid.as_ref().map_or(source, |laid| laid);
        let (mut paged, end) = self.walk(page, (&rows, told), (&from, &to), source)?;
        if page.consistent {
            // Behind the last row nothing counts.
            match end.map(Bound::Included) {
                Some(end) if page.backward => from = end,
                Some(end) => to = end,
                None => {}
            }
            let wanted = |id: &TxnId, at: &[u8]| {
                let row = [&rows.prefix[..], at].concat();
                let inside = rows.index.is_some() || above(&from, &row) && below(&to, &row);
                inside && committed.is_none_or(|committed| !committed.contains(id))
            };
            // Of the table's partition; local indexes have it, too.
            paged.met = self.undecided_in(table.definition.id, &partition, wanted);
        }
        Ok(paged)
    }

    fn rows_of<'t>(&self, table: &'t Table, page: &Page) -> Result<Rows<'t>, ReadError> {
        let id = table.definition.id;
        let Some(name) = &page.index else {
            return Ok(Rows { table, index: None, prefix: self.rows.item(id, b"") });
        };
        let missing = || invalid(format!("The table does not have the specified index: {name}"));
        let index = table.index(name).ok_or_else(missing)?;
        if index.global && page.consistent {
            return Err(invalid("Consistent reads are not supported on global secondary indexes"));
        }
        if index.index.state != IndexState::Active {
            return Err(invalid(format!("Cannot read from backfilling global secondary index: {name}")));
        }
        if index.global && page.whole && index.index.projected != Projected::All {
            return Err(invalid(format!(
                "One or more parameter values were invalid: Select type ALL_ATTRIBUTES is not supported for global \
                 secondary index {name} because its projection type is not ALL"
            )));
        }
        Ok(Rows { table, index: Some(index), prefix: self.rows.index(id, index.index.id, b"") })
    }

    /// What a page is, and where its last row lies if it ended before its rows did.
    fn walk(
        &self,
        page: &Page,
        (rows, mut told): (&Rows<'_>, Option<&mut Vec<Row>>),
        (from, to): (&Bound<Vec<u8>>, &Bound<Vec<u8>>),
        source: &dyn Source,
    ) -> Result<(Paged, Option<Vec<u8>>), ReadError> {
        let mut paged = Paged { local: rows.index.is_some_and(|index| !index.global), ..Paged::default() };
        let range = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
        if is_empty(range) {
            return Ok((paged, None));
        }
        let mut end = None;
        let scan = if page.backward { source.scan_back(range) } else { source.scan(range) };
        let most = page.limit.unwrap_or(usize::MAX);
        let room = page.bytes.unwrap_or(PAGE_BYTES).min(PAGE_BYTES);
        for pair in scan {
            let (row, stored) = pair?;
            let mut item = rows.item(stored)?;
            if self.is_hidden(rows.table, &item) {
                continue;
            }
            let bytes = item.size();
            paged.scanned += 1;
            paged.bytes += bytes;
            let ends = paged.scanned >= most || paged.bytes >= room;
            let keys = (ends || told.is_some()).then(|| rows.keys_of(&item));
            if rows.must_fetch(page) {
                item = self.fetch(rows.table, &item, source)?;
                paged.fetched += item.size().max(1).next_multiple_of(READ_UNIT);
            }
            let passed = page.filter.as_ref().is_none_or(|filter| filter.holds(Some(&item)));
            paged.count += usize::from(passed);
            let item = (passed && !page.count).then(|| match &page.projection {
                Some(projection) => projection.of(&item),
                None => item,
            });
            match (&mut told, &keys) {
                (Some(told), Some(keys)) => told.push(Row { keys: keys.clone(), bytes, passed, item }),
                _ => paged.items.extend(item),
            }
            if ends {
                paged.last = keys;
                end = Some(row.to_vec());
                break;
            }
        }
        Ok((paged, end))
    }

    /// The whole item that an index row belongs to.
    fn fetch(&self, table: &Table, row: &Item, source: &dyn Source) -> Result<Item, ReadError> {
        let key = table.schema.key_of_item(row).map_err(|_| damaged("a row of an index"))?;
        let stored = source.get(&self.rows.item(table.definition.id, &table.at(&key)))?;
        let stored = stored.ok_or_else(|| damaged("a row of an index without its item, which"))?;
        Ok(decode_stored(stored)?.item)
    }
}

impl Rows<'_> {
    /// The keys by which the rows are found.
    fn schema(&self) -> &KeySchema {
        self.index.map_or(&self.table.schema, |index| &index.schema)
    }

    fn item(&self, stored: Bytes) -> Result<Item, ReadError> {
        match self.index {
            None => Ok(decode_stored(stored)?.item),
            Some(_) => Ok(Item::decode(&stored).map_err(|_| damaged("a row of an index"))?),
        }
    }

    /// The keys that name a row to a client.
    fn keys_of(&self, item: &Item) -> Item {
        let mut keys = self.table.schema.only_key(item);
        if let Some(index) = self.index {
            keys.0.extend(index.schema.only_key(item).0);
        }
        keys
    }

    /// The range of rows that a page is of, in the store.
    fn range(&self, page: &Page, condition: Option<&KeyCondition>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let Some(KeyCondition { partition, sort }) = condition else {
            let segment = if let KeysAsked::All(segment) = page.keys { segment } else { None };
            return self.segment(segment);
        };
        let mut start = self.prefix.clone();
        let slot = self.index.map_or_else(|| self.table.division.slot_of(partition), |_| hashed(partition));
        start.extend_from_slice(&slot);
        start.extend_from_slice(partition);
        let with = |sort: &[u8]| [&start[..], sort].concat();
        // Behind an index's keys the item's key follows: a sort key stands for all rows that begin with it.
        let from = match &sort.0 {
            Bound::Unbounded => Bound::Included(start.clone()),
            Bound::Included(sort) => Bound::Included(with(sort)),
            Bound::Excluded(sort) => Bound::Included(behind(with(sort))),
        };
        let to = match &sort.1 {
            Bound::Unbounded => Bound::Excluded(behind(start.clone())),
            Bound::Included(sort) => Bound::Excluded(behind(with(sort))),
            Bound::Excluded(sort) => Bound::Excluded(with(sort)),
        };
        (from, to)
    }

    /// The slots of a segment of a parallel scan.
    fn segment(&self, segment: Option<(u32, u32)>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let slot = |at: u64| {
            let mut key = self.prefix.clone();
            match u32::try_from(at) {
                Ok(at) => key.extend_from_slice(&at.to_be_bytes()),
                // Behind the last slot.
                Err(_) => key = behind(key),
            }
            key
        };
        let (segment, of) =
            segment.map_or((0, 1), |(segment, of)| (u64::from(segment), u64::from(of).max(1)));
        let edge = |n: u64| (n << 32) / of;
        (Bound::Included(slot(edge(segment))), Bound::Excluded(slot(edge(segment + 1))))
    }

    /// Where the row with these keys lies.
    fn start_at(&self, start: &Item, query: bool) -> Result<Vec<u8>, ReadError> {
        let bad = || {
            invalid(if query || self.index.is_some() {
                "The provided starting key is invalid"
            } else {
                "The provided starting key is invalid: The provided key element does not match the schema"
            })
        };
        let key = self.table.schema.key_of(&self.table.schema.only_key(start)).map_err(|_| bad())?;
        // Nothing but keys.
        if self.keys_of(start) != *start {
            return Err(bad());
        }
        let at = match self.index {
            None => self.table.at(&key),
            Some(index) => index_bytes(&index.schema.index_key(start).ok_or_else(bad)?, &key),
        };
        Ok([&self.prefix[..], &at].concat())
    }

    /// What is told of a start that is none of the rows asked for.
    fn start_outside(&self, start: &Item, condition: Option<&KeyCondition>, keys: &KeysAsked) -> ReadError {
        if let Some(condition) = condition {
            let there =
                self.schema().index_key(start).is_some_and(|key| key.partition == condition.partition);
            return invalid(if there {
                "The provided starting key does not match the range key predicate"
            } else {
                "The provided starting key is outside query boundaries based on provided conditions"
            });
        }
        let (segment, of) = if let KeysAsked::All(Some(segment)) = keys { *segment } else { (0, 1) };
        invalid(other_segment(segment, of))
    }

    /// The page wants attributes that a local index does not hold.
    fn must_fetch(&self, page: &Page) -> bool {
        let Some(index) = self.index.filter(|index| !index.global) else { return false };
        let lacks = |name: &str| !index.holds(&self.table.schema, name);
        let projection = page.projection.as_ref();
        let whole = page.whole && index.index.projected != Projected::All;
        whole || projection.is_some_and(|projection| projection.attributes().any(lacks))
    }

    fn check_projection(&self, page: &Page) -> Result<(), ReadError> {
        let (Some(index), Some(projection)) = (self.index.filter(|index| index.global), &page.projection)
        else {
            return Ok(());
        };
        let lacks: Vec<&str> =
            projection.attributes().filter(|name| !index.holds(&self.table.schema, name)).collect();
        if lacks.is_empty() {
            return Ok(());
        }
        Err(invalid(format!(
            "One or more parameter values were invalid: Global secondary index {} does not project [{}]",
            index.index.name,
            lacks.join(", ")
        )))
    }
}

impl Page {
    /// Refuses a projection and a filter that lead into a key, and a query's filter that looks at the key of its rows. By the keys of the
    /// table, of its indexes, and of the rows.
    pub fn check<'s>(
        &self,
        table: &KeySchema,
        mut indexes: impl Iterator<Item = &'s KeySchema>,
        rows: &KeySchema,
    ) -> Result<(), Error> {
        let filtered = self.filter.as_ref().map_or_else(Vec::new, |filter| filter.paths());
        let projected = self.projection.iter().flat_map(|projection| &projection.paths);
        let paths = projected.chain(filtered);
        table.check_paths(paths.clone())?;
        indexes.try_for_each(|index| index.check_index_paths(paths.clone()))?;
        match (&self.filter, &self.keys) {
            (None, _) | (_, KeysAsked::All(_) | KeysAsked::Tenant(_)) => Ok(()),
            (Some(filter), KeysAsked::Resolved(_)) => rows.check_query_filter(filter),
            (Some(filter), KeysAsked::Condition(_)) => rows.check_filter(filter),
        }
    }
}

/// What is told of a start that is not in its segment of a parallel scan.
pub fn other_segment(segment: u32, of: u32) -> String {
    format!(
        "The provided starting key is invalid: Invalid ExclusiveStartKey. Please use ExclusiveStartKey with correct \
         Segment. TotalSegments: {of} Segment: {segment}"
    )
}

fn above(from: &Bound<Vec<u8>>, at: &[u8]) -> bool {
    match from {
        Bound::Included(from) | Bound::Excluded(from) => at >= &from[..],
        Bound::Unbounded => true,
    }
}

fn below(to: &Bound<Vec<u8>>, at: &[u8]) -> bool {
    match to {
        Bound::Included(to) => at <= &to[..],
        Bound::Excluded(to) => at < &to[..],
        Bound::Unbounded => true,
    }
}

/// Nothing lies in it: a store may not be asked for a range whose ends cross.
fn is_empty((from, to): (Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        _ => false,
    }
}
