//! Transactions over the shards of a table, under all faults: what their clients saw is strictly serializable, and at rest no item is
//! held by one that nobody has brought to its end.

use quorate_base::time::Duration;
use quorate_sim::{Knobs, Plan};

/// In each of these seeds a table has several shards, and some clients use all of them. (In seed 1001 a node span: an heir asked again
/// at once for what is undecided, as often as it was told under a lease that nothing has changed.)
#[test]
fn transactions_over_shards_are_clean() {
    let (mut committed, mut recovered, mut met) = (0, 0, 0);
    let with_shards = (1_000..).filter(|&seed| Knobs::draw(seed).groups > 1);
    for seed in with_shards.take(8) {
        let outcome = Plan { span: Duration::from_secs(30), ..Plan::of(seed) }.run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
        let count = |name| outcome.counts.0.get(name).copied().unwrap_or(0);
        committed += count("transactions over shards committed");
        recovered += count("transactions over shards recovered");
        met += count("reads that met transactions");
    }
    assert!(
        committed > 150 && recovered > 5 && met > 5,
        "{committed} committed, {recovered} recovered, {met} met"
    );
}

/// The same with more seeds, without faults of disks: nothing but transactions can be at fault then.
#[test]
#[ignore = "takes minutes without optimization; `.ci/nightly transactions` runs it"]
fn many_transactions_over_shards_are_clean() {
    let with_shards = (1_000..).filter(|&seed| Knobs::draw(seed).groups > 1);
    for seed in with_shards.take(60) {
        let plan = Plan { span: Duration::from_secs(30), disks: false, swarm: false, ..Plan::of(seed) };
        let outcome = plan.run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
    }
}
