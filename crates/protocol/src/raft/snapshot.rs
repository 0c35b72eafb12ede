//! Snapshots, in chunks that resume (dissertation, chapter 5).
//!
//! A follower that needs what the log no longer holds gets the state itself, in chunks: the leader's driver reads them one
//! after the other, several are under way within the window that entries have too, and the follower says up to where it
//! has stored them. When it says nothing for a while, the first that it has not confirmed is sent again, alone until it
//! answers; a follower that lost its place, or a leader that lost its view, starts again. What is at or below the own
//! commit is never installed, but where the state is lost: there everything from the log's base on will do.
//!
//! # What keeps it from going on for ever
//!
//! While a snapshot is under way writes go on, and if the log behind it is gone when it has arrived, the follower needs
//! the next one. So that log is *pinned*: from the moment when the snapshot is begun until all that followed it has been
//! sent, not only until it is installed. A pin may hold `log_pin_bytes`, and one more byte for each byte of the state that
//! the follower has stored. Hence a transfer that moves state at least as fast as the log grows ends with the log still
//! there, however large the state is; what is left to send then shrinks if the follower takes entries faster than they come.
//! The log lies in memory, so there is a most, `log_pin_bytes_max`: if more than that is written during one transfer, it was
//! in vain. And a follower that moves nothing for a while loses its pin.

use super::{ChunkWanted, InstallChunk, Membership, Message, Phase, Raft, Role, SnapshotId, SnapshotMeta};
use bytes::Bytes;
use quorate_base::{Base, EntryId, Index, Instant, NodeId, Term};
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

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

/// A snapshot on its way out.
///
/// Chunks below `stored` are stored there, those of `under_way` follow, then comes what is read next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    id: SnapshotId,
    /// The last index of the snapshot, once known.
    upto: Option<Index>,
    pub(super) stored: u64,
    /// The bytes of each chunk that was sent.
    under_way: VecDeque<usize>,
    /// The chunk that the driver was asked for: one at a time, since it may answer late, and must not answer twice.
    reading: Option<u64>,
    /// The last chunk is among those under way.
    complete: bool,
    /// It is not known what arrived: one chunk at a time until the follower answers.
    doubtful: bool,
    /// When a chunk was last sent or stored.
    since: Instant,
}

impl Outgoing {
    fn new(id: SnapshotId, now: Instant) -> Self {
        Self {
            id,
            upto: None,
            stored: 0,
            under_way: VecDeque::new(),
            reading: None,
            complete: false,
            doubtful: false,
            since: now,
        }
    }

    /// Whether a follower whose log is confirmed up to `matched` needs it no longer.
    pub(super) fn brings(&self, matched: Index) -> bool {
        self.upto.is_some_and(|upto| matched >= upto)
    }

    /// The first chunk that was not sent.
    fn next(&self) -> u64 {
        self.stored.saturating_add(self.under_way.len() as u64)
    }

    /// Sends again from `seq` on.
    fn go_back(&mut self, seq: u64) {
        self.stored = seq;
        self.under_way.clear();
        self.complete = false;
    }

    /// All below `seq` is stored; the bytes that this is news of.
    fn confirm(&mut self, seq: u64) -> usize {
        let news = (seq - self.stored).min(self.under_way.len() as u64) as usize;
        let bytes = self.under_way.drain(..news).sum();
        self.stored = seq;
        // The last chunk is confirmed by the log that it brings: who confirms it so knows more than was sent.
        self.complete &= !self.under_way.is_empty();
        self.doubtful = false;
        bytes
    }

    /// The chunk to be read now, if the window of so many chunks and bytes has room.
    fn ask(&mut self, chunks: usize, bytes: usize) -> Option<u64> {
        let room = match self.under_way.len() {
            0 => true,
            some => !self.doubtful && some < chunks && self.under_way.iter().sum::<usize>() < bytes,
        };
        if self.reading.is_some() || self.complete || !room {
            return None;
        }
        self.reading = Some(self.next());
        self.reading
    }

    /// See [`super::Raft::fingerprint`].
    pub(super) fn fingerprint(&self, to: &mut impl Hasher) {
        (self.stored, self.under_way.len(), self.reading, self.complete, self.doubtful).hash(to);
    }
}

/// The log that is kept for a follower; see the module page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pin {
    /// What lies behind this is needed.
    from: Index,
    /// How much of it may be kept.
    bytes: usize,
    /// When the follower last stored or confirmed something.
    moved: Instant,
}

impl Pin {
    /// The follower has confirmed the log up to `matched`.
    pub(super) fn moves(&mut self, matched: Index, now: Instant) {
        self.from = self.from.max(matched);
        self.moved = now;
    }
}

/// A pin is let go once nothing has moved for so many of the longest election timeouts: long enough to install a large
/// snapshot, or for a follower to start again.
const PIN_PATIENCE: u32 = 20;

/// For a follower that is heard and lags, so many times as much log is kept.
const KEEP_FOR_HEARD: usize = 16;

impl Raft {
    // ---- the leader's side ----

    pub(super) fn begin_snapshot(&mut self, now: Instant, to: NodeId) {
        if self.leads_blindly() {
            // It has none to give, and leads for those only who need none.
            return;
        }
        self.next_snapshot += 1;
        let (from, bytes) = (self.applied, self.config.log_pin_bytes);
        if let Some(p) = self.progress.get_mut(&to) {
            p.under_way.clear();
            p.phase = Phase::Snapshot(Outgoing::new(SnapshotId(self.next_snapshot), now));
            // The driver's view is this new, or newer.
            p.pin = Some(Pin { from, bytes, moved: now });
        }
        self.ask_for_chunk(to);
    }

    fn outgoing(&mut self, to: NodeId) -> Option<&mut Outgoing> {
        match &mut self.progress.get_mut(&to)?.phase {
            Phase::Snapshot(outgoing) => Some(outgoing),
            _ => None,
        }
    }

    fn ask_for_chunk(&mut self, to: NodeId) {
        let (chunks, bytes) = (self.config.window_messages, self.config.window_bytes);
        let Some(outgoing) = self.outgoing(to) else { return };
        let snapshot = outgoing.id;
        if let Some(seq) = outgoing.ask(chunks, bytes) {
            self.pending.chunks.push(ChunkWanted { to, snapshot, seq });
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
        let term = self.hard.term;
        let Some(outgoing) = self.outgoing(to).filter(|o| o.id == snapshot) else { return };
        outgoing.reading.take_if(|reading| *reading == seq);
        outgoing.upto = Some(meta.id.index);
        // Meanwhile the follower may have said that it stands elsewhere.
        if outgoing.next() == seq {
            outgoing.under_way.push_back(data.len());
            outgoing.complete = last;
            outgoing.since = now;
            self.post(to, Message::SnapshotChunk { term, snapshot, meta, seq, data, last });
        }
        self.ask_for_chunk(to);
    }

    pub(super) fn snapshot_failed(&mut self, now: Instant, to: NodeId, snapshot: SnapshotId) {
        let Some(p) = self.progress.get_mut(&to) else { return };
        if matches!(&p.phase, Phase::Snapshot(outgoing) if outgoing.id == snapshot) {
            p.probe(p.matched.next());
            // Not at once: the next heartbeat's answer tries again.
            p.phase = Phase::Probe { waiting: true };
            p.probed = now;
        }
    }

    /// The follower has stored all chunks below `seq` and wants those from there on.
    pub(super) fn chunk_wanted(&mut self, now: Instant, from: NodeId, snapshot: SnapshotId, seq: u64) {
        let (heartbeat, most) = (self.config.heartbeat, self.config.log_pin_bytes_max);
        let Some(p) = self.progress.get_mut(&from) else { return };
        p.heard = now;
        if snapshot == SnapshotId::ANY {
            if !matches!(p.phase, Phase::Snapshot(_)) {
                self.begin_snapshot(now, from);
            }
            return;
        }
        let Phase::Snapshot(outgoing) = &mut p.phase else { return };
        if outgoing.id != snapshot {
            return;
        }
        if seq > outgoing.stored {
            let bytes = outgoing.confirm(seq);
            if let Some(pin) = &mut p.pin {
                pin.bytes = (pin.bytes + bytes).min(most);
                pin.moved = now;
            }
        } else if seq == 0 && outgoing.stored > 0 && p.pin.is_none() {
            // It has lost its place, and what follows this snapshot is gone: a newer one, or it would need two.
            return self.begin_snapshot(now, from);
        } else if seq < outgoing.stored || now.since(outgoing.since) >= heartbeat {
            outgoing.go_back(seq);
        } else {
            return;
        }
        outgoing.since = now;
        self.ask_for_chunk(from);
    }

    /// A chunk that was not answered for a while is read and sent again.
    pub(super) fn resend_chunks(&mut self, now: Instant) {
        let patience = 5 * self.config.heartbeat;
        let gone = PIN_PATIENCE * self.config.election_max;
        let peers: Vec<NodeId> = self.progress.keys().copied().collect();
        for to in peers {
            if let Some(p) = self.progress.get_mut(&to)
                && matches!(p.phase, Phase::Snapshot(_))
                && now.since(p.heard) > gone
            {
                // Its view holds files and memory, for somebody who may never come back.
                p.probe(p.matched.next());
                p.phase = Phase::Probe { waiting: true };
                continue;
            }
            if let Some(outgoing) = self.outgoing(to)
                && !outgoing.under_way.is_empty()
                && now.since(outgoing.since) >= patience
            {
                outgoing.go_back(outgoing.stored);
                outgoing.doubtful = true;
                outgoing.since = now;
                self.ask_for_chunk(to);
            }
        }
    }

    /// What must stay in the log for snapshots and what follows them: all behind this index, as far as it fits in so many
    /// bytes. Of others `keep` bytes are kept.
    pub(super) fn pinned(&mut self, now: Instant, keep: usize) -> Option<(Index, usize)> {
        let base = self.log.base().index;
        let patience = PIN_PATIENCE * self.config.election_max;
        let mut all: Option<(Index, usize)> = None;
        for p in self.progress.values_mut() {
            // Where the log has begun to go, the rest is no use.
            p.pin.take_if(|pin| pin.from < base || now.since(pin.moved) > patience);
            // One that is heard and lags (its machine stalls, its disk is slow) is not to need the whole state for that.
            let lags = now.since(p.heard) <= self.config.election_max && p.matched >= base;
            let own = p.pin.as_ref().map(|pin| (pin.from, pin.bytes));
            if let Some((from, bytes)) = own.or(lags.then_some((p.matched, KEEP_FOR_HEARD * keep))) {
                let (least, most) = all.unwrap_or((from, bytes));
                all = Some((least.min(from), most.max(bytes)));
            }
        }
        all
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
        // What was not handed out was of an earlier transfer of the same.
        let this = |i: &&mut Incoming| i.meta == *meta && seq < i.next;
        let Some(incoming) = self.incoming.as_mut().filter(this) else { return };
        incoming.stored = incoming.stored.max(seq + 1);
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
        self.unapplied_bytes = self.log.bytes_of(self.applied, self.hard.commit);
        self.state_lost = false;
        self.heal();
        if let Some(to) = from.filter(|_| self.role == Role::Follower) {
            self.owe(to, index);
        }
    }
}
