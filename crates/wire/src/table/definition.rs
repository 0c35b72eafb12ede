//! Tables as they are defined, and how they change.

use super::codec::{list, option, read_pairs, small, text, write_option, write_pairs, write_texts};
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

/// Capacity, as it was asked for. It bounds nothing here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Throughput {
    /// Reads of 4 KiB a second.
    pub read: u64,
    /// Writes of 1 KiB a second.
    pub write: u64,
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
    /// Capacity of its own, for global ones.
    pub throughput: Throughput,
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Billing {
    /// By request.
    OnDemand,
    /// By capacity.
    Provisioned,
}

/// A table.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    /// Its capacity.
    pub throughput: Throughput,
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
        let view = self.stream.map_or(0, |view| view as u8);
        match self.latest_stream {
            None => out.put_u8(view),
            Some(label) => {
                out.put_u8(view | LABELED);
                out.varint(label);
            }
        }
        write_option(out, self.class.as_deref());
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
        let (protected, expires, stream) = (input.flag()?, option(input)?, input.u8()?);
        let latest_stream = if stream & LABELED == 0 { None } else { Some(input.varint()?) };
        let stream = stream_view(stream & !LABELED)?;
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
            tags,
            protected,
            expires,
            stream,
            latest_stream,
            class: option(input)?,
        })
    }
}

/// A change of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// `UpdateTable`: what is `None` stays.
    Settings {
        /// How it is paid for.
        billing: Option<Billing>,
        /// Its capacity.
        throughput: Option<Throughput>,
        /// It must not be deleted.
        protected: Option<bool>,
        /// Its change feed; the inner `None` ends it.
        stream: Option<Option<StreamView>>,
        /// Its class.
        class: Option<String>,
        /// What becomes of its global indexes.
        indexes: Vec<IndexChange>,
        /// The attributes that new indexes name.
        attributes: Vec<(String, Scalar)>,
    },
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
    /// Its capacity changes.
    Update(String, Throughput),
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
    match &index.state {
        IndexState::Active => out.flag(false),
        IndexState::Filling(upto) => {
            out.flag(true);
            out.string(upto);
        }
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
    let state = if input.flag()? { IndexState::Filling(input.bytes()?) } else { IndexState::Active };
    Ok(Index { name, id, keys, projected, throughput, state })
}

fn write_throughput(out: &mut BytesMut, throughput: Throughput) {
    out.varint(throughput.read);
    out.varint(throughput.write);
}

fn read_throughput(input: &mut Reader) -> Read<Throughput> {
    Ok(Throughput { read: input.varint()?, write: input.varint()? })
}

/// Beside the view of a change feed: the label of the latest one follows. What releases wrote that knew no feeds has none.
const LABELED: u8 = 0x10;

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
        Change::Settings { billing, throughput, protected, stream, class, indexes, attributes } => {
            out.put_u8(1);
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
        1 => Change::Settings {
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
        },
        2 => Change::Tag(read_pairs(input)?),
        3 => Change::Untag(list(input, text)?),
        4 => Change::Expiry { attribute: text(input)?, on: input.flag()? },
        _ => return Err(Malformed),
    })
}

fn write_index_change(out: &mut BytesMut, change: &IndexChange) {
    match change {
        IndexChange::Create(index) => {
            out.put_u8(1);
            write_index(out, index);
        }
        IndexChange::Update(name, throughput) => {
            out.put_u8(2);
            out.string(name.as_bytes());
            write_throughput(out, *throughput);
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
        2 => IndexChange::Update(text(input)?, read_throughput(input)?),
        3 => IndexChange::Delete(text(input)?),
        _ => return Err(Malformed),
    })
}
