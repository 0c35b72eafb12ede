//! The `quorate` binary: it parses, calls and prints. What happens stands in the crates it composes.

mod bench;
mod doctor;
mod kv;
mod plan;
mod probe;
mod report;
mod serve;
mod sim;
mod snapshot;
mod status;
mod up;

use clap::{Parser, Subcommand};
use report::{EXIT_CODES, Problem};
use std::process::ExitCode;

/// Requests and memtables are many small pieces: with the system's allocator a tenth of a write's processor time went into
/// giving and taking them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A distributed data store that says what its promises cost.
#[derive(Parser)]
#[command(name = "quorate", version, about, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a cluster of processes on this machine
    Up(up::Args),
    /// Run one node
    Serve(Box<serve::Args>),
    /// Show members, roles, terms, lag, and what is unhealthy
    Status(status::Args),
    /// Read, write and watch keys
    Kv(kv::Args),
    /// Measure a cluster
    Bench(bench::Args),
    /// Save a space into a file, look into one, make a new cluster of one
    Snapshot(snapshot::Args),
    /// Read all of a data directory and name what is damaged
    Doctor(doctor::Args),
    /// Say what a promise costs, or why it cannot be had; needs no cluster
    Plan(Box<plan::Args>),
    /// Run whole clusters in one process, from seeds
    Sim(sim::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Up(args) => up::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Kv(args) => kv::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Snapshot(args) => snapshot::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Sim(args) => sim::run(&args),
    };
    finish(done)
}

/// Says what went wrong, if anything did.
fn finish(done: Result<(), Problem>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            problem.print();
            problem.exit.into()
        }
    }
}
