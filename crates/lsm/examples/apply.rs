//! What applying costs: microseconds a put over both forms of the state, and what it takes in memory and on disk.
//!
//!     cargo run --release -p quorate-lsm --example apply -- lsm 1000000 3
//!
//! Puts of 256 bytes over so many keys, so many times each, in random order, a view taken and dropped every 64 entries,
//! checkpoints and upkeep on a second thread, as a node does it. Then reads over a view.

use bytes::Bytes;
use quorate_base::{Entry, EntryId, EntryKind, Index, NodeId, Rng, ShardId, Term};
use quorate_faulty::FaultyDisk;
use quorate_lsm::{LsmStore, Options};
use quorate_state::kv::{Kv, KvView};
use quorate_storage::journal::Identity;
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::{CheckpointJob, StateStore};
use quorate_wire::command;
use quorate_wire::kv::{Command, KeyRange, Put, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const BATCH: u64 = 64;
const SEAL_BYTES: u64 = 32 << 20;

type Trouble = Box<dyn std::error::Error>;

fn main() -> Result<(), Trouble> {
    let mut args = std::env::args().skip(1);
    let form = args.next().unwrap_or_else(|| "lsm".into());
    let keys: u64 = args.next().map_or(Ok(200_000), |n| n.parse())?;
    let rounds: u64 = args.next().map_or(Ok(3), |n| n.parse())?;
    let dir = std::env::temp_dir().join(format!("quorate-apply-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let identity = Identity { cluster: 1, node: NodeId(1) };
    let mut store: Box<dyn StateStore> = match form.as_str() {
        "memory" => Box::new(MemoryStore::new(Arc::new(FaultyDisk::new(1)), "state", identity)),
        _ => Box::new(LsmStore::new(&dir, identity, Options::default())),
    };
    let mut kv = Kv::open(ShardId(1), store.open(None)?)?;
    let background = Background::start(&kv, form == "memory");
    println!("{form}, {keys} keys, 256 bytes");
    for round in 0..rounds {
        let cpu = cpu_of_thread();
        let began = Instant::now();
        puts(&mut kv, keys, round, &background)?;
        let (wall, cpu) = (began.elapsed(), cpu_of_thread().saturating_sub(cpu));
        let each = |d: Duration| d.as_secs_f64() * 1e6 / keys as f64;
        println!(
            "round {round}: {:.2} us a put, {:.2} us of this thread's CPU; {}",
            each(wall),
            each(cpu),
            rss()
        );
    }
    reads(&kv.view(), keys)?;
    background.stop()?;
    println!("at rest: {}", rss());
    drop(kv);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn key(n: u64) -> Bytes {
    Bytes::from(format!("/registry/pods/default/pod-{n:08}"))
}

fn puts(kv: &mut Kv, keys: u64, round: u64, background: &Background) -> Result<(), Trouble> {
    // A walk over all keys in no order: a step that shares no divisor with their number.
    let step = (keys * 5 / 8) | 1;
    let step = (step..=2 * keys).find(|s| gcd(*s, keys) == 1).unwrap_or(1);
    let value = Bytes::from(vec![round as u8; 256]);
    for i in 0..keys {
        let put = Put { key: key(i * step % keys), value: value.clone(), ..Put::default() };
        let index = Index(kv.applied().index.get() + 1);
        let data = command::encode(NodeId(1), index.get(), &Command::Put(put));
        kv.apply(&Entry { id: EntryId::new(Term(1), index), kind: EntryKind::Command, data })?;
        if i % BATCH == 0 {
            drop(kv.view());
            if kv.unsealed_bytes() > SEAL_BYTES && !background.sealing.swap(true, Ordering::AcqRel) {
                background.jobs.send(kv.seal()?)?;
            }
        }
    }
    Ok(())
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn reads(view: &KvView, keys: u64) -> Result<(), Trouble> {
    let mut rng = Rng::new(3);
    let time = |what: &str, n: u64, each: &mut dyn FnMut() -> Result<(), Trouble>| -> Result<(), Trouble> {
        let began = Instant::now();
        for _ in 0..n {
            each()?;
        }
        println!("{what}: {:.2} us", began.elapsed().as_secs_f64() * 1e6 / n as f64);
        Ok(())
    };
    time("get", 100_000, &mut || {
        let range = KeyRange { key: key(rng.below(keys)), end: Bytes::new() };
        view.range(&Range { range, ..Range::default() })?;
        Ok(())
    })?;
    let all = KeyRange { key: Bytes::from_static(&[0]), end: Bytes::from_static(&[0]) };
    time("count of all", 1_000, &mut || {
        view.range(&Range { range: all.clone(), count_only: true, ..Range::default() })?;
        Ok(())
    })?;
    let mut next = Bytes::from_static(&[0]);
    time("page of 500", keys / 500, &mut || {
        let range = KeyRange { key: next.clone(), end: Bytes::from_static(&[0]) };
        let page = view.range(&Range { range, limit: 500, ..Range::default() })?;
        next = page.kvs.last().map_or_else(Bytes::new, |kv| [&kv.key[..], &[0]].concat().into());
        Ok(())
    })?;
    let mut from = (view.revision() - 50_000).max(1);
    time("1 MiB of history", 10, &mut || {
        let events = view.history(from, 1 << 20)?;
        from = events.last().map_or(1, |event| event.kv.mod_revision + 1);
        Ok(())
    })
}

/// The second thread.
struct Background {
    jobs: Sender<Box<dyn CheckpointJob>>,
    sealing: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
    failed: Arc<Mutex<Option<String>>>,
}

impl Background {
    fn start(kv: &Kv, skip: bool) -> Self {
        let (jobs, queue) = channel();
        let (sealing, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
        let upkeep = kv.upkeep();
        let (flag, report) = (sealing.clone(), failed.clone());
        let thread = std::thread::spawn(move || {
            if let Err(error) = work(&queue, upkeep, &flag, skip) {
                *report.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error.to_string());
            }
        });
        Self { jobs, sealing, thread, failed }
    }

    fn stop(self) -> Result<(), Trouble> {
        drop(self.jobs);
        self.thread.join().map_err(|_| "the second thread panicked")?;
        match self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

fn work(
    queue: &Receiver<Box<dyn CheckpointJob>>,
    mut upkeep: Option<Box<dyn quorate_storage::state::Upkeep>>,
    sealing: &AtomicBool,
    skip: bool,
) -> Result<(), Trouble> {
    let mut generation = 0;
    loop {
        match queue.recv_timeout(Duration::from_millis(20)) {
            Ok(job) => {
                generation += 1;
                if !skip {
                    job.run(generation)?;
                }
                sealing.store(false, Ordering::Release);
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
        }
        if let Some(upkeep) = &mut upkeep {
            upkeep.step()?;
        }
    }
    let Some(mut upkeep) = upkeep else { return Ok(()) };
    while upkeep.step()? {}
    Ok(())
}

fn rss() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    format!("RssAnon {} MiB, RssFile {} MiB", line("RssAnon"), line("RssFile"))
}

/// Linux counts a thread's time on the processor in nanoseconds.
fn cpu_of_thread() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(stat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0))
}
