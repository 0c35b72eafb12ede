//! The names of what can be wrong with transactions, and the cycles among them.
//!
//! Names are those of Elle (Kingsbury and Alvaro, VLDB 2020), after Adya's thesis (1999); "fractured-read" and "OTV"
//! (observed transaction vanishes) are those of Bailis and others (2014). A cycle is named after its edges:
//!
//! | name | edges |
//! | --- | --- |
//! | G0 | ww only: writes interleave |
//! | G1c | ww and wr: information flows in a circle |
//! | G-single | exactly one rw (read skew; on one key: lost update) |
//! | G-nonadjacent | two rw or more, no two of them in a row (long fork) |
//! | G2-item | two rw in a row (write skew) |
//!
//! `-process` is added where the order of a process is needed for it, `-realtime` where real time is.

use super::graph::{Edge, Kind};
use super::history::Id;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// One read holds an element twice.
    DuplicateElements,
    /// A read saw an element that nobody wrote.
    Garbage,
    /// Two reads of a key, neither a beginning of the other; or a read of a transaction's appends out of their order.
    IncompatibleOrder,
    /// A read saw a write of a transaction that failed.
    G1a,
    /// A read saw a write that its transaction later overwrote.
    G1b,
    /// A transaction that holds built on a write of one that failed.
    DirtyUpdate,
    /// A transaction's reads contradict its own earlier reads and writes.
    Internal,
    /// A transaction read its own later write.
    FutureRead,
    /// Two transactions read the same version and both wrote the next one.
    LostUpdate,
    /// A read after a completed append does not see it, and no read ever does.
    LostAppend,
    /// A transaction saw another's write, and then missed another write of the same.
    Otv,
    /// A transaction saw one write of another and missed another write of the same.
    FracturedRead,
    /// A transaction missed a write that causally precedes it.
    CausalViolation,
    /// A cycle.
    Cycle(Shape, Class),
    /// A cycle that needs what a read of a range did not find, or found.
    Phantom(Shape, Class),
}

/// The names of cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Only ww.
    G0,
    /// Only ww and wr.
    G1c,
    /// One rw.
    GSingle,
    /// Several rw, none beside another.
    GNonadjacent,
    /// Two rw in a row.
    G2Item,
}

/// Which order beside the inferred one a cycle needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// None.
    Plain,
    /// That of a process.
    Process,
    /// Real time.
    Realtime,
}

/// All shapes, the least first.
pub const SHAPES: [Shape; 5] = [Shape::G0, Shape::G1c, Shape::GSingle, Shape::GNonadjacent, Shape::G2Item];

/// All classes, the least first.
pub const CLASSES: [Class; 3] = [Class::Plain, Class::Process, Class::Realtime];

impl Anomaly {
    /// Its name.
    pub fn name(self) -> String {
        let name = match self {
            Self::DuplicateElements => "duplicate-elements",
            Self::Garbage => "garbage-read",
            Self::IncompatibleOrder => "incompatible-order",
            Self::G1a => "G1a",
            Self::G1b => "G1b",
            Self::DirtyUpdate => "dirty-update",
            Self::Internal => "internal",
            Self::FutureRead => "future-read",
            Self::LostUpdate => "lost-update",
            Self::LostAppend => "lost-append",
            Self::Otv => "OTV",
            Self::FracturedRead => "fractured-read",
            Self::CausalViolation => "causal-violation",
            Self::Cycle(shape, class) => return format!("{}{}", shape.name(), class.suffix()),
            Self::Phantom(shape, class) => return format!("{}-predicate{}", shape.whole(), class.suffix()),
        };
        name.to_owned()
    }

    /// What it means, in one sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Phantom(..) => {
                "phantom: a circle in which a read of a range missed, or saw, rows that came or went"
            }
            Self::DuplicateElements => "a read holds the same element twice, though it was appended once",
            Self::Garbage => "a read saw an element that no transaction wrote",
            Self::IncompatibleOrder => {
                "reads of one key contradict each other, or the order in which a transaction appended"
            }
            Self::G1a => "aborted read: a write of a failed transaction was seen",
            Self::G1b => "intermediate read: a write was seen that its own transaction followed by another",
            Self::DirtyUpdate => "a transaction wrote on top of a failed transaction's write",
            Self::Internal => "a transaction's reads contradict what it had itself read or written before",
            Self::FutureRead => "a transaction read its own write before it made it",
            Self::LostUpdate => "two transactions read the same version and both wrote the next one (P4)",
            Self::LostAppend => "an acknowledged append was not seen by a later read, nor by any other",
            Self::Otv => {
                "observed transaction vanishes: having seen a write of a transaction, a later read missed another"
            }
            Self::FracturedRead => "a transaction saw one write of another transaction and missed another",
            Self::CausalViolation => "a transaction missed a write that causally precedes it",
            Self::Cycle(Shape::G0, _) => "write cycle: transactions overwrote each other in a circle",
            Self::Cycle(Shape::G1c, _) => {
                "circular information flow: each saw or overwrote the next one's writes"
            }
            Self::Cycle(Shape::GSingle, _) => {
                "read skew: a circle in which exactly one transaction missed a write"
            }
            Self::Cycle(Shape::GNonadjacent, _) => {
                "a circle in which several transactions missed writes, no two of them in a row (long fork)"
            }
            Self::Cycle(Shape::G2Item, _) => {
                "a circle in which two transactions in a row missed writes (write skew)"
            }
        }
    }
}

impl Shape {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::G0 => "G0",
            Self::G1c => "G1c",
            Self::GSingle => "G-single",
            Self::GNonadjacent => "G-nonadjacent",
            Self::G2Item => "G2-item",
        }
    }
}

impl Shape {
    /// Its name where predicates are part of it.
    fn whole(self) -> &'static str {
        if self == Self::G2Item { "G2" } else { self.name() }
    }
}

impl Class {
    /// What it adds to a name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Process => "-process",
            Self::Realtime => "-realtime",
        }
    }

    /// The kinds of edges that it adds.
    pub fn bits(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Process => Kind::Process.bit(),
            Self::Realtime => Kind::Realtime.bit(),
        }
    }
}

/// What a level may forbid of cycles. Each allows what its predecessor on the line G0, G1c, `OneRw`, `NonadjacentRw`, `Any`
/// forbids no more; `SeenRw` and `OneReader` stand beside that line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Only ww.
    Ww,
    /// No rw.
    NoRw,
    /// At most one rw.
    OneRw,
    /// Before each rw stands an edge by which its reader saw something: what prefix consistency forbids.
    SeenRw,
    /// No two rw in a row.
    NonadjacentRw,
    /// At most one transaction that only reads: what update serializability forbids.
    OneReader,
    /// Any cycle.
    Any,
}

/// All patterns.
pub const PATTERNS: [Pattern; 7] = [
    Pattern::Ww,
    Pattern::NoRw,
    Pattern::OneRw,
    Pattern::SeenRw,
    Pattern::NonadjacentRw,
    Pattern::OneReader,
    Pattern::Any,
];

/// A cycle of transactions: the edges in their order, each from where the one before leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Its edges.
    pub edges: Vec<Edge>,
    /// How many of its transactions only read.
    pub readers: usize,
}

impl Cycle {
    /// Its transactions in order.
    pub fn txns(&self) -> impl Iterator<Item = Id> + '_ {
        self.edges.iter().map(|edge| edge.from)
    }

    /// The order that it needs beside the inferred one.
    pub fn class(&self) -> Class {
        let has = |kind| self.edges.iter().any(|edge| edge.kind == kind);
        match () {
            () if has(Kind::Realtime) => Class::Realtime,
            () if has(Kind::Process) => Class::Process,
            () => Class::Plain,
        }
    }

    /// Its name.
    pub fn shape(&self) -> Shape {
        match self.edges.iter().filter(|edge| edge.kind == Kind::Rw).count() {
            0 if self.edges.iter().any(|edge| edge.kind == Kind::Wr) => Shape::G1c,
            0 => Shape::G0,
            1 => Shape::GSingle,
            _ if self.admits(Pattern::NonadjacentRw) => Shape::GNonadjacent,
            _ => Shape::G2Item,
        }
    }

    /// True where a level that forbids the pattern forbids this cycle.
    pub fn admits(&self, pattern: Pattern) -> bool {
        let count = |kind| self.edges.iter().filter(|edge| edge.kind == kind).count();
        let before_rw = |fits: fn(Kind) -> bool| {
            let before = self.edges.iter().cycle().skip(self.edges.len() - 1);
            before.zip(&self.edges).all(|(before, edge)| edge.kind != Kind::Rw || fits(before.kind))
        };
        match pattern {
            Pattern::Ww => count(Kind::Rw) + count(Kind::Wr) == 0,
            Pattern::NoRw => count(Kind::Rw) == 0,
            Pattern::OneRw => count(Kind::Rw) <= 1,
            Pattern::SeenRw => before_rw(|kind| !matches!(kind, Kind::Rw | Kind::Ww)),
            Pattern::NonadjacentRw => before_rw(|kind| kind != Kind::Rw),
            Pattern::OneReader => self.readers <= 1,
            Pattern::Any => true,
        }
    }
}
