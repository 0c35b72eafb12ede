//! The journal against the faulty disk.

use super::*;
use quorate_base::{EntryId, EntryKind, Rng, Term};
use quorate_faulty::FaultyDisk;
use std::collections::BTreeSet;

const ME: Identity = Identity { cluster: 77, node: NodeId(1) };
const SHARD: ShardId = ShardId(1);

fn open(disk: &FaultyDisk) -> Result<(Journal, Recovered), JournalError> {
    let options = Options { segment_bytes: 4096, ..Options::default() };
    Journal::open(Arc::new(disk.clone()), "j", ME, options, Mint::for_journal())
}

fn begin(disk: &FaultyDisk) -> Journal {
    let (mut journal, found) = open(disk).unwrap();
    assert!(found.shards.is_empty());
    journal.mark_checkpoint(CheckpointMark { generation: 0, bases: vec![(SHARD, Base::default())] }).unwrap();
    journal.sync().unwrap();
    journal
}

fn entry(term: u64, index: u64, len: usize) -> Entry {
    let data = vec![(term * 31 + index) as u8; len].into();
    Entry { id: EntryId::new(Term(term), Index(index)), kind: EntryKind::Command, data }
}

/// To a log of one term.
fn append(write: u64, hard: Option<HardState>, entries: Vec<Entry>) -> Append {
    let first = entries.first().map_or(EntryId::ZERO, |e| e.id);
    let prev =
        if first.index <= Index(1) { EntryId::ZERO } else { EntryId { index: first.index.prev(), ..first } };
    append_to(prev, write, hard, entries)
}

fn append_to(prev: EntryId, write: u64, hard: Option<HardState>, entries: Vec<Entry>) -> Append {
    Append { shard: SHARD, write: WriteId(write), hard, prev, entries }
}

fn last(log: &[Entry]) -> EntryId {
    log.last().map_or(EntryId::ZERO, |e| e.id)
}

fn ids(entries: &[Entry]) -> Vec<(u64, u64)> {
    entries.iter().map(|e| (e.id.term.0, e.id.index.0)).collect()
}

/// What was proven durable must be there after any number of power losses; what is there must have been written.
#[test]
fn what_is_proven_survives_every_power_loss() {
    let mut torn = 0;
    for seed in 0..300 {
        let disk = FaultyDisk::new(seed);
        let mut rng = Rng::new(seed);
        let mut journal = begin(&disk);
        // The log as the core would hold it, and how much of it is proven.
        let mut log: Vec<Entry> = Vec::new();
        let (mut proven, mut term, mut write) = (0_usize, 1, 0);
        let (mut proven_term, mut appended) = (0, 0);
        for _ in 0..rng.between(5, 40) {
            match rng.below(10) {
                0 => {
                    journal.sync().unwrap();
                    (proven, proven_term) = (log.len(), appended);
                    // Nothing else: a power loss now may lose nothing.
                    disk.power_loss();
                    let (j, found) = open(&disk).unwrap();
                    journal = j;
                    let shard = &found.shards[&SHARD];
                    assert!(
                        shard.entries == log,
                        "seed {seed}: {:?} for {:?}",
                        ids(&shard.entries),
                        ids(&log)
                    );
                    write = 0;
                }
                1 => {
                    disk.power_loss();
                    let (j, found) = open(&disk).unwrap();
                    journal = j;
                    let shard = &found.shards[&SHARD];
                    torn += u64::from(!shard.damage.is_empty());
                    assert!(shard.hard.term.0 >= proven_term, "seed {seed}");
                    assert!(
                        shard.entries.len() >= proven.min(log.len()),
                        "seed {seed}: a proven entry is lost"
                    );
                    log = shard.entries.clone();
                    (proven, appended) = (log.len(), shard.hard.term.0);
                    write = 0;
                }
                2 if proven < log.len() => {
                    // A new leader replaces what is not committed.
                    term += 1;
                    let at = rng.between(proven as u64, log.len() as u64) as usize;
                    log.truncate(at);
                    log.push(entry(term, at as u64 + 1, 20));
                    write += 1;
                    appended = term;
                    let hard = HardState { term: Term(term), vote: None, commit: Index(0) };
                    let append = append_to(last(&log[..at]), write, Some(hard), log[at..].to_vec());
                    journal.append(&[append]).unwrap();
                }
                _ => {
                    if rng.chance(1, 3) {
                        term += 1;
                    }
                    write += 1;
                    let first = log.len() as u64 + 1;
                    let entries: Vec<Entry> =
                        (0..rng.below(4)).map(|i| entry(term, first + i, rng.below(300) as usize)).collect();
                    appended = term;
                    let hard = HardState { term: Term(term), vote: None, commit: Index(0) };
                    journal.append(&[append_to(last(&log), write, Some(hard), entries.clone())]).unwrap();
                    log.extend(entries);
                    if rng.chance(1, 2) {
                        let proofs = journal.sync().unwrap();
                        assert_eq!(proofs.len(), 1);
                        (proven, proven_term) = (log.len(), appended);
                    }
                }
            }
        }
    }
    assert!(torn > 20, "torn tails came up: {torn}");
}

/// A power loss between any two operations on the disk leaves a journal that opens and holds what was proven.
#[test]
fn a_crash_between_any_two_operations_is_recovered() {
    let run = |disk: &FaultyDisk| -> Result<u64, JournalError> {
        let mut proven = 0;
        let result = (|| {
            let (mut journal, _) = open(disk)?;
            journal
                .mark_checkpoint(CheckpointMark { generation: 0, bases: vec![(SHARD, Base::default())] })?;
            journal.sync()?;
            for i in 1..=40 {
                journal.append(&[append(i, None, vec![entry(1, i, 200)])])?;
                journal.sync()?;
                proven = i;
                if i % 10 == 0 {
                    let base =
                        Base { id: EntryId::new(Term(1), Index(i - 5)), membership: bytes::Bytes::new() };
                    journal.mark_checkpoint(CheckpointMark { generation: i, bases: vec![(SHARD, base)] })?;
                    journal.sync()?;
                }
                if let Some(preparation) = journal.preparation() {
                    journal.prepared(preparation.run())?;
                }
            }
            Ok(())
        })();
        match result {
            Ok(()) | Err(JournalError::Disk(_) | JournalError::Poisoned) => Ok(proven),
            Err(error) => Err(error),
        }
    };
    let whole = FaultyDisk::new(0);
    assert_eq!(run(&whole), Ok(40));
    for k in 0..whole.operations() {
        let disk = FaultyDisk::new(k);
        disk.freeze_at(k);
        let proven = run(&disk).unwrap();
        disk.heal();
        disk.power_loss();
        let (_, found) = open(&disk).unwrap();
        let end = found.shards.get(&SHARD).map_or(0, |s| s.base.id.index.0 + s.entries.len() as u64);
        assert!(
            end >= proven,
            "frozen at {k}: {proven} proven, {end} found: {:?} {:?}",
            found.checkpoint,
            found.shards.get(&SHARD).map(|s| (&s.damage, s.withheld_upto))
        );
    }
}

/// The batch that opens a segment is a write of its own, before the batch that the segment is for: it must not say that
/// something is committed that only that one brings.
#[test]
fn a_commit_index_never_comes_before_what_it_is_of() {
    let hard = |term, commit| Some(HardState { term: Term(term), vote: None, commit: Index(commit) });
    let run = |disk: &FaultyDisk| -> Result<(), JournalError> {
        let mut journal = open(disk)?.0;
        journal.mark_checkpoint(CheckpointMark { generation: 0, bases: vec![(SHARD, Base::default())] })?;
        let old = (1..=10).map(|i| entry(1, i, 200)).collect();
        journal.append(&[append(1, hard(1, 0), old)])?;
        journal.sync()?;
        let replaced = EntryId::new(Term(1), Index(9));
        journal.append(&[append_to(replaced, 2, hard(2, 10), vec![entry(2, 10, 2500)])])?;
        journal.sync().map(|_| ())
    };
    let whole = FaultyDisk::new(0);
    run(&whole).unwrap();
    let mut committed = 0;
    for k in 0..=whole.operations() {
        let disk = FaultyDisk::new(k);
        disk.freeze_at(k);
        let _ = run(&disk);
        // The process is gone, and the disk has all that was written.
        disk.heal();
        let found = open(&disk).unwrap().1;
        let Some(log) = found.shards.get(&SHARD).filter(|log| log.hard.commit == Index(10)) else { continue };
        assert_eq!(last(&log.entries), EntryId::new(Term(2), Index(10)), "frozen at {k}");
        committed += 1;
    }
    assert!(committed > 0);
}

/// Every bit of a small journal: whatever is flipped, no entry comes back wrong, and what is missing is said.
#[test]
fn a_flipped_bit_is_never_a_wrong_entry() {
    let disk = FaultyDisk::new(9);
    let mut journal = begin(&disk);
    let log: Vec<Entry> = (1..=12).map(|i| entry(1, i, 40)).collect();
    for (i, e) in log.iter().enumerate() {
        let hard = HardState { term: Term(1), vote: None, commit: Index(0) };
        journal.append(&[append(i as u64 + 1, Some(hard), vec![e.clone()])]).unwrap();
        journal.sync().unwrap();
    }
    let image = disk.image();
    let (file, size) = disk.files().into_iter().find(|(name, _)| name.ends_with("1.seg")).unwrap();
    let (mut named, mut unused) = (0, 0);
    for bit in (0..size * 8).step_by(3) {
        disk.restore(&image);
        disk.flip_bit(&file, bit);
        let found = match open(&disk) {
            Ok((_, found)) => found,
            Err(JournalError::Version { .. } | JournalError::Foreign { .. }) => {
                panic!("bit {bit}: a harmed header is damage")
            }
            Err(error) => panic!("bit {bit}: {error}"),
        };
        let Some(shard) = found.shards.get(&SHARD) else {
            // The one record of the checkpoint is gone: the node starts as a new one would, and must be told so.
            named += 1;
            continue;
        };
        assert!(
            shard.entries.len() <= log.len() && shard.entries[..] == log[..shard.entries.len()],
            "bit {bit}"
        );
        if shard.entries.len() < log.len() {
            assert!(!shard.damage.is_empty(), "bit {bit}: a loss must be named");
            assert!(shard.withheld_upto > Some(Index(shard.entries.len() as u64)), "bit {bit}");
            named += 1;
        } else if shard.damage.is_empty() {
            unused += 1;
        }
    }
    assert!(named > 1000 && unused > 1000, "named {named}, unused {unused}");
}

/// Every bit of both files that hold a vote, and of each slot whole: none of them alone is where it is remembered.
#[test]
fn no_single_place_holds_a_vote() {
    let disk = FaultyDisk::new(13);
    let mut journal = begin(&disk);
    let mut voted = HardState::default();
    for term in 1..=5 {
        voted = HardState { term: Term(term), vote: Some(NodeId(term % 3 + 1)), commit: Index(0) };
        journal.append(&[append(term, Some(voted), vec![])]).unwrap();
        journal.sync().unwrap();
    }
    let image = disk.image();
    let mut harmed = 0;
    for (file, size) in disk.files() {
        for bit in (0..size * 8).filter(|bit| bit % (16 << 13) < 4096 * 8).step_by(11) {
            disk.restore(&image);
            disk.flip_bit(&file, bit);
            for start in 1..=2 {
                let (_, found) = open(&disk).unwrap();
                harmed += u64::from(!found.damage.is_empty() || !found.harmless.is_empty());
                let hard = found.shards.get(&SHARD).map_or(found.votes[&SHARD], |log| log.hard);
                assert_eq!(
                    (hard.term, hard.vote),
                    (voted.term, voted.vote),
                    "{file}, bit {bit}, start {start}"
                );
            }
        }
    }
    assert!(harmed > 100, "{harmed}");
}

/// Claim: a second record of terms and votes that somebody wrote over is named, and only then; the first is what counts.
#[test]
fn a_second_record_that_was_written_over_is_named() {
    let disk = FaultyDisk::new(14);
    let mut journal = begin(&disk);
    let voted = HardState { term: Term(7), vote: Some(NodeId(2)), commit: Index(0) };
    journal.append(&[append(7, Some(voted), vec![])]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (_, found) = open(&disk).unwrap();
    assert!(found.damage.is_empty() && found.harmless.is_empty(), "{found:?}");
    let mut file = disk.open("j/votes").unwrap();
    file.write_at(0, &vec![0x5a; 32 << 10]).unwrap();
    file.sync().unwrap();
    // Whoever only looks sees it, too.
    assert_eq!(examine(&disk, "j", ME).unwrap().harmless.len(), 2);
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.harmless.iter().map(|damage| damage.file.as_str()).collect::<Vec<_>>(), ["j/votes"; 2]);
    assert_eq!(found.shards[&SHARD].hard, voted);
}

/// The power goes between any two operations of an election: what was proven of a vote is remembered, and none is made up.
#[test]
fn a_vote_survives_a_power_loss_between_any_two_operations() {
    let mut kept = 0;
    for k in 0..60 {
        let disk = FaultyDisk::new(k);
        disk.freeze_at(k);
        let mut proven = Term(0);
        let mut run = || -> Result<(), JournalError> {
            let (mut journal, _) = open(&disk)?;
            let mark = CheckpointMark { generation: 0, bases: vec![(SHARD, Base::default())] };
            journal.mark_checkpoint(mark)?;
            journal.sync()?;
            for term in 1..=6 {
                let hard = HardState { term: Term(term), vote: Some(NodeId(term)), commit: Index(0) };
                journal.append(&[append(term, Some(hard), vec![])])?;
                if !journal.sync()?.is_empty() {
                    proven = Term(term);
                }
            }
            Ok(())
        };
        let _ = run();
        disk.heal();
        disk.power_loss();
        let (_, found) = open(&disk).unwrap();
        let hard = found.shards.get(&SHARD).map(|log| log.hard).unwrap_or_default();
        assert!(hard.term >= proven, "frozen at {k}: {proven:?} was proven, {hard:?} is remembered");
        assert_eq!(hard.vote.unwrap_or_default().0, hard.term.0, "frozen at {k}");
        kept += u64::from(proven > Term(0));
    }
    assert!(kept > 10, "{kept}");
}

/// A process is killed between its write and its flush, the next one reads the write from the cache and tells the world,
/// then the power goes.
#[test]
fn what_a_start_has_read_is_durable() {
    for seed in 0..20 {
        let disk = FaultyDisk::new(seed);
        let mut journal = begin(&disk);
        journal.append(&[append(1, None, vec![entry(1, 1, 50)])]).unwrap();
        drop(journal);
        let (journal, found) = open(&disk).unwrap();
        assert_eq!(found.shards[&SHARD].entries.len(), 1);
        drop(journal);
        disk.power_loss();
        let (_, found) = open(&disk).unwrap();
        assert_eq!(found.shards[&SHARD].entries.len(), 1, "seed {seed}");
    }
}

#[test]
fn records_of_a_recycled_segment_never_come_back() {
    let disk = FaultyDisk::new(3);
    let mut journal = begin(&disk);
    for i in 1..=200 {
        journal.append(&[append(i, None, vec![entry(1, i, 300)])]).unwrap();
        journal.sync().unwrap();
        let base = Base { id: EntryId::new(Term(1), Index(i)), membership: bytes::Bytes::new() };
        journal.mark_checkpoint(CheckpointMark { generation: i, bases: vec![(SHARD, base)] }).unwrap();
        journal.sync().unwrap();
        if i % 17 == 0 {
            let (j, found) = open(&disk).unwrap();
            journal = j;
            let shard = &found.shards[&SHARD];
            assert_eq!((shard.base.id.index, shard.entries.len(), shard.damage.len()), (Index(i), 0, 0));
        }
    }
    assert!(disk.files().len() < 6, "old segments go: {:?}", disk.files());
}

#[test]
fn a_failed_flush_is_the_end_and_a_full_disk_is_said() {
    let disk = FaultyDisk::new(4);
    let mut journal = begin(&disk);
    journal.append(&[append(1, None, vec![entry(1, 1, 10)])]).unwrap();
    disk.fail_next_sync();
    assert!(matches!(journal.sync(), Err(JournalError::Disk(_))));
    assert_eq!(journal.sync(), Err(JournalError::Poisoned));
    assert_eq!(journal.append(&[]), Err(JournalError::Poisoned));

    let disk = FaultyDisk::new(5);
    let mut journal = begin(&disk);
    journal.append(&[append(1, None, vec![entry(1, 1, 10)])]).unwrap();
    journal.sync().unwrap();
    disk.set_capacity(disk.used() + 900);
    journal.append(&[append(2, None, vec![entry(1, 2, 1500)])]).unwrap();
    let full = journal.preparation().unwrap().run();
    assert_eq!(full, Ok(false), "a spare segment is no need");
    journal.prepared(full).unwrap();
    let error = journal.append(&[append(3, None, vec![entry(1, 3, 6000)])]).unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    disk.heal();
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.shards[&SHARD].entries, vec![entry(1, 1, 10), entry(1, 2, 1500)]);
}

#[test]
fn anothers_journal_is_refused() {
    let disk = FaultyDisk::new(6);
    drop(begin(&disk));
    let other = Identity { cluster: 78, ..ME };
    let error =
        Journal::open(Arc::new(disk), "j", other, Options::default(), Mint::for_journal()).err().unwrap();
    assert!(matches!(error, JournalError::Foreign { .. }), "{error}");
}

/// A flush fails, the process stops, the next one reads the write from the cache: a flush that succeeds now proves nothing
/// about it, and yet it is told to the world.
#[test]
fn what_a_start_has_read_is_durable_after_a_flush_that_failed() {
    for seed in 0..20 {
        let disk = FaultyDisk::new(seed);
        let mut journal = begin(&disk);
        journal.append(&[append(1, None, vec![entry(1, 1, 50), entry(1, 2, 50)])]).unwrap();
        journal.sync().unwrap();
        journal.append(&[append(2, None, vec![entry(1, 3, 5000)])]).unwrap();
        disk.fail_next_sync();
        journal.sync().unwrap_err();
        drop(journal);
        // Nor does it help to start twice.
        for _ in 0..2 {
            let (journal, log) = reopen(&disk);
            assert_eq!(log.entries.len(), 3);
            drop(journal);
        }
        disk.power_loss();
        let (_, log) = reopen(&disk);
        assert_eq!(log.entries.len(), 3, "seed {seed}");
        assert!(!log.entries_lost, "seed {seed}: {:?}", log.damage);
    }
}

/// Appends one entry in a batch of its own.
fn put(journal: &mut Journal, prev: (u64, u64), (term, index): (u64, u64)) {
    let prev = EntryId::new(Term(prev.0), Index(prev.1));
    let hard = HardState { term: Term(term), vote: None, commit: Index(0) };
    journal.append(&[append_to(prev, index, Some(hard), vec![entry(term, index, 40)])]).unwrap();
    journal.sync().unwrap();
}

/// Flips a bit in an entry's payload. The newest file that has it is taken.
fn harm(disk: &FaultyDisk, term: u64, index: u64) {
    let needle = entry(term, index, 40).data;
    for (file, size) in disk.files() {
        let mut bytes = vec![0; size as usize];
        disk.open(&file).unwrap().read_at(0, &mut bytes).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            return disk.flip_bit(&file, at as u64 * 8);
        }
    }
    panic!("{term}:{index} is nowhere");
}

fn reopen(disk: &FaultyDisk) -> (Journal, ShardLog) {
    let (journal, mut found) = open(disk).unwrap();
    (journal, found.shards.remove(&SHARD).unwrap())
}

/// t1:150 was replaced by t2:150, which is damaged; t2:151 is intact. The indexes leave no gap, and yet t2:151 was never behind
/// t1:150 (found by the simulator, seed 2321).
#[test]
fn what_followed_a_damaged_replacement_does_not_join_what_was_replaced() {
    let disk = FaultyDisk::new(7);
    let mut journal = begin(&disk);
    let old: Vec<Entry> = (1..=150).map(|i| entry(1, i, 2)).collect();
    journal.append(&[append(1, None, old)]).unwrap();
    journal.sync().unwrap();
    put(&mut journal, (1, 149), (2, 150));
    put(&mut journal, (2, 150), (2, 151));
    drop(journal);
    harm(&disk, 2, 150);
    let (mut journal, log) = reopen(&disk);
    assert_eq!(ids(&log.entries).last(), Some(&(1, 150)), "a log that this replica has had");
    assert_eq!(log.withheld_upto, Some(Index(151)));
    assert!(log.hard_uncertain && log.entries_lost);
    assert_eq!(log.hard.term, Term(2), "what stands apart tells of its term");

    // A leader goes on from the log that this start was left with; the next start finds that, damage and all.
    put(&mut journal, (1, 150), (3, 151));
    drop(journal);
    let (mut journal, log) = reopen(&disk);
    assert_eq!(ids(&log.entries[149..]), [(1, 150), (3, 151)]);
    assert!(log.hard_uncertain && !log.entries_lost, "all that the last life appended is there");

    // And one that brings the lost entries again.
    put(&mut journal, (1, 149), (2, 150));
    put(&mut journal, (2, 150), (2, 151));
    drop(journal);
    let (_, log) = reopen(&disk);
    assert_eq!(ids(&log.entries[148..]), [(1, 149), (2, 150), (2, 151)]);
}

/// The replacement was committed, and that is on record; what it replaced was not (found by the simulator, seed 2321).
#[test]
fn a_commit_index_says_nothing_about_what_was_replaced() {
    let disk = FaultyDisk::new(13);
    let mut journal = begin(&disk);
    put(&mut journal, (0, 0), (1, 1));
    put(&mut journal, (1, 1), (1, 2));
    put(&mut journal, (1, 1), (2, 2));
    let hard = HardState { term: Term(3), vote: None, commit: Index(2) };
    journal.append(&[append_to(EntryId::ZERO, 4, Some(hard), vec![])]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    harm(&disk, 2, 2);
    let (_, log) = reopen(&disk);
    assert_eq!(
        (ids(&log.entries), log.hard.term, log.hard.commit),
        (vec![(1, 1), (1, 2)], Term(3), Index(0))
    );
}

/// As before, where a checkpoint stands for the damaged replacement: what follows it joins.
#[test]
fn what_followed_a_damaged_replacement_joins_a_checkpoint_of_it() {
    for checkpoint in [(2, 3), (2, 2)] {
        let disk = FaultyDisk::new(8);
        let mut journal = begin(&disk);
        put(&mut journal, (0, 0), (1, 1));
        put(&mut journal, (1, 1), (1, 2));
        put(&mut journal, (1, 2), (1, 3));
        put(&mut journal, (1, 1), (2, 2));
        put(&mut journal, (2, 2), (2, 3));
        put(&mut journal, (2, 3), (2, 4));
        let id = EntryId::new(Term(checkpoint.0), Index(checkpoint.1));
        let base = Base { id, ..Base::default() };
        journal.mark_checkpoint(CheckpointMark { generation: 1, bases: vec![(SHARD, base)] }).unwrap();
        journal.sync().unwrap();
        drop(journal);
        harm(&disk, 2, 3);
        let (_, log) = reopen(&disk);
        let all = if checkpoint == (2, 3) { vec![(2, 4)] } else { vec![] };
        assert_eq!(ids(&log.entries), all, "{checkpoint:?}");
        assert_eq!(log.entries_lost, all.is_empty(), "{checkpoint:?}");
    }
}

/// A snapshot replaces a log whose uncommitted tail reached further: that tail is gone, and nothing is missing.
#[test]
fn a_snapshot_that_replaced_a_longer_log_leaves_nothing_to_withhold() {
    let disk = FaultyDisk::new(9);
    let mut journal = begin(&disk);
    for index in 1..=5 {
        put(&mut journal, (u64::from(index > 1), index - 1), (1, index));
    }
    let base = Base { id: EntryId::new(Term(2), Index(3)), ..Base::default() };
    journal.mark_checkpoint(CheckpointMark { generation: 1, bases: vec![(SHARD, base)] }).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (mut journal, log) = reopen(&disk);
    assert_eq!((ids(&log.entries), log.withheld_upto, log.damage.len()), (vec![], None, 0));
    put(&mut journal, (2, 3), (2, 4));
    drop(journal);
    let (_, log) = reopen(&disk);
    assert_eq!((ids(&log.entries), log.withheld_upto), (vec![(2, 4)], None));
}

/// A segment that is gone as a whole leaves no place that does not verify: the entries behind it say that they miss it.
#[test]
fn a_segment_that_is_gone_is_missed() {
    let disk = FaultyDisk::new(10);
    let mut journal = begin(&disk);
    for index in 1..=60 {
        put(&mut journal, (u64::from(index > 1), index - 1), (1, index));
    }
    drop(journal);
    disk.remove(&format!("j/{}", segment_name(2))).unwrap();
    let (_, log) = reopen(&disk);
    assert!(log.entries.len() < 60 && log.withheld_upto == Some(Index(60)), "{:?}", log.withheld_upto);
    assert!(log.entries_lost, "no power loss explains it: {:?}", log.damage);
}

/// Whatever brought it about: entries that were appended to something else are not served as what follows.
#[test]
fn entries_that_do_not_join_are_named_where_no_damage_is() {
    for prev in [(9, 2), (9, 5)] {
        let disk = FaultyDisk::new(12);
        let mut journal = begin(&disk);
        put(&mut journal, (0, 0), (1, 1));
        put(&mut journal, (1, 1), (1, 2));
        put(&mut journal, prev, (9, prev.1 + 1));
        let hard = HardState { term: Term(9), vote: None, commit: Index(2) };
        journal.append(&[append_to(EntryId::ZERO, 4, Some(hard), vec![])]).unwrap();
        drop(journal);
        let (_, log) = reopen(&disk);
        assert_eq!((ids(&log.entries), log.withheld_upto), (vec![(1, 1), (1, 2)], Some(Index(prev.1 + 1))));
        assert_eq!(log.hard.commit, Index(0), "that may be of another log");
        assert!(log.entries_lost && log.damage[0].what.contains("appended to others"), "{:?}", log.damage);
    }
}

/// The write of a header landed elsewhere: what was written behind it was acknowledged all the same.
#[test]
fn a_segment_without_its_header_is_read() {
    for start in 1..=2 {
        let disk = FaultyDisk::new(14);
        let mut journal = begin(&disk);
        put(&mut journal, (0, 0), (1, 1));
        if start == 2 {
            drop(journal);
            journal = reopen(&disk).0;
        }
        put(&mut journal, (1, 1), (1, 2));
        drop(journal);
        let mut file = disk.open(&format!("j/{}", segment_name(start))).unwrap();
        file.write_at(0, &[0; SEGMENT_HEADER]).unwrap();
        let (_, found) = open(&disk).unwrap();
        let log = &found.shards[&SHARD];
        assert_eq!((ids(&log.entries), log.withheld_upto), (vec![(1, 1), (1, 2)], None));
        assert_eq!(found.harmless.len(), 1);
    }
}

#[test]
fn a_journal_of_another_version_is_refused_in_words() {
    for (version, words) in [(1_u16, "older than this release reads"), (3, "newer than this release reads")] {
        let disk = FaultyDisk::new(11);
        drop(begin(&disk));
        let mut file = disk.open(&format!("j/{}", segment_name(1))).unwrap();
        let mut head = [0; SEGMENT_HEADER];
        file.read_at(0, &mut head).unwrap();
        head[format::VERSION_AT..format::VERSION_AT + 2].copy_from_slice(&version.to_le_bytes());
        let crc = crc32c::crc32c(&head[..format::HEADER_CRC_AT]);
        head[format::HEADER_CRC_AT..format::HEADER_CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        file.write_at(0, &head).unwrap();
        let error = open(&disk).err().unwrap().to_string();
        assert!(error.contains(words) && error.contains(&format!("version {version}")), "{error}");
    }
}

/// Claim: the next segment's file is made beside the journal, which goes on meanwhile, also into a new segment; only then it is
/// used, once, and no old segment is put in its place.
#[test]
fn a_segment_is_prepared_while_the_journal_goes_on() {
    let disk = FaultyDisk::new(6);
    let mut journal = begin(&disk);
    assert!(journal.preparation().is_none(), "hardly begun");
    journal.append(&[append(1, None, vec![entry(1, 1, 1500)])]).unwrap();
    let preparation = journal.preparation().unwrap();
    assert!(journal.preparation().is_none(), "one at a time");
    // Into a second segment, and a checkpoint that lets the first one go.
    journal.append(&[append(2, None, vec![entry(1, 2, 3000)])]).unwrap();
    journal.sync().unwrap();
    let ready = preparation.run();
    assert_eq!(ready, Ok(true));
    journal.prepared(ready).unwrap();
    assert!(journal.preparation().is_none(), "it is there");
    let names = || disk.list("j").unwrap();
    assert!(names().iter().any(|name| name == SPARE), "{:?}", names());
    journal.append(&[append(3, None, vec![entry(1, 3, 3000)])]).unwrap();
    journal.sync().unwrap();
    assert!(!names().iter().any(|name| name == SPARE), "{:?}", names());
    assert!(journal.preparation().is_some(), "the next one is needed");
    drop(journal);
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.shards[&SHARD].entries.len(), 3);
}

/// Claim: where checkpoints keep up, full segments become new ones, and none is filled with zeros after the first few.
#[test]
fn segments_go_round() {
    let disk = FaultyDisk::new(6);
    let mut journal = begin(&disk);
    let (mut prepared, mut begun) = (0, BTreeSet::new());
    for index in 1..=60 {
        journal.append(&[append(index, None, vec![entry(1, index, 900)])]).unwrap();
        journal.sync().unwrap();
        begun.extend(disk.list("j").unwrap());
        // It takes until behind the next append, and all before the last entry is in a checkpoint.
        let preparation = journal.preparation();
        if index % 2 == 0 {
            let base = Base { id: EntryId::new(Term(1), Index(index - 1)), ..Base::default() };
            let mark = CheckpointMark { generation: index, bases: vec![(SHARD, base)] };
            journal.mark_checkpoint(mark).unwrap();
            journal.sync().unwrap();
        }
        if let Some(preparation) = preparation {
            prepared += 1;
            journal.prepared(preparation.run()).unwrap();
        }
    }
    assert!(begun.len() > 10, "{begun:?}");
    assert!(prepared <= 2, "{prepared} were filled with zeros");
    drop(journal);
    let (_, found) = open(&disk).unwrap();
    assert_eq!(found.shards[&SHARD].entries.last().unwrap().id.index.get(), 60);
}

/// Claim: a start goes on in the spare segment, if there is a whole one; one that a crash left half made is never written to.
#[test]
fn a_start_takes_the_spare_segment_and_no_half_made_one() {
    let disk = FaultyDisk::new(6);
    let spare = format!("j/{SPARE}");
    let size = |name: &str| disk.open(name).unwrap().size().unwrap();
    let mut journal = begin(&disk);
    journal.append(&[append(1, None, vec![entry(1, 1, 1500)])]).unwrap();
    journal.sync().unwrap();
    let ready = journal.preparation().unwrap().run();
    journal.prepared(ready).unwrap();
    drop(journal);
    // What is in it is not what a new file has.
    disk.open(&spare).unwrap().write_at(100, b"of an earlier life").unwrap();
    let (mut journal, found) = open(&disk).unwrap();
    assert_eq!(found.shards[&SHARD].entries.len(), 1);
    assert!(disk.open(&spare).is_err(), "{:?}", disk.list("j"));
    journal.append(&[append(2, None, vec![entry(1, 2, 1500)])]).unwrap();
    journal.sync().unwrap();
    drop(journal);

    disk.create(&spare, 100).unwrap();
    let (journal, found) = open(&disk).unwrap();
    assert_eq!(found.shards[&SHARD].entries.len(), 2);
    assert!(disk.open(&spare).is_err(), "{:?}", disk.list("j"));
    let third = format!("j/{}", segment_name(3));
    assert_eq!(size(&third), 4096);
    drop(journal);

    // A name that came to the disk by half leaves a segment under both of its names, to be written over as a spare one.
    let mut both = vec![0; 4096];
    disk.open(&third).unwrap().read_at(0, &mut both).unwrap();
    both[4000..4003].fill(7);
    disk.create(&spare, 4096).unwrap().write_at(0, &both).unwrap();
    let (journal, found) = open(&disk).unwrap();
    assert_eq!(found.shards[&SHARD].entries.len(), 2);
    let mut end = [7; 3];
    disk.open(&format!("j/{}", segment_name(4))).unwrap().read_at(4000, &mut end).unwrap();
    assert_eq!(end, [0; 3], "the next segment is a file of its own");
    drop(journal);
}

/// Claim: what a shard that was dropped left behind keeps no segment once a checkpoint knows it no more, not after a start either; and
/// nobody hears of its votes.
#[test]
fn a_shard_that_is_no_more_keeps_no_segment() {
    const GONE: ShardId = ShardId(2);
    let disk = FaultyDisk::new(15);
    let mut journal = begin(&disk);
    let hard = |commit| Some(HardState { term: Term(1), vote: Some(NodeId(1)), commit: Index(commit) });
    let segments = || disk.list("j").unwrap().iter().filter(|name| name.starts_with('0')).count();
    let fill = |journal: &mut Journal, shard, indexes: std::ops::RangeInclusive<u64>| {
        for index in indexes {
            let append = Append { shard, ..append(index, hard(index), vec![entry(1, index, 900)]) };
            journal.append(&[append]).unwrap();
            journal.sync().unwrap();
        }
    };
    let checkpoint = |journal: &mut Journal, generation, index| {
        let base = Base { id: EntryId::new(Term(1), Index(index)), ..Base::default() };
        journal.mark_checkpoint(CheckpointMark { generation, bases: vec![(SHARD, base)] }).unwrap();
        journal.sync().unwrap();
    };
    fill(&mut journal, SHARD, 1..=10);
    fill(&mut journal, GONE, 1..=40);
    checkpoint(&mut journal, 1, 10);
    assert!(segments() > 10, "they wait for word of the other shard");
    journal.forget(|shard| shard == GONE, |shard| shard == GONE).unwrap();
    assert!(segments() <= 3, "{:?}", disk.list("j"));

    fill(&mut journal, GONE, 41..=80);
    checkpoint(&mut journal, 2, 10);
    drop(journal);
    let (mut journal, _) = open(&disk).unwrap();
    assert!(segments() > 10);
    journal.forget(|shard| shard == GONE, |shard| shard == GONE).unwrap();
    journal.sync().unwrap();
    assert!(segments() <= 3, "{:?}", disk.list("j"));
    drop(journal);
    let (_, found) = open(&disk).unwrap();
    assert!(found.damage.is_empty() && found.harmless.is_empty(), "{found:?}");
    assert_eq!(found.votes.keys().collect::<Vec<_>>(), [&SHARD]);
}

/// Claim: a shard whose log begins anew, since it was let go of and came back, has nothing of what it was before, and still its term
/// and vote; what it was given since is there.
#[test]
fn a_log_that_begins_anew_has_nothing_of_the_old_one() {
    const BACK: ShardId = ShardId(2);
    let disk = FaultyDisk::new(16);
    let mut journal = begin(&disk);
    let hard = HardState { term: Term(3), vote: Some(NodeId(2)), commit: Index(20) };
    let put = |journal: &mut Journal, hard, entries: Vec<Entry>| {
        let index = entries.first().map_or(1, |entry| entry.id.index.0);
        journal.append(&[Append { shard: BACK, ..append(index, hard, entries) }]).unwrap();
        journal.sync().unwrap();
    };
    let checkpoint = |journal: &mut Journal, generation, back: Option<EntryId>| {
        let base = |id| Base { id, ..Base::default() };
        let bases = [(SHARD, base(EntryId::ZERO))].into_iter().chain(back.map(|id| (BACK, base(id))));
        journal.mark_checkpoint(CheckpointMark { generation, bases: bases.collect() }).unwrap();
        journal.sync().unwrap();
    };
    checkpoint(&mut journal, 1, Some(EntryId::ZERO));
    put(&mut journal, Some(hard), (1..=20).map(|index| entry(3, index, 10)).collect());
    checkpoint(&mut journal, 2, Some(EntryId::new(Term(3), Index(15))));
    // It is let go of, and begins anew.
    checkpoint(&mut journal, 3, None);
    checkpoint(&mut journal, 4, Some(EntryId::ZERO));
    drop(journal);
    let (mut journal, found) = open(&disk).unwrap();
    let log = &found.shards[&BACK];
    assert_eq!(
        (log.base.id, log.entries.len(), log.hard),
        (EntryId::ZERO, 0, HardState { commit: Index(0), ..hard })
    );
    put(
        &mut journal,
        Some(HardState { term: Term(4), vote: None, commit: Index(0) }),
        vec![entry(1, 1, 10), entry(4, 2, 10)],
    );
    drop(journal);
    let (_, found) = open(&disk).unwrap();
    let log = &found.shards[&BACK];
    assert!(log.withheld_upto.is_none() && !log.hard_uncertain);
    assert_eq!(log.entries.iter().map(|entry| entry.id.term.0).collect::<Vec<_>>(), [1, 4]);
}

/// Claim: a replica that was let go of keeps no segment, but its term and vote are known if it comes back, whatever it says then.
#[test]
fn a_replica_that_was_let_go_of_remembers_its_vote() {
    const MOVED: ShardId = ShardId(2);
    let disk = FaultyDisk::new(16);
    let mut journal = begin(&disk);
    let told = |term, commit| HardState { term: Term(term), vote: Some(NodeId(term)), commit: Index(commit) };
    let say = |journal: &mut Journal, hard, entries| {
        journal.append(&[Append { shard: MOVED, ..append(1, Some(hard), entries) }]).unwrap();
        journal.sync().unwrap();
    };
    say(&mut journal, told(42, 1), vec![entry(1, 1, 10)]);
    journal.mark_checkpoint(CheckpointMark { generation: 1, bases: vec![(SHARD, Base::default())] }).unwrap();
    journal.sync().unwrap();
    journal.forget(|shard| shard == MOVED, |_| false).unwrap();
    let bases = vec![(SHARD, Base::default()), (MOVED, Base::default())];
    journal.mark_checkpoint(CheckpointMark { generation: 2, bases }).unwrap();
    say(&mut journal, told(3, 0), Vec::new());
    // Both places remember: the second record, and what a segment that opens now begins with.
    assert_eq!(journal.hards[&MOVED], told(42, 0));
    drop(journal);
    let image = disk.image();
    for in_journal_alone in [false, true] {
        disk.restore(&image);
        for slot in (0..2).filter(|_| in_journal_alone) {
            disk.flip_bit("j/votes", (slot * (16 << 10) + 40) * 8);
        }
        let (_, found) = open(&disk).unwrap();
        let hard = found.shards[&MOVED].hard;
        assert_eq!((hard.term, hard.vote), (Term(42), Some(NodeId(42))), "alone: {in_journal_alone}");
    }
}
