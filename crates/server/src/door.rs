//! The door's side of a running node.

use crate::bbolt::{Snapshot, Unwritten};
use crate::clock::Clock;
use crate::inbox::{Inbox, lock};
use crate::room::Spare;
use crate::run::KV;
use quorate_base::time::Duration;
use quorate_base::{Instant, ShardId};
use quorate_node::api::tables::Placement;
use quorate_node::api::{
    Done, Door, Failure, Head, Opened, Patience, Pieces, Request, SnapshotForm, TakePiece, Wait, WatchStream,
};
use quorate_node::backup::Backup;
use quorate_node::figures::Figures;
use quorate_node::lane::{Broken, Event, Lane};
use quorate_node::watch::{Counts, Hub};
use quorate_wire::kv::Refused;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What doors may see without asking the lane: refreshed after each drain.
struct Pulse {
    head: Head,
    leaderless_since: Option<Instant>,
    away: bool,
    learner: bool,
    figures: Figures,
    placement: Arc<Placement>,
}

impl Pulse {
    fn of(lane: &Lane) -> Self {
        let (head, leaderless_since) = (lane.head(), lane.leaderless_since());
        Self {
            head,
            leaderless_since,
            away: lane.raft().state_lost(),
            learner: lane.only_learns(),
            figures: lane.figures(),
            placement: lane.placement().clone(),
        }
    }
}

/// A node as its doors see it.
pub(crate) struct NodeDoor {
    inbox: Arc<Inbox>,
    hub: Arc<Mutex<Hub>>,
    pulse: Mutex<Pulse>,
    patience: Patience,
    clock: Clock,
    stopping: AtomicBool,
    /// Whether clients are to go elsewhere; who listens has some yet.
    leaving: watch::Sender<bool>,
    spare: Spare,
}

impl NodeDoor {
    /// The door of `lane`.
    pub(crate) fn new(
        lane: &Lane,
        inbox: Arc<Inbox>,
        hub: Arc<Mutex<Hub>>,
        clock: Clock,
        spare: Spare,
    ) -> Arc<Self> {
        Arc::new(Self {
            inbox,
            hub,
            pulse: Mutex::new(Pulse::of(lane)),
            patience: lane.patience(),
            clock,
            stopping: AtomicBool::new(false),
            leaving: watch::channel(false).0,
            spare,
        })
    }

    /// Takes over what the lane knows now.
    pub(crate) fn refresh(&self, lane: &Lane) {
        let mut pulse = lock(&self.pulse);
        (pulse.head, pulse.leaderless_since) = (lane.head(), lane.leaderless_since());
        (pulse.away, pulse.figures) = (lane.raft().state_lost(), lane.figures());
        pulse.learner = lane.only_learns();
        if !Arc::ptr_eq(&pulse.placement, lane.placement()) {
            pulse.placement = lane.placement().clone();
        }
    }

    /// What the lane counts, as of the last refresh.
    pub(crate) fn figures(&self) -> Figures {
        lock(&self.pulse).figures
    }

    /// How many watches there are.
    pub(crate) fn watches(&self) -> Counts {
        lock(&self.hub).counts()
    }

    /// Hears when clients are to go elsewhere; to be dropped once all of them have.
    pub(crate) fn leaving(&self) -> watch::Receiver<bool> {
        self.leaving.subscribe()
    }

    /// From now on clients are to go elsewhere; all that they ask is still served.
    pub(crate) fn leave(&self) {
        self.leaving.send_if_modified(|leaving| !std::mem::replace(leaving, true));
    }

    /// Whether there are clients yet that were to go.
    pub(crate) fn has_clients(&self) -> bool {
        !self.leaving.is_closed()
    }

    /// Until there are none.
    pub(crate) async fn left(&self) {
        self.leaving.closed().await;
    }

    /// From now on requests are refused and streams end.
    pub(crate) fn close(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

impl Door for NodeDoor {
    fn call(&self, request: Request, wait: Wait, done: Done) {
        self.call_of(KV, request, wait, done);
    }

    fn placement(&self) -> Arc<Placement> {
        lock(&self.pulse).placement.clone()
    }

    fn call_of(&self, shard: ShardId, request: Request, wait: Wait, done: Done) {
        if self.stopping() {
            return done(Err(Failure::Stopping));
        }
        if let Request::Explained(_, slot) = &request {
            slot.came(self.clock.now());
        }
        self.inbox.push(Event::Call { shard, request, wait, done });
    }

    fn head(&self) -> Head {
        lock(&self.pulse).head
    }

    fn leaderless(&self) -> Option<Duration> {
        let since = lock(&self.pulse).leaderless_since?;
        Some(self.clock.now().since(since))
    }

    fn learner(&self) -> bool {
        lock(&self.pulse).learner
    }

    fn away(&self) -> bool {
        lock(&self.pulse).away
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn watch(&self, wake: Box<dyn Fn() + Send + Sync>) -> Box<dyn WatchStream> {
        Hub::open_stream(&self.hub, wake)
    }

    fn snapshot(&self, form: SnapshotForm, opened: Opened) {
        if self.stopping() {
            return opened(Err(Failure::Stopping));
        }
        let (inbox, spare) = (self.inbox.clone(), self.spare.clone());
        let opened = Box::new(move |backup: Result<Backup, Failure>| {
            opened(backup.map(|backup| Box::new(Saving { backup, form, spare, inbox }) as Box<dyn Pieces>));
        });
        self.inbox.push(Event::Backup { opened });
    }

    fn patience(&self) -> Patience {
        self.patience
    }
}

/// A snapshot that is being saved: a read that fails is the node's affair too.
struct Saving {
    backup: Backup,
    form: SnapshotForm,
    spare: Spare,
    inbox: Arc<Inbox>,
}

impl Pieces for Saving {
    fn read(self: Box<Self>, take: &mut TakePiece<'_>) -> Result<(), Failure> {
        let Self { backup, form, spare, inbox } = *self;
        let read = match form {
            SnapshotForm::Own => read_own(backup, take),
            SnapshotForm::Etcd { version } => {
                let (view, header) = (backup.view(), backup.header());
                Snapshot { view, header, version: &version, spare: &spare }.write(take)
            }
        };
        read.map_err(|failed| match failed {
            Unwritten::Unwanted => Failure::Stopping,
            Unwritten::State(error) => {
                inbox.push(Event::Broken(Broken::state("reading a snapshot", &error)));
                Failure::Broken(error.to_string())
            }
            Unwritten::Sorting(error) => {
                tracing::warn!(%error, "a snapshot for etcd was given up: what it holds could not be sorted on the disk");
                match error.kind() {
                    ErrorKind::StorageFull => Failure::Refused(Refused::NoSpace, Head::default()),
                    _ => Failure::Broken(format!("sorting a snapshot: {error}")),
                }
            }
        })
    }
}

fn read_own(mut backup: Backup, take: &mut TakePiece<'_>) -> Result<(), Unwritten> {
    let whole = backup.size_hint();
    backup.try_for_each(|piece| {
        let piece = piece.map_err(Unwritten::State)?;
        if take(piece, whole) { Ok(()) } else { Err(Unwritten::Unwanted) }
    })
}
