//! Claim: histories of each form are read as what they are, however their bytes arrive, and a bad one is refused at its
//! place.

#![allow(missing_docs, clippy::format_push_string)]

use quorate_check::history::{History, NEVER, Outcome};
use quorate_check::read::{BadInput, Reader, read};

fn shown(history: &History) -> Vec<String> {
    (0..history.operations.len() as u32).map(|place| history.show(place)).collect()
}

/// In pieces of every small size it must be the same.
fn read_all_ways(text: &str) -> Result<History, BadInput> {
    let whole = read(text.as_bytes());
    for size in 1..40 {
        let mut reader = Reader::default();
        let fed = text.as_bytes().chunks(size).try_for_each(|piece| reader.feed(piece));
        let pieces = fed.and_then(|()| reader.finish());
        match (&whole, &pieces) {
            (Ok(whole), Ok(pieces)) => {
                assert_eq!(
                    (shown(whole), &whole.operations),
                    (shown(pieces), &pieces.operations),
                    "in pieces of {size}"
                );
            }
            (whole, pieces) => assert_eq!(whole.as_ref().err(), pieces.as_ref().err(), "in pieces of {size}"),
        }
    }
    whole
}

const WANTED: [&str; 3] = [
    "process 0: write 1 (line 2)",
    "process 1: read -> 1 (line 4)",
    "process 0: cas [1 2] of unknown outcome (line 6)",
];

#[test]
fn one_vector_of_edn() {
    let text = "[ ; a run
 {:type :invoke, :f :write, :value 1, :process 0, :time 10, :index 0}
 {:type :info :f :start :process :nemesis :value #{\"n1\" \"n2\"}}
 #jepsen.history.Op{:type :invoke, :f :read, :value nil, :process 1N, :index 2, :extra {:a [1 #_2 \"]\" \\[]}}
 {:type :ok, :f :read, :value 1, :process 1} {:type :ok :f :write :value 1 :process 0 :time 30}
 {:type :invoke, :f :cas, :value [1 2], :process 0}
 {:type :info, :f :cas, :value :timed-out, :process 0, :error :timeout}]\n";
    let history = read_all_ways(text).unwrap();
    assert_eq!(shown(&history), WANTED);
    assert_eq!(history.shades.len(), 1);
    assert_eq!((history.shades[0].at, history.values.show(history.shades[0].f)), (1, "start".into()));
    assert_eq!(history.times[0], (10, 30));
    assert_eq!((history.operations[2].outcome, history.operations[2].returned), (Outcome::Info, NEVER));
}

#[test]
fn a_map_a_line() {
    let edn = "\n{:process 0 :type :invoke :f :write :value 1}\n\n{:process 1 :type :invoke :f :read}
{:process 1 :type :ok :f :read :value 1}{:process 0 :type :ok :f :write :value 1}{:process 0 :type :invoke :f :cas :value [1 2]}";
    let json = "\n{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":1}\n\n{\"process\":1,\"type\":\"invoke\",\"f\":\"read\"}
{\"process\":1,\"type\":\"ok\",\"f\":\"read\",\"value\":1}{\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"value\":1}{\"process\":0,\"type\":\"invoke\",\"f\":\"cas\",\"value\":[1,2]}";
    for text in [edn, json] {
        let history = read_all_ways(text).unwrap();
        let found: Vec<String> =
            shown(&history).iter().map(|line| line.split(" (").next().unwrap().into()).collect();
        let wanted: Vec<&str> = WANTED.iter().map(|line| line.split(" (").next().unwrap()).collect();
        assert_eq!(found, wanted);
    }
}

#[test]
fn lines_of_logs() {
    let text = "starting\nINFO  jepsen.util - 0\t:invoke\t:write\t1\nINFO  jepsen.util - :nemesis\t:info\t:start\tnil
2026-01-01 10:00:00,000{GMT}\tINFO\t[jepsen worker 1] jepsen.util: 1\t:invoke\t:read\tnil\nit said \":ok\" in between
1\t:ok\t:read\t1\n0 :ok :write 1\nINFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]\r\nINFO  jepsen.util - 0\t:info\t:cas\t:timed-out";
    let history = read_all_ways(text).unwrap();
    assert_eq!(history.operations.len(), 3);
    assert_eq!(history.show(1), "process 1: read -> 1 (line 4)");
    assert_eq!(history.show(2), "process 0: cas [1 2] of unknown outcome (line 8)");
}

/// Claim: whole operations are ordered by their times, and equal times are concurrent.
#[test]
fn whole_operations() {
    let text = "{\"process\":\"b\",\"f\":\"read\",\"result\":2,\"start\":20,\"end\":30}
{\"process\":\"a\",\"f\":\"write\",\"value\":2,\"start\":10,\"end\":20}
{\"process\":\"c\",\"f\":\"write\",\"value\":3,\"start\":5}
{\"process\":\"a\",\"f\":\"cas\",\"value\":[2,4],\"start\":40,\"end\":41,\"outcome\":\"fail\"}";
    let history = read_all_ways(text).unwrap();
    let found: Vec<_> = history.operations.iter().map(|it| (it.invoked, it.returned, it.seen)).collect();
    assert_eq!(found, [(0, NEVER, false), (1, 3, true), (2, 4, true), (5, 6, true)]);
    assert_eq!(shown(&history)[2], "process \"b\": read -> 2 (line 1)");
}

#[test]
fn bad_input_is_refused_at_its_place() {
    let invoke = "{:process 0 :type :invoke :f :read}\n";
    let json = "{\"process\":0,\"type\":\"invoke\",\"f\":\"read\"}\n";
    let cases = [
        ("", "1:1: no operation is in it"),
        ("hello\nworld\n", "1:1: no operation is in it"),
        ("[]", "1:1: no operation is in it"),
        ("{:process 0 :type :ok :f :read}", "1:1: process 0 completes an operation that it did not invoke"),
        (
            &(invoke.to_string() + "  " + invoke),
            "2:3: process 0 invokes while its operation of line 1 is open",
        ),
        (
            &(invoke.to_string() + "{:process 0 :type :ok :f :write}"),
            "2:1: this completes write, but line 1 of the same process invoked read",
        ),
        (
            &(invoke.to_string() + "{:process 0 :type :info :f :read}" + invoke),
            "2:34: process 0 acts after an operation of unknown outcome",
        ),
        ("{:process 0 :type :maybe :f :read}", "1:18: an operation's type is invoke, ok, fail or info"),
        ("{:process 0 :f :read}", "1:1: the operation has no type"),
        ("{:process 0 :process 1 :type :invoke :f :read}", "1:13: the operation says its process twice"),
        (
            "{\"process\":0,\"type\":\"invoke\",\"type\":\"ok\",\"f\":\"read\"}",
            "1:30: the operation says its type twice",
        ),
        ("{:process 0 :type :invoke :f :write :value {1 2 3 4 1 5}}", "1:44: the map has the key 1 twice"),
        ("{:process :b :type :ok :f :read}", "1:1: process b completes an operation that it did not invoke"),
        ("{:type :invoke :f :read}", "1:1: the operation has no process"),
        ("{:process 0 :type :invoke}", "1:1: the operation has no f"),
        ("[{:process 0 :type :invoke :f :read}", "1:37: the vector of operations is not closed"),
        ("{:process 0 :type :invoke :f :read :value [1 2", "1:43: the bracket that opens here is not closed"),
        ("{:process 0 :type :invoke :f :read :value \"ä", "1:44: the string that begins here has no end"),
        (
            "{:process 0 :type :invoke :f \"ä\" :value 1 2}",
            "1:44: a bracket closes where a value should stand",
        ),
        ("[{:process 0 :type :invoke :f :read}] 1", "1:39: something follows the vector of operations"),
        ("[1 2]", "1:2: an operation is a map"),
        (&(json.to_string() + "nonsense"), "2:1: nonsense is no JSON value"),
        (
            &(invoke.to_string()
                + "{:process 1 :type :invoke :f :read :index 3} {:process 2 :type :invoke :f :read :index 3}"),
            "2:46: index 3 stands behind index 3",
        ),
        ("0 :invoke :write [1\n", "1:18: the bracket that opens here is not closed"),
        ("{\"process\":0,\"f\":\"read\",\"start\":3,\"end\":2}", "1:1: the operation ends before it starts"),
        (
            "{\"process\":0,\"f\":\"r\",\"start\":3,\"end\":9}\n{\"process\":0,\"f\":\"r\",\"start\":4,\"end\":5}",
            "2:1: it overlaps the operation of line 1 of the same process",
        ),
    ];
    for (text, wanted) in cases {
        match read_all_ways(text) {
            Err(bad) => assert_eq!(bad.to_string(), wanted, "{text}"),
            Ok(history) => panic!("{text} was read as {:?}", shown(&history)),
        }
    }
    let deep = format!(
        "{{:process 0 :type :invoke :f :write :value {}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(read(deep.as_bytes()).unwrap_err().what.contains("nested"));
    assert!(
        read(b"{:process 0 :type :invoke :f :write :value \"\xff\"}").unwrap_err().what.contains("UTF-8")
    );
}

/// Claim: who is named by a keyword is a client like one with a name, and no nemesis; only what tells something without having
/// asked for anything is one.
#[test]
fn keywords_are_clients() {
    let text = "{:process :b :type :invoke :f :read}\n{:process :clock :type :info :value :jump}
{:process \"b\" :type :invoke :f :read}\n{:process :b :type :ok :f :read :value 7}
{:process :b :type :invoke :f :write :value 1}\n{:process :b :type :info :f :write :value 1}";
    let history = read_all_ways(text).unwrap();
    assert_eq!(
        shown(&history),
        [
            "process b: read -> 7 (line 1)",
            "process \"b\": read -> nil of unknown outcome (line 3)",
            "process b: write 1 of unknown outcome (line 5)"
        ]
        .map(|line| line.replace(" -> nil", ""))
    );
    assert_eq!(history.shades.len(), 1);
    let gone = format!("{text}\n{{:process :b :type :invoke :f :read}}");
    assert!(read_all_ways(&gone).unwrap_err().to_string().starts_with("7:1: process b acts after"));
    // In a log a keyword before :ok is talk, unless it asked for something.
    let log = "the :state :ok :since 5\n:b :invoke :read nil\n:b :ok :read 7\n:nemesis :info :start nil\n";
    assert_eq!(shown(&read_all_ways(log).unwrap()), ["process b: read -> 7 (line 2)"]);
}

/// Claim: pairs of a key and a value are told from the pairs of a compare-and-set.
#[test]
fn tuples_are_seen() {
    let tuples =
        "0 :invoke :write [:k 1]\n1 :invoke :read [:k nil]\n2 :invoke :cas [:k [1 2]]\n0 :ok :write [:k 1]";
    let bare = "0 :invoke :cas [1 2]\n1 :invoke :cas [2 3]";
    let mixed = "0 :invoke :cas [1 2]\n1 :invoke :read nil";
    let mut history = read(tuples.as_bytes()).unwrap();
    assert!(history.has_tuples());
    history.split_tuples();
    assert_eq!(history.show(2), "process 2: cas k [1 2] of unknown outcome (line 3)");
    for text in [bare, mixed] {
        assert!(!read(text.as_bytes()).unwrap().has_tuples(), "{text}");
    }
}

/// Claim: what failed by an error saw nothing, and what failed by what it saw did, however it is written.
#[test]
fn errors_are_no_observations() {
    let invoke = "{:process 0 :type :invoke :f :cas :value [1 2]}";
    for (end, seen) in [
        ("{:process 0 :type :fail :f :cas :value [1 2]}", true),
        ("{:process 0 :type :fail :f :cas :value [1 2] :error :not-found}", false),
        ("{:process 0 :type :fail :f :cas :value :timed-out}", false),
    ] {
        let history = read_all_ways(&format!("{invoke}{end}")).unwrap();
        assert_eq!(
            (history.operations[0].outcome, history.operations[0].seen),
            (Outcome::Fail, seen),
            "{end}"
        );
    }
    for (more, seen) in [("", true), (",\"error\":\"no leader\"", false)] {
        let text = format!(
            "{{\"process\":0,\"f\":\"cas\",\"value\":[1,2],\"start\":1,\"end\":2,\"outcome\":\"fail\"{more}}}"
        );
        assert_eq!(read_all_ways(&text).unwrap().operations[0].seen, seen, "{text}");
    }
    for (more, seen) in [("", true), ("\t:timed-out", false)] {
        let history =
            read_all_ways(&format!("0\t:invoke\t:cas\t[1 2]\n0\t:fail\t:cas\t[1 2]{more}\n")).unwrap();
        assert_eq!(history.operations[0].seen, seen, "{more:?}");
    }
}

/// Claim: a nemesis is none of the processes in JSON too, and numbers are what they are, however long.
#[test]
fn names_and_numbers_of_json() {
    let mut text = "{\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"start\",\"value\":null}\n".to_string();
    let numbers =
        ["9223372036854775807", "-9223372036854775808", "999999999999999999", "18446744073709551616"];
    for (process, number) in numbers.iter().enumerate() {
        text +=
            &format!("{{\"process\":{process},\"type\":\"invoke\",\"f\":\"write\",\"value\":{number}}}\n");
    }
    let history = read_all_ways(&text).unwrap();
    assert_eq!((history.shades.len(), history.processes.len()), (1, 4));
    for (operation, number) in history.operations.iter().zip(numbers) {
        assert_eq!(history.values.show(operation.argument), number);
    }
}

/// Claim: no harmed byte of a history ends the program.
#[test]
fn harmed_bytes_end_nothing() {
    let text = b"[#x{:process 0 :type :invoke :f :write :value [1N \"a\\u00e9\" #{\\c}]} {:process 0, :type :ok :f :write}]";
    for at in 0..text.len() {
        for byte in 0..=255 {
            let mut harmed = text.to_vec();
            harmed[at] = byte;
            let _ = read(&harmed);
        }
        let _ = read(&text[..at]);
    }
}

/// Claim: equal times of whole operations overlap, but not those of one process; where no order of moments says that of several processes
/// the history is coarse, and `separate` takes them the other way.
#[test]
fn a_process_ends_one_thing_before_it_begins_the_next() {
    let whole = |rows: &[(u32, i64, i64)]| {
        let line = |&(process, start, end): &(u32, i64, i64)| {
            format!("{{\"process\":{process},\"f\":\"write\",\"value\":1,\"start\":{start},\"end\":{end}}}\n")
        };
        read_all_ways(&rows.iter().map(line).collect::<String>()).unwrap()
    };
    let overlap = |history: &History, one: usize, other: usize| {
        let (one, other) = (&history.operations[one], &history.operations[other]);
        one.invoked < other.returned && other.invoked < one.returned
    };
    // In the middle: one process goes on at 9, others begin, end, and do something within that time.
    let history = whole(&[(0, 5, 9), (1, 6, 9), (0, 9, 12), (2, 9, 13), (3, 9, 9)]);
    let lines: Vec<u32> = history.lines.clone();
    let at = |line: u32| lines.iter().position(|&of| of == line).unwrap();
    assert!(!history.coarse && !overlap(&history, at(1), at(3)));
    for (one, other) in [(1, 4), (2, 3), (2, 4), (1, 5), (5, 3), (2, 5), (5, 4)] {
        assert!(overlap(&history, at(one), at(other)), "lines {one} and {other}: {:?}", history.operations);
    }
    let mut history = whole(&[(0, 5, 9), (1, 6, 9), (0, 9, 12), (1, 9, 13)]);
    assert!(history.coarse && overlap(&history, 0, 2) && overlap(&history, 0, 3));
    history.separate();
    assert!(!overlap(&history, 0, 2) && !overlap(&history, 0, 3) && overlap(&history, 0, 1));
}
