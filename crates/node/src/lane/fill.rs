//! Indexes that are added to tables: the leader asks the log to fill them, a bounded number of items an entry, until they
//! hold all that there is.
//!
//! How far an index is stands in the state, so that whoever leads goes on where it stands; what is asked twice is filled
//! once, since an entry fills from where the state says.

use super::group::{Group, Proposer};
use super::node::Node;
use bytes::Bytes;
use quorate_base::Instant;
use quorate_base::time::Duration;
use quorate_wire::command;
use quorate_wire::kv::Command;
use quorate_wire::table::{self, EPOCH, What};

/// So many items an entry fills: some milliseconds of work.
const ITEMS: u32 = 500;
/// It is asked again after so long, if nothing came of it.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What was asked last: table, index, from where; and until when nothing more is asked.
pub(super) type Asked = Option<((u32, u32, Bytes), Instant)>;

impl Group {
    /// Asks for the next part of an index that is to be filled.
    pub(super) fn fill_indexes(&mut self, node: &mut Node, now: Instant) {
        if !self.raft.is_leader() || node.stopping {
            return;
        }
        let next = if self.fills() { self.view.tables().filling() } else { None };
        let Some(next) = next else {
            self.filling = None;
            return;
        };
        if self.filling.as_ref().is_some_and(|(asked, until)| *asked == next && now < *until) {
            return;
        }
        let (table, index) = (next.0, next.1);
        self.filling = Some((next, now + ASK_EVERY));
        let what = What::Fill { table, index, items: ITEMS };
        let command = Command::Table(Box::new(table::Command { epoch: EPOCH, now: 0, what }));
        let data = command::encode(node.settings.node, node.take_request(), &command);
        self.propose(now, Proposer::Nobody, data);
    }
}
