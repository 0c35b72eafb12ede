//! Raft, tested: scripts one can read, directed cases, random schedules, exhaustive search of small configurations.
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]

mod checker;
mod cluster;
mod mutants;
mod properties;
mod script;
mod search;
mod trace;
