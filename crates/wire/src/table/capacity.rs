//! What tables and global indexes are told of their capacity beside the units themselves, and what they remember of it. None of
//! it bounds anything here: it is kept since DynamoDB's clients ask for what they have set.

use super::codec::small;
use crate::codec::{Malformed, Read, Reader, Write};
use bytes::{BufMut, BytesMut};

/// Capacity, as it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Throughput {
    /// Reads of 4 KiB a second.
    pub read: u64,
    /// Writes of 1 KiB a second.
    pub write: u64,
}

/// What a table, or a global index of it, knows of its capacity beside its [`Throughput`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capacity {
    /// The most reads a second, where it is paid for by request.
    pub most_reads: Option<u64>,
    /// The most writes a second.
    pub most_writes: Option<u64>,
    /// What it is to be ready for at once: never less than it was before.
    pub warm: Option<Throughput>,
    /// When its throughput grew last.
    pub grew: Option<u64>,
    /// When its throughput shrank last.
    pub shrank: Option<u64>,
    /// How often it was made to shrink on that day.
    pub decreases: u32,
}

/// What is to become of a [`Capacity`]: what is `None` stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CapacityChange {
    /// The most reads a second; the inner `None` is no bound.
    pub most_reads: Option<Option<u64>>,
    /// The most writes a second; the inner `None` is no bound.
    pub most_writes: Option<Option<u64>>,
    /// Reads that it is to be ready for.
    pub warm_reads: Option<u64>,
    /// Writes that it is to be ready for.
    pub warm_writes: Option<u64>,
}

impl Capacity {
    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl CapacityChange {
    /// Nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) fn write_throughput(out: &mut BytesMut, throughput: Throughput) {
    out.varint(throughput.read);
    out.varint(throughput.write);
}

pub(super) fn read_throughput(input: &mut Reader) -> Read<Throughput> {
    Ok(Throughput { read: input.varint()?, write: input.varint()? })
}

/// Numbers that may be missing: a byte says which are there.
pub(super) fn write_numbers(out: &mut BytesMut, numbers: &[Option<u64>]) {
    let there = numbers.iter().enumerate().map(|(at, number)| u8::from(number.is_some()) << at);
    out.put_u8(there.sum());
    for number in numbers.iter().flatten() {
        out.varint(*number);
    }
}

pub(super) fn read_numbers<const N: usize>(input: &mut Reader) -> Read<[Option<u64>; N]> {
    let there = input.u8()?;
    if u32::from(there) >= 1 << N {
        return Err(Malformed);
    }
    let mut numbers = [None; N];
    for (at, number) in numbers.iter_mut().enumerate() {
        if there & (1 << at) != 0 {
            *number = Some(input.varint()?);
        }
    }
    Ok(numbers)
}

pub(super) fn write_capacity(out: &mut BytesMut, capacity: &Capacity) {
    let Capacity { most_reads, most_writes, warm, grew, shrank, decreases } = capacity;
    let (warm_reads, warm_writes) = (warm.map(|warm| warm.read), warm.map(|warm| warm.write));
    write_numbers(out, &[*most_reads, *most_writes, warm_reads, warm_writes, *grew, *shrank]);
    out.varint(u64::from(*decreases));
}

pub(super) fn read_capacity(input: &mut Reader) -> Read<Capacity> {
    let [most_reads, most_writes, warm_reads, warm_writes, grew, shrank] = read_numbers(input)?;
    let warm = match (warm_reads, warm_writes) {
        (Some(read), Some(write)) => Some(Throughput { read, write }),
        (None, None) => None,
        _ => return Err(Malformed),
    };
    Ok(Capacity { most_reads, most_writes, warm, grew, shrank, decreases: small(input)? })
}

/// A bound that is taken away is written as 0, which none is.
pub(super) fn write_capacity_change(out: &mut BytesMut, change: &CapacityChange) {
    let CapacityChange { most_reads, most_writes, warm_reads, warm_writes } = change;
    let most = |bound: &Option<Option<u64>>| bound.map(|bound| bound.unwrap_or(0));
    write_numbers(out, &[most(most_reads), most(most_writes), *warm_reads, *warm_writes]);
}

pub(super) fn read_capacity_change(input: &mut Reader) -> Read<CapacityChange> {
    let [most_reads, most_writes, warm_reads, warm_writes] = read_numbers(input)?;
    let most = |bound: Option<u64>| bound.map(|bound| Some(bound).filter(|bound| *bound > 0));
    Ok(CapacityChange {
        most_reads: most(most_reads),
        most_writes: most(most_writes),
        warm_reads,
        warm_writes,
    })
}
