//! Items of a table, and what DynamoDB's requests say about them: read, checked, evaluated, encoded.
//!
//! The way through the files: [`number`] (38 digits, exact) → [`value`] ([`AttributeValue`], [`Item`], sizes, depth) →
//! [`json`] (DynamoDB's JSON in and out) and [`codec`] (the bytes in the log and in the state) → [`path`] → [`expr`]
//! (the texts of expressions become [`Condition`], [`Update`], [`Projection`]) and [`legacy`] (the older parameters
//! become the same) → [`key`] (the schema, its checks, keys as ordered bytes, key conditions).
//!
//! All of it is pure. Texts are parsed at the door, once; the parsed form is what is encoded into the log, so that what
//! is applied does not depend on a parser. What is encoded is read back with all its limits checked.
//!
//! A door reads a request like this, and a machine applies what came of it:
//!
//! ```
//! use quorate_item::{Codec, Condition, Expressions, Item, KeyAttribute, KeySchema, KeyType, Update, Use};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let schema = KeySchema::new(KeyAttribute { name: "id".into(), kind: KeyType::S }, None);
//! let key = Item::from_json(json!({"id": {"S": "cart-7"}}))?;
//! let bytes = schema.key_of(&key)?.bytes();
//!
//! let names = json!({"#c": "count"});
//! let values = json!({":one": {"N": "1"}, ":max": {"N": "9"}});
//! let mut given = Expressions::from_json(Some(names), Some(values))?;
//! let update = given.update("ADD #c :one")?;
//! let condition = given.condition(Use::Condition, "attribute_not_exists(#c) OR #c < :max")?;
//! given.finish()?;
//! update.spares_key(&schema)?;
//! let (update, condition) = (update.encode(), condition.encode());
//!
//! let stored: Option<Item> = None; // what stands at `bytes`
//! if Condition::decode(&condition)?.holds(stored.as_ref()) {
//!     let updated = Update::decode(&update)?.apply(stored.as_ref(), &key)?;
//!     let mut json = Vec::new();
//!     updated.new.write_json(&mut json);
//!     assert_eq!(json, br#"{"count":{"N":"1"}}"#);
//! }
//! # assert_eq!(bytes, b"cart-7\0\x01");
//! # Ok(())
//! # }
//! ```

#![allow(clippy::doc_markdown, reason = "DynamoDB is a name, not code")]

pub mod base64;
pub mod codec;
pub mod condition;
pub mod error;
pub mod expr;
pub mod json;
pub mod key;
pub mod legacy;
pub mod number;
pub mod path;
pub mod projection;
pub mod update;
pub mod value;

pub use codec::{Codec, Malformed};
pub use condition::{Comparator, Condition, Operand};
pub use error::Error;
pub use expr::{Expressions, Use, check_parameters};
pub use key::{Key, KeyAttribute, KeyCondition, KeySchema, KeyTerm, KeyType};
pub use number::Number;
pub use path::{Path, Step};
pub use projection::Projection;
pub use update::{Source, Update, Updated};
pub use value::{AttributeValue, Item, Type};
