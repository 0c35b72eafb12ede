//! A set that only grows, element by element (as Jepsen's set-full does): from the return of its `add`, or of the first read
//! that saw it, an element is known, and every read that begins later must see it.
//!
//! - *lost*: no read that begins after the last one that missed it sees it again.
//! - *stale*: a read missed it before any read had seen it, and a later one saw it.
//! - *resurrected*: a read had seen it, a later one missed it, and one later still saw it again.
//! - *duplicated*: one read has it twice. *garbage*: nobody added it, or its `add` failed.
//!
//! Where operations have keys, each key is a set of its own. Cost: O(elements × reads) of each, a bit each.

use super::{Looked, Stop, bad, function, members, unknown};
use crate::budget::Budget;
use crate::history::{History, Moment, NEVER, Outcome};
use crate::table::Table;
use crate::value::{Datum, Value};
use std::collections::BTreeMap;

/// What is known of an element.
#[derive(Clone, Copy)]
struct Element {
    value: Value,
    add: u32,
    /// From here on it must be seen.
    known: Moment,
    /// When the first read that saw it returned.
    seen: Moment,
    /// The last read that missed it though it was known, and whether one had seen it before that read began.
    missed: Option<(u32, bool)>,
    /// It was seen again by a read that began after one had missed it.
    again: bool,
}

pub(super) fn look(history: &History, looked: &mut Looked, budget: &mut Budget<'_>) -> Result<(), Stop> {
    let mut sets: BTreeMap<Value, Vec<u32>> = BTreeMap::new();
    for (place, operation) in (0..).zip(&history.operations) {
        sets.entry(operation.key).or_default().push(place);
    }
    budget.take(history.operations.len() as u64 * 4)?;
    let mut counts = Counts::default();
    for places in sets.values() {
        look_at(history, places, &mut counts, looked, budget)?;
    }
    let Counts { elements, reads, twice, unread } = counts;
    let of = if sets.len() > 1 { format!(" of {} sets", sets.len()) } else { String::new() };
    looked.notes.push(format!("{elements} elements, {reads} reads{of}"));
    if twice > 0 {
        looked
            .notes
            .push(format!("{twice} elements were added again: each counts from its first acknowledgement"));
    }
    if unread > 0 {
        looked
            .notes
            .push(format!("{unread} elements were in no read, and no read began after they were known"));
    }
    if reads == 0 {
        looked.blind = Some("no read of the set succeeded".to_owned());
    }
    Ok(())
}

/// What was there, of all sets.
#[derive(Default)]
struct Counts {
    elements: usize,
    reads: usize,
    /// Added again.
    twice: u64,
    unread: u64,
}

/// The operations of one set.
fn look_at(
    history: &History,
    operations: &[u32],
    counts: &mut Counts,
    looked: &mut Looked,
    budget: &mut Budget<'_>,
) -> Result<(), Stop> {
    let (mut elements, places) = added(history, operations, counts, budget)?;
    let mut reads: Vec<u32> = Vec::new();
    for &place in operations {
        let (place, operation) = (place as usize, &history.operations[place as usize]);
        if matches!(function(history, operation), "read" | "r" | "read-set")
            && operation.outcome == Outcome::Ok
        {
            if !matches!(history.values.datum(operation.result), Datum::List(_) | Datum::Set(_) | Datum::Nil)
            {
                let what = format!("a read gives the members, not {}", history.values.show(operation.result));
                return Err(bad(history, place, what, "write them as a list, like [1 2 3]"));
            }
            reads.push(place as u32);
        }
    }
    first_seen(history, &reads, &places, &mut elements, looked, budget)?;
    budget.take(elements.len() as u64)?;
    let mut there = vec![false; elements.len()];
    for &read in &reads {
        let operation = &history.operations[read as usize];
        there.fill(false);
        for value in members(history, operation.result) {
            if let Some(&at) = places.get(&value) {
                there[at as usize] = true;
            }
        }
        for (element, &there) in elements.iter_mut().zip(&there) {
            budget.step()?;
            let missed_before =
                |(other, _): (u32, bool)| history.operations[other as usize].returned < operation.invoked;
            match there {
                false if element.known < operation.invoked => {
                    element.missed = Some((read, element.seen < operation.invoked));
                    element.again = false;
                }
                true => element.again |= element.missed.is_some_and(missed_before),
                false => {}
            }
        }
    }
    for element in &elements {
        judge(history, element, looked);
        counts.unread += u64::from(element.seen == NEVER && element.missed.is_none());
    }
    counts.elements += elements.len();
    counts.reads += reads.len();
    Ok(())
}

const LOST: (&str, &str) = ("lost", "an element that was there is missed by reads and never seen again");
const STALE: (&str, &str) = ("stale", "a read missed an element whose add had returned; a later read saw it");
const RESURRECTED: (&str, &str) = ("resurrected", "an element was seen, then missed, then seen again");
const DUPLICATED: (&str, &str) = ("duplicated", "a read has an element twice");
const GARBAGE: (&str, &str) = ("garbage", "a read has an element that nobody added, or whose add failed");

/// The elements that were added, and where each stands.
fn added(
    history: &History,
    operations: &[u32],
    counts: &mut Counts,
    budget: &mut Budget<'_>,
) -> Result<(Vec<Element>, Table<Value, u32>), Stop> {
    let mut elements: Vec<Element> = Vec::new();
    let mut places: Table<Value, u32> = Table::default();
    for &place in operations {
        let (place, operation) = (place as usize, &history.operations[place as usize]);
        budget.step()?;
        match function(history, operation) {
            "add" | "insert" if operation.outcome != Outcome::Fail => {}
            "add" | "insert" | "read" | "r" | "read-set" => continue,
            _ => return Err(unknown(history, place, "add, read")),
        }
        budget.take(64)?;
        let at = *places.or_insert_with(operation.argument, || elements.len() as u32) as usize;
        if at < elements.len() {
            counts.twice += 1;
            elements[at].known = elements[at].known.min(operation.returned);
            continue;
        }
        elements.push(Element {
            value: operation.argument,
            add: place as u32,
            known: operation.returned,
            seen: NEVER,
            missed: None,
            again: false,
        });
    }
    Ok((elements, places))
}

/// When each element was first seen, and what reads saw that they could not.
fn first_seen(
    history: &History,
    reads: &[u32],
    places: &Table<Value, u32>,
    elements: &mut [Element],
    looked: &mut Looked,
    budget: &mut Budget<'_>,
) -> Result<(), Stop> {
    for &read in reads {
        let operation = &history.operations[read as usize];
        let mut all = members(history, operation.result);
        all.sort_unstable();
        for pair in all.windows(2).filter(|pair| pair[0] == pair[1]) {
            let element = history.values.show(pair[0]);
            looked.violation(DUPLICATED, &[read], || {
                format!("It has {element} twice: {}.", history.show(read))
            });
        }
        for value in all {
            budget.step()?;
            let element = places.get(&value).map(|&at| &mut elements[at as usize]);
            match element {
                Some(element) if history.operations[element.add as usize].invoked < operation.returned => {
                    element.seen = element.seen.min(operation.returned);
                    element.known = element.known.min(operation.returned);
                }
                _ => {
                    let element = history.values.show(value);
                    looked.violation(GARBAGE, &[read], || {
                        format!("A read has {element}: {}.", history.show(read))
                    });
                }
            }
        }
    }
    Ok(())
}

fn judge(history: &History, element: &Element, looked: &mut Looked) {
    let Some((read, seen_before)) = element.missed else { return };
    let kind = match (element.again, seen_before) {
        (false, _) => LOST,
        (true, true) => RESURRECTED,
        (true, false) => STALE,
    };
    looked.violation(kind, &[element.add, read], || {
        let value = history.values.show(element.value);
        format!(
            "{value} was there before this read began: {}; added by {}.",
            history.show(read),
            history.show(element.add)
        )
    });
}
