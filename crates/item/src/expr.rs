//! The texts of expressions: read with the names and values of their request, checked as DynamoDB checks them.
//!
//! A text becomes tokens (`lexer`), the tokens a tree (`parser`), the tree is checked without its names and values
//! (`placement`) and then with them, when it becomes what is evaluated (`resolve`, `overlap`). Each step takes time
//! in proportion to the text, which has 4 KB at most; depth is bounded, and no text makes a panic.
//!
//! The texts and the order of the errors are DynamoDB's as far as they are known from its documentation and from what
//! others saw of it; those of an expression begin with `Invalid ConditionExpression: ` and the like. Doubts:
//!
//! - Some regions put `1 validation error detected: ` before these texts; here nothing is.
//! - Whether the words of updates and conditions are taken for names in other expressions; here they never are.
//! - `list_append` in `list_append` is refused, as the service does it; in `if_not_exists` it is taken.
//! - An expression of blanks alone is a syntax error here, not an empty one.
//! - The number of a request's operators is counted per expression, calls included, and told as 301 whatever it is.

mod lexer;
mod overlap;
mod parser;
mod placement;
mod reserved;
mod resolve;
mod tree;

use crate::condition::Condition;
use crate::error::Error;
use crate::json;
use crate::projection::Projection;
use crate::update::Update;
use crate::value::{AttributeValue, DEPTH, Map};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An expression has at most this many bytes.
const TEXT_SIZE: usize = 4096;
/// What the names and values of an expression come to, in bytes, with their placeholders.
const SUBSTITUTED_SIZE: usize = 2 << 20;
/// What an expression's names and values come to where each counts as often as the text names it: each time is a copy. (The
/// paths that an update writes to are made twice.)
const COPIED_SIZE: usize = 3 * SUBSTITUTED_SIZE;
/// A placeholder has at most this many bytes.
const PLACEHOLDER_SIZE: usize = 255;

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

impl Use {
    /// The name of the parameter.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Condition => "ConditionExpression",
            Self::Filter => "FilterExpression",
            Self::KeyCondition => "KeyConditionExpression",
            Self::Update => "UpdateExpression",
            Self::Projection => "ProjectionExpression",
        }
    }
}

/// The expressions of one request. The names and values are shared by them; each must be used by one.
///
/// Read the expressions in DynamoDB's order (update, condition; filter, projection, key condition), then
/// [`finish`](Self::finish).
#[derive(Clone, Debug, Default)]
pub struct Expressions {
    names: BTreeMap<String, String>,
    values: Map,
    used_names: BTreeSet<String>,
    /// With their sizes.
    used_values: BTreeMap<String, usize>,
    /// What the expression that is read substitutes, in bytes; what several use counts in the first.
    substituted: usize,
    /// The same with each name and value counted as often as it is copied.
    copied: usize,
}

impl Expressions {
    /// With `ExpressionAttributeNames` and `ExpressionAttributeValues`, as far as they were given.
    /// A name that does not begin with `#`, or a value that does not begin with `:`, is refused.
    pub fn new(names: Option<BTreeMap<String, String>>, values: Option<Map>) -> Result<Self, Error> {
        if let Some(names) = &names {
            check_placeholders("ExpressionAttributeNames", '#', names.keys())?;
            for (placeholder, name) in names {
                if let Some(why) = bad_name(name) {
                    return Err(Error::Validation(format!(
                        "ExpressionAttributeNames contains invalid value: {why} for key {placeholder}"
                    )));
                }
            }
        }
        if let Some(values) = &values {
            check_placeholders("ExpressionAttributeValues", ':', values.keys())?;
            if values.values().any(|value| value.depth() > DEPTH) {
                return Err(Error::too_deep());
            }
        }
        Ok(Self { names: names.unwrap_or_default(), values: values.unwrap_or_default(), ..Self::default() })
    }

    /// The same from JSON.
    pub fn from_json(names: Option<Value>, values: Option<Value>) -> Result<Self, Error> {
        check_names(names.as_ref().unwrap_or(&Value::Null))?;
        json::check_map(values.as_ref().unwrap_or(&Value::Null))?;
        Self::from_checked(names, values)
    }

    /// The same of what has the form of both: texts, and what [`json::check_map`] takes.
    pub fn from_checked(names: Option<Value>, values: Option<Value>) -> Result<Self, Error> {
        let names = names.and_then(|names| match names {
            Value::Object(names) => Some(names),
            _ => None,
        });
        let names = names.map(|names| {
            let text = |name: Value| name.as_str().unwrap_or_default().to_string();
            names.into_iter().map(|(placeholder, name)| (placeholder, text(name))).collect()
        });
        // The placeholders of both are looked at before any value is.
        if let Some(Value::Object(values)) = &values {
            Self::new(names.clone(), None)?;
            check_placeholders("ExpressionAttributeValues", ':', values.keys())?;
        }
        let values = match values {
            Some(Value::Object(values)) => Some(read_values(values)?),
            _ => None,
        };
        Self::new(names, values)
    }

    /// A `ConditionExpression` or a `FilterExpression`, or a `KeyConditionExpression` for
    /// [`KeySchema::condition`](crate::KeySchema::condition).
    pub fn condition(&mut self, place: Use, text: &str) -> Result<Condition, Error> {
        self.parsed(place, text, |this| {
            let raw = parser::condition(text)?;
            placement::condition(&raw)?;
            this.resolve_condition(&raw)
        })
    }

    /// An `UpdateExpression`.
    pub fn update(&mut self, text: &str) -> Result<Update, Error> {
        self.parsed(Use::Update, text, |this| {
            let sections = parser::update(text)?;
            placement::update(&sections)?;
            let actions: Vec<_> = sections.into_iter().flat_map(|section| section.actions).collect();
            this.resolve_update(&actions)
        })
    }

    /// A `ProjectionExpression`.
    pub fn projection(&mut self, text: &str) -> Result<Projection, Error> {
        self.parsed(Use::Projection, text, |this| {
            let raw = parser::projection(text)?;
            placement::projection(&raw)?;
            Ok(Projection { paths: this.resolve_paths(&raw)? })
        })
    }

    /// All names and values must have been used.
    pub fn finish(self) -> Result<(), Error> {
        unused("ExpressionAttributeNames", self.names.keys(), |name| self.used_names.contains(name))?;
        unused("ExpressionAttributeValues", self.values.keys(), |name| self.used_values.contains_key(name))
    }

    fn parsed<T>(
        &mut self,
        place: Use,
        text: &str,
        parse: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, Error> {
        (self.substituted, self.copied) = (0, 0);
        let mut result = match text.len() {
            0 => Err("The expression can not be empty;".into()),
            1..=TEXT_SIZE => parse(self),
            size => {
                Err(format!("Expression size has exceeded the maximum allowed size; expression size: {size}"))
            }
        };
        if self.substituted > SUBSTITUTED_SIZE {
            result = Err(format!(
                "The size of the expression's names and values has exceeded the maximum allowed size of 2 MB; size: {}",
                self.substituted
            ));
        } else if self.copied > COPIED_SIZE {
            result = Err(format!(
                "The expression's names and values, each counted as often as it is used, have exceeded the maximum \
                 allowed size of 6 MB; size: {}",
                self.copied
            ));
        }
        result.map_err(|why| Error::Validation(format!("Invalid {}: {why}", place.parameter())))
    }

    /// The name that a placeholder stands for. What is refused for its size is not copied before, as often as the text names it.
    fn defined_name(&mut self, placeholder: &str) -> Option<String> {
        let name = self.names.get(placeholder)?;
        self.copied = self.copied.saturating_add(name.len());
        Some(if self.copied > COPIED_SIZE { String::new() } else { name.clone() })
    }

    fn use_name(&mut self, placeholder: &str) {
        if self.used_names.insert(placeholder.to_string()) {
            let name = self.names.get(placeholder).map_or(0, String::len);
            self.substituted = self.substituted.saturating_add(placeholder.len() + name);
        }
    }

    fn use_value(&mut self, placeholder: &str) -> Option<AttributeValue> {
        let value = self.values.get(placeholder)?;
        let size = if let Some(size) = self.used_values.get(placeholder) {
            *size
        } else {
            let size = placeholder.len() + value.size();
            self.used_values.insert(placeholder.to_string(), size);
            self.substituted = self.substituted.saturating_add(size);
            size
        };
        self.copied = self.copied.saturating_add(size);
        let refused = self.substituted > SUBSTITUTED_SIZE || self.copied > COPIED_SIZE;
        Some(if refused { AttributeValue::Null } else { value.clone() })
    }
}

/// Refuses parameters that may not stand together. `expressions` and `others` are names of parameters and whether they
/// were given: the expressions that the operation has, and the older parameters that do the same. `names` and `values`
/// say whether `ExpressionAttributeNames` and `ExpressionAttributeValues` were given.
pub fn check_parameters(
    expressions: &[(&str, bool)],
    others: &[(&str, bool)],
    names: bool,
    values: bool,
) -> Result<(), Error> {
    let given = |list: &[(&str, bool)]| -> Vec<String> {
        list.iter().filter(|(_, given)| *given).map(|(name, _)| (*name).to_string()).collect()
    };
    let (new, mut old) = (given(expressions), given(others));
    // The older form of the key condition may stand beside new filters.
    if !new.iter().any(|name| name == Use::KeyCondition.parameter()) {
        old.retain(|name| name != "KeyConditions");
    }
    if !new.is_empty() && !old.is_empty() {
        return Err(Error::Validation(format!(
            "Can not use both expression and non-expression parameters in the same request: Non-expression \
             parameters: {{{}}} Expression parameters: {{{}}}",
            old.join(", "),
            new.join(", ")
        )));
    }
    if names && new.is_empty() {
        return Err(Error::validation(
            "ExpressionAttributeNames can only be specified when using expressions",
        ));
    }
    let with_values: Vec<_> =
        expressions.iter().filter(|(name, _)| *name != Use::Projection.parameter()).collect();
    if values && with_values.iter().all(|(_, given)| !given) {
        let list = with_values.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and ");
        let are = if with_values.len() > 1 { "are" } else { "is" };
        return Err(Error::Validation(format!(
            "ExpressionAttributeValues can only be specified when using expressions: {list} {are} null"
        )));
    }
    Ok(())
}

fn check_names(names: &Value) -> Result<(), Error> {
    match names {
        Value::Object(names) => names.values().try_for_each(json::check_text),
        Value::Null => Ok(()),
        Value::Array(_) => Err(Error::Serialization(
            "Unrecognized collection type java.util.Map<java.lang.String, java.lang.String>".into(),
        )),
        _ => Err(Error::Serialization("Unexpected field type".into())),
    }
}

fn read_values(values: serde_json::Map<String, Value>) -> Result<Map, Error> {
    let mut out = Map::new();
    for (placeholder, value) in values {
        let value = json::value(value).map_err(|why| match why {
            Error::Validation(why) => Error::Validation(format!(
                "ExpressionAttributeValues contains invalid value: {why} for key {placeholder}"
            )),
            other @ Error::Serialization(_) => other,
        })?;
        out.insert(placeholder, value);
    }
    Ok(out)
}

fn check_placeholders<'a>(
    parameter: &str,
    mark: char,
    placeholders: impl ExactSizeIterator<Item = &'a String>,
) -> Result<(), Error> {
    if placeholders.len() == 0 {
        return Err(Error::Validation(format!("{parameter} must not be empty")));
    }
    for placeholder in placeholders {
        let size = placeholder.len();
        if size > PLACEHOLDER_SIZE {
            return Err(Error::Validation(format!(
                "{parameter} contains invalid key: The expression attribute map contains a key that is too long; size \
                 of key: {size}"
            )));
        }
        let word = placeholder.strip_prefix(mark).unwrap_or_default();
        if word.is_empty() || !word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(Error::Validation(format!(
                "{parameter} contains invalid key: Syntax error; key: \"{placeholder}\""
            )));
        }
    }
    Ok(())
}

fn bad_name(name: &str) -> Option<&'static str> {
    match name.len() {
        0 => Some("Empty attribute name"),
        len if len >= crate::value::NAME_SIZE => {
            Some("Attribute name is too large, must be less than 65536 bytes")
        }
        _ => None,
    }
}

fn unused<'a>(
    parameter: &str,
    given: impl ExactSizeIterator<Item = &'a String>,
    used: impl Fn(&String) -> bool,
) -> Result<(), Error> {
    let count = given.len();
    let mut left: Vec<&str> = given.filter(|key| !used(key)).map(String::as_str).collect();
    if left.is_empty() {
        return Ok(());
    }
    left.sort_by_key(|key| bucket(key, count));
    let keys = left.join(", ");
    Err(Error::Validation(format!("Value provided in {parameter} unused in expressions: keys: {{{keys}}}")))
}

/// DynamoDB lists several keys in the order of a Java hash set, and programs' tests quote it: the bucket of a key in a
/// set that was made for `count` keys.
fn bucket(key: &str, count: usize) -> u32 {
    let hash =
        key.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    let buckets = (count * 4 / 3 + 1).max(16).next_power_of_two();
    (hash ^ hash >> 16) & (buckets as u32 - 1)
}
