//! Claim: each violation of an invariant is found in a history that shows it, and none in one that just avoids it.

#![allow(clippy::unwrap_used, reason = "a test's panic is its failure")]

use quorate_check::budget::Budget;
use quorate_check::invariants::{Invariant, Report, check};
use quorate_check::read::{read, value};
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;

fn look(model: &str, text: &str, initial: &str) -> Report {
    let mut history = read(text.as_bytes()).unwrap();
    let initial = if initial.is_empty() { Value::NIL } else { value(initial, &mut history.values).unwrap() };
    let go_on = || false;
    check(Invariant::named(model).unwrap(), &history, initial, &mut Budget::new(&go_on, 1 << 30)).unwrap()
}

fn names(report: &Report) -> Vec<&'static str> {
    report.violations.iter().map(|violation| violation.name).collect()
}

/// One after the other: `process function argument result`, as lines of a log.
fn one_by_one(operations: &[(&str, &str, &str, &str)]) -> String {
    let one = |(process, f, argument, result): &(&str, &str, &str, &str)| {
        format!("{process} :invoke :{f} {argument}\n{process} :ok :{f} {result}\n")
    };
    operations.iter().map(one).collect::<Vec<_>>().concat()
}

#[test]
fn banks() {
    let read = |seen: &str| {
        one_by_one(&[("0", "transfer", "{:from 0 :to 1 :amount 3}", "nil"), ("1", "read", "nil", seen)])
    };
    for (seen, initial, found) in [
        ("{0 7, 1 13}", "{0 10, 1 10}", &[][..]),
        ("{0 7, 1 12}", "{0 10, 1 10}", &["wrong-total"][..]),
        ("{0 7, 1 12}", "20", &["wrong-total"]),
        ("{0 -3, 1 23}", "20", &["negative-value"]),
        ("{0 nil, 1 20}", "20", &["nil-balance"]),
        ("{0 20}", "{0 10, 1 10}", &["unexpected-accounts"]),
        ("[7 13]", "{0 10, 1 10}", &[]),
        ("[7 13]", "20", &[]),
        ("[7 12]", "{0 10, 1 10}", &["wrong-total"]),
        ("[20]", "{0 10, 1 10}", &["unexpected-accounts"]),
    ] {
        let report = look("bank", &read(seen), initial);
        assert_eq!(names(&report), found, "{seen}");
        assert_eq!(matches!(report.verdict, Verdict::Proved { .. }), found.is_empty());
    }
    // Without a promise the first read is one.
    let two = one_by_one(&[("0", "read", "nil", "{0 1, 1 1}"), ("0", "read", "nil", "{0 1, 1 2}")]);
    assert_eq!(names(&look("bank", &two, "")), ["wrong-total"]);
    let unopened = one_by_one(&[
        ("0", "read", "nil", "[]"),
        ("0", "read", "nil", "[1 1]"),
        ("0", "read", "nil", "[0 2]"),
    ]);
    let report = look("bank", &unopened, "{0 1, 1 1}");
    assert!(matches!(report.verdict, Verdict::Proved { .. }), "{report:?}");
    assert!(
        report.notes.iter().any(|note| note.contains("1 reads of a bank that was not open yet")),
        "{report:?}"
    );
    let none = one_by_one(&[("0", "transfer", "1", "nil")]);
    assert!(matches!(look("bank", &none, "").verdict, Verdict::Unknown { .. }), "nothing was seen");
}

#[test]
fn sets() {
    let read = |seen| ("1", "read", "nil", seen);
    let add = ("0", "add", "7", "7");
    for (operations, found) in [
        (&[add, read("[7]")][..], &[][..]),
        (&[read("[]"), add, read("[7]")], &[]),
        (&[add, read("[]")], &["lost"]),
        (&[add, read("[7]"), read("[]")], &["lost"]),
        (&[add, read("[]"), read("[7]")], &["stale"]),
        (&[add, read("[7]"), read("[]"), read("[7]")], &["resurrected"]),
        (&[add, read("[7 7]")], &["duplicated"]),
        (&[add, read("[7 8]")], &["garbage"]),
        (&[read("[7]"), add], &["garbage"]),
    ] {
        assert_eq!(names(&look("set-full", &one_by_one(operations), "")), found, "{operations:?}");
    }
    // An add of unknown end may be missed until somebody saw it; then it may not.
    let info = |reads: &str| format!("0 :invoke :add 7\n0 :info :add 7\n{reads}");
    let unseen = info(&one_by_one(&[read("[]"), read("[7]")]));
    assert_eq!(names(&look("set-full", &unseen, "")), [""; 0]);
    let seen = info(&one_by_one(&[read("[7]"), read("[]")]));
    assert_eq!(names(&look("set-full", &seen, "")), ["lost"]);
    let failed = format!("0 :invoke :add 7\n0 :fail :add 7\n{}", one_by_one(&[read("[7]")]));
    assert_eq!(names(&look("set-full", &failed, "")), ["garbage"]);
    // Reads beside each other may differ.
    let beside = "0 :invoke :add 7\n1 :invoke :read nil\n2 :invoke :read nil\n1 :ok :read [7]\n2 :ok :read []\n0 :ok :add 7\n";
    assert_eq!(names(&look("set-full", beside, "")), [""; 0]);
}

#[test]
fn ids() {
    let generate = |id| ("0", "generate", "nil", id);
    assert_eq!(names(&look("unique-ids", &one_by_one(&[generate("1"), generate("2")]), "")), [""; 0]);
    assert_eq!(names(&look("unique-ids", &one_by_one(&[generate("1"), generate("1")]), "")), ["duplicated"]);
    assert_eq!(
        names(&look("unique-ids", &one_by_one(&[("0", "generate-batch", "nil", "[1 2 1]")]), "")),
        ["duplicated"]
    );
}

#[test]
fn holders() {
    let acquire = |process, token| (process, "acquire", "nil", token);
    let release = |process| (process, "release", "nil", "nil");
    for (operations, found) in [
        (&[acquire("0", "nil"), release("0"), acquire("1", "nil")][..], &[][..]),
        (&[acquire("0", "nil"), acquire("1", "nil"), release("0")], &["two-holders"]),
        (&[acquire("0", "3"), release("0"), acquire("1", "4")], &[]),
        (&[acquire("0", "3"), release("0"), acquire("1", "3")], &["token-not-greater"]),
    ] {
        assert_eq!(names(&look("holders", &one_by_one(operations), "")), found, "{operations:?}");
    }
    // A release under way leaves room for the next holder.
    let handed = "0 :invoke :acquire nil\n0 :ok :acquire nil\n0 :invoke :release nil\n1 :invoke :acquire nil\n1 :ok :acquire nil\n0 :ok :release nil\n";
    assert_eq!(names(&look("holders", handed, "")), [""; 0]);
}

#[test]
fn streams() {
    let send = |value| ("0", "send", value, value);
    let poll = |seen| ("1", "poll", "nil", seen);
    for (operations, found) in [
        (&[send("1"), send("2"), poll("1"), poll("2")][..], &[][..]),
        (&[send("1"), send("2"), poll("[1 2]")], &[]),
        (&[send("1"), send("2"), poll("1")], &[]),
        (&[send("1"), send("2"), poll("2")], &["lost"]),
        (&[send("1"), poll("nil")], &["lost"]),
        (&[send("1"), poll("1"), poll("1")], &["duplicated"]),
        (&[send("1"), poll("2")], &["garbage"]),
        (&[send("1"), send("2"), poll("2"), poll("1")], &["reordered"]),
        (&[send("1"), send("2"), poll("2"), ("2", "poll", "nil", "1")], &[]),
    ] {
        assert_eq!(names(&look("stream", &one_by_one(operations), "")), found, "{operations:?}");
    }
    // A poll that was never answered may hold what is missing.
    let unsure = format!("{}3 :invoke :poll nil\n", one_by_one(&[send("1"), poll("nil")]));
    assert!(matches!(look("stream", &unsure, "").verdict, Verdict::Unknown { .. }));
}
