//! Tables as they are defined, and how they change.

use super::capacity::{
    Capacity, CapacityChange, Throughput, read_capacity, read_capacity_change, read_numbers, read_throughput,
    write_capacity, write_capacity_change, write_numbers, write_throughput,
};
use super::codec::{list, option, read_pairs, small, text, write_option, write_pairs, write_texts};
use super::{BY_DIRECTORY, PARTITION_TAG, PRESET_TAG, SHARDS_TAG, SPLITS_TAG};
use crate::codec::{Malformed, Read, Reader, Write};
use bytes::{BufMut, Bytes, BytesMut};

/// The type of an attribute that is part of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Scalar {
    /// A string.
    S = 1,
    /// A number.
    N = 2,
    /// Bytes.
    B = 3,
}

impl Scalar {
    /// As DynamoDB writes it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::S),
            2 => Some(Self::N),
            3 => Some(Self::B),
            _ => None,
        }
    }
}

/// The attributes of a key: those that choose the partition, and those that sort within it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyNames {
    /// One for a table; an index may have up to four.
    pub hash: Vec<String>,
    /// None or one for a table; an index may have up to four.
    pub range: Vec<String>,
}

impl KeyNames {
    /// All of them, in order.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.hash.iter().chain(&self.range)
    }
}

/// Which attributes an index holds beside its keys and the table's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Projected {
    /// None.
    KeysOnly,
    /// These.
    Include(Vec<String>),
    /// All.
    All,
}

/// How far an index is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IndexState {
    /// It is filled from the table's items; those up to this key are in it.
    Filling(Bytes),
    /// It can be read.
    Active,
}

/// An index of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its number, which no other index of the table ever had.
    pub id: u32,
    /// Its keys.
    pub keys: KeyNames,
    /// What it holds.
    pub projected: Projected,
    /// Throughput of its own, for global ones.
    pub throughput: Throughput,
    /// What else it knows of its capacity.
    pub capacity: Capacity,
    /// How far it is.
    pub state: IndexState,
}

/// What a table's change feed tells of an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum StreamView {
    /// Its keys.
    KeysOnly = 1,
    /// The item behind the change.
    New = 2,
    /// The item before it.
    Old = 3,
    /// Both.
    Both = 4,
}

/// How a table is paid for, as it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Billing {
    /// By request.
    #[default]
    OnDemand,
    /// By capacity.
    Provisioned,
}

/// A table; by default one without a name that is paid for by request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Its number, which no other table ever had; the machine gives it.
    pub id: u32,
    /// When it was made.
    pub created: u64,
    /// The attributes that are parts of keys.
    pub attributes: Vec<(String, Scalar)>,
    /// Its keys.
    pub keys: KeyNames,
    /// Indexes that share its partition key.
    pub locals: Vec<Index>,
    /// Indexes of other keys.
    pub globals: Vec<Index>,
    /// The number that the next index gets.
    pub next_index: u32,
    /// How it is paid for.
    pub billing: Billing,
    /// Its throughput.
    pub throughput: Throughput,
    /// What else it knows of its capacity.
    pub capacity: Capacity,
    /// When it was last set to be paid for by request, if that was not when it was made.
    pub on_demand_since: Option<u64>,
    /// Tags.
    pub tags: Vec<(String, String)>,
    /// It must not be deleted.
    pub protected: bool,
    /// The attribute that says when an item ends.
    pub expires: Option<String>,
    /// Its change feed, while it has one.
    pub stream: Option<StreamView>,
    /// The label of its latest change feed, which may have ended; the machine gives it.
    pub latest_stream: Option<u64>,
    /// `STANDARD` or another class, as it was asked for.
    pub class: Option<String>,
    /// When its class was changed last.
    pub class_since: Option<u64>,
    /// It is being deleted: nothing is written in it any more but what transactions bring to their end.
    pub closing: bool,
}

impl Definition {
    /// The type of an attribute that is part of a key.
    pub fn scalar(&self, name: &str) -> Option<Scalar> {
        self.attributes.iter().find(|(attribute, _)| attribute == name).map(|(_, scalar)| *scalar)
    }

    /// The index of this name.
    pub fn index(&self, name: &str) -> Option<&Index> {
        self.locals.iter().chain(&self.globals).find(|index| index.name == name)
    }

    /// Whether its tags ask for shards of its own.
    pub fn asks_for_shards(&self) -> bool {
        self.tags.iter().any(|(key, _)| key == SHARDS_TAG || key == SPLITS_TAG)
    }

    /// Whether its tags may say how its keys are divided, which releases before version 13 of the log's entries pass over.
    pub(super) fn is_divided(&self) -> bool {
        let divides = |key: &str| [SPLITS_TAG, PARTITION_TAG, PRESET_TAG].contains(&key);
        self.tags.iter().any(|(key, _)| divides(key))
    }

    /// Whether its keys lie where a directory says, which releases before version 14 of the log's entries divide by hash. (No preset has one.)
    pub(super) fn has_directory(&self) -> bool {
        self.tags.iter().any(|(key, value)| key == PARTITION_TAG && value == BY_DIRECTORY)
    }

    /// Whether it knows of its capacity, or of when it was changed, what releases before version 10 of the log's entries do not.
    pub(super) fn knows_more(&self) -> bool {
        self.told() || self.globals.iter().any(|index| !index.capacity.is_empty())
    }

    /// The same of the table alone.
    fn told(&self) -> bool {
        let since = self.on_demand_since.or(self.class_since);
        !self.capacity.is_empty() || since.is_some() || self.closing
    }

    /// Encodes it.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(256);
        self.write(&mut out);
        out.freeze()
    }

    /// Reads what [`Definition::encode`] wrote.
    pub fn decode(bytes: Bytes) -> Read<Self> {
        let mut input = Reader::new(bytes);
        let definition = Self::read(&mut input)?;
        input.end()?;
        Ok(definition)
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        out.string(self.name.as_bytes());
        out.varint(u64::from(self.id));
        out.varint(self.created);
        out.varint(self.attributes.len() as u64);
        for (name, scalar) in &self.attributes {
            out.string(name.as_bytes());
            out.put_u8(*scalar as u8);
        }
        write_keys(out, &self.keys);
        for list in [&self.locals, &self.globals] {
            out.varint(list.len() as u64);
            for index in list {
                write_index(out, index);
            }
        }
        out.varint(u64::from(self.next_index));
        out.flag(self.billing == Billing::Provisioned);
        write_throughput(out, self.throughput);
        write_pairs(out, &self.tags);
        out.flag(self.protected);
        write_option(out, self.expires.as_deref());
        let mut view = self.stream.map_or(0, |view| view as u8);
        view |= if self.latest_stream.is_some() { LABELED } else { 0 };
        view |= if self.told() { TOLD } else { 0 };
        out.put_u8(view);
        if let Some(label) = self.latest_stream {
            out.varint(label);
        }
        write_option(out, self.class.as_deref());
        if self.told() {
            write_capacity(out, &self.capacity);
            write_numbers(out, &[self.on_demand_since, self.class_since, self.closing.then_some(1)]);
        }
    }

    pub(super) fn read(input: &mut Reader) -> Read<Self> {
        let (name, id, created) = (text(input)?, small(input)?, input.varint()?);
        let attributes = list(input, |input| {
            let name = text(input)?;
            Ok((name, Scalar::of(input.u8()?).ok_or(Malformed)?))
        })?;
        let keys = read_keys(input)?;
        let (locals, globals) = (list(input, read_index)?, list(input, read_index)?);
        let next_index = small(input)?;
        let billing = if input.flag()? { Billing::Provisioned } else { Billing::OnDemand };
        let (throughput, tags) = (read_throughput(input)?, read_pairs(input)?);
        let (protected, expires, view) = (input.flag()?, option(input)?, input.u8()?);
        let latest_stream = if view & LABELED == 0 { None } else { Some(input.varint()?) };
        let stream = stream_view(view & !LABELED & !TOLD)?;
        let class = option(input)?;
        let (capacity, [on_demand_since, class_since, closing]) = match view & TOLD {
            0 => Default::default(),
            _ => (read_capacity(input)?, read_numbers(input)?),
        };
        Ok(Self {
            name,
            id,
            created,
            attributes,
            keys,
            locals,
            globals,
            next_index,
            billing,
            throughput,
            capacity,
            on_demand_since,
            tags,
            protected,
            expires,
            stream,
            latest_stream,
            class,
            class_since,
            closing: closing.is_some(),
        })
    }
}

/// What becomes of a table's settings: what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// How it is paid for.
    pub billing: Option<Billing>,
    /// Its throughput.
    pub throughput: Option<Throughput>,
    /// What else there is of its capacity.
    pub capacity: CapacityChange,
    /// It must not be deleted.
    pub protected: Option<bool>,
    /// Its change feed; the inner `None` ends it.
    pub stream: Option<Option<StreamView>>,
    /// Its class.
    pub class: Option<String>,
    /// What becomes of its global indexes.
    pub indexes: Vec<IndexChange>,
    /// The attributes that new indexes name.
    pub attributes: Vec<(String, Scalar)>,
    /// The table remembers when this was. Entries of before version 10 do not ask for that, and the table must come out of them
    /// as it did then.
    pub dated: bool,
}

impl Settings {
    /// Whether releases before version 10 of the log's entries would not know all of it.
    pub(super) fn knows_more(&self) -> bool {
        let more = |change: &IndexChange| match change {
            IndexChange::Create(index) => !index.capacity.is_empty(),
            IndexChange::Update { throughput, capacity, .. } => throughput.is_none() || !capacity.is_empty(),
            IndexChange::Delete(_) => false,
        };
        self.dated || !self.capacity.is_empty() || self.indexes.iter().any(more)
    }
}

/// A change of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// `UpdateTable`.
    Settings(Box<Settings>),
    /// Tags that are set.
    Tag(Vec<(String, String)>),
    /// Tags that are taken away.
    Untag(Vec<String>),
    /// Which attribute says when an item ends: set, or taken away.
    Expiry {
        /// The attribute.
        attribute: String,
        /// It is set.
        on: bool,
    },
}

/// What becomes of a global index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum IndexChange {
    /// It is made, and filled.
    Create(Index),
    /// Its capacity changes: what is `None` stays.
    Update {
        /// Its name.
        name: String,
        /// Its throughput.
        throughput: Option<Throughput>,
        /// What else there is of its capacity.
        capacity: CapacityChange,
    },
    /// It is deleted.
    Delete(String),
}

fn write_keys(out: &mut BytesMut, keys: &KeyNames) {
    write_texts(out, &keys.hash);
    write_texts(out, &keys.range);
}

fn read_keys(input: &mut Reader) -> Read<KeyNames> {
    Ok(KeyNames { hash: list(input, text)?, range: list(input, text)? })
}

fn write_index(out: &mut BytesMut, index: &Index) {
    out.string(index.name.as_bytes());
    out.varint(u64::from(index.id));
    write_keys(out, &index.keys);
    match &index.projected {
        Projected::KeysOnly => out.put_u8(0),
        Projected::All => out.put_u8(1),
        Projected::Include(names) => {
            out.put_u8(2);
            write_texts(out, names);
        }
    }
    write_throughput(out, index.throughput);
    let told = if index.capacity.is_empty() { 0 } else { KNOWN };
    match &index.state {
        IndexState::Active => out.put_u8(told),
        IndexState::Filling(upto) => {
            out.put_u8(FILLING | told);
            out.string(upto);
        }
    }
    if told != 0 {
        write_capacity(out, &index.capacity);
    }
}

fn read_index(input: &mut Reader) -> Read<Index> {
    let (name, id, keys) = (text(input)?, small(input)?, read_keys(input)?);
    let projected = match input.u8()? {
        0 => Projected::KeysOnly,
        1 => Projected::All,
        2 => Projected::Include(list(input, text)?),
        _ => return Err(Malformed),
    };
    let throughput = read_throughput(input)?;
    let flags = input.u8()?;
    if flags & !(FILLING | KNOWN) != 0 {
        return Err(Malformed);
    }
    let state = if flags & FILLING != 0 { IndexState::Filling(input.bytes()?) } else { IndexState::Active };
    let capacity = if flags & KNOWN != 0 { read_capacity(input)? } else { Capacity::default() };
    Ok(Index { name, id, keys, projected, throughput, capacity, state })
}

/// An index is being filled.
const FILLING: u8 = 1;
/// It knows more of its capacity, which follows. What releases before version 10 wrote does not.
const KNOWN: u8 = 2;

/// Beside the view of a change feed: the label of the latest one follows. What releases wrote that knew no feeds has none.
const LABELED: u8 = 0x10;
/// The same byte: what the table was told of its capacity, and when, follows at the end. What releases before version 10 wrote has
/// none of it.
const TOLD: u8 = 0x20;

/// The view that a byte names; 0 is none.
pub(super) fn stream_view(byte: u8) -> Read<Option<StreamView>> {
    Ok(match byte {
        0 => None,
        1 => Some(StreamView::KeysOnly),
        2 => Some(StreamView::New),
        3 => Some(StreamView::Old),
        4 => Some(StreamView::Both),
        _ => return Err(Malformed),
    })
}

pub(super) fn write_change(out: &mut BytesMut, change: &Change) {
    match change {
        Change::Settings(settings) => write_settings(out, settings),
        Change::Tag(tags) => {
            out.put_u8(2);
            write_pairs(out, tags);
        }
        Change::Untag(keys) => {
            out.put_u8(3);
            write_texts(out, keys);
        }
        Change::Expiry { attribute, on } => {
            out.put_u8(4);
            out.string(attribute.as_bytes());
            out.flag(*on);
        }
    }
}

pub(super) fn read_change(input: &mut Reader) -> Read<Change> {
    Ok(match input.u8()? {
        1 => Change::Settings(Box::new(read_settings(input)?)),
        5 => {
            let (dated, capacity) = (input.flag()?, read_capacity_change(input)?);
            Change::Settings(Box::new(Settings { capacity, dated, ..read_settings(input)? }))
        }
        2 => Change::Tag(read_pairs(input)?),
        3 => Change::Untag(list(input, text)?),
        4 => Change::Expiry { attribute: text(input)?, on: input.flag()? },
        _ => return Err(Malformed),
    })
}

fn write_settings(out: &mut BytesMut, settings: &Settings) {
    if settings.knows_more() {
        out.put_u8(5);
        out.flag(settings.dated);
        write_capacity_change(out, &settings.capacity);
    } else {
        out.put_u8(1);
    }
    let Settings { billing, throughput, protected, stream, class, indexes, attributes, .. } = settings;
    out.put_u8(billing.map_or(0, |billing| if billing == Billing::Provisioned { 2 } else { 1 }));
    out.flag(throughput.is_some());
    if let Some(throughput) = throughput {
        write_throughput(out, *throughput);
    }
    out.put_u8(protected.map_or(2, u8::from));
    out.flag(stream.is_some());
    if let Some(view) = stream {
        out.put_u8(view.map_or(0, |view| view as u8));
    }
    write_option(out, class.as_deref());
    out.varint(indexes.len() as u64);
    for index in indexes {
        write_index_change(out, index);
    }
    out.varint(attributes.len() as u64);
    for (name, scalar) in attributes {
        out.string(name.as_bytes());
        out.put_u8(*scalar as u8);
    }
}

fn read_settings(input: &mut Reader) -> Read<Settings> {
    Ok(Settings {
        billing: match input.u8()? {
            0 => None,
            1 => Some(Billing::OnDemand),
            2 => Some(Billing::Provisioned),
            _ => return Err(Malformed),
        },
        throughput: if input.flag()? { Some(read_throughput(input)?) } else { None },
        protected: match input.u8()? {
            0 => Some(false),
            1 => Some(true),
            2 => None,
            _ => return Err(Malformed),
        },
        stream: if input.flag()? { Some(stream_view(input.u8()?)?) } else { None },
        class: option(input)?,
        indexes: list(input, read_index_change)?,
        attributes: list(input, |input| {
            let name = text(input)?;
            Ok((name, Scalar::of(input.u8()?).ok_or(Malformed)?))
        })?,
        ..Settings::default()
    })
}

fn write_index_change(out: &mut BytesMut, change: &IndexChange) {
    match change {
        IndexChange::Create(index) => {
            out.put_u8(1);
            write_index(out, index);
        }
        IndexChange::Update { name, throughput: Some(throughput), capacity } if capacity.is_empty() => {
            out.put_u8(2);
            out.string(name.as_bytes());
            write_throughput(out, *throughput);
        }
        IndexChange::Update { name, throughput, capacity } => {
            out.put_u8(4);
            out.string(name.as_bytes());
            write_numbers(out, &[throughput.map(|of| of.read), throughput.map(|of| of.write)]);
            write_capacity_change(out, capacity);
        }
        IndexChange::Delete(name) => {
            out.put_u8(3);
            out.string(name.as_bytes());
        }
    }
}

fn read_index_change(input: &mut Reader) -> Read<IndexChange> {
    Ok(match input.u8()? {
        1 => IndexChange::Create(read_index(input)?),
        2 => IndexChange::Update {
            name: text(input)?,
            throughput: Some(read_throughput(input)?),
            capacity: CapacityChange::default(),
        },
        3 => IndexChange::Delete(text(input)?),
        4 => {
            let name = text(input)?;
            let throughput = match read_numbers(input)? {
                [Some(read), Some(write)] => Some(Throughput { read, write }),
                [None, None] => None,
                _ => return Err(Malformed),
            };
            IndexChange::Update { name, throughput, capacity: read_capacity_change(input)? }
        }
        _ => return Err(Malformed),
    })
}
