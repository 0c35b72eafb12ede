//! The key-value machine held against a space in the plainest way, over any form of the state.
//!
//! One log of random commands is applied by several replicas at their own pace. In between they cut, make checkpoints,
//! restart from them, sweep, and take snapshots from each other; their views are kept and read long after. Every answer,
//! every event and every read is the model's, and the digests agree at each index.

mod model;
mod workload;

pub use model::{Model, Outcome};
pub use workload::Workload;

use crate::kv::{Events, Kv, KvView, LeaseInfo, ReadError, Wanted};
use bytes::Bytes;
use quorate_base::{Base, Entry, EntryId, EntryKind, Index, NodeId, ShardId, Term};
use quorate_storage::state::{CheckpointJob, StateStore};
use quorate_wire::command;
use quorate_wire::kv::{Alarm, Event, LeaseId, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Restarts from a checkpoint.
    pub restarts: u64,
    /// Snapshots taken in.
    pub imports: u64,
    /// Snapshots that broke off.
    pub broken_imports: u64,
    /// Steps of background deletion that found something.
    pub sweeps: u64,
    /// Views read long after.
    pub old_views: u64,
    /// Commands that were refused.
    pub refused: u64,
    /// Compactions.
    pub compactions: u64,
}

impl Done {
    /// Adds up.
    pub fn add(&mut self, other: Self) {
        self.restarts += other.restarts;
        self.imports += other.imports;
        self.broken_imports += other.broken_imports;
        self.sweeps += other.sweeps;
        self.old_views += other.old_views;
        self.refused += other.refused;
        self.compactions += other.compactions;
    }

    /// How often what was done least was done.
    pub fn least(&self) -> u64 {
        let most = self.restarts.min(self.imports).min(self.broken_imports).min(self.sweeps);
        most.min(self.old_views).min(self.refused).min(self.compactions)
    }
}

/// What the model says of one index.
struct Moment {
    outcome: Option<Outcome>,
    revision: Revision,
    compacted: Revision,
    leases: BTreeMap<LeaseId, LeaseInfo>,
    fences: BTreeMap<Bytes, u64>,
    alarms: BTreeSet<Alarm>,
    membership: Bytes,
    digest: Option<u64>,
}

struct Replica<'a> {
    store: &'a mut dyn StateStore,
    kv: Option<Kv>,
    generation: Option<u64>,
    job: Option<Box<dyn CheckpointJob>>,
    views: Vec<Arc<KvView>>,
}

struct Run<'a> {
    workload: Workload,
    model: Model,
    log: Vec<Entry>,
    moments: Vec<Moment>,
    replicas: Vec<Replica<'a>>,
    done: Done,
}

const SHARD: ShardId = ShardId(1);

/// Runs `steps` random steps over replicas whose states come from `stores`, all empty.
///
/// # Panics
/// Where a replica differs from the model or from another.
pub fn check(stores: &mut [Box<dyn StateStore>], seed: u64, steps: u64) -> Done {
    let replicas = stores
        .iter_mut()
        .map(|store| {
            let state = store.open(None).expect("an empty state opens");
            let kv = Some(Kv::open(SHARD, state).expect("an empty space opens"));
            Replica { store: &mut **store, kv, generation: None, job: None, views: Vec::new() }
        })
        .collect();
    let model = Model::default();
    let first = Moment {
        outcome: None,
        revision: 1,
        compacted: -1,
        leases: BTreeMap::new(),
        fences: BTreeMap::new(),
        alarms: BTreeSet::new(),
        membership: Bytes::new(),
        digest: Some(0),
    };
    let mut run = Run {
        workload: Workload::new(seed),
        model,
        log: Vec::new(),
        moments: vec![first],
        replicas,
        done: Done::default(),
    };
    for _ in 0..steps {
        run.step();
    }
    for at in 0..run.replicas.len() {
        run.restart(at);
        run.catch_up(at, u64::MAX);
        let view = run.kv(at).view();
        run.read(&view);
    }
    run.done
}

impl Run<'_> {
    fn kv(&mut self, at: usize) -> &mut Kv {
        self.replicas[at].kv.as_mut().expect("the replica runs")
    }

    fn chance(&mut self, of: u64) -> u64 {
        self.workload.rng().below(of)
    }

    fn step(&mut self) {
        let at = self.chance(self.replicas.len() as u64) as usize;
        match self.chance(100) {
            0..50 => self.propose(),
            50..70 => {
                let n = self.chance(30);
                self.catch_up(at, n);
            }
            70..82 => {
                let view = self.kv(at).view();
                self.read(&view);
                self.replicas[at].views.push(view);
            }
            82..90 => self.read_old(at),
            90..94 => {
                let budget = *self.workload.rng().pick(&[1, 3, 50]);
                self.done.sweeps += u64::from(self.kv(at).compact_step(budget).expect("a sweep"));
            }
            94 | 95 => {
                if self.replicas[at].job.is_none() {
                    self.replicas[at].job = Some(self.kv(at).seal().expect("a cut"));
                }
            }
            96 | 97 => self.checkpoint(at),
            98 => self.restart(at),
            _ => self.import(at),
        }
    }

    fn propose(&mut self) {
        let index = Index(self.log.len() as u64 + 1);
        let id = EntryId::new(Term(1 + index.get() / 50), index);
        let mut membership = self.moments[self.log.len()].membership.clone();
        let (entry, outcome) = match self.chance(40) {
            0 => (Entry { id, kind: EntryKind::Empty, data: Bytes::new() }, None),
            1 => {
                membership = Bytes::from(format!("voters {index}"));
                (Entry { id, kind: EntryKind::Membership, data: membership.clone() }, None)
            }
            _ => {
                let command = self.workload.command(&self.model);
                let outcome = self.model.apply(index, &command);
                let data = command::encode(NodeId(7), index.get() * 3, &command);
                (Entry { id, kind: EntryKind::Command, data }, Some(outcome))
            }
        };
        self.done.refused += u64::from(outcome.as_ref().is_some_and(|o| o.reply.is_err()));
        self.done.compactions += u64::from(self.model.compacted != self.moments[self.log.len()].compacted);
        self.log.push(entry);
        self.moments.push(Moment {
            outcome,
            revision: self.model.revision(),
            compacted: self.model.compacted,
            leases: self.model.leases.clone(),
            fences: self.model.fences.clone(),
            alarms: self.model.alarms.clone(),
            membership,
            digest: None,
        });
    }

    fn catch_up(&mut self, at: usize, n: u64) {
        for _ in 0..n {
            let kv = self.replicas[at].kv.as_mut().expect("the replica runs");
            let next = kv.applied().index.get() as usize;
            let Some(entry) = self.log.get(next) else { return };
            let before = kv.revision();
            let applied = kv.apply(entry).expect("the store works");
            let moment = &mut self.moments[next + 1];
            assert_eq!((applied.id, kv.applied()), (entry.id, entry.id));
            assert_eq!(applied.revision, moment.revision, "revision behind {entry:?}");
            let events = told(kv, applied.events, before + 1);
            match &moment.outcome {
                Some(expected) => {
                    let got = Outcome { reply: applied.outcome, events, leases: applied.leases };
                    assert_eq!((applied.origin, applied.request), (NodeId(7), entry.id.index.get() * 3));
                    assert_eq!(got, *expected, "what came of {:?}", command::decode(&entry.data));
                }
                None => assert!(events.is_empty() && applied.leases.is_empty()),
            }
            let digest = *moment.digest.get_or_insert(kv.digest());
            assert_eq!(kv.digest(), digest, "digests at {:?}", entry.id);
        }
    }

    /// Holds all that a view can be asked against the model.
    fn read(&mut self, view: &KvView) {
        let moment = &self.moments[view.applied().index.get() as usize];
        let (newest, compacted) = (moment.revision, moment.compacted);
        assert_eq!((view.revision(), view.compacted()), (newest, compacted.max(0)));
        assert_eq!(*view.membership(), moment.membership);
        assert_eq!(Some(view.digest()), moment.digest);
        let leases: Vec<_> = moment.leases.iter().map(|(id, info)| (*id, *info)).collect();
        assert_eq!(view.leases(), leases);
        assert_eq!(view.fences(), moment.fences.clone().into_iter().collect::<Vec<_>>());
        assert_eq!(*view.alarms(), moment.alarms);
        for (id, ..) in leases.iter().take(2) {
            assert_eq!(view.lease_keys_while(*id, &|_| true), Ok(Some(self.model.lease_keys(*id, newest))));
        }
        for _ in 0..4 {
            let range = self.workload.range(newest);
            let expected = self.model.range(&range, newest, compacted).map_err(ReadError::Refused);
            assert_eq!(view.range(&range), expected, "{range:?} at {newest}, compacted {compacted}");
            let left = std::cell::Cell::new(self.chance(30));
            let go_on = |cost: usize| match left.get().checked_sub(cost as u64) {
                Some(less) => {
                    left.set(less);
                    true
                }
                None => false,
            };
            match view.range_while(&range, &go_on) {
                Ok(None) => assert!(view.range(&range).is_ok(), "{range:?} was ended, and is refused"),
                whole => assert_eq!(whole, expected.map(Some), "{range:?} at {newest} within a limit"),
            }
        }
        self.read_history(view, newest, compacted);
    }

    fn read_history(&mut self, view: &KvView, newest: Revision, compacted: Revision) {
        let from = self.chance(newest as u64 + 2) as Revision;
        let max_bytes = *self.workload.rng().pick(&[1, 300, 1 << 30]);
        let got = view.history(from, max_bytes);
        if from < compacted {
            assert!(matches!(got, Err(ReadError::Refused(_))), "{from} below {compacted}: {got:?}");
            return;
        }
        let got = got.expect("the history is there");
        let until = if max_bytes == 1 << 30 { newest } else { got.last().map_or(0, |e| e.kv.mod_revision) };
        let hide = |event: &Event| {
            let prev = event.prev.clone().filter(|_| event.kv.mod_revision > compacted);
            Event { prev, ..event.clone() }
        };
        let within = |e: &&Event| (from..=until).contains(&e.kv.mod_revision);
        let expected: Vec<Event> = self.model.events.iter().filter(within).map(hide).collect();
        assert_eq!(got, expected, "history from {from} until {until}, compacted {compacted}");
        let any = self.model.events.iter().any(|e| (from..=newest).contains(&e.kv.mod_revision));
        assert_eq!(any, !got.is_empty(), "an empty history from {from} up to {newest}");
        self.read_what_is_wanted(view, from, max_bytes, until);
    }

    /// Of the same history a part: as far as that of all goes, or further.
    fn read_what_is_wanted(&mut self, view: &KvView, from: Revision, max_bytes: usize, until: Revision) {
        let range = self.workload.key_range();
        let [all, puts, deletions, prev] = [4, 3, 3, 2].map(|n| self.chance(n) == 0);
        let wanted = Wanted { range: (!all).then_some(&range), puts: !puts, deletions: !deletions, prev };
        let (got, upto) = view.history_of(from, max_bytes, &wanted).expect("the history is there");
        assert!((until..=view.revision()).contains(&upto), "{upto} and not {until}, {wanted:?}");
        let expected: Vec<Event> = self
            .model
            .events
            .iter()
            .filter(|e| (from..=upto).contains(&e.kv.mod_revision))
            .filter(|e| if e.deleted { wanted.deletions } else { wanted.puts })
            .filter(|e| all || model::within(&range, &e.kv.key))
            .map(|e| {
                let known = wanted.prev && e.kv.mod_revision > view.compacted();
                Event { prev: e.prev.clone().filter(|_| known), ..e.clone() }
            })
            .collect();
        assert_eq!(got, expected, "from {from} until {upto}, {wanted:?}");
    }

    fn read_old(&mut self, at: usize) {
        let views = &mut self.replicas[at].views;
        if views.is_empty() {
            return;
        }
        let view = views.remove(0);
        self.done.old_views += 1;
        self.read(&view);
    }

    fn checkpoint(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        if let Some(job) = replica.job.take() {
            let generation = replica.generation.map_or(1, |g| g + 1);
            job.run(generation).expect("a checkpoint");
            replica.generation = Some(generation);
        }
    }

    /// The replica goes back to its last checkpoint.
    fn restart(&mut self, at: usize) {
        let replica = &mut self.replicas[at];
        replica.views.clear();
        replica.job = None;
        replica.kv = None;
        let state = replica.store.open(replica.generation).expect("the recorded checkpoint opens");
        let kv = Kv::open(SHARD, state).expect("the space opens");
        assert_eq!(Some(kv.digest()), self.moments[kv.applied().index.get() as usize].digest);
        replica.kv = Some(kv);
        self.done.restarts += 1;
    }

    /// The replica takes in a snapshot of one that is ahead of it.
    fn import(&mut self, at: usize) {
        let ahead = (0..self.replicas.len()).max_by_key(|i| self.kv(*i).applied()).unwrap_or(at);
        let view = self.kv(ahead).view();
        if view.applied() <= self.kv(at).applied() {
            return;
        }
        let base = Base { id: view.applied(), membership: view.membership().clone() };
        let max_bytes = *self.workload.rng().pick(&[200, 5_000, 1 << 20]);
        let break_at = if self.chance(4) == 0 { self.chance(5) } else { u64::MAX };
        let harm = self.chance(4);
        self.kv(at).import_begin().expect("an import begins");
        let (mut cursor, mut seq) = (None, 0);
        loop {
            let (chunk, next) = view.export(cursor.as_ref(), max_bytes).expect("an export");
            assert_eq!(view.export(cursor.as_ref(), max_bytes), Ok((chunk.clone(), next.clone())));
            if seq == break_at {
                let after = next.map(|next| view.export(Some(&next), max_bytes).expect("an export").0);
                self.harm(at, seq, &chunk, after.as_ref(), harm);
                return;
            }
            self.kv(at).import_chunk(seq, &chunk).expect("a good chunk");
            if self.chance(20) == 0 {
                self.catch_up(at, 1);
            }
            seq += 1;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        if self.kv(at).applied() > base.id {
            self.kv(at).import_abandon();
            return;
        }
        self.kv(at).import_finish(base).expect("a whole snapshot");
        self.done.imports += 1;
        let view = self.kv(at).view();
        self.read(&view);
    }

    /// A chunk comes damaged, in the wrong place, or not at all.
    fn harm(&mut self, at: usize, seq: u64, chunk: &Bytes, after: Option<&Bytes>, how: u64) {
        let bit = self.chance(chunk.len() as u64 * 8);
        let kv = self.kv(at);
        match how {
            0 => {
                let mut flipped = chunk.to_vec();
                flipped[(bit / 8) as usize] ^= 1 << (bit % 8);
                assert!(kv.import_chunk(seq, &flipped).is_err_and(|e| e.damaged()), "bit {bit}");
            }
            1 => assert!(kv.import_chunk(seq + 1, chunk).is_err()),
            2 if after.is_some() => {
                // The chunk is lost, and the one behind it comes in its place.
                assert!(after.is_some_and(|after| kv.import_chunk(seq, after).is_err_and(|e| e.damaged())));
            }
            _ => {}
        }
        self.done.broken_imports += 1;
        let view = self.kv(at).view();
        self.read(&view);
    }
}

/// What a watch of everything is told of one entry.
fn told(kv: &Kv, events: Events, from: Revision) -> Vec<Event> {
    match events {
        Events::Listed { list, .. } => list,
        Events::Between { first, last } => {
            let read = kv.view().history(from, usize::MAX).expect("the store works");
            let keys = || read.iter().map(|event| &event.kv.key);
            assert_eq!((keys().min(), keys().max()), (Some(&first), Some(&last)));
            read
        }
    }
}
