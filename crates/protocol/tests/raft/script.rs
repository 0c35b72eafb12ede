//! Scripts that one can read: a claim in the first line, then blocks of commands, a rule, and the exact trace.
//!
//! `UPDATE=1 cargo test -p quorate-protocol scripts` rewrites the traces; commit only a difference that you understand.
//!
//! | verb | what it does |
//! | --- | --- |
//! | `nodes 1 2 3 + 4` | a cluster of voters and learners |
//! | `set NAME VALUE` | `disk`, `work`, `compact`: `auto` or `hand` |
//! | `set NAME VALUE` | `timeout`: the longest election timeout in ms; `lease`: leases, under a drift of so many millionths; `rests`: 1 for a group that rests |
//! | `set NAME VALUE` | `patience`: so many ms news of a commitment waits for the next append |
//! | `set NAME VALUE` | `entries`, `window`, `keep`, `pin`, `uncommitted`, `unapplied`, `reads`: a bound |
//! | `rate N R` | N's clock counts R for a million of the true time |
//! | `pass MS` | time passes, and nobody gets a tick |
//! | `tick N`, `late N MS`, `advance MS` | time: to N's next deadline; that much past it; for everybody |
//! | `deliver [N [from M]]`, `drop …`, `twice …` | what is in flight now, to N, from M: arrives, is lost, is doubled |
//! | `one N` | the oldest message to N arrives |
//! | `stabilize` | all is delivered, flushed and worked off until nothing is under way |
//! | `flush N [K]`, `work N [K]` | the first K writes are durable; the machine does K jobs |
//! | `crash N [K]`, `start N`, `restart N [K]` | the process ends, K of its unflushed writes are on disk anyway |
//! | `seed N TERM T T T` | it starts over a disk with this term and a log of these terms |
//! | `tear N I`, `forget N` | its disk loses the log from I on; its next start knows that a vote may be forgotten |
//! | `wipe N 1 2 3` | its process ends and its disk is lost with all on it; it is started again as such a one, among these voters |
//! | `again N` | its next start is told again that its disk was lost; what is on it came since |
//! | `lose N` | its disk loses the state of its checkpoint, which its journal still names |
//! | `hold N` | its disk flushes by hand only, also in `stabilize` |
//! | `unvote N` | damage: its disk loses its vote, and nobody notices (with `set check off`) |
//! | `isolate N`, `cut A B`, `heal` | links |
//! | `propose N TEXT`, `read N`, `change N 1 2 + 3`, `transfer N M` | clients and operators |
//! | `awaited N M` | somebody at M waits for what N has taken so far |
//! | `checkpoint N`, `compact N`, `unreachable N M`, `add N` | the driver |
//! | `install-fails N`, `read-fails N` | the machine's next job, a chunk to store or to read, fails |
//! | `status`, `log N`, `mute`, `unmute` | what is shown |

use crate::cluster::{Cluster, Options, Work, n};
use crate::scripts::{all_say_what_they_say, retrace};
use crate::trace;
use quorate_base::time::Duration;
use quorate_base::{Index, NodeId};
use quorate_protocol::raft::{Input, Membership, Phase, Role};
use std::fmt::Write as _;

/// Runs a script; the same text with the traces as they are now.
pub fn run(text: &str, options: Options) -> String {
    let mut runner = Runner { cluster: Cluster::new(options, &[], &[]), muted: false, faulty: false };
    retrace(text, |commands| runner.block(commands))
}

struct Runner {
    cluster: Cluster,
    muted: bool,
    /// The fault was shown.
    faulty: bool,
}

impl Runner {
    fn block(&mut self, commands: &[String]) -> String {
        let mut shown = Vec::new();
        for command in commands {
            self.cluster.trace = (!self.muted).then(Vec::new);
            if let Some(said) = self.command(command) {
                shown.push(said);
            }
            shown.extend(self.cluster.trace.take().unwrap_or_default());
            if let Some(fault) = self.cluster.fault.clone().filter(|_| !self.faulty) {
                self.faulty = true;
                if self.muted {
                    shown.push(format!("FAULT {fault}"));
                }
            }
        }
        if shown.is_empty() { "ok".into() } else { shown.join("\n") }
    }

    fn command(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [verb, args @ ..] = words.as_slice() else { return None };
        let numbers: Vec<u64> = args.iter().map_while(|w| w.parse().ok()).collect();
        let node = numbers.first().map(|&i| n(i)).unwrap_or_default();
        let second = numbers.get(1).copied();
        let c = &mut self.cluster;
        match *verb {
            "nodes" => {
                let m = members(args);
                let (voters, learners) = (ids(&m.voters), ids(&m.learners));
                *c = Cluster::new(c.options.clone(), &voters, &learners);
            }
            "set" => set(&mut c.options, args[0], args[1]),
            "tick" => c.time_out(node),
            "late" => {
                c.now = c.deadline(node)? + Duration::from_millis(second.unwrap_or(0));
                c.step(node, Input::Tick);
            }
            "advance" => c.advance(Duration::from_millis(node.0)),
            "rate" => c.members.get_mut(&node)?.rate = second?,
            "pass" => c.now = c.now + Duration::from_millis(node.0),
            "deliver" | "drop" | "twice" => self.packets(verb, node, args),
            "one" => {
                let at = c.net.iter().position(|p| p.to == node)?;
                c.deliver_at(at);
            }
            "stabilize" => assert!(c.stabilize(), "it does not come to rest"),
            "flush" => c.flush(node, second.map_or(usize::MAX, |k| k as usize)),
            "work" => c.work(node, second.map_or(usize::MAX, |k| k as usize)),
            "crash" => c.crash(node, second.unwrap_or(0) as usize),
            "start" => c.start(node),
            "restart" => c.restart(node, second.unwrap_or(0) as usize),
            "tear" => c.tear(node, Index(second?)),
            "seed" => c.seed(node, second?, &numbers[2..]),
            "wipe" => {
                let founders = members(&args[1..]);
                c.wipe(node, &founders);
                c.start(node);
            }
            "lose" => c.members.get_mut(&node)?.state_lost = true,
            "hold" => c.members.get_mut(&node)?.by_hand = true,
            "unvote" => c.members.get_mut(&node)?.disk.hard.vote = None,
            "forget" => c.members.get_mut(&node)?.withhold_votes = true,
            "again" => c.tell_again(node),
            "isolate" => c.isolate(node),
            "cut" => drop(c.cut.insert((node, n(second?)))),
            "heal" => c.heal(),
            "propose" => drop(c.propose(node, &args[1..].join(" "))),
            "awaited" => c.step(node, Input::Awaited { by: n(second?) }),
            "read" => drop(c.read(node)),
            "change" => drop(c.change(node, &members(&args[1..]))),
            "transfer" => c.step(node, Input::Transfer { to: n(second?) }),
            "checkpoint" => c.checkpoint(node),
            "compact" => {
                let upto = c.members[&node].machine.at.index;
                c.step(node, Input::Compact { upto, keep: usize::MAX });
            }
            "unreachable" => c.step(node, Input::Unreachable { peer: n(second?) }),
            "add" => {
                let of = c.leader().map(|l| c.raft(l.0).membership().clone())?;
                c.add(node, &of);
            }
            "install-fails" | "read-fails" => self.job_fails(node),
            "status" => return Some(self.status()),
            "log" => return Some(self.log(node)),
            "mute" => self.muted = true,
            "unmute" => self.muted = false,
            _ => panic!("what is {verb:?}?"),
        }
        None
    }

    /// Those in flight now; what they cause waits for the next command.
    fn packets(&mut self, verb: &str, node: NodeId, args: &[&str]) {
        let from = args.get(2).filter(|_| args.get(1) == Some(&"from")).and_then(|w| w.parse().ok()).map(n);
        let c = &mut self.cluster;
        let mut at = 0;
        for _ in 0..c.net.len() {
            let packet = &c.net[at];
            let chosen = (args.is_empty() || packet.to == node) && from.is_none_or(|f| f == packet.from);
            match verb {
                _ if !chosen => at += 1,
                "deliver" => c.deliver_at(at),
                "drop" => {
                    let p = c.net.remove(at).unwrap();
                    c.note(|| format!("lost: n{} -> n{}: {}", p.from, p.to, p.message));
                }
                _ => {
                    let again = packet.clone();
                    c.net.push_back(again);
                    at += 1;
                }
            }
        }
    }

    fn job_fails(&mut self, node: NodeId) {
        let c = &mut self.cluster;
        match c.members.get_mut(&node).and_then(|m| m.work.pop_front()) {
            Some(Work::Install(chunk)) => {
                if let Some(m) = c.members.get_mut(&node) {
                    m.staged = None;
                }
                c.step(node, Input::InstallFailed { snapshot: chunk.meta });
            }
            Some(Work::Read(w)) => c.step(node, Input::SnapshotFailed { to: w.to, snapshot: w.snapshot }),
            other => panic!("the next job is {other:?}"),
        }
    }

    fn status(&self) -> String {
        let mut out = Vec::new();
        for m in self.cluster.members.values() {
            let Some(raft) = &m.raft else {
                out.push(format!(
                    "n{} is down; disk t{} up to {}",
                    m.id,
                    m.disk.hard.term,
                    trace::id(m.disk.last())
                ));
                continue;
            };
            let role = match raft.role() {
                Role::Leader => "leads".into(),
                _ => raft.leader().map_or("follows nobody".into(), |l| format!("follows n{l}")),
            };
            let mut line = format!(
                "n{} {role} in t{}: log {}..{} durable {} commit {} applied {}; {}",
                m.id,
                raft.term(),
                raft.base().index,
                trace::id(raft.last()),
                raft.durable(),
                raft.commit(),
                raft.applied(),
                raft.membership()
            );
            if raft.withholds() {
                line += "; withholds";
            }
            if raft.state_lost() {
                line += "; without its state";
            }
            for (node, p) in raft.progress() {
                let phase = match p.phase {
                    Phase::Probe { waiting: true } => "probe, waiting",
                    Phase::Probe { waiting: false } => "probe",
                    Phase::Replicate => "replicate",
                    Phase::Snapshot(_) => "snapshot",
                };
                let _ = write!(line, "\n  n{node} {phase}: matched {} next {}", p.matched, p.next);
            }
            out.push(line);
        }
        out.join("\n")
    }

    fn log(&self, node: NodeId) -> String {
        let Some(raft) = self.cluster.members[&node].raft.as_ref() else { return "down".into() };
        let ids: Vec<String> = (raft.base().index.0 + 1..=raft.last().index.0)
            .filter_map(|i| raft.entry(Index(i)))
            .map(|e| trace::id(e.id))
            .collect();
        format!("n{node}: ({}) {}", trace::id(raft.base()), ids.join(" "))
    }
}

fn ids(of: &std::collections::BTreeSet<NodeId>) -> Vec<u64> {
    of.iter().map(|n| n.0).collect()
}

fn members(words: &[&str]) -> Membership {
    let mut sets =
        words.split(|w| *w == "+").map(|part| part.iter().filter_map(|w| w.parse().ok()).map(n).collect());
    Membership {
        voters: sets.next().unwrap_or_default(),
        learners: sets.next().unwrap_or_default(),
        ..Membership::default()
    }
}

fn set(options: &mut Options, name: &str, value: &str) {
    let number = value.parse().unwrap_or(0);
    let auto = value == "auto";
    let config = &mut options.config;
    match name {
        "disk" => options.auto_disk = auto,
        "work" => options.auto_work = auto,
        "compact" => options.auto_compact = auto,
        "check" => options.check = value != "off",
        "entries" => config.max_append_entries = number,
        "window" => config.window_messages = number,
        "keep" => config.log_keep_bytes = number,
        "pin" => config.log_pin_bytes = number,
        "unapplied" => config.max_unapplied_bytes = number,
        "uncommitted" => config.max_uncommitted_bytes = number,
        "reads" => config.max_pending_reads = number,
        "timeout" => config.election_max = Duration::from_millis(number as u64),
        "patience" => config.commit_patience = Duration::from_millis(number as u64),
        "lease" => config.lease_reads = Some(number as u32),
        "rests" => config.rests = number > 0,
        _ => panic!("what is {name:?}?"),
    }
}

#[test]
fn scripts() {
    all_say_what_they_say("raft", 30, |text| run(text, Options::default()));
}
