//! `quorate verify`: real processes, real faults, and a verdict.

use crate::probe::time;
use crate::report::{Problem, say};
use quorate_verify::plan::{BadPlan, Plan};
use quorate_verify::report::Report;
use quorate_verify::run::{Progress, Told, Trouble};
use quorate_verify::{catalog, report, run, standing};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

/// What cannot be run ends with this.
const BAD_INPUT: u8 = 3;
/// A run that came to no verdict ends with this.
const UNKNOWN: u8 = 2;

/// Break a real cluster under real clients, and judge what they saw
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The system that is started and broken
    #[arg(long, value_name = "TARGET", default_value = "quorate")]
    target: String,
    /// Its program [default: this program, or the one of that name in PATH]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// What clients do
    #[arg(long, value_name = "NAME[,NAME...]", value_delimiter = ',', default_value = "register")]
    workload: Vec<String>,
    /// What is broken; `none` for nothing, `all` for all that works on the target, as without this
    #[arg(long, value_name = "NAME[,NAME...]", value_delimiter = ',')]
    nemesis: Vec<String>,
    /// Faults that may stand at once [default: 2 where several are named, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=5))]
    overlap: Option<u64>,
    /// How long things break
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "30s")]
    time: Duration,
    /// What all chance comes from [default: drawn, and told]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Nodes [default: as many as the target usually has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: Option<u8>,
    /// Clients of each workload, each a process
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    clients: u64,
    /// Shards of their own for the tables of workloads that begin with `table-`; transactions go over several then
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    shards: u32,
    /// Operations a second and client, at most
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,
    /// The processes of a system that runs already, one a node: it is paused and let go on, and nothing else
    #[arg(long, value_name = "PID[,PID...]", value_delimiter = ',', requires = "endpoints")]
    pids: Vec<u32>,
    /// Where clients reach its nodes, in the same order
    #[arg(long, value_name = "URL[,URL...]", value_delimiter = ',', requires = "pids")]
    endpoints: Vec<String>,
    /// Each client stays with its node, whatever happens
    #[arg(long)]
    pinned: bool,
    /// Isolation of transactions, where the target has a choice
    #[arg(long, value_name = "LEVEL")]
    isolation: Option<String>,
    /// Where the report goes; new or empty [default: quorate-verify/N]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Keep the nodes' data also where nothing was found
    #[arg(long)]
    keep: bool,
    /// Speak JSON: the summary, on one line
    #[arg(long)]
    json: bool,
    /// Say what there is, what works on what, and what it is good for
    #[arg(long, conflicts_with_all = ["recheck", "heal"])]
    list: bool,
    /// Judge the histories of an old report again
    #[arg(long, value_name = "DIR", conflicts_with = "heal")]
    recheck: Option<PathBuf>,
    /// End what a run left behind that was killed together with its guardian
    #[arg(long, value_name = "DIR")]
    heal: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  quorate verify                                          half a minute of everything on three nodes
  quorate verify --workload register --nemesis kill,pause --time 5m --seed 17
  quorate verify --target etcd --nemesis partition
  quorate verify --pids 101,102,103 --endpoints http://127.0.0.1:2379,http://127.0.0.1:22379,http://127.0.0.1:32379
  quorate verify --list
  quorate verify --recheck quorate-verify/3

Exit codes of this command: 0 all that was promised held, 1 violated, 2 nobody knows (also where a fault had no effect,
or a signal ended the run), 3 the run makes no sense or cannot be made here. Ctrl-C cleans up; after kill -9 a guardian
does.";

/// Runs it.
pub(crate) fn run(args: &Args) -> ExitCode {
    if args.list {
        say(catalog::words().trim_end());
        return ExitCode::SUCCESS;
    }
    if let Some(folder) = &args.heal {
        return heal(folder, args.json);
    }
    if let Some(folder) = &args.recheck {
        return match report::recheck(folder) {
            Ok(report) => end(args, &report),
            Err(why) => bad(&BadPlan::new(why, "name the folder of a report that a run has finished")),
        };
    }
    let plan = match plan(args) {
        Ok(plan) => plan,
        Err(bad_plan) => return bad(&bad_plan),
    };
    if let Err(trouble) = run::ready(&plan) {
        return not_begun(args, &plan, &trouble);
    }
    if !args.json {
        say(&format!("verify: seed {}, report in {}", plan.seed, plan.report.display()));
    }
    match run::run(&plan, progress(args.json)) {
        Ok(report) => {
            clear_line(args.json);
            end(args, &report)
        }
        Err(trouble) => {
            clear_line(args.json);
            not_begun(args, &plan, &trouble)
        }
    }
}

fn not_begun(args: &Args, plan: &Plan, trouble: &Trouble) -> ExitCode {
    if args.report.is_none() && matches!(trouble, Trouble::Plan(_)) {
        // It was made for a run that there was none of.
        let _ = std::fs::remove_dir(&plan.report);
    }
    stopped(trouble, plan)
}

/// A client of a run, hidden: it takes its orders on standard input.
pub(crate) fn client() -> ExitCode {
    told(quorate_verify::client())
}

/// The guardian of a run, hidden.
pub(crate) fn guardian(report: &Path) -> ExitCode {
    told(standing::guard(report))
}

fn told(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn plan(args: &Args) -> Result<Plan, BadPlan> {
    let alone = args.nemesis.iter().find(|name| matches!(name.as_str(), "none" | "all"));
    if let Some(alone) = alone.filter(|_| args.nemesis.len() > 1) {
        let what = format!("--nemesis {alone} stands alone, with no other beside it");
        return Err(BadPlan::new(
            what,
            "none breaks nothing, all breaks everything: leave it out, or the others",
        ));
    }
    let nemeses = match &args.nemesis[..] {
        [] if !args.pids.is_empty() => catalog::UNDONE.map(str::to_string).to_vec(),
        [] => catalog::nemeses_of(&args.target),
        [none] if none == "none" => Vec::new(),
        [all] if all == "all" => catalog::nemeses_of(&args.target),
        named => named.to_vec(),
    };
    Ok(Plan {
        target: args.target.clone(),
        binary: args.binary.clone(),
        pids: args.pids.clone(),
        endpoints: args.endpoints.clone(),
        workloads: args.workload.clone(),
        overlap: args.overlap.unwrap_or(if nemeses.len() > 1 { 2 } else { 1 }),
        nemeses,
        nodes: usize::from(args.nodes.unwrap_or(0)),
        shards: args.shards,
        clients: args.clients,
        rate: args.rate,
        time: args.time,
        seed: args.seed.unwrap_or_else(drawn),
        pinned: args.pinned,
        isolation: args.isolation.clone(),
        report: match &args.report {
            Some(report) => report.clone(),
            None => next_report()?,
        },
        keep: args.keep,
    })
}

/// A seed that is short enough to be typed.
fn drawn() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() % 1_000_000
}

/// The first of quorate-verify/1, /2 and so on that is not there.
fn next_report() -> Result<PathBuf, BadPlan> {
    let home = Path::new("quorate-verify");
    let made = std::fs::create_dir_all(home).and_then(|()| {
        for n in 1_u64.. {
            match std::fs::create_dir(home.join(n.to_string())) {
                Ok(()) => return Ok(home.join(n.to_string())),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Ok(home.into())
    });
    made.map_err(|e| {
        BadPlan::new(format!("cannot make a folder for the report: {e}"), "name one with --report")
    })
}

/// One line that is written over, on a terminal.
fn progress(json: bool) -> Told {
    let terminal = !json && std::io::stderr().is_terminal();
    Rc::new(move |progress: &Progress| {
        if terminal {
            let Progress { phase, elapsed, operations, faults } = progress;
            let mut err = std::io::stderr();
            let s = elapsed.as_secs();
            let _ = write!(err, "\r\x1b[K{s:>4} s  {operations} operations  {faults} faults  {phase}");
            let _ = err.flush();
        }
    })
}

fn clear_line(json: bool) {
    if !json && std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}

fn end(args: &Args, report: &Report) -> ExitCode {
    if args.json {
        say(&serde_json::to_string(report).unwrap_or_default());
    } else {
        say(report.words().trim_end());
    }
    report.verdict.exit().into()
}

fn bad(bad: &BadPlan) -> ExitCode {
    Problem::new(crate::report::Exit::Failed, bad.what.clone(), bad.hint.clone()).print();
    BAD_INPUT.into()
}

fn stopped(trouble: &Trouble, plan: &Plan) -> ExitCode {
    let logs = format!("see {}", plan.report.join("logs").display());
    let problem = |what: &str, hint: &str| Problem::new(crate::report::Exit::Failed, what, hint).print();
    match trouble {
        Trouble::Plan(bad_plan) => return bad(bad_plan),
        Trouble::Failed(why) => problem(why, &logs),
        Trouble::Interrupted => problem("interrupted: everything is cleaned up, nothing was judged", ""),
    }
    UNKNOWN.into()
}

fn heal(folder: &Path, json: bool) -> ExitCode {
    let healed = match standing::heal(folder) {
        Ok(healed) => healed,
        Err(error) => {
            let what = format!("{}: {error}", folder.join(standing::FILE).display());
            return bad(&BadPlan::new(what, "name the folder of a report"));
        }
    };
    if json {
        say(&serde_json::to_string(&healed).unwrap_or_default());
    } else {
        healed.ended.iter().for_each(|name| say(&format!("ended {name}")));
        healed.resumed.iter().for_each(|name| say(&format!("let go on {name}")));
        healed.removed.iter().for_each(|path| say(&format!("removed {}", path.display())));
        healed.left.iter().for_each(|what| say(&format!("left {what}")));
        if healed == standing::Healed::default() {
            say("nothing was left");
        }
    }
    if healed.left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
