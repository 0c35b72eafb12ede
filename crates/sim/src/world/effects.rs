//! What a node's threads do besides the lane's, each in its own time: the journal's flushes, the machine, checkpoints, reads.

use super::{Happening, World};
use crate::harmless::Harmless;
use quorate_base::time::Duration;
use quorate_node::applier::{Output, Work};
use quorate_node::lane::{Event, Seal};
use quorate_storage::journal::CheckpointMark;

impl World {
    /// The flush that was under way returns.
    pub(super) fn flushed(&mut self, at: usize) {
        let (id, twice) = (self.places[at].id, self.changed(Harmless::FlushTwice));
        let failed = self.places[at].disk.fired().failed_syncs;
        let Some(r) = self.places[at].running.as_mut() else { return };
        r.flushing = false;
        let mut proofs = r.journal.sync();
        if twice && let Ok(first) = &mut proofs {
            match r.journal.sync() {
                Ok(more) => first.extend(more),
                Err(error) => proofs = Err(error),
            }
        }
        // A snapshot has taken the place of a log that went further, and that log still lies on the disk.
        let (marks, behind) = (!r.marking.is_empty(), r.is_behind());
        if self.places[at].disk.fired().failed_syncs > failed {
            self.doubt(id);
        }
        match proofs {
            Ok(_) if marks && self.power_goes_at_mark(id, behind) => {
                return self.power_loss(id);
            }
            Ok(proofs) => {
                let Some(r) = self.places[at].running.as_mut() else { return };
                let marks = std::mem::take(&mut r.marking);
                if let Err(error) = marks.iter().try_for_each(|(_, cut)| cut.forget_in(&mut r.journal)) {
                    return self.break_down(at, format!("journal: {error}"));
                }
                self.deliver(id, Event::Journaled(proofs));
                for (_, cut) in marks {
                    self.deliver(id, Event::Checkpointed(cut));
                    if let Some(r) = self.places[at].running.as_mut() {
                        r.work.push_back(Work::Checkpointed);
                    }
                }
            }
            Err(error) => return self.break_down(at, format!("flush: {error}")),
        }
        self.start_flush(at);
        self.start_apply(at);
        self.settle(at);
    }

    pub(super) fn apply(&mut self, at: usize) {
        if let Some(wait) = self.machine_waits(at) {
            let (id, life) = (self.places[at].id, self.places[at].life);
            return self.push(self.now + wait, Happening::Apply { node: id, life });
        }
        self.touch(at);
        let Some(r) = self.places[at].running.as_mut() else { return };
        r.applying = false;
        let Some(work) = r.work.pop_front() else { return };
        r.sweeping |= matches!(work, Work::Apply { .. } | Work::Settle(_));
        let mut outputs = Vec::new();
        if let Err(error) = r.applier.work(work, &mut outputs) {
            return self.break_down(at, format!("apply: {error}"));
        }
        let id = self.places[at].id;
        for output in outputs {
            match output {
                Output::Sealed { job, generation, cut } => {
                    let life = self.places[at].life;
                    if let Some(r) = self.places[at].running.as_mut() {
                        r.seals.push_back(Seal { job, generation, cut });
                    }
                    let after = self.up_to(Duration::from_millis(20));
                    self.push(self.now + after, Happening::Sealed { node: id, life });
                }
                Output::Upkept { more } => {
                    if let Some(r) = self.places[at].running.as_mut() {
                        r.sweeping = more;
                    }
                }
                output => self.deliver(id, Event::Output(output)),
            }
        }
        self.start_apply(at);
        self.settle(at);
    }

    pub(super) fn sealed(&mut self, at: usize) {
        let Some(r) = self.places[at].running.as_mut() else { return };
        let Some(Seal { job, generation, cut }) = r.seals.pop_front() else { return };
        match job.run(generation) {
            Ok(()) => r.marks.push((generation, cut)),
            Err(error) => return self.break_down(at, format!("checkpoint: {error}")),
        }
        self.counts.add("checkpoints");
        self.start_flush(at);
    }

    pub(super) fn start_flush(&mut self, at: usize) {
        let Some(r) = self.places[at].running.as_mut() else { return };
        if r.flushing || (r.to_write.is_empty() && r.marks.is_empty()) {
            return;
        }
        if r.rewrites() {
            self.rewrites(at);
        }
        let Some(r) = self.places[at].running.as_mut() else { return };
        let mut result = Ok(());
        if !r.to_write.is_empty() {
            result = r.journal.append(&std::mem::take(&mut r.to_write));
        }
        for (generation, cut) in std::mem::take(&mut r.marks) {
            let mark = CheckpointMark { generation, bases: cut.bases.clone() };
            result = result.and_then(|()| r.journal.mark_checkpoint(mark));
            r.marking.push((generation, cut));
        }
        if let Err(error) = result {
            return self.break_down(at, format!("journal: {error}"));
        }
        r.flushing = true;
        let (id, life) = (self.places[at].id, self.places[at].life);
        let after = self.up_to(self.knobs.flush_max) + self.places[at].gray;
        self.push(self.now + after, Happening::Flushed { node: id, life });
    }

    pub(super) fn start_apply(&mut self, at: usize) {
        let Some(r) = self.places[at].running.as_mut() else { return };
        let sweeps = r.work.is_empty() && r.sweeping;
        if r.applying || (r.work.is_empty() && !sweeps) {
            return;
        }
        r.applying = true;
        if sweeps {
            r.work.push_back(Work::Upkeep);
        }
        let (id, life) = (self.places[at].id, self.places[at].life);
        // As on real nodes: upkeep only where nothing else waits, a bounded step at a time.
        let after = if sweeps {
            Duration::from_nanos(10_000 + self.sweeping.below(20_000_000))
        } else {
            let most = if self.changed(Harmless::LateApply) { 20_000 } else { 300 };
            self.up_to(Duration::from_micros(most))
        };
        self.push(self.now + after, Happening::Apply { node: id, life });
    }

    /// Each read takes its own time, as if there were a thread for each.
    pub(super) fn start_reads(&mut self, at: usize) {
        let (node, life) = (self.places[at].id, self.places[at].life);
        let Some(r) = self.places[at].running.as_mut() else { return };
        let (reads, catch_ups) =
            (std::mem::take(&mut r.effects.reads), std::mem::take(&mut r.effects.catch_ups));
        self.counts.times("large reads", reads.len() as u64);
        self.counts.times("batches of history", catch_ups.len() as u64);
        for reading in reads {
            let at = self.now + self.reading_time(self.knobs.read_max);
            self.push(at, Happening::Read { node, life, reading: Box::new(reading) });
        }
        for catch_up in catch_ups {
            // A batch is bounded, a read is not.
            let at = self.now + self.reading_time(self.knobs.read_max.min(Duration::from_millis(30)));
            self.push(at, Happening::CatchUp { node, life, catch_up: Box::new(catch_up) });
        }
    }

    fn reading_time(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(10_000 + self.reading.below(most.as_nanos() as u64))
    }
}
