use super::*;
use quorate_base::Rng;
use quorate_protocol::commit::Prepare;

fn index(id: u32) -> Index {
    Index {
        name: format!("i{id}"),
        id,
        keys: KeyNames { hash: vec!["a".into()], range: vec!["b".into(), "c".into()] },
        projected: Projected::Include(vec!["x".into()]),
        throughput: Throughput { read: 1, write: 2 },
        capacity: Capacity::default(),
        state: IndexState::Filling(Bytes::from_static(b"upto")),
    }
}

fn known(index: Index) -> Index {
    let warm = Some(Throughput { read: 12_000, write: 4_000 });
    let capacity = Capacity { most_writes: Some(7), warm, grew: Some(300), ..Capacity::default() };
    Index { capacity, ..index }
}

fn definition() -> Definition {
    Definition {
        name: "orders".into(),
        id: 7,
        created: 1_700_000_000_000,
        attributes: vec![("a".into(), Scalar::S), ("b".into(), Scalar::N), ("c".into(), Scalar::B)],
        keys: KeyNames { hash: vec!["a".into()], range: vec![] },
        locals: vec![index(1)],
        globals: vec![index(2), Index { projected: Projected::All, state: IndexState::Active, ..index(3) }],
        next_index: 4,
        billing: Billing::Provisioned,
        throughput: Throughput { read: 5, write: 6 },
        capacity: Capacity::default(),
        on_demand_since: None,
        tags: vec![("k".into(), "v".into())],
        protected: true,
        expires: Some("ttl".into()),
        stream: Some(StreamView::Both),
        latest_stream: Some(1_700_000_000_001),
        class: None,
        class_since: None,
        closing: false,
    }
}

/// One that was told of its capacity, and remembers when.
fn told() -> Definition {
    let capacity = Capacity { most_reads: Some(1), shrank: Some(400), decreases: 3, ..Capacity::default() };
    let globals = vec![known(index(2)), known(Index { state: IndexState::Active, ..index(3) })];
    Definition {
        capacity,
        globals,
        on_demand_since: Some(300),
        class: Some("STANDARD".into()),
        class_since: Some(1),
        closing: true,
        ..definition()
    }
}

fn commands() -> Vec<Command> {
    let command = |what| Command { epoch: EPOCH, now: 12, what };
    let op = |action| Op {
        table: "t".into(),
        action,
        condition: Some(Bytes::from_static(b"c")),
        returns: Returns::UpdatedNew,
        old_on_failure: true,
    };
    let bytes = || Bytes::from_static(b"bytes");
    let ops = vec![
        op(Action::Put { item: bytes() }),
        op(Action::Delete { key: bytes() }),
        op(Action::Update { key: bytes(), update: bytes() }),
        Op { condition: None, ..op(Action::Check { key: bytes() }) },
    ];
    let token = Some(Token { token: bytes(), fingerprint: bytes() });
    let update = |throughput, capacity| IndexChange::Update { name: "i".into(), throughput, capacity };
    let plain = Settings {
        billing: Some(Billing::OnDemand),
        throughput: Some(Throughput { read: 1, write: 1 }),
        stream: Some(None),
        class: Some("STANDARD".into()),
        indexes: vec![
            IndexChange::Create(index(0)),
            update(Some(Throughput::default()), CapacityChange::default()),
            IndexChange::Delete("j".into()),
        ],
        attributes: vec![("z".into(), Scalar::N)],
        ..Settings::default()
    };
    let capacity = CapacityChange {
        most_reads: Some(Some(300)),
        most_writes: Some(None),
        warm_reads: None,
        warm_writes: Some(40_000),
    };
    let later = Settings {
        dated: true,
        capacity: capacity.clone(),
        indexes: vec![update(None, capacity), IndexChange::Create(known(index(0)))],
        ..plain.clone()
    };
    let settings = |settings| Change::Settings(Box::new(settings));
    let tenant = || Tenant { table: 300, key: bytes() };
    let assign = |word| command(What::Assign { tenant: tenant(), word });
    let step = |step| command(What::Step { tenant: tenant(), since: 300, step });
    let change = |change| What::Change { table: "t".into(), change };
    vec![
        command(What::Create(Box::new(definition()))),
        command(What::Delete("t".into())),
        command(change(settings(plain))),
        command(change(settings(later))),
        command(change(Change::Tag(vec![("a".into(), "b".into())]))),
        command(change(Change::Untag(vec!["a".into()]))),
        command(change(Change::Expiry { attribute: "ttl".into(), on: false })),
        command(What::Execute(Execute { atomic: true, token, ops })),
        command(What::Execute(Execute { atomic: false, token: None, ops: Vec::new() })),
        command(What::Fill { table: 1, index: 2, items: 3 }),
        command(What::Expire { table: 1, keys: vec![bytes(), Bytes::new()] }),
        command(What::Trim),
        command(What::Place { definition: Box::new(definition()), founders: bytes() }),
        command(What::Adopt { version: 300, definition: Box::new(definition()) }),
        command(What::Create(Box::new(told()))),
        command(What::Adopt { version: 300, definition: Box::new(told()) }),
        command(What::Live),
        command(What::Move { shard: ShardId(9), since: 300, replicas: vec![NodeId(1), NodeId(400)] }),
        command(What::Moved { shard: ShardId(9), since: 300 }),
        command(What::Leave { node: NodeId(400), leaves: true }),
        command(What::Zone { node: NodeId(400), zone: "a".into() }),
        command(What::Drop { table: "t".into(), drained: 300 }),
        command(What::Drained { first: ShardId(300), count: 4, inside: true }),
        assign(Assigned::To(300)),
        assign(Assigned::New(300)),
        assign(Assigned::Arrived(300)),
        assign(Assigned::Swept(300)),
        step(Step::Leave),
        step(Step::Noted(vec![(bytes(), 300), (Bytes::new(), 1)])),
        step(Step::Seal),
        step(Step::Close),
        step(Step::Sweep(300)),
        step(Step::Come),
        step(Step::Copy { behind: 300, rows: Vec::new(), upto: None, whole: true }),
        step(Step::Copy {
            behind: 300,
            rows: vec![(bytes(), Some(bytes())), (bytes(), None)],
            upto: Some(bytes()),
            whole: false,
        }),
        step(Step::Open),
        command(What::Outcomes(vec![TxnId { node: NodeId(1), boot: 2, sequence: 300, attempt: 4 }; 2])),
    ]
}

fn encoded(command: &Command) -> Bytes {
    let mut out = BytesMut::new();
    command.write(&mut out);
    out.freeze()
}

#[test]
fn every_command_comes_back_and_every_cut_is_an_error() {
    for definition in [definition(), told(), Definition { capacity: Capacity::default(), ..told() }] {
        assert_eq!(Definition::decode(definition.encode()), Ok(definition));
    }
    for command in commands() {
        let bytes = encoded(&command);
        let mut input = Reader::new(bytes.clone());
        assert_eq!(Command::read(&mut input), Ok(command));
        assert_eq!(input.end(), Ok(()));
        for cut in 0..bytes.len() {
            let mut input = Reader::new(bytes.slice(..cut));
            assert!(Command::read(&mut input).is_err(), "cut at {cut} of {}", bytes.len());
        }
    }
}

/// Recorded from the release that knew no change feeds; a table that never had one is still written so.
#[test]
fn a_definition_without_a_feed_is_written_as_ever() {
    let plain = Definition {
        stream: None,
        latest_stream: None,
        name: "t".into(),
        attributes: vec![("a".into(), Scalar::S)],
        locals: Vec::new(),
        globals: Vec::new(),
        tags: Vec::new(),
        expires: None,
        billing: Billing::OnDemand,
        created: 5,
        ..definition()
    };
    let bytes = [1, b't', 7, 5, 1, 1, b'a', 1, 1, 1, b'a', 0, 0, 0, 4, 0, 5, 6, 0, 1, 0, 0, 0];
    assert_eq!(plain.encode(), &bytes[..]);
    assert_eq!(Definition::decode(bytes.to_vec().into()), Ok(plain));
}

/// What an earlier release would keep in part, or apply otherwise, has a version that it stops at.
#[test]
fn what_knows_more_has_a_version_of_its_own() {
    let plain = Definition { stream: None, latest_stream: None, globals: Vec::new(), ..definition() };
    let globals = vec![known(index(2))];
    let settings =
        |settings| What::Change { table: "t".into(), change: Change::Settings(Box::new(settings)) };
    let update = |throughput| IndexChange::Update {
        name: "i".into(),
        throughput,
        capacity: CapacityChange::default(),
    };
    let indexes = |throughput| Settings { indexes: vec![update(throughput)], ..Settings::default() };
    for (version, what) in [
        (4, What::Create(Box::new(plain.clone()))),
        (10, What::Create(Box::new(Definition { class_since: Some(1), ..plain.clone() }))),
        (10, What::Place { definition: Box::new(Definition { globals, ..plain }), founders: Bytes::new() }),
        (10, What::Adopt { version: 1, definition: Box::new(told()) }),
        (4, settings(indexes(Some(Throughput::default())))),
        (10, settings(indexes(None))),
        (4, What::Delete("t".into())),
        (10, What::Drop { table: "t".into(), drained: 0 }),
        (10, What::Drained { first: ShardId(2), count: 1, inside: false }),
        (11, What::Outcomes(Vec::new())),
        (10, What::Create(Box::new(Definition { closing: true, ..definition() }))),
        (10, settings(Settings { dated: true, ..Settings::default() })),
    ] {
        assert_eq!(Command { epoch: EPOCH, now: 1, what: what.clone() }.version(), version, "{what:?}");
    }
}

/// Tables that are not partitioned by hash brought version 13: an earlier release would look for their items elsewhere.
#[test]
fn tables_that_are_divided_otherwise_make_a_later_command() {
    for (key, version) in
        [("k", 10), (SHARDS_TAG, 10), (SPLITS_TAG, 13), (PARTITION_TAG, 13), (PRESET_TAG, 13)]
    {
        let definition = || Box::new(Definition { tags: vec![(key.into(), "v".into())], ..told() });
        for what in [
            What::Create(definition()),
            What::Place { definition: definition(), founders: Bytes::new() },
            What::Adopt { version: 7, definition: definition() },
        ] {
            assert_eq!(Command { epoch: EPOCH, now: 1, what: what.clone() }.version(), version, "{what:?}");
        }
    }
}

/// Conditions of version 2 brought version 12: an earlier release would refuse what they let through. Others are as ever.
#[test]
fn conditions_of_a_later_version_make_a_later_command() {
    for (condition, alone, prepared) in [(None, 4, 6), (Some(1), 4, 6), (Some(2), 12, 12)] {
        let op = Op {
            table: "t".into(),
            action: Action::Check { key: Bytes::from_static(b"k") },
            condition: condition.map(|version| Bytes::from(vec![version])),
            returns: Returns::None,
            old_on_failure: false,
        };
        let ops = Execute { atomic: true, token: None, ops: vec![op] };
        let id = TxnId { node: NodeId(2), boot: 5, sequence: 3, attempt: 1 };
        let prepare = Prepare { id, began: 7, participants: vec![ShardId(4)], ops: ops.clone() };
        for (what, version) in [
            (What::Execute(ops.clone()), alone),
            (What::Commit(Commit::Execute(ops)), prepared),
            (What::Commit(Commit::Prepare(prepare)), prepared),
        ] {
            assert_eq!(Command { epoch: EPOCH, now: 1, what: what.clone() }.version(), version, "{what:?}");
        }
    }
}

/// Seed 5.
#[test]
fn no_bytes_panic() {
    let mut rng = Rng::new(5);
    for command in commands() {
        for _ in 0..3_000 {
            let mut bytes = encoded(&command).to_vec();
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
            let _ = Command::read(&mut Reader::new(bytes.into()));
        }
    }
}
