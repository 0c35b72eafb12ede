//! When all is healed and nobody writes any more, the nodes' own states are held against each other.

use super::{FINAL_PATIENCE, Scene};
use crate::judge::{Finding, Verdict};
use crate::target::{self, Target};
use std::time::Duration;
use tokio::time::{Instant, sleep};

impl Scene<'_> {
    /// The nodes' own states: at the same revision all must hold the same.
    pub(super) async fn compare(&self) -> Finding {
        self.phase("comparing");
        let (verdict, why) = match self.hashes().await {
            Ok((revision, hashes)) if hashes.windows(2).all(|pair| pair[0] == pair[1]) => {
                (Verdict::Holds, format!("{} nodes hold the same at revision {revision}", hashes.len()))
            }
            Ok((revision, hashes)) => {
                (Verdict::Violated, format!("at revision {revision} the nodes' hashes are {hashes:08x?}"))
            }
            Err(why) => (Verdict::Unknown, why),
        };
        Finding::new("run", "replicas agree", verdict, why)
    }

    /// A node may be a moment behind, or be started again; none stays so.
    async fn hashes(&self) -> Result<(i64, Vec<u32>), String> {
        let end = Instant::now() + FINAL_PATIENCE;
        loop {
            let why = match self.hashes_now().await {
                Ok(hashes) => return Ok(hashes),
                Err(why) => why,
            };
            if Instant::now() > end {
                return Err(why);
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn hashes_now(&self) -> Result<(i64, Vec<u32>), String> {
        let mut revisions = Vec::new();
        for place in &self.cluster.places {
            let status = target::status(&place.direct()).await;
            revisions.push(status.map_err(|e| format!("node {}: {e}", place.id))?.revision);
        }
        let equal = revisions.windows(2).all(|pair| pair[0] == pair[1]);
        // Into a system of others others may write: there the last revision that all have is looked at.
        let Some(&least) = revisions.iter().min().filter(|_| equal || self.cluster.target == Target::Running)
        else {
            return Err(format!("the nodes stay at different revisions: {revisions:?}"));
        };
        let mut hashes = Vec::new();
        for place in &self.cluster.places {
            let hash = target::hash(&place.direct(), least).await;
            hashes.push(hash.map_err(|e| format!("node {}: {e}", place.id))?);
        }
        Ok((least, hashes))
    }
}
