//! The data directory of a local cluster: one `up` at a time, and nothing of anybody else's.

use super::plan::{MOST_NODES, Plan};
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
    /// There was no cluster in it, and none has begun to serve.
    new: bool,
    /// The directories that were made for it, the innermost first.
    made: Vec<PathBuf>,
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
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        let made: Vec<PathBuf> =
            absolute.ancestors().take_while(|dir| !dir.exists()).map(Path::to_path_buf).collect();
        let new = !path.is_dir() || Plan::load(&path)?.is_none();
        if new && path.is_dir() {
            // What is refused is left as it was, without a lock in it.
            must_be_unused(&path)?;
        }
        create_dir_durably(&path).map_err(|e| {
            Problem::new(
                Exit::DataDir,
                format!("cannot create {}: {e}", path.display()),
                "choose a directory that this user may write with --data",
            )
        })?;
        let lock = lock_dir(&path)?;
        Ok(Self { path, ephemeral, new, made, _lock: lock })
    }

    /// A cluster serves here: what stands here is its data.
    pub(super) fn keep(&mut self) {
        self.new = false;
    }

    /// Takes away what was made for a cluster that has not begun to serve.
    pub(super) fn undo(&self) {
        if !self.new {
            return;
        }
        for node in 1..=MOST_NODES {
            let _ = std::fs::remove_dir_all(super::child::data_dir(&self.path, node));
        }
        for file in [quorate_server::datadir::CLUSTER, "cluster.toml.new", "lock"] {
            let _ = std::fs::remove_file(self.path.join(file));
        }
        // Those that hold anything else stay.
        self.made.iter().all(|dir| std::fs::remove_dir(dir).is_ok());
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
        must_be_unused(&self.path)?;
        Ok((Plan::new(count.unwrap_or(3), format!("up-{}", fresh_name())), true))
    }
}

/// A directory without a cluster must hold nothing that could be somebody's data.
fn must_be_unused(home: &Path) -> Result<(), Problem> {
    let io =
        |e: std::io::Error| Problem::new(Exit::DataDir, format!("cannot list {}: {e}", home.display()), "");
    for entry in std::fs::read_dir(home).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if name != "lock" && name != "cluster.toml.new" && name != "lost+found" {
            return Err(Problem::new(
                Exit::DataDir,
                format!("{} holds {:?} but no cluster.toml", home.display(), name.to_string_lossy()),
                "it is not a directory of `quorate up`: choose another one with --data",
            ));
        }
    }
    Ok(())
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
