//! The tables that there are, with what follows from their definitions: schemas, and how much is in them.

use super::division::{Division, SLOT, hashed, policy};
use super::hot::{Counts, Hot};
use super::layout::{damaged, varint};
use super::read::{HotKey, HotKeys};
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_item::{Error, Item, Key, KeyAttribute, KeySchema, KeyType, Path};
use quorate_storage::state::StateResult;
use quorate_wire::codec::Reader;
use quorate_wire::table::{Definition, Figures, Index, IndexState, KeyNames, Projected, Scalar};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// All tables, by name. Cheap to clone; a change of one copies the list of them.
#[derive(Clone, Default)]
pub(super) struct Catalog {
    tables: Arc<BTreeMap<String, Arc<Table>>>,
    /// Those that have an index to be filled.
    filling: BTreeSet<String>,
    /// Those that are being deleted.
    closing: BTreeSet<String>,
    /// Those whose items may end.
    expiring: Arc<BTreeMap<String, Arc<Table>>>,
    /// Those whose plain reads are bounded in their staleness.
    bounded: BTreeSet<String>,
}

impl Catalog {
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.get(name)
    }

    pub(super) fn insert(&mut self, table: Arc<Table>) {
        if table.filling().is_some() {
            self.filling.insert(table.definition.name.clone());
        } else {
            self.filling.remove(&table.definition.name);
        }
        if table.staleness.is_some() {
            self.bounded.insert(table.definition.name.clone());
        } else {
            self.bounded.remove(&table.definition.name);
        }
        if table.definition.closing {
            self.closing.insert(table.definition.name.clone());
        }
        if table.definition.expires.is_some() {
            Arc::make_mut(&mut self.expiring).insert(table.definition.name.clone(), table.clone());
        } else if self.expiring.contains_key(&table.definition.name) {
            Arc::make_mut(&mut self.expiring).remove(&table.definition.name);
        }
        Arc::make_mut(&mut self.tables).insert(table.definition.name.clone(), table);
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<Table>> {
        self.filling.remove(name);
        self.bounded.remove(name);
        self.closing.remove(name);
        if self.expiring.contains_key(name) {
            Arc::make_mut(&mut self.expiring).remove(name);
        }
        Arc::make_mut(&mut self.tables).remove(name)
    }

    /// The first index that is to be filled: its table's number, its own, and how far it is.
    pub(super) fn filling(&self) -> Option<(u32, u32, Bytes)> {
        self.filling.first().and_then(|name| self.get(name)?.filling())
    }

    /// Whether any table's plain reads are bounded in their staleness.
    pub(super) fn is_any_bounded(&self) -> bool {
        !self.bounded.is_empty()
    }

    /// Those that are being deleted.
    pub(super) fn closing(&self) -> &BTreeSet<String> {
        &self.closing
    }

    /// Whether all tables that there are are being deleted.
    pub(super) fn is_closed(&self) -> bool {
        !self.closing.is_empty() && self.closing.len() == self.len()
    }

    pub(super) fn len(&self) -> usize {
        self.tables.len()
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// Those whose items may end.
    pub(super) fn expiring(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.expiring.values()
    }

    /// Names behind `after`, so many at most.
    pub(super) fn names(&self, after: Option<&str>, limit: usize) -> Vec<String> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.tables.range::<str, _>((from, Unbounded)).take(limit).map(|(name, _)| name.clone()).collect()
    }
}

/// How much there is of something. Only the machine counts; views look at the same numbers, which are no part of what a
/// view promises: they may be newer than it is.
#[derive(Debug, Default)]
pub(super) struct Counted {
    items: AtomicU64,
    bytes: AtomicU64,
}

impl Counted {
    pub(super) fn of(items: u64, bytes: u64) -> Self {
        Self { items: items.into(), bytes: bytes.into() }
    }

    pub(super) fn read(&self) -> (u64, u64) {
        (self.items.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Something of the size before has become something of the size behind; `None` is nothing.
    pub(super) fn changed(&self, before: Option<usize>, behind: Option<usize>) {
        let (items, bytes) = self.read();
        let items = items.wrapping_add(u64::from(behind.is_some())).wrapping_sub(u64::from(before.is_some()));
        let bytes = bytes.wrapping_add(behind.unwrap_or(0) as u64).wrapping_sub(before.unwrap_or(0) as u64);
        self.items.store(items, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// One table.
pub(super) struct Table {
    pub(super) definition: Definition,
    /// Its keys.
    pub(super) schema: KeySchema,
    /// How they are divided.
    pub(super) division: Division,
    /// How old the answer of a plain read may be, if its policy says so.
    pub(super) staleness: Option<Duration>,
    /// Its indexes, local ones first.
    pub(super) indexes: Vec<IndexTable>,
    pub(super) counted: Counted,
    /// What of it is read and written most.
    pub(super) hot: Arc<Hot>,
}

/// One index of it.
pub(super) struct IndexTable {
    pub(super) index: Index,
    pub(super) global: bool,
    /// Its keys.
    pub(super) schema: KeySchema,
    pub(super) counted: Counted,
}

impl Table {
    /// Refuses paths of a read that lead into a key: it has no parts.
    pub(super) fn check_paths<'p>(
        &self,
        paths: &(impl Iterator<Item = &'p Path> + Clone),
    ) -> Result<(), Error> {
        self.schema.check_paths(paths.clone())?;
        self.indexes.iter().try_for_each(|index| index.schema.check_index_paths(paths.clone()))
    }

    /// With nothing in it; `None` if a key has an attribute without a type, or not as many as it may have.
    pub(super) fn new(definition: Definition) -> Option<Self> {
        Self::with(definition, &Figures::default())
    }

    /// The same content under another definition: indexes are known by their numbers.
    pub(super) fn changed(&self, definition: Definition) -> Option<Self> {
        Some(Self { hot: self.hot.clone(), ..Self::with(definition, &self.figures())? })
    }

    pub(super) fn with(definition: Definition, figures: &Figures) -> Option<Self> {
        let schema = schema(&definition, &definition.keys, 1)?;
        let index = |global: bool| {
            let definition = &definition;
            move |index: &Index| {
                let of = figures.indexes.iter().find(|(id, ..)| *id == index.id);
                let counted =
                    of.map_or_else(Counted::default, |(_, items, bytes)| Counted::of(*items, *bytes));
                let schema = self::schema(definition, &index.keys, if global { 4 } else { 1 })?;
                Some(IndexTable { index: index.clone(), global, schema, counted })
            }
        };
        let locals = definition.locals.iter().map(index(false));
        let indexes = locals.chain(definition.globals.iter().map(index(true))).collect::<Option<_>>()?;
        let counted = Counted::of(figures.items, figures.bytes);
        let staleness = policy(&definition).and_then(|policy| policy.staleness);
        // It was looked at when the table was made.
        let division = Division::of(&definition, &schema).unwrap_or_default();
        Some(Self { definition, schema, division, staleness, indexes, counted, hot: Arc::default() })
    }

    /// The bytes of an item's key behind its table's number: slot, partition key, sort key.
    pub(super) fn at(&self, key: &Key) -> Vec<u8> {
        [&self.division.slot_of(&key.partition)[..], &key.partition, &key.sort].concat()
    }

    /// As stored, with the stored figures.
    pub(super) fn load(definition: Definition, figures: Option<Bytes>) -> StateResult<Self> {
        let figures = figures.map_or_else(|| Ok(Figures::default()), decode_figures)?;
        Self::with(definition, &figures).ok_or_else(|| damaged("a table's definition"))
    }

    /// How much is in it.
    pub(super) fn figures(&self) -> Figures {
        let (items, bytes) = self.counted.read();
        let index = |index: &IndexTable| {
            let (items, bytes) = index.counted.read();
            (index.index.id, items, bytes)
        };
        Figures { items, bytes, indexes: self.indexes.iter().map(index).collect() }
    }

    /// Bytes in the store, about: what each row has beside its item is small.
    pub(super) fn stored_bytes(&self) -> u64 {
        const ROW: u64 = 48;
        let counted = self.indexes.iter().map(|index| &index.counted).chain([&self.counted]);
        counted.map(Counted::read).map(|(items, bytes)| bytes + ROW * items).sum()
    }

    pub(super) fn encode_figures(&self) -> Vec<u8> {
        let Figures { items, bytes, indexes } = self.figures();
        let mut out = Vec::new();
        for n in [items, bytes, indexes.len() as u64] {
            varint(&mut out, n);
        }
        for (id, items, bytes) in indexes {
            for n in [u64::from(id), items, bytes] {
                varint(&mut out, n);
            }
        }
        out
    }

    pub(super) fn index(&self, name: &str) -> Option<&IndexTable> {
        self.indexes.iter().find(|index| index.index.name == name)
    }

    pub(super) fn filling(&self) -> Option<(u32, u32, Bytes)> {
        self.indexes.iter().find_map(|index| match &index.index.state {
            IndexState::Filling(upto) => Some((self.definition.id, index.index.id, upto.clone())),
            IndexState::Active => None,
        })
    }
}

impl IndexTable {
    /// Whether an item with this key is looked after: an index that is being filled knows of those that it has come to.
    pub(super) fn covers(&self, key: &[u8]) -> bool {
        match &self.index.state {
            IndexState::Active => true,
            IndexState::Filling(upto) => key <= &upto[..],
        }
    }

    /// What it holds of an item of `table`.
    pub(super) fn projected(&self, table: &KeySchema, item: &Item) -> Item {
        let names = match &self.index.projected {
            Projected::All => return item.clone(),
            Projected::KeysOnly => &[][..],
            Projected::Include(names) => names,
        };
        let keys = table.attributes().chain(self.schema.attributes()).map(|attribute| &attribute.name);
        let wanted: BTreeSet<&String> = keys.chain(names).collect();
        let attributes = item.0.iter().filter(|(name, _)| wanted.contains(name));
        Item(attributes.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Whether it holds an attribute of every item that has it.
    pub(super) fn holds(&self, table: &KeySchema, name: &str) -> bool {
        let key = |schema: &KeySchema| schema.attributes().any(|attribute| attribute.name == name);
        match &self.index.projected {
            Projected::All => true,
            Projected::KeysOnly => key(table) || key(&self.schema),
            Projected::Include(names) => names.iter().any(|n| n == name) || key(table) || key(&self.schema),
        }
    }
}

impl Table {
    /// The key of an item as JSON, as DynamoDB writes it, by its bytes as [`Table::at`] has them; `None` if these are none.
    pub(super) fn key_in_words(&self, at: &[u8]) -> Option<String> {
        in_words(&self.schema.values_of(at.get(SLOT..)?)?)
    }

    /// What is hot in it, in words.
    pub(super) fn hot_keys(&self) -> HotKeys {
        let Counts { reads, writes, keys } = self.hot.counts();
        let partition = KeySchema { partition: self.schema.partition.clone(), sort: Vec::new() };
        let words = |at: &[u8]| {
            let of_partition = || in_words(&partition.values_of(at.get(SLOT..)?)?);
            self.key_in_words(at).or_else(of_partition)
        };
        let told =
            |(at, reads, writes): (Vec<u8>, u64, u64)| Some(HotKey { key: words(&at)?, reads, writes });
        HotKeys { reads, writes, keys: keys.into_iter().filter_map(told).collect() }
    }
}

fn in_words(key: &Item) -> Option<String> {
    let mut text = Vec::new();
    key.write_json(&mut text);
    String::from_utf8(text).ok()
}

/// The bytes of a row of an index behind its number: slot, keys of the index, key of the item without its slot.
pub(super) fn index_bytes(index: &Key, item: &Key) -> Vec<u8> {
    [&hashed(&index.partition)[..], &index.partition, &index.sort, &item.partition, &item.sort].concat()
}

/// The keys of a table or of an index; `None` if they have an attribute without a type, or too many.
pub(super) fn schema(definition: &Definition, names: &KeyNames, most: usize) -> Option<KeySchema> {
    let attribute = |name: &String| {
        let kind = match definition.scalar(name)? {
            Scalar::S => KeyType::S,
            Scalar::N => KeyType::N,
            Scalar::B => KeyType::B,
        };
        Some(KeyAttribute { name: name.clone(), kind })
    };
    if names.hash.is_empty() || names.hash.len() > most || names.range.len() > most {
        return None;
    }
    let partition = names.hash.iter().map(attribute).collect::<Option<_>>()?;
    let sort = names.range.iter().map(attribute).collect::<Option<_>>()?;
    Some(KeySchema { partition, sort })
}

fn decode_figures(stored: Bytes) -> StateResult<Figures> {
    let mut input = Reader::new(stored);
    let mut read = || -> quorate_wire::codec::Read<Figures> {
        let (items, bytes, count) = (input.varint()?, input.varint()?, input.varint()?);
        let mut indexes = Vec::new();
        for _ in 0..count {
            let id = u32::try_from(input.varint()?).map_err(|_| quorate_wire::codec::Malformed)?;
            indexes.push((id, input.varint()?, input.varint()?));
        }
        input.end()?;
        Ok(Figures { items, bytes, indexes })
    };
    read().map_err(|_| damaged("a table's figures"))
}
