//! The journal's worker: appends are written as one batch and flushed once, and who waits is told.

use super::{Counters, ToBackground, ToJournal, since};
use crate::inbox::{Inbox, lock};
use crate::queue::{self, Taker};
use quorate_base::Append;
use quorate_node::applier::Work;
use quorate_node::lane::{Broken, Event};
use quorate_storage::journal::{CheckpointMark, Journal, JournalError};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A flush that takes longer than this is not waited for on the lane's thread the next time: a disk that stumbles must not make a
/// node deaf, which would answer its leader and its clients meanwhile.
const QUICK: Duration = Duration::from_millis(2);
/// After one that takes longer than this none is waited for there for a while: the disk may stumble again.
const STUMBLE: Duration = Duration::from_millis(50);
const WARY: Duration = Duration::from_secs(10);
/// More bytes than this are not written there either.
const SMALL: usize = 64 << 10;

/// Whether an append is of a kind that is done in a moment.
pub(super) fn is_small(appends: &[Append]) -> bool {
    let entries = appends.iter().flat_map(|append| &append.entries);
    entries.map(|entry| entry.data.len()).sum::<usize>() <= SMALL
}

/// Whom the journal tells what it has done.
pub(super) struct Tells {
    pub(super) inbox: Arc<Inbox>,
    pub(super) applier: queue::Sender<Work>,
    pub(super) background: Sender<ToBackground>,
    pub(super) counters: Arc<Counters>,
}

/// The journal with what goes on around it.
pub(super) struct Journaling {
    journal: Journal,
    tells: Tells,
    /// How long the last flush took.
    last: Duration,
    /// When one took longer than [`STUMBLE`].
    stumbled: Option<Instant>,
    /// It failed: what is on the disk is unknown, and nothing more may follow.
    failed: bool,
    ready: Sender<Result<bool, JournalError>>,
    prepared: Receiver<Result<bool, JournalError>>,
}

impl Journaling {
    pub(super) fn new(journal: Journal, tells: Tells) -> Self {
        let (ready, prepared) = channel();
        Self { journal, tells, last: Duration::MAX, stumbled: None, failed: false, ready, prepared }
    }

    /// Whether a flush is likely to take no time worth speaking of: the last one did not, none has for a while, and a segment that is
    /// full has its next one ready.
    pub(super) fn is_quick(&self) -> bool {
        let wary = self.stumbled.is_some_and(|at| at.elapsed() < WARY);
        self.last <= QUICK && !wary && self.journal.has_room()
    }

    /// Does all this with one flush. A failure is the node's end, which the lane is told.
    pub(super) fn work(&mut self, asked: impl IntoIterator<Item = ToJournal>) {
        if self.failed {
            return;
        }
        if let Err((doing, error)) = self.write(asked) {
            self.failed = true;
            let broken = Broken::new(format!("{doing} failed: {error}"));
            self.tells.inbox.push(Event::Broken(broken));
        }
    }

    fn write(
        &mut self,
        asked: impl IntoIterator<Item = ToJournal>,
    ) -> Result<(), (&'static str, JournalError)> {
        let mut appends = Vec::new();
        let mut marks = Vec::new();
        for message in asked {
            match message {
                ToJournal::Append(mut more) => appends.append(&mut more),
                ToJournal::Mark { generation, cut } => marks.push((generation, cut)),
            }
        }
        let entries = appends.iter().flat_map(|append| &append.entries);
        let bytes = entries.map(|entry| entry.data.len() as u64).sum();
        self.tells.counters.appended.fetch_add(bytes, Ordering::Relaxed);
        if !appends.is_empty() {
            self.journal.append(&appends).map_err(|e| ("writing the journal", e))?;
        }
        for (generation, cut) in &marks {
            let mark = CheckpointMark { generation: *generation, bases: cut.bases.clone() };
            self.journal.mark_checkpoint(mark).map_err(|e| ("recording a checkpoint", e))?;
        }
        let begun = Instant::now();
        let proofs = self.journal.sync().map_err(|e| ("flushing the journal", e))?;
        self.last = begun.elapsed();
        if self.last > STUMBLE {
            self.stumbled = Some(Instant::now());
        }
        self.tells.counters.flush.observe(since(begun));
        self.tells.counters.flushes.fetch_add(1, Ordering::Relaxed);
        if !proofs.is_empty() {
            self.tells.inbox.push(Event::Journaled(proofs));
        }
        for (generation, cut) in marks {
            cut.forget_in(&mut self.journal).map_err(|e| ("leaving segments", e))?;
            let _ = self.tells.background.send(ToBackground::Recorded(generation));
            self.tells.inbox.push(Event::Checkpointed(cut));
            self.tells.applier.send(Work::Checkpointed);
        }
        self.prepare().map_err(|e| ("preparing the journal", e))
    }

    /// Behind what others wait for: a segment of zeros takes as long to write as hundreds of flushes. All nodes come to need
    /// one at about the same entry, so that in line with the flushes it would hold up a whole cluster.
    fn prepare(&mut self) -> Result<(), JournalError> {
        for result in self.prepared.try_iter() {
            self.journal.prepared(result)?;
        }
        if let Some(preparation) = self.journal.preparation() {
            let ready = self.ready.clone();
            let run = move || {
                let _ = ready.send(preparation.run());
            };
            // Without a thread for it the file is made when it is needed.
            let _ = std::thread::Builder::new().name("segment".into()).spawn(run);
        }
        Ok(())
    }
}

/// The journal's thread: all that gathered while it flushed is its next batch, which is group commit without a timer.
pub(super) fn run(journaling: &Mutex<Journaling>, queue: &Taker<ToJournal>) {
    while let Some(first) = queue.take() {
        let gathered = std::iter::from_fn(|| queue.take_within(Duration::ZERO).ok());
        lock(journaling).work(std::iter::once(first).chain(gathered));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FsDisk;
    use crate::queue::queue;
    use quorate_base::disk::{Disk, DiskError, DiskErrorKind, DiskResult, File};
    use quorate_base::{EntryId, HardState, Index, Mint, NodeId, ShardId, Term, WriteId};
    use quorate_node::applier::Cut;
    use quorate_storage::journal::{Identity, Options};
    use std::sync::atomic::AtomicU64;

    /// A disk whose flushes take so many milliseconds longer, or fail.
    struct Lame<T>(T, Arc<AtomicU64>);

    const FAILS: u64 = u64::MAX;

    impl Disk for Lame<FsDisk> {
        fn create(&self, path: &str, len: u64) -> DiskResult<Box<dyn File>> {
            Ok(Box::new(Lame(self.0.create(path, len)?, self.1.clone())))
        }
        fn open(&self, path: &str) -> DiskResult<Box<dyn File>> {
            Ok(Box::new(Lame(self.0.open(path)?, self.1.clone())))
        }
        fn create_dir(&self, path: &str) -> DiskResult<()> {
            self.0.create_dir(path)
        }
        fn list(&self, dir: &str) -> DiskResult<Vec<String>> {
            self.0.list(dir)
        }
        fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
            self.0.rename(from, to)
        }
        fn remove(&self, path: &str) -> DiskResult<()> {
            self.0.remove(path)
        }
        fn sync_dir(&self, dir: &str) -> DiskResult<()> {
            self.0.sync_dir(dir)
        }
    }

    impl File for Lame<Box<dyn File>> {
        fn size(&self) -> DiskResult<u64> {
            self.0.size()
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> DiskResult<()> {
            self.0.read_at(offset, buf)
        }
        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> DiskResult<()> {
            self.0.write_at(offset, bytes)
        }
        fn sync(&mut self) -> DiskResult<()> {
            match self.1.load(Ordering::Relaxed) {
                FAILS => {
                    let (context, message) = ("flush".to_string(), "planned".to_string());
                    Err(DiskError { kind: DiskErrorKind::Io, context, message })
                }
                delay => {
                    std::thread::sleep(Duration::from_millis(delay));
                    self.0.sync()
                }
            }
        }
    }

    fn append(term: u64) -> ToJournal {
        let hard = HardState { term: Term(term), vote: None, commit: Index(0) };
        let (shard, write, prev) = (ShardId(1), WriteId(term), EntryId::ZERO);
        ToJournal::Append(vec![Append { shard, write, hard: Some(hard), prev, entries: Vec::new() }])
    }

    /// A directory of its own, how its disk is, and a journal there.
    fn lame(name: &str) -> (std::path::PathBuf, Arc<AtomicU64>, Journal) {
        let dir = std::env::temp_dir().join(format!("quorate-journaling-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let delay = Arc::new(AtomicU64::new(0));
        let disk = Arc::new(Lame(FsDisk::new(&dir), delay.clone()));
        let identity = Identity { cluster: 1, node: NodeId(1) };
        let (journal, _) =
            Journal::open(disk, "journal", identity, Options::default(), Mint::for_journal()).unwrap();
        (dir, delay, journal)
    }

    /// Claim: what a flush that failed was to make durable is told to nobody, neither a write nor the record of a checkpoint; and it is the
    /// end, though the next one would succeed.
    #[test]
    fn a_flush_that_failed_proves_nothing() {
        let (dir, delay, journal) = lame("fails");
        let ((applier, works), (background, tends)) = (queue(), channel());
        let inbox = Arc::new(Inbox::default());
        let tells = Tells { inbox: inbox.clone(), applier, background, counters: Arc::default() };
        let mut journaling = Journaling::new(journal, tells);
        let told = |journaling: &mut Journaling, term| {
            journaling.work([append(term), ToJournal::Mark { generation: term, cut: Cut::default() }]);
            let mut events = Vec::new();
            inbox.take(&mut events);
            let name = |event: &Event| match event {
                Event::Journaled(_) => "journaled",
                Event::Checkpointed(_) => "checkpointed",
                Event::Broken(_) => "broken",
                _ => "?",
            };
            let recorded = tends.try_iter().count();
            let applier = std::iter::from_fn(|| works.take_within(Duration::ZERO).ok()).count();
            (events.iter().map(name).collect::<Vec<_>>(), recorded, applier)
        };
        assert_eq!(told(&mut journaling, 1), (vec!["journaled", "checkpointed"], 1, 1));
        delay.store(FAILS, Ordering::Relaxed);
        assert_eq!(told(&mut journaling, 2), (vec!["broken"], 0, 0));
        delay.store(0, Ordering::Relaxed);
        assert_eq!(told(&mut journaling, 3), (vec![], 0, 0));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// Claim: the lane's thread waits for a flush only when the one before was quick, so a disk that stumbles makes it deaf once.
    #[test]
    fn a_slow_flush_is_not_waited_for_the_next_time() {
        let (dir, delay, journal) = lame("slow");
        let ((applier, _works), (background, _tends)) = (queue(), channel());
        let tells = Tells { inbox: Arc::default(), applier, background, counters: Arc::default() };
        let mut journaling = Journaling::new(journal, tells);
        let mut term = 0;
        let mut flush = |journaling: &mut Journaling| {
            term += 1;
            journaling.work([append(term)]);
            assert!(!journaling.failed);
        };
        assert!(!journaling.is_quick(), "nothing is known of the disk");
        // A busy machine has slow flushes of its own.
        let becomes_quick = |journaling: &mut Journaling, flush: &mut dyn FnMut(&mut Journaling)| {
            (0..10_000).any(|_| {
                flush(journaling);
                journaling.is_quick()
            })
        };
        assert!(becomes_quick(&mut journaling, &mut flush));
        delay.store(3, Ordering::Relaxed);
        flush(&mut journaling);
        assert!(!journaling.is_quick());
        delay.store(0, Ordering::Relaxed);
        assert!(becomes_quick(&mut journaling, &mut flush));
        delay.store(51, Ordering::Relaxed);
        flush(&mut journaling);
        delay.store(0, Ordering::Relaxed);
        assert!((0..100).all(|_| {
            flush(&mut journaling);
            !journaling.is_quick()
        }));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
