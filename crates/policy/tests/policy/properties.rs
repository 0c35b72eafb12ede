//! No answer promises what cannot be, over hundreds of thousands of policies: what is checked here is written from the
//! theorems, not from the planner, and counts sets of replicas where it can.

use crate::policy;
use quorate_policy::decide::{Decision, decide};
use quorate_policy::plan::{Operation, Service, Side};
use quorate_policy::{Consistency, Mechanism, OnPartition, Part, Partitioning, Plan, Policy, Scope, plan};
use std::collections::BTreeMap;
use std::time::Duration;

const MECHANISMS: [&str; 22] = [
    "",
    "raft",
    "raft:n=2",
    "raft:n=3",
    "abd",
    "abd:n=4",
    "paxos",
    "quorum",
    "quorum:n=3,w=1,r=1",
    "quorum:n=3,w=1,r=3",
    "quorum:n=3,w=3,r=1",
    "quorum:n=4,w=2,r=2",
    "quorum:n=5,w=2,r=4,siblings",
    "quorum:n=3,w=1,r=2,rmw=only",
    "quorum:n=3,w=1,r=2,rmw=always",
    "quorum:n=3,w=2,r=1,rmw=unsafe",
    "quorum:n=3,w=2,r=2,sloppy",
    "primary:sync",
    "primary:sync,n=3,min-in-sync=1",
    "primary:semi-sync:1",
    "primary:semi-sync:2,n=4",
    "primary:async",
];

/// Every combination of the values below.
fn every(mut look: impl FnMut(&Policy)) {
    let fields: [&[&str]; 8] = [
        &MECHANISMS
            .map(|m| if m.is_empty() { String::new() } else { format!("replication={m}") })
            .map(|s| &*s.leak()),
        &[
            "",
            "consistency=strict-serializable",
            "consistency=linearizable",
            "consistency=sequential",
            "consistency=regular",
            "consistency=causal",
            "consistency=eventual",
        ],
        &["", "survive=0", "survive=1", "survive=2"],
        &["", "durability=1", "durability=2", "durability=3"],
        &["", "on-partition=refuse", "on-partition=serve"],
        &["", "staleness=100ms", "staleness=5s"],
        &["", "local=reads", "local=writes", "local=both"],
        &["", "over=space", "over=space partition-by=hash", "over=key partition-by=none"],
    ];
    fn rec(fields: &[Vec<Policy>], so_far: &Policy, look: &mut impl FnMut(&Policy)) {
        let Some((field, rest)) = fields.split_first() else { return look(so_far) };
        for value in field {
            let mut next = so_far.clone();
            next.overlay(value);
            rec(rest, &next, look);
        }
    }
    let parsed: Vec<Vec<Policy>> =
        fields.iter().map(|field| field.iter().map(|text| policy(text)).collect()).collect();
    rec(&parsed, &Policy::default(), &mut look);
}

/// All sets of `k` of `n` replicas, as bits.
fn sets(n: u8, k: u8) -> impl Iterator<Item = u16> + Clone {
    (0_u16..1 << n).filter(move |set| set.count_ones() == u32::from(k))
}

/// Pairs of sides that one partition can have at once.
fn beside(plan: &Plan) -> impl Iterator<Item = (&Side, &Side)> {
    let pairs = plan
        .sides
        .iter()
        .enumerate()
        .flat_map(move |(i, a)| plan.sides.iter().enumerate().map(move |(j, b)| (i == j, a, b)));
    let possible =
        |(same, a, b): &(bool, &Side, &Side)| a.least + b.least <= plan.copies && !(*same && a.only_one);
    pairs.filter(possible).map(|(_, a, b)| (a, b))
}

/// What Gilbert and Lynch, and Lipton and Sandberg, leave for two sides that cannot hear each other.
fn partitions_are_possible(plan: &Plan) {
    for (a, b) in beside(plan) {
        if plan.promise.recent() {
            let unheard = a.writes == Service::Kept && b.reads == Service::Kept;
            assert!(!unheard, "a read at {:?} would have to see a write at {:?}: {plan:#?}", b.who, a.who);
        }
        if !plan.promise.may_diverge() {
            assert!(
                !(a.writes == Service::Kept && b.writes == Service::Kept) || a.reads == Service::Refused,
                "two orders: {plan:#?}"
            );
        }
        if plan.staleness.is_some() && a.writes == Service::Kept && b.reads == Service::Kept {
            assert!(
                b.note.contains("cut off"),
                "nothing ends the reads of a side that does not know how old they are: {plan:#?}"
            );
        }
    }
    let serves = plan.on_partition == OnPartition::Serve;
    assert_eq!(plan.pacelc.available, serves);
    if serves {
        assert!(
            plan.promise.may_diverge()
                && beside(plan).any(|(a, b)| a.reads == Service::Kept && b.reads == Service::Kept),
            "{plan:#?}"
        );
    }
    for side in &plan.sides {
        let enough = side.most >= plan.write_quorum
            || matches!(plan.mechanism, Mechanism::Quorum { sloppy: true, .. });
        assert!(
            side.writes == Service::Refused || enough,
            "a side writes to disks that it does not reach: {plan:#?}"
        );
    }
}

/// What the quorums of a mechanism can keep, by counting sets.
fn quorums_are_possible(plan: &Plan) {
    let (n, w, r) = (plan.copies, plan.write_quorum, plan.read_quorum);
    if let Mechanism::Quorum { sloppy, .. } = plan.mechanism {
        assert!(!sloppy || plan.promise == Consistency::Eventual, "{plan:#?}");
        if plan.promise.recent() {
            let meet = sets(n, w).all(|ws| sets(n, r).all(|rs| ws & rs != 0));
            assert!(meet, "a read would miss a confirmed write: {plan:#?}");
        }
        assert!(
            plan.promise != Consistency::Linearizable && plan.promise != Consistency::StrictSerializable,
            "{plan:#?}"
        );
    }
    let served = |dead: u16| sets(n, w).any(|set| set & dead == 0);
    assert!(sets(n, plan.survives).all(served), "no quorum is left: {plan:#?}");
    assert!(plan.nodes >= n);
}

/// What operations must wait for: Attiya and Welch, and that disks elsewhere are reached by messages.
fn waiting_is_possible(plan: &Plan) {
    let reads = |op: &&Operation| op.what.starts_with("read") && !op.what.contains("stale");
    let local = |op: &Operation| op.rounds.is_some_and(|rounds| rounds.worst == 0);
    let local_read = plan.operations.iter().filter(reads).any(local);
    let local_write = plan.operations.iter().filter(|op| op.what.starts_with("write")).any(local);
    let alone = plan.copies == 1;
    if plan.promise.implies(Consistency::Linearizable) {
        assert!(alone || !(local_read || local_write), "{plan:#?}");
    }
    if plan.promise == Consistency::Sequential {
        assert!(alone || !(local_read && local_write), "{plan:#?}");
    }
    if plan.promise == Consistency::Regular && local_read {
        assert_eq!(plan.write_quorum, plan.copies, "{plan:#?}");
    }
    if plan.write_quorum > 1 {
        assert!(!local_write, "{plan:#?}");
    }
    for op in &plan.operations {
        let waits = op.rounds.is_none_or(|rounds| rounds.usual <= rounds.worst && rounds.worst <= 4);
        assert!(waits && op.flushes.usual <= op.flushes.worst && op.disks <= plan.copies, "{op:?}");
        if op.what.starts_with("write") && op.rounds.is_some() {
            assert!(op.flushes.usual >= 1, "a write is confirmed before any disk has it: {plan:#?}");
        }
    }
}

/// What the levels and the product's rules leave besides.
fn promises_are_possible(plan: &Plan) {
    let orders = !plan.promise.may_diverge() && plan.promise != Consistency::Regular;
    assert!(!(plan.losses.overwritten && orders), "a dropped write has no place in one order: {plan:#?}");
    assert!(!plan.losses.failover || plan.promise.may_diverge(), "{plan:#?}");
    assert_eq!(plan.losses.disks, plan.write_quorum);
    if plan.promise == Consistency::StrictSerializable {
        assert!(matches!(plan.mechanism, Mechanism::Raft { .. }), "{plan:#?}");
    }
    let transacts = |op: &Operation| op.what.contains("transaction") && op.rounds.is_some();
    assert!(!plan.operations.iter().any(transacts) || matches!(plan.mechanism, Mechanism::Raft { .. }));
    if let Mechanism::Abd { .. } = plan.mechanism {
        let cas = |op: &Operation| op.what.contains("conditional") && op.rounds.is_some();
        assert!(!plan.operations.iter().any(cas), "registers make no compare-and-set: {plan:#?}");
    }
    if plan.mechanism.is_consensus() && plan.copies > 1 {
        assert!(plan.assumes.iter().any(|a| a.contains("FLP")), "{plan:#?}");
    }
    let measured = plan.needs.contains(&Part::BoundedReads);
    if let Some(bound) = plan.staleness.filter(|_| measured) {
        assert!(
            bound >= Duration::from_millis(700) && plan.assumes.iter().any(|a| a.contains("clocks")),
            "{plan:#?}"
        );
    }
}

/// What a plan says is said in whole, clean sentences.
fn words_are_clean(plan: &Plan) {
    let lists =
        [&plan.gives_up, &plan.assumes, &plan.notes, &plan.reasons, &plan.losses.words, &plan.cost.words];
    let singles = [&plan.headline, &plan.scope, &plan.pacelc.words];
    for text in lists.into_iter().flatten().chain(singles) {
        let clean = !text.is_empty()
            && !text.contains("  ")
            && !text.ends_with(['.', ' ', ',', ';'])
            && !text.contains('\n');
        assert!(clean, "{text:?}");
    }
    assert!(!plan.gives_up.is_empty() && !plan.reasons.is_empty() && !plan.sides.is_empty());
}

/// Claim: no plan promises what the theorems forbid, whatever was asked.
#[test]
fn no_plan_promises_the_impossible() {
    let mut decisions: BTreeMap<String, Policy> = BTreeMap::new();
    every(|policy| {
        if let Ok(decision) = decide(policy) {
            keeps_what_was_asked(policy, &decision);
            decisions.entry(format!("{decision:?}")).or_insert_with(|| policy.clone());
        }
    });
    assert!(decisions.len() > 300, "{}", decisions.len());
    for policy in decisions.values() {
        let plan = plan(policy).unwrap();
        partitions_are_possible(&plan);
        quorums_are_possible(&plan);
        waiting_is_possible(&plan);
        promises_are_possible(&plan);
        words_are_clean(&plan);
    }
}

fn keeps_what_was_asked(policy: &Policy, d: &Decision) {
    let m = d.mechanism;
    assert!(policy.consistency.is_none_or(|level| level == d.promise), "{policy:?} {d:?}");
    assert!(policy.on_partition.is_none_or(|on| on == d.on_partition), "{policy:?} {d:?}");
    assert!(policy.partition_by.is_none_or(|by| by == d.partition_by), "{policy:?} {d:?}");
    assert!(policy.survive.is_none_or(|f| m.survives() >= f), "{policy:?} {d:?}");
    assert!(policy.durability.is_none_or(|disks| m.write_quorum() >= disks), "{policy:?} {d:?}");
    assert_eq!(policy.staleness, d.staleness);
    assert!(
        policy.local.is_none_or(|local| !local.reads() || m.reads_locally(d.promise)),
        "{policy:?} {d:?}"
    );
    assert!(policy.local.is_none_or(|local| !local.writes() || m.writes_locally()), "{policy:?} {d:?}");
    if policy.over == Some(Scope::Space) && d.promise == Consistency::Sequential {
        let linearizable = matches!(m, Mechanism::Abd { .. } | Mechanism::Paxos { .. });
        assert!(linearizable || d.partition_by == Partitioning::None, "{policy:?} {d:?}");
    }
    let refuses = policy.on_partition == Some(OnPartition::Refuse);
    let apart = m.writes_on_two_sides() && !m.overlaps();
    assert!(!(refuses && d.promise.may_diverge() && apart), "{policy:?} {d:?}");
}

/// What is impossible with any mechanism of the planner's choice, from the theorems.
fn impossible(policy: &Policy) -> bool {
    let level = policy.consistency.unwrap_or(Consistency::Linearizable);
    let (f, disks) = (policy.survive.unwrap_or(1), policy.durability.unwrap_or(1));
    let alone = f == 0 && disks == 1;
    let serve = policy.on_partition == Some(OnPartition::Serve);
    let reads = policy.local.is_some_and(quorate_policy::Local::reads);
    let writes = policy.local.is_some_and(quorate_policy::Local::writes);
    let refuse = policy.on_partition == Some(OnPartition::Refuse)
        || (!serve && (policy.staleness.is_some() || f == 0));
    let cap = serve && (!level.may_diverge() || policy.staleness.is_some() || f == 0);
    let clocks = policy.staleness.is_some_and(|bound| bound < Duration::from_millis(700))
        && level != Consistency::Regular
        && !alone;
    let local = match level {
        Consistency::StrictSerializable | Consistency::Linearizable => (reads || writes) && !alone,
        Consistency::Sequential => writes && !alone,
        // One replica that reads needs all to write, and the other way round.
        Consistency::Regular => (reads && f > 0) || (writes && (f > 0 || disks > 1)),
        Consistency::Causal | Consistency::Eventual => writes && (disks > 1 || (refuse && !alone)),
    };
    let whole =
        policy.over == Some(Scope::Space) && policy.partition_by.is_some_and(|by| by != Partitioning::None);
    cap || clocks || local || (whole && level == Consistency::Sequential)
}

/// Claim: where the mechanism is the planner's to choose, it refuses exactly what is impossible.
#[test]
fn nothing_possible_is_refused() {
    let mut counted = (0, 0);
    every(|policy| {
        if policy.replication.is_none() {
            let decided = decide(policy);
            assert_eq!(decided.is_err(), impossible(policy), "{policy:?}: {decided:?}");
            if decided.is_ok() { counted.0 += 1 } else { counted.1 += 1 }
        }
    });
    assert!(counted.0 > 1_000 && counted.1 > 1_000, "{counted:?}");
}

/// Claim: every refusal says why, and every way out that it names has a plan and is another policy.
#[test]
fn every_way_out_leads_out() {
    let mut seen = 0;
    every(|policy| {
        if decide(policy).is_ok() {
            return;
        }
        seen += 1;
        if seen % 101 != 0 {
            return;
        }
        let refusal = plan(policy).unwrap_err();
        assert!(!refusal.contradictions.is_empty() && !refusal.ways.is_empty(), "{policy:?}");
        assert!(
            refusal.contradictions.iter().all(|c| c.message.len() > 20 && !c.message.contains("  ")),
            "{refusal:?}"
        );
        for way in refusal.ways {
            assert!(
                !way.change.is_empty() && !way.then.is_empty() && way.to_string().starts_with(['-', 'n']),
                "{policy:?} {way:?}"
            );
            assert!(plan(&way.policy).is_ok(), "{policy:?} {way:?}");
        }
    });
    assert!(seen > 10_000);
}

/// Claim: a mechanism that a plan chose can be named outright, and comes to the same.
#[test]
fn a_derived_mechanism_can_be_named() {
    every(|policy| {
        if let (None, Ok(d)) = (&policy.replication, decide(policy)) {
            let mut named = policy.clone();
            named.consistency = Some(d.promise);
            named.on_partition = Some(d.on_partition);
            named.replication = Some(d.mechanism.outright());
            assert_eq!(decide(&named), Ok(Decision { partition_by: d.partition_by, ..d }), "{policy:?}");
        }
    });
}
