//! The words every other room uses: ids, time as a value, seeded chance, log entries, the types that make
//! *persist before send* a rule of the compiler, and the [`disk::Disk`] trait.
//!
//! Nothing here knows a clock, a socket, a file, a thread or true chance.

pub mod disk;
pub mod held;
pub mod id;
pub mod log;
pub mod rng;
pub mod time;

pub use held::{Durable, Held, Mint, WriteId};
pub use id::{Index, NodeId, ShardId, Term};
pub use log::{Append, Base, Entry, EntryId, EntryKind, HardState};
pub use rng::Rng;
pub use time::Instant;
