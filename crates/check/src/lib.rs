//! Checks histories of any system against what it promised. It knows nothing of Quorate, no clock, file or thread.
//!
//! The way of a history: a *format* reads bytes into operations ([`history`], values interned in [`value`]) or into
//! transactions; a *judge* for a model and a level looks at what is there, chooses an algorithm that decides it, and gives
//! a three-valued [`verdict`]; a *report* prints it. Everything that can run long asks its [`budget`].
//!
//! Order in a history is the order of appearance; an interval is closed, so that operations that touch are concurrent.

mod brute;
pub mod budget;
pub mod etcd;
pub mod fast;
pub mod history;
pub mod invariants;
pub mod judge;
pub mod logs;
mod machine;
pub mod model;
pub mod models;
pub mod promises;
pub mod read;
pub mod search;
pub mod sessions;
mod shrink;
mod table;
pub mod txn;
pub mod value;
pub mod verdict;
pub mod versions;
pub mod watches;
