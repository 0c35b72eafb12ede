//! The data directory of a local cluster: one `up` at a time, and nothing of anybody else's.

use super::plan::Plan;
use crate::report::{Exit, Problem};
use quorate_server::ServerConfig;
use quorate_server::datadir::{create_dir_durably, lock_dir};
use std::fs::File;
use std::path::{Path, PathBuf};

/// An opened data directory; dropping it gives it free, and removes an ephemeral one.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    ephemeral: bool,
    _lock: File,
}

impl Home {
    /// Opens `path`, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        Self::prepare(path.to_path_buf(), false)
    }

    /// Makes a directory that lives as long as this value.
    pub(super) fn ephemeral() -> Result<Self, Problem> {
        Self::prepare(std::env::temp_dir().join(format!("quorate-{}", fresh_name())), true)
    }

    fn prepare(path: PathBuf, ephemeral: bool) -> Result<Self, Problem> {
        create_dir_durably(&path).map_err(|e| {
            Problem::new(
                Exit::DataDir,
                format!("cannot create {}: {e}", path.display()),
                "choose a directory that this user may write with --data",
            )
        })?;
        let lock = lock_dir(&path)?;
        Ok(Self { path, ephemeral, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The cluster that lives here, or a new one of `count` nodes; true if it is new.
    pub(super) fn plan(&self, count: Option<u64>) -> Result<(Plan, bool), Problem> {
        if let Some(plan) = Plan::load(&self.path)? {
            let here = plan.nodes.len() as u64;
            return match count {
                Some(count) if count != here => Err(Problem::new(
                    Exit::DataDir,
                    format!("{} holds a cluster of {here} nodes, not {count}", self.path.display()),
                    "leave --nodes out to go on with it, or choose another directory with --data",
                )),
                _ => Ok((plan, false)),
            };
        }
        self.must_be_unused()?;
        Ok((Plan::new(count.unwrap_or(3), format!("up-{}", fresh_name())), true))
    }

    fn must_be_unused(&self) -> Result<(), Problem> {
        let io = |e: std::io::Error| {
            Problem::new(Exit::DataDir, format!("cannot list {}: {e}", self.path.display()), "")
        };
        for entry in std::fs::read_dir(&self.path).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            if name != "lock" && name != "cluster.toml.new" && name != "lost+found" {
                return Err(Problem::new(
                    Exit::DataDir,
                    format!("{} holds {:?} but no cluster.toml", self.path.display(), name.to_string_lossy()),
                    "it is not a directory of `quorate up`: choose another one with --data",
                ));
            }
        }
        Ok(())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.ephemeral {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A name that no cluster had before: time and process, mixed.
fn fresh_name() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mixed = ServerConfig::cluster_id(&format!("{}-{}", since.as_nanos(), std::process::id()));
    format!("{mixed:016x}")
}
