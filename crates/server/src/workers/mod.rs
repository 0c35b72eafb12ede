//! The node's own threads beside the lane's: journal, applier, background, readers, history.
//!
//! Each is a loop over a queue; ordered events join them. None of them decides anything: what to write, apply or
//! checkpoint comes from the lane and the applier. Small work of the first two is done by the lane's thread itself where
//! theirs sleeps ([`desk`]).
//!
//! - **journal** takes all appends that gathered while it flushed, writes them as one batch and flushes once: group commit
//!   without a timer. A failed flush is the node's end, since what is on the disk is then unknown.
//! - **applier** runs the machine.
//! - **background** makes checkpoints durable, reads chunks of snapshots, and lets the state's store flush and compact.
//! - **readers** run the reads that are too large for the lane, each on whichever of them is free.
//! - **history** reads what watches that fell behind are to be told, so that no large read keeps them waiting.

mod applying;
mod background;
mod desk;
mod journaling;
mod turns;

use crate::inbox::{Inbox, lock};
use crate::queue::queue;
use applying::Applying;
use desk::Desk;
use journaling::Journaling;
use quorate_base::Append;
use quorate_clock::Hlc;
use quorate_node::applier::{Applier, Cut, Work};
use quorate_node::figures::{DISK_BOUNDS, Histogram};
use quorate_node::lane::{Event, Export, Reading, Seal};
use quorate_node::watch::CatchUp;
use quorate_storage::journal::Journal;
use quorate_storage::state::Upkeep;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use turns::Turns;

/// What the journal's thread is asked.
pub(crate) enum ToJournal {
    /// Write and flush.
    Append(Vec<Append>),
    /// Record a checkpoint.
    Mark { generation: u64, cut: Cut },
}

/// What the background thread is asked.
pub(crate) enum ToBackground {
    /// Note a bound of the hybrid clock in the node's directory.
    Clock(std::path::PathBuf, Hlc),
    /// Make a checkpoint.
    Seal(Seal),
    /// Read a chunk.
    Export(Export),
    /// Give the state's room back.
    Defragment(u64),
    /// So many bytes of the state are needed: give back the rest, if it is worth it.
    Tidy(u64),
    /// The journal has recorded a checkpoint.
    Recorded(u64),
}

/// Counters of the journal's work.
pub(crate) struct Counters {
    /// Flushes so far.
    pub(crate) flushes: AtomicU64,
    /// How long they take.
    pub(crate) flush: Arc<Histogram>,
    /// Bytes of entries that were appended.
    pub(crate) appended: AtomicU64,
    /// How often applying what had come took longer than [`applying::SLOW`].
    pub(crate) slow_applies: AtomicU64,
    /// How long checkpoints take.
    pub(crate) checkpoint: Arc<Histogram>,
}

impl Default for Counters {
    fn default() -> Self {
        let disk = || Arc::new(Histogram::new(DISK_BOUNDS));
        let none = AtomicU64::default;
        Self { flushes: none(), appended: none(), slow_applies: none(), flush: disk(), checkpoint: disk() }
    }
}

fn since(begun: Instant) -> quorate_base::time::Duration {
    let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    quorate_base::time::Duration::from_nanos(nanos)
}

/// The ways into the workers; dropping it ends them.
pub(crate) struct Workers {
    journal: Desk<ToJournal, Journaling>,
    applier: Desk<Work, Applying>,
    pub(crate) background: Sender<ToBackground>,
    pub(crate) readers: Sender<Reading>,
    pub(crate) history: Sender<CatchUp>,
}

/// More pieces of work than this, of one shard each, are not done in a moment, however small each of them is. (To wake the applier for two
/// or three doubled the changes of context of a write in one of a hundred shards.)
const FEW_WORKS: usize = 8;
/// So many large reads are under way; those behind wait for one to end.
const READERS: usize = 16;
/// So many of them go on at a time.
const READING: usize = 2;

impl Workers {
    /// Starts the threads.
    pub(crate) fn start(
        journal: Journal,
        applier: Applier,
        upkeep: Option<Box<dyn Upkeep>>,
        inbox: &Arc<Inbox>,
        counters: &Arc<Counters>,
    ) -> std::io::Result<Self> {
        let (to_journal, journal_queue) = queue();
        let (to_applier, applier_queue) = queue();
        let (to_background, background_queue) = channel();
        let (to_readers, readers_queue) = channel();
        let (to_history, history_queue) = channel();
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(body)
        };
        let tells = journaling::Tells {
            inbox: inbox.clone(),
            applier: to_applier.clone(),
            background: to_background.clone(),
            counters: counters.clone(),
        };
        let journaling = Arc::new(Mutex::new(Journaling::new(journal, tells)));
        let journal = Desk::new(to_journal.clone(), journaling.clone());
        spawn("journal", Box::new(move || journaling::run(&journaling, &journal_queue)))?;
        let applying = Arc::new(Mutex::new(Applying::new(
            applier,
            inbox.clone(),
            to_background.clone(),
            counters.clone(),
        )));
        let applier = Desk::new(to_applier.clone(), applying.clone());
        spawn("applier", Box::new(move || applying::run(&applying, &applier_queue)))?;
        let (lane, mark) = (inbox.clone(), to_journal);
        let (apply, count) = (to_applier, counters.clone());
        spawn(
            "background",
            Box::new(move || background::run(&background_queue, upkeep, &lane, &mark, &apply, &count)),
        )?;
        let readers_queue = Arc::new(Mutex::new(readers_queue));
        let turns = Arc::new(Turns::new(READING));
        for _ in 0..READERS {
            let (lane, queue, turns) = (inbox.clone(), readers_queue.clone(), turns.clone());
            spawn("reader", Box::new(move || reader_loop(&queue, &turns, &lane)))?;
        }
        let lane = inbox.clone();
        spawn("history", Box::new(move || history_loop(&history_queue, &lane)))?;
        Ok(Self { journal, applier, background: to_background, readers: to_readers, history: to_history })
    }

    /// Has something written and flushed.
    pub(crate) fn journal(&self, appends: Vec<Append>) {
        self.journal.send(ToJournal::Append(appends));
    }

    /// The same, for a lane that has nothing else to do meanwhile: it does so itself if that is likely to be quick, which saves two
    /// changes of threads. Whether it did, so that the news waits for it already.
    pub(crate) fn journal_at_once(&self, appends: Vec<Append>) -> bool {
        if journaling::is_small(&appends)
            && let Some(mut journaling) = self.journal.take(Journaling::is_quick)
        {
            journaling.work([ToJournal::Append(appends)]);
            return true;
        }
        self.journal(appends);
        false
    }

    /// Has something applied; a little is applied at once.
    pub(crate) fn apply(&self, works: &mut Vec<Work>) {
        if works.is_empty() {
            return;
        }
        if works.len() <= FEW_WORKS
            && works.iter().all(Work::is_small)
            && let Some(mut applying) = self.applier.take(|applying| !applying.is_behind())
        {
            if applying.at_once(works.drain(..)) {
                self.applier.send(Work::Upkeep);
            }
            return;
        }
        self.applier.send_all(works.drain(..));
    }
}

fn reader_loop(queue: &Mutex<Receiver<Reading>>, turns: &Turns, inbox: &Inbox) {
    yield_to_requests();
    // Whoever waits in the queue holds its lock; the others wait for that.
    while let Ok(reading) = { lock(queue).recv() } {
        let turn = turns.begin();
        let found = reading.run(&|cost| turn.pass(cost));
        drop(turn);
        inbox.push(Event::Read(found));
    }
}

fn history_loop(queue: &Receiver<CatchUp>, inbox: &Inbox) {
    yield_to_requests();
    while let Ok(catch_up) = queue.recv() {
        inbox.push(Event::Caught(catch_up.read()));
    }
}

/// Lowers the priority of the calling thread: on a full machine merging tables and long reads must not hold up who waits for a short answer.
/// Not by much, or memtables would pile up behind it. Where the system refuses, everything works without.
fn yield_to_requests() {
    // On Linux "this process" is the calling thread.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, BACKGROUND_NICE);
}

/// A third of the share of a thread that serves.
#[cfg(target_os = "linux")]
const BACKGROUND_NICE: i32 = 5;
