//! Judges of transactions against brute force over their axioms.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

mod anomalies;
mod cores;
mod lists;
mod oracle;
mod rows;
