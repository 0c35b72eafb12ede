//! Versioned codecs, pure: what stands in the log, what peers say to each other.

pub mod codec;
pub mod command;
pub mod kv;
pub mod members;
pub mod peer;
pub mod table;
