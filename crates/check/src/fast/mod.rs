//! Fast algorithms for single objects: each decides, soundly and completely, the histories it takes, and hands on the others.
//!
//! Linearizability is NP-complete even for a register (Gibbons and Korach 1997); what makes it hard is not to know which
//! write a read saw. Where each value that is seen was written once, that is known, and a sort and a sweep decide. Whether
//! it is so is found by looking at the operations of a part, never by a flag; a part that does not fit is *passed* to the
//! general [`search`](crate::search), with the reason. Every algorithm here is compared with brute force both ways
//! (`tests/oracle`): papers on this have been wrong, see arXiv 2509.17795.
//!
//! | object | takes | page | cost |
//! | --- | --- | --- | --- |
//! | register, compare-and-set register, keys without append | seen values are written once, no failed compare-and-set | [`cell`] | O(n log n) |
//! | multiset | taken values are added once | [`bag`] | O(n log n) |
//! | FIFO queue | likewise | [`fifo`] | O(n log n) |
//! | priority queue | likewise | [`smallest`] | O(n log n) |
//! | set | each value on its own; or all members are read and none is removed | [`set`] | O(n log n) |
//! | counter | all add the same amount | [`counter`] | O(n log n) |
//! | stack | likewise | [`stack`] | O(n · depth), at most O(n²) |
//!
//! A moment is never shared by two events, so that `<` between moments is all that real time says. Pending operations return
//! at [`NEVER`](crate::history::NEVER), behind every moment.

pub(crate) mod bag;
pub(crate) mod cell;
pub(crate) mod counter;
pub(crate) mod cover;
pub(crate) mod fifo;
mod numbers;
pub(crate) mod set;
pub(crate) mod smallest;
pub(crate) mod stack;
pub(crate) mod stale;

pub use stale::Staleness;

use crate::budget::{Budget, Spent};
use crate::history::{Call, History};

/// What an algorithm says of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It holds. The order stands by places of calls; it is empty where the algorithm makes none.
    Holds(&'static str, Vec<u32>),
    /// It does not.
    Refuted(Refuted),
    /// It is none that the algorithm takes: why.
    Passed(String),
    /// The budget was spent before an end.
    Spent(Spent),
}

/// Why a part does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuted {
    /// The algorithm.
    pub by: &'static str,
    /// The kind of violation.
    pub kind: &'static str,
    /// In words, with the operations.
    pub words: String,
    /// Places of calls that cannot be ordered even without all others.
    pub guilty: Vec<u32>,
}

/// What an algorithm may ask for: words for operations, and whether to go on.
pub struct Case<'a, 'b> {
    /// The history the calls are from.
    pub history: &'a History,
    /// Time and memory.
    pub budget: &'a mut Budget<'b>,
}

impl Case<'_, '_> {
    /// A call in words.
    fn show<A>(&self, call: &Call<A>) -> String {
        self.history.show(call.source)
    }
}

impl From<Spent> for Answer {
    fn from(spent: Spent) -> Self {
        Self::Spent(spent)
    }
}

/// So many calls, and an algorithm that can give an order gives it; longer ones nobody reads.
const ORDERED: usize = 1 << 17;

/// No call, no item.
const NONE: u32 = u32::MAX;
