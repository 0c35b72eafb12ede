//! Judges a history while it is written, and ends at the first violation.
//!
//! What was read so far is judged again and again: operations that are open may still return with anything. A violation of
//! such a beginning is one of the whole, so nothing is told too early. It is judged when something new came, and not before
//! twice the time has passed that the last judging took: so judging takes a third of a core at most, and a violation is told
//! within about three times of what it takes to find it.

use super::work::{self, Found, Judgement, Summary};
use super::{Args, Exit, print};
use crate::report::{self, Problem};
use quorate_check::read::{BadInput, Reader};
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How often a file is looked at that did not grow.
const LOOK: Duration = Duration::from_millis(50);

/// Follows the one file given.
pub(super) fn run(args: &Args) -> Result<Exit, Problem> {
    let [path] = &args.files[..] else {
        return Err(Problem::new(report::Exit::Usage, "--follow takes one file", "start one for each"));
    };
    if args.model.is_none() {
        let hint =
            "name a model of single objects, as --model register; transactions are judged when all are there";
        return Err(Problem::new(report::Exit::Usage, "--follow needs a --model", hint));
    }
    work::check_names(args)?;
    let pieces = pieces(path)?;
    let began = Instant::now();
    match follow(args, &pieces) {
        Ok(judgement) => {
            let outcome = judgement.outcome();
            let violated = outcome == work::Outcome::Violated;
            let found = Found {
                path: path.clone(),
                outcome,
                bad: None,
                judgement: Some(judgement),
                told: None,
                took: began.elapsed(),
            };
            if violated && let Some(command) = &args.on_violation {
                stop(command);
            }
            tell(args, &found)
        }
        Err(bad) => {
            let found = Found {
                path: path.clone(),
                outcome: work::Outcome::BadInput,
                bad: Some(bad),
                judgement: None,
                told: None,
                took: began.elapsed(),
            };
            tell(args, &found)
        }
    }
}

fn tell(args: &Args, found: &Found) -> Result<Exit, Problem> {
    print::file(args, found, None, false);
    let mut summary = Summary::default();
    summary.add(found, false);
    print::summary(args, &summary, false, false);
    Ok(summary.exit(false))
}

/// Runs what stops the run. What it says is its own.
fn stop(command: &str) {
    match std::process::Command::new("sh").args(["-c", command]).status() {
        Ok(status) if status.success() => {}
        Ok(status) => eprintln!("--on-violation ended with {status}"),
        Err(error) => eprintln!("--on-violation could not be run: {error}"),
    }
}

/// What comes next of a file: bytes, or how its reading ended.
type Piece = std::io::Result<Vec<u8>>;

/// A thread reads: standard input has no reads with a deadline.
fn pieces(path: &Path) -> Result<Receiver<Piece>, Problem> {
    let (sender, receiver) = sync_channel(16);
    if path.as_os_str() == "-" {
        std::thread::spawn(move || read_on(&mut std::io::stdin().lock(), &sender, false));
        return Ok(receiver);
    }
    let mut file = std::fs::File::open(path).map_err(|error| {
        let what = format!("cannot read {}: {error}", path.display());
        Problem::new(report::Exit::Usage, what, "the file must be there when it is followed")
    })?;
    std::thread::spawn(move || read_on(&mut file, &sender, true));
    Ok(receiver)
}

fn read_on(source: &mut impl Read, sender: &SyncSender<Piece>, grows: bool) {
    let mut piece = vec![0; 64 << 10];
    loop {
        let sent = match source.read(&mut piece) {
            Ok(0) if grows => {
                std::thread::sleep(LOOK);
                Ok(())
            }
            Ok(0) => return,
            Ok(len) => sender.send(Ok(piece[..len].to_vec())),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The judgement of the first beginning that is violated, or of all.
fn follow(args: &Args, pieces: &Receiver<Piece>) -> Result<Judgement, BadInput> {
    let mut reader = Reader::default();
    if args.tuples == Some(true) {
        reader.split_tuples();
    }
    let mut reader = Following {
        args,
        reader,
        initial: Value::NIL,
        judged: 0,
        last: Instant::now(),
        cost: Duration::ZERO,
    };
    reader.initial = reader.reader.value(args.initial.as_deref().unwrap_or("nil"))?;
    let mut quiet = Instant::now();
    loop {
        match pieces.recv_timeout(reader.wait()) {
            Ok(Ok(bytes)) => {
                quiet = Instant::now();
                reader.reader.feed(&bytes)?;
            }
            Ok(Err(error)) => return Err(BadInput::new(format!("cannot be read: {error}"), "")),
            Err(RecvTimeoutError::Timeout) => {
                if args.idle.is_some_and(|idle| quiet.elapsed().as_secs_f64() >= idle) {
                    return reader.finish();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return reader.finish(),
        }
        if let Some(violated) = reader.look()? {
            return Ok(violated);
        }
    }
}

struct Following<'a> {
    args: &'a Args,
    reader: Reader,
    initial: Value,
    /// How many events the last judging saw.
    judged: u32,
    last: Instant,
    cost: Duration,
}

impl Following<'_> {
    fn wait(&self) -> Duration {
        (2 * self.cost).saturating_sub(self.last.elapsed()).clamp(Duration::from_millis(1), LOOK)
    }

    /// Judges what came, where it is time for that.
    fn look(&mut self) -> Result<Option<Judgement>, BadInput> {
        let history = self.reader.so_far();
        if history.moments == 0 && !history.operations.is_empty() {
            return Err(BadInput::new(
                "whole operations have no order before all are there",
                "write events (type invoke, ok, fail, info) to be followed",
            ));
        }
        if history.moments == self.judged || self.last.elapsed() < 2 * self.cost {
            return Ok(None);
        }
        let began = Instant::now();
        let found = self.judge(history)?;
        let violated = found.verdicts().any(|(_, verdict)| matches!(verdict, Verdict::Refuted(_)));
        (self.judged, self.cost, self.last) = (history.moments, began.elapsed(), Instant::now());
        if violated { self.with_history(found).map(Some) } else { Ok(None) }
    }

    fn judge(&self, history: &quorate_check::history::History) -> Result<Judgement, BadInput> {
        let deadline = Instant::now() + Duration::from_secs_f64(self.args.time);
        work::judge_history(self.args, history, self.initial, 1, deadline)
    }

    /// The reader is done with: its history goes to the report.
    fn with_history(&mut self, mut found: Judgement) -> Result<Judgement, BadInput> {
        found.history = std::mem::take(&mut self.reader).cut()?;
        Ok(found)
    }

    fn finish(mut self) -> Result<Judgement, BadInput> {
        let history = std::mem::take(&mut self.reader).finish()?;
        let mut found = self.judge(&history)?;
        found.history = history;
        Ok(found)
    }
}
