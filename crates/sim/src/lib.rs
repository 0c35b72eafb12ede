//! The whole cluster from one seed: virtual time, network, disks, crashes, clients, and the judge of what they saw.

mod boot;
mod compaction;
mod copies;
mod coverage;
mod digest;
mod disks;
mod fences;
mod harmless;
mod invariants;
mod knobs;
mod leases;
mod lives;
mod members;
mod moves;
mod nemesis;
mod place;
mod plan;
mod planted;
mod shrink;
mod steps;
mod swarm;
mod tables;
mod trace;
mod watchers;
mod world;

pub use coverage::EVERYTHING;
pub use digest::Digest;
pub use harmless::Harmless;
pub use knobs::{Counts, Knobs};
pub use plan::{Load, Outcome, Plan};
pub use planted::{BUILT_IN, Planted};
pub use shrink::{Shrunk, kind_of, shrink};
pub use steps::{Breaker, StepName};
pub use swarm::Swarm;
pub use trace::{End, Fate, Record, What, role_in_words};
pub use world::{Script, World};
