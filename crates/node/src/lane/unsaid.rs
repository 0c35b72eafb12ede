//! Members that may still say in which zone they are.
//!
//! A node says it once it is a member ([`super::members`]), and it may have its vote before: who moved replicas there at once would take it
//! for one without a zone, which is far from all others, and bring together what was apart. So whoever leads shard 1 waits a while
//! for it, where other members have zones. That is no promise: who says nothing in time gets replicas as one without a zone does.

use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};
use quorate_state::table::Zones;
use std::collections::{BTreeMap, BTreeSet};

/// Since when members are known that have not said it.
#[derive(Default)]
pub(super) struct Unsaid(BTreeMap<NodeId, Instant>);

impl Unsaid {
    /// Those of the members for whom is still waited, so long at most.
    pub(super) fn look(
        &mut self,
        now: Instant,
        patience: Duration,
        members: &BTreeSet<NodeId>,
        zones: &Zones,
    ) -> BTreeSet<NodeId> {
        let silent =
            |node: &NodeId| !zones.is_empty() && members.contains(node) && zones.name(*node).is_none();
        self.0.retain(|node, _| silent(node));
        for node in members.iter().filter(|node| silent(node)) {
            self.0.entry(*node).or_insert(now);
        }
        let waits = |since: &Instant| now.since(*since) < patience;
        self.0.iter().filter(|(_, since)| waits(since)).map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: who comes is waited for, for so long at most, where others have zones; and nobody who has said it.
    #[test]
    fn who_has_said_nothing_is_waited_for_a_while() {
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let zones = |said: &[(u64, &str)]| {
            Zones::of(said.iter().map(|(node, zone)| (NodeId(*node), zone.to_string())))
        };
        let at = |seconds: u64| Instant(seconds * 1_000_000_000);
        let mut unsaid = Unsaid::default();
        let mut look = |seconds, members: &[u64], said: &[(u64, &str)]| {
            unsaid.look(at(seconds), Duration::from_secs(5), &ids(members), &zones(said))
        };
        assert_eq!(look(1, &[1, 2], &[]), ids(&[]), "nobody has a zone");
        assert_eq!(look(2, &[1, 2, 3], &[(1, "a"), (2, "b")]), ids(&[3]));
        assert_eq!(look(6, &[1, 2, 3, 4], &[(1, "a"), (2, "b")]), ids(&[3, 4]));
        assert_eq!(look(7, &[1, 2, 3, 4], &[(1, "a"), (2, "b")]), ids(&[4]), "it is one without");
        assert_eq!(look(8, &[1, 2, 3, 4], &[(1, "a"), (2, "b"), (4, "a")]), ids(&[]));
        assert_eq!(look(9, &[1, 2, 4], &[(1, "a"), (2, "b"), (4, "a")]), ids(&[]));
        assert_eq!(look(10, &[1, 2, 3, 4], &[(1, "a"), (2, "b"), (4, "a")]), ids(&[3]), "it came again");
    }
}
