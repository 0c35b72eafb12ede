//! A node without a driver: lanes of protocol cores, the applier, reads, leases, watches. Deterministic parts, joined by
//! ordered events; nothing here asks which driver runs it.

pub mod api;
pub mod applier;
pub mod backup;
pub mod boot;
pub mod evidence;
pub mod figures;
pub mod lane;
pub mod lessor;
mod strict;
pub mod watch;
