//! The whole cluster from one seed: virtual time, network, disks, crashes, clients, and the judge of what they saw.

mod boot;
mod digest;
mod disks;
mod fences;
mod invariants;
mod knobs;
mod leases;
mod members;
mod nemesis;
mod place;
mod plan;
mod planted;
mod steps;
mod swarm;
mod trace;
mod watchers;
mod world;

pub use digest::Digest;
pub use knobs::{Counts, Knobs};
pub use plan::{Outcome, Plan};
pub use planted::{BUILT_IN, Planted};
pub use steps::{Breaker, StepName};
pub use swarm::Swarm;
pub use trace::{End, Fate, Record, What, role_in_words};
pub use world::{Script, World};
