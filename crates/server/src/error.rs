//! Why a node does not serve, for people and for programs.

use std::fmt;

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

    pub(crate) fn damaged(message: &str) -> Self {
        Self::new(
            ServeErrorKind::Damaged,
            message,
            "nothing was changed; keep a copy of the directory, then start the node with an empty one under a new id, \
             or restore it from a backup",
        )
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ServeError {}
