//! Each anomaly by a history that shows it and one that just avoids it.
//!
//! Histories are written short: transactions are divided by `;` and are all concurrent, `|` ends all before it before the next
//! begins; but one that begins with `~` lasts to the end. `0: ` before a transaction names its process, `!` says that it failed, `?` that its end is unknown. A
//! micro-operation is `ax1` (append 1 to x), `wx1` (write), `rx12` (the list [1 2], or the value 2 of a register), `rx` (read
//! the empty list, or nil).

use quorate_check::budget::Budget;
use quorate_check::history::Outcome;
use quorate_check::txn::history::{Builder, Element, History};
use quorate_check::txn::levels::Level;
use quorate_check::txn::registers::Assume;
use quorate_check::txn::{Model, Options, Report, check};
use quorate_check::verdict::Verdict;
use std::fmt::Write;

fn history(text: &str, registers: bool) -> History {
    let mut builder = Builder::new();
    let mut unnamed = 100;
    let mut late = Vec::new();
    for part in text.split('|') {
        let mut ends = Vec::new();
        for txn in part.split(';') {
            let txn = txn.trim();
            let (process, txn) = match txn.split_once(": ") {
                Some((process, txn)) => (process.parse().unwrap(), txn),
                None => (unnamed, txn),
            };
            unnamed += 1;
            let (lasts, txn) = txn.strip_prefix('~').map_or((false, txn), |txn| (true, txn));
            let (outcome, txn) = match txn.as_bytes()[0] {
                b'!' => (Outcome::Fail, &txn[1..]),
                b'?' => (Outcome::Info, &txn[1..]),
                _ => (Outcome::Ok, txn),
            };
            let process = builder.int(process);
            micros(&mut builder, txn, registers);
            builder.invoke(process).unwrap();
            let to = if lasts { &mut late } else { &mut ends };
            to.push((process, outcome, txn));
        }
        for (process, outcome, txn) in ends {
            micros(&mut builder, txn, registers);
            builder.complete(process, outcome).unwrap();
        }
    }
    for (process, outcome, txn) in late {
        micros(&mut builder, txn, registers);
        builder.complete(process, outcome).unwrap();
    }
    builder.finish().unwrap()
}

fn micros(builder: &mut Builder, txn: &str, registers: bool) {
    for micro in txn.split(' ').filter(|micro| !micro.is_empty()) {
        let bytes = micro.as_bytes();
        let key = builder.int(i64::from(bytes[1]));
        let elements: Vec<Element> =
            bytes[2..].iter().map(|byte| builder.int(i64::from(byte - b'0'))).collect();
        match (bytes[0], registers) {
            (b'a', _) => builder.append(key, elements[0]),
            (b'w', _) => builder.write(key, elements[0]),
            (_, true) => builder.read(key, elements.last().copied().unwrap_or(Element::NIL)),
            (_, false) => builder.list(key, &elements),
        }
    }
}

fn judge_with(text: &str, options: &Options) -> Report {
    let registers = text.contains('w');
    let model = if registers { Model::RwRegister } else { Model::ListAppend };
    let go_on = || false;
    check(&history(text, registers), model, options, &mut Budget::new(&go_on, 1 << 30))
}

fn judge(text: &str) -> Report {
    judge_with(text, &Options::default())
}

fn names(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| finding.anomaly.name()).collect()
}

fn minimal(report: &Report) -> Vec<&'static str> {
    report.minimal_refuted().into_iter().map(Level::name).collect()
}

/// The name, a history that shows it, the least levels that this refutes, and one that just avoids it.
const CASES: &[(&str, &str, &[&str], &str)] = &[
    ("duplicate-elements", "ax1 | rx11", &["read-uncommitted"], "ax1 | rx1"),
    ("garbage-read", "ax1 | rx12", &["read-committed"], "ax1 ; ax2 | rx12"),
    ("incompatible-order", "ax1 ; ax2 | rx12 ; rx21", &["read-committed"], "ax1 ; ax2 | rx12 ; rx12"),
    ("G1a", "!ax1 | rx1", &["read-committed"], "?ax1 | rx1"),
    ("G1b", "ax1 ax2 ; rx1 | rx12", &["read-committed"], "ax1 ax2 ; rx12"),
    ("dirty-update", "!ax1 ; ax2 | rx12", &["read-committed"], "?ax1 ; ax2 | rx12"),
    ("internal", "ax1 rx", &["read-atomic"], "ax1 rx1"),
    ("future-read", "rx1 ax1", &["read-atomic"], "rx ax1 rx1"),
    ("lost-update", "rx ax1 ; rx ax2 | rx12", &["cursor-stability"], "rx ax1 ; rx1 ax2 | rx12"),
    ("lost-append", "ax1 | rx", &["strong-PSI", "strong-prefix"], "ax1 ; rx"),
    ("OTV", "ax1 ay1 ; rx1 ry | ry1", &["monotonic-atomic-view"], "ax1 ay1 ; ry rx1 | ry1"),
    (
        "fractured-read",
        "ax1 ay1 ; ry rx1 | ry1",
        &["read-atomic", "consistent-view", "repeatable-read"],
        "ax1 ; ay1 ; ry rx1 | ry1",
    ),
    (
        "causal-violation",
        "ax1 ; rx1 ay1 ; ry1 rx | rx1",
        &["consistent-view", "repeatable-read", "prefix", "causal"],
        "ax1 ; rx1 ay1 ; ry1 rx1",
    ),
    ("G0", "ax1 ay1 ; ax2 ay2 | rx12 ; ry21", &["read-uncommitted"], "ax1 ay1 ; ax2 ay2 | rx12 ; ry12"),
    ("G1c", "ax1 ry1 ; ay1 rx1", &["read-committed"], "ax1 ry1 ; ay1 rx"),
    (
        "G-single",
        "ax1 ; rx1 ay1 ; ry1 rx | rx1",
        &["consistent-view", "repeatable-read", "prefix", "causal"],
        "ax1 ; rx1 ay1 ; ry rx",
    ),
    (
        "G-nonadjacent",
        "ax1 ; ay1 ; rx1 ry ; rx ry1 | rx1 ry1",
        &["repeatable-read", "prefix"],
        "ax1 ; ay1 ; rx1 ry ; rx1 ry1",
    ),
    (
        "G2-item",
        "rx ay1 ; ry ax1 | rx1 ry1",
        &["update-serializable", "repeatable-read"],
        "rx ay1 ; ry1 ax1 | rx1 ry1",
    ),
    ("G0-process", "0: ax1 | 0: ax2 | rx21", &["strong-session-read-committed"], "0: ax1 | 1: ax2 | rx21"),
    ("G0-realtime", "0: ax1 | 1: ax2 | rx21", &["strong-read-committed"], "0: ax1 ; 1: ax2 | rx21"),
    (
        "G1c-process",
        "0: rx1 | 0: ay1 ; ry1 ax1",
        &["strong-session-read-committed"],
        "1: rx1 | 0: ay1 ; ry1 ax1",
    ),
    ("G1c-realtime", "0: rx1 | 1: ay1 ; ry1 ax1", &["strong-read-committed"], "0: rx1 ; 1: ay1 ; ry1 ax1"),
    ("G-single-process", "0: ax1 | 0: rx | rx1", &["causal"], "0: ax1 | 1: rx ; rx1"),
    ("G-single-realtime", "0: ax1 | 1: rx | rx1", &["strong-PSI", "strong-prefix"], "0: ax1 ; 1: rx | rx1"),
    (
        "G-nonadjacent-process",
        "0: ax1 ; 1: ay1 | 0: ry ; 1: rx | rx1 ry1",
        &["strong-session-prefix", "strong-PSI"],
        "0: ax1 ; 1: ay1 ; 2: ry ; 3: rx | rx1 ry1",
    ),
    ("G2-item-realtime", "~rx ay1 ; ax1 | ry", &["strict-serializable"], "~rx ay1 ; ax1 ; ry"),
];

/// Claim: each anomaly is found by its name where it is shown, and not where it is just avoided.
#[test]
fn each_is_shown_and_just_avoided() {
    let mut wrong = Vec::new();
    for (name, shown, refuted, avoided) in CASES {
        let report = judge(shown);
        let found = names(&report);
        if !found.iter().any(|found| found == name) || minimal(&report) != *refuted {
            wrong.push(format!("{name} in {shown:?}: {found:?}, refuted {:?}", minimal(&report)));
        }
        let avoids = names(&judge(avoided));
        if avoids.iter().any(|found| found == name) {
            wrong.push(format!("{name} in {avoided:?}: {avoids:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Claim: a witness names its transactions and says in words why they cannot be ordered.
#[test]
fn a_cycle_is_told_in_words() {
    let report = judge("0: rx ay1 ; 1: ry ax1 | rx1 ry1");
    let finding = report.findings.iter().find(|finding| finding.anomaly.name() == "G2-item").unwrap();
    assert_eq!(finding.witness.core, [0, 1]);
    for part in [
        "T0 = process 0: read 120 as [], append 1 to 121",
        "T0 comes before T1: T0 read key 120 and did not see T1 append 1",
        "but T1 comes before T0: T1 read key 121 and did not see T0 append 1: a contradiction",
    ] {
        assert!(finding.witness.words.contains(part), "{}", finding.witness.words);
    }
}

/// Claim: two transactions that read one version of a register and write it lose an update; a chain is proved.
#[test]
fn registers_are_chained() {
    let lost = judge("wx1 | rx1 wx2 ; rx1 wx3");
    assert!(names(&lost).contains(&"lost-update".to_owned()));
    assert_eq!(minimal(&lost), ["cursor-stability"]);
    let chain = judge("rx wx1 | rx1 wx2 ; rx1 | rx2 wx3");
    assert_eq!(chain.minimal_refuted(), []);
    assert!(chain.verdicts.iter().all(|(_, verdict)| matches!(verdict, Verdict::Proved { .. })), "{chain:?}");
}

/// Claim: a snapshot that misses what was over before it began refutes strong snapshot isolation, and one that misses what its own
/// session wrote strong session snapshot isolation, also where only the search knows in which order things were written.
#[test]
fn search_knows_what_was_over() {
    let complete = Options { complete: true, ..Options::default() };
    for (text, level, holds) in [
        ("wx1 | wx2 | rx1", "strong-snapshot-isolation", false),
        ("wx1 | wx2 ; rx1", "strong-snapshot-isolation", true),
        ("0: wx1 | 0: wx2 | 0: rx1", "strong-session-snapshot-isolation", false),
        ("0: wx1 | 0: wx2 | 1: rx1", "strong-session-snapshot-isolation", true),
    ] {
        let report = judge_with(text, &complete);
        let verdict = report.verdict(Level::named(level).unwrap());
        let said = match verdict {
            Verdict::Proved { .. } => true,
            Verdict::Refuted(_) => false,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(said, holds, "{text}: {verdict:?}");
    }
}

/// Claim: what inference leaves open is settled by search, both ways.
#[test]
fn search_settles_registers() {
    let complete = Options { complete: true, ..Options::default() };
    // Two readers see two blind writes in opposite orders, each with a second key to tell: no order of x does.
    let crossed = "wx1 wy1 ; wx2 wy2 | rx1 ry2";
    let open = judge(crossed);
    let level = Level::named("serializable").unwrap();
    assert!(!matches!(open.verdict(level), Verdict::Proved { .. }));
    let crossed = judge_with(crossed, &complete);
    assert!(matches!(crossed.verdict(level), Verdict::Refuted(_)));
    // Without predicates repeatable read is the same; snapshot isolation is a question of its own, and answered.
    // Of either order of x one reader overlooks a write whose writer overlooked its own.
    let repeatable = Level::named("repeatable-read").unwrap();
    assert!(matches!(crossed.verdict(repeatable), Verdict::Refuted(_)), "{:?}", crossed.verdict(repeatable));
    let skew = judge_with("wx1 rm ; wx2 rk ; rx1 wk1 ; rx2 wm1", &complete);
    for (level, refuted) in [("serializable", true), ("repeatable-read", true), ("snapshot-isolation", false)]
    {
        let verdict = skew.verdict(Level::named(level).unwrap());
        assert_eq!(matches!(verdict, Verdict::Refuted(_)), refuted, "{level}: {verdict:?}");
        assert_eq!(matches!(verdict, Verdict::Proved { .. }), !refuted, "{level}: {verdict:?}");
    }
    let fine = judge_with("wx1 wy1 ; wx2 wy2 | rx2 ry2", &complete);
    let weaker = Level::all().filter(|weaker| level.includes(*weaker));
    for weaker in weaker {
        assert!(matches!(fine.verdict(weaker), Verdict::Proved { .. }), "{}", weaker.name());
    }
    let strict = Level::named("strict-serializable").unwrap();
    let stale = judge_with("wx1 | wx2 | rx1", &complete);
    assert!(
        matches!(stale.verdict(strict), Verdict::Refuted(_))
            && matches!(stale.verdict(level), Verdict::Proved { .. })
    );
}

/// Claim: an assumed order refutes what cannot be refuted without it, and the report repeats the assumption.
#[test]
fn assumptions_are_explicit() {
    let stale = "0: wx1 | 1: wx2 | 2: rx1 wy1 | 3: ry1 rx2";
    let level = Level::named("strict-serializable").unwrap();
    assert!(!matches!(judge(stale).verdict(level), Verdict::Refuted(_)));
    let assuming = |assume| judge_with(stale, &Options { assume: vec![assume], ..Options::default() });
    let linearizable = assuming(Assume::LinearizableKeys);
    assert!(matches!(linearizable.verdict(level), Verdict::Refuted(_)), "{:?}", names(&linearizable));
    // Here the assumption itself is false: it is said, what implies it is refuted, and of the rest nothing follows from it.
    assert!(
        linearizable.notes[0].contains("the assumption linearizable-keys is refuted: it would put versions")
    );
    let uncommitted = Level::named("read-uncommitted").unwrap();
    assert!(!matches!(linearizable.verdict(uncommitted), Verdict::Refuted(_)), "{:?}", names(&linearizable));
    let sequential = assuming(Assume::SequentialKeys);
    assert!(!matches!(sequential.verdict(level), Verdict::Refuted(_)), "no process met two versions");
    // Process 2 met 2 before 1, so 1 is later; process 3 then saw the reverse in two keys at once.
    let session = "0: wx1 ; 1: wx2 | 2: rx2 | 2: rx1 | 3: rx1 wy1 | 4: ry1 rx2";
    let serializable = Level::named("serializable").unwrap();
    assert!(!matches!(judge(session).verdict(serializable), Verdict::Refuted(_)));
    let report = judge_with(session, &Options { assume: vec![Assume::SequentialKeys], ..Options::default() });
    assert!(report.notes[0].contains("assumed"));
    assert!(matches!(report.verdict(serializable), Verdict::Refuted(_)), "{:?}", names(&report));
}

/// Claim: where edges are left out nothing is proved by what is left. Forty appends are read by nobody; one of them is missed by who
/// saw what came of it, by two steps.
#[test]
fn what_is_left_out_proves_nothing() {
    let mut text = String::new();
    // A semicolon divides transactions.
    for at in (0..40).filter(|at| b'0' + at != b';') {
        let saw = if at == 35 { " ay1" } else { "" };
        let _ = write!(text, "ax{}{saw} ; ", char::from(b'0' + at));
    }
    text += "ry1 az1 ; rz1 rx";
    let report = judge(&text);
    for level in ["serializable", "causal", "parallel-snapshot-isolation"] {
        let verdict = report.verdict(Level::named(level).unwrap());
        assert!(!matches!(verdict, Verdict::Proved { .. }), "{level}: {verdict:?}");
    }
}

/// Claim: a pattern is looked for in every component, however many others had none of it.
#[test]
fn the_last_of_many_cycles_is_found() {
    let mut builder = Builder::new();
    let mut ends: Vec<(u32, Vec<(bool, u32)>)> = Vec::new();
    // Write skews on keys of their own, and three that know of each other in a circle.
    for pair in 0..5_200 {
        let (x, y) = (pair * 2, pair * 2 + 1);
        ends.push((x, vec![(false, x), (true, y)]));
        ends.push((y, vec![(false, y), (true, x)]));
    }
    let ring = [20_000, 20_001, 20_002];
    ends.extend(ring.iter().map(|&one| (one, vec![(true, one)])));
    for &(process, _) in &ends {
        let process = builder.int(process.into());
        builder.invoke(process).unwrap();
    }
    for (process, ops) in ends {
        for (appends, key) in ops {
            let (name, one) = (builder.int(key.into()), builder.int(1));
            if appends { builder.append(name, one) } else { builder.list(name, &[]) }
        }
        if let Some(at) = ring.iter().position(|&one| one == process) {
            let (next, one) = (builder.int(ring[(at + 1) % 3].into()), builder.int(1));
            builder.list(next, &[one]);
        }
        let process = builder.int(process.into());
        builder.complete(process, Outcome::Ok).unwrap();
    }
    let go_on = || false;
    let mut budget = Budget::new(&go_on, 1 << 30);
    let report = check(&builder.finish().unwrap(), Model::ListAppend, &Options::default(), &mut budget);
    assert_eq!(minimal(&report), ["read-committed"], "{:?}", names(&report));
}
