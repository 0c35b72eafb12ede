//! Transactions over two shards held against maps: what a shard votes, holds and leaves, and what a reader makes of it.
//!
//! The test is the gateway: it sends steps in any order, twice, late, refuses at times, and decides by the votes. A committed
//! transaction happens to the maps at its last Yes. Replicas go their own pace, restart and take snapshots meanwhile.

use super::*;
use quorate_protocol::commit::{
    Answer, Command as Step, Mutant, No, Outcome as Decision, Place, Prepare, TxnId, Vote,
};
use quorate_wire::table::Unfit;
/// An item, in a shard.
type At = (usize, String, Key);

#[derive(Clone)]
struct Txn {
    id: TxnId,
    parts: [Vec<Asked>; 2],
    token: Option<Token>,
    votes: [Option<bool>; 2],
    settled: [bool; 2],
}

struct Two {
    rng: Rng,
    near: bool,
    shards: [Run; 2],
    /// In the order in which they began.
    txns: Vec<Txn>,
    /// Who holds an item, and whether to write it.
    held: BTreeMap<At, BTreeMap<usize, bool>>,
    held_tokens: BTreeMap<Bytes, usize>,
    /// How often each item was written, and when a reader last looked: that often, with this version, and whether it was there.
    writes: BTreeMap<At, u64>,
    seen: BTreeMap<At, (u64, u64, bool)>,
    forgotten: u64,
    met: BTreeMap<&'static str, u64>,
}

impl Two {
    fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut shards = [Run::new(seed * 2 + 1), Run::new(seed * 2 + 2)];
        for run in &mut shards {
            for replica in &mut run.replicas {
                replica.kv().plant_in_transactions(mutant);
            }
            for table in ["t0", "t1", "t2"] {
                run.command(What::Create(Box::new(definition(table))), EPOCH).unwrap();
                run.model.tables.insert(table.into(), ModelTable::default());
            }
        }
        Self {
            rng: Rng::new(seed),
            near: seed % 2 == 1,
            shards,
            txns: Vec::new(),
            held: BTreeMap::new(),
            held_tokens: BTreeMap::new(),
            writes: BTreeMap::new(),
            seen: BTreeMap::new(),
            forgotten: 0,
            met: BTreeMap::new(),
        }
    }

    fn meet(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    /// In every other run of a few items, which are met again and again.
    fn asked(&mut self) -> Asked {
        let mut asked = Asked::random(&mut self.rng);
        if self.near {
            asked.table = "t0".into();
            asked.key = ("p0".into(), self.rng.below(4) as i64);
            if let Doing::Put(item) = &mut asked.what {
                item.0.extend(key_item(&asked.key).0);
            }
        }
        asked
    }

    fn ops(&mut self) -> Vec<Asked> {
        let mut ops: Vec<Asked> = Vec::new();
        for _ in 0..=self.rng.below(2) {
            let asked = self.asked();
            if ops.iter().all(|other| (&other.table, &other.key) != (&asked.table, &asked.key)) {
                ops.push(asked);
            }
        }
        ops
    }

    fn begin(&mut self) {
        let parts = [self.ops(), self.ops()];
        let word = |n: u64| Bytes::from(format!("w{n}"));
        let token = self
            .rng
            .chance(1, 2)
            .then(|| Token { token: word(self.rng.below(3)), fingerprint: word(self.rng.below(2)) });
        let sequence = self.txns.len() as u64 + 1;
        let id = TxnId { node: NodeId(7), boot: 3, sequence, attempt: 1 };
        self.txns.push(Txn { id, parts, token, votes: [None; 2], settled: [false; 2] });
    }

    fn send(&mut self, shard: usize, step: Step<Execute>) -> (Answer<Unfit>, Vec<Done>) {
        match self.shards[shard].command(What::Commit(step), EPOCH).unwrap() {
            Reply::Commit(answer, done) => (answer, done),
            other => panic!("{other:?}"),
        }
    }

    fn prepare(&self, at: usize, shard: usize) -> Step<Execute> {
        let txn = &self.txns[at];
        let ops = txn.parts[shard].iter().map(Asked::op).collect();
        // The token's row lies in the second shard.
        let token = txn.token.clone().filter(|_| shard == 1);
        let ops = Execute { atomic: true, token, ops };
        let participants = vec![ShardId(1), ShardId(2)];
        Step::Prepare(Prepare { id: txn.id, began: txn.id.sequence, participants, ops })
    }

    // ---- what the maps say ----

    /// Whether one that holds nothing must keep away from an item.
    fn kept_from(&self, shard: usize, asked: &Asked) -> bool {
        let at = (shard, asked.table.clone(), asked.key.clone());
        let writes = !matches!(asked.what, Doing::Check);
        self.held.get(&at).is_some_and(|by| by.values().any(|exclusive| *exclusive || writes))
    }

    fn expected_vote(&self, at: usize, shard: usize) -> Vote<()> {
        let txn = &self.txns[at];
        let token = txn.token.as_ref().filter(|_| shard == 1);
        let conflict = txn.parts[shard].iter().any(|asked| self.kept_from(shard, asked))
            || token.is_some_and(|token| self.held_tokens.contains_key(&token.token));
        let run = &self.shards[shard];
        let spent = token.and_then(|token| run.model.tokens.get(&token.token));
        if spent.is_some_and(|(end, _)| *end > run.now) {
            // Whoever holds the items: what was done is not done again, and is not in conflict with what came behind it.
            return Vote::No(No::Reason(()));
        }
        if conflict {
            return Vote::No(No::Refused);
        }
        let holds = |asked: &Asked| super::run(&mut run.model.tables.clone(), asked).0 == Outcome::Done;
        if txn.parts[shard].iter().all(holds) { Vote::Yes } else { Vote::No(No::Reason(())) }
    }

    // ---- steps ----

    fn vote(&mut self, at: usize, shard: usize) {
        if self.txns[at].votes[shard].is_some() {
            return;
        }
        let step = self.prepare(at, shard);
        let (answer, done) = self.send(shard, step);
        let expected = self.expected_vote(at, shard);
        let Answer::Vote(vote) = answer else { panic!("{answer:?}") };
        let plain = match &vote {
            Vote::Yes => Vote::Yes,
            Vote::No(No::Reason(_)) => Vote::No(No::Reason(())),
            Vote::No(_) => Vote::No(No::Refused),
        };
        assert_eq!(plain, expected, "{:?}", self.txns[at].id);
        let told = matches!(vote, Vote::Yes | Vote::No(No::Conflict(_)));
        assert_eq!(done.len(), if told { self.txns[at].parts[shard].len() } else { 0 });
        // Where the token is held, the items may be so by the same request.
        let token = self.txns[at].token.as_ref().filter(|_| shard == 1);
        let in_use = token.is_some_and(|token| self.held_tokens.contains_key(&token.token));
        for (done, asked) in done.iter().zip(self.txns[at].parts[shard].clone()) {
            let kept = vote != Vote::Yes && !in_use && self.kept_from(shard, &asked);
            assert_eq!(done.outcome == Outcome::Conflict, kept);
        }
        self.meet(match &vote {
            Vote::Yes => "yes",
            Vote::No(No::Conflict(_)) => "conflict",
            Vote::No(No::Reason(Unfit::Repeated)) => "repeated",
            Vote::No(No::Reason(Unfit::TokenMismatch)) => "mismatch",
            Vote::No(_) => "reason",
        });
        if vote == Vote::Yes {
            for asked in self.txns[at].parts[shard].clone() {
                let exclusive = !matches!(asked.what, Doing::Check);
                self.held.entry((shard, asked.table, asked.key)).or_default().insert(at, exclusive);
            }
            if let Some(token) = self.txns[at].token.clone().filter(|_| shard == 1) {
                self.held_tokens.insert(token.token, at);
            }
        }
        self.voted(at, shard, vote == Vote::Yes);
    }

    fn refuse(&mut self, at: usize, shard: usize) {
        let id = self.txns[at].id;
        let (answer, _) = self.send(shard, Step::Refuse { id, because: None });
        if id.sequence <= self.forgotten {
            return assert_eq!(answer, Answer::Over);
        }
        if let Some(yes) = self.txns[at].votes[shard] {
            return assert_eq!(matches!(answer, Answer::Vote(Vote::Yes)), yes);
        }
        assert_eq!(answer, Answer::Vote(Vote::No(No::Refused)));
        self.meet("refused");
        self.voted(at, shard, false);
    }

    fn voted(&mut self, at: usize, shard: usize, yes: bool) {
        self.txns[at].votes[shard] = Some(yes);
        if self.decided(at) == Some(Decision::Commit) {
            self.meet("commit");
            for shard in 0..2 {
                for asked in self.txns[at].parts[shard].clone() {
                    self.happens(shard, &asked);
                }
            }
        }
    }

    fn happens(&mut self, shard: usize, asked: &Asked) {
        let tables = &mut self.shards[shard].model.tables;
        let before = tables[&asked.table].items.contains_key(&asked.key);
        assert_eq!(super::run(tables, asked).0, Outcome::Done, "a vote holds until the outcome");
        let writes = match asked.what {
            Doing::Check => false,
            Doing::Delete => before,
            _ => true,
        };
        *self.writes.entry((shard, asked.table.clone(), asked.key.clone())).or_default() += u64::from(writes);
    }

    fn decided(&self, at: usize) -> Option<Decision> {
        match self.txns[at].votes {
            [Some(true), Some(true)] => Some(Decision::Commit),
            [Some(false), _] | [_, Some(false)] => Some(Decision::Abort),
            _ => None,
        }
    }

    fn settle(&mut self, at: usize, shard: usize) {
        let Some(outcome) = self.decided(at) else { return };
        let id = self.txns[at].id;
        assert_eq!(self.send(shard, Step::Outcome { id, outcome }).0, Answer::Settled);
        self.settled(at, shard, outcome);
    }

    /// All that are committed, in one entry.
    fn settle_all(&mut self, shard: usize) {
        let committed = |at: &usize| self.decided(*at) == Some(Decision::Commit);
        let all: Vec<usize> = (self.forgotten as usize..self.txns.len()).filter(committed).collect();
        let ids = all.iter().map(|&at| self.txns[at].id).collect();
        let reply = self.shards[shard].command(What::Outcomes(ids), EPOCH).unwrap();
        assert_eq!(reply, Reply::Commit(Answer::Settled, Vec::new()));
        if all.len() > 1 {
            self.meet("several outcomes");
        }
        for at in all {
            self.settled(at, shard, Decision::Commit);
        }
    }

    fn settled(&mut self, at: usize, shard: usize, outcome: Decision) {
        if self.txns[at].votes[shard].is_none() {
            self.txns[at].votes[shard] = Some(false);
        }
        if std::mem::replace(&mut self.txns[at].settled[shard], true) {
            return;
        }
        for (_, by) in self.held.iter_mut().filter(|((of, ..), _)| *of == shard) {
            by.remove(&at);
        }
        if shard == 1
            && let Some(token) = self.txns[at].token.clone()
            && self.held_tokens.get(&token.token) == Some(&at)
        {
            self.held_tokens.remove(&token.token);
            if outcome == Decision::Commit {
                let run = &mut self.shards[1];
                run.model.tokens.insert(token.token, (run.now + 600_000, token.fingerprint));
            }
        }
    }

    /// A Prepare comes once more.
    fn again(&mut self, at: usize, shard: usize) {
        let Some(yes) = self.txns[at].votes[shard] else { return };
        let step = self.prepare(at, shard);
        let (answer, done) = self.send(shard, step);
        assert!(done.is_empty(), "nothing is worked out again");
        if self.txns[at].id.sequence <= self.forgotten {
            self.meet("late");
            assert_eq!(answer, Answer::Over);
        } else {
            assert_eq!(matches!(answer, Answer::Vote(Vote::Yes)), yes);
        }
    }

    /// What began long ago comes to its end, and is forgotten.
    fn forget(&mut self) {
        for at in self.forgotten as usize..self.txns.len().saturating_sub(6) {
            for shard in [0, 1, 0, 1] {
                if self.decided(at).is_none() {
                    self.vote(at, shard);
                }
            }
            (0..2).for_each(|shard| self.settle(at, shard));
        }
        let open = self.txns.iter().position(|txn| txn.settled != [true; 2]).unwrap_or(self.txns.len());
        self.forgotten = open as u64;
        for shard in 0..2 {
            let upto = Place { boot: 3, sequence: self.forgotten };
            assert_eq!(self.send(shard, Step::Forget { node: NodeId(7), upto }).0, Answer::Settled);
        }
    }

    /// A write of one shard.
    fn plain(&mut self, shard: usize) {
        let asked = self.asked();
        let execute = Execute { atomic: self.rng.chance(1, 2), token: None, ops: vec![asked.op()] };
        let kept = self.kept_from(shard, &asked);
        let reply = self.shards[shard].command(What::Execute(execute), EPOCH).unwrap();
        let Reply::Executed(done) = reply else { panic!("{reply:?}") };
        if kept {
            self.meet("plain conflict");
            assert_eq!(done[0].outcome, Outcome::Conflict);
            return;
        }
        let tables = &self.shards[shard].model.tables;
        assert_eq!(done[0].outcome, super::run(&mut tables.clone(), &asked).0);
        if done[0].outcome == Outcome::Done {
            self.happens(shard, &asked);
        }
    }

    fn step(&mut self) {
        let shard = self.rng.below(2) as usize;
        let recent = self.txns.len().saturating_sub(6) as u64;
        let at = if self.txns.is_empty() {
            None
        } else {
            let from = if self.rng.chance(1, 3) { 0 } else { recent };
            Some(self.rng.between(from, self.txns.len() as u64 - 1) as usize)
        };
        match (self.rng.below(24), at) {
            (0..4, _) | (_, None) => self.begin(),
            (4..11, Some(at)) => self.vote(at, shard),
            (11, Some(at)) => self.refuse(at, shard),
            (12..17, Some(at)) => self.settle(at, shard),
            (17, _) => self.settle_all(shard),
            (18, Some(at)) => self.again(at, shard),
            (19, _) => self.forget(),
            _ => self.plain(shard),
        }
        if self.rng.chance(1, 5) {
            self.shards[shard].replica();
        }
        if self.rng.chance(1, 10) {
            self.read(shard);
        }
    }

    /// What a reader makes of each item, with the votes that it hears, is what the maps say.
    fn read(&mut self, shard: usize) {
        for table in ["t0", "t1", "t2"] {
            for p in 0..4 {
                for q in -3..5 {
                    self.read_one(&(shard, table.into(), (format!("p{p}"), q)));
                }
            }
        }
    }

    fn read_one(&mut self, at: &At) {
        let (shard, table, key) = at;
        let get = Get::of(table.as_str(), key_item(key));
        let view = self.shards[*shard].replicas[0].kv().view();
        let ReadReply::Items(mut got) = super::read(&view, &Read::Get(vec![get])).unwrap() else { panic!() };
        let got = got.remove(0);
        let (mut item, mut version) = (got.item, got.version);
        let mut met = false;
        if let Some(intent) = got.intent {
            let of = intent.id.sequence as usize - 1;
            assert_eq!(intent.participants, [ShardId(1), ShardId(2)]);
            met = true;
            if self.decided(of) == Some(Decision::Commit) {
                (item, version) = (intent.item, intent.version);
            }
        }
        let expected = self.shards[*shard].model.tables[table].items.get(key).cloned();
        assert_eq!(item, expected, "{at:?}");
        let writes = self.writes.get(at).copied().unwrap_or(0);
        let there = item.is_some();
        if let Some((before, seen, was)) = self.seen.insert(at.clone(), (writes, version, there))
            && was == there
        {
            // Another key of the class of one that is not there may have been deleted.
            assert!(before == writes || version != seen, "{at:?}: written in between");
            assert!(before < writes || version == seen || !there, "{at:?}: not written");
        }
        self.meet(if met { "intent" } else { "no intent" });
    }

    fn end(&mut self) {
        for _ in 0..6 {
            // Those that are left are the last six.
            self.begin();
        }
        self.forget();
        for shard in 0..2 {
            self.read(shard);
            let view = self.shards[shard].replicas[0].kv().view();
            compare(&view, &self.shards[shard].model, &mut self.rng);
            for _ in 0..20 {
                self.shards[shard].replica();
            }
        }
    }
}

fn two(seed: u64, mutant: Option<Mutant>) -> BTreeMap<&'static str, u64> {
    let mut two = Two::new(seed, mutant);
    for _ in 0..400 {
        two.step();
    }
    two.end();
    two.met
}

#[test]
fn transactions_over_two_shards_are_the_maps() {
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..16 {
        for (what, count) in two(seed, None) {
            *met.entry(what).or_default() += count;
        }
    }
    assert_eq!(met.len(), 12, "{met:?}");
    assert!(met.values().all(|count| *count > 3), "{met:?}: all of it happens");
}

/// Claim: what transactions hold, and what is known of them, is written by cuts alone, as it is then: what came and went in between never
/// is. A machine that was opened again goes on from there.
#[test]
fn what_transactions_hold_is_written_by_cuts() {
    let mut two = Two::new(98, None);
    let before = two.shards[0].replicas[0].kv().rows_of_tables();
    for at in 0..2 {
        two.begin();
        let key = ("p0".into(), at as i64);
        let asked = Asked { table: "t0".into(), key, condition: Held::Always, what: Doing::Set(1) };
        two.txns[at].parts = [vec![asked.clone()], vec![asked]];
        two.txns[at].token = None;
        (0..2).for_each(|shard| two.vote(at, shard));
    }
    two.settle(0, 0);
    two.settle(0, 1);
    let cut = |two: &mut Two, generation| {
        let replica = &mut two.shards[0].replicas[0];
        replica.kv().seal().unwrap().run(generation).unwrap();
        replica.kv().rows_of_tables()
    };
    assert_eq!(two.shards[0].replicas[0].kv().rows_of_tables(), before + 1, "an item, and nothing else");
    assert_eq!(cut(&mut two, 1), before + 4, "a lock, and what is known of both");
    let replica = &mut two.shards[0].replicas[0];
    replica.kv = None;
    let state = replica.store.open(Some(1)).unwrap();
    replica.kv = Some(Kv::open(SHARD, state).unwrap());
    two.settle(1, 0);
    two.settle(1, 1);
    assert_eq!(two.shards[0].replicas[0].kv().rows_of_tables(), before + 5, "another item");
    assert_eq!(cut(&mut two, 2), before + 4, "the lock is gone");
    let upto = Place { boot: 3, sequence: 2 };
    assert_eq!(two.send(0, Step::Forget { node: NodeId(7), upto }).0, Answer::Settled);
    assert_eq!(cut(&mut two, 3), before + 3, "two items, and up to where transactions are forgotten");
}

/// What a table that is deleted meanwhile was to get goes with it.
#[test]
fn a_table_goes_with_the_intents_on_it() {
    let mut two = Two::new(99, None);
    two.begin();
    let asked =
        Asked { table: "t0".into(), key: ("p0".into(), 1), condition: Held::Always, what: Doing::Set(1) };
    two.txns[0].parts = [vec![asked.clone()], vec![asked]];
    two.txns[0].token = None;
    two.vote(0, 0);
    two.vote(0, 1);
    two.shards[0].command(What::Delete("t0".into()), EPOCH).unwrap();
    two.shards[0].command(What::Create(Box::new(definition("t0"))), EPOCH).unwrap();
    two.settle(0, 0);
    two.settle(0, 1);
    let get = Get::of("t0", key_item(&("p0".into(), 1)));
    let view = two.shards[0].replicas[0].kv().view();
    let ReadReply::Items(got) = read(&view, &Read::Get(vec![get])).unwrap() else { panic!() };
    assert_eq!((&got[0].item, &got[0].intent), (&None, &None));
}

/// The planted bugs of a participant are found by the same runs.
#[test]
fn mutants_of_participants_are_caught() {
    for name in [
        "late-prepare-reruns",
        "checks-not-locked",
        "lock-set-not-in-snapshot",
        "shared-lock-lost-on-leader-change",
    ] {
        let mutant = Mutant::named(name);
        let caught = (0..20).find_map(|seed| {
            let run = std::panic::AssertUnwindSafe(|| two(seed, mutant));
            let why = std::panic::catch_unwind(run).err()?;
            let why =
                why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(ToString::to_string));
            Some((seed, why.unwrap_or_default()))
        });
        let (seed, why) = caught.unwrap_or_else(|| panic!("{name} survives"));
        println!("{name}: seed {seed}: {}", why.lines().next().unwrap_or_default());
    }
}

/// Claim: who comes with a token that an undecided transaction holds hears that it is in use, not that its work is done; that is said
/// once it is.
#[test]
fn a_token_that_is_held_is_not_spent() {
    let mut run = Run::new(4);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let token = || Some(Token { token: Bytes::from_static(b"w"), fingerprint: Bytes::from_static(b"f") });
    let execute = |q: i64| {
        let (key, what) = (("p".into(), q), Doing::Put(key_item(&("p".into(), q))));
        let op = Asked { table: "t".into(), key, condition: Held::Always, what }.op();
        Execute { atomic: true, token: token(), ops: vec![op] }
    };
    for (sequence, outcome) in [(1, Decision::Abort), (2, Decision::Commit)] {
        let id = TxnId { node: NodeId(7), boot: 3, sequence, attempt: 1 };
        let participants = vec![ShardId(1), ShardId(2)];
        let prepare = Prepare { id, began: sequence, participants, ops: execute(0) };
        let voted = run.command(What::Commit(Step::Prepare(prepare)), EPOCH).unwrap();
        assert!(matches!(voted, Reply::Commit(Answer::Vote(Vote::Yes), _)), "{voted:?}");
        assert_eq!(run.command(What::Execute(execute(1)), EPOCH), Err(Refusal::TokenInUse));
        run.command(What::Commit(Step::Outcome { id, outcome }), EPOCH).unwrap();
    }
    assert_eq!(run.command(What::Execute(execute(1)), EPOCH), Ok(Reply::Repeated));
}

/// Claim: how long a token is remembered counts from when its request came, as whoever says that the transaction is committed knows no time;
/// and it is remembered also where the shard that has it has no part in the rest.
#[test]
fn a_token_is_remembered_from_its_request_on() {
    let mut run = Run::new(8);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let (key, what) = (("p".into(), 0), Doing::Set(1));
    let op = Asked { table: "t".into(), key, condition: Held::Always, what }.op();
    for (sequence, ops) in [(1, vec![op]), (2, Vec::new())] {
        let fingerprint = Bytes::from_static(b"f");
        let token = Some(Token { token: sequence.to_string().into(), fingerprint });
        let ops = Execute { atomic: true, token, ops };
        let id = TxnId { node: NodeId(7), boot: 3, sequence, attempt: 1 };
        let participants = vec![ShardId(1), ShardId(2)];
        let prepare = Prepare { id, began: 1, participants, ops: ops.clone() };
        let came = 1_700_000_000_000;
        run.now = came;
        run.command(What::Commit(Step::Prepare(prepare)), EPOCH).unwrap();
        run.now = 0;
        run.command(What::Outcomes(vec![id]), EPOCH).unwrap();
        run.now = came + 1_000;
        assert_eq!(run.command(What::Execute(ops), EPOCH), Ok(Reply::Repeated), "{sequence}");
    }
}

/// Claim: with tokens whose time is over none goes that is still to be known.
#[test]
fn a_token_outlives_others() {
    let mut run = Run::new(12);
    let come = |run: &mut Run, at: u64, word: &'static str| {
        // Less what passes before the entry.
        run.now = 1_700_000_000_000 + at - run.rng.clone().below(200_000);
        let token = Some(Token { token: Bytes::from_static(word.as_bytes()), fingerprint: Bytes::new() });
        run.command(What::Execute(Execute { atomic: true, token, ops: Vec::new() }), EPOCH).unwrap()
    };
    let known = Reply::Repeated;
    for (at, word) in [(0, "a"), (1, "b"), (30_000, "c"), (600_002, "d")] {
        assert_ne!(come(&mut run, at, word), known);
    }
    assert_eq!(come(&mut run, 600_003, "c"), known, "its time is not over");
    assert_ne!(come(&mut run, 600_004, "a"), known);
}

/// Claim: what a transaction over shards does is told by the feed of each shard, by the entry of its outcome: each item as it was and as it
/// is, in a place of its own.
#[test]
fn a_feed_tells_what_a_transaction_did() {
    let mut run = Run::new(6);
    let made = Definition { stream: Some(StreamView::Both), ..definition("t") };
    run.command(What::Create(Box::new(made)), EPOCH).unwrap();
    let asked =
        |q, what| Asked { table: "t".into(), key: ("p".into(), q), condition: Held::Always, what }.op();
    let execute = |ops| Execute { atomic: true, token: None, ops };
    let before = vec![asked(0, Doing::Set(1)), asked(1, Doing::Set(1))];
    run.command(What::Execute(execute(before)), EPOCH).unwrap();
    let id = TxnId { node: NodeId(7), boot: 3, sequence: 1, attempt: 1 };
    let ops = execute(vec![asked(0, Doing::Set(2)), asked(1, Doing::Delete), asked(2, Doing::Set(2))]);
    let prepare = Prepare { id, began: 1, participants: vec![ShardId(1), ShardId(2)], ops };
    let outcome = Step::Outcome { id, outcome: Decision::Commit };
    for step in [Step::Prepare(prepare), outcome] {
        run.command(What::Commit(step), EPOCH).unwrap();
    }
    let at = run.log.len() as u64;
    let stream = StreamId {
        table: 1,
        label: run.replicas[0].kv().view().tables().definition("t").unwrap().latest_stream.unwrap(),
    };
    let Records::Read { records, .. } = records(&run.replicas[0].kv().view(), stream, Position::default(), 9)
    else {
        panic!()
    };
    let value = |item: &Option<Item>| item.as_ref().and_then(|item| item.get("v").cloned());
    let mut told: Vec<_> = records
        .iter()
        .filter(|record| record.at.index == at)
        .map(|record| (record.keys.get("q").cloned(), value(&record.old), value(&record.new)))
        .collect();
    told.sort_by_key(|(q, ..)| format!("{q:?}"));
    let (one, two) = (Some(n(1)), Some(n(2)));
    let expected = [(Some(n(0)), one.clone(), two.clone()), (Some(n(1)), one, None), (Some(n(2)), None, two)];
    assert_eq!((records.len(), told), (5, expected.to_vec()));
}

/// Claim: when an item was deleted last is never taken back: a transaction that was prepared before another item of its class was deleted,
/// and ends behind that, leaves what that one's deletion says.
#[test]
fn what_was_deleted_is_not_gone_for_longer_than_it_was() {
    let mut run = Run::new(7);
    run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    let execute = |q, what| {
        let asked = Asked { table: "t".into(), key: ("p".into(), q), condition: Held::Always, what };
        Execute { atomic: true, token: None, ops: vec![asked.op()] }
    };
    let version = |run: &mut Run, q| {
        let get = Get::of("t", key_item(&("p".into(), q)));
        let view = run.replicas[0].kv().view();
        let ReadReply::Items(got) = read(&view, &Read::Get(vec![get])).unwrap() else { panic!() };
        got[0].version
    };
    for what in [Doing::Set(1), Doing::Delete] {
        run.command(What::Execute(execute(0, what)), EPOCH).unwrap();
    }
    let other = (1..1_000_000).find(|&q| version(&mut run, q) > 0).unwrap();
    for q in [0, other] {
        run.command(What::Execute(execute(q, Doing::Set(1))), EPOCH).unwrap();
    }
    let id = TxnId { node: NodeId(7), boot: 3, sequence: 1, attempt: 1 };
    let participants = vec![ShardId(1), ShardId(2)];
    let prepare = Prepare { id, began: 1, participants, ops: execute(0, Doing::Delete) };
    run.command(What::Commit(Step::Prepare(prepare)), EPOCH).unwrap();
    run.command(What::Execute(execute(other, Doing::Delete)), EPOCH).unwrap();
    let deleted = version(&mut run, other);
    assert_eq!(deleted, run.log.len() as u64);
    run.command(What::Commit(Step::Outcome { id, outcome: Decision::Commit }), EPOCH).unwrap();
    assert_eq!([0, other].map(|q| version(&mut run, q)), [deleted; 2]);
}

/// Claim: what a transaction over several shards costs in indexes is told with its vote, and is what the same would cost as one command.
#[test]
fn what_a_vote_costs_in_indexes_is_told() {
    let mut runs = [Run::new(5), Run::new(6)];
    for run in &mut runs {
        run.command(What::Create(Box::new(definition("t"))), EPOCH).unwrap();
    }
    let put = |g: &str, l: i64| {
        let mut item = key_item(&("p".into(), 0));
        item.0.insert("g".into(), s(g));
        item.0.insert("l".into(), n(l));
        Doing::Put(item)
    };
    let steps = [put("x", 1), put("y", 1), put("y", 1), Doing::Check, Doing::Delete, Doing::Delete];
    let mut costs = Vec::new();
    for (what, sequence) in steps.into_iter().zip(1..) {
        let op = Asked { table: "t".into(), key: ("p".into(), 0), condition: Held::Always, what }.op();
        let execute = Execute { atomic: true, token: None, ops: vec![op] };
        let whole = runs[0].command(What::Execute(execute.clone()), EPOCH).unwrap();
        let Reply::Executed(whole) = whole else { panic!("{whole:?}") };
        let id = TxnId { node: NodeId(7), boot: 3, sequence, attempt: 1 };
        let participants = vec![ShardId(1), ShardId(2)];
        let prepare = Step::Prepare(Prepare { id, began: sequence, participants, ops: execute });
        let voted = runs[1].command(What::Commit(prepare), EPOCH).unwrap();
        let Reply::Commit(Answer::Vote(Vote::Yes), done) = voted else { panic!("{voted:?}") };
        assert_eq!(done, whole, "step {sequence}");
        let outcome = Step::Outcome { id, outcome: Decision::Commit };
        runs[1].command(What::Commit(outcome), EPOCH).unwrap();
        costs.push(done[0].indexes.iter().map(|(.., units)| units).sum::<u64>());
    }
    // A row comes in the global index and in the local one; one of the global index moves; both go.
    assert_eq!(costs, [2, 2, 0, 0, 2, 0]);
}
