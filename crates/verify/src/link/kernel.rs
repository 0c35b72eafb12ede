//! What the kernel knows of one end of a TCP connection on this machine.
//!
//! It is asked by `sock_diag` (`man 7 sock_diag`), for the one socket with these addresses: that costs the same however many connections
//! there are. `/proc/net/tcp`, which needs no such question, lists them all, and a machine with some thousands that are about to be
//! forgotten had a core busy with nothing else. It is read where the kernel does not answer the question.

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink, recv, send, socket};
use std::net::{SocketAddr, SocketAddrV4};

/// `SOCK_DIAG_BY_FAMILY`, of a question and of its answer.
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR`, and what it says of a socket that is not there.
const ERROR: u16 = 2;
const NOT_THERE: i32 = -2;
/// `TCP_LISTEN`: where there is no connection, the socket is told that would take one.
const LISTENS: u8 = 10;
/// The header of a message, and where the number of the socket stands in an answer.
const HEADER: usize = 16;
const INODE: usize = HEADER + 68;

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Socket {
    /// A process holds it, under this number.
    Held(u64),
    /// Nobody does any more.
    Closed,
    /// The kernel does not know it, or not yet.
    Unseen,
}

impl Socket {
    fn of(inode: u64) -> Self {
        if inode == 0 { Self::Closed } else { Self::Held(inode) }
    }
}

/// The socket at `from` of a connection to `to`.
pub(super) fn socket_of(from: SocketAddr, to: SocketAddr) -> Socket {
    let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { return Socket::Unseen };
    asked(from, to).unwrap_or_else(|| listed(from, to))
}

/// By `sock_diag`; nothing if the kernel does not take the question.
fn asked(from: SocketAddrV4, to: SocketAddrV4) -> Option<Socket> {
    let kernel = socket(AddressFamily::NETLINK, SocketType::DGRAM, Some(netlink::SOCK_DIAG)).ok()?;
    send(&kernel, &question(from, to), SendFlags::empty()).ok()?;
    let mut answer = [0; 512];
    let (length, _) = recv(&kernel, &mut answer[..], RecvFlags::empty()).ok()?;
    read(answer.get(..length)?)
}

/// A `nlmsghdr` and an `inet_diag_req_v2`.
fn question(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    /// `AF_INET`, `IPPROTO_TCP`, nothing beside, and padding.
    const OF_TCP: [u8; 4] = [2, 6, 0, 0];
    const LENGTH: u32 = 72;
    let mut out = Vec::with_capacity(LENGTH as usize);
    out.extend(LENGTH.to_ne_bytes());
    out.extend(BY_FAMILY.to_ne_bytes());
    // `NLM_F_REQUEST`; then a number and a sender, which nobody needs.
    out.extend(1u16.to_ne_bytes());
    out.extend([0; 8]);
    out.extend(OF_TCP);
    // In whatever state.
    out.extend([0xff; 4]);
    out.extend(from.port().to_be_bytes());
    out.extend(to.port().to_be_bytes());
    for address in [from, to] {
        out.extend(address.ip().octets());
        out.extend([0; 12]);
    }
    // On any interface, under any cookie.
    out.extend([0; 4]);
    out.extend([0xff; 8]);
    out
}

fn read(answer: &[u8]) -> Option<Socket> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind == ERROR {
        let why = i32::from_ne_bytes(answer.get(HEADER..HEADER + 4)?.try_into().ok()?);
        return (why == NOT_THERE).then_some(Socket::Unseen);
    }
    let inode = u32::from_ne_bytes(answer.get(INODE..INODE + 4)?.try_into().ok()?);
    match (kind, answer.get(HEADER + 1)?) {
        (BY_FAMILY, &LISTENS) => Some(Socket::Unseen),
        (BY_FAMILY, _) => Some(Socket::of(inode.into())),
        _ => None,
    }
}

/// By `/proc/net/tcp`.
fn listed(from: SocketAddrV4, to: SocketAddrV4) -> Socket {
    let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else { return Socket::Unseen };
    let (from, to) = (hex(from), hex(to));
    let found = table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let same = fields.next()? == from && fields.next()? == to;
        // The number stands behind state, queues, timer, retransmissions, user and time-out.
        if same { fields.nth(6)?.parse::<u64>().ok() } else { None }
    });
    found.map_or(Socket::Unseen, Socket::of)
}

/// An address as `/proc/net/tcp` writes it.
fn hex(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        let SocketAddr::V4(address) = address else { panic!("{address}") };
        address
    }

    /// Claim: both ways tell the same of a connection that is open, of one that was closed, and of one that is not there.
    #[test]
    fn a_question_tells_what_the_list_tells() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = v4(listener.local_addr().unwrap());
        let stream = TcpStream::connect(to).unwrap();
        let from = v4(stream.local_addr().unwrap());
        let (there, _) = listener.accept().unwrap();
        let (near, far) = (listed(from, to), listed(to, from));
        assert!(matches!(near, Socket::Held(_)) && matches!(far, Socket::Held(_)) && near != far);
        assert_eq!((asked(from, to), asked(to, from)), (Some(near), Some(far)));
        let nobody = SocketAddrV4::new(*from.ip(), 1);
        assert_eq!((asked(to, nobody), listed(to, nobody)), (Some(Socket::Unseen), Socket::Unseen));
        assert_eq!((asked(nobody, to), listed(nobody, to)), (Some(Socket::Unseen), Socket::Unseen));
        // Who closes first keeps what is left of it for a while.
        drop(stream);
        drop(there);
        assert_eq!((asked(from, to), listed(from, to)), (Some(Socket::Closed), Socket::Closed));
    }

    #[test]
    fn an_answer_that_is_none_is_not_taken_for_one() {
        for answer in [&[][..], &[0; 20], &[0xff; 100]] {
            assert_eq!(read(answer), None, "{answer:?}");
        }
    }
}
