//! Measures the judging of histories of a compare-and-set register, reading not counted, on one thread.
//!
//!     measure ROUNDS SECONDS MIB FILE…
//!
//! Prints a line a file: its name, the median of the rounds in microseconds, the verdict. One line more tells the most memory
//! that the process held.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures time and reads files")]

use quorate_check::budget::Budget;
use quorate_check::models;
use quorate_check::read::read;
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut number =
        || args.next().and_then(|arg| arg.parse::<u64>().ok()).ok_or("measure ROUNDS SECONDS MIB FILE…");
    let (rounds, seconds, mib) = (number()?, number()?, number()?);
    for path in args {
        let history = read(&std::fs::read(&path)?).map_err(|bad| format!("{path}:{bad}"))?;
        let mut times = Vec::new();
        let mut word = "";
        for _ in 0..rounds {
            // What Porcupine does when it is called, from operations on: split by key, encode, search.
            let began = Instant::now();
            let stop = || began.elapsed().as_secs() >= seconds;
            let judge = models::judge("cas-register", Value::NIL, &history).map_err(|bad| bad.to_string())?;
            let verdicts: Vec<_> = (0..judge.parts())
                .map(|part| judge.linearizable(part, &history, &mut Budget::new(&stop, mib << 20)).verdict)
                .collect();
            times.push(began.elapsed());
            word = match verdicts.iter().find(|verdict| !matches!(verdict, Verdict::Proved { .. })) {
                None => "holds",
                Some(Verdict::Refuted(_)) => "violated",
                Some(_) => "unknown",
            };
            if times[0].as_secs() > 5 {
                break;
            }
        }
        times.sort_unstable();
        println!("{path} {:.1} {word}", times[times.len() / 2].as_secs_f64() * 1e6);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().replace(" kB", "");
    println!("most_kib {most}");
    Ok(())
}
