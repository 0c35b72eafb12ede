//! The machine of tables: DynamoDB's data model, as a pure function of log and state.
//!
//! A table has items, each found by its key; an operation reads an item, holds its condition against it, and puts another in
//! its place or takes it away. Operations that stand in one entry are done together: an atomic one whose conditions do not
//! all hold does nothing. All that decides comes from the entry and the state: the time too, which is the entry's.
//!
//! The machine does not own the store: it is handed one for each call, and the prefix under which all that is its own
//! lies, so that it can be the machine of any shard. It runs beside the key-value machine of its shard, under a
//! letter of that machine's keys, and snapshots, checkpoints and digests carry it along. In shard 1 lie the definitions of all tables,
//! and the items of those that have no shards of their own ([`placement`]).
//!
//! # Layout
//!
//! Under the prefix, by a letter:
//!
//! | row | key behind it | value |
//! | --- | --- | --- |
//! | `A` adopted | nothing | of which place in shard 1's log the table's definition is that this shard has |
//! | `B` belongs | first shard, 0 or 1 and tenant | the directory of a table: how a tenant moves, or where one lies ([`placement`]) |
//! | `C` change | table, label, index, number | a record of a change feed ([`stream`]) |
//! | `D` definition | name | [`Definition`] |
//! | `E` edited | table, key in it | at which place in the log a row of a tenant was written that leaves ([`tenants`]) |
//! | `F` figures | table | items and bytes, of the table and of each index |
//! | `G` garbage | table, perhaps index or label | nothing: its rows are swept away |
//! | `H` horizon | nothing | up to where change feeds are let go, and notes of the time |
//! | `I` item | table, slot, partition key, sort key | index of the last write, item |
//! | `K` keeper | table, tenant or nothing | how a tenant stands here that moves or has moved; by which word one did last ([`tenants`]) |
//! | `L` lock | item or token | which transactions over several shards hold it ([`commit`]) |
//! | `M` meta | nothing | the shard's epoch, the next table's number, the next shard's, lives of gateways |
//! | `N` gate | node | what is forgotten of its transactions |
//! | `O` home | shard | on which nodes its replicas are, if it was ever moved ([`placement`]) |
//! | `V` leaving | node | which nodes are to have no replicas any more, and since which place in the log ([`placement`]) |
//! | `P` placed | first shard | the shards of a table ([`placement`]) |
//! | `Q` token's end | time, token | nothing |
//! | `R` token | token | its end, fingerprint |
//! | `S` stream | table, label | a change feed |
//! | `T` transaction | node, life, request, attempt | its vote; what it will leave |
//! | `U` figures | table, label | records and bytes of a change feed |
//! | `W` deleted | table, class of keys | index of the last deletion in that class |
//! | `X` index | table, index, slot, keys of the index, key of the item | what the index holds of the item |
//! | `Z` zone | node | in which zone it is ([`placement`]) |
//!
//! A *slot* is 32 bits of a hash of the partition key: a table is hash-partitioned from its first byte on, and sorted within
//! a partition. Parallel scans divide the slots, as shards will.
//!
//! # Versions
//!
//! Every item has a version, the index of the entry that wrote it last; one that is not there has the index of the last
//! deletion among the keys of its class. So what was absent, then present, then absent again never has the same version.
//!
//! # Indexes
//!
//! Indexes change in the entry of their item, local ones and global ones: a reader of a global index sees at least what
//! DynamoDB's would, and never an older state than the table's; `ConsistentRead` on one is refused all the same. Each shard of a
//! table has the rows of its own items in every index. So a write costs one shard, as it would without indexes, and there is no
//! lag; and whoever reads a global index asks all shards of the table and merges what they tell row by row ([`Read::Rows`]). An index that
//! is added to a table is filled by [`What::Fill`] entries, a bounded number of items each, in each shard by itself, and is kept
//! up to date meanwhile as far as it is filled.
//!
//! # Idempotency
//!
//! A token's row is written with the effects that it stands for and says for ten minutes of the entries' time that they are
//! there. A request that was refused leaves none: it is evaluated anew. Each entry with a token takes a few rows away whose
//! time is over.
//!
//! # Expiry
//!
//! An item whose time is over is there until an entry takes it away ([`What::Expire`]). Whoever leads looks for such items and
//! names them; the machine holds each against the entry's time once more, so that one that was written again stays.
//!
//! # Transactions over several shards
//!
//! The machine is a participant ([`commit`]): it votes by the same evaluation, and an item that a transaction holds is written by
//! nobody else, not by time either. A read of an item tells of the intent at it, and a page of the transactions that are about to
//! write among what it is of; whoever asked asks for their votes.
//!
//! # Left out
//!
//! Global indexes with shards of their own, fed from the logs of the table's: they would cost a query one shard and every write a
//! second entry behind the first.

mod apply;
mod capacity;
mod catalog;
mod change;
mod closing;
mod commit;
mod division;
mod expire;
mod held;
mod hot;
mod laid;
mod layout;
mod lock;
mod mutant;
mod page;
mod passed;
mod placement;
mod read;
mod stream;
mod sweep;
mod tenants;
#[cfg(test)]
mod tests;

pub use commit::{Intent, Seen};
pub use division::Division;
pub use expire::{Overdue, Place};
pub use mutant::Mutant;
pub use page::other_segment;
pub use passed::{read_asked, read_reply, write_asked, write_reply};
pub use placement::{
    Block, Close, Directory, Home, Leaver, Move, Placement, Short, TENANTS_MAX, Zones, is_in_segment,
};
pub(crate) use placement::{defined, elsewhere};
pub use read::{Described, Get, Got, HotKey, HotKeys, KeysAsked, Page, Paged, Read, ReadReply, Row};
pub use stream::{Changed, KEPT, Position, Record, Records, StreamDescribed, StreamId};
pub use tenants::{Next, Part, Standing, Stands, TenantSeen, next};

use crate::kv::source::Source;
use bytes::Bytes;
use catalog::{Catalog, Table};
use held::Held;
use layout::{Rows, damaged, row, varint};
use quorate_base::Index;
use quorate_protocol::commit::{self as rules, Mutant as Planted};
use quorate_storage::state::{State, StateResult};
use quorate_wire::codec::Reader;
use quorate_wire::table::Definition;
#[cfg(doc)]
use quorate_wire::table::What;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use stream::{Streams, stored_bytes};
use tenants::Standings;

/// The machine. There is one writer, which hands in the store that it owns.
///
/// Invariants: `catalog` agrees with the rows `D` and, for tables that are not in `dirty`, `F`, which each table has; no table in it has a row `G`;
/// `next_table` is above the number of every table that ever was; `streams` agrees with the rows `S` and `H` and, for feeds
/// that are not in `dirty_streams`, `U`; `cut` with the rows `L`, `N` and `T`.
pub struct Tables {
    rows: Rows,
    epoch: u64,
    next_table: u32,
    catalog: Catalog,
    /// Tables whose figures are not written yet.
    dirty: BTreeSet<String>,
    streams: Streams,
    /// Change feeds whose figures are not written yet.
    dirty_streams: BTreeSet<StreamId>,
    /// How many records the entry under way has left.
    recorded: u32,
    /// Bytes of each table with its indexes, by its number and 0, and of each change feed, by its table's number and its
    /// label, as of the last writing of the figures; and of all.
    sizes: BTreeMap<(u32, u64), u64>,
    bytes: u64,
    /// What is to be swept away.
    garbage: Vec<Bytes>,
    /// Where in the last of it the sweep goes on: of what, in which of its ranges, behind which row. Only here: who begins anew finds
    /// nothing for a while.
    swept: Option<(Bytes, usize, Bytes)>,
    /// No token in the store ends before this: nobody looks for those that are over sooner.
    tokens_end_from: u64,
    /// What transactions over several shards hold, and what is known of them.
    held: Held,
    /// The same as the last cut wrote it.
    cut: Held,
    /// A planted bug in those.
    planted_in_transactions: Option<Planted>,
    /// A planted bug, and what it remembers.
    mutant: Option<Mutant>,
    memory: mutant::Memory,
    /// Change feeds that may have records to be swept away.
    trimming: Vec<StreamId>,
    /// Behind which record the sweep of the last of them goes on; as above.
    trimmed: Option<(StreamId, Bytes)>,
    /// In shard 1: the shards of the tables that have any of their own.
    placement: Arc<Placement>,
    /// In such a shard: of which place in shard 1's log its table's definition is.
    adopted: Index,
    /// In such a shard: its tenants that move or have moved.
    tenants: Standings,
    /// In shard 1: how many lives of gateways have begun.
    lives: u64,
}

/// What is readable of the tables at one moment, beside the store's view.
#[derive(Clone)]
pub struct TablesView {
    rows: Rows,
    catalog: Catalog,
    streams: Streams,
    bytes: u64,
    epoch: u64,
    placement: Arc<Placement>,
    adopted: Index,
    tenants: Standings,
    /// What transactions over several shards hold, and what is known of them.
    held: Held,
    /// Rows of figures that are older in the store.
    unsettled: Vec<(Bytes, Bytes)>,
}

/// The figures of so many tables at most are not in the store: with more of them, to write them costs less than to give them to each view.
const UNSETTLED: usize = 4;

impl Tables {
    /// The machine as the store below `prefix` has it, or an empty one.
    pub(crate) fn open(prefix: &[u8], source: &dyn Source) -> StateResult<Self> {
        let rows = Rows::new(Bytes::copy_from_slice(prefix));
        let mut tables = Self {
            rows,
            epoch: quorate_wire::table::EPOCH,
            next_table: 1,
            catalog: Catalog::default(),
            dirty: BTreeSet::new(),
            streams: Streams::default(),
            dirty_streams: BTreeSet::new(),
            recorded: 0,
            sizes: BTreeMap::new(),
            bytes: 0,
            garbage: Vec::new(),
            swept: None,
            tokens_end_from: 0,
            held: Held::default(),
            cut: Held::default(),
            planted_in_transactions: None,
            mutant: None,
            memory: mutant::Memory::default(),
            trimming: Vec::new(),
            trimmed: None,
            placement: Arc::default(),
            adopted: Index(0),
            tenants: Standings::default(),
            lives: 0,
        };
        let mut next_shard = placement::FIRST;
        if let Some(stored) = source.get(&tables.rows.kind(row::META))? {
            let mut input = Reader::new(stored);
            let mut read = || -> quorate_wire::codec::Read<[u64; 4]> {
                let (epoch, next) = (input.varint()?, input.varint()?);
                // Of a release that knew one shard it ends here.
                let shard = if input.remaining() > 0 { input.varint()? } else { next_shard.into() };
                let lives = if input.remaining() > 0 { input.varint()? } else { 0 };
                input.end()?;
                Ok([epoch, next, shard, lives])
            };
            let bad = || damaged("the record of epoch and numbers");
            let [epoch, next, shard, lives] = read().map_err(|_| bad())?;
            (tables.epoch, tables.lives) = (epoch, lives);
            next_shard = u32::try_from(shard).map_err(|_| bad())?;
            tables.next_table = u32::try_from(next).map_err(|_| damaged("the next table's number"))?;
        }
        tables.load_tables(source)?;
        tables.load_placement(source, next_shard)?;
        tables.tenants = tables.load_tenants(source)?;
        tables.garbage = tables.load_garbage(source)?;
        tables.load_streams(source)?;
        tables.held = Held::load(&tables.rows, source)?;
        tables.cut = tables.held.clone();
        Ok(tables)
    }

    fn load_tables(&mut self, source: &dyn Source) -> StateResult<()> {
        let (from, to) = (self.rows.kind(row::DEFINITION), self.rows.kind(row::DEFINITION + 1));
        for pair in source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
            let (_, stored) = pair?;
            let definition = Definition::decode(stored).map_err(|_| damaged("a table's definition"))?;
            let figures = source.get(&self.rows.numbered(row::FIGURES, definition.id, b""))?;
            let table = Table::load(definition, figures)?;
            self.resize((table.definition.id, 0), table.stored_bytes());
            self.catalog.insert(Arc::new(table));
        }
        Ok(())
    }

    fn load_streams(&mut self, source: &dyn Source) -> StateResult<()> {
        self.streams = Streams::load(&self.rows, source)?;
        let figures = |(id, stream): (StreamId, &stream::Stream)| (id, stream.counted.read());
        let figures: Vec<_> = self.streams.iter().map(figures).collect();
        for (id, (records, bytes)) in figures {
            self.resize((id.table, id.label), stored_bytes(records, bytes));
            self.trimming.push(id);
        }
        Ok(())
    }

    fn load_garbage(&self, source: &dyn Source) -> StateResult<Vec<Bytes>> {
        let (from, to) = (self.rows.kind(row::GARBAGE), self.rows.kind(row::GARBAGE + 1));
        let scan = source.scan((Bound::Included(&from), Bound::Excluded(&to)));
        scan.map(|pair| self.rows.rest(&pair?.0)).collect()
    }

    /// What is readable now, together with a view of the store.
    pub(crate) fn view(&self) -> TablesView {
        TablesView {
            rows: self.rows.clone(),
            catalog: self.catalog.clone(),
            streams: self.streams.clone(),
            bytes: self.bytes,
            epoch: self.epoch,
            placement: self.placement.clone(),
            adopted: self.adopted,
            tenants: self.tenants.clone(),
            held: self.told_of_held(),
            unsettled: self.unwritten().map(|table| self.figures_row(table)).collect(),
        }
    }

    /// What views and cuts have of what transactions hold.
    fn told_of_held(&self) -> Held {
        let mut held = self.held.clone();
        if rules::mutant(self.planted_in_transactions, Planted::LocksNotInSnapshot) {
            held.forget_locks();
        }
        held
    }

    /// Tables whose figures are older in the store.
    fn unwritten(&self) -> impl Iterator<Item = &Table> {
        self.dirty.iter().filter_map(|name| self.catalog.get(name)).map(|table| &**table)
    }

    fn figures_row(&self, table: &Table) -> (Bytes, Bytes) {
        let key = self.rows.numbered(row::FIGURES, table.definition.id, b"");
        (key.into(), table.encode_figures().into())
    }

    /// Sums up what is counted in memory alone, so that a view taken now has it. To be called behind each batch of entries: it writes as
    /// little as it may, since a batch of a shard among many is a single entry, and one more row would double what that costs.
    pub(crate) fn settle(&mut self, state: &mut dyn State) {
        let sizes: Vec<_> =
            self.unwritten().map(|table| (table.definition.id, table.stored_bytes())).collect();
        for (table, bytes) in sizes {
            self.resize((table, 0), bytes);
        }
        if self.dirty.len() > UNSETTLED {
            self.write_figures(state);
        }
        self.settle_streams(state);
    }

    /// Writes all that is counted in memory alone. To be called before a cut.
    pub(crate) fn save(&mut self, state: &mut dyn State) {
        self.settle(state);
        self.write_figures(state);
        let held = self.told_of_held();
        held.write(&self.cut, &self.rows, state);
        self.cut = held;
    }

    fn write_figures(&mut self, state: &mut dyn State) {
        let rows: Vec<_> = self.unwritten().map(|table| self.figures_row(table)).collect();
        for (key, value) in rows {
            state.put(&key, &value);
        }
        self.dirty.clear();
    }

    fn resize(&mut self, of: (u32, u64), bytes: u64) {
        let before = if bytes == 0 { self.sizes.remove(&of) } else { self.sizes.insert(of, bytes) };
        self.bytes = (self.bytes + bytes).saturating_sub(before.unwrap_or(0));
    }

    fn put_meta(&self, state: &mut dyn State) {
        let mut value = Vec::new();
        varint(&mut value, self.epoch);
        varint(&mut value, u64::from(self.next_table));
        if self.placement.next() > placement::FIRST || self.lives > 0 {
            varint(&mut value, u64::from(self.placement.next()));
        }
        if self.lives > 0 {
            varint(&mut value, self.lives);
        }
        state.put(&self.rows.kind(row::META), &value);
    }

    /// Puts a table in force, in the store and here.
    fn put_table(&mut self, state: &mut dyn State, table: Table) {
        state.put(&self.rows.definition(&table.definition.name), &table.definition.encode());
        let (key, value) = self.figures_row(&table);
        state.put(&key, &value);
        self.dirty.insert(table.definition.name.clone());
        self.catalog.insert(Arc::new(table));
    }
}

impl TablesView {
    /// Bytes of all tables with their indexes and change feeds, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What stands under a key of the store, where that is newer than what the store has.
    pub(crate) fn unsettled(&self, key: &[u8]) -> Option<&Bytes> {
        self.unsettled.iter().find(|(at, _)| at == key).map(|(_, value)| value)
    }

    /// Rows that the store does not have, or has as they were ([`TablesView::is_unstored`]), in their order.
    pub(crate) fn unstored(&self) -> impl Iterator<Item = (Bytes, Bytes)> + '_ {
        self.held.rows(&self.rows)
    }

    /// Whether a key is that of such a row.
    pub(crate) fn is_unstored(&self, key: &[u8]) -> bool {
        held::is_row(&self.rows, key)
    }

    /// The first index that is being filled: its table's number, its own, and how far it is.
    pub fn filling(&self) -> Option<(u32, u32, Bytes)> {
        self.catalog.filling()
    }
}
