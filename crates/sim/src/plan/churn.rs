//! Members come and go while the rest of a run breaks things: added, promoted, removed (the leader too), moved; and some are
//! drained: shard 1 has it in its log that they are to leave, and takes it back of others.
//!
//! Nodes that were added are started a little later, by whoever looks at the list of members; some of them stay away for long.
//! What was asked may be refused, lost or in doubt; what was answered must hold: the member is there or gone, and no id is
//! given twice. At the end, when all is healed, no change may be under way any more, whoever joined has its vote, who was
//! removed has stopped, who is to leave has no replica that could be elsewhere, and one more change goes through.

use super::Run;
use super::ops::answered;
use crate::members::url;
use crate::steps::Breaker;
use crate::trace::What as Traced;
use crate::world::Script;
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId, Rng};
use quorate_node::api::{Answer, Body, Failure, Request};
use quorate_protocol::raft::Membership;
use quorate_wire::kv::Command;
use quorate_wire::members::{Book, Change};
use quorate_wire::table::{self, What};
use std::collections::BTreeSet;

/// Under this number come answers to it, beside those to clients.
pub(super) const CLIENT: usize = usize::MAX;
/// So many members there are at most.
const MOST: usize = 7;
/// And so many voters at least.
const FEWEST: usize = 2;
/// After healing, so long may it take until nothing is under way.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who asks for changes.
pub(super) struct Churn {
    rng: Rng,
    drains: Rng,
    /// What was asked, whom, and when.
    asked: Option<(Request, NodeId, Instant)>,
    /// Members that are still to be started.
    late: BTreeSet<NodeId>,
    /// Ids that were given, by the answers.
    given: BTreeSet<u64>,
    /// Where the next one will be.
    next_url: u64,
    /// The last change, at the end, was answered well.
    confirmed: bool,
}

impl Churn {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::stream(seed, "members"),
            drains: Rng::stream(seed, "drains"),
            asked: None,
            late: BTreeSet::new(),
            given: BTreeSet::new(),
            next_url: 1_000,
            confirmed: false,
        }
    }

    fn choose(
        &mut self,
        members: &Membership,
        leader: Option<NodeId>,
        moved_to: Option<NodeId>,
    ) -> Option<Request> {
        let nodes: Vec<NodeId> = members.nodes().into_iter().collect();
        let learners: Vec<NodeId> = members.learners.iter().copied().collect();
        let any = *self.rng.pick(&nodes);
        let may_leave = |id: NodeId| !members.voters.contains(&id) || members.voters.len() > FEWEST;
        let remove = |id: NodeId| may_leave(id).then_some(Change::Remove { id });
        let change = match self.rng.below(13) {
            0..=3 if nodes.len() < MOST => Some(self.add(false)),
            4..=5 if nodes.len() < MOST => Some(self.add(true)),
            6..=7 if !learners.is_empty() => Some(Change::Promote { id: *self.rng.pick(&learners) }),
            8..=9 => remove(moved_to.filter(|_| self.drains.chance(1, 2)).unwrap_or(any)),
            10 => remove(leader?),
            11 => return Some(Request::MoveLeader { to: any.get() }),
            _ => Some(self.update(any)),
        };
        change.map(Request::ChangeMembers)
    }

    /// Now and then a node is to leave, as long as enough stay, or not any more.
    fn drain(&mut self, members: &Membership, leaving: &BTreeSet<NodeId>) -> Option<Request> {
        if !self.drains.chance(1, 5) {
            return None;
        }
        let (go, stay): (Vec<NodeId>, Vec<NodeId>) =
            members.voters.iter().partition(|node| leaving.contains(node));
        let back = !go.is_empty() && self.drains.chance(1, 3);
        if !back && stay.len() <= FEWEST {
            return None;
        }
        let what = What::Leave { node: *self.drains.pick(if back { &go } else { &stay }), leaves: !back };
        let command = table::Command { epoch: table::EPOCH, now: 0, what };
        Some(Request::Write(Command::Table(Box::new(command))))
    }

    fn add(&mut self, learner: bool) -> Change {
        self.next_url += 1;
        Change::Add { peer_urls: vec![url(self.next_url)], learner }
    }

    fn update(&mut self, id: NodeId) -> Change {
        self.next_url += 1;
        Change::Update { id, peer_urls: vec![url(self.next_url)] }
    }
}

/// A request about members in words.
fn in_words(request: &Request) -> String {
    match request {
        Request::ChangeMembers(Change::Add { learner, .. }) => {
            format!("add a {}", if *learner { "learner" } else { "member" })
        }
        Request::ChangeMembers(Change::Remove { id }) => format!("remove n{id}"),
        Request::ChangeMembers(Change::Promote { id }) => format!("promote n{id}"),
        Request::ChangeMembers(Change::Update { id, .. }) => format!("move n{id} to another address"),
        Request::MoveLeader { to } => format!("let n{to} lead"),
        Request::Write(Command::Table(command)) => match &command.what {
            What::Leave { node, leaves: true } => format!("let n{node} be left by its replicas"),
            what => format!("{what:?}"),
        },
        other => format!("{other:?}"),
    }
}

impl Run {
    /// One look at the list of members: who is new is started, and perhaps one more change is asked for.
    pub(super) fn change_members(&mut self) {
        let made = self.world.make_places();
        self.world.dial();
        let Some(churn) = &mut self.churn else { return };
        churn.late.extend(made);
        let pause = if self.calm { 200 } else { churn.rng.between(10, 600) };
        self.world.schedule(Duration::from_millis(pause), Script::Members);
        let calm = self.calm;
        let ready: Vec<NodeId> =
            churn.late.iter().copied().filter(|_| calm || churn.rng.chance(1, 3)).collect();
        for id in ready {
            churn.late.remove(&id);
            self.world.counts.add("nodes that joined");
            self.world.start(id);
        }
        if !calm && self.disks && churn.rng.chance(1, 25) {
            let one = self.world.any(&mut churn.rng);
            if let Some(name) = self.world.takes(Breaker::Losses) {
                self.world
                    .fault(|| format!("{name}: n{one} is killed and loses its disk, if none else is harmed"));
                self.world.kill(one);
                self.world.lose_disk(one);
            }
        }
        let Some(churn) = &mut self.churn else { return };
        let stranded = self.swarm.alone && self.stranded.is_some();
        if calm || stranded || churn.asked.is_some() {
            return;
        }
        let (members, leader) = (self.world.members().clone(), self.world.leader());
        let moved_to = self.world.moved_to();
        let placed =
            leader.filter(|_| self.world.knobs.groups > 0).and_then(|id| self.world.placement_at(id));
        let drain = placed.and_then(|placement| churn.drain(&members, &placement.leaving()));
        if let Some(request) = drain.or_else(|| churn.choose(&members, leader, moved_to)) {
            let up: Vec<NodeId> = self.world.ids().filter(|&id| self.world.hub(id).is_some()).collect();
            let node = match (&request, leader) {
                (Request::MoveLeader { .. }, Some(leader)) => leader,
                _ if up.is_empty() => return,
                _ => *churn.rng.pick(&up),
            };
            self.ask_for_change(node, request);
        }
    }

    fn ask_for_change(&mut self, node: NodeId, request: Request) {
        let Some(churn) = &mut self.churn else { return };
        churn.asked = Some((request.clone(), node, self.world.now));
        self.world.note(|| Traced::Asked { client: None, node, op: in_words(&request) });
        let mut reply = self.reply_to(CLIENT);
        self.world.call(node, request, Box::new(move |result| reply.give(result)));
    }

    pub(super) fn members_answered(&mut self, result: Result<Answer, Failure>) -> Result<(), String> {
        let Some(churn) = &mut self.churn else { return Ok(()) };
        let Some((asked, node, at)) = churn.asked.take() else { return Ok(()) };
        self.world.note(|| answered(None, node, at, in_words(&asked), &result));
        let (id, members) = match result {
            Ok(Answer { body: Body::MembersChanged { id, members }, .. }) => (id, members),
            Ok(Answer { body: Body::Moved, .. }) => {
                self.world.counts.add("leaders moved");
                return Ok(());
            }
            Ok(Answer { body: Body::Reply(_), .. }) => {
                self.world.counts.add("nodes that are to leave or to stay");
                return Ok(());
            }
            Ok(Answer { body, .. }) => return Err(format!("{asked:?} was answered {body:?}")),
            Err(Failure::Members(_)) => {
                self.world.counts.add("changes of members refused");
                return Ok(());
            }
            Err(_) => {
                self.world.counts.add("changes of members in doubt or not begun");
                return Ok(());
            }
        };
        let there = members.iter().find(|m| m.id == id);
        let Request::ChangeMembers(change) = asked else { return Err(format!("{asked:?} changed members")) };
        let (what, holds) = match &change {
            Change::Add { peer_urls, .. } => {
                if !churn.given.insert(id) {
                    return Err(format!("Identities: {id} was given twice"));
                }
                ("members added", there.is_some_and(|m| m.peer_urls == *peer_urls))
            }
            Change::Remove { id: removed } => ("members removed", removed.get() == id && there.is_none()),
            Change::Promote { .. } => ("learners promoted", there.is_some_and(|m| !m.learner)),
            Change::Update { peer_urls, .. } => {
                ("members moved", there.is_some_and(|m| m.peer_urls == *peer_urls))
            }
            Change::Publish { .. } => ("", false),
        };
        churn.confirmed = holds;
        self.world.counts.add(what);
        if holds { Ok(()) } else { Err(format!("{change:?} was answered with {id} in {members:?}")) }
    }

    /// Nothing is under way any more, and one more change goes through. False where a group cannot follow, beyond what is promised.
    pub(super) fn members_settle(&mut self) -> Result<bool, String> {
        if self.churn.is_none() {
            return Ok(true);
        }
        let end = self.world.now + PATIENCE + self.missed();
        if !self.until(end, |run| run.under_way().is_none())? {
            if self.world.other_shards().any(|shard| self.world.beyond_help(shard)) {
                self.world.counts.add("groups left without a leader, beyond what is promised");
                return Ok(false);
            }
            let what = self.under_way().unwrap_or_default();
            return Err(format!(
                "Liveness: {what}, {PATIENCE:?} and more after healing ({}; {})",
                self.stuck(),
                self.groups()
            ));
        }
        let end = self.world.now + PATIENCE;
        while self.until(end, |run| run.world.leader().is_some())? && self.world.now < end {
            let Some(leader) = self.world.leader() else { break };
            let Some(churn) = &mut self.churn else { break };
            churn.confirmed = false;
            let change = churn.update(leader);
            self.ask_for_change(leader, Request::ChangeMembers(change));
            self.until(end, |run| run.churn.as_ref().is_some_and(|churn| churn.asked.is_none()))?;
            if self.churn.as_ref().is_some_and(|churn| churn.confirmed) {
                // All hear of it.
                let end = self.world.now + Duration::from_secs(3);
                return self.until(end, |_| false).map(|_| true);
            }
        }
        // Groups that could not bear a change hold it back.
        Err(format!(
            "Liveness: no change of members goes through any more ({}; {})",
            self.stuck(),
            self.groups()
        ))
    }

    /// Where the shards beside the key-value space's are to be, and what their groups think, in words.
    fn groups(&self) -> String {
        let placed = self.world.leader().and_then(|id| self.world.placement_at(id));
        let words = |shard| {
            let home = placed.as_ref().and_then(|placement| placement.home(shard));
            format!("{shard}: {home:?}, {}", self.cores(shard))
        };
        self.world.other_shards().map(words).collect::<Vec<_>>().join("; ")
    }

    /// What of a change of members is not through yet.
    fn under_way(&self) -> Option<String> {
        let leader =
            self.world.leader().and_then(|id| self.world.places[crate::world::place_of(id)].running.as_ref());
        let Some(leader) = leader else { return Some("no leader".into()) };
        let raft = leader.lane.raft();
        if raft.change_pending() {
            return Some("a change of members is still under way".into());
        }
        let members = raft.membership();
        let joins =
            Book::of(members).members.into_iter().find(|(id, info)| info.joins && members.contains(*id));
        if let Some((id, _)) = joins {
            return Some(format!("{id:?} joined and has no vote yet"));
        }
        let behind = self.world.places.iter().find(|place| {
            let here = place.running.as_ref();
            members.contains(place.id)
                && here.is_none_or(|r| r.lane.view().applied() != leader.lane.view().applied())
        });
        if let Some(place) = behind {
            return Some(format!("node {} lags behind", place.id));
        }
        // One that knows nobody any more who is a member cannot be told.
        let left = self.world.places.iter().find(|place| {
            let tellable =
                |r: &crate::place::Running| r.lane.roster().peers.keys().any(|&id| members.contains(id));
            !members.contains(place.id) && place.running.as_deref().is_some_and(tellable)
        });
        left.map(|place| format!("node {} was removed and has not stopped", place.id))
    }
}
