//! Compaction, as clients see it: a revision is compacted, reads at old revisions, watches from old revisions.
//!
//! The promise: once a compaction at R was acknowledged, a read below R is refused, and says R or a later compacted revision; a read
//! at R or above says what it said before; a watch from below R is told of the compaction, and one from R on misses nothing. Nobody
//! is refused for a compaction that nobody asked for.

use quorate_base::Rng;
use quorate_wire::kv::Revision;

/// Around the compacted revision most of what can go wrong goes wrong.
const NEAR: u64 = 4;
/// A watcher goes back by so many revisions at most: it must get ahead faster than it goes back.
const BACK: Revision = 100;

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Compacts.
    Compact(Revision),
    /// Reads a key at an old revision.
    Read(Revision),
}

/// The compactions of a run.
pub(crate) struct Compaction {
    rng: Rng,
    /// The highest that was asked for, done or not.
    asked: Revision,
    /// The highest that is known to be done.
    done: Revision,
}

impl Compaction {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::stream(seed, "compaction"), asked: 0, done: 0 }
    }

    /// The highest compacted revision that is known.
    pub(crate) fn done(&self) -> Revision {
        self.done
    }

    /// A client's next step with old revisions, if it is their turn. Up to `acknowledged` all is known to be there.
    pub(crate) fn choose(&mut self, acknowledged: Revision) -> Option<Step> {
        if acknowledged < 2 || !self.rng.chance(1, 8) {
            return None;
        }
        if self.rng.chance(1, 4) && acknowledged > self.done {
            let most = *self.rng.pick(&[1, 10, 100]);
            let back = self.rng.below(most);
            let at = (acknowledged - back as i64).max(self.done + 1);
            self.asked = self.asked.max(at);
            return Some(Step::Compact(at));
        }
        Some(Step::Read(self.old(acknowledged)))
    }

    /// Somebody else asks for a compaction.
    pub(crate) fn asks(&mut self, at: Revision) {
        self.asked = self.asked.max(at);
    }

    /// Where a watcher that holds all up to `next` begins again: mostly there, now and then a little earlier.
    pub(crate) fn begin(&mut self, next: Revision) -> Revision {
        if next < 2 || !self.rng.chance(1, 3) { next } else { self.old(next - 1).max(next - BACK) }
    }

    fn old(&mut self, newest: Revision) -> Revision {
        let at = if self.rng.chance(1, 2) {
            self.done - NEAR as i64 / 2 + self.rng.below(NEAR) as i64
        } else {
            self.done + self.rng.below(1 + (newest - self.done).max(0) as u64) as i64
        };
        // The first revision that anything was written in is the second.
        at.clamp(2, newest.max(2))
    }

    /// It is compacted up to here, by an answer.
    pub(crate) fn compacted(&mut self, at: Revision) {
        self.done = self.done.max(at);
    }

    /// Somebody was told, who wanted `wanted`, that all below `at` is compacted.
    pub(crate) fn refused(&mut self, wanted: Revision, at: Revision) -> Result<(), String> {
        if at > self.asked {
            let asked = self.asked;
            return Err(format!(
                "Compaction: revision {at} is compacted, it says; {asked} is the highest asked for"
            ));
        }
        if wanted >= at {
            return Err(format!(
                "Compaction: revision {wanted} was refused as compacted, though only what is below {at} is"
            ));
        }
        self.compacted(at);
        Ok(())
    }

    /// A read at `at` was answered, for which `done` was known to be compacted when it was asked.
    pub(crate) fn answered(at: Revision, done: Revision) -> Result<(), String> {
        if at >= done {
            return Ok(());
        }
        Err(format!("Compaction: a read at revision {at} was answered, though {done} was compacted before"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where nobody compacts, watchers went back to anywhere in the history, ever further, and had never caught up when all was to be
    /// told (300 s under a steady load, seed 2).
    #[test]
    fn a_watcher_goes_back_less_far_than_it_gets_ahead() {
        let mut compaction = Compaction::new(2);
        let mut next = 1;
        for _ in 0..1_000 {
            let from = compaction.begin(next);
            assert!((next - BACK..=next).contains(&from), "from {next} back to {from}");
            next = from + BACK;
        }
        assert!(next > 50_000, "it got to {next}");
    }
}
