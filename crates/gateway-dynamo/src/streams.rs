//! Change feeds of tables: DynamoDB Streams, whose operations come under a name of their own or under the tables'.
//!
//! A stream has as many shards as its table: each has the records of its own items, in the order of its log. A shard's name
//! carries the number of its group of replicas, so that any node knows whom to ask. An iterator is a place in a shard, written into
//! a text that the client brings back: the door remembers none of them. Sequence numbers are the index of a record's entry in the
//! log, its number in that entry, so that the order of both is one, and the group's number, unless that is shard 1.
//!
//! What streams there are, and whether they have ended, is in shard 1. A shard begins and ends its part a moment later; of a stream that had
//! ended before it heard of it, it has no part.

use crate::body::Params;
use crate::describe::{arn, key_schema, seconds};
use crate::failure::{Answered, ApiError, Kind};
use crate::limits::{Constraints, bare};
use crate::reply::Reply;
use crate::route::{META, META_PLACE, Place, beside, in_block, moved, routed};
use crate::signature::hex;
use crate::{Gateway, now_ms, time, unexpected};
use quorate_base::ShardId;
use quorate_item::Item;
use quorate_node::api::tables::{
    Block, Changed, Position, Read, ReadReply, Record, Records, StreamDescribed, StreamId,
};
use quorate_wire::table::{Definition, StreamView};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// How long an iterator is good for, in milliseconds.
const ITERATOR_LASTS: u64 = 15 * 60 * 1000;
/// A clock of another node may be so far ahead when it dates an iterator.
const SKEW: u64 = 60_000;
/// So many records a page has at most.
const RECORDS_MAX: i64 = 1000;
/// So many streams or shards.
const LIST_MAX: i64 = 100;
/// How long names are, in bytes: those of streams, of shards, and sequence numbers.
const ARN_LENGTH: (usize, usize) = (37, 1024);
const SHARD_LENGTH: (usize, usize) = (28, 65);
const NUMBER_LENGTH: (usize, usize) = (21, 40);

/// The ARN of a stream.
pub(crate) fn stream_arn(table: &str, label: u64) -> String {
    format!("{}/stream/{}", arn(table), time::iso(label))
}

/// As DynamoDB calls a view.
pub(crate) const fn view_word(view: StreamView) -> &'static str {
    match view {
        StreamView::KeysOnly => "KEYS_ONLY",
        StreamView::New => "NEW_IMAGE",
        StreamView::Old => "OLD_IMAGE",
        StreamView::Both => "NEW_AND_OLD_IMAGES",
    }
}

/// Holds a member `StreamSpecification` to its constraints.
pub(crate) fn constrain(params: Params<'_>, constraints: &mut Constraints) -> Answered<()> {
    let Some(asked) = params.object("StreamSpecification")? else { return Ok(()) };
    if asked.flag("StreamEnabled")?.is_none() {
        constraints.missing("streamSpecification.streamEnabled");
    }
    let words = ["NEW_IMAGE", "OLD_IMAGE", "NEW_AND_OLD_IMAGES", "KEYS_ONLY"];
    constraints.word(asked.text("StreamViewType")?, "streamSpecification.streamViewType", &words);
    Ok(())
}

/// A member `StreamSpecification` of a table that is made, or changed; the inner `None` says that there is to be no stream.
#[allow(clippy::option_option, reason = "not said, ended, or begun")]
pub(crate) fn specification(params: Params<'_>, made: bool) -> Answered<Option<Option<StreamView>>> {
    let Some(asked) = params.object("StreamSpecification")? else { return Ok(None) };
    let (on, view) = (asked.flag("StreamEnabled")?, asked.text("StreamViewType")?);
    let invalid =
        |text: &str| Err(ApiError::validation(format!("One or more parameter values were invalid: {text}")));
    match (on.unwrap_or(false), view) {
        (false, None) => Ok(Some(None)),
        (false, Some(_)) if made => {
            invalid("Table is being created with a stream disabled, UpdateViewType should not be specified")
        }
        (true, None) if made => {
            invalid("Table is being created with a stream enabled, UpdateViewType is required")
        }
        (false, Some(_)) => invalid("If stream is being disabled, then UpdateViewType must not be specified"),
        (true, None) => invalid("If stream is being enabled then UpdateViewType is required"),
        (true, Some("KEYS_ONLY")) => Ok(Some(Some(StreamView::KeysOnly))),
        (true, Some("NEW_IMAGE")) => Ok(Some(Some(StreamView::New))),
        (true, Some("OLD_IMAGE")) => Ok(Some(Some(StreamView::Old))),
        (true, Some(_)) => Ok(Some(Some(StreamView::Both))),
    }
}

/// What a table's description says of its stream.
pub(crate) fn describe_latest(definition: &Definition, out: &mut Map<String, Value>) {
    if let Some(view) = definition.stream {
        let specification = json!({ "StreamEnabled": true, "StreamViewType": view_word(view) });
        out.insert("StreamSpecification".into(), specification);
    }
    if let Some(label) = definition.latest_stream {
        out.insert("LatestStreamLabel".into(), json!(time::iso(label)));
        out.insert("LatestStreamArn".into(), json!(stream_arn(&definition.name, label)));
    }
}

// ---- what there is ----

/// `ListStreams`.
pub(crate) async fn list(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let mut constraints = Constraints::default();
    let table = params.text("TableName")?.map(bare);
    constraints.name(table, "tableName");
    let limit = limit(params, LIST_MAX, &mut constraints)?;
    let after = params.text("ExclusiveStartStreamArn")?;
    length(after, "exclusiveStartStreamArn", ARN_LENGTH, &mut constraints);
    constraints.check()?;
    let after = after.map(parse_arn).transpose()?;
    let read = Read::Streams { table: table.map(String::from), after, limit };
    let ReadReply::Streams(streams, more) = gateway.read(read, true).await? else { return Err(unexpected()) };
    let one = |stream: &StreamDescribed| {
        json!({
            "StreamArn": stream_arn(&stream.table, stream.id.label),
            "TableName": stream.table,
            "StreamLabel": time::iso(stream.id.label),
        })
    };
    let mut out = json!({ "Streams": streams.iter().map(one).collect::<Vec<_>>() });
    if let (true, Some(last), Some(out)) = (more, streams.last(), out.as_object_mut()) {
        out.insert("LastEvaluatedStreamArn".into(), json!(stream_arn(&last.table, last.id.label)));
    }
    Ok(out)
}

/// `DescribeStream`.
pub(crate) async fn describe(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let mut constraints = Constraints::default();
    let arn = required(params, "StreamArn", "streamArn", &mut constraints)?;
    length(Some(arn), "streamArn", ARN_LENGTH, &mut constraints);
    let limit = limit(params, LIST_MAX, &mut constraints)?;
    let after = params.text("ExclusiveStartShardId")?;
    length(after, "exclusiveStartShardId", SHARD_LENGTH, &mut constraints);
    let parent = children_of(params, &mut constraints)?;
    constraints.check()?;
    let stream = described(gateway, arn).await?;
    let after = after.map(|after| check_shard(gateway, &stream, after)).transpose()?;
    let (shards, last) = match parent {
        // A shard ends with its stream: none follows it.
        Some(parent) => check_shard(gateway, &stream, parent).map(|_| (Vec::new(), None))?,
        None => parts(gateway, &stream, after.map(|place| place.shard), limit).await?,
    };
    let mut description = json!({
        "StreamArn": stream_arn(&stream.table, stream.id.label),
        "StreamLabel": time::iso(stream.id.label),
        "StreamStatus": if stream.ended.is_some() { "DISABLED" } else { "ENABLED" },
        "StreamViewType": view_word(stream.view),
        "CreationRequestDateTime": seconds(stream.id.label),
        "TableName": stream.table,
        "KeySchema": key_schema(&stream.keys),
        "Shards": shards,
    });
    if let (Some(last), Some(out)) = (last, description.as_object_mut()) {
        out.insert("LastEvaluatedShardId".into(), json!(shard_id(stream.id, last)));
    }
    Ok(json!({ "StreamDescription": description }))
}

/// The shard whose children are asked for, if a `ShardFilter` does so.
fn children_of<'p>(params: Params<'p>, constraints: &mut Constraints) -> Answered<Option<&'p str>> {
    let Some(filter) = params.object("ShardFilter")? else { return Ok(None) };
    let (kind, parent) = (filter.text("Type")?, filter.text("ShardId")?);
    constraints.word(kind, "shardFilter.type", &["CHILD_SHARDS"]);
    length(parent, "shardFilter.shardId", SHARD_LENGTH, constraints);
    Ok(parent.filter(|_| kind.is_some()))
}

/// The shards of a stream behind one, as they are described, and the last one if there are more.
async fn parts(
    gateway: &Gateway,
    stream: &StreamDescribed,
    after: Option<ShardId>,
    limit: usize,
) -> Answered<(Vec<Value>, Option<ShardId>)> {
    let mut places: Vec<Place> = match block(gateway, stream.id) {
        Some(block) => block.shards().map(|shard| in_block(&block, shard)).collect(),
        None => vec![META_PLACE],
    };
    places.retain(|place| after.is_none_or(|after| place.shard > after));
    let more = places.len() > limit;
    places.truncate(limit);
    let last = places.last().map(|place| place.shard).filter(|_| more);
    let asked = beside(places.iter().map(|&place| part(gateway, stream, place))).await;
    let mut shown = Vec::new();
    for (place, part) in places.iter().zip(asked) {
        shown.extend(part?.map(|part| shard(&part, place.shard)));
    }
    Ok((shown, last))
}

fn shard(part: &StreamDescribed, of: ShardId) -> Value {
    let mut range = json!({ "StartingSequenceNumber": sequence(part.oldest, of) });
    if let (Some(ended), Some(range)) = (part.ended, range.as_object_mut()) {
        range.insert("EndingSequenceNumber".into(), json!(sequence(ended.max(part.oldest), of)));
    }
    json!({ "ShardId": shard_id(part.id, of), "SequenceNumberRange": range })
}

/// The shards of a stream's table, if it has any of its own.
fn block(gateway: &Gateway, stream: StreamId) -> Option<Arc<Block>> {
    gateway.door.placement().blocks().find(|block| block.table == stream.table).cloned()
}

/// What a shard has of a stream. One that has not heard of it is asked again; where it has ended meanwhile there is nothing.
async fn part(
    gateway: &Gateway,
    stream: &StreamDescribed,
    place: Place,
) -> Answered<Option<StreamDescribed>> {
    if place.shard == META {
        return Ok(Some(stream.clone()));
    }
    routed(gateway, |_| async {
        let read = Read::Stream(stream.table.clone(), stream.id.label);
        match gateway.read_from(place, read, true).await {
            Ok(ReadReply::Stream(part)) => Ok(Some(*part)),
            Ok(_) => Err(unexpected()),
            Err(error) if error.kind == Kind::NotFound && stream.ended.is_some() => Ok(None),
            Err(error) if error.kind == Kind::NotFound => Err(moved()),
            Err(error) => Err(error),
        }
    })
    .await
}

async fn described(gateway: &Gateway, arn: &str) -> Answered<StreamDescribed> {
    let (table, label) = parse_arn(arn)?;
    match gateway.read(Read::Stream(table, label), true).await {
        Ok(ReadReply::Stream(stream)) => Ok(*stream),
        Ok(_) => Err(unexpected()),
        Err(error) if error.kind == Kind::NotFound => Err(no_stream(arn)),
        Err(error) => Err(error),
    }
}

fn no_stream(arn: &str) -> ApiError {
    ApiError::new(Kind::NotFound, format!("Requested resource not found: Stream: {arn} not found"))
}

// ---- iterators ----

/// `GetShardIterator`.
pub(crate) async fn iterator(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let mut constraints = Constraints::default();
    let arn = required(params, "StreamArn", "streamArn", &mut constraints)?;
    length(Some(arn), "streamArn", ARN_LENGTH, &mut constraints);
    let shard = required(params, "ShardId", "shardId", &mut constraints)?;
    length(Some(shard), "shardId", SHARD_LENGTH, &mut constraints);
    let kind = required(params, "ShardIteratorType", "shardIteratorType", &mut constraints)?;
    let kinds = ["AT_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AFTER_SEQUENCE_NUMBER"];
    constraints.word(Some(kind).filter(|kind| !kind.is_empty()), "shardIteratorType", &kinds);
    let number = params.text("SequenceNumber")?;
    length(number, "sequenceNumber", NUMBER_LENGTH, &mut constraints);
    constraints.check()?;
    let by_number = kind.ends_with("SEQUENCE_NUMBER");
    let number = match number {
        Some(_) if !by_number => {
            return Err(ApiError::validation(format!(
                "SequenceNumber must not be provided when ShardIteratorType is {kind}"
            )));
        }
        None if by_number => {
            return Err(ApiError::validation(format!(
                "SequenceNumber must be provided when ShardIteratorType is {kind}"
            )));
        }
        Some(number) => Some(parse_sequence(number).ok_or_else(|| {
            ApiError::validation(format!("Invalid SequenceNumber: {number} is not one of a stream's"))
        })?),
        None => None,
    };
    let stream = described(gateway, arn).await?;
    let place = check_shard(gateway, &stream, shard)?;
    if let Some((_, of)) = number
        && of != place.shard
    {
        return Err(ApiError::validation(format!("Invalid SequenceNumber: it is not one of shard {shard}")));
    }
    let number = number.map(|(at, _)| at);
    let part = part(gateway, &stream, place).await?.ok_or_else(|| no_shard(&stream, shard))?;
    let at = match (kind, number) {
        ("LATEST", _) => part.next,
        ("AT_SEQUENCE_NUMBER", Some(at)) => at,
        ("AFTER_SEQUENCE_NUMBER", Some(at)) => Position { number: at.number.saturating_add(1), ..at },
        _ => Position::default(),
    };
    if number.is_some_and(|number| number < part.oldest) {
        return Err(trimmed());
    }
    let iterator = Cursor { shard: place.shard, stream: stream.id, at, made: now_ms() };
    Ok(json!({ "ShardIterator": iterator.text(&stream.table) }))
}

fn trimmed() -> ApiError {
    ApiError::new(
        Kind::Trimmed,
        "The operation attempted to read past the oldest stream record in a shard: records are kept for 24 hours",
    )
}

/// A place in a shard, and when it was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    shard: ShardId,
    stream: StreamId,
    at: Position,
    made: u64,
}

/// Bytes of an iterator before its check.
const PLACE: usize = 40;
/// Bytes of the check.
const CHECK: usize = 8;

impl Cursor {
    /// As a client carries it. The check finds what was cut off or mixed up, or is another table's; it is no seal, since the door would
    /// read what it names for anyone who may name it.
    fn text(&self, table: &str) -> String {
        let mut bytes = Vec::with_capacity(PLACE + CHECK);
        bytes.extend_from_slice(&self.shard.get().to_be_bytes());
        bytes.extend_from_slice(&self.stream.table.to_be_bytes());
        bytes.extend_from_slice(&self.stream.label.to_be_bytes());
        bytes.extend_from_slice(&self.at.index.to_be_bytes());
        bytes.extend_from_slice(&self.at.number.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.made.to_be_bytes());
        let check = Sha256::new().chain_update(&bytes).chain_update(table).finalize();
        bytes.extend_from_slice(&check[..CHECK]);
        format!("{}|1|{}", stream_arn(table, self.stream.label), hex(&bytes))
    }

    /// One that is as it was given out, to the letter, and its table's name.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let (arn, hex) = text.rsplit_once("|1|")?;
        let table = arn.split_once(":table/")?.1.split_once('/')?.0;
        if hex.len() != 2 * (PLACE + CHECK) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?;
        let place = &bytes[..PLACE];
        let long = |at: usize| Some(u64::from_be_bytes(place.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_be_bytes(place.get(at..at + 4)?.try_into().ok()?));
        let cursor = Self {
            shard: ShardId(short(0)?),
            stream: StreamId { table: short(4)?, label: long(8)? },
            at: Position { index: long(16)?, number: short(24)? },
            made: long(32)?,
        };
        (cursor.text(table) == text).then_some((cursor, table))
    }
}

// ---- records ----

/// `GetRecords`.
pub(crate) async fn records(gateway: &Gateway, params: Params<'_>) -> Answered<Vec<u8>> {
    let mut constraints = Constraints::default();
    let text = required(params, "ShardIterator", "shardIterator", &mut constraints)?;
    let limit = limit(params, RECORDS_MAX, &mut constraints)?;
    constraints.check()?;
    let (iterator, table) =
        Cursor::parse(text).ok_or_else(|| ApiError::validation("Invalid ShardIterator"))?;
    let now = now_ms();
    if now > iterator.made.saturating_add(ITERATOR_LASTS) || iterator.made > now.saturating_add(SKEW) {
        return Err(ApiError::new(
            Kind::ExpiredIterator,
            format!(
                "Iterator expired. The iterator was created at time {} while right now it is {}, which is further in the \
                 future than the tolerated delay of {ITERATOR_LASTS} milliseconds.",
                time::iso(iterator.made),
                time::iso(now)
            ),
        ));
    }
    let read = Read::Records { stream: iterator.stream, from: iterator.at, limit };
    let (records, view, next) = match read_records(gateway, iterator, read).await? {
        Records::Trimmed => return Err(trimmed()),
        Records::Read { records, view, next } => (records, view, next),
    };
    let mut reply = Reply::new();
    reply.raw("Records", |out| {
        out.push(b'[');
        for (at, record) in records.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_record(out, iterator, record, view);
        }
        out.push(b']');
    });
    if let Some(at) = next {
        let next = Cursor { at, made: now, ..iterator }.text(table);
        reply.value("NextShardIterator", &json!(next));
    }
    Ok(reply.finish())
}

/// The state of this node, or of the one that it passes the question on to, will do: where that lags, the client comes to what is
/// missing with its next request. Only a stream that it does not know may be one that it has not heard of yet.
async fn read_records(gateway: &Gateway, from: Cursor, read: Read) -> Answered<Records> {
    let place = match (from.shard, block(gateway, from.stream)) {
        (META, _) => META_PLACE,
        (shard, Some(block)) if block.shards().any(|other| other == shard) => in_block(&block, shard),
        _ => return Err(ApiError::new(Kind::NotFound, "Requested resource not found: its table is gone")),
    };
    let reply = match gateway.read_from(place, read.clone(), false).await {
        Err(error) if error.kind == Kind::NotFound => gateway.read_from(place, read, true).await?,
        reply => reply?,
    };
    match reply {
        ReadReply::Records(records) => Ok(records),
        _ => Err(unexpected()),
    }
}

fn write_record(out: &mut Vec<u8>, of: Cursor, record: &Record, view: StreamView) {
    let sizes = [Some(&record.keys), record.old.as_ref(), record.new.as_ref()];
    let size: usize = sizes.into_iter().flatten().map(Item::size).sum();
    let mut change = Reply::new();
    change.value("ApproximateCreationDateTime", &json!(record.time / 1000));
    change.item("Keys", &record.keys);
    for (name, image) in [("NewImage", &record.new), ("OldImage", &record.old)] {
        if let Some(image) = image {
            change.item(name, image);
        }
    }
    change.value("SequenceNumber", &json!(sequence(record.at, of.shard)));
    change.value("SizeBytes", &json!(size));
    change.value("StreamViewType", &json!(view_word(view)));
    let change = change.finish();
    let mut whole = Reply::new();
    whole.value("awsRegion", &json!("local"));
    whole.raw("dynamodb", |to| to.extend_from_slice(&change));
    whole.value("eventID", &json!(event_id(of, record.at)));
    whole.value("eventName", &json!(event_name(record.changed)));
    whole.value("eventSource", &json!("aws:dynamodb"));
    whole.value("eventVersion", &json!("1.1"));
    if record.by_time {
        let service = json!({ "PrincipalId": "dynamodb.amazonaws.com", "Type": "Service" });
        whole.value("userIdentity", &service);
    }
    out.extend_from_slice(&whole.finish());
}

const fn event_name(changed: Changed) -> &'static str {
    match changed {
        Changed::Inserted => "INSERT",
        Changed::Modified => "MODIFY",
        Changed::Removed => "REMOVE",
    }
}

/// A name that no other record has, and that this one always has.
fn event_id(of: Cursor, at: Position) -> String {
    let mut hash = Sha256::new();
    hash.update(of.stream.table.to_be_bytes());
    hash.update(of.stream.label.to_be_bytes());
    hash.update(sequence(at, of.shard));
    hex(&hash.finalize()[..16])
}

// ---- names and numbers ----

/// A sequence number: 27 digits, of which the first keeps those behind it from being cut off as leading zeros, and ten more for the
/// group unless that is shard 1.
fn sequence(at: Position, of: ShardId) -> String {
    let group = if of == META { String::new() } else { format!("{:010}", of.get()) };
    format!("1{:020}{:06}{group}", at.index, at.number)
}

fn parse_sequence(text: &str) -> Option<(Position, ShardId)> {
    let digits = text.strip_prefix('1')?;
    let (index, rest) = digits.split_at_checked(20)?;
    let (number, group) = rest.split_at_checked(6)?;
    let number = u32::try_from(time::digits(number)?).ok()?;
    let of = match group.len() {
        0 => META,
        10 => ShardId(u32::try_from(time::digits(group)?).ok()?),
        _ => return None,
    };
    Some((Position { index: time::digits(index)?, number }, of))
}

/// The name of a stream's shard: when the stream began, and the group of replicas that has it.
fn shard_id(stream: StreamId, of: ShardId) -> String {
    format!("shardId-{:020}-{:08x}", stream.label, of.get())
}

/// Where a shard of a stream lies, by its name.
fn check_shard(gateway: &Gateway, stream: &StreamDescribed, shard: &str) -> Answered<Place> {
    let named = |of: &ShardId| shard == shard_id(stream.id, *of);
    let place = match block(gateway, stream.id) {
        Some(block) => block.shards().find(named).map(|of| in_block(&block, of)),
        None => Some(META_PLACE).filter(|place| named(&place.shard)),
    };
    place.ok_or_else(|| no_shard(stream, shard))
}

fn no_shard(stream: &StreamDescribed, shard: &str) -> ApiError {
    let arn = stream_arn(&stream.table, stream.id.label);
    ApiError::new(
        Kind::NotFound,
        format!("Requested resource not found: Shard does not exist: {shard} in stream {arn}"),
    )
}

fn parse_arn(text: &str) -> Answered<(String, u64)> {
    let parse = || {
        let (table, label) = text.strip_prefix("arn:")?.split_once(":table/")?.1.split_once("/stream/")?;
        Some((table.to_string(), time::of_iso(label)?))
    };
    parse().ok_or_else(|| ApiError::validation(format!("Invalid StreamArn: {text}")))
}

fn required<'p>(
    params: Params<'p>,
    name: &str,
    path: &str,
    constraints: &mut Constraints,
) -> Answered<&'p str> {
    let value = params.text(name)?;
    if value.is_none() {
        constraints.missing(path);
    }
    Ok(value.unwrap_or_default())
}

/// A name that is there has such a length; one that is missing or empty was told of.
fn length(value: Option<&str>, path: &str, of: (usize, usize), constraints: &mut Constraints) {
    constraints.length(value.filter(|value| !value.is_empty()), path, of.0, of.1);
}

fn limit(params: Params<'_>, most: i64, constraints: &mut Constraints) -> Answered<usize> {
    let limit = params.number("Limit")?;
    constraints.at_least(limit, "limit", 1);
    constraints.at_most(limit, "limit", most);
    Ok(usize::try_from(limit.unwrap_or(most)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: StreamId = StreamId { table: 7, label: 1_795_869_235_123 };

    #[test]
    fn names_are_as_long_as_clients_demand() {
        assert!(
            stream_arn("abc", 0).len() >= ARN_LENGTH.0
                && stream_arn(&"t".repeat(255), 0).len() <= ARN_LENGTH.1
        );
        let at = Position { index: u64::MAX, number: 999_999 };
        for of in [META, ShardId(2), ShardId(u32::MAX)] {
            let within = |(least, most), name: String| (least..=most).contains(&name.len());
            assert!(within(SHARD_LENGTH, shard_id(ID, of)) && within(NUMBER_LENGTH, sequence(at, of)));
            assert_eq!(parse_sequence(&sequence(at, of)), Some((at, of)));
        }
        let long = "t".repeat(255);
        assert!(Cursor { shard: META, stream: ID, at, made: u64::MAX }.text(&long).len() <= 2048);
        let (one, two) = (Position { index: 9, number: 10 }, Position { index: 10, number: 2 });
        assert!(sequence(one, META) < sequence(two, META));
        assert_eq!(parse_arn(&stream_arn("a.b", ID.label)).unwrap(), ("a.b".into(), ID.label));
    }

    #[test]
    fn an_iterator_comes_back_and_what_is_none_is_refused() {
        let iterator =
            Cursor { shard: ShardId(9), stream: ID, at: Position { index: 5, number: 1 }, made: 77 };
        let text = iterator.text("orders");
        assert_eq!(Cursor::parse(&text), Some((iterator, "orders")));
        for cut in 0..text.len() {
            assert_eq!(Cursor::parse(&text[..cut]), None);
        }
        let at = text.len() - 20;
        let other = if &text[at..=at] == "0" { "1" } else { "0" };
        assert_eq!(Cursor::parse(&format!("{}{other}{}", &text[..at], &text[at + 1..])), None);
        let (arn, place) = text.split_once('|').unwrap();
        let others = [arn.replace("orders", "others"), arn.replace('T', "T0"), "hello".into()]
            .map(|arn| format!("{arn}|{place}"));
        for other in others.iter().map(String::as_str).chain([
            "x|1|é",
            &text.to_uppercase(),
            &format!("{arn}|{}", place.to_uppercase()),
        ]) {
            assert_eq!(Cursor::parse(other), None, "{other}");
        }
    }

    use crate::tests::{alone, ask};

    const TABLE: &str = "orders";

    async fn streaming(gateway: &Gateway, view: &str) -> String {
        let table = json!({
            "TableName": TABLE,
            "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
            "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
            "BillingMode": "PAY_PER_REQUEST",
            "StreamSpecification": { "StreamEnabled": true, "StreamViewType": view },
        });
        let made = ask(gateway, "CreateTable", table).await.unwrap();
        made["TableDescription"]["LatestStreamArn"].as_str().unwrap().to_string()
    }

    async fn iterator(gateway: &Gateway, arn: &str, kind: &str) -> Value {
        let described = ask(gateway, "DescribeStream", json!({ "StreamArn": arn })).await.unwrap();
        let shard = &described["StreamDescription"]["Shards"][0]["ShardId"];
        let asked = json!({ "StreamArn": arn, "ShardId": shard, "ShardIteratorType": kind });
        ask(gateway, "GetShardIterator", asked).await.unwrap()["ShardIterator"].clone()
    }

    #[tokio::test]
    async fn what_is_written_is_told() {
        let (gateway, _) = alone();
        let arn = streaming(&gateway, "NEW_IMAGE").await;
        let latest = iterator(&gateway, &arn, "LATEST").await;
        let item = json!({ "id": { "S": "a" }, "n": { "N": "1" } });
        ask(&gateway, "PutItem", json!({ "TableName": TABLE, "Item": item })).await.unwrap();
        for from in [latest, iterator(&gateway, &arn, "TRIM_HORIZON").await] {
            let page = ask(&gateway, "GetRecords", json!({ "ShardIterator": from })).await.unwrap();
            let [record] = &page["Records"].as_array().unwrap()[..] else { panic!("{page}") };
            assert_eq!(record["eventName"], "INSERT");
            assert_eq!(record["dynamodb"]["Keys"], json!({ "id": { "S": "a" } }));
            assert_eq!(record["dynamodb"]["NewImage"], item);
            assert_eq!(record["dynamodb"]["SizeBytes"], 3 + 3 + 3);
            let more = json!({ "ShardIterator": page["NextShardIterator"] });
            let next = ask(&gateway, "GetRecords", more).await.unwrap();
            assert_eq!(next["Records"], json!([]));
        }
        ask(&gateway, "DeleteTable", json!({ "TableName": TABLE })).await.unwrap();
        let from = iterator(&gateway, &arn, "TRIM_HORIZON").await;
        let page = ask(&gateway, "GetRecords", json!({ "ShardIterator": from })).await.unwrap();
        assert_eq!(page["Records"].as_array().unwrap().len(), 1);
        assert!(page.get("NextShardIterator").is_none(), "its shard is closed");
    }

    #[tokio::test]
    async fn names_of_another_length_are_refused_and_shards_have_no_children() {
        let (gateway, _) = alone();
        let arn = streaming(&gateway, "KEYS_ONLY").await;
        let whole = ask(&gateway, "DescribeStream", json!({ "StreamArn": arn })).await.unwrap();
        let shard = &whole["StreamDescription"]["Shards"][0]["ShardId"];
        for (name, body, path) in [
            ("DescribeStream", json!({ "StreamArn": "x" }), "'x' at 'streamArn'"),
            (
                "DescribeStream",
                json!({ "StreamArn": arn, "ExclusiveStartShardId": "x" }),
                "exclusiveStartShardId",
            ),
            (
                "DescribeStream",
                json!({ "StreamArn": arn, "ShardFilter": { "Type": "x" } }),
                "enum value set: [CHILD_SHARDS]",
            ),
            (
                "GetShardIterator",
                json!({ "StreamArn": arn, "ShardId": "x", "ShardIteratorType": "LATEST" }),
                "'shardId' failed to satisfy constraint: Member must have length greater than or equal to 28",
            ),
            (
                "GetShardIterator",
                json!({ "StreamArn": arn, "ShardId": shard, "ShardIteratorType": "AT_SEQUENCE_NUMBER", "SequenceNumber": "1" }),
                "sequenceNumber",
            ),
        ] {
            let (kind, text) = ask(&gateway, name, body).await.unwrap_err();
            assert!(kind == Kind::Validation && text.contains(path), "{text}");
        }
        let filter = json!({ "StreamArn": arn, "ShardFilter": { "Type": "CHILD_SHARDS", "ShardId": shard } });
        let described = ask(&gateway, "DescribeStream", filter).await.unwrap();
        assert_eq!(described["StreamDescription"]["Shards"], json!([]));
    }

    /// An iterator is good for a quarter of an hour.
    #[tokio::test]
    async fn an_old_iterator_is_refused() {
        let (gateway, _) = alone();
        let arn = streaming(&gateway, "KEYS_ONLY").await;
        let (table, label) = parse_arn(&arn).unwrap();
        let ReadReply::Stream(stream) = gateway.read(Read::Stream(table, label), true).await.unwrap() else {
            panic!()
        };
        let from =
            |made| Cursor { shard: META, stream: stream.id, at: Position::default(), made }.text(TABLE);
        let ask_at = |made| ask(&gateway, "GetRecords", json!({ "ShardIterator": from(made) }));
        assert!(ask_at(now_ms() - ITERATOR_LASTS + 60_000).await.is_ok());
        for made in [0, now_ms() - ITERATOR_LASTS - 1, now_ms() + 2 * SKEW] {
            assert_eq!(ask_at(made).await.unwrap_err().0, Kind::ExpiredIterator);
        }
    }
}
