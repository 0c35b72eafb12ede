//! Raft, tested: scripts one can read, directed cases, random schedules, exhaustive search of small configurations.
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]
#![allow(clippy::disallowed_methods, reason = "scripts are files, and a run is chosen by the environment")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail so")]

mod checker;
mod cluster;
mod confused;
mod locals;
mod mutants;
mod plain;
mod properties;
mod script;
#[path = "../scripts/mod.rs"]
mod scripts;
mod search;
mod setups;
mod single;
mod steady;
mod trace;
