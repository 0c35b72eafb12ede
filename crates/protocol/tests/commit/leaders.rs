//! What a leader has in mind beside the rows of its machine.

use crate::toy::{Key, Op, Ops, Toy};
use quorate_base::time::Duration;
use quorate_base::{NodeId, ShardId};
use quorate_protocol::commit::leader::{Config, Leader, Outbox};
use quorate_protocol::commit::{Command, Prepare, TxnId};

fn prepare(sequence: u64) -> Command<Ops> {
    let id = TxnId { node: NodeId(1), boot: 1, sequence, attempt: 1 };
    let (participants, ops) = (vec![ShardId(1), ShardId(2)], Ops(vec![(Key('a', 1), Op::Put(1))]));
    Command::Prepare(Prepare { id, began: sequence, participants, ops })
}

/// Claim: what a proposal was about to hold is free again where it never gets into the log, for the older and for the younger. Else nobody
/// could have it for as long as this leader leads.
#[test]
fn what_was_dropped_holds_nothing() {
    for next in [1, 3] {
        let config = Config { recover_after: Duration::from_secs(1), waiting: 10, mutant: None };
        let (mut leader, toy) = (Leader::new(config), Toy::default());
        let mut out = Outbox::default();
        leader.request(&toy, 1, prepare(2), &mut out).unwrap();
        let [(ticket, Command::Prepare(_))] = out.propose[..] else { panic!("{:?}", out.propose) };
        leader.dropped(ticket);
        let mut out = Outbox::default();
        leader.request(&toy, 2, prepare(next), &mut out).unwrap();
        assert!(matches!(out.propose[..], [(_, Command::Prepare(_))]), "{:?}", out.propose);
    }
}
