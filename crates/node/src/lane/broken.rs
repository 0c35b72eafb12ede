//! Why a node stops of itself.

use quorate_storage::state::{StateError, StateErrorKind};

/// Why a node cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// In words.
    pub why: String,
    /// What about the state failed, if it was the state: a damaged one must be set aside by the next start.
    pub state: Option<StateErrorKind>,
}

impl Broken {
    /// The journal failed, or a promise was broken.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), state: None }
    }

    /// The state failed.
    pub fn state(doing: &str, error: &StateError) -> Self {
        let newer = error.kind == StateErrorKind::Newer;
        let why = if newer { error.to_string() } else { format!("{doing} failed: {error}") };
        Self { why, state: Some(error.kind) }
    }
}
