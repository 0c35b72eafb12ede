//! Claim: versions by order are the smallest number under which a search finds an order of the reads.

#![allow(missing_docs, clippy::unwrap_used, clippy::format_push_string, clippy::type_complexity)]

use quorate_check::history::History;
use quorate_check::read::read;
use quorate_check::value::Value;
use quorate_check::versions::by_order;
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

fn history(ops: &[Op]) -> History {
    let mut text = String::new();
    for (process, &(wrote, value, start, end)) in ops.iter().enumerate() {
        let shown = if value == 0 { "null".into() } else { value.to_string() };
        let version = if wrote { format!(",\"version\":{value}") } else { String::new() };
        let what = if wrote {
            format!("\"f\":\"write\",\"value\":{shown}")
        } else {
            format!("\"f\":\"read\",\"result\":{shown}")
        };
        let _ = writeln!(text, "{{\"process\":{process},{what},\"start\":{start},\"end\":{end}{version}}}");
    }
    read(text.as_bytes()).unwrap()
}

/// Some order keeps real time, and each returns one of the k newest.
fn fits(ops: &[Op], k: usize, placed: u32, writes: &[u32]) -> bool {
    if placed == (1 << ops.len()) - 1 {
        return true;
    }
    (0..ops.len()).filter(|&place| placed & 1 << place == 0).any(|place| {
        let op = &ops[place];
        if (0..ops.len()).any(|other| placed & 1 << other == 0 && ops[other].3 < op.2) {
            return false;
        }
        if op.0 {
            // Values are versions.
            if writes.iter().any(|&before| before > op.1) {
                return false;
            }
            return fits(ops, k, placed | 1 << place, &[writes, &[op.1]].concat());
        }
        let newest: Vec<u32> = [0].iter().chain(writes).rev().take(k).copied().collect();
        newest.contains(&op.1) && fits(ops, k, placed | 1 << place, writes)
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
        // An order that breaks real time is none.
        let Some(k) = (1..9).find(|&k| fits(&ops, k, 0, &[])) else { continue };
        measured += 1;
        stale += u32::from(k > 1);
        assert_eq!(by_order(&history(&ops), Value::NIL), Ok(k as u32), "{ops:?}");
    }
    println!("{measured} with an order, {stale} of them stale");
    assert!(stale > 300 && measured > 600, "{measured} {stale}");
}

#[test]
fn in_words_of_one_case() {
    // 1 is overwritten by 2 and 3 before it is read.
    let ops = [(true, 1, 0, 1), (true, 2, 2, 3), (true, 3, 4, 5), (false, 1, 10, 11)];
    assert_eq!(by_order(&history(&ops), Value::NIL), Ok(3));
    let bare = read(b"0 :invoke :write 1\n0 :ok :write 1\n").unwrap();
    assert_eq!(by_order(&bare, Value::NIL).unwrap_err(), "process 0: write 1 (line 1) carries no version");
}
