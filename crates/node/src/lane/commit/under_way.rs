//! What was sent to a shard and is not answered.
//!
//! The cores send again what is not answered in time, and each sending that a leader takes is another entry of its log. A shard that is
//! slow, because its disks or its network are, would be slower with each of them, until its log held little else. So nothing is sent
//! while the same is under way, and a shard that lets what is sent run out of time is given more of it, up to [`SLOWEST`] times as
//! much, until it answers.

use quorate_base::ShardId;
use quorate_base::time::Duration;
use quorate_protocol::commit::{Command as Step, Place, TxnId};
use std::collections::{BTreeMap, BTreeSet};

/// A slow shard is given up to so many times as long.
const SLOWEST: u32 = 64;

/// What makes an entry of a log, by what it is about: a participant takes the second of a kind as it took the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Key {
    Prepare(TxnId),
    Refuse(TxnId),
    Outcome(TxnId),
    Forget(Place),
    Fence,
    Close,
}

impl Key {
    pub(super) fn of<O>(step: &Step<O>) -> Option<Self> {
        match step {
            Step::Prepare(asked) => Some(Self::Prepare(asked.id)),
            Step::Refuse { id, .. } => Some(Self::Refuse(*id)),
            Step::Outcome { id, .. } => Some(Self::Outcome(*id)),
            Step::Forget { upto, .. } => Some(Self::Forget(*upto)),
            Step::Fence { .. } => Some(Self::Fence),
            Step::Close { .. } => Some(Self::Close),
            Step::Execute(_) => None,
        }
    }
}

/// See the module page.
#[derive(Default)]
pub(super) struct UnderWay {
    sent: BTreeSet<(ShardId, Key)>,
    /// How many times as long as usual a shard is given.
    slow: BTreeMap<ShardId, u32>,
}

impl UnderWay {
    /// How long an answer is waited for that usually is for `usually`; `None` where the same is under way.
    pub(super) fn begin(&mut self, shard: ShardId, key: Option<Key>, usually: Duration) -> Option<Duration> {
        let new = key.is_none_or(|key| self.sent.insert((shard, key)));
        new.then(|| usually * self.slow.get(&shard).copied().unwrap_or(1))
    }

    /// It was answered, or it ran out of time.
    pub(super) fn end(&mut self, shard: ShardId, key: Option<Key>, in_time: bool) {
        if let Some(key) = key {
            self.sent.remove(&(shard, key));
        }
        if in_time {
            self.slow.remove(&shard);
        } else {
            let times = self.slow.entry(shard).or_insert(1);
            *times = (*times * 2).min(SLOWEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: the same is not sent twice at once, and a shard that runs out of time is given more and more, until it answers.
    #[test]
    fn a_slow_shard_is_sent_less_and_less() {
        let usually = Duration::from_millis(100);
        let (mut under_way, shard, other) = (UnderWay::default(), ShardId(2), ShardId(3));
        assert_eq!(under_way.begin(shard, Some(Key::Fence), usually), Some(usually));
        assert_eq!(under_way.begin(shard, Some(Key::Fence), usually), None, "it is under way");
        assert_eq!(
            under_way.begin(shard, Some(Key::Close), usually),
            Some(usually),
            "that is something else"
        );
        assert_eq!(under_way.begin(other, Some(Key::Fence), usually), Some(usually), "so is that");
        for times in [2, 4, 8, 16, 32, 64, 64] {
            under_way.end(shard, Some(Key::Fence), false);
            assert_eq!(under_way.begin(shard, Some(Key::Fence), usually), Some(usually * times));
        }
        assert_eq!(under_way.begin(other, None, usually), Some(usually), "another shard is not slow");
        under_way.end(shard, Some(Key::Fence), true);
        assert_eq!(under_way.begin(shard, Some(Key::Fence), usually), Some(usually));
    }
}
