//! The Maintenance service, but for what `Op::Status` and `Op::Alarms` ask: hashes, snapshots, defragmentation and handing over.
//!
//! The hashes are each system's own, of its own records, and so is what a snapshot holds: compared is that they are there, under
//! which revision, what is refused, and how a snapshot's pieces count down to its end.

use crate::op::Names;
use crate::side::{Line, Reply, outcome};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use tonic::{Response, Status};

/// A member that there is not.
const NOBODY: u64 = 77;
/// A snapshot ends with the checksum of what stands before it, which is whole pages.
const PAGE: u64 = 512;
const CHECKSUM: u64 = 32;

/// Takes all steps at one endpoint, and gives all replies; the hash is asked for at `revision`.
pub async fn upkeep(
    names: &Names,
    maintenance: &mut MaintenanceClient<Line>,
    revision: i64,
    snapshot: bool,
) -> Reply {
    let seen = |mut header: Option<pb::ResponseHeader>, number: i64| {
        names.seen_header(&mut header);
        Reply::Kept { header, number }
    };
    let mut all = Vec::new();
    let asked = pb::HashKvRequest { revision: names.real_revision(revision) };
    let hashed =
        |reply: pb::HashKvResponse| seen(reply.header, names.symbolic_revision(reply.compact_revision));
    all.push(outcome(maintenance.hash_kv(asked), hashed).await);
    all.push(outcome(maintenance.hash(pb::HashRequest {}), |r| seen(r.header, i64::from(r.hash != 0))).await);
    // 3.4 and 3.6 leave the header out, which nobody needs.
    all.push(outcome(maintenance.defragment(pb::DefragmentRequest {}), |_| seen(None, 0)).await);
    if snapshot {
        all.push(outcome(pieces(maintenance.clone()), |number| seen(None, number)).await);
    }
    Reply::Several(all)
}

/// Asks the member that leads, whichever it is, to hand over to one that there is not.
pub async fn hand_over(doors: Vec<MaintenanceClient<Line>>) -> Reply {
    let mut last = Reply::Silence;
    for mut door in doors {
        let asked = pb::MoveLeaderRequest { target_id: NOBODY };
        last = outcome(door.move_leader(asked), |_| Reply::Done).await;
        if !matches!(&last, Reply::Error { text, .. } if text.ends_with("not leader")) {
            break;
        }
    }
    last
}

/// 1 where a snapshot comes whole: each piece says how much is still to come, and the size is that of pages and a checksum.
async fn pieces(mut maintenance: MaintenanceClient<Line>) -> Result<Response<i64>, Status> {
    let mut stream = maintenance.snapshot(pb::SnapshotRequest {}).await?.into_inner();
    let (mut size, mut left, mut whole) = (0, None, true);
    while let Some(piece) = stream.message().await? {
        size += piece.blob.len() as u64;
        // The checksum is a piece of its own, and counted in none.
        let counts = left.is_none_or(|left: u64| piece.remaining_bytes <= left);
        (whole, left) = (whole && counts, Some(piece.remaining_bytes));
    }
    let whole = whole && left == Some(0) && size % PAGE == CHECKSUM;
    Ok(Response::new(i64::from(whole)))
}
