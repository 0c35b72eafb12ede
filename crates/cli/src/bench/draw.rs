//! Which item a request is about: uniform, or as YCSB draws it (Cooper et al., 2010), a few items most of the time.
//!
//! The Zipfian numbers are drawn as Gray et al. do it (Quickly Generating Billion-Record Synthetic Databases, SIGMOD 1994), with
//! YCSB's constant, and are strewn over the items by a hash, so that the popular ones are not neighbours.

use quorate_base::Rng;

/// YCSB's constant.
const THETA: f64 = 0.99;

/// Draws ranks below `n`: 0 is the most popular.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    n: u64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    /// Of ranks below `n`, which is at least 1. Takes time in proportion to it, a third of a second for ten million.
    pub(super) fn new(n: u64) -> Self {
        let zeta: f64 = (1..=n).map(|i| (i as f64).powf(-THETA)).sum();
        let of_two = 1.0 + 0.5_f64.powf(THETA);
        let eta = (1.0 - (2.0 / n as f64).powf(1.0 - THETA)) / (1.0 - of_two / zeta);
        Self { n, zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    /// A rank.
    pub(super) fn rank(&self, rng: &mut Rng) -> u64 {
        let u = unit(rng);
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(self.n - 1);
        }
        let rank = self.n as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.n - 1)
    }

    /// One of `n` items, each as popular as its rank, which has nothing to do with its place.
    pub(super) fn strewn(&self, rng: &mut Rng) -> u64 {
        let mut h = self.rank(rng).wrapping_add(0x9E37_79B9_7F4A_7C15);
        h = (h ^ (h >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        h = (h ^ (h >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (h ^ (h >> 31)) % self.n
    }
}

/// A number from 0 to below 1.
fn unit(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_popular_are_drawn_as_often_as_the_law_says_and_none_is_out_of_range() {
        let (zipf, mut rng) = (Zipf::new(1000), Rng::new(7));
        let mut drawn = vec![0_u32; 1000];
        for _ in 0..200_000 {
            drawn[zipf.rank(&mut rng) as usize] += 1;
        }
        // 1/zeta(1000, 0.99) is 0.1295...; the second comes 2^0.99 times less often.
        let share = |rank: usize| f64::from(drawn[rank]) / 200_000.0;
        assert!((share(0) - 0.1295).abs() < 0.005, "{}", share(0));
        assert!((share(1) - 0.0652).abs() < 0.005, "{}", share(1));
        assert!(drawn[900..].iter().sum::<u32>() > 100);
        for n in 1..20 {
            let small = Zipf::new(n);
            assert!((0..200).all(|_| small.rank(&mut rng) < n && small.strewn(&mut rng) < n));
        }
    }
}
