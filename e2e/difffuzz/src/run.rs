//! A run: each step is taken on both sides at once and what they answer is compared; what watches say is compared when
//! the run settles.

use crate::allowed;
use crate::generate::STREAMS;
use crate::model::Model;
use crate::op::Op;
use crate::plant::Plant;
use crate::side::{Reply, Side};
use crate::watch::{Item, Stream};
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use tonic::Code;

/// The stream whose only watch sees everything.
const ORACLE: usize = STREAMS;
/// How long a watch may take to say what it owes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a node of Quorate may take until a new watch that begins in the past has looked there.
const CATCH_UP: Duration = Duration::from_millis(50);
/// How long one side may be ahead of the other in what nobody owes.
const GRACE: Duration = Duration::from_secs(5);

/// The first difference of a run.
#[derive(Clone, Debug)]
pub struct Difference {
    pub what: String,
    pub a: String,
    pub b: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  a: {}\n  b: {}", self.what, self.a, self.b)
    }
}

/// How often what happened; a run that exercised little is no evidence.
#[derive(Default, Debug)]
pub struct Counts {
    pub steps: BTreeMap<&'static str, u64>,
    pub errors: BTreeMap<String, u64>,
    pub allowed: BTreeMap<&'static str, u64>,
    pub events: u64,
    pub cancels: u64,
}

/// Both sides and what is known about them.
pub struct Run {
    pub a: Side,
    pub b: Side,
    pub model: Model,
    pub counts: Counts,
    plant: Option<Plant>,
    /// Go on behind differences in replies, which are counted by kind.
    pub keep_going: bool,
    pub found: BTreeMap<String, u64>,
    /// When a watch was last created that begins in the past and may not have caught up yet.
    old_watch: Option<Instant>,
}

impl Run {
    pub fn new(a: Side, b: Side, plant: Option<Plant>) -> Self {
        Self {
            a,
            b,
            model: Model::new(),
            counts: Counts::default(),
            plant,
            keep_going: false,
            found: BTreeMap::new(),
            old_watch: None,
        }
    }

    /// Begins anew on both sides, whatever happened before.
    pub async fn begin(&mut self) -> Result<(), Difference> {
        self.model = Model::new();
        for side in [&mut self.a, &mut self.b] {
            side.begin(STREAMS + 1).await.map_err(|status| Difference {
                what: "a run does not begin".into(),
                a: side.name.clone(),
                b: status.to_string(),
            })?;
        }
        let everything = quorate_proto::etcdserverpb::WatchCreateRequest {
            key: bytes::Bytes::from_static(b"\0"),
            range_end: bytes::Bytes::from_static(b"\0"),
            prev_kv: true,
            fragment: true,
            ..Default::default()
        };
        self.step(&Op::WatchCreate { stream: ORACLE, request: everything }).await
    }

    /// Takes one step.
    pub async fn step(&mut self, op: &Op) -> Result<(), Difference> {
        let op = &self.askable(op);
        *self.counts.steps.entry(kind(op)).or_default() += 1;
        match op {
            Op::Settle => return self.settle().await,
            // What is not delivered yet may be lost by these, on one side and not on the other.
            Op::Compact(_) | Op::WatchProgress { .. } => {
                self.settle().await?;
                if let Some(at) = self.old_watch.take() {
                    tokio::time::sleep_until(at + CATCH_UP).await;
                    tokio::join!(self.a.catch_up(), self.b.catch_up());
                }
            }
            Op::WatchCancel { .. } | Op::WatchReopen { .. } => self.settle().await?,
            _ => {}
        }
        let (a, mut b) = tokio::join!(self.a.call(op), self.b.call(op));
        if let Some(plant) = self.plant {
            plant.spoil(op, &mut b);
        }
        let apart = allowed::clocks_apart(self.a.slowest.max(self.b.slowest));
        if !allowed::clocks(&a, &mut b, (apart, apart)) {
            let (by_a, by_b) = tokio::join!(self.a.prolonged(), self.b.prolonged());
            if allowed::clocks(&a, &mut b, (apart.saturating_add(by_a), apart.saturating_add(by_b))) {
                *self.counts.allowed.entry("stalled-lease").or_default() += 1;
            }
        }
        self.compare(op, &a, b)?;
        self.learn(op, &a);
        Ok(())
    }

    /// The step, but for what is not asked: etcd holds on to the id of a watch that a compaction cancelled, and forgets
    /// the first of two events of a key in the compacted revision.
    fn askable(&self, op: &Op) -> Op {
        let mut op = op.clone();
        match &mut op {
            Op::WatchCreate { stream, request } => {
                let compacted = (1..self.model.compacted).contains(&request.start_revision);
                if compacted || self.model.burnt(*stream, request.watch_id) {
                    request.watch_id = 0;
                }
                if request.start_revision == self.model.compacted
                    && self.model.doubled(request.start_revision)
                {
                    request.start_revision += 1;
                }
            }
            Op::WatchCancel { stream, id } if self.model.burnt(*stream, *id) => op = Op::Settle,
            _ => {}
        }
        op
    }

    fn compare(&mut self, op: &Op, a: &Reply, mut b: Reply) -> Result<(), Difference> {
        if matches!((a, &b), (Reply::Late, _) | (_, Reply::Late)) {
            *self.counts.steps.entry("too late to compare").or_default() += 1;
            return Ok(());
        }
        if allowed::ties(op, a, &mut b) {
            *self.counts.allowed.entry("tied-sort").or_default() += 1;
        }
        if *a == b && !gone(a) {
            return Ok(());
        }
        let overtaken = matches!(op, Op::WatchProgress { stream, .. } if self.model.any_burnt(*stream));
        if let Some(id) = allowed::reply(op, overtaken, (a, self.a.old), (&b, self.b.old)) {
            *self.counts.allowed.entry(id).or_default() += 1;
            return Ok(());
        }
        let difference = Difference { what: crate::op::brief(op), a: format!("{a:?}"), b: format!("{b:?}") };
        if self.keep_going && !gone(a) && !gone(&b) {
            self.survey(kind(op), &difference);
            return Ok(());
        }
        Err(difference)
    }

    /// Shows a difference if it is the first of its kind: the same step, the same field or texts.
    fn survey(&mut self, of: &str, difference: &Difference) {
        let (a, b) = (&difference.a, &difference.b);
        let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
        let before = a.get(..same).unwrap_or_default();
        let field = before.rfind(": ").map_or("", |end| {
            let start = before[..end].rfind([' ', '(', '{']).map_or(0, |i| i + 1);
            &before[start..end]
        });
        let seen = self.found.entry(format!("{of}: {field}")).or_default();
        *seen += 1;
        if *seen == 1 {
            println!("DIFFERENCE in {field}:\n{difference}\n");
        }
    }

    /// Keeps the model in step with what side A did.
    fn learn(&mut self, op: &Op, reply: &Reply) {
        for text in errors(reply) {
            *self.counts.errors.entry(text).or_default() += 1;
        }
        if let Some(revision) = reply.revision() {
            self.model.at(revision);
        }
        match (op, reply) {
            (Op::Compact(request), Reply::Compact(_)) => self.model.compacted = request.revision,
            (Op::WatchCreate { stream, request }, Reply::Created { id, refused: false }) => {
                if request.start_revision > 0 && request.start_revision <= self.model.revision {
                    self.old_watch = Some(Instant::now());
                }
                let events = self.a.streams[*stream].created.last().map_or(0, |birth| birth.events);
                self.model.created(*stream, *id, request, events);
            }
            (Op::WatchCancel { stream, id }, _) => self.model.canceled(*stream, *id),
            (Op::WatchReopen { stream }, _) => self.model.reopened(*stream),
            _ => {}
        }
    }

    /// Waits for all that is due on both sides, and compares it.
    pub async fn settle(&mut self) -> Result<(), Difference> {
        let revision = self.model.revision;
        let caught_up = |stream: &Stream| stream.tally(0).revision >= revision || revision <= crate::op::BIAS;
        let (a, b) = (&mut self.a, &mut self.b);
        tokio::join!(
            a.streams[ORACLE].until(&a.names, PATIENCE, caught_up),
            b.streams[ORACLE].until(&b.names, PATIENCE, caught_up),
        );
        for item in self.a.streams[ORACLE].queues.values().flatten() {
            if let Item::Event(event) = item {
                self.model.happened(event);
            }
        }
        for at in 0..=ORACLE {
            self.settle_stream(at).await?;
        }
        Ok(())
    }

    async fn settle_stream(&mut self, at: usize) -> Result<(), Difference> {
        let due = self.model.due(at);
        let enough = |stream: &Stream| {
            due.iter().all(|(id, events, cancels)| {
                let tally = stream.tally(*id);
                tally.events >= *events && tally.canceled >= *cancels
            })
        };
        let (a, b) = (&mut self.a, &mut self.b);
        let (done_a, done_b) = tokio::join!(
            a.streams[at].until(&a.names, PATIENCE, enough),
            b.streams[at].until(&b.names, PATIENCE, enough),
        );
        if let Some(plant) = self.plant {
            plant.spoil_watches(&mut b.streams[at].queues);
        }
        for (side, stream) in [("a", &a.streams[at]), ("b", &b.streams[at])] {
            if let Some(broken) = &stream.broken {
                return Err(Difference {
                    what: format!("stream {at} breaks the watch contract on side {side}"),
                    a: broken.clone(),
                    b: String::new(),
                });
            }
        }
        self.compare_queues(at)?;
        if even(&self.a.streams[at], &self.b.streams[at]) {
            if done_a && done_b {
                return Ok(());
            }
            return Err(Difference {
                what: format!("stream {at}: both sides owe the same: {}", self.debtors(at, &due)),
                a: debts(&self.a.streams[at], &due),
                b: debts(&self.b.streams[at], &due),
            });
        }
        self.grace(at).await
    }

    /// What the model knows of the watches of side A that owe something.
    fn debtors(&self, at: usize, due: &[(i64, u64, u64)]) -> String {
        let tally = |id: i64| self.a.streams[at].tally(id);
        let owing = due
            .iter()
            .filter(|(id, events, cancels)| tally(*id).events < *events || tally(*id).canceled < *cancels);
        owing
            .map(|(id, ..)| format!("watch {id}: {}", self.model.describe(at, *id)))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// What only one side has said so far may be on its way on the other.
    async fn grace(&mut self, at: usize) -> Result<(), Difference> {
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            let (a, b) = (&mut self.a, &mut self.b);
            let pause = Duration::from_millis(5);
            tokio::join!(
                a.streams[at].until(&a.names, pause, |_| false),
                b.streams[at].until(&b.names, pause, |_| false),
            );
            self.compare_queues(at)?;
            if even(&self.a.streams[at], &self.b.streams[at]) {
                return Ok(());
            }
        }
        let left = |stream: &Stream| {
            let queues = stream.queues.iter().filter(|(_, queue)| !queue.is_empty());
            queues.map(|(id, queue)| format!("watch {id}: {queue:?}")).collect::<Vec<_>>().join("; ")
        };
        Err(Difference {
            what: format!("stream {at}: one side says more than the other"),
            a: left(&self.a.streams[at]),
            b: left(&self.b.streams[at]),
        })
    }

    /// Compares what both sides have said, watch by watch, as far as both go.
    fn compare_queues(&mut self, at: usize) -> Result<(), Difference> {
        let ids: Vec<i64> = self.a.streams[at].queues.keys().copied().collect();
        for id in ids {
            loop {
                let front = |stream: &Stream| stream.queues.get(&id).and_then(VecDeque::front).cloned();
                let (Some(a), Some(b)) = (front(&self.a.streams[at]), front(&self.b.streams[at])) else {
                    break;
                };
                if a != b {
                    if let Some(rule) = allowed::watch(&a, &b, self.model.compacted) {
                        *self.counts.allowed.entry(rule).or_default() += 1;
                    } else {
                        let what = format!("stream {at}, watch {id}");
                        let difference = Difference { what, a: format!("{a:?}"), b: format!("{b:?}") };
                        if !self.keep_going {
                            return Err(difference);
                        }
                        self.survey("what a watch says", &difference);
                    }
                }
                match &a {
                    Item::Event(_) => self.counts.events += 1,
                    Item::Canceled { .. } => self.counts.cancels += 1,
                    _ => {}
                }
                for side in [&mut self.a, &mut self.b] {
                    side.streams[at].queues.get_mut(&id).and_then(VecDeque::pop_front);
                }
            }
        }
        Ok(())
    }
}

/// Neither side has said anything that the other has not.
fn even(a: &Stream, b: &Stream) -> bool {
    let empty = |stream: &Stream| stream.queues.values().all(VecDeque::is_empty);
    empty(a) && empty(b)
}

/// Which watches have not said what is due, as (watch, events, cancellations).
fn debts(stream: &Stream, due: &[(i64, u64, u64)]) -> String {
    let of = |(id, events, cancels): &(i64, u64, u64)| {
        let tally = stream.tally(*id);
        let paid = tally.events >= *events && tally.canceled >= *cancels;
        (!paid).then(|| {
            format!(
                "watch {id}: {events} events and {cancels} cancellations are due, {} and {} came",
                tally.events, tally.canceled
            )
        })
    };
    due.iter().filter_map(of).collect::<Vec<_>>().join("; ")
}

/// Nobody answered. That both sides are gone is no agreement.
fn gone(reply: &Reply) -> bool {
    match reply {
        Reply::Silence | Reply::Error { code: Code::Unavailable, .. } => true,
        Reply::Several(all) => all.iter().any(gone),
        _ => false,
    }
}

/// The texts of all errors in a reply.
fn errors(reply: &Reply) -> Vec<String> {
    match reply {
        Reply::Error { code, text } => vec![format!("{code:?}: {text}")],
        Reply::Several(all) => all.iter().flat_map(errors).collect(),
        _ => vec![],
    }
}

fn kind(op: &Op) -> &'static str {
    match op {
        Op::Range(_) => "range",
        Op::Put(_) => "put",
        Op::Delete(_) => "delete",
        Op::Txn(_) => "txn",
        Op::Compact(_) => "compact",
        Op::Grant { .. } => "lease grant",
        Op::Brief { .. } => "brief lease",
        Op::Expire { .. } => "lease that runs out",
        Op::Revoke(_) => "lease revoke",
        Op::Contest { .. } => "lock or election",
        Op::KeepAlive(_) => "lease keep-alive",
        Op::TimeToLive(_) => "lease time-to-live",
        Op::Leases => "leases",
        Op::Authenticate | Op::AuthStatus | Op::Alarms(_) => "others",
        Op::Status => "status",
        Op::Members { .. } => "members",
        Op::Learner => "changes of members",
        Op::Upkeep { .. } => "upkeep",
        Op::HandOver => "handing over",
        Op::WatchCreate { .. } => "watch",
        Op::WatchCancel { .. } => "watch cancel",
        Op::WatchProgress { .. } => "watch progress",
        Op::WatchReopen { .. } => "watch stream",
        Op::WatchNothing { .. } => "watch request of nothing",
        Op::Settle => "settle",
    }
}
