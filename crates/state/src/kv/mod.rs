//! The key-value machine: etcd's data model, version 3, as a pure function of log and state.
//!
//! A space has one revision counter, which starts at 1 and which every entry that changes a key raises by one. A key's
//! record knows the revision of its creation and of its last change, its version and its lease; superseded records stay
//! readable at their revision until a compaction. All changes of one transaction share a revision and are told apart by
//! their place in it. What each operation answers is written down in etcd's API documentation and followed to the letter;
//! where that is silent, its server's behaviour is.
//!
//! # Layout
//!
//! Everything lies in one ordered store, under `shard(u32 BE) incarnation(u32 BE) table(1 byte)`:
//!
//! | table | key behind the prefix | value |
//! | --- | --- | --- |
//! | `L` latest | key | record: create, revision, version, lease, where older versions lie, value |
//! | `R` events | revision (8+4 bytes BE) | the revision it replaced, key; of a put also the record, byte for byte that of `L` |
//! | `O` deletions | escaped key, revision (8+4 bytes BE) | the revision of what was deleted |
//! | `T` tables | rows of the machine of tables, [`crate::table`], which runs beside this one | |
//! | `E` leases | lease id, order-preserving | granted and remaining seconds |
//! | `F` fences | name | the highest token that was shown |
//! | `N` alarms | kind, member | nothing |
//! | `K` lease keys | lease id, key | nothing |
//! | `C` counted blocks | first key of a block | how many keys it holds |
//! | `M` meta | nothing | applied index, membership, revision, compacted, progress, digest |
//! | `P` pointer (incarnation 0) | nothing | which incarnation is in force |
//!
//! What an operation costs; a *write* is one pair into the store, a *seek* one look-up:
//!
//! | operation | reads | writes |
//! | --- | --- | --- |
//! | put of a key | 1 seek, none if it was written lately ([`Recent`]) | `L`, `R`; and `K` with a lease |
//! | put over a key whose change was swept | as above | `L`, `R`, and `R` once more, for the version it replaces |
//! | delete of n keys | 1 seek, n sequential | n of each `L`, `R`, `O` |
//! | get, newest | 1 seek | |
//! | range of n, newest | 1 seek, n sequential; `count` at most two partial blocks | |
//! | range of n, older | 2 seeks, n sequential; a seek for each of log v versions of a key that v puts have changed since | |
//! | watch catch-up of n events | 1 seek, n sequential, then 1 seek an event (the value before) | |
//! | lease look-up; its k keys | none (in memory); 1 seek, k sequential | |
//! | compaction over n events | n sequential and n seeks, in steps | up to 3n deletions |
//! | seal | | `M`, `P`, and each `C` whose block changed |
//!
//! A put of v bytes under a key of k bytes thus writes about 2(v+k) bytes, before what the store itself adds, and half of them in
//! ascending order. Point reads and ranges of what is newest find key and value in `L`, watches all in `R`, and old versions are
//! found through the changes themselves: each knows the one before, and one further back (see `layout::Path`). The sweep takes
//! the change of a version that is the newest out of `R`: it stands in `L`, and goes back to `R` when it is replaced. Compaction
//! deletes from `O` and `R` alone: `L`, which ranges walk, never has a deleted version in it.
//!
//! # Compaction
//!
//! Logically it is one number and takes effect at once. The sweep behind it ([`Kv::compact_step`]) walks the event log up
//! to that revision in bounded steps and deletes what no read can reach: the version that an event replaced, a deletion, and
//! what `L` holds as well. Events *at* the compacted revision stay, deletions among them, since a watch may start there; what
//! they replaced goes.
//! No answer and no digest depends on how far the sweep has come.
//!
//! # Atomicity
//!
//! Nothing is durable between checkpoints. [`Kv::seal`] writes the machine's numbers and then cuts the store, so that every
//! checkpoint holds the applied index together with exactly its effects. Where machines share a state, all that have changed
//! save theirs before the cut. A snapshot from a peer is written under the next
//! incarnation and becomes the state by one pair, the pointer; an incarnation that is not in force is swept away.
//!
//! # Digest
//!
//! Each entry folds the digest before it, its index and its effect into a new one. Equal entries give equal digests on all
//! replicas, whatever their batches, seals and sweeps; unequal digests at one index mean damage or a bug.
//!
//! # Left out
//!
//! Keys longer than [`KEY_MAX`] are refused. A key that one transaction both deletes and puts with `ignore_value` takes an
//! empty value (doors refuse such transactions).

mod alarm;
mod apply;
mod census;
mod counts;
mod events;
mod fence;
mod foreign;
mod hash;
mod layout;
mod lease;
mod meta;
mod mutant;
mod read;
pub(crate) mod source;
mod survey;
mod sweep;
mod tally;
#[cfg(test)]
mod tests;
mod transfer;
mod versions;
mod view;

pub use apply::Applied;
pub use census::Census;
pub use events::Events;
pub use foreign::{Adopting, Beside, Foreign, ForeignPart, ForeignVersion};
pub use layout::KEY_MAX;
pub use lease::{LeaseChange, LeaseInfo};
pub use mutant::Mutant;
pub use read::{ReadError, Wanted};
pub use survey::{Contents, Survey, base_of};
pub use tally::Tally;
pub use view::KvView;

use crate::digest::Digest;
use crate::table::Tables;
use alarm::Alarms;
use bytes::Bytes;
use counts::Counts;
use fence::Fences;
use layout::{Keys, PREFIX, Rev, damaged, table};
use lease::Leases;
use meta::Meta;
use quorate_base::{EntryId, ShardId};
use quorate_storage::recent::Recent;
use quorate_storage::state::{CheckpointJob, State, StateResult, Upkeep};
pub use quorate_wire::kv::Revision;
use source::{Source, Written};
use std::ops::{Bound, Deref, DerefMut};
use std::sync::Arc;
use sweep::Purge;
use transfer::Incoming;

/// The highest revision that [`Kv::bump`] goes to: as many again are left for changes, up to what a state can count.
pub const BUMPED_MAX: Revision = meta::NUMBER_MAX / 2;

/// Bytes of keys and values that a generation of those that were written last holds. Few in the crate's own tests, so that they fill
/// it. A state taken in from a peer has keys of its own (see the incarnations), so that it makes nothing of it wrong.
const RECENT_BYTES: usize = if cfg!(test) { 1 << 10 } else { 4 << 20 };

/// The state while a machine has it.
struct Lent(Option<Box<dyn State>>);

const LENT: &str = "a machine that works has the state";

impl Deref for Lent {
    type Target = dyn State;

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().expect(LENT)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_deref_mut().expect(LENT)
    }
}

/// The machine of one key-value space. There is one writer: entries come in through [`Kv::apply`], reads run on views.
///
/// Invariants: `meta.applied` is the last entry whose effects are in `state`; `counts`, `leases` and `alarms` agree with tables
/// `L`, `E` and `N`; `meta.compacted` is below or at `meta.revision`, and `meta.swept` not above it; a newest version has its change
/// in `R` exactly if that is not before `meta.swept`.
pub struct Kv {
    state: Lent,
    shard: ShardId,
    incarnation: u32,
    keys: Keys,
    meta: Meta,
    counts: Counts,
    leases: Leases,
    fences: Fences,
    mutant: Option<Mutant>,
    /// The entry before the last that was applied, for a planted bug.
    before: EntryId,
    alarms: Alarms,
    tables: Tables,
    recent: Recent,
    tally: Tally,
    /// A snapshot that is being taken in.
    incoming: Option<Incoming>,
    /// Everything before this place of the event log is swept or freed: only where this life has come to, found again by the next.
    freed: Rev,
    /// Incarnations to be swept away.
    purges: Vec<Purge>,
    /// The highest incarnation that was ever written here.
    highest: u32,
    /// Buffers for keys and values on their way into the store.
    key_buf: Vec<u8>,
    value_buf: Vec<u8>,
}

impl Kv {
    /// The machine of `shard` as the last checkpoint in `state` left it, or of an empty space.
    pub fn open(shard: ShardId, state: Box<dyn State>) -> StateResult<Self> {
        let source = Written(&*state);
        let incarnation = pointed_to(&source, shard)?;
        let keys = Keys::new(shard, incarnation.unwrap_or(1));
        let mut buf = Vec::new();
        let (meta, counts, leases, fences, alarms) = if incarnation.is_some() {
            let stored = source.get(keys.raw(&mut buf, table::META, b""))?;
            let stored =
                stored.ok_or_else(|| damaged("the state without its record of the applied index"))?;
            let (counts, leases) = (Counts::load(&source, keys)?, lease::load(&source, keys)?);
            let (fences, alarms) = (fence::load(&source, keys)?, alarm::load(&source, keys)?);
            (Meta::decode(&stored)?, counts, leases, fences, alarms)
        } else {
            (Meta::new(), Counts::new(), Leases::default(), Fences::default(), Alarms::default())
        };
        let others = sweep::other_incarnations(&source, shard, incarnation)?;
        let highest = others.iter().copied().chain(incarnation).max().unwrap_or(0);
        // Without a pointer nothing that is there was ever in force.
        let incarnation = incarnation.unwrap_or(highest + 1);
        let before = meta.applied;
        let keys = Keys::new(shard, incarnation);
        let tables = Tables::open(&keys.tables(), &source)?;
        Ok(Self {
            state: Lent(Some(state)),
            shard,
            incarnation,
            keys,
            meta,
            counts,
            leases,
            fences,
            mutant: None,
            before,
            alarms,
            tables,
            recent: Recent::new(RECENT_BYTES),
            tally: Tally::default(),
            incoming: None,
            freed: Rev::NONE,
            purges: others.into_iter().map(Purge::new).collect(),
            highest: highest.max(incarnation),
            key_buf: Vec::new(),
            value_buf: Vec::new(),
        })
    }

    /// Whose machine it is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The last entry that was applied.
    pub fn applied(&self) -> EntryId {
        self.meta.applied
    }

    /// The configuration in force there, encoded.
    pub fn membership(&self) -> &Bytes {
        &self.meta.membership
    }

    /// Gives a new group its first configuration, which no entry carries. No effect once there is one.
    pub fn begin(&mut self, membership: &Bytes) {
        if self.meta.membership.is_empty() {
            self.meta.membership = membership.clone();
        }
    }

    /// Raises the revision without a change, and compacts all before: what was read or watched at a revision of the space that
    /// this one was restored from cannot be taken for one of its own. Every replica must do the same.
    pub fn bump(&mut self, by: Revision) {
        self.meta.revision = self.meta.revision.saturating_add(by.max(0)).min(BUMPED_MAX);
        self.meta.compacted = self.meta.revision;
        let mut digest = Digest::new(self.meta.digest);
        digest.number(self.meta.revision as u64);
        self.meta.digest = digest.value();
    }

    /// Takes away all tables that have shards of their own: a space that is restored has what lies in shard 1, and no others.
    /// Every replica must do the same.
    pub fn drop_tables_elsewhere(&mut self) {
        let mut digest = Digest::new(self.meta.digest);
        self.tables.drop_elsewhere(&mut *self.state, &mut digest);
        self.meta.digest = digest.value();
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.meta.revision
    }

    /// The oldest revision that can be read; 0 before the first compaction.
    pub fn compacted(&self) -> Revision {
        self.meta.compacted.max(0)
    }

    /// See the module page.
    pub fn digest(&self) -> u64 {
        self.meta.digest
    }

    /// What is readable now. Cheap: it is taken after each batch of entries.
    pub fn view(&self) -> Arc<KvView> {
        Arc::new(KvView {
            view: self.state.view(),
            keys: self.keys,
            blocks: self.counts.blocks().clone(),
            leases: self.leases.clone(),
            fences: self.fences.clone(),
            alarms: self.alarms.clone(),
            tables: self.tables.view(),
            meta: self.meta.clone(),
            tally: self.tally,
        })
    }

    /// Gives the machine the state that it had given back. Machines of several shards share one so, each of them below a prefix
    /// of its own; whichever works has it.
    pub fn lend(&mut self, state: Box<dyn State>) {
        self.state = Lent(Some(state));
    }

    /// Takes the state away: until it is lent again, the machine can be asked for its numbers alone.
    pub fn give_back(&mut self) -> Box<dyn State> {
        self.state.0.take().expect(LENT)
    }

    /// Cuts the state: the job makes a checkpoint that holds exactly what was applied so far.
    pub fn seal(&mut self) -> StateResult<Box<dyn CheckpointJob>> {
        self.save();
        self.cut()
    }

    /// Cuts the state, which may be of more shards than this: each machine must have saved its numbers before.
    pub fn cut(&mut self) -> StateResult<Box<dyn CheckpointJob>> {
        self.state.seal()
    }

    /// Writes the machine's numbers into the state, as a cut needs them.
    pub fn save(&mut self) {
        self.tables.save(&mut *self.state);
        self.counts.save(&mut *self.state, self.keys);
        let meta = Meta { applied: self.mark(), ..self.meta.clone() };
        self.state.put(self.keys.raw(&mut self.key_buf, table::META, b""), &meta.encode());
        let pointer = pointer(self.shard);
        self.state.put(&pointer, &self.incarnation.to_le_bytes());
    }

    /// Sums up what is counted in memory alone, so that a view taken now has it. To be called behind each batch of entries.
    pub fn settle(&mut self) {
        self.tables.settle(&mut *self.state);
    }

    /// Lets go of everything: nothing is in force from here on, and [`Kv::compact_step`] sweeps away what was. To be done
    /// with a shard that is dropped.
    pub fn dissolve(&mut self) -> StateResult<()> {
        let fallow = self.highest.saturating_add(1);
        self.purges.push(Purge::new(self.incarnation));
        self.state.delete(&pointer(self.shard));
        (self.incarnation, self.highest) = (fallow, fallow);
        self.keys = Keys::new(self.shard, fallow);
        self.meta = Meta::new();
        (self.counts, self.leases) = (Counts::new(), Leases::default());
        (self.fences, self.alarms) = (Fences::default(), Alarms::default());
        self.tables = Tables::open(&self.keys.tables(), &Written(&*self.state))?;
        (self.recent, self.incoming, self.freed) = (Recent::new(RECENT_BYTES), None, Rev::NONE);
        Ok(())
    }

    /// The shards of which anything is in a state.
    pub fn shards_in(state: &dyn State) -> StateResult<Vec<ShardId>> {
        let (mut found, mut next) = (Vec::new(), Some(0_u32));
        while let Some(shard) = next {
            let from = Keys::new(ShardId(shard), 0).prefix().to_vec();
            let Some(pair) = state.scan((Bound::Included(&from[..]), Bound::Unbounded)).next() else { break };
            let (key, _) = pair?;
            let shard = key.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
            let shard = shard.ok_or_else(|| damaged("a key of the store"))?;
            found.push(ShardId(shard));
            next = shard.checked_add(1);
        }
        Ok(found)
    }

    /// Where tables lie that have shards of their own, as this machine has it.
    pub fn placement(&self) -> &Arc<crate::table::Placement> {
        self.tables.placement()
    }

    /// Bytes written since the last cut.
    pub fn unsealed_bytes(&self) -> u64 {
        self.state.unsealed_bytes()
    }

    #[cfg(test)]
    pub(crate) fn rows_of_tables(&self) -> usize {
        let (from, to) = (self.keys.tables(), self.keys.raw(&mut Vec::new(), table::END, b"").to_vec());
        self.state.scan((Bound::Included(&from), Bound::Excluded(&to))).count()
    }

    /// The store's own background work, for another thread.
    pub fn upkeep(&self) -> Option<Box<dyn Upkeep>> {
        self.state.upkeep()
    }

    /// Whether the state's background has not kept up: the sweep had better wait, see [`State::behind`].
    pub fn behind(&self) -> bool {
        self.state.behind()
    }
}

/// The key of the pair that says which incarnation is in force.
fn pointer(shard: ShardId) -> Vec<u8> {
    let mut key = Vec::with_capacity(PREFIX + 1);
    Keys::new(shard, 0).start(&mut key, table::POINTER);
    key
}

fn pointed_to(source: &dyn Source, shard: ShardId) -> StateResult<Option<u32>> {
    let Some(stored) = source.get(&pointer(shard))? else { return Ok(None) };
    let bytes = stored.as_ref().try_into().map_err(|_| damaged("the pointer to the incarnation in force"))?;
    match u32::from_le_bytes(bytes) {
        0 => Err(damaged("the pointer to the incarnation in force")),
        incarnation => Ok(Some(incarnation)),
    }
}

/// The range of all keys of one incarnation.
fn all_of(keys: Keys, after: Option<&[u8]>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let mut from = keys.prefix().to_vec();
    let mut to = from.clone();
    to.extend([0xff]);
    if let Some(after) = after {
        from = after.to_vec();
    }
    (Bound::Excluded(from), Bound::Excluded(to))
}
