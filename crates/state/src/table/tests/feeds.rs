//! Change feeds: what their records say, when one ends, and what is left of it.

use super::*;
use crate::table::KEPT;

fn execute(run: &mut Run, q: i64, what: Doing) {
    let ops = vec![Asked { table: "t".into(), key: ("p".into(), q), condition: Held::Always, what }.op()];
    run.command(What::Execute(Execute { atomic: false, token: None, ops }), EPOCH).unwrap();
}

fn streams(run: &mut Run) -> Vec<StreamDescribed> {
    let view = run.replicas[0].kv().view();
    match read(&view, &Read::Streams { table: None, after: None, limit: 100 }).unwrap() {
        ReadReply::Streams(streams, false) => streams,
        other => panic!("{other:?}"),
    }
}

fn recorded(run: &mut Run, stream: StreamId) -> Vec<Record> {
    let view = run.replicas[0].kv().view();
    match records(&view, stream, Position::default(), 1000) {
        Records::Read { records, .. } => records,
        Records::Trimmed => panic!("trimmed"),
    }
}

/// Each view tells of an item what it says, and a write that changes nothing leaves no record.
#[test]
fn a_feed_tells_what_its_view_says() {
    let old_and_new = |view| {
        let mut run = Run::new(4);
        let made = Definition { stream: Some(view), ..definition("t") };
        run.command(What::Create(Box::new(made)), EPOCH).unwrap();
        for what in [Doing::Set(1), Doing::Set(1), Doing::Set(2), Doing::Check, Doing::Delete, Doing::Delete]
        {
            execute(&mut run, 1, what);
        }
        let id = streams(&mut run)[0].id;
        let records = recorded(&mut run, id);
        let kinds: Vec<_> = records.iter().map(|record| record.changed).collect();
        assert_eq!(kinds, [Changed::Inserted, Changed::Modified, Changed::Removed]);
        assert!(records.iter().all(|r| r.keys == key_item(&("p".into(), 1)) && !r.by_time && r.time > 0));
        let value = |item: &Option<Item>| item.as_ref().and_then(|item| item.get("v").cloned());
        records.iter().map(|record| (value(&record.old), value(&record.new))).collect::<Vec<_>>()
    };
    let (one, two) = (Some(n(1)), Some(n(2)));
    assert_eq!(old_and_new(StreamView::KeysOnly), vec![(None, None); 3]);
    assert_eq!(old_and_new(StreamView::New), [(None, one.clone()), (None, two.clone()), (None, None)]);
    assert_eq!(old_and_new(StreamView::Old), [(None, None), (one.clone(), None), (two.clone(), None)]);
    assert_eq!(old_and_new(StreamView::Both), [(None, one.clone()), (one, two.clone()), (two, None)]);
}

/// A feed that is switched on anew is another one, also where clocks stand still or the table was made anew; the old one can
/// be read until a day is over, and then nothing is left of it.
#[test]
fn feeds_end_and_go() {
    let mut run = Run::new(5);
    run.now = 5;
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let empty = run.replicas[0].kv().rows_of_tables();
    for q in 0..3 {
        run.command(stream_change("t", Some(StreamView::Both)), EPOCH).unwrap();
        assert!(run.command(stream_change("t", Some(StreamView::New)), EPOCH).is_err());
        execute(&mut run, q, Doing::Set(1));
        run.now = 5;
        run.command(stream_change("t", None), EPOCH).unwrap();
        assert!(run.command(stream_change("t", None), EPOCH).is_err());
        execute(&mut run, q, Doing::Delete);
    }
    run.command(What::Delete("t".into()), EPOCH).unwrap();
    run.now = 5;
    let made = Definition { stream: Some(StreamView::Both), ..definition("t") };
    run.command(What::Create(Box::new(made)), EPOCH).unwrap();
    let found = streams(&mut run);
    assert!(found.is_sorted_by(|a, b| a.id.label < b.id.label), "{found:?}");
    assert_eq!(
        found.iter().map(|stream| stream.ended.is_some()).collect::<Vec<_>>(),
        [true, true, true, false]
    );
    for stream in &found[..3] {
        assert_eq!(recorded(&mut run, stream.id).len(), 1);
    }
    let due = |run: &mut Run| {
        let now = run.now;
        match read(&run.replicas[0].kv().view(), &Read::TrimIsDue { now }).unwrap() {
            ReadReply::TrimIsDue(due) => due,
            other => panic!("{other:?}"),
        }
    };
    assert!(due(&mut run));
    run.command(What::Trim, EPOCH).unwrap();
    assert!(!due(&mut run));
    run.now += KEPT;
    assert!(due(&mut run));
    run.command(What::Trim, EPOCH).unwrap();
    assert_eq!(streams(&mut run).len(), 1);
    run.command(What::Delete("t".into()), EPOCH).unwrap();
    run.now += 2 * KEPT;
    run.command(What::Trim, EPOCH).unwrap();
    run.now += 2 * KEPT;
    run.command(What::Trim, EPOCH).unwrap();
    assert!(!due(&mut run), "nothing is kept");
    while run.replicas[0].kv().compact_step(2).unwrap() {}
    // The horizon has a row of its own, and the table, which had definition and figures, is gone.
    assert!(run.replicas[0].kv().rows_of_tables() <= empty, "swept");
}

/// What time takes away is told apart from what clients take.
#[test]
fn a_record_says_that_time_took_the_item() {
    let mut run = Run::new(6);
    let made = Definition { stream: Some(StreamView::Old), expires: Some("v".into()), ..definition("t") };
    run.command(What::Create(Box::new(made)), EPOCH).unwrap();
    run.now = 1_700_000_000_000;
    execute(&mut run, 1, Doing::Set(1_699_999_999));
    let view = run.replicas[0].kv().view();
    let overdue = Read::Overdue { after: None, now: run.now, items: 9 };
    let ReadReply::Overdue(overdue) = read(&view, &overdue).unwrap() else { panic!() };
    let keys = overdue.items.into_iter().map(|(_, key)| key).collect();
    run.command(What::Expire { table: 1, keys }, EPOCH).unwrap();
    let id = streams(&mut run)[0].id;
    let told: Vec<_> = recorded(&mut run, id).iter().map(|record| (record.changed, record.by_time)).collect();
    assert_eq!(told, [(Changed::Inserted, false), (Changed::Removed, true)]);
}

/// Claim: who goes on reading at a replica that is behind is told nothing again, and is not sent back.
#[test]
fn reading_does_not_go_back_at_a_replica_that_is_behind() {
    let mut run = Run::new(8);
    let made = Definition { stream: Some(StreamView::Both), ..definition("t") };
    run.command(What::Create(Box::new(made)), EPOCH).unwrap();
    execute(&mut run, 1, Doing::Set(1));
    let id = streams(&mut run)[0].id;
    let behind = run.replicas[0].kv().view();
    for value in 2..5 {
        execute(&mut run, 1, Doing::Set(value));
    }
    let newest = run.replicas[0].kv().view();
    let read_on = |view: &KvView, from| match records(view, id, from, 9) {
        Records::Read { records, next, .. } => (records.len(), next.unwrap()),
        Records::Trimmed => panic!("trimmed"),
    };
    let (told, place) = read_on(&newest, Position::default());
    assert_eq!(told, 4);
    assert_eq!(read_on(&behind, place), (0, place));
    assert_eq!(read_on(&newest, place), (0, place));
}
