//! Transactions: which levels of isolation a history refutes, which it proves.
//!
//! The way: a reader feeds [`history::Builder`]; [`check`] infers from reads in what order versions were written, collects
//! what is wrong with single reads, builds the graph of what must come before what, searches its cycles, and asks for each
//! level of the lattice ([`levels`]) whether something that it forbids was found.
//!
//! A level is *refuted* with a witness; *proved* where the inference is complete for this history (each page says when); else
//! *not refuted*, with the reason. The summary names the minimal refuted and the maximal unrefuted levels.

pub mod anomaly;
pub mod append;
pub mod axioms;
mod clocks;
pub mod complete;
pub mod cycles;
pub mod facts;
pub mod feed;
pub mod findings;
pub mod generate;
pub mod graph;
pub mod history;
mod judge;
mod judge_lists;
mod judge_registers;
mod judge_rows;
pub mod levels;
mod observe;
pub mod page;
pub mod part;
mod polygraph;
pub mod registers;
pub mod rows;
pub mod shrink;

use crate::budget::Budget;
use crate::history::Outcome;
use crate::verdict::Verdict;
use findings::Finding;
use history::History;
use levels::Level;

/// What the transactions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// They append unique elements to lists and read whole lists.
    ListAppend,
    /// They read and write registers, each value written once.
    RwRegister,
    /// They insert and delete rows, read single rows, and read ranges.
    Predicate,
}

impl Model {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ListAppend => "list-append",
            Self::RwRegister => "rw-register",
            Self::Predicate => "predicate",
        }
    }

    /// The model of a name, as the command line has it.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "list-append" | "append" | "elle-list-append" => Some(Self::ListAppend),
            "rw-register" | "wr" | "elle-rw-register" => Some(Self::RwRegister),
            "predicate" => Some(Self::Predicate),
            _ => None,
        }
    }
}

/// What a user may ask beyond the model.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Orders of versions that are assumed and not seen; registers only.
    pub assume: Vec<registers::Assume>,
    /// Search over the orders of versions where inference ends; registers only.
    pub complete: bool,
}

/// What a history says of every level.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was found, by name.
    pub findings: Vec<Finding>,
    /// The verdict on each level, weaker ones first.
    pub verdicts: Vec<(Level, Verdict)>,
    /// What the reader should know of how it was judged.
    pub notes: Vec<String>,
}

impl Report {
    /// The verdict on one level.
    pub fn verdict(&self, level: Level) -> &Verdict {
        &self.verdicts[level.index()].1
    }

    /// The finding that refutes a level, where one does and not a search alone.
    pub fn finding(&self, level: Level) -> Option<&Finding> {
        let Verdict::Refuted(witness) = self.verdict(level) else { return None };
        self.findings.iter().find(|finding| finding.witness.kind == witness.kind)
    }

    /// The least of the levels that are refuted.
    pub fn minimal_refuted(&self) -> Vec<Level> {
        Level::minimal(&self.levels(|verdict| matches!(verdict, Verdict::Refuted(_))))
    }

    /// The greatest of the levels that are not refuted.
    pub fn maximal_unrefuted(&self) -> Vec<Level> {
        Level::maximal(&self.levels(|verdict| !matches!(verdict, Verdict::Refuted(_))))
    }

    fn levels(&self, fits: impl Fn(&Verdict) -> bool) -> Vec<Level> {
        self.verdicts.iter().filter(|(_, verdict)| fits(verdict)).map(|&(level, _)| level).collect()
    }
}

/// Judges a history by every level.
pub fn check(history: &History, model: Model, options: &Options, budget: &mut Budget<'_>) -> Report {
    let mut report = match model {
        Model::ListAppend => judge_lists::check(history, budget),
        Model::RwRegister => judge_registers::check(history, options, budget),
        Model::Predicate => judge_rows::check(history, budget),
    };
    if !history.txns().iter().any(|txn| txn.outcome == Outcome::Ok) {
        for (_, verdict) in &mut report.verdicts {
            if matches!(verdict, Verdict::Proved { .. }) {
                *verdict = Verdict::Unknown { why: "nothing was judged: no transaction ended ok".to_owned() };
            }
        }
    }
    report
}
