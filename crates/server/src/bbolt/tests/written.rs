//! What is written for etcd is read back, and is what the space holds.

use super::super::pages::{Layout, NOWHERE, PAGE, Pages, Tree};
use super::super::sorted::Sorter;
use super::super::*;
use super::read_all;
use crate::room::Spare;
use quorate_base::{Base, Entry, EntryId, EntryKind, Index, NodeId, Rng, ShardId, Term};
use quorate_faulty::FaultyDisk;
use quorate_state::kv::{Census, Kv, KvView};
use quorate_state::testing::{Model, Workload};
use quorate_storage::journal::Identity;
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::StateStore;
use quorate_wire::command;
use quorate_wire::kv::{Command, KeyRange, Range};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Where something may be sorted; removed with it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quorate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn spare(&self) -> Spare {
        Spare::new(&self.0, Some(0))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// A file with one bucket.
pub(super) fn file_of(bucket: &str, pairs: &Pairs) -> (Layout, Bytes) {
    let fill = |mut pages: Pages<'_, '_>| {
        let mut tree = Tree::new();
        for (key, value) in pairs {
            tree.add(&mut pages, key, value).unwrap();
        }
        let root = tree.end(&mut pages).unwrap();
        pages.end(vec![(bucket, root)]).unwrap()
    };
    let layout = fill(Pages::counted(&mut |piece| piece.is_empty()));
    let mut file = Vec::new();
    let mut take = |piece: Bytes| {
        file.extend_from_slice(&piece);
        true
    };
    assert_eq!(fill(Pages::written(&mut take, layout).unwrap()), layout);
    assert_eq!(file.len() as u64, layout.bytes());
    (layout, file.into())
}

/// All pairs of the only bucket.
fn pairs_of(file: &Bytes) -> (Pairs, usize) {
    let source = Source::Bytes(file.clone());
    let mut store = Store { source: &source, page_size: PAGE as u64, seen: BTreeMap::new() };
    let root = store.root().unwrap();
    let (mut bucket, mut pairs) = (None, Vec::new());
    store
        .walk(Place::Page(root), 0, &mut |at, flags, key, value| {
            assert_eq!((flags, &key[..]), (BUCKET, &b"b"[..]));
            bucket = Some((at, value));
            Ok(())
        })
        .unwrap();
    let (at, value) = bucket.unwrap();
    store
        .bucket(at, &value, &mut |_, key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            Ok(())
        })
        .unwrap();
    let seen = store.seen.values().flatten().map(|bits| bits.count_ones() as usize);
    (pairs, seen.sum())
}

/// No page is lost or in two places, and none but the root has a single child: bbolt could not delete below it. Gives how many levels
/// there are.
fn check(file: &Bytes, layout: Layout) -> usize {
    let number =
        |at: usize, bytes: usize| file[at..at + bytes].iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
    let (mut page, mut used, mut branches) = (3, 0, 0);
    while page < layout.pages as usize {
        let at = page * PAGE;
        assert_eq!(number(at, 8), page);
        if number(at + 8, 2) == usize::from(BRANCH) {
            assert!(number(at + 10, 2) >= 2, "a branch of one child");
            branches += 1;
        }
        used += 1;
        page += 1 + number(at + 12, 4);
    }
    assert_eq!(page, layout.pages as usize);
    let (_, seen) = pairs_of(file);
    assert_eq!(seen, used);
    branches
}

/// Claim: of pairs that are each a little longer than a page two share three pages, as in etcd's own file, and an empty bucket has no page.
#[test]
fn little_is_left_empty() {
    let pairs: Pairs = (0..100_u8).map(|n| (vec![n], vec![n; PAGE + 100])).collect();
    let (layout, file) = file_of("b", &pairs);
    assert_eq!(pairs_of(&file).0, pairs);
    // Those before all trees, the leaves, a branch, and the root bucket.
    assert_eq!(layout.pages, 3 + 150 + 1 + 1);
    let mut file = Vec::new();
    let mut take = |piece: Bytes| {
        file.extend_from_slice(&piece);
        true
    };
    let layout = Layout { root: 3, pages: 4 };
    let pages = Pages::written(&mut take, layout).unwrap();
    assert_eq!(pages.end(vec![("b", NOWHERE)]), Ok(layout));
    assert_eq!(pairs_of(&file.into()).0, Pairs::new());
}

/// Claim: whatever pairs a bucket has, they are read back in their order, from pages that are each used once; long keys and values,
/// none at all, and as many as make three levels among them (seed 3).
#[test]
fn pairs_are_read_back_from_pages_that_each_are_used_once() {
    let mut rng = Rng::stream(3, "pages");
    let mut branches = BTreeSet::new();
    for round in 0..400_u64 {
        let count = if round < 130 { round } else { rng.below(if round % 40 == 0 { 60_000 } else { 900 }) };
        let long = rng.below(4);
        let pairs: Pairs = (0..count)
            .map(|n| {
                let mut key = n.to_be_bytes().to_vec();
                key.extend(vec![7; rng.below([10, 10, 300, 9_000][long as usize]) as usize]);
                let large = rng.chance(1, 50) && count < 1_000;
                let value = rng.below(if large { 20_000 } else { 90 });
                (key, vec![n as u8; value as usize])
            })
            .collect();
        let (layout, file) = file_of("b", &pairs);
        assert!(pairs_of(&file).0 == pairs, "seed 3, round {round}");
        branches.insert(check(&file, layout));
    }
    assert!(branches.contains(&0) && branches.contains(&1) && branches.last() > Some(&20), "{branches:?}");
}

/// Claim: what comes in any order is read by revision, also where it took a file, and as often as is asked; the file has no name.
#[test]
fn what_is_sorted_comes_in_order_twice_and_leaves_nothing() {
    let (dir, mut rng) = (Dir::new("sorted"), Rng::stream(4, "sorted"));
    let spare = dir.spare();
    for many in [0, 1, 3, 5_000] {
        let mut sorter = Sorter::new(&spare);
        let mut expected = Vec::new();
        for n in 0..many {
            let place = (rng.below(1 << 40) as i64, n);
            let bytes = Bytes::from(vec![n as u8; rng.below(if n % 100 == 0 { 9_000 } else { 40 }) as usize]);
            sorter.add(place, bytes.clone()).unwrap();
            expected.push((place, bytes));
        }
        expected.sort();
        let sorted = sorter.end();
        for _ in 0..2 {
            assert!(sorted.read().map(Result::unwrap).eq(expected.iter().cloned()), "{many}");
        }
        assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 0);
    }
    // Without room there is none of it.
    let nothing = Spare::new(&dir.0, Some(u64::MAX / 4));
    let mut sorter = Sorter::new(&nothing);
    let refused = (0..5_000).try_for_each(|n| sorter.add((n, 0), Bytes::from_static(&[1; 40])));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
}

fn new_kv(seed: u64) -> Kv {
    let disk = Arc::new(FaultyDisk::new(seed));
    let mut store = MemoryStore::new(disk, "state", Identity { cluster: 1, node: NodeId(1) });
    Kv::open(ShardId(1), store.open(None).unwrap()).unwrap()
}

fn snapshot_of(view: &KvView, spare: &Spare) -> Bytes {
    let header = Header { cluster: 9, node: NodeId(2) };
    let (mut file, mut told) = (Vec::new(), 0);
    let snapshot = Snapshot { view, header, version: "3.6.0", spare };
    snapshot
        .write(&mut |piece, whole| {
            file.extend_from_slice(&piece);
            told = whole;
            true
        })
        .unwrap();
    assert_eq!(file.len() as u64 + 32, told);
    file.into()
}

/// Takes a file in as a restore does.
fn restored(file: &Bytes) -> Kv {
    let (Kept { foreign, header, .. }, versions, beside) = read_all(file).unwrap();
    assert_eq!(header, Some(Header { cluster: 9, node: NodeId(2) }));
    let (behind, mut kv) = (EntryId::new(Term(1), Index(1)), new_kv(77));
    let base: Base = foreign.contents(behind, 5).unwrap().base;
    let mut adopting = kv.adopt(&foreign, behind, 5).unwrap();
    for (key, value) in beside {
        adopting.part(ForeignPart::Beside(key, value)).unwrap();
    }
    let mut census = Census::new(foreign.compacted);
    for version in &versions {
        census.version(version).unwrap();
        adopting.part(ForeignPart::Version(version.clone())).unwrap();
    }
    let counted = adopting.finish(&base).unwrap();
    assert!(!census.goes_on());
    assert_eq!(census.count(), counted);
    assert_eq!(counted.0, kv.view().len());
    kv
}

/// All that is readable is the same.
fn same(was: &KvView, is: &KvView, what: &str) {
    assert_eq!(
        (was.revision(), was.compacted(), was.len()),
        (is.revision(), is.compacted(), is.len()),
        "{what}"
    );
    assert_eq!((was.applied(), was.digest()), (is.applied(), is.digest()), "{what}");
    assert_eq!((was.leases(), was.fences(), was.alarms()), (is.leases(), is.fences(), is.alarms()), "{what}");
    let all = KeyRange { key: Bytes::from_static(b"\0"), end: Bytes::from_static(b"\0") };
    for revision in was.compacted().max(1)..=was.revision() {
        let range = Range { range: all.clone(), revision, ..Range::default() };
        assert_eq!(was.range(&range).unwrap(), is.range(&range).unwrap(), "{what} at {revision}");
    }
    // The values before are not known at the compacted revision itself.
    let events = |view: &KvView| view.history(view.compacted() + 1, usize::MAX).unwrap();
    assert_eq!(events(was), events(is), "{what}");
    let hash = |view: &KvView| view.hash_all_while(&|_| true).unwrap();
    assert_eq!(hash(was), hash(is), "{what}");
}

/// What a compaction of everything sweeps is all that there was before.
fn nothing_stays(kv: &mut Kv) {
    let (last, revision) = (kv.applied(), kv.revision());
    let data = command::encode(NodeId(7), 1, &Command::Compact { revision });
    let id = EntryId::new(last.term, last.index.next());
    kv.apply(&Entry { id, kind: EntryKind::Command, data }).unwrap();
    while kv.compact_step(1_000).unwrap() {}
    // An alarm may have refused it.
    let view = kv.view();
    if view.compacted() == revision {
        assert_eq!(view.logged().filter(|version| version.as_ref().unwrap().revision < revision).count(), 0);
    }
}

/// Claim: an etcd that was made of our snapshot and went on gives snapshots of etcd: what it still carries of ours is not of the same
/// moment, and is left where it is.
#[test]
fn what_an_etcd_has_carried_along_is_passed_over() {
    for members in [false, true] {
        let fill = |mut pages: Pages<'_, '_>| {
            let mut roots = Vec::new();
            let header = Header { cluster: 9, node: NodeId(2) }.encode();
            for (name, key, value, there) in [
                ("members", &b"8e9e05c52164694d"[..], &b"{}"[..], members),
                (BESIDE, HEADER_KEY, &header[..], true),
                ("key", b"\0\0\0\0\0\0\0\x02_\0\0\0\0\0\0\0\0", b"\x0a\x01a\x10\x02\x18\x02\x20\x01", true),
            ] {
                let mut tree = Tree::new();
                if there {
                    tree.add(&mut pages, key, value).unwrap();
                }
                if name == BESIDE {
                    tree.add(&mut pages, b"Fjob", b"\x07").unwrap();
                }
                roots.push((name, tree.end(&mut pages).unwrap()));
            }
            pages.end(roots).unwrap()
        };
        let layout = fill(Pages::counted(&mut |_| true));
        let mut file = Vec::new();
        let mut take = |piece: Bytes| {
            file.extend_from_slice(&piece);
            true
        };
        fill(Pages::written(&mut take, layout).unwrap());
        let (Kept { foreign, header, versions, .. }, _, beside) = read_all(&file.into()).unwrap();
        assert_eq!((versions, foreign.revision), (1, 2));
        assert_eq!((beside.is_empty(), header.is_none()), (members, members));
    }
}

/// Claim: a space of random commands, at any moment, also while a compaction's sweep is under way, is the same once it was written
/// for etcd and restored: pairs at every readable revision, changes, leases, fences, alarms, digest, hashes.
#[test]
fn a_snapshot_for_etcd_is_restored_to_the_same_space() {
    let dir = Dir::new("etcd-form");
    let (mut compacted, mut swept, mut unswept) = (0, 0, 0);
    for seed in 0..30 {
        let (mut workload, mut model, mut kv) = (Workload::new(seed), Model::default(), new_kv(seed));
        for at in 1..400_u64 {
            let (index, term) = (Index(at), Term(1));
            let command = workload.command(&model);
            model.apply(index, &command);
            let data = command::encode(NodeId(7), at, &command);
            let entry = Entry { id: EntryId::new(term, index), kind: EntryKind::Command, data };
            kv.apply(&entry).unwrap();
            if workload.rng().chance(1, 3) {
                kv.compact_step(*workload.rng().pick(&[1, 3, 50])).unwrap();
            }
            if workload.rng().chance(1, 60) {
                let view = kv.view();
                let file = snapshot_of(&view, &dir.spare());
                let mut again = restored(&file);
                same(&view, &again.view(), &format!("seed {seed}, entry {at}"));
                nothing_stays(&mut again);
                compacted += u64::from(view.compacted() > 0);
                swept += u64::from(view.swept().count() > 0);
                unswept += u64::from(kv.is_to_compact());
            }
        }
    }
    assert!(compacted > 30 && swept > 15 && unswept > 5, "{compacted} {swept} {unswept}");
}
