//! One replica that is told things by others who are not there: what a schedule of a whole group seldom comes by, one claim each.

use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{
    Base, Entry, EntryId, EntryKind, HardState, Index, Instant, Mint, NodeId, Rng, ShardId, Term,
};
use quorate_protocol::Core;
use quorate_protocol::raft::{
    Boot, Config, Input, Membership, Message, Outbox, ProposalId, Raft, SnapshotId, SnapshotMeta,
};

const SHARD: ShardId = ShardId(1);
const ME: NodeId = NodeId(1);

/// A replica whose disk is at once done with everything.
struct One {
    raft: Raft,
    now: Instant,
}

fn config() -> Config {
    Config::new(SHARD, ME)
}

/// With the entries of the first term up to there.
fn boot(voters: u64, upto: u64) -> Boot {
    let membership = Membership::of_voters((1..=voters).map(NodeId)).encode();
    Boot {
        promised: Duration::ZERO,
        hard: HardState { term: Term(1), ..HardState::default() },
        base: Base { id: EntryId::ZERO, membership },
        entries: entries(1, upto),
        applied: Index(0),
        withheld_upto: None,
        withhold_votes: false,
        disk_lost: false,
        state_lost: false,
        campaign_at_once: false,
    }
}

/// Of the first term.
fn entries(from: u64, upto: u64) -> Vec<Entry> {
    let entry = |index| Entry { id: id(1, index), kind: EntryKind::Command, data: Bytes::from_static(b"x") };
    (from..=upto).map(entry).collect()
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term(term), Index(index))
}

impl One {
    fn new(config: Config, boot: Boot) -> Self {
        let now = Instant::ZERO + Duration::from_secs(1);
        Self { raft: Raft::new(config, Rng::new(1), boot, now).unwrap(), now }
    }

    /// Takes an input; what is said then.
    fn takes(&mut self, input: Input) -> Vec<(NodeId, Message)> {
        self.raft.handle(self.now, input);
        let mut said = Vec::new();
        for _ in 0..3 {
            let mut out = Outbox::default();
            self.raft.drain(self.now, &mut out);
            said.append(&mut out.send);
            if let Some(write) = out.write {
                let proof = Mint::for_journal().durable(SHARD, write.write);
                said.extend(out.after_write.into_iter().map(|held| held.open(&proof).unwrap()));
                self.raft.handle(self.now, Input::Written { proof });
            }
        }
        self.raft.check_invariants().unwrap();
        said
    }

    fn hears(&mut self, from: u64, message: Message) -> Vec<(NodeId, Message)> {
        self.takes(Input::Message { from: NodeId(from), message })
    }

    /// What it confirms to hold.
    fn confirmed(said: &[(NodeId, Message)]) -> Vec<u64> {
        let matched = |(_, message): &(NodeId, Message)| match message {
            Message::Appended { matched, .. } => Some(matched.0),
            _ => None,
        };
        said.iter().filter_map(matched).collect()
    }

    /// It is elected, by the votes of the next ones.
    fn leads(&mut self, votes: u64) {
        let asks = |said: &[(NodeId, Message)]| {
            said.iter().any(|(_, message)| matches!(message, Message::RequestVote { .. }))
        };
        for _ in 0..100 {
            self.now = self.now + Duration::from_millis(100);
            if asks(&self.takes(Input::Tick)) {
                break;
            }
        }
        let term = self.raft.term().next();
        for pre in [true, false] {
            for from in 2..2 + votes {
                self.hears(from, Message::Vote { term, pre, granted: true, withheld: false });
            }
        }
        assert!(self.raft.is_leader());
    }
}

fn heartbeat(term: u64, lease: Duration) -> Message {
    Message::Heartbeat { term: Term(term), commit: Index(0), round: 1, lease }
}

fn append(term: u64, prev: EntryId, entries: Vec<Entry>, commit: u64) -> Message {
    Message::Append { term: Term(term), prev, entries, commit: Index(commit) }
}

/// Claim: one whose disk was lost, and of whose log some is damaged since, asks anew for the term; and none that has not healed says that it
/// has voted in no higher one.
#[test]
fn a_lost_disk_that_is_damaged_too_asks_anew() {
    for damaged in [false, true] {
        let boot = Boot { disk_lost: true, withhold_votes: damaged, ..boot(3, 2) };
        let mut one = One::new(config(), boot);
        assert_eq!(one.raft.confirms(), None);
        let said = one.hears(2, heartbeat(2, Duration::ZERO));
        let asks = |(_, message): &(NodeId, Message)| {
            matches!(message, Message::HeartbeatResponse { asks: Some(_), .. })
        };
        assert_eq!(said.iter().any(asks), damaged, "{said:?}");
    }
}

/// Claim: of two that lost their disks neither speaks for the other, where the others that are heard are too few to do so.
#[test]
fn who_has_lost_its_disk_vouches_for_nobody() {
    let mut one = One::new(config(), boot(5, 0));
    one.leads(2);
    let term = one.raft.term();
    let answer =
        |withheld, asks| Message::HeartbeatResponse { term, round: 1_000, withheld, promised: false, asks };
    let asking = |life| answer(true, Some(life));
    let vouched = |said: Vec<(NodeId, Message)>| {
        said.iter().any(|(to, message)| *to == NodeId(2) && matches!(message, Message::TermVouched { .. }))
    };
    assert!(!vouched(one.hears(2, asking(7))));
    assert!(!vouched(one.hears(3, asking(8))));
    one.hears(4, answer(false, None));
    assert!(!vouched(one.hears(2, asking(7))), "one that asks itself, and two that do not");
    one.hears(5, answer(false, None));
    assert!(vouched(one.hears(2, asking(7))));
}

/// Claim: a leader can be read behind an entry of its own term, and not before that is committed.
#[test]
fn a_new_leader_is_not_readable_yet() {
    let mut one = One::new(config(), boot(3, 2));
    one.leads(1);
    assert_eq!(one.raft.readable(), None);
    let (term, matched) = (one.raft.term(), Index(3));
    one.hears(2, Message::Appended { term, matched });
    assert_eq!(one.raft.readable(), Some(matched));
}

/// Claim: what was promised to a leader binds whoever asks for a vote without having asked for one before, also where the connection to that
/// leader is gone.
#[test]
fn a_promise_binds_against_a_vote_too() {
    let config = Config { lease_reads: Some(1_000), ..config() };
    let lease = config.election_min;
    let mut one = One::new(config, boot(3, 0));
    one.hears(2, heartbeat(1, lease));
    one.takes(Input::Unreachable { peer: NodeId(2) });
    let ask = |pre| Message::RequestVote { term: Term(2), pre, transfer: false, last: EntryId::ZERO };
    let grants = |said: Vec<(NodeId, Message)>| {
        said.iter().any(|(_, message)| matches!(message, Message::Vote { granted: true, .. }))
    };
    for pre in [true, false] {
        assert!(!grants(one.hears(3, ask(pre))), "pre-vote {pre}");
    }
    assert_eq!(one.raft.term(), Term(1));
    one.now = one.now + lease;
    assert!(grants(one.hears(3, ask(false))));
}

/// Claim: a commit index is taken as far as this life has seen its log agree with the leader's, however much longer it is.
#[test]
fn what_is_behind_what_agrees_is_not_committed() {
    let mut one = One::new(config(), boot(3, 6));
    one.hears(2, append(2, EntryId::ZERO, entries(1, 3), 0));
    one.hears(2, Message::Commit { term: Term(2), commit: Index(6) });
    assert_eq!(one.raft.commit(), Index(3));
}

/// Claim: what is to be confirmed to the leader of one term is not confirmed to the same one in a later term: it may have lost it since.
#[test]
fn what_is_owed_is_owed_in_its_term() {
    let mut one = One::new(Config { max_unapplied_bytes: 0, ..config() }, boot(3, 0));
    let said = one.hears(2, append(1, EntryId::ZERO, entries(1, 2), 2));
    assert_eq!(One::confirmed(&said), [], "the machine is behind");
    one.hears(2, append(1, id(1, 2), entries(3, 3), 2));
    let mut said = one.hears(2, heartbeat(3, Duration::ZERO));
    said.append(&mut one.takes(Input::Applied { index: Index(2) }));
    assert_eq!(One::confirmed(&said), []);
}

/// Claim: a group that is to keep little of its log lets no more wait for its machine than twice that before it confirms on.
#[test]
fn who_keeps_little_lets_little_wait() {
    let mut one = One::new(config(), boot(3, 0));
    let said = one.hears(2, append(1, EntryId::ZERO, entries(1, 2), 2));
    assert_eq!(One::confirmed(&said), [2], "there is room for more");
    one.takes(Input::Applied { index: Index(2) });
    one.takes(Input::Compact { upto: Index(2), keep: 0 });
    let said = one.hears(2, append(1, id(1, 2), entries(3, 3), 3));
    assert_eq!(One::confirmed(&said), [], "the machine is behind");
    let said = one.takes(Input::Applied { index: Index(3) });
    assert_eq!(One::confirmed(&said), [3]);
}

/// Claim: behind a snapshot the log stays that follows it, but that it is the leader's nobody has said: it is neither confirmed nor committed.
#[test]
fn what_is_kept_behind_a_snapshot_is_not_confirmed() {
    let boot = Boot { state_lost: true, ..boot(3, 5) };
    let membership = boot.base.membership.clone();
    let mut one = One::new(config(), boot);
    let meta = SnapshotMeta { id: id(1, 3), membership: membership.clone() };
    let (term, snapshot, data) = (Term(2), SnapshotId(9), Bytes::from_static(b"state"));
    one.hears(2, Message::SnapshotChunk { term, snapshot, meta, seq: 0, data, last: true });
    let said = one.takes(Input::Installed { base: Base { id: id(1, 3), membership } });
    assert_eq!(One::confirmed(&said), [3]);
    one.hears(2, Message::Commit { term, commit: Index(5) });
    assert_eq!((one.raft.commit(), one.raft.last().index), (Index(3), Index(5)));
}

/// Claim: with a log that a snapshot replaces the configurations go that were in it, also those of entries behind the snapshot.
#[test]
fn a_snapshot_replaces_configurations_too() {
    let mut boot = boot(3, 5);
    let other = Membership::of_voters([1, 4, 5].map(NodeId));
    boot.entries.push(Entry { id: id(1, 6), kind: EntryKind::Membership, data: other.encode() });
    let membership = boot.base.membership.clone();
    let mut one = One::new(config(), boot);
    assert_eq!(*one.raft.membership(), other);
    let meta = SnapshotMeta { id: id(2, 5), membership: membership.clone() };
    let (term, snapshot, data) = (Term(2), SnapshotId(9), Bytes::from_static(b"state"));
    one.hears(2, Message::SnapshotChunk { term, snapshot, meta, seq: 0, data, last: true });
    one.takes(Input::Installed { base: Base { id: id(2, 5), membership } });
    assert_eq!((one.raft.last(), one.raft.membership().encode()), (id(2, 5), boot_members()));
}

fn boot_members() -> Bytes {
    boot(3, 0).base.membership
}

/// Claim: a yes to an earlier question, in an older term, is none to this one.
#[test]
fn a_late_pre_vote_counts_for_nothing() {
    let mut one = One::new(config(), boot(3, 0));
    let mut asked = Vec::new();
    while asked.is_empty() {
        one.now = one.now + Duration::from_millis(100);
        asked = one.takes(Input::Tick);
    }
    let yes = |term| Message::Vote { term: Term(term), pre: true, granted: true, withheld: false };
    assert_eq!(one.hears(2, yes(1)), []);
    assert_eq!(one.raft.term(), Term(1));
    one.hears(2, yes(2));
    assert_eq!(one.raft.term(), Term(2));
}

/// Claim: the log goes as far as the machine has applied it, and no further, whatever is asked.
#[test]
fn what_is_not_applied_is_not_compacted() {
    let mut one = One::new(Config { log_keep_bytes: 0, ..config() }, boot(3, 0));
    one.hears(2, append(1, EntryId::ZERO, entries(1, 5), 5));
    one.takes(Input::Applied { index: Index(3) });
    one.takes(Input::Compact { upto: Index(5), keep: usize::MAX });
    assert_eq!(one.raft.base().index, Index(3));
}

/// Claim: of what is applied so much is kept as is asked for, where that is less than the configuration allows.
#[test]
fn so_much_is_kept_as_is_asked_for() {
    let mut one = One::new(config(), boot(3, 0));
    one.hears(2, append(1, EntryId::ZERO, entries(1, 5), 5));
    one.takes(Input::Applied { index: Index(5) });
    one.takes(Input::Compact { upto: Index(5), keep: usize::MAX });
    assert_eq!(one.raft.base().index, Index(0));
    let all = one.raft.log_bytes();
    one.takes(Input::Compact { upto: Index(5), keep: all / 2 });
    assert!(one.raft.log_bytes() <= all / 2 && one.raft.base().index < Index(5), "{}", one.raft.log_bytes());
    one.takes(Input::Compact { upto: Index(5), keep: 0 });
    assert_eq!(one.raft.base().index, Index(5));
}

/// Claim: a member that is removed, and has not heard so yet, is still told for a while.
#[test]
fn who_is_removed_is_told() {
    let mut one = One::new(config(), boot(3, 0));
    one.leads(1);
    let term = one.raft.term();
    let confirms = |one: &mut One| {
        let matched = one.raft.last().index;
        one.hears(2, Message::Appended { term, matched });
        one.takes(Input::Applied { index: one.raft.commit() });
    };
    confirms(&mut one);
    let target = Membership::of_voters([1, 2].map(NodeId));
    one.takes(Input::ChangeMembership { id: ProposalId(1), target: target.clone() });
    confirms(&mut one);
    confirms(&mut one);
    assert_eq!((one.raft.membership(), one.raft.commit()), (&target, one.raft.last().index));
    one.now = one.now + config().heartbeat;
    one.takes(Input::Tick);
    one.now = one.now + config().heartbeat;
    let lives = Message::HeartbeatResponse { term, round: 1, withheld: false, promised: false, asks: None };
    let said = one.hears(3, lives);
    let told =
        |(to, message): &(NodeId, Message)| *to == NodeId(3) && matches!(message, Message::Append { .. });
    assert!(said.iter().any(told), "{said:?}");
}
