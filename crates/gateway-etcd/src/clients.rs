//! Requests by the version of the interface that their client says it speaks (`client-api-version`).
//!
//! Only versions that there may be have counters, so that nobody can make more.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use tonic::codegen::http::{HeaderMap, HeaderValue};

/// The versions 3.0 to 3.9, and what says none of these.
const VERSIONS: usize = 11;

/// The counters: of each version unary requests and streams.
#[derive(Debug, Default)]
pub struct Clients([[AtomicU64; 2]; VERSIONS]);

impl Clients {
    /// A request with these headers came.
    pub(crate) fn count(&self, headers: &HeaderMap, unary: bool) {
        let version = match headers.get("client-api-version").map(HeaderValue::as_bytes) {
            Some([b'3', b'.', minor @ b'0'..=b'9']) => usize::from(minor - b'0'),
            _ => VERSIONS - 1,
        };
        self.0[version][usize::from(!unary)].fetch_add(1, Ordering::Relaxed);
    }

    /// Appends them to a page of metrics.
    pub fn write(&self, page: &mut String) {
        let name = "etcd_server_client_requests_total";
        // Writing to a String cannot fail.
        let _ = writeln!(page, "# HELP {name} Requests by the clients' version.\n# TYPE {name} counter");
        for (minor, counts) in self.0.iter().enumerate() {
            let version = if minor == VERSIONS - 1 { "unknown".into() } else { format!("3.{minor}") };
            for (kind, count) in ["unary", "stream"].iter().zip(counts) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 || version == "unknown" {
                    let _ =
                        writeln!(page, "{name}{{client_api_version=\"{version}\",type=\"{kind}\"}} {count}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_version_and_no_stranger_makes_a_counter() {
        let clients = Clients::default();
        for version in ["3.6", "3.6", "3.10", "<script>"] {
            let mut headers = HeaderMap::new();
            headers.insert("client-api-version", version.parse().unwrap());
            clients.count(&headers, true);
        }
        clients.count(&HeaderMap::new(), false);
        let mut page = String::new();
        clients.write(&mut page);
        let lines: Vec<&str> = page.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "etcd_server_client_requests_total{client_api_version=\"3.6\",type=\"unary\"} 2",
                "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"unary\"} 2",
                "etcd_server_client_requests_total{client_api_version=\"unknown\",type=\"stream\"} 1",
            ]
        );
    }
}
