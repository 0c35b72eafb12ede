//! Transactions across shards: what a node does as their gateway, as one who recovers them, and for reads that meet them. The
//! rules are those of [`quorate_protocol::commit`].
//!
//! What its cores send to a shard is an ordinary call of that shard's group here: a command is parked while no leader is known,
//! proposed by the leader, and answered when it is applied; a question is a read behind a read index. Where this node has no replica
//! of the shard, another one that has is asked ([`super::away`]). The cores send again what is not answered. Each sending is a
//! request of its own, proposed at most once, and a participant knows a transaction by its name: whatever comes again is answered
//! by what stands.
//!
//! A node becomes a gateway with the first transaction that crosses shards: shard 1 gives its life a number ([`What::Live`]), and it
//! closes the book on its earlier lives ([`Heir`]). All of it is gone with the process; what its transactions hold then is let go of
//! by the leaders of their shards, each of which looks for what is undecided for [`PATIENCE`] of the longest election timeouts
//! ([`Leader::tick`]). So while each participant has a quorum, and no message takes longer than that, no
//! item stays locked for longer than about twice that time.
//!
//! A table that is deleted takes its shards along once nothing is undecided that they take part in (`state::table`, `closing`). Whoever
//! asks such a shard for its vote hears No.

mod outcomes;
mod page;
mod queue;
mod reading;
mod request;
mod settling;
mod under_way;

use super::{Effects, Lane};
use crate::api::{Answer, Body, Done, Failure, Fresh, Head, Place, Request, Transact, tables};
use outcomes::Outcomes;
pub(super) use queue::Queue;
use quorate_base::time::Duration;
use quorate_base::{Instant, Rng, ShardId};
use quorate_clock::Hlc;
use quorate_protocol::commit::heir::Errand;
use quorate_protocol::commit::reader::Ask;
use quorate_protocol::commit::recovery::Question;
use quorate_protocol::commit::{Answer as Said, Command as Step, Mutant, No, Place as Mark, TxnId, Vote};
#[cfg(doc)]
use quorate_protocol::commit::{heir::Heir, leader::Leader};
use quorate_wire::kv::{Command, Refused, Reply};
use quorate_wire::peer::Frame;
use quorate_wire::table::{self, Execute, Refusal, Unfit, What};
use reading::Reading;
use request::Life;
use settling::Recovering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use under_way::{Key, UnderWay};

/// A transaction that is undecided for so many of the longest election timeouts is recovered.
pub(super) const PATIENCE: u32 = 2;
/// An answer is waited for so many times as long as it takes until it is asked for again: what takes longer than that is heard, too.
const WAITS: u32 = 4;
/// So many reads that met transactions, or are of several shards, may be under way.
const READINGS_MAX: usize = 10_000;
/// So many transactions may wait for the life of their gateway to begin.
const EARLY_MAX: usize = 10_000;

/// Whom an answer is for.
enum To {
    /// The life that is to begin.
    Life,
    /// The gateway, of its command to a shard.
    Part { shard: ShardId, id: TxnId, prepares: bool },
    /// The gateway, of transactions that were committed.
    Outcomes(ShardId, Vec<TxnId>),
    /// The gateway, of what a shard was to forget.
    Forgotten(ShardId, Mark),
    /// The heir.
    Errand(ShardId, Errand),
    /// A recovery.
    Recovery(ShardId, Question),
    /// A read.
    Asked(u64, ShardId, Ask),
    /// Nobody.
    Nobody,
}

/// What is asked of a shard.
enum Asking {
    /// A step, and the time of the request that it is of; 0 where nothing depends on it.
    Step(Step<Execute>, u64),
    /// Steps that say of transactions that they are committed.
    Outcomes(Vec<TxnId>),
    /// A life's number.
    Live,
    /// A question, answered behind a read index.
    Read(tables::Read),
}

/// Something to be asked of a shard.
struct Wish {
    shard: ShardId,
    what: Asking,
    to: To,
}

impl Wish {
    /// What it makes an entry of, so that it is not sent while the same is under way: nobody hears then that it was not. Of gathered outcomes
    /// the next ones wait for the answer, so that they are sent whoever else sends one of them.
    fn key(&self) -> Option<Key> {
        match (&self.what, &self.to) {
            (Asking::Step(step, _), to) if !matches!(to, To::Outcomes(..)) => Key::of(step),
            _ => None,
        }
    }
}

/// An answer, or that there is none.
struct Heard {
    shard: ShardId,
    key: Option<Key>,
    to: To,
    result: Result<Answer, Failure>,
}

/// Answers that came and are not looked at yet.
type Inbox = Arc<Mutex<Vec<Heard>>>;

/// How a request ends.
enum End {
    Body(Body),
    Refused(Refused),
    Failure(Failure),
}

/// A read of one shard that was answered and met intents.
pub(super) struct Met {
    pub(super) shard: ShardId,
    pub(super) request: Request,
    pub(super) deadline: Instant,
    pub(super) done: Done,
    pub(super) answer: Answer,
}

impl Met {
    /// Whether whoever asked must hear of votes before he is answered.
    pub(super) fn is(request: &Request, answer: &Answer) -> bool {
        let (Request::Table { fresh: Fresh::Newest, read, .. }, Body::Table(reply)) = (request, &answer.body)
        else {
            return false;
        };
        match (&**read, &**reply) {
            (tables::Read::Get(_), tables::ReadReply::Items(got)) => {
                got.iter().any(|got| got.intent.is_some())
            }
            (tables::Read::Page(_), tables::ReadReply::Page(page)) => !page.met.is_empty(),
            _ => false,
        }
    }
}

/// What came of transactions over shards since the last look.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Of those that this node is the gateway of: so many were committed, ...
    pub committed: u64,
    /// ... so many not, ...
    pub cancelled: u64,
    /// ... and of so many nobody knows.
    pub unknown: u64,
    /// Recoveries that were begun here.
    pub recovered: u64,
    /// Reads that met transactions.
    pub met: u64,
}

/// See the module page.
pub(super) struct Transactions {
    tally: Tally,
    rng: Rng,
    /// What is sent again is sent again after so long.
    every: Duration,
    mutant: Option<Mutant>,
    inbox: Inbox,
    wishes: Vec<Wish>,
    outcomes: Outcomes,
    under_way: UnderWay,
    /// Shards whose leaders are asked to let nothing new in for so long.
    pauses: Vec<(ShardId, Duration)>,
    finished: Vec<(Done, End)>,
    life: Option<Life>,
    asked_for_life: bool,
    /// The number of the life that is to begin.
    number: Option<u64>,
    /// Requests that came before the life began, and until when they wait.
    early: Vec<((Transact, Hlc), Instant, Done)>,
    recoveries: BTreeMap<TxnId, Recovering>,
    readings: BTreeMap<u64, Reading>,
    next_reading: u64,
    again_at: Instant,
}

impl Transactions {
    pub(super) fn new(rng: Rng, every: Duration, now: Instant) -> Self {
        Self {
            tally: Tally::default(),
            rng,
            every,
            mutant: None,
            inbox: Inbox::default(),
            wishes: Vec::new(),
            outcomes: Outcomes::default(),
            under_way: UnderWay::default(),
            pauses: Vec::new(),
            finished: Vec::new(),
            life: None,
            asked_for_life: false,
            number: None,
            early: Vec::new(),
            recoveries: BTreeMap::new(),
            readings: BTreeMap::new(),
            next_reading: 0,
            again_at: now,
        }
    }

    /// Nothing is under way that is sent again unasked.
    fn is_quiet(&self) -> bool {
        let heir = self.life.as_ref().is_none_or(|life| life.heir.is_done());
        heir && self.early.is_empty() && self.recoveries.is_empty() && self.readings.is_empty()
    }

    fn has_news(&self) -> bool {
        !lock(&self.inbox).is_empty() || !self.wishes.is_empty()
    }

    /// Whether there is nothing to see to now.
    fn is_idle(&self, now: Instant) -> bool {
        let gateway = self.life.as_ref().and_then(Life::deadline);
        let due = [gateway, self.outcomes.deadline()].into_iter().flatten().any(|at| now >= at);
        self.is_quiet() && !due && self.number.is_none() && self.finished.is_empty() && !self.has_news()
    }

    /// When it wants to be looked at next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.has_news() {
            return Some(Instant::ZERO);
        }
        let gateway = self.life.as_ref().and_then(Life::deadline);
        let readings = self.readings.values().map(Reading::deadline).min();
        let again = (!self.is_quiet()).then_some(self.again_at);
        [gateway, readings, again, self.outcomes.deadline()].into_iter().flatten().min()
    }

    /// Takes out all that waits, for a node that stops.
    pub(super) fn drain_all(&mut self) -> Vec<Done> {
        let mut waiting: Vec<Done> =
            std::mem::take(&mut self.early).into_iter().map(|(.., done)| done).collect();
        waiting.extend(std::mem::take(&mut self.readings).into_values().map(Reading::into_done));
        waiting.extend(self.life.iter_mut().flat_map(Life::drain_all));
        waiting
    }

    fn ask(&mut self, shard: ShardId, what: Asking, to: To) {
        self.wishes.push(Wish { shard, what, to });
    }

    fn came(&mut self, now: Instant, to: To, result: Result<Answer, Failure>) {
        match to {
            To::Life => self.lives(result),
            To::Part { shard, id, prepares } => self.part_answered(now, (shard, id, prepares), result),
            To::Outcomes(shard, ids) => self.outcomes_answered(now, (shard, ids), result),
            To::Forgotten(shard, upto) => self.forgotten(now, shard, upto, &result),
            To::Errand(shard, errand) => self.errand_answered(shard, &errand, said(result)),
            To::Recovery(shard, question) => self.recovery_answered(shard, &question, said(result)),
            To::Asked(reading, shard, ask) => self.read_answered(now, reading, (shard, ask), result),
            To::Nobody => {}
        }
    }

    fn tick(&mut self, now: Instant) {
        self.gateway_tick(now);
        self.end_late(now);
        if now < self.again_at || self.is_quiet() {
            return;
        }
        self.again_at = now + self.every;
        if !self.early.is_empty() && !self.asked_for_life {
            self.ask_for_life();
        }
        self.errands_again();
        self.recover_again();
        self.read_again();
    }

    /// What waited too long.
    fn end_late(&mut self, now: Instant) {
        for (.., done) in self.early.extract_if(.., |(_, deadline, _)| now >= *deadline) {
            // Nothing was sent yet.
            self.finished.push((done, End::Failure(Failure::NoLeader)));
        }
        let late = self.readings.iter().filter(|(_, reading)| now >= reading.deadline());
        let late: Vec<u64> = late.map(|(&number, _)| number).collect();
        for reading in late.into_iter().filter_map(|number| self.readings.remove(&number)) {
            self.finished.push((reading.into_done(), End::Failure(Failure::TimedOut)));
        }
    }
}

fn lock(inbox: &Inbox) -> std::sync::MutexGuard<'_, Vec<Heard>> {
    inbox.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What a participant said; the error is that it did not, which the node may have been told why.
fn heard(result: Result<Answer, Failure>) -> Result<(Said<Unfit>, Vec<table::Done>), Failure> {
    match result?.body {
        Body::Reply(Reply::Table(reply)) => match *reply {
            table::Reply::Commit(said, done) => Ok((said, done)),
            _ => Err(Failure::TimedOut),
        },
        Body::Table(reply) => match *reply {
            tables::ReadReply::Commit(said) => Ok((said, Vec::new())),
            _ => Err(Failure::TimedOut),
        },
        _ => Err(Failure::TimedOut),
    }
}

fn said(result: Result<Answer, Failure>) -> Option<Said<Unfit>> {
    heard(result).ok().map(|(said, _)| said)
}

/// What is heard of a shard that was dropped: see the module page.
fn of_dropped(what: &Asking) -> Result<Answer, Failure> {
    let said = match what {
        Asking::Step(Step::Prepare(_) | Step::Refuse { .. }, _) => Said::Vote(Vote::No(No::Refused)),
        Asking::Step(..) | Asking::Outcomes(_) => Said::Settled,
        Asking::Read(tables::Read::Vote(_)) => Said::Missing,
        Asking::Read(tables::Read::Undecided { .. }) => Said::Undecided(Vec::new()),
        Asking::Read(_) | Asking::Live => return Err(Failure::Refused(stale(), Head::default())),
    };
    let body = Body::Reply(Reply::Table(Box::new(table::Reply::Commit(said, Vec::new()))));
    Ok(Answer { head: Head::default(), body })
}

fn stale() -> Refused {
    Refused::Table(Refusal::StaleEpoch)
}

impl Lane {
    /// What came of transactions since this was asked last.
    pub fn tally(&mut self) -> Tally {
        std::mem::take(&mut self.transactions.tally)
    }

    /// Plants a bug in what this node does with transactions over shards; without the feature `mutants` of the protocol's it does nothing.
    pub fn plant_in_transactions(&mut self, mutant: Option<Mutant>) {
        self.transactions.mutant = mutant;
        self.node.locking.mutant = mutant;
    }

    /// The epoch of a shard that is there, as far as this node knows.
    fn epoch_of(&self, shard: ShardId) -> Option<u64> {
        if shard == self.space.shard {
            return Some(self.space.view.tables().epoch());
        }
        let placement = self.space.view.tables().placement();
        placement.block_of(shard).map(|block| block.epoch)
    }

    fn knows(&self, place: &Place) -> bool {
        self.epoch_of(place.shard) == Some(place.epoch)
    }

    /// Takes a request in that is of several shards, or gives it back.
    pub(super) fn call_across(
        &mut self,
        now: Instant,
        request: Request,
        timeout: Option<Duration>,
        done: Done,
    ) -> Option<(Request, Done)> {
        let request = match request {
            Request::Explained(inner, _) if matches!(*inner, Request::Transact(_) | Request::Gather(_)) => {
                *inner
            }
            request => request,
        };
        let places: Vec<Place> = match &request {
            Request::Transact(asked) => asked.places().collect(),
            Request::Gather(asked) => asked.gets.iter().map(|(place, _)| *place).collect(),
            Request::Led => {
                let (head, body) = (self.space.head(&self.node), self.led(now));
                done(Ok(Answer { head, body: Body::Led(Box::new(body)) }));
                return None;
            }
            _ => return Some((request, done)),
        };
        if let Err(failure) = self.space.takes(&self.node, &request) {
            done(Err(failure));
            return None;
        }
        if places.is_empty() || !places.iter().all(|place| self.knows(place)) {
            done(Err(Failure::Refused(stale(), self.space.head(&self.node))));
            return None;
        }
        let most = self.node.patience.request;
        let deadline = now + timeout.unwrap_or(most).min(most);
        match request {
            Request::Transact(asked) => {
                let began = self.node.times.reading(asked.now);
                self.transactions.transact(now, (*asked, began), deadline, done);
            }
            Request::Gather(asked) => self.transactions.gather(*asked, deadline, done),
            _ => {}
        }
        None
    }

    /// Sees to all that came, until nothing is new.
    pub(super) fn tend_transactions(&mut self, now: Instant) {
        if self.node.met.is_empty() && self.node.undecided.is_empty() && self.transactions.is_idle(now) {
            return;
        }
        loop {
            for met in std::mem::take(&mut self.node.met) {
                self.transactions.met(now, met);
            }
            for (id, participants) in std::mem::take(&mut self.node.undecided) {
                self.transactions.recover(now, id, &participants);
            }
            let came = std::mem::take(&mut *lock(&self.transactions.inbox));
            for Heard { shard, key, to, result } in came {
                let in_time = !matches!(result, Err(Failure::TimedOut));
                self.transactions.under_way.end(shard, key, in_time);
                self.transactions.came(now, to, result);
            }
            let shards = self.transactions.life.is_none().then(|| self.all_shards());
            if let (Some(shards), Some(number)) = (shards, self.transactions.number.take()) {
                self.transactions.begin_life(now, self.node.settings.node, number, shards);
            }
            self.transactions.tick(now);
            self.transactions.send_outcomes(now);
            for (shard, length) in std::mem::take(&mut self.transactions.pauses) {
                self.ask_for_pause(now, shard, length);
            }
            for wish in std::mem::take(&mut self.transactions.wishes) {
                self.carry_out(now, wish);
            }
            for (done, end) in std::mem::take(&mut self.transactions.finished) {
                let head = self.space.head(&self.node);
                done(match end {
                    End::Body(body) => Ok(Answer { head, body }),
                    End::Refused(refused) => Err(Failure::Refused(refused, head)),
                    End::Failure(failure) => Err(failure),
                });
            }
            if !self.transactions.has_news() {
                return;
            }
        }
    }

    fn all_shards(&self) -> Vec<ShardId> {
        let placement = self.space.view.tables().placement();
        let placed = placement.blocks().flat_map(|block| block.shards());
        [self.space.shard].into_iter().chain(placed).collect()
    }

    fn ask_for_pause(&mut self, now: Instant, shard: ShardId, length: Duration) {
        let Some((group, node)) = self.at(shard) else { return };
        if group.raft.is_leader() {
            group.pause(now, length);
        } else if let Some(leader) = group.raft.leader() {
            let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
            node.send(leader, &Frame::Pause { shard, millis });
        }
    }

    fn carry_out(&mut self, now: Instant, wish: Wish) {
        let key = wish.key();
        let Wish { shard, what, to } = wish;
        let usually = WAITS * self.transactions.every;
        let Some(timeout) = self.transactions.under_way.begin(shard, key, usually) else { return };
        let inbox = self.transactions.inbox.clone();
        let done: Done = Box::new(move |result| {
            // Nobody who was asked has the shard at this moment: it moves, or is not made yet. It is asked again.
            let result = match result {
                Err(Failure::Refused(refused, _)) if refused == stale() => Err(Failure::NoLeader),
                result => result,
            };
            lock(&inbox).push(Heard { shard, key, to, result });
        });
        let Some(epoch) = self.epoch_of(shard) else {
            let dropped = self.space.view.tables().placement().was_dropped(shard);
            return done(if dropped { of_dropped(&what) } else { Err(Failure::NoLeader) });
        };
        let write = |now, what| Request::Write(Command::Table(Box::new(table::Command { epoch, now, what })));
        let request = match what {
            Asking::Step(step, time) => write(time, What::Commit(step)),
            Asking::Outcomes(ids) => write(0, What::Outcomes(ids)),
            Asking::Live => write(0, What::Live),
            Asking::Read(read) => Request::Table { read: Box::new(read), fresh: Fresh::Newest, epoch },
        };
        self.call_shard(now, shard, request, Some(timeout).into(), done);
    }

    /// What came of the groups' turn is looked at in the same drain, and the groups once more where that asks something of them.
    pub(super) fn tend_transactions_again(&mut self, now: Instant, out: &mut Effects) {
        if self.transactions.has_news() || !self.node.met.is_empty() || !self.node.undecided.is_empty() {
            self.tend_transactions(now);
            self.space.drain(&mut self.node, now, out);
            self.drain_others(now, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Gather;
    use quorate_base::NodeId;
    use quorate_protocol::commit::Outcome as Decision;

    /// Claim: of a shard that is no more nobody has a vote, and nothing that is to be settled, fenced or forgotten is left; whatever else is
    /// asked of it is refused.
    #[test]
    fn a_shard_that_is_no_more_holds_nothing() {
        let id = TxnId { node: NodeId(1), boot: 1, sequence: 1, attempt: 1 };
        let (node, boot) = (id.node, id.boot);
        let steps = [
            (Step::Refuse { id, because: None }, Said::Vote(Vote::No(No::Refused))),
            (Step::Outcome { id, outcome: Decision::Commit }, Said::Settled),
            (Step::Fence { node, boot }, Said::Settled),
            (Step::Forget { node, upto: Mark { boot, sequence: 1 } }, Said::Settled),
            (Step::Close { node, boot }, Said::Settled),
        ];
        let steps = steps.map(|(step, expected)| (Asking::Step(step, 0), expected));
        let reads = [
            (Asking::Outcomes(vec![id]), Said::Settled),
            (Asking::Read(tables::Read::Vote(id)), Said::Missing),
            (Asking::Read(tables::Read::Undecided { node, boot }), Said::Undecided(Vec::new())),
        ];
        for (asking, expected) in steps.into_iter().chain(reads) {
            assert_eq!(said(of_dropped(&asking)), Some(expected));
        }
        for asking in [Asking::Live, Asking::Read(tables::Read::Seen(Vec::new()))] {
            assert!(matches!(of_dropped(&asking), Err(Failure::Refused(refused, _)) if refused == stale()));
        }
    }

    /// Claim: who waits too long hears that nothing was sent where nothing was, and else that he does not know.
    #[test]
    fn who_waits_too_long_hears_whether_something_was_sent() {
        let (now, every) = (Instant(1_000_000), Duration::from_millis(100));
        let mut transactions = Transactions::new(Rng::new(1), every, now);
        let asked = Transact { now: 1, token: None, ops: Vec::new() };
        transactions.transact(now, (asked, Hlc(1)), now + every, Box::new(drop));
        let gets = vec![(
            Place { shard: ShardId(2), epoch: 0 },
            tables::Get::of("t", quorate_item::Item::default()),
        )];
        transactions.gather(Gather { gets, together: true }, now + 2 * every, Box::new(drop));
        let mut ends = |at| {
            transactions.tick(at);
            std::mem::take(&mut transactions.finished).into_iter().map(|(_, end)| end).collect::<Vec<_>>()
        };
        assert!(ends(now).is_empty());
        assert!(matches!(ends(now + every)[..], [End::Failure(Failure::NoLeader)]));
        assert!(matches!(ends(now + 2 * every)[..], [End::Failure(Failure::TimedOut)]));
    }

    /// Claim: what this node does not know to be an answer is none.
    #[test]
    fn another_answer_is_none() {
        let body = Body::Reply(Reply::Table(Box::new(table::Reply::Lives(1))));
        assert_eq!(said(Ok(Answer { head: Head::default(), body })), None);
    }

    /// Claim: a node that stops answers all who wait, whatever they wait for; until then it wants to be driven when one of them has waited
    /// long enough.
    #[test]
    fn all_who_wait_are_known() {
        let (now, every) = (Instant(1_000_000), Duration::from_millis(100));
        let mut transactions = Transactions::new(Rng::new(1), 100 * every, now);
        assert_eq!(transactions.deadline(), None);
        transactions.again_at = now + 100 * every;
        let asked = || Transact { now: 1, token: None, ops: Vec::new() };
        transactions.begin_life(now, NodeId(1), 1, Vec::new());
        let delete = table::Action::Delete { key: bytes::Bytes::default() };
        let (condition, returns) = (None, table::Returns::None);
        let op = table::Op { table: "t".into(), action: delete, condition, returns, old_on_failure: false };
        let ops = vec![(Place { shard: ShardId(2), epoch: 0 }, op)];
        transactions.transact(now, (Transact { ops, ..asked() }, Hlc(1)), now + 9 * every, Box::new(drop));
        let get = tables::Get::of("t", quorate_item::Item::default());
        let gets = vec![(Place { shard: ShardId(2), epoch: 0 }, get)];
        transactions.gather(Gather { gets, together: false }, now + every, Box::new(drop));
        transactions.wishes.clear();
        assert_eq!(transactions.deadline(), Some(now + every));
        let mut other = Transactions::new(Rng::new(1), every, now);
        other.transact(now, (asked(), Hlc(1)), now + every, Box::new(drop));
        assert_eq!([transactions.drain_all().len(), other.drain_all().len()], [2, 1]);
    }
}
