//! What a run has in the world, written down: processes and directories, so that they can be ended by somebody else.
//!
//! A line is written as soon as a process runs. A process is known by its number *and* its start time, so that a number that
//! was given anew harms nobody. A guardian, a process in a group of its own, waits until its starter is gone, by a pipe that
//! closes then, and ends what stands: so a killed run leaves nothing behind. [`heal`] does the same by hand, where the
//! guardian was killed too.

use crate::memory;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file's name in a report.
pub const FILE: &str = "standing.jsonl";
/// How long an ended process may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// A process that leads a group of its own.
    Process { pid: u32, start: u64, what: String },
    /// A process of somebody else, that may have been stopped: it goes on at the end.
    Stopped { pid: u32, start: u64, what: String },
    /// A directory that goes away at the end.
    Directory(PathBuf),
    /// The run ended and has cleaned up.
    Clean,
}

/// The file, open for more.
#[derive(Debug)]
pub struct Standing {
    file: File,
}

impl Standing {
    /// A new one in a report.
    pub fn create(report: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(report.join(FILE))?;
        Ok(Self { file })
    }

    /// A process runs, as the leader of a group.
    pub fn process(&mut self, pid: u32, what: &str) -> io::Result<()> {
        // A process that is gone already needs no line.
        let Some(start) = start_time(pid) else { return Ok(()) };
        self.line(&Line::Process { pid, start, what: what.into() })
    }

    /// A process of somebody else is going to be stopped.
    pub(crate) fn foreign(&mut self, pid: u32, start: u64, what: &str) -> io::Result<()> {
        self.line(&Line::Stopped { pid, start, what: what.into() })
    }

    /// A directory is there that goes away at the end.
    pub fn directory(&mut self, path: &Path) -> io::Result<()> {
        self.line(&Line::Directory(path.into()))
    }

    /// All is cleaned up.
    pub fn clean(&mut self) -> io::Result<()> {
        self.line(&Line::Clean)
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)
    }
}

/// What was cleaned up.
#[derive(Serialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// The processes that still ran.
    pub ended: Vec<String>,
    /// The processes of others that stood still, and go on now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<String>,
    /// The directories that were still there.
    pub removed: Vec<PathBuf>,
    /// What could not be cleaned up, and why.
    pub left: Vec<String>,
}

/// Ends every process and removes every directory that a run left.
pub fn heal(report: &Path) -> io::Result<Healed> {
    let file = File::open(report.join(FILE))?;
    let mut healed = Healed::default();
    let mut directories = Vec::new();
    for line in BufReader::new(file).lines() {
        match serde_json::from_str(&line?) {
            Ok(Line::Process { pid, start, what }) if start_time(pid) == Some(start) => {
                let name = format!("{what} (pid {pid})");
                if end(pid, start) { healed.ended.push(name) } else { healed.left.push(name) }
            }
            Ok(Line::Stopped { pid, start, what }) if start_time(pid) == Some(start) => {
                let still = family(pid).into_iter().filter(|(member, _)| state(*member) == Some('T'));
                let still: Vec<(u32, u64)> = still.collect();
                for &(member, start) in &still {
                    signal(member, start, Signal::CONT);
                }
                if !still.is_empty() {
                    healed.resumed.push(format!("{what} (pid {pid})"));
                }
            }
            Ok(Line::Directory(path)) => directories.push(path),
            // A line that was cut off is of something that had not begun.
            Ok(Line::Process { .. } | Line::Stopped { .. } | Line::Clean) | Err(_) => {}
        }
    }
    for path in directories.into_iter().filter(|path| path.exists()) {
        let (removed, left) = memory::release(&path);
        healed.removed.extend(removed.into_iter().map(PathBuf::from));
        healed.left.extend(left);
        match std::fs::remove_dir_all(&path) {
            Ok(()) => healed.removed.push(path),
            Err(error) => healed.left.push(format!("{}: {error}", path.display())),
        }
    }
    Ok(healed)
}

/// Kills a process, its group and what it started, and waits until it is gone.
fn end(pid: u32, start: u64) -> bool {
    let Some(pid_of) = pid_of(pid) else { return false };
    let deadline = Instant::now() + PATIENCE;
    let family = family(pid);
    while start_time(pid) == Some(start) {
        // SIGKILL ends a stopped process too.
        let _ = kill_process_group(pid_of, Signal::KILL);
        let _ = kill_process(pid_of, Signal::KILL);
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for (pid, start) in family {
        signal(pid, start, Signal::KILL);
    }
    true
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// A process and all that it started and that they started, each with its start time.
pub(crate) fn family(pid: u32) -> Vec<(u32, u64)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let all: Vec<(u32, u32)> = numbers
        .filter_map(|pid| Some((pid, stat(pid)?.1.split_ascii_whitespace().next()?.parse().ok()?)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let of_it = all.iter().filter(|(pid, of)| *of == parent && *pid != parent).map(|(pid, _)| *pid);
        found.extend(of_it);
        next += 1;
    }
    found.into_iter().filter_map(|pid| Some((pid, start_time(pid)?))).collect()
}

/// Sends a signal to a process, unless its number was given to another one.
pub(crate) fn signal(pid: u32, start: u64, signal: Signal) {
    if start_time(pid) == Some(start)
        && let Some(pid) = pid_of(pid)
    {
        // It may have ended just now.
        let _ = kill_process(pid, signal);
    }
}

/// When a process was started, in ticks since the machine's start; nothing where it does not run (any more).
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let (state, rest) = stat(pid)?;
    // A zombie does nothing any more.
    if state == 'Z' || state == 'X' { None } else { rest.split_ascii_whitespace().nth(18)?.parse().ok() }
}

/// The state of a process as the kernel names it: R, S, D, T, Z.
pub(crate) fn state(pid: u32) -> Option<char> {
    stat(pid).map(|(state, _)| state)
}

fn stat(pid: u32) -> Option<(char, String)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also parentheses.
    let rest = text.rsplit_once(") ")?.1;
    Some((rest.chars().next()?, rest[1..].to_string()))
}

/// Waits for the end of whoever holds the other end of standard input, then cleans up what it left.
pub fn guard(report: &Path) -> Result<(), String> {
    let mut line = String::new();
    let told = io::stdin().lock().read_line(&mut line).unwrap_or(0);
    if told > 0 && line.trim() == "clean" {
        return Ok(());
    }
    let healed = heal(report).map_err(|e| e.to_string())?;
    let text = serde_json::to_string_pretty(&healed).map_err(|e| e.to_string())?;
    std::fs::write(report.join("guardian.json"), text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn what_belongs_to_others_goes_on_and_is_not_ended() {
        let dir = std::env::temp_dir().join(format!("quorate-foreign-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let mut standing = Standing::create(&dir).unwrap();
        standing.foreign(child.id(), start_time(child.id()).unwrap(), "node 1").unwrap();
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        while state(child.id()) != Some('T') {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(heal(&dir).unwrap().resumed, [format!("node 1 (pid {})", child.id())]);
        while state(child.id()) == Some('T') {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(child.try_wait().unwrap().is_none());
        assert_eq!(heal(&dir).unwrap(), Healed::default());
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_stands_is_ended_also_where_it_is_stopped_and_a_stranger_with_its_number_is_not() {
        let dir = std::env::temp_dir().join(format!("quorate-standing-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("data")).unwrap();
        let mut standing = Standing::create(&dir).unwrap();
        let mut child = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let mut other = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        standing.process(child.id(), "a node").unwrap();
        standing.line(&Line::Process { pid: other.id(), start: 1, what: "of another time".into() }).unwrap();
        standing.directory(&dir.join("data")).unwrap();
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        while state(child.id()) != Some('T') {
            std::thread::sleep(Duration::from_millis(1));
        }
        let healed = heal(&dir).unwrap();
        assert_eq!(healed.ended, [format!("a node (pid {})", child.id())]);
        assert_eq!(healed.removed, [dir.join("data")]);
        assert!(!child.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "the stranger lives");
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(heal(&dir).unwrap(), Healed::default());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
