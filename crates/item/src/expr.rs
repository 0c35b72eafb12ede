//! The texts of expressions: read with the names and values of their request, checked as DynamoDB checks them.

use crate::condition::Condition;
use crate::error::Error;
use crate::projection::Projection;
use crate::update::Update;
use crate::value::{AttributeValue, Map};
use std::collections::BTreeMap;

/// Which parameter of a request an expression stands in; its errors name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// `ConditionExpression`
    Condition,
    /// `FilterExpression`
    Filter,
    /// `KeyConditionExpression`
    KeyCondition,
    /// `UpdateExpression`
    Update,
    /// `ProjectionExpression`
    Projection,
}

/// The expressions of one request. The names and values are shared by them; each must be used by one.
///
/// Read the expressions in DynamoDB's order (update, condition; key condition, filter, projection), then
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct Expressions {
    names: Option<BTreeMap<String, String>>,
    values: Option<BTreeMap<String, AttributeValue>>,
}

impl Expressions {
    /// With `ExpressionAttributeNames` and `ExpressionAttributeValues`, as far as they were given.
    /// A name that does not begin with `#`, or a value that does not begin with `:`, is refused.
    pub fn new(names: Option<BTreeMap<String, String>>, values: Option<Map>) -> Result<Self, Error> {
        Ok(Self { names, values })
    }

    /// A `ConditionExpression` or a `FilterExpression`, or a `KeyConditionExpression` for
    /// [`KeySchema::condition`](crate::KeySchema::condition).
    pub fn condition(&mut self, place: Use, text: &str) -> Result<Condition, Error> {
        let _ = (place, text, &self.names, &self.values);
        unimplemented!()
    }

    /// An `UpdateExpression`.
    pub fn update(&mut self, text: &str) -> Result<Update, Error> {
        let _ = text;
        unimplemented!()
    }

    /// A `ProjectionExpression`.
    pub fn projection(&mut self, text: &str) -> Result<Projection, Error> {
        let _ = text;
        unimplemented!()
    }

    /// All names and values must have been used.
    pub fn finish(self) -> Result<(), Error> {
        unimplemented!()
    }
}
