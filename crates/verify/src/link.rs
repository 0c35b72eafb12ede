//! The links between nodes, and between clients and nodes: a proxy before each port, and a rule for each direction.
//!
//! Every node is reached through one address, by all others. Who is at the other end of a connection the kernel tells: the port leads
//! to a socket ([`kernel`]), the socket to the process that holds it (`/proc/PID/fd`). So any
//! system can be cut off from itself, with no understanding of what it says.
//!
//! A connection has two directions, each with the rule of its link. TCP cannot lose a packet and go on: *stall* holds the
//! bytes back until the link is healed, as a network does that loses all of them; *reset* breaks the connections and every new
//! one; *delay* lets each piece wait; *narrow* passes so many bytes a second. Several faults may lie on one link, each in a
//! layer of its own: the hardest rule holds, and what it does is counted for its layer.

mod kernel;

use kernel::Socket;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
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
use tokio::time::sleep;

/// So much is passed at once.
const PIECE: usize = 64 << 10;
/// How often the kernel is asked for a new connection: it may not show it yet.
const LOOKS: u32 = 20;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// It passes.
    #[default]
    Pass,
    /// It comes so much later.
    Delay(Duration),
    /// So many bytes a second pass.
    Narrow(u64),
    /// It waits for better times.
    Stall,
    /// The connection breaks.
    Reset,
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
    layers: RefCell<Vec<Layer>>,
    pids: RefCell<BTreeMap<u32, End>>,
    changed: Notify,
}

/// What one fault lays on the links, and what came of it.
#[derive(Default)]
struct Layer {
    rules: BTreeMap<(End, End), Rule>,
    done: Done,
}

/// The layer of one fault.
#[derive(Clone)]
pub(crate) struct Cut {
    net: Net,
    layer: usize,
}

impl Cut {
    /// What passes from one end to the other obeys this from now on.
    pub(crate) fn set(&self, from: End, to: End, rule: Rule) {
        self.net.inner.layers.borrow_mut()[self.layer].rules.insert((from, to), rule);
        self.net.inner.changed.notify_waiters();
    }

    /// Nothing lies on any link any more.
    pub(crate) fn heal(&self) {
        self.net.inner.layers.borrow_mut()[self.layer].rules.clear();
        self.net.inner.changed.notify_waiters();
    }

    /// What was done so far.
    pub(crate) fn done(&self) -> Done {
        self.net.inner.layers.borrow()[self.layer].done
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.heal();
    }
}

impl Net {
    /// A process is at this end from now on.
    pub(crate) fn process(&self, pid: u32, end: End) {
        let mut pids = self.inner.pids.borrow_mut();
        pids.retain(|_, known| *known != end);
        pids.insert(pid, end);
    }

    /// A new layer, that lies on no link yet. It is healed when this is dropped.
    pub(crate) fn cut(&self) -> Cut {
        let mut layers = self.inner.layers.borrow_mut();
        layers.push(Layer::default());
        Cut { net: self.clone(), layer: layers.len() - 1 }
    }

    /// All links pass everything.
    pub(crate) fn heal(&self) {
        self.inner.layers.borrow_mut().iter_mut().for_each(|layer| layer.rules.clear());
        self.inner.changed.notify_waiters();
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
                    let Some(source) = net.source(from, local).await else { return };
                    net.connection(stream, source, End::Node(node), port).await;
                });
            }
        });
    }

    /// Who holds the other end of a connection; nothing where it was closed already.
    ///
    /// The kernel is asked beside the loop: on a machine with much to do that takes long, and connections that were given
    /// up meanwhile must not hold up those that are not. (They once did, each with all its looks: no dial was ever in time again.)
    async fn source(&self, from: SocketAddr, to: SocketAddr) -> Option<End> {
        let pids: Vec<(u32, End)> = self.inner.pids.borrow().iter().map(|(&p, &e)| (p, e)).collect();
        tokio::task::spawn_blocking(move || look_for(from, to, &pids)).await.unwrap_or(Some(End::Stranger))
    }

    async fn connection(&self, stream: TcpStream, source: End, node: End, port: u16) {
        let Ok(target) = TcpStream::connect(("127.0.0.1", port)).await else { return };
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

    /// The hardest rule of a link, and its layer.
    fn rule(&self, from: End, to: End) -> (Rule, usize) {
        let layers = self.inner.layers.borrow();
        let of = |(at, layer): (usize, &Layer)| Some((*layer.rules.get(&(from, to))?, at));
        layers.iter().enumerate().filter_map(of).max().unwrap_or_default()
    }

    fn count(&self, layer: usize, change: impl Fn(&mut Done)) {
        if let Some(layer) = self.inner.layers.borrow_mut().get_mut(layer) {
            change(&mut layer.done);
        }
    }

    async fn until_reset(&self, from: End, to: End) {
        loop {
            let changed = self.inner.changed.notified();
            let (rule, layer) = self.rule(from, to);
            if rule == Rule::Reset {
                self.count(layer, |done| done.broken += 1);
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
            let (rule, layer) = self.rule(from, to);
            match rule {
                Rule::Pass => return true,
                Rule::Reset => {
                    self.count(layer, |done| done.broken += 1);
                    return false;
                }
                Rule::Delay(time) => {
                    self.count(layer, |done| done.delayed += bytes);
                    sleep(time).await;
                    return true;
                }
                Rule::Narrow(rate) => {
                    self.count(layer, |done| done.delayed += bytes);
                    sleep(Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)).await;
                    return true;
                }
                Rule::Stall => {
                    if !held {
                        held = true;
                        self.count(layer, |done| done.held += bytes);
                    }
                    changed.await;
                }
            }
        }
    }
}

/// Who holds the other end of a connection; nothing where it was closed already.
fn look_for(from: SocketAddr, to: SocketAddr, pids: &[(u32, End)]) -> Option<End> {
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        match kernel::socket_of(from, to) {
            Socket::Held(inode) => {
                if let Some((_, end)) = pids.iter().find(|(pid, _)| holds(*pid, inode)) {
                    return Some(*end);
                }
            }
            Socket::Closed => return None,
            Socket::Unseen => {}
        }
    }
    Some(End::Stranger)
}

fn holds(pid: u32, inode: u64) -> bool {
    let link = format!("socket:[{inode}]");
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries
        .flatten()
        .any(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == link.as_str()))
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
    if count == 0 {
        return Ok(found);
    }
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
            let (cut, other) = (net.cut(), net.cut());
            assert_eq!(cut.done(), Done::default());
            // The answer is held back, not the question; a milder rule of another fault changes nothing.
            cut.set(End::Node(1), End::Client(0), Rule::Stall);
            other.set(End::Node(1), End::Client(0), Rule::Delay(SOON));
            stream.write_all(b"b").await.unwrap();
            assert!(timeout(SOON, stream.read_exact(&mut byte)).await.is_err());
            while cut.done().held == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            assert_eq!((cut.done().held, other.done()), (1, Done::default()));
            // A link of others is none of its business.
            cut.set(End::Node(0), End::Node(1), Rule::Reset);
            cut.heal();
            timeout(LATE, stream.read_exact(&mut byte)).await.unwrap().unwrap();
            assert_eq!((&byte, other.done().delayed), (b"b", 1));
            cut.set(End::Client(0), End::Node(1), Rule::Reset);
            assert_eq!(timeout(LATE, stream.read(&mut byte)).await.unwrap().unwrap_or(0), 0);
            assert!(cut.done().broken > 0);
        });
    }

    /// Claim: who gave up before the proxy came to it reaches no node.
    #[test]
    fn a_connection_that_was_given_up_is_not_passed_on() {
        local(async {
            let net = Net::default();
            let real = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = proxy.local_addr().unwrap();
            // It is closed before anybody accepts it.
            drop(std::net::TcpStream::connect(address).unwrap());
            net.serve(proxy, 0, real.local_addr().unwrap().port());
            net.process(std::process::id(), End::Client(0));
            let alive = TcpStream::connect(address).await.unwrap();
            let (passed, _) = timeout(LATE, real.accept()).await.unwrap().unwrap();
            // As long as it would have been looked for.
            assert!(timeout(5 * SOON, real.accept()).await.is_err(), "both were passed on");
            drop((alive, passed));
        });
    }

    #[test]
    fn a_stranger_is_no_client() {
        local(async {
            let net = Net::default();
            let address = echo(&net).await;
            net.inner.pids.borrow_mut().clear();
            let mut stream = TcpStream::connect(address).await.unwrap();
            let cut = net.cut();
            cut.set(End::Client(0), End::Node(1), Rule::Stall);
            stream.write_all(b"a").await.unwrap();
            timeout(LATE, stream.read_exact(&mut [0])).await.unwrap().unwrap();
        });
    }
}
