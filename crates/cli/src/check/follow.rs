//! Judges a history while it is written, and ends at the first violation.
//!
//! What was read so far is judged again and again: operations that are open may still return with anything. A violation of
//! such a beginning is one of the whole, so nothing is told too early; what that is not true for (levels without real time, a record that
//! may be polled later) is judged when all is there. It is judged when something new came, and not before
//! twice the time has passed that the last judging took: so judging takes a third of a core at most, and a violation is told
//! within about three times of what it takes to find it.

use super::work::{self, Found, Judgement, Summary};
use super::{Args, Exit, print};
use crate::report::{self, Problem};
use quorate_check::invariants::Invariant;
use quorate_check::read::{BadInput, Reader};
use quorate_check::txn::Model;
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
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
    let name = args.model.as_deref().unwrap_or_default();
    if Invariant::named(name).is_some() || Model::named(name).is_some() {
        let what = format!("--follow judges single objects and promises, and {name} only when all is there");
        return Err(Problem::new(report::Exit::Usage, what, "leave --follow out when the run is over"));
    }
    work::check_names(args)?;
    let early = work::early(args).map_err(|bad| Problem::new(report::Exit::Usage, bad.what, bad.hint))?;
    if early.is_empty() && !args.json {
        eprintln!("what is asked is judged when all is there: what comes later may still mend a beginning");
    }
    let pieces = pieces(path)?;
    let began = Instant::now();
    let (outcome, bad, judgement) = match follow(args, early, &pieces) {
        Ok(judgement) => (judgement.outcome(), None, Some(judgement)),
        Err(bad) => (work::Outcome::BadInput, Some(bad), None),
    };
    let took = began.elapsed();
    let found = Found { path: path.clone(), outcome, bad, judgement, told: None, took };
    if found.outcome == work::Outcome::Violated
        && let Some(command) = &args.on_violation
    {
        stop(command);
    }
    print::file(args, &found, None, false);
    let mut summary = Summary::default();
    summary.add(&found, false);
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
        std::thread::spawn(move || read_on(&mut std::io::stdin().lock(), &sender, None));
        return Ok(receiver);
    }
    let cannot = |error| {
        let what = format!("cannot read {}: {error}", path.display());
        Problem::new(report::Exit::Usage, what, "the file must be there when it is followed")
    };
    let mut file = File::open(path).map_err(cannot)?;
    let mut grown = Grown {
        is_file: file.metadata().map_err(cannot)?.is_file(),
        file: file.try_clone().map_err(cannot)?,
        path: path.to_owned(),
        read: 0,
        tail: Vec::new(),
    };
    std::thread::spawn(move || read_on(&mut file, &sender, Some(&mut grown)));
    Ok(receiver)
}

/// A file that grows, and is the same one that was begun.
struct Grown {
    is_file: bool,
    file: File,
    path: PathBuf,
    read: u64,
    /// The last bytes read.
    tail: Vec<u8>,
}

/// So many bytes are compared, to see whether a file was written anew.
const TAIL: usize = 64;

impl Grown {
    fn add(&mut self, piece: &[u8]) {
        self.read += piece.len() as u64;
        self.tail.extend_from_slice(&piece[piece.len().saturating_sub(TAIL)..]);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }

    /// An error where what was read is not there any more: then what comes next does not go on from it.
    fn same(&self) -> std::io::Result<()> {
        if !self.is_file {
            return Ok(());
        }
        let mut now = vec![0; self.tail.len()];
        let at = self.read - self.tail.len() as u64;
        if self.file.read_exact_at(&mut now, at).is_err() || now != self.tail {
            return Err(std::io::Error::other("it was written anew while it was followed"));
        }
        let ours = self.file.metadata()?;
        // One that was removed is over; one that was replaced goes on elsewhere.
        match std::fs::metadata(&self.path) {
            Ok(named) if (named.dev(), named.ino()) != (ours.dev(), ours.ino()) => {
                Err(std::io::Error::other("another file stands in its place now"))
            }
            _ => Ok(()),
        }
    }
}

fn read_on(source: &mut impl Read, sender: &SyncSender<Piece>, mut grown: Option<&mut Grown>) {
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = match grown.as_mut() {
            Some(grown) => grown.same().and_then(|()| source.read(&mut piece)),
            None => source.read(&mut piece),
        };
        if let (Some(grown), Ok(len)) = (grown.as_mut(), &read) {
            grown.add(&piece[..*len]);
        }
        let sent = match read {
            Ok(0) if grown.is_some() => {
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
fn follow(args: &Args, early: work::Asked, pieces: &Receiver<Piece>) -> Result<Judgement, BadInput> {
    let mut reader = Reader::default();
    if args.tuples == Some(true) {
        reader.split_tuples();
    }
    let mut reader = Following {
        args,
        early,
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
            Ok(Err(error)) => {
                let hint = "what was read until then broke nothing; follow the file again from its beginning";
                return Err(BadInput::new(format!("cannot be read on: {error}"), hint));
            }
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
    /// What a beginning can break for good.
    early: work::Asked,
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
        if self.early.is_empty() || history.moments == self.judged || self.last.elapsed() < 2 * self.cost {
            return Ok(None);
        }
        let began = Instant::now();
        let found = work::judge_asked(self.args, &self.early, history, self.initial, 1, self.deadline())?;
        let violated = found.verdicts().any(|(_, verdict)| matches!(verdict, Verdict::Refuted(_)));
        (self.judged, self.cost, self.last) = (history.moments, began.elapsed(), Instant::now());
        if violated { self.with_history(found).map(Some) } else { Ok(None) }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs_f64(self.args.time)
    }

    /// The reader is done with: its history goes to the report.
    fn with_history(&mut self, mut found: Judgement) -> Result<Judgement, BadInput> {
        found.history = std::mem::take(&mut self.reader).cut()?;
        Ok(found)
    }

    fn finish(mut self) -> Result<Judgement, BadInput> {
        let history = std::mem::take(&mut self.reader).finish()?;
        let mut found = work::judge_history(self.args, &history, self.initial, 1, self.deadline())?;
        found.history = history;
        Ok(found)
    }
}
