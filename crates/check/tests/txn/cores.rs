//! Cores of histories that break a level: small, guilty of the same, and nothing to leave out.

use quorate_check::budget::Budget;
use quorate_check::history::Outcome;
use quorate_check::txn::generate::{Chance, Isolation, Plan, history};
use quorate_check::txn::history::{Builder, History};
use quorate_check::txn::levels::Level;
use quorate_check::txn::part::{Kept, Parts};
use quorate_check::txn::shrink::{Core, core};
use quorate_check::txn::{Model, Options, Report, check};
use quorate_check::verdict::Verdict;

fn judge(history: &History, model: Model) -> Report {
    let go_on = || false;
    check(history, model, &Options::default(), &mut Budget::new(&go_on, 1 << 30))
}

fn kind(report: &Report, level: Level) -> Option<String> {
    match report.verdict(level) {
        Verdict::Refuted(witness) => Some(witness.kind.clone()),
        _ => None,
    }
}

fn shrunk(history: &History, model: Model, level: Level, report: &Report) -> Core {
    let go_on = || false;
    let options = Options::default();
    core(history, model, &options, level, report, &mut Budget::new(&go_on, 1 << 30)).unwrap()
}

fn plan(seed: u64, registers: bool, isolation: Isolation, txns: u32) -> Plan {
    Plan {
        txns,
        seed,
        registers,
        isolation,
        read_first: registers,
        fail: 50,
        final_reads: true,
        ..Plan::default()
    }
}

/// Claim: a core breaks the same level by the same kind, and does no longer once any transaction or key is left out.
#[test]
fn cores_are_guilty_and_minimal() {
    let mut seen = 0;
    for (seed, registers) in (0..12).flat_map(|seed| [(seed, false), (seed, true)]) {
        let isolations = [Isolation::ReadCommitted, Isolation::LaggingSnapshot, Isolation::ReadUncommitted];
        let history = history(&plan(seed, registers, isolations[seed as usize % 3], 120)).unwrap();
        let model = if registers { Model::RwRegister } else { Model::ListAppend };
        let report = judge(&history, model);
        for level in report.minimal_refuted() {
            seen += 1;
            let core = shrunk(&history, model, level, &report);
            assert!(core.minimal);
            minimal(&history, model, level, &kind(&report, level).unwrap(), &core);
        }
    }
    println!("{seen} cores");
    assert!(seen > 20);
}

fn minimal(history: &History, model: Model, level: Level, kind_of: &str, core: &Core) {
    let parts = Parts::new(history, model);
    let mut keys = vec![false; history.keys().len()];
    core.keys.iter().for_each(|&key| keys[key] = true);
    let kept = Kept { txns: core.txns.clone(), keys };
    let guilty = |kept: &Kept| {
        let both = [parts.compact(kept).unwrap(), parts.masked(kept).unwrap()];
        let kinds = both.map(|part| kind(&judge(&part, model), level));
        assert_eq!(kinds[0], kinds[1], "both ways to make a part agree");
        kinds[0].as_deref() == Some(kind_of)
    };
    assert!(guilty(&kept), "{kind_of}: {core:?}");
    for at in 0..kept.txns.len() {
        let mut fewer = kept.clone();
        fewer.txns.remove(at);
        assert!(!guilty(&fewer), "{kind_of}: T{} is not needed: {core:?}", kept.txns[at]);
    }
    for &key in &core.keys {
        let mut fewer = kept.clone();
        fewer.keys[key] = false;
        parts.drop_idle(&mut fewer);
        assert!(!guilty(&fewer), "{kind_of}: key {key} is not needed: {core:?}");
    }
}

/// Claim: no part of an innocent history is guilty, however it is cut.
#[test]
fn parts_of_innocent_histories_are_innocent() {
    let mut chance = Chance::new(5);
    let strict = Level::named("strict-serializable").unwrap();
    for (seed, registers) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let plan =
            Plan { read_first: seed % 2 == 0, ..plan(seed, registers, Isolation::StrictSerializable, 60) };
        let history = history(&plan).unwrap();
        let model = if registers { Model::RwRegister } else { Model::ListAppend };
        assert_eq!(kind(&judge(&history, model), strict), None, "the database is innocent");
        let parts = Parts::new(&history, model);
        for _ in 0..40 {
            let mut kept = parts.whole();
            let most = 1 + chance.below(9);
            kept.txns.retain(|_| chance.below(10) < most);
            kept.keys.iter_mut().for_each(|key| *key = chance.below(5) > 0);
            for part in [parts.compact(&kept).unwrap(), parts.masked(&kept).unwrap()] {
                assert_eq!(kind(&judge(&part, model), strict), None, "seed {seed}, {kept:?}");
            }
        }
    }
}

/// Claim: the core of a write skew in a larger history is the two transactions that skew, told by their own numbers.
#[test]
fn a_core_keeps_the_numbers_of_the_history() {
    let text = "{:process 0 :type :invoke :f :txn :value [[:append 9 1]]}
        {:process 0 :type :ok :f :txn :value [[:append 9 1]]}
        {:process 1 :type :invoke :f :txn :value nil}
        {:process 2 :type :invoke :f :txn :value nil}
        {:process 1 :type :ok :f :txn :value [[:r 1 nil] [:r 9 [1]] [:append 2 1]]}
        {:process 2 :type :ok :f :txn :value [[:r 2 nil] [:append 1 1]]}
        {:process 3 :type :invoke :f :txn :value nil}
        {:process 3 :type :ok :f :txn :value [[:r 1 [1]] [:r 2 [1]]]}";
    let history = quorate_check::txn::feed::read(text.as_bytes(), Model::ListAppend).unwrap();
    let report = judge(&history, Model::ListAppend);
    let core = shrunk(&history, Model::ListAppend, Level::named("serializable").unwrap(), &report);
    assert_eq!((&core.txns[..], core.keys.len()), (&[1, 2][..], 2), "{core:?}");
    assert!(
        core.witness.words.contains("T1 = process 1: read 1 as [], append 1 to 2"),
        "{}",
        core.witness.words
    );
    assert_eq!(core.history.line(1), 3);
}

/// Claim: a session ends with a transaction of unknown end, in a part that leaves that one out, too: who comes behind it in its process
/// need not know what came before it.
#[test]
fn parts_keep_sessions_apart() {
    // Readers refuse such a history; the builder takes it.
    let mut builder = Builder::new();
    let (process, keys, one) = (builder.int(0), [builder.int(1), builder.int(2)], builder.int(1));
    for (key, outcome) in [(keys[0], Outcome::Ok), (keys[1], Outcome::Info)] {
        builder.append(key, one);
        builder.invoke(process).unwrap();
        builder.append(key, one);
        builder.complete(process, outcome).unwrap();
    }
    builder.unknown(keys[0]);
    builder.invoke(process).unwrap();
    builder.list(keys[0], &[]);
    builder.complete(process, Outcome::Ok).unwrap();
    let history = builder.finish().unwrap();
    let level = Level::named("strong-session-serializable").unwrap();
    assert_eq!(kind(&judge(&history, Model::ListAppend), level), None, "the whole is innocent");
    let parts = Parts::new(&history, Model::ListAppend);
    let kept = Kept { txns: vec![0, 2], ..parts.whole() };
    let part = parts.compact(&kept).unwrap();
    assert_eq!(kind(&judge(&part, Model::ListAppend), level), None, "and so is its part");
}
