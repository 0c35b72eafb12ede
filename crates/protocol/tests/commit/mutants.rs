//! Each planted bug is caught: by a script that was made for it, and by random schedules.
//!
//! `cargo test -p quorate-protocol --features mutants --test commit`. A script catches a mutant if the judge finds a fault in
//! it, or if what it must show does not come about. The healthy core passes both.

use crate::script;
use crate::world::Options;
use quorate_protocol::commit::Mutant;

const DIRECTED: [(Mutant, &str); 12] = [
    (Mutant::VoteInMemory, "vote_is_in_the_log_before_it_is_said"),
    (Mutant::RefuseNotDurable, "refusal_is_in_the_log_before_it_is_said"),
    (Mutant::PresumedAbort, "silence_decides_nothing"),
    (Mutant::ForgetTooEarly, "forgotten_when_over_everywhere"),
    (Mutant::LatePrepareReruns, "late_prepare_is_refused"),
    (Mutant::IntentReadsOld, "read_sees_what_was_answered"),
    (Mutant::AbsentWithoutVersion, "absent_has_a_version"),
    (Mutant::ChecksNotLocked, "what_is_looked_at_is_locked"),
    (Mutant::SharedLockLost, "shared_locks_outlive_leaders"),
    (Mutant::TokenOutside, "token_makes_once"),
    (Mutant::LocksNotInSnapshot, "locks_are_in_snapshots"),
    (Mutant::RetryBeforeAbort, "attempt_follows_an_aborted_one"),
];

/// Why a script finds this core sick.
fn judge(script: &str, mutant: Option<Mutant>) -> Result<(), String> {
    let file = format!("{}/scripts/commit/{script}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).unwrap();
    let trace = script::run(&text, Options { mutant, ..Options::default() });
    trace.lines().find(|line| line.starts_with("FAULT")).map_or(Ok(()), |fault| Err(fault.to_owned()))
}

#[test]
fn the_healthy_core_passes_what_is_made_for_mutants() {
    for (mutant, script) in &DIRECTED {
        if let Err(why) = judge(script, None) {
            panic!("{mutant:?}, {script}: {why}");
        }
    }
}

#[test]
fn every_mutant_is_caught_by_its_script() {
    for (name, mutant) in Mutant::ALL {
        let (_, script) = DIRECTED.iter().find(|(m, _)| *m == mutant).expect("each has a script");
        match judge(script, Some(mutant)) {
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
        let caught = crate::properties::seeds(0..400).find_map(|seed| {
            let why = crate::properties::run(seed, 600, Some(mutant)).err()?;
            Some((seed, why))
        });
        match caught {
            Some((seed, why)) => println!("{name}: seed {seed}: {}", why.lines().next().unwrap_or_default()),
            None => survivors.push(name),
        }
    }
    assert!(survivors.is_empty(), "these survive: {survivors:?}");
}

/// What each configuration of the exhaustive search is for, in bugs.
const SEARCHED: [(&str, Mutant); 10] = [
    ("late", Mutant::LatePrepareReruns),
    ("late", Mutant::ForgetTooEarly),
    ("recoverers", Mutant::RefuseNotDurable),
    ("leaders", Mutant::VoteInMemory),
    ("leaders", Mutant::LocksNotInSnapshot),
    ("skew", Mutant::ChecksNotLocked),
    ("skew", Mutant::SharedLockLost),
    ("reads", Mutant::IntentReadsOld),
    ("reads", Mutant::AbsentWithoutVersion),
    ("again", Mutant::LatePrepareReruns),
];

#[test]
fn each_search_finds_the_bugs_that_it_is_for() {
    let mut survivors = Vec::new();
    for (name, mutant) in SEARCHED {
        let setup = crate::search::SETUPS.iter().find(|s| s.name == name).unwrap();
        match crate::search::search(setup, Some(mutant), 60_000) {
            Ok(report) => survivors.push(format!("{mutant:?} in {name}: {report}")),
            Err(why) => println!("{mutant:?}: {name}: {}", why.lines().next().unwrap_or_default()),
        }
    }
    assert!(survivors.is_empty(), "these survive: {survivors:#?}");
}
