//! What a machine keeps its replicated state in: an ordered map of bytes with cheap consistent views.
//!
//! The contract, which the memory form and the LSM form both obey and one model test holds them to:
//!
//! - Writes are applied in the order given. A write is seen by [`State::get`], [`State::scan`] and views opened later,
//!   and by no view opened earlier.
//! - Nothing is durable by itself. [`State::seal`] marks a cut: the checkpoint made from it holds exactly what was written
//!   before, and after a crash the state is that of the newest finished checkpoint. All that a machine needs to go on (its
//!   applied index among it) is therefore written before the cut, so that one checkpoint is one atomic unit.
//! - An error is about the disk or about damage, never about the caller's data; after one, nothing more is written.

use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

/// A failure of the state's store: the node stops serving the shards in it and says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateError {
    /// What was being done, and where.
    pub context: String,
    /// What it was.
    pub kind: StateErrorKind,
}

/// What failed, for whoever decides what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateErrorKind {
    /// Input or output.
    Io,
    /// There is no room on the disk.
    Full,
    /// A checksum or a format did not hold.
    Damaged,
    /// It is whole, and of a newer release than this one: nothing of it may be passed over or set aside.
    Newer,
}

impl StateError {
    /// An error of a kind.
    pub fn new(kind: StateErrorKind, context: impl Into<String>) -> Self {
        Self { context: context.into(), kind }
    }

    /// Input or output failed.
    pub fn io(context: impl Into<String>) -> Self {
        Self::new(StateErrorKind::Io, context)
    }

    /// A checksum or a format did not hold.
    pub fn of_damage(context: impl Into<String>) -> Self {
        Self::new(StateErrorKind::Damaged, context)
    }

    /// What is there is of a newer release.
    pub fn newer(context: impl Into<String>) -> Self {
        Self::new(StateErrorKind::Newer, context)
    }

    /// A checksum or a format did not hold.
    pub fn damaged(&self) -> bool {
        self.kind == StateErrorKind::Damaged
    }
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            StateErrorKind::Io => "state store failed: ",
            StateErrorKind::Full => "no space left for the state: ",
            StateErrorKind::Damaged => "damaged state: ",
            StateErrorKind::Newer => "",
        };
        write!(f, "{what}{}", self.context)
    }
}

impl std::error::Error for StateError {}

/// Result of a call on a state.
pub type StateResult<T> = Result<T, StateError>;

/// Keys and values of a scan, in the order asked for.
pub type Scan<'a> = Box<dyn Iterator<Item = StateResult<(Bytes, Bytes)>> + 'a>;

/// A range of keys.
pub type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Reads at one moment.
pub trait View: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>>;
    /// The pairs in a range, ascending.
    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a>;
    /// The pairs in a range, descending.
    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a>;
    /// The same moment for a reader that takes its time, a snapshot's for instance: however much is written meanwhile, it
    /// holds no memory for that. Single keys may cost it more.
    fn lasting(&self) -> Arc<dyn View>;
}

/// The writer's side. There is one writer.
pub trait State: Send {
    /// Sets a key.
    fn put(&mut self, key: &[u8], value: &[u8]);
    /// The same of bytes that may be parts of one piece of memory: a form that keeps them there shares it, instead of a copy of each.
    fn put_shared(&mut self, key: Bytes, value: Bytes) {
        self.put(&key, &value);
    }
    /// The same of what will be asked for soon, since it is about to be replaced, say: a form to which that makes a difference keeps
    /// it at hand.
    fn put_kept(&mut self, key: Bytes, value: Bytes) {
        self.put_shared(key, value);
    }
    /// Removes a key; one that is not there is fine.
    fn delete(&mut self, key: &[u8]);
    /// The value of a key, all earlier writes seen.
    fn get(&self, key: &[u8]) -> StateResult<Option<Bytes>>;
    /// The pairs in a range, ascending, all earlier writes seen.
    fn scan<'a>(&'a self, range: Range<'_>) -> Scan<'a>;
    /// The pairs in a range, descending, all earlier writes seen.
    fn scan_back<'a>(&'a self, range: Range<'_>) -> Scan<'a>;
    /// A view of all writes so far. Cheap: it is taken after each batch of entries, and should give way to the next one,
    /// since what was in memory when it was taken may stay there as long as it does.
    fn view(&self) -> Arc<dyn View>;
    /// Marks the cut of the next checkpoint and gives the work that makes it, which may run on another thread while
    /// writes go on. At most one is under way.
    fn seal(&mut self) -> StateResult<Box<dyn CheckpointJob>>;
    /// Bytes written since the last cut, for whoever decides when to seal.
    fn unsealed_bytes(&self) -> u64;
    /// Whether the background has not kept up with what was written. A writer goes on, and may have to do that work itself, which
    /// takes as long as many writes: whoever need not write just now waits.
    fn behind(&self) -> bool {
        false
    }
    /// Background work (flush, compaction) that may be run on another thread, if this form has any.
    fn upkeep(&self) -> Option<Box<dyn Upkeep>>;
}

/// Makes one checkpoint durable.
pub trait CheckpointJob: Send {
    /// Writes checkpoint `generation` and returns once it is complete and synced. It counts from when the journal records
    /// it; until then a crash leaves the older one in force.
    fn run(self: Box<Self>, generation: u64) -> StateResult<()>;
}

/// Background work of a state.
pub trait Upkeep: Send {
    /// Does one bounded piece of work; false if nothing was to be done.
    fn step(&mut self) -> StateResult<bool>;
    /// Gives back all room that nothing readable needs, however long that takes. What older checkpoints hold on to goes with
    /// them.
    fn settle(&mut self) -> StateResult<()>;
    /// Does that if it is worth it: `live` bytes of what is stored are needed, about. True if it was.
    fn tidy(&mut self, live: u64) -> StateResult<bool>;
    /// Reads about so many bytes of what is stored, to find damage where nobody else reads; false at the end of a round.
    fn scrub(&mut self, budget: u64) -> StateResult<bool>;
    /// Checkpoint `generation` is recorded: those before it are not needed any more.
    fn recorded(&mut self, generation: u64) -> StateResult<()>;
}

/// Where states come from: the driver's choice of form.
pub trait StateStore: Send {
    /// Opens the state of checkpoint `generation`, or an empty one for `None`, and forgets all others.
    fn open(&mut self, generation: Option<u64>) -> StateResult<Box<dyn State>>;
    /// The newest checkpoint that is there, whole or not: what to try if the journal's record of it is damaged.
    fn newest(&mut self) -> StateResult<Option<u64>>;
    /// Puts all checkpoints that are there out of the way, under a name that says so, and deletes none; the name, or
    /// `None` if there were none.
    fn set_aside(&mut self) -> StateResult<Option<String>>;
    /// Notes durably that what is here failed a read: no checkpoint that is here now is opened again.
    fn condemn(&mut self, why: &str) -> StateResult<()>;
}
