//! Linearizable reads: all that gather until a drain share one read index, and run on one view.

use super::explain::Trace;
use crate::api::{Done, Failure, Request, Wait};
use quorate_base::time::Duration;
use quorate_base::{Index, Instant, NodeId};
use quorate_protocol::raft::ReadReady;
use quorate_wire::kv::LeaseId;
use std::collections::BTreeMap;
use std::sync::Weak;

/// Until when a read waits.
#[derive(Clone)]
pub(crate) struct Until {
    /// For its index, and for what else the cluster has to say.
    pub(crate) index: Instant,
    /// For a reader to have read it all: as long as its client waits, if that is known.
    pub(crate) reader: Option<Instant>,
    /// Gone with the client.
    pub(crate) asker: Option<Weak<()>>,
}

impl Until {
    /// The wait of a client, of which the cluster gets `most`.
    pub(crate) fn new(now: Instant, wait: Wait, most: Duration) -> Self {
        let index = now + wait.timeout.unwrap_or(most).min(most);
        let reader = match &wait.asker {
            Some(_) => wait.timeout.map(|timeout| now + timeout),
            None => Some(index),
        };
        Self { index, reader, asker: wait.asker }
    }

    /// The same moment for all.
    pub(crate) fn at(deadline: Instant) -> Self {
        Self { index: deadline, reader: Some(deadline), asker: None }
    }

    /// Whether nobody waits for a reader any more.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let gone = self.asker.as_ref().is_some_and(|asker| asker.strong_count() == 0);
        gone || self.reader.is_some_and(|reader| reader <= now)
    }
}

/// What is to be done once the index is known and applied.
pub(crate) enum Read {
    /// A client's read of the state.
    Local {
        /// What it asks.
        request: Request,
        /// Whom it answers.
        done: Done,
        /// Until when.
        until: Until,
        /// It is to be explained.
        trace: Option<Box<Trace>>,
    },
    /// This node, as leader, confirms something about a lease for a request of its own (`from` is itself) or a peer's.
    Lease {
        /// Who asks.
        from: NodeId,
        /// The asker's number for it.
        request: u64,
        /// Which lease.
        lease: LeaseId,
        /// Prolong it; otherwise only look.
        renew: bool,
    },
}

/// Reads by what they wait for.
#[derive(Default)]
pub(crate) struct Reads {
    /// Waiting for the next read round.
    gathering: Vec<Read>,
    /// Waiting for a read index, by read number.
    asked: BTreeMap<u64, Vec<Read>>,
    /// Waiting for the machine to reach an index.
    indexed: BTreeMap<Index, Vec<Read>>,
    next: u64,
    /// How many rounds got no index so far.
    dropped: u64,
    /// Some of those that gather or have asked are to be explained.
    traced: bool,
}

impl Reads {
    /// Takes a read in.
    pub(crate) fn gather(&mut self, read: Read) {
        self.traced |= matches!(read, Read::Local { trace: Some(_), .. });
        self.gathering.push(read);
    }

    /// The number to ask an index for, if reads have gathered.
    pub(crate) fn ask(&mut self, now: Instant, leader: NodeId) -> Option<u64> {
        if self.gathering.is_empty() {
            return None;
        }
        if self.traced {
            traces(&mut self.gathering).for_each(|trace| trace.sent = Some((now, Some(leader))));
        }
        self.next += 1;
        self.asked.insert(self.next, std::mem::take(&mut self.gathering));
        Some(self.next)
    }

    /// A read may run once its index is applied.
    pub(crate) fn indexed(&mut self, now: Instant, ready: &ReadReady) {
        let Some(mut reads) = self.asked.remove(&ready.id.0) else { return };
        if self.traced {
            traces(&mut reads)
                .for_each(|trace| trace.indexed = Some((now, ready.index, ready.proof.clone())));
            self.traced = !(self.asked.is_empty() && self.gathering.is_empty());
        }
        self.indexed.entry(ready.index).or_default().append(&mut reads);
    }

    /// Read `number` got no index: its reads gather again, leases' excepted, which are handed out as refused.
    pub(crate) fn dropped(&mut self, number: u64) -> Vec<(NodeId, u64)> {
        let mut refused = Vec::new();
        let asked = self.asked.remove(&number).unwrap_or_default();
        self.dropped += u64::from(!asked.is_empty());
        for read in asked {
            match read {
                Read::Lease { from, request, .. } => refused.push((from, request)),
                Read::Local { .. } => self.gathering.push(read),
            }
        }
        refused
    }

    /// How many rounds got no index since the start.
    pub(crate) fn rounds_dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes out all that may run now that `applied` is reached.
    pub(crate) fn ready(&mut self, applied: Index) -> Vec<Read> {
        let mut out = Vec::new();
        while let Some(entry) = self.indexed.first_entry() {
            if *entry.key() > applied {
                break;
            }
            out.append(&mut entry.remove());
        }
        out
    }

    /// Takes out clients' reads that have waited too long.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<(Done, Failure)> {
        let late = |read: &mut Read| matches!(read, Read::Local { until, .. } if until.index <= now);
        let mut out: Vec<Read> = self.gathering.extract_if(.., late).collect();
        for reads in self.asked.values_mut().chain(self.indexed.values_mut()) {
            out.extend(reads.extract_if(.., late));
        }
        out.into_iter().filter_map(Read::into_done).map(|done| (done, Failure::TimedOut)).collect()
    }

    /// Takes out all clients' reads, for a node that stops.
    pub(crate) fn drain_all(&mut self) -> Vec<Done> {
        let asked = std::mem::take(&mut self.asked).into_values().flatten();
        let indexed = std::mem::take(&mut self.indexed).into_values().flatten();
        let gathering = std::mem::take(&mut self.gathering);
        asked.chain(indexed).chain(gathering).filter_map(Read::into_done).collect()
    }

    /// Whether any read waits at all.
    pub(crate) fn any(&self) -> bool {
        !(self.gathering.is_empty() && self.asked.is_empty() && self.indexed.is_empty())
    }

    /// How many reads wait.
    pub(crate) fn len(&self) -> usize {
        self.gathering.len()
            + self.asked.values().map(Vec::len).sum::<usize>()
            + self.indexed.values().map(Vec::len).sum::<usize>()
    }
}

fn traces(reads: &mut [Read]) -> impl Iterator<Item = &mut Trace> {
    reads.iter_mut().filter_map(|read| match read {
        Read::Local { trace, .. } => trace.as_deref_mut(),
        Read::Lease { .. } => None,
    })
}

impl Read {
    fn into_done(self) -> Option<Done> {
        match self {
            Self::Local { done, .. } => Some(done),
            Self::Lease { .. } => None,
        }
    }
}
