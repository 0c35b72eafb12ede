//! What a transaction over several shards holds, to those who are no part of it.

use super::*;
use quorate_protocol::commit::{Answer, Command as Step, Outcome as Decision, Prepare, TxnId, Vote};

fn begin() -> Run {
    let mut run = Run::new(11);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    run
}

fn execute(what: Doing) -> Execute {
    let asked = Asked { table: "t".into(), key: ("p".into(), 1), condition: Held::Always, what };
    Execute { atomic: true, token: None, ops: vec![asked.op()] }
}

/// A write of its own; what came of it.
fn plain(run: &mut Run, what: Doing) -> Outcome {
    match run.command(What::Execute(execute(what)), EPOCH).unwrap() {
        Reply::Executed(done) => done[0].outcome.clone(),
        other => panic!("{other:?}"),
    }
}

/// A transaction votes Yes.
fn prepared(run: &mut Run, sequence: u64, what: Doing) -> TxnId {
    let id = TxnId { node: NodeId(7), boot: 3, sequence, attempt: 1 };
    let participants = vec![ShardId(1), ShardId(2)];
    let step = Prepare { id, began: sequence, participants, ops: execute(what) };
    let voted = run.command(What::Commit(Step::Prepare(step)), EPOCH).unwrap();
    assert!(matches!(voted, Reply::Commit(Answer::Vote(Vote::Yes), _)), "{voted:?}");
    id
}

fn commit(run: &mut Run, id: TxnId) {
    run.command(What::Commit(Step::Outcome { id, outcome: Decision::Commit }), EPOCH).unwrap();
}

fn got(run: &mut Run) -> (bool, u64) {
    let get = Get::of("t", key_item(&("p".into(), 1)));
    let view = run.replicas[0].kv().view();
    let ReadReply::Items(got) = read(&view, &Read::Get(vec![get])).unwrap() else { panic!() };
    (got[0].item.is_some(), got[0].version)
}

/// Claim: nobody writes what a transaction has looked at, while it may still be committed, and anybody may look at it; nobody does either of
/// what it is about to write.
#[test]
fn who_is_no_part_keeps_away() {
    let mut run = begin();
    plain(&mut run, Doing::Set(1));
    for (held, sequence) in [(Doing::Check, 1), (Doing::Set(2), 2)] {
        let looks = matches!(held, Doing::Check);
        let id = prepared(&mut run, sequence, held);
        for what in [Doing::Set(9), Doing::Delete, Doing::Check] {
            let free = looks && matches!(what, Doing::Check);
            let expected = if free { Outcome::Done } else { Outcome::Conflict };
            assert_eq!(plain(&mut run, what), expected, "transaction {sequence}");
        }
        commit(&mut run, id);
        assert_eq!(plain(&mut run, Doing::Set(3)), Outcome::Done);
    }
}

/// Claim: that a transaction deleted an item is known as its version, as with any other deletion: who reads before it came and behind it has
/// not read the same.
#[test]
fn what_a_transaction_deleted_has_a_version() {
    let mut run = begin();
    let before = got(&mut run);
    assert_eq!(before, (false, 0));
    plain(&mut run, Doing::Set(1));
    let id = prepared(&mut run, 1, Doing::Delete);
    let voted = run.log.len() as u64;
    commit(&mut run, id);
    assert_eq!(got(&mut run), (false, voted));
}

/// Claim: an item whose time is over stays while a transaction holds it, be it only to look at it, and goes behind that.
#[test]
fn what_is_held_does_not_end() {
    let mut run = Run::new(3);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let change = Change::Expiry { attribute: "end".into(), on: true };
    run.command(What::Change { table: "t".into(), change }, EPOCH).unwrap();
    run.now = 1_700_000_000_000;
    let mut item = key_item(&("p".into(), 0));
    item.0.insert("end".into(), n(1_699_999_000));
    let asked = |what| Asked { table: "t".into(), key: ("p".into(), 0), condition: Held::Exists, what }.op();
    let execute = |op| Execute { atomic: true, token: None, ops: vec![op] };
    let put = Asked {
        table: "t".into(),
        key: ("p".into(), 0),
        condition: Held::Always,
        what: Doing::Put(item.clone()),
    };
    run.command(What::Execute(execute(put.op())), EPOCH).unwrap();
    let overdue = Read::Overdue { after: None, now: run.now, items: 9 };
    let ReadReply::Overdue(overdue) = read(&run.replicas[0].kv().view(), &overdue).unwrap() else { panic!() };
    let keys: Vec<Bytes> = overdue.items.into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys.len(), 1);
    let end = |run: &mut Run| run.command(What::Expire { table: 1, keys: keys.clone() }, EPOCH).unwrap();
    for (sequence, what) in [(1, Doing::Check), (2, Doing::Put(item))] {
        let id = TxnId { node: NodeId(7), boot: 3, sequence, attempt: 1 };
        let participants = vec![ShardId(1), ShardId(2)];
        let prepare = Prepare { id, began: sequence, participants, ops: execute(asked(what)) };
        let voted = run.command(What::Commit(Step::Prepare(prepare)), EPOCH).unwrap();
        assert!(matches!(voted, Reply::Commit(Answer::Vote(Vote::Yes), _)), "{voted:?}");
        assert_eq!(end(&mut run), Reply::Expired(0), "transaction {sequence} holds it");
        let outcome = Step::Outcome { id, outcome: Decision::Commit };
        assert_eq!(
            run.command(What::Commit(outcome), EPOCH).unwrap(),
            Reply::Commit(Answer::Settled, Vec::new())
        );
    }
    assert_eq!(end(&mut run), Reply::Expired(1));
}
