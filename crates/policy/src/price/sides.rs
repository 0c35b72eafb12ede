//! What each side of a partition can do, by how many replicas of a shard it reaches.

use crate::ask::{Consistency, spell_time};
use crate::decide::{Decision, backups};
use crate::mechanism::{Mechanism, PrimaryMode, Rmw, majority};
use crate::plan::{Service, Side};

/// All kinds of sides, the most able before.
pub(crate) fn sides(d: &Decision) -> Vec<Side> {
    let n = d.mechanism.copies();
    if n == 1 {
        return vec![side(1, 1, n, Service::Kept, Service::Kept, ""), nobody(n)];
    }
    match d.mechanism {
        Mechanism::Raft { .. } => raft(d, n),
        Mechanism::Abd { .. } | Mechanism::Paxos { .. } => vec![
            side(majority(n), n, n, Service::Kept, Service::Kept, ""),
            side(0, majority(n) - 1, n, Service::Refused, Service::Refused, ""),
        ],
        Mechanism::Quorum { sloppy: true, w, r, .. } => vec![sloppy(n, w, r)],
        Mechanism::Quorum { .. } => quorum(d, n),
        Mechanism::Primary { mode, .. } => primary(d, n, mode),
    }
}

fn side(least: u8, most: u8, n: u8, writes: Service, reads: Service, note: &str) -> Side {
    let copies = |k: u8| if k == 1 { "1 replica".to_string() } else { format!("{k} replicas") };
    let who = match (least, most) {
        (0, 0) => "reaches no replica".into(),
        (1, 1) if n == 1 => "reaches the replica".into(),
        (_, most) if most == n && least == n => format!("reaches all {}", copies(n)),
        (_, most) if most == n => format!("reaches {least} or more of {}", copies(n)),
        (0, _) => format!("reaches {most} of {} or fewer", copies(n)),
        (least, most) if least == most => format!("reaches {least} of {}", copies(n)),
        (least, most) => format!("reaches {least} to {most} of {}", copies(n)),
    };
    Side { who, least, most, only_one: false, writes, reads, note: note.into() }
}

fn nobody(n: u8) -> Side {
    side(0, 0, n, Service::Refused, Service::Refused, "")
}

/// What a read gets on a side that has data and cannot know whether they are the newest.
fn cut_off(d: &Decision) -> (Service, String) {
    let reads = if d.promise.recent() { Service::Weaker } else { Service::Kept };
    let note = match (d.staleness, d.promise) {
        (Some(bound), _) => format!("reads end before the side has been cut off for {}", spell_time(bound)),
        (None, Consistency::Sequential | Consistency::Causal) => {
            "for sessions whose position its replicas have; others wait to their deadline, and may go to \
             another node"
                .into()
        }
        (None, _) => String::new(),
    };
    (reads, note)
}

fn raft(d: &Decision, n: u8) -> Vec<Side> {
    let most = majority(n);
    let (reads, note) = cut_off(d);
    let elect = "after an election, if the leader is on the other side";
    vec![
        side(most, n, n, Service::Kept, Service::Kept, elect),
        side(1, most - 1, n, Service::Refused, reads, &note),
        nobody(n),
    ]
}

fn sloppy(n: u8, w: u8, r: u8) -> Side {
    let who = format!("reaches {} or more nodes, whichever they are", w.max(r));
    let note = "hints on nodes without a copy stand in for replicas; a read may miss all that the other \
                side wrote, and, where it reaches no replica, all but what this side wrote"
        .into();
    let kept = Service::Kept;
    Side { who, least: 0, most: n, only_one: false, writes: kept, reads: kept, note }
}

fn quorum(d: &Decision, n: u8) -> Vec<Side> {
    let Mechanism::Quorum { r, rmw, .. } = d.mechanism else { return Vec::new() };
    let w = d.mechanism.write_quorum();
    let able = |enough: bool| if enough { Service::Kept } else { Service::Refused };
    let mut bounds = vec![0, w, r, n + 1];
    if rmw.serial() {
        bounds.push(majority(n));
    }
    bounds.sort_unstable();
    bounds.dedup();
    let ranges: Vec<(u8, u8)> = bounds.windows(2).map(|pair| (pair[0], pair[1] - 1)).collect();
    let sides = ranges.into_iter().rev().map(|(least, most)| {
        let mut notes = Vec::new();
        if d.promise == Consistency::Causal && least >= r {
            notes.push("for sessions that stay with replicas that hold what they wrote and saw");
        }
        if rmw == Rmw::Only && least >= w && least < majority(n) {
            notes.push("conditional writes are refused");
        }
        side(least, most, n, able(least >= w), able(least >= r), &notes.join("; "))
    });
    sides.collect()
}

fn primary(d: &Decision, n: u8, mode: PrimaryMode) -> Vec<Side> {
    let (reads, note) = cut_off(d);
    let (least, who) = match mode {
        PrimaryMode::Sync { min_in_sync } => (
            min_in_sync,
            format!("reaches the meta group's majority and {min_in_sync} or more in-sync replicas"),
        ),
        // With the primary it needs its backups; without it enough of them to find each confirmed write, and to confirm
        // the next.
        PrimaryMode::SemiSync { acks } => (
            acks + 1,
            format!(
                "reaches the meta group's majority, and the primary with {}, or {} backups \
                 without it",
                backups(acks),
                (n - acks).max(acks + 1)
            ),
        ),
        PrimaryMode::Async => (1, "reaches the meta group's majority and a replica".into()),
    };
    let after = match mode {
        PrimaryMode::Async => {
            "without the old primary a backup is promoted, and what it had not heard is lost"
        }
        _ => "after a promotion, if the primary is on the other side",
    };
    let main = Side {
        who,
        least,
        most: n,
        only_one: true,
        writes: Service::Kept,
        reads: Service::Kept,
        note: after.into(),
    };
    let mut other = side(1, n, n, Service::Refused, reads, &note);
    other.who = "any other side with a replica".into();
    vec![main, other, nobody(n)]
}
