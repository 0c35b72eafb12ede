//! etcd: a store with leases, ranges, transactions and old revisions.

use crate::{Dice, Odds, System, answers, broken, play};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Held {
    value: i64,
    modified: i64,
    create: i64,
    ver: i64,
    lease: i64,
}

type State = BTreeMap<String, Held>;

struct Store {
    /// By revision; the first is empty.
    states: Vec<State>,
    value: i64,
    leases: bool,
    /// Serializable reads may be of an older revision.
    late: bool,
}

const KEYS: [&str; 4] = ["a1", "a2", "b1", "b2"];

fn in_range(key: &str, from: &str, asked: &Json) -> bool {
    match (asked["end"].as_str(), asked["prefix"].as_bool()) {
        (Some("\0"), _) => key >= from,
        (Some(end), _) => key >= from && key < end,
        (None, Some(true)) => key.starts_with(from),
        _ => key == from,
    }
}

fn shown(state: &State, from: &str, asked: &Json) -> Json {
    let all = state.iter().filter(|(key, _)| in_range(key, from, asked));
    all.map(|(key, held)| {
        json!({"key": key, "value": held.value, "mod": held.modified, "create": held.create,
               "ver": held.ver, "lease": held.lease})
    })
    .collect()
}

impl Store {
    fn new(leases: bool, late: bool) -> Self {
        Self { states: vec![State::new(); 2], value: 0, leases, late }
    }

    fn revision(&self) -> i64 {
        self.states.len() as i64 - 1
    }

    fn state(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    fn range(dice: &mut Dice) -> (Json, Json) {
        let key = json!(dice.of(&KEYS));
        match dice.below(5) {
            0 => (key, json!({"end": dice.of(&["b1", "b2", "c", "\0"])})),
            1 => (json!(dice.of(&["a", "b"])), json!({"prefix": true})),
            _ => (key, json!({})),
        }
    }

    fn new_value(&mut self) -> i64 {
        self.value += 1;
        self.value
    }

    fn lease(&self, dice: &mut Dice) -> i64 {
        if self.leases && dice.one_in(3) { 7 + dice.below(2) as i64 } else { 0 }
    }

    /// One step of a transaction on the state to come; steps are `[f key …]`.
    fn step(next: &mut State, revision: i64, step: &Json) -> Json {
        let key = step[1].as_str().unwrap();
        let range = step.get(2).map_or(json!({}), |end| json!({"end": end}));
        match step[0].as_str() {
            Some("put") => {
                let (value, lease) = (step[2].as_i64().unwrap(), step[3].as_i64().unwrap_or(0));
                let (create, ver) = next.get(key).map_or((revision, 0), |held| (held.create, held.ver));
                next.insert(key.into(), Held { value, modified: revision, create, ver: ver + 1, lease });
                Json::Null
            }
            Some("get") => shown(next, key, &range),
            _ => {
                let before = next.len();
                next.retain(|held, _| !in_range(held, key, &range));
                json!(before - next.len())
            }
        }
    }

    fn steps(&mut self, steps: &[Json]) -> Vec<Json> {
        let (mut next, revision) = (self.state().clone(), self.revision() + 1);
        let told: Vec<Json> = steps.iter().map(|step| Self::step(&mut next, revision, step)).collect();
        let changed = |(step, told): (&Json, &Json)| step[0] == "put" || step[0] == "delete" && *told != 0;
        if steps.iter().zip(&told).any(changed) {
            self.states.push(next);
        }
        told
    }

    fn holds(&self, compare: &Json) -> bool {
        let held = self.state().get(compare[1].as_str().unwrap());
        let wanted = compare[3].as_i64().unwrap();
        let order = match (compare[0].as_str(), held) {
            (Some("value"), None) => return false,
            (Some("value"), Some(held)) => held.value.to_string().cmp(&wanted.to_string()),
            (target, held) => {
                let number = held.map_or(0, |held| match target {
                    Some("mod") => held.modified,
                    Some("create") => held.create,
                    Some("ver") => held.ver,
                    _ => held.lease,
                });
                number.cmp(&wanted)
            }
        };
        match compare[2].as_str() {
            Some("=") => order.is_eq(),
            Some("!=") => order.is_ne(),
            Some("<") => order.is_lt(),
            _ => order.is_gt(),
        }
    }

    fn compare(&self, dice: &mut Dice) -> Json {
        let key = dice.of(&KEYS);
        let target = dice.of(&["value", "mod", "create", "ver", "lease"]);
        let op = dice.of(&["=", "!=", "<", ">"]);
        let held = self.state().get(key);
        let near = held.map_or(0, |held| match target {
            "value" => held.value,
            "mod" => held.modified,
            "create" => held.create,
            "ver" => held.ver,
            _ => held.lease,
        });
        json!([target, key, op, near + dice.below(3) as i64 - 1])
    }

    /// Steps over different keys, and a look at what they did.
    fn some_steps(&mut self, dice: &mut Dice) -> Json {
        let (one, two) = if dice.one_in(2) { ("a1", "b1") } else { ("a2", "b2") };
        let mut steps = vec![match dice.below(3) {
            0 => json!(["delete", one]),
            1 => json!(["put", one, self.new_value(), self.lease(dice)]),
            _ => json!(["put", one, self.new_value()]),
        }];
        match dice.below(4) {
            0 => steps.push(json!(["delete", two, "z"])),
            1 => steps.push(json!(["put", two, self.new_value()])),
            _ => {}
        }
        steps.push(if dice.one_in(2) { json!(["get", one]) } else { json!(["get", "a", "z"]) });
        json!(steps)
    }
}

impl System for Store {
    fn ask(&mut self, _: u64, dice: &mut Dice) -> Option<(&'static str, Json, Json)> {
        let (key, range) = Self::range(dice);
        let mut get = range.clone();
        Some(match dice.below(12) {
            0..=3 => {
                let (value, lease) = (self.new_value(), self.lease(dice));
                let plain = lease == 0 && dice.one_in(2);
                let asked = if plain { json!(value) } else { json!({"value": value, "lease": lease}) };
                ("put", json!(dice.of(&KEYS)), asked)
            }
            4 => ("delete", key, range),
            5..=7 => ("get", key, range),
            8 => {
                get["revision"] = (1 + dice.below(self.revision() as u64) as i64).into();
                ("get", key, get)
            }
            9 => {
                get["serializable"] = true.into();
                ("get", key, get)
            }
            10 if self.leases && dice.one_in(2) => ("revoke", Json::Null, json!(7 + dice.below(2))),
            _ => {
                let (one, two) = (self.compare(dice), self.compare(dice));
                let compares = if dice.one_in(2) { json!([one]) } else { json!([one, two]) };
                let (yes, no) = (self.some_steps(dice), self.some_steps(dice));
                ("txn", json!("t"), json!({"if": compares, "then": yes, "else": no}))
            }
        })
    }

    fn answer(
        &mut self,
        _: u64,
        (f, key, asked): &(&'static str, Json, Json),
        dice: &mut Dice,
    ) -> Option<(Json, Option<i64>)> {
        let key = key.as_str().unwrap_or_default();
        let told = match *f {
            "put" => {
                let value = if asked.is_object() { &asked["value"] } else { asked };
                self.steps(&[json!(["put", key, value, asked["lease"].as_i64().unwrap_or(0)])]);
                Json::Null
            }
            "delete" => {
                let gone = shown(self.state(), key, asked).as_array().unwrap().len();
                if gone > 0 {
                    let mut next = self.state().clone();
                    next.retain(|held, _| !in_range(held, key, asked));
                    self.states.push(next);
                }
                json!(gone)
            }
            "get" if asked["serializable"] == true && self.late => {
                let back = dice.below(3).min(self.revision() as u64 - 1) as i64;
                let at = self.revision() - back;
                return Some((shown(&self.states[at as usize], key, asked), Some(at)));
            }
            "get" => {
                let at = asked["revision"].as_i64().unwrap_or(self.revision());
                shown(&self.states[at as usize], key, asked)
            }
            "revoke" => {
                self.end(asked.as_i64().unwrap());
                Json::Null
            }
            _ => {
                let yes = asked["if"].as_array().unwrap().iter().all(|compare| self.holds(compare));
                let steps = asked[if yes { "then" } else { "else" }].as_array().unwrap();
                json!({"succeeded": yes, "results": self.steps(steps)})
            }
        };
        Some((told, Some(self.revision())))
    }

    fn tick(&mut self, dice: &mut Dice) {
        if self.leases && dice.one_in(40) {
            self.end(7 + dice.below(2) as i64);
        }
    }
}

impl Store {
    fn end(&mut self, lease: i64) {
        let mut next = self.state().clone();
        next.retain(|_, held| held.lease != lease);
        if next.len() < self.state().len() {
            self.states.push(next);
        }
    }
}

fn played(seed: u64, leases: bool, odds: Odds) -> Vec<Json> {
    let mut dice = Dice::new(seed);
    let clients = 1 + dice.below(3);
    play(&mut Store::new(leases, true), clients, 50, odds, &mut dice)
}

#[test]
fn what_a_store_did_is_never_refuted() {
    for seed in 0..600 {
        let odds = [Odds { fail: 0, info: 0 }, Odds { fail: 5, info: 5 }][seed as usize % 2];
        let all = played(seed, seed % 3 == 0, odds);
        assert_eq!(broken("etcd", &all), [""; 0], "seed {seed}:\n{}", crate::text(&all));
    }
}

/// Changes one answer; false where nothing can be changed in it.
fn lie(event: &mut Json, dice: &mut Dice) -> bool {
    let f = event["f"].as_str().unwrap().to_string();
    let kvs = |told: &mut Json, dice: &mut Dice| {
        let Some(all) = told.as_array_mut().filter(|all| !all.is_empty()) else { return false };
        let at = dice.below(all.len() as u64) as usize;
        match dice.below(3) {
            0 => drop(all.remove(at)),
            1 => all[at]["value"] = 999.into(),
            _ => {
                let name = dice.of(&["mod", "create", "ver", "lease"]);
                all[at][name] = (all[at][name].as_i64().unwrap() + 1).into();
            }
        }
        true
    };
    match f.as_str() {
        "get" => kvs(&mut event["value"], dice),
        "delete" => {
            event["value"] = (event["value"].as_i64().unwrap() + 1).into();
            true
        }
        "put" => {
            event["version"] = (event["version"].as_i64().unwrap() + 1).into();
            true
        }
        "txn" => {
            let last = event["value"]["results"].as_array().unwrap().len() - 1;
            kvs(&mut event["value"]["results"][last], dice)
        }
        _ => false,
    }
}

#[test]
fn a_lie_of_a_store_is_found() {
    let mut found = 0;
    for seed in 0..400 {
        let mut dice = Dice::new(seed + 7000);
        let mut all = played(seed, false, Odds { fail: 0, info: 0 });
        let told = answers(&all, |_| true);
        let at = dice.of(&told);
        let before = all[at].clone();
        if !lie(&mut all[at], &mut dice) {
            continue;
        }
        let names = broken("etcd", &all);
        assert!(!names.is_empty(), "seed {seed}: {before} became {}\n{}", all[at], crate::text(&all));
        found += 1;
    }
    assert!(found > 200, "{found}");
}
