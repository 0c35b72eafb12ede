//! Sockets in the file system, where clients connect beside the ports: etcd's `unix://` among `--listen-client-urls`.
//!
//! A file that an earlier life has left is replaced; one behind which somebody answers is not.

use crate::report::{Exit, Problem};
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

/// Those of one node; their files go with them.
#[derive(Default)]
pub(super) struct Sockets {
    paths: Vec<PathBuf>,
    pub(super) listeners: Vec<Arc<UnixListener>>,
}

impl Sockets {
    /// Makes them.
    pub(super) fn bind(paths: &[PathBuf]) -> Result<Self, Problem> {
        let mut sockets = Self::default();
        for path in paths {
            let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
            if is_socket && UnixStream::connect(path).is_err() {
                let _ = std::fs::remove_file(path);
            }
            let listener = UnixListener::bind(path).map_err(|error| {
                let taken = error.kind() == ErrorKind::AddrInUse;
                let hint = "stop what uses it, or name another file, in a directory that there is, with --listen-client-urls";
                let exit = if taken { Exit::PortTaken } else { Exit::Failed };
                Problem::new(exit, format!("cannot listen on unix://{}: {error}", path.display()), hint)
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
