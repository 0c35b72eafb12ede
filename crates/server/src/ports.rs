//! The ports of a node, taken before anything else: one that is in use must not cost a recovery, nor touch the data.

use crate::config::ServerConfig;
use crate::error::{ServeError, ServeErrorKind};
use crate::run::Ready;
use crate::sockets::Sockets;
use crate::transport::Listening;
use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::net::{TcpListener, UnixListener};

/// All that it listens on.
pub(crate) struct Ports {
    /// For clients of etcd's.
    pub(crate) listeners: Vec<TcpListener>,
    /// For its peers.
    pub(crate) peers: Vec<Listening>,
    /// The files of those of them that have one.
    pub(crate) files: Sockets,
    /// For clients of DynamoDB's, if there is a door for them.
    pub(crate) dynamo: Option<TcpListener>,
    /// Where the first of each listens.
    pub(crate) addresses: Ready,
}

impl Ports {
    /// Takes those of a configuration. An error names what could not be had, and what to do.
    pub(crate) async fn bind(config: &ServerConfig) -> Result<Self, ServeError> {
        let etcd = bind(config.etcd_listen, "etcd clients", "--etcd").await?;
        let peer = bind(config.peer_listen, "peers", "--peer").await?;
        let dynamo = match config.dynamo_listen {
            Some(address) => Some(bind(address, "DynamoDB clients", "--dynamo").await?),
            None => None,
        };
        let addresses = Ready {
            etcd: local_address(&etcd)?,
            dynamo: dynamo.as_ref().map(local_address).transpose()?,
            peer: local_address(&peer)?,
        };
        let mut listeners = vec![etcd];
        for &also in &config.etcd_also {
            listeners.push(bind(also, "etcd clients", "--etcd").await?);
        }
        let mut peers = vec![Listening::from(peer)];
        for &also in &config.peer_also {
            peers.push(bind(also, "peers", "--peer").await?.into());
        }
        let files = Sockets::bind(&config.peer_files, "--peer")?;
        for file in &files.listeners {
            peers.push(awaited(file).map_err(|e| other(&e))?.into());
        }
        Ok(Self { listeners, peers, files, dynamo, addresses })
    }
}

async fn bind(address: SocketAddr, what: &str, flag: &str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| {
        let taken = error.kind() == ErrorKind::AddrInUse;
        let kind = if taken { ServeErrorKind::PortTaken } else { ServeErrorKind::Other };
        let hint = match error.kind() {
            ErrorKind::AddrNotAvailable => format!(
                "give {flag} an address of this machine (`ip addr` lists them); 0.0.0.0 stands for all of them"
            ),
            ErrorKind::PermissionDenied => {
                format!("ports below 1024 need a privilege: choose another with {flag}")
            }
            _ => format!("stop what uses it, or choose another address with {flag}"),
        };
        ServeError::new(kind, format!("cannot listen on {address} for {what}: {error}"), &hint)
    })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(|e| other(&e))
}

/// A socket, for the runtime.
fn awaited(socket: &std::os::unix::net::UnixListener) -> std::io::Result<UnixListener> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket)
}

fn other(error: &std::io::Error) -> ServeError {
    ServeError::new(ServeErrorKind::Other, error.to_string(), "")
}
