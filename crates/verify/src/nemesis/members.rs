//! Members that go and come.

use super::{Effect, Stage};
use crate::target;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A change may have to be asked for again for so long: while another one is on its way it is refused.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a change is refused that is done already; etcd's texts.
const DONE: [&str; 4] = [
    "member not found",
    "Peer URLs already exists",
    "already removed from cluster",
    "can only promote a learner member",
];

/// A member is removed; in its place, with nothing of what it held, a new one is added, which gets all from the others: in
/// half of the cases as a learner that is promoted by a request of its own.
pub(super) async fn replace(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let (claim, who) = stage.claim().await;
    let victim = claim.at;
    stage.whole(victim).await?;
    let learner = stage.rng.chance(1, 2);
    let how = if learner { ", by a learner that is promoted" } else { "" };
    let what = format!("{who}{how}");
    let place = stage.cluster.places[victim].clone();
    let old = stage.says_its_id(victim).await?;
    stage.note("remove", &what);
    stage.change(victim, |url| async move { target::remove_member(&url, old).await }).await?;
    stage.hold(200, 3000).await;
    // What was removed stops by itself, or is of no use any more.
    stage.cluster.kill(victim).await?;
    std::fs::remove_dir_all(&place.data).map_err(|e| format!("{}: {e}", place.data.display()))?;
    stage.note("add", &what);
    let peer = place.peer_url();
    stage
        .change(victim, |url| {
            let peer = peer.clone();
            async move { target::add_member(&url, &peer, learner).await }
        })
        .await?;
    stage.cluster.places[victim].joins.set(true);
    stage.cluster.start(victim)?;
    if learner {
        let id = stage.says_its_id(victim).await?;
        stage.note("promote", &what);
        stage.change(victim, |url| async move { target::promote_member(&url, id).await }).await?;
    }
    stage.whole(victim).await?;
    let new = stage.says_its_id(victim).await?;
    stage.note("joined", &what);
    let replaced = u64::from(new != old);
    Ok((what, Effect::new(replaced, format!("member {old:x} went, member {new:x} came and serves"))))
}

impl Stage<'_> {
    /// The id of a node, which may be just starting, or slow after what was done to it; a learner tells it, too.
    async fn says_its_id(&self, at: usize) -> Result<u64, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let why = match target::status(&self.cluster.places[at].direct()).await {
                Ok(status) if status.id != 0 => return Ok(status.id),
                Ok(_) => "it has no id yet".to_string(),
                Err(why) => why,
            };
            if Instant::now() > end {
                return Err(format!(
                    "node {} does not say who it is: {why}{}",
                    at + 1,
                    self.cluster.tail(at)
                ));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks the other nodes in turn for a change, until one says that it is done (also: that it was).
    async fn change<F>(&self, but: usize, ask: impl Fn(String) -> F) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>>,
    {
        let end = Instant::now() + PATIENCE;
        let urls: Vec<String> = self
            .cluster
            .places
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != but)
            .map(|(_, p)| p.direct())
            .collect();
        let mut tries = 0;
        loop {
            let why = match ask(urls[tries % urls.len()].clone()).await {
                Ok(()) => return Ok(()),
                // An earlier try, whose answer was lost, has done it.
                Err(why) if tries > 0 && DONE.iter().any(|done| why.ends_with(done)) => return Ok(()),
                Err(why) => why,
            };
            if Instant::now() > end {
                return Err(format!("the members cannot be changed: {why}"));
            }
            tries += 1;
            sleep(Duration::from_millis(200)).await;
        }
    }
}
