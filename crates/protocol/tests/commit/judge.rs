//! The judge: one serial machine a shard, beside all that happens.
//!
//! A transaction happens, for the judge, at the instant at which its last Yes is chosen, a plain write at its entry: then it
//! is done on the serial machines, where nothing else is under way. It must come to the same there, and what the real shards
//! hold, with the intents of committed transactions in their places, must be what the serial ones hold, after every step. So a
//! run that passes is strictly serializable in that very order, and no clock took part.

use crate::toy::{Images, Key, Op, Ops, Toy};
use quorate_base::{Index, ShardId};
use quorate_protocol::commit::gateway::Reply;
use quorate_protocol::commit::participant::{Machine, RecordOf};
use quorate_protocol::commit::reader::Versioned;
use quorate_protocol::commit::{Answer, Command, Lock, Outcome, Place, Prepare, Record, TxnId, Vote};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

#[derive(Clone, Default)]
pub struct Judge {
    votes: BTreeMap<(TxnId, ShardId), bool>,
    prepares: BTreeMap<TxnId, BTreeMap<ShardId, (Ops, Index)>>,
    participants: BTreeMap<TxnId, Vec<ShardId>>,
    decided: BTreeMap<TxnId, Outcome>,
    /// Committed requests, which must be committed once.
    done: BTreeSet<(u64, Place)>,
    /// Requests that came under a token.
    pub tokens: BTreeMap<(u64, Place), (Key, Op)>,
    /// Tokens under which something was done.
    spent: BTreeSet<(Key, Op)>,
    /// Requests whose clients heard that they are not done.
    cancelled: BTreeSet<(u64, Place)>,
    /// In which shards earlier lives than this of a node have no first vote any more.
    fences: BTreeMap<(ShardId, u64), u64>,
    serial: BTreeMap<ShardId, Toy>,
    /// Values that keys ever had, with the number of the step since which they had them.
    history: BTreeMap<Key, Vec<(u64, Versioned<i64>)>>,
    /// How often the serial machines were changed.
    steps: u64,
    pub fault: Option<String>,
}

impl Judge {
    pub fn fail(&mut self, check: &str, what: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some(format!("{check}: {}", what()));
        }
    }

    pub fn now(&self) -> u64 {
        self.steps
    }

    pub fn decided(&self, id: &TxnId) -> Option<Outcome> {
        self.decided.get(id).copied()
    }

    /// What makes the future be judged otherwise; of the past values as far as somebody reads.
    pub fn fingerprint(&self, reads: bool, h: &mut impl std::hash::Hasher) {
        (&self.votes, &self.decided, &self.serial, &self.cancelled).hash(h);
        if reads {
            self.history.hash(h);
        }
    }

    /// An entry was applied.
    pub fn applied(
        &mut self,
        shards: &BTreeMap<ShardId, &Toy>,
        (shard, at): (ShardId, Index),
        command: &Command<Ops>,
        answer: &Answer<crate::toy::Reason>,
    ) {
        let machine = shards[&shard];
        match command {
            Command::Prepare(asked) => self.prepared(machine, (shard, at), asked, answer),
            Command::Refuse { id, .. } => self.noted(machine, shard, id, answer),
            Command::Outcome { id, outcome } => {
                self.noted(machine, shard, id, answer);
                if *answer == Answer::Settled {
                    self.outcome(shard, id, *outcome);
                }
            }
            Command::Execute(ops) => self.executed((shard, at), ops, answer),
            Command::Fence { node, boot } => {
                let fence = self.fences.entry((shard, node.0)).or_default();
                *fence = (*fence).max(*boot);
                for id in self.participants.keys().copied().collect::<Vec<_>>() {
                    self.decide(&id);
                }
            }
            Command::Forget { .. } | Command::Close { .. } => self.forgotten(shards, shard),
        }
        self.held(machine, shard);
        self.same(machine, shard);
    }

    fn prepared(
        &mut self,
        machine: &Toy,
        (shard, at): (ShardId, Index),
        asked: &Prepare<Ops>,
        answer: &Answer<crate::toy::Reason>,
    ) {
        let id = asked.id;
        self.participants.insert(id, asked.participants.clone());
        if let Some(Record::Yes(prepared)) = machine.records.get(&id)
            && prepared.at == at
        {
            self.prepares.entry(id).or_default().insert(shard, (asked.ops.clone(), at));
            if self.votes.contains_key(&(id, shard)) {
                self.fail("nobody votes twice", || format!("{shard:?} votes on {id:?} again at {at:?}"));
            }
        }
        self.noted(machine, shard, &id, answer);
    }

    /// Notes the vote in a machine's record, and what it decides.
    fn noted(&mut self, machine: &Toy, shard: ShardId, id: &TxnId, answer: &Answer<crate::toy::Reason>) {
        let vote = machine.records.get(id).map(RecordOf::<Toy>::vote);
        let said = if let Answer::Vote(vote) = answer { Some(vote.clone()) } else { None };
        if vote.is_some() && said.is_some() && said != vote {
            self.fail("a vote is said as it stands", || {
                format!("{shard:?} on {id:?}: {said:?}, not {vote:?}")
            });
        }
        let Some(vote) = vote.or(said) else { return };
        let yes = vote == Vote::Yes;
        if *self.votes.entry((*id, shard)).or_insert(yes) != yes {
            self.fail("a vote never changes", || format!("{shard:?} on {id:?}: now {vote:?}"));
        }
        self.decide(id);
    }

    fn decide(&mut self, id: &TxnId) {
        if self.decided.contains_key(id) {
            return;
        }
        for shard in self.participants.get(id).into_iter().flatten() {
            if self.fences.get(&(*shard, id.node.0)).is_some_and(|fence| id.boot < *fence) {
                self.votes.entry((*id, *shard)).or_insert(false);
            }
        }
        let votes = self.votes.range((*id, ShardId(0))..=(*id, ShardId(u32::MAX)));
        let votes: BTreeMap<ShardId, bool> = votes.map(|((_, shard), yes)| (*shard, *yes)).collect();
        if votes.values().any(|yes| !yes) {
            self.decided.insert(*id, Outcome::Abort);
            return;
        }
        let Some(participants) = self.participants.get(id) else { return };
        if participants.iter().all(|shard| votes.contains_key(shard)) {
            self.decided.insert(*id, Outcome::Commit);
            self.commit(id);
        }
    }

    /// Its point: the last Yes.
    fn commit(&mut self, id: &TxnId) {
        self.steps += 1;
        if !self.done.insert((id.node.0, id.place())) {
            self.fail("a request is done once", || format!("another attempt of {id:?} commits"));
        }
        if self.cancelled.contains(&(id.node.0, id.place())) {
            self.fail("what is answered as cancelled never happens", || format!("{id:?} commits"));
        }
        if let Some(token) = self.tokens.get(&(id.node.0, id.place())).copied()
            && !self.spent.insert(token)
        {
            self.fail("what comes under one token is done once", || {
                format!("{id:?} commits under {token:?}")
            });
        }
        for (shard, (ops, at)) in self.prepares.get(id).cloned().unwrap_or_default() {
            self.serially(shard, &ops, at, &format!("{id:?}"));
        }
    }

    fn executed(&mut self, (shard, at): (ShardId, Index), ops: &Ops, answer: &Answer<crate::toy::Reason>) {
        if *answer == Answer::Vote(Vote::Yes) {
            self.steps += 1;
            self.serially(shard, ops, at, "a plain write");
        }
    }

    fn serially(&mut self, shard: ShardId, ops: &Ops, at: Index, who: &str) {
        let steps = self.steps;
        let serial = self.serial.entry(shard).or_default();
        let Ok(worked_out) = serial.evaluate(ops);
        match worked_out {
            Ok(images) => {
                let Ok(()) = serial.install(&images, at);
                for (key, value) in images {
                    let value = Versioned { value, version: at.0 };
                    self.history.entry(key).or_default().push((steps, value));
                }
            }
            Err(reason) => self.fail("the order of the last Yes is a serial order", || {
                format!("{who} in {shard:?} does not hold there: {reason:?}")
            }),
        }
    }

    /// What a shard may forget knows its outcome in all shards.
    fn forgotten(&mut self, shards: &BTreeMap<ShardId, &Toy>, shard: ShardId) {
        let gates = &shards[&shard].gates;
        for (other, machine) in shards {
            let left = machine.records.iter().find(|(id, record)| {
                gates.get(&id.node).is_some_and(|gate| gate.is_over(id)) && matches!(record, Record::Yes(_))
            });
            if let Some((id, _)) = left {
                let id = *id;
                self.fail("nothing is forgotten before it is over everywhere", || {
                    format!("{shard:?} may forget {id:?}, and {other:?} knows no outcome of it")
                });
            }
        }
    }

    /// A shard says that it applied an outcome.
    fn outcome(&mut self, shard: ShardId, id: &TxnId, outcome: Outcome) {
        let decided = self.decided(id);
        if decided != Some(outcome) {
            self.fail("an outcome is what the votes come to", || {
                format!("{shard:?} applies {outcome:?} of {id:?}; the votes come to {decided:?}")
            });
        }
    }

    /// Who voted Yes and knows no outcome holds its locks.
    fn held(&mut self, machine: &Toy, shard: ShardId) {
        for (id, record) in &machine.records {
            let Record::Yes(prepared) = record else { continue };
            for (key, _) in &prepared.held {
                let holds = match machine.locks.get(key) {
                    Some(Lock::Exclusive(by)) => by == id,
                    Some(Lock::Shared(by)) => by.contains(id),
                    None => false,
                };
                if !holds {
                    self.fail("locks are held from the vote to the outcome", || {
                        format!("{shard:?}: {id:?} has lost {key:?}")
                    });
                }
            }
        }
    }

    /// A shard holds what the serial one holds, once its intents are taken for what they are.
    fn same(&mut self, machine: &Toy, shard: ShardId) {
        let mut effective = machine.items.clone();
        for (id, record) in &machine.records {
            let Record::Yes(prepared) = record else { continue };
            if self.decided(id) == Some(Outcome::Commit) {
                let images: &Images = &prepared.images;
                for (key, value) in images {
                    effective.insert(*key, Versioned { value: *value, version: prepared.at.0 });
                }
            }
        }
        let serial = self.serial.entry(shard).or_default().items.clone();
        if effective != serial {
            self.fail("a shard holds what a serial run holds", || {
                let key = effective.keys().chain(serial.keys()).find(|k| effective.get(k) != serial.get(k));
                let at = |map: &BTreeMap<Key, Versioned<i64>>| key.and_then(|k| map.get(k).cloned());
                format!("{shard:?} {key:?}: {:?}, serially {:?}", at(&effective), at(&serial))
            });
        }
    }

    // ---- clients ----

    /// A client hears of the attempts of a request.
    pub fn replied(&mut self, node: u64, place: Place, reply: &Reply<crate::toy::Reason>) {
        let done = self.done.contains(&(node, place));
        match reply {
            Reply::Committed if !done => {
                self.fail("what is answered as committed is", || format!("{place:?} of n{node} is not"));
            }
            Reply::Cancelled(_) => {
                self.cancelled.insert((node, place));
                let attempts = self.decided.iter().filter(|(id, _)| id.node.0 == node && id.place() == place);
                let mut decided = attempts.map(|(_, outcome)| *outcome);
                let aborted = !done && decided.all(|outcome| outcome == Outcome::Abort);
                let heard = self.decided.keys().any(|id| id.node.0 == node && id.place() == place);
                if !aborted || !heard {
                    self.fail("what is answered as cancelled is aborted", || {
                        format!("{place:?} of n{node} is not")
                    });
                }
            }
            _ => {}
        }
    }

    /// What a key held at some time from `from` to now.
    fn held_since(&self, key: Key, from: u64) -> Vec<(u64, Versioned<i64>)> {
        let first = (0, Versioned { value: None, version: 0 });
        let mut values: Vec<_> =
            std::iter::once(first).chain(self.history.get(&key).into_iter().flatten().cloned()).collect();
        let begin = values.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
        values.split_off(begin)
    }

    /// A read of one key is answered that began then.
    pub fn read(&mut self, key: Key, value: &Versioned<i64>, from: u64) {
        let held = self.held_since(key, from);
        if !held.iter().any(|(_, v)| v == value) {
            self.fail("a read sees what a key held meanwhile", || {
                format!("{key:?}: {value:?}; it held {held:?}")
            });
        }
    }

    /// A read-only transaction is answered that began then.
    pub fn read_at_once(&mut self, values: &[(Key, Versioned<i64>)], from: u64) {
        let fits = |at: u64| {
            values.iter().all(|(key, value)| {
                let held = self.held_since(*key, at);
                held.first().is_some_and(|(_, v)| v.value == value.value && v.version == value.version)
            })
        };
        let now = self.steps;
        if !(from..=now).any(fits) {
            self.fail("a read-only transaction sees one moment", || {
                format!("{values:?} from {from} to {now}")
            });
        }
    }

    /// At the end, with all faults over and all messages heard.
    pub fn at_rest(&mut self, shards: &BTreeMap<ShardId, &Toy>) {
        for (shard, machine) in shards {
            if let Some(key) = machine.locks.keys().next() {
                self.fail("at the end nothing is locked", || format!("{shard:?} {key:?}"));
            }
            if let Some(id) = machine.records.keys().next() {
                self.fail("at the end all is forgotten", || format!("{shard:?} {id:?}"));
            }
        }
    }
}
