//! Claim: `quorate check` judges transactions from files by level, with words, JSON, a page, exit codes and clear errors.

#![allow(missing_docs, clippy::unwrap_used)]

use crate::common::{Scratch, check};

/// Two transactions that each miss the other's append, among others that have nothing to do with it.
const SKEW: &str = "{:process 0 :type :invoke :f :txn :value [[:append 9 1]]}
{:process 0 :type :ok :f :txn :value [[:append 9 1]]}
{:process 1 :type :invoke :f :txn :value nil}
{:process 2 :type :invoke :f :txn :value nil}
{:process 1 :type :ok :f :txn :value [[:r 1 nil] [:r 9 [1]] [:append 2 1]]}
{:process 2 :type :ok :f :txn :value [[:r 2 nil] [:append 1 1]]}
{:process 3 :type :invoke :f :txn :value nil}
{:process 3 :type :ok :f :txn :value [[:r 1 [1]] [:r 2 [1]]]}
";

const GOOD: &str = r#"{"process":0,"type":"invoke","f":"txn","value":[["append",1,1]]}
{"process":0,"type":"ok","f":"txn","value":[["append",1,1]]}
{"process":0,"type":"invoke","f":"txn","value":[["r",1,null]]}
{"process":0,"type":"ok","f":"txn","value":[["r",1,[1]]]}
"#;

/// Two blind writes: inference cannot know their order.
const BLIND: &str = "{:process 0 :type :invoke :f :txn :value [[:w 1 1]]}
{:process 1 :type :invoke :f :txn :value [[:w 1 2]]}
{:process 0 :type :ok :f :txn :value [[:w 1 1]]}
{:process 1 :type :ok :f :txn :value [[:w 1 2]]}
{:process 2 :type :invoke :f :txn :value [[:r 1 nil]]}
{:process 2 :type :ok :f :txn :value [[:r 1 1]]}
";

const ROWS: &str = r#"{"process":0,"type":"invoke","f":"txn","value":[["scan",0,9,null],["insert",1,1]]}
{"process":1,"type":"invoke","f":"txn","value":[["scan",0,9,null],["insert",2,1]]}
{"process":0,"type":"ok","f":"txn","value":[["scan",0,9,{}],["insert",1,1]]}
{"process":1,"type":"ok","f":"txn","value":[["scan",0,9,{}],["insert",2,1]]}
"#;

#[test]
fn levels_and_exit_codes() {
    let folder = Scratch::new("txns-levels");
    folder.write("skew.edn", SKEW);
    folder.write("good.jsonl", GOOD);
    folder.write("blind.edn", BLIND);
    folder.write("rows.jsonl", ROWS);
    let level = |file: &str, level: &str| check(&folder.0, &[file, "--level", level]);

    let (code, out, _) = level("skew.edn", "serializable");
    assert_eq!(code, 1, "{out}");
    for part in [
        "violated: it is not serializable: G2-item",
        "refuted: update-serializable, repeatable-read, and all that is stronger",
        "proved: strong-snapshot-isolation, and all that is weaker",
        "the core, 2 of 4 transactions and 2 of 3 keys: none of them, and no key, can be left out",
        "T1 = process 1: read 1 as [], append 1 to 2 (line 3)",
        "but T2 comes before T1: T2 read key 2 and did not see T1 append 1: a contradiction",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    // Elle's spelling, aliases, and the level that is meant where none is named.
    assert_eq!(level("skew.edn", ":PL-SI").0, 0);
    assert_eq!(check(&folder.0, &["skew.edn", "-m", "elle-list-append"]).0, 1);
    let (code, out, _) = level("good.jsonl", "strict-serializable");
    assert!(code == 0 && out.contains("holds: it is strict-serializable"), "{code} {out}");
    assert_eq!(level("rows.jsonl", "serializable").0, 1);

    let (code, out, _) = level("blind.edn", "serializable");
    assert!(code == 2 && out.contains("--complete searches"), "{code} {out}");
    assert!(out.contains("neither refuted nor proved: "), "{out}");
    let complete = check(&folder.0, &["blind.edn", "--level", "serializable", "--complete"]);
    assert_eq!(complete.0, 0, "{}", complete.1);
    let assumed = ["blind.edn", "--level", "serializable", "--assume", "linearizable-keys,wfr-keys"];
    let (_, out, _) = check(&folder.0, &assumed);
    assert!(out.contains("assumed, not seen: each key by itself is linearizable"), "{out}");

    let (code, out, _) = check(&folder.0, &["skew.edn", "good.jsonl", "--level", "serializable"]);
    assert!(code == 1 && out.contains("2 files: 1 hold, 1 violated; 6 operations"), "{code} {out}");
    let (code, out, _) = check(&folder.0, &["--levels"]);
    assert!(code == 0 && out.starts_with("strict-serializable (also strong-serializable"), "{out}");
}

#[test]
fn json_and_page() {
    let folder = Scratch::new("txns-json");
    folder.write("skew.edn", SKEW);
    let args =
        ["skew.edn", "--level", "serializable", "--json", "--html", "page.html", "--junit", "report.xml"];
    let (code, out, _) = check(&folder.0, &args);
    assert_eq!(code, 1);
    let line: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(line["verdict"], "violated");
    assert_eq!(line["model"], "list-append");
    assert_eq!(line["maximal_unrefuted"], serde_json::json!(["strong-snapshot-isolation"]));
    assert_eq!(line["levels"].as_array().unwrap().len(), 23);
    assert_eq!(line["core"][0]["line"], 3);
    assert_eq!(line["anomalies"][0]["cycle"][0]["edge"], "rw");
    let page = std::fs::read_to_string(folder.0.join("page.html")).unwrap();
    for part in ["<svg", "aria-label=\"the cycle\"", "aria-label=\"the core by process\"", "read-uncommitted"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("http"), "it loads nothing");
    assert!(std::fs::read_to_string(folder.0.join("report.xml")).unwrap().contains("not serializable"));
}

#[test]
fn invariants_of_whole_systems() {
    let folder = Scratch::new("txns-whole");
    folder.write("bank.log", "0 :invoke :read nil\n0 :ok :read {0 7, 1 12}\n");
    folder.write("ids.log", "0 :invoke :generate nil\n0 :ok :generate 5\n");
    let (code, out, _) = check(&folder.0, &["bank.log", "--model", "bank", "--initial", "{0 10, 1 10}"]);
    assert!(code == 1 && out.contains("wrong-total (1 times)"), "{code} {out}");
    assert!(out.contains("It saw 19 in all, not 20."), "{out}");
    assert_eq!(check(&folder.0, &["bank.log", "-m", "bank"]).0, 0);
    let (code, out, _) = check(&folder.0, &["ids.log", "-m", "unique-ids", "--json"]);
    let line: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((code, &line["verdict"], &line["model"]), (0, &"holds".into(), &"unique-ids".into()));
    for (args, told) in [
        (&["ids.log", "-m", "bank"][..], "ids.log:1:1: the model has no function generate"),
        (&["bank.log", "-m", "bank", "--initial", "[1]"], "--initial [1] is no bank"),
        (&["ids.log", "-m", "unique-ids", "--initial", "1"], "unique-ids takes no initial value"),
        (&["ids.log", "-m", "unique-ids", "--level", "serializable"], "it has no level"),
    ] {
        let (code, _, err) = check(&folder.0, args);
        assert!(code == 3 && err.contains(told), "{args:?}: {code} {err}");
    }
}

#[test]
fn mistakes_are_told() {
    let folder = Scratch::new("txns-mistakes");
    folder.write("skew.edn", SKEW);
    folder.write("blind.edn", BLIND);
    folder.write("cut.edn", &SKEW[..SKEW.len() - 30]);
    folder.write("junk.edn", "{:process 0 :type :invoke :f :txn :value [[:frob 1 2]]}");
    folder.write("empty.edn", "");
    for (args, told) in [
        (&["skew.edn"][..], "neither --model nor --level is given"),
        (&["skew.edn", "--level", "serialisable"], "--level serialisable alone says nothing"),
        (&["skew.edn", "-m", "list-append", "--level", "serial"], "do you mean update-serializable?"),
        (&["skew.edn", "-m", "register", "--level", "serializable"], "register is no model of transactions"),
        (&["skew.edn", "-m", "register", "--complete"], "are for transactions"),
        (&["skew.edn", "-m", "list-append", "--complete"], "are for registers"),
        (&["skew.edn", "--level", "SI", "--assume", "luck"], "luck cannot be assumed"),
        (&["skew.edn", "--level", "SI", "--initial", "0"], "are for single objects"),
        (&["blind.edn", "-m", "list-append"], "blind.edn:1:43: a write, in a history of lists"),
        (&["skew.edn", "-m", "rw-register"], "skew.edn:1:43: an append, in a history of registers"),
        (&["junk.edn", "--level", "SI"], "junk.edn:1:43: this micro-operation is neither"),
        (&["cut.edn", "--level", "SI"], "cut.edn:8:"),
        (&["empty.edn", "--level", "SI"], "no operation is in it"),
        (&["nowhere.edn", "--level", "SI"], "nowhere.edn: cannot be opened"),
        (&["skew.edn", "--level", "SI", "--html", "no/such/x.html"], "cannot write no/such/x.html"),
    ] {
        let (code, out, err) = check(&folder.0, args);
        assert_eq!(code, 3, "{args:?}: {out} {err}");
        assert!(err.contains(told), "{args:?}: {err}");
    }
}
