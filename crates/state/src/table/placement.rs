//! Where tables lie that have shards of their own: the part of the replicated state by which all nodes know what shards there are.
//!
//! Definitions of tables are here in shard 1, all of them: it is the meta group. A table that is made with the tag
//! [`SHARDS_TAG`] and a number above one, or with ranges ([`SPLITS_TAG`]), gets as many shards, whose numbers follow each other and are
//! never given again; its items lie there, each in the one that its [`Division`] says. Who makes a table makes its shards by the same
//! entry. Every node makes the groups that it reads of here and is to have a replica of, and lets go of the others. On which nodes a
//! shard's replicas are, and where they move, is its [`home`](Home). Which nodes are to have none any more, and in which
//! zones the nodes are, stands beside that, by entries of shard 1 too ([`What::Leave`], [`What::Zone`]).
//!
//! The machine of such a shard holds a copy of the table's definition, which the leader of the shard gives it ([`What::Adopt`]), by the
//! place in shard 1's log at which it last changed: an older copy never takes the place of a newer one. So a change of a table is
//! in force in its shards a moment after it is answered. A request names the shard and its epoch; shard 1 itself refuses operations on
//! items that are not in it, as those of a sender whose map is old.
//!
//! # Left out
//!
//! Shards that split or merge: a block is what it was made as.

mod directory;
mod home;
mod leaving;
mod zones;

pub use directory::{Directory, Move, TENANTS_MAX, is_in_segment};
pub use home::Home;
pub use leaving::Leaver;
pub use zones::{Close, Short, Zones};

use super::Tables;
use super::catalog::{Table, schema};
use super::division::{Division, share};
use super::layout::{damaged, hash32, row, varint};
use super::read::Read;
use crate::digest::Digest;
use crate::kv::source::Source;
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Index, NodeId, ShardId};
use quorate_item::{Item, Key, KeySchema};
use quorate_protocol::raft::Membership;
use quorate_storage::state::{State, StateResult};
use quorate_wire::codec::Reader;
#[cfg(doc)]
use quorate_wire::table::What;
use quorate_wire::table::{
    Definition, EPOCH, IndexState, Refusal, Reply, SHARDS_MAX, SHARDS_TAG, SPLITS_TAG,
};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// The first number for a shard of a table: shard 1 is the key-value space, and the meta group.
pub(super) const FIRST: u32 = 2;
/// So many shards there may be in all.
const ALL_MAX: u32 = 20_000;
/// Of releases whose shards were on all nodes; with how many copies there are to be; and with the voters' zones, where two have one.
const EVERYWHERE: u8 = 1;
const FORMAT: u8 = 2;
const ZONED: u8 = 3;

/// The shards of one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Block {
    /// The first shard's number; the others follow.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// The table's number.
    pub table: u32,
    /// Its name.
    pub name: String,
    /// The shards' epoch: requests of another one are refused.
    pub epoch: u64,
    /// Where in the log of shard 1 they were made.
    pub made: Index,
    /// Where in the log of shard 1 the table's definition changed last.
    pub version: Index,
    /// The configuration of shard 1 when they were made, encoded: their groups begin with its voters, or with some of them.
    pub founders: Bytes,
    /// How many replicas each shard is to have, where there are as many nodes.
    pub copies: u32,
    /// The voters of `founders`.
    pub voters: Vec<NodeId>,
    /// Numbers of the zones in which these were; empty where no two were in one.
    pub zones: Vec<u32>,
    /// On which of them each shard begins, where they have zones.
    spread: Vec<Vec<NodeId>>,
    /// The table's keys.
    pub schema: KeySchema,
    /// How they are divided.
    pub division: Division,
    /// Which tenants lie where, of one that is divided by directory.
    pub directory: Arc<Directory>,
}

impl Block {
    /// Its shards, in the order of what lies in them.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (self.first..self.first + self.count).map(ShardId)
    }

    /// The shard in which an item lies; `None` if the directory does not have its tenant.
    pub fn shard_of(&self, key: &Key) -> Option<ShardId> {
        let lies = self.division.shard_of(key, self.count);
        let lies = lies.or_else(|| self.directory.tenants().get(&key.partition[..]).copied())?;
        Some(self.shard_at(lies))
    }

    /// The partition key with which a shard begins, where they are divided by range and it is not the first.
    pub fn begin(&self, shard: ShardId) -> Option<Item> {
        let at = usize::try_from(shard.get().checked_sub(self.first)?).ok()?;
        let partition = KeySchema { partition: self.schema.partition.clone(), sort: Vec::new() };
        partition.values_of(self.division.begin(at)?)
    }

    /// The shard in which the row of a transaction's token lies.
    pub fn shard_of_token(&self, token: &[u8]) -> ShardId {
        ShardId(self.first + share(hash32(token), self.count))
    }

    fn has(&self, shard: ShardId) -> bool {
        (self.first..self.first + self.count).contains(&shard.get())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![if self.zones.is_empty() { FORMAT } else { ZONED }];
        for n in [
            u64::from(self.count),
            u64::from(self.table),
            self.epoch,
            self.made.get(),
            self.version.get(),
            self.founders.len() as u64,
        ] {
            varint(&mut out, n);
        }
        out.extend_from_slice(&self.founders);
        varint(&mut out, self.name.len() as u64);
        out.extend_from_slice(self.name.as_bytes());
        varint(&mut out, self.copies.into());
        self.zones.iter().for_each(|zone| varint(&mut out, u64::from(*zone)));
        out
    }
}

/// The shards of all tables that have any of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement {
    next: u32,
    blocks: BTreeMap<u32, Arc<Block>>,
    names: BTreeMap<String, u32>,
    /// Of the shards that were ever moved.
    homes: BTreeMap<u32, Arc<Home>>,
    /// Nodes that are to have no replicas any more, and since which place in the log.
    leaving: BTreeMap<NodeId, Index>,
    zones: Zones,
}

impl Default for Placement {
    fn default() -> Self {
        let (blocks, names, homes, leaving, zones) = Default::default();
        Self { next: FIRST, blocks, names, homes, leaving, zones }
    }
}

impl Placement {
    /// Whether no table has shards of its own.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The shards of a table, if it has any of its own.
    pub fn table(&self, name: &str) -> Option<&Arc<Block>> {
        self.blocks.get(self.names.get(name)?)
    }

    /// The number of the next shard.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// All blocks of shards.
    pub fn blocks(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.blocks.values()
    }

    /// The block of a shard.
    pub fn block_of(&self, shard: ShardId) -> Option<&Arc<Block>> {
        let (_, block) = self.blocks.range(..=shard.get()).next_back()?;
        Some(block).filter(|block| block.has(shard))
    }

    /// Whether a shard was there and is there no more.
    pub fn was_dropped(&self, shard: ShardId) -> bool {
        (FIRST..self.next).contains(&shard.get()) && self.block_of(shard).is_none()
    }

    fn insert(&mut self, block: Block) {
        self.names.insert(block.name.clone(), block.first);
        self.next = self.next.max(block.first + block.count);
        self.blocks.insert(block.first, Arc::new(block));
    }
}

/// The voters of an encoded configuration.
fn voters_of(founders: &Bytes) -> Vec<NodeId> {
    Membership::decode(founders).map(|founders| founders.voters.into_iter().collect()).unwrap_or_default()
}

/// A block as it is stored, beside its first shard's number.
struct Stored {
    count: u32,
    table: u32,
    numbers: [u64; 3],
    founders: Bytes,
    name: String,
    copies: u32,
    zones: Vec<u32>,
}

impl Stored {
    fn decode(stored: Bytes) -> StateResult<Self> {
        let mut input = Reader::new(stored);
        let mut read = || -> quorate_wire::codec::Read<_> {
            let format = input.u8()?;
            let (count, table) = (input.varint()?, input.varint()?);
            let numbers = [input.varint()?, input.varint()?, input.varint()?];
            let (founders, name) = (input.bytes()?, input.bytes()?);
            let copies = if format == EVERYWHERE { u64::from(u32::MAX) } else { input.varint()? };
            let zoned = if format == ZONED { voters_of(&founders).len() } else { 0 };
            let zones = (0..zoned).map(|_| input.varint()).collect::<Result<Vec<u64>, _>>()?;
            input.end()?;
            Ok((format, (count, table, copies), numbers, founders, name, zones))
        };
        let (format, (count, table, copies), numbers, founders, name, zones) = read().map_err(|_| bad())?;
        if ![EVERYWHERE, FORMAT, ZONED].contains(&format) {
            return Err(bad());
        }
        let small = |n: u64| u32::try_from(n).map_err(|_| bad());
        let zones = zones.into_iter().map(small).collect::<Result<_, _>>()?;
        let name = String::from_utf8(name.to_vec()).map_err(|_| bad())?;
        let (count, table, copies) = (small(count)?, small(table)?, small(copies)?);
        Ok(Self { count, table, numbers, founders, name, copies, zones })
    }
}

/// The name of the table of which a row of the machine's, by its key below the machine's prefix, says that its items lie in shards
/// of their own; `None` for rows that say something else.
pub(crate) fn elsewhere(key: &[u8], stored: &[u8]) -> StateResult<Option<String>> {
    match key.first() {
        Some(&row::PLACED) => Ok(Some(Stored::decode(Bytes::copy_from_slice(stored))?.name)),
        _ => Ok(None),
    }
}

/// The name of the table that such a row defines; `None` for rows that say something else.
pub(crate) fn defined(key: &[u8]) -> StateResult<Option<String>> {
    match key.split_first() {
        Some((&row::DEFINITION, name)) => Ok(Some(String::from_utf8(name.to_vec()).map_err(|_| bad())?)),
        _ => Ok(None),
    }
}

/// How a table asks to be divided by its tags, and into how many shards of its own; `None` for none.
fn asked(definition: &Definition) -> Result<(Option<u32>, Division), Refusal> {
    let invalid =
        |why: String| Refusal::Validation(format!("One or more parameter values were invalid: {why}"));
    let said = definition.tags.iter().find(|(key, _)| key == SHARDS_TAG);
    let said = said.map(|(_, value)| match value.parse::<u32>() {
        Ok(count) if (1..=SHARDS_MAX).contains(&count) => Ok(count),
        _ => Err(invalid(format!("the tag {SHARDS_TAG} must be a number from 1 to {SHARDS_MAX}"))),
    });
    let said = said.transpose()?;
    // A definition without keys is refused by who makes a table of it.
    let Some(schema) = schema(definition, &definition.keys, 1) else { return Ok((None, Division::Hash)) };
    let division = Division::of(definition, &schema).map_err(invalid)?;
    let count = match (division.shards(), said) {
        (Some(made), Some(said)) if u32::try_from(made) != Ok(said) => {
            return Err(invalid(format!(
                "the tag {SHARDS_TAG} says {said}, and {SPLITS_TAG} makes {made} shards: leave the former out"
            )));
        }
        // A tag has no room for as many as there may be.
        (Some(made), _) => u32::try_from(made).ok(),
        (None, said) => said,
    };
    if division == Division::Directory && count.is_none_or(|count| count < 2) {
        return Err(invalid(format!(
            "a table that is partitioned by directory has several shards: the tag {SHARDS_TAG} says how many"
        )));
    }
    Ok((count.filter(|count| *count > 1), division))
}

impl Tables {
    pub(crate) fn placement(&self) -> &Arc<Placement> {
        &self.placement
    }

    pub(super) fn load_placement(&mut self, source: &dyn Source, next: u32) -> StateResult<()> {
        let mut placement = Placement { next, ..Placement::default() };
        let (from, to) = (self.rows.kind(row::PLACED), self.rows.kind(row::PLACED + 1));
        for pair in source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
            let (key, stored) = pair?;
            placement.insert(self.decode_block(&self.rows.rest(&key)?, stored)?);
        }
        self.load_directories(source, &mut placement)?;
        let (from, to) = (self.rows.kind(row::HOME), self.rows.kind(row::HOME + 1));
        for pair in source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
            let (key, stored) = pair?;
            let (shard, home) = Self::load_home(&self.rows.rest(&key)?, stored)?;
            placement.homes.insert(shard, Arc::new(home));
        }
        placement.leaving = self.load_leaving(source)?;
        placement.zones = self.load_zones(source)?;
        self.placement = Arc::new(placement);
        let adopted = source.get(&self.rows.kind(row::ADOPTED))?;
        let adopted = adopted.map(|stored| Ok(u64::from_be_bytes(stored[..].try_into().map_err(|_| bad())?)));
        self.adopted = Index(adopted.transpose()?.unwrap_or(0));
        Ok(())
    }

    fn decode_block(&self, key: &[u8], stored: Bytes) -> StateResult<Block> {
        let first = u32::from_be_bytes(key.try_into().map_err(|_| bad())?);
        let Stored { count, table, numbers: [epoch, made, version], founders, name, copies, zones } =
            Stored::decode(stored)?;
        let table_of = self.catalog.get(&name).ok_or_else(bad)?;
        let (schema, division) = (table_of.schema.clone(), table_of.division.clone());
        if count == 0 || first.checked_add(count).is_none() {
            return Err(bad());
        }
        let (made, version, voters) = (Index(made), Index(version), voters_of(&founders));
        let spread = home::spread(&voters, &zones, copies, count);
        Ok(Block {
            first,
            count,
            table,
            name,
            epoch,
            made,
            version,
            founders,
            copies,
            voters,
            zones,
            spread,
            schema,
            division,
            directory: Arc::default(),
        })
    }

    /// Takes away all tables whose items lie in shards of their own, and what is known of nodes that leave and of zones.
    pub(crate) fn drop_elsewhere(&mut self, state: &mut dyn State, digest: &mut Digest) {
        for block in self.placement.clone().blocks() {
            self.take_away(state, (&block.name, block.table), digest);
        }
        for node in self.placement.clone().leaving.keys() {
            self.stay(state, *node, digest);
        }
        for (node, _) in self.placement.clone().zones.names() {
            self.forget_zone(state, node, digest);
        }
    }

    /// The number of shards of its own that a table that is to be made gets.
    pub(super) fn shards_for(&self, definition: &Definition) -> Result<Option<u32>, Refusal> {
        let (Some(count), _) = asked(definition)? else { return Ok(None) };
        let there: u32 = self.placement.blocks().map(|block| block.count).sum();
        if there + count > ALL_MAX || self.placement.next.checked_add(count).is_none() {
            let text =
                format!("Subscriber limit exceeded: there may be {ALL_MAX} shards, and there are {there}");
            return Err(Refusal::Limit(text));
        }
        Ok(Some(count))
    }

    pub(super) fn place(
        &mut self,
        state: &mut dyn State,
        (table, count): (&Table, u32),
        at: Index,
        founders: &Bytes,
        digest: &mut Digest,
    ) {
        let copies = home::copies(&table.definition.tags);
        let founders = self.placement.without_leaving(founders, copies);
        let voters = voters_of(&founders);
        let zones = self.placement.zones.numbered(&voters);
        let block = Block {
            first: self.placement.next,
            count,
            table: table.definition.id,
            name: table.definition.name.clone(),
            epoch: EPOCH,
            made: at,
            version: at,
            spread: home::spread(&voters, &zones, copies, count),
            voters,
            zones,
            founders,
            copies,
            schema: table.schema.clone(),
            division: table.division.clone(),
            directory: Arc::default(),
        };
        digest.number(PLACE);
        digest.bytes(&block.encode());
        self.put_block(state, block);
        self.put_meta(state);
    }

    fn put_block(&mut self, state: &mut dyn State, block: Block) {
        state.put(&self.rows.numbered(row::PLACED, block.first, b""), &block.encode());
        Arc::make_mut(&mut self.placement).insert(block);
    }

    /// Whether a change leaves it how a table is divided; its shards are to hear of it.
    pub(super) fn check_placed(before: &Definition, behind: &Definition) -> Result<(), Refusal> {
        let refused = |what: &str| {
            Err(Refusal::Validation(format!(
                "One or more parameter values were invalid: {what} of a table that is there cannot be changed"
            )))
        };
        let ((count, division), asked) = (asked(before)?, asked(behind)?);
        if asked.1 != division {
            return refused("the partitioning (its tags partition-by, split-at and preset)");
        }
        if asked.0 == count { Ok(()) } else { refused(&format!("the tag {SHARDS_TAG}")) }
    }

    /// The definition of a table has changed.
    pub(super) fn change_placed(&mut self, state: &mut dyn State, name: &str, at: Index) {
        if let Some(block) = self.placement.table(name) {
            let block = Block { version: at, ..(**block).clone() };
            self.put_block(state, block);
        }
    }

    /// A table is gone, and its shards with it, if it had any: and what they knew of its change feeds.
    pub(super) fn drop_placed(&mut self, state: &mut dyn State, (name, id): (&str, u32)) {
        let placement = Arc::make_mut(&mut self.placement);
        if let Some(first) = placement.names.remove(name) {
            let block = placement.blocks.remove(&first);
            state.delete(&self.rows.numbered(row::PLACED, first, b""));
            let directory = block.clone();
            for shard in block.iter().flat_map(|block| block.shards()) {
                if placement.homes.remove(&shard.get()).is_some() {
                    state.delete(&self.rows.numbered(row::HOME, shard.get(), b""));
                }
            }
            if let Some(block) = directory {
                self.drop_directory(state, &block);
            }
            self.forget_streams(state, id);
        }
    }

    /// Whether the items of a table lie elsewhere.
    pub(super) fn is_elsewhere(&self, name: &str) -> bool {
        !self.placement.is_empty() && self.placement.table(name).is_some()
    }

    /// Takes the definition of the table whose shard this is, as shard 1 had it at `version`. Its change feeds begin and end here
    /// by this entry, and an index that is new here is to be filled with the items that are here.
    pub(super) fn adopt(
        &mut self,
        state: &mut dyn State,
        (version, definition): (u64, &Definition),
        at: Index,
        digest: &mut Digest,
    ) -> Result<Reply, Refusal> {
        if Index(version) <= self.adopted {
            return Ok(Reply::Adopted);
        }
        let known = self.catalog.get(&definition.name).filter(|t| t.definition.id == definition.id).cloned();
        let before = known.as_ref().map(|table| &table.definition);
        let mut definition = definition.clone();
        let dropped = indexes_of_shard(before, &mut definition);
        let table = match &known {
            Some(table) => table.changed(definition),
            None => Table::new(definition),
        };
        let Some(table) = table else {
            return Err(Refusal::Validation("The definition of the table has a key without a type".into()));
        };
        self.adopted = Index(version);
        state.put(&self.rows.kind(row::ADOPTED), &version.to_be_bytes());
        self.next_table = self.next_table.max(table.definition.id.saturating_add(1));
        self.put_meta(state);
        for index in dropped {
            self.discard(state, [table.definition.id.to_be_bytes(), index.to_be_bytes()].concat());
        }
        self.follow_stream(state, (before, &table.definition), at);
        digest.number(ADOPT);
        digest.number(version);
        digest.bytes(&table.definition.encode());
        self.put_table(state, table);
        Ok(Reply::Adopted)
    }
}

impl super::TablesView {
    /// Where tables lie that have shards of their own.
    pub fn placement(&self) -> &Arc<Placement> {
        &self.placement
    }

    /// The epoch of the shard.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Of which place in shard 1's log the definition is that this shard has of its table; 0 for none.
    pub fn adopted(&self) -> Index {
        self.adopted
    }

    /// A table's definition.
    pub fn definition(&self, name: &str) -> Option<&Definition> {
        Some(&self.catalog.get(name)?.definition)
    }

    /// Whether any table here declares how old the answer of a plain read may be.
    pub fn is_any_bounded(&self) -> bool {
        self.catalog.is_any_bounded()
    }

    /// Whether all tables that this read names are here.
    pub fn knows(&self, read: &Read) -> bool {
        match read {
            Read::Get(gets) => gets.iter().all(|get| self.catalog.get(&get.table).is_some()),
            Read::Page(page) | Read::Rows(page) => self.catalog.get(&page.table).is_some(),
            Read::Tenant { table, .. } => self.catalog.get(table).is_some(),
            _ => true,
        }
    }

    /// How old the answer of this read may be by what its tables declare, the strictest of them. Only of items and of pages of them:
    /// in a global index it is not known what undecided transactions will change.
    pub fn staleness(&self, read: &Read) -> Option<Duration> {
        match read {
            Read::Get(gets) => {
                let mut tables: Vec<&str> = gets.iter().map(|get| get.table.as_str()).collect();
                tables.dedup();
                let bounds = tables.into_iter().map(|name| self.catalog.get(name)?.staleness);
                bounds.collect::<Option<Vec<_>>>()?.into_iter().min()
            }
            Read::Page(page) => {
                let table = self.catalog.get(&page.table)?;
                let global = |name: &String| table.index(name).is_some_and(|index| index.global);
                table.staleness.filter(|_| !page.index.as_ref().is_some_and(global))
            }
            _ => None,
        }
    }

    /// Items and bytes in all tables.
    pub fn figures(&self) -> (u64, u64) {
        let of = self.catalog.tables().map(|table| table.counted.read());
        of.fold((0, 0), |(items, bytes), (i, b)| (items + i, bytes + b))
    }
}

/// How far the global indexes are in a shard that takes a definition over, whatever shard 1 says of its own part, which has no
/// items. Those that are gone come back, by their numbers.
fn indexes_of_shard(before: Option<&Definition>, definition: &mut Definition) -> Vec<u32> {
    let Some(before) = before else {
        // Nothing is here yet.
        definition.globals.iter_mut().for_each(|index| index.state = IndexState::Active);
        return Vec::new();
    };
    for index in &mut definition.globals {
        let known = before.globals.iter().find(|known| known.id == index.id);
        index.state = known.map_or_else(|| IndexState::Filling(Bytes::new()), |known| known.state.clone());
    }
    let gone =
        |known: &&quorate_wire::table::Index| definition.globals.iter().all(|index| index.id != known.id);
    before.globals.iter().filter(gone).map(|index| index.id).collect()
}

fn bad() -> quorate_storage::state::StateError {
    damaged("where a table lies")
}

/// What the digest calls the effects.
const PLACE: u64 = 114;
const ADOPT: u64 = 115;
