//! The tests of the simulator as one program: the long ones of one file run beside those of the next.

mod bounded;
mod clocks;
mod drops;
mod groups;
mod moves;
mod mutants;
mod promises;
mod seeds;
mod slow;
mod traces;
mod transactions;
