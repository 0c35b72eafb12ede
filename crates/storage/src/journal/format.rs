//! The bytes of the journal: segment headers, batches, records. Drawings stand in `docs/journal-format.md`.

use super::{CheckpointMark, Identity};
use bytes::{Buf, Bytes};
use quorate_base::{Append, Base, Entry, EntryId, EntryKind, HardState, Index, NodeId, ShardId, Term};

/// The first bytes of a segment.
pub const MAGIC: [u8; 8] = *b"QRTjrnl\0";
/// The format's version.
pub const VERSION: u16 = 2;
/// Bytes of a segment's header.
pub const SEGMENT_HEADER: usize = 64;
/// Bytes of a batch's header.
pub const BATCH_HEADER: usize = 32;
/// Batches begin at multiples of this.
pub const ALIGN: u64 = 8;

// Offsets in a segment's header.
/// See [`MAGIC`].
pub const MAGIC_AT: usize = 0;
/// See [`VERSION`].
pub const VERSION_AT: usize = 8;
/// The cluster.
pub const CLUSTER_AT: usize = 16;
/// The node.
pub const NODE_AT: usize = 24;
/// The segment's number, which is in its name too.
pub const GENERATION_AT: usize = 32;
/// The number of its first batch; batches from this number on in older segments are void.
pub const FIRST_BATCH_AT: usize = 40;
/// CRC32C of the 48 bytes before it.
pub const HEADER_CRC_AT: usize = 48;

// Offsets in a batch's header.
/// Bytes of the payload.
pub const LEN_AT: usize = 0;
/// CRC32C, seeded with the place, of the rest of the header and the payload.
pub const CRC_AT: usize = 4;
/// The batch's number, one more than the one before it.
pub const NUMBER_AT: usize = 8;
/// Batches up to this number were flushed before this one was written.
pub const DURABLE_AT: usize = 16;
/// A hash of the place: something was written here in this life, whatever else is harmed.
pub const MARKER_AT: usize = 24;

/// Where a batch stands; its checksum is seeded with all of it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Whose journal.
    pub identity: Identity,
    /// Which segment.
    pub generation: u64,
    /// Where in it.
    pub offset: u64,
}

impl Place {
    fn seed(&self) -> u32 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.identity.cluster.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.identity.node.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.generation.to_le_bytes());
        bytes[24..].copy_from_slice(&self.offset.to_le_bytes());
        crc32c::crc32c(&bytes)
    }

    fn marker_of(&self, seed: u32) -> u64 {
        (u64::from(seed) << 32 | u64::from(!seed)).rotate_left(13) ^ self.generation ^ self.offset
    }
}

/// What stands in a batch's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Its number.
    pub number: u64,
    /// What was flushed when it was written.
    pub durable: u64,
}

/// One thing in a batch, on its way to disk.
pub enum Record<'a> {
    /// A core's write.
    Append(&'a Append),
    /// A hard state, in a segment's opening batch.
    Hard(ShardId, HardState),
    /// A checkpoint.
    Mark(&'a CheckpointMark),
}

/// One thing in a batch, read back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stored {
    /// Consecutive entries, and the entry of the log that they were appended to.
    Entries(ShardId, EntryId, Vec<Entry>),
    /// A hard state.
    Hard(ShardId, HardState),
    /// A checkpoint.
    Mark(CheckpointMark),
}

const ENTRIES: u8 = 1;
const HARD: u8 = 2;
const MARK: u8 = 3;

/// A segment's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Whose journal.
    pub identity: Identity,
    /// The segment's number.
    pub generation: u64,
    /// The number of its first batch.
    pub first_batch: u64,
}

/// What is wrong with a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadHeader {
    /// Nothing but zeros: it was never written.
    Empty,
    /// The checksum or the magic does not hold.
    Damaged,
    /// Of another version of the format.
    Version(u16),
}

impl SegmentHeader {
    /// Its bytes.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = [0; SEGMENT_HEADER];
        out[MAGIC_AT..MAGIC_AT + 8].copy_from_slice(&MAGIC);
        out[VERSION_AT..VERSION_AT + 2].copy_from_slice(&VERSION.to_le_bytes());
        out[CLUSTER_AT..CLUSTER_AT + 8].copy_from_slice(&self.identity.cluster.to_le_bytes());
        out[NODE_AT..NODE_AT + 8].copy_from_slice(&self.identity.node.0.to_le_bytes());
        out[GENERATION_AT..GENERATION_AT + 8].copy_from_slice(&self.generation.to_le_bytes());
        out[FIRST_BATCH_AT..FIRST_BATCH_AT + 8].copy_from_slice(&self.first_batch.to_le_bytes());
        let crc = crc32c::crc32c(&out[..HEADER_CRC_AT]);
        out[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The inverse.
    pub fn decode(bytes: &[u8; SEGMENT_HEADER]) -> Result<Self, BadHeader> {
        if bytes.iter().all(|&b| b == 0) {
            return Err(BadHeader::Empty);
        }
        let version = u16::from_le_bytes([bytes[VERSION_AT], bytes[VERSION_AT + 1]]);
        let crc = read_u32(bytes, HEADER_CRC_AT);
        if bytes[..8] != MAGIC || crc != crc32c::crc32c(&bytes[..HEADER_CRC_AT]) {
            return Err(BadHeader::Damaged);
        }
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        Ok(Self {
            identity: Identity {
                cluster: read_u64(bytes, CLUSTER_AT),
                node: NodeId(read_u64(bytes, NODE_AT)),
            },
            generation: read_u64(bytes, GENERATION_AT),
            first_batch: read_u64(bytes, FIRST_BATCH_AT),
        })
    }
}

/// Appends a whole batch, padded, to `out`, which is empty or holds what stands before it.
pub fn put_batch(out: &mut Vec<u8>, place: Place, batch: Batch, records: &[Record<'_>]) {
    let start = out.len();
    out.resize(start + BATCH_HEADER, 0);
    for record in records {
        put_record(out, record);
    }
    let len = (out.len() - start - BATCH_HEADER) as u32;
    while !(out.len() - start).is_multiple_of(ALIGN as usize) {
        out.push(0);
    }
    let header = &mut out[start..];
    header[LEN_AT..LEN_AT + 4].copy_from_slice(&len.to_le_bytes());
    header[NUMBER_AT..NUMBER_AT + 8].copy_from_slice(&batch.number.to_le_bytes());
    header[DURABLE_AT..DURABLE_AT + 8].copy_from_slice(&batch.durable.to_le_bytes());
    let seed = place.seed();
    header[MARKER_AT..MARKER_AT + 8].copy_from_slice(&place.marker_of(seed).to_le_bytes());
    let crc = checksum(seed, header);
    header[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Over length, the rest of the header, payload and padding, from the place's seed.
fn checksum(seed: u32, batch: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(seed, &batch[LEN_AT..LEN_AT + 4]);
    crc32c::crc32c_append(crc, &batch[NUMBER_AT..])
}

fn put_record(out: &mut Vec<u8>, record: &Record<'_>) {
    match record {
        Record::Append(append) => {
            if let Some(hard) = append.hard {
                put_hard(out, append.shard, hard);
            }
            if !append.entries.is_empty() {
                put_entries(out, append.shard, append.prev, &append.entries);
            }
        }
        Record::Hard(shard, hard) => put_hard(out, *shard, *hard),
        Record::Mark(mark) => put_mark(out, mark),
    }
}

fn put_hard(out: &mut Vec<u8>, shard: ShardId, hard: HardState) {
    out.push(HARD);
    put_u32(out, shard.0);
    put_u64(out, hard.term.0);
    put_u64(out, hard.vote.map_or(0, |n| n.0));
    put_u64(out, hard.commit.0);
}

fn put_entries(out: &mut Vec<u8>, shard: ShardId, prev: EntryId, entries: &[Entry]) {
    out.push(ENTRIES);
    put_u32(out, shard.0);
    put_id(out, prev);
    put_u32(out, entries.len() as u32);
    for entry in entries {
        out.push(entry.kind as u8);
        put_id(out, entry.id);
        put_u32(out, entry.data.len() as u32);
        out.extend_from_slice(&entry.data);
    }
}

fn put_mark(out: &mut Vec<u8>, mark: &CheckpointMark) {
    out.push(MARK);
    put_u64(out, mark.generation);
    put_u32(out, mark.bases.len() as u32);
    for (shard, base) in &mark.bases {
        put_u32(out, shard.0);
        put_id(out, base.id);
        put_u32(out, base.membership.len() as u32);
        out.extend_from_slice(&base.membership);
    }
}

fn put_id(out: &mut Vec<u8>, id: EntryId) {
    put_u64(out, id.term.0);
    put_u64(out, id.index.0);
}

fn put_u32(out: &mut Vec<u8>, n: u32) {
    out.extend_from_slice(&n.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(&n.to_le_bytes());
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut part = [0; 4];
    part.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(part)
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut part = [0; 8];
    part.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(part)
}

/// What stands at a place where a batch may begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// A batch that verifies, and where the next would begin.
    Batch(Batch, Vec<Stored>, u64),
    /// No batch that verifies. `touched`: something of this life was written here.
    Nothing {
        /// A part of the header says that this life wrote here.
        touched: bool,
    },
}

/// Whether a batch may begin at `offset` by the length that stands there. It is what costs least to ask, and says no for all that was
/// never written.
pub fn may_begin(segment: &[u8], offset: u64) -> bool {
    let rest = segment.get(offset as usize..).unwrap_or_default();
    rest.len() >= BATCH_HEADER && fits(rest, read_u32(rest, LEN_AT) as usize)
}

fn fits(rest: &[u8], len: usize) -> bool {
    len > 0 && padded(len) <= rest.len()
}

fn padded(len: usize) -> usize {
    (BATCH_HEADER + len).next_multiple_of(ALIGN as usize)
}

/// Reads what stands at `offset` of a segment; `expected` is the number a batch here should have, if known.
pub fn read_batch(segment: &Bytes, place: Place, expected: Option<u64>) -> Found {
    let rest = segment.get(place.offset as usize..).unwrap_or_default();
    if rest.len() < BATCH_HEADER {
        return Found::Nothing { touched: false };
    }
    let len = read_u32(rest, LEN_AT) as usize;
    let batch = Batch { number: read_u64(rest, NUMBER_AT), durable: read_u64(rest, DURABLE_AT) };
    let seed = place.seed();
    let marked = read_u64(rest, MARKER_AT) == place.marker_of(seed);
    // One harmed field must not make a batch that was there look like unused space.
    let touched = marked || expected.is_some_and(|n| batch.number == n && n != 0);
    if !fits(rest, len) || !marked {
        return Found::Nothing { touched };
    }
    let padded = padded(len);
    if checksum(seed, &rest[..padded]) != read_u32(rest, CRC_AT) {
        return Found::Nothing { touched };
    }
    let from = place.offset as usize + BATCH_HEADER;
    match read_records(segment.slice(from..from + len)) {
        Some(records) => Found::Batch(batch, records, place.offset + padded as u64),
        None => Found::Nothing { touched: true },
    }
}

fn read_records(mut rest: Bytes) -> Option<Vec<Stored>> {
    let mut out = Vec::new();
    while !rest.is_empty() {
        out.push(match rest.get_u8() {
            ENTRIES => read_entries(&mut rest)?,
            HARD => Stored::Hard(ShardId(rest.try_get_u32_le().ok()?), read_hard(&mut rest)?),
            MARK => Stored::Mark(read_mark(&mut rest)?),
            _ => return None,
        });
    }
    Some(out)
}

fn read_hard(rest: &mut Bytes) -> Option<HardState> {
    let term = Term(rest.try_get_u64_le().ok()?);
    let vote = rest.try_get_u64_le().ok()?;
    let commit = Index(rest.try_get_u64_le().ok()?);
    Some(HardState { term, vote: (vote != 0).then_some(NodeId(vote)), commit })
}

fn read_entries(rest: &mut Bytes) -> Option<Stored> {
    let shard = ShardId(rest.try_get_u32_le().ok()?);
    let prev = read_id(rest)?;
    let count = rest.try_get_u32_le().ok()? as usize;
    let mut entries = Vec::with_capacity(count.min(rest.len() / 21));
    let mut last = prev;
    for _ in 0..count {
        let kind = EntryKind::from_u8(rest.try_get_u8().ok()?)?;
        let id = read_id(rest)?;
        if last.index.0.checked_add(1) != Some(id.index.0) || id.term < last.term {
            return None;
        }
        last = id;
        entries.push(Entry { kind, id, data: read_bytes(rest)? });
    }
    Some(Stored::Entries(shard, prev, entries))
}

fn read_mark(rest: &mut Bytes) -> Option<CheckpointMark> {
    let generation = rest.try_get_u64_le().ok()?;
    let count = rest.try_get_u32_le().ok()?;
    let mut bases = Vec::new();
    for _ in 0..count {
        let shard = ShardId(rest.try_get_u32_le().ok()?);
        let id = read_id(rest)?;
        bases.push((shard, Base { id, membership: read_bytes(rest)? }));
    }
    Some(CheckpointMark { generation, bases })
}

fn read_id(rest: &mut Bytes) -> Option<EntryId> {
    let term = Term(rest.try_get_u64_le().ok()?);
    Some(EntryId::new(term, Index(rest.try_get_u64_le().ok()?)))
}

fn read_bytes(rest: &mut Bytes) -> Option<Bytes> {
    let len = rest.try_get_u32_le().ok()? as usize;
    (len <= rest.len()).then(|| rest.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;

    /// The page and the constants say the same.
    #[test]
    fn the_page_names_these_offsets() {
        let page = include_str!("../../../../docs/journal-format.md");
        let (segment, batch) = page.split_once("## A batch").unwrap();
        let row = |at: usize, what: &str| format!("| {at} | ") + what;
        for (at, start) in [
            (MAGIC_AT, "8 | magic"),
            (VERSION_AT, "2 | format version, 2"),
            (CLUSTER_AT, "8 | cluster"),
            (NODE_AT, "8 | node"),
            (GENERATION_AT, "8 | the segment's number"),
            (FIRST_BATCH_AT, "8 | the number of its first batch"),
            (HEADER_CRC_AT, "4 | CRC32C"),
            (SEGMENT_HEADER, "| batches"),
        ] {
            assert!(segment.contains(&row(at, start)), "{at} {start}");
        }
        for (at, start) in [
            (LEN_AT, "4 | bytes of the payload"),
            (CRC_AT, "4 | CRC32C"),
            (NUMBER_AT, "8 | its number"),
            (DURABLE_AT, "8 | batches up to"),
            (MARKER_AT, "8 | a hash of"),
            (BATCH_HEADER, "| records"),
        ] {
            assert!(batch.contains(&row(at, start)), "{at} {start}");
        }
    }

    fn place() -> Place {
        let identity = Identity { cluster: 1, node: NodeId(2) };
        Place { identity, generation: 3, offset: SEGMENT_HEADER as u64 }
    }

    /// A segment with one batch of this payload, whose checksum holds whatever the payload is.
    fn sealed(payload: &[u8]) -> Bytes {
        let mut out = vec![0; SEGMENT_HEADER];
        put_batch(&mut out, place(), Batch { number: 7, durable: 6 }, &[]);
        out.extend_from_slice(payload);
        while !out.len().is_multiple_of(ALIGN as usize) {
            out.push(0);
        }
        let batch = &mut out[SEGMENT_HEADER..];
        batch[LEN_AT..LEN_AT + 4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let crc = checksum(place().seed(), batch);
        batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        out.into()
    }

    fn random(rng: &mut Rng, most: u64) -> Bytes {
        (0..rng.below(most)).map(|_| rng.next_u64() as u8).collect()
    }

    fn records(rng: &mut Rng) -> (Append, CheckpointMark) {
        let shard = ShardId(rng.next_u64() as u32);
        let id = |rng: &mut Rng| EntryId::new(Term(rng.next_u64()), Index(rng.next_u64()));
        let prev = EntryId::new(Term(rng.below(1 << 40)), Index(rng.below(1 << 40)));
        let mut last = prev;
        let mut entry = |rng: &mut Rng| {
            last = EntryId::new(Term(last.term.0 + rng.below(2)), last.index.next());
            Entry { kind: EntryKind::Command, id: last, data: random(rng, 30) }
        };
        let entries = (0..rng.below(4)).map(|_| entry(rng)).collect();
        let vote = rng.chance(1, 2).then(|| NodeId(rng.between(1, u64::MAX - 1)));
        let hard = HardState { term: Term(rng.next_u64()), vote, commit: Index(rng.next_u64()) };
        let base = Base { id: id(rng), membership: random(rng, 30) };
        let mark = CheckpointMark { generation: rng.next_u64(), bases: vec![(shard, base)] };
        (Append { shard, write: quorate_base::WriteId(1), hard: Some(hard), prev, entries }, mark)
    }

    /// Claim: the checksum covers all of a batch, its number and what it says was flushed among it: no bit of it flips unseen.
    #[test]
    fn no_bit_of_a_batch_flips_unseen() {
        let mut out = vec![0; SEGMENT_HEADER];
        let hard = HardState { term: Term(3), vote: Some(NodeId(2)), commit: Index(4) };
        put_batch(&mut out, place(), Batch { number: 7, durable: 6 }, &[Record::Hard(ShardId(1), hard)]);
        assert!(matches!(read_batch(&out.clone().into(), place(), None), Found::Batch(..)));
        for bit in SEGMENT_HEADER * 8..out.len() * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let found = read_batch(&bad.into(), place(), None);
            assert!(matches!(found, Found::Nothing { .. }), "bit {bit}: {found:?}");
        }
    }

    /// Claim: a batch verifies in its own place alone: not in another cluster, node, segment, or offset.
    #[test]
    fn a_batch_is_of_one_place() {
        let batch = |offset: u64| {
            let mut out = vec![0; SEGMENT_HEADER];
            let hard = HardState { term: Term(3), vote: Some(NodeId(2)), commit: Index(4) };
            put_batch(&mut out, place(), Batch { number: 7, durable: 6 }, &[Record::Hard(ShardId(1), hard)]);
            out.splice(0..0, vec![0; offset as usize - SEGMENT_HEADER]);
            Bytes::from(out)
        };
        let (own, Identity { cluster, node }) = (place(), place().identity);
        assert!(matches!(read_batch(&batch(own.offset), own, None), Found::Batch(..)));
        for other in [
            Place { identity: Identity { cluster: cluster + 1, node }, ..own },
            Place { identity: Identity { cluster, node: NodeId(node.0 + 1) }, ..own },
            Place { generation: own.generation + 1, ..own },
            Place { offset: own.offset + ALIGN, ..own },
        ] {
            let found = read_batch(&batch(other.offset), other, None);
            assert_eq!(found, Found::Nothing { touched: false }, "{other:?}");
        }
    }

    /// Claim: a record of a kind that is not known is no end of a batch that is read: what stands behind it is not known to be nothing.
    #[test]
    fn an_unknown_record_is_not_passed_over() {
        let mut payload = Vec::new();
        put_hard(&mut payload, ShardId(1), HardState::default());
        assert!(matches!(read_batch(&sealed(&payload), place(), Some(7)), Found::Batch(..)));
        for kind in [0, 4, 255] {
            let found = read_batch(&sealed(&[&payload[..], &[kind]].concat()), place(), Some(7));
            assert_eq!(found, Found::Nothing { touched: true }, "kind {kind}");
        }
    }

    /// Seed 5: checksums that hold over nonsense, headers of noise. An error or a value, never a panic, and no room for what
    /// only a number claims.
    #[test]
    fn no_bytes_are_a_panic() {
        let mut rng = Rng::new(5);
        let (mut read, mut refused) = (0, 0);
        let mut look = |payload: &[u8]| match read_batch(&sealed(payload), place(), Some(7)) {
            Found::Batch(_, records, _) => {
                let entries = |r: &Stored| if let Stored::Entries(_, _, e) = r { e.capacity() } else { 0 };
                assert!(records.iter().map(entries).sum::<usize>() <= payload.len().max(4));
                read += 1;
            }
            Found::Nothing { touched } => {
                assert!(touched || payload.is_empty(), "a batch that was sealed is not unused space");
                refused += 1;
            }
        };
        for _ in 0..1_000 {
            look(&random(&mut rng, 100));
            let (append, mark) = records(&mut rng);
            let mut payload = Vec::new();
            put_record(&mut payload, &Record::Append(&append));
            put_record(&mut payload, &Record::Mark(&mark));
            look(&payload);
            for cut in 0..payload.len() {
                look(&payload[..cut]);
                let mut huge = payload.clone();
                let n = *rng.pick(&[u32::MAX, i32::MAX as u32, 1 << 31, 1 << 20]);
                let end = (cut + 4).min(huge.len());
                huge[cut..end].copy_from_slice(&n.to_le_bytes()[..end - cut]);
                look(&huge);
            }
            let mut header = [0; SEGMENT_HEADER];
            header.fill_with(|| rng.next_u64() as u8);
            assert!(SegmentHeader::decode(&header).is_err());
            let _ = read_batch(&random(&mut rng, 200), place(), None);
        }
        assert!(read > 1_000 && refused > 1_000, "{read} read, {refused} refused");
    }

    #[test]
    fn what_is_written_is_read() {
        let mut rng = Rng::new(6);
        for round in 0..500 {
            let (append, mark) = records(&mut rng);
            let mut out = vec![0; SEGMENT_HEADER];
            let batch = Batch { number: 7, durable: 6 };
            put_batch(&mut out, place(), batch, &[Record::Append(&append), Record::Mark(&mark)]);
            let mut expected = vec![Stored::Hard(append.shard, append.hard.unwrap())];
            if !append.entries.is_empty() {
                expected.push(Stored::Entries(append.shard, append.prev, append.entries));
            }
            expected.push(Stored::Mark(mark));
            let end = out.len() as u64;
            let found = read_batch(&out.into(), place(), None);
            assert_eq!(found, Found::Batch(batch, expected, end), "seed 6, round {round}");
        }
        let header = SegmentHeader { identity: place().identity, generation: 3, first_batch: 7 };
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
        let mut newer = header.encode();
        newer[VERSION_AT] = 9;
        let crc = crc32c::crc32c(&newer[..HEADER_CRC_AT]);
        newer[HEADER_CRC_AT..HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(BadHeader::Version(9)));
    }
}
