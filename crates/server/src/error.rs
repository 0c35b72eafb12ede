//! Why a node does not serve, for people and for programs.

use quorate_node::boot;
use quorate_storage::journal::JournalError;
use std::fmt;

const ROOM: &str =
    "nothing was changed; the data directory must be on a disk with room that this user may write";
const OTHER_RELEASE: &str = "nothing was changed; start the program of the release that wrote it";
const ALONE: &str = "nothing was changed; keep a copy of the directory. `quorate doctor` lists what is damaged; `quorate snapshot restore` begins \
                     anew with the newest snapshot, in an empty directory";
const ROOM_OR_NEWER: &str = "nothing was changed; if a newer program wrote it, start that one; else the data directory must \
                             be on a disk with room that this user may write";

/// The class, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeErrorKind {
    /// The configuration makes no sense.
    Config,
    /// A port is taken.
    PortTaken,
    /// The data directory is in use, or of another node or cluster.
    DataDir,
    /// What is on the disk is damaged beyond what this node may repair alone.
    Damaged,
    /// The disk failed while serving.
    Broken,
    /// The state failed a read while serving: the next start sets it aside and fetches it from the peers.
    StateDamaged,
    /// The node was removed from its cluster.
    Removed,
    /// Anything else.
    Other,
}

/// What happened and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeError {
    /// The class.
    pub kind: ServeErrorKind,
    /// What happened.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl ServeError {
    /// An error of `kind`.
    pub fn new(kind: ServeErrorKind, message: impl Into<String>, hint: &str) -> Self {
        Self { kind, message: message.into(), hint: hint.to_string() }
    }

    /// The journal does not open.
    pub(crate) fn of_journal(error: &JournalError) -> Self {
        let (kind, hint) = match error {
            JournalError::Disk(_) => (ServeErrorKind::DataDir, ROOM),
            JournalError::Foreign { .. } => {
                (ServeErrorKind::DataDir, "choose this node's own data directory")
            }
            JournalError::Version { .. } => (ServeErrorKind::DataDir, OTHER_RELEASE),
            JournalError::Damaged(_) | JournalError::Poisoned => return Self::damaged(&error.to_string()),
        };
        Self::new(kind, error.to_string(), hint)
    }

    /// Journal and state do not come to a node.
    pub(crate) fn of_boot(error: &boot::Error) -> Self {
        match error {
            boot::Error::Journal(error) => Self::of_journal(error),
            // Not damage: the disk refused, or a newer release wrote it.
            boot::Error::State(error) if !error.damaged() => {
                Self::new(ServeErrorKind::DataDir, error.to_string(), ROOM_OR_NEWER)
            }
            boot::Error::Alone { .. } => Self::new(ServeErrorKind::Damaged, error.to_string(), ALONE),
            _ => Self::damaged(&error.to_string()),
        }
    }

    pub(crate) fn damaged(message: &str) -> Self {
        Self::new(
            ServeErrorKind::Damaged,
            message,
            "nothing was changed; keep a copy of the directory. Where all other nodes are up and serve, start this one with an \
             empty directory: they say what else is to be done",
        )
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ServeError {}
