//! Several groups in one lane, over one journal and one state, under the same faults as one: what holds of one holds of each, and
//! groups that nobody uses rest.

use quorate_base::time::Duration;
use quorate_sim::{Knobs, Plan};

/// In each of these seeds there are groups beside that of the key-value space, with clients of their own. The invariants of each are
/// looked at after each step; at the end the replicas of each hold one state, and what its clients saw is linearizable.
#[test]
fn groups_in_one_lane_are_clean() {
    let (mut items, mut rested, mut led) = (0, 0, 0);
    let with_groups = (0..).filter(|&seed| Knobs::draw(seed).groups > 0);
    for seed in with_groups.take(8) {
        let outcome = Plan { span: Duration::from_secs(30), ..Plan::of(seed) }.run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
        let count = |name| outcome.counts.0.get(name).copied().unwrap_or(0);
        items += count("steps with tables");
        rested += count("message Rested");
        led += count("elections won in other groups");
    }
    assert!(items > 2_000 && led > 20, "they did little: {items} steps, {led} elections");
    assert!(rested > 0, "nobody rested");
}
