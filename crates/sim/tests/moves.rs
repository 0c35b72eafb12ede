//! Replicas of shards that move while nodes come and go, under all faults: what clients of all shards see is strictly serializable, and
//! nothing that was confirmed is forgotten, whoever leads when a move is half-way.

use quorate_base::time::Duration;
use quorate_sim::{Knobs, Plan};

/// In each of these seeds there are tables with shards of their own, and members come and go: replicas move to who came, from who went,
/// and back to who had them before. In seed 94 two went one behind the other, and led in turn what they could not follow any more.
#[test]
fn moves_are_clean() {
    let (mut begun, mut finished, mut elsewhere, mut others) = (0, 0, 0, 0);
    let (mut parted, mut drained) = (0, 0);
    let moving = |seed: &u64| {
        let knobs = Knobs::draw(*seed);
        knobs.groups > 0 && knobs.members
    };
    for seed in (0..).filter(moving).take(12).chain([94]) {
        let outcome = Plan { span: Duration::from_secs(40), ..Plan::of(seed) }.run();
        assert_eq!(outcome.violation, None, "seed {seed}: {:?}", outcome.counts);
        let count = |name| outcome.counts.0.get(name).copied().unwrap_or(0);
        begun += count("moves of replicas begun");
        finished += count("moves of replicas finished");
        elsewhere += count("moves of replicas turned elsewhere") + count("moves of replicas called off");
        others += count("moves of replicas finished under another leader");
        parted += count("moves that parted replicas in one zone");
        drained += count("nodes drained");
    }
    assert!(begun > 30 && finished > 25, "they did little: {begun} moves, {finished} of them to their end");
    assert!(
        elsewhere > 0 && others > 10,
        "{elsewhere} turned or called off, {others} ended by another leader"
    );
    assert!(parted > 5 && drained > 3, "{parted} parted, {drained} nodes drained");
}
