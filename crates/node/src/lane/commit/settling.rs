//! What nobody else brings to its end: recoveries, and the errands of the heir of this node's earlier lives.

use super::{Asking, To, Transactions, Wish};
use quorate_base::{Instant, ShardId};
use quorate_protocol::commit::heir::Errand;
use quorate_protocol::commit::recovery::{Question, Recovery};
use quorate_protocol::commit::{Answer as Said, Command as Step, TxnId};
use quorate_state::table::Read;
use quorate_wire::table::Unfit;

/// So many recoveries may be under way; the leader that wants another asks again.
const RECOVERIES_MAX: usize = 1_000;
/// So many errands of an heir may be under way: a node that has many shards does not wake all of them up at once.
const ERRANDS_MAX: usize = 16;

/// A recovery that is under way.
pub(super) struct Recovering {
    /// Since when this node tries.
    since: Instant,
    recovery: Recovery,
    asked: Vec<(ShardId, Question)>,
}

impl Transactions {
    /// Nobody has heard of the outcome of a transaction for too long.
    pub(super) fn recover(&mut self, now: Instant, id: TxnId, participants: &[ShardId]) {
        if self.recoveries.len() < RECOVERIES_MAX && !self.recoveries.contains_key(&id) {
            self.tally.recovered += 1;
            let recovery = Recovery::new(id, participants);
            self.recoveries.insert(id, Recovering { since: now, recovery, asked: Vec::new() });
            self.recover_on(id);
        }
    }

    /// How many transactions this node tries to recover whose outcome nobody knows.
    pub(in super::super) fn undecided(&self) -> usize {
        self.recoveries.values().filter(|of| !of.recovery.waits_for().is_empty()).count()
    }

    /// They, the oldest first, each with since when this node tries and whose votes are waited for.
    pub(in super::super) fn all_undecided(&self) -> Vec<(TxnId, Instant, Vec<ShardId>)> {
        let all = self.recoveries.iter().map(|(id, of)| (*id, of.since, of.recovery.waits_for()));
        let mut undecided: Vec<_> = all.filter(|(.., waits_for)| !waits_for.is_empty()).collect();
        undecided.sort_by_key(|(id, since, _)| (*since, *id));
        undecided
    }

    pub(super) fn recovery_answered(
        &mut self,
        shard: ShardId,
        question: &Question,
        said: Option<Said<Unfit>>,
    ) {
        let id = question.id();
        if let (Some(of), Some(said)) = (self.recoveries.get_mut(&id), said) {
            of.recovery.answered(shard, question, &said);
            self.recover_on(id);
        }
    }

    fn recover_on(&mut self, id: TxnId) {
        let Some(of) = self.recoveries.get_mut(&id) else { return };
        if of.recovery.is_done() {
            self.recoveries.remove(&id);
            return;
        }
        for (shard, question) in of.recovery.questions() {
            if !of.asked.contains(&(shard, question)) {
                of.asked.push((shard, question));
                let what = Asking::Step(question.command(), 0);
                self.wishes.push(Wish { shard, what, to: To::Recovery(shard, question) });
            }
        }
    }

    pub(super) fn recover_again(&mut self) {
        self.recoveries.values_mut().for_each(|of| of.asked.clear());
        for id in self.recoveries.keys().copied().collect::<Vec<_>>() {
            self.recover_on(id);
        }
    }

    pub(super) fn errand_answered(&mut self, shard: ShardId, errand: &Errand, said: Option<Said<Unfit>>) {
        if let (Some(life), Some(said)) = (&mut self.life, said) {
            // What is answered, and is still to be asked, waits for its time: a shard may say at once that nothing has changed.
            for (of, asked, waits) in &mut life.heir_asked {
                *waits &= (*of, &*asked) != (shard, errand);
            }
            life.heir.answered(shard, errand, &said);
            self.errands();
        }
    }

    pub(super) fn errands(&mut self) {
        let Some(life) = self.life.as_mut().filter(|life| !life.heir.is_done()) else { return };
        let (node, boot) = life.heir.life();
        for (shard, errand) in life.heir.errands() {
            if life.heir_asked.iter().filter(|(.., waits)| *waits).count() >= ERRANDS_MAX {
                break;
            }
            if life.heir_asked.iter().any(|(of, asked, _)| (*of, asked) == (shard, &errand)) {
                continue;
            }
            let what = match &errand {
                Errand::Fence => Asking::Step(Step::Fence { node, boot }, 0),
                Errand::Undecided => Asking::Read(Read::Undecided { node, boot }),
                Errand::Close => Asking::Step(Step::Close { node, boot }, 0),
                Errand::Recover(question) => Asking::Step(question.command(), 0),
            };
            life.heir_asked.push((shard, errand.clone(), true));
            self.wishes.push(Wish { shard, what, to: To::Errand(shard, errand) });
        }
    }

    pub(super) fn errands_again(&mut self) {
        if let Some(life) = &mut self.life {
            life.heir_asked.clear();
        }
        self.errands();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::time::Duration;
    use quorate_base::{NodeId, Rng};
    use quorate_protocol::commit::Vote;

    const EVERY: Duration = Duration::from_millis(100);

    fn id(sequence: u64) -> TxnId {
        TxnId { node: NodeId(9), boot: 1, sequence, attempt: 1 }
    }

    fn asked(transactions: &mut Transactions) -> Vec<ShardId> {
        std::mem::take(&mut transactions.wishes).into_iter().map(|wish| wish.shard).collect()
    }

    /// Claim: a transaction is recovered once at a time, each participant is asked once until it is asked again in time, and when all of
    /// it is settled nothing is left.
    #[test]
    fn a_recovery_asks_each_and_ends() {
        let now = Instant(1_000_000);
        let mut transactions = Transactions::new(Rng::new(1), EVERY, now);
        let shards = [2, 3].map(ShardId);
        transactions.tick(now);
        transactions.recover(now, id(2), &shards);
        transactions.recover(now + EVERY, id(2), &shards);
        assert_eq!((asked(&mut transactions), transactions.tally.recovered), (shards.to_vec(), 1));
        transactions.recovery_answered(shards[0], &Question::Refuse(id(2)), Some(Said::Vote(Vote::Yes)));
        assert!(asked(&mut transactions).is_empty(), "the other was asked already");
        transactions.tick(now + EVERY);
        assert_eq!(asked(&mut transactions), [shards[1]], "it has not answered");
        // One that began later, and has the lower name.
        transactions.recover(now + 2 * EVERY, id(1), &shards);
        asked(&mut transactions);
        let undecided: Vec<TxnId> = transactions.all_undecided().into_iter().map(|(id, ..)| id).collect();
        assert_eq!((undecided, transactions.undecided()), (vec![id(2), id(1)], 2));
        transactions.recovery_answered(shards[1], &Question::Refuse(id(2)), Some(Said::Vote(Vote::Yes)));
        assert_eq!(transactions.undecided(), 1, "it is known to be committed");
        let commit = Question::Outcome(id(2), quorate_protocol::commit::Outcome::Commit);
        for shard in shards {
            assert!(transactions.recoveries.contains_key(&id(2)));
            transactions.recovery_answered(shard, &commit, Some(Said::Settled));
        }
        assert!(!transactions.recoveries.contains_key(&id(2)));
    }

    /// Claim: an heir has so many errands under way and no more, the next one goes when one is answered, and what is not answered is
    /// asked again.
    #[test]
    fn errands_are_run_a_few_at_a_time() {
        let now = Instant(1_000_000);
        let mut transactions = Transactions::new(Rng::new(1), EVERY, now);
        transactions.again_at = now + EVERY;
        let shards: Vec<ShardId> = (1..=20).map(ShardId).collect();
        transactions.begin_life(now, NodeId(1), 2, shards.clone());
        assert_eq!(asked(&mut transactions), shards[..ERRANDS_MAX]);
        transactions.errand_answered(shards[0], &Errand::Fence, Some(Said::Settled));
        assert_eq!(asked(&mut transactions), [shards[0]], "what is left of its transactions");
        let nothing = Some(Said::Undecided(Vec::new()));
        transactions.errand_answered(shards[0], &Errand::Undecided, nothing);
        assert_eq!(asked(&mut transactions), [shards[ERRANDS_MAX]]);
        transactions.tick(now + EVERY);
        assert_eq!(asked(&mut transactions), shards[1..=ERRANDS_MAX]);
    }
}
