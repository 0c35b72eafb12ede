//! What ends a stream from the node's side: that the node stops, and, for clients that asked for it with `hasleader`,
//! that there has been no leader for three election timeouts.
//!
//! A stream must end with UNAVAILABLE then: a clean end, or any other code, ends a client's watch for good. One task looks
//! for all streams, so that a stream that has nothing to say costs no timer.

use crate::failure::status;
use quorate_node::api::{Door, Failure};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tonic::Status;

/// How often the node is looked at. It must be shorter than the time a stopping node leaves its streams for their last words.
const LOOK: Duration = Duration::from_millis(20);

/// The node as far as streams must know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    stopping: bool,
    leaderless: bool,
}

impl State {
    fn of(door: &dyn Door) -> Self {
        let patience = door.patience().leaderless;
        Self {
            stopping: door.stopping(),
            leaderless: door.leaderless().is_some_and(|since| since > patience),
        }
    }
}

/// Tells streams when to end.
#[derive(Clone, Debug)]
pub(crate) struct Endings(watch::Receiver<State>);

impl Endings {
    /// Starts the task that looks; it ends when nobody listens any more.
    pub(crate) fn start(door: Arc<dyn Door>) -> Self {
        let (give, take) = watch::channel(State::of(&*door));
        tokio::spawn(async move {
            while !give.is_closed() {
                tokio::time::sleep(LOOK).await;
                let state = State::of(&*door);
                give.send_if_modified(|last| std::mem::replace(last, state) != state);
            }
        });
        Self(take)
    }

    /// One stream's ear.
    pub(crate) fn listen(&self, needs_leader: bool) -> Ending {
        Ending { needs_leader, states: WatchStream::new(self.0.clone()) }
    }
}

/// One stream's reason to end.
pub(crate) struct Ending {
    needs_leader: bool,
    states: WatchStream<State>,
}

impl Ending {
    /// Ready with the status that the stream must end with.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        while let Poll::Ready(state) = Pin::new(&mut self.states).poll_next(cx) {
            // Without a task that looks, the door is gone.
            let state = state.unwrap_or(State { stopping: true, leaderless: false });
            if state.stopping {
                return Poll::Ready(status(&Failure::Stopping));
            }
            if state.leaderless && self.needs_leader {
                return Poll::Ready(status(&Failure::NoLeader));
            }
        }
        Poll::Pending
    }
}
