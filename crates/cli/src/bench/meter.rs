//! What all benchmarks share: when a client asks, what is counted, and how it is told.
//!
//! Closed loop: each client sends its next request when the last one is answered. Open loop (`--rate`): requests are due at
//! fixed moments, and a latency counts from when a request was due, so that a stall is not hidden by the requests that it
//! kept from being sent. One thread; its CPU time is reported, since on a small machine it takes its share.

use crate::report::{Exit, Problem, say};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::cell::RefCell;
use std::io::IsTerminal;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// The longest latency that is told from longer ones, in microseconds.
const LONGEST_US: u64 = 120_000_000;

/// What was measured.
#[derive(Serialize)]
pub(super) struct Figures {
    seconds: f64,
    pub(super) ops: u64,
    ops_per_s: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    max_us: u64,
    errors: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_error: Option<String>,
    client_cpu_us_per_op: f64,
}

/// What all clients share; they run on one thread.
pub(super) struct Tally {
    histogram: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    /// An operation that began then has ended.
    pub(super) fn count(&mut self, from: Instant, result: Result<(), String>) {
        match result {
            Ok(()) => {
                let us = u64::try_from(from.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
                self.histogram.saturating_record(us);
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }
}

/// When one client asks.
pub(super) struct Turns {
    due: Instant,
    end: Instant,
    every: Option<Duration>,
}

impl Turns {
    /// The moment from which the next request counts; nothing once the time is over.
    pub(super) async fn next(&mut self) -> Option<Instant> {
        let from = match self.every {
            Some(every) => {
                tokio::time::sleep_until(self.due.into()).await;
                let due = self.due;
                self.due += every;
                due
            }
            None => Instant::now(),
        };
        (from < self.end).then_some(from)
    }

    /// When the time is over.
    pub(super) fn end(&self) -> Instant {
        self.end
    }
}

/// A measurement under way.
pub(super) struct Meter {
    /// Where clients count.
    pub(super) tally: Rc<RefCell<Tally>>,
    clients: u32,
    rate: Option<u64>,
    bar: ProgressBar,
    cpu: Duration,
    start: Instant,
    end: Instant,
}

impl Meter {
    /// Begins now. With a `rate` of operations a second the loop is open. `quiet`: no progress is shown.
    pub(super) fn start(clients: u32, seconds: u64, rate: Option<u64>, quiet: bool) -> Result<Self, Problem> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3)
            .map_err(|e| Problem::new(Exit::Failed, format!("the histogram: {e}"), ""))?;
        let start = Instant::now();
        Ok(Self {
            tally: Rc::new(RefCell::new(Tally { histogram, errors: 0, first_error: None })),
            clients,
            rate,
            bar: progress(seconds, quiet),
            cpu: cpu_time(),
            start,
            end: start + Duration::from_secs(seconds),
        })
    }

    /// When client `n` asks: in an open loop each at its own moments.
    pub(super) fn turns(&self, n: u32) -> Turns {
        let every = self.rate.map(|rate| Duration::from_secs_f64(f64::from(self.clients) / rate as f64));
        let offset =
            every.map_or(Duration::ZERO, |every| every.mul_f64(f64::from(n) / f64::from(self.clients)));
        Turns { due: self.start + offset, end: self.end, every }
    }

    /// Waits for all clients; shows progress meanwhile.
    pub(super) async fn finish(self, clients: Vec<JoinHandle<()>>) -> Figures {
        let ticker = tokio::task::spawn_local(tick(self.bar, self.start, self.tally.clone()));
        for client in clients {
            let _ = client.await;
        }
        ticker.abort();
        let elapsed = self.start.elapsed().as_secs_f64();
        let cpu = cpu_time().saturating_sub(self.cpu);
        let tally = self.tally.borrow();
        let h = &tally.histogram;
        Figures {
            seconds: elapsed,
            ops: h.len(),
            ops_per_s: h.len() as f64 / elapsed,
            p50_us: h.value_at_quantile(0.5),
            p90_us: h.value_at_quantile(0.9),
            p99_us: h.value_at_quantile(0.99),
            max_us: h.max(),
            errors: tally.errors,
            first_error: tally.first_error.clone(),
            // Of no operation there is none.
            client_cpu_us_per_op: if h.is_empty() { 0.0 } else { cpu.as_secs_f64() * 1e6 / h.len() as f64 },
        }
    }
}

fn progress(seconds: u64, quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(seconds * 10);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
        bar.set_style(style);
    }
    bar
}

async fn tick(bar: ProgressBar, start: Instant, tally: Rc<RefCell<Tally>>) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (ops, errors) = {
            let tally = tally.borrow();
            (tally.histogram.len(), tally.errors)
        };
        let seconds = start.elapsed().as_secs_f64();
        bar.set_position((seconds * 10.0) as u64);
        bar.set_message(format!("{:.0} a second, {errors} errors", ops as f64 / seconds));
    }
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = usage.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    // utime and stime, in hundredths of a second.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

impl Figures {
    /// For people; `connections` and `clients` as they were.
    pub(super) fn show(&self, connections: usize, clients: u32) {
        say(&format!(
            "{:>12.0}  operations a second ({} in {:.1} s)",
            self.ops_per_s, self.ops, self.seconds
        ));
        say(&format!("{:>9} us  median", self.p50_us));
        say(&format!("{:>9} us  90 of 100", self.p90_us));
        say(&format!("{:>9} us  99 of 100", self.p99_us));
        say(&format!("{:>9} us  slowest", self.max_us));
        if self.ops > 0 {
            say(&format!("{:>9.1} us  CPU of this client an operation", self.client_cpu_us_per_op));
        }
        say(&format!("{connections:>12}  connections, {clients} clients"));
        match &self.first_error {
            Some(error) => say(&format!("{:>12}  errors, the first: {error}", self.errors)),
            None => say(&format!("{:>12}  errors", self.errors)),
        }
    }

    /// Nothing that was answered is no measurement. The hint goes by what was.
    pub(super) fn check(self, hint: impl Fn(&str) -> &'static str) -> Result<(), Problem> {
        if self.ops > 0 {
            return Ok(());
        }
        let why = self.first_error.unwrap_or_else(|| "nothing was answered".into());
        let hint = hint(&why);
        Err(Problem::new(Exit::Failed, why, hint))
    }
}

/// Runs a benchmark's clients, all on this thread.
pub(super) fn run<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let runtime = crate::runtime()?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}
