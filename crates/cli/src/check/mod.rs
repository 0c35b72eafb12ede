//! `quorate check`: judges histories of any system against what it promised.
//!
//! Files are read and judged one beside the other; of one file its keys are. Which thread judges what decides nothing.
//! What is a verdict and how it is found stands in the crate `quorate-check`; here are files, time, threads and words.

mod expect;
mod follow;
mod html;
mod input;
mod lists;
mod print;
mod table;
mod txns;
mod whole;
mod work;

use crate::report::{self, Problem};
use std::path::PathBuf;
use std::process::ExitCode;
use work::{Found, Summary};

/// What is meant of transactions without `--level`.
const DEFAULT_LEVEL: &str = "strict-serializable";

/// Judge histories of any system: are they what it promised?
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Histories: files, folders, or - for standard input
    #[arg(value_name = "FILE", required_unless_present_any = ["models", "levels", "explain"])]
    files: Vec<PathBuf>,
    /// What the object is: register, cas-register, kv, queue, …; of transactions list-append, rw-register or predicate.
    /// --models lists them. It may be left out where --level names a level of transactions: then it is looked for
    #[arg(long, short, value_name = "NAME")]
    model: Option<String>,
    /// What it holds at first, in EDN [default: nil, or what is empty for the model]
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    initial: Option<String>,
    /// What it promised: of objects, several with commas, linearizable, sequential, causal, pram, … or all; of transactions one
    /// from read-uncommitted to strict-serializable, --levels lists these [default with a --model: linearizable, or of transactions strict-serializable]
    #[arg(long, short, value_name = "NAME", value_delimiter = ',', alias = "consistency-models")]
    level: Vec<String>,
    /// Of registers in transactions: assume an order of their versions: linearizable-keys, sequential-keys, wfr-keys
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    assume: Vec<String>,
    /// Of registers in transactions: settle by search what is left open
    #[arg(long)]
    complete: bool,
    /// Are values [key value] pairs, as Jepsen's independent workloads write them? [default: by looking]
    #[arg(long, value_name = "BOOL")]
    tuples: Option<bool>,
    /// Measure too how stale reads of a register were by the versions that its writes carry
    #[arg(long)]
    staleness: bool,
    /// Compare with this list of verdicts: a file's name, then linearizable or not linearizable
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Seconds for each file; then its verdict is unknown
    #[arg(long, value_name = "S", default_value_t = 60.0, value_parser = seconds, allow_hyphen_values = true)]
    time: f64,
    /// MiB for the search of each file; then its verdict is unknown
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..))]
    memory: u64,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Say more: what was chosen and why, the witness of each file. Without files: what can be decided at which cost
    #[arg(long)]
    explain: bool,
    /// Judge one file (or standard input) while it grows; end at the first violation
    #[arg(long, conflicts_with_all = ["expect", "html", "junit"])]
    follow: bool,
    /// With --follow: the run is over when nothing came for so many seconds [default: at the end of a pipe; never]
    #[arg(long, value_name = "S", requires = "follow", value_parser = seconds)]
    idle: Option<f64>,
    /// With --follow: run this by `sh -c` at the first violation, to stop the run
    #[arg(long, value_name = "COMMAND", requires = "follow")]
    on_violation: Option<String>,
    /// Speak JSON: one line a file, one at the end
    #[arg(long)]
    json: bool,
    /// Write a `JUnit` report there
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a page with the timeline there; with several files a folder of pages
    #[arg(long, value_name = "PATH")]
    html: Option<PathBuf>,
    /// List the models and what they know
    #[arg(long)]
    models: bool,
    /// List the levels of transactions
    #[arg(long)]
    levels: bool,
}

const HELP: &str = "\
Histories: Jepsen's EDN (one vector, or one map a line), lines of Jepsen's logs, JSON Lines (docs/history.schema.json);
transactions in Elle's EDN or as JSON Lines (docs/transactions.schema.json). docs/transactions.md explains.

Examples:
  quorate check history.edn --model cas-register
  quorate check runs/ --model register --initial 0 --expect VERDICTS.txt
  quorate check queue.jsonl --model queue --json
  quorate check txns.jsonl --level strict-serializable --html report.html
  quorate check transfers.edn --model bank --initial '{0 50, 1 50}'
  quorate check registers.edn --model rw-register --level snapshot-isolation --complete
  grep jepsen.util jepsen.log | quorate check - --model mutex
  quorate check run.edn --model register --level all --html report.html
  quorate check --follow run.jsonl --model register --on-violation 'kill $(cat run.pid)'
  ./run-test | quorate check --follow - --model register
  quorate check --explain

Exit codes:
  0  it holds, or all is as expected
  1  it is violated, or something is not as expected
  2  unknown: the time or the memory was spent before an end
  3  bad input, or a command line that makes no sense
With several files the worst decides: bad input, violated, unknown, holds.";

/// The exit codes of this command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    Holds = 0,
    Violated = 1,
    Unknown = 2,
    BadInput = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e9 => Ok(seconds),
        _ => Err("give seconds, above 0".into()),
    }
}

/// Says what is wrong with a command line. The exit code 2 that is usual for that means `unknown` to this command's callers.
pub(crate) fn refuse_usage(error: &clap::Error) -> ExitCode {
    let is_check = std::env::args_os().nth(1).is_some_and(|word| word == "check" || word == "verify");
    let _ = error.print();
    if error.exit_code() != 0 && !is_check {
        report::refused_usage(&error.to_string());
    }
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if is_check => Exit::BadInput.into(),
        code => ExitCode::from(u8::try_from(code).unwrap_or(2)),
    }
}

/// Judges them.
pub(crate) fn run(args: &Args) -> ExitCode {
    if args.models || args.levels {
        match (args.models, args.json) {
            (true, true) => lists::models_json(),
            (true, false) => lists::models(),
            _ => {}
        }
        match (args.levels, args.json) {
            (true, true) => lists::levels_json(),
            (true, false) => lists::levels(),
            _ => {}
        }
        return Exit::Holds.into();
    }
    if args.files.is_empty() {
        table::print();
        return Exit::Holds.into();
    }
    let done = if args.follow { follow::run(args) } else { judge_all(args) };
    match done {
        Ok(exit) => exit.into(),
        Err(problem) => {
            problem.print();
            Exit::BadInput.into()
        }
    }
}

fn judge_all(args: &Args) -> Result<Exit, Problem> {
    let invariant = args.invariant()?;
    let txns = if invariant.is_some() { None } else { txns::Asked::of(args)? };
    let asked = invariant
        .as_ref()
        .map(|asked| asked as &(dyn work::Asks + Sync))
        .or_else(|| txns.as_ref().map(|asked| asked as &(dyn work::Asks + Sync)));
    if asked.is_none() {
        work::check_names(args)?;
    }
    let expected = args.expect.as_ref().map(|path| expect::Expected::read(path, &args.files)).transpose()?;
    let files = input::files(&args.files, expected.as_ref().map(|expected| expected.path.as_path()))?;
    let mut summary = Summary::default();
    let several = files.len() > 1;
    let found = work::judge(args, asked, &files, |found: &Found| {
        let surprise = expected.as_ref().and_then(|expected| expected.surprise(found));
        print::file(args, found, surprise.as_deref(), several);
        summary.add(found, surprise.is_some());
    });
    if let Some(expected) = &expected {
        for name in expected.missing(&found) {
            eprintln!("expected, but not there: {name}");
            summary.surprises += 1;
        }
    }
    print::summary(args, &summary, expected.is_some(), several);
    if let Some(path) = &args.junit {
        print::junit(path, args, &found, expected.as_ref())?;
    }
    if let Some(path) = &args.html {
        html::write(path, args, &found)?;
    }
    Ok(summary.exit(expected.is_some()))
}
