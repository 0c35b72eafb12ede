//! Wall clocks that are set while a cluster lives: bounded reads are no older than they say, and hybrid clocks never go back.

use quorate_base::time::Duration;
use quorate_sim::{Knobs, Plan};

/// In each of these seeds tables bound the staleness of plain reads, wall clocks are right at first, and one at a time is set in the first
/// round, by a second or by hours.
#[test]
fn no_answer_is_older_than_it_says_where_clocks_are_set() {
    let (mut forwards, mut backwards, mut bounded) = (0, 0, 0);
    let set = |seed: &u64| {
        let knobs = Knobs::draw(*seed).swarm(*seed);
        knobs.tables && knobs.swarm.clocks && knobs.offsets.is_some_and(|apart| apart <= 500)
    };
    for seed in (1..).filter(set).take(6) {
        let (fences, compaction) = (false, false);
        let plan = Plan { span: Duration::from_secs(20), clients: 1, fences, compaction, ..Plan::of(seed) };
        let outcome = plan.run();
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert_eq!(outcome.counts.unlisted(), [] as [&str; 0], "seed {seed}");
        let count = |name| outcome.counts.0.get(name).copied().unwrap_or(0);
        forwards += count("wall clocks set forwards");
        backwards += count("wall clocks set backwards");
        bounded += count("bounded reads");
    }
    assert!(forwards > 3 && backwards > 3 && bounded > 100, "{forwards} {backwards} {bounded}");
}
