//! Keys: what an item's must be, their bytes, what a query asks for.

use crate::{item, random, value};
use quorate_base::Rng;
use quorate_item::key::bytes::{after_all_with, encode};
use quorate_item::{
    AttributeValue, Codec, Condition, Error, Expressions, Item, KeyAttribute, KeySchema, KeyType, Use,
};
use serde_json::{Value, json};

fn attribute(name: &str, kind: KeyType) -> KeyAttribute {
    KeyAttribute { name: name.into(), kind }
}

fn schema() -> KeySchema {
    KeySchema::new(attribute("pk", KeyType::S), Some(attribute("sk", KeyType::N)))
}

/// One partition attribute, three of the sort key.
fn wide() -> KeySchema {
    let sort = [("a", KeyType::S), ("b", KeyType::N), ("c", KeyType::B)];
    KeySchema {
        partition: vec![attribute("h", KeyType::S)],
        sort: sort.map(|(name, kind)| attribute(name, kind)).to_vec(),
    }
}

fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => "taken".into(),
        Err(wrong) => wrong.message().to_string(),
    }
}

/// Claim: an item that is put has the key, of the right types and sizes.
#[test]
fn of_items() {
    let invalid = "One or more parameter values were invalid: ";
    let empty = "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty";
    let table = [
        (json!({"pk": {"S": "x"}, "sk": {"N": "1"}, "o": {"S": ""}}), "taken".to_string()),
        (json!({"sk": {"N": "1"}}), format!("{invalid}Missing the key pk in the item")),
        (json!({"pk": {"S": "x"}}), format!("{invalid}Missing the key sk in the item")),
        (
            json!({"pk": {"N": "1"}, "sk": {"N": "1"}}),
            format!("{invalid}Type mismatch for key pk expected: S actual: N"),
        ),
        (
            json!({"pk": {"S": "x"}, "sk": {"BOOL": true}}),
            format!("{invalid}Type mismatch for key sk expected: N actual: BOOL"),
        ),
        (json!({"pk": {"S": ""}, "sk": {"N": "1"}}), format!("{empty} string value. Key: pk")),
        (json!({"pk": {"S": "x".repeat(2048)}, "sk": {"N": "1"}}), "taken".into()),
        (
            json!({"pk": {"S": "x".repeat(2049)}, "sk": {"N": "1"}}),
            format!("{invalid}Size of hashkey has exceeded the maximum size limit of2048 bytes"),
        ),
    ];
    for (json, why) in table {
        assert_eq!(told(schema().key_of_item(&item(json.clone()))), why, "{json}");
    }
    let bytes = KeySchema::new(attribute("pk", KeyType::B), Some(attribute("sk", KeyType::S)));
    let keyed = |pk: &str, sk: &str| item(json!({"pk": {"B": pk}, "sk": {"S": sk}}));
    assert_eq!(told(bytes.key_of_item(&keyed("", "x"))), format!("{empty} binary value. Key: pk"));
    assert_eq!(told(bytes.key_of(&keyed("AQ==", ""))), format!("{empty} string value. Key: sk"));
    assert_eq!(told(bytes.key_of(&keyed("AQ==", &"x".repeat(1024)))), "taken");
    assert_eq!(
        told(bytes.key_of(&keyed("AQ==", &"x".repeat(1025)))),
        format!("{invalid}Aggregated size of all range keys has exceeded the size limit of 1024 bytes")
    );
}

/// Claim: a `Key` has exactly the attributes of the schema.
#[test]
fn of_keys() {
    let mismatch = "The provided key element does not match the schema";
    let table = [
        (json!({"pk": {"S": "x"}, "sk": {"N": "1"}}), "taken"),
        (json!({"pk": {"S": "x"}}), mismatch),
        (json!({}), mismatch),
        (json!({"pk": {"S": "x"}, "sk": {"N": "1"}, "o": {"S": "x"}}), mismatch),
        (json!({"pk": {"S": "x"}, "o": {"N": "1"}}), mismatch),
        (json!({"pk": {"S": "x"}, "sk": {"S": "1"}}), mismatch),
    ];
    for (json, why) in table {
        assert_eq!(told(schema().key_of(&item(json.clone()))), why, "{json}");
    }
    let keyed = item(json!({"pk": {"S": "x"}, "sk": {"N": "1"}, "o": {"S": "x"}}));
    let only = schema().only_key(&keyed);
    assert_eq!(only, item(json!({"pk": {"S": "x"}, "sk": {"N": "1"}})));
    let key = schema().key_of(&only).unwrap();
    assert_eq!(schema().key_of_item(&keyed).unwrap(), key);
    assert_eq!(schema().values(&key), Some(only));
    assert_eq!(KeySchema::decode(&wide().encode()), Ok(wide()));
}

/// Claim: an item is in an index if it has all of its attributes, and may have none of another type.
#[test]
fn of_indexes() {
    let whole = json!({"h": {"S": "x"}, "a": {"S": "a"}, "b": {"N": "1"}, "c": {"B": "AQ=="}});
    assert!(wide().index_key(&item(whole.clone())).is_some());
    for name in ["h", "a", "b", "c"] {
        let mut part = whole.clone();
        part.as_object_mut().unwrap().remove(name);
        assert_eq!(wide().index_key(&item(part.clone())), None);
        assert_eq!(wide().check_index("i", &item(part)), Ok(()));
    }
    let wrong = item(json!({"b": {"S": "1"}}));
    assert_eq!(
        told(wide().check_index("i", &wrong)),
        "One or more parameter values were invalid: Type mismatch for Index Key b Expected: N Actual: S IndexName: i"
    );
    assert_eq!(
        told(wide().check_index_updated(None, &wrong)),
        "The update expression attempted to update the secondary index key to unsupported type"
    );
    let large = item(json!({"h": {"S": "x".repeat(2049)}}));
    assert_eq!(
        told(wide().check_index("i", &large)),
        "One or more parameter values were invalid: Size limit exceeded for Index Key h Actual Size: 2049 bytes Max Size: \
         2048 bytes IndexName: i"
    );
    assert_eq!(
        told(wide().check_index_updated(None, &large)),
        "The update expression attempted to update the secondary index key beyond allowed size limits"
    );
    assert_eq!(
        told(wide().check_index_updated(None, &item(json!({"a": {"S": ""}})))),
        "One or more parameter values are not valid. The update expression attempted to update a secondary index key to a \
         value that is not supported. The AttributeValue for a key attribute cannot contain an empty string value."
    );
    assert_eq!(
        told(wide().check_index("i", &item(json!({"a": {"S": ""}})))),
        "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The \
         AttributeValue for a key attribute cannot contain an empty string value. IndexName: i, IndexKey: a"
    );
    // What was there before the index is not in it, and may stay beside what is changed.
    for (name, value) in
        [("b", json!({"S": "1"})), ("h", json!({"S": "x".repeat(2049)})), ("a", json!({"S": ""}))]
    {
        let mut old = whole.clone();
        old[name] = value;
        assert_eq!(wide().index_key(&item(old.clone())), None, "{name}");
        let mut new = old.clone();
        new["z"] = json!({"N": "1"});
        assert_eq!(wide().check_index_updated(Some(&item(old)), &item(new.clone())), Ok(()));
        assert!(wide().check_index_updated(Some(&item(whole.clone())), &item(new)).is_err(), "{name}");
    }
}

fn parsed(text: &str) -> Result<Condition, Error> {
    let values = json!({
        ":p": {"S": "p"}, ":q": {"S": "q"}, ":e": {"S": ""}, ":1": {"N": "1"}, ":2": {"N": "2"}, ":9": {"N": "9"},
        ":b": {"B": "AQ=="}, ":long": {"S": "x".repeat(2049)},
    });
    Expressions::from_json(None, Some(values))?.condition(Use::KeyCondition, text)
}

/// Claim: each wrong key condition is refused in DynamoDB's words.
#[test]
fn wrong_conditions() {
    let bad = "Invalid condition in KeyConditionExpression: ";
    let operator = "Invalid operator used in KeyConditionExpression: ";
    let missed = "Query condition missed key schema element: ";
    let no = "Query key condition not supported";
    let kind =
        "One or more parameter values were invalid: Condition parameter type does not match schema type";
    let table = [
        ("pk = :p", "taken".to_string()),
        ("pk = :p AND sk = :1", "taken".into()),
        (":1 <= sk AND :p = pk", "taken".into()),
        ("(pk = :p AND (sk BETWEEN :1 AND :2))", "taken".into()),
        ("sk = :1", format!("{missed}pk")),
        ("o1 = :p", format!("{missed}pk")),
        ("pk = :p AND o1 = :1", format!("{missed}sk")),
        ("pk = :p AND sk = :1 AND o1 = :1", "Conditions can be of length 1 or 2 only".into()),
        ("pk > :p", no.into()),
        ("begins_with(pk, :p)", no.into()),
        ("pk = :1", kind.into()),
        ("pk = :p AND sk = :q", kind.into()),
        ("pk = :p AND begins_with(sk, :q)", kind.into()),
        ("pk = :e", "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: pk".into()),
        ("pk = :long", "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes".into()),
        ("pk = :p OR sk = :1", format!("{operator}OR")),
        ("pk = :p AND NOT sk = :1", format!("{operator}NOT")),
        ("pk = :p AND sk IN (:1)", format!("{operator}IN")),
        ("pk <> :p", format!("{operator}<>")),
        ("attribute_exists(pk)", format!("{operator}attribute_exists")),
        ("contains(pk, :p)", format!("{operator}contains")),
        ("pk = :p AND size(sk) = :1", "KeyConditionExpressions cannot contain nested operations".into()),
        ("pk = :p AND sk > :1 AND sk < :2", "KeyConditionExpressions must only contain one condition per key".into()),
        ("pk = :p AND sk.x = :1", "Invalid KeyConditionExpression: KeyConditionExpressions cannot have conditions on nested attributes".into()),
        ("pk = sk", format!("{bad}Multiple attribute names used in one condition")),
        (":p = :q", format!("{bad}No key attribute specified")),
        ("pk = :p AND :1 BETWEEN sk AND :2", format!("{bad}BETWEEN operator must have the key attribute as its first operand")),
        ("pk = :p AND begins_with(:p, sk)", format!("{bad}begins_with operator must have the key attribute as its first operand")),
    ];
    for (text, why) in table {
        let result = parsed(text).and_then(|condition| schema().condition(&condition));
        assert_eq!(told(result), why, "{text}");
    }
    let only_hash = KeySchema::new(attribute("pk", KeyType::S), None);
    let two = parsed("pk = :p AND sk = :1").unwrap();
    assert_eq!(told(only_hash.condition(&two)), no);
    let must = "must have equality conditions specified in the query because a condition is present on key attribute";
    let gaps = [
        ("h = :p AND a = :q AND c = :b", format!("RANGE key attributes b {must} c")),
        ("h = :p AND a > :q AND b = :1", format!("RANGE key attributes a {must} b")),
        ("h = :p AND c = :b", format!("RANGE key attributes a, b {must} c")),
        ("a = :q AND h = :p", "taken".into()),
    ];
    for (text, why) in gaps {
        assert_eq!(told(wide().condition(&parsed(text).unwrap())), why, "{text}");
    }
}

/// Claim: paths do not lead into keys, and filters of queries do not look at them.
#[test]
fn what_looks_at_keys() {
    let inside = parsed("a = :p AND pk.x = :1").unwrap();
    assert_eq!(
        told(schema().check_paths(inside.paths())),
        "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: pk"
    );
    assert_eq!(told(schema().check_paths(parsed("pk = :p").unwrap().paths())), "taken");
    let of_index = "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: IndexKey: pk";
    assert_eq!(told(schema().check_index_paths(inside.paths())), of_index);
    let filter = "Filter Expression can only contain non-primary key attributes: Primary key attribute: sk";
    assert_eq!(told(schema().check_filter(&parsed("a = :p OR NOT size(sk) > :1").unwrap())), filter);
    assert_eq!(told(schema().check_filter(&parsed("a = :p").unwrap())), "taken");
    let legacy = "QueryFilter can only contain non-primary key attributes: Primary key attribute: pk";
    assert_eq!(told(schema().check_query_filter(&parsed("pk = :p").unwrap())), legacy);
}

fn bytes(value: &AttributeValue) -> Vec<u8> {
    let mut out = Vec::new();
    encode(value, &mut out);
    out
}

/// Claim: the order of bytes is the order of values, and none begins another. 5,000 pairs from a seed.
#[test]
fn bytes_are_in_order() {
    let mut rng = Rng::stream(4, "keys");
    for _ in 0..5_000 {
        let (a, b) = (random::scalar(&mut rng), random::scalar(&mut rng));
        let Some(order) = a.order(&b) else { continue };
        assert_eq!(bytes(&a).cmp(&bytes(&b)), order, "{a:?}, {b:?}");
        assert!(a == b || !bytes(&a).starts_with(&bytes(&b)), "{a:?}, {b:?}");
    }
}

/// Claim: what a query's range holds is what the condition holds for, whatever the schema. 5,000 from a seed.
#[test]
fn ranges_hold_what_conditions_hold() {
    let mut rng = Rng::stream(5, "ranges");
    let (mut held, mut taken) = (0, 0);
    for _ in 0..5_000 {
        let of_kind = |rng: &mut Rng, kind: KeyType| loop {
            let value = match kind {
                KeyType::N => AttributeValue::N(random::small_number(rng)),
                _ => random::scalar(rng),
            };
            if value.kind().name() == kind.name() && value.size() > 0 {
                return value;
            }
        };
        let schema = wide();
        let mut values = serde_json::Map::new();
        let mut given = |name: String, value: &AttributeValue| {
            let mut json = Vec::new();
            value.write_json(&mut json);
            values.insert(name, serde_json::from_slice::<Value>(&json).unwrap());
        };
        given(":h".into(), &value(json!({"S": "x"})));
        let mut terms = vec!["h = :h".to_string()];
        let count = usize::try_from(rng.below(4)).unwrap();
        for (i, KeyAttribute { name, kind }) in schema.sort.iter().enumerate().take(count) {
            let (mut low, mut high) = (of_kind(&mut rng, *kind), of_kind(&mut rng, *kind));
            if low.order(&high) == Some(std::cmp::Ordering::Greater) {
                std::mem::swap(&mut low, &mut high);
            }
            given(format!(":{name}"), &low);
            let last = i + 1 == count;
            terms.push(match if last { rng.below(7) } else { 6 } {
                0 => format!("{name} < :{name}"),
                1 => format!("{name} <= :{name}"),
                2 => format!(":{name} < {name}"),
                3 => format!("{name} >= :{name}"),
                4 if *kind != KeyType::N => format!("begins_with({name}, :{name})"),
                5 => {
                    given(format!(":{name}2"), &high);
                    format!("{name} BETWEEN :{name} AND :{name}2")
                }
                _ => format!("{name} = :{name}"),
            });
        }
        let text = terms.join(" AND ");
        let condition = Expressions::from_json(None, Some(Value::Object(values)))
            .unwrap()
            .condition(Use::KeyCondition, &text)
            .unwrap();
        let query = schema.condition(&condition).unwrap();
        let mut item = Item::default();
        item.0.insert("h".into(), value(json!({"S": "x"})));
        for KeyAttribute { name, kind } in &schema.sort {
            item.0.insert(name.clone(), of_kind(&mut rng, *kind));
        }
        let key = schema.index_key(&item).unwrap();
        assert_eq!(key.partition, query.partition);
        let holds = condition.holds(Some(&item));
        assert_eq!(query.holds(&key.sort), holds, "{text} for {item:?}");
        held += u32::from(holds);
        taken += 1;
    }
    assert!(held > taken / 10, "only {held} of {taken} held");
}

/// Claim: what comes after all that begin with some bytes is the least that does.
#[test]
fn after_a_beginning() {
    let table: [(&[u8], Option<&[u8]>); 5] = [
        (&[], None),
        (&[1], Some(&[2])),
        (&[1, 0xFF], Some(&[2])),
        (&[0xFF, 0xFF], None),
        (&[1, 2, 0xFE], Some(&[1, 2, 0xFF])),
    ];
    for (beginning, after) in table {
        assert_eq!(after_all_with(beginning).as_deref(), after);
    }
}
