//! Evidence: what a node says, when asked, about how it served one request.
//!
//! Whoever wants it wraps a request in [`Request::Explained`](crate::api::Request::Explained) with a [`Slot`]; the lane fills
//! the slot before it answers. A request that is not wrapped pays for none of this.
//!
//! All times but the first are taken where the lane takes its own: at the beginning of a turn of its loop. What lies between two nodes is
//! known as the time for the way there and back, since no two clocks are compared. What is left out: the time within a
//! follower (its flush and its queue lie in the time of its acknowledgement), and all that lies before and behind the lane, in the
//! door and in the client's own connection.

use crate::lane::Missed;
use quorate_base::time::Duration;
use quorate_base::{Index, Instant, NodeId, Term};
use quorate_clock::Wall;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// On what an answer rests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// An entry of the log, committed and applied.
    Log,
    /// The leader's own state, after a round of heartbeats had shown that it still led.
    Leader,
    /// The asked node's own state, at a read index that the leader gave after such a round.
    ReadIndex,
    /// The asked node's own state, at an index that the leader gave while its lease held.
    Lease,
    /// The asked node's own state, which holds all that was done before a time.
    Bounded,
    /// The asked node's own state, whatever the others have.
    Local,
}

impl Mode {
    /// Its word in headers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Leader => "leader",
            Self::ReadIndex => "read-index",
            Self::Lease => "lease",
            Self::Bounded => "bounded",
            Self::Local => "local",
        }
    }
}

/// A part of the time that a request took. Those of one request follow each other and sum up to [`Part::Total`], but for
/// [`Part::Flush`], which lies within [`Part::Replicate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Until it was proposed, forwarded, or its read index asked for.
    Queue,
    /// The way to the leader and back.
    Forward,
    /// The leader's own flush, where it was among those that committed the entry.
    Flush,
    /// From the proposal until the entry was committed.
    Replicate,
    /// From the question for a read index, or about a lease, until its answer.
    Confirm,
    /// Until the machine of the asked node had applied what was needed.
    Apply,
    /// On a reader's thread, where much was read.
    Read,
    /// Until the asked node had swept away what was compacted, and given back the room where that was asked for.
    Upkeep,
    /// Until the asked node had heard from the leader that it was to hand over to.
    Move,
    /// All of it, from when the node took the request until it answered.
    Total,
}

impl Part {
    /// Its word in headers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Forward => "forward",
            Self::Flush => "flush",
            Self::Replicate => "replicate",
            Self::Confirm => "confirm",
            Self::Apply => "apply",
            Self::Read => "read",
            Self::Upkeep => "upkeep",
            Self::Move => "move",
            Self::Total => "total",
        }
    }
}

/// How one request was served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// Who answered.
    pub node: NodeId,
    /// Who led, as far as the answer rests on a leader or one was known.
    pub leader: Option<NodeId>,
    /// The term of the entry, or the answering node's.
    pub term: Term,
    /// The entry, or the read index. None where the answer rests on none, or the leader's word about it was lost.
    pub index: Option<Index>,
    /// Up to here the log was applied in the state that the answer is from.
    pub applied: Index,
    /// On what it rests.
    pub mode: Mode,
    /// The voters whose word made it so, the leader among them; with microseconds where they are known: until the leader knew
    /// that the entry was on their disk.
    pub acks: Vec<(NodeId, Option<u64>)>,
    /// How many voters there were; 0 where nobody was asked.
    pub voters: u64,
    /// For [`Mode::Bounded`]: all that was done before this moment is in the answer, by the leader's wall clock; and how old the answer
    /// is at most.
    pub closed: Option<(Wall, Duration)>,
    /// A bound on its staleness was to be kept, and the asked node could not by itself: why.
    pub missed: Option<Missed>,
    /// How long what took, in microseconds.
    pub parts: Vec<(Part, u64)>,
}

impl Evidence {
    /// The headers of an answer that tell of it, in the words of `docs/evidence.md`.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("quorate-node", self.node.to_string())];
        let mut put = |name, value: String| headers.push((name, value));
        if let Some(leader) = self.leader {
            put("quorate-leader", leader.to_string());
        }
        put("quorate-term", self.term.to_string());
        if let Some(index) = self.index {
            put("quorate-index", index.to_string());
        }
        put("quorate-applied", self.applied.to_string());
        put("quorate-mode", self.mode.word().to_string());
        if self.voters > 0 {
            let mut acks = String::new();
            for (node, micros) in &self.acks {
                let comma = if acks.is_empty() { "" } else { "," };
                let _ = match micros {
                    Some(micros) => write!(acks, "{comma}{node}={micros}"),
                    None => write!(acks, "{comma}{node}"),
                };
            }
            put("quorate-acks", acks);
            put("quorate-voters", self.voters.to_string());
        }
        if let Some((closed, age)) = self.closed {
            put("quorate-closed", closed.to_string());
            put("quorate-staleness", age.as_millis().to_string());
        }
        if let Some(missed) = self.missed {
            put("quorate-bound-missed", missed.word().to_string());
        }
        let parts = self.parts.iter().map(|(part, micros)| format!("{}={micros}", part.word()));
        put("quorate-micros", parts.collect::<Vec<_>>().join(","));
        headers
    }
}

/// Where evidence is put.
#[derive(Clone, Debug, Default)]
pub struct Slot(Arc<Mutex<Filled>>);

#[derive(Debug, Default)]
struct Filled {
    came: Option<Instant>,
    evidence: Option<Evidence>,
    /// Who answered in this node's place, whose evidence stays there.
    elsewhere: Option<NodeId>,
}

impl Slot {
    /// The request came at this moment of the node's clock; otherwise it counts from when the lane takes it.
    pub fn came(&self, at: Instant) {
        self.filled().came = Some(at);
    }

    pub(crate) fn begun(&self) -> Option<Instant> {
        self.filled().came
    }

    fn filled(&self) -> std::sync::MutexGuard<'_, Filled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it there.
    pub fn put(&self, evidence: Evidence) {
        let mut filled = self.filled();
        let mut evidence = evidence;
        // Of several parts of an answer the oldest says how old it is.
        let older = filled.evidence.as_ref().and_then(|evidence| evidence.closed);
        if let (Some(older), Some(closed)) = (older, &mut evidence.closed) {
            *closed = (older.0.min(closed.0), older.1.max(closed.1));
        }
        filled.evidence = Some(evidence);
        filled.elsewhere = None;
    }

    /// Another node answered in this one's place.
    pub(crate) fn passed_on(&self, to: NodeId) {
        let mut filled = self.filled();
        filled.evidence = None;
        filled.elsewhere = Some(to);
    }

    /// The headers of an answer that tell of what was put there.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let filled = self.filled();
        let passed_on = filled.elsewhere.map(|node| ("quorate-passed-on", node.to_string()));
        filled.evidence.iter().flat_map(Evidence::headers).chain(passed_on).collect()
    }

    /// Changes what was put there, if anything was.
    pub fn amend(&self, with: impl FnOnce(&mut Evidence)) {
        self.filled().evidence.as_mut().map(with);
    }

    /// Adds a part of the time to what was put there.
    pub(crate) fn prolong(&self, part: Part, micros: u64) {
        self.amend(|evidence| {
            let total = evidence.parts.iter().position(|&(part, _)| part == Part::Total);
            if let Some((_, total)) = total.and_then(|at| evidence.parts.get_mut(at)) {
                *total += micros;
            }
            evidence.parts.insert(total.unwrap_or(evidence.parts.len()), (part, micros));
        });
    }

    /// Takes it out.
    pub fn take(&self) -> Option<Evidence> {
        self.filled().evidence.take()
    }
}

/// Two are the same if they are one.
impl PartialEq for Slot {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Slot {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: of several that served parts of a request, the last one is told of, here or elsewhere.
    #[test]
    fn the_last_word_counts() {
        let slot = Slot::default();
        assert!(slot.headers().is_empty());
        let here = Evidence {
            node: NodeId(2),
            leader: None,
            term: Term(3),
            index: None,
            applied: Index(4),
            mode: Mode::Local,
            acks: Vec::new(),
            voters: 0,
            closed: None,
            missed: None,
            parts: vec![(Part::Queue, 5), (Part::Total, 6)],
        };
        let told = |slot: &Slot| {
            let told = slot.headers().into_iter().map(|(name, value)| format!("{name}: {value}"));
            told.collect::<Vec<_>>()
        };
        slot.put(here.clone());
        let words = ["quorate-node: 2", "quorate-term: 3", "quorate-applied: 4", "quorate-mode: local"];
        assert_eq!(told(&slot), [&words[..], &["quorate-micros: queue=5,total=6"]].concat());
        slot.passed_on(NodeId(7));
        assert_eq!(told(&slot), ["quorate-passed-on: 7"]);
        slot.put(here);
        assert_eq!(told(&slot).len(), 5);
    }
}
