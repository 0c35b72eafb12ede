//! Operations: what a process asked, what it heard, and between which two moments.

use crate::value::Value;

/// A moment of a history: the place of an event among all events, from 0.
pub type Moment = u32;

/// The response of an operation that never got one: it may take effect at any later time, or never.
pub const NEVER: Moment = u32::MAX;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, with the result that stands there.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// Nobody knows: it happened once at some time after its invocation, or never.
    Info,
}

/// One operation of a history, as it was read: `f` names what was asked, the model says what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The process, or session, that asked; after an `Info` it acts under a new number.
    pub process: u32,
    /// What was asked: a keyword.
    pub f: Value,
    /// On what; nil where the history knows one object only.
    pub key: Value,
    /// With what.
    pub argument: Value,
    /// What came back; nil unless `Ok`.
    pub result: Value,
    /// How it ended.
    pub outcome: Outcome,
    /// When it was invoked.
    pub invoked: Moment,
    /// When it returned; [`NEVER`] for `Info`.
    pub returned: Moment,
    /// The order that the system itself gave (revision, offset), where it gave one.
    pub version: Option<u64>,
}

/// An operation as an algorithm for one kind of object takes it. Operations that failed are not among them, except where the
/// failure is an observation (a compare-and-set that saw another value).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<A> {
    /// The process, or session.
    pub process: u32,
    /// When it was invoked.
    pub invoked: Moment,
    /// When it returned; [`NEVER`] while it is pending.
    pub returned: Moment,
    /// What it did.
    pub action: A,
    /// Its place in the history, for a witness.
    pub source: u32,
}

impl<A> Call<A> {
    /// True while nobody knows whether it happened.
    pub fn pending(&self) -> bool {
        self.returned == NEVER
    }

    /// True where this one returned before the other was invoked.
    pub fn precedes<B>(&self, other: &Call<B>) -> bool {
        self.returned < other.invoked
    }
}
