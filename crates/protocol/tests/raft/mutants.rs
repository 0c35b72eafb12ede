//! Each planted bug is caught: by a script that was made for it, and by random schedules.
//!
//! `cargo test -p quorate-protocol --features mutants`. A script catches a mutant if a property fails in it, or if what its
//! last block must show does not come about (a bug of liveness breaks no property). The healthy core passes both.

use crate::cluster::Options;
use crate::properties;
use crate::script;
use quorate_protocol::raft::Mutant;

/// What a healthy core shows, and this mutant does not.
enum Healthy {
    /// No property fails.
    NoFault,
    /// This line comes.
    Shows(&'static str),
}

use Healthy::{NoFault, Shows};

const DIRECTED: [(Mutant, &str, Healthy); 23] = [
    (Mutant::Fig8Commit, "figure8", NoFault),
    (Mutant::LostDiskConfirms, "lost_disk_and_an_old_leader", NoFault),
    (Mutant::LostDiskProvesReads, "lost_disk_and_an_old_leaders_read", NoFault),
    (Mutant::LostDiskExtendsLease, "lost_disk_and_an_old_leaders_lease", NoFault),
    (Mutant::VoteNotDurable, "vote_waits_for_disk", NoFault),
    (Mutant::AckBeforeFsync, "replicates_and_commits", NoFault),
    (Mutant::StaleLeaderRead, "deposed_leader_serves_no_read", NoFault),
    (Mutant::ReadIndexBeforeOwnTermCommit, "read_waits_for_own_term", NoFault),
    (Mutant::PrevoteDeadlock, "lower_term_is_told", Shows("n2 leads in t3: won the election")),
    (Mutant::TruncateOnStaleAppend, "stale_append_truncates_nothing", NoFault),
    (Mutant::SecondChangeWhileJoint, "one_change_at_a_time", NoFault),
    (Mutant::JointWithoutOutgoing, "joint_needs_both_majorities", NoFault),
    (Mutant::AutoLeaveLost, "auto_leave_survives_the_leader", Shows("n2 applies 2@5 (1 2 4)")),
    (Mutant::LearnerRefusesVote, "learner_must_vote", Shows("n2 leads in t2: won the election")),
    (Mutant::PromoteLaggingLearner, "promote_only_who_is_caught_up", NoFault),
    (
        Mutant::LostStateCampaigns,
        "all_states_lost",
        Shows("n1 follows nobody in t1: log 2..1@2 durable 2 commit 2 applied 2; 1 2 3; without its state"),
    ),
    (Mutant::LeaseOutlivesTransfer, "lease_ends_with_a_transfer", NoFault),
    (Mutant::LeaseFromResponse, "lease_counts_from_the_sending", NoFault),
    (Mutant::LeaseIgnoresDrift, "lease_allows_for_drift", NoFault),
    (Mutant::LeaseOfTheLastTick, "lease_ends_while_its_leader_stands_still", NoFault),
    (Mutant::LeaseForgottenByRestart, "lease_outlives_a_restart", NoFault),
    (Mutant::LeaseBrokenByConnection, "lease_outlives_a_connection", NoFault),
    (
        Mutant::LearnerVoteCounts,
        "learner_does_not_elect",
        Shows("n1 follows nobody in t0: log 0..0@0 durable 0 commit 0 applied 0; 1 2 3 + 4 5"),
    ),
];

/// What each configuration of the exhaustive search is for, in bugs.
const SEARCHED: [(&str, Mutant); 10] = [
    ("two", Mutant::VoteNotDurable),
    ("three-faults", Mutant::AckBeforeFsync),
    ("three-once", Mutant::VoteNotDurable),
    ("three-once", Mutant::AckBeforeFsync),
    ("figure7", Mutant::TruncateOnStaleAppend),
    ("three-reads", Mutant::StaleLeaderRead),
    ("three-reads", Mutant::ReadIndexBeforeOwnTermCommit),
    ("figure8", Mutant::Fig8Commit),
    ("change-2015", Mutant::SecondChangeWhileJoint),
    ("change-2015", Mutant::JointWithoutOutgoing),
];

/// Why a script finds this core sick.
fn judge(script: &str, healthy: &Healthy, mutant: Option<Mutant>) -> Result<(), String> {
    let file = format!("{}/scripts/raft/{script}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).unwrap();
    let trace = script::run(&text, Options { mutant, ..Options::default() });
    if let Some(fault) = trace.lines().find(|l| l.starts_with("FAULT")) {
        return Err(fault.to_owned());
    }
    match healthy {
        NoFault => Ok(()),
        Shows(line) if trace.lines().any(|l| l == *line) => Ok(()),
        Shows(line) => Err(format!("it never came to: {line}")),
    }
}

#[test]
fn the_healthy_core_passes_what_is_made_for_mutants() {
    for (mutant, script, healthy) in &DIRECTED {
        if let Err(why) = judge(script, healthy, None) {
            panic!("{mutant:?}, {script}: {why}");
        }
    }
}

#[test]
fn every_mutant_is_caught_by_its_script() {
    for (name, mutant) in Mutant::ALL {
        let (_, script, healthy) = DIRECTED.iter().find(|(m, ..)| *m == mutant).expect("each has a script");
        match judge(script, healthy, Some(mutant)) {
            Ok(()) => panic!("{name} survives {script}"),
            Err(why) => println!("{name}: {script}: {why}"),
        }
    }
}

#[test]
fn every_mutant_is_caught_by_random_schedules() {
    let mut survivors = Vec::new();
    for (name, mutant) in Mutant::ALL {
        if std::env::var("ONLY").is_ok_and(|only| only != name) {
            continue;
        }
        let caught = properties::seeds(0..4000).find_map(|seed| {
            let why = properties::run(seed, 2000, Some(mutant)).err()?;
            Some((seed, why))
        });
        match caught {
            Some((seed, why)) => println!("{name}: seed {seed}: {}", why.lines().next().unwrap_or_default()),
            None => survivors.push(name),
        }
    }
    assert!(survivors.is_empty(), "these survive: {survivors:?}");
}

#[test]
fn each_search_finds_the_bugs_that_it_is_for() {
    let mut survivors = Vec::new();
    for (name, mutant) in SEARCHED {
        let setup = crate::setups::SETUPS.iter().find(|s| s.name == name).unwrap();
        let (cluster, budget) = (setup.start)(Some(mutant));
        match crate::search::search(&cluster, budget, 100_000) {
            Ok(report) => survivors.push(format!("{mutant:?} in {name}: {report}")),
            Err(why) => println!("{mutant:?}: {name}: {why}"),
        }
    }
    assert!(survivors.is_empty(), "these survive: {survivors:#?}");
}
