//! How long flushes take at each node, and which nodes are slow: those lead no shards while others can.
//!
//! A disk that answers, but many times later than it used to, is no fault that anybody votes about: its node is heard, follows, and leads
//! as slowly as it flushes. So each node that flushes says once a second how long that takes, the shortest of the second, from when the
//! lane hands a write out until it hears that it is durable: a loop that is starved counts, too. A node is *slow* when that is
//! many times what it is at the others (the median of all that said something lately), for some seconds in turn; and well again
//! only when it has been near them for much longer, so that nothing goes back and forth. A node that says nothing, since nobody
//! writes, stays what it was for a while.
//!
//! Who leads a shard and is slow hands it over, and nobody hands one to a node that is slow ([`super::placement`]). Each node judges by
//! itself, with its own clock for the time between two looks: where two differ a shard is led by another node than it might be, no
//! more. No promise rests on it.

use quorate_base::time::Duration;
use quorate_base::{Append, Durable, Instant, NodeId, ShardId, WriteId};
use std::collections::{BTreeMap, BTreeSet};

/// How often is looked.
const EVERY: Duration = Duration::from_secs(1);
/// What a node has said counts for so long.
const FRESH: Duration = Duration::from_secs(5);
/// One that was slow and says nothing for so long may be anything.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// No flush is called slow that is shorter, ...
const FLOOR: Duration = Duration::from_millis(25);
/// ... or that takes less than so many times what it takes at the others.
const TIMES: u32 = 8;
/// A node is near the others up to so many times.
const NEAR: u32 = 2;
/// So many looks in turn make a node slow, ...
const SLOW_AFTER: u32 = 4;
/// ... and so many well again.
const WELL_AFTER: u32 = 20;

/// See the page.
#[derive(Default)]
pub(super) struct Flushes {
    /// A write whose flush is waited for, and since when.
    asked: Option<(ShardId, WriteId, Instant)>,
    /// The shortest since the last look.
    shortest: Option<Duration>,
    look_at: Instant,
    /// What the nodes have said, this one among them, and when.
    said: BTreeMap<NodeId, (Duration, Instant)>,
    judged: BTreeMap<NodeId, Judged>,
}

/// What is thought of a node.
#[derive(Default)]
struct Judged {
    slow: bool,
    /// So many looks in turn say that it is not so.
    against: u32,
}

impl Flushes {
    /// Writes are handed out.
    pub(super) fn handed(&mut self, now: Instant, writes: &[Append]) {
        if let (None, Some(last)) = (self.asked, writes.last()) {
            self.asked = Some((last.shard, last.write, now));
        }
    }

    /// Writes are durable.
    pub(super) fn durable(&mut self, now: Instant, proofs: &[Durable]) {
        let Some((shard, write, since)) = self.asked else { return };
        if proofs.iter().any(|proof| proof.shard() == shard && proof.write() >= write) {
            self.asked = None;
            let took = now.since(since);
            self.shortest = Some(self.shortest.map_or(took, |shortest| shortest.min(took)));
        }
    }

    /// A peer says how long it takes there.
    pub(super) fn told(&mut self, now: Instant, from: NodeId, flush: Duration) {
        self.said.insert(from, (flush.min(FORGOTTEN), now));
    }

    /// Looks at all, if it is time to. How long it takes here, to be told to the others; nothing where nothing was flushed.
    pub(super) fn look(&mut self, now: Instant, me: NodeId) -> Option<Duration> {
        if now < self.look_at {
            return None;
        }
        self.look_at = now + EVERY;
        // One that has been under way for longer than a look is as long as that at least.
        let under_way = self.asked.map(|(.., since)| now.since(since)).filter(|lasts| *lasts >= EVERY);
        let own = self.shortest.take().or(under_way);
        if let Some(own) = own {
            self.told(now, me, own);
        }
        self.judge(now);
        own
    }

    fn judge(&mut self, now: Instant) {
        self.said.retain(|_, (_, at)| now.since(*at) < FORGOTTEN);
        self.judged.retain(|node, _| self.said.contains_key(node));
        let fresh: BTreeMap<NodeId, Duration> = self
            .said
            .iter()
            .filter(|(_, (_, at))| now.since(*at) < FRESH)
            .map(|(node, (flush, _))| (*node, *flush))
            .collect();
        let mut all: Vec<Duration> = fresh.values().copied().collect();
        all.sort_unstable();
        // Of two the shorter one.
        let median = all.get(all.len().saturating_sub(1) / 2).copied().unwrap_or_default();
        for (node, flush) in fresh.iter().filter(|_| fresh.len() > 1) {
            let judged = self.judged.entry(*node).or_default();
            let differs = if judged.slow {
                *flush <= FLOOR.max(NEAR * median)
            } else {
                *flush > FLOOR && *flush >= TIMES * median
            };
            judged.against = if differs { judged.against + 1 } else { 0 };
            if judged.against >= if judged.slow { WELL_AFTER } else { SLOW_AFTER } {
                *judged = Judged { slow: !judged.slow, against: 0 };
            }
        }
    }

    /// The nodes that are slow.
    pub(super) fn slow(&self) -> BTreeSet<NodeId> {
        self.judged.iter().filter(|(_, judged)| judged.slow).map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seen {
        flushes: Flushes,
        second: u64,
    }

    impl Seen {
        fn new() -> Self {
            Self { flushes: Flushes::default(), second: 0 }
        }

        /// So many seconds with flushes that take so many milliseconds at each of the nodes, of which the first looks; who is slow then.
        fn pass(&mut self, seconds: u64, millis: &[u64]) -> Vec<u64> {
            for _ in 0..seconds {
                self.second += 1;
                let now = Instant(self.second * 1_000_000_000);
                for (node, millis) in (1..).zip(millis) {
                    self.flushes.told(now, NodeId(node), Duration::from_millis(*millis));
                }
                self.flushes.look(now, NodeId(1));
            }
            self.flushes.slow().into_iter().map(NodeId::get).collect()
        }
    }

    /// Claim: who flushes many times slower than the others for some seconds is slow, and well only after it has been near them for long;
    /// a moment is nothing, nor what is short anyhow, nor what all are.
    #[test]
    fn who_flushes_many_times_slower_is_slow() {
        let mut seen = Seen::new();
        assert_eq!(seen.pass(10, &[2, 2, 2]), [0_u64; 0]);
        assert_eq!(seen.pass(3, &[2, 2, 300]), [0_u64; 0], "a moment");
        assert_eq!(seen.pass(10, &[2, 2, 2]), [0_u64; 0]);
        assert_eq!(seen.pass(4, &[2, 2, 300]), [3]);
        assert_eq!(seen.pass(19, &[2, 2, 2]), [3], "it was well for a while");
        assert_eq!(seen.pass(1, &[2, 2, 300]), [3]);
        assert_eq!(seen.pass(19, &[2, 2, 2]), [3], "from the beginning");
        assert_eq!(seen.pass(1, &[2, 2, 2]), [0_u64; 0]);
        assert_eq!(seen.pass(60, &[2, 2, 20]), [0_u64; 0], "short for a disk");
        assert_eq!(seen.pass(60, &[100, 200, 300]), [0_u64; 0], "all are slow");
        assert_eq!(seen.pass(60, &[300, 2, 300]), [0_u64; 0], "most are slow");
        assert_eq!(seen.pass(60, &[300, 2]), [1], "of two the other is well");
        assert_eq!(seen.pass(60, &[300]), [1], "alone it is what it was");
    }

    /// Claim: a flush that does not end is long; who says nothing for long is forgotten.
    #[test]
    fn what_hangs_is_slow_and_silence_is_forgotten() {
        let at = |millis: u64| Instant(millis * 1_000_000);
        let (me, other) = (NodeId(1), NodeId(2));
        let mut flushes = Flushes::default();
        let write = |write| Append {
            shard: ShardId(3),
            write: WriteId(write),
            hard: None,
            prev: quorate_base::EntryId::ZERO,
            entries: Vec::new(),
        };
        let proof = |write| quorate_base::Mint::for_journal().durable(ShardId(3), WriteId(write));
        assert_eq!(flushes.look(at(0), me), None, "nothing was written");
        flushes.handed(at(500), &[write(6), write(7)]);
        flushes.handed(at(600), &[write(8)]);
        flushes.durable(at(650), &[proof(6)]);
        flushes.durable(at(700), &[proof(8)]);
        assert_eq!(flushes.look(at(1_000), me), Some(Duration::from_millis(200)));
        assert_eq!(flushes.look(at(1_500), me), None, "it is not time");
        flushes.handed(at(1_500), &[write(9)]);
        for second in 2..9 {
            flushes.told(at(second * 1_000), other, Duration::from_millis(2));
            let told = flushes.look(at(second * 1_000), me);
            assert_eq!(told, (second > 2).then(|| Duration::from_millis(second * 1_000 - 1_500)));
        }
        assert_eq!(flushes.slow(), [me].into());
        flushes.durable(at(9_000), &[proof(9)]);
        flushes.look(at(9_500), me);
        assert_eq!(flushes.slow(), [me].into());
        flushes.look(at(80_000), me);
        assert_eq!(flushes.slow(), BTreeSet::new());
    }
}
