//! Keys with texts: put, append, delete, compare-and-set, get, each key alone.

use crate::{Dice, Odds, System, answers, play, text};
use quorate_check::budget::Budget;
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

#[derive(Default)]
struct Store(BTreeMap<String, String>);

const KEYS: [&str; 3] = ["x", "y", "z"];
const TEXTS: [&str; 3] = ["a", "b", "c"];

impl System for Store {
    fn ask(&mut self, _: u64, dice: &mut Dice) -> Option<(&'static str, Json, Json)> {
        let key = dice.of(&KEYS);
        let held = self.0.get(key).cloned().map_or(Json::Null, Json::from);
        let (f, asked) = match dice.below(8) {
            0 => ("put", json!(dice.of(&TEXTS))),
            1 | 2 => ("append", json!(dice.of(&TEXTS))),
            3 => ("delete", Json::Null),
            4 => ("cas", json!([if dice.one_in(2) { held } else { json!("a") }, dice.of(&TEXTS)])),
            _ => ("get", Json::Null),
        };
        Some((f, json!(key), asked))
    }

    fn answer(
        &mut self,
        _: u64,
        (f, key, asked): &(&'static str, Json, Json),
        _: &mut Dice,
    ) -> Option<(Json, Option<i64>)> {
        let key = key.as_str().unwrap();
        let held = self.0.get(key).cloned().map_or(Json::Null, Json::from);
        let told = match *f {
            "get" => held,
            "delete" => {
                self.0.remove(key);
                Json::Null
            }
            "append" => {
                self.0.entry(key.into()).or_default().push_str(asked.as_str().unwrap());
                asked.clone()
            }
            "cas" if held != asked[0] => json!(false),
            _ => {
                let new = if *f == "cas" { &asked[1] } else { asked };
                self.0.insert(key.into(), new.as_str().unwrap().into());
                if *f == "cas" { json!(true) } else { asked.clone() }
            }
        };
        Some((told, None))
    }
}

fn played(seed: u64, odds: Odds) -> Vec<Json> {
    let mut dice = Dice::new(seed);
    let clients = 1 + dice.below(4);
    play(&mut Store::default(), clients, 80, odds, &mut dice)
}

/// The keys that have no order, and how many keys there are.
fn unordered(all: &[Json]) -> (Vec<String>, usize) {
    let history = quorate_check::read::read(text(all).as_bytes()).unwrap();
    let judge = quorate_check::models::judge("kv", Value::NIL, &history).unwrap();
    let go_on = || false;
    let holds = |&part: &usize| {
        let judged = judge.linearizable(part, &history, &mut Budget::new(&go_on, 1 << 28));
        assert!(matches!(judged.verdict, Verdict::Proved { .. } | Verdict::Refuted(_)), "{judged:?}");
        matches!(judged.verdict, Verdict::Refuted(_))
    };
    let parts: Vec<usize> = (0..judge.parts()).filter(holds).collect();
    (parts.into_iter().map(|part| history.values.show(judge.key(part))).collect(), judge.parts())
}

#[test]
fn what_keys_held_has_an_order() {
    for seed in 0..300 {
        let odds = [Odds { fail: 0, info: 0 }, Odds { fail: 10, info: 6 }][seed as usize % 2];
        let all = played(seed, odds);
        let (wrong, parts) = unordered(&all);
        assert_eq!(wrong, [""; 0], "seed {seed}:\n{}", text(&all));
        assert!(parts == 3 || seed % 2 == 1, "seed {seed}: {parts} keys");
    }
}

#[test]
fn a_lie_of_a_key_is_found_in_its_key() {
    for seed in 0..100 {
        let mut all = played(seed, Odds { fail: 0, info: 0 });
        let told = answers(&all, |it| it["f"] == "get");
        let at = Dice::new(seed + 7).of(&told);
        let held = all[at]["value"].as_str().unwrap_or_default();
        all[at]["value"] = format!("{held}?").into();
        let key = all[at]["key"].to_string();
        assert_eq!(unordered(&all).0, [key], "seed {seed}:\n{}", text(&all));
    }
}
