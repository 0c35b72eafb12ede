//! The real driver: threads, sockets and files around the deterministic parts of a node.

pub mod backup;
mod bbolt;
mod began;
mod clock;
pub mod config;
pub mod datadir;
mod descriptors;
pub mod disk;
pub mod doctor;
mod door;
mod durable;
mod ends;
mod error;
pub mod etcddir;
#[cfg(feature = "faults")]
mod faults;
pub mod force;
mod founders;
mod inbox;
mod leaving;
mod memory;
mod met;
mod mistakes;
mod ports;
mod promised;
mod queue;
mod readings;
mod room;
mod run;
mod sealed;
mod sockets;
mod transport;
mod workers;

pub use config::{AutoCompaction, Peer, ServerConfig, Starter, Upkeep, peer_url};
pub use ends::in_its_place;
pub use error::{ServeError, ServeErrorKind};
pub use run::{DoorStart, Facts, Ready, ServeDoor, ShardFigures, run};
pub use sockets::{Sockets, UNIX};
pub use transport::Traffic;
