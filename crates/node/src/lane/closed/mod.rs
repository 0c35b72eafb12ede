//! Reads with a bound on staleness, at any replica: *closed timestamps* (`CockroachDB`'s word for them), by rounds in place of leases.
//!
//! A table may declare that its plain reads may be so old and no older. Any replica then answers them from its own state, where it knows
//! how old that is at most. What it takes for that is a *closed* pair of a time T and an index L:
//!
//! > Every write of the shard that anybody was told to be done before T stands at L, or before it.
//!
//! A replica that has applied L misses no such write: its answer is no older than the time since T. The pair is made by the leader.
//!
//! 1. It reads its wall clock, T, and takes note of its commit index, L. (It has committed in its own term, as for any read index.)
//! 2. It asks the others whether they have voted in a higher term ([`Frame::Close`]); that is one message for all groups that it
//!    leads and the other has replicas of, and one answer ([`Frame::Follows`]), every [`EVERY`].
//! 3. Once a majority of the group, itself counted, has said no, the pair is closed; the next message says so.
//!
//! # Why that is true
//!
//! A majority had voted in no higher term at some moment behind T. So nobody leads in a higher term before T, since who does
//! has the votes of a majority for it, and the two have a member in common. What was done before T was so in this term or a lower one.
//! In this one, whoever was told that an entry is committed heard it, directly or not, of this leader, whose commit index was by then
//! what it is at T at most. Of lower terms, every entry that is committed stands in this leader's log, and before its term's first
//! (Leader Completeness), which is committed by now. Both are at L or before. What a *successor* commits comes behind L, and is done
//! behind T. The pair stays true for ever, whoever leads, and a replica that is cut off from everyone may go on by it: its answers grow
//! older, and it says by how much, until the bound is passed.
//!
//! This is the argument of a read index ([`quorate_protocol::raft`], `reads`), with the time at which it began. A lease (which the notes
//! of this project ask for) would do in place of the round; but leases are off unless the operator allows them, rest on clocks, and
//! lapse where a group rests. So a clock takes part in one thing alone: what "so old" means. T is of one clock, and the reader's
//! now is of another; the two are assumed to be [`MAX_OFFSET`] apart at most, which is added. If they are further apart, an answer is older
//! than it says, and nothing else is wrong: it is still a state that was, whole transactions and all.
//!
//! # Transactions over shards
//!
//! One that is decided before T elsewhere, and whose outcome this shard has not heard, may not be missed. Its vote, which
//! whoever was told of it had heard before, stands at L or before it; so a replica that has applied L holds its *intent*. A read that
//! meets an intent asks the other shards for their votes, as every newest read does ([`super::commit`]), and takes
//! what they say: if all said Yes the transaction is committed and its item is what it wrote, else it was not committed when it was
//! asked, which is behind T. So T is not held back by what is undecided, and a shard with a transaction that waits for long is as
//! fresh as any for all other items.
//!
//! # What it costs
//!
//! A message says of groups only what has changed since what its receiver has confirmed to know: a group that rests is a member of a set on both
//! sides and no more. It writes nothing to any log, wakes nobody up, and nodes send nothing of it as long as no table declares
//! a bound. A message that is lost, or comes late, costs an interval: each says all since the last that was answered, and a round
//! counts for a receiver from the first message on that it got of that round or a later one.
//!
//! # Left out
//!
//! Global indexes: what undecided transactions will change in their rows is not known by reading them. They answer as ever,
//! from the asked node's own state.

mod closing;
mod fence;
mod heard;

use super::Lane;
use super::group::Group;
use super::node::Node;
use crate::api::{Fresh, Request};
use closing::Closing;
use fence::Fence;
pub use fence::Stand;
pub(super) use heard::Closed;
use quorate_base::time::Duration;
use quorate_base::{Index, Instant, NodeId, Rng, ShardId};
#[cfg(doc)]
use quorate_clock::MAX_OFFSET;
use quorate_clock::{Hlc, Hybrid, Wall};
use quorate_wire::kv::Refused;
use quorate_wire::peer::{Close, Follows, Frame};
use quorate_wire::table::Refusal;
use std::collections::BTreeSet;

/// How often a node says what it leads.
pub const EVERY: Duration = Duration::from_millis(200);

/// A wall clock that has gone so much further, or less far, than time has passed was set.
const JUMP: Duration = Duration::from_millis(50);

/// A planted bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A leader closes what it has not been confirmed for.
    CloseWithoutRound,
    /// A replica answers before it has applied what was closed.
    ServeBeforeApplied,
    /// A read takes an item as it is beside the intent of a transaction that may be done.
    PassIntents,
    /// A clock that was set is believed until it is compared again.
    TrustsSetClock,
}

impl Mutant {
    /// All, by name.
    pub const ALL: &'static [(&'static str, Self)] = &[
        ("close-without-round", Self::CloseWithoutRound),
        ("serve-before-closed-is-applied", Self::ServeBeforeApplied),
        ("closed-read-passes-intents", Self::PassIntents),
        ("set-clock-trusted", Self::TrustsSetClock),
    ];
}

fn unbounded(earlier: Hlc) -> Hybrid {
    let mut clock = Hybrid::restored(earlier);
    clock.may(Hlc(u64::MAX));
    clock
}

/// Whether a wall clock was set between two looks at it, by more than the two clocks differ in what they take for a second: that one is
/// slewed, and the other may drift as far as leases allow.
fn has_jumped(passed: Duration, before: Wall, wall: Wall) -> bool {
    let passed = passed.as_millis();
    let shown = i128::from(wall.0) - i128::from(before.0);
    shown.abs_diff(i128::try_from(passed).unwrap_or(i128::MAX)) > JUMP.as_millis() + passed / 8
}

/// Whether this bug is planted, in builds that have them.
fn mutant(planted: Option<Mutant>, which: Mutant) -> bool {
    cfg!(feature = "mutants") && planted == Some(which)
}

/// Why a bound could not be kept by the asked replica alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missed {
    /// Nothing is closed that this replica has applied.
    NothingClosed,
    /// What is closed is older than the bound allows.
    TooOld,
    /// This replica's clock is too far from the majority's, or nobody knows yet.
    Fenced,
}

impl Missed {
    /// Its word in headers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NothingClosed => "nothing-closed",
            Self::TooOld => "too-old",
            Self::Fenced => "fenced",
        }
    }
}

/// What is known of closed times at this node: what it leads, and what it heard of others.
pub(super) struct Times {
    closing: Closing,
    pub(super) closed: Closed,
    fence: Fence,
    /// Groups that something happened to since they were looked at last.
    stirred: BTreeSet<ShardId>,
    /// What the wall clock shows at this turn, if this node has been told.
    pub(super) wall: Option<Wall>,
    /// When that was, by the clock that does not jump.
    looked: Instant,
    pub(super) planted: Option<Mutant>,
    /// The hybrid clock. One whose driver keeps no bound has none.
    pub(super) hybrid: Hybrid,
}

impl Times {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            closing: Closing::new(rng.next_u64()),
            closed: Closed::default(),
            fence: Fence::default(),
            stirred: BTreeSet::new(),
            wall: None,
            looked: Instant::ZERO,
            planted: None,
            hybrid: unbounded(Hlc::default()),
        }
    }

    /// What the wall clock shows. One that was set meanwhile is as that of a node that starts: what is known of it was of another.
    fn shows(&mut self, now: Instant, wall: Wall) {
        let before = self.wall.replace(wall);
        let passed = now.since(std::mem::replace(&mut self.looked, now));
        let trusted = mutant(self.planted, Mutant::TrustsSetClock);
        if !trusted && before.is_some_and(|before| has_jumped(passed, before, wall)) {
            self.fence.rests();
            self.closing.forgets_times();
        }
    }

    /// Something happened to a group.
    pub(super) fn stirs(&mut self, shard: ShardId) {
        self.stirred.insert(shard);
    }

    /// A reading of the hybrid clock; of one that no wall clock drives, the asker's own time.
    pub(super) fn reading(&mut self, asked: u64) -> Hlc {
        self.wall.map_or(Hlc::of(Wall(asked)), |wall| self.hybrid.read(wall))
    }

    /// Another's reading was heard.
    pub(super) fn hears(&mut self, reading: Hlc) {
        if let Some(wall) = self.wall {
            // What is from too far ahead is not taken.
            self.hybrid.hear(wall, reading);
        }
    }

    /// A bound of the hybrid clock that is to become durable.
    pub(super) fn bound_wanted(&mut self) -> Option<Hlc> {
        self.hybrid.wants(self.wall?)
    }

    /// How the wall clock stands to the majority's.
    pub(super) fn stand(&self) -> Stand {
        self.fence.stand()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.closing.deadline()
    }

    /// Up to when a replica knows all that was done, and how old its state is at most.
    fn known(&self, shard: ShardId, applied: Index) -> Result<(Wall, Duration), Missed> {
        if self.fence.holds_back() {
            return Err(Missed::Fenced);
        }
        let applied =
            if mutant(self.planted, Mutant::ServeBeforeApplied) { Index(u64::MAX) } else { applied };
        let closed = self.closed.at(shard, applied).ok_or(Missed::NothingClosed)?;
        let wall = self.wall.ok_or(Missed::NothingClosed)?;
        Ok((closed, wall.at_most_since(closed)))
    }
}

/// How a read of a table is to be answered.
pub(super) enum How {
    /// From the state as it is.
    Local,
    /// From the state as it is, which holds all up to a time and is so old at most.
    Bounded(Wall, Duration),
    /// In its newest state, since the bound could not be kept.
    Forwarded(Missed),
    /// In its newest state.
    Newest,
}

impl Group {
    /// How a read is to be answered, by what it asks for and its table declares; what is left of it is a read of the newest state
    /// or of the own one.
    pub(super) fn freshness(&self, node: &Node, request: &mut Request) -> Result<How, Refused> {
        let Request::Table { read, fresh, .. } = request else { return Ok(How::Newest) };
        let Fresh::Plain(asked) = *fresh else {
            return Ok(if *fresh == Fresh::Newest { How::Newest } else { How::Local });
        };
        let declared = self.view.tables().staleness(read);
        let bound = match (declared, asked) {
            (Some(declared), Some(asked)) if asked > declared => {
                return Err(refused(format!(
                    "The bound on staleness that is asked for, {} ms, is above what the table allows: {} ms",
                    asked.as_millis(),
                    declared.as_millis()
                )));
            }
            // A new shard that has not heard of its table says that.
            (None, Some(_)) if !self.view.tables().knows(read) => None,
            (None, Some(_)) => {
                return Err(refused(
                    "A bound on staleness is asked for, and what is read declares none: see the tag quorate:staleness".into(),
                ));
            }
            (declared, asked) => asked.or(declared),
        };
        let Some(bound) = bound else {
            // The first read of a life makes sure that nobody sees the state of this node go back, see where `caught_up` is asked for.
            let (now, how) =
                if self.caught_up { (Fresh::Local, How::Local) } else { (Fresh::Newest, How::Newest) };
            *fresh = now;
            return Ok(how);
        };
        let pass = mutant(node.times.planted, Mutant::PassIntents);
        *fresh = if pass { Fresh::Local } else { Fresh::Newest };
        read.looks_for_intents(!pass);
        Ok(match node.times.known(self.shard, self.view.applied().index) {
            Ok((closed, age)) if age <= bound && self.caught_up => How::Bounded(closed, age),
            missed => {
                *fresh = Fresh::Newest;
                How::Forwarded(match missed {
                    Ok(_) if !self.caught_up => Missed::NothingClosed,
                    Ok(_) => Missed::TooOld,
                    Err(missed) => missed,
                })
            }
        })
    }
}

/// What is said of a node whose clock is so many milliseconds ahead.
pub fn fenced(ahead: i64) -> String {
    let way = if ahead < 0 { "behind" } else { "ahead of" };
    format!(
        "the clock of this node is {} ms {way} the majority's: it answers no read within a bound on staleness by itself",
        ahead.unsigned_abs()
    )
}

fn refused(text: String) -> Refused {
    Refused::Table(Refusal::Validation(text))
}

impl Lane {
    /// What this node's wall clock shows now. Said before the events of a turn, which then are none of an earlier moment.
    pub fn shows(&mut self, now: Instant, wall: Wall) {
        self.node.times.shows(now, wall);
    }

    /// Earlier lives may have given out readings of the hybrid clock up to the first; up to the second this one may.
    pub fn restores_clock(&mut self, earlier: Hlc, bound: Hlc) {
        self.node.times.hybrid = Hybrid::restored(earlier);
        self.node.times.hybrid.may(bound);
    }

    /// What the hybrid clock shows.
    pub fn hybrid(&self) -> Hlc {
        self.node.times.hybrid.shown()
    }

    /// Plants a bug in reads with a bound on staleness; without the feature `mutants` it does nothing.
    pub fn plant_in_closed(&mut self, mutant: Option<Mutant>) {
        self.node.times.planted = mutant;
    }

    /// How this node's wall clock stands to the majority's, where anything depends on that.
    pub fn clock(&self) -> Stand {
        self.node.times.stand()
    }

    pub(super) fn close_heard(&mut self, from: NodeId, close: Close) {
        let wall = self.node.times.wall;
        self.node.times.hears(close.clock);
        if !self.node.times.closed.hear(from, close, wall) {
            self.node.malformed.push(from);
        }
    }

    pub(super) fn follows_heard(&mut self, now: Instant, from: NodeId, follows: Follows) {
        let times = &mut self.node.times;
        times.hears(follows.clock);
        if let (Some(sent), Some(heard)) = (times.closing.began(&follows), times.wall) {
            times.fence.compares(now, from, follows.wall, (sent, heard));
        }
        times.closing.answered(now, from, follows);
    }

    /// Looks at the groups that something happened to: whether they are led here, and in which terms they are.
    fn look_at_the_stirred(&mut self) {
        for shard in std::mem::take(&mut self.node.times.stirred) {
            let raft = self.core(shard);
            let (confirms, leads) = (
                raft.and_then(quorate_protocol::raft::Raft::confirms),
                raft.and_then(|raft| Some((raft.term(), raft.readable()?, raft.membership().nodes()))),
            );
            self.node.times.closed.stands(shard, confirms);
            self.node.times.closing.leads(shard, leads);
        }
    }

    /// Answers what was heard, and says what is led here once it is time. Behind all that a turn does to the groups.
    pub(super) fn tend_closed(&mut self, now: Instant) {
        self.node.times.stirs(self.space.shard);
        let Some(wall) = self.node.times.wall else { return };
        if self.node.times.closed.owes() {
            self.look_at_the_stirred();
            for (to, follows) in self.node.times.closed.answers(wall, self.node.times.hybrid.shown()) {
                // Its own word it need not be told.
                if to != self.node.settings.node {
                    self.node.send(to, &Frame::Follows(follows));
                }
            }
        }
        let wanted = self.space.view.tables().is_any_bounded();
        if self.node.times.closing.is_due(now, wanted) {
            self.begin_round(now, wall);
        } else if !wanted {
            self.node.times.fence.rests();
        }
    }

    /// Says what is led here, and what of it is closed by now.
    fn begin_round(&mut self, now: Instant, wall: Wall) {
        self.look_at_the_stirred();
        let me = self.node.settings.node;
        let members = self.space.raft.membership().nodes();
        self.node.times.fence.judge(now, me, &members);
        let may = !self.node.times.fence.holds_back();
        let without_round = mutant(self.node.times.planted, Mutant::CloseWithoutRound);
        let (space, groups) = (&self.space, &self.groups);
        let of = |shard: ShardId| {
            if shard == space.shard { Some(space) } else { groups.get(&shard).map(AsRef::as_ref) }
        };
        let is_quorum = |shard: ShardId, says: &dyn Fn(NodeId) -> bool| {
            of(shard).is_some_and(|group| group.raft.membership().is_quorum(|node| node == me || says(node)))
        };
        let away = &self.node.away;
        let is_up = |peer| !away.is_down(peer);
        let closing = &mut self.node.times.closing;
        let messages = closing.next(now, (me, wall), &members, is_up, is_quorum, without_round);
        for (to, mut close) in messages {
            // A clock that is wrong closes nothing.
            close.closed = close.closed.filter(|_| may);
            close.clock = self.node.times.hybrid.shown();
            if to == me {
                self.close_heard(me, close);
            } else {
                self.node.send(to, &Frame::Close(close));
            }
        }
    }
}
