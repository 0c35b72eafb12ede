//! Values: JSON in and out, what is no value, sizes and depths, bytes.

use crate::{item, random, shown, value};
use quorate_base::Rng;
use quorate_item::value::{DEPTH, ITEM_SIZE};
use quorate_item::{AttributeValue, Codec, Error, Item};
use serde_json::{Value, json};

/// Claim: each type comes back from JSON as it went, sets in order.
#[test]
fn json_comes_back() {
    let table = [
        (json!({"S": "é\"\\\n\u{1}"}), None),
        (json!({"S": ""}), None),
        (json!({"N": "1.50"}), Some(json!({"N": "1.5"}))),
        (json!({"B": "AQID"}), None),
        (json!({"B": ""}), None),
        (json!({"BOOL": false}), None),
        (json!({"NULL": true}), None),
        (json!({"M": {"b": {"S": "x"}, "a": {"L": []}}}), None),
        (json!({"L": [{"N": "1"}, {"M": {}}]}), None),
        (json!({"SS": ["b", "a", ""]}), Some(json!({"SS": ["", "a", "b"]}))),
        (json!({"NS": ["10", "9.0"]}), Some(json!({"NS": ["9", "10"]}))),
        (json!({"BS": ["Ag==", "AQ=="]}), Some(json!({"BS": ["AQ==", "Ag=="]}))),
        (json!({"S": "x", "Q": 5, "N": null}), Some(json!({"S": "x"}))),
    ];
    for (given, answered) in table {
        let shown = shown(&item(json!({"a": given})));
        assert_eq!(shown, json!({"a": answered.unwrap_or(given)}));
    }
}

/// Claim: what is no value is refused in DynamoDB's words.
#[test]
fn what_is_no_value() {
    let invalid = "One or more parameter values were invalid: ";
    let more = "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes";
    let none = "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
    let table = [
        (json!({}), none.to_string()),
        (json!({"X": "y"}), none.into()),
        (json!({"S": null}), none.into()),
        (json!(null), none.into()),
        (json!({"L": [null]}), none.into()),
        (json!({"M": {"a": {}}}), none.into()),
        (json!({"S": "a", "N": "1"}), more.into()),
        (json!({"S": "a", "N": "b"}), "The parameter cannot be converted to a numeric value: b".into()),
        (json!({"N": ""}), "The parameter cannot be converted to a numeric value".into()),
        (json!({"NS": ["1", "x"]}), "The parameter cannot be converted to a numeric value: x".into()),
        (
            json!({"N": "1E126"}),
            "Number overflow. Attempting to store a number with magnitude larger than supported range".into(),
        ),
        (
            json!({"N": "1E-131"}),
            "Number underflow. Attempting to store a number with magnitude smaller than supported range"
                .into(),
        ),
        (
            json!({"N": "1.23456789012345678901234567890123456789"}),
            "Attempting to store more than 38 significant digits in a Number".into(),
        ),
        (json!({"NULL": false}), format!("{invalid}Null attribute value types must have the value of true")),
        (json!({"SS": []}), format!("{invalid}An string set  may not be empty")),
        (json!({"NS": []}), format!("{invalid}An number set  may not be empty")),
        (json!({"BS": []}), format!("{invalid}Binary sets should not be empty")),
        (
            json!({"SS": ["a", null]}),
            format!("{invalid}An string set may not have a null string as a member"),
        ),
        (json!({"SS": ["a", "a"]}), format!("{invalid}Input collection [a, a] contains duplicates.")),
        (json!({"NS": ["1", "1.0"]}), "Input collection contains duplicates".into()),
        (
            json!({"BS": ["Yg==", "Yg=="]}),
            format!("{invalid}Input collection [Yg==, Yg==]of type BS contains duplicates."),
        ),
        (json!({"L": [{"S": "a"}, {"SS": []}]}), format!("{invalid}An string set  may not be empty")),
    ];
    for (json, why) in table {
        assert_eq!(AttributeValue::from_json(json.clone()), Err(Error::Validation(why)), "{json}");
    }
}

/// Claim: what has not the form of a value is a serialization error, before any value is looked at.
#[test]
fn what_has_not_the_form() {
    let no_struct = "Start of structure or map found where not expected";
    let table = [
        (json!({"S": 5}), "NUMBER_VALUE cannot be converted to String"),
        (json!({"S": 5.5}), "DECIMAL_VALUE cannot be converted to String"),
        (json!({"N": true}), "TRUE_VALUE cannot be converted to String"),
        (json!({"N": 5}), "NUMBER_VALUE cannot be converted to String"),
        (json!({"S": false}), "FALSE_VALUE cannot be converted to String"),
        (json!({"S": []}), "Unrecognized collection type class java.lang.String"),
        (json!({"S": {}}), no_struct),
        (json!({"B": 5}), "only base-64-encoded strings are convertible to bytes"),
        (json!({"B": []}), "Unrecognized collection type class java.nio.ByteBuffer"),
        (json!({"B": "23456"}), "Base64 encoded length is expected a multiple of 4 bytes but found: 5"),
        (json!({"BOOL": "true"}), "Unexpected token received from parser"),
        (json!({"BOOL": 1}), "NUMBER_VALUE cannot be converted to Boolean"),
        (json!({"NULL": []}), "Unrecognized collection type class java.lang.Boolean"),
        (json!({"SS": "a"}), "Unexpected field type"),
        (json!({"SS": {}}), no_struct),
        (json!({"NS": [1]}), "NUMBER_VALUE cannot be converted to String"),
        (json!({"L": {}}), no_struct),
        (json!({"L": ["a"]}), "Unexpected value type in payload"),
        (
            json!({"M": []}),
            "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.AttributeValue>",
        ),
        (json!({"M": {"a": 5}}), "Unexpected value type in payload"),
        (json!({"M": {"a": {"SS": []}, "b": {"S": 1}}}), "NUMBER_VALUE cannot be converted to String"),
        (json!([]), "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValue"),
        (json!("x"), "Unexpected value type in payload"),
    ];
    for (json, why) in table {
        assert_eq!(AttributeValue::from_json(json.clone()), Err(Error::Serialization(why.into())), "{json}");
    }
    let names = [
        (json!({"": {"S": "x"}}), "Empty attribute name"),
        (
            json!({"x".repeat(65536): {"S": "x"}}),
            "Attribute name is too large, must be less than 65536 bytes",
        ),
        (
            json!({"a": {"M": {"x".repeat(65536): {"S": "x"}}}}),
            "Attribute name is too large, must be less than 65536 bytes",
        ),
    ];
    for (json, why) in names {
        assert_eq!(Item::from_json(json), Err(Error::Validation(why.into())));
    }
    assert!(Item::from_json(json!({"x".repeat(65535): {"S": "x"}})).is_ok());
}

/// Claim: sizes are counted as DynamoDB counts them.
#[test]
fn sizes() {
    let table = [
        (json!({"ab": {"S": "é"}}), 2 + 2),
        (json!({"a": {"B": "AQID"}}), 1 + 3),
        (json!({"a": {"BOOL": true}, "b": {"NULL": true}}), 4),
        (json!({"a": {"L": []}}), 1 + 3),
        (json!({"a": {"M": {}}}), 1 + 3),
        (json!({"a": {"L": [{"S": "x"}, {"S": "y"}]}}), 1 + 3 + 2 * (1 + 1)),
        (json!({"a": {"M": {"k": {"S": "x"}}}}), 1 + 3 + 1 + 1 + 1),
        (json!({"a": {"SS": ["x", "yz"]}}), 1 + 3),
        (json!({"a": {"NS": ["1", "22"]}}), 1 + 4),
        (json!({"a": {"BS": ["AQ=="]}}), 1 + 1),
    ];
    for (json, size) in table {
        assert_eq!(item(json.clone()).size(), size, "{json}");
    }
}

/// Claim: an item of exactly 400 KB and of 32 levels may be put, a byte or a level more may not.
#[test]
fn limits() {
    let sized = |size: usize| item(json!({"pk": {"S": "x"}, "d": {"S": "x".repeat(size - 4)}}));
    assert_eq!(sized(ITEM_SIZE).size(), ITEM_SIZE);
    assert_eq!(sized(ITEM_SIZE).check(), Ok(()));
    assert_eq!(
        sized(ITEM_SIZE + 1).check(),
        Err(Error::Validation("Item size has exceeded the maximum allowed size".into()))
    );
    let deep = |wraps: usize| {
        let leaf = json!({"S": "leaf"});
        let json: Value = (0..wraps).fold(leaf, |inner, _| json!({"M": {"n": inner}}));
        item(json!({"a": json}))
    };
    assert_eq!(deep(DEPTH - 1).check(), Ok(()));
    assert_eq!(
        deep(DEPTH).check(),
        Err(Error::Validation(
            "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond \
             supported limit"
                .into()
        ))
    );
}

/// Claim: values and items come back from their bytes and from JSON, 3,000 of them from a seed.
#[test]
fn bytes_come_back() {
    let mut rng = Rng::stream(2, "values");
    for _ in 0..3_000 {
        let item = random::item(&mut rng);
        assert_eq!(Item::decode(&item.encode()), Ok(item.clone()));
        assert_eq!(Item::from_json(shown(&item)), Ok(item));
        let value = random::value(&mut rng, 3);
        assert_eq!(AttributeValue::decode(&value.encode()), Ok(value));
    }
}

/// Claim: the bytes of an item are those recorded here; a change of them is a new version.
#[test]
fn the_format_is_recorded() {
    let json = json!({
        "b": {"B": "AQI="}, "l": {"L": [{"BOOL": true}, {"NULL": true}]}, "m": {"M": {"k": {"N": "-12.5"}}},
        "n": {"N": "0"}, "ns": {"NS": ["1E100", "3"]}, "s": {"S": "x"}, "ss": {"SS": ["a", "b"]},
    });
    let bytes = item(json.clone()).encode();
    let recorded = include_str!("item-v1.hex").trim();
    let byte = |at: usize| u8::from_str_radix(&recorded[at..at + 2], 16).unwrap();
    assert_eq!(bytes, (0..recorded.len()).step_by(2).map(byte).collect::<Vec<_>>());
    assert_eq!(Item::decode(&bytes), Ok(item(json)));
    assert_eq!(AttributeValue::decode(&value(json!({"S": "x"})).encode()), Ok(value(json!({"S": "x"}))));
}
