//! Locks with tokens: two of them, releases that fail, holders of whom nobody hears again.

use crate::{Dice, Odds, System, answers, play, text, violated};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

#[derive(Default)]
struct Locks {
    held: BTreeMap<String, u64>,
    token: i64,
    /// Who heard that it holds which.
    mine: BTreeMap<u64, String>,
}

const KEYS: [&str; 2] = ["k", "l"];

impl System for Locks {
    fn ask(&mut self, process: u64, dice: &mut Dice) -> Option<(&'static str, Json, Json)> {
        Some(match self.mine.get(&process) {
            Some(key) => ("release", json!(key), Json::Null),
            None => ("acquire", json!(dice.of(&KEYS)), Json::Null),
        })
    }

    fn answer(
        &mut self,
        process: u64,
        (f, key, _): &(&'static str, Json, Json),
        dice: &mut Dice,
    ) -> Option<(Json, Option<i64>)> {
        let key = key.as_str().unwrap().to_string();
        if *f == "release" {
            self.mine.remove(&process);
            self.held.remove(&key);
            return Some((Json::Null, None));
        }
        if self.held.contains_key(&key) {
            return None;
        }
        self.held.insert(key.clone(), process);
        self.token += 1 + dice.below(2) as i64;
        self.mine.insert(process, key);
        Some((json!(self.token), None))
    }
}

fn played(seed: u64, odds: Odds) -> Vec<Json> {
    let mut dice = Dice::new(seed);
    let clients = 2 + dice.below(3);
    play(&mut Locks::default(), clients, 60, odds, &mut dice)
}

#[test]
fn what_locks_did_is_no_violation() {
    for seed in 0..600 {
        let odds = [Odds { fail: 0, info: 0 }, Odds { fail: 15, info: 2 }][seed as usize % 2];
        let all = played(seed, odds);
        assert_eq!(violated("holders", &all).0, [""; 0], "seed {seed}:\n{}", text(&all));
    }
}

#[test]
fn a_lie_of_a_lock_is_found_by_its_name() {
    let mut found = BTreeMap::new();
    for seed in 0..600u64 {
        let mut all = played(seed, Odds { fail: 0, info: 0 });
        let told = answers(&all, |it| it["f"] == "release");
        let Some(&at) = told.first() else { continue };
        let (process, key) = (all[at]["process"].clone(), all[at]["key"].clone());
        let later = answers(&all, |it| it["f"] == "acquire" && it["key"] == key);
        let Some(&again) = later.iter().find(|&&later| later > at) else { continue };
        let invoked = (0..again).rev().find(|&it| all[it]["process"] == all[again]["process"]).unwrap();
        let name = match seed % 3 {
            // The release is said to have failed, and the lock was given on.
            0 => {
                all[at]["type"] = "fail".into();
                "two-holders"
            }
            1 => {
                let first = all.iter().position(|it| it["type"] == "ok" && it["key"] == key).unwrap();
                if invoked < first {
                    continue;
                }
                all[again]["value"] = all[first]["value"].clone();
                "token-not-greater"
            }
            _ => {
                let asked = (0..at).rev().find(|&it| all[it]["process"] == process).unwrap();
                all.remove(at);
                all.remove(asked);
                if all.iter().skip(asked).any(|it| it["process"] == process) {
                    continue;
                }
                "two-holders"
            }
        };
        let names = violated("holders", &all).0;
        assert!(names.contains(&name), "seed {seed}: {names:?}, not {name}\n{}", text(&all));
        *found.entry((seed % 3, name)).or_insert(0) += 1;
    }
    assert!(found.len() >= 2 && found.values().all(|&many| many > 10), "{found:?}");
}
