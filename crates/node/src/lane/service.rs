//! What clients ask, answered: calls in, callbacks out.

use super::explain::Trace;
use super::{Broken, COMMAND_MAX, Found, Lane, Read, WAITING_BYTES_MAX, WAITING_MAX, Want, large};
use crate::api::{Answer, Body, Done, Failure, Head, Request, Status, tables};
use crate::applier::Outcome;
use crate::backup::{Backup, Header};
use crate::evidence::Part;
use crate::figures::Figures;
use crate::lessor::Renewal;
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};
use quorate_state::kv::ReadError;
use quorate_storage::state::StateError;
use quorate_wire::kv::{Command, LeaseId, Refused, Reply};
use quorate_wire::peer::{Declined, Frame};
use std::cell::Cell;
use std::sync::Arc;

/// Whom to answer, and what is noted for the explanation, if one is wanted.
pub(super) type Asking = (Done, Option<Box<Trace>>);

/// So many snapshots may be saved at once: each holds on to what it reads.
const BACKUPS_MAX: usize = 4;
const STATE_LOST: &str = "this node lost its state, and fetches it from its peers";

impl Lane {
    pub(super) fn call(&mut self, now: Instant, request: Request, timeout: Option<Duration>, done: Done) {
        let (request, trace) = match request {
            Request::Explained(request, slot) => (*request, Some(Trace::new(slot, now))),
            request => (request, None),
        };
        if self.stopping {
            return done(Err(Failure::Stopping));
        }
        if self.raft.state_lost() && !matches!(request, Request::Status) {
            // What is readable here is no state of the space, not even an old one.
            return done(Err(Failure::Broken(STATE_LOST.into())));
        }
        if self.raft.is_learner() && !serves_as_learner(&request) {
            return done(Err(Failure::Learner));
        }
        if self.waiting_full() {
            return done(Err(Failure::Overloaded));
        }
        let deadline = now + timeout.unwrap_or(self.patience.request).min(self.patience.request);
        match request {
            Request::Write(command) => self.call_write(&command, deadline, (done, trace)),
            Request::LeaseKeepAlive { id } => {
                self.park(Want::KeepAlive(id, self.view.revision()), deadline, (done, trace));
            }
            Request::LeaseTimeToLive { id, keys } => {
                self.park(Want::TimeToLive(id, keys), deadline, (done, trace));
            }
            Request::ChangeMembers(change) => self.park(Want::Members(change), deadline, (done, trace)),
            Request::MoveLeader { to } => self.move_leader(now, NodeId(to), deadline, (done, trace)),
            Request::Swept | Request::Defragment => {
                self.settle(now, request == Request::Defragment, timeout, (done, trace));
            }
            Request::Status
            | Request::HashSpace { .. }
            | Request::HashAll
            | Request::Range { serializable: true, .. }
            | Request::ReadTxn { serializable: true, .. }
            | Request::Table { consistent: false, .. }
            | Request::Members { linearizable: false } => self.serve(now, request, deadline, (done, trace)),
            Request::Range { .. }
            | Request::ReadTxn { .. }
            | Request::Table { .. }
            | Request::LeaseList
            | Request::Fences
            | Request::Alarms
            | Request::Members { .. } => {
                self.reads.gather(Read::Local { request, done, deadline, trace });
            }
            // None of these may be wrapped twice.
            Request::Explained(..) => done(Err(Failure::TooLarge)),
        }
    }

    /// As much waits as may.
    pub(super) fn waiting_full(&self) -> bool {
        self.pending.len() + self.reads.len() + self.large.len() >= WAITING_MAX
            || self.pending.bytes() >= WAITING_BYTES_MAX
    }

    fn call_write(&mut self, command: &Command, deadline: Instant, asker: Asking) {
        if command.grows() && self.is_short_of_room() {
            return asker.0(Err(Failure::Refused(Refused::NoSpace, self.head())));
        }
        let request = self.take_request();
        let data = quorate_wire::command::encode(self.settings.node, request, command);
        if data.len() > COMMAND_MAX {
            return asker.0(Err(Failure::TooLarge));
        }
        self.pending.park(request, Want::Write(data), deadline, asker);
    }

    fn park(&mut self, want: Want, deadline: Instant, asker: Asking) {
        let request = self.take_request();
        self.pending.park(request, want, deadline, asker);
    }

    pub(super) fn answer_write(&mut self, now: Instant, outcome: Outcome) {
        let Some((_, done, trace)) = self.pending.finish(outcome.request) else { return };
        self.explain(now, trace, true);
        let head = Head { revision: outcome.revision, ..self.head() };
        done(match outcome.result {
            Ok(reply) => Ok(Answer { head, body: Body::Reply(reply) }),
            Err(refused) => Err(Failure::Refused(refused, head)),
        });
    }

    /// Nothing was done about a request: it is tried again where that helps.
    pub(super) fn refused(&mut self, request: u64, why: Declined) {
        let failure = match why {
            Declined::NotLeading => {
                self.pending.refused(request);
                self.holding = true;
                return;
            }
            Declined::Overloaded => Failure::Overloaded,
            Declined::Unknown => Failure::Refused(Refused::UnknownCommand, self.head()),
        };
        if let Some((_, done, _)) = self.pending.finish(request) {
            self.failed += 1;
            done(Err(failure));
        }
    }

    pub(super) fn serve_reads(&mut self, now: Instant) {
        for read in self.reads.ready(self.view.applied().index) {
            match read {
                Read::Local { request, done, deadline, trace } => {
                    self.serve(now, request, deadline, (done, trace));
                }
                Read::Lease { from, request, lease, renew } => {
                    self.serve_lease(now, from, request, lease, renew);
                }
            }
        }
    }

    /// Answers from the newest view, or hands the read on with it.
    fn serve(&mut self, now: Instant, request: Request, deadline: Instant, (done, mut trace): Asking) {
        let head = self.head();
        let result = match &request {
            Request::Members { .. } => Ok(Some(Body::Members(self.member_list()))),
            Request::Status => Ok(Some(Body::Status(self.status()))),
            Request::Alarms => {
                Ok(Some(Body::Reply(Reply::Alarms(self.view.alarms().iter().copied().collect()))))
            }
            request => self.read_at_once(request),
        };
        if !matches!(result, Ok(None)) {
            self.explain(now, trace, false);
            return done(self.read_result(head, result));
        }
        if let Some(trace) = &mut trace {
            trace.waits = Some((Part::Read, now));
        }
        if let Err(done) = self.large.begin(&self.view, request, head, deadline, (done, trace)) {
            done(Err(Failure::Overloaded));
        }
    }

    /// Reads from the newest view, if it costs little.
    fn read_at_once(&mut self, request: &Request) -> Result<Option<Body>, ReadError> {
        let one = match request {
            Request::Range { range, .. } => range.range.end.is_empty(),
            Request::Table { read, .. } => matches!(&**read, tables::Read::Get(gets) if gets.len() == 1),
            _ => false,
        };
        let most = if one { self.settings.at_once } else { self.settings.at_once.min(self.at_once) };
        let left = Cell::new(Some(most));
        let go_on = |cost| {
            left.set(left.get().and_then(|left| left.checked_sub(cost)));
            left.get().is_some()
        };
        let result = large::read(&self.view, request, &go_on);
        if !one {
            self.at_once = self.at_once.saturating_sub(most - left.get().unwrap_or(0));
        }
        result
    }

    /// A reader is through with a read.
    pub(super) fn found(&mut self, now: Instant, found: Found) {
        match self.large.came_back(found.number) {
            Some((head, done, trace)) => {
                self.explain(now, trace, false);
                done(self.read_result(head, found.result));
            }
            // Nobody waits for it, and still the node must hear of a disk that fails.
            None => drop(self.read_result(Head::default(), found.result)),
        }
    }

    fn read_result(
        &mut self,
        head: Head,
        result: Result<Option<Body>, ReadError>,
    ) -> Result<Answer, Failure> {
        match result {
            Ok(Some(body)) => Ok(Answer { head, body }),
            Ok(None) => Err(Failure::TimedOut),
            Err(ReadError::Refused(refused)) => Err(Failure::Refused(refused, head)),
            Err(ReadError::Store(error)) => Err(self.read_failed(&error)),
        }
    }

    /// Whoever asked hears of it, and the node stops: the next read might not be so lucky as to fail.
    fn read_failed(&mut self, error: &StateError) -> Failure {
        self.broken = Some(Broken::state("reading", error));
        Failure::Broken(error.to_string())
    }

    fn serve_lease(&mut self, now: Instant, from: NodeId, request: u64, lease: LeaseId, renew: bool) {
        if !self.lessor.is_leading() {
            // The proof came in time, the state did not.
            return self.lease_refused(from, request);
        }
        if renew {
            match self.lessor.renew(now, lease) {
                Renewal::Granted(ttl) => self.lease_served(now, from, request, ttl, 0),
                Renewal::Unknown => self.lease_served(now, from, request, 0, 0),
                Renewal::Wait => self.renewals.entry(lease).or_default().push((from, request)),
                Renewal::NotLeading => self.lease_refused(from, request),
            }
        } else {
            let (ttl, granted) = self.lessor.time_to_live(now, lease).unwrap_or((-1, 0));
            self.lease_served(now, from, request, ttl, granted);
        }
    }

    /// The log has said something about a lease: its keep-alives that wait are looked at again.
    pub(super) fn renew_held(&mut self, now: Instant, lease: LeaseId) {
        for (from, request) in self.renewals.remove(&lease).unwrap_or_default() {
            self.serve_lease(now, from, request, lease, true);
        }
    }

    /// The log did not take what was to be said about these leases: who waits for it asks again.
    pub(super) fn refuse_held(&mut self, leases: impl IntoIterator<Item = LeaseId>) {
        for lease in leases {
            for (from, request) in self.renewals.remove(&lease).unwrap_or_default() {
                self.lease_refused(from, request);
            }
        }
    }

    fn lease_served(&mut self, now: Instant, from: NodeId, request: u64, ttl: i64, granted: i64) {
        if from == self.settings.node {
            self.lease_answer(now, request, ttl, granted, true);
        } else {
            self.send_frame(from, &Frame::LeaseAnswer { request, ttl, granted });
        }
    }

    /// The leader's word about a lease; `fresh` says that this node's state is as new as that.
    pub(super) fn lease_answer(&mut self, now: Instant, request: u64, ttl: i64, granted: i64, fresh: bool) {
        let Some(deadline) = self.pending.deadline(request) else { return };
        let Some((want, done, trace)) = self.pending.finish(request) else { return };
        self.explain(now, trace, false);
        let head = self.head();
        match want {
            Want::KeepAlive(id, revision) => {
                let head = Head { revision, ..head };
                done(Ok(Answer { head, body: Body::KeepAlive { id, ttl } }));
            }
            Want::TimeToLive(id, true) => {
                let done: Done = Box::new(move |result| done(with_time(result, ttl, granted)));
                let request = Request::LeaseTimeToLive { id, keys: true };
                if fresh {
                    self.serve(now, request, deadline, (done, None));
                } else {
                    // The leader counts, but the keys are read here, and this node may lag behind what a client has been
                    // told.
                    self.reads.gather(Read::Local { request, done, deadline, trace: None });
                }
            }
            Want::TimeToLive(id, false) => {
                done(Ok(Answer { head, body: Body::TimeToLive { id, ttl, granted, keys: Vec::new() } }));
            }
            Want::Write(_) | Want::Members(_) => done(Err(Failure::TimedOut)),
        }
    }

    /// The leadership was not proven: whoever asked asks again.
    pub(super) fn lease_refused(&mut self, from: NodeId, request: u64) {
        if from == self.settings.node {
            self.pending.refused(request);
            self.holding = true;
        } else {
            self.send_frame(from, &Frame::Refused { request, why: Declined::NotLeading });
        }
    }

    /// A snapshot of what is readable now, unless as many are under way as may.
    pub(super) fn backup(&mut self) -> Result<Backup, Failure> {
        if self.stopping {
            return Err(Failure::Stopping);
        }
        if self.raft.state_lost() {
            return Err(Failure::Broken(STATE_LOST.into()));
        }
        self.backups.retain(|backup| backup.strong_count() > 0);
        if self.backups.len() >= BACKUPS_MAX {
            return Err(Failure::Overloaded);
        }
        let counted = Arc::new(());
        self.backups.push(Arc::downgrade(&counted));
        let header = Header { cluster: self.settings.cluster, node: self.settings.node };
        Ok(Backup::new(&self.view, header, counted))
    }

    /// What is counted here.
    pub fn figures(&self) -> Figures {
        let (db_size, db_size_in_use) = self.view.sizes();
        Figures {
            has_leader: self.raft.leader().is_some(),
            leads: self.raft.is_leader(),
            learner: self.raft.is_learner(),
            leader_changes: self.leader_changes,
            committed: self.raft.commit().get(),
            applied: self.view.applied().index.get(),
            pending: self.pending.len() as u64,
            failed: self.failed,
            db_size,
            db_size_in_use,
            quota: self.settings.upkeep.quota,
            keys: self.view.len(),
            leases: self.view.leases_len(),
            leases_given_back: self.lessor.given_back(),
        }
    }

    fn status(&self) -> Status {
        let (db_size, db_size_in_use) = self.view.sizes();
        let mut errors = Vec::new();
        if self.raft.leader().is_none() {
            errors.push("etcdserver: no leader".to_string());
        }
        if self.raft.state_lost() {
            errors.push("quorate: the state was lost and comes from the peers".to_string());
        }
        Status {
            leader: self.raft.leader().map_or(0, NodeId::get),
            term: self.raft.term(),
            last: self.raft.last().index,
            commit: self.raft.commit(),
            applied: self.view.applied().index,
            db_size,
            db_size_in_use,
            learner: self.raft.is_learner(),
            errors,
            digest: self.view.digest(),
            alarms: self.view.alarms().iter().copied().collect(),
            quota: self.settings.upkeep.quota,
        }
    }
}

/// The keys of a lease that were read here, with its time as the leader told it.
fn with_time(result: Result<Answer, Failure>, ttl: i64, granted: i64) -> Result<Answer, Failure> {
    match result? {
        Answer { head, body: Body::TimeToLive { id, keys, .. } } => {
            Ok(Answer { head, body: Body::TimeToLive { id, ttl, granted, keys } })
        }
        other => Ok(other),
    }
}

fn serves_as_learner(request: &Request) -> bool {
    matches!(request, Request::Status | Request::Range { serializable: true, .. })
}
