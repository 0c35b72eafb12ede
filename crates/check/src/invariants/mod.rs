//! Invariants of a whole system: what must be true of all that was seen, whatever order the operations have.
//!
//! They say less than linearizability and cost less: each is decided in one pass or few, over histories of any length, with
//! every operation that failed or whose end is unknown taken for what it is. A violation is certain; where nothing in the
//! history could have shown one, the verdict is "unknown".
//!
//! | name | what must be true |
//! | --- | --- |
//! | `bank` | every read of all accounts has the same total, and no account is below zero ([`bank`]) |
//! | `set-full` | an element that was added is in every later read: not lost, stale, resurrected or duplicated ([`set`]) |
//! | `unique-ids` | no id is given out twice ([`ids`]) |
//! | `holders` | no two hold a lock at a time, and tokens grow ([`holders`]) |
//! | `stream` | what was sent is consumed once, in order, by every key ([`stream`]) |

pub mod bank;
pub mod holders;
pub mod ids;
pub mod set;
pub mod stream;

use crate::budget::{Budget, Spent};
use crate::history::{History, Operation};
use crate::read::BadInput;
use crate::value::{Datum, Value};
use crate::verdict::{Verdict, Witness};

/// An invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    /// Money neither comes nor goes.
    Bank,
    /// Elements stay in a set.
    Set,
    /// Ids are unique.
    Ids,
    /// A lock has one holder.
    Holders,
    /// Messages are consumed once and in order.
    Stream,
}

/// All of them: name, other names, what they are about.
pub const NAMES: [(Invariant, &str, &[&str], &str); 5] = [
    (
        Invariant::Bank,
        "bank",
        &["jepsen-bank", "elle-bank"],
        "read of all accounts as a map: the total stays (--initial), no account is below zero",
    ),
    (
        Invariant::Set,
        "set-full",
        &["jepsen-set-full", "elle-set-full"],
        "add, read of all members: none is lost, stale, resurrected, duplicated",
    ),
    (
        Invariant::Ids,
        "unique-ids",
        &["jepsen-unique-ids"],
        "generate returns an id that no other returns (a vector is one id), generate-batch a list of them",
    ),
    (
        Invariant::Holders,
        "holders",
        &["lock-holders"],
        "acquire, release: no two hold the lock at a time; tokens, where there are any, grow",
    ),
    (
        Invariant::Stream,
        "stream",
        &["total-queue", "consumption"],
        "send, poll of one or more, by key: none is lost, skipped, duplicated, out of order",
    ),
];

impl Invariant {
    /// The invariant of a name.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, known, others, _)| *known == name || others.contains(&name)).map(|row| row.0)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }
}

/// One kind of violation, how often it was met, and its first example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// How often it was met.
    pub count: u64,
    /// The first one in words.
    pub words: String,
    /// The operations of the first one.
    pub operations: Vec<u32>,
}

/// What came of a look at a whole history.
#[derive(Clone, Debug)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// What was violated.
    pub violations: Vec<Violation>,
    /// What the reader should know: counts, and what could not be seen.
    pub notes: Vec<String>,
}

/// Looks at a history. `initial` is the total or the accounts of a bank, else nil.
pub fn check(
    invariant: Invariant,
    history: &History,
    initial: Value,
    budget: &mut Budget<'_>,
) -> Result<Report, BadInput> {
    let mut looked = Looked::default();
    let done = match invariant {
        Invariant::Bank => bank::look(history, initial, &mut looked, budget),
        Invariant::Set => set::look(history, &mut looked, budget),
        Invariant::Ids => ids::look(history, &mut looked, budget),
        Invariant::Holders => holders::look(history, &mut looked, budget),
        Invariant::Stream => stream::look(history, &mut looked, budget),
    };
    let verdict = match (looked.violations.first(), done) {
        (_, Err(Stop::Bad(bad))) => return Err(bad),
        (Some(first), _) => Verdict::Refuted(Witness {
            kind: first.name.to_owned(),
            words: first.words.clone(),
            core: first.operations.clone(),
            by: BY,
        }),
        (None, Err(Stop::Spent(Spent::Time))) => {
            Verdict::Unknown { why: "the time was over before all was looked at".to_owned() }
        }
        (None, Err(Stop::Spent(Spent::Memory))) => {
            Verdict::Unknown { why: "the memory allowed does not do for this history".to_owned() }
        }
        (None, Ok(())) => match looked.blind {
            Some(why) => Verdict::Unknown { why },
            None => Verdict::Proved { by: BY },
        },
    };
    Ok(Report { verdict, violations: looked.violations, notes: looked.notes })
}

const BY: &str = "a look at every operation";

/// What ends a look early.
enum Stop {
    Bad(BadInput),
    Spent(Spent),
}

impl From<Spent> for Stop {
    fn from(spent: Spent) -> Self {
        Self::Spent(spent)
    }
}

/// What was seen so far.
#[derive(Default)]
struct Looked {
    violations: Vec<Violation>,
    notes: Vec<String>,
    /// Why nothing in the history could have shown a violation.
    blind: Option<String>,
}

impl Looked {
    fn violation(
        &mut self,
        (name, meaning): (&'static str, &'static str),
        operations: &[u32],
        words: impl FnOnce() -> String,
    ) {
        if let Some(known) = self.violations.iter_mut().find(|known| known.name == name) {
            known.count += 1;
            return;
        }
        self.violations.push(Violation {
            name,
            meaning,
            count: 1,
            words: words(),
            operations: operations.to_vec(),
        });
    }
}

/// The name of an operation's function.
fn function<'a>(history: &'a History, operation: &Operation) -> &'a str {
    match history.values.datum(operation.f) {
        Datum::Keyword(name) | Datum::Text(name) => name,
        _ => "",
    }
}

fn bad(history: &History, place: usize, what: String, hint: &str) -> Stop {
    let line = history.lines.get(place).copied().unwrap_or(0);
    Stop::Bad(BadInput { line, column: 1, ..BadInput::new(what, hint) })
}

fn unknown(history: &History, place: usize, knows: &str) -> Stop {
    let f = history.values.show(history.operations[place].f);
    bad(
        history,
        place,
        format!("the model has no function {f}; it knows {knows}"),
        "is this the right --model?",
    )
}

/// The members of a list or set; one that is neither stands for itself, and nil for none.
fn members(history: &History, value: Value) -> Vec<Value> {
    match history.values.datum(value) {
        Datum::List(members) | Datum::Set(members) => members.to_vec(),
        Datum::Nil => Vec::new(),
        _ => vec![value],
    }
}
