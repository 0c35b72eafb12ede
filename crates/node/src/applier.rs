//! The applier: the one place where the machines of a node's shards run.
//!
//! It is driven by ordered [`Work`] and answers with ordered [`Output`]; whether it runs on a thread of its own or inside
//! the simulator's loop is the driver's affair. Results depend on the log alone, never on when the work arrived.
//!
//! Besides applying entries it decides when to checkpoint (by bytes written since the last cut) and takes snapshots in.
//! A checkpoint counts only once the journal records it, so its life is: [`Output::Sealed`] -> the driver runs the job
//! and has the journal record it -> [`Work::Checkpointed`].
//!
//! All machines keep what they have in one state, so a checkpoint is one of all of them, and its cut names how far each had come:
//! also of those that have done nothing since the last one, or the journal would keep their old entries for ever. What a machine
//! that rests has made readable is read anew with each cut, since an old view holds on to what was in memory then.
//!
//! A machine whose state was lost has nothing until a snapshot came. A cut that falls in between names what its log begins behind,
//! as the cuts before did: the next start finds that the state of this shard alone is missing.

use quorate_base::{Base, Entry, EntryId, EntryKind, Index, NodeId, ShardId};
use quorate_protocol::commit::Command as Step;
use quorate_state::kv::{Events, Kv, KvView, LeaseChange};
use quorate_storage::journal::{Journal, JournalError};
use quorate_storage::state::{CheckpointJob, StateResult};
use quorate_wire::command;
use quorate_wire::kv::{Command, Op, Refused, Reply, Revision};
use quorate_wire::members::{self, Asked};
use quorate_wire::table::What;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// What the applier is asked to do, in order.
#[derive(Debug)]
pub enum Work {
    /// Apply these committed entries, consecutive from the applied index on.
    Apply {
        /// Whose they are.
        shard: ShardId,
        /// The entries.
        entries: Vec<Entry>,
    },
    /// Take in one chunk of a snapshot whose last entry is `base.id`; `seq` counts from 0.
    Import {
        /// Of which shard.
        shard: ShardId,
        /// What the snapshot holds.
        base: Base,
        /// Its place in the stream.
        seq: u64,
        /// The bytes.
        data: bytes::Bytes,
        /// Nothing follows.
        last: bool,
    },
    /// The journal has recorded the checkpoint that [`Output::Sealed`] asked for.
    Checkpointed,
    /// The checkpoint that [`Output::Sealed`] asked for could not be made, for want of room: another may be asked for.
    SealFailed,
    /// Say by this number when no background work is left.
    Settle(u64),
    /// Do a bounded piece of background work, if there is any.
    Upkeep,
    /// Make a checkpoint now, whatever was written.
    Seal,
    /// Begin the machine of a shard that is new here, with a group of these members. It may be used once [`Cut::opened`] says so.
    Open {
        /// Which.
        shard: ShardId,
        /// The first configuration, encoded.
        founders: bytes::Bytes,
    },
    /// Let go of a shard, and of all that it has.
    Close {
        /// Which.
        shard: ShardId,
    },
}

/// More entries, bytes of one, or keys that it touches, are not few.
const FEW_ENTRIES: usize = 2;
const FEW_BYTES: usize = 64 << 10;
const FEW_KEYS: usize = 8;

impl Work {
    /// Whether it is done in a moment: a few entries which name the few keys that they touch. A range, or what ends leases, may touch all.
    pub fn is_small(&self) -> bool {
        match self {
            Self::Apply { entries, .. } => entries.len() <= FEW_ENTRIES && entries.iter().all(touches_few),
            _ => false,
        }
    }
}

fn touches_few(entry: &Entry) -> bool {
    if entry.kind != EntryKind::Command || entry.data.len() > FEW_BYTES {
        return false;
    }
    let Ok(decoded) = command::decode(&entry.data) else { return false };
    let one = |op: &Op| match op {
        Op::Put(_) => true,
        Op::Range(range) => range.range.end.is_empty(),
        Op::Delete(delete) => delete.range.end.is_empty(),
        Op::Txn(_) => false,
    };
    match &decoded.command {
        Command::Put(_) => true,
        Command::Delete(delete) => delete.range.end.is_empty(),
        Command::Txn(txn) => {
            let ops = || txn.success.iter().chain(&txn.failure);
            let compares = txn.compare.iter().all(|compare| compare.range.end.is_empty());
            compares && txn.compare.len() + ops().count() <= FEW_KEYS && ops().all(one)
        }
        Command::Table(command) => match &command.what {
            What::Execute(execute) => execute.ops.len() <= FEW_KEYS,
            What::Outcomes(ids) => ids.len() <= FEW_KEYS,
            What::Commit(step) => match step {
                Step::Prepare(asked) => asked.ops.ops.len() <= FEW_KEYS,
                // What it writes was worked out by its Prepare, and is bounded by that.
                Step::Refuse { .. } | Step::Outcome { .. } => true,
                _ => false,
            },
            _ => false,
        },
        _ => false,
    }
}

/// What comes back, in order.
pub enum Output {
    /// A batch of entries was applied.
    Applied(Applied),
    /// A chunk was stored.
    Imported {
        /// Of which shard.
        shard: ShardId,
        /// Of which snapshot.
        base: Base,
        /// Which chunk.
        seq: u64,
        /// What was readable before and still is, as of now: no older view need stay.
        view: Arc<KvView>,
    },
    /// A chunk could not be taken in: the snapshot must start again.
    ImportFailed {
        /// Of which shard.
        shard: ShardId,
        /// Of which snapshot.
        base: Base,
        /// In words.
        reason: String,
    },
    /// A cut was made; run the job as checkpoint `generation`, then let the journal record it with the bases of the cut.
    Sealed {
        /// The work, for another thread.
        job: Box<dyn CheckpointJob>,
        /// Its number.
        generation: u64,
        /// What it holds.
        cut: Cut,
    },
    /// All background work is done for now, which [`Work::Settle`] may have asked to hear.
    Settled {
        /// By these numbers; perhaps none.
        numbers: Vec<u64>,
        /// Something was swept.
        swept: bool,
        /// What was readable before and still is, without what was swept: no older view need hold on to that.
        views: Vec<(ShardId, Arc<KvView>)>,
    },
    /// What was readable of these shards, and still is, as of now: no older view need stay.
    Renewed(Vec<(ShardId, Arc<KvView>)>),
    /// [`Work::Upkeep`] is through; `more` if it should be asked again.
    Upkept {
        /// There is more to do.
        more: bool,
    },
}

/// What a checkpoint holds.
#[derive(Default)]
pub struct Cut {
    /// The last entry of each shard whose effects are in it, with the configuration there.
    pub bases: Vec<(ShardId, Base)>,
    /// It completes the taking in of snapshots: of which shards, and what is readable of them now.
    pub installed: Vec<(ShardId, Arc<KvView>)>,
    /// Machines that began, and what is readable of them: with the record of this checkpoint it is durable that they are here.
    pub opened: Vec<(ShardId, Arc<KvView>)>,
    /// Shards whose replica was let go of: once this checkpoint is recorded, no start looks for anything of it.
    pub closed: BTreeSet<ShardId>,
    /// Those of them that are no more at all.
    pub dropped: BTreeSet<ShardId>,
}

impl Cut {
    /// It is recorded: the journal need not keep any more what it has of replicas that were let go of.
    pub fn forget_in(&self, journal: &mut Journal) -> Result<(), JournalError> {
        journal.forget(|shard| self.closed.contains(&shard), |shard| self.dropped.contains(&shard))
    }
}

/// The effects of a batch of entries.
pub struct Applied {
    /// Whose entries.
    pub shard: ShardId,
    /// The last entry of the batch.
    pub last: EntryId,
    /// Outcomes of the commands that this node proposed.
    pub outcomes: Vec<Outcome>,
    /// What changed, for the watches.
    pub events: Events,
    /// What changed, for the lessor.
    pub leases: Vec<LeaseChange>,
    /// Changes of members that were asked for here and are in force.
    pub members: Vec<Asked>,
    /// A configuration was among the entries.
    pub reconfigured: bool,
    /// What is readable now.
    pub view: Arc<KvView>,
}

impl Applied {
    /// Whether it concerns more than those who wait for reads or watch: who asked for something here, leases, members.
    pub fn concerns_more(&self) -> bool {
        let asked = !self.outcomes.is_empty() || !self.members.is_empty();
        asked || self.reconfigured || !self.leases.is_empty()
    }
}

/// The outcome of one command.
pub struct Outcome {
    /// The request that proposed it.
    pub request: u64,
    /// What the machine says.
    pub result: Result<Reply, Refused>,
    /// The space's revision then.
    pub revision: Revision,
}

/// Whether a shard's state is lost, so that it must come from the peers.
pub enum Lost {
    /// It is there.
    No,
    /// It is lost, and its log begins behind this.
    Behind(Base),
    /// It is lost, and so is what its log begins behind.
    Wholly,
}

/// Runs the machines of a node's shards, over one state.
pub struct Applier {
    /// The machine that has the state: the one that worked last.
    current: Box<Kv>,
    /// The key-value space.
    first: ShardId,
    /// All machines; nothing is in the place of that one, so that going from one to the other moves no other.
    machines: BTreeMap<ShardId, Option<Box<Kv>>>,
    node: NodeId,
    seal_bytes: u64,
    next_generation: u64,
    sealing: bool,
    /// Something was applied or taken in, in this life or before.
    begun: bool,
    /// What the last cut does not hold all of.
    changed: BTreeSet<ShardId>,
    /// What the logs begin behind whose state is lost, where that is known.
    lost: BTreeMap<ShardId, Option<Base>>,
    /// Snapshots that come in, with the chunk that is due.
    importing: BTreeMap<ShardId, (EntryId, u64)>,
    /// Snapshots that are complete but for their checkpoint, which waits for one under way.
    installing: BTreeSet<ShardId>,
    /// Machines that began, and whose checkpoint is still to be made.
    opening: BTreeSet<ShardId>,
    /// The same, whose checkpoint is under way.
    cutting: BTreeSet<ShardId>,
    /// Machines of shards that are let go, until they are swept away.
    closing: BTreeSet<ShardId>,
    /// Those of them that are to begin again then, with their first members.
    reopening: BTreeMap<ShardId, bytes::Bytes>,
    /// Shards whose replica was let go of since the last cut.
    closed: BTreeSet<ShardId>,
    /// The same, told by the checkpoint under way.
    telling: BTreeSet<ShardId>,
    /// Snapshots that were taken in, and whose checkpoint is not recorded yet: nobody may read them before.
    unrecorded: BTreeSet<ShardId>,
    /// What there may be something of to sweep away, and whose turn was last.
    unswept: BTreeSet<ShardId>,
    last_swept: ShardId,
    /// The background work was done for now when it was last looked at.
    idle: bool,
    want_seal: bool,
    settling: Vec<u64>,
    /// Something was swept since the last time that nothing was left.
    swept: bool,
}

/// Bytes written since the last cut that bring the next one.
pub const SEAL_BYTES: u64 = 32 << 20;
/// How many keys of background compaction one step may touch: what comes meanwhile waits for it, for half a millisecond or so.
const COMPACT_BUDGET: usize = 64;

impl Applier {
    /// Runs `kv`, which has the state, for `node`; `generation` is that of the newest recorded checkpoint, or 0.
    pub fn new(kv: Kv, lost: Lost, node: NodeId, generation: u64, seal_bytes: u64) -> Self {
        let shard = kv.shard();
        let mut applier = Self {
            first: shard,
            machines: BTreeMap::from([(shard, None)]),
            node,
            seal_bytes,
            next_generation: generation + 1,
            sealing: false,
            begun: kv.applied() != EntryId::ZERO,
            changed: BTreeSet::new(),
            lost: BTreeMap::new(),
            importing: BTreeMap::new(),
            installing: BTreeSet::new(),
            opening: BTreeSet::new(),
            cutting: BTreeSet::new(),
            closing: BTreeSet::new(),
            reopening: BTreeMap::new(),
            closed: BTreeSet::new(),
            telling: BTreeSet::new(),
            unrecorded: BTreeSet::new(),
            unswept: BTreeSet::from([kv.shard()]),
            last_swept: kv.shard(),
            idle: false,
            want_seal: false,
            settling: Vec::new(),
            swept: false,
            current: Box::new(kv),
        };
        applier.note_lost(shard, lost);
        applier
    }

    /// Adds the machine of another shard, which was opened over the same state and has given it back.
    pub fn add(&mut self, kv: Kv, lost: Lost) {
        let shard = kv.shard();
        self.note_lost(shard, lost);
        self.begun |= kv.applied() != EntryId::ZERO;
        self.unswept.insert(shard);
        let there = self.machines.insert(shard, Some(Box::new(kv)));
        assert!(there.is_none(), "the machine of shard {shard} is there");
    }

    /// Adds what is left of a shard that was dropped, and is to be swept away.
    pub fn bury(&mut self, kv: Kv) {
        let shard = kv.shard();
        self.unswept.insert(shard);
        self.closing.insert(shard);
        // The journal may have it still.
        self.closed.insert(shard);
        self.machines.insert(shard, Some(Box::new(kv)));
    }

    fn note_lost(&mut self, shard: ShardId, lost: Lost) {
        match lost {
            Lost::No => {}
            Lost::Behind(base) => drop(self.lost.insert(shard, Some(base))),
            Lost::Wholly => drop(self.lost.insert(shard, None)),
        }
    }

    /// The machine of a shard, for its numbers: only the one that worked last can read.
    pub fn kv(&self, shard: ShardId) -> Option<&Kv> {
        if self.current.shard() == shard {
            Some(&self.current)
        } else {
            self.machines.get(&shard)?.as_deref()
        }
    }

    /// Whether the state's background has not kept up: sweeps had better wait, see [`Kv::behind`].
    pub fn behind(&self) -> bool {
        self.current.behind()
    }

    /// Does one piece of work. After an error the applier must not be used again.
    pub fn work(&mut self, work: Work, out: &mut Vec<Output>) -> StateResult<()> {
        match work {
            Work::Apply { shard, entries } => {
                if !self.closing.contains(&shard) && self.turn_to(shard) {
                    self.apply(shard, &entries, out)?;
                }
            }
            Work::Import { shard, base, seq, data, last } => {
                if !self.closing.contains(&shard) && self.turn_to(shard) {
                    self.import(shard, base, (seq, &data, last), out)?;
                }
            }
            Work::Checkpointed => {
                self.sealing = false;
                self.cutting.clear();
                self.telling.clear();
                // One under way before the snapshot was complete is not the snapshot's.
                self.unrecorded.retain(|shard| self.installing.contains(shard));
                self.settle(out);
            }
            Work::SealFailed => {
                self.sealing = false;
                // What began waits for the next one.
                self.opening.append(&mut self.cutting);
                self.closed.append(&mut self.telling);
                self.opening.retain(|shard| !self.closing.contains(shard));
            }
            Work::Upkeep => self.sweep(out)?,
            Work::Settle(number) => {
                self.idle = false;
                self.settling.push(number);
            }
            Work::Seal => self.want_seal = true,
            Work::Open { shard, founders } => self.open(shard, &founders)?,
            Work::Close { shard } => self.close(shard)?,
        }
        self.seal_if_due(out)
    }

    /// Gives the state to the machine of a shard; false if there is none.
    fn turn_to(&mut self, shard: ShardId) -> bool {
        if self.current.shard() == shard {
            return true;
        }
        let Some(mut next) = self.machines.get_mut(&shard).and_then(Option::take) else { return false };
        next.lend(self.current.give_back());
        let before = std::mem::replace(&mut self.current, next);
        self.machines.insert(before.shard(), Some(before));
        true
    }

    /// Of all machines that are to stay, in the order of their shards.
    fn all(&self) -> BTreeMap<ShardId, &Kv> {
        let others = self.machines.iter().filter_map(|(&shard, kv)| Some((shard, kv.as_deref()?)));
        let all = others.chain([(self.current.shard(), &*self.current)]);
        all.filter(|(shard, _)| !self.closing.contains(shard)).collect()
    }

    fn open(&mut self, shard: ShardId, founders: &bytes::Bytes) -> StateResult<()> {
        if self.closing.contains(&shard) {
            self.reopening.insert(shard, founders.clone());
            return Ok(());
        }
        if self.machines.contains_key(&shard) {
            return Ok(());
        }
        let mut kv = Kv::open(shard, self.current.give_back())?;
        kv.begin(founders);
        let before = std::mem::replace(&mut self.current, Box::new(kv));
        self.machines.insert(before.shard(), Some(before));
        self.machines.insert(shard, None);
        self.changed.insert(shard);
        self.opening.insert(shard);
        Ok(())
    }

    /// What a shard has is swept away bit by bit; from the next checkpoint on the journal knows it no more.
    fn close(&mut self, shard: ShardId) -> StateResult<()> {
        self.reopening.remove(&shard);
        if shard == self.first || self.closing.contains(&shard) || !self.turn_to(shard) {
            return Ok(());
        }
        self.current.dissolve()?;
        for of in [
            &mut self.changed,
            &mut self.opening,
            &mut self.cutting,
            &mut self.installing,
            &mut self.unrecorded,
        ] {
            of.remove(&shard);
        }
        self.importing.remove(&shard);
        self.lost.remove(&shard);
        self.closing.insert(shard);
        self.closed.insert(shard);
        self.unswept.insert(shard);
        self.want_seal = true;
        Ok(())
    }

    fn views(&mut self, of: impl IntoIterator<Item = ShardId>) -> Vec<(ShardId, Arc<KvView>)> {
        let view = |shard| self.turn_to(shard).then(|| (shard, self.current.view()));
        of.into_iter().filter_map(view).collect()
    }

    /// A bounded piece of background work, of one shard after the other.
    fn sweep(&mut self, out: &mut Vec<Output>) -> StateResult<()> {
        let next = self.unswept.range((Bound::Excluded(self.last_swept), Bound::Unbounded)).next();
        if let Some(&shard) = next.or(self.unswept.first())
            && self.turn_to(shard)
        {
            self.last_swept = shard;
            if self.current.compact_step(COMPACT_BUDGET)? {
                self.swept = true;
            } else {
                self.unswept.remove(&shard);
                if self.closing.remove(&shard) {
                    // It is here no more.
                    self.turn_to(self.first);
                    self.machines.remove(&shard);
                    if let Some(founders) = self.reopening.remove(&shard) {
                        self.open(shard, &founders)?;
                    }
                }
            }
            if self.current.applied() != EntryId::ZERO {
                // How far it has come is one of its numbers.
                self.changed.insert(self.current.shard());
            }
        }
        let more = !self.unswept.is_empty();
        self.idle = !more;
        self.settle(out);
        out.push(Output::Upkept { more });
        Ok(())
    }

    /// Says that no background work is left, if there was any or somebody asked. The views that go with it are of what could be
    /// read before, so a snapshot must be recorded first.
    fn settle(&mut self, out: &mut Vec<Output>) {
        let nobody_waits = !self.swept && self.settling.is_empty();
        if !self.unrecorded.is_empty() || !self.idle || nobody_waits {
            return;
        }
        let (numbers, swept) = (std::mem::take(&mut self.settling), std::mem::take(&mut self.swept));
        let shards: Vec<ShardId> = self.all().into_keys().collect();
        out.push(Output::Settled { numbers, swept, views: self.views(shards) });
    }

    fn apply(&mut self, shard: ShardId, entries: &[Entry], out: &mut Vec<Output>) -> StateResult<()> {
        let kv = &mut *self.current;
        let mut outcomes = Vec::new();
        let mut events = Events::default();
        let (mut leases, mut changes) = (Vec::new(), Vec::new());
        // What a snapshot that was just taken in covers already comes once more.
        let from = kv.applied().index;
        for entry in entries.iter().filter(|e| e.id.index > from) {
            let applied = kv.apply(entry)?;
            if applied.origin == self.node {
                outcomes.push(Outcome {
                    request: applied.request,
                    result: applied.outcome,
                    revision: applied.revision,
                });
            }
            let asked = members::answered(entry.kind, &entry.data);
            changes.extend(asked.filter(|asked| asked.origin == self.node));
            events.append(applied.events);
            leases.extend(applied.leases);
        }
        if kv.applied().index > from {
            kv.settle();
            let (last, view) = (kv.applied(), kv.view());
            self.note_change(shard);
            let reconfigured = entries.iter().any(|entry| entry.kind == EntryKind::Membership);
            let applied =
                Applied { shard, last, outcomes, events, leases, members: changes, reconfigured, view };
            out.push(Output::Applied(applied));
        }
        Ok(())
    }

    fn note_change(&mut self, shard: ShardId) {
        self.begun = true;
        self.changed.insert(shard);
        if self.current.is_to_compact() {
            self.unswept.insert(shard);
        }
    }

    /// Whether [`Work::Upkeep`] has anything to do.
    pub fn has_upkeep(&self) -> bool {
        !self.unswept.is_empty() || !self.idle
    }

    fn import(
        &mut self,
        shard: ShardId,
        base: Base,
        (seq, data, last): (u64, &bytes::Bytes, bool),
        out: &mut Vec<Output>,
    ) -> StateResult<()> {
        let kv = &mut *self.current;
        if base.id.index <= kv.applied().index {
            let reason = "the state is newer than the snapshot".into();
            out.push(Output::ImportFailed { shard, base, reason });
            return Ok(());
        }
        let expected = match self.importing.get(&shard) {
            Some(&(id, next)) if id == base.id && seq != 0 => next,
            _ => 0,
        };
        if seq != expected {
            let reason = format!("chunk {seq} came, {expected} was due");
            out.push(Output::ImportFailed { shard, base, reason });
            return Ok(());
        }
        // What is given up, or gives way, is swept away.
        self.unswept.insert(shard);
        if seq == 0 {
            kv.import_begin()?;
        }
        if let Err(error) = kv.import_chunk(seq, data) {
            self.importing.remove(&shard);
            out.push(Output::ImportFailed { shard, base, reason: error.to_string() });
            return Ok(());
        }
        self.importing.insert(shard, (base.id, seq + 1));
        out.push(Output::Imported { shard, base: base.clone(), seq, view: kv.view() });
        if last {
            self.importing.remove(&shard);
            if let Err(error) = kv.import_finish(base.clone()) {
                // The last chunk is stored, and the whole is not what was announced: all of it comes again.
                out.push(Output::ImportFailed { shard, base, reason: error.to_string() });
                return Ok(());
            }
            self.lost.remove(&shard);
            self.installing.insert(shard);
            self.unrecorded.insert(shard);
            self.note_change(shard);
        }
        Ok(())
    }

    fn seal_if_due(&mut self, out: &mut Vec<Output>) -> StateResult<()> {
        if self.sealing {
            return Ok(());
        }
        // While all that changes is snapshots that come in, a checkpoint is worth nothing.
        let coming_in =
            |applier: &Self| applier.changed.iter().all(|shard| applier.importing.contains_key(shard));
        let full = self.current.unsealed_bytes() >= self.seal_bytes
            && (self.importing.is_empty() || !coming_in(self));
        // What has applied nothing needs no checkpoint: it is new, or lost its state and must not take that for one.
        if self.installing.is_empty() && self.opening.is_empty() && !(self.begun && (full || self.want_seal))
        {
            return Ok(());
        }
        self.want_seal = false;
        self.seal(out)
    }

    fn seal(&mut self, out: &mut Vec<Output>) -> StateResult<()> {
        for shard in std::mem::take(&mut self.changed) {
            if self.turn_to(shard) {
                self.current.save();
            }
        }
        let base = |(shard, kv): (ShardId, &Kv)| match self.lost.get(&shard) {
            Some(known) => Some((shard, known.clone()?)),
            None => Some((shard, Base { id: kv.mark(), membership: kv.membership().clone() })),
        };
        let bases = self.all().into_iter().filter_map(base).collect();
        let installing = std::mem::take(&mut self.installing);
        let installed = self.views(installing);
        self.cutting = std::mem::take(&mut self.opening);
        let opened = self.views(self.cutting.clone());
        self.telling = std::mem::take(&mut self.closed);
        let closed = self.telling.clone();
        let placement = self.kv(self.first).map(|kv| kv.placement().clone()).unwrap_or_default();
        let dropped = closed.iter().copied().filter(|shard| placement.was_dropped(*shard)).collect();
        let job = self.current.cut()?;
        let generation = self.next_generation;
        self.next_generation += 1;
        self.sealing = true;
        out.push(Output::Sealed { job, generation, cut: Cut { bases, installed, opened, closed, dropped } });
        if self.machines.len() > 1 {
            let readable: Vec<ShardId> =
                self.all().into_keys().filter(|shard| !self.unrecorded.contains(shard)).collect();
            out.push(Output::Renewed(self.views(readable)));
        }
        Ok(())
    }

    /// The index up to which the machine of a shard has applied; 0 if there is none.
    pub fn applied(&self, shard: ShardId) -> Index {
        self.kv(shard).map_or(Index(0), |kv| kv.applied().index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Term;
    use quorate_wire::kv::{DeleteRange, KeyRange, Put, Txn};

    fn applies(commands: &[Command]) -> Work {
        let entry = |(at, command)| Entry {
            id: EntryId { term: Term(1), index: Index(at) },
            kind: EntryKind::Command,
            data: command::encode(NodeId(1), at, command),
        };
        Work::Apply { shard: ShardId(1), entries: (1..).zip(commands).map(entry).collect() }
    }

    /// Claim: what may touch any number of keys is not small, however few entries it is; the lane's thread would be deaf meanwhile.
    #[test]
    fn only_what_names_its_few_keys_is_small() {
        let put = Put { key: "k".into(), ..Put::default() };
        let keys = |end: &'static str| KeyRange { key: "k".into(), end: end.into() };
        let delete = |end| DeleteRange { range: keys(end), prev_kv: false };
        let txn = |ops: Vec<Op>| Command::Txn(Txn { success: ops, ..Txn::default() });
        for small in [
            Command::Put(put.clone()),
            Command::Delete(delete("")),
            txn(vec![Op::Put(put.clone()), Op::Delete(delete(""))]),
        ] {
            assert!(applies(std::slice::from_ref(&small)).is_small(), "{small:?}");
        }
        let many = vec![Op::Put(put.clone()); FEW_KEYS + 1];
        for large in [
            Command::Delete(delete("z")),
            txn(vec![Op::Delete(delete("z"))]),
            txn(many),
            Command::LeaseExpire { grants: Vec::new() },
            Command::Put(Put { value: vec![0; FEW_BYTES + 1].into(), ..put.clone() }),
        ] {
            assert!(!applies(std::slice::from_ref(&large)).is_small());
        }
        assert!(!applies(&vec![Command::Put(put); FEW_ENTRIES + 1]).is_small());
        assert!(!Work::Upkeep.is_small());
    }
}
