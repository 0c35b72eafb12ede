//! Watch streams over a store: ranges, filters, fragments, previous values, progress and compaction.

use crate::{Dice, Odds, System, answers, broken, play, text};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// A change: key, and the new value with the revision of its key's creation.
type Change = (String, Option<(i64, i64)>);

#[derive(Default)]
struct Store {
    /// By revision from 2.
    changes: Vec<Vec<Change>>,
    keys: BTreeMap<String, (i64, i64, i64)>,
    value: i64,
    /// The watches that were opened, and at which revision.
    opened: BTreeMap<u64, i64>,
    compacts: bool,
}

const KEYS: [&str; 4] = ["a1", "a2", "b1", "b2"];

impl Store {
    fn revision(&self) -> i64 {
        self.changes.len() as i64 + 1
    }

    fn write(&mut self, steps: &[Json]) -> u64 {
        let (revision, mut changes) = (self.revision() + 1, Vec::new());
        for step in steps {
            let key = step[1].as_str().unwrap().to_string();
            if step[0] == "put" {
                let value = step[2].as_i64().unwrap();
                let create = self.keys.get(&key).map_or(revision, |held| held.1);
                self.keys.insert(key.clone(), (value, create, revision));
                changes.push((key, Some((value, create))));
            } else if self.keys.remove(&key).is_some() {
                changes.push((key, None));
            }
        }
        let gone = changes.iter().filter(|change| change.1.is_none()).count() as u64;
        if !changes.is_empty() {
            self.changes.push(changes);
        }
        gone
    }

    /// What was there before a revision.
    fn before(&self, key: &str, revision: i64) -> Json {
        let earlier = (2..revision).rev().find_map(|at| {
            let change = self.changes[at as usize - 2].iter().find(|change| change.0 == key)?;
            Some((at, change.1))
        });
        match earlier {
            Some((at, Some((value, _)))) => json!({"value": value, "mod": at}),
            _ => Json::Null,
        }
    }

    fn events(&self, asked: &Json, revision: i64) -> Vec<Json> {
        let filtered = |name: &str| asked["filters"].as_array().is_some_and(|all| all.contains(&json!(name)));
        let mut all = Vec::new();
        for (key, new) in &self.changes[revision as usize - 2] {
            let wanted = wants(asked, key) && !filtered(if new.is_some() { "noput" } else { "nodelete" });
            let mut event = match new {
                Some((value, create)) => json!({"type": "put", "key": key, "value": value, "create": create}),
                None => json!({"type": "delete", "key": key}),
            };
            event["mod"] = revision.into();
            if asked["prev"] == true {
                event["prev"] = self.before(key, revision);
            }
            all.extend(wanted.then_some(event));
        }
        all
    }
}

fn wants(asked: &Json, key: &str) -> bool {
    match (asked["key"].as_str(), asked["end"].as_str(), asked["prefix"].as_str()) {
        (Some(from), Some(end), _) => key >= from && (end == "\0" || key < end),
        (Some(one), None, _) => key == one,
        (_, _, prefix) => key.starts_with(prefix.unwrap()),
    }
}

impl System for Store {
    fn ask(&mut self, process: u64, dice: &mut Dice) -> Option<(&'static str, Json, Json)> {
        let key = json!(dice.of(&KEYS));
        let mut value = || {
            self.value += 1;
            self.value
        };
        Some(match dice.below(8) {
            0..=2 => ("put", key, json!(value())),
            3 => ("delete", key, Json::Null),
            4 | 5 => {
                let (one, two) = if dice.one_in(2) { ("a1", "b1") } else { ("a2", "b2") };
                let first = json!(["put", one, value()]);
                let then = if dice.one_in(2) { json!(["put", two, value()]) } else { json!(["delete", two]) };
                ("txn", Json::Null, json!([first, then]))
            }
            _ => {
                let mut asked = match dice.below(4) {
                    0 => json!({"key": key, "end": dice.of(&["b1", "c", "\0"])}),
                    1 => json!({"key": key}),
                    _ => json!({"prefix": dice.of(&["a", "b", ""])}),
                };
                self.opened.insert(process, self.revision());
                if dice.one_in(2) {
                    asked["start"] = (1 + dice.below(self.revision() as u64 + 1)).into();
                }
                if dice.one_in(3) {
                    asked["filters"] = json!([dice.of(&["noput", "nodelete"])]);
                }
                (asked["prev"], asked["fragment"]) = (dice.one_in(2).into(), dice.one_in(3).into());
                ("watch", Json::Null, asked)
            }
        })
    }

    fn answer(
        &mut self,
        process: u64,
        (f, key, asked): &(&'static str, Json, Json),
        dice: &mut Dice,
    ) -> Option<(Json, Option<i64>)> {
        match *f {
            "put" => self.write(&[json!(["put", key, asked])]),
            "delete" => {
                let gone = self.write(&[json!(["delete", key])]);
                return Some((json!(gone), Some(self.revision())));
            }
            "txn" => self.write(asked.as_array().unwrap()),
            _ => {
                let opened = self.opened[&process];
                // It is open for a while.
                if self.revision() < opened + 3 && dice.below(30) > 0 {
                    return None;
                }
                let mut from = asked["start"].as_i64().unwrap_or(opened + 1).max(2);
                let (mut told, mut batch) = (Vec::new(), Vec::new());
                if self.compacts && dice.one_in(3) && from < self.revision() {
                    from += 1;
                    told.push(json!({"compacted": from}));
                }
                for revision in from..=self.revision() {
                    let events = self.events(asked, revision);
                    if asked["fragment"] == true && events.len() > 1 {
                        if !batch.is_empty() {
                            told.push(json!({"events": std::mem::take(&mut batch)}));
                        }
                        told.extend(events.iter().map(|event| json!({"events": [event]})));
                        continue;
                    }
                    batch.extend(events);
                    if !batch.is_empty() && dice.one_in(2) {
                        told.push(json!({"events": std::mem::take(&mut batch)}));
                    }
                    if batch.is_empty() && dice.one_in(3) {
                        told.push(json!({"progress": revision}));
                    }
                }
                if !batch.is_empty() {
                    told.push(json!({"events": batch}));
                }
                return Some((json!(told), Some(self.revision())));
            }
        };
        Some((asked.clone(), Some(self.revision())))
    }
}

fn played(seed: u64, compacts: bool, odds: Odds) -> Vec<Json> {
    let mut dice = Dice::new(seed);
    let clients = 2 + dice.below(3);
    play(&mut Store { compacts, ..Store::default() }, clients, 60, odds, &mut dice)
}

#[test]
fn what_watches_told_is_never_refuted() {
    for seed in 0..600 {
        let odds = [Odds { fail: 0, info: 0 }, Odds { fail: 5, info: 5 }][seed as usize % 2];
        let all = played(seed, seed % 3 == 0, odds);
        assert_eq!(broken("watch", &all), [""; 0], "seed {seed}:\n{}", text(&all));
    }
}

/// The last response of events; where it is not alone.
fn later(event: &Json) -> Option<usize> {
    let told = event["value"].as_array()?;
    let events: Vec<usize> = (0..told.len()).filter(|&at| told[at]["events"].is_array()).collect();
    (events.len() > 2).then(|| events[events.len() - 1])
}

/// Changes one stream: the promise that it breaks then.
fn lie(event: &mut Json, asked: &mut Json, kind: u64) -> Option<&'static str> {
    let fragment = asked["fragment"] == true;
    let last = later(event)?;
    let told = event["value"].as_array_mut()?;
    let first = told.iter().position(|it| it["events"].is_array())?;
    let middle = (first + 1..last).find(|&at| told[at]["events"].is_array())?;
    let one = told[middle]["events"][0].clone();
    let key = one["key"].as_str()?.to_string();
    Some(match kind {
        0 if !fragment => {
            told.remove(middle);
            "reliable"
        }
        1 => {
            let again = told[middle].clone();
            told.insert(middle, again);
            "unique"
        }
        2 if !fragment => {
            told.swap(middle, last);
            "ordered"
        }
        3 if one["prev"]["value"].is_i64() => {
            told[middle]["events"][0]["prev"] = Json::Null;
            "prev-kv"
        }
        4 if one["create"].is_i64() && one["create"] != one["mod"] => {
            told[middle]["events"][0]["create"] = one["mod"].clone();
            "is-create"
        }
        5 => {
            *asked = json!({"key": if key == "a1" { "a2" } else { "a1" }});
            "filter"
        }
        6 => {
            asked["start"] = (one["mod"].as_i64()? + 1).into();
            "resumable"
        }
        7 => {
            told.insert(first, json!({"progress": one["mod"]}));
            "bookmarkable"
        }
        8 if one["type"] == "put" => {
            told[middle]["events"][0]["value"] = 999.into();
            "agreement"
        }
        9 if one["type"] == "put" => {
            asked["filters"] = json!(["noput"]);
            "filter"
        }
        10 if one["type"] == "delete" => {
            asked["filters"] = json!(["nodelete"]);
            "filter"
        }
        11 if !fragment && told[middle]["events"].as_array()?.len() > 1 => {
            let mut events = told[middle]["events"].as_array()?.clone();
            let rest = events.split_off(1);
            let shared = rest[0]["mod"] == one["mod"];
            told[middle] = json!({"events": events});
            told.insert(middle + 1, json!({"events": rest}));
            if !shared {
                return None;
            }
            "atomic"
        }
        // Of the revision of the bookmark itself, too.
        12 => {
            told.insert(last + 1, json!({"progress": told[last]["events"][0]["mod"]}));
            told.swap(last, last + 1);
            "bookmarkable"
        }
        _ => return None,
    })
}

#[test]
fn a_lie_of_a_watch_is_found_by_its_name() {
    let mut found = BTreeMap::new();
    for seed in 0..3900u64 {
        let mut all = played(seed, false, Odds { fail: 0, info: 0 });
        let told = answers(&all, |it| it["f"] == "watch" && later(it).is_some());
        let Some(&at) = told.last() else { continue };
        let process = all[at]["process"].clone();
        let Some(asked) = (0..at).rev().find(|&asked| all[asked]["process"] == process) else { continue };
        let mut value = all[asked]["value"].clone();
        let Some(name) = lie(&mut all[at], &mut value, seed % 13) else { continue };
        all[asked]["value"] = value;
        let names = broken("watch", &all);
        assert!(names.contains(&name), "seed {seed}: {names:?}, not {name}\n{}\n{}", all[at], text(&all));
        *found.entry((seed % 13, name)).or_insert(0) += 1;
    }
    assert!(found.len() == 13 && found.values().all(|&many| many > 4), "{found:?}");
}
