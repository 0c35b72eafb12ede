//! What clients ask, answered: calls in, callbacks out.

use super::{Broken, COMMAND_MAX, Lane, Read, WAITING_BYTES_MAX, WAITING_MAX, Want};
use crate::api::{Answer, Body, Done, Failure, Head, Member, Request, Status};
use crate::applier::Outcome;
use crate::lessor::Renewal;
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};
use quorate_state::kv::ReadError;
use quorate_storage::state::StateError;
use quorate_wire::kv::{Command, LeaseId, Reply};
use quorate_wire::peer::Frame;

impl Lane {
    pub(super) fn call(&mut self, now: Instant, request: Request, timeout: Option<Duration>, done: Done) {
        if self.stopping {
            return done(Err(Failure::Stopping));
        }
        if self.raft.state_lost() && !matches!(request, Request::Status) {
            // What is readable here is no state of the space, not even an old one.
            return done(Err(Failure::Broken(
                "this node lost its state, and fetches it from its peers".into(),
            )));
        }
        if self.raft.is_learner() && !serves_as_learner(&request) {
            return done(Err(Failure::Learner));
        }
        if self.waiting_full() {
            return done(Err(Failure::Overloaded));
        }
        let deadline = now + timeout.unwrap_or(self.patience.request).min(self.patience.request);
        match request {
            Request::Write(command) => self.call_write(&command, deadline, done),
            Request::LeaseKeepAlive { id } => {
                self.park(Want::KeepAlive(id, self.view.revision()), deadline, done);
            }
            Request::LeaseTimeToLive { id, keys } => self.park(Want::TimeToLive(id, keys), deadline, done),
            Request::Status
            | Request::Range { serializable: true, .. }
            | Request::ReadTxn { serializable: true, .. }
            | Request::Members { linearizable: false } => self.serve(&request, done),
            Request::Range { .. }
            | Request::ReadTxn { .. }
            | Request::LeaseList
            | Request::Members { .. } => {
                self.reads.gather(Read::Local { request, done, deadline });
            }
        }
    }

    /// As much waits as may.
    pub(super) fn waiting_full(&self) -> bool {
        self.pending.len() + self.reads.len() >= WAITING_MAX || self.pending.bytes() >= WAITING_BYTES_MAX
    }

    fn call_write(&mut self, command: &Command, deadline: Instant, done: Done) {
        let request = self.take_request();
        let data = quorate_wire::command::encode(self.settings.node, request, command);
        if data.len() > COMMAND_MAX {
            return done(Err(Failure::TooLarge));
        }
        self.pending.park(request, Want::Write(data), done, deadline);
    }

    fn park(&mut self, want: Want, deadline: Instant, done: Done) {
        let request = self.take_request();
        self.pending.park(request, want, done, deadline);
    }

    pub(super) fn answer_write(&mut self, outcome: Outcome) {
        let Some((_, done)) = self.pending.finish(outcome.request) else { return };
        let head = Head { revision: outcome.revision, ..self.head() };
        done(match outcome.result {
            Ok(reply) => Ok(Answer { head, body: Body::Reply(reply) }),
            Err(refused) => Err(Failure::Refused(refused, head)),
        });
    }

    pub(super) fn refused(&mut self, request: u64, overloaded: bool) {
        if overloaded {
            if let Some((_, done)) = self.pending.finish(request) {
                done(Err(Failure::Overloaded));
            }
        } else {
            self.pending.refused(request);
            self.holding = true;
        }
    }

    pub(super) fn serve_reads(&mut self, now: Instant) {
        for read in self.reads.ready(self.view.applied().index) {
            match read {
                Read::Local { request, done, .. } => self.serve(&request, done),
                Read::Lease { from, request, lease, renew } => {
                    self.serve_lease(now, from, request, lease, renew);
                }
            }
        }
    }

    /// Answers from the newest view.
    fn serve(&mut self, request: &Request, done: Done) {
        let head = self.head();
        let body = match request {
            Request::Range { range, .. } => self.view.range(range).map(|r| Body::Reply(Reply::Range(r))),
            Request::ReadTxn { txn, .. } => self.view.txn(txn).map(Body::Reply),
            Request::LeaseList => {
                Ok(Body::Leases(self.view.leases().into_iter().map(|(id, ..)| id).collect()))
            }
            Request::Members { .. } => Ok(Body::Members(self.members())),
            Request::Status => Ok(Body::Status(self.status())),
            // What the leader says of its time is filled in behind this.
            Request::LeaseTimeToLive { id, .. } => {
                let keys = self.view.lease_keys(*id).map_err(ReadError::Store);
                keys.map(|keys| Body::TimeToLive { id: *id, ttl: 0, granted: 0, keys })
            }
            Request::Write(_) | Request::LeaseKeepAlive { .. } => {
                Err(ReadError::Refused(quorate_wire::kv::Refused::UnknownCommand))
            }
        };
        done(match body {
            Ok(body) => Ok(Answer { head, body }),
            Err(ReadError::Refused(refused)) => Err(Failure::Refused(refused, head)),
            Err(ReadError::Store(error)) => Err(self.read_failed(&error)),
        });
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
                Renewal::Granted(ttl) => self.lease_served(from, request, ttl, 0),
                Renewal::Unknown => self.lease_served(from, request, 0, 0),
                Renewal::Wait => self.renewals.entry(lease).or_default().push((from, request)),
                Renewal::NotLeading => self.lease_refused(from, request),
            }
        } else {
            let (ttl, granted) = self.lessor.time_to_live(now, lease).unwrap_or((-1, 0));
            self.lease_served(from, request, ttl, granted);
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

    fn lease_served(&mut self, from: NodeId, request: u64, ttl: i64, granted: i64) {
        if from == self.settings.node {
            self.lease_answer(request, ttl, granted, true);
        } else {
            self.send_frame(from, &Frame::LeaseAnswer { request, ttl, granted });
        }
    }

    /// The leader's word about a lease; `fresh` says that this node's state is as new as that.
    pub(super) fn lease_answer(&mut self, request: u64, ttl: i64, granted: i64, fresh: bool) {
        let Some(deadline) = self.pending.deadline(request) else { return };
        let Some((want, done)) = self.pending.finish(request) else { return };
        let head = self.head();
        match want {
            Want::KeepAlive(id, revision) => {
                let head = Head { revision, ..head };
                done(Ok(Answer { head, body: Body::KeepAlive { id, ttl } }));
            }
            Want::TimeToLive(id, true) if !fresh => {
                // The leader counts, but the keys are read here, and this node may lag behind what a client has been told.
                let done: Done = Box::new(move |result| done(with_time(result, ttl, granted)));
                self.reads.gather(Read::Local {
                    request: Request::LeaseTimeToLive { id, keys: true },
                    done,
                    deadline,
                });
            }
            Want::TimeToLive(id, with_keys) => {
                let keys = if with_keys { self.view.lease_keys(id) } else { Ok(Vec::new()) };
                done(match keys {
                    Ok(keys) => Ok(Answer { head, body: Body::TimeToLive { id, ttl, granted, keys } }),
                    Err(error) => Err(self.read_failed(&error)),
                });
            }
            Want::Write(_) => done(Err(Failure::TimedOut)),
        }
    }

    /// The leadership was not proven: whoever asked asks again.
    pub(super) fn lease_refused(&mut self, from: NodeId, request: u64) {
        if from == self.settings.node {
            self.pending.refused(request);
            self.holding = true;
        } else {
            self.send_frame(from, &Frame::Refused { request, overloaded: false });
        }
    }

    fn members(&self) -> Vec<Member> {
        let membership = self.raft.membership();
        self.settings
            .members
            .iter()
            .filter(|m| membership.contains(NodeId(m.id)))
            .map(|m| Member { learner: membership.is_learner(NodeId(m.id)), ..m.clone() })
            .collect()
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
