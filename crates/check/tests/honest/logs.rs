//! Logs of Kafka's kind: keys with offsets that leave gaps, consumers that go on, are sent elsewhere, or are moved.

use crate::{Dice, Odds, System, answers, broken, last, play};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

#[derive(Default)]
struct Logs {
    of_key: BTreeMap<String, Vec<(i64, i64)>>,
    value: i64,
    /// Where each consumer is in each log, and whether others move it.
    places: BTreeMap<u64, BTreeMap<String, usize>>,
    moved: BTreeMap<u64, bool>,
}

const KEYS: [&str; 2] = ["k", "l"];

impl Logs {
    fn send(&mut self, key: &str, value: i64, dice: &mut Dice) -> i64 {
        let log = self.of_key.entry(key.into()).or_default();
        let offset = log.last().map_or(0, |last| last.0 + 1 + i64::from(dice.one_in(4)));
        log.push((offset, value));
        offset
    }

    fn poll(&mut self, process: u64, dice: &mut Dice) -> Json {
        let mut told = Map::new();
        for key in KEYS {
            let place = self.places.entry(process).or_default().entry(key.into()).or_default();
            let log = self.of_key.get(key).map_or(&[][..], |log| &log[..]);
            if self.moved.get(&process) == Some(&true) && dice.one_in(3) {
                *place = dice.below(log.len() as u64 + 1) as usize;
            }
            let to = log.len().min(*place + dice.below(4) as usize);
            if *place < to {
                told.insert(
                    key.into(),
                    log[*place..to].iter().map(|&(at, value)| json!([at, value])).collect(),
                );
                *place = to;
            }
        }
        json!(["poll", told])
    }
}

impl System for Logs {
    fn ask(&mut self, _: u64, dice: &mut Dice) -> Option<(&'static str, Json, Json)> {
        let mut send = |dice: &mut Dice| {
            self.value += 1;
            json!(["send", dice.of(&KEYS), self.value])
        };
        Some(match dice.below(10) {
            0..=3 => ("send", Json::Null, json!([send(dice)])),
            4..=6 => ("poll", Json::Null, json!([["poll"]])),
            7 => ("txn", Json::Null, json!([send(dice), ["poll"], send(dice)])),
            8 => (dice.of(&["assign", "seek"]), Json::Null, json!(KEYS)),
            _ => ("subscribe", Json::Null, json!(KEYS)),
        })
    }

    fn answer(
        &mut self,
        process: u64,
        (f, _, asked): &(&'static str, Json, Json),
        dice: &mut Dice,
    ) -> Option<(Json, Option<i64>)> {
        if let "assign" | "seek" | "subscribe" = *f {
            self.moved.insert(process, *f == "subscribe");
            for key in KEYS {
                let len = self.of_key.get(key).map_or(0, Vec::len) as u64;
                self.places.entry(process).or_default().insert(key.into(), dice.below(len + 1) as usize);
            }
            return Some((asked.clone(), None));
        }
        let mut told = Vec::new();
        for step in asked.as_array().unwrap() {
            told.push(match step[0].as_str() {
                Some("send") => {
                    let (key, value) = (step[1].as_str().unwrap(), step[2].as_i64().unwrap());
                    let offset = self.send(key, value, dice);
                    json!(["send", key, [offset, value]])
                }
                _ => self.poll(process, dice),
            });
        }
        Some((json!(told), None))
    }
}

/// A run, and at its end a reader of all.
fn played(seed: u64, odds: Odds) -> Vec<Json> {
    let mut dice = Dice::new(seed);
    let (mut logs, clients) = (Logs::default(), 1 + dice.below(4));
    let mut all = play(&mut logs, clients, 60, odds, &mut dice);
    // What failed to be sent is sent again, now and then.
    let failed: Vec<Json> =
        all.iter().filter(|it| it["type"] == "fail" && it["f"] == "send").cloned().collect();
    for event in failed.into_iter().filter(|_| dice.one_in(2)).collect::<Vec<_>>() {
        let step = &event["value"][0];
        let offset = logs.send(step[1].as_str().unwrap(), step[2].as_i64().unwrap(), &mut dice);
        let told = json!([["send", step[1], [offset, step[2]]]]);
        last(&mut all, 9000, "send", Json::Null, event["value"].clone(), told);
    }
    let whole: Map<String, Json> = logs
        .of_key
        .iter()
        .map(|(key, log)| (key.clone(), log.iter().map(|it| json!([it.0, it.1])).collect()))
        .collect();
    last(&mut all, 9001, "poll", Json::Null, json!([["poll"]]), json!([["poll", whole]]));
    all
}

#[test]
fn what_logs_did_is_never_refuted() {
    for seed in 0..500 {
        let odds = [Odds { fail: 0, info: 0 }, Odds { fail: 12, info: 8 }][seed as usize % 2];
        let all = played(seed, odds);
        assert_eq!(broken("log", &all), [""; 0], "seed {seed}:\n{}", crate::text(&all));
    }
}

/// The records that a poll got of one log.
fn records(event: &mut Json) -> Option<&mut Vec<Json>> {
    let steps = event["value"].as_array_mut()?;
    let poll = steps.iter_mut().find(|step| step[0] == "poll")?;
    poll[1].as_object_mut()?.values_mut().next()?.as_array_mut()
}

#[test]
fn a_lie_of_logs_is_found_by_its_name() {
    let mut found = BTreeMap::new();
    for seed in 0..900u64 {
        let mut dice = Dice::new(seed + 7000);
        let mut all = played(seed, Odds { fail: 0, info: 0 });
        let told = answers(&all, |it| it["process"] != 9001 && it["f"] != "send");
        let at = dice.of(&told);
        let Some(records) = records(&mut all[at]) else { continue };
        let name = match seed % 4 {
            0 if records.len() > 2 => {
                records.remove(1);
                "no-internal-skip"
            }
            1 if records.len() > 1 => {
                records.swap(0, 1);
                "monotonic-internal-polls"
            }
            2 => {
                records[0][1] = 999.into();
                "consistent-offsets"
            }
            3 => {
                records[0][0] = (records[0][0].as_i64().unwrap() + 1000).into();
                "no-duplicate"
            }
            _ => continue,
        };
        let names = broken("log", &all);
        assert!(names.contains(&name), "seed {seed}: {names:?}, not {name}\n{}", crate::text(&all));
        *found.entry(name).or_insert(0) += 1;
    }
    assert!(found.len() == 4 && found.values().all(|&many| many > 10), "{found:?}");
}

/// Sends that stand in each other's way: each log has one behind the other, in opposite orders.
#[test]
fn a_circle_of_sends_is_found() {
    let mut all = Vec::new();
    for (process, offsets) in [(0, [0, 1]), (1, [1, 0])] {
        let told = json!([["send", "k", [offsets[0], process]], ["send", "l", [offsets[1], process]]]);
        let asked = json!([["send", "k", process], ["send", "l", process]]);
        last(&mut all, process, "send", Json::Null, asked, told);
    }
    assert_eq!(broken("log", &all), ["no-G1c"]);
}
