//! Makes a history of transactions as Elle's EDN, and measures how it is judged.
//!
//!     txns write TXNS [PLAN…]                 the history, on standard output
//!     txns judge MODEL ROUNDS SECONDS FILE    reading and judging of a file, median of the rounds
//!     txns core MODEL LEVEL FILE              the core of a file that breaks a level
//!
//! A plan is words like `registers`, `read-first`, `sessions=50`, `keys=20`, `ops=4`, `writes=32`, `info=50`, `seed=1`,
//! `isolation=strict|snapshot|lagging|committed|uncommitted`, `final-reads`. MODEL may have `+complete`.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures time and reads files")]

use quorate_check::budget::Budget;
use quorate_check::history::Outcome;
use quorate_check::txn::feed::Reader;
use quorate_check::txn::generate::{Event, Isolation, Op, Plan, generate};
use quorate_check::txn::history::History;
use quorate_check::txn::levels::Level;
use quorate_check::txn::{Model, Options, check, shrink};
use std::io::{BufWriter, Write};
use std::time::Instant;

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["write", txns, ref plan @ ..] => write(&planned(txns.parse()?, plan)?),
        ["judge", model, rounds, seconds, file] => judge(model, rounds.parse()?, seconds.parse()?, file),
        ["core", model, level, file] => core(model, level, file),
        _ => Err("txns write TXNS [PLAN…] | judge MODEL ROUNDS SECONDS FILE | core MODEL LEVEL FILE".into()),
    }
}

fn planned(txns: u32, words: &[&str]) -> Result<Plan, Failed> {
    let mut plan = Plan { txns, ..Plan::default() };
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, "1"));
        let number = || value.parse::<u32>();
        match name {
            "registers" => plan.registers = true,
            "read-first" => plan.read_first = true,
            "final-reads" => plan.final_reads = true,
            "sessions" => plan.sessions = number()?,
            "keys" => plan.keys = number()?,
            "ops" => plan.ops = number()?,
            "writes" => plan.writes_a_key = number()?,
            "info" => plan.info = number()?,
            "seed" => plan.seed = number()?.into(),
            "isolation" => {
                plan.isolation = match value {
                    "strict" => Isolation::StrictSerializable,
                    "snapshot" => Isolation::Snapshot,
                    "lagging" => Isolation::LaggingSnapshot,
                    "committed" => Isolation::ReadCommitted,
                    "uncommitted" => Isolation::ReadUncommitted,
                    _ => return Err(format!("{value} is no isolation").into()),
                };
            }
            _ => return Err(format!("{name} is no word of a plan").into()),
        }
    }
    Ok(plan)
}

fn write(plan: &Plan) -> Result<(), Failed> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut failed = None;
    let mut line = String::new();
    generate(plan, &mut |event| {
        line.clear();
        tell(plan, &event, &mut line);
        if let Err(error) = out.write_all(line.as_bytes()) {
            failed.get_or_insert(error);
        }
    });
    failed.map_or_else(|| Ok(out.flush()?), |error| Err(error.into()))
}

fn tell(plan: &Plan, event: &Event<'_>, line: &mut String) {
    use std::fmt::Write;
    let kind = match event.outcome {
        None => "invoke",
        Some(Outcome::Ok) => "ok",
        Some(Outcome::Fail) => "fail",
        Some(Outcome::Info) => "info",
    };
    let _ = write!(line, "{{:process {} :type :{kind} :f :txn :value [", event.process);
    let mut values = event.values;
    for op in event.ops {
        let _ = match *op {
            Op::Write(key, value) if plan.registers => write!(line, "[:w {key} {value}]"),
            Op::Write(key, value) => write!(line, "[:append {key} {value}]"),
            Op::Read(key, None) => write!(line, "[:r {key} nil]"),
            Op::Read(key, Some(count)) => {
                let (seen, rest) = values.split_at(count as usize);
                values = rest;
                let seen: Vec<String> = seen.iter().map(u32::to_string).collect();
                match seen.last() {
                    None => write!(line, "[:r {key} nil]"),
                    Some(last) if plan.registers => write!(line, "[:r {key} {last}]"),
                    Some(_) => write!(line, "[:r {key} [{}]]", seen.join(" ")),
                }
            }
        };
    }
    line.push_str("]}\n");
}

fn asked(model: &str) -> Result<(Model, Options), Failed> {
    let (name, complete) = model.strip_suffix("+complete").map_or((model, false), |name| (name, true));
    let model = Model::named(name).ok_or("list-append, rw-register or predicate")?;
    Ok((model, Options { complete, ..Options::default() }))
}

fn read(model: Model, file: &str) -> Result<History, Failed> {
    let mut reader = Reader::new(model);
    let mut source = std::fs::File::open(file)?;
    let mut piece = vec![0; 256 << 10];
    loop {
        let len = std::io::Read::read(&mut source, &mut piece)?;
        if len == 0 {
            return Ok(reader.finish().map_err(|bad| format!("{file}:{bad}"))?.0);
        }
        reader.feed(&piece[..len]).map_err(|bad| format!("{file}:{bad}"))?;
    }
}

fn judge(model: &str, rounds: u32, seconds: u64, file: &str) -> Result<(), Failed> {
    let (model, options) = asked(model)?;
    let (mut reading, mut judging) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) {
        let began = Instant::now();
        let history = read(model, file)?;
        reading.push(began.elapsed().as_secs_f64());
        let began = Instant::now();
        let stop = || began.elapsed().as_secs() >= seconds;
        let report = check(&history, model, &options, &mut Budget::new(&stop, 8 << 30));
        judging.push(began.elapsed().as_secs_f64());
        if judging.len() == 1 {
            let names =
                |levels: Vec<Level>| levels.into_iter().map(Level::name).collect::<Vec<_>>().join(" ");
            println!(
                "{file}: {} transactions; refuted from {:?}, not refuted to {:?}",
                history.len(),
                names(report.minimal_refuted()),
                names(report.maximal_unrefuted())
            );
            for level in
                ["read-committed", "read-atomic", "causal", "SI", "serializable", "strict-serializable"]
            {
                let verdict = Level::named(level).map(|level| report.verdict(level));
                let told = format!("{verdict:?}");
                println!("  {level}: {}", told.chars().take(120).collect::<String>());
            }
        }
    }
    for (what, times) in [("reading", &mut reading), ("judging", &mut judging)] {
        times.sort_unstable_by(f64::total_cmp);
        println!("{what}_s {:.3} (best {:.3})", times[times.len() / 2], times[0]);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("most {}", status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or("?"));
    Ok(())
}

fn core(model: &str, level: &str, file: &str) -> Result<(), Failed> {
    let (model, options) = asked(model)?;
    let level = Level::named(level).ok_or("no such level")?;
    let history = read(model, file)?;
    let go_on = || false;
    let report = check(&history, model, &options, &mut Budget::new(&go_on, 8 << 30));
    let began = Instant::now();
    let core = shrink::core(&history, model, &options, level, &report, &mut Budget::new(&go_on, 8 << 30));
    let took = began.elapsed().as_secs_f64();
    match core {
        None => println!("{file}: it does not break {}", level.name()),
        Some(core) => println!(
            "{file}: {} of {} transactions, {} keys, minimal {}, in {took:.3} s\n{}",
            core.txns.len(),
            history.len(),
            core.keys.len(),
            core.minimal,
            core.witness.words
        ),
    }
    Ok(())
}
