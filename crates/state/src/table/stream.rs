//! Change feeds: what DynamoDB calls the streams of tables.
//!
//! While a table has a feed, each change of an item leaves a *record*: the item's key, and the item before and behind as the
//! feed's view asks. The record is written in the entry that changes the item, so it is there on every replica that has the
//! change, and a write that changes nothing leaves none. A record's *position* is the index of its entry and its number
//! among the records of that entry: the order of a feed is the log's, and no counter is kept.
//!
//! A feed ends when its table goes or it is switched off. It is readable until its last record is let go; switched on anew
//! it is another feed, with a label of its own.
//!
//! # What is let go
//!
//! Records are kept for a day. No record's own time decides that, since those are of many clocks: every ten minutes the leader
//! asks the log to note its time ([`What::Trim`]), and all up to a note that is a day old by a later one is let go at once. So the
//! *horizon* is an index, equal on all replicas; what is below it is not read any more, and each replica sweeps it away when
//! it likes.
//!
//! # Many shards
//!
//! A machine is that of one shard and knows only its own part of a feed: the records of the items that lie in it, in the order
//! of its log. A client sees that part as one *shard of the stream*. Its name carries the group's number, so that any node finds
//! who has it, and positions mean something within it alone; describing a stream merges the parts of all groups that hold
//! the table. A part begins and ends where its group takes the table's definition over from shard 1, a moment behind the answer to
//! who asked for that; a feed that began and ended before a group heard of it has no part there. Records of a transaction over several
//! shards stand in each part where that group applied its outcome. When a table goes its groups go, and its feeds with
//! them; those of a table that lies in shard 1 stay for their day.
//!
//! # Left out
//!
//! Parts with parents, as DynamoDB's shards have when partitions split: groups do not split. A feed's part of a group does not end by itself after some hours, as DynamoDB's shards do: nothing would be gained.

use super::apply::Moment;
use super::catalog::{Counted, Table};
use super::layout::{damaged, row, varint};
use super::read::refused;
use super::{Tables, TablesView};
use crate::digest::Digest;
use crate::kv::ReadError;
use crate::kv::source::Source;
use bytes::Bytes;
use quorate_base::Index;
use quorate_item::Item;
use quorate_item::codec::Codec;
use quorate_storage::state::{State, StateResult};
use quorate_wire::codec::{Malformed, Read, Reader, Write};
#[cfg(doc)]
use quorate_wire::table::What;
use quorate_wire::table::{Definition, KeyNames, Refusal, Reply, StreamView};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// How long records are kept, in milliseconds of the leader's clock.
pub const KEPT: u64 = 24 * 3600 * 1000;
/// So far are two notes of the time apart, at least.
const NOTE_EVERY: u64 = 600_000;
/// More notes are not held: a clock that jumps to and fro makes no more of them.
const NOTES_MAX: usize = 400;
/// So many feeds there may be, with those that have ended.
const STREAMS_MAX: usize = 5_000;
/// A read ends behind so many bytes of records.
const READ_BYTES: usize = 1 << 20;
/// The first byte of a record.
const VERSION: u8 = 1;
/// Beside the kind of a change: time took the item away.
const BY_TIME: u8 = 0x10;

/// Names a feed within a machine: its table's number, and its label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct StreamId {
    /// The table's number.
    pub table: u32,
    /// The label.
    pub label: u64,
}

/// A place among the records of a feed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Position {
    /// The index of the entry; 0 stands before all.
    pub index: u64,
    /// Which of that entry's records.
    pub number: u32,
}

impl Position {
    /// The first one behind all of an entry's.
    fn behind(index: u64) -> Self {
        Self { index: index.saturating_add(1), number: 0 }
    }
}

/// What became of an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Changed {
    /// It was not there before.
    Inserted = 1,
    /// It is another.
    Modified = 2,
    /// It is gone.
    Removed = 3,
}

/// A record of a feed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Where it stands.
    pub at: Position,
    /// What happened.
    pub changed: Changed,
    /// Time took the item away, not a client.
    pub by_time: bool,
    /// When, in milliseconds since 1970, by the clock of the node that took the request.
    pub time: u64,
    /// The item's key.
    pub keys: Item,
    /// The item before, if there was one and the feed tells.
    pub old: Option<Item>,
    /// The item behind, if there is one and the feed tells.
    pub new: Option<Item>,
}

/// A feed, as it is described.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamDescribed {
    /// Its number and label.
    pub id: StreamId,
    /// The name of its table.
    pub table: String,
    /// What it tells.
    pub view: StreamView,
    /// The table's keys.
    pub keys: KeyNames,
    /// No record that can be read is before this.
    pub oldest: Position,
    /// Where it ended: no record is there or behind.
    pub ended: Option<Position>,
    /// No record is there or behind yet, in the state that was asked.
    pub next: Position,
}

/// Records of a feed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Records {
    /// They, in order.
    Read {
        /// They.
        records: Vec<Record>,
        /// What this feed tells.
        view: StreamView,
        /// Where reading goes on; `None`: the feed has ended and all of it was read.
        next: Option<Position>,
    },
    /// What was asked for was let go.
    Trimmed,
}

/// One feed.
#[derive(Clone)]
pub(super) struct Stream {
    table: String,
    keys: KeyNames,
    view: StreamView,
    /// The entry that began it, and the one that ended it.
    began: u64,
    ended: Option<u64>,
    /// Records that are stored, with those that are let go and not yet swept away. No part of the replicated state.
    pub(super) counted: Arc<Counted>,
}

/// All feeds. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Streams {
    all: Arc<BTreeMap<StreamId, Stream>>,
    /// Records of entries up to this one are let go.
    horizon: u64,
    /// Entries that noted the time, each with it.
    notes: Arc<Vec<(u64, u64)>>,
}

impl Streams {
    /// As stored.
    pub(super) fn load(rows: &super::layout::Rows, source: &dyn Source) -> StateResult<Self> {
        let mut all = BTreeMap::new();
        let (from, to) = (rows.kind(row::STREAM), rows.kind(row::STREAM + 1));
        for pair in source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
            let (key, stored) = pair?;
            let id = stream_id(&rows.rest(&key)?).ok_or_else(|| damaged("the name of a change feed"))?;
            let mut stream = Stream::decode(stored).map_err(|_| damaged("a change feed"))?;
            if let Some(figures) = source.get(&rows.stream(row::STREAM_FIGURES, id))? {
                stream.counted = Arc::new(decode_figures(figures)?);
            }
            all.insert(id, stream);
        }
        let mut streams = Self { all: Arc::new(all), ..Self::default() };
        if let Some(stored) = source.get(&rows.kind(row::HORIZON))? {
            let (horizon, notes) =
                decode_notes(stored).map_err(|_| damaged("the horizon of change feeds"))?;
            (streams.horizon, streams.notes) = (horizon, Arc::new(notes));
        }
        Ok(streams)
    }

    pub(super) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.all.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.all.iter().map(|(id, stream)| (*id, stream))
    }

    pub(super) fn horizon(&self) -> u64 {
        self.horizon
    }

    /// The labels of all feeds of this name, of tables that are gone too.
    fn labels<'s>(&'s self, table: &'s str) -> impl Iterator<Item = u64> + 's {
        self.iter().filter(move |(_, stream)| stream.table == table).map(|(id, _)| id.label)
    }

    fn described(&self, id: StreamId, stream: &Stream, applied: Index) -> StreamDescribed {
        StreamDescribed {
            id,
            table: stream.table.clone(),
            view: stream.view,
            keys: stream.keys.clone(),
            oldest: self.oldest(stream),
            ended: stream.ended.map(|index| Position { index, number: 0 }),
            next: Position::behind(applied.get()),
        }
    }

    fn oldest(&self, stream: &Stream) -> Position {
        Position::behind(stream.began.max(self.horizon))
    }
}

impl Stream {
    fn encode(&self) -> Bytes {
        let mut out = bytes::BytesMut::new();
        out.string(self.table.as_bytes());
        for names in [&self.keys.hash, &self.keys.range] {
            out.varint(names.len() as u64);
            for name in names {
                out.string(name.as_bytes());
            }
        }
        out.varint(self.view as u64);
        out.varint(self.began);
        out.varint(self.ended.unwrap_or(0));
        out.freeze()
    }

    fn decode(stored: Bytes) -> Read<Self> {
        let mut input = Reader::new(stored);
        let table = text(&mut input)?;
        let names = |input: &mut Reader| (0..input.count()?).map(|_| text(input)).collect::<Read<Vec<_>>>();
        let keys = KeyNames { hash: names(&mut input)?, range: names(&mut input)? };
        let view = match input.varint()? {
            1 => StreamView::KeysOnly,
            2 => StreamView::New,
            3 => StreamView::Old,
            4 => StreamView::Both,
            _ => return Err(Malformed),
        };
        let (began, ended) = (input.varint()?, input.varint()?);
        input.end()?;
        let ended = (ended > 0).then_some(ended);
        Ok(Self { table, keys, view, began, ended, counted: Arc::default() })
    }
}

impl Tables {
    /// Whether a table may have the feed that it is to have; it gets its label then.
    pub(super) fn label_stream(&self, after: &mut Definition, now: u64) -> Result<(), Refusal> {
        if self.streams.all.len() >= STREAMS_MAX {
            let text = format!(
                "Subscriber limit exceeded: there are {STREAMS_MAX} streams, with those that ended within a day"
            );
            return Err(Refusal::Limit(text));
        }
        let last = self.streams.labels(&after.name).chain(after.latest_stream).max();
        after.latest_stream = Some(now.max(last.map_or(1, |last| last.saturating_add(1))));
        Ok(())
    }

    /// Begins the feed that a table's definition has.
    pub(super) fn begin_stream(&mut self, state: &mut dyn State, table: &Definition, at: Index) {
        let Some((id, view)) = open_stream(table) else { return };
        let stream = Stream {
            table: table.name.clone(),
            keys: table.keys.clone(),
            view,
            began: at.get(),
            ended: None,
            counted: Arc::default(),
        };
        self.put_stream(state, id, stream);
    }

    /// Ends the feed that a table's definition had.
    pub(super) fn end_stream(&mut self, state: &mut dyn State, table: &Definition, at: Index) {
        let Some((id, _)) = open_stream(table) else { return };
        let Some(stream) = self.streams.get(id).cloned() else { return };
        self.put_stream(state, id, Stream { ended: Some(at.get()), ..stream });
    }

    fn put_stream(&mut self, state: &mut dyn State, id: StreamId, stream: Stream) {
        state.put(&self.rows.stream(row::STREAM, id), &stream.encode());
        Arc::make_mut(&mut self.streams.all).insert(id, stream);
    }

    /// Leaves a record of a change, if the table has a feed and something changed.
    pub(super) fn record(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        table: &Table,
        (old, new): (Option<&Item>, Option<&Item>),
        digest: &mut Digest,
    ) {
        let Some((id, view)) = open_stream(&table.definition) else { return };
        let (changed, item) = match (old, new) {
            (None, None) => return,
            (Some(old), Some(new)) if old == new => return,
            (None, Some(new)) => (Changed::Inserted, new),
            (Some(_), Some(new)) => (Changed::Modified, new),
            (Some(old), None) => (Changed::Removed, old),
        };
        let tells_old = matches!(view, StreamView::Old | StreamView::Both);
        let tells_new = matches!(view, StreamView::New | StreamView::Both);
        let at = Position { index: moment.index.get(), number: self.recorded };
        let images = [old.filter(|_| tells_old), new.filter(|_| tells_new)];
        let bytes = encode_record(moment, changed, &table.schema.only_key(item), images);
        state.put(&self.rows.record(id, at), &bytes);
        self.recorded += 1;
        digest.number(RECORD);
        digest.number(u64::from(at.number));
        if let Some(stream) = self.streams.get(id) {
            stream.counted.changed(None, Some(bytes.len()));
            self.dirty_streams.insert(id);
        }
    }

    /// Notes the time, and lets go of what is a day old.
    pub(super) fn trim(&mut self, state: &mut dyn State, at: Index, now: u64, digest: &mut Digest) -> Reply {
        let notes = Arc::make_mut(&mut self.streams.notes);
        let old = notes.iter().rposition(|(_, time)| time.saturating_add(KEPT) <= now);
        if let Some(last) = old {
            self.streams.horizon = notes[last].0;
            notes.drain(..=last);
        }
        let due = notes.last().is_none_or(|(_, time)| now.abs_diff(*time) >= NOTE_EVERY);
        if due && notes.len() < NOTES_MAX {
            notes.push((at.get(), now));
        }
        state.put(&self.rows.kind(row::HORIZON), &encode_notes(self.streams.horizon, &self.streams.notes));
        if old.is_some() {
            self.let_go(state);
        }
        digest.number(TRIM);
        digest.number(self.streams.horizon);
        Reply::Trimmed
    }

    /// What is below the horizon is to be swept away, and feeds that ended there are no more.
    fn let_go(&mut self, state: &mut dyn State) {
        let horizon = self.streams.horizon;
        let over: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.ended.is_some_and(|ended| ended <= horizon))
            .map(|(id, _)| id)
            .collect();
        for id in over {
            self.forget_stream(state, id);
        }
        self.trimming = self.streams.all.keys().copied().collect();
    }

    fn forget_stream(&mut self, state: &mut dyn State, id: StreamId) {
        Arc::make_mut(&mut self.streams.all).remove(&id);
        self.dirty_streams.remove(&id);
        self.resize((id.table, id.label), 0);
        state.delete(&self.rows.stream(row::STREAM, id));
        self.discard(state, [&id.table.to_be_bytes()[..], &id.label.to_be_bytes()].concat());
    }

    /// The shards that had the records of a table's feeds are gone.
    pub(super) fn forget_streams(&mut self, state: &mut dyn State, table: u32) {
        let of: Vec<StreamId> =
            self.streams.iter().map(|(id, _)| id).filter(|id| id.table == table).collect();
        for id in of {
            self.forget_stream(state, id);
        }
    }

    /// In a shard that takes a definition over: its part of a feed begins or ends.
    pub(super) fn follow_stream(
        &mut self,
        state: &mut dyn State,
        (before, behind): (Option<&Definition>, &Definition),
        at: Index,
    ) {
        let label = |table: &Definition| open_stream(table).map(|(id, _)| id.label);
        if before.and_then(label) == label(behind) {
            return;
        }
        if let Some(before) = before {
            self.end_stream(state, before, at);
        }
        self.begin_stream(state, behind, at);
    }

    /// Sweeps up to `budget` records away that are let go. False if there are none.
    pub(super) fn trim_step(&mut self, state: &mut dyn State, budget: usize) -> StateResult<bool> {
        let Some(id) = self.trimming.last().copied() else { return Ok(false) };
        let from = match &self.trimmed {
            Some((of, row)) if *of == id => Bound::Excluded(row.clone()),
            _ => Bound::Included(self.rows.record(id, Position::default()).into()),
        };
        let to = self.rows.record(id, Position::behind(self.streams.horizon));
        let range = (from.as_ref().map(|from| &from[..]), Bound::Excluded(&to[..]));
        let found: Vec<(Bytes, usize)> = match &from {
            Bound::Excluded(row) if row[..] >= to[..] => Vec::new(),
            _ => {
                let scan = state.scan(range).take(budget);
                scan.map(|pair| pair.map(|(key, value)| (key, value.len()))).collect::<StateResult<_>>()?
            }
        };
        if let Some((row, _)) = found.last() {
            self.trimmed = Some((id, row.clone()));
        }
        for (key, size) in &found {
            state.delete(key);
            if let Some(stream) = self.streams.get(id) {
                stream.counted.changed(Some(*size), None);
                self.dirty_streams.insert(id);
            }
        }
        if found.len() < budget {
            self.trimming.pop();
        }
        Ok(true)
    }

    /// Writes how much is in feeds that changed.
    pub(super) fn settle_streams(&mut self, state: &mut dyn State) {
        for id in std::mem::take(&mut self.dirty_streams) {
            let Some(stream) = self.streams.get(id) else { continue };
            let (records, bytes) = stream.counted.read();
            self.resize((id.table, id.label), stored_bytes(records, bytes));
            let mut value = Vec::new();
            varint(&mut value, records);
            varint(&mut value, bytes);
            state.put(&self.rows.stream(row::STREAM_FIGURES, id), &value);
        }
    }
}

impl TablesView {
    /// Feeds in the order of their tables' names and their labels, behind one, so many at most, and whether there are more.
    pub(super) fn list_streams(
        &self,
        table: Option<&str>,
        after: Option<&(String, u64)>,
        limit: usize,
        applied: Index,
    ) -> (Vec<StreamDescribed>, bool) {
        let wanted = |stream: &Stream| table.is_none_or(|name| stream.table == name);
        let mut found: Vec<_> = self
            .streams
            .iter()
            .filter(|(id, stream)| {
                wanted(stream) && after.is_none_or(|(name, label)| (&stream.table, id.label) > (name, *label))
            })
            .collect();
        found.sort_by_key(|(id, stream)| (&stream.table, id.label));
        let more = found.len() > limit;
        found.truncate(limit);
        let describe = |(id, stream)| self.streams.described(id, stream, applied);
        (found.into_iter().map(describe).collect(), more)
    }

    /// One feed.
    pub(super) fn describe_stream(
        &self,
        table: &str,
        label: u64,
        applied: Index,
    ) -> Result<StreamDescribed, ReadError> {
        let found = self.streams.iter().find(|(id, stream)| id.label == label && stream.table == table);
        let (id, stream) = found.ok_or_else(|| refused(Refusal::NotFound))?;
        Ok(self.streams.described(id, stream, applied))
    }

    /// Records of a feed from a place on: so many at most, and about a megabyte.
    pub(super) fn records(
        &self,
        (id, from): (StreamId, Position),
        limit: usize,
        applied: Index,
        source: &dyn Source,
    ) -> Result<Records, ReadError> {
        let stream = self.streams.get(id).ok_or_else(|| refused(Refusal::NotFound))?;
        let oldest = self.streams.oldest(stream);
        let beginning = from == Position::default();
        if !beginning && from < oldest && from.index <= self.streams.horizon {
            return Ok(Records::Trimmed);
        }
        let (start, to) = (self.rows.record(id, from.max(oldest)), self.rows.records_end(id));
        let (mut records, mut bytes) = (Vec::new(), 0);
        for pair in source.scan((Bound::Included(&start), Bound::Excluded(&to))) {
            let (key, stored) = pair?;
            bytes += stored.len();
            let at = self.rows.position(&key)?;
            records.push(Record::decode(at, stored)?);
            if records.len() >= limit.max(1) || bytes >= READ_BYTES {
                let next = Some(Position { number: at.number.saturating_add(1), ..at });
                return Ok(Records::Read { records, view: stream.view, next });
            }
        }
        // An older state than the one that was read before has nothing new, and takes nothing back.
        let next = from.max(Position::behind(applied.get()));
        let next = stream.ended.is_none().then_some(next);
        Ok(Records::Read { records, view: stream.view, next })
    }

    /// Whether it is time that the log notes the time.
    pub(super) fn trim_is_due(&self, now: u64) -> bool {
        let kept = |stream: &Stream| stream.ended.is_some() || stream.counted.read().0 > 0;
        let last = self.streams.notes.last();
        last.is_none_or(|(_, time)| now.abs_diff(*time) >= NOTE_EVERY)
            && self.streams.iter().any(|(_, stream)| kept(stream))
    }
}

impl Record {
    fn decode(at: Position, stored: Bytes) -> StateResult<Self> {
        let read = || -> Read<Self> {
            let mut input = Reader::new(stored);
            if input.u8()? != VERSION {
                return Err(Malformed);
            }
            let kind = input.u8()?;
            let changed = match kind & !BY_TIME {
                1 => Changed::Inserted,
                2 => Changed::Modified,
                3 => Changed::Removed,
                _ => return Err(Malformed),
            };
            let time = input.varint()?;
            let keys = Item::decode(&input.bytes()?).map_err(|_| Malformed)?;
            let image = |input: &mut Reader| match input.bytes()? {
                bytes if bytes.is_empty() => Ok(None),
                bytes => Item::decode(&bytes).map(Some).map_err(|_| Malformed),
            };
            let (old, new) = (image(&mut input)?, image(&mut input)?);
            input.end()?;
            Ok(Self { at, changed, by_time: kind & BY_TIME != 0, time, keys, old, new })
        };
        read().map_err(|_| damaged("a record of a change feed"))
    }
}

/// A record as it is stored; [`Record::decode`] reads it. `images` are the items before and behind, as far as they are told.
fn encode_record(moment: Moment, changed: Changed, keys: &Item, images: [Option<&Item>; 2]) -> Vec<u8> {
    let mut out = vec![VERSION, changed as u8 | if moment.by_time { BY_TIME } else { 0 }];
    varint(&mut out, moment.now);
    for part in [Some(keys)].into_iter().chain(images) {
        // An item's encoding is never empty.
        let bytes = part.map(Codec::encode).unwrap_or_default();
        varint(&mut out, bytes.len() as u64);
        out.extend_from_slice(&bytes);
    }
    out
}

/// The feed that a table has now.
fn open_stream(table: &Definition) -> Option<(StreamId, StreamView)> {
    Some((StreamId { table: table.id, label: table.latest_stream? }, table.stream?))
}

/// Bytes in the store, about.
pub(super) fn stored_bytes(records: u64, bytes: u64) -> u64 {
    const ROW: u64 = 48;
    bytes.saturating_add(records.saturating_mul(ROW))
}

pub(super) fn stream_id(bytes: &[u8]) -> Option<StreamId> {
    let (table, label) = bytes.split_first_chunk::<4>()?;
    Some(StreamId { table: u32::from_be_bytes(*table), label: u64::from_be_bytes(label.try_into().ok()?) })
}

fn decode_figures(stored: Bytes) -> StateResult<Counted> {
    let mut input = Reader::new(stored);
    let mut read = || -> Read<(u64, u64)> {
        let figures = (input.varint()?, input.varint()?);
        input.end()?;
        Ok(figures)
    };
    let (records, bytes) = read().map_err(|_| damaged("the figures of a change feed"))?;
    Ok(Counted::of(records, bytes))
}

fn encode_notes(horizon: u64, notes: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, horizon);
    varint(&mut out, notes.len() as u64);
    for (index, time) in notes {
        varint(&mut out, *index);
        varint(&mut out, *time);
    }
    out
}

fn decode_notes(stored: Bytes) -> Read<(u64, Vec<(u64, u64)>)> {
    let mut input = Reader::new(stored);
    let horizon = input.varint()?;
    let notes = (0..input.count()?).map(|_| Ok((input.varint()?, input.varint()?))).collect::<Read<_>>()?;
    input.end()?;
    Ok((horizon, notes))
}

fn text(input: &mut Reader) -> Read<String> {
    String::from_utf8(input.bytes()?.to_vec()).map_err(|_| Malformed)
}

/// What the digest calls the effects, beside those of items.
const RECORD: u64 = 120;
const TRIM: u64 = 121;
