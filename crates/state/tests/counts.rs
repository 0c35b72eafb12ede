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
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Scans of keys: from which number on, and before which they ended.
type Walked = Arc<Mutex<Vec<(u64, u64)>>>;

const NO_PANIC: &str = "nobody panics with it";

/// A state that counts the pairs which its views hand out, and says over which keys their scans went.
struct Counting {
    inner: Box<dyn State>,
    read: Arc<AtomicU64>,
    walked: Walked,
}

struct CountingView {
    inner: Arc<dyn View>,
    read: Arc<AtomicU64>,
    walked: Walked,
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
        let (read, walked) = (self.read.clone(), self.walked.clone());
        Arc::new(CountingView { inner: self.inner.view(), read, walked })
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
        let bound = |bound: Bound<&[u8]>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => number(key),
            Bound::Unbounded => None,
        };
        let (from, to) = (bound(range.0).unwrap_or(0), bound(range.1).unwrap_or(u64::MAX));
        let mut walked = self.walked.lock().expect(NO_PANIC);
        let at = walked.len();
        walked.push((from, from));
        drop(walked);
        let mut pairs = self.inner.scan(range);
        Box::new(std::iter::from_fn(move || {
            let pair = pairs.next();
            self.read.fetch_add(u64::from(pair.is_some()), Ordering::Relaxed);
            let upto = match &pair {
                Some(pair) => pair.as_ref().ok().and_then(|(key, _)| number(key)).map(|n| n + 1),
                None => Some(to),
            };
            if let (Some(upto), Some(walked)) = (upto, self.walked.lock().expect(NO_PANIC).get_mut(at)) {
                walked.1 = upto.max(from);
            }
            pair
        }))
    }
    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a> {
        Box::new(self.inner.scan_back(range).inspect(|_| {
            self.read.fetch_add(1, Ordering::Relaxed);
        }))
    }
    fn lasting(&self) -> Arc<dyn View> {
        let (read, walked) = (self.read.clone(), self.walked.clone());
        Arc::new(Self { inner: self.inner.lasting(), read, walked })
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
    let mut kv =
        Kv::open(ShardId(1), Box::new(Counting { inner, read: read.clone(), walked: Walked::default() }))
            .unwrap();
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

/// What is deleted leaves marks in the store, which a scan walks without a word. Claim: where nothing is left nothing is scanned, and
/// elsewhere a read is told of what it walks, within a factor.
#[test]
fn marks_of_deletions_are_passed_over_or_counted() {
    const KEYS: u64 = 40_000;
    let identity = Identity { cluster: 1, node: NodeId(1) };
    let inner = MemoryStore::new(Arc::new(FaultyDisk::new(1)), "state", identity).open(None).unwrap();
    let (read, walked) = (Arc::default(), Walked::default());
    let mut kv = Kv::open(ShardId(1), Box::new(Counting { inner, read, walked: walked.clone() })).unwrap();
    for n in 0..KEYS {
        apply(&mut kv, &Command::Put(Put { key: key(n), ..Put::default() }));
    }
    // A quarter goes at once, one key by one from its end, one key by one but for a few, and stays.
    let quarter = KEYS / 4;
    let mut gone = BTreeSet::new();
    let mut delete = |kv: &mut Kv, from: u64, upto: u64| {
        let range = KeyRange { key: key(from), end: key(upto) };
        apply(kv, &Command::Delete(DeleteRange { range, prev_kv: false }));
        gone.extend(from..upto);
    };
    delete(&mut kv, 0, quarter);
    (quarter..2 * quarter).rev().for_each(|n| delete(&mut kv, n, n + 1));
    (2 * quarter..3 * quarter).filter(|n| n % 500 > 1).for_each(|n| delete(&mut kv, n, n + 1));
    let mut rng = Rng::new(3);
    for round in 0..2_000 {
        if round == 1_000 {
            // In the midst of what is gone.
            let again = quarter / 2;
            apply(&mut kv, &Command::Put(Put { key: key(again), ..Put::default() }));
            gone.remove(&again);
        }
        let view = kv.view();
        let from = rng.below(KEYS);
        let range = KeyRange { key: key(from), end: key(KEYS) };
        let range = quorate_wire::kv::Range { range, limit: 1, ..Default::default() };
        walked.lock().unwrap().clear();
        let spent = Cell::new(0);
        let reply = view.range_while(&range, &|units| {
            spent.set(spent.get() + units);
            true
        });
        let expected = (from..KEYS).find(|n| !gone.contains(n)).map(key);
        assert_eq!(reply.unwrap().unwrap().kvs.first().map(|kv| kv.key.clone()), expected);
        let marks: usize = walked.lock().unwrap().iter().map(|(a, b)| gone.range(*a..*b).count()).sum();
        if from < 2 * quarter && round < 1_000 {
            assert!(marks < 1_100, "round {round}: {marks} marks from {from} on, where nothing is left");
        }
        assert!(
            marks <= 8 * spent.get() + 600,
            "round {round}: {marks} marks for {} from {from}",
            spent.get()
        );
    }
}

/// The number of a stored key of table `LATEST`, or that of what lies behind it.
fn number(stored: &[u8]) -> Option<u64> {
    let key = stored.get(8..).filter(|rest| rest.first() == Some(&b'L'))?;
    std::str::from_utf8(key.get(5..13)?).ok()?.parse().ok()
}
