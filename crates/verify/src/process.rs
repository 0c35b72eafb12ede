//! Child processes of a run: nodes and clients, each in a group of its own, so that a signal to the terminal reaches the run
//! alone. What a process has started is killed, stopped and ended with it, also where it left the group, as PostgreSQL's
//! servers do.

use crate::standing::{self, Standing};
use rustix::process::{Pid, Signal, kill_process_group};
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
        self.signal(Signal::STOP)?;
        standing::stopped(self.pid(), true, PATIENCE).await.map_err(|why| format!("{}: {why}", self.what))
    }

    /// Lets it go on with all that it started, and waits until they do.
    pub(crate) async fn thaw(&self) -> Result<(), String> {
        standing::stopped(self.pid(), false, PATIENCE).await.map_err(|why| format!("{}: {why}", self.what))
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

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
