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
use std::task::{Context, Poll};
use std::time::Instant;
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
    Ok(Messages { messages: take, ending })
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
fn read(pieces: Box<dyn Pieces>, version: &str, give: &mpsc::Sender<Result<pb::SnapshotResponse, Status>>) {
    let mut sending = Sending { version, give, sum: Sha256::new(), sent: 0 };
    match pieces.read(&mut |piece, whole| sending.piece(&piece, whole)) {
        Ok(()) => sending.end(),
        Err(failure) => drop(give.blocking_send(Err(failure::status(&failure)))),
    }
}

/// A snapshot on its way.
struct Sending<'g> {
    version: &'g str,
    give: &'g mpsc::Sender<Result<pb::SnapshotResponse, Status>>,
    sum: Sha256,
    sent: u64,
}

impl Sending<'_> {
    /// False once nobody takes it.
    fn piece(&mut self, piece: &Bytes, whole: u64) -> bool {
        self.sum.update(piece);
        let mut blobs = (0..piece.len()).step_by(BLOB_MAX);
        !self.give.is_closed()
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
        self.give.blocking_send(Ok(message)).is_ok()
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
    messages: mpsc::Receiver<Result<pb::SnapshotResponse, Status>>,
    ending: crate::ending::Ending,
}

impl Stream for Messages {
    type Item = Result<pb::SnapshotResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(status) = self.ending.poll(cx) {
            // Nothing comes behind it.
            self.messages.close();
            while self.messages.try_recv().is_ok() {}
            return Poll::Ready(Some(Err(status)));
        }
        self.messages.poll_recv(cx)
    }
}
