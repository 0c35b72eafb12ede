//! Items that end: one of their attributes says in which second, and whoever leads a shard looks for those whose time is over and has
//! the log take them away. In the product a door does that; here it is a *sweeper* at any node, by a clock that is wrong by minutes.
//!
//! *Owners* put items that end soon, late or never, put them again with another end, and read their newest state; nobody else writes an
//! owner's items. What must be true: an item is there as it was put last, unless its end was over by a clock that an entry can have
//! had; and once it was seen to be gone it stays so until it is put again. The change feed tells who took it away ([`fits`]):
//! time takes nothing but items whose end is over by the time of the very entry, and nothing else takes an owner's items.

use super::heard::Heard;
use super::{SKEW, Tables, ask};
use bytes::Bytes;
use quorate_base::{Rng, ShardId};
use quorate_item::codec::Codec as _;
use quorate_item::{AttributeValue, Item};
use quorate_node::api::{Answer, Body, Failure, Fresh, Request};
use quorate_state::table::{Changed, Overdue, Place, Placement, Read, ReadReply, Record};
use quorate_wire::kv::Command as Any;
use quorate_wire::table::{Action, Command, EPOCH, Execute, Outcome, Reply, What};
use std::collections::BTreeMap;

/// So many owners there are of a table.
const OWNERS: usize = 2;
/// They, and the sweeper.
pub(crate) const ENDERS: usize = OWNERS + 1;
/// So many items an owner has at a time.
const ITEMS: u64 = 3;
/// The attribute that says when an item ends.
pub(super) const END: &str = "end";
/// What ended longer ago than this is no time of expiry: five years, in seconds.
const LONG_AGO: i64 = 5 * 365 * 24 * 3600;
/// A sweeper looks at so many items at once, and takes so many away by one entry.
const LOOKED_AT: usize = 9;
const TAKEN: usize = 4;

/// When an item ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// In a second since 1970: never, if that is long over.
    At(i64),
    /// Its attribute is no number.
    Words,
    /// It has none.
    Never,
}

/// What was put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Put {
    value: u64,
    end: End,
}

/// An owner's item, and what is certain of it.
struct Owned {
    number: u64,
    there: Option<Put>,
}

/// What one of them does.
enum Doing {
    Put(usize, Put),
    Read(usize),
    Look,
    Take,
}

/// Those of one table.
pub(super) struct Ends {
    on: bool,
    rng: Rng,
    next: u64,
    owned: Vec<Owned>,
    doing: [Option<Doing>; ENDERS],
    /// Which shard is swept, of which epoch, and where that goes on.
    shard: (ShardId, u64),
    after: Option<Place>,
    /// What was found there, by the numbers of its tables.
    found: BTreeMap<u32, Vec<Bytes>>,
}

/// The second at a time in milliseconds.
fn second(ms: u64) -> i64 {
    i64::try_from(ms / 1000).unwrap_or(i64::MAX)
}

/// Whether what ends then is over at a time in milliseconds.
fn is_over(end: i64, ms: u64) -> bool {
    end <= second(ms) && end > second(ms) - LONG_AGO
}

fn end_of(item: &Item) -> Option<i64> {
    match item.get(END) {
        Some(AttributeValue::N(number)) => number.to_i64(),
        _ => None,
    }
}

/// Moments in milliseconds at which it makes a difference when an item ends.
pub(super) fn moments(item: &Item) -> impl Iterator<Item = u64> + use<> {
    let ends = end_of(item).into_iter().flat_map(|end| [end, end.saturating_add(LONG_AGO)]);
    let ms = ends.filter_map(|second| u64::try_from(second).ok()?.checked_mul(1000));
    ms.flat_map(|ms| [ms.saturating_sub(1), ms])
}

/// Whether an item's time is over.
pub(super) fn is_to_go(item: &Item, ms: u64) -> bool {
    end_of(item).is_some_and(|end| is_over(end, ms))
}

fn name(number: u64) -> String {
    format!("e{number}")
}

impl Put {
    /// Whether an entry that was applied by now can have found its end over.
    fn may_be_over(self, ms: u64) -> bool {
        matches!(self.end, End::At(end) if is_over(end, ms + 2 * SKEW))
    }

    fn item(self, number: u64) -> Item {
        let end = match self.end {
            End::At(end) => Some(AttributeValue::N(end.into())),
            End::Words => Some(AttributeValue::S("soon".into())),
            End::Never => None,
        };
        let pairs = [
            ("k", Some(AttributeValue::S(name(number)))),
            ("v", Some(AttributeValue::N((self.value as i64).into()))),
            (END, end),
        ];
        Item(pairs.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?))).collect())
    }
}

/// Whether a record of a change feed says what may be of an item that ends, or does not.
pub(super) fn fits(record: &Record) -> Result<(), String> {
    let name = ask::name(&record.keys).unwrap_or_default();
    let (removed, end) = (record.changed == Changed::Removed, record.old.as_ref().and_then(end_of));
    if record.by_time && !(removed && end.is_some_and(|end| is_over(end, record.time))) {
        let (at, time) = (record.at, record.time);
        return Err(format!(
            "Ends: {at:?} of the feed says that time took {name}, which ends at {end:?}, at {time} ms"
        ));
    }
    if removed && !record.by_time && name.starts_with('e') {
        return Err(format!(
            "Ends: {:?} of the feed says that somebody deleted {name}, and nobody did",
            record.at
        ));
    }
    Ok(())
}

impl Ends {
    pub(super) fn new(seed: u64, first: u64) -> Self {
        Self {
            on: false,
            rng: Rng::stream(seed, "items that end"),
            next: first,
            owned: Vec::new(),
            doing: Default::default(),
            shard: (ShardId(0), EPOCH),
            after: None,
            found: BTreeMap::new(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// What was not through is given up, and so are the items that it was of.
    pub(super) fn begin_round(&mut self) {
        for at in 0..ENDERS {
            if let Some(Doing::Put(item, _)) = self.doing[at].take() {
                self.give_up(item);
            }
        }
        (self.after, self.found) = (None, BTreeMap::new());
    }

    fn fresh(&mut self) -> Owned {
        self.next += 1;
        Owned { number: self.next, there: None }
    }

    fn give_up(&mut self, item: usize) {
        self.owned[item] = self.fresh();
    }

    /// What an owner does next to one of its items.
    fn owners(&mut self, owner: usize, ms: u64) -> Doing {
        while self.owned.len() < OWNERS * ITEMS as usize {
            let fresh = self.fresh();
            self.owned.push(fresh);
        }
        let item = owner * ITEMS as usize + self.rng.below(ITEMS) as usize;
        if self.rng.chance(3, 5) {
            return Doing::Read(item);
        }
        let end = match self.rng.below(10) {
            0 => End::Never,
            1 => End::Words,
            2 => End::At(-second(LONG_AGO.unsigned_abs() * 1000) - 1),
            3..5 => End::At(second(ms + 2 * SKEW) + 3600),
            // Over by some clocks, and to be by all.
            _ => End::At(second(ms + SKEW) + self.rng.below(150) as i64 - 60),
        };
        self.next += 1;
        Doing::Put(item, Put { value: self.next, end })
    }

    /// What an owner heard.
    fn heard(&mut self, doing: Doing, heard: Heard, ms: u64) -> Result<Option<&'static str>, String> {
        match (doing, heard) {
            (Doing::Put(item, put), Heard::Reply(Reply::Executed(done)))
                if done.first().is_some_and(|done| done.outcome == Outcome::Done) =>
            {
                let again = self.owned[item].there.replace(put).is_some_and(|old| old.may_be_over(ms));
                return Ok(again.then_some("items put again near their end"));
            }
            (Doing::Put(item, _), Heard::Unknown) => self.give_up(item),
            (Doing::Read(item), Heard::Items(items)) => {
                let owned = &mut self.owned[item];
                let found = items.first().and_then(|found| found.as_ref()?.number);
                let value = owned.there.map(|put| put.value);
                if found.is_none() && owned.there.is_some_and(|put| put.may_be_over(ms)) {
                    owned.there = None;
                    return Ok(Some("items that have ended"));
                }
                if found != value {
                    return Err(format!(
                        "Ends: e{} was put last as {:?}, and read as {found:?} at {ms} ms",
                        owned.number, owned.there
                    ));
                }
            }
            (_, Heard::Unknown | Heard::NotDone) => {}
            (_, heard) => return Err(format!("Ends: something was answered {heard:?}")),
        }
        Ok(None)
    }
}

impl Tables {
    /// Whether the table has items that end.
    pub(crate) fn ending(mut self, on: bool) -> Self {
        self.ends.on = on;
        self
    }

    /// Whether it has any.
    pub(crate) fn has_ends(&self) -> bool {
        self.ends.on
    }

    /// The node that is asked next.
    pub(crate) fn node_of_ends(&mut self, world: &crate::world::World) -> quorate_base::NodeId {
        world.any(&mut self.ends.rng)
    }

    /// How long one of them rests, in milliseconds.
    pub(crate) fn pause_of_ends(&mut self) -> u64 {
        self.ends.rng.between(10, 150)
    }

    /// What one of them sends next, by the map of the node that is asked; with words for it.
    pub(crate) fn end_next(
        &mut self,
        ender: usize,
        placement: Option<&Placement>,
        ms: u64,
    ) -> Option<(ShardId, Request, String)> {
        if !self.made {
            return None;
        }
        let now = SKEW + ms - self.ends.rng.below(SKEW) + self.ends.rng.below(SKEW);
        if ender == OWNERS {
            return self.sweep(placement, now);
        }
        let doing = self.ends.owners(ender, ms);
        let (mut request, words) = match &doing {
            Doing::Put(item, put) => {
                let number = self.ends.owned[*item].number;
                let action = Action::Put { item: put.item(number).encode().into() };
                let ops = vec![ask::op(action, &ask::Condition::Any)];
                let what = What::Execute(Execute { atomic: false, token: None, ops });
                let command = Command { epoch: EPOCH, now, what };
                (Request::Write(Any::Table(Box::new(command))), format!("put item e{number}: {put:?}"))
            }
            Doing::Read(item) => {
                let name = name(self.ends.owned[*item].number);
                (ask::read([name.clone()]), format!("get item {name}"))
            }
            Doing::Look | Doing::Take => return None,
        };
        ask::address(&mut request, self.name());
        self.ends.doing[ender] = Some(doing);
        let routed = match placement.filter(|_| self.across) {
            Some(placement) => self.route(placement, request, ms),
            None => Some((self.shard, request)),
        };
        if routed.is_none() {
            self.ends.doing[ender] = None;
        }
        routed.map(|(shard, request)| (shard, request, words))
    }

    /// The sweeper takes away what it has found, or looks further.
    fn sweep(&mut self, placement: Option<&Placement>, now: u64) -> Option<(ShardId, Request, String)> {
        let name = self.name();
        let (across, own) = (self.across, self.shard);
        let ends = &mut self.ends;
        if let Some(mut found) = ends.found.first_entry() {
            let table = *found.key();
            let most = TAKEN.min(found.get().len());
            let keys: Vec<Bytes> = found.get_mut().drain(..most).collect();
            if found.get().is_empty() {
                found.remove();
            }
            let words = format!("take {} items away whose time is over by {now} ms", keys.len());
            ends.doing[OWNERS] = Some(Doing::Take);
            let command = Command { epoch: ends.shard.1, now, what: What::Expire { table, keys } };
            return Some((ends.shard.0, Request::Write(Any::Table(Box::new(command))), words));
        }
        if ends.after.is_none() {
            ends.shard = match placement.filter(|_| across) {
                Some(placement) => {
                    let block = placement.table(name)?;
                    let shards: Vec<ShardId> = block.shards().collect();
                    (*ends.rng.pick(&shards), block.epoch)
                }
                None => (own, EPOCH),
            };
        }
        ends.doing[OWNERS] = Some(Doing::Look);
        let read = Box::new(Read::Overdue { after: ends.after.clone(), now, items: LOOKED_AT });
        let request = Request::Table { read, fresh: Fresh::Plain(None), epoch: ends.shard.1 };
        Some((ends.shard.0, request, format!("look for items whose time is over by {now} ms")))
    }

    /// One of them is answered; with what is counted.
    pub(crate) fn end_answered(
        &mut self,
        ender: usize,
        ms: u64,
        result: Result<Answer, Failure>,
    ) -> Result<Option<(&'static str, u64)>, String> {
        let Some(doing) = self.ends.doing[ender].take() else { return Ok(None) };
        if let (Doing::Look, Ok(Answer { body: Body::Table(reply), .. })) = (&doing, &result)
            && let ReadReply::Overdue(Overdue { items, next }) = &**reply
        {
            for (table, key) in items {
                self.ends.found.entry(*table).or_default().push(key.clone());
            }
            self.ends.after.clone_from(next);
            return Ok(None);
        }
        match (doing, Heard::of(result, false)?) {
            (Doing::Take, Heard::Reply(Reply::Expired(gone))) => Ok(Some(("items taken away by time", gone))),
            (Doing::Look | Doing::Take, Heard::Unknown | Heard::NotDone) => {
                // Another node, or another shard.
                (self.ends.after, self.ends.found) = (None, BTreeMap::new());
                Ok(None)
            }
            (doing, heard) => Ok(self.ends.heard(doing, heard, ms)?.map(|what| (what, 1))),
        }
    }
}
