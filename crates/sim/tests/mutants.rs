//! Each planted bug in changes of members is caught by clusters whose members come and go, and each in fences by clients that show
//! tokens, and each in tables by clients of tables.
//!
//! Those of the core have scripts and random schedules of their own
//! (`crates/protocol/tests/raft/mutants.rs`); here they stand below whole nodes. Two of the core's have no place here: above it
//! no second change is asked for while one is under way, and a promoted learner that refuses to vote is outvoted once all
//! others are back, as they are at the end of a run.

use quorate_base::time::Duration;
use quorate_protocol::commit;
use quorate_protocol::raft::Mutant;
use quorate_sim::{Knobs, Plan, Planted, kind_of, shrink};
use quorate_state::{kv, table};

/// A bug, the first seed that is tried, and what must be said of it.
const MUTANTS: [(Mutant, u64, &str); 7] = [
    (Mutant::Fig8Commit, 1, "Quorums: "),
    (Mutant::JointWithoutOutgoing, 6, "Quorums: "),
    (Mutant::LearnerVoteCounts, 1, "Quorums: "),
    (Mutant::AutoLeaveLost, 34, "Liveness: "),
    (Mutant::PromoteLaggingLearner, 1, "Admission: "),
    (Mutant::IdGivenTwice, 1, "Identities: "),
    (Mutant::ChangeAnsweredEarly, 1, " was answered with "),
];
const FENCES: [(kv::Mutant, u64, &str); 2] =
    [(kv::Mutant::FenceAnyToken, 1, "Fences: "), (kv::Mutant::FenceNotStored, 1, "State Machine Safety: ")];
/// So many seeds are tried.
const SEEDS: u64 = 100;

fn run(seed: u64, fences: bool, planted: Option<Planted>) -> Option<String> {
    let span = Duration::from_secs(20);
    let (disks, swarm, doors, members) = (false, false, false, !fences);
    let (compaction, tables) = (false, false);
    Plan {
        span,
        clients: 3,
        disks,
        swarm,
        doors,
        members,
        fences,
        compaction,
        tables,
        planted,
        ..Plan::of(seed)
    }
    .run()
    .violation
}

#[test]
fn every_mutant_is_caught() {
    let mut survivors = Vec::new();
    let shown = FENCES.map(|(mutant, first, says)| (Planted::Kv(mutant), first, says));
    let members = MUTANTS.map(|(mutant, first, says)| (Planted::Raft(mutant), first, says));
    for (mutant, first, says) in members.into_iter().chain(shown) {
        let fences = matches!(mutant, Planted::Kv(_));
        let found = (first..first + SEEDS).find_map(|seed| Some((seed, run(seed, fences, Some(mutant))?)));
        match found {
            Some((seed, why)) => {
                println!("{mutant:?}: seed {seed}: {why}");
                assert!(why.contains(says), "{mutant:?} at seed {seed}: {why}");
                assert_eq!(run(seed, fences, None), None, "the healthy one at seed {seed}");
            }
            None => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "these survive: {survivors:?}");
}

/// Claim: what a lost disk must not prove to a leader that was succeeded shows where leaders are succeeded and do not know it.
#[test]
fn lost_disks_that_prove_something_are_caught() {
    for mutant in [Mutant::LostDiskProvesReads, Mutant::LostDiskExtendsLease] {
        let shows = |seed: &u64| {
            let knobs = Knobs::draw(*seed).swarm(*seed);
            let leases = knobs.lease_reads.is_some() == (mutant == Mutant::LostDiskExtendsLease);
            knobs.swarm.alone && knobs.nodes == 3 && leases
        };
        let run = |seed, planted| {
            let (doors, members, fences, compaction) = (false, false, false, false);
            let (tables, groups, span) = (false, false, Duration::from_secs(20));
            let plan = Plan { planted, span, doors, members, fences, compaction, ..Plan::of(seed) };
            Plan { tables, groups, ..plan }.run().violation
        };
        let planted = Some(Planted::Raft(mutant));
        let found = (0..).filter(shows).take(20).find_map(|seed| Some((seed, run(seed, planted)?)));
        let (seed, why) = found.expect("one of them shows it");
        println!("{mutant:?}: seed {seed}: {why}");
        assert!(why.contains("stale"), "{mutant:?} at seed {seed}: {why}");
        assert_eq!(run(seed, None), None, "the healthy one at seed {seed}");
    }
}

/// Claim: a flush that failed and was asked for again shows where the power goes soon afterwards.
#[test]
fn a_flush_that_is_asked_for_again_is_caught() {
    let fails = |seed: &u64| {
        let swarm = Knobs::draw(*seed).swarm(*seed).swarm;
        swarm.disks && swarm.flushes_last.is_some()
    };
    let run = |seed, planted| {
        let (doors, members, fences, compaction) = (false, false, false, false);
        let (tables, groups, span) = (false, false, Duration::from_secs(20));
        let plan = Plan { planted, span, doors, members, fences, compaction, ..Plan::of(seed) };
        Plan { tables, groups, ..plan }.run().violation
    };
    let planted = Planted::named("fsync-error-retried");
    let found = (1..).filter(fails).take(60).find_map(|seed| Some((seed, run(seed, planted)?)));
    let (seed, why) = found.expect("one of them shows it");
    println!("seed {seed}: {why}");
    assert_eq!(run(seed, None), None, "the healthy one at seed {seed}");
}

/// Claim: a failing run shrinks to a smaller one that fails in the same way, and that one fails again.
#[test]
fn a_failing_run_shrinks() {
    let planted = Some(Planted::Kv(kv::Mutant::FenceAnyToken));
    let plan = Plan { planted, span: Duration::from_secs(8), ..Plan::of(3) };
    let before = plan.run();
    let shrunk = shrink(&plan, 40, &mut |_| ()).unwrap();
    let size = |plan: &Plan, steps: usize| (plan.span, plan.clients, steps);
    let (was, is) = (size(&plan, before.steps.len()), size(&shrunk.plan, shrunk.outcome.steps.len()));
    assert!(is.0 <= was.0 && is.1 <= was.1 && is.2 <= was.2 && is != was, "{is:?} of {was:?}");
    let again = shrunk.plan.run();
    assert_eq!(again.digest, shrunk.outcome.digest);
    assert_eq!(again.violation.as_deref().map(kind_of), before.violation.as_deref().map(kind_of));
    assert!(shrink(&Plan { planted: None, ..plan }, 60, &mut |_| ()).is_none());
}

/// Claim: changes that break no promise raise nothing.
#[test]
#[ignore = "takes minutes without optimization; the nightly's hunt runs them"]
fn harmless_changes_raise_nothing() {
    for (name, change) in Planted::harmless() {
        for seed in 1..=2 {
            let outcome =
                Plan { planted: Some(change), span: Duration::from_secs(10), ..Plan::of(seed) }.run();
            assert_eq!(outcome.violation, None, "{name} at seed {seed}");
        }
    }
}

/// A bug of tables, and what must be said of it, where nothing else is broken.
const TABLES: [(table::Mutant, &[&str]); 6] = [
    (table::Mutant::TokenForgotten, &["Tokens: "]),
    (table::Mutant::TokenOfRefused, &["Tokens: "]),
    // A plain read may see it, too.
    (table::Mutant::AppliedInPart, &["Strict serializability of items: ", "Staleness: of a transaction"]),
    (
        table::Mutant::ConditionStale,
        &["Linearizability of items: ", "Strict serializability of items: ", "State Machine Safety: "],
    ),
    (table::Mutant::CheckNotHeld, &["Strict serializability of items: "]),
    (table::Mutant::IndexRowLeft, &["Index: "]),
];

/// Seeds that have clients of tables, with those alone and one client beside them.
fn with_tables(faults: bool, planted: Option<table::Mutant>) -> impl Iterator<Item = (u64, Option<String>)> {
    let seeds = (1..).filter(|&seed| Knobs::draw(seed).tables);
    seeds.take(SEEDS as usize).map(move |seed| {
        let (disks, swarm, doors, members, fences) = (false, false, false, false, false);
        let (span, planted) = (Duration::from_secs(12), planted.map(Planted::Table));
        let all = Plan::of(seed);
        let plan = Plan { span, clients: 1, faults, disks, swarm, doors, members, fences, planted, ..all };
        (seed, Plan { compaction: false, ..plan }.run().violation)
    })
}

/// Claim: each planted bug of tables is caught by the clients of tables, at two of a few seeds, without any fault.
#[test]
fn every_mutant_of_tables_is_caught() {
    for (mutant, says) in TABLES {
        let caught = with_tables(false, Some(mutant)).take(8).filter_map(|(seed, why)| Some((seed, why?)));
        let caught: Vec<(u64, String)> = caught.take(2).collect();
        assert_eq!(caught.len(), 2, "{mutant:?}: {caught:?}");
        for (seed, why) in caught {
            println!("{mutant:?}: seed {seed}: {why}");
            assert!(says.iter().any(|says| why.contains(says)), "{mutant:?} at seed {seed}: {why:?}");
        }
    }
    for (seed, why) in with_tables(false, None).take(2) {
        assert_eq!(why, None, "the healthy one at seed {seed}");
    }
}

/// Claim: tokens that are in memory alone are missed once a node has started again.
#[test]
fn tokens_that_are_not_stored_are_caught() {
    let mut seeds = with_tables(true, Some(table::Mutant::TokenInMemory));
    let (seed, why) = seeds.find_map(|(seed, why)| Some((seed, why?))).unwrap();
    println!("seed {seed}: {why}");
    assert!(why.contains("State Machine Safety: ") || why.contains("Tokens: "), "seed {seed}: {why}");
}

/// A bug in transactions over shards, and what must be said of it: one of these.
const ACROSS: [(commit::Mutant, &[&str]); 2] = [
    // A plain read may see it, too, of a page.
    (commit::Mutant::IntentReadsOld, &["trict serializability of items", "Drops: ", "Staleness: "]),
    // What was told as cancelled happened: a read sees it, or its token is spent.
    (commit::Mutant::RetryBeforeAbort, &["items", "was never done, and was answered as done", "Drops: "]),
];

/// Claim: what breaks closed times shows in what plain reads say of their age, each bug at one of a few seeds; and there no read of the
/// healthy one says what is not so. (At the first, who was succeeded while it stood still had closed a round for what it led no longer.)
#[test]
fn plain_reads_show_the_mutants_of_closed_times() {
    let run =
        |seed, planted| Plan { planted, span: Duration::from_secs(20), ..Plan::of(seed) }.run().violation;
    let first = 2_000_000;
    // Where gateways go down as they answer, so that what was done stays undecided elsewhere.
    let forsaken = |seed: &u64| {
        let knobs = Knobs::draw(*seed).swarm(*seed);
        knobs.groups > 1 && knobs.offsets.is_some() && knobs.swarm.cut_at_decisions > 5
    };
    for (name, where_forsaken) in [
        ("close-without-round", false),
        ("serve-before-closed-is-applied", false),
        ("closed-read-passes-intents", true),
    ] {
        let mut seeds = (first..).filter(|seed| !where_forsaken || forsaken(seed)).take(SEEDS as usize);
        let (seed, why) = seeds.find_map(|seed| Some((seed, run(seed, Planted::named(name))?))).expect(name);
        println!("{name}: seed {seed}: {why}");
        assert!(why.starts_with("Staleness: "), "{name} at seed {seed}: {why}");
        assert_eq!(run(seed, None), None, "the healthy one at seed {seed}");
    }
    assert_eq!(run(first, None), None);
}

/// Claim: what breaks transactions over shards shows in what their clients see.
#[test]
fn transactions_over_shards_show_their_mutants() {
    let mut survivors = Vec::new();
    for (mutant, says) in ACROSS {
        let with_shards = (1_000..).filter(|&seed| Knobs::draw(seed).groups > 1).take(SEEDS as usize);
        let run = |seed, planted| {
            Plan { planted, span: Duration::from_secs(30), disks: false, swarm: false, ..Plan::of(seed) }
                .run()
                .violation
        };
        let planted = Some(Planted::Commit(mutant));
        let found = with_shards.into_iter().find_map(|seed| Some((seed, run(seed, planted)?)));
        match found {
            Some((seed, why)) => {
                println!("{mutant:?}: seed {seed}: {why}");
                assert!(says.iter().any(|says| why.contains(says)), "{mutant:?} at seed {seed}: {why}");
                assert_eq!(run(seed, None), None, "the healthy one at seed {seed}");
            }
            None => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "these survive: {survivors:?}");
}
