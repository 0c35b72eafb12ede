//! Where clients connect: ports, and sockets in the file system, which etcd's URLs call `unix://`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// One of them.
pub(crate) enum Listener {
    Port(TcpListener),
    Socket(UnixListener),
}

impl Listener {
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Arrived>> {
        match self {
            Self::Port(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| {
                // Small replies must not wait for the acknowledgement of earlier ones; who is gone already is found by
                // reading.
                let _ = stream.set_nodelay(true);
                Arrived::Port(stream)
            }),
            Self::Socket(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| Arrived::Socket(stream)),
        }
    }
}

/// A connection of a client.
pub(crate) enum Arrived {
    Port(TcpStream),
    Socket(UnixStream),
}

/// The stream of whatever kind, pinned.
macro_rules! stream {
    ($arrived:expr, $stream:ident => $do:expr) => {
        match $arrived.get_mut() {
            Self::Port($stream) => $do,
            Self::Socket($stream) => $do,
        }
    };
}

impl AsyncRead for Arrived {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        stream!(self, stream => Pin::new(stream).poll_read(cx, into))
    }
}

impl AsyncWrite for Arrived {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        stream!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        stream!(self, stream => Pin::new(stream).poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Port(stream) => stream.is_write_vectored(),
            Self::Socket(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        stream!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
