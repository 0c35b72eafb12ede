//! How the program ends, and how it speaks about what went wrong.
//!
//! A problem is one line that says what happened and one that says what to do, on standard error; the exit code is for
//! scripts and is the same on every command. Where `--json` was asked for and nothing was said yet, a line of standard output says it, too.

use quorate_server::{ServeError, ServeErrorKind};
use serde_json::json;
use std::ffi::OsString;
use std::fmt;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The exit codes, for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed, or something is unhealthy
  2  the command line or the configuration makes no sense
  3  a port is taken
  4  the data directory is in use, or of another node or cluster, or cannot be used
  5  the data are damaged; nothing was changed
  6  the disk failed while serving; the node stopped
  7  the state failed a read; the node stopped, and heals from its peers when it is started again
  8  the node was removed from its cluster; it stopped, and comes back only as a new one

`quorate lock` and `quorate elect` pass on their command's; their own are 124 to 127.";

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Failed, or something is unhealthy.
    Failed = 1,
    /// The command line or the configuration makes no sense.
    Usage = 2,
    /// A port is taken.
    PortTaken = 3,
    /// The data directory cannot be used by this node.
    DataDir = 4,
    /// The data are damaged.
    Damaged = 5,
    /// The disk failed while serving.
    Broken = 6,
    /// The state failed a read while serving.
    StateDamaged = 7,
    /// The node was removed from its cluster.
    Removed = 8,
    /// A lock or a leadership was lost while its command ran.
    Lost = 124,
    /// A lock or a leadership was not got.
    NotHeld = 125,
    /// The command to run under it cannot be run.
    NotRun = 126,
    /// There is no such command.
    NoCommand = 127,
}

impl Exit {
    /// The exit that [`Exit::word`] names.
    pub(crate) fn from_word(word: &str) -> Self {
        let all = [
            Self::Usage,
            Self::PortTaken,
            Self::DataDir,
            Self::Damaged,
            Self::Broken,
            Self::StateDamaged,
            Self::Removed,
        ];
        all.into_iter().find(|exit| exit.word() == word).unwrap_or(Self::Failed)
    }

    /// The word for it in JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "config",
            Self::PortTaken => "port-taken",
            Self::DataDir => "data-dir",
            Self::Damaged => "damaged",
            Self::Broken => "broken",
            Self::StateDamaged => "state-damaged",
            Self::Removed => "removed",
            Self::Lost => "lost",
            Self::NotHeld => "not-held",
            Self::NotRun => "not-run",
            Self::NoCommand => "no-command",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) message: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
}

impl Problem {
    /// A problem with a hint.
    pub(crate) fn new(exit: Exit, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: hint.into() }
    }

    fn in_json(&self) -> serde_json::Value {
        json!({ "event": "failed", "kind": self.exit.word(), "message": self.message, "hint": self.hint })
    }

    /// Says it on standard error, and to who asked for JSON and has heard nothing yet.
    pub(crate) fn print(&self) {
        if json_is_asked_for(std::env::args_os()) && !SPOKEN.load(Ordering::Relaxed) {
            say(&self.in_json().to_string());
        }
        let (red, cyan, plain) =
            if colours(&std::io::stderr()) { ("\x1b[1;31m", "\x1b[1;36m", "\x1b[0m") } else { ("", "", "") };
        eprintln!("{red}error:{plain} {}", self.message);
        if !self.hint.is_empty() {
            eprintln!("{cyan}hint:{plain}  {}", self.hint);
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ServeError> for Problem {
    fn from(error: ServeError) -> Self {
        let exit = match error.kind {
            ServeErrorKind::Config => Exit::Usage,
            ServeErrorKind::PortTaken => Exit::PortTaken,
            ServeErrorKind::DataDir => Exit::DataDir,
            ServeErrorKind::Damaged => Exit::Damaged,
            ServeErrorKind::Broken => Exit::Broken,
            ServeErrorKind::StateDamaged => Exit::StateDamaged,
            ServeErrorKind::Removed => Exit::Removed,
            ServeErrorKind::Other => Exit::Failed,
        };
        Self::new(exit, error.message, error.hint)
    }
}

/// Colours are for terminals whose user did not refuse them (see no-color.org).
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// So many of something, as in `1 key` and `2 keys`.
pub(crate) fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Why standard output took no more, unless its reader is gone: who stops reading has seen enough.
static UNSAID: OnceLock<String> = OnceLock::new();

/// Whether standard output has got anything.
static SPOKEN: AtomicBool = AtomicBool::new(false);

/// Standard output gets something otherwise than by [`say`].
pub(crate) fn speaks() {
    SPOKEN.store(true, Ordering::Relaxed);
}

/// Whether the command line asks for JSON; what stands behind `--` is another command's.
fn json_is_asked_for(mut words: impl Iterator<Item = OsString>) -> bool {
    words.by_ref().skip(1).take_while(|word| word != "--").any(|word| word == "--json")
}

/// The command line was refused with this text, which standard error has got: who asked for JSON gets it in a line.
pub(crate) fn refused_usage(text: &str) {
    if json_is_asked_for(std::env::args_os()) {
        let line = text.lines().next().unwrap_or_default();
        let message = line.strip_prefix("error: ").unwrap_or(line);
        say(&Problem::new(Exit::Usage, message, "--help says what there is").in_json().to_string());
    }
}

/// Prints a line to standard output. That it cannot be written ends nothing that is done already; [`all_said`] tells of it.
pub(crate) fn say(line: &str) {
    let _ = said(line);
}

/// The same; false where it could not be written, for those who print on and on.
pub(crate) fn said(line: &str) -> bool {
    speaks();
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    if let Err(error) = &written
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = UNSAID.set(error.to_string());
    }
    written.is_ok()
}

/// Refused where something was to be said and could not be written: no script is to take a part of it for all.
pub(crate) fn all_said() -> Result<(), Problem> {
    let Some(why) = UNSAID.get() else { return Ok(()) };
    let message = format!("standard output could not be written: {why}");
    Err(Problem::new(
        Exit::Failed,
        message,
        "what was asked for is done; only what is to be read of it is missing",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: JSON is asked for by this command's own flag, and a problem in JSON has its kind, what happened and what to do.
    #[test]
    fn a_problem_in_json() {
        let asked = |line: &str| json_is_asked_for(line.split(' ').map(OsString::from));
        assert!(asked("quorate space list --json"));
        assert!(!asked("quorate space list"));
        assert!(!asked("quorate lock a -- backup --json"));
        let problem = Problem::new(Exit::DataDir, "what", "do").in_json();
        assert_eq!(
            problem,
            json!({ "event": "failed", "kind": "data-dir", "message": "what", "hint": "do" })
        );
    }
}
