//! Plain reads of tables that bound their staleness, at any node and under all faults: what they say of their age is judged by the
//! simulation's own clock. (The planted bugs of closed times have schedules of their own, in `crates/node/tests/lanes/bounded.rs`; `quorate sim
//! --mutant` looks for them at random.)

use quorate_base::time::Duration;
use quorate_sim::{Knobs, Outcome, Plan};

/// Seeds in which tables have a bound, with wall clocks this far apart.
fn seeds(offset: impl Fn(u64) -> bool) -> impl Iterator<Item = u64> {
    let bounded = move |knobs: &Knobs| knobs.tables && knobs.offsets.is_some_and(&offset);
    (1..).filter(move |&seed| bounded(&Knobs::draw(seed)))
}

fn run(seed: u64) -> Outcome {
    let (disks, fences, compaction) = (false, false, false);
    let span = Duration::from_secs(20);
    Plan { span, clients: 1, disks, fences, compaction, ..Plan::of(seed) }.run()
}

/// Claim: no answer is older than it says, also where wall clocks are minutes apart; none tells what nobody wrote, or half of a transaction. (The clients of tables judge each answer; see `tables/old.rs`.)
#[test]
fn no_answer_is_older_than_it_says() {
    let (mut bounded, mut passed_on) = (0, 0);
    for seed in seeds(|offset| offset <= 500).take(6).chain(seeds(|offset| offset > 500).take(2)) {
        let outcome = run(seed);
        assert_eq!(outcome.violation, None, "seed {seed}");
        let count = |name| outcome.counts.0.get(name).copied().unwrap_or(0);
        bounded += count("bounded reads");
        passed_on += count("bounded reads passed on");
    }
    println!("{bounded} answered by the asked node alone, {passed_on} not");
    assert!(bounded > 100 && passed_on > 10, "{bounded} {passed_on}");
}
