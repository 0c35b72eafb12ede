//! Multisets whose taken values were added once: what surely lay in it while something saw it empty. O(n log n), and O(n)
//! where nothing saw it empty.
//!
//! What is true of all containers stands here: who added and who took each value ([`Items`]). A value is taken from nowhere,
//! twice, or before it was added, or none of that. A multiset asks nothing else of what adds and takes: place each addition
//! at its invocation or, where that is earlier, before its taking. What is left are those that saw it empty, see
//! [`cover`](super::cover).
//!
//! **Takes exactly:** completed additions, takings, and takings of nothing; failed ones (they did not happen); a pending
//! addition, which is dropped where nobody took its value, and counts as returning after everything where somebody did; values
//! added several times while nobody takes them.
//!
//! **Passes on:** a taken value that may have been added by several. A *pending taking* may have taken any value or none: it
//! is left out first. If the rest holds, so does the whole; if the rest is refuted by values that were taken by somebody
//! known, so is the whole; else it is passed on.

use super::cover::{self, Zone};
use super::numbers::Numbers;
use super::{Answer, Case, NONE, Refuted};
use crate::history::{Call, Moment, NEVER};
use crate::models::bag::BagAction;
use crate::value::Value;

/// The name of this algorithm in verdicts.
const NAME: &str = "multiset by times of presence";

/// A value that was added, and perhaps taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    /// The call that added it.
    pub(crate) add: u32,
    /// The call that took it; [`NONE`].
    pub(crate) take: u32,
}

/// What calls say of a container.
#[expect(clippy::struct_field_names, reason = "they are what papers call them")]
pub(crate) struct Items<'a, A> {
    pub(crate) calls: &'a [Call<A>],
    /// In the order in which their additions were invoked.
    pub(crate) items: Vec<Item>,
    /// Calls that saw it empty.
    pub(crate) empties: Vec<u32>,
    /// A taking is pending.
    pub(crate) unknown_take: bool,
    by: &'static str,
}

/// Why it ends early.
pub(crate) type Early<T> = Result<T, Answer>;

/// Decides calls on a multiset.
pub(crate) fn decide(calls: &[Call<BagAction>], case: &mut Case<'_, '_>) -> Answer {
    Items::decide(calls, |action| *action, NAME, case, |_, _| Ok(()))
}

impl<'a, A> Items<'a, A> {
    /// Pairs, lets `inside` check what the object asks beyond a multiset, and looks at who saw it empty.
    pub(crate) fn decide(
        calls: &'a [Call<A>],
        what: impl Fn(&A) -> BagAction + Copy,
        by: &'static str,
        case: &mut Case<'_, '_>,
        inside: impl FnOnce(&Self, &mut Case<'_, '_>) -> Early<()>,
    ) -> Answer {
        let decided = Self::new(calls, what, by, case).and_then(|items| {
            let verdict = items.not_empty(case).and_then(|()| inside(&items, case));
            verdict.map_err(|answer| items.despite_unknown(answer))
        });
        match decided {
            Ok(()) => Answer::Holds(by, Vec::new()),
            Err(answer) => answer,
        }
    }

    fn new(
        calls: &'a [Call<A>],
        what: impl Fn(&A) -> BagAction + Copy,
        by: &'static str,
        case: &mut Case<'_, '_>,
    ) -> Early<Self> {
        let value = |call: &Call<A>| match what(&call.action) {
            BagAction::Add(value) | BagAction::Take(value) => Some(value),
            BagAction::TakeAny | BagAction::Empty => None,
        };
        let numbers = Numbers::new(calls.iter().filter_map(value));
        case.budget.take(numbers.room() as u64 * 9 + calls.len() as u64 * size_of::<Item>() as u64)?;
        let mut found = Self { calls, items: Vec::new(), empties: Vec::new(), unknown_take: false, by };
        let mut adds = Candidates::new(numbers.room());
        let mut takes = vec![NONE; numbers.room()];
        for (place, call) in calls.iter().enumerate() {
            match what(&call.action) {
                BagAction::Add(value) => adds.note(numbers.of(value), place as u32),
                BagAction::Take(value) => {
                    let other = std::mem::replace(&mut takes[numbers.of(value)], place as u32);
                    if other != NONE {
                        found.taken_twice(value, [other, place as u32], calls, what, case)?;
                    }
                }
                BagAction::TakeAny => found.unknown_take = true,
                BagAction::Empty => found.empties.push(place as u32),
            }
        }
        case.budget.look()?;
        found.check_takes(&numbers, &adds, &takes, what, case)?;
        for (place, call) in calls.iter().enumerate() {
            let BagAction::Add(value) = what(&call.action) else { continue };
            let take = takes[numbers.of(value)];
            if take != NONE || !call.pending() {
                found.items.push(Item { add: place as u32, take });
            }
        }
        case.budget.look()?;
        Ok(found)
    }

    /// Each taken value was added by one, and not later.
    fn check_takes(
        &self,
        numbers: &Numbers,
        adds: &Candidates,
        takes: &[u32],
        what: impl Fn(&A) -> BagAction,
        case: &Case<'_, '_>,
    ) -> Early<()> {
        for (place, call) in self.calls.iter().enumerate() {
            let BagAction::Take(value) = what(&call.action) else { continue };
            let number = numbers.of(value);
            if takes[number] != place as u32 {
                continue;
            }
            let words = |what: &str| format!("{} {what}", case.show(call));
            match adds.first[number] {
                NONE => {
                    return Err(self.refuted(
                        "a value from nowhere",
                        words("was never added"),
                        vec![place as u32],
                    ));
                }
                _ if adds.several[number] => return Err(several(value, case)),
                add if call.returned < self.calls[add as usize].invoked => {
                    let words = words(&format!(
                        "returned before {} was invoked",
                        case.show(&self.calls[add as usize])
                    ));
                    return Err(self.refuted("a value from the future", words, vec![add, place as u32]));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn taken_twice(
        &self,
        value: Value,
        takes: [u32; 2],
        calls: &[Call<A>],
        what: impl Fn(&A) -> BagAction,
        case: &Case<'_, '_>,
    ) -> Early<()> {
        let adds = calls.iter().enumerate().filter(|(_, call)| what(&call.action) == BagAction::Add(value));
        let adds: Vec<u32> = adds.map(|(place, _)| place as u32).collect();
        if adds.len() > 1 {
            return Err(several(value, case));
        }
        let [one, two] = takes.map(|take| case.show(&calls[take as usize]));
        let guilty = takes.into_iter().chain(adds).collect();
        Err(self.refuted("a value taken twice", format!("{one} and {two} took the same value"), guilty))
    }

    /// Nothing that saw it empty was invoked and returned while something surely lay in it.
    fn not_empty(&self, case: &mut Case<'_, '_>) -> Early<()> {
        if self.empties.is_empty() {
            return Ok(());
        }
        let zones = self.zones();
        case.budget.take(2 * (zones.len() * size_of::<Zone>()) as u64)?;
        let calls = self.empties.iter().map(|&call| (call, &self.calls[call as usize]));
        let spans = calls.map(|(place, call)| (place, call.invoked, call.returned));
        match cover::covered(&zones, spans) {
            None => Ok(()),
            Some((empty, cover)) => Err(self.not_empty_words(empty, &cover, case)),
        }
    }

    /// Says that something lay in it all the time, by items that take turns.
    pub(crate) fn not_empty_words(&self, empty: u32, cover: &[u32], case: &Case<'_, '_>) -> Answer {
        let shown = |item: u32| case.show(&self.calls[self.items[item as usize].add as usize]);
        let words = format!(
            "{} saw it empty, but all the while there was what was put in by {}{}",
            case.show(&self.calls[empty as usize]),
            cover.iter().take(3).map(|&item| shown(item)).collect::<Vec<_>>().join(", then "),
            if cover.len() > 3 { ", and so on" } else { "" },
        );
        let guilty = cover.iter().flat_map(|&item| self.both(item)).chain([empty]).collect();
        self.refuted("seen empty when it was not", words, guilty)
    }

    /// The items that surely lay in it for a while.
    pub(crate) fn zones(&self) -> Vec<Zone> {
        let zone = |place: usize| {
            let (from, to) = self.presence(place as u32);
            Zone { from, to, item: place as u32 }
        };
        (0..self.items.len()).map(zone).filter(|zone| zone.from < zone.to).collect()
    }

    /// From when to when an item surely lay in it, if the first is before the second.
    pub(crate) fn presence(&self, item: u32) -> (Moment, Moment) {
        let Item { add, take } = self.items[item as usize];
        let add = &self.calls[add as usize];
        match self.calls.get(take as usize) {
            None => (add.returned, NEVER),
            Some(take) => (add.returned.min(take.returned), add.invoked.max(take.invoked)),
        }
    }

    /// The calls of an item.
    pub(crate) fn both(&self, item: u32) -> impl Iterator<Item = u32> + use<A> {
        let Item { add, take } = self.items[item as usize];
        [add, take].into_iter().filter(|&call| call != NONE)
    }

    /// A refutation by these calls.
    pub(crate) fn refuted(&self, kind: &'static str, words: String, mut guilty: Vec<u32>) -> Answer {
        guilty.sort_unstable();
        guilty.dedup();
        Answer::Refuted(Refuted { by: self.by, kind, words, guilty })
    }

    /// A pending taking may have taken what nobody else took; what somebody took it did not take.
    fn despite_unknown(&self, answer: Answer) -> Answer {
        let Answer::Refuted(refuted) = &answer else { return answer };
        let kept = |item: &Item| item.take == NONE && refuted.guilty.binary_search(&item.add).is_ok();
        if self.unknown_take && self.items.iter().any(kept) {
            return Answer::Passed("nobody knows what a taking of unknown outcome took".into());
        }
        answer
    }
}

/// Who adds each value.
struct Candidates {
    first: Vec<u32>,
    several: Vec<bool>,
}

impl Candidates {
    fn new(room: usize) -> Self {
        Self { first: vec![NONE; room], several: vec![false; room] }
    }

    fn note(&mut self, number: usize, place: u32) {
        if self.first[number] == NONE {
            self.first[number] = place;
        } else {
            self.several[number] = true;
        }
    }
}

fn several(value: Value, case: &Case<'_, '_>) -> Answer {
    Answer::Passed(format!(
        "{} was taken, and may have been added by several",
        case.history.values.show(value)
    ))
}
