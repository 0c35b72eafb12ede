//! The gateway's side: coordinates transactions, holds nothing that must survive.
//!
//! A *request* is tried in *attempts*. Each attempt sends its Prepares to all participants at once and counts votes. The last
//! Yes commits it, the first No aborts it, and the client is answered there; outcomes go out behind the answer. An attempt
//! that met a conflict is followed by another with the same priority, and never before it is aborted itself: while a
//! participant has no vote, whatever was sent to it may still arrive.
//!
//! Where there is a token, its participant is heard before anything is refused: a request that comes a second time finds its
//! own effects in the way of its conditions, and only the token's row knows that.
//!
//! A gateway that is gone leaves nobody blocked ([`super::recovery`]). Its next life closes the book on it ([`super::heir`]).

use super::types::{Answer, Command, Mutant, No, Outcome, Place, Prepare, TxnId, Vote, mutant};
use crate::Core;
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId, Rng, ShardId};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// While so many requests come to be over as participants are told of at once, it is looked so often at who is to be told.
const LOOKS: u64 = 4;

/// Settings. Times decide who waits how long, and nothing else.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// This life of it, higher than any before.
    pub boot: u64,
    /// What is not answered so long is sent again.
    pub resend: Duration,
    /// No request is tried more often, however much time is left.
    pub attempts: u32,
    /// The first pause after a conflict; it doubles, up to 32 times as long, and its half is drawn.
    pub backoff: Duration,
    /// How long the other reasons may take that a refused client is told of, beside the first.
    pub reasons: Duration,
    /// How long behind the deadline a client may wait for certainty before it hears "unknown".
    pub certainty: Duration,
    /// So many requests are over before participants are told to forget them, unless it is quiet.
    pub forget_every: u64,
    /// The planted bug.
    pub mutant: Option<Mutant>,
}

/// A request for a transaction over several participants.
#[derive(Clone, Debug)]
pub struct Begin<O> {
    /// The caller's number for it.
    pub request: u64,
    /// A hybrid logical clock's reading: its priority.
    pub began: u64,
    /// What each participant is to do.
    pub parts: BTreeMap<ShardId, O>,
    /// The participant that has the token's row and nothing else.
    pub token: Option<ShardId>,
    /// No attempt begins behind it, and slow participants are refused.
    pub deadline: Instant,
}

/// What happens to a gateway.
#[derive(Clone, Debug)]
pub enum Input<O, R> {
    /// A client asks.
    Begin(Begin<O>),
    /// A participant answers to a command about a transaction.
    Answer(ShardId, TxnId, Answer<R>),
    /// A participant has forgotten up to there.
    Forgotten(ShardId, Place),
    /// Time has passed.
    Tick,
}

/// What a client hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply<R> {
    /// It is done.
    Committed,
    /// It is not done, and why, as far as the participants have said.
    Cancelled(BTreeMap<ShardId, No<R>>),
    /// It may be done or not, now or later.
    Unknown,
}

/// What a gateway wants done. Commands to one shard are in the order in which they must reach it, if they do.
#[derive(Clone, Debug)]
pub struct Outbox<O, R> {
    /// Commands for the leaders of shards; those to one shard may share a message.
    pub send: Vec<(ShardId, Command<O>)>,
    /// Answers to clients.
    pub replies: Vec<(u64, Reply<R>)>,
}

impl<O, R> Default for Outbox<O, R> {
    fn default() -> Self {
        Self { send: Vec::new(), replies: Vec::new() }
    }
}

/// The gateway's core.
///
/// Invariants: a request is in `open` until its client is answered and each participant of each attempt has voted No or
/// applied the outcome; so whatever is below the first of `open` is over everywhere.
#[derive(Clone, Debug)]
pub struct Gateway<O, R> {
    config: Config,
    rng: Rng,
    next: u64,
    open: BTreeMap<u64, Request<O, R>>,
    /// Up to where each shard has taken part, and up to where it has been told, and has said, that it may forget.
    forgetting: BTreeMap<ShardId, Forgetting>,
    /// How many of them have not said so up to there.
    owing: usize,
    forget_at: Instant,
    /// The low-water mark when it was last looked at who is to hear of it.
    looked: u64,
    out: Outbox<O, R>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Forgetting {
    took_part: u64,
    told: u64,
    heard: u64,
}

impl Forgetting {
    fn owes(self) -> bool {
        self.heard < self.took_part
    }
}

#[derive(Clone, Debug)]
struct Request<O, R> {
    begin: Begin<O>,
    /// The attempt under way, or the last.
    id: TxnId,
    phase: Phase,
    votes: BTreeMap<ShardId, Vote<R>>,
    /// Outcomes that participants have not applied yet, of all attempts.
    unsettled: BTreeMap<(TxnId, ShardId), Outcome>,
    answered: bool,
    resend_at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Not all votes are in, and none is No.
    Voting,
    /// It is aborted; other reasons, or the token's, are waited for until then.
    Hearing(Instant),
    /// It is aborted, and there is another attempt then.
    Pausing(Instant),
    /// Decided for good.
    Decided,
}

impl<O: Clone, R: Clone + PartialEq> Core for Gateway<O, R> {
    type Input = Input<O, R>;
    type Out = Outbox<O, R>;

    fn handle(&mut self, now: Instant, input: Input<O, R>) {
        match input {
            Input::Begin(begin) => self.begin(now, begin),
            Input::Answer(from, id, answer) => {
                let mine = (id.node, id.boot) == (self.config.node, self.config.boot);
                if let Some(mut request) = mine.then(|| self.open.remove(&id.sequence)).flatten() {
                    self.answered(now, &mut request, from, id, answer);
                    self.keep(request);
                }
            }
            Input::Forgotten(from, upto) => {
                if let Some(f) = self.forgetting.get_mut(&from).filter(|_| upto.boot == self.config.boot) {
                    let owed = f.owes();
                    f.heard = f.heard.max(upto.sequence);
                    self.owing -= usize::from(owed && !f.owes());
                }
            }
            Input::Tick => self.tick(now),
        }
        self.tell_marks(now);
    }

    fn drain(&mut self, _now: Instant, out: &mut Outbox<O, R>) {
        out.send.append(&mut self.out.send);
        out.replies.append(&mut self.out.replies);
    }

    fn deadline(&self) -> Option<Instant> {
        let requests = self.open.values().map(|request| match request.phase {
            Phase::Voting | Phase::Decided => request.resend_at,
            // Until the token's participant is heard, no time brings it on: to say so again and again would keep the driver busy.
            Phase::Hearing(_) if request.awaits_token() => request.resend_at,
            Phase::Hearing(until) | Phase::Pausing(until) => request.resend_at.min(until),
        });
        requests.chain((self.owing > 0).then_some(self.forget_at)).min()
    }
}

impl<O, R> Request<O, R> {
    /// The token's participant has not voted.
    fn awaits_token(&self) -> bool {
        self.begin.token.is_some_and(|token| !self.votes.contains_key(&token))
    }
}

impl<O: Clone, R: Clone + PartialEq> Gateway<O, R> {
    /// The gateway of a new life.
    pub fn new(config: Config, rng: Rng) -> Self {
        let (open, forgetting) = (BTreeMap::new(), BTreeMap::new());
        Self {
            config,
            rng,
            next: 1,
            open,
            forgetting,
            owing: 0,
            forget_at: Instant::ZERO,
            looked: 0,
            out: Outbox::default(),
        }
    }

    /// How many requests are not over everywhere.
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// What tells two gateways apart, for a search in which time stands still.
    pub fn fingerprint(&self, h: &mut impl Hasher)
    where
        R: Hash,
    {
        self.next.hash(h);
        for request in self.open.values() {
            let phase = match request.phase {
                Phase::Voting => 0,
                Phase::Hearing(_) => 1,
                Phase::Pausing(_) => 2,
                Phase::Decided => 3,
            };
            (request.id, phase, request.answered, &request.votes, &request.unsettled).hash(h);
        }
        for (shard, f) in &self.forgetting {
            (shard, f.took_part, f.told, f.heard).hash(h);
        }
    }

    fn begin(&mut self, now: Instant, mut begin: Begin<O>) {
        if mutant(self.config.mutant, Mutant::TokenOutside)
            && let Some(token) = begin.token.take()
            && let Some(ops) = begin.parts.remove(&token)
        {
            // The row is written for itself, by and by.
            self.out.send.push((token, Command::Execute(ops)));
        }
        let (node, boot, sequence) = (self.config.node, self.config.boot, self.next);
        self.next += 1;
        for shard in begin.parts.keys() {
            let f = self.forgetting.entry(*shard).or_default();
            self.owing += usize::from(!f.owes());
            f.took_part = sequence;
        }
        let mut request = Request {
            begin,
            id: TxnId { node, boot, sequence, attempt: 1 },
            phase: Phase::Voting,
            votes: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            answered: false,
            resend_at: now + self.config.resend,
        };
        self.send_prepares(&mut request, now);
        let shards: Vec<ShardId> = request.begin.parts.keys().copied().collect();
        self.keep(request);
        // Who has not taken part for long may not have heard of what has been over since.
        for shard in shards {
            self.tell_mark(shard, self.mark(), false);
        }
    }

    /// Puts a request back, unless it is over everywhere.
    fn keep(&mut self, request: Request<O, R>) {
        let decided = request.phase == Phase::Decided && request.answered;
        let mut over = decided && request.unsettled.is_empty();
        if mutant(self.config.mutant, Mutant::ForgetTooEarly) {
            over |= decided && request.unsettled.len() < request.begin.parts.len();
        }
        if !over {
            self.open.insert(request.id.sequence, request);
        }
    }

    // ---- votes ----

    fn answered(
        &mut self,
        now: Instant,
        request: &mut Request<O, R>,
        from: ShardId,
        id: TxnId,
        answer: Answer<R>,
    ) {
        match answer {
            Answer::Vote(vote) if id == request.id && request.begin.parts.contains_key(&from) => {
                request.votes.entry(from).or_insert(vote);
                self.count(now, request);
            }
            // Whoever voted No holds nothing.
            Answer::Vote(Vote::No(_)) | Answer::Settled => drop(request.unsettled.remove(&(id, from))),
            Answer::Vote(Vote::Yes) | Answer::Missing | Answer::Over | Answer::Undecided(_) => {}
        }
    }

    fn count(&mut self, now: Instant, request: &mut Request<O, R>) {
        match request.phase {
            Phase::Voting if request.votes.values().any(|vote| *vote != Vote::Yes) => {
                request.phase = Phase::Hearing(now + self.config.reasons);
            }
            Phase::Voting if request.votes.len() == request.begin.parts.len() => {
                request.phase = Phase::Decided;
                self.settle(request, Outcome::Commit);
                self.reply(request, Reply::Committed);
            }
            _ => {}
        }
        if let Phase::Hearing(until) = request.phase {
            self.hear(now, request, until);
        }
    }

    /// The attempt is aborted; what is still to be heard before the client is answered or another attempt begins?
    fn hear(&mut self, now: Instant, request: &mut Request<O, R>, until: Instant) {
        let missing: Vec<ShardId> =
            request.begin.parts.keys().filter(|shard| !request.votes.contains_key(shard)).copied().collect();
        if request.awaits_token() {
            return;
        }
        let reasons = nos(request);
        let another = now < request.begin.deadline && request.id.attempt < self.config.attempts;
        let retry = another && (reasons.values().all(No::is_passing) || token_held(request, &reasons));
        if !retry && !missing.is_empty() && now < until {
            return;
        }
        self.settle(request, Outcome::Abort);
        if retry {
            request.phase = Phase::Pausing(now + self.pause(request.id.attempt));
            return;
        }
        self.cancel(request, reasons);
    }

    /// The last attempt is aborted, and there is no other.
    fn cancel(&mut self, request: &mut Request<O, R>, reasons: BTreeMap<ShardId, No<R>>) {
        request.phase = Phase::Decided;
        let token = request.begin.token.and_then(|token| reasons.get(&token));
        // Where the token's row was not looked at, an earlier request with this token may have done it all.
        let unheard = matches!(token, Some(No::Refused)) || token_held(request, &reasons);
        self.reply(request, if unheard { Reply::Unknown } else { Reply::Cancelled(reasons) });
    }

    fn pause(&mut self, attempt: u32) -> Duration {
        let longest = self.config.backoff.as_nanos() as u64 * (1 << (attempt - 1).min(5));
        Duration::from_nanos(self.rng.between(longest / 2, longest))
    }

    fn reply(&mut self, request: &mut Request<O, R>, reply: Reply<R>) {
        if !std::mem::replace(&mut request.answered, true) {
            self.out.replies.push((request.begin.request, reply));
        }
    }

    // ---- out ----

    fn send_prepares(&mut self, request: &mut Request<O, R>, now: Instant) {
        let late = now >= request.begin.deadline;
        let id = request.id;
        let participants: Vec<ShardId> = request.begin.parts.keys().copied().collect();
        for (shard, ops) in request.begin.parts.iter().filter(|(shard, _)| !request.votes.contains_key(shard))
        {
            let command = if late {
                Command::Refuse { id, because: None }
            } else {
                let (began, participants, ops) = (request.begin.began, participants.clone(), ops.clone());
                Command::Prepare(Prepare { id, began, participants, ops })
            };
            self.out.send.push((*shard, command));
        }
        request.resend_at = now + self.config.resend;
    }

    /// The outcome is known. Who voted No holds nothing, and has nothing to hear.
    fn settle(&mut self, request: &mut Request<O, R>, outcome: Outcome) {
        let id = request.id;
        for shard in request.begin.parts.keys() {
            if !matches!(request.votes.get(shard), Some(Vote::No(_))) {
                request.unsettled.insert((id, *shard), outcome);
                self.out.send.push((*shard, Command::Outcome { id, outcome }));
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        for sequence in self.open.keys().copied().collect::<Vec<_>>() {
            let Some(mut request) = self.open.remove(&sequence) else { continue };
            self.tick_request(now, &mut request);
            self.keep(request);
        }
    }

    fn tick_request(&mut self, now: Instant, request: &mut Request<O, R>) {
        match request.phase {
            Phase::Pausing(until) if now >= until => self.attempt(now, request),
            Phase::Hearing(until) => self.hear(now, request, until),
            _ => {}
        }
        if now < request.resend_at {
            return;
        }
        request.resend_at = now + self.config.resend;
        for ((id, shard), outcome) in &request.unsettled {
            self.out.send.push((*shard, Command::Outcome { id: *id, outcome: *outcome }));
        }
        if matches!(request.phase, Phase::Voting | Phase::Hearing(_)) {
            if mutant(self.config.mutant, Mutant::RetryBeforeAbort) && request.phase == Phase::Voting {
                return self.attempt(now, request);
            }
            self.send_prepares(request, now);
            if now >= request.begin.deadline + self.config.certainty {
                self.reply(request, Reply::Unknown);
            }
        }
    }

    fn attempt(&mut self, now: Instant, request: &mut Request<O, R>) {
        if now >= request.begin.deadline {
            let reasons = nos(request);
            return self.cancel(request, reasons);
        }
        request.id.attempt += 1;
        request.votes.clear();
        request.phase = Phase::Voting;
        self.send_prepares(request, now);
    }

    // ---- forgetting ----

    /// The low-water mark: all requests up to it are over at all their participants.
    fn mark(&self) -> u64 {
        self.open.keys().next().map_or(self.next, |first| *first) - 1
    }

    fn tell_marks(&mut self, now: Instant) {
        let mark = self.mark();
        let quiet = now >= self.forget_at;
        // Participants may be many.
        if !quiet && mark < self.looked + (self.config.forget_every / LOOKS).max(1) {
            return;
        }
        self.looked = mark;
        for shard in self.forgetting.keys().copied().collect::<Vec<_>>() {
            self.tell_mark(shard, mark, quiet);
        }
        if quiet {
            self.forget_at = now + self.config.resend;
        }
    }

    fn tell_mark(&mut self, shard: ShardId, mark: u64, quiet: bool) {
        let Some(f) = self.forgetting.get_mut(&shard) else { return };
        let sequence = mark.min(f.took_part);
        let news = sequence >= f.told + self.config.forget_every;
        if news || quiet && sequence > f.heard {
            f.told = sequence;
            let (node, upto) = (self.config.node, Place { boot: self.config.boot, sequence });
            self.out.send.push((shard, Command::Forget { node, upto }));
        }
    }
}

/// Something stands against the operations, and another transaction holds the token: it may be the same request, sent before, whose
/// effects those are. Only when it is over does the token's row tell.
fn token_held<O, R>(request: &Request<O, R>, reasons: &BTreeMap<ShardId, No<R>>) -> bool {
    let token = request.begin.token.and_then(|token| reasons.get(&token));
    matches!(token, Some(No::Conflict(_))) && !reasons.values().all(No::is_passing)
}

fn nos<O, R: Clone>(request: &Request<O, R>) -> BTreeMap<ShardId, No<R>> {
    let no = |(shard, vote): (&ShardId, &Vote<R>)| match vote {
        Vote::Yes => None,
        Vote::No(why) => Some((*shard, why.clone())),
    };
    request.votes.iter().filter_map(no).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: while the token's participant is not heard, the gateway wants to be driven when something is sent again, and not before.
    /// (A node span at it for ever: the simulator's seed 1001.)
    #[test]
    fn who_waits_for_a_token_rests() {
        let millis = Duration::from_millis;
        let config = Config {
            node: NodeId(1),
            boot: 1,
            resend: millis(1_000),
            attempts: 3,
            backoff: millis(3),
            reasons: millis(100),
            certainty: millis(1_000),
            forget_every: 10,
            mutant: None,
        };
        let mut gateway: Gateway<u8, ()> = Gateway::new(config, Rng::new(1));
        let start = Instant(1_000);
        let (token, other) = (ShardId(2), ShardId(3));
        let parts = BTreeMap::from([(token, 0), (other, 0)]);
        let deadline = start + millis(5_000);
        gateway
            .handle(start, Input::Begin(Begin { request: 1, began: 1, parts, token: Some(token), deadline }));
        let id = TxnId { node: NodeId(1), boot: 1, sequence: 1, attempt: 1 };
        gateway.handle(start, Input::Answer(other, id, Answer::Vote(Vote::No(No::Reason(())))));
        let later = start + millis(500);
        gateway.handle(later, Input::Tick);
        assert_eq!(gateway.deadline(), Some(start + millis(1_000)));
    }
}
