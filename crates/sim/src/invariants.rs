//! What must hold after every step, whatever the faults.
//!
//! - *Election Safety*: at most one leader a term.
//! - *State Machine Safety*: what one node has applied at an index, no node ever applies differently there (seen by the
//!   machine's own digest, which covers index and effect), over all lives of all nodes.
//! - *Leader Completeness*, as far as it shows: a leader's log holds every entry that any node has applied.
//! - The commit index of a life never goes back, and what is applied is durable in the own journal or in its checkpoint.
//! - *Quorums*: who leads was elected by a majority of each set of voters of its configuration, and what it commits was
//!   confirmed by one, as far as was heard on the wire. So no vote of a node that is no voter (any more) has counted. And what it
//!   commits ends with an entry of its own term: one of an earlier term could still be replaced, however many hold it (Figure 8).
//! - *Admission*: who gets a vote holds most of the log.
//! - *Identities*: an id that has left the committed configuration does not come back, and none is above the highest that the
//!   book says was given.
//!
//! What each life of a node must find of its earlier ones, and what that makes impossible, stands in `lives.rs`.
//! The core's own invariants ([`quorate_protocol::raft::Raft::check_invariants`]) are asked too.

use crate::coverage;
use crate::knobs::Counts;
use crate::lives::Lives;
use crate::place::Place;
use crate::world::KV;
use bytes::Bytes;
use quorate_base::{EntryId, Index, NodeId, ShardId, Term};
use quorate_protocol::raft::{Membership, Message, Raft};
use quorate_wire::members::Book;
use quorate_wire::peer::{Frame, Packet};
use std::collections::{BTreeMap, BTreeSet};

/// What has been seen so far of one group.
pub(crate) struct Invariants {
    shard: ShardId,
    leaders: BTreeMap<Term, NodeId>,
    /// Digest of the state by applied index, with who said so first.
    digests: BTreeMap<Index, (EntryId, u64, NodeId)>,
    /// What was seen of each node when it was last looked at.
    seen: BTreeMap<NodeId, Seen>,
    /// The highest entry that anybody has applied.
    pub(crate) applied: EntryId,
    /// Votes by term and candidate: who gave one, and whether it was a conditional one.
    votes: BTreeMap<(Term, NodeId), BTreeMap<NodeId, bool>>,
    /// What was confirmed to the leader of a term, and by whom.
    confirmed: BTreeMap<(Term, NodeId), BTreeMap<NodeId, Index>>,
    /// Each node that leads, as it was seen last.
    led: BTreeMap<NodeId, Led>,
    /// Committed configurations by their places in the log.
    configs: BTreeMap<Index, Membership>,
    roll: Roll,
    lives: Lives,
    /// Something was committed, or somebody started, since the last look.
    news: bool,
    /// What was found broken between two looks.
    broken: Option<String>,
}

/// What the committed configurations up to one say.
#[derive(Default)]
struct Roll {
    upto: Index,
    /// The members there.
    here: BTreeSet<NodeId>,
    /// Who was one before, and is none.
    left: BTreeSet<NodeId>,
    /// The highest id that was given.
    given: NodeId,
}

/// What was seen of a node.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Seen {
    life: u64,
    applied: Index,
    /// Its newest configuration that is committed.
    configured: Index,
    term: Term,
    leads: bool,
    log: (EntryId, EntryId, Index),
    commit: Index,
}

/// A node that leads.
struct Led {
    life: u64,
    term: Term,
    commit: Index,
    at: Index,
    membership: Membership,
}

impl Invariants {
    pub(crate) fn of(shard: ShardId) -> Self {
        Self {
            shard,
            leaders: BTreeMap::new(),
            digests: BTreeMap::new(),
            seen: BTreeMap::new(),
            applied: EntryId::ZERO,
            votes: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            led: BTreeMap::new(),
            roll: Roll::default(),
            configs: BTreeMap::new(),
            lives: Lives::of(shard),
            news: false,
            broken: None,
        }
    }

    /// Its shard was deleted with its table, as a node knows.
    pub(crate) fn deleted(&mut self) {
        self.lives.deleted();
    }

    /// Whose they are.
    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    /// What is broken in the nodes in which something happened, with the group's name where it is not the key-value space's.
    pub(crate) fn check(&mut self, places: &[Place], touched: &[usize]) -> Result<(), String> {
        let shard = self.shard;
        self.look(places, touched)
            .map_err(|why| if shard == KV { why } else { format!("{why} (shard {shard})") })
    }

    fn look(&mut self, places: &[Place], touched: &[usize]) -> Result<(), String> {
        if let Some(why) = self.broken.take() {
            return Err(why);
        }
        for place in touched.iter().map(|&at| &places[at]) {
            let Some(running) = place.running.as_ref() else { continue };
            let Some(raft) = running.lane.core(self.shard) else { continue };
            let Some(kv) = running.applier.kv(self.shard) else { continue };
            let (applied, digest) = (kv.applied(), kv.digest());
            let now = Seen {
                life: place.life,
                applied: applied.index,
                configured: raft.configured_at().1,
                term: raft.term(),
                leads: raft.is_leader(),
                log: (raft.base(), raft.last(), raft.durable()),
                commit: raft.commit(),
            };
            let before = self.seen.insert(place.id, now).filter(|seen| seen.life == place.life);
            if before == Some(now) && !now.leads {
                continue;
            }
            if before != Some(now) {
                // What a log held when it was checked it holds now, unless it was cut off there, or given up for a snapshot.
                let checked = before.map_or(EntryId::ZERO, |seen| {
                    if seen.term == now.term { seen.log.1 } else { EntryId::ZERO }
                });
                raft.check_invariants_behind(checked).map_err(|why| format!("node {}: {why}", place.id))?;
            }
            if before.map(|seen| seen.applied) != Some(now.applied) {
                self.compare(place.id, applied, digest)?;
            }
            if now.leads {
                self.one_leader(place.id, raft.term())?;
                self.quorums(place.id, place.life, raft)?;
            }
            if before.map(|seen| seen.configured) != Some(now.configured) {
                self.identities(place.id, raft)?;
            }
        }
        for place in places.iter().filter(|_| !touched.is_empty()) {
            let Some(raft) = place.core(self.shard) else { continue };
            if raft.is_leader() && self.leaders.last_key_value().is_some_and(|(&t, _)| t == raft.term()) {
                self.complete(place.id, raft)?;
                self.lives.leads(place.id, raft)?;
            }
        }
        if std::mem::take(&mut self.news) { self.lives.immune(places) } else { Ok(()) }
    }

    /// The highest term that a node has spoken in.
    pub(crate) fn spoke(&self, node: NodeId) -> Term {
        self.lives.spoke(node)
    }

    /// A node begins a life.
    pub(crate) fn begins(&mut self, at: usize, places: &[Place]) {
        self.news = true;
        let found = self.lives.begins(&places[at], places, &self.confirmed);
        self.broken = self.broken.take().or(found.err());
    }

    fn one_leader(&mut self, node: NodeId, term: Term) -> Result<(), String> {
        let first = *self.leaders.entry(term).or_insert(node);
        if first == node {
            return Ok(());
        }
        Err(format!("Election Safety: nodes {first} and {node} both lead in term {term}"))
    }

    fn compare(&mut self, node: NodeId, applied: EntryId, digest: u64) -> Result<(), String> {
        if applied.index == Index(0) {
            return Ok(());
        }
        self.applied = self.applied.max(applied);
        let (id, seen, by) = *self.digests.entry(applied.index).or_insert((applied, digest, node));
        if (id, seen) == (applied, digest) {
            return Ok(());
        }
        Err(format!(
            "State Machine Safety: at index {} node {by} has {id:?} with digest {seen:016x}, \
             node {node} has {applied:?} with {digest:016x}",
            applied.index
        ))
    }

    fn complete(&self, node: NodeId, raft: &quorate_protocol::raft::Raft) -> Result<(), String> {
        let must = self.applied;
        if raft.term() <= must.term || raft.last().index >= must.index {
            return Ok(());
        }
        Err(format!(
            "Leader Completeness: node {node} leads in term {} with a log that ends at {:?}, but {must:?} was applied",
            raft.term(),
            raft.last()
        ))
    }

    /// A node finds on its disk what no sound node has written.
    pub(crate) fn refuses(&mut self, node: NodeId, why: &str) {
        self.broken.get_or_insert(format!("Start: node {node} cannot start: {why}"));
    }

    /// What a node says to another; true if it gives its vote.
    pub(crate) fn hear(&mut self, from: NodeId, to: NodeId, body: &Bytes, counts: &mut Counts) -> bool {
        let mut votes = false;
        for frame in Packet::read(body.clone()).filter_map(Result::ok) {
            if !matches!(&frame, Frame::Raft { shard, .. } if *shard == self.shard) {
                continue;
            }
            if let Frame::Raft { message, .. } = &frame {
                counts.hear(coverage::message(message));
                let found = self.lives.hear(from, to, message);
                self.broken = self.broken.take().or(found.err());
            }
            match frame {
                Frame::Raft {
                    message: Message::Vote { term, pre: false, granted: true, withheld }, ..
                } => {
                    // Who has given a vote that counts may forget that, and give it again on a condition: the first may come last.
                    let given = self.votes.entry((term, to)).or_default().entry(from).or_insert(withheld);
                    *given &= withheld;
                    votes = true;
                }
                Frame::Raft { message: Message::Appended { term, matched }, .. } => {
                    let upto = self.confirmed.entry((term, to)).or_default().entry(from).or_default();
                    *upto = matched.max(*upto);
                }
                _ => {}
            }
        }
        votes
    }

    fn quorums(&mut self, node: NodeId, life: u64, raft: &Raft) -> Result<(), String> {
        let (term, commit, at) = (raft.term(), raft.commit(), raft.configured_at().0);
        match self.led.get(&node).filter(|led| (led.life, led.term) == (life, term)) {
            None => {
                self.elected(node, raft)?;
                self.commits(node, raft, raft.base().index)?;
            }
            Some(led) if led.commit < commit => {
                self.committed(node, raft, &led.membership)?;
                let from = led.commit;
                self.commits(node, raft, from)?;
            }
            Some(led) if led.at == at => return Ok(()),
            Some(_) => {}
        }
        if let Some(led) =
            self.led.get(&node).filter(|led| (led.life, led.term) == (life, term) && led.at < at)
        {
            self.admitted(node, raft, &led.membership)?;
        }
        self.led.insert(node, Led { life, term, commit, at, membership: raft.membership().clone() });
        Ok(())
    }

    fn commits(&mut self, node: NodeId, raft: &Raft, from: Index) -> Result<(), String> {
        self.news = true;
        self.lives.commits(node, raft, from)
    }

    fn elected(&self, node: NodeId, raft: &Raft) -> Result<(), String> {
        let (term, membership) = (raft.term(), raft.membership());
        let mut votes = self.votes.get(&(term, node)).cloned().unwrap_or_default();
        votes.insert(node, raft.withholds());
        let any = |n: NodeId| votes.contains_key(&n);
        if membership.is_quorum(|n| votes.get(&n) == Some(&false)) || membership.is_unanimous(any) {
            return Ok(());
        }
        Err(format!("Quorums: node {node} leads in {term:?} by {votes:?}, of the voters {membership}"))
    }

    /// `membership` is what it went by before this step: while that is joint it is the stricter one.
    fn committed(&self, node: NodeId, raft: &Raft, membership: &Membership) -> Result<(), String> {
        let (term, commit) = (raft.term(), raft.commit());
        let confirmed = self.confirmed.get(&(term, node));
        let holds = |n: NodeId| {
            let upto = confirmed.and_then(|by| by.get(&n)).copied().unwrap_or_default();
            if n == node { raft.durable() >= commit } else { upto >= commit }
        };
        if let Some(of) = raft.term_at(commit).filter(|&of| of != term) {
            return Err(format!(
                "Quorums: node {node} committed {commit:?}, of {of:?}, in {term:?}: copies of an earlier term's entry do not count"
            ));
        }
        if membership.is_quorum(holds) {
            return Ok(());
        }
        Err(format!(
            "Quorums: node {node} committed {commit:?} in {term:?}, confirmed by {confirmed:?}, of the voters {membership}"
        ))
    }

    /// Who gets a vote holds most of the log up to there: the group could else not do without any of the others. (In the step in which
    /// it gets it the log may grow by much more, with a burst of writes.)
    fn admitted(&self, node: NodeId, raft: &Raft, before: &Membership) -> Result<(), String> {
        let confirmed = self.confirmed.get(&(raft.term(), node));
        let (last, _) = raft.configured_at();
        for new in raft.membership().voters.iter().filter(|&&n| !before.is_voter(n)) {
            let upto = confirmed.and_then(|by| by.get(new)).copied().unwrap_or_default();
            if upto.0 * 2 < last.0 {
                return Err(format!("Admission: {new:?} gets a vote and holds {upto:?} of {last:?}"));
            }
        }
        Ok(())
    }

    /// The newest configuration that anybody has known to be committed.
    pub(crate) fn newest_members(&self) -> Option<&Membership> {
        self.configs.last_key_value().map(|(_, membership)| membership)
    }

    fn identities(&mut self, node: NodeId, raft: &Raft) -> Result<(), String> {
        let at = raft.configured_at().1;
        // What a node begins with stands at 0, and is what its settings say.
        if at == Index(0) {
            return Ok(());
        }
        let membership = raft.committed_membership();
        match self.configs.get(&at) {
            // A checkpoint of one that joined may be older than the entry that added it: it has what it was told then.
            None if at == raft.base().index => return Ok(()),
            Some(known) if known == membership => return Ok(()),
            Some(known) => {
                return Err(format!("node {node} has the members {membership} at {at:?}, another {known}"));
            }
            None => self.configs.insert(at, membership.clone()),
        };
        // Replicas of other shards come and go.
        if self.shard != KV {
            return Ok(());
        }
        let Roll { upto, mut here, mut left, mut given } = std::mem::take(&mut self.roll);
        let mut from = upto.next();
        if at < from {
            // One from before that nobody had known: all anew.
            (here, left, given, from) = (BTreeSet::new(), BTreeSet::new(), NodeId(0), Index(0));
        }
        for (at, membership) in self.configs.range(from..) {
            let nodes = membership.nodes();
            left.extend(here.difference(&nodes).copied());
            if let Some(id) = left.intersection(&nodes).next() {
                return Err(format!("Identities: {id:?} has left and is a member again at {at:?}"));
            }
            let used = Book::of(membership).used;
            let above = !membership.book.is_empty() && nodes.last().is_some_and(|&last| last > used);
            if above || used < given {
                return Err(format!(
                    "Identities: at {at:?} ids up to {used:?} were given, of {membership}; before, {given:?}"
                ));
            }
            (here, given) = (nodes, given.max(used));
        }
        self.roll = Roll { upto: upto.max(at), here, left, given };
        Ok(())
    }
}
