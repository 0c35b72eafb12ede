//! How clients reach a system: an operation in, what is known of its end out.
//!
//! The one rule: whatever may have happened is of unknown outcome. Only what the system itself, or the lack of a
//! connection, says did not happen is a failure.

mod dynamo;
mod etcd;
mod postgres;

pub(crate) use dynamo::{contents, make_table};
pub(crate) use etcd::{Strength, end_of};
pub(crate) use postgres::prepare as prepare_postgres;

use crate::op::{Ended, Op};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the clients of a run reach their system.
#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Way {
    /// Over etcd's protocol.
    Etcd {
        /// All nodes, in order.
        endpoints: Vec<String>,
        /// Before every key of this workload.
        prefix: String,
        /// How a lock protects, where there is one.
        #[serde(default)]
        strength: Strength,
    },
    /// By DynamoDB's API.
    Dynamo {
        /// All nodes, in order.
        endpoints: Vec<String>,
        /// The workload's table.
        table: String,
    },
    /// By PostgreSQL's.
    Postgres {
        /// The server's port.
        port: u16,
        /// The isolation of its transactions.
        isolation: String,
    },
}

/// An open door.
pub(crate) enum Door {
    /// etcd's.
    Etcd(etcd::Etcd),
    /// DynamoDB's.
    Dynamo(dynamo::Dynamo),
    /// PostgreSQL's.
    Postgres(postgres::Postgres),
}

impl Door {
    /// Opens it at node `at` (from 0) first; to another one after a failure unless `pinned`.
    pub(crate) fn open(way: &Way, at: usize, pinned: bool, patience: Duration) -> Self {
        match way {
            Way::Etcd { endpoints, prefix, strength } => {
                let (endpoints, prefix) = (endpoints.clone(), prefix.clone());
                Self::Etcd(etcd::Etcd::new(endpoints, prefix, at, pinned, patience, *strength))
            }
            Way::Dynamo { endpoints, table } => {
                Self::Dynamo(dynamo::Dynamo::new(endpoints, table.clone(), at, pinned, patience))
            }
            Way::Postgres { port, isolation } => {
                Self::Postgres(postgres::Postgres::new(*port, isolation.clone(), patience))
            }
        }
    }

    /// The node that is asked, from 1.
    pub(crate) fn node(&self) -> u64 {
        match self {
            Self::Etcd(door) => door.node(),
            Self::Dynamo(door) => door.node(),
            Self::Postgres(_) => 1,
        }
    }

    /// Does it.
    pub(crate) async fn perform(&mut self, op: &Op) -> Ended {
        match self {
            Self::Etcd(door) => door.perform(op).await,
            Self::Dynamo(door) => door.perform(op).await,
            Self::Postgres(door) => door.perform(op).await,
        }
    }
}
