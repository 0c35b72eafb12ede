//! Judges of transactions against brute force over their axioms.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]
#![allow(
    clippy::disallowed_methods,
    reason = "which part of the long ones is asked for is said by the environment"
)]

mod anomalies;
mod budgets;
mod cores;
mod larger;
mod lists;
mod oracle;
mod rows;
#[path = "../common/slice.rs"]
mod slice;
mod tally;
