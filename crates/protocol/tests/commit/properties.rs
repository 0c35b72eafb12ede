//! Random schedules: every fault that the model knows, at any moment, and after each step the judge.
//!
//! A seed gives one run. First the *faulty* phase: messages late, lost, doubled and out of order, also by whole lives; leaders
//! that change with what they had proposed; nodes that end and begin again; recoveries by whoever likes, at any time. Then the
//! *healed* phase: no more faults, and within a bound nothing may be locked, open or remembered.
//!
//! `SEEDS=from..to cargo test -p quorate-protocol --test commit random` runs others than the default, `TRACE=1` shows what
//! happened.

use crate::toy::{Key, Op, Ops};
use crate::world::{Options, Role, World};
use quorate_base::time::Duration;
use quorate_base::{Rng, ShardId};
use quorate_protocol::commit::Mutant;

/// How often each thing happens, of 1000 steps.
struct Mix {
    lose: u64,
    double: u64,
    reorder: u64,
    leader: u64,
    crash: u64,
    recover: u64,
    tick: u64,
    begin: u64,
    keys: u64,
}

impl Mix {
    fn draw(rng: &mut Rng) -> Self {
        let mut of = |most: u64| if rng.chance(1, 3) { 0 } else { rng.between(1, most) };
        Self {
            lose: of(100),
            double: of(150),
            reorder: of(1000),
            leader: of(30),
            crash: of(10),
            recover: of(60),
            tick: of(60),
            begin: 100 + of(200),
            keys: 1 + of(3),
        }
    }
}

struct Schedule {
    world: World,
    mix: Mix,
    rng: Rng,
    value: i64,
}

/// One random run.
pub fn run(seed: u64, steps: usize, mutant: Option<Mutant>) -> Result<(), String> {
    let mut rng = Rng::stream(seed, "schedule");
    let mut options = Options { mutant, seed, ..Options::default() };
    options.shards = rng.between(2, 4) as u32;
    options.nodes = rng.between(1, 3);
    options.by_hand = rng.chance(1, 2);
    options.recover_after = Duration::from_millis(*rng.pick(&[1, 100, 1000]));
    options.gateway.forget_every = *rng.pick(&[1, 3, 100]);
    options.gateway.reasons = Duration::from_millis(*rng.pick(&[0, 20]));
    let mix = Mix::draw(&mut rng);
    let mut schedule = Schedule { world: World::new(options), mix, rng, value: 0 };
    let traced = std::env::var_os("TRACE").is_some();
    for _ in 0..steps {
        schedule.world.trace = traced.then(Vec::new);
        schedule.step();
        schedule.world.trace.iter().flatten().for_each(|line| println!("{line}"));
        schedule.world.verdict()?;
    }
    schedule.world.trace = traced.then(Vec::new);
    schedule.world.heal();
    schedule.world.trace.iter().flatten().for_each(|line| println!("{line}"));
    schedule.world.verdict()
}

impl Schedule {
    fn step(&mut self) {
        let node = self.rng.between(1, self.world.options.nodes);
        let shard = ShardId(self.rng.between(1, u64::from(self.world.options.shards)) as u32);
        let mut dice = self.rng.below(1000);
        let mut falls = |of: u64| {
            let hit = dice < of;
            dice = dice.saturating_sub(of);
            if hit {
                dice = u64::MAX;
            }
            hit
        };
        let mix = &self.mix;
        if falls(mix.leader) {
            self.world.crash_leader(shard);
        } else if falls(mix.crash) {
            self.world.crash_gateway(node);
        } else if falls(mix.crash * 4) {
            self.world.start_gateway(node);
        } else if falls(mix.recover) {
            let undecided = self.world.undecided();
            if !undecided.is_empty() {
                let (id, participants) = self.rng.pick(&undecided).clone();
                self.world.recover(node, id, &participants);
            }
        } else if falls(mix.tick) {
            let ms = self.rng.between(1, 300);
            self.world.advance(Duration::from_millis(ms));
        } else if falls(mix.begin) {
            self.client(node);
        } else if self.world.options.by_hand && self.rng.chance(1, 3) {
            self.world.choose(shard);
        } else {
            self.packet();
        }
    }

    fn packet(&mut self) {
        let count = self.world.net.len() as u64;
        if count == 0 {
            return;
        }
        let at = if self.rng.chance(self.mix.reorder, 1000) { self.rng.below(count) } else { 0 } as usize;
        let packet = self.world.net[at].clone();
        if self.rng.chance(self.mix.lose, 1000) {
            self.world.net.remove(at);
            return;
        }
        // A plain write is not idempotent: no layer sends it twice.
        let plain = matches!(packet.host.role, Role::Plain(_)) && packet.told.is_none();
        if !plain && self.rng.chance(self.mix.double, 1000) {
            self.world.net.push(packet);
        }
        self.world.deliver(at);
    }

    fn client(&mut self, node: u64) {
        let count = self.rng.between(1, 3);
        let mut keys: Vec<Key> = Vec::new();
        for _ in 0..count {
            let key = self.key();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        match self.rng.below(10) {
            0 => drop(self.world.read(node, &keys[..1], false)),
            1 | 2 => drop(self.world.read(node, &keys, true)),
            3 => {
                let op = self.op();
                self.world.plain(node, Ops(vec![(keys[0], op)]));
            }
            _ => {
                let mut ops: Vec<(Key, Op)> = keys.into_iter().map(|key| (key, self.op())).collect();
                if self.rng.chance(1, 4) {
                    // In a shard of its own.
                    let token = Key('t', self.world.options.shards);
                    ops.retain(|(key, _)| key.1 != token.1);
                    ops.push((token, Op::Token(self.rng.between(1, 2) as i64)));
                }
                let deadline = Duration::from_millis(self.rng.between(1, 3000));
                self.world.begin(node, &Ops(ops), deadline);
            }
        }
    }

    fn key(&mut self) -> Key {
        let name = (b'a' + self.rng.below(self.mix.keys) as u8) as char;
        Key(name, self.rng.between(1, u64::from(self.world.options.shards)) as u32)
    }

    fn op(&mut self) -> Op {
        self.value += 1;
        match self.rng.below(8) {
            0 | 1 => Op::Put(self.value),
            2 | 3 => Op::Add(self.value),
            4 => Op::Delete,
            5 => Op::Insert(self.value),
            6 => Op::Check(None),
            _ => Op::Check(Some(self.rng.between(1, self.value as u64) as i64)),
        }
    }
}

/// `SEEDS`, or these.
pub fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(given) = std::env::var("SEEDS") else { return default };
    let (from, to) = given.split_once("..").expect("SEEDS=from..to");
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn random_schedules_keep_every_property() {
    for seed in seeds(0..60) {
        if let Err(why) = run(seed, 600, None) {
            panic!(
                "{why}\nseed {seed}: SEEDS={seed}..{} TRACE=1 cargo test -p quorate-protocol --test commit random",
                seed + 1
            );
        }
    }
}

/// What the schedules are made of comes about in them.
#[test]
fn random_schedules_meet_everything() {
    let mut met = std::collections::BTreeMap::new();
    for seed in 0..30 {
        for line in traced(seed) {
            for word in [
                "committed",
                "cancelled",
                "unknown",
                "conflict",
                "refused",
                "repeated",
                "heir",
                "over",
                "recovers",
                "because of",
                "Vote?",
                "no vote yet",
                "another request's token",
                " by n",
            ] {
                if line.contains(word) {
                    *met.entry(word).or_insert(0) += 1;
                }
            }
        }
    }
    assert_eq!(met.len(), 14, "{met:?}");
}

/// What happens in a run.
fn traced(seed: u64) -> Vec<String> {
    let mut rng = Rng::stream(seed, "schedule");
    let options = Options { shards: 3, seed, ..Options::default() };
    let mix = Mix::draw(&mut rng);
    let mut schedule = Schedule { world: World::new(options), mix, rng, value: 0 };
    schedule.world.trace = Some(Vec::new());
    for _ in 0..600 {
        schedule.step();
    }
    schedule.world.heal();
    schedule.world.trace.take().unwrap_or_default()
}
