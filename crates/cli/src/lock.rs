//! `quorate lock NAME -- command`: runs a command while this program holds a lock.
//!
//! The command is ended, first asked (TERM) and then forced (KILL), before the lease can have ended: time counts from when
//! the last confirmed keep-alive was *sent*. That is no proof, since this program may be paused together with it; the token in
//! the command's environment is, where the command shows it with its writes.

use crate::fence::metadata;
use crate::kv::problem;
use crate::probe::{endpoint, time};
use crate::report::{Exit, Problem};
use quorate_client::{Client, ClientError};
use quorate_proto::{etcdserverpb as pb, v3lockpb};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

const EXAMPLES: &str = "\
The command finds in its environment:
  QUORATE_FENCE           NAME=TOKEN, as `quorate kv put --fence` takes it
  QUORATE_FENCE_METADATA  the same as the gRPC metadata `quorate-fence` takes it, the name percent-encoded
  QUORATE_TOKEN           the token alone: the revision that created the lock's key

Examples:
  quorate lock nightly -- ./report.sh
  quorate lock nightly -- sh -c 'quorate kv put report done --fence \"$QUORATE_FENCE\"'

The exit code is the command's; 128 and the signal's number where one ended it; 1 where the lock was not got or was lost.";

/// Run a command while holding a lock
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The lock
    name: String,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
    /// Where the cluster is
    #[arg(
        long,
        value_name = "URL[,URL...]",
        value_delimiter = ',',
        value_parser = endpoint,
        default_value = "http://127.0.0.1:2379"
    )]
    endpoints: Vec<String>,
    /// How long the lock outlives this program, should it be cut off
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "10s")]
    ttl: Duration,
}

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the command; ends the program with its exit code.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    // So that a name that no token can be shown for is refused before anything is locked.
    metadata(&format!("{}=1", args.name)).map_err(|e| Problem::new(Exit::Usage, e, "choose another name"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::new(Exit::Failed, format!("the runtime did not start: {e}"), ""))?;
    let status = runtime.block_on(hold(args))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    std::process::exit(code)
}

async fn hold(args: &Args) -> Result<ExitStatus, Problem> {
    let failed = |status| problem(&ClientError::Status(status));
    let client = Client::connect(&args.endpoints, 1, PATIENCE).await.map_err(|e| problem(&e))?;
    let asked = Instant::now();
    let ttl = (args.ttl.as_secs() as i64).max(1);
    let request = pb::LeaseGrantRequest { ttl, id: 0 };
    let mut leases = pb::lease_client::LeaseClient::new(client.channel(0));
    let granted = leases.lease_grant(request).await.map_err(failed)?.into_inner();
    let ttl = Duration::from_secs(granted.ttl.unsigned_abs());
    let (tell, ends) = watch::channel(asked + ttl);
    let keeper = tokio::spawn(keep(args.endpoints.clone(), granted.id, ttl, tell));
    let done = held(args, &client, granted.id, ttl, ends).await;
    keeper.abort();
    // The lock goes with its lease; where this fails, the lease ends by itself.
    let _ = timeout(PATIENCE, leases.lease_revoke(pb::LeaseRevokeRequest { id: granted.id })).await;
    done
}

/// Waits for the lock and runs the command under it.
async fn held(
    args: &Args,
    client: &Client,
    lease: i64,
    ttl: Duration,
    ends: watch::Receiver<Instant>,
) -> Result<ExitStatus, Problem> {
    let failed = |status| problem(&ClientError::Status(status));
    let mut locks = v3lockpb::lock_client::LockClient::new(client.channel(0));
    let request = v3lockpb::LockRequest { name: args.name.clone().into(), lease };
    let key = tokio::select! {
        locked = locks.lock(request) => locked.map_err(failed)?.into_inner().key,
        () = ended(ends.clone(), Duration::ZERO) => return Err(lost("before the lock was got")),
    };
    let request = pb::RangeRequest { key, ..pb::RangeRequest::default() };
    let found = client.range(request).await.map_err(|e| problem(&e))?;
    let token = found.kvs.first().map(|kv| kv.create_revision);
    let token = token.ok_or_else(|| lost("before the command began"))?;
    let fence = format!("{}={token}", args.name);
    let mut child = Command::new(&args.command[0])
        .args(&args.command[1..])
        .env("QUORATE_TOKEN", token.to_string())
        .env("QUORATE_FENCE_METADATA", metadata(&fence).unwrap_or_default())
        .env("QUORATE_FENCE", fence)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Problem::new(Exit::Failed, format!("cannot run {:?}: {e}", args.command[0]), ""))?;
    let mut term = signal(SignalKind::terminate())
        .map_err(|e| Problem::new(Exit::Failed, format!("cannot handle signals: {e}"), ""))?;
    // A fifth of the time is the command's to end in.
    let grace = ttl / 5;
    loop {
        tokio::select! {
            status = child.wait() => {
                return status.map_err(|e| Problem::new(Exit::Failed, format!("the command is lost: {e}"), ""));
            }
            _ = term.recv() => ask_to_end(&child),
            () = ended(ends.clone(), grace) => {
                ask_to_end(&child);
                if timeout(grace, child.wait()).await.is_err() {
                    let _ = child.kill().await;
                }
                return Err(lost("while the command ran, which was ended"));
            }
        }
    }
}

fn lost(when: &str) -> Problem {
    Problem::new(
        Exit::Failed,
        format!("the lock's lease was lost {when}"),
        "`quorate status` shows how the cluster is; --ttl gives it more time to recover",
    )
}

fn ask_to_end(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Completes `before` the lease can have ended, if it is not prolonged.
async fn ended(mut ends: watch::Receiver<Instant>, before: Duration) {
    loop {
        let at = *ends.borrow_and_update();
        tokio::select! {
            () = sleep_until(at - before) => return,
            changed = ends.changed() => if changed.is_err() { return sleep_until(at - before).await },
        }
    }
}

/// Keeps the lease alive through whichever endpoint answers; `tell` hears until when it lives at least.
async fn keep(endpoints: Vec<String>, lease: i64, ttl: Duration, tell: watch::Sender<Instant>) {
    loop {
        for url in &endpoints {
            if !keep_through(url, lease, ttl, &tell).await {
                tell.send_replace(Instant::now());
                return;
            }
        }
        sleep(ttl / 20).await;
    }
}

/// False if the lease is gone; true if the endpoint is.
async fn keep_through(url: &str, lease: i64, ttl: Duration, tell: &watch::Sender<Instant>) -> bool {
    let Ok(client) = Client::connect(&[url.to_string()], 1, ttl / 4).await else { return true };
    let mut leases = pb::lease_client::LeaseClient::new(client.channel(0));
    let (ask, asked) = tokio::sync::mpsc::channel(1);
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let Ok(Ok(answers)) = timeout(ttl / 4, leases.lease_keep_alive(asked)).await else { return true };
    let mut answers = answers.into_inner();
    loop {
        let sent = Instant::now();
        if ask.send(pb::LeaseKeepAliveRequest { id: lease }).await.is_err() {
            return true;
        }
        match timeout(ttl / 4, answers.message()).await {
            Ok(Ok(Some(answer))) if answer.ttl > 0 => tell.send_replace(sent + ttl),
            Ok(Ok(Some(_))) => return false,
            _ => return true,
        };
        sleep(ttl / 3).await;
    }
}
