//! What a new life of a gateway does for those before, which left their book open.
//!
//! Nobody else knows which transactions a life began, so nobody else can say that all of them are over. The next life *fences*
//! it in every shard: from then on none of them gives a first vote to a transaction of an earlier life. So what is undecided
//! can only grow less; each is recovered as anyone would recover it. Once no shard has any, all is over everywhere, and every
//! shard may forget the whole life.

use super::recovery::{Question, Recovery};
use super::types::{Answer, TxnId};
use quorate_base::{NodeId, ShardId};
use std::collections::BTreeMap;

/// See the page. No shard that may have taken part may be missing from `shards`.
#[derive(Clone, Debug)]
pub struct Heir {
    node: NodeId,
    boot: u64,
    stages: BTreeMap<ShardId, Stage>,
    recoveries: BTreeMap<TxnId, Recovery>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Stage {
    /// Votes for earlier lives may still be given.
    Open,
    /// They may not; what is left is not known, or not decided.
    Fenced,
    /// Nothing is left, and nothing can come.
    Clean,
    /// It has forgotten.
    Done,
}

/// What an heir sends, to be sent again until it is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Errand {
    /// To give no first vote to a transaction of an earlier life.
    Fence,
    /// Which transactions of earlier lives are undecided.
    Undecided,
    /// To forget all of earlier lives.
    Close,
    /// A question, or an outcome, of a recovery.
    Recover(Question),
}

impl Heir {
    /// Of a node whose life `boot` has begun.
    pub fn new(node: NodeId, boot: u64, shards: impl IntoIterator<Item = ShardId>) -> Self {
        let stages = shards.into_iter().map(|shard| (shard, Stage::Open)).collect();
        Self { node, boot, stages, recoveries: BTreeMap::new() }
    }

    /// Everything is forgotten everywhere.
    pub fn is_done(&self) -> bool {
        self.stages.values().all(|stage| *stage == Stage::Done)
    }

    /// Whose, and which life began.
    pub fn life(&self) -> (NodeId, u64) {
        (self.node, self.boot)
    }

    /// What to ask of whom now; to be asked again until it changes.
    pub fn errands(&self) -> Vec<(ShardId, Errand)> {
        let all_clean = self.stages.values().all(|stage| *stage >= Stage::Clean);
        let mut errands = Vec::new();
        for (shard, stage) in &self.stages {
            match stage {
                Stage::Open => errands.push((*shard, Errand::Fence)),
                Stage::Fenced => errands.push((*shard, Errand::Undecided)),
                Stage::Clean if all_clean => errands.push((*shard, Errand::Close)),
                Stage::Clean | Stage::Done => {}
            }
        }
        let questions = self.recoveries.values().flat_map(Recovery::questions);
        errands.extend(questions.map(|(shard, question)| (shard, Errand::Recover(question))));
        errands
    }

    /// An errand is answered.
    pub fn answered<R>(&mut self, from: ShardId, errand: &Errand, answer: &Answer<R>) {
        let Some(stage) = self.stages.get_mut(&from) else { return };
        match (errand, answer) {
            (Errand::Fence, Answer::Settled) => *stage = (*stage).max(Stage::Fenced),
            (Errand::Undecided, Answer::Undecided(left)) if *stage == Stage::Fenced => {
                if left.is_empty() {
                    *stage = Stage::Clean;
                }
                for (id, participants) in left {
                    self.recoveries.entry(*id).or_insert_with(|| Recovery::new(*id, participants));
                }
            }
            (Errand::Close, Answer::Settled) => *stage = Stage::Done,
            (Errand::Recover(question), answer) => {
                if let Some(recovery) = self.recoveries.get_mut(&question.id()) {
                    recovery.answered(from, question, answer);
                }
                self.recoveries.retain(|_, recovery| !recovery.is_done());
            }
            _ => {}
        }
    }
}
