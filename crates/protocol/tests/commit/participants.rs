//! What the machine of a shard makes of entries that come late, twice or out of turn, one claim at a time.

use crate::toy::{Key, Op, Ops, Reason, Toy};
use quorate_base::{Index, NodeId, ShardId};
use quorate_protocol::commit::{Answer, Command, Lock, Outcome, Place, Prepare, TxnId, Vote, participant};

const NODE: NodeId = NodeId(1);
const KEY: Key = Key('a', 1);
const YES: Answer<Reason> = Answer::Vote(Vote::Yes);

fn id(boot: u64, sequence: u64) -> TxnId {
    TxnId { node: NODE, boot, sequence, attempt: 1 }
}

fn prepare(boot: u64, sequence: u64) -> Command<Ops> {
    let participants = vec![ShardId(1), ShardId(2)];
    let ops = Ops(vec![(KEY, Op::Put(sequence as i64))]);
    Command::Prepare(Prepare { id: id(boot, sequence), began: sequence, participants, ops })
}

fn forget(boot: u64, sequence: u64) -> Command<Ops> {
    Command::Forget { node: NODE, upto: Place { boot, sequence } }
}

fn ends(boot: u64, sequence: u64, outcome: Outcome) -> Command<Ops> {
    Command::Outcome { id: id(boot, sequence), outcome }
}

fn apply(toy: &mut Toy, at: u64, command: &Command<Ops>) -> Answer<Reason> {
    participant::apply(toy, Index(at), command).unwrap()
}

/// Claim: what is over stays over, however late a word comes that says so of less.
#[test]
fn a_mark_never_goes_back() {
    let mut toy = Toy::default();
    apply(&mut toy, 1, &forget(1, 5));
    apply(&mut toy, 2, &forget(1, 3));
    assert_eq!(apply(&mut toy, 3, &prepare(1, 4)), Answer::Over, "it would be done a second time");
    assert_eq!(apply(&mut toy, 4, &prepare(1, 6)), YES);
}

/// Claim: where a gateway's earlier lives are closed, what this one has forgotten stays forgotten, and so do they.
#[test]
fn a_life_that_begins_keeps_its_own_mark() {
    let mut toy = Toy::default();
    apply(&mut toy, 1, &forget(1, 7));
    apply(&mut toy, 2, &forget(2, 5));
    apply(&mut toy, 3, &Command::Close { node: NODE, boot: 2 });
    assert_eq!(apply(&mut toy, 4, &prepare(2, 4)), Answer::Over);
    assert_eq!(apply(&mut toy, 5, &prepare(1, 8)), Answer::Over);
    apply(&mut toy, 6, &forget(1, 9));
    assert_eq!(toy.gates[&NODE].marks.len(), 1, "of a life that is closed nothing more is noted");
    assert_eq!(apply(&mut toy, 7, &prepare(2, 6)), YES);
}

/// Claim: what is undecided outlives the word that it is over: somebody erred, and the value that it would leave is not thrown away.
#[test]
fn what_is_undecided_is_not_forgotten() {
    for word in [forget(1, 2), Command::Close { node: NODE, boot: 2 }] {
        let mut toy = Toy::default();
        apply(&mut toy, 1, &Command::Refuse { id: id(1, 1), because: None });
        assert_eq!(apply(&mut toy, 2, &prepare(1, 2)), YES);
        apply(&mut toy, 3, &word);
        assert_eq!(toy.records.keys().collect::<Vec<_>>(), [&id(1, 2)], "{word:?}");
        assert_eq!(apply(&mut toy, 4, &ends(1, 2, Outcome::Commit)), Answer::Settled);
        assert_eq!(toy.get(KEY).value, Some(2));
    }
}

/// Claim: a transaction that ends lets go of what is its own, and of nothing else.
#[test]
fn nobody_lets_go_of_what_another_holds() {
    let mut toy = Toy::default();
    apply(&mut toy, 1, &prepare(1, 1));
    let other = Lock::Exclusive(id(1, 2));
    toy.locks.insert(KEY, other.clone());
    apply(&mut toy, 2, &ends(1, 1, Outcome::Abort));
    assert_eq!(toy.locks.get(&KEY), Some(&other));
}
