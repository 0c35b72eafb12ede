//! Items of a table, and what DynamoDB's requests say about them: read, checked, evaluated, encoded.
//!
//! The way through the files: [`number`] (38 digits, exact) → [`value`] ([`AttributeValue`], [`Item`], sizes, depth) →
//! [`json`] (DynamoDB's JSON in and out) and [`codec`] (the bytes in the log and in the state) → [`path`] → [`expr`] (the
//! texts of expressions become [`Condition`], [`Update`], [`Projection`]) and [`legacy`] (the older parameters become the
//! same) → [`key`] (the schema, its checks, keys as ordered bytes, key conditions).
//!
//! All of it is pure. Texts are parsed at the door, once; the parsed form is what is encoded into the log, so that what
//! is applied does not depend on a parser. What is encoded is read back with all its limits checked.

#![allow(clippy::doc_markdown, reason = "DynamoDB is a name, not code")]

mod base64;
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
