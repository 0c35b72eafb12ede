//! Who ends a command whose holder was killed itself.
//!
//! The guardian is a process in a group of its own. It is told which command it guards, and waits for the end of a pipe that closes
//! with the holder. A holder that ends in order ends its guardian first, so the end of the pipe says that it was killed. Its lock
//! stays taken until its lease ends; before that the command is ended, first asked and then forced, as the holder would have
//! done it.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::process::{test_kill_process, test_kill_process_group};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The hidden command that a guardian runs.
pub(crate) const COMMAND: &str = "hold-guardian";
/// How often it looks whether the command has ended.
const LOOK: Duration = Duration::from_millis(50);

/// A guardian of this program; it ends with the value.
pub(super) struct Guardian(Child);

impl Guardian {
    /// Starts it; it guards nothing yet.
    pub(super) fn start() -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        // It holds nothing open that a reader of this program's output waits for.
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0).spawn().map(Self)
    }

    /// Has it guard a process, or with `group` all of the process's group, which may take `grace` to end.
    pub(super) fn guard(mut self, pid: Pid, group: bool, grace: Duration) -> Self {
        let order = format!("{} {} {}\n", pid.as_raw_nonzero(), u8::from(group), grace.as_millis());
        if let Some(pipe) = &mut self.0.stdin {
            // One that is gone guards nothing, and there is nobody to tell.
            let _ = pipe.write_all(order.as_bytes());
        }
        self
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // Before the pipe closes: it has nothing to do any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a guardian does.
pub(crate) fn run() {
    let mut order = String::new();
    // Both ends of it are the same: the other side is gone.
    let _ = io::stdin().read_to_string(&mut order);
    if let Some((pid, group, grace)) = parse(&order) {
        end(pid, group, grace);
    }
}

fn parse(order: &str) -> Option<(Pid, bool, Duration)> {
    let mut words = order.strip_suffix('\n')?.split(' ');
    let (pid, group, grace) =
        (words.next()?.parse().ok()?, words.next()? == "1", words.next()?.parse().ok()?);
    // No number of a process is less, and 1 is of nobody's command.
    let pid = (pid > 1).then(|| Pid::from_raw(pid)).flatten()?;
    Some((pid, group, Duration::from_millis(grace)))
}

fn end(pid: Pid, group: bool, grace: Duration) {
    let send = |signal| if group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    let lives = || if group { test_kill_process_group(pid) } else { test_kill_process(pid) }.is_ok();
    let until = Instant::now() + grace;
    let mut asked = send(Signal::TERM).is_ok();
    while asked && Instant::now() < until {
        std::thread::sleep(LOOK);
        asked = lives();
    }
    if asked {
        // It may have ended since.
        let _ = send(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_that_is_cut_short_is_none() {
        let pid = Pid::from_raw(4711).unwrap();
        assert_eq!(parse("4711 1 2000\n"), Some((pid, true, Duration::from_secs(2))));
        assert_eq!(parse("4711 0 5\n"), Some((pid, false, Duration::from_millis(5))));
        for bad in ["", "4711 1 20", "4711 1\n", "0 1 5\n", "-7 1 5\n", "1 1 5\n", "x 1 5\n"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
