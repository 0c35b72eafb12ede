//! A follower that takes a snapshot in while writes go on, both at a steady pace.

use crate::cluster::{Cluster, Options, n};
use quorate_protocol::raft::{Input, Message};

/// Each round one entry is committed, and one chunk or one message with entries arrives at the follower.
fn round(c: &mut Cluster) {
    c.propose(n(1), "x");
    while let Some(at) = c.net.iter().position(|p| p.to == n(2) || p.from == n(2)) {
        c.deliver_at(at);
    }
    while let Some(at) = c.net.iter().position(|p| p.to == n(3)) {
        let large = matches!(c.net[at].message, Message::SnapshotChunk { .. } | Message::Append { .. });
        c.deliver_at(at);
        if large {
            break;
        }
    }
    while let Some(at) = c.net.iter().position(|p| p.from == n(3)) {
        c.deliver_at(at);
    }
}

/// A chunk has more bytes than an entry. What is written during the transfer is many times what the pin begins with.
#[test]
fn one_snapshot_is_enough_if_it_moves_faster_than_the_log_grows() {
    let mut options = Options { auto_compact: true, chunks: (200, 60), ..Options::default() };
    // More than the window: who is as far behind as that allows needs no snapshot.
    options.config.log_keep_bytes = 500;
    options.config.log_pin_bytes = 700;
    options.config.window_messages = 2;
    options.config.max_append_entries = 4;
    let mut c = Cluster::new(options, &[1, 2, 3], &[]);
    c.time_out(n(1));
    assert!(c.stabilize());
    c.isolate(n(3));
    for _ in 0..200 {
        c.propose(n(1), "missed");
        assert!(c.stabilize());
    }
    c.heal();
    c.trace = Some(Vec::new());
    c.step(n(1), Input::Unreachable { peer: n(3) });
    let mut most = 0;
    for _ in 0..400 {
        round(&mut c);
        most = most.max(c.raft(1).log_bytes());
    }
    c.verdict().unwrap();
    let trace = c.trace.take().unwrap_or_default();
    let seen = |what: &str| trace.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!((seen("n3 stores chunk 0 "), seen("n3 has installed")), (1, 1));
    let (leader, matched) = (c.raft(1), c.raft(1).progress()[&n(3)].matched);
    assert!(leader.last().index.0 < matched.0 + 10, "{matched:?} of {:?}", leader.last());
    assert!(most > 5_000, "the pin was not needed: the log had {most} bytes at most");
    assert!(leader.log_bytes() < 1_000, "the pin is still there: {} bytes", leader.log_bytes());
}
