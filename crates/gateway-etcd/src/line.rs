//! What locks and elections have in common: contenders that wait in line for a name.
//!
//! The recipe is that of etcd's clients (and of Hunt et al., USENIX ATC 2010, section 2.4, where the keys were called
//! ephemeral and sequential). A contender puts a key `NAME/LEASE`, the lease's id in hexadecimal digits, under its lease.
//! The keys below `NAME/` are the line, in the order of the revisions that created them; the first one holds the name.
//! Each of the others waits for the one just before it, so that one that leaves wakes one. Contenders of this door and
//! those that speak the recipe themselves (`etcdctl lock`) stand in the same line.
//!
//! Two things make it safe:
//!
//! - Who has waited looks whether its own key is still there, as it was created, in the same read that finds nobody before
//!   it: its lease may have ended meanwhile. (etcd before 3.4.4 did not look. It is the planted bug
//!   [`Mutant::LockLeaseUnchecked`].)
//! - Who is gone leaves the line: a place is a value, and dropping it before it is held deletes the key, if it is still the
//!   one that was put there.
//!
//! It says who holds the name *when it is said*. A holder that pauses after that may be one no longer and not know; what
//! keeps it from doing harm is a fencing token, and the revision that created its key is one.

use crate::ending::Ending;
use crate::watch::Bell;
use crate::{Gateway, Mutant, answered, unexpected, wants_leader};
use bytes::Bytes;
use quorate_node::api::{Answer, Body, Head, Request, WatchCreate, WatchMessage, WatchRequest, WatchStream};
use quorate_wire::kv::{
    Command, Compare, CompareResult, CompareTarget, DeleteRange, KeyRange, KeyValue, LeaseId, Op, Put, Range,
    Reply, Revision, SortOrder, SortTarget, Txn,
};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::oneshot;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// The seconds of a lease for a contender that brings none, as with etcd.
const LEASE_TTL: i64 = 60;

/// The keys of all that contend for `name`.
pub(crate) fn line(name: &[u8]) -> KeyRange {
    let mut key = name.to_vec();
    key.push(b'/');
    let mut end = key.clone();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    KeyRange { key: key.into(), end: end.into() }
}

/// The first in a line.
pub(crate) fn first(line: KeyRange) -> Range {
    Range {
        range: line,
        limit: 1,
        sort_order: SortOrder::Ascend,
        sort_target: SortTarget::Create,
        ..Range::default()
    }
}

/// That a key is still the one that revision `at` created; that there is none, with 0.
pub(crate) fn created(key: Bytes, at: Revision) -> Compare {
    Compare { range: point(key), result: CompareResult::Equal, target: CompareTarget::Create(at) }
}

pub(crate) fn point(key: Bytes) -> KeyRange {
    KeyRange { key, end: Bytes::new() }
}

/// A place in a line. One that is dropped before [`Place::hold`] is given up.
pub(crate) struct Place {
    gateway: Gateway,
    line: KeyRange,
    /// The contender's key.
    pub(crate) key: Bytes,
    /// The revision that created it.
    pub(crate) at: Revision,
    /// Its lease.
    pub(crate) lease: LeaseId,
    /// The value that its key had when the place was taken.
    pub(crate) value: Bytes,
    /// The header when the place was taken.
    pub(crate) head: Head,
    /// Nobody was before it then.
    pub(crate) first: bool,
    give_up: bool,
}

impl Place {
    /// Waits until nobody is before it: the header of the moment when that was so, or `None` if the place was lost.
    pub(crate) async fn wait(&self, ending: &mut Ending) -> Result<Option<Head>, Status> {
        loop {
            let (head, before, own) = self.look().await?;
            let unchecked =
                cfg!(feature = "mutants") && self.gateway.mutant == Some(Mutant::LockLeaseUnchecked);
            if !own && !unchecked {
                return Ok(None);
            }
            let Some(before) = before else { return Ok(Some(head)) };
            let keys = vec![point(before), point(self.key.clone())];
            self.gateway.news(keys, head.revision + 1, true).next(ending).await?;
        }
    }

    /// The key just before this one, and whether this one is there, at one moment.
    async fn look(&self) -> Result<(Head, Option<Bytes>, bool), Status> {
        let before = Range {
            range: self.line.clone(),
            limit: 1,
            sort_order: SortOrder::Descend,
            sort_target: SortTarget::Create,
            keys_only: true,
            max_create_revision: self.at - 1,
            ..Range::default()
        };
        let own = Range { range: point(self.key.clone()), keys_only: true, ..Range::default() };
        let txn = Txn { success: vec![Op::Range(before), Op::Range(own)], ..Txn::default() };
        let (head, _, found) = self.gateway.transact(Request::ReadTxn { txn, serializable: false }).await?;
        let [before, own] = two(found)?;
        Ok((head, before.map(|kv| kv.key), own.is_some_and(|kv| kv.create_revision == self.at)))
    }

    /// The contender holds the name, and hears of it: the place is its own.
    pub(crate) fn hold(mut self) {
        self.give_up = false;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.give_up {
            return;
        }
        let txn = leave(self.key.clone(), self.at);
        let gateway = self.gateway.clone();
        // Without a runtime the node is at its end, and the lease with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { drop(gateway.call(Request::Write(Command::Txn(txn)), None).await) });
        }
    }
}

/// Deletes a contender's key, if it is still the one that was created at `at`.
pub(crate) fn leave(key: Bytes, at: Revision) -> Txn {
    let delete = DeleteRange { range: point(key.clone()), prev_kv: false };
    Txn { compare: vec![created(key, at)], success: vec![Op::Delete(delete)], failure: Vec::new() }
}

impl Gateway {
    /// Takes a place in the line for `name`, or finds the one that the lease has there already.
    pub(crate) async fn contend(
        &self,
        metadata: &MetadataMap,
        name: &[u8],
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Place, Status> {
        self.require_leader(metadata)?;
        let (give, take) = oneshot::channel();
        let (gateway, line) = (self.clone(), line(name));
        // A task of its own: a caller that goes away while its key is being put would leave it behind.
        tokio::spawn(async move {
            let lease = if lease == 0 { gateway.grant_lease().await } else { Ok(lease) };
            let place = match lease {
                Ok(lease) => gateway.enter(line, lease, value).await,
                Err(status) => Err(status),
            };
            // Where nobody hears of it, the place is dropped, and with it the key.
            drop(give.send(place));
        });
        take.await.unwrap_or_else(|_| Err(stopped())).map_err(spoken)
    }

    async fn grant_lease(&self) -> Result<LeaseId, Status> {
        let id = self.pick_lease_id();
        let command = Command::LeaseGrant { id, ttl: LEASE_TTL };
        answered(self.call(Request::Write(command), None).await).map(|_| id)
    }

    async fn enter(&self, line: KeyRange, lease: LeaseId, value: Bytes) -> Result<Place, Status> {
        let key = contender(&line.key, lease);
        let put = Put { key: key.clone(), value: value.clone(), lease, ..Put::default() };
        let own = Range { range: point(key.clone()), ..Range::default() };
        let owner = Op::Range(first(line.clone()));
        let txn = Txn {
            compare: vec![created(key.clone(), 0)],
            success: vec![Op::Put(put), owner.clone()],
            failure: vec![Op::Range(own), owner],
        };
        let (head, new, found) = self.transact(Request::Write(Command::Txn(txn))).await?;
        let [own, owner] = two(found)?;
        let (at, value) = own.map_or((head.revision, value), |kv| (kv.create_revision, kv.value));
        let first = owner.is_none_or(|owner| owner.create_revision == at);
        let give_up = new || !first;
        Ok(Place { gateway: self.clone(), line, key, at, lease, value, head, first, give_up })
    }

    /// A transaction whose replies are ranges, puts and deletions: whether its compares held, and the first pair of each
    /// range.
    pub(crate) async fn transact(
        &self,
        request: Request,
    ) -> Result<(Head, bool, Vec<Option<KeyValue>>), Status> {
        match answered(self.call(request, None).await)? {
            Answer { head, body: Body::Reply(Reply::Txn { succeeded, replies }) } => {
                let pair = |reply| match reply {
                    Reply::Range(range) => range.kvs.into_iter().next(),
                    _ => None,
                };
                Ok((head, succeeded, replies.into_iter().map(pair).collect()))
            }
            other => Err(unexpected(&other.body)),
        }
    }

    /// What happens to `ranges` from `start` on; of `deletions` alone, or of all.
    pub(crate) fn news(&self, ranges: Vec<KeyRange>, start: Revision, deletions: bool) -> News {
        let bell = Arc::new(Bell::default());
        let rung = bell.clone();
        let mut watches = self.door.watch(Box::new(move || rung.ring()));
        for range in ranges {
            let create = WatchCreate { range, start, no_put: deletions, ..WatchCreate::default() };
            watches.request(WatchRequest::Create(create));
        }
        News { watches, bell }
    }

    /// An ear for what ends a call that waits.
    pub(crate) fn ending(&self, metadata: &MetadataMap) -> Ending {
        self.endings.listen(wants_leader(metadata))
    }
}

/// A watch of the door's own.
pub(crate) struct News {
    watches: Box<dyn WatchStream>,
    bell: Arc<Bell>,
}

impl News {
    /// The next message with events, or the one that says that their history was compacted away and has to be looked up. An
    /// error where the node ends what waits, or refuses the watch.
    pub(crate) async fn next(&mut self, ending: &mut Ending) -> Result<WatchMessage, Status> {
        poll_fn(|cx| {
            if let Poll::Ready(status) = ending.poll(cx) {
                return Poll::Ready(Err(status));
            }
            // Listen first: news that come between are news then.
            self.bell.listen(cx.waker());
            while let Some(message) = self.watches.poll() {
                if message.canceled && message.compact_revision == 0 {
                    let why = format!("quorate: this call needs a watch, and {}", message.reason);
                    return Poll::Ready(Err(Status::resource_exhausted(why)));
                }
                if message.canceled || !message.events.is_empty() {
                    return Poll::Ready(Ok(message));
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn contender(prefix: &[u8], lease: LeaseId) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    [prefix, format!("{sign}{:x}", lease.unsigned_abs()).as_bytes()].concat().into()
}

fn two(found: Vec<Option<KeyValue>>) -> Result<[Option<KeyValue>; 2], Status> {
    found.try_into().map_err(|_| Status::internal("quorate: the node answered with too few replies"))
}

fn stopped() -> Status {
    Status::unavailable("etcdserver: server stopped")
}

/// A refusal in the code of these two services: etcd's pass on what their own client heard, whose code gRPC does not know.
/// What passes by itself stays UNAVAILABLE here, so that clients try again.
pub(crate) fn spoken(status: Status) -> Status {
    match status.code() {
        Code::NotFound | Code::InvalidArgument => Status::unknown(status.message()),
        _ => status,
    }
}

#[cfg(test)]
mod tests;
