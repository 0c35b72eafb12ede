//! The links between nodes, and between clients and nodes: a proxy before each port, and a rule for each direction.
//!
//! Every node is reached through one address, by all others. Who is at the other end of a connection is found by the kernel's
//! tables: the port leads to a socket (`/proc/net/tcp`), the socket to the process that holds it (`/proc/PID/fd`). So any
//! system can be cut off from itself, with no understanding of what it says.
//!
//! A connection has two directions, each with the rule of its link. TCP cannot lose a packet and go on: *stall* holds the
//! bytes back until the link is healed, as a network does that loses all of them; *reset* breaks the connections and every new
//! one; *delay* lets each piece wait; *narrow* passes so many bytes a second. Each direction counts what was done to it.

use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

/// So much is passed at once.
const PIECE: usize = 64 << 10;
/// How many readings of the kernel's tables are looked at for a new connection: they may not show it yet.
const LOOKS: u32 = 20;
/// Between two readings lies so many times what one took, within these bounds.
const IDLE: u32 = 8;
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_millis(200);

/// Who is at an end of a link.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// A node, from 0.
    Node(usize),
    /// A client, from 0.
    Client(usize),
    /// Somebody else.
    Stranger,
}

/// What a link does to what passes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rule {
    /// It passes.
    #[default]
    Pass,
    /// It waits for better times.
    Stall,
    /// The connection breaks.
    Reset,
    /// It comes so much later.
    Delay(Duration),
    /// So many bytes a second pass.
    Narrow(u64),
}

/// What was done to the links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Bytes held back.
    pub(crate) held: u64,
    /// Connections broken or refused.
    pub(crate) broken: u64,
    /// Bytes that came later than they would have.
    pub(crate) delayed: u64,
}

impl Done {
    /// What was done since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            held: self.held - before.held,
            broken: self.broken - before.broken,
            delayed: self.delayed - before.delayed,
        }
    }

    /// In words.
    pub(crate) fn words(self) -> String {
        let parts = [
            (self.held, "bytes held back"),
            (self.broken, "connections broken"),
            (self.delayed, "bytes delayed"),
        ];
        let some: Vec<String> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        if some.is_empty() { "nothing".into() } else { some.join(", ") }
    }
}

/// All links of a run.
#[derive(Clone, Default)]
pub(crate) struct Net {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    rules: RefCell<BTreeMap<(End, End), Rule>>,
    pids: RefCell<BTreeMap<u32, End>>,
    tables: RefCell<Tables>,
    changed: Notify,
    done: Cell<Done>,
}

impl Net {
    /// A process is at this end from now on.
    pub(crate) fn process(&self, pid: u32, end: End) {
        let mut pids = self.inner.pids.borrow_mut();
        pids.retain(|_, known| *known != end);
        pids.insert(pid, end);
    }

    /// What passes from one end to the other obeys this from now on.
    pub(crate) fn set(&self, from: End, to: End, rule: Rule) {
        self.inner.rules.borrow_mut().insert((from, to), rule);
        self.inner.changed.notify_waiters();
    }

    /// All links pass everything.
    pub(crate) fn heal(&self) {
        self.inner.rules.borrow_mut().clear();
        self.inner.changed.notify_waiters();
    }

    /// What was done so far.
    pub(crate) fn done(&self) -> Done {
        self.inner.done.get()
    }

    /// Passes on what comes to `listener` to the node's real `port`.
    pub(crate) fn serve(&self, listener: TcpListener, node: usize, port: u16) {
        let net = self.clone();
        spawn_local(async move {
            loop {
                let Ok((stream, from)) = listener.accept().await else {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let (net, local) = (net.clone(), stream.local_addr());
                spawn_local(async move {
                    let Ok(local) = local else { return };
                    // Whoever is at the other end, a node that is down hears nothing.
                    let Ok(target) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let source = net.source(from, local).await;
                    net.connection(stream, target, source, End::Node(node)).await;
                });
            }
        });
    }

    /// Who holds the other end of a connection.
    async fn source(&self, from: SocketAddr, to: SocketAddr) -> End {
        let (Some(from), Some(to)) = (hex(from), hex(to)) else { return End::Stranger };
        let link = (from, to);
        let mut seen = 0;
        for _ in 0..LOOKS {
            let reading = self.read_tables(seen).await;
            let tables = self.inner.tables.borrow();
            seen = reading;
            match tables.sockets.get(&link) {
                // It was given up before anybody could look.
                Some(0) => return End::Stranger,
                Some(inode) => {
                    if let Some(end) = tables.holders.get(inode) {
                        return *end;
                    }
                }
                None => {}
            }
        }
        End::Stranger
    }

    /// Waits for a reading of the kernel's tables after the one numbered `seen`, and gives its number. All that wait share one,
    /// and no more than a small part of the time goes into it, however many connections come: on a busy machine connections
    /// are given up and made anew while they wait, and whoever looks at each of them has no time left for any.
    async fn read_tables(&self, seen: u64) -> u64 {
        loop {
            let now = Instant::now();
            {
                let mut tables = self.inner.tables.borrow_mut();
                if tables.number > seen {
                    return tables.number;
                }
                if tables.next.is_none_or(|next| now >= next) {
                    tables.read(&self.inner.pids.borrow());
                    let took = now.elapsed();
                    tables.next = Some(Instant::now() + (took * IDLE).clamp(LOOK_MIN, LOOK_MAX));
                    return tables.number;
                }
            }
            sleep(LOOK_MIN).await;
        }
    }

    async fn connection(&self, stream: TcpStream, target: TcpStream, source: End, node: End) {
        let _ = (stream.set_nodelay(true), target.set_nodelay(true));
        let (near_read, near_write) = stream.into_split();
        let (far_read, far_write) = target.into_split();
        let broken = Rc::new(Notify::new());
        let there = self.pump(near_read, far_write, source, node, broken.clone());
        let back = self.pump(far_read, near_write, node, source, broken.clone());
        tokio::select! {
            // A broken direction breaks the other.
            () = broken.notified() => {}
            _ = async { tokio::join!(there, back) } => {}
        }
    }

    /// Passes on one direction until its end.
    async fn pump(
        &self,
        mut read: OwnedReadHalf,
        mut write: OwnedWriteHalf,
        from: End,
        to: End,
        broken: Rc<Notify>,
    ) {
        let mut piece = vec![0; PIECE];
        loop {
            // Also a connection on which nobody speaks is broken.
            let read = tokio::select! {
                read = read.read(&mut piece) => read,
                () = self.until_reset(from, to) => Err(io::Error::other("reset")),
            };
            let passed = match read {
                Ok(0) => break,
                Ok(n) => self.pass(from, to, n as u64).await && write.write_all(&piece[..n]).await.is_ok(),
                Err(_) => false,
            };
            if !passed {
                broken.notify_one();
                return;
            }
        }
        let _ = write.shutdown().await;
    }

    fn rule(&self, from: End, to: End) -> Rule {
        self.inner.rules.borrow().get(&(from, to)).copied().unwrap_or_default()
    }

    fn count(&self, change: impl Fn(&mut Done)) {
        let mut done = self.inner.done.get();
        change(&mut done);
        self.inner.done.set(done);
    }

    async fn until_reset(&self, from: End, to: End) {
        loop {
            let changed = self.inner.changed.notified();
            if self.rule(from, to) == Rule::Reset {
                self.count(|done| done.broken += 1);
                return;
            }
            changed.await;
        }
    }

    /// Waits as the rule says; false if the connection breaks.
    async fn pass(&self, from: End, to: End, bytes: u64) -> bool {
        let mut held = false;
        loop {
            let changed = self.inner.changed.notified();
            match self.rule(from, to) {
                Rule::Pass => return true,
                Rule::Reset => {
                    self.count(|done| done.broken += 1);
                    return false;
                }
                Rule::Delay(time) => {
                    self.count(|done| done.delayed += bytes);
                    sleep(time).await;
                    return true;
                }
                Rule::Narrow(rate) => {
                    self.count(|done| done.delayed += bytes);
                    sleep(Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)).await;
                    return true;
                }
                Rule::Stall => {
                    if !held {
                        held = true;
                        self.count(|done| done.held += bytes);
                    }
                    changed.await;
                }
            }
        }
    }
}

/// The kernel's tables, as they were a moment ago.
#[derive(Default)]
struct Tables {
    /// Which reading this is.
    number: u64,
    /// When they may be read again.
    next: Option<Instant>,
    /// Sockets by their two addresses, by number; 0 for one that no process holds any more.
    sockets: BTreeMap<(String, String), u64>,
    /// Who holds a socket.
    holders: BTreeMap<u64, End>,
}

impl Tables {
    fn read(&mut self, pids: &BTreeMap<u32, End>) {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let row = |line: &str| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let link = (fields.next()?.to_string(), fields.next()?.to_string());
            // The number stands behind state, queues, timer, retransmissions, user and time-out.
            Some((link, fields.nth(6)?.parse().ok()?))
        };
        self.sockets = table.lines().skip(1).filter_map(row).collect();
        self.holders.clear();
        for (pid, end) in pids {
            for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                let Ok(link) = std::fs::read_link(entry.path()) else { continue };
                let inode = link
                    .to_str()
                    .and_then(|link| link.strip_prefix("socket:[")?.strip_suffix("]")?.parse().ok());
                self.holders.extend(inode.map(|inode| (inode, *end)));
            }
        }
        self.number += 1;
    }
}

/// An address as `/proc/net/tcp` writes it.
fn hex(address: SocketAddr) -> Option<String> {
    match address {
        SocketAddr::V4(v4) => Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(v4.ip().octets()), v4.port())),
        SocketAddr::V6(_) => None,
    }
}

/// The first of these ports of loopback that are free, `count` of them, bound.
pub(crate) fn free_ports(count: usize) -> io::Result<Vec<(u16, std::net::TcpListener)>> {
    /// Below the ports that the kernel gives to outgoing connections.
    const RANGE: std::ops::Range<u32> = 12_000..32_000;
    let width = RANGE.end - RANGE.start;
    // Runs that start together begin at different places.
    let first = std::process::id().wrapping_mul(7919) % width;
    let mut found = Vec::new();
    let mut tried = BTreeSet::new();
    for step in 0..width {
        let port = (RANGE.start + (first + step) % width) as u16;
        if tried.insert(port)
            && let Ok(listener) = std::net::TcpListener::bind(("127.0.0.1", port))
        {
            found.push((port, listener));
            if found.len() == count {
                return Ok(found);
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "there are no free ports on loopback; stop something"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const SOON: Duration = Duration::from_millis(100);
    const LATE: Duration = Duration::from_secs(20);

    /// A proxy before an echo, with this process as client 0.
    async fn echo(net: &Net) -> SocketAddr {
        let real = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = real.local_addr().unwrap().port();
        spawn_local(async move {
            while let Ok((mut stream, _)) = real.accept().await {
                spawn_local(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = proxy.local_addr().unwrap();
        net.process(std::process::id(), End::Client(0));
        net.serve(proxy, 1, port);
        address
    }

    fn local<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, work)
    }

    #[test]
    fn each_direction_obeys_its_own_rule_and_counts() {
        local(async {
            let net = Net::default();
            let mut stream = TcpStream::connect(echo(&net).await).await.unwrap();
            let mut byte = [0];
            stream.write_all(b"a").await.unwrap();
            timeout(LATE, stream.read_exact(&mut byte)).await.unwrap().unwrap();
            assert_eq!(net.done(), Done::default());
            // The answer is held back, not the question.
            net.set(End::Node(1), End::Client(0), Rule::Stall);
            stream.write_all(b"b").await.unwrap();
            assert!(timeout(SOON, stream.read_exact(&mut byte)).await.is_err());
            while net.done().held == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(net.done().held, 1);
            // A link of others is none of its business.
            net.set(End::Node(0), End::Node(1), Rule::Reset);
            net.heal();
            timeout(LATE, stream.read_exact(&mut byte)).await.unwrap().unwrap();
            assert_eq!(&byte, b"b");
            net.set(End::Client(0), End::Node(1), Rule::Reset);
            assert_eq!(timeout(LATE, stream.read(&mut byte)).await.unwrap().unwrap_or(0), 0);
            assert!(net.done().broken > 0);
        });
    }

    #[test]
    fn a_stranger_is_no_client() {
        local(async {
            let net = Net::default();
            let address = echo(&net).await;
            net.inner.pids.borrow_mut().clear();
            let mut stream = TcpStream::connect(address).await.unwrap();
            net.set(End::Client(0), End::Node(1), Rule::Stall);
            stream.write_all(b"a").await.unwrap();
            timeout(LATE, stream.read_exact(&mut [0])).await.unwrap().unwrap();
        });
    }
}
