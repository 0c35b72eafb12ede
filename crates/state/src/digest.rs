//! A running digest of what a machine did, to compare replicas by.
//!
//! Each step folds 16 bytes into 64 bits by a 64×64→128 bit product whose halves are added without carry, the mixing of the
//! multiply-and-fold family of hashes. It is meant to tell replicas apart that diverged by a bug or by damage; it is no
//! defence against someone who chooses the input.

const SEED: u64 = 0x9E6C_63D0_8761_47F1;
const LEFT: u64 = 0x8BB8_4B93_962E_ACC9;
const RIGHT: u64 = 0x4B33_A62E_D433_D4A3;

const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The digest of one effect while it is being built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest(u64);

impl Digest {
    pub(crate) const fn new(previous: u64) -> Self {
        Self(previous ^ SEED)
    }

    pub(crate) fn number(&mut self, n: u64) {
        self.0 = fold(self.0 ^ LEFT, n ^ RIGHT);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        // The length first and by itself: mixed into the last block it could cancel a bit there.
        self.number(bytes.len() as u64);
        let mut blocks = bytes.chunks_exact(16);
        for block in &mut blocks {
            let (left, right) = block.split_at(8);
            self.pair(word(left), word(right));
        }
        let rest = blocks.remainder();
        let (left, right) = rest.split_at(rest.len().min(8));
        self.pair(word(left), word(right));
    }

    fn pair(&mut self, left: u64, right: u64) {
        self.0 = fold(self.0 ^ left ^ LEFT, right ^ RIGHT.wrapping_add(self.0.rotate_left(29)));
    }

    pub(crate) const fn value(self) -> u64 {
        fold(self.0 ^ RIGHT, LEFT)
    }
}

/// Up to eight bytes, little-endian.
fn word(bytes: &[u8]) -> u64 {
    match bytes.try_into() {
        Ok(eight) => u64::from_le_bytes(eight),
        Err(_) => bytes.iter().rev().fold(0, |n, b| (n << 8) | u64::from(*b)),
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;
    use std::collections::BTreeSet;

    fn of(bytes: &[u8]) -> u64 {
        let mut digest = Digest::new(7);
        digest.bytes(bytes);
        digest.value()
    }

    #[test]
    fn every_bit_and_length_counts() {
        let mut seen = BTreeSet::new();
        for len in 0..70 {
            let bytes = vec![0_u8; len];
            assert!(seen.insert(of(&bytes)), "length {len}");
            for bit in 0..len * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(seen.insert(of(&flipped)), "length {len}, bit {bit}");
            }
        }
    }
}
