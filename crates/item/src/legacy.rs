//! The parameters from before there were expressions, translated to the same forms: `Expected`, `ConditionalOperator`,
//! `AttributeUpdates`, `AttributesToGet`, `KeyConditions`, `QueryFilter`, `ScanFilter`.
//!
//! They name whole attributes: a dot in a name is a part of it. JSON's null is what was not given.
//!
//! Doubts: `NOT_CONTAINS` on an attribute that is missing or cannot contain anything holds here, as `NE` does; and the
//! order in which bad conditions on several attributes are told (here: by name).

use crate::condition::{Comparator, Condition, Operand};
use crate::error::Error;
use crate::json;
use crate::key::query::{KeyTerm, KeyTest};
use crate::key::{KeyCondition, KeySchema};
use crate::path::Path;
use crate::projection::Projection;
use crate::update::{Source, Update};
use crate::value::{AttributeValue, DEPTH, Type};
use serde_json::Value;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Operators of conditions, in the order in which DynamoDB lists them.
const OPERATORS: [&str; 13] = [
    "IN",
    "NULL",
    "BETWEEN",
    "LT",
    "NOT_CONTAINS",
    "EQ",
    "GT",
    "NOT_NULL",
    "NE",
    "LE",
    "BEGINS_WITH",
    "GE",
    "CONTAINS",
];
/// Names in `AttributesToGet`.
const NAMES: usize = 255;

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
    let mut conditions = Vec::new();
    for (name, json) in structures(expected, "ExpectedAttributeValue")? {
        let given = Given::read("expected", &name, json)?;
        conditions.push(given.expected(&name)?);
    }
    combine(conditions, operator)
}

/// `QueryFilter` or `ScanFilter` with `ConditionalOperator`.
pub fn filter(which: Filter, filter: Value, operator: Option<&str>) -> Result<Condition, Error> {
    let parameter = match which {
        Filter::Query => "queryFilter",
        Filter::Scan => "scanFilter",
    };
    let mut conditions = Vec::new();
    for (name, json) in structures(filter, "Condition")? {
        let given = Given::read(parameter, &name, json)?;
        let operator = given.needed_operator(parameter, &name)?;
        conditions.push(condition(&name, &operator, given.values.unwrap_or_default())?);
    }
    combine(conditions, operator)
}

/// `AttributeUpdates`.
pub fn updates(updates: Value) -> Result<Update, Error> {
    let mut update = Update::default();
    for (name, json) in structures(updates, "AttributeValueUpdate")? {
        let (action, value) = read_update(&name, json)?;
        let path = Path::attribute(name);
        match (action.as_str(), value) {
            ("PUT", Some(value)) => update.set.push((path, Source::Value(value))),
            ("ADD", Some(value)) if matches!(value.kind(), Type::N | Type::L) || value.kind().is_set() => {
                update.add.push((path, value));
            }
            ("ADD", Some(value)) => {
                let kind = value.kind().name();
                return Err(Error::invalid(format!("ADD action is not supported for the type {kind}")));
            }
            ("DELETE", Some(value)) if value.kind().is_set() => update.delete.push((path, value)),
            ("DELETE", Some(value)) => {
                let kind = value.kind().name();
                return Err(Error::invalid(format!(
                    "DELETE action with value is not supported for the type {kind}"
                )));
            }
            ("DELETE", None) => update.remove.push(path),
            _ => {
                return Err(Error::invalid(
                    "Only DELETE action is allowed when no attribute value is specified",
                ));
            }
        }
    }
    Ok(update)
}

/// What is told of an update that came from `AttributeUpdates`: a wrong type has another text there.
pub fn update_error(error: Error) -> Error {
    match error {
        Error::Validation(why) if why == crate::update::WRONG_TYPE => {
            Error::validation("Type mismatch for attribute to update")
        }
        other => other,
    }
}

/// `AttributesToGet`.
pub fn attributes_to_get(names: Vec<String>) -> Result<Projection, Error> {
    let constraint = |what: &str| {
        let value = names.join(", ");
        Err(Error::Validation(format!(
            "1 validation error detected: Value '[{value}]' at 'attributesToGet' failed to satisfy constraint: \
             Member must have length {what}"
        )))
    };
    match names.len() {
        0 => return constraint("greater than or equal to 1"),
        len if len > NAMES => return constraint("less than or equal to 255"),
        _ => {}
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(Error::invalid(format!("Duplicate value in attribute name: {twice}")));
    }
    Ok(Projection { paths: names.into_iter().map(Path::attribute).collect() })
}

/// `KeyConditions`, checked as far as that needs no schema.
#[derive(Clone, Debug)]
pub struct KeyConditions(Vec<(String, String, Vec<AttributeValue>)>);

impl KeyConditions {
    /// Reads them from JSON.
    pub fn read(conditions: Value) -> Result<Self, Error> {
        let parameter = "keyConditions";
        let mut given = Vec::new();
        for (name, json) in structures(conditions, "Condition")? {
            let read = Given::read(parameter, &name, json)?;
            let operator = read.needed_operator(parameter, &name)?;
            let values = read.values.unwrap_or_default();
            check_values(&operator, &values)?;
            given.push((name, operator, values));
        }
        if given.is_empty() {
            return Err(wrong_length());
        }
        Ok(Self(given))
    }

    /// What they ask for, of a table or an index with this schema.
    pub fn of(self, schema: &KeySchema) -> Result<KeyCondition, Error> {
        let Self(given) = self;
        if given.len() > 2 && schema.attributes().count() <= 2 {
            return Err(wrong_length());
        }
        let mut terms = Vec::new();
        for (name, operator, values) in given {
            terms.push(KeyTerm { name, test: key_test(&operator, values)? });
        }
        schema.query(&terms)
    }
}

fn wrong_length() -> Error {
    Error::validation("Conditions can be of length 1 or 2 only")
}

/// One condition as it was given.
#[derive(Default)]
struct Given {
    operator: Option<String>,
    values: Option<Vec<AttributeValue>>,
    value: Option<AttributeValue>,
    exists: Option<bool>,
}

impl Given {
    fn read(parameter: &str, name: &str, json: serde_json::Map<String, Value>) -> Result<Self, Error> {
        let mut given = Self::default();
        for (field, json) in json {
            match (field.as_str(), json) {
                (_, Value::Null) => {}
                ("ComparisonOperator", json) => {
                    let place = format!("{parameter}.{name}.member.comparisonOperator");
                    given.operator = Some(one_of(&place, text(&json)?, &OPERATORS)?);
                }
                ("AttributeValueList", json) => given.values = Some(values(json)?),
                ("Value", json) => given.value = Some(value(json)?),
                ("Exists", Value::Bool(exists)) => given.exists = Some(exists),
                ("Exists", _) => {
                    return Err(Error::Serialization("Unexpected token received from parser".into()));
                }
                _ => {}
            }
        }
        Ok(given)
    }

    fn needed_operator(&self, parameter: &str, name: &str) -> Result<String, Error> {
        self.operator.clone().ok_or_else(|| {
            Error::Validation(format!(
                "1 validation error detected: Value null at '{parameter}.{name}.member.comparisonOperator' failed to \
                 satisfy constraint: Member must not be null"
            ))
        })
    }

    /// What `Expected` says of an attribute.
    fn expected(self, name: &str) -> Result<Condition, Error> {
        let refuse = |why: &str| Err(Error::invalid(format!("{why} for Attribute: {name}")));
        if self.values.is_some() && self.value.is_some() {
            return refuse("Value and AttributeValueList cannot be used together");
        }
        let Some(operator) = self.operator else {
            if self.values.is_some() {
                return refuse("AttributeValueList can only be used with a ComparisonOperator");
            }
            let path = Path::attribute(name);
            return match (self.exists, self.value) {
                (None | Some(true), Some(value)) => {
                    Ok(Condition::Compare(Comparator::Eq, Operand::Path(path), Operand::Value(value)))
                }
                (Some(false), None) => Ok(Condition::NotExists(path)),
                (Some(false), Some(_)) => refuse("Value cannot be used when Exists is false"),
                (Some(true), None) => refuse("Value must be provided when Exists is true"),
                (None, None) => refuse("Value must be provided when Exists is null"),
            };
        };
        if self.exists.is_some() {
            return refuse("Exists and ComparisonOperator cannot be used together");
        }
        let values = self.values.or_else(|| self.value.map(|value| vec![value]));
        match values {
            None if operator != "NULL" && operator != "NOT_NULL" => refuse(&format!(
                "Value or AttributeValueList must be used with ComparisonOperator: {operator}"
            )),
            values => condition(name, &operator, values.unwrap_or_default()),
        }
    }
}

/// An operator with its values, on one attribute.
fn condition(name: &str, operator: &str, values: Vec<AttributeValue>) -> Result<Condition, Error> {
    check_values(operator, &values)?;
    let path = || Operand::Path(Path::attribute(name));
    let mut values = values.into_iter().map(Operand::Value);
    let mut value = || values.next().ok_or_else(|| wrong_count(operator));
    Ok(match operator {
        "NULL" => Condition::NotExists(Path::attribute(name)),
        "NOT_NULL" => Condition::Exists(Path::attribute(name)),
        "CONTAINS" => Condition::Contains(path(), value()?),
        "NOT_CONTAINS" => Condition::Not(Box::new(Condition::Contains(path(), value()?))),
        "BEGINS_WITH" => Condition::BeginsWith(path(), value()?),
        "BETWEEN" => Condition::Between(path(), value()?, value()?),
        "IN" => Condition::In(path(), values.collect()),
        other => {
            Condition::Compare(comparator(other).ok_or_else(|| wrong_count(operator))?, path(), value()?)
        }
    })
}

fn comparator(operator: &str) -> Option<Comparator> {
    Some(match operator {
        "EQ" => Comparator::Eq,
        "NE" => Comparator::Ne,
        "LT" => Comparator::Lt,
        "LE" => Comparator::Le,
        "GT" => Comparator::Gt,
        "GE" => Comparator::Ge,
        _ => return None,
    })
}

fn key_test(operator: &str, values: Vec<AttributeValue>) -> Result<KeyTest, Error> {
    let mut values = values.into_iter();
    let mut value = || values.next().ok_or_else(|| wrong_count(operator));
    Ok(match (operator, comparator(operator)) {
        ("BETWEEN", _) => KeyTest::Between(value()?, value()?),
        ("BEGINS_WITH", _) => KeyTest::BeginsWith(value()?),
        (_, Some(comparator)) if comparator != Comparator::Ne => KeyTest::Compare(comparator, value()?),
        _ => {
            return Err(Error::validation("Attempted conditional constraint is not an indexable operation"));
        }
    })
}

fn wrong_count(operator: &str) -> Error {
    Error::invalid(format!("Invalid number of argument(s) for the {operator} ComparisonOperator"))
}

/// How many values an operator takes, of which types, and in which order.
fn check_values(operator: &str, values: &[AttributeValue]) -> Result<(), Error> {
    let enough = match operator {
        "NULL" | "NOT_NULL" => values.is_empty(),
        "BETWEEN" => values.len() == 2,
        "IN" => !values.is_empty(),
        _ => values.len() == 1,
    };
    if !enough {
        return Err(wrong_count(operator));
    }
    let same = |value: &AttributeValue| values.first().is_some_and(|first| first.kind() == value.kind());
    if !values.iter().all(same) {
        return Err(Error::invalid("AttributeValues inside AttributeValueList must be of same type"));
    }
    let takes = |kind: Type| match operator {
        "EQ" | "NE" | "NULL" | "NOT_NULL" => true,
        "CONTAINS" | "NOT_CONTAINS" => !kind.is_set() && !matches!(kind, Type::M | Type::L),
        "BEGINS_WITH" => matches!(kind, Type::S | Type::B),
        _ => kind.is_ordered(),
    };
    if let Some(value) = values.iter().find(|value| !takes(value.kind())) {
        let kind = value.kind().name();
        return Err(Error::invalid(format!(
            "ComparisonOperator {operator} is not valid for {kind} AttributeValue type"
        )));
    }
    match values {
        [low, high] if operator == "BETWEEN" && low.order(high) == Some(Ordering::Greater) => {
            Err(Error::validation(
                "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound",
            ))
        }
        _ => Ok(()),
    }
}

/// The conditions on all attributes as one.
fn combine(mut conditions: Vec<Condition>, operator: Option<&str>) -> Result<Condition, Error> {
    let any = match operator {
        None => false,
        Some(operator) => {
            one_of("conditionalOperator", operator.into(), &["OR", "AND"])?;
            match conditions.len() {
                0 => {
                    return Err(Error::validation(
                        "ConditionalOperator cannot be used without Filter or Expected",
                    ));
                }
                1 => {
                    return Err(Error::validation(
                        "ConditionalOperator can only be used when Filter or Expected has two or more elements",
                    ));
                }
                _ => operator == "OR",
            }
        }
    };
    Ok(match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        last => {
            conditions.extend(last);
            if any { Condition::Any(conditions) } else { Condition::All(conditions) }
        }
    })
}

fn read_update(
    name: &str,
    json: serde_json::Map<String, Value>,
) -> Result<(String, Option<AttributeValue>), Error> {
    let (mut action, mut given) = ("PUT".to_string(), None);
    for (field, json) in json {
        match (field.as_str(), json) {
            (_, Value::Null) => {}
            ("Action", json) => {
                let place = format!("attributeUpdates.{name}.member.action");
                action = one_of(&place, text(&json)?, &["ADD", "DELETE", "PUT"])?;
            }
            ("Value", json) => given = Some(value(json)?),
            _ => {}
        }
    }
    Ok((action, given))
}

/// A value that is not nested too deep.
fn value(json: Value) -> Result<AttributeValue, Error> {
    let value = AttributeValue::from_json(json)?;
    if value.depth() > DEPTH { Err(Error::too_deep()) } else { Ok(value) }
}

fn values(json: Value) -> Result<Vec<AttributeValue>, Error> {
    match json {
        Value::Array(list) => list.into_iter().map(value).collect(),
        Value::Object(_) => {
            Err(Error::Serialization("Start of structure or map found where not expected".into()))
        }
        _ => Err(Error::Serialization("Unexpected field type".into())),
    }
}

fn text(json: &Value) -> Result<String, Error> {
    json::check_text(json)?;
    Ok(json.as_str().unwrap_or_default().to_string())
}

fn one_of(place: &str, text: String, allowed: &[&str]) -> Result<String, Error> {
    if allowed.contains(&text.as_str()) {
        return Ok(text);
    }
    let allowed = allowed.join(", ");
    Err(Error::Validation(format!(
        "1 validation error detected: Value '{text}' at '{place}' failed to satisfy constraint: Member must satisfy \
         enum value set: [{allowed}]"
    )))
}

type Structures = Vec<(String, serde_json::Map<String, Value>)>;

/// A map of structures, by the name of the attribute; `class` is what DynamoDB calls one.
fn structures(json: Value, class: &str) -> Result<Structures, Error> {
    let package = "com.amazonaws.dynamodb.v20120810";
    let wrong = Error::Serialization;
    let map = match json {
        Value::Null => return Ok(Vec::new()),
        Value::Object(map) => map,
        Value::Array(_) => {
            return Err(wrong(format!(
                "Unrecognized collection type java.util.Map<java.lang.String, {package}.{class}>"
            )));
        }
        _ => return Err(wrong("Unexpected field type".into())),
    };
    map.into_iter()
        .filter(|(_, json)| !json.is_null())
        .map(|(name, json)| match json {
            Value::Object(structure) => json::check_name(&name).map(|()| (name, structure)),
            Value::Array(_) => Err(wrong(format!("Unrecognized collection type class {package}.{class}"))),
            _ => Err(wrong("Unexpected value type in payload".into())),
        })
        .collect()
}
