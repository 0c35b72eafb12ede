//! The LSM form held to the contract of the state, and its checkpoints against damage.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use quorate_base::NodeId;
use quorate_lsm::{LsmStore, Options};
use quorate_storage::contract;
use quorate_storage::journal::Identity;
use quorate_storage::state::{CheckpointJob, State, StateStore, View};
use std::fs;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory of its own for a test, removed behind it.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("quorate-lsm-{name}-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const IDENTITY: Identity = Identity { cluster: 5, node: NodeId(1) };

/// So small that tests flush and merge.
const SMALL: Options =
    Options { cache_bytes: 256 << 10, table_bytes: 64 << 10, memtable_bytes: 32 << 10, end_bytes: 2 << 10 };

fn store(dir: &Path) -> LsmStore {
    LsmStore::new(dir, IDENTITY, SMALL)
}

#[test]
fn it_keeps_the_contract() {
    let mut upkeep = 0;
    for seed in 0..8 {
        let dir = Dir::new("contract");
        let done = contract::check(&mut store(&dir.0), seed, 2_500);
        assert!(done.recorded > 3 && done.restarts > 3 && done.old_views > 50, "seed {seed}: {done:?}");
        upkeep += done.upkeep;
    }
    assert!(upkeep > 20, "{upkeep} pieces of upkeep");
}

/// A writer that reads what it writes, the background thread, and a reader of views, all at once.
#[test]
fn threads_beside_each_other_see_what_they_should() {
    let dir = Dir::new("threads");
    let mut state = store(&dir.0).open(None).unwrap();
    let mut upkeep = state.upkeep().unwrap();
    let (jobs, queue) = std::sync::mpsc::channel::<Box<dyn CheckpointJob>>();
    let (views, to_read) = std::sync::mpsc::sync_channel::<(Arc<dyn View>, u32)>(4);
    let made = Arc::new(AtomicU64::new(0));
    let count = made.clone();
    let background = std::thread::spawn(move || {
        loop {
            match queue.try_recv() {
                Ok(job) => job.run(count.fetch_add(1, Ordering::AcqRel) + 1).unwrap(),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                Err(std::sync::mpsc::TryRecvError::Empty) => {}
            }
            upkeep.step().unwrap();
        }
    });
    let reader = std::thread::spawn(move || {
        for (view, round) in to_read {
            let all = view.scan((Bound::Unbounded, Bound::Unbounded)).collect::<Result<Vec<_>, _>>().unwrap();
            assert_eq!(all.len(), 50);
            assert!(all.iter().all(|(_, value)| value[..4] == round.to_be_bytes()), "round {round}");
        }
    });
    let (mut sealed, rounds) = (0, 1_500_u32);
    for round in 0..rounds {
        for key in 0..50_u8 {
            state.put(&[key], &[round.to_be_bytes().as_slice(), &[7; 60]].concat());
            assert_eq!(state.get(&[key]).unwrap().unwrap()[..4], round.to_be_bytes());
        }
        views.send((state.view(), round)).unwrap();
        if round % 100 == 99 && made.load(Ordering::Acquire) == sealed {
            jobs.send(state.seal().unwrap()).unwrap();
            sealed += 1;
        }
    }
    drop((views, jobs));
    background.join().unwrap();
    reader.join().unwrap();
    assert!(sealed > 2, "{sealed} checkpoints");
    drop(state);
    let state = store(&dir.0).open(Some(sealed)).unwrap();
    let rounds: Vec<_> = all(&*state).unwrap().iter().map(|(_, value)| value.slice(..4)).collect();
    assert!(rounds.len() == 50 && rounds.iter().all(|round| *round == rounds[0]), "a checkpoint is one cut");
}

#[test]
fn the_key_value_machine_is_its_model_over_it() {
    let mut done = quorate_state::testing::Done::default();
    for seed in 0..6 {
        let dirs = [Dir::new("kv"), Dir::new("kv"), Dir::new("kv")];
        let mut stores: Vec<Box<dyn StateStore>> =
            dirs.iter().map(|dir| Box::new(store(&dir.0)) as Box<dyn StateStore>).collect();
        done.add(quorate_state::testing::check(&mut stores, seed, 1_500));
    }
    assert!(done.least() > 2, "{done:?}");
}

type Pairs = Vec<(bytes::Bytes, bytes::Bytes)>;

fn all(state: &dyn State) -> Result<Pairs, quorate_storage::state::StateError> {
    state.scan((Bound::Unbounded, Bound::Unbounded)).collect()
}

/// Two flushed tables and a merged one, in checkpoint 1.
fn filled(dir: &Path) -> Pairs {
    let mut state = store(dir).open(None).unwrap();
    let mut upkeep = state.upkeep().unwrap();
    for round in 0..5_u32 {
        for n in 0..40_u32 {
            let key = (n * 7 + round).to_be_bytes();
            state.put(&key, &[round as u8; 150]);
            state.put(&[b"old".as_slice(), &key].concat(), &[1]);
            if n % 5 == 0 {
                state.delete(&(n * 3).to_be_bytes());
            }
        }
        state.seal().unwrap().run(1).unwrap();
        if round == 3 {
            while upkeep.step().unwrap() {}
        }
    }
    all(&*state).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// Opens checkpoint 1 and reads all of it in every way.
fn read_all(dir: &Path, pairs: &Pairs) -> Result<Pairs, String> {
    let state = store(dir).open(Some(1)).map_err(|e| e.to_string())?;
    for (key, value) in pairs {
        let found = state.get(key).map_err(|e| e.to_string())?;
        if found.as_ref() != Some(value) {
            return Ok(Vec::new());
        }
    }
    let mut back: Pairs = state
        .scan_back((Bound::Unbounded, Bound::Unbounded))
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    back.reverse();
    let forth = all(&*state).map_err(|e| e.to_string())?;
    if back != forth {
        return Ok(Vec::new());
    }
    // Merging reads each block, too, in a way of its own.
    let mut upkeep = state.upkeep().ok_or("no upkeep")?;
    while upkeep.step().map_err(|e| e.to_string())? {}
    Ok(forth)
}

#[test]
fn a_flipped_bit_in_any_file_of_a_checkpoint_never_gives_a_wrong_answer() {
    let dir = Dir::new("flips");
    let pairs = filled(&dir.0);
    assert_eq!(read_all(&dir.0, &pairs).unwrap(), pairs);
    let checkpoint = dir.0.join(format!("{:016}", 1));
    let (mut named, mut unused, mut started) = (0, 0, 0);
    for path in files(&checkpoint) {
        let good = fs::read(&path).unwrap();
        let step = if cfg!(debug_assertions) { 53 } else { 1 };
        for bit in (0..good.len() * 8).step_by(step) {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            // Written in place: the live directory links to the same file.
            fs::write(&path, &bytes).unwrap();
            let what = catch_unwind(AssertUnwindSafe(|| read_all(&dir.0, &pairs)));
            let name = path.strip_prefix(&checkpoint).unwrap().to_str().unwrap();
            match what {
                Ok(Err(why)) => {
                    assert!(why.contains(name), "bit {bit} of {}: {why}", path.display());
                    named += 1;
                    started += u64::from(why.contains("does not verify") && !why.contains("its end"));
                }
                Ok(Ok(found)) => {
                    assert!(found == pairs, "bit {bit} of {} gives a wrong answer", path.display());
                    unused += 1;
                }
                Err(cause) => panic!("bit {bit} of {} panics: {cause:?}", path.display()),
            }
        }
        fs::write(&path, &good).unwrap();
    }
    println!("{named} flips were named, {unused} changed nothing, {started} only after the start");
    assert!(
        started > named / 4,
        "most of what was flipped is not verified at a start but at a read: {started} of {named}"
    );
    assert!(named > 50 * unused, "{named} flips were named, {unused} changed nothing");
    assert_eq!(read_all(&dir.0, &pairs).unwrap(), pairs);
}

#[test]
fn what_is_missing_cut_short_or_of_another_node_is_refused_by_name() {
    let dir = Dir::new("missing");
    let pairs = filled(&dir.0);
    let checkpoint = dir.0.join(format!("{:016}", 1));
    for path in files(&checkpoint) {
        let good = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        let error = store(&dir.0).open(Some(1)).err().unwrap();
        assert!(error.damaged() && error.context.contains(name), "{name} cut short: {error}");
        fs::remove_file(&path).unwrap();
        let error = store(&dir.0).open(Some(1)).err().unwrap();
        assert!(error.damaged() && error.context.contains(name), "{name} missing: {error}");
        fs::write(&path, &good).unwrap();
    }
    // Under another number it is another checkpoint.
    let moved = dir.0.join(format!("{:016}", 2));
    fs::rename(&checkpoint, &moved).unwrap();
    assert!(store(&dir.0).open(Some(2)).is_err_and(|e| e.damaged()));
    fs::rename(&moved, &checkpoint).unwrap();
    let other = Identity { node: NodeId(2), ..IDENTITY };
    assert!(LsmStore::new(&dir.0, other, SMALL).open(Some(1)).is_err_and(|e| e.damaged()));
    assert_eq!(read_all(&dir.0, &pairs).unwrap(), pairs);
}

/// A checkpoint of a newer release is whole: it is refused, and not called damaged, which would have it set aside.
#[test]
fn what_a_newer_release_wrote_is_refused_and_not_called_damaged() {
    let dir = Dir::new("newer");
    let pairs = filled(&dir.0);
    let path = dir.0.join(format!("{:016}", 1)).join("MANIFEST");
    let good = fs::read(&path).unwrap();
    let mut newer = good.clone();
    newer[8] = 9;
    let body = newer.len() - 4;
    let crc = crc32c::crc32c(&newer[..body]);
    newer[body..].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &newer).unwrap();
    let error = store(&dir.0).open(Some(1)).err().unwrap();
    assert!(!error.damaged() && error.context.contains("version 9"), "{error}");
    fs::write(&path, &good).unwrap();
    assert_eq!(read_all(&dir.0, &pairs).unwrap(), pairs);
}

/// Claim: whoever looks at a checkpoint finds each flipped bit, whichever file it is in, and in a table names the block.
#[test]
fn an_examination_names_every_flipped_bit() {
    let dir = Dir::new("examine");
    {
        let mut state = store(&dir.0).open(None).unwrap();
        for n in 0..3_000_u32 {
            state.put(&n.to_be_bytes(), &[n as u8; 60]);
        }
        state.seal().unwrap().run(1).unwrap();
    }
    let examined = || quorate_lsm::examine(&dir.0, IDENTITY, Some(1)).unwrap();
    let whole = examined();
    assert!(whole.faults.is_empty() && whole.files > 4 && whole.bytes > 150_000, "{whole:?}");
    let checkpoint = dir.0.join(format!("{:016}", 1));
    for path in files(&checkpoint) {
        let good = fs::read(&path).unwrap();
        let step = (good.len() * 8 / 60).max(if cfg!(debug_assertions) { 53 } else { 7 });
        for bit in (0..good.len() * 8).step_by(step) {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            let faults = examined().faults;
            // A block may reach into the end, which has a checksum of its own.
            let at = (bit / 8) as u64;
            let near = |from: u64| (from..from + (20 << 10)).contains(&at);
            let all = faults.iter().all(|fault| fault.path == path && fault.offset.is_none_or(near));
            assert!(!faults.is_empty() && all, "byte {at} of {}: {faults:?}", path.display());
        }
        fs::write(&path, &good).unwrap();
    }
    let table = files(&checkpoint.join("tables")).remove(0);
    fs::remove_file(&table).unwrap();
    assert!(examined().faults.iter().any(|fault| fault.path == table && fault.what.contains("missing")));
}

/// Claim: an examination goes on behind the first damage: each damaged block of a table is named, and damage in checkpoints that the
/// journal does not name.
#[test]
fn an_examination_goes_on_behind_the_first_damage() {
    let dir = Dir::new("all-damage");
    {
        let large = Options { table_bytes: 1 << 20, memtable_bytes: 1 << 20, ..SMALL };
        let mut state = LsmStore::new(&dir.0, IDENTITY, large).open(None).unwrap();
        for generation in [1, 2] {
            for n in 0..1_500_u32 {
                state.put(&(n * 2 + generation).to_be_bytes(), &[n as u8; 200]);
            }
            state.seal().unwrap().run(u64::from(generation)).unwrap();
        }
    }
    let of = |generation: u64| dir.0.join(format!("{generation:016}"));
    let table = files(&of(2).join("tables"))
        .into_iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&table).unwrap();
    let places = [1, 2, 3].map(|quarter| bytes.len() * quarter / 5);
    for at in places {
        bytes[at] ^= 4;
    }
    fs::write(&table, &bytes).unwrap();
    // Of the other one a file of its own.
    let ends = of(1).join("ENDS");
    let mut bytes = fs::read(&ends).unwrap();
    bytes[3] ^= 1;
    fs::write(&ends, bytes).unwrap();
    let faults = quorate_lsm::examine(&dir.0, IDENTITY, Some(2)).unwrap().faults;
    for at in places {
        let near = |from: u64| (from..from + (20 << 10)).contains(&(at as u64));
        let named = faults.iter().filter(|fault| fault.path == table && fault.offset.is_some_and(near));
        assert!(named.count() > 0, "byte {at} of {}: {faults:?}", table.display());
    }
    assert!(faults.iter().filter(|fault| fault.path == table).count() >= 3, "{faults:?}");
    assert!(faults.iter().any(|fault| fault.path == ends), "{faults:?}");
}

/// Claim: who noted that a read failed here opens nothing of it again; set aside, it makes room for an empty state.
#[test]
fn a_condemned_state_is_not_opened() {
    let dir = Dir::new("condemned");
    let pairs = filled(&dir.0.join("state"));
    let mut store = store(&dir.0.join("state"));
    store.condemn("a read of it failed").unwrap();
    let error = store.open(Some(1)).err().unwrap();
    assert!(error.damaged() && error.context.contains("a read of it failed"), "{error}");
    let faults = quorate_lsm::examine(&dir.0.join("state"), IDENTITY, Some(1)).unwrap().faults;
    assert!(faults.iter().any(|fault| fault.what.contains("a read of it failed")), "{faults:?}");
    let aside = store.set_aside().unwrap().unwrap();
    assert_eq!(all(&*store.open(None).unwrap()).unwrap(), []);
    fs::remove_file(Path::new(&aside).join("DAMAGED")).unwrap();
    assert_eq!(read_all(Path::new(&aside), &pairs).unwrap(), pairs);
}

/// Claim: a scrub reads every table, whichever is harmed.
#[test]
fn a_scrub_passes_over_no_table() {
    let dir = Dir::new("scrub-all");
    let mut state = store(&dir.0).open(None).unwrap();
    for n in 0..3_000_u32 {
        state.put(&n.to_be_bytes(), &[n as u8; 60]);
    }
    state.seal().unwrap().run(1).unwrap();
    let mut upkeep = state.upkeep().unwrap();
    let tables = files(&dir.0.join("live/tables"));
    assert!(tables.len() > 3, "{tables:?}");
    for table in tables {
        let good = fs::read(&table).unwrap();
        let blocks = good.len() - SMALL.end_bytes as usize;
        for at in [good.len() / 3, blocks * 9 / 10] {
            let mut bytes = good.clone();
            bytes[at] ^= 16;
            fs::write(&table, bytes).unwrap();
            let found = std::iter::repeat_with(|| upkeep.scrub(50_000)).take(100).find_map(Result::err);
            assert!(
                found.is_some_and(|error| error.context.contains(table.to_str().unwrap())),
                "byte {at} of {}",
                table.display()
            );
        }
        fs::write(&table, good).unwrap();
    }
}

/// Claim: a scrub finds a flipped bit in a block that nobody reads, and names the place.
#[test]
fn a_scrub_finds_what_nobody_reads() {
    let dir = Dir::new("scrub");
    let mut state = store(&dir.0).open(None).unwrap();
    for n in 0..3_000_u32 {
        state.put(&n.to_be_bytes(), &[n as u8; 60]);
    }
    state.seal().unwrap().run(1).unwrap();
    let mut upkeep = state.upkeep().unwrap();
    let mut steps = 0;
    while upkeep.scrub(10_000).unwrap() {
        steps += 1;
    }
    assert!(steps > 10, "{steps} steps of 10 kB");
    let table = files(&dir.0.join("live/tables")).remove(0);
    let mut bytes = fs::read(&table).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 16;
    fs::write(&table, bytes).unwrap();
    let found = std::iter::repeat_with(|| upkeep.scrub(10_000)).take(200).find_map(Result::err).unwrap();
    assert!(found.damaged() && found.context.contains(table.to_str().unwrap()), "{found}");
    assert!(found.context.contains(" at offset "), "{found}");
}
