//! Puts at a constant rate, whatever the answers: each is due at a moment of its own, and its latency counts from there, so that
//! a stall is not hidden by the requests that it kept from being sent (coordinated omission).

use crate::client::{client, said};
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Connections of the writers.
const CONNECTIONS: usize = 12;
/// How long answers are waited for once no more is asked.
const PATIENCE: Duration = Duration::from_secs(60);

/// When a put was due, and how long its answer took from then on, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the beginning of the paces' clock.
    pub due: u64,
    /// Until the answer.
    pub took: u64,
}

/// A running stream of puts. To be made within a `LocalSet`.
pub struct Pace {
    began: Instant,
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopped: Cell<bool>,
    asked: Cell<u64>,
    answered: Cell<u64>,
    samples: RefCell<Vec<Sample>>,
    wrong: RefCell<Option<String>>,
}

impl Pace {
    /// Begins to put `rate` values a second of `size` bytes; the key of each comes from its number. A value begins with the
    /// microseconds at which it was due, see [`due_of`].
    pub fn start(
        urls: &[String],
        rate: u64,
        size: usize,
        began: Instant,
        key: impl Fn(u64) -> Bytes + 'static,
    ) -> Result<Self, String> {
        let shared = Rc::new(Shared::default());
        let clients =
            (0..CONNECTIONS).map(|n| client(&urls[n % urls.len()])).collect::<Result<Vec<_>, _>>()?;
        let pace = Self { began, shared: Rc::clone(&shared) };
        tokio::task::spawn_local(async move {
            let (first, every) = (Instant::now(), Duration::from_secs(1).as_nanos() as u64 / rate.max(1));
            for n in 0.. {
                let due = first + Duration::from_nanos(n * every);
                sleep_until(due).await;
                if shared.stopped.get() {
                    return;
                }
                shared.asked.set(shared.asked.get() + 1);
                let (shared, mut client) = (Rc::clone(&shared), clients[n as usize % clients.len()].clone());
                let since = (due - began).as_micros() as u64;
                let put = pb::PutRequest { key: key(n), value: value_of(since, size), ..Default::default() };
                tokio::task::spawn_local(async move {
                    match client.put(put).await {
                        Ok(_) => {
                            let took = due.elapsed().as_micros() as u64;
                            shared.samples.borrow_mut().push(Sample { due: since, took });
                        }
                        Err(status) => {
                            shared.wrong.borrow_mut().get_or_insert_with(|| status.to_string());
                        }
                    }
                    shared.answered.set(shared.answered.get() + 1);
                });
            }
        });
        Ok(pace)
    }

    /// Microseconds since the beginning of the clock.
    pub fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    /// Stops, waits for the answers, and gives them all in the order of their coming. A put that failed is an error.
    pub async fn stop(self) -> Result<Vec<Sample>, String> {
        self.shared.stopped.set(true);
        // The one that is due next may still be asked.
        sleep(Duration::from_millis(50)).await;
        let end = Instant::now() + PATIENCE;
        while self.shared.answered.get() < self.shared.asked.get() {
            if Instant::now() > end {
                return Err(format!("puts are not answered after {PATIENCE:?}"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        match self.shared.wrong.take() {
            Some(wrong) => Err(format!("a put failed: {wrong}")),
            None => Ok(self.shared.samples.take()),
        }
    }
}

/// The value of a put that is due at `due`.
fn value_of(due: u64, size: usize) -> Bytes {
    let mut text = format!("{due:016}").into_bytes();
    text.resize(size.max(16), b'.');
    text.into()
}

/// When the put of this value was due.
pub fn due_of(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value.get(..16)?).ok()?.parse().ok()
}

/// The value below which so many thousandths of them are; 0 of none.
pub fn quantile(values: &mut [u64], thousandths: u64) -> u64 {
    values.sort_unstable();
    let at = (values.len() as u64 * thousandths).div_ceil(1000).max(1) - 1;
    values.get(at as usize).copied().unwrap_or(0)
}

/// Median, 99 of 100, and the most, of microseconds, in words.
pub fn words(values: &mut [u64]) -> String {
    let ms = |us: u64| us as f64 / 1000.0;
    let (p50, p99) = (quantile(values, 500), quantile(values, 990));
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        ms(p50),
        ms(p99),
        ms(values.last().copied().unwrap_or(0))
    )
}

/// What the machine is busy with, to be told beside every time: times of a busy machine say little.
pub fn busy() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split_whitespace().next().unwrap_or("?").to_string();
    format!("load {load} on {} processors", std::thread::available_parallelism().map_or(0, usize::from))
}

/// What a process holds in memory of its own, in MiB.
pub fn anonymous_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) >> 10
}

/// A connection of its own, lazily.
pub fn channel(url: &str) -> Result<tonic::transport::Channel, String> {
    e2e_cluster::connect(url).map_err(said)
}
