//! Levels that know sessions and no clock: sequential, PRAM, the three causal ones, the session guarantees, convergence.
//!
//! None of them is local: each key of a history may pass alone while the whole fails, so nothing here is split by key.
//!
//! - **Causal, PRAM** ([`causal`]): bad patterns after Bouajjani, Enea, Guerraoui and Hamza, "On verifying causal consistency"
//!   (arXiv 1611.00580). Complete where every value is written once to its key; polynomial.
//! - **Session guarantees** ([`guarantees`]): Terry and others, "Session guarantees for weakly consistent replicated data"
//!   (1994), for reads and writes of cells, each session with an order of writes of its own as Brzezinski and others have it:
//!   PRAM implies all but writes-follow-reads. Complete under the same assumption; linear but for sorting.
//! - **Sequential** ([`sequential`]): a search over the sessions' positions, for every model; NP-complete (Gibbons and Korach
//!   1997), so a budget bounds it. For registers with values written once, a history that is not causal is refuted first.
//! - **Convergence**: the last reads after the last write agree.
//!
//! **Info and fail.** What failed is not there. A write of unknown outcome that was read happened, at the end of its session;
//! one that was not read is left out, which changes no verdict. A read without an answer says nothing. A compare-and-set is
//! known to the sequential search alone.
//!
//! A value that is written twice to its key, or that is also the initial one, leaves open which write a read saw: a choice is
//! looked for under which the level holds ([`loose`]). A value that was read and never written refutes every level.

pub mod causal;
pub mod cells;
pub mod guarantees;
pub mod loose;
mod order;
pub mod sequential;
mod shrink;

use crate::budget::{Budget, Spent};
use crate::history::History;
use crate::models;
use crate::read::BadInput;
use crate::table::Table;
use crate::value::Value;
use crate::verdict::{Verdict, Witness};
use cells::{Cells, Cut, What};

/// A level that knows sessions and no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// One order of all operations that keeps each session's.
    Sequential,
    /// Causal memory: each session sees one order that keeps causality and explains all that it read.
    Cm,
    /// Causal convergence: one order of all writes that keeps causality explains each read.
    Ccv,
    /// Weak causal consistency: each read is explained by some order of its causal past.
    Cc,
    /// Pipelined RAM: each session sees one order that keeps each session's.
    Pram,
    /// A session sees its own writes.
    ReadYourWrites,
    /// What a session saw it goes on to see.
    MonotonicReads,
    /// Who sees a write sees what its session wrote before.
    MonotonicWrites,
    /// Who sees a write sees what its session had read before.
    WritesFollowReads,
    /// When all writes are over, all read the same.
    Convergence,
}

/// All levels, those that imply others first.
pub const LEVELS: [Level; 10] = [
    Level::Sequential,
    Level::Cm,
    Level::Ccv,
    Level::Cc,
    Level::Pram,
    Level::ReadYourWrites,
    Level::MonotonicReads,
    Level::MonotonicWrites,
    Level::WritesFollowReads,
    Level::Convergence,
];

impl Level {
    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Cm => "causal-memory",
            Self::Ccv => "causal-convergence",
            Self::Cc => "causal",
            Self::Pram => "pram",
            Self::ReadYourWrites => "read-your-writes",
            Self::MonotonicReads => "monotonic-reads",
            Self::MonotonicWrites => "monotonic-writes",
            Self::WritesFollowReads => "writes-follow-reads",
            Self::Convergence => "convergence",
        }
    }

    /// The level of a name or of an abbreviation.
    pub fn named(name: &str) -> Option<Self> {
        let alias = match name {
            "sc" => "sequential",
            "cm" => "causal-memory",
            "ccv" => "causal-convergence",
            "cc" | "wcc" => "causal",
            "ryw" => "read-your-writes",
            "mr" => "monotonic-reads",
            "mw" => "monotonic-writes",
            "wfr" => "writes-follow-reads",
            "eventual" | "eventual-convergence" => "convergence",
            name => name,
        };
        LEVELS.into_iter().find(|level| level.name() == alias)
    }

    /// The levels that hold wherever this one does.
    pub fn implies(self) -> &'static [Self] {
        match self {
            Self::Sequential => &[
                Self::Cm,
                Self::Ccv,
                Self::Cc,
                Self::Pram,
                Self::ReadYourWrites,
                Self::MonotonicReads,
                Self::MonotonicWrites,
                Self::WritesFollowReads,
            ],
            Self::Cm => &[
                Self::Cc,
                Self::Pram,
                Self::ReadYourWrites,
                Self::MonotonicReads,
                Self::MonotonicWrites,
                Self::WritesFollowReads,
            ],
            Self::Cc => &[Self::ReadYourWrites, Self::MonotonicWrites, Self::WritesFollowReads],
            Self::Pram => &[Self::ReadYourWrites, Self::MonotonicReads, Self::MonotonicWrites],
            Self::Ccv => &[
                Self::Cc,
                Self::ReadYourWrites,
                Self::MonotonicReads,
                Self::MonotonicWrites,
                Self::WritesFollowReads,
            ],
            _ => &[],
        }
    }
}

/// What was found of one level: the verdict; where it is refuted, a minimal core stands in its witness.
#[derive(Clone, Debug)]
pub struct Found {
    /// The level.
    pub level: Level,
    /// The verdict.
    pub verdict: Verdict,
    /// Where it is refuted by a pattern, its operations by their places in the history, each before the next.
    pub chain: Vec<u32>,
    /// The last of the chain is before the first, too.
    pub round: bool,
}

/// Of the levels that were refuted, those that no other refuted one follows from: the least that was promised in vain. And
/// of those that were not, those that follow from no other: the most that may be promised.
pub fn borders(found: &[Found]) -> (Vec<Level>, Vec<Level>) {
    let split = |refuted: bool| -> Vec<Level> {
        found
            .iter()
            .filter(|found| matches!(found.verdict, Verdict::Refuted(_)) == refuted)
            .filter(|found| !matches!(found.verdict, Verdict::Unsupported { .. }))
            .map(|found| found.level)
            .collect()
    };
    let (refuted, kept) = (split(true), split(false));
    let least = refuted.iter().filter(|level| !level.implies().iter().any(|weaker| refuted.contains(weaker)));
    let most = kept.iter().filter(|level| !kept.iter().any(|stronger| stronger.implies().contains(level)));
    (least.copied().collect(), most.copied().collect())
}

/// Bytes that an operation takes here.
const ROOM: u64 = 160;

/// Judges levels of a history, in the order given. Where it is known to be `linearizable` all of them hold; where it is
/// sequential most do. The error says that the model does not know an operation.
pub fn judge(
    levels: &[Level],
    model: &str,
    initial: Value,
    history: &History,
    linearizable: bool,
    budget: &mut Budget<'_>,
) -> Result<Vec<Found>, BadInput> {
    // About what an access takes, and its copies.
    let spent = budget.take(history.operations.len() as u64 * ROOM).err();
    let asked = !linearizable && !levels.is_empty() && spent.is_none();
    let cells = match cell_model(model) {
        _ if !asked => Cut::Unsupported(String::new()),
        Some(()) => Cut::new(history, initial),
        None => Cut::Unsupported(format!(
            "these levels are decided for reads and writes of cells, not for {model}"
        )),
    };
    let mut all: Vec<Found> = Vec::new();
    for &level in levels {
        let proved = |by: &Found| matches!(by.verdict, Verdict::Proved { .. });
        let mut found = Found { level, verdict: Verdict::Proved { by: "" }, chain: Vec::new(), round: false };
        found.verdict = match (&cells, level) {
            _ if linearizable => Verdict::Proved { by: "what is linearizable keeps it" },
            _ if spent.is_some() => Verdict::Unknown { why: spent.map_or(String::new(), spent_words) },
            _ if all.iter().any(|found| proved(found) && found.level.implies().contains(&level)) => {
                Verdict::Proved { by: "a stronger level that holds" }
            }
            (Cut::Thin(witness), level) if level != Level::Sequential => Verdict::Refuted(witness.clone()),
            (Cut::Unsupported(why), level) if level != Level::Sequential => {
                Verdict::Unsupported { why: why.clone() }
            }
            (Cut::Loose(cells), level) => match loose::judge(level, cells, history, budget) {
                Ok(Some((verdict, chain, round))) => {
                    (found.chain, found.round) = (chain, round);
                    verdict
                }
                Ok(None) => sequential::judge(model, initial, history, budget)?,
                Err(spent) => Verdict::Unknown { why: spent_words(spent) },
            },
            (Cut::Cells(cells), level) => match one(level, cells, history, budget) {
                Ok(Some((verdict, chain, round))) => {
                    (found.chain, found.round) = (chain, round);
                    verdict
                }
                Ok(None) => sequential::judge(model, initial, history, budget)?,
                Err(spent) => Verdict::Unknown { why: spent_words(spent) },
            },
            _ => sequential::judge(model, initial, history, budget)?,
        };
        all.push(found);
    }
    Ok(all)
}

/// The models whose operations are reads and writes of cells.
fn cell_model(model: &str) -> Option<()> {
    matches!(models::named(model)?.name, "register" | "cas-register" | "kv").then_some(())
}

fn spent_words(spent: Spent) -> String {
    match spent {
        Spent::Time => "the time is spent".into(),
        Spent::Memory => "the memory is spent".into(),
    }
}

/// A verdict, and the chain that shows it with whether it is round.
type Shown = (Verdict, Vec<u32>, bool);

/// A verdict. `None`: only a search can tell.
fn one(
    level: Level,
    cells: &Cells,
    history: &History,
    budget: &mut Budget<'_>,
) -> Result<Option<Shown>, Spent> {
    let (find, by) = finder(level);
    let Some(bad) = find(cells, budget)? else {
        if level == Level::Convergence && !last_reads(cells, budget)?.1 {
            let why = "no two processes read a key after its last write had returned".into();
            return Ok(Some((Verdict::NotRefuted { why }, Vec::new(), false)));
        }
        return Ok((level != Level::Sequential).then_some((Verdict::Proved { by }, Vec::new(), false)));
    };
    let (cells, bad) = cells::shrink(cells, bad, |cells| find(cells, &mut *budget))?;
    Ok(Some(shown(&cells, &bad, by, history)))
}

/// A refutation by what is left of a history.
fn shown(cells: &Cells, bad: &cells::Bad, by: &'static str, history: &History) -> Shown {
    let source = |access: u32| cells.accesses[access as usize].source;
    let mut core: Vec<u32> = cells.accesses.iter().map(|access| access.source).collect();
    core.sort_unstable();
    let witness = Witness { kind: bad.kind.into(), words: bad.words(cells, history), core, by };
    (Verdict::Refuted(witness), bad.chain.iter().map(|&access| source(access)).collect(), bad.round)
}

type Find = fn(&Cells, &mut Budget<'_>) -> Result<Option<cells::Bad>, Spent>;

fn finder(level: Level) -> (Find, &'static str) {
    const PATTERNS: &str = "bad patterns (arXiv 1611.00580)";
    const GUARANTEES: &str = "orders of writes after Terry et al. 1994";
    match level {
        // A sequential history is causal in every sense.
        Level::Sequential => (causal::convergence_or_memory, PATTERNS),
        Level::Cm => (causal::memory, PATTERNS),
        Level::Ccv => (causal::convergence, PATTERNS),
        Level::Cc => (causal::weak, PATTERNS),
        Level::Pram => (causal::pram, "per-session saturation after arXiv 1611.00580"),
        Level::ReadYourWrites => (guarantees::read_your_writes, GUARANTEES),
        Level::MonotonicReads => (guarantees::monotonic_reads, GUARANTEES),
        Level::MonotonicWrites => (guarantees::monotonic_writes, GUARANTEES),
        Level::WritesFollowReads => (guarantees::writes_follow_reads, GUARANTEES),
        Level::Convergence => (last_reads_agree, "comparison of the last reads"),
    }
}

/// The last reads of each key, of those that were invoked when every write to it had returned, return the same.
fn last_reads_agree(cells: &Cells, budget: &mut Budget<'_>) -> Result<Option<cells::Bad>, Spent> {
    Ok(last_reads(cells, budget)?.0)
}

/// Two last reads that differ; and whether any two were there to be compared.
fn last_reads(cells: &Cells, budget: &mut Budget<'_>) -> Result<(Option<cells::Bad>, bool), Spent> {
    let mut over: Table<u32, u32> = Table::default();
    for access in &cells.accesses {
        if access.what == What::Write {
            let end = over.or_insert_with(access.key, || 0);
            *end = (*end).max(access.returned);
        }
    }
    let mut first: Table<u32, u32> = Table::default();
    let mut compared = false;
    for session in 0..cells.sessions() {
        let mut last: Table<u32, u32> = Table::default();
        // Backwards: the first met is the session's last.
        for place in cells.session(session).rev() {
            budget.step()?;
            let access = &cells.accesses[place as usize];
            let quiet = !cells.restless[access.key as usize]
                && over.get(&access.key).is_none_or(|&end| end < access.invoked);
            if access.what == What::Write || !quiet || last.insert(access.key, place).is_some() {
                continue;
            }
            let other = *first.or_insert_with(access.key, || place);
            compared |= other != place;
            if cells.accesses[other as usize].what != access.what {
                let bad =
                    cells::Bad { kind: "reads that never agree", chain: vec![other, place], round: false };
                return Ok((Some(bad), true));
            }
        }
    }
    Ok((None, compared))
}
