//! Pages that are not answered as they are asked for.

use super::*;
use quorate_item::Step;
use std::ops::Bound::Unbounded;

fn equals(name: &str, value: AttributeValue) -> KeysAsked {
    let path = Operand::Path(Path::attribute(name));
    KeysAsked::Condition(Condition::Compare(Comparator::Eq, path, Operand::Value(value)))
}

/// A table with items of two partitions.
fn filled() -> Run {
    let mut run = Run::new(17);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    for (p, q) in [("a", 1), ("a", 2), ("a", 3), ("b", 1)] {
        let mut of = key_item(&(p.into(), q));
        of.0.extend(item(&[("g", s("x")), ("l", n(-q)), ("rest", s("rest"))]).0);
        let asked =
            Asked { table: "t".into(), key: (p.into(), q), condition: Held::Always, what: Doing::Put(of) };
        let execute = Execute { atomic: false, token: None, ops: vec![asked.op()] };
        run.command(What::Execute(execute), EPOCH).unwrap();
    }
    run
}

/// Claim: a page is refused, in words that name the reason, that begins where none of its rows can be, with more than keys, or wants of an
/// index what that does not promise or hold.
#[test]
fn what_a_page_cannot_be_is_refused() {
    let mut run = filled();
    let settings = Settings {
        indexes: vec![IndexChange::Create(index("later", "g", None, Projected::All))],
        attributes: vec![("g".into(), Scalar::S)],
        ..Settings::default()
    };
    let change = Change::Settings(Box::new(settings));
    run.command(What::Change { table: "t".into(), change }, EPOCH).unwrap();
    let view = run.replicas[0].kv().view();
    let refused = |asked: Page| match page(&view, asked.clone()) {
        Err(ReadError::Refused(Refused::Table(Refusal::Validation(text)))) => text,
        other => panic!("{asked:?}: {other:?}"),
    };
    let query = all_of("t", None, equals("p", s("a")));
    let key = |p: &str| Some(key_item(&(p.into(), 2)));
    let with_more = {
        let mut start = key_item(&("a".into(), 2));
        start.0.insert("rest".into(), s("rest"));
        Some(start)
    };
    let global = all_of("t", Some("global"), equals("g", s("x")));
    let filter = Condition::Exists;
    let inside = |name: &str| Path { steps: vec![Step::Field("x".into())], ..Path::attribute(name) };
    let start = quorate_item::KeyCondition { partition: b"a".to_vec(), sort: (Unbounded, Unbounded) };
    let resolved = KeysAsked::Resolved(start);
    let projection = quorate_item::Projection { paths: vec![Path::attribute("rest")] };
    for (asked, word) in [
        (Page { start: key("b"), ..query.clone() }, "outside query boundaries"),
        (Page { start: with_more, ..query.clone() }, "starting key is invalid"),
        (Page { consistent: true, ..global.clone() }, "Consistent reads"),
        (Page { whole: true, ..global.clone() }, "ALL_ATTRIBUTES"),
        (Page { projection: Some(projection), ..global }, "does not project [rest]"),
        (all_of("t", Some("later"), equals("g", s("x"))), "backfilling"),
        (Page { filter: Some(filter(Path::attribute("q"))), ..query.clone() }, "Primary key attribute: q"),
        (Page { filter: Some(filter(inside("g"))), ..query.clone() }, "IndexKey: g"),
        (
            Page { filter: Some(filter(Path::attribute("q"))), keys: resolved.clone(), ..query.clone() },
            "QueryFilter can only contain",
        ),
        (all_of("t", Some("other"), equals("g", s("x"))), "specified index: other"),
    ] {
        let text = refused(asked);
        assert!(text.contains(word), "{text}");
    }
    // A key lies in one of two segments, and begins no page of the other.
    let segment = |of| Page { start: key("a"), ..all_of("t", None, KeysAsked::All(Some((of, 2)))) };
    let texts: Vec<String> = [0, 1]
        .into_iter()
        .filter_map(|of| match page(&view, segment(of)) {
            Ok(_) => None,
            Err(ReadError::Refused(Refused::Table(Refusal::Validation(text)))) => Some(text),
            Err(other) => panic!("{other:?}"),
        })
        .collect();
    assert!(matches!(&texts[..], [text] if text.contains("correct Segment")), "{texts:?}");
}

/// Claim: who merges the rows of several shards is told of each its keys, and whether there may be more.
#[test]
fn rows_are_told_with_their_keys_and_whether_there_are_more() {
    let mut run = filled();
    let view = run.replicas[0].kv().view();
    for (limit, more) in [(3, true), (5, false)] {
        let asked = Page { limit: Some(limit), ..all_of("t", Some("global"), equals("g", s("x"))) };
        let ReadReply::Rows(rows, told) = read(&view, &Read::Rows(Box::new(asked))).unwrap() else {
            panic!()
        };
        assert_eq!((rows.len(), told), (limit.min(4), more));
        for row in rows {
            let names: Vec<&str> = row.keys.0.keys().map(|name| &**name).collect();
            assert_eq!(names, ["g", "p", "q"]);
        }
    }
}

/// Claim: a query is of the rows that its condition on the sort key says, at either end.
#[test]
fn a_query_ends_where_its_condition_does() {
    let mut run = filled();
    let view = run.replicas[0].kv().view();
    let (path, number) = (|name| Operand::Path(Path::attribute(name)), |q| Operand::Value(n(q)));
    let sort = |comparator| Condition::Compare(comparator, path("q"), number(2));
    for (condition, found) in [
        (sort(Comparator::Eq), &[2][..]),
        (sort(Comparator::Lt), &[1]),
        (sort(Comparator::Le), &[1, 2]),
        (sort(Comparator::Gt), &[3]),
        (sort(Comparator::Ge), &[2, 3]),
        (Condition::Between(path("q"), number(2), number(3)), &[2, 3]),
    ] {
        let partition = Condition::Compare(Comparator::Eq, path("p"), Operand::Value(s("a")));
        let keys = KeysAsked::Condition(Condition::All(vec![partition, condition.clone()]));
        let items = page(&view, all_of("t", None, keys)).unwrap().items;
        assert_eq!(items.iter().map(|item| key_of(item).1).collect::<Vec<_>>(), found, "{condition:?}");
    }
}

/// Claim: a page ends behind as many items as it may look at, and behind a megabyte, or less where less is wanted; what is fetched for a
/// local index is paid for by itself, in whole units.
#[test]
fn a_page_ends_in_time() {
    let mut run = filled();
    let query = |index| all_of("t", index, equals("p", s("a")));
    let view = run.replicas[0].kv().view();
    for (limit, more) in [(1, true), (2, true), (3, true), (4, false)] {
        let paged = page(&view, Page { limit: Some(limit), ..query(None) }).unwrap();
        assert_eq!(
            (paged.scanned, paged.items.len(), paged.last.is_some()),
            (limit.min(3), limit.min(3), more)
        );
    }
    let whole = page(&view, Page { whole: true, ..query(Some("local")) }).unwrap();
    assert_eq!((whole.fetched, whole.items[0].get("rest")), (3 * 4096, Some(&s("rest"))));
    assert_eq!(page(&view, query(Some("local"))).unwrap().fetched, 0);
    for q in 1..=5 {
        let mut of = key_item(&("large".into(), q));
        of.0.insert("rest".into(), s(&"r".repeat(300_000)));
        let key = ("large".into(), q);
        let asked = Asked { table: "t".into(), key, condition: Held::Always, what: Doing::Put(of) };
        let execute = Execute { atomic: false, token: None, ops: vec![asked.op()] };
        run.command(What::Execute(execute), EPOCH).unwrap();
    }
    let view = run.replicas[0].kv().view();
    let large = all_of("t", None, equals("p", s("large")));
    for (bytes, items) in [(None, 4), (Some(100), 1), (Some(600_000), 2), (Some(10 << 20), 4)] {
        let paged = page(&view, Page { bytes, ..large.clone() }).unwrap();
        assert_eq!((paged.items.len(), paged.last.is_some()), (items, true), "{bytes:?}");
    }
}
