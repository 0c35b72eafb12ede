//! Tables at the end of a run: what each node has of them by itself.

use super::{ANSWER_PATIENCE, FINAL_PATIENCE, Scene};
use crate::catalog;
use crate::door::contents;
use crate::judge::{Finding, Verdict};
use std::time::Duration;
use tokio::time::{Instant, sleep};

impl Scene<'_> {
    /// Tables, as each node has them by itself.
    pub(super) async fn compare_tables(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for workload in self.plan.workloads.iter().filter(|name| catalog::is_of_tables(name)) {
            let (verdict, why) = match self.same_tables(workload).await {
                Ok(true) => (Verdict::Holds, "all nodes hold the same items".into()),
                Ok(false) => {
                    (Verdict::Violated, "nodes hold different items, long after the last write".into())
                }
                Err(why) => (Verdict::Unknown, why),
            };
            findings.push(Finding::new(workload, "replicas agree", verdict, why));
        }
        findings
    }

    /// A node may be a moment behind, or be started again; none stays so.
    async fn same_tables(&self, name: &str) -> Result<bool, String> {
        let end = Instant::now() + FINAL_PATIENCE;
        loop {
            let same = self.same_tables_now(name).await;
            if same == Ok(true) || Instant::now() > end {
                return same;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn same_tables_now(&self, name: &str) -> Result<bool, String> {
        let mut all = Vec::new();
        for place in &self.cluster.places {
            let found = contents(&place.tables_direct(), name, ANSWER_PATIENCE).await;
            all.push(found.map_err(|e| format!("node {}: {e}", place.id))?);
        }
        Ok(all.windows(2).all(|pair| pair[0] == pair[1]))
    }
}
