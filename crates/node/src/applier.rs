//! The applier: the one place where a shard's machine runs.
//!
//! It is driven by ordered [`Work`] and answers with ordered [`Output`]; whether it runs on a thread of its own or inside
//! the simulator's loop is the driver's affair. Results depend on the log alone, never on when the work arrived.
//!
//! Besides applying entries it decides when to checkpoint (by bytes written since the last cut) and takes snapshots in.
//! A checkpoint counts only once the journal records it, so its life is: [`Output::Sealed`] -> the driver runs the job
//! and has the journal record it -> [`Work::Checkpointed`].

use quorate_base::{Base, Entry, EntryId, Index, NodeId, ShardId};
use quorate_state::kv::{Kv, KvView, LeaseChange};
use quorate_storage::state::{CheckpointJob, StateResult};
use quorate_wire::kv::{Event, Refused, Reply, Revision};
use quorate_wire::members::{self, Asked};
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
    pub events: Vec<Event>,
    /// What changed, for the lessor.
    pub leases: Vec<LeaseChange>,
    /// Changes of members that were asked for here and are in force.
    pub members: Vec<Asked>,
    /// What is readable now.
    pub view: Arc<KvView>,
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

/// Runs one shard's machine.
pub struct Applier {
    kv: Kv,
    node: NodeId,
    seal_bytes: u64,
    next_generation: u64,
    sealing: bool,
    /// A snapshot that is complete but for its checkpoint, which waits for one under way.
    installing: Option<Base>,
    /// A snapshot was taken in, and its checkpoint is not recorded yet: nobody may read it before.
    unrecorded: bool,
    /// The background work was done for now when it was last looked at.
    idle: bool,
    importing: Option<(EntryId, u64)>,
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
    /// Runs `kv` for `node`; `generation` is that of the newest recorded checkpoint, or 0.
    pub fn new(kv: Kv, node: NodeId, generation: u64, seal_bytes: u64) -> Self {
        Self {
            kv,
            node,
            seal_bytes,
            next_generation: generation + 1,
            sealing: false,
            installing: None,
            unrecorded: false,
            idle: false,
            importing: None,
            want_seal: false,
            settling: Vec::new(),
            swept: false,
        }
    }

    /// The machine.
    pub fn kv(&self) -> &Kv {
        &self.kv
    }

    /// Does one piece of work. After an error the applier must not be used again.
    pub fn work(&mut self, work: Work, out: &mut Vec<Output>) -> StateResult<()> {
        match work {
            Work::Apply { entries, .. } => self.apply(&entries, out)?,
            Work::Import { base, seq, data, last, .. } => self.import(base, seq, &data, last, out)?,
            Work::Checkpointed => {
                self.sealing = false;
                // One under way before the snapshot was complete is not the snapshot's.
                self.unrecorded &= self.installing.is_some();
                self.settle(out);
            }
            Work::SealFailed => self.sealing = false,
            Work::Upkeep => {
                let more = self.kv.compact_step(COMPACT_BUDGET)?;
                self.swept |= more;
                self.idle = !more;
                self.settle(out);
                out.push(Output::Upkept { more });
            }
            Work::Settle(number) => {
                self.idle = false;
                self.settling.push(number);
            }
            Work::Seal => self.want_seal = true,
        }
        self.seal_if_due(out)
    }

    /// Says that no background work is left, if there was any or somebody asked. The view that goes with it is of what could be read
    /// before, so a snapshot must be recorded first.
    fn settle(&mut self, out: &mut Vec<Output>) {
        let nobody_waits = !self.swept && self.settling.is_empty();
        if self.unrecorded || !self.idle || nobody_waits {
            return;
        }
        let (numbers, swept) = (std::mem::take(&mut self.settling), std::mem::take(&mut self.swept));
        let views = vec![(self.kv.shard(), self.kv.view())];
        out.push(Output::Settled { numbers, swept, views });
    }

    fn apply(&mut self, entries: &[Entry], out: &mut Vec<Output>) -> StateResult<()> {
        let mut outcomes = Vec::new();
        let mut events = Vec::new();
        let (mut leases, mut changes) = (Vec::new(), Vec::new());
        // What a snapshot that was just taken in covers already comes once more.
        let from = self.kv.applied().index;
        for entry in entries.iter().filter(|e| e.id.index > from) {
            let applied = self.kv.apply(entry)?;
            if applied.origin == self.node {
                outcomes.push(Outcome {
                    request: applied.request,
                    result: applied.outcome,
                    revision: applied.revision,
                });
            }
            let asked = members::answered(entry.kind, &entry.data);
            changes.extend(asked.filter(|asked| asked.origin == self.node));
            events.extend(applied.events);
            leases.extend(applied.leases);
        }
        if self.kv.applied().index > from {
            self.kv.settle();
            let (last, view) = (self.kv.applied(), self.kv.view());
            let shard = self.kv.shard();
            let applied = Applied { shard, last, outcomes, events, leases, members: changes, view };
            out.push(Output::Applied(applied));
        }
        Ok(())
    }

    fn import(
        &mut self,
        base: Base,
        seq: u64,
        data: &bytes::Bytes,
        last: bool,
        out: &mut Vec<Output>,
    ) -> StateResult<()> {
        let shard = self.kv.shard();
        if base.id.index <= self.kv.applied().index {
            out.push(Output::ImportFailed {
                shard,
                base,
                reason: "the state is newer than the snapshot".into(),
            });
            return Ok(());
        }
        let expected = match self.importing {
            Some((id, next)) if id == base.id && seq != 0 => next,
            _ => 0,
        };
        if seq != expected {
            out.push(Output::ImportFailed {
                shard,
                base,
                reason: format!("chunk {seq} came, {expected} was due"),
            });
            return Ok(());
        }
        if seq == 0 {
            self.kv.import_begin()?;
        }
        if let Err(error) = self.kv.import_chunk(seq, data) {
            self.importing = None;
            out.push(Output::ImportFailed { shard, base, reason: error.to_string() });
            return Ok(());
        }
        self.importing = Some((base.id, seq + 1));
        out.push(Output::Imported { shard, base: base.clone(), seq, view: self.kv.view() });
        if last {
            self.importing = None;
            if let Err(error) = self.kv.import_finish(base.clone()) {
                // The last chunk is stored, and the whole is not what was announced: all of it comes again.
                out.push(Output::ImportFailed { shard, base, reason: error.to_string() });
                return Ok(());
            }
            (self.installing, self.unrecorded) = (Some(base), true);
        }
        Ok(())
    }

    fn seal_if_due(&mut self, out: &mut Vec<Output>) -> StateResult<()> {
        if self.sealing {
            return Ok(());
        }
        let install = self.installing.take();
        let importing = self.importing.is_some();
        // What has applied nothing needs no checkpoint: it is new, or lost its state and must not take that for one.
        let empty = self.kv.applied() == EntryId::ZERO;
        let full = self.kv.unsealed_bytes() >= self.seal_bytes && !importing && !empty;
        if install.is_none() && !full && (!self.want_seal || empty) {
            return Ok(());
        }
        self.want_seal = false;
        let base = Base { id: self.kv.mark(), membership: self.kv.membership().clone() };
        let shard = self.kv.shard();
        let installed = install.map(|_| (shard, self.kv.view())).into_iter().collect();
        let job = self.kv.seal()?;
        let generation = self.next_generation;
        self.next_generation += 1;
        self.sealing = true;
        let cut = Cut { bases: vec![(shard, base)], installed };
        out.push(Output::Sealed { job, generation, cut });
        Ok(())
    }

    /// The index up to which the machine has applied.
    pub fn applied(&self) -> Index {
        self.kv.applied().index
    }
}
