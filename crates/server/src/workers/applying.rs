//! The applier's worker: runs the machines, tells what came of it, and sweeps when nothing else waits.

use super::{Counters, ToBackground};
use crate::inbox::{Inbox, lock};
use crate::queue::{Nothing, Taker};
use quorate_node::applier::{Applier, Output, Work};
use quorate_node::lane::{Broken, Event, Seal};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What etcd takes for slow unless it is told otherwise.
const SLOW: Duration = Duration::from_millis(100);

/// The applier with those who hear of it.
pub(super) struct Applying {
    applier: Applier,
    inbox: Arc<Inbox>,
    background: Sender<ToBackground>,
    counters: Arc<Counters>,
    outputs: Vec<Output>,
    /// It failed, and must not be used again.
    failed: bool,
}

impl Applying {
    pub(super) fn new(
        applier: Applier,
        inbox: Arc<Inbox>,
        background: Sender<ToBackground>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { applier, inbox, background, counters, outputs: Vec::new(), failed: false }
    }

    /// Whether the state's background has not kept up: what is applied now may have to wait for the disk.
    pub(super) fn is_behind(&self) -> bool {
        self.applier.behind()
    }

    /// Whether there is upkeep to do.
    pub(super) fn has_more(&self) -> bool {
        !self.failed && self.applier.has_upkeep()
    }

    /// The same as [`Applying::work`], by another thread than the applier's; whether that one has to be told that there is upkeep now.
    pub(super) fn at_once(&mut self, works: impl IntoIterator<Item = Work>) -> bool {
        // Where there was some before, the applier's thread is at it, and rests between its steps: none comes with each request.
        if self.has_more() {
            self.work(works);
            return false;
        }
        self.work(works);
        if self.has_more() {
            self.work([Work::Upkeep]);
        }
        self.has_more()
    }

    /// Does some pieces of work, and tells of all at once. A failure is the node's end, which the lane is told.
    pub(super) fn work(&mut self, all: impl IntoIterator<Item = Work>) {
        let (mut loud, mut broken) = (false, None);
        for work in all {
            if self.failed {
                break;
            }
            let told = self.outputs.len();
            let begun = matches!(work, Work::Apply { .. }).then(Instant::now);
            if let Err(error) = self.applier.work(work, &mut self.outputs) {
                // What came of the work before it is told.
                self.outputs.truncate(told);
                (self.failed, loud) = (true, true);
                broken = Some(Event::Broken(Broken::state("applying", &error)));
            }
            if begun.is_some_and(|begun| begun.elapsed() > SLOW) {
                self.counters.slow_applies.fetch_add(1, Ordering::Relaxed);
            }
            loud |= self.outputs[told..].iter().any(is_loud);
        }
        let background = &self.background;
        let told = self.outputs.drain(..).filter_map(|output| match output {
            Output::Sealed { job, generation, cut } => {
                let _ = background.send(ToBackground::Seal(Seal { job, generation, cut }));
                None
            }
            Output::Upkept { .. } => None,
            output => Some(Event::Output(output)),
        });
        self.inbox.add(told.chain(broken), loud);
    }
}

/// Whether somebody may wait for it who did not say so.
fn is_loud(output: &Output) -> bool {
    match output {
        Output::Applied(applied) => applied.concerns_more(),
        Output::Sealed { .. } | Output::Upkept { .. } => false,
        _ => true,
    }
}

/// So many pieces of work are told of at once: with many shards each is a few entries of one of them, and to wake the lane for each costs
/// as much as to apply them. With more of them the first ones would wait too long for their answers.
const AT_ONCE: usize = 32;

/// The applier's thread. Upkeep runs only when nothing else waits, a bounded step at a time.
pub(super) fn run(applying: &Mutex<Applying>, queue: &Taker<Work>) {
    let mut sweeping = Sweeping::default();
    loop {
        let work = match queue.take_within(Duration::ZERO) {
            Ok(work) => work,
            Err(_) => match rest(applying, &mut sweeping) {
                None => match queue.take() {
                    Some(work) => work,
                    None => return,
                },
                Some(Duration::ZERO) => Work::Upkeep,
                Some(rest) => match queue.take_within(rest) {
                    Ok(work) => work,
                    Err(Nothing::Yet) => continue,
                    Err(Nothing::Ever) => return,
                },
            },
        };
        let sweeps = matches!(work, Work::Upkeep);
        let mut applying = lock(applying);
        let begun = Instant::now();
        if sweeps {
            applying.work([work]);
            sweeping.stepped(begun, Instant::now());
            continue;
        }
        let gathered = std::iter::from_fn(|| queue.take_within(Duration::ZERO).ok()).take(AT_ONCE - 1);
        applying.work(std::iter::once(work).chain(gathered));
    }
}

/// How long to wait for other work before the next step of upkeep; `None` if there is none to do.
fn rest(applying: &Mutex<Applying>, sweeping: &mut Sweeping) -> Option<Duration> {
    let applying = lock(applying);
    if !applying.has_more() {
        sweeping.over();
        return None;
    }
    let behind = || applying.applier.behind();
    Some(sweeping.rest(Instant::now(), behind).unwrap_or_default())
}

/// While the state's background is behind the sweep waits, so long at a time, ...
const SWEEP_REST: Duration = Duration::from_millis(5);
/// ... and so often: where the disk has no room, sweeping goes on all the same, since it makes room.
const SWEEP_RESTS: u32 = 200;
/// A sweep that has gone on for so long rests so many times as long as its last step took: all nodes sweep at the same time, and what they
/// do not take of the processors and the disk is there for who waits. One that takes long may have to keep up with who writes, and
/// hurries more and more.
const SWEEP_REST_PARTS: [(Duration, u32); 3] =
    [(Duration::from_secs(60), 1), (Duration::from_secs(20), 3), (Duration::ZERO, 7)];

/// When a sweep goes on. It writes more in a second than the disk takes: let run, it fills the memtables of all nodes at once, and
/// requests would wait while the applier flushes them.
#[derive(Default)]
struct Sweeping {
    /// Since when there has been something to sweep.
    since: Option<Instant>,
    /// Not before this moment.
    from: Option<Instant>,
    /// How often it has waited for the store since its last step.
    rests: u32,
}

impl Sweeping {
    /// How long to wait at `now` for other work before the next step; `None` if it is time for that.
    fn rest(&mut self, now: Instant, behind: impl FnOnce() -> bool) -> Option<Duration> {
        let left = self.from.map(|from| from.saturating_duration_since(now));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            return Some(left);
        }
        self.from = None;
        if self.rests < SWEEP_RESTS && behind() {
            self.rests += 1;
            return Some(SWEEP_REST);
        }
        None
    }

    /// A step was made, from `begun` to `now`.
    fn stepped(&mut self, begun: Instant, now: Instant) {
        self.rests = 0;
        let age = now - *self.since.get_or_insert(begun);
        let parts = SWEEP_REST_PARTS.iter().find(|(from, _)| age >= *from).map_or(0, |&(_, parts)| parts);
        self.from = Some(now + (now - begun) * parts);
    }

    /// There is nothing left.
    fn over(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::{NodeId, ShardId};
    use quorate_faulty::FaultyDisk;
    use quorate_node::applier::Lost;
    use quorate_state::kv::Kv;
    use quorate_storage::journal::Identity;
    use quorate_storage::memory::MemoryStore;
    use quorate_storage::state::StateStore;

    fn applying() -> Applying {
        let (shard, node) = (ShardId(1), NodeId(1));
        let mut store =
            MemoryStore::new(Arc::new(FaultyDisk::new(1)), "state", Identity { cluster: 1, node });
        let kv = Kv::open(shard, store.open(None).unwrap()).unwrap();
        let applier = Applier::new(kv, Lost::No, node, 0, 1 << 20);
        let (background, _) = std::sync::mpsc::channel();
        Applying::new(applier, Arc::default(), background, Arc::default())
    }

    /// Claim: what is applied by another thread than the applier's makes no step of a sweep that is under way.
    #[test]
    fn a_request_brings_no_step_of_a_sweep() {
        let mut applying = applying();
        assert!(applying.has_more(), "nobody has looked yet");
        assert!(!applying.at_once([Work::Settle(1)]), "the applier's thread knows");
        assert!(applying.has_more(), "a step was made");
        applying.work([Work::Upkeep]);
        assert!(!applying.has_more(), "an empty shard has nothing to sweep");
        assert!(!applying.at_once([Work::Seal]), "nor has it now");
    }

    /// Claim: a sweep takes a part of the time, whatever comes between its steps; it waits for a store that is behind, and not for ever.
    #[test]
    fn a_sweep_rests_longer_than_it_works_and_waits_for_the_store() {
        let (mut sweeping, began) = (Sweeping::default(), Instant::now());
        let at = |ms| began + Duration::from_millis(ms);
        assert_eq!(sweeping.rest(at(0), || false), None, "the first step waits for nothing");
        sweeping.stepped(at(0), at(2));
        assert_eq!(sweeping.rest(at(2), || false), Some(Duration::from_millis(14)));
        assert_eq!(
            sweeping.rest(at(6), || false),
            Some(Duration::from_millis(10)),
            "other work came in between"
        );
        assert_eq!(sweeping.rest(at(16), || true), Some(SWEEP_REST), "the store is behind");
        assert_eq!(sweeping.rest(at(21), || false), None, "and no longer");
        sweeping.stepped(at(21), at(21));
        let mut waited = 0;
        while sweeping.rest(at(30), || true).is_some() {
            waited += 1;
        }
        assert_eq!(waited, SWEEP_RESTS, "where the disk has no room, the sweep makes some");
    }

    /// Claim: what does not end hurries, and the next sweep begins slowly again.
    #[test]
    fn a_sweep_that_takes_long_rests_less() {
        let (mut sweeping, began) = (Sweeping::default(), Instant::now());
        let rest_at = |sweeping: &mut Sweeping, secs| {
            let begun = began + Duration::from_secs(secs);
            let now = begun + Duration::from_millis(1);
            sweeping.stepped(begun, now);
            sweeping.rest(now, || false).map(|rest| rest.as_millis())
        };
        let rests = [0, 19, 21, 61, 3600].map(|secs| rest_at(&mut sweeping, secs));
        assert_eq!(rests, [Some(7), Some(7), Some(3), Some(1), Some(1)]);
        sweeping.over();
        assert_eq!(rest_at(&mut sweeping, 3601), Some(7));
    }
}
