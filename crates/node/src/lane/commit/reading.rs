//! Reads that met intents of transactions, and reads of several shards: by the rules of [`quorate_protocol::commit::reader`].
//!
//! A page of a query or a scan tells which transactions are about to write in what it is of. If none of them is committed, asked
//! behind the reading, the page is what it says. Otherwise their outcome is applied first, and the page is read again: what a
//! committed transaction writes may lie anywhere in it, and in its indexes.

use super::{Asking, End, Met, READINGS_MAX, To, Transactions, Wish, heard};
use crate::api::{Answer, Body, Done, Failure, Gather, Request};
use quorate_base::{Instant, ShardId};
use quorate_protocol::commit::reader::{self, Ask, Reader, Seen, Versioned};
use quorate_protocol::commit::{Answer as Said, Command as Step, Mutant, Outcome, TxnId, Vote, mutant};
use quorate_state::table::{Get, Got, Read, ReadReply};
use quorate_wire::table::Unfit;
use std::collections::{BTreeMap, BTreeSet};

/// So often a read of several items at one moment is tried.
const TRIES: u32 = 50;

/// A read that is under way.
pub(super) enum Reading {
    Items(Box<Items>),
    Page(Box<Page>),
}

/// Of items.
pub(super) struct Items {
    reader: Reader<Got>,
    gets: BTreeMap<ShardId, Vec<Get>>,
    /// Where each item lies.
    order: Vec<ShardId>,
    asked: BTreeSet<(ShardId, Ask)>,
    deadline: Instant,
    done: Done,
}

/// Of a page that met transactions.
pub(super) struct Page {
    shard: ShardId,
    request: Request,
    answer: Answer,
    /// The transactions that it met: one that has no other participant is committed by the vote that stands here.
    met: BTreeSet<TxnId>,
    /// What is known of the votes of the other participants.
    votes: BTreeMap<(TxnId, ShardId), Option<Heard>>,
    asked: BTreeSet<(TxnId, ShardId)>,
    /// The outcomes that are to be applied before it is read again; `None` before that is known.
    pushing: Option<BTreeSet<TxnId>>,
    deadline: Instant,
    done: Done,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Yes,
    Not,
    /// It is applied everywhere.
    Over,
}

impl Reading {
    pub(super) fn deadline(&self) -> Instant {
        match self {
            Self::Items(items) => items.deadline,
            Self::Page(page) => page.deadline,
        }
    }

    pub(super) fn into_done(self) -> Done {
        match self {
            Self::Items(items) => items.done,
            Self::Page(page) => page.done,
        }
    }
}

impl Transactions {
    /// A read of one shard met intents.
    pub(in super::super) fn met(&mut self, met: Met) {
        if self.readings.len() >= READINGS_MAX {
            return (met.done)(Err(Failure::Overloaded));
        }
        let Request::Table { read, .. } = &met.request else { return };
        self.tally.met += 1;
        match (&**read, met.answer.body.clone()) {
            (Read::Get(gets), Body::Table(reply)) => {
                let (shard, gets) = (met.shard, gets.clone());
                let ReadReply::Items(got) = *reply else { return };
                let mut items = Items {
                    reader: Reader::single(vec![shard], self.mutant),
                    order: vec![shard; gets.len()],
                    gets: BTreeMap::from([(shard, gets)]),
                    asked: BTreeSet::new(),
                    deadline: met.deadline,
                    done: met.done,
                };
                let read = items.reader.keys(shard, 1, got.into_iter().map(seen).collect());
                self.go_on(items, read);
            }
            (Read::Page(_), Body::Table(reply)) => {
                let ReadReply::Page(mut paged) = *reply else { return };
                let others = |(id, of): &(TxnId, Vec<ShardId>)| {
                    let of = of.iter().filter(|shard| **shard != met.shard);
                    of.map(|shard| ((*id, *shard), None)).collect::<Vec<_>>()
                };
                let found = std::mem::take(&mut paged.met);
                let votes = found.iter().flat_map(others).collect();
                let body = Body::Table(Box::new(ReadReply::Page(paged)));
                let page = Page {
                    shard: met.shard,
                    request: met.request,
                    answer: Answer { body, ..met.answer },
                    met: found.into_iter().map(|(id, _)| id).collect(),
                    votes,
                    asked: BTreeSet::new(),
                    pushing: None,
                    deadline: met.deadline,
                    done: met.done,
                };
                let number = self.next_number();
                self.readings.insert(number, Reading::Page(Box::new(page)));
                self.page_on(number);
            }
            _ => {}
        }
    }

    /// Items of several shards.
    pub(in super::super) fn gather(&mut self, asked: Gather, deadline: Instant, done: Done) {
        if self.readings.len() >= READINGS_MAX {
            return done(Err(Failure::Overloaded));
        }
        let order: Vec<ShardId> = asked.gets.iter().map(|(place, _)| place.shard).collect();
        let mut gets: BTreeMap<ShardId, Vec<Get>> = BTreeMap::new();
        for (place, get) in asked.gets {
            gets.entry(place.shard).or_default().push(get);
        }
        let shards: Vec<ShardId> = gets.keys().copied().collect();
        let reader = if asked.together {
            Reader::transaction(shards, TRIES, self.mutant)
        } else {
            Reader::single(shards, self.mutant)
        };
        self.go_on(Items { reader, gets, order, asked: BTreeSet::new(), deadline, done }, None);
    }

    fn next_number(&mut self) -> u64 {
        self.next_reading += 1;
        self.next_reading
    }

    fn go_on(&mut self, items: Items, read: Option<reader::Read<Got>>) {
        let number = self.next_number();
        self.readings.insert(number, Reading::Items(Box::new(items)));
        self.items_on(number, read);
    }

    pub(super) fn read_answered(
        &mut self,
        number: u64,
        shard: ShardId,
        ask: Ask,
        result: Result<Answer, Failure>,
    ) {
        match (self.readings.get_mut(&number), ask) {
            (Some(Reading::Items(items)), Ask::Keys(round)) => {
                let read = match result {
                    Ok(Answer { body: Body::Table(reply), .. }) => match *reply {
                        ReadReply::Items(got) => {
                            items.reader.keys(shard, round, got.into_iter().map(seen).collect())
                        }
                        _ => None,
                    },
                    Err(failure @ (Failure::Refused(..) | Failure::Broken(_))) => {
                        return self.fail(number, failure);
                    }
                    // It is asked again.
                    _ => return,
                };
                self.items_on(number, read);
            }
            (Some(Reading::Items(items)), Ask::Vote(round, id)) => {
                let Ok((said, _)) = heard(result) else { return };
                let read = items.reader.vote(shard, round, id, &said);
                self.items_on(number, read);
            }
            (Some(Reading::Page(page)), Ask::Vote(_, id)) => {
                let Ok((said, _)) = heard(result) else { return };
                if let Some(vote) = page.votes.get_mut(&(id, shard)) {
                    *vote = Some(Heard::of(&said));
                }
                self.page_on(number);
            }
            _ => {}
        }
    }

    fn fail(&mut self, number: u64, failure: Failure) {
        if let Some(reading) = self.readings.remove(&number) {
            self.finished.push((reading.into_done(), End::Failure(failure)));
        }
    }

    fn items_on(&mut self, number: u64, read: Option<reader::Read<Got>>) {
        let Some(Reading::Items(items)) = self.readings.get_mut(&number) else { return };
        if let Some(read) = read {
            let reply = Box::new(items.reply(read));
            if let Some(reading) = self.readings.remove(&number) {
                self.finished.push((reading.into_done(), End::Body(Body::Table(reply))));
            }
            return;
        }
        for (shard, ask) in items.reader.questions() {
            if !items.asked.insert((shard, ask.clone())) {
                continue;
            }
            let read = match &ask {
                Ask::Keys(_) => Read::Seen(items.gets.get(&shard).cloned().unwrap_or_default()),
                Ask::Vote(_, id) => Read::Vote(*id),
            };
            self.wishes.push(Wish { shard, what: Asking::Read(read), to: To::Asked(number, shard, ask) });
        }
    }

    fn page_on(&mut self, number: u64) {
        let Some(Reading::Page(page)) = self.readings.get_mut(&number) else { return };
        if let Some(pushing) = &page.pushing {
            if pushing.is_empty()
                && let Some(Reading::Page(page)) = self.readings.remove(&number)
            {
                self.again.push((page.shard, page.request, page.deadline, page.done));
            }
            return;
        }
        if mutant(self.mutant, Mutant::IntentReadsOld) {
            page.votes.clear();
            page.met.clear();
        }
        if page.votes.values().any(Option::is_none) {
            for (&(id, shard), _) in page.votes.iter().filter(|(_, vote)| vote.is_none()) {
                if page.asked.insert((id, shard)) {
                    let (what, to) =
                        (Asking::Read(Read::Vote(id)), To::Asked(number, shard, Ask::Vote(0, id)));
                    self.wishes.push(Wish { shard, what, to });
                }
            }
            return;
        }
        let mut of: BTreeMap<TxnId, Vec<Heard>> = page.met.iter().map(|id| (*id, Vec::new())).collect();
        for ((id, _), vote) in &page.votes {
            of.entry(*id).or_default().extend(*vote);
        }
        let committed =
            |(id, votes): (&TxnId, &Vec<Heard>)| votes.iter().all(|vote| *vote == Heard::Yes).then_some(*id);
        let committed: BTreeSet<TxnId> = of.iter().filter_map(committed).collect();
        let over = page.votes.values().any(|vote| *vote == Some(Heard::Over));
        if committed.is_empty() && !over {
            if let Some(Reading::Page(page)) = self.readings.remove(&number) {
                self.finished.push((page.done, End::Body(page.answer.body)));
            }
            return;
        }
        page.pushing = Some(committed);
        self.push_on(number);
    }

    /// Has the outcomes applied that a page waits for.
    fn push_on(&mut self, number: u64) {
        let Some(Reading::Page(page)) = self.readings.get(&number) else { return };
        let shard = page.shard;
        for id in page.pushing.iter().flatten() {
            let step = Step::Outcome { id: *id, outcome: Outcome::Commit };
            self.wishes.push(Wish { shard, what: Asking::Step(step, 0), to: To::Pushed(number, *id) });
        }
        self.page_on(number);
    }

    pub(super) fn pushed(&mut self, number: u64, id: TxnId, said: Option<&Said<Unfit>>) {
        if let (Some(Reading::Page(page)), Some(Said::Settled)) = (self.readings.get_mut(&number), said) {
            page.pushing.iter_mut().for_each(|pushing| pushing.retain(|of| *of != id));
            self.page_on(number);
        }
    }

    /// What is not answered is asked again.
    pub(super) fn read_again(&mut self) {
        for number in self.readings.keys().copied().collect::<Vec<_>>() {
            match self.readings.get_mut(&number) {
                Some(Reading::Items(items)) => {
                    items.asked.clear();
                    self.items_on(number, None);
                }
                Some(Reading::Page(page)) if page.pushing.is_some() => self.push_on(number),
                Some(Reading::Page(page)) => {
                    page.asked.clear();
                    self.page_on(number);
                }
                None => {}
            }
        }
    }
}

impl Items {
    fn reply(&self, read: reader::Read<Got>) -> ReadReply {
        let reader::Read::Values(values) = read else { return ReadReply::Changing };
        let mut values: BTreeMap<ShardId, _> =
            values.into_iter().map(|(shard, values)| (shard, values.into_iter())).collect();
        let got = self.order.iter().filter_map(|shard| values.get_mut(shard)?.next());
        ReadReply::Items(got.map(got_of).collect())
    }
}

impl Heard {
    fn of(said: &Said<Unfit>) -> Self {
        match said {
            Said::Vote(Vote::Yes) => Self::Yes,
            Said::Over => Self::Over,
            _ => Self::Not,
        }
    }
}

fn got_of(read: Versioned<Got>) -> Got {
    let version = read.version;
    read.value.unwrap_or(Got { item: None, bytes: 0, version, intent: None })
}

fn seen(mut got: Got) -> Seen<Got> {
    let versioned = |got: Got| Versioned { version: got.version, value: got.item.is_some().then_some(got) };
    let intent = got.intent.take().map(|intent| {
        let post = Got { item: intent.item, bytes: intent.bytes, version: intent.version, intent: None };
        reader::Met { id: intent.id, participants: intent.participants, post: versioned(post) }
    });
    Seen { pre: versioned(got), intent }
}
