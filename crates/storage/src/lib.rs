//! What survives: the journal, the form of checkpoints, and the trait behind which the machines keep their state.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod cow;
pub mod journal;
pub mod manifest;
pub mod memory;
pub mod recent;
pub mod state;
