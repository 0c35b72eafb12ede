//! Claim: each promise of logs and watches is broken by a history that shows it, and kept by one that just avoids it.

#![allow(missing_docs, clippy::unwrap_used, clippy::format_push_string, clippy::type_complexity)]

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
        Verdict::Proved { .. } | Verdict::NotRefuted { .. } => None,
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
    assert_eq!(
        with(&[POLL, "2 poll [[:poll]] / [[:poll {:k [[5 :d]]}]]"]),
        ["consistent-offsets", "no-garbage-read"]
    );
    assert_eq!(with(&[POLL, "2 poll [[:poll]] / [[:poll {:k [[7 :c]]}]]"]), ["no-duplicate"]);
    let failed = "!3 send [[:send :k :x]]";
    assert_eq!(with(&[failed, POLL]), none);
    assert_eq!(with(&[failed, POLL, "2 poll [[:poll]] / [[:poll {:k [[6 :x]]}]]"]), ["no-aborted-read"]);
    assert_eq!(with(&[first, "0 send [[:send :k :d]] / [[:send :k [3 :d]]]"]), ["monotonic-sends"]);
    // Two transactions that each polled what the other sent.
    let one = "4 txn [[:send :x 1] [:poll]] / [[:send :x [0 1]] [:poll {:y [[0 2]]}]]";
    let other = "5 txn [[:send :y 2] [:poll]] / [[:send :y [0 2]] [:poll {:x [[0 1]]}]]";
    let blind = "5 txn [[:send :y 2] [:poll]] / [[:send :y [0 2]] [:poll {}]]";
    assert_eq!(broken("log", &log(&[one, other])), ["no-G1c", "no-garbage-read"]);
    assert_eq!(broken("log", &log(&[blind, one])), none);
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

/// One line an operation, one after the other: `f key argument / result @ version`; `?` in front: nobody heard of it.
fn etcd(lines: &[&str]) -> String {
    let mut text = String::new();
    for (place, line) in lines.iter().enumerate() {
        let (lost, line) = line.strip_prefix('?').map_or((false, *line), |line| (true, line));
        let (rest, version) = line.split_once(" @ ").unwrap_or((line, "nil"));
        let (head, result) = rest.split_once(" / ").unwrap_or((rest, "nil"));
        let mut words = head.splitn(3, ' ');
        let (f, key, argument) =
            (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or("nil"));
        let end = if lost { "info" } else { "ok" };
        text += &format!("{{:process {place} :type :invoke :f :{f} :key {key} :value {argument}}}\n");
        text += &format!(
            "{{:process {place} :type :{end} :f :{f} :key {key} :value {result} :version {version}}}\n"
        );
    }
    text
}

#[test]
fn etcd_by_revisions() {
    let told = |lines: &[&str]| broken("etcd", &etcd(lines));
    let none: [&str; 0] = [];
    let put = "put :a 1 / nil @ 2";
    let again = "put :a 2 / nil @ 3";
    let get = "get :a nil / [{:key :a :value 2 :mod 3 :create 2 :ver 2 :lease 0}] @ 3";
    assert_eq!(told(&[put, again, get]), none);
    assert_eq!(told(&[put, again, "get :a nil / [{:key :a :value 1 :mod 2}] @ 3"]), ["state"]);
    assert_eq!(told(&[put, again, "get :a nil / [{:key :a :value 1 :mod 2}] @ 2"]), ["real-time"]);
    assert_eq!(told(&[put, again, "get :a {:serializable true} / [{:key :a :value 1}] @ 2"]), none);
    assert_eq!(told(&[put, again, "get :a {:revision 2} / [{:key :a :value 1}] @ 3"]), none);
    assert_eq!(told(&[put, "put :a 2 / nil @ 2"]), ["unique-revisions", "real-time"]);
    assert_eq!(told(&[put, "put :a 2 / nil @ 4"]), ["state"], "nobody made revision 3");
    // A lost write fills a revision, where it shows, once.
    assert_eq!(
        told(&[put, "?put :b 5", "put :a 2 / nil @ 4", "get :b nil / [{:key :b :value 5 :mod 3}] @ 4"]),
        none
    );
    assert_eq!(told(&[put, "?put :b 5", "put :a 2 / nil @ 4", "get :b nil / [] @ 4"]), ["state"]);
    assert_eq!(told(&[put, "?put :b 5", "put :a 2 / nil @ 5"]), ["state"]);
    assert_eq!(
        told(&[put, "put :a 2 / nil @ 4", "?put :b 5", "get :a nil / [{:key :a :value 2}] @ 4"]),
        ["state"]
    );
    // Which of two lost writes it was is found out later.
    let either = [put, "?put :b 5", "?put :b 6", "put :a 2 / nil @ 4"];
    for value in [5, 6] {
        let get = format!("get :b nil / [{{:key :b :value {value}}}] @ 4");
        assert_eq!(told(&[&either[..], &[&get]].concat()), none);
    }
    assert_eq!(told(&[&either[..], &["get :b nil / [{:key :b :value 7}] @ 4"]].concat()), ["state"]);
    let txn =
        "txn :t {:if [[value :a = 1] [ver :a < 2]] :then [[put :b 9] [get :a \"c\"]] :else [[delete :a]]}";
    let yes = "{:succeeded true :results [nil [{:key :a :value 1} {:key :b :value 9 :mod 3}]]}";
    assert_eq!(told(&[put, &format!("{txn} / {yes} @ 3")]), none);
    assert_eq!(told(&[put, again, &format!("{txn} / {yes} @ 4")]), ["state"]);
    let no = "{:succeeded false :results [1]}";
    assert_eq!(told(&[put, again, &format!("{txn} / {no} @ 4"), "get :a {:prefix true} / [] @ 4"]), none);
    assert_eq!(told(&[put, &format!("{txn} / {no} @ 3")]), ["state"]);
    let range = "get :a {:end :c} / [{:key :a :value 1} {:key :b :value 2}] @ 3";
    assert_eq!(told(&[put, "put :b 2 / nil @ 3", range]), none);
    assert_eq!(told(&[put, "put :c 2 / nil @ 3", range]), ["state"]);
    assert_eq!(
        told(&[put, "delete :a {:end :c} / 1 @ 3", "delete :a nil / 0 @ 3", "get :a nil / [] @ 3"]),
        none
    );
    assert_eq!(told(&[put, "delete :a {:end :c} / 2 @ 3"]), ["state"]);
    // A lease may end at any time, and a revoked one takes its keys along.
    let leased = "put :l {:value 1 :lease 7} / nil @ 2";
    assert_eq!(told(&[leased, "put :a 1 / nil @ 4", "get :l nil / [] @ 4"]), none);
    assert_eq!(told(&["put :l 1 / nil @ 2", "put :a 1 / nil @ 4", "get :l nil / [] @ 4"]), ["state"]);
    assert_eq!(told(&[leased, "revoke nil 7 / nil @ 3", "get :l nil / [] @ 3"]), none);
    assert_eq!(told(&[leased, "revoke nil 7 / nil @ 3", "get :l nil / [{:key :l :value 1}] @ 3"]), ["state"]);
    // What was there before the history began.
    assert_eq!(
        told(&["get :a nil / [{:key :a :value 3 :mod 5 :create 4 :ver 2}] @ 9", "put :a 1 / nil @ 10"]),
        none
    );
    let history = read(etcd(&["put :a 1 / nil"]).as_bytes()).unwrap();
    assert!(Model::named("etcd").unwrap().judge(&history).unwrap_err().what.contains("give it a version"));
}

/// Claim: what a store did is never refuted, whatever was heard of it; and where all was heard, every wrong value is found.
#[test]
fn etcd_at_random() {
    let (mut held, mut found) = (0, 0);
    for seed in 1..400u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % n
        };
        let mut store: std::collections::BTreeMap<u64, (u64, u64, u64, u64)> =
            std::collections::BTreeMap::new();
        let (mut revision, mut lines, mut gets) = (1, Vec::new(), Vec::new());
        let lossy = seed % 2 == 0;
        for value in 1..=12 {
            let key = below(3);
            let lost = lossy && below(4) == 0;
            let applied = !lost || below(2) == 0;
            let mut line = match below(4) {
                0 => {
                    let there = store.contains_key(&key);
                    if applied && there {
                        revision += 1;
                        store.remove(&key);
                    }
                    format!("delete :k{key} nil / {} @ {revision}", u64::from(there))
                }
                1 => {
                    let shown = store.get(&key).map(|(value, modified, create, ver)| {
                        format!("{{:key :k{key} :value {value} :mod {modified} :create {create} :ver {ver}}}")
                    });
                    gets.extend(shown.is_some().then_some(lines.len()));
                    format!("get :k{key} nil / [{}] @ {revision}", shown.unwrap_or_default())
                }
                _ => {
                    if applied {
                        revision += 1;
                        let (create, ver) = store.get(&key).map_or((revision, 0), |held| (held.2, held.3));
                        store.insert(key, (value, revision, create, ver + 1));
                    }
                    format!("put :k{key} {value} / nil @ {revision}")
                }
            };
            if lost {
                line = format!("?{}", line.split(" / ").next().unwrap());
            }
            lines.push(line);
        }
        let shown: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(broken("etcd", &etcd(&shown)), [""; 0], "{lines:#?}");
        held += 1;
        if let (false, Some(&get)) = (lossy, gets.first()) {
            let wrong = lines[get].replacen(":ver ", ":ver 1", 1);
            let mut shown = shown.clone();
            shown[get] = &wrong;
            assert_eq!(broken("etcd", &etcd(&shown)), ["state"], "{shown:#?}");
            found += 1;
        }
    }
    assert!(held > 300 && found > 50, "{held} {found}");
}

/// Claim: where nothing was polled, or no watch told of anything, nothing that only this could have broken is kept.
#[test]
fn what_was_not_looked_at_is_unknown() {
    let open = |model: &str, text: &str| -> Vec<&'static str> {
        let found = Model::named(model).unwrap().judge(&read(text.as_bytes()).unwrap()).unwrap();
        let unknown = |(name, verdict)| matches!(verdict, Verdict::Unknown { .. }).then_some(name);
        found.into_iter().filter_map(unknown).collect()
    };
    let sent = open("log", &log(&[SEND, SEND_B]));
    assert_eq!(sent.len(), 7, "{sent:?}");
    assert!(sent.contains(&"no-lost-write") && !sent.contains(&"monotonic-sends"), "{sent:?}");
    assert_eq!(open("log", &log(&[SEND, "1 poll [[:poll]] / [[:poll {}]]"])), sent);
    assert_eq!(open("log", &log(&[SEND, "1 poll [[:poll]] / [[:poll {:k [[0 :a]]}]]"])), [""; 0]);
    assert_eq!(broken_sends(), ["monotonic-sends"]);

    let put = "{:process 0 :type :invoke :f :put :key :k :value 1}{:process 0 :type :ok :f :put :key :k :value 1 :version 5}";
    let watch = |told: &str| {
        format!(
            "{put}{{:process 1 :type :invoke :f :watch :value {{:key :k :start 5}}}}{{:process 1 :type :ok :f :watch :value [{told}]}}"
        )
    };
    assert_eq!(open("watch", put).len(), 11);
    assert_eq!(open("watch", &watch("")).len(), 11);
    assert_eq!(open("watch", &watch("{:progress 4}")).len(), 10);
    let event = "{:events [{:type :put :key :k :value 1 :mod 5 :create 5}]}";
    assert_eq!(open("watch", &watch(event)), [""; 0]);
}

/// What sends alone break is told where nothing was polled.
fn broken_sends() -> Vec<&'static str> {
    let history = read(log(&[SEND_B, SEND]).as_bytes()).unwrap();
    let found = Model::named("log").unwrap().judge(&history).unwrap();
    found
        .into_iter()
        .filter(|(_, verdict)| matches!(verdict, Verdict::Refuted(_)))
        .map(|(name, _)| name)
        .collect()
}
