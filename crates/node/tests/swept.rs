//! What is swept away is known to a start, which may find no more of it than that.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use bytes::Bytes;
use quorate_base::{Entry, EntryId, EntryKind, Index, NodeId, ShardId, Term};
use quorate_faulty::FaultyDisk;
use quorate_node::applier::{Applier, Lost, Output, Work};
use quorate_state::kv::Kv;
use quorate_storage::journal::Identity;
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::StateStore;
use quorate_wire::command;
use quorate_wire::kv::{Command, KeyRange, Put, Range};
use std::sync::Arc;

const KV: ShardId = ShardId(1);
const ME: NodeId = NodeId(1);

fn entry(at: u64, command: &Command) -> Entry {
    let id = EntryId::new(Term(1), Index(at));
    Entry { id, kind: EntryKind::Command, data: command::encode(ME, at, command) }
}

fn put(key: &'static str, value: &'static str) -> Command {
    Command::Put(Put { key: key.into(), value: value.into(), ..Put::default() })
}

fn sealed(applier: &mut Applier) -> u64 {
    let mut outputs = Vec::new();
    applier.work(Work::Seal, &mut outputs).unwrap();
    for output in outputs {
        if let Output::Sealed { job, generation, .. } = output {
            job.run(generation).unwrap();
            applier.work(Work::Checkpointed, &mut Vec::new()).unwrap();
            return generation;
        }
    }
    panic!("no checkpoint");
}

/// Claim: how far history is swept away stands in the next checkpoint, though no entry came since: a start that knew less would take what is
/// gone for what is there, and could not read an old revision of a key that is written then.
#[test]
fn a_checkpoint_knows_what_was_swept_without_an_entry() {
    let disk = Arc::new(FaultyDisk::new(1));
    let mut store = MemoryStore::new(disk, "state", Identity { cluster: 5, node: ME });
    let kv = Kv::open(KV, store.open(None).unwrap()).unwrap();
    let mut applier = Applier::new(kv, Lost::No, ME, 0, 1 << 20);
    let commands = [put("k", "old"), put("j", "other"), Command::Compact { revision: 3 }];
    let entries = (1..).zip(&commands).map(|(at, command)| entry(at, command)).collect();
    applier.work(Work::Apply { shard: KV, entries }, &mut Vec::new()).unwrap();
    sealed(&mut applier);
    while applier.has_upkeep() {
        applier.work(Work::Upkeep, &mut Vec::new()).unwrap();
    }
    let generation = sealed(&mut applier);
    let mut kv = Kv::open(KV, store.open(Some(generation)).unwrap()).unwrap();
    kv.apply(&entry(4, &put("k", "new"))).unwrap();
    let key = KeyRange { key: "k".into(), end: Bytes::new() };
    let before = kv.view().range(&Range { range: key, revision: 3, ..Range::default() }).unwrap();
    assert_eq!(before.kvs[0].value, "old");
}
