//! Reads of a shard and what they answer, as bytes: for a node that has no replica of the shard and asks one that has. Nothing of it is
//! ever stored.
//!
//! ```text
//! asked    := kind(1 byte) body            get := table(text) key(item) option(projection)
//! page     := table option(index) keys option(filter) option(projection) flags option(limit) option(bytes) option(start)
//! got      := option(item) bytes version option(intent)
//! row      := keys(item) bytes passed option(item)
//! ```
//!
//! Left out: reads that only shard 1 answers, and those that only who leads a shard asks.

mod feeds;
mod tenants;

use super::catalog::Table;
use super::commit::Intent;
use super::read::described;
use super::{Get, Got, HotKey, HotKeys, KeysAsked, Page, Paged, Read, ReadReply, Row};
use bytes::{BufMut, BytesMut};
use feeds::{read_described, read_position, read_records, read_stream};
use feeds::{write_described, write_position, write_records, write_stream};
use quorate_base::{Index, NodeId, ShardId};
use quorate_item::codec::Codec;
use quorate_item::{Item, KeyCondition};
use quorate_protocol::commit::TxnId;
use quorate_wire::codec::{Malformed, Read as Decoded, Reader, Write};
use quorate_wire::table::{
    Definition, Figures, read_answer, read_id, read_shards, write_answer, write_id, write_shards,
};
use std::ops::Bound;

const WHOLE: u8 = 1;
const COUNT: u8 = 2;
const BACKWARD: u8 = 4;
const CONSISTENT: u8 = 8;

/// Appends a read; false if it is none of those that are passed on.
pub fn write_asked(out: &mut BytesMut, read: &Read) -> bool {
    match read {
        Read::Describe(table) => {
            out.put_u8(1);
            out.string(table.as_bytes());
        }
        Read::Get(gets) | Read::Seen(gets) => {
            out.put_u8(if matches!(read, Read::Get(_)) { 2 } else { 3 });
            out.varint(gets.len() as u64);
            for Get { table, key, projection, moved } in gets {
                out.string(table.as_bytes());
                part(out, key);
                option(out, projection.as_ref(), part);
                out.varint(moved.get());
            }
        }
        Read::Page(page) => {
            out.put_u8(4);
            write_page(out, page);
        }
        Read::Over(page, committed) => {
            out.put_u8(11);
            write_page(out, page);
            out.varint(committed.len() as u64);
            for id in committed {
                write_id(out, id);
            }
        }
        Read::Rows(page) => {
            out.put_u8(7);
            write_page(out, page);
        }
        Read::Stream(table, label) => {
            out.put_u8(8);
            out.string(table.as_bytes());
            out.varint(*label);
        }
        Read::Records { stream, from, limit } => {
            out.put_u8(9);
            write_stream(out, *stream);
            write_position(out, *from);
            out.varint(*limit as u64);
        }
        Read::Vote(id) => {
            out.put_u8(5);
            write_id(out, id);
        }
        Read::Undecided { node, boot } => {
            out.put_u8(6);
            out.varint(node.get());
            out.varint(*boot);
        }
        Read::Hot(table) => {
            out.put_u8(10);
            out.string(table.as_bytes());
        }
        Read::Tenant { table, key, part } => {
            out.put_u8(12);
            out.string(table.as_bytes());
            out.string(key);
            tenants::write_part(out, part);
        }
        _ => return false,
    }
    true
}

/// Reads one.
pub fn read_asked(input: &mut Reader) -> Decoded<Read> {
    Ok(match input.u8()? {
        1 => Read::Describe(text(input)?),
        kind @ (2 | 3) => {
            let get = |input: &mut Reader| {
                let (table, key) = (text(input)?, parsed(input)?);
                Ok(Get { table, key, projection: optional(input, parsed)?, moved: Index(input.varint()?) })
            };
            let gets = list(input, get)?;
            if kind == 2 { Read::Get(gets) } else { Read::Seen(gets) }
        }
        4 => Read::Page(Box::new(read_page(input)?)),
        5 => Read::Vote(read_id(input)?),
        6 => Read::Undecided { node: NodeId(input.varint()?), boot: input.varint()? },
        7 => Read::Rows(Box::new(read_page(input)?)),
        8 => Read::Stream(text(input)?, input.varint()?),
        9 => Read::Records { stream: read_stream(input)?, from: read_position(input)?, limit: size(input)? },
        10 => Read::Hot(text(input)?),
        12 => Read::Tenant { table: text(input)?, key: input.bytes()?, part: tenants::read_part(input)? },
        11 => {
            let page = Box::new(read_page(input)?);
            Read::Over(page, (0..input.count()?).map(|_| read_id(input)).collect::<Decoded<_>>()?)
        }
        _ => return Err(Malformed),
    })
}

fn write_page(out: &mut BytesMut, page: &Page) {
    out.string(page.table.as_bytes());
    option(out, page.index.as_ref(), |out, index| out.string(index.as_bytes()));
    match &page.keys {
        KeysAsked::All(None) => out.put_u8(0),
        KeysAsked::All(Some((segment, of))) => {
            out.put_u8(1);
            out.varint((*segment).into());
            out.varint((*of).into());
        }
        KeysAsked::Condition(condition) => {
            out.put_u8(2);
            part(out, condition);
        }
        KeysAsked::Resolved(KeyCondition { partition, sort }) => {
            out.put_u8(3);
            out.string(partition);
            write_bound(out, &sort.0);
            write_bound(out, &sort.1);
        }
        KeysAsked::Tenant(partition) => {
            out.put_u8(4);
            out.string(partition);
        }
    }
    option(out, page.filter.as_ref(), part);
    option(out, page.projection.as_ref(), part);
    let flags =
        [(page.whole, WHOLE), (page.count, COUNT), (page.backward, BACKWARD), (page.consistent, CONSISTENT)];
    out.put_u8(flags.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum());
    option(out, page.limit.as_ref(), |out, limit| out.varint(*limit as u64));
    option(out, page.bytes.as_ref(), |out, bytes| out.varint(*bytes as u64));
    option(out, page.start.as_ref(), part);
    out.varint(page.moved.get());
}

fn read_page(input: &mut Reader) -> Decoded<Page> {
    let (table, index) = (text(input)?, optional(input, text)?);
    let keys = match input.u8()? {
        0 => KeysAsked::All(None),
        1 => KeysAsked::All(Some((small(input)?, small(input)?))),
        2 => KeysAsked::Condition(parsed(input)?),
        3 => {
            let partition = input.bytes()?.to_vec();
            KeysAsked::Resolved(KeyCondition { partition, sort: (read_bound(input)?, read_bound(input)?) })
        }
        4 => KeysAsked::Tenant(input.bytes()?.to_vec()),
        _ => return Err(Malformed),
    };
    let (filter, projection) = (optional(input, parsed)?, optional(input, parsed)?);
    let flags = input.u8()?;
    if flags > WHOLE | COUNT | BACKWARD | CONSISTENT {
        return Err(Malformed);
    }
    Ok(Page {
        table,
        index,
        keys,
        filter,
        projection,
        whole: flags & WHOLE != 0,
        count: flags & COUNT != 0,
        backward: flags & BACKWARD != 0,
        consistent: flags & CONSISTENT != 0,
        limit: optional(input, size)?,
        bytes: optional(input, size)?,
        start: optional(input, parsed)?,
        moved: Index(input.varint()?),
    })
}

fn write_bound(out: &mut BytesMut, bound: &Bound<Vec<u8>>) {
    let (kind, bytes) = match bound {
        Bound::Unbounded => (0, None),
        Bound::Included(bytes) => (1, Some(bytes)),
        Bound::Excluded(bytes) => (2, Some(bytes)),
    };
    out.put_u8(kind);
    if let Some(bytes) = bytes {
        out.string(bytes);
    }
}

fn read_bound(input: &mut Reader) -> Decoded<Bound<Vec<u8>>> {
    Ok(match input.u8()? {
        0 => Bound::Unbounded,
        1 => Bound::Included(input.bytes()?.to_vec()),
        2 => Bound::Excluded(input.bytes()?.to_vec()),
        _ => return Err(Malformed),
    })
}

/// Appends an answer; false if it is none of those that are passed on.
pub fn write_reply(out: &mut BytesMut, reply: &ReadReply) -> bool {
    match reply {
        ReadReply::Table(table) => {
            out.put_u8(1);
            out.string(&table.definition.encode());
            let Figures { items, bytes, indexes } = &table.figures;
            out.varint(*items);
            out.varint(*bytes);
            out.varint(indexes.len() as u64);
            for (index, items, bytes) in indexes {
                for n in [u64::from(*index), *items, *bytes] {
                    out.varint(n);
                }
            }
        }
        ReadReply::Items(all) => {
            out.put_u8(2);
            out.varint(all.len() as u64);
            for got in all {
                write_got(out, got);
            }
        }
        ReadReply::Page(paged) => {
            out.put_u8(3);
            write_paged(out, paged);
        }
        ReadReply::Commit(answer) => {
            out.put_u8(4);
            write_answer(out, answer);
        }
        ReadReply::Rows(rows, more) => {
            out.put_u8(5);
            out.varint(rows.len() as u64);
            for Row { keys, bytes, passed, item } in rows {
                part(out, keys);
                out.varint(*bytes as u64);
                out.flag(*passed);
                option(out, item.as_ref(), part);
            }
            out.flag(*more);
        }
        ReadReply::Stream(stream) => {
            out.put_u8(6);
            write_described(out, stream);
        }
        ReadReply::Records(records) => {
            out.put_u8(7);
            write_records(out, records);
        }
        ReadReply::Tenant(seen) => {
            out.put_u8(9);
            tenants::write_seen(out, seen);
        }
        ReadReply::Hot(hot) => {
            out.put_u8(8);
            for n in [hot.reads, hot.writes, hot.keys.len() as u64] {
                out.varint(n);
            }
            for one in &hot.keys {
                out.string(one.key.as_bytes());
                out.varint(one.reads);
                out.varint(one.writes);
            }
        }
        _ => return false,
    }
    true
}

/// Reads one.
pub fn read_reply(input: &mut Reader) -> Decoded<ReadReply> {
    Ok(match input.u8()? {
        1 => {
            let definition = Definition::decode(input.bytes()?).map_err(|_| Malformed)?;
            let (items, bytes) = (input.varint()?, input.varint()?);
            let indexes = list(input, |input| Ok((small(input)?, input.varint()?, input.varint()?)))?;
            let table = Table::with(definition, &Figures { items, bytes, indexes }).ok_or(Malformed)?;
            ReadReply::Table(Box::new(described(&table)))
        }
        2 => ReadReply::Items(list(input, read_got)?),
        3 => ReadReply::Page(read_paged(input)?),
        4 => ReadReply::Commit(read_answer(input)?),
        5 => {
            let row = |input: &mut Reader| {
                let (keys, bytes) = (parsed(input)?, size(input)?);
                Ok(Row { keys, bytes, passed: input.flag()?, item: optional(input, parsed)? })
            };
            ReadReply::Rows(list(input, row)?, input.flag()?)
        }
        6 => ReadReply::Stream(Box::new(read_described(input)?)),
        7 => ReadReply::Records(read_records(input)?),
        8 => {
            let (reads, writes) = (input.varint()?, input.varint()?);
            let key = |input: &mut Reader| {
                Ok(HotKey { key: text(input)?, reads: input.varint()?, writes: input.varint()? })
            };
            ReadReply::Hot(HotKeys { reads, writes, keys: list(input, key)? })
        }
        9 => ReadReply::Tenant(Box::new(tenants::read_seen(input)?)),
        _ => return Err(Malformed),
    })
}

fn write_got(out: &mut BytesMut, got: &Got) {
    option(out, got.item.as_ref(), part);
    out.varint(got.bytes as u64);
    out.varint(got.version);
    option(out, got.intent.as_deref(), |out, intent| {
        write_id(out, &intent.id);
        write_shards(out, &intent.participants);
        option(out, intent.item.as_ref(), part);
        out.varint(intent.bytes as u64);
        out.varint(intent.version);
    });
}

fn read_got(input: &mut Reader) -> Decoded<Got> {
    let (item, bytes, version) = (optional(input, parsed)?, size(input)?, input.varint()?);
    let intent = optional(input, |input| {
        let (id, participants) = (read_id(input)?, read_shards(input)?);
        let (item, bytes, version) = (optional(input, parsed)?, size(input)?, input.varint()?);
        Ok(Box::new(Intent { id, participants, item, bytes, version }))
    })?;
    Ok(Got { item, bytes, version, intent })
}

fn write_paged(out: &mut BytesMut, paged: &Paged) {
    out.varint(paged.items.len() as u64);
    for item in &paged.items {
        part(out, item);
    }
    for n in [paged.count, paged.scanned, paged.bytes, paged.fetched] {
        out.varint(n as u64);
    }
    out.flag(paged.local);
    option(out, paged.last.as_ref(), part);
    out.varint(paged.met.len() as u64);
    for (id, participants) in &paged.met {
        write_id(out, id);
        write_shards(out, participants);
    }
}

fn read_paged(input: &mut Reader) -> Decoded<Paged> {
    let items: Vec<Item> = list(input, parsed)?;
    let (count, scanned, bytes, fetched) = (size(input)?, size(input)?, size(input)?, size(input)?);
    let (local, last) = (input.flag()?, optional(input, parsed)?);
    let met: Vec<(TxnId, Vec<ShardId>)> = list(input, |input| Ok((read_id(input)?, read_shards(input)?)))?;
    Ok(Paged { items, count, scanned, last, bytes, fetched, local, met })
}

fn part<T: Codec>(out: &mut BytesMut, value: &T) {
    out.string(&value.encode());
}

fn parsed<T: Codec>(input: &mut Reader) -> Decoded<T> {
    T::decode(&input.bytes()?).map_err(|_| Malformed)
}

fn option<T: ?Sized>(out: &mut BytesMut, value: Option<&T>, write: impl FnOnce(&mut BytesMut, &T)) {
    out.flag(value.is_some());
    if let Some(value) = value {
        write(out, value);
    }
}

fn optional<T>(input: &mut Reader, read: impl FnOnce(&mut Reader) -> Decoded<T>) -> Decoded<Option<T>> {
    if input.flag()? { read(input).map(Some) } else { Ok(None) }
}

fn list<T>(input: &mut Reader, mut read: impl FnMut(&mut Reader) -> Decoded<T>) -> Decoded<Vec<T>> {
    let count = input.count()?;
    (0..count).map(|_| read(input)).collect()
}

fn text(input: &mut Reader) -> Decoded<String> {
    String::from_utf8(input.bytes()?.to_vec()).map_err(|_| Malformed)
}

fn small(input: &mut Reader) -> Decoded<u32> {
    u32::try_from(input.varint()?).map_err(|_| Malformed)
}

fn size(input: &mut Reader) -> Decoded<usize> {
    usize::try_from(input.varint()?).map_err(|_| Malformed)
}
