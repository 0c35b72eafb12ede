//! The tests of the binary as one program: they are linked once, and the long ones of one file run beside those of the next.

mod bench;
mod check;
mod cli;
mod common;
mod doctor;
mod etcd;
mod evidence;
mod files;
mod hold;
mod large;
mod leases;
mod members;
mod metrics;
mod peers;
mod plan;
mod readme;
mod rolling;
mod room;
mod shards;
mod snapshot;
mod strangers;
mod transactions;
mod verify;
