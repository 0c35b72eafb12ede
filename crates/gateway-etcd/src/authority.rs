//! Clients that write something else where HTTP/2 wants the name of a host.
//!
//! etcd's older clients, `etcdctl endpoint status` of 3.4 among them, send `http://host:port` as the `:authority` of their
//! requests when that is how the endpoint was written, and the path of the socket where it was `unix://`; those of 3.5.0 send
//! `#initially=[host:port;host:port]`, all their endpoints. gRPC's clients in C++, Python and what else is built on them send
//! `host:port,host:port` where they were given several addresses. gRPC in Go takes whatever stands there; the
//! library here ends such a stream with `PROTOCOL_ERROR`, as the specification (RFC 9113, 8.3.1) would have it. So what comes in is
//! looked at before the library sees it: in an authority that it would refuse, each character that the name of a host cannot have
//! becomes one that it can have. Nothing here asks for that name.
//!
//! Why this is safe for HPACK (RFC 7541), whose two ends must keep the same table: no length changes. A character's stand-in has as
//! many bits in the Huffman code (`x` as `:`, `-` as `/`), so both forms of a string are changed in place, and the entry that the
//! client adds to its table has the size of the one that is added here.
//!
//! What it costs: a connection whose first request has no such authority is let through untouched ever after, without a
//! copy. On one that has, each block of headers is looked through, since the client sends its authority again whenever it
//! has fallen out of the table.
//!
//! What is left out, and refused as before: an authority that is empty, or has a character for which there is no stand-in (`<`, `^` and
//! what no URL has); one whose *name* comes from the client's table or is spelled out with
//! a wrong length, and one in a `CONTINUATION` frame. No client is known to send any of them.

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
use tonic::codegen::http::uri::Authority;

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
    /// The client writes no names of hosts: every request is looked at.
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
                self.stage = if found == Found::Mended { Stage::Every } else { Stage::Through };
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
    /// One that is no host's name, which is mended now.
    Mended,
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
                let mended = if huffman { mend_huffman(value) } else { mend_text(value) };
                return if mended { Found::Mended } else { Found::Nothing };
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

/// Makes the name of a host of what is none, with characters that are as long in the Huffman code; false, and nothing is changed,
/// where it is one or cannot become one.
fn mend_text(text: &mut [u8]) -> bool {
    let is_host = |text: &[u8]| Authority::try_from(text).is_ok();
    if text.is_empty() || is_host(text) {
        return false;
    }
    let mut host = text.to_vec();
    for at in 0..host.len() {
        host[at] = match host[at] {
            b':' => b'x',
            b'/' | b'%' | b' ' => b'-',
            b'[' | b']' | b'@' => b'~',
            b'?' | b'"' => b'!',
            b'|' => b'+',
            // No other character that a host may have is as long, so the one behind makes up for it: 12 bits and 5 are 10 and 7.
            b'#' if host.get(at + 1).is_some_and(|next| SYMBOLS[0].2.contains(next)) => {
                host[at + 1] = b'x';
                b'!'
            }
            other => other,
        };
    }
    let mended = is_host(&host);
    if mended {
        text.copy_from_slice(&host);
    }
    mended
}

/// The Huffman code (appendix B): the lengths of its codes, the first code of each, and what those from there on stand for. Bytes that
/// have longer ones are in no authority.
const SYMBOLS: [(u32, u32, &[u8]); 10] = [
    (5, 0, b"012aceiost"),
    (6, 0x14, b" %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, b"&*,;XZ"),
    (10, 0x3f8, b"!\"()?"),
    (11, 0x7fa, b"'+|"),
    (12, 0xffa, b"#>"),
    (13, 0x1ff8, b"\0$@[]~"),
    (14, 0x3ffc, b"^}"),
    (15, 0x7ffc, b"<`{"),
];

fn mend_huffman(value: &mut [u8]) -> bool {
    let Some(mut text) = decoded(value) else { return false };
    if !mend_text(&mut text) {
        return false;
    }
    let mut at = 0;
    for byte in text {
        let found = SYMBOLS.iter().find_map(|(length, first, symbols)| {
            let nth = symbols.iter().position(|symbol| *symbol == byte)?;
            Some((*length, first + nth as u32))
        });
        let Some((length, code)) = found else { return false };
        put(value, at, length, code);
        at += length as usize;
    }
    true
}

/// What a string in the Huffman code says; `None` where it has a character that is in no authority.
fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    let (mut at, mut text) = (0, Vec::with_capacity(value.len() * 8 / 5));
    while at < value.len() * 8 {
        // Behind the end there is padding.
        let byte = |n: usize| u32::from(value.get(at / 8 + n).copied().unwrap_or(0xff));
        let ahead = (byte(0) << 16 | byte(1) << 8 | byte(2)) << (at % 8) & 0xff_ffff;
        // Shorter codes are lower ones.
        let found = SYMBOLS.iter().find_map(|(length, first, symbols)| {
            let nth = (ahead >> (24 - length)).checked_sub(*first)?;
            Some((*length as usize, *symbols.get(nth as usize)?))
        });
        match found {
            Some((length, symbol)) => {
                text.push(symbol);
                at += length;
            }
            // Less than a byte is left, and all of it ones.
            None if value.len() * 8 - at < 8 && ahead == 0xff_ffff & (0xff_ffff << (at % 8)) => break,
            None => return None,
        }
    }
    (at <= value.len() * 8).then_some(text)
}

/// Writes a code of at most 15 bits, wherever it begins.
fn put(value: &mut [u8], at: usize, length: u32, code: u32) {
    let shift = 24 - length - (at % 8) as u32;
    let (mask, bits) = (((1 << length) - 1) << shift, code << shift);
    for (n, byte) in value[at / 8..].iter_mut().take(3).enumerate() {
        let down = 16 - 8 * n;
        *byte = *byte & !((mask >> down) as u8) | (bits >> down) as u8;
    }
}
