//! Key conditions: what a `Query` asks for, from a parsed `KeyConditionExpression` or from the older `KeyConditions`.
//!
//! Each attribute of the partition key must be equal to a value. Of the sort key the first attributes may be, without a
//! gap, and the one after them may be in a range.
//!
//! Doubts: which of several wrong things is told first (here: what is wrong with the form, then attribute by attribute
//! in the order of the schema), and whether `begins_with` an empty text is refused (here it is, as any empty key
//! value).

use super::{KeyAttribute, KeySchema, PARTITION_SIZE, SORT_SIZE, bytes};
use super::{not_empty, too_large_partition, too_large_sort};
use crate::condition::{Comparator, Condition, Operand};
use crate::error::Error;
use crate::path::Path;
use crate::value::AttributeValue;
use std::ops::Bound;

/// What a `Query` asks for: one partition, and a range of sort keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyCondition {
    /// The bytes of the partition key, as in [`Key::partition`](super::Key::partition).
    pub partition: Vec<u8>,
    /// The sort keys, as in [`Key::sort`](super::Key::sort).
    pub sort: Range,
}

/// From where to where.
pub type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl KeyCondition {
    /// Whether a sort key is in the range.
    pub fn holds(&self, sort: &[u8]) -> bool {
        let (low, high) = (bound(&self.sort.0), bound(&self.sort.1));
        std::ops::RangeBounds::<[u8]>::contains(&(low, high), sort)
    }
}

fn bound(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(bytes) => Bound::Included(bytes),
        Bound::Excluded(bytes) => Bound::Excluded(bytes),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// A condition on one attribute of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyTerm {
    /// The attribute.
    pub name: String,
    /// What must be true of it.
    pub test: KeyTest,
}

/// What must be true of an attribute of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyTest {
    /// Compared with a value; never `<>`.
    Compare(Comparator, AttributeValue),
    /// Between two values, or equal to one of them.
    Between(AttributeValue, AttributeValue),
    /// It begins with the value.
    BeginsWith(AttributeValue),
}

impl KeyTest {
    fn is_equality(&self) -> bool {
        matches!(self, Self::Compare(Comparator::Eq, _))
    }

    fn values(&self) -> Vec<&AttributeValue> {
        match self {
            Self::Compare(_, value) | Self::BeginsWith(value) => vec![value],
            Self::Between(low, high) => vec![low, high],
        }
    }
}

impl Condition {
    /// Whether a parsed `KeyConditionExpression` has the form of one, as far as that needs no schema.
    pub fn check_as_key(&self) -> Result<(), Error> {
        terms(self, &mut Vec::new())
    }
}

impl KeySchema {
    /// What a parsed `KeyConditionExpression` asks for.
    pub fn condition(&self, condition: &Condition) -> Result<KeyCondition, Error> {
        let mut parsed = Vec::new();
        terms(condition, &mut parsed)?;
        if self.attributes().count() <= 2 && parsed.len() > 2 {
            return Err(Error::validation("Conditions can be of length 1 or 2 only"));
        }
        self.query(&parsed)
    }

    /// What these conditions ask for.
    pub fn query(&self, terms: &[KeyTerm]) -> Result<KeyCondition, Error> {
        if self.sort.is_empty() && terms.len() > self.partition.len() {
            return Err(Error::validation("Query key condition not supported"));
        }
        let test =
            |attribute: &KeyAttribute| terms.iter().find(|term| term.name == attribute.name).map(|t| &t.test);
        let mut partition = Vec::new();
        let mut partition_size = 0;
        for attribute in &self.partition {
            let test = test(attribute).ok_or_else(|| missed(attribute))?;
            check_type(attribute, test)?;
            let KeyTest::Compare(Comparator::Eq, value) = test else {
                return Err(Error::validation("Query key condition not supported"));
            };
            partition_size += size(value);
            bytes::encode(value, &mut partition);
        }
        if partition_size > PARTITION_SIZE {
            return Err(too_large_partition());
        }
        self.no_gap(test)?;
        let sort_terms = self.sort.iter().filter(|attribute| test(attribute).is_some()).count();
        if terms.len() > self.partition.len() + sort_terms {
            let attribute = self.sort.iter().find(|attribute| test(attribute).is_none());
            return Err(
                attribute.map_or_else(|| Error::validation("Query key condition not supported"), missed)
            );
        }
        Ok(KeyCondition { partition, sort: self.range(test)? })
    }

    /// What the sort key must be.
    fn range<'t>(&self, test: impl Fn(&KeyAttribute) -> Option<&'t KeyTest>) -> Result<Range, Error> {
        let mut beginning = Vec::new();
        let mut sort_size = 0;
        let mut last = None;
        for attribute in &self.sort {
            let Some(test) = test(attribute) else { break };
            check_type(attribute, test)?;
            sort_size += test.values().into_iter().map(size).max().unwrap_or(0);
            match test {
                KeyTest::Compare(Comparator::Eq, value) => bytes::encode(value, &mut beginning),
                test => last = Some(test),
            }
        }
        if sort_size > SORT_SIZE {
            return Err(too_large_sort());
        }
        Ok(match last {
            None => all_with(&beginning),
            Some(test) => within(&beginning, test),
        })
    }

    /// Before a condition on an attribute of the sort key all must be equalities.
    fn no_gap<'t>(&self, test: impl Fn(&KeyAttribute) -> Option<&'t KeyTest>) -> Result<(), Error> {
        let Some(last) = self.sort.iter().rposition(|attribute| test(attribute).is_some()) else {
            return Ok(());
        };
        let loose = |a: &&KeyAttribute| !test(a).is_some_and(KeyTest::is_equality);
        let names: Vec<&str> = self.sort[..last].iter().filter(loose).map(|a| a.name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let (names, present) = (names.join(", "), &self.sort[last].name);
        Err(Error::Validation(format!(
            "RANGE key attributes {names} must have equality conditions specified in the query because a condition \
             is present on key attribute {present}"
        )))
    }
}

fn missed(attribute: &KeyAttribute) -> Error {
    Error::Validation(format!("Query condition missed key schema element: {}", attribute.name))
}

fn check_type(attribute: &KeyAttribute, test: &KeyTest) -> Result<(), Error> {
    let values = test.values();
    if values.iter().any(|value| !attribute.kind.is_of(value)) {
        return Err(Error::invalid("Condition parameter type does not match schema type"));
    }
    values.into_iter().try_for_each(|value| not_empty(&attribute.name, value))
}

fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::N(_) => 0,
        value => value.size(),
    }
}

/// All that begin with these bytes.
fn all_with(beginning: &[u8]) -> Range {
    (at(beginning.to_vec()), below_all_after(beginning))
}

fn at(bytes: Vec<u8>) -> Bound<Vec<u8>> {
    if bytes.is_empty() { Bound::Unbounded } else { Bound::Included(bytes) }
}

fn below_all_after(beginning: &[u8]) -> Bound<Vec<u8>> {
    bytes::after_all_with(beginning).map_or(Bound::Unbounded, Bound::Excluded)
}

/// Those that begin with these bytes and then have a value that passes the test.
fn within(beginning: &[u8], test: &KeyTest) -> Range {
    let with = |value: &AttributeValue| {
        let mut out = beginning.to_vec();
        bytes::encode(value, &mut out);
        out
    };
    // What has the value itself and goes on is after it, and before what comes after all with the value.
    let after = |value| bytes::after_all_with(&with(value)).map_or(Bound::Unbounded, Bound::Included);
    let (first, end) = all_with(beginning);
    match test {
        KeyTest::Compare(Comparator::Lt, value) => (first, Bound::Excluded(with(value))),
        KeyTest::Compare(Comparator::Le, value) => (first, below_all_after(&with(value))),
        KeyTest::Compare(Comparator::Gt, value) => (after(value), end),
        KeyTest::Compare(Comparator::Ge, value) => (at(with(value)), end),
        KeyTest::Compare(Comparator::Eq | Comparator::Ne, value) => all_with(&with(value)),
        KeyTest::Between(low, high) => (at(with(low)), below_all_after(&with(high))),
        KeyTest::BeginsWith(value) => {
            let mut out = beginning.to_vec();
            bytes::encode_beginning(value, &mut out);
            all_with(&out)
        }
    }
}

/// The conditions of an expression on single attributes.
fn terms(condition: &Condition, out: &mut Vec<KeyTerm>) -> Result<(), Error> {
    let (operator, operands) = match condition {
        Condition::All(list) => return list.iter().try_for_each(|condition| terms(condition, out)),
        Condition::Any(_) => return Err(bad_operator("OR")),
        Condition::Not(_) => return Err(bad_operator("NOT")),
        Condition::In(..) => return Err(bad_operator("IN")),
        Condition::Compare(Comparator::Ne, ..) => return Err(bad_operator("<>")),
        Condition::Exists(_) => return Err(bad_operator("attribute_exists")),
        Condition::NotExists(_) => return Err(bad_operator("attribute_not_exists")),
        Condition::IsType(..) => return Err(bad_operator("attribute_type")),
        Condition::Contains(..) => return Err(bad_operator("contains")),
        Condition::Compare(comparator, a, b) => (comparator.symbol(), vec![a, b]),
        Condition::Between(a, low, high) => ("BETWEEN", vec![a, low, high]),
        Condition::BeginsWith(a, b) => ("begins_with", vec![a, b]),
    };
    if operands.iter().any(|operand| matches!(operand, Operand::Size(_) | Operand::SizeInBytes(_))) {
        return Err(Error::validation("KeyConditionExpressions cannot contain nested operations"));
    }
    let named = matches!(condition, Condition::Between(..) | Condition::BeginsWith(..));
    if named && !matches!(operands[0], Operand::Path(_)) {
        return Err(bad_condition(&format!(
            "{operator} operator must have the key attribute as its first operand"
        )));
    }
    let name = only_name(&operands)?;
    if out.iter().any(|term| term.name == name) {
        return Err(Error::validation("KeyConditionExpressions must only contain one condition per key"));
    }
    let mut values = operands.iter().filter_map(|operand| match operand {
        Operand::Value(value) => Some(value.clone()),
        _ => None,
    });
    let mut value = || values.next().ok_or_else(|| bad_condition("No key attribute specified"));
    let test = match condition {
        Condition::Between(..) => KeyTest::Between(value()?, value()?),
        Condition::BeginsWith(..) => KeyTest::BeginsWith(value()?),
        Condition::Compare(comparator, Operand::Path(_), _) => KeyTest::Compare(*comparator, value()?),
        Condition::Compare(comparator, ..) => KeyTest::Compare(comparator.mirrored(), value()?),
        _ => return Err(bad_condition("No key attribute specified")),
    };
    out.push(KeyTerm { name, test });
    Ok(())
}

/// The one attribute that a condition looks at.
fn only_name(operands: &[&Operand]) -> Result<String, Error> {
    let mut found: Option<&Path> = None;
    for operand in operands {
        let Operand::Path(path) = operand else { continue };
        if found.is_some() {
            return Err(bad_condition("Multiple attribute names used in one condition"));
        }
        if !path.steps.is_empty() {
            return Err(Error::validation(
                "Invalid KeyConditionExpression: KeyConditionExpressions cannot have conditions on nested attributes",
            ));
        }
        found = Some(path);
    }
    found.map(|path| path.root.clone()).ok_or_else(|| bad_condition("No key attribute specified"))
}

fn bad_operator(operator: &str) -> Error {
    Error::Validation(format!("Invalid operator used in KeyConditionExpression: {operator}"))
}

fn bad_condition(why: &str) -> Error {
    Error::Validation(format!("Invalid condition in KeyConditionExpression: {why}"))
}
