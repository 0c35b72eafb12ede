//! Putting a node together and running it: recovery, threads, the lane's loop, an orderly end.

use crate::began::Began;
use crate::clock::Clock;
use crate::config::{AutoCompaction, ServerConfig, peer_url};
use crate::datadir::DataDir;
use crate::descriptors;
use crate::disk::FsDisk;
use crate::door::NodeDoor;
use crate::ends;
use crate::error::{ServeError, ServeErrorKind};
use crate::founders;
use crate::inbox::Inbox;
use crate::leaving::Leaving;
use crate::memory;
use crate::met::Met;
use crate::ports::Ports;
use crate::promised;
use crate::readings;
use crate::room::{self, Room, Spare};
use crate::transport::{Asking, Exclusion, Patience, Traffic, Transport};
use crate::workers::{Counters, ToBackground, Workers};
use quorate_base::{Mint, NodeId, Rng, ShardId};
use quorate_clock::hybrid::WINDOW;
use quorate_clock::{Hlc, Wall};
use quorate_lsm::LsmStore;
use quorate_node::api::tables::Placement;
use quorate_node::api::{Door, Member};
use quorate_node::applier::{Applier, SEAL_BYTES, Work};
use quorate_node::boot;
use quorate_node::figures::{Figures, Histogram};
use quorate_node::lane::{AT_ONCE, Broken, Effects, Event, Lane, Settings, Stand, Upkeep, fenced};
use quorate_node::watch::{Counts, Hub};
use quorate_protocol::raft::{self, Membership};
use quorate_storage::journal::{Identity, Journal, Options};
use quorate_storage::state::{StateErrorKind, StateStore};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// The one shard there is: the key-value space.
pub(crate) const KV: ShardId = ShardId(1);
/// Followers hear of a commitment with the next append if that comes so soon: about the resolution of the runtime's timers.
const COMMIT_PATIENCE: Duration = Duration::from_millis(1);
/// How long a node that was removed goes on, so that what it has still to say is heard.
const REMOVED_PATIENCE: Duration = Duration::from_millis(300);
/// How often a node that waits for its state says so.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Where a node that serves can be reached.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// The etcd door.
    pub etcd: SocketAddr,
    /// The DynamoDB door, if there is one.
    pub dynamo: Option<SocketAddr>,
    /// The peer port.
    pub peer: SocketAddr,
}

/// What a door needs to serve: composed by the binary, so that this crate knows no door.
pub struct DoorStart {
    /// The node.
    pub door: Arc<dyn Door>,
    /// Where its etcd clients connect.
    pub listeners: Vec<TcpListener>,
    /// Where its DynamoDB clients connect, if any may.
    pub dynamo: Option<TcpListener>,
    /// How many connections of clients there may be at once.
    pub clients_max: usize,
    /// The counters and facts of the node for its metrics page.
    pub facts: Arc<dyn Fn() -> Facts + Send + Sync>,
    /// True once its clients are to go elsewhere; dropped once all of them have.
    pub leaving: tokio::sync::watch::Receiver<bool>,
}

/// Figures about a running node.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The lane's.
    pub lane: Figures,
    /// How long flushes of the journal take.
    pub flush: Arc<Histogram>,
    /// How long checkpoints of the state take.
    pub checkpoint: Arc<Histogram>,
    /// How often applying what had come took longer than etcd warns of.
    pub slow_applies: u64,
    /// Bytes of entries that were appended to the journal.
    pub appended: u64,
    /// Watches of clients.
    pub watches: Counts,
    /// Who this node is.
    pub node: NodeId,
    /// The other members, and whether each is connected.
    pub links: Vec<(NodeId, bool)>,
    /// What went over the connections to each of them.
    pub peers: Vec<(NodeId, Arc<Traffic>)>,
    /// Flushes of the journal since the start.
    pub flushes: u64,
    /// Connections and packets on the peer port that were refused.
    pub peer_mistakes: u64,
    /// The shards of tables, of which so many have something on this node.
    pub shards: ShardFigures,
}

/// How many shards of tables there are, as a node knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardFigures {
    /// In all.
    pub all: u64,
    /// Replicas of these move.
    pub moving: u64,
    /// Of these the node has something.
    pub here: u64,
    /// Members that are to leave.
    pub leaving: u64,
}

impl ShardFigures {
    fn of(placement: &Placement, node: NodeId) -> Self {
        let mut figures = Self { leaving: placement.leaving().len() as u64, ..Self::default() };
        for (_, home) in placement.homes() {
            figures.all += 1;
            figures.moving += u64::from(home.moving);
            figures.here += u64::from(home.hosts(node));
        }
        figures
    }
}

/// Serves a door until its future ends; the binary passes one in.
pub type ServeDoor = Box<dyn FnOnce(DoorStart) -> std::pin::Pin<Box<dyn Future<Output = ()>>>>;

/// Runs a node until SIGTERM or SIGINT (or until `stop` completes), or until its disk fails. `ready` is called once it serves.
pub fn run(
    config: ServerConfig,
    serve_door: ServeDoor,
    stop: impl Future<Output = ()> + 'static,
    ready: impl FnOnce(Ready) + 'static,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| ServeError::new(ServeErrorKind::Other, format!("the runtime did not start: {e}"), ""))?;
    let local = tokio::task::LocalSet::new();
    let result = local.block_on(&runtime, serve(config, serve_door, stop, ready));
    // Whatever still waits on a socket does not keep a stopped node alive.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

async fn serve(
    config: ServerConfig,
    serve_door: ServeDoor,
    stop: impl Future<Output = ()> + 'static,
    ready: impl FnOnce(Ready) + 'static,
) -> Result<(), ServeError> {
    let clients_max = descriptors::claim()?;
    let _large = refuse_instead_of_dying();
    // Ports first: a taken one must not cost a recovery, nor touch the data.
    let Ports { listeners, peers, files: _files, dynamo, addresses } = Ports::bind(&config).await?;
    let data = DataDir::open(&config)?;
    must_be_made(data.path())?;
    let room = Room::open(data.path(), config.upkeep.min_free_bytes);

    let clock = Clock::start();
    #[cfg(feature = "faults")]
    crate::faults::listen(move || clock.real())
        .map_err(|e| ServeError::new(ServeErrorKind::Other, format!("the socket for faults: {e}"), ""))?;
    let inbox = Arc::new(Inbox::default());
    let counters = Arc::new(Counters::default());
    let withholds = data.withholds();
    let Recovered { mut lane, workers, hub, mut store } =
        recover(&config, withholds, clock, &inbox, &counters)?;
    founders::must_fit(&config, lane.raft().membership())?;
    data.must_be_marked(&config, lane.raft().hard().term)?;
    let _watching = room::watch(room, inbox.clone()).map_err(|e| no_thread(&e))?;
    let election = config.election_max;
    let patience = Patience::of(election);
    let began = Began::load(data.path());
    let life = (data.life(), Met::beside(data.path()), began);
    let (roster, loop_) = (lane.roster().clone(), (inbox.clone(), clock));
    let mut rng = Rng::new(seed(&config));
    let transport = Transport::new(config.cluster, config.node, life, roster, patience, loop_, &mut rng);
    for listener in peers {
        transport.start(listener);
    }

    let spare = Spare::new(data.path(), config.upkeep.min_free_bytes);
    let door = NodeDoor::new(&lane, inbox.clone(), hub, clock, spare);
    let facts = {
        let (counters, transport, figures) = (counters.clone(), transport.clone(), door.clone());
        Arc::new(move || Facts {
            lane: figures.figures(),
            flush: counters.flush.clone(),
            checkpoint: counters.checkpoint.clone(),
            slow_applies: counters.slow_applies.load(Ordering::Relaxed),
            appended: counters.appended.load(Ordering::Relaxed),
            watches: figures.watches(),
            node: config.node,
            links: transport.links(),
            peers: transport.traffic(),
            flushes: counters.flushes.load(Ordering::Relaxed),
            peer_mistakes: transport.mistakes().count(),
            shards: ShardFigures::of(&figures.placement(), config.node),
        })
    };
    let leaving = door.leaving();
    let start = DoorStart { door: door.clone(), listeners, dynamo, clients_max, facts, leaving };
    let served = tokio::task::spawn_local(async move { serve_door(start).await });
    let mut front = Front::new(Box::new(move || {
        ready(addresses);
        let dynamo = addresses.dynamo.map(tracing::field::display);
        tracing::info!(node = %config.node, etcd = %addresses.etcd, dynamo, peer = %addresses.peer, "serving");
    }));

    let mut healing = Healing(withholds.then_some(&data));
    let watched = (&mut front, &mut healing);
    let result = run_lane(
        &mut lane,
        &inbox,
        &workers,
        &transport,
        &door,
        watched,
        (clock, data.path(), election),
        stop,
    )
    .await;
    let result = result.map_err(|end| match end {
        End::Broken(broken) => condemn(&mut store, &lane, broken),
        End::Excluded(None) => ends::removed(&config, None),
        End::Excluded(Some((peer, why))) => ends::excluded(&config, peer, why, began),
    });
    door.close();
    served.abort();
    tracing::info!(node = %config.node, "stopped");
    result
}

/// Refuses a directory that is only half made.
fn must_be_made(data: &Path) -> Result<(), ServeError> {
    if !crate::backup::was_interrupted(data) {
        return Ok(());
    }
    let (what, hint) = if crate::backup::taking_over(data) {
        ("taking over of what etcd has in", "start `quorate etcd` on it again")
    } else {
        ("restore of a snapshot into", "run `quorate snapshot restore` again")
    };
    let message = format!("the {what} {} was interrupted", data.display());
    Err(ServeError::new(ServeErrorKind::DataDir, message, hint))
}

/// A file that would grow beyond what the system allows this process must be an error of that write, which stops the node in
/// order and by name; left alone, the signal that comes with it would end the process on the spot.
fn refuse_instead_of_dying() -> Option<tokio::signal::unix::Signal> {
    const SIGXFSZ: i32 = 25;
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ)).ok()
}

/// Says once that the node serves, which a node without its state does not do before that is there: till then its door sends
/// clients elsewhere (`Door::away`).
struct Front {
    opened: Option<Box<dyn FnOnce()>>,
    since: std::time::Instant,
    warned: u64,
}

impl Front {
    fn new(opened: Box<dyn FnOnce()>) -> Self {
        Self { opened: Some(opened), since: std::time::Instant::now(), warned: 0 }
    }

    fn open_if(&mut self, state_lost: bool) {
        if self.opened.is_none() {
            return;
        }
        if !state_lost {
            if let Some(opened) = self.opened.take() {
                opened();
            }
            return;
        }
        let seconds = self.since.elapsed().as_secs();
        let spans = seconds / WARN_EVERY.as_secs();
        if spans > self.warned {
            self.warned = spans;
            tracing::warn!(
                seconds,
                "still without the state: no peer that leads has sent it; where all voters have lost theirs, one must be \
                 restored from a backup"
            );
        }
    }
}

/// The directory of a node that was made because the former one is lost, until its peers have healed it.
struct Healing<'a>(Option<&'a DataDir>);

impl Healing<'_> {
    fn look(&mut self, lane: &Lane) {
        let Some(data) = self.0.filter(|_| !lane.disk_lost()) else { return };
        self.0 = None;
        match data.healed() {
            Ok(()) => tracing::info!(
                "what this node may have forgotten with its lost data directory, its peers have told it"
            ),
            // The next start withholds once more, and is healed again.
            Err(error) => tracing::warn!("it has healed, and this could not be noted: {error}"),
        }
    }
}

/// Why the node stops; a state that failed a read is condemned, unless it is the only one there is.
fn condemn(store: &mut LsmStore, lane: &Lane, broken: Broken) -> ServeError {
    let Broken { why, state } = broken;
    let stopped = "the node stopped so that nothing wrong is served";
    if state == Some(StateErrorKind::Newer) {
        let hint = format!("{stopped}; start the newer release that the other nodes run");
        return ServeError::new(ServeErrorKind::DataDir, why, &hint);
    }
    if state != Some(StateErrorKind::Damaged)
        || lane.raft().membership().voters.iter().eq([&lane.raft().id()])
    {
        return ServeError::new(
            ServeErrorKind::Broken,
            why,
            &format!("{stopped}; where the disk is full make room, else mend it, and start the node again"),
        );
    }
    match store.condemn(&why) {
        Ok(()) => ServeError::new(
            ServeErrorKind::StateDamaged,
            why,
            &format!("{stopped}; start it again: it sets this state aside and fetches it from its peers"),
        ),
        Err(error) => ServeError::new(
            ServeErrorKind::Broken,
            format!("{why}; and this could not be noted: {error}"),
            &format!("{stopped}; rename the directory `state`, and start the node again"),
        ),
    }
}

struct Recovered {
    lane: Lane,
    workers: Workers,
    hub: Arc<Mutex<Hub>>,
    store: LsmStore,
}

/// Opens journal and state, and starts the workers.
fn recover(
    config: &ServerConfig,
    disk_lost: bool,
    clock: Clock,
    inbox: &Arc<Inbox>,
    counters: &Arc<Counters>,
) -> Result<Recovered, ServeError> {
    let identity = Identity { cluster: config.cluster, node: config.node };
    journal_must_be_there(&config.data)?;
    let disk = Arc::new(FsDisk::new(&config.data));
    let (mut journal, found) =
        Journal::open(disk, "journal", identity, journal_options(config.node), Mint::for_journal())
            .map_err(|e| ServeError::of_journal(&e))?;
    let mut store = LsmStore::new(&config.data.join("state"), identity, state_options(config.node));

    let mut raft_config = raft::Config::new(KV, config.node);
    raft_config.heartbeat = config.heartbeat;
    raft_config.election_min = config.election_min;
    raft_config.election_max = config.election_max;
    raft_config.lease_reads = config.lease_reads;
    raft_config.commit_patience = COMMIT_PATIENCE;
    raft_config.log_pin_bytes_max = log_pin_max(memory::allowed(), &raft_config);
    let promised = promised::take(&config.data, config.lease_reads.map(|_| config.election_min))?;
    let (learners, voters) = config.peers.iter().map(|p| p.id).partition(|id| config.learners.contains(id));
    let founders = Membership { voters, learners, ..Membership::default() };
    let now = clock.now();
    let mut rng = Rng::new(seed(config));
    let booted = boot::boot(
        boot::Parts {
            raft: raft_config.clone(),
            found,
            store: &mut store,
            founders,
            campaign_at_once: config.campaign_at_once,
            disk_lost,
            promised,
        },
        &mut journal,
        &mut rng,
        now,
    )
    .map_err(|e| ServeError::of_boot(&e))?;
    for note in &booted.notes {
        tracing::warn!("{note}");
    }
    let bell = inbox.clone();
    let mut watches = quorate_node::watch::Options::default();
    watches.progress_every = config.watch_progress.unwrap_or(watches.progress_every);
    let hub = Arc::new(Mutex::new(Hub::new(
        watches,
        booted.view.clone(),
        // One more round of the lane's loop is all that it takes.
        Box::new(move || bell.push(Event::Tick)),
    )));
    let settings = Settings {
        cluster: config.cluster,
        node: config.node,
        raft: raft_config,
        members: config.peers.iter().map(|peer| member(config, peer)).collect(),
        at_once: AT_ONCE,
        zone: config.zone.clone(),
        upkeep: Upkeep {
            quota: i64::try_from(config.upkeep.quota_bytes).unwrap_or(i64::MAX),
            auto_compaction: config.upkeep.auto_compaction.map(AutoCompaction::for_lane),
        },
    };
    let mut lane = Lane::new(settings, booted.raft, booted.view, hub.clone(), &mut rng, now);
    let upkeep = booted.kv.upkeep();
    let mut applier = Applier::new(
        booted.kv,
        booted.lost,
        config.node,
        booted.generation,
        staggered(config.node, SEAL_BYTES),
    );
    let (earlier, wall) = (readings::bound(&config.data), Clock::wall());
    let bound = earlier.max(Hlc::of(Wall(wall.0 + WINDOW.as_millis() as u64)));
    readings::note(&config.data, bound)?;
    lane.restores_clock(earlier, bound);
    lane.doubts(booted.doubts);
    for kv in booted.dead {
        applier.bury(kv);
    }
    for other in booted.others {
        lane.add(other.shard, other.raft, other.view, now);
        applier.add(other.kv, other.lost);
    }
    let workers = Workers::start(journal, applier, upkeep, inbox, counters).map_err(|e| no_thread(&e))?;
    Ok(Recovered { lane, workers, hub, store })
}

/// A limit of bytes beyond which a node does something heavy. All nodes write the same bytes: with one limit they would flush, seal
/// and begin segments at the same moments, and no majority would be free of it.
fn staggered(node: NodeId, bytes: u64) -> u64 {
    bytes - bytes / 6 * (node.get() % 3)
}

fn journal_options(node: NodeId) -> Options {
    let options = Options::default();
    Options { segment_bytes: staggered(node, options.segment_bytes), ..options }
}

fn state_options(node: NodeId) -> quorate_lsm::Options {
    let options = quorate_lsm::Options::default();
    quorate_lsm::Options { memtable_bytes: staggered(node, options.memtable_bytes), ..options }
}

/// Of what a node may have in memory a quarter at most is log that is kept for a follower that takes a snapshot in.
fn log_pin_max(allowed: Option<u64>, config: &raft::Config) -> usize {
    let most = allowed.map_or(usize::MAX, |bytes| usize::try_from(bytes / 4).unwrap_or(usize::MAX));
    config.log_pin_bytes_max.min(most).max(config.log_pin_bytes)
}

fn no_thread(error: &std::io::Error) -> ServeError {
    ServeError::new(ServeErrorKind::Other, format!("a thread did not start: {error}"), "")
}

/// The state's directory is made once the journal is durable: where it is and the journal is not, this is no new node.
fn journal_must_be_there(data: &Path) -> Result<(), ServeError> {
    let journal = data.join("journal");
    let empty = std::fs::read_dir(&journal).map_or(true, |mut entries| entries.next().is_none());
    if empty && data.join("state").exists() {
        let message = format!("{} holds nothing, though this node has run before", journal.display());
        return Err(ServeError::damaged(&message));
    }
    Ok(())
}

/// A member as it was told to this node, which knows of itself alone whether it was added as a learner.
fn member(config: &ServerConfig, peer: &crate::config::Peer) -> Member {
    let also: &[String] = if peer.id == config.node { &config.etcd_advertise_also } else { &[] };
    let client_urls = std::iter::once(&peer.client_url).filter(|url| !url.is_empty()).chain(also);
    Member {
        id: peer.id.get(),
        name: peer.name.clone(),
        peer_urls: vec![peer_url(&peer.address)],
        client_urls: client_urls.cloned().collect(),
        learner: config.learners.contains(&peer.id) && !(config.joins && peer.id == config.node),
    }
}

/// Different on each start and each node: elections must not be drawn in step, request numbers not come again.
fn seed(config: &ServerConfig) -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as u64)
        ^ config.node.get().rotate_left(48)
        ^ u64::from(std::process::id()).rotate_left(32)
}

/// Why a node ends that nobody told to.
enum End {
    /// It cannot go on.
    Broken(Broken),
    /// It does not belong to its cluster; who said so, and why, if it is not in its own log.
    Excluded(Option<(NodeId, Exclusion)>),
}

/// The loop: everything that came, then one drain, then its effects.
#[allow(clippy::too_many_arguments, reason = "the parts of a node")]
async fn run_lane(
    lane: &mut Lane,
    inbox: &Arc<Inbox>,
    workers: &Workers,
    transport: &Arc<Transport>,
    door: &NodeDoor,
    (front, healing): (&mut Front, &mut Healing<'_>),
    (clock, data, election): (Clock, &Path, Duration),
    stop: impl Future<Output = ()>,
) -> Result<(), End> {
    let mut roster = lane.roster_version();
    let mut excluded: Option<(std::time::Instant, Option<(NodeId, Exclusion)>)> = None;
    let mut stop = std::pin::pin!(stop);
    let mut leaving = Leaving::default();
    let mut events = Vec::new();
    let mut effects = Effects::default();
    let mut late = Vec::new();
    let mut stand = Stand::default();
    loop {
        let deadline = lane.deadline();
        let timer = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(clock.tokio(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = inbox.ready() => {}
            () = timer => read_what_waits().await,
            () = tokio::time::sleep(REMOVED_PATIENCE), if excluded.is_some() => {}
            () = leaving.gone(door), if leaving.clients_go(door) => {}
            () = &mut stop, if !leaving.begun() => {
                leaving.begin();
                inbox.push(Event::HandOver);
            }
        }
        inbox.take(&mut events);
        // Behind what came: no request is served by the time of before it came, which a lease may have outlived.
        let now = clock.now();
        lane.shows(now, Clock::wall());
        for event in events.drain(..) {
            lane.handle(now, event);
        }
        lane.handle(now, Event::Tick);
        lane.drain(now, &mut effects);
        if let Some(bound) = effects.clock.take() {
            let _ = workers.background.send(ToBackground::Clock(data.to_path_buf(), bound));
        }
        let broken = carry_out(&mut effects, &mut late, lane.raft().is_leader(), workers, transport);
        inbox.await_all(lane.awaits_applied());
        door.refresh(lane);
        front.open_if(lane.raft().state_lost());
        healing.look(lane);
        tell_of_the_clock(&mut stand, lane.clock());
        if let Err(broken) = broken {
            end(lane, door, clock).await;
            return Err(End::Broken(broken));
        }
        if roster != lane.roster_version() {
            roster = lane.roster_version();
            transport.follow(lane.roster());
        }
        let (led, last) = (lane.raft().leader().is_some(), lane.raft().last().index.get());
        let told = transport.excluded(Asking { led, last });
        excluded = excluded.filter(|(_, by)| by.is_none() || told.is_some());
        let known = lane.roster().was_removed(lane.raft().id());
        if known || told.is_some() {
            let (since, by) = *excluded.get_or_insert((std::time::Instant::now(), told));
            if known {
                door.leave();
            }
            let patience = match told {
                _ if known => REMOVED_PATIENCE,
                // It must not help anybody to a majority who has not met it.
                Some((_, Exclusion::Forgetful)) if last == 0 => Duration::ZERO,
                // A peer alone may be wrong, where it was forced to go on by itself: those who lost their leader have time to find another.
                _ => 2 * election,
            };
            if since.elapsed() >= patience {
                end(lane, door, clock).await;
                return Err(End::Excluded(by));
            }
        }
        if leaving.step(lane, transport, door) {
            end(lane, door, clock).await;
            return Ok(());
        }
    }
}

/// Says once that the wall clock is too far from the majority's, and that it is not any more.
fn tell_of_the_clock(before: &mut Stand, now: Stand) {
    let was_far = matches!(*before, Stand::Far(_));
    match now {
        Stand::Far(ahead) if !was_far => tracing::warn!("{}; set its time", fenced(ahead)),
        Stand::Near if was_far => tracing::info!("the clock of this node is near the majority's again"),
        // What was decided last stays in force.
        Stand::Unknown if was_far => return,
        _ => {}
    }
    *before = now;
}

/// Lets those who read the sockets go first, so that a node that stood still hears what came meanwhile before it acts on the
/// time that passed: one turn for the system to say what has come, one to read it.
pub(crate) async fn read_what_waits() {
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
}

/// From now on requests are refused; then what waits is answered, and streams are woken to end.
async fn end(lane: &mut Lane, door: &NodeDoor, clock: Clock) {
    door.close();
    lane.handle(clock.now(), Event::Stop);
    // Let the answers and the streams' last words out before the sockets close.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// What a turn of the lane asks for, in the order in which others wait for it.
///
/// Where this node leads, a client waits for what is committed, so that goes first; then the packets, which let the followers write and
/// flush at the same time as this node does: the journal's thread, once woken, may well want the processor that the packets need. Elsewhere a leader waits, first for the packets, then for the news of the flush: where that was made
/// on the spot, what there is to apply is kept in `late` until that news is out, which is the next turn's.
fn carry_out(
    effects: &mut Effects,
    late: &mut Vec<Work>,
    leads: bool,
    workers: &Workers,
    transport: &Transport,
) -> Result<(), Broken> {
    if leads {
        late.append(&mut effects.work);
        workers.apply(late);
    }
    for (to, body) in effects.packets.drain(..) {
        transport.send(to, &body);
    }
    for peer in effects.malformed.drain(..) {
        transport.malformed(peer);
    }
    if leads && !effects.journal.is_empty() {
        workers.journal(std::mem::take(&mut effects.journal));
    }
    workers.apply(late);
    if !effects.journal.is_empty() && workers.journal_at_once(std::mem::take(&mut effects.journal)) {
        late.append(&mut effects.work);
    }
    workers.apply(&mut effects.work);
    for export in effects.exports.drain(..) {
        let _ = workers.background.send(ToBackground::Export(export));
    }
    for reading in effects.reads.drain(..) {
        let _ = workers.readers.send(reading);
    }
    for catch_up in effects.catch_ups.drain(..) {
        let _ = workers.history.send(catch_up);
    }
    if let Some(live) = effects.tidy.take() {
        let _ = workers.background.send(ToBackground::Tidy(live));
    }
    for number in effects.defragment.drain(..) {
        let _ = workers.background.send(ToBackground::Defragment(number));
    }
    if let Some(bytes) = effects.outgrown.take() {
        tracing::warn!(
            bytes,
            "the space is at its quota, or would be beyond it: writes that need room are refused by an alarm; make room (delete, compact, \
             defragment), then disarm it"
        );
    }
    for (shard, change) in effects.roles.drain(..) {
        if shard != KV {
            // Those of tables are many: a start would tell of a thousand at once.
            tracing::debug!(shard = %shard, ?change, "role changed");
            continue;
        }
        tracing::info!(shard = %shard, role = ?change.role, term = %change.term, leader = ?change.leader, reason = %change.reason, "role changed");
    }
    effects.broken.take().map_or(Ok(()), Err)
}
