//! Who saw a container empty, against what surely lay in it. O(n log n).
//!
//! A value that was added by `a` and taken by `t` surely lies in the container from the first return of the two to the last
//! invocation of the two; if that is no time at all, its addition and its taking can be placed next to each other. A call
//! that saw it empty needs a moment between its invocation and its return at which nothing surely lies there.
//!
//! **That is needed:** if the time of the call is covered by values that take turns, each next one is added before the one
//! before is taken, so it was never empty.
//!
//! **That is enough:** give each such call a moment that is free. They cut the history into phases, and each value whose time
//! of presence ends before such a moment goes wholly before it, with both its calls, each other value wholly behind it (one
//! without a time of presence to a side that a fixed moment of it, between its last invocation and first return, is on).
//! Between different phases real time is kept: with a moment `p` between them, the one before has no call that was invoked
//! after `p`, the one behind has none that returned before `p`. In each phase the container begins and ends empty (but the
//! last), so that each is an object of its own without anybody who sees it empty.

use crate::history::Moment;

/// A time during which an item surely lies in a container; both ends are outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zone {
    pub(crate) from: Moment,
    pub(crate) to: Moment,
    pub(crate) item: u32,
}

/// The first of some spans (call, invoked, returned) that is covered by zones, and the items that cover it, each
/// overlapping the next.
pub(crate) fn covered(
    zones: &[Zone],
    spans: impl Iterator<Item = (u32, Moment, Moment)>,
) -> Option<(u32, Vec<u32>)> {
    let mut sorted = zones.to_vec();
    sorted.sort_unstable_by_key(|zone| zone.from);
    let mut merged: Vec<(Moment, Moment)> = Vec::new();
    for zone in &sorted {
        match merged.last_mut() {
            Some(last) if zone.from < last.1 => last.1 = last.1.max(zone.to),
            _ => merged.push((zone.from, zone.to)),
        }
    }
    for (call, invoked, returned) in spans {
        let place = merged.partition_point(|time| time.0 < invoked);
        if place > 0 && invoked < merged[place - 1].1 && returned < merged[place - 1].1 {
            return Some((call, chain(&sorted, invoked, returned)));
        }
    }
    None
}

/// The fewest of the zones, sorted by their beginnings, that cover a span which they do cover.
pub(crate) fn chain(sorted: &[Zone], invoked: Moment, returned: Moment) -> Vec<u32> {
    let mut at = invoked;
    let mut items = Vec::new();
    let mut place = 0;
    let mut best: Option<Zone> = None;
    while at < returned {
        while let Some(zone) = sorted.get(place).filter(|zone| zone.from < at) {
            if best.is_none_or(|best| best.to < zone.to) {
                best = Some(*zone);
            }
            place += 1;
        }
        match best.filter(|best| at < best.to) {
            Some(best) => {
                items.push(best.item);
                at = best.to;
            }
            None => break,
        }
    }
    items
}
