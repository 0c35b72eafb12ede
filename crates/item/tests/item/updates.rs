//! What updates make of items.

use crate::{expressions, item, random, shown};
use quorate_base::Rng;
use quorate_item::value::ITEM_SIZE;
use quorate_item::{Error, Item, KeyAttribute, KeySchema, KeyType, Update, Updated};
use serde_json::{Value, json};

fn before() -> Value {
    json!({
        "id": {"S": "k"}, "n": {"N": "10"}, "s": {"S": "old"},
        "l": {"L": [{"S": "x"}, {"S": "y"}, {"M": {"k": {"N": "1"}}}]},
        "m": {"M": {"k": {"N": "1"}, "l": {"L": [{"N": "1"}]}}},
        "ss": {"SS": ["text", "y"]}, "ns": {"NS": ["5"]}, "bs": {"BS": ["AQI=", "AA=="]},
    })
}

fn apply(text: &str, to: Option<Value>) -> Result<Updated, Error> {
    let update = expressions().update(text)?;
    update.apply(to.map(item).as_ref(), &item(json!({"id": {"S": "k"}})))
}

/// Claim: an update changes what it says and nothing else. Each line has the attributes that are other than before; null
/// is one that is gone.
#[test]
fn on_an_item() {
    let table = [
        ("SET a = :n", json!({"a": {"N": "5"}})),
        ("SET n = n + :n", json!({"n": {"N": "15"}})),
        ("SET n = :n - n", json!({"n": {"N": "-5"}})),
        ("SET n = s, s = n", json!({"n": {"S": "old"}, "s": {"N": "10"}})),
        ("SET n = :m, a = n", json!({"n": {"N": "7"}, "a": {"N": "10"}})),
        ("SET n = if_not_exists(n, :n), a = if_not_exists(gone, :n)", json!({"a": {"N": "5"}})),
        ("SET a = if_not_exists(gone, if_not_exists(gone2, n))", json!({"a": {"N": "10"}})),
        ("SET a = if_not_exists(gone, :n) + n", json!({"a": {"N": "15"}})),
        ("SET a = list_append(:none, :l)", json!({"a": {"L": [{"S": "text"}, {"N": "5"}]}})),
        (
            "SET m.l = list_append(m.l, :l)",
            json!({"m": {"M": {"k": {"N": "1"}, "l": {"L": [{"N": "1"}, {"S": "text"}, {"N": "5"}]}}}}),
        ),
        (
            "SET a = list_append(if_not_exists(a, :none), :l)",
            json!({"a": {"L": [{"S": "text"}, {"N": "5"}]}}),
        ),
        (
            "SET m.k = :s, m.fresh = :n",
            json!({"m": {"M": {"k": {"S": "text"}, "fresh": {"N": "5"}, "l": {"L": [{"N": "1"}]}}}}),
        ),
        ("SET l[1] = :n", json!({"l": {"L": [{"S": "x"}, {"N": "5"}, {"M": {"k": {"N": "1"}}}]}})),
        (
            "SET l[9] = :n",
            json!({"l": {"L": [{"S": "x"}, {"S": "y"}, {"M": {"k": {"N": "1"}}}, {"N": "5"}]}}),
        ),
        (
            "SET l[9] = :n, l[4] = :m, l[0] = :s",
            json!({"l": {"L": [{"S": "text"}, {"S": "y"}, {"M": {"k": {"N": "1"}}}, {"N": "7"}, {"N": "5"}]}}),
        ),
        ("SET l[2].k = :n REMOVE l[0]", json!({"l": {"L": [{"S": "y"}, {"M": {"k": {"N": "5"}}}]}})),
        ("REMOVE l[0], l[1], l[7]", json!({"l": {"L": [{"M": {"k": {"N": "1"}}}]}})),
        (
            "SET l[3] = :n REMOVE l[0]",
            json!({"l": {"L": [{"S": "y"}, {"M": {"k": {"N": "1"}}}, {"N": "5"}]}}),
        ),
        ("REMOVE n, gone, m.k, m.gone", json!({"n": null, "m": {"M": {"l": {"L": [{"N": "1"}]}}}})),
        ("SET #dot = :n", json!({"a.b": {"N": "5"}})),
        ("ADD n :n", json!({"n": {"N": "15"}})),
        ("ADD a :n", json!({"a": {"N": "5"}})),
        (
            "ADD m.k :n, m.fresh :ss",
            json!({"m": {"M": {"k": {"N": "6"}, "fresh": {"SS": ["text", "x"]}, "l": {"L": [{"N": "1"}]}}}}),
        ),
        ("ADD ss :ss, ns :ns, bs :bs", json!({"ss": {"SS": ["text", "x", "y"]}, "ns": {"NS": ["5", "6"]}})),
        ("DELETE ss :ss", json!({"ss": {"SS": ["y"]}})),
        ("DELETE ns :ns, gone :ss", json!({"ns": null})),
        ("DELETE bs :bs", json!({"bs": {"BS": ["AA=="]}})),
    ];
    for (text, changed) in table {
        let mut expected = before();
        for (name, value) in changed.as_object().unwrap() {
            let attributes = expected.as_object_mut().unwrap();
            match value {
                Value::Null => drop(attributes.remove(name)),
                value => drop(attributes.insert(name.clone(), value.clone())),
            }
        }
        let after = apply(text, Some(before())).map(|updated| shown(&updated.item.unwrap()));
        assert_eq!(after, Ok(item(expected)).map(|item| shown(&item)), "{text}");
    }
}

/// Claim: what cannot be done is refused in DynamoDB's words, the first of several things.
#[test]
fn what_cannot_be_done() {
    let kind = "An operand in the update expression has an incorrect data type";
    let path = "The document path provided in the update expression is invalid for update";
    let missing = "The provided expression refers to an attribute that does not exist in the item";
    let overflow = "Number overflow. Attempting to store a number with magnitude larger than supported range";
    let table = [
        ("SET a = gone", missing),
        ("SET a = gone + :n", missing),
        ("SET a = if_not_exists(gone, gone2)", missing),
        ("SET a = list_append(gone, :l)", missing),
        ("SET a = s + :n", kind),
        ("SET a = gone + s", kind),
        ("SET a = list_append(s, :l)", kind),
        ("SET a = list_append(s, gone)", kind),
        ("ADD s :n", kind),
        ("ADD n :ss", kind),
        ("ADD ss :ns", kind),
        ("DELETE ss :ns", kind),
        ("DELETE n :ss", kind),
        ("SET gone.x = :n", path),
        ("SET gone[0] = :n", path),
        ("SET s.x = :n", path),
        ("SET l.x = :n", path),
        ("SET m[0] = :n", path),
        ("SET m.k.x = :n", path),
        ("SET l[5].x = :n", path),
        ("REMOVE gone.x", path),
        ("REMOVE s[0]", path),
        ("ADD gone.x :n", path),
        ("DELETE gone.x :ss", path),
        ("SET s.x = :n, a = s + :n", path),
        ("SET gone.x = :n, a = s + :n", kind),
        ("SET gone.x = gone2", path),
        ("SET a = big + big", overflow),
        ("SET a = big + big, b = gone", missing),
    ];
    for (text, why) in table {
        let mut before = before();
        before["big"] = json!({"N": "9.9E125"});
        assert_eq!(apply(text, Some(before)), Err(Error::Validation(why.into())), "{text}");
    }
    let mut given =
        quorate_item::Expressions::from_json(None, Some(json!({":big": {"N": "9.9E125"}}))).unwrap();
    let update = given.update("ADD big :big").unwrap();
    let result = update.apply(Some(&item(json!({"big": {"N": "9.9E125"}}))), &Item::default());
    assert_eq!(result, Err(Error::Validation(overflow.into())));
}

/// Claim: an update makes an item of its key where there is none, unless it only takes away.
#[test]
fn where_nothing_was() {
    let table = [
        ("SET a = :n", Some(json!({"id": {"S": "k"}, "a": {"N": "5"}}))),
        ("ADD a :n", Some(json!({"id": {"S": "k"}, "a": {"N": "5"}}))),
        ("SET a = id", Some(json!({"id": {"S": "k"}, "a": {"S": "k"}}))),
        ("REMOVE a SET b = :n", Some(json!({"id": {"S": "k"}, "b": {"N": "5"}}))),
        ("REMOVE a", None),
        ("DELETE a :ss", None),
        ("REMOVE a DELETE b :ss", None),
    ];
    for (text, after) in table {
        let updated = apply(text, None).unwrap();
        assert_eq!(updated.item.map(|item| shown(&item)), after, "{text}");
        assert_eq!(updated.old, Item::default());
    }
    let key = item(json!({"id": {"S": "k"}}));
    assert_eq!(Update::default().apply(None, &key).unwrap().item, Some(key));
    assert_eq!(
        apply("SET a = gone", None),
        Err(Error::Validation(
            "The provided expression refers to an attribute that does not exist in the item".into()
        ))
    );
}

/// Claim: `UPDATED_OLD` and `UPDATED_NEW` have what stood and stands at the paths that were written, in its place.
#[test]
fn what_was_updated() {
    let table = [
        ("SET a = :n", json!({}), json!({"a": {"N": "5"}})),
        (
            "SET n = :n, s = :s",
            json!({"n": {"N": "10"}, "s": {"S": "old"}}),
            json!({"n": {"N": "5"}, "s": {"S": "text"}}),
        ),
        ("SET m.k = :n", json!({"m": {"M": {"k": {"N": "1"}}}}), json!({"m": {"M": {"k": {"N": "5"}}}})),
        ("SET l[1] = :n", json!({"l": {"L": [{"S": "y"}]}}), json!({"l": {"L": [{"N": "5"}]}})),
        ("REMOVE n", json!({"n": {"N": "10"}}), json!({})),
        ("DELETE ss :ss", json!({"ss": {"SS": ["text", "y"]}}), json!({"ss": {"SS": ["y"]}})),
        ("ADD n :n", json!({"n": {"N": "10"}}), json!({"n": {"N": "15"}})),
    ];
    for (text, old, new) in table {
        let updated = apply(text, Some(before())).unwrap();
        assert_eq!((shown(&updated.old), shown(&updated.new)), (old, new), "{text}");
    }
}

/// Claim: an update leaves the key alone, and makes no item too large or too deep.
#[test]
fn what_may_not_come_of_it() {
    let attribute = |name: &str| KeyAttribute { name: name.into(), kind: KeyType::S };
    let schema = KeySchema::new(attribute("id"), Some(attribute("s")));
    for (text, name) in
        [("SET id = :s", "id"), ("REMOVE a, s", "s"), ("ADD id :n", "id"), ("SET s.x = :n", "s")]
    {
        let why = format!(
            "One or more parameter values were invalid: Cannot update attribute {name}. This attribute is part of the key"
        );
        assert_eq!(expressions().update(text).unwrap().spares_key(&schema), Err(Error::Validation(why)));
    }
    assert_eq!(expressions().update("SET a = id, m.id = :s").unwrap().spares_key(&schema), Ok(()));
    let large = item(json!({"id": {"S": "k"}, "a": {"S": "x".repeat(ITEM_SIZE - 4)}}));
    assert_eq!(large.size(), ITEM_SIZE);
    let update = expressions().update("SET b = :n").unwrap();
    assert_eq!(
        update.apply(Some(&large), &Item::default()),
        Err(Error::Validation("Item size to update has exceeded the maximum allowed size".into()))
    );
    let deep: Value = (0..31).fold(json!({"S": "x"}), |inner, _| json!({"M": {"n": inner}}));
    let update = expressions().update("SET l[0] = deep").unwrap();
    let deep = item(json!({"deep": deep, "l": {"L": []}}));
    assert!(update.apply(Some(&deep), &Item::default()).unwrap_err().message().starts_with("Nesting Levels"));
}

/// Claim: whatever is updated, all that no path leads to stays, and what came of it is the same twice. 8,000 from a seed.
#[test]
fn the_rest_stays() {
    let mut rng = Rng::stream(3, "updates");
    let mut applied = 0;
    for _ in 0..8_000 {
        let text = random::update(&mut rng);
        let Ok(update) = expressions().update(&text) else { continue };
        let before = random::item(&mut rng);
        let Ok(updated) = update.apply(Some(&before), &Item::default()) else { continue };
        applied += 1;
        assert_eq!(update.apply(Some(&before), &Item::default()), Ok(updated.clone()));
        let after = updated.item.unwrap();
        let written = |name: &String| update.paths().any(|path| path.root == *name);
        let rest = |item: &Item| -> Vec<_> {
            item.0.iter().filter(|(name, _)| !written(name)).map(|(n, v)| (n.clone(), v.clone())).collect()
        };
        assert_eq!(rest(&before), rest(&after), "{text}");
        assert!(updated.new.0.keys().all(written) && updated.old.0.keys().all(written), "{text}");
    }
    assert!(applied > 300, "only {applied} updates were applied");
}
