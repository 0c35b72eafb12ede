//! Reads: ranges at the newest and at older revisions, compares, and read-only transactions.
//!
//! A range at the newest revision is one seek and a sequential read of table `LATEST`. One at an older revision merges
//! `LATEST`, whose records that are not newer hold then too, with the marks of `DELETED`; both sort by key. For a key that has
//! changed since, the changes lead back to the version that held then, in logarithmically many steps ([`Path`]).
//!
//! [`Path`]: super::layout::Path

use super::counts::{self, Blocks, Stretches};
use super::layout::{
    Change, KEY_MAX, Keys, Record, Rev, damaged, decode_mark, parse_deleted, parse_event_key, table,
};
use super::source::Source;
use bytes::Bytes;
use quorate_storage::state::{Scan, StateError, StateResult};
use quorate_wire::kv::{
    Compare, CompareResult, CompareTarget, KeyRange, KeyValue, Op, Range, RangeReply, Refused, Reply,
    Revision, SortOrder, SortTarget, Txn,
};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::iter::Peekable;
use std::ops::Bound;

/// A count at an older revision walks at most so many revisions of the event log back from now; beyond it scans. Small
/// in the crate's own tests, which thus go both ways.
const COUNT_BACK_MAX: Revision = if cfg!(test) { 40 } else { 50_000 };

/// Why a read gave no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// The machine's own refusal.
    Refused(Refused),
    /// The store failed.
    Store(StateError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => write!(f, "refused: {refused:?}"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}

impl From<StateError> for ReadError {
    fn from(error: StateError) -> Self {
        Self::Store(error)
    }
}

impl From<Refused> for ReadError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// Where a range of keys ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum End {
    Before(Bytes),
    Open,
}

impl End {
    pub(super) fn is_above(&self, key: &[u8]) -> bool {
        match self {
            Self::Before(end) => &end[..] > key,
            Self::Open => true,
        }
    }
}

/// What a [`KeyRange`] means. Bounds longer than any key are cut: of keys that long at most, the same ones lie beyond.
pub(super) enum Span {
    One(Bytes),
    From(Bytes, End),
}

impl Span {
    pub(super) fn of(range: &KeyRange) -> Self {
        if range.end.is_empty() {
            return Self::One(range.key.clone());
        }
        let end = if range.end[..] == [0] { End::Open } else { End::Before(bound(&range.end)) };
        Self::From(bound(&range.key), end)
    }

    /// What of it lies behind a key.
    pub(super) fn behind(self, key: &[u8]) -> Option<Self> {
        match self {
            Self::One(_) => None,
            Self::From(_, end) => Some(Self::From([key, &[0]].concat().into(), end)),
        }
    }

    fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::From(from, end) => &from[..] <= key && end.is_above(key),
        }
    }
}

/// A bound as it can be looked for: the first key that is not below it, were it too long to be a key, is the first one
/// above its beginning.
fn bound(key: &Bytes) -> Bytes {
    if key.len() <= KEY_MAX {
        return key.clone();
    }
    let mut cut = key[..KEY_MAX].to_vec();
    cut.push(0);
    cut.into()
}

/// The data as of one moment, with what is needed to read it.
pub(super) struct Snapshot<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) keys: Keys,
    pub(super) blocks: &'a Blocks,
    /// The newest revision that is readable here.
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
}

impl Snapshot<'_> {
    /// The newest record of a key.
    pub(super) fn latest(&self, key: &[u8]) -> StateResult<Option<Record>> {
        if key.len() > KEY_MAX {
            return Ok(None);
        }
        match self.source.get(self.keys.raw(&mut Vec::new(), table::LATEST, key))? {
            Some(stored) => Record::decode(stored).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a revision can be read here; 0 and below mean the newest.
    pub(super) fn check_revision(&self, revision: Revision) -> Result<(), Refused> {
        if revision > self.revision {
            Err(Refused::FutureRevision)
        } else if revision > 0 && revision < self.compacted {
            Err(Refused::Compacted { revision: self.compacted })
        } else {
            Ok(())
        }
    }

    /// Whether a range inside a transaction can be read; there etcd takes only 0 for the newest revision, and one below
    /// zero lies below what was compacted (-1 where nothing was yet).
    pub(super) fn check_revision_in_txn(&self, revision: Revision) -> Result<(), Refused> {
        if revision < 0 && revision < self.compacted {
            return Err(Refused::Compacted { revision: self.compacted });
        }
        self.check_revision(revision)
    }

    /// Answers a range.
    pub(super) fn range(&self, range: &Range) -> Result<RangeReply, ReadError> {
        self.check_revision(range.revision)?;
        let at = if range.revision > 0 { range.revision } else { self.revision };
        let span = Span::of(&range.range);
        if range.count_only {
            return Ok(RangeReply { count: self.count(&span, at)? as i64, ..RangeReply::default() });
        }
        let sorted = !matches!(
            (range.sort_target, range.sort_order),
            (_, SortOrder::None) | (SortTarget::Key, SortOrder::Ascend)
        );
        let early = range.limit > 0 && !sorted && !has_filters(range);
        let fetch = if early { (range.limit as usize).saturating_add(1) } else { usize::MAX };
        // Values lie beside their keys in the store, so they are read in any case; but what is kept of a pair keeps the
        // page that it came from, and a million keys must not keep all the pages of their values.
        let bare = range.keys_only && range.sort_target != SortTarget::Value;
        let mut kvs = self.fetch(&span, at, fetch, bare)?;
        let count = if kvs.len() < fetch { kvs.len() as i64 } else { self.count_all(&span, at, &kvs)? };
        if has_filters(range) {
            kvs.retain(|kv| passes(range, kv));
        }
        sort(range, &mut kvs);
        let more = range.limit > 0 && kvs.len() as i64 > range.limit;
        if more {
            kvs.truncate(range.limit as usize);
        }
        if range.keys_only {
            for kv in &mut kvs {
                kv.value = Bytes::new();
            }
        }
        Ok(RangeReply { kvs, more, count })
    }

    /// The pairs of a span at a revision, in the order of their keys, `limit` of them at most; `bare` ones have no value.
    fn fetch(&self, span: &Span, at: Revision, limit: usize, bare: bool) -> StateResult<Vec<KeyValue>> {
        match span {
            Span::One(key) => {
                let latest = self.latest(key)?;
                let pair = match latest {
                    Some(record) if at >= self.revision || record.rev.main <= at => {
                        Some(record.into_pair(key.clone()))
                    }
                    _ if at >= self.revision => None,
                    latest => self.pair_at(key, at, latest)?,
                };
                Ok(pair.into_iter().collect())
            }
            Span::From(from, end) if !end.is_above(from) => Ok(Vec::new()),
            Span::From(from, end) => {
                let strip = |kv: KeyValue| KeyValue {
                    key: Bytes::copy_from_slice(&kv.key),
                    value: Bytes::new(),
                    ..kv
                };
                let pairs = self.walk(from, end, at).take(limit);
                pairs.map(|pair| if bare { pair.map(strip) } else { pair }).collect()
            }
        }
    }

    fn walk<'s>(
        &'s self,
        from: &[u8],
        end: &End,
        at: Revision,
    ) -> Box<dyn Iterator<Item = StateResult<KeyValue>> + 's> {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let cut = super::layout::PREFIX + 1;
        let stretches = Stretches {
            blocks: self.blocks,
            source: self.source,
            keys: self.keys,
            from: Some(Bytes::copy_from_slice(from)),
            end: end.clone(),
            beside: at < self.revision,
            scan: None,
        };
        let latest = stretches.map(move |pair| {
            let (key, value) = pair?;
            Ok((key.slice(cut..), Record::decode(value)?))
        });
        if at >= self.revision {
            return Box::new(latest.map(|pair| pair.map(|(key, record)| record.into_pair(key))));
        }
        let from = Bound::Included(self.keys.deleted_of(&mut a, from));
        let to = match end {
            End::Before(end) => self.keys.deleted_of(&mut b, end),
            End::Open => {
                self.keys.start(&mut b, table::DELETED + 1);
                b.as_slice()
            }
        };
        let latest: Latest<'s> = Box::new(latest);
        let deleted = Deleted { scan: self.source.scan((from, Bound::Excluded(to))).peekable(), at };
        Box::new(Merged { snapshot: self, latest: latest.peekable(), deleted: deleted.peekable(), at })
    }

    /// The version of a key that was the newest at a revision, where `latest` is newer than that or there is none now.
    fn pair_at(&self, key: &Bytes, at: Revision, latest: Option<Record>) -> StateResult<Option<KeyValue>> {
        if let Some(record) = latest.filter(|record| record.create <= at) {
            return self.version_at(record.rev, at);
        }
        if key.len() > KEY_MAX {
            return Ok(None);
        }
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let range = (
            Bound::Included(self.keys.deleted(&mut from, key, Rev::new(at + 1, 0))),
            Bound::Included(self.keys.deleted(&mut to, key, Rev::new(Revision::MAX, u32::MAX))),
        );
        match self.source.scan(range).next() {
            Some(mark) => self.version_at(decode_mark(&mark?.1)?, at),
            None => Ok(None),
        }
    }

    /// Follows a key's changes back from the one at `rev` to the newest that is not above `at`, if the key was there then.
    fn version_at(&self, mut rev: Rev, at: Revision) -> StateResult<Option<KeyValue>> {
        if rev.is_none() {
            // Whoever brought this data over did not know it.
            return Ok(None);
        }
        loop {
            let Some((key, prev, version)) = self.version(rev)? else {
                return Err(damaged("a change whose predecessor is not there, which"));
            };
            if rev.main <= at {
                return Ok(Some(version.into_pair(key)));
            }
            if version.create > at {
                return Ok(None);
            }
            let leap = version.path.leap();
            rev = if leap.main > at { leap } else { prev };
        }
    }

    /// The version that was written at `rev`, with its key and the place of the one before.
    pub(super) fn version(&self, rev: Rev) -> StateResult<Option<(Bytes, Rev, Record)>> {
        match self.source.get(self.keys.event(&mut Vec::new(), rev))? {
            Some(stored) => {
                let Change { prev, key, put, .. } = Change::decode(&stored)?;
                Ok(put.map(|version| (key, prev, version)))
            }
            None => Ok(None),
        }
    }

    /// How many keys a span holds at a revision.
    fn count(&self, span: &Span, at: Revision) -> StateResult<u64> {
        match span {
            Span::One(_) => Ok(self.fetch(span, at, 1, true)?.len() as u64),
            Span::From(from, end) if !end.is_above(from) => Ok(0),
            Span::From(from, end) if at < self.revision && self.revision - at > COUNT_BACK_MAX => {
                self.walk(from, end, at).try_fold(0, |n, pair| pair.map(|_| n + 1))
            }
            Span::From(from, end) => {
                let now = counts::count(self.blocks, self.source, self.keys, from, end)?;
                let gone = if at < self.revision { self.changed_since(span, at)? } else { 0 };
                Ok(now.saturating_add_signed(gone))
            }
        }
    }

    /// The count of a range of which only the first pairs were fetched.
    fn count_all(&self, span: &Span, at: Revision, fetched: &[KeyValue]) -> StateResult<i64> {
        let (Span::From(_, end), Some(last)) = (span, fetched.last()) else {
            return Ok(fetched.len() as i64);
        };
        let mut next = last.key.to_vec();
        next.push(0);
        let rest = self.count(&Span::From(next.into(), end.clone()), at)?;
        Ok(fetched.len() as i64 + rest as i64)
    }

    /// How many more keys of a span there were at a revision than there are now: the event log says which came and went.
    fn changed_since(&self, span: &Span, at: Revision) -> StateResult<i64> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        self.keys.event(&mut from, Rev::new(at + 1, 0));
        self.keys.start(&mut to, table::EVENT + 1);
        let mut keys: BTreeMap<Bytes, (bool, bool)> = BTreeMap::new();
        for pair in self.source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
            let change = Change::decode(&pair?.1)?;
            if span.contains(&change.key) {
                let (was, is) = (change.replaces(), !change.deleted());
                // Copied: a slice would hold the page of its value.
                let key = Bytes::copy_from_slice(&change.key);
                keys.entry(key).or_insert((was, false)).1 = is;
            }
        }
        Ok(keys.values().map(|(was, is)| i64::from(*was) - i64::from(*is)).sum())
    }

    /// Whether a condition holds, on the newest revision.
    pub(super) fn holds(&self, compare: &Compare) -> StateResult<bool> {
        match Span::of(&compare.range) {
            Span::One(key) => {
                let kv = self.latest(&key)?.map(|record| record.into_pair(key));
                Ok(kv.as_ref().map_or_else(|| holds_for_none(compare), |kv| holds_for(compare, kv)))
            }
            Span::From(from, end) if !end.is_above(&from) => Ok(holds_for_none(compare)),
            Span::From(from, end) => {
                let mut any = false;
                for kv in self.walk(&from, &end, self.revision) {
                    any = true;
                    if !holds_for(compare, &kv?) {
                        return Ok(false);
                    }
                }
                Ok(any || holds_for_none(compare))
            }
        }
    }

    /// Which way a transaction goes, and those inside it: all conditions are held against this state, before any write.
    pub(super) fn choose<'t>(&self, txn: &'t Txn) -> StateResult<Chosen<'t>> {
        let mut succeeded = true;
        for compare in &txn.compare {
            if !self.holds(compare)? {
                succeeded = false;
                break;
            }
        }
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let ops = ops
            .iter()
            .map(|op| {
                Ok(match op {
                    Op::Txn(inner) => ChosenOp::Txn(self.choose(inner)?),
                    op => ChosenOp::Op(op),
                })
            })
            .collect::<StateResult<_>>()?;
        Ok(Chosen { succeeded, ops })
    }

    /// Answers a transaction that only reads.
    pub(super) fn read_txn(&self, txn: &Txn) -> Result<Reply, ReadError> {
        self.read_chosen(&self.choose(txn)?)
    }

    fn read_chosen(&self, chosen: &Chosen<'_>) -> Result<Reply, ReadError> {
        let replies = chosen
            .ops
            .iter()
            .map(|op| match op {
                ChosenOp::Op(Op::Range(range)) => {
                    self.check_revision_in_txn(range.revision)?;
                    Ok(Reply::Range(self.range(range)?))
                }
                ChosenOp::Txn(inner) => self.read_chosen(inner),
                ChosenOp::Op(_) => Err(Refused::UnknownCommand.into()),
            })
            .collect::<Result<_, ReadError>>()?;
        Ok(Reply::Txn { succeeded: chosen.succeeded, replies })
    }

    /// Of the changes of whole revisions from `from` on those that are wanted, and up to which revision these are; about `max_bytes` are
    /// looked at.
    pub(super) fn history(
        &self,
        from: Revision,
        max_bytes: usize,
        wanted: &Wanted<'_>,
    ) -> Result<(Vec<quorate_wire::kv::Event>, Revision), ReadError> {
        if from < self.compacted {
            return Err(Refused::Compacted { revision: self.compacted }.into());
        }
        let (mut a, mut b) = (Vec::new(), Vec::new());
        self.keys.event(&mut a, Rev::new(from.max(0), 0));
        self.keys.start(&mut b, table::EVENT + 1);
        let span = wanted.range.map(Span::of);
        let (mut events, mut bytes, mut last) = (Vec::new(), 0, 0);
        for pair in self.source.scan((Bound::Included(&a), Bound::Excluded(&b))) {
            let (key, value) = pair?;
            let rev = parse_event_key(&key)?;
            if rev.main != last && bytes >= max_bytes {
                return Ok((events, last));
            }
            last = rev.main;
            let change = Change::decode(&value)?;
            bytes += 64 + value.len();
            let kind = if change.deleted() { wanted.deletions } else { wanted.puts };
            if !kind || span.as_ref().is_some_and(|span| !span.contains(&change.key)) {
                continue;
            }
            let event = self.event(rev, change, wanted.prev)?;
            bytes += event.prev.as_ref().map_or(0, |kv| kv.value.len());
            events.push(event);
        }
        Ok((events, self.revision))
    }

    fn event(&self, rev: Rev, change: Change, prev_wanted: bool) -> StateResult<quorate_wire::kv::Event> {
        let Change { prev, key, put, .. } = change;
        let deleted = put.is_none();
        let kv = match put {
            Some(version) => version.into_pair(key.clone()),
            None => KeyValue { key: key.clone(), mod_revision: rev.main, ..KeyValue::default() },
        };
        // The version before the compacted revision may be gone or not: it is absent in either case.
        let known = prev_wanted && !prev.is_none() && rev.main > self.compacted;
        let before = if known { self.version(prev)? } else { None };
        let prev = before.map(|(_, _, version)| version.into_pair(key));
        Ok(quorate_wire::kv::Event { deleted, kv, prev })
    }
}

/// Which changes are wanted of the history.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'r> {
    /// Of keys in this range; `None` for all.
    pub range: Option<&'r KeyRange>,
    /// Puts.
    pub puts: bool,
    /// Deletions.
    pub deletions: bool,
    /// With the pair before them, which is one look-up more a change.
    pub prev: bool,
}

impl Wanted<'_> {
    /// All that there is.
    pub const ALL: Self = Self { range: None, puts: true, deletions: true, prev: true };
}

/// A transaction whose branches are chosen.
pub(super) struct Chosen<'t> {
    pub(super) succeeded: bool,
    pub(super) ops: Vec<ChosenOp<'t>>,
}

/// An operation of a chosen branch.
pub(super) enum ChosenOp<'t> {
    Op(&'t Op),
    Txn(Chosen<'t>),
}

/// For each key with deletions, the version that the first one after a revision deleted.
struct Deleted<'s> {
    scan: Peekable<Scan<'s>>,
    at: Revision,
}

impl Iterator for Deleted<'_> {
    type Item = StateResult<(Bytes, Rev)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let found = match self.scan.next()? {
                Ok((stored, mark)) => {
                    parse_deleted(&stored).and_then(|(key, rev)| Ok((key, rev, decode_mark(&mark)?)))
                }
                Err(error) => Err(error),
            };
            let (key, prev) = match found {
                Ok((_, rev, _)) if rev.main <= self.at => continue,
                Ok((key, _, prev)) => (key, prev),
                Err(error) => return Some(Err(error)),
            };
            // Later ones ended later lives of the key.
            while self.scan.next_if(|pair| is_of(pair, &key)).is_some() {}
            return Some(Ok((key, prev)));
        }
    }
}

fn is_of(mark: &StateResult<(Bytes, Bytes)>, key: &[u8]) -> bool {
    mark.as_ref().is_ok_and(|(stored, _)| parse_deleted(stored).is_ok_and(|(other, _)| other == key))
}

/// The newest versions of a span.
type Latest<'s> = Box<dyn Iterator<Item = StateResult<(Bytes, Record)>> + 's>;

/// The pairs as they were at a revision.
struct Merged<'s> {
    snapshot: &'s Snapshot<'s>,
    latest: Peekable<Latest<'s>>,
    deleted: Peekable<Deleted<'s>>,
    at: Revision,
}

impl Merged<'_> {
    fn pair(
        &self,
        latest: Option<(Bytes, Record)>,
        deleted: Option<(Bytes, Rev)>,
    ) -> StateResult<Option<KeyValue>> {
        match (latest, deleted) {
            (Some((key, record)), _) if record.rev.main <= self.at => Ok(Some(record.into_pair(key))),
            (Some((_, record)), _) if record.create <= self.at => {
                self.snapshot.version_at(record.rev, self.at)
            }
            (_, Some((_, rev))) => self.snapshot.version_at(rev, self.at),
            _ => Ok(None),
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = StateResult<KeyValue>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.latest.peek(), self.deleted.peek()) {
                (None, None) => return None,
                (Some(Ok((latest, _))), Some(Ok((deleted, _)))) => latest.cmp(deleted),
                (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
                (_, Some(_)) => Ordering::Greater,
            };
            let latest = if order == Ordering::Greater { None } else { self.latest.next() };
            let deleted = if order == Ordering::Less { None } else { self.deleted.next() };
            let pair = latest.transpose().and_then(|latest| Ok((latest, deleted.transpose()?)));
            match pair.and_then(|(latest, deleted)| self.pair(latest, deleted)) {
                Ok(None) => {}
                Ok(Some(pair)) => return Some(Ok(pair)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn has_filters(range: &Range) -> bool {
    range.min_mod_revision != 0
        || range.max_mod_revision != 0
        || range.min_create_revision != 0
        || range.max_create_revision != 0
}

fn passes(range: &Range, kv: &KeyValue) -> bool {
    let least = |bound: Revision, n: Revision| bound == 0 || n >= bound;
    let most = |bound: Revision, n: Revision| bound == 0 || n <= bound;
    least(range.min_mod_revision, kv.mod_revision)
        && most(range.max_mod_revision, kv.mod_revision)
        && least(range.min_create_revision, kv.create_revision)
        && most(range.max_create_revision, kv.create_revision)
}

/// Sorts what came in the order of keys; pairs that are equal in what is asked for stay in the order of their keys,
/// whichever way it goes, as with etcd.
fn sort(range: &Range, kvs: &mut [KeyValue]) {
    let descend = range.sort_order == SortOrder::Descend;
    let by = |of: fn(&KeyValue, &KeyValue) -> Ordering| {
        move |a: &KeyValue, b: &KeyValue| if descend { of(b, a) } else { of(a, b) }
    };
    match range.sort_target {
        // The order in which they came, and no key comes twice.
        SortTarget::Key if descend => kvs.reverse(),
        SortTarget::Key => {}
        SortTarget::Version => kvs.sort_by(by(|a, b| a.version.cmp(&b.version))),
        SortTarget::Create => kvs.sort_by(by(|a, b| a.create_revision.cmp(&b.create_revision))),
        SortTarget::Mod => kvs.sort_by(by(|a, b| a.mod_revision.cmp(&b.mod_revision))),
        SortTarget::Value => kvs.sort_by(by(|a, b| a.value.cmp(&b.value))),
    }
}

fn holds_for_none(compare: &Compare) -> bool {
    !matches!(compare.target, CompareTarget::Value(_)) && holds_for(compare, &KeyValue::default())
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match &compare.target {
        CompareTarget::Version(n) => kv.version.cmp(n),
        CompareTarget::Create(n) => kv.create_revision.cmp(n),
        CompareTarget::Mod(n) => kv.mod_revision.cmp(n),
        CompareTarget::Value(value) => kv.value.cmp(value),
        CompareTarget::Lease(n) => kv.lease.cmp(n),
    };
    match compare.result {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
        CompareResult::NotEqual => order != Ordering::Equal,
    }
}
