//! Reads with a bound on staleness, held against what was true: none misses what somebody was told to be done before it says that its
//! state is complete, none tells what was never written, and none tells half of a transaction.
//!
//! A read that was sent at a moment `t` of the simulation and says that it is `a` old at most may miss nothing that was done at
//! `t - a`, however far the nodes' wall clocks are apart: who is too far from a majority is fenced. It says, too, up to when nothing is
//! missing by the wall clock of who led: so it may miss nothing that was done before any wall clock showed that, which is mostly half a
//! second more. All of it is judged as answers come, by the simulation's own clock.
//!
//! Clients ask any node, one after the other, and wait long for those that are cut off. So there is a *looker* at each node beside them,
//! who does nothing but such reads there: as long as a node answers them by itself, it is asked, whatever it does not know.

use super::ask;
use super::{Doing, End, Heard, Step, Tables, named};
use quorate_base::{Instant, NodeId, ShardId};
use quorate_clock::Wall;
use quorate_node::api::{Answer, Failure, Request};
use quorate_node::evidence::{Mode, Slot};
use std::collections::BTreeMap;

/// Something that was done to a register, or asked for.
struct Write {
    client: usize,
    value: Option<u64>,
    began: Instant,
    /// When its client was told that it is done.
    done: Option<Instant>,
    /// It certainly did not happen.
    failed: bool,
}

/// What a transaction appends.
struct Appends {
    client: usize,
    elements: Vec<(u64, u64)>,
    done: Option<Instant>,
}

/// What all clients of a table have written.
#[derive(Default)]
pub(super) struct Written {
    registers: BTreeMap<u64, Vec<Write>>,
    transactions: Vec<Appends>,
}

/// When a wall clock first showed something.
pub(crate) type Shown<'a> = &'a dyn Fn(Wall) -> Instant;

/// A read that is under way at a node.
pub(super) struct Look {
    doing: Doing,
    asked: Instant,
    slot: Slot,
}

/// What a read said of how it was served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// By the asked node alone, which missed nothing that was done before this moment, it says.
    Since(Instant),
    /// In another way, which promises more.
    Otherwise,
}

impl Said {
    /// What stands in a slot, of a read that was sent at a moment; `shown` says when a wall clock first showed something.
    fn of(slot: &Slot, asked: Instant, shown: Shown<'_>) -> Self {
        let evidence = slot.take().filter(|evidence| evidence.mode == Mode::Bounded);
        match evidence.and_then(|evidence| evidence.closed) {
            Some((closed, age)) => Self::Since(shown(closed).max(asked - age)),
            None => Self::Otherwise,
        }
    }
}

impl Written {
    /// A client begins something.
    pub(super) fn begins(&mut self, client: usize, now: Instant, doing: &Doing) {
        let write = |value| Write { client, value, began: now, done: None, failed: false };
        match doing {
            Doing::Write(key, value) => self.registers.entry(*key).or_default().push(write(*value)),
            Doing::Swap(key, _, value) => self.registers.entry(*key).or_default().push(write(Some(*value))),
            Doing::Transact(transaction) => {
                let of = |step: &Step| match step {
                    Step::Append(list, element) => Some((*list, *element)),
                    Step::Read(..) => None,
                };
                let elements = transaction.steps.iter().filter_map(of).collect();
                // One that is sent again is the same.
                if self.transactions.iter().all(|known| known.elements != elements) {
                    self.transactions.push(Appends { client, elements, done: None });
                }
            }
            _ => {}
        }
    }

    /// What a client did to a register has ended.
    pub(super) fn ends(&mut self, client: usize, now: Instant, key: u64, end: End) {
        let of =
            self.registers.get_mut(&key).and_then(|all| all.iter_mut().rev().find(|w| w.client == client));
        let Some(write) = of else { return };
        match end {
            End::Ok => write.done = Some(now),
            End::Refused | End::Fail => write.failed = true,
            End::Invoke | End::Info => {}
        }
    }

    /// A client's transaction was done.
    pub(super) fn transacted(&mut self, client: usize, now: Instant) {
        if let Some(last) = self.transactions.iter_mut().rev().find(|known| known.client == client) {
            last.done = Some(now);
        }
    }

    pub(super) fn clear(&mut self) {
        self.registers.clear();
        self.transactions.clear();
    }

    /// A register was read.
    pub(super) fn read(&self, key: u64, value: Option<u64>, said: Said) -> Result<(), String> {
        let none = Vec::new();
        let all = self.registers.get(&key).unwrap_or(&none);
        let of_value: Vec<&Write> =
            all.iter().filter(|write| write.value == value && !write.failed).collect();
        if value.is_some() && of_value.is_empty() {
            return Err(format!("Staleness: r{key} was read as {value:?}, which nobody has written"));
        }
        let Said::Since(since) = said else { return Ok(()) };
        // Each of the writes that it may be was over when another one began, which was done by then.
        let over = |ended: Instant| {
            let behind =
                |write: &&Write| write.began >= ended && write.done.is_some_and(|done| done <= since);
            all.iter().any(|write| behind(&write))
        };
        let beginning = value.is_none().then_some(Some(Instant::ZERO));
        let mut ends = of_value.iter().map(|write| write.done).chain(beginning);
        if ends.all(|ended| ended.is_some_and(&over)) {
            return Err(format!(
                "Staleness: r{key} was read as {value:?} and said to miss nothing before {since:?}, when that had been replaced"
            ));
        }
        Ok(())
    }

    /// Lists of one shard were read at one moment.
    pub(super) fn glanced(&self, lists: &BTreeMap<u64, Vec<u64>>, said: Said) -> Result<(), String> {
        for Appends { elements, done, .. } in &self.transactions {
            let looked_at =
                || elements.iter().filter_map(|(list, element)| Some((lists.get(list)?, element)));
            let (all, found) =
                (looked_at().count(), looked_at().filter(|(list, element)| list.contains(element)).count());
            if found > 0 && found < all {
                return Err(format!(
                    "Staleness: of a transaction that appends {elements:?} half was read: {lists:?}"
                ));
            }
            let due = matches!((said, done), (Said::Since(since), Some(done)) if *done <= since);
            if due && found < all {
                return Err(format!(
                    "Staleness: {lists:?} was read and said to miss nothing before {said:?}, when {elements:?} was done"
                ));
            }
        }
        Ok(())
    }
}

impl Tables {
    /// What a client looks at with a plain read.
    pub(super) fn look_back(&mut self, ms: u64) -> Option<Doing> {
        (self.bounded && self.old.chance(1, 4)).then(|| self.old_read(ms))
    }

    fn old_read(&mut self, ms: u64) -> Doing {
        let place = self.old.below(super::PLACES);
        let number = self.number(ms, place);
        if self.old.chance(1, 2) {
            return Doing::Old(number);
        }
        // Those of one shard are read at one moment.
        let many = if self.across { 1 } else { super::PLACES };
        let steps = (0..many).map(|at| Step::Read(self.number(ms, (place + at) % super::PLACES), None));
        Doing::Glance(steps.collect())
    }

    /// What the looker at a node sends next, to which shard, with words for it; nothing where there is no such table.
    pub(crate) fn look_at(&mut self, node: NodeId, now: Instant) -> Option<(ShardId, Request, String)> {
        if !self.bounded || !self.made {
            return None;
        }
        let ms = now.since(Instant::ZERO).as_nanos() as u64 / 1_000_000;
        let (doing, slot) = (self.old_read(ms), Slot::default());
        let mut request = self.request(&doing, ms);
        ask::address(&mut request, self.name());
        let (request, words) = (Request::Explained(Box::new(request), slot.clone()), doing.to_string());
        self.looks.insert(node, Look { doing, asked: now, slot });
        Some((self.shard, request, words))
    }

    /// How long a looker rests, in milliseconds.
    pub(crate) fn looks_again(&mut self) -> u64 {
        self.old.between(5, 60)
    }

    /// The looker at a node is answered.
    pub(crate) fn looked(
        &mut self,
        node: NodeId,
        result: Result<Answer, Failure>,
        shown: Shown<'_>,
    ) -> Result<Option<&'static str>, String> {
        let Some(Look { doing, asked, slot }) = self.looks.remove(&node) else { return Ok(None) };
        let Heard::Items(items) = Heard::of(result, false)? else { return Ok(None) };
        self.looked_back(&doing, &items, Said::of(&slot, asked, shown)).map(Some)
    }

    /// How the plain read of a client was served.
    pub(super) fn said_to(&self, client: usize, shown: Shown<'_>) -> Said {
        let seat = &self.seats[client];
        seat.slot.as_ref().map_or(Said::Otherwise, |slot| Said::of(slot, seat.asked, shown))
    }

    /// A plain read is answered.
    pub(super) fn looked_back(
        &self,
        doing: &Doing,
        items: &[Option<ask::Held>],
        said: Said,
    ) -> Result<&'static str, String> {
        let counted = match said {
            Said::Since(_) => "bounded reads",
            Said::Otherwise => "bounded reads passed on",
        };
        match doing {
            Doing::Old(key) => {
                let value = items.first().and_then(|item| item.as_ref()?.number);
                self.written.read(*key, value, said)?;
            }
            Doing::Glance(steps) => {
                let lists = named(steps).into_iter().zip(items);
                let lists = lists.map(|(list, held)| {
                    (list, held.as_ref().map(|held| held.list.clone()).unwrap_or_default())
                });
                self.written.glanced(&lists.collect(), said)?;
            }
            _ => {}
        }
        Ok(counted)
    }
}
