//! What a client is to do, and how it ended.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One operation of a workload.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Op {
    /// What: `read`, `write`, `cas` and so on; the door and the judge know them.
    pub(crate) f: String,
    /// On what; null where a workload has one object.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) key: Value,
    /// With what.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) value: Value,
}

impl Op {
    /// An operation.
    pub(crate) fn new(f: &str, key: impl Into<Value>, value: impl Into<Value>) -> Self {
        Self { f: f.into(), key: key.into(), value: value.into() }
    }
}

/// What is known of an operation's end.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// Nobody knows.
    Info,
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    /// What is known.
    pub(crate) kind: Kind,
    /// The result; null where there is none.
    pub(crate) value: Value,
    /// The order that the system gave: a revision.
    pub(crate) version: Option<i64>,
    /// Why it failed, or why nobody knows. A failure without an error tells something of the object.
    pub(crate) error: Option<String>,
}

impl Ended {
    /// It happened.
    pub(crate) fn ok(value: impl Into<Value>, version: Option<i64>) -> Self {
        Self { kind: Kind::Ok, value: value.into(), version, error: None }
    }

    /// It did not happen because of what it met.
    pub(crate) fn refused(version: Option<i64>) -> Self {
        Self { kind: Kind::Fail, value: Value::Null, version, error: None }
    }

    /// It did not happen because of an error.
    pub(crate) fn failed(error: impl Into<String>) -> Self {
        Self { kind: Kind::Fail, value: Value::Null, version: None, error: Some(error.into()) }
    }

    /// Nobody knows.
    pub(crate) fn unknown(error: impl Into<String>) -> Self {
        Self { kind: Kind::Info, value: Value::Null, version: None, error: Some(error.into()) }
    }
}
