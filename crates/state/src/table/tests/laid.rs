//! Intents that are known to be committed, laid over pages.

use super::*;
use quorate_protocol::commit::{Answer, Command as Step, No, Outcome as Decision, Prepare, TxnId, Vote};
use quorate_wire::table::Unfit;

fn put(q: i64, l: Option<i64>, v: i64) -> Op {
    let mut item = item(&[("p", s("p")), ("q", n(q)), ("v", n(v))]);
    item.0.extend(l.map(|l| ("l".to_string(), n(l))));
    op(Action::Put { item: item.encode().into() })
}

fn delete(q: i64) -> Op {
    op(Action::Delete { key: key_item(&("p".into(), q)).encode().into() })
}

fn op(action: Action) -> Op {
    Op { table: "t".into(), action, condition: None, returns: Returns::None, old_on_failure: false }
}

fn commit(run: &mut Run, step: Step<Execute>) -> Answer<Unfit> {
    match run.command(What::Commit(step), EPOCH).unwrap() {
        Reply::Commit(answer, _) => answer,
        other => panic!("{other:?}"),
    }
}

fn prepare(run: &mut Run, sequence: u64, ops: Vec<Op>) -> TxnId {
    let id = TxnId { node: NodeId(7), boot: 3, sequence, attempt: 1 };
    let participants = vec![ShardId(1), ShardId(2)];
    let ops = Execute { atomic: true, token: None, ops };
    let voted = commit(run, Step::Prepare(Prepare { id, began: sequence, participants, ops }));
    assert_eq!(voted, Answer::Vote(Vote::Yes));
    id
}

/// A page with these intents laid over it.
fn over(view: &KvView, page: &Page, committed: &BTreeSet<TxnId>) -> Paged {
    match read(view, &Read::Over(Box::new(page.clone()), committed.clone())).unwrap() {
        ReadReply::Page(paged) => paged,
        other => panic!("{other:?}"),
    }
}

/// Claim: a page with committed intents laid over it is what it will be behind their outcomes, of the table and of an index, in both
/// directions, wherever it ends; and it names those that were not laid over it, as far as they write in what it tells.
#[test]
fn a_page_is_what_it_will_be_behind_the_outcomes() {
    let mut run = Run::new(5);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let ops = (0..8).map(|q| put(q, (q % 2 == 0).then_some(10 - q), q)).collect();
    run.command(What::Execute(Execute { atomic: false, token: None, ops }), EPOCH).unwrap();
    // An item goes, one comes before and one behind all, one changes, one moves in the index, one leaves it, and one comes to it.
    let first = prepare(&mut run, 1, vec![delete(2), put(-1, Some(7), 50), put(3, None, 51)]);
    let second = prepare(
        &mut run,
        2,
        vec![put(4, Some(99), 52), put(6, None, 53), put(7, Some(1), 54), put(9, None, 55)],
    );
    let other = prepare(&mut run, 3, vec![put(5, Some(4), 56)]);
    let before = run.replicas[0].kv().view();
    let committed = BTreeSet::from([first, second]);
    for id in [first, second] {
        let step = Step::Outcome { id, outcome: Decision::Commit };
        assert_eq!(commit(&mut run, step), Answer::Settled);
    }
    let behind = run.replicas[0].kv().view();
    let query = KeysAsked::Condition(Condition::Compare(
        Comparator::Eq,
        Operand::Path(Path::attribute("p")),
        Operand::Value(s("p")),
    ));
    let (mut named, mut unnamed) = (0, 0);
    for (index, keys, whole) in [
        (None, KeysAsked::All(None), false),
        (None, query.clone(), false),
        (Some("local"), query.clone(), false),
        (Some("local"), query, true),
    ] {
        for (limit, backward) in (0..11).flat_map(|limit| [(limit, false), (limit, true)]) {
            let limit = (limit > 0).then_some(limit);
            let page = Page { limit, backward, whole, consistent: true, ..all_of("t", index, keys.clone()) };
            let will_be = over(&behind, &page, &BTreeSet::new());
            let laid = over(&before, &page, &committed);
            assert_eq!(laid, will_be, "{page:?}");
            // The other one changes item 5 of the table, and its index anywhere.
            let tells = laid.items.iter().any(|item| item.get("q") == Some(&n(5)));
            assert_eq!(laid.met.iter().any(|(id, _)| *id == other), tells || index.is_some(), "{page:?}");
            *if laid.met.is_empty() { &mut unnamed } else { &mut named } += 1;
            let met: BTreeSet<TxnId> =
                over(&before, &page, &BTreeSet::new()).met.into_iter().map(|(id, _)| id).collect();
            assert!(limit.is_some() || met == BTreeSet::from([first, second, other]), "{page:?}: {met:?}");
            if let Some(start) = laid.last {
                let page = Page { start: Some(start), limit: None, ..page };
                assert_eq!(
                    over(&before, &page, &committed),
                    over(&behind, &page, &BTreeSet::new()),
                    "{page:?}"
                );
            }
        }
    }
    assert!(named > 20 && unnamed > 5, "{named} named the other one, {unnamed} did not");
}

/// Claim: the answer to a Prepare tells what stood against it, items and all; what is remembered of it, for whoever asks again, is bounded.
#[test]
fn a_refusal_is_remembered_in_few_bytes() {
    let mut run = Run::new(6);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let big = |q: i64, bytes: usize| {
        op(Action::Put {
            item: item(&[("p", s("p")), ("q", n(q)), ("v", s(&"x".repeat(bytes)))]).encode().into(),
        })
    };
    let ops = vec![big(1, 100), big(2, 300_000), big(3, 100)];
    run.command(What::Execute(Execute { atomic: false, token: None, ops }), EPOCH).unwrap();
    let absent: Bytes = Condition::NotExists(Path::attribute("p")).encode().into();
    let check = |q: i64| {
        let key = key_item(&("p".into(), q)).encode().into();
        Op { condition: Some(absent.clone()), old_on_failure: true, ..op(Action::Check { key }) }
    };
    let id = TxnId { node: NodeId(7), boot: 3, sequence: 1, attempt: 1 };
    let ops = Execute { atomic: true, token: None, ops: vec![check(1), check(2), check(3)] };
    let participants = vec![ShardId(1), ShardId(2)];
    let step = Step::Prepare(Prepare { id, began: 1, participants, ops });
    let mut told = |step: &Step<Execute>| match commit(&mut run, step.clone()) {
        Answer::Vote(Vote::No(No::Reason(Unfit::Ops(done)))) => {
            assert!(done.iter().all(|done| done.outcome == Outcome::ConditionFailed));
            done.iter().map(|done| done.attributes.as_ref().map_or(0, Bytes::len)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let first = told(&step);
    assert!(first[1] > 300_000 && first[0] > 100 && first[2] > 100, "{first:?}");
    assert_eq!(told(&step), [first[0], 0, first[2]], "what is small is remembered");
}
