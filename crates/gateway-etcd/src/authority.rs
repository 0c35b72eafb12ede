//! Clients that write a URL or a path where HTTP/2 wants the name of a host.
//!
//! etcd's older clients, `etcdctl endpoint status` of 3.4 among them, send `http://host:port` as the `:authority` of their
//! requests when that is how the endpoint was written, and the path of the socket where it was `unix://`. gRPC in Go takes it; the
//! library here ends such a stream with `PROTOCOL_ERROR`, as the specification (RFC 9113, 8.3.1) would have it. So what comes in is
//! looked at before the library sees it: in an authority that begins with `http://` or `https://` the colon becomes `x`, and in any
//! each `/` becomes `-`, which makes it the name of a host. Nothing here asks for that name.
//!
//! Why this is safe for HPACK (RFC 7541), whose two ends must keep the same table: no length changes. `x` has as many bits as
//! `:` in the Huffman code and `-` as many as `/`, so both forms of a string are changed in place, and the entry that the
//! client adds to its table has the size of the one that is added here.
//!
//! What it costs: a connection whose first request has no such authority is let through untouched ever after, without a
//! copy. On one that has, each block of headers is looked through, since the client sends its authority again whenever it
//! has fallen out of the table.
//!
//! What is left out, and refused as before: an authority whose *name* comes from the client's table or is spelled out with
//! a wrong length, and one in a `CONTINUATION` frame. No client is known to send either.

#[cfg(test)]
mod tests;

use bytes::{Buf, BytesMut};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
/// The largest frame that a client may send here; a longer one is an error, which the library finds.
const FRAME_MAX: usize = 16_384;
const READ: usize = 16 << 10;

/// What is waited for.
pub(crate) type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection in which authorities are put right. It has to begin in time, and holds its place among the others.
pub(crate) struct Tolerant<S> {
    inner: S,
    filter: Filter,
    /// Ends the wait for a connection that does not begin.
    begin_by: Option<Pin<Box<Sleep>>>,
    /// Nothing but pages is served on it: one that begins HTTP/2 is closed, so that its client goes to another node.
    pages_only: bool,
    /// One that begins HTTP/2 is not listened to before this is over.
    held: Option<Wait>,
    _place: OwnedSemaphorePermit,
}

impl<S> Tolerant<S> {
    pub(crate) fn new(inner: S, place: OwnedSemaphorePermit, patience: Duration) -> Self {
        let begin_by = Some(Box::pin(tokio::time::sleep(patience)));
        Self { inner, filter: Filter::default(), begin_by, pages_only: false, held: None, _place: place }
    }

    /// One on which HTTP/2 has to wait.
    pub(crate) fn held(self, held: Option<Wait>) -> Self {
        Self { held, ..self }
    }

    /// One on which nothing but pages is served, if so.
    pub(crate) fn pages_only(self, pages_only: bool) -> Self {
        Self { pages_only, ..self }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tolerant<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { inner, filter, begin_by, pages_only, held, .. } = &mut *self;
        if filter.is_through() {
            return Pin::new(inner).poll_read(cx, buf);
        }
        loop {
            if let Some(over) = held.as_mut().filter(|_| filter.http2) {
                ready!(over.as_mut().poll(cx));
                *held = None;
            }
            if filter.give(buf) || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut space = [0; READ];
            let mut more = ReadBuf::new(&mut space);
            if Pin::new(&mut *inner).poll_read(cx, &mut more)?.is_pending() {
                if let Some(late) = begin_by {
                    ready!(late.as_mut().poll(cx));
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                return Poll::Pending;
            }
            if more.filled().is_empty() {
                filter.end();
                filter.give(buf);
                return Poll::Ready(Ok(()));
            }
            filter.take(more.filled());
            if *pages_only && filter.http2 {
                return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
            }
            if !matches!(filter.stage, Stage::Preface) {
                *begin_by = None;
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tolerant<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// What is known of a connection's bytes so far.
#[derive(Debug, Default)]
enum Stage {
    /// It may be HTTP/2.
    #[default]
    Preface,
    /// It is, and the client's first request is still to come.
    First,
    /// The client writes URLs or paths: every request is looked at.
    Every,
    /// Nothing is looked at any more.
    Through,
}

/// The bytes on their way: looked at and to be given on, then those that wait for the rest of their frame.
#[derive(Debug, Default)]
struct Filter {
    stage: Stage,
    /// It began as HTTP/2 does.
    http2: bool,
    held: BytesMut,
    /// So many of `held` may be given on.
    seen: usize,
    /// So many bytes behind `held` belong to a frame that is not looked at.
    skip: usize,
}

impl Filter {
    /// Nothing is held and nothing will be.
    fn is_through(&self) -> bool {
        matches!(self.stage, Stage::Through) && self.held.is_empty()
    }

    fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.look();
    }

    /// No more will come, so nothing is worth waiting for.
    fn end(&mut self) {
        self.let_through();
    }

    fn let_through(&mut self) {
        self.stage = Stage::Through;
        self.seen = self.held.len();
    }

    /// Gives on what may be; false if that is nothing.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let n = self.seen.min(buf.remaining());
        if n == 0 {
            return false;
        }
        buf.put_slice(&self.held[..n]);
        self.held.advance(n);
        self.seen -= n;
        if self.is_through() {
            self.held = BytesMut::new();
        }
        true
    }

    /// Looks at what is held, as far as it is complete.
    fn look(&mut self) {
        if matches!(self.stage, Stage::Preface) {
            let n = self.held.len().min(PREFACE.len());
            if self.held[..n] != PREFACE[..n] {
                return self.let_through();
            }
            if n < PREFACE.len() {
                return;
            }
            (self.stage, self.seen, self.http2) = (Stage::First, n, true);
        }
        loop {
            if matches!(self.stage, Stage::Through) {
                return self.let_through();
            }
            let rest = &mut self.held[self.seen..];
            if self.skip > 0 {
                let n = self.skip.min(rest.len());
                self.skip -= n;
                self.seen += n;
                if self.skip > 0 {
                    return;
                }
                continue;
            }
            let Some(head) = rest.first_chunk::<FRAME_HEADER>() else { return };
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (kind, flags) = (head[3], head[4]);
            if kind != HEADERS || length > FRAME_MAX {
                (self.skip, self.seen) = (length, self.seen + FRAME_HEADER);
                continue;
            }
            let Some(payload) = rest.get_mut(FRAME_HEADER..FRAME_HEADER + length) else { return };
            let found = fragment(payload, flags).map_or(Found::Nothing, mend);
            if matches!(self.stage, Stage::First) {
                self.stage = if found == Found::Url { Stage::Every } else { Stage::Through };
            }
            self.seen += FRAME_HEADER + length;
        }
    }
}

/// The block of headers in a frame, without what may stand before and behind it.
fn fragment(payload: &mut [u8], flags: u8) -> Option<&mut [u8]> {
    let (mut from, mut to) = (0, payload.len());
    if flags & PADDED != 0 {
        to = to.checked_sub(usize::from(*payload.first()?))?;
        from = 1;
    }
    if flags & PRIORITY != 0 {
        from += 5;
    }
    payload.get_mut(from..to)
}

/// What a block of headers has as its authority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Found {
    /// A URL or a path, which is mended now.
    Url,
    /// None that is spelled out here, or one as it should be.
    Nothing,
}

/// Finds the authority in a block of headers and mends it. A block that does not parse is left as it is.
fn mend(block: &mut [u8]) -> Found {
    let mut at = 0;
    loop {
        match field(block, &mut at) {
            Some(Field::Authority { huffman, value }) => {
                let value = &mut block[value];
                let mended = if huffman { mend_huffman(value) } else { mend_plain(value) };
                return if mended { Found::Url } else { Found::Nothing };
            }
            Some(Field::Other) => {}
            None => return Found::Nothing,
        }
    }
}

enum Field {
    Authority { huffman: bool, value: std::ops::Range<usize> },
    Other,
}

/// The field at `at`, which then stands behind it (RFC 7541, section 6); `None` at the end and where it does not parse.
fn field(block: &[u8], at: &mut usize) -> Option<Field> {
    let first = *block.get(*at)?;
    // Literals: with, without and never with a place in the table.
    let bits = match first {
        0x80.. => {
            integer(block, at, 7)?;
            return Some(Field::Other);
        }
        0x40.. => 6,
        0x20.. => {
            integer(block, at, 5)?;
            return Some(Field::Other);
        }
        _ => 4,
    };
    let authority = match integer(block, at, bits)? {
        0 => {
            let (huffman, name) = string(block, at)?;
            &block[name] == if huffman { &AUTHORITY_HUFFMAN[..] } else { b":authority" }
        }
        name => name == AUTHORITY_INDEX,
    };
    let (huffman, value) = string(block, at)?;
    Some(if authority { Field::Authority { huffman, value } } else { Field::Other })
}

/// `:authority` in the static table.
const AUTHORITY_INDEX: usize = 1;
/// `:authority` in the Huffman code.
const AUTHORITY_HUFFMAN: [u8; 8] = [0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// An integer with a prefix of so many bits (section 5.1).
fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let most = (1 << bits) - 1;
    let prefix = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if prefix < most {
        return Some(prefix);
    }
    let mut n = prefix;
    // More than these could not be a length or an index of anything.
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(*at)?;
        *at += 1;
        n += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

/// A string (section 5.2): whether it is in the Huffman code, and where it is.
fn string(block: &[u8], at: &mut usize) -> Option<(bool, std::ops::Range<usize>)> {
    let huffman = *block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let range = *at..*at + length;
    block.get(range.clone())?;
    *at = range.end;
    Some((huffman, range))
}

fn mend_plain(value: &mut [u8]) -> bool {
    let mut mended = false;
    for scheme in [&b"http"[..], b"https"] {
        if value.strip_prefix(scheme).is_some_and(|rest| rest.starts_with(b"://")) {
            value[scheme.len()] = b'x';
        }
    }
    for slash in value.iter_mut().filter(|byte| **byte == b'/') {
        *slash = b'-';
        mended = true;
    }
    mended
}

/// The Huffman code (appendix B) of what is looked for and of what takes its place, from the highest bit on, and how many
/// bits they have.
#[allow(clippy::unusual_byte_groupings, reason = "a group is a character's code")]
const HUFFMAN: [(u64, u64, u32); 2] = [
    // h 100111, t 01001, t 01001, p 101011, then `:` 1011100, `/` 011000, `/` 011000 or x 1111001, - 010110, - 010110
    (
        0b100111_01001_01001_101011_1011100_011000_011000,
        0b100111_01001_01001_101011_1111001_010110_010110,
        41,
    ),
    // the same with s 01000
    (
        0b100111_01001_01001_101011_01000_1011100_011000_011000,
        0b100111_01001_01001_101011_01000_1111001_010110_010110,
        46,
    ),
];

fn mend_huffman(value: &mut [u8]) -> bool {
    let mended = mend_scheme(value);
    mend_slashes(value) || mended
}

fn mend_scheme(value: &mut [u8]) -> bool {
    let Some(head) = value.first_chunk_mut::<6>() else { return false };
    let mut bits = head.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    for (url, name, length) in HUFFMAN {
        let rest = 48 - length;
        if bits >> rest == url {
            bits = name << rest | bits & ((1 << rest) - 1);
            head.copy_from_slice(&bits.to_be_bytes()[2..]);
            return true;
        }
    }
    false
}

/// The lengths of the codes with the first code that is too high for it: shorter codes are lower ones, so that a code's own bits say
/// how many they are. Those that are longer than these are of bytes that no path has, and what pads the end is like them.
const LENGTHS: [(u32, u32); 10] = [
    (5, 10),
    (6, 46),
    (7, 124),
    (8, 254),
    (10, 1_021),
    (11, 2_045),
    (12, 4_092),
    (13, 8_190),
    (14, 16_382),
    (15, 32_767),
];
const SLASH: u32 = 0b01_1000;
const DASH: u32 = 0b01_0110;

fn mend_slashes(value: &mut [u8]) -> bool {
    let (mut at, mut mended) = (0, false);
    // Behind the end there is padding.
    let ahead = |value: &[u8], at: usize| {
        let byte = |n: usize| u32::from(value.get(at / 8 + n).copied().unwrap_or(0xff));
        (byte(0) << 16 | byte(1) << 8 | byte(2)) << (at % 8) & 0xff_ffff
    };
    while at < value.len() * 8 {
        let next = ahead(value, at);
        let length = LENGTHS.iter().find(|(length, above)| next >> (24 - length) < *above);
        let Some(&(length, _)) = length else { break };
        if length == 6 && next >> 18 == SLASH {
            // Within two bytes, however they fall.
            let changed = (SLASH ^ DASH) << 10 >> (at % 8);
            value[at / 8] ^= (changed >> 8) as u8;
            if let Some(second) = value.get_mut(at / 8 + 1) {
                *second ^= changed as u8;
            }
            mended = true;
        }
        at += length as usize;
    }
    mended
}
