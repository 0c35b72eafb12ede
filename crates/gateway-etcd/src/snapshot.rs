//! The snapshot stream: a file, piece by piece, as etcd's clients save it: the file of etcd's store, so that its tools read it
//! (`quorate_server::bbolt`), or of our own form for who says so with the metadata `quorate-snapshot: own` (`quorate_node::backup`).
//!
//! Either is 32 bytes longer than a multiple of 512 and ends with the SHA-256 of all before: what those clients look at.
//!
//! The pieces are read on a thread of their own, as far ahead as two of them.

use crate::{Gateway, failure, wants_leader};
use bytes::Bytes;
use quorate_node::api::{Failure, Pieces, SnapshotForm};
use quorate_node::backup::{ALIGN, SUM};
use quorate_node::evidence::Mode;
use quorate_node::figures::Histogram;
use quorate_proto::etcdserverpb as pb;
use sha2::{Digest, Sha256};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::Status;
use tonic::metadata::MetadataMap;

const ASK: &str = "quorate-snapshot";
/// The largest blob of one message.
const BLOB_MAX: usize = 64 << 10;

/// How long snapshots take that clients save.
#[derive(Debug)]
pub struct Times(pub Histogram);

impl Default for Times {
    fn default() -> Self {
        // etcd's: a hundredth of a second, and twice that, up to eleven minutes.
        Self(Histogram::new(&[
            0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84,
            327.68, 655.36,
        ]))
    }
}

/// Opens the stream.
pub(crate) async fn open(gateway: &Gateway, metadata: &MetadataMap) -> Result<Messages, Status> {
    gateway.require_leader(metadata)?;
    gateway.explain_stream(Mode::Local).await;
    let (give, take) = oneshot::channel();
    let version = gateway.storage_version();
    let form = form(metadata, &version)?;
    gateway.door.snapshot(form, Box::new(move |opened| drop(give.send(opened))));
    let pieces = take.await.unwrap_or(Err(Failure::Stopping)).map_err(|failure| failure::status(&failure))?;
    let (give, take) = mpsc::channel(2);
    let (taker, stalled) = (Taker { runtime: Handle::current(), patience: PATIENCE }, Arc::default());
    let give = Give { messages: give, taker, stalled: Arc::clone(&stalled) };
    let counters = gateway.counters.clone();
    std::thread::Builder::new()
        .name("snapshot".into())
        .spawn(move || {
            let begun = Instant::now();
            read(pieces, &version, &give);
            counters.snapshots.0.observe(begun.elapsed());
        })
        .map_err(|e| Status::unavailable(format!("quorate: a thread did not start: {e}")))?;
    let ending = gateway.endings.listen(wants_leader(metadata));
    Ok(Messages { came: take, ending, stalled })
}

/// So long a client may take nothing of its snapshot: what it pins keeps its room, and there are few places.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where messages are given on, from a thread of their own.
struct Give {
    messages: mpsc::Sender<Result<pb::SnapshotResponse, Status>>,
    taker: Taker,
    stalled: Arc<AtomicBool>,
}

/// How long a client may take.
struct Taker {
    runtime: Handle,
    patience: Duration,
}

impl Give {
    /// False once nobody takes anything any more.
    fn give(&self, message: Result<pb::SnapshotResponse, Status>) -> bool {
        if self.stalled.load(Ordering::Relaxed) {
            return false;
        }
        let taken = async { tokio::time::timeout(self.taker.patience, self.messages.send(message)).await };
        let taken = self.taker.runtime.block_on(taken);
        if taken.is_err() {
            self.stalled.store(true, Ordering::Relaxed);
        }
        taken.is_ok_and(|taken| taken.is_ok())
    }
}

/// The form that is asked for.
fn form(metadata: &MetadataMap, version: &str) -> Result<SnapshotForm, Status> {
    match metadata.get(ASK).map(tonic::metadata::MetadataValue::as_bytes) {
        None => Ok(SnapshotForm::Etcd { version: version.to_string() }),
        Some(b"own") => Ok(SnapshotForm::Own),
        Some(_) => {
            Err(Status::invalid_argument("quorate: quorate-snapshot is \"own\", or left out for etcd's form"))
        }
    }
}

/// Reads all pieces, adds what belongs to the end, and gives it on in messages. Ends when nobody takes them any more.
fn read(pieces: Box<dyn Pieces>, version: &str, give: &Give) {
    let mut sending = Sending { version, give, sum: Sha256::new(), sent: 0 };
    match pieces.read(&mut |piece, whole| sending.piece(&piece, whole)) {
        Ok(()) => sending.end(),
        Err(failure) => drop(give.give(Err(failure::status(&failure)))),
    }
}

/// A snapshot on its way.
struct Sending<'g> {
    version: &'g str,
    give: &'g Give,
    sum: Sha256,
    sent: u64,
}

impl Sending<'_> {
    /// False once nobody takes it.
    fn piece(&mut self, piece: &Bytes, whole: u64) -> bool {
        self.sum.update(piece);
        let mut blobs = (0..piece.len()).step_by(BLOB_MAX);
        !self.give.messages.is_closed()
            && blobs.all(|at| self.send(piece.slice(at..(at + BLOB_MAX).min(piece.len())), whole))
    }

    /// How much is left is known only when nothing is.
    fn send(&mut self, blob: Bytes, whole: u64) -> bool {
        self.sent += blob.len() as u64;
        self.message(blob, whole.saturating_sub(self.sent).max(SUM))
    }

    fn message(&self, blob: Bytes, remaining_bytes: u64) -> bool {
        let version = self.version.to_string();
        let message = pb::SnapshotResponse { header: None, remaining_bytes, blob, version };
        self.give.give(Ok(message))
    }

    /// The padding, and the sum.
    fn end(mut self) {
        let padding = vec![0; (self.sent.next_multiple_of(ALIGN) - self.sent) as usize];
        self.sum.update(&padding);
        if padding.is_empty() || self.send(padding.into(), 0) {
            let sum = std::mem::take(&mut self.sum).finalize();
            self.message(Bytes::copy_from_slice(&sum), 0);
        }
    }
}

/// The messages of one snapshot.
pub(crate) struct Messages {
    came: mpsc::Receiver<Result<pb::SnapshotResponse, Status>>,
    ending: crate::ending::Ending,
    /// Its client has taken nothing for too long.
    stalled: Arc<AtomicBool>,
}

impl Stream for Messages {
    type Item = Result<pb::SnapshotResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(status) = self.ending.poll(cx) {
            // Nothing comes behind it.
            self.came.close();
            while self.came.try_recv().is_ok() {}
            return Poll::Ready(Some(Err(status)));
        }
        match ready!(self.came.poll_recv(cx)) {
            None if self.stalled.swap(false, Ordering::Relaxed) => {
                let most = PATIENCE.as_secs();
                let told =
                    format!("quorate: nothing of the snapshot was taken for {most} s; ask again and read on");
                Poll::Ready(Some(Err(Status::deadline_exceeded(told))))
            }
            message => Poll::Ready(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_node::api::TakePiece;
    use tokio_stream::StreamExt;

    struct Endless;

    impl Pieces for Endless {
        fn read(self: Box<Self>, take: &mut TakePiece<'_>) -> Result<(), Failure> {
            while take(Bytes::from_static(&[7; 512]), 1 << 40) {}
            Ok(())
        }
    }

    /// A client that does not read gives its place back, and hears why once it reads.
    #[tokio::test]
    async fn who_takes_nothing_loses_the_snapshot() {
        let (messages, take) = mpsc::channel(2);
        let taker = Taker { runtime: Handle::current(), patience: Duration::from_millis(20) };
        let stalled = Arc::<AtomicBool>::default();
        let give = Give { messages, taker, stalled: stalled.clone() };
        let reading = std::thread::spawn(move || read(Box::new(Endless), "3.5.21", &give));
        while !reading.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let door = Arc::new(crate::tests::Alone::default());
        let ending = crate::ending::Endings::start(door).listen(false);
        let all: Vec<_> = Messages { came: take, ending, stalled }.collect().await;
        let (last, before) = all.split_last().unwrap();
        assert_eq!((before.len(), before.iter().all(Result::is_ok)), (2, true));
        assert!(
            last.as_ref().is_err_and(|status| status.message().contains("nothing of the snapshot was taken"))
        );
    }
}
