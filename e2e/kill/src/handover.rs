//! How long writes stop when a leader hands over, because it was asked to or because it is told to stop; and whether a client
//! that tries again sees a request fail while every node is restarted, one after the other.

use crate::client::{client, said};
use crate::pace::busy;
use e2e_cluster::{Cluster, Target, connect};
use quorate_proto::etcdserverpb as pb;
use quorate_proto::etcdserverpb::kv_client::KvClient;
use quorate_proto::etcdserverpb::maintenance_client::MaintenanceClient;
use std::cell::{Cell, RefCell};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

const PATIENCE: Duration = Duration::from_secs(60);
const WRITERS: usize = 16;
/// How long one try may take, and a write with all its tries.
const TRY: Duration = Duration::from_secs(2);
const WRITE: Duration = Duration::from_secs(10);
/// How long a writer rests before it asks the next node.
const REST: Duration = Duration::from_millis(5);
/// A gap may begin a little later than its cause.
const AFTER: Duration = Duration::from_secs(2);
/// The longest gap that is promised.
const PROMISED: Duration = Duration::from_millis(100);
/// Where the machine itself stood still for so long meanwhile, a gap says nothing of the nodes.
const STILL: Duration = Duration::from_millis(30);

/// Hands over `times` times in each way, restarts all nodes, and holds what was seen against what is promised.
pub async fn run(target: Target, data: &Path, times: u64) -> Result<(), String> {
    let mut cluster = Cluster::serving(target, 3, data, PATIENCE).await.map_err(said)?;
    let writers = Writers::start(&cluster.urls())?;
    let machine = Machine::watch(data)?;
    sleep(AFTER).await;
    let (mut worst, mut judged) = (Duration::ZERO, 0);
    for way in [Way::LeftAlone, Way::Asked, Way::Stopped] {
        let mut gaps = Vec::new();
        for _ in 0..times {
            gaps.push(once(&mut cluster, &writers, &machine, way).await?);
        }
        gaps.sort_unstable();
        let all: Vec<(u128, u128)> = gaps.iter().map(|(g, m)| (g.as_millis(), m.as_millis())).collect();
        let median = all[all.len() / 2].0;
        println!(
            "handover: {way:?}: write gap of {times}: median {median} ms, all, with how long the machine stood still: {all:?} ms; {}",
            busy()
        );
        if way != Way::LeftAlone {
            for (gap, _) in gaps.into_iter().filter(|(_, still)| *still < STILL) {
                (worst, judged) = (worst.max(gap), judged + 1);
            }
        }
    }
    for at in 0..3 {
        cluster.terminate(at).await.map_err(said)?;
        cluster.restart(at).await.map_err(said)?;
        cluster.wait(PATIENCE).await.map_err(said)?;
        writers.healthy()?;
    }
    let (done, tries, longest) = writers.stop().await?;
    println!(
        "handover: {done} writes, {tries} tries beyond the first, none failed; the longest took {longest:?} with its tries"
    );
    if judged * 2 < times {
        return Err(format!("the machine stood still in all but {judged} hand-overs, and says nothing"));
    }
    if worst > PROMISED {
        return Err(format!("writes stopped for {worst:?}, promised are {PROMISED:?}"));
    }
    println!("handover: ok: the longest gap of {judged} hand-overs was {worst:?}, promised are {PROMISED:?}");
    Ok(())
}

/// What is done to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Nothing: what is seen then is there without any hand-over.
    LeftAlone,
    /// It is asked to hand over.
    Asked,
    /// It is told to stop.
    Stopped,
}

/// One hand-over; gives the longest time between two acknowledged writes, whoever wrote them, and for how long the machine
/// stood still meanwhile.
async fn once(
    cluster: &mut Cluster,
    writers: &Writers,
    machine: &Machine,
    way: Way,
) -> Result<(Duration, Duration), String> {
    let at = cluster.leader().await.ok_or("nobody leads")?;
    writers.reset();
    machine.reset();
    match way {
        Way::LeftAlone => {}
        Way::Asked => move_leader(cluster, at, (at + 1) % 3).await?,
        Way::Stopped => cluster.terminate(at).await.map_err(said)?,
    }
    sleep(AFTER).await;
    let gap = (writers.reset(), machine.reset());
    writers.told();
    writers.healthy()?;
    let began = Instant::now();
    cluster.restart(at).await.map_err(said)?;
    let begun = began.elapsed();
    cluster.wait(PATIENCE).await.map_err(said)?;
    // Not a hand-over's, and told all the same.
    let (back, still) = (writers.reset(), machine.reset());
    if back > PROMISED {
        println!(
            "handover: {way:?}: when the node came back, writes stopped for {back:?}, the machine for {still:?}; its process began after \
             {begun:?}; {}",
            writers.told()
        );
    }
    if way != Way::LeftAlone && cluster.leader().await == Some(at) {
        return Err(format!("node {} leads although it handed over", at + 1));
    }
    sleep(Duration::from_millis(500)).await;
    Ok(gap)
}

async fn move_leader(cluster: &Cluster, from: usize, to: usize) -> Result<(), String> {
    let maintenance =
        |at: usize| connect(&cluster.urls()[at]).map(MaintenanceClient::new).map_err(|e| e.to_string());
    let status = maintenance(to)?.status(pb::StatusRequest {}).await.map_err(|e| e.to_string())?.into_inner();
    let request = pb::MoveLeaderRequest { target_id: status.header.map_or(0, |h| h.member_id) };
    maintenance(from)?
        .move_leader(request)
        .await
        .map(drop)
        .map_err(|e| format!("the leader does not move: {e}"))
}

/// How long the machine lets a small write to the disk wait, and a thread that sleeps for a moment: what is longer is nobody's
/// fault but its own. (Other programs write gigabytes, or want the processors.)
struct Machine {
    longest: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Machine {
    fn watch(data: &Path) -> Result<Self, String> {
        let machine = Self { longest: Arc::default(), stopped: Arc::default() };
        let (longest, stopped) = (Arc::clone(&machine.longest), Arc::clone(&machine.stopped));
        let mut file = std::fs::File::create(data.join("probe")).map_err(said)?;
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let began = std::time::Instant::now();
                std::thread::sleep(Duration::from_millis(5));
                let wrote = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&[1; 512]));
                if wrote.and_then(|()| file.sync_data()).is_err() {
                    return;
                }
                longest.fetch_max(began.elapsed().as_micros() as u64, Ordering::Relaxed);
            }
        });
        Ok(machine)
    }

    fn reset(&self) -> Duration {
        Duration::from_micros(self.longest.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Writers that try again, at one node after the other.
struct Writers {
    shared: Rc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Shared {
    stopped: Cell<bool>,
    done: Cell<u64>,
    tries: Cell<u64>,
    last: Cell<Instant>,
    gap: Cell<Duration>,
    longest: Cell<Duration>,
    wrong: RefCell<Option<String>>,
    /// How the write was served that ended the longest gap.
    told: RefCell<String>,
}

impl Writers {
    fn start(urls: &[String]) -> Result<Self, String> {
        let shared = Rc::new(Shared {
            stopped: Cell::new(false),
            done: Cell::new(0),
            tries: Cell::new(0),
            last: Cell::new(Instant::now()),
            gap: Cell::new(Duration::ZERO),
            longest: Cell::new(Duration::ZERO),
            wrong: RefCell::new(None),
            told: RefCell::default(),
        });
        let mut tasks = Vec::new();
        for n in 0..WRITERS {
            let clients = urls.iter().map(|url| client(url)).collect::<Result<Vec<_>, _>>()?;
            let shared = Rc::clone(&shared);
            tasks.push(tokio::task::spawn_local(async move { write(n, clients, &shared).await }));
        }
        Ok(Self { shared, tasks })
    }

    /// The longest gap since the last call.
    fn reset(&self) -> Duration {
        // A gap that goes on counts as far as it has come.
        self.shared.gap.replace(Duration::ZERO).max(self.shared.last.get().elapsed())
    }

    /// What the write that ended the longest gap since the last call says of itself.
    fn told(&self) -> String {
        self.shared.told.take()
    }

    fn healthy(&self) -> Result<(), String> {
        self.shared.wrong.take().map_or(Ok(()), Err)
    }

    /// Writes that were done, tries beyond their first, and how long the longest took with all its tries.
    async fn stop(self) -> Result<(u64, u64, Duration), String> {
        self.shared.stopped.set(true);
        for task in self.tasks {
            task.await.map_err(|e| e.to_string())?;
        }
        match self.shared.wrong.take() {
            Some(wrong) => Err(wrong),
            None => Ok((self.shared.done.get(), self.shared.tries.get(), self.shared.longest.get())),
        }
    }
}

async fn write(n: usize, mut clients: Vec<KvClient<Channel>>, shared: &Shared) {
    let mut at = n % clients.len();
    for value in 0_u64.. {
        if shared.stopped.get() {
            return;
        }
        let began = Instant::now();
        let headers = loop {
            let mut put = tonic::Request::new(pb::PutRequest {
                key: format!("handover/{n}").into(),
                value: value.to_string().into(),
                ..Default::default()
            });
            put.metadata_mut().insert("quorate-evidence", tonic::metadata::MetadataValue::from_static("1"));
            let why = match timeout(TRY, clients[at].put(put)).await {
                Ok(Ok(answer)) => break answer.metadata().clone(),
                Ok(Err(status)) => status.to_string(),
                Err(_) => "no answer".into(),
            };
            if began.elapsed() > WRITE {
                shared
                    .wrong
                    .borrow_mut()
                    .get_or_insert(format!("a write failed at every try for {WRITE:?}: {why}"));
                return;
            }
            shared.tries.set(shared.tries.get() + 1);
            at = (at + 1) % clients.len();
            sleep(REST).await;
        };
        let now = Instant::now();
        let gap = now - shared.last.replace(now);
        if gap > shared.gap.get() {
            shared.gap.set(gap);
            if gap > PROMISED {
                let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("?");
                let (took, node) = (now - began, of("quorate-node"));
                let (acks, micros) = (of("quorate-acks"), of("quorate-micros"));
                shared
                    .told
                    .replace(format!("a write by node {node} that took {took:?}: acks {acks}; {micros}"));
            }
        }
        shared.longest.set(shared.longest.get().max(now - began));
        shared.done.set(shared.done.get() + 1);
    }
}
