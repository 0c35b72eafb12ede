//! `quorate plan`: what a promise costs, or why it cannot be had. It needs no cluster, and asks none.
//!
//! What is asked comes from flags, from a preset under them, or from answers ([`ask`]); the answer is computed by
//! `quorate_policy`, and shown by [`screen`] or [`json`].

mod ask;
mod json;
mod screen;

use crate::report::{Exit, Problem, colours, say};
use quorate_policy::ask::time;
use quorate_policy::{
    Consistency, Local, OnPartition, Partitioning, Policy, Refusal, Replication, Scope, odds, plan, preset,
};
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

/// What a space is to promise.
#[derive(clap::Args, Debug)]
pub(crate) struct Words {
    /// What a read may see: strict-serializable, linearizable, sequential, regular, causal or eventual [default:
    /// linearizable]
    #[arg(long, value_name = "LEVEL")]
    consistency: Option<Consistency>,
    /// Over what one order of operations is asked for: key (those of one partition key) or space (all keys)
    #[arg(long, value_name = "SCOPE")]
    over: Option<Scope>,
    /// With how many failed nodes it still serves [default: 1]
    #[arg(long, value_name = "NODES", value_parser = quorate_policy::ask::count)]
    survive: Option<u8>,
    /// How many disks hold a write before its reply, at least
    #[arg(long, value_name = "DISKS", value_parser = quorate_policy::ask::count)]
    durability: Option<u8>,
    /// What a side of a partition does that cannot reach the other: refuse or serve
    #[arg(long, value_name = "WHAT")]
    on_partition: Option<OnPartition>,
    /// How old an answer may be at most, where one may be old: as in 5s or 800ms
    #[arg(long, value_name = "TIME", value_parser = time)]
    staleness: Option<Duration>,
    /// What is answered without a message to another replica: reads, writes or both
    #[arg(long, value_name = "WHAT")]
    local: Option<Local>,
    /// How keys are divided into shards: none, range, hash, directory or time+hash [default: hash]
    #[arg(long, value_name = "HOW")]
    partition_by: Option<Partitioning>,
    /// The mechanism outright: raft, quorum, abd, paxos, primary:sync, primary:semi-sync:1 or primary:async, with its
    /// numbers or without: raft:n=5, quorum:n=3,w=2,r=2 (and sloppy, siblings, rmw=always|only|forbid|unsafe),
    /// primary:sync,n=3,min-in-sync=2
    #[arg(long, value_name = "MECHANISM")]
    replication: Option<Replication>,
    /// Begin with the policy of a known system; flags win over it
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
}

/// Say what a promise costs.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    words: Words,
    /// List the presets, and where each departs from its original
    #[arg(long, exclusive = true)]
    list_presets: bool,
    /// Ask what an architect would ask, one question at a time; what flags say is not asked
    #[arg(long)]
    ask: bool,
    /// A cluster of so many nodes: how likely is it that failed ones cost a quorum?
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    nodes: Option<u16>,
    /// So many shards on it
    #[arg(long, value_name = "SHARDS", default_value_t = 256, requires = "nodes",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    shards: u32,
    /// Say also why it came out so, and what the rules state that it rests on
    #[arg(long)]
    explain: bool,
    /// Speak JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  quorate plan                                   what a table gets that \
                        asks for nothing
  quorate plan --consistency linearizable --survive 1 \
                        --on-partition refuse
  quorate plan --consistency eventual --on-partition serve \
                        --durability 2
  quorate plan --consistency linearizable --on-partition serve \
                        --explain     why not, and what instead
  quorate plan --replication \
                        quorum:n=3,w=2,r=2 --nodes 12 --shards 1024
  quorate plan --preset \
                        cassandra-quorum
  quorate plan --list-presets
  quorate plan --ask
  printf \
                        'no\\nno\\nanything\\n\\n\\nserve\\none by one\\n' | quorate plan --ask \
                        --json

Ends with 0 if there is a plan, also for what this release does not have \
                        yet (the plan says so); with 1 if what was
asked contradicts itself, and then \
                        names the rule and the ways out; with 2 if it was not understood.";

/// What the user wants to know besides the plan.
struct Wishes {
    explain: bool,
    /// Nodes and shards of a cluster.
    cluster: Option<(u16, u32)>,
    /// The questions' answers, as a command line.
    command: Option<String>,
}

/// Plans.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    if args.list_presets {
        say(screen::presets().trim_end());
        return Ok(());
    }
    let (mut policy, departs) = args.words.policy()?;
    let mut wishes = Wishes {
        explain: args.explain,
        cluster: args.nodes.map(|nodes| (nodes, args.shards)),
        command: None,
    };
    if args.ask {
        let stdin = std::io::stdin();
        let terminal = stdin.is_terminal();
        ask::ask(&mut stdin.lock(), &mut std::io::stderr(), terminal, &mut policy)?;
        wishes.command = Some(screen::command(&policy));
    }
    match plan(&policy) {
        Ok(plan) => {
            check_cluster(&wishes, plan.nodes)?;
            if args.json {
                say(&json::plan(&policy, &plan, departs, &wishes));
            } else {
                say(screen::plan(&plan, departs, &wishes, colours(&std::io::stdout())).trim_end());
            }
            Ok(())
        }
        Err(refusal) => {
            if args.json {
                say(&json::refusal(&policy, &refusal, &wishes));
            } else if let Some(command) = &wishes.command {
                say(&format!("asked for: {command}"));
            }
            Err(problem(&refusal, args.explain))
        }
    }
}

impl Words {
    /// The policy that they ask for, and where the preset under it departs from its original.
    pub(crate) fn policy(&self) -> Result<(Policy, &'static [&'static str]), Problem> {
        let mut policy = Policy::default();
        let mut departs: &[&str] = &[];
        if let Some(name) = &self.preset {
            let preset = preset::named(name).map_err(|e| {
                let message = format!("there is no preset {:?}", e.word);
                Problem::new(
                    Exit::Usage,
                    message,
                    format!("there are {}", e.allowed.replace(" or ", " and ")),
                )
            })?;
            policy = preset.policy;
            departs = preset.departs;
        }
        policy.overlay(&self.asked());
        Ok((policy, departs))
    }

    /// What the flags ask for.
    fn asked(&self) -> Policy {
        Policy {
            consistency: self.consistency,
            over: self.over,
            survive: self.survive,
            durability: self.durability,
            on_partition: self.on_partition,
            staleness: self.staleness,
            local: self.local,
            partition_by: self.partition_by,
            replication: self.replication.clone(),
        }
    }
}

/// A cluster that is too small for the plan has no odds.
fn check_cluster(wishes: &Wishes, needed: u8) -> Result<(), Problem> {
    match wishes.cluster {
        Some((nodes, _)) if nodes < u16::from(needed) => Err(Problem::new(
            Exit::Failed,
            format!("the plan needs {needed} nodes, and the cluster has {nodes}"),
            "ask for fewer failures or disks (--survive, --durability), or add nodes",
        )),
        _ => Ok(()),
    }
}

/// The chance that failed nodes cost some shard its quorum, in words.
fn odds_words(plan: &quorate_policy::Plan, (nodes, shards): (u16, u32)) -> Option<String> {
    let chance = odds::quorum_lost(plan.copies, plan.survives, nodes, shards)?;
    let one = odds::quorum_lost(plan.copies, plan.survives, nodes, 1)?;
    let failed = match plan.survives {
        0 => "1 node".to_string(),
        survives => format!("{} nodes", survives + 1),
    };
    Some(format!(
        "when {failed} of {nodes}, drawn by chance, are lost, a given shard loses its quorum with a \
         chance of {}, and at least one of {shards} with a chance of {}",
        percent(one),
        percent(chance)
    ))
}

/// A chance as a percentage, never rounded up to a certainty.
fn percent(chance: f64) -> String {
    let percent = chance * 100.0;
    if percent > 99.9 { "more than 99.9 %".into() } else { format!("{percent:.1} %") }
}

/// A refusal, as commands speak about what went wrong.
pub(crate) fn problem(refusal: &Refusal, explain: bool) -> Problem {
    let mut message = refusal.to_string();
    if explain {
        for contradiction in &refusal.contradictions {
            message.push_str(&screen::stated(contradiction.rule));
        }
    }
    let mut hint = String::new();
    for (i, way) in refusal.ways.iter().enumerate() {
        let lead = if i == 0 { "choose " } else { "\n       or " };
        let _ = write!(hint, "{lead}{way} ({})", way.then);
    }
    Problem::new(Exit::Failed, message, hint)
}
