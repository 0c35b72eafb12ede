//! What a plan says: its first line, its class, what it gives up, what it stands on, and why it came out so.

use super::never_stale;
use crate::ask::{Consistency, OnPartition, Partitioning, Policy, spell_time};
use crate::decide::{CLOCK_OFFSET, CLOSING_INTERVAL, Decision, EASY_STALENESS, backups, said};
use crate::mechanism::{Conflicts, Mechanism, PrimaryMode, Rmw, majority};
use crate::odds;
use crate::plan::{Losses, Pacelc};

/// The mechanism and the partitioning.
pub(crate) fn headline(d: &Decision) -> String {
    let more = match d.mechanism {
        Mechanism::Quorum { n: 1, .. } => String::new(),
        Mechanism::Quorum { sloppy, conflicts, .. } => {
            let conflicts = match conflicts {
                Conflicts::LastWriterWins => "last writer wins per attribute",
                Conflicts::Siblings => "siblings",
            };
            // Every leaderless mechanism keeps hints for replicas that are away; only in a sloppy one do they count.
            let hints = if sloppy { "hints count as writes" } else { "hinted handoff" };
            format!(", {hints}, read repair, anti-entropy, {conflicts}")
        }
        _ => String::new(),
    };
    format!("{}{more}, {}", crate::decide::headline(d.mechanism), d.partition_by.said())
}

/// What one gets, for a way out.
pub(crate) fn in_a_line(d: &Decision) -> String {
    let caveat = match (d.promise, d.mechanism) {
        (Consistency::Causal, Mechanism::Quorum { .. }) => {
            ", for sessions that stay with the replicas that hold their writes"
        }
        (Consistency::Eventual, Mechanism::Raft { .. }) => ", with one order of writes",
        (Consistency::Sequential, _) if d.partition_by != Partitioning::None => ", per partition key",
        _ => "",
    };
    let promise = if d.promise == Consistency::Eventual { "eventually consistent" } else { said(d.promise) };
    let survives = match d.mechanism.survives() {
        0 if d.mechanism.copies() == 1 => {
            "survives no failed node, and what its one disk loses is lost".to_string()
        }
        0 => "survives no failed node".to_string(),
        1 => "survives 1 failed node".to_string(),
        f => format!("survives {f} failed nodes"),
    };
    let side = match d.on_partition {
        OnPartition::Refuse => "",
        OnPartition::Serve => ", every side of a partition goes on",
    };
    format!("{promise}{caveat}: {}, {survives}{side}", crate::decide::headline(d.mechanism))
}

/// Over what the promise holds, and for whom.
pub(crate) fn scope(d: &Decision) -> String {
    use Consistency::{Causal, Eventual, Linearizable, Regular, Sequential, StrictSerializable};
    let one_shard = d.partition_by == Partitioning::None;
    let registers = matches!(d.mechanism, Mechanism::Abd { .. } | Mechanism::Paxos { .. });
    let quorum = matches!(d.mechanism, Mechanism::Quorum { .. });
    let text = match d.promise {
        StrictSerializable if one_shard => "transactions over all keys: one shard has one log",
        StrictSerializable => {
            "transactions over any keys, also of other raft spaces, in one order with single operations"
        }
        Linearizable => "each operation; it holds for all keys together, since linearizability is local",
        Sequential | Causal if registers => {
            "all keys: this mechanism is linearizable, which is more, at no extra price"
        }
        Sequential if one_shard => "all keys, for clients that hand their session token back",
        Sequential => {
            "each partition key alone, for clients that hand their session token back; it does not \
             compose over shards"
        }
        Regular if quorum => "each key; never linearizable, though R+W>N",
        Regular => {
            "each key: this mechanism's confirmed reads are linearizable, which is more, at no extra price"
        }
        Causal => {
            "all keys, for clients that hand their session token back; without it a client gets eventual"
        }
        Eventual if quorum || registers => "each key",
        Eventual => "reads; writes have one order for each shard all the same",
    };
    text.into()
}

/// The class and what it means here.
pub(crate) fn pacelc(d: &Decision) -> Pacelc {
    let m = d.mechanism;
    let n = m.copies();
    let available = d.on_partition == OnPartition::Serve;
    let quick = m.reads_locally(d.promise) || m.writes_locally() || !m.overlaps();
    let latency = n > 1 && quick && !d.promise.recent();
    if n == 1 {
        let words = "one copy: nothing is traded, and nothing served while its node is away".into();
        return Pacelc { available, latency, words };
    }
    let w = m.write_quorum();
    let partition = match (available, m) {
        (true, Mechanism::Quorum { sloppy: true, .. }) => {
            "in a partition every side goes on, and answers may be old".to_string()
        }
        (true, _) if w == 1 => {
            "in a partition every side with a replica goes on, and answers may be old".to_string()
        }
        (true, _) => format!(
            "in a partition every side with a replica answers reads, old ones perhaps, and sides with {w} \
             take writes"
        ),
        (false, _) if m.writes_on_two_sides() => {
            "in a partition the side that cannot reach enough replicas for a read refuses to read".into()
        }
        (false, _) => {
            "in a partition one side goes on at most, and the others refuse rather than break the promise"
                .into()
        }
    };
    let else_ = match (m.reads_locally(d.promise), m.writes_locally()) {
        (true, true) => "else reads and writes are answered by one replica, without a round trip to others",
        (true, false) => {
            "else reads are answered by one replica without a round trip, and writes pay one and a flush \
             elsewhere"
        }
        (false, true) => "else writes are answered by one replica without a round trip, and reads pay one",
        (false, false) if !m.overlaps() => {
            "else an operation waits for the fastest of its replicas, and for no agreement"
        }
        (false, false) => "else every operation pays a round trip for its promise",
    };
    Pacelc { available, latency, words: format!("{partition}; {else_}") }
}

/// When a confirmed write is lost.
pub(crate) fn losses(d: &Decision) -> Losses {
    let m = d.mechanism;
    let (n, disks) = (m.copies(), m.write_quorum());
    let mut words = Vec::new();
    let failover = n > 1 && matches!(m, Mechanism::Primary { mode: PrimaryMode::Async, .. });
    let overwritten = matches!(
        m,
        Mechanism::Quorum {
            conflicts: Conflicts::LastWriterWins,
            rmw: Rmw::Forbid | Rmw::Only | Rmw::Unsafe,
            ..
        }
    );
    words.push(match (m, disks) {
        _ if n == 1 => "a confirmed write is lost if its one disk is lost".into(),
        (Mechanism::Quorum { .. }, 1) => {
            "a confirmed write is lost if the one disk that took it is lost before it is passed on \
             (--durability 2: W=2)"
                .into()
        }
        (Mechanism::Primary { mode: PrimaryMode::Async, .. }, _) => {
            "a confirmed write is lost if the primary fails, or is cut off, before a backup heard of it; \
             the suffix is reported, and logged when the old primary returns with its disk"
                .into()
        }
        (Mechanism::Quorum { .. }, w) => format!(
            "a confirmed write is lost only if the {w} disks that \
             took it are lost before it is passed on"
        ),
        (Mechanism::Primary { mode: PrimaryMode::Sync { .. }, .. }, 1) => {
            "a confirmed write is lost if all in-sync disks are lost, and the in-sync set may have shrunk \
             to one"
                .into()
        }
        (Mechanism::Primary { mode: PrimaryMode::Sync { .. }, .. }, w) => {
            format!(
                "a confirmed write is lost only if all in-sync disks are lost, and those are {w} at \
                 least"
            )
        }
        (_, w) => format!("a confirmed write is lost only if {w} of {n} disks are lost"),
    });
    if overwritten && n > 1 {
        words.push(
            "of two concurrent writes to one attribute one is dropped, and a later one may be, where its \
             coordinator's clock is behind"
                .into(),
        );
    }
    Losses { disks, failover, overwritten, words }
}

/// What cannot be had with it.
pub(crate) fn gives_up(d: &Decision) -> Vec<String> {
    let mut given = Vec::new();
    let m = d.mechanism;
    let n = m.copies();
    let mut say = |text: &str| given.push(text.to_string());
    if n == 1 {
        say("all service while the node of the one copy is away");
        return given;
    }
    match m {
        Mechanism::Raft { .. } if d.promise.recent() => {
            say("writes and linearizable reads on the minority side of a partition");
            say("every write pays one round trip and one flush on a majority, every linearizable read a \
                 round trip");
        }
        Mechanism::Raft { .. } => {
            say("writes on the minority side of a partition");
            say("every write pays one round trip and one flush on a majority");
        }
        Mechanism::Abd { .. } => {
            say("reads and writes on the minority side of a partition");
            say("compare-and-set: no conditions, no counters, no transactions");
            say("a write pays two round trips, since no leader knows the newest timestamp");
        }
        Mechanism::Paxos { .. } => {
            say("reads and writes on the minority side of a partition");
            say("cheap reads: a read is a ballot, with a flush");
            say("order between keys, and transactions over them");
        }
        Mechanism::Quorum { .. } => quorum_gives_up(d, &mut say),
        Mechanism::Primary { mode, .. } => primary_gives_up(d, mode, &mut say),
    }
    match d.promise {
        Consistency::Sequential if !matches!(m, Mechanism::Abd { .. } | Mechanism::Paxos { .. }) => {
            say("real time: a read at another node may miss a write that was confirmed before it began");
        }
        Consistency::Causal if matches!(m, Mechanism::Raft { .. } | Mechanism::Primary { .. }) => {
            say("real time: a read may miss what nobody whom the client heard of has seen");
        }
        Consistency::Eventual if matches!(m, Mechanism::Raft { .. } | Mechanism::Primary { .. }) => {
            say("reading one's own writes, unless an operation asks for more: a read may miss the newest \
                 write");
        }
        _ => {}
    }
    given
}

fn quorum_gives_up(d: &Decision, say: &mut impl FnMut(&str)) {
    let Mechanism::Quorum { n, sloppy, conflicts, rmw, .. } = d.mechanism else { return };
    let w = d.mechanism.write_quorum();
    match d.promise {
        Consistency::Regular => {
            say("linearizability: beside a write one read may see the new value and the next the old one; \
                 a write that timed out may appear later");
        }
        Consistency::Causal => {
            say("real time: a read may miss what nobody whom the client heard of has seen");
            say("a session that moves, under a partition, to replicas without its writes gets a retryable \
                 error, not an answer");
        }
        _ => say("a read may miss the newest write, also its client's own"),
    }
    match conflicts {
        Conflicts::LastWriterWins if rmw != Rmw::Always => {
            say("of two concurrent writes to one attribute one is dropped");
        }
        Conflicts::LastWriterWins => {}
        Conflicts::Siblings => {
            say("one value: concurrent writes leave siblings, a plain read gets one of them and their \
                 number, and a writer must merge");
        }
    }
    match rmw {
        Rmw::Forbid => say("conditional writes, counters and old values: they are refused"),
        Rmw::Only => say(
            "one order for plain and conditional writes: a plain write may race a conditional one on the \
             same item",
        ),
        Rmw::Unsafe => say("safe conditional writes: two of them may both succeed"),
        Rmw::Always => say("cheap writes: each is a ballot of a majority"),
    }
    if d.on_partition == OnPartition::Refuse && n > 1 {
        say("service on a side of a partition that has fewer than the quorum");
    } else if w > 1 && !sloppy {
        say(&format!(
            "writes on a side of a partition with fewer than {w} replicas: {w} disks are not there to \
             hold them (sloppy takes those of other nodes)"
        ));
    }
}

fn primary_gives_up(d: &Decision, mode: PrimaryMode, say: &mut impl FnMut(&str)) {
    say("writes on every side of a partition but the one that the meta group's majority is on");
    match mode {
        PrimaryMode::Sync { .. } => {
            say("every write waits for the slowest in-sync replica, until that one is put out of the set");
        }
        PrimaryMode::SemiSync { acks } => {
            say(&format!(
                "every write waits for {}, the fastest; it is refused, and never confirmed alone, when there are \
                 none",
                backups(acks)
            ));
        }
        PrimaryMode::Async => say("the last confirmed writes, whenever the primary fails"),
    }
    if matches!(mode, PrimaryMode::Async) && d.promise == Consistency::Causal {
        say("a session whose writes a failover lost is told so (SessionLost), and never shown an older \
             state instead");
    }
    if matches!(mode, PrimaryMode::Sync { .. } | PrimaryMode::SemiSync { .. }) && d.promise.recent() {
        say("local reads: the primary's own copy does not tell it that it was succeeded");
    }
    say("transactions: they are built on raft spaces only");
}

/// What must hold for the promise to hold.
pub(crate) fn assumes(d: &Decision) -> Vec<String> {
    let mut all = Vec::new();
    let m = d.mechanism;
    let n = m.copies();
    all.push(
        "disks keep what they have flushed, and a node whose disk was wiped returns under a new identity"
            .to_string(),
    );
    match m {
        Mechanism::Quorum { conflicts: Conflicts::LastWriterWins, rmw, .. }
            if rmw != Rmw::Always && n > 1 =>
        {
            all.push(format!(
                "clocks decide which of two writes is the later, so they count: they are fenced at {} apart, \
                 and within that a later write through another node may lose to an earlier one",
                spell_time(CLOCK_OFFSET)
            ));
        }
        Mechanism::Raft { .. } | Mechanism::Paxos { .. } | Mechanism::Abd { .. } => {
            all.push("no clock: elections and time-outs decide when, never what".into());
        }
        _ => {}
    }
    if d.staleness.is_some() && !never_stale(d) {
        all.push(format!(
            "for the bound on staleness alone: clocks within {} of each other",
            spell_time(CLOCK_OFFSET)
        ));
    }
    if m.is_consensus() && n > 1 {
        all.push(
            "time-outs for progress (FLP): while a leader or a proposer is being replaced, operations wait"
                .into(),
        );
    }
    if matches!(m, Mechanism::Primary { .. }) && n > 1 {
        all.push("the meta group's majority for every failover and every change of who is in sync".into());
    }
    all
}

/// What is worth knowing besides.
pub(crate) fn notes(policy: &Policy, d: &Decision) -> Vec<String> {
    let mut all = Vec::new();
    let m = d.mechanism;
    let n = m.copies();
    if let (Consistency::Causal, Mechanism::Quorum { .. }) = (d.promise, m) {
        all.push(
            "sticky available: it goes on under partition for clients that stay with their replicas".into(),
        );
    }
    if let Some(asked) = policy.survive.filter(|asked| m.survives() > *asked) {
        all.push(format!("survives {} failed nodes, though {asked} were asked for", m.survives()));
    }
    if let Some(asked) = policy.durability.filter(|asked| m.write_quorum() > *asked) {
        all.push(format!(
            "{} disks hold a write before its reply, though {asked} would do: quorums take as many",
            m.write_quorum()
        ));
    }
    if n > 1 && n.is_multiple_of(2) && m.is_consensus() {
        all.push(format!(
            "{n} voters survive no more failures than {}: the last is there for its disk",
            n - 1
        ));
    }
    let few = policy.survive.unwrap_or(1).saturating_mul(2).saturating_add(1);
    if policy.durability.is_some() && matches!(m, Mechanism::Raft { .. }) && n > few.max(3) {
        let sync = policy.survive.unwrap_or(1).saturating_add(m.write_quorum());
        all.push(format!(
            "the copies are there for the disks, since a majority of them must hold each write; \
             primary:sync holds as many with {sync}"
        ));
    }
    if d.staleness.is_some() && never_stale(d) {
        all.push("the bound on staleness costs nothing: no read of this mechanism is old".into());
    }
    if let Some(bound) = d.staleness.filter(|bound| *bound < EASY_STALENESS && !never_stale(d)) {
        all.push(format!(
            "within {} a replica often cannot answer alone, and asks the leader: what it knows is up to {} old by \
             clocks that may be {} apart; {} and more it keeps alone",
            spell_time(bound),
            spell_time(2 * CLOSING_INTERVAL),
            spell_time(CLOCK_OFFSET),
            spell_time(EASY_STALENESS)
        ));
    }
    if d.partition_by == Partitioning::Range {
        all.push(
            "keys that grow (times, counters) all go to the last range: one shard takes all writes \
             (time+hash spreads them)"
                .into(),
        );
    }
    if d.partition_by == Partitioning::TimeHash {
        all.push(
            "the partition key is a stretch of time, whose items lie in all shards: a query of one asks them all and \
             merges, and there are no local indexes"
                .into(),
        );
    }
    if matches!(m, Mechanism::Raft { .. }) && d.partition_by != Partitioning::None {
        all.push(
            "each shard indexes its own items: a write costs no more shards for its indexes, and a query of \
             a global index asks every shard of its table, all at once"
                .into(),
        );
    }
    if matches!(m, Mechanism::Quorum { .. } | Mechanism::Abd { .. } | Mechanism::Paxos { .. })
        && d.partition_by == Partitioning::Hash
    {
        all.push(format!(
            "on a ring with {} places a node, nodes' shares differ by about {} %, and any two failed \
             nodes share some range of a big ring",
            odds::PLACES,
            odds::spread_percent(odds::PLACES)
        ));
    }
    all
}

/// Why it came out so, a step a line.
pub(crate) fn reasons(policy: &Policy, d: &Decision) -> Vec<String> {
    let mut all = Vec::new();
    let m = d.mechanism;
    all.push(match policy.consistency {
        Some(level) => format!("{} was asked for: {}", said(level), level.meaning()),
        None if policy.replication.is_some() => {
            format!(
                "no consistency was asked for: {} is the strongest that the named mechanism keeps",
                said(d.promise)
            )
        }
        None => format!("no consistency was asked for: the default is {}", said(d.promise)),
    });
    all.push(match (policy.replication.is_some(), m) {
        (true, _) => format!("{} was named outright", m.protocol()),
        (false, Mechanism::Raft { .. }) if d.promise.implies(Consistency::Sequential) => {
            format!(
                "{} needs one order of writes that outlives its leader: a log that a majority agrees \
                 on, so raft",
                said(d.promise)
            )
        }
        (false, Mechanism::Raft { .. }) => {
            "a side that is cut off is to refuse, so writes may have one order: raft, with reads at any \
             replica"
                .into()
        }
        (false, _) if d.promise == Consistency::Regular => {
            "a regular register needs no order, only quorums that meet: leaderless, with R+W>N".into()
        }
        (false, _) => "both sides of a partition are to go on, so no leader and no majority can be \
                       needed: leaderless"
            .into(),
    });
    all.push(numbers_reason(policy, m));
    all.push(match (policy.on_partition, d.on_partition) {
        (Some(_), OnPartition::Refuse) => "a side that could break the promise refuses, as was asked".into(),
        (Some(_), OnPartition::Serve) => "every side goes on, as was asked".into(),
        (None, OnPartition::Refuse) => {
            "nothing was asked about partitions: a side that could break the promise refuses (CAP)".into()
        }
        (None, OnPartition::Serve) => {
            format!(
                "nothing was asked about partitions: {} allows every side to go on, so it does",
                said(d.promise)
            )
        }
    });
    all.push(match (policy.partition_by, d.partition_by) {
        (Some(_), by) => format!("{}, as was asked", by.said()),
        (None, Partitioning::None) => {
            "one order over all keys needs one shard: sequential consistency does not compose".into()
        }
        (None, by) => format!("{}: the default, which spreads any keys", by.said()),
    });
    all
}

fn numbers_reason(policy: &Policy, m: Mechanism) -> String {
    let n = m.copies();
    let f = policy.survive.map_or("the default".to_string(), |f| f.to_string());
    match m {
        Mechanism::Raft { .. } | Mechanism::Abd { .. } | Mechanism::Paxos { .. } => {
            format!(
                "N={n}: a majority of {n} is {}, which {} failed nodes leave standing (asked: {f}): 2f+1",
                majority(n),
                m.survives()
            )
        }
        Mechanism::Quorum { w, r, .. } if m.overlaps() => {
            format!("N={n}, W={w}, R={r}: every read meets every write, since {r}+{w}>{n}")
        }
        Mechanism::Quorum { w, r, .. } => {
            format!(
                "N={n}, W={w}, R={r}: a write waits for as many disks as are to hold it, a read for {r}; \
                 they need not meet"
            )
        }
        Mechanism::Primary { mode: PrimaryMode::Sync { min_in_sync }, .. } => {
            let lossless = if min_in_sync > m.survives() {
                ": what the space survives loses nothing that was confirmed"
            } else {
                ""
            };
            format!("N={n}: with {} failed, {min_in_sync} are still in sync{lossless}", m.survives())
        }
        Mechanism::Primary { mode: PrimaryMode::SemiSync { acks }, .. } => format!(
            "N={n}: a promotion that hears {} of {} backups meets each set of {acks} that confirmed a write",
            n - acks,
            n - 1
        ),
        Mechanism::Primary { mode: PrimaryMode::Async, .. } => {
            format!("N={n}: one copy for each failure to survive, and one")
        }
    }
}
