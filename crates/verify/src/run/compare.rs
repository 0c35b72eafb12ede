//! When all is healed and nobody writes any more, the nodes' own states are held against each other.

use super::{FINAL_PATIENCE, Scene};
use crate::judge::Verdict;
use crate::target::{self, Target};
use std::time::Duration;
use tokio::time::{Instant, sleep};

impl Scene<'_> {
    /// The nodes' own states: at the same revision all must hold the same.
    pub(super) async fn compare(&mut self) {
        self.phase("comparing");
        match self.hashes().await {
            Ok((revision, hashes)) if hashes.windows(2).all(|pair| pair[0] == pair[1]) => {
                let why = format!("{} nodes hold the same at revision {revision}", hashes.len());
                self.finding("replicas agree", Verdict::Holds, why);
            }
            Ok((revision, hashes)) => {
                let why = format!("at revision {revision} the nodes' hashes are {hashes:08x?}");
                self.finding("replicas agree", Verdict::Violated, why);
            }
            Err(why) => self.finding("replicas agree", Verdict::Unknown, why),
        }
    }

    async fn hashes(&self) -> Result<(i64, Vec<u32>), String> {
        let end = Instant::now() + FINAL_PATIENCE;
        loop {
            let mut revisions = Vec::new();
            for place in &self.cluster.places {
                revisions.push(
                    target::status(&place.direct())
                        .await
                        .map_err(|e| format!("node {}: {e}", place.id))?
                        .revision,
                );
            }
            let equal = revisions.windows(2).all(|pair| pair[0] == pair[1]);
            // Into a system of others others may write: there the last revision that all have is looked at.
            if let Some(&least) = revisions.iter().min()
                && (equal || self.cluster.target == Target::Running)
            {
                let mut hashes = Vec::new();
                for place in &self.cluster.places {
                    let hash = target::hash(&place.direct(), least).await;
                    hashes.push(hash.map_err(|e| format!("node {}: {e}", place.id))?);
                }
                return Ok((least, hashes));
            }
            if Instant::now() > end {
                return Err(format!("the nodes stay at different revisions: {revisions:?}"));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}
