//! Recovery, by anyone: the outcome of a transaction whose gateway is silent.
//!
//! Whoever finds an intent that is too old asks each participant to refuse. One that has a vote answers with it; one that has
//! none votes No, in its log, and answers with that. Either way its vote then stands, so that the answers have the outcome in
//! them: all Yes is Commit, anything else is Abort. Any number may do so at once, and beside the gateway: each of them reads
//! the same votes.

use super::types::{Answer, Command, Outcome, TxnId, Vote};
use quorate_base::ShardId;
use std::collections::{BTreeMap, BTreeSet};

/// What a recovery sends, to be sent again until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Question {
    /// To say No unless there is a vote.
    Refuse(TxnId),
    /// The outcome.
    Outcome(TxnId, Outcome),
}

impl Question {
    /// Of which transaction.
    pub fn id(&self) -> TxnId {
        match self {
            Question::Refuse(id) | Question::Outcome(id, _) => *id,
        }
    }

    /// As a command.
    pub fn command<O>(&self) -> Command<O> {
        match *self {
            Question::Refuse(id) => Command::Refuse { id, because: None },
            Question::Outcome(id, outcome) => Command::Outcome { id, outcome },
        }
    }
}

/// One recovery of one transaction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Recovery {
    id: TxnId,
    /// Whether each voted Yes, as far as it is heard.
    votes: BTreeMap<ShardId, Option<bool>>,
    unsettled: BTreeSet<ShardId>,
    /// Somebody has forgotten it: all have applied the outcome.
    over: bool,
}

impl Recovery {
    /// Of this transaction, with all its participants.
    pub fn new(id: TxnId, participants: &[ShardId]) -> Self {
        let votes = participants.iter().map(|shard| (*shard, None)).collect();
        Self { id, votes, unsettled: participants.iter().copied().collect(), over: false }
    }

    /// What the votes come to, once they do.
    pub fn outcome(&self) -> Option<Outcome> {
        if self.votes.values().any(|vote| *vote == Some(false)) {
            return Some(Outcome::Abort);
        }
        self.votes.values().all(|vote| *vote == Some(true)).then_some(Outcome::Commit)
    }

    /// Whose votes are not heard yet; nobody's once there is an outcome.
    pub fn waits_for(&self) -> Vec<ShardId> {
        let unheard = self.votes.iter().filter(|(_, vote)| vote.is_none());
        if self.over || self.outcome().is_some() {
            Vec::new()
        } else {
            unheard.map(|(shard, _)| *shard).collect()
        }
    }

    /// Nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.over || self.unsettled.is_empty()
    }

    /// What to ask of whom now; to be asked again until it changes.
    pub fn questions(&self) -> Vec<(ShardId, Question)> {
        match self.outcome() {
            _ if self.over => Vec::new(),
            Some(outcome) => {
                self.unsettled.iter().map(|shard| (*shard, Question::Outcome(self.id, outcome))).collect()
            }
            None => {
                let unheard = self.votes.iter().filter(|(_, vote)| vote.is_none());
                unheard.map(|(shard, _)| (*shard, Question::Refuse(self.id))).collect()
            }
        }
    }

    /// A participant answers.
    pub fn answered<R>(&mut self, from: ShardId, question: &Question, answer: &Answer<R>) {
        match (question, answer) {
            (_, Answer::Over) => self.over = true,
            (Question::Refuse(_), Answer::Vote(vote)) => {
                if let Some(heard) = self.votes.get_mut(&from) {
                    let yes = matches!(vote, Vote::Yes);
                    *heard = Some(yes);
                    if !yes {
                        // It holds nothing.
                        self.unsettled.remove(&from);
                    }
                }
            }
            (Question::Outcome(..), Answer::Settled) => drop(self.unsettled.remove(&from)),
            _ => {}
        }
    }
}
