//! Replicas of shards that move while nodes come and go, under all faults: what clients of all shards see is strictly serializable, and
//! nothing that was confirmed is forgotten, whoever leads when a move is half-way.

use quorate_base::time::Duration;
use quorate_sim::{Knobs, Plan};

/// In each of these seeds there are tables with shards of their own, and members come and go.
#[test]
fn moves_are_clean() {
    let from: u64 = std::env::var("FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let many: usize = std::env::var("MANY").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let drawn = |seed: &u64| {
        let knobs = Knobs::draw(*seed);
        knobs.groups > 0 && knobs.members
    };
    let mut total = std::collections::BTreeMap::<&str, u64>::new();
    for seed in (from..).filter(drawn).take(many) {
        let outcome = Plan { span: Duration::from_secs(40), ..Plan::of(seed) }.run();
        let moves = outcome.counts.0.iter().filter(|(name, _)| name.starts_with("moves of"));
        println!("seed {seed} {:?} {:?}", outcome.violation, moves.clone().collect::<Vec<_>>());
        moves.for_each(|(name, n)| *total.entry(name).or_default() += n);
        if std::env::var("MANY").is_err() {
            assert_eq!(outcome.violation, None, "seed {seed}");
        }
    }
    println!("{total:?}");
}
