//! `quorate lock` and `quorate elect`: a command that runs while this program holds a name.
//!
//! 1. A lease is granted, and kept alive through whichever node answers (`lease.rs`).
//! 2. The name is taken under it. Where the asked node goes away meanwhile all of it is begun anew through the next one, with
//!    another lease: the old one's place in line is given up by that node, sooner or later.
//! 3. The name's fence is raised to the token, the revision that created the holder's key, by a read that shows it. From then on
//!    no older holder's write that shows its token is done, though the new holder has written nothing yet.
//! 4. The command runs (`child.rs`), and is ended, first asked (TERM) and then forced (KILL), before the lease can have ended:
//!    time counts from when the last confirmed keep-alive was *sent*. It is ended, too, where somebody has deleted the key.
//! 5. Where this program is killed itself, its guardian ends the command in its place (`guardian.rs`).
//!
//! That the command is ended is no proof, since this program may be paused together with it; the token is, where the command
//! shows it with its writes.

mod child;
pub(crate) mod guardian;
mod lease;

use crate::fence::metadata;
use crate::kv::read_problem;
use crate::probe::{Cluster, time, time_or_none};
use crate::report::{Exit, Problem};
use bytes::Bytes;
use child::Signals;
use lease::Lease;
use quorate_client::{Client, ClientError, broke};
use quorate_proto::{etcdserverpb as pb, v3electionpb, v3lockpb};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

const LOCK_EXAMPLES: &str = "\
The command finds in its environment:
  QUORATE_FENCE           NAME=TOKEN, as `quorate kv put --fence` takes it
  QUORATE_FENCE_METADATA  the same as the gRPC metadata `quorate-fence` takes it, the name percent-encoded
  QUORATE_TOKEN           the token alone: the revision that created the lock's key

The name's fence is raised to the token before the command begins: an older holder's requests that show its token are refused.
It stays when the lock is given back, since a paused holder may wake up at any time: a name costs one of the 10,000 fences for
good, until `quorate fence drop NAME`. Use few names again and again, not a new one each time.
Without a terminal the command leads a process group of its own, which gets the signals TERM, INT, HUP, QUIT, USR1 and USR2
that this program gets. Should this program be killed (kill -9), a guardian asks the command to end (TERM), and forces what is left
of it (KILL) after a fifth of --ttl; the lock stays taken until --ttl is over.
While the cluster has no leader this program goes on trying, and says so once.

Examples:
  quorate lock nightly -- ./report.sh
  quorate lock nightly --wait 0s -- ./report.sh          give up after a second where somebody holds it
  quorate lock nightly -- sh -c 'quorate kv put report done --fence \"$QUORATE_FENCE\"'

Exit codes are the command's; 128 and the signal's number where a signal ended it, or ended the wait; and
  2    the command line makes no sense
  124  the lock was lost while the command ran, which was ended
  125  the lock was not got
  126  the command cannot be run
  127  there is no such command";

const ELECT_EXAMPLES: &str = "\
The command finds in its environment what `quorate lock` gives it (QUORATE_FENCE, QUORATE_FENCE_METADATA, QUORATE_TOKEN), and its
signals and exit codes are as there.

Examples:
  quorate elect scheduler -- ./schedule.sh
  quorate elect scheduler --value \"$(hostname):8080\" -- ./schedule.sh
  etcdctl elect --listen scheduler                       who leads";

/// Run a command while holding a lock
#[derive(clap::Args, Debug)]
#[command(after_help = LOCK_EXAMPLES)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    common: Common,
}

/// Run a command while being the leader
#[derive(clap::Args, Debug)]
#[command(after_help = ELECT_EXAMPLES)]
pub(crate) struct ElectArgs {
    #[command(flatten)]
    common: Common,
    /// What those who ask for the leader read; by default the host's name and the process's number
    #[arg(long, value_name = "TEXT")]
    value: Option<String>,
}

#[derive(clap::Args, Debug)]
struct Common {
    /// The name; a lock and an election of one name are the same
    name: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
    #[command(flatten)]
    cluster: Cluster,
    /// How long the name stays taken should this program be cut off
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10s", allow_hyphen_values = true)]
    ttl: Duration,
    /// Give up after waiting so long, a second at least; without it this program waits for ever, also for a leader of the cluster
    #[arg(long, value_name = "TIME", value_parser = time_or_none, allow_hyphen_values = true)]
    wait: Option<Duration>,
}

/// What is taken.
enum Aim {
    Lock,
    /// With the value that others read.
    Leadership(String),
}

/// A name that is held.
struct Held {
    client: Client,
    key: Bytes,
    token: i64,
}

/// Why an attempt to take the name came to nothing.
enum Failed {
    /// Another node may do better.
    Passing(String),
    /// There was no node that could be asked: as `Passing`, but for ever so where it is the wrong place.
    Nobody(Problem),
    Final(Problem),
}

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// A name that nobody holds is got in less.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs a command under a lock; ends the program with its exit code.
pub(crate) fn lock(args: &LockArgs) -> Result<(), Problem> {
    run(&args.common, &Aim::Lock)
}

/// Runs a command under a leadership; ends the program with its exit code.
pub(crate) fn elect(args: &ElectArgs) -> Result<(), Problem> {
    let own = || format!("{}:{}", rustix::system::uname().nodename().to_string_lossy(), std::process::id());
    run(&args.common, &Aim::Leadership(args.value.clone().unwrap_or_else(own)))
}

fn run(args: &Common, aim: &Aim) -> Result<(), Problem> {
    // So that a name that no token can be shown for is refused before anything is taken.
    metadata(&format!("{}=1", args.name)).map_err(|e| Problem::new(Exit::Usage, e, "choose another name"))?;
    let runtime = crate::runtime().map_err(|problem| Problem { exit: Exit::NotHeld, ..problem })?;
    let code = runtime.block_on(async {
        let mut session = Session { args, aim, lease: None };
        let done = session.hold().await;
        // The name goes with its lease; where this fails, the lease ends by itself.
        session.end().await;
        done
    })?;
    std::process::exit(code)
}

struct Session<'a> {
    args: &'a Common,
    aim: &'a Aim,
    lease: Option<Lease>,
}

impl Session<'_> {
    /// Takes the name and runs the command under it: the exit code.
    async fn hold(&mut self) -> Result<i32, Problem> {
        let mut signals = Signals::listen()?;
        let wait = self.args.wait;
        let held = tokio::select! {
            held = self.take() => held?,
            signal = signals.next() => return Ok(128 + signal.as_raw()),
            () = sleep(wait.unwrap_or_default().max(WAIT_MIN)), if wait.is_some() => {
                return Err(self.not_got().await);
            }
        };
        let Some(lease) = &self.lease else { return Err(lost("before the command began", Exit::NotHeld)) };
        let Held { client, key, token } = held;
        let fence = format!("{}={token}", self.args.name);
        let environment = [
            ("QUORATE_TOKEN", token.to_string()),
            ("QUORATE_FENCE_METADATA", metadata(&fence).unwrap_or_default()),
            ("QUORATE_FENCE", fence),
        ];
        let ended = async {
            tokio::select! {
                () = lease.over(lease.grace()) => {}
                () = deleted(&client, &key, token, lease.pulse()) => {}
            }
        };
        let run = child::run(&self.args.command, environment, &mut signals, ended, lease.grace());
        run.await?.ok_or_else(|| lost("while the command ran, which was ended", Exit::Lost))
    }

    /// Takes the name, through one node or another. An error comes where it is refused, or where none of the nodes answers the
    /// first time; after that, what passes is waited for.
    async fn take(&mut self) -> Result<Held, Problem> {
        let (nodes, name) = (self.args.cluster.endpoints.len(), &self.args.name);
        let (mut at, mut answered, mut told) = (0, false, false);
        loop {
            self.end().await;
            let tried = self.attempt(at % nodes).await;
            at += 1;
            let granted = self.lease.is_some();
            answered |= granted;
            let why = match tried {
                Ok(held) => return Ok(held),
                Err(Failed::Final(problem)) => return Err(problem),
                Err(Failed::Nobody(problem)) if !answered && at >= nodes => return Err(problem),
                Err(Failed::Nobody(problem)) => problem.message,
                Err(Failed::Passing(why)) => {
                    answered = true;
                    why
                }
            };
            if granted {
                told = false;
                eprintln!("waiting again for {name:?}, through another node: {why}");
            } else if answered && !std::mem::replace(&mut told, true) {
                eprintln!("waiting for {name:?} until the cluster has a leader: {why}");
            }
            sleep(PAUSE).await;
        }
    }

    /// Why the name was not got in time, as far as the cluster can say who holds it.
    async fn not_got(&self) -> Problem {
        let Common { name, cluster: Cluster { endpoints }, .. } = self.args;
        let own = self.lease.as_ref().map(|lease| lease.id);
        let first = async {
            own?;
            let client = Client::connect(endpoints, 1, WAIT_MIN).await.ok()?;
            first_in_line(&client, name).await.ok()
        };
        let (why, hint) = match timeout(WAIT_MIN, first).await.ok().flatten() {
            Some(first) if first.is_some() && first != own => {
                ("another holds it", "--wait TIME waits longer; without it, for ever")
            }
            Some(_) => (
                "nobody else holds it, but the answer was late",
                "--wait TIME waits longer; without it, for ever",
            ),
            None => (
                "the cluster did not answer, as where it has no leader; whether somebody holds it is not known",
                "`quorate status` shows how the cluster is; --wait TIME waits longer; without it, for ever",
            ),
        };
        Problem::new(Exit::NotHeld, format!("{name:?} was not got in time: {why}"), hint)
    }

    async fn attempt(&mut self, at: usize) -> Result<Held, Failed> {
        let args = self.args;
        let mut endpoints = args.cluster.endpoints.clone();
        endpoints.rotate_left(at);
        let judged = |error: ClientError| judged(&error, &args.cluster.endpoints);
        let client = Client::connect(&endpoints, 1, PATIENCE).await.map_err(judged)?;
        let lease = Lease::grant(&client, endpoints, args.ttl).await.map_err(judged)?;
        let lease = self.lease.insert(lease);
        let held = tokio::select! {
            held = taken(client, args, self.aim, lease.id) => held?,
            () = lease.over(Duration::ZERO) => return Err(Failed::Passing("the lease was lost".into())),
        };
        Ok(held)
    }

    /// Gives up the lease, if there is one, and with it the name.
    async fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            let _ = timeout(PATIENCE, lease.revoke()).await;
        }
    }
}

/// Waits for the name, and raises its fence.
async fn taken(client: Client, args: &Common, aim: &Aim, lease: i64) -> Result<Held, Failed> {
    let name = &args.name;
    let judged = |error: ClientError| judged(&error, &args.cluster.endpoints);
    let of_status = |status| judged(ClientError::Status(status));
    let key = match aim {
        Aim::Lock => {
            let request = v3lockpb::LockRequest { name: name.clone().into(), lease };
            let mut locks = v3lockpb::lock_client::LockClient::new(client.channel(0));
            locks.lock(patient(request)).await.map_err(of_status)?.into_inner().key
        }
        Aim::Leadership(value) => {
            let (name, value) = (name.clone().into(), value.clone().into());
            let request = v3electionpb::CampaignRequest { name, lease, value };
            let mut elections = v3electionpb::election_client::ElectionClient::new(client.channel(0));
            let leader = elections.campaign(patient(request)).await.map_err(of_status)?.into_inner().leader;
            leader.map(|leader| leader.key).unwrap_or_default()
        }
    };
    let gone = || Failed::Passing("what was got is gone again".into());
    let token = created(&client, &key).await.map_err(judged)?.ok_or_else(gone)?;
    let fence = metadata(&format!("{name}={token}")).unwrap_or_default();
    // A node that knows nothing of fences passes over it.
    let shown = client.fenced(&fence).map_err(judged)?;
    match created(&shown, &key).await {
        Ok(still) if still == Some(token) => Ok(Held { client, key, token }),
        Ok(_) => Err(gone()),
        Err(ClientError::Status(status)) if status.message().starts_with("quorate: fenced") => {
            let hint = format!(
                "somebody shows other tokens for this name, or the cluster was restored from a snapshot; where no old \
                 holder is left, `quorate fence drop {name}` forgets what was shown"
            );
            Err(Failed::Final(Problem::new(Exit::NotHeld, status.message(), hint)))
        }
        Err(error) => Err(judged(error)),
    }
}

/// A request that is given up by its node where that has no leader: it would hear of nothing.
fn patient<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

/// The revision that created a key, if it is there.
async fn created(client: &Client, key: &Bytes) -> Result<Option<i64>, ClientError> {
    let request = pb::RangeRequest { key: key.clone(), keys_only: true, ..pb::RangeRequest::default() };
    match timeout(PATIENCE, client.range(request)).await {
        Ok(reply) => Ok(reply?.kvs.first().map(|kv| kv.create_revision)),
        Err(_) => Err(ClientError::Status(Status::unavailable("no answer to a read"))),
    }
}

/// The lease of whoever stands first in the line for a name, if anybody does.
async fn first_in_line(client: &Client, name: &str) -> Result<Option<i64>, ClientError> {
    // The byte behind the slash that ends the name's part of a key.
    let (key, range_end) = (format!("{name}/").into(), format!("{name}0").into());
    let (target, order) = (pb::range_request::SortTarget::Create, pb::range_request::SortOrder::Ascend);
    let request = pb::RangeRequest {
        key,
        range_end,
        keys_only: true,
        limit: 1,
        sort_target: target.into(),
        sort_order: order.into(),
        ..pb::RangeRequest::default()
    };
    client.range(request).await.map(|reply| reply.kvs.first().map(|kv| kv.lease))
}

/// Completes once somebody has deleted the key.
async fn deleted(client: &Client, key: &Bytes, token: i64, pulse: Duration) {
    loop {
        sleep(pulse).await;
        let since = Instant::now();
        if created(client, key).await.is_ok_and(|found| found != Some(token)) {
            return;
        }
        sleep(pulse.saturating_sub(since.elapsed())).await;
    }
}

/// Whether another node may do better: not where the request itself is refused. That no leader took a request, or that its answer
/// did not come, passes: a lease of which nothing was heard ends by itself, and a place in line goes with its lease.
fn judged(error: &ClientError, endpoints: &[String]) -> Failed {
    let refused = match error {
        ClientError::Address(_) => true,
        ClientError::Unreachable(_) => {
            let hint = "is the cluster up? `quorate status` shows how it is; --endpoints says where";
            return Failed::Nobody(Problem::new(Exit::NotHeld, error.to_string(), hint));
        }
        ClientError::Status(status) if broke(status).is_some() => {
            return Failed::Nobody(Problem { exit: Exit::NotHeld, ..read_problem(error, endpoints) });
        }
        ClientError::Status(status) => matches!(
            status.code(),
            Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::ResourceExhausted
                | Code::Unimplemented
                | Code::OutOfRange
                | Code::PermissionDenied
                | Code::Unauthenticated
        ),
    };
    if refused {
        Failed::Final(Problem { exit: Exit::NotHeld, ..read_problem(error, endpoints) })
    } else {
        Failed::Passing(error.to_string())
    }
}

fn lost(when: &str, exit: Exit) -> Problem {
    Problem::new(
        exit,
        format!("the lease was lost {when}"),
        "`quorate status` shows how the cluster is; --ttl gives it more time to recover",
    )
}
