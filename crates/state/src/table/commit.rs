//! Transactions over several shards: the rows and the evaluation that [`quorate_protocol::commit::participant`] is lent. The
//! rules are there.
//!
//! | row | key behind it | value |
//! | --- | --- | --- |
//! | `L` lock | key ([`super::lock`]) | who holds it |
//! | `N` gate | node | fence, first life that is not closed, marks of lives |
//! | `T` transaction | node, life, request, attempt | its vote, and while it is undecided what it holds and will leave |
//!
//! They are kept in memory, and written by cuts ([`super::held`]).
//!
//! An intent is what an item will be, whole; indexes, change feeds and figures follow when it is installed, by the table as it
//! is then. A table that is being deleted waits for them ([`super::closing`]). A token that is locked is remembered from when it
//! is installed.

use super::apply::{Applied, Asked, Becomes, Moment, Planned, TWICE, decode_stored, is_known};
use super::catalog::Catalog;
use super::held::Held;
use super::layout::damaged;
use super::{Tables, TablesView, lock};
use crate::digest::Digest;
use crate::kv::KvView;
use bytes::{BufMut, Bytes, BytesMut};
use quorate_base::{Index, NodeId, ShardId};
use quorate_item::Item;
use quorate_item::codec::Codec;
use quorate_protocol::commit::participant::{self, Keys, Machine, RecordOf, View};
use quorate_protocol::commit::{
    Answer, Command, Gate, Lock, Mode, Mutant, No, Outcome as Decision, Place, Prepare, Prepared, Record,
    TxnId, Vote,
};
use quorate_storage::state::{State, StateError, StateResult};
use quorate_wire::codec::{Malformed, Read, Reader, Write};
use quorate_wire::table::{
    Action, Done, Execute, Op, Outcome, Refusal, Reply, Token, Unfit, read_id, read_shards, write_id,
    write_shards,
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// What a transaction leaves in this shard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Images {
    /// Items, by table and key: encoded, or gone.
    pub(super) items: BTreeMap<(u32, Bytes), Option<Bytes>>,
    token: Option<Token>,
    /// The time of the entry that was voted on. Whoever sends the outcome may know none.
    now: u64,
}

/// Of a No, so many bytes of items are remembered that stood against it: until its gateway has it forgotten it lies in memory, and there
/// may be as many as transactions are refused.
const REMEMBERED_BYTES: usize = 1 << 10;

pub(super) type Stored = Record<Bytes, Images, Unfit>;

/// The intent that a read of an item met: whom to ask for its votes, and what the item will be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent {
    /// Whose.
    pub id: TxnId,
    /// All participants, this shard too.
    pub participants: Vec<ShardId>,
    /// The item; `None` if it goes.
    pub item: Option<Item>,
    /// Its size.
    pub bytes: usize,
    /// Its version then.
    pub version: u64,
}

/// The machine while it applies one entry.
struct Applying<'a> {
    tables: &'a mut Tables,
    state: &'a mut dyn State,
    moment: Moment,
    digest: &'a mut Digest,
    /// What the operations that were evaluated come to.
    done: RefCell<Vec<Done>>,
}

impl Tables {
    /// Applies a step of a transaction.
    pub(super) fn step_of_transaction(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        step: &Command<Execute>,
        digest: &mut Digest,
    ) -> Applied<Reply> {
        if let Command::Prepare(Prepare { ops, .. }) | Command::Execute(ops) = step
            && ops.ops.iter().any(|op| self.is_elsewhere(&op.table))
        {
            return Ok(Err(Refusal::StaleEpoch));
        }
        let done = RefCell::new(Vec::new());
        let mut applying = Applying { tables: self, state, moment, digest, done };
        let before = match step {
            Command::Prepare(asked) => Some(participant::vote(&applying, &asked.id)?),
            _ => None,
        };
        let answer = participant::apply(&mut applying, moment.index, step)?;
        let mut done = applying.done.into_inner();
        self.drop_closed(state, moment.index, digest);
        if let (Command::Prepare(asked), Some(Answer::Missing), Answer::Vote(Vote::No(No::Conflict(_)))) =
            (step, before, &answer)
        {
            done = self.in_conflict(&asked.ops);
        }
        Ok(Ok(Reply::Commit(answer, done)))
    }

    /// Applies that transactions are committed.
    pub(super) fn commit_all(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        ids: &[TxnId],
        digest: &mut Digest,
    ) -> StateResult<Reply> {
        let mut said = Answer::Settled;
        for id in ids {
            let done = RefCell::new(Vec::new());
            let mut applying = Applying { tables: self, state, moment, digest, done };
            let step = Command::Outcome { id: *id, outcome: Decision::Commit };
            let answer = participant::apply(&mut applying, moment.index, &step)?;
            if said == Answer::Settled {
                said = answer;
            }
        }
        self.drop_closed(state, moment.index, digest);
        Ok(Reply::Commit(said, Vec::new()))
    }

    /// Which operations are those whose items others hold. None where the token is held: whoever holds it may be the same request, sent
    /// before, and hold the items for that.
    fn in_conflict(&self, ops: &Execute) -> Vec<Done> {
        let token =
            ops.token.as_ref().is_some_and(|token| self.held.lock(&lock::token(&token.token)).is_some());
        let held = |(key, op): (Result<(Bytes, Mode), Outcome>, &Op)| {
            let lock = key.ok().and_then(|(key, _)| self.held.lock(&key));
            let conflict = !token && lock.is_some_and(|lock| lock::forbids(lock, &op.action));
            Done::of(if conflict { Outcome::Conflict } else { Outcome::Done })
        };
        keys_of(&self.catalog, ops).into_iter().zip(&ops.ops).map(held).collect()
    }

    /// A life of a gateway begins.
    pub(super) fn live(&mut self, state: &mut dyn State, digest: &mut Digest) -> Reply {
        self.lives += 1;
        self.put_meta(state);
        digest.number(LIFE);
        digest.number(self.lives);
        Reply::Lives(self.lives)
    }
}

/// The key of each operation, or why it has none.
fn keys_of(catalog: &Catalog, ops: &Execute) -> Vec<Result<(Bytes, Mode), Outcome>> {
    let key = |op: &Op| {
        let open = catalog.get(&op.table).filter(|table| !table.definition.closing);
        let table = open.ok_or_else(|| Outcome::NoTable(op.table.clone()))?;
        let asked = Asked::read(table, op)?;
        let mode = if matches!(op.action, Action::Check { .. }) { Mode::Shared } else { Mode::Exclusive };
        Ok((lock::item(table.definition.id, &table.at(&asked.key)), mode))
    };
    ops.ops.iter().map(key).collect()
}

/// The keys of operations and of their token, each once.
fn keys(catalog: &Catalog, ops: &Execute) -> Result<Vec<(Bytes, Mode)>, Unfit> {
    let keys = keys_of(catalog, ops);
    // A shard of a table that is being deleted takes no token either.
    if keys.iter().any(Result::is_err) || catalog.is_closed() {
        let done = |key: Result<_, Outcome>| Done::of(key.err().unwrap_or(Outcome::Done));
        return Err(Unfit::Ops(keys.into_iter().map(done).collect()));
    }
    let mut keys: Vec<(Bytes, Mode)> = keys.into_iter().flatten().collect();
    if keys.iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len() < keys.len() {
        return Err(Unfit::Validation(TWICE.into()));
    }
    keys.extend(ops.token.iter().map(|token| (lock::token(&token.token), Mode::Exclusive)));
    Ok(keys)
}

fn holders<'a>(locks: impl Iterator<Item = &'a Lock>) -> BTreeSet<TxnId> {
    let ids = |lock: &Lock| match lock {
        Lock::Exclusive(id) => BTreeSet::from([*id]),
        Lock::Shared(ids) => ids.clone(),
    };
    locks.flat_map(ids).collect()
}

impl View for Applying<'_> {
    type Key = Bytes;
    type Ops = Execute;
    type Images = Images;
    type Reason = Unfit;
    type Error = StateError;

    fn keys(&self, ops: &Execute) -> StateResult<Keys<Self>> {
        if self.tables.holds_back(ops) {
            return Ok(Err(Unfit::Moved));
        }
        Ok(keys(&self.tables.catalog, ops))
    }

    fn lock(&self, key: &Bytes) -> StateResult<Option<Lock>> {
        Ok(self.tables.held.lock(key).cloned())
    }

    fn holders(&self) -> StateResult<BTreeSet<TxnId>> {
        Ok(holders(self.tables.held.locks()))
    }

    fn record(&self, id: &TxnId) -> StateResult<Option<RecordOf<Self>>> {
        Ok(self.tables.held.record(id).map(|record| Stored::clone(record)))
    }

    fn gate(&self, node: NodeId) -> StateResult<Gate> {
        Ok(self.tables.held.gate(node))
    }

    fn mutant(&self) -> Option<Mutant> {
        self.tables.planted_in_transactions
    }
}

impl Machine for Applying<'_> {
    fn spent(&self, ops: &Execute) -> StateResult<Option<Unfit>> {
        let Some(token) = &ops.token else { return Ok(None) };
        let row = self.tables.token_row(self.state, token)?;
        Ok(match is_known(row.as_ref(), token, self.moment.now) {
            Ok(false) => None,
            Ok(true) => Some(Unfit::Repeated),
            Err(Refusal::TokenMismatch) => Some(Unfit::TokenMismatch),
            Err(_) => return Err(damaged("a token")),
        })
    }

    fn evaluate(&self, ops: &Execute) -> StateResult<Result<Images, Unfit>> {
        let mut planned = Vec::with_capacity(ops.ops.len());
        for op in &ops.ops {
            planned.push(self.tables.plan(self.state, op)?);
        }
        if planned.iter().any(Result::is_err) {
            let reason = |planned: Result<_, Done>| planned.err().unwrap_or(Done::of(Outcome::Done));
            return Ok(Err(Unfit::Ops(planned.into_iter().map(reason).collect())));
        }
        let mut images = Images { token: ops.token.clone(), now: self.moment.now, ..Images::default() };
        let mut done = self.done.borrow_mut();
        for mut planned in planned.into_iter().flatten() {
            // The rows follow when the intent is installed, and nobody waits for that.
            planned.done.indexes = self.tables.units_in_indexes(&planned);
            let key = (planned.table.definition.id, Bytes::from(planned.at));
            match planned.becomes {
                Becomes::Same => {}
                Becomes::Nothing => drop(images.items.insert(key, None)),
                Becomes::Item(_, bytes) => drop(images.items.insert(key, Some(bytes))),
            }
            done.push(planned.done);
        }
        Ok(Ok(images))
    }

    fn remembered(&self, reason: &Unfit) -> Unfit {
        let mut reason = reason.clone();
        if let Unfit::Ops(done) = &mut reason {
            let mut room = REMEMBERED_BYTES;
            for done in done {
                let bytes = done.attributes.as_ref().map_or(0, Bytes::len);
                match room.checked_sub(bytes) {
                    Some(left) => room = left,
                    None => done.attributes = None,
                }
            }
        }
        reason
    }

    fn install(&mut self, images: &Images, version: Index) -> StateResult<()> {
        self.moment.now = self.moment.now.max(images.now);
        for ((table, at), bytes) in &images.items {
            self.install_item(*table, at, bytes.as_ref(), version)?;
        }
        if let Some(token) = &images.token {
            let before = self.tables.token_row(self.state, token)?.map(|row| row.end);
            self.tables.remember(self.state, (token, before), self.moment.now, self.digest)?;
        }
        Ok(())
    }

    fn set_lock(&mut self, key: &Bytes, lock: Option<&Lock>) -> StateResult<()> {
        self.digest.number(LOCK);
        self.digest.bytes(key);
        if let Some(lock) = lock {
            self.digest.bytes(&lock::encode(lock));
        }
        self.tables.held.set_lock(key, lock);
        Ok(())
    }

    fn set_record(&mut self, id: &TxnId, record: Option<&RecordOf<Self>>) -> StateResult<()> {
        self.digest.number(TRANSACTION);
        self.digest.number(id.sequence);
        if let Some(record) = record {
            self.digest.bytes(&encode_record(record));
        }
        self.tables.held.set_record(id, record);
        Ok(())
    }

    fn set_gate(&mut self, node: NodeId, gate: &Gate) -> StateResult<()> {
        self.digest.number(GATE);
        self.digest.bytes(&encode_gate(gate));
        self.tables.held.set_gate(node, gate);
        Ok(())
    }

    fn records(&self, node: NodeId, places: RangeInclusive<Place>) -> StateResult<Vec<TxnId>> {
        let id = |place: &Place, attempt| TxnId { node, boot: place.boot, sequence: place.sequence, attempt };
        Ok(self.tables.held.known(&(id(places.start(), 0)..=id(places.end(), u32::MAX))))
    }
}

impl Applying<'_> {
    fn install_item(
        &mut self,
        table: u32,
        at: &Bytes,
        bytes: Option<&Bytes>,
        version: Index,
    ) -> StateResult<()> {
        let of = self.tables.catalog.tables().find(|of| of.definition.id == table).cloned();
        // Deleted meanwhile by an entry of before version 10, with all that was in it.
        let Some(table) = of else { return Ok(()) };
        let row = self.tables.rows.item(table.definition.id, at);
        let old = self.state.get(&row)?.map(decode_stored).transpose()?.map(|stored| stored.item);
        let bad = || damaged("an intent");
        let new = bytes.map(|bytes| Item::decode(bytes).map_err(|_| bad())).transpose()?;
        let Some(some) = new.as_ref().or(old.as_ref()) else { return Ok(()) };
        let key = table.schema.key_of_item(some).map_err(|_| bad())?;
        let becomes = match (new, bytes) {
            (Some(item), Some(bytes)) => Becomes::Item(item, bytes.clone()),
            _ => Becomes::Nothing,
        };
        let (at, done) = (at.to_vec(), Done::of(Outcome::Done));
        let planned = Planned { table, key, at, old, becomes, done };
        let moment = Moment { version, ..self.moment };
        self.tables.carry_out(self.state, moment, planned, self.digest)?;
        Ok(())
    }
}

/// What is readable of a shard, for the rules that only look: those of a leader before its log, and of whoever asks for votes.
#[derive(Clone, Copy)]
pub struct Seen<'a>(pub &'a KvView);

impl Seen<'_> {
    fn held(&self) -> &Held {
        &self.0.tables().held
    }
}

impl View for Seen<'_> {
    type Key = Bytes;
    type Ops = Execute;
    type Images = Images;
    type Reason = Unfit;
    type Error = StateError;

    fn keys(&self, ops: &Execute) -> StateResult<Keys<Self>> {
        if self.0.tables().holds_back(ops) {
            return Ok(Err(Unfit::Moved));
        }
        Ok(keys(&self.0.tables().catalog, ops))
    }

    fn lock(&self, key: &Bytes) -> StateResult<Option<Lock>> {
        Ok(self.held().lock(key).cloned())
    }

    fn holders(&self) -> StateResult<BTreeSet<TxnId>> {
        Ok(holders(self.held().locks()))
    }

    fn record(&self, id: &TxnId) -> StateResult<Option<RecordOf<Self>>> {
        Ok(self.held().record(id).map(|record| Stored::clone(record)))
    }

    fn gate(&self, node: NodeId) -> StateResult<Gate> {
        Ok(self.held().gate(node))
    }
}

impl KvView {
    /// The items that a transaction holds here while it is undecided, at most so many: each by its table's name and its key, that in JSON
    /// as DynamoDB writes it. One whose table is deleted is left out.
    pub fn held_by(&self, id: &TxnId, most: usize) -> Vec<(String, String)> {
        let tables = self.tables();
        let Some(prepared) = tables.prepared(id) else { return Vec::new() };
        let named = |(key, _): &(Bytes, Mode)| {
            let (table, at) = lock::item_of(key)?;
            let table = tables.catalog.tables().find(|known| known.definition.id == table)?;
            Some((table.definition.name.clone(), table.key_in_words(at)?))
        };
        prepared.held.iter().filter_map(named).take(most).collect()
    }
}

impl TablesView {
    /// Whether transactions over several shards hold anything here.
    pub fn is_locked(&self) -> bool {
        self.held.is_locked()
    }

    /// What a transaction that is undecided here holds.
    pub(super) fn prepared(&self, id: &TxnId) -> Option<&Prepared<Bytes, Images>> {
        match &**self.held.record(id)? {
            Record::Yes(prepared) => Some(prepared),
            _ => None,
        }
    }

    /// The intent at an item, if a transaction that is undecided here is about to write it.
    pub(super) fn intent(&self, table: u32, at: &[u8]) -> StateResult<Option<Intent>> {
        if !self.held.is_locked() {
            return Ok(None);
        }
        let Some(&Lock::Exclusive(id)) = self.held.lock(&lock::item(table, at)) else { return Ok(None) };
        let Some(prepared) = self.prepared(&id) else { return Ok(None) };
        let key = (table, Bytes::copy_from_slice(at));
        // What is locked and comes to nothing else than it is has no image.
        let Some(image) = prepared.images.items.get(&key) else { return Ok(None) };
        let item =
            image.as_ref().map(|bytes| Item::decode(bytes).map_err(|_| damaged("an intent"))).transpose()?;
        let version = prepared.at.get();
        let bytes = item.as_ref().map_or(0, Item::size);
        Ok(Some(Intent { id, participants: prepared.participants.clone(), item, bytes, version }))
    }
}

// ---- rows ----

const NO_CONFLICT: u8 = 1;
const NO_REFUSED: u8 = 2;
const NO_OPS: u8 = 3;
const NO_VALIDATION: u8 = 4;
const NO_REPEATED: u8 = 5;
const NO_MISMATCH: u8 = 6;
const NO_MOVED: u8 = 10;
const YES: u8 = 7;
const COMMITTED: u8 = 8;
const ABORTED: u8 = 9;

pub(super) fn encode_record(record: &Stored) -> Bytes {
    let mut out = BytesMut::new();
    match record {
        Record::No(No::Conflict(holder)) => {
            out.put_u8(NO_CONFLICT);
            write_id(&mut out, holder);
        }
        Record::No(No::Refused) => out.put_u8(NO_REFUSED),
        Record::No(No::Reason(Unfit::Ops(done))) => {
            out.put_u8(NO_OPS);
            out.varint(done.len() as u64);
            for done in done {
                write_reason(&mut out, done);
            }
        }
        Record::No(No::Reason(Unfit::Validation(text))) => {
            out.put_u8(NO_VALIDATION);
            out.string(text.as_bytes());
        }
        Record::No(No::Reason(Unfit::Repeated)) => out.put_u8(NO_REPEATED),
        Record::No(No::Reason(Unfit::TokenMismatch)) => out.put_u8(NO_MISMATCH),
        Record::No(No::Reason(Unfit::Moved)) => out.put_u8(NO_MOVED),
        Record::Yes(prepared) => {
            out.put_u8(YES);
            write_prepared(&mut out, prepared);
        }
        Record::Over(Decision::Commit) => out.put_u8(COMMITTED),
        Record::Over(Decision::Abort) => out.put_u8(ABORTED),
    }
    out.freeze()
}

pub(super) fn decode_record(stored: Bytes) -> StateResult<Stored> {
    let mut input = Reader::new(stored);
    let mut read = || -> Read<Stored> {
        let record = match input.u8()? {
            NO_CONFLICT => Record::No(No::Conflict(read_id(&mut input)?)),
            NO_REFUSED => Record::No(No::Refused),
            NO_OPS => {
                let done = (0..input.count()?).map(|_| read_reason(&mut input)).collect::<Read<_>>()?;
                Record::No(No::Reason(Unfit::Ops(done)))
            }
            NO_VALIDATION => Record::No(No::Reason(Unfit::Validation(text(&mut input)?))),
            NO_REPEATED => Record::No(No::Reason(Unfit::Repeated)),
            NO_MISMATCH => Record::No(No::Reason(Unfit::TokenMismatch)),
            NO_MOVED => Record::No(No::Reason(Unfit::Moved)),
            YES => Record::Yes(read_prepared(&mut input)?),
            COMMITTED => Record::Over(Decision::Commit),
            ABORTED => Record::Over(Decision::Abort),
            _ => return Err(Malformed),
        };
        input.end()?;
        Ok(record)
    };
    read().map_err(|_| damaged("a transaction's record"))
}

fn text(input: &mut Reader) -> Read<String> {
    String::from_utf8(input.bytes()?.to_vec()).map_err(|_| Malformed)
}

fn option(input: &mut Reader) -> Read<Option<Bytes>> {
    if input.flag()? { input.bytes().map(Some) } else { Ok(None) }
}

fn write_option(out: &mut BytesMut, bytes: Option<&Bytes>) {
    out.flag(bytes.is_some());
    if let Some(bytes) = bytes {
        out.string(bytes);
    }
}

/// What stands against an operation. (Nothing was written, so no index was.)
fn write_reason(out: &mut BytesMut, done: &Done) {
    match &done.outcome {
        Outcome::Done => out.put_u8(0),
        Outcome::ConditionFailed => out.put_u8(1),
        Outcome::Invalid(text) => {
            out.put_u8(2);
            out.string(text.as_bytes());
        }
        Outcome::NoTable(name) => {
            out.put_u8(3);
            out.string(name.as_bytes());
        }
        Outcome::Conflict => out.put_u8(4),
    }
    write_option(out, done.attributes.as_ref());
    out.varint(done.bytes);
}

fn read_reason(input: &mut Reader) -> Read<Done> {
    let outcome = match input.u8()? {
        0 => Outcome::Done,
        1 => Outcome::ConditionFailed,
        2 => Outcome::Invalid(text(input)?),
        3 => Outcome::NoTable(text(input)?),
        4 => Outcome::Conflict,
        _ => return Err(Malformed),
    };
    Ok(Done { outcome, attributes: option(input)?, bytes: input.varint()?, indexes: Vec::new() })
}

fn write_prepared(out: &mut BytesMut, prepared: &Prepared<Bytes, Images>) {
    let Prepared { at, began, participants, held, images } = prepared;
    out.varint(at.get());
    out.varint(*began);
    write_shards(out, participants);
    out.varint(held.len() as u64);
    for (key, mode) in held {
        out.string(key);
        out.flag(*mode == Mode::Exclusive);
    }
    out.varint(images.items.len() as u64);
    for ((table, at), bytes) in &images.items {
        out.varint(u64::from(*table));
        out.string(at);
        write_option(out, bytes.as_ref());
    }
    out.flag(images.token.is_some());
    if let Some(token) = &images.token {
        out.string(&token.token);
        out.string(&token.fingerprint);
    }
    out.varint(images.now);
}

fn read_prepared(input: &mut Reader) -> Read<Prepared<Bytes, Images>> {
    let at = Index(input.varint()?);
    let began = input.varint()?;
    let participants = read_shards(input)?;
    let mut held = Vec::new();
    for _ in 0..input.count()? {
        let key = input.bytes()?;
        held.push((key, if input.flag()? { Mode::Exclusive } else { Mode::Shared }));
    }
    let mut images = Images::default();
    for _ in 0..input.count()? {
        let table = u32::try_from(input.varint()?).map_err(|_| Malformed)?;
        let key = (table, input.bytes()?);
        images.items.insert(key, option(input)?);
    }
    if input.flag()? {
        images.token = Some(Token { token: input.bytes()?, fingerprint: input.bytes()? });
    }
    images.now = input.varint()?;
    Ok(Prepared { at, began, participants, held, images })
}

pub(super) fn encode_gate(gate: &Gate) -> Bytes {
    let mut out = BytesMut::new();
    out.varint(gate.fence);
    out.varint(gate.closed);
    out.varint(gate.marks.len() as u64);
    for (boot, mark) in &gate.marks {
        out.varint(*boot);
        out.varint(*mark);
    }
    out.freeze()
}

pub(super) fn decode_gate(stored: Bytes) -> StateResult<Gate> {
    let mut input = Reader::new(stored);
    let mut read = || -> Read<Gate> {
        let (fence, closed) = (input.varint()?, input.varint()?);
        let marks =
            (0..input.count()?).map(|_| Ok((input.varint()?, input.varint()?))).collect::<Read<_>>()?;
        input.end()?;
        Ok(Gate { marks, fence, closed })
    };
    read().map_err(|_| damaged("what is known of a gateway"))
}

/// What the digest calls the effects; the numbers below are those of [`super::apply`] and [`super::stream`].
const LOCK: u64 = 120;
const TRANSACTION: u64 = 121;
const GATE: u64 = 122;
const LIFE: u64 = 123;
