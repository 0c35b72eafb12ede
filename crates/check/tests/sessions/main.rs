//! Claim: on small histories of reads and writes each level that knows sessions is refuted where its definition says so, by
//! enumeration of all orders, and proved elsewhere; and each core breaks the level alone.

#![allow(missing_docs, clippy::unwrap_used, clippy::format_push_string, clippy::type_complexity)]
#![allow(clippy::disallowed_methods, reason = "how many rounds are asked for is said by the environment")]

mod brute;

use brute::{Did, Op, Oracle};
use quorate_check::budget::Budget;
use quorate_check::history::History;
use quorate_check::read::read;
use quorate_check::sessions::{self, LEVELS, Level};
use quorate_check::value::Value;
use quorate_check::verdict::Verdict;
use std::fmt::Write;

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// One operation after the other, in the order given.
fn history(ops: &[Op]) -> History {
    let mut text = String::new();
    for op in ops {
        let (process, key) = (op.session, op.key);
        let (f, value) = match op.did {
            Did::Wrote(0) => ("write", "null".into()),
            Did::Wrote(value) => ("write", value.to_string()),
            Did::Read(0) => ("read", "null".into()),
            Did::Read(value) => ("read", value.to_string()),
        };
        let (given, end) = if f == "read" { ("null", &*value) } else { (&*value, &*value) };
        let kind = if op.lost { "info" } else { "ok" };
        let rest = format!("\"process\":{process},\"f\":\"{f}\",\"key\":{key}");
        let _ = writeln!(text, "{{\"type\":\"invoke\",{rest},\"value\":{given}}}");
        let _ = writeln!(text, "{{\"type\":\"{kind}\",{rest},\"value\":{end}}}");
    }
    read(text.as_bytes()).unwrap()
}

fn verdict(level: Level, history: &History) -> Verdict {
    let never = || false;
    let mut budget = Budget::new(&never, 1 << 30);
    sessions::judge(&[level], "register", Value::NIL, history, false, &mut budget)
        .unwrap()
        .swap_remove(0)
        .verdict
}

/// How many hold, how many do not, how many stay open.
type Counts = [[u64; 3]; 10];

fn compare(ops: &[Op], counts: &mut Counts) {
    let history = history(ops);
    let oracle = Oracle::new(ops);
    let mut refuted = Vec::new();
    for (place, level) in LEVELS.into_iter().enumerate() {
        let holds = oracle.holds(level);
        counts[place][usize::from(holds)] += 1;
        match verdict(level, &history) {
            Verdict::NotRefuted { .. } if level == Level::Convergence => assert!(holds, "{ops:#?}"),
            // Where values repeat one read may be explained by two writes, at two moments.
            Verdict::NotRefuted { .. } if level == Level::Cm => counts[place][2] += 1,
            Verdict::Proved { .. } => assert!(holds, "{level:?} was proved of {ops:#?}"),
            Verdict::Refuted(witness) => {
                assert!(!holds, "{level:?} was refuted of {ops:#?}: {}", witness.words);
                refuted.push(level);
                let core: Vec<Op> = witness.core.iter().map(|&place| ops[place as usize]).collect();
                assert!(!core.is_empty(), "{level:?} without a core: {ops:#?}");
                assert!(!Oracle::new(&core).holds(level), "{level:?}: the core {core:?} is innocent");
            }
            other => panic!("{level:?}: {other:?}"),
        }
    }
    for level in LEVELS {
        for implied in level.implies() {
            assert!(
                refuted.contains(&level) || !refuted.contains(implied),
                "{level:?} holds without {implied:?}: {ops:#?}"
            );
        }
    }
}

fn random(dice: &mut Dice, most: u64, repeats: bool) -> Vec<Op> {
    let (len, sessions, keys) = (2 + dice.below(most - 1), 1 + dice.below(3), 1 + dice.below(2));
    let mut ops: Vec<Op> = Vec::new();
    let mut names: Vec<u32> = (0..sessions as u32).collect();
    for place in 0..len {
        let session = dice.below(sessions) as usize;
        let value = if repeats { dice.below(3) as u32 } else { place as u32 + 1 };
        let did = if dice.below(5) < 2 { Did::Wrote(value) } else { Did::Read(0) };
        let lost = dice.below(10) == 0;
        ops.push(Op { session: names[session], key: dice.below(keys) as u32, did, lost });
        if lost {
            names[session] = ops.len() as u32 * 10;
        }
    }
    // A read returns what anyone ever wrote to its key, or nothing.
    for place in 0..ops.len() {
        if let Did::Read(_) = ops[place].did {
            let mut of_key: Vec<u32> = vec![0];
            of_key.extend(ops.iter().filter(|op| op.key == ops[place].key).filter_map(|op| match op.did {
                Did::Wrote(value) => Some(value),
                Did::Read(_) => None,
            }));
            ops[place].did = Did::Read(of_key[dice.below(of_key.len() as u64) as usize]);
        }
    }
    ops
}

#[test]
fn random_histories() {
    let mut counts = Counts::default();
    let rounds: u64 = std::env::var("ORACLE").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(600);
    for seed in 0..rounds {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x51ca);
        dice.below(1);
        let most = if seed % 4 == 0 { 6 } else { 5 };
        compare(&random(&mut dice, most, seed % 3 == 1), &mut counts);
    }
    for (level, [refuted, holds, open]) in LEVELS.iter().zip(counts) {
        println!("{level:?}: {holds} hold, {refuted} do not, {open} stay open");
        assert!(open < rounds / 50, "{level:?}: too much stays open");
        assert!(holds > 10 && (refuted > 10 || *level == Level::MonotonicWrites), "{level:?} is lopsided");
    }
}

/// Claim: the textbook's histories are told apart: each breaks its level and just keeps the weaker ones.
#[test]
fn each_level_is_told_from_its_neighbours() {
    let w = |session, key, value| Op { session, key, did: Did::Wrote(value), lost: false };
    let r = |session, key, value| Op { session, key, did: Did::Read(value), lost: false };
    // Each key alone is sequential; together they are not (store buffering).
    let buffered = [w(0, 0, 1), r(0, 1, 0), w(1, 1, 2), r(1, 0, 0)];
    // Two readers see two writes in different orders.
    let orders = [w(0, 0, 1), w(1, 0, 2), r(2, 0, 1), r(2, 0, 2), r(3, 0, 2), r(3, 0, 1)];
    // A reply is seen without what it replies to.
    let reply = [w(0, 0, 1), r(1, 0, 1), w(1, 1, 2), r(2, 1, 2), r(2, 0, 0)];
    // A session's second write is seen without its first.
    let skipped = [w(0, 0, 1), w(0, 1, 2), r(1, 1, 2), r(1, 0, 0)];
    let back = [w(0, 0, 1), r(1, 0, 1), r(1, 0, 0)];
    let own = [w(0, 0, 1), r(0, 0, 0)];
    let cases: [(&str, &[Op], &[Level], &[Level]); 6] = [
        ("buffered", &buffered, &[Level::Sequential], &[Level::Cm, Level::Ccv]),
        ("orders", &orders, &[Level::Sequential, Level::Ccv], &[Level::Cm, Level::Cc, Level::Pram]),
        ("reply", &reply, &[Level::Cc, Level::Cm, Level::Ccv], &[Level::Pram, Level::MonotonicReads]),
        ("skipped", &skipped, &[Level::Pram, Level::Cc], &[Level::MonotonicReads, Level::ReadYourWrites]),
        ("back", &back, &[Level::MonotonicReads, Level::Pram], &[Level::ReadYourWrites]),
        ("own", &own, &[Level::ReadYourWrites], &[Level::MonotonicReads, Level::WritesFollowReads]),
    ];
    for (name, ops, broken, kept) in cases {
        let history = history(ops);
        for level in broken {
            assert!(matches!(verdict(*level, &history), Verdict::Refuted(_)), "{name} keeps {level:?}");
        }
        for level in kept {
            assert!(matches!(verdict(*level, &history), Verdict::Proved { .. }), "{name} breaks {level:?}");
        }
    }
}

/// Claim: other models are judged as sequential, and for the rest it is said why not.
#[test]
fn any_model_is_judged_as_sequential() {
    let text = "0 :invoke :enqueue 1\n0 :ok :enqueue 1\n1 :invoke :dequeue nil\n1 :ok :dequeue nil\n";
    let queue = read(text.as_bytes()).unwrap();
    let never = || false;
    let judge = |level, history| {
        sessions::judge(&[level], "queue", Value::NIL, history, false, &mut Budget::new(&never, 1 << 30))
            .unwrap()
            .swap_remove(0)
            .verdict
    };
    assert!(matches!(judge(Level::Sequential, &queue), Verdict::Proved { .. }));
    let wrong = read(format!("{text}0 :invoke :dequeue nil\n0 :ok :dequeue 2\n").as_bytes()).unwrap();
    assert!(matches!(judge(Level::Sequential, &wrong), Verdict::Refuted(_)));
    assert!(matches!(judge(Level::Cc, &queue), Verdict::Unsupported { .. }));
}

/// Claim: where values repeat a level is proved by a choice of writes, and refuted where none is left, with a core.
#[test]
fn repeated_values_leave_a_choice() {
    let w = |session, key, value| Op { session, key, did: Did::Wrote(value), lost: false };
    let r = |session, key, value| Op { session, key, did: Did::Read(value), lost: false };
    // 1 is seen again after 2: it was written again.
    let again = [w(0, 0, 1), w(0, 0, 2), w(1, 0, 1), r(2, 0, 1), r(2, 0, 2), r(2, 0, 1)];
    for level in LEVELS {
        let found = verdict(level, &history(&again));
        let fine = matches!(found, Verdict::Proved { .. }) || level == Level::Convergence;
        assert!(fine, "{level:?}: {found:?}");
    }
    // The same by one session's writes, in an order that none of them has.
    let back = [w(0, 0, 1), w(0, 0, 1), w(0, 0, 2), r(1, 0, 2), r(1, 0, 1), r(2, 0, 1), w(2, 1, 3)];
    match verdict(Level::MonotonicReads, &history(&back)) {
        Verdict::Refuted(witness) => {
            assert_eq!(witness.core, [0, 1, 2, 3, 4], "{}", witness.words);
            assert!(witness.words.contains("whichever"), "{}", witness.words);
        }
        other => panic!("{other:?}"),
    }
    // What is not open is enough.
    let own = [w(0, 0, 1), w(1, 0, 1), r(1, 0, 1), w(0, 1, 5), r(0, 1, 0)];
    match verdict(Level::ReadYourWrites, &history(&own)) {
        Verdict::Refuted(witness) => assert_eq!(witness.core, [3, 4]),
        other => panic!("{other:?}"),
    }
}

/// Claim: what has no order is shrunk to a core of which nothing can be left out that may be.
#[test]
fn what_has_no_order_has_a_core() {
    let text = "0 :invoke :enqueue 1\n0 :ok :enqueue 1\n0 :invoke :enqueue 2\n0 :ok :enqueue 2\n\
        0 :invoke :enqueue 3\n0 :ok :enqueue 3\n1 :invoke :dequeue nil\n1 :ok :dequeue 2\n\
        1 :invoke :dequeue nil\n1 :ok :dequeue 3\n1 :invoke :dequeue nil\n1 :ok :dequeue 1\n";
    let queue = read(text.as_bytes()).unwrap();
    let never = || false;
    let mut budget = Budget::new(&never, 1 << 30);
    let found = sessions::judge(&[Level::Sequential], "queue", Value::NIL, &queue, false, &mut budget);
    match found.unwrap().swap_remove(0).verdict {
        // Of 1, 2 and 3 two are enough.
        Verdict::Refuted(witness) => assert_eq!(witness.core.len(), 4, "{}", witness.words),
        other => panic!("{other:?}"),
    }
    // A compare-and-set that nobody can have made possible, among much that is fine.
    let mut text = String::new();
    for value in 0..40 {
        let _ = writeln!(text, "0 :invoke :write {value}\n0 :ok :write {value}");
        let _ = writeln!(text, "1 :invoke :read nil\n1 :ok :read {value}");
    }
    text.push_str("2 :invoke :cas [39 50]\n2 :ok :cas [39 50]\n2 :invoke :cas [39 51]\n2 :ok :cas [39 51]\n");
    let cells = read(text.as_bytes()).unwrap();
    let mut budget = Budget::new(&never, 1 << 30);
    let found = sessions::judge(&[Level::Sequential], "cas-register", Value::NIL, &cells, false, &mut budget);
    match found.unwrap().swap_remove(0).verdict {
        Verdict::Refuted(witness) => {
            // One write of 39 is not enough for two.
            assert_eq!(witness.core.len(), 3, "{}", witness.words);
            assert!(witness.words.contains("cas [39 51]"), "{}", witness.words);
        }
        other => panic!("{other:?}"),
    }
}

/// Claim: of repeated values no list is kept for each read, and levels that nobody asks for cost nothing: 2,000 writes and reads of one value fit in 2 MB.
#[test]
fn repeated_values_need_no_square() {
    let ops: Vec<Op> = (0..4_000)
        .map(|place| Op {
            session: place % 2,
            key: 0,
            did: if place % 2 == 0 { Did::Wrote(1) } else { Did::Read(1) },
            lost: false,
        })
        .collect();
    let history = history(&ops);
    let never = || false;
    let mut budget = Budget::new(&never, 2 << 20);
    let found = sessions::judge(&LEVELS, "register", Value::NIL, &history, false, &mut budget).unwrap();
    let spent = |found: &sessions::Found| matches!(found.verdict, Verdict::Unknown { .. });
    assert!(!found.iter().any(|found| found.level == Level::MonotonicReads && spent(found)), "{found:?}");
    let mut budget = Budget::new(&never, 1);
    let found = sessions::judge(&[], "register", Value::NIL, &history, true, &mut budget).unwrap();
    assert!(found.is_empty());
    let mut budget = Budget::new(&never, 1);
    let found = sessions::judge(&LEVELS, "register", Value::NIL, &history, false, &mut budget).unwrap();
    assert!(found.iter().all(spent), "{found:?}");
}
