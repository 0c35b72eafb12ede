//! Parts of items.

use crate::{expressions, item, shown};
use serde_json::json;

/// Claim: a projection answers what stands at its paths, in its place; lists close up.
#[test]
fn parts() {
    let item = item(json!({
        "a": {"M": {"b": {"S": "bb"}, "c": {"L": [{"N": "0"}, {"M": {"x": {"N": "1"}, "y": {"N": "2"}}}]}}},
        "l": {"L": [{"S": "l0"}, {"S": "l1"}, {"S": "l2"}]}, "s": {"S": "x"}, "a.b": {"S": "dotted"},
    }));
    let table = [
        ("s", json!({"s": {"S": "x"}})),
        ("gone", json!({})),
        ("s, gone, l[1]", json!({"s": {"S": "x"}, "l": {"L": [{"S": "l1"}]}})),
        ("l[2], l[0]", json!({"l": {"L": [{"S": "l0"}, {"S": "l2"}]}})),
        ("l[10], l[2]", json!({"l": {"L": [{"S": "l2"}]}})),
        ("l[3]", json!({})),
        ("a.b", json!({"a": {"M": {"b": {"S": "bb"}}}})),
        ("#dot", json!({"a.b": {"S": "dotted"}})),
        ("a.gone, s.x, l.x", json!({})),
        ("a.c[1].y, a.b", json!({"a": {"M": {"b": {"S": "bb"}, "c": {"L": [{"M": {"y": {"N": "2"}}}]}}}})),
        ("a.c[0], a.c[1].x", json!({"a": {"M": {"c": {"L": [{"N": "0"}, {"M": {"x": {"N": "1"}}}]}}}})),
    ];
    for (text, part) in table {
        assert_eq!(expressions().projection(text).map(|p| shown(&p.of(&item))), Ok(part), "{text}");
    }
    let projection = expressions().projection("a.gone, s.x, l.x").unwrap();
    assert_eq!(projection.attributes().collect::<Vec<_>>(), ["a", "s", "l"]);
}
