//! `quorate sim`: whole clusters in one process, each from a seed, with every fault that the world knows.
//!
//! A seed decides everything; a failure is printed with the command that gives the same run again. Seeds are shared out
//! over threads, which decides nothing but who waits. How one seed is shown stands in `show`.

mod html;
mod show;
mod shrink;

use crate::report::{Exit, Problem, say};
use indicatif::{ProgressBar, ProgressStyle};
use quorate_base::time::Duration;
use quorate_sim::{BUILT_IN, Counts, Outcome, Plan, Planted, StepName, kind_of};
use serde::Serialize;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

/// As many failing seeds are shown before the run is given up.
const MOST_FAILURES: usize = 10;

/// Run whole clusters in one process, from seeds.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Run these seeds: FROM..TO, the last one left out
    #[arg(long, value_name = "FROM..TO", value_parser = range, default_value = "0..100", conflicts_with = "seed")]
    seeds: (u64, u64),
    /// Run this seed alone
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    seed: Option<u64>,
    /// Simulated seconds for which a cluster lives, at least: in rounds of about 20, of other faults each, and each judged
    #[arg(long, value_name = "S", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    span: u64,
    /// Clients
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Break nothing
    #[arg(long)]
    calm: bool,
    /// Run every seed twice and compare the digests of all events
    #[arg(long)]
    twice: bool,
    /// With this planted bug, to see it caught, or with this harmless change, to see that it raises nothing; `list` prints their names
    #[arg(long, value_name = "NAME", conflicts_with = "twice")]
    mutant: Option<String>,
    /// Leave these out of every run
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    without: Vec<Part>,
    /// Of the steps that break things only these, by the names that a trace gives them; may be empty
    #[arg(long, value_name = "STEPS", requires = "seed", conflicts_with = "seeds", value_parser = steps)]
    steps: Option<Steps>,
    /// Stop at the first seed that breaks a promise
    #[arg(long)]
    first: bool,
    /// Begin no further seed once a thread has worked for so many seconds (of processor time, where the system tells)
    #[arg(long, value_name = "S")]
    r#for: Option<u64>,
    /// Find a smaller run that breaks its promise in the same way, and print it as a scenario
    #[arg(long, requires = "seed", conflicts_with_all = ["twice", "trace", "seeds"])]
    shrink: bool,
    #[command(flatten)]
    show: show::Show,
    /// Seeds at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Speak JSON: one line at the end
    #[arg(long)]
    json: bool,
}

/// What a run may do without.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Part {
    /// Members that come and go
    Members,
    /// Fencing tokens
    Fences,
    /// Compaction, and looks at old revisions
    Compaction,
    /// Clients of tables
    Tables,
    /// Groups beside that of the key-value space
    Groups,
    /// Leases and watchers
    Doors,
    /// Disks that fail
    Disks,
    /// Packets that are lost, doubled or late
    Loss,
    /// Faults that differ from seed to seed: all at once, each at its usual pace
    Swarm,
}

impl Part {
    fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or(String::new(), |value| value.get_name().to_owned())
    }
}

const EXAMPLES: &str = "\
Examples:
  quorate sim --seeds 0..1000
  quorate sim --seed 17               one seed, with what fired in it
  quorate sim --seeds 0..20 --twice   are runs really the same?
  quorate sim --seed 17 --trace --show nodes,faults
                                      what happened, one line an event
  quorate sim --seed 17 --html 17.html
                                      the same as a diagram, to be moved and zoomed in a browser
  quorate sim --seed 17 --shrink      a smaller run that breaks its promise in the same way
  quorate sim --mutant list           the planted bugs, for a build that has them

Ends with 1 if a promise was broken; the failing seed is printed with the command that replays it.";

/// Parses `FROM..TO`.
fn range(text: &str) -> Result<(u64, u64), String> {
    let parse = |part: &str| part.parse::<u64>().map_err(|_| format!("{part:?} is not a number"));
    let (from, to) = text.split_once("..").ok_or("write FROM..TO, for example 0..1000")?;
    let (from, to) = (parse(from)?, parse(to)?);
    if from < to { Ok((from, to)) } else { Err(format!("{from}..{to} holds no seed")) }
}

/// Names of steps.
#[derive(Clone, Debug)]
struct Steps(Vec<StepName>);

/// Parses names with commas between them, or nothing.
fn steps(text: &str) -> Result<Steps, String> {
    text.split(',').filter(|name| !name.is_empty()).map(str::parse).collect::<Result<_, _>>().map(Steps)
}

/// All runs together.
#[derive(Serialize, Default, Debug)]
struct Sum {
    seeds: u64,
    events: u64,
    simulated_s: f64,
    answered: u64,
    /// The fewest operations of a seed that were answered.
    fewest_answered: u64,
    /// The fewest faults of a seed that took effect.
    fewest_faults: u64,
    faults: BTreeMap<&'static str, u64>,
    /// What there is and was never reached.
    never: Vec<&'static str>,
    failed: Vec<Failed>,
    /// With a planted bug: what was broken, and does not show it.
    beside: Vec<Failed>,
}

#[derive(Serialize, Clone, Debug)]
struct Failed {
    seed: u64,
    violation: String,
    replay: String,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        let fewest = |so_far: u64, here: u64| if self.seeds == 0 { here } else { so_far.min(here) };
        self.fewest_answered = fewest(self.fewest_answered, outcome.answered);
        self.fewest_faults = fewest(self.fewest_faults, outcome.counts.faults());
        self.seeds += 1;
        self.events += outcome.events;
        self.simulated_s += outcome.simulated.as_secs_f64();
        self.answered += outcome.answered;
        for (what, times) in &outcome.counts.0 {
            *self.faults.entry(what).or_default() += times;
        }
    }
}

thread_local! {
    /// The seed that this thread runs, for the words of a panic.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs them.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    if args.mutant.as_deref() == Some("list") {
        list(args.json);
        return Ok(());
    }
    let planted = args.mutant.as_deref().map(planted).transpose()?;
    say_seed_on_panic(args);
    args.show.check()?;
    if let Some(seed) = args.seed.filter(|_| args.shrink) {
        return shrink::run(args, planted, seed);
    }
    if let Some(seed) = args.seed.filter(|_| args.show.wanted()) {
        return show(args, planted, seed);
    }
    let (from, to) = args.seed.map_or(args.seeds, |seed| (seed, seed + 1));
    let began = std::time::Instant::now();
    let sum = run_all(args, planted, from, to);
    report(args, &sum, began.elapsed());
    match sum.failed.first().or(sum.beside.first()) {
        None => Ok(()),
        Some(first) => Err(Problem::new(
            Exit::Failed,
            format!("{} of {} seeds broke a promise", sum.failed.len() + sum.beside.len(), sum.seeds),
            format!("replay the first: {}", first.replay),
        )),
    }
}

/// Runs one seed and shows what it did.
fn show(args: &Args, planted: Option<Planted>, seed: u64) -> Result<(), Problem> {
    SEED.set(Some(seed));
    let (outcome, records) = plan(args, planted, seed).trace();
    let replay = replay(args, seed);
    args.show.show(seed, &replay, &records, args.json)?;
    match outcome.violation {
        None => Ok(()),
        Some(violation) => Err(Problem::new(Exit::Failed, violation, format!("replay: {replay}"))),
    }
}

fn run_all(args: &Args, planted: Option<Planted>, from: u64, to: u64) -> Sum {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let jobs = args.jobs.map_or(cores, u64::from).min(to - from);
    let (next, enough) = (AtomicU64::new(from), AtomicBool::new(false));
    let bar = progress(to - from, args.json);
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let (sender, results) = channel();
        for _ in 0..jobs {
            let (sender, next, enough) = (sender.clone(), &next, &enough);
            scope.spawn(move || work(args, planted, next, to, enough, &sender));
        }
        drop(sender);
        for (seed, outcome) in results {
            sum.add(&outcome);
            bar.inc(1);
            if let Some(violation) = outcome.violation {
                let failed = Failed { seed, violation, replay: replay(args, seed) };
                bar.suspend(|| eprintln!("{}\n  replay: {}", verdict(planted, &failed), failed.replay));
                if planted.is_some_and(|planted| !planted.shows_in(&failed.violation)) {
                    sum.beside.push(failed);
                } else {
                    sum.failed.push(failed);
                }
                let most = if args.first { 1 } else { MOST_FAILURES };
                let too_many = sum.beside.len() >= MOST_FAILURES;
                enough.store(too_many || sum.failed.len() >= most, Ordering::Relaxed);
            }
        }
    });
    bar.finish_and_clear();
    sum.failed.sort_by_key(|failed| failed.seed);
    sum.beside.sort_by_key(|failed| failed.seed);
    sum.never = Counts::of(sum.faults.clone()).missing();
    sum
}

/// A broken promise in words: with a planted bug, which check has caught it, or that it was not caught.
fn verdict(planted: Option<Planted>, failed: &Failed) -> String {
    let (seed, violation) = (failed.seed, &failed.violation);
    match planted {
        None | Some(Planted::Harmless(_)) => format!("seed {seed}: {violation}"),
        Some(planted) if planted.shows_in(violation) => {
            format!("caught at seed {seed} by {:?}: {violation}", kind_of(violation).trim())
        }
        Some(_) => format!("not caught at seed {seed}, where something else is broken: {violation}"),
    }
}

/// The processor time that this thread has had; the real time where the system does not tell.
fn worked() -> Duration {
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let nanos = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok());
    let real = || BEGAN.get_or_init(std::time::Instant::now).elapsed();
    nanos.map_or_else(real, Duration::from_nanos)
}

/// The planted bug of this name, if this build has any.
fn planted(name: &str) -> Result<Planted, Problem> {
    let found = Planted::named(name).ok_or_else(|| {
        Problem::new(
            Exit::Usage,
            format!("no planted bug is called {name:?}"),
            "--mutant list prints their names",
        )
    })?;
    if !BUILT_IN {
        return Err(Problem::new(
            Exit::Usage,
            "this build has no planted bugs",
            "build one that has: cargo build --release --features mutants",
        ));
    }
    Ok(found)
}

fn list(json: bool) {
    let bugs: Vec<_> = Planted::all().map(|(name, _)| name).collect();
    let harmless: Vec<_> = Planted::harmless().map(|(name, _)| name).collect();
    let text = if json {
        serde_json::json!({ "bugs": bugs, "harmless": harmless }).to_string()
    } else {
        format!("bugs:\n  {}\nharmless:\n  {}", bugs.join("\n  "), harmless.join("\n  "))
    };
    say(&text);
}

/// Takes seeds until none is left.
fn work(
    args: &Args,
    planted: Option<Planted>,
    next: &AtomicU64,
    to: u64,
    enough: &AtomicBool,
    results: &Sender<(u64, Outcome)>,
) {
    let began = worked();
    let late = || args.r#for.is_some_and(|limit| worked().saturating_sub(began).as_secs() >= limit);
    while !enough.load(Ordering::Relaxed) && !late() {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= to {
            return;
        }
        SEED.set(Some(seed));
        let plan = plan(args, planted, seed);
        let mut outcome = plan.run();
        if args.twice && outcome.violation.is_none() {
            let again = plan.run();
            if (&again.digest, again.events) != (&outcome.digest, outcome.events) {
                outcome.violation = Some(format!(
                    "two runs differ: {} after {} events, {} after {}",
                    outcome.digest, outcome.events, again.digest, again.events
                ));
            }
        }
        if results.send((seed, outcome)).is_err() {
            return;
        }
    }
}

/// What is run for a seed.
fn plan(args: &Args, planted: Option<Planted>, seed: u64) -> Plan {
    let with = |part| !args.without.contains(&part);
    Plan {
        span: Duration::from_secs(args.span),
        clients: usize::from(args.clients),
        faults: !args.calm,
        disks: with(Part::Disks),
        swarm: with(Part::Swarm),
        doors: with(Part::Doors),
        fences: with(Part::Fences),
        planted,
        members: with(Part::Members),
        compaction: with(Part::Compaction),
        tables: with(Part::Tables),
        groups: with(Part::Groups),
        loss: with(Part::Loss),
        steps: args.steps.as_ref().map(|steps| steps.0.clone()),
        ..Plan::of(seed)
    }
}

/// The command that gives the same run again.
fn replay(args: &Args, seed: u64) -> String {
    replay_of(&plan(args, None, seed), args.mutant.as_deref())
}

/// The command that gives the run of a plan.
fn replay_of(plan: &Plan, mutant: Option<&str>) -> String {
    let has = |part| match part {
        Part::Members => plan.members,
        Part::Fences => plan.fences,
        Part::Compaction => plan.compaction,
        Part::Doors => plan.doors,
        Part::Tables => plan.tables,
        Part::Groups => plan.groups,
        Part::Disks => plan.disks,
        Part::Loss => plan.loss,
        Part::Swarm => plan.swarm,
    };
    let without: Vec<String> = <Part as clap::ValueEnum>::value_variants()
        .iter()
        .filter(|part| !has(**part))
        .map(|part| part.name())
        .collect();
    let mut words = vec![format!(
        "quorate sim --seed {} --span {} --clients {}",
        plan.seed,
        plan.span.as_secs(),
        plan.clients
    )];
    if !plan.faults {
        words.push("--calm".into());
    }
    if !without.is_empty() {
        words.push(format!("--without {}", without.join(",")));
    }
    words.extend(mutant.map(|mutant| format!("--mutant {mutant}")));
    if let Some(steps) = &plan.steps {
        let names: Vec<String> = steps.iter().map(StepName::to_string).collect();
        words.push(format!("--steps={}", names.join(",")));
    }
    words.join(" ")
}

/// A panic is a failed invariant of our own: its seed must not be lost with it.
fn say_seed_on_panic(args: &Args) {
    let before = std::panic::take_hook();
    let replay = replay(args, 0).replacen("--seed 0", "--seed SEED", 1);
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        if let Some(seed) = SEED.get() {
            let mut err = std::io::stderr().lock();
            let replay = replay.replacen("SEED", &seed.to_string(), 1);
            let _ = writeln!(err, "seed {seed} panicked\n  replay: {replay}");
        }
    }));
}

fn progress(seeds: u64, json: bool) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(seeds);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn report(args: &Args, sum: &Sum, took: Duration) {
    crate::report::speaks();
    let mut out = std::io::stdout().lock();
    if args.json {
        let line = serde_json::to_string(sum).unwrap_or_default();
        let _ = writeln!(out, "{line}");
        return;
    }
    let clean = sum.seeds - (sum.failed.len() + sum.beside.len()) as u64;
    let _ = writeln!(
        out,
        "{clean} of {} seeds clean: {} events in {:.0} simulated minutes, {} operations answered, {:.1} s",
        sum.seeds,
        sum.events,
        sum.simulated_s / 60.0,
        sum.answered,
        took.as_secs_f64()
    );
    let _ = writeln!(
        out,
        "the seed with the fewest: {} operations answered, {} faults that took effect",
        sum.fewest_answered, sum.fewest_faults
    );
    let _ = writeln!(out, "what fired:");
    for (what, times) in &sum.faults {
        let _ = writeln!(out, "  {times:>10}  {what}");
    }
    if !sum.never.is_empty() && !args.calm {
        let _ = writeln!(out, "never reached: {}", sum.never.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_written() {
        assert_eq!(range("0..200"), Ok((0, 200)));
        for bad in ["", "5", "5..5", "9..2", "a..b", "0...9", "-1..4"] {
            assert!(range(bad).is_err(), "{bad:?}");
        }
    }
}
