//! The `quorate` binary: it parses, calls and prints. What happens stands in the crates it composes.

mod bench;
mod check;
mod doctor;
mod etcd;
mod evidence;
mod fence;
mod hold;
mod kv;
mod node;
mod plan;
mod probe;
mod report;
mod serve;
mod sim;
mod snapshot;
mod space;
mod status;
mod up;
mod verify;

use clap::{Parser, Subcommand};
use report::{EXIT_CODES, Exit, Problem, all_said};
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
    /// Run one node by etcd's own flags and variables
    Etcd(etcd::Args),
    /// Show members, roles, terms, lag, and what is unhealthy
    Status(status::Args),
    /// Add, promote, remove and replace members
    Node(node::Args),
    /// Read, write and watch keys
    Kv(kv::Args),
    /// Run a command while holding a lock
    Lock(hold::LockArgs),
    /// Run a command while being the leader
    Elect(hold::ElectArgs),
    /// Show and drop fencing tokens
    Fence(fence::Args),
    /// Measure a cluster
    Bench(bench::Args),
    /// Save a cluster's keys and tables into a file, look into one, make a new cluster of one
    Snapshot(snapshot::Args),
    /// Make, show, change and drop tables with a policy; export them into files, and import such files
    Space(space::Args),
    /// Read all of a data directory and name what is damaged
    Doctor(doctor::Args),
    /// Say what a promise costs, or why it cannot be had; needs no cluster
    Plan(Box<plan::Args>),
    /// Run whole clusters in one process, from seeds
    Sim(sim::Args),
    /// Judge histories of any system: are they what it promised?
    Check(check::Args),
    /// Break a real cluster under real clients, and judge what they saw
    Verify(Box<verify::Args>),
    /// Ends a command whose holder was killed
    #[command(hide = true, name = hold::guardian::COMMAND)]
    HoldGuardian,
    /// A client of `verify`; it takes its orders on standard input
    #[command(hide = true)]
    VerifyClient,
    /// Cleans up when `verify` is gone
    #[command(hide = true)]
    VerifyGuardian {
        /// The report's folder
        report: std::path::PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return check::refuse_usage(&error),
    };
    let done = match cli.command {
        Command::Up(args) => up::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Etcd(args) => etcd::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Node(args) => node::run(&args),
        Command::Kv(args) => kv::run(&args),
        Command::Lock(args) => hold::lock(&args),
        Command::Elect(args) => hold::elect(&args),
        Command::HoldGuardian => {
            hold::guardian::run();
            Ok(())
        }
        Command::Fence(args) => fence::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Snapshot(args) => snapshot::run(&args),
        Command::Space(args) => space::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Verify(args) => return judged(verify::run(&args)),
        Command::VerifyClient => return verify::client(),
        Command::VerifyGuardian { report } => return verify::guardian(&report),
        Command::Check(args) => return judged(check::run(&args)),
    };
    finish(done)
}

/// What a command waits for a cluster with.
///
/// # Errors
///
/// The system gives no more of what it is made of.
fn runtime() -> Result<tokio::runtime::Runtime, Problem> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::new(Exit::Failed, format!("the runtime did not start: {e}"), ""))
}

/// Says what went wrong, if anything did.
fn finish(done: Result<(), Problem>) -> ExitCode {
    match done.and_then(|()| all_said()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            problem.print();
            problem.exit.into()
        }
    }
}

/// The end of what judges by its exit code: a good judgement that could not be written down is none.
fn judged(code: ExitCode) -> ExitCode {
    match all_said() {
        Err(problem) if code == ExitCode::SUCCESS => {
            problem.print();
            ExitCode::from(3)
        }
        _ => code,
    }
}
