//! A leader that contradicts itself: what it says may cost its follower nothing but time.

use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Base, Entry, EntryId, EntryKind, HardState, Index, Instant, NodeId, Rng, ShardId, Term};
use quorate_protocol::Core;
use quorate_protocol::raft::{Boot, Config, Input, Membership, Message, Outbox, Raft};

const ME: NodeId = NodeId(1);
const LEADER: NodeId = NodeId(2);

fn follower() -> Raft {
    booted(&Membership::of_voters((1..=3).map(NodeId)), HardState::default(), Duration::ZERO)
}

fn booted(membership: &Membership, hard: HardState, promised: Duration) -> Raft {
    let membership = membership.encode();
    let boot = Boot {
        promised,
        hard,
        base: Base { id: EntryId::ZERO, membership },
        entries: Vec::new(),
        applied: Index(0),
        withheld_upto: None,
        withhold_votes: false,
        disk_lost: false,
        state_lost: false,
        campaign_at_once: false,
    };
    Raft::new(Config::new(ShardId(1), ME), Rng::new(1), boot, Instant::ZERO + Duration::from_millis(1))
        .unwrap()
}

fn entry(term: u64, index: u64, kind: EntryKind) -> Entry {
    Entry { id: EntryId::new(Term(term), Index(index)), kind, data: Bytes::from_static(b"no membership") }
}

/// Two packets of one term before one drain: entries, then others in the place of some of these, and not even in order.
#[test]
fn entries_that_replace_its_own_are_not_confirmed() {
    let commands = |at: &[(u64, u64)]| -> Vec<Entry> {
        at.iter().map(|&(term, index)| entry(term, index, EntryKind::Command)).collect()
    };
    let mut bad = commands(&[(2, 1)]);
    bad.push(entry(2, 2, EntryKind::Membership));
    for second in [commands(&[(2, 1), (2, 3)]), commands(&[(2, 1)]), bad] {
        let mut raft = follower();
        for entries in [commands(&[(1, 1), (1, 2), (1, 3)]), second] {
            let message = Message::Append { term: Term(2), prev: EntryId::ZERO, entries, commit: Index(0) };
            raft.handle(Instant(2), Input::Message { from: LEADER, message });
        }
        let mut out = Outbox::default();
        raft.drain(Instant(2), &mut out);
        raft.check_invariants().unwrap();
        assert!(out.write.is_some_and(|write| !write.entries.is_empty()));
    }
}

/// Claim: a replica that has the only vote waits for nobody when it is started again, but for what an earlier life promised; one that
/// shares the vote, or did until just now, gives the others their time.
#[test]
fn who_is_alone_does_not_wait() {
    let (began, promise) = (Instant::ZERO + Duration::from_millis(1), Duration::from_millis(400));
    let hard = HardState { term: Term(7), ..HardState::default() };
    let wants = |membership: &Membership, promised| booted(membership, hard, promised).deadline().unwrap();
    let alone = Membership::of_voters([ME]);
    assert_eq!(wants(&alone, Duration::ZERO), began);
    assert_eq!(wants(&alone, promise), began + promise);
    let leaving = Membership { outgoing: Some([ME, LEADER].into()), ..alone.clone() };
    for membership in [Membership::of_voters([ME, LEADER]), leaving] {
        assert!(wants(&membership, Duration::ZERO) >= began + Config::new(ShardId(1), ME).election_min);
    }
    let mut raft = booted(&alone, hard, Duration::ZERO);
    raft.handle(began, Input::Tick);
    raft.drain(began, &mut Outbox::default());
    assert_eq!(raft.term(), Term(8));
}
