//! Reads that are too large for the lane: a thread of readers runs them, and they come back as events.
//!
//! While the lane reads it sends no heartbeat, so a client that asks for a million keys would depose a leader. What a read
//! costs is known only while it runs: the lane begins each one, and where it comes to cost more than [`AT_ONCE`], drops what
//! it has and hands the request on, with the view and the header that it had. Such a read takes its place among the writes
//! when its view is taken, as any read does, and that is after its index was confirmed and applied; the view stays
//! readable whatever is written, compacted or taken in meanwhile.
//!
//! What waits here is bounded in number. A read may take as long as its client waits for it, as with etcd, and ends when nobody does: a
//! reader looks at each pair whether that is so.

use super::explain::Trace;
use super::reads::Until;
use crate::api::{Body, Done, Failure, Head, Request};
use quorate_base::{Instant, ShardId};
use quorate_state::kv::{KvView, ReadError};
use quorate_wire::kv::{Refused, Reply};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// What a read may cost that the lane answers itself, in pairs; a KiB of values costs as much as a pair. Enough for any one
/// key, and for a page of 500 pairs with its count, which reads up to two blocks of 256 keys: a millisecond or two.
pub const AT_ONCE: usize = 2048;
/// What all reads of one drain may cost but those of single keys, in such reads.
pub(super) const AT_ONCE_READS: usize = 8;
/// How many reads may be with the readers, or wait for them.
pub(super) const LARGE_MAX: usize = 4096;

/// A read for a reader's thread.
pub struct Reading {
    number: u64,
    view: Arc<KvView>,
    request: Request,
    wanted: Weak<()>,
}

/// What was read; goes back in [`Event::Read`](super::Event::Read).
pub struct Found {
    pub(super) number: u64,
    pub(super) request: Request,
    /// `None`: nobody waited any more.
    pub(super) result: Result<Option<Body>, ReadError>,
}

impl Reading {
    /// Reads it, which may take minutes; `pause` is called all along with what each pair cost, and may take its time.
    pub fn run(self, pause: &dyn Fn(usize)) -> Found {
        let wanted = |cost| {
            pause(cost);
            self.wanted.strong_count() > 0
        };
        let result = read(&self.view, &self.request, &wanted);
        // What nobody waits for is dropped here: a million pairs take their time.
        let Self { number, request, .. } = self;
        Found { number, request, result: if wanted(0) { result } else { result.map(|_| None) } }
    }
}

/// Answers from a view unless `go_on` ends it, see [`KvView::range_while`].
pub(super) fn read(
    view: &KvView,
    request: &Request,
    go_on: &dyn Fn(usize) -> bool,
) -> Result<Option<Body>, ReadError> {
    Ok(match request {
        Request::Range { range, .. } => view.range_while(range, go_on)?.map(|r| Body::Reply(Reply::Range(r))),
        Request::ReadTxn { txn, .. } => view.txn_while(txn, go_on)?.map(Body::Reply),
        Request::Table { read, .. } => {
            view.tables_while(read, go_on)?.map(|reply| Body::Table(Box::new(reply)))
        }
        // In the order in which they were granted, which for leases of one length is the order of their ends, as etcd has them.
        Request::LeaseList => go_on(view.leases_len() as usize).then(|| {
            let mut leases = view.leases();
            leases.sort_by_key(|(_, lease)| lease.at);
            Body::Leases(leases.into_iter().map(|(id, ..)| id).collect())
        }),
        Request::Fences => go_on(1).then(|| Body::Fences(view.fences())),
        // What the leader says of its time is filled in behind this.
        Request::LeaseTimeToLive { id, .. } => view
            .lease_keys_while(*id, go_on)?
            .map(|keys| Body::TimeToLive { id: *id, ttl: 0, granted: 0, keys }),
        Request::HashSpace { revision } => view.hash_while(*revision, go_on)?.map(Body::HashSpace),
        Request::HashAll => view.hash_all_while(go_on)?.map(Body::HashAll),
        Request::Explained(..)
        | Request::At(..)
        | Request::Swept
        | Request::Defragment
        | Request::Write(_)
        | Request::Transact(_)
        | Request::Gather(_)
        | Request::Led
        | Request::LeaseKeepAlive { .. }
        | Request::Members { .. }
        | Request::Status
        | Request::Alarms
        | Request::ChangeMembers(_)
        | Request::MoveLeader { .. } => {
            return Err(Refused::UnknownCommand.into());
        }
    })
}

struct Waiting {
    shard: ShardId,
    head: Head,
    done: Done,
    until: Until,
    trace: Option<Box<Trace>>,
    /// The reading knows by it whether it is wanted.
    _wanted: Arc<()>,
}

/// Who asked for a read, and of which shard.
pub(super) struct Asked {
    pub(super) shard: ShardId,
    pub(super) head: Head,
    pub(super) until: Until,
    pub(super) done: Done,
    pub(super) trace: Option<Box<Trace>>,
}

/// The reads that are with the readers.
#[derive(Default)]
pub(super) struct Large {
    waiting: BTreeMap<u64, Waiting>,
    begun: Vec<Reading>,
    /// How many are out, also of those that nobody waits for any more: each holds its request and a view.
    out: usize,
    next: u64,
}

impl Large {
    /// Hands a read on; as many wait as may, if `done` comes back.
    pub(super) fn begin(
        &mut self,
        (shard, view): (ShardId, &Arc<KvView>),
        request: Request,
        head: Head,
        until: Until,
        (done, trace): (Done, Option<Box<Trace>>),
    ) -> Result<(), Done> {
        if self.out >= LARGE_MAX {
            return Err(done);
        }
        self.next += 1;
        self.out += 1;
        let wanted = Arc::new(());
        self.begun.push(Reading {
            number: self.next,
            // It may take seconds, and must not keep in memory what is written meanwhile.
            view: Arc::new(view.lasting()),
            request,
            wanted: Arc::downgrade(&wanted),
        });
        self.waiting.insert(self.next, Waiting { shard, head, done, until, trace, _wanted: wanted });
        Ok(())
    }

    /// The reads to be handed to the readers now.
    pub(super) fn take_begun(&mut self) -> Vec<Reading> {
        std::mem::take(&mut self.begun)
    }

    /// One came back: whom it answers, and with which header.
    pub(super) fn came_back(&mut self, number: u64) -> Option<Asked> {
        self.out = self.out.saturating_sub(1);
        self.finish(number)
    }

    fn finish(&mut self, number: u64) -> Option<Asked> {
        let Waiting { shard, head, until, done, trace, .. } = self.waiting.remove(&number)?;
        Some(Asked { shard, head, until, done, trace })
    }

    /// Takes out what has waited too long, or for nobody any more.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<(Done, Failure)> {
        let late = self.waiting.iter().filter(|(_, waiting)| waiting.until.is_over(now));
        let late: Vec<u64> = late.map(|(&number, _)| number).collect();
        late.iter()
            .filter_map(|number| self.finish(*number))
            .map(|asked| (asked.done, Failure::TimedOut))
            .collect()
    }

    /// Takes out all, for a node that stops.
    pub(super) fn drain_all(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.done).collect()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::Asking;
    use super::*;
    use crate::api::Wait;
    use quorate_base::NodeId;
    use quorate_base::time::Duration;
    use quorate_faulty::FaultyDisk;
    use quorate_state::kv::Kv;
    use quorate_storage::journal::Identity;
    use quorate_storage::memory::MemoryStore;
    use quorate_storage::state::StateStore;
    use quorate_wire::kv::{KeyRange, Range};
    use std::cell::Cell;

    fn view() -> Arc<KvView> {
        let identity = Identity { cluster: 1, node: NodeId(1) };
        let mut store = MemoryStore::new(Arc::new(FaultyDisk::new(1)), "state", identity);
        Kv::open(ShardId(1), store.open(None).unwrap()).unwrap().view()
    }

    fn everything() -> Request {
        let range = KeyRange { key: vec![0].into(), end: vec![0].into() };
        Request::Range { range: Range { range, ..Range::default() }, serializable: true }
    }

    /// What waits is bounded, and what nobody waits for any more is not read.
    #[test]
    fn so_many_wait_and_no_more_and_late_ones_are_not_read() {
        let (view, mut large) = (view(), Large::default());
        let begin = |large: &mut Large, at| {
            large.begin(
                (ShardId(1), &view),
                everything(),
                Head::default(),
                Until::at(Instant(at)),
                (Box::new(drop), None),
            )
        };
        for at in 0..LARGE_MAX as u64 {
            assert!(begin(&mut large, at).is_ok());
        }
        assert!(begin(&mut large, 1).is_err(), "no place is left");
        assert_eq!(large.expired(Instant(9)).len(), 10);
        assert!(begin(&mut large, 1).is_err(), "what expired still waits for a reader");
        let mut begun = large.take_begun();
        assert_eq!(begun.len(), LARGE_MAX);
        let expired = begun.remove(0).run(&|_| ());
        assert_eq!(expired.result, Ok(None));
        assert!(large.came_back(expired.number).is_none());
        assert!(begin(&mut large, 1).is_ok(), "a place is free");
        let found = begun.pop().unwrap().run(&|_| ());
        assert!(matches!(found.result, Ok(Some(Body::Reply(_)))));
        assert!(large.came_back(found.number).is_some() && large.came_back(found.number).is_none());
        assert_eq!(large.drain_all().len(), LARGE_MAX - 10);
        assert_eq!(begun.remove(0).run(&|_| ()).result, Ok(None), "the node stops");
    }

    /// A read goes on as long as its client waits, whatever the node's longest wait is, and no longer.
    #[test]
    fn a_read_ends_with_whoever_asked_for_it() {
        let (view, mut large, here) = (view(), Large::default(), Arc::new(()));
        let mut begin = |timeout, asker| {
            let until = Until::new(Instant(0), Wait { timeout, asker }, Duration::from_secs(1));
            let asking: Asking = (Box::new(drop), None);
            assert!(large.begin((ShardId(1), &view), everything(), Head::default(), until, asking).is_ok());
        };
        begin(None, None);
        begin(None, Some(Arc::downgrade(&here)));
        begin(Some(Duration::from_secs(100)), Some(Arc::downgrade(&here)));
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        assert_eq!(large.expired(at(1)).len(), 1, "of whom it is not known whether he waits");
        assert_eq!(large.expired(at(99)).len(), 0);
        assert_eq!(large.expired(at(100)).len(), 1, "who said how long he waits");
        let mut begun = large.take_begun();
        assert!(matches!(begun.pop().unwrap().run(&|_| ()).result, Ok(None)));
        let read = Cell::new(0);
        let reading = begun.pop().unwrap();
        drop(here);
        assert_eq!(large.expired(at(100)).len(), 1, "who is gone");
        assert_eq!(reading.run(&|cost| read.set(read.get() + cost)).result, Ok(None));
        assert_eq!(read.get(), 0, "nothing was read for nobody");
    }
}
