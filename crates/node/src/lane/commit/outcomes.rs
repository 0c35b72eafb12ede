//! Outcomes of committed transactions on their way to shards, behind the answers to the clients: nobody waits for those, and each by
//! itself would be an entry that its shard's log, its messages and all replicas deal with.
//!
//! So what comes while a shard has not answered the last ones is gathered, and goes as one entry then ([`What::Outcomes`]); the first
//! goes at once. And behind the answer to the only client that waits here they are held back for a moment, so that they share packets
//! and flushes with its next request instead of being in its way.

use super::{Asking, To, Transactions, Wish};
use crate::api::{Answer, Failure};
use quorate_base::time::Duration;
use quorate_base::{Instant, ShardId};
use quorate_protocol::commit::{Answer as Said, Command as Step, Outcome, TxnId};
#[cfg(doc)]
use quorate_wire::table::What;
use std::collections::{BTreeMap, BTreeSet};

/// So long are they held back.
const HELD_BACK: Duration = Duration::from_millis(1);
/// So many go at once: what they leave is written in one piece.
const AT_ONCE: usize = 64;

/// See the module page.
#[derive(Default)]
pub(super) struct Outcomes {
    shards: BTreeMap<ShardId, Gathered>,
    /// Until when they are held back.
    until: Option<Instant>,
}

/// Those of one shard.
#[derive(Default)]
struct Gathered {
    ids: BTreeSet<TxnId>,
    /// These are under way.
    under_way: Vec<TxnId>,
}

impl Outcomes {
    /// Takes one in. It is held back from `now` on if it is not in the way of anybody who waits.
    pub(super) fn gather(&mut self, shard: ShardId, id: TxnId, alone: Option<Instant>) {
        let of = self.shards.entry(shard).or_default();
        if !of.under_way.contains(&id) {
            of.ids.insert(id);
        }
        self.until = alone.map(|now| self.until.unwrap_or(now + HELD_BACK));
    }

    /// When those that are held back go.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// What goes now, to which shards.
    fn take(&mut self, now: Instant) -> Vec<(ShardId, Vec<TxnId>)> {
        if self.until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        self.until = None;
        let mut go = Vec::new();
        for (shard, of) in self.shards.iter_mut().filter(|(_, of)| of.under_way.is_empty()) {
            of.under_way = std::iter::from_fn(|| of.ids.pop_first()).take(AT_ONCE).collect();
            if !of.under_way.is_empty() {
                go.push((*shard, of.under_way.clone()));
            }
        }
        go
    }
}

impl Transactions {
    /// What is held back is so no more.
    pub(in super::super) fn hold_back_no_more(&mut self) {
        if self.outcomes.until.is_some() {
            self.outcomes.until = Some(Instant::ZERO);
        }
    }

    pub(super) fn send_outcomes(&mut self, now: Instant) {
        for (shard, ids) in self.outcomes.take(now) {
            let what = match &ids[..] {
                [id] => Asking::Step(Step::Outcome { id: *id, outcome: Outcome::Commit }, 0),
                _ => Asking::Outcomes(ids.clone()),
            };
            self.wishes.push(Wish { shard, what, to: To::Outcomes(shard, ids) });
        }
    }

    /// A shard answered, or did not: then the gateway sends them again.
    pub(super) fn outcomes_answered(
        &mut self,
        now: Instant,
        (shard, ids): (ShardId, Vec<TxnId>),
        result: Result<Answer, Failure>,
    ) {
        if let Some(of) = self.outcomes.shards.get_mut(&shard) {
            of.under_way.clear();
            if of.ids.is_empty() {
                self.outcomes.shards.remove(&shard);
            }
        }
        match super::said(result) {
            Some(Said::Settled) => self.settled(now, shard, &ids),
            // One of them is not what it was taken for: each is asked for by itself.
            Some(_) => {
                for id in ids {
                    let what = Asking::Step(Step::Outcome { id, outcome: Outcome::Commit }, 0);
                    self.wishes.push(Wish { shard, what, to: To::Part { shard, id, prepares: false } });
                }
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Body, Head, Place, Transact};
    use bytes::Bytes;
    use quorate_base::{NodeId, Rng};
    use quorate_clock::Hlc;
    use quorate_protocol::commit::Vote;
    use quorate_wire::kv::Reply;
    use quorate_wire::table::{self, Action, Op, Returns};

    /// Claim: an outcome that a recovery has sent, too, is sent all the same: what comes next for that shard waits for its answer.
    #[test]
    fn an_outcome_is_sent_whoever_else_sends_it() {
        let id = TxnId { node: NodeId(1), boot: 1, sequence: 1, attempt: 1 };
        let (shard, now, every) = (ShardId(2), Instant(1_000), Duration::from_millis(100));
        let mut transactions = Transactions::new(Rng::new(1), every, now);
        transactions.outcomes.gather(shard, id, None);
        transactions.send_outcomes(now);
        let gateway = transactions.wishes.pop().unwrap();
        let what = Asking::Step(Step::Outcome { id, outcome: Outcome::Commit }, 0);
        let recovery = Wish { shard, what, to: To::Nobody };
        for (wish, from) in [(recovery, "the recovery"), (gateway, "the gateway")] {
            assert!(transactions.under_way.begin(shard, wish.key(), every).is_some(), "{from}");
        }
    }

    /// Claim: only a shard that says so has settled an outcome: where it says nothing it hears the outcome again, where it says anything else
    /// each is asked for by itself, and then no more.
    #[test]
    fn who_says_nothing_has_settled_nothing() {
        let (now, every) = (Instant(1_000), Duration::from_millis(100));
        let (one, two) = (ShardId(2), ShardId(3));
        let op = || Op {
            table: "t".into(),
            action: Action::Delete { key: Bytes::new() },
            condition: None,
            returns: Returns::None,
            old_on_failure: false,
        };
        let ops = [one, two].map(|shard| (Place { shard, epoch: 0 }, op())).into();
        let mut transactions = Transactions::new(Rng::new(1), every, now);
        transactions.begin_life(now, NodeId(1), 1, Vec::new());
        let asked = Transact { now: 1, token: None, ops };
        transactions.transact(now, (asked, Hlc(1)), now + 9 * every, Box::new(|_| {}));
        let says = |said| {
            let reply = table::Reply::Commit(said, Vec::new());
            Ok(Answer { head: Head::default(), body: Body::Reply(Reply::Table(Box::new(reply))) })
        };
        let id = TxnId { node: NodeId(1), boot: 1, sequence: 1, attempt: 1 };
        for shard in [one, two] {
            transactions.part_answered(now, (shard, id, true), says(Said::Vote(Vote::Yes)));
        }
        // Which shards are sent outcomes, and whether they are gathered ones.
        let sent = |transactions: &mut Transactions, at| {
            transactions.gateway_tick(at);
            transactions.send_outcomes(at + HELD_BACK);
            let outcomes = std::mem::take(&mut transactions.wishes).into_iter().filter_map(|wish| {
                matches!(wish.what, Asking::Step(Step::Outcome { .. }, _))
                    .then_some((wish.shard, matches!(wish.to, To::Outcomes(..))))
            });
            outcomes.collect::<Vec<_>>()
        };
        assert_eq!(sent(&mut transactions, now), [(one, true), (two, true)]);
        transactions.outcomes_answered(now, (one, vec![id]), says(Said::Settled));
        transactions.outcomes_answered(now, (two, vec![id]), Err(Failure::TimedOut));
        let later = now + 10 * every;
        assert_eq!(sent(&mut transactions, later), [(two, true)]);
        transactions.outcomes_answered(later, (two, vec![id]), says(Said::Missing));
        assert_eq!(sent(&mut transactions, later), [(two, false)]);
        transactions.part_answered(later, (two, id, false), says(Said::Settled));
        assert_eq!(sent(&mut transactions, later + 10 * every), []);
    }

    /// Claim: the first goes at once, what comes meanwhile when that is answered, all of it together; what is held back goes in time.
    #[test]
    fn what_comes_meanwhile_goes_together() {
        let id = |sequence| TxnId { node: NodeId(1), boot: 1, sequence, attempt: 1 };
        let (shard, other, at) = (ShardId(2), ShardId(3), Instant(1_000));
        let mut outcomes = Outcomes::default();
        outcomes.gather(shard, id(1), None);
        assert_eq!(outcomes.take(at), [(shard, vec![id(1)])]);
        for sequence in [2, 3, 2] {
            outcomes.gather(shard, id(sequence), None);
        }
        outcomes.gather(other, id(2), None);
        assert_eq!(outcomes.take(at), [(other, vec![id(2)])], "those of a shard wait for its answer alone");
        outcomes.shards.get_mut(&shard).unwrap().under_way.clear();
        assert_eq!(outcomes.take(at), [(shard, vec![id(2), id(3)])]);
        let mut held = Outcomes::default();
        held.gather(shard, id(4), Some(at));
        assert_eq!((held.take(at), held.deadline()), (vec![], Some(at + HELD_BACK)));
        assert_eq!(held.take(at + HELD_BACK), [(shard, vec![id(4)])]);
        held.gather(other, id(5), Some(at));
        held.gather(other, id(6), None);
        assert_eq!(held.take(at), [(other, vec![id(5), id(6)])], "another client waits");
    }
}
