//! Claim: what an honest system did is never refuted, whatever was heard of it, and a lie is found by its name.
//!
//! Each system is played by a plain model of it. Clients ask it side by side: an operation takes effect at some moment between its
//! invocation and its return, fails without effect, or is never heard of again and has one or not. Then one answer is changed.

#![allow(missing_docs, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod etcd;
mod holders;
mod kv;
mod logs;
mod streams;
mod watches;

use serde_json::{Value as Json, json};

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize].clone()
    }
}

/// A system that is asked.
pub(crate) trait System {
    /// What a client that is free asks: function, key and value.
    fn ask(&mut self, process: u64, dice: &mut Dice) -> Option<(&'static str, Json, Json)>;

    /// What is asked takes effect: the value of the answer, and its version. Nothing where it cannot now.
    fn answer(
        &mut self,
        process: u64,
        asked: &(&'static str, Json, Json),
        dice: &mut Dice,
    ) -> Option<(Json, Option<i64>)>;

    /// What happens of itself.
    fn tick(&mut self, _: &mut Dice) {}
}

/// How much is not heard of.
#[derive(Clone, Copy)]
pub(crate) struct Odds {
    pub(crate) fail: u64,
    pub(crate) info: u64,
}

enum Client {
    Free,
    Asks((&'static str, Json, Json)),
    Done((&'static str, Json, Json), Json, Option<i64>),
}

/// Lets clients ask; the events of that.
pub(crate) fn play(
    system: &mut impl System,
    clients: u64,
    events: usize,
    odds: Odds,
    dice: &mut Dice,
) -> Vec<Json> {
    let mut all = Vec::new();
    let mut names: Vec<u64> = (0..clients).collect();
    let mut next = clients;
    let mut doing: Vec<Client> = names.iter().map(|_| Client::Free).collect();
    let mut idle = 0;
    while (all.len() < events || doing.iter().any(|client| !matches!(client, Client::Free))) && idle < 1000 {
        system.tick(dice);
        idle += 1;
        let at = dice.below(clients) as usize;
        let process = names[at];
        let event = |kind: &str, (f, key, value): &(&str, Json, Json), told: Option<&Json>| json!({"process": process, "type": kind, "f": f, "key": key, "value": told.unwrap_or(value)});
        let told = |asked: &(&'static str, Json, Json), value: &Json, version: &Option<i64>| {
            let mut told = event("ok", asked, Some(value));
            if let Some(version) = version {
                told["version"] = (*version).into();
            }
            told
        };
        match std::mem::replace(&mut doing[at], Client::Free) {
            Client::Free if all.len() < events => {
                if let Some(asked) = system.ask(process, dice) {
                    all.push(event("invoke", &asked, None));
                    doing[at] = Client::Asks(asked);
                    idle = 0;
                }
            }
            Client::Free => {}
            Client::Asks(asked) if odds.fail > 0 && dice.below(100) < odds.fail => {
                let mut told = event("fail", &asked, None);
                told["error"] = "not done".into();
                all.push(told);
            }
            Client::Asks(asked) if odds.info > 0 && dice.below(100) < odds.info => {
                if dice.one_in(2) {
                    system.answer(process, &asked, dice);
                }
                if dice.one_in(2) {
                    all.push(event("info", &asked, None));
                }
                (names[at], next) = (next, next + 1);
            }
            Client::Asks(asked) => match system.answer(process, &asked, dice) {
                Some((value, version)) => {
                    idle = 0;
                    doing[at] = Client::Done(asked, value, version);
                }
                None => doing[at] = Client::Asks(asked),
            },
            Client::Done(asked, value, version) => {
                all.push(told(&asked, &value, &version));
                idle = 0;
            }
        }
    }
    all
}

/// One more operation, alone, behind all others.
pub(crate) fn last(all: &mut Vec<Json>, process: u64, f: &str, key: Json, asked: Json, told: Json) {
    for (kind, value) in [("invoke", asked), ("ok", told)] {
        all.push(json!({"process": process, "type": kind, "f": f, "key": key, "value": value}));
    }
}

pub(crate) fn text(all: &[Json]) -> String {
    all.iter().map(|event| event.to_string() + "\n").collect()
}

/// The promises that a history breaks.
pub(crate) fn broken(model: &str, all: &[Json]) -> Vec<&'static str> {
    use quorate_check::verdict::Verdict;
    let text = text(all);
    let history = quorate_check::read::read(text.as_bytes()).unwrap_or_else(|bad| panic!("{bad}: {text}"));
    let model = quorate_check::promises::Model::named(model).unwrap();
    let found = model.judge(&history).unwrap_or_else(|bad| panic!("{bad}: {text}"));
    let refuted =
        |(name, verdict): (&'static str, Verdict)| matches!(verdict, Verdict::Refuted(_)).then_some(name);
    found.into_iter().filter_map(refuted).collect()
}

/// The violations of an invariant, and whether it was proved.
pub(crate) fn violated(model: &str, all: &[Json]) -> (Vec<&'static str>, bool) {
    use quorate_check::{budget::Budget, invariants::Invariant, verdict::Verdict};
    let history = quorate_check::read::read(text(all).as_bytes()).unwrap();
    let go_on = || false;
    let (model, mut budget) = (Invariant::named(model).unwrap(), Budget::new(&go_on, 1 << 30));
    let report =
        quorate_check::invariants::check(model, &history, quorate_check::value::Value::NIL, &mut budget)
            .unwrap();
    let names: Vec<_> = report.violations.iter().map(|violation| violation.name).collect();
    assert_eq!(matches!(report.verdict, Verdict::Refuted(_)), !names.is_empty());
    (names, matches!(report.verdict, Verdict::Proved { .. }))
}

/// The events that are such answers.
pub(crate) fn answers(all: &[Json], fits: impl Fn(&Json) -> bool) -> Vec<usize> {
    (0..all.len()).filter(|&at| all[at]["type"] == "ok" && fits(&all[at])).collect()
}
