//! Changes of members, and what follows from them: a change goes to the leader, who judges it ([`crate::strict`]) and
//! proposes the configuration to be, with its book. It is answered where it was asked, once that configuration is applied
//! there, whoever leads by then. Nothing tells apart a change that got lost on the way from one that will still come:
//! as with writes, the answer is then "in doubt".
//!
//! Three things happen unasked. A leader of a group whose log has no book yet writes down the one that its settings give. A
//! node whose own entry, or zone, is not what its settings say publishes that. And a leader gives its vote to a member that joins, once
//! that holds the log.

use super::Lane;
use super::explain::{Asker, Trace};
use super::group::{Group, Proposer};
use super::node::{Asking, Node};
use crate::api::{Answer, Body, Done, Failure, Member};
use crate::evidence::Part;
use crate::strict::{Judge, arrived};
use quorate_base::time::Duration;
use quorate_base::{Index, Instant, NodeId};
use quorate_protocol::Core;
use quorate_protocol::raft::{Input, Membership, Mutant, Refusal as NotProposed, mutant};
use quorate_wire::command;
use quorate_wire::kv::Command;
use quorate_wire::members::{Asked, Book, Change, Info, Refusal};
use quorate_wire::peer::{Declined, Frame};
use quorate_wire::table::{self, EPOCH, What};
use std::collections::{BTreeMap, BTreeSet};

use super::pending::Want;

/// How many learners there may be, as in etcd. Members that join are no such learners.
const LEARNERS_MAX: usize = 1;
/// So many may wait for the leadership to move.
const MOVES_MAX: usize = 1024;
/// How long a node waits before it publishes itself again.
const PUBLISH_PAUSE: Duration = Duration::from_secs(1);

/// Whom a node may talk to, and where they are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Roster {
    /// The members and those who have still to hear that they are none any more, with the addresses (`host:port`) where
    /// they may be found, likeliest first.
    pub peers: BTreeMap<NodeId, Vec<String>>,
    /// The nodes of the newest configuration that is known to be committed.
    pub members: BTreeSet<NodeId>,
    /// The highest id that was ever given; 0 if that is not known.
    pub used: NodeId,
    /// The place of that configuration in the log.
    pub at: Index,
    /// The place of the newest configuration in the own log, known to be committed or not, that has this node as a member; 0 if none
    /// has. A node that has just started knows of little that is committed, and must still be able to say that it is one.
    pub member_at: Index,
    /// No group of another shard has anything on a node that is none of these members, as far as this node can tell: who left is
    /// needed by none.
    pub sure: bool,
}

impl Roster {
    /// Whether the node was a member and is none any more, for certain.
    pub fn was_removed(&self, id: NodeId) -> bool {
        self.sure && id <= self.used && !self.members.contains(&id)
    }
}

/// By what a roster is made.
pub type RosterVersion = ((Index, Index), usize, (u64, bool));

/// What a lane keeps of members.
#[derive(Default)]
pub(super) struct Members {
    /// By what the roster was made: it is made anew when one of these moves.
    made_of: Option<RosterVersion>,
    roster: Roster,
    publish_at: Instant,
    /// Who waits for the leadership to have moved, whither and until when.
    moves: Vec<Move>,
}

struct Move {
    to: NodeId,
    deadline: Instant,
    done: Done,
    trace: Option<Box<Trace>>,
}

impl Lane {
    /// Whom this node may talk to. It changes in [`Lane::drain`] only.
    pub fn roster(&self) -> &Roster {
        &self.space.members.roster
    }

    /// Changes whenever [`Lane::roster`] does.
    pub fn roster_version(&self) -> Option<RosterVersion> {
        self.space.members.made_of
    }
}

impl Group {
    pub(super) fn renew_roster(&mut self, node: &Node) {
        let progress = self.raft.progress();
        let sure = node.settled;
        let made_of = Some((self.raft.configured_at(), progress.len(), (node.in_groups_version, sure)));
        if self.members.made_of == made_of {
            return;
        }
        self.members.made_of = made_of;
        let (newest, committed) = (self.raft.membership(), self.raft.committed_membership());
        let (book, known_book) = (Book::of(newest), Book::of(committed));
        let nodes = newest.nodes().into_iter().chain(committed.nodes());
        let former = std::mem::take(&mut self.members.roster.peers);
        let nodes = nodes.chain(progress.keys().copied()).chain(node.in_groups.iter().copied());
        let peers = nodes.map(|id| {
            let listed = [book.members.get(&id), known_book.members.get(&id)];
            let listed = listed.into_iter().flatten().flat_map(|info| &info.peer_urls);
            let told = node.settings.members.iter().filter(|m| m.id == id.get()).flat_map(|m| &m.peer_urls);
            let mut addresses: Vec<String> = Vec::new();
            for url in listed.chain(told) {
                let address = url.trim_start_matches("http://").trim_end_matches('/').to_string();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            if addresses.is_empty() {
                // It left the list, and is where it was.
                addresses.extend(former.get(&id).into_iter().flatten().cloned());
            }
            (id, addresses)
        });
        let (me, members, (newest_at, at)) = (self.raft.id(), committed.nodes(), self.raft.configured_at());
        let known = [(newest, newest_at), (committed, at)];
        let member_at = known.iter().find(|(of, _)| of.contains(me)).map_or(Index(0), |&(_, at)| at);
        self.members.roster =
            Roster { peers: peers.collect(), members, used: known_book.used, at, member_at, sure };
    }

    pub(super) fn member_list(&self, node: &Node) -> Vec<Member> {
        let Some(membership) = Membership::decode(self.view.membership()) else { return Vec::new() };
        let book = Book::of(&membership);
        let shown = |id: NodeId| {
            let listed = book.members.get(&id).map(|info| Member {
                id: id.get(),
                name: info.name.clone(),
                peer_urls: info.peer_urls.clone(),
                client_urls: info.client_urls.clone(),
                learner: membership.is_learner(id) && !info.joins,
            });
            listed.or_else(|| {
                let told = node.settings.members.iter().find(|m| m.id == id.get())?;
                Some(Member { learner: membership.is_learner(id), ..told.clone() })
            })
        };
        membership.nodes().into_iter().filter_map(shown).collect()
    }

    /// A change that waits goes to the leader: to this one.
    pub(super) fn change_here(&mut self, node: &mut Node, now: Instant, request: u64, change: &Change) {
        let me = node.settings.node;
        match self.begin_change(node, now, me, request, change) {
            Ok(true) => {}
            Ok(false) => self.refused(node, request, Declined::NotLeading),
            Err(why) => node.change_refused(request, why),
        }
    }

    /// A peer asks this node for a change, as the leader.
    pub(super) fn change_for(
        &mut self,
        node: &mut Node,
        now: Instant,
        from: NodeId,
        request: u64,
        change: &Change,
    ) {
        match self.begin_change(node, now, from, request, change) {
            Ok(true) => {}
            Ok(false) => node.send(from, &Frame::Refused { request, why: Declined::NotLeading }),
            Err(why) => node.send(from, &Frame::MembersRefused { request, why }),
        }
    }

    /// False if it cannot be judged now: whoever asked asks again.
    fn begin_change(
        &mut self,
        node: &mut Node,
        now: Instant,
        from: NodeId,
        request: u64,
        change: &Change,
    ) -> Result<bool, Refusal> {
        if !self.raft.is_leader() || self.raft.change_pending() {
            return Ok(false);
        }
        if node.grouped && !self.groups_bear(now, change) {
            return Err(Refusal::Unhealthy);
        }
        let judged = self.judge(node, now, |judge| judge.target(change));
        if matches!(judged, Err(Refusal::Unhealthy)) && self.raft.has_to_learn(now) {
            return Ok(false);
        }
        let (mut target, mut book, member) = judged?;
        let asked = Asked { origin: from, request, member };
        book.asked = Some(asked);
        target.book = book.encode().ok_or(Refusal::TooLarge)?;
        let here = from == node.settings.node;
        let who = if here { Proposer::Here(request) } else { Proposer::Peer(from, request) };
        self.propose_members(now, who, target);
        // Changes are rare: whoever asked is told, and knows whether to explain.
        let asker = if here { Asker::Here(request) } else { Asker::Peer(from, request) };
        self.commits.expect(self.next_proposal, asker, now);
        if mutant(&node.settings.raft, Mutant::ChangeAnsweredEarly) {
            self.answer_changes(node, now, vec![asked]);
        }
        Ok(true)
    }

    /// Whether the groups of the other shards bear a change. Who goes leaves them one by one, a moment later, and each of them needs a
    /// majority of the members that it has till then: so whoever goes must not be one of those without whom they could not do that, and
    /// the one before must have been let go by all. (Seed 94 of the simulator: two went one behind the other, and led a group in turn.)
    fn groups_bear(&self, now: Instant, change: &Change) -> bool {
        let Change::Remove { id: gone } = change else { return true };
        let stays = |id: &&NodeId| *id != gone && self.raft.hears(**id, now);
        let bears = |nodes: &BTreeSet<NodeId>| nodes.iter().filter(stays).count() > nodes.len() / 2;
        let members = self.raft.membership();
        let mut homes = self.view.tables().placement().homes().map(|(_, home)| home);
        homes.all(|home| {
            let followed = home.all_hosts().all(|node| members.contains(node));
            followed && (!home.hosts(*gone) || bears(&home.before()) && bears(&home.wanted()))
        })
    }

    fn judge<T>(&self, node: &Node, now: Instant, with: impl FnOnce(&Judge<'_>) -> T) -> T {
        let membership = self.raft.membership();
        let mut book = node.book_or_told(membership);
        if mutant(&node.settings.raft, Mutant::IdGivenTwice) {
            book.used = membership.nodes().last().copied().unwrap_or_default();
        }
        let (hears, sound) = (|id| self.raft.hears(id, now), |id| self.raft.hears_sound(id, now));
        let caught_up = |id| self.raft.is_caught_up(id);
        with(&Judge {
            now: membership,
            book: &book,
            hears: &hears,
            sound: &sound,
            caught_up: &caught_up,
            learners_max: LEARNERS_MAX,
        })
    }

    fn propose_members(&mut self, now: Instant, who: Proposer, target: Membership) {
        let id = self.propose_as(who);
        self.raft.handle(now, Input::ChangeMembership { id, target });
    }

    /// The configuration that was asked for here is in force.
    pub(super) fn answer_changes(&self, node: &mut Node, now: Instant, changes: Vec<Asked>) {
        for asked in changes {
            let Some((_, done, trace)) = node.pending.finish(asked.request) else { continue };
            self.explain(node, now, trace, true);
            let body = Body::MembersChanged { id: asked.member.get(), members: self.member_list(node) };
            done(Ok(Answer { head: self.head(node), body }));
        }
    }

    // ---- what happens unasked ----

    /// See the module page; asked at each tick.
    pub(super) fn tend_members(&mut self, node: &mut Node, now: Instant) {
        if self.raft.is_leader()
            && !self.raft.change_pending()
            && let Some(target) = self.first_book(node).or_else(|| self.arrival(node, now))
        {
            return self.propose_members(now, Proposer::Nobody, target);
        }
        if now < self.members.publish_at || self.raft.leader().is_none() {
            return;
        }
        let change = self.unpublished(node);
        let zone = if change.is_none() { self.unnamed_zone(node) } else { None };
        if change.is_none() && zone.is_none() {
            return;
        }
        self.members.publish_at = now + PUBLISH_PAUSE;
        let (request, deadline) = (node.take_request(), now + node.patience.request);
        let encoded = zone.map(|zone| Want::Write(command::encode(node.settings.node, request, &zone)));
        if let Some(want) = change.map(Want::Members).or(encoded) {
            // If nothing comes of it, it is published again.
            node.pending.park(self.shard, request, want, deadline, (Box::new(drop), None));
        }
    }

    /// In which zone this node is, if shard 1's state says otherwise. What a node starts with counts: one that was carried elsewhere
    /// is where it is now. A state that is behind may only say so once too often.
    fn unnamed_zone(&self, node: &Node) -> Option<Command> {
        let (me, zone) = (node.settings.node, node.settings.zone.as_str());
        let known = self.view.tables().placement().zones().name(me).unwrap_or_default();
        if known == zone || self.raft.state_lost() || !self.raft.committed_membership().contains(me) {
            return None;
        }
        let what = What::Zone { node: me, zone: zone.to_string() };
        Some(Command::Table(Box::new(table::Command { epoch: EPOCH, now: 0, what })))
    }

    fn first_book(&self, node: &Node) -> Option<Membership> {
        let now = self.raft.membership();
        let told = node.settings.members.iter().any(|m| !m.peer_urls.is_empty());
        if !now.book.is_empty() || !told {
            return None;
        }
        Some(Membership { book: node.book_or_told(now).encode()?, ..now.clone() })
    }

    fn arrival(&self, node: &Node, now: Instant) -> Option<Membership> {
        if self.raft.membership().learners.is_empty() {
            return None;
        }
        let (target, book) = self.judge(node, now, arrived)?;
        Some(Membership { book: book.encode()?, ..target })
    }

    /// What this node has to say of itself.
    fn unpublished(&self, node: &Node) -> Option<Change> {
        let me = node.settings.node;
        let told = node.settings.members.iter().find(|m| m.id == me.get())?;
        let committed = self.raft.committed_membership();
        if committed.book.is_empty() || !committed.contains(me) {
            return None;
        }
        let book = Book::of(committed);
        let info = book.members.get(&me)?;
        let same = info.name == told.name && info.client_urls == told.client_urls;
        let (name, client_urls) = (told.name.clone(), told.client_urls.clone());
        (!same).then_some(Change::Publish { id: me, name, client_urls })
    }

    // ---- the leadership ----

    pub(super) fn move_leader(
        &mut self,
        now: Instant,
        to: NodeId,
        deadline: Instant,
        (done, mut trace): Asking,
    ) {
        if !self.raft.is_leader() {
            return done(Err(Failure::NotLeader));
        }
        if !self.raft.membership().voters.contains(&to) {
            return done(Err(Failure::BadTransferee));
        }
        if self.members.moves.len() >= MOVES_MAX {
            return done(Err(Failure::Overloaded));
        }
        self.raft.handle(now, Input::Transfer { to });
        if let Some(trace) = &mut trace {
            trace.waits = Some((Part::Move, now));
        }
        self.members.moves.push(Move { to, deadline, done, trace });
    }

    /// Answers who waits for the leadership to have moved.
    pub(super) fn answer_moves(&mut self, node: &Node, now: Instant) {
        if self.members.moves.is_empty() {
            return;
        }
        let (leader, head) = (self.raft.leader(), self.head(node));
        for waiting in std::mem::take(&mut self.members.moves) {
            if leader == Some(waiting.to) {
                self.explain(node, now, waiting.trace, false);
                (waiting.done)(Ok(Answer { head, body: Body::Moved }));
            } else if now >= waiting.deadline {
                (waiting.done)(Err(Failure::TimedOut));
            } else {
                self.members.moves.push(waiting);
            }
        }
    }

    pub(super) fn drain_moves(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.members.moves).into_iter().map(|waiting| waiting.done).collect()
    }
}

impl Node {
    /// The book of a configuration, or what the settings say where none was written yet.
    fn book_or_told(&self, membership: &Membership) -> Book {
        if !membership.book.is_empty() {
            return Book::of(membership);
        }
        let told = self.settings.members.iter().map(|m| {
            let (name, joins) = (m.name.clone(), false);
            let (peer_urls, client_urls) = (m.peer_urls.clone(), m.client_urls.clone());
            (NodeId(m.id), Info { name, peer_urls, client_urls, joins })
        });
        let used = membership.nodes().last().copied().unwrap_or_default();
        Book { used, asked: None, members: told.filter(|&(id, _)| membership.contains(id)).collect() }
    }

    /// The core took no change: true if that is the end of it.
    pub(super) fn change_not_proposed(&mut self, who: &Proposer, why: &NotProposed) -> bool {
        let NotProposed::NotCaughtUp(_) = why else { return false };
        match *who {
            Proposer::Here(request) => self.change_refused(request, Refusal::NotReady),
            Proposer::Peer(from, request) => {
                self.send(from, &Frame::MembersRefused { request, why: Refusal::NotReady });
            }
            _ => {}
        }
        true
    }

    pub(super) fn change_refused(&mut self, request: u64, why: Refusal) {
        if let Some((Want::Members(_), done, _)) = self.pending.finish(request) {
            done(Err(Failure::Members(why)));
        }
    }
}

impl Members {
    pub(super) fn any_wait(&self) -> bool {
        !self.moves.is_empty()
    }
}
