//! How likely it is that failed nodes cost some shard its quorum, and how evenly a ring spreads its load.
//!
//! A shard whose replicas lie on `n` of `nodes` nodes, drawn evenly, and which survives `s` failures, loses its
//! quorum to `s+1` failed nodes with the chance that all of them are among its `n`. With many shards drawn apart from
//! each other the chance that none is hit falls with each: more shards make it more likely that *some* shard is hit,
//! and smaller what is.

/// Places that a node has on a leaderless space's ring.
pub const PLACES: u16 = 150;

/// The chance, from 0 to 1, that the failure of one node more than a shard survives costs at least one of `shards`
/// shards its quorum, where each has `n` replicas on `nodes` nodes. Nothing if the numbers make no sense (`n` more
/// than `nodes`, no shards, no replicas, `survives` not below `n`).
pub fn quorum_lost(n: u8, survives: u8, nodes: u16, shards: u32) -> Option<f64> {
    if n == 0 || u16::from(n) > nodes || shards == 0 || survives >= n {
        return None;
    }
    // That the failed nodes are all among the shard's: C(n, k) / C(nodes, k), factor by factor.
    let hit: f64 = (0..=survives).map(|i| f64::from(n - i) / f64::from(nodes - u16::from(i))).product();
    // By squaring, with nothing but multiplication: the same on every machine.
    let (mut spared, mut base, mut left) = (1.0, 1.0 - hit, shards);
    while left > 0 {
        if left % 2 == 1 {
            spared *= base;
        }
        base *= base;
        left /= 2;
    }
    Some(1.0 - spared)
}

/// By how many percent of the mean the shares of nodes differ (one standard deviation) on a ring with `places` places
/// a node.
pub fn spread_percent(places: u16) -> u16 {
    // The square root of 10,000 / places, rounded to the nearest.
    (0..=100).min_by_key(|root| (root * root * u32::from(places.max(1))).abs_diff(10_000)).unwrap_or(100)
        as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: the chances are those that counting gives, and grow with the number of shards.
    #[test]
    fn chances_are_those_of_counting() {
        let near = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} {b}");
        near(quorum_lost(3, 1, 3, 1), 1.0);
        near(quorum_lost(3, 1, 10, 1), 3.0 / 45.0);
        near(quorum_lost(5, 2, 12, 1), 10.0 / 220.0);
        near(quorum_lost(3, 1, 10, 2), 1.0 - (42.0_f64 / 45.0) * (42.0 / 45.0));
        assert!(quorum_lost(3, 1, 100, 15_000).unwrap() > 0.999);
        for (n, survives, nodes, shards) in [(0, 0, 3, 1), (3, 1, 2, 1), (3, 1, 3, 0), (3, 3, 5, 1)] {
            assert_eq!(quorum_lost(n, survives, nodes, shards), None);
        }
    }

    /// Claim: 150 places a node are a spread of about 8 %.
    #[test]
    fn a_ring_of_150_places_spreads_to_8_percent() {
        assert_eq!([1, 16, 100, 150, 256, 400].map(spread_percent), [100, 25, 10, 8, 6, 5]);
        assert_eq!(spread_percent(0), 100);
    }
}
