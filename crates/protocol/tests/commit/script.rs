//! Scripts that one can read: a claim in the first line, then blocks of commands, a rule, and the exact trace.
//!
//! `UPDATE=1 cargo test -p quorate-protocol --test commit scripts` rewrites the traces; commit only a difference that you
//! understand.
//!
//! | verb | what it does |
//! | --- | --- |
//! | `shards S N` | so many shards and nodes, all new |
//! | `txn N OP, OP …` | a client sends a transaction to node N; `OP` is `put a1 5`, `add a1 5`, `del a1`, `check a1 5`, `check a1 -` (absent), `insert a1 5` (where absent), `token t3 7`; the number in a key is its shard |
//! | `write N OP, OP …` | the same in one shard: one entry |
//! | `read N KEYS`, `readall N KEYS` | keys each for itself, or all at one moment |
//! | `one WORDS`, `drop WORDS`, `twice WORDS` | the first message whose trace has all these words arrives, is lost, is doubled |
//! | `deliver` | what is in flight now arrives; what it causes waits |
//! | `stabilize [WORDS]` | all arrives until nothing is under way; but messages with all these words |
//! | `hand`, `choose S` | proposals are chosen by hand from now on; the oldest of S is |
//! | `leader S` | S has another leader: what was proposed and not chosen is lost |
//! | `crash N`, `start N` | a node ends; begins its next life |
//! | `recover N` | node N recovers all that is undecided anywhere |
//! | `advance MS` | time passes for everybody |
//! | `heal` | no more faults: all comes to its end |
//! | `mute`, `unmute`, `status` | what is shown |

use crate::scripts::{all_say_what_they_say, retrace};
use crate::show;
use crate::toy::{Key, Op, Ops};
use crate::world::{Options, Packet, World};
use quorate_base::ShardId;
use quorate_base::time::Duration;
use std::fmt::Write as _;

/// Runs a script; the same text with the traces as they are now.
pub fn run(text: &str, options: Options) -> String {
    let mut runner = Runner { world: World::new(options), muted: false, faulty: false };
    retrace(text, |commands| runner.block(commands))
}

struct Runner {
    world: World,
    muted: bool,
    faulty: bool,
}

impl Runner {
    fn block(&mut self, commands: &[String]) -> String {
        let mut shown = Vec::new();
        for command in commands {
            self.world.trace = (!self.muted).then(Vec::new);
            let said = self.command(command);
            shown.extend(self.world.trace.take().unwrap_or_default());
            shown.extend(said);
            if let Some(fault) = self.world.judge.fault.clone().filter(|_| !self.faulty) {
                self.faulty = true;
                shown.push(format!("FAULT {fault}"));
            }
        }
        if shown.is_empty() { "ok".into() } else { shown.join("\n") }
    }

    fn command(&mut self, line: &str) -> Vec<String> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        let number: u64 = first.parse().unwrap_or(0);
        let shard = ShardId(number as u32);
        let w = &mut self.world;
        match verb {
            "shards" => {
                let nodes = more.parse().unwrap();
                *w = World::new(Options { shards: number as u32, nodes, ..w.options.clone() });
            }
            "txn" => drop(w.begin(number, &parse(more), Duration::from_secs(5))),
            "write" => drop(w.plain(number, parse(more))),
            "read" | "readall" => {
                let keys: Vec<Key> = more.split(' ').map(key).collect();
                w.read(number, &keys, verb == "readall");
            }
            "one" | "drop" | "twice" => return self.packet(verb, rest),
            "deliver" => {
                for _ in 0..w.net.len() {
                    w.deliver(0);
                }
            }
            "stabilize" if rest.is_empty() => w.stabilize(),
            "stabilize" => {
                let all_but = |p: &Packet| !rest.split(' ').all(|word| show::packet(p).contains(word));
                while let Some(at) = w.net.iter().position(all_but) {
                    w.deliver(at);
                }
            }
            "hand" => w.options.by_hand = true,
            "choose" if !w.choose(shard) => return vec![format!("nothing is proposed in s{shard}")],
            "choose" => {}
            "leader" => w.crash_leader(shard),
            "crash" => w.crash_gateway(number),
            "start" => w.start_gateway(number),
            "recover" => {
                for (id, participants) in w.undecided() {
                    w.recover(number, id, &participants);
                }
            }
            "advance" => w.advance(Duration::from_millis(number)),
            "heal" => w.heal(),
            "mute" => self.muted = true,
            "unmute" => self.muted = false,
            "status" => return self.status(),
            _ => panic!("what is {verb:?}?"),
        }
        vec![]
    }

    fn packet(&mut self, verb: &str, words: &str) -> Vec<String> {
        let w = &mut self.world;
        let has_all = |text: &str| words.split(' ').all(|word| text.contains(word));
        let Some(at) = w.net.iter().position(|p| has_all(&show::packet(p))) else {
            return vec![format!("nothing in flight has {words:?}")];
        };
        match verb {
            "one" => w.deliver(at),
            "drop" => drop(w.net.remove(at)),
            _ => {
                let again = w.net[at].clone();
                w.net.push(again);
            }
        }
        vec![]
    }

    fn status(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (id, shard) in &self.world.shards {
            let items = shard.machine.items.iter().map(|(key, v)| show::value(*key, v));
            let mut line = format!("s{id}: {}", items.collect::<Vec<_>>().join(" "));
            for (key, lock) in &shard.machine.locks {
                let _ = write!(line, "; {}{} locked", key.0, key.1);
                if let quorate_protocol::commit::Lock::Shared(_) = lock {
                    line += " shared";
                }
            }
            let _ = write!(line, "; {} records", shard.machine.records.len());
            if shard.leader.waiting() > 0 {
                let _ = write!(line, "; {} wait", shard.leader.waiting());
            }
            lines.push(line);
        }
        lines
    }
}

fn key(word: &str) -> Key {
    let mut chars = word.chars();
    let name = chars.next().unwrap();
    Key(name, chars.as_str().parse().unwrap())
}

fn parse(text: &str) -> Ops {
    let op = |text: &str| {
        let words: Vec<&str> = text.split_whitespace().collect();
        let value = || words[2].parse().unwrap();
        let op = match words[0] {
            "put" => Op::Put(value()),
            "add" => Op::Add(value()),
            "del" => Op::Delete,
            "check" => Op::Check(words[2].parse().ok()),
            "insert" => Op::Insert(value()),
            "token" => Op::Token(value()),
            other => panic!("what is {other:?}?"),
        };
        (key(words[1]), op)
    };
    Ops(text.split(',').map(op).collect())
}

#[test]
fn scripts() {
    all_say_what_they_say("commit", 20, |text| run(text, Options::default()));
}
