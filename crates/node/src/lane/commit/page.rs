//! Pages of queries and scans that met transactions: each is what its shard held at one moment.
//!
//! An item's read takes what a committed transaction is about to write for what the item holds ([`quorate_protocol::commit::reader`]),
//! and that lies at some moment before the answer. A page is of many items, and has to be right of all of them at once: a transaction
//! that was committed a little after the page was read, laid over it, may stand there without something else that was written
//! before it. So it is asked, *behind* the reading, which of the transactions that it met are committed:
//!
//! - None: then none was when it was read, and the page is what it says.
//! - Some: whenever it is read again, these are committed. So it is, at once, with their intents laid over its rows wherever their
//!   outcomes are not applied yet ([`Read::Over`]), and asked about the others that it meets then. Whatever was found out stays so,
//!   and nobody waits for an outcome, or for one who is undecided.
//!
//! A page over which transactions go all the time may find others committed each time. Then its shard's leader is asked to let none
//! in for about as long as the page takes ([`Frame::Pause`], [`super::queue`]): each look finds at least one of those that are left
//! committed, or is the last. This needs no answer: without the pause it takes luck, and nothing is wrong.
//!
//! *Why it is right.* Let the page be read at index i, behind a read index that was asked for once it was known of the transactions in K that they
//! are committed. There is a moment t behind that question at which the shard's log was committed up to i and no further. Those in K were
//! committed by t; of the others that hold something in the page at i, each had a participant without a Yes after t, so that it was not
//! committed at t; whatever holds nothing at i had not voted, or its outcome is applied. So at t the shard held its rows, with the intents of
//! K laid over them, and that is the page.

use super::reading::Reading;
use super::{Asking, End, Met, To, Transactions, Wish};
use crate::api::{Answer, Body, Done, Failure, Request};
use quorate_base::time::Duration;
use quorate_base::{Instant, ShardId};
use quorate_protocol::commit::reader::Ask;
use quorate_protocol::commit::{Answer as Said, Mutant, TxnId, Vote, mutant};
use quorate_state::table::{self, Paged, Read, ReadReply};
#[cfg(doc)]
use quorate_wire::peer::Frame;
use quorate_wire::table::Unfit;
use std::collections::{BTreeMap, BTreeSet};

/// A page that was read so often goes on with its leader's help.
const PATIENT: u64 = 2;
/// A pause that is asked for is as long as so many looks of the page take, ...
const LOOKS: u32 = 3;
/// ... but no shorter and no longer.
const PAUSE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// A page that met transactions.
pub(super) struct Page {
    shard: ShardId,
    asked_for: Box<table::Page>,
    /// These are committed.
    committed: BTreeSet<TxnId>,
    /// So often it was read. Answers about an earlier reading are late.
    round: u64,
    /// When it was read last, and how long the look before took.
    read: Instant,
    took: Duration,
    /// What was read; `None` while it is read again.
    paged: Option<Paged>,
    /// The transactions that it met then, and what is known of the votes of their other participants.
    met: BTreeMap<TxnId, BTreeMap<ShardId, Option<Heard>>>,
    asked: BTreeSet<(ShardId, Ask)>,
    pub(super) deadline: Instant,
    pub(super) done: Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Yes,
    Not,
    /// It is applied everywhere.
    Over,
}

impl Page {
    /// What is to be asked now, of whom.
    fn questions(&self) -> Vec<(ShardId, Ask)> {
        if self.paged.is_none() {
            return vec![(self.shard, Ask::Keys(self.round))];
        }
        let asks = self.met.iter().flat_map(|(id, votes)| {
            let unheard = votes.iter().filter(|(_, vote)| vote.is_none());
            unheard.map(|(shard, _)| (*shard, Ask::Vote(self.round, *id)))
        });
        asks.collect()
    }

    /// It was read.
    fn looked(&mut self, now: Instant, mut paged: Paged, planted: Option<Mutant>) {
        let others = |of: Vec<ShardId>| of.into_iter().filter(|shard| *shard != self.shard);
        let met = std::mem::take(&mut paged.met).into_iter();
        self.met = met.map(|(id, of)| (id, others(of).map(|shard| (shard, None)).collect())).collect();
        if mutant(planted, Mutant::IntentReadsOld) {
            self.met.clear();
        }
        self.took = now.since(self.read);
        self.read = now;
        self.paged = Some(paged);
    }

    /// All votes are known: whether what was read is the page. Otherwise it is to be read again.
    fn is_right(&mut self) -> bool {
        let before = self.committed.len();
        let all_yes = |votes: &BTreeMap<_, _>| votes.values().all(|vote| *vote == Some(Heard::Yes));
        self.committed.extend(self.met.iter().filter(|(_, votes)| all_yes(votes)).map(|(id, _)| *id));
        // What is over has left no intent where it is read again.
        let mut heard = self.met.values().flat_map(BTreeMap::values);
        self.committed.len() == before && heard.all(|vote| *vote != Some(Heard::Over))
    }

    fn is_heard(&self) -> bool {
        self.paged.is_some() && self.met.values().flat_map(BTreeMap::values).all(Option::is_some)
    }
}

impl Transactions {
    pub(super) fn page_met(&mut self, now: Instant, met: Met) {
        let (Request::Table { read, .. }, Body::Table(reply)) = (met.request, met.answer.body) else {
            return;
        };
        let (Read::Page(asked_for), ReadReply::Page(paged)) = (*read, *reply) else { return };
        let mut page = Page {
            shard: met.shard,
            asked_for,
            committed: BTreeSet::new(),
            round: 1,
            read: now,
            took: Duration::ZERO,
            paged: None,
            met: BTreeMap::new(),
            asked: BTreeSet::new(),
            deadline: met.deadline,
            done: met.done,
        };
        page.looked(now, paged, self.mutant);
        let number = self.next_number();
        self.readings.insert(number, Reading::Page(Box::new(page)));
        self.page_on(number);
    }

    /// It was asked to be read again.
    pub(super) fn page_read(
        &mut self,
        now: Instant,
        number: u64,
        round: u64,
        result: Result<Answer, Failure>,
    ) {
        let planted = self.mutant;
        let Some(Reading::Page(page)) = self.readings.get_mut(&number) else { return };
        if page.round != round || page.paged.is_some() {
            return;
        }
        match result {
            Ok(Answer { body: Body::Table(reply), .. }) => {
                let ReadReply::Page(paged) = *reply else { return };
                page.looked(now, paged, planted);
                self.page_on(number);
            }
            Err(failure @ (Failure::Refused(..) | Failure::Broken(_))) => self.fail(number, failure),
            // It is asked again.
            _ => {}
        }
    }

    pub(super) fn page_vote(
        &mut self,
        number: u64,
        (shard, round, id): (ShardId, u64, TxnId),
        said: &Said<Unfit>,
    ) {
        let Some(Reading::Page(page)) = self.readings.get_mut(&number) else { return };
        if page.round == round
            && let Some(vote) = page.met.get_mut(&id).and_then(|votes| votes.get_mut(&shard))
        {
            *vote = Some(match said {
                Said::Vote(Vote::Yes) => Heard::Yes,
                Said::Over => Heard::Over,
                _ => Heard::Not,
            });
            self.page_on(number);
        }
    }

    fn page_on(&mut self, number: u64) {
        let Some(Reading::Page(page)) = self.readings.get_mut(&number) else { return };
        if page.is_heard() {
            if page.is_right() {
                if let Some(Reading::Page(page)) = self.readings.remove(&number)
                    && let Some(paged) = page.paged
                {
                    let body = Body::Table(Box::new(ReadReply::Page(paged)));
                    self.finished.push((page.done, End::Body(body)));
                }
                return;
            }
            if page.round >= PATIENT {
                let [least, most] = PAUSE;
                self.pauses.push((page.shard, (LOOKS * page.took).clamp(least, most)));
            }
            page.round += 1;
            page.paged = None;
        }
        for (shard, ask) in page.questions() {
            if !page.asked.insert((shard, ask.clone())) {
                continue;
            }
            let read = match &ask {
                Ask::Keys(_) => Read::Over(page.asked_for.clone(), page.committed.clone()),
                Ask::Vote(_, id) => Read::Vote(*id),
            };
            self.wishes.push(Wish { shard, what: Asking::Read(read), to: To::Asked(number, shard, ask) });
        }
    }

    pub(super) fn page_again(&mut self, number: u64) {
        if let Some(Reading::Page(page)) = self.readings.get_mut(&number) {
            page.asked.clear();
            self.page_on(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Fresh, Head};
    use quorate_base::{NodeId, Rng};
    use quorate_state::table::KeysAsked;

    const AT: ShardId = ShardId(2);

    fn id(sequence: u64) -> TxnId {
        TxnId { node: NodeId(1), boot: 1, sequence, attempt: 1 }
    }

    /// A page that met these, each of which another shard takes part in.
    fn met(met: &[(TxnId, ShardId)]) -> Answer {
        let met = met.iter().map(|(id, other)| (*id, vec![AT, *other])).collect();
        let reply = ReadReply::Page(Paged { met, ..Paged::default() });
        Answer { head: Head::default(), body: Body::Table(Box::new(reply)) }
    }

    fn asked() -> Request {
        let page = table::Page { consistent: true, ..table::Page::of("t", KeysAsked::All(None)) };
        Request::Table { read: Box::new(Read::Page(Box::new(page))), fresh: Fresh::Newest, epoch: 1 }
    }

    /// Which transactions it knows to be committed as it asks for the page again, and whose votes it asks for.
    fn asks(transactions: &mut Transactions) -> Vec<Result<Vec<TxnId>, (ShardId, TxnId)>> {
        let asks = transactions.wishes.drain(..).map(|wish| match wish.what {
            Asking::Read(Read::Over(_, committed)) => Ok(committed.into_iter().collect()),
            Asking::Read(Read::Vote(id)) => Err((wish.shard, id)),
            _ => panic!("something else"),
        });
        asks.collect()
    }

    /// Claim: where a transaction that was met is over when it is asked about, the page is read again: it may have been committed before the
    /// page was asked for, and what it left have come to the shard behind the reading.
    #[test]
    fn what_is_over_by_then_is_read_again() {
        let (now, every) = (Instant(1_000), Duration::from_millis(100));
        let mut transactions = Transactions::new(Rng::new(1), every, now);
        let (done, answer): (Done, _) = (Box::new(drop), met(&[(id(1), ShardId(3))]));
        let deadline = now + Duration::from_secs(5);
        transactions.page_met(now, Met { shard: AT, request: asked(), deadline, done, answer });
        assert_eq!(asks(&mut transactions), [Err((ShardId(3), id(1)))]);
        transactions.page_vote(1, (ShardId(3), 1, id(1)), &Said::Over);
        assert_eq!(asks(&mut transactions), [Ok(vec![])]);
        assert!(transactions.finished.is_empty());
        transactions.page_read(now, 1, 2, Ok(met(&[])));
        assert!(matches!(transactions.finished[..], [(_, End::Body(Body::Table(_)))]));
    }

    /// Claim: what is committed stays known, what was asked about one reading says nothing of the next, the page is told once none of those
    /// that it met last is committed, and a page that found some committed twice asks for a pause.
    #[test]
    fn each_reading_is_asked_about_for_itself() {
        let (now, first, second, third) = (Instant(1_000), id(1), id(2), id(3));
        let every = Duration::from_millis(100);
        let mut transactions = Transactions::new(Rng::new(1), every, now);
        let deadline = now + Duration::from_secs(5);
        let met_at = Met {
            shard: AT,
            request: asked(),
            deadline,
            done: Box::new(drop),
            answer: met(&[(first, ShardId(3))]),
        };
        transactions.page_met(now, met_at);
        assert_eq!(asks(&mut transactions), [Err((ShardId(3), first))]);
        transactions.page_vote(1, (ShardId(3), 1, first), &Said::Vote(Vote::Yes));
        assert_eq!(asks(&mut transactions), [Ok(vec![first])]);
        assert!(transactions.pauses.is_empty());
        let later = now + Duration::from_millis(4);
        transactions.page_read(later, 1, 2, Ok(met(&[(second, ShardId(3)), (third, ShardId(4))])));
        assert_eq!(asks(&mut transactions), [Err((ShardId(3), second)), Err((ShardId(4), third))]);
        transactions.page_vote(1, (ShardId(3), 2, second), &Said::Vote(Vote::Yes));
        transactions.page_vote(1, (ShardId(4), 1, third), &Said::Missing);
        assert!(asks(&mut transactions).is_empty() && transactions.finished.is_empty(), "that was late");
        transactions.page_vote(1, (ShardId(4), 2, third), &Said::Missing);
        assert_eq!(asks(&mut transactions), [Ok(vec![first, second])]);
        assert_eq!(transactions.pauses, [(AT, Duration::from_millis(12))]);
        transactions.page_read(later, 1, 3, Ok(met(&[(third, ShardId(4))])));
        assert_eq!(asks(&mut transactions), [Err((ShardId(4), third))], "it may have voted meanwhile");
        transactions.page_vote(1, (ShardId(4), 3, third), &Said::Missing);
        assert!(matches!(transactions.finished[..], [(_, End::Body(Body::Table(_)))]));
        assert!(transactions.readings.is_empty());
    }
}
