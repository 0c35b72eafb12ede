//! Requests of shards that this node has no replica of: passed on to a node that has.
//!
//! Any node takes any request. Where its own replica cannot serve (there is none, it still comes, or is about to go) the request goes
//! to one of those who are to have the shard, as a client's would, and the answer comes back the same way. Who is asked and
//! does not have the shard says so: nothing was done, and the next one is asked.
//!
//! A write is passed on at most once to a node that may have taken it: if the answer does not come, it is in doubt. A read is asked
//! again of another node when its answer takes longer than [`AGAIN`] of the longest election timeouts, or when its node is lost sight of.
//!
//! # Left out
//!
//! Explanations of how a request was served elsewhere: whoever wants one hears only by whom.

mod codec;

use super::Lane;
use super::node::Node;
use crate::api::{Done, Failure, Request, Wait};
use crate::evidence::Slot;
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId, ShardId};
use quorate_state::table::{Home, Read};
use quorate_wire::kv::Refused;
use quorate_wire::peer::Frame;
use quorate_wire::table::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// See the page.
const AGAIN: u32 = 1;

/// A request that is elsewhere.
struct Waiting {
    shard: ShardId,
    body: Bytes,
    writes: bool,
    /// Who is asked, ...
    at: NodeId,
    /// ... and since when.
    since: Instant,
    /// Who was asked and did nothing.
    tried: BTreeSet<NodeId>,
    /// Nobody else will do.
    only: Option<NodeId>,
    deadline: Instant,
    done: Done,
    /// Where it is told who answered, if somebody wants to know.
    slot: Option<Slot>,
}

/// Answers to what others asked, on their way: to whom, by his number.
type Told = Arc<Mutex<Vec<(NodeId, u64, Bytes)>>>;

/// What is elsewhere, and who may be asked.
#[derive(Default)]
pub(super) struct Away {
    waiting: BTreeMap<u64, Waiting>,
    /// Whose connections are gone.
    down: BTreeSet<NodeId>,
    /// Who answered last for a shard.
    answers: BTreeMap<ShardId, NodeId>,
    told: Told,
}

impl Away {
    /// How many requests wait for others.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the connection to a peer is gone.
    pub(super) fn is_down(&self, peer: NodeId) -> bool {
        self.down.contains(&peer)
    }

    /// Takes out all that waits, for a node that stops.
    pub(super) fn drain_all(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.done).collect()
    }

    /// Takes out those of which something holds.
    fn take(&mut self, holds: impl Fn(&Waiting) -> bool) -> Vec<(u64, Waiting)> {
        let all = self.waiting.iter().filter(|(_, waiting)| holds(waiting)).map(|(&number, _)| number);
        let all: Vec<u64> = all.collect();
        all.into_iter().filter_map(|number| Some((number, self.waiting.remove(&number)?))).collect()
    }

    /// The answers that came since this was asked last.
    pub(super) fn take_told(&mut self) -> Vec<(NodeId, u64, Bytes)> {
        std::mem::take(&mut *lock(&self.told))
    }

    /// Whether a node may be asked.
    fn fit(&self, waiting: &Waiting, node: NodeId, me: NodeId) -> bool {
        node != me && !waiting.tried.contains(&node) && !self.down.contains(&node)
    }

    /// Whom to ask: who answered last, then one in turn of those who are to have it, then one of those who still have it.
    fn whom(&self, waiting: &Waiting, home: &Home, me: NodeId) -> Option<NodeId> {
        let Waiting { shard, only, .. } = waiting;
        let fit = |node: &NodeId| self.fit(waiting, *node, me);
        if let Some(only) = only {
            return Some(*only).filter(|node| home.hosts(*node) && fit(node));
        }
        let last = self.answers.get(shard).copied().filter(|node| home.hosts(*node) && fit(node));
        let wanted: Vec<NodeId> = home.replicas.keys().copied().filter(fit).collect();
        let turn = wanted.get(shard.get() as usize % wanted.len().max(1)).copied();
        last.or(turn).or_else(|| home.leaving.keys().copied().find(fit))
    }
}

fn lock(told: &Told) -> std::sync::MutexGuard<'_, Vec<(NodeId, u64, Bytes)>> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether nothing was done, and another node may do it.
fn may_elsewhere(failure: &Failure, writes: bool) -> bool {
    match failure {
        Failure::Refused(Refused::Table(Refusal::StaleEpoch), _) | Failure::NoLeader => true,
        Failure::Broken(_) | Failure::TimedOut | Failure::LeaderChanged | Failure::Stopping => !writes,
        _ => false,
    }
}

/// Whether it asks for what the asked node has counted.
fn counts(request: &Request) -> bool {
    matches!(request, Request::Table { read, .. } if matches!(**read, Read::Hot(_)))
}

impl Lane {
    /// Whether this node's own replica of a shard serves clients.
    fn serves(&self, shard: ShardId) -> bool {
        let Some(group) = self.groups.get(&shard) else { return shard == self.space.shard };
        let me = self.node.settings.node;
        let wanted = self.space.view.tables().placement().wants(shard, me);
        let can = group.raft.membership().is_voter(me) && !group.raft.state_lost();
        wanted.unwrap_or(true) && can
    }

    /// Starts a request of a shard, here or elsewhere.
    pub(super) fn call_shard(
        &mut self,
        now: Instant,
        shard: ShardId,
        request: Request,
        wait: Wait,
        done: Done,
    ) {
        let (request, only) = match request {
            Request::At(node, request) => (*request, Some(node)),
            request => (request, None),
        };
        if only.is_none_or(|node| node == self.node.settings.node) && self.serves(shard) {
            if let Some((group, node)) = self.at(shard) {
                group.call(node, now, request, wait, done);
            }
            return;
        }
        let named = only.is_some() && shard == self.space.shard;
        if !named && self.space.view.tables().placement().block_of(shard).is_none() {
            return done(Err(self.not_here()));
        }
        if self.node.stopping {
            return done(Err(Failure::Stopping));
        }
        if self.node.waiting_full() {
            return done(Err(Failure::Overloaded));
        }
        let (request, slot) = match request {
            Request::Explained(request, slot) => (*request, Some(slot)),
            request => (request, None),
        };
        let Some((body, writes)) = codec::request(&request) else { return done(Err(Failure::NoLeader)) };
        let most = self.node.patience.request;
        let (at, tried, deadline) =
            (NodeId(0), BTreeSet::new(), now + wait.timeout.unwrap_or(most).min(most));
        let number = self.node.take_request();
        self.pass_on(
            number,
            Waiting { shard, body, writes, at, since: now, tried, only, deadline, done, slot },
            now,
        );
    }

    /// Asks the next one, or says that there is none.
    fn pass_on(&mut self, number: u64, waiting: Waiting, now: Instant) {
        let me = self.node.settings.node;
        let shard = waiting.shard;
        let away = &self.node.away;
        let whom = match self.space.view.tables().placement().home(shard) {
            Some(home) => away.whom(&waiting, &home, me),
            // Shard 1 is on all members, and only one that is named is asked for anything of it.
            None => waiting.only.filter(|&node| {
                let member = shard == self.space.shard && self.space.raft.membership().contains(node);
                member && away.fit(&waiting, node, me)
            }),
        };
        let Some(at) = whom else {
            // Nothing was done. A door that looks at its map again may find it elsewhere.
            let failure = if waiting.tried.is_empty() { Failure::NoLeader } else { self.not_here() };
            return (waiting.done)(Err(failure));
        };
        let patience = u64::try_from(waiting.deadline.since(now).as_millis()).unwrap_or(u64::MAX);
        let body = waiting.body.clone();
        self.node.send(at, &Frame::Ask { shard, request: number, patience, body });
        self.node.away.waiting.insert(number, Waiting { at, since: now, ..waiting });
    }

    /// A peer asks in the name of its client.
    pub(super) fn asked(
        &mut self,
        now: Instant,
        from: NodeId,
        (shard, request, patience): (ShardId, u64, u64),
        body: &Bytes,
    ) {
        let Ok(asked) = codec::read_request(body) else {
            self.node.malformed.push(from);
            return;
        };
        let told = self.node.away.told.clone();
        let done: Done = Box::new(move |result| lock(&told).push((from, request, codec::answer(&result))));
        // Everybody has shard 1 himself, but for what each has counted.
        if !self.serves(shard) || shard == self.space.shard && !counts(&asked) {
            return done(Err(self.not_here()));
        }
        if let Some((group, node)) = self.at(shard) {
            group.call(node, now, asked, Some(Duration::from_millis(patience)).into(), done);
        }
    }

    /// A peer has answered.
    pub(super) fn told(&mut self, now: Instant, from: NodeId, request: u64, body: Bytes) {
        if self.node.away.waiting.get(&request).is_none_or(|waiting| waiting.at != from) {
            return;
        }
        let head = self.space.head(&self.node);
        let Ok(result) = codec::read_answer(body, head) else {
            self.node.malformed.push(from);
            return;
        };
        let Some(mut waiting) = self.node.away.waiting.remove(&request) else { return };
        match result {
            Err(failure) if may_elsewhere(&failure, waiting.writes) => {
                self.node.away.answers.remove(&waiting.shard);
                waiting.tried.insert(from);
                self.pass_on(request, waiting, now);
            }
            result => {
                if result.is_ok() {
                    self.node.away.answers.insert(waiting.shard, from);
                }
                if let Some(slot) = &waiting.slot {
                    slot.passed_on(from);
                }
                (waiting.done)(result);
            }
        }
    }

    /// A peer can be asked, or not any more.
    pub(super) fn sees(&mut self, now: Instant, peer: NodeId, up: bool) {
        if up {
            self.node.away.down.remove(&peer);
            return;
        }
        self.node.away.down.insert(peer);
        for (number, waiting) in self.node.away.take(|waiting| waiting.at == peer) {
            self.ask_another(now, number, waiting);
        }
    }

    /// Who was asked does not answer.
    fn ask_another(&mut self, now: Instant, number: u64, mut waiting: Waiting) {
        if waiting.writes {
            return (waiting.done)(Err(Failure::LeaderChanged));
        }
        self.node.away.answers.remove(&waiting.shard);
        waiting.tried.insert(waiting.at);
        self.pass_on(number, waiting, now);
    }

    /// Looks at what waits for long.
    pub(super) fn tend_away(&mut self, now: Instant) {
        for (_, waiting) in self.node.away.take(|waiting| now >= waiting.deadline) {
            (waiting.done)(Err(Failure::TimedOut));
        }
        let patience = AGAIN * self.node.patience.election;
        let silent = |waiting: &Waiting| !waiting.writes && now.since(waiting.since) >= patience;
        for (number, mut waiting) in self.node.away.take(silent) {
            if waiting.tried.len() > 1 {
                // All may have been slow.
                waiting.tried.clear();
            }
            self.ask_another(now, number, waiting);
        }
    }
}

impl Node {
    /// Sends what was answered to peers since the last drain.
    pub(super) fn tell(&mut self) {
        for (to, request, body) in self.away.take_told() {
            self.send(to, &Frame::Told { request, body });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Head;

    /// Claim: a write goes to another node only where the one that was asked has done nothing; a read wherever it got no answer.
    #[test]
    fn a_write_is_passed_on_only_where_nothing_was_done() {
        let refused = |refusal| Failure::Refused(Refused::Table(refusal), Head::default());
        for (failure, write, read) in [
            (refused(Refusal::StaleEpoch), true, true),
            (Failure::NoLeader, true, true),
            (Failure::TimedOut, false, true),
            (Failure::LeaderChanged, false, true),
            (Failure::Stopping, false, true),
            (Failure::Broken("its state".into()), false, true),
            (refused(Refusal::TokenInUse), false, false),
            (Failure::Overloaded, false, false),
            (Failure::TooLarge, false, false),
        ] {
            let may = (may_elsewhere(&failure, true), may_elsewhere(&failure, false));
            assert_eq!(may, (write, read), "{failure:?}");
        }
    }
}
