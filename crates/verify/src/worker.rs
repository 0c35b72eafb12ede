//! One client: a process of its own, so that it can be stopped and killed like any other part of the system.
//!
//! It gets its orders as one line of JSON on standard input; a second line tells it to finish what it does and to end, and
//! the end of the input, which comes when its starter is gone, to end at once. Each event goes into a file of its own as soon
//! as it happened, in one write, so that a killed client loses none: an invocation without an end is of unknown outcome.

use crate::clock;
use crate::door::{Door, Way};
use crate::op::{Ended, Kind, Op};
use crate::record::Event;
use crate::workload::{self, Seat, Workload};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::cell::Cell;
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

/// A client whose request failed waits this long, so that a system that is down is not asked in a tight loop.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// What a client is told at its start.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct Orders {
    /// The workload's name.
    pub(crate) workload: String,
    /// Its place.
    pub(crate) seat: Seat,
    /// The number of its first process.
    pub(crate) process: u64,
    /// What to add after an operation of unknown outcome.
    pub(crate) stride: u64,
    /// How to reach the system.
    pub(crate) way: Way,
    /// It stays with its node whatever happens.
    pub(crate) pinned: bool,
    /// The node it begins with, from 0.
    pub(crate) node: usize,
    /// How long an answer may take, in milliseconds.
    pub(crate) patience_ms: u64,
    /// Operations a second at most.
    pub(crate) rate: u64,
    /// When the run began, by the machine's clock.
    pub(crate) begin: i64,
    /// Where its events go.
    pub(crate) file: PathBuf,
    /// Do these, each until it succeeds, in place of the workload; give up on one after this many milliseconds.
    pub(crate) finals: Option<(Vec<Op>, u64)>,
}

/// Runs a client by the orders on standard input.
pub fn client() -> Result<(), String> {
    // A client does not outlive its starter, not even a frozen one.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| e.to_string())?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|e| e.to_string())?;
    let orders: Orders = serde_json::from_str(&line).map_err(|e| format!("not understood: {e}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut client = Client::new(orders)?;
        match client.orders.finals.take() {
            Some((ops, patience_ms)) => client.finish(ops, patience_ms).await,
            None => client.work().await,
        }
    })
}

/// Listens for the word to end.
fn told_to_stop() -> Rc<Stop> {
    let stop = Rc::new(Stop::default());
    let (word, heard) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        if !matches!(io::stdin().lock().read_line(&mut line), Ok(1..)) {
            // Whoever started this is gone; nobody reads what would still come.
            std::process::exit(1);
        }
        let _ = word.send(());
    });
    let told = stop.clone();
    tokio::task::spawn_local(async move {
        let _ = heard.await;
        told.said.set(true);
        told.notify.notify_one();
    });
    stop
}

#[derive(Default)]
struct Stop {
    said: Cell<bool>,
    notify: Notify,
}

struct Client {
    orders: Orders,
    door: Door,
    file: std::fs::File,
    process: u64,
}

impl Client {
    fn new(orders: Orders) -> Result<Self, String> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&orders.file);
        let file = file.map_err(|e| format!("{}: {e}", orders.file.display()))?;
        let patience = Duration::from_millis(orders.patience_ms);
        let door = Door::open(&orders.way, orders.node, orders.pinned, patience);
        Ok(Self { process: orders.process, door, file, orders })
    }

    async fn work(&mut self) -> Result<(), String> {
        let stop = told_to_stop();
        let mut work: Box<dyn Workload> = workload::generator(&self.orders.workload, &self.orders.seat)
            .ok_or_else(|| format!("no workload is called {}", self.orders.workload))?;
        let pause = Duration::from_nanos(1_000_000_000 / self.orders.rate.max(1));
        let mut turn = Instant::now();
        while !stop.said.get() {
            let ms = (clock::now() - self.orders.begin).max(0) as u64 / 1_000_000;
            let Some(op) = work.next(ms) else {
                self.wait(&stop, Duration::from_millis(5)).await;
                continue;
            };
            let ended = self.perform(&op).await?;
            work.done(&op, &ended);
            turn = (turn + pause).max(Instant::now());
            if ended.error.is_some() {
                turn = turn.max(Instant::now() + AFTER_ERROR);
            }
            tokio::select! {
                () = sleep_until(turn) => {}
                () = stop.notify.notified() => break,
            }
        }
        Ok(())
    }

    async fn wait(&self, stop: &Stop, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            () = stop.notify.notified() => {}
        }
    }

    /// Each operation until it succeeds. The first of them that never does ends the client.
    async fn finish(&mut self, ops: Vec<Op>, patience_ms: u64) -> Result<(), String> {
        let _stop = told_to_stop();
        for op in ops {
            let end = Instant::now() + Duration::from_millis(patience_ms);
            loop {
                let ended = self.perform(&op).await?;
                match ended.error {
                    None => break,
                    Some(why) if Instant::now() > end => {
                        return Err(format!("node {}: {} of {}: {why}", self.door.node(), op.f, op.key));
                    }
                    Some(_) => sleep(AFTER_ERROR).await,
                }
            }
        }
        Ok(())
    }

    async fn perform(&mut self, op: &Op) -> Result<Ended, String> {
        let node = self.door.node();
        self.record(op, Kind::Invoke, op.value.clone(), None, None, node)?;
        let ended = self.door.perform(op).await;
        let Ended { kind, value, version, error } = ended.clone();
        // What did not happen has the value that was asked for, as everybody writes it, unless it is known only now.
        let value = if kind == Kind::Ok || !value.is_null() { value } else { op.value.clone() };
        self.record(op, kind, value, version, error, node)?;
        if kind == Kind::Info {
            // Whose operation may still happen is gone for good.
            self.process += self.orders.stride;
        }
        Ok(ended)
    }

    fn record(
        &mut self,
        op: &Op,
        kind: Kind,
        value: Value,
        version: Option<i64>,
        error: Option<String>,
        node: u64,
    ) -> Result<(), String> {
        let event = Event {
            index: 0,
            time: 0,
            process: json!(self.process),
            kind,
            f: op.f.clone(),
            key: op.key.clone(),
            value,
            version,
            node: Some(node),
            error,
        };
        // The clock is read last before an operation begins, and first after it ended.
        let event = Event { time: clock::now(), ..event };
        let mut line = serde_json::to_vec(&event).map_err(|e| e.to_string())?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| format!("{}: {e}", self.orders.file.display()))
    }
}
