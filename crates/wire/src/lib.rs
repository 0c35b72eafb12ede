//! Versioned codecs: commands, replies, peer frames.

pub mod kv;
