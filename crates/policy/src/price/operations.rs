//! What each kind of operation waits for before its reply: round trips, and flushes one behind the other.

use crate::ask::{Consistency, Partitioning, spell_time};
use crate::decide::{Decision, said};
use crate::mechanism::{Mechanism, PrimaryMode, Rmw};
use crate::plan::{Operation, Span};

/// All that the space offers, and what it refuses.
pub(crate) fn operations(d: &Decision) -> Vec<Operation> {
    let mut all = match d.mechanism {
        Mechanism::Raft { n } => raft(d, n),
        Mechanism::Quorum { .. } => quorum(d),
        Mechanism::Abd { n } => abd(n),
        Mechanism::Paxos { n } => paxos(n),
        Mechanism::Primary { n, mode } => primary(d, n, mode),
    };
    if !matches!(d.mechanism, Mechanism::Raft { .. }) {
        all.push(refused("transaction", "transactions are built on raft spaces only"));
    }
    all
}

fn refused(what: &str, why: &str) -> Operation {
    let none = Span::always(0);
    Operation {
        what: what.into(),
        rounds: None,
        forwarded: false,
        flushes: none,
        disks: 0,
        waits_for: why.into(),
    }
}

/// An operation that writes, and waits for the flush of those that must have it.
fn write(what: &str, rounds: Span, flushes: Span, disks: u8, waits_for: impl Into<String>) -> Operation {
    Operation {
        what: what.into(),
        rounds: Some(rounds),
        forwarded: true,
        flushes,
        disks,
        waits_for: waits_for.into(),
    }
}

/// An operation that only reads.
fn read(what: &str, rounds: Span, forwarded: bool, waits_for: impl Into<String>) -> Operation {
    let (what, waits_for) = (what.into(), waits_for.into());
    Operation { what, rounds: Some(rounds), forwarded, flushes: Span::always(0), disks: 0, waits_for }
}

/// One round trip, unless there is nobody else.
const fn round(others: bool) -> Span {
    Span::always(others as u8)
}

const ONE: Span = Span::always(1);
/// A ballot: one round where the same proposer goes on, two where another one takes over.
const BALLOT: Span = Span { usual: 1, worst: 2 };

fn raft(d: &Decision, n: u8) -> Vec<Operation> {
    let others = n > 1;
    let w = d.mechanism.write_quorum();
    let disks = if others { format!("{w} of {n} disks") } else { "its disk".into() };
    let mut all = vec![write("write, conditional or not", round(others), ONE, n, disks.clone())];
    let confirmed = if others {
        format!("word from {w} of {n} that the leader still leads")
    } else {
        "nobody: there is one copy".into()
    };
    all.push(read("read, linearizable", round(others), true, confirmed));
    if matches!(d.promise, Consistency::Sequential | Consistency::Causal) {
        all.push(session_read(d.promise));
    }
    all.push(old_read(d));
    if d.promise.implies(Consistency::Linearizable) {
        all.push(write("transaction in one shard", round(others), ONE, n, disks.clone()));
        if d.partition_by != Partitioning::None {
            let votes = format!("every shard's vote on {disks}, all at once");
            all.push(write("transaction over shards", round(others), ONE, n, votes));
            let rounds = Span::always(if others { 2 } else { 0 });
            let twice = "two reads of each shard, the second to see that nothing changed; the way to the \
                         leaders counts twice";
            all.push(read("read-only transaction over shards", rounds, true, twice));
        }
    }
    all
}

fn session_read(level: Consistency) -> Operation {
    let what = format!("read, {}", said(level));
    read(&what, Span::always(0), false, "the session's position at the asked replica, which it usually has")
}

/// A read that asks for less than the promise, or for no more than eventual.
fn old_read(d: &Decision) -> Operation {
    match d.staleness {
        Some(bound) => {
            let waits = format!(
                "nobody, where the replica knows that it lags less than {}; else the leader",
                spell_time(bound)
            );
            read("read, stale within the bound", Span::always(0), false, waits)
        }
        None => read("read, stale", Span::always(0), false, "nobody: what the asked replica has"),
    }
}

fn quorum(d: &Decision) -> Vec<Operation> {
    let Mechanism::Quorum { n, w, r, sloppy, rmw, .. } = d.mechanism else { return Vec::new() };
    let of = |k: u8, what: &str| match (k, sloppy) {
        (1, false) => format!("1 of {n} {what}"),
        (k, false) => format!("{k} of {n} {what}, the fastest"),
        (k, true) => format!("{k} {what}, those of other nodes included"),
    };
    let write_waits = of(w, "disks");
    let read_waits = of(r, if r == 1 { "replicas" } else { "answers" });
    let majority = format!("a ballot: {} of {n} disks", n / 2 + 1);
    let level = if d.promise == Consistency::Causal { "read, causal" } else { "read" };
    let mut all = Vec::new();
    if rmw == Rmw::Always {
        all.push(write("write, conditional or not", ballot(n), ballot_flushes(n), n, majority.clone()));
    } else {
        all.push(write("write", round(w > 1), ONE, n, write_waits.clone()));
        all.push(match rmw {
            Rmw::Only => write("conditional write", ballot(n), ballot_flushes(n), n, majority.clone()),
            Rmw::Unsafe => {
                let rounds = Span::always(u8::from(r > 1) + u8::from(w > 1));
                write(
                    "conditional write",
                    rounds,
                    ONE,
                    n,
                    "a read, then a write, with nothing that holds them together",
                )
            }
            _ => refused(
                "conditional write",
                "conditions and counters are refused (rmw=only or rmw=always brings them)",
            ),
        });
    }
    all.push(read(level, round(r > 1), true, read_waits));
    if rmw.serial() {
        let mut serial = read("read, serial", ballot(n), true, majority);
        (serial.flushes, serial.disks) = (ballot_flushes(n), n);
        all.push(serial);
    }
    all
}

const fn ballot(n: u8) -> Span {
    if n > 1 { BALLOT } else { Span::always(0) }
}

const fn ballot_flushes(n: u8) -> Span {
    if n > 1 { BALLOT } else { ONE }
}

fn abd(n: u8) -> Vec<Operation> {
    let others = n > 1;
    let most = n / 2 + 1;
    let two = if others { Span::always(2) } else { Span::always(0) };
    let once_or_twice = if others { BALLOT } else { Span::always(0) };
    let mut reading = read(
        "read, linearizable",
        once_or_twice,
        true,
        format!("{most} of {n} answers; where they differ, {most} of {n} disks besides"),
    );
    reading.flushes = Span { usual: 0, worst: u8::from(others) };
    reading.disks = if others { n } else { 0 };
    vec![
        write(
            "write",
            two,
            ONE,
            n,
            format!("the newest timestamp from {most} of {n}, then {most} of {n} disks"),
        ),
        refused("conditional write", "registers make no compare-and-set"),
        reading,
    ]
}

fn paxos(n: u8) -> Vec<Operation> {
    let majority = format!("a ballot: {} of {n} disks", n / 2 + 1);
    let mut reading = read("read, linearizable", ballot(n), true, majority.clone());
    (reading.flushes, reading.disks) = (ballot_flushes(n), n);
    vec![write("write, conditional or not", ballot(n), ballot_flushes(n), n, majority), reading]
}

fn primary(d: &Decision, n: u8, mode: PrimaryMode) -> Vec<Operation> {
    let others = n > 1;
    let (rounds, waits, confirmed) = match mode {
        _ if !others => (Span::always(0), "its disk".to_string(), "nobody: there is one copy".to_string()),
        PrimaryMode::Sync { min_in_sync } => (
            ONE,
            format!("the disks of all that are in sync, {min_in_sync} of {n} at least"),
            "word from an in-sync backup that the primary was not succeeded".to_string(),
        ),
        PrimaryMode::SemiSync { acks } => (
            ONE,
            format!("the primary's disk and those of the {acks} fastest of {} backups", n - 1),
            format!("word from {acks} of {} backups that the primary was not succeeded", n - 1),
        ),
        PrimaryMode::Async => (Span::always(0), "the primary's disk".to_string(), String::new()),
    };
    let mut all = vec![write("write, conditional or not", rounds, ONE, n, waits)];
    if !confirmed.is_empty() {
        all.push(read("read, linearizable", rounds, true, confirmed));
    }
    if matches!(d.promise, Consistency::Sequential | Consistency::Causal) {
        all.push(session_read(d.promise));
    }
    let mut old = old_read(d);
    if d.staleness.is_none() && others {
        old.waits_for = "nobody: what the asked replica has below the high watermark".into();
    }
    all.push(old);
    all
}
