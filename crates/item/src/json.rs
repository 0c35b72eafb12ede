//! DynamoDB's JSON: `{"S": "text"}`, in and out, with its errors.

use crate::error::Error;
use crate::value::{AttributeValue, Item, Map};
use serde_json::Value;

impl AttributeValue {
    /// From `{"S": "text"}`.
    pub fn from_json(json: Value) -> Result<Self, Error> {
        let _ = json;
        unimplemented!()
    }

    /// Appends it as JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let _ = out;
        unimplemented!()
    }
}

impl Item {
    /// From `{"name": {"S": "text"}, …}`, with the limits of an item's size and depth not looked at.
    pub fn from_json(json: Value) -> Result<Self, Error> {
        map(json).map(Item)
    }

    /// Appends it as JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let _ = out;
        unimplemented!()
    }
}

/// Names and values, as in `ExpressionAttributeValues`.
pub fn map(json: Value) -> Result<Map, Error> {
    let _ = json;
    unimplemented!()
}
