//! Searches a small configuration to its end: `cargo run -p quorate-protocol --example search -- NAME [STATES [MUTANT]]`.
//! Without a name it lists them. A mutant needs `--features mutants`.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "the tests' harness, of which this uses a part")]
#![allow(clippy::disallowed_methods, reason = "a command has arguments")]
#![allow(clippy::unwrap_used, reason = "a test may fail so")]

#[path = "../tests/raft/checker.rs"]
mod checker;
#[path = "../tests/raft/cluster.rs"]
mod cluster;
#[path = "../tests/raft/search.rs"]
mod search;
#[path = "../tests/raft/trace.rs"]
mod trace;

use quorate_protocol::raft::Mutant;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().map(String::as_str);
    let Some(setup) = search::SETUPS.iter().find(|s| Some(s.name) == name) else {
        for setup in search::SETUPS {
            println!("{:14} {}", setup.name, setup.about);
        }
        return ExitCode::from(2);
    };
    let limit = args.get(1).and_then(|s| s.parse().ok()).unwrap_or(usize::MAX);
    let mutant = args.get(2).and_then(|name| Mutant::named(name));
    let (cluster, budget) = (setup.start)(mutant);
    match search::search(cluster, budget, limit) {
        Ok(report) => {
            println!("{}: {report}", setup.name);
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{}: {why}", setup.name);
            ExitCode::FAILURE
        }
    }
}
