//! Shrinks a history that breaks a level to a minimal core: it breaks the same level by the same kind of anomaly, and no longer
//! does once any one of its transactions or keys is left out.
//!
//! Parts are made as [`super::part`] says: none is guilty unless the whole is. The search begins with the transactions of the
//! witness; where these alone do not show it, with all that touched their keys; then with the whole. From there halves,
//! quarters and so on are left out as long as that goes (Zeller's delta debugging), then single keys, then single
//! transactions again. Each try is a full judgement of the part: a history of 10,000 transactions takes below a second.

use super::findings::Finding;
use super::history::{Act, History, Id};
use super::levels::Level;
use super::part::{Kept, Parts};
use super::{Model, Options, Report, check};
use crate::budget::Budget;
use crate::verdict::{Verdict, Witness};

/// A core.
#[derive(Debug)]
pub struct Core {
    /// Its transactions.
    pub txns: Vec<Id>,
    /// Its keys, by their place in the history.
    pub keys: Vec<usize>,
    /// True where nothing more can be left out; else the budget was spent.
    pub minimal: bool,
    /// What is wrong with it, with the history's own numbers.
    pub witness: Witness,
    /// The same as a finding, where it is one.
    pub finding: Option<Finding>,
    /// The core alone; all other transactions did nothing.
    pub history: History,
}

/// The core of a history that breaks a level, as its report says.
pub fn core(
    history: &History,
    model: Model,
    options: &Options,
    level: Level,
    report: &Report,
    budget: &mut Budget<'_>,
) -> Option<Core> {
    let Verdict::Refuted(witness) = report.verdict(level) else { return None };
    // The parts' tables: who wrote what, who completed when.
    budget.take(history.op_count() as u64 * 24 + history.len() as u64 * 16).ok()?;
    let parts = Parts::new(history, model);
    let mut shrinking = Shrinking { parts, model, options, level, kind: &witness.kind, budget };
    let mut kept = shrinking.begin(history, &witness.core)?;
    let minimal = shrinking.run(&mut kept);
    shrinking.finish(history, &kept, minimal)
}

struct Shrinking<'a, 'b, 'c> {
    parts: Parts<'a>,
    model: Model,
    options: &'a Options,
    level: Level,
    kind: &'a str,
    budget: &'b mut Budget<'c>,
}

impl Shrinking<'_, '_, '_> {
    /// The first of some parts, from small to large, that is guilty.
    fn begin(&mut self, history: &History, core: &[Id]) -> Option<Kept> {
        let mut seeds: Vec<Id> = core.to_vec();
        seeds.sort_unstable();
        seeds.dedup();
        let all = self.parts.whole();
        let of = |txns| Kept { txns, keys: all.keys.clone() };
        let candidates =
            [of(seeds.clone()), of(with_witnesses(history, &seeds)), of(around(history, &seeds))];
        for kept in candidates {
            if kept.txns.len() < all.txns.len() && self.guilty(&kept) {
                return Some(kept);
            }
        }
        self.guilty(&all).then_some(all)
    }

    /// True where nothing more can be left out.
    fn run(&mut self, kept: &mut Kept) -> bool {
        loop {
            if !self.drop_txns(kept) {
                return false;
            }
            let before = kept.clone();
            if !self.drop_keys(kept) {
                return false;
            }
            if *kept == before {
                return true;
            }
        }
    }

    /// Leaves out runs of transactions, large ones first. False when the budget is spent.
    fn drop_txns(&mut self, kept: &mut Kept) -> bool {
        let mut size = kept.txns.len().div_ceil(2).max(1);
        loop {
            let mut went = false;
            let mut from = 0;
            while from < kept.txns.len() {
                let to = (from + size).min(kept.txns.len());
                let fewer = [&kept.txns[..from], &kept.txns[to..]].concat();
                let fewer = Kept { txns: fewer, keys: kept.keys.clone() };
                if self.guilty(&fewer) {
                    *kept = fewer;
                    went = true;
                } else {
                    from = to;
                }
                if self.budget.look().is_err() {
                    return false;
                }
            }
            match (size, went) {
                (1, false) => return true,
                (1, true) => {}
                _ => size = size.div_ceil(2).min(kept.txns.len().max(1)),
            }
        }
    }

    /// Leaves out single keys, and who touches no other. False when the budget is spent.
    fn drop_keys(&mut self, kept: &mut Kept) -> bool {
        for key in self.parts.touched(kept) {
            let mut fewer = kept.clone();
            fewer.keys[key] = false;
            self.parts.drop_idle(&mut fewer);
            if self.guilty(&fewer) {
                *kept = fewer;
            }
            if self.budget.look().is_err() {
                return false;
            }
        }
        true
    }

    /// True where the part breaks the level by the same kind.
    fn guilty(&mut self, kept: &Kept) -> bool {
        let Ok(part) = self.parts.compact(kept) else { return false };
        let report = check(&part, self.model, self.options, &mut self.budget.part());
        matches!(report.verdict(self.level), Verdict::Refuted(witness) if witness.kind == self.kind)
    }

    fn finish(&self, history: &History, kept: &Kept, minimal: bool) -> Option<Core> {
        let part = self.parts.masked(kept).ok()?;
        // One judgement more, also where the time is over: it took no longer before.
        let go_on = || false;
        let report = check(&part, self.model, self.options, &mut Budget::new(&go_on, self.budget.left()));
        let Verdict::Refuted(witness) = report.verdict(self.level).clone() else { return None };
        let keys = self.parts.touched(kept);
        let finding = report.finding(self.level).cloned();
        debug_assert_eq!(part.len(), history.len(), "numbers of the whole");
        Some(Core { txns: kept.txns.clone(), keys, minimal, witness, finding, history: part })
    }
}

/// They, and for each key of theirs the first that read its longest list: it shows the order of what was appended.
fn with_witnesses(history: &History, seeds: &[Id]) -> Vec<Id> {
    let mut of_key = vec![false; history.keys().len()];
    for micro in seeds.iter().flat_map(|&id| history.ops(id)) {
        of_key[micro.key()] = true;
    }
    let mut kept = seeds.to_vec();
    for id in 0..history.len() as Id {
        for micro in history.ops(id) {
            let key = micro.key();
            let longest =
                matches!(micro.act(), Act::List(len) if len as usize == history.keys()[key].trunk.len());
            if of_key[key] && longest {
                of_key[key] = false;
                kept.push(id);
            }
        }
    }
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// All that touched a key of theirs.
fn around(history: &History, seeds: &[Id]) -> Vec<Id> {
    let mut of_key = vec![false; history.keys().len()];
    for micro in seeds.iter().flat_map(|&id| history.ops(id)) {
        of_key[micro.key()] = true;
    }
    let touches = |&id: &Id| history.ops(id).iter().any(|micro| of_key[micro.key()]);
    (0..history.len() as Id).filter(touches).collect()
}
