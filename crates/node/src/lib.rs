//! Lanes, reads, leases, watches: a node without a driver.

pub mod api;
