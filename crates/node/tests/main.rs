//! The tests of a node as one program: the long ones of one file run beside those of the next.

mod boot;
mod lanes;
mod room;
mod shards;
mod strangers;
mod swept;
mod views;
