//! When the shards of a table that is being deleted may go.

use super::*;
use quorate_protocol::commit::{Command as Step, Outcome as Decision, Prepare, TxnId};

const FIRST: ShardId = ShardId(2);

fn drained(run: &mut Run, inside: bool) -> Result<Reply, Refusal> {
    run.command(What::Drained { first: FIRST, count: 2, inside }, EPOCH)
}

/// A shard votes Yes, with an item or with a token alone.
fn prepare(run: &mut Run, sequence: u64, participants: [ShardId; 2], item: bool) -> TxnId {
    let id = TxnId { node: NodeId(7), boot: 3, sequence, attempt: 1 };
    let asked =
        Asked { table: "t".into(), key: ("p".into(), 1), condition: Held::Always, what: Doing::Set(1) };
    let fingerprint = Bytes::from_static(b"f");
    let token = (!item).then(|| Token { token: sequence.to_string().into(), fingerprint });
    let ops = if item { vec![asked.op()] } else { Vec::new() };
    let ops = Execute { atomic: true, token, ops };
    let step = Prepare { id, began: sequence, participants: participants.to_vec(), ops };
    run.command(What::Commit(Step::Prepare(step)), EPOCH).unwrap();
    id
}

fn end(run: &mut Run, id: TxnId, outcome: Decision) {
    run.command(What::Commit(Step::Outcome { id, outcome }), EPOCH).unwrap();
}

/// Claim: a shard of a table that is being deleted is drained once it has heard of that and nothing is held in it, be it a token alone;
/// and it tells what it has committed.
#[test]
fn a_shard_is_drained_once_it_holds_nothing() {
    for item in [true, false] {
        let mut run = Run::new(9);
        let mut table = Definition { id: 5, stream: None, ..definition("t") };
        let adopt = |run: &mut Run, version, table: &Definition| {
            run.command(What::Adopt { version, definition: Box::new(table.clone()) }, EPOCH).unwrap();
        };
        adopt(&mut run, 10, &table);
        let ids = [1, 2].map(|sequence| {
            let id = prepare(&mut run, sequence, [FIRST, ShardId(9)], item);
            end(&mut run, id, if sequence == 1 { Decision::Commit } else { Decision::Abort });
            id
        });
        assert!(drained(&mut run, true).is_err(), "it has not heard that {ids:?} were the last");
        let held = prepare(&mut run, 3, [FIRST, ShardId(9)], item);
        table.closing = true;
        adopt(&mut run, 20, &table);
        assert!(drained(&mut run, true).is_err(), "{held:?} is under way");
        end(&mut run, held, Decision::Commit);
        assert_eq!(drained(&mut run, true), Ok(Reply::Expired(2)));
    }
}

/// Claim: another shard has to wait for what is undecided there and in which any shard of the table takes part, and for nothing else.
#[test]
fn another_shard_waits_for_what_one_of_the_table_takes_part_in() {
    let mut run = Run::new(10);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let here = ShardId(9);
    let participants =
        [[FIRST, here], [here, FIRST], [here, ShardId(3)], [here, ShardId(4)], [ShardId(1), here]];
    for (with, sequence) in participants.into_iter().zip(1..) {
        assert_eq!(drained(&mut run, false), Ok(Reply::Expired(0)));
        let id = prepare(&mut run, sequence, with, true);
        let waits = with.iter().any(|shard| (2..4).contains(&shard.get()));
        assert_eq!(drained(&mut run, false).is_err(), waits, "{with:?}");
        end(&mut run, id, Decision::Commit);
    }
}
