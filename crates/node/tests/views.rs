//! No view outlives the next one: what is in memory when a view is taken may stay there as long as the view does.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Base, Entry, EntryId, EntryKind, Index, Instant, Mint, NodeId, Rng, ShardId, Term};
use quorate_faulty::FaultyDisk;
use quorate_node::applier::{Applied, Applier, Output, Work};
use quorate_node::boot::{self, Parts};
use quorate_node::lane::{AT_ONCE, Event, Lane, Settings, Upkeep};
use quorate_node::watch::{Hub, Options};
use quorate_protocol::raft::{self, Membership};
use quorate_state::kv::KvView;
use quorate_storage::journal::{self, Identity, Journal};
use quorate_storage::memory::MemoryStore;
use std::sync::{Arc, Mutex, Weak};

const KV: ShardId = ShardId(1);
const ME: NodeId = NodeId(1);

fn start() -> (Lane, Applier) {
    let identity = Identity { cluster: 5, node: ME };
    let disk = Arc::new(FaultyDisk::new(1));
    let options = journal::Options::default();
    let (mut journal, found) =
        Journal::open(disk.clone(), "journal", identity, options, Mint::for_journal()).unwrap();
    let mut store = MemoryStore::new(disk, "state", identity);
    let config = raft::Config::new(KV, ME);
    let founders = Membership::of_voters((1..=3).map(NodeId));
    let parts = Parts {
        raft: config.clone(),
        found,
        store: &mut store,
        founders,
        campaign_at_once: false,
        disk_lost: false,
        promised: Duration::ZERO,
    };
    let (mut rng, now) = (Rng::new(1), Instant(1));
    let booted = boot::boot(parts, &mut journal, &mut rng, now).unwrap();
    let hub = Arc::new(Mutex::new(Hub::new(Options::default(), booted.view.clone(), Box::new(|| {}))));
    let settings = Settings {
        cluster: 5,
        node: ME,
        raft: config,
        members: Vec::new(),
        at_once: AT_ONCE,
        zone: String::new(),
        upkeep: Upkeep::default(),
    };
    let lane = Lane::new(settings, booted.raft, booted.view, hub, &mut rng, now);
    (lane, Applier::new(booted.kv, booted.lost, ME, booted.generation, 1 << 20))
}

fn view(lane: &Lane) -> Weak<KvView> {
    Arc::downgrade(lane.view())
}

#[test]
fn while_a_snapshot_comes_in() {
    let (sender, mut receiver) = (start().1, start());
    let base = Base {
        id: EntryId::new(Term(1), Index(9)),
        membership: Membership::of_voters((1..=3).map(NodeId)).encode(),
    };
    let (data, _) = sender.kv(KV).unwrap().view().export(None, 1 << 20).unwrap();
    let (lane, applier) = (&mut receiver.0, &mut receiver.1);
    let before = view(lane);
    let mut outputs = Vec::new();
    applier.work(Work::Import { shard: KV, base, seq: 0, data, last: false }, &mut outputs).unwrap();
    assert!(matches!(outputs[..], [Output::Imported { .. }]));
    for output in outputs {
        lane.handle(Instant(2), Event::Output(output));
    }
    assert!(before.upgrade().is_none(), "the view from before the chunk is still held");
}

/// Claim: what a snapshot brought is shown to nobody before a checkpoint that holds it is recorded: one that was under way meanwhile is
/// none, and no round of upkeep that comes to its end nor another checkpoint's cut tells of it earlier.
#[test]
fn before_the_record_of_what_a_snapshot_brought() {
    let (mut sender, mut applier) = (start().1, start().1);
    let voters = Membership::of_voters((1..=3).map(NodeId)).encode();
    let id = EntryId::new(Term(1), Index(1));
    let entry = Entry { id, kind: EntryKind::Empty, data: Bytes::new() };
    sender.work(Work::Apply { shard: KV, entries: vec![entry] }, &mut Vec::new()).unwrap();
    let (data, _) = sender.kv(KV).unwrap().view().export(None, 1 << 20).unwrap();
    let base = Base { id, membership: voters.clone() };
    let mut work = |work| {
        let mut outputs = Vec::new();
        applier.work(work, &mut outputs).unwrap();
        outputs
    };
    // Which shards are shown, and whether a checkpoint begins that holds the snapshot.
    let told = |outputs: &[Output]| {
        let (mut shown, mut installs) = (Vec::new(), false);
        for output in outputs {
            match output {
                Output::Settled { views, .. } | Output::Renewed(views) => {
                    shown.extend(views.iter().map(|(shard, _)| *shard));
                }
                Output::Sealed { cut, .. } => installs |= cut.installed.iter().any(|(shard, _)| *shard == KV),
                _ => {}
            }
        }
        (shown, installs)
    };
    let other = ShardId(2);
    let outputs = work(Work::Open { shard: other, founders: voters });
    assert!(matches!(outputs[..], [Output::Sealed { .. }, Output::Renewed(_)]), "a checkpoint is under way");
    let outputs = work(Work::Import { shard: KV, base, seq: 0, data, last: true });
    assert!(matches!(outputs[..], [Output::Imported { .. }]));
    work(Work::Settle(7));
    for _ in 0..9 {
        assert_eq!(told(&work(Work::Upkeep)), (vec![], false), "no checkpoint has it");
    }
    assert_eq!(
        told(&work(Work::Checkpointed)),
        (vec![other], true),
        "the next one has it, and is not recorded"
    );
    for _ in 0..9 {
        assert_eq!(told(&work(Work::Upkeep)), (vec![], false), "nor now");
    }
    assert_eq!(told(&work(Work::Checkpointed)), (vec![KV, other], false));
}

#[test]
fn while_entries_bring_no_events() {
    let (mut lane, applier) = start();
    let before = view(&lane);
    let (outcomes, events, leases) = Default::default();
    let applied = Applied {
        shard: KV,
        last: EntryId::ZERO,
        outcomes,
        events,
        leases,
        members: Vec::new(),
        reconfigured: false,
        view: applier.kv(KV).unwrap().view(),
    };
    lane.handle(Instant(2), Event::Output(Output::Applied(applied)));
    assert!(before.upgrade().is_none(), "the view from before the batch is still held");
}
