//! What is asked of both sides: requests in a form that depends on neither.
//!
//! Two kinds of numbers differ between clusters that have the same history behind them: revisions, when one of them was
//! used before, and the ids of leases that the server chose. In an [`Op`] both are symbolic. A revision is counted from
//! the run's beginning, which is [`BIAS`]; a chosen lease is [`CHOSEN`] plus the number of its grant. [`Names`]
//! translates for one side, in both directions.

use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::{compare::TargetUnion, request_op, response_op};
use quorate_proto::mvccpb::{Event, KeyValue};
use std::collections::BTreeMap;

/// The symbolic revision at which a run begins; smaller ones are compacted when it does.
pub const BIAS: i64 = 8;
/// From here on a revision means itself: one that no store will reach.
pub const FAR: i64 = 1 << 50;
/// Symbolic ids of leases whose id the server chose begin here.
pub const CHOSEN: i64 = 0x7000_0000_0000_0000;

/// One step of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    /// A lease that outlives the run. `slot` numbers the ids that the server chooses.
    Grant {
        request: pb::LeaseGrantRequest,
        slot: i64,
    },
    /// A short lease, looked at and revoked before it can run out.
    Brief {
        ttl: i64,
        id: i64,
    },
    /// A short lease with these keys, which is waited for until it has run out.
    Expire {
        keys: Vec<Bytes>,
    },
    Revoke(i64),
    /// A step of a lock or an election, but for one that would wait.
    Contest {
        step: Contest,
        name: Bytes,
        lease: i64,
    },
    /// One stream with these ids, half-closed behind the last.
    KeepAlive(Vec<i64>),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    Leases,
    Authenticate,
    AuthStatus,
    /// The alarms, or the disarming of one that is not raised.
    Alarms(pb::AlarmRequest),
    /// How the asked member does.
    Status,
    Members {
        linearizable: bool,
    },
    /// A learner that never starts comes, is asked for what is refused, and goes again: see `members.rs`.
    Learner,
    /// Hashes, a defragmentation, perhaps a snapshot: see `upkeep.rs`.
    Upkeep {
        revision: i64,
        snapshot: bool,
    },
    /// The leader is asked to hand over to a member that there is not.
    HandOver,
    WatchCreate {
        stream: usize,
        request: pb::WatchCreateRequest,
    },
    WatchCancel {
        stream: usize,
        id: i64,
    },
    /// How far the stream is, asked so many times at once.
    WatchProgress {
        stream: usize,
        times: usize,
    },
    WatchReopen {
        stream: usize,
    },
    /// A request on a watch stream that asks for nothing.
    WatchNothing {
        stream: usize,
    },
    /// All that watches have to say is waited for and compared.
    Settle,
}

/// What a contender for a name does, under a lease whose id the client chose.
#[derive(Clone, Debug, PartialEq)]
pub enum Contest {
    Lock,
    Unlock,
    Campaign(Bytes),
    /// With the revision of its key moved by so much: what is not 0 is another's.
    Proclaim(Bytes, i64),
    Leader,
    Resign(i64),
}

/// The translation between symbolic and real numbers for one side.
#[derive(Debug, Default)]
pub struct Names {
    /// The real revision at which the run began.
    base: i64,
    chosen: BTreeMap<i64, i64>,
}

impl Names {
    /// For a run that begins at this revision.
    pub fn new(base: i64) -> Self {
        assert!(base >= BIAS, "a run begins at revision {base}, below {BIAS}");
        Self { base, chosen: BTreeMap::new() }
    }

    /// The server has chosen `real` for the lease `symbolic`.
    pub fn learn(&mut self, symbolic: i64, real: i64) {
        self.chosen.insert(symbolic, real);
    }

    fn revision(&self, symbolic: i64) -> i64 {
        if symbolic <= 0 || symbolic >= FAR { symbolic } else { symbolic + self.base - BIAS }
    }

    fn lease(&self, symbolic: i64) -> i64 {
        // A grant that failed or was left out leaves an id that nobody has.
        *self.chosen.get(&symbolic).unwrap_or(&symbolic)
    }

    fn seen_revision(&self, real: &mut i64) {
        if *real > 0 {
            *real = *real - self.base + BIAS;
        }
    }

    fn seen_lease(&self, real: &mut i64) {
        if let Some((symbolic, _)) = self.chosen.iter().find(|(_, id)| *id == real) {
            *real = *symbolic;
        }
    }

    // Requests, from symbolic to real.

    pub fn range(&self, request: &pb::RangeRequest) -> pb::RangeRequest {
        let mut real = request.clone();
        for revision in [
            &mut real.revision,
            &mut real.min_mod_revision,
            &mut real.max_mod_revision,
            &mut real.min_create_revision,
            &mut real.max_create_revision,
        ] {
            *revision = self.revision(*revision);
        }
        real
    }

    pub fn put(&self, request: &pb::PutRequest) -> pb::PutRequest {
        pb::PutRequest { lease: self.lease(request.lease), ..request.clone() }
    }

    pub fn txn(&self, request: &pb::TxnRequest) -> pb::TxnRequest {
        let ops = |list: &[pb::RequestOp]| list.iter().map(|op| self.request_op(op)).collect();
        pb::TxnRequest {
            compare: request.compare.iter().map(|c| self.compare(c)).collect(),
            success: ops(&request.success),
            failure: ops(&request.failure),
        }
    }

    fn request_op(&self, op: &pb::RequestOp) -> pb::RequestOp {
        use request_op::Request;
        let request = op.request.as_ref().map(|request| match request {
            Request::RequestRange(r) => Request::RequestRange(self.range(r)),
            Request::RequestPut(r) => Request::RequestPut(self.put(r)),
            Request::RequestDeleteRange(r) => Request::RequestDeleteRange(r.clone()),
            Request::RequestTxn(r) => Request::RequestTxn(self.txn(r)),
        });
        pb::RequestOp { request }
    }

    fn compare(&self, compare: &pb::Compare) -> pb::Compare {
        let mut real = compare.clone();
        match &mut real.target_union {
            Some(TargetUnion::CreateRevision(r) | TargetUnion::ModRevision(r)) => *r = self.revision(*r),
            Some(TargetUnion::Lease(id)) => *id = self.lease(*id),
            _ => {}
        }
        real
    }

    pub fn compact(&self, request: pb::CompactionRequest) -> pb::CompactionRequest {
        pb::CompactionRequest { revision: self.revision(request.revision), ..request }
    }

    pub fn lease_id(&self, symbolic: i64) -> i64 {
        self.lease(symbolic)
    }

    pub fn watch(&self, request: &pb::WatchCreateRequest) -> pb::WatchCreateRequest {
        pb::WatchCreateRequest { start_revision: self.revision(request.start_revision), ..request.clone() }
    }

    pub fn real_revision(&self, symbolic: i64) -> i64 {
        self.revision(symbolic)
    }

    // Replies, from real to symbolic. What is compared of cluster, member and term is whether they are there.

    pub fn seen_header(&self, header: &mut Option<pb::ResponseHeader>) {
        if let Some(header) = header {
            header.cluster_id = u64::from(header.cluster_id != 0);
            header.member_id = u64::from(header.member_id != 0);
            header.raft_term = u64::from(header.raft_term != 0);
            self.seen_revision(&mut header.revision);
        }
    }

    pub fn symbolic_revision(&self, real: i64) -> i64 {
        let mut symbolic = real;
        self.seen_revision(&mut symbolic);
        symbolic
    }

    pub fn seen_kv(&self, kv: &mut KeyValue) {
        self.seen_revision(&mut kv.create_revision);
        self.seen_revision(&mut kv.mod_revision);
        self.seen_lease(&mut kv.lease);
    }

    pub fn seen_range(&self, reply: &mut pb::RangeResponse) {
        self.seen_header(&mut reply.header);
        reply.kvs.iter_mut().for_each(|kv| self.seen_kv(kv));
    }

    pub fn seen_put(&self, reply: &mut pb::PutResponse) {
        self.seen_header(&mut reply.header);
        reply.prev_kv.iter_mut().for_each(|kv| self.seen_kv(kv));
    }

    pub fn seen_delete(&self, reply: &mut pb::DeleteRangeResponse) {
        self.seen_header(&mut reply.header);
        reply.prev_kvs.iter_mut().for_each(|kv| self.seen_kv(kv));
    }

    pub fn seen_txn(&self, reply: &mut pb::TxnResponse) {
        use response_op::Response;
        self.seen_header(&mut reply.header);
        for op in &mut reply.responses {
            match &mut op.response {
                Some(Response::ResponseRange(r)) => self.seen_range(r),
                Some(Response::ResponsePut(r)) => self.seen_put(r),
                Some(Response::ResponseDeleteRange(r)) => self.seen_delete(r),
                Some(Response::ResponseTxn(r)) => self.seen_txn(r),
                None => {}
            }
        }
    }

    pub fn seen_leader(&self, leader: &mut Option<quorate_proto::v3electionpb::LeaderKey>) {
        if let Some(leader) = leader {
            self.seen_revision(&mut leader.rev);
        }
    }

    pub fn seen_lease_id(&self, id: &mut i64) {
        self.seen_lease(id);
    }

    pub fn seen_event(&self, event: &mut Event) {
        event.kv.iter_mut().chain(event.prev_kv.iter_mut()).for_each(|kv| self.seen_kv(kv));
    }

    pub fn seen_watch(&self, reply: &mut pb::WatchResponse) {
        self.seen_header(&mut reply.header);
        self.seen_revision(&mut reply.compact_revision);
        reply.events.iter_mut().for_each(|event| self.seen_event(event));
    }
}

/// A request as short text: fields at their default are left out, long values shortened.
pub fn brief(op: &Op) -> String {
    let mut text = format!("{op:?}");
    for default in ["false", "0", "b\"\"", "[]"] {
        text = without(&text, default);
    }
    for noise in ["RequestOp { request: Some(", "request: "] {
        text = text.replace(noise, "");
    }
    text.replace(") }]", "]").replace(") }, Request", ", Request").replace(",  }", " }")
}

/// Removes `name: value` from a list of fields, wherever it stands.
fn without(text: &str, value: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let pattern = format!(": {value}");
    while let Some(at) = rest.find(&pattern) {
        let (before, after) = (&rest[..at], &rest[at + pattern.len()..]);
        let name = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |i| i + 1);
        if let Some(after) = after.strip_prefix(", ") {
            out.push_str(&before[..name]);
            rest = after;
        } else if after.starts_with(" }") {
            out.push_str(before[..name].trim_end_matches([' ', ',']));
            rest = after;
        } else {
            out.push_str(&rest[..at + pattern.len()]);
            rest = after;
        }
    }
    out.push_str(rest);
    let long = "x".repeat(20);
    match out.find(&long) {
        Some(at) => {
            let end = out[at..].find(|c| c != 'x').map_or(out.len(), |n| at + n);
            format!("{}x*{}{}", &out[..at], end - at, &out[end..])
        }
        None => out,
    }
}
