//! Peer connections: one connection a pair of nodes, packets of frames in both directions; over TCP, or over a socket in the
//! file system where an address says so (`stream.rs`).
//!
//! The node with the smaller id dials, the other listens, and dials only where nothing came of that for a while: the other
//! may not know yet that it is there. Whoever connects later replaces the older connection. A connection starts with a
//! [`Hello`] from each side: magic, format version, cluster, who I am, whom I mean. Anything that does not fit is answered
//! with nothing, logged with what to do (once a minute for each mistake of each host: who errs tries again) and counted, and
//! the node goes on. So many may be about to greet and no more, each for a short while.
//!
//! Whom it dials and takes is the lane's [`Roster`], which follows the configuration. A node that was removed is told so in
//! the answer to its greeting, and stops: it may have been away when it happened, and nobody sends it the log any more. One
//! that is not in the roster, because this node lags behind, says by which place of the log it is a member.
//!
//! A packet is length, CRC32C, body. What is to be sent is written at once, as far as the socket takes it, without waking
//! a task; the rest waits in a bounded backlog. When the backlog is full the packet is dropped: the protocols above treat
//! a connection as a network that may lose anything, and a peer that does not read must not cost memory. Nor does a length
//! that a peer merely claims: room is made as the bytes come.
//!
//! TCP alone notices a peer behind a cut cable after a quarter of an hour, and one whose process is frozen never, for its
//! kernel goes on to acknowledge. So each side sends an empty packet now and then, and leaves a connection on which nothing
//! came for a while (as etcd's rafthttp does). Mostly that packet is a word which the other sends back (`traffic.rs`). Both listen, so it does not matter which direction is dead. What passes while
//! this process itself stands still counts as one step of that while, not as the peer's silence. Dialling, too, has an end:
//! a host that swallows the first packet of a connection would hold it for minutes.

mod excluded;
mod hello;
mod listing;
mod outage;
mod stream;
mod traffic;

use crate::began::Began;
use crate::clock::Clock;
use crate::datadir::Life;
use crate::inbox::{Inbox, lock};
use crate::met::Met;
use crate::mistakes::{Mistake, MistakeKind, Mistakes, TELL_EVERY};
use bytes::{Buf, Bytes, BytesMut};
pub(crate) use excluded::{Asking, Exclusion};
use hello::{Greeting, Hello, MAGIC, Refused, read_farewell, read_first, read_hello};
use outage::{Outage, Told};
use quorate_base::time::Throttle;
use quorate_base::{NodeId, Rng};
use quorate_node::lane::{Event, PACKET_BYTES, Roster};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
pub(crate) use stream::Listening;
use stream::{Reading, Stream, Writing, connect};
use tokio::io::AsyncReadExt;
use tokio::sync::{Notify, Semaphore};
use traffic::Kind;
pub use traffic::Traffic;

/// The version of the packets and frames.
///
/// 2: a node says that it is there, with an empty packet, also when it has nothing to say; and in its answers to heartbeats,
/// whether it withholds. 4: members come and go. 5: promises for leases, and how an entry was committed. 6: a replica whose disk is
/// lost asks its leader for the term. 9: reads of indexes row by row, and of streams, are passed on. 11: pages lay
/// committed intents over their rows, and have a leader pause. 12: a greeting tells processes of one node apart. 13: and with what
/// a directory began. 14: a word is sent back. 15: tenants move between shards.
pub(crate) const VERSION: u16 = 16;
const HEADER_BYTES: usize = 8;
const WORD_BYTES: usize = 8;
/// The largest packet that is read: what a lane makes, and room for its last frame to be the largest there is.
const PACKET_MAX: usize = PACKET_BYTES + (12 << 20);
/// How much is read at once, and how much room is made for bytes that were announced.
const READ_BYTES: usize = 256 << 10;
/// How much may wait for a peer that does not read.
const BACKLOG_MAX: usize = 64 << 20;
const DIAL_PAUSE_MIN: Duration = Duration::from_millis(20);
const DIAL_PAUSE_MAX: Duration = Duration::from_millis(500);
const HELLO_PATIENCE: Duration = Duration::from_secs(2);
/// So often in a step it is looked whether a peer's former connection is gone.
const TWIN_LOOKS: u32 = 25;
/// So many may be connected and not have greeted yet.
const GREETING_MAX: usize = 64;
/// How often a node says that it is there: the same on all nodes, whatever the timing they are set to.
const STEP: Duration = Duration::from_millis(500);
/// So many steps without a byte are no silence yet.
const STEPS_MIN: u32 = 4;

/// Who this node is, and who may talk to it.
pub(crate) struct Transport {
    cluster: u64,
    me: NodeId,
    life: Life,
    met: Met,
    began: Option<Began>,
    /// Tells this process from any other of the same node.
    run: u64,
    roster: Mutex<Roster>,
    /// Those that are being dialled, each by a task of its own.
    dialled: Mutex<BTreeSet<NodeId>>,
    /// Draws the pauses between attempts.
    rng: Mutex<Rng>,
    /// Who will not talk to this node, and why.
    excluded: Mutex<Option<(NodeId, Exclusion)>>,
    patience: Patience,
    links: Mutex<BTreeMap<NodeId, Arc<Link>>>,
    told: Mutex<BTreeMap<NodeId, Told>>,
    inbox: Arc<Inbox>,
    clock: Clock,
    mistakes: Mistakes,
    traffic: Mutex<BTreeMap<NodeId, Arc<Traffic>>>,
}

/// How long a node waits for its peers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a connection to be made.
    pub(crate) dial: Duration,
    /// For any byte on one that is made.
    pub(crate) silence: Duration,
    /// How often it says itself that it is there.
    pub(crate) step: Duration,
}

impl Patience {
    /// An answer that comes later than the longest election timeout is of no use; a connection is given twice that, so that
    /// an election comes before it is given up.
    pub(crate) fn of(election_max: Duration) -> Self {
        let silence = (2 * election_max).max(STEP * STEPS_MIN);
        Self { dial: silence / 2, silence, step: STEP }
    }
}

/// One live connection.
struct Link {
    write: Writing,
    backlog: Mutex<BytesMut>,
    more: Notify,
    closed: Notify,
    /// Of the process at its other end.
    run: u64,
    /// Something came since the last step.
    heard: AtomicBool,
    /// How often something came.
    came: AtomicU64,
    /// When the word left that is on its way; 0 for none.
    word: AtomicU64,
    traffic: Arc<Traffic>,
}

impl Transport {
    /// The connections of node `me`, with a data directory of this life, to those of `roster`. `rng` draws the pauses between
    /// attempts.
    pub(crate) fn new(
        cluster: u64,
        me: NodeId,
        (life, met, began): (Life, Met, Option<Began>),
        roster: Roster,
        patience: Patience,
        (inbox, clock): (Arc<Inbox>, Clock),
        rng: &mut Rng,
    ) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            me,
            life,
            met,
            began,
            run: rng.next_u64(),
            roster: Mutex::new(roster),
            dialled: Mutex::default(),
            rng: Mutex::new(Rng::new(rng.next_u64())),
            excluded: Mutex::default(),
            patience,
            links: Mutex::default(),
            told: Mutex::default(),
            inbox,
            clock,
            mistakes: Mistakes::default(),
            traffic: Mutex::default(),
        })
    }

    /// From now on the members are these: new ones are dialled, connections to those that are none any more are closed.
    pub(crate) fn follow(self: &Arc<Self>, roster: &Roster) {
        lock(&self.roster).clone_from(roster);
        let gone: Vec<Arc<Link>> = {
            let links = lock(&self.links);
            let gone =
                links.iter().filter(|(id, _)| roster.was_removed(**id) && !roster.peers.contains_key(id));
            gone.map(|(_, link)| link.clone()).collect()
        };
        for link in gone {
            link.closed.notify_one();
        }
        self.dial_all();
    }

    fn dial_all(self: &Arc<Self>) {
        let peers: Vec<NodeId> =
            lock(&self.roster).peers.keys().copied().filter(|&id| id != self.me).collect();
        for peer in peers {
            if lock(&self.dialled).insert(peer) {
                let rng = Rng::new(lock(&self.rng).next_u64());
                tokio::spawn(self.clone().dial(peer, rng));
            }
        }
    }

    /// Where a peer may be; `None` once it is none any more.
    fn addresses(&self, peer: NodeId) -> Option<Vec<String>> {
        lock(&self.roster).peers.get(&peer).cloned()
    }

    fn is_connected(&self, peer: NodeId) -> bool {
        lock(&self.links).contains_key(&peer)
    }

    /// The other members, and whether each is connected.
    pub(crate) fn links(&self) -> Vec<(NodeId, bool)> {
        let peers: Vec<NodeId> = lock(&self.roster).peers.keys().copied().collect();
        peers.into_iter().filter(|&id| id != self.me).map(|id| (id, self.is_connected(id))).collect()
    }

    /// What others did wrong so far.
    pub(crate) fn mistakes(&self) -> &Mistakes {
        &self.mistakes
    }

    /// A peer sent a frame that makes no sense here.
    pub(crate) fn malformed(&self, peer: NodeId) {
        if let Some(missed) = self.mistakes.note(MistakeKind::Frame, None, self.clock.now()) {
            tracing::warn!(
                %peer,
                missed,
                "a frame of the peer is malformed or unknown here; the rest of its packet is left unread; run the same \
                 release on all nodes"
            );
        }
    }

    fn refused(&self, address: Option<SocketAddr>, mistake: &Mistake) {
        let host = address.map(|address| address.ip());
        if let Some(missed) = self.mistakes.note(mistake.kind, host, self.clock.now()) {
            let address = address.map_or_else(|| "a socket".to_string(), |address| address.to_string());
            tracing::warn!(%address, missed, "a peer connection was refused: {}", mistake.why);
        }
    }

    /// Starts listening and dialling on the current runtime.
    pub(crate) fn start(self: &Arc<Self>, listener: impl Into<Listening>) {
        tokio::spawn(self.clone().accept(listener.into()));
        self.dial_all();
    }

    /// Whether any peer is connected now.
    pub(crate) fn any(&self) -> bool {
        !lock(&self.links).is_empty()
    }

    /// Sends one packet with this body, or drops it if there is no connection or the peer does not read.
    pub(crate) fn send(&self, to: NodeId, body: &[u8]) {
        let Some(link) = lock(&self.links).get(&to).cloned() else {
            self.traffic_of(to).dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        link.send(Kind::Frames, body);
    }

    async fn accept(self: Arc<Self>, listener: Listening) {
        let greeting = Arc::new(Semaphore::new(GREETING_MAX));
        let mut failed = Throttle::new(TELL_EVERY);
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let Ok(place) = greeting.clone().try_acquire_owned() else {
                        self.refused(address, &crowded());
                        continue;
                    };
                    let this = self.clone();
                    tokio::spawn(async move {
                        let welcomed = this.welcome(stream).await;
                        drop(place);
                        match welcomed {
                            Ok(Some((from, stream))) => this.run(from, stream).await,
                            Ok(None) => {}
                            Err(mistake) => this.refused(address, &mistake),
                        }
                    });
                }
                Err(error) => {
                    if let Some(missed) = failed.pass(self.clock.now()) {
                        tracing::warn!(
                            %error,
                            missed,
                            "accepting peer connections failed and is tried again; if files ran out, raise `ulimit -n`"
                        );
                    }
                    tokio::time::sleep(DIAL_PAUSE_MAX).await;
                }
            }
        }
    }

    async fn welcome(&self, mut stream: Stream) -> Result<Option<(NodeId, (Stream, u64))>, Mistake> {
        let hello = match read_first(&mut stream.read).await? {
            Greeting::Hello(hello) => hello,
            Greeting::Members(first) => {
                self.list_members(stream, first).await;
                return Ok(None);
            }
        };
        let from = NodeId(hello.from);
        let checked = match self.check(&hello, None) {
            Ok(()) => self.must_be_alone(from, hello.run).await,
            Err(mistake) => Err(mistake),
        };
        if let Err(mistake) = checked {
            // It has to know, and hears it nowhere else: that it is of another cluster or release it sees from this, too.
            let _ = self.write_hello(&stream, from, Refused::of(mistake.kind)).await;
            return Err(mistake);
        }
        self.write_hello(&stream, from, None).await?;
        Ok(Some((from, (stream, hello.run))))
    }

    async fn dial(self: Arc<Self>, peer: NodeId, mut rng: Rng) {
        let mut pause = DIAL_PAUSE_MIN;
        let mut outage = Outage::new(self.clock.now());
        let mut alone_since = self.clock.now();
        for attempt in 0_usize.. {
            let Some(addresses) = self.addresses(peer) else { break };
            let now = self.clock.now();
            let turn = self.me < peer || now.since(alone_since) > self.patience.silence;
            if self.is_connected(peer) || !turn || addresses.is_empty() {
                if self.is_connected(peer) {
                    (alone_since, outage) = (now, Outage::new(now));
                }
                // The other side dials, or did.
                tokio::time::sleep(DIAL_PAUSE_MAX.min(self.patience.silence / 4)).await;
                continue;
            }
            let address = &addresses[attempt % addresses.len()];
            match self.call(peer, address).await {
                Ok(stream) => {
                    let since = self.clock.now();
                    self.clone().run(peer, stream).await;
                    alone_since = self.clock.now();
                    outage = Outage::new(alone_since);
                    // One that is closed as soon as it is made is no reason to hurry.
                    if alone_since.since(since) > self.patience.silence {
                        pause = DIAL_PAUSE_MIN;
                    }
                }
                // Of an outage tells who dials by rights, and of a refusal who is refused.
                Err(mistake) if self.me < peer || mistake.is_refusal() => {
                    outage.tell(peer, address, &mistake, self.clock.now());
                }
                Err(_) => {}
            }
            let most = pause.as_nanos() as u64;
            tokio::time::sleep(Duration::from_nanos(rng.between(most / 2, most))).await;
            pause = (pause * 2).min(DIAL_PAUSE_MAX);
        }
        lock(&self.dialled).remove(&peer);
        // It may have come back between the look and the end of this.
        self.dial_all();
    }

    /// Connects and greets.
    async fn call(&self, peer: NodeId, address: &str) -> Result<(Stream, u64), Mistake> {
        let mut stream = connect(address, self.patience.dial).await.map_err(|e| Mistake::broken(&e))?;
        self.write_hello(&stream, peer, None).await?;
        let hello = read_hello(&mut stream.read).await?;
        if let Err(mistake) = self.check(&hello, Some(peer)) {
            // It has greeted already, and hears it in a second greeting.
            if let Some(refused) = Refused::of(mistake.kind) {
                let _ = self.write_hello(&stream, peer, Some(refused)).await;
            }
            return Err(mistake);
        }
        let Some(refused) = hello.refused else {
            self.must_be_alone(peer, hello.run).await?;
            return Ok((stream, hello.run));
        };
        Err(self.turned_away(peer, refused))
    }

    async fn write_hello(
        &self,
        stream: &Stream,
        to: NodeId,
        refused: Option<Refused>,
    ) -> Result<(), Mistake> {
        let (from, to, life) = (self.me.get(), to.get(), self.life);
        let member_at = lock(&self.roster).member_at.get();
        let (life, taken_back) = (life.number, life.taken_back);
        let (cluster, run) = (self.cluster, self.run);
        let (version, began) = (VERSION, self.began);
        let hello = Hello { version, cluster, from, to, life, member_at, run, refused, taken_back, began };
        stream.write.write_all(&hello.encode()).await.map_err(|e| Mistake::broken(&e))
    }

    fn check(&self, hello: &Hello, expected: Option<NodeId>) -> Result<(), Mistake> {
        let from = NodeId(hello.from);
        if hello.version != VERSION {
            return Err(Mistake::new(
                MistakeKind::Version,
                format!(
                    "node {from} speaks version {} of the peer protocol, this one {VERSION}; run the same release on all nodes",
                    hello.version
                ),
            ));
        }
        if hello.cluster != self.cluster {
            return Err(Mistake::new(
                MistakeKind::Cluster,
                format!(
                    "node {from} is of cluster {:016x}, this is {:016x}; check the peer addresses of both",
                    hello.cluster, self.cluster
                ),
            ));
        }
        if hello.to != self.me.get() {
            return Err(Mistake::new(
                MistakeKind::Addressee,
                format!(
                    "node {from} looks for node {}, this is node {}; check its peer addresses",
                    hello.to, self.me
                ),
            ));
        }
        if let Some(expected) = expected.filter(|&expected| expected != from) {
            return Err(Mistake::new(
                MistakeKind::Addressee,
                format!("node {from} is there, and not node {expected}; check the peer addresses of both"),
            ));
        }
        if from == self.me || !self.knows(from, hello.member_at)? {
            return Err(Mistake::new(
                MistakeKind::Stranger,
                format!("node {from} is not expected here; check the list of peers"),
            ));
        }
        let life = Life { number: hello.life, taken_back: hello.taken_back };
        // Nobody is met, for good, who is turned away for what it began with.
        if self.met.life_of(from).is_none_or(|known| known == life.number) {
            self.must_have_begun_alike(from, hello.began)?;
        }
        self.met.meet(from, life).map_err(|why| Mistake::new(MistakeKind::Forgetful, why))
    }

    /// A peer comes with this process: that its former one's connection is gone, or dies now, is as it should be. If that one goes
    /// on to speak, two processes are the same node, each with a copy of its directory, and together they would confirm what
    /// neither keeps. The first one stays.
    async fn must_be_alone(&self, peer: NodeId, run: u64) -> Result<(), Mistake> {
        let former = lock(&self.links).get(&peer).filter(|link| link.run != run).cloned();
        let Some(former) = former else { return Ok(()) };
        let came = former.came.load(Ordering::Relaxed);
        let (mut silent, mut since_it_spoke) = (0, 0);
        // What a process has sent before it was killed is still read then; its end follows at once.
        while since_it_spoke < TWIN_LOOKS / 2 {
            if silent == 2 * TWIN_LOOKS {
                return Ok(());
            }
            tokio::time::sleep(self.patience.step / TWIN_LOOKS).await;
            if !lock(&self.links).get(&peer).is_some_and(|link| Arc::ptr_eq(link, &former)) {
                return Ok(());
            }
            let spoke = former.came.load(Ordering::Relaxed) != came;
            *(if spoke { &mut since_it_spoke } else { &mut silent }) += 1;
        }
        Err(Mistake::new(
            MistakeKind::Twin,
            format!(
                "another process is node {peer}, too, and is connected: two run with copies of one data directory, of which neither \
                 has all that the other confirms. Stop one of them, and see that its directory does not come back"
            ),
        ))
    }

    /// Whether a node is a member, by what this one knows or by what that one knows that this one cannot know yet.
    fn knows(&self, from: NodeId, member_at: u64) -> Result<bool, Mistake> {
        let roster = lock(&self.roster);
        if roster.peers.contains_key(&from) {
            return Ok(true);
        }
        if roster.was_removed(from) {
            return Err(Mistake::new(
                MistakeKind::Removed,
                format!(
                    "node {from} was removed from the cluster; an id is never used twice: what runs there can only come back \
                     as a new node, with an empty data directory (`quorate node add`)"
                ),
            ));
        }
        Ok(from > roster.used && member_at > roster.at.get())
    }

    /// Serves a greeted connection until it ends.
    async fn run(self: Arc<Self>, peer: NodeId, (stream, run): (Stream, u64)) {
        let Stream { read, write } = stream;
        let link = Arc::new(Link::new(write, run, self.traffic_of(peer)));
        if let Some(old) = lock(&self.links).insert(peer, link.clone()) {
            old.closed.notify_one();
        }
        self.changed(peer, String::new());
        self.inbox.push(Event::PeerUp(peer));
        let why = tokio::select! {
            why = self.read(peer, read, &link) => why,
            why = link.flush() => why,
            why = link.keep_alive(self.patience, self.clock) => why,
            () = link.closed.notified() => "replaced by a newer connection".to_string(),
        };
        let current = {
            let mut links = lock(&self.links);
            let current = links.get(&peer).is_some_and(|l| Arc::ptr_eq(l, &link));
            if current {
                links.remove(&peer);
            }
            current
        };
        if current {
            link.traffic.lost.fetch_add(1, Ordering::Relaxed);
            self.changed(peer, why);
            self.inbox.push(Event::PeerDown(peer));
        }
    }

    /// Reads packets into the inbox; ends with the reason.
    async fn read(&self, from: NodeId, mut read: Reading, link: &Link) -> String {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let mut first = true;
        loop {
            // No packet begins as a greeting does.
            let parts = first && buffer.starts_with(&MAGIC);
            if let Some(told) = parts.then(|| read_farewell(&buffer)).flatten() {
                return self.left(from, told);
            }
            let taken = if parts { Ok(None) } else { take_packet(&mut buffer) };
            first &= matches!(taken, Ok(None));
            match taken {
                // Somebody is there, no more.
                Ok(Some((Kind::Frames, body))) if body.is_empty() => continue,
                Ok(Some((Kind::Word, word))) => {
                    link.send(Kind::Back, &word);
                    continue;
                }
                Ok(Some((Kind::Back, word))) => {
                    link.came_back(&word, self.clock);
                    continue;
                }
                Ok(Some((Kind::Frames, body))) => {
                    self.inbox.push(Event::Packet { from, body });
                    continue;
                }
                Ok(None) => {}
                Err(why) => {
                    if let Some(missed) = self.mistakes.note(MistakeKind::Packet, None, self.clock.now()) {
                        tracing::warn!(%from, missed, "the peer's connection is closed and made anew: {why}");
                    }
                    return why;
                }
            }
            match read.read_buf(&mut buffer).await {
                Ok(0) => return "closed by the peer".into(),
                Ok(len) => {
                    link.traffic.received.fetch_add(len as u64, Ordering::Relaxed);
                    link.heard.store(true, Ordering::Relaxed);
                    link.came.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return error.to_string(),
            }
        }
    }
}

impl Link {
    fn new(write: Writing, run: u64, traffic: Arc<Traffic>) -> Self {
        let (more, closed) = (Notify::new(), Notify::new());
        let (heard, came, word) = (AtomicBool::new(true), AtomicU64::new(0), AtomicU64::new(0));
        Self { write, backlog: Mutex::default(), more, closed, run, heard, came, word, traffic }
    }

    /// Sends one packet with this body, or drops it if too much waits already.
    fn send(&self, kind: Kind, body: &[u8]) {
        self.traffic.sent.fetch_add(body.len() as u64, Ordering::Relaxed);
        let mut packet = Vec::with_capacity(HEADER_BYTES + body.len());
        packet.extend_from_slice(&kind.marked(body.len()).to_le_bytes());
        packet.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
        packet.extend_from_slice(body);
        let mut backlog = lock(&self.backlog);
        let mut sent = 0;
        if backlog.is_empty() {
            while sent < packet.len() {
                match self.write.try_write(&packet[sent..]) {
                    Ok(n) if n > 0 => sent += n,
                    _ => break,
                }
            }
        } else if backlog.len() + packet.len() > BACKLOG_MAX {
            return;
        }
        if sent < packet.len() {
            backlog.extend_from_slice(&packet[sent..]);
            self.more.notify_one();
        }
    }

    /// Says now and then that this node is there; ends with the reason when nothing came from the peer for so long.
    async fn keep_alive(&self, patience: Patience, clock: Clock) -> String {
        let mut silent = 0;
        while patience.step * silent < patience.silence {
            tokio::time::sleep(patience.step).await;
            if self.word.load(Ordering::Relaxed) == 0 {
                let now = clock.real();
                self.word.store(now, Ordering::Relaxed);
                self.send(Kind::Word, &now.to_le_bytes());
            } else {
                self.send(Kind::Frames, &[]);
            }
            silent = if self.heard.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
        }
        format!("nothing came from the peer for {:?}", patience.silence)
    }

    /// The word that was sent has come back; another one never left.
    fn came_back(&self, word: &[u8], clock: Clock) {
        let left = self.word.load(Ordering::Relaxed);
        if left != 0 && word == left.to_le_bytes() {
            self.word.store(0, Ordering::Relaxed);
            self.traffic.round_trips.observe(Duration::from_nanos(clock.real().saturating_sub(left)));
        }
    }

    /// Writes the backlog whenever there is one; ends with the reason.
    async fn flush(&self) -> String {
        loop {
            self.more.notified().await;
            loop {
                if lock(&self.backlog).is_empty() {
                    break;
                }
                if let Err(error) = self.write.writable().await {
                    return error.to_string();
                }
                let mut backlog = lock(&self.backlog);
                match self.write.try_write(&backlog) {
                    Ok(n) => backlog.advance(n),
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(error) => return error.to_string(),
                }
            }
        }
    }
}

fn crowded() -> Mistake {
    Mistake::new(
        MistakeKind::Crowded,
        format!(
            "{GREETING_MAX} others have connected and not greeted yet; only nodes may connect to the peer port"
        ),
    )
}

/// Cuts one whole packet off the front of `buffer`.
fn take_packet(buffer: &mut BytesMut) -> Result<Option<(Kind, Bytes)>, String> {
    if buffer.len() < HEADER_BYTES {
        buffer.reserve(HEADER_BYTES);
        return Ok(None);
    }
    let (kind, len) = Kind::read(u32::from_le_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]));
    let crc = u32::from_le_bytes([buffer[4], buffer[5], buffer[6], buffer[7]]);
    if len > PACKET_MAX {
        return Err(format!(
            "a packet claims {len} bytes, more than the {PACKET_MAX} allowed; run the same release on all nodes"
        ));
    }
    if kind != Kind::Frames && len != WORD_BYTES {
        return Err(format!(
            "a word has {WORD_BYTES} bytes, and not {len}; run the same release on all nodes"
        ));
    }
    if buffer.len() < HEADER_BYTES + len {
        // Twice what has come, at most: a claim alone makes no room.
        let missing = HEADER_BYTES + len - buffer.len();
        buffer.reserve(missing.min(buffer.len().max(READ_BYTES)));
        return Ok(None);
    }
    buffer.advance(HEADER_BYTES);
    let body = buffer.split_to(len).freeze();
    if crc32c::crc32c(&body) != crc {
        return Err("a packet's checksum does not hold; look for what changes bytes on the way".into());
    }
    Ok(Some((kind, body)))
}

#[cfg(test)]
mod tests;
