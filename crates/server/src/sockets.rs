//! Sockets in the file system, which etcd's URLs call `unix://`: where clients connect beside the ports, and peers.
//!
//! A file that an earlier life has left is replaced; one behind which somebody answers is not.

use crate::error::{ServeError, ServeErrorKind};
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

/// What stands before the path of one.
pub const UNIX: &str = "unix://";

/// Those of one node; their files go with them.
#[derive(Default)]
pub struct Sockets {
    paths: Vec<PathBuf>,
    /// One for each path, in their order.
    pub listeners: Vec<Arc<UnixListener>>,
}

impl Sockets {
    /// Makes them. An error names the flag that they come from.
    pub fn bind(paths: &[PathBuf], flag: &str) -> Result<Self, ServeError> {
        let mut sockets = Self::default();
        for path in paths {
            let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
            if is_socket && UnixStream::connect(path).is_err() {
                let _ = std::fs::remove_file(path);
            }
            let listener = UnixListener::bind(path).map_err(|error| {
                let taken = error.kind() == ErrorKind::AddrInUse;
                let kind = if taken { ServeErrorKind::PortTaken } else { ServeErrorKind::Other };
                let hint = format!(
                    "stop what uses it, or name another file, in a directory that there is, with {flag}"
                );
                ServeError::new(kind, format!("cannot listen on {UNIX}{}: {error}", path.display()), &hint)
            })?;
            sockets.paths.push(path.clone());
            sockets.listeners.push(Arc::new(listener));
        }
        Ok(sockets)
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = std::fs::remove_file(path);
        }
    }
}
