//! What a start makes of the segments it finds.
//!
//! Segments are read in order. Where a place does not hold the batch that should stand there, six questions are asked, and
//! [`decide`] answers for every combination of their answers; a test walks through all of them.
//!
//! | row | place | decision |
//! | --- | --- | --- |
//! | R1 | the batch verifies and has the next number | take it |
//! | R2 | it verifies, but a newer segment's header says that such numbers are void | end of this segment |
//! | R3 | nothing verifies, and a newer segment continues the numbers from here | end of this segment |
//! | R4 | nothing verifies, later batches verify and prove that this one was flushed | damage |
//! | R5 | nothing verifies, later batches verify, this one was not proven flushed | damage that may be a torn write: withhold |
//! | R6 | nothing verifies, nothing follows, something of this life was written here | torn tail that may have been acknowledged: withhold |
//! | R7 | nothing verifies, nothing follows, nothing was written here | end of the log |
//!
//! A torn tail looks like damage of the last batch (Alagappan et al., FAST'18), so R6 withholds: the replica neither votes
//! nor counts on what it has, until its peers have shown it the log again. After R4 and R5 reading goes on behind the
//! place, to learn which entries were here; the log of a shard ends at its first gap.
//!
//! What remains: a damaged batch may have *replaced* entries. Where a log ended in t1:150, t2:150 replaced it and was damaged,
//! and t2:151 followed, the indexes leave no gap, and t2:151 is joined to t1:150, which no leader's log ever had (simulator,
//! seed 2321, about one of 3,000 with flips). To end the log wherever a term changes behind damage is no cure: it cuts what
//! later starts, which began with the shorter log, have since proven. What would do is a record of the log's last id in each
//! start's opening batch, so that a reading knows whether that start had seen the same log.

use super::format::{
    ALIGN, BadHeader, Batch, Found, Place, SEGMENT_HEADER, SegmentHeader, Stored, read_batch,
};
use super::{CheckpointMark, Damage, Identity, JournalError, Mutant, Old, Recovered, ShardLog};
use bytes::Bytes;
use quorate_base::disk::{Disk, DiskError, DiskErrorKind};
use quorate_base::{Base, Entry, HardState, Index, ShardId, Term};
use std::collections::BTreeMap;

/// The answers at one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place6 {
    /// A batch verifies here.
    pub verifies: bool,
    /// A newer segment says that batches of this number are void, or that its own begin with the number due here.
    pub superseded: bool,
    /// Batches verify further on, in this segment or a newer one.
    pub later: bool,
    /// One of them says that the batch due here had been flushed.
    pub proven: bool,
    /// Something of this life was written here.
    pub touched: bool,
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// R1.
    Take,
    /// R2 and R3.
    EndOfSegment,
    /// R4.
    Damaged,
    /// R5.
    MaybeTorn,
    /// R6.
    TornTail,
    /// R7.
    EndOfLog,
}

/// The table.
pub const fn decide(at: Place6) -> Decision {
    match at {
        Place6 { superseded: true, .. } => Decision::EndOfSegment,
        Place6 { verifies: true, .. } => Decision::Take,
        Place6 { later: true, proven: true, .. } => Decision::Damaged,
        Place6 { later: true, proven: false, .. } => Decision::MaybeTorn,
        Place6 { later: false, touched: true, .. } => Decision::TornTail,
        Place6 { later: false, touched: false, .. } => Decision::EndOfLog,
    }
}

/// The outcome of reading all segments.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) recovered: Recovered,
    pub(super) next_generation: u64,
    pub(super) next_batch: u64,
    /// The segments found, oldest first.
    pub(super) segments: Vec<ReadSegment>,
    harmless: Vec<Damage>,
}

/// A segment as it was read.
pub(super) struct ReadSegment {
    pub(super) name: String,
    /// The highest index of each shard in it.
    upto: BTreeMap<ShardId, Index>,
    harmed: bool,
}

impl ReadSegment {
    /// To the journal it is an old one; `newest` is the newest term that is known.
    pub(super) fn into_old(self, newest: Term) -> Old {
        Old { name: self.name, upto: self.upto, witness_of: self.harmed.then_some(newest) }
    }
}

struct Segment {
    name: String,
    header: SegmentHeader,
    bytes: Bytes,
}

/// Reads everything in `dir`.
pub(super) fn recover(
    disk: &dyn Disk,
    dir: &str,
    identity: Identity,
    mutant: Option<Mutant>,
) -> Result<Outcome, JournalError> {
    let mut outcome = Outcome { next_generation: 1, next_batch: 1, ..Outcome::default() };
    let (segments, damage) = read_segments(disk, dir, identity, &mut outcome)?;
    let mut replay = Replay { any_damage: damage, ..Replay::default() };
    let mut next_batch = 1;
    for (at, segment) in segments.iter().enumerate() {
        let newer = segments.get(at + 1).map(|s| s.header.first_batch);
        let mut reader = SegmentReader { dir, segment, identity, newer };
        replay.upto = BTreeMap::new();
        let damage = replay.any_damage.len();
        next_batch = reader.read(&mut replay, next_batch.max(segment.header.first_batch), mutant);
        let (name, upto) = (segment.name.clone(), std::mem::take(&mut replay.upto));
        outcome.segments.push(ReadSegment { name, upto, harmed: replay.any_damage.len() > damage });
    }
    outcome.next_batch = next_batch;
    outcome.recovered = Recovered { harmless: std::mem::take(&mut outcome.harmless), ..replay.finish() };
    Ok(outcome)
}

fn read_segments(
    disk: &dyn Disk,
    dir: &str,
    identity: Identity,
    outcome: &mut Outcome,
) -> Result<(Vec<Segment>, Vec<Damage>), JournalError> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut damage = Vec::new();
    for name in disk.list(dir)? {
        let Some(generation) = name.strip_suffix(".seg").and_then(|n| n.parse::<u64>().ok()) else {
            continue;
        };
        outcome.next_generation = outcome.next_generation.max(generation + 1);
        let path = format!("{dir}/{name}");
        let bytes = read_file(disk, &path)?;
        let mut head = [0; SEGMENT_HEADER];
        // One that was cut off in its creation holds nothing but zeros.
        let part = &bytes[..bytes.len().min(SEGMENT_HEADER)];
        head[..part.len()].copy_from_slice(part);
        match SegmentHeader::decode(&head) {
            Ok(header) if header.identity != identity => {
                return Err(JournalError::Foreign { file: path, found: header.identity });
            }
            Ok(header) if header.generation == generation => {
                segments.push(Segment { name, header, bytes });
            }
            // A recycled file that was renamed and not yet begun.
            Ok(_) | Err(BadHeader::Empty) => {
                outcome.segments.push(ReadSegment { name, upto: BTreeMap::new(), harmed: false });
            }
            Err(BadHeader::Newer(version)) => return Err(JournalError::Newer { file: path, version }),
            Err(BadHeader::Damaged) => {
                let what = "the segment's header is damaged; its entries come back from the peers";
                // Its first batch still tells its number, if it verifies: a header is only a label.
                let first = first_batch(&bytes, identity, generation);
                if let Some(first_batch) = first {
                    let what = "the segment's header is damaged; its first batch says the same";
                    outcome.harmless.push(Damage { file: path, offset: 0, what, certain: false });
                    let header = SegmentHeader { identity, generation, first_batch };
                    segments.push(Segment { name, header, bytes });
                } else {
                    damage.push(Damage { file: path, offset: 0, what, certain: false });
                    outcome.segments.push(ReadSegment { name, upto: BTreeMap::new(), harmed: true });
                }
            }
        }
    }
    segments.sort_by_key(|s| s.header.generation);
    Ok((segments, damage))
}

fn first_batch(bytes: &Bytes, identity: Identity, generation: u64) -> Option<u64> {
    let place = Place { identity, generation, offset: SEGMENT_HEADER as u64 };
    match read_batch(bytes, place, None) {
        Found::Batch(batch, ..) => Some(batch.number),
        Found::Nothing { .. } => None,
    }
}

fn read_file(disk: &dyn Disk, path: &str) -> Result<Bytes, DiskError> {
    let file = disk.open(path)?;
    let size = file.size()?;
    if size > 1 << 32 {
        return Err(DiskError {
            kind: DiskErrorKind::Io,
            context: format!("read {path}"),
            message: format!("{size} bytes are no segment"),
        });
    }
    let mut bytes = vec![0; size as usize];
    file.read_at(0, &mut bytes)?;
    Ok(bytes.into())
}

struct SegmentReader<'a> {
    dir: &'a str,
    segment: &'a Segment,
    identity: Identity,
    newer: Option<u64>,
}

impl SegmentReader<'_> {
    fn place(&self, offset: u64) -> Place {
        Place { identity: self.identity, generation: self.segment.header.generation, offset }
    }

    /// Replays the segment; gives the number of the batch due after it.
    fn read(&mut self, replay: &mut Replay, mut next: u64, mutant: Option<Mutant>) -> u64 {
        let mut offset = SEGMENT_HEADER as u64;
        loop {
            let found = read_batch(&self.segment.bytes, self.place(offset), Some(next));
            let (verifies, touched) = match &found {
                Found::Batch(batch, ..) => (batch.number == next, true),
                Found::Nothing { touched } => (false, *touched),
            };
            let superseded = self.newer.is_some_and(|first| next >= first);
            let later = if verifies || superseded { None } else { self.next_valid(offset, next) };
            let proven = later.as_ref().is_some_and(|(batch, _)| batch.durable >= next)
                || (later.is_none() && self.newer.is_some());
            let at = Place6 {
                verifies,
                superseded,
                later: later.is_some() || (!verifies && !superseded && self.newer.is_some()),
                proven,
                touched,
            };
            let truncates = cfg!(feature = "mutants") && mutant == Some(Mutant::CorruptMiddleTruncated);
            match decide(at) {
                Decision::Take => {
                    if let Found::Batch(_, records, end) = found {
                        replay.take(records);
                        offset = end;
                        next += 1;
                    }
                }
                Decision::EndOfSegment => return next,
                Decision::EndOfLog => return next.max(self.newer.unwrap_or(0)),
                Decision::Damaged | Decision::MaybeTorn if truncates => return next,
                Decision::Damaged => {
                    let what = "a batch does not verify; it comes back from the peers";
                    replay.damaged(Damage { certain: later.is_some(), ..self.damage(offset, what) });
                    match later {
                        Some((batch, at)) => (next, offset) = (batch.number, at),
                        None => return self.newer.unwrap_or(next),
                    }
                }
                Decision::MaybeTorn => {
                    replay.damaged(self.damage(offset, "a batch was torn or damaged before a later one"));
                    match later {
                        Some((batch, at)) => (next, offset) = (batch.number, at),
                        None => return self.newer.unwrap_or(next),
                    }
                }
                Decision::TornTail => {
                    replay.damaged(self.damage(offset, "the last batch was torn or damaged"));
                    return next + 1;
                }
            }
        }
    }

    fn damage(&self, offset: u64, what: &'static str) -> Damage {
        Damage { file: format!("{}/{}", self.dir, self.segment.name), offset, what, certain: false }
    }

    /// The next place behind `offset` where a batch with a number above `next - 1` verifies.
    fn next_valid(&self, offset: u64, next: u64) -> Option<(Batch, u64)> {
        let mut at = offset + ALIGN;
        while at < self.segment.bytes.len() as u64 {
            if let Found::Batch(batch, ..) = read_batch(&self.segment.bytes, self.place(at), None)
                && batch.number >= next
                && self.newer.is_none_or(|first| batch.number < first)
            {
                return Some((batch, at));
            }
            at += ALIGN;
        }
        None
    }
}

/// The shards' logs as the batches make them.
#[derive(Default)]
struct Replay {
    shards: BTreeMap<ShardId, Shard>,
    mark: Option<CheckpointMark>,
    upto: BTreeMap<ShardId, Index>,
    any_damage: Vec<Damage>,
}

/// One shard's log as far as it was read. Entries may stand apart: what lies between may be damaged, or in segments that
/// went because a checkpoint, whose record is yet to come, covers them.
#[derive(Default)]
struct Shard {
    hard: HardState,
    base: Base,
    entries: BTreeMap<Index, Entry>,
    seen: Index,
    /// Where flushed batches were damaged, and no entries have followed yet.
    harmed_behind: bool,
}

impl Replay {
    fn take(&mut self, records: Vec<Stored>) {
        for record in records {
            match record {
                Stored::Hard(shard, hard) => {
                    let shard = self.shards.entry(shard).or_default();
                    if hard.term >= shard.hard.term {
                        shard.hard = hard;
                    }
                }
                Stored::Entries(shard, entries) => self.entries(shard, entries),
                Stored::Mark(mark) => self.mark(mark),
            }
        }
    }

    fn entries(&mut self, shard: ShardId, entries: Vec<Entry>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let upto = self.upto.entry(shard).or_default();
        *upto = (*upto).max(last.id.index);
        let shard = self.shards.entry(shard).or_default();
        shard.seen = last.id.index;
        shard.harmed_behind = false;
        shard.entries.split_off(&first.id.index);
        let base = shard.base.id.index;
        shard.entries.extend(entries.into_iter().filter(|e| e.id.index > base).map(|e| (e.id.index, e)));
    }

    fn mark(&mut self, mark: CheckpointMark) {
        if self.mark.as_ref().is_some_and(|m| m.generation > mark.generation) {
            return;
        }
        for (shard, base) in &mark.bases {
            self.shards.entry(*shard).or_default().rebase(base);
        }
        self.mark = Some(mark);
    }

    fn damaged(&mut self, damage: Damage) {
        for shard in self.shards.values_mut() {
            shard.harmed_behind |= damage.certain;
        }
        self.any_damage.push(damage);
    }

    fn finish(self) -> Recovered {
        let damage = self.any_damage;
        let bases = self.mark.as_ref().map_or(&[][..], |mark| &mark.bases);
        let known = |id: &ShardId| bases.iter().any(|(s, _)| s == id);
        let finish = |(id, shard): (ShardId, Shard)| {
            if known(&id) {
                return Some((id, shard.finish(&damage)));
            }
            // A shard that no checkpoint knows was never begun; unless that record is what was damaged.
            (!damage.is_empty()).then(|| (id, shard.finish_without_base(&damage)))
        };
        let shards = self.shards.into_iter().filter_map(finish).collect();
        Recovered { shards, checkpoint: self.mark, damage, harmless: Vec::new() }
    }
}

impl Shard {
    /// The state stands for everything up to `base` now; the log behind it stays if it continues it.
    fn rebase(&mut self, base: &Base) {
        if base.id.index < self.base.id.index {
            return;
        }
        let at = base.id.index;
        let other = self.entries.get(&at).is_some_and(|e| e.id != base.id);
        // Terms never fall along a log, so a lower one belongs to a log that the snapshot replaced.
        let older = self.entries.get(&at.next()).is_some_and(|e| e.id.term < base.id.term);
        self.entries = if other || older { BTreeMap::new() } else { self.entries.split_off(&at.next()) };
        self.base = base.clone();
    }

    /// The longest run behind the base; what stands apart from it was here, and may have been acknowledged.
    fn finish(self, damage: &[Damage]) -> ShardLog {
        let mut end = self.base.id.index;
        let mut entries = Vec::new();
        for (index, entry) in self.entries {
            if index != end.next() {
                break;
            }
            end = index;
            entries.push(entry);
        }
        let harmed = !damage.is_empty();
        let withheld_upto = (harmed || self.seen > end).then(|| self.seen.max(end.next()));
        let certain = damage.iter().any(|d| d.certain);
        ShardLog {
            based: true,
            entries_lost: self.harmed_behind || (certain && self.seen > end),
            hard: self.hard,
            base: self.base,
            entries,
            withheld_upto,
            hard_uncertain: harmed,
            damage: damage.to_vec(),
        }
    }

    /// All that was read; whoever finds the base elsewhere takes what follows it.
    fn finish_without_base(self, damage: &[Damage]) -> ShardLog {
        ShardLog {
            hard: self.hard,
            entries: self.entries.into_values().collect(),
            withheld_upto: Some(self.seen.next()),
            hard_uncertain: true,
            entries_lost: self.harmed_behind,
            damage: damage.to_vec(),
            ..ShardLog::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each combination of answers falls into the row that the page's table gives it.
    #[test]
    fn the_table_is_total_and_says_what_the_page_says() {
        let bools = [false, true];
        let mut seen = BTreeMap::new();
        for verifies in bools {
            for superseded in bools {
                for later in bools {
                    for proven in bools {
                        for touched in bools {
                            let at = Place6 { verifies, superseded, later, proven, touched };
                            let rows = [
                                (Decision::Take, verifies && !superseded),
                                (Decision::EndOfSegment, superseded),
                                (Decision::Damaged, !verifies && !superseded && later && proven),
                                (Decision::MaybeTorn, !verifies && !superseded && later && !proven),
                                (Decision::TornTail, !verifies && !superseded && !later && touched),
                                (Decision::EndOfLog, !verifies && !superseded && !later && !touched),
                            ];
                            let hits: Vec<_> = rows.iter().filter(|(_, hit)| *hit).collect();
                            assert_eq!(hits.len(), 1, "{at:?} is in exactly one row");
                            assert_eq!(decide(at), hits[0].0, "{at:?}");
                            *seen.entry(format!("{:?}", decide(at))).or_insert(0) += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(seen.len(), 6, "every decision occurs: {seen:?}");
    }
}
