//! The commands of tables that are divided by directory: in which shard a tenant lies, which is all items of a partition key, and the steps
//! by which it moves to another one (`state::table::tenants`).

use super::codec::{list, small};
use crate::codec::{Malformed, Read, Reader, Write};
use bytes::{BufMut, Bytes, BytesMut};

/// Where one tenant lies, of one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tenant {
    /// The table's number.
    pub table: u32,
    /// Its partition key, as rows have it.
    pub key: Bytes,
}

/// A word about a tenant in shard 1, where the directory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Assigned {
    /// It is to lie in the how-manieth shard of the table.
    To(u32),
    /// The same of one that is not listed yet; one that is stays where it lies.
    New(u32),
    /// The shard that it moved to by the word at that place in shard 1's log has it.
    Arrived(u64),
    /// Nothing of it is left where it was before.
    Swept(u64),
}

/// A row of a tenant: its item, encoded, or that there is none any more.
pub type Copied = (Bytes, Option<Bytes>);

/// A step of a move, in the shard that a tenant leaves or in the one that it comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Where it leaves: what is written from now on is noted. Writes go on, also if they were held back before.
    Leave,
    /// Where it leaves: what was noted of these rows was copied, unless it was written at another place in the log since.
    Noted(Vec<(Bytes, u64)>),
    /// Where it leaves: writes are held back.
    Seal,
    /// Where it leaves: it is not here any more, if all that was noted was copied and no transaction holds any of it.
    Close,
    /// Where it left: so many of its items go.
    Sweep(u32),
    /// Where it comes to: it is coming, and nobody reads or writes it yet.
    Come,
    /// Where it comes to: some of its rows, if the step before was at that place in the log.
    Copy {
        /// The place.
        behind: u64,
        /// They.
        rows: Vec<Copied>,
        /// All rows up to this one have been copied now, if these are a part of the first round through them.
        upto: Option<Bytes>,
        /// That round ends with them.
        whole: bool,
    },
    /// Where it comes to: it is here, if that round is through.
    Open,
}

impl Step {
    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        let row = |(at, item): &Copied| 16 + at.len() + item.as_ref().map_or(0, Bytes::len);
        match self {
            Self::Copy { rows, .. } => 256 + rows.iter().map(row).sum::<usize>(),
            Self::Noted(rows) => 256 + rows.iter().map(|(at, _)| 16 + at.len()).sum::<usize>(),
            _ => 256,
        }
    }
}

pub(super) fn write_tenant(out: &mut BytesMut, tenant: &Tenant) {
    out.varint(tenant.table.into());
    out.string(&tenant.key);
}

pub(super) fn read_tenant(input: &mut Reader) -> Read<Tenant> {
    Ok(Tenant { table: small(input)?, key: input.bytes()? })
}

pub(super) fn write_assigned(out: &mut BytesMut, assigned: Assigned) {
    let (kind, number) = match assigned {
        Assigned::To(shard) => (1, shard.into()),
        Assigned::Arrived(since) => (2, since),
        Assigned::Swept(since) => (3, since),
        Assigned::New(shard) => (4, shard.into()),
    };
    out.put_u8(kind);
    out.varint(number);
}

pub(super) fn read_assigned(input: &mut Reader) -> Read<Assigned> {
    Ok(match input.u8()? {
        1 => Assigned::To(small(input)?),
        2 => Assigned::Arrived(input.varint()?),
        3 => Assigned::Swept(input.varint()?),
        4 => Assigned::New(small(input)?),
        _ => return Err(Malformed),
    })
}

fn write_option(out: &mut BytesMut, bytes: Option<&Bytes>) {
    out.flag(bytes.is_some());
    if let Some(bytes) = bytes {
        out.string(bytes);
    }
}

fn option(input: &mut Reader) -> Read<Option<Bytes>> {
    if input.flag()? { input.bytes().map(Some) } else { Ok(None) }
}

pub(super) fn write_step(out: &mut BytesMut, step: &Step) {
    match step {
        Step::Leave => out.put_u8(1),
        Step::Noted(rows) => {
            out.put_u8(2);
            out.varint(rows.len() as u64);
            for (at, version) in rows {
                out.string(at);
                out.varint(*version);
            }
        }
        Step::Seal => out.put_u8(3),
        Step::Close => out.put_u8(4),
        Step::Sweep(items) => {
            out.put_u8(5);
            out.varint((*items).into());
        }
        Step::Come => out.put_u8(6),
        Step::Copy { behind, rows, upto, whole } => {
            out.put_u8(7);
            out.varint(*behind);
            out.varint(rows.len() as u64);
            for (at, item) in rows {
                out.string(at);
                write_option(out, item.as_ref());
            }
            write_option(out, upto.as_ref());
            out.flag(*whole);
        }
        Step::Open => out.put_u8(8),
    }
}

pub(super) fn read_step(input: &mut Reader) -> Read<Step> {
    Ok(match input.u8()? {
        1 => Step::Leave,
        2 => Step::Noted(list(input, |input| Ok((input.bytes()?, input.varint()?)))?),
        3 => Step::Seal,
        4 => Step::Close,
        5 => Step::Sweep(small(input)?),
        6 => Step::Come,
        7 => {
            let behind = input.varint()?;
            let rows = list(input, |input| Ok((input.bytes()?, option(input)?)))?;
            Step::Copy { behind, rows, upto: option(input)?, whole: input.flag()? }
        }
        8 => Step::Open,
        _ => return Err(Malformed),
    })
}
