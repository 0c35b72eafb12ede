//! A node of one for tests of the door: the machine and the watches as they are, a log that takes everything at once.

use crate::{Gateway, Mutant};
use quorate_base::time::Duration;
use quorate_base::{Entry, EntryId, EntryKind, NodeId, ShardId, Term};
use quorate_faulty::FaultyDisk;
use quorate_node::api::{Answer, Body, Done, Door, Failure, Head, Patience, Request, Wait, WatchStream};
use quorate_node::watch::{Hub, Options};
use quorate_state::kv::{Kv, ReadError};
use quorate_storage::journal::Identity;
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::StateStore;
use quorate_wire::command;
use quorate_wire::kv::{Command, Refused, Reply};
use std::sync::{Arc, Mutex};

pub(crate) struct Solo {
    kv: Mutex<Kv>,
    hub: Arc<Mutex<Hub>>,
}

impl Solo {
    pub(crate) fn new() -> Arc<Self> {
        let identity = Identity { cluster: 1, node: NodeId(1) };
        let mut store = MemoryStore::new(Arc::new(FaultyDisk::new(1)), "state", identity);
        let kv = Kv::open(ShardId(1), store.open(None).unwrap()).unwrap();
        let hub = Hub::new(Options::default(), kv.view(), Box::new(|| {}));
        Arc::new(Self { kv: Mutex::new(kv), hub: Arc::new(Mutex::new(hub)) })
    }

    /// A door to it.
    pub(crate) fn door(self: &Arc<Self>, mutant: Option<Mutant>) -> Gateway {
        Gateway { mutant, ..crate::tests::gateway(self.clone()) }
    }

    pub(crate) fn apply(&self, command: &Command) -> Result<Reply, Refused> {
        let mut kv = self.kv.lock().unwrap();
        let id = EntryId::new(Term(1), kv.applied().index.next());
        let data = command::encode(NodeId(1), id.index.get(), command);
        let applied = kv.apply(&Entry { id, kind: EntryKind::Command, data }).unwrap();
        self.hub.lock().unwrap().publish(kv.view(), applied.events);
        applied.outcome
    }

    pub(crate) fn grant(&self, id: i64) {
        self.apply(&Command::LeaseGrant { id, ttl: 60 }).unwrap();
    }

    pub(crate) fn revoke(&self, id: i64) {
        self.apply(&Command::LeaseRevoke { ids: vec![id] }).unwrap();
    }

    /// The keys there are, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let range = quorate_wire::kv::KeyRange { key: vec![0].into(), end: vec![0].into() };
        let range = quorate_wire::kv::Range { range, ..Default::default() };
        let found = self.kv.lock().unwrap().view().range(&range).unwrap();
        found.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
    }

    fn answer(&self, request: Request) -> Result<Body, Refused> {
        let view = self.kv.lock().unwrap().view();
        let refused = |error| match error {
            ReadError::Refused(refused) => refused,
            ReadError::Store(error) => panic!("{error}"),
        };
        Ok(match request {
            Request::Write(command) => Body::Reply(self.apply(&command)?),
            Request::Range { range, .. } => Body::Reply(Reply::Range(view.range(&range).map_err(refused)?)),
            Request::ReadTxn { txn, .. } => {
                Body::Reply(view.txn_while(&txn, &|_| true).map_err(refused)?.unwrap())
            }
            Request::Fences => Body::Fences(view.fences()),
            other => panic!("{other:?} is not asked here"),
        })
    }
}

impl Door for Solo {
    fn call(&self, request: Request, _: Wait, done: Done) {
        let body = self.answer(request);
        let head = self.head();
        done(body.map(|body| Answer { head, body }).map_err(|refused| Failure::Refused(refused, head)));
    }

    fn head(&self) -> Head {
        Head { cluster: 1, member: 1, revision: self.kv.lock().unwrap().revision(), term: 1 }
    }

    fn leaderless(&self) -> Option<Duration> {
        None
    }

    fn away(&self) -> bool {
        false
    }

    fn stopping(&self) -> bool {
        false
    }

    fn watch(&self, wake: Box<dyn Fn() + Send + Sync>) -> Box<dyn WatchStream> {
        Hub::open_stream(&self.hub, wake)
    }

    fn snapshot(&self, _: quorate_node::api::SnapshotForm, _: quorate_node::api::Opened) {
        panic!("no snapshot is asked for here");
    }

    fn patience(&self) -> Patience {
        let second = Duration::from_secs(1);
        Patience { request: second, leaderless: 3 * second, election: second, least_lease: 1 }
    }
}
