//! Searches a small configuration to its end: `cargo run -p quorate-protocol --example search -- NAME [STATES [MUTANT]]`.
//! Without a name it lists them. A mutant needs `--features mutants`. Words as `timeouts=2` change a budget.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "the tests' harness, of which this uses a part")]
#![allow(clippy::disallowed_methods, reason = "a command has arguments")]
#![allow(clippy::unwrap_used, reason = "a test may fail so")]

#[path = "../tests/raft/checker.rs"]
mod checker;
#[path = "../tests/raft/cluster.rs"]
mod cluster;
#[path = "../tests/raft/locals.rs"]
mod locals;
#[path = "../tests/raft/search.rs"]
mod search;
#[path = "../tests/raft/setups.rs"]
mod setups;
#[path = "../tests/raft/trace.rs"]
mod trace;

use quorate_protocol::raft::Mutant;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (changes, args): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.contains('='));
    let name = args.first().map(String::as_str);
    let Some(setup) = setups::SETUPS.iter().find(|s| Some(s.name) == name) else {
        for setup in setups::SETUPS {
            let (_, budget) = (setup.start)(None);
            println!("{:14} {} ({budget})", setup.name, setup.about);
        }
        return ExitCode::from(2);
    };
    let limit = args.get(1).and_then(|s| s.parse().ok()).unwrap_or(usize::MAX);
    let mutant = args.get(2).and_then(|name| Mutant::named(name));
    let (cluster, mut budget) = (setup.start)(mutant);
    if let Some(wrong) = changes.iter().find(|c| !budget.set(c)) {
        println!("there is no budget to change by {wrong}");
        return ExitCode::from(2);
    }
    let mut search = search::Search::new(&cluster, budget);
    let complete = match search.run(limit) {
        Ok(complete) => complete,
        Err(why) => {
            println!("{}: {why}", setup.name);
            return ExitCode::FAILURE;
        }
    };
    println!("{}: {}", setup.name, search.report(complete));
    for (what, sought) in setup.visits {
        let visited = search.visits(*sought);
        println!("  {}: {what}", if visited { "visited" } else { "not visited" });
        if complete && !visited {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
