//! Applying commands: operations on items. What changes tables themselves stands in [`super::change`].
//!
//! An operation is planned first: its item is read, its condition held against it, and what it would leave worked out.
//! Nothing is written before all operations of an atomic command are planned and none stands against them, so that a
//! command is refused without a trace or done to its end.

use super::catalog::{IndexTable, Table, index_bytes};
use super::layout::{damaged, row, varint};
use super::{Mutant, Tables, layout, lock};
use crate::digest::Digest;
use bytes::{Buf, Bytes};
use quorate_base::Index;
use quorate_item::codec::Codec;
use quorate_item::value::ITEM_SIZE;
use quorate_item::{Condition, Item, Key, Update};
use quorate_storage::state::{State, StateResult};
use quorate_wire::codec::Reader;
use quorate_wire::table::{
    Action, Command, Done, Execute, Op, Outcome, Refusal, Reply, Returns, Token, What,
};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// What is said of a transaction that names an item twice.
pub(super) const TWICE: &str = "Transaction request cannot include multiple operations on one item";
/// How long a token is known, in milliseconds of the entries' time.
const TOKEN_LASTS: u64 = 600_000;
/// So many tokens whose time is over go with an entry that brings one.
const TOKENS_SWEPT: usize = 4;

/// Why a command stops: refused, or the store failed.
pub(super) type Applied<T> = StateResult<Result<T, Refusal>>;

/// When something happens, and why.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The entry.
    pub(super) index: Index,
    /// What is written gets this version: the entry, or the one at which it was voted on.
    pub(super) version: Index,
    /// The entry's time.
    pub(super) now: u64,
    /// No client asks for it: an item's time is over.
    pub(super) by_time: bool,
    /// Nor is anything changed: a tenant moves. No feed tells of it.
    pub(super) moves: bool,
}

/// An item as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// The index of its last write.
    pub(super) version: u64,
    pub(super) item: Item,
}

/// One operation, worked out.
pub(super) struct Planned {
    pub(super) table: Arc<Table>,
    pub(super) key: Key,
    /// The key's bytes in the table.
    pub(super) at: Vec<u8>,
    pub(super) old: Option<Item>,
    pub(super) becomes: Becomes,
    pub(super) done: Done,
}

/// An item's rows in an index before and behind a change of it.
struct Indexed {
    before: Option<(Vec<u8>, Item)>,
    behind: Option<(Vec<u8>, Item)>,
    /// Both have the same key.
    same_row: bool,
    /// Of writing.
    units: u64,
}

/// What is there behind an operation.
pub(super) enum Becomes {
    /// What was there.
    Same,
    Nothing,
    /// An item, with its bytes.
    Item(Item, Bytes),
}

impl Tables {
    /// Applies a command that stands at `at` in the log. An error is the store's, after which the machine must not be used
    /// again; a refusal has changed nothing.
    pub(crate) fn apply(
        &mut self,
        state: &mut dyn State,
        at: Index,
        command: &Command,
        digest: &mut Digest,
    ) -> Applied<Reply> {
        if command.epoch != self.epoch {
            return Ok(Err(Refusal::StaleEpoch));
        }
        let now = command.now;
        let moment = Moment { index: at, version: at, now, by_time: false, moves: false };
        self.recorded = 0;
        match &command.what {
            What::Create(definition) => Ok(self.create(state, definition, (at, now), None, digest)),
            What::Delete(name) => Ok(self.drop_table(state, name, at, digest)),
            What::Drop { table, drained } => Ok(self.close_table(state, (table, *drained), at, digest)),
            What::Drained { first, count, inside } => Ok(self.drained((*first, *count), *inside)),
            What::Change { table, change } => Ok(self.change(state, (table, change), (at, now), digest)),
            What::Execute(execute) => self.execute(state, moment, execute, digest),
            What::Fill { table, index, items } => self.fill(state, *table, *index, *items, digest),
            What::Expire { table, keys } => self.expire(state, moment, (*table, keys), digest),
            What::Trim => Ok(Ok(self.trim(state, at, now, digest))),
            What::Place { definition, founders } => {
                Ok(self.create(state, definition, (at, now), Some(founders), digest))
            }
            What::Adopt { version, definition } => Ok(self.adopt(state, (*version, definition), at, digest)),
            What::Commit(commit) => self.step_of_transaction(state, moment, commit, digest),
            What::Outcomes(ids) => Ok(Ok(self.commit_all(state, moment, ids, digest)?)),
            What::Live => Ok(Ok(self.live(state, digest))),
            What::Move { shard, since, replicas } => {
                Ok(self.move_shard(state, (*shard, *since), replicas, at, digest))
            }
            What::Moved { shard, since } => Ok(self.moved_shard(state, (*shard, *since), digest)),
            What::Leave { node, leaves } => Ok(self.leave(state, (*node, *leaves), at, digest)),
            What::Zone { node, zone } => Ok(self.name_zone(state, (*node, zone), digest)),
            What::Assign { tenant, word } => Ok(self.assign(state, (tenant, *word), at, digest)),
            What::Step { tenant, since, step } => {
                self.step_of_move(state, moment, (tenant, Index(*since), step), digest)
            }
        }
    }

    fn execute(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        execute: &Execute,
        digest: &mut Digest,
    ) -> Applied<Reply> {
        if execute.ops.iter().any(|op| self.is_elsewhere(&op.table)) {
            return Ok(Err(Refusal::StaleEpoch));
        }
        if self.holds_back(execute) {
            return Ok(Err(Refusal::Moved));
        }
        let mut before = None;
        if let Some(token) = &execute.token {
            if self.held.lock(&lock::token(&token.token)).is_some() {
                return Ok(Err(Refusal::TokenInUse));
            }
            before = self.token_row(state, token)?;
            match is_known(before.as_ref(), token, moment.now) {
                Ok(false) => {}
                Ok(true) => return Ok(Ok(Reply::Repeated)),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        let done = if execute.atomic {
            match self.execute_atomic(state, moment, execute, digest)? {
                Ok(done) => done,
                Err(refusal) => return Ok(Err(refusal)),
            }
        } else {
            let mut done = Vec::with_capacity(execute.ops.len());
            for op in &execute.ops {
                done.push(match self.plan(state, op)? {
                    Ok(planned) => self.carry_out(state, moment, planned, digest)?,
                    Err(reason) => reason,
                });
            }
            done
        };
        let all = done.iter().all(|d| d.outcome == Outcome::Done) || self.has(Mutant::TokenOfRefused);
        if let Some(token) = execute.token.as_ref().filter(|_| all && !self.has(Mutant::TokenForgotten)) {
            let before = before.map(|row| row.end);
            self.remember(state, (token, before), moment.now, digest)?;
        }
        Ok(Ok(Reply::Executed(done)))
    }

    fn execute_atomic(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        execute: &Execute,
        digest: &mut Digest,
    ) -> Applied<Vec<Done>> {
        let mut planned = Vec::with_capacity(execute.ops.len());
        for op in &execute.ops {
            planned.push(self.plan(state, op)?);
        }
        let mut items = BTreeSet::new();
        let twice = planned.iter().flatten().any(|p| !items.insert((p.table.definition.id, &p.at)));
        // What stands against an operation is told of only where each has an item of its own.
        if twice || planned.iter().any(Result::is_err) && self.name_twice(&execute.ops) {
            return Ok(Err(Refusal::Validation(TWICE.into())));
        }
        if planned.iter().any(Result::is_err) && !self.has(Mutant::AppliedInPart) {
            let reason = |planned: Result<Planned, Done>| match planned {
                Ok(_) => Done::of(Outcome::Done),
                Err(reason) => reason,
            };
            return Ok(Ok(planned.into_iter().map(reason).collect()));
        }
        let mut done = Vec::with_capacity(planned.len());
        for planned in planned {
            done.push(match planned {
                Ok(planned) => self.carry_out(state, moment, planned, digest)?,
                Err(reason) => reason,
            });
        }
        Ok(Ok(done))
    }

    /// Whether two operations are of one item, as far as they name items at all.
    fn name_twice(&self, ops: &[Op]) -> bool {
        let mut items = BTreeSet::new();
        ops.iter().any(|op| {
            let Some(table) = self.catalog.get(&op.table) else { return false };
            let key = match &op.action {
                Action::Put { item } => Item::decode(item).map(|item| table.schema.key_of_item(&item)),
                Action::Delete { key } | Action::Check { key } | Action::Update { key, .. } => {
                    Item::decode(key).map(|key| table.schema.key_of(&key))
                }
            };
            matches!(key, Ok(Ok(key)) if !items.insert((table.definition.id, table.at(&key))))
        })
    }

    /// Works an operation out; what stands against it comes as [`Done`], too.
    pub(super) fn plan(&self, state: &dyn State, op: &Op) -> StateResult<Result<Planned, Done>> {
        let open = self.catalog.get(&op.table).filter(|table| !table.definition.closing);
        let Some(table) = open else {
            return Ok(Err(Done::of(Outcome::NoTable(op.table.clone()))));
        };
        let asked = match Asked::read(table, op) {
            Ok(asked) => asked,
            Err(outcome) => return Ok(Err(Done::of(outcome))),
        };
        let at = table.at(&asked.key);
        table.hot.note(&at, !matches!(op.action, Action::Check { .. }));
        let held =
            if self.held.is_locked() { self.held.lock(&lock::item(table.definition.id, &at)) } else { None };
        if held.is_some_and(|held| lock::forbids(held, &op.action)) {
            return Ok(Err(Done::of(Outcome::Conflict)));
        }
        let row = self.rows.item(table.definition.id, &at);
        let old = state.get(&row)?.map(decode_stored).transpose()?.map(|stored| stored.item);
        let size = old.as_ref().map_or(0, Item::size);
        let mut looked_at = old.as_ref();
        if self.has(Mutant::ConditionStale)
            && let Some(before) = self.memory.items.get(&row)
        {
            looked_at = before.as_ref();
        }
        let unheld = matches!(op.action, Action::Check { .. }) && self.has(Mutant::CheckNotHeld);
        if asked.condition.as_ref().is_some_and(|condition| !unheld && !condition.holds(looked_at)) {
            let attributes = old.filter(|_| op.old_on_failure).map(|old| old.encode().into());
            return Ok(Err(Done { attributes, bytes: size as u64, ..Done::of(Outcome::ConditionFailed) }));
        }
        let key = asked.key;
        let (becomes, attributes) = match becomes(table, op, asked.given, asked.update, old.as_ref()) {
            Ok(worked_out) => worked_out,
            Err(outcome) => return Ok(Err(Done { bytes: size as u64, ..Done::of(outcome) })),
        };
        let behind = if let Becomes::Item(item, _) = &becomes { item.size() } else { 0 };
        let done = Done {
            attributes: attributes.map(|item| item.encode().into()),
            bytes: size.max(behind) as u64,
            ..Done::of(Outcome::Done)
        };
        Ok(Ok(Planned { table: table.clone(), key, at, old, becomes, done }))
    }

    pub(super) fn carry_out(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        planned: Planned,
        digest: &mut Digest,
    ) -> StateResult<Done> {
        let version = moment.version.get();
        let Planned { table, key, at, old, becomes, mut done } = planned;
        let id = table.definition.id;
        let row = self.rows.item(id, &at);
        if self.has(Mutant::ConditionStale) {
            self.memory.items.insert(row.clone(), old.clone());
        }
        let new = match &becomes {
            Becomes::Same => return Ok(done),
            Becomes::Nothing if old.is_none() => return Ok(done),
            Becomes::Nothing => {
                state.delete(&row);
                // A transaction's version may be below that of a deletion that was quicker.
                let class = self.rows.deleted(id, &at);
                let late = moment.version < moment.index;
                let before =
                    if late { state.get(&class)?.map_or(0, |stored| decode_deleted(&stored)) } else { 0 };
                state.put(&class, &version.max(before).to_be_bytes());
                digest.number(DELETE);
                digest.number(u64::from(id));
                digest.bytes(&at);
                None
            }
            Becomes::Item(item, bytes) => {
                // In one piece of memory, since there may be tens of thousands of them before they are flushed. It is asked for
                // when it is written again.
                let mut all = Vec::with_capacity(row.len() + 10 + bytes.len());
                all.extend_from_slice(&row);
                varint(&mut all, version);
                all.extend_from_slice(bytes);
                let all = Bytes::from(all);
                state.put_kept(all.slice(..row.len()), all.slice(row.len()..));
                digest.number(PUT);
                digest.number(u64::from(id));
                digest.bytes(&at);
                digest.bytes(bytes);
                Some(item)
            }
        };
        table.counted.changed(old.as_ref().map(Item::size), new.map(Item::size));
        if !moment.moves {
            self.record(state, moment, &table, (old.as_ref(), new), digest);
        }
        if self.tenants.any() {
            self.note_written(state, &table, (&key.partition, &at), moment.index);
        }
        if !self.dirty.contains(&table.definition.name) {
            self.dirty.insert(table.definition.name.clone());
        }
        for index in table.indexes.iter().filter(|index| index.covers(&at)) {
            let units = self.reindex(state, &table, index, &key, old.as_ref(), new);
            if units > 0 {
                done.indexes.push((index.index.name.clone(), index.global, units));
            }
        }
        Ok(done)
    }

    /// Takes away an item that is there.
    pub(super) fn remove(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        table: &Arc<Table>,
        item: Item,
        digest: &mut Digest,
    ) -> StateResult<()> {
        let key = table.schema.key_of_item(&item).map_err(|_| damaged("an item without its key, which"))?;
        let (at, done) = (table.at(&key), Done::of(Outcome::Done));
        let planned =
            Planned { table: table.clone(), key, at, old: Some(item), becomes: Becomes::Nothing, done };
        self.carry_out(state, moment, planned, digest)?;
        Ok(())
    }

    /// Brings an index up to date with an item that was changed; how many units of writing that takes.
    pub(super) fn reindex(
        &self,
        state: &mut dyn State,
        table: &Table,
        index: &IndexTable,
        key: &Key,
        old: Option<&Item>,
        new: Option<&Item>,
    ) -> u64 {
        let Some(Indexed { before, behind, same_row, units }) = self.indexed(table, index, key, (old, new))
        else {
            return 0;
        };
        let size = |row: &Option<(Vec<u8>, Item)>| row.as_ref().map(|(_, item)| item.size());
        index.counted.changed(size(&before), size(&behind));
        if let Some((row, _)) = before.filter(|_| !same_row && !self.has(Mutant::IndexRowLeft)) {
            state.delete(&row);
        }
        if let Some((row, item)) = behind {
            state.put(&row, &item.encode());
        }
        units
    }

    /// What a changed item changes in an index; `None` if nothing.
    fn indexed(
        &self,
        table: &Table,
        index: &IndexTable,
        key: &Key,
        (old, new): (Option<&Item>, Option<&Item>),
    ) -> Option<Indexed> {
        let row = |item: &Item| {
            let at = index_bytes(&index.schema.index_key(item)?, key);
            let row = self.rows.index(table.definition.id, index.index.id, &at);
            Some((row, index.projected(&table.schema, item)))
        };
        let (before, behind) = (old.and_then(row), new.and_then(row));
        if before == behind {
            return None;
        }
        let units = |row: &Option<(Vec<u8>, Item)>| {
            row.as_ref().map_or(0, |(_, item)| (item.size() as u64).div_ceil(1024).max(1))
        };
        let same_row = matches!((&before, &behind), (Some((a, _)), Some((b, _))) if a == b);
        let (was, is) = (units(&before), units(&behind));
        let units = if same_row { was.max(is) } else { was + is };
        Some(Indexed { before, behind, same_row, units })
    }

    /// The units of writing that an operation would take in the indexes of its table, as [`Done`] tells them.
    pub(super) fn units_in_indexes(&self, planned: &Planned) -> Vec<(String, bool, u64)> {
        let Planned { table, key, at, old, becomes, .. } = planned;
        let new = match becomes {
            Becomes::Same => return Vec::new(),
            Becomes::Nothing => None,
            Becomes::Item(item, _) => Some(item),
        };
        let units = |index: &IndexTable| {
            let units = self.indexed(table, index, key, (old.as_ref(), new))?.units;
            Some((index.index.name.clone(), index.global, units))
        };
        table.indexes.iter().filter(|index| index.covers(at)).filter_map(units).collect()
    }

    /// What is known of a token.
    pub(super) fn token_row(&self, state: &dyn State, token: &Token) -> StateResult<Option<TokenRow>> {
        let row = self.rows.token(&token.token);
        let kept =
            self.memory.tokens.get(&row).cloned().map_or_else(|| state.get(&row), |kept| Ok(Some(kept)));
        kept?.map(|stored| decode_token(&stored)).transpose()
    }

    /// A token's work is done. `before` is when its row ends that is there, if there is one.
    pub(super) fn remember(
        &mut self,
        state: &mut dyn State,
        (token, before): (&Token, Option<u64>),
        now: u64,
        digest: &mut Digest,
    ) -> StateResult<()> {
        let row = self.rows.token(&token.token);
        if let Some(end) = before {
            state.delete(&self.rows.token_end(end, &token.token));
        }
        let end = now.saturating_add(TOKEN_LASTS);
        let mut value = Vec::new();
        varint(&mut value, end);
        value.extend_from_slice(&token.fingerprint);
        if self.has(Mutant::TokenInMemory) {
            self.memory.tokens.insert(row, value.into());
            return Ok(());
        }
        state.put(&row, &value);
        state.put(&self.rows.token_end(end, &token.token), b"");
        digest.number(TOKEN);
        digest.bytes(&token.token);
        digest.number(end);
        self.tokens_end_from = self.tokens_end_from.min(end);
        if self.tokens_end_from < now { self.sweep_tokens(state, now) } else { Ok(()) }
    }

    /// Takes some tokens away whose time is over, oldest first. That nobody looks for them while none can be over changes nothing
    /// in what is done.
    fn sweep_tokens(&mut self, state: &mut dyn State, now: u64) -> StateResult<()> {
        let from = self.rows.token_end(self.tokens_end_from, b"");
        let to = self.rows.kind(row::TOKEN_END + 1);
        let scan = state.scan((Bound::Included(&from), Bound::Excluded(&to))).take(TOKENS_SWEPT + 1);
        let first: Vec<Bytes> = scan.map(|pair| self.rows.rest(&pair?.0)).collect::<StateResult<_>>()?;
        self.tokens_end_from = u64::MAX;
        for (at, rest) in first.iter().enumerate() {
            let Some((end, old)) = rest.split_first_chunk::<8>() else {
                return Err(damaged("a token's end"));
            };
            let end = u64::from_be_bytes(*end);
            if end >= now || at == TOKENS_SWEPT {
                self.tokens_end_from = end;
                break;
            }
            state.delete(&self.rows.token_end(end, old));
            state.delete(&self.rows.token(old));
        }
        Ok(())
    }
}

/// An operation, decoded.
pub(super) struct Asked {
    pub(super) key: Key,
    /// The key's attributes, or the item that is put.
    given: Item,
    condition: Option<Condition>,
    update: Option<Update>,
}

impl Asked {
    pub(super) fn read(table: &Table, op: &Op) -> Result<Self, Outcome> {
        let malformed = |_| invalid("the operation is malformed");
        let condition =
            op.condition.as_ref().map(|bytes| Condition::decode(bytes)).transpose().map_err(malformed)?;
        let (bytes, put, update) = match &op.action {
            Action::Put { item } => (item, true, None),
            Action::Delete { key } | Action::Check { key } => (key, false, None),
            Action::Update { key, update } => (key, false, Some(Update::decode(update).map_err(malformed)?)),
        };
        let given = Item::decode(bytes).map_err(malformed)?;
        let key = if put { table.schema.key_of_item(&given) } else { table.schema.key_of(&given) };
        let key = key.map_err(|error| invalid(error.message()))?;
        if put {
            check_indexes(table, &given)?;
            if size_with_rows(table, &given) > ITEM_SIZE {
                return Err(invalid("Item size has exceeded the maximum allowed size"));
            }
        }
        if let Some(condition) = &condition {
            let checked = table.schema.check_paths(condition.paths());
            checked.map_err(|error| invalid(error.message()))?;
        }
        if let Some(update) = &update {
            update.spares_key(&table.schema).map_err(|error| invalid(error.message()))?;
        }
        Ok(Self { key, given, condition, update })
    }
}

/// What is there behind an operation, and what it answers. `given` is the item that is put, or the key.
fn becomes(
    table: &Table,
    op: &Op,
    given: Item,
    update: Option<Update>,
    old: Option<&Item>,
) -> Result<(Becomes, Option<Item>), Outcome> {
    let before = if op.returns == Returns::AllOld { old.cloned() } else { None };
    match &op.action {
        Action::Check { .. } => Ok((Becomes::Same, None)),
        Action::Delete { .. } => Ok((Becomes::Nothing, before)),
        Action::Put { item } => Ok((Becomes::Item(given, item.clone()), before)),
        Action::Update { .. } => {
            let update = update.unwrap_or_default();
            let updated = update.apply(old, &given).map_err(|error| invalid(error.message()))?;
            if let Some(item) = &updated.item {
                for index in &table.indexes {
                    let checked = index.schema.check_index_updated(old, item);
                    checked.map_err(|error| invalid(error.message()))?;
                }
                if size_with_rows(table, item) > ITEM_SIZE {
                    return Err(invalid("Item size to update has exceeded the maximum allowed size"));
                }
            }
            let answer = match op.returns {
                Returns::None => None,
                Returns::AllOld => before,
                Returns::AllNew => updated.item.clone(),
                Returns::UpdatedOld => Some(updated.old).filter(|item| !item.0.is_empty()),
                Returns::UpdatedNew => Some(updated.new).filter(|item| !item.0.is_empty()),
            };
            // What only takes away makes no item where there is none.
            let becomes = updated.item.map_or(Becomes::Nothing, |item| {
                let bytes = item.encode().into();
                Becomes::Item(item, bytes)
            });
            Ok((becomes, answer))
        }
    }
}

fn check_indexes(table: &Table, item: &Item) -> Result<(), Outcome> {
    for index in &table.indexes {
        index.schema.check_index(&index.index.name, item).map_err(|error| invalid(error.message()))?;
    }
    Ok(())
}

/// The size of an item as its limit counts it: with its rows in local indexes.
fn size_with_rows(table: &Table, item: &Item) -> usize {
    let row = |index: &IndexTable| {
        let is_in = !index.global && index.schema.index_key(item).is_some();
        if is_in { index.projected(&table.schema, item).size() } else { 0 }
    };
    let (size, local) = (item.size(), table.indexes.iter().filter(|index| !index.global).count());
    // Nearly all are far below it.
    if size * (1 + local) <= ITEM_SIZE { size } else { size + table.indexes.iter().map(row).sum::<usize>() }
}

fn invalid(text: &str) -> Outcome {
    Outcome::Invalid(text.into())
}

/// A row of an item.
pub(super) fn decode_stored(mut stored: Bytes) -> StateResult<Stored> {
    let bad = || damaged("an item");
    let mut input = Reader::new(stored.clone());
    let version = input.varint().map_err(|_| bad())?;
    stored.advance(stored.len() - input.remaining());
    let item = Item::decode(&stored).map_err(|_| bad())?;
    Ok(Stored { version, item })
}

/// A row of deletions.
pub(super) fn decode_deleted(stored: &Bytes) -> u64 {
    stored[..].try_into().map_or(0, u64::from_be_bytes)
}

/// A token whose work was done.
pub(super) struct TokenRow {
    /// Until when it is known.
    pub(super) end: u64,
    fingerprint: Bytes,
}

/// Whether a token's work is done, by its row.
pub(super) fn is_known(row: Option<&TokenRow>, token: &Token, now: u64) -> Result<bool, Refusal> {
    match row {
        Some(row) if row.end > now && row.fingerprint == token.fingerprint => Ok(true),
        Some(row) if row.end > now => Err(Refusal::TokenMismatch),
        _ => Ok(false),
    }
}

fn decode_token(stored: &Bytes) -> StateResult<TokenRow> {
    let mut input = Reader::new(stored.clone());
    let end = input.varint().map_err(|_| layout::damaged("a token"))?;
    Ok(TokenRow { end, fingerprint: stored.slice(stored.len() - input.remaining()..) })
}

/// What the digest calls the effects. The key-value machine, which shares the digest, has the numbers below these.
const PUT: u64 = 100;
const DELETE: u64 = 101;
const TOKEN: u64 = 102;
