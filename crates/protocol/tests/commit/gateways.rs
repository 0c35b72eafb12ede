//! What a gateway sends, says and waits for, one claim at a time.

use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId, Rng, ShardId};
use quorate_protocol::Core;
use quorate_protocol::commit::gateway::{Begin, Config, Gateway, Input, Outbox, Reply};
use quorate_protocol::commit::{Answer, Command, No, Outcome, Place, TxnId, Vote};
use std::collections::BTreeMap;

const HERE: ShardId = ShardId(2);
const TOKEN: ShardId = ShardId(3);
const RESEND: Duration = Duration::from_secs(1);
const BACKOFF: Duration = Duration::from_millis(16);
const HOLDER: TxnId = TxnId { node: NodeId(9), boot: 1, sequence: 1, attempt: 1 };

const YES: Vote<()> = Vote::Yes;
const CONFLICT: Vote<()> = Vote::No(No::Conflict(HOLDER));
const REFUSED: Vote<()> = Vote::No(No::Refused);
const REASON: Vote<()> = Vote::No(No::Reason(()));

/// A gateway, and the time.
struct Alone {
    gateway: Gateway<u8, ()>,
    now: Instant,
}

impl Alone {
    fn new(attempts: u32) -> Self {
        let config = Config {
            node: NodeId(1),
            boot: 4,
            resend: RESEND,
            attempts,
            backoff: BACKOFF,
            reasons: Duration::from_millis(100),
            certainty: RESEND,
            forget_every: 100,
            mutant: None,
        };
        Self { gateway: Gateway::new(config, Rng::new(1)), now: Instant(1_000_000) }
    }

    /// Its first request, of two shards, which has so long; what it sends is not told.
    fn begun(attempts: u32, time: Duration, token: bool) -> Self {
        let mut alone = Self::new(attempts);
        let parts = BTreeMap::from([(HERE, 0), (TOKEN, 0)]);
        let deadline = alone.now + time;
        let token = token.then_some(TOKEN);
        alone.take(Input::Begin(Begin { request: 7, began: 1, parts, token, deadline }));
        alone
    }

    fn take(&mut self, input: Input<u8, ()>) -> Outbox<u8, ()> {
        self.gateway.handle(self.now, input);
        let mut out = Outbox::default();
        self.gateway.drain(self.now, &mut out);
        out
    }

    fn vote(&mut self, shard: ShardId, attempt: u32, vote: Vote<()>) -> Outbox<u8, ()> {
        self.take(Input::Answer(shard, id(attempt), Answer::Vote(vote)))
    }

    /// Time goes on to when it wants to be driven.
    fn wait(&mut self) -> Outbox<u8, ()> {
        self.now = self.gateway.deadline().expect("it waits for something");
        self.take(Input::Tick)
    }

    fn forgets(&mut self, shard: ShardId, boot: u64, sequence: u64) {
        self.take(Input::Forgotten(shard, Place { boot, sequence }));
    }
}

fn id(attempt: u32) -> TxnId {
    TxnId { node: NodeId(1), boot: 4, sequence: 1, attempt }
}

/// The attempts that Prepares were sent of.
fn prepared(out: &Outbox<u8, ()>) -> Vec<(ShardId, u32)> {
    let attempt = |(shard, command): &(ShardId, Command<u8>)| match command {
        Command::Prepare(asked) => Some((*shard, asked.id.attempt)),
        _ => None,
    };
    out.send.iter().filter_map(attempt).collect()
}

/// Who is to forget, and up to where.
fn forgotten(out: &Outbox<u8, ()>) -> Vec<(ShardId, u64)> {
    let upto = |(shard, command): &(ShardId, Command<u8>)| match command {
        Command::Forget { upto, .. } => Some((*shard, upto.sequence)),
        _ => None,
    };
    out.send.iter().filter_map(upto).collect()
}

/// Claim: "not done" is said only where the token's row was looked at, or nothing but others stand in the way: otherwise an earlier
/// request with this token may have done it all, and its effects be what stands against this one.
#[test]
fn whose_token_was_not_looked_at_is_told_nothing_certain() {
    for (here, token, certain) in [
        (REASON, YES, true),
        (REASON, REASON, true),
        (YES, REASON, true),
        (CONFLICT, CONFLICT, true),
        (REFUSED, YES, true),
        (REASON, CONFLICT, false),
        (REASON, REFUSED, false),
        (YES, REFUSED, false),
        (CONFLICT, REFUSED, false),
    ] {
        let mut alone = Alone::begun(1, 5 * RESEND, true);
        let mut replies = alone.vote(HERE, 1, here.clone()).replies;
        assert!(replies.is_empty(), "the token is not heard yet");
        replies.append(&mut alone.vote(TOKEN, 1, token.clone()).replies);
        let said = match &replies[..] {
            [(7, Reply::Cancelled(_))] => true,
            [(7, Reply::Unknown)] => false,
            other => panic!("{here:?}, token {token:?}: {other:?}"),
        };
        assert_eq!(said, certain, "{here:?}, token {token:?}");
    }
}

/// Claim: who meets others tries again as often as it may and no more, each time behind a longer pause, and not before it is over.
#[test]
fn pauses_grow_and_attempts_end() {
    const ATTEMPTS: u32 = 9;
    let mut alone = Alone::begun(ATTEMPTS, 1_000 * RESEND, false);
    for attempt in 1..ATTEMPTS {
        alone.vote(HERE, attempt, CONFLICT);
        let since = alone.now;
        assert!(prepared(&alone.take(Input::Tick)).is_empty(), "attempt {attempt}");
        // What it has not heard of the last attempt is asked again meanwhile.
        let out =
            (0..3).map(|_| alone.wait()).find(|out| !prepared(out).is_empty()).expect("another attempt");
        assert_eq!(prepared(&out), [(HERE, attempt + 1), (TOKEN, attempt + 1)]);
        let longest = BACKOFF * (1 << (attempt - 1).min(5));
        let paused = alone.now.since(since);
        assert!((longest / 2..=longest).contains(&paused), "behind attempt {attempt}: {paused:?}");
    }
    let out = alone.vote(HERE, ATTEMPTS, CONFLICT);
    assert!(out.replies.is_empty(), "other reasons may come");
    let out = alone.vote(TOKEN, ATTEMPTS, CONFLICT);
    assert!(matches!(out.replies[..], [(7, Reply::Cancelled(_))]), "{:?}", out.replies);
}

/// Claim: no attempt begins behind the deadline: who pauses then is told what stood in the way, and nothing is sent for it.
#[test]
fn no_attempt_begins_behind_the_deadline() {
    let mut alone = Alone::begun(100, BACKOFF / 4, false);
    alone.vote(HERE, 1, CONFLICT);
    let out = alone.wait();
    assert!(matches!(out.replies[..], [(7, Reply::Cancelled(_))]), "{:?}", out.replies);
    assert!(out.send.is_empty(), "{:?}", out.send);
}

/// Claim: whoever votes No on an attempt that was given up holds nothing of it, so that nothing more is asked of him.
#[test]
fn a_late_no_settles_an_attempt() {
    let mut alone = Alone::begun(100, 5 * RESEND, false);
    let out = alone.vote(HERE, 1, CONFLICT);
    assert!(
        matches!(&out.send[..], [(TOKEN, Command::Outcome { id: of, outcome: Outcome::Abort })] if *of == id(1)),
        "{:?}",
        out.send
    );
    alone.wait();
    alone.vote(TOKEN, 1, REFUSED);
    for shard in [HERE, TOKEN] {
        alone.vote(shard, 2, YES);
    }
    for shard in [HERE, TOKEN] {
        assert_eq!(alone.gateway.open(), 1);
        alone.take(Input::Answer(shard, id(2), Answer::Settled));
    }
    assert_eq!(alone.gateway.open(), 0);
}

/// Claim: an answer about another life's transaction says nothing of one that has its number in this life, and leaves it alone.
#[test]
fn another_lifes_transaction_is_another() {
    let mut alone = Alone::begun(100, 5 * RESEND, false);
    for other in [TxnId { boot: 3, ..id(1) }, TxnId { node: NodeId(2), ..id(1) }] {
        for shard in [HERE, TOKEN] {
            let out = alone.take(Input::Answer(shard, other, Answer::Vote(YES)));
            assert!(out.replies.is_empty());
        }
        assert_eq!(alone.gateway.open(), 1, "{other:?}");
    }
    alone.vote(HERE, 1, YES);
    assert_eq!(alone.vote(TOKEN, 1, YES).replies, [(7, Reply::Committed)]);
}

/// Claim: each participant is told to forget what is over until it says that it has, in this life and up to there; then it is quiet.
#[test]
fn who_has_not_forgotten_is_told_again() {
    let mut alone = Alone::begun(100, 5 * RESEND, false);
    for shard in [HERE, TOKEN] {
        alone.vote(shard, 1, YES);
    }
    let mut out = Outbox::default();
    for shard in [HERE, TOKEN] {
        out = alone.take(Input::Answer(shard, id(1), Answer::Settled));
    }
    if forgotten(&out).is_empty() {
        out = alone.wait();
    }
    assert_eq!(forgotten(&out), [(HERE, 1), (TOKEN, 1)]);
    assert_eq!(forgotten(&alone.wait()), [(HERE, 1), (TOKEN, 1)], "nobody has answered");
    alone.forgets(HERE, 4, 1);
    alone.forgets(TOKEN, 3, 1);
    assert_eq!(forgotten(&alone.wait()), [(TOKEN, 1)], "that was of another life");
    alone.forgets(TOKEN, 4, 1);
    // It was asked twice, and one answer was late.
    alone.forgets(HERE, 4, 0);
    assert_eq!(alone.gateway.deadline(), None);
}
