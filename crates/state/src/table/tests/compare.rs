//! Every read of the machine beside what the maps say.

use super::*;

pub(super) fn read(view: &KvView, read: &Read) -> Result<ReadReply, ReadError> {
    view.tables_while(read, &|_| true).map(Option::unwrap)
}

pub(super) fn page(view: &KvView, page: Page) -> Result<Paged, ReadError> {
    match read(view, &Read::Page(Box::new(page)))? {
        ReadReply::Page(paged) => Ok(paged),
        other => panic!("{other:?}"),
    }
}

pub(super) fn all_of(table: &str, index: Option<&str>, keys: KeysAsked) -> Page {
    Page { index: index.map(String::from), ..Page::of(table, keys) }
}

/// All items of what a page is of, a few at a time.
pub(super) fn pages(view: &KvView, first: &Page, rng: &mut Rng) -> Vec<Item> {
    let (mut items, mut start) = (Vec::new(), None);
    loop {
        let limit = Some(1 + rng.below(9) as usize);
        let paged = page(view, Page { start: start.take(), limit, ..first.clone() }).unwrap();
        assert_eq!((paged.count, paged.scanned), (paged.items.len(), paged.items.len()));
        items.extend(paged.items);
        match paged.last {
            Some(last) => start = Some(last),
            None => return items,
        }
    }
}

pub(super) fn key_of(item: &Item) -> Key {
    match (item.get("p"), item.get("q")) {
        (Some(AttributeValue::S(p)), Some(AttributeValue::N(q))) => (p.clone(), q.to_i64().unwrap()),
        _ => panic!("{item:?}"),
    }
}

pub(super) fn only(item: &Item, names: &[&str]) -> Item {
    Item(
        item.0
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    )
}

pub(super) fn records(view: &KvView, stream: StreamId, from: Position, limit: usize) -> Records {
    match read(view, &Read::Records { stream, from, limit }).unwrap() {
        ReadReply::Records(records) => records,
        other => panic!("{other:?}"),
    }
}

/// All records of a feed from a place on, a few at a time, and where it would go on.
pub(super) fn all_records(
    view: &KvView,
    id: StreamId,
    mut from: Position,
    rng: &mut Rng,
) -> (Vec<Record>, Option<Position>) {
    let mut all = Vec::new();
    loop {
        let limit = 1 + rng.below(9) as usize;
        let Records::Read { records, next, .. } = records(view, id, from, limit) else { panic!("trimmed") };
        let some = !records.is_empty();
        all.extend(records);
        match next {
            Some(next) if some => from = next,
            next => return (all, next),
        }
    }
}

/// The feeds are the changes, in the order of the log.
pub(super) fn compare_feeds(view: &KvView, model: &Model, rng: &mut Rng) {
    let list = Read::Streams { table: None, after: None, limit: 1000 };
    let ReadReply::Streams(streams, false) = read(view, &list).unwrap() else { panic!() };
    let names: Vec<_> = streams.iter().map(|stream| (stream.table.clone(), stream.id.label)).collect();
    assert_eq!(names, model.feeds.keys().cloned().collect::<Vec<_>>());
    for (stream, feed) in streams.iter().zip(model.feeds.values()) {
        assert_eq!(stream.ended.map(|at| at.index), feed.ended);
        let (found, next) = all_records(view, stream.id, Position::default(), rng);
        let change = |record: &Record| {
            (record.at.index, (key_of(&record.keys), record.old.clone(), record.new.clone()))
        };
        assert_eq!(found.iter().map(change).collect::<Vec<_>>(), feed.records);
        assert!(found.is_sorted_by_key(|record| record.at));
        assert_eq!(next, feed.ended.is_none().then_some(stream.next));
        if !found.is_empty() {
            let from = rng.pick(&found).at;
            let rest = all_records(view, stream.id, from, rng).0;
            assert_eq!(rest, found.iter().filter(|record| record.at >= from).cloned().collect::<Vec<_>>());
        }
        if stream.oldest.index == model.horizon + 1 && model.horizon > 0 {
            let below = Position { index: model.horizon, number: 0 };
            assert_eq!(records(view, stream.id, below, 1), Records::Trimmed);
        }
    }
}

/// Every read says what the maps say.
pub(super) fn compare(view: &KvView, model: &Model, rng: &mut Rng) {
    let ReadReply::Names(names, more) = read(view, &Read::List { after: None, limit: 10 }).unwrap() else {
        panic!()
    };
    assert_eq!((names, more), (model.tables.keys().cloned().collect(), false));
    compare_feeds(view, model, rng);
    for (name, table) in &model.tables {
        let equals = |name: &str, value: AttributeValue| {
            Condition::Compare(Comparator::Eq, Operand::Path(Path::attribute(name)), Operand::Value(value))
        };
        let mut scanned = pages(view, &all_of(name, None, KeysAsked::All(None)), rng);
        scanned.sort_by_key(key_of);
        assert_eq!(scanned, table.items.values().cloned().collect::<Vec<_>>(), "a scan");
        let of = 1 + rng.below(5) as u32;
        let segments =
            (0..of).map(|at| pages(view, &all_of(name, None, KeysAsked::All(Some((at, of)))), rng));
        assert_eq!(segments.map(|part| part.len()).sum::<usize>(), table.items.len(), "a scan in segments");
        for p in ["p0", "p1", "p2", "p3"] {
            let partition: Vec<&Item> =
                table.items.iter().filter(|((of, _), _)| of == p).map(|(_, i)| i).collect();
            let query = all_of(name, None, KeysAsked::Condition(equals("p", s(p))));
            let found = pages(view, &query, rng);
            assert_eq!(found.iter().collect::<Vec<_>>(), partition, "a query");
            let mut back = pages(view, &Page { backward: true, ..query }, rng);
            back.reverse();
            assert_eq!(back, found, "backward");
            // By the local index: those that have its key, in its order.
            let mut with: Vec<&&Item> = partition.iter().filter(|item| item.get("l").is_some()).collect();
            with.sort_by_key(|item| match item.get("l") {
                Some(AttributeValue::N(l)) => (l.to_i64(), key_of(item)),
                _ => (None, key_of(item)),
            });
            let query = all_of(name, Some("local"), KeysAsked::Condition(equals("p", s(p))));
            let expected: Vec<Item> = with.iter().map(|item| only(item, &["p", "q", "l"])).collect();
            assert_eq!(pages(view, &query, rng), expected, "by the local index");
            let whole: Vec<Item> = with.into_iter().map(|item| (*item).clone()).collect();
            assert_eq!(pages(view, &Page { whole: true, ..query }, rng), whole, "fetched");
        }
        for g in ["x", "y"] {
            let with = |item: &&Item| item.get("g") == Some(&s(g));
            let mut expected: Vec<Item> =
                table.items.values().filter(with).map(|i| only(i, &["p", "q", "g", "v"])).collect();
            let keys = KeysAsked::Condition(equals("g", s(g)));
            let mut found = pages(view, &all_of(name, Some("global"), keys.clone()), rng);
            assert!(found.is_sorted_by_key(|item| key_of(item).1), "in the order of its sort key");
            for list in [&mut found, &mut expected] {
                list.sort_by_key(key_of);
            }
            assert_eq!(found, expected, "by the global index");
            let ready = view.tables().filling().is_none();
            if table.later && ready {
                let mut found = pages(view, &all_of(name, Some("later"), keys), rng);
                found.sort_by_key(key_of);
                assert_eq!(found, table.items.values().filter(with).cloned().collect::<Vec<_>>(), "filled");
            }
        }
        let ReadReply::Table(described) = read(view, &Read::Describe(name.clone())).unwrap() else {
            panic!()
        };
        let size: usize = table.items.values().map(Item::size).sum();
        assert_eq!(
            (described.figures.items, described.figures.bytes),
            (table.items.len() as u64, size as u64)
        );
        let gets: Vec<Get> = (-3..5).map(|q| Get::of(name.as_str(), key_item(&("p1".into(), q)))).collect();
        let ReadReply::Items(got) = read(view, &Read::Get(gets)).unwrap() else { panic!() };
        for (q, got) in (-3..5).zip(got) {
            assert_eq!(got.item.as_ref(), table.items.get(&("p1".into(), q)));
        }
    }
}
