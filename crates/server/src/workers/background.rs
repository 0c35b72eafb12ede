//! The background's worker: checkpoints, chunks of snapshots, and the upkeep of the state's store.

use super::{Counters, ToBackground, ToJournal, since, yield_to_requests};
use crate::inbox::Inbox;
use crate::queue;
use quorate_node::applier::Work;
use quorate_node::lane::{Broken, Defragmented, Event, Seal};
use quorate_storage::state::{CheckpointJob, StateErrorKind, Upkeep};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The background thread turns to the state's upkeep when nobody has asked for anything for so long, ...
const UPKEEP_PAUSE: Duration = Duration::from_millis(20);
/// ... or when it has not for so long.
const UPKEEP_AT_LEAST: Duration = Duration::from_secs(1);
/// So much is scrubbed at once, ...
const SCRUB_BYTES: u64 = 256 << 10;
/// ... so often: a megabyte a second, ...
const SCRUB_EVERY: Duration = Duration::from_millis(250);
/// ... and after a round through everything it rests.
const SCRUB_REST: Duration = Duration::from_secs(3600);
/// What found no room is tried again after so long.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The background's thread.
pub(super) fn run(
    queue: &Receiver<ToBackground>,
    mut upkeep: Option<Box<dyn Upkeep>>,
    inbox: &Inbox,
    journal: &queue::Sender<ToJournal>,
    applier: &queue::Sender<Work>,
    counters: &Counters,
) {
    yield_to_requests();
    let timed = |job: Box<dyn CheckpointJob>, generation| {
        let begun = Instant::now();
        let done = job.run(generation);
        counters.checkpoint.observe(since(begun));
        done
    };
    let mut kept_up = Instant::now();
    // What found no room is tried again from then on.
    let (mut upkeep_from, mut seal_from) = (kept_up, None);
    let mut scrub_from = kept_up + SCRUB_EVERY;
    loop {
        if seal_from.is_some_and(|from| from <= Instant::now()) {
            seal_from = None;
            applier.send(Work::Seal);
        }
        // Chunks of a large snapshot may be asked for without a pause; the state wants its turn all the same.
        let due = kept_up.elapsed() > UPKEEP_AT_LEAST;
        let message = if due { Err(RecvTimeoutError::Timeout) } else { queue.recv_timeout(UPKEEP_PAUSE) };
        let message = match message {
            Ok(message) => message,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                kept_up = Instant::now();
                if let Some(upkeep) = upkeep.as_mut().filter(|_| kept_up >= scrub_from) {
                    match upkeep.scrub(SCRUB_BYTES) {
                        Ok(more) => scrub_from = kept_up + if more { SCRUB_EVERY } else { SCRUB_REST },
                        Err(error) => {
                            return inbox.push(Event::Broken(Broken::state("scrubbing the state", &error)));
                        }
                    }
                }
                match upkeep.as_mut().filter(|_| kept_up >= upkeep_from).map(|upkeep| upkeep.step()) {
                    None | Some(Ok(_)) => {}
                    Some(Err(error)) if error.kind == StateErrorKind::Full => {
                        tracing::warn!(%error, "the state's upkeep found no room, and is tried again");
                        upkeep_from = kept_up + TRY_AGAIN;
                    }
                    Some(Err(error)) => {
                        return inbox.push(Event::Broken(Broken::state("maintaining the state", &error)));
                    }
                }
                continue;
            }
        };
        match message {
            ToBackground::Seal(Seal { job, generation, cut }) => match timed(job, generation) {
                Ok(()) => {
                    journal.send(ToJournal::Mark { generation, cut });
                }
                // What completes a snapshot cannot be left out: the node takes that in again when it is started again.
                Err(error) if error.kind == StateErrorKind::Full && cut.installed.is_empty() => {
                    tracing::warn!(%error, "checkpoint {generation} found no room, and is tried again");
                    applier.send(Work::SealFailed);
                    seal_from = Some(Instant::now() + TRY_AGAIN);
                }
                Err(error) => {
                    let doing = format!("making checkpoint {generation}");
                    return inbox.push(Event::Broken(Broken::state(&doing, &error)));
                }
            },
            // Where this fails the clock counts on below the last one, and it is asked for again.
            ToBackground::Clock(dir, bound) => match crate::readings::note(&dir, bound) {
                Ok(()) => inbox.push(Event::ClockNoted(bound)),
                Err(error) => tracing::warn!(%error, "a bound of the hybrid clock could not be noted"),
            },
            ToBackground::Export(export) => inbox.push(Event::Exported(export.read())),
            ToBackground::Defragment(number) => {
                let result = upkeep.as_mut().map_or(Ok(()), |upkeep| upkeep.settle());
                inbox.push(Event::Defragmented(Defragmented { number, result }));
            }
            ToBackground::Tidy(live) => match upkeep.as_mut().map_or(Ok(false), |upkeep| upkeep.tidy(live)) {
                Ok(false) => {}
                Ok(true) => {
                    // The checkpoint, and what is readable, hold on to what was merged.
                    applier.send(Work::Settle(0));
                    applier.send(Work::Seal);
                }
                Err(error) if error.kind == StateErrorKind::Full => {
                    tracing::warn!(%error, "there is no room to give room back");
                }
                Err(error) => {
                    return inbox.push(Event::Broken(Broken::state("giving room back", &error)));
                }
            },
            ToBackground::Recorded(generation) => {
                // What stays for want of this goes with the next one.
                if let Some(Err(error)) = upkeep.as_mut().map(|upkeep| upkeep.recorded(generation)) {
                    tracing::warn!(%error, "an older checkpoint could not be removed");
                }
            }
        }
    }
}
