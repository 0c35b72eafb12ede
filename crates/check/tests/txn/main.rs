//! Judges of transactions against brute force over their axioms.

mod lists;
mod oracle;
