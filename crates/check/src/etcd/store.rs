//! The store: all keys at all revisions, with a way back.

use crate::value::Value;
use std::collections::BTreeMap;

/// Keys that are meant.
#[derive(Debug)]
pub(super) enum Range {
    One(String),
    From(String, String),
    Prefix(String),
}

impl Range {
    pub(super) fn holds(&self, key: &str) -> bool {
        match self {
            Self::One(one) => one == key,
            // etcd's own sign for "to the end".
            Self::From(from, to) => from.as_str() <= key && (to == "\0" || key < to.as_str()),
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

/// The numbers of a key, by name.
pub(super) const NUMBERS: [&str; 4] = ["mod", "create", "ver", "lease"];

/// A key at a revision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) revision: i64,
    /// `None`: it was deleted.
    pub(super) value: Option<Value>,
    pub(super) create: i64,
    pub(super) ver: i64,
    pub(super) lease: i64,
}

impl Held {
    pub(super) fn numbers(&self) -> [i64; 4] {
        [self.revision, self.create, self.ver, self.lease]
    }
}

/// All keys at all revisions.
#[derive(Default)]
pub(super) struct Store {
    pub(super) keys: BTreeMap<String, Vec<Held>>,
    /// What was changed, to go back.
    pub(super) done: Vec<(i64, String)>,
}

impl Store {
    /// A key that is there at a revision.
    pub(super) fn at(&self, key: &str, revision: i64) -> Option<Held> {
        let versions = self.keys.get(key)?;
        let place = versions.partition_point(|held| held.revision <= revision).checked_sub(1)?;
        versions.get(place).copied().filter(|held| held.value.is_some())
    }

    pub(super) fn within(&self, range: &Range, revision: i64) -> Vec<(String, Held)> {
        if let Range::One(key) = range {
            return self.at(key, revision).map(|held| (key.clone(), held)).into_iter().collect();
        }
        let from = match range {
            Range::One(from) | Range::From(from, _) | Range::Prefix(from) => from.clone(),
        };
        let keys = self.keys.range(from..).map(|(key, _)| key).take_while(|key| range.holds(key));
        keys.filter_map(|key| Some((key.clone(), self.at(key, revision)?))).collect()
    }

    pub(super) fn put(&mut self, key: &str, value: Value, lease: i64, revision: i64) {
        let (create, ver) = self.at(key, revision).map_or((revision, 0), |held| (held.create, held.ver));
        self.set(key, Held { revision, value: Some(value), create, ver: ver + 1, lease });
    }

    pub(super) fn delete(&mut self, key: &str, revision: i64) {
        self.set(key, Held { revision, value: None, create: 0, ver: 0, lease: 0 });
    }

    pub(super) fn set(&mut self, key: &str, held: Held) {
        self.done.push((held.revision, key.to_string()));
        self.keys.entry(key.to_string()).or_default().push(held);
    }

    /// Forgets this revision and all after it.
    pub(super) fn back_to(&mut self, revision: i64) {
        while let Some((_, key)) = self.done.pop_if(|(at, _)| *at >= revision) {
            if let Some(versions) = self.keys.get_mut(&key) {
                versions.pop();
            }
        }
    }

    pub(super) fn leased(&self, lease: i64) -> Vec<String> {
        let held = |key: &String| self.at(key, i64::MAX).is_some_and(|held| held.lease == lease);
        self.keys.keys().filter(|key| held(key)).cloned().collect()
    }
}
