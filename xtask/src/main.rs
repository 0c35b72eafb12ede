//! The menu of tasks.
fn main() {}
