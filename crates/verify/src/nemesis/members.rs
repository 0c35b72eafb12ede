//! Members that go and come.

use super::{Effect, Stage};
use crate::target;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A change may have to be asked for again for so long: while another one is on its way it is refused.
const PATIENCE: Duration = Duration::from_secs(60);

/// A member is removed; in its place, with nothing of what it held, a new one is added, which gets all from the others.
pub(super) async fn replace(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let (claim, what) = stage.claim().await;
    let victim = claim.at;
    stage.whole(victim).await?;
    let place = stage.cluster.places[victim].clone();
    let old = target::status(&place.direct()).await?.id;
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
            async move { target::add_member(&url, &peer).await }
        })
        .await?;
    stage.cluster.places[victim].joins.set(true);
    stage.cluster.start(victim)?;
    stage.whole(victim).await?;
    let new = target::status(&place.direct()).await?.id;
    stage.note("joined", &what);
    let replaced = u64::from(new != old);
    Ok((what, Effect::new(replaced, format!("member {old:x} went, member {new:x} came and serves"))))
}

impl Stage<'_> {
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
                Err(why) if tries > 0 && (why.contains("not found") || why.contains("already")) => {
                    return Ok(());
                }
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
