//! Breaks real clusters under real clients, and judges what the clients saw.
//!
//! One run: a [`target`] is started (three nodes of Quorate or etcd, or one PostgreSQL), clients ([`worker`], each a process
//! of its own) do what a [`workload`] says through a [`door`], the [`nemesis`] breaks processes, links and files in turn and
//! counts what each fault did, everything is healed, every node is asked for everything once more, and a [`judge`] holds
//! what the clients recorded ([`record`]) against what was promised. A [`report`] is left behind, from which the same
//! history can be judged again.
//!
//! The order of events is the machine's monotonic clock, read by each client before it sends and after it heard: an
//! interval is never too short, so no verdict rests on how fast somebody wrote into a file. An answer that does not come
//! is of unknown outcome, never a failure.
//!
//! What stands (processes, directories) is written down before it matters ([`standing`]); a guardian process waits for the
//! end of its starter and cleans up, whichever way that went.
//!
//! Left out: machines other than this one, TLS, and clocks of other systems. A seed decides what is asked and what is
//! broken, not how the threads and processes of the machine are scheduled: the same seed is the same plan, not the same run.

pub mod catalog;
mod clock;
mod door;
mod judge;
mod link;
mod memory;
mod nemesis;
mod op;
mod picture;
pub mod plan;
mod process;
mod record;
pub mod report;
pub mod run;
pub mod standing;
mod target;
mod worker;
mod workload;

pub use judge::{Finding, Verdict};
pub use worker::client;
