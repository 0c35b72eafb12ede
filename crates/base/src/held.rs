//! *Persist before send* as types.
//!
//! A message that promises something ("I voted for you", "I hold entries up to 7") is made as a [`Held`], bound to the
//! write whose durability it promises. Only a [`Durable`] proof of that write, or of a later one of the same shard, opens
//! it; and a `Durable` comes from a [`Mint`] alone, which the journal is given when it is opened. A driver that wants to
//! send early has no value to send.

use crate::id::ShardId;

/// Names one write of one shard's core. A core numbers its writes from 1, upwards, anew after each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WriteId(pub u64);

/// Proof that all writes of `shard` up to and including `write` are on stable storage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Durable {
    shard: ShardId,
    write: WriteId,
}

impl Durable {
    /// The shard whose write this is.
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    /// The last write that is durable.
    pub const fn write(&self) -> WriteId {
        self.write
    }
}

/// Makes [`Durable`] proofs. One is made for each opening of a journal and moved into it; the tidy check of the
/// repository refuses `Mint::for_journal` anywhere but there and in tests that play the journal.
#[derive(Debug)]
pub struct Mint(());

impl Mint {
    /// The mint of a journal that is being opened.
    pub const fn for_journal() -> Self {
        Self(())
    }

    /// States that a flush that covers `write` of `shard` has returned.
    pub const fn durable(&self, shard: ShardId, write: WriteId) -> Durable {
        Durable { shard, write }
    }
}

/// A value that must not leave before a write is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held<T> {
    shard: ShardId,
    needs: WriteId,
    value: T,
}

impl<T> Held<T> {
    /// Binds `value` to a write.
    pub const fn new(shard: ShardId, needs: WriteId, value: T) -> Self {
        Self { shard, needs, value }
    }

    /// The write that this waits for.
    pub const fn needs(&self) -> (ShardId, WriteId) {
        (self.shard, self.needs)
    }

    /// Hands out the value if `proof` covers its write, and itself if not.
    pub fn open(self, proof: &Durable) -> Result<T, Self> {
        if proof.shard == self.shard && proof.write >= self.needs { Ok(self.value) } else { Err(self) }
    }

    /// What is held, for traces and checks; it is not to be sent.
    pub const fn peek(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proof_of_the_write_opens() {
        let mint = Mint::for_journal();
        let held = Held::new(ShardId(1), WriteId(3), "vote");
        let held = held.open(&mint.durable(ShardId(1), WriteId(2))).unwrap_err();
        let held = held.open(&mint.durable(ShardId(2), WriteId(9))).unwrap_err();
        assert_eq!(held.open(&mint.durable(ShardId(1), WriteId(4))), Ok("vote"));
    }
}
