//! Child processes of a run: nodes and clients, each in a group of its own, so that a signal to the terminal reaches the run
//! alone. What a process has started is killed, stopped and ended with it, also where it left the group, as PostgreSQL's
//! servers do.

use crate::standing::{self, Standing};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the kernel may take to show what a signal did.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(5);

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    /// The child; its standard input stays open as long as this value.
    pub(crate) child: Child,
    what: String,
}

impl Process {
    /// Starts it, and writes down that it stands.
    pub(crate) fn start(command: &mut Command, what: &str, standing: &mut Standing) -> io::Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .process_group(0)
            .spawn()
            .map_err(|e| io::Error::new(e.kind(), format!("cannot start {what} ({program}): {e}")))?;
        standing.process(child.id(), what)?;
        Ok(Self { child, what: what.into() })
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it is.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal to its group.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or("it has no pid")?;
        kill_process_group(pid, signal).map_err(|e| format!("{}: {e}", self.what))
    }

    /// Kills it with all that it started, and waits until they are gone. True if it was the kill that ended it.
    pub(crate) async fn kill(&mut self) -> Result<bool, String> {
        let family = standing::family(self.pid());
        self.signal(Signal::KILL)?;
        for &(pid, start) in &family {
            standing::signal(pid, start, Signal::KILL);
        }
        let status = self.wait(PATIENCE).await?;
        let gone = |&(pid, start): &(u32, u64)| standing::start_time(pid) != Some(start);
        let end = Instant::now() + PATIENCE;
        while !family.iter().all(gone) {
            if Instant::now() > end {
                return Err(format!("what {} started does not end", self.what));
            }
            sleep(POLL).await;
        }
        Ok(status.signal() == Some(Signal::KILL.as_raw()))
    }

    /// Freezes it with all that it started, and waits until the kernel says that they are.
    pub(crate) async fn freeze(&self) -> Result<(), String> {
        still(self.pid(), true).await.map_err(|why| format!("{}: {why}", self.what))
    }

    /// Lets it go on with all that it started, and waits until they do.
    pub(crate) async fn thaw(&self) -> Result<(), String> {
        still(self.pid(), false).await.map_err(|why| format!("{}: {why}", self.what))
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self, patience: Duration) -> Result<ExitStatus, String> {
        let end = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if Instant::now() > end => {
                    return Err(format!("{} does not end within {} s", self.what, patience.as_secs()));
                }
                Ok(None) => sleep(POLL).await,
                Err(error) => return Err(format!("{}: {error}", self.what)),
            }
        }
    }
}

/// When a process of somebody else was started; the error says why it cannot be stopped.
pub(crate) fn start_of(pid: u32) -> Result<u64, String> {
    let start = standing::start_time(pid).ok_or_else(|| format!("no process has the number {pid}"))?;
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("it is no pid")?;
    test_kill_process(number).map_err(|e| format!("process {pid} may not be stopped: {e}"))?;
    Ok(start)
}

/// Stops a process with all that it started, or lets them go on, and waits until the kernel shows it.
pub(crate) async fn still(pid: u32, stop: bool) -> Result<(), String> {
    let end = Instant::now() + PATIENCE;
    loop {
        // What it starts meanwhile is seen in the next turn.
        let family = standing::family(pid);
        if !family.iter().any(|(member, _)| *member == pid) {
            return Err("it is gone".into());
        }
        let wrong =
            |(member, _): &&(u32, u64)| standing::state(*member).is_some_and(|state| (state == 'T') != stop);
        let wrong: Vec<&(u32, u64)> = family.iter().filter(wrong).collect();
        let Some((first, _)) = wrong.first() else { return Ok(()) };
        if Instant::now() > end {
            let what = if stop { "stop" } else { "go on" };
            return Err(format!("process {first} does not {what} within {} s", PATIENCE.as_secs()));
        }
        for &&(member, start) in &wrong {
            standing::signal(member, start, if stop { Signal::STOP } else { Signal::CONT });
        }
        sleep(POLL).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let family = standing::family(self.pid());
            let _ = self.signal(Signal::KILL);
            for (pid, start) in family {
                standing::signal(pid, start, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}
