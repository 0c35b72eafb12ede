//! What a connection to a peer goes over: a port, or a socket in the file system, which etcd's URLs call `unix://`.

use crate::sockets::UNIX;
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, tcp, unix};

/// Where peers connect.
pub(crate) enum Listening {
    Port(TcpListener),
    File(UnixListener),
}

impl Listening {
    /// The next connection, and from where it comes; a socket in the file system does not say.
    pub(super) async fn accept(&self) -> Result<(Stream, Option<SocketAddr>)> {
        Ok(match self {
            Self::Port(listener) => {
                let (stream, address) = listener.accept().await?;
                (stream.into(), Some(address))
            }
            Self::File(listener) => (listener.accept().await?.0.into(), None),
        })
    }
}

impl From<TcpListener> for Listening {
    fn from(listener: TcpListener) -> Self {
        Self::Port(listener)
    }
}

impl From<UnixListener> for Listening {
    fn from(listener: UnixListener) -> Self {
        Self::File(listener)
    }
}

/// A connection, in its two directions.
pub(super) struct Stream {
    pub(super) read: Reading,
    pub(super) write: Writing,
}

pub(super) type Reading = Box<dyn AsyncRead + Send + Sync + Unpin>;

/// The direction to the peer; it is closed when it is dropped.
#[derive(Debug)]
pub(super) enum Writing {
    Port(tcp::OwnedWriteHalf),
    File(unix::OwnedWriteHalf),
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write.fmt(f)
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        // Small packets must not wait for the acknowledgement of earlier ones; who is gone already is found by reading.
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        Self { read: Box::new(read), write: Writing::Port(write) }
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read: Box::new(read), write: Writing::File(write) }
    }
}

impl Writing {
    pub(super) fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Port(write) => write.try_write(bytes),
            Self::File(write) => write.try_write(bytes),
        }
    }

    pub(super) async fn writable(&self) -> Result<()> {
        match self {
            Self::Port(write) => write.writable().await,
            Self::File(write) => write.writable().await,
        }
    }

    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.writable().await?;
            match self.try_write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Connects to the first address of a name that answers within `patience` each. (How long a name is looked up is the
/// system's affair: with a dead server on its list it takes many seconds, and yet succeeds.)
pub(super) async fn connect(name: &str, patience: Duration) -> Result<Stream> {
    let late = || Error::new(ErrorKind::TimedOut, "no answer in time");
    if let Some(path) = name.strip_prefix(UNIX) {
        let dialled = tokio::time::timeout(patience, UnixStream::connect(path)).await;
        return dialled.unwrap_or_else(|_| Err(late())).map(Stream::from);
    }
    let mut failed = Error::new(ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(name).await? {
        match tokio::time::timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream.into()),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = late(),
        }
    }
    Err(failed)
}
