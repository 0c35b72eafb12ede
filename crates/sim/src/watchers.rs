//! Watchers: streams over the whole space, judged event by event.
//!
//! Each revision is told by at least one event, so a watcher of everything must be told revision after revision, without a
//! gap and none twice, over all nodes that it resumes at; and what one was told of a revision, all are.

use crate::compaction::Compaction;
use crate::trace::What;
use crate::world::World;
use quorate_base::{NodeId, Rng};
use quorate_node::api::{WatchCreate, WatchMessage, WatchRequest, WatchStream};
use quorate_state::kv::KvView;
use quorate_wire::kv::{Event, KeyRange, Revision};
use std::collections::BTreeMap;

/// One client with one watch.
#[derive(Default)]
struct Watcher {
    /// The stream, and the life of the node that serves it.
    stream: Option<(NodeId, u64, Box<dyn WatchStream>)>,
    /// The next revision it must be told; 0 before it first heard.
    next: Revision,
}

/// All watchers, and what they were told.
pub(crate) struct Watchers {
    all: Vec<Watcher>,
    told: BTreeMap<Revision, Vec<Event>>,
    rng: Rng,
}

impl Watchers {
    pub(crate) fn new(seed: u64, watchers: usize) -> Self {
        Self {
            all: (0..watchers).map(|_| Watcher::default()).collect(),
            told: BTreeMap::new(),
            rng: Rng::stream(seed, "watchers"),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// A watcher reads what there is; now and then it goes to another node, as it does where its node went away.
    pub(crate) fn look(
        &mut self,
        at: usize,
        world: &mut World,
        mut compaction: Option<&mut Compaction>,
    ) -> Result<(), String> {
        let watcher = &mut self.all[at];
        if self.rng.chance(1, 12) {
            watcher.stream = None;
        }
        if let Some((node, life, _)) = &watcher.stream
            && !world.lives(*node, *life)
        {
            watcher.stream = None;
        }
        if watcher.stream.is_none() {
            let node = world.any(&mut self.rng);
            let Some((life, mut stream)) = world.watch(node) else { return Ok(()) };
            let range =
                KeyRange { key: bytes::Bytes::from_static(&[0]), end: bytes::Bytes::from_static(&[0]) };
            // Going back, it is told once more what it was told before: not at the end, when all are to catch up.
            let again = compaction.as_mut().filter(|_| world.faults_on);
            let start = again.map_or(watcher.next, |compaction| compaction.begin(watcher.next));
            watcher.next = start;
            stream.request(WatchRequest::Create(WatchCreate { range, start, ..WatchCreate::default() }));
            world.counts.add(if start > 0 { "watches resumed" } else { "watches begun" });
            watcher.stream = Some((node, life, stream));
        }
        let Some((node, _, stream)) = &mut watcher.stream else { return Ok(()) };
        if self.rng.chance(1, 8) {
            stream.request(WatchRequest::Progress);
        }
        while let Some(message) = stream.poll() {
            let who = format!("watcher {at} at node {node}");
            if let (true, Some(compaction)) =
                (message.canceled && message.compact_revision > 0, &mut compaction)
            {
                compaction
                    .refused(watcher.next, message.compact_revision)
                    .map_err(|why| format!("{who}: {why}"))?;
                world.counts.add("watches told of a compaction");
                watcher.next = message.compact_revision;
                watcher.stream = None;
                break;
            }
            world.digest.feed(world.now, *node, 6, &message.revision.to_le_bytes());
            world.note(|| told(at, *node, &message));
            hear(&mut watcher.next, &mut self.told, &message).map_err(|why| format!("{who}: {why}"))?;
        }
        Ok(())
    }

    /// What is compacted is told no more.
    pub(crate) fn forget_before(&mut self, revision: Revision) {
        self.told = self.told.split_off(&revision);
    }

    /// Whether all has been told to all.
    pub(crate) fn is_through(&self, view: &KvView) -> bool {
        self.all.iter().all(|watcher| watcher.next == view.revision() + 1)
    }

    /// All has been told to all, and it is what the state's own history says.
    pub(crate) fn judge(&self, view: &KvView) -> Result<(), String> {
        for (at, watcher) in self.all.iter().enumerate() {
            if watcher.next != view.revision() + 1 {
                return Err(format!(
                    "watcher {at} still waits for revision {}, the state stands at {}",
                    watcher.next,
                    view.revision()
                ));
            }
        }
        let Some(first) = self.told.keys().next().copied() else { return Ok(()) };
        let mut from = first.max(view.compacted());
        while from <= view.revision() {
            let events = view.history(from, 1 << 20).map_err(|e| format!("reading the history: {e:?}"))?;
            let Some(last) = events.last().map(|e| e.kv.mod_revision) else { break };
            for revision in events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
                let at = revision[0].kv.mod_revision;
                let told = self.told.get(&at).map_or(&[][..], Vec::as_slice);
                if !same(told, revision) {
                    return Err(format!("revision {at} was told as {told:?}, and is {revision:?}"));
                }
            }
            from = last + 1;
        }
        Ok(())
    }
}

/// What is before an event is not told to all.
fn same(a: &[Event], b: &[Event]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a.deleted, &a.kv) == (b.deleted, &b.kv))
}

fn told(watcher: usize, node: NodeId, message: &WatchMessage) -> What {
    let revision = |event: &Event| event.kv.mod_revision;
    let text = match (message.events.first().map(revision), message.events.last().map(revision)) {
        (Some(first), Some(last)) => format!("told revisions {first}..={last}"),
        _ if message.canceled => format!("watch canceled, compacted up to {}", message.compact_revision),
        _ if message.created => format!("watch made at revision {}", message.revision),
        _ => format!("all is told up to revision {}", message.revision),
    };
    What::Told { watcher, node, text }
}

fn hear(
    next: &mut Revision,
    told: &mut BTreeMap<Revision, Vec<Event>>,
    message: &WatchMessage,
) -> Result<(), String> {
    if message.canceled {
        return Err(format!("the watch was canceled: {:?}", message.reason));
    }
    if message.created && *next == 0 {
        *next = message.revision + 1;
    }
    for revision in message.events.chunk_by(|a, b| a.kv.mod_revision == b.kv.mod_revision) {
        let at = revision[0].kv.mod_revision;
        if at != *next {
            return Err(format!("was told revision {at}, and waits for {next}"));
        }
        *next += 1;
        let known = told.entry(at).or_insert_with(|| revision.to_vec());
        if !same(known, revision) {
            return Err(format!("revision {at} was told as {known:?} to another, and here as {revision:?}"));
        }
    }
    if message.id < 0 && message.revision >= *next {
        return Err(format!("all up to {} is told, it says, and {next} was not", message.revision));
    }
    Ok(())
}
