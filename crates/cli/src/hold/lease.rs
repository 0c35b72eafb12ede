//! A lease that is kept alive, and until when it lives at least.

use quorate_client::{Client, ClientError};
use quorate_proto::etcdserverpb as pb;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Status;

/// A lease of this program; the keeping ends with the value.
pub(super) struct Lease {
    /// Its number.
    pub(super) id: i64,
    ttl: Duration,
    /// Until when it lives at least.
    ends: watch::Receiver<Instant>,
    keeper: JoinHandle<()>,
    endpoints: Vec<String>,
}

/// How long one node may take to grant it.
const PATIENCE: Duration = Duration::from_secs(8);

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Lease {
    /// A new one, granted through the first connection of `client`.
    pub(super) async fn grant(
        client: &Client,
        endpoints: Vec<String>,
        ttl: Duration,
    ) -> Result<Self, ClientError> {
        let asked = Instant::now();
        let request = pb::LeaseGrantRequest { ttl: (ttl.as_secs() as i64).max(1), id: 0 };
        let mut leases = pb::lease_client::LeaseClient::new(client.channel(0));
        let granted = timeout(PATIENCE, leases.lease_grant(request)).await;
        let granted =
            granted.unwrap_or_else(|_| Err(Status::unavailable("no answer to the grant of a lease")));
        let granted = granted.map_err(ClientError::Status)?.into_inner();
        let ttl = Duration::from_secs(granted.ttl.unsigned_abs());
        let (tell, ends) = watch::channel(asked + ttl);
        let keeper = tokio::spawn(keep(endpoints.clone(), granted.id, ttl, tell));
        Ok(Self { id: granted.id, ttl, ends, keeper, endpoints })
    }

    /// How long before its end a command is asked to end.
    pub(super) fn grace(&self) -> Duration {
        self.ttl / 5
    }

    /// How often to look whether all is as it was.
    pub(super) fn pulse(&self) -> Duration {
        self.ttl / 6
    }

    /// Completes `before` it can have ended, if it is not prolonged.
    pub(super) async fn over(&self, before: Duration) {
        let mut ends = self.ends.clone();
        loop {
            let at = *ends.borrow_and_update();
            tokio::select! {
                () = sleep_until(at - before) => return,
                changed = ends.changed() => if changed.is_err() { return sleep_until(at - before).await },
            }
        }
    }

    /// Gives it up, through whichever node answers.
    pub(super) async fn revoke(self) {
        for url in &self.endpoints {
            let Ok(client) = Client::connect(std::slice::from_ref(url), 1, self.ttl / 8).await else {
                continue;
            };
            let mut leases = pb::lease_client::LeaseClient::new(client.channel(0));
            let request = pb::LeaseRevokeRequest { id: self.id };
            match timeout(self.ttl / 4, leases.lease_revoke(request)).await {
                Ok(Err(status)) if status.code() != tonic::Code::NotFound => {}
                Ok(_) => return,
                Err(_) => {}
            }
        }
    }
}

/// Keeps a lease alive through whichever endpoint answers; `tell` hears until when it lives at least.
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

/// False if the lease is gone; true if the endpoint is. The times leave room for two endpoints that are silent.
async fn keep_through(url: &str, lease: i64, ttl: Duration, tell: &watch::Sender<Instant>) -> bool {
    let patience = ttl / 8;
    let Ok(client) = Client::connect(&[url.to_string()], 1, patience).await else { return true };
    let mut leases = pb::lease_client::LeaseClient::new(client.channel(0));
    let (ask, asked) = tokio::sync::mpsc::channel(1);
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut sent = Instant::now();
    // The first one goes before the reply begins: a node may have nothing to say until it is asked.
    if ask.send(pb::LeaseKeepAliveRequest { id: lease }).await.is_err() {
        return true;
    }
    let Ok(Ok(answers)) = timeout(patience, leases.lease_keep_alive(asked)).await else { return true };
    let mut answers = answers.into_inner();
    loop {
        match timeout(patience, answers.message()).await {
            Ok(Ok(Some(answer))) if answer.ttl > 0 => tell.send_replace(sent + ttl),
            Ok(Ok(Some(_))) => return false,
            _ => return true,
        };
        sleep(ttl / 5).await;
        sent = Instant::now();
        if ask.send(pb::LeaseKeepAliveRequest { id: lease }).await.is_err() {
            return true;
        }
    }
}
