//! The forms of requests: what the service reads of a body before it judges any of it.
//!
//! It makes a structure of its own of a whole body first, so that a member of another form than its own is told before all
//! else that may be wrong with a request, however deep it lies and whatever stands before it: [`requests`] says what forms
//! there are, [`check`] holds a body against them, once. What comes behind may take them for granted. JSON's null is what was
//! not given; members that are not known are passed over.
//!
//! Doubt: of several the service tells the first in the body, and here it is the first by name.

mod requests;

use crate::body::serialization;
use crate::failure::{Answered, ApiError};
use crate::items::of_item;
use quorate_item::json;
pub(crate) use requests::of;
use serde_json::{Map, Value};

/// The form of a value.
pub(crate) enum Shape {
    Text,
    Flag,
    Integer,
    Long,
    /// A value of an attribute, with its type.
    Attribute,
    /// Such values by name: an item, a key, the values of expressions.
    Attributes,
    List(&'static Shape),
    /// By names that the request chooses.
    Map(&'static Shape),
    /// What the service calls it, and its members.
    Structure(&'static str, Members),
}

/// Members by their names.
pub(crate) type Members = &'static [(&'static str, Shape)];

/// Where a value stands: the service has other words for what stands in a list or a map.
#[derive(Clone, Copy)]
enum Place {
    Member,
    Element,
}

/// Holds the members of a structure against their forms.
pub(crate) fn check(given: &Map<String, Value>, members: Members) -> Answered<()> {
    for (name, value) in given {
        if let Some((_, shape)) = members.iter().find(|(known, _)| known == name) {
            shape.check(value, Place::Member)?;
        }
    }
    Ok(())
}

impl Shape {
    fn check(&self, value: &Value, place: Place) -> Answered<()> {
        match (self, value) {
            (_, Value::Null)
            | (Self::Text, Value::String(_))
            | (Self::Flag, Value::Bool(_))
            | (Self::Integer | Self::Long, Value::Number(_)) => Ok(()),
            (Self::Attributes, _) => json::check_map(value).map_err(of_item),
            (Self::Attribute, Value::Object(_)) => json::check_value(value).map_err(of_item),
            (Self::List(of), Value::Array(list)) => {
                list.iter().try_for_each(|value| of.check(value, Place::Element))
            }
            (Self::Map(of), Value::Object(map)) => {
                map.values().try_for_each(|value| of.check(value, Place::Element))
            }
            (Self::Structure(_, members), Value::Object(given)) => check(given, members),
            _ => Err(serialization(self.refused(value, place))),
        }
    }

    /// The error of a member that has not this form.
    pub(crate) fn refusal(&self, value: &Value) -> ApiError {
        serialization(self.refused(value, Place::Member))
    }

    /// What the service says of a value that has not this form.
    fn refused(&self, value: &Value, place: Place) -> String {
        let wanted = match self {
            Self::Text => "String",
            Self::Flag => "Boolean",
            Self::Integer => "Integer",
            Self::Long => "Long",
            _ => return self.refused_many(value, place),
        };
        let found = match value {
            Value::Array(_) => return format!("Unrecognized collection type class java.lang.{wanted}"),
            Value::Object(_) => return "Start of structure or map found where not expected".into(),
            Value::String(_) if matches!(self, Self::Flag) => {
                return "Unexpected token received from parser".into();
            }
            Value::String(_) => "STRING_VALUE",
            Value::Bool(true) => "TRUE_VALUE",
            Value::Bool(false) => "FALSE_VALUE",
            Value::Number(n) if n.is_f64() => "DECIMAL_VALUE",
            Value::Number(_) => "NUMBER_VALUE",
            Value::Null => "NULL_VALUE",
        };
        format!("{found} cannot be converted to {wanted}")
    }

    /// The same of what holds others.
    fn refused_many(&self, value: &Value, place: Place) -> String {
        let kind = if matches!(self, Self::Structure(..) | Self::Attribute) { "class " } else { "" };
        match value {
            Value::Array(_) => format!("Unrecognized collection type {kind}{}", self.class()),
            Value::Object(_) => "Start of structure or map found where not expected".into(),
            _ if !kind.is_empty() && matches!(place, Place::Element) => {
                "Unexpected value type in payload".into()
            }
            _ => "Unexpected field type".into(),
        }
    }

    /// What the service calls it.
    fn class(&self) -> String {
        let of_service = |name: &str| format!("com.amazonaws.dynamodb.v20120810.{name}");
        match self {
            Self::Text => "java.lang.String".into(),
            Self::Flag => "java.lang.Boolean".into(),
            Self::Integer => "java.lang.Integer".into(),
            Self::Long => "java.lang.Long".into(),
            Self::Attribute => of_service("AttributeValue"),
            Self::Attributes => Self::Map(&Self::Attribute).class(),
            Self::List(of) => format!("java.util.List<{}>", of.class()),
            Self::Map(of) => format!("java.util.Map<java.lang.String, {}>", of.class()),
            Self::Structure(name, _) => of_service(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Kind;
    use crate::operation::Operation;
    use serde_json::json;

    fn said(operation: Operation, body: &Value) -> String {
        match check(body.as_object().unwrap(), of(operation)) {
            Ok(()) => String::new(),
            Err(error) => {
                assert_eq!(error.kind, Kind::Serialization);
                error.message
            }
        }
    }

    /// Claim: what has another form is found wherever it lies, and told in the service's words.
    #[test]
    fn another_form_is_found_wherever_it_lies() {
        use Operation as O;
        let class = |name: &str| {
            format!("Unrecognized collection type class com.amazonaws.dynamodb.v20120810.{name}")
        };
        let not_expected = || "Start of structure or map found where not expected".to_string();
        let field = "Unexpected field type".to_string();
        let payload = "Unexpected value type in payload".to_string();
        let number = |wanted: &str| format!("NUMBER_VALUE cannot be converted to {wanted}");
        for (operation, body, text) in [
            (O::Scan, json!({ "Limit": [] }), "Unrecognized collection type class java.lang.Integer".into()),
            (O::Scan, json!({ "ConsistentRead": "x" }), "Unexpected token received from parser".into()),
            (
                O::Scan,
                json!({ "ConsistentRead": 1.5 }),
                "DECIMAL_VALUE cannot be converted to Boolean".into(),
            ),
            (O::CreateTable, json!({ "AttributeDefinitions": "x" }), field.clone()),
            (O::CreateTable, json!({ "AttributeDefinitions": ["x"] }), payload.clone()),
            (O::CreateTable, json!({ "KeySchema": [[]] }), class("KeySchemaElement")),
            (O::CreateTable, json!({ "Tags": [{ "Key": 1 }] }), number("String")),
            (O::CreateTable, json!({ "ProvisionedThroughput": 1 }), field.clone()),
            (O::CreateTable, json!({ "ProvisionedThroughput": [] }), class("ProvisionedThroughput")),
            (
                O::UpdateTable,
                json!({ "GlobalSecondaryIndexUpdates": [{ "Create": { "ProvisionedThroughput": { "ReadCapacityUnits": "1" } } }] }),
                "STRING_VALUE cannot be converted to Long".into(),
            ),
            (
                O::UpdateTable,
                json!({ "GlobalSecondaryIndexUpdates": [{ "Create": { "Projection": { "NonKeyAttributes": {} } } }] }),
                not_expected(),
            ),
            (
                O::PutItem,
                json!({ "Item": { "a": { "L": [{ "M": { "b": { "S": 1 } } }] } } }),
                number("String"),
            ),
            (O::PutItem, json!({ "Expected": { "a": { "Value": "x" } } }), field.clone()),
            (O::PutItem, json!({ "Expected": { "a": "x" } }), payload.clone()),
            (
                O::PutItem,
                json!({ "Expected": { "a": { "Exists": "x" } } }),
                "Unexpected token received from parser".into(),
            ),
            (O::Query, json!({ "KeyConditions": { "a": { "AttributeValueList": ["x"] } } }), payload.clone()),
            (O::Query, json!({ "ExpressionAttributeNames": { "#a": 1 } }), number("String")),
            (
                O::Query,
                json!({ "ExpressionAttributeNames": [] }),
                "Unrecognized collection type java.util.Map<java.lang.String, java.lang.String>".into(),
            ),
            (
                O::BatchWriteItem,
                json!({ "RequestItems": [] }),
                "Unrecognized collection type java.util.Map<java.lang.String, \
                 java.util.List<com.amazonaws.dynamodb.v20120810.WriteRequest>>"
                    .into(),
            ),
            (O::BatchWriteItem, json!({ "RequestItems": { "a": {} } }), not_expected()),
            (
                O::BatchWriteItem,
                json!({ "RequestItems": { "a": [{ "PutRequest": [] }] } }),
                class("PutRequest"),
            ),
            (
                O::BatchGetItem,
                json!({ "RequestItems": { "a": { "Keys": [{ "p": { "N": 1 } }] } } }),
                number("String"),
            ),
            (O::BatchGetItem, json!({ "RequestItems": { "a": [] } }), class("KeysAndAttributes")),
            (
                O::TransactWriteItems,
                json!({ "TransactItems": [{ "Update": { "Key": "x" } }] }),
                field.clone(),
            ),
            (
                O::TransactGetItems,
                json!({ "TransactItems": [{ "Get": { "TableName": {} } }] }),
                not_expected(),
            ),
            // What was not given, and what is not known.
            (O::CreateTable, json!({ "Tags": null, "KeySchema": [null], "Nothing": [1] }), String::new()),
        ] {
            assert_eq!(said(operation, &body), text, "{operation:?} {body}");
        }
    }
}
