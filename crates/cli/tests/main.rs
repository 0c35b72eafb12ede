//! The tests of the binary as one program: they are linked once, and the long ones of one file run beside those of the next. Those of
//! `peers.rs` and `shards.rs`, which start nodes again on the ports of a cluster that has ended, have programs of their own.

mod arriving;
mod bench;
mod bounded;
mod check;
mod cli;
mod common;
mod doctor;
mod etcd;
mod evidence;
mod files;
mod hold;
mod indexes;
mod large;
mod leases;
mod members;
mod metrics;
mod plan;
mod readme;
mod rolling;
mod room;
mod snapshot;
mod strangers;
mod transactions;
mod verify;
mod words;
