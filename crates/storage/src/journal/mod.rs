//! The journal: one log on disk a node, for all its shards.
//!
//! Appends of all shards gather into one batch, one write, one flush; the batch is the unit of recovery. The format, with
//! drawings and with what is assumed of a disk, stands in `docs/journal-format.md`; how a start decides about what it finds
//! stands in [`recovery`] as a table.
//!
//! # What it promises
//!
//! - A [`Durable`] is minted only after a flush that covers its write has returned. A flush that fails poisons the journal
//!   for ever: what is on the disk is then unknown, and asking again proves nothing (the fsync errors of 2018).
//! - A record of another node, another cluster, another segment or another place never verifies: checksums are seeded
//!   with all of these, so that a recycled segment cannot replay its earlier life.
//! - A start never goes on writing where an earlier life stopped: it opens a new segment, whose header says from which
//!   batch on everything older is void. What lay behind a torn tail or behind damage can thus not come back later.
//! - A term or a vote is kept in two files ([`votes`]): one damaged place forgets neither.
//! - Damage is named by file and offset. What may have been acknowledged and is not readable makes its shards withhold.
//!
//! # What is left out
//!
//! Entries are not read back while running: the cores keep what they need in memory, and a start reads all that lies
//! behind the checkpoint.

pub mod format;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod promises;
pub mod recovery;
#[cfg(test)]
mod starts;
#[cfg(test)]
mod tests;
mod votes;

use format::{BATCH_HEADER, BadHeader, Batch, Place, Record, SEGMENT_HEADER, SegmentHeader};
use quorate_base::disk::{BLOCK, Disk, DiskError, DiskErrorKind, File};
use quorate_base::{
    Append, Base, Durable, Entry, EntryId, HardState, Index, Mint, NodeId, ShardId, Term, WriteId,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use votes::Votes;

/// Whose journal it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: u64,
    /// The node.
    pub node: NodeId,
}

/// Sizes.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// A planted bug; without the feature `mutants` it has no effect.
    pub mutant: Option<Mutant>,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, mutant: None }
    }
}

/// Real bugs of the field, to be planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// Damage in the middle is taken for a torn tail.
    CorruptMiddleTruncated,
    /// A failed flush is tried again and believed.
    FsyncErrorRetried,
    /// A damaged segment goes once a checkpoint covers what could be read of it.
    DamageForgotten,
    /// Entries behind damage are joined to the log by their indexes alone.
    ReplacedEntriesRejoined,
    /// The second record of terms and votes is not looked at.
    VoteKeptOnce,
    /// A snapshot is recorded and the log that it replaces stays behind it.
    SnapshotKeepsLog,
}

impl Mutant {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("corrupt-middle-truncated", Self::CorruptMiddleTruncated),
        ("fsync-error-retried", Self::FsyncErrorRetried),
        ("damage-forgotten", Self::DamageForgotten),
        ("replaced-entries-rejoined", Self::ReplacedEntriesRejoined),
        ("vote-kept-once", Self::VoteKeptOnce),
        ("snapshot-install-crash-order", Self::SnapshotKeepsLog),
    ];
}

/// A checkpoint of the state that a start goes on from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckpointMark {
    /// Its number; 0 stands for the empty state of a new node.
    pub generation: u64,
    /// What it holds of each shard.
    pub bases: Vec<(ShardId, Base)>,
}

/// What a start found of one shard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ShardLog {
    /// Term, vote and commit.
    pub hard: HardState,
    /// What the checkpoint holds.
    pub base: Base,
    /// The log behind it, without a gap.
    pub entries: Vec<Entry>,
    /// All that was read of the log, where it is not known what it begins with: see `based`.
    pub runs: Vec<Run>,
    /// Entries up to here were in this log and may have been acknowledged.
    pub withheld_upto: Option<Index>,
    /// A term or vote may have been forgotten.
    pub hard_uncertain: bool,
    /// The record of the checkpoint was read. Where it was not, `base` says nothing, and the log stands in `runs`.
    pub based: bool,
    /// Entries that were flushed are missing: not a torn write, but damage.
    pub entries_lost: bool,
    /// What is damaged, if anything.
    pub damage: Vec<Damage>,
}

impl ShardLog {
    /// The entries from `from` on, as they would be appended again; not where more was there than could be read, which they
    /// would seem to replace.
    fn tail(&self, shard: ShardId, from: Index) -> Option<Append> {
        let at = self.entries.partition_point(|e| e.id.index < from);
        let end = self.entries.last()?.id.index;
        let all =
            self.based && !self.entries_lost && self.withheld_upto.is_none_or(|upto| upto <= end.next());
        let prev = if at == 0 { self.base.id } else { self.entries[at - 1].id };
        let entries = self.entries[at..].to_vec();
        let write = WriteId(0);
        (all && !entries.is_empty()).then_some(Append { shard, write, hard: None, prev, entries })
    }
}

/// Entries without a gap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// What the first was appended to.
    pub prev: EntryId,
    /// One or more.
    pub entries: Vec<Entry>,
}

/// A place that does not verify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// What it means, in words.
    pub what: &'static str,
    /// A later batch beside it says that it was flushed: no power loss explains this.
    pub certain: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: {}", self.file, self.offset, self.what)
    }
}

/// What a start found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Each shard that the newest checkpoint knows.
    pub shards: BTreeMap<ShardId, ShardLog>,
    /// The newest checkpoint.
    pub checkpoint: Option<CheckpointMark>,
    /// The second record of terms and votes, also of shards that nothing else tells of.
    pub votes: BTreeMap<ShardId, HardState>,
    /// What is damaged, also where no shard is known by it.
    pub damage: Vec<Damage>,
    /// What is damaged and cost nothing, since the same is known from another place.
    pub harmless: Vec<Damage>,
}

/// Why the journal does not go on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JournalError {
    /// The disk refused.
    Disk(DiskError),
    /// It is another's.
    Foreign {
        /// Which file says so.
        file: String,
        /// Whose it is.
        found: Identity,
    },
    /// It is of a release whose journals this one does not read.
    Version {
        /// Which file says so.
        file: String,
        /// Its format version.
        version: u16,
    },
    /// What holds everything together is damaged.
    Damaged(Damage),
    /// A flush failed before: nothing more is written.
    Poisoned,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) if error.kind == DiskErrorKind::Full => {
                write!(f, "no space left ({error}); make room and start the node again")
            }
            Self::Disk(error) => error.fmt(f),
            Self::Foreign { file, found } => write!(
                f,
                "{file} belongs to node {} of cluster {:016x}; this is another node's data directory",
                found.node, found.cluster
            ),
            Self::Version { file, version } if *version > format::VERSION => write!(
                f,
                "{file} has format version {version}, newer than this release reads; start it with the newer release"
            ),
            Self::Version { file, version } => write!(
                f,
                "{file} has format version {version}, older than this release reads ({}); start it with the release that \
                 wrote it",
                format::VERSION
            ),
            Self::Damaged(damage) => write!(f, "{damage}"),
            Self::Poisoned => f.write_str("a flush failed before; what is on the disk is unknown"),
        }
    }
}

impl std::error::Error for JournalError {}

impl From<DiskError> for JournalError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// A segment that is not written any more.
#[derive(Clone, Debug)]
struct Old {
    name: String,
    /// The highest index of each shard in it.
    upto: BTreeMap<ShardId, Index>,
    /// It is damaged, and the newest term known at the start was this: it stays, as the only witness of what may have been
    /// forgotten, until a checkpoint of a newer term stands for what the peers have shown again.
    witness_of: Option<Term>,
    /// Its file may be written again. Not where it was there before this start: by half a rename it may be the one that is written.
    recycles: bool,
}

/// The open journal.
///
/// Invariants: `end` is where the next batch goes, a multiple of 8; batches up to `durable` are flushed; `hards` and
/// `mark` are what a segment that opens now begins with.
pub struct Journal {
    disk: Arc<dyn Disk>,
    dir: String,
    identity: Identity,
    options: Options,
    mint: Mint,
    file: Box<dyn File>,
    name: String,
    generation: u64,
    size: u64,
    end: u64,
    next_batch: u64,
    durable: u64,
    upto: BTreeMap<ShardId, Index>,
    old: VecDeque<Old>,
    /// The bases that are in force once the next flush returns.
    marking: Option<CheckpointMark>,
    mark: CheckpointMark,
    hards: BTreeMap<ShardId, HardState>,
    votes: Votes,
    writing: BTreeMap<ShardId, WriteId>,
    buffer: Vec<u8>,
    /// A file that is ready to become the next segment.
    spare: bool,
    /// A segment that nothing needs, kept until there is no spare one: else each segment would be filled with zeros while one that is
    /// full is about to be given up, which doubles what a journal writes.
    free: Option<String>,
    /// One is being made: its name is taken.
    preparing: bool,
    poisoned: bool,
}

/// The making of a segment's file ahead of its need. It takes as long as hundreds of flushes, so it belongs on another thread
/// than the journal's: [`Preparation::run`] there, then [`Journal::prepared`] with its result.
pub struct Preparation {
    disk: Arc<dyn Disk>,
    dir: String,
    bytes: u64,
}

impl Preparation {
    /// Makes the file; false where the disk has no room for it.
    pub fn run(self) -> Result<bool, JournalError> {
        match self.disk.create(&format!("{}/{SPARE}", self.dir), self.bytes) {
            Ok(file) => drop(file),
            // There may be room again by the time it is needed.
            Err(error) if error.kind == DiskErrorKind::Full => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.disk.sync_dir(&self.dir)?;
        Ok(true)
    }
}

const SPARE: &str = "spare.seg";

impl Journal {
    /// Opens the journal in `dir`, or begins one.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        identity: Identity,
        options: Options,
        mint: Mint,
    ) -> Result<(Self, Recovered), JournalError> {
        disk.create_dir(dir)?;
        let found = recovery::recover(disk.as_ref(), dir, identity, options.mutant)?;
        // What was read may be in the cache alone: written by a process that was killed before its flush. The cores will
        // count on it, so it must be on the disk before they hear of it (found by the simulator, seed 101). And where that
        // process had stopped since a flush failed, this one proves nothing: what no flush is known to have covered is
        // written again, to the new segment.
        for segment in &found.segments {
            disk.open(&format!("{dir}/{}", segment.name))?.sync()?;
        }
        let generation = found.next_generation;
        let name = segment_name(generation);
        let options = Options { segment_bytes: blocks(options.segment_bytes), ..options };
        let mut recovered = found.recovered;
        let votes = read_votes(disk.as_ref(), dir, identity, options, &mut recovered)?;
        let mark = recovered.checkpoint.clone().unwrap_or_default();
        let mut hards = recovered.votes.clone();
        hards.extend(recovered.shards.iter().map(|(&shard, log)| (shard, log.hard)));
        let terms = recovered.shards.values().filter_map(|log| log.entries.last().map(|e| e.id.term));
        let newest = hards.values().map(|hard| hard.term).chain(terms).max().unwrap_or_default();
        let copies = recovered.shards.iter().filter_map(|(&shard, log)| {
            let from = *found.unproven.get(&shard)?;
            log.tail(shard, from)
        });
        let copies: Vec<Append> = copies.collect();
        let copied: usize = copies.iter().flat_map(|a| &a.entries).map(|e| e.data.len() + 64).sum();
        let size = blocks(options.segment_bytes.max((SEGMENT_HEADER + 8 * BATCH_HEADER + 2 * copied) as u64));
        // A file of zeros takes as long to write as hundreds of flushes, and where nodes share a disk all of them would wait for it.
        let mut spare = has_spare(disk.as_ref(), dir, identity, options)?;
        let path = format!("{dir}/{name}");
        let file = if spare && size == options.segment_bytes {
            disk.rename(&format!("{dir}/{SPARE}"), &path)?;
            spare = false;
            disk.open(&path)?
        } else {
            disk.create(&path, size)?
        };
        let mut journal = Self {
            spare,
            free: None,
            disk,
            dir: dir.to_string(),
            identity,
            options,
            mint,
            size,
            file,
            name,
            generation,
            end: SEGMENT_HEADER as u64,
            next_batch: found.next_batch,
            durable: found.next_batch.saturating_sub(1),
            upto: BTreeMap::new(),
            old: found.segments.into_iter().map(|read| read.into_old(newest)).collect(),
            marking: None,
            mark,
            hards,
            votes,
            writing: BTreeMap::new(),
            buffer: Vec::new(),
            preparing: false,
            poisoned: false,
        };
        journal.open_segment(&copies)?;
        // Both records say the same again, whichever was damaged.
        journal.votes.write(&journal.hards)?;
        journal.votes.sync()?;
        journal.file.sync()?;
        journal.disk.sync_dir(&journal.dir)?;
        journal.durable = journal.next_batch - 1;
        journal.drop_old()?;
        Ok((journal, recovered))
    }

    /// Writes these as one batch. Nothing is durable before [`Journal::sync`].
    pub fn append(&mut self, appends: &[Append]) -> Result<(), JournalError> {
        self.alive()?;
        for append in appends {
            if let Some(first) = append.entries.first() {
                assert_eq!(
                    first.id.index,
                    append.prev.index.next(),
                    "entries follow what they are appended to"
                );
            }
        }
        let records: Vec<Record<'_>> = appends.iter().map(Record::Append).collect();
        self.write_batch(&records)?;
        for append in appends {
            // It may have opened a segment, and then the one before holds nothing of this.
            if let Some(last) = append.entries.last() {
                let upto = self.upto.entry(append.shard).or_default();
                *upto = (*upto).max(last.id.index);
            }
            // Not before: the batch may have opened a segment, whose opening batch must not say that something is
            // committed that only the batch behind it brings.
            if let Some(hard) = append.hard {
                let known = self.hards.entry(append.shard).or_default();
                // A replica that came back may speak in older terms than when it was let go of.
                *known =
                    if hard.term < known.term { HardState { commit: hard.commit, ..*known } } else { hard };
            }
            self.writing.insert(append.shard, append.write);
        }
        if appends.iter().any(|append| append.hard.is_some()) {
            self.votes.write(&self.hards)?;
        }
        Ok(())
    }

    /// Whether a small append need not wait for a new segment to be written: the next one is ready, or this one is far from full.
    pub fn has_room(&self) -> bool {
        self.spare || self.end < self.size / 4
    }

    /// Records that a checkpoint is complete: from the next flush on, a start goes on from it.
    pub fn mark_checkpoint(&mut self, mark: CheckpointMark) -> Result<(), JournalError> {
        self.alive()?;
        self.write_batch(&[Record::Mark(&mark)])?;
        self.marking = Some(mark);
        Ok(())
    }

    /// Makes all of it durable, and proves it.
    pub fn sync(&mut self) -> Result<Vec<Durable>, JournalError> {
        self.alive()?;
        if let Err(error) = self.votes.sync() {
            self.poisoned = true;
            return Err(error);
        }
        if let Err(error) = self.file.sync() {
            let retried = cfg!(feature = "mutants") && self.options.mutant == Some(Mutant::FsyncErrorRetried);
            if !retried || self.file.sync().is_err() {
                self.poisoned = true;
                return Err(error.into());
            }
        }
        self.durable = self.next_batch - 1;
        if let Some(mark) = self.marking.take() {
            self.mark = mark;
            self.drop_old()?;
        }
        let written = std::mem::take(&mut self.writing);
        Ok(written.into_iter().map(|(shard, write)| self.mint.durable(shard, write)).collect())
    }

    /// Nothing of these shards is here any more, and the recorded checkpoint says so: nothing of them keeps a segment. Of those that
    /// are no more at all nobody asks for votes either; a replica that was let go of may come back, and must not vote twice.
    /// It is not written down; a start finds them in what lies there, and has them forgotten again.
    pub fn forget(
        &mut self,
        gone: impl Fn(ShardId) -> bool,
        dropped: impl Fn(ShardId) -> bool,
    ) -> Result<(), JournalError> {
        self.alive()?;
        let before = self.hards.len();
        self.hards.retain(|&shard, _| !dropped(shard));
        if self.hards.len() < before {
            self.votes.write(&self.hards)?;
        }
        // What was committed was so in a log that is not here any more.
        self.hards.iter_mut().filter(|(shard, _)| gone(**shard)).for_each(|(_, hard)| hard.commit = Index(0));
        for upto in self.old.iter_mut().map(|old| &mut old.upto).chain([&mut self.upto]) {
            upto.retain(|&shard, _| !gone(shard));
        }
        self.drop_old()
    }

    /// What is to be done so that the next segment's file is there before it is needed; `None` where nothing is.
    pub fn preparation(&mut self) -> Option<Preparation> {
        if self.poisoned || self.spare || self.preparing || self.end < self.size / 4 {
            return None;
        }
        self.preparing = true;
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        Some(Preparation { disk, dir, bytes: self.options.segment_bytes })
    }

    /// The preparation is over.
    pub fn prepared(&mut self, result: Result<bool, JournalError>) -> Result<(), JournalError> {
        self.preparing = false;
        self.spare |= result?;
        self.refill()
    }

    /// The newest recorded checkpoint.
    pub fn mark(&self) -> &CheckpointMark {
        &self.mark
    }

    fn alive(&self) -> Result<(), JournalError> {
        if self.poisoned { Err(JournalError::Poisoned) } else { Ok(()) }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    fn write_batch(&mut self, records: &[Record<'_>]) -> Result<(), JournalError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.write_records(records, &mut buffer);
        self.buffer = buffer;
        result
    }

    fn write_records(&mut self, records: &[Record<'_>], buffer: &mut Vec<u8>) -> Result<(), JournalError> {
        buffer.clear();
        let place = |j: &Self| Place { identity: j.identity, generation: j.generation, offset: j.end };
        let batch = Batch { number: self.next_batch, durable: self.durable };
        format::put_batch(buffer, place(self), batch, records);
        if self.end + buffer.len() as u64 + BATCH_HEADER as u64 > self.size {
            self.rotate(buffer.len() as u64)?;
            buffer.clear();
            let batch = Batch { number: self.next_batch, durable: self.durable };
            format::put_batch(buffer, place(self), batch, records);
        }
        // After a write that failed half-way the place is written again whole, or never proven durable.
        self.file.append_at(self.end, buffer)?;
        self.end += buffer.len() as u64;
        self.next_batch += 1;
        Ok(())
    }

    /// Goes on in a new segment with room for `need` bytes.
    fn rotate(&mut self, need: u64) -> Result<(), JournalError> {
        // What is in the full one must be durable before it is left: later flushes are of the new file.
        if let Err(error) = self.file.sync() {
            self.poisoned = true;
            return Err(error.into());
        }
        let generation = self.generation + 1;
        let name = segment_name(generation);
        let least = need + (SEGMENT_HEADER + 4 * BATCH_HEADER) as u64 + self.opening_bytes();
        let (path, spare) = (self.path(&name), self.path(SPARE));
        if self.spare && least <= self.options.segment_bytes {
            self.disk.rename(&spare, &path)?;
            self.spare = false;
            self.file = self.disk.open(&path)?;
            self.size = self.file.size()?;
            self.refill()?;
        } else {
            self.size = blocks(self.options.segment_bytes.max(least));
            self.file = self.disk.create(&path, self.size)?;
        }
        self.durable = self.next_batch - 1;
        // Its record is flushed, too, and may stand in a segment that goes as soon as the checkpoint is in force.
        if let Some(mark) = &self.marking {
            self.mark.clone_from(mark);
        }
        let old = std::mem::replace(&mut self.name, name);
        self.old.push_back(Old {
            name: old,
            upto: std::mem::take(&mut self.upto),
            witness_of: None,
            recycles: true,
        });
        self.generation = generation;
        self.open_segment(&[])?;
        self.disk.sync_dir(&self.dir)?;
        Ok(())
    }

    /// Writes the header and the opening batch: the mark and every hard state, so that older segments can go, and what a
    /// start has copied from them.
    fn open_segment(&mut self, copies: &[Append]) -> Result<(), JournalError> {
        let header = SegmentHeader {
            identity: self.identity,
            generation: self.generation,
            first_batch: self.next_batch,
        };
        self.file.append_at(0, &header.encode())?;
        self.end = SEGMENT_HEADER as u64;
        let mark = self.mark.clone();
        let hards: Vec<(ShardId, HardState)> = self.hards.iter().map(|(&s, &h)| (s, h)).collect();
        let mut records = vec![Record::Mark(&mark)];
        records.extend(hards.iter().map(|&(shard, hard)| Record::Hard(shard, hard)));
        records.extend(copies.iter().map(Record::Append));
        for append in copies {
            self.upto.extend(append.entries.last().map(|last| (append.shard, last.id.index)));
        }
        let mut buffer = Vec::new();
        let place = Place { identity: self.identity, generation: self.generation, offset: self.end };
        format::put_batch(
            &mut buffer,
            place,
            Batch { number: self.next_batch, durable: self.durable },
            &records,
        );
        self.file.append_at(self.end, &buffer)?;
        self.end += buffer.len() as u64;
        self.next_batch += 1;
        Ok(())
    }

    fn opening_bytes(&self) -> u64 {
        let bases: usize = self.mark.bases.iter().map(|(_, b)| b.membership.len() + 64).sum();
        (bases + self.hards.len() * 64 + 256) as u64
    }

    /// Lets the oldest segments go while all that they hold is in the checkpoint; those that bear witness stay behind.
    fn drop_old(&mut self) -> Result<(), JournalError> {
        let held = |mark: &CheckpointMark, shard: &ShardId, upto: &Index| {
            mark.bases.iter().any(|(s, base)| s == shard && base.id.index >= *upto)
        };
        let forgets = cfg!(feature = "mutants") && self.options.mutant == Some(Mutant::DamageForgotten);
        let mut at = 0;
        while let Some(oldest) = self.old.get(at) {
            if !oldest.upto.iter().all(|(shard, upto)| held(&self.mark, shard, upto)) {
                return Ok(());
            }
            let shown_again = |term| self.mark.bases.iter().all(|(_, base)| base.id.term > term);
            let bears_witness = |term| self.mark.bases.is_empty() || !shown_again(term);
            if !forgets && oldest.witness_of.is_some_and(bears_witness) {
                at += 1;
                continue;
            }
            let Some(oldest) = self.old.remove(at) else { return Ok(()) };
            let path = self.path(&oldest.name);
            let fits = self.disk.open(&path)?.size()? == self.options.segment_bytes;
            if !(oldest.recycles && fits) {
                self.disk.remove(&path)?;
            } else if let Some(older) = self.free.replace(oldest.name) {
                self.disk.remove(&self.path(&older))?;
            }
            self.refill()?;
        }
        Ok(())
    }

    /// Makes the free segment the spare one, if there is none.
    fn refill(&mut self) -> Result<(), JournalError> {
        if self.spare || self.preparing {
            return Ok(());
        }
        if let Some(free) = self.free.take() {
            self.disk.rename(&self.path(&free), &self.path(SPARE))?;
            self.spare = true;
        }
        Ok(())
    }
}

/// Reads all that a start would read, every record of every file, and changes nothing.
pub fn examine(disk: &dyn Disk, dir: &str, identity: Identity) -> Result<Recovered, JournalError> {
    let mut recovered = recovery::recover(disk, dir, identity, None)?.recovered;
    votes::examine(disk, dir, identity, &mut recovered)?;
    Ok(recovered)
}

/// Whether there is a segment's file ahead of its need. One that a crash left half made is none, and goes; so does one that is a
/// segment under its own name, too, since a rename may have come to the disk by half.
fn has_spare(disk: &dyn Disk, dir: &str, identity: Identity, options: Options) -> Result<bool, JournalError> {
    let names = disk.list(dir)?;
    if !names.iter().any(|name| name == SPARE) {
        return Ok(false);
    }
    let path = format!("{dir}/{SPARE}");
    let file = disk.open(&path)?;
    let mut head = [0; SEGMENT_HEADER];
    let mut good = file.size()? == options.segment_bytes;
    if good {
        file.read_at(0, &mut head)?;
        good = match SegmentHeader::decode(&head) {
            Ok(header) => header.identity == identity && !names.contains(&segment_name(header.generation)),
            Err(BadHeader::Empty) => true,
            Err(_) => false,
        };
    }
    if !good {
        disk.remove(&path)?;
    }
    Ok(good)
}

/// What the second record knows better goes into what the segments told.
fn read_votes(
    disk: &dyn Disk,
    dir: &str,
    identity: Identity,
    options: Options,
    recovered: &mut Recovered,
) -> Result<Votes, JournalError> {
    let votes = Votes::open(disk, dir, identity, recovered)?;
    if cfg!(feature = "mutants") && options.mutant == Some(Mutant::VoteKeptOnce) {
        recovered.votes.clear();
    }
    for (shard, &hard) in &recovered.votes {
        if let Some(log) = recovered.shards.get_mut(shard) {
            log.hard = votes::newer(log.hard, hard);
        }
    }
    Ok(votes)
}

/// A file's length for so many bytes: whole blocks, as the disk appends.
fn blocks(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK as u64)
}

fn segment_name(generation: u64) -> String {
    format!("{generation:016}.seg")
}
