//! The parameters from before there were expressions.

use crate::{item, shown};
use quorate_item::legacy::{
    Filter, KeyConditions, attributes_to_get, expected, filter, update_error, updates,
};
use quorate_item::{Error, Item, KeyAttribute, KeySchema, KeyType};
use serde_json::{Value, json};

fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => "taken".into(),
        Err(wrong) => wrong.message().to_string(),
    }
}

/// Claim: a filter and an `Expected` hold as DynamoDB says, on this item.
#[test]
fn conditions_hold() {
    let item = item(json!({
        "s": {"S": "hello"}, "n": {"N": "5"}, "ss": {"SS": ["a", "b"]}, "l": {"L": [{"S": "a"}]}, "a.b": {"S": "dotted"},
    }));
    let table = [
        ("s", "EQ", json!([{"S": "hello"}]), true),
        ("s", "NE", json!([{"S": "hello"}]), false),
        ("gone", "NE", json!([{"S": "x"}]), true),
        ("n", "LT", json!([{"N": "6"}]), true),
        ("n", "LE", json!([{"N": "4"}]), false),
        ("n", "GT", json!([{"N": "4"}]), true),
        ("n", "GE", json!([{"N": "5.0"}]), true),
        ("n", "GE", json!([{"S": "5"}]), false),
        ("n", "BETWEEN", json!([{"N": "5"}, {"N": "6"}]), true),
        ("n", "IN", json!([{"N": "1"}, {"N": "5"}]), true),
        ("s", "BEGINS_WITH", json!([{"S": "he"}]), true),
        ("s", "CONTAINS", json!([{"S": "ell"}]), true),
        ("ss", "CONTAINS", json!([{"S": "b"}]), true),
        ("l", "CONTAINS", json!([{"S": "a"}]), true),
        ("ss", "NOT_CONTAINS", json!([{"S": "c"}]), true),
        ("s", "NOT_CONTAINS", json!([{"S": "ell"}]), false),
        ("s", "NULL", json!([]), false),
        ("gone", "NULL", json!(null), true),
        ("s", "NOT_NULL", json!(null), true),
        ("a.b", "EQ", json!([{"S": "dotted"}]), true),
    ];
    for (name, operator, values, holds) in table {
        let json = json!({name: {"ComparisonOperator": operator, "AttributeValueList": values}});
        for condition in [filter(Filter::Scan, json.clone(), None), expected(json.clone(), None)] {
            assert_eq!(condition.map(|c| c.holds(Some(&item))), Ok(holds), "{json}");
        }
    }
    let table = [
        (json!({"s": {"Value": {"S": "hello"}}}), None, true),
        (json!({"s": {"Exists": true, "Value": {"S": "x"}}}), None, false),
        (json!({"s": {"Exists": false}}), None, false),
        (json!({"gone": {"Exists": false}}), None, true),
        (json!({"s": {"ComparisonOperator": "GT", "Value": {"S": "h"}}}), None, true),
        (json!({"s": {"Exists": false}, "gone": {"Exists": false}}), Some("OR"), true),
        (json!({"s": {"Exists": false}, "gone": {"Exists": false}}), Some("AND"), false),
        (json!({"s": {"Exists": false}, "gone": {"Exists": false}}), None, false),
        (json!({}), None, true),
        (json!(null), None, true),
    ];
    for (json, operator, holds) in table {
        assert_eq!(expected(json.clone(), operator).map(|c| c.holds(Some(&item))), Ok(holds), "{json}");
    }
}

/// Claim: wrong conditions are refused in DynamoDB's words.
#[test]
fn wrong_conditions() {
    let invalid = "One or more parameter values were invalid: ";
    let table = [
        (json!({"a": {}}), format!("{invalid}Value must be provided when Exists is null for Attribute: a")),
        (json!({"a": {"Exists": true}}), format!("{invalid}Value must be provided when Exists is true for Attribute: a")),
        (json!({"a": {"Exists": false, "Value": {"S": "x"}}}), format!("{invalid}Value cannot be used when Exists is false for Attribute: a")),
        (json!({"a": {"AttributeValueList": []}}), format!("{invalid}AttributeValueList can only be used with a ComparisonOperator for Attribute: a")),
        (json!({"a": {"AttributeValueList": [], "Value": {"S": "x"}}}), format!("{invalid}Value and AttributeValueList cannot be used together for Attribute: a")),
        (json!({"a": {"Exists": true, "ComparisonOperator": "NULL"}}), format!("{invalid}Exists and ComparisonOperator cannot be used together for Attribute: a")),
        (json!({"a": {"ComparisonOperator": "EQ"}}), format!("{invalid}Value or AttributeValueList must be used with ComparisonOperator: EQ for Attribute: a")),
        (json!({"a": {"ComparisonOperator": "EQ", "AttributeValueList": []}}), format!("{invalid}Invalid number of argument(s) for the EQ ComparisonOperator")),
        (json!({"a": {"ComparisonOperator": "BETWEEN", "AttributeValueList": [{"N": "1"}]}}), format!("{invalid}Invalid number of argument(s) for the BETWEEN ComparisonOperator")),
        (json!({"a": {"ComparisonOperator": "NULL", "AttributeValueList": [{"N": "1"}]}}), format!("{invalid}Invalid number of argument(s) for the NULL ComparisonOperator")),
        (json!({"a": {"ComparisonOperator": "IN", "AttributeValueList": [{"N": "1"}, {"S": "1"}]}}), format!("{invalid}AttributeValues inside AttributeValueList must be of same type")),
        (json!({"a": {"ComparisonOperator": "LT", "AttributeValueList": [{"SS": ["a"]}]}}), format!("{invalid}ComparisonOperator LT is not valid for SS AttributeValue type")),
        (json!({"a": {"ComparisonOperator": "BEGINS_WITH", "AttributeValueList": [{"N": "1"}]}}), format!("{invalid}ComparisonOperator BEGINS_WITH is not valid for N AttributeValue type")),
        (json!({"a": {"ComparisonOperator": "BETWEEN", "AttributeValueList": [{"N": "2"}, {"N": "1"}]}}), "The BETWEEN condition was provided a range where the lower bound is greater than the upper bound".into()),
        (json!({"a": {"ComparisonOperator": "LIKE"}}), "1 validation error detected: Value 'LIKE' at 'expected.a.member.comparisonOperator' failed to satisfy constraint: Member must satisfy enum value set: [IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL, NE, LE, BEGINS_WITH, GE, CONTAINS]".into()),
        (json!({"a": {"Value": {"N": "x"}}}), "The parameter cannot be converted to a numeric value: x".into()),
        (json!({"a": 5}), "Unexpected value type in payload".into()),
        (json!([]), "Unrecognized collection type java.util.Map<java.lang.String, com.amazonaws.dynamodb.v20120810.ExpectedAttributeValue>".into()),
        (json!({"a": {"ComparisonOperator": 5}}), "NUMBER_VALUE cannot be converted to String".into()),
        (json!({"a": {"ComparisonOperator": "EQ", "AttributeValueList": {}}}), "Start of structure or map found where not expected".into()),
    ];
    for (json, why) in table {
        assert_eq!(told(expected(json.clone(), None)), why, "{json}");
    }
    let none = json!({"a": {}});
    assert_eq!(
        told(filter(Filter::Query, none, None)),
        "1 validation error detected: Value null at 'queryFilter.a.member.comparisonOperator' failed to satisfy \
         constraint: Member must not be null"
    );
    let one = json!({"a": {"Exists": false}});
    assert_eq!(
        told(expected(one.clone(), Some("OR"))),
        "ConditionalOperator can only be used when Filter or Expected has two or more elements"
    );
    assert_eq!(
        told(expected(json!(null), Some("AND"))),
        "ConditionalOperator cannot be used without Filter or Expected"
    );
    assert_eq!(
        told(expected(one, Some("XOR"))),
        "1 validation error detected: Value 'XOR' at 'conditionalOperator' failed to satisfy constraint: Member must \
         satisfy enum value set: [OR, AND]"
    );
}

/// Claim: `AttributeUpdates` change an item as the actions say.
#[test]
fn updates_change() {
    let before = json!({"id": {"S": "k"}, "n": {"N": "1"}, "ss": {"SS": ["a", "b"]}, "l": {"L": [{"S": "x"}]}, "gone": {"S": "x"}});
    let given = json!({
        "n": {"Action": "ADD", "Value": {"N": "9"}},
        "ss": {"Action": "DELETE", "Value": {"SS": ["b"]}},
        "l": {"Action": "ADD", "Value": {"L": [{"S": "y"}]}},
        "gone": {"Action": "DELETE"},
        "new": {"Value": {"S": "v"}},
        "a.b": {"Action": "PUT", "Value": {"S": "dotted"}},
    });
    let updated = updates(given).unwrap().apply(Some(&item(before)), &Item::default()).unwrap();
    let after = json!({
        "id": {"S": "k"}, "n": {"N": "10"}, "ss": {"SS": ["a"]}, "l": {"L": [{"S": "x"}, {"S": "y"}]}, "new": {"S": "v"},
        "a.b": {"S": "dotted"},
    });
    assert_eq!(shown(&updated.item.unwrap()), after);
    let mismatch = updates(json!({"s": {"Action": "ADD", "Value": {"N": "1"}}})).unwrap();
    let error = mismatch.apply(Some(&item(json!({"s": {"S": "x"}}))), &Item::default()).map_err(update_error);
    assert_eq!(told(error), "Type mismatch for attribute to update");
    let invalid = "One or more parameter values were invalid: ";
    let table = [
        (json!({"a": {}}), format!("{invalid}Only DELETE action is allowed when no attribute value is specified")),
        (json!({"a": {"Action": "ADD"}}), format!("{invalid}Only DELETE action is allowed when no attribute value is specified")),
        (json!({"a": {"Action": "ADD", "Value": {"S": "x"}}}), format!("{invalid}ADD action is not supported for the type S")),
        (json!({"a": {"Action": "DELETE", "Value": {"N": "1"}}}), format!("{invalid}DELETE action with value is not supported for the type N")),
        (json!({"a": {"Action": "SET", "Value": {"N": "1"}}}), "1 validation error detected: Value 'SET' at 'attributeUpdates.a.member.action' failed to satisfy constraint: Member must satisfy enum value set: [ADD, DELETE, PUT]".into()),
        (json!({"a": {"Value": {}}}), "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes".into()),
        (json!({"a": []}), "Unrecognized collection type class com.amazonaws.dynamodb.v20120810.AttributeValueUpdate".into()),
    ];
    for (json, why) in table {
        assert_eq!(told(updates(json.clone())), why, "{json}");
    }
}

/// Claim: `AttributesToGet` names attributes, each once.
#[test]
fn names() {
    let get = |names: &[&str]| attributes_to_get(names.iter().map(ToString::to_string).collect());
    let item = item(json!({"a": {"S": "x"}, "a.b": {"S": "y"}, "c": {"S": "z"}}));
    assert_eq!(
        shown(&get(&["a.b", "a", "gone"]).unwrap().of(&item)),
        json!({"a": {"S": "x"}, "a.b": {"S": "y"}})
    );
    let constraint =
        "1 validation error detected: Value '[]' at 'attributesToGet' failed to satisfy constraint: ";
    assert_eq!(told(get(&[])), format!("{constraint}Member must have length greater than or equal to 1"));
    assert_eq!(
        told(get(&["a", "b", "a"])),
        "One or more parameter values were invalid: Duplicate value in attribute name: a"
    );
    assert!(told(get(&["a"; 256])).ends_with("Member must have length less than or equal to 255"));
}

/// Claim: `KeyConditions` ask for what an expression would.
#[test]
fn keys() {
    let attribute = |name: &str, kind| KeyAttribute { name: name.into(), kind };
    let schema = KeySchema::new(attribute("pk", KeyType::S), Some(attribute("sk", KeyType::N)));
    let one =
        |operator: &str, values: Value| json!({"ComparisonOperator": operator, "AttributeValueList": values});
    let pk = || one("EQ", json!([{"S": "p"}]));
    let table = [
        (json!({"pk": pk()}), "pk = :p"),
        (json!({"pk": pk(), "sk": one("EQ", json!([{"N": "1"}]))}), "pk = :p AND sk = :1"),
        (json!({"pk": pk(), "sk": one("LT", json!([{"N": "1"}]))}), "pk = :p AND sk < :1"),
        (json!({"pk": pk(), "sk": one("GE", json!([{"N": "1"}]))}), "pk = :p AND :1 <= sk"),
        (
            json!({"pk": pk(), "sk": one("BETWEEN", json!([{"N": "1"}, {"N": "2"}]))}),
            "pk = :p AND sk BETWEEN :1 AND :2",
        ),
    ];
    for (json, text) in table {
        let values = json!({":p": {"S": "p"}, ":1": {"N": "1"}, ":2": {"N": "2"}});
        let mut given = quorate_item::Expressions::from_json(None, Some(values)).unwrap();
        let condition = given.condition(quorate_item::Use::KeyCondition, text).unwrap();
        assert_eq!(
            KeyConditions::read(json).and_then(|given| given.of(&schema)),
            schema.condition(&condition),
            "{text}"
        );
    }
    let table = [
        (json!({}), "Conditions can be of length 1 or 2 only"),
        (json!({"pk": pk(), "sk": pk(), "x": pk()}), "Conditions can be of length 1 or 2 only"),
        (json!({"sk": one("EQ", json!([{"N": "1"}]))}), "Query condition missed key schema element: pk"),
        (
            json!({"pk": one("NE", json!([{"S": "p"}]))}),
            "Attempted conditional constraint is not an indexable operation",
        ),
        (json!({"pk": one("GT", json!([{"S": "p"}]))}), "Query key condition not supported"),
        (
            json!({"pk": one("EQ", json!([{"N": "1"}]))}),
            "One or more parameter values were invalid: Condition parameter type does not match schema type",
        ),
        (
            json!({"pk": one("EQ", json!([]))}),
            "One or more parameter values were invalid: Invalid number of argument(s) for the EQ ComparisonOperator",
        ),
        (
            json!({"pk": {}}),
            "1 validation error detected: Value null at 'keyConditions.pk.member.comparisonOperator' failed to satisfy constraint: Member must not be null",
        ),
    ];
    for (json, why) in table {
        assert_eq!(
            told(KeyConditions::read(json.clone()).and_then(|given| given.of(&schema))),
            why,
            "{json}"
        );
    }
}
