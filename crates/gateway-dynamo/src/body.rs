//! The body of a request: JSON members by name and type. Their forms were looked at before, all at once ([`crate::shape`]).

use crate::failure::{Answered, ApiError, Kind};
use crate::shape::Shape;
use bytes::Bytes;
use serde_json::{Map, Value};

/// The members of one object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params<'a>(pub(crate) &'a Map<String, Value>);

/// Parses a body.
pub(crate) fn parse(body: &Bytes) -> Answered<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(serialization("Unexpected field type")),
        // Values that are nested so deep may be well formed; whether they are is not looked at.
        Err(error) if error.to_string().starts_with("recursion limit") => Err(ApiError::validation(
            "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit",
        )),
        // Nothing of what a stranger sent is repeated.
        Err(_) => Err(serialization("")),
    }
}

/// What was sent has another form than the protocol's.
pub(crate) fn serialization(text: impl Into<String>) -> ApiError {
    ApiError::new(Kind::Serialization, text)
}

impl<'a> Params<'a> {
    /// A member, if it is there and not null.
    pub(crate) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn text(self, name: &str) -> Answered<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Shape::Text.refusal(other)),
        }
    }

    pub(crate) fn flag(self, name: &str) -> Answered<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(Shape::Flag.refusal(other)),
        }
    }

    pub(crate) fn number(self, name: &str) -> Answered<Option<i64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(n)) => match n.as_i64() {
                Some(n) => Ok(Some(n)),
                // A fraction is cut off, as the service does.
                None => Ok(n.as_f64().map(|n| n as i64)),
            },
            Some(other) => Err(Shape::Integer.refusal(other)),
        }
    }

    pub(crate) fn object(self, name: &str) -> Answered<Option<Params<'a>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Params(members))),
            Some(Value::Array(_)) => {
                Err(serialization("Unrecognized collection type class java.util.LinkedHashMap"))
            }
            Some(_) => Err(serialization("Unexpected field type")),
        }
    }

    pub(crate) fn list(self, name: &str) -> Answered<Option<&'a Vec<Value>>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(elements)) => Ok(Some(elements)),
            Some(Value::Object(_)) => {
                Err(serialization("Start of structure or map found where not expected"))
            }
            Some(_) => Err(serialization("Unexpected field type")),
        }
    }

    /// A list of objects.
    pub(crate) fn objects(self, name: &str) -> Answered<Option<Vec<Params<'a>>>> {
        let Some(list) = self.list(name)? else { return Ok(None) };
        list.iter().map(object).collect::<Answered<_>>().map(Some)
    }

    /// A list of texts.
    pub(crate) fn texts(self, name: &str) -> Answered<Option<Vec<String>>> {
        let Some(list) = self.list(name)? else { return Ok(None) };
        list.iter().map(|value| text(value).map(String::from)).collect::<Answered<_>>().map(Some)
    }
}

/// A value that must be an object.
pub(crate) fn object(value: &Value) -> Answered<Params<'_>> {
    match value {
        Value::Object(members) => Ok(Params(members)),
        _ => Err(serialization("Unexpected field type")),
    }
}

/// A value that must be a text.
pub(crate) fn text(value: &Value) -> Answered<&str> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(Shape::Text.refusal(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_of_another_type_are_told_as_the_service_tells_them() {
        let value = json!({ "t": 1, "n": "1", "f": [], "o": "x", "null": null });
        let params = object(&value).unwrap();
        let said = |e: Answered<String>| e.unwrap_err().message;
        assert_eq!(
            said(params.text("t").map(|_| String::new())),
            "NUMBER_VALUE cannot be converted to String"
        );
        assert_eq!(
            said(params.number("n").map(|_| String::new())),
            "STRING_VALUE cannot be converted to Integer"
        );
        assert_eq!(
            said(params.flag("f").map(|_| String::new())),
            "Unrecognized collection type class java.lang.Boolean"
        );
        assert_eq!(said(params.object("o").map(|_| String::new())), "Unexpected field type");
        assert!(params.text("null").unwrap().is_none() && !params.has("null"));
        assert!(parse(&Bytes::from_static(b"[]")).is_err() && parse(&Bytes::from_static(b"{")).is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(&deep.into()).is_err());
    }
}
