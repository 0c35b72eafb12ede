//! Requests for transactions, from the door to the gateway's core and back.

use super::{Asking, EARLY_MAX, End, To, Transactions, Wish, heard};
use crate::api::{Answer, Body, Done, Failure, Transact};
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId, ShardId};
use quorate_clock::Hlc;
use quorate_protocol::Core;
use quorate_protocol::commit::gateway::{Begin, Config, Gateway, Input, Outbox, Reply as Ended};
use quorate_protocol::commit::heir::{Errand, Heir};
use quorate_protocol::commit::{
    Answer as Said, Command as Step, No, Outcome as Decision, Place as Mark, TxnId, Vote,
};
use quorate_wire::kv::{Refused, Reply};
use quorate_wire::table::{self, Execute, Outcome, Refusal, Unfit};
use std::collections::BTreeMap;

/// So many requests of a gateway may be open: those that are not over everywhere count, too.
const OPEN_MAX: usize = 20_000;
/// So many bytes of requests may wait for their ends.
const BYTES_MAX: usize = 128 << 20;
/// No request is tried more often; its deadline mostly comes first.
const ATTEMPTS: u32 = 1_000;
/// The pause behind the first conflict.
const BACKOFF: Duration = Duration::from_millis(3);
/// How long a client that is refused waits for the other reasons.
const REASONS: Duration = Duration::from_millis(100);
/// So many requests are over before the shards are told to forget them, unless it is quiet.
const FORGET_EVERY: u64 = 256;

/// A life of this node's gateway.
pub(super) struct Life {
    gateway: Gateway<Execute, Unfit>,
    out: Outbox<Execute, Unfit>,
    /// How many requests it has begun; the core numbers them alike.
    begun: u64,
    open: BTreeMap<u64, Open>,
    bytes: usize,
    pub(super) heir: Heir,
    /// What was asked for it since the last time that all is asked again, and whether the answer is waited for.
    pub(super) heir_asked: Vec<(ShardId, Errand, bool)>,
}

/// A request whose client waits.
struct Open {
    done: Done,
    /// Its time.
    now: u64,
    /// Where each operation lies.
    order: Vec<ShardId>,
    /// Where the token does.
    token: Option<ShardId>,
    /// What its operations come to, by shard, in the newest attempt that it was heard of in.
    came: BTreeMap<ShardId, (u32, Vec<table::Done>)>,
    /// Why a shard did not take its part.
    failure: Option<Failure>,
    bytes: usize,
}

impl Life {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.gateway.deadline()
    }

    pub(super) fn drain_all(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.open).into_values().map(|open| open.done).collect()
    }

    fn begin(&mut self, now: Instant, (asked, began): (Transact, Hlc), deadline: Instant, done: Done) {
        self.begun += 1;
        let order: Vec<ShardId> = asked.ops.iter().map(|(place, _)| place.shard).collect();
        let bytes = asked.ops.iter().map(|(_, op)| op.size()).sum();
        let mut parts: BTreeMap<ShardId, Execute> = BTreeMap::new();
        let empty = || Execute { atomic: true, token: None, ops: Vec::new() };
        for (place, op) in asked.ops {
            parts.entry(place.shard).or_insert_with(empty).ops.push(op);
        }
        let token = asked.token.map(|(place, token)| {
            parts.entry(place.shard).or_insert_with(empty).token = Some(token);
            place.shard
        });
        let (came, failure) = (BTreeMap::new(), None);
        self.bytes += bytes;
        self.open.insert(self.begun, Open { done, now: asked.now, order, token, came, failure, bytes });
        let begin = Begin { request: self.begun, began: began.0, parts, token, deadline };
        self.gateway.handle(now, Input::Begin(begin));
    }
}

impl Transactions {
    /// Takes a transaction in.
    pub(in super::super) fn transact(
        &mut self,
        now: Instant,
        asked: (Transact, Hlc),
        deadline: Instant,
        done: Done,
    ) {
        match &mut self.life {
            Some(life) if life.gateway.open() >= OPEN_MAX || life.bytes >= BYTES_MAX => {
                done(Err(Failure::Overloaded));
            }
            Some(life) => {
                life.begin(now, asked, deadline, done);
                self.drain_gateway(now);
            }
            None if self.early.len() >= EARLY_MAX => done(Err(Failure::Overloaded)),
            None => {
                self.early.push((asked, deadline, done));
                if !self.asked_for_life {
                    self.ask_for_life();
                }
            }
        }
    }

    pub(super) fn ask_for_life(&mut self) {
        self.asked_for_life = true;
        self.ask(ShardId(1), Asking::Live, To::Life);
    }

    pub(super) fn lives(&mut self, result: Result<Answer, Failure>) {
        self.asked_for_life = false;
        if let Ok(Answer { body: Body::Reply(Reply::Table(reply)), .. }) = result
            && let table::Reply::Lives(number) = *reply
            && self.life.is_none()
        {
            self.number = Some(number);
        }
    }

    /// The life of this number begins; `shards` are all that may have taken part in what earlier ones left.
    pub(super) fn begin_life(&mut self, now: Instant, node: NodeId, boot: u64, shards: Vec<ShardId>) {
        let config = Config {
            node,
            boot,
            resend: self.every,
            attempts: ATTEMPTS,
            backoff: BACKOFF,
            reasons: REASONS,
            certainty: 2 * self.every,
            forget_every: FORGET_EVERY,
            mutant: self.mutant,
        };
        let mut life = Life {
            gateway: Gateway::new(config, self.rng.fork("gateway")),
            out: Outbox::default(),
            begun: 0,
            open: BTreeMap::new(),
            bytes: 0,
            heir: Heir::new(node, boot, shards),
            heir_asked: Vec::new(),
        };
        for (asked, deadline, done) in std::mem::take(&mut self.early) {
            life.begin(now, asked, deadline, done);
        }
        self.life = Some(life);
        self.drain_gateway(now);
        self.errands();
    }

    pub(super) fn gateway_tick(&mut self, now: Instant) {
        if let Some(life) = self.life.as_mut().filter(|life| life.deadline().is_some_and(|at| now >= at)) {
            life.gateway.handle(now, Input::Tick);
            self.drain_gateway(now);
        }
    }

    pub(super) fn part_answered(
        &mut self,
        now: Instant,
        (shard, id, prepares): (ShardId, TxnId, bool),
        result: Result<Answer, Failure>,
    ) {
        let Some(life) = &mut self.life else { return };
        let open = life.open.get_mut(&id.sequence);
        let said = match (heard(result), open) {
            (Ok((said, done)), Some(open)) => {
                // Only what prepares is answered with what the operations come to; the vote may come with another answer.
                open.heard(shard, id.attempt, if prepares { done } else { Vec::new() });
                match said {
                    // It will not take its part in another attempt either.
                    Said::Vote(Vote::No(No::Refused)) if open.failure.is_some() => {
                        Said::Vote(Vote::No(No::Reason(Unfit::Ops(Vec::new()))))
                    }
                    said => said,
                }
            }
            (Ok((said, _)), None) => said,
            (Err(failure @ (Failure::Refused(..) | Failure::TooLarge)), Some(open)) if prepares => {
                open.failure = Some(failure);
                let to = To::Part { shard, id, prepares: false };
                let what = Asking::Step(Step::Refuse { id, because: None }, 0);
                return self.wishes.push(Wish { shard, what, to });
            }
            // It is sent again.
            (Err(_), _) => return,
        };
        life.gateway.handle(now, Input::Answer(shard, id, said));
        self.drain_gateway(now);
    }

    pub(super) fn forgotten(
        &mut self,
        now: Instant,
        shard: ShardId,
        upto: Mark,
        result: &Result<Answer, Failure>,
    ) {
        if let (Some(life), Ok(_)) = (&mut self.life, result) {
            life.gateway.handle(now, Input::Forgotten(shard, upto));
            self.drain_gateway(now);
        }
    }

    fn drain_gateway(&mut self, now: Instant) {
        let Some(life) = &mut self.life else { return };
        let mut out = std::mem::take(&mut life.out);
        life.gateway.drain(now, &mut out);
        for (request, ended) in out.replies.drain(..) {
            let Some(open) = life.open.remove(&request) else { continue };
            life.bytes -= open.bytes;
            *match &ended {
                Ended::Committed => &mut self.tally.committed,
                Ended::Cancelled(_) => &mut self.tally.cancelled,
                Ended::Unknown => &mut self.tally.unknown,
            } += 1;
            self.finished.push(open.end(ended));
        }
        // Nobody else waits here.
        let alone = life.open.is_empty().then_some(now);
        for (shard, step) in out.send.drain(..) {
            let mut time = 0;
            let to = match &step {
                Step::Prepare(asked) => {
                    time = life.open.get(&asked.id.sequence).map_or(0, |open| open.now);
                    To::Part { shard, id: asked.id, prepares: true }
                }
                Step::Outcome { id, outcome: Decision::Commit } => {
                    self.outcomes.gather(shard, *id, alone);
                    continue;
                }
                Step::Refuse { id, .. } | Step::Outcome { id, .. } => {
                    To::Part { shard, id: *id, prepares: false }
                }
                Step::Forget { upto, .. } => To::Forgotten(shard, *upto),
                Step::Execute(_) | Step::Fence { .. } | Step::Close { .. } => To::Nobody,
            };
            self.wishes.push(Wish { shard, what: Asking::Step(step, time), to });
        }
        life.out = out;
    }

    /// Outcomes are applied in a shard.
    pub(super) fn settled(&mut self, now: Instant, shard: ShardId, ids: &[TxnId]) {
        let Some(life) = &mut self.life else { return };
        for id in ids {
            life.gateway.handle(now, Input::Answer(shard, *id, Said::Settled));
        }
        self.drain_gateway(now);
    }
}

impl Open {
    /// A shard answered in an attempt, with what its operations come to. It may say nothing of them, where the vote stood before it was
    /// asked for, or is heard otherwise; what came of an earlier attempt says nothing of this one, whenever it is heard.
    fn heard(&mut self, shard: ShardId, attempt: u32, done: Vec<table::Done>) {
        let came = self.came.entry(shard).or_default();
        if attempt > came.0 || attempt == came.0 && !done.is_empty() {
            *came = (attempt, done);
        }
    }

    /// What the client hears: the same as if all had been one command of one shard.
    fn end(self, ended: Ended<Unfit>) -> (Done, End) {
        let end = match ended {
            Ended::Committed => reply(table::Reply::Executed(self.dones(&BTreeMap::new()))),
            Ended::Unknown => End::Failure(Failure::TimedOut),
            Ended::Cancelled(reasons) => self.cancelled(&reasons),
        };
        (self.done, end)
    }

    fn cancelled(&self, reasons: &BTreeMap<ShardId, No<Unfit>>) -> End {
        match &self.failure {
            Some(Failure::Refused(refused, _)) => return End::Refused(refused.clone()),
            Some(failure) => return End::Failure(failure.clone()),
            None => {}
        }
        for reason in reasons.values() {
            match reason {
                No::Reason(Unfit::Repeated) => return reply(table::Reply::Repeated),
                No::Reason(Unfit::TokenMismatch) => return refused(Refusal::TokenMismatch),
                No::Reason(Unfit::Moved) => return refused(Refusal::Moved),
                No::Reason(Unfit::Validation(text)) => return refused(Refusal::Validation(text.clone())),
                No::Reason(Unfit::Ops(_)) | No::Conflict(_) | No::Refused => {}
            }
        }
        let dones = self.dones(reasons);
        if self.token_held(reasons) || dones.iter().all(|done| done.outcome == Outcome::Done) {
            // Nothing stands against the operations, or only what an earlier request with this token holds: it is under way.
            return refused(Refusal::TokenInUse);
        }
        reply(table::Reply::Executed(dones))
    }

    /// The token's shard is in conflict, and has not said that it is for operations of its own: somebody holds the token, or its row was
    /// not looked at.
    fn token_held(&self, reasons: &BTreeMap<ShardId, No<Unfit>>) -> bool {
        let Some(token) = self.token else { return false };
        let came = self.came.get(&token).map(|(_, dones)| dones);
        let own = || came.is_some_and(|dones| dones.iter().any(|done| done.outcome == Outcome::Conflict));
        matches!(reasons.get(&token), Some(No::Conflict(_))) && !own()
    }

    /// What came of each operation, in the order of the request.
    fn dones(&self, reasons: &BTreeMap<ShardId, No<Unfit>>) -> Vec<table::Done> {
        let mut next: BTreeMap<ShardId, usize> = BTreeMap::new();
        let of = |shard: &ShardId| {
            let at = next.entry(*shard).or_default();
            let came = self.came.get(shard).and_then(|(_, dones)| dones.get(*at));
            let done = match reasons.get(shard) {
                None if reasons.is_empty() => came.cloned(),
                None => None,
                Some(No::Reason(Unfit::Ops(dones))) => dones.get(*at).cloned(),
                Some(No::Conflict(_)) => Some(conflict(came)),
                Some(_) => Some(table::Done::of(Outcome::Conflict)),
            };
            *at += 1;
            done.unwrap_or_else(|| table::Done::of(Outcome::Done))
        };
        self.order.iter().map(of).collect()
    }
}

/// Of a shard that was in conflict: it may have said which of its operations were; otherwise all may have been.
fn conflict(came: Option<&table::Done>) -> table::Done {
    match came {
        Some(done) if done.outcome == Outcome::Done && done.bytes == 0 => done.clone(),
        _ => table::Done::of(Outcome::Conflict),
    }
}

fn reply(reply: table::Reply) -> End {
    End::Body(Body::Reply(Reply::Table(Box::new(reply))))
}

fn refused(refusal: Refusal) -> End {
    End::Refused(Refused::Table(refusal))
}

impl Transact {
    /// Where it takes place.
    pub(super) fn places(&self) -> impl Iterator<Item = crate::api::Place> + '_ {
        self.ops.iter().map(|(place, _)| *place).chain(self.token.iter().map(|(place, _)| *place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: whose last attempt is committed hears of no conflict that an earlier one met, also where the vote was given before it was
    /// asked for, so that its answer says nothing of the operations.
    #[test]
    fn a_conflict_of_an_earlier_attempt_is_not_told() {
        let shard = ShardId(3);
        let (order, bytes) = (vec![shard], 0);
        let done: Done = Box::new(|_| ());
        let mut open = Open { done, now: 0, order, token: None, came: BTreeMap::new(), failure: None, bytes };
        open.heard(shard, 1, vec![table::Done::of(Outcome::Conflict)]);
        assert_eq!(open.dones(&BTreeMap::new())[0].outcome, Outcome::Conflict);
        open.heard(shard, 2, Vec::new());
        assert_eq!(open.dones(&BTreeMap::new())[0].outcome, Outcome::Done);
        // Sent twice, answered late.
        open.heard(shard, 1, vec![table::Done::of(Outcome::Conflict)]);
        assert_eq!(open.dones(&BTreeMap::new())[0].outcome, Outcome::Done);
        // What was said is not taken back by who says nothing.
        open.heard(shard, 3, vec![table::Done::of(Outcome::Conflict)]);
        open.heard(shard, 3, Vec::new());
        assert_eq!(open.dones(&BTreeMap::new())[0].outcome, Outcome::Conflict);
    }

    /// Claim: where one shard refuses, the others' operations are told of without what they would have returned; a shard in conflict may
    /// have said which of its operations are; and a request that makes no sense is refused in the words of who found that.
    #[test]
    fn what_was_not_done_is_told_as_such() {
        let done = |outcome, bytes| table::Done { bytes, ..table::Done::of(outcome) };
        let mut open = Open {
            done: Box::new(|_| ()),
            now: 0,
            order: vec![ONE, ONE, TWO],
            token: None,
            came: BTreeMap::new(),
            failure: None,
            bytes: 0,
        };
        open.heard(ONE, 1, vec![done(Outcome::Done, 9), done(Outcome::Done, 9)]);
        let failed = || (TWO, No::Reason(Unfit::Ops(vec![done(Outcome::ConditionFailed, 3)])));
        assert_eq!(
            open.dones(&BTreeMap::from([failed()])),
            [done(Outcome::Done, 0), done(Outcome::Done, 0), done(Outcome::ConditionFailed, 3)]
        );
        let holder = TxnId { node: NodeId(9), ..id(1) };
        let reasons = BTreeMap::from([(ONE, No::Conflict(holder)), failed()]);
        let of_one = |open: &Open| open.dones(&reasons).into_iter().map(|done| done.outcome).take(2);
        assert!(of_one(&open).eq([Outcome::Conflict, Outcome::Conflict]), "that was of an earlier Yes");
        open.heard(ONE, 2, vec![done(Outcome::Conflict, 0), done(Outcome::Done, 0)]);
        assert!(of_one(&open).eq([Outcome::Conflict, Outcome::Done]));
        let senseless = BTreeMap::from([(TWO, No::Reason(Unfit::Validation("words".into())))]);
        let End::Refused(Refused::Table(Refusal::Validation(text))) = open.cancelled(&senseless) else {
            panic!()
        };
        assert_eq!(text, "words");
    }

    /// Claim: whose token is held hears that, and not of the items that are held beside it: who holds both may be the same request,
    /// sent before, and have been answered. (Seed 75 of the simulator.) A conflict is told where the token's shard has said that it is
    /// its own operations that are in conflict, which it does not before it has looked at the token.
    #[test]
    fn a_token_that_is_held_is_in_use() {
        let (item, token) = (ShardId(3), ShardId(2));
        let holder = TxnId { node: NodeId(1), boot: 1, sequence: 1, attempt: 1 };
        let held = |shard: ShardId| (shard, No::Conflict(holder));
        let open = |order: &[ShardId], of_token: &[Outcome]| {
            let dones = of_token.iter().cloned().map(table::Done::of).collect();
            let came = BTreeMap::from([(token, (1, dones))]);
            let order = order.to_vec();
            let done: Done = Box::new(|_| ());
            Open { done, now: 0, order, token: Some(token), came, failure: None, bytes: 0 }
        };
        let in_use = |open: &Open, reasons: &[(ShardId, No<Unfit>)]| {
            let end = open.cancelled(&reasons.iter().cloned().collect());
            matches!(end, End::Refused(Refused::Table(Refusal::TokenInUse)))
        };
        assert!(in_use(&open(&[item], &[]), &[held(item), held(token)]), "the token is held, too");
        assert!(in_use(&open(&[item], &[]), &[held(token)]), "the token alone is held");
        assert!(!in_use(&open(&[item], &[]), &[held(item)]), "the token is free");
        let both = [token, item];
        assert!(
            !in_use(&open(&both, &[Outcome::Conflict]), &[held(token)]),
            "an item beside the token is held"
        );
        assert!(
            in_use(&open(&both, &[Outcome::Done]), &[held(token), held(item)]),
            "the token beside an item is held"
        );
        assert!(in_use(&open(&both, &[]), &[held(token)]), "the token was not looked at");
    }

    const EVERY: Duration = Duration::from_millis(100);
    const TIME: u64 = 77;

    /// Transactions of a node whose gateway's first life has begun, and a request of two shards, which has so long.
    struct Alone {
        transactions: Transactions,
        now: Instant,
    }

    impl Alone {
        fn begun(time: Duration) -> Self {
            let now = Instant(1_000_000);
            let mut transactions = Transactions::new(quorate_base::Rng::new(1), EVERY, now);
            transactions.begin_life(now, NodeId(1), 1, Vec::new());
            let op = || table::Op {
                table: "t".into(),
                action: table::Action::Delete { key: bytes::Bytes::from_static(b"key") },
                condition: None,
                returns: table::Returns::None,
                old_on_failure: false,
            };
            let place = |shard| crate::api::Place { shard, epoch: 0 };
            let ops = [ONE, TWO].map(|shard| (place(shard), op())).into();
            let asked = Transact { now: TIME, token: None, ops };
            transactions.transact(now, (asked, Hlc(1)), now + time, Box::new(drop));
            Self { transactions, now }
        }

        fn life(&self) -> &Life {
            self.transactions.life.as_ref().unwrap()
        }

        /// A shard answers to what was sent to it in an attempt.
        fn says(&mut self, shard: ShardId, (attempt, prepares): (u32, bool), said: Said<Unfit>) {
            let reply = table::Reply::Commit(said, Vec::new());
            let body = Body::Reply(Reply::Table(Box::new(reply)));
            let answer = Answer { head: crate::api::Head::default(), body };
            self.transactions.part_answered(self.now, (shard, id(attempt), prepares), Ok(answer));
        }

        fn fails(&mut self, shard: ShardId, failure: Failure) {
            self.transactions.part_answered(self.now, (shard, id(1), true), Err(failure));
        }

        /// What is to be sent.
        fn sent(&mut self) -> Vec<(ShardId, Step<Execute>, u64)> {
            let steps = std::mem::take(&mut self.transactions.wishes).into_iter().filter_map(|wish| {
                let Asking::Step(step, time) = wish.what else { return None };
                Some((wish.shard, step, time))
            });
            steps.collect()
        }

        /// The same, when the gateway wants to be driven next.
        fn next(&mut self) -> Vec<(ShardId, Step<Execute>, u64)> {
            self.now = self.life().deadline().unwrap();
            self.transactions.gateway_tick(self.now);
            self.sent()
        }

        /// How the request ended, if it has.
        fn ended(&mut self) -> Option<End> {
            self.transactions.finished.pop().map(|(_, end)| end)
        }
    }

    const ONE: ShardId = ShardId(2);
    const TWO: ShardId = ShardId(3);
    const YES: Said<Unfit> = Said::Vote(Vote::Yes);
    const REFUSED: Said<Unfit> = Said::Vote(Vote::No(No::Refused));

    fn id(attempt: u32) -> TxnId {
        TxnId { node: NodeId(1), boot: 1, sequence: 1, attempt }
    }

    /// Claim: each shard hears the request's time, on which conditions and ends of tokens rest; what is done weighs nothing any more, and is
    /// counted as what it was.
    #[test]
    fn what_is_done_weighs_nothing() {
        let mut alone = Alone::begun(50 * EVERY);
        assert!(alone.life().bytes > 0);
        let prepares = alone.sent();
        assert!(prepares.iter().all(|(_, step, time)| matches!(step, Step::Prepare(_)) && *time == TIME));
        for shard in [ONE, TWO] {
            alone.says(shard, (1, true), YES);
        }
        assert!(matches!(alone.ended(), Some(End::Body(_))));
        assert_eq!(
            (alone.life().bytes, alone.life().open.len(), alone.transactions.tally.committed),
            (0, 0, 1)
        );
    }

    /// Claim: a shard that will not take its part, since it is no more of that table or the part is too large, is asked to refuse it, so that
    /// nothing of it comes late; then the client hears why, and there is no other attempt. One that has no leader is asked again.
    #[test]
    fn who_will_not_take_its_part_is_asked_to_refuse() {
        let stale = Failure::Refused(super::super::stale(), crate::api::Head::default());
        for failure in [stale, Failure::TooLarge] {
            let mut alone = Alone::begun(50 * EVERY);
            alone.sent();
            alone.fails(ONE, Failure::NoLeader);
            assert!(alone.sent().is_empty());
            alone.fails(ONE, failure.clone());
            assert!(
                matches!(alone.sent()[..], [(ONE, Step::Refuse { id: of, because: None }, _)] if of == id(1))
            );
            assert!(alone.ended().is_none(), "it may have voted Yes by now");
            alone.says(ONE, (1, false), REFUSED);
            alone.says(TWO, (1, true), YES);
            match (alone.ended(), &failure) {
                (Some(End::Refused(refused)), Failure::Refused(..)) => {
                    assert_eq!(refused, super::super::stale());
                }
                (Some(End::Failure(Failure::TooLarge)), Failure::TooLarge) => {}
                _ => panic!("{failure:?} is not what the client hears"),
            }
        }
    }

    /// Claim: a refusal that this node did not ask for, for want of time or by one who recovers, is passing: there is another attempt.
    #[test]
    fn a_refusal_is_passing() {
        let mut alone = Alone::begun(50 * EVERY);
        alone.sent();
        alone.says(ONE, (1, true), REFUSED);
        alone.says(TWO, (1, true), YES);
        assert!(alone.ended().is_none());
        alone.sent();
        let again = alone.next();
        let second = |step: &Step<Execute>| matches!(step, Step::Prepare(asked) if asked.id == id(2));
        assert_eq!(again.iter().filter(|(_, step, _)| second(step)).count(), 2);
    }

    /// Claim: whoever does not say that he has forgotten is told again.
    #[test]
    fn only_who_says_so_has_forgotten() {
        let mut alone = Alone::begun(50 * EVERY);
        for shard in [ONE, TWO] {
            alone.says(shard, (1, true), YES);
        }
        for shard in [ONE, TWO] {
            alone.says(shard, (1, false), Said::Settled);
        }
        let upto = Mark { boot: 1, sequence: 1 };
        let told = |alone: &mut Alone| {
            let forgets = alone.next().into_iter().filter(|(_, step, _)| matches!(step, Step::Forget { .. }));
            forgets.map(|(shard, ..)| shard).collect::<Vec<_>>()
        };
        alone.sent();
        alone.transactions.forgotten(alone.now, ONE, upto, &Err(Failure::TimedOut));
        assert_eq!(told(&mut alone), [ONE, TWO]);
        let head = crate::api::Head::default();
        let body = Body::Reply(Reply::Table(Box::new(table::Reply::Commit(Said::Settled, Vec::new()))));
        alone.transactions.forgotten(alone.now, TWO, upto, &Ok(Answer { head, body }));
        assert_eq!(told(&mut alone), [ONE]);
    }

    /// Claim: who cannot be told for certain by the deadline hears just that, and no more is taken in than a node can bear.
    #[test]
    fn what_is_not_known_in_time_is_unknown() {
        let mut alone = Alone::begun(2 * EVERY);
        let ended = (0..20).find_map(|_| {
            alone.next();
            alone.ended()
        });
        assert!(matches!(ended, Some(End::Failure(Failure::TimedOut))));
        assert_eq!(alone.transactions.tally.unknown, 1);
        alone.transactions.life.as_mut().unwrap().bytes = BYTES_MAX;
        let heard = std::sync::Arc::new(std::sync::Mutex::new(None));
        let hears = heard.clone();
        let asked = Transact { now: TIME, token: None, ops: Vec::new() };
        let done: Done = Box::new(move |result| *hears.lock().unwrap() = Some(result));
        alone.transactions.transact(alone.now, (asked, Hlc(1)), alone.now + EVERY, done);
        assert!(matches!(heard.lock().unwrap().take(), Some(Err(Failure::Overloaded))));
    }
}
