//! Whether conditions hold.

use crate::{condition, expressions, item};
use quorate_item::{AttributeValue, Codec, Comparator, Condition, Item, Operand, Path, Use};
use serde_json::json;

/// Claim: a condition holds or does not, as DynamoDB says, on this item.
#[test]
fn on_an_item() {
    let item = item(json!({
        "a": {"S": "text and more"}, "n": {"N": "5.0"}, "big": {"N": "10"}, "bytes": {"B": "AQIDBA=="},
        "l": {"L": [{"S": "text"}, {"N": "5"}, {"M": {"k": {"N": "5"}}}]},
        "m": {"M": {"k": {"N": "5"}, "deep": {"M": {"x": {"L": [{"S": "te"}]}}}}},
        "ss": {"SS": ["x", "text"]}, "ns": {"NS": ["6", "5"]}, "bs": {"BS": ["AQI="]}, "t": {"BOOL": true},
        "z": {"NULL": true}, "a.b": {"S": "dotted"}, "e": {"S": "é"},
    }));
    let table = [
        ("a = :s", false),
        ("n = :n", true),
        ("n = :s", false),
        ("n <> :s", true),
        ("gone = :n", false),
        ("gone <> :n", true),
        ("gone <> gone2", true),
        ("n < :m", true),
        ("n <= :n", true),
        ("n > :n", false),
        ("n >= :n", true),
        ("big > n", true),
        ("a > :n", false),
        (":m > n", true),
        ("a > :s", true),
        ("gone < :n", false),
        ("ss = :ss", true),
        ("ns <> :ns", false),
        ("t = :bool", true),
        ("z = :null", true),
        ("bs = :bs", true),
        ("l[2] = :map", true),
        ("m.k = n", true),
        ("n BETWEEN :n AND :m", true),
        ("big between :n and :m", false),
        ("gone BETWEEN :n AND :m", false),
        ("a BETWEEN :n AND :m", false),
        ("n IN (:m, :n)", true),
        ("n IN (:s, :m)", false),
        ("gone IN (gone2)", false),
        ("(n) IN (:n)", true),
        ("attribute_exists(l[1])", true),
        ("attribute_exists(l[3])", false),
        ("attribute_exists(#dot)", true),
        ("attribute_exists(m.deep.x[0])", true),
        ("attribute_exists(a.b)", false),
        ("attribute_not_exists(gone)", true),
        ("attribute_not_exists(m.deep)", false),
        ("attribute_type(a, :S)", true),
        ("attribute_type(l, :L)", true),
        ("attribute_type(n, :S)", false),
        ("attribute_type(gone, :S)", false),
        ("begins_with(a, :t)", true),
        ("begins_with(a, :e)", true),
        ("begins_with(bytes, :b)", true),
        ("begins_with(n, :t)", false),
        ("begins_with(gone, :t)", false),
        ("contains(a, :s)", true),
        ("contains(a, :n)", false),
        ("contains(bytes, :b)", true),
        ("contains(ss, :s)", true),
        ("contains(ss, :t)", false),
        ("contains(ns, :n)", true),
        ("contains(bs, :b)", true),
        ("contains(l, :s)", true),
        ("contains(l, :n)", true),
        ("contains(l, :map)", true),
        ("contains(l, :m)", false),
        ("contains(m, :s)", false),
        ("contains(:s, m.deep.x[0])", true),
        ("size(a) = :n", false),
        ("size(ss) < n", true),
        ("size(l) < :n AND size(m) < :n AND size(bytes) < :n", true),
        ("size(n) < :m", false),
        ("size(gone) < :m", false),
        ("size(e) = :one", true),
        ("size(:l) < :n", true),
        ("NOT n = :n", false),
        ("not not n = :n", true),
        ("NOT gone = :n", true),
        ("n = :n OR n = :m AND a = :s", true),
        ("(n = :n OR n = :m) AND a = :s", false),
        ("NOT n = :m AND a = :s", false),
        ("NOT (n = :m AND a = :s)", true),
        ("n=:n AND(big>:n)AND a<>:s", true),
    ];
    for (text, holds) in table {
        assert_eq!(condition(text).map(|c| c.holds(Some(&item))), Ok(holds), "{text}");
    }
}

/// Claim: where there is no item, nothing is there to compare with.
#[test]
fn on_nothing() {
    let table = [
        ("attribute_not_exists(a)", true),
        ("attribute_exists(a)", false),
        ("a = :s", false),
        ("a <> :s", true),
        ("NOT a < :s", true),
        ("size(a) < :n", false),
    ];
    for (text, holds) in table {
        assert_eq!(condition(text).map(|c| c.holds(None)), Ok(holds), "{text}");
    }
}

/// Claim: bytes are found in bytes wherever they begin, for all short ones of two kinds of bytes.
#[test]
fn bytes_in_bytes() {
    let words = |longest: u32| -> Vec<Vec<u8>> {
        let of_length =
            |len: u32| (0..1_u32 << len).map(move |bits| (0..len).map(|i| (bits >> i & 1) as u8).collect());
        (0..=longest).flat_map(of_length).collect()
    };
    let item = Item::default();
    for hay in words(7) {
        for needle in words(5) {
            let found = hay.windows(needle.len().max(1)).any(|part| part == needle) || needle.is_empty();
            let operand = |bytes: &[u8]| Operand::Value(AttributeValue::B(bytes.to_vec()));
            let condition = Condition::Contains(operand(&hay), operand(&needle));
            assert_eq!(condition.holds(Some(&item)), found, "{needle:?} in {hay:?}");
        }
    }
}

/// Claim: `size` of a text counts code units of UTF-16, whatever its bytes are; an item's weight is counted in bytes.
#[test]
fn texts_are_measured_in_units_of_utf_16() {
    for (text, units) in [("", 0), ("abc", 3), ("é", 1), ("中中", 2), ("𝄞", 2), ("é𝄞", 3)] {
        let item = item(json!({"a": {"S": text}}));
        assert_eq!(item.size(), 1 + text.len());
        let count = |n: i64| Operand::Value(AttributeValue::N(n.into()));
        let holds = |n| {
            Condition::Compare(Comparator::Eq, Operand::Size(Path::attribute("a")), count(n))
                .holds(Some(&item))
        };
        assert_eq!((0..9).filter(|n| holds(*n)).collect::<Vec<_>>(), [units], "{text}");
    }
}

/// Claim: a condition that an earlier release encoded still counts bytes, so that an entry means the same to all releases that take
/// it; one of this release is of a version that those do not read, and neither form is read under the other's version.
#[test]
fn an_older_condition_measures_bytes() {
    let six = AttributeValue::N(6.into());
    let recorded = [1, 3, 0, 2, 1, b'a', 0, 1, 1, 0, 0, 1, 6];
    let older = Condition::decode(&recorded).unwrap();
    let operand = Operand::SizeInBytes(Path::attribute("a"));
    assert_eq!(older, Condition::Compare(Comparator::Eq, operand, Operand::Value(six)));
    assert_eq!(older.encode(), recorded);
    let item = item(json!({"a": {"S": "中中"}}));
    assert!(older.holds(Some(&item)));
    let mut newer = recorded;
    (newer[0], newer[3]) = (2, 3);
    let condition = Condition::decode(&newer).unwrap();
    assert!(!condition.holds(Some(&item)));
    assert_eq!(condition.encode(), newer);
    for (version, code) in [(1, 3), (2, 2), (3, 3), (0, 2)] {
        (newer[0], newer[3]) = (version, code);
        assert!(Condition::decode(&newer).is_err(), "{version} {code}");
    }
    let given = expressions().condition(Use::Condition, "NOT (a = :s OR size(a) IN (:m, :n))").unwrap();
    assert_eq!(given.encode()[0], 2);
}
