//! What single operations tell and refuse, what they count, and what goes with the time, one claim at a time.

use super::*;
use crate::table::Overdue;
use quorate_item::value::ITEM_SIZE;

fn begin() -> Run {
    let mut run = Run::new(21);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    run
}

fn op(action: Action) -> Op {
    Op { table: "t".into(), action, condition: None, returns: Returns::None, old_on_failure: false }
}

fn put(pairs: &[(&str, AttributeValue)]) -> Action {
    let mut of = key_item(&("p".into(), 1));
    of.0.extend(item(pairs).0);
    Action::Put { item: of.encode().into() }
}

fn update(update: &Update) -> Action {
    Action::Update { key: key_item(&("p".into(), 1)).encode().into(), update: update.encode().into() }
}

fn delete() -> Action {
    Action::Delete { key: key_item(&("p".into(), 1)).encode().into() }
}

fn done(run: &mut Run, op: Op) -> Done {
    match run.command(What::Execute(Execute { atomic: false, token: None, ops: vec![op] }), EPOCH).unwrap() {
        Reply::Executed(mut done) => done.remove(0),
        other => panic!("{other:?}"),
    }
}

fn there(run: &mut Run) -> (Option<Item>, u64) {
    let get = Get::of("t", key_item(&("p".into(), 1)));
    let view = run.replicas[0].kv().view();
    let ReadReply::Items(mut got) = read(&view, &Read::Get(vec![get])).unwrap() else { panic!() };
    let got = got.remove(0);
    (got.item, got.version)
}

/// Claim: a condition that fails is told with the item only to who asks for that, and counted with the item's size, which was read.
#[test]
fn an_item_that_failed_a_condition_is_told_on_request() {
    let mut run = begin();
    done(&mut run, op(put(&[("v", s("some words"))])));
    let before = there(&mut run).0.unwrap();
    let absent: Bytes = Condition::NotExists(Path::attribute("p")).encode().into();
    for old_on_failure in [false, true] {
        let done = done(&mut run, Op { condition: Some(absent.clone()), old_on_failure, ..op(put(&[])) });
        assert_eq!((done.outcome, done.bytes), (Outcome::ConditionFailed, before.size() as u64));
        let told = done.attributes.map(|bytes| Item::decode(&bytes).unwrap());
        assert_eq!(told, old_on_failure.then(|| before.clone()));
    }
}

/// Claim: a write is counted with the larger of what was there and what is.
#[test]
fn a_write_is_as_large_as_the_larger_item() {
    let mut run = begin();
    let [small, large] = ["", "long"].map(|text| put(&[("v", s(&text.repeat(100)))]));
    let mut counted = |action| done(&mut run, op(action)).bytes;
    let least = counted(small.clone());
    let most = counted(large);
    assert!(most >= least + 400);
    assert_eq!([counted(small), counted(delete()), counted(delete())], [most, least, 0]);
}

/// Claim: who deletes what is not there has changed nothing: its version stays.
#[test]
fn nothing_is_not_deleted_again() {
    let mut run = begin();
    done(&mut run, op(put(&[])));
    done(&mut run, op(delete()));
    let gone = there(&mut run);
    assert_eq!(gone, (None, 3));
    done(&mut run, op(delete()));
    assert_eq!(there(&mut run), gone);
}

/// Claim: who asks for what an update changed, and it changed nothing that is there, is told of no item, not of an empty one.
#[test]
fn an_update_that_changed_nothing_tells_nothing() {
    let mut run = begin();
    done(&mut run, op(put(&[])));
    for returns in [Returns::UpdatedOld, Returns::UpdatedNew] {
        let nothing = Update { remove: vec![Path::attribute("v")], ..Update::default() };
        let done = done(&mut run, Op { returns, ..op(update(&nothing)) });
        assert_eq!((done.outcome, done.attributes), (Outcome::Done, None));
    }
}

/// Claim: what an index could not hold, or is larger than an item may be, is refused, and leaves what is there.
#[test]
fn what_no_item_can_be_is_refused() {
    let mut run = begin();
    done(&mut run, op(put(&[("g", s("x"))])));
    let before = there(&mut run);
    let another = Update { set: vec![(Path::attribute("g"), Source::Value(n(1)))], ..Update::default() };
    for action in [put(&[("g", n(1))]), put(&[("v", s(&"v".repeat(ITEM_SIZE)))]), update(&another)] {
        let done = done(&mut run, op(action));
        assert!(matches!(done.outcome, Outcome::Invalid(_)), "{:?}", done.outcome);
        assert_eq!(there(&mut run), before);
    }
}

/// Claim: what an item takes in local indexes counts as a part of it, whether it is put or comes by an update; what it takes in global
/// ones does not.
#[test]
fn rows_in_local_indexes_count() {
    let mut run = begin();
    let (local, global) = (item(&[("l", n(1))]).size(), item(&[("g", s("x"))]).size());
    let row = key_item(&("p".into(), 1)).size() + local;
    let fits = |besides: usize| s(&"v".repeat(ITEM_SIZE - "v".len() - besides));
    let outcome = |run: &mut Run, action| done(run, op(action)).outcome;
    let too_large = |text: &str| Outcome::Invalid(format!("{text} has exceeded the maximum allowed size"));
    assert_eq!(outcome(&mut run, put(&[("l", n(1)), ("v", fits(2 * row))])), Outcome::Done);
    assert_eq!(outcome(&mut run, put(&[("l", n(1)), ("v", fits(2 * row - 1))])), too_large("Item size"));
    assert_eq!(outcome(&mut run, put(&[("g", s("x")), ("v", fits(row + global))])), Outcome::Done);
    let comes = Update { set: vec![(Path::attribute("l"), Source::Value(n(1)))], ..Update::default() };
    assert_eq!(outcome(&mut run, update(&comes)), too_large("Item size to update"));
    assert!(there(&mut run).0.unwrap().get("l").is_none());
}

/// Claim: a table that is being deleted has no items any more, for who writes.
#[test]
fn a_table_that_goes_takes_nothing() {
    let mut run = Run::new(9);
    for (version, closing) in [(10, false), (20, true)] {
        let table = Definition { id: 5, closing, ..definition("t") };
        run.command(What::Adopt { version, definition: Box::new(table) }, EPOCH).unwrap();
        let outcome = done(&mut run, op(put(&[]))).outcome;
        assert_eq!(outcome, if closing { Outcome::NoTable("t".into()) } else { Outcome::Done });
    }
}

/// Claim: of tables that are dropped nothing is left behind the sweep, also where another is dropped while it goes on.
#[test]
fn what_is_dropped_is_swept_to_the_last_row() {
    let left = |items: i64| {
        let mut run = begin();
        run.command(What::Create(Box::new(definition("u"))), EPOCH).unwrap();
        for (q, table) in (0..items).flat_map(|q| [(q, "t"), (q, "u")]) {
            let mut of = key_item(&("p".into(), q));
            of.0.extend(item(&[("l", n(-q)), ("g", s("x"))]).0);
            let put = op(Action::Put { item: of.encode().into() });
            assert_eq!(done(&mut run, Op { table: table.into(), ..put }).outcome, Outcome::Done);
        }
        let step = |run: &mut Run| run.replicas[0].kv().compact_step(3).unwrap();
        for table in ["t", "u"] {
            run.command(What::Delete(table.into()), EPOCH).unwrap();
            for _ in 0..5 {
                step(&mut run);
            }
        }
        while step(&mut run) {}
        run.replicas[0].kv().rows_of_tables()
    };
    assert_eq!(left(20), left(0));
}

/// Claim: the figures of an index are those of the rows in it.
#[test]
fn an_index_is_counted() {
    let mut run = begin();
    let figures = |run: &mut Run| {
        let view = run.replicas[0].kv().view();
        let ReadReply::Table(described) = read(&view, &Read::Describe("t".into())).unwrap() else { panic!() };
        let of = |name: &str| {
            let definition = &described.definition;
            let id =
                definition.locals.iter().chain(&definition.globals).find(|of| of.name == name).unwrap().id;
            let figures = described.figures.indexes.iter().find(|(of, ..)| *of == id);
            figures.map_or((0, 0), |(_, items, bytes)| (*items, *bytes))
        };
        (of("local"), of("global"))
    };
    let row = |pairs: &[(&str, AttributeValue)]| {
        let mut of = key_item(&("p".into(), 1));
        of.0.extend(item(pairs).0);
        (1, of.size() as u64)
    };
    done(&mut run, op(put(&[("l", n(3)), ("rest", s("r"))])));
    assert_eq!(figures(&mut run), (row(&[("l", n(3))]), (0, 0)));
    done(&mut run, op(put(&[("g", s("x")), ("v", n(4)), ("rest", s("r"))])));
    assert_eq!(figures(&mut run), ((0, 0), row(&[("g", s("x")), ("v", n(4))])));
    done(&mut run, op(delete()));
    assert_eq!(figures(&mut run), ((0, 0), (0, 0)));
}

/// Claim: tokens whose time is over go as others come, with all that was kept of them.
#[test]
fn tokens_go_when_others_come() {
    let mut run = begin();
    let count = |run: &mut Run| run.replicas[0].kv().rows_of_tables();
    let without = count(&mut run);
    let token = |run: &mut Run, number: u64| {
        let token = Token { token: number.to_string().into(), fingerprint: Bytes::from_static(b"f") };
        let execute = Execute { atomic: true, token: Some(token), ops: Vec::new() };
        run.command(What::Execute(execute), EPOCH).unwrap();
    };
    token(&mut run, 0);
    let one = count(&mut run) - without;
    assert!(one > 0);
    (1..10).for_each(|number| token(&mut run, number));
    run.now += 10_000_000;
    (10..20).for_each(|number| token(&mut run, number));
    assert!(count(&mut run) <= without + 10 * one, "{} rows, {without} without tokens", count(&mut run));
}

/// Claim: an item's time is over in the second that it names; a search that looks at one item at a time finds those of all tables.
#[test]
fn a_search_for_what_is_over_misses_none() {
    const END: u64 = 1_700_000_000;
    let mut run = Run::new(4);
    for table in ["t", "a", "z"] {
        let made = Definition { expires: Some("end".into()), ..definition(table) };
        run.command(What::Create(Box::new(made)), EPOCH).unwrap();
        for q in 0..3 {
            let mut of = key_item(&("p".into(), q));
            of.0.insert("end".into(), n(END as i64));
            done(&mut run, Op { table: table.into(), ..op(Action::Put { item: of.encode().into() }) });
        }
    }
    let view = run.replicas[0].kv().view();
    let found = |now| {
        let (mut found, mut after) = (BTreeSet::new(), None);
        loop {
            let asked = Read::Overdue { after: after.take(), now, items: 1 };
            let ReadReply::Overdue(Overdue { items, next }) = read(&view, &asked).unwrap() else { panic!() };
            found.extend(items);
            match next {
                Some(next) => after = Some(next),
                None => return found.len(),
            }
        }
    };
    assert_eq!([END * 1000 - 1, END * 1000].map(found), [0, 9]);
}
