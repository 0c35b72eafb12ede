//! Makes a transactional history as EDN, or judges it at once and says how long that took.
//!
//!     cargo run --release -p quorate-check --example txns -- edn txns=1000 isolation=snapshot seed=7 > txns.edn
//!     cargo run --release -p quorate-check --example txns -- read < txns.edn
//!     cargo run --release -p quorate-check --example txns -- judge txns=1000000

use quorate_check::budget::Budget;
use quorate_check::history::Outcome;
use quorate_check::txn::feed::Reader;
use quorate_check::txn::generate::{Event, Isolation, Op, Plan, generate, history};
use quorate_check::txn::history::History;
use quorate_check::txn::levels::Level;
use quorate_check::txn::{Model, Options, check};
use std::io::{Read, Write};

const HELP: &str =
    "txns edn|read|judge|complete [txns=N] [sessions=N] [ops=N] [keys=N] [writes=N] [info=PER-MILLE] [fail=PER-MILLE]
  [isolation=strict|snapshot|lagging|committed|uncommitted] [registers] [read-first] [final-reads] [seed=N]";

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((what, settings)) = args.split_first() else { return Err(HELP.to_owned()) };
    let plan = plan(settings)?;
    match what.as_str() {
        "edn" => edn(&plan).map_err(|error| error.to_string()),
        "read" => from_input(&plan),
        "judge" => judge(&plan, &Options::default()),
        "complete" => judge(&plan, &Options { complete: true, ..Options::default() }),
        _ => Err(HELP.to_owned()),
    }
}

fn plan(settings: &[String]) -> Result<Plan, String> {
    let mut plan = Plan::default();
    for setting in settings {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let number = || value.parse::<u32>().map_err(|_| format!("{setting}: a number is wanted"));
        match name {
            "txns" => plan.txns = number()?,
            "sessions" => plan.sessions = number()?,
            "ops" => plan.ops = number()?,
            "keys" => plan.keys = number()?,
            "writes" => plan.writes_a_key = number()?,
            "info" => plan.info = number()?,
            "fail" => plan.fail = number()?,
            "seed" => plan.seed = u64::from(number()?),
            "registers" => plan.registers = true,
            "read-first" => plan.read_first = true,
            "final-reads" => plan.final_reads = true,
            "isolation" => {
                plan.isolation = match value {
                    "strict" => Isolation::StrictSerializable,
                    "snapshot" => Isolation::Snapshot,
                    "lagging" => Isolation::LaggingSnapshot,
                    "committed" => Isolation::ReadCommitted,
                    "uncommitted" => Isolation::ReadUncommitted,
                    _ => return Err(HELP.to_owned()),
                }
            }
            _ => return Err(format!("{name}: no such setting\n{HELP}")),
        }
    }
    Ok(plan)
}

// The example measures: it is outside of the room, and may look at a clock.
#[allow(clippy::disallowed_types, clippy::disallowed_methods)]
fn judge(plan: &Plan, options: &Options) -> Result<(), String> {
    let begin = std::time::Instant::now();
    let history = history(plan).map_err(|fault| fault.to_string())?;
    println!("made {} transactions in {:.3} s", history.len(), begin.elapsed().as_secs_f64());
    report(&history, plan, options);
    Ok(())
}

#[allow(clippy::disallowed_types, clippy::disallowed_methods)]
fn from_input(plan: &Plan) -> Result<(), String> {
    let begin = std::time::Instant::now();
    let mut reader = Reader::new(if plan.registers { Model::RwRegister } else { Model::ListAppend });
    let (mut input, mut bytes) = (std::io::stdin().lock(), vec![0; 1 << 18]);
    loop {
        let len = input.read(&mut bytes).map_err(|error| error.to_string())?;
        if len == 0 {
            break;
        }
        reader.feed(&bytes[..len]).map_err(|bad| format!("{bad}: {}", bad.hint))?;
    }
    let history = reader.finish().map_err(|bad| format!("{bad}: {}", bad.hint))?;
    println!("read {} transactions in {:.3} s", history.len(), begin.elapsed().as_secs_f64());
    report(&history, plan, &Options::default());
    Ok(())
}

#[allow(clippy::disallowed_types, clippy::disallowed_methods)]
fn report(history: &History, plan: &Plan, options: &Options) {
    let begin = std::time::Instant::now();
    let go_on = || false;
    let mut budget = Budget::new(&go_on, 8 << 30);
    let model = if plan.registers { Model::RwRegister } else { Model::ListAppend };
    let report = check(history, model, options, &mut budget);
    println!("judged in {:.3} s, {} MB metered", begin.elapsed().as_secs_f64(), budget.bytes() >> 20);
    for finding in &report.findings {
        println!("\n{} x {}: {}", finding.count, finding.anomaly.name(), finding.witness.words);
    }
    for (level, verdict) in &report.verdicts {
        println!("{:36} {}", level.name(), format!("{verdict:?}").chars().take(120).collect::<String>());
    }
    let names = |levels: Vec<Level>| levels.iter().map(|level| level.name()).collect::<Vec<_>>().join(", ");
    println!("minimal refuted: {}", names(report.minimal_refuted()));
    println!("maximal unrefuted: {}", names(report.maximal_unrefuted()));
}

fn edn(plan: &Plan) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let mut index = 0;
    let mut result = Ok(());
    generate(plan, &mut |event| {
        if result.is_ok() {
            result = line(&mut out, plan, &event, index);
        }
        index += 1;
    });
    result.and_then(|()| out.flush())
}

fn line(out: &mut dyn Write, plan: &Plan, event: &Event<'_>, index: u32) -> std::io::Result<()> {
    let kind = match event.outcome {
        None => "invoke",
        Some(Outcome::Ok) => "ok",
        Some(Outcome::Fail) => "fail",
        Some(Outcome::Info) => "info",
    };
    write!(out, "{{:index {index} :type :{kind} :process {} :f :txn :value [", event.process)?;
    let mut values = event.values.iter();
    for (at, op) in event.ops.iter().enumerate() {
        let space = if at == 0 { "" } else { " " };
        match *op {
            Op::Write(key, value) if plan.registers => write!(out, "{space}[:w {key} {value}]")?,
            Op::Write(key, value) => write!(out, "{space}[:append {key} {value}]")?,
            Op::Read(key, seen) => {
                let seen = seen.filter(|_| event.outcome == Some(Outcome::Ok));
                let list: Vec<String> =
                    values.by_ref().take(seen.unwrap_or(0) as usize).map(ToString::to_string).collect();
                match seen {
                    None => write!(out, "{space}[:r {key} nil]")?,
                    Some(0) if plan.registers => write!(out, "{space}[:r {key} nil]")?,
                    Some(_) if plan.registers => write!(out, "{space}[:r {key} {}]", list[0])?,
                    Some(_) => write!(out, "{space}[:r {key} [{}]]", list.join(" "))?,
                }
            }
        }
    }
    writeln!(out, "]}}")
}
