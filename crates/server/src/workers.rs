//! The node's own threads beside the lane's: journal, applier, background, readers, history.
//!
//! Each is a loop over a queue; ordered events join them. None of them decides anything: what to write, apply or
//! checkpoint comes from the lane and the applier.
//!
//! - **journal** takes all appends that gathered while it flushed, writes them as one batch and flushes once: group commit
//!   without a timer. A failed flush is the node's end, since what is on the disk is then unknown.
//! - **applier** runs the machine.
//! - **background** makes checkpoints durable, reads chunks of snapshots, and lets the state's store flush and compact.
//! - **readers** run the reads that are too large for the lane, each on whichever of them is free.
//! - **history** reads what watches that fell behind are to be told, so that no large read keeps them waiting.

use crate::inbox::{Inbox, lock};
use crate::queue::{self, Nothing, Taker, queue};
use quorate_base::Append;
use quorate_node::applier::{Applier, Cut, Output, Work};
use quorate_node::figures::{DISK_BOUNDS, Histogram};
use quorate_node::lane::{Broken, Defragmented, Event, Export, Reading, Seal};
use quorate_node::watch::CatchUp;
use quorate_storage::journal::{CheckpointMark, Journal, JournalError};
use quorate_storage::state::{CheckpointJob, StateErrorKind, Upkeep};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the journal's thread is asked.
pub(crate) enum ToJournal {
    /// Write and flush.
    Append(Vec<Append>),
    /// Record a checkpoint.
    Mark { generation: u64, cut: Cut },
}

/// What the background thread is asked.
pub(crate) enum ToBackground {
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
    /// How long checkpoints take.
    pub(crate) checkpoint: Arc<Histogram>,
}

impl Default for Counters {
    fn default() -> Self {
        let disk = || Arc::new(Histogram::new(DISK_BOUNDS));
        Self { flushes: AtomicU64::default(), flush: disk(), checkpoint: disk() }
    }
}

fn since(begun: Instant) -> quorate_base::time::Duration {
    let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    quorate_base::time::Duration::from_nanos(nanos)
}

/// The queues into the workers; dropping it ends them.
pub(crate) struct Workers {
    pub(crate) journal: queue::Sender<ToJournal>,
    pub(crate) applier: queue::Sender<Work>,
    pub(crate) background: Sender<ToBackground>,
    pub(crate) readers: Sender<Reading>,
    pub(crate) history: Sender<CatchUp>,
}

/// So many large reads run side by side: one that takes seconds must not keep all others waiting.
const READERS: usize = 2;

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
        let (lane, apply, back, count) =
            (inbox.clone(), to_applier.clone(), to_background.clone(), counters.clone());
        spawn(
            "journal",
            Box::new(move || journal_loop(journal, &journal_queue, &lane, &apply, &back, &count)),
        )?;
        let (lane, seal) = (inbox.clone(), to_background.clone());
        spawn("applier", Box::new(move || applier_loop(applier, &applier_queue, &lane, &seal)))?;
        let (lane, mark) = (inbox.clone(), to_journal.clone());
        let (apply, count) = (to_applier.clone(), counters.clone());
        spawn(
            "background",
            Box::new(move || background_loop(&background_queue, upkeep, &lane, &mark, &apply, &count)),
        )?;
        let readers_queue = Arc::new(Mutex::new(readers_queue));
        for _ in 0..READERS {
            let (lane, queue) = (inbox.clone(), readers_queue.clone());
            spawn("reader", Box::new(move || reader_loop(&queue, &lane)))?;
        }
        let lane = inbox.clone();
        spawn("history", Box::new(move || history_loop(&history_queue, &lane)))?;
        Ok(Self {
            journal: to_journal,
            applier: to_applier,
            background: to_background,
            readers: to_readers,
            history: to_history,
        })
    }
}

fn journal_loop(
    mut journal: Journal,
    queue: &Taker<ToJournal>,
    inbox: &Inbox,
    applier: &queue::Sender<Work>,
    background: &Sender<ToBackground>,
    counters: &Counters,
) {
    let (ready, prepared) = channel();
    while let Some(first) = queue.take() {
        let mut appends = Vec::new();
        let mut marks = Vec::new();
        for message in
            std::iter::once(first).chain(std::iter::from_fn(|| queue.take_within(Duration::ZERO).ok()))
        {
            match message {
                ToJournal::Append(mut more) => appends.append(&mut more),
                ToJournal::Mark { generation, cut } => marks.push((generation, cut)),
            }
        }
        if !appends.is_empty()
            && let Err(error) = journal.append(&appends)
        {
            return inbox.push(broken("writing the journal", &error));
        }
        for (generation, cut) in &marks {
            let mark = CheckpointMark { generation: *generation, bases: cut.bases.clone() };
            if let Err(error) = journal.mark_checkpoint(mark) {
                return inbox.push(broken("recording a checkpoint", &error));
            }
        }
        let begun = Instant::now();
        match journal.sync() {
            Ok(proofs) => {
                counters.flush.observe(since(begun));
                counters.flushes.fetch_add(1, Ordering::Relaxed);
                if !proofs.is_empty() {
                    inbox.push(Event::Journaled(proofs));
                }
            }
            Err(error) => return inbox.push(broken("flushing the journal", &error)),
        }
        for (generation, cut) in marks {
            let _ = background.send(ToBackground::Recorded(generation));
            inbox.push(Event::Checkpointed(cut));
            applier.send(Work::Checkpointed);
        }
        // Behind what others wait for: a segment of zeros takes as long to write as hundreds of flushes. All nodes come to need
        // one at about the same entry, so that on this thread it would hold up a whole cluster.
        for result in prepared.try_iter() {
            if let Err(error) = journal.prepared(result) {
                return inbox.push(broken("preparing the journal", &error));
            }
        }
        if let Some(preparation) = journal.preparation() {
            let ready = ready.clone();
            let run = move || {
                let _ = ready.send(preparation.run());
            };
            // Without a thread for it the file is made when it is needed.
            let _ = std::thread::Builder::new().name("segment".into()).spawn(run);
        }
    }
}

fn broken(doing: &str, error: &JournalError) -> Event {
    Event::Broken(Broken::new(format!("{doing} failed: {error}")))
}

/// While the state's background is behind the sweep waits, so long at a time, ...
const SWEEP_REST: Duration = Duration::from_millis(5);
/// ... and so often: where the disk has no room, sweeping goes on all the same, since it makes room.
const SWEEP_RESTS: u32 = 200;
/// A sweep rests so many times as long as its last step took: all nodes sweep at the same time, and what they do not take of the
/// processors and the disk is there for who waits.
const SWEEP_REST_PARTS: u32 = 7;

fn applier_loop(mut applier: Applier, queue: &Taker<Work>, inbox: &Inbox, background: &Sender<ToBackground>) {
    let mut outputs = Vec::new();
    let mut more = true;
    let mut sweeping = Sweeping::default();
    loop {
        // Upkeep runs only when nothing else waits, a bounded step at a time.
        let work = match queue.take_within(Duration::ZERO) {
            Ok(work) => work,
            Err(_) if more => match sweeping.rest(Instant::now(), || applier.behind()) {
                None => Work::Upkeep,
                Some(rest) => match queue.take_within(rest) {
                    Ok(work) => work,
                    Err(Nothing::Yet) => continue,
                    Err(Nothing::Ever) => return,
                },
            },
            Err(_) => match queue.take() {
                Some(work) => work,
                None => return,
            },
        };
        more |= matches!(work, Work::Apply { .. } | Work::Settle(_));
        let sweep = matches!(work, Work::Upkeep).then(Instant::now);
        if let Err(error) = applier.work(work, &mut outputs) {
            return inbox.push(Event::Broken(Broken::state("applying", &error)));
        }
        if let Some(begun) = sweep {
            sweeping.stepped(begun, Instant::now());
        }
        for output in outputs.drain(..) {
            match output {
                Output::Sealed { job, generation, cut } => {
                    let _ = background.send(ToBackground::Seal(Seal { job, generation, cut }));
                }
                Output::Upkept { more: again } => more = again,
                Output::Applied(applied) if !applied.concerns_more() => {
                    inbox.push_quietly(Event::Output(Output::Applied(applied)));
                }
                output => inbox.push(Event::Output(output)),
            }
        }
    }
}

/// When a sweep goes on. It writes more in a second than the disk takes: let run, it fills the memtables of all nodes at once, and
/// requests would wait while the applier flushes them.
#[derive(Default)]
struct Sweeping {
    /// Not before this moment.
    from: Option<Instant>,
    /// How often it has waited for the store since its last step.
    rests: u32,
}

impl Sweeping {
    /// How long to wait at `now` for other work before the next step; `None` if it is time for that.
    fn rest(&mut self, now: Instant, behind: impl FnOnce() -> bool) -> Option<Duration> {
        let left = self.from.map(|from| from.saturating_duration_since(now));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Some(left);
        }
        self.from = None;
        if self.rests < SWEEP_RESTS && behind() {
            self.rests += 1;
            return Some(SWEEP_REST);
        }
        None
    }

    /// A step was made, from `begun` to `now`.
    fn stepped(&mut self, begun: Instant, now: Instant) {
        self.rests = 0;
        self.from = Some(now + (now - begun) * SWEEP_REST_PARTS);
    }
}

/// The background thread turns to the state's upkeep when nobody has asked for anything for so long, ...
const UPKEEP_PAUSE: Duration = Duration::from_millis(20);
/// ... or when it has not for so long.
const UPKEEP_AT_LEAST: Duration = Duration::from_secs(1);
/// So much is scrubbed at once, ...
const SCRUB_BYTES: u64 = 256 << 10;
/// ... so often: a megabyte a second, ...
const SCRUB_EVERY: Duration = Duration::from_millis(250);
/// ... and after a round through everything it rests.
const SCRUB_REST: Duration = Duration::from_secs(3600);
/// What found no room is tried again after so long.
const TRY_AGAIN: Duration = Duration::from_secs(1);

fn background_loop(
    queue: &Receiver<ToBackground>,
    mut upkeep: Option<Box<dyn Upkeep>>,
    inbox: &Inbox,
    journal: &queue::Sender<ToJournal>,
    applier: &queue::Sender<Work>,
    counters: &Counters,
) {
    yield_to_requests();
    let timed = |job: Box<dyn CheckpointJob>, generation| {
        let begun = Instant::now();
        let done = job.run(generation);
        counters.checkpoint.observe(since(begun));
        done
    };
    let mut kept_up = Instant::now();
    // What found no room is tried again from then on.
    let (mut upkeep_from, mut seal_from) = (kept_up, None);
    let mut scrub_from = kept_up + SCRUB_EVERY;
    loop {
        if seal_from.is_some_and(|from| from <= Instant::now()) {
            seal_from = None;
            applier.send(Work::Seal);
        }
        // Chunks of a large snapshot may be asked for without a pause; the state wants its turn all the same.
        let due = kept_up.elapsed() > UPKEEP_AT_LEAST;
        let message = if due { Err(RecvTimeoutError::Timeout) } else { queue.recv_timeout(UPKEEP_PAUSE) };
        let message = match message {
            Ok(message) => message,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                kept_up = Instant::now();
                if let Some(upkeep) = upkeep.as_mut().filter(|_| kept_up >= scrub_from) {
                    match upkeep.scrub(SCRUB_BYTES) {
                        Ok(more) => scrub_from = kept_up + if more { SCRUB_EVERY } else { SCRUB_REST },
                        Err(error) => {
                            return inbox.push(Event::Broken(Broken::state("scrubbing the state", &error)));
                        }
                    }
                }
                match upkeep.as_mut().filter(|_| kept_up >= upkeep_from).map(|upkeep| upkeep.step()) {
                    None | Some(Ok(_)) => {}
                    Some(Err(error)) if error.kind == StateErrorKind::Full => {
                        tracing::warn!(%error, "the state's upkeep found no room, and is tried again");
                        upkeep_from = kept_up + TRY_AGAIN;
                    }
                    Some(Err(error)) => {
                        return inbox.push(Event::Broken(Broken::state("maintaining the state", &error)));
                    }
                }
                continue;
            }
        };
        match message {
            ToBackground::Seal(Seal { job, generation, cut }) => match timed(job, generation) {
                Ok(()) => {
                    journal.send(ToJournal::Mark { generation, cut });
                }
                // What completes a snapshot cannot be left out: the node takes that in again when it is started again.
                Err(error) if error.kind == StateErrorKind::Full && cut.installed.is_empty() => {
                    tracing::warn!(%error, "checkpoint {generation} found no room, and is tried again");
                    applier.send(Work::SealFailed);
                    seal_from = Some(Instant::now() + TRY_AGAIN);
                }
                Err(error) => {
                    let doing = format!("making checkpoint {generation}");
                    return inbox.push(Event::Broken(Broken::state(&doing, &error)));
                }
            },
            ToBackground::Export(export) => inbox.push(Event::Exported(export.read())),
            ToBackground::Defragment(number) => {
                let result = upkeep.as_mut().map_or(Ok(()), |upkeep| upkeep.settle());
                inbox.push(Event::Defragmented(Defragmented { number, result }));
            }
            ToBackground::Tidy(live) => match upkeep.as_mut().map_or(Ok(false), |upkeep| upkeep.tidy(live)) {
                Ok(false) => {}
                Ok(true) => {
                    // The checkpoint, and what is readable, hold on to what was merged.
                    applier.send(Work::Settle(0));
                    applier.send(Work::Seal);
                }
                Err(error) if error.kind == StateErrorKind::Full => {
                    tracing::warn!(%error, "there is no room to give room back");
                }
                Err(error) => {
                    return inbox.push(Event::Broken(Broken::state("giving room back", &error)));
                }
            },
            ToBackground::Recorded(generation) => {
                // What stays for want of this goes with the next one.
                if let Some(Err(error)) = upkeep.as_mut().map(|upkeep| upkeep.recorded(generation)) {
                    tracing::warn!(%error, "an older checkpoint could not be removed");
                }
            }
        }
    }
}

fn reader_loop(queue: &Mutex<Receiver<Reading>>, inbox: &Inbox) {
    yield_to_requests();
    // Whoever waits in the queue holds its lock; the others wait for that.
    while let Ok(reading) = { lock(queue).recv() } {
        inbox.push(Event::Read(reading.run()));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: a sweep takes a part of the time, whatever comes between its steps; it waits for a store that is behind, and not for ever.
    #[test]
    fn a_sweep_rests_longer_than_it_works_and_waits_for_the_store() {
        let (mut sweeping, began) = (Sweeping::default(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        assert_eq!(sweeping.rest(at(0), || false), None, "the first step waits for nothing");
        sweeping.stepped(at(0), at(2));
        assert_eq!(sweeping.rest(at(2), || false), Some(Duration::from_millis(14)));
        assert_eq!(
            sweeping.rest(at(6), || false),
            Some(Duration::from_millis(10)),
            "other work came in between"
        );
        assert_eq!(sweeping.rest(at(16), || true), Some(SWEEP_REST), "the store is behind");
        assert_eq!(sweeping.rest(at(21), || false), None, "and no longer");
        sweeping.stepped(at(21), at(21));
        let mut waited = 0;
        while sweeping.rest(at(30), || true).is_some() {
            waited += 1;
        }
        assert_eq!(waited, SWEEP_RESTS, "where the disk has no room, the sweep makes some");
    }
}
