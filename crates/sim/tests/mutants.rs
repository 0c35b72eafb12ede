//! Each planted bug in changes of members is caught by clusters whose members come and go.
//!
//! `cargo test -p quorate-sim --features mutants`. Those of the core have scripts and random schedules of their own
//! (`crates/protocol/tests/raft/mutants.rs`); here they stand below whole nodes. Two of the core's have no place here: above it
//! no second change is asked for while one is under way, and a promoted learner that refuses to vote is outvoted once all
//! others are back, as they are at the end of a run.

#![cfg(feature = "mutants")]

use quorate_base::time::Duration;
use quorate_protocol::raft::Mutant;
use quorate_sim::{Plan, Planted};

/// A bug, the first seed that is tried, and what must be said of it.
const MUTANTS: [(Mutant, u64, &str); 6] = [
    (Mutant::JointWithoutOutgoing, 6, "Quorums: "),
    (Mutant::LearnerVoteCounts, 1, "Quorums: "),
    (Mutant::AutoLeaveLost, 34, "Liveness: "),
    (Mutant::PromoteLaggingLearner, 1, "Admission: "),
    (Mutant::IdGivenTwice, 1, "Identities: "),
    (Mutant::ChangeAnsweredEarly, 1, " was answered with "),
];
/// So many seeds are tried.
const SEEDS: u64 = 100;

fn run(seed: u64, mutant: Option<Mutant>) -> Option<String> {
    let span = Duration::from_secs(20);
    let planted = mutant.map(Planted::Raft);
    let (disks, swarm, doors, members) = (false, false, false, true);
    Plan { seed, span, clients: 3, faults: true, disks, swarm, doors, members, planted }.run().violation
}

#[test]
fn every_mutant_is_caught() {
    let mut survivors = Vec::new();
    for (mutant, first, says) in MUTANTS {
        let found = (first..first + SEEDS).find_map(|seed| Some((seed, run(seed, Some(mutant))?)));
        match found {
            Some((seed, why)) => {
                println!("{mutant:?}: seed {seed}: {why}");
                assert!(why.contains(says), "{mutant:?} at seed {seed}: {why}");
                assert_eq!(run(seed, None), None, "the healthy one at seed {seed}");
            }
            None => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "these survive: {survivors:?}");
}
