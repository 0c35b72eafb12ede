//! The groups that this node is told of by the placement in shard 1's state: made, let go, and kept in order.
//!
//! Every node has every shard. A group begins once a checkpoint is recorded in which its machine is: from then on each start finds
//! it, and nothing was said in its name before. Where this node may have forgotten what it promised (damage, a lost disk), the
//! groups that it may have had before are begun as what they may be: replicas that withhold.
//!
//! The members of a group follow those of shard 1: whoever leads it takes in who came, gives it its vote once it holds the log, and
//! lets go of who left. Until all of them have, who left goes on and is talked to, since they may need it to let it go: else two that
//! forgot something, or were away for a moment, could leave a group without a majority for ever (seeds 7 and 58 of the simulator, with
//! members that come and go). Leaders are spread: each shard prefers one of its voters, in turn by its number, and a leader that is not
//! preferred hands over to the one that is, when that holds all. And who leads gives the machine the newest definition of its table.

use super::group::Proposer;
use super::members::members_of;
use super::node::Node;
use super::{Effects, Group, Lane};
use crate::api::Failure;
use crate::applier::{Cut, Work};
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Base, HardState, Index, Instant, NodeId, Rng, ShardId};
use quorate_protocol::Core;
use quorate_protocol::raft::{self, Input, Membership, Raft};
use quorate_state::kv::KvView;
use quorate_state::table::{Block, Placement};
use quorate_wire::command;
use quorate_wire::kv::Command;
use quorate_wire::members::{Asked, Book};
use quorate_wire::table::{self, What};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often the groups are looked at that something may have to be done with.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// A node that knows of no leader of shard 1 for so many of the longest election timeouts may have left and not know it: what it leads
/// could not follow.
const BLIND: u32 = 3;
/// So many leaderships at most are handed over at one look.
const HAND_OVERS: usize = 16;

/// What this node may have forgotten, as it began.
#[derive(Clone, Copy, Default, Debug)]
pub struct Doubts {
    /// All of it: its disk is lost.
    pub disk_lost: bool,
    /// What it knew of shards that were made up to here in shard 1's log; 0 if nothing.
    pub upto: Index,
}

/// What a lane knows of placement.
pub(super) struct Placed {
    /// What it has followed.
    pub(super) followed: Arc<Placement>,
    /// Machines that are begun, with what their groups begin with.
    opening: BTreeMap<ShardId, Arc<Block>>,
    pub(super) doubts: Doubts,
    /// The groups that may have been on the disk that is lost were made up to here in shard 1's log.
    lost_upto: Option<Index>,
    tend_at: Instant,
    rng: Rng,
}

impl Placed {
    pub(super) fn new(rng: Rng, now: Instant) -> Self {
        let (followed, opening, doubts, lost_upto) = Default::default();
        Self { followed, opening, doubts, lost_upto, tend_at: now, rng }
    }
}

impl Lane {
    /// Groups that are begun from here on may be of those that this node has forgotten.
    pub fn doubts(&mut self, doubts: Doubts) {
        self.placed.doubts = doubts;
    }

    /// The placement that was followed last.
    pub fn placement(&self) -> &Arc<Placement> {
        &self.placed.followed
    }

    /// When the groups are to be looked at next.
    pub(super) fn tend_deadline(&self) -> Option<Instant> {
        let soon = self.node.tend_soon.then_some(Instant::ZERO);
        soon.or_else(|| (!self.groups.is_empty()).then_some(self.placed.tend_at))
    }

    /// Has the machines begun that shard 1's state tells of, and lets go of those that it tells of no more.
    pub(super) fn follow_placement(&mut self, out: &mut Effects) {
        let placement = self.space.view.tables().placement();
        if Arc::ptr_eq(placement, &self.placed.followed) {
            return;
        }
        let placement = placement.clone();
        for block in placement.blocks() {
            for shard in block.shards() {
                if self.groups.contains_key(&shard) || self.placed.opening.contains_key(&shard) {
                    continue;
                }
                self.placed.opening.insert(shard, block.clone());
                out.work.push(Work::Open { shard, founders: block.founders.clone() });
            }
        }
        let gone = |shard: &ShardId| placement.was_dropped(*shard);
        self.placed.opening.retain(|shard, _| !gone(shard));
        let closed: Vec<ShardId> = self.groups.keys().copied().filter(gone).collect();
        // Also those whose machines are only begun.
        let begun = self.placed.followed.blocks().flat_map(|block| block.shards()).filter(gone);
        let all: BTreeSet<ShardId> = closed.into_iter().chain(begun).collect();
        for shard in all {
            self.close(shard);
            out.work.push(Work::Close { shard });
        }
        self.node.grouped = !placement.is_empty();
        self.placed.followed = placement;
    }

    /// Whether all groups are here that the readable state of shard 1 tells of.
    pub(super) fn has_begun_all(&self) -> bool {
        let placement = self.space.view.tables().placement();
        Arc::ptr_eq(placement, &self.placed.followed) && self.placed.opening.is_empty()
    }

    /// A disk was lost: once shard 1 has healed, and all groups have begun that its log told of by then, none is to come any more that
    /// was on that disk. Till then a start must know of the loss. (Seed 13 of the simulator, with members that come and go: shard 1 had
    /// healed, the node started again, and a group began that had forgotten its votes and did not know.)
    pub(super) fn heal_doubts(&mut self) {
        if !self.placed.doubts.disk_lost || self.space.raft.disk_lost() {
            return;
        }
        let upto = *self.placed.lost_upto.get_or_insert(self.space.raft.last().index);
        if self.space.view.applied().index >= upto && self.has_begun_all() {
            self.placed.doubts.disk_lost = false;
        }
    }

    fn close(&mut self, shard: ShardId) {
        self.touched.remove(&shard);
        let Some(mut group) = self.groups.remove(&shard) else { return };
        if let Some(due) = group.due.take() {
            self.due.remove(&(due, shard));
        }
        self.resting.moves(self.node.tick_at, shard, group.rests_under.take(), None);
        let mut waiting = self.node.pending.drain_shard(shard);
        waiting.append(&mut group.drain_all());
        group.uncount(&mut self.node);
        for done in waiting {
            // Nobody will ever know more: the shard is no more.
            done(Err(Failure::LeaderChanged));
        }
    }

    /// A checkpoint is recorded that holds machines which began: their groups may speak.
    pub(super) fn opened(&mut self, now: Instant, cut: &Cut) {
        self.node.tend_soon |= !cut.opened.is_empty();
        for (shard, view) in &cut.opened {
            let Some(block) = self.placed.opening.remove(shard) else { continue };
            let Some((_, base)) = cut.bases.iter().find(|(of, _)| of == shard) else { continue };
            match self.begin(now, *shard, &block, base.clone()) {
                Ok(raft) => self.add(*shard, raft, view.clone(), now),
                Err(error) => {
                    let why = format!("shard {shard} cannot begin: {error:?}");
                    self.node.broken = Some(super::Broken::new(why));
                }
            }
        }
    }

    fn begin(
        &mut self,
        now: Instant,
        shard: ShardId,
        block: &Block,
        base: Base,
    ) -> Result<Raft, raft::BootError> {
        let Doubts { disk_lost, upto } = self.placed.doubts;
        let config = raft::Config { shard, rests: true, ..self.node.settings.raft.clone() };
        let founders = Membership::decode(&block.founders).unwrap_or_default();
        let boot = raft::Boot {
            hard: HardState { commit: Index(0), ..HardState::default() },
            base,
            entries: Vec::new(),
            applied: Index(0),
            withheld_upto: None,
            withhold_votes: block.made <= upto,
            disk_lost,
            state_lost: false,
            campaign_at_once: preferred(shard, &founders) == Some(self.node.settings.node),
            promised: Duration::ZERO,
        };
        Raft::new(config, self.placed.rng.fork("group"), boot, now)
    }

    /// Now and then all groups are looked at.
    pub(super) fn tend_groups(&mut self, now: Instant) {
        let soon = std::mem::take(&mut self.node.tend_soon);
        if self.groups.is_empty() && self.placed.opening.is_empty() {
            self.still_in_groups(BTreeSet::new());
            return;
        }
        if now < self.placed.tend_at && !soon {
            return;
        }
        self.placed.tend_at = now + TEND_EVERY;
        self.node.alarmed = !self.space.view.alarms().is_empty();
        let target = self.space.raft.committed_membership().clone();
        let wanted = members_of(&target);
        let follows = |group: &Group| {
            let own = group.raft.committed_membership();
            !own.is_joint() && members_of(own) == wanted
        };
        let all = self.placed.opening.is_empty() && self.groups.values().all(follows);
        self.node.followed = all.then_some(wanted);
        self.count_nodes();
        let (at, placement) = (self.space.raft.configured_at().1, self.placed.followed.clone());
        let patience = BLIND * self.node.settings.raft.election_max;
        let blind = self.space.leaderless_since.is_some_and(|since| now.since(since) > patience);
        let mut left = HAND_OVERS;
        for (&shard, group) in self.groups.iter_mut().filter(|(_, group)| group.raft.is_leader()) {
            let Some(block) = placement.block_of(shard) else { continue };
            let did = group.follow_members(now, (&target, at), block.made)
                || group.follow_definition(&mut self.node, now, &self.space.view)
                || (left > 0 && if blind { group.pass_on(now) } else { group.prefer(now) });
            if did {
                left = left.saturating_sub(1);
                self.touched.insert(shard);
            }
        }
    }

    /// Who is in the configuration of any group, as far as it is known here.
    fn count_nodes(&mut self) {
        let known = |group: &Group| {
            let mut nodes = group.raft.membership().nodes();
            nodes.extend(group.raft.committed_membership().nodes());
            nodes
        };
        let opening = self.placed.opening.values().filter_map(|block| Membership::decode(&block.founders));
        let opening = opening.flat_map(|founders| founders.nodes());
        let nodes = self.groups.values().flat_map(known).chain(opening).collect();
        self.still_in_groups(nodes);
    }

    fn still_in_groups(&mut self, nodes: BTreeSet<NodeId>) {
        if self.node.in_groups != nodes {
            self.node.in_groups = nodes;
            self.node.in_groups_version += 1;
        }
    }
}

/// The voter that is to lead a shard.
fn preferred(shard: ShardId, membership: &Membership) -> Option<NodeId> {
    let voters = membership.voters.len();
    membership.voters.iter().nth(shard.get() as usize % voters.max(1)).copied()
}

/// The book of a group that is not shard 1's: who the members are stands in shard 1's. It says at which place in shard 1's log that
/// configuration stands which was followed, as if nobody had asked by that number.
fn book_of(target: &Membership, at: Index) -> Option<Bytes> {
    let asked = Asked { origin: NOBODY, request: at.get(), member: NOBODY };
    Book { used: Book::of(target).used, asked: Some(asked), members: BTreeMap::new() }.encode()
}

/// See [`book_of`]; none of the configuration that a group begins with.
fn followed_at(membership: &Membership) -> Option<Index> {
    let asked = Book::of(membership).asked.filter(|asked| asked.origin == NOBODY)?;
    Some(Index(asked.request))
}

const NOBODY: NodeId = NodeId(0);

impl Group {
    /// The members that the group should have next, on the way to those of shard 1, which stand at `at` in its log; true if a
    /// change was proposed. Who knows less of shard 1 than the group does already leaves it as it is: else one that has left might
    /// come back.
    fn follow_members(&mut self, now: Instant, (target, at): (&Membership, Index), made: Index) -> bool {
        let own = self.raft.membership();
        let older = at < followed_at(own).unwrap_or(made);
        if older || own.is_joint() || target.is_joint() || self.raft.change_pending() {
            return false;
        }
        let may_vote = |node: &NodeId| own.is_voter(*node) || self.raft.is_caught_up(*node);
        let voters: BTreeSet<NodeId> = target.voters.iter().copied().filter(may_vote).collect();
        let learners: BTreeSet<NodeId> =
            target.nodes().into_iter().filter(|node| !voters.contains(node)).collect();
        if voters.is_empty() || (own.voters == voters && own.learners == learners) {
            return false;
        }
        let Some(book) = book_of(target, at) else { return false };
        let target = Membership { voters, learners, book, ..Membership::default() };
        let id = self.propose_as(Proposer::Nobody);
        self.raft.handle(now, Input::ChangeMembership { id, target });
        true
    }

    /// Hands the leadership to the voter that is preferred, if that holds all.
    fn prefer(&mut self, now: Instant) -> bool {
        let to = preferred(self.shard, self.raft.membership());
        let Some(to) = to.filter(|&to| to != self.raft.id() && self.raft.is_ready(to)) else { return false };
        if self.raft.change_pending() {
            return false;
        }
        self.raft.handle(now, Input::Transfer { to });
        true
    }

    /// Hands the leadership to any voter that holds all.
    fn pass_on(&mut self, now: Instant) -> bool {
        let other = |&&to: &&NodeId| to != self.raft.id() && self.raft.is_ready(to);
        let Some(&to) = self.raft.membership().voters.iter().find(other) else { return false };
        self.raft.handle(now, Input::Transfer { to });
        true
    }

    /// Gives the machine the definition of its table that shard 1 has, if it is newer than what it has.
    fn follow_definition(&mut self, node: &mut Node, now: Instant, space: &KvView) -> bool {
        let tables = space.tables();
        let Some(block) = tables.placement().block_of(self.shard) else { return false };
        let version = block.version;
        if self.view.tables().adopted() >= version || self.adopting >= version {
            return false;
        }
        let Some(definition) = tables.definition(&block.name) else { return false };
        self.adopting = version;
        let what = What::Adopt { version: version.get(), definition: Box::new(definition.clone()) };
        let command = Command::Table(Box::new(table::Command { epoch: block.epoch, now: 0, what }));
        let data = command::encode(node.settings.node, node.take_request(), &command);
        self.propose(now, Proposer::Nobody, data);
        true
    }
}
