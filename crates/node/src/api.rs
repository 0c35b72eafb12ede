//! What a door asks of a node, and what it hears: the one border between gateways and everything below.
//!
//! A door decodes its wire protocol into a [`Request`], gives it to [`Door::call`] with a callback, and encodes the
//! [`Answer`] or [`Failure`]. It holds no state that must survive.

use crate::evidence::Slot;
use bytes::Bytes;
use quorate_base::time::Duration;
use quorate_base::{Index, NodeId, ShardId, Term};
use quorate_protocol::commit::TxnId;
use quorate_wire::kv::{
    Alarm, Command, Event, KeyRange, LeaseId, Range, Refused, Reply, Revision, SpaceHash, Txn,
};
use quorate_wire::members;
use quorate_wire::table::{Op, Token};
use std::sync::{Arc, Weak};

pub use quorate_state::table as tables;

/// An operation on the key-value space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A read; `serializable` is answered from the asked node's own state at once.
    Range {
        /// What.
        range: Range,
        /// Own state will do.
        serializable: bool,
    },
    /// A transaction without writes, evaluated on one view; serializable if all its ranges allow it.
    ReadTxn {
        /// What.
        txn: Txn,
        /// Own state will do.
        serializable: bool,
    },
    /// A read of tables.
    Table {
        /// What.
        read: Box<tables::Read>,
        /// How new the answer must be.
        fresh: Fresh,
        /// Of the shard, by the asker's map: another one is refused.
        epoch: u64,
    },
    /// A write. Proposed at most once, wherever the leader is.
    Write(Command),
    /// Operations on items in several shards, done together or not at all. Answered as a shard answers an atomic
    /// [`table::What::Execute`](quorate_wire::table::What::Execute). Of shard 1's door, wherever the items lie.
    Transact(Box<Transact>),
    /// Items in several shards, in their newest state.
    Gather(Box<Gather>),
    /// Something of a shard that is not shard 1, of one node's replica alone: that its own memory tells, and no other's. Not to be wrapped
    /// itself.
    At(NodeId, Box<Request>),
    /// What the asked node knows as the leader of shards, what is under way there and how far it is; and which have none.
    Led,
    /// Prolong a lease. Confirmed by a leader that proved its leadership after the request came.
    LeaseKeepAlive {
        /// Which.
        id: LeaseId,
    },
    /// What remains of a lease.
    LeaseTimeToLive {
        /// Which.
        id: LeaseId,
        /// With its keys.
        keys: bool,
    },
    /// All leases.
    LeaseList,
    /// The members.
    Members {
        /// Through a read index.
        linearizable: bool,
    },
    /// How the asked node does.
    Status,
    /// Change the members; made at most once, wherever the leader is.
    ChangeMembers(members::Change),
    /// Hand the leadership of the asked node over.
    MoveLeader {
        /// To whom.
        to: u64,
    },
    /// All fences.
    Fences,
    /// The alarms that stand, through a read index.
    Alarms,
    /// A hash of what can be read at the asked node, up to a revision; 0 and below mean all.
    HashSpace {
        /// Up to which revision.
        revision: Revision,
    },
    /// A hash of all that is replicated, at the asked node.
    HashAll,
    /// Answered when the asked node has deleted what the compactions so far have put out of reach.
    Swept,
    /// The same, and when it has given the room back.
    Defragment,
    /// Another request, which is none of these: how it was served is put into the slot before it is answered.
    Explained(Box<Request>, Slot),
}

/// How new the answer to a read of tables must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// The newest, through a read index.
    Newest,
    /// As its table's policy says of plain reads: where that bounds their staleness, within the bound, or within this smaller one; else
    /// as with `Local`.
    Plain(Option<Duration>),
    /// What the asked node has, at once.
    Local,
}

/// A shard, and its epoch by the asker's map: another one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch.
    pub epoch: u64,
}

/// See [`Request::Transact`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transact {
    /// When it came, in milliseconds since 1970.
    pub now: u64,
    /// By what it is known, if it may come twice, and where that is remembered: at the same place for the same request.
    pub token: Option<(Place, Token)>,
    /// The operations, each of another item, with where it lies.
    pub ops: Vec<(Place, Op)>,
}

/// See [`Request::Gather`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The items, with where each lies.
    pub gets: Vec<(Place, tables::Get)>,
    /// All at one moment; otherwise each for itself.
    pub together: bool,
}

/// What stands in the header of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Head {
    /// The cluster's id.
    pub cluster: u64,
    /// The answering node.
    pub member: u64,
    /// The revision of the write, or of the state that was read.
    pub revision: Revision,
    /// The node's term.
    pub term: u64,
}

/// A request's good end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The header.
    pub head: Head,
    /// The body.
    pub body: Body,
}

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// To `Range`, `ReadTxn`, `Write` and `Alarms`.
    Reply(Reply),
    /// To `Table`.
    Table(Box<tables::ReadReply>),
    /// To `LeaseKeepAlive`: the seconds granted, 0 for an unknown lease.
    KeepAlive {
        /// Which.
        id: LeaseId,
        /// Seconds.
        ttl: i64,
    },
    /// To `LeaseTimeToLive`: `ttl` is -1 for an unknown lease.
    TimeToLive {
        /// Which.
        id: LeaseId,
        /// Remaining seconds.
        ttl: i64,
        /// Granted seconds.
        granted: i64,
        /// Its keys, sorted, if asked for.
        keys: Vec<Bytes>,
    },
    /// To `LeaseList`.
    Leases(Vec<LeaseId>),
    /// To `Members`.
    Members(Vec<Member>),
    /// To `Status`.
    Status(Status),
    /// To `ChangeMembers`, once the change is in force.
    MembersChanged {
        /// The member that it is about.
        id: u64,
        /// All members then.
        members: Vec<Member>,
    },
    /// To `MoveLeader`, once the other leads.
    Moved,
    /// To `Fences`: names, each with the highest token that was shown for it.
    Fences(Vec<(Bytes, u64)>),
    /// To `HashSpace`.
    HashSpace(SpaceHash),
    /// To `HashAll`.
    HashAll(u32),
    /// To `Swept` and `Defragment`.
    Done,
    /// To `Led`.
    Led(Box<Led>),
}

/// See [`Request::Led`].
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Led {
    /// Transactions over several shards whose outcome nobody knows, and which this node tries to find, the oldest first.
    pub undecided: Vec<Undecided>,
    /// Shards led here whose replicas move.
    pub moves: Vec<Moving>,
    /// Shards that this node has a replica of, and for how long it has known of no leader: for longer than elections take.
    pub leaderless: Vec<(ShardId, Duration)>,
}

/// A transaction whose outcome nobody knows: some shard that takes part does not say how it voted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecided {
    /// Which.
    pub id: TxnId,
    /// For so long at least.
    pub age: Duration,
    /// The shards that have not said.
    pub waits_for: Vec<ShardId>,
    /// Of the first ones: some of the items that it holds in shards led here, by table and key, that in JSON as DynamoDB writes it.
    pub holds: Vec<(String, String)>,
}

/// How far a shard is whose replicas move, as its leader knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Which.
    pub shard: ShardId,
    /// At what it is.
    pub step: MoveStep,
    /// For how long.
    pub lasts: Duration,
    /// For how long it moves, since this leader knows of it.
    pub moves: Duration,
}

/// At what a move is, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveStep {
    /// It has not begun: another change is under way, or too few of those that have the shard are heard and sound.
    Waits,
    /// The one that comes listens, and has not answered yet.
    Listens(NodeId),
    /// It gets a snapshot.
    Snapshot {
        /// Who comes.
        to: NodeId,
        /// So many bytes were sent, ...
        sent: u64,
        /// ... of about so many.
        of: u64,
    },
    /// It gets what the log has that it lacks.
    CatchesUp {
        /// Who comes.
        to: NodeId,
        /// So many entries.
        behind: u64,
    },
    /// It gets its vote, and the one that goes loses its own.
    Votes,
    /// All have the members that they are to have; shard 1 is to note it.
    Ends,
}

/// One member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it first started.
    pub name: String,
    /// `http://host:port` of its peer port.
    pub peer_urls: Vec<String>,
    /// `http://host:port` of its etcd door.
    pub client_urls: Vec<String>,
    /// A learner has no vote.
    pub learner: bool,
}

/// How a node does.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Status {
    /// The leader it knows, 0 for none.
    pub leader: u64,
    /// Its term.
    pub term: Term,
    /// The last index of its log.
    pub last: Index,
    /// What it knows to be committed.
    pub commit: Index,
    /// What its machine has applied.
    pub applied: Index,
    /// Bytes of all that is not compacted.
    pub db_size: i64,
    /// It is a learner.
    pub learner: bool,
    /// The list of members has its name, and where clients reach it, as it says itself: it counts as one that has started.
    pub listed: bool,
    /// What is unhealthy, in words.
    pub errors: Vec<String>,
    /// A digest of the state at `applied`.
    pub digest: u64,
    /// The alarms that stand there.
    pub alarms: Vec<Alarm>,
    /// Bytes beyond which the node raises the alarm for want of room; 0 for no bound.
    pub quota: i64,
}

/// A request's bad end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The machine's own refusal; `head` is filled.
    Refused(Refused, Head),
    /// There is no leader to ask. Nothing was done.
    NoLeader,
    /// No answer in time: a write is in doubt.
    TimedOut,
    /// The leadership changed on the way: a write is in doubt.
    LeaderChanged,
    /// Too much is waiting. Nothing was done.
    Overloaded,
    /// The command is larger than the log takes. Nothing was done.
    TooLarge,
    /// A learner does not serve this.
    Learner,
    /// The node stops: a write is in doubt.
    Stopping,
    /// The node's disk or state failed; in words.
    Broken(String),
    /// The leader will not change the members so. Nothing was done.
    Members(members::Refusal),
    /// The asked node does not lead. Nothing was done.
    NotLeader,
    /// Who is to lead is no voter. Nothing was done.
    BadTransferee,
}

/// In which form a snapshot is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotForm {
    /// Our own; see [`crate::backup`].
    Own,
    /// The file of etcd's store, for its tools.
    Etcd {
        /// The version of etcd's data that it says it has.
        version: String,
    },
}

/// Takes a piece of a snapshot, and how many bytes the whole one has, about; false if nobody wants more. An empty piece asks just
/// that: what comes next takes its time.
pub type TakePiece<'t> = dyn FnMut(Bytes, u64) -> bool + 't;

/// A snapshot of the space as a file, piece by piece.
pub trait Pieces: Send {
    /// Reads all of it. It reads the disk, and is not to be called on the node's own thread.
    fn read(self: Box<Self>, take: &mut TakePiece<'_>) -> Result<(), Failure>;
}

/// How long an answer is waited for. The node has a longest wait of its own for what other nodes have a word in ([`Patience::request`]);
/// a long read goes on beyond it while it is known that somebody waits.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// The client's own bound.
    pub timeout: Option<Duration>,
    /// Dropped by whoever asks once nobody waits any more.
    pub asker: Option<Weak<()>>,
}

impl From<Option<Duration>> for Wait {
    fn from(timeout: Option<Duration>) -> Self {
        Self { timeout, asker: None }
    }
}

/// Called once, as [`Done`], with a snapshot that was opened.
pub type Opened = Box<dyn FnOnce(Result<Box<dyn Pieces>, Failure>) + Send>;

/// Called once with the end of a request, on the node's own thread; it must not block.
pub type Done = Box<dyn FnOnce(Result<Answer, Failure>) + Send>;

/// The door's view of its node.
pub trait Door: Send + Sync {
    /// Starts a request.
    fn call(&self, request: Request, wait: Wait, done: Done);
    /// The same of another shard than the key-value space's. Where it is not here, nothing was done.
    fn call_of(&self, shard: ShardId, request: Request, wait: Wait, done: Done) {
        if shard == ShardId(1) { self.call(request, wait, done) } else { done(Err(Failure::NoLeader)) }
    }
    /// Where tables lie that have shards of their own, as this node's state says; it may be behind.
    fn placement(&self) -> Arc<tables::Placement> {
        Arc::default()
    }
    /// The header a reply would have now (streams' own messages use it).
    fn head(&self) -> Head;
    /// How long the node has been without a leader; `None` while it has one.
    fn leaderless(&self) -> Option<Duration>;
    /// True while the node is a learner, which serves no streams.
    fn learner(&self) -> bool {
        false
    }
    /// True while the node has no state to serve from, and fetches it from its peers: clients are to go elsewhere.
    fn away(&self) -> bool;
    /// True once the node is stopping: streams end.
    fn stopping(&self) -> bool;
    /// Opens a watch stream. `wake` is called when [`WatchStream::poll`] may have something new, also when streams must end.
    fn watch(&self, wake: Box<dyn Fn() + Send + Sync>) -> Box<dyn WatchStream>;
    /// Opens a snapshot of the asked node's own state.
    fn snapshot(&self, form: SnapshotForm, opened: Opened);
    /// How long what waits does so at most.
    fn patience(&self) -> Patience;
}

/// Waits that follow from the cluster's timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The longest a request waits: as etcd's, 5 s and two of the shortest election timeouts.
    pub request: Duration,
    /// How long a stream that wants a leader lives on without one: as etcd's, three of the shortest election timeouts.
    pub leaderless: Duration,
    /// The longest election timeout.
    pub election: Duration,
    /// The smallest lease in seconds.
    pub least_lease: i64,
}

/// One client's watch stream: requests in, messages out. Dropping it ends its watches.
pub trait WatchStream: Send {
    /// Takes one request of the client.
    fn request(&mut self, request: WatchRequest);
    /// The next message for the client, if any is ready.
    fn poll(&mut self) -> Option<WatchMessage>;
    /// How many answers to requests wait to be polled: whoever takes more requests meanwhile lets them grow.
    fn owed(&self) -> usize;
}

/// What a client asks of its watch stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchRequest {
    /// Begin a watch.
    Create(WatchCreate),
    /// End one.
    Cancel {
        /// Which.
        id: i64,
    },
    /// Say how far the stream is, if all its watches are synced.
    Progress,
}

/// A watch to be made.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WatchCreate {
    /// Which keys (an empty key is the single byte 0).
    pub range: KeyRange,
    /// From this revision on; 0 is "from now".
    pub start: Revision,
    /// Periodic progress messages.
    pub progress_notify: bool,
    /// Leave puts out.
    pub no_put: bool,
    /// Leave deletions out.
    pub no_delete: bool,
    /// With the pairs as they were.
    pub prev_kv: bool,
    /// The client's own choice of id, or 0.
    pub id: i64,
    /// Large revisions may be split over messages.
    pub fragment: bool,
}

/// What a watch stream says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WatchMessage {
    /// The header's revision.
    pub revision: Revision,
    /// Which watch; -1 for the stream as a whole.
    pub id: i64,
    /// The watch was made.
    pub created: bool,
    /// The watch is over.
    pub canceled: bool,
    /// Why, in etcd's words; may be empty.
    pub reason: String,
    /// Set where a watch fell behind the compaction.
    pub compact_revision: Revision,
    /// More of this revision follows.
    pub fragment: bool,
    /// The events, whole revisions.
    pub events: Vec<Event>,
}

/// A node's name for itself and its peers, for doors that show members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whoami {
    /// The cluster.
    pub cluster: u64,
    /// This node.
    pub node: NodeId,
}
