//! Versioned codecs: commands, replies, peer frames.

pub mod command;
pub mod kv;
