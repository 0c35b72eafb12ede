//! Claim: what a fast algorithm takes it decides as brute force does, both ways, and its witnesses are guilty; and it
//! takes what its page says. The long form is ignored by default, and may be asked for in parts:
//!
//!     ORACLE=1000000 ORACLE_SLICE=0/20 cargo test --release -p quorate-check --test oracle -- --ignored --nocapture

use crate::brute::{OBJECTS, Object, history};
use crate::make::{self, All, Dice};
use crate::slice::Slice;
use crate::{compare, holds, judge, slow};
use quorate_check::verdict::Verdict;
use std::collections::BTreeMap;

/// By algorithm: how many it refuted and proved.
type Counts = BTreeMap<&'static str, [u64; 2]>;

fn count(counts: &mut Counts, (truth, by): (bool, &'static str)) {
    counts.entry(by).or_default()[usize::from(truth)] += 1;
}

fn print(what: &str, object: Object, counts: &Counts) {
    for (by, [refuted, proved]) in counts {
        println!("{what}, {object:?}: {by}: {proved} can be ordered, {refuted} cannot");
    }
}

fn random(object: Object, seeds: std::ops::Range<u64>) -> Counts {
    let mut counts = Counts::new();
    for seed in seeds {
        let ops = make::random(object, true, &mut Dice::new(seed));
        count(&mut counts, compare(object, &ops));
    }
    counts
}

/// The algorithm that has to take most of an object's random histories.
const TAKES: [(Object, &str); 9] = [
    (Object::Register, "zones (Gibbons-Korach)"),
    (Object::CasRegister, "zones over compare-and-set chains"),
    (Object::Multiset, "multiset by times of presence"),
    (Object::Queue, "FIFO by pairs of values"),
    (Object::PriorityQueue, "priorities from the smallest"),
    (Object::Set, "set, value by value"),
    (Object::Set, "set by growth"),
    (Object::Counter, "counter by slots"),
    (Object::Stack, "stack from the bottom"),
];

#[test]
fn fast_ones_agree_with_brute_force() {
    for (object, name) in TAKES {
        let counts = random(object, 0..6_000);
        print("random", object, &counts);
        let [refuted, proved] = counts.get(name).copied().unwrap_or_default();
        assert!(refuted > 50 && proved > 1_000, "{name} took too few: {counts:?}");
    }
}

/// All histories of up to so many operations, or those of them that a slice takes.
fn all_small(object: Object, size: usize, slice: Slice) -> Counts {
    let (mut counts, mut met) = (Counts::new(), 0);
    for size in 1..=size {
        let all = All { object, size, processes: 3, values: 3, lean: true };
        make::all(all, &mut |ops| {
            met += 1;
            if slice.takes(met - 1) {
                count(&mut counts, compare(object, ops));
            }
        });
    }
    counts
}

#[test]
fn fast_ones_agree_with_brute_force_on_a_sample_of_what_is_small() {
    for object in OBJECTS {
        print("a sample of the small", object, &all_small(object, 4, Slice::new(3, 997)));
    }
}

#[test]
#[ignore = "an hour: all small histories of the objects with fast algorithms, and a million random ones each"]
fn fast_ones_agree_with_brute_force_on_everything_small() {
    let seeds = std::env::var("ORACLE").ok().and_then(|count| count.parse().ok()).unwrap_or(1_000_000);
    let only = std::env::var("ORACLE_OBJECT").unwrap_or_default();
    let size = std::env::var("ORACLE_SIZE").ok().and_then(|size| size.parse().ok()).unwrap_or(4);
    for object in OBJECTS.into_iter().filter(|object| format!("{object:?}").contains(&only)) {
        let slice = Slice::asked();
        let counts = all_small(object, size, slice);
        print("all small", object, &counts);
        let part = slice.range(seeds);
        print("random", object, &random(object, (1 << 32) + part.start..(1 << 32) + part.end));
    }
}

/// Longer ones than brute force can order, against the general search.
fn long(object: Object, seeds: std::ops::Range<u64>) -> Counts {
    let mut counts = Counts::new();
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let size = 9 + dice.below(16) as usize;
        let ops = make::random_of(object, size, true, &mut dice);
        let history = history(&ops);
        let (_, judged) = judge(object, &history);
        let Some(judged) = judged.filter(|judged| judged.searched.is_empty()) else { continue };
        let by = match &judged.verdict {
            Verdict::Proved { by } => by,
            Verdict::Refuted(witness) => witness.by,
            other => panic!("no verdict: {other:?}"),
        };
        let Some(truth) = slow::holds(object, &history) else { continue };
        assert_eq!(
            holds(Some(&judged)),
            truth,
            "{object:?}, seed {seed}: the search says {truth} of {ops:#?}"
        );
        count(&mut counts, (truth, by));
    }
    counts
}

#[test]
fn fast_ones_agree_with_the_search_on_longer_histories() {
    let seeds = std::env::var("ORACLE_LONG").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    for (object, name) in TAKES {
        let counts = long(object, 0..seeds);
        print("longer", object, &counts);
        let [refuted, proved] = counts.get(name).copied().unwrap_or_default();
        assert!(refuted > 0 && proved > 0, "{name} took too few: {counts:?}");
    }
}
