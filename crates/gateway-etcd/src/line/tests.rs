//! Locks and elections over the machine and the watches as they are.

mod solo;

use crate::{Gateway, Mutant};
use quorate_proto::etcdserverpb::{self as pb, kv_server::Kv, lease_server::Lease};
use quorate_proto::quoratepb::{self, fences_server::Fences};
use quorate_proto::v3electionpb::election_server::Election;
use quorate_proto::v3lockpb::lock_server::Lock;
use quorate_proto::{v3electionpb as epb, v3lockpb as lpb};
use solo::Solo;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status};

type Locked = JoinHandle<Result<String, Status>>;

async fn lock(door: &Gateway, lease: i64) -> Result<String, Status> {
    let reply = door.lock(Request::new(lpb::LockRequest { name: "n".into(), lease })).await?.into_inner();
    assert!(reply.header.is_some_and(|header| header.revision > 1));
    Ok(String::from_utf8_lossy(&reply.key).into_owned())
}

/// A call that waits, as far as it comes without anything else happening.
async fn waiting(door: &Gateway, lease: i64) -> Locked {
    let door = door.clone();
    let call = tokio::spawn(async move { lock(&door, lease).await });
    settle().await;
    call
}

/// Lets all tasks run until none has anything to do.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn unlock(door: &Gateway, key: &str) {
    door.unlock(Request::new(lpb::UnlockRequest { key: key.to_string().into() })).await.unwrap();
    settle().await;
}

fn solo(leases: &[i64]) -> (Arc<Solo>, Gateway) {
    let solo = Solo::new();
    for id in leases {
        solo.grant(*id);
    }
    (solo.clone(), solo.door(None))
}

/// Claim: one holds at a time, in the order of their coming; the keys are etcd's.
#[tokio::test]
async fn a_lock_goes_from_one_to_the_next() {
    let (solo, door) = solo(&[0xa1, -0xb2, 0xc3]);
    assert_eq!(lock(&door, 0xa1).await.unwrap(), "n/a1");
    assert_eq!(lock(&door, 0xa1).await.unwrap(), "n/a1", "its own session holds it already");
    let (second, third) = (waiting(&door, -0xb2).await, waiting(&door, 0xc3).await);
    assert_eq!(solo.keys(), ["n/-b2", "n/a1", "n/c3"]);
    assert!(!second.is_finished() && !third.is_finished());
    unlock(&door, "n/a1").await;
    assert!(second.is_finished() && !third.is_finished());
    assert_eq!(second.await.unwrap().unwrap(), "n/-b2");
    solo.revoke(-0xb2);
    assert_eq!(third.await.unwrap().unwrap(), "n/c3", "a holder's lease ended");
}

/// Claim: without a lease there is no lock, and who brings none gets one of a minute.
#[tokio::test]
async fn a_lock_needs_a_lease() {
    let (solo, door) = solo(&[]);
    let refused = lock(&door, 7).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unknown, "etcdserver: requested lease not found"));
    assert!(solo.keys().is_empty());
    let key = lock(&door, 0).await.unwrap();
    assert_eq!(solo.keys(), [key]);
    let refused = door.unlock(Request::new(lpb::UnlockRequest::default())).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unknown, "etcdserver: key is not provided"));
}

/// Claim: who goes away while waiting leaves the line; who holds does not.
#[tokio::test]
async fn a_caller_that_is_gone_leaves_the_line() {
    let (solo, door) = solo(&[1, 2, 3]);
    lock(&door, 1).await.unwrap();
    let (second, third) = (waiting(&door, 2).await, waiting(&door, 3).await);
    second.abort();
    settle().await;
    assert_eq!(solo.keys(), ["n/1", "n/3"]);
    // Nor does it come between those who are left.
    unlock(&door, "n/1").await;
    assert_eq!(third.await.unwrap().unwrap(), "n/3");
    let again = waiting(&door, 1).await;
    assert!(!again.is_finished());
    again.abort();
    let own = waiting(&door, 3).await;
    own.abort();
    settle().await;
    assert_eq!(solo.keys(), ["n/3"], "one that holds already does not leave with a call that asks again");
    // A place that an earlier call has left behind, with its node, goes with the next one that waits there.
    let left = pb::PutRequest { key: "n/2".into(), lease: 2, ..pb::PutRequest::default() };
    door.put(Request::new(left)).await.unwrap();
    let again = waiting(&door, 2).await;
    assert!(!again.is_finished());
    again.abort();
    settle().await;
    assert_eq!(solo.keys(), ["n/3"]);
}

/// A waiter's lease ends while it waits; then the lock comes free. What is wrong, if anything is.
async fn a_lease_ends_in_line(mutant: Option<Mutant>) -> Result<(), String> {
    let solo = Solo::new();
    for id in 1..=3 {
        solo.grant(id);
    }
    let door = solo.door(mutant);
    lock(&door, 1).await.unwrap();
    let second = waiting(&door, 2).await;
    solo.revoke(2);
    settle().await;
    unlock(&door, "n/1").await;
    let third = lock(&door, 3).await.map_err(|status| status.to_string())?;
    match second.await.unwrap() {
        Ok(second) => Err(format!("both {second} and {third} hold the lock")),
        Err(status) if (status.code(), status.message()) == (Code::Unknown, "mutex: session is expired") => {
            Ok(())
        }
        Err(status) => Err(format!("the second heard {status}")),
    }
}

#[tokio::test]
async fn who_waited_under_a_lease_that_ended_holds_nothing() {
    assert_eq!(a_lease_ends_in_line(None).await, Ok(()));
}

/// The same lease comes back into the line behind others: the call that waited holds nothing by it.
#[tokio::test]
async fn a_place_that_was_lost_is_not_another_one_of_the_same_lease() {
    let (solo, door) = solo(&[1, 2, 3]);
    lock(&door, 1).await.unwrap();
    let (second, _third) = (waiting(&door, 2).await, waiting(&door, 3).await);
    unlock(&door, "n/2").await;
    let again = waiting(&door, 2).await;
    assert!(second.await.unwrap().is_err());
    assert!(
        !again.is_finished() && solo.keys().contains(&"n/2".to_string()),
        "the new place is not given up"
    );
}

#[tokio::test]
async fn the_mutant_whose_lock_does_not_look_at_its_lease_is_caught() {
    let caught = a_lease_ends_in_line(Some(Mutant::LockLeaseUnchecked)).await;
    assert_eq!(caught, Err("both n/2 and n/3 hold the lock".to_string()));
}

async fn campaign(door: &Gateway, lease: i64, value: &str) -> Result<epb::LeaderKey, Status> {
    let request = epb::CampaignRequest { name: "e".into(), lease, value: value.to_string().into() };
    Ok(door.campaign(Request::new(request)).await?.into_inner().leader.unwrap())
}

async fn leader(door: &Gateway) -> Result<String, Status> {
    let reply = door.leader(Request::new(epb::LeaderRequest { name: "e".into() })).await?.into_inner();
    Ok(String::from_utf8_lossy(&reply.kv.unwrap().value).into_owned())
}

async fn proclaim(door: &Gateway, leader: &epb::LeaderKey, value: &str) -> Result<(), Status> {
    let (leader, value) = (Some(leader.clone()), value.to_string().into());
    door.proclaim(Request::new(epb::ProclaimRequest { leader, value })).await.map(drop)
}

/// Claim: one leads at a time, says what it likes, and resigns; observers hear of all of it in order.
#[tokio::test]
async fn a_leader_is_elected_proclaims_and_resigns() {
    let (solo, door) = solo(&[1, 2]);
    let none = leader(&door).await.unwrap_err();
    assert_eq!((none.code(), none.message()), (Code::Unknown, "election: no leader"));
    let observed = door.observe(Request::new(epb::LeaderRequest { name: "e".into() })).await.unwrap();
    let mut observed = observed.into_inner();
    settle().await;
    let first = campaign(&door, 1, "one").await.unwrap();
    assert_eq!((&first.key[..], first.lease, &first.name[..]), (&b"e/1"[..], 1, &b"e"[..]));
    let mut next = async || {
        let reply = tokio::time::timeout(Duration::from_secs(10), observed.next()).await.unwrap().unwrap();
        let reply = reply.unwrap();
        let kv = reply.kv.unwrap();
        assert!(reply.header.unwrap().revision >= kv.mod_revision);
        String::from_utf8_lossy(&kv.value).into_owned()
    };
    assert_eq!(next().await, "one");
    proclaim(&door, &first, "uno").await.unwrap();
    assert_eq!(next().await, "uno");
    let other = door.clone();
    let second = tokio::spawn(async move { campaign(&other, 2, "two").await });
    settle().await;
    assert!(!second.is_finished());
    assert_eq!(leader(&door).await.unwrap(), "uno");
    assert_eq!(campaign(&door, 1, "eins").await.unwrap(), first, "its own session leads already");
    assert_eq!(next().await, "eins");
    door.resign(Request::new(epb::ResignRequest { leader: Some(first.clone()) })).await.unwrap();
    assert_eq!(second.await.unwrap().unwrap().key, "e/2");
    assert_eq!(next().await, "two");
    let late = proclaim(&door, &first, "I").await.unwrap_err();
    assert_eq!((late.code(), late.message()), (Code::Unknown, "election: not leader"));
    door.resign(Request::new(epb::ResignRequest { leader: Some(first) })).await.unwrap();
    assert_eq!(leader(&door).await.unwrap(), "two");
    drop(observed);
    solo.revoke(2);
    assert!(leader(&door).await.is_err());
    let missing = door.resign(Request::new(epb::ResignRequest::default())).await.unwrap_err();
    assert_eq!(missing.message(), "\"leader\" field must be provided");
}

/// A request that shows a token.
fn fenced<T>(message: T, fence: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("quorate-fence", fence.parse().unwrap());
    request
}

fn put_of(value: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: "k".into(), value: value.into(), ..pb::PutRequest::default() }
}

/// Claim: once a higher token was shown, by a write or a read, every request with a lower one is refused and does nothing;
/// equal ones pass, and so does who shows none or another name's, or comes after the fence was dropped.
#[tokio::test]
async fn a_lower_token_is_refused_by_every_request_that_heeds_it() {
    let (solo, door) = solo(&[]);
    door.put(fenced(put_of("33"), "n=33")).await.unwrap();
    door.put(fenced(put_of("33 again"), "n=33")).await.unwrap();
    let get = || pb::RangeRequest { key: "k".into(), serializable: true, ..pb::RangeRequest::default() };
    let read = door.range(fenced(get(), "n=34")).await.unwrap().into_inner();
    assert_eq!((&read.kvs[0].value[..], read.header.unwrap().revision), (&b"33 again"[..], 3));
    let delete = pb::DeleteRangeRequest { key: "k".into(), ..pb::DeleteRangeRequest::default() };
    let refusals: [Result<(), Status>; 7] = [
        door.put(fenced(put_of("late"), "n=33")).await.map(drop),
        door.delete_range(fenced(delete, "n=33")).await.map(drop),
        door.txn(fenced(pb::TxnRequest::default(), "n=33")).await.map(drop),
        door.range(fenced(get(), "n=33")).await.map(drop),
        door.compact(fenced(pb::CompactionRequest { revision: 2, physical: false }, "n=33")).await.map(drop),
        door.lease_grant(fenced(pb::LeaseGrantRequest { ttl: 9, id: 9 }, "n=33")).await.map(drop),
        door.lease_revoke(fenced(pb::LeaseRevokeRequest { id: 9 }, "n=33")).await.map(drop),
    ];
    for refused in refusals {
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("fenced: token 34"), "{refused}");
    }
    let read = door.range(Request::new(get())).await.unwrap().into_inner();
    assert_eq!(&read.kvs[0].value[..], b"33 again");
    door.put(fenced(put_of("other"), "m=1")).await.unwrap();
    door.put(Request::new(put_of("none"))).await.unwrap();
    let list = async || door.list(Request::new(quoratepb::FenceListRequest {})).await.unwrap().into_inner();
    let of = |name: &'static str, token| quoratepb::Fence { name: name.into(), token };
    assert_eq!(list().await.fences, [of("m", 1), of("n", 34)]);
    let forget = || Request::new(quoratepb::FenceDropRequest { name: "n".into() });
    Fences::drop(&door, forget()).await.unwrap();
    assert_eq!(Fences::drop(&door, forget()).await.unwrap_err().code(), Code::NotFound);
    door.put(fenced(put_of("back"), "n=33")).await.unwrap();
    assert_eq!(list().await.fences, [of("m", 1), of("n", 33)]);
    assert_eq!(solo.keys(), ["k"]);
}
