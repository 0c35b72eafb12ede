//! Who may lead (dissertation, chapters 3.4, 4.2.3, 6.2, 9.6).
//!
//! A follower that hears no leader for its election timeout, drawn anew each time, first *asks* whether it could win
//! (pre-vote), so that a replica that was cut off does not disturb the others with a higher term when it returns. If a
//! majority would, it campaigns: new term, vote for itself, requests. A voter that heard a leader within the shortest
//! election timeout says no to both (stickiness), unless that leader itself asked for the campaign
//! or the connection to it broke meanwhile.

use super::lost::Asker;
use super::{EntryKind, Message, Mutant, Phase, Progress, Raft, Role, mutant};
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{EntryId, Index, Instant, NodeId, Term};

/// A leader with a long tail that is not committed renews its term all the same once a voter has withheld for so many of the longest
/// election timeouts.
const TAIL: u32 = 10;

/// So many time-outs in a row pass before a replica without a vote, or without a state, stands: only where the others got nowhere.
const PATIENCE: u32 = 3;

impl Raft {
    pub(super) fn redraw_timeout(&mut self, now: Instant) {
        let (min, max) =
            (self.config.election_min.as_nanos() as u64, self.config.election_max.as_nanos() as u64);
        self.election_at = now + Duration::from_nanos(self.rng.between(min, max));
        self.excused = false;
    }

    /// The connection to the leader broke: most often its process is gone, which no heartbeat that fails to come tells as
    /// soon. Departs from the dissertation, and only in time: the follower asks earlier whether it could win, and no longer
    /// counts the leader as heard. Where the leader lives, the others still hear it and say no, and so does it.
    pub(super) fn leader_out_of_reach(&mut self, now: Instant) {
        self.leader_heard = None;
        let min = self.config.election_min.as_nanos() as u64;
        let pause = Duration::from_nanos(self.rng.between(min / 8, min / 2));
        if mutant(&self.config, Mutant::LeaseBrokenByConnection) {
            self.promised_until = Instant::ZERO;
        }
        // What was promised to it stands all the same.
        let soon = if self.is_bound(now) { self.promised_until + pause / 4 } else { now + pause };
        self.election_at = self.election_at.min(soon);
    }

    pub(super) fn election_timeout(&mut self, now: Instant) {
        let late = now.since(self.election_at);
        let excused = self.excused;
        self.redraw_timeout(now);
        if late > self.config.heartbeat && !excused {
            // Paused or starved: the leader's messages may be in the queue behind this tick. What was lost is given back, and
            // once: where ticks are always late, somebody must lead, too.
            self.excused = true;
            self.election_at = self.election_at.min(now + late);
            return;
        }
        if self.leader.is_some() {
            self.leader = None;
            self.drop_reads();
            self.role_changed("the leader was not heard in time", false);
        }
        self.vain = PATIENCE.min(self.vain + 1);
        if self.may_campaign() && !self.is_bound(now) {
            self.ask_pre_votes(now);
        }
    }

    /// A voter may. Where voters got nowhere, so may a member that has no vote, or has lost its state, if its log holds what may be nowhere
    /// else: whom it does not vote for, since its log is longer, needs its vote perhaps, by an older entry that gives a learner one, or
    /// because few are left; and all would wait for ever. One without a vote stands by its own configuration, in which its own yes does
    /// not count. Either leaves as soon as a majority holds what it held, to one that can lead ([`Raft::leave_the_lead`]).
    ///
    /// Not one that has lost its disk, before the log that it got since says who votes.
    fn may_campaign(&self) -> bool {
        if self.disk_lost() && self.configured_at().0 == Index(0) {
            return false;
        }
        if self.votes_itself() && !self.leads_blindly() {
            return true;
        }
        let known = self.hard.commit.max(self.log.base().index);
        self.vain >= PATIENCE && self.log.last().index > known && (self.votes_itself() || self.is_learner())
    }

    /// Whether it could only lead to hand over: it has a log, and no state to answer anybody from.
    pub(super) fn leads_blindly(&self) -> bool {
        self.state_lost && !mutant(&self.config, Mutant::LostStateCampaigns)
    }

    /// A voter by its log; and so is one that is on its way out, until it knows that this is committed (dissertation, 4.2.2). If it
    /// alone holds the entry that removes it, those who stay cannot win against its longer log, and all would wait for ever:
    /// its own configuration lets them elect it, it commits the entry, and leaves.
    pub(super) fn votes_itself(&self) -> bool {
        let id = self.config.id;
        let uncommitted = self.configs.iter().rev().take_while(|&&(at, _)| at > self.hard.commit).count();
        let from = self.configs.len().saturating_sub(uncommitted + 1);
        self.configs[from..].iter().any(|(_, m)| m.is_voter(id))
    }

    fn ask_pre_votes(&mut self, now: Instant) {
        if self.role != Role::PreCandidate {
            self.role = Role::PreCandidate;
            self.role_changed("asks for pre-votes", false);
        }
        self.start_poll(true, false);
        self.count_votes(now);
    }

    pub(super) fn campaign(&mut self, now: Instant, transfer: bool) {
        let bound = self.is_bound(now) && !transfer;
        if self.role == Role::Leader || !self.may_campaign() || bound {
            return;
        }
        let (term, id) = (self.hard.term.next(), self.config.id);
        self.set_hard(term, Some(id));
        self.role = Role::Candidate;
        self.leader = None;
        self.leader_heard = None;
        self.incoming = None;
        self.drop_reads();
        self.redraw_timeout(now);
        let reason = if transfer { "was asked to take over" } else { "won the pre-vote" };
        self.role_changed(reason, false);
        self.start_poll(false, transfer);
        self.count_votes(now);
    }

    /// Votes for itself and asks all other voters.
    fn start_poll(&mut self, pre: bool, transfer: bool) {
        self.votes.clear();
        self.votes.insert(self.config.id, (true, self.withheld.is_some()));
        let term = if pre { self.hard.term.next() } else { self.hard.term };
        let last = self.log.last();
        let voters: Vec<NodeId> = self.membership().nodes().into_iter().collect();
        for node in voters {
            if node != self.config.id && self.may_vote(node) {
                self.post(node, Message::RequestVote { term, pre, transfer, last });
            }
        }
    }

    fn may_vote(&self, node: NodeId) -> bool {
        self.membership().is_voter(node) || mutant(&self.config, Mutant::LearnerVoteCounts)
    }

    /// A voter that could not be reached when the poll began can be now: it is asked without waiting for a time-out.
    pub(super) fn ask_again(&mut self, peer: NodeId) {
        let pre = match self.role {
            Role::PreCandidate => true,
            Role::Candidate => false,
            Role::Follower | Role::Leader => return,
        };
        if self.membership().is_voter(peer) && !self.votes.contains_key(&peer) {
            let term = if pre { self.hard.term.next() } else { self.hard.term };
            let last = self.log.last();
            self.post(peer, Message::RequestVote { term, pre, transfer: false, last });
        }
    }

    pub(super) fn vote_requested(
        &mut self,
        now: Instant,
        from: NodeId,
        term: Term,
        pre: bool,
        transfer: bool,
        last: EntryId,
    ) {
        if term < self.hard.term || (pre && term == self.hard.term) {
            if !mutant(&self.config, Mutant::PrevoteDeadlock) {
                self.answer_vote(from, self.hard.term, pre, false);
            }
            return;
        }
        if (self.sticks(now) || self.is_bound(now)) && !transfer {
            // The leader lives: the sender will hear it, or, if its term is higher, make it step down by its answers.
            return;
        }
        if mutant(&self.config, Mutant::LearnerRefusesVote) && !self.membership().is_voter(self.config.id) {
            return;
        }
        if !pre && term > self.hard.term {
            self.follow(now, term, None, "a candidate of a higher term asked for its vote");
        }
        let complete = last >= self.log.last();
        if pre {
            let answer = if complete { term } else { self.hard.term };
            return self.answer_vote(from, answer, true, complete);
        }
        let free = self.hard.vote.is_none_or(|vote| vote == from) && self.leader.is_none();
        let granted = complete && free;
        if granted {
            self.set_hard(term, Some(from));
            self.redraw_timeout(now);
            if self.role == Role::PreCandidate {
                self.role = Role::Follower;
                self.votes.clear();
                self.role_changed("voted for another", false);
            }
        }
        self.answer_vote(from, self.hard.term, false, granted);
    }

    fn answer_vote(&mut self, to: NodeId, term: Term, pre: bool, granted: bool) {
        let withheld = granted && self.withheld.is_some();
        self.post(to, Message::Vote { term, pre, granted, withheld });
    }

    /// A leader was heard within the shortest election timeout, or this replica leads with a majority behind it.
    fn sticks(&self, now: Instant) -> bool {
        if self.role == Role::Leader {
            return true;
        }
        self.leader.is_some() && self.leader_heard.is_some_and(|at| now.since(at) < self.config.election_min)
    }

    pub(super) fn vote_came(
        &mut self,
        now: Instant,
        from: NodeId,
        term: Term,
        pre: bool,
        granted: bool,
        withheld: bool,
    ) {
        let polled = match self.role {
            Role::PreCandidate => pre && (!granted || term == self.hard.term.next()),
            Role::Candidate => !pre && term == self.hard.term,
            Role::Follower | Role::Leader => false,
        };
        if polled && self.may_vote(from) {
            self.votes.insert(from, (granted, withheld));
            self.count_votes(now);
        }
    }

    /// A candidate's own vote counts like any other: once it is durable. (Else the only voter of a group would lead at once,
    /// lose power, and vote for another in the same term; it would have said nothing, but it would have led.)
    pub(super) fn count_votes(&mut self, now: Instant) {
        let voted = !self.hard_dirty && self.hard_write <= self.durable_write;
        if self.role == Role::Candidate && !voted && !mutant(&self.config, Mutant::VoteNotDurable) {
            return;
        }
        let yes = |n: NodeId| self.votes.get(&n).is_some_and(|&(granted, withheld)| granted && !withheld);
        let any_yes = |n: NodeId| self.votes.get(&n).is_some_and(|&(granted, _)| granted);
        let membership = self.membership();
        let won = if mutant(&self.config, Mutant::JointWithoutOutgoing) {
            membership.left().is_quorum(yes)
        } else if mutant(&self.config, Mutant::LearnerVoteCounts) {
            membership.nodes().into_iter().filter(|&n| yes(n)).count() > membership.voters.len() / 2
        } else {
            membership.is_quorum(yes) || membership.is_unanimous(any_yes)
        };
        if !won {
            return;
        }
        match self.role {
            Role::PreCandidate => self.campaign(now, false),
            Role::Candidate => self.lead(now),
            Role::Follower | Role::Leader => {}
        }
    }

    fn lead(&mut self, now: Instant) {
        if let Some(other) = self.led_by {
            let term = self.hard.term;
            return self.halt(format!("Election Safety: won {term:?}, in which {other:?} leads"));
        }
        self.role = Role::Leader;
        self.vain = 0;
        self.leader = Some(self.config.id);
        self.led_by = self.leader;
        self.votes.clear();
        self.elected_with_lost_disk();
        self.transfer = None;
        self.pace = super::replication::Pace::default();
        self.heartbeat_at = now + self.config.heartbeat;
        self.uncommitted_bytes = 0;
        let next = self.log.last().index.next();
        self.progress = self
            .membership()
            .nodes()
            .into_iter()
            .filter(|&n| n != self.config.id)
            .map(|n| (n, Progress::new(next, now)))
            .collect();
        self.reads.lead();
        self.lease_begins_anew();
        self.term_start = self.push_entry(EntryKind::Empty, Bytes::new()).index;
        self.role_changed("won the election", true);
        self.send_heartbeats(now);
    }

    pub(super) fn leader_tick(&mut self, now: Instant) {
        if now < self.heartbeat_at {
            return;
        }
        let late = now.since(self.heartbeat_at);
        self.heartbeat_at = now + self.config.heartbeat;
        if late > self.config.election_min {
            // This replica was stalled: its followers' answers may be in the queue behind this tick.
            for progress in self.progress.values_mut() {
                progress.heard = now;
            }
        }
        if let Some((_, until)) = self.transfer
            && now >= until
        {
            self.transfer = None;
        }
        if let Some((to, _)) = self.transfer {
            self.finish_transfer(to);
        }
        if !self.has_quorum(now) {
            let term = self.hard.term;
            return self.follow(now, term, None, "no majority was heard in time");
        }
        self.forget_the_removed(now);
        if self.renewal_would_heal(now) {
            return self.renew(now);
        }
        self.resend_stalled(now);
        if !self.has_spoken(now) {
            self.send_heartbeats(now);
        }
        self.ask_to_rest(now);
    }

    /// Whether appends have said to all followers what a heartbeat would: each to which there is a connection holds all, knows of all that is
    /// committed, was sound when it was greeted, and was sent something less than a third of the shortest election timeout ago, so that what
    /// is left of that is still several heartbeats long. Among a thousand groups with a few writes a second each, heartbeats would be most
    /// of what nodes say to each other. They go on where a lease or a read waits for their answers, and in a group that never rests:
    /// there they are those of one group.
    fn has_spoken(&self, now: Instant) -> bool {
        let last = self.log.last().index;
        let well = |p: &Progress| {
            let late = p.spoke.is_some_and(|at| 3 * now.since(at) < self.config.election_min);
            let sound = p.greeted && p.withholds.is_none() && p.asker.is_none() && p.leaving.is_none();
            late && sound
                && matches!(p.phase, Phase::Replicate)
                && p.matched == last
                && p.told >= self.hard.commit
        };
        let waited_for = self.config.lease_reads.is_some() || self.reads.any() || self.transfer.is_some();
        self.config.rests && !waited_for && self.at_hand().all(|(_, p)| well(p))
    }

    /// Check-quorum: a majority said something within the longest election timeout.
    fn has_quorum(&self, now: Instant) -> bool {
        let heard = |n: NodeId| {
            n == self.config.id
                || self.progress.get(&n).is_some_and(|p| now.since(p.heard) <= self.config.election_max)
        };
        self.membership().is_quorum(heard)
    }

    /// A voter withholds, and goes on so for as long as this term lasts: were this leader lost, its yes would count for
    /// nothing. Not before it holds this term's first entry, unless it takes none: this term may be new enough; and not while it
    /// waits to hear that it is. Not while those are not at hand who could elect this leader again (a majority without such
    /// voters, or all), nor while something is under way that would have to begin anew: a snapshot, or a long tail of the log, of
    /// which nothing is committed any more before all of it is there. For that it waits until what is left goes at a time, where
    /// those who are sound can commit it (seed 26 of the simulator: of two members one had lost its disk, and nothing was), and
    /// not for ever: a leader that is always busy must heal, too.
    fn renewal_would_heal(&self, now: Instant) -> bool {
        let membership = self.membership();
        // The first chunk may be long on its way.
        let enough = |p: &Progress| {
            if p.takes_no_snapshot() { 4 * self.config.election_max } else { self.config.election_min }
        };
        let long = |p: &Progress| {
            p.withholds.is_some_and(|since| now.since(since) >= enough(p))
                && !p.asker.is_some_and(Asker::waits)
        };
        let tired = |p: &Progress| {
            p.withholds.is_some_and(|since| now.since(since) >= TAIL * self.config.election_max)
        };
        let vain = |p: &Progress| long(p) && p.withholds_in_vain(self.term_start);
        // A learner that has lost its disk is deaf, too; one that has only forgotten entries costs nothing.
        let patient =
            self.progress.iter().any(|(&n, p)| vain(p) && (membership.is_voter(n) || p.takes_nothing()));
        let heard = |p: &Progress| now.since(p.heard) <= 2 * self.config.heartbeat;
        let at_hand = |n: NodeId| n == self.config.id || self.progress.get(&n).is_some_and(heard);
        let sound = |n: NodeId| at_hand(n) && self.progress.get(&n).is_none_or(|p| p.withholds.is_none());
        patient
            && self.transfer.is_none()
            && !self.progress.values().any(|p| matches!(p.phase, Phase::Snapshot { .. }) && !vain(p))
            && (self.goes_at_a_time()
                || !membership.is_quorum(sound)
                || self.progress.values().any(|p| vain(p) && tired(p)))
            && (membership.is_quorum(sound) || membership.is_unanimous(at_hand))
    }

    /// Whether what is not committed is no more than a follower is sent at a time.
    fn goes_at_a_time(&self) -> bool {
        let most = self.config.max_append_entries.saturating_mul(self.config.window_messages);
        self.log.last().index.0 - self.hard.commit.0 <= most as u64
    }

    /// See "Replicas that may have forgotten".
    fn renew(&mut self, now: Instant) {
        let term = self.hard.term;
        self.follow(now, term, None, "renews its term, as a voter may have forgotten entries");
        self.campaign(now, true);
    }

    pub(super) fn send_heartbeats(&mut self, now: Instant) {
        let (mut round, mut lease) = (self.reads.round(), Duration::ZERO);
        if self.config.lease_reads.is_some() {
            round = self.reads.next_round();
            lease = self.lease_asked(now, round);
        }
        let (term, commit) = (self.hard.term, self.hard.commit);
        let peers: Vec<_> = self.progress.iter().map(|(&n, p)| (n, p.matched)).collect();
        for (node, matched) in peers {
            let commit = commit.min(matched);
            if let Some(p) = self.progress.get_mut(&node) {
                p.told = p.told.max(commit);
                p.spoke = Some(now);
            }
            self.post(node, Message::Heartbeat { term, commit, round, lease });
        }
    }
}
