//! Writes a long history of one object, in Jepsen's EDN, that a real object could have given.
//!
//!     long MODEL SEED OPERATIONS CLIENTS INFO_PERMILLE [bad] > history.edn
//!
//! MODEL is register, cas-register, queue, stack, multiset, priority-queue, set, counter or mutex. Each client asks, the
//! object acts at a random moment within, the client hears. Values that are written or added are new. So many operations of
//! a thousand are never answered; half of them took effect. With `bad` one result near the end is that of another operation.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{BufWriter, Write};

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// What any of the objects is.
#[derive(Default)]
struct State {
    cell: Option<u64>,
    items: VecDeque<u64>,
    sorted: BTreeSet<u64>,
    fresh: u64,
    count: u64,
    held: bool,
}

/// What is asked, and with which argument, as it is written.
struct Ask {
    f: &'static str,
    argument: String,
}

fn ask(model: &str, state: &mut State, dice: &mut Dice) -> Ask {
    let newest = state.fresh;
    let mut fresh = || {
        state.fresh = newest + 1;
        newest + 1
    };
    let (f, argument) = match (model, dice.below(4)) {
        ("register" | "cas-register", 0 | 1) | ("counter", 0 | 1) => ("read", None),
        ("cas-register", 2) => {
            let old = state.cell.map_or("nil".into(), |cell| cell.to_string());
            let argument = format!("[{old} {}]", fresh());
            return Ask { f: "cas", argument };
        }
        ("register" | "cas-register", _) => ("write", Some(fresh())),
        ("counter", _) => ("add", Some(1)),
        ("mutex", _) if state.held => ("release", None),
        ("mutex", _) => ("acquire", None),
        ("set", 0 | 1) => ("add", Some(fresh())),
        ("set", what) if newest > 0 => {
            let value = newest - dice.below(newest.min(50));
            // Each is removed once at most.
            if what == 2 && state.sorted.insert(value) {
                ("remove", Some(value))
            } else {
                ("contains", Some(value))
            }
        }
        ("set", _) => ("contains", Some(0)),
        ("priority-queue", 0 | 1) => ("insert", Some(fresh() << 20 | dice.below(1 << 20))),
        ("stack", 0 | 1) => ("push", Some(fresh())),
        ("stack", _) => ("pop", None),
        ("priority-queue", _) => ("delete-min", None),
        (_, 0 | 1) => ("enqueue", Some(fresh())),
        _ => ("dequeue", None),
    };
    // Spread the priorities.
    let argument = match model {
        "priority-queue" => argument.map(|value| (value & 0xf_ffff) << 24 | value >> 20),
        _ => argument,
    };
    Ask { f, argument: argument.map_or("nil".into(), |value| value.to_string()) }
}

/// What the object answers; nothing where it refuses.
fn act(model: &str, state: &mut State, items: &mut BTreeMap<u64, ()>, ask: &Ask) -> Option<String> {
    let shown = |value: Option<u64>| value.map_or("nil".into(), |value: u64| value.to_string());
    let argument = || ask.argument.parse::<u64>().unwrap_or(0);
    match (ask.f, model) {
        ("read", "counter") => Some(state.count.to_string()),
        ("read", _) => Some(shown(state.cell)),
        ("write", _) => {
            state.cell = Some(argument());
            Some(ask.argument.clone())
        }
        ("cas", _) => {
            let (old, new) = ask.argument.trim_matches(['[', ']']).split_once(' ')?;
            if old != shown(state.cell) {
                return None;
            }
            state.cell = new.parse().ok();
            Some(ask.argument.clone())
        }
        ("acquire" | "release", _) if state.held == (ask.f == "release") => {
            state.held = !state.held;
            Some("nil".into())
        }
        ("acquire" | "release", _) => None,
        ("add", "counter") => {
            state.count += 1;
            Some(ask.argument.clone())
        }
        ("add" | "insert", "set" | "priority-queue") => {
            items.insert(argument(), ());
            Some(ask.argument.clone())
        }
        ("remove", _) => {
            items.remove(&argument());
            Some(ask.argument.clone())
        }
        ("contains", _) => Some(items.contains_key(&argument()).to_string()),
        ("delete-min", _) => Some(shown(items.pop_first().map(|(value, ())| value))),
        ("pop", _) => Some(shown(state.items.pop_back())),
        ("dequeue", _) => Some(shown(state.items.pop_front())),
        _ => {
            state.items.push_back(argument());
            Some(ask.argument.clone())
        }
    }
}

enum Client {
    Idle,
    Asked(Ask),
    Done(Ask, Option<String>),
}

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let number = |place: usize, or: u64| args.get(place).and_then(|arg| arg.parse().ok()).unwrap_or(or);
    let model = args.get(1).map_or("register", String::as_str);
    let (seed, operations, clients) = (number(2, 1), number(3, 10_000), number(4, 10) as usize);
    let info = number(5, 0);
    let bad = args.get(6).is_some_and(|arg| arg == "bad");
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut state, mut items) = (State::default(), BTreeMap::new());
    let mut all: Vec<Client> = (0..clients).map(|_| Client::Idle).collect();
    let mut names: Vec<usize> = (0..clients).collect();
    let (mut asked, mut next_name, mut index, mut time) = (0, clients, 0u64, 0u64);
    let mut last_result = String::from("nil");
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    while asked < operations || all.iter().any(|client| !matches!(client, Client::Idle)) {
        let place = dice.below(clients as u64) as usize;
        time += 1 + dice.below(20_000);
        let (kind, f, value, name) = match std::mem::replace(&mut all[place], Client::Idle) {
            Client::Idle if asked == operations => continue,
            Client::Idle => {
                let ask = ask(model, &mut state, &mut dice);
                asked += 1;
                let line = ("invoke", ask.f, ask.argument.clone(), names[place]);
                all[place] = Client::Asked(ask);
                line
            }
            Client::Asked(ask) => {
                let lost = dice.below(1000) < info;
                if lost && dice.below(2) == 0 {
                    (names[place], next_name) = (next_name, next_name + 1);
                    continue;
                }
                let result = act(model, &mut state, &mut items, &ask);
                if lost {
                    (names[place], next_name) = (next_name, next_name + 1);
                    continue;
                }
                all[place] = Client::Done(ask, result);
                continue;
            }
            Client::Done(ask, Some(result)) => {
                let wrong = bad && asked + 100 == operations;
                let told = if wrong { last_result.clone() } else { result.clone() };
                if ask.argument == "nil" {
                    last_result = result;
                }
                ("ok", ask.f, told, names[place])
            }
            Client::Done(ask, None) => {
                ("fail", ask.f, format!("{} :error :refused", ask.argument), names[place])
            }
        };
        writeln!(
            out,
            "{{:type :{kind}, :f :{f}, :value {value}, :time {time}, :process {name}, :index {index}}}"
        )?;
        index += 1;
    }
    out.flush()
}
