//! Claim: `quorate check` says the truth of histories in files, folders and pipes, by words, exit codes and JSON.

#![allow(missing_docs, clippy::unwrap_used, clippy::format_push_string)]

use crate::common::{Scratch, check, told};
use std::io::Write;
use std::process::{Command, Stdio};

const GOOD: &str = "0 :invoke :write 1\n1 :invoke :read nil\n1 :ok :read 1\n0 :ok :write 1\n";
const STALE: &str = "{:process 0 :type :invoke :f :write :value 1}
{:process 0 :type :ok :f :write :value 1}
{:process 0 :type :invoke :f :write :value 2}
{:process 0 :type :ok :f :write :value 2}
{:process 1 :type :invoke :f :read :value nil}
{:process 1 :type :ok :f :read :value 1}
";

#[test]
fn verdicts_and_exit_codes() {
    let folder = Scratch::new("check-codes");
    folder.write("good.log", GOOD);
    folder.write("stale.edn", STALE);
    folder.write("broken.edn", "{:process 0 :type :ok :f :read}");
    folder.write("README.txt", "no history");
    let register = |files: &[&str]| check(&folder.0, &[files, &["--model", "register"]].concat());

    let (code, out, _) = register(&["good.log"]);
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("holds: it is linearizable, says") && out.contains("(register, 2 operations"),
        "{out}"
    );

    let (code, out, _) = register(&["stale.edn"]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("process 1: read -> 1 (line 5)") && out.contains("the core, 3 of 3 operations"),
        "{out}"
    );

    let (code, _, err) = register(&["broken.edn"]);
    assert_eq!(code, 3);
    assert!(err.contains("broken.edn:1:1: process 0 completes an operation that it did not invoke"), "{err}");

    // The worst decides, and a file of a folder that is no history is passed over.
    assert_eq!(register(&["good.log", "stale.edn"]).0, 1);
    assert_eq!(register(&["."]).0, 3);
    std::fs::remove_file(folder.0.join("broken.edn")).unwrap();
    let (code, out, _) = register(&["."]);
    assert_eq!(code, 1);
    assert!(out.contains("2 files: 1 hold, 1 violated"), "{out}");
    assert_eq!(register(&["nowhere.edn"]).0, 3);
    assert_eq!(register(&["README.txt"]).0, 3);
}

#[test]
fn expected_verdicts() {
    let folder = Scratch::new("check-expect");
    std::fs::create_dir(folder.0.join("runs")).unwrap();
    folder.write("runs/good.log", GOOD);
    folder.write("runs/stale.edn", STALE);
    folder.write("runs/VERDICTS.txt", "good.log linearizable\nstale.edn not linearizable\n");
    let expect = |list: &str| check(&folder.0, &["runs", "--model", "register", "--expect", list]);
    let (code, out, _) = expect("VERDICTS.txt");
    assert!(code == 0 && out.contains("all as expected"), "{code} {out}");
    folder.write("wrong.txt", "good.log not linearizable\nstale.edn violated\n");
    let (code, out, _) = expect("wrong.txt");
    assert!(code == 1 && out.contains("1 not as expected"), "{code} {out}");
    folder.write("more.txt", "good.log holds\nstale.edn violated\ngone.edn holds\n");
    let (code, _, err) = expect("more.txt");
    assert!(code == 1 && err.contains("expected, but not there: gone.edn"), "{code} {err}");
    folder.write("nonsense.txt", "good.log perhaps\n");
    let (code, _, err) = expect("nonsense.txt");
    assert!(code == 3 && err.contains("nonsense.txt:1:10"), "{code} {err}");
}

#[test]
fn pipes_json_and_junit() {
    let folder = Scratch::new("check-json");
    let mut child = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["check", "-", "--model", "register", "--json", "--junit", "report.xml"])
        .current_dir(&folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(STALE.as_bytes()).unwrap();
    let (code, out, _) = told(child.wait_with_output().unwrap());
    assert_eq!(code, 1);
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["verdict"], "violated");
    assert_eq!(lines[0]["blocked"][0]["line"], 5);
    assert_eq!(lines[0]["core"].as_array().map(Vec::len), Some(3));
    assert_eq!(lines[1]["summary"]["violated"], 1);
    let report = std::fs::read_to_string(folder.0.join("report.xml")).unwrap();
    assert!(
        report.contains("tests=\"1\" failures=\"1\"") && report.contains("it is not linearizable"),
        "{report}"
    );
}

/// Claim: a command line that makes no sense is bad input here, since 2 means unknown.
#[test]
fn bad_command_lines() {
    let folder = Scratch::new("check-usage");
    folder.write("good.log", GOOD);
    let wrong: [&[&str]; 6] = [
        &["good.log"],
        &["good.log", "--model", "regster"],
        &["good.log", "--model", "register", "--initial", "[1"],
        &["good.log", "--model", "queue"],
        &["good.log", "--model", "register", "--level", "serial"],
        &["--nonsense"],
    ];
    for args in wrong {
        let (code, _, err) = check(&folder.0, args);
        assert!(code == 3 && !err.is_empty(), "{args:?}: {code} {err}");
    }
    assert_eq!(check(&folder.0, &["--help"]).0, 0);
    let (code, out, _) = check(&folder.0, &["--models"]);
    assert!(code == 0 && out.contains("fifo-queue"), "{out}");
}

/// Claim: a search that has no end within its time ends as unknown.
#[test]
fn a_spent_budget_is_unknown() {
    let folder = Scratch::new("check-budget");
    // Thirty concurrent additions of different powers of two, and a read of a sum that they do not give.
    let mut text = String::new();
    for process in 0..30 {
        text += &format!("{process} :invoke :add {}\n", 2u64 << process);
    }
    text += "30 :invoke :read nil\n30 :ok :read 1\n";
    for process in 0..30 {
        text += &format!("{process} :ok :add {}\n", 2u64 << process);
    }
    folder.write("hard.log", &text);
    let (code, out, _) = check(&folder.0, &["hard.log", "--model", "counter", "--time", "0.2"]);
    assert!(code == 2 && out.contains("unknown: the time is spent"), "{code} {out}");
    let (code, out, _) = check(&folder.0, &["hard.log", "--model", "counter", "--memory", "1"]);
    assert!(code == 2 && out.contains("unknown: the memory is spent"), "{code} {out}");
    // The time counts from the first byte on: what is not read in time is not judged.
    folder.write("long.log", &GOOD.repeat(20_000));
    for (file, model) in [("long.log", "register"), ("long.log", "unique-ids"), ("long.log", "list-append")] {
        let (code, out, _) = check(&folder.0, &[file, "--model", model, "--time", "0.000001", "--json"]);
        assert!(code == 2 && out.contains("not read to its end"), "{code} {out}");
    }
}

/// Claim: several levels are told together, by the least that is refuted and the most that is not.
#[test]
fn levels() {
    let folder = Scratch::new("check-levels");
    folder.write("stale.edn", STALE);
    let (code, out, _) = check(&folder.0, &["stale.edn", "--model", "register", "--level", "all"]);
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains(
            "the least that is refuted: linearizable; the most that is not: sequential, convergence"
        ),
        "{out}"
    );
    let (code, out, _) =
        check(&folder.0, &["stale.edn", "--model", "register", "--level", "sequential,causal"]);
    assert!(code == 0 && out.contains("causal: holds"), "{code} {out}");
    // What a session wrote itself it must read.
    folder.write("own.log", "0 :invoke :write 1\n0 :ok :write 1\n0 :invoke :read nil\n0 :ok :read nil\n");
    let (code, out, _) = check(&folder.0, &["own.log", "--model", "register", "--level", "ryw", "--json"]);
    let line: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((code, &line["levels"]["read-your-writes"]["verdict"]), (1, &"refuted".into()), "{out}");
    let (code, out, _) = check(&folder.0, &["--explain"]);
    assert!(code == 0 && out.contains("1611.00580"), "{out}");
}

/// Claim: the page holds the history and its witness, needs nothing else, and nothing in a value can break out of it.
#[test]
fn pages() {
    let folder = Scratch::new("check-pages");
    folder.write("stale.edn", &STALE.replace(":value 1}", ":value \"</script><b>\"}"));
    let (code, ..) = check(&folder.0, &["stale.edn", "--model", "register", "--html", "report.html"]);
    assert_eq!(code, 1);
    let page = std::fs::read_to_string(folder.0.join("report.html")).unwrap();
    assert!(page.contains("\\u003c/script>\\u003cb>") && !page.contains("</script><b>"), "{page}");
    assert!(!page.contains("/*DATA*/") && !page.contains("http"), "it asks for something else");
    // A long history is cut to a window around its violation.
    let mut long = String::new();
    for value in 0..40_000 {
        long += &format!("0 :invoke :write {value}\n0 :ok :write {value}\n");
    }
    long += "1 :invoke :read nil\n1 :ok :read 7\n";
    folder.write("long.log", &long);
    let (code, ..) = check(&folder.0, &["long.log", "stale.edn", "--model", "register", "--html", "pages"]);
    assert_eq!(code, 1);
    let page = std::fs::read_to_string(folder.0.join("pages/001-long.log.html")).unwrap();
    assert!(page.len() < 5 << 20 && page.contains("read -> 7"), "{} bytes", page.len());
    assert!(
        std::fs::read_to_string(folder.0.join("pages/index.html")).unwrap().contains("002-stale.edn.html")
    );
}

/// Claim: a file that grows is judged while it grows, and its run is stopped at the first violation.
#[test]
fn a_growing_file_is_followed() {
    let folder = Scratch::new("check-follow");
    folder.write("run.jsonl", "");
    let mut child = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args([
            "check",
            "--follow",
            "run.jsonl",
            "--model",
            "register",
            "--on-violation",
            "echo stopped > stopped",
        ])
        .current_dir(&folder.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(folder.0.join("run.jsonl")).unwrap();
    let mut event = |kind: &str, f: &str, value: &str| {
        writeln!(file, "{{\"process\":0,\"type\":\"{kind}\",\"f\":\"{f}\",\"value\":{value}}}").unwrap();
    };
    for value in 0..100 {
        event("invoke", "write", &value.to_string());
        event("ok", "write", &value.to_string());
    }
    assert!(child.try_wait().unwrap().is_none(), "nothing is violated yet");
    event("invoke", "read", "null");
    event("ok", "read", "5");
    let (code, out, _) = told(child.wait_with_output().unwrap());
    assert!(code == 1 && out.contains("read -> 5 (line 201)"), "{code} {out}");
    assert_eq!(std::fs::read_to_string(folder.0.join("stopped")).unwrap(), "stopped\n");
    // What went well is over when nothing comes any more, or at the end of a pipe.
    folder.write("good.log", GOOD);
    let (code, out, _) = check(&folder.0, &["--follow", "good.log", "--model", "register", "--idle", "0.1"]);
    assert!(code == 0 && out.contains("holds"), "{code} {out}");
    // One that is written anew, or replaced, does not go on: what is in it now was not judged.
    for (name, anew) in [
        ("cut.log", ""),
        ("anew.log", "0 :invoke :read nil\n0 :ok :read 9\n0 :invoke :write 3\n"),
        ("moved.log", GOOD),
    ] {
        folder.write(name, GOOD);
        let args = ["check", "--follow", name, "--model", "register", "--idle", "20"];
        let child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(args)
            .current_dir(&folder.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(500));
        if name == "moved.log" {
            std::fs::rename(folder.0.join(name), folder.0.join("old.log")).unwrap();
        }
        folder.write(name, anew);
        let (code, out, err) = told(child.wait_with_output().unwrap());
        assert!(
            code == 3 && (out.clone() + &err).contains("cannot be read on"),
            "{name}: {code} {out} {err}"
        );
    }
    folder.write("whole.jsonl", "{\"process\":0,\"f\":\"read\",\"start\":3,\"end\":4}\n");
    let (code, _, err) = check(&folder.0, &["--follow", "whole.jsonl", "--model", "register"]);
    assert!(code == 3 && err.contains("write events"), "{code} {err}");
}

/// Claim: what begins as a pair holds pairs, nothing is no proof, and what a command line asks is told as it was asked.
#[test]
fn what_a_stranger_tried() {
    let folder = Scratch::new("check-stranger");
    let run = |args: &[&str]| check(&folder.0, args);
    folder.write("pair.log", "0 :invoke :cas [[0 0] [1 1]]\n0 :ok :cas [[0 0] [1 1]]\n");
    let (code, out, _) = run(&["pair.log", "-m", "cas-register", "--initial", "[0 0]"]);
    assert!(code == 0, "{out}");
    folder.write("failed.log", "0 :invoke :write 1\n0 :fail :write 1\n:nemesis :info :kill nil\n");
    for level in ["linearizable", "all"] {
        let (code, out, _) = run(&["failed.log", "-m", "register", "--level", level]);
        assert!(code == 2, "{level}: {code} {out}");
    }
    let (_, out, _) = run(&["failed.log", "-m", "register"]);
    assert!(out.contains("nothing was judged"), "{out}");
    for (bytes, what) in
        [(&b"\x1f\x8b\x08\0"[..], "gzip"), (b"\x28\xb5\x2f\xfd\0", "zstd"), (b"\xff\xfe0\0", "UTF-16")]
    {
        std::fs::write(folder.0.join("packed.log"), bytes).unwrap();
        let (code, out, err) = run(&["packed.log", "-m", "register"]);
        assert!(code == 3 && (out.clone() + &err).contains(what), "{what}: {code} {out} {err}");
    }
    folder.write("lost.log", "0 :invoke :write 1\n0 :info :write 1\n1 :invoke :write 2\n");
    for level in ["linearizable", "all", "sequential"] {
        let (code, out, _) = run(&["lost.log", "-m", "register", "--level", level]);
        assert!(code == 2 && out.contains("nothing was judged"), "{level}: {code} {out}");
    }
    folder.write("bad.jsonl", "{\"process\":0,\"type\":\"ok\",\"f\":\"txn\",\"value\":[]}\n");
    let (code, out, _) = run(&["bad.jsonl", "-m", "predicate", "--json"]);
    let line: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((code, &line["level"]), (3, &"strict-serializable".into()), "{out}");
    let (code, _, err) = run(&["pair.log", "-m", "register", "--time", "-1"]);
    assert!(code == 3 && err.contains("give seconds, above 0"), "{err}");
    let (_, _, err) = run(&["pair.log", "-m", "nosuch"]);
    assert!(["register", "list-append", "bank", "watch"].iter().all(|name| err.contains(name)), "{err}");
    let (code, out, _) = run(&["--models", "--json"]);
    let models: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        code == 0 && models.iter().any(|model| model["model"] == "watch" && model["levels"][0] == "ordered")
    );
}

/// Claim: a beginning is not held against a whole that mends it: a record that is polled later, a read whose write is invoked later.
#[test]
fn what_comes_later_may_mend_a_beginning() {
    let folder = Scratch::new("check-late");
    let log = "{\"process\":0,\"type\":\"invoke\",\"f\":\"send\",\"value\":[[\"send\",1,7]]}
{\"process\":0,\"type\":\"ok\",\"f\":\"send\",\"value\":[[\"send\",1,[0,7]]]}
{\"process\":0,\"type\":\"invoke\",\"f\":\"send\",\"value\":[[\"send\",1,8]]}
{\"process\":0,\"type\":\"ok\",\"f\":\"send\",\"value\":[[\"send\",1,[1,8]]]}
{\"process\":1,\"type\":\"invoke\",\"f\":\"poll\",\"value\":[[\"poll\"]]}
{\"process\":1,\"type\":\"ok\",\"f\":\"poll\",\"value\":[[\"poll\",{\"1\":[[1,8]]}]]}
";
    let later = "{\"process\":2,\"type\":\"invoke\",\"f\":\"poll\",\"value\":[[\"poll\"]]}
{\"process\":2,\"type\":\"ok\",\"f\":\"poll\",\"value\":[[\"poll\",{\"1\":[[0,7],[1,8]]}]]}
";
    let read = "0 :invoke :read nil\n0 :ok :read 1\n";
    let written = "1 :invoke :write 1\n1 :ok :write 1\n";
    for (name, first, rest, args) in [
        ("log.jsonl", log, later, &["--model", "log"][..]),
        (
            "run.log",
            read,
            written,
            &["--model", "register", "--level", "sequential,causal,read-your-writes"][..],
        ),
    ] {
        folder.write(name, first);
        let mut all = vec!["check", "--follow", name, "--idle", "1"];
        all.extend(args);
        let child = Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(&all)
            .current_dir(&folder.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(400));
        let mut file = std::fs::OpenOptions::new().append(true).open(folder.0.join(name)).unwrap();
        file.write_all(rest.as_bytes()).unwrap();
        let (code, out, err) = told(child.wait_with_output().unwrap());
        assert!(code == 0, "{name}: {code} {out} {err}");
        // And what nothing mends is violated in the end.
        folder.write(name, first);
        let (code, out, err) = check(&folder.0, &all[1..]);
        assert!(code == 1, "{name}: {code} {out} {err}");
    }
}

/// Claim: times that touch within one process are no overlap; where they touch in several, only what holds either way holds.
#[test]
fn times_that_touch_are_an_order_within_a_process() {
    let folder = Scratch::new("check-touch");
    let row = |process: u32, f: &str, value: &str, start: u32, end: u32| {
        let name = if f == "read" { "result" } else { "value" };
        format!(
            "{{\"process\":{process},\"f\":\"{f}\",\"{name}\":{value},\"start\":{start},\"end\":{end}}}\n"
        )
    };
    let unread = row(0, "write", "1", 5, 9) + &row(0, "read", "null", 9, 12);
    folder.write("unread.jsonl", &unread);
    for level in ["linearizable", "read-your-writes", "all"] {
        let (code, out, _) = check(&folder.0, &["unread.jsonl", "--model", "register", "--level", level]);
        assert_eq!(code, 1, "{level}: {out}");
    }
    folder.write("coarse.jsonl", &(unread + &row(1, "read", "null", 1, 9) + &row(1, "read", "null", 9, 12)));
    let (code, out, _) = check(&folder.0, &["coarse.jsonl", "--model", "register"]);
    assert!(code == 2 && out.contains("finer times"), "{code} {out}");
    let (code, out, _) = check(&folder.0, &["coarse.jsonl", "--model", "register", "--level", "all"]);
    assert!(code == 1 && out.contains("read-your-writes"), "{code} {out}");
    let (code, out, _) = check(&folder.0, &["coarse.jsonl", "--model", "register", "--level", "sequential"]);
    assert!(code == 1, "{code} {out}");
    let fine = row(0, "write", "1", 5, 9) + &row(0, "read", "1", 9, 12);
    folder.write("fine.jsonl", &(fine + &row(1, "read", "null", 1, 9) + &row(1, "read", "1", 9, 12)));
    let (code, out, _) = check(&folder.0, &["fine.jsonl", "--model", "register"]);
    assert_eq!(code, 0, "{out}");
}

/// Claim: what was not looked at is not said to hold, and who is named by a keyword is judged.
#[test]
fn nothing_is_judged_by_half() {
    let folder = Scratch::new("check-half");
    let run = |args: &[&str]| check(&folder.0, args);
    folder.write(
        "keyword.edn",
        "{:process 0, :type :invoke, :f :write, :value 1}\n{:process 0, :type :ok, :f :write, :value 1}
{:process :b, :type :invoke, :f :read}\n{:process :b, :type :ok, :f :read, :value 7}",
    );
    let (code, out, _) = run(&["keyword.edn", "-m", "register"]);
    assert!(code == 1 && out.contains("process b: read -> 7 (line 3)"), "{code} {out}");
    folder.write("sent.log", "0 :invoke :send [:send :k 1]\n0 :ok :send [:send :k [0 1]]\n");
    let (code, out, _) = run(&["sent.log", "-m", "log"]);
    assert!(code == 2 && out.contains("7 of 11 promises are open: no record was polled"), "{code} {out}");
    let put = "{\"process\":0,\"type\":\"invoke\",\"f\":\"put\",\"key\":\"k\",\"value\":1}";
    let done = put.replace("invoke", "ok").replace('}', ",\"version\":5}");
    folder.write("put.jsonl", &format!("{put}\n{done}\n"));
    let (code, out, _) = run(&["put.jsonl", "-m", "watch"]);
    assert!(code == 2 && out.contains("no watch told of any event"), "{code} {out}");
    let txn = |kind: &str, value: &str| {
        format!("{{\"process\":0,\"type\":\"{kind}\",\"f\":\"txn\",\"value\":{value}}}\n")
    };
    let (append, read) = ("[[\"append\",\"x\",1]]", "[[\"r\",\"x\",[1]]]");
    folder.write(
        "again.jsonl",
        &[txn("invoke", append), txn("info", append), txn("invoke", "[[\"r\",\"x\",null]]"), txn("ok", read)]
            .concat(),
    );
    let (code, _, err) = run(&["again.jsonl", "-m", "list-append"]);
    assert!(
        code == 3 && err.contains("again.jsonl:3:1: process 0 acts after a transaction of unknown outcome"),
        "{err}"
    );
}

/// Claim: keyed sets are seen by looking, as other keyed objects are.
#[test]
fn keyed_sets_are_seen() {
    let folder = Scratch::new("check-keyed");
    folder.write(
        "sets.log",
        "0 :invoke :add [0 5]\n0 :ok :add [0 5]\n1 :invoke :read [0 nil]\n1 :ok :read [0 [5]]
0 :invoke :add [1 6]\n0 :ok :add [1 6]\n1 :invoke :read [1 nil]\n1 :ok :read [1 #{6}]\n",
    );
    let (code, out, _) = check(&folder.0, &["sets.log", "-m", "set-full"]);
    assert!(code == 0 && out.contains("2 elements, 2 reads of 2 sets"), "{code} {out}");
    assert_eq!(check(&folder.0, &["sets.log", "-m", "set-full", "--tuples", "false"]).0, 1);
    // Elements that are pairs are none, where reads are of the whole set.
    folder.write(
        "pairs.log",
        "0 :invoke :add [1 2]\n0 :ok :add [1 2]\n1 :invoke :read nil\n1 :ok :read [[1 2]]\n",
    );
    assert_eq!(check(&folder.0, &["pairs.log", "-m", "set-full"]).0, 0);
}

/// Claim: of a run of Jepsen one history is judged, once, whatever else its folder holds and whatever links to it.
#[test]
fn a_store_of_jepsen_is_judged_run_by_run() {
    let folder = Scratch::new("check-store");
    for name in ["store/t/1/n1", "store/t/1/independent/0", "store/t/2"] {
        std::fs::create_dir_all(folder.0.join(name)).unwrap();
    }
    folder.write("store/t/1/history.edn", &STALE.replace(":read :value 1", ":read :value 2"));
    folder.write("store/t/1/history.txt", GOOD);
    folder.write("store/t/1/jepsen.log", GOOD);
    folder.write("store/t/1/results.edn", "{:valid? true}");
    folder.write("store/t/1/n1/db.log", GOOD);
    folder.write("store/t/1/independent/0/history.edn", STALE);
    folder.write("store/t/2/jepsen.log", GOOD);
    folder.write("store/t/2/history.txt", GOOD);
    folder.write("store/t/2/results.edn", "{:valid? :unknown}");
    for (link, to) in [("store/latest", "t/2"), ("store/t/latest", "2"), ("store/t/a.edn", "1/history.edn")] {
        std::os::unix::fs::symlink(to, folder.0.join(link)).unwrap();
    }
    let (code, out, err) = check(&folder.0, &["store", "-m", "register"]);
    assert!(code == 0 && out.contains("2 files: 2 hold, 0 violated"), "{code} {out} {err}");
    assert!(out.contains("1/history.edn: holds") && out.contains("2/history.txt: holds"), "{out}");
    // A link to what lies elsewhere is followed, and a ring of links ends.
    std::os::unix::fs::symlink(folder.0.join("store/t/1/n1/db.log"), folder.0.join("store/b.log")).unwrap();
    std::os::unix::fs::symlink("..", folder.0.join("store/t/up")).unwrap();
    folder.write("elsewhere.edn", STALE);
    std::os::unix::fs::symlink("../elsewhere.edn", folder.0.join("store/c.edn")).unwrap();
    let (code, out, _) = check(&folder.0, &["store", "-m", "register"]);
    assert!(code == 1 && out.contains("store/c.edn: violated"), "{code} {out}");
    assert_eq!(out.matches("holds").count(), 3, "{out}");
}

/// Claim: verdicts are told in words that mean what they say.
#[test]
fn words_say_what_is_meant() {
    let folder = Scratch::new("check-words");
    let run = |args: &[&str]| check(&folder.0, args);
    folder.write("stale.edn", STALE);
    for level in ["monotonic-writes", "monotonic-reads", "pram"] {
        let (code, out, _) = run(&["stale.edn", "-m", "register", "--level", level]);
        let wanted =
            if code == 0 { format!("{level} holds, says") } else { format!("{level} does not hold, says") };
        assert!(out.contains(&wanted), "{level}: {code} {out}");
    }
    let (code, _, err) = run(&["--follow", "stale.edn", "-m", "set-full"]);
    assert!(code == 3 && err.contains("set-full only when all is there"), "{code} {err}");
    folder.write(
        "late.edn",
        "{:process 0 :type :invoke :f :txn :value [[:w 1 1]]}{:process 0 :type :ok :f :txn :value [[:w 1 1]]}
{:process 1 :type :invoke :f :txn :value [[:r 1 nil]]}{:process 1 :type :ok :f :txn :value [[:r 1 nil]]}",
    );
    let (code, out, _) = run(&["late.edn", "-m", "rw-register", "-l", "serializable", "--complete"]);
    assert!(code == 0 && out.contains("it is serializable") && out.contains("proved: "), "{code} {out}");
    assert!(!out.contains("strongest that are not"), "{out}");
    // Of either order of 1 one reader overlooks a write whose writer overlooked its own: only the search sees both.
    let ends = [
        ("[:w 1 1] [:r 4 nil]", "[:w 1 1] [:r 4 nil]"),
        ("[:w 1 2] [:r 3 nil]", "[:w 1 2] [:r 3 nil]"),
        ("[:r 1 nil] [:w 3 1]", "[:r 1 1] [:w 3 1]"),
        ("[:r 1 nil] [:w 4 1]", "[:r 1 2] [:w 4 1]"),
    ];
    let event = |(process, kind, value): (usize, &str, &str)| {
        format!("{{:process {process} :type :{kind} :f :txn :value [{value}]}}\n")
    };
    let begun = ends.iter().enumerate().map(|(process, (asked, _))| event((process, "invoke", asked)));
    let ended = ends.iter().enumerate().map(|(process, (_, told))| event((process, "ok", told)));
    folder.write("skew.edn", &begun.chain(ended).collect::<String>());
    let (code, out, _) = run(&["skew.edn", "-m", "rw-register", "-l", "serializable", "--complete"]);
    assert!(code == 1 && out.contains("it is not serializable, says search"), "{code} {out}");
    assert!(
        out.contains("refuted: repeatable-read, and all") && out.contains("proved: strong-snapshot"),
        "{out}"
    );
}

/// Claim: `quorate check` reads the histories of `quorate verify` as its page says.
#[test]
fn histories_of_verify_are_read() {
    let folder = Scratch::new("check-verify");
    let line = |process: u32, kind: &str, f: &str, rest: &str| {
        format!("{{\"process\":{process},\"type\":\"{kind}\",\"f\":\"{f}\",{rest},\"node\":1}}\n")
    };
    let done = |process, f: &str, asked: &str, told: &str| {
        line(process, "invoke", f, asked) + &line(process, "ok", f, told)
    };
    let run = |file: &str, args: &[&str]| check(&folder.0, &[&[file], args].concat());
    let bank = |read: &str| {
        [
            done(0, "read-bank", "\"value\":null", "\"value\":[]"),
            done(0, "open", "\"value\":[2,100]", "\"value\":[2,100]"),
            done(1, "transfer", "\"value\":[0,1,3]", "\"value\":[0,1,3]"),
            done(0, "read-bank", "\"value\":null", read),
        ]
        .concat()
    };
    folder.write("history-bank.jsonl", &bank("\"value\":[97,103]"));
    folder.write("lost-bank.jsonl", &bank("\"value\":[97,100]"));
    for initial in ["{0 100, 1 100}", "200"] {
        let (code, out, err) = run("history-bank.jsonl", &["-m", "bank", "--initial", initial]);
        assert!(code == 0 && out.contains("1 reads of a bank that was not open yet"), "{out}{err}");
        assert_eq!(run("lost-bank.jsonl", &["-m", "bank", "--initial", initial]).0, 1);
    }
    let stale = |read: &str| {
        done(0, "write", "\"key\":\"k\",\"value\":1", "\"key\":\"k\",\"value\":1")
            + &done(1, "stale-read", "\"key\":\"k\",\"value\":null", read)
    };
    folder.write("history-stale.jsonl", &stale("\"key\":\"k\",\"value\":null"));
    let (code, out, err) = run("history-stale.jsonl", &["-m", "register"]);
    assert!(code == 1 && out.contains("process 1: stale-read \"k\" -> nil (line 3)"), "{out}{err}");
    assert_eq!(run("history-stale.jsonl", &["-m", "register", "-l", "sequential"]).0, 0);
    let lists = done(0, "again", "\"value\":null", "\"value\":true")
        + &line(0, "invoke", "again", "\"value\":null")
        + &line(0, "info", "again", "\"value\":null")
        + &done(1, "txn", "\"value\":[[\"append\",\"x\",1]]", "\"value\":[[\"append\",\"x\",1]]")
        + &done(1, "txn", "\"value\":[[\"r\",\"x\",null]]", "\"value\":[[\"r\",\"x\",[1]]]");
    folder.write("history-table-append.jsonl", &lists);
    let (code, out, err) = run("history-table-append.jsonl", &["-m", "list-append"]);
    assert!(code == 0 && out.contains("2 transactions of 1 processes"), "{out}{err}");
}
