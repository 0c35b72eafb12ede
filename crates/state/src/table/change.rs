//! Applying commands: tables that come, change and go, and indexes that are filled.

use super::Tables;
use super::apply::{Applied, decode_stored};
use super::capacity;
use super::catalog::Table;
use super::closing;
use super::layout::{behind, row};
use crate::digest::Digest;
use bytes::Bytes;
use quorate_base::Index as At;
use quorate_storage::state::{State, StateResult};
use quorate_wire::table::{Change, Definition, Index, IndexChange, IndexState, Refusal, Reply, Settings};
use std::ops::Bound;

/// So many tables there may be.
const TABLES_MAX: usize = 2_500;
/// So many global indexes a table may have.
const GLOBALS_MAX: usize = 20;

impl Tables {
    pub(super) fn create(
        &mut self,
        state: &mut dyn State,
        wanted: &Definition,
        (at, now): (At, u64),
        founders: Option<&Bytes>,
        digest: &mut Digest,
    ) -> Result<Reply, Refusal> {
        if self.catalog.get(&wanted.name).is_some() {
            return Err(Refusal::TableExists(wanted.name.clone()));
        }
        if self.catalog.len() >= TABLES_MAX {
            let text =
                format!("Subscriber limit exceeded: There is a limit of {TABLES_MAX} tables per subscriber");
            return Err(Refusal::Limit(text));
        }
        let shards = self.shards_for(wanted)?.zip(founders);
        let mut definition = wanted.clone();
        let Some(next) = self.next_table.checked_add(1) else {
            return Err(Refusal::Limit("Subscriber limit exceeded: no number for a table is left".into()));
        };
        definition.id = self.next_table;
        definition.created = now;
        definition.next_index = 1;
        for index in definition.locals.iter_mut().chain(&mut definition.globals) {
            index.id = definition.next_index;
            index.state = IndexState::Active;
            definition.next_index += 1;
        }
        definition.latest_stream = None;
        if definition.stream.is_some() {
            self.label_stream(&mut definition, now)?;
        }
        let Some(table) = Table::new(definition) else {
            return Err(Refusal::Validation(
                "Invalid KeySchema: Some index key attribute have no definition".into(),
            ));
        };
        self.next_table = next;
        self.put_meta(state);
        self.begin_stream(state, &table.definition, at);
        digest.number(CREATE);
        digest.bytes(&table.definition.encode());
        if let Some((count, founders)) = shards {
            self.place(state, (&table, count), at, founders, digest);
        }
        let reply = answer(&table);
        self.put_table(state, table);
        Ok(reply)
    }

    pub(super) fn drop_table(
        &mut self,
        state: &mut dyn State,
        name: &str,
        at: At,
        digest: &mut Digest,
    ) -> Result<Reply, Refusal> {
        let Some(table) = self.catalog.get(name).cloned() else {
            return Err(Refusal::TableNotFound(name.into()));
        };
        closing::check_protected(&table.definition)?;
        let reply = answer(&table);
        self.end_stream(state, &table.definition, at);
        self.take_away(state, (name, table.definition.id), digest);
        Ok(reply)
    }

    /// Takes away a table, by its name and number, and where it lies.
    pub(super) fn take_away(&mut self, state: &mut dyn State, (name, id): (&str, u32), digest: &mut Digest) {
        self.catalog.remove(name);
        self.drop_placed(state, (name, id));
        self.dirty.remove(name);
        self.resize((id, 0), 0);
        state.delete(&self.rows.definition(name));
        self.discard(state, id.to_be_bytes().to_vec());
        digest.number(DROP);
        digest.number(u64::from(id));
    }

    /// What a table, an index or a change feed had is to be swept away.
    pub(super) fn discard(&mut self, state: &mut dyn State, what: Vec<u8>) {
        let mut key = self.rows.kind(row::GARBAGE);
        key.extend_from_slice(&what);
        state.put(&key, b"");
        self.garbage.push(what.into());
    }

    pub(super) fn change(
        &mut self,
        state: &mut dyn State,
        (name, change): (&str, &Change),
        (at, now): (At, u64),
        digest: &mut Digest,
    ) -> Result<Reply, Refusal> {
        let Some(table) = self.catalog.get(name).cloned() else {
            return Err(Refusal::TableNotFound(name.into()));
        };
        if table.definition.closing {
            return Err(closing::being_deleted(name));
        }
        let mut definition = table.definition.clone();
        let mut dropped = Vec::new();
        let changed = match change {
            Change::Settings(change) => settings(&mut definition, change, now, &mut dropped),
            Change::Tag(tags) => set_tags(&mut definition, tags),
            Change::Untag(keys) => {
                definition.tags.retain(|(key, _)| !keys.contains(key));
                Ok(())
            }
            Change::Expiry { attribute, on } => set_expiry(&mut definition, attribute, *on),
        };
        changed?;
        let before = &table.definition;
        Self::check_placed(before, &definition)?;
        if definition.stream.is_some() && before.stream.is_none() {
            self.check_still(name)?;
        }
        if definition.stream.is_some() && before.stream.is_none() {
            self.label_stream(&mut definition, now)?;
        }
        let Some(table) = table.changed(definition) else {
            return Err(Refusal::Validation(
                "One or more parameter values were invalid: Some index key attributes are not defined in \
                 AttributeDefinitions"
                    .into(),
            ));
        };
        for index in dropped {
            let what = [table.definition.id.to_be_bytes(), index.to_be_bytes()].concat();
            self.discard(state, what);
        }
        match (before.stream, table.definition.stream) {
            (None, Some(_)) => self.begin_stream(state, &table.definition, at),
            (Some(_), None) => self.end_stream(state, before, at),
            _ => {}
        }
        digest.number(CHANGE);
        digest.bytes(&table.definition.encode());
        self.change_placed(state, name, at);
        let reply = answer(&table);
        self.put_table(state, table);
        Ok(reply)
    }

    pub(super) fn fill(
        &mut self,
        state: &mut dyn State,
        table: u32,
        index: u32,
        items: u32,
        digest: &mut Digest,
    ) -> Applied<Reply> {
        // Whoever asks may be late: then there is nothing to fill.
        let Some(table) = self.catalog.tables().find(|t| t.definition.id == table).cloned() else {
            return Ok(Ok(Reply::Filled));
        };
        let Some(at) = table.indexes.iter().find(|i| i.global && i.index.id == index) else {
            return Ok(Ok(Reply::Filled));
        };
        let IndexState::Filling(upto) = &at.index.state else { return Ok(Ok(Reply::Filled)) };
        let (from, to) =
            (self.rows.item(table.definition.id, upto), self.rows.item(table.definition.id, b""));
        let to = behind(to);
        let from = if upto.is_empty() { Bound::Included(&from[..]) } else { Bound::Excluded(&from[..]) };
        let scan = state.scan((from, Bound::Excluded(&to))).take(items as usize);
        let found: Vec<(Bytes, Bytes)> = scan.collect::<StateResult<_>>()?;
        for (_, stored) in &found {
            let item = decode_stored(stored.clone())?.item;
            if let Ok(key) = table.schema.key_of_item(&item) {
                self.reindex(state, &table, at, &key, None, Some(&item));
            }
        }
        let last = match found.last() {
            Some((key, _)) if found.len() == items as usize => Some(self.rows.rest(key)?.slice(4..)),
            _ => None,
        };
        let mut definition = table.definition.clone();
        for index in definition.globals.iter_mut().filter(|i| i.id == index) {
            index.state = last.clone().map_or(IndexState::Active, IndexState::Filling);
        }
        if let Some(table) = table.changed(definition) {
            self.put_table(state, table);
        }
        digest.number(FILL);
        digest.number(u64::from(index));
        digest.bytes(&last.unwrap_or_default());
        Ok(Ok(Reply::Filled))
    }
}

pub(super) fn answer(table: &Table) -> Reply {
    Reply::Table(Box::new(table.definition.clone()), table.figures())
}

fn settings(
    definition: &mut Definition,
    change: &Settings,
    now: u64,
    dropped: &mut Vec<u32>,
) -> Result<(), Refusal> {
    let Settings { protected, stream, class, indexes, attributes, dated, .. } = change;
    let before = definition.clone();
    capacity::pay(definition, change)?;
    definition.protected = protected.unwrap_or(definition.protected);
    if let Some(stream) = stream {
        definition.stream = match (definition.stream, stream) {
            (Some(_), Some(_)) => {
                let text = format!("Table already has an enabled stream: TableName: {}", definition.name);
                return Err(Refusal::Validation(text));
            }
            (None, None) => {
                let text = format!("Table has no stream to disable: TableName: {}", definition.name);
                return Err(Refusal::Validation(text));
            }
            (_, view) => *view,
        };
    }
    definition.class = class.clone().or(definition.class.take());
    if *dated && definition.class != before.class {
        definition.class_since = Some(now);
    }
    for (name, scalar) in attributes {
        match definition.scalar(name) {
            None => definition.attributes.push((name.clone(), *scalar)),
            Some(known) if known == *scalar => {}
            Some(_) => {
                return Err(Refusal::Validation(format!(
                    "One or more parameter values were invalid: the type of attribute {name} cannot be changed"
                )));
            }
        }
    }
    for change in indexes {
        index_change(definition, change, dropped)?;
    }
    // An attribute that no key names any more is not defined any more.
    let used = |name: &String| {
        let indexes = definition.locals.iter().chain(&definition.globals);
        definition.keys.all().chain(indexes.flat_map(|index| index.keys.all())).any(|key| key == name)
    };
    let attributes = definition.attributes.iter().filter(|(name, _)| used(name)).cloned().collect();
    definition.attributes = attributes;
    if *dated {
        capacity::remember(&before, definition, now);
    }
    Ok(())
}

fn index_change(
    definition: &mut Definition,
    change: &IndexChange,
    dropped: &mut Vec<u32>,
) -> Result<(), Refusal> {
    let place = |definition: &Definition, name: &str| definition.globals.iter().position(|i| i.name == name);
    let busy = definition.globals.iter().any(|index| index.state != IndexState::Active);
    match change {
        IndexChange::Create(index) => {
            if definition.index(&index.name).is_some() {
                return Err(invalid("Attempting to create an index which already exists"));
            }
            if definition.globals.len() >= GLOBALS_MAX {
                let text = format!(
                    "Subscriber limit exceeded: Number of indexes exceeds per-table limit of {GLOBALS_MAX}"
                );
                return Err(Refusal::Limit(text));
            }
            if busy {
                let text = "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table";
                return Err(Refusal::Limit(text.into()));
            }
            let id = definition.next_index;
            definition.next_index = id.saturating_add(1);
            definition.globals.push(Index { id, state: IndexState::Filling(Bytes::new()), ..index.clone() });
        }
        IndexChange::Update { name, throughput, capacity } => {
            let billing = definition.billing;
            let Some(index) = definition.globals.iter_mut().find(|index| index.name == *name) else {
                return Err(Refusal::NotFound);
            };
            let base = capacity::base(billing, index.throughput);
            index.throughput = throughput.unwrap_or(index.throughput);
            capacity::change(&mut index.capacity, base, capacity, &format!("index {name}"))?;
        }
        IndexChange::Delete(name) => match place(definition, name) {
            Some(at) => dropped.push(definition.globals.remove(at).id),
            None => return Err(Refusal::NotFound),
        },
    }
    Ok(())
}

fn set_tags(definition: &mut Definition, tags: &[(String, String)]) -> Result<(), Refusal> {
    for (key, value) in tags {
        match definition.tags.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => old.clone_from(value),
            None => definition.tags.push((key.clone(), value.clone())),
        }
    }
    if definition.tags.len() > 50 { Err(invalid("Too many tags: a table has 50 at most")) } else { Ok(()) }
}

fn set_expiry(definition: &mut Definition, attribute: &str, on: bool) -> Result<(), Refusal> {
    match (on, &definition.expires) {
        (true, None) => definition.expires = Some(attribute.into()),
        (false, None) => return Err(invalid("TimeToLive is already disabled")),
        (_, Some(known)) if known != attribute => {
            return Err(Refusal::Validation(format!(
                "TimeToLive is active on a different AttributeName: current AttributeName is {known}"
            )));
        }
        (true, Some(_)) => return Err(invalid("TimeToLive is already enabled")),
        (false, Some(_)) => definition.expires = None,
    }
    Ok(())
}

pub(super) fn invalid(text: &str) -> Refusal {
    Refusal::Validation(text.into())
}

/// What the digest calls the effects, beside those of items.
const CREATE: u64 = 110;
const DROP: u64 = 111;
pub(super) const CHANGE: u64 = 112;
const FILL: u64 = 113;
