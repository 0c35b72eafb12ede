//! What a leader has in mind beside the rows of its machine, one claim at a time.

use crate::toy::{Key, Op, Ops, Reason, Toy};
use quorate_base::time::Duration;
use quorate_base::{Index, Instant, NodeId, ShardId};
use quorate_protocol::commit::leader::{Caller, Config, Leader, Outbox, Ticket};
use quorate_protocol::commit::{Answer, Command, Outcome, Prepare, TxnId, Vote, participant};

type Out = Outbox<Ops, Reason>;

const AFTER: Duration = Duration::from_secs(1);
const SETTLED: Answer<Reason> = Answer::Settled;

/// Of a transaction; those with lower numbers are older.
fn id(sequence: u64) -> TxnId {
    TxnId { node: NodeId(1), boot: 1, sequence, attempt: 1 }
}

fn ops(op: Op) -> Ops {
    Ops(vec![(Key('a', 1), op)])
}

fn wants(sequence: u64, op: Op) -> Command<Ops> {
    let (participants, ops) = (vec![ShardId(1), ShardId(2)], ops(op));
    Command::Prepare(Prepare { id: id(sequence), began: sequence, participants, ops })
}

fn prepare(sequence: u64) -> Command<Ops> {
    wants(sequence, Op::Put(1))
}

fn plain() -> Command<Ops> {
    Command::Execute(ops(Op::Put(2)))
}

fn ends(sequence: u64, outcome: Outcome) -> Command<Ops> {
    Command::Outcome { id: id(sequence), outcome }
}

/// A leader and its machine.
struct Led {
    leader: Leader<Key, Ops>,
    toy: Toy,
    last: u64,
}

impl Led {
    fn new(waiting: usize) -> Self {
        let config = Config { recover_after: AFTER, waiting, mutant: None };
        Self { leader: Leader::new(config), toy: Toy::default(), last: 0 }
    }

    /// One whose machine holds the key for this transaction.
    fn holding(waiting: usize, sequence: u64, op: Op) -> Self {
        let mut led = Self::new(waiting);
        let out = led.ask(100, wants(sequence, op));
        led.choose(out);
        led
    }

    fn ask(&mut self, caller: Caller, command: Command<Ops>) -> Out {
        let mut out = Out::default();
        self.leader.request(&self.toy, caller, command, &mut out).unwrap();
        out
    }

    /// All that was proposed is chosen and applied.
    fn choose(&mut self, of: Out) -> Out {
        let mut out = Out::default();
        for (ticket, command) in of.propose {
            self.last += 1;
            let answer = participant::apply(&mut self.toy, Index(self.last), &command).unwrap();
            self.leader.applied(&self.toy, ticket, &answer, &mut out).unwrap();
        }
        out
    }

    fn tick(&mut self, at: Instant) -> usize {
        let mut out = Out::default();
        self.leader.tick(at, &self.toy, &mut out).unwrap();
        out.recover.len()
    }
}

fn proposed(out: &Out) -> Vec<Command<Ops>> {
    out.propose.iter().map(|(_, command): &(Ticket, _)| command.clone()).collect()
}

/// Claim: what a proposal was about to hold is free again where it never gets into the log, for the older and for the younger. Else nobody
/// could have it for as long as this leader leads.
#[test]
fn what_was_dropped_holds_nothing() {
    for next in [1, 3] {
        let mut led = Led::new(10);
        let out = led.ask(1, prepare(2));
        let [(ticket, Command::Prepare(_))] = out.propose[..] else { panic!("{:?}", out.propose) };
        led.leader.dropped(ticket);
        assert_eq!(proposed(&led.ask(2, prepare(next))), [prepare(next)]);
    }
}

/// Claim: those who only look at a key are in nobody's way who does, before the log and in it.
#[test]
fn who_looks_lets_others_look() {
    let mut led = Led::new(10);
    let [mut first, second] = [1, 2].map(|n| led.ask(n, wants(n, Op::Check(None))));
    assert_eq!(proposed(&second), [wants(2, Op::Check(None))]);
    first.propose.extend(second.propose);
    let out = led.choose(first);
    assert_eq!(out.answers, [(1, Answer::Vote(Vote::Yes)), (2, Answer::Vote(Vote::Yes))]);
    let last = led.ask(3, wants(3, Op::Check(None)));
    assert_eq!(led.choose(last).answers, [(3, Answer::Vote(Vote::Yes))]);
}

/// Claim: who could go, ahead of an older one that waits, is refused: it would go ahead again and again.
#[test]
fn nobody_goes_ahead_of_an_older_one() {
    for young in [2, 4] {
        let mut led = Led::holding(10, 3, Op::Check(None));
        assert_eq!(proposed(&led.ask(1, prepare(1))), []);
        let out = led.ask(2, wants(young, Op::Check(None)));
        assert_eq!(proposed(&out), [Command::Refuse { id: id(young), because: Some(id(1)) }]);
    }
}

/// Claim: when a key is free the oldest transaction has it, and plain writes do not go before it.
#[test]
fn the_oldest_transaction_goes_first() {
    let mut led = Led::holding(10, 3, Op::Put(1));
    for (caller, command) in [(1, plain()), (2, prepare(2)), (3, prepare(1))] {
        assert_eq!(proposed(&led.ask(caller, command)), []);
    }
    let out = led.ask(4, ends(3, Outcome::Commit));
    let out = led.choose(out);
    assert_eq!(proposed(&out), [prepare(1), Command::Refuse { id: id(2), because: Some(id(1)) }]);
    assert_eq!(led.leader.waiting(), 1, "the plain write waits on");
    led.choose(out);
    let out = led.ask(5, ends(1, Outcome::Abort));
    assert_eq!(proposed(&led.choose(out)), [plain()]);
}

/// Claim: no more wait than may: a transaction is refused then, and a plain write goes into the log to hear of it there.
#[test]
fn only_so_many_wait() {
    let mut led = Led::holding(1, 3, Op::Put(1));
    assert_eq!(proposed(&led.ask(1, prepare(2))), []);
    let refused = Command::Refuse { id: id(1), because: Some(id(3)) };
    assert_eq!(proposed(&led.ask(2, prepare(1))), [refused]);
    assert_eq!(proposed(&led.ask(3, plain())), [plain()]);
    assert_eq!(led.leader.waiting(), 1);
}

/// Claim: in a pause no transaction is proposed, whatever else is applied, and plain writes are; behind it they go.
#[test]
fn transactions_wait_for_the_end_of_a_pause() {
    let mut led = Led::new(10);
    led.leader.pause(true);
    assert_eq!(proposed(&led.ask(1, prepare(1))), []);
    let out = led.ask(2, plain());
    assert_eq!(proposed(&out), [plain()]);
    assert_eq!(proposed(&led.choose(out)), []);
    led.leader.pause(false);
    let mut out = Out::default();
    led.leader.look_again(&led.toy, &mut out).unwrap();
    assert_eq!(proposed(&out), [prepare(1)]);
}

/// Claim: who asks for what waits already waits with it, and each who asked is answered, once.
#[test]
fn all_who_ask_for_one_are_answered() {
    let mut led = Led::holding(10, 3, Op::Put(1));
    for caller in [1, 2, 1] {
        assert_eq!(proposed(&led.ask(caller, prepare(1))), []);
    }
    assert_eq!(led.leader.waiting(), 1);
    let out = led.ask(4, ends(3, Outcome::Commit));
    let out = led.choose(out);
    led.ask(2, prepare(1));
    let yes = Answer::Vote(Vote::Yes);
    assert_eq!(led.choose(out).answers, [(1, yes.clone()), (2, yes)]);
}

/// Claim: what is refused or aborted while it waits, waits no more, and who waited for its vote hears of the refusal.
#[test]
fn what_is_over_waits_no_more() {
    for command in [Command::Refuse { id: id(1), because: None }, ends(1, Outcome::Abort)] {
        let mut led = Led::holding(10, 3, Op::Put(1));
        led.ask(1, prepare(1));
        let out = led.ask(2, command.clone());
        assert_eq!((proposed(&out), led.leader.waiting()), (vec![command.clone()], 0));
        let heard: Vec<Caller> = led.choose(out).answers.into_iter().map(|(caller, _)| caller).collect();
        let refused = matches!(command, Command::Refuse { .. });
        assert_eq!(heard, if refused { vec![1, 2] } else { vec![2] });
    }
}

/// Claim: a plain write can be given up while it waits, and nothing else.
#[test]
fn only_plain_writes_are_given_up() {
    let mut led = Led::holding(10, 3, Op::Put(1));
    led.ask(1, plain());
    led.ask(2, prepare(1));
    assert!(led.leader.knows(1) && led.leader.knows(2));
    assert!(!led.leader.give_up(2) && led.leader.give_up(1));
    assert!(!led.leader.knows(1) && led.leader.knows(2));
    assert_eq!(led.leader.waiting(), 1);
}

/// Claim: what is undecided for long is recovered, and again after as long, not at each look.
#[test]
fn what_is_undecided_is_recovered_now_and_then() {
    let mut led = Led::holding(10, 3, Op::Put(1));
    let start = Instant(1_000_000);
    let almost = Duration::from_millis(999);
    assert_eq!([start, start + almost, start + AFTER].map(|at| led.tick(at)), [0, 0, 1]);
    assert_eq!([start + AFTER + almost, start + 2 * AFTER].map(|at| led.tick(at)), [0, 1]);
    let out = led.ask(1, ends(3, Outcome::Abort));
    assert_eq!(led.choose(out).answers, [(1, SETTLED)]);
    assert_eq!(led.tick(start + 9 * AFTER), 0);
}
