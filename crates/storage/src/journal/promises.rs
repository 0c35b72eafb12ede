//! What the journal keeps, one claim at a time: in two places, over a rotation, for each shard.

use super::*;
use quorate_base::EntryKind;
use quorate_faulty::FaultyDisk;

const ME: Identity = Identity { cluster: 77, node: NodeId(1) };
pub(super) const SHARD: ShardId = ShardId(1);
pub(super) const OTHER: ShardId = ShardId(2);

pub(super) fn open(disk: &FaultyDisk) -> Result<(Journal, Recovered), JournalError> {
    let options = Options { segment_bytes: 4096, ..Options::default() };
    Journal::open(Arc::new(disk.clone()), "j", ME, options, Mint::for_journal())
}

/// A checkpoint of what two shards have up to these indexes, in term 1.
pub(super) fn mark(generation: u64, upto: [u64; 2]) -> CheckpointMark {
    let base = |upto: u64| Base { id: id(u64::from(upto > 0), upto), ..Base::default() };
    CheckpointMark { generation, bases: vec![(SHARD, base(upto[0])), (OTHER, base(upto[1]))] }
}

pub(super) fn begin(disk: &FaultyDisk) -> Journal {
    let (mut journal, _) = open(disk).unwrap();
    journal.mark_checkpoint(mark(0, [0, 0])).unwrap();
    journal.sync().unwrap();
    journal
}

pub(super) fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

pub(super) fn entries(
    shard: ShardId,
    prev: EntryId,
    ids: impl IntoIterator<Item = EntryId>,
    len: usize,
) -> Append {
    let entry = |id| Entry { id, kind: EntryKind::Command, data: vec![7; len].into() };
    let entries = ids.into_iter().map(entry).collect();
    Append { shard, write: WriteId(1), hard: None, prev, entries }
}

pub(super) fn vote(term: u64, vote: Option<u64>) -> Append {
    let hard = HardState { term: Term(term), vote: vote.map(NodeId), commit: Index(0) };
    Append { hard: Some(hard), ..entries(SHARD, EntryId::ZERO, [], 0) }
}

pub(super) fn ids(found: &Recovered, shard: ShardId) -> Vec<EntryId> {
    found.shards[&shard].entries.iter().map(|entry| entry.id).collect()
}

/// Entries of a term from an index to another.
pub(super) fn run(term: u64, range: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = EntryId> {
    range.map(move |index| id(term, index))
}

/// Claim: a vote that was proven is durable in both places: whichever of them is harmed when the power is back, the other tells of it,
/// also where it was given later than its term was known.
#[test]
fn a_vote_is_flushed_to_both_places() {
    for seed in 0..24 {
        let disk = FaultyDisk::new(seed);
        let mut journal = begin(&disk);
        let (term, segments) = (seed % 3 + 1, |(file, _): &(String, u64)| file.starts_with("j/0"));
        for term in 1..=term {
            for vote in [vote(term, None), vote(term, Some(term))] {
                journal.append(&[vote]).unwrap();
                journal.sync().unwrap();
            }
        }
        let newest = disk.files().into_iter().rfind(segments).unwrap().0;
        let &(at, len) = disk.writes(&newest).last().unwrap();
        disk.power_loss();
        let image = disk.image();
        for in_journal in [true, false] {
            disk.restore(&image);
            if in_journal {
                disk.flip_bit(&newest, (at + len as u64 / 2) * 8);
            } else {
                for slot in 0..2 {
                    disk.flip_bit("j/votes", (slot * (16 << 10) + 40) * 8);
                }
            }
            let (_, found) = open(&disk).unwrap();
            let hard = found.shards[&SHARD].hard;
            let told = (hard.term, hard.vote);
            assert_eq!(
                told,
                (Term(term), Some(NodeId(term))),
                "seed {seed}, harmed in the journal: {in_journal}"
            );
        }
    }
}

/// Claim: a flush that fails is the end, whichever file it is of and whoever asked for it.
#[test]
fn a_flush_that_fails_anywhere_is_the_end() {
    let disk = FaultyDisk::new(1);
    let mut journal = begin(&disk);
    journal.append(&[vote(1, Some(1))]).unwrap();
    disk.fail_next_sync();
    assert!(matches!(journal.sync(), Err(JournalError::Disk(_))));
    assert_eq!(journal.sync(), Err(JournalError::Poisoned), "behind that of votes");

    let disk = FaultyDisk::new(2);
    let mut journal = begin(&disk);
    disk.fail_next_sync();
    let full = (1..9).find_map(|at| {
        journal.append(&[entries(SHARD, id(u64::from(at > 1), at - 1), run(1, at..=at), 900)]).err()
    });
    assert!(matches!(full, Some(JournalError::Disk(_))), "{full:?}");
    assert_eq!(journal.sync(), Err(JournalError::Poisoned), "behind that of a segment that is full");
}

/// Several segments with entries of two shards.
pub(super) fn filled(disk: &FaultyDisk) -> Journal {
    let mut journal = begin(disk);
    for at in 1..=12 {
        let prev = id(u64::from(at > 1), at - 1);
        let both = [SHARD, OTHER].map(|shard| entries(shard, prev, run(1, at..=at), 500));
        journal.append(&both).unwrap();
        journal.sync().unwrap();
    }
    journal
}

/// Claim: segments stay until the checkpoint that stands for them is durable, and while it does not stand for all that is in them.
#[test]
fn segments_outlive_what_replaces_them() {
    for seed in 0..12 {
        for upto in [[12, 12], [12, 0]] {
            let disk = FaultyDisk::new(seed);
            let mut journal = filled(&disk);
            journal.mark_checkpoint(mark(1, upto)).unwrap();
            if upto == [12, 0] {
                journal.sync().unwrap();
            }
            drop(journal);
            disk.power_loss();
            let (_, found) = open(&disk).unwrap();
            for shard in [SHARD, OTHER] {
                let base = found.shards[&shard].base.id.index.0;
                assert_eq!(
                    ids(&found, shard),
                    run(1, base + 1..=12).collect::<Vec<_>>(),
                    "seed {seed}, {shard:?}"
                );
            }
        }
    }
}

/// Claim: a segment that is opened between a checkpoint's record and its flush says of an older one, and the newer one counts.
#[test]
fn an_older_checkpoint_in_a_newer_segment_does_not_count() {
    let disk = FaultyDisk::new(3);
    let mut journal = begin(&disk);
    journal.append(&[entries(SHARD, EntryId::ZERO, run(1, 1..=3), 500)]).unwrap();
    journal.mark_checkpoint(mark(1, [1, 0])).unwrap();
    journal.sync().unwrap();
    journal.mark_checkpoint(mark(2, [3, 0])).unwrap();
    journal.append(&[entries(SHARD, id(1, 3), run(1, 4..=4), 3_000)]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.checkpoint.as_ref().map(|mark| mark.generation), Some(2));
    assert_eq!((found.shards[&SHARD].base.id, ids(&found, SHARD)), (id(1, 3), vec![id(1, 4)]));
}

/// Claim: a checkpoint counts also where the segment with its record is full before it is flushed, and goes because of it.
#[test]
fn a_checkpoint_outlives_the_segment_of_its_record() {
    let disk = FaultyDisk::new(3);
    let mut journal = begin(&disk);
    journal.append(&[entries(SHARD, EntryId::ZERO, run(1, 1..=3), 1_000)]).unwrap();
    journal.mark_checkpoint(mark(1, [3, 0])).unwrap();
    let mut terms = 1..20;
    while journal.generation == 1 {
        journal.append(&[vote(terms.next().unwrap(), None)]).unwrap();
    }
    journal.sync().unwrap();
    drop(journal);
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.checkpoint.as_ref().map(|mark| mark.generation), Some(1));
    assert_eq!((found.shards[&SHARD].base.id, ids(&found, SHARD)), (id(1, 3), vec![]));
}

/// Claim: what a shorter log replaced is gone, to its end, and nothing seems damaged by that.
#[test]
fn a_longer_log_that_was_replaced_is_gone() {
    let disk = FaultyDisk::new(4);
    let mut journal = begin(&disk);
    journal.append(&[entries(SHARD, EntryId::ZERO, run(1, 1..=5), 40)]).unwrap();
    journal.append(&[entries(SHARD, id(1, 2), run(2, 3..=3), 40)]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    for start in 1..=2 {
        let (_, found) = open(&disk).unwrap();
        assert_eq!(ids(&found, SHARD), [id(1, 1), id(1, 2), id(2, 3)], "start {start}");
        let log = &found.shards[&SHARD];
        assert!(log.damage.is_empty() && log.withheld_upto.is_none() && !log.entries_lost, "{log:?}");
    }
}

/// Claim: what is proven durable is proven once.
#[test]
fn a_flush_proves_what_was_written_since_the_last() {
    let disk = FaultyDisk::new(5);
    let mut journal = begin(&disk);
    journal.append(&[vote(1, None)]).unwrap();
    assert_eq!([journal.sync().unwrap().len(), journal.sync().unwrap().len()], [1, 0]);
}
