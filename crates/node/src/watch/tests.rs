//! The hub against a history that is simply a list.

mod clock;
mod sound;

use super::behind::{CAUGHT_BYTES, READING_MAX};
use super::*;
use quorate_base::Rng;
use quorate_storage::state::StateResult;
use quorate_wire::kv::KeyValue;

#[derive(Clone, Default)]
struct Past {
    events: Vec<Event>,
    compacted: Revision,
    revision: Revision,
}

impl History for Past {
    fn revision(&self) -> Revision {
        self.revision
    }
    fn compacted(&self) -> Revision {
        self.compacted
    }
    fn history(
        &self,
        from: Revision,
        bytes: usize,
        wanted: &Wanted<'_>,
    ) -> StateResult<(Vec<Event>, Revision)> {
        let (mut out, mut taken, mut last) = (Vec::new(), 0, 0);
        for event in self.events.iter().filter(|e| e.kv.mod_revision >= from) {
            if taken > bytes && last != event.kv.mod_revision {
                return Ok((out, last));
            }
            taken += event.size();
            last = event.kv.mod_revision;
            let kind = if event.deleted { wanted.deletions } else { wanted.puts };
            if kind && wanted.range.is_none_or(|range| contains(range, &event.kv.key)) {
                let prev = event.prev.clone().filter(|_| wanted.prev);
                out.push(Event { prev, ..event.clone() });
            }
        }
        Ok((out, self.revision))
    }
}

fn event(key: &str, revision: Revision, deleted: bool) -> Event {
    let kv = KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        mod_revision: revision,
        ..KeyValue::default()
    };
    Event { deleted, kv, prev: None }
}

/// An event, with the pair before it.
fn replacing(key: &str, revision: Revision, deleted: bool) -> Event {
    Event { prev: Some(event(key, revision - 1, false).kv), ..event(key, revision, deleted) }
}

/// Events that are too many to be listed.
fn named(events: &[Event]) -> Events {
    let keys = || events.iter().map(|event| event.kv.key.clone());
    Events::Between { first: keys().min().unwrap(), last: keys().max().unwrap() }
}

fn hub(ring_bytes: usize, past: &Past) -> Arc<Mutex<Hub>> {
    let options = Options { ring_bytes, message_bytes: 300, ..Options::default() };
    Arc::new(Mutex::new(Hub::new(options, Arc::new(past.clone()), Box::new(|| {}))))
}

fn range(key: &str, end: &str) -> KeyRange {
    let bytes = |s: &str| Bytes::copy_from_slice(s.as_bytes());
    KeyRange { key: bytes(key), end: bytes(end) }
}

/// Reads all history that is wanted, and hands it in; how many batches there were.
fn catch_up(hub: &Arc<Mutex<Hub>>) -> usize {
    let wanted = lock(hub).take_wanted();
    let n = wanted.len();
    wanted.into_iter().map(CatchUp::read).for_each(|caught| lock(hub).caught_up(caught));
    n
}

/// All that a stream says, history read as it is wanted.
fn all(hub: &Arc<Mutex<Hub>>, stream: &mut Box<dyn WatchStream>) -> Vec<WatchMessage> {
    let mut said: Vec<WatchMessage> = std::iter::from_fn(|| stream.poll()).collect();
    for _ in 0..ROUNDS {
        let (batches, before) = (catch_up(hub), said.len());
        said.extend(std::iter::from_fn(|| stream.poll()));
        if batches == 0 && said.len() == before {
            return said;
        }
    }
    panic!("history is wanted without end; said so far: {:?}", told(&said));
}

/// Behind it whoever wants progress by the clock is due.
const AT_LAST: Duration = Duration::from_secs(660);

/// Many times the reads of history that bring any watch here to the present.
const ROUNDS: usize = 10_000;

fn create(range: KeyRange, start: Revision) -> WatchRequest {
    WatchRequest::Create(WatchCreate { range, start, ..WatchCreate::default() })
}

fn told(said: &[WatchMessage]) -> Vec<Revision> {
    said.iter().flat_map(|m| &m.events).map(|e| e.kv.mod_revision).collect()
}

/// Every watch gets each event that it wants once, in order, whole revisions, with what was replaced if it asked for that, whatever the ring,
/// the start, the pace and the other watches of its stream, however events come, and whenever the history is read and comes back; and a promise that all is told up to a revision holds, be it asked for or
/// due by the clock.
#[test]
fn watches_are_ordered_unique_reliable_and_atomic() {
    let mut promises = [0; 2];
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let mut past = Past { revision: 1, ..Past::default() };
        let hub = hub(rng.between(200, 3000) as usize, &past);
        let keys = ["a", "b", "c", "d"];
        let mut streams: Vec<Watched> = Vec::new();
        let (mut wanted, mut caught) = (Vec::new(), Vec::new());
        let mut now = Instant::ZERO;
        for _ in 0..rng.between(20, 120) {
            lock(&hub).check();
            wanted.append(&mut lock(&hub).take_wanted());
            let some = (!streams.is_empty()).then(|| rng.below(streams.len() as u64) as usize);
            match (rng.below(11), some) {
                (0, _) => {
                    let at = some.filter(|_| rng.chance(1, 2)).unwrap_or_else(|| {
                        let stream = Hub::open_stream(&hub, Box::new(|| {}));
                        streams.push(Watched { stream, watches: Vec::new() });
                        streams.len() - 1
                    });
                    streams[at].begin(&mut rng, &keys, past.revision);
                }
                (1, _) if !wanted.is_empty() => caught.push(wanted.swap_remove(0).read()),
                (2, _) if !caught.is_empty() => lock(&hub).caught_up(caught.swap_remove(0)),
                (3, Some(at)) => streams[at].stream.request(WatchRequest::Progress),
                (4, Some(at)) => streams[at].read(rng.below(4) as usize),
                (6, Some(at)) if rng.chance(1, 3) => streams[at].cancel(&mut rng),
                (5, Some(at)) => {
                    now = now + AT_LAST;
                    lock(&hub).tick(now);
                    streams[at].read(usize::MAX);
                }
                _ => {
                    past.revision += 1;
                    let mut batch = Vec::new();
                    for key in keys {
                        if rng.chance(1, 3) {
                            batch.push(replacing(key, past.revision, rng.chance(1, 5)));
                        }
                    }
                    if batch.is_empty() {
                        batch.push(replacing("a", past.revision, false));
                    }
                    past.events.extend(batch.clone());
                    let view = Arc::new(past.clone());
                    match rng.below(12) {
                        0 => lock(&hub).reset(view),
                        1 => lock(&hub).publish(view, named(&batch)),
                        _ => lock(&hub).publish(view, batch),
                    }
                }
            }
        }
        caught.extend(wanted.into_iter().map(CatchUp::read));
        for caught in caught {
            lock(&hub).caught_up(caught);
        }
        let behind = (0..ROUNDS).all(|_| {
            for stream in &mut streams {
                stream.read(usize::MAX);
            }
            catch_up(&hub) > 0
        });
        assert!(!behind, "seed {seed}: history is wanted without end");
        lock(&hub).check();
        for One { asked, first, got, canceled, promised } in streams.iter().flat_map(|stream| &stream.watches)
        {
            let due: Vec<Event> = past
                .events
                .iter()
                .filter(|e| e.kv.mod_revision >= *first && contains(&asked.range, &e.kv.key))
                .filter(|e| if e.deleted { !asked.no_delete } else { !asked.no_put })
                .map(|e| Event { prev: e.prev.clone().filter(|_| asked.prev_kv), ..e.clone() })
                .collect();
            let known = if *canceled { &due[..got.len()] } else { &due[..] };
            assert_eq!(*got, known, "seed {seed}: {asked:?} from {first}");
            for &(by_clock, revision, told) in promised {
                let before = due.iter().filter(|e| e.kv.mod_revision <= revision).count();
                assert!(
                    before <= told,
                    "seed {seed}: {told} of {before} told up to {revision}, clock: {by_clock}"
                );
                promises[usize::from(by_clock)] += 1;
            }
        }
    }
    assert!(promises.iter().all(|n| *n > 50), "{promises:?}");
}

/// A stream, and its watches by their numbers.
struct Watched {
    stream: Box<dyn WatchStream>,
    watches: Vec<One>,
}

struct One {
    asked: WatchCreate,
    first: Revision,
    got: Vec<Event>,
    canceled: bool,
    /// Revisions up to which all was said to be told, whether by the clock, and how much had been told then.
    promised: Vec<(bool, Revision, usize)>,
}

impl Watched {
    fn begin(&mut self, rng: &mut Rng, keys: &[&str], newest: Revision) {
        let from = *rng.pick(keys);
        let r = if rng.chance(1, 2) { range(from, "") } else { range(from, "d") };
        let r = if r.key == r.end { range("a", "\0") } else { r };
        let start = rng.between(0, newest as u64 + 3) as Revision;
        let asked = WatchCreate {
            range: r,
            start,
            progress_notify: rng.chance(1, 2),
            no_put: rng.chance(1, 6),
            no_delete: rng.chance(1, 6),
            prev_kv: rng.chance(1, 2),
            ..WatchCreate::default()
        };
        self.stream.request(WatchRequest::Create(asked.clone()));
        let first = if start == 0 { newest + 1 } else { start };
        let (got, promised) = (Vec::new(), Vec::new());
        self.watches.push(One { asked, first, got, canceled: false, promised });
    }

    fn cancel(&mut self, rng: &mut Rng) {
        let id = rng.below(self.watches.len() as u64 + 1) as i64;
        self.stream.request(WatchRequest::Cancel { id });
    }

    fn read(&mut self, most: usize) {
        for _ in 0..most {
            let Some(message) = self.stream.poll() else { return };
            let Ok(id) = usize::try_from(message.id) else {
                for one in self.watches.iter_mut().filter(|one| !one.canceled) {
                    one.promised.push((false, message.revision, one.got.len()));
                }
                continue;
            };
            let one = &mut self.watches[id];
            assert!(!one.canceled, "nothing is told of a watch that is gone");
            one.canceled = message.canceled;
            let last = one.got.last().map_or(0, |e| e.kv.mod_revision);
            assert!(
                message.events.iter().all(|e| e.kv.mod_revision > last),
                "a revision is never told in two messages"
            );
            if message.events.is_empty() && !message.created && !message.canceled {
                one.promised.push((true, message.revision, one.got.len()));
            }
            one.got.extend(message.events);
        }
    }
}

/// A watch that catches up keeps no other of its stream waiting, and is told what came meanwhile behind its history.
#[test]
fn live_events_go_on_while_history_is_read() {
    let mut past = Past { revision: 1, ..Past::default() };
    let hub = hub(250, &past);
    let publish = |past: &mut Past| {
        past.revision += 1;
        let batch = vec![event("a", past.revision, false), event("b", past.revision, false)];
        past.events.extend(batch.clone());
        lock(&hub).publish(Arc::new(past.clone()), batch);
    };
    (0..4).for_each(|_| publish(&mut past));
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    s.request(create(range("a", ""), 2));
    s.request(create(range("b", ""), 0));
    assert!(s.poll().unwrap().created && s.poll().unwrap().created);
    assert_eq!(s.poll(), None, "one must read, the other has seen all");
    let mut wanted = lock(&hub).take_wanted();
    assert_eq!(wanted.len(), 1);
    for revision in 6..=8 {
        publish(&mut past);
        s.request(WatchRequest::Progress);
        let said: Vec<_> = std::iter::from_fn(|| s.poll()).collect();
        assert_eq!((said.len(), said[0].id, told(&said)), (1, 1, vec![revision]), "no promise, no history");
    }
    lock(&hub).caught_up(wanted.remove(0).read());
    let said = all(&hub, &mut s);
    assert!(said.iter().all(|m| m.id == 0));
    assert_eq!(told(&said), vec![2, 3, 4, 5, 6, 7, 8]);
    s.request(WatchRequest::Progress);
    assert_eq!(s.poll().map(|m| (m.id, m.revision)), Some((-1, 8)));
}

/// What was read before a compaction is still told; what was not is called compacted, and nothing is left out in between.
#[test]
fn a_compaction_while_history_is_read_is_told_behind_what_was_read() {
    let events = (2..=9).map(|r| event("a", r, false)).collect();
    let past = Past { revision: 9, compacted: 0, events };
    for handed_out in [false, true] {
        let hub = hub(1 << 20, &past);
        let mut s = Hub::open_stream(&hub, Box::new(|| {}));
        s.request(create(range("a", ""), 2));
        assert!(s.poll().unwrap().created && s.poll().is_none());
        let wanted = if handed_out { lock(&hub).take_wanted() } else { Vec::new() };
        let events = (8..=9).map(|r| event("a", r, false)).collect();
        lock(&hub).publish(Arc::new(Past { revision: 9, compacted: 8, events }), Vec::new());
        for wanted in wanted {
            lock(&hub).caught_up(wanted.read());
        }
        let said = all(&hub, &mut s);
        let (last, before) = said.split_last().unwrap();
        assert_eq!((last.id, last.canceled, last.compact_revision), (0, true, 8));
        let expected: Vec<Revision> = if handed_out { vec![2, 3, 4] } else { Vec::new() };
        assert_eq!(told(before), expected, "a batch is about 300 bytes");
    }
}

/// A watch that keeps up loses nothing by a compaction, as long as the newest events hold what it has not seen; one that begins below the
/// compacted revision has asked for what is gone, whatever is still at hand.
#[test]
fn a_compaction_takes_nothing_from_a_watch_that_keeps_up() {
    let hub = hub(1000, &Past { revision: 1, ..Past::default() });
    let open = |start| {
        let mut s = Hub::open_stream(&hub, Box::new(|| {}));
        s.request(create(range("a", ""), start));
        assert!(s.poll().unwrap().created && s.poll().is_none());
        s
    };
    let publish = |revisions: std::ops::RangeInclusive<Revision>, compacted| {
        let new: Vec<Event> = revisions.clone().map(|r| event("a", r, false)).collect();
        let events = new.iter().filter(|e| e.kv.mod_revision >= compacted).cloned().collect();
        lock(&hub).publish(Arc::new(Past { revision: *revisions.end(), compacted, events }), new);
    };
    let (mut from_now, mut from_later) = (open(0), open(3));
    publish(2..=5, 5);
    assert_eq!(told(&all(&hub, &mut from_now)), vec![2, 3, 4, 5]);
    assert_eq!(told(&all(&hub, &mut from_later)), vec![3, 4, 5]);
    let mut late = Hub::open_stream(&hub, Box::new(|| {}));
    late.request(create(range("a", ""), 4));
    let said = all(&hub, &mut late);
    assert_eq!((said.len(), said[1].canceled, said[1].compact_revision), (2, true, 5));
    // Behind the ring it has lost them.
    publish(6..=40, 40);
    let said = all(&hub, &mut from_now);
    assert_eq!((said.len(), said[0].canceled, said[0].compact_revision), (1, true, 40));
}

/// A stream that has much to tell begins with little, and has no large messages: they are held until the client takes them.
#[test]
fn a_stream_that_is_behind_begins_with_a_small_message() {
    let large = |r| {
        let mut event = event("a", r, false);
        event.kv.value = vec![b'v'; 10_000].into();
        event
    };
    for ring_bytes in [1, 32 << 20] {
        let options = Options { ring_bytes, ..Options::default() };
        let past = Past { revision: 1, ..Past::default() };
        let hub = Arc::new(Mutex::new(Hub::new(options, Arc::new(past), Box::new(|| {}))));
        let mut s = Hub::open_stream(&hub, Box::new(|| {}));
        s.request(create(range("a", ""), 0));
        assert!(s.poll().unwrap().created && s.poll().is_none());
        for (round, new) in [2..=500, 501..=501].into_iter().enumerate() {
            let revision = *new.end();
            let past = Past { revision, events: (2..=revision).map(large).collect(), compacted: 0 };
            lock(&hub).publish(Arc::new(past), new.map(large).collect::<Vec<_>>());
            let said = all(&hub, &mut s);
            let sizes: Vec<usize> = said.iter().map(|m| m.events.len()).collect();
            match round {
                0 => assert_eq!((&sizes[..4], sizes.iter().sum()), (&[4, 7, 13, 13][..], 499)),
                _ => assert_eq!(sizes, vec![1]),
            }
        }
    }
}

/// A batch belongs to the watch that it was read for, not to a later one of the same name.
#[test]
fn a_batch_for_a_watch_that_is_gone_is_told_to_nobody() {
    let events = (2..=9).map(|r| event("a", r, false)).collect();
    let hub = hub(1 << 20, &Past { revision: 9, compacted: 0, events });
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    let create = |start| {
        WatchRequest::Create(WatchCreate { range: range("a", ""), start, id: 5, ..WatchCreate::default() })
    };
    s.request(create(2));
    assert!(s.poll().unwrap().created && s.poll().is_none());
    let old = lock(&hub).take_wanted().remove(0);
    s.request(WatchRequest::Cancel { id: 5 });
    s.request(create(8));
    assert!(s.poll().unwrap().canceled && s.poll().unwrap().created && s.poll().is_none());
    lock(&hub).caught_up(old.read());
    assert_eq!(s.poll(), None);
    assert_eq!(told(&all(&hub, &mut s)), vec![8, 9]);
    drop(s);
    let hub = lock(&hub);
    assert_eq!((hub.reading, hub.wanted.len(), hub.caught.len()), (0, 0, 0), "nothing stays behind");
}

/// Streams that do not read hold a bounded number of bytes that were read for them, and lose nothing by it.
#[test]
fn batches_that_nobody_takes_are_dropped_and_read_again() {
    let large = |r| Event {
        kv: KeyValue { value: vec![b'v'; CAUGHT_BYTES / 8].into(), ..event("a", r, false).kv },
        ..event("a", r, false)
    };
    let past = Past { revision: 4, compacted: 0, events: (2..=4).map(large).collect() };
    let hub = hub(1 << 20, &past);
    let mut streams: Vec<_> = (0..20)
        .map(|_| {
            let mut s = Hub::open_stream(&hub, Box::new(|| {}));
            s.request(create(range("a", ""), 2));
            assert!(s.poll().unwrap().created && s.poll().is_none());
            s
        })
        .collect();
    let mut batches = 0;
    while let n @ 1.. = catch_up(&hub) {
        assert!(n <= READING_MAX);
        batches += n;
        assert!(batches < ROUNDS, "history is wanted without end");
        assert!(lock(&hub).caught_bytes <= CAUGHT_BYTES);
    }
    assert_eq!((batches, lock(&hub).caught.len()), (20, 7));
    for s in &mut streams {
        assert_eq!(told(&all(&hub, s)), (2..=4).collect::<Vec<_>>());
    }
    drop(streams);
    let hub = lock(&hub);
    assert_eq!((hub.caught.len(), hub.caught_bytes), (0, 0));
}

/// What is read for a watch is what it wants: all else would wait in memory for a client that does not take even its own.
#[test]
fn what_is_read_for_a_watch_is_its_own() {
    let events = (2..=9)
        .map(|r| Event { prev: Some(event("a", r - 1, false).kv), ..event("a", r, r % 2 == 0) })
        .chain((2..=9).map(|r| event("b", r, r % 2 == 0)))
        .collect::<Vec<_>>();
    let mut events = events;
    events.sort_by_key(|event| event.kv.mod_revision);
    let hub = hub(1 << 20, &Past { revision: 9, compacted: 0, events });
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    let base = WatchCreate { range: range("a", ""), start: 2, ..WatchCreate::default() };
    for prev_kv in [false, true] {
        s.request(WatchRequest::Create(WatchCreate { no_put: true, prev_kv, ..base.clone() }));
    }
    s.request(WatchRequest::Create(WatchCreate { no_delete: true, ..base }));
    while s.poll().is_some_and(|message| message.created) {}
    let mut read = Vec::new();
    loop {
        let Some(wanted) = lock(&hub).take_wanted().pop() else { break };
        let caught = wanted.read();
        let batch = caught.batch.as_ref().unwrap();
        read.extend(batch.events.iter().map(|e| (e.kv.key.clone(), e.deleted, e.prev.is_some())));
        lock(&hub).caught_up(caught);
        while s.poll().is_some() {}
    }
    let four = |deleted, prev| vec![(Bytes::from_static(b"a"), deleted, prev); 4];
    read.sort_unstable();
    assert_eq!(read, [four(false, false), four(true, false), four(true, true)].concat());
}

/// A stream may have as many watches as a client likes: neither an event for one of them, nor a promise, by the clock or on request, looks at
/// the others. (If each did, this would not come to its end.)
#[test]
fn one_of_many_watches_costs_what_one_costs() {
    const MANY: i64 = 50_000;
    let mut past = Past { revision: 1, ..Past::default() };
    let hub = hub(1 << 20, &past);
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    for n in 0..MANY {
        let range = range(&n.to_string(), "");
        s.request(WatchRequest::Create(WatchCreate {
            range,
            progress_notify: true,
            ..WatchCreate::default()
        }));
        assert!(s.poll().is_some_and(|message| message.created) && s.poll().is_none());
    }
    for n in 0..MANY {
        past.revision += 1;
        lock(&hub).publish(
            Arc::new(Past { revision: past.revision, ..Past::default() }),
            vec![event(&n.to_string(), past.revision, false)],
        );
        s.request(WatchRequest::Progress);
        let said: Vec<_> = std::iter::from_fn(|| s.poll()).map(|m| (m.id, m.events.len())).collect();
        assert_eq!(said, vec![(n, 1), (-1, 0)]);
    }
    let every = Options::default().progress_every;
    let mut promised = 0;
    for part in 0..=10_u32 {
        lock(&hub).tick(Instant::ZERO + every + every * part / 100);
        let some = std::iter::from_fn(|| s.poll()).filter(|m| m.events.is_empty()).count();
        assert!(some < MANY as usize / 4, "{some} of {MANY} are told at once");
        promised += some;
    }
    assert_eq!(promised, MANY as usize);
    assert_eq!(lock(&hub).timetable.at.len(), MANY as usize);
    drop(s);
    assert!(!lock(&hub).wants_ticks() && lock(&hub).timetable.is_empty());
}

/// Who asks for promises and takes none is held back as with all else that is owed.
#[test]
fn promises_that_nobody_takes_are_owed() {
    let hub = hub(1 << 20, &Past { revision: 1, ..Past::default() });
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    s.request(create(range("a", ""), 0));
    assert!(s.poll().is_some_and(|message| message.created));
    (0..7).for_each(|_| s.request(WatchRequest::Progress));
    assert_eq!(s.owed(), 7);
    assert_eq!(std::iter::from_fn(|| s.poll()).count(), 7);
    assert_eq!(s.owed(), 0);
}

#[test]
fn creation_is_answered_first_and_nonsense_is_refused() {
    let mut past = Past { revision: 9, ..Past::default() };
    let hub = hub(1 << 20, &past);
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    let create =
        |range, start, id| WatchRequest::Create(WatchCreate { range, start, id, ..WatchCreate::default() });
    s.request(create(range("a", ""), 0, 0));
    s.request(create(range("b", "a"), 0, 0));
    s.request(create(range("a", ""), -1, 0));
    s.request(create(range("a", ""), 0, 7));
    s.request(create(range("a", ""), 0, 7));
    let said: Vec<WatchMessage> = std::iter::from_fn(|| s.poll()).collect();
    let brief: Vec<_> = said.iter().map(|m| (m.id, m.created, m.canceled, m.revision)).collect();
    let reasons: Vec<&str> = said.iter().map(|m| m.reason.as_str()).filter(|r| !r.is_empty()).collect();
    assert_eq!(
        reasons,
        vec![
            "mvcc: watcher range is empty",
            "etcdserver: mvcc: required revision has been compacted",
            "mvcc: duplicate watch ID provided on the WatchStream",
        ]
    );
    assert_eq!(
        brief,
        vec![
            (0, true, false, 9),
            (-1, true, true, 9),
            (-1, true, true, 9),
            (7, true, false, 9),
            (-1, true, true, 9)
        ]
    );
    past.revision = 10;
    let e = event("a", 10, false);
    past.events.push(e.clone());
    lock(&hub).publish(Arc::new(past), vec![e]);
    s.request(WatchRequest::Progress);
    let said: Vec<WatchMessage> = std::iter::from_fn(|| s.poll()).collect();
    let brief: Vec<_> = said.iter().map(|m| (m.id, m.events.len(), m.revision)).collect();
    assert_eq!(brief, vec![(0, 1, 10), (7, 1, 10), (-1, 0, 10)], "progress comes after every event");
    s.request(WatchRequest::Cancel { id: 7 });
    assert!(s.poll().is_some_and(|m| m.canceled && m.id == 7));
    s.request(WatchRequest::Cancel { id: 99 });
    assert_eq!(s.poll(), None);
}

/// etcd looks at a negative start first, then at the range, then at the id.
#[test]
fn of_several_kinds_of_nonsense_the_first_is_named() {
    let hub = hub(1 << 20, &Past { revision: 9, ..Past::default() });
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    let mut refusal = |range, start, id| {
        s.request(WatchRequest::Create(WatchCreate { range, start, id, ..WatchCreate::default() }));
        s.poll().map_or_else(String::new, |m| m.reason)
    };
    let (compacted, empty) =
        ("etcdserver: mvcc: required revision has been compacted", "mvcc: watcher range is empty");
    assert_eq!(refusal(range("a", ""), 0, 5), "");
    assert_eq!(refusal(range("b", "a"), -1, 5), compacted);
    assert_eq!(refusal(range("a", ""), -1, 5), compacted);
    assert_eq!(refusal(range("b", "a"), 0, 5), empty);
    assert_eq!(refusal(range("b", "b"), 0, 0), empty);
    assert_eq!(refusal(range("", "\0"), 0, 0), "", "an empty key is the byte 0, and \\0 as the end is none");
}

/// A promise about revisions before a watch's beginning is none that it asked for.
#[test]
fn progress_waits_for_watches_that_have_not_begun() {
    let mut past = Past { revision: 9, ..Past::default() };
    let hub = hub(1 << 20, &past);
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    s.request(WatchRequest::Progress);
    assert_eq!(s.poll(), None, "a stream without watches");
    for start in [0, 10] {
        let progress_notify = true;
        s.request(WatchRequest::Create(WatchCreate {
            range: range("a", ""),
            start,
            progress_notify,
            ..WatchCreate::default()
        }));
        assert!(s.poll().is_some_and(|m| m.created));
    }
    s.request(WatchRequest::Progress);
    assert_eq!(s.poll(), None, "one of its watches begins in the future");
    let soon = Instant::ZERO + AT_LAST;
    lock(&hub).tick(soon);
    let told: Vec<_> = std::iter::from_fn(|| s.poll()).map(|m| (m.id, m.revision)).collect();
    assert_eq!(told, vec![(0, 9)], "and is told nothing by the clock either");
    past.revision = 10;
    past.events.push(event("b", 10, false));
    lock(&hub).publish(Arc::new(past), vec![event("b", 10, false)]);
    s.request(WatchRequest::Progress);
    s.request(WatchRequest::Progress);
    lock(&hub).tick(soon + AT_LAST);
    let told: Vec<_> = std::iter::from_fn(|| s.poll()).map(|m| (m.id, m.revision)).collect();
    let expected = vec![(-1, 10), (-1, 10), (0, 10), (1, 10)];
    assert_eq!(told, expected, "it has begun, and each request has its answer");
}

#[test]
fn a_compacted_start_is_created_then_canceled_and_the_compacted_revision_itself_is_served() {
    let events = (2..=9).map(|r| event("a", r, false)).collect();
    let past = Past { revision: 9, compacted: 5, events };
    let hub = hub(1 << 20, &past);
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    for start in [4, 5] {
        s.request(WatchRequest::Create(WatchCreate {
            range: range("a", ""),
            start,
            ..WatchCreate::default()
        }));
    }
    let said = all(&hub, &mut s);
    assert!(said[0].created && said[1].created);
    assert_eq!(
        (said[2].id, said[2].canceled, said[2].compact_revision, said[2].reason.as_str()),
        (0, true, 5, "")
    );
    assert_eq!(said[2].revision, 0, "the cancel of a compacted watch has no revision in its header");
    assert_eq!(told(&said[3..]), vec![5, 6, 7, 8, 9]);
}

#[test]
fn after_a_snapshot_a_synced_watch_goes_back_to_the_history() {
    let past = Past { revision: 5, ..Past::default() };
    let hub = hub(1 << 20, &past);
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    s.request(WatchRequest::Create(WatchCreate { range: range("a", ""), ..WatchCreate::default() }));
    assert!(s.poll().is_some_and(|m| m.created));
    let events = (6..=8).map(|r| event("a", r, false)).collect();
    lock(&hub).reset(Arc::new(Past { revision: 8, compacted: 0, events }));
    assert_eq!(told(&all(&hub, &mut s)), vec![6, 7, 8]);
}

/// Claim: a watch that had been told everything misses nothing by a compaction of what came before a snapshot, however long ago the last event
/// was that was its.
#[test]
fn after_a_snapshot_a_synced_watch_needs_nothing_of_before() {
    let hub = hub(1 << 20, &Past { revision: 5, ..Past::default() });
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    s.request(create(range("a", ""), 0));
    assert!(s.poll().is_some_and(|m| m.created));
    let others: Vec<Event> = (6..=20).map(|r| event("b", r, false)).collect();
    lock(&hub).publish(Arc::new(Past { revision: 20, events: others.clone(), compacted: 0 }), others);
    assert_eq!(s.poll(), None);
    let events = (21..=22).map(|r| event("a", r, false)).collect();
    lock(&hub).reset(Arc::new(Past { revision: 22, compacted: 20, events }));
    let said = all(&hub, &mut s);
    assert_eq!((told(&said), said.iter().any(|m| m.canceled)), (vec![21, 22], false));
}

/// What the watches may take is bounded, a refusal says so, and an end gives the room back.
#[test]
fn too_many_watches_are_refused_until_some_end() {
    let past = Past { revision: 1, ..Past::default() };
    let options = Options { watch_bytes: 3 * watch_size(&range("a", "")), ..Options::default() };
    let hub = Arc::new(Mutex::new(Hub::new(options, Arc::new(past), Box::new(|| {}))));
    let create = |stream: &mut Box<dyn WatchStream>| {
        stream.request(WatchRequest::Create(WatchCreate { range: range("a", ""), ..WatchCreate::default() }));
        stream.poll().unwrap()
    };
    let mut stream = Hub::open_stream(&hub, Box::new(|| {}));
    for _ in 0..3 {
        assert!(!create(&mut stream).canceled);
    }
    let refused = create(&mut stream);
    assert!(refused.canceled && refused.reason.contains("as many watches as it may"), "{refused:?}");
    stream.request(WatchRequest::Cancel { id: 0 });
    assert_eq!(stream.owed(), 1);
    assert!(stream.poll().unwrap().canceled);
    assert!(!create(&mut stream).canceled);
    drop(stream);
    assert_eq!(lock(&hub).watch_bytes, 0);
}

/// Claim: who opens a stream is waited for from then on, which the lane is told at once; and no longer than it is open.
#[test]
fn a_stream_rings_for_the_lane_when_it_opens() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let rung = Arc::new(AtomicU32::new(0));
    let bell = rung.clone();
    let past: Arc<dyn History> = Arc::new(Past::default());
    let hub = Hub::new(
        Options::default(),
        past,
        Box::new(move || {
            bell.fetch_add(1, Ordering::Relaxed);
        }),
    );
    let hub = Arc::new(Mutex::new(hub));
    assert!(!lock(&hub).any_stream());
    let stream = Hub::open_stream(&hub, Box::new(|| {}));
    assert_eq!((rung.load(Ordering::Relaxed), lock(&hub).any_stream()), (1, true));
    drop(stream);
    assert!(!lock(&hub).any_stream());
}

/// Claim: a message that is too large for a client that said so comes in parts, in order, between which nothing of its stream stands; all but
/// the last say that more follow.
#[test]
fn a_large_message_comes_in_parts() {
    let large = |key| {
        let mut event = event(key, 2, false);
        event.kv.value = vec![b'v'; FRAGMENT_BYTES / 2].into();
        event
    };
    let past = Past { revision: 1, ..Past::default() };
    let hub = Arc::new(Mutex::new(Hub::new(
        Options { ring_bytes: 32 << 20, ..Options::default() },
        Arc::new(past),
        Box::new(|| {}),
    )));
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    for fragment in [true, false] {
        let range = range("a", "\0");
        s.request(WatchRequest::Create(WatchCreate { range, fragment, ..WatchCreate::default() }));
        assert!(s.poll().is_some_and(|m| m.created));
    }
    let events: Vec<Event> = ["a", "b", "c", "d"].map(large).into();
    lock(&hub).publish(Arc::new(Past { revision: 2, events: events.clone(), compacted: 0 }), events);
    let first = s.poll().unwrap();
    s.request(WatchRequest::Cancel { id: 1 });
    let said: Vec<WatchMessage> = [first].into_iter().chain(all(&hub, &mut s)).collect();
    let brief: Vec<(i64, bool, String)> = said
        .iter()
        .map(|m| {
            let keys = m.events.iter().map(|e| String::from_utf8_lossy(&e.kv.key).into_owned()).collect();
            (m.id, m.fragment, keys)
        })
        .collect();
    let part = |more, keys: &str| (0, more, keys.to_string());
    assert_eq!(
        brief,
        [part(true, "a"), part(true, "b"), part(true, "c"), part(false, "d"), (1, false, String::new())]
    );
}

/// Claim: what an event replaced is told to who asked for it, and not of an event at the compacted revision, whether the newest events still
/// have it or not.
#[test]
fn what_was_replaced_is_forgotten_with_the_compaction() {
    let events: Vec<Event> =
        (2..=4).map(|r| Event { prev: Some(event("a", r - 1, false).kv), ..event("a", r, false) }).collect();
    for ring_bytes in [1, 1 << 20] {
        let hub = hub(ring_bytes, &Past { revision: 1, ..Past::default() });
        let mut s = Hub::open_stream(&hub, Box::new(|| {}));
        for prev_kv in [true, false] {
            let range = range("a", "");
            s.request(WatchRequest::Create(WatchCreate {
                range,
                start: 3,
                prev_kv,
                ..WatchCreate::default()
            }));
        }
        let past = Past { revision: 4, compacted: 3, events: events.clone() };
        lock(&hub).publish(Arc::new(past), events.clone());
        let mut told: Vec<_> = all(&hub, &mut s)
            .into_iter()
            .flat_map(|m| m.events.into_iter().map(move |e| (m.id, e.kv.mod_revision, e.prev.is_some())))
            .collect();
        told.sort_unstable();
        assert_eq!(told, [(0, 3, false), (0, 4, true), (1, 3, false), (1, 4, false)]);
    }
}

/// A state of which no history can be read.
struct Unreadable;

impl History for Unreadable {
    fn revision(&self) -> Revision {
        9
    }
    fn compacted(&self) -> Revision {
        0
    }
    fn history(&self, _: Revision, _: usize, _: &Wanted<'_>) -> StateResult<(Vec<Event>, Revision)> {
        Err(StateError::of_damage("a block".to_string()))
    }
}

/// Claim: a watch whose history cannot be read is canceled with the reason, once, and the damage is handed on.
#[test]
fn history_that_cannot_be_read_cancels_the_watch() {
    let hub = Arc::new(Mutex::new(Hub::new(Options::default(), Arc::new(Unreadable), Box::new(|| {}))));
    let mut s = Hub::open_stream(&hub, Box::new(|| {}));
    s.request(create(range("a", ""), 2));
    let said = all(&hub, &mut s);
    assert_eq!((said.len(), said[0].created, said[1].canceled), (2, true, true), "{said:?}");
    assert!(said[1].reason.contains("a block"), "{}", said[1].reason);
    assert!(lock(&hub).take_damage().is_some() && lock(&hub).take_damage().is_none());
    assert_eq!(lock(&hub).counts().watches, 0);
}

/// What changed at once and was too much to be listed is read by those who watch a key in between, and by nobody else.
#[test]
fn what_was_too_much_to_be_listed_is_read_from_the_history() {
    let hub = hub(1 << 20, &Past { revision: 5, ..Past::default() });
    let mut streams: Vec<_> = [("b", ""), ("a", "c"), ("d", "\0"), ("a", ""), ("a", "b"), ("e", "\0")]
        .map(|(key, end)| {
            let mut stream = Hub::open_stream(&hub, Box::new(|| {}));
            stream.request(create(range(key, end), 0));
            assert!(stream.poll().is_some_and(|m| m.created));
            stream
        })
        .into();
    let events: Vec<Event> = ["b", "c", "d"].iter().map(|key| event(key, 6, true)).collect();
    let between = Events::Between { first: "b".into(), last: "d".into() };
    lock(&hub).publish(Arc::new(Past { revision: 6, events, compacted: 0 }), between);
    let looking = |hub: &Arc<Mutex<Hub>>| -> Vec<bool> {
        lock(hub).streams.values().map(|stream| !stream.behind.is_empty()).collect()
    };
    assert_eq!(looking(&hub), vec![true, true, true, false, false, false]);
    let told: Vec<usize> = streams.iter_mut().map(|stream| told(&all(&hub, stream)).len()).collect();
    assert_eq!(told, vec![1, 1, 1, 0, 0, 0]);
    lock(&hub).publish(
        Arc::new(Past { revision: 7, events: Vec::new(), compacted: 0 }),
        vec![event("b", 7, false)],
    );
    let revisions = streams.iter_mut().map(|stream| self::told(&all(&hub, stream)));
    assert_eq!(revisions.collect::<Vec<_>>(), [vec![7], vec![7], vec![], vec![], vec![], vec![]]);
}
