//! Counting a range reads a bounded number of pairs, however many keys lie in it.

use bytes::Bytes;
use quorate_base::{Entry, EntryId, EntryKind, Index, NodeId, Rng, ShardId, Term};
use quorate_faulty::FaultyDisk;
use quorate_state::kv::Kv;
use quorate_storage::journal::Identity;
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::{CheckpointJob, Range, Scan, State, StateResult, StateStore, Upkeep, View};
use quorate_wire::command;
use quorate_wire::kv::{Command, DeleteRange, KeyRange, Op, Put, Txn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A state that counts the pairs which its views hand out.
struct Counting {
    inner: Box<dyn State>,
    read: Arc<AtomicU64>,
}

struct CountingView {
    inner: Arc<dyn View>,
    read: Arc<AtomicU64>,
}

impl State for Counting {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.inner.put(key, value);
    }
    fn delete(&mut self, key: &[u8]) {
        self.inner.delete(key);
    }
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        self.inner.get(key)
    }
    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.inner.scan(range)
    }
    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        self.inner.scan_back(range)
    }
    fn view(&self) -> Arc<dyn View> {
        Arc::new(CountingView { inner: self.inner.view(), read: self.read.clone() })
    }
    fn seal(&mut self) -> StateResult<Box<dyn CheckpointJob>> {
        self.inner.seal()
    }
    fn unsealed_bytes(&self) -> u64 {
        self.inner.unsealed_bytes()
    }
    fn upkeep(&self) -> Option<Box<dyn Upkeep>> {
        self.inner.upkeep()
    }
}

impl View for CountingView {
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key)
    }
    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        Box::new(self.inner.scan(range).inspect(|_| {
            self.read.fetch_add(1, Ordering::Relaxed);
        }))
    }
    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        Box::new(self.inner.scan_back(range).inspect(|_| {
            self.read.fetch_add(1, Ordering::Relaxed);
        }))
    }
    fn lasting(&self) -> Arc<dyn View> {
        Arc::new(Self { inner: self.inner.lasting(), read: self.read.clone() })
    }
}

fn key(n: u64) -> Bytes {
    Bytes::from(format!("key/{n:08}"))
}

fn apply(kv: &mut Kv, command: &Command) {
    let id = EntryId::new(Term(1), Index(kv.applied().index.get() + 1));
    let data = command::encode(NodeId(1), 1, command);
    let applied = kv.apply(&Entry { id, kind: EntryKind::Command, data }).expect("the store works");
    applied.outcome.expect("the command is taken");
}

#[test]
fn a_count_over_many_keys_reads_two_partial_blocks_at_most() {
    // A million keys where the tests are optimized, fewer where they are not.
    let keys: u64 = if cfg!(debug_assertions) { 60_000 } else { 1_000_000 };
    let identity = Identity { cluster: 1, node: NodeId(1) };
    let inner = MemoryStore::new(Arc::new(FaultyDisk::new(1)), "state", identity).open(None).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let mut kv = Kv::open(ShardId(1), Box::new(Counting { inner, read: read.clone() })).unwrap();
    let mut rng = Rng::new(5);
    let mut order: Vec<u64> = (0..keys).collect();
    for i in (1..order.len()).rev().take(order.len() / 2) {
        order.swap(i, rng.below(i as u64 + 1) as usize);
    }
    for batch in order.chunks(100) {
        let success = batch.iter().map(|n| Op::Put(Put { key: key(*n), ..Put::default() })).collect();
        apply(&mut kv, &Command::Txn(Txn { success, ..Txn::default() }));
    }
    // A hole, so that blocks join.
    let range = KeyRange { key: key(keys / 2), end: key(keys / 2 + keys / 10) };
    apply(&mut kv, &Command::Delete(DeleteRange { range, prev_kv: false }));
    let there = |n: u64| !(keys / 2..keys / 2 + keys / 10).contains(&n);
    let view = kv.view();
    assert_eq!(view.len(), keys - keys / 10);
    for _ in 0..300 {
        let (a, b) = (rng.below(keys), rng.below(keys));
        let (a, b) = (a.min(b), a.max(b));
        let range = KeyRange { key: key(a), end: key(b) };
        let count = quorate_wire::kv::Range { range, count_only: true, ..Default::default() };
        read.store(0, Ordering::Relaxed);
        let reply = view.range(&count).unwrap();
        assert_eq!(reply.count as u64, (a..b).filter(|n| there(*n)).count() as u64, "from {a} to {b}");
        let read = read.load(Ordering::Relaxed);
        assert!(read <= 2 * 256, "{read} pairs were read for a count of {}", reply.count);
    }
    // A page of a list reads the page and no more than what a count may.
    let all = KeyRange { key: Bytes::from_static(&[0]), end: Bytes::from_static(&[0]) };
    let page = quorate_wire::kv::Range { range: all, limit: 500, ..Default::default() };
    read.store(0, Ordering::Relaxed);
    let reply = view.range(&page).unwrap();
    assert_eq!((reply.kvs.len(), reply.count as u64, reply.more), (500, view.len(), true));
    assert!(read.load(Ordering::Relaxed) <= 501 + 2 * 256);
}
