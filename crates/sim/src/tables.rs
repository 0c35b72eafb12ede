//! Clients of tables: items as registers, lists in items, transactions by their tokens.
//!
//! They stand beside the clients of the key-value space, each doing one thing after the other, and write down what they asked and
//! heard. *Registers* are items that are put, deleted, read and put under a condition. *Lists* are items that transactions append to
//! and read: what only reads is one read of several items, what only appends is one command, and what does both reads first and
//! then asks, item by item, that all is as it was. Some reads of one item are sent as pages (`pages.rs`); a page of a shard is a read of the
//! lists there that are in use, at one moment (`leaf.rs`). A transaction that writes carries a token; where its outcome is not known it is
//! sent again, and some that were done, or refused, are sent again too.
//!
//! What must be true (`judge.rs`): registers are linearizable, transactions strictly serializable, by the checkers of histories;
//! who is told that a token's work is done had sent it before, and who sends again what was done is told so; at the end all nodes hold
//! the same items, an index holds of them what it should, and the change feed of a table with shards, shard by shard, comes to them.
//!
//! The times in the commands are those of clocks that differ by minutes: no promise rests on them but how long a token is known.

pub(crate) mod ask;
mod ends;
mod heard;
mod judge;
mod leaf;
mod old;
mod pages;

pub(crate) use ends::ENDERS;
pub(crate) use judge::{check_ends, check_feed, check_index};

use crate::world::{KV, World};
use ask::{Condition, append, check, put, read};
use ends::Ends;
use heard::Heard;
pub(crate) use old::Shown;
use old::{Look, Written};
use quorate_base::{Instant, NodeId, Rng, ShardId};
use quorate_node::api::{Answer, Failure, Request};
use quorate_node::evidence::Slot;
use quorate_state::table::Placement;
use quorate_wire::kv::Command as Any;
use quorate_wire::table::{Command, Definition, Done, EPOCH, Execute, Outcome, Reply, Token, What};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The table.
pub(crate) const TABLE: &str = "table";
/// The one that has shards of its own.
pub(crate) const SHARDED: &str = "sharded";
/// So many registers and lists are in use at a time, ...
const PLACES: u64 = 3;
/// ... each for so many milliseconds: a search costs more with the length of a history than with their number.
const LASTS: u64 = 2_400;
/// So often a transaction of unknown outcome is sent.
const TRIES: u32 = 4;
/// A token that was asked about longer ago may be forgotten: half of what is promised, since clocks differ.
const REMEMBERED: u64 = 300_000;
/// The numbers of items from here on are of those who use all shards of a table.
const ACROSS: u64 = 1 << 40;
/// Clocks differ by so many milliseconds at most.
const SKEW: u64 = 120_000;

/// A step of a transaction: a read of a list, with what was found, or an element for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Read(u64, Option<Vec<u64>>),
    Append(u64, u64),
}

/// What a client does.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Doing {
    /// Makes the table.
    Make,
    Read(u64),
    /// Without a value: a deletion.
    Write(u64, Option<u64>),
    /// A write, if it finds the first.
    Swap(u64, Option<u64>, u64),
    /// The reads of a transaction.
    Look(Vec<Step>),
    /// The writes of a transaction.
    Transact(Box<Transaction>),
    /// A transaction that was done, again.
    Again(Execute),
    /// A plain read of a register, which may be as old as the table's bound.
    Old(u64),
    /// The same of lists.
    Glance(Vec<Step>),
    /// A page of one of the table's shards: what it holds of these lists.
    Leaf(u32, Vec<Step>),
}

/// A transaction that writes.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Transaction {
    /// With what its reads found.
    steps: Vec<Step>,
    execute: Execute,
    /// Under how many tries the outcome of an earlier one is not known.
    doubts: u32,
    tries: u32,
}

/// What a client wrote down.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Event {
    process: u64,
    end: End,
    what: Noted,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Noted {
    /// A register: its operation, and its value or values.
    Register(u64, &'static str, String),
    Steps(Vec<Step>),
}

/// What is known of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Invoke,
    Ok,
    /// It did not happen, because of what it met.
    Refused,
    /// It did not happen, which says nothing of the item.
    Fail,
    /// Nobody knows.
    Info,
}

#[derive(Default)]
struct Seat {
    process: u64,
    doing: Option<Doing>,
    /// The last transaction that was done, and when.
    last: Option<(Execute, u64)>,
    tokens: u64,
    /// When it asked for what it waits for, and how that was served.
    asked: Instant,
    slot: Option<Slot>,
}

/// The clients of tables of a run.
pub(crate) struct Tables {
    /// Where the table lies, or of what table the shard is, with how many it has.
    shard: ShardId,
    shards: u32,
    rng: Rng,
    /// Items lie in the shards of their keys, and transactions go over several.
    across: bool,
    /// The table is there.
    made: bool,
    next: u64,
    seats: Vec<Seat>,
    events: Vec<Event>,
    /// Milliseconds that are left out between rounds, so that no item is used in two of them.
    skipped: u64,
    /// What was used, for the last reads.
    registers: BTreeSet<u64>,
    lists: BTreeSet<u64>,
    /// The table bounds the staleness of plain reads.
    bounded: bool,
    old: Rng,
    leaves: Rng,
    pages: Rng,
    ends: Ends,
    written: Written,
    /// What the lookers at nodes wait for.
    looks: BTreeMap<NodeId, Look>,
}

impl Tables {
    /// So many clients of a table in a shard.
    pub(crate) fn new(seed: u64, (shard, shards): (ShardId, u32), clients: usize) -> Self {
        let seat = |process| Seat { process, ..Seat::default() };
        Self {
            shard,
            shards,
            rng: Rng::stream(seed ^ u64::from(shard.get() - 1), "tables"),
            across: false,
            made: false,
            next: 0,
            seats: (0..clients as u64).map(seat).collect(),
            events: Vec::new(),
            skipped: 0,
            registers: BTreeSet::new(),
            lists: BTreeSet::new(),
            bounded: false,
            old: Rng::stream(seed ^ u64::from(shard.get() - 1), "plain reads"),
            leaves: Rng::stream(seed ^ u64::from(shard.get() - 1), "leaves"),
            pages: Rng::stream(seed ^ u64::from(shard.get() - 1), "pages"),
            ends: Ends::new(seed ^ u64::from(shard.get() - 1), u64::from(shard.get()) << 32),
            written: Written::default(),
            looks: BTreeMap::new(),
        }
    }

    /// Whether the table bounds the staleness of plain reads.
    pub(crate) fn bound(self, bounded: bool) -> Self {
        Self { bounded, ..self }
    }

    /// So many clients of all shards of the table that has so many.
    pub(crate) fn across(seed: u64, shards: u32, clients: usize) -> Self {
        let of = Self::new(seed ^ ACROSS, (ShardId(KV.get() + 1), shards), clients);
        Self { across: true, ends: Ends::new(seed ^ ACROSS, ACROSS), ..of }
    }

    /// Whether the clients are of all of the table's shards.
    pub(crate) fn is_across(&self) -> bool {
        self.across
    }

    /// Where the table lies.
    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    /// The table's name.
    pub(crate) fn name(&self) -> &'static str {
        if self.shard == KV { TABLE } else { SHARDED }
    }

    /// Whether it bounds the staleness of plain reads.
    pub(crate) fn is_bounded(&self) -> bool {
        self.bounded
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> usize {
        self.seats.len()
    }

    /// Whether anything was done with a table.
    pub(crate) fn is_made(&self) -> bool {
        self.made
    }

    /// How long a client rests, in microseconds.
    pub(crate) fn pause(&mut self) -> u64 {
        self.rng.between(1_000, 40_000)
    }

    /// The node that a client asks.
    pub(crate) fn node(&mut self, world: &World) -> NodeId {
        world.any(&mut self.rng)
    }

    /// All so far is judged: what comes is done to other items, and what was not through is given up.
    pub(crate) fn begin_round(&mut self) {
        let stride = self.seats.len() as u64;
        for seat in &mut self.seats {
            if seat.doing.take().is_some() {
                seat.process += stride;
            }
        }
        self.skipped += 2 * LASTS;
        self.events.clear();
        self.registers.clear();
        self.lists.clear();
        self.written.clear();
        self.looks.clear();
        self.ends.begin_round();
    }

    /// What a client sends next, to which shard, with words for it.
    pub(crate) fn next(&mut self, client: usize, now: Instant) -> (ShardId, Request, String) {
        let ms = now.since(Instant::ZERO).as_nanos() as u64 / 1_000_000;
        let doing = match self.seats[client].doing.take() {
            Some(doing) => doing,
            None => self.begin(client, ms),
        };
        self.written.begins(client, now, &doing);
        let (mut request, words) = (self.request(&doing, ms), doing.to_string());
        ask::address(&mut request, self.name());
        if matches!(doing, Doing::Old(_) | Doing::Glance(_)) {
            let slot = Slot::default();
            request = Request::Explained(Box::new(request), slot.clone());
            (self.seats[client].asked, self.seats[client].slot) = (now, Some(slot));
        }
        // Tables are made in the shard that knows of all of them.
        let shard = if doing == Doing::Make { KV } else { self.shard };
        self.seats[client].doing = Some(doing);
        (shard, request, words)
    }

    /// The request as it goes to the shards of its items, by the map of the node that is asked; `None` where that has none.
    pub(crate) fn route(
        &self,
        placement: &Placement,
        request: Request,
        ms: u64,
    ) -> Option<(ShardId, Request)> {
        ask::route(placement, self.name(), request, SKEW + ms)
    }

    fn begin(&mut self, client: usize, ms: u64) -> Doing {
        if !self.made {
            return Doing::Make;
        }
        if let Some(doing) = self.look_back(ms) {
            return doing;
        }
        if let Some(doing) = self.leaf(ms) {
            self.note(client, End::Invoke, &doing);
            return doing;
        }
        let dice = self.rng.below(20);
        if let (0, Some((execute, at))) = (dice, self.seats[client].last.take())
            && ms.saturating_sub(at) < REMEMBERED
        {
            return Doing::Again(execute);
        }
        let doing = if dice < 10 { self.of_register(ms) } else { self.of_lists(client, ms) };
        self.note(client, End::Invoke, &doing);
        doing
    }

    fn place(&mut self, ms: u64) -> u64 {
        let place = self.rng.below(PLACES);
        self.number(ms, place)
    }

    /// The item that is in use now at a place.
    fn number(&self, ms: u64, place: u64) -> u64 {
        let number = (ms + self.skipped + place * LASTS / PLACES) / LASTS * PLACES + place;
        if self.across { number + ACROSS } else { number }
    }

    fn of_register(&mut self, ms: u64) -> Doing {
        let key = self.place(ms);
        self.registers.insert(key);
        self.next += 1;
        match self.rng.below(10) {
            0..=3 => Doing::Read(key),
            4 => Doing::Write(key, None),
            5 | 6 => Doing::Write(key, Some(self.next)),
            // What it was a moment ago: it mostly still is.
            _ => Doing::Swap(key, self.seen(key), self.next),
        }
    }

    /// The value of a register in the last event that tells one.
    fn seen(&self, key: u64) -> Option<u64> {
        let of = |event: &Event| match &event.what {
            Noted::Register(at, f, value) if *at == key && event.end == End::Ok => {
                let value = if *f == "cas" { value.split(',').nth(1) } else { Some(value.as_str()) };
                Some(value.and_then(|value| value.trim_end_matches(']').parse().ok()))
            }
            _ => None,
        };
        self.events.iter().rev().take(60).find_map(of).flatten()
    }

    fn of_lists(&mut self, client: usize, ms: u64) -> Doing {
        let mut steps = Vec::new();
        let kind = self.rng.below(3);
        for _ in 0..self.rng.between(1, 4) {
            let list = self.place(ms);
            self.lists.insert(list);
            let reads = kind == 0 || kind == 1 && self.rng.chance(1, 2);
            steps.push(if reads {
                Step::Read(list, None)
            } else {
                self.next += 1;
                Step::Append(list, self.next)
            });
        }
        if steps.iter().any(|step| matches!(step, Step::Read(..))) {
            return Doing::Look(steps);
        }
        let ops = added(&steps).into_iter().map(|(list, elements)| append(list, &elements, None)).collect();
        self.transact(client, steps, ops)
    }

    fn transact(&mut self, client: usize, steps: Vec<Step>, ops: Vec<quorate_wire::table::Op>) -> Doing {
        let seat = &mut self.seats[client];
        seat.tokens += 1;
        // Others of the same table have their tokens in the same shards.
        let token = format!("{}{client}-{}", if self.across { "across " } else { "" }, seat.tokens);
        let token = Token { fingerprint: token.clone().into(), token: token.into() };
        let execute = Execute { atomic: true, token: Some(token), ops };
        Doing::Transact(Box::new(Transaction { steps, execute, doubts: 0, tries: 0 }))
    }

    fn request(&mut self, doing: &Doing, ms: u64) -> Request {
        let now = SKEW + ms - self.rng.below(SKEW) + self.rng.below(SKEW);
        let write = |what| Request::Write(Any::Table(Box::new(Command { epoch: EPOCH, now, what })));
        let alone = |op| write(What::Execute(Execute { atomic: false, token: None, ops: vec![op] }));
        match doing {
            Doing::Make => {
                let definition = ask::definition(self.name(), self.shards, self.bounded);
                let expires = self.ends.is_on().then(|| ends::END.into());
                write(What::Create(Box::new(Definition { expires, ..definition })))
            }
            Doing::Read(key) => read([ask::register(*key)]),
            Doing::Write(key, value) => alone(put(*key, *value, &Condition::Any)),
            Doing::Swap(key, old, new) => alone(put(*key, Some(*new), &Condition::of_number(*old))),
            Doing::Look(steps) => read(named(steps).into_iter().map(ask::list)),
            Doing::Transact(transaction) => write(What::Execute(transaction.execute.clone())),
            Doing::Again(execute) => write(What::Execute(execute.clone())),
            Doing::Old(key) => ask::plain([ask::register(*key)]),
            Doing::Glance(steps) => ask::plain(named(steps).into_iter().map(ask::list)),
            Doing::Leaf(shard, _) => ask::page(*shard),
        }
    }

    /// A client is answered. The error is a broken promise.
    pub(crate) fn answered(
        &mut self,
        client: usize,
        now: Instant,
        result: Result<Answer, Failure>,
        shown: Shown<'_>,
    ) -> Result<Option<&'static str>, String> {
        let Some(doing) = self.seats[client].doing.take() else { return Ok(None) };
        let heard = Heard::of(result, matches!(doing, Doing::Leaf(..)))?;
        match (doing, heard) {
            (doing @ (Doing::Old(_) | Doing::Glance(_)), Heard::Items(items)) => {
                return self.looked_back(&doing, &items, self.said_to(client, shown)).map(Some);
            }
            (Doing::Make, Heard::Reply(_) | Heard::Exists) => self.made = true,
            (Doing::Make, _)
            | (Doing::Old(_) | Doing::Glance(_), Heard::Unknown | Heard::NotDone)
            | (Doing::Again(_), Heard::Reply(Reply::Repeated) | Heard::Unknown | Heard::NotDone) => {}
            (doing @ (Doing::Read(_) | Doing::Look(_)), Heard::Items(items)) => {
                self.found(client, doing, items);
            }
            (
                doing @ (Doing::Read(_) | Doing::Look(_) | Doing::Leaf(..)),
                Heard::Unknown | Heard::NotDone,
            ) => {
                self.note(client, End::Fail, &doing);
            }
            (doing @ Doing::Leaf(..), Heard::Page(items)) => {
                return Ok(Some(self.leafed(client, doing, &items)));
            }
            (Doing::Transact(transaction), heard) => {
                return self.transacted(client, *transaction, heard, now).map(|()| None);
            }
            (Doing::Again(execute), heard) => {
                let token = words_of(&execute);
                return Err(format!("Tokens: {token} was done, and sent again it was answered {heard:?}"));
            }
            (doing, Heard::Reply(Reply::Executed(done))) => match done.first().map(|done| &done.outcome) {
                Some(Outcome::Done) => self.ended(client, now, End::Ok, &doing),
                Some(Outcome::ConditionFailed) => self.ended(client, now, End::Refused, &doing),
                // A transaction held the item.
                Some(Outcome::Conflict) if self.across => self.ended(client, now, End::Fail, &doing),
                other => return Err(format!("Tables: {doing} was answered {other:?}")),
            },
            (doing, Heard::NotDone) => self.ended(client, now, End::Fail, &doing),
            (doing, Heard::Unknown) => self.in_doubt(client, &doing),
            (doing, heard) => return Err(format!("Tables: {doing} was answered {heard:?}")),
        }
        Ok(None)
    }

    /// Whose operation may still happen is gone for good.
    fn in_doubt(&mut self, client: usize, doing: &Doing) {
        self.note(client, End::Info, doing);
        let stride = self.seats.len() as u64;
        self.seats[client].process += stride;
    }

    /// What was read is there: all of it, or the first half of a transaction.
    fn found(&mut self, client: usize, doing: Doing, items: Vec<Option<ask::Held>>) {
        let mut steps = match doing {
            Doing::Look(steps) => steps,
            Doing::Read(key) => {
                let value = items.first().and_then(|item| item.as_ref()?.number);
                self.note_as(client, End::Ok, Noted::Register(key, "read", number(value)));
                return;
            }
            _ => return,
        };
        let found: BTreeMap<u64, Option<Vec<u64>>> =
            named(&steps).into_iter().zip(items.into_iter().map(|item| item.map(|held| held.list))).collect();
        let mut lists: BTreeMap<u64, Vec<u64>> =
            found.iter().map(|(&list, held)| (list, held.clone().unwrap_or_default())).collect();
        for step in &mut steps {
            match step {
                Step::Append(list, element) => lists.entry(*list).or_default().push(*element),
                Step::Read(list, held) => *held = lists.get(list).cloned(),
            }
        }
        let mut added = added(&steps);
        if added.is_empty() {
            self.note_as(client, End::Ok, Noted::Steps(steps));
            return;
        }
        let ops = found.into_iter().map(|(list, old)| {
            let condition = Condition::of_list(old);
            match added.remove(&list) {
                Some(elements) => append(list, &elements, Some(&condition)),
                None => check(list, &condition),
            }
        });
        let ops = ops.collect();
        let doing = self.transact(client, steps, ops);
        self.seats[client].doing = Some(doing);
    }

    fn transacted(
        &mut self,
        client: usize,
        mut transaction: Transaction,
        heard: Heard,
        now: Instant,
    ) -> Result<(), String> {
        let ms = now.since(Instant::ZERO).as_nanos() as u64 / 1_000_000;
        transaction.tries += 1;
        let token = words_of(&transaction.execute);
        let steps = Noted::Steps(transaction.steps.clone());
        let done = match heard {
            Heard::Unknown if transaction.tries < TRIES => {
                transaction.doubts += 1;
                self.seats[client].doing = Some(Doing::Transact(Box::new(transaction)));
                return Ok(());
            }
            Heard::Unknown => None,
            Heard::Reply(Reply::Repeated) if transaction.doubts == 0 => {
                return Err(format!("Tokens: {token} was never done, and was answered as done"));
            }
            Heard::Reply(Reply::Repeated) => Some(true),
            Heard::Reply(Reply::Executed(done)) => Some(carried_out(&token, &done)?),
            Heard::NotDone => Some(false),
            heard => return Err(format!("Tables: the transaction {token} was answered {heard:?}")),
        };
        match done {
            Some(true) => {
                self.written.transacted(client, now);
                self.note_as(client, End::Ok, steps);
                self.seats[client].last = Some((transaction.execute, ms));
            }
            // A refusal is no memory: it is looked at anew.
            Some(false) if transaction.doubts == 0 && transaction.tries == 1 && self.rng.chance(1, 3) => {
                self.seats[client].doing = Some(Doing::Transact(Box::new(transaction)));
            }
            Some(false) if transaction.doubts == 0 => self.note_as(client, End::Fail, steps),
            // What was sent first may still come behind what was refused now.
            _ => self.in_doubt(client, &Doing::Transact(Box::new(transaction))),
        }
        Ok(())
    }

    /// Something is certain about an operation.
    fn ended(&mut self, client: usize, now: Instant, end: End, doing: &Doing) {
        if let Doing::Write(key, _) | Doing::Swap(key, ..) = doing {
            self.written.ends(client, now, *key, end);
        }
        self.note(client, end, doing);
    }

    fn note(&mut self, client: usize, end: End, doing: &Doing) {
        let what = match doing {
            Doing::Read(key) => Noted::Register(*key, "read", number(None)),
            Doing::Write(key, value) => Noted::Register(*key, "write", number(*value)),
            Doing::Swap(key, old, new) => Noted::Register(*key, "cas", format!("[{},{new}]", number(*old))),
            Doing::Look(steps) => Noted::Steps(steps.clone()),
            // Which lists are in the page its answer tells.
            Doing::Leaf(..) => Noted::Steps(Vec::new()),
            Doing::Transact(transaction) => Noted::Steps(transaction.steps.clone()),
            Doing::Make | Doing::Again(_) | Doing::Old(_) | Doing::Glance(_) => return,
        };
        self.note_as(client, end, what);
    }

    fn note_as(&mut self, client: usize, end: End, what: Noted) {
        let process = self.seats[client].process;
        self.events.push(Event { process, end, what });
    }
}

/// Whether the operations of a transaction were done: all were, or none.
fn carried_out(token: &str, done: &[Done]) -> Result<bool, String> {
    let against = |done: &Done| matches!(done.outcome, Outcome::ConditionFailed | Outcome::Conflict);
    let refused = done.iter().any(against);
    match done.iter().find(|done| done.outcome != Outcome::Done && !against(done)) {
        Some(other) => Err(format!("Tables: the transaction {token} was answered {other:?}")),
        None => Ok(!refused),
    }
}

/// The lists of some steps, in order.
fn named(steps: &[Step]) -> BTreeSet<u64> {
    let list = |step: &Step| match step {
        Step::Read(list, _) | Step::Append(list, _) => *list,
    };
    steps.iter().map(list).collect()
}

/// What some steps append, by list.
fn added(steps: &[Step]) -> BTreeMap<u64, Vec<u64>> {
    let mut added: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for step in steps {
        if let Step::Append(list, element) = step {
            added.entry(*list).or_default().push(*element);
        }
    }
    added
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "null".into(), |value| value.to_string())
}

fn words_of(execute: &Execute) -> String {
    let token = execute.token.as_ref().map(|token| String::from_utf8_lossy(&token.token).into_owned());
    format!("token {}", token.unwrap_or_default())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(list, None) => write!(f, "read a{list}"),
            Self::Read(list, Some(held)) => write!(f, "read a{list}: {held:?}"),
            Self::Append(list, element) => write!(f, "append {element} to a{list}"),
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = |f: &mut fmt::Formatter<'_>, steps: &[Step]| {
            let words: Vec<String> = steps.iter().map(Step::to_string).collect();
            f.write_str(&words.join(", "))
        };
        match self {
            Self::Make => f.write_str("make the table"),
            Self::Read(key) => write!(f, "get item r{key}"),
            Self::Write(key, None) => write!(f, "delete item r{key}"),
            Self::Write(key, Some(value)) => write!(f, "put item r{key} {value}"),
            Self::Swap(key, old, new) => write!(f, "put item r{key} {new} if {}", number(*old)),
            Self::Look(all) => {
                f.write_str("look: ")?;
                steps(f, all)
            }
            Self::Transact(transaction) => {
                write!(f, "{}: ", words_of(&transaction.execute))?;
                steps(f, &transaction.steps)
            }
            Self::Again(execute) => write!(f, "{} again", words_of(execute)),
            Self::Old(key) => write!(f, "get item r{key}, it may be old"),
            Self::Glance(all) => {
                f.write_str("glance: ")?;
                steps(f, all)
            }
            Self::Leaf(shard, all) => {
                write!(f, "page of shard {shard} of the table: ")?;
                steps(f, all)
            }
        }
    }
}
