//! Items, their bytes and what requests say about them, as tables and as properties.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]
#![allow(clippy::doc_markdown, reason = "DynamoDB is a name, not code")]

mod conditions;
mod expressions;
mod garbage;
mod keys;
mod legacy;
mod numbers;
mod projections;
mod random;
mod updates;
mod values;

use quorate_item::{AttributeValue, Condition, Error, Expressions, Item, Use};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// An item as a test writes it.
#[allow(clippy::needless_pass_by_value, reason = "tests hand over what json! makes")]
fn item(json: Value) -> Item {
    Item::from_json(json).unwrap()
}

/// An item as JSON.
fn shown(item: &Item) -> Value {
    let mut out = Vec::new();
    item.write_json(&mut out);
    serde_json::from_slice(&out).unwrap()
}

fn value(json: Value) -> AttributeValue {
    AttributeValue::from_json(json).unwrap()
}

/// Names and values that the tables use: `#a` is `a`, `:s` a text, `:n` a number and so on.
fn expressions() -> Expressions {
    static GIVEN: LazyLock<Expressions> = LazyLock::new(given);
    GIVEN.clone()
}

fn given() -> Expressions {
    let names = json!({"#a": "a", "#b": "b", "#name": "name", "#dot": "a.b"});
    let values = json!({
        ":s": {"S": "text"}, ":t": {"S": "te"}, ":e": {"S": ""},
        ":n": {"N": "5"}, ":m": {"N": "7"}, ":one": {"N": "1"},
        ":b": {"B": "AQI="}, ":bool": {"BOOL": true}, ":null": {"NULL": true},
        ":l": {"L": [{"S": "text"}, {"N": "5"}]}, ":map": {"M": {"k": {"N": "5"}}}, ":none": {"L": []},
        ":ss": {"SS": ["text", "x"]}, ":ns": {"NS": ["5", "6"]}, ":bs": {"BS": ["AQI="]},
        ":S": {"S": "S"}, ":L": {"S": "L"}, ":Q": {"S": "Q"},
    });
    Expressions::from_json(Some(names), Some(values)).unwrap()
}

fn condition(text: &str) -> Result<Condition, Error> {
    expressions().condition(Use::Condition, text)
}
