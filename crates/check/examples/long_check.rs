//! Reads histories from files and judges them, and says how long each took and the most memory that the process held.
//!
//!     long_check MODEL FILE…

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures time and reads files")]

use quorate_check::budget::Budget;
use quorate_check::models;
use quorate_check::read::Reader;
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use std::io::Read;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let model = args.next().ok_or("long_check MODEL FILE…")?;
    for path in args {
        let began = Instant::now();
        let mut file = std::fs::File::open(&path)?;
        let (mut reader, mut piece) = (Reader::default(), vec![0; 256 << 10]);
        loop {
            match file.read(&mut piece)? {
                0 => break,
                len => reader.feed(&piece[..len]).map_err(|bad| format!("{path}:{bad}"))?,
            }
        }
        let history = reader.finish().map_err(|bad| format!("{path}:{bad}"))?;
        let read = began.elapsed();
        let judge = models::judge(&model, Value::NIL, &history).map_err(|bad| bad.to_string())?;
        let split = began.elapsed().saturating_sub(read);
        let stop = || began.elapsed().as_secs() > 100;
        for part in 0..judge.parts().min(3) {
            let judged = judge.linearizable(part, &history, &mut Budget::new(&stop, 4 << 30));
            let verdict = match &judged.verdict {
                Verdict::Proved { by } => format!("holds by {by} {}", judged.searched),
                Verdict::Refuted(witness) => {
                    format!(
                        "violated, {} by {}: {}, core {}",
                        witness.kind,
                        witness.by,
                        witness.words,
                        witness.core.len()
                    )
                }
                other => format!("{other:?} {}", judged.searched),
            };
            println!("{path}: {} operations: {verdict}", judge.operations(part));
        }
        let all = began.elapsed();
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("");
        println!(
            "  reading {read:?}, splitting {split:?}, judging {:?}, all {all:?}; {peak}",
            all.saturating_sub(read + split)
        );
    }
    Ok(())
}
