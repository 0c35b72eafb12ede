//! The journal, the State trait with its memory form, and the checkpoint format.
pub mod state;
