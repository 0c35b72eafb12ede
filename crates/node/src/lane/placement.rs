//! The groups that this node is told of by the placement in shard 1's state: made, let go, and kept in order.
//!
//! A node has a replica of each shard whose home names it (`state::table`, `placement`). A group begins once a checkpoint is recorded
//! in which its machine is: from then on each start finds it, and nothing was said in its name before. Where this node may have
//! forgotten what it promised (damage, a lost disk, a replica that it had let go and gets again), the group begins as what it may be:
//! a replica that withholds.
//!
//! Where a shard is to be is decided by who leads shard 1 ([`super::mover`]), and stands in shard 1's log. Whoever leads the shard's
//! group follows that with its members: who comes listens first, gets its vote once it holds the log, and in the same change, which
//! is a joint one, the one that goes loses its own. So the group never has fewer voters than it is to have; and it waits for those that
//! are about to heal, where the sound ones would be too few without the one that goes. Its configuration says
//! which place of shard 1's log it follows, and who knows only of an earlier one leaves it as it is: else one that has left might come
//! back. Once the new members are committed, and who came has confirmed that, the leader has shard 1 note it ([`What::Moved`]), and only then is what the one has that
//! went let go of. All of it is done by whoever leads, by what stands in the logs: so a move that loses its leader, of
//! shard 1 or of the shard, is gone on with by the next.
//!
//! A member that is to leave ([`What::Leave`]) is left by its replicas while it serves on; that it was to leave, and in which zone it
//! was, is forgotten once it is none any more. A member that was removed goes on, and is talked to, until no home names it. Leaders are spread: each shard prefers one of its
//! voters, in turn by its number, and a leader that is not preferred hands over to the one that is, when that holds all; nobody prefers a
//! node that is slow ([`super::flushes`]). And who leads
//! gives the machine the newest definition of its table.

use super::doubts::{Doubts, Lost};
use super::group::Proposer;
use super::mover::{self, Nodes};
use super::node::Node;
use super::unsaid::Unsaid;
use super::{Effects, Group, Lane};
use crate::api::{Failure, Request};
use crate::applier::{Cut, Work};
use crate::strict;
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Base, HardState, Index, Instant, NodeId, Rng, ShardId};
use quorate_protocol::Core;
use quorate_protocol::raft::{self, Input, Membership, Raft};
use quorate_state::kv::KvView;
use quorate_state::table::{Home, Placement};
use quorate_wire::command;
use quorate_wire::kv::Command;
use quorate_wire::members::{Asked, Book};
use quorate_wire::peer::Frame;
use quorate_wire::table::{self, EPOCH, What};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often the groups are looked at that something may have to be done with.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// A node that knows of no leader of shard 1 for so many of the longest election timeouts may have left and not know it: what it leads
/// could not follow.
const BLIND: u32 = 3;
/// A member that was not heard for so many of the longest election timeouts may be gone for good: no move waits for it any longer.
const LOST: u32 = 10;
/// For so many of the longest election timeouts a member that has come may say in which zone it is, before anything moves there.
const UNSAID: u32 = 5;
/// So many leaderships at most are handed over at one look.
const HAND_OVERS: usize = 16;

/// What a lane knows of placement.
pub(super) struct Placed {
    /// What it has followed.
    pub(super) followed: Arc<Placement>,
    /// Machines that are begun.
    opening: BTreeSet<ShardId>,
    pub(super) lost: Lost,
    /// Who has anything of any shard, by that.
    hosts: BTreeSet<NodeId>,
    /// Where nothing was to be moved when it was last looked at.
    even: Option<Looked>,
    unsaid: Unsaid,
    tend_at: Instant,
    rng: Rng,
}

/// By what it is said which replicas are to be moved.
#[derive(PartialEq, Eq)]
struct Looked {
    placement: Arc<Placement>,
    members: BTreeSet<NodeId>,
    /// Who of them was heard lately, ...
    heard: BTreeSet<NodeId>,
    /// ... who was not for long, ...
    lost: BTreeSet<NodeId>,
    /// ... and who may still say in which zone it is.
    unsaid: BTreeSet<NodeId>,
}

impl Placed {
    pub(super) fn new(rng: Rng, now: Instant) -> Self {
        let (followed, opening, lost, hosts, even, unsaid) = Default::default();
        Self { followed, opening, lost, hosts, even, unsaid, tend_at: now, rng }
    }
}

impl Lane {
    /// Groups that are begun from here on may be of those that this node has forgotten.
    pub fn doubts(&mut self, doubts: Doubts) {
        self.placed.lost = Lost::new(doubts);
    }

    /// The placement that was followed last.
    pub fn placement(&self) -> &Arc<Placement> {
        &self.placed.followed
    }

    /// When the groups are to be looked at next.
    pub(super) fn tend_deadline(&self) -> Option<Instant> {
        let soon = self.node.tend_soon.then_some(Instant::ZERO);
        soon.or_else(|| (!self.placed.followed.is_empty()).then_some(self.placed.tend_at))
    }

    /// Has the machines begun that shard 1's state tells of, and lets go of those that it tells of no more.
    pub(super) fn follow_placement(&mut self, out: &mut Effects) {
        let placement = self.space.view.tables().placement();
        if Arc::ptr_eq(placement, &self.placed.followed) {
            return;
        }
        let (placement, me) = (placement.clone(), self.node.settings.node);
        let members = |shard: &ShardId| self.groups.get(shard).map(|group| group.raft.membership());
        let gone = |shard: &ShardId| let_go(&placement, *shard, me, members(shard));
        // Also those whose machines are only begun.
        let opening = std::mem::take(&mut self.placed.opening);
        let closed: BTreeSet<ShardId> =
            self.groups.keys().copied().chain(opening.iter().copied()).filter(gone).collect();
        self.placed.opening = opening.into_iter().filter(|shard| !gone(shard)).collect();
        for shard in closed {
            self.close(shard);
            out.work.push(Work::Close { shard });
        }
        for shard in placement.hosted_by(me) {
            if self.groups.contains_key(&shard) || self.placed.opening.contains(&shard) {
                continue;
            }
            let Some(members) = placement.first_members(shard, me) else { continue };
            self.placed.opening.insert(shard);
            out.work.push(Work::Open { shard, founders: members.encode() });
        }
        self.node.grouped = !placement.is_empty();
        self.node.tend_soon = true;
        let hosts = |(_, home): (ShardId, Home)| home.all_hosts().collect::<Vec<_>>();
        self.placed.hosts = placement.homes().flat_map(hosts).collect();
        self.placed.followed = placement;
    }

    /// Whether all groups are here that the readable state of shard 1 tells of.
    pub(super) fn has_begun_all(&self) -> bool {
        let placement = self.space.view.tables().placement();
        Arc::ptr_eq(placement, &self.placed.followed) && self.placed.opening.is_empty()
    }

    /// Whether nobody but members has anything of groups of other shards, by a state that is not older than the members that are known.
    pub(super) fn are_groups_settled(&self) -> bool {
        let raft = &self.space.raft;
        let known = self.space.view.applied().index >= raft.configured_at().1;
        let sound = !self.placed.lost.has_disk() && !raft.state_lost();
        let members = raft.committed_membership();
        known && sound && self.has_begun_all() && self.placed.hosts.iter().all(|&node| members.contains(node))
    }

    /// Once it is healed, what this node has lost is told to no start any more.
    pub(super) fn heal_doubts(&mut self, out: &mut Effects) {
        if self.placed.lost.has_disk() && !self.space.raft.disk_lost() {
            let (last, applied) = (self.space.raft.last().index, self.space.view.applied().index);
            if self.placed.lost.heal(last, applied, self.has_begun_all()) {
                out.work.push(Work::Seal);
            }
        }
    }

    /// A checkpoint is recorded.
    pub(super) fn recorded(&mut self, cut: &Cut) {
        if let Some((_, base)) = cut.bases.iter().find(|(shard, _)| *shard == self.space.shard) {
            self.placed.lost.recorded(base.id.index);
        }
    }

    fn close(&mut self, shard: ShardId) {
        self.touched.remove(&shard);
        let Some(mut group) = self.groups.remove(&shard) else { return };
        self.node.share_logs(1 + self.groups.len());
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
            if !self.placed.opening.remove(shard) {
                continue;
            }
            let Some((_, base)) = cut.bases.iter().find(|(of, _)| of == shard) else { continue };
            match self.begin(now, *shard, base.clone()) {
                Ok(raft) => self.add(*shard, raft, view.clone(), now),
                Err(error) => {
                    let why = format!("shard {shard} cannot begin: {error:?}");
                    self.node.broken = Some(super::Broken::new(why));
                }
            }
        }
    }

    fn begin(&mut self, now: Instant, shard: ShardId, base: Base) -> Result<Raft, raft::BootError> {
        let Doubts { disk_lost, upto } = self.placed.lost.doubts();
        let config = crate::boot::of_table(&self.node.settings.raft, shard);
        let founders = Membership::decode(&base.membership).unwrap_or_default();
        let me = self.node.settings.node;
        let home = self.placed.followed.home(shard).unwrap_or_default();
        let boot = raft::Boot {
            hard: HardState { commit: Index(0), ..HardState::default() },
            base,
            entries: Vec::new(),
            applied: Index(0),
            withheld_upto: None,
            withhold_votes: home.since(me).is_some_and(|since| since <= upto),
            disk_lost: disk_lost || home.had_left(me),
            state_lost: false,
            campaign_at_once: preferred(shard, &founders, &founders.voters) == Some(me),
            promised: Duration::ZERO,
        };
        Raft::new(config, self.placed.rng.fork("group"), boot, now)
    }

    /// Now and then all groups are looked at.
    pub(super) fn tend_groups(&mut self, now: Instant) {
        let soon = std::mem::take(&mut self.node.tend_soon);
        if self.groups.is_empty() && self.placed.followed.is_empty() {
            self.still_in_groups(BTreeSet::new());
            return;
        }
        if now < self.placed.tend_at && !soon {
            return;
        }
        self.placed.tend_at = now + TEND_EVERY;
        self.node.alarmed = !self.space.view.alarms().is_empty();
        self.count_nodes();
        let placement = self.placed.followed.clone();
        let patience = BLIND * self.node.settings.raft.election_max;
        let blind = self.space.leaderless_since.is_some_and(|since| now.since(since) > patience);
        let leaving = placement.leaving();
        let members = &self.space.raft.membership().voters;
        let stay: BTreeSet<NodeId> = members.iter().copied().filter(|node| !leaving.contains(node)).collect();
        let slow = self.tend_flushes(now);
        let mut left = HAND_OVERS;
        let mut arrived = Vec::new();
        for (&shard, group) in self.groups.iter_mut().filter(|(_, group)| group.raft.is_leader()) {
            let Some(home) = placement.home(shard) else {
                // The state of shard 1 is lost, and who could bring it back may have let this node go.
                if blind && left > 0 && group.pass_on(now) {
                    left -= 1;
                    self.touched.insert(shard);
                }
                continue;
            };
            group.note_step(now, &home);
            if group.has_arrived(&home) {
                arrived.push((shard, home.at));
            }
            let did = group.follow_home(now, &home)
                || group.follow_definition(&mut self.node, now, &self.space.view)
                || (left > 0 && if blind { group.pass_on(now) } else { group.prefer(now, &stay, &slow) });
            if did {
                left = left.saturating_sub(1);
                self.touched.insert(shard);
            }
        }
        for (shard, at) in arrived {
            self.say_arrived(now, shard, at);
        }
        self.begin_moves(now, &placement);
    }

    /// Tells the others how long flushes take here. Who is slow; where this node is, and leads shard 1, it hands that over, too.
    fn tend_flushes(&mut self, now: Instant) -> BTreeSet<NodeId> {
        let me = self.node.settings.node;
        let members = self.space.raft.membership();
        if let Some(flush) = self.node.flushes.look(now, me) {
            for peer in members.nodes().into_iter().filter(|&peer| peer != me) {
                self.node.send(peer, &Frame::Flush { took: flush });
            }
        }
        let slow = self.node.flushes.slow();
        if slow.contains(&me) && self.space.raft.is_leader() {
            let leaving = self.placed.followed.leaving();
            let well = members.voters.iter().filter(|node| !slow.contains(node) && !leaving.contains(node));
            let ready = well.copied().find(|&node| self.space.raft.is_ready(node));
            if let Some(to) = ready.filter(|_| !self.space.raft.change_pending()) {
                self.space.raft.handle(now, Input::Transfer { to });
            }
        }
        slow
    }

    /// A shard led here has the members that it was to have: shard 1 is to note it. Where that fails it is said again.
    fn say_arrived(&mut self, now: Instant, shard: ShardId, at: Index) {
        let what = What::Moved { shard, since: at.get() };
        let request = Request::Write(of_shard_one(what));
        self.space.call(&mut self.node, now, request, Some(TEND_EVERY).into(), Box::new(drop));
    }

    /// By what whoever leads shard 1 says which replicas are to be moved, once it knows all that was committed before.
    fn look(&mut self, now: Instant, placement: &Arc<Placement>) -> Option<Looked> {
        let raft = &self.space.raft;
        let knows_all = self.space.view.applied().term == raft.term() && self.has_begun_all();
        let members = raft.committed_membership();
        if !raft.is_leader() || !knows_all || members.is_joint() || self.node.stopping {
            return None;
        }
        let election = self.node.settings.raft.election_max;
        let zones = placement.zones();
        let unsaid = self.placed.unsaid.look(now, UNSAID * election, &members.voters, zones);
        let who = |is: &dyn Fn(NodeId) -> bool| members.voters.iter().copied().filter(|&n| is(n)).collect();
        Some(Looked {
            placement: placement.clone(),
            members: members.voters.clone(),
            heard: who(&|node| raft.hears(node, now)),
            lost: who(&|node| raft.silent_for(node, now) > LOST * election),
            unsaid,
        })
    }

    /// Whoever leads shard 1 has moves begin.
    fn begin_moves(&mut self, now: Instant, placement: &Arc<Placement>) {
        let Some(looked) =
            self.look(now, placement).filter(|looked| self.placed.even.as_ref() != Some(looked))
        else {
            return;
        };
        let leaving = placement.leaving();
        let copies = |shard| placement.block_of(shard).map_or(0, |block| block.copies);
        let placed = placement.homes().map(|(shard, home)| (shard, home, copies(shard)));
        let zones = placement.zones();
        let (hears, lost) = (|node| looked.heard.contains(&node), |node| looked.lost.contains(&node));
        let (members, unsaid) = (&looked.members, |node| looked.unsaid.contains(&node));
        let nodes = Nodes { members, leaving: &leaving, zones, hears: &hears, lost: &lost, unsaid: &unsaid };
        let moves = mover::next(placed, &nodes);
        let members = self.space.raft.committed_membership();
        let gone = |node: &NodeId| !members.contains(*node);
        let left = leaving.iter().copied().filter(gone).map(|node| What::Leave { node, leaves: false });
        let named = zones.names().map(|(node, _)| node).filter(gone);
        let forgotten: Vec<What> =
            left.chain(named.map(|node| What::Zone { node, zone: String::new() })).collect();
        let done = moves.is_empty() && forgotten.is_empty();
        self.placed.even = done.then_some(looked);
        let begun = moves.into_iter().map(|mover::Move { shard, since, replicas }| What::Move {
            shard,
            since: since.get(),
            replicas,
        });
        for what in forgotten.into_iter().chain(begun) {
            let data =
                command::encode(self.node.settings.node, self.node.take_request(), &of_shard_one(what));
            self.space.propose(now, Proposer::Nobody, data);
        }
    }

    /// Who has, or may have, something of any group, as far as it is known here.
    fn count_nodes(&mut self) {
        let known = |group: &Group| {
            let mut nodes = group.raft.membership().nodes();
            nodes.extend(group.raft.committed_membership().nodes());
            nodes
        };
        let nodes = self
            .groups
            .values()
            .flat_map(|group| known(group))
            .chain(self.placed.hosts.iter().copied())
            .collect();
        self.still_in_groups(nodes);
    }

    fn still_in_groups(&mut self, nodes: BTreeSet<NodeId>) {
        if self.node.in_groups != nodes {
            self.node.in_groups = nodes;
            self.node.in_groups_version += 1;
        }
    }
}

/// The voter that is to lead a shard, of those that stay: one that is no member any more hands over what it leads, and would get it back.
fn preferred(shard: ShardId, membership: &Membership, stay: &BTreeSet<NodeId>) -> Option<NodeId> {
    let fit: Vec<NodeId> = membership.voters.intersection(stay).copied().collect();
    fit.get(shard.get() as usize % fit.len().max(1)).copied()
}

/// The same where some are slow: another in its place, if that is one of them. Who is well keeps what it has.
fn preferred_but(
    shard: ShardId,
    membership: &Membership,
    stay: &BTreeSet<NodeId>,
    slow: &BTreeSet<NodeId>,
) -> Option<NodeId> {
    let first = preferred(shard, membership, stay)?;
    if !slow.contains(&first) {
        return Some(first);
    }
    preferred(shard, membership, &stay.difference(slow).copied().collect())
}

/// The book of a group that is not shard 1's: who the members are stands in shard 1's. It says which word about the group's home
/// is followed, by its place in shard 1's log, as if nobody had asked by that number.
fn book_of(own: &Membership, at: Index) -> Option<Bytes> {
    let asked = Asked { origin: NOBODY, request: at.get(), member: NOBODY };
    Book { used: Book::of(own).used, asked: Some(asked), members: BTreeMap::new() }.encode()
}

/// See [`book_of`]; none of the configuration that a group begins with.
pub(crate) fn followed_at(membership: &Membership) -> Option<Index> {
    let asked = Book::of(membership).asked.filter(|asked| asked.origin == NOBODY)?;
    Some(Index(asked.request))
}

/// Whether a node has nothing to do with a shard any more, by this placement and the members that its own replica knows.
pub(crate) fn let_go(placement: &Placement, shard: ShardId, me: NodeId, own: Option<&Membership>) -> bool {
    let newer = |home: Home| own.is_some_and(|own| came_by_newer_word(own, me, &home));
    placement.is_elsewhere(shard, me) && !placement.home(shard).is_some_and(newer)
}

/// Whether a group follows a newer word than this home's, by which a node is one of its members. The node is behind in shard 1's log then,
/// by which it left and came back: what it has promised meanwhile is not to be forgotten. (Seed 424 of the simulator: a leader let go of
/// all that it had, and its group rested under it for ever.)
fn came_by_newer_word(own: &Membership, me: NodeId, home: &Home) -> bool {
    own.contains(me) && followed_at(own).is_some_and(|at| at > home.at)
}

const NOBODY: NodeId = NodeId(0);

fn of_shard_one(what: What) -> Command {
    Command::Table(Box::new(table::Command { epoch: EPOCH, now: 0, what }))
}

impl Group {
    /// Whether the members are those that they are to be by the newest word, and committed; and who came has confirmed that it is one of
    /// them: who goes may forget all then, and must not for one that has died meanwhile.
    pub(super) fn has_arrived(&self, home: &Home) -> bool {
        let own = self.raft.membership();
        let at = self.raft.configured_at().0;
        let confirmed = |(node, since): (&NodeId, &Index)| {
            let came = *since == home.at && *node != self.raft.id();
            !came || self.raft.progress().get(node).is_some_and(|progress| progress.matched >= at)
        };
        home.moving
            && home.replicas.iter().all(confirmed)
            && !self.raft.change_pending()
            && own.voters == home.wanted()
            && own.learners.is_empty()
            && followed_at(own) == Some(home.at)
    }

    /// The members that the group should have next, on the way to those that it is to have; true if a change was proposed.
    fn follow_home(&mut self, now: Instant, home: &Home) -> bool {
        let own = self.raft.membership();
        let followed = followed_at(own);
        // Of a group that was never moved there is nothing to follow: its first members are its home.
        if !home.moving
            || followed.is_some_and(|at| at > home.at)
            || own.is_joint()
            || self.raft.change_pending()
        {
            return false;
        }
        let wanted = home.wanted();
        let may_vote = |node: &NodeId| own.is_voter(*node) || self.raft.is_caught_up(*node);
        let (voters, learners) = if wanted.iter().all(may_vote) {
            (wanted, BTreeSet::new())
        } else {
            // Nobody goes before who comes holds the log.
            let learners = wanted.difference(&own.voters).copied().collect();
            (own.voters.clone(), learners)
        };
        let same = own.voters == voters && own.learners == learners && followed == Some(home.at);
        if voters.is_empty() || same {
            return false;
        }
        let Some(book) = book_of(own, home.at) else { return false };
        let target = Membership { voters, learners, book, ..Membership::default() };
        let (hears, sound) = (|id| self.raft.hears(id, now), |id| self.raft.hears_sound(id, now));
        if strict::had_better_wait(own, &target, hears, sound) {
            return false;
        }
        let id = self.propose_as(Proposer::Nobody);
        self.raft.handle(now, Input::ChangeMembership { id, target });
        true
    }

    /// Hands the leadership to the voter that is preferred, if that holds all.
    fn prefer(&mut self, now: Instant, stay: &BTreeSet<NodeId>, slow: &BTreeSet<NodeId>) -> bool {
        let to = preferred_but(self.shard, self.raft.membership(), stay, slow);
        let Some(to) = to.filter(|&to| to != self.raft.id() && self.raft.is_ready(to)) else { return false };
        if self.raft.change_pending() {
            return false;
        }
        self.raft.handle(now, Input::Transfer { to });
        true
    }

    /// Hands the leadership to any voter that holds all: not always to the same one, which may be as blind.
    fn pass_on(&mut self, now: Instant) -> bool {
        let other = |to: &NodeId| *to != self.raft.id() && self.raft.is_ready(*to);
        let others: Vec<NodeId> = self.raft.membership().voters.iter().copied().filter(other).collect();
        let turn = self.raft.term().get() as usize % others.len().max(1);
        let Some(&to) = others.get(turn) else { return false };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: who is behind in shard 1's log, where it goes and comes back, keeps the replica that it has by the newer word; by an older
    /// one, or one of which the group knows nothing, it does not.
    #[test]
    fn who_came_back_does_not_go_by_an_older_word() {
        let of = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let gone = Home::founded(of(&[1, 2, 4]), Index(10)).moved_to(&of(&[1, 2, 3]), Index(20)).arrived();
        let group = |ids: &[u64], word: Option<u64>| {
            let members = Membership::of_voters(of(ids));
            let book = word.map(|at| book_of(&members, Index(at)).unwrap());
            Membership { book: book.unwrap_or_default(), ..members }
        };
        let keeps = |ids: &[u64], word| came_by_newer_word(&group(ids, word), NodeId(4), &gone);
        assert!(keeps(&[1, 2, 4], Some(30)));
        assert!(!keeps(&[1, 2, 4], Some(20)) && !keeps(&[1, 2, 4], Some(10)), "it left behind that word");
        assert!(!keeps(&[1, 2, 4], None), "it began there");
        assert!(!keeps(&[1, 2, 3], Some(30)), "others came by it");
    }

    /// Claim: who had a replica and has forgotten it is remembered over all later moves.
    #[test]
    fn who_left_is_remembered() {
        let of = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let mut home = Home::founded(of(&[1, 2, 3]), Index(10));
        for (nodes, at, left) in
            [([1, 2, 4], 20, vec![3]), ([1, 2, 5], 30, vec![3, 4]), ([1, 2, 6], 40, vec![3, 4, 5])]
        {
            home = home.moved_to(&of(&nodes), Index(at)).arrived();
            let had: Vec<u64> = (1..7).filter(|&node| home.had_left(NodeId(node))).collect();
            assert_eq!(had, left, "at {at}");
        }
    }

    /// Claim: the preferred leaders of shards are those who stay, all of them, and nobody who was removed or is to leave: who was removed
    /// hands over what it leads, and the two would hand it to each other for ever.
    #[test]
    fn who_goes_is_not_preferred() {
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let membership = Membership { voters: ids(&[1, 2, 4]), ..Membership::default() };
        let preferred = |stay: &[u64]| -> BTreeSet<_> {
            (2..10).filter_map(|shard| preferred(ShardId(shard), &membership, &ids(stay))).collect()
        };
        assert_eq!(preferred(&[1, 2, 3, 4]), ids(&[1, 2, 4]));
        assert_eq!(preferred(&[1, 2, 3]), ids(&[1, 2]));
        assert_eq!(preferred(&[3]), ids(&[]));
    }

    /// Claim: nobody slow is preferred while another is there, and who is well keeps what it has.
    #[test]
    fn who_is_slow_is_not_preferred() {
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let membership = Membership { voters: ids(&[1, 2, 3]), ..Membership::default() };
        let all = |slow: &[u64]| -> Vec<Option<u64>> {
            let of = |shard| preferred_but(ShardId(shard), &membership, &ids(&[1, 2, 3]), &ids(slow));
            (2..20).map(|shard| of(shard).map(NodeId::get)).collect()
        };
        let (before, behind) = (all(&[]), all(&[2]));
        assert!(before.contains(&Some(2)) && !behind.contains(&Some(2)));
        let kept = before.iter().zip(&behind).all(|(before, behind)| before == behind || *before == Some(2));
        assert!(kept && behind.contains(&Some(1)) && behind.contains(&Some(3)), "{before:?} {behind:?}");
        assert!(all(&[1, 2, 3]).iter().all(Option::is_none), "then it stays where it is");
    }
}
