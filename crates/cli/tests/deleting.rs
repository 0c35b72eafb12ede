//! A table that is deleted, and made again, while transactions over it and another one are under way.

use super::{made, one_at_a_time, space, table};
use crate::common::{Up, nodes};
use quorate_client::dynamo::Trouble;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CLIENTS: usize = 3;
const ROUNDS: usize = 6;

fn key(client: usize, n: usize) -> Value {
    json!({ "c": { "S": format!("client {client}") }, "n": { "N": n.to_string() } })
}

/// What became of a transaction.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Done,
    Refused,
    Unknown,
}

/// Puts an item into both tables, again and again, until told to stop; how each ended.
fn client(nodes: &[Value], client: usize, stop: &AtomicBool) -> Vec<End> {
    let mut kept = table("kept", nodes);
    let mut ends = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let n = ends.len();
        let put = |table: &str| json!({ "Put": { "TableName": table, "Item": key(client, n) } });
        let both = json!({ "TransactItems": [put("goes"), put("kept")] });
        ends.push(match kept.try_ask(n % 3, "TransactWriteItems", both) {
            Ok(_) => End::Done,
            Err(Trouble::Refused { name, status, text }) => {
                assert!(status == 400 || name == "ServiceUnavailable", "{status} {name}: {text}");
                if name == "OutcomeUnknownException" { End::Unknown } else { End::Refused }
            }
            Err(Trouble::Silent(why)) => panic!("{why}"),
        });
    }
    ends
}

/// Claim: of transactions over a table that is deleted each is done or not, whole, as it was told, in the table that stays; none of their
/// locks stays; none is answered by an error of the server's, and none is of unknown outcome for that.
#[test]
fn no_half_of_a_transaction_is_left_behind_by_a_table() {
    let _turn = one_at_a_time();
    let up = Up::start(&["--ephemeral"]);
    let nodes = nodes(&up.ready());
    made(&nodes[0], "kept", "2");
    made(&nodes[1], "goes", "3");
    let stop = AtomicBool::new(false);
    let ends: Vec<Vec<End>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|at| {
                let (nodes, stop) = (&nodes, &stop);
                scope.spawn(move || client(nodes, at, stop))
            })
            .collect();
        for round in 0..ROUNDS {
            std::thread::sleep(Duration::from_millis(200));
            let (code, _, wrong) = space(&nodes[round % 3], &["drop", "goes"]);
            assert_eq!(code, 0, "round {round}: {wrong}");
            made(&nodes[(round + 1) % 3], "goes", "3");
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let mut kept = table("kept", &nodes);
    let mut done = 0;
    for (client, ends) in ends.iter().enumerate() {
        for (n, end) in ends.iter().enumerate() {
            let get = json!({ "Key": key(client, n), "ConsistentRead": true });
            let there = !kept.ask(n % 3, "GetItem", get)["Item"].is_null();
            assert!(
                *end == End::Unknown || there == (*end == End::Done),
                "client {client}, {n}: {end:?}, {there}"
            );
            // Nothing holds it any more.
            kept.ask(n % 3, "PutItem", json!({ "Item": key(client, n) }));
            done += usize::from(*end == End::Done);
        }
    }
    let all: usize = ends.iter().map(Vec::len).sum();
    let unknown = ends.iter().flatten().filter(|end| **end == End::Unknown).count();
    assert!(done > 20 && done < all && unknown == 0, "{done} of {all} done, {unknown} unknown");
    up.signal(Signal::TERM);
    assert!(up.wait().0.success());
}
