//! What clients ask, answered: calls in, callbacks out.

use super::closed::{How, Stand, fenced};
use super::explain::Trace;
use super::group::Group;
use super::node::{Asking, Node};
use super::pending::Want;
use super::reads::{Read, Until};
use super::{COMMAND_MAX, Lane, large};
use crate::api::{Answer, Body, Done, Failure, Fresh, Head, Request, Status, Wait, tables};
use crate::applier::Outcome;
use crate::backup::{Backup, Header};
use crate::evidence::Part;
use crate::figures::Figures;
use crate::lessor::Renewal;
use quorate_base::{Instant, NodeId};
use quorate_protocol::raft::Membership;
use quorate_state::kv::ReadError;
use quorate_wire::kv::{Command, LeaseId, Refused, Reply};
use quorate_wire::members::{Book, Info};
use quorate_wire::peer::{Declined, Frame};
use quorate_wire::table::{Refusal, What};
use std::cell::Cell;
use std::sync::Arc;

/// So many snapshots may be saved at once: each holds on to what it reads.
const BACKUPS_MAX: usize = 4;
const STATE_LOST: &str = "this node lost its state, and fetches it from its peers";

impl Group {
    pub(super) fn call(&mut self, node: &mut Node, now: Instant, request: Request, wait: Wait, done: Done) {
        let (request, mut trace) = match request {
            Request::Explained(request, slot) => (*request, Some(Trace::new(slot, now))),
            request => (request, None),
        };
        if let Err(failure) = self.takes(node, &request) {
            return done(Err(failure));
        }
        if let Request::Table { epoch, .. } = &request
            && *epoch != self.view.tables().epoch()
        {
            return done(Err(Failure::Refused(Refused::Table(Refusal::StaleEpoch), self.head(node))));
        }
        let (request, how) = match self.how(node, request, trace.as_deref_mut()) {
            Ok(how) => how,
            Err(refused) => return done(Err(Failure::Refused(refused, self.head(node)))),
        };
        let timeout = wait.timeout;
        let until = Until::new(now, wait, node.patience.request);
        let deadline = until.index;
        match request {
            Request::Write(mut command) => {
                self.name_founders(&mut command);
                self.call_write(node, &command, deadline, (done, trace));
            }
            Request::LeaseKeepAlive { id } => {
                self.park(node, Want::KeepAlive(id, self.view.revision()), deadline, (done, trace));
            }
            Request::LeaseTimeToLive { id, keys } => {
                self.park(node, Want::TimeToLive(id, keys), deadline, (done, trace));
            }
            Request::ChangeMembers(change) => self.park(node, Want::Members(change), deadline, (done, trace)),
            Request::MoveLeader { to } => self.move_leader(now, NodeId(to), deadline, (done, trace)),
            Request::Swept | Request::Defragment => {
                node.settle(now, request == Request::Defragment, timeout, (done, trace));
            }
            // What this node has shown before it was started again it may only hold in its journal, as entries of which it does not
            // know yet that they are committed. So that nobody who stays with it sees its state go back, the first read of a life
            // waits for the log's end as a linearizable one does, and so does the first plain one of a table. (etcd opens its ports only then.)
            Request::Range { serializable: true, .. } | Request::ReadTxn { serializable: true, .. }
                if !self.caught_up =>
            {
                self.gather(node, Read::Local { request, done, until, trace });
            }
            Request::Status
            | Request::HashSpace { .. }
            | Request::HashAll
            | Request::Range { serializable: true, .. }
            | Request::ReadTxn { serializable: true, .. }
            | Request::Table { fresh: Fresh::Local, .. }
            | Request::Members { linearizable: false } => {
                self.serve(node, now, request, until, (done, trace));
            }
            Request::Table { .. } if matches!(how, How::Bounded(..)) => {
                self.serve(node, now, request, until, (done, trace));
            }
            Request::Range { .. }
            | Request::ReadTxn { .. }
            | Request::Table { .. }
            | Request::LeaseList
            | Request::Fences
            | Request::Alarms
            | Request::Members { .. } => {
                self.gather(node, Read::Local { request, done, until, trace });
            }
            // None of these may be wrapped twice, and the lane has taken the others.
            Request::Explained(..)
            | Request::At(..)
            | Request::Transact(_)
            | Request::Gather(_)
            | Request::Led => done(Err(Failure::TooLarge)),
        }
    }

    /// How a read of a table is to be answered, which is noted where it is to be explained.
    fn how(
        &self,
        node: &Node,
        mut request: Request,
        trace: Option<&mut Trace>,
    ) -> Result<(Request, How), Refused> {
        let how = self.freshness(node, &mut request)?;
        if let Some(trace) = trace {
            match how {
                How::Bounded(closed, age) => trace.closed = Some((closed, age)),
                How::Forwarded(missed) => trace.missed = Some(missed),
                How::Newest | How::Local => {}
            }
        }
        Ok((request, how))
    }

    /// Whether a request is taken at all.
    pub(super) fn takes(&self, node: &Node, request: &Request) -> Result<(), Failure> {
        if node.stopping {
            return Err(Failure::Stopping);
        }
        if self.raft.state_lost() && !matches!(request, Request::Status) {
            // What is readable here is no state of the space, not even an old one.
            return Err(Failure::Broken(STATE_LOST.into()));
        }
        if !serves_as_learner(request) && self.only_learns(node) {
            return Err(Failure::Learner);
        }
        if node.waiting_full() { Err(Failure::Overloaded) } else { Ok(()) }
    }

    /// Whether this node is a learner, and was not added to vote.
    pub(super) fn only_learns(&self, node: &Node) -> bool {
        self.raft.is_learner() && !self.joins(node)
    }

    /// Whether this node was added to vote, and does not yet because it has to catch up: its clients need not know.
    fn joins(&self, node: &Node) -> bool {
        let me = node.settings.node;
        match self.own_info(node) {
            Some(info) => info.joins,
            // In its first moments it has the word of whom it asked.
            None => node.settings.members.iter().any(|m| m.id == me.get() && !m.learner),
        }
    }

    /// What the members know of this node.
    fn own_info(&self, node: &Node) -> Option<Info> {
        Book::of(self.raft.membership()).members.remove(&node.settings.node)
    }

    /// Whether the list of members that this node gives has it as it says itself.
    fn is_listed(&self, node: &Node) -> bool {
        let me = node.settings.node;
        let told = node.settings.members.iter().find(|m| m.id == me.get());
        let listed = Membership::decode(self.view.membership()).map(|now| Book::of(&now));
        let listed = listed.and_then(|mut book| book.members.remove(&me));
        listed.is_some_and(|info| {
            told.is_none_or(|told| info.name == told.name && info.client_urls == told.client_urls)
        })
    }

    /// A table that is made with shards of its own: with whom their groups begin stands in the entry.
    fn name_founders(&self, command: &mut Command) {
        let Command::Table(command) = command else { return };
        let What::Create(definition) = &command.what else { return };
        if definition.asks_for_shards() {
            let now = self.raft.committed_membership();
            let founders = Membership {
                voters: now.voters.clone(),
                learners: now.learners.clone(),
                book: now.book.clone(),
                ..Membership::default()
            };
            command.what = What::Place { definition: definition.clone(), founders: founders.encode() };
        }
    }

    fn call_write(&self, node: &mut Node, command: &Command, deadline: Instant, asker: Asking) {
        if command.grows() && (self.is_short_of_room(node) || (node.alarmed && self.hub.is_none())) {
            return self.refuse_for_room(node, asker.0);
        }
        let request = node.take_request();
        let data = quorate_wire::command::encode(node.settings.node, request, command);
        if data.len() > COMMAND_MAX {
            return asker.0(Err(Failure::TooLarge));
        }
        if command.grows() && self.would_outgrow(node, data.len()) {
            node.room.crossed = true;
            return self.refuse_for_room(node, asker.0);
        }
        node.pending.park(self.shard, request, Want::Write(data), deadline, asker);
    }

    fn park(&self, node: &mut Node, want: Want, deadline: Instant, asker: Asking) {
        let request = node.take_request();
        node.pending.park(self.shard, request, want, deadline, asker);
    }

    pub(super) fn answer_write(&self, node: &mut Node, now: Instant, outcome: Outcome) {
        let Some((_, done, trace)) = node.pending.finish(outcome.request) else { return };
        self.explain(node, now, trace, true);
        let head = Head { revision: outcome.revision, ..self.head(node) };
        done(match outcome.result {
            Ok(reply) => Ok(Answer { head, body: Body::Reply(reply) }),
            Err(refused) => Err(Failure::Refused(refused, head)),
        });
    }

    /// Nothing was done about a request: it is tried again where that helps.
    pub(super) fn refused(&mut self, node: &mut Node, request: u64, why: Declined) {
        let failure = match why {
            Declined::NotLeading => {
                node.pending.refused(request);
                self.holding = true;
                return;
            }
            Declined::Overloaded => Failure::Overloaded,
            Declined::Unknown => Failure::Refused(Refused::UnknownCommand, self.head(node)),
        };
        if let Some((_, done, _)) = node.pending.finish(request) {
            node.failed += 1;
            done(Err(failure));
        }
    }

    pub(super) fn serve_reads(&mut self, node: &mut Node, now: Instant) {
        for read in self.reads.ready(self.shows()) {
            self.caught_up = true;
            match read {
                Read::Local { request, done, until, trace } => {
                    self.serve(node, now, request, until, (done, trace));
                }
                Read::Lease { from, request, lease, renew } => {
                    self.serve_lease(node, now, from, request, lease, renew);
                }
            }
        }
    }

    /// Answers from the newest view, or hands the read on with it.
    fn serve(
        &self,
        node: &mut Node,
        now: Instant,
        request: Request,
        until: Until,
        (done, mut trace): Asking,
    ) {
        let head = self.head(node);
        let result = match &request {
            Request::Members { .. } => Ok(Some(Body::Members(self.member_list(node)))),
            Request::Status => Ok(Some(Body::Status(self.status(node)))),
            Request::Alarms => {
                Ok(Some(Body::Reply(Reply::Alarms(self.view.alarms().iter().copied().collect()))))
            }
            request => self.read_at_once(node, request),
        };
        if !matches!(result, Ok(None)) {
            self.explain(node, now, trace, false);
            let result = node.read_result(head, result);
            return node.answer_read(self.shard, request, until.index, done, result);
        }
        if let Some(trace) = &mut trace {
            trace.waits = Some((Part::Read, now));
        }
        if let Err(done) = node.large.begin((self.shard, &self.view), request, head, until, (done, trace)) {
            done(Err(Failure::Overloaded));
        }
    }

    /// Reads from the newest view, if it costs little.
    fn read_at_once(&self, node: &mut Node, request: &Request) -> Result<Option<Body>, ReadError> {
        let one = match request {
            Request::Range { range, .. } => range.range.end.is_empty(),
            Request::Table { read, .. } => matches!(&**read, tables::Read::Get(gets) if gets.len() == 1),
            _ => false,
        };
        let most = if one { node.settings.at_once } else { node.settings.at_once.min(node.at_once) };
        let left = Cell::new(Some(most));
        let go_on = |cost| {
            left.set(left.get().and_then(|left| left.checked_sub(cost)));
            left.get().is_some()
        };
        let result = large::read(&self.view, request, &go_on);
        if !one {
            node.at_once = node.at_once.saturating_sub(most - left.get().unwrap_or(0));
        }
        result
    }

    fn serve_lease(
        &mut self,
        node: &mut Node,
        now: Instant,
        from: NodeId,
        request: u64,
        lease: LeaseId,
        renew: bool,
    ) {
        if !self.lessor.is_leading() {
            // The proof came in time, the state did not.
            return self.lease_refused(node, from, request);
        }
        if renew {
            match self.lessor.renew(now, lease) {
                Renewal::Granted(ttl) => self.lease_served(node, now, from, request, (ttl, 0)),
                Renewal::Unknown => self.lease_served(node, now, from, request, (0, 0)),
                Renewal::Wait => self.renewals.entry(lease).or_default().push((from, request)),
                Renewal::NotLeading => self.lease_refused(node, from, request),
            }
        } else {
            let (ttl, granted) = self.lessor.time_to_live(now, lease).unwrap_or((-1, 0));
            self.lease_served(node, now, from, request, (ttl, granted));
        }
    }

    /// The log has said something about a lease: its keep-alives that wait are looked at again.
    pub(super) fn renew_held(&mut self, node: &mut Node, now: Instant, lease: LeaseId) {
        for (from, request) in self.renewals.remove(&lease).unwrap_or_default() {
            self.serve_lease(node, now, from, request, lease, true);
        }
    }

    /// The log did not take what was to be said about these leases: who waits for it asks again.
    pub(super) fn refuse_held(&mut self, node: &mut Node, leases: impl IntoIterator<Item = LeaseId>) {
        for lease in leases {
            for (from, request) in self.renewals.remove(&lease).unwrap_or_default() {
                self.lease_refused(node, from, request);
            }
        }
    }

    fn lease_served(
        &mut self,
        node: &mut Node,
        now: Instant,
        from: NodeId,
        request: u64,
        (ttl, granted): (i64, i64),
    ) {
        if from == node.settings.node {
            self.lease_answer(node, now, request, (ttl, granted), true);
        } else {
            node.send(from, &Frame::LeaseAnswer { request, ttl, granted });
        }
    }

    /// The leader's word about a lease; `fresh` says that this node's state is as new as that.
    pub(super) fn lease_answer(
        &mut self,
        node: &mut Node,
        now: Instant,
        request: u64,
        (ttl, granted): (i64, i64),
        fresh: bool,
    ) {
        let Some(deadline) = node.pending.deadline(request) else { return };
        let Some((want, done, trace)) = node.pending.finish(request) else { return };
        self.explain(node, now, trace, false);
        let head = self.head(node);
        match want {
            Want::KeepAlive(id, revision) => {
                let head = Head { revision, ..head };
                done(Ok(Answer { head, body: Body::KeepAlive { id, ttl } }));
            }
            Want::TimeToLive(id, true) => {
                let done: Done = Box::new(move |result| done(with_time(result, ttl, granted)));
                let request = Request::LeaseTimeToLive { id, keys: true };
                let until = Until::at(deadline);
                if fresh {
                    self.serve(node, now, request, until, (done, None));
                } else {
                    // The leader counts, but the keys are read here, and this node may lag behind what a client has been
                    // told.
                    self.gather(node, Read::Local { request, done, until, trace: None });
                }
            }
            Want::TimeToLive(id, false) => {
                done(Ok(Answer { head, body: Body::TimeToLive { id, ttl, granted, keys: Vec::new() } }));
            }
            Want::Write(_) | Want::Members(_) => done(Err(Failure::TimedOut)),
        }
    }

    /// The leadership was not proven: whoever asked asks again.
    pub(super) fn lease_refused(&mut self, node: &mut Node, from: NodeId, request: u64) {
        if from == node.settings.node {
            node.pending.refused(request);
            self.holding = true;
        } else {
            node.send(from, &Frame::Refused { request, why: Declined::NotLeading });
        }
    }

    /// A snapshot of what is readable now, unless as many are under way as may. One that was started and has heard of no leader since
    /// does not know what of its log is committed: without that, what is readable may be next to nothing of what it holds.
    pub(super) fn backup(&self, node: &mut Node) -> Result<Backup, Failure> {
        if node.stopping {
            return Err(Failure::Stopping);
        }
        if self.raft.state_lost() {
            return Err(Failure::Broken(STATE_LOST.into()));
        }
        if self.leader_changes == 0 {
            return Err(Failure::NoLeader);
        }
        node.backups.retain(|backup| backup.strong_count() > 0);
        if node.backups.len() >= BACKUPS_MAX {
            return Err(Failure::Overloaded);
        }
        let counted = Arc::new(());
        node.backups.push(Arc::downgrade(&counted));
        let header = Header { cluster: node.settings.cluster, node: node.settings.node };
        Ok(Backup::new(&self.view, header, counted))
    }

    fn figures(&self, node: &Node) -> Figures {
        let (db_size, _) = self.view.sizes();
        Figures {
            clock: node.times.stand(),
            has_leader: self.raft.leader().is_some(),
            leads: self.raft.is_leader(),
            learner: self.raft.is_learner(),
            leader_changes: self.leader_changes,
            committed: self.raft.commit().get(),
            applied: self.view.applied().index.get(),
            pending: node.pending.len() as u64,
            failed: node.failed,
            db_size,
            quota: node.settings.upkeep.quota,
            revision: self.view.revision(),
            compacted: self.view.compacted(),
            tally: self.view.tally(),
            reads_dropped: self.reads.rounds_dropped(),
            renewed: self.lessor.renewals(),
            keys: self.view.len(),
            leases: self.view.leases_len(),
            undecided: 0,
            leases_given_back: self.lessor.given_back(),
        }
    }

    fn status(&self, node: &Node) -> Status {
        let (db_size, _) = self.view.sizes();
        let mut errors = Vec::new();
        if self.raft.leader().is_none() {
            errors.push("etcdserver: no leader".to_string());
        }
        if self.raft.state_lost() {
            errors.push("quorate: the state was lost and comes from the peers".to_string());
        }
        match node.times.stand() {
            Stand::Far(ahead) => errors.push(format!("quorate: {}", fenced(ahead))),
            Stand::Unknown => errors.push(
                "quorate: it is unknown whether the clock of this node is near the majority's: too few answer, or they disagree"
                    .into(),
            ),
            Stand::Near | Stand::Idle => {}
        }
        Status {
            leader: self.raft.leader().map_or(0, NodeId::get),
            term: self.raft.term(),
            last: self.raft.last().index,
            commit: self.raft.commit(),
            applied: self.view.applied().index,
            db_size,
            learner: self.raft.is_learner(),
            listed: self.is_listed(node),
            errors,
            digest: self.view.digest(),
            alarms: self.view.alarms().iter().copied().collect(),
            quota: node.settings.upkeep.quota,
        }
    }
}

impl Lane {
    /// What is counted here.
    pub fn figures(&self) -> Figures {
        Figures { undecided: self.transactions.undecided() as u64, ..self.space.figures(&self.node) }
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
