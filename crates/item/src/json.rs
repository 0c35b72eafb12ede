//! DynamoDB's JSON: `{"S": "text"}`, in and out, with its errors.
//!
//! A value is read in two steps, as DynamoDB does it: first all of it must have the form of a value, or the answer is a
//! `SerializationException`; then each value must be one, or the answer is a `ValidationException`. JSON's null is what
//! was not given. Types that are not known are passed over.
//!
//! `{"NULL": false}` is refused. (Some regions took it in June 2026, and refuse it again since July.) Empty texts and
//! bytes may stand everywhere but in keys, in sets too.
//!
//! Doubts: the order in which the errors of several bad attributes of one item are told (here: by name), and how a
//! duplicate is quoted (regions differ; here without quotation marks).

use crate::base64;
use crate::error::Error;
use crate::number::Number;
use crate::value::{AttributeValue, Item, Map, NAME_SIZE, Type};
use serde_json::Value;
use std::collections::BTreeSet;

const NONE_OF_THE_TYPES: &str =
    "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
const SEVERAL_TYPES: &str = "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the \
     supported datatypes";

impl AttributeValue {
    /// From `{"S": "text"}`.
    pub fn from_json(json: Value) -> Result<Self, Error> {
        check_value(&json)?;
        value(json)
    }

    /// Appends it as JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        write_text(self.kind().name(), out);
        out.push(b':');
        match self {
            Self::S(text) => write_text(text, out),
            Self::N(number) => write_number(*number, out),
            Self::B(bytes) => write_bytes(bytes, out),
            Self::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
            Self::Null => out.extend_from_slice(b"true"),
            Self::M(map) => write_map(map, out),
            Self::L(list) => write_list(list, out, Self::write_json),
            Self::Ss(set) => write_list(set, out, |text, out| write_text(text, out)),
            Self::Ns(set) => write_list(set, out, |number, out| write_number(*number, out)),
            Self::Bs(set) => write_list(set, out, |bytes, out| write_bytes(bytes, out)),
        }
        out.push(b'}');
    }
}

impl Item {
    /// From `{"name": {"S": "text"}, …}`. Size and depth are not looked at: [`Item::check`] does.
    pub fn from_json(json: Value) -> Result<Self, Error> {
        check_map(&json)?;
        Self::from_checked(json)
    }

    /// The same of what [`check_map`] found to have the form of one. (What has not is misread, and harms nobody.)
    pub fn from_checked(json: Value) -> Result<Self, Error> {
        let mut out = Map::new();
        for (name, json) in members(json) {
            check_name(&name)?;
            out.insert(name, value(json)?);
        }
        Ok(Self(out))
    }

    /// Appends it as JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write_map(&self.0, out);
    }
}

/// Whether this has the form of names and values; `SerializationException` if not.
pub fn check_map(json: &Value) -> Result<(), Error> {
    match json {
        Value::Object(map) => map.values().try_for_each(check_value),
        Value::Null => Ok(()),
        Value::Array(_) => Err(Error::Serialization(
            "Unrecognized collection type java.util.Map<java.lang.String, \
             com.amazonaws.dynamodb.v20120810.AttributeValue>"
                .into(),
        )),
        _ => Err(Error::Serialization("Unexpected field type".into())),
    }
}

fn members(json: Value) -> serde_json::Map<String, Value> {
    match json {
        Value::Object(map) => map,
        _ => serde_json::Map::new(),
    }
}

fn elements(json: Value) -> Vec<Value> {
    match json {
        Value::Array(list) => list,
        _ => Vec::new(),
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() { Err(Error::validation("Empty attribute name")) } else { check_name_size(name) }
}

fn check_name_size(name: &str) -> Result<(), Error> {
    if name.len() < NAME_SIZE {
        return Ok(());
    }
    Err(Error::validation("Attribute name is too large, must be less than 65536 bytes"))
}

/// The form of a value, with all that stands in it.
pub fn check_value(json: &Value) -> Result<(), Error> {
    let object = match json {
        Value::Null => return Ok(()),
        Value::Object(object) => object,
        Value::Array(_) => {
            return Err(Error::Serialization(
                "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue".into(),
            ));
        }
        _ => return Err(Error::Serialization("Unexpected value type in payload".into())),
    };
    for (name, json) in object {
        match Type::named(name) {
            None => {}
            Some(Type::S | Type::N) => check_text(json)?,
            Some(Type::B) => check_bytes(json)?,
            Some(Type::Bool | Type::Null) => check_truth(json)?,
            Some(Type::M) => check_map(json)?,
            Some(Type::L) => check_list(json, check_value)?,
            Some(Type::Ss | Type::Ns) => check_list(json, check_text)?,
            Some(Type::Bs) => check_list(json, check_bytes)?,
        }
    }
    Ok(())
}

/// Whether this is a text or nothing.
pub fn check_text(json: &Value) -> Result<(), Error> {
    match json {
        Value::String(_) | Value::Null => Ok(()),
        other => Err(Error::Serialization(wrong(other, "String", "java.lang.String"))),
    }
}

fn check_truth(json: &Value) -> Result<(), Error> {
    match json {
        Value::Bool(_) | Value::Null => Ok(()),
        Value::String(_) => Err(Error::Serialization("Unexpected token received from parser".into())),
        other => Err(Error::Serialization(wrong(other, "Boolean", "java.lang.Boolean"))),
    }
}

fn check_bytes(json: &Value) -> Result<(), Error> {
    match json {
        Value::String(text) => base64::check(text).map_err(Error::Serialization),
        Value::Null => Ok(()),
        Value::Bool(_) | Value::Number(_) => {
            Err(Error::Serialization("only base-64-encoded strings are convertible to bytes".into()))
        }
        other => Err(Error::Serialization(wrong(other, "Blob", "java.nio.ByteBuffer"))),
    }
}

fn check_list(json: &Value, each: fn(&Value) -> Result<(), Error>) -> Result<(), Error> {
    match json {
        Value::Array(list) => list.iter().try_for_each(each),
        Value::Null => Ok(()),
        Value::Object(_) => {
            Err(Error::Serialization("Start of structure or map found where not expected".into()))
        }
        _ => Err(Error::Serialization("Unexpected field type".into())),
    }
}

/// What DynamoDB says where something else was expected.
fn wrong(json: &Value, expected: &str, class: &str) -> String {
    let token = match json {
        Value::Array(_) => return format!("Unrecognized collection type class {class}"),
        Value::Object(_) => return "Start of structure or map found where not expected".into(),
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(number) if number.is_f64() => "DECIMAL_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Null => "NULL_VALUE",
    };
    format!("{token} cannot be converted to {expected}")
}

/// A value whose form was checked.
pub(crate) fn value(json: Value) -> Result<AttributeValue, Error> {
    let mut found = None;
    let mut several = false;
    for (name, json) in members(json) {
        let Some(kind) = Type::named(&name) else { continue };
        if json.is_null() {
            continue;
        }
        several |= found.replace(of_type(kind, json)?).is_some();
    }
    match found {
        Some(_) if several => Err(Error::validation(SEVERAL_TYPES)),
        Some(value) => Ok(value),
        None => Err(Error::validation(NONE_OF_THE_TYPES)),
    }
}

fn of_type(kind: Type, json: Value) -> Result<AttributeValue, Error> {
    Ok(match kind {
        Type::S => AttributeValue::S(text(json)),
        Type::N => AttributeValue::N(number(json)?),
        Type::B => AttributeValue::B(bytes(json)?),
        Type::Bool => AttributeValue::Bool(json == Value::Bool(true)),
        Type::Null if json == Value::Bool(false) => {
            return Err(Error::invalid("Null attribute value types must have the value of true"));
        }
        Type::Null => AttributeValue::Null,
        Type::M => AttributeValue::M(
            members(json)
                .into_iter()
                .map(|(name, json)| {
                    check_name_size(&name)?;
                    Ok((name, value(json)?))
                })
                .collect::<Result<_, Error>>()?,
        ),
        Type::L => AttributeValue::L(elements(json).into_iter().map(value).collect::<Result<_, Error>>()?),
        Type::Ss => AttributeValue::Ss(texts(elements(json))?),
        Type::Ns => AttributeValue::Ns(numbers(elements(json))?),
        Type::Bs => AttributeValue::Bs(byte_strings(elements(json))?),
    })
}

fn text(json: Value) -> String {
    match json {
        Value::String(text) => text,
        _ => String::new(),
    }
}

fn number(json: Value) -> Result<Number, Error> {
    let text = text(json);
    Number::parse(&text).map_err(|why| Error::validation(why.message(&text)))
}

fn bytes(json: Value) -> Result<Vec<u8>, Error> {
    base64::decode(&text(json)).map_err(Error::Serialization)
}

fn texts(list: Vec<Value>) -> Result<BTreeSet<String>, Error> {
    if list.is_empty() {
        return Err(Error::invalid("An string set  may not be empty"));
    }
    if list.iter().any(Value::is_null) {
        return Err(Error::invalid("An string set may not have a null string as a member"));
    }
    let count = list.len();
    let quoted = list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let set: BTreeSet<String> = list.into_iter().map(text).collect();
    if set.len() < count {
        return Err(Error::invalid(format!("Input collection [{quoted}] contains duplicates.")));
    }
    Ok(set)
}

fn numbers(list: Vec<Value>) -> Result<BTreeSet<Number>, Error> {
    if list.is_empty() {
        return Err(Error::invalid("An number set  may not be empty"));
    }
    let count = list.len();
    let set = list.into_iter().map(number).collect::<Result<BTreeSet<Number>, Error>>()?;
    if set.len() < count { Err(Error::validation("Input collection contains duplicates")) } else { Ok(set) }
}

fn byte_strings(list: Vec<Value>) -> Result<BTreeSet<Vec<u8>>, Error> {
    if list.is_empty() {
        return Err(Error::invalid("Binary sets should not be empty"));
    }
    if list.iter().any(Value::is_null) {
        return Err(Error::invalid("Binary sets may not contain null or empty values"));
    }
    let count = list.len();
    let quoted = list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let set = list.into_iter().map(bytes).collect::<Result<BTreeSet<_>, Error>>()?;
    if set.len() < count {
        return Err(Error::invalid(format!("Input collection [{quoted}]of type BS contains duplicates.")));
    }
    Ok(set)
}

/// Appends a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain = 0;
    for (i, byte) in text.bytes().enumerate() {
        let escape: Option<&[u8]> = match byte {
            b'"' => Some(b"\\\""),
            b'\\' => Some(b"\\\\"),
            b'\n' => Some(b"\\n"),
            b'\r' => Some(b"\\r"),
            b'\t' => Some(b"\\t"),
            0..0x20 => None,
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[plain..i]);
        match escape {
            Some(escape) => out.extend_from_slice(escape),
            None => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        plain = i + 1;
    }
    out.extend_from_slice(&text.as_bytes()[plain..]);
    out.push(b'"');
}

fn write_number(number: Number, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\"{number}\"").as_bytes());
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    base64::encode(bytes, out);
    out.push(b'"');
}

fn write_map(map: &Map, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, (name, value)) in map.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        value.write_json(out);
    }
    out.push(b'}');
}

fn write_list<'a, T: 'a>(
    list: impl IntoIterator<Item = &'a T>,
    out: &mut Vec<u8>,
    each: impl Fn(&T, &mut Vec<u8>),
) {
    out.push(b'[');
    for (i, element) in list.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(element, out);
    }
    out.push(b']');
}
