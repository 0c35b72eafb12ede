//! Replicas of shards that move: what came of it, as all nodes together know.

use crate::knobs::Counts;
use crate::place::Running;
use quorate_base::{Index, NodeId, ShardId, Term};
use quorate_protocol::raft::Raft;
use quorate_state::table::{Home, Placement};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A shard's newest home, and under which leaders of shard 1 and of the shard its move began, as the first to know of it saw it.
struct Known {
    at: Index,
    moving: bool,
    /// Two of its replicas are in one zone, or are to be.
    close: bool,
    /// Who had it before that move, and who is to have it.
    before: BTreeSet<NodeId>,
    wanted: BTreeSet<NodeId>,
    began: (Term, Option<NodeId>),
}

/// What is known of all shards.
#[derive(Default)]
pub(crate) struct Moves {
    known: BTreeMap<ShardId, Known>,
    /// The placement that each node was last seen with.
    seen: BTreeMap<NodeId, Arc<Placement>>,
}

impl Moves {
    /// Looks at what a node knows. True if it has another map than before.
    pub(crate) fn look(&mut self, node: NodeId, running: &Running, counts: &mut Counts) -> bool {
        let placement = running.lane.placement();
        if self.seen.get(&node).is_some_and(|seen| Arc::ptr_eq(seen, placement)) {
            return false;
        }
        self.seen.insert(node, placement.clone());
        for (shard, home) in placement.homes() {
            let by = running.lane.core(shard).and_then(Raft::leader);
            let now = (running.lane.raft().term(), by);
            let close = placement.zones().are_close(&home.wanted());
            let given_up = self.known.get(&shard).filter(|known| known.moving && home.at > known.at);
            let given_up = given_up.map(|known| &known.wanted - &home.wanted()).unwrap_or_default();
            let members = running.lane.raft().membership();
            for node in given_up {
                let gone = !members.contains(node);
                counts.add(if gone {
                    "moves given up that went to who was removed"
                } else {
                    "moves given up that went to who was silent"
                });
            }
            self.home(shard, &home, (now, close), counts);
        }
        true
    }

    fn home(
        &mut self,
        shard: ShardId,
        home: &Home,
        (now, close): ((Term, Option<NodeId>), bool),
        counts: &mut Counts,
    ) {
        let before = home.before();
        let wanted = home.wanted();
        let fresh = Known { at: home.at, moving: home.moving, close, before, wanted, began: now };
        let Some(known) = self.known.get_mut(&shard) else {
            self.known.insert(shard, fresh);
            return;
        };
        if home.at > known.at {
            counts.add("moves of replicas begun");
            if known.moving {
                let off = home.wanted().is_subset(&known.before);
                counts.add(if off {
                    "moves of replicas called off"
                } else {
                    "moves of replicas turned elsewhere"
                });
            }
            if known.close && !close {
                counts.add("moves that parted replicas in one zone");
            }
            *known = fresh;
        } else if home.at == known.at && close && !known.close {
            // A node says that it is elsewhere.
            known.close = true;
        } else if home.at == known.at && known.moving && !home.moving {
            known.moving = false;
            counts.add("moves of replicas finished");
            let (term, leader) = known.began;
            if now.0 > term || (leader.is_some() && now.1.is_some() && now.1 != leader) {
                counts.add("moves of replicas finished under another leader");
            }
        }
    }
}
