//! Which of several endpoints to use.
//!
//! A node that is stopped, or cut off from the others, still takes connections: its kernel does. So each of several endpoints is
//! asked how it stands before any is used, all at once, and those that serve are preferred to those that only answer, and
//! those to the silent.

use crate::{ClientError, broke, endpoint, root_cause};
use quorate_proto::etcdserverpb as pb;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;

/// How long a node may take to say how it stands.
const ASKED: Duration = Duration::from_secs(1);
/// How much longer than the first one the others may take, at least.
const GRACE: Duration = Duration::from_millis(250);
/// A node that has so many entries of its log still to apply would let its clients wait for them.
const BEHIND: u64 = 1_000;

/// How an endpoint stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Standing {
    /// It takes connections.
    Silent,
    /// It answers, and may not be able to do more.
    Answers,
    /// It knows a leader, and has applied what it knows of.
    Serves,
}

/// Connections to the best of the endpoints, with their numbers, in order. One endpoint is not asked.
pub(crate) async fn best(
    endpoints: &[String],
    patience: Duration,
) -> Result<Vec<(usize, Channel)>, ClientError> {
    let alone = endpoints.len() == 1;
    let mut asked = JoinSet::new();
    for (at, url) in endpoints.iter().enumerate() {
        let (made, url) = (endpoint(url, patience)?, url.clone());
        asked.spawn(async move {
            let channel = made.connect().await.map_err(|error| format!("{url}: {}", root_cause(&error)))?;
            let standing = if alone { Standing::Serves } else { standing(channel.clone()).await };
            Ok((at, channel, standing))
        });
    }
    let mut reason = "no endpoint was given".to_string();
    let (began, mut met) = (Instant::now(), Vec::new());
    let mut end = None;
    while let Some(joined) = next(&mut asked, end).await {
        match joined {
            Ok((at, channel, standing)) => {
                if standing == Standing::Serves && end.is_none() {
                    end = Some(Instant::now() + GRACE.max(4 * began.elapsed()));
                }
                met.push((at, channel, standing));
            }
            Err(why) => reason = why,
        }
    }
    let Some(best) = met.iter().map(|(_, _, standing)| *standing).max() else {
        return Err(ClientError::Unreachable(reason));
    };
    met.retain(|(_, _, standing)| *standing == best);
    met.sort_by_key(|(at, _, _)| *at);
    Ok(met.into_iter().map(|(at, channel, _)| (at, channel)).collect())
}

type Met = Result<(usize, Channel, Standing), String>;

/// The next one that is known; nothing once all are, or at the end.
async fn next(asked: &mut JoinSet<Met>, end: Option<Instant>) -> Option<Met> {
    let joined = match end {
        Some(end) => tokio::time::timeout_at(end.into(), asked.join_next()).await.ok()??,
        None => asked.join_next().await?,
    };
    Some(joined.unwrap_or_else(|error| Err(error.to_string())))
}

async fn standing(channel: Channel) -> Standing {
    let mut maintenance = pb::maintenance_client::MaintenanceClient::new(channel);
    let asked = maintenance.status(pb::StatusRequest::default());
    match tokio::time::timeout(ASKED, asked).await {
        Err(_) => Standing::Silent,
        Ok(Err(status)) if status.code() == Code::Unavailable || broke(&status).is_some() => Standing::Silent,
        // Who may not ask is answered by one who serves, for all that is known.
        Ok(Err(_)) => Standing::Serves,
        Ok(Ok(reply)) => {
            let status = reply.into_inner();
            // A release of etcd that tells no applied index is taken as it is.
            let applied = status.raft_applied_index;
            let behind = applied > 0 && status.raft_index.saturating_sub(applied) > BEHIND;
            if status.leader == 0 || behind { Standing::Answers } else { Standing::Serves }
        }
    }
}
