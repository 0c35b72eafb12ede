//! Many shards over one journal and one state: what one of them does costs the others nothing, and a start finds each.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{
    Append, Base, Entry, EntryId, EntryKind, HardState, Index, Instant, Mint, NodeId, Rng, ShardId, Term,
    WriteId,
};
use quorate_faulty::FaultyDisk;
use quorate_node::applier::{Applied, Applier, Output, Work};
use quorate_node::boot::{self, Booted, Parts};
use quorate_protocol::raft::{self, Membership};
use quorate_state::kv::KvView;
use quorate_storage::journal::{CheckpointMark, Identity, Journal, Options};
use quorate_storage::memory::MemoryStore;
use quorate_wire::command;
use quorate_wire::kv::{Command, KeyRange, Put, Range};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

const KV: ShardId = ShardId(1);
const ME: NodeId = NodeId(1);
const IDENTITY: Identity = Identity { cluster: 5, node: ME };
const SEGMENT: u64 = 16 << 10;
/// Bytes of state that bring a checkpoint.
const SEAL: u64 = 4 << 10;

struct Node {
    disk: FaultyDisk,
    journal: Journal,
    applier: Applier,
    /// What each shard has made readable last, as its group would hold it.
    views: BTreeMap<ShardId, Arc<KvView>>,
    /// The last entry of each.
    last: BTreeMap<ShardId, EntryId>,
    /// Those whose state is lost.
    lost: Vec<ShardId>,
    writes: u64,
}

impl Node {
    /// A new node with this many shards.
    fn new(shards: u32) -> Self {
        let disk = FaultyDisk::new(1);
        let (mut journal, _) = open(&disk);
        let membership = Membership::of_voters((1..=3).map(NodeId)).encode();
        let base = |shard| (ShardId(shard), Base { id: EntryId::ZERO, membership: membership.clone() });
        let mark = CheckpointMark { generation: 0, bases: (1..=shards).map(base).collect() };
        journal.mark_checkpoint(mark).unwrap();
        journal.sync().unwrap();
        drop(journal);
        Self::start(disk)
    }

    fn start(disk: FaultyDisk) -> Self {
        let (mut journal, found) = open(&disk);
        let mut store = MemoryStore::new(Arc::new(disk.clone()), "state", IDENTITY);
        let parts = Parts {
            raft: raft::Config::new(KV, ME),
            found,
            store: &mut store,
            founders: Membership::of_voters((1..=3).map(NodeId)),
            campaign_at_once: false,
            disk_lost: false,
            promised: Duration::ZERO,
        };
        let booted = boot::boot(parts, &mut journal, &mut Rng::new(1), Instant(1)).unwrap();
        let Booted { raft, kv, view, lost, others, generation, .. } = booted;
        let mut applier = Applier::new(kv, lost, ME, generation, SEAL);
        let mut cores = vec![(KV, raft, view)];
        for other in others {
            cores.push((other.shard, other.raft, other.view));
            applier.add(other.kv, other.lost);
        }
        let lost = cores.iter().filter(|(_, raft, _)| raft.state_lost()).map(|(shard, ..)| *shard).collect();
        let last = cores.iter().map(|(shard, raft, _)| (*shard, raft.last())).collect();
        let mut node = Self { disk, journal, applier, views: BTreeMap::new(), last, lost, writes: 0 };
        for (shard, raft, view) in cores {
            node.views.insert(shard, view);
            // What is committed comes through the core again.
            let (base, last) = (raft.base().index, raft.last().index);
            let entries: Vec<Entry> =
                (base.0 + 1..=last.0).filter_map(|index| raft.entry(Index(index)).cloned()).collect();
            if !entries.is_empty() && !raft.state_lost() {
                node.work(Work::Apply { shard, entries });
            }
        }
        node
    }

    fn restart(self) -> Self {
        let disk = self.disk.clone();
        drop(self);
        disk.power_loss();
        Self::start(disk)
    }

    /// An entry of a shard goes into the journal, and is applied.
    fn put(&mut self, shard: u32, value: usize) {
        let shard = ShardId(shard);
        let prev = self.last[&shard];
        let id = EntryId::new(Term(3), prev.index.next());
        self.writes += 1;
        let put = Put { key: KEY.into(), value: vec![7; value].into(), ..Put::default() };
        let data = command::encode(ME, self.writes, &Command::Put(put));
        let entry = Entry { id, kind: EntryKind::Command, data };
        let hard = HardState { term: Term(3), vote: Some(ME), commit: id.index };
        let (write, entries) = (WriteId(self.writes), vec![entry.clone()]);
        self.journal.append(&[Append { shard, write, hard: Some(hard), prev, entries }]).unwrap();
        self.journal.sync().unwrap();
        self.last.insert(shard, id);
        self.work(Work::Apply { shard, entries: vec![entry] });
    }

    fn work(&mut self, work: Work) {
        let mut out = Vec::new();
        self.applier.work(work, &mut out).unwrap();
        for output in out {
            match output {
                Output::Applied(Applied { shard, view, .. }) => drop(self.views.insert(shard, view)),
                Output::Renewed(views) => self.views.extend(views),
                Output::Sealed { job, generation, cut } => {
                    job.run(generation).unwrap();
                    let bases = cut.bases.clone();
                    self.journal.mark_checkpoint(CheckpointMark { generation, bases }).unwrap();
                    self.journal.sync().unwrap();
                    self.views.extend(cut.installed);
                    self.work(Work::Checkpointed);
                }
                Output::Imported { .. } | Output::Settled { .. } | Output::Upkept { .. } => {}
                Output::ImportFailed { shard, reason, .. } => panic!("shard {shard}: {reason}"),
            }
        }
    }

    /// How many values a shard has, and of how many bytes the newest is.
    fn found(&self, shard: u32) -> Option<(i64, usize)> {
        let range = KeyRange { key: KEY.into(), end: Bytes::new() };
        let found = self.views[&ShardId(shard)].range(&Range { range, ..Range::default() }).unwrap();
        found.kvs.first().map(|kv| (kv.version, kv.value.len()))
    }

    fn segments(&self) -> usize {
        self.disk.files().into_iter().filter(|(name, _)| name.contains(".seg")).count()
    }
}

fn open(disk: &FaultyDisk) -> (Journal, quorate_storage::journal::Recovered) {
    let options = Options { segment_bytes: SEGMENT, ..Options::default() };
    Journal::open(Arc::new(disk.clone()), "journal", IDENTITY, options, Mint::for_journal()).unwrap()
}

/// The same in each shard: they must not see each other's.
const KEY: &[u8] = b"k";

/// Of two hundred shards one writes: its checkpoints let the journal's segments go, though the others have entries in the first
/// of them; and a start finds each shard as it was.
#[test]
fn shards_that_rest_hold_on_to_nothing() {
    let shards = 200;
    let mut node = Node::new(shards);
    for shard in 1..=shards {
        node.put(shard, shard as usize);
    }
    for round in 1..=3 {
        for _ in 0..100 {
            node.put(77, 1000);
        }
        // The one that is written, the spare one, and what was written since the last checkpoint.
        assert!(node.segments() <= 4, "{} segments after {} bytes", node.segments(), node.writes * 1000);
        node = node.restart();
        assert!(node.lost.is_empty());
        for shard in 1..=shards {
            let wanted = if shard == 77 { (1 + 100 * round, 1000) } else { (1, shard as usize) };
            assert_eq!(node.found(shard), Some(wanted), "shard {shard} after {round} rounds");
        }
    }
}

/// What a shard that rests has made readable does not stay from before what others have written since.
#[test]
fn no_old_view_stays_of_a_shard_that_rests() {
    let mut node = Node::new(3);
    (1..=3).for_each(|shard| node.put(shard, 10));
    let resting: Weak<KvView> = Arc::downgrade(&node.views[&ShardId(2)]);
    for _ in 0..20 {
        node.put(3, 1000);
    }
    assert!(resting.upgrade().is_none(), "it is still held");
    assert_eq!(node.found(2), Some((1, 10)));
}

/// The state is damaged: each shard keeps its log and waits for its own snapshot. One that has it has it at the next start, and the
/// others still wait.
#[test]
fn shards_heal_one_by_one() {
    let mut node = Node::new(3);
    for _ in 0..10 {
        (1..=3).for_each(|shard| node.put(shard, 500));
    }
    node.work(Work::Seal);
    let (donors, mut last) = (node.views.clone(), node.last.clone());
    let states = node.disk.files().into_iter().map(|(name, _)| name).filter(|name| name.contains(".state"));
    let state = states.max().unwrap();
    node.disk.flip_bit(&state, 500);
    let mut node = node.restart();
    assert_eq!(node.lost, [1, 2, 3].map(ShardId));
    for (healed, waiting) in [(2, vec![1, 3]), (1, vec![3])] {
        let shard = ShardId(healed);
        let donor = &donors[&shard];
        let base = Base { id: donor.applied(), membership: donor.membership().clone() };
        let (data, rest) = donor.export(None, 1 << 20).unwrap();
        assert!(rest.is_none());
        node.work(Work::Import { shard, base, seq: 0, data, last: true });
        assert_eq!(node.found(healed), Some((10, 500)));
        // So much that the segments go from before the damage.
        (0..60).for_each(|_| node.put(healed, 1000));
        last.insert(shard, node.last[&shard]);
        assert!(node.segments() <= 4, "{} segments", node.segments());
        node = node.restart();
        let waiting: Vec<ShardId> = waiting.into_iter().map(ShardId).collect();
        assert_eq!(node.lost, waiting);
        assert_eq!(node.last, last, "logs are kept");
        assert_eq!(node.found(healed), Some((70, 1000)));
        assert!(waiting.iter().all(|shard| node.found(shard.get()).is_none()));
    }
}

/// A cut while a machine is empty does not make a base of that: a shard that has nothing yet begins at its first entry.
#[test]
fn a_shard_that_never_wrote_begins_at_its_first_entry() {
    let mut node = Node::new(2);
    for _ in 0..20 {
        node.put(2, 1000);
    }
    let mut node = node.restart();
    assert_eq!((node.last[&KV], node.found(1)), (EntryId::ZERO, None));
    assert!(node.lost.is_empty());
    node.put(1, 5);
    assert_eq!(node.restart().found(1), Some((1, 5)));
}
