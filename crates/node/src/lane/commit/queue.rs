//! The leader of a shard, before its log: who wants an item that a transaction holds waits here, or is voted on at once and refused,
//! by the rules of [`quorate_protocol::commit::leader`].
//!
//! The core answers some without an entry, since what stands is known. Here each is proposed nevertheless: an entry is answered where it
//! was asked for, without a word of the leader's. And where the core has a Prepare refused by an entry of its own, the Prepare is
//! proposed instead: its vote is No, with what was in its way, or, if that is gone by then, it may as well be Yes. Who waits loses
//! nothing by either: no safety rests on what is done here.
//!
//! A page that finds transactions committed in it each time it is read has its shard's leader *pause*: no Prepare goes into the log, so
//! that the page meets fewer and fewer, and none soon ([`super::page`]). A pause is bounded, and as long a time follows in which there
//! is none, so that readers take at most half of the time from those who write.

use super::super::Broken;
use super::super::group::{Group, Proposer};
use super::super::node::Node;
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{EntryId, Index, Instant};
use quorate_clock::Hlc;
use quorate_protocol::commit::leader::{Caller, Config, Leader, Outbox, Ticket};
use quorate_protocol::commit::{Answer, Command as Step};
use quorate_protocol::raft::ProposalId;
use quorate_state::table::Seen;
use quorate_storage::state::StateError;
use quorate_wire::kv::Command;
use quorate_wire::peer::{Declined, Frame};
use quorate_wire::table::{self, Execute, Unfit, What};
use quorate_wire::{command, table::EPOCH};
use std::collections::BTreeMap;

/// A pause lasts no longer.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What the leader of a group knows of those who want items. It is gone with the leadership.
pub(in super::super) struct Queue {
    leader: Leader<Bytes, Execute>,
    callers: BTreeMap<Caller, Waiting>,
    next: Caller,
    /// Proposals that are not in the log yet, and places in it that are not applied.
    proposed: BTreeMap<u64, Ticket>,
    placed: BTreeMap<Index, Ticket>,
    pause: Pause,
}

/// No Prepare is proposed for some time.
#[derive(Default)]
struct Pause {
    /// Since when, and until when.
    now: Option<(Instant, Instant)>,
    /// No other one begins before.
    next: Instant,
}

impl Pause {
    /// Somebody asks for one of this length, or for more of the one that there is: true if one begins.
    fn ask(&mut self, now: Instant, length: Duration) -> bool {
        match &mut self.now {
            Some((since, until)) => {
                *until = (*until).max((now + length).min(*since + PAUSE_MAX));
                false
            }
            None if now < self.next => false,
            None => {
                self.now = Some((now, now + length.min(PAUSE_MAX)));
                true
            }
        }
    }

    /// True if it ends now.
    fn ends(&mut self, now: Instant) -> bool {
        let Some((since, _)) = self.now.take_if(|(_, until)| now >= *until) else { return false };
        self.next = now + now.since(since);
        true
    }
}

/// Who asked, and what.
struct Waiting {
    who: Option<Proposer>,
    data: Bytes,
    explain: bool,
}

impl Queue {
    pub(in super::super) fn new(config: Config) -> Self {
        let (callers, proposed, placed) = Default::default();
        Self { leader: Leader::new(config), callers, next: 0, proposed, placed, pause: Pause::default() }
    }

    /// When a pause ends.
    pub(in super::super) fn deadline(&self) -> Option<Instant> {
        self.pause.now.map(|(_, until)| until)
    }

    /// Nobody holds an item here, or is about to, or waits for one.
    pub(in super::super) fn is_idle(&self) -> bool {
        self.pause.now.is_none()
            && self.proposed.is_empty()
            && self.placed.is_empty()
            && self.callers.is_empty()
    }
}

/// The step of a transaction that is in an entry, or the plain write.
fn step_of(data: &Bytes) -> Option<Step<Execute>> {
    let Command::Table(command) = command::decode(data).ok()?.command else { return None };
    match command.what {
        What::Commit(step) => Some(step),
        What::Execute(ops) => Some(Step::Execute(ops)),
        _ => None,
    }
}

impl Group {
    /// Proposes what somebody asks of this leader, once nobody stands in its way.
    pub(in super::super) fn admit(
        &mut self,
        node: &mut Node,
        now: Instant,
        (who, data): (Proposer, Bytes),
        explain: bool,
    ) {
        let idle = !self.locked() && self.queue.is_idle();
        let step = (!idle || command::may_be_step(&data)).then(|| step_of(&data)).flatten();
        let Some(step) = step else { return self.propose_for(now, who, data, explain) };
        if let Step::Prepare(asked) = &step {
            node.times.hears(Hlc(asked.began));
        }
        self.queue.next += 1;
        let caller = self.queue.next;
        self.queue.callers.insert(caller, Waiting { who: Some(who), data, explain });
        let mut out = Outbox::default();
        let result = self.queue.leader.request(&Seen(&self.view), caller, step, &mut out);
        self.follow(node, now, result, out);
    }

    fn follow(
        &mut self,
        node: &mut Node,
        now: Instant,
        result: Result<(), StateError>,
        mut out: Outbox<Execute, Unfit>,
    ) {
        if let Err(error) = result {
            node.broken = Some(Broken::state("reading what transactions hold", &error));
        }
        for (ticket, step) in out.propose {
            let callers = self.queue.leader.callers(ticket).to_vec();
            let first = self.next_proposal + 1;
            if callers.is_empty() {
                let what = What::Commit(step);
                let command = Command::Table(Box::new(table::Command { epoch: EPOCH, now: 0, what }));
                let data = command::encode(node.settings.node, node.take_request(), &command);
                self.propose(now, Proposer::Nobody, data);
            }
            self.queue.proposed.insert(first, ticket);
            for caller in callers {
                self.let_go(now, caller);
            }
        }
        for (caller, _) in out.answers {
            self.let_go(now, caller);
            self.queue.callers.remove(&caller);
        }
        node.undecided.append(&mut out.recover);
    }

    /// What a caller asked for goes into the log, unless it has.
    fn let_go(&mut self, now: Instant, caller: Caller) {
        let Some(waiting) = self.queue.callers.get_mut(&caller) else { return };
        if let Some(who) = waiting.who.take() {
            let (data, explain) = (waiting.data.split_to(waiting.data.len()), waiting.explain);
            self.propose_for(now, who, data, explain);
        }
    }

    /// A proposal has its place in the log.
    pub(in super::super) fn queue_placed(&mut self, id: ProposalId, entry: EntryId) {
        if let Some(ticket) = self.queue.proposed.remove(&id.0) {
            self.queue.placed.insert(entry.index, ticket);
        }
    }

    /// It never gets one.
    pub(in super::super) fn queue_dropped(&mut self, id: ProposalId) {
        if let Some(ticket) = self.queue.proposed.remove(&id.0) {
            for caller in self.queue.leader.callers(ticket).to_vec() {
                self.queue.callers.remove(&caller);
            }
            self.queue.leader.dropped(ticket);
        }
    }

    /// The log is applied up to there: who waited may go.
    pub(in super::super) fn queue_applied(&mut self, node: &mut Node, now: Instant, upto: Index) {
        while let Some((&at, &ticket)) = self.queue.placed.first_key_value().filter(|(at, _)| **at <= upto) {
            self.queue.placed.remove(&at);
            let mut out = Outbox::default();
            // Who asked is answered by the entry.
            let result = self.queue.leader.applied(&Seen(&self.view), ticket, &Answer::Missing, &mut out);
            self.follow(node, now, result, out);
        }
        if self.queue.leader.waiting() > 0 {
            let mut out = Outbox::default();
            let result = self.queue.leader.look_again(&Seen(&self.view), &mut out);
            self.follow(node, now, result, out);
        }
    }

    /// Lets no Prepare into the log for so long, if this node leads.
    pub(in super::super) fn pause(&mut self, now: Instant, length: Duration) {
        if self.raft.is_leader() && self.queue.pause.ask(now, length) {
            self.queue.leader.pause(true);
        }
    }

    /// Goes on behind a pause.
    pub(in super::super) fn end_pause(&mut self, node: &mut Node, now: Instant) {
        if self.queue.pause.ends(now) {
            self.queue.leader.pause(false);
            let mut out = Outbox::default();
            let result = self.queue.leader.look_again(&Seen(&self.view), &mut out);
            self.follow(node, now, result, out);
        }
    }

    /// Another leadership begins, or this one ends: who waits here is sent back, to ask who leads then.
    pub(in super::super) fn queue_anew(&mut self, node: &mut Node) {
        let before = std::mem::replace(&mut self.queue, Queue::new(node.locking.clone()));
        for waiting in before.callers.into_values() {
            match waiting.who {
                Some(Proposer::Here(request)) => node.pending.refused(request),
                Some(Proposer::Peer(from, request)) => {
                    node.send(from, &Frame::Refused { request, why: Declined::NotLeading });
                }
                _ => {}
            }
        }
    }

    /// What transactions have held here for too long is recovered.
    pub(in super::super) fn look_for_undecided(&mut self, node: &mut Node, now: Instant) {
        if !self.raft.is_leader() {
            return;
        }
        // Whose transaction came to its end meanwhile is answered by what stands.
        let forgotten = |caller: &&Caller| !self.queue.leader.knows(**caller);
        for caller in self.queue.callers.keys().filter(forgotten).copied().collect::<Vec<_>>() {
            self.let_go(now, caller);
            self.queue.callers.remove(&caller);
        }
        if !self.locked() {
            return;
        }
        let mut out = Outbox::default();
        let result = self.queue.leader.tick(now, &Seen(&self.view), &mut out);
        self.follow(node, now, result, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: a pause that is asked for again and again ends, and as long a time follows without one.
    #[test]
    fn pauses_take_at_most_half_of_the_time() {
        let (step, asked) = (Duration::from_millis(1), Duration::from_millis(20));
        let (mut pause, mut paused, mut begun) = (Pause::default(), 0, 0);
        let mut now = Instant(0);
        for _ in 0..4_000 {
            now = now + step;
            pause.ends(now);
            begun += u32::from(pause.ask(now, asked));
            paused += u32::from(pause.now.is_some());
        }
        assert!(
            (1_900..=2_100).contains(&paused) && (10..=11).contains(&begun),
            "{paused} of 4000, {begun} times"
        );
        let mut once = Pause::default();
        assert!(once.ask(now, asked) && !once.ends(now + Duration::from_millis(19)));
        assert!(once.ends(now + asked) && !once.ask(now + asked, asked));
        assert!(once.ask(now + 2 * asked, asked), "it was short, and so is the rest");
    }
}
