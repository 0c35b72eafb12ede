//! What is encoded is decoded, whatever the version; and no bytes are taken for what they are not.

use super::*;
use quorate_base::{Rng, ShardId};
use quorate_protocol::commit::{self, TxnId};

fn bytes(rng: &mut Rng) -> Bytes {
    let len = rng.below(9) as usize;
    (0..len).map(|_| rng.below(256) as u8).collect()
}

fn number(rng: &mut Rng) -> i64 {
    match rng.below(4) {
        0 => 0,
        1 => i64::MIN,
        2 => i64::MAX,
        _ => rng.next_u64() as i64 >> rng.below(64),
    }
}

fn key_range(rng: &mut Rng) -> KeyRange {
    KeyRange { key: bytes(rng), end: bytes(rng) }
}

fn put(rng: &mut Rng) -> Put {
    Put {
        key: bytes(rng),
        value: bytes(rng),
        lease: number(rng),
        prev_kv: rng.chance(1, 2),
        ignore_value: rng.chance(1, 2),
        ignore_lease: rng.chance(1, 2),
    }
}

fn delete(rng: &mut Rng) -> DeleteRange {
    DeleteRange { range: key_range(rng), prev_kv: rng.chance(1, 2) }
}

fn range(rng: &mut Rng) -> Range {
    Range {
        range: key_range(rng),
        limit: number(rng),
        revision: number(rng),
        sort_order: *rng.pick(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]),
        sort_target: *rng.pick(&[
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ]),
        keys_only: rng.chance(1, 2),
        count_only: rng.chance(1, 2),
        min_mod_revision: number(rng),
        max_mod_revision: number(rng),
        min_create_revision: number(rng),
        max_create_revision: number(rng),
    }
}

fn compare(rng: &mut Rng) -> Compare {
    Compare {
        range: key_range(rng),
        result: *rng.pick(&[
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ]),
        target: match rng.below(5) {
            0 => CompareTarget::Version(number(rng)),
            1 => CompareTarget::Create(number(rng)),
            2 => CompareTarget::Mod(number(rng)),
            3 => CompareTarget::Value(bytes(rng)),
            _ => CompareTarget::Lease(number(rng)),
        },
    }
}

fn txn(rng: &mut Rng, depth: usize) -> Txn {
    let ops = |rng: &mut Rng| {
        (0..rng.below(4))
            .map(|_| match rng.below(if depth < 4 { 4 } else { 3 }) {
                0 => Op::Range(range(rng)),
                1 => Op::Put(put(rng)),
                2 => Op::Delete(delete(rng)),
                _ => Op::Txn(txn(rng, depth + 1)),
            })
            .collect::<Vec<_>>()
    };
    let (success, failure) = (ops(rng), ops(rng));
    Txn { compare: (0..rng.below(3)).map(|_| compare(rng)).collect(), success, failure }
}

fn grant(rng: &mut Rng) -> Grant {
    Grant { id: number(rng), at: Index(number(rng) as u64) }
}

fn command(rng: &mut Rng) -> Command {
    match rng.below(12) {
        11 => table_command(rng),
        8 => {
            let fence = Fence { name: bytes(rng), token: rng.next_u64() };
            let command = match command(rng) {
                Command::Fenced { command, .. } => command,
                Command::Table(_) => Box::new(Command::Compact { revision: 1 }),
                other => Box::new(other),
            };
            Command::Fenced { fence, command }
        }
        9 => Command::FenceDrop { name: bytes(rng) },
        10 => {
            let kind = *rng.pick(&[AlarmKind::NoSpace, AlarmKind::Corrupt]);
            let alarm = Alarm { kind, member: number(rng) as u64 };
            Command::Alarm { alarm, on: rng.chance(1, 2) }
        }
        0 => Command::Put(put(rng)),
        1 => Command::Delete(delete(rng)),
        2 => Command::Txn(txn(rng, 1)),
        3 => Command::Compact { revision: number(rng) },
        4 => Command::LeaseGrant { id: number(rng), ttl: number(rng) },
        5 => Command::LeaseRevoke { ids: (0..rng.below(5)).map(|_| number(rng)).collect() },
        6 => Command::LeaseExpire { grants: (0..rng.below(5)).map(|_| grant(rng)).collect() },
        _ => Command::LeaseCheckpoint {
            remaining: (0..rng.below(5)).map(|_| (grant(rng), number(rng))).collect(),
        },
    }
}

fn table_command(rng: &mut Rng) -> Command {
    let what = table::What::Fill { table: rng.below(9) as u32, index: 1, items: rng.below(1000) as u32 };
    Command::Table(Box::new(table::Command { epoch: rng.below(3), now: rng.next_u64() >> 1, what }))
}

#[test]
fn what_is_encoded_is_decoded() {
    let mut rng = Rng::new(1);
    for _ in 0..5_000 {
        let decoded = Decoded {
            origin: NodeId(rng.next_u64()),
            request: rng.next_u64() >> rng.below(64),
            command: command(&mut rng),
        };
        let data = encode(decoded.origin, decoded.request, &decoded.command);
        assert_eq!(decode_request(&data), Some((decoded.origin, decoded.request)));
        let other = rng.next_u64();
        let renumbered = renumber(&data, other).unwrap();
        assert_eq!(decode(&renumbered), Ok(Decoded { request: other, ..decoded.clone() }));
        assert_eq!(decode(&data), Ok(decoded));
    }
}

/// Recorded from the release that wrote version 1.
#[test]
fn version_1_is_still_read() {
    let any = |id| Grant { id, at: Index(0) };
    let remaining = vec![(any(7), 50), (any(-1), 0)];
    for (bytes, command) in [
        (&[1, 3, 9, 6, 0, 1, 14][..], Command::LeaseRevoke { ids: vec![7] }),
        (&[1, 3, 9, 6, 1, 2, 14, 1], Command::LeaseExpire { grants: vec![any(7), any(-1)] }),
        (&[1, 3, 9, 7, 2, 14, 100, 1, 0], Command::LeaseCheckpoint { remaining }),
        (&[1, 3, 9, 5, 14, 120], Command::LeaseGrant { id: 7, ttl: 60 }),
    ] {
        let read = decode(&Bytes::from_static(bytes));
        assert_eq!(read, Ok(Decoded { origin: NodeId(3), request: 9, command }));
    }
    for kind in [kind::LEASE_EXPIRE, kind::LEASE_CHECKPOINT] {
        let newer = vec![1, 3, 9, kind, 0];
        assert_eq!(decode(&newer.into()), Err(DecodeError::Tag { of: "kind", tag: kind }));
    }
}

/// Recorded from the release that wrote version 3, which still writes the same.
#[test]
fn version_3_is_read_and_written_as_ever() {
    let fenced = |command| Command::Fenced {
        fence: Fence { name: "n".into(), token: 300 },
        command: Box::new(command),
    };
    let alarm = Alarm { kind: AlarmKind::NoSpace, member: 2 };
    for (bytes, command) in [
        (&[3, 3, 9, 16, 1, b'n', 172, 2, 5, 14, 120][..], fenced(Command::LeaseGrant { id: 7, ttl: 60 })),
        (&[3, 3, 9, 16, 1, b'n', 172, 2, 6, 0, 1, 14], fenced(Command::LeaseRevoke { ids: vec![7] })),
        (&[3, 3, 9, 17, 1, b'n'], Command::FenceDrop { name: "n".into() }),
        (&[3, 3, 9, 21, 1, 2, 1], Command::Alarm { alarm, on: true }),
    ] {
        assert_eq!(encode(NodeId(3), 9, &command), bytes, "{command:?}");
        let read = decode(&Bytes::from_static(bytes));
        assert_eq!(read, Ok(Decoded { origin: NodeId(3), request: 9, command }));
    }
    for kind in [kind::FENCED, kind::FENCE_DROP, kind::ALARM] {
        let older = vec![2, 3, 9, kind, 0];
        assert_eq!(decode(&older.into()), Err(DecodeError::Tag { of: "kind", tag: kind }));
    }
}

/// Change feeds brought version 5; tables without them are written as version 4 wrote them, and an older node stops at
/// what it would not carry out.
#[test]
fn only_what_is_about_change_feeds_is_of_version_5() {
    let table = |what| Command::Table(Box::new(table::Command { epoch: 1, now: 12, what }));
    for (bytes, command) in [
        (&[4, 3, 9, 32, 2, 1, 12, 1, b't'][..], table(table::What::Delete("t".into()))),
        (&[5, 3, 9, 32, 7, 1, 12], table(table::What::Trim)),
    ] {
        assert_eq!(encode(NodeId(3), 9, &command), bytes, "{command:?}");
        let read = decode(&Bytes::from_static(bytes));
        assert_eq!(read, Ok(Decoded { origin: NodeId(3), request: 9, command }));
    }
}

/// Transactions over several shards brought version 6.
#[test]
fn transactions_over_several_shards_are_of_version_6() {
    let id = TxnId { node: NodeId(2), boot: 5, sequence: 300, attempt: 1 };
    let ops = table::Execute { atomic: true, token: None, ops: Vec::new() };
    let participants = vec![ShardId(4), ShardId(9)];
    let prepare = commit::Prepare { id, began: 7, participants, ops };
    for (bytes, what) in [
        (
            &[6, 3, 9, 32, 9, 1, 12, 1, 2, 5, 0xAC, 2, 1, 7, 2, 4, 9, 1, 0][..],
            commit::Command::Prepare(prepare),
        ),
        (&[6, 3, 9, 32, 9, 1, 12, 2, 2, 5, 0xAC, 2, 1, 0], commit::Command::Refuse { id, because: None }),
        (
            &[6, 3, 9, 32, 9, 1, 12, 3, 2, 5, 0xAC, 2, 1, 1],
            commit::Command::Outcome { id, outcome: commit::Outcome::Commit },
        ),
        (&[6, 3, 9, 32, 9, 1, 12, 5, 2, 5], commit::Command::Fence { node: NodeId(2), boot: 5 }),
        (
            &[6, 3, 9, 32, 9, 1, 12, 6, 2, 5, 0xAC, 2],
            commit::Command::Forget { node: NodeId(2), upto: id.place() },
        ),
        (&[6, 3, 9, 32, 9, 1, 12, 7, 2, 5], commit::Command::Close { node: NodeId(2), boot: 5 }),
    ] {
        let what = table::What::Commit(what);
        let command = Command::Table(Box::new(table::Command { epoch: 1, now: 12, what }));
        assert_eq!(encode(NodeId(3), 9, &command), bytes, "{command:?}");
        let read = decode(&Bytes::from_static(bytes));
        assert_eq!(read, Ok(Decoded { origin: NodeId(3), request: 9, command }));
    }
}

/// Zones of nodes brought version 9.
#[test]
fn zones_are_of_version_9() {
    let what = table::What::Zone { node: NodeId(4), zone: "b-1".into() };
    let command = Command::Table(Box::new(table::Command { epoch: 1, now: 0, what }));
    let bytes = &[9, 3, 9, 32, 15, 1, 0, 4, 3, b'b', b'-', b'1'][..];
    assert_eq!(encode(NodeId(3), 9, &command), bytes);
    let read = decode(&Bytes::from_static(bytes));
    assert_eq!(read, Ok(Decoded { origin: NodeId(3), request: 9, command }));
}

/// Tables that are divided by directory, and tenants of them that move, brought version 14; tenants that are listed unless they are, 15.
#[test]
fn directories_are_of_version_14_and_15() {
    let tags = vec![(table::PARTITION_TAG.into(), table::BY_DIRECTORY.into())];
    let definition = Box::new(table::Definition { name: "t".into(), tags, ..table::Definition::default() });
    let tenant = || table::Tenant { table: 5, key: Bytes::from_static(b"a") };
    for (what, bytes) in [
        (table::What::Create(definition), None),
        (
            table::What::Assign { tenant: tenant(), word: table::Assigned::To(2) },
            Some(&[14, 3, 9, 32, 19, 1, 0, 5, 1, b'a', 1, 2][..]),
        ),
        (
            table::What::Assign { tenant: tenant(), word: table::Assigned::New(2) },
            Some(&[15, 3, 9, 32, 19, 1, 0, 5, 1, b'a', 4, 2][..]),
        ),
        (
            table::What::Step { tenant: tenant(), since: 300, step: table::Step::Sweep(7) },
            Some(&[14, 3, 9, 32, 20, 1, 0, 5, 1, b'a', 0xAC, 2, 5, 7][..]),
        ),
    ] {
        let command = Command::Table(Box::new(table::Command { epoch: 1, now: 0, what }));
        let encoded = encode(NodeId(3), 9, &command);
        assert_eq!(encoded[0], bytes.map_or(14, |bytes| bytes[0]));
        if let Some(bytes) = bytes {
            assert_eq!(encoded, bytes);
        }
        assert_eq!(decode(&encoded), Ok(Decoded { origin: NodeId(3), request: 9, command }));
    }
}

/// Tables with several shards that keep indexes or a change feed brought version 8; without them they are of version 6.
#[test]
fn what_shards_keep_is_of_version_8() {
    let plain = table::Definition {
        name: "t".into(),
        id: 5,
        tags: vec![(table::SHARDS_TAG.into(), "4".into())],
        ..table::Definition::default()
    };
    let index = table::Index {
        name: "i".into(),
        id: 1,
        keys: table::KeyNames::default(),
        projected: table::Projected::All,
        throughput: table::Throughput::default(),
        capacity: table::Capacity::default(),
        state: table::IndexState::Active,
    };
    let streaming = table::Definition { stream: Some(table::StreamView::New), ..plain.clone() };
    let ended = table::Definition { latest_stream: Some(7), ..plain.clone() };
    let indexed = table::Definition { globals: vec![index], ..plain.clone() };
    for (definition, version) in [(plain, 6), (streaming, 8), (ended, 8), (indexed, 8)] {
        let definition = Box::new(definition);
        let founders = Bytes::new();
        for what in [
            table::What::Place { definition: definition.clone(), founders },
            table::What::Adopt { version: 3, definition },
        ] {
            let command = Command::Table(Box::new(table::Command { epoch: 1, now: 12, what }));
            let data = encode(NodeId(3), 9, &command);
            assert_eq!(data[0], version, "{command:?}");
            assert_eq!(decode(&data), Ok(Decoded { origin: NodeId(3), request: 9, command }));
        }
    }
}

#[test]
fn keys_and_values_are_slices_of_the_entry() {
    let put = Put { key: "k".into(), value: vec![7; 4096].into(), ..Put::default() };
    let data = encode(NodeId(1), 2, &Command::Put(put));
    let Command::Put(put) = decode(&data).unwrap().command else { panic!("a put") };
    assert!(data.as_ptr_range().contains(&put.value.as_ptr()));
}

#[test]
fn no_bytes_panic_and_every_cut_is_an_error() {
    let mut rng = Rng::new(2);
    for _ in 0..20_000 {
        let len = rng.below(40) as usize;
        let mut data: Vec<u8> = (0..len).map(|_| rng.below(256) as u8).collect();
        if let Some(first) = data.first_mut() {
            *first = 1 + rng.below(u64::from(VERSION)) as u8;
        }
        let _ = decode(&data.into());
    }
    for _ in 0..500 {
        let data = encode(NodeId(3), 4, &command(&mut rng));
        for cut in 0..data.len() {
            assert!(decode(&data.slice(..cut)).is_err(), "cut at {cut} of {}", data.len());
        }
        let mut flipped = data.to_vec();
        let at = rng.below(flipped.len() as u64) as usize;
        flipped[at] ^= 1 << rng.below(8);
        let _ = decode(&flipped.into());
    }
}

#[test]
fn false_lengths_nesting_versions_and_trailing_bytes_are_told() {
    let huge = vec![VERSION, 0, 0, kind::LEASE_REVOKE, 0, 0xff, 0xff, 0xff, 0xff, 0x7f, 1];
    assert_eq!(decode(&huge.into()), Err(DecodeError::Truncated));
    let newer = Bytes::from_static(&[VERSION + 1, 1, 2]);
    assert_eq!(decode(&newer), Err(DecodeError::Version(VERSION + 1)));
    assert_eq!(
        decode(&Bytes::from_static(&[VERSION, 0, 0, 77])),
        Err(DecodeError::Tag { of: "kind", tag: 77 })
    );
    let mut data = encode(NodeId(1), 1, &Command::Compact { revision: 3 }).to_vec();
    data.push(0);
    assert_eq!(decode(&data.into()), Err(DecodeError::Trailing(1)));
    let mut deep = vec![VERSION, 0, 0, kind::TXN];
    for _ in 0..NESTING_MAX {
        deep.extend([0, 1, kind::TXN]);
    }
    deep.extend([0; 64]);
    assert_eq!(decode(&deep.into()), Err(DecodeError::Nesting));
}
