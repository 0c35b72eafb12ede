//! The commands of tables: what a door makes of its requests, what the log carries, what the machine answers.
//!
//! Items, keys and expressions are bytes here, in the codec of the room `item`: whoever proposes has encoded them, the
//! machine decodes them, and what lies between looks at neither. Times are milliseconds since 1970 by the clock of the node
//! that took the request; a machine knows no other time.
//!
//! ```text
//! command     := kind(1 byte) epoch(varint) now(varint) body
//! text        := bytes, UTF-8               option := flag [value]
//! definition  := name id created attributes key(2 lists) locals globals billing tags … (`Definition::write`)
//! execute     := flags(1 byte) [token] count { table action condition returns on_failure }
//! ```
//!
//! Each command names the epoch of the shard that it was routed to: one of another epoch is refused when it is applied, not
//! only where it is proposed, since a shard may change between the two.

use crate::codec::{Malformed, Read, Reader, Write};
use bytes::{BufMut, Bytes, BytesMut};

/// The epoch of the one shard that there is.
pub const EPOCH: u64 = 1;
/// No definition has more indexes of a kind, attributes or tags than these, and no command more operations: what peers send
/// is held against it.
const MANY: usize = 10_000;

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
    /// Its change feed.
    pub stream: Option<StreamView>,
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

    fn write(&self, out: &mut BytesMut) {
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
            list.iter().for_each(|index| write_index(out, index));
        }
        out.varint(u64::from(self.next_index));
        out.flag(self.billing == Billing::Provisioned);
        write_throughput(out, self.throughput);
        write_pairs(out, &self.tags);
        out.flag(self.protected);
        write_option(out, self.expires.as_deref());
        out.put_u8(self.stream.map_or(0, |view| view as u8));
        write_option(out, self.class.as_deref());
    }

    fn read(input: &mut Reader) -> Read<Self> {
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
        let (protected, expires, stream) = (input.flag()?, option(input)?, read_stream(input)?);
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

/// What a write answers beside that it was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Returns {
    /// Nothing.
    #[default]
    None = 0,
    /// The item before.
    AllOld = 1,
    /// Of the item before, what the update names.
    UpdatedOld = 2,
    /// The item behind.
    AllNew = 3,
    /// Of the item behind, what the update names.
    UpdatedNew = 4,
}

/// What is done with an item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The item takes the place of what is there.
    Put {
        /// It, with its key in it.
        item: Bytes,
    },
    /// It goes.
    Delete {
        /// Its key's attributes, as an item.
        key: Bytes,
    },
    /// It changes, or is made.
    Update {
        /// Its key's attributes, as an item.
        key: Bytes,
        /// The encoded update.
        update: Bytes,
    },
    /// Nothing; only the condition counts.
    Check {
        /// Its key's attributes, as an item.
        key: Bytes,
    },
}

/// One operation on one item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Op {
    /// The table's name.
    pub table: String,
    /// What is done.
    pub action: Action,
    /// The encoded condition under which it is done.
    pub condition: Option<Bytes>,
    /// What it answers.
    pub returns: Returns,
    /// Where the condition fails, the answer has the item in it.
    pub old_on_failure: bool,
}

/// By what a transaction is known that may come twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The client's word.
    pub token: Bytes,
    /// A fingerprint of the request: the same word for another request is refused.
    pub fingerprint: Bytes,
}

impl Op {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        let action = match &self.action {
            Action::Put { item } => item.len(),
            Action::Delete { key } | Action::Check { key } => key.len(),
            Action::Update { key, update } => key.len() + update.len(),
        };
        32 + self.table.len() + action + self.condition.as_ref().map_or(0, Bytes::len)
    }
}

/// Operations in one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Execute {
    /// All are done or none; otherwise each is for itself.
    pub atomic: bool,
    /// By what it is known, if it may come twice.
    pub token: Option<Token>,
    /// They.
    pub ops: Vec<Op>,
}

/// What the log carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The epoch of the shard that it was routed to.
    pub epoch: u64,
    /// When its request came, in milliseconds since 1970.
    pub now: u64,
    /// What is to be done.
    pub what: What,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Make a table; the machine gives it its number.
    Create(Box<Definition>),
    /// Delete one.
    Delete(String),
    /// Change one.
    Change {
        /// Its name.
        table: String,
        /// What changes.
        change: Change,
    },
    /// Operations on items.
    Execute(Execute),
    /// Fill an index with so many more items.
    Fill {
        /// The table's number.
        table: u32,
        /// The index' number.
        index: u32,
        /// How many.
        items: u32,
    },
    /// Delete items of a table whose time is over. What is not, or not any more, is passed over.
    Expire {
        /// The table's number.
        table: u32,
        /// The items' keys, as their rows have them.
        keys: Vec<Bytes>,
    },
}

impl Command {
    /// Whether it makes the state grow.
    pub fn grows(&self) -> bool {
        match &self.what {
            What::Create(_) | What::Change { .. } => true,
            What::Delete(_) | What::Fill { .. } | What::Expire { .. } => false,
            What::Execute(execute) => {
                execute.ops.iter().any(|op| matches!(op.action, Action::Put { .. } | Action::Update { .. }))
            }
        }
    }

    /// About how many bytes it takes.
    pub fn size_hint(&self) -> usize {
        match &self.what {
            What::Execute(execute) => 64 + execute.ops.iter().map(Op::size).sum::<usize>(),
            _ => 256,
        }
    }

    pub(crate) fn write(&self, out: &mut BytesMut) {
        out.put_u8(match &self.what {
            What::Create(_) => 1,
            What::Delete(_) => 2,
            What::Change { .. } => 3,
            What::Execute(_) => 4,
            What::Fill { .. } => 5,
            What::Expire { .. } => 6,
        });
        out.varint(self.epoch);
        out.varint(self.now);
        match &self.what {
            What::Create(definition) => definition.write(out),
            What::Delete(table) => out.string(table.as_bytes()),
            What::Change { table, change } => {
                out.string(table.as_bytes());
                write_change(out, change);
            }
            What::Execute(execute) => write_execute(out, execute),
            What::Fill { table, index, items } => {
                [table, index, items].into_iter().for_each(|n| out.varint(u64::from(*n)));
            }
            What::Expire { table, keys } => {
                out.varint(u64::from(*table));
                out.varint(keys.len() as u64);
                keys.iter().for_each(|key| out.string(key));
            }
        }
    }

    pub(crate) fn read(input: &mut Reader) -> Read<Self> {
        let (kind, epoch, now) = (input.u8()?, input.varint()?, input.varint()?);
        let what = match kind {
            1 => What::Create(Box::new(Definition::read(input)?)),
            2 => What::Delete(text(input)?),
            3 => What::Change { table: text(input)?, change: read_change(input)? },
            4 => What::Execute(read_execute(input)?),
            5 => What::Fill { table: small(input)?, index: small(input)?, items: small(input)? },
            6 => What::Expire { table: small(input)?, keys: list(input, Reader::bytes)? },
            _ => return Err(Malformed),
        };
        Ok(Self { epoch, now, what })
    }
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

fn read_stream(input: &mut Reader) -> Read<Option<StreamView>> {
    Ok(match input.u8()? {
        0 => None,
        1 => Some(StreamView::KeysOnly),
        2 => Some(StreamView::New),
        3 => Some(StreamView::Old),
        4 => Some(StreamView::Both),
        _ => return Err(Malformed),
    })
}

fn write_change(out: &mut BytesMut, change: &Change) {
    match change {
        Change::Settings { billing, throughput, protected, stream, class, indexes, attributes } => {
            out.put_u8(1);
            out.put_u8(billing.map_or(0, |billing| if billing == Billing::Provisioned { 2 } else { 1 }));
            out.flag(throughput.is_some());
            throughput.iter().for_each(|throughput| write_throughput(out, *throughput));
            out.put_u8(protected.map_or(2, u8::from));
            out.flag(stream.is_some());
            stream.iter().for_each(|view| out.put_u8(view.map_or(0, |view| view as u8)));
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

fn read_change(input: &mut Reader) -> Read<Change> {
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
            stream: if input.flag()? { Some(read_stream(input)?) } else { None },
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

const ATOMIC: u8 = 1;
const TOKEN: u8 = 2;

fn write_execute(out: &mut BytesMut, execute: &Execute) {
    let flag = |on, bit| if on { bit } else { 0 };
    out.put_u8(flag(execute.atomic, ATOMIC) | flag(execute.token.is_some(), TOKEN));
    if let Some(Token { token, fingerprint }) = &execute.token {
        out.string(token);
        out.string(fingerprint);
    }
    out.varint(execute.ops.len() as u64);
    for op in &execute.ops {
        out.string(op.table.as_bytes());
        match &op.action {
            Action::Put { item } => {
                out.put_u8(1);
                out.string(item);
            }
            Action::Delete { key } => {
                out.put_u8(2);
                out.string(key);
            }
            Action::Update { key, update } => {
                out.put_u8(3);
                out.string(key);
                out.string(update);
            }
            Action::Check { key } => {
                out.put_u8(4);
                out.string(key);
            }
        }
        out.flag(op.condition.is_some());
        op.condition.iter().for_each(|condition| out.string(condition));
        out.put_u8(op.returns as u8);
        out.flag(op.old_on_failure);
    }
}

fn read_execute(input: &mut Reader) -> Read<Execute> {
    let flags = input.u8()?;
    if flags & !(ATOMIC | TOKEN) != 0 {
        return Err(Malformed);
    }
    let token = if flags & TOKEN == 0 {
        None
    } else {
        Some(Token { token: input.bytes()?, fingerprint: input.bytes()? })
    };
    let ops = list(input, |input| {
        let table = text(input)?;
        let action = match input.u8()? {
            1 => Action::Put { item: input.bytes()? },
            2 => Action::Delete { key: input.bytes()? },
            3 => Action::Update { key: input.bytes()?, update: input.bytes()? },
            4 => Action::Check { key: input.bytes()? },
            _ => return Err(Malformed),
        };
        let condition = if input.flag()? { Some(input.bytes()?) } else { None };
        let returns = match input.u8()? {
            0 => Returns::None,
            1 => Returns::AllOld,
            2 => Returns::UpdatedOld,
            3 => Returns::AllNew,
            4 => Returns::UpdatedNew,
            _ => return Err(Malformed),
        };
        Ok(Op { table, action, condition, returns, old_on_failure: input.flag()? })
    })?;
    Ok(Execute { atomic: flags & ATOMIC != 0, token, ops })
}

fn write_texts(out: &mut BytesMut, texts: &[String]) {
    out.varint(texts.len() as u64);
    texts.iter().for_each(|text| out.string(text.as_bytes()));
}

fn write_pairs(out: &mut BytesMut, pairs: &[(String, String)]) {
    out.varint(pairs.len() as u64);
    for (key, value) in pairs {
        out.string(key.as_bytes());
        out.string(value.as_bytes());
    }
}

fn read_pairs(input: &mut Reader) -> Read<Vec<(String, String)>> {
    list(input, |input| Ok((text(input)?, text(input)?)))
}

fn write_option(out: &mut BytesMut, value: Option<&str>) {
    out.flag(value.is_some());
    value.iter().for_each(|value| out.string(value.as_bytes()));
}

fn option(input: &mut Reader) -> Read<Option<String>> {
    if input.flag()? { Ok(Some(text(input)?)) } else { Ok(None) }
}

fn text(input: &mut Reader) -> Read<String> {
    String::from_utf8(input.bytes()?.to_vec()).map_err(|_| Malformed)
}

fn small(input: &mut Reader) -> Read<u32> {
    u32::try_from(input.varint()?).map_err(|_| Malformed)
}

fn list<T>(input: &mut Reader, mut element: impl FnMut(&mut Reader) -> Read<T>) -> Read<Vec<T>> {
    let count = input.count()?;
    if count > MANY {
        return Err(Malformed);
    }
    (0..count).map(|_| element(input)).collect()
}

/// What the machine answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To `Create`, `Delete`, `Change`: the table behind the change, or as it was.
    Table(Box<Definition>, Figures),
    /// To `Execute`: one for each operation, in order. Of one that is atomic either all are [`Outcome::Done`], or nothing was
    /// done and these are the reasons.
    Executed(Vec<Done>),
    /// To `Execute` with a token that has done its work before: nothing was done now.
    Repeated,
    /// To `Fill`.
    Filled,
    /// To `Expire`: how many went.
    Expired(u64),
}

/// How large a table and its indexes are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Items.
    pub items: u64,
    /// Their bytes, as DynamoDB counts them.
    pub bytes: u64,
    /// The same of each index, by its number.
    pub indexes: Vec<(u32, u64, u64)>,
}

/// What came of one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// Whether it was done.
    pub outcome: Outcome,
    /// What was asked to be returned, as an item.
    pub attributes: Option<Bytes>,
    /// The larger of the item's sizes before and behind, in bytes.
    pub bytes: u64,
    /// The indexes that changed with it, whether they are global, and how many units of writing that took.
    pub indexes: Vec<(String, bool, u64)>,
}

impl Done {
    /// Nothing came of it but this.
    pub fn of(outcome: Outcome) -> Self {
        Self { outcome, attributes: None, bytes: 0, indexes: Vec::new() }
    }
}

/// Whether an operation was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was, or nothing is against it.
    Done,
    /// Its condition does not hold.
    ConditionFailed,
    /// It makes no sense for this table or this item; in DynamoDB's words.
    Invalid(String),
    /// There is no such table.
    NoTable(String),
}

/// Why the machine refuses a command as a whole. Deterministic: every replica comes to the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It makes no sense; in DynamoDB's words.
    Validation(String),
    /// There is no such thing.
    NotFound,
    /// There is no such table.
    TableNotFound(String),
    /// There is one of that name.
    TableExists(String),
    /// It cannot be done while something else is.
    InUse(String),
    /// There are as many as may be.
    Limit(String),
    /// The token came with another request.
    TokenMismatch,
    /// The shard is not the one that the command was routed to.
    StaleEpoch,
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;

    fn index(id: u32) -> Index {
        Index {
            name: format!("i{id}"),
            id,
            keys: KeyNames { hash: vec!["a".into()], range: vec!["b".into(), "c".into()] },
            projected: Projected::Include(vec!["x".into()]),
            throughput: Throughput { read: 1, write: 2 },
            state: IndexState::Filling(Bytes::from_static(b"upto")),
        }
    }

    fn definition() -> Definition {
        Definition {
            name: "orders".into(),
            id: 7,
            created: 1_700_000_000_000,
            attributes: vec![("a".into(), Scalar::S), ("b".into(), Scalar::N), ("c".into(), Scalar::B)],
            keys: KeyNames { hash: vec!["a".into()], range: vec![] },
            locals: vec![index(1)],
            globals: vec![
                index(2),
                Index { projected: Projected::All, state: IndexState::Active, ..index(3) },
            ],
            next_index: 4,
            billing: Billing::Provisioned,
            throughput: Throughput { read: 5, write: 6 },
            tags: vec![("k".into(), "v".into())],
            protected: true,
            expires: Some("ttl".into()),
            stream: Some(StreamView::Both),
            class: None,
        }
    }

    fn commands() -> Vec<Command> {
        let command = |what| Command { epoch: EPOCH, now: 12, what };
        let op = |action| Op {
            table: "t".into(),
            action,
            condition: Some(Bytes::from_static(b"c")),
            returns: Returns::UpdatedNew,
            old_on_failure: true,
        };
        let bytes = || Bytes::from_static(b"bytes");
        let ops = vec![
            op(Action::Put { item: bytes() }),
            op(Action::Delete { key: bytes() }),
            op(Action::Update { key: bytes(), update: bytes() }),
            Op { condition: None, ..op(Action::Check { key: bytes() }) },
        ];
        let token = Some(Token { token: bytes(), fingerprint: bytes() });
        let settings = Change::Settings {
            billing: Some(Billing::OnDemand),
            throughput: Some(Throughput { read: 1, write: 1 }),
            protected: None,
            stream: Some(None),
            class: Some("STANDARD".into()),
            indexes: vec![
                IndexChange::Create(index(0)),
                IndexChange::Update("i".into(), Throughput::default()),
                IndexChange::Delete("j".into()),
            ],
            attributes: vec![("z".into(), Scalar::N)],
        };
        let change = |change| What::Change { table: "t".into(), change };
        vec![
            command(What::Create(Box::new(definition()))),
            command(What::Delete("t".into())),
            command(change(settings)),
            command(change(Change::Tag(vec![("a".into(), "b".into())]))),
            command(change(Change::Untag(vec!["a".into()]))),
            command(change(Change::Expiry { attribute: "ttl".into(), on: false })),
            command(What::Execute(Execute { atomic: true, token, ops })),
            command(What::Execute(Execute { atomic: false, token: None, ops: Vec::new() })),
            command(What::Fill { table: 1, index: 2, items: 3 }),
            command(What::Expire { table: 1, keys: vec![bytes(), Bytes::new()] }),
        ]
    }

    fn encoded(command: &Command) -> Bytes {
        let mut out = BytesMut::new();
        command.write(&mut out);
        out.freeze()
    }

    #[test]
    fn every_command_comes_back_and_every_cut_is_an_error() {
        assert_eq!(Definition::decode(definition().encode()), Ok(definition()));
        for command in commands() {
            let bytes = encoded(&command);
            let mut input = Reader::new(bytes.clone());
            assert_eq!(Command::read(&mut input), Ok(command));
            assert_eq!(input.end(), Ok(()));
            for cut in 0..bytes.len() {
                let mut input = Reader::new(bytes.slice(..cut));
                assert!(Command::read(&mut input).is_err(), "cut at {cut} of {}", bytes.len());
            }
        }
    }

    /// Seed 5.
    #[test]
    fn no_bytes_panic() {
        let mut rng = Rng::new(5);
        for command in commands() {
            for _ in 0..3_000 {
                let mut bytes = encoded(&command).to_vec();
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
                let _ = Command::read(&mut Reader::new(bytes.into()));
            }
        }
    }
}
