//! Sets: value by value where nobody reads all members, by growth where nobody removes any. O(n log n).
//!
//! **Value by value.** Without reads of all members, a set is a product of independent objects: is the value in it? Linearizability
//! is local, so each value is judged alone. A value that is added once at most and removed once at most is decided by where
//! its addition `a` and its removal `r` can take effect. Let `m` be the first return and `M` the last invocation of those
//! who saw it in the set, `F` the last invocation of those who did not.
//!
//! - *The removal changes nothing:* it is before the addition, or not there. `a` is then not before the addition, the
//!   removal and `F` were invoked, and not after the addition or `m` returned: there has to be such a moment.
//! - *The removal ends it:* `a` is best as late as may be, which is the first of `m` and the returns of both; `r` as early as
//!   may be, the last of `M` and the invocations of both. If `a` would be behind `r`, both take place at the same moment, where
//!   whoever saw it stands between them. Else whoever did not see it has to be invoked before `a` or to return after `r`.
//!
//! A value that is added or removed several times goes to the general search, alone.
//!
//! **By growth.** Without removals, reads of all members are ordered by inclusion; a value's addition stands before the first
//! class of equal reads that has it, and behind all smaller ones. So all stands in a forced order of pieces (additions, reads,
//! additions, …), free inside each, which keeps real time if nothing returned before something of an earlier piece was
//! invoked. What no read has stands behind all reads.
//!
//! **Takes exactly:** completed and pending additions and removals, completed questions; failed ones (they did not happen);
//! a pending addition that no read of all members has is dropped. **Passes on:** reads of all members together with removals
//! or with questions about single values; a value that a read has, and several may have added.

use super::numbers::Numbers;
use super::{Answer, Case, NONE, Refuted};
use crate::budget::Budget;
use crate::history::{Call, Moment, NEVER};
use crate::model::{Flow, Model, Next};
use crate::models::bag::SetAction;
use crate::search::{self, Found};
use crate::value::{Value, Values};

/// The names of these algorithms in verdicts.
const BY_VALUE: &str = "set, value by value";
const BY_VALUE_SEARCHED: &str =
    "set, value by value; those added or removed more than once by Wing-Gong-Lowe search";
const BY_GROWTH: &str = "set by growth";

/// Why it ends early.
type Early<T> = Result<T, Answer>;

/// Decides calls on a set.
pub(crate) fn decide(calls: &[Call<SetAction>], case: &mut Case<'_, '_>) -> Answer {
    let reads = calls.iter().any(|call| matches!(call.action, SetAction::Read(_)));
    let decided = if reads { by_growth(calls, case) } else { by_value(calls, case) };
    match decided {
        Ok(by) => Answer::Holds(by, Vec::new()),
        Err(answer) => answer,
    }
}

fn value_of(action: &SetAction) -> Option<Value> {
    match action {
        SetAction::Add(value) | SetAction::Remove(value) | SetAction::Contains(value, _) => Some(*value),
        SetAction::Read(_) => None,
    }
}

/// A moment, and the call that makes it.
type End = (Moment, u32);

/// What is known of a value.
#[derive(Clone, Copy, Debug)]
struct Life {
    add: u32,
    remove: u32,
    /// Added or removed more than once.
    several: bool,
    /// Of those who saw it: the first return, the last invocation. Of those who did not: the last invocation.
    first: End,
    last: End,
    absent: End,
}

fn by_value(calls: &[Call<SetAction>], case: &mut Case<'_, '_>) -> Early<&'static str> {
    let numbers = Numbers::new(calls.iter().filter_map(|call| value_of(&call.action)));
    case.budget.take((numbers.room() * size_of::<Life>()) as u64)?;
    let nothing = Life {
        add: NONE,
        remove: NONE,
        several: false,
        first: (NEVER, NONE),
        last: (0, NONE),
        absent: (0, NONE),
    };
    let mut lives = vec![nothing; numbers.room()];
    for (place, call) in calls.iter().enumerate() {
        let Some(value) = value_of(&call.action) else { continue };
        let life = &mut lives[numbers.of(value)];
        let place = place as u32;
        match call.action {
            SetAction::Add(_) => life.several |= std::mem::replace(&mut life.add, place) != NONE,
            SetAction::Remove(_) => life.several |= std::mem::replace(&mut life.remove, place) != NONE,
            SetAction::Contains(_, true) => {
                life.first = life.first.min((call.returned, place));
                life.last = life.last.max((call.invoked, place));
            }
            _ => life.absent = life.absent.max((call.invoked, place)),
        }
    }
    case.budget.look()?;
    // Those whose removal has to end it, and between which moments nobody may miss it.
    let mut present: Vec<Span> = Vec::new();
    let mut by = BY_VALUE;
    for (number, life) in lives.iter().enumerate() {
        if life.several {
            by = BY_VALUE_SEARCHED;
        } else if let Some(span) = life.presence(calls, case)? {
            present.resize(number, (NEVER, 0));
            present.push(span);
        }
    }
    for (place, call) in calls.iter().enumerate() {
        let SetAction::Contains(value, false) = call.action else { continue };
        let number = numbers.of(value);
        if let Some(&(from, to)) = present.get(number)
            && from < call.invoked
            && call.returned < to
        {
            let kind = "missed while it was there";
            let words = format!("{} while it was surely there", case.show(call));
            return Err(lives[number].refuted(kind, words, Some(place as u32)));
        }
    }
    if by == BY_VALUE_SEARCHED {
        search_several(calls, &numbers, &lives, case)?;
    }
    Ok(by)
}

/// From when to when a value is certainly there, both ends outside.
type Span = (Moment, Moment);

impl Life {
    /// Places addition and removal. If the removal has to end it and there is a time at which the value is certainly there,
    /// gives that.
    fn presence(&self, calls: &[Call<SetAction>], case: &Case<'_, '_>) -> Early<Option<Span>> {
        let call = |place: u32| calls.get(place as usize);
        let Some(add) = call(self.add) else {
            return match call(self.first.1) {
                None => Ok(None),
                Some(seen) => {
                    let words = format!("{}, but it was never added", case.show(seen));
                    Err(self.refuted("a value from nowhere", words, None))
                }
            };
        };
        let remove = call(self.remove);
        let lower = add.invoked.max(self.absent.0).max(remove.map_or(0, |remove| remove.invoked));
        if lower <= add.returned.min(self.first.0) {
            return Ok(None);
        }
        let Some(remove) = remove else {
            let words = if self.first.0 < add.invoked {
                format!(
                    "{} returned before {} was invoked",
                    Self::show(self.first, calls, case),
                    case.show(add)
                )
            } else if add.returned < self.absent.0 && add.returned < self.first.0 {
                format!(
                    "{} returned before {} was invoked",
                    case.show(add),
                    Self::show(self.absent, calls, case)
                )
            } else {
                let [seen, missed] = [self.first, self.absent].map(|end| Self::show(end, calls, case));
                format!("{seen} returned before {missed} was invoked, and nobody removed it")
            };
            return Err(self.refuted("presence out of order", words, None));
        };
        let latest_add = self.first.0.min(add.returned).min(remove.returned);
        let earliest_remove = self.last.0.max(remove.invoked).max(add.invoked);
        if latest_add < add.invoked || earliest_remove > remove.returned {
            let words = format!(
                "{} and {} leave no time for those who saw it, or for those who did not",
                case.show(add),
                case.show(remove)
            );
            return Err(self.refuted("presence out of order", words, None));
        }
        Ok((latest_add < earliest_remove).then_some((latest_add, earliest_remove)))
    }

    fn show(end: End, calls: &[Call<SetAction>], case: &Case<'_, '_>) -> String {
        calls.get(end.1 as usize).map_or(String::new(), |call| case.show(call))
    }

    /// All that decided.
    fn refuted(&self, kind: &'static str, words: String, more: Option<u32>) -> Answer {
        let all = [self.add, self.remove, self.first.1, self.last.1, self.absent.1];
        let guilty = all.into_iter().chain(more).filter(|&call| call != NONE).collect();
        refuted(BY_VALUE, kind, words, guilty)
    }
}

fn refuted(by: &'static str, kind: &'static str, words: String, mut guilty: Vec<u32>) -> Answer {
    guilty.sort_unstable();
    guilty.dedup();
    Answer::Refuted(Refuted { by, kind, words, guilty })
}

/// A value's own object.
struct Presence;

const ADD: u32 = 0;
const REMOVE: u32 = 1;
const IS: u32 = 2;
const IS_NOT: u32 = 3;

impl Model for Presence {
    type State = bool;
    type Action = u32;

    fn initial(&self) -> bool {
        false
    }

    fn action(&self, _: &crate::history::Operation, _: &Values) -> Result<Option<u32>, String> {
        Ok(None)
    }

    fn step(&self, &state: &bool, &action: &u32, next: &mut Next<'_, '_, bool>) {
        match action {
            ADD | REMOVE => _ = next.add(action == ADD),
            IS | IS_NOT if state == (action == IS) => _ = next.add(state),
            _ => {}
        }
    }

    fn observes(&self, &action: &u32) -> bool {
        action >= IS
    }

    fn flow(&self, _: &u32) -> Flow {
        Flow::Fixed
    }

    fn show(&self, _: &bool, _: &Values) -> String {
        String::new()
    }
}

/// Searches those values that are added or removed several times.
fn search_several(
    calls: &[Call<SetAction>],
    numbers: &Numbers,
    lives: &[Life],
    case: &mut Case<'_, '_>,
) -> Early<()> {
    let mut several: Vec<(u32, u32)> = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let number = value_of(&call.action).map(|value| numbers.of(value));
        if let Some(number) = number.filter(|&number| lives[number].several) {
            several.push((number as u32, place as u32));
        }
    }
    several.sort_unstable();
    for value in several.chunk_by(|one, two| one.0 == two.0) {
        let own: Vec<Call<u32>> = value.iter().filter_map(|&(_, place)| own_call(calls, place)).collect();
        let blocked = match search_one(&own, case.budget) {
            Found::Order(_) => continue,
            Found::Spent(spent, _) => return Err(Answer::Spent(spent)),
            Found::Stuck(stuck) => own[stuck.blocked as usize],
        };
        let guilty = own.iter().filter(|call| call.invoked <= blocked.returned).map(|call| call.source);
        let words = format!(
            "{} has no place among the {} operations with its value",
            case.show(&calls[blocked.source as usize]),
            own.len()
        );
        return Err(refuted(BY_VALUE_SEARCHED, "no order", words, guilty.collect()));
    }
    Ok(())
}

/// A call as the value's own object has it; its source is its place here.
fn own_call(calls: &[Call<SetAction>], place: u32) -> Option<Call<u32>> {
    let Call { process, invoked, returned, ref action, .. } = calls[place as usize];
    let action = match action {
        SetAction::Add(_) => ADD,
        SetAction::Remove(_) => REMOVE,
        SetAction::Contains(_, true) => IS,
        SetAction::Contains(_, false) => IS_NOT,
        SetAction::Read(_) => return None,
    };
    Some(Call { process, invoked, returned, action, source: place })
}

fn search_one(calls: &[Call<u32>], budget: &mut Budget<'_>) -> Found {
    let before = budget.bytes();
    let found = search::search(&Presence, &[ADD, REMOVE, IS, IS_NOT], calls, budget);
    budget.give(budget.bytes() - before);
    found
}

/// Calls that stand in one piece of the order.
#[derive(Default)]
struct Piece {
    calls: Vec<u32>,
}

fn by_growth(calls: &[Call<SetAction>], case: &mut Case<'_, '_>) -> Early<&'static str> {
    let mut reads: Vec<(&[Value], u32)> = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        match &call.action {
            SetAction::Read(members) => reads.push((members, place as u32)),
            SetAction::Add(_) => {}
            SetAction::Remove(_) => {
                return Err(Answer::Passed("members are removed, and all members are read".into()));
            }
            SetAction::Contains(..) => {
                return Err(Answer::Passed("single members are asked for, and all members are read".into()));
            }
        }
    }
    reads.sort_by_key(|(members, place)| (members.len(), *place));
    let numbers = Numbers::new(
        calls
            .iter()
            .filter_map(|call| value_of(&call.action))
            .chain(reads.iter().flat_map(|read| read.0.iter().copied())),
    );
    case.budget.take(numbers.room() as u64 * 8 + calls.len() as u64 * 16)?;
    // By value: the piece of its addition, one more than the place of its class.
    let mut level = vec![0u32; numbers.room()];
    let mut class = 0;
    let mut place_of_read = Vec::with_capacity(reads.len());
    for (at, &(members, place)) in reads.iter().enumerate() {
        case.budget.look()?;
        let before = at.checked_sub(1).map(|before| reads[before]);
        if before.is_none_or(|(before, _)| before != members) {
            if let Some((before, other)) = before
                && !before.iter().all(|member| members.binary_search(member).is_ok())
            {
                return Err(apart(calls, [other, place], case));
            }
            class += 1;
            for &member in members {
                let level = &mut level[numbers.of(member)];
                *level = if *level == 0 { class } else { *level };
            }
        }
        place_of_read.push((place, class));
    }
    let pieces = pieces(calls, &numbers, &level, &place_of_read, class, case)?;
    in_order(calls, &pieces, case)?;
    Ok(BY_GROWTH)
}

/// Additions and reads in turn.
fn pieces(
    calls: &[Call<SetAction>],
    numbers: &Numbers,
    level: &[u32],
    reads: &[(u32, u32)],
    classes: u32,
    case: &Case<'_, '_>,
) -> Early<Vec<Piece>> {
    let mut pieces: Vec<Piece> = Vec::new();
    pieces.resize_with(2 * classes as usize + 1, Piece::default);
    let mut adds = vec![0u32; level.len()];
    for (place, call) in calls.iter().enumerate() {
        let SetAction::Add(value) = call.action else { continue };
        let number = numbers.of(value);
        adds[number] += 1;
        match level[number] {
            0 if call.pending() => {}
            0 => pieces[2 * classes as usize].calls.push(place as u32),
            _ if adds[number] > 1 => {
                let value = case.history.values.show(value);
                return Err(Answer::Passed(format!("{value} was read, and may have been added by several")));
            }
            class => pieces[2 * class as usize - 2].calls.push(place as u32),
        }
    }
    for &(place, class) in reads {
        let SetAction::Read(members) = &calls[place as usize].action else { continue };
        if let Some(&member) = members.iter().find(|&&member| adds[numbers.of(member)] == 0) {
            let value = case.history.values.show(member);
            let words =
                format!("a read has {value}, which was never added (line {})", line(calls, place, case));
            return Err(refuted(BY_GROWTH, "a value from nowhere", words, with_members(calls, &[place])));
        }
        pieces[2 * class as usize - 1].calls.push(place);
    }
    Ok(pieces)
}

/// Nothing returned before something of an earlier piece was invoked.
fn in_order(calls: &[Call<SetAction>], pieces: &[Piece], case: &Case<'_, '_>) -> Early<()> {
    let mut late: End = (0, NONE);
    for piece in pieces {
        for &place in &piece.calls {
            let call = &calls[place as usize];
            if call.returned < late.0 {
                let other = &calls[late.1 as usize];
                let words = format!(
                    "{} returned before {} was invoked, but what was read puts it behind",
                    case.show(call),
                    case.show(other)
                );
                let reads: Vec<u32> = between(calls, pieces, [late.1, place]);
                return Err(refuted(BY_GROWTH, "growth out of order", words, with_members(calls, &reads)));
            }
        }
        for &place in &piece.calls {
            late = late.max((calls[place as usize].invoked, place));
        }
    }
    Ok(())
}

/// Two calls, and a read that stands between them or is one of them.
fn between(calls: &[Call<SetAction>], pieces: &[Piece], two: [u32; 2]) -> Vec<u32> {
    let mut all = two.to_vec();
    let piece = |call: u32| pieces.iter().position(|piece| piece.calls.contains(&call)).unwrap_or(0);
    let (from, to) = (piece(two[0]), piece(two[1]));
    let reads = pieces[from..=to].iter().flat_map(|piece| piece.calls.iter().copied());
    all.extend(reads.filter(|&call| matches!(calls[call as usize].action, SetAction::Read(_))).take(1));
    all
}

/// Neither of two reads has all that the other has.
fn apart(calls: &[Call<SetAction>], reads: [u32; 2], case: &Case<'_, '_>) -> Answer {
    let [one, two] = reads.map(|read| match &calls[read as usize].action {
        SetAction::Read(members) => &**members,
        _ => &[],
    });
    let lacks = |one: &[Value], two: &[Value]| {
        let only = one.iter().find(|member| two.binary_search(member).is_err());
        only.map_or(String::new(), |&member| case.history.values.show(member))
    };
    let words = format!(
        "one read has {} without {}, another has it the other way round (lines {} and {})",
        lacks(one, two),
        lacks(two, one),
        line(calls, reads[0], case),
        line(calls, reads[1], case)
    );
    refuted(BY_GROWTH, "growth in two orders", words, with_members(calls, &reads))
}

fn line(calls: &[Call<SetAction>], call: u32, case: &Case<'_, '_>) -> u32 {
    case.history.lines.get(calls[call as usize].source as usize).copied().unwrap_or(0)
}

/// These calls, and all additions of what the reads among them have.
fn with_members(calls: &[Call<SetAction>], some: &[u32]) -> Vec<u32> {
    let mut members: Vec<Value> = Vec::new();
    for &place in some {
        if let SetAction::Read(all) = &calls[place as usize].action {
            members.extend_from_slice(all);
        }
    }
    members.sort_unstable();
    members.dedup();
    let added = |call: &Call<SetAction>| match call.action {
        SetAction::Add(value) => members.binary_search(&value).is_ok(),
        _ => false,
    };
    let adds = calls.iter().zip(0..).filter(|(call, _)| added(call)).map(|(_, place)| place);
    some.iter().copied().chain(adds).collect()
}
