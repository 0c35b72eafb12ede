//! What a start makes of what an earlier life left, one claim at a time: where it is cut short itself, of damage that it finds again,
//! of several shards.

use super::promises::{OTHER, SHARD, begin, entries, filled, id, ids, mark, open, run, vote};
use super::*;
use quorate_faulty::FaultyDisk;

fn put(journal: &mut Journal, appends: &[Append]) {
    journal.append(appends).unwrap();
    journal.sync().unwrap();
}

fn checkpoint(journal: &mut Journal, generation: u64, bases: [(ShardId, EntryId); 2]) {
    let bases = bases.map(|(shard, id)| (shard, Base { id, ..Base::default() })).into();
    journal.mark_checkpoint(CheckpointMark { generation, bases }).unwrap();
    journal.sync().unwrap();
}

/// Flips a bit in the middle of a write of the newest segment: of the last, or of one so many before it.
fn harm(disk: &FaultyDisk, back: usize) {
    let newest = disk.files().into_iter().rfind(|(file, _)| file.starts_with("j/0")).unwrap().0;
    let writes = disk.writes(&newest);
    let (at, len) = writes[writes.len() - 1 - back];
    disk.flip_bit(&newest, (at + len as u64 / 2) * 8);
}

/// The same in both records of the second file of votes.
fn harm_votes(disk: &FaultyDisk) {
    (0..2).for_each(|slot| disk.flip_bit("j/votes", (slot * (16 << 10) + 40) * 8));
}

/// Claim: a start that the power cuts short forgets neither the checkpoint nor the vote: the old segment goes behind what replaces it.
#[test]
fn a_start_that_is_cut_short_loses_nothing() {
    for (seed, k) in (0..8).flat_map(|seed| (0..12).map(move |k| (seed, k))) {
        let disk = FaultyDisk::new(seed);
        let mut journal = begin(&disk);
        let hard = HardState { term: Term(3), vote: Some(NodeId(2)), commit: Index(3) };
        put(
            &mut journal,
            &[Append { hard: Some(hard), ..entries(SHARD, EntryId::ZERO, run(1, 1..=3), 500) }],
        );
        checkpoint(&mut journal, 1, [(SHARD, id(1, 3)), (OTHER, EntryId::ZERO)]);
        drop(journal);
        disk.freeze_at(disk.operations() + k);
        let _ = open(&disk);
        disk.heal();
        disk.power_loss();
        let (_, found) = open(&disk).unwrap();
        let log = &found.shards[&SHARD];
        assert_eq!(
            (log.base.id, log.hard.term, log.hard.vote),
            (id(1, 3), hard.term, hard.vote),
            "seed {seed}, frozen at {k}"
        );
    }
}

/// Claim: segments outlive the flush of the checkpoint that stands for them, wherever in it the power goes.
#[test]
fn a_flush_of_a_checkpoint_that_is_cut_short_loses_nothing() {
    for (seed, k) in (0..12).flat_map(|seed| (0..8).map(move |k| (seed, k))) {
        let disk = FaultyDisk::new(seed);
        let mut journal = filled(&disk);
        journal.mark_checkpoint(mark(1, [12, 12])).unwrap();
        disk.freeze_at(disk.operations() + k);
        let _ = journal.sync();
        drop(journal);
        disk.heal();
        disk.power_loss();
        let (_, found) = open(&disk).unwrap();
        for shard in [SHARD, OTHER] {
            let base = found.shards[&shard].base.id.index.0;
            assert_eq!(ids(&found, shard).len() as u64, 12 - base, "seed {seed}, frozen at {k}, {shard:?}");
        }
    }
}

/// Claim: a segment that is needed keeps those behind it, also where nothing needs them: else it would seem that they are lost.
#[test]
fn segments_go_in_their_order() {
    let disk = FaultyDisk::new(1);
    let mut journal = begin(&disk);
    put(&mut journal, &[entries(SHARD, EntryId::ZERO, run(1, 1..=1), 3_000)]);
    for at in 1..=3 {
        put(&mut journal, &[entries(OTHER, id(u64::from(at > 1), at - 1), run(1, at..=at), 3_000)]);
    }
    checkpoint(&mut journal, 1, [(SHARD, EntryId::ZERO), (OTHER, id(1, 3))]);
    drop(journal);
    let (_, found) = open(&disk).unwrap();
    assert!(found.damage.is_empty(), "{:?}", found.damage);
    assert_eq!((ids(&found, SHARD), ids(&found, OTHER)), (vec![id(1, 1)], vec![]));
}

/// Claim: a segment of which nothing can be read bears witness over all starts, until a checkpoint of a newer term stands for what
/// *each* shard had; then it goes.
#[test]
fn a_segment_that_cannot_be_read_is_a_witness() {
    let disk = FaultyDisk::new(1);
    let mut journal = begin(&disk);
    put(&mut journal, &[vote(3, Some(2)), entries(OTHER, EntryId::ZERO, run(1, 1..=3), 40)]);
    drop(journal);
    let first = format!("j/{}", segment_name(1));
    for at in [format::CLUSTER_AT, SEGMENT_HEADER + BATCH_HEADER + 1] {
        disk.flip_bit(&first, at as u64 * 8);
    }
    for start in 1..=2 {
        let (_, found) = open(&disk).unwrap();
        assert_eq!(found.damage.len(), 1, "start {start}");
    }
    for (generation, other, left) in [(1, id(3, 5), 1), (2, id(4, 6), 0)] {
        let (mut journal, _) = open(&disk).unwrap();
        checkpoint(&mut journal, generation, [(SHARD, id(4, 1)), (OTHER, other)]);
        drop(journal);
        let (_, found) = open(&disk).unwrap();
        assert_eq!(found.damage.len(), left, "behind a checkpoint up to {other:?}: {:?}", found.damage);
    }
    assert!(disk.open(&first).is_err());
}

/// Claim: a segment that a crash left without a word goes.
#[test]
fn a_segment_that_was_never_begun_goes() {
    let disk = FaultyDisk::new(1);
    drop(begin(&disk));
    let empty = format!("j/{}", segment_name(9));
    disk.create(&empty, 4096).unwrap();
    let (_, found) = open(&disk).unwrap();
    assert!(found.damage.is_empty());
    assert!(disk.open(&empty).is_err(), "{:?}", disk.list("j"));
}

/// Claim: a torn tail stays one at every start behind it: what may have been acknowledged is withheld, and nothing is said to be lost.
#[test]
fn a_torn_tail_stays_one() {
    let disk = FaultyDisk::new(1);
    let mut journal = begin(&disk);
    put(&mut journal, &[entries(SHARD, EntryId::ZERO, run(1, 1..=1), 40)]);
    put(&mut journal, &[entries(OTHER, EntryId::ZERO, run(1, 1..=1), 40)]);
    put(&mut journal, &[entries(SHARD, id(1, 1), run(1, 2..=2), 40)]);
    drop(journal);
    harm(&disk, 0);
    for start in 1..=3 {
        let (_, found) = open(&disk).unwrap();
        let log = &found.shards[&SHARD];
        assert_eq!(
            (ids(&found, SHARD), log.withheld_upto, log.entries_lost, log.damage.len()),
            (vec![id(1, 1)], Some(Index(2)), false, 1),
            "start {start}"
        );
    }
}

/// Claim: damage withholds no more than there was: what a shorter log, or a snapshot, replaced is not waited for.
#[test]
fn what_was_replaced_is_not_withheld() {
    for by_snapshot in [false, true] {
        let disk = FaultyDisk::new(1);
        let mut journal = begin(&disk);
        put(&mut journal, &[entries(SHARD, EntryId::ZERO, run(1, 1..=9), 10)]);
        if by_snapshot {
            checkpoint(&mut journal, 1, [(SHARD, id(2, 3)), (OTHER, EntryId::ZERO)]);
        } else {
            put(&mut journal, &[entries(SHARD, id(1, 2), run(2, 3..=3), 10)]);
        }
        put(&mut journal, &[entries(OTHER, EntryId::ZERO, run(1, 1..=1), 40)]);
        drop(journal);
        harm(&disk, 0);
        let (_, found) = open(&disk).unwrap();
        assert_eq!(found.shards[&SHARD].withheld_upto, Some(Index(4)), "by a snapshot: {by_snapshot}");
    }
}

/// Claim: a flushed batch that is damaged may have been of any shard: each whose entries do not go on behind it has lost some.
#[test]
fn entries_that_may_have_been_the_last_are_lost() {
    let disk = FaultyDisk::new(1);
    let mut journal = begin(&disk);
    put(&mut journal, &[entries(SHARD, EntryId::ZERO, run(1, 1..=2), 40)]);
    put(&mut journal, &[entries(SHARD, id(1, 2), run(1, 3..=3), 40)]);
    put(&mut journal, &[entries(OTHER, EntryId::ZERO, run(1, 1..=1), 40)]);
    drop(journal);
    harm(&disk, 1);
    let (_, found) = open(&disk).unwrap();
    let log = &found.shards[&SHARD];
    assert_eq!((log.entries.len(), log.withheld_upto, log.entries_lost), (2, Some(Index(3)), true));
    assert!(!found.shards[&OTHER].entries_lost, "it goes on");
}

/// Claim: all that no flush has proven is written again, also where it is of several batches of several entries.
#[test]
fn all_that_is_not_proven_is_written_again() {
    for seed in 0..20 {
        let disk = FaultyDisk::new(seed);
        let mut journal = begin(&disk);
        put(&mut journal, &[entries(SHARD, EntryId::ZERO, run(1, 1..=2), 40)]);
        for at in [3, 5] {
            journal.append(&[entries(SHARD, id(1, at - 1), run(1, at..=at + 1), 40)]).unwrap();
        }
        disk.fail_next_sync();
        journal.sync().unwrap_err();
        drop(journal);
        let all: Vec<EntryId> = run(1, 1..=6).collect();
        assert_eq!(ids(&open(&disk).unwrap().1, SHARD), all, "seed {seed}: as a process sees it");
        disk.power_loss();
        assert_eq!(ids(&open(&disk).unwrap().1, SHARD), all, "seed {seed}");
    }
}

/// Claim: what is written again stands for no more than it is: what lay behind a torn batch is still withheld at the next start.
#[test]
fn what_is_written_again_hides_nothing() {
    let disk = FaultyDisk::new(1);
    let mut journal = begin(&disk);
    put(&mut journal, &[entries(SHARD, EntryId::ZERO, run(1, 1..=1), 40)]);
    for at in 2..=5 {
        journal.append(&[entries(SHARD, id(1, at - 1), run(1, at..=at), 40)]).unwrap();
    }
    journal.sync().unwrap();
    drop(journal);
    harm(&disk, 2);
    for start in 1..=2 {
        let (_, found) = open(&disk).unwrap();
        let withheld = found.shards[&SHARD].withheld_upto;
        assert_eq!((ids(&found, SHARD).len(), withheld), (2, Some(Index(5))), "start {start}");
    }
}

/// Claim: where the checkpoint's record is damaged all that was read is told, with its terms, and counts as no whole log; where flushed
/// entries are missing behind it, that is said, too.
#[test]
fn a_log_without_its_base_is_told() {
    for more in [false, true] {
        let disk = FaultyDisk::new(1);
        let mut journal = begin(&disk);
        put(&mut journal, &[vote(2, Some(1))]);
        put(&mut journal, &[entries(SHARD, EntryId::ZERO, run(3, 1..=3), 40)]);
        if more {
            put(&mut journal, &[entries(SHARD, id(3, 3), run(3, 4..=4), 40)]);
            put(&mut journal, &[entries(OTHER, EntryId::ZERO, run(1, 1..=1), 40)]);
            harm(&disk, 1);
        }
        drop(journal);
        harm(&disk, 2 + 2 * usize::from(more));
        let (_, found) = open(&disk).unwrap();
        let log = &found.shards[&SHARD];
        assert!(!log.based && log.hard_uncertain && log.entries.is_empty(), "{log:?}");
        let runs: Vec<Vec<EntryId>> =
            log.runs.iter().map(|run| run.entries.iter().map(|entry| entry.id).collect()).collect();
        assert_eq!(runs, [run(3, 1..=3).collect::<Vec<_>>()]);
        assert_eq!((log.withheld_upto, log.entries_lost), (Some(Index(4)), more));
        assert_eq!(log.hard, HardState { term: Term(3), vote: None, commit: Index(0) });
    }
}

/// Claim: a vote is not taken for one in a newer term, of which only entries tell.
#[test]
fn a_vote_counts_in_its_own_term() {
    let disk = FaultyDisk::new(1);
    let mut journal = begin(&disk);
    put(&mut journal, &[vote(1, Some(2))]);
    put(&mut journal, &[vote(2, Some(3))]);
    put(&mut journal, &[entries(SHARD, EntryId::ZERO, run(2, 1..=1), 40)]);
    drop(journal);
    harm(&disk, 1);
    harm_votes(&disk);
    let (_, found) = open(&disk).unwrap();
    let log = &found.shards[&SHARD];
    assert_eq!((log.hard.term, log.hard.vote, log.hard_uncertain), (Term(2), None, true));
}

/// Claim: a vote is in both places also where others are written with it that have none; and the second place is the newest of each
/// shard behind any number of votes and starts.
#[test]
fn the_second_place_has_the_newest_votes_of_all() {
    let disk = FaultyDisk::new(1);
    let mut journal = begin(&disk);
    put(&mut journal, &[vote(5, Some(3)), entries(OTHER, EntryId::ZERO, run(1, 1..=1), 40)]);
    drop(journal);
    harm(&disk, 0);
    let (_, found) = open(&disk).unwrap();
    let hard = found.shards[&SHARD].hard;
    assert_eq!((hard.term, hard.vote), (Term(5), Some(NodeId(3))));

    for votes in 1..=4 {
        let disk = FaultyDisk::new(votes);
        let mut journal = begin(&disk);
        for term in 1..=votes {
            put(
                &mut journal,
                &[vote(term, Some(term)), Append { shard: OTHER, ..vote(term + 1, Some(term)) }],
            );
        }
        drop(journal);
        drop(open(&disk).unwrap());
        harm(&disk, 0);
        let (_, found) = open(&disk).unwrap();
        let voted = |shard| found.votes.get(&shard).map(|hard| (hard.term.0, hard.vote.map(NodeId::get)));
        assert_eq!(
            (voted(SHARD), voted(OTHER)),
            (Some((votes, Some(votes))), Some((votes + 1, Some(votes)))),
            "{votes} votes"
        );
    }
}

/// Claim: a replica that was let go of and comes back with nothing has nothing that is committed, whatever a segment that was opened in
/// between began with.
#[test]
fn who_comes_back_with_nothing_has_committed_nothing() {
    let disk = FaultyDisk::new(1);
    let mut journal = begin(&disk);
    let hard = HardState { term: Term(1), vote: None, commit: Index(3) };
    put(&mut journal, &[Append { hard: Some(hard), ..entries(OTHER, EntryId::ZERO, run(1, 1..=3), 40) }]);
    let alone = CheckpointMark { generation: 1, bases: vec![(SHARD, Base::default())] };
    journal.mark_checkpoint(alone).unwrap();
    journal.sync().unwrap();
    journal.forget(|shard| shard == OTHER, |_| false).unwrap();
    put(&mut journal, &[entries(SHARD, EntryId::ZERO, run(1, 1..=1), 3_500)]);
    checkpoint(&mut journal, 2, [(SHARD, EntryId::ZERO), (OTHER, EntryId::ZERO)]);
    drop(journal);
    let (_, found) = open(&disk).unwrap();
    let log = &found.shards[&OTHER];
    assert_eq!((log.entries.len(), log.hard.term, log.hard.commit), (0, Term(1), Index(0)));
}
