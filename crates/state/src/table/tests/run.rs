//! Random commands, and replicas that apply them at their own pace.

use super::*;

/// What came of operations, with what they answered.
pub(super) type Results = Vec<(Outcome, Option<Item>)>;

pub(super) struct Replica {
    pub(super) store: Box<dyn StateStore>,
    pub(super) kv: Option<Kv>,
    pub(super) generation: Option<u64>,
}

impl Replica {
    pub(super) fn kv(&mut self) -> &mut Kv {
        self.kv.as_mut().unwrap()
    }
}

pub(super) struct Run {
    pub(super) rng: Rng,
    pub(super) now: u64,
    pub(super) model: Model,
    pub(super) log: Vec<Entry>,
    pub(super) replicas: Vec<Replica>,
    pub(super) done: [u64; 9],
}

impl Run {
    pub(super) fn new(seed: u64) -> Self {
        let replica = |node| {
            let identity = Identity { cluster: 1, node: NodeId(node) };
            let disk = Arc::new(FaultyDisk::new(seed + node));
            let mut store: Box<dyn StateStore> = Box::new(MemoryStore::new(disk, "state", identity));
            let kv = Some(Kv::open(SHARD, store.open(None).unwrap()).unwrap());
            Replica { store, kv, generation: None }
        };
        let replicas = (1..=3).map(replica).collect();
        Self {
            rng: Rng::new(seed),
            now: 1000,
            model: Model::default(),
            log: Vec::new(),
            replicas,
            done: [0; 9],
        }
    }

    /// The command goes to the log, and is applied by the first replica.
    pub(super) fn command(&mut self, what: What, epoch: u64) -> Result<Reply, Refusal> {
        self.now += self.rng.below(200_000);
        let command = Any::Table(Box::new(Command { epoch, now: self.now, what }));
        let id = EntryId::new(Term(1), Index(self.log.len() as u64 + 1));
        let data = command::encode(NodeId(1), id.index.get(), &command);
        let entry = Entry { id, kind: EntryKind::Command, data };
        self.log.push(entry.clone());
        let kv = self.replicas[0].kv();
        let applied = kv.apply(&entry).unwrap();
        kv.settle();
        match applied.outcome {
            Ok(AnyReply::Table(reply)) => Ok(*reply),
            Err(Refused::Table(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn step(&mut self) {
        let table = format!("t{}", self.rng.below(3));
        match self.rng.below(42) {
            0 => {
                let stream = self.rng.chance(1, 2).then_some(StreamView::Both);
                let made =
                    self.command(What::Create(Box::new(Definition { stream, ..definition(&table) })), EPOCH);
                let was = self.model.tables.contains_key(&table);
                assert_eq!(made.is_err(), was, "{made:?}");
                if let Ok(reply) = made {
                    self.model.tables.insert(table.clone(), ModelTable::default());
                    self.feed(&table, &reply);
                }
            }
            1 if self.rng.chance(1, 4) => {
                let gone = self.command(What::Delete(table.clone()), EPOCH);
                let model = self.model.tables.remove(&table);
                assert_eq!(gone.is_ok(), model.is_some());
                self.end_feed(&table, model.and_then(|model| model.feed));
                self.done[0] += u64::from(gone.is_ok());
            }
            40 => self.change_feed(&table),
            41 => self.trim(),
            2 => self.change_index(&table),
            3 => {
                let execute =
                    Execute { atomic: true, token: None, ops: vec![Asked::random(&mut self.rng).op()] };
                assert_eq!(self.command(What::Execute(execute), EPOCH + 1), Err(Refusal::StaleEpoch));
            }
            _ => self.execute(),
        }
        self.fill();
    }

    pub(super) fn change_index(&mut self, table: &str) {
        let Some(model) = self.model.tables.get(table) else { return };
        let change = if model.later {
            IndexChange::Delete("later".into())
        } else {
            IndexChange::Create(index("later", "g", None, Projected::All))
        };
        let attributes = vec![("g".into(), Scalar::S)];
        let settings = Settings { indexes: vec![change], attributes, ..Settings::default() };
        let change = Change::Settings(Box::new(settings));
        let changed = self.command(What::Change { table: table.into(), change }, EPOCH);
        // Two are not filled at once.
        if changed.is_ok()
            && let Some(model) = self.model.tables.get_mut(table)
        {
            model.later = !model.later;
            self.done[1] += 1;
        }
    }

    /// What a table's definition says of its feed.
    pub(super) fn feed(&mut self, table: &str, reply: &Reply) {
        let Reply::Table(definition, _) = reply else { panic!("{reply:?}") };
        let label = definition.stream.and(definition.latest_stream);
        self.model.tables.get_mut(table).unwrap().feed = label;
        if let Some(label) = label {
            assert!(self.model.feeds.keys().all(|(name, known)| name != table || *known < label));
            self.model.feeds.insert((table.into(), label), ModelFeed::default());
            self.done[6] += 1;
        }
    }

    pub(super) fn end_feed(&mut self, table: &str, label: Option<u64>) {
        if let Some(label) = label {
            self.model.feeds.get_mut(&(table.into(), label)).unwrap().ended = Some(self.log.len() as u64);
        }
    }

    pub(super) fn change_feed(&mut self, table: &str) {
        let Some(model) = self.model.tables.get(table) else { return };
        let had = model.feed;
        let view = self.rng.chance(1, 2).then_some(StreamView::Both);
        let changed = self.command(stream_change(table, view), EPOCH);
        assert_eq!(changed.is_ok(), had.is_some() != view.is_some(), "{changed:?}");
        if let Ok(reply) = changed {
            self.end_feed(table, had);
            self.feed(table, &reply);
        }
    }

    pub(super) fn trim(&mut self) {
        self.now += 600_000 + self.rng.below(6 * 3600 * 1000);
        assert_eq!(self.command(What::Trim, EPOCH), Ok(Reply::Trimmed));
        let (now, model) = (self.now, &mut self.model);
        let old =
            model.notes.iter().filter(|(_, time)| time + crate::table::KEPT <= now).map(|(index, _)| *index);
        if let Some(horizon) = old.max() {
            model.horizon = horizon;
            let before: usize = model.feeds.values().map(|feed| feed.records.len()).sum();
            model.feeds.retain(|_, feed| feed.ended.is_none_or(|ended| ended > horizon));
            model.feeds.values_mut().for_each(|feed| feed.records.retain(|(index, _)| *index > horizon));
            let left: usize = model.feeds.values().map(|feed| feed.records.len()).sum();
            self.done[7] += (before - left) as u64;
        }
        model.notes.push((self.log.len() as u64, now));
    }

    /// What an entry has changed goes to the feeds.
    pub(super) fn feed_changes(&mut self) {
        let index = self.log.len() as u64;
        for (name, table) in &mut self.model.tables {
            let changes = std::mem::take(&mut table.changes);
            let Some(label) = table.feed else { continue };
            let feed = self.model.feeds.get_mut(&(name.clone(), label)).unwrap();
            self.done[8] += changes.len() as u64;
            feed.records.extend(changes.into_iter().map(|change| (index, change)));
        }
    }

    /// Does a part of what is to be filled, at times.
    pub(super) fn fill(&mut self) {
        let filling = self.replicas[0].kv().view().tables().filling();
        if let Some((table, index, _)) = filling.filter(|_| self.rng.chance(1, 3)) {
            let items = 1 + self.rng.below(4) as u32;
            assert_eq!(self.command(What::Fill { table, index, items }, EPOCH), Ok(Reply::Filled));
            self.done[2] += 1;
        }
    }

    pub(super) fn execute(&mut self) {
        let atomic = self.rng.chance(1, 2);
        let count = if self.rng.chance(1, 2) { 1 } else { 1 + self.rng.below(5) };
        let asked: Vec<Asked> = (0..count).map(|_| Asked::random(&mut self.rng)).collect();
        let token = (atomic && self.rng.chance(1, 3)).then(|| Token {
            token: vec![self.rng.below(3) as u8].into(),
            fingerprint: vec![self.rng.below(2) as u8].into(),
        });
        let ops = asked.iter().map(Asked::op).collect();
        let reply = self.command(What::Execute(Execute { atomic, token: token.clone(), ops }), EPOCH);
        let expected = self.expected(atomic, token.as_ref(), &asked);
        assert_eq!(reply.map(outcomes), expected, "{asked:?}");
        self.feed_changes();
    }

    /// What the maps say, and become.
    pub(super) fn expected(
        &mut self,
        atomic: bool,
        token: Option<&Token>,
        asked: &[Asked],
    ) -> Result<Option<Results>, Refusal> {
        if let Some(token) = token
            && let Some((end, fingerprint)) =
                self.model.tokens.get(&token.token).filter(|(end, _)| *end > self.now)
        {
            let _ = end;
            self.done[3] += 1;
            return if *fingerprint == token.fingerprint { Ok(None) } else { Err(Refusal::TokenMismatch) };
        }
        let twice = |at: usize| {
            let there = self.model.tables.contains_key(&asked[at].table);
            there && asked[..at].iter().any(|a| (&a.table, &a.key) == (&asked[at].table, &asked[at].key))
        };
        if atomic {
            let mut after = self.model.tables.clone();
            let results: Vec<_> = asked.iter().map(|a| run(&mut after, a)).collect();
            if (0..asked.len()).any(twice) {
                let text = "Transaction request cannot include multiple operations on one item";
                return Err(Refusal::Validation(text.into()));
            }
            // Each is held against what was before all.
            let before: Vec<_> = asked.iter().map(|a| run(&mut self.model.tables.clone(), a)).collect();
            if before.iter().any(|(outcome, _)| *outcome != Outcome::Done) {
                let reason = |(outcome, old): (Outcome, Option<Item>)| match outcome {
                    Outcome::Done => (Outcome::Done, None),
                    other => (other, old),
                };
                self.done[4] += 1;
                return Ok(Some(before.into_iter().map(reason).collect()));
            }
            self.model.tables = after;
            if let Some(token) = token {
                self.model
                    .tokens
                    .insert(token.token.clone(), (self.now + 600_000, token.fingerprint.clone()));
            }
            return Ok(Some(results));
        }
        Ok(Some(asked.iter().map(|a| run(&mut self.model.tables, a)).collect()))
    }

    /// A replica catches up, restarts from a checkpoint, or takes a snapshot.
    pub(super) fn replica(&mut self) {
        let at = 1 + self.rng.below(2) as usize;
        let applied = self.replicas[at].kv().applied().index.get() as usize;
        match self.rng.below(4) {
            0 => {
                let replica = &mut self.replicas[at];
                let generation = replica.generation.unwrap_or(0) + 1;
                replica.kv().seal().unwrap().run(generation).unwrap();
                replica.generation = Some(generation);
                if self.rng.chance(1, 3) {
                    return;
                }
                replica.kv = None;
                let state = replica.store.open(replica.generation).unwrap();
                replica.kv = Some(Kv::open(SHARD, state).unwrap());
            }
            1 if applied < self.log.len() => {
                let view = self.replicas[0].kv().view();
                let base = Base { id: view.applied(), membership: view.membership().clone() };
                let kv = self.replicas[at].kv();
                kv.import_begin().unwrap();
                let (mut after, mut seq) = (None, 0);
                loop {
                    let (chunk, next) = view.export(after.as_ref(), 400).unwrap();
                    kv.import_chunk(seq, &chunk).unwrap();
                    seq += 1;
                    after = next;
                    if after.is_none() {
                        break;
                    }
                }
                kv.import_finish(base).unwrap();
                self.done[5] += 1;
            }
            _ => {
                let upto = self.rng.between(applied as u64, self.log.len() as u64) as usize;
                let entries = self.log[applied..upto].to_vec();
                let kv = self.replicas[at].kv();
                for entry in &entries {
                    kv.apply(entry).unwrap();
                }
                kv.settle();
                while self.rng.chance(2, 3) && kv.compact_step(3).unwrap() {}
            }
        }
        let others = &mut self.replicas;
        if others[at].kv().applied() == others[0].kv().applied() {
            let (a, b) = (others[0].kv().view(), others[at].kv().view());
            assert_eq!(a.digest(), b.digest());
            assert_eq!(a.hash_all_while(&|_| true), b.hash_all_while(&|_| true));
            for name in self.model.tables.keys() {
                let described = |view: &KvView| read(view, &Read::Describe(name.clone())).unwrap();
                assert_eq!(described(&a), described(&b), "figures too");
            }
        }
    }
}

pub(super) fn outcomes(reply: Reply) -> Option<Results> {
    let one = |done: Done| (done.outcome, done.attributes.map(|bytes| Item::decode(&bytes).unwrap()));
    match reply {
        Reply::Executed(done) => Some(done.into_iter().map(one).collect()),
        Reply::Repeated => None,
        other => panic!("{other:?}"),
    }
}
