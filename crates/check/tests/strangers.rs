//! Claim: histories that were once judged wrongly are judged as they must be. Each test names what was said of them before.

#![allow(clippy::unwrap_used, clippy::format_push_string, reason = "a test's panic is its failure")]

use quorate_check::budget::Budget;
use quorate_check::invariants::{Invariant, Report, check};
use quorate_check::read::{BadInput, read, value};
use quorate_check::sessions::{self, LEVELS};
use quorate_check::txn::{self, Model};
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use quorate_check::{models, promises};

fn refused(text: &str) -> BadInput {
    read(text.as_bytes()).map(|_| ()).unwrap_err()
}

/// Claim: times that are no whole numbers of 64 bits are refused at their place. They were cut to whole numbers, so that what
/// was over before something began was concurrent with it, and a violation held.
#[test]
fn fractions_of_a_unit_are_refused() {
    let whole = |start: &str, end: &str| {
        format!(
            "{{\"process\":0,\"f\":\"read\",\"key\":null,\"start\":0,\"end\":0}}\n{{\"process\":1,\"f\":\"read\",\"start\":{start},\"end\":{end}}}"
        )
    };
    for (start, end) in
        [("0.7", "0.9"), ("1", "1.5"), ("9223372036854775808", "9223372036854775809"), ("1e300", "null")]
    {
        let bad = refused(&whole(start, end));
        assert_eq!((bad.line, bad.what.contains("a whole number of at most 64 bits")), (2, true), "{bad:?}");
        assert!(bad.hint.contains("nanoseconds"), "{bad:?}");
    }
    let bad = refused("{:process 0, :type :invoke, :f :read, :time 0.5}");
    assert_eq!((bad.line, bad.column), (1, 45));
    // What is whole is whole however it is written.
    assert_eq!(read(whole("1.0", "2e0").as_bytes()).unwrap().times[1], (1, 2));
}

/// Claim: equal numbers are equal however they are written, and different ones are not. They were compared by spelling.
#[test]
fn numbers_are_compared_by_value() {
    let same = |one: &str, other: &str, json: bool| {
        let (f, v) = if json { ("\"f\"", "\"value\"") } else { (":f", ":value") };
        let (p, t) = if json { ("\"process\"", "\"type\"") } else { (":process", ":type") };
        let (colon, kind) = if json { (":", "\"invoke\"") } else { (" ", ":invoke") };
        let event = |process: u32, value: &str| {
            format!("{{{p}{colon}{process}, {t}{colon}{kind}, {f}{colon}{kind}, {v}{colon}{value}}}\n")
        };
        let history = read((event(0, one) + &event(1, other)).as_bytes()).unwrap();
        history.operations[0].argument == history.operations[1].argument
    };
    for json in [false, true] {
        for (one, other) in [
            ("1e2", "100.0"),
            ("-0.5", "-0.50"),
            ("1.5e-9", "0.0000000015"),
            ("0.0", "-0.0"),
            ("1E30", "1.0e+30"),
            ("12345678901234567890.5", "1.23456789012345678905e19"),
        ] {
            assert!(same(one, other, json), "{one} {other}");
        }
        for (one, other) in [
            ("1.5", "1.50001"),
            ("0.1", "-0.1"),
            ("1e2", "1e3"),
            ("18446744073709551616", "18446744073709551617"),
            ("1e400", "1e401"),
            ("0.00001", "0.000001"),
        ] {
            assert!(!same(one, other, json), "{one} {other}");
        }
        for (one, other) in [
            ("4/2", "2"),
            ("2/4", "1/2"),
            ("0x10", "16"),
            ("2r101", "5"),
            ("-0xff", "-255"),
            ("\\newline", "\\u000A"),
        ] {
            assert!(json || same(one, other, json), "{one} {other}");
        }
        for (one, other) in [("1/2", "2/1"), ("1/0", "0"), ("0x", "0"), ("37r1", "1"), ("\\u00e9", "\\u00e8")]
        {
            assert!(json || !same(one, other, json), "{one} {other}");
        }
        assert_eq!(same("1", "1.0", json), json, "Clojure tells them apart, JSON knows one kind of number");
        assert_eq!(same("100000000000000000000", "1e20", json), json);
    }
}

fn of(model: Model, text: &str) -> txn::Report {
    let history = txn::feed::read(text.as_bytes(), model).unwrap();
    let go_on = || false;
    txn::check(&history, model, &txn::Options::default(), &mut Budget::new(&go_on, 1 << 30))
}

/// Transactions one after the other, each of a process of its own: `outcome value result`, split by ` / `.
fn txns(all: &[(&str, &str, &str)]) -> String {
    let one = |(process, (kind, asked, done)): (usize, &(&str, &str, &str))| {
        format!(
            "{{:process {process} :type :invoke :f :txn :value {asked}}}\n{{:process {process} :type :{kind} :f :txn :value {done}}}\n"
        )
    };
    all.iter().enumerate().map(one).collect()
}

fn refuted(report: &txn::Report) -> Vec<&'static str> {
    let broken = |(level, verdict): &(txn::levels::Level, Verdict)| {
        matches!(verdict, Verdict::Refuted(_)).then(|| level.name())
    };
    report.verdicts.iter().filter_map(broken).collect()
}

fn proved(report: &txn::Report) -> bool {
    report.verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::Proved { .. }))
}

/// Claim: a range holds its own rows alone, and rows that somebody inserted. Both were proved strict-serializable.
#[test]
fn a_scan_gives_what_its_range_selects() {
    let insert = ("ok", "[[:insert 11 1] [:insert 3 1]]", "[[:insert 11 1] [:insert 3 1]]");
    for (found, fine) in
        [("{3 1}", true), ("{3 1, 11 1}", false), ("{3 1, 12 1}", false), ("{3 1, 4 1}", false)]
    {
        let scan = format!("[[:scan 0 9 {found}]]");
        let report = of(Model::Predicate, &txns(&[insert, ("ok", "[[:scan 0 9 nil]]", &scan)]));
        assert_eq!(refuted(&report).is_empty(), fine, "{found}");
        assert!(fine || refuted(&report).contains(&"read-committed"), "{found}");
    }
    let json = "{\"process\":0,\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"scan\",0,9,null]]}\n{\"process\":0,\"type\":\"ok\",\"f\":\"txn\",\"value\":[[\"scan\",0,9,{\"11\":1}]]}\n";
    assert!(refuted(&of(Model::Predicate, json)).contains(&"strict-serializable"));
}

/// Claim: of a key to which an element was appended twice nothing is refuted, as who was read cannot be told: not G1a where
/// one of both appends failed, and not that an element stands there twice.
#[test]
fn elements_appended_twice_convict_nobody() {
    let add = ("ok", "[[:append 0 1]]", "[[:append 0 1]]");
    let failed = ("fail", "[[:append 0 1]]", "[[:append 0 1]]");
    let unsure = ("info", "[[:append 0 1] [:append 5 7]]", "nil");
    let saw = |list: &'static str| ("ok", "[[:r 0 nil]]", list);
    for all in [
        &[failed, add, saw("[[:r 0 [1]]]")][..],
        &[add, failed, saw("[[:r 0 [1]]]")],
        &[add, add, saw("[[:r 0 [1 1]]]")],
        &[add, add, saw("[[:r 0 [1]]]"), saw("[[:r 0 [1 1]]]")],
        &[unsure, add, saw("[[:r 0 [1]]]"), ("ok", "[[:r 5 nil]]", "[[:r 5 nil]]")],
        &[add, ("ok", "[[:append 0 1] [:r 0 nil]]", "[[:append 0 1] [:r 0 [1 1]]]")],
    ] {
        let report = of(Model::ListAppend, &txns(all));
        assert_eq!(refuted(&report), [""; 0], "{all:?}");
        assert!(!proved(&report), "{all:?}");
        assert!(report.notes[0].contains("elements must be unique for each key"), "{:?}", report.notes);
    }
    // What nobody appended is garbage whatever else is there, and other keys are judged as ever.
    let report = of(Model::ListAppend, &txns(&[add, add, saw("[[:r 0 [1 2]]]")]));
    assert_eq!(report.findings[0].anomaly.name(), "garbage-read");
    let other = ("fail", "[[:append 5 1]]", "[[:append 5 1]]");
    let report = of(Model::ListAppend, &txns(&[add, add, other, ("ok", "[[:r 5 nil]]", "[[:r 5 [1]]]")]));
    assert_eq!(report.findings[0].anomaly.name(), "G1a");
}

/// Claim: a transaction that contradicts itself is no proof of any level: read-atomic and all above it are refuted, and of the
/// others none is proved. They were.
#[test]
fn what_contradicts_itself_proves_nothing() {
    let report =
        of(Model::ListAppend, &txns(&[("ok", "[[:append 0 1] [:r 0 nil]]", "[[:append 0 1] [:r 0 nil]]")]));
    assert!(!proved(&report));
    assert!(refuted(&report).contains(&"read-atomic") && !refuted(&report).contains(&"read-committed"));
}

/// Claim: a transaction ends with the micro-operations that it began with. Others, or fewer, were taken for the truth.
#[test]
fn transactions_end_as_they_began() {
    for (asked, done, fine) in [
        ("[[:append 0 1] [:r 0 nil]]", "[[:append 0 1] [:r 0 [1]]]", true),
        ("nil", "[[:append 0 1]]", true),
        ("[[:append 0 1] [:r 0 nil]]", "[[:append 0 1]]", false),
        ("[[:append 0 1]]", "[[:append 0 2]]", false),
        ("[[:append 0 1]]", "[[:append 1 1]]", false),
        ("[[:r 0 nil]]", "[[:append 0 1]]", false),
    ] {
        let read = txn::feed::read(txns(&[("ok", asked, done)]).as_bytes(), Model::ListAppend);
        match read {
            Ok(_) => assert!(fine, "{asked} {done}"),
            Err(bad) => {
                assert!(!fine && bad.line == 2 && bad.what.contains("other micro-operations"), "{bad:?}");
            }
        }
    }
}

/// Claim: where nothing ended ok nothing was judged.
#[test]
fn nothing_is_no_proof() {
    let report = of(Model::ListAppend, &txns(&[("fail", "[[:append 0 1]]", "[[:append 0 1]]")]));
    assert!(!proved(&report));
}

fn look(model: &str, text: &str, initial: &str) -> Result<Report, BadInput> {
    let mut history = read(text.as_bytes())?;
    let initial = if initial.is_empty() { Value::NIL } else { value(initial, &mut history.values)? };
    let go_on = || false;
    check(Invariant::named(model).unwrap(), &history, initial, &mut Budget::new(&go_on, 1 << 30))
}

fn names(report: Result<Report, BadInput>) -> Vec<(&'static str, u64)> {
    report.unwrap().violations.iter().map(|violation| (violation.name, violation.count)).collect()
}

fn said(model: &str, lines: &str, initial: &str) -> Vec<(&'static str, u64)> {
    names(look(model, lines, initial))
}

const NONE: [(&str, u64); 0] = [];

/// Claim: a stream is a multiset: what is sent twice may be consumed twice, no more, and nothing before it was sent.
#[test]
fn streams_count() {
    let send = |process: u32| format!("{process} :invoke :send 1\n{process} :ok :send 1\n");
    let poll = |got: &str| format!("9 :invoke :poll nil\n9 :ok :poll {got}\n");
    assert_eq!(said("stream", &(send(0) + &send(1) + &poll("[1 1]")), ""), NONE);
    assert_eq!(said("total-queue", &(send(0) + &send(1) + &poll("[1 1 1]")), ""), [("duplicated", 1)]);
    assert_eq!(said("stream", &(send(0) + &send(1) + &poll("[1]") + &poll("nil")), ""), [("lost", 1)]);
    assert_eq!(said("stream", &(send(0) + &poll("[1]") + &send(1) + &poll("[1]")), ""), NONE);
    assert_eq!(said("stream", &(send(0) + &poll("[1 1]") + &send(1)), ""), [("from-the-future", 1)]);
    assert_eq!(said("stream", &(poll("[1]") + &send(0)), ""), [("from-the-future", 1)]);
    // What is sent while it is polled is no message from the future.
    let beside = "9 :invoke :poll nil\n0 :invoke :send 1\n9 :ok :poll [1]\n0 :ok :send 1\n";
    assert_eq!(said("stream", beside, ""), NONE);
}

/// Claim: a vector is one id. It was taken for several.
#[test]
fn a_vector_is_one_id() {
    let given =
        |f: &str, ids: [&str; 2]| ids.map(|id| format!("0 :invoke :{f} nil\n0 :ok :{f} {id}\n")).concat();
    assert_eq!(said("unique-ids", &given("generate", ["[1 2]", "[1 3]"]), ""), NONE);
    assert_eq!(said("unique-ids", &given("generate", ["[1 2]", "[1 2]"]), ""), [("duplicated", 1)]);
    assert_eq!(said("unique-ids", &given("generate-batch", ["[1 2]", "[1 3]"]), ""), [("duplicated", 1)]);
}

/// Claim: a token that is no whole number is refused. It was not looked at.
#[test]
fn tokens_are_whole_numbers() {
    for token in ["5.5", "18446744073709551616", "\"a5\""] {
        let bad =
            look("holders", &format!("0 :invoke :acquire nil\n0 :ok :acquire {token}\n"), "").unwrap_err();
        assert!(bad.line == 1 && bad.what.contains("a token is a whole number"), "{bad:?}");
    }
    for none in ["nil", "true"] {
        assert_eq!(said("holders", &format!("0 :invoke :acquire nil\n0 :ok :acquire {none}\n"), ""), NONE);
    }
    assert_eq!(said("holders", "0 :invoke :acquire \"lock\"\n0 :ok :acquire \"lock\"\n", ""), NONE);
}

/// Claim: a bank's accounts are the same in JSON, its sums are exact, and what is no amount is refused.
#[test]
fn banks_add_up() {
    let json = |seen: &str| {
        format!(
            "{{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}}\n{{\"process\":0,\"type\":\"ok\",\"f\":\"read\",\"value\":{seen}}}\n"
        )
    };
    assert_eq!(said("bank", &json("{\"0\":40,\"1\":60}"), "{0 50, 1 50}"), NONE);
    assert_eq!(said("bank", &json("{\"0\":40,\"2\":60}"), "{0 50, 1 50}"), [("unexpected-accounts", 1)]);
    let most = i64::MAX;
    let all = format!("{{\"0\":{most},\"1\":{most}}}");
    let less = format!("{{\"0\":{most},\"1\":{}}}", most - 1);
    assert_eq!(said("bank", &(json(&all) + &json(&less)), ""), [("wrong-total", 1)]);
    for amount in ["0.5", "18446744073709551616"] {
        let bad = look("bank", &json(&format!("{{\"0\":{amount}}}")), "").unwrap_err();
        assert!(bad.hint.contains("cents"), "{bad:?}");
    }
}

/// The promises of a model that a history breaks.
fn broken(model: &str, text: &str) -> Vec<&'static str> {
    let history = read(text.as_bytes()).unwrap();
    let told = promises::Model::named(model).unwrap().judge(&history).unwrap();
    told.into_iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Refuted(_)))
        .map(|(name, _)| name)
        .collect()
}

fn sends_and_polls(all: &[(&str, &str, &str)]) -> String {
    let one = |(process, (f, asked, done)): (usize, &(&str, &str, &str))| {
        format!(
            "{{\"process\":{process},\"type\":\"invoke\",\"f\":\"{f}\",\"value\":{asked}}}\n{{\"process\":{process},\"type\":\"ok\",\"f\":\"{f}\",\"value\":{done}}}\n"
        )
    };
    all.iter().enumerate().map(one).collect()
}

/// Claim: a log gives what was sent to it before, a number as its key is the string of it, and a value that was sent twice may
/// stand at two offsets.
#[test]
fn logs_know_what_was_sent() {
    let send = |at: &'static str| ("send", "[[\"send\",1,7]]", at);
    let first = send("[[\"send\",1,[0,7]]]");
    let second = send("[[\"send\",1,[1,7]]]");
    let poll = |got: &'static str| ("poll", "[[\"poll\"]]", got);
    let one = poll("[[\"poll\",{\"1\":[[0,7]]}]]");
    let both = poll("[[\"poll\",{\"1\":[[0,7],[1,7]]}]]");
    let none: [&str; 0] = [];
    assert_eq!(broken("log", &sends_and_polls(&[first, one])), none);
    assert_eq!(broken("log", &sends_and_polls(&[one, first])), ["no-garbage-read"], "before it was sent");
    let strange = poll("[[\"poll\",{\"1\":[[0,7],[1,8]]}]]");
    assert_eq!(broken("log", &sends_and_polls(&[first, strange])), ["no-garbage-read"]);
    assert_eq!(broken("log", &sends_and_polls(&[first, second, both])), none);
    assert_eq!(broken("log", &sends_and_polls(&[first, both])), ["no-duplicate"]);
    // The key is the same log: what was skipped there is lost.
    let far = poll("[[\"poll\",{\"1\":[[1,7]]}]]");
    assert!(broken("log", &sends_and_polls(&[first, second, far])).contains(&"no-lost-write"));
}

/// Claim: an event is of a write that somebody asked for.
#[test]
fn events_are_of_writes() {
    let put = |key: &str, value: &str, version: u32| {
        format!(
            "{{\"process\":0,\"type\":\"invoke\",\"f\":\"put\",\"key\":\"{key}\",\"value\":\"{value}\"}}\n{{\"process\":0,\"type\":\"ok\",\"f\":\"put\",\"key\":\"{key}\",\"value\":\"{value}\",\"version\":{version}}}\n"
        )
    };
    let watch = |events: &str| {
        format!(
            "{{\"process\":1,\"type\":\"invoke\",\"f\":\"watch\",\"value\":{{\"prefix\":\"\"}}}}\n{{\"process\":1,\"type\":\"ok\",\"f\":\"watch\",\"value\":[{events}]}}\n"
        )
    };
    let event = |key: &str, value: &str, revision: u32| {
        format!(
            "{{\"events\":[{{\"type\":\"put\",\"key\":\"{key}\",\"value\":\"{value}\",\"mod\":{revision}}}]}}"
        )
    };
    let writes = put("a", "x", 2) + &put("b", "y", 3);
    let with = |events: &[String]| broken("watch", &(writes.clone() + &watch(&events.join(","))));
    let (a, b) = (event("a", "x", 2), event("b", "y", 3));
    let none: [&str; 0] = [];
    assert_eq!(with(&[a.clone(), b.clone()]), none);
    assert_eq!(with(&[a.clone(), b.clone(), event("b", "z", 4)]), ["true"], "nobody wrote z");
    assert!(with(&[a.clone(), event("c", "y", 3)]).contains(&"true"), "revision 3 wrote b alone");
    assert_eq!(with(&[a, b, event("other", "z", 4)]), none, "a key of others is not known here");
    assert_eq!(with(&[event("a", "old", 1)]), none, "what was before the history is not known here");
}

/// Claim: what would be judged as something else is refused, with what to do.
#[test]
fn traps_are_refused() {
    let get = read(b"0 :invoke :get nil\n0 :ok :get 1\n").unwrap();
    let bad = models::judge("kv", Value::NIL, &get).map(|_| ()).unwrap_err();
    assert!(bad.what.contains("has no key"), "{bad:?}");
    let whole = refused("{\"process\":0,\"f\":\"read\",\"value\":3,\"start\":0,\"end\":1}");
    assert!(whole.hint.contains("result"), "{whole:?}");
    let other = refused("0 :invoke :write 1\n0 :ok :write 2\n");
    assert!(other.line == 2 && other.what.contains("ended with 2"), "{other:?}");
    let argument = |text: &str| {
        let history = read(text.as_bytes()).unwrap();
        history.values.show(history.operations[0].argument)
    };
    assert_eq!(argument("0 :invoke :write nil\n0 :ok :write 2\n"), "2");
    assert_eq!(argument("0 :invoke :write [7 nil]\n0 :ok :write [7 2]\n"), "[7 2]");
    assert_eq!(argument("0 :invoke :write 2\n0 :ok :write nil\n"), "2");
    assert_eq!(argument("0 :invoke :cas [1 2]\n0 :ok :cas false\n"), "[1 2]");
    let bad = models::judge("nosuch", Value::NIL, &get).map(|_| ()).unwrap_err();
    for name in ["register", "list-append", "bank", "watch"] {
        assert!(bad.hint.contains(name), "{bad:?}");
    }
}

/// Claim: two sessions may see the writes of two others in two orders and keep PRAM, causal memory and all session guarantees.
#[test]
fn sessions_have_orders_of_their_own() {
    let text = "1 :invoke :write 1\n1 :ok :write 1\n2 :invoke :write 2\n2 :ok :write 2
3 :invoke :read nil\n3 :ok :read 1\n3 :invoke :read nil\n3 :ok :read 2
4 :invoke :read nil\n4 :ok :read 2\n4 :invoke :read nil\n4 :ok :read 1\n";
    let history = read(text.as_bytes()).unwrap();
    let go_on = || false;
    let mut budget = Budget::new(&go_on, 1 << 30);
    let found = sessions::judge(&LEVELS, "register", Value::NIL, &history, false, &mut budget).unwrap();
    let refuted: Vec<&str> = found
        .iter()
        .filter(|found| matches!(found.verdict, Verdict::Refuted(_)))
        .map(|found| found.level.name())
        .collect();
    assert_eq!(refuted, ["sequential", "causal-convergence", "convergence"]);
}

/// Claim: a level that is refuted is implied by none that is proved, over random small histories. (Each level is judged alone.)
#[test]
fn the_levels_of_sessions_agree() {
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice >> 11) % n
    };
    let mut both = 0;
    for _ in 0..4000 {
        let (mut text, mut written) = (String::new(), 0);
        for _ in 0..3 + below(6) {
            let (process, key) = (below(4), below(2));
            let (f, value) = if below(2) == 0 {
                written += 1;
                ("write", written.to_string())
            } else {
                let value = below(written + 1);
                ("read", if value == 0 { "nil".to_owned() } else { value.to_string() })
            };
            let asked = if f == "read" { "nil" } else { &value };
            text += &format!("{process} :invoke :{f} [{key} {asked}]\n{process} :ok :{f} [{key} {value}]\n");
        }
        let mut history = read(text.as_bytes()).unwrap();
        history.split_tuples();
        let go_on = || false;
        let mut budget = Budget::new(&go_on, 1 << 30);
        let mut judge = |level| {
            let found = sessions::judge(&[level], "register", Value::NIL, &history, false, &mut budget);
            found.unwrap().swap_remove(0).verdict
        };
        let verdicts = LEVELS.map(|level| (level, judge(level)));
        for (strong, _) in verdicts.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Proved { .. })) {
            for (weak, verdict) in verdicts.iter().filter(|(weak, _)| strong.implies().contains(weak)) {
                assert!(!matches!(verdict, Verdict::Refuted(_)), "{strong:?} and not {weak:?}:\n{text}");
                both += 1;
            }
        }
    }
    assert!(both > 10_000, "only {both} pairs were compared");
}

/// Claim: keys of sets are sets of their own, and what `quorate verify` records is read as it stands.
#[test]
fn records_of_verify_are_read() {
    let event = |kind: &str, f: &str, key: &str, value: &str| {
        format!("{{\"process\":0,\"type\":\"{kind}\",\"f\":\"{f}\",\"key\":{key},\"value\":{value}}}\n")
    };
    let both = |f: &str, key: &str, asked: &str, done: &str| {
        event("invoke", f, key, asked) + &event("ok", f, key, done)
    };
    let sets = both("add", "\"s0\"", "1", "1") + &both("read-set", "\"s1\"", "null", "[]");
    assert_eq!(said("set-full", &sets, ""), NONE);
    let lost = sets + &both("read-set", "\"s0\"", "null", "[]");
    assert_eq!(said("set-full", &lost, ""), [("lost", 1)]);
    let bank =
        both("open", "null", "[2,50]", "[2,50]") + &both("read-bank", "null", "null", "{\"0\":40,\"1\":61}");
    assert_eq!(said("bank", &bank, "{0 50, 1 50}"), [("wrong-total", 1)]);
}

/// Claim: a bracket that is closed by another kind, or by none, is named where it opened.
#[test]
fn brackets_are_named_where_they_open() {
    let mapped = "[{:process 1 :type :invoke :f :read :value nil]\n";
    for (text, column, what) in [
        (mapped, 2, "closed by ]"),
        ("[{:process 1 :type :invoke :f :read :value [1 2}]", 44, "closed by }"),
        ("{:process 1 :type :invoke :f :read :value [1 [2 3]", 43, "not closed"),
        ("{:process 1 :type :invoke :f :read :value [1 2]", 1, "not closed"),
        ("{\"process\":1,\"type\":\"invoke\",\"f\":\"w\",\"value\":{\"a\":[1}}", 51, "closed by }"),
    ] {
        let bad = refused(text);
        assert_eq!((bad.line, bad.column), (1, column), "{text}: {bad:?}");
        assert!(bad.what.contains(what), "{text}: {bad:?}");
    }
}

/// Claim: forms that drop forms are read as deep as values may be nested, and no deeper: five thousand of them ended the stack.
#[test]
fn dropped_forms_are_bounded() {
    let text = |many: usize| {
        let dropped = "#_ ".repeat(many) + &"1 ".repeat(many);
        format!("{{:process 0 :type :invoke :f :write :value {dropped} 5}}")
    };
    let history = read(text(90).as_bytes()).unwrap();
    assert_eq!(history.values.show(history.operations[0].argument), "5");
    for many in [200, 100_000] {
        assert!(refused(&text(many)).what.contains("nested deeper"), "{many}");
        assert!(read(&text(many).as_bytes()[48..]).is_err());
    }
}

/// Claim: answers of etcd to which no change is known are no violation (they were one, without a witness), and what answers say of one
/// key, also of one that is older than the history, is of one course (nobody looked).
#[test]
fn what_etcd_says_of_one_key_agrees() {
    let told = |all: &[&str]| {
        let get = |(place, answer): (usize, &&str)| {
            format!(
                "{{:process {place} :type :invoke :f :get :key :a :value nil}}\n{{:process {place} :type :ok :f :get :key :a :value [{answer}] :version 9}}\n"
            )
        };
        broken("etcd", &all.iter().enumerate().map(get).collect::<String>())
    };
    let none: [&str; 0] = [];
    let same = "{:key :a :value 1 :mod 5 :create 2 :ver 3 :lease 7}";
    assert_eq!(told(&[""]), none);
    assert_eq!(told(&["", ""]), none);
    assert_eq!(told(&[same, same, "{:key :a :value 1}"]), none);
    for other in [":create 3 :ver 3", ":create 2 :ver 4", ":create 2 :ver 3 :lease 8", ":value 2"] {
        assert_eq!(told(&[same, &format!("{{:key :a :mod 5 {other}}}")]), ["state"], "{other}");
    }
    for one in [
        ":mod 2 :create 3",
        ":mod 2 :create 2 :ver 2",
        ":ver 0 :mod 3",
        ":mod 5 :create 2 :ver 9",
        ":mod 5 :create 2 :ver 1",
    ] {
        assert_eq!(told(&[&format!("{{:key :a :value 1 {one}}}")]), ["state"], "{one}");
    }
    let put = |ver: u32| {
        format!(
            "{{:process 0 :type :invoke :f :get :key :a :value nil}}
            {{:process 0 :type :ok :f :get :key :a :value [{{:key :a :value 1 :mod 5 :create 3 :ver 3}}] :version 5}}
            {{:process 0 :type :invoke :f :put :key :a :value 2}}
            {{:process 0 :type :ok :f :put :key :a :value nil :version 6}}
            {{:process 0 :type :invoke :f :get :key :a :value nil}}
            {{:process 0 :type :ok :f :get :key :a :value [{{:key :a :value 2 :mod 6 :create 3 :ver {ver}}}] :version 6}}"
        )
    };
    assert_eq!(broken("etcd", &put(4)), none);
    assert_eq!(broken("etcd", &put(5)), ["state"]);
    assert_eq!(broken("etcd", &put(3)), ["state"]);
}

/// Claim: two events of one life of a key tell one beginning of it. They held with two.
#[test]
fn a_life_of_a_key_begins_once() {
    let told = |first: u32, second: u32| {
        let text = format!(
            r#"{{"process":0,"type":"invoke","f":"watch","value":{{"key":"b"}}}}
{{"process":0,"type":"ok","f":"watch","value":[{{"events":[{{"type":"put","key":"b","value":1,"mod":5,"create":{first}}}]}},{{"events":[{{"type":"put","key":"b","value":2,"mod":8,"create":{second}}}]}}]}}"#
        );
        broken("watch", &text)
    };
    for (first, second) in [(5, 5), (3, 3), (5, 7), (3, 6)] {
        assert!(told(first, second).is_empty(), "{first} {second}");
    }
    for (first, second) in [(6, 6), (3, 5), (5, 4), (3, 9), (4, 3)] {
        assert_eq!(told(first, second), ["is-create"], "{first} {second}");
    }
}

/// Claim: repeatable read is refuted where a weaker level is, also by what a range saw. It was proved beside a refuted read committed.
#[test]
fn what_refutes_a_weaker_level_refutes_repeatable_read() {
    let circular = "{:process 0 :type :invoke :f :txn :value [[:insert 1 0] [:scan 2 3 nil]]}
        {:process 1 :type :invoke :f :txn :value [[:delete 1] [:insert 2 1]]}
        {:process 1 :type :ok :f :txn :value [[:delete 1] [:insert 2 1]]}
        {:process 0 :type :ok :f :txn :value [[:insert 1 0] [:scan 2 3 {2 1}]]}";
    let halved = "{:process 0 :type :invoke :f :txn :value [[:insert 1 0] [:insert 2 0]]}
        {:process 0 :type :ok :f :txn :value [[:insert 1 0] [:insert 2 0]]}
        {:process 1 :type :invoke :f :txn :value [[:scan 1 1 nil] [:scan 2 2 nil]]}
        {:process 1 :type :ok :f :txn :value [[:scan 1 1 {1 0}] [:scan 2 2 {}]]}";
    for text in [circular, halved] {
        let report = of(Model::Predicate, text);
        for (level, verdict) in &report.verdicts {
            let weaker = report.verdicts.iter().filter(|(below, _)| level.includes(*below));
            let refuted = weaker.clone().any(|(_, verdict)| matches!(verdict, Verdict::Refuted(_)));
            assert_eq!(matches!(verdict, Verdict::Refuted(_)), refuted, "{}", level.name());
            let proved = weaker.clone().all(|(_, verdict)| matches!(verdict, Verdict::Proved { .. }));
            assert!(proved || !matches!(verdict, Verdict::Proved { .. }), "{}", level.name());
        }
        assert!(refuted(&report).contains(&"repeatable-read"));
    }
}

/// Claim: to delete a key is to write what it held first, for the levels of sessions too, which said that they do not know it; and a
/// comparison of one of several keys that failed may end with the key and false, which was bad input.
#[test]
fn a_deleted_key_and_a_failed_comparison() {
    let text = |seen: &str| {
        format!(
            "0 :invoke :put [:a 1]\n0 :ok :put [:a 1]\n0 :invoke :delete [:a nil]\n0 :fail :delete [:a nil]
1 :invoke :delete [:b nil]\n1 :ok :delete [:b nil]\n1 :invoke :get [:b nil]\n1 :ok :get [:b nil]\n0 :invoke :get [:a nil]\n0 :ok :get [:a {seen}]\n"
        )
    };
    let judged = |text: &str| {
        let mut history = read(text.as_bytes()).unwrap();
        history.split_tuples();
        let go_on = || false;
        let mut budget = Budget::new(&go_on, 1 << 30);
        let found = sessions::judge(&LEVELS, "kv", Value::NIL, &history, false, &mut budget).unwrap();
        found.into_iter().map(|found| found.verdict).collect::<Vec<_>>()
    };
    let told = judged(&text("1"));
    assert!(told[..9].iter().all(|verdict| matches!(verdict, Verdict::Proved { .. })), "{told:?}");
    assert!(matches!(told[9], Verdict::NotRefuted { .. }), "{told:?}");
    assert!(judged(&text("nil")).iter().any(|verdict| matches!(verdict, Verdict::Refuted(_))));
    let compared = |holds: u32| {
        let text = format!(
            "0 :invoke :write [0 {holds}]\n0 :ok :write [0 {holds}]\n0 :invoke :cas [0 [5 6]]\n0 :ok :cas [0 false]\n"
        );
        let mut history = read(text.as_bytes()).unwrap();
        history.split_tuples();
        let go_on = || false;
        let judge = models::judge("cas-register", Value::NIL, &history).unwrap();
        (0..judge.parts()).all(|part| {
            let judged = judge.linearizable(part, &history, &mut Budget::new(&go_on, 1 << 30));
            matches!(judged.verdict, Verdict::Proved { .. })
        })
    };
    assert!(compared(4) && !compared(5));
}

/// Claim: the sums of a counter are true ones: one that wraps around at 64 bits shows a number that nobody reached. That held.
#[test]
fn a_counter_that_wraps_around_is_none() {
    let counted = |seen: &str| {
        let text = format!(
            "0 :invoke :add {0}\n0 :ok :add {0}\n0 :invoke :add 2\n0 :ok :add 2\n0 :invoke :read nil\n0 :ok :read {seen}\n",
            i64::MAX - 1
        );
        let history = read(text.as_bytes()).unwrap();
        let judge = models::judge("counter", Value::NIL, &history).unwrap();
        let go_on = || false;
        judge.linearizable(0, &history, &mut Budget::new(&go_on, 1 << 30)).verdict
    };
    assert!(matches!(counted(&i64::MIN.to_string()), Verdict::Refuted(_)));
}

/// Claim: who deleted a row has seen it, so that it cannot miss what was made with it. Read atomic and the causal levels were proved, and
/// so was repeatable read beside them.
#[test]
fn who_deletes_a_row_has_seen_it() {
    let text = "{:process 0 :type :invoke :f :txn :value [[:insert 1 0] [:insert 2 0]]}
        {:process 0 :type :ok :f :txn :value [[:insert 1 0] [:insert 2 0]]}
        {:process 1 :type :invoke :f :txn :value [[:delete 1] [:r 2 nil]]}
        {:process 1 :type :ok :f :txn :value [[:delete 1] [:r 2 nil]]}";
    let report = of(Model::Predicate, text);
    assert!(refuted(&report).contains(&"read-atomic"), "{:?}", refuted(&report));
}
