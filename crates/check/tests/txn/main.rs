//! Judges of transactions against brute force over their axioms.

mod anomalies;
mod lists;
mod oracle;
mod rows;
