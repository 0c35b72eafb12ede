//! What a node may have forgotten as it began, and until when each start must be told of a lost disk.
//!
//! A group that was on the lost disk begins as one that has forgotten what it promised. So a start must know of the loss as long as such
//! a group may still come: until shard 1 has healed, all groups have begun that its log told of by then, and a checkpoint is recorded
//! that knows so much, since it is that which a start reads. (Two seeds of the simulator, with members that come and go. 13: shard 1 had
//! healed, the node started again, and a group began that had forgotten its votes and did not know. 198: it did so at a start from an older checkpoint,
//! by which the node still had that shard.)

use quorate_base::Index;

/// What this node may have forgotten, as it began.
#[derive(Clone, Copy, Default, Debug)]
pub struct Doubts {
    /// All of it: its disk is lost.
    pub disk_lost: bool,
    /// What it knew of shards that were made up to here in shard 1's log; 0 if nothing.
    pub upto: Index,
}

/// What is left of these doubts.
#[derive(Default)]
pub(super) struct Lost {
    doubts: Doubts,
    /// Shard 1 has healed, and its log went to here.
    healed: Option<Index>,
    /// Up to here in it the newest checkpoint knows that this life has recorded.
    recorded: Index,
    /// One that knows more is asked for.
    sealing: bool,
}

impl Lost {
    pub(super) fn new(doubts: Doubts) -> Self {
        Self { doubts, ..Self::default() }
    }

    pub(super) fn doubts(&self) -> Doubts {
        self.doubts
    }

    /// Whether a group that begins may have been on a disk that is lost.
    pub(super) fn has_disk(&self) -> bool {
        self.doubts.disk_lost
    }

    /// A checkpoint is recorded that knows of shard 1 up to here.
    pub(super) fn recorded(&mut self, upto: Index) {
        self.recorded = upto;
        self.sealing = false;
    }

    /// Shard 1 is healed: its log goes to `last`, its readable state to `applied`, and all groups have begun or not that this tells of.
    /// True if a checkpoint is to be recorded: once, until one is.
    #[must_use]
    pub(super) fn heal(&mut self, last: Index, applied: Index, begun_all: bool) -> bool {
        let upto = *self.healed.get_or_insert(last);
        if applied < upto || !begun_all {
            return false;
        }
        if self.recorded >= upto {
            self.doubts.disk_lost = false;
            return false;
        }
        !std::mem::replace(&mut self.sealing, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Lost {
        Lost::new(Doubts { disk_lost: true, upto: Index(0) })
    }

    #[test]
    fn a_loss_is_told_until_a_checkpoint_knows_of_all_groups_that_shard_1_told_of_as_it_healed() {
        let mut lost = lost();
        lost.recorded(Index(4));
        assert!(!lost.heal(Index(9), Index(7), true), "its state is not there yet");
        assert!(!lost.heal(Index(12), Index(9), false), "a group is still to begin");
        assert!(lost.has_disk());
        assert!(lost.heal(Index(12), Index(10), true), "a start would read the checkpoint at 4");
        assert!(!lost.heal(Index(12), Index(11), true), "it is asked for once");
        assert!(lost.has_disk());
        lost.recorded(Index(8));
        assert!(
            lost.heal(Index(12), Index(12), true),
            "one that had begun before does not know what shard 1 told at 9"
        );
        assert!(lost.has_disk());
        lost.recorded(Index(9));
        assert!(!lost.heal(Index(12), Index(12), true));
        assert!(!lost.has_disk(), "what came behind 9 was never on the lost disk");
    }

    #[test]
    fn no_checkpoint_is_asked_for_where_one_knows_enough() {
        let mut lost = lost();
        lost.recorded(Index(9));
        assert!(!lost.heal(Index(9), Index(9), true));
        assert!(!lost.has_disk());
    }
}
