//! `quorate plan` as its users meet it: no cluster, flags or answers in, a plan or a refusal out.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{output, quorate};
use serde_json::Value;
use std::io::Write;
use std::process::Stdio;

fn json(args: &[&str]) -> Value {
    let (code, stdout, stderr) = output(args);
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

/// Runs `quorate plan --ask` with piped answers.
fn ask(answers: &str, more: &[&str]) -> (i32, String, String) {
    let mut args = vec!["plan", "--ask"];
    args.extend(more);
    let mut child =
        quorate(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that has read enough may be gone already.
    let _ = child.stdin.take().unwrap().write_all(answers.as_bytes());
    let done = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// Claim: a way out to a single copy says what that costs.
#[test]
fn a_single_copy_is_not_offered_without_its_price() {
    let (code, _, stderr) = output(&["plan", "--staleness", "500ms"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("--survive 0") && stderr.contains("what its one disk loses is lost"), "{stderr}");
}

/// Claim: a policy gets its plan: mechanism, class, price, what is given up, a drawing, and what is not there yet.
#[test]
fn a_plan_says_what_it_costs() {
    let args = ["plan", "--consistency", "linearizable", "--survive", "1", "--on-partition", "refuse"];
    let (code, stdout, stderr) = output(&args);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for words in [
        "raft x3, majority commit, hash-partitioned",
        "PC/EC",
        "writes and linearizable reads on the minority side of a partition",
        "a confirmed write is lost only if 2 of 3 disks are lost",
        "+-> follower's disk -+- 2 of 3 -> applied -> reply",
        "reaches 1 of 3 replicas",
        "available     now: `quorate space create NAME` with the same words makes such a table",
    ] {
        assert!(stdout.contains(words), "{words}\n{stdout}");
    }
    assert!(!stdout.contains("\x1b["), "colours in a pipe");
    assert_eq!(output(&["plan"]).1, stdout, "this is what one gets who asks for nothing");
}

/// Claim: a contradiction names its rule and the ways out, and ends with 1; `--explain` says what the rule states.
#[test]
fn a_contradiction_names_the_ways_out() {
    let args = ["plan", "--consistency", "linearizable", "--on-partition", "serve"];
    let (code, stdout, stderr) = output(&args);
    assert_eq!((code, stdout.as_str()), (1, ""));
    for words in [
        "error: linearizable reads cannot be served by both sides of a partition (CAP)",
        "hint:  choose --on-partition refuse (linearizable: raft x3",
        "or --consistency causal (causal, for sessions that stay with the replicas that hold their writes",
    ] {
        assert!(stderr.contains(words), "{words}\n{stderr}");
    }
    let (code, _, stderr) = output(&[&args[..], &["--explain"]].concat());
    assert_eq!(code, 1);
    assert!(stderr.contains("Gilbert and Lynch 2002"), "{stderr}");

    let (code, stdout, _) = output(&[&args[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &told["contradictions"][0]["rule"]), (1, &"CAP".into()));
    assert_eq!(told["ways"][0]["change"]["on-partition"], "refuse");
    for way in told["ways"].as_array().unwrap() {
        let command: Vec<_> = way["command"].as_str().unwrap().split(' ').skip(1).collect();
        assert_eq!(output(&command).0, 0, "{way}");
    }
}

/// Claim: JSON has the numbers, and flags ask what they say.
#[test]
fn json_has_the_numbers() {
    let told = json(&[
        "plan",
        "--json",
        "--consistency=eventual",
        "--on-partition=serve",
        "--durability=2",
        "--partition-by=time+hash",
        "--explain",
        "--nodes=10",
        "--shards=1",
    ]);
    assert_eq!((&told["n"], &told["w"], &told["r"]), (&3.into(), &2.into(), &1.into()), "{told}");
    assert_eq!(told["replication"], "quorum:n=3,w=2,r=1");
    assert_eq!((&told["pacelc"]["class"], &told["available"]), (&"PA/EL".into(), &false.into()));
    assert_eq!(told["asked"]["partition-by"], "time+hash");
    assert!(
        told["operations"]
            .as_array()
            .unwrap()
            .iter()
            .any(|op| op["what"] == "write" && op["flushes"]["usual"] == 1)
    );
    assert!(told["rules"].as_array().unwrap().iter().any(|rule| rule["rule"] == "CAP"));
    assert!(told["cluster"]["quorum_lost"].as_f64().unwrap() > 0.0);

    let told = json(&["plan", "--json", "--partition-by", "none"]);
    assert_eq!((&told["available"], &told["protocol"]), (&true.into(), &"raft".into()));
    let told = json(&["plan", "--json", "--consistency", "strict-serializable"]);
    assert_eq!(told["available"], true, "{told}");
    for by in ["range", "hash", "time+hash", "directory"] {
        let told = json(&["plan", "--json", "--partition-by", by]);
        assert_eq!(told["available"], true, "{told}");
    }
}

/// Claim: presets are listed with their departures; one is planned, and flags win over it.
#[test]
fn presets_are_listed_and_planned() {
    let (code, stdout, _) = output(&["plan", "--list-presets"]);
    assert_eq!(code, 0);
    for name in [
        "etcd-like",
        "spanner-like",
        "dynamo-like",
        "cassandra-quorum",
        "postgres-sync",
        "postgres-async",
        "mysql-semi-sync",
        "kafka-acks-all",
    ] {
        assert!(stdout.contains(&format!("{name}\n")), "{name}\n{stdout}");
    }
    assert_eq!(stdout.matches("departs").count(), 8);
    let (code, stdout, _) = output(&["plan", "--preset", "spanner-like"]);
    assert!(code == 0 && stdout.contains("it is not Spanner"), "{stdout}");
    let told = json(&["plan", "--json", "--preset", "etcd-like", "--survive", "2"]);
    assert_eq!(told["n"], 5);
    let (code, _, stderr) = output(&["plan", "--preset", "mongo"]);
    assert!(code == 2 && stderr.contains("\"mongo\"") && stderr.contains("dynamo-like"), "{stderr}");
}

/// Claim: answers on a pipe become a plan, the questions stay out of standard output, and the same can be had by flags.
#[test]
fn answers_on_a_pipe_become_a_plan() {
    let answers = "no\nno\nanything\n\n2\nserve\ntenants\n";
    let (code, stdout, stderr) = ask(answers, &[]);
    assert_eq!(code, 0, "{stderr}");
    let command = "quorate plan --consistency eventual --survive 1 --durability 2 --on-partition serve \
                   --partition-by directory";
    assert!(stdout.starts_with(&format!("asked for: {command}\n\nquorum N=3 W=2 R=1")), "{stdout}");
    assert!(stderr.contains("What must a read see?") && stderr.contains("> anything"), "{stderr}");
    let flags: Vec<_> = command.split(' ').skip(1).collect();
    assert!(stdout.ends_with(&output(&flags).1), "{stdout}");

    let (code, stdout, _) = ask("\n\n\n\n\n\n", &["--survive", "2", "--json"]);
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &told["n"]), (0, &5.into()));
}

/// Claim: an end of standard input, an answer that is none, and answers that contradict each other say what to do.
#[test]
fn bad_answers_say_what_to_do() {
    let (code, stdout, stderr) = ask("no\n", &[]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(
        stderr.contains("standard input ended at question 2") && stderr.contains("--consistency"),
        "{stderr}"
    );
    let (code, _, stderr) = output(&["plan", "--ask"]);
    assert!(code == 2 && stderr.contains("ended at question 1"), "{stderr}");
    let (code, _, stderr) = ask("no\nno\nstrong\n", &[]);
    assert!(
        code == 2 && stderr.contains("answer 3 is \"strong\"") && stderr.contains("one order"),
        "{stderr}"
    );
    let (code, stdout, stderr) = ask("no\nyes\n1\n\nserve\n\n", &[]);
    assert!(
        code == 1 && stderr.contains("(CAP)") && stdout.starts_with("asked for: quorate plan"),
        "{stdout}{stderr}"
    );
}

/// Claim: what is not understood ends with 2 and says what would be; what is understood and cannot be ends with 1.
#[test]
fn bad_flags_say_what_to_write() {
    for (args, words) in [
        (&["--consistency", "strong"][..], "write strict-serializable, linearizable"),
        (&["--survive=-1"], "a whole number from 0 to 99"),
        (&["--survive", "many"], "a whole number from 0 to 99"),
        (&["--staleness", "5"], "700ms, 5s, 2m or 1h"),
        (&["--on-partition", "ignore"], "write refuse or serve"),
        (&["--replication", "quorum:n=3,x"], "behind quorum:"),
        (&["--replication", "gossip"], "raft, quorum, abd, paxos or primary:sync"),
        (&["--partition-by", "list"], "write none, range, hash, directory or time+hash"),
        (&["--shards", "3"], "--nodes"),
        (&["--list-presets", "--json"], "cannot be used with"),
    ] {
        let (code, stdout, stderr) = output(&[&["plan"], args].concat());
        assert!(code == 2 && stderr.contains(words), "{args:?}: {code} {stderr}");
        let told = stdout.contains(r#""kind":"config""#);
        assert_eq!(
            (told, stdout.is_empty()),
            if args.contains(&"--json") { (true, false) } else { (false, true) }
        );
    }
    for (args, words) in [
        (&["--survive", "99"][..], "a shard has 9 at most"),
        (&["--durability", "0"], "1 is the least"),
        (&["--replication", "quorum:n=3,w=4,r=1"], "neither can be more than N"),
        (&["--replication", "quorum:n=3,w=2,r=2", "--consistency", "linearizable"], "(ABD)"),
        (&["--replication", "raft:n=2", "--survive", "1"], "(FLP)"),
        (&["--consistency", "sequential", "--local", "both"], "(Attiya-Welch)"),
        (&["--consistency", "regular", "--replication", "quorum:n=3,w=1,r=1"], "(R+W>N)"),
        (&["--consistency", "sequential", "--over", "space", "--partition-by", "hash"], "(Herlihy-Wing)"),
        (&["--staleness", "100ms"], "(Lundelius-Lynch)"),
        (&["--nodes", "2"], "the plan needs 3 nodes"),
    ] {
        let (code, stdout, stderr) = output(&[&["plan"], args].concat());
        assert!(code == 1 && stdout.is_empty() && stderr.contains(words), "{args:?}: {code} {stderr}");
        assert!(stderr.contains("hint:"), "{args:?}: {stderr}");
    }
}

/// Claim: what does not compose is offered weaker over all keys, or stronger.
#[test]
fn a_way_out_may_be_stronger() {
    let (code, _, stderr) =
        output(&["plan", "--consistency", "sequential", "--over", "space", "--partition-by", "hash"]);
    assert_eq!(code, 1);
    for way in ["--consistency linearizable", "--consistency causal", "--partition-by none", "--over key"] {
        assert!(stderr.contains(way), "{way}: {stderr}");
    }
}

/// Claim: `--help` has examples, and they run.
#[test]
fn the_examples_run() {
    let (code, stdout, _) = output(&["plan", "--help"]);
    assert_eq!(code, 0);
    let examples = stdout
        .lines()
        .filter_map(|line| line.strip_prefix("  quorate "))
        .filter(|line| !line.contains("--ask"));
    let mut ran = 0;
    for example in examples {
        let args: Vec<_> = example.split("   ").next().unwrap().split_whitespace().collect();
        let code = output(&args).0;
        assert_eq!(code, i32::from(example.contains("why not")), "{example}");
        ran += 1;
    }
    assert!(ran >= 7, "{ran}");
    let (code, _, stderr) = ask("no\nno\nanything\n\n\nserve\none by one\n", &["--json"]);
    assert_eq!(code, 0, "{stderr}");
}
