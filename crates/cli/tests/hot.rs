//! Hot keys of tables on real nodes.

use super::{got, item, made, one_at_a_time, put, shards, table};
use crate::common::{Up, nodes};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Claim: what all nodes have counted of a table's keys is told together, whoever is asked; also of a table that has no shards of its
/// own, which is on all members.
#[test]
fn the_hot_keys_of_all_nodes_are_told_together() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    for (name, count) in [("alone", "1"), ("spread", "3")] {
        made(&nodes[0], name, count);
        let mut table = table(name, &nodes);
        put(&mut table, 0, &item(1, 1, "v"));
        for _ in 0..120 {
            got(&mut table, 1, 1, 1);
            got(&mut table, 2, 1, 1);
        }
        let shards = shards(&nodes[0], name);
        let hot: Vec<&Value> = shards.iter().filter_map(|shard| shard["HotKeys"].get(0)).collect();
        assert_eq!(hot.len(), 1, "{name}: {shards:?}");
        let told = (&hot[0]["Key"]["c"]["S"], &hot[0]["Reads"], &hot[0]["Writes"]);
        assert_eq!(told, (&json!("customer 1"), &json!(240), &json!(1)), "{name}: {shards:?}");
    }
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}
