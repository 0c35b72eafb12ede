//! Levels of histories in which values repeat: some reads could have seen one of several writes.
//!
//! A level holds where some choice of writes, one for each such read, makes it hold: whatever order explains a read has one
//! write in front of it. So
//!
//! - without those reads the history must keep the level: leaving out reads makes nothing wrong that was right. If it does not,
//!   the level is refuted, by a pattern as ever;
//! - a choice that keeps it proves it. The first that is tried is what a system does that is nearly right: each read saw the
//!   newest write of its value that had begun before the read returned;
//! - else the choices are gone through, read by read, each given up as soon as those that are made break the level. No choice
//!   left: refuted. The number of tries is bounded; beyond it the level is not refuted.
//!
//! Causal memory is the exception: a session may explain one and the same read by two writes, at two moments. There choices
//! only prove; it is refuted where one of the two levels is that follow from it, or without the open reads.
//!
//! Convergence compares values, so it asks for no choice. To tell who is right where values repeat is NP-complete for the
//! causal levels (arXiv 1611.00580); the cost is that of the level for each try.

use super::cells::{self, Loose, What};
use super::{Find, Level, Shown, finder, one};
use crate::budget::{Budget, Spent};
use crate::history::History;
use crate::verdict::{Verdict, Witness};

/// So many choices are looked at, made in full or in part.
const TRIES: u32 = 4096;
/// So many for a core.
const CORE_TRIES: u32 = 2 * TRIES;

const BY: &str = "choice of the write that each read saw";

/// By access: what is chosen for a read; nothing for a write, and for a read that is left out.
type Choice = Vec<Option<What>>;

/// Judges a level. `None`: only a search of another kind can tell.
pub(super) fn judge(
    level: Level,
    loose: &Loose,
    history: &History,
    budget: &mut Budget<'_>,
) -> Result<Option<Shown>, Spent> {
    if level == Level::Convergence {
        // Reads of one value all name the same write.
        return one(level, &loose.cells, history, budget);
    }
    let (find, by) = finder(level);
    if let Some((refuted, chain, round)) = without(loose, find, by, history, budget)? {
        return Ok(Some((refuted, chain, round)));
    }
    if level == Level::Sequential {
        return Ok(None);
    }
    let plain = |verdict| Ok(Some((verdict, Vec::new(), false)));
    let mut tries = TRIES;
    match search(loose, find, &mut tries, budget)? {
        Some(true) => plain(Verdict::Proved { by: BY }),
        Some(false) if level == Level::Cm => weaker(loose, history, budget),
        Some(false) => plain(refuted(loose, find, history, budget)),
        None => {
            let why = format!("{}; {TRIES} choices were looked at and the level holds under none", loose.why);
            plain(Verdict::NotRefuted { why })
        }
    }
}

/// What follows from causal memory.
fn weaker(loose: &Loose, history: &History, budget: &mut Budget<'_>) -> Result<Option<Shown>, Spent> {
    for level in [Level::Cc, Level::Pram] {
        if let Some(shown @ (Verdict::Refuted(_), ..)) = judge(level, loose, history, budget)? {
            return Ok(Some(shown));
        }
    }
    let why = format!("{}; no choice of one write for each read explains all", loose.why);
    Ok(Some((Verdict::NotRefuted { why }, Vec::new(), false)))
}

/// The history without the reads that are open.
fn without(
    loose: &Loose,
    find: Find,
    by: &'static str,
    history: &History,
    budget: &mut Budget<'_>,
) -> Result<Option<Shown>, Spent> {
    let cells = loose.chosen(&sure(loose));
    let Some(bad) = find(&cells, budget)? else { return Ok(None) };
    let (cells, bad) = cells::shrink(&cells, bad, |cells| find(cells, &mut *budget))?;
    Ok(Some(super::shown(&cells, &bad, by, history)))
}

/// What is known without a choice.
fn sure(loose: &Loose) -> Choice {
    let one = |read| if let [one] = *loose.may.of(read) { Some(What::Read(one)) } else { None };
    loose.may.accesses().map(one).collect()
}

/// Looks for a choice under which nothing bad is found. Nothing where the tries are used up.
fn search(
    loose: &Loose,
    find: Find,
    tries: &mut u32,
    budget: &mut Budget<'_>,
) -> Result<Option<bool>, Spent> {
    let mut choice = sure(loose);
    let mut open: Vec<u32> = loose.may.accesses().filter(|&read| loose.may.of(read).len() > 1).collect();
    open.sort_by_key(|&read| loose.cells.accesses[read as usize].invoked);
    for &read in &open {
        choice[read as usize] = likeliest(loose, read, 0);
    }
    let mut innocent = |choice: &Choice, budget: &mut Budget<'_>| -> Result<Option<bool>, Spent> {
        let Some(left) = tries.checked_sub(1) else { return Ok(None) };
        *tries = left;
        budget.look()?;
        Ok(Some(find(&loose.chosen(choice), budget)?.is_none()))
    };
    match innocent(&choice, budget)? {
        Some(false) => {}
        answer => return Ok(answer),
    }
    // How many are chosen, and which of its writes each has.
    let mut picked: Vec<usize> = Vec::new();
    for &read in &open {
        choice[read as usize] = None;
    }
    let mut next = 0;
    loop {
        let depth = picked.len();
        if depth == open.len() {
            return Ok(Some(true));
        }
        let Some(write) = likeliest(loose, open[depth], next) else {
            choice[open[depth] as usize] = None;
            let Some(last) = picked.pop() else { return Ok(Some(false)) };
            next = last + 1;
            continue;
        };
        choice[open[depth] as usize] = Some(write);
        match innocent(&choice, budget)? {
            None => return Ok(None),
            Some(true) => {
                picked.push(next);
                next = 0;
            }
            Some(false) => next += 1,
        }
    }
}

/// The `nth` of what a read may have seen, the likeliest first: the newest that had begun before the read returned, then older ones; then
/// those that had not begun.
fn likeliest(loose: &Loose, read: u32, nth: usize) -> Option<What> {
    let until = loose.cells.accesses[read as usize].returned;
    let may = loose.may.of(read);
    let begun =
        |write: &Option<u32>| write.map_or(0, |write| loose.cells.accesses[write as usize].invoked + 1);
    let open = may.partition_point(|write| begun(write) <= until);
    let at = if nth < open { open.checked_sub(nth + 1) } else { (may.len() + open).checked_sub(nth + 1) };
    at.and_then(|at| may.get(at)).copied().map(What::Read)
}

/// No choice is left: with a core, as far as the budget goes.
fn refuted(loose: &Loose, find: Find, history: &History, budget: &mut Budget<'_>) -> Verdict {
    let mut tries = CORE_TRIES;
    let mut core = loose.clone();
    let mut size = core.cells.accesses.len().div_ceil(2).max(1);
    'sizes: loop {
        let (mut went, mut from) = (false, 0);
        while from < core.cells.accesses.len() as u32 {
            let to = from + size as u32;
            let fewer = core.only(|place| !(from..to).contains(&place));
            match search(&fewer, find, &mut tries, budget) {
                Ok(Some(false)) => (core, went) = (fewer, true),
                Ok(Some(true)) => from = to,
                Ok(None) | Err(_) => break 'sizes,
            }
        }
        match (size, went) {
            (1, false) => break,
            (1, true) => {}
            _ => size = size.div_ceil(2),
        }
    }
    let mut operations: Vec<u32> = core.cells.accesses.iter().map(|access| access.source).collect();
    operations.sort_unstable();
    let shown: Vec<String> = operations.iter().take(8).map(|&operation| history.show(operation)).collect();
    Verdict::Refuted(Witness {
        kind: "no choice of writes".into(),
        words: format!("whichever write of a repeated value each read saw, it breaks: {}", shown.join("; ")),
        core: operations,
        by: BY,
    })
}
