//! Registers, with and without compare-and-set, whose seen values were written once: zones over chains. O(n log n).
//!
//! Gibbons and Korach ("Testing shared memories", 1997) put a write and the reads of its value into a *cluster*. In an order
//! of the whole, a cluster is one block, the write first. A compare-and-set from `a` to `b` ends the block of `a` and begins
//! that of `b`, with nothing between: it glues the two to a *chain*, and all blocks of a chain stand in a forced order. A
//! plain register's chains are single clusters. The first value counts as written before everything.
//!
//! **Inside a chain** the order is: writer, its reads, the next writer, its reads, and so on. It keeps real time if and only
//! if no operation returned before one of an earlier piece was invoked; reads of one value are free among themselves.
//!
//! **Between chains.** Let `f` be the smallest return of a chain and `s` its largest invocation. Chain A has to come before
//! chain B (A → B) if and only if some operation of A returned before one of B was invoked, that is, if `f(A) < s(B)`. An
//! order of the chains exists if and only if → has no cycle, and it has none if it has no cycle of two:
//!
//! > Take a cycle, and in it the chain M with the largest `s`. Let N be the one behind M, so that M → N, and O the one
//! > behind N: `f(N) < s(O) ≤ s(M)`. So N → M, and M and N are a cycle of two.
//!
//! The proof asks of a chain only its `f` and `s`, so it holds for chains as it does for clusters. With the blocks in an
//! order without cycle, an operation that returned before another was invoked stands before it: in another chain since →
//! says so, in the same since the inside was checked. And whatever order the history has keeps all this. So the check is
//! sound and complete.
//!
//! **Zones.** A chain with `f < s` is *forward*: its value is there all the time from `f` to `s`. Two cycle if and only if
//! two forward zones overlap or a *backward* zone, from `s` to `f`, lies inside a forward one; two backward ones never do.
//! Sorted by `f`, forward zones need be compared with their neighbours only, and a backward one with one forward zone.
//!
//! **Takes exactly:** completed reads, writes and compare-and-sets; failed operations (they did not happen); pending reads
//! (dropped); a pending write or compare-and-set, which is dropped where nothing completed needs its value, and counts as
//! returning after everything where something does; a compare-and-set from a value to itself (it is a read); values written
//! several times while nothing sees them (each is a cluster of its own). Dropping is right: take an order that has the
//! operation, and leave it out; nothing in it saw its value.
//!
//! **Passes on:** a seen value with several possible writers, the first value among them; a compare-and-set that saw another
//! value than it expected, unless that value is never there at all. Such a one is an observation "not this value", which no
//! zone covers.

use super::numbers::Numbers;
use super::{Answer, Case, NONE, ORDERED, Refuted};
use crate::budget::Spent;
use crate::history::{Call, Moment, NEVER};
use crate::models::register::Action;
use crate::value::Value;

/// The names of this algorithm in verdicts.
const ZONES: &str = "zones (Gibbons-Korach)";
const CHAINS: &str = "zones over compare-and-set chains";

/// The writer of the first value.
const INITIAL: u32 = NONE - 1;

/// Moments here begin at 1, since the first value is written at 0.
fn from_one(moment: Moment) -> Moment {
    moment.saturating_add(1)
}

/// An end of a zone, and the call that makes it; [`INITIAL`] for the first write.
#[derive(Clone, Copy, Debug)]
struct End {
    at: Moment,
    call: u32,
}

/// A write, and what is known of the reads of its value.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The call, or [`INITIAL`].
    writer: u32,
    /// Neighbours in the chain.
    before: u32,
    next: u32,
    /// The read that returned first, the one that was invoked last.
    first: End,
    last: End,
}

/// A chain from outside: its first block, its smallest return and largest invocation, each with its block.
#[derive(Clone, Copy, Debug)]
struct Zone {
    root: u32,
    f: (End, u32),
    s: (End, u32),
}

impl Zone {
    fn forward(&self) -> bool {
        self.f.0.at < self.s.0.at
    }
}

struct Cells<'a> {
    calls: &'a [Call<Action>],
    numbers: Numbers,
    /// By value: who writes it, the first met; [`NONE`].
    writer: Vec<u32>,
    /// By value: there are more.
    several: Vec<bool>,
    /// By value: who needs it, the first met; [`NONE`].
    needed: Vec<u32>,
    /// By value, where it is needed: its block.
    block: Vec<u32>,
    blocks: Vec<Block>,
    by: &'static str,
    /// A value in words.
    shown: &'a dyn Fn(Value) -> String,
}

/// Why it ends early.
type Early<T> = Result<T, Answer>;

/// Decides calls on a register that holds `initial` at first; `shown` says a value in words.
pub(crate) fn decide(
    initial: Value,
    calls: &[Call<Action>],
    shown: &dyn Fn(Value) -> String,
    case: &mut Case<'_, '_>,
) -> Answer {
    match Cells::new(initial, calls, shown, case).and_then(|mut cells| cells.run(case)) {
        Ok(order) => order,
        Err(answer) => answer,
    }
}

fn value_pair(action: Action) -> [Value; 2] {
    match action {
        Action::Read(value) | Action::Write(value) | Action::Differs(value) => [value, value],
        Action::Swap(old, new) => [old, new],
    }
}

impl<'a> Cells<'a> {
    fn new(
        initial: Value,
        calls: &'a [Call<Action>],
        shown: &'a dyn Fn(Value) -> String,
        case: &mut Case<'_, '_>,
    ) -> Early<Self> {
        let values = calls.iter().flat_map(|call| value_pair(call.action)).chain([initial]);
        let numbers = Numbers::new(values);
        let room = numbers.room();
        case.budget.take(room as u64 * 13)?;
        let mut writer = vec![NONE; room];
        writer[numbers.of(initial)] = INITIAL;
        let swaps = calls.iter().any(|call| matches!(call.action, Action::Swap(..)));
        let by = if swaps { CHAINS } else { ZONES };
        let mut cells = Self {
            calls,
            numbers,
            writer,
            several: vec![false; room],
            needed: vec![NONE; room],
            block: vec![NONE; room],
            blocks: Vec::new(),
            by,
            shown,
        };
        cells.note();
        cells.go_back();
        case.budget.look()?;
        Ok(cells)
    }

    fn call(&self, place: u32) -> &'a Call<Action> {
        &self.calls[place as usize]
    }

    /// What a call saw, and what it wrote.
    fn parts(call: &Call<Action>) -> (Option<Value>, Option<Value>) {
        match call.action {
            Action::Swap(old, new) if old == new => ((!call.pending()).then_some(old), None),
            Action::Swap(old, new) => (Some(old), Some(new)),
            Action::Read(value) => (Some(value), None),
            Action::Write(value) => (None, Some(value)),
            Action::Differs(_) => (None, None),
        }
    }

    /// Notes who writes what, and what is needed by completed calls.
    fn note(&mut self) {
        for (place, call) in self.calls.iter().enumerate() {
            let (saw, wrote) = Self::parts(call);
            if let Some(value) = wrote {
                let number = self.numbers.of(value);
                self.several[number] |= self.writer[number] != NONE;
                if self.writer[number] == NONE {
                    self.writer[number] = place as u32;
                }
            }
            if let (Some(value), false) = (saw, call.pending()) {
                let number = self.numbers.of(value);
                if self.needed[number] == NONE {
                    self.needed[number] = place as u32;
                }
            }
        }
    }

    /// A pending compare-and-set whose value is needed did happen: so what it saw is needed too.
    fn go_back(&mut self) {
        for place in 0..self.calls.len() {
            let mut place = place as u32;
            while let Action::Swap(old, new) = self.calls[place as usize].action
                && self.calls[place as usize].pending()
                && old != new
            {
                let (old, new) = (self.numbers.of(old), self.numbers.of(new));
                if self.needed[new] == NONE || self.several[new] || self.needed[old] != NONE {
                    break;
                }
                self.needed[old] = place;
                place = self.writer[old];
                if place >= INITIAL {
                    break;
                }
            }
        }
    }

    /// True where the call is left out: it is pending and nothing needs what it would write.
    fn dropped(&self, call: &Call<Action>) -> bool {
        match Self::parts(call) {
            (_, Some(wrote)) => {
                call.pending() && {
                    let number = self.numbers.of(wrote);
                    self.needed[number] == NONE
                }
            }
            _ => call.pending(),
        }
    }

    fn run(&mut self, case: &mut Case<'_, '_>) -> Early<Answer> {
        self.nothing_from_nowhere(case)?;
        self.taken()?;
        case.budget.look()?;
        self.make_blocks(case)?;
        self.link(case)?;
        case.budget.look()?;
        let zones = self.chains(case)?;
        case.budget.look()?;
        let (forward, backward) = self.between(zones, case)?;
        // What did not see a value that was never there fits anywhere; it is rare, and not worth a place.
        let differs = || self.calls.iter().any(|call| matches!(call.action, Action::Differs(_)));
        let order = if self.calls.len() <= ORDERED && !differs() {
            self.order(&forward, &backward)
        } else {
            Vec::new()
        };
        Ok(Answer::Holds(self.by, order))
    }

    /// Each needed value has a writer.
    fn nothing_from_nowhere(&self, case: &Case<'_, '_>) -> Early<()> {
        for call in self.calls {
            let (Some(value), _) = Self::parts(call) else { continue };
            let number = self.numbers.of(value);
            if self.needed[number] == NONE || self.writer[number] != NONE {
                continue;
            }
            let words = format!(
                "{} saw {}, which was never written",
                case.show(self.call(self.needed[number])),
                (self.shown)(value)
            );
            return Err(self.refuted("a value from nowhere", words, vec![self.needed[number]]));
        }
        Ok(())
    }

    /// Says whether the history is one that this algorithm takes.
    fn taken(&self) -> Early<()> {
        for call in self.calls {
            let (saw, _) = Self::parts(call);
            if let Some(value) = saw {
                let number = self.numbers.of(value);
                if self.needed[number] != NONE && self.several[number] {
                    let why = format!(
                        "{} is seen, and more than one operation may have written it",
                        (self.shown)(value)
                    );
                    return Err(Answer::Passed(why));
                }
            }
            if let Action::Differs(value) = call.action {
                let number = self.numbers.of(value);
                let writer = self.writer[number];
                let there = writer != NONE
                    && (writer == INITIAL
                        || self.several[number]
                        || !self.dropped(&self.calls[writer as usize]));
                if there {
                    let why =
                        format!("a compare-and-set failed because it did not see {}", (self.shown)(value));
                    return Err(Answer::Passed(why));
                }
            }
        }
        Ok(())
    }

    fn make_blocks(&mut self, case: &mut Case<'_, '_>) -> Result<(), Spent> {
        let none = Block {
            writer: INITIAL,
            before: NONE,
            next: NONE,
            first: End { at: NEVER, call: NONE },
            last: End { at: 0, call: NONE },
        };
        let writers = 1 + self.calls.iter().filter(|call| Self::parts(call).1.is_some()).count();
        case.budget.take((writers * (size_of::<Block>() + size_of::<Zone>())) as u64)?;
        self.blocks.reserve_exact(writers);
        self.blocks.push(none);
        for number in 0..self.writer.len() {
            if self.writer[number] == INITIAL {
                self.block[number] = 0;
            }
        }
        for (place, call) in self.calls.iter().enumerate() {
            let (_, Some(wrote)) = Self::parts(call) else { continue };
            if self.dropped(call) {
                continue;
            }
            let number = self.numbers.of(wrote);
            // Where several write it, nobody needs it.
            if self.writer[number] == place as u32 {
                self.block[number] = self.blocks.len() as u32;
            }
            self.blocks.push(Block { writer: place as u32, ..none });
        }
        Ok(())
    }

    /// Brings each read to its block, and each compare-and-set behind the block of what it saw.
    fn link(&mut self, case: &Case<'_, '_>) -> Early<()> {
        for (place, call) in self.calls.iter().enumerate() {
            let (Some(saw), None) = Self::parts(call) else { continue };
            let block = &mut self.blocks[self.block[self.numbers.of(saw)] as usize];
            let (returned, invoked) = (from_one(call.returned), from_one(call.invoked));
            if returned < block.first.at {
                block.first = End { at: returned, call: place as u32 };
            }
            if invoked > block.last.at {
                block.last = End { at: invoked, call: place as u32 };
            }
        }
        if self.by == ZONES {
            return Ok(());
        }
        for block in 1..self.blocks.len() {
            let writer = self.blocks[block].writer;
            let (Some(saw), Some(_)) = Self::parts(self.call(writer)) else { continue };
            let before = self.block[self.numbers.of(saw)];
            self.blocks[block].before = before;
            let other = std::mem::replace(&mut self.blocks[before as usize].next, block as u32);
            if other != NONE {
                let [one, two] = [self.blocks[other as usize].writer, writer];
                let words = format!(
                    "{} and {} both replaced {}, which was written once",
                    case.show(self.call(one)),
                    case.show(self.call(two)),
                    (self.shown)(saw)
                );
                let guilty = self.with_origins(&[before], &[one, two]);
                return Err(self.refuted("two compare-and-sets from one value", words, guilty));
            }
        }
        Ok(())
    }

    /// The writer's own interval.
    fn wrote(&self, block: &Block) -> (End, End) {
        if block.writer == INITIAL {
            let end = End { at: 0, call: INITIAL };
            return (end, end);
        }
        let call = self.call(block.writer);
        let end = |moment| End { at: from_one(moment), call: block.writer };
        (end(call.invoked), end(call.returned))
    }

    /// Checks each chain inside, and gives its zone.
    fn chains(&self, case: &Case<'_, '_>) -> Early<Vec<Zone>> {
        let mut zones = Vec::with_capacity(self.blocks.len());
        let mut met = 0;
        for root in 0..self.blocks.len() as u32 {
            if self.blocks[root as usize].before == NONE {
                zones.push(self.chain(root, &mut met, case)?);
            }
        }
        if met < self.blocks.len() {
            return Err(self.ring(case));
        }
        Ok(zones)
    }

    fn chain(&self, root: u32, met: &mut usize, case: &Case<'_, '_>) -> Early<Zone> {
        let nowhere = (End { at: NEVER, call: NONE }, root);
        let mut zone = Zone { root, f: nowhere, s: (End { at: 0, call: INITIAL }, root) };
        let mut place = root;
        while place != NONE {
            *met += 1;
            let block = &self.blocks[place as usize];
            let (invoked, returned) = self.wrote(block);
            for (from, to) in [(invoked, returned), (block.last, block.first)] {
                // Reads, if there are any.
                if from.call == NONE {
                    continue;
                }
                if to.at < zone.s.0.at {
                    return Err(self.out_of_order(to, place, zone.s, case));
                }
                if to.at < zone.f.0.at || zone.f.0.call == NONE {
                    zone.f = (to, place);
                }
                // The reads of a value are free among themselves, so this is compared with the next piece only.
                if from.at > zone.s.0.at {
                    zone.s = (from, place);
                }
            }
            place = block.next;
        }
        Ok(zone)
    }

    fn out_of_order(&self, early: End, block: u32, late: (End, u32), case: &Case<'_, '_>) -> Answer {
        let guilty = self.with_origins(&[block, late.1], &[early.call, late.0.call]);
        let [first, second] = [early.call, late.0.call].map(|call| case.show(self.call(call)));
        let value = self.show_block(late.1);
        if block == late.1 {
            let words = format!(
                "{first} returned before {second} was invoked: {value} was seen before it was written"
            );
            return self.refuted("a value from the future", words, guilty);
        }
        let words = format!(
            "{first} returned before {second} was invoked, but the compare-and-sets put {} behind {value}",
            self.show_block(block)
        );
        self.refuted("compare-and-sets out of order", words, guilty)
    }

    /// Compare-and-sets that each need another's value first.
    fn ring(&self, case: &Case<'_, '_>) -> Answer {
        let mut in_chain = vec![false; self.blocks.len()];
        for root in (0..self.blocks.len()).filter(|&root| self.blocks[root].before == NONE) {
            let mut place = root as u32;
            while place != NONE {
                in_chain[place as usize] = true;
                place = self.blocks[place as usize].next;
            }
        }
        let start = in_chain.iter().position(|&in_chain| !in_chain).unwrap_or(0) as u32;
        let mut guilty = Vec::new();
        let mut place = start;
        loop {
            guilty.push(self.blocks[place as usize].writer);
            place = self.blocks[place as usize].next;
            if place == start || place == NONE {
                break;
            }
        }
        let words = format!(
            "{} needs a value that comes of its own: {} compare-and-sets stand in a ring",
            case.show(self.call(guilty[0])),
            guilty.len()
        );
        self.refuted("compare-and-sets in a ring", words, guilty)
    }

    /// Compares the zones; hands them back sorted.
    fn between(&self, zones: Vec<Zone>, case: &Case<'_, '_>) -> Early<(Vec<Zone>, Vec<Zone>)> {
        let (mut forward, backward): (Vec<_>, Vec<_>) = zones.into_iter().partition(Zone::forward);
        forward.sort_unstable_by_key(|zone| zone.f.0.at);
        let overlap = |pair: &&[Zone]| matches!(pair, [one, next] if next.f.0.at < one.s.0.at);
        if let Some([one, next]) = forward.windows(2).find(overlap) {
            return Err(self.conflict(one, next, case));
        }
        for zone in &backward {
            // The last forward zone that begins before this one.
            let place = forward.partition_point(|other| other.f.0.at < zone.s.0.at);
            if let Some(other) = forward[..place].last()
                && zone.f.0.at < other.s.0.at
            {
                return Err(self.conflict(other, zone, case));
            }
        }
        Ok((forward, backward))
    }

    fn conflict(&self, one: &Zone, two: &Zone, case: &Case<'_, '_>) -> Answer {
        let ends = [one.f, one.s, two.f, two.s];
        let guilty = self.with_origins(&ends.map(|end| end.1), &ends.map(|end| end.0.call));
        let because = |early: (End, u32), late: (End, u32)| {
            let values = [early, late].map(|end| self.show_block(end.1));
            let reason = match early.0.call {
                INITIAL => format!("{} was there first", values[0]),
                call => format!(
                    "{} returned before {} was invoked",
                    case.show(self.call(call)),
                    case.show(self.call(late.0.call))
                ),
            };
            format!("{reason}, so {} comes before {}", values[0], values[1])
        };
        let words = format!("{}; but {}", because(one.f, two.s), because(two.f, one.s));
        self.refuted("a stale value", words, guilty)
    }

    fn show_block(&self, block: u32) -> String {
        let wrote = match self.blocks[block as usize].writer {
            INITIAL => return "the first value".into(),
            writer => Self::parts(self.call(writer)).1,
        };
        wrote.map_or(String::new(), |value| (self.shown)(value))
    }

    /// These calls, and the writers of these blocks and of all blocks before them in their chains: together they are as
    /// guilty without the rest.
    fn with_origins(&self, blocks: &[u32], calls: &[u32]) -> Vec<u32> {
        let mut guilty: Vec<u32> = calls.iter().copied().filter(|&call| call < INITIAL).collect();
        for &block in blocks {
            let mut place = block;
            let mut steps = 0;
            while place != NONE && steps <= self.blocks.len() {
                let block = &self.blocks[place as usize];
                guilty.extend((block.writer < INITIAL).then_some(block.writer));
                (place, steps) = (block.before, steps + 1);
            }
        }
        guilty
    }

    fn refuted(&self, kind: &'static str, words: String, mut guilty: Vec<u32>) -> Answer {
        // A pending one is there because something completed needs it, so that has to stay.
        let mut place = 0;
        while let Some(&call) = guilty.get(place) {
            if let ((_, Some(wrote)), true) = (Self::parts(self.call(call)), self.call(call).pending()) {
                let needs = self.needed[self.numbers.of(wrote)];
                guilty.extend((!guilty.contains(&needs)).then_some(needs));
            }
            place += 1;
        }
        guilty.sort_unstable();
        guilty.dedup();
        Answer::Refuted(Refuted { by: self.by, kind, words, guilty })
    }

    /// An order: chains by a point of their zones that lies inside no forward one.
    fn order(&self, forward: &[Zone], backward: &[Zone]) -> Vec<u32> {
        let point = |zone: &Zone| {
            let at = zone.s.0.at;
            let place = forward.partition_point(|other| other.f.0.at < at);
            match forward[..place].last() {
                Some(other) if at < other.s.0.at => (other.s.0.at, 1),
                _ => (at, 0),
            }
        };
        let mut keyed: Vec<((Moment, u8), u32)> =
            backward.iter().map(|zone| (point(zone), zone.root)).collect();
        keyed.extend(forward.iter().map(|zone| ((zone.f.0.at, 0), zone.root)));
        keyed.sort_unstable();
        // By block: where it stands; its reads follow it.
        let mut rank = vec![0u32; self.blocks.len()];
        let mut next = 0;
        for (_, root) in keyed {
            let mut place = root;
            while place != NONE {
                rank[place as usize] = next;
                next += 1;
                place = self.blocks[place as usize].next;
            }
        }
        let mut order: Vec<(u32, bool, u32)> = Vec::with_capacity(self.calls.len());
        for (block, rank) in self.blocks.iter().zip(&rank).filter(|(block, _)| block.writer < INITIAL) {
            order.push((*rank, false, block.writer));
        }
        for (place, call) in self.calls.iter().enumerate() {
            match Self::parts(call) {
                (Some(saw), None) if !call.pending() => {
                    let block = self.block[self.numbers.of(saw)];
                    order.push((rank[block as usize], true, place as u32));
                }
                _ => {}
            }
        }
        order.sort_unstable();
        order.into_iter().map(|(_, _, place)| place).collect()
    }
}
