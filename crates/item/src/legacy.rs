//! The parameters from before there were expressions, translated to the same forms: `Expected`, `ConditionalOperator`,
//! `AttributeUpdates`, `AttributesToGet`, `KeyConditions`, `QueryFilter`, `ScanFilter`.

use crate::condition::Condition;
use crate::error::Error;
use crate::key::{KeyCondition, KeySchema};
use crate::projection::Projection;
use crate::update::Update;
use serde_json::Value;

/// Which parameter a condition stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filter {
    /// `QueryFilter`
    Query,
    /// `ScanFilter`
    Scan,
}

/// `Expected` with `ConditionalOperator` (`AND` if it is not given).
pub fn expected(expected: Value, operator: Option<&str>) -> Result<Condition, Error> {
    let _ = (expected, operator);
    unimplemented!()
}

/// `QueryFilter` or `ScanFilter` with `ConditionalOperator`.
pub fn filter(which: Filter, filter: Value, operator: Option<&str>) -> Result<Condition, Error> {
    let _ = (which, filter, operator);
    unimplemented!()
}

/// `AttributeUpdates`.
pub fn updates(updates: Value) -> Result<Update, Error> {
    let _ = updates;
    unimplemented!()
}

/// `AttributesToGet`.
pub fn attributes_to_get(names: Vec<String>) -> Result<Projection, Error> {
    let _ = names;
    unimplemented!()
}

/// `KeyConditions`, for a table or an index with this schema.
pub fn key_conditions(conditions: Value, schema: &KeySchema) -> Result<KeyCondition, Error> {
    let _ = (conditions, schema);
    unimplemented!()
}
