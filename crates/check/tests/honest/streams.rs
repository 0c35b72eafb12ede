//! Streams of messages by key, with consumers that take some at a time.

use crate::{Dice, Odds, System, answers, last, play, text, violated};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, VecDeque};

#[derive(Default)]
struct Streams {
    queues: BTreeMap<String, VecDeque<i64>>,
    values: BTreeMap<String, i64>,
}

const KEYS: [&str; 2] = ["k", "l"];

impl System for Streams {
    fn ask(&mut self, _: u64, dice: &mut Dice) -> Option<(&'static str, Json, Json)> {
        let key = dice.of(&KEYS);
        if dice.one_in(2) {
            return Some(("poll", json!(key), Json::Null));
        }
        // The same numbers are sent to each key.
        let value = self.values.entry(key.into()).or_default();
        *value += 1;
        Some(("send", json!(key), json!(*value)))
    }

    fn answer(
        &mut self,
        _: u64,
        (f, key, asked): &(&'static str, Json, Json),
        dice: &mut Dice,
    ) -> Option<(Json, Option<i64>)> {
        let queue = self.queues.entry(key.as_str().unwrap().into()).or_default();
        if *f == "send" {
            queue.push_back(asked.as_i64().unwrap());
            return Some((asked.clone(), None));
        }
        let many = queue.len().min(1 + dice.below(3) as usize);
        let taken: Vec<i64> = queue.drain(..many).collect();
        Some((if taken.is_empty() { Json::Null } else { json!(taken) }, None))
    }
}

/// A run; at its end all that is left is taken.
fn played(seed: u64, odds: Odds) -> Vec<Json> {
    let mut dice = Dice::new(seed);
    let (mut streams, clients) = (Streams::default(), 1 + dice.below(4));
    let mut all = play(&mut streams, clients, 60, odds, &mut dice);
    for (key, queue) in streams.queues {
        if !queue.is_empty() {
            last(&mut all, 9000, "drain", json!(key), Json::Null, json!(queue));
        }
        last(&mut all, 9000, "poll", json!(key), Json::Null, Json::Null);
    }
    all
}

#[test]
fn what_streams_did_is_no_violation() {
    for seed in 0..600 {
        let odds = [Odds { fail: 0, info: 0 }, Odds { fail: 6, info: 6 }][seed as usize % 2];
        let all = played(seed, odds);
        let (names, proved) = violated("stream", &all);
        assert_eq!(names, [""; 0], "seed {seed}:\n{}", text(&all));
        assert!(proved || seed % 2 == 1, "seed {seed}:\n{}", text(&all));
    }
}

#[test]
fn a_lie_of_a_stream_is_found_by_its_name() {
    let mut found = BTreeMap::new();
    for seed in 0..900u64 {
        let mut all = played(seed, Odds { fail: 0, info: 0 });
        let told = answers(&all, |it| it["f"] == "poll" && it["value"].is_array());
        let Some(&at) = told.first() else { continue };
        let key = all[at]["key"].clone();
        let values = all[at]["value"].as_array_mut().unwrap();
        let name = match seed % 4 {
            0 => {
                values.remove(0);
                "lost"
            }
            1 => {
                values.push(values[0].clone());
                "duplicated"
            }
            2 => {
                values.push(999.into());
                "garbage"
            }
            _ => {
                // It was taken before it was sent.
                let sent = all[at]["value"][0].clone();
                let send = |it: &Json| it["f"] == "send" && it["key"] == key && it["value"] == sent;
                let late: Vec<Json> = all.iter().filter(|it| send(it)).cloned().collect();
                all.retain(|it| !send(it));
                for mut event in late {
                    event["process"] = 8000.into();
                    all.push(event);
                }
                "from-the-future"
            }
        };
        let (names, _) = violated("stream", &all);
        assert!(names.contains(&name), "seed {seed}: {names:?}, not {name}\n{}", text(&all));
        *found.entry((seed % 4, name)).or_insert(0) += 1;
    }
    assert!(found.len() == 4 && found.values().all(|&many| many > 20), "{found:?}");
}

/// Unique ids: whoever was given them.
#[test]
fn ids_are_given_once() {
    for (other, lie) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut all = Vec::new();
        last(&mut all, 0, "generate", Json::Null, Json::Null, json!(i64::MAX));
        last(&mut all, other, "generate", Json::Null, Json::Null, json!(if lie { i64::MAX } else { -3 }));
        let names = violated("unique-ids", &all).0;
        assert_eq!(names, if lie { vec!["duplicated"] } else { Vec::new() });
    }
    assert!(!violated("unique-ids", &unheard("generate")).1, "nothing was seen");
    assert!(!violated("set-full", &unheard("add")).1, "nothing was seen");
    assert!(!violated("holders", &unheard("acquire")).1, "nothing was seen");
}

/// An operation of unknown outcome, alone.
fn unheard(f: &str) -> Vec<Json> {
    vec![json!({"process": 0, "type": "invoke", "f": f, "value": 1})]
}

/// A set: what was added again counts from its first acknowledgement.
#[test]
fn an_addition_again_excuses_nothing() {
    let mut all = Vec::new();
    last(&mut all, 0, "add", Json::Null, json!(7), json!(7));
    last(&mut all, 1, "read", Json::Null, Json::Null, json!([]));
    last(&mut all, 0, "add", Json::Null, json!(7), json!(7));
    last(&mut all, 1, "read", Json::Null, Json::Null, json!([7]));
    assert_eq!(violated("set-full", &all).0, ["stale"]);
}

/// A send of which nobody heard is not missed.
#[test]
fn a_send_of_unknown_outcome_is_not_missed() {
    let mut all = vec![json!({"process": 0, "type": "invoke", "f": "send", "key": "k", "value": 1})];
    last(&mut all, 1, "poll", json!("k"), Json::Null, Json::Null);
    assert_eq!(violated("stream", &all), (Vec::new(), true));
}
