//! Policies of known systems, each with what differs from its original.
//!
//! A preset copies its original's promise and, as far as this product's mechanisms go, its traps; what it does not copy
//! stands in `departs`. What else is asked beside a preset wins over it.

use crate::ask::{BadWord, Consistency, OnPartition, Partitioning, Policy, one_of};
use crate::mechanism::{Conflicts, PrimaryAsk, Quorum, Replication, Rmw};

/// A policy by the name of a system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it is like, in a line.
    pub like: &'static str,
    /// The policy.
    pub policy: Policy,
    /// Where it departs from its original.
    pub departs: &'static [&'static str],
}

/// All presets.
pub fn all() -> Vec<Preset> {
    let raft = Some(Replication::Raft { n: None });
    let primary = |mode, n| Some(Replication::Primary { mode, n: Some(n) });
    let sync = PrimaryAsk::Sync { min_in_sync: Some(2) };
    vec![
        Preset {
            name: "etcd-like",
            like: "three copies, a majority commits, reads confirmed by a round (ReadIndex)",
            policy: Policy {
                consistency: Some(Consistency::Linearizable),
                survive: Some(1),
                on_partition: Some(OnPartition::Refuse),
                partition_by: Some(Partitioning::Range),
                replication: raft.clone(),
                ..Policy::default()
            },
            departs: &[
                "one group a shard; etcd has one for all data, so its transactions may touch any keys \
                 (--partition-by none has that, too)",
            ],
        },
        Preset {
            name: "spanner-like",
            like: "strict serializable transactions over range-partitioned raft groups",
            policy: Policy {
                consistency: Some(Consistency::StrictSerializable),
                survive: Some(1),
                on_partition: Some(OnPartition::Refuse),
                partition_by: Some(Partitioning::Range),
                replication: raft,
                ..Policy::default()
            },
            departs: &[
                "no TrueTime and no commit-wait: it is not Spanner; the order comes from locks and \
                 replicated votes, and no clock counts",
                "all keys of a transaction are named when it begins; Spanner's may be found on the way",
            ],
        },
        Preset {
            name: "dynamo-like",
            like: "Dynamo as its paper of 2007 has it: sloppy quorums, hints, siblings",
            policy: Policy {
                consistency: Some(Consistency::Eventual),
                on_partition: Some(OnPartition::Serve),
                partition_by: Some(Partitioning::Hash),
                replication: Some(Replication::Quorum(Quorum {
                    n: Some(3),
                    w: Some(2),
                    r: Some(2),
                    sloppy: true,
                    conflicts: Conflicts::Siblings,
                    rmw: None,
                })),
                ..Policy::default()
            },
            departs: &[
                "it is the Dynamo of 2007; the service DynamoDB writes through a Paxos leader for each \
                 partition, and is another design",
                "siblings carry dotted version vectors, not plain vector clocks; more than 16 are merged \
                 by rule and counted",
                "a write is confirmed once it is flushed; Dynamo let a replica confirm from memory",
            ],
        },
        Preset {
            name: "cassandra-quorum",
            like: "Cassandra with QUORUM reads and writes at replication factor 3",
            policy: Policy {
                consistency: Some(Consistency::Regular),
                survive: Some(1),
                on_partition: Some(OnPartition::Refuse),
                partition_by: Some(Partitioning::Hash),
                replication: Some(Replication::Quorum(Quorum {
                    n: Some(3),
                    w: Some(2),
                    r: Some(2),
                    rmw: Some(Rmw::Only),
                    ..Quorum::default()
                })),
                ..Policy::default()
            },
            departs: &[
                "a write is confirmed after its flush; Cassandra's default flushes the commit log every \
                 10 s, behind the reply",
                "tombstones go by a watermark that says who has them, not by age (gc_grace_seconds), so \
                 nothing deleted comes back",
                "its trap is kept: plain writes race conditional ones on the same item (rmw=always closes \
                 it)",
            ],
        },
        Preset {
            name: "postgres-sync",
            like: "PostgreSQL with synchronous standbys",
            policy: Policy {
                consistency: Some(Consistency::Linearizable),
                survive: Some(1),
                on_partition: Some(OnPartition::Refuse),
                replication: primary(sync, 3),
                ..Policy::default()
            },
            departs: &[
                "PostgreSQL shows a commit locally whose wait was cancelled; here reads stop at the high \
                 watermark",
                "PostgreSQL waits for a standby that is gone until someone changes its settings, and has \
                 no failover of its own; here the meta group puts it out of the in-sync set, and promotes",
                "a read at the primary is confirmed by a round, so a deposed primary answers none",
            ],
        },
        Preset {
            name: "postgres-async",
            like: "PostgreSQL with asynchronous standbys",
            policy: Policy {
                consistency: Some(Consistency::Eventual),
                survive: Some(1),
                on_partition: Some(OnPartition::Refuse),
                replication: primary(PrimaryAsk::Async, 2),
                ..Policy::default()
            },
            departs: &[
                "a failover reports the suffix that it lost, and logs it when the old primary returns; \
                 PostgreSQL rewinds that one in silence",
                "failover is built in, and decided by the meta group",
            ],
        },
        Preset {
            name: "mysql-semi-sync",
            like: "MySQL with semi-synchronous replication to one of two replicas",
            policy: Policy {
                consistency: Some(Consistency::Linearizable),
                survive: Some(1),
                durability: Some(2),
                on_partition: Some(OnPartition::Refuse),
                replication: primary(PrimaryAsk::SemiSync { acks: 1 }, 3),
                ..Policy::default()
            },
            departs: &[
                "MySQL falls back to asynchronous after a time-out (rpl_semi_sync_source_timeout, 10 s); \
                 here the write is refused",
                "a replica acknowledges after its flush; a promotion hears enough replicas to find every \
                 confirmed write",
                "a read at the primary is confirmed by a round; MySQL's is not",
            ],
        },
        Preset {
            name: "kafka-acks-all",
            like: "a Kafka topic with replication factor 3 and acks=all",
            policy: Policy {
                consistency: Some(Consistency::Sequential),
                survive: Some(1),
                durability: Some(2),
                on_partition: Some(OnPartition::Refuse),
                replication: primary(sync, 3),
                ..Policy::default()
            },
            departs: &[
                "acks=all alone promises one disk: Kafka needs min.insync.replicas=2 besides, whose \
                 default is 1; here the preset sets it",
                "a replica confirms after its flush; Kafka's confirms from the page cache",
                "no unclean election: a leader comes from the in-sync set, by the greatest (epoch, offset)",
            ],
        },
    ]
}

/// The preset of that name.
pub fn named(name: &str) -> Result<Preset, BadWord> {
    let all = all();
    let known = one_of(all.iter().map(|preset| preset.name));
    all.into_iter()
        .find(|preset| preset.name == name)
        .ok_or_else(|| BadWord { word: name.into(), allowed: known })
}
