//! The ways out of a contradiction: the nearest policies that have a plan.
//!
//! They are looked for, not written down: each way was decided like any other policy, so none leads into the next
//! contradiction. First one thing that was asked is changed, then two together, then three; what was not asked for is
//! in nobody's way and stays open.

use crate::ask::{Consistency, Field, Local, OnPartition, Partitioning, Policy, Scope};
use crate::decide::{Decision, LEAST_STALENESS, decide};
use crate::mechanism::{PrimaryAsk, Quorum, Replication};
use crate::price;
use crate::rule::Contradiction;
use std::fmt;

/// Ways that are told of at most: more would hide the good ones.
const MOST_WAYS: usize = 5;

/// A policy near the one that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The policy.
    pub policy: Policy,
    /// What is asked differently, and what instead; nothing for what is asked no more.
    pub change: Vec<(Field, Option<String>)>,
    /// What one gets, in a line.
    pub then: String,
}

/// Why there is no plan, and what there is near by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// All that stands against the policy; never empty.
    pub contradictions: Vec<Contradiction>,
    /// The nearest policies that have a plan; never empty.
    pub ways: Vec<Way>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, contradiction) in self.contradictions.iter().enumerate() {
            write!(f, "{}{contradiction}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Way {
    /// The change, as flags of the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (field, value)) in self.change.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { " and " })?;
            match value {
                Some(value) => write!(f, "--{field} {value}")?,
                None => write!(f, "no --{field}")?,
            }
        }
        Ok(())
    }
}

/// A policy that was refused, with its ways out.
pub(crate) fn refusal(policy: &Policy, contradictions: Vec<Contradiction>) -> Refusal {
    Refusal { contradictions, ways: ways(policy) }
}

/// The nearest policies that have a plan.
pub fn ways(policy: &Policy) -> Vec<Way> {
    let choices = choices(policy);
    for changed in 1..=3 {
        let mut found = Vec::new();
        combine(policy, policy, &choices, changed, &mut found);
        if !found.is_empty() {
            return found;
        }
    }
    // What asks for nothing has a plan.
    let open = Policy { consistency: policy.consistency, ..Policy::default() };
    decide(&open).map(|decision| vec![way(policy, open, decision)]).unwrap_or_default()
}

/// One thing that was asked, and what could be asked instead, the nearest first.
type Choice = Vec<Policy>;

/// Tries every combination of `changed` fields; of each set of fields the first that has a plan is a way.
fn combine(
    asked: &Policy,
    so_far: &Policy,
    choices: &[(Field, Choice)],
    changed: usize,
    found: &mut Vec<Way>,
) {
    for (i, (_, choice)) in choices.iter().enumerate() {
        for alternative in choice {
            if found.len() == MOST_WAYS {
                return;
            }
            let next = with_change(so_far, alternative, choices[i].0);
            if changed > 1 {
                let before = found.len();
                combine(asked, &next, &choices[i + 1..], changed - 1, found);
                if found.len() > before {
                    break;
                }
            } else if let Ok(decision) = decide(&next) {
                found.push(way(asked, next, decision));
                break;
            }
        }
    }
}

/// `policy` with one field as `alternative` has it.
fn with_change(policy: &Policy, alternative: &Policy, field: Field) -> Policy {
    let mut next = policy.clone();
    match field {
        Field::Consistency => next.consistency = alternative.consistency,
        Field::Over => next.over = alternative.over,
        Field::Survive => next.survive = alternative.survive,
        Field::Durability => next.durability = alternative.durability,
        Field::OnPartition => next.on_partition = alternative.on_partition,
        Field::Staleness => next.staleness = alternative.staleness,
        Field::Local => next.local = alternative.local,
        Field::PartitionBy => next.partition_by = alternative.partition_by,
        Field::Replication => next.replication.clone_from(&alternative.replication),
    }
    next
}

fn way(asked: &Policy, policy: Policy, decision: Decision) -> Way {
    let differs = |field: &&Field| asked.get(**field) != policy.get(**field);
    let change = Field::ALL.iter().filter(differs).map(|field| (*field, policy.get(*field))).collect();
    Way { policy, change, then: price::in_a_line(&decision) }
}

/// For each thing that was asked, what is near it; the fields in the order in which a way is offered.
fn choices(policy: &Policy) -> Vec<(Field, Choice)> {
    let order = [
        Field::OnPartition,
        Field::Consistency,
        Field::Replication,
        Field::Local,
        Field::Staleness,
        Field::PartitionBy,
        Field::Over,
        Field::Survive,
        Field::Durability,
    ];
    let of = |field: Field| -> Choice {
        let open = Policy::default;
        match field {
            Field::OnPartition => near(policy.on_partition, OnPartition::ALL)
                .map(|v| Policy { on_partition: Some(v), ..open() })
                .collect(),
            Field::Consistency => {
                levels(policy.consistency).map(|v| Policy { consistency: Some(v), ..open() }).collect()
            }
            Field::Replication => policy
                .replication
                .iter()
                .flat_map(mechanisms)
                .map(|v| Policy { replication: v, ..open() })
                .collect(),
            Field::Local => locals(policy.local).into_iter().map(|v| Policy { local: v, ..open() }).collect(),
            Field::Staleness => {
                let least = policy
                    .staleness
                    .is_some_and(|bound| bound < LEAST_STALENESS)
                    .then_some(Some(LEAST_STALENESS));
                least.into_iter().chain([None]).map(|v| Policy { staleness: v, ..open() }).collect()
            }
            Field::PartitionBy => vec![Policy { partition_by: Some(Partitioning::None), ..open() }],
            Field::Over => vec![Policy { over: Some(Scope::Key), ..open() }],
            Field::Survive => {
                fewer(policy.survive.or(Some(1)), 0).map(|v| Policy { survive: Some(v), ..open() }).collect()
            }
            Field::Durability => {
                durabilities(policy.durability).map(|v| Policy { durability: Some(v), ..open() }).collect()
            }
        }
    };
    // What was not asked for, and has a default that can be in the way.
    let default = |field: &Field| matches!(field, Field::Consistency | Field::Survive);
    let asked = |field: &Field| default(field) || policy.get(*field).is_some();
    order.into_iter().filter(asked).map(|field| (field, of(field))).collect()
}

fn near<T: Copy + PartialEq>(asked: Option<T>, all: &[T]) -> impl Iterator<Item = T> {
    all.iter().copied().filter(move |value| Some(*value) != asked)
}

/// First what is weaker, the strongest before; then what is stronger, the weakest before.
fn levels(asked: Option<Consistency>) -> impl Iterator<Item = Consistency> {
    let all = Consistency::ALL;
    let at = all.iter().position(|level| Some(*level) == asked).unwrap_or(1);
    all[at + 1..].iter().chain(all[..at].iter().rev()).copied()
}

/// Lower counts, the nearest first.
fn fewer(asked: Option<u8>, least: u8) -> impl Iterator<Item = u8> {
    // Beyond the most that any plan has, one step down is as far as another.
    (least..asked.unwrap_or(least).min(9)).rev()
}

fn durabilities(asked: Option<u8>) -> impl Iterator<Item = u8> {
    let least = (asked == Some(0)).then_some(1);
    least.into_iter().chain(fewer(asked, 1))
}

fn locals(asked: Option<Local>) -> Vec<Option<Local>> {
    match asked {
        Some(Local::Both) => vec![Some(Local::Reads), Some(Local::Writes), None],
        _ => vec![None],
    }
}

/// The same protocol with its numbers left open, then others, then whatever the planner chooses.
fn mechanisms(asked: &Replication) -> Vec<Option<Replication>> {
    let open = match asked {
        Replication::Raft { .. } => Replication::Raft { n: None },
        Replication::Abd { .. } => Replication::Abd { n: None },
        Replication::Paxos { .. } => Replication::Paxos { n: None },
        Replication::Quorum(q) => Replication::Quorum(Quorum { n: None, w: None, r: None, ..q.clone() }),
        Replication::Primary { mode: PrimaryAsk::Sync { .. }, .. } => {
            Replication::Primary { mode: PrimaryAsk::Sync { min_in_sync: None }, n: None }
        }
        Replication::Primary { mode, .. } => Replication::Primary { mode: *mode, n: None },
    };
    let plain = Replication::Quorum(Quorum { rmw: None, ..Quorum::default() });
    let sync = Replication::Primary { mode: PrimaryAsk::Sync { min_in_sync: None }, n: None };
    let semi = Replication::Primary { mode: PrimaryAsk::SemiSync { acks: 1 }, n: None };
    let mut all = vec![open];
    match asked {
        // Whoever named a primary wants one.
        Replication::Primary { .. } => all.extend([semi, sync, Replication::Raft { n: None }, plain]),
        _ => all.extend([Replication::Raft { n: None }, plain, Replication::Abd { n: None }, sync]),
    }
    all.into_iter().filter(|other| other != asked).map(Some).chain([None]).collect()
}
