use super::*;
use quorate_base::Rng;

fn id(rng: &mut Rng) -> EntryId {
    EntryId::new(Term(rng.below(1 << 40)), index(rng))
}

fn index(rng: &mut Rng) -> Index {
    Index(rng.below(NUMBER_MAX) >> rng.below(62))
}

fn term(rng: &mut Rng) -> Term {
    Term(rng.below(NUMBER_MAX) >> rng.below(62))
}

fn bytes(rng: &mut Rng) -> Bytes {
    (0..rng.below(40)).map(|_| rng.next_u64() as u8).collect::<Vec<_>>().into()
}

fn message(rng: &mut Rng) -> Message {
    let term = term(rng);
    match rng.below(16) {
        0 => {
            let (pre, transfer) = (rng.chance(1, 2), rng.chance(1, 2));
            Message::RequestVote { term, pre, transfer, last: id(rng) }
        }
        1 => Message::Vote { term, pre: true, granted: rng.chance(1, 2), withheld: rng.chance(1, 2) },
        2 => {
            let entry = |rng: &mut Rng| Entry { kind: EntryKind::Command, id: id(rng), data: bytes(rng) };
            let entries = (0..rng.below(4)).map(|_| entry(rng)).collect();
            Message::Append { term, prev: id(rng), commit: index(rng), entries }
        }
        3 => Message::Appended { term, matched: index(rng) },
        4 => Message::AppendRejected { term, prev: Index(7), hint: id(rng) },
        5 => {
            let lease = Duration::from_micros(rng.below(1 << 40));
            Message::Heartbeat { term, commit: index(rng), round: rng.next_u64(), lease }
        }
        6 => {
            let (withheld, promised) = (rng.chance(1, 2), rng.chance(1, 2));
            let asks = rng.chance(1, 2).then(|| rng.next_u64());
            Message::HeartbeatResponse { term, round: rng.next_u64(), withheld, promised, asks }
        }
        7 => Message::Commit { term, commit: index(rng) },
        8 => Message::ReadIndex { term, context: rng.next_u64() },
        9 => {
            let index = rng.chance(1, 2).then(|| index(rng));
            let nodes = (0..rng.below(4)).map(|_| NodeId(rng.next_u64())).collect();
            let proof = if rng.chance(1, 3) { Proof::Lease } else { Proof::Round(Arc::new(nodes)) };
            Message::ReadIndexResponse { term, context: rng.next_u64(), index, proof }
        }
        10 => Message::TimeoutNow { term },
        11 => {
            let meta = SnapshotMeta { id: id(rng), membership: bytes(rng) };
            let (snapshot, last) = (SnapshotId(rng.next_u64()), rng.chance(1, 2));
            Message::SnapshotChunk { term, snapshot, meta, seq: rng.next_u64(), data: bytes(rng), last }
        }
        12 => Message::SnapshotWant { term, snapshot: SnapshotId(rng.next_u64()), seq: rng.next_u64() },
        13 => Message::TermVouched { term, life: rng.next_u64() },
        14 => Message::Rest { term, upto: index(rng) },
        _ => Message::Rested { term, upto: index(rng) },
    }
}

fn frame(rng: &mut Rng) -> Frame {
    let (shard, request) = (ShardId(rng.below(99) as u32), rng.next_u64());
    match rng.below(13) {
        9 => {
            let shards = |rng: &mut Rng| (0..rng.below(3)).map(|_| ShardId(rng.below(99) as u32)).collect();
            let led = (0..rng.below(4)).map(|_| (ShardId(rng.below(99) as u32), term(rng), index(rng)));
            let led = led.collect();
            let closed = rng.chance(1, 2).then(|| (rng.below(1 << 40), Wall(rng.below(1 << 50))));
            let (round, base) = (rng.below(1 << 40), rng.below(1 << 40));
            let (open, gone) = (shards(rng), shards(rng));
            Frame::Close(Close {
                stream: request,
                clock: Hlc(rng.next_u64()),
                round,
                base,
                closed,
                open,
                led,
                gone,
            })
        }
        10 => {
            let not = (0..rng.below(3)).map(|_| ShardId(rng.below(99) as u32)).collect();
            let (round, wall) = (rng.below(1 << 40), Wall(rng.below(1 << 50)));
            Frame::Follows(Follows { stream: request, round, wall, clock: Hlc(rng.next_u64()), not })
        }
        0 => {
            let explain = rng.chance(1, 2);
            Frame::Forward { shard, term: term(rng), request, data: bytes(rng), explain }
        }
        1 => Frame::Lease { shard, request, ask: LeaseAsk::KeepAlive(rng.next_u64() as i64) },
        2 => Frame::Lease { shard, request, ask: LeaseAsk::TimeToLive(rng.next_u64() as i64) },
        3 => Frame::LeaseAnswer { request, ttl: -1, granted: rng.next_u64() as i64 },
        4 => {
            let acks = (0..rng.below(4)).map(|_| (NodeId(rng.next_u64()), rng.below(1 << 30))).collect();
            let how = Commitment { id: id(rng), acks, voters: rng.below(9), micros: rng.next_u64() };
            Frame::Committed { request, how }
        }
        5 => Frame::Refused {
            request,
            why: *rng.pick(&[Declined::NotLeading, Declined::Overloaded, Declined::Unknown]),
        },
        6 => {
            let peer_urls = vec!["http://h:1".to_string(); rng.below(3) as usize];
            let change = Change::Add { peer_urls, learner: rng.chance(1, 2) };
            Frame::Members { shard, term: term(rng), request, change }
        }
        8 => Frame::Alive,
        11 => Frame::Flush { took: Duration::from_micros(rng.next_u64()) },
        12 => Frame::Pause { shard, millis: rng.next_u64() },
        7 => Frame::MembersRefused { request, why: *rng.pick(&members::Refusal::ALL) },
        _ => Frame::Raft { shard, message: message(rng) },
    }
}

#[test]
fn packets_come_back_and_garbage_is_an_error() {
    let mut rng = Rng::new(11);
    for _ in 0..5_000 {
        let frames: Vec<Frame> = (0..rng.below(5)).map(|_| frame(&mut rng)).collect();
        let mut packet = Packet::default();
        for frame in &frames {
            packet.push(frame);
        }
        let body = packet.finish();
        let read: Read<Vec<Frame>> = Packet::read(body.clone()).collect();
        assert_eq!(read, Ok(frames));
        // Harmed packets end in an error or in other frames, never in a panic.
        let mut harmed = body.to_vec();
        if !harmed.is_empty() {
            let at = rng.below(harmed.len() as u64) as usize;
            harmed[at] ^= 1 << rng.below(8);
            harmed.truncate(rng.between(0, harmed.len() as u64) as usize);
        }
        Packet::read(harmed.into()).for_each(drop);
    }
}

/// Every number of a frame is replaced by every other kind of number, and bytes come from nowhere: an error or frames,
/// and frames that come out go in and come out again.
#[test]
fn no_bytes_are_a_panic_and_what_is_read_is_written_back() {
    let mut rng = Rng::new(12);
    let (mut read, mut refused) = (0, 0);
    let mut look = |body: Vec<u8>, round: u32| {
        for frame in Packet::read(body.into()) {
            let Ok(frame) = frame else {
                refused += 1;
                continue;
            };
            read += 1;
            let mut again = Packet::default();
            again.push(&frame);
            let again: Vec<Read<Frame>> = Packet::read(again.finish()).collect();
            assert_eq!(again, [Ok(frame)], "seed 12, round {round}");
        }
    };
    for round in 0..3_000 {
        let noise: Vec<u8> = (0..rng.below(80)).map(|_| rng.next_u64() as u8).collect();
        look(noise, round);
        let mut packet = Packet::default();
        packet.push(&frame(&mut rng));
        let body = packet.finish();
        for cut in 0..body.len() {
            look(body[..cut].to_vec(), round);
            let mut huge = BytesMut::from(&body[..cut]);
            huge.varint(*rng.pick(&[
                u64::MAX,
                1 << 63,
                1 << 62,
                u64::from(u32::MAX),
                i64::MAX as u64,
                1 << 20,
            ]));
            huge.extend_from_slice(&body[cut + 1..]);
            look(huge.to_vec(), round);
        }
        let mut longer = body.to_vec();
        longer.push(rng.next_u64() as u8);
        look(longer, round);
    }
    assert!(read > 15_000 && refused > 20_000, "{read} read, {refused} refused");
}

#[test]
fn terms_and_indices_that_would_run_over_are_refused() {
    for n in [NUMBER_MAX - 1, NUMBER_MAX, u64::MAX] {
        for message in [
            Message::Commit { term: Term(1), commit: Index(n) },
            Message::Commit { term: Term(n), commit: Index(1) },
            Message::AppendRejected { term: Term(1), prev: Index(1), hint: EntryId::new(Term(n), Index(1)) },
            Message::AppendRejected { term: Term(1), prev: Index(1), hint: EntryId::new(Term(1), Index(n)) },
        ] {
            let mut packet = Packet::default();
            packet.push(&Frame::Raft { shard: ShardId(1), message });
            let read: Read<Vec<Frame>> = Packet::read(packet.finish()).collect();
            assert_eq!(read.is_ok(), n < NUMBER_MAX, "{n}");
        }
    }
}

#[test]
fn a_false_count_of_entries_makes_no_room() {
    let mut body = BytesMut::from(&[RAFT, 1, 3, 1, 1, 1, 1][..]);
    body.varint(1 << 40);
    body.extend_from_slice(&[0; 1000]);
    assert_eq!(Packet::read(body.freeze()).next(), Some(Err(Malformed)));
}
