//! What the log is told of peers that come and go: each change once, not each attempt; and of many changes in a short while
//! only what became of them.

use super::{Mistake, MistakeKind, Transport};
use crate::inbox::lock;
use crate::mistakes::TELL_EVERY;
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};
use std::sync::Arc;

/// How long a peer may be out of reach before the log says so: at a start the others come up one after the other.
const UNREACHED_PATIENCE: Duration = Duration::from_secs(5);
/// So many changes of one peer are told at once in [`TELL_EVERY`].
const LINES_MAX: u32 = 4;

/// A peer that is being dialled, and what the log has been told of that.
pub(super) struct Outage {
    since: Instant,
    told: bool,
}

impl Outage {
    /// One that begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, told: false }
    }

    /// An attempt failed. One line for each outage: at once where somebody answers wrongly, after a while where nobody does.
    pub(super) fn tell(&mut self, peer: NodeId, address: &str, mistake: &Mistake, now: Instant) {
        let nobody = !mistake.is_refusal();
        // Who has just been added is a stranger to those who have not heard of it yet.
        let may_pass = nobody || mistake.kind == MistakeKind::Stranger;
        if self.told || (may_pass && now.since(self.since) < UNREACHED_PATIENCE) {
            return;
        }
        self.told = true;
        if nobody {
            tracing::warn!(
                %peer,
                address,
                "the peer cannot be reached and is tried again ({}); see whether it runs, and whether this is its address",
                mistake.why
            );
        } else {
            tracing::warn!(%peer, address, "the peer refused or is not a peer: {}", mistake.why);
        }
    }
}

/// What the log was last told of a peer's connection.
#[derive(Default)]
pub(super) struct Told {
    up: bool,
    /// Since when [`Told::lines`] is counted.
    since: Instant,
    lines: u32,
    /// A line is on its way.
    due: bool,
}

impl Transport {
    /// A connection came or went; `why` is for one that went.
    pub(super) fn changed(self: &Arc<Self>, peer: NodeId, why: String) {
        let now = self.clock.now();
        let wait = {
            let mut all = lock(&self.told);
            let told = all.entry(peer).or_default();
            if told.due {
                return;
            }
            if now.since(told.since) >= TELL_EVERY {
                (told.since, told.lines) = (now, 0);
            }
            told.due = true;
            if told.lines < LINES_MAX { Duration::ZERO } else { (told.since + TELL_EVERY).since(now) }
        };
        if wait.is_zero() {
            return self.tell_change(peer, &why);
        }
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            this.tell_change(peer, &why);
        });
    }

    fn tell_change(&self, peer: NodeId, why: &str) {
        let up = lock(&self.links).contains_key(&peer);
        {
            let mut all = lock(&self.told);
            let told = all.entry(peer).or_default();
            told.due = false;
            if told.up == up {
                return;
            }
            told.up = up;
            told.lines += 1;
        }
        if up {
            tracing::info!(%peer, "connected");
        } else {
            tracing::warn!(%peer, "the connection is lost, and made anew once the peer can be reached: {why}");
        }
    }
}
