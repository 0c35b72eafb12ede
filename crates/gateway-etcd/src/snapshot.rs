//! The snapshot stream: the node's snapshot file, piece by piece, as etcd's clients save it.
//!
//! They look at its end alone: a file that is 32 bytes longer than a multiple of 512 ends with the SHA-256 of all before. What is
//! in it is our own (`quorate_node::backup`), so `quorate snapshot restore` reads it, and tools for etcd's files do not.
//!
//! The pieces are read on a thread of their own, as far ahead as two of them.

use crate::{Gateway, failure, wants_leader};
use bytes::Bytes;
use quorate_node::api::{Failure, Pieces};
use quorate_node::backup::{ALIGN, SUM};
use quorate_node::evidence::Mode;
use quorate_proto::etcdserverpb as pb;
use sha2::{Digest, Sha256};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// The largest blob of one message.
const BLOB_MAX: usize = 64 << 10;

/// Opens the stream.
pub(crate) async fn open(gateway: &Gateway, metadata: &MetadataMap) -> Result<Messages, Status> {
    gateway.require_leader(metadata)?;
    gateway.explain_stream(Mode::Local).await;
    let (give, take) = oneshot::channel();
    gateway.door.snapshot(Box::new(move |opened| drop(give.send(opened))));
    let pieces = take.await.unwrap_or(Err(Failure::Stopping)).map_err(|failure| failure::status(&failure))?;
    let (give, take) = mpsc::channel(2);
    let version = gateway.storage_version();
    std::thread::Builder::new()
        .name("snapshot".into())
        .spawn(move || read(pieces, &version, &give))
        .map_err(|e| Status::unavailable(format!("quorate: a thread did not start: {e}")))?;
    let ending = gateway.endings.listen(wants_leader(metadata));
    Ok(Messages { messages: take, ending })
}

/// Reads all pieces, adds what belongs to the end, and gives it on in messages. Ends when nobody takes them any more.
fn read(
    mut pieces: Box<dyn Pieces>,
    version: &str,
    give: &mpsc::Sender<Result<pb::SnapshotResponse, Status>>,
) {
    let (mut sum, mut sent) = (Sha256::new(), 0_u64);
    let expected = pieces.size_hint();
    let mut send = |blob: Bytes, last: bool| {
        sent += blob.len() as u64;
        // How much is left is known only when nothing is.
        let remaining_bytes = if last { 0 } else { expected.saturating_sub(sent).max(SUM) };
        let version = version.to_string();
        give.blocking_send(Ok(pb::SnapshotResponse { header: None, remaining_bytes, blob, version })).is_ok()
    };
    let mut length = 0;
    while let Some(piece) = pieces.next() {
        let piece = match piece {
            Ok(piece) => piece,
            Err(failure) => return drop(give.blocking_send(Err(failure::status(&failure)))),
        };
        sum.update(&piece);
        length += piece.len() as u64;
        let mut blobs = (0..piece.len()).step_by(BLOB_MAX);
        if !blobs.all(|at| send(piece.slice(at..(at + BLOB_MAX).min(piece.len())), false)) {
            return;
        }
    }
    let padding = vec![0; (length.next_multiple_of(ALIGN) - length) as usize];
    sum.update(&padding);
    if padding.is_empty() || send(padding.into(), false) {
        send(Bytes::copy_from_slice(&sum.finalize()), true);
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
