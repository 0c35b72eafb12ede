//! Rows and ranges against running the transactions one after the other.

use crate::slice::Slice;
use crate::tally::{Tally, schedule};
use quorate_check::budget::Budget;
use quorate_check::history::Outcome;
use quorate_check::txn::feed::read;
use quorate_check::txn::generate::Chance;
use quorate_check::txn::history::{Builder, History};
use quorate_check::txn::levels::Level;
use quorate_check::txn::part::Parts;
use quorate_check::txn::{Model, Options, Report, check};
use quorate_check::verdict::Verdict;

#[derive(Clone, Debug)]
enum Op {
    Insert(u32),
    Delete(u32),
    Scan(u32, u32, Vec<u32>),
    Read(u32, bool),
}

#[derive(Clone, Debug)]
struct Txn {
    process: u32,
    outcome: Outcome,
    ops: Vec<Op>,
    invoked: u32,
    completed: u32,
}

/// Which rows are there.
type State = u32;

/// Runs a transaction on a state of rows; nothing where its reads saw something else. Of one whose end is unknown nobody knows what it
/// saw.
fn run(txn: &Txn, mut state: State) -> Option<State> {
    let told = txn.outcome == Outcome::Ok;
    for op in &txn.ops {
        match op {
            Op::Scan(..) | Op::Read(..) if !told => {}
            Op::Insert(row) if state & 1 << row == 0 => state |= 1 << row,
            Op::Delete(row) if state & 1 << row != 0 => state &= !(1 << row),
            Op::Scan(low, high, rows) => {
                let there: Vec<u32> = (*low..=*high).filter(|row| state & 1 << row != 0).collect();
                if there != *rows {
                    return None;
                }
            }
            Op::Read(row, there) if (state & 1 << row != 0) == *there => {}
            _ => return None,
        }
    }
    Some(state)
}

fn writes(txn: &Txn) -> u32 {
    txn.ops
        .iter()
        .map(|op| match op {
            Op::Insert(row) | Op::Delete(row) => 1 << row,
            _ => 0,
        })
        .fold(0, |all, row| all | row)
}

fn orders(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    (0..of.len())
        .flat_map(|at| {
            let mut rest = of.to_vec();
            let first = rest.remove(at);
            orders(&rest).into_iter().map(move |tail| [vec![first], tail].concat())
        })
        .collect()
}

/// True where one must precede another. One whose end is unknown ended at no known time, and its session with it.
fn must(history: &[Txn], level: &str, one: usize, other: usize) -> bool {
    let (one, other) = (&history[one], &history[other]);
    let between = |txn: &Txn| {
        let inside = one.invoked <= txn.invoked && txn.invoked < other.invoked;
        inside && txn.process == one.process && txn.outcome == Outcome::Info
    };
    match level {
        "strict-serializable" | "strong-snapshot-isolation" => {
            one.outcome == Outcome::Ok && one.completed < other.invoked
        }
        "strong-session-serializable" | "strong-session-snapshot-isolation" => {
            one.process == other.process && one.invoked < other.invoked && !history.iter().any(between)
        }
        _ => false,
    }
}

/// All sets of transactions that may have happened.
fn happenings(history: &[Txn]) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for (id, txn) in history.iter().enumerate() {
        let with = all.iter().map(|set: &Vec<usize>| [&set[..], &[id]].concat()).collect();
        all = match txn.outcome {
            Outcome::Ok => with,
            Outcome::Fail => all,
            Outcome::Info => [all, with].concat(),
        };
    }
    all
}

/// Some order of commits, and of snapshots where the level has these, gives what was read.
fn holds(history: &[Txn], level: &str) -> bool {
    happenings(history).iter().flat_map(|happened| orders(happened)).any(|order| {
        let wrong = |at: usize| order[at + 1..].iter().any(|&later| must(history, level, later, order[at]));
        if (0..order.len()).any(wrong) {
            return false;
        }
        if level.ends_with("serializable") {
            return order.iter().try_fold(0, |state, &id| run(&history[id], state)).is_some();
        }
        snapshots(history, level, &order, &[0])
    })
}

/// Tries all snapshots of the next transaction in the order; `states` are those after each commit.
fn snapshots(history: &[Txn], level: &str, order: &[usize], states: &[State]) -> bool {
    let done = states.len() - 1;
    let Some(&id) = order.get(done) else { return true };
    let txn = &history[id];
    (0..=done).any(|from| {
        let between = &order[from..done];
        if between
            .iter()
            .any(|&other| writes(&history[other]) & writes(txn) != 0 || must(history, level, other, id))
        {
            return false;
        }
        let Some(end) = run(txn, states[from]) else { return false };
        let own = writes(txn);
        let state = states[done] & !own | end & own;
        snapshots(history, level, order, &[states, &[state]].concat())
    })
}

fn judge(history: &[Txn]) -> Report {
    judge_built(&build(history))
}

fn judge_built(history: &History) -> Report {
    let go_on = || false;
    check(history, Model::Predicate, &Options::default(), &mut Budget::new(&go_on, 1 << 30))
}

fn build(history: &[Txn]) -> History {
    let mut builder = Builder::new();
    let mut events: Vec<(u32, usize, bool)> = Vec::new();
    for (id, txn) in history.iter().enumerate() {
        events.extend([(txn.invoked, id, true), (txn.completed, id, false)]);
    }
    events.sort_unstable();
    for (_, id, invoked) in events {
        let txn = &history[id];
        let told = !invoked && txn.outcome == Outcome::Ok;
        for op in &txn.ops {
            let mut element = |row: u32| builder.int(row.into());
            match op {
                Op::Insert(row) => {
                    let (row, one) = (element(*row), element(1));
                    builder.write(row, one);
                }
                Op::Delete(row) => {
                    let row = element(*row);
                    builder.delete(row);
                }
                Op::Scan(low, high, rows) => {
                    let rows: Vec<_> = rows.iter().map(|&row| (element(row), element(1))).collect();
                    let (low, high) = (element(*low), element(*high));
                    if told { builder.scan(low, high, &rows) } else { builder.unknown(low) }
                }
                Op::Read(row, there) => {
                    let (row, one) = (element(*row), element(1));
                    let seen = if *there { one } else { quorate_check::txn::history::Element::NIL };
                    builder.read(row, seen);
                }
            }
        }
        let process = builder.int(txn.process.into());
        if invoked { builder.invoke(process) } else { builder.complete(process, txn.outcome) }.unwrap();
    }
    builder.finish().unwrap()
}

/// A random history: rows live once; reads are of the state after some commits of a hidden order, mostly the same for all of a
/// transaction. In a hundred transactions `odds` have an unknown end, half of which did nothing, and half as many failed.
fn random(chance: &mut Chance, odds: u32) -> Vec<Txn> {
    let count = 2 + chance.below(3);
    let rows = 1 + chance.below(3);
    let processes = 1 + chance.below(4);
    let mut history: Vec<Txn> = (0..count)
        .map(|_| {
            let outcome = match chance.below(100) {
                _ if odds == 0 => Outcome::Ok,
                dice if dice < odds => Outcome::Info,
                dice if dice < odds + odds / 2 => Outcome::Fail,
                _ => Outcome::Ok,
            };
            Txn { process: chance.below(processes), outcome, ops: Vec::new(), invoked: 0, completed: 0 }
        })
        .collect();
    for row in 0..rows {
        let insert = chance.below(count);
        history[insert as usize].ops.push(Op::Insert(row));
        if chance.below(2) == 0 {
            let delete = insert + chance.below(count - insert);
            history[delete as usize].ops.push(Op::Delete(row));
        }
    }
    let mut states = vec![0];
    for at in 0..count as usize {
        let last = states[at];
        let own: Vec<Op> = history[at].ops.clone();
        let mut state = last;
        let mut ops = Vec::new();
        let snapshot = chance.below(states.len() as u32) as usize;
        let late = chance.below(3) > 0;
        let mut mine = if late { last } else { states[snapshot] };
        for op in own.into_iter().map(Some).chain([None]) {
            if chance.below(2) == 0 {
                let low = chance.below(rows);
                let high = low + chance.below(rows - low);
                let there = (low..=high).filter(|row| mine & 1 << row != 0).collect();
                let point = chance.below(4) == 0;
                ops.push(if point {
                    Op::Read(low, mine & 1 << low != 0)
                } else {
                    Op::Scan(low, high, there)
                });
            }
            match &op {
                Some(Op::Insert(row)) => (state, mine) = (state | 1 << row, mine | 1 << row),
                Some(Op::Delete(row)) => (state, mine) = (state & !(1 << row), mine & !(1 << row)),
                _ => {}
            }
            ops.extend(op);
        }
        history[at].ops = ops;
        let nothing = match history[at].outcome {
            Outcome::Ok => false,
            Outcome::Info => chance.below(2) == 0,
            Outcome::Fail => chance.below(8) > 0,
        };
        states.push(if nothing { last } else { state });
    }
    let processes: Vec<usize> = history.iter().map(|txn| txn.process as usize).collect();
    for (txn, (invoked, completed)) in history.iter_mut().zip(schedule(&processes, chance)) {
        (txn.invoked, txn.completed) = (invoked as u32, completed as u32);
    }
    history
}

fn compare(seed: u64, count: u32, odds: u32) -> Tally {
    let mut chance = Chance::new(seed);
    let mut tally = Tally::default();
    for _ in 0..count {
        let history = random(&mut chance, odds);
        tally.compare(&history, &judge(&history), |level| decided(level).then(|| holds(&history, level)));
    }
    tally.print("rows, random");
    tally
}

/// The levels that running the transactions can tell.
fn decided(level: &str) -> bool {
    let weaker = ["parallel-snapshot-isolation", "update-serializable"].contains(&level);
    !weaker && (level.ends_with("serializable") || level.ends_with("snapshot-isolation"))
}

/// Claim: over random histories of rows, serializability and snapshot isolation are refuted and proved as running them says.
#[test]
fn random_rows_are_judged_as_defined() {
    compare(11, 5000, 0).settled(decided);
}

/// Claim: the same where ends of transactions are unknown and some failed; nothing but a delete that may have happened leaves a level
/// open.
#[test]
fn random_rows_of_unknown_ends_are_judged_as_defined() {
    let tally = compare(14, 2500, 20);
    assert!(tally.missed() <= 20, "inference sees less than it did: {} were missed", tally.missed());
}

/// Claim: where rows are innocent, so is every part of them: what was seen of a row goes with who made or ended it.
#[test]
fn parts_of_innocent_rows_are_innocent() {
    let mut chance = Chance::new(13);
    let mut innocent = 0;
    for _ in 0..600 {
        let whole = build(&random(&mut chance, 0));
        let report = judge_built(&whole);
        let parts = Parts::new(&whole, Model::Predicate);
        let mut kept = parts.whole();
        kept.txns.retain(|_| chance.below(3) > 0);
        kept.keys.iter_mut().for_each(|key| *key = chance.below(4) > 0);
        for part in [parts.compact(&kept).unwrap(), parts.masked(&kept).unwrap()] {
            for (level, verdict) in judge_built(&part).verdicts {
                let proved = matches!(report.verdict(level), Verdict::Proved { .. });
                let guilty = matches!(verdict, Verdict::Refuted(_));
                assert!(!(proved && guilty), "{}: {kept:?} of {whole:?}", level.name());
                innocent += u64::from(proved);
            }
        }
    }
    assert!(innocent > 3000, "{innocent}");
}

/// Claim: as above, at length.
#[test]
#[ignore = "minutes; the nightly run asks for it, slice by slice"]
fn very_many_random_rows_are_judged_as_defined() {
    let (seed, count) = Slice::asked().of_random(12, 1_000_000);
    compare(seed, count, 0).settled(decided);
    let (seed, count) = Slice::asked().of_random(15, 1_000_000);
    compare(seed, count, 20);
}

/// Claim: a phantom refutes serializability and not repeatable read, by its name and in words; without it nothing is refuted.
#[test]
fn a_phantom_is_named() {
    let text = |second: &str| {
        format!(
            "{{:process 0 :type :invoke :f :txn :value [[:scan 0 9 nil] [:insert 1 5]]}}
            {{:process 1 :type :invoke :f :txn :value [[:scan 0 9 nil] [:insert 2 6]]}}
            {{:process 0 :type :ok :f :txn :value [[:scan 0 9 {{}}] [:insert 1 5]]}}
            {{:process 1 :type :ok :f :txn :value [[:scan 0 9 {second}] [:insert 2 6]]}}"
        )
    };
    let report = |second: &str| {
        let history = read(text(second).as_bytes(), Model::Predicate).unwrap();
        let go_on = || false;
        check(&history, Model::Predicate, &Options::default(), &mut Budget::new(&go_on, 1 << 30))
    };
    let phantom = report("{}");
    let names: Vec<String> = phantom.findings.iter().map(|finding| finding.anomaly.name()).collect();
    assert_eq!(names, ["G2-predicate"]);
    assert!(phantom.findings[0].witness.words.contains("T0 did not see T1 insert row 2"), "{phantom:?}");
    let level = |name| Level::named(name).unwrap();
    assert!(matches!(phantom.verdict(level("repeatable-read")), Verdict::Proved { .. }));
    assert!(matches!(phantom.verdict(level("strong-snapshot-isolation")), Verdict::Proved { .. }));
    let refuted: Vec<&str> = phantom.minimal_refuted().into_iter().map(Level::name).collect();
    assert_eq!(refuted, ["update-serializable"]);
    let fine = report("{1 5}");
    assert!(fine.findings.is_empty() && fine.minimal_refuted().is_empty(), "{fine:?}");
}
