//! Of change feeds: what is asked of a shard's part of one, and its records.
//!
//! ```text
//! stream    := table label                 position := index number
//! described := stream table(text) view keys(2 lists) oldest option(ended) next
//! records   := 0 | 1 list(record) view option(next)
//! record    := at changed by_time time keys option(old) option(new)
//! ```

use super::super::stream::{Changed, Position, Record, Records, StreamDescribed, StreamId};
use super::{list, option, optional, parsed, part, small, text};
use bytes::{BufMut, BytesMut};
use quorate_wire::codec::{Malformed, Read as Decoded, Reader, Write};
use quorate_wire::table::{KeyNames, StreamView};

pub(super) fn write_stream(out: &mut BytesMut, id: StreamId) {
    out.varint(id.table.into());
    out.varint(id.label);
}

pub(super) fn read_stream(input: &mut Reader) -> Decoded<StreamId> {
    Ok(StreamId { table: small(input)?, label: input.varint()? })
}

pub(super) fn write_position(out: &mut BytesMut, at: Position) {
    out.varint(at.index);
    out.varint(at.number.into());
}

pub(super) fn read_position(input: &mut Reader) -> Decoded<Position> {
    Ok(Position { index: input.varint()?, number: small(input)? })
}

fn read_view(input: &mut Reader) -> Decoded<StreamView> {
    let all = [StreamView::KeysOnly, StreamView::New, StreamView::Old, StreamView::Both];
    let tag = input.u8()?;
    all.into_iter().find(|view| *view as u8 == tag).ok_or(Malformed)
}

pub(super) fn write_described(out: &mut BytesMut, stream: &StreamDescribed) {
    write_stream(out, stream.id);
    out.string(stream.table.as_bytes());
    out.put_u8(stream.view as u8);
    for names in [&stream.keys.hash, &stream.keys.range] {
        out.varint(names.len() as u64);
        for name in names {
            out.string(name.as_bytes());
        }
    }
    write_position(out, stream.oldest);
    option(out, stream.ended.as_ref(), |out, at| write_position(out, *at));
    write_position(out, stream.next);
}

pub(super) fn read_described(input: &mut Reader) -> Decoded<StreamDescribed> {
    Ok(StreamDescribed {
        id: read_stream(input)?,
        table: text(input)?,
        view: read_view(input)?,
        keys: KeyNames { hash: list(input, text)?, range: list(input, text)? },
        oldest: read_position(input)?,
        ended: optional(input, read_position)?,
        next: read_position(input)?,
    })
}

pub(super) fn write_records(out: &mut BytesMut, records: &Records) {
    let Records::Read { records, view, next } = records else { return out.put_u8(0) };
    out.put_u8(1);
    out.varint(records.len() as u64);
    for record in records {
        write_position(out, record.at);
        out.put_u8(record.changed as u8);
        out.flag(record.by_time);
        out.varint(record.time);
        part(out, &record.keys);
        option(out, record.old.as_ref(), part);
        option(out, record.new.as_ref(), part);
    }
    out.put_u8(*view as u8);
    option(out, next.as_ref(), |out, at| write_position(out, *at));
}

pub(super) fn read_records(input: &mut Reader) -> Decoded<Records> {
    if !input.flag()? {
        return Ok(Records::Trimmed);
    }
    let record = |input: &mut Reader| {
        let at = read_position(input)?;
        let changed = match input.u8()? {
            1 => Changed::Inserted,
            2 => Changed::Modified,
            3 => Changed::Removed,
            _ => return Err(Malformed),
        };
        let (by_time, time, keys) = (input.flag()?, input.varint()?, parsed(input)?);
        let (old, new) = (optional(input, parsed)?, optional(input, parsed)?);
        Ok(Record { at, changed, by_time, time, keys, old, new })
    };
    let records = list(input, record)?;
    Ok(Records::Read { records, view: read_view(input)?, next: optional(input, read_position)? })
}
