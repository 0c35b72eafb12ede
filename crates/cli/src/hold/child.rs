//! The command that runs while a name is held, and the signals that it gets.
//!
//! Without a terminal it leads a process group of its own: signals reach all that it started, and so does its end. With a terminal
//! it stays in the group of this program, where the terminal's own keys (interrupt, stop) reach both.

use super::guardian::Guardian;
use crate::report::{Exit, Problem};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::future::poll_fn;
use std::io::{ErrorKind, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::task::Poll;
use std::time::Duration;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// The signals that are passed on.
pub(super) struct Signals(Vec<(Signal, tokio::signal::unix::Signal)>);

impl Signals {
    /// Listens from now on.
    pub(super) fn listen() -> Result<Self, Problem> {
        let heard = |of: Signal| {
            let stream = signal(SignalKind::from_raw(of.as_raw()));
            let stream =
                stream.map_err(|e| Problem::new(Exit::NotHeld, format!("cannot handle signals: {e}"), ""))?;
            Ok((of, stream))
        };
        let all = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];
        all.into_iter().map(heard).collect::<Result<_, _>>().map(Self)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            for (of, stream) in &mut self.0 {
                if let Poll::Ready(Some(())) = stream.poll_recv(cx) {
                    return Poll::Ready(*of);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Runs the command till it ends: its exit code; `None` if it was ended because `lost` completed.
pub(super) async fn run(
    command: &[String],
    environment: [(&str, String); 3],
    signals: &mut Signals,
    lost: impl Future<Output = ()>,
    grace: Duration,
) -> Result<Option<i32>, Problem> {
    let apart = !std::io::stdin().is_terminal();
    let mut starting = Command::new(&command[0]);
    starting.args(&command[1..]).envs(environment).kill_on_drop(true);
    if apart {
        starting.process_group(0);
    }
    let guardian = Guardian::start();
    let mut child = starting.spawn().map_err(|error| {
        let exit = if error.kind() == ErrorKind::NotFound { Exit::NoCommand } else { Exit::NotRun };
        Problem::new(exit, format!("cannot run {:?}: {error}", command[0]), "")
    })?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let _guardian = match (guardian, pid) {
        (Ok(guardian), Some(pid)) => Some(guardian.guard(pid, apart, grace)),
        (Ok(_), None) => None,
        (Err(error), _) => {
            eprintln!(
                "note: no guardian could be started, which ends the command where this program is killed: {error}"
            );
            None
        }
    };
    let send = |signal: Signal| {
        // One that is gone needs none.
        let _ =
            pid.map(|pid| if apart { kill_process_group(pid, signal) } else { kill_process(pid, signal) });
    };
    tokio::pin!(lost);
    loop {
        tokio::select! {
            status = child.wait() => {
                let lost = |e| Problem::new(Exit::NotRun, format!("the command is lost: {e}"), "");
                return status.map(|status| Some(code(status))).map_err(lost);
            }
            signal = signals.next() => {
                // The terminal gave it to both.
                if apart || !matches!(signal, Signal::INT | Signal::QUIT) {
                    send(signal);
                }
            }
            () = &mut lost => {
                send(Signal::TERM);
                let _ = timeout(grace, child.wait()).await;
                // All of the group, also what its leader left behind.
                if apart {
                    send(Signal::KILL);
                } else {
                    let _ = child.start_kill();
                }
                let _ = child.wait().await;
                return Ok(None);
            }
        }
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
