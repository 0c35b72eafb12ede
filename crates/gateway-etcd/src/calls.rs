//! How many calls there were, of which method, how they ended and how long they took: the counters that gRPC's own interceptors
//! keep beside etcd, under the same names.
//!
//! Only methods that there are have counters, so that nobody can make more. What is left out: streams are counted when they start
//! and not when they end.

use quorate_base::time::Duration;
use quorate_node::figures::{Histogram, REQUEST_BOUNDS};
use std::fmt::Write as _;
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
    ("etcdserverpb.Auth", &["Authenticate", "AuthStatus"], &[]),
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
    handled: [AtomicU64; CODES.len()],
    seconds: Histogram,
}

/// The counters of all methods.
#[derive(Debug)]
pub struct Calls(Vec<Method>);

/// A call that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    method: usize,
    begun: Instant,
}

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
            labels: format!("grpc_type=\"{kind}\",grpc_service=\"{service}\",grpc_method=\"{name}\""),
            unary,
            started: AtomicU64::default(),
            handled: Default::default(),
            seconds: Histogram::new(REQUEST_BOUNDS),
        }
    }
}

impl Calls {
    /// A call of the method at `path`, if there is one.
    pub(crate) fn begin(&self, path: &str) -> Option<Call> {
        let method = self.0.iter().position(|method| method.path == path)?;
        self.0[method].started.fetch_add(1, Ordering::Relaxed);
        Some(Call { method, begun: Instant::now() })
    }

    /// It is answered.
    pub(crate) fn end(&self, call: Call, code: Code) {
        let method = &self.0[call.method];
        if method.unary {
            method.handled[code as usize].fetch_add(1, Ordering::Relaxed);
            let nanos = u64::try_from(call.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
            method.seconds.observe(Duration::from_nanos(nanos));
        }
    }

    /// Appends them to a page of metrics.
    pub fn write(&self, page: &mut String) {
        let title = |page: &mut String, name: &str, kind: &str, help: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        title(page, "grpc_server_started_total", "counter", "Calls that were begun.");
        for method in &self.0 {
            let started = method.started.load(Ordering::Relaxed);
            let _ = writeln!(page, "grpc_server_started_total{{{}}} {started}", method.labels);
        }
        title(page, "grpc_server_handled_total", "counter", "Unary calls that were answered, by code.");
        for method in self.0.iter().filter(|method| method.unary) {
            for (code, count) in CODES.iter().zip(&method.handled) {
                let count = count.load(Ordering::Relaxed);
                // All that could be would be hundreds of lines of zeros.
                if count > 0 || *code == "OK" {
                    let labels = &method.labels;
                    let _ =
                        writeln!(page, "grpc_server_handled_total{{{labels},grpc_code=\"{code}\"}} {count}");
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

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let calls = Calls::default();
        assert!(calls.begin("/etcdserverpb.KV/NoSuch").is_none());
        for code in [Code::Ok, Code::Ok, Code::NotFound] {
            let call = calls.begin("/etcdserverpb.KV/Put").unwrap();
            calls.end(call, code);
        }
        let watch = calls.begin("/etcdserverpb.Watch/Watch").unwrap();
        calls.end(watch, Code::Ok);
        let mut page = String::new();
        calls.write(&mut page);
        let put = "grpc_type=\"unary\",grpc_service=\"etcdserverpb.KV\",grpc_method=\"Put\"";
        for line in [
            format!("grpc_server_started_total{{{put}}} 3\n"),
            format!("grpc_server_handled_total{{{put},grpc_code=\"OK\"}} 2\n"),
            format!("grpc_server_handled_total{{{put},grpc_code=\"NotFound\"}} 1\n"),
            format!("grpc_server_handling_seconds_count{{{put}}} 3\n"),
        ] {
            assert!(page.contains(&line), "{line} is not in {page}");
        }
        assert!(!page.contains("handled_total{grpc_type=\"bidi_stream\""), "{page}");
    }
}
