//! File descriptors: as many as the system lets this process have, and how they are shared.
//!
//! Data come first: a node that cannot open a file of its journal must stop. So a part of the descriptors is kept for files,
//! peers and what the runtime needs, and clients get the rest.

use crate::error::{ServeError, ServeErrorKind};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for data and peers: the state's tables (256 stay open), those who are about to greet on the peer port (64), and the
/// journal, links, pipes and what the runtime needs.
const KEPT: u64 = 448;
/// With fewer than these a node does not start.
const LEAST: u64 = 512;
/// More clients would find a place but no memory: a connection costs some ten kilobytes at least.
const CLIENTS_MAX: u64 = 10_000;
/// What is asked for where the system refuses its own maximum, as macOS does.
const MODEST: u64 = 10_240;

/// Raises the limit as far as this process may; says how many clients there may be at once.
pub(crate) fn claim() -> Result<usize, ServeError> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_err()
        && limit.current.is_some_and(|files| files < MODEST)
    {
        // Where that is refused, too, the lower limit holds.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(MODEST), ..limit });
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    clients(files).ok_or_else(|| {
        ServeError::new(
            ServeErrorKind::Other,
            format!("this process may open {files} files, and a node needs {LEAST} at least"),
            "raise the limit, for example with `ulimit -n 65536`",
        )
    })
}

/// How many of `files` descriptors clients may have.
fn clients(files: u64) -> Option<usize> {
    (files >= LEAST).then(|| (files - KEPT).min(CLIENTS_MAX) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_come_first() {
        assert_eq!(clients(511), None);
        assert_eq!(clients(512), Some(64));
        assert_eq!(clients(1024), Some(576));
        assert_eq!(clients(u64::MAX), Some(10_000));
    }
}
