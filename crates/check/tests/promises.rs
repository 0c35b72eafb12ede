//! Claim: each promise of logs and watches is broken by a history that shows it, and kept by one that just avoids it.

#![allow(missing_docs)]

use quorate_check::promises::Model;
use quorate_check::read::read;
use quorate_check::verdict::Verdict;

/// The promises that a history breaks.
fn broken(model: &str, text: &str) -> Vec<&'static str> {
    let history = read(text.as_bytes()).unwrap_or_else(|bad| panic!("{bad}: {text}"));
    let found = Model::named(model).unwrap().judge(&history).unwrap_or_else(|bad| panic!("{bad}: {text}"));
    let refuted = |(name, verdict): (&'static str, Verdict)| match verdict {
        Verdict::Refuted(witness) => {
            assert!(!witness.core.is_empty() && !witness.words.is_empty(), "{name} without a witness");
            Some(name)
        }
        Verdict::Proved { .. } => None,
        other => panic!("{name}: {other:?}"),
    };
    found.into_iter().filter_map(refuted).collect()
}

/// Lines of `process f argument / result`; `!` in front: it failed.
fn log(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        let (failed, line) = line.strip_prefix('!').map_or((false, *line), |line| (true, line));
        let (head, result) = line.split_once(" / ").unwrap_or((line, ""));
        let (process, rest) = head.split_once(' ').unwrap();
        let (f, argument) = rest.split_once(' ').unwrap();
        let end = if failed { "fail" } else { "ok" };
        let result = if result.is_empty() { argument } else { result };
        text += &format!("{{:process {process} :type :invoke :f :{f} :value {argument}}}\n");
        text += &format!("{{:process {process} :type :{end} :f :{f} :value {result}}}\n");
    }
    text
}

const SEND: &str = "0 send [[:send :k :a]] / [[:send :k [0 :a]]]";
const SEND_B: &str = "0 send [[:send :k :b]] / [[:send :k [1 :b]]]";
const SEND_C: &str = "0 send [[:send :k :c]] / [[:send :k [5 :c]]]";
const POLL: &str = "1 poll [[:poll]] / [[:poll {:k [[0 :a] [1 :b] [5 :c]]}]]";

#[test]
fn logs() {
    let all = [SEND, SEND_B, SEND_C];
    let with = |more: &[&str]| broken("log", &log(&[&all[..], more].concat()));
    let none: [&str; 0] = [];
    assert_eq!(with(&[POLL]), none);
    // One operation after the other goes on where the last ended, also after a gap of offsets.
    let first = "1 poll [[:poll]] / [[:poll {:k [[0 :a]]}]]";
    let second = "1 poll [[:poll]] / [[:poll {:k [[1 :b]]}]]";
    let third = "1 poll [[:poll]] / [[:poll {:k [[5 :c]]}]]";
    assert_eq!(with(&[first, second, third]), none);
    assert_eq!(with(&[POLL, first, third]), ["no-external-skip", "monotonic-external-polls"]);
    // Who is sent elsewhere is not held to where he was; who subscribed may be moved at any time.
    assert_eq!(with(&[POLL, "1 assign [:k]", first]), none);
    assert_eq!(with(&["1 subscribe [:k]", POLL, first]), none);
    assert_eq!(
        with(&["1 poll [[:poll]] / [[:poll {:k [[0 :a] [5 :c]]}]]", second]),
        ["no-internal-skip", "monotonic-external-polls"]
    );
    assert_eq!(with(&["1 poll [[:poll]] / [[:poll {:k [[1 :b] [0 :a]]}]]"]), ["monotonic-internal-polls"]);
    assert_eq!(
        with(&["1 poll [[:poll]] / [[:poll {:k [[0 :a]]}]]", "2 poll [[:poll]] / [[:poll {:k [[5 :c]]}]]"]),
        ["no-lost-write"]
    );
    assert_eq!(with(&[first]), none, "what nobody came to yet is not lost");
    assert_eq!(with(&[POLL, "2 poll [[:poll]] / [[:poll {:k [[5 :d]]}]]"]), ["consistent-offsets"]);
    assert_eq!(with(&[POLL, "2 poll [[:poll]] / [[:poll {:k [[7 :c]]}]]"]), ["no-duplicate"]);
    let failed = "!3 send [[:send :k :x]]";
    assert_eq!(with(&[failed, POLL]), none);
    assert_eq!(with(&[failed, POLL, "2 poll [[:poll]] / [[:poll {:k [[6 :x]]}]]"]), ["no-aborted-read"]);
    assert_eq!(with(&["0 send [[:send :k :d]] / [[:send :k [3 :d]]]"]), ["monotonic-sends"]);
    // Two transactions that each polled what the other sent.
    let one = "4 txn [[:send :x 1] [:poll]] / [[:send :x [0 1]] [:poll {:y [[0 2]]}]]";
    let other = "5 txn [[:send :y 2] [:poll]] / [[:send :y [0 2]] [:poll {:x [[0 1]]}]]";
    let blind = "5 txn [[:send :y 2] [:poll]] / [[:send :y [0 2]] [:poll {}]]";
    assert_eq!(broken("log", &log(&[one, other])), ["no-G1c"]);
    assert_eq!(broken("log", &log(&[one, blind])), none);
    let history = read(log(&["0 write [[:send :k :a]]"]).as_bytes()).unwrap();
    assert!(Model::named("kafka").unwrap().judge(&history).unwrap_err().what.contains("not write"));
}

const WRITES: &str = r#"{"process":0,"type":"invoke","f":"put","key":"a1","value":"x"}
{"process":0,"type":"ok","f":"put","key":"a1","value":"x","version":2}
{"process":0,"type":"invoke","f":"txn","value":[["put","a1","y"],["put","a2","z"]]}
{"process":0,"type":"ok","f":"txn","value":[["put","a1","y"],["put","a2","z"]],"version":3}
{"process":0,"type":"invoke","f":"delete","key":"a1"}
{"process":0,"type":"ok","f":"delete","key":"a1","value":1,"version":4}
{"process":0,"type":"invoke","f":"put","key":"a1","value":"w"}
{"process":0,"type":"ok","f":"put","key":"a1","value":"w","version":5}
"#;

/// A watch with its responses.
fn watch(asked: &str, responses: &[&str]) -> String {
    let told = responses.join(",");
    format!(
        "{WRITES}{{\"process\":1,\"type\":\"invoke\",\"f\":\"watch\",\"value\":{asked}}}\n{{\"process\":1,\"type\":\"ok\",\"f\":\"watch\",\"value\":[{told}]}}\n"
    )
}

fn events(all: &[&str]) -> String {
    format!("{{\"events\":[{}]}}", all.join(","))
}

#[test]
fn watches() {
    const PREFIX: &str = r#"{"prefix":"a","start":2}"#;
    let x = r#"{"type":"put","key":"a1","value":"x","mod":2,"create":2,"prev":null}"#;
    let y = r#"{"type":"put","key":"a1","value":"y","mod":3,"create":2,"prev":{"value":"x","mod":2}}"#;
    let z = r#"{"type":"put","key":"a2","value":"z","mod":3,"create":3}"#;
    let gone = r#"{"type":"delete","key":"a1","mod":4,"prev":{"value":"y","mod":3}}"#;
    let w = r#"{"type":"put","key":"a1","value":"w","mod":5,"create":5,"prev":null}"#;
    let told = |asked: &str, responses: &[&str]| broken("watch", &watch(asked, responses));
    let none: [&str; 0] = [];
    let each: Vec<String> = [&[x][..], &[y, z], &[gone], &[w]].iter().map(|all| events(all)).collect();
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|at| each[at].as_str());
    let progress = r#"{"progress":5}"#;
    assert_eq!(told(PREFIX, &[first, second, third, fourth, progress]), none);
    assert_eq!(told(PREFIX, &[first, second]), none, "what is still to come is not missing");
    assert_eq!(told(PREFIX, &[first, third, second, fourth]), ["ordered"]);
    assert_eq!(told(PREFIX, &[first, second, second, third, fourth]), ["unique", "atomic"]);
    assert_eq!(told(PREFIX, &[first, &events(&[y]), &events(&[z]), third]), ["atomic"]);
    let fragments = r#"{"prefix":"a","start":2,"fragment":true}"#;
    assert_eq!(told(fragments, &[first, &events(&[y]), &events(&[z]), third]), none);
    assert_eq!(told(PREFIX, &[first, third, fourth]), ["reliable"]);
    assert_eq!(told(PREFIX, &[second, third]), ["resumable"]);
    assert_eq!(told(r#"{"prefix":"a"}"#, &[second, third]), none, "it did not ask from where");
    assert_eq!(told(r#"{"prefix":"a","start":3}"#, &[first, second]), ["resumable"]);
    assert_eq!(told(PREFIX, &[r#"{"compacted":3}"#, second, third]), none);
    assert_eq!(told(PREFIX, &[first, second, progress, third, fourth]), ["bookmarkable"]);
    assert_eq!(told(PREFIX, &[first, r#"{"progress":2}"#, second, r#"{"progress":3}"#, third]), none);
    let wrong = gone.replace("\"y\"", "\"x\"").replace("\"mod\":3", "\"mod\":null");
    assert_eq!(told(PREFIX, &[first, second, &events(&[&wrong]), fourth]), ["prev-kv"]);
    let old = w.replace("\"create\":5", "\"create\":2");
    assert_eq!(told(PREFIX, &[first, second, third, &events(&[&old])]), ["is-create"]);
    let new = y.replace("\"create\":2", "\"create\":3");
    assert_eq!(told(PREFIX, &[first, &events(&[&new, z])]), ["is-create"]);
    assert_eq!(told(r#"{"key":"a1","start":2}"#, &[first, second]), ["filter"]);
    assert_eq!(told(r#"{"key":"a1","end":"a2","start":2}"#, &[first, &events(&[y]), third]), none);
    let no_put = r#"{"prefix":"a","start":2,"filters":["noput"]}"#;
    assert_eq!(told(no_put, &[third]), none);
    assert_eq!(told(no_put, &[first, third]), ["filter"]);
    let other = x.replace("\"x\"", "\"v\"");
    assert_eq!(told(r#"{"key":"a1","start":2}"#, &[&events(&[&other])]), ["agreement"]);
}
