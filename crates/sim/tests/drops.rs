//! A table with shards of its own that is deleted while transactions over them are under way, and made again under the same name.

use quorate_base::time::Duration;
use quorate_sim::{Knobs, Plan};

/// None of its transactions is done in part, nothing of an earlier table of that name comes back, what is done is there as long as the table
/// is, and each deletion comes to its end; whatever else breaks, and while members come and go.
#[test]
fn deleted_tables_are_gone() {
    let (mut deleted, mut steps, mut waited) = (0, 0, 0);
    let drops = |seed: &u64| {
        let knobs = Knobs::draw(*seed);
        knobs.groups > 0 && knobs.drops
    };
    for seed in (0..).filter(drops).take(6) {
        let outcome = Plan { span: Duration::from_secs(30), clients: 1, ..Plan::of(seed) }.run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
        assert_eq!(outcome.counts.unlisted(), [] as [&str; 0], "seed {seed}");
        let count = |name| outcome.counts.0.get(name).copied().unwrap_or(0);
        deleted += count("tables deleted");
        waited += count("deletions of tables that waited");
        steps += count("steps with a table that is deleted");
    }
    assert!(deleted > 6 && steps > 200 && waited > 0, "{deleted} deleted, {waited} waited, {steps} steps");
}
