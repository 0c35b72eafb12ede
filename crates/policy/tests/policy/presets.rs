//! The presets: what each comes to.

use crate::{cell, policy};
use quorate_policy::decide::decide;
use quorate_policy::{Consistency, Plan, plan, preset};

/// Claim: every preset has a plan, with the promise and the mechanism of its original.
#[test]
fn presets_are_what_they_say() {
    let table = [
        ("etcd-like", "raft3", Consistency::Linearizable, "PC/EC", 2),
        ("spanner-like", "raft3", Consistency::StrictSerializable, "PC/EC", 2),
        ("dynamo-like", "~q3/2/2!", Consistency::Eventual, "PA/EL", 2),
        ("cassandra-quorum", "q3/2/2/only", Consistency::Regular, "PC/EC", 2),
        ("postgres-sync", "sync3/2", Consistency::Linearizable, "PC/EC", 2),
        ("postgres-async", "async2", Consistency::Eventual, "PC/EL", 1),
        ("mysql-semi-sync", "semi3/1", Consistency::Linearizable, "PC/EC", 2),
        ("kafka-acks-all", "sync3/2", Consistency::Sequential, "PC/EL", 2),
    ];
    let all = preset::all();
    assert_eq!(all.iter().map(|p| p.name).collect::<Vec<_>>(), table.map(|row| row.0));
    for (preset, (name, mechanism, promise, class, disks)) in all.iter().zip(table) {
        assert_eq!(cell(&decide(&preset.policy)), mechanism, "{name}");
        let plan: Plan = plan(&preset.policy).unwrap();
        assert_eq!(
            (plan.promise, plan.pacelc.letters(), plan.losses.disks),
            (promise, class, disks),
            "{name}"
        );
        assert!(!preset.departs.is_empty() && preset::named(name).as_ref() == Ok(preset));
    }
}

/// Claim: no preset loses a confirmed write to one failure, but for the asynchronous one, which says so.
#[test]
fn only_the_asynchronous_preset_loses_to_a_failover() {
    for preset in preset::all() {
        let losses = plan(&preset.policy).unwrap().losses;
        assert_eq!(losses.failover, preset.name == "postgres-async", "{}", preset.name);
        assert_eq!(losses.disks == 1, preset.name == "postgres-async", "{}", preset.name);
    }
}

/// Claim: what is asked beside a preset wins over it.
#[test]
fn more_can_be_asked_of_a_preset() {
    let mut asked = preset::named("etcd-like").unwrap().policy;
    asked.overlay(&policy("survive=2"));
    assert_eq!(cell(&decide(&asked)), "raft5");
    assert!(preset::named("mongo").unwrap_err().to_string().contains("etcd-like, spanner-like"));
}
