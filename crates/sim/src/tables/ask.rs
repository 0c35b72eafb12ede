//! Items, conditions and updates of the clients of tables, as commands and reads. An item has its key `k` and its value `v`, a
//! number or a list of numbers; a register has `g` too, the key of an index.

use super::{ACROSS, SHARDED, TABLE};
use crate::world::KV;
use bytes::Bytes;
use quorate_base::ShardId;
use quorate_item::codec::Codec;
use quorate_item::{AttributeValue, Comparator, Item, Operand, Path, Source, Update};
use quorate_node::api::{Fresh, Gather, Place, Request, Transact};
use quorate_state::table::{Block, Division, Get, KeysAsked, Page, Placement, Read};
use quorate_wire::kv::Command as Any;
use quorate_wire::table::{
    Action, Assigned, BY_DIRECTORY, Capacity, Command, Definition, EPOCH, Execute, Index, IndexState,
    KeyNames, Op, PARTITION_TAG, Projected, Returns, SHARDS_TAG, SPLITS_TAG, Scalar, StreamView, Tenant,
    Throughput, What,
};

/// The index.
pub(super) const INDEX: &str = "by-group";
/// A register's group is its value modulo this.
pub(super) const GROUPS: u64 = 3;

/// What a write asks of the item that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Condition {
    /// Nothing.
    Any,
    /// There is none.
    Absent,
    /// It has this value.
    Value(AttributeValue),
}

impl Condition {
    pub(super) fn of_number(value: Option<u64>) -> Self {
        value.map_or(Self::Absent, |value| Self::Value(number(value)))
    }

    pub(super) fn of_list(elements: Option<Vec<u64>>) -> Self {
        elements.map_or(Self::Absent, |elements| Self::Value(numbers(&elements)))
    }

    fn encoded(&self) -> Option<Bytes> {
        let value = || Path::attribute("v");
        let condition = match self {
            Self::Any => return None,
            Self::Absent => quorate_item::Condition::NotExists(Path::attribute("k")),
            Self::Value(expected) => quorate_item::Condition::Compare(
                Comparator::Eq,
                Operand::Path(value()),
                Operand::Value(expected.clone()),
            ),
        };
        Some(condition.encode().into())
    }
}

/// What an item holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Held {
    pub(crate) number: Option<u64>,
    pub(crate) list: Vec<u64>,
}

pub(crate) fn held(item: &Item) -> Held {
    match item.get("v") {
        Some(AttributeValue::L(list)) => {
            Held { number: None, list: list.iter().filter_map(as_number).collect() }
        }
        value => Held { number: value.and_then(as_number), list: Vec::new() },
    }
}

fn as_number(value: &AttributeValue) -> Option<u64> {
    match value {
        AttributeValue::N(number) => number.to_i64().and_then(|n| u64::try_from(n).ok()),
        _ => None,
    }
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N((value as i64).into())
}

fn numbers(elements: &[u64]) -> AttributeValue {
    AttributeValue::L(elements.iter().copied().map(number).collect())
}

pub(super) fn register(key: u64) -> String {
    format!("r{key}")
}

pub(crate) fn list(list: u64) -> String {
    format!("a{list}")
}

pub(super) fn group(value: u64) -> String {
    format!("g{}", value % GROUPS)
}

fn item(pairs: impl IntoIterator<Item = (&'static str, AttributeValue)>) -> Item {
    Item(pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

fn keyed(name: String) -> Item {
    item([("k", AttributeValue::S(name))])
}

pub(super) fn op(action: Action, condition: &Condition) -> Op {
    Op {
        table: TABLE.into(),
        action,
        condition: condition.encoded(),
        returns: Returns::None,
        old_on_failure: false,
    }
}

/// A write of a register, or its deletion.
pub(super) fn put(key: u64, value: Option<u64>, condition: &Condition) -> Op {
    let name = register(key);
    let action = match value {
        None => Action::Delete { key: keyed(name).encode().into() },
        Some(value) => {
            let pairs = [
                ("k", AttributeValue::S(name)),
                ("v", number(value)),
                ("g", AttributeValue::S(group(value))),
            ];
            Action::Put { item: item(pairs).encode().into() }
        }
    };
    op(action, condition)
}

/// Elements for a list.
pub(crate) fn append(to: u64, elements: &[u64], condition: Option<&Condition>) -> Op {
    let path = Path::attribute("v");
    let none = Box::new(Source::Value(numbers(&[])));
    let appended = Source::ListAppend(
        Box::new(Source::IfNotExists(path.clone(), none)),
        Box::new(Source::Value(numbers(elements))),
    );
    let update = Update { set: vec![(path, appended)], ..Update::default() };
    let action = Action::Update { key: keyed(list(to)).encode().into(), update: update.encode().into() };
    op(action, condition.unwrap_or(&Condition::Any))
}

/// That a list is as it was.
pub(super) fn check(of: u64, condition: &Condition) -> Op {
    op(Action::Check { key: keyed(list(of)).encode().into() }, condition)
}

pub(super) fn get(names: impl IntoIterator<Item = String>) -> Read {
    let get = |name| Get::of(TABLE, keyed(name));
    Read::Get(names.into_iter().map(get).collect())
}

/// A page of all that lies in one of the table's shards, in the newest state.
pub(super) fn page(shard: u32) -> Request {
    let page = Page {
        backward: shard % 2 == 1,
        consistent: true,
        ..Page::of(TABLE, KeysAsked::All(Some((shard, u32::MAX))))
    };
    Request::Table { read: Box::new(Read::Page(Box::new(page))), fresh: Fresh::Newest, epoch: EPOCH }
}

/// The name of an item.
pub(crate) fn name(item: &Item) -> Option<&str> {
    match item.get("k") {
        Some(AttributeValue::S(name)) => Some(name),
        _ => None,
    }
}

/// The request is of the table of this name.
pub(crate) fn address(request: &mut Request, name: &str) {
    match request {
        Request::Write(Any::Table(command)) => {
            if let What::Execute(execute) = &mut command.what {
                execute.ops.iter_mut().for_each(|op| op.table = name.into());
            }
        }
        Request::Table { read, .. } => address_read(read, name),
        Request::Explained(request, _) => address(request, name),
        _ => {}
    }
}

/// The read is of the table of this name.
pub(super) fn address_read(read: &mut Read, name: &str) {
    match read {
        Read::Get(gets) => gets.iter_mut().for_each(|get| get.table = name.into()),
        Read::Page(page) => page.table = name.into(),
        _ => {}
    }
}

/// The request as a door sends it that divides by the map: a transaction over shards, a read of several, or one shard's own.
pub(crate) fn route(
    placement: &Placement,
    table: &str,
    request: Request,
    now: u64,
) -> Option<(ShardId, Request)> {
    if let Some(block) = placement.table(table)
        && let Some(unlisted) = keys_of(&request).into_iter().find(|item| lies(block, item).is_none())
    {
        return assign(block, &unlisted);
    }
    let (command, read) = match request {
        Request::Explained(request, slot) => {
            let (shard, request) = route(placement, table, *request, now)?;
            return Some((shard, Request::Explained(Box::new(request), slot)));
        }
        Request::Write(Any::Table(command)) => (Some(command), None),
        Request::Table { read, fresh, .. } => (None, Some((*read, fresh))),
        request => return Some((KV, request)),
    };
    if let Some(command) = &command
        && !matches!(command.what, What::Execute(_))
    {
        return Some((KV, Request::Write(Any::Table(command.clone()))));
    }
    let block = placement.table(table)?;
    let place = |shard: ShardId| Place { shard, epoch: block.epoch };
    let of_key = |item: &Item| lies(block, item).map(place);
    if let Some((Read::Page(mut page), fresh)) = read {
        let KeysAsked::All(Some((shard, _))) = page.keys else { return None };
        if block.division == Division::Directory {
            return None;
        }
        page.keys = KeysAsked::All(None);
        let shards: Vec<ShardId> = block.shards().collect();
        let shard = *shards.get(shard as usize % shards.len().max(1))?;
        let read = Box::new(Read::Page(page));
        return Some((shard, Request::Table { read, fresh, epoch: block.epoch }));
    }
    if let Some((Read::Get(gets), fresh)) = read {
        let placed = |mut get: Get| {
            let place = of_key(&get.key)?;
            get.moved = block.moved(place.shard);
            Some((place, get))
        };
        let gets = gets.into_iter().map(placed).collect::<Option<Vec<_>>>()?;
        if let [(place, get)] = &gets[..] {
            let read = Box::new(Read::Get(vec![get.clone()]));
            return Some((place.shard, Request::Table { read, fresh, epoch: place.epoch }));
        }
        return Some((KV, Request::Gather(Box::new(Gather { gets, together: true }))));
    }
    let command = command?;
    let What::Execute(Execute { atomic, token, ops }) = &command.what else { return None };
    let of_op = |op: &Op| match &op.action {
        Action::Put { item } => of_key(&Item::decode(item).ok()?),
        Action::Delete { key } | Action::Check { key } | Action::Update { key, .. } => {
            of_key(&Item::decode(key).ok()?)
        }
    };
    let ops = ops.iter().map(|op| Some((of_op(op)?, op.clone()))).collect::<Option<Vec<_>>>()?;
    if let ([(one, _)], false) = (&ops[..], *atomic) {
        return Some((one.shard, Request::Write(Any::Table(command))));
    }
    let token = token.clone().map(|token| (place(block.shard_of_token(&token.token)), token));
    Some((KV, Request::Transact(Box::new(Transact { now, token, ops }))))
}

/// The items that a request is of, by their keys or whole.
fn keys_of(request: &Request) -> Vec<Item> {
    match request {
        Request::Write(Any::Table(command)) => match &command.what {
            What::Execute(execute) => {
                let key = |op: &Op| match &op.action {
                    Action::Put { item } => Item::decode(item).ok(),
                    Action::Delete { key } | Action::Check { key } | Action::Update { key, .. } => {
                        Item::decode(key).ok()
                    }
                };
                execute.ops.iter().filter_map(key).collect()
            }
            _ => Vec::new(),
        },
        Request::Table { read, .. } => match &**read {
            Read::Get(gets) => gets.iter().map(|get| get.key.clone()).collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// In which shard an item lies, by it or its key.
fn lies(block: &Block, item: &Item) -> Option<ShardId> {
    block.shard_of(&block.schema.key_of(&block.schema.only_key(item)).ok()?)
}

/// Whether the directory of a table does not have an item's tenant.
pub(super) fn is_unlisted(placement: &Placement, table: &str, read: &Read) -> bool {
    let (Some(block), Read::Get(gets)) = (placement.table(table), read) else { return false };
    gets.iter().any(|get| lies(block, &get.key).is_none())
}

/// A tenant that the directory does not have is said to lie somewhere, in the place of what was to be asked of it.
fn assign(block: &Block, item: &Item) -> Option<(ShardId, Request)> {
    let key = block.schema.key_of(&block.schema.only_key(item)).ok()?;
    let at = key.partition.iter().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let tenant = Tenant { table: block.table, key: key.partition.into() };
    let what = What::Assign { tenant, word: Assigned::New(at % block.count) };
    Some((KV, Request::Write(Any::Table(Box::new(Command { epoch: block.epoch, now: 0, what })))))
}

/// A read of the newest state of some items, at one moment.
pub(crate) fn read(names: impl IntoIterator<Item = String>) -> Request {
    Request::Table { read: Box::new(get(names)), fresh: Fresh::Newest, epoch: EPOCH }
}

/// A plain read of some items.
pub(super) fn plain(names: impl IntoIterator<Item = String>) -> Request {
    Request::Table { read: Box::new(get(names)), fresh: Fresh::Plain(None), epoch: EPOCH }
}

/// Whether the table of this name, with so many shards, is divided by directory.
pub(super) fn has_directory(name: &str, shards: u32, bounded: bool) -> bool {
    name == SHARDED && shards == 4 && bounded
}

/// How the keys of the table with so many shards of its own are divided among them: by directory, by hash, by time and hash, or by range, so
/// that each has something of those who use them all.
fn division(shards: u32, directory: bool) -> Vec<(String, String)> {
    let tag = |key: &str, value: &str| (key.to_string(), value.to_string());
    match shards {
        2 => vec![tag(PARTITION_TAG, "range"), tag(SPLITS_TAG, &list(ACROSS + 1))],
        3 => vec![tag(PARTITION_TAG, "time+hash"), tag(SHARDS_TAG, "3")],
        _ if directory => vec![tag(PARTITION_TAG, BY_DIRECTORY), tag(SHARDS_TAG, &shards.to_string())],
        _ => vec![tag(SHARDS_TAG, &shards.to_string())],
    }
}

/// The table, with an index of registers by their groups; or the one with so many shards of its own, which mostly has a change feed, too.
pub(crate) fn definition(name: &str, shards: u32, bounded: bool) -> Definition {
    let directory = has_directory(name, shards, bounded);
    let own = if name == TABLE { Vec::new() } else { division(shards, directory) };
    let bound = bounded.then(|| ("quorate:staleness".into(), "5s".into()));
    // Tenants of a table with a change feed do not move.
    let feeds = name != TABLE && !directory;
    let index = Index {
        name: INDEX.into(),
        id: 0,
        keys: KeyNames { hash: vec!["g".into()], range: Vec::new() },
        projected: Projected::All,
        throughput: Throughput::default(),
        capacity: Capacity::default(),
        state: IndexState::Active,
    };
    Definition {
        name: name.into(),
        attributes: vec![("k".into(), Scalar::S), ("g".into(), Scalar::S)],
        keys: KeyNames { hash: vec!["k".into()], range: Vec::new() },
        globals: vec![index],
        tags: own.into_iter().chain(bound).collect(),
        stream: feeds.then_some(StreamView::Both),
        ..Definition::default()
    }
}
