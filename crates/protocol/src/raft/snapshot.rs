//! Snapshots, in chunks that resume (dissertation, chapter 5).
//!
//! A follower that needs what the log no longer holds gets the state itself, one chunk at a time: the leader's driver reads
//! a chunk, the follower's stores it and asks for the next. A lost chunk is asked for again; a follower that lost its
//! place, or a leader that lost its view, starts again. While the transfer lasts the log behind the snapshot is pinned,
//! within `log_pin_bytes`, so that the follower can go on from there. What is at or below the own commit is never installed,
//! but where the state is lost: there everything from the log's base on will do.

use super::{ChunkWanted, InstallChunk, Membership, Message, Phase, Raft, Role, SnapshotId, SnapshotMeta};
use bytes::Bytes;
use quorate_base::{Base, EntryId, Index, Instant, NodeId, Term};

/// A snapshot of less holds nothing.
const FIRST: EntryId = EntryId::new(Term(0), Index(1));

/// A snapshot on its way in.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    from: NodeId,
    snapshot: SnapshotId,
    meta: SnapshotMeta,
    /// The next chunk to hand out for storing.
    pub(super) next: u64,
    /// The next chunk that is not stored.
    pub(super) stored: u64,
    last: Option<u64>,
}

impl Raft {
    // ---- the leader's side ----

    pub(super) fn begin_snapshot(&mut self, now: Instant, to: NodeId) {
        self.next_snapshot += 1;
        let id = SnapshotId(self.next_snapshot);
        if let Some(p) = self.progress.get_mut(&to) {
            p.under_way.clear();
            p.phase = Phase::Snapshot { id, seq: 0, upto: None, since: now };
            self.pending.chunks.push(ChunkWanted { to, snapshot: id, seq: 0 });
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one input")]
    pub(super) fn send_chunk(
        &mut self,
        now: Instant,
        to: NodeId,
        snapshot: SnapshotId,
        meta: SnapshotMeta,
        seq: u64,
        data: Bytes,
        last: bool,
    ) {
        let Some(p) = self.progress.get_mut(&to) else { return };
        let Phase::Snapshot { id, seq: wanted, upto, since } = &mut p.phase else { return };
        if *id != snapshot || *wanted != seq {
            return;
        }
        *upto = Some(meta.id.index);
        *since = now;
        let term = self.hard.term;
        self.post(to, Message::SnapshotChunk { term, snapshot, meta, seq, data, last });
    }

    pub(super) fn snapshot_failed(&mut self, now: Instant, to: NodeId, snapshot: SnapshotId) {
        let Some(p) = self.progress.get_mut(&to) else { return };
        if matches!(p.phase, Phase::Snapshot { id, .. } if id == snapshot) {
            p.probe(p.matched.next());
            // Not at once: the next heartbeat's answer tries again.
            p.phase = Phase::Probe { waiting: true };
            p.probed = now;
        }
    }

    /// The follower asks for chunk `seq`.
    pub(super) fn chunk_wanted(&mut self, now: Instant, from: NodeId, snapshot: SnapshotId, seq: u64) {
        let Some(p) = self.progress.get_mut(&from) else { return };
        p.heard = now;
        if snapshot == SnapshotId::ANY {
            if !matches!(p.phase, Phase::Snapshot { .. }) {
                self.begin_snapshot(now, from);
            }
            return;
        }
        let Phase::Snapshot { id, seq: at, since, .. } = &mut p.phase else { return };
        if *id != snapshot || seq == *at && now.since(*since) < self.config.heartbeat {
            return;
        }
        *at = seq;
        *since = now;
        self.pending.chunks.push(ChunkWanted { to: from, snapshot, seq });
    }

    /// A chunk that was not answered for a while is read and sent again.
    pub(super) fn resend_chunks(&mut self, now: Instant) {
        for (&to, p) in &mut self.progress {
            if let Phase::Snapshot { id, seq, since, .. } = &mut p.phase
                && now.since(*since) >= 5 * self.config.heartbeat
            {
                *since = now;
                self.pending.chunks.push(ChunkWanted { to, snapshot: *id, seq: *seq });
            }
        }
    }

    // ---- the follower's side ----

    /// A follower without its state asks for it at each heartbeat: the leader hears it once, or again if it was lost.
    pub(super) fn ask_for_state(&mut self, leader: NodeId) {
        if self.state_lost && self.installing.is_none() {
            let (term, snapshot) = (self.hard.term, SnapshotId::ANY);
            self.post(leader, Message::SnapshotWant { term, snapshot, seq: 0 });
        }
    }

    /// Whether a snapshot up to here brings what is not here.
    fn wants_snapshot(&self, meta: &SnapshotMeta) -> bool {
        if self.state_lost { meta.id >= self.log.base().max(FIRST) } else { meta.id.index > self.hard.commit }
    }

    pub(super) fn chunk_came(
        &mut self,
        from: NodeId,
        snapshot: SnapshotId,
        meta: SnapshotMeta,
        seq: u64,
        data: Bytes,
        last: bool,
    ) {
        let term = self.hard.term;
        if !self.wants_snapshot(&meta) {
            let matched = self.hard.commit.min(self.log.last().index);
            return self.post(from, Message::Appended { term, matched });
        }
        if Membership::decode(&meta.membership).is_none() {
            return;
        }
        if self.installing.is_some() {
            // One is complete and being switched to: the leader will hear of it.
            return;
        }
        let known = self
            .incoming
            .as_ref()
            .is_some_and(|i| i.snapshot == snapshot && i.from == from && i.meta == meta);
        if !known {
            if seq != 0 {
                return self.post(from, Message::SnapshotWant { term, snapshot, seq: 0 });
            }
            self.incoming =
                Some(Incoming { from, snapshot, meta: meta.clone(), next: 0, stored: 0, last: None });
        }
        let Some(incoming) = &mut self.incoming else { return };
        if seq == incoming.next {
            incoming.next += 1;
            if last {
                incoming.last = Some(seq);
                self.installing = Some(meta.id);
            }
            self.pending.install.push(InstallChunk { meta, seq, data, last });
        } else if seq < incoming.stored {
            let seq = incoming.stored;
            self.post(from, Message::SnapshotWant { term, snapshot, seq });
        }
    }

    pub(super) fn chunk_stored(&mut self, meta: &SnapshotMeta, seq: u64) {
        let term = self.hard.term;
        let Some(incoming) = self.incoming.as_mut().filter(|i| i.meta == *meta) else { return };
        incoming.stored = seq + 1;
        if incoming.last == Some(seq) {
            return;
        }
        let (to, snapshot) = (incoming.from, incoming.snapshot);
        if self.role != Role::Leader && to != self.config.id {
            self.post(to, Message::SnapshotWant { term, snapshot, seq: seq + 1 });
        }
    }

    pub(super) fn install_failed(&mut self, meta: &SnapshotMeta) {
        self.installing.take_if(|id| *id == meta.id);
        let Some(incoming) = self.incoming.take_if(|i| i.meta == *meta) else { return };
        let term = self.hard.term;
        if self.role != Role::Leader {
            let (to, snapshot) = (incoming.from, incoming.snapshot);
            self.post(to, Message::SnapshotWant { term, snapshot, seq: 0 });
        }
    }

    pub(super) fn installed(&mut self, base: &Base) {
        self.installing = None;
        let from = self.incoming.take_if(|i| i.meta.id == base.id).map(|i| i.from);
        let Some(membership) = Membership::decode(&base.membership) else { return };
        if base.id.index < self.applied || (base.id.index == self.applied && !self.state_lost) {
            return;
        }
        let index = base.id.index;
        let kept = self.log.holds(base.id);
        if !kept && (index <= self.hard.commit || self.role == Role::Leader) {
            let id = base.id;
            return self.halt(format!("State Machine Safety: a snapshot at {id:?} contradicts the log"));
        }
        self.log.install(base.id);
        if kept {
            self.configs.retain(|&(at, _)| at > index);
            self.configs.insert(0, (index, membership));
        } else {
            self.configs = vec![(index, membership)];
        }
        self.hard.commit = self.hard.commit.max(index);
        self.given = self.given.max(index);
        self.applied = index;
        self.applying_bytes = 0;
        self.state_lost = false;
        self.heal();
        if let Some(to) = from.filter(|_| self.role == Role::Follower) {
            let term = self.hard.term;
            self.post(to, Message::Appended { term, matched: index });
        }
    }
}
