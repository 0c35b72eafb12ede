//! The contract of [`crate::state`] as a test: random operations, views, cuts, checkpoints, upkeep and restarts, held
//! against ordered maps that do the same in the plainest way. Every form of the state has to pass it.

use crate::state::{CheckpointJob, State, StateStore, Upkeep, View};
use bytes::Bytes;
use quorate_base::Rng;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// How often what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Checkpoints made and recorded.
    pub recorded: u64,
    /// Checkpoints made and lost by a restart.
    pub unrecorded: u64,
    /// Restarts.
    pub restarts: u64,
    /// Views compared long after they were taken.
    pub old_views: u64,
    /// Pieces of upkeep that found something to do.
    pub upkeep: u64,
}

struct Run<'a> {
    store: &'a mut dyn StateStore,
    rng: Rng,
    keys: u64,
    state: Box<dyn State>,
    upkeep: Option<Box<dyn Upkeep>>,
    now: Model,
    views: Vec<(Arc<dyn View>, Model)>,
    cut: Option<(Box<dyn CheckpointJob>, Model)>,
    recorded: Option<(u64, Model)>,
    done: Done,
}

/// Runs `steps` random steps against a store that is empty.
///
/// # Panics
/// Where the store breaks its contract.
pub fn check(store: &mut dyn StateStore, seed: u64, steps: u64) -> Done {
    let state = store.open(None).expect("an empty state opens");
    let mut rng = Rng::stream(seed, "contract");
    let keys = *rng.pick(&[8, 60, 2_000]);
    let mut run = Run {
        upkeep: state.upkeep(),
        store,
        rng,
        keys,
        state,
        now: Model::new(),
        views: Vec::new(),
        cut: None,
        recorded: None,
        done: Done::default(),
    };
    for _ in 0..steps {
        run.step();
    }
    run.restart();
    run.done
}

impl Run<'_> {
    fn step(&mut self) {
        match self.rng.below(1_000) {
            0..500 => self.write(),
            500..700 => self.read(),
            700..780 => self.take_view(),
            780..960 => self.compare_view(),
            960..975 => self.cut(),
            975..988 => self.checkpoint(),
            988..997 => self.upkeep(),
            _ => self.restart(),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let n = self.rng.below(self.keys);
        // Keys of all lengths, and such as are the beginnings of others.
        format!("{n:04}").into_bytes()[..=(n % 4) as usize].to_vec()
    }

    fn write(&mut self) {
        for _ in 0..=self.rng.below(20) {
            let key = self.key();
            if self.rng.chance(1, 3) {
                self.state.delete(&key);
                self.now.remove(&key);
            } else {
                let len = if self.rng.chance(1, 50) { 5_000 } else { self.rng.below(30) };
                let value = vec![self.rng.below(256) as u8; len as usize];
                match self.rng.below(3) {
                    0 => self.state.put_kept(key.clone().into(), value.clone().into()),
                    1 => self.state.put_shared(key.clone().into(), value.clone().into()),
                    _ => self.state.put(&key, &value),
                }
                self.now.insert(key, value);
            }
        }
    }

    fn range(&mut self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        let (a, b) = (self.key(), self.key());
        let (low, high) = if a <= b || self.rng.chance(1, 10) { (a, b) } else { (b, a) };
        let mut bound = |key| match self.rng.below(5) {
            0 => Bound::Unbounded,
            1 => Bound::Excluded(key),
            _ => Bound::Included(key),
        };
        (bound(low), bound(high))
    }

    fn read(&mut self) {
        let (key, range) = (self.key(), self.range());
        let range = (range.0.as_ref().map(Vec::as_slice), range.1.as_ref().map(Vec::as_slice));
        assert_eq!(self.state.get(&key), Ok(self.now.get(&key).map(|v| Bytes::copy_from_slice(v))));
        let expected = pairs(&self.now, range);
        assert_eq!(self.state.scan(range).collect::<Result<Vec<_>, _>>().as_ref(), Ok(&expected));
        let back = self.state.scan_back(range).collect::<Result<Vec<_>, _>>().expect("a scan");
        assert!(back.iter().rev().eq(&expected), "a scan backwards differs");
    }

    fn take_view(&mut self) {
        if self.views.len() < 20 {
            let view = self.state.view();
            let view = if self.rng.chance(1, 2) { view.lasting() } else { view };
            self.views.push((view, self.now.clone()));
        }
    }

    fn compare_view(&mut self) {
        if self.views.is_empty() {
            return;
        }
        let at = self.rng.below(self.views.len() as u64) as usize;
        let (key, range) = (self.key(), self.range());
        let range = (range.0.as_ref().map(Vec::as_slice), range.1.as_ref().map(Vec::as_slice));
        let (view, model) = &self.views[at];
        assert_eq!(view.get(&key), Ok(model.get(&key).map(|v| Bytes::copy_from_slice(v))));
        let expected = pairs(model, range);
        assert_eq!(view.scan(range).collect::<Result<Vec<_>, _>>().as_ref(), Ok(&expected));
        let back = view.scan_back(range).collect::<Result<Vec<_>, _>>().expect("a scan");
        assert!(back.iter().rev().eq(&expected), "a scan of a view backwards differs");
        self.done.old_views += u64::from(*model != self.now);
        if self.rng.chance(1, 3) {
            self.views.swap_remove(at);
        }
    }

    fn cut(&mut self) {
        if self.cut.is_none() {
            self.cut = Some((self.state.seal().expect("a cut"), self.now.clone()));
            assert_eq!(self.state.unsealed_bytes(), 0);
        }
    }

    fn checkpoint(&mut self) {
        let Some((job, model)) = self.cut.take() else { return };
        let generation = self.recorded.as_ref().map_or(1, |(generation, _)| generation + 1);
        job.run(generation).expect("a checkpoint");
        if self.rng.chance(1, 5) {
            self.done.unrecorded += 1;
            self.restart();
        } else {
            self.done.recorded += 1;
            self.recorded = Some((generation, model));
            // Whoever keeps up with it lets go of those before it, or dies before that.
            if let Some(upkeep) = self.upkeep.as_mut().filter(|_| self.rng.chance(1, 2)) {
                upkeep.recorded(generation).expect("older checkpoints are let go of");
            }
        }
    }

    fn upkeep(&mut self) {
        let settles = self.rng.chance(1, 4);
        if let Some(upkeep) = &mut self.upkeep {
            if settles {
                upkeep.settle().expect("all is merged");
            }
            self.done.upkeep += u64::from(upkeep.step().expect("upkeep"));
        }
    }

    /// A crash: all since the recorded checkpoint is gone.
    fn restart(&mut self) {
        self.views.clear();
        self.cut = None;
        self.upkeep = None;
        // Nothing may be left open when the next state opens.
        self.state = Box::new(Gone);
        let generation = self.recorded.as_ref().map(|(generation, _)| *generation);
        self.state = self.store.open(generation).expect("the recorded checkpoint opens");
        self.upkeep = self.state.upkeep();
        self.now = self.recorded.as_ref().map(|(_, model)| model.clone()).unwrap_or_default();
        let all = (Bound::Unbounded, Bound::Unbounded);
        assert_eq!(self.state.scan(all).collect::<Result<Vec<_>, _>>(), Ok(pairs(&self.now, all)));
        self.done.restarts += 1;
    }
}

fn pairs(model: &Model, range: crate::state::Range<'_>) -> Vec<(Bytes, Bytes)> {
    let inside = |key: &[u8]| {
        (match range.0 {
            Bound::Included(low) => key >= low,
            Bound::Excluded(low) => key > low,
            Bound::Unbounded => true,
        }) && match range.1 {
            Bound::Included(high) => key <= high,
            Bound::Excluded(high) => key < high,
            Bound::Unbounded => true,
        }
    };
    let copy = |bytes: &Vec<u8>| Bytes::copy_from_slice(bytes);
    model.iter().filter(|(key, _)| inside(key)).map(|(key, value)| (copy(key), copy(value))).collect()
}

/// Stands where a state was.
struct Gone;

impl State for Gone {
    fn put(&mut self, _: &[u8], _: &[u8]) {}
    fn delete(&mut self, _: &[u8]) {}
    fn get(&self, _: &[u8]) -> crate::state::StateResult<Option<Bytes>> {
        unreachable!("a state that is gone is read")
    }
    fn scan<'a>(&'a self, _: crate::state::Range<'_>) -> crate::state::Scan<'a> {
        unreachable!("a state that is gone is read")
    }
    fn scan_back<'a>(&'a self, _: crate::state::Range<'_>) -> crate::state::Scan<'a> {
        unreachable!("a state that is gone is read")
    }
    fn view(&self) -> Arc<dyn View> {
        unreachable!("a state that is gone is read")
    }
    fn seal(&mut self) -> crate::state::StateResult<Box<dyn CheckpointJob>> {
        unreachable!("a state that is gone is sealed")
    }
    fn unsealed_bytes(&self) -> u64 {
        0
    }
    fn upkeep(&self) -> Option<Box<dyn Upkeep>> {
        None
    }
}
