//! A handful of seeds in each test run; CI and the nightly run hundreds and thousands by `quorate sim`.

use quorate_base::time::Duration;
use quorate_sim::{Knobs, Plan};
use std::collections::BTreeMap;

/// One round.
fn short(seed: u64) -> Plan {
    Plan { span: Duration::from_secs(20), ..Plan::of(seed) }
}

fn plan(seed: u64) -> Plan {
    Plan { members: false, fences: false, compaction: false, tables: false, ..short(seed) }
}

/// Claim: a seed of the usual length lives for 300 s, answers 5,000 operations and bears 20 faults.
#[test]
fn a_whole_seed_is_clean_and_long() {
    let outcome = Plan::of(5).run();
    assert_eq!(outcome.violation, None, "{:?}", outcome.counts);
    assert!(outcome.simulated >= Duration::from_secs(300), "{:?}", outcome.simulated);
    assert!(outcome.answered >= 5_000, "{} operations", outcome.answered);
    assert!(outcome.counts.faults() >= 20, "{:?}", outcome.counts);
}

#[test]
fn seeds_are_clean() {
    let mut answered = 0;
    for seed in 0..12 {
        let outcome = plan(seed).run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
        assert_eq!(
            outcome.counts.unlisted(),
            [] as [&str; 0],
            "seed {seed}: counted, and not on the list of what there is"
        );
        answered += outcome.answered;
    }
    assert!(answered > 3_000, "they did little: {answered}");
}

/// A damaged batch had replaced entries, and a log came back that no leader ever had.
#[test]
fn a_seed_that_found_a_joint_that_never_was_is_clean() {
    let plan = Plan { disks: false, doors: false, swarm: false, ..plan(2321) };
    assert_eq!(plan.run().violation, None);
}

/// A leader deposed between the proof for a keep-alive and its answer had called a lease gone that was there.
#[test]
fn a_seed_that_found_a_lease_called_gone_is_clean() {
    assert_eq!(Plan { swarm: false, ..plan(2747) }.run().violation, None);
}

#[test]
fn a_seed_gives_the_same_run_twice() {
    let (a, b) = (plan(3).run(), plan(3).run());
    assert_eq!((a.digest, a.events, a.counts), (b.digest, b.events, b.counts));
}

fn churn(seed: u64) -> Plan {
    Plan { members: true, ..plan(seed) }
}

/// Claim: members come and go, under all faults, and nothing that is promised breaks.
#[test]
fn seeds_in_which_members_come_and_go_are_clean() {
    let mut sum = BTreeMap::new();
    for seed in [7, 8, 13, 24, 36] {
        let outcome = Plan { span: Duration::from_secs(80), ..churn(seed) }.run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
        for (what, times) in outcome.counts.0 {
            *sum.entry(what).or_insert(0) += times;
        }
    }
    for what in [
        "members added",
        "members removed",
        "learners promoted",
        "nodes that joined",
        "removed nodes that stopped",
        "leaders moved",
        "lost disks healed",
    ] {
        assert!(sum.contains_key(what), "no {what} in {sum:?}");
    }
}

/// Claim: whatever breaks, no token below one that was shown is taken, and no node forgets one.
#[test]
fn seeds_in_which_tokens_are_shown_are_clean() {
    let (mut taken, mut refused) = (0, 0);
    for seed in 100..104 {
        let outcome = Plan { fences: true, ..plan(seed) }.run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
        taken += outcome.counts.0.get("tokens taken").copied().unwrap_or_default();
        refused += outcome.counts.0.get("tokens refused").copied().unwrap_or_default();
    }
    assert!(taken > 100 && refused > 20, "{taken} taken, {refused} refused");
}

/// A group went over to two voters of which one had lost its disk, and stood still (1262, 1750); one that had lost its disk asked
/// members that were gone, for ever (1496, 2482); it waited for the word of another that withheld, which waited for it (3701, 4621).
#[test]
fn seeds_that_found_a_lost_disk_never_taken_back_are_clean() {
    for seed in [1262, 1496, 1750, 2482, 3701, 4621] {
        assert_eq!(Plan { fences: true, ..churn(seed) }.run().violation, None, "seed {seed}");
    }
}

/// Claim: whatever is compacted is refused, whatever is not is there as it was, and no watch misses anything.
#[test]
fn seeds_in_which_history_is_compacted_are_clean() {
    let mut sum = BTreeMap::new();
    for seed in (0..40).filter(|&seed| Knobs::draw(seed).compaction).take(5) {
        let outcome = Plan { compaction: true, ..plan(seed) }.run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
        for (what, times) in outcome.counts.0 {
            *sum.entry(what).or_insert(0) += times;
        }
    }
    for what in
        ["compactions", "refused as compacted", "reads of old revisions", "watches told of a compaction"]
    {
        assert!(sum.contains_key(what), "no {what} in {sum:?}");
    }
}

/// The view of a snapshot that was taken in and not yet recorded was handed out once the sweep behind it was done: a watch then missed
/// the events that the snapshot had brought.
#[test]
fn a_seed_that_found_a_watch_without_what_a_snapshot_brought_is_clean() {
    assert_eq!(short(1018).run().violation, None);
}

/// Claim: items are linearizable, and transactions on them strictly serializable, under all faults.
#[test]
fn seeds_with_clients_of_tables_are_clean() {
    let seeds: Vec<u64> = (0..40).filter(|&seed| Knobs::draw(seed).tables).take(6).collect();
    let (mut steps, mut holds) = (0, 0);
    for seed in seeds {
        let outcome = Plan { tables: true, ..plan(seed) }.run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
        assert_eq!(outcome.counts.unlisted(), [] as [&str; 0], "seed {seed}");
        let count = |what| outcome.counts.0.get(what).copied().unwrap_or(0);
        steps += count("steps with tables");
        holds += count("histories of items that hold");
    }
    assert!(steps > 1_000 && holds > 50, "they did little: {steps} steps, {holds} histories");
}

/// Claim: an item is there until its end is over by the time of an entry, and then goes from reads and feeds by time's own hand, under all
/// faults.
#[test]
fn seeds_with_items_that_end_are_clean() {
    let ends =
        |&seed: &u64| Knobs::draw(seed).ends && (Knobs::draw(seed).tables || Knobs::draw(seed).groups > 0);
    let mut sum = BTreeMap::new();
    for seed in (0..60).filter(ends).take(6) {
        let outcome = Plan { tables: true, ..plan(seed) }.run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
        assert_eq!(outcome.counts.unlisted(), [] as [&str; 0], "seed {seed}");
        for (what, times) in outcome.counts.0 {
            *sum.entry(what).or_insert(0) += times;
        }
    }
    for what in ["items taken away by time", "items that have ended", "items put again near their end"] {
        assert!(sum.get(what).is_some_and(|&times| times > 2), "too few {what} in {sum:?}");
    }
}
