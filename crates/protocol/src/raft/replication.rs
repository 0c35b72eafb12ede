//! How entries get to a majority, and when they are committed (dissertation, 3.5, 3.6, 10.2).
//!
//! Entries flow in pipelined batches within a window. A follower that refuses names the last place where the logs may
//! still agree, judged by terms, so that a diverged one is found in a few round trips. The commit index is passed on in
//! the next append or in a message of its own. That goes at once to whoever forwarded a command or reads there; to others it
//! waits a moment for the next append while these follow each other quickly ([`super::Config::commit_patience`]): to send and to
//! take it costs as much as the append, just when the leader has a client to answer.

use super::log::size;
use super::{EntryKind, Membership, Message, Mutant, Phase, ProposalId, Raft, Refusal, Role, mutant};
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Entry, EntryId, Index, Instant, NodeId};

/// How quickly appends follow each other, and since when news of the commit index waits for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// The end of the log at the last append, and when that was.
    last: (Index, Instant),
    /// It came soon after the one before.
    brisk: bool,
    /// When news that waits is sent by itself.
    pub(super) tell_at: Option<Instant>,
}

impl Pace {
    fn appends(&mut self, last: Index, now: Instant, patience: Duration) {
        if last > self.last.0 {
            self.brisk = now.since(self.last.1) < patience;
            self.last = (last, now);
        }
    }
}

impl Raft {
    pub(super) fn propose(&mut self, id: ProposalId, data: Bytes) {
        let refusal = if !self.is_leader() {
            Some(Refusal::NotLeader { leader: self.leader() })
        } else if self.transfer.is_some() {
            Some(Refusal::Transferring)
        } else if self.uncommitted_bytes + self.unapplied_bytes > self.config.max_uncommitted_bytes {
            Some(Refusal::Overloaded)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.pending.refused.push((id, refusal));
            return;
        }
        let entry = self.push_entry(EntryKind::Command, data);
        self.pending.accepted.push((id, entry));
    }

    // ---- the leader's side ----

    pub(super) fn send_appends(&mut self, now: Instant) {
        if self.role != Role::Leader {
            return;
        }
        self.pace.appends(self.log.last().index, now, self.config.commit_patience);
        let peers: Vec<NodeId> = self.progress.keys().copied().collect();
        for peer in peers {
            while self.send_append(now, peer) {}
        }
    }

    /// Sends one message's worth, if there is something and the window allows it; true if more may follow.
    fn send_append(&mut self, now: Instant, peer: NodeId) -> bool {
        let last = self.log.last().index;
        let Some(p) = self.progress.get_mut(&peer) else { return false };
        let (next, probing) = match p.phase {
            Phase::Snapshot(_) | Phase::Probe { waiting: true } => return false,
            Phase::Probe { waiting: false } => (p.next, true),
            Phase::Replicate if p.next > last => {
                p.pin = None;
                return false;
            }
            Phase::Replicate => (p.next, false),
        };
        if !probing
            && (p.under_way.len() >= self.config.window_messages
                || (p.bytes_under_way() >= self.config.window_bytes && !p.under_way.is_empty()))
        {
            return false;
        }
        let Some(prev_term) = self.log.term(next.prev()) else {
            self.begin_snapshot(now, peer);
            return false;
        };
        let prev = EntryId::new(prev_term, next.prev());
        let (most, bytes) = (self.config.max_append_entries, self.config.max_append_bytes);
        let entries = self.log.slice(next, most, bytes);
        let (term, commit) = (self.hard.term, self.hard.commit);
        let sent = entries.iter().map(size).sum();
        let last_sent = entries.last().map_or(prev.index, |e| e.id.index);
        if let Some(p) = self.progress.get_mut(&peer) {
            p.told = p.told.max(commit.min(last_sent));
            p.spoke = Some(now);
            if probing {
                p.phase = Phase::Probe { waiting: true };
                p.probed = now;
            } else {
                p.under_way.push_back((last_sent, sent));
                p.next = last_sent.next();
            }
        }
        self.post(peer, Message::Append { term, prev, entries, commit });
        !probing
    }

    pub(super) fn appended(&mut self, now: Instant, from: NodeId, matched: Index) {
        let last = self.log.last().index;
        let Some(p) = self.progress.get_mut(&from) else { return };
        p.heard = now;
        if matched > last {
            // Only a confused peer confirms what was never sent.
            return;
        }
        let probing = matches!(p.phase, Phase::Probe { .. });
        let news = p.confirm(matched);
        if news && let Some(pin) = &mut p.pin {
            pin.moves(matched, now);
        }
        if news || probing {
            self.advance_commit(now);
            self.finish_transfer(from);
        }
    }

    pub(super) fn append_rejected(&mut self, now: Instant, from: NodeId, prev: Index, hint: EntryId) {
        let agree = self.log.last_not_above(hint.index, hint.term);
        let Some(p) = self.progress.get_mut(&from) else { return };
        p.heard = now;
        let stale = match p.phase {
            Phase::Replicate => false,
            Phase::Probe { .. } => prev != p.next.prev(),
            Phase::Snapshot(_) => true,
        };
        if stale {
            return;
        }
        if prev <= p.matched {
            // Either an old answer came late, or the follower's disk has lost what it confirmed. To believe less than is
            // true costs one message; to insist would leave the follower without log until the leader changes.
            p.matched = agree.index.min(prev.prev());
        }
        let next = agree.index.next().min(prev.max(Index(1)));
        p.probe(next);
    }

    pub(super) fn advance_commit(&mut self, now: Instant) {
        let own = (self.config.id, self.log.durable());
        let reached = |n: NodeId| {
            if n == own.0 { own.1 } else { self.progress.get(&n).map_or(Index(0), |p| p.matched) }
        };
        let membership = self.membership();
        let index = if mutant(&self.config, Mutant::JointWithoutOutgoing) {
            membership.left().reached(reached)
        } else {
            membership.reached(reached)
        };
        let own_term = self.log.term(index) == Some(self.hard.term);
        if index <= self.hard.commit || !(own_term || mutant(&self.config, Mutant::Fig8Commit)) {
            return;
        }
        for at in self.hard.commit.0 + 1..=index.0 {
            if let Some(entry) = self.log.get(Index(at)) {
                self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(size(entry));
            }
        }
        self.commit_upto(index);
        self.leave_the_lead(now);
    }

    /// Somebody at `node` waits for the entries up to `index`.
    pub(super) fn awaited(&mut self, node: NodeId, index: Index) {
        if let Some(p) = self.progress.get_mut(&node) {
            p.awaits = p.awaits.max(index);
        }
    }

    /// Passes the commit index on to followers who got no append in this drain; see the module page for when.
    pub(super) fn tell_commit(&mut self, now: Instant, at_once: bool) {
        if self.role != Role::Leader {
            return;
        }
        let (term, commit) = (self.hard.term, self.hard.commit);
        let may_wait = !at_once && self.pace.brisk && self.pace.tell_at.is_none_or(|at| now < at);
        let (mut tell, mut waits) = (Vec::new(), false);
        for (&node, p) in &mut self.progress {
            let known = commit.min(p.matched);
            if known <= p.told {
                continue;
            }
            if may_wait && p.awaits <= p.told {
                waits = true;
                continue;
            }
            p.told = known;
            tell.push((node, known));
        }
        self.pace.tell_at =
            waits.then(|| self.pace.tell_at.unwrap_or_else(|| now + self.config.commit_patience));
        for (node, commit) in tell {
            self.post(node, Message::Commit { term, commit });
        }
    }

    pub(super) fn unreachable(&mut self, now: Instant, peer: NodeId) {
        if self.leader == Some(peer) {
            self.leader_out_of_reach(now);
        }
        let base = self.log.base().index;
        let Some(p) = self.progress.get_mut(&peer) else { return };
        p.greeted = false;
        match &mut p.phase {
            // Nothing is known to match that the log still holds: from there on only the whole state would help. It goes
            // on where it is looking.
            Phase::Probe { waiting } if p.matched < base => *waiting = false,
            Phase::Probe { .. } | Phase::Replicate => p.probe(p.matched.next()),
            Phase::Snapshot(_) => {}
        }
    }

    /// A message that is lost takes its answer with it: a heartbeat's answer is the sign to try again.
    pub(super) fn heartbeat_answered(
        &mut self,
        now: Instant,
        from: NodeId,
        round: u64,
        (withheld, promised, asks): (bool, bool, Option<u64>),
    ) {
        // One that asks does not know whom it may have voted for since: it proves nothing, and its promise comes too late.
        let promises = promised && (asks.is_none() || mutant(&self.config, Mutant::LostDiskExtendsLease));
        let counts = if promises { self.lease_counts_from(now, round) } else { None };
        let Some(p) = self.progress.get_mut(&from) else { return };
        p.heard = now;
        p.promised = p.promised.max(counts);
        p.sound = Some(!withheld && asks.is_none());
        p.greeted = !withheld && asks.is_none();
        if asks.is_none() {
            p.sound_round = p.sound_round.max(Some(round));
        }
        let vain = p.withholds_in_vain(self.term_start);
        p.withholds = if withheld { p.withholds.or(vain.then_some(now)) } else { None };
        if let Phase::Probe { waiting } = &mut p.phase {
            *waiting &= now.since(p.probed) < self.config.heartbeat;
        }
        if asks.is_none() || mutant(&self.config, Mutant::LostDiskProvesReads) {
            self.round_answered(from, round);
        }
        if let Some(life) = asks {
            self.term_asked(from, life);
        }
    }

    /// What was sent and not confirmed for a while was lost: probe again.
    pub(super) fn resend_stalled(&mut self, now: Instant) {
        for p in self.progress.values_mut() {
            let Some(&(first, _)) = p.under_way.front() else {
                p.stalled = None;
                continue;
            };
            match p.stalled {
                Some((at, since)) if at == first => {
                    if now.since(since) >= 4 * self.config.heartbeat {
                        p.stalled = None;
                        p.probe(p.matched.next());
                    }
                }
                _ => p.stalled = Some((first, now)),
            }
        }
        self.resend_chunks(now);
    }

    // ---- the follower's side ----

    pub(super) fn append(&mut self, from: NodeId, prev: EntryId, entries: Vec<Entry>, commit: Index) {
        let term = self.hard.term;
        if prev.index < self.log.base().index {
            // All up to the commit index is settled: say so, and the leader goes on from there.
            let matched = self.hard.commit.min(self.log.last().index);
            return self.post(from, Message::Appended { term, matched });
        }
        if !self.log.holds(prev) {
            let hint = self.log.last_not_above(prev.index.prev(), prev.term);
            return self.post(from, Message::AppendRejected { term, prev: prev.index, hint });
        }
        let matched = entries.last().map_or(prev.index, |e| e.id.index);
        if mutant(&self.config, Mutant::TruncateOnStaleAppend) && self.log.last().index > prev.index {
            self.log.truncate(prev.index.next());
            self.hard.commit = self.hard.commit.min(prev.index).max(self.given);
        }
        if !self.follow_each_other(prev, &entries) || !self.take_entries(entries) {
            return;
        }
        self.commit_upto(commit.min(matched));
        self.agreed = self.agreed.max(matched);
        self.owe(from, matched);
    }

    /// The leader says how much of what it knows to match is committed. It may know so from an earlier life of this replica,
    /// whose disk has lost that since, or was put back to an old copy: an entry at such an index need not be the leader's. So
    /// only as far as this life has seen the logs agree is it taken. Beyond that the leader is told where to look at once, since
    /// reads wait here for the commit index, and the next entry may be long in coming.
    pub(super) fn commit_told(&mut self, from: NodeId, commit: Index) {
        let last = self.log.last().index;
        self.commit_upto(commit.min(self.agreed).min(last));
        // One that takes no entries, or waits for a snapshot, has asked for what it needs.
        if commit > self.hard.commit && !self.is_deaf() && !self.state_lost {
            let at = commit.min(last);
            let (term, hint) = (self.hard.term, self.log.last_not_above(at, self.hard.term));
            self.post(from, Message::AppendRejected { term, prev: at.next(), hint });
        }
    }

    /// What is to be confirmed: the newest word says all that the older ones said.
    pub(super) fn owe(&mut self, to: NodeId, matched: Index) {
        let owed = self.owed.map_or(matched, |(_, owed)| owed.max(matched));
        self.owed = Some((to, owed));
    }

    /// Confirms what was appended, unless the machine is too far behind: what is sent beyond the leader's window would only
    /// wait here in memory. Where the state is lost the machine gets nothing until a snapshot has come.
    pub(super) fn confirm_owed(&mut self) {
        let most = self.config.max_unapplied_bytes.min(self.keep.saturating_mul(2));
        if self.unapplied_bytes > most && !self.state_lost {
            return;
        }
        let Some((to, matched)) = self.owed.take() else { return };
        // A confused leader may have replaced meanwhile what it had sent.
        let (term, matched) = (self.hard.term, matched.min(self.log.last().index));
        self.post(to, Message::Appended { term, matched });
    }

    /// False if the sender is confused: nothing of its message is taken then.
    fn follow_each_other(&self, prev: EntryId, entries: &[Entry]) -> bool {
        let mut at = prev;
        entries.iter().all(|Entry { id, kind, data }| {
            let follows = id.index == at.index.next() && id.term >= at.term && id.term <= self.hard.term;
            at = *id;
            follows && (*kind != EntryKind::Membership || Membership::decode(data).is_some())
        })
    }

    /// Adds what is new; what conflicts goes. False if that cannot be.
    fn take_entries(&mut self, entries: Vec<Entry>) -> bool {
        for entry in entries {
            if self.log.holds(entry.id) || entry.id.index <= self.log.base().index {
                continue;
            }
            if entry.id.index <= self.log.last().index {
                if entry.id.index <= self.hard.commit {
                    let (id, commit) = (entry.id, self.hard.commit);
                    self.halt(format!(
                        "State Machine Safety: {id:?} replaces a committed entry ({commit:?})"
                    ));
                    return false;
                }
                self.log.truncate(entry.id.index);
                self.configs.retain(|&(index, _)| index < entry.id.index);
            }
            if entry.kind == EntryKind::Membership {
                let Some(membership) = Membership::decode(&entry.data) else { return false };
                self.push_config(entry.id.index, membership);
            }
            self.log.push(entry);
        }
        true
    }
}
