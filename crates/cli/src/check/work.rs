//! The work itself: files over threads, or the keys of one file over threads, under a budget, with progress told.

use super::input::{self, File, Unread};
use super::{Args, Exit};
use crate::report::{self, Problem};
use quorate_check::budget::Budget;
use quorate_check::fast::Staleness;
use quorate_check::history::History;
use quorate_check::judge::{Core, Judge, Judged};
use quorate_check::read::{BadInput, value};
use quorate_check::sessions::{self, LEVELS, Level};
use quorate_check::value::{Datum, Value};
use quorate_check::verdict::Verdict;
use quorate_check::{models, promises, versions};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The verdict on a file in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Holds,
    Violated,
    Unknown,
    BadInput,
}

impl Outcome {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::Unknown => "unknown",
            Self::BadInput => "bad input",
        }
    }
}

/// What was found of a file.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) outcome: Outcome,
    /// Why it is no history.
    pub(super) bad: Option<BadInput>,
    pub(super) judgement: Option<Judgement>,
    /// The same of what is no single object.
    pub(super) told: Option<Box<dyn Told + Send>>,
    pub(super) took: Duration,
}

/// What is asked of histories that are not of single objects.
pub(super) trait Asks {
    /// Reads and judges a file.
    fn judge(
        &self,
        args: &Args,
        path: &Path,
        began: Instant,
    ) -> Result<(Outcome, Box<dyn Told + Send>), Unread>;
}

/// How a judgement is told that is not about a single object.
pub(super) trait Told {
    /// What was found, in one sentence.
    fn sentence(&self) -> String;
    /// More of it, on standard output.
    fn details(&self, explain: bool);
    /// Adds it to a line of JSON.
    fn json(&self, line: &mut serde_json::Value);
    /// A page for a browser, where there is one.
    fn page(&self, title: &str) -> Option<String>;
    /// The witness in words; empty where there is none.
    fn words(&self) -> String;
    /// How many operations or transactions there are.
    fn operations(&self) -> usize;
    /// What judging took.
    fn judging(&self) -> Duration;
}

/// A history that was judged.
pub(super) struct Judgement {
    pub(super) history: History,
    /// How many independent objects it is about.
    pub(super) objects: usize,
    /// The object that decided, and what was found of it.
    pub(super) key: Value,
    /// Whether it is linearizable, where that was asked.
    pub(super) judged: Option<Judged>,
    /// The other levels that were asked.
    pub(super) levels: Vec<sessions::Found>,
    /// The promises of a model whose system gives the order itself.
    pub(super) promises: Vec<(&'static str, Verdict)>,
    pub(super) core: Option<Core>,
    /// How stale the reads of the object that decided were, where it is violated and that is known.
    pub(super) staleness: Option<Staleness>,
    /// How many of the newest versions reads returned, by the order that the system gave, or why that is not known; where it
    /// was asked.
    pub(super) versions: Option<Result<u32, String>>,
    /// Who judged how many objects.
    pub(super) ran: BTreeMap<&'static str, usize>,
    /// Objects that no fast algorithm took, by their keys, and why: the first few.
    pub(super) searched: Vec<(Value, String)>,
    /// What the search itself took, reading not counted.
    pub(super) judging: Duration,
}

/// Why a history is not known to be linearizable.
const COARSE: &str = "several processes ended one operation and began the next at the same time, and it depends on what was over before what began: \
                      finer times would tell";

impl Judgement {
    /// All verdicts, each with the name of its level.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = (&'static str, &Verdict)> {
        let first = self.judged.iter().map(|judged| ("linearizable", &judged.verdict));
        first
            .chain(self.levels.iter().map(|found| (found.level.name(), &found.verdict)))
            .chain(self.promises.iter().map(|(name, verdict)| (*name, verdict)))
    }

    fn is_linearizable(&self) -> bool {
        self.judged.as_ref().is_some_and(|judged| matches!(judged.verdict, Verdict::Proved { .. }))
    }

    /// It was linearizable, had all that touches overlapped, and here nothing did: what is refuted here is unknown.
    fn doubt_time(&mut self) {
        if let Some(judged) = &mut self.judged
            && matches!(judged.verdict, Verdict::Refuted(_))
        {
            judged.verdict = Verdict::Unknown { why: COARSE.to_owned() };
            judged.longest = None;
            (self.core, self.staleness) = (None, None);
        }
        // Of the other levels this one alone asks what was over before what began.
        for found in self.levels.iter_mut().filter(|found| found.level == Level::Convergence) {
            if matches!(found.verdict, Verdict::Refuted(_)) {
                found.verdict = Verdict::Unknown { why: COARSE.to_owned() };
            }
        }
    }

    /// The worst of the verdicts decides.
    pub(super) fn outcome(&self) -> Outcome {
        let rank = |verdict: &Verdict| match verdict {
            Verdict::Refuted(_) => 0,
            Verdict::Proved { .. } => 2,
            _ => 1,
        };
        match self.verdicts().map(|(_, verdict)| rank(verdict)).min() {
            Some(0) => Outcome::Violated,
            Some(1) => Outcome::Unknown,
            _ => Outcome::Holds,
        }
    }
}

/// All files together.
#[derive(Default, Debug)]
pub(super) struct Summary {
    pub(super) holds: usize,
    pub(super) violated: usize,
    pub(super) unknown: usize,
    pub(super) bad: usize,
    pub(super) surprises: usize,
    pub(super) operations: usize,
    pub(super) judging: Duration,
}

impl Summary {
    pub(super) fn add(&mut self, found: &Found, surprise: bool) {
        *match found.outcome {
            Outcome::Holds => &mut self.holds,
            Outcome::Violated => &mut self.violated,
            Outcome::Unknown => &mut self.unknown,
            Outcome::BadInput => &mut self.bad,
        } += 1;
        self.surprises += usize::from(surprise);
        if let Some(judgement) = &found.judgement {
            self.operations += judgement.history.operations.len();
            self.judging += judgement.judging;
        }
        if let Some(told) = &found.told {
            self.operations += told.operations();
            self.judging += told.judging();
        }
    }

    pub(super) fn files(&self) -> usize {
        self.holds + self.violated + self.unknown + self.bad
    }

    pub(super) fn exit(&self, expected: bool) -> Exit {
        match self {
            _ if expected && self.surprises > 0 => Exit::Violated,
            _ if expected => Exit::Holds,
            Self { bad: 1.., .. } => Exit::BadInput,
            Self { violated: 1.., .. } => Exit::Violated,
            Self { unknown: 1.., .. } => Exit::Unknown,
            _ => Exit::Holds,
        }
    }
}

/// Refuses names that no file could mend.
pub(super) fn check_names(args: &Args) -> Result<(), Problem> {
    let problem = |bad: BadInput| Problem::new(report::Exit::Usage, bad.what, bad.hint);
    let model = args.model.as_deref().unwrap_or_default();
    if let Some(model) = promises::Model::named(model) {
        return asked(args, model).map(|_| ()).map_err(problem);
    }
    let mut empty = History::default();
    let initial = initial(args, &mut empty).map_err(problem)?;
    models::judge(model, initial, &empty).map_err(problem)?;
    levels(args).map_err(problem)?;
    Ok(())
}

/// Which promises are asked: all, unless some are named.
fn asked(args: &Args, model: &promises::Model) -> Result<Vec<&'static str>, BadInput> {
    let all: Vec<&str> = model.promises.iter().map(|(name, _)| *name).collect();
    let names = names(args);
    match names.iter().find(|level| !all.contains(level)) {
        None => Ok(all.into_iter().filter(|name| names.contains(name)).collect()),
        Some(&level) if names.len() == 1 && matches!(level, "linearizable" | "all") => Ok(all),
        Some(level) => {
            let what = format!("the model {} has no level {level}", model.name);
            Err(BadInput::new(what, format!("there are all, {}", all.join(", "))))
        }
    }
}

fn judge_promises(
    model: &promises::Model,
    asked: &[&'static str],
    history: &History,
) -> Result<Judgement, BadInput> {
    let started = Instant::now();
    let mut promises = model.judge(history)?;
    promises.retain(|(name, _)| asked.contains(name));
    Ok(Judgement {
        objects: 1,
        history: History::default(),
        key: Value::NIL,
        judged: None,
        levels: Vec::new(),
        promises,
        core: None,
        staleness: None,
        versions: None,
        ran: BTreeMap::new(),
        searched: Vec::new(),
        judging: started.elapsed(),
    })
}

/// Whether it must be linearizable, and the other levels that are asked, those that imply others first.
pub(super) fn levels(args: &Args) -> Result<(bool, Vec<Level>), BadInput> {
    let mut asked = Vec::new();
    let mut linearizable = false;
    for name in names(args) {
        match (name, Level::named(name)) {
            ("all", _) => (linearizable, asked) = (true, LEVELS.to_vec()),
            ("linearizable", _) => linearizable = true,
            (_, Some(level)) => asked.push(level),
            _ => {
                let names: Vec<&str> = LEVELS.iter().map(|level| level.name()).collect();
                let hint = format!("there are linearizable, {} and all", names.join(", "));
                return Err(BadInput::new(format!("there is no level {name} for single objects"), hint));
            }
        }
    }
    let asked = LEVELS.into_iter().filter(|level| asked.contains(level)).collect();
    Ok((linearizable, asked))
}

fn initial(args: &Args, history: &mut History) -> Result<Value, BadInput> {
    args.initial.as_deref().map_or(Ok(Value::NIL), |text| {
        value(text, &mut history.values).map_err(|bad| {
            BadInput::new(format!("--initial {text:?}: {}", bad.what), "write a value in EDN, as 0 or nil")
        })
    })
}

/// Judges the files; `each` hears of them in their order.
pub(super) fn judge(
    args: &Args,
    asked: Option<&(dyn Asks + Sync)>,
    files: &[File],
    mut each: impl FnMut(&Found),
) -> Vec<Found> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = args.jobs.map_or(cores, usize::from);
    let across = jobs.min(files.len()).max(1);
    let within = (jobs / across).max(1);
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut all = Vec::new();
    std::thread::scope(|scope| {
        let (sender, results) = channel();
        for _ in 0..across {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(place) else { return };
                    if sender.send((place, judge_file(args, asked, file, within))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (over, ticks) = channel::<()>();
        let quiet = args.json || !std::io::stderr().is_terminal();
        let done = &done;
        scope.spawn(move || progress(&ticks, files.len(), done, quiet));
        // They are told in the order of the files, whoever is done first.
        let mut waiting = std::collections::BTreeMap::new();
        let mut told = 0;
        for (place, found) in results {
            done.fetch_add(1, Ordering::Relaxed);
            waiting.insert(place, found);
            while let Some(found) = waiting.remove(&told) {
                told += 1;
                if let Some(found) = found {
                    each(&found);
                    all.push(found);
                }
            }
        }
        drop(over);
    });
    all
}

/// Says how far it is, once it has taken more than a second.
fn progress(over: &std::sync::mpsc::Receiver<()>, files: usize, done: &AtomicUsize, quiet: bool) {
    let began = Instant::now();
    let mut shown = false;
    let mut wait = Duration::from_secs(1);
    while over.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        wait = Duration::from_millis(250);
        if !quiet {
            shown = true;
            let done = done.load(Ordering::Relaxed);
            let _ =
                write!(std::io::stderr(), "\r\x1b[K{done} of {files} files, {} s", began.elapsed().as_secs());
        }
    }
    if shown {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
}

/// Nothing where a file of a folder is no history at all.
fn judge_file(args: &Args, asked: Option<&(dyn Asks + Sync)>, file: &File, jobs: usize) -> Option<Found> {
    let began = Instant::now();
    let mut found = Found {
        path: file.path.clone(),
        outcome: Outcome::BadInput,
        bad: None,
        judgement: None,
        told: None,
        took: Duration::ZERO,
    };
    let done = match asked {
        Some(asked) => asked.judge(args, &file.path, began).map(|(outcome, told)| {
            (found.outcome, found.told) = (outcome, Some(told));
        }),
        None => read_and_judge(args, file, jobs, began).map(|judgement| {
            found.outcome = judgement.outcome();
            found.judgement = Some(judgement);
        }),
    };
    match done {
        Err(Unread::Bad(bad)) if bad.nothing && file.by_chance => return None,
        Err(Unread::Bad(bad)) => found.bad = Some(bad),
        Err(Unread::Late) => {
            found.outcome = Outcome::Unknown;
            found.told = Some(Box::new(TooLate));
        }
        Ok(()) => {}
    }
    found.took = began.elapsed();
    Some(found)
}

/// The time was over before all was read.
struct TooLate;

impl Told for TooLate {
    fn sentence(&self) -> String {
        "the time is spent, and the history is not read to its end: give it more with --time".into()
    }

    fn details(&self, _: bool) {}

    fn json(&self, line: &mut serde_json::Value) {
        line["why"] = self.sentence().into();
    }

    fn page(&self, _: &str) -> Option<String> {
        None
    }

    fn words(&self) -> String {
        String::new()
    }

    fn operations(&self) -> usize {
        0
    }

    fn judging(&self) -> Duration {
        Duration::ZERO
    }
}

fn read_and_judge(args: &Args, file: &File, jobs: usize, began: Instant) -> Result<Judgement, Unread> {
    let deadline = began + Duration::from_secs_f64(args.time);
    let mut history = input::read(&file.path, deadline)?;
    let name = args.model.as_deref().unwrap_or_default();
    let initial = initial(args, &mut history)?;
    // What begins as a pair holds pairs: they are no key and value.
    let pair = matches!(history.values.datum(initial), Datum::List(members) if members.len() == 2);
    let pairs = || !pair && promises::Model::named(name).is_none() && history.has_tuples();
    if args.tuples.unwrap_or_else(pairs) {
        history.split_tuples();
    }
    let mut found = judge_history(args, &history, initial, jobs, deadline)?;
    if history.coarse && found.is_linearizable() {
        history.separate();
        found = judge_history(args, &history, initial, jobs, deadline)?;
        found.doubt_time();
    }
    found.history = history;
    Ok(found)
}

/// What the violation of a beginning is one of the whole for: linearizability, and promises that nothing which comes later could still keep.
/// Levels without real time are no such thing: who read what is not yet written may have read what is written later.
pub(super) fn early(args: &Args) -> Result<Asked, BadInput> {
    let model = args.model.as_deref().unwrap_or_default();
    Ok(match promises::Model::named(model) {
        Some(model) => {
            let mut promises = asked(args, model)?;
            promises.retain(|name| !model.late.contains(name));
            Asked::Promises(model, promises)
        }
        None => Asked::Levels(levels(args)?.0, Vec::new()),
    })
}

/// What of a history is judged.
pub(super) enum Asked {
    /// Of a model whose system gives the order.
    Promises(&'static promises::Model, Vec<&'static str>),
    /// Of an object: whether it is linearizable, and other levels.
    Levels(bool, Vec<Level>),
}

impl Asked {
    fn of(args: &Args) -> Result<Self, BadInput> {
        let model = args.model.as_deref().unwrap_or_default();
        if let Some(model) = promises::Model::named(model) {
            return Ok(Self::Promises(model, asked(args, model)?));
        }
        let (linearizable, levels) = levels(args)?;
        Ok(Self::Levels(linearizable, levels))
    }

    /// Nothing.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Promises(_, promises) => promises.is_empty(),
            Self::Levels(linearizable, levels) => !linearizable && levels.is_empty(),
        }
    }
}

/// Judges all that is asked of a history; it is not in what comes back.
pub(super) fn judge_history(
    args: &Args,
    history: &History,
    initial: Value,
    jobs: usize,
    deadline: Instant,
) -> Result<Judgement, BadInput> {
    judge_asked(args, &Asked::of(args)?, history, initial, jobs, deadline)
}

/// Judges this of a history; it is not in what comes back.
pub(super) fn judge_asked(
    args: &Args,
    asked: &Asked,
    history: &History,
    initial: Value,
    jobs: usize,
    deadline: Instant,
) -> Result<Judgement, BadInput> {
    let (linearizable, levels) = match asked {
        Asked::Promises(model, asked) => return judge_promises(model, asked, history),
        Asked::Levels(linearizable, levels) => (*linearizable, levels),
    };
    let model = args.model.as_deref().unwrap_or_default();
    let judge = models::judge(model, initial, history)?;
    let started = Instant::now();
    let shows = judge.parts() > 0
        && history
            .operations
            .iter()
            .any(|operation| operation.outcome == quorate_check::history::Outcome::Ok);
    let Tally { worst, ran, searched } = if linearizable && shows {
        judge_parts(&*judge, history, args, jobs, deadline)
    } else {
        Tally::default()
    };
    let (part, judged) = if linearizable {
        let (part, judged) = worst.map_or_else(nothing, |(_, part, judged)| (part, judged));
        (part, Some(judged))
    } else {
        (0, None)
    };
    let stop = || Instant::now() >= deadline;
    let mut budget = Budget::new(&stop, args.memory << 20);
    let is_linearizable = match &judged {
        Some(judged) => matches!(judged.verdict, Verdict::Proved { .. }),
        // What is linearizable is sequential, and that is mostly found sooner: half of the time goes into trying.
        // Not where moments make operations of one process overlap.
        None if levels.contains(&Level::Sequential) && !history.coarse => {
            let half = started + deadline.saturating_duration_since(started) / 2;
            judge_parts(&*judge, history, args, jobs, half).worst.is_none_or(|(rank, ..)| rank == 2)
        }
        None => false,
    };
    let mut levels = sessions::judge(levels, model, initial, history, is_linearizable, &mut budget)?;
    if !shows {
        for found in &mut levels {
            found.verdict = Verdict::Unknown { why: NOTHING.to_owned() };
        }
    }
    let versions = args.staleness.then(|| versions::by_order(history, initial));
    let judging = started.elapsed();
    let longest = judged.as_ref().and_then(|judged| judged.longest.as_ref());
    let core = longest.map(|longest| judge.core(part, longest, &mut Budget::new(&stop, args.memory << 20)));
    let staleness =
        longest.and_then(|_| judge.staleness(part, history, &mut Budget::new(&stop, args.memory << 20)));
    let searched = searched.into_iter().map(|(part, why)| (judge.key(part), why)).collect();
    let key = if judge.parts() == 0 { Value::NIL } else { judge.key(part) };
    let history = History::default();
    Ok(Judgement {
        objects: judge.parts(),
        history,
        key,
        judged,
        levels,
        promises: Vec::new(),
        core,
        staleness,
        versions,
        ran,
        searched,
        judging,
    })
}

/// What judging all parts gave.
#[derive(Default)]
struct Tally {
    /// The part that decides: how bad, which, and what was found of it.
    worst: Option<(u8, usize, Judged)>,
    ran: BTreeMap<&'static str, usize>,
    /// The first parts that were searched, and why.
    searched: Vec<(usize, String)>,
}

/// Of so many parts that were searched it is said why.
const SEARCHED: usize = 8;

impl Tally {
    fn add(&mut self, rank: u8, part: usize, mut judged: Judged) {
        match &judged.verdict {
            Verdict::Proved { by } => *self.ran.entry(by).or_default() += 1,
            Verdict::Refuted(witness) => *self.ran.entry(witness.by).or_default() += 1,
            _ => {}
        }
        let why = std::mem::take(&mut judged.searched);
        if !why.is_empty() {
            let place = self.searched.partition_point(|other| other.0 < part);
            self.searched.insert(place, (part, why));
            self.searched.truncate(SEARCHED);
        }
        if self.worst.as_ref().is_none_or(|(other, place, _)| (rank, part) < (*other, *place)) {
            self.worst = Some((rank, part, judged));
        }
    }
}

/// Only failures, reads without an answer, or a nemesis alone: like an empty file, it shows nothing.
const NOTHING: &str = "nothing was judged: no operation is known to have done or told something";

fn nothing() -> (usize, Judged) {
    let verdict = Verdict::Unknown { why: NOTHING.to_owned() };
    (0, Judged { verdict, order: Vec::new(), searched: String::new(), longest: None })
}

/// Judges each part. The first that is violated decides, then the first that is unknown.
fn judge_parts(judge: &dyn Judge, history: &History, args: &Args, jobs: usize, deadline: Instant) -> Tally {
    let stop = || Instant::now() >= deadline;
    let jobs = jobs.min(judge.parts()).max(1);
    let memory = (args.memory << 20) / jobs as u64;
    let next = AtomicUsize::new(0);
    // Parts behind a violated one need no look: the first one is what is told.
    let violated = AtomicUsize::new(usize::MAX);
    let tally: Mutex<Tally> = Mutex::default();
    let run = || {
        let mut budget = Budget::new(&stop, memory);
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= judge.parts() || part > violated.load(Ordering::Relaxed) {
                return;
            }
            let judged = judge.linearizable(part, history, &mut budget);
            let rank = match judged.verdict {
                Verdict::Refuted(_) => 0,
                Verdict::Proved { .. } => 2,
                _ => 1,
            };
            if rank == 0 {
                violated.fetch_min(part, Ordering::Relaxed);
            }
            let Ok(mut tally) = tally.lock() else { return };
            tally.add(rank, part, judged);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs {
            scope.spawn(run);
        }
        run();
    });
    tally.into_inner().unwrap_or_default()
}

/// The levels that are asked of a single object.
pub(super) fn names(args: &Args) -> Vec<&str> {
    if args.level.is_empty() { vec!["linearizable"] } else { args.level.iter().map(String::as_str).collect() }
}

/// The model's own name.
pub(super) fn model(args: &Args) -> &str {
    let given = args.model.as_deref().unwrap_or_default();
    let other = || promises::Model::named(given).map_or(given, |model| model.name);
    models::named(given).map_or_else(other, |model| model.name)
}
