//! Writes that come to a bad end: what is said of each holds.

use super::*;

impl Cluster {
    fn write(&mut self, id: u64, key: &'static str, value: Bytes) -> Answers {
        let put = Put { key: key.into(), value, ..Put::default() };
        self.call(id, KV, Request::Write(Command::Put(put)))
    }

    /// The version of a key, as node 2 has it from whoever leads; 0 where there is none.
    fn version(&mut self, key: &'static str) -> i64 {
        let range = Range { range: KeyRange { key: key.into(), end: Bytes::new() }, ..Range::default() };
        match self.ask(2, KV, Request::Range { range, serializable: false }).body {
            Body::Reply(Reply::Range(reply)) => reply.kvs.first().map_or(0, |pair| pair.version),
            other => panic!("{other:?}"),
        }
    }
}

fn ends(answers: &Answers) -> Vec<Failure> {
    answers.lock().unwrap().iter().map(|answer| answer.clone().unwrap_err()).collect()
}

/// Claim: a write that is in a snapshot of a peer, and not in entries that the asked node applied, is in doubt once another leads: sent
/// again it would be done twice.
#[test]
fn what_may_be_in_a_snapshot_is_not_done_twice() {
    let mut cluster = Cluster::keeping(0, 4_000);
    assert_eq!(cluster.leaders(KV), [1]);
    cluster.deaf = Some(NodeId(3));
    let answers = cluster.write(3, "k", "v".into());
    cluster.settle();
    for _ in 0..40 {
        cluster.write(1, "other", vec![7; 10_000].into());
        cluster.settle();
    }
    assert_eq!((cluster.version("k"), ends(&answers)), (1, vec![]));
    cluster.deaf = None;
    cluster.pass(400);
    assert!(ends(&answers).is_empty(), "who has the snapshot does not know yet");
    cluster.kill(1);
    cluster.pass(2_500);
    assert_eq!((ends(&answers), cluster.version("k")), (vec![Failure::LeaderChanged], 1));
}

/// Claim: a write that waits for a leader till its end was not done, and is answered so; one that the last leader had taken is in doubt.
#[test]
fn what_waited_for_a_leader_alone_was_not_done() {
    let mut cluster = Cluster::new(0);
    assert_eq!(cluster.leaders(KV), [1]);
    cluster.kill(2);
    cluster.kill(3);
    let taken = cluster.write(1, "taken", "v".into());
    cluster.pass(4_000);
    assert!(cluster.leaders(KV).is_empty());
    let waited = cluster.write(1, "waited", "v".into());
    cluster.pass(20_000);
    assert_eq!((ends(&taken), ends(&waited)), (vec![Failure::TimedOut], vec![Failure::NoLeader]));
    cluster.start(2);
    cluster.start(3);
    cluster.pass(4_000);
    assert_eq!((cluster.version("taken"), cluster.version("waited")), (1, 0));
}
