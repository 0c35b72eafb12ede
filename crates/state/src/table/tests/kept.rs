//! What is kept of change feeds, and what is swept away: over restarts, pages of lists, and large records.

use super::*;
use crate::table::KEPT;

fn with_feeds(tables: &[&str]) -> Run {
    let mut run = Run::new(31);
    run.now = 1_700_000_000_000;
    for table in tables {
        let made = Definition { stream: Some(StreamView::Both), ..definition(table) };
        run.command(What::Create(Box::new(made)), EPOCH).unwrap();
    }
    run
}

fn put(run: &mut Run, q: i64, text: &str) {
    put_into(run, "t", q, text);
}

fn put_into(run: &mut Run, table: &str, q: i64, text: &str) {
    let mut of = key_item(&("p".into(), q));
    of.0.insert("rest".into(), s(text));
    let (key, condition, what) = (("p".into(), q), Held::Always, Doing::Put(of));
    let asked = Asked { table: table.into(), key, condition, what };
    let execute = Execute { atomic: false, token: None, ops: vec![asked.op()] };
    run.command(What::Execute(execute), EPOCH).unwrap();
}

fn list(run: &mut Run, after: Option<(String, u64)>, limit: usize) -> (Vec<StreamDescribed>, bool) {
    let view = run.replicas[0].kv().view();
    match read(&view, &Read::Streams { table: None, after, limit }).unwrap() {
        ReadReply::Streams(streams, more) => (streams, more),
        other => panic!("{other:?}"),
    }
}

/// The entries whose records are there.
fn recorded(run: &mut Run, stream: StreamId) -> Vec<u64> {
    let view = run.replicas[0].kv().view();
    match records(&view, stream, Position::default(), 1_000) {
        Records::Read { records, .. } => records.iter().map(|record| record.at.index).collect(),
        Records::Trimmed => panic!("trimmed"),
    }
}

fn is_due(run: &mut Run) -> bool {
    let asked = Read::TrimIsDue { now: run.now };
    let view = run.replicas[0].kv().view();
    matches!(read(&view, &asked).unwrap(), ReadReply::TrimIsDue(true))
}

fn restart(run: &mut Run) {
    let replica = &mut run.replicas[0];
    replica.kv().seal().unwrap().run(1).unwrap();
    replica.kv = None;
    replica.kv = Some(Kv::open(SHARD, replica.store.open(Some(1)).unwrap()).unwrap());
}

/// Claim: what is let go is swept away to its last record and no further, and is counted no more.
#[test]
fn what_is_let_go_is_swept_and_nothing_else() {
    let mut run = with_feeds(&["t"]);
    let id = list(&mut run, None, 9).0[0].id;
    (0..5).for_each(|q| put(&mut run, q, ""));
    run.command(What::Trim, EPOCH).unwrap();
    let note = run.log.len() as u64;
    (0..5).for_each(|q| put(&mut run, q, "again"));
    let rows = run.replicas[0].kv().rows_of_tables();
    run.now += KEPT;
    run.command(What::Trim, EPOCH).unwrap();
    let sweep = |run: &mut Run| while run.replicas[0].kv().compact_step(2).unwrap() {};
    sweep(&mut run);
    assert_eq!(recorded(&mut run, id), (note + 1..=note + 5).collect::<Vec<_>>());
    assert_eq!(run.replicas[0].kv().rows_of_tables(), rows - 5);
    run.now += KEPT;
    assert!(is_due(&mut run));
    run.command(What::Trim, EPOCH).unwrap();
    sweep(&mut run);
    assert!(recorded(&mut run, id).is_empty());
    run.now += KEPT;
    assert!(!is_due(&mut run), "there is nothing to let go of");
}

/// Claim: of several feeds each is swept, whichever was before.
#[test]
fn every_feed_is_swept() {
    let mut run = with_feeds(&["t", "u"]);
    for (q, table) in (0..5).flat_map(|q| [(q, "u"), (q, "t")]) {
        put_into(&mut run, table, q, "");
    }
    for _ in 0..2 {
        run.command(What::Trim, EPOCH).unwrap();
        run.now += KEPT;
    }
    let rows = run.replicas[0].kv().rows_of_tables();
    while run.replicas[0].kv().compact_step(2).unwrap() {}
    assert_eq!(run.replicas[0].kv().rows_of_tables(), rows - 10);
}

/// Claim: a restart knows of each feed where it began and ended, and that there is something in it; one that is empty and has ended is
/// let go of, too.
#[test]
fn a_restart_knows_the_feeds() {
    let mut run = with_feeds(&["t"]);
    let began = run.log.len() as u64;
    put(&mut run, 1, "");
    run.command(stream_change("t", None), EPOCH).unwrap();
    let ended = run.log.len() as u64;
    run.command(stream_change("t", Some(StreamView::New)), EPOCH).unwrap();
    let before = list(&mut run, None, 9).0;
    let edge = |index| Position { index, number: 0 };
    let told: Vec<_> = before.iter().map(|of| (of.oldest, of.ended, of.view)).collect();
    let first = (edge(began + 1), Some(edge(ended)), StreamView::Both);
    assert_eq!(told, [first, (edge(ended + 2), None, StreamView::New)]);
    restart(&mut run);
    assert_eq!(list(&mut run, None, 9).0, before);

    let mut open = with_feeds(&["t"]);
    assert!(!is_due(&mut open), "an open feed without a record has nothing to let go of");
    put(&mut open, 1, "");
    restart(&mut open);
    assert!(is_due(&mut open));
    let mut empty = with_feeds(&["t"]);
    empty.command(stream_change("t", None), EPOCH).unwrap();
    assert!(is_due(&mut empty));
}

/// Claim: a list that is read a few at a time has each feed once, and says whether there are more.
#[test]
fn a_list_goes_on_where_it_ended() {
    let mut run = with_feeds(&["t", "a", "z"]);
    run.command(stream_change("t", None), EPOCH).unwrap();
    run.command(stream_change("t", Some(StreamView::New)), EPOCH).unwrap();
    for limit in 1..=5 {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let (streams, more) = list(&mut run, after, limit);
            assert!(!streams.is_empty(), "it said that there are more");
            names.extend(streams.iter().map(|of| of.table.clone()));
            after = streams.last().map(|of| (of.table.clone(), of.id.label));
            if !more {
                break;
            }
        }
        assert_eq!(names, ["a", "t", "t", "z"], "{limit} at a time");
    }
}

/// Claim: a read of a feed ends behind a megabyte, and goes on with the next record.
#[test]
fn a_read_of_large_records_ends_in_time() {
    let mut run = with_feeds(&["t"]);
    let id = list(&mut run, None, 9).0[0].id;
    (0..5).for_each(|q| put(&mut run, q, &"r".repeat(300_000)));
    let view = run.replicas[0].kv().view();
    let (mut from, mut told) = (Position::default(), Vec::new());
    for _ in 0..2 {
        let Records::Read { records, next, .. } = records(&view, id, from, 1_000) else { panic!("trimmed") };
        told.push(records.len());
        from = next.unwrap();
    }
    assert_eq!(told, [4, 1]);
}
