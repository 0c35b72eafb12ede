//! One PostgreSQL server, made anew for a run. It refuses to run as root: there it runs as `nobody`.

use super::Place;
use rustix::fs::{Gid, Uid, chown};
use rustix::process::geteuid;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// `nobody` and `nogroup`, as they are everywhere.
const NOBODY: u32 = 65534;

/// The directory of the newest installed version's programs.
pub(super) fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.filter(|path| path.join("bin/initdb").is_file()).max_by_key(|path| number(path));
    Some(newest?.join("bin"))
}

/// Makes an empty data directory.
pub(super) fn initialize(programs: &Path, place: &Place) -> Result<(), String> {
    let said = |e: std::io::Error| format!("{}: {e}", place.data.display());
    std::fs::create_dir_all(&place.data).map_err(said)?;
    if geteuid().is_root() {
        chown(&place.data, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY)))
            .map_err(|e| said(e.into()))?;
    }
    let mut command = Command::new(programs.join("initdb"));
    command
        .args(["--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "-D"])
        .arg(&place.data);
    let output = as_nobody(&mut command).stdin(Stdio::null()).output().map_err(said)?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("initdb: {}; can the user nobody reach {}?", why.trim(), place.data.display()))
}

/// The command line of the server.
pub(super) fn command(programs: &Path, place: &Place) -> Command {
    let mut command = Command::new(programs.join("postgres"));
    command
        .arg("-D")
        .arg(&place.data)
        .args(["-p", &place.client.to_string(), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories=", "-c", "max_connections=120"])
        // In files below its data directory, which go with it: others stay when it is killed.
        .args(["-c", "dynamic_shared_memory_type=mmap"]);
    as_nobody(&mut command);
    command
}

/// Not as root; and in a directory that the other user may enter.
fn as_nobody(command: &mut Command) -> &mut Command {
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.current_dir("/")
}
