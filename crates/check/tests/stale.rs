//! Claim: staleness is the smallest shift, and the smallest number of versions, under which a search finds an order.

#![allow(missing_docs, clippy::unwrap_used, clippy::format_push_string, clippy::type_complexity)]

use quorate_check::history::History;
use quorate_check::read::read;
use quorate_check::stale::{Staleness, staleness};
use quorate_check::value::Value;
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

/// Wrote a value above 0, or read one; begin and end.
type Op = (bool, u32, i64, i64);

fn history(ops: &[Op], version: bool) -> History {
    let mut text = String::new();
    for (process, &(wrote, value, start, end)) in ops.iter().enumerate() {
        let shown = if value == 0 { "null".into() } else { value.to_string() };
        let version = if version && wrote { format!(",\"version\":{value}") } else { String::new() };
        let what = if wrote {
            format!("\"f\":\"write\",\"value\":{shown}")
        } else {
            format!("\"f\":\"read\",\"result\":{shown}")
        };
        let _ = writeln!(text, "{{\"process\":{process},{what},\"start\":{start},\"end\":{end}{version}}}");
    }
    read(text.as_bytes()).unwrap()
}

/// Some order keeps real time, with reads that begin so much earlier, and each returns one of the k newest.
fn fits(ops: &[Op], shift: i64, k: usize, placed: u32, writes: &[u32], given: bool) -> bool {
    if placed == (1 << ops.len()) - 1 {
        return true;
    }
    let begin = |op: &Op| if op.0 { op.2 } else { op.2 - shift };
    (0..ops.len()).filter(|&place| placed & 1 << place == 0).any(|place| {
        let op = &ops[place];
        if (0..ops.len()).any(|other| placed & 1 << other == 0 && ops[other].3 < begin(op)) {
            return false;
        }
        if op.0 {
            // Values are versions where the order is given.
            if given && writes.iter().any(|&before| before > op.1) {
                return false;
            }
            return fits(ops, shift, k, placed | 1 << place, &[writes, &[op.1]].concat(), given);
        }
        let newest: Vec<u32> = [0].iter().chain(writes).rev().take(k).copied().collect();
        newest.contains(&op.1) && fits(ops, shift, k, placed | 1 << place, writes, given)
    })
}

#[test]
fn random_histories() {
    let (mut stale, mut measured) = (0, 0);
    for seed in 1..3000u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let len = 2 + dice.below(5);
        let mut ops: Vec<Op> = Vec::new();
        for place in 0..len {
            let start = dice.below(12) as i64;
            let wrote = place == 0 || dice.below(2) == 0;
            ops.push((wrote, place as u32 + 1, start, start + 1 + dice.below(4) as i64));
        }
        let written: Vec<u32> = ops.iter().filter(|op| op.0).map(|op| op.1).chain([0]).collect();
        for op in ops.iter_mut().filter(|op| !op.0) {
            op.1 = written[dice.below(written.len() as u64) as usize];
        }
        let future =
            ops.iter().any(|read| !read.0 && ops.iter().any(|it| it.0 && it.1 == read.1 && read.3 < it.2));
        let Ok(found) = staleness(&history(&ops, false), Value::NIL) else {
            assert!(future, "{ops:?}");
            continue;
        };
        assert!(!future, "{ops:?}");
        let time = (0..).find(|&shift| fits(&ops, shift, 1, 0, &[], false)).unwrap();
        let k = (1..).find(|&k| fits(&ops, 0, k, 0, &[], false)).unwrap() as u32;
        assert_eq!(found.time, Some(time), "{ops:?}");
        assert!(found.least <= k && k <= found.most && !found.ordered, "{found:?}, but {k}: {ops:?}");
        assert_eq!(k == 1, found.most == 1, "{found:?}, but {k}: {ops:?}");
        stale += u32::from(k > 1);
        // The order of the values, where real time allows it.
        if fits(&ops, 0, 9, 0, &[], true) {
            measured += 1;
            let k = (1..).find(|&k| fits(&ops, 0, k, 0, &[], true)).unwrap() as u32;
            let found = staleness(&history(&ops, true), Value::NIL).unwrap();
            assert_eq!((found.least, found.most, found.ordered), (k, k, true), "{ops:?}");
        }
    }
    println!("{stale} stale, {measured} with an order");
    assert!(stale > 300 && measured > 300);
}

#[test]
fn in_words_of_one_case() {
    // 1 is overwritten by 2 and 3, and read 7 after the first of them was over.
    let ops = [(true, 1, 0, 1), (true, 2, 2, 3), (true, 3, 4, 5), (false, 1, 10, 11)];
    let wanted = Staleness { time: Some(7), least: 3, most: 3, ordered: false };
    assert_eq!(staleness(&history(&ops, false), Value::NIL), Ok(wanted));
}
