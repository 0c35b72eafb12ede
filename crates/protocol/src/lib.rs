//! The protocol cores: pure, single-threaded values. Inputs in, one batch of outputs out; no clock, no socket, no disk.

pub mod commit;
pub mod raft;

use quorate_base::Instant;

/// The shape of every core. Any number of [`Core::handle`], then one [`Core::drain`]: that is where batching comes from.
pub trait Core {
    /// What happens to it.
    type Input;
    /// What it wants done.
    type Out;
    /// Takes one input.
    fn handle(&mut self, now: Instant, input: Self::Input);
    /// Adds everything that gathered to `out`: one append, one message a peer, one read round.
    fn drain(&mut self, now: Instant, out: &mut Self::Out);
    /// When this core next wants a tick, if nothing else arrives first.
    fn deadline(&self) -> Option<Instant>;
}
