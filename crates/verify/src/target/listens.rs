//! Whether a process that is named as a node is one: whoever pauses another process breaks something else, and shows nothing.

use crate::standing;
use std::collections::BTreeSet;

/// In `/proc/net/tcp`: the state of a socket that takes connections, and where a line has the address, the state and the number.
const LISTENS: &str = "0A";
const ADDRESS: usize = 1;
const STATE: usize = 3;
const INODE: usize = 9;

/// Why a process is not the node that clients reach there, as far as that may be looked at: one of somebody else may not, and one in a
/// network of its own may be reached by other ports than its own.
pub(super) fn why_not(pid: u32, endpoint: &str) -> Option<String> {
    let ports = ports_of(pid)?;
    if ports.is_empty() {
        return Some(format!("process {pid} is no node: it takes no connections"));
    }
    let network = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
    let here = network("self").is_some_and(|own| network(&pid.to_string()) == Some(own));
    let port = port_of_loopback(endpoint).filter(|_| here)?;
    (!ports.contains(&port)).then(|| format!("process {pid} is not the node at {endpoint}"))
}

/// On which ports a process, or what it has started, takes connections; nothing where that may not be looked at.
fn ports_of(pid: u32) -> Option<BTreeSet<u16>> {
    let mut held = BTreeSet::new();
    for (member, _) in standing::family(pid) {
        let files = std::fs::read_dir(format!("/proc/{member}/fd"));
        if member == pid && files.is_err() {
            return None;
        }
        for entry in files.into_iter().flatten().flatten() {
            let link = std::fs::read_link(entry.path()).unwrap_or_default();
            let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
            held.extend(inode.map(str::to_owned));
        }
    }
    let list = |of: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{of}")).ok();
    let lists = list("tcp")? + &list("tcp6").unwrap_or_default();
    let port = |line: &str| {
        let of: Vec<&str> = line.split_ascii_whitespace().collect();
        let listens = of.get(STATE) == Some(&LISTENS) && held.contains(*of.get(INODE)?);
        u16::from_str_radix(of.get(ADDRESS)?.rsplit(':').next()?, 16).ok().filter(|_| listens)
    };
    Some(lists.lines().filter_map(port).collect())
}

/// The port of a URL, if that is of this machine's loopback.
fn port_of_loopback(endpoint: &str) -> Option<u16> {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let (host, port) = rest.split('/').next()?.rsplit_once(':')?;
    let loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    port.parse().ok().filter(|_| loopback)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Claim: a process that takes no connections is no node, and one that takes them elsewhere is not this one; of what nobody can know
    /// nothing is said.
    #[test]
    fn who_takes_no_connections_is_no_node() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = std::process::id();
        assert_eq!(why_not(own, &format!("http://127.0.0.1:{port}")), None);
        assert_eq!(
            why_not(own, "http://127.0.0.1:1"),
            Some(format!("process {own} is not the node at http://127.0.0.1:1"))
        );
        assert_eq!(why_not(own, "http://192.0.2.1:1"), None, "that may be forwarded");
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let why = why_not(child.id(), &format!("http://127.0.0.1:{port}"));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(why.is_some_and(|why| why.contains("takes no connections")));
        assert_eq!(port_of_loopback("http://[::1]:2379/x"), Some(2379));
        assert_eq!(port_of_loopback("http://127.0.0.1"), None);
    }
}
