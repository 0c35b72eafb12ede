//! `quorate bench` against real nodes: what it says is what was done.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it should be")]

use crate::common::{Up, output};
use serde_json::Value;

/// Claim: each workload is done without errors on a table that was not there before, by more clients than connections too.
#[test]
fn tables_are_measured() {
    let up = Up::start(&["--ephemeral"]);
    let nodes = up.ready()["nodes"].as_array().unwrap().clone();
    let urls: Vec<&str> = nodes.iter().map(|node| node["dynamo"].as_str().unwrap()).collect();
    let urls = urls.join(",");
    for more in [&["--op", "update"][..], &["--op", "txn", "--token", "--keys", "2"], &["--op", "e"]] {
        let mut line =
            vec!["bench", "table", "--json", "--seconds", "1", "--endpoints", &urls, "--clients", "5"];
        line.extend(["--connections", "3", "--keys", "200"].iter().take(if more.contains(&"--keys") {
            2
        } else {
            4
        }));
        line.extend(more);
        let (code, said, wrong) = output(&line);
        assert_eq!(code, 0, "{more:?}: {said}{wrong}");
        let report: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(report["errors"], 0, "{more:?}: {said}");
        assert!(report["ops"].as_u64().unwrap() > 0 && report["connections"] == 3, "{more:?}: {said}");
    }
}
