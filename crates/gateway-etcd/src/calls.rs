//! How many calls there were, of which method, how they ended and how long they took: the counters that gRPC's own interceptors
//! keep beside etcd, under the same names.
//!
//! Only methods that there are have counters, so that nobody can make more. A stream ends when its status has gone out, or when
//! nobody takes what it says any more (`streamed.rs`); how long streams take is not told.

use crate::Counters;
use quorate_base::time::Duration;
use quorate_node::figures::{Histogram, REQUEST_BOUNDS};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tonic::Code;

/// Codes by their numbers.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Services with their package, their unary methods and their streams.
const METHODS: [(&str, &[&str], &[&str]); 10] = [
    ("etcdserverpb.KV", &["Range", "Put", "DeleteRange", "Txn", "Compact"], &[]),
    ("etcdserverpb.Watch", &[], &["Watch"]),
    (
        "etcdserverpb.Lease",
        &["LeaseGrant", "LeaseRevoke", "LeaseTimeToLive", "LeaseLeases"],
        &["LeaseKeepAlive"],
    ),
    (
        "etcdserverpb.Cluster",
        &["MemberAdd", "MemberRemove", "MemberUpdate", "MemberList", "MemberPromote"],
        &[],
    ),
    (
        "etcdserverpb.Maintenance",
        &["Alarm", "Status", "Defragment", "Hash", "HashKV", "MoveLeader", "Downgrade"],
        &["Snapshot"],
    ),
    ("etcdserverpb.Auth", &["Authenticate", "AuthStatus", "RoleGet", "RoleList", "UserGet", "UserList"], &[]),
    ("v3lockpb.Lock", &["Lock", "Unlock"], &[]),
    ("v3electionpb.Election", &["Campaign", "Proclaim", "Leader", "Resign"], &["Observe"]),
    ("quoratepb.Fences", &["List", "Drop"], &[]),
    ("quoratepb.Shards", &["Leave", "Moves"], &[]),
];

#[derive(Debug)]
struct Method {
    path: String,
    labels: String,
    unary: bool,
    started: AtomicU64,
    heard: AtomicU64,
    said: AtomicU64,
    handled: [AtomicU64; CODES.len()],
    seconds: Histogram,
}

/// The counters of all methods.
#[derive(Debug)]
pub struct Calls(Vec<Method>);

/// A call that has begun; dropped before it was answered, it counts as one that the client gave up.
#[derive(Debug)]
pub(crate) struct Call {
    counters: Arc<Counters>,
    method: usize,
    begun: Instant,
    open: bool,
}

/// Counts what a client says on a stream.
#[derive(Clone, Debug)]
pub(crate) struct Heard(Arc<Counters>, usize);

impl Default for Calls {
    fn default() -> Self {
        let of = |(service, unary, streams): &(&str, &[&str], &[&str])| {
            let kinds =
                unary.iter().map(|name| (*name, true)).chain(streams.iter().map(|name| (*name, false)));
            kinds.map(|(name, unary)| Method::new(service, name, unary)).collect::<Vec<_>>()
        };
        Self(METHODS.iter().flat_map(of).collect())
    }
}

impl Method {
    fn new(service: &str, name: &str, unary: bool) -> Self {
        let kind = match (unary, name) {
            (true, _) => "unary",
            (false, "Snapshot" | "Observe") => "server_stream",
            (false, _) => "bidi_stream",
        };
        Self {
            path: format!("/{service}/{name}"),
            // In the order of their names, as Prometheus' own library writes them.
            labels: format!("grpc_method=\"{name}\",grpc_service=\"{service}\",grpc_type=\"{kind}\""),
            unary,
            started: AtomicU64::default(),
            heard: AtomicU64::default(),
            said: AtomicU64::default(),
            handled: Default::default(),
            seconds: Histogram::new(REQUEST_BOUNDS),
        }
    }
}

impl Call {
    /// A call of the method at `path`, if there is one.
    pub(crate) fn begin(counters: &Arc<Counters>, path: &str) -> Option<Self> {
        let method = counters.calls.0.iter().position(|method| method.path == path)?;
        counters.calls.0[method].started.fetch_add(1, Ordering::Relaxed);
        Some(Self { counters: counters.clone(), method, begun: Instant::now(), open: true })
    }

    fn method(&self) -> &Method {
        &self.counters.calls.0[self.method]
    }

    /// Whether there is one message each way.
    pub(crate) fn is_unary(&self) -> bool {
        self.method().unary
    }

    /// Where what comes on a stream is counted.
    pub(crate) fn hears(&self) -> Heard {
        Heard(self.counters.clone(), self.method)
    }

    /// Messages went out on a stream.
    pub(crate) fn said(&self, messages: u64) {
        self.method().said.fetch_add(messages, Ordering::Relaxed);
    }

    /// It is answered.
    pub(crate) fn end(mut self, code: Code) {
        self.close(code);
    }

    fn close(&mut self, code: Code) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let method = self.method();
        method.handled[code as usize].fetch_add(1, Ordering::Relaxed);
        if method.unary {
            method.heard.fetch_add(1, Ordering::Relaxed);
            method.said.fetch_add(u64::from(code == Code::Ok), Ordering::Relaxed);
            let nanos = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            method.seconds.observe(Duration::from_nanos(nanos));
            if code != Code::Cancelled {
                self.counters.slow.answered(&method.path, Duration::from_nanos(nanos), code);
            }
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.close(Code::Cancelled);
    }
}

impl Heard {
    /// A client's message came, on a stream whose call is counted.
    pub(crate) fn one(of: Option<&Self>) {
        if let Some(Self(counters, method)) = of {
            counters.calls.0[*method].heard.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Calls {
    /// How many calls of the method at `path` were done.
    pub fn done(&self, path: &str) -> u64 {
        let method = self.0.iter().find(|method| method.path == path);
        method.map_or(0, |method| method.handled[Code::Ok as usize].load(Ordering::Relaxed))
    }

    /// Appends them to a page of metrics.
    pub fn write(&self, page: &mut String) {
        let title = |page: &mut String, name: &str, kind: &str, help: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        type Counter = fn(&Method) -> &AtomicU64;
        let simple: [(&str, &str, Counter); 3] = [
            ("grpc_server_started_total", "Calls that were begun.", |method| &method.started),
            ("grpc_server_msg_received_total", "Messages that came from clients.", |method| &method.heard),
            ("grpc_server_msg_sent_total", "Messages that went to clients.", |method| &method.said),
        ];
        for (name, help, counter) in simple {
            title(page, name, "counter", help);
            for method in &self.0 {
                let count = counter(method).load(Ordering::Relaxed);
                let _ = writeln!(page, "{name}{{{}}} {count}", method.labels);
            }
        }
        title(page, "grpc_server_handled_total", "counter", "Calls that ended, by code.");
        for method in &self.0 {
            for (code, count) in CODES.iter().zip(&method.handled) {
                let count = count.load(Ordering::Relaxed);
                // All that could be would be hundreds of lines of zeros.
                if count > 0 || *code == "OK" {
                    let labels = &method.labels;
                    let _ =
                        writeln!(page, "grpc_server_handled_total{{grpc_code=\"{code}\",{labels}}} {count}");
                }
            }
        }
        title(page, "grpc_server_handling_seconds", "histogram", "How long unary calls took.");
        for method in self.0.iter().filter(|m| m.unary && m.started.load(Ordering::Relaxed) > 0) {
            method.seconds.write(page, "grpc_server_handling_seconds", &method.labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: a call is counted by method and code, and one that nobody waited for as cancelled; streams are, too.
    #[test]
    fn calls_are_counted_by_method_and_code() {
        let counters = Arc::<Counters>::default();
        assert!(Call::begin(&counters, "/etcdserverpb.KV/NoSuch").is_none());
        for code in [Code::Ok, Code::Ok, Code::NotFound] {
            Call::begin(&counters, "/etcdserverpb.KV/Put").unwrap().end(code);
        }
        drop(Call::begin(&counters, "/etcdserverpb.KV/Put"));
        let watch = Call::begin(&counters, "/etcdserverpb.Watch/Watch").unwrap();
        Heard::one(Some(&watch.hears()));
        watch.said(7);
        drop(watch);
        let mut page = String::new();
        counters.calls.write(&mut page);
        let put = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
        let watch = "grpc_method=\"Watch\",grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"";
        for line in [
            format!("grpc_server_started_total{{{put}}} 4\n"),
            format!("grpc_server_msg_received_total{{{put}}} 4\n"),
            format!("grpc_server_msg_sent_total{{{put}}} 2\n"),
            format!("grpc_server_handled_total{{grpc_code=\"OK\",{put}}} 2\n"),
            format!("grpc_server_handled_total{{grpc_code=\"NotFound\",{put}}} 1\n"),
            format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{put}}} 1\n"),
            format!("grpc_server_handling_seconds_count{{{put}}} 4\n"),
            format!("grpc_server_msg_received_total{{{watch}}} 1\n"),
            format!("grpc_server_msg_sent_total{{{watch}}} 7\n"),
            format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{watch}}} 1\n"),
        ] {
            assert!(page.contains(&line), "{line} is not in {page}");
        }
    }
}
