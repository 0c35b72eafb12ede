//! Policy → decision: the mechanism with its numbers, or all that stands against it.
//!
//! Two steps. `fill` chooses, for whatever was asked, what was left open: it always answers, and never judges.
//! `judge` then holds the choice against each thing that was asked. So an impossible wish is refused by the rule that
//! forbids it, not by a search that came back empty; and whatever `judge` lets pass keeps everything that was asked.

use crate::ask::{Consistency, Local, OnPartition, Partitioning, Policy, Scope, spell_time};
use crate::mechanism::{
    Conflicts, MOST_REPLICAS, Mechanism, PrimaryAsk, PrimaryMode, Quorum, Replication, Rmw, majority,
};
use crate::rule::{Contradiction, Rule};
use std::time::Duration;

/// How far the clocks of two nodes may be apart before the one is fenced from what depends on its clock.
pub const CLOCK_OFFSET: Duration = Duration::from_millis(500);
/// How often a leader tells up to when its replicas are complete.
pub const CLOSING_INTERVAL: Duration = Duration::from_millis(200);
/// The smallest staleness that can be proved: what a replica lags plus what its clock may be wrong.
pub const LEAST_STALENESS: Duration = Duration::from_millis(700);

/// A bound that a replica keeps alone as long as nothing is wrong: what is closed is told in the interval behind the one in which
/// its leader was confirmed, and some time is on the way.
pub const EASY_STALENESS: Duration = Duration::from_secs(1);

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the space promises: what was asked, or the strongest that the named mechanism keeps.
    pub promise: Consistency,
    /// What keeps it.
    pub mechanism: Mechanism,
    /// What the sides of a partition do.
    pub on_partition: OnPartition,
    /// How keys are divided.
    pub partition_by: Partitioning,
    /// How old an answer may be that may be old.
    pub staleness: Option<Duration>,
}

/// Decides, or says all that stands against it.
pub fn decide(policy: &Policy) -> Result<Decision, Vec<Contradiction>> {
    let decision = fill(policy);
    let mut found = Vec::new();
    sane(policy, &decision, &mut found);
    // Numbers that make no sense would make the other findings wrong, too.
    if found.is_empty() {
        judge(policy, &decision, &mut found);
    }
    if found.is_empty() { Ok(decision) } else { Err(found) }
}

/// Chooses what was left open.
fn fill(policy: &Policy) -> Decision {
    let replication = policy.replication.clone().unwrap_or_else(|| derived(policy));
    let mechanism = numbers(policy, &replication);
    let promise = policy.consistency.unwrap_or_else(|| strongest(mechanism));
    let two_sides = mechanism.writes_on_two_sides() || policy.replication.is_none();
    let leaderless = matches!(mechanism, Mechanism::Quorum { .. });
    let serves = leaderless && two_sides && promise.may_diverge() && policy.staleness.is_none();
    Decision {
        promise,
        mechanism,
        on_partition: policy.on_partition.unwrap_or(if serves {
            OnPartition::Serve
        } else {
            OnPartition::Refuse
        }),
        partition_by: policy.partition_by.unwrap_or_else(|| {
            let one_order = policy.over == Some(Scope::Space) && promise == Consistency::Sequential;
            if one_order && sequential_by_session(mechanism) {
                Partitioning::None
            } else {
                Partitioning::Hash
            }
        }),
        staleness: policy.staleness,
    }
}

/// The mechanism for what was asked.
fn derived(policy: &Policy) -> Replication {
    let raft = Replication::Raft { n: None };
    match policy.consistency {
        Some(Consistency::Regular) => Replication::Quorum(Quorum::default()),
        Some(Consistency::Causal | Consistency::Eventual) => {
            // What bounds staleness refuses, once it cannot know any more how stale it is.
            let refuse = policy.staleness.is_some() || policy.survive == Some(0);
            let unasked = if refuse { OnPartition::Refuse } else { OnPartition::Serve };
            match policy.on_partition.unwrap_or(unasked) {
                OnPartition::Serve => Replication::Quorum(Quorum::default()),
                OnPartition::Refuse => raft,
            }
        }
        _ => raft,
    }
}

/// Failures to survive: one, if nothing was asked. A number of replicas that is named says itself what survives.
fn to_survive(policy: &Policy) -> u8 {
    let named = policy.replication.as_ref().and_then(Replication::copies);
    policy.survive.unwrap_or(u8::from(named.is_none()))
}

/// Fills in the numbers.
fn numbers(policy: &Policy, replication: &Replication) -> Mechanism {
    let survive = to_survive(policy);
    let disks = policy.durability.unwrap_or(1).max(1);
    // The fewest replicas whose majority outlives the failures and is as many disks as were asked for.
    let voters = |n: Option<u8>| {
        let for_failures = survive.saturating_mul(2).saturating_add(1);
        n.unwrap_or_else(|| for_failures.max((disks - 1).saturating_mul(2)))
    };
    match replication {
        Replication::Raft { n } => Mechanism::Raft { n: voters(*n) },
        Replication::Abd { n } => Mechanism::Abd { n: voters(*n) },
        Replication::Paxos { n } => Mechanism::Paxos { n: voters(*n) },
        Replication::Quorum(asked) => quorum_numbers(policy, asked, survive, disks),
        Replication::Primary { mode: PrimaryAsk::Sync { min_in_sync }, n } => {
            // Unless told otherwise, what the space survives loses nothing.
            let unasked = n.map_or(survive.saturating_add(1), majority);
            let min_in_sync = min_in_sync.or(policy.durability.map(|d| d.max(1))).unwrap_or(unasked);
            let n = n.unwrap_or(survive.saturating_add(min_in_sync));
            Mechanism::Primary { n, mode: PrimaryMode::Sync { min_in_sync } }
        }
        Replication::Primary { mode: PrimaryAsk::SemiSync { acks }, n } => {
            let n = n.unwrap_or(survive.saturating_add(*acks).saturating_add(1));
            Mechanism::Primary { n, mode: PrimaryMode::SemiSync { acks: *acks } }
        }
        Replication::Primary { mode: PrimaryAsk::Async, n } => {
            let n = n.unwrap_or(survive.saturating_add(1));
            Mechanism::Primary { n, mode: PrimaryMode::Async }
        }
    }
}

/// Fills in N, W and R. Quorums meet where a regular register is asked for, where a side is to refuse or staleness to
/// be bounded, and where nothing was asked at all.
fn quorum_numbers(policy: &Policy, asked: &Quorum, survive: u8, disks: u8) -> Mechanism {
    let local = |f: fn(Local) -> bool| policy.local.is_some_and(f);
    let n = asked
        .n
        .unwrap_or_else(|| survive.saturating_mul(2).saturating_add(1).max(survive.saturating_add(disks)));
    let serve = policy.on_partition == Some(OnPartition::Serve);
    let bounded = policy.on_partition == Some(OnPartition::Refuse) || policy.staleness.is_some();
    let unasked = policy.consistency.is_none() && policy.local.is_none();
    let meet =
        policy.consistency == Some(Consistency::Regular) || (!asked.sloppy && !serve && (bounded || unasked));
    let rest = |other: u8| n.saturating_add(1).saturating_sub(other).max(1);
    let (w, r) = match (asked.w, asked.r) {
        (Some(w), Some(r)) => (w, r),
        (Some(w), None) => (w, if meet { rest(w) } else { 1 }),
        (None, Some(r)) => (if meet { rest(r).max(disks) } else { disks }, r),
        (None, None) if !meet => (disks, 1),
        (None, None) if local(Local::reads) => (n, 1),
        (None, None) if local(Local::writes) => (disks, rest(disks)),
        (None, None) => {
            let w = majority(n).max(disks);
            (w, rest(w))
        }
    };
    let rmw = asked.rmw.unwrap_or(Rmw::Forbid);
    Mechanism::Quorum { n, w, r, sloppy: asked.sloppy, conflicts: asked.conflicts, rmw }
}

/// The strongest promise that a mechanism keeps, where none was asked for.
fn strongest(mechanism: Mechanism) -> Consistency {
    match mechanism {
        Mechanism::Quorum { .. } if mechanism.overlaps() => Consistency::Regular,
        Mechanism::Quorum { .. } | Mechanism::Primary { mode: PrimaryMode::Async, .. } => {
            Consistency::Eventual
        }
        _ => Consistency::Linearizable,
    }
}

/// True if sequential reads are kept in order by the session's position in a log, so that the order is the shard's.
fn sequential_by_session(mechanism: Mechanism) -> bool {
    matches!(mechanism, Mechanism::Raft { .. } | Mechanism::Primary { .. })
}

/// Numbers that make no sense by themselves.
fn sane(policy: &Policy, d: &Decision, found: &mut Vec<Contradiction>) {
    let mut wrong = |message: String| found.push(Contradiction::new(Rule::Counting, message));
    let n = d.mechanism.copies();
    if policy.durability == Some(0) {
        wrong("--durability 0: a write that no disk holds is not stored; 1 is the least".into());
    }
    if n == 0 || n > MOST_REPLICAS {
        wrong(format!("this needs {n} replicas of each shard; a shard has {MOST_REPLICAS} at most"));
        return;
    }
    match d.mechanism {
        Mechanism::Quorum { w, r, .. } if w > n || r > n => {
            wrong(format!("W={w} and R={r} of N={n} replicas: neither can be more than N"));
        }
        Mechanism::Primary { mode: PrimaryMode::Sync { min_in_sync }, .. } if min_in_sync > n => {
            wrong(format!("{min_in_sync} replicas in sync of {n} replicas: that many do not exist"));
        }
        Mechanism::Primary { mode: PrimaryMode::SemiSync { acks }, .. } if acks >= n => {
            wrong(format!(
                "a primary that waits for {} needs {} replicas at least, not {n}",
                backups(acks),
                acks + 1
            ));
        }
        _ => {}
    }
    if let Mechanism::Quorum { sloppy, conflicts, rmw, .. } = d.mechanism {
        if sloppy && rmw.serial() {
            let message = "a ballot is decided by the replicas themselves: hints on other nodes (sloppy) \
                           cannot vote, so conditional writes would be decided twice";
            found.push(Contradiction::new(Rule::Overlap, message));
        }
        if conflicts == Conflicts::Siblings && rmw.serial() {
            let message = "a condition compares with one value; a table that keeps siblings has several";
            found.push(Contradiction::new(Rule::Counting, message));
        }
    }
}

fn judge(policy: &Policy, d: &Decision, found: &mut Vec<Contradiction>) {
    found.extend(level(d));
    let parted = partition(d);
    found.extend(failures(policy, d));
    found.extend(disks(policy, d));
    // That a bound needs refusal is no news where the level does.
    if parted.is_none() || d.on_partition == OnPartition::Refuse {
        found.extend(staleness(d));
    }
    found.extend(parted);
    found.extend(local_reads(policy, d));
    found.extend(local_writes(policy, d));
    found.extend(one_order(policy, d));
}

/// Whether the mechanism keeps the level at all.
fn level(d: &Decision) -> Option<Contradiction> {
    use Consistency::{Causal, Linearizable, Regular, Sequential, StrictSerializable};
    let no = |rule, message: &str| Some(Contradiction::new(rule, message));
    match (d.mechanism, d.promise) {
        (Mechanism::Abd { .. }, StrictSerializable) => no(
            Rule::Herlihy,
            "strict serializable transactions need compare-and-set, which no register makes: abd has \
             reads and writes only",
        ),
        (Mechanism::Paxos { .. }, StrictSerializable) => no(
            Rule::Offer,
            "each key's Paxos register is linearizable alone; transactions over several keys are built on \
             raft only, whose log holds the votes",
        ),
        (Mechanism::Primary { .. }, StrictSerializable) => no(
            Rule::Skeen,
            "a transaction over several shards blocks when a primary is gone before its vote is known; \
             votes must be chosen by majorities, as raft does",
        ),
        (Mechanism::Primary { mode: PrimaryMode::Async, n }, Linearizable | Sequential | Regular)
            if n > 1 =>
        {
            Some(Contradiction::new(
                Rule::Failover,
                format!(
                    "an asynchronous primary replies before any backup has the write, so a failover \
                     forgets confirmed writes that were read already: that is not {}",
                    d.promise
                ),
            ))
        }
        (Mechanism::Quorum { .. }, StrictSerializable) => no(
            Rule::Herlihy,
            "strict serializable transactions need compare-and-set over several keys; replicas that only \
             count W and R have neither that nor one order",
        ),
        (Mechanism::Quorum { .. }, Linearizable) => no(
            Rule::Abd,
            "W and R that meet make no linearizable register: beside a write a reader may see the new \
             value and the next reader the old one",
        ),
        (Mechanism::Quorum { .. }, Sequential) => no(
            Rule::Offer,
            "leaderless replicas put no common order on writes, so reads at different replicas cannot \
             follow one; sequential needs a leader's log",
        ),
        (Mechanism::Quorum { sloppy: true, .. }, Regular | Causal) => no(
            Rule::Overlap,
            "hints on other nodes (sloppy) count as writes, so the replicas that answer a read need not \
             hold what was confirmed, not even to its own author: sloppy promises eventual and never more",
        ),
        (Mechanism::Quorum { n, w, r, .. }, Regular) if !d.mechanism.overlaps() => Some(Contradiction::new(
            Rule::Overlap,
            format!(
                "regular reads need R+W>N, and {r}+{w} is not more than {n}: a read may miss the last \
                 confirmed write"
            ),
        )),
        _ => None,
    }
}

/// Whether both sides of a partition can go on.
fn partition(d: &Decision) -> Option<Contradiction> {
    let n = d.mechanism.copies();
    let no = |rule, message: String| Some(Contradiction::new(rule, message));
    if d.on_partition == OnPartition::Refuse {
        // Where reads meet all writes, no side that reads can have missed one. A bound on staleness has its own word.
        let apart = d.mechanism.writes_on_two_sides() && !d.mechanism.overlaps();
        let goes_on = apart && d.promise.may_diverge() && d.staleness.is_none();
        if !goes_on {
            return None;
        }
        let takes = format!("{} takes writes on both sides of a partition", headline(d.mechanism));
        return no(Rule::Overlap, format!("{takes}: to refuse takes quorums that meet"));
    }
    match (d.promise, d.mechanism) {
        (Consistency::Sequential, _) => no(
            Rule::LiptonSandberg,
            "sequential reads and writes cannot be served by both sides of a partition: each would order \
             its own first"
                .into(),
        ),
        (level, _) if level.recent() => {
            no(Rule::Cap, format!("{} reads cannot be served by both sides of a partition", said(level)))
        }
        _ if n == 1 => no(
            Rule::Cap,
            "a space with one copy cannot be served by both sides of a partition: the copy is on one of \
             them"
                .into(),
        ),
        (_, Mechanism::Quorum { rmw: Rmw::Always, .. }) => no(
            Rule::Cap,
            "with rmw=always every write is a ballot of a majority, and only one side of a partition can \
             have that"
                .into(),
        ),
        (_, Mechanism::Quorum { w, r, .. }) if d.mechanism.overlaps() => no(
            Rule::Cap,
            format!(
                "R={r} and W={w} of N={n} meet, so at most one side of a partition can both read and \
                 write"
            ),
        ),
        (_, Mechanism::Quorum { r, n, sloppy: false, .. }) if r * 2 > n => no(
            Rule::Cap,
            format!(
                "a read waits for R={r} of N={n} replicas, and only one side of a partition can have \
                 that many"
            ),
        ),
        (_, Mechanism::Quorum { .. }) => None,
        (_, Mechanism::Primary { .. }) => no(
            Rule::Cap,
            "there is one primary, and it is on one side of a partition: the other cannot \
             write"
                .into(),
        ),
        (_, Mechanism::Raft { .. } | Mechanism::Abd { .. } | Mechanism::Paxos { .. }) => no(
            Rule::Cap,
            format!(
                "{} writes to a majority, and only one side of a partition can have that",
                d.mechanism.protocol()
            ),
        ),
    }
}

/// Whether as many nodes may fail.
fn failures(policy: &Policy, d: &Decision) -> Option<Contradiction> {
    let asked = to_survive(policy);
    let has = d.mechanism.survives();
    if has >= asked {
        return None;
    }
    let n = d.mechanism.copies();
    let lost = format!("{asked} of {n} replicas failed");
    let (rule, why) = match d.mechanism {
        Mechanism::Raft { .. } | Mechanism::Paxos { .. } => (
            Rule::Flp,
            format!(
                "those that are left cannot tell failed nodes from slow ones, and are no majority ({} of \
                 {n}): to survive {asked} takes {} replicas",
                majority(n),
                u16::from(asked) * 2 + 1
            ),
        ),
        Mechanism::Quorum { w, r, rmw, .. } if rmw.serial() && n.saturating_sub(w.max(r)) >= asked => (
            Rule::Flp,
            format!("conditional writes have no majority ({} of {n}) left to decide them", majority(n)),
        ),
        Mechanism::Quorum { w, r, .. } if d.mechanism.overlaps() => (
            Rule::Overlap,
            format!(
                "fewer than W={w} or R={r} are left; with R+W>N at most {} may fail",
                n.saturating_sub(1) / 2
            ),
        ),
        Mechanism::Quorum { w, r, .. } => (Rule::Counting, format!("fewer than W={w} or R={r} are left")),
        Mechanism::Abd { .. } => (
            Rule::Abd,
            format!(
                "both rounds need a majority ({} of {n}): to survive {asked} takes {} replicas",
                majority(n),
                u16::from(asked) * 2 + 1
            ),
        ),
        Mechanism::Primary { mode: PrimaryMode::Sync { min_in_sync }, .. } => (
            Rule::Counting,
            format!("fewer than the {min_in_sync} in-sync replicas are left below which writes are refused"),
        ),
        Mechanism::Primary { mode: PrimaryMode::SemiSync { acks }, .. } => (
            Rule::Failover,
            format!(
                "either a write finds no {} to confirm it, or too few are left to promote one that surely holds \
                 what was confirmed (a promotion must hear {} of {} backups)",
                backups(acks),
                n - acks,
                n - 1
            ),
        ),
        Mechanism::Primary { mode: PrimaryMode::Async, .. } => (Rule::Counting, "no replica is left".into()),
    };
    Some(Contradiction::new(rule, format!("the space would not survive {asked}: with {lost} {why}")))
}

/// Whether as many disks hold a write.
fn disks(policy: &Policy, d: &Decision) -> Option<Contradiction> {
    let asked = policy.durability?;
    let has = d.mechanism.write_quorum();
    (has < asked).then(|| {
        let has = if has == 1 { "one disk holds".to_string() } else { format!("{has} disks hold") };
        let why = format!("{} replies once {has} a write, and {asked} were asked for", headline(d.mechanism));
        Contradiction::new(Rule::Counting, why)
    })
}

/// Whether an age can be bounded.
fn staleness(d: &Decision) -> Option<Contradiction> {
    let bound = d.staleness?;
    // Where every read is recent by its quorum, none is stale and nothing has to be measured.
    let never_stale = match d.mechanism {
        Mechanism::Abd { .. } | Mechanism::Paxos { .. } => true,
        Mechanism::Quorum { .. } => d.mechanism.overlaps(),
        _ => d.mechanism.copies() == 1,
    };
    let no = |rule, message: String| Some(Contradiction::new(rule, message));
    if d.on_partition == OnPartition::Serve {
        return no(
            Rule::Cap,
            "a replica that is cut off cannot know how old its answer is: it keeps a bound on staleness \
             only by refusing"
                .into(),
        );
    }
    if never_stale {
        return None;
    }
    match d.mechanism {
        Mechanism::Quorum { n, w, r, .. } => no(
            Rule::Pbs,
            format!(
                "no bound on staleness holds where R={r} and W={w} of N={n} need not meet: repair has \
                 no deadline"
            ),
        ),
        Mechanism::Primary { mode: PrimaryMode::Async, .. } => no(
            Rule::Failover,
            "an asynchronous primary's failover forgets confirmed writes, and a read that misses those is \
             older than any bound"
                .into(),
        ),
        _ if bound < LEAST_STALENESS => no(
            Rule::LundeliusLynch,
            format!(
                "a bound of {} cannot be proved: clocks may be {} apart, and replicas hear every {} how \
                 complete they are; {} is the least",
                spell_time(bound),
                spell_time(CLOCK_OFFSET),
                spell_time(CLOSING_INTERVAL),
                spell_time(LEAST_STALENESS)
            ),
        ),
        _ => None,
    }
}

fn local_reads(policy: &Policy, d: &Decision) -> Option<Contradiction> {
    if !policy.local.is_some_and(Local::reads) || d.mechanism.reads_locally(d.promise) {
        return None;
    }
    let n = d.mechanism.copies();
    Some(match (d.promise, d.mechanism) {
        (Consistency::Regular, _) => Contradiction::new(
            Rule::Overlap,
            format!(
                "a regular read at one replica needs every write on all N={n}, and then a single failure \
                 stops writes"
            ),
        ),
        (level, _) if level.recent() => Contradiction::new(
            Rule::AttiyaWelch,
            format!(
                "{} reads cannot be answered locally: the replica must hear that nothing newer was confirmed",
                said(level)
            ),
        ),
        (_, mechanism) => Contradiction::new(
            Rule::Counting,
            format!(
                "{} reads {} replicas, so a read waits for others",
                headline(mechanism),
                mechanism.read_quorum(d.promise)
            ),
        ),
    })
}

fn local_writes(policy: &Policy, d: &Decision) -> Option<Contradiction> {
    if !policy.local.is_some_and(Local::writes) || d.mechanism.writes_locally() {
        return None;
    }
    let (rule, why) = match d.promise {
        Consistency::StrictSerializable | Consistency::Linearizable => (
            Rule::AttiyaWelch,
            "a write must be known where the next read may come, before its reply".to_string(),
        ),
        Consistency::Sequential => (
            Rule::AttiyaWelch,
            "sequential consistency lets reads or writes be local, not both; here reads are, and writes \
             go through the leader"
                .to_string(),
        ),
        Consistency::Regular => (
            Rule::Overlap,
            format!(
                "with W=1 a read must ask all N={}, and then a single failure stops reads",
                d.mechanism.copies()
            ),
        ),
        Consistency::Causal | Consistency::Eventual => (
            Rule::Pacelc,
            format!(
                "{} disks hold a write before its reply, and all but one are elsewhere",
                d.mechanism.write_quorum()
            ),
        ),
    };
    Some(Contradiction::new(rule, format!("{} writes cannot be answered locally: {why}", said(d.promise))))
}

/// Whether one order can hold over all keys.
fn one_order(policy: &Policy, d: &Decision) -> Option<Contradiction> {
    let whole = policy.over == Some(Scope::Space) && d.partition_by != Partitioning::None;
    (whole && d.promise == Consistency::Sequential && sequential_by_session(d.mechanism)).then(|| {
        let why = "sequential consistency does not compose: each shard has one order, and no one order \
                   need fit them all";
        Contradiction::new(Rule::HerlihyWing, why)
    })
}

/// A level as an adjective.
pub(crate) fn said(level: Consistency) -> &'static str {
    match level {
        Consistency::StrictSerializable => "strict serializable",
        level => level.word(),
    }
}

/// A number of backups.
pub(crate) fn backups(count: u8) -> String {
    if count == 1 { "1 backup".into() } else { format!("{count} backups") }
}

/// The mechanism with its numbers, as a plan's first line has it.
pub(crate) fn headline(mechanism: Mechanism) -> String {
    match mechanism {
        Mechanism::Raft { n: 1 } => "raft x1".into(),
        Mechanism::Raft { n } => format!("raft x{n}, majority commit"),
        Mechanism::Abd { n } => format!("abd x{n}, timestamp round and write-back"),
        Mechanism::Paxos { n } => format!("paxos x{n}, one register a key"),
        Mechanism::Quorum { n, w, r, sloppy, .. } => {
            format!("{}quorum N={n} W={w} R={r}", if sloppy { "sloppy " } else { "" })
        }
        Mechanism::Primary { n, mode: PrimaryMode::Sync { min_in_sync } } => {
            format!("primary x{n}, synchronous, {min_in_sync} in sync at least")
        }
        Mechanism::Primary { n, mode: PrimaryMode::SemiSync { acks } } => {
            format!("primary x{n}, semi-synchronous, {}", backups(acks))
        }
        Mechanism::Primary { n, mode: PrimaryMode::Async } => format!("primary x{n}, asynchronous"),
    }
}
