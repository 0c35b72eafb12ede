//! Promise → mechanism → price: what a space is asked to guarantee, what keeps it, and what that costs.
//!
//! [`Policy`] is what is asked. [`plan`] answers with a [`Plan`], or with a [`Refusal`]: the contradictions in what
//! was asked, each under the name of its theorem, and the nearest policies that have a plan. It is a pure function,
//! so a door, the command line and the group that keeps the spaces get the same answer.
//!
//! The way through the files: [`ask`] (the words of a policy) → [`mechanism`] (what can be built, and what follows
//! from its numbers) → [`decide`](crate::decide::decide) (policy → mechanism, or what stands against it) →
//! [`plan`](crate::plan) (the decision, priced and said aloud). [`ways`] looks for the ways out, [`preset`] holds the
//! policies of known systems, [`tags`] reads a policy from a table's tags.
//!
//! What it follows. CAP: Gilbert and Lynch 2002. PACELC: Abadi 2012. Consensus: Fischer, Lynch and Paterson 1985;
//! Dwork, Lynch and Stockmeyer 1988. Registers: Attiya, Bar-Noy and Dolev 1995. What operations must wait for: Lipton
//! and Sandberg 1988; Attiya and Welch 1994. Locality: Herlihy and Wing 1990. Compare-and-set: Herlihy 1991. Atomic
//! commitment: Skeen 1981; Gray and Lamport 2006. Availability of weak levels: Bailis and others 2013. [`Rule`] says
//! for each what it states.
//!
//! Left out: levels of isolation below strict serializability, quorums that are weighted or span zones, and prices in
//! milliseconds: they belong to a network and a disk, so the plan counts round trips and flushes.

pub mod ask;
pub mod decide;
pub mod mechanism;
pub mod odds;
pub mod plan;
pub mod preset;
mod price;
pub mod rule;
pub mod tags;
pub mod ways;

pub use ask::{Consistency, Local, OnPartition, Partitioning, Policy, Scope};
pub use mechanism::{Conflicts, Mechanism, PrimaryMode, Replication, Rmw};
pub use plan::{Part, Plan, plan};
pub use rule::{Contradiction, Rule};
pub use ways::{Refusal, Way};
