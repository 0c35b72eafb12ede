//! What a start makes of the segments it finds.
//!
//! Segments are read in order. At each place where a batch may begin five questions are asked, and [`decide`] answers for every
//! combination of their answers; a test walks through all of them.
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
//! place, to learn which entries were here; the log of a shard ends where its entries are no longer joined.
//!
//! # What is joined
//!
//! Indexes do not tell. A damaged batch may have *replaced* entries: a log ended in t1:150, t2:150 replaced it and was
//! damaged, t2:151 followed and is intact. So entries are written together with the id of what they were appended to, and
//! by Log Matching that id stands for all that is before it. [`join`] decides between each entry and the one before it:
//!
//! | row | what the entry was appended to | decision |
//! | --- | --- | --- |
//! | J1 | stands before it: the entry there, or the base, has its id | joined |
//! | J2 | had replaced what stands before it, and is damaged | the log ends before it |
//! | J3 | is missing, and nothing stands in its place | the log ends before it |
//!
//! It is asked once all has been read, since the record of the base may come last. What J2 and J3 leave behind was in this
//! log and may have been acknowledged: the replica withholds. Its log is then one that it has had, if not its newest.

use super::format::{
    ALIGN, BadHeader, Batch, Found, Place, SEGMENT_HEADER, SegmentHeader, Stored, may_begin, read_batch,
};
use super::{CheckpointMark, Damage, Identity, JournalError, Mutant, Old, Recovered, Run, ShardLog};
use bytes::Bytes;
use quorate_base::disk::{Disk, DiskError, DiskErrorKind};
use quorate_base::{Base, Entry, EntryId, HardState, Index, ShardId, Term};
use std::collections::BTreeMap;

/// The answers at one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spot {
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
pub const fn decide(at: Spot) -> Decision {
    match at {
        Spot { superseded: true, .. } => Decision::EndOfSegment,
        Spot { verifies: true, .. } => Decision::Take,
        Spot { later: true, proven: true, .. } => Decision::Damaged,
        Spot { later: true, proven: false, .. } => Decision::MaybeTorn,
        Spot { later: false, touched: true, .. } => Decision::TornTail,
        Spot { later: false, touched: false, .. } => Decision::EndOfLog,
    }
}

/// What stands before an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Before {
    /// An entry, or the base, has the index before it.
    pub held: bool,
    /// It is what the entry was appended to.
    pub same: bool,
}

/// What an entry is to the log before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joint {
    /// J1.
    Joined,
    /// J2.
    Replaced,
    /// J3.
    Missing,
}

/// The second table.
pub const fn join(at: Before) -> Joint {
    match at {
        Before { held: true, same: true } => Joint::Joined,
        Before { held: true, same: false } => Joint::Replaced,
        Before { held: false, .. } => Joint::Missing,
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
    /// From where on no flush is known to have covered each shard's entries.
    pub(super) unproven: BTreeMap<ShardId, Index>,
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
        Old { name: self.name, upto: self.upto, witness_of: self.harmed.then_some(newest), recycles: false }
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
    let mut replay = Replay { any_damage: damage, mutant, ..Replay::default() };
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
    outcome.unproven = replay.unproven();
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
            Err(BadHeader::Version(version)) => return Err(JournalError::Version { file: path, version }),
            // A header is only a label: the first batch tells its number too, and that it was begun.
            Ok(_) | Err(BadHeader::Empty | BadHeader::Damaged)
                if let Some(first_batch) = first_batch(&bytes, identity, generation) =>
            {
                let what = "the segment's header is damaged; its first batch says the same";
                outcome.harmless.push(Damage { file: path, offset: 0, what, certain: false });
                let header = SegmentHeader { identity, generation, first_batch };
                segments.push(Segment { name, header, bytes });
            }
            // A recycled file that was renamed and not yet begun.
            Ok(_) | Err(BadHeader::Empty) => {
                outcome.segments.push(ReadSegment { name, upto: BTreeMap::new(), harmed: false });
            }
            Err(BadHeader::Damaged) => {
                let what = "the segment's header is damaged; its entries come back from the peers";
                damage.push(Damage { file: path, offset: 0, what, certain: false });
                outcome.segments.push(ReadSegment { name, upto: BTreeMap::new(), harmed: true });
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
            let at = Spot {
                verifies,
                superseded,
                later: later.is_some() || (!verifies && !superseded && self.newer.is_some()),
                proven,
                touched,
            };
            let truncates = cfg!(feature = "mutants") && mutant == Some(Mutant::CorruptMiddleTruncated);
            match decide(at) {
                Decision::Take => {
                    if let Found::Batch(batch, records, end) = found {
                        replay.take(batch, records);
                        offset = end;
                        next += 1;
                    }
                }
                Decision::EndOfSegment => return next,
                Decision::EndOfLog => return next.max(self.newer.unwrap_or(0)),
                Decision::Damaged | Decision::MaybeTorn if truncates => return next,
                Decision::Damaged => {
                    let what = "a batch does not verify; where there are peers, it comes back from them";
                    // A start behind a torn tail leaves out one number, and no more.
                    let certain = later.is_some() || self.newer.is_some_and(|first| first > next + 1);
                    replay.damaged(Damage { certain, ..self.damage(offset, what) });
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
            if may_begin(&self.segment.bytes, at)
                && let Found::Batch(batch, ..) = read_batch(&self.segment.bytes, self.place(at), None)
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
    /// The batch that is being taken, and the newest that a later one says was flushed.
    batch: u64,
    proven: u64,
    upto: BTreeMap<ShardId, Index>,
    any_damage: Vec<Damage>,
    mutant: Option<Mutant>,
}

/// One shard's log as far as it was read. Entries may stand apart: what lies between may be damaged, or in segments that
/// went because a checkpoint, whose record is yet to come, covers them.
#[derive(Default)]
struct Shard {
    hard: HardState,
    base: Base,
    entries: BTreeMap<Index, Link>,
    seen: Index,
    /// The newest term of an entry that was read, joined or not.
    newest: Term,
    /// The first entries of batches that no flush is known to have covered, with the numbers of these.
    unproven: Vec<(u64, Index)>,
    /// Where flushed batches were damaged, and no entries have followed yet.
    harmed_behind: bool,
}

struct Link {
    /// What the entry was appended to.
    prev: EntryId,
    entry: Entry,
}

impl Replay {
    fn take(&mut self, batch: Batch, records: Vec<Stored>) {
        self.batch = batch.number;
        self.proven = self.proven.max(batch.durable);
        for record in records {
            match record {
                Stored::Hard(shard, hard) => {
                    let shard = self.shards.entry(shard).or_default();
                    if hard.term >= shard.hard.term {
                        shard.hard = hard;
                    }
                }
                Stored::Entries(shard, prev, entries) => self.entries(shard, prev, entries),
                Stored::Mark(mark) => self.mark(mark),
            }
        }
    }

    fn entries(&mut self, shard: ShardId, mut prev: EntryId, entries: Vec<Entry>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let upto = self.upto.entry(shard).or_default();
        *upto = (*upto).max(last.id.index);
        let shard = self.shards.entry(shard).or_default();
        shard.seen = last.id.index;
        shard.newest = shard.newest.max(last.id.term);
        shard.harmed_behind = false;
        shard.unproven.retain(|&(batch, _)| batch > self.proven);
        shard.unproven.push((self.batch, first.id.index));
        shard.entries.split_off(&first.id.index);
        for entry in entries {
            let link = Link { prev, entry };
            prev = link.entry.id;
            if prev.index > shard.base.id.index {
                shard.entries.insert(prev.index, link);
            }
        }
    }

    fn mark(&mut self, mark: CheckpointMark) {
        if self.mark.as_ref().is_some_and(|m| m.generation > mark.generation) {
            return;
        }
        for (shard, base) in &mark.bases {
            let keeps = cfg!(feature = "mutants") && self.mutant == Some(Mutant::SnapshotKeepsLog);
            self.shards.entry(*shard).or_default().rebase(base, keeps);
        }
        self.mark = Some(mark);
    }

    fn unproven(&self) -> BTreeMap<ShardId, Index> {
        let from = |shard: &Shard| {
            shard.unproven.iter().filter(|(batch, _)| *batch > self.proven).map(|&(_, first)| first).min()
        };
        self.shards.iter().filter_map(|(&id, shard)| Some((id, from(shard)?))).collect()
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
        let by_index = cfg!(feature = "mutants") && self.mutant == Some(Mutant::ReplacedEntriesRejoined);
        let finish = |(id, shard): (ShardId, Shard)| {
            if known(&id) {
                return Some((id, shard.finish(&damage, by_index)));
            }
            // A shard that no checkpoint knows was never begun; unless that record is what was damaged.
            (!damage.is_empty()).then(|| (id, shard.finish_without_base(&damage)))
        };
        let shards = self.shards.into_iter().filter_map(finish).collect();
        Recovered { shards, checkpoint: self.mark, damage, ..Recovered::default() }
    }
}

impl Shard {
    /// The state stands for everything up to `base` now; the log behind it stays if it continues it.
    fn rebase(&mut self, base: &Base, keeps: bool) {
        if base.id == EntryId::ZERO && self.base.id != EntryId::ZERO {
            // The replica was let go of, and has begun anew. Its terms and votes stay: nobody is harmed by one who remembers more.
            let hard = HardState { commit: Index(0), ..self.hard };
            *self = Self { hard, newest: self.newest, base: base.clone(), ..Self::default() };
            return;
        }
        if base.id.index < self.base.id.index {
            return;
        }
        self.base = base.clone();
        self.entries = self.entries.split_off(&base.id.index.next());
        // What was appended to something else belongs to a log that a snapshot replaced. What stands apart from it may not.
        let mut end = match self.entries.get_mut(&base.id.index.next()) {
            Some(link) if keeps => {
                link.prev = base.id;
                return;
            }
            Some(link) if link.prev != base.id => link.prev,
            _ => return,
        };
        while let Some(link) = self.entries.get(&end.index.next()).filter(|link| link.prev == end) {
            end = link.entry.id;
            self.entries.remove(&end.index);
        }
        if self.entries.is_empty() {
            self.seen = base.id.index;
        }
    }

    /// The log in runs, each joined in itself and not to the one before it.
    fn runs(entries: BTreeMap<Index, Link>, by_index: bool) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for Link { prev, entry } in entries.into_values() {
            match runs.last_mut() {
                Some(run) if run.joins(prev, by_index) == Joint::Joined => run.entries.push(entry),
                _ => runs.push(Run { prev, entries: vec![entry] }),
            }
        }
        runs
    }

    /// Term and vote; where a record of them was damaged, the entries still tell of a newer term. A commit index says
    /// nothing about a log that may not be the one that it was written for.
    fn hard(&self, harmed: bool) -> HardState {
        let newer = self.newest > self.hard.term;
        HardState {
            term: self.hard.term.max(self.newest),
            vote: self.hard.vote.filter(|_| !newer),
            commit: if harmed { Index(0) } else { self.hard.commit },
        }
    }

    /// The run behind the base; what stands apart from it was here, and may have been acknowledged.
    fn finish(self, damage: &[Damage], by_index: bool) -> ShardLog {
        let (hard, hard_if_harmed) = (self.hard(false), self.hard(true));
        let mut log = Run { prev: self.base.id, entries: Vec::new() };
        let mut runs = Self::runs(self.entries, by_index).into_iter().peekable();
        if let Some(run) = runs.next_if(|run| log.joins(run.prev, by_index) == Joint::Joined) {
            log.entries = run.entries;
        }
        let end = log.last().index;
        let harmed = !damage.is_empty();
        let mut damage = damage.to_vec();
        if let (Some(apart), false) = (runs.next(), harmed) {
            damage.push(stands_apart(log.joins(apart.prev, by_index)));
        }
        let certain = damage.iter().any(|d| d.certain);
        ShardLog {
            based: true,
            entries_lost: self.harmed_behind || (certain && self.seen > end),
            hard: if damage.is_empty() { hard } else { hard_if_harmed },
            base: self.base,
            entries: log.entries,
            runs: Vec::new(),
            withheld_upto: (!damage.is_empty()).then(|| self.seen.max(end.next())),
            hard_uncertain: harmed,
            damage,
        }
    }

    /// All that was read; whoever finds the base elsewhere takes what follows it.
    fn finish_without_base(self, damage: &[Damage]) -> ShardLog {
        ShardLog {
            hard: self.hard(true),
            runs: Self::runs(self.entries, false),
            withheld_upto: Some(self.seen.next()),
            hard_uncertain: true,
            entries_lost: self.harmed_behind,
            damage: damage.to_vec(),
            ..ShardLog::default()
        }
    }
}

impl Run {
    fn last(&self) -> EntryId {
        self.entries.last().map_or(self.prev, |entry| entry.id)
    }

    /// What an entry that was appended to `prev` is to this run.
    fn joins(&self, prev: EntryId, by_index: bool) -> Joint {
        let last = self.last();
        let held = last.index == prev.index;
        join(Before { held, same: last == prev || (by_index && held) })
    }
}

/// No place that does not verify explains it.
fn stands_apart(joint: Joint) -> Damage {
    let what = match joint {
        Joint::Replaced => "entries were appended to others than those that stand before them",
        Joint::Joined | Joint::Missing => "entries were appended to others that are not there",
    };
    Damage { file: "journal".into(), offset: 0, what, certain: true }
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
                            let at = Spot { verifies, superseded, later, proven, touched };
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

    #[test]
    fn the_second_table_is_total_and_says_what_the_page_says() {
        for held in [false, true] {
            for same in [false, true] {
                let at = Before { held, same };
                let rows = [
                    (Joint::Joined, held && same),
                    (Joint::Replaced, held && !same),
                    (Joint::Missing, !held),
                ];
                let hits: Vec<_> = rows.iter().filter(|(_, hit)| *hit).collect();
                assert_eq!(hits.len(), 1, "{at:?} is in exactly one row");
                assert_eq!(join(at), hits[0].0, "{at:?}");
            }
        }
    }
}
