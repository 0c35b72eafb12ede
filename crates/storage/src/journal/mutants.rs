//! Each planted bug of the journal is caught by a run that was made for it: `cargo test -p quorate-storage --features mutants`.
//!
//! A run says what is wrong with the journal that it drives, or that nothing is. The healthy journal passes all of them.

use super::*;
use quorate_base::{EntryId, EntryKind};
use quorate_faulty::FaultyDisk;

const ME: Identity = Identity { cluster: 77, node: NodeId(1) };
const SHARD: ShardId = ShardId(1);
const ENTRIES: u64 = 12;

type Drive = fn(Option<Mutant>) -> Result<(), String>;

/// Which run catches which.
const RUNS: [(&str, Mutant, Drive); 6] = [
    ("damage in the middle", Mutant::CorruptMiddleTruncated, damage_in_the_middle),
    ("a flush fails, then the power", Mutant::FsyncErrorRetried, a_flush_fails_then_the_power),
    ("damage, a checkpoint, two starts", Mutant::DamageForgotten, damage_a_checkpoint_two_starts),
    ("damage of what replaced the last entry", Mutant::ReplacedEntriesRejoined, damage_of_a_replacement),
    ("damage of a vote", Mutant::VoteKeptOnce, damage_of_a_vote),
    ("a snapshot over another log", Mutant::SnapshotKeepsLog, a_snapshot_over_another_log),
];

fn open(disk: &FaultyDisk, mutant: Option<Mutant>) -> Result<(Journal, Recovered), String> {
    let options = Options { segment_bytes: 16 << 10, mutant };
    Journal::open(Arc::new(disk.clone()), "j", ME, options, Mint::for_journal()).map_err(|e| e.to_string())
}

fn entry(index: u64) -> Entry {
    let id = EntryId::new(Term(1), Index(index));
    Entry { id, kind: EntryKind::Command, data: vec![index as u8; 60].into() }
}

fn append(index: u64) -> Append {
    let hard = HardState { term: Term(1), vote: None, commit: Index(index - 1) };
    let prev = if index == 1 { EntryId::ZERO } else { entry(index - 1).id };
    Append { shard: SHARD, write: WriteId(index), hard: Some(hard), prev, entries: vec![entry(index)] }
}

fn mark(journal: &mut Journal, generation: u64, id: EntryId) -> Result<(), String> {
    let base = Base { id, ..Base::default() };
    let mark = CheckpointMark { generation, bases: vec![(SHARD, base)] };
    journal.mark_checkpoint(mark).and_then(|()| journal.sync()).map(drop).map_err(|e| e.to_string())
}

/// A journal of twelve entries, each flushed on its own.
fn written(disk: &FaultyDisk, mutant: Option<Mutant>) -> Result<Journal, String> {
    let (mut journal, _) = open(disk, mutant)?;
    mark(&mut journal, 0, EntryId::ZERO)?;
    for index in 1..=ENTRIES {
        journal.append(&[append(index)]).and_then(|()| journal.sync()).map_err(|e| e.to_string())?;
    }
    Ok(journal)
}

/// Flips a bit in the payload of an entry, wherever it stands.
fn harm(disk: &FaultyDisk, index: u64) -> Result<(), String> {
    let needle = [index as u8; 60];
    for (file, size) in disk.files() {
        let mut bytes = vec![0; size as usize];
        disk.open(&file).and_then(|f| f.read_at(0, &mut bytes)).map_err(|e| e.to_string())?;
        if let Some(at) = bytes.windows(60).position(|window| window == needle) {
            disk.flip_bit(&file, at as u64 * 8 + 3);
            return Ok(());
        }
    }
    Err(format!("entry {index} is nowhere"))
}

fn shard(found: &Recovered) -> Result<&ShardLog, String> {
    found.shards.get(&SHARD).ok_or_else(|| "the shard is gone".into())
}

/// Entries that were flushed before others cannot be a torn tail: their loss is named, and the replica withholds.
fn damage_in_the_middle(mutant: Option<Mutant>) -> Result<(), String> {
    let disk = FaultyDisk::new(1);
    drop(written(&disk, mutant)?);
    harm(&disk, 5)?;
    let (_, found) = open(&disk, mutant)?;
    let log = shard(&found)?;
    match (log.entries.len(), log.withheld_upto) {
        (4, Some(upto)) if upto.0 == ENTRIES && log.entries_lost && log.damage.len() == 1 => Ok(()),
        (left, upto) => Err(format!("{left} entries are left, withheld up to {upto:?}: {:?}", log.damage)),
    }
}

/// What was proven durable is there, also where a flush had failed before the one that returned.
fn a_flush_fails_then_the_power(mutant: Option<Mutant>) -> Result<(), String> {
    // Of what a failed flush leaves behind, some is on the platter by chance.
    for seed in 0..8 {
        let disk = FaultyDisk::new(seed);
        let mut journal = written(&disk, mutant)?;
        let append = Append { hard: None, ..append(ENTRIES + 1) };
        journal.append(&[append]).map_err(|e| e.to_string())?;
        disk.fail_next_sync();
        let proven = if journal.sync().is_ok() { ENTRIES + 1 } else { ENTRIES };
        disk.power_loss();
        let (_, found) = open(&disk, mutant)?;
        let left = shard(&found)?.entries.len() as u64;
        if left < proven {
            return Err(format!("seed {seed}: {proven} entries were proven durable, {left} are there"));
        }
    }
    Ok(())
}

/// A checkpoint covers all that could be read of a damaged segment; what could not be read is still not known at the second
/// start after the damage.
fn damage_a_checkpoint_two_starts(mutant: Option<Mutant>) -> Result<(), String> {
    let disk = FaultyDisk::new(3);
    let mut journal = written(&disk, mutant)?;
    mark(&mut journal, 1, EntryId::new(Term(1), Index(ENTRIES - 1)))?;
    drop(journal);
    harm(&disk, ENTRIES)?;
    for start in 1..=3 {
        let (_, found) = open(&disk, mutant)?;
        let log = shard(&found)?;
        if !log.hard_uncertain || log.withheld_upto.is_none() {
            return Err(format!(
                "start {start} takes {} entries for all that there ever were",
                log.entries.len()
            ));
        }
    }
    // Once a checkpoint of a newer term stands for it, the peers have shown it all again.
    let (mut journal, _) = open(&disk, mutant)?;
    mark(&mut journal, 2, EntryId::new(Term(2), Index(ENTRIES + 5)))?;
    drop(journal);
    let (_, found) = open(&disk, mutant)?;
    let log = shard(&found)?;
    if log.hard_uncertain { Err(format!("it withholds for ever: {:?}", log.damage)) } else { Ok(()) }
}

/// The last entry was replaced by a later leader's, which is damaged; what was appended to that is intact. It never was
/// behind the entry that was replaced.
fn damage_of_a_replacement(mutant: Option<Mutant>) -> Result<(), String> {
    let disk = FaultyDisk::new(4);
    let mut journal = written(&disk, mutant)?;
    let id = |term, index| EntryId::new(Term(term), Index(index));
    for (prev, index) in [(id(1, ENTRIES - 1), ENTRIES), (id(2, ENTRIES), ENTRIES + 1)] {
        let data = vec![100 + index as u8; 60].into();
        let entries = vec![Entry { id: id(2, index), kind: EntryKind::Command, data }];
        let append = Append { shard: SHARD, write: WriteId(index), hard: None, prev, entries };
        journal.append(&[append]).and_then(|()| journal.sync()).map_err(|e| e.to_string())?;
    }
    drop(journal);
    harm(&disk, 100 + ENTRIES)?;
    let (_, found) = open(&disk, mutant)?;
    let log = shard(&found)?;
    let ids: Vec<EntryId> = log.entries.iter().map(|e| e.id).collect();
    let joined = ids.windows(2).all(|pair| pair != [id(1, ENTRIES), id(2, ENTRIES + 1)]);
    if joined && log.withheld_upto >= Some(Index(ENTRIES + 1)) && log.hard.term == Term(2) {
        return Ok(());
    }
    Err(format!("the log is {ids:?}, withheld up to {:?}, {:?}", log.withheld_upto, log.hard))
}

/// The batch that records a vote is damaged; the vote is known all the same, and at the start after that.
fn damage_of_a_vote(mutant: Option<Mutant>) -> Result<(), String> {
    let disk = FaultyDisk::new(5);
    let mut journal = written(&disk, mutant)?;
    let voted = HardState { term: Term(5), vote: Some(NodeId(3)), commit: Index(3) };
    let append = Append { hard: Some(voted), ..append(ENTRIES + 1) };
    journal.append(&[append]).and_then(|()| journal.sync()).map_err(|e| e.to_string())?;
    drop(journal);
    harm(&disk, ENTRIES + 1)?;
    for start in 1..=2 {
        let (_, found) = open(&disk, mutant)?;
        let hard = shard(&found)?.hard;
        if (hard.term, hard.vote) != (voted.term, voted.vote) {
            return Err(format!("start {start}: it voted as {voted:?} and remembers {hard:?}"));
        }
    }
    Ok(())
}

/// A snapshot of another leader stands in the place of a log that went further: what was behind its place is no part of the log.
fn a_snapshot_over_another_log(mutant: Option<Mutant>) -> Result<(), String> {
    let disk = FaultyDisk::new(6);
    let mut journal = written(&disk, mutant)?;
    mark(&mut journal, 1, EntryId::new(Term(2), Index(ENTRIES - 3)))?;
    drop(journal);
    for start in 1..=2 {
        let (_, found) = open(&disk, mutant)?;
        let ids: Vec<EntryId> = shard(&found)?.entries.iter().map(|e| e.id).collect();
        if !ids.is_empty() {
            return Err(format!(
                "start {start}: behind the snapshot stand {ids:?}, of the log that it replaced"
            ));
        }
    }
    Ok(())
}

#[test]
fn the_healthy_journal_passes_what_is_made_for_mutants() {
    for (name, _, run) in RUNS {
        if let Err(why) = run(None) {
            panic!("{name}: {why}");
        }
    }
}

#[test]
fn every_mutant_is_caught_by_its_run() {
    assert_eq!(RUNS.len(), Mutant::ALL.len());
    for (name, mutant, run) in RUNS {
        let why = run(Some(mutant)).expect_err(&format!("{mutant:?} survives {name}"));
        println!("{mutant:?}: {name}: {why}");
    }
}
