//! A plan, and a refusal, for programs.

use super::{Wishes, screen};
use quorate_policy::plan::{Operation, Side, Span};
use quorate_policy::{Contradiction, Plan, Policy, Refusal, Way, odds};
use serde_json::{Map, Value, json};

/// A plan, in a line.
pub(crate) fn plan(policy: &Policy, plan: &Plan, departs: &[&str], wishes: &Wishes) -> String {
    let missing: Vec<_> = plan.missing().iter().map(|part| part.said()).collect();
    let mut told = json!({
        "asked": asked(policy),
        "headline": plan.headline,
        "promise": plan.promise.word(),
        "scope": plan.scope,
        "protocol": plan.mechanism.protocol(),
        "replication": plan.mechanism.outright().to_string(),
        "n": plan.copies,
        "w": plan.write_quorum,
        "r": plan.read_quorum,
        "survives": plan.survives,
        "nodes": plan.nodes,
        "on_partition": plan.on_partition.word(),
        "partition_by": plan.partition_by.word(),
        "staleness_ms": plan.staleness.map(|bound| bound.as_millis() as u64),
        "pacelc": { "class": plan.pacelc.letters(), "words": plan.pacelc.words },
        "operations": plan.operations.iter().map(operation).collect::<Vec<_>>(),
        "sides": plan.sides.iter().map(side).collect::<Vec<_>>(),
        "losses": {
            "disks": plan.losses.disks,
            "failover": plan.losses.failover,
            "overwritten": plan.losses.overwritten,
            "words": plan.losses.words,
        },
        "cost": {
            "copies": plan.cost.copies,
            "write_messages": span(plan.cost.write_messages),
            "read_messages": span(plan.cost.read_messages),
            "words": plan.cost.words,
        },
        "gives_up": plan.gives_up,
        "assumes": plan.assumes,
        "notes": plan.notes,
        "departs": departs,
        "available": missing.is_empty(),
        "missing": missing,
    });
    if wishes.explain {
        told["reasons"] = json!(plan.reasons);
        told["rules"] = plan.rules.iter().map(|rule| rule_told(*rule)).collect();
    }
    if let Some((nodes, shards)) = wishes.cluster {
        let chance = odds::quorum_lost(plan.copies, plan.survives, nodes, shards);
        told["cluster"] = json!({ "nodes": nodes, "shards": shards, "quorum_lost": chance });
    }
    told.to_string()
}

/// A refusal, in a line.
pub(crate) fn refusal(policy: &Policy, refusal: &Refusal, wishes: &Wishes) -> String {
    let contradiction = |c: &Contradiction| {
        let mut told = json!({ "rule": c.rule.word(), "message": c.message });
        if wishes.explain {
            told["statement"] = json!(c.rule.statement());
            told["source"] = json!(c.rule.source());
        }
        told
    };
    let way = |way: &Way| {
        let change = way.change.iter().map(|(field, value)| (field.word().to_string(), json!(value)));
        json!({
            "change": change.collect::<Map<_, _>>(),
            "asked": asked(&way.policy),
            "then": way.then,
            "command": screen::command(&way.policy),
        })
    };
    let told = json!({
        "asked": asked(policy),
        "contradictions": refusal.contradictions.iter().map(contradiction).collect::<Vec<_>>(),
        "ways": refusal.ways.iter().map(way).collect::<Vec<_>>(),
    });
    told.to_string()
}

fn asked(policy: &Policy) -> Value {
    policy
        .asked()
        .into_iter()
        .map(|(field, text)| (field.word().to_string(), json!(text)))
        .collect::<Map<_, _>>()
        .into()
}

fn rule_told(rule: quorate_policy::Rule) -> Value {
    json!({ "rule": rule.word(), "statement": rule.statement(), "source": rule.source() })
}

fn span(span: Span) -> Value {
    json!({ "usual": span.usual, "worst": span.worst })
}

fn operation(op: &Operation) -> Value {
    json!({
        "what": op.what,
        "refused": op.rounds.is_none(),
        "rounds": op.rounds.map(span),
        "forwarded": op.forwarded,
        "flushes": span(op.flushes),
        "disks": op.disks,
        "waits_for": op.waits_for,
    })
}

fn side(side: &Side) -> Value {
    json!({
        "who": side.who,
        "replicas": [side.least, side.most],
        "only_one": side.only_one,
        "writes": side.writes.word(),
        "reads": side.reads.word(),
        "note": side.note,
    })
}
