//! What a start makes of damage, over the faulty disk: a state that does not open, records that do not verify.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use quorate_base::time::Duration;
use quorate_base::{
    Append, Base, Entry, EntryId, EntryKind, HardState, Index, Instant, Mint, NodeId, Rng, ShardId, Term,
    WriteId,
};
use quorate_faulty::FaultyDisk;
use quorate_node::applier::{Applier, Output, Work};
use quorate_node::boot::{self, Booted, Error, Parts};
use quorate_protocol::raft;
use quorate_storage::journal::{CheckpointMark, Identity, Journal, Options};
use quorate_storage::memory::MemoryStore;
use quorate_wire::command;
use quorate_wire::kv::Command;
use quorate_wire::table::{self, Definition, EPOCH, KeyNames, SHARDS_TAG, Scalar, What};
use std::sync::Arc;

const KV: ShardId = ShardId(1);
const ME: NodeId = NodeId(1);
const IDENTITY: Identity = Identity { cluster: 5, node: ME };
/// Entries in all, and in the checkpoint.
const LAST: u64 = 9;
const SEALED: u64 = 6;

fn start(disk: &FaultyDisk, voters: u64) -> Result<(Booted, Journal), String> {
    let shared = Arc::new(disk.clone());
    let options = Options { segment_bytes: 4096, ..Options::default() };
    let (mut journal, found) =
        Journal::open(shared.clone(), "journal", IDENTITY, options, Mint::for_journal())
            .map_err(|e| e.to_string())?;
    let mut store = MemoryStore::new(shared, "state", IDENTITY);
    let parts = Parts {
        raft: raft::Config::new(KV, ME),
        found,
        store: &mut store,
        founders: raft::Membership::of_voters((1..=voters).map(NodeId)),
        campaign_at_once: false,
        disk_lost: false,
        promised: Duration::ZERO,
    };
    match boot::boot(parts, &mut journal, &mut Rng::new(1), Instant(1)) {
        Ok(booted) => Ok((booted, journal)),
        Err(error @ Error::Alone { .. }) => Err(format!("alone: {error}")),
        Err(error) => Err(error.to_string()),
    }
}

fn entry(index: u64) -> Entry {
    let id = EntryId::new(Term(3), Index(index));
    Entry { id, kind: EntryKind::Empty, data: bytes::Bytes::new() }
}

/// A node with a vote in term 3, nine entries, six of them in checkpoint 1; the journal goes on behind its record.
fn lived(voters: u64, checkpoint: bool) -> FaultyDisk {
    let disk = FaultyDisk::new(1);
    let (booted, mut journal) = start(&disk, voters).unwrap();
    let mut applier = Applier::new(booted.kv, booted.lost, ME, booted.generation, u64::MAX);
    for index in 1..=LAST {
        let hard = HardState { term: Term(3), vote: Some(NodeId(2)), commit: Index(index - 1) };
        let prev = if index == 1 { EntryId::ZERO } else { entry(index - 1).id };
        let append =
            Append { shard: KV, write: WriteId(index), hard: Some(hard), prev, entries: vec![entry(index)] };
        journal.append(&[append]).unwrap();
        journal.sync().unwrap();
        if index == SEALED && checkpoint {
            let mut out = Vec::new();
            applier
                .work(Work::Apply { shard: KV, entries: (1..=SEALED).map(entry).collect() }, &mut out)
                .unwrap();
            applier.work(Work::Seal, &mut out).unwrap();
            for output in out {
                if let Output::Sealed { job, generation, cut } = output {
                    job.run(generation).unwrap();
                    journal.mark_checkpoint(CheckpointMark { generation, bases: cut.bases }).unwrap();
                    journal.sync().unwrap();
                }
            }
        }
    }
    disk
}

fn names(disk: &FaultyDisk, part: &str) -> Vec<String> {
    disk.files().into_iter().map(|(name, _)| name).filter(|name| name.contains(part)).collect()
}

/// The state is set aside once, under a name that says so; the log and the vote stay in force, at every later start too.
#[test]
fn a_state_that_does_not_open_is_set_aside_and_the_log_is_kept() {
    let disk = lived(3, true);
    let state = names(&disk, "state/");
    assert_eq!(state.len(), 1);
    disk.flip_bit(&state[0], 500);
    for _ in 0..3 {
        let (booted, _) = start(&disk, 3).unwrap();
        assert!(booted.raft.state_lost() && !booted.raft.withholds());
        let hard = booted.raft.hard();
        assert_eq!((booted.raft.base().index, booted.raft.last().index), (Index(SEALED), Index(LAST)));
        assert_eq!((hard.term, hard.vote), (Term(3), Some(NodeId(2))));
        assert_eq!((booted.kv.applied(), booted.generation), (EntryId::ZERO, 1));
        assert!(booted.notes.iter().any(|note| note.contains(&state[0])), "{:?}", booted.notes);
        assert_eq!(names(&disk, ".damaged"), [format!("{}.damaged", state[0])]);
    }
}

/// Where the state is gone nobody knows who had left what. A replica of a table's shard that has no vote may have come back, and have
/// voted before it was let go: it begins as one whose disk is lost. One that has its vote does not.
#[test]
fn a_replica_without_a_vote_whose_state_is_gone_may_have_come_back() {
    let listens =
        raft::Membership { learners: [ME].into(), ..raft::Membership::of_voters([2, 3].map(NodeId)) };
    let all = raft::Membership::of_voters([1, 2, 3].map(NodeId));
    for (members, doubted) in [(&listens, true), (&all, false)] {
        let disk = lived(3, true);
        let (_, mut journal) = start(&disk, 3).unwrap();
        let base = |id, members: &raft::Membership| Base { id, membership: members.encode() };
        let table = base(EntryId::new(Term(7), Index(35)), members);
        let bases = vec![(KV, base(entry(SEALED).id, &all)), (ShardId(4), table)];
        journal.mark_checkpoint(CheckpointMark { generation: 1, bases }).unwrap();
        journal.sync().unwrap();
        drop(journal);
        disk.flip_bit(&names(&disk, "state/")[0], 500);
        let (booted, _) = start(&disk, 3).unwrap();
        assert!(booted.raft.state_lost() && !booted.raft.disk_lost());
        let other = &booted.others[0];
        assert_eq!((other.shard, other.raft.disk_lost()), (ShardId(4), doubted));
    }
}

/// A checkpoint may be cut between the entry by which a replica is let go of and what follows from that: its record names the replica
/// then. Of that the journal forgets nothing before there is a record that does not name it: were the checkpoint lost meanwhile, the replica
/// would begin again, without what it has confirmed.
#[test]
fn what_the_record_of_the_checkpoint_names_is_not_forgotten() {
    let (disk, shard) = (FaultyDisk::new(1), ShardId(2));
    let (booted, mut journal) = start(&disk, 3).unwrap();
    let mut applier = Applier::new(booted.kv, booted.lost, ME, booted.generation, u64::MAX);
    let table = Definition {
        name: "t".into(),
        attributes: vec![("k".into(), Scalar::S)],
        keys: KeyNames { hash: vec!["k".into()], range: Vec::new() },
        tags: vec![(SHARDS_TAG.into(), "2".into())],
        ..Definition::default()
    };
    let entry_of = |(index, what)| {
        let command = Command::Table(Box::new(table::Command { epoch: EPOCH, now: 0, what }));
        Entry { kind: EntryKind::Command, data: command::encode(ME, index, &command), ..entry(index) }
    };
    let founders = raft::Membership::of_voters((1..=3).map(NodeId)).encode();
    let place = What::Place { definition: Box::new(table), founders: founders.clone() };
    let entries = (1..).zip([place, What::Delete("t".into())]).map(entry_of).collect();
    let mut out = Vec::new();
    applier.work(Work::Apply { shard: KV, entries }, &mut out).unwrap();
    applier.work(Work::Seal, &mut out).unwrap();
    let sealed = out.into_iter().find_map(|output| match output {
        Output::Sealed { job, generation, cut } => Some((job, generation, cut)),
        _ => None,
    });
    let (job, generation, cut) = sealed.unwrap();
    job.run(generation).unwrap();
    let base = Base { id: EntryId::ZERO, membership: founders };
    let bases = cut.bases.into_iter().chain([(shard, base)]);
    journal.mark_checkpoint(CheckpointMark { generation, bases: bases.collect() }).unwrap();
    for index in 1..=LAST {
        let prev = if index == 1 { EntryId::ZERO } else { entry(index - 1).id };
        let hard = HardState { term: Term(3), vote: Some(NodeId(2)), commit: Index(0) };
        let entries = vec![Entry { data: vec![0; 3_000].into(), ..entry(index) }];
        let append = Append { shard, write: WriteId(index), hard: Some(hard), prev, entries };
        journal.append(&[append]).unwrap();
        journal.sync().unwrap();
    }
    drop(journal);
    let (booted, journal) = start(&disk, 3).unwrap();
    drop(journal);
    assert!(booted.others.is_empty(), "it was dropped");
    let mut applier = Applier::new(booted.kv, booted.lost, ME, booted.generation, u64::MAX);
    booted.dead.into_iter().for_each(|kv| applier.bury(kv));
    let mut out = Vec::new();
    applier.work(Work::Seal, &mut out).unwrap();
    let tells =
        |output: &Output| matches!(output, Output::Sealed { cut, .. } if cut.dropped.contains(&shard));
    assert!(out.iter().any(tells), "the next one tells the journal to forget it");
    disk.flip_bit(&names(&disk, "state/")[0], 500);
    let (booted, _) = start(&disk, 3).unwrap();
    let raft = &booted.others[0].raft;
    assert_eq!((booted.others[0].shard, raft.last()), (shard, entry(LAST).id));
    assert_eq!((raft.hard().term, raft.hard().vote), (Term(3), Some(NodeId(2))));
}

/// Nobody else has what is missing: nothing is served, and nothing is touched.
#[test]
fn the_only_voter_refuses() {
    let disk = lived(1, true);
    let state = names(&disk, "state/").remove(0);
    disk.flip_bit(&state, 500);
    let error = start(&disk, 1).err().unwrap();
    assert!(error.starts_with("alone: ") && error.contains(&state), "{error}");
    assert!(names(&disk, ".damaged").is_empty());
    disk.flip_bit(&state, 500);
    start(&disk, 1).unwrap();
}

/// Whatever bit of the journal flips: everything is there, or the replica says what is damaged and withholds, or has lost its
/// state, or does not start. It is never a new node, and its log is never another.
#[test]
fn a_flipped_bit_of_the_journal_never_makes_a_new_node() {
    for checkpoint in [true, false] {
        let disk = lived(3, checkpoint);
        let image = disk.image();
        let (mut named, mut unused, mut lost) = (0, 0, 0);
        for (file, size) in disk.files().into_iter().filter(|(name, _)| name.starts_with("journal/")) {
            for bit in (0..(size * 8).min(16_000)).step_by(3) {
                disk.restore(&image);
                disk.flip_bit(&file, bit);
                // The second start has less to go by: the first has opened a segment.
                for life in 1..=2 {
                    let at = format!("{file} bit {bit}, checkpoint {checkpoint}, start {life}");
                    let (booted, _) = start(&disk, 3).unwrap_or_else(|error| panic!("{at}: {error}"));
                    let raft = &booted.raft;
                    let whole = raft.last() == entry(LAST).id && raft.hard().vote == Some(NodeId(2));
                    assert!(
                        whole || raft.withholds(),
                        "{at}: {:?} {:?} {:?}",
                        raft.hard(),
                        raft.last(),
                        booted.notes
                    );
                    assert!(whole || !booted.notes.is_empty(), "{at}");
                    assert!(
                        raft.last().index.0 <= LAST
                            && raft.state_lost() | (raft.applied() == booted.kv.applied().index),
                        "{at}"
                    );
                    assert!(!checkpoint || !raft.state_lost(), "{at}: the state was there");
                    named += u64::from(!whole);
                    unused += u64::from(booted.notes.is_empty());
                    lost += u64::from(raft.state_lost());
                }
            }
        }
        assert!(named > 1000 && unused > 1000, "named {named}, unused {unused}, lost {lost}");
    }
}

/// The only voter goes on where no flushed entry is gone, and refuses where one is.
#[test]
fn the_only_voter_never_serves_less_than_it_acknowledged() {
    let disk = lived(1, true);
    let image = disk.image();
    let (mut refused, mut served) = (0, 0);
    for (file, size) in disk.files().into_iter().filter(|(name, _)| name.starts_with("journal/")) {
        for bit in (0..(size * 8).min(16_000)).step_by(7) {
            disk.restore(&image);
            disk.flip_bit(&file, bit);
            match start(&disk, 1) {
                Err(_) => refused += 1,
                // The last batch cannot be told from one that was torn before it was flushed.
                Ok((booted, _)) => {
                    assert!(booted.raft.last().index.0 >= LAST - 1, "{file} bit {bit}: {:?}", booted.notes);
                    served += 1;
                }
            }
        }
    }
    assert!(refused > 200 && served > 200, "refused {refused}, served {served}");
}
