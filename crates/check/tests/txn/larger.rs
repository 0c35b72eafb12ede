//! Histories that brute force cannot take: what hides in large components is found, and causal consistency is what its definition says.

use quorate_check::budget::Budget;
use quorate_check::history::Outcome;
use quorate_check::txn::generate::{Isolation, Plan, history};
use quorate_check::txn::history::{Act, Builder, Element, History, Id};
use quorate_check::txn::levels::Level;
use quorate_check::txn::{Model, Options, Report, check};
use quorate_check::verdict::Verdict;
use std::collections::BTreeMap;

fn judge(history: &History, model: Model) -> Report {
    let go_on = || false;
    check(history, model, &Options::default(), &mut Budget::new(&go_on, 1 << 30))
}

fn refuted(report: &Report, level: &str) -> bool {
    matches!(report.verdict(Level::named(level).unwrap()), Verdict::Refuted(_))
}

/// A micro-operation: what is appended to a key, or read of it.
#[derive(Clone, Copy)]
enum Do {
    Append(i64),
    /// With the one element that it holds, or empty.
    Sees(i64, bool),
}
use Do::{Append, Sees};

/// Transactions that are all concurrent, each key with one element at most; then one that reads all keys.
fn lists(txns: &[Vec<Do>]) -> History {
    let mut builder = Builder::new();
    let micros = |builder: &mut Builder, txn: &[Do]| {
        for micro in txn {
            let one = builder.int(1);
            match *micro {
                Append(key) => {
                    let key = builder.int(key);
                    builder.append(key, one);
                }
                Sees(key, there) => {
                    let key = builder.int(key);
                    builder.list(key, &[one][..usize::from(there)]);
                }
            }
        }
    };
    for (id, _) in txns.iter().enumerate() {
        let process = builder.int(id as i64);
        builder.invoke(process).unwrap();
    }
    for (id, txn) in txns.iter().enumerate() {
        micros(&mut builder, txn);
        let process = builder.int(id as i64);
        builder.complete(process, Outcome::Ok).unwrap();
    }
    let mut keys: Vec<i64> = txns
        .iter()
        .flatten()
        .filter_map(|micro| if let Append(key) = micro { Some(*key) } else { None })
        .collect();
    keys.sort_unstable();
    let process = builder.int(-1);
    builder.invoke(process).unwrap();
    micros(&mut builder, &keys.iter().map(|&key| Sees(key, true)).collect::<Vec<_>>());
    builder.complete(process, Outcome::Ok).unwrap();
    builder.finish().unwrap()
}

/// Links each to the next one and back by what both missed.
fn link(txns: &mut [Vec<Do>], keys: &mut i64) {
    for at in 1..txns.len() {
        let (one, other) = (*keys, *keys + 1);
        *keys += 2;
        txns[at - 1].extend([Sees(one, false), Append(other)]);
        txns[at].extend([Append(one), Sees(other, false)]);
    }
}

/// Writers of a key each, and for every two that are neighbours two readers that see the one and not the other.
fn forks(many: i64) -> Vec<Vec<Do>> {
    let writers = (0..=many).map(|key| vec![Append(key)]);
    let pair =
        |key| [[true, false], [false, true]].map(|sees| vec![Sees(key - 1, sees[0]), Sees(key, sees[1])]);
    writers.chain((1..=many).flat_map(pair)).collect()
}

/// Claim: one read skew is found beside so many write skews or long forks, in one component with them, as no search ends at those that
/// come first.
#[test]
fn a_read_skew_hides_behind_no_number_of_others() {
    for (skew, forked) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut txns = if forked { forks(80) } else { vec![Vec::new(); 150] };
        let count = txns.len();
        if !forked {
            link(&mut txns, &mut 2_000);
        }
        txns[count - 1].push(Sees(1_000, false));
        txns.extend([
            vec![Append(1_000), Append(1_001)],
            vec![Sees(1_001, true), Append(1_002)],
            vec![Sees(1_002, true), Sees(1_001, !skew)],
        ]);
        // The last is in one component with the others.
        let last = txns.len() - 1;
        txns[last].push(Append(1_003));
        txns[0].push(Sees(1_003, false));
        txns[0].push(Append(1_004));
        txns[last].push(Sees(1_004, false));
        let report = judge(&lists(&txns), Model::ListAppend);
        assert!(
            refuted(&report, "serializable") && refuted(&report, "snapshot-isolation") == (skew || forked)
        );
        assert_eq!(refuted(&report, "consistent-view"), skew, "{forked}: {:?}", report.minimal_refuted());
        assert_eq!(refuted(&report, "PSI"), skew, "{forked}: {:?}", report.minimal_refuted());
    }
}

/// Claim: a cycle through one reader is found beside so many that need two.
#[test]
fn one_reader_hides_behind_no_number_of_pairs() {
    for alone in [false, true] {
        let many = 80;
        let mut txns = forks(many);
        // It missed a write of one that missed another one's, of which it saw something.
        txns[many as usize].push(Sees(1000, false));
        txns.push(vec![Append(1000), Append(1001)]);
        txns.push(vec![Sees(many, !alone), Sees(1001, true)]);
        let report = judge(&lists(&txns), Model::ListAppend);
        assert!(
            refuted(&report, "serializable") && !refuted(&report, "consistent-view"),
            "{:?}",
            report.minimal_refuted()
        );
        assert_eq!(refuted(&report, "update-serializable"), alone, "{:?}", report.minimal_refuted());
    }
}

/// What is appended to keys, and `None` where a key is seen to be empty.
type Micros = Vec<(i64, Option<i64>)>;

/// A circle of two sessions, of which each in its second transaction missed what the other appended in its first; where it is `hidden` a
/// third session misses that, having but overwritten something of the second transaction. Appends and what was seen, by process and turn.
fn circle(at: i64, hidden: bool) -> Vec<(i64, Micros)> {
    let of = |number: i64| 10_000 + 10 * at + number;
    let misses = |number| (of(number), None);
    let appends = |number, element| (of(number), Some(element));
    let half = |session, own, other, over| {
        let first = (session, vec![appends(own, 1)]);
        let mut rest = vec![(session, if hidden { vec![appends(over, 1)] } else { vec![misses(other)] })];
        if hidden {
            rest.push((session + 1, vec![appends(over, 2), misses(other)]));
        }
        std::iter::once(first).chain(rest).collect::<Vec<_>>()
    };
    [half(4 * at, 0, 1, 2), half(4 * at + 2, 1, 0, 3)].concat()
}

/// Claim: that two sessions missed each other's appends is found beside so many circles of more transactions, in one component with
/// them, in which one overwrote something before another missed something.
#[test]
fn sessions_that_missed_each_other_hide_behind_no_number_of_others() {
    for at_place in [0, 30, 60] {
        for shown in [false, true] {
            let mut sessions: BTreeMap<i64, Vec<Micros>> = BTreeMap::new();
            for at in 0..=60 {
                if at == at_place && !shown {
                    continue;
                }
                for (number, (session, mut micros)) in circle(at, at != at_place).into_iter().enumerate() {
                    // The first of each circle and that of the next one missed something of each other.
                    if number == 0 {
                        let before = at - 1 - i64::from(at - 1 == at_place && !shown);
                        micros.extend([(2 * at, None), (2 * at + 1, Some(1))]);
                        micros.extend((before >= 0).then_some((2 * before + 1, None)));
                        micros.extend((before >= 0).then_some((2 * before, Some(1))));
                    }
                    sessions.entry(session).or_default().push(micros);
                }
            }
            let mut builder = Builder::new();
            let mut keys: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
            for turn in 0..2 {
                let now = || sessions.iter().filter_map(|(&at, turns)| Some((at, turns.get(turn)?)));
                for (session, _) in now() {
                    let process = builder.int(session);
                    builder.invoke(process).unwrap();
                }
                for (session, micros) in now() {
                    for &(key, element) in micros {
                        let name = builder.int(key);
                        match element {
                            Some(element) => {
                                keys.entry(key).or_default().push(element);
                                let element = builder.int(element);
                                builder.append(name, element);
                            }
                            None => builder.list(name, &[]),
                        }
                    }
                    let process = builder.int(session);
                    builder.complete(process, Outcome::Ok).unwrap();
                }
            }
            let process = builder.int(-1);
            builder.invoke(process).unwrap();
            for (key, mut elements) in keys {
                elements.sort_unstable();
                let elements: Vec<_> = elements.into_iter().map(|element| builder.int(element)).collect();
                let key = builder.int(key);
                builder.list(key, &elements);
            }
            builder.complete(process, Outcome::Ok).unwrap();
            let report = judge(&builder.finish().unwrap(), Model::ListAppend);
            let found = |level| refuted(&report, level);
            assert!(
                found("strong-session-snapshot-isolation")
                    && !found("prefix")
                    && !found("strong-session-PSI"),
                "{at_place}: {:?}",
                report.minimal_refuted()
            );
            assert_eq!(found("strong-session-prefix"), shown, "{at_place}: {:?}", report.minimal_refuted());
        }
    }
}

/// Claim: after thousands of components that break one level another one that breaks more is still looked at.
#[test]
fn what_is_worst_may_come_last() {
    let mut txns: Vec<Vec<Do>> = Vec::new();
    for pair in 0..5_100 {
        let (x, y) = (10 + 2 * pair, 11 + 2 * pair);
        txns.extend([vec![Sees(x, false), Append(y)], vec![Sees(y, false), Append(x)]]);
    }
    assert!(!refuted(&judge(&lists(&txns), Model::ListAppend), "consistent-view"));
    txns.extend([vec![Append(1)], vec![Sees(1, true), Append(2)], vec![Sees(2, true), Sees(1, false)]]);
    let report = judge(&lists(&txns), Model::ListAppend);
    assert!(refuted(&report, "consistent-view") && refuted(&report, "snapshot-isolation"));
}

/// Claim: where edges to appends that no read shows were left out, nothing is proved by the graph that lacks them.
#[test]
fn what_was_left_out_proves_nothing() {
    let (mut builder, many) = (Builder::new(), 40);
    let [x, y, one] = [1, 2, 1].map(|number| builder.int(number));
    for process in 0..=many {
        let process = builder.int(process);
        builder.invoke(process).unwrap();
    }
    // Each misses what the other appends.
    builder.list(x, &[]);
    builder.append(y, one);
    let process = builder.int(0);
    builder.complete(process, Outcome::Ok).unwrap();
    for number in 1..=many {
        if number == many {
            builder.list(y, &[]);
        }
        let (element, process) = (builder.int(number), builder.int(number));
        builder.append(x, element);
        builder.complete(process, Outcome::Ok).unwrap();
    }
    let process = builder.int(100);
    builder.invoke(process).unwrap();
    builder.list(y, &[one]);
    builder.complete(process, Outcome::Ok).unwrap();
    let report = judge(&builder.finish().unwrap(), Model::ListAppend);
    let verdict = report.verdict(Level::named("serializable").unwrap());
    assert!(!matches!(verdict, Verdict::Proved { .. }), "{verdict:?}");
}

/// Causal consistency of registers by its definition: who read from whom and the order of sessions, closed; for each read of a key
/// from t1, all other writers of the key in the reader's past come before t1; no cycle.
fn is_causal(history: &History) -> bool {
    let count = history.len();
    let mut writers: BTreeMap<(usize, Element), Id> = BTreeMap::new();
    for id in 0..count as Id {
        for micro in history.ops(id) {
            if let Act::Write(element) = micro.act() {
                writers.insert((micro.key(), element), id);
            }
        }
    }
    // Reader, key, and whom it read from.
    let mut reads: Vec<(usize, usize, Option<usize>)> = Vec::new();
    let mut happened: Vec<bool> = history.txns().iter().map(|txn| txn.outcome == Outcome::Ok).collect();
    for id in (0..count).filter(|&id| history.txns()[id].outcome == Outcome::Ok) {
        let mut wrote = Vec::new();
        for micro in history.ops(id as Id) {
            match micro.act() {
                Act::Write(_) => wrote.push(micro.key()),
                Act::Read(element) if !wrote.contains(&micro.key()) => {
                    let of = writers.get(&(micro.key(), element)).map(|&of| of as usize);
                    reads.push((id, micro.key(), of));
                    if let Some(of) = of {
                        happened[of] = true;
                    }
                }
                _ => {}
            }
        }
    }
    let mut past = vec![vec![false; count]; count];
    for &(reader, _, of) in &reads {
        if let Some(of) = of {
            past[of][reader] |= of != reader;
        }
    }
    let mut last: BTreeMap<u32, usize> = BTreeMap::new();
    for (id, txn) in history.txns().iter().enumerate().filter(|(_, txn)| txn.outcome != Outcome::Fail) {
        if let Some(before) = last.remove(&txn.process) {
            past[before][id] = true;
        }
        if txn.outcome == Outcome::Ok {
            last.insert(txn.process, id);
        }
    }
    close(&mut past);
    let writes = |id: usize, key: usize| {
        happened[id]
            && history
                .ops(id as Id)
                .iter()
                .any(|micro| micro.key() == key && matches!(micro.act(), Act::Write(_)))
    };
    let mut before = past.clone();
    for &(reader, key, of) in &reads {
        for other in (0..count).filter(|&other| {
            past[other][reader] && Some(other) != of && other != reader && writes(other, key)
        }) {
            let Some(of) = of else { return false };
            before[other][of] = true;
        }
    }
    close(&mut before);
    (0..count).all(|id| !before[id][id])
}

fn close(reach: &mut [Vec<bool>]) {
    for via in 0..reach.len() {
        let row = reach[via].clone();
        for from in reach.iter_mut().filter(|from| from[via]) {
            from.iter_mut().zip(&row).for_each(|(to, further)| *to |= further);
        }
    }
}

/// Claim: over histories of a hundred transactions and sessions that end, causal consistency is what its definition says.
#[test]
fn causal_consistency_is_as_defined() {
    let mut counts = [0; 2];
    for seed in 0..60 {
        let isolation = [Isolation::LaggingSnapshot, Isolation::ReadCommitted, Isolation::StrictSerializable]
            [seed as usize % 3];
        let plan = Plan {
            txns: 20 + seed as u32 % 5 * 20,
            sessions: 2 + seed as u32 % 7,
            ops: 1 + seed as u32 % 4,
            full: false,
            keys: 2 + seed as u32 % 9,
            info: [0, 100, 300][seed as usize / 3 % 3],
            isolation,
            registers: true,
            seed,
            ..Plan::default()
        };
        let history = history(&plan).unwrap();
        let report = judge(&history, Model::RwRegister);
        let causal = is_causal(&history);
        let inner = ["internal", "future-read", "G1a", "G1b", "garbage-read"];
        let other = report.findings.iter().any(|finding| inner.contains(&&*finding.anomaly.name()));
        assert!(
            if causal { other || !refuted(&report, "causal") } else { refuted(&report, "causal") },
            "seed {seed}: causal is {causal}: {report:#?}"
        );
        counts[usize::from(causal)] += 1;
    }
    println!("{counts:?} are not causal, and are");
    assert!(counts.iter().all(|&count| count > 8), "{counts:?}");
}

/// What comes before what, as the longest reads say: 0 is ww, 1 wr, 2 rw, 3 the order of a process, 4 real time.
fn edges(history: &History) -> Vec<Vec<(usize, u8)>> {
    let count = history.len();
    let (mut out, mut writers) = (vec![Vec::new(); count], BTreeMap::new());
    for id in 0..count {
        for micro in history.ops(id as Id) {
            if let Act::Append(element) = micro.act() {
                writers.insert((micro.key(), element), id);
            }
        }
    }
    let trunk = |key: usize| history.keys()[key].trunk.iter().map(move |&element| (element, key));
    let mut add = |from: usize, to: usize, kind| {
        if from != to {
            out[from].push((to, kind));
        }
    };
    for key in 0..history.keys().len() {
        let all: Vec<usize> =
            trunk(key).filter_map(|(element, key)| writers.get(&(key, element)).copied()).collect();
        all.windows(2).for_each(|pair| add(pair[0], pair[1], 0));
    }
    for (id, txn) in history.txns().iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Ok) {
        let mut met: Vec<usize> = Vec::new();
        for micro in history.ops(id as Id) {
            let (key, fresh) = (micro.key(), !met.contains(&micro.key()));
            met.push(key);
            // What comes behind its own appends says no more.
            let Act::List(len) = micro.act() else { continue };
            let all: Vec<usize> =
                trunk(key).filter_map(|(element, key)| writers.get(&(key, element)).copied()).collect();
            if fresh && all.len() == history.keys()[key].trunk.len() {
                all[..len as usize].last().into_iter().for_each(|&from| add(from, id, 1));
                all[len as usize..].first().into_iter().for_each(|&to| add(id, to, 2));
            }
        }
        for (later, other) in
            history.txns().iter().enumerate().filter(|(_, other)| other.outcome == Outcome::Ok)
        {
            if txn.after <= other.group {
                add(id, later, 4);
                if other.process == txn.process {
                    add(id, later, 3);
                }
            }
        }
    }
    out
}

/// True where a closed walk begins with an edge that fits and goes on with such: `follows` is asked for each edge and the one before
/// it, and of the last and the first.
fn walk(out: &[Vec<(usize, u8)>], first: &[u8], fits: &[u8], follows: &dyn Fn(u8, u8) -> bool) -> bool {
    (0..out.len()).any(|start| {
        out[start].iter().filter(|(_, kind)| first.contains(kind)).any(|&(to, begin)| {
            let (mut been, mut left) = (vec![[false; 5]; out.len()], vec![(to, begin)]);
            while let Some((at, last)) = left.pop() {
                if std::mem::replace(&mut been[at][last as usize], true) {
                    continue;
                }
                if at == start && follows(last, begin) {
                    return true;
                }
                left.extend(out[at].iter().filter(|&&(_, kind)| fits.contains(&kind) && follows(last, kind)));
            }
            false
        })
    })
}

/// Claim: whatever cycle a plain search finds in a graph of a hundred transactions refutes the levels that forbid it.
#[test]
fn what_a_plain_search_finds_is_found() {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..45 {
        let isolation =
            [Isolation::LaggingSnapshot, Isolation::Snapshot, Isolation::ReadCommitted][seed as usize % 3];
        let plan = Plan {
            txns: 10 + seed as u32 / 3 % 6 * 18,
            sessions: 2 + seed as u32 % 5,
            ops: 2 + seed as u32 % 3,
            full: false,
            keys: 3 + seed as u32 % 11,
            info: 0,
            isolation,
            final_reads: true,
            seed,
            ..Plan::default()
        };
        let history = history(&plan).unwrap();
        let (report, out) = (judge(&history, Model::ListAppend), edges(&history));
        for (class, extra) in [("", &[][..]), ("strong-session-", &[3][..]), ("strong-", &[4][..])] {
            let no_rw = [&[0, 1], extra].concat();
            let all = [&no_rw[..], &[2]].concat();
            let any = |_, _| true;
            let apart = |before, kind| kind != 2 || before != 2;
            let seen = |before, kind| kind != 2 || before != 2 && before != 0;
            let found = [
                ("read-committed", walk(&out, &no_rw, &no_rw, &any)),
                ("PSI", walk(&out, &[2], &no_rw, &any)),
                ("prefix", walk(&out, &[2], &all, &seen)),
                ("snapshot-isolation", walk(&out, &[2], &all, &apart)),
                ("serializable", walk(&out, &[2], &all, &any)),
            ];
            for (name, found) in found.into_iter().filter(|(_, found)| *found) {
                let level = format!("{class}{name}");
                assert!(
                    refuted(&report, &level),
                    "seed {seed}: {level} has a cycle: {:?}",
                    report.minimal_refuted()
                );
                *counts.entry(name).or_default() += u64::from(found);
            }
        }
    }
    println!("{counts:?}");
    assert!(counts.len() >= 4 && counts.values().all(|&count| count > 10), "{counts:?}");
}
