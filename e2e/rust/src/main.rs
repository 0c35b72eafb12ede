//! The Rust crate `etcd-client` against a running cluster: what its users call, each answer asserted, once through each
//! endpoint. Writes go through one endpoint and are read through the next.
//!
//! A failed assertion ends the program with the line that failed; the keys of a run are removed before the next one.

use clap::Parser;
use etcd_client::{
    Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, EventType, GetOptions,
    LeaseGrantOptions, LeaseTimeToLiveOptions, LockOptions, ProclaimOptions, PutOptions, ResignOptions,
    SortOrder, SortTarget, Txn, TxnOp, WatchOptions, WatchStream,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::timeout;

type Done = Result<(), Box<dyn std::error::Error>>;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Args {
    /// Client URLs of the nodes
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
}

/// So many leases are kept alive at once, and end at once.
const LEASES: usize = 10_000;
/// Their time to live, in seconds.
const TTL: i64 = 20;
/// So many calls are under way at once.
const AT_ONCE: usize = 64;

/// A client of each of two nodes, and the prefix of all keys used through them.
struct Pair {
    here: Client,
    there: Client,
    prefix: String,
}

impl Pair {
    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// The value of a key, read through the other node.
    async fn value(&mut self, name: &str) -> Result<Option<String>, Error> {
        let key = self.key(name);
        let reply = self.there.get(key, None).await?;
        reply.kvs().first().map(|kv| kv.value_str().map(str::to_string)).transpose()
    }

    async fn revision(&mut self) -> Result<i64, Error> {
        let reply = self.here.get("no-such-key", None).await?;
        Ok(reply.header().map_or(0, etcd_client::ResponseHeader::revision))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let endpoints = Args::parse().endpoints;
    for (at, url) in endpoints.iter().enumerate() {
        let next = &endpoints[(at + 1) % endpoints.len()];
        let here = Client::connect([url], None).await?;
        let there = Client::connect([next], None).await?;
        let mut pair = Pair { here, there, prefix: format!("rust-{at}") };
        let everything = pair.key("");
        pair.here.delete(everything.clone(), Some(DeleteOptions::new().with_prefix())).await?;
        timeout(PATIENCE, puts_and_gets(&mut pair)).await??;
        timeout(PATIENCE, ranges(&mut pair)).await??;
        timeout(PATIENCE, transactions(&mut pair)).await??;
        timeout(PATIENCE, watches(&mut pair)).await??;
        timeout(PATIENCE, leases(&mut pair)).await??;
        timeout(PATIENCE, locks(&mut pair)).await??;
        timeout(PATIENCE, elections(&mut pair)).await??;
        timeout(PATIENCE, compaction(&mut pair)).await??;
        timeout(PATIENCE, members(&mut pair, &endpoints)).await??;
        pair.here.delete(everything, Some(DeleteOptions::new().with_prefix())).await?;
        println!("rust: {url}: ok");
    }
    timeout(30 * PATIENCE, many_leases(&endpoints)).await??;
    println!("rust: {LEASES} leases: ok");
    Ok(())
}

async fn puts_and_gets(pair: &mut Pair) -> Done {
    let key = pair.key("a");
    pair.here.put(key.clone(), "one", None).await?;
    assert_eq!(pair.value("a").await?.as_deref(), Some("one"));
    assert_eq!(pair.value("none").await?, None);
    let created = pair.revision().await?;
    let reply = pair.here.put(key.clone(), "two", Some(PutOptions::new().with_prev_key())).await?;
    assert_eq!(reply.prev_key().map(etcd_client::KeyValue::value), Some(&b"one"[..]));
    let header = reply.header().ok_or("no header")?;
    assert_eq!(header.revision(), created + 1, "a put is one revision");
    assert_ne!(header.cluster_id(), 0);
    assert_ne!(header.member_id(), 0);
    assert_ne!(header.raft_term(), 0);
    let reply = pair.there.get(key.clone(), None).await?;
    assert_eq!((reply.count(), reply.more()), (1, false));
    let kv = &reply.kvs()[0];
    assert_eq!((kv.create_revision(), kv.mod_revision(), kv.version()), (created, created + 1, 2));
    let old = pair.there.get(key.clone(), Some(GetOptions::new().with_revision(created))).await?;
    assert_eq!(old.kvs()[0].value(), b"one");
    assert_eq!(old.header().map_or(0, etcd_client::ResponseHeader::revision), created + 1);
    let stale = pair.here.get(key.clone(), Some(GetOptions::new().with_serializable())).await?;
    assert_eq!(stale.kvs()[0].value(), b"two");
    let reply = pair.here.delete(key.clone(), Some(DeleteOptions::new().with_prev_key())).await?;
    assert_eq!(reply.deleted(), 1);
    assert_eq!(reply.prev_kvs()[0].value(), b"two");
    assert_eq!(pair.here.delete(key, None).await?.deleted(), 0);
    Ok(())
}

async fn ranges(pair: &mut Pair) -> Done {
    for i in 1..=5 {
        pair.here.put(pair.key(&format!("k{i}")), format!("v{}", 6 - i), None).await?;
    }
    let all = pair.key("k");
    let prefix = || GetOptions::new().with_prefix();
    let found = pair.there.get(all.clone(), Some(prefix().with_limit(2))).await?;
    assert_eq!((found.kvs().len(), found.count(), found.more()), (2, 5, true));
    let counted = pair.there.get(all.clone(), Some(prefix().with_count_only())).await?;
    assert_eq!((counted.kvs().len(), counted.count()), (0, 5));
    let keys = pair.there.get(all.clone(), Some(prefix().with_keys_only())).await?;
    assert!(keys.kvs().iter().all(|kv| kv.value().is_empty()));
    let by_value = prefix().with_sort(SortTarget::Value, SortOrder::Ascend);
    let sorted = pair.there.get(all.clone(), Some(by_value)).await?;
    let values: Vec<&[u8]> = sorted.kvs().iter().map(etcd_client::KeyValue::value).collect();
    assert_eq!(values, [b"v1", b"v2", b"v3", b"v4", b"v5"]);
    let newest = prefix().with_sort(SortTarget::Mod, SortOrder::Descend).with_limit(1);
    let newest = pair.there.get(all.clone(), Some(newest)).await?;
    assert_eq!(newest.kvs()[0].key(), pair.key("k5").as_bytes());
    let range = GetOptions::new().with_range(pair.key("k4"));
    let found = pair.there.get(pair.key("k2"), Some(range)).await?;
    assert_eq!(found.kvs().len(), 2);
    let first = found.kvs()[0].mod_revision();
    let window = prefix().with_min_mod_revision(first).with_max_mod_revision(first);
    assert_eq!(pair.there.get(all.clone(), Some(window)).await?.kvs().len(), 1);
    let range = DeleteOptions::new().with_range(pair.key("k3"));
    assert_eq!(pair.here.delete(pair.key("k1"), Some(range)).await?.deleted(), 2);
    let rest = DeleteOptions::new().with_prefix();
    assert_eq!(pair.here.delete(all, Some(rest)).await?.deleted(), 3);
    Ok(())
}

async fn transactions(pair: &mut Pair) -> Done {
    let key = pair.key("t");
    let create = Txn::new()
        .when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)])
        .and_then([TxnOp::put(key.clone(), "1", None), TxnOp::get(key.clone(), None)])
        .or_else([TxnOp::get(key.clone(), None)]);
    let done = pair.here.txn(create.clone()).await?;
    assert!(done.succeeded());
    assert_eq!(done.op_responses().len(), 2);
    let again = pair.there.txn(create).await?;
    assert!(!again.succeeded());
    match &again.op_responses()[0] {
        etcd_client::TxnOpResponse::Get(got) => assert_eq!(got.kvs()[0].value(), b"1"),
        other => panic!("a get was answered by {other:?}"),
    }
    let nested = Txn::new()
        .when([
            Compare::value(key.clone(), CompareOp::Equal, "1"),
            Compare::version(key.clone(), CompareOp::Less, 2),
        ])
        .and_then([
            TxnOp::txn(Txn::new().and_then([TxnOp::put(key.clone(), "2", None)])),
            TxnOp::delete(pair.key("none"), None),
        ]);
    assert!(pair.here.txn(nested).await?.succeeded());
    assert_eq!(pair.value("t").await?.as_deref(), Some("2"));
    let twice = Txn::new().and_then([TxnOp::put(key.clone(), "3", None), TxnOp::put(key.clone(), "4", None)]);
    refused(pair.here.txn(twice).await, "etcdserver: duplicate key given in txn request")?;
    pair.here.delete(key, None).await?;
    Ok(())
}

/// The request was refused by the server with this text.
fn refused<T>(outcome: Result<T, Error>, text: &str) -> Done {
    match outcome {
        Err(Error::GRpcStatus(status)) if status.message() == text => Ok(()),
        Err(other) => Err(format!("expected {text:?}, got {other}").into()),
        Ok(_) => Err(format!("expected {text:?}, got success").into()),
    }
}

/// The next `count` events of a watch as (type, key, value).
async fn events(stream: &mut WatchStream, count: usize) -> Result<Vec<(EventType, String, String)>, Error> {
    let mut all = Vec::new();
    while all.len() < count {
        let Some(reply) = stream.message().await? else { break };
        assert!(!reply.canceled(), "the watch was cancelled: {:?}", reply.cancel_reason());
        for event in reply.events() {
            let kv = event.kv().map(|kv| (kv.key_str().unwrap_or("?"), kv.value_str().unwrap_or("?")));
            let (key, value) = kv.unwrap_or_default();
            all.push((event.event_type(), key.to_string(), value.to_string()));
        }
    }
    Ok(all)
}

async fn watches(pair: &mut Pair) -> Done {
    let (one, two) = (pair.key("w1"), pair.key("w2"));
    let start = pair.revision().await? + 1;
    pair.here.put(one.clone(), "a", None).await?;
    pair.here.put(two.clone(), "b", None).await?;
    pair.here.delete(one.clone(), None).await?;
    let prefix = WatchOptions::new().with_prefix();
    let mut old = pair.there.watch(pair.key("w"), Some(prefix.clone().with_start_revision(start))).await?;
    let mut now = pair.here.watch(pair.key("w"), Some(prefix.with_prev_key())).await?;
    let put = |key: &str, value: &str| (EventType::Put, key.to_string(), value.to_string());
    let deleted = |key: &str| (EventType::Delete, key.to_string(), String::new());
    let created = old.message().await?.ok_or("the watch ended")?;
    assert!(created.created(), "the first reply says that the watch was created");
    let old_id = created.watch_id();
    assert_eq!(events(&mut old, 3).await?, [put(&one, "a"), put(&two, "b"), deleted(&one)]);
    pair.there.put(two.clone(), "c", None).await?;
    assert_eq!(events(&mut old, 1).await?, [put(&two, "c")]);
    let with_previous = loop {
        let reply = now.message().await?.ok_or("the watch ended")?;
        if let Some(event) = reply.events().first() {
            break event.prev_kv().map(|kv| kv.value().to_vec());
        }
    };
    assert_eq!(with_previous.as_deref(), Some(&b"b"[..]));
    old.cancel(old_id).await?;
    while let Some(reply) = old.message().await? {
        if reply.canceled() {
            break;
        }
    }
    pair.here.delete(pair.key("w"), Some(DeleteOptions::new().with_prefix())).await?;
    Ok(())
}

async fn leases(pair: &mut Pair) -> Done {
    let id = pair.here.lease_grant(600, None).await?.id();
    assert!(id > 0, "an id that the server chose is positive, not {id}");
    let key = pair.key("l");
    pair.here.put(key.clone(), "v", Some(PutOptions::new().with_lease(id))).await?;
    let asked = Some(LeaseTimeToLiveOptions::new().with_keys());
    let left = pair.there.lease_time_to_live(id, asked).await?;
    assert_eq!(left.granted_ttl(), 600);
    assert!((590..=600).contains(&left.ttl()), "{} s are left of 600", left.ttl());
    assert_eq!(left.keys(), [key.as_bytes()]);
    let (mut keeper, mut kept) = pair.there.lease_keep_alive(id).await?;
    keeper.keep_alive().await?;
    let beat = kept.message().await?.ok_or("the keep-alive stream ended")?;
    assert_eq!((beat.id(), beat.ttl()), (id, 600));
    assert!(pair.here.leases().await?.leases().iter().any(|lease| lease.id() == id));
    let taken = Some(LeaseGrantOptions::new().with_id(id));
    refused(pair.here.lease_grant(60, taken).await, "etcdserver: lease already exists")?;
    pair.there.lease_revoke(id).await?;
    assert_eq!(pair.value("l").await?, None, "a lease takes its keys along");
    refused(pair.here.lease_revoke(id).await, "etcdserver: requested lease not found")?;
    assert_eq!(pair.here.lease_time_to_live(id, None).await?.ttl(), -1);
    Ok(())
}

/// Waits until so many keys begin with `prefix`.
async fn until(client: &mut Client, prefix: &str, count: i64) -> Done {
    let counted = || Some(GetOptions::new().with_prefix().with_count_only());
    while client.get(prefix, counted()).await?.count() != count {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn locks(pair: &mut Pair) -> Done {
    let name = pair.key("lock");
    let own = |id| Some(LockOptions::new().with_lease(id));
    let (one, two) =
        (pair.here.lease_grant(60, None).await?.id(), pair.here.lease_grant(60, None).await?.id());
    let held = pair.here.lock(name.clone(), own(one)).await?;
    assert_eq!(held.key(), format!("{name}/{one:x}").as_bytes(), "the lease's id in hexadecimal digits");
    let again = pair.there.lock(name.clone(), own(one)).await?;
    assert_eq!(again.key(), held.key(), "who holds it has it");
    let (mut waiting, asked) = (pair.there.clone(), name.clone());
    let second = tokio::spawn(async move { waiting.lock(asked, own(two)).await });
    until(&mut pair.here, &format!("{name}/"), 2).await?;
    assert!(!second.is_finished(), "two hold one lock");
    pair.here.unlock(held.key().to_vec()).await?;
    let held = second.await??;
    assert_eq!(held.key(), format!("{name}/{two:x}").as_bytes());
    // Who brings no lease gets one, and the lock once the holder's lease is gone.
    let (mut waiting, asked) = (pair.there.clone(), name.clone());
    let third = tokio::spawn(async move { waiting.lock(asked, None).await });
    until(&mut pair.here, &format!("{name}/"), 2).await?;
    pair.here.lease_revoke(two).await?;
    let held = third.await??;
    pair.here.unlock(held.key().to_vec()).await?;
    until(&mut pair.there, &format!("{name}/"), 0).await?;
    pair.here.lease_revoke(one).await?;
    refused(pair.here.lock(name, own(one)).await.map(|_| ()), "etcdserver: requested lease not found")
}

async fn elections(pair: &mut Pair) -> Done {
    let name = pair.key("election");
    refused(pair.here.leader(name.clone()).await, "election: no leader")?;
    let (one, two) =
        (pair.here.lease_grant(60, None).await?.id(), pair.here.lease_grant(60, None).await?.id());
    let mut observed = pair.there.observe(name.clone()).await?;
    let first = pair.here.campaign(name.clone(), "first", one).await?;
    let first = first.leader().ok_or("no leader's key")?.clone();
    assert_eq!((first.name(), first.lease()), (name.as_bytes(), one));
    let leader = pair.there.leader(name.clone()).await?;
    let leader = leader.kv().ok_or("no leader")?;
    assert_eq!((leader.value(), leader.create_revision()), (&b"first"[..], first.rev()));
    let with = |leader: &etcd_client::LeaderKey| Some(ProclaimOptions::new().with_leader(leader.clone()));
    pair.there.proclaim("still first", with(&first)).await?;
    let (mut waiting, asked) = (pair.there.clone(), name.clone());
    let second = tokio::spawn(async move { waiting.campaign(asked, "second", two).await });
    until(&mut pair.here, &format!("{name}/"), 2).await?;
    assert!(!second.is_finished(), "two lead");
    pair.here.resign(Some(ResignOptions::new().with_leader(first.clone()))).await?;
    let second = second.await??.leader().ok_or("no leader's key")?.clone();
    assert_eq!(second.lease(), two);
    refused(pair.here.proclaim("too late", with(&first)).await, "election: not leader")?;
    let mut said = Vec::new();
    while said.last().map(String::as_str) != Some("second") {
        let message = observed.message().await?.ok_or("the observation ended")?;
        said.push(message.kv().ok_or("no leader")?.value_str()?.to_string());
    }
    assert!(said.iter().any(|value| value == "still first"), "{said:?}");
    pair.here.lease_revoke(two).await?;
    until(&mut pair.there, &format!("{name}/"), 0).await
}

/// Each of many leases keeps its key while it is kept alive, for longer than it would live alone, and all end when nobody does.
async fn many_leases(endpoints: &[String]) -> Done {
    let mut client = Client::connect(endpoints, None).await?;
    client.delete("lease-", Some(DeleteOptions::new().with_prefix())).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut holders = tokio::task::JoinSet::new();
    for at in 0..AT_ONCE {
        let client = Client::connect([&endpoints[at % endpoints.len()]], None).await?;
        holders.spawn(hold_leases(client, at, stop.clone()));
    }
    tokio::select! {
        all = until(&mut client, "lease-", LEASES as i64) => all?,
        Some(ended) = holders.join_next() => ended??,
    }
    tokio::time::sleep(Duration::from_secs(TTL as u64 + 5)).await;
    let counted = || Some(GetOptions::new().with_prefix().with_count_only());
    assert_eq!(client.get("lease-", counted()).await?.count(), LEASES as i64, "a lease ended too early");
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = holders.join_next().await {
        ended??;
    }
    until(&mut client, "lease-", 0).await
}

/// Grants its part of the leases, with a key each, and keeps them alive till it is told to stop.
async fn hold_leases(mut client: Client, at: usize, stop: Arc<AtomicBool>) -> Result<(), Error> {
    let (mut kept, mut beat) = (Vec::new(), Instant::now());
    let mut left = (at..LEASES).step_by(AT_ONCE);
    while !stop.load(Ordering::Relaxed) {
        if let Some(n) = left.next() {
            let id = client.lease_grant(TTL, None).await?.id();
            client.put(format!("lease-{n}"), "", Some(PutOptions::new().with_lease(id))).await?;
            kept.push(client.lease_keep_alive(id).await?);
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if beat.elapsed() < Duration::from_secs(TTL as u64 / 6) {
            continue;
        }
        beat = Instant::now();
        for (keeper, _) in &mut kept {
            keeper.keep_alive().await?;
        }
        for (keeper, answers) in &mut kept {
            let ttl = answers.message().await?.map_or(0, |kept| kept.ttl());
            assert!(ttl > 0, "lease {:x} ended though it was kept alive", keeper.id());
        }
    }
    Ok(())
}

async fn compaction(pair: &mut Pair) -> Done {
    let key = pair.key("c");
    for value in ["1", "2", "3"] {
        pair.here.put(key.clone(), value, None).await?;
    }
    let now = pair.revision().await?;
    pair.here.compact(now, Some(CompactionOptions::new().with_physical())).await?;
    let at = |revision| Some(GetOptions::new().with_revision(revision));
    assert_eq!(pair.there.get(key.clone(), at(now)).await?.kvs()[0].value(), b"3");
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    refused(pair.there.get(key.clone(), at(now - 1)).await, compacted)?;
    refused(pair.here.compact(now, None).await, compacted)?;
    let future = "etcdserver: mvcc: required revision is a future revision";
    refused(pair.there.get(key.clone(), at(now + 1000)).await, future)?;
    let options = WatchOptions::new().with_start_revision(now - 1);
    let mut watch = pair.there.watch(key.clone(), Some(options)).await?;
    loop {
        let reply = watch.message().await?.ok_or("the watch ended without a word")?;
        if reply.canceled() {
            assert_eq!(reply.compact_revision(), now);
            break;
        }
        assert!(reply.events().is_empty(), "events from below the compaction");
    }
    pair.here.delete(key, None).await?;
    Ok(())
}

async fn members(pair: &mut Pair, endpoints: &[String]) -> Done {
    let status = pair.here.status().await?;
    let numbers: Result<Vec<u32>, _> = status.version().split('.').map(str::parse).collect();
    assert!(matches!(numbers.as_deref(), Ok([3, _, _])), "version {:?} is not 3.x.y", status.version());
    assert!(status.leader() != 0 && status.raft_index() > 0 && status.raft_term() > 0);
    let list = pair.here.member_list().await?;
    let mut urls: Vec<&str> =
        list.members().iter().flat_map(|m| m.client_urls().iter().map(String::as_str)).collect();
    let mut expected: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    urls.sort_unstable();
    expected.sort_unstable();
    assert_eq!(urls, expected);
    assert!(list.members().iter().all(|m| !m.name().is_empty() && !m.is_learner()));
    assert!(list.members().iter().any(|m| m.id() == status.leader()), "the leader is a member");
    Ok(())
}
