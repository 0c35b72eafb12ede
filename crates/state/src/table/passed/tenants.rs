//! What is asked of tenants that move, as bytes.
//!
//! ```text
//! part     := 1 | 2 row | 3                     seen := option(stands) moved locked count { row noted option(item) } more
//! ```

use super::{Decoded, Malformed, Reader, Write, list, option, optional};
use crate::table::tenants::{Part, TenantSeen, read_stands, write_stands};
use bytes::{BufMut, BytesMut};
use quorate_base::Index;

pub(super) fn write_part(out: &mut BytesMut, part: &Part) {
    match part {
        Part::Standing => out.put_u8(1),
        Part::Rows(after) => {
            out.put_u8(2);
            out.string(after);
        }
        Part::Noted => out.put_u8(3),
    }
}

pub(super) fn read_part(input: &mut Reader) -> Decoded<Part> {
    Ok(match input.u8()? {
        1 => Part::Standing,
        2 => Part::Rows(input.bytes()?),
        3 => Part::Noted,
        _ => return Err(Malformed),
    })
}

pub(super) fn write_seen(out: &mut BytesMut, seen: &TenantSeen) {
    let TenantSeen { stands, moved, locked, rows, more } = seen;
    option(out, stands.as_ref(), |out, stands| out.put_slice(&write_stands(stands)));
    out.varint(moved.get());
    out.flag(*locked);
    out.varint(rows.len() as u64);
    for (at, noted, item) in rows {
        out.string(at);
        out.varint(*noted);
        option(out, item.as_ref(), |out, item| out.string(item));
    }
    out.flag(*more);
}

pub(super) fn read_seen(input: &mut Reader) -> Decoded<TenantSeen> {
    let stands = optional(input, read_stands)?;
    let (moved, locked) = (Index(input.varint()?), input.flag()?);
    let row = |input: &mut Reader| {
        let (at, noted) = (input.bytes()?, input.varint()?);
        Ok((at, noted, optional(input, Reader::bytes)?))
    };
    Ok(TenantSeen { stands, moved, locked, rows: list(input, row)?, more: input.flag()? })
}
