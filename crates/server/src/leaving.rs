//! How a node goes that was told to stop: it hands over what it leads, sends its clients elsewhere while it serves all that they still
//! ask, answers what it has taken, and ends.

use crate::door::NodeDoor;
use crate::transport::Transport;
use quorate_node::lane::Lane;
use std::time::{Duration, Instant};

/// How long a stopping node waits for its successor to take over, and for what it has taken to be answered.
const HAND_OVER_PATIENCE: Duration = Duration::from_millis(1500);
/// How long clients may take to go elsewhere: a client over HTTP/2 hears that it should within a round trip, and what it sends until then
/// must not fail for that.
const GOODBYE: Duration = Duration::from_millis(500);

/// See the page.
#[derive(Default)]
pub(crate) struct Leaving {
    /// When it was told to.
    since: Option<Instant>,
    /// When its clients were.
    told: Option<Instant>,
}

impl Leaving {
    /// Whether it was told to.
    pub(crate) fn begun(&self) -> bool {
        self.since.is_some()
    }

    pub(crate) fn begin(&mut self) {
        self.since = Some(Instant::now());
    }

    /// Does the next step that is due; whether the node may end.
    pub(crate) fn step(&mut self, lane: &Lane, transport: &Transport, door: &NodeDoor) -> bool {
        let Some(since) = self.since else { return false };
        // A node without others has nobody to hand over to, and its clients have nowhere to go.
        let late = since.elapsed() > HAND_OVER_PATIENCE || !transport.any();
        if lane.raft().is_leader() && !late {
            return false;
        }
        self.told.get_or_insert_with(Instant::now);
        door.leave();
        if self.clients_go(door) && !late {
            return false;
        }
        // What is new goes elsewhere; what was taken is answered first: the successor has it in its log.
        door.close();
        !lane.owes() || lane.raft().leader().is_none() || late
    }

    /// Whether clients are on their way.
    pub(crate) fn clients_go(&self, door: &NodeDoor) -> bool {
        self.told.is_some_and(|told| told.elapsed() < GOODBYE) && door.has_clients()
    }

    /// Until they are gone or had their time.
    pub(crate) async fn gone(&self, door: &NodeDoor) {
        let rest = self.told.map_or(GOODBYE, |told| GOODBYE.saturating_sub(told.elapsed()));
        drop(tokio::time::timeout(rest, door.left()).await);
    }
}
