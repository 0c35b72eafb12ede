//! A client of one request at a time over HTTP/1.1 that costs little: the bytes of a request are written at once, and of an
//! answer only its status, its length and its body are looked at.
//!
//! A connection that breaks fails the call that is under way on it, and is opened again by the next one. Nothing is tried twice.
//!
//! Left out: TLS, several requests under way on a connection, redirections.

use bytes::{Buf, BytesMut};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest head of an answer.
const HEAD_MAX: usize = 64 << 10;

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Link {
    authority: String,
    /// How long it may take to open it.
    patience: Duration,
    /// How long an answer may take.
    answer: Duration,
    stream: Option<TcpStream>,
    /// What was read.
    read: BytesMut,
    /// The request that is sent.
    request: Vec<u8>,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'l> {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: &'l [u8],
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// There was no connection: nothing was sent.
    Unsent(String),
    /// It was sent, or in part, and no answer that is one came, or none in time: what was asked may have been done.
    Broken(String),
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsent(why) | Self::Broken(why) => f.write_str(why),
        }
    }
}

impl Link {
    /// To `http://HOST:PORT`, which is opened by the first call. `patience` is how long opening, `answer` how long an answer may
    /// take: a node that is frozen or cut off must not hold a caller for ever.
    pub fn new(url: &str, patience: Duration, answer: Duration) -> Self {
        let authority = url.trim_start_matches("http://").trim_end_matches('/').to_string();
        Self { authority, patience, answer, stream: None, read: BytesMut::new(), request: Vec::new() }
    }

    /// Opens it, if it is not open.
    pub async fn open(&mut self) -> Result<(), Silence> {
        if self.stream.is_none() {
            self.stream = Some(open(&self.authority, self.patience).await.map_err(Silence::Unsent)?);
        }
        Ok(())
    }

    /// Posts a body under some headers (whole lines, each with its end) and reads the answer.
    pub async fn post(&mut self, headers: &str, body: &[u8]) -> Result<Reply<'_>, Silence> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => open(&self.authority, self.patience).await.map_err(Silence::Unsent)?,
        };
        self.request.clear();
        for part in ["POST / HTTP/1.1\r\nHost: ", &self.authority, "\r\n", headers, "Content-Length: "] {
            self.request.extend_from_slice(part.as_bytes());
        }
        self.request.extend_from_slice(body.len().to_string().as_bytes());
        self.request.extend_from_slice(b"\r\n\r\n");
        self.request.extend_from_slice(body);
        let answer = timeout(self.answer, exchange(&mut stream, &self.request, &mut self.read)).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".into()));
        let head = answer.map_err(Silence::Broken)?;
        // Only a connection of which all was understood is used again.
        if !head.closes {
            self.stream = Some(stream);
        }
        Ok(Reply { status: head.status, body: &self.read })
    }
}

async fn open(authority: &str, patience: Duration) -> Result<TcpStream, String> {
    let opened = timeout(patience, TcpStream::connect(authority)).await;
    let stream = opened.map_err(|_| "it does not answer".to_string())?.map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    Ok(stream)
}

/// Sends a request and reads the answer, of which the body stays in `read`.
async fn exchange(stream: &mut TcpStream, request: &[u8], read: &mut BytesMut) -> Result<Head, String> {
    stream.write_all(request).await.map_err(|e| e.to_string())?;
    read.clear();
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if read.len() > HEAD_MAX {
            return Err("the head of the answer does not end".into());
        }
        more(stream, read).await?;
    };
    let head = Head::parse(&read[..end])?;
    read.advance(end);
    match head.length {
        Length::Bytes(length) => {
            while read.len() < length {
                more(stream, read).await?;
            }
            read.truncate(length);
        }
        Length::Chunks => loop {
            if let Some(body) = joined(read)? {
                *read = body;
                break;
            }
            more(stream, read).await?;
        },
    }
    Ok(head)
}

async fn more(stream: &mut TcpStream, read: &mut BytesMut) -> Result<(), String> {
    match stream.read_buf(read).await {
        Ok(0) => Err("the connection was closed".into()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// What is looked at of an answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: Length,
    closes: bool,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    /// As its pieces say.
    Chunks,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, String> {
        let bad = || "the answer is not HTTP/1.1".to_string();
        let text = std::str::from_utf8(head).map_err(|_| bad())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")).ok_or_else(bad)?;
        let status = status.get(2..5).and_then(|digits| digits.parse().ok()).ok_or_else(bad)?;
        let (mut length, mut closes) = (Length::Bytes(0), false);
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Length::Bytes(value.parse().map_err(|_| bad())?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked")
            {
                length = Length::Chunks;
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.eq_ignore_ascii_case("close");
            }
        }
        Ok(Self { status, length, closes })
    }
}

/// The body whose pieces stand in `read`, if all of them are there.
fn joined(mut read: &[u8]) -> Result<Option<BytesMut>, String> {
    let bad = || "the pieces of the answer have no length".to_string();
    let mut body = BytesMut::new();
    loop {
        let Some(at) = read.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&read[..at]).map_err(|_| bad())?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| bad())?;
        read = &read[at + 2..];
        if size == 0 {
            // Lines may follow, up to an empty one; none of ours is looked at.
            return Ok((read == b"\r\n" || read.ends_with(b"\r\n\r\n")).then_some(body));
        }
        let Some(rest) = read.get(size..).and_then(|rest| rest.strip_prefix(b"\r\n")) else {
            return if read.len() < size + 2 { Ok(None) } else { Err(bad()) };
        };
        body.extend_from_slice(&read[..size]);
        read = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_bodies_are_read_as_servers_write_them() {
        let head = Head::parse(b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 12\r\nServer: x\r\n\r\n").unwrap();
        assert_eq!(head, Head { status: 200, length: Length::Bytes(12), closes: false });
        let head = Head::parse(b"HTTP/1.1 400 no\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
            .unwrap();
        assert_eq!(head, Head { status: 400, length: Length::Chunks, closes: true });
        assert!(Head::parse(b"SSH-2.0\r\n\r\n").is_err() && Head::parse(b"HTTP/1.1 20\r\n\r\n").is_err());
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").is_err());
        let whole = b"4;x=y\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n";
        assert_eq!(joined(whole).unwrap().unwrap(), b"abcdef"[..]);
        assert!((0..whole.len()).all(|cut| joined(&whole[..cut]).unwrap().is_none()));
        assert!(joined(b"zz\r\n").is_err() && joined(b"1\r\nabc\r\n").is_err());
    }
}
