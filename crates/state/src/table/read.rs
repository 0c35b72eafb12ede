//! Reads: tables as they are described, items by their keys, and pages of items ([`super::page`]).

use super::TablesView;
use super::apply::{decode_deleted, decode_stored};
use super::catalog::{Table, index_bytes};
use super::commit::{Intent, Seen};
use super::expire::{Overdue, Place};
use super::layout::{behind, row};
use super::stream::{Position, Records, StreamDescribed, StreamId};
use super::tenants::{Part, TenantSeen};
use crate::kv::source::{Limited, Source, Viewed};
use crate::kv::{KvView, ReadError};
use bytes::Bytes;
use quorate_base::{Index, NodeId, ShardId};
use quorate_item::{Condition, Item, KeyCondition, KeySchema, Projection};
use quorate_protocol::commit::{Answer, TxnId, participant};
use quorate_storage::state::StateResult;
use quorate_wire::kv::Refused;
#[cfg(doc)]
use quorate_wire::table::What;
use quorate_wire::table::{Definition, Figures, Refusal, Unfit};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// What is asked of tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// A table.
    Describe(String),
    /// Which keys of a table are hot, as the asked replica knows.
    Hot(String),
    /// The names of tables behind one, so many at most.
    List {
        /// Behind this name.
        after: Option<String>,
        /// How many.
        limit: usize,
    },
    /// Items by their keys, all at one moment.
    Get(Vec<Get>),
    /// The same, for one who asks for the votes on the intents himself.
    Seen(Vec<Get>),
    /// A page of a query or a scan.
    Page(Box<Page>),
    /// The same, for one who asks for the votes on the intents himself, and knows of these transactions that they are committed: their
    /// intents are laid over the rows.
    Over(Box<Page>, BTreeSet<TxnId>),
    /// The same as a page, told row by row: of a global index of a table with several shards, each of which has the rows of its items.
    Rows(Box<Page>),
    /// How a tenant stands that moves, and what of it is to be copied.
    Tenant {
        /// The table's name.
        table: String,
        /// Its partition key, as rows have it.
        key: Bytes,
        /// What is asked for.
        part: Part,
    },
    /// Items whose time is over.
    Overdue {
        /// Behind this place; from the beginning unless set.
        after: Option<Place>,
        /// The time, in milliseconds since 1970.
        now: u64,
        /// How many items are looked at.
        items: usize,
    },
    /// Change feeds in the order of their tables' names and their labels.
    Streams {
        /// Of the tables of this name; of all unless set.
        table: Option<String>,
        /// Behind the one of this name and label.
        after: Option<(String, u64)>,
        /// How many.
        limit: usize,
    },
    /// A change feed, by its table's name and its label.
    Stream(String, u64),
    /// Records of a change feed.
    Records {
        /// Which.
        stream: StreamId,
        /// From here on; the default is the oldest that there is.
        from: Position,
        /// How many, at most.
        limit: usize,
    },
    /// Whether it is time for [`What::Trim`].
    TrimIsDue {
        /// The time, in milliseconds since 1970.
        now: u64,
    },
    /// The vote on a transaction over several shards.
    Vote(TxnId),
    /// The transactions of earlier lives of a gateway that have voted Yes here and know no outcome.
    Undecided {
        /// The gateway.
        node: NodeId,
        /// Its life that has begun.
        boot: u64,
    },
}

impl Read {
    /// Whether the answer is to name the transactions over several shards that are undecided in what a page is of, as that of a read of
    /// the newest state does. (Of items it always does.)
    pub fn looks_for_intents(&mut self, looks: bool) {
        if let Self::Page(page) | Self::Over(page, _) = self {
            page.consistent = looks;
        }
    }
}

/// One item by its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Get {
    /// The table.
    pub table: String,
    /// Its key's attributes.
    pub key: Item,
    /// What of it is answered; all of it unless set.
    pub projection: Option<Projection>,
    /// Of a table that is divided by directory: by which word a tenant last left the shard or came to it, as whoever asks knows. A replica
    /// that is not as far is refused: it does not know whom it has.
    pub moved: Index,
}

impl Get {
    /// All of an item.
    pub fn of(table: impl Into<String>, key: Item) -> Self {
        Self { table: table.into(), key, projection: None, moved: Index(0) }
    }
}

/// Which keys a page is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeysAsked {
    /// All: a scan, or the segment of one: which, of how many.
    All(Option<(u32, u32)>),
    /// Those of a partition key, as rows have it: the part of a scan that is of one tenant.
    Tenant(Vec<u8>),
    /// Those of a parsed key condition.
    Condition(Condition),
    /// Those of older parameters, which were read with the schema at hand.
    Resolved(KeyCondition),
}

/// A page of a query or a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The table.
    pub table: String,
    /// An index of it, in the place of the table.
    pub index: Option<String>,
    /// Which keys.
    pub keys: KeysAsked,
    /// What is answered of those.
    pub filter: Option<Condition>,
    /// What of each item is answered; all that there is unless set.
    pub projection: Option<Projection>,
    /// Whole items are wanted, also where an index does not hold them.
    pub whole: bool,
    /// Only how many.
    pub count: bool,
    /// So many are looked at, at most.
    pub limit: Option<usize>,
    /// So many bytes are looked at, about, where less than 1 MB is wanted.
    pub bytes: Option<usize>,
    /// From behind the item with these keys.
    pub start: Option<Item>,
    /// From the last key to the first.
    pub backward: bool,
    /// It was asked for as a read of the newest state, which a global index does not promise.
    pub consistent: bool,
    /// The same as of a [`Get`]. Of rows of several shards it is refused by one that is further, too.
    pub moved: Index,
}

impl Page {
    /// All items with these keys, forwards, as a read that does not insist on the newest state.
    pub fn of(table: &str, keys: KeysAsked) -> Self {
        Self {
            table: table.into(),
            index: None,
            keys,
            filter: None,
            projection: None,
            whole: false,
            count: false,
            limit: None,
            bytes: None,
            start: None,
            backward: false,
            consistent: false,
            moved: Index(0),
        }
    }
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadReply {
    /// To `Describe`.
    Table(Box<Described>),
    /// To `Hot`.
    Hot(HotKeys),
    /// To `List`: the names, and whether there are more.
    Names(Vec<String>, bool),
    /// To `Get` and `Seen`, one for each.
    Items(Vec<Got>),
    /// To a read of several shards at one moment: its items changed in every try.
    Changing,
    /// To `Page` and `Over`.
    Page(Paged),
    /// To `Rows`: they, in order, and whether there may be more.
    Rows(Vec<Row>, bool),
    /// To `Tenant`.
    Tenant(Box<TenantSeen>),
    /// To `Overdue`.
    Overdue(Overdue),
    /// To `Streams`: they, and whether there are more.
    Streams(Vec<StreamDescribed>, bool),
    /// To `Stream`.
    Stream(Box<StreamDescribed>),
    /// To `Records`.
    Records(Records),
    /// To `TrimIsDue`.
    TrimIsDue(bool),
    /// To `Vote` and `Undecided`.
    Commit(Answer<Unfit>),
}

/// What of a table, in one shard, gets most of the reads and writes: about, of the last ten thousands of them, and each replica counts the
/// reads that it has answered itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HotKeys {
    /// Reads of all keys.
    pub reads: u64,
    /// Writes of all keys.
    pub writes: u64,
    /// The hottest first.
    pub keys: Vec<HotKey>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HotKey {
    /// An item's key, or of one whose partition is queried its partition key alone; in JSON as DynamoDB writes it.
    pub key: String,
    /// Its reads.
    pub reads: u64,
    /// Its writes.
    pub writes: u64,
}

/// A table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Described {
    /// What it is.
    pub definition: Definition,
    /// How much is in it.
    pub figures: Figures,
    /// Its keys.
    pub schema: KeySchema,
    /// Its indexes' keys, by name.
    pub indexes: Vec<(String, KeySchema)>,
}

/// A row that a page looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The keys that name it to a client.
    pub keys: Item,
    /// Its size.
    pub bytes: usize,
    /// It passed the filter.
    pub passed: bool,
    /// What was asked for of it; nothing where it did not pass, or only how many are wanted.
    pub item: Option<Item>,
}

impl Described {
    /// Where a row of an index stands among all of that index, in the order of a scan, and within a partition of a query; by the
    /// keys that name it. `None` where these are not its keys.
    pub fn place_in_index(&self, index: &str, keys: &Item) -> Option<Vec<u8>> {
        let (_, schema) = self.indexes.iter().find(|(name, _)| name == index)?;
        let item = self.schema.key_of(&self.schema.only_key(keys)).ok()?;
        Some(index_bytes(&schema.index_key(keys)?, &item))
    }
}

/// An item, or that there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Got {
    /// What was asked for of it.
    pub item: Option<Item>,
    /// Its size.
    pub bytes: usize,
    /// The index of its last write; of one that is not there, that of the last deletion among the keys of its class.
    pub version: u64,
    /// What a transaction over several shards is about to make of it: it counts if all participants have voted Yes.
    pub intent: Option<Box<Intent>>,
}

/// A page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Paged {
    /// What was asked for of the items; empty if only how many.
    pub items: Vec<Item>,
    /// How many passed the filter.
    pub count: usize,
    /// How many were looked at.
    pub scanned: usize,
    /// The keys of the last that was looked at, if the page ended before the keys did.
    pub last: Option<Item>,
    /// The size of what was looked at.
    pub bytes: usize,
    /// The size of what was fetched from the table for an index that does not hold it, each item rounded up to whole 4 KB.
    pub fetched: usize,
    /// The index is a local one.
    pub local: bool,
    /// Of a read of the newest state: the transactions that are about to write in what the page is of, each with its participants; of a
    /// query of an index, in its whole partition, and of a scan of one, in its whole table. What it tells is of before them. Those that
    /// were laid over it are not named.
    pub met: Vec<(TxnId, Vec<ShardId>)>,
}

impl KvView {
    /// The tables.
    pub fn tables(&self) -> &TablesView {
        &self.tables
    }

    /// Goes on with a checksum over all that tables hold, unless `go_on` ends it.
    pub(crate) fn tables_hash_while(
        &self,
        mut crc: u32,
        go_on: &dyn Fn(usize) -> bool,
    ) -> StateResult<Option<u32>> {
        let source = Viewed(self.store());
        let limited = Limited::new(&source, go_on);
        let mut add = |key: &Bytes, value: &Bytes| -> StateResult<()> {
            for part in [&self.tables.rows.rest(key)?, value] {
                crc = crc32c::crc32c_append(crc, &(part.len() as u64).to_le_bytes());
                crc = crc32c::crc32c_append(crc, part);
            }
            Ok(())
        };
        for (from, to) in self.tables.replicated() {
            if self.tables.is_unstored(&from) {
                let of_kind =
                    self.tables.unstored().filter(|(key, _)| from[..] <= key[..] && key[..] < to[..]);
                of_kind.into_iter().try_for_each(|(key, value)| add(&key, &value))?;
                continue;
            }
            for pair in limited.scan((Bound::Included(&from), Bound::Excluded(&to))) {
                let (key, value) = match pair {
                    Err(_) if limited.ended() => return Ok(None),
                    pair => pair?,
                };
                add(&key, &value)?;
            }
        }
        Ok(Some(crc))
    }

    fn undecided(&self, node: NodeId, boot: u64) -> StateResult<ReadReply> {
        let mut undecided = participant::undecided(&Seen(self))?;
        undecided.retain(|(id, _)| id.node == node && id.boot < boot);
        Ok(ReadReply::Commit(Answer::Undecided(undecided)))
    }

    /// Answers a read of tables, unless `go_on` ends it as it may end [`KvView::range_while`].
    pub fn tables_while(
        &self,
        read: &Read,
        go_on: &dyn Fn(usize) -> bool,
    ) -> Result<Option<ReadReply>, ReadError> {
        let source = Viewed(self.store());
        let limited = Limited::new(&source, go_on);
        let result = match read {
            Read::Vote(id) => {
                participant::vote(&Seen(self), id).map(ReadReply::Commit).map_err(ReadError::Store)
            }
            Read::Undecided { node, boot } => self.undecided(*node, *boot).map_err(ReadError::Store),
            read => self.tables.read(read, self.applied().index, &limited),
        };
        if limited.ended() { Ok(None) } else { result.map(Some) }
    }
}

impl TablesView {
    /// Where rows lie that all replicas have alike: not figures, which are counted, nor what is to be swept away.
    fn replicated(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let kinds = [
            row::ADOPTED,
            row::TENANT,
            row::DEFINITION,
            row::NOTED,
            row::HORIZON,
            row::STANDS,
            row::LOCK,
            row::META,
            row::GATE,
            row::HOME,
            row::LEAVING,
            row::PLACED,
            row::TOKEN_END,
            row::TOKEN,
            row::STREAM,
            row::TRANSACTION,
            row::ZONE,
        ]
        .map(|kind| self.rows.kind(kind));
        let mut prefixes = Vec::from(kinds);
        for table in self.catalog.tables() {
            let id = table.definition.id;
            prefixes.extend([row::ITEM, row::DELETED].map(|kind| self.rows.numbered(kind, id, b"")));
            prefixes.extend(table.indexes.iter().map(|index| self.rows.index(id, index.index.id, b"")));
        }
        let mut ranges: Vec<_> =
            prefixes.into_iter().map(|prefix| (prefix.clone(), behind(prefix))).collect();
        let first = Position { index: self.streams.horizon().saturating_add(1), number: 0 };
        let records =
            self.streams.iter().map(|(id, _)| (self.rows.record(id, first), self.rows.records_end(id)));
        ranges.extend(records);
        ranges
    }
}

/// A read is refused.
pub(super) fn refused(refusal: Refusal) -> ReadError {
    ReadError::Refused(Refused::Table(refusal))
}

/// It makes no sense, in DynamoDB's words.
pub(super) fn invalid(text: impl Into<String>) -> ReadError {
    refused(Refusal::Validation(text.into()))
}

impl TablesView {
    fn read(&self, read: &Read, applied: Index, source: &dyn Source) -> Result<ReadReply, ReadError> {
        match read {
            Read::Describe(name) => {
                let missing = || refused(Refusal::TableNotFound(name.clone()));
                let table = self.catalog.get(name).ok_or_else(missing)?;
                Ok(ReadReply::Table(Box::new(described(table))))
            }
            Read::Hot(name) => Ok(ReadReply::Hot(self.table(name)?.hot_keys())),
            Read::List { after, limit } => {
                let mut names = self.catalog.names(after.as_deref(), limit.saturating_add(1));
                let more = names.len() > *limit;
                names.truncate(*limit);
                Ok(ReadReply::Names(names, more))
            }
            Read::Get(gets) | Read::Seen(gets) => {
                let got = gets.iter().map(|get| self.get(get, source));
                Ok(ReadReply::Items(got.collect::<Result<_, _>>()?))
            }
            Read::Page(page) => self.page(page, None, source).map(ReadReply::Page),
            Read::Over(page, committed) => self.page(page, Some(committed), source).map(ReadReply::Page),
            Read::Rows(page) => self.page_rows(page, source).map(|(rows, more)| ReadReply::Rows(rows, more)),
            Read::Tenant { table, key, part } => {
                Ok(ReadReply::Tenant(Box::new(self.tenant((table, key, part), source)?)))
            }
            Read::Overdue { after, now, items } => {
                Ok(ReadReply::Overdue(self.overdue(after.as_ref(), *now, *items, source)?))
            }
            Read::Streams { table, after, limit } => {
                let (streams, more) = self.list_streams(table.as_deref(), after.as_ref(), *limit, applied);
                Ok(ReadReply::Streams(streams, more))
            }
            Read::Stream(table, label) => {
                Ok(ReadReply::Stream(Box::new(self.describe_stream(table, *label, applied)?)))
            }
            Read::Records { stream, from, limit } => {
                self.records((*stream, *from), *limit, applied, source).map(ReadReply::Records)
            }
            Read::TrimIsDue { now } => Ok(ReadReply::TrimIsDue(self.trim_is_due(*now))),
            // What is asked of the whole view.
            Read::Vote(_) | Read::Undecided { .. } => Err(refused(Refusal::NotFound)),
        }
    }

    pub(super) fn table(&self, name: &str) -> Result<&Arc<Table>, ReadError> {
        if self.placement.table(name).is_some() {
            // Its items are not here: whoever asks has an old map.
            return Err(refused(Refusal::StaleEpoch));
        }
        let open = self.catalog.get(name).filter(|table| !table.definition.closing);
        open.ok_or_else(|| refused(Refusal::NotFound))
    }

    fn get(&self, get: &Get, source: &dyn Source) -> Result<Got, ReadError> {
        let table = self.table(&get.table)?;
        let key = table.schema.key_of(&get.key).map_err(|error| invalid(error.message()))?;
        self.check_here(table, (&key.partition, get.moved))?;
        if let Some(projection) = &get.projection {
            table.check_paths(&projection.paths.iter()).map_err(|error| invalid(error.message()))?;
        }
        let (id, at) = (table.definition.id, table.at(&key));
        table.hot.note(&at, false);
        let intent = self.intent(id, &at)?.map(|mut intent| {
            if let (Some(projection), Some(item)) = (&get.projection, &mut intent.item) {
                *item = projection.of(item);
            }
            Box::new(intent)
        });
        match source.get(&self.rows.item(id, &at))? {
            Some(stored) => {
                let stored = decode_stored(stored)?;
                let bytes = stored.item.size();
                let item = match &get.projection {
                    Some(projection) => projection.of(&stored.item),
                    None => stored.item,
                };
                Ok(Got { item: Some(item), bytes, version: stored.version, intent })
            }
            None => Ok(Got { item: None, bytes: 0, version: self.deleted_at(id, &at, source)?, intent }),
        }
    }

    fn deleted_at(&self, table: u32, key: &[u8], source: &dyn Source) -> StateResult<u64> {
        let stored = source.get(&self.rows.deleted(table, key))?;
        Ok(stored.map_or(0, |stored| decode_deleted(&stored)).max(self.absent_since()))
    }
}

pub(super) fn described(table: &Table) -> Described {
    Described {
        definition: table.definition.clone(),
        figures: table.figures(),
        schema: table.schema.clone(),
        indexes: table.indexes.iter().map(|i| (i.index.name.clone(), i.schema.clone())).collect(),
    }
}
