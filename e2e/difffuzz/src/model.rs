//! What each watch must have said by now, from the history of the store. With it a comparison waits for exactly the
//! events that are due, and two servers that both lose the same event are still found out.

use crate::op::{BIAS, FAR};
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::mvccpb::Event;
use std::collections::{BTreeMap, BTreeSet};

/// One change of one key.
#[derive(Clone, Debug)]
struct Change {
    revision: i64,
    key: Bytes,
    delete: bool,
}

/// A watch that was created and not cancelled.
#[derive(Clone, Debug)]
struct Live {
    key: Bytes,
    end: Bytes,
    start: i64,
    puts: bool,
    deletes: bool,
    /// The next change of the history to look at.
    cursor: usize,
    /// Events due since the stream was opened, under this id.
    due: u64,
}

/// The history since the run's beginning, and who watches it.
#[derive(Debug)]
pub struct Model {
    history: Vec<Change>,
    live: BTreeMap<(usize, i64), Live>,
    /// Cancellations due, by watch, since the stream was opened.
    cancels: BTreeMap<(usize, i64), u64>,
    /// Watches that a compaction cancelled.
    burnt: BTreeSet<(usize, i64)>,
    /// The store's revision.
    pub revision: i64,
    /// The compacted revision.
    pub compacted: i64,
}

impl Model {
    pub fn new() -> Self {
        Self {
            history: Vec::new(),
            live: BTreeMap::new(),
            cancels: BTreeMap::new(),
            burnt: BTreeSet::new(),
            revision: BIAS,
            compacted: BIAS,
        }
    }

    /// The store has told its revision.
    pub fn at(&mut self, revision: i64) {
        self.revision = self.revision.max(revision);
    }

    /// An event of the watch that sees everything.
    pub fn happened(&mut self, event: &Event) {
        if let Some(kv) = &event.kv {
            self.history.push(Change {
                revision: kv.mod_revision,
                key: kv.key.clone(),
                delete: event.r#type() == quorate_proto::mvccpb::event::EventType::Delete,
            });
        }
    }

    /// A watch was created at the current revision; `events` came under its id before.
    pub fn created(&mut self, stream: usize, id: i64, request: &pb::WatchCreateRequest, events: u64) {
        let start = if request.start_revision == 0 { self.revision + 1 } else { request.start_revision };
        if start < self.compacted {
            self.burnt.insert((stream, id));
            return *self.cancels.entry((stream, id)).or_default() += 1;
        }
        let nul = Bytes::from_static(b"\0");
        let live = Live {
            key: if request.key.is_empty() { nul } else { request.key.clone() },
            end: request.range_end.clone(),
            start: if start >= FAR { i64::MAX } else { start },
            puts: !request.filters.contains(&0),
            deletes: !request.filters.contains(&1),
            cursor: self.history.partition_point(|change| change.revision < start),
            due: events,
        };
        self.live.insert((stream, id), live);
    }

    /// What is known of a watch, for a message.
    pub fn describe(&self, stream: usize, id: i64) -> String {
        let Some(live) = self.live.get(&(stream, id)) else { return "cancelled".into() };
        let seen: Vec<_> = self.history.iter().filter(|change| live.sees(change)).collect();
        let last = seen[seen.len().saturating_sub(12)..].iter().map(|change| {
            format!("{} {:?}{}", change.revision, change.key, if change.delete { " deleted" } else { "" })
        });
        format!("{live:?}, last due {:?}; compacted {}", last.collect::<Vec<_>>(), self.compacted)
    }

    /// Whether a revision changed a key twice.
    pub fn doubled(&self, revision: i64) -> bool {
        let first = self.history.partition_point(|change| change.revision < revision);
        let of = self.history[first..].iter().take_while(|change| change.revision == revision);
        let mut keys: Vec<&Bytes> = of.map(|change| &change.key).collect();
        let all = keys.len();
        keys.sort();
        keys.dedup();
        keys.len() < all
    }

    /// Whether a compaction cancelled any watch of this stream.
    pub fn any_burnt(&self, stream: usize) -> bool {
        self.burnt.iter().any(|(of, _)| *of == stream)
    }

    /// Whether a compaction cancelled this watch.
    pub fn burnt(&self, stream: usize, id: i64) -> bool {
        self.burnt.contains(&(stream, id))
    }

    /// A watch that lives was cancelled.
    pub fn canceled(&mut self, stream: usize, id: i64) {
        if self.live.remove(&(stream, id)).is_some() {
            *self.cancels.entry((stream, id)).or_default() += 1;
        }
    }

    /// A stream was closed and opened anew.
    pub fn reopened(&mut self, stream: usize) {
        self.live.retain(|(of, _), _| *of != stream);
        self.cancels.retain(|(of, _), _| *of != stream);
        self.burnt.retain(|(of, _)| *of != stream);
    }

    /// What is due on a stream by now: watch, events, cancellations.
    pub fn due(&mut self, stream: usize) -> Vec<(i64, u64, u64)> {
        let mut due: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
        for ((_, id), live) in self.live.range_mut((stream, i64::MIN)..=(stream, i64::MAX)) {
            for change in &self.history[live.cursor..] {
                live.due += u64::from(live.sees(change));
            }
            live.cursor = self.history.len();
            due.entry(*id).or_default().0 = live.due;
        }
        for ((_, id), cancels) in self.cancels.range((stream, i64::MIN)..=(stream, i64::MAX)) {
            due.entry(*id).or_default().1 = *cancels;
        }
        due.into_iter().map(|(id, (events, cancels))| (id, events, cancels)).collect()
    }
}

impl Live {
    fn sees(&self, change: &Change) -> bool {
        let inside = if self.end.is_empty() {
            change.key == self.key
        } else {
            change.key >= self.key && (self.end[..] == b"\0"[..] || change.key < self.end)
        };
        inside && change.revision >= self.start && if change.delete { self.deletes } else { self.puts }
    }
}
