//! A shard of a table that has several: what its indexes and its part of a change feed are, as it hears of its table's changes.

use super::*;
use crate::table::{read_asked, read_reply, write_asked, write_reply};
use bytes::BytesMut;
use quorate_wire::codec::Reader;

/// The table with its first indexes, as shard 1 has it.
fn table() -> Definition {
    let mut table = Definition { id: 5, stream: None, ..definition("t") };
    for (id, index) in (1..).zip(table.locals.iter_mut().chain(&mut table.globals)) {
        index.id = id;
    }
    table
}

fn adopt(run: &mut Run, version: u64, definition: &Definition) {
    let what = What::Adopt { version, definition: Box::new(definition.clone()) };
    assert_eq!(run.command(what, EPOCH), Ok(Reply::Adopted));
}

fn put(run: &mut Run, q: i64) {
    let mut item = key_item(&("p".into(), q));
    item.0.extend([("g".to_string(), s("x")), ("l".to_string(), n(-q))]);
    let what = Doing::Put(item);
    let ops = vec![Asked { table: "t".into(), key: ("p".into(), q), condition: Held::Always, what }.op()];
    run.command(What::Execute(Execute { atomic: false, token: None, ops }), EPOCH).unwrap();
}

fn view(run: &mut Run) -> Arc<KvView> {
    run.replicas[0].kv().view()
}

fn indexed(run: &mut Run, index: &str) -> Result<usize, ReadError> {
    Ok(page(&view(run), all_of("t", Some(index), KeysAsked::All(None)))?.scanned)
}

fn restart(run: &mut Run) {
    let replica = &mut run.replicas[0];
    replica.kv().settle();
    replica.kv().seal().unwrap().run(1).unwrap();
    replica.kv = None;
    replica.kv = Some(Kv::open(SHARD, replica.store.open(Some(1)).unwrap()).unwrap());
}

/// Claim: a shard fills an index that is new to it with its own items, whatever shard 1 says of its state, goes on after a restart, and
/// lets go of one that is gone; an index that came with the table needs no filling.
#[test]
fn an_index_is_filled_by_the_shard_that_hears_of_it() {
    let mut run = Run::new(11);
    let first = table();
    let named = first.globals[0].name.clone();
    adopt(&mut run, 10, &first);
    for q in 0..20 {
        put(&mut run, q);
    }
    assert_eq!(indexed(&mut run, &named).unwrap(), 20);
    let before = run.replicas[0].kv().rows_of_tables();

    // Shard 1 has no items, so it may be through with its own part already.
    let added = TableIndex { id: 9, ..index("added", "g", Some("l"), Projected::All) };
    let mut second = first.clone();
    second.globals.push(TableIndex { state: IndexState::Active, ..added });
    adopt(&mut run, 20, &second);
    assert!(indexed(&mut run, "added").is_err(), "it is not filled");
    let fill = |run: &mut Run| run.command(What::Fill { table: 5, index: 9, items: 6 }, EPOCH);
    fill(&mut run).unwrap();
    restart(&mut run);
    put(&mut run, 20);
    // Of a change that is about something else it hears what it is itself.
    let mut third = second.clone();
    third.tags.push(("a".into(), "b".into()));
    adopt(&mut run, 30, &third);
    while view(&mut run).tables().filling().is_some() {
        fill(&mut run).unwrap();
    }
    assert_eq!((indexed(&mut run, "added").unwrap(), indexed(&mut run, &named).unwrap()), (21, 21));
    adopt(&mut run, 40, &first);
    assert!(indexed(&mut run, "added").is_err(), "it is gone");
    while run.replicas[0].kv().compact_step(7).unwrap() {}
    // The one item that came since has a row of its own, and one in each index.
    let indexes = first.locals.len() + first.globals.len();
    assert_eq!(run.replicas[0].kv().rows_of_tables(), before + 1 + indexes);
}

/// Claim: a shard's part of a feed begins and ends where it hears of that, another feed is another part, and what ended before it heard of
/// it is not there.
#[test]
fn a_feed_begins_and_ends_where_the_shard_hears_of_it() {
    let mut run = Run::new(12);
    let labelled = |label: Option<u64>, view: Option<StreamView>| Definition {
        stream: view,
        latest_stream: label,
        ..table()
    };
    adopt(&mut run, 10, &labelled(None, None));
    put(&mut run, 0);
    adopt(&mut run, 20, &labelled(Some(7), Some(StreamView::New)));
    put(&mut run, 1);
    restart(&mut run);
    // A change of something else.
    adopt(&mut run, 30, &labelled(Some(7), Some(StreamView::New)));
    put(&mut run, 2);
    // The one with label 8 has come and gone meanwhile.
    adopt(&mut run, 40, &labelled(Some(9), Some(StreamView::KeysOnly)));
    put(&mut run, 3);
    adopt(&mut run, 50, &labelled(Some(9), None));
    put(&mut run, 4);
    let told = |run: &mut Run, label: u64| {
        let id = StreamId { table: 5, label };
        let ReadReply::Stream(stream) = read(&view(run), &Read::Stream("t".into(), label)).unwrap() else {
            panic!()
        };
        assert!(stream.ended.is_some());
        match records(&view(run), id, Position::default(), 100) {
            Records::Read { records, next: None, .. } => {
                records.iter().map(|record| key_of(&record.keys).1).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(told(&mut run, 7), [1, 2]);
    assert_eq!(told(&mut run, 9), [3]);
    assert!(read(&view(&mut run), &Read::Stream("t".into(), 8)).is_err());
}

/// Claim: what a node asks of another one that has the shard, and what it hears of indexes and feeds, comes over as it is.
#[test]
fn what_is_passed_on_comes_back() {
    let mut run = Run::new(13);
    let streaming = Definition { stream: Some(StreamView::Both), latest_stream: Some(7), ..table() };
    adopt(&mut run, 10, &streaming);
    for q in 0..5 {
        put(&mut run, q % 4);
    }
    let named = streaming.globals[0].name.clone();
    let first = all_of("t", Some(&named), KeysAsked::All(Some((0, 1))));
    let counted = Page { count: true, limit: Some(2), backward: true, ..first.clone() };
    let id = StreamId { table: 5, label: 7 };
    let asked = [
        Read::Rows(Box::new(first)),
        Read::Rows(Box::new(counted)),
        Read::Stream("t".into(), 7),
        Read::Records { stream: id, from: Position::default(), limit: 3 },
        Read::Records { stream: id, from: Position { index: 4, number: 1 }, limit: 1000 },
    ];
    for asked in asked {
        let mut out = BytesMut::new();
        assert!(write_asked(&mut out, &asked));
        let mut input = Reader::new(out.freeze());
        assert_eq!(read_asked(&mut input), Ok(asked.clone()));
        input.end().unwrap();
        let reply = read(&view(&mut run), &asked).unwrap();
        let mut out = BytesMut::new();
        assert!(write_reply(&mut out, &reply));
        let whole = out.freeze();
        let mut input = Reader::new(whole.clone());
        assert_eq!(read_reply(&mut input), Ok(reply));
        input.end().unwrap();
        for cut in 0..whole.len() {
            assert!(read_reply(&mut Reader::new(whole.slice(..cut))).is_err(), "cut at {cut}");
        }
    }
}
