//! Room for what is written: when a node says that it has none.
//!
//! The driver tells when its disk is nearly full; how large the space may grow is a setting. Either makes the node ask the log
//! for an alarm in its name, since only the log may refuse what others would take. Till that stands its own clients' writes that
//! make the space grow are refused here, so that a flood of them does not eat what is kept for taking things away; who is refused hears it
//! once the alarm stands, if it comes to stand soon, so that whoever hears it finds it.
//! The alarm stands until somebody takes it back, also where there is room again: whoever filled the disk may do so again.

use super::AutoCompaction;
use super::group::Group;
use super::node::Node;
use super::pending::Want;
use crate::api::{Done, Failure};
use quorate_base::Instant;
use quorate_base::time::Duration;
use quorate_wire::command;
use quorate_wire::kv::{Alarm, AlarmKind, Command, Refused};

/// A node asks again after so long, if its alarm does not stand.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// No more wait to hear that there is no room.
const REFUSED_MAX: usize = 4096;

/// What a node does unasked about the space that it serves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Upkeep {
    /// Bytes of the space beyond which the node raises the alarm for want of room; 0 for no bound.
    pub quota: i64,
    /// How much history is kept; all of it unless set.
    pub auto_compaction: Option<AutoCompaction>,
}

/// What is known about the room of this node.
#[derive(Default)]
pub(super) struct Room {
    /// Its disk is nearly full.
    pub(super) disk_short: bool,
    /// A write was refused that would have made the space outgrow its quota.
    pub(super) crossed: bool,
    /// It has asked for the alarm, and asks again from then on.
    asked_until: Option<Instant>,
    /// Those who are to hear that there is no room, once the alarm stands.
    pub(super) refused: Vec<Done>,
    /// The space's bytes, where it has just outgrown its quota.
    pub(super) outgrown: Option<i64>,
}

impl Group {
    /// Whether this node has no room for more.
    pub(super) fn is_short_of_room(&self, node: &Node) -> bool {
        let quota = node.settings.upkeep.quota;
        node.room.disk_short || (quota > 0 && self.view.sizes().0 > quota)
    }

    /// Whether a write of so many bytes would make the space outgrow its quota: etcd refuses it, too, and raises the alarm.
    pub(super) fn would_outgrow(&self, node: &Node, bytes: usize) -> bool {
        let (quota, more) = (node.settings.upkeep.quota, i64::try_from(bytes).unwrap_or(i64::MAX));
        self.is_space() && quota > 0 && self.view.sizes().0.saturating_add(more) > quota
    }

    /// Whether this node is short of room and the log does not say so yet.
    pub(super) fn wants_alarm(&self, node: &Node) -> bool {
        (self.is_short_of_room(node) || node.room.crossed) && !self.view.alarms().contains(&own_alarm(node))
    }

    /// Who wants to write hears that there is no room.
    pub(super) fn refuse_for_room(&self, node: &mut Node, done: Done) {
        if self.is_space() && self.wants_alarm(node) && node.room.refused.len() < REFUSED_MAX {
            return node.room.refused.push(done);
        }
        done(Err(Failure::Refused(Refused::NoSpace, self.head(node))));
    }

    /// Asks the log for the alarm, if it is to stand and does not.
    pub(super) fn watch_room(&mut self, node: &mut Node, now: Instant) {
        if node.room.crossed && self.view.alarms().contains(&own_alarm(node)) {
            node.room.crossed = false;
        }
        let wants = self.wants_alarm(node) && !node.stopping && !self.raft.state_lost();
        let asked = node.room.asked_until.filter(|_| wants);
        if !wants {
            // One that is taken back too early is raised again at once.
            node.room.asked_until = None;
        }
        if !wants || asked.is_some_and(|until| now >= until) {
            for done in std::mem::take(&mut node.room.refused) {
                done(Err(Failure::Refused(Refused::NoSpace, self.head(node))));
            }
        }
        if !wants || asked.is_some_and(|until| now < until) {
            return;
        }
        if node.room.asked_until.is_none() && !node.room.disk_short {
            node.room.outgrown = Some(self.view.sizes().0);
        }
        let until = now + ASK_EVERY;
        node.room.asked_until = Some(until);
        let request = node.take_request();
        let command = Command::Alarm { alarm: own_alarm(node), on: true };
        let data = command::encode(node.settings.node, request, &command);
        node.pending.park(self.shard, request, Want::Write(data), until, (Box::new(drop), None));
    }
}

fn own_alarm(node: &Node) -> Alarm {
    Alarm { kind: AlarmKind::NoSpace, member: node.settings.node.get() }
}
