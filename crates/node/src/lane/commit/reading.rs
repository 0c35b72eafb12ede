//! Reads that met intents of transactions, and reads of several shards: by the rules of [`quorate_protocol::commit::reader`]. Those of
//! pages stand in [`super::page`].

use super::page::Page;
use super::{Asking, End, Met, READINGS_MAX, To, Transactions, Wish, heard};
use crate::api::{Answer, Body, Done, Failure, Gather, Request};
use quorate_base::{Instant, ShardId};
use quorate_protocol::commit::reader::{self, Ask, Reader, Seen, Versioned};
use quorate_state::table::{Get, Got, Read, ReadReply};
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
    pub(in super::super) fn met(&mut self, now: Instant, met: Met) {
        if self.readings.len() >= READINGS_MAX {
            return (met.done)(Err(Failure::Overloaded));
        }
        let Request::Table { read, .. } = &met.request else { return };
        self.tally.met += 1;
        if matches!(**read, Read::Page(_)) {
            return self.page_met(now, met);
        }
        let (Read::Get(gets), Body::Table(reply)) = (&**read, met.answer.body) else { return };
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

    pub(super) fn next_number(&mut self) -> u64 {
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
        now: Instant,
        number: u64,
        (shard, ask): (ShardId, Ask),
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
            (Some(Reading::Page(_)), Ask::Keys(round)) => self.page_read(now, number, round, result),
            (Some(Reading::Page(_)), Ask::Vote(round, id)) => {
                let Ok((said, _)) = heard(result) else { return };
                self.page_vote(number, (shard, round, id), &said);
            }
            _ => {}
        }
    }

    pub(super) fn fail(&mut self, number: u64, failure: Failure) {
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

    /// What is not answered is asked again.
    pub(super) fn read_again(&mut self) {
        for number in self.readings.keys().copied().collect::<Vec<_>>() {
            match self.readings.get_mut(&number) {
                Some(Reading::Items(items)) => {
                    items.asked.clear();
                    self.items_on(number, None);
                }
                Some(Reading::Page(_)) => self.page_again(number),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Head, Place};
    use quorate_base::Rng;
    use quorate_base::time::Duration;
    use quorate_item::Item;

    const EVERY: Duration = Duration::from_millis(100);
    const SHARDS: [ShardId; 2] = [ShardId(2), ShardId(3)];

    /// A read of an item in each of two shards that is under way, with what is asked.
    fn begun(together: bool) -> (Transactions, Instant, Vec<(ShardId, Ask)>) {
        let now = Instant(1_000_000);
        let mut transactions = Transactions::new(Rng::new(1), EVERY, now);
        transactions.tick(now);
        let get = || Get::of("t", Item::default());
        let gets = SHARDS.map(|shard| (Place { shard, epoch: 0 }, get())).into();
        transactions.gather(Gather { gets, together }, now + 1_000 * EVERY, Box::new(drop));
        let asks = asks(&mut transactions);
        (transactions, now, asks)
    }

    fn asks(transactions: &mut Transactions) -> Vec<(ShardId, Ask)> {
        let asks = std::mem::take(&mut transactions.wishes).into_iter().map(|wish| match wish.to {
            To::Asked(1, shard, ask) => (shard, ask),
            _ => panic!("something else"),
        });
        asks.collect()
    }

    /// Nothing is there, since this version.
    fn nothing(version: u64) -> Answer {
        let got = Got { item: None, bytes: 0, version, intent: None };
        Answer { head: Head::default(), body: Body::Table(Box::new(ReadReply::Items(vec![got]))) }
    }

    fn reply(transactions: &mut Transactions) -> Option<ReadReply> {
        match transactions.finished.pop()?.1 {
            End::Body(Body::Table(reply)) => Some(*reply),
            _ => panic!("something else"),
        }
    }

    /// Claim: items that are read at one moment are read again until nothing changes, also where nothing is there, or as often as may be;
    /// their versions are told. Those that are read each for itself are read once.
    #[test]
    fn what_is_read_at_one_moment_is_read_twice() {
        for (together, changes) in [(false, 0), (true, 0), (true, 3), (true, 1_000)] {
            let (mut transactions, now, mut asked) = begun(together);
            let mut rounds = 0;
            let reply = loop {
                rounds += 1;
                assert_eq!(
                    asked.iter().map(|(shard, _)| *shard).collect::<Vec<_>>(),
                    SHARDS,
                    "round {rounds}"
                );
                for (shard, ask) in std::mem::take(&mut asked) {
                    transactions.read_answered(now, 1, (shard, ask), Ok(nothing(changes.min(rounds))));
                }
                if let Some(reply) = reply(&mut transactions) {
                    break reply;
                }
                asked = asks(&mut transactions);
            };
            match reply {
                ReadReply::Items(got) => {
                    assert!(got.iter().all(|got| got.item.is_none() && got.version == changes), "{got:?}");
                    let expected = if together { changes.max(1) + 1 } else { 1 };
                    assert_eq!((got.len(), rounds), (2, expected), "{changes} changes");
                }
                ReadReply::Changing => assert_eq!((changes, rounds), (1_000, u64::from(TRIES) + 1)),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Claim: who does not answer is asked again in time, and nobody else; a shard that refuses ends the reading at once.
    #[test]
    fn who_does_not_answer_is_asked_again() {
        let (mut transactions, now, mut asked) = begun(false);
        let (last, first) = (asked.pop().unwrap(), asked.pop().unwrap());
        transactions.read_answered(now, 1, first, Ok(nothing(1)));
        transactions.read_answered(now, 1, last.clone(), Err(Failure::NoLeader));
        assert!(asks(&mut transactions).is_empty());
        transactions.tick(now + EVERY);
        assert_eq!(asks(&mut transactions), std::slice::from_ref(&last));
        let refused = Failure::Refused(super::super::stale(), Head::default());
        transactions.read_answered(now, 1, last, Err(refused));
        assert!(matches!(transactions.finished[..], [(_, End::Failure(Failure::Refused(..)))]));
    }
}
