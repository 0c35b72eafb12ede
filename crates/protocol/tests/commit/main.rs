//! Transactions over several shards, tested: scripts one can read, random schedules, exhaustive search of small configurations.
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]
#![allow(clippy::disallowed_methods, reason = "scripts are files, and a run is chosen by the environment")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail so")]

mod gateways;
mod judge;
mod leaders;
mod mutants;
mod participants;
mod properties;
mod script;
#[path = "../scripts/mod.rs"]
mod scripts;
mod search;
mod show;
mod toy;
mod world;
