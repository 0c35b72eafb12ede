//! The replicated state machines: pure apply.
//!
//! A machine is a function of its state and the next log entry. Nothing here knows a clock, a thread, chance or a local
//! limit: two replicas that applied the same entries hold the same state, whatever their batches, checkpoints and
//! background work were.

mod digest;
pub mod kv;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
