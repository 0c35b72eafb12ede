//! Peers that will not talk to this node, and what follows for it.
//!
//! Who refuses says why: in the answer to a greeting, or, where it is the one that dialled, in a greeting behind the answer to its own. Most
//! of that passes, or is the operator's to mend while the node runs. Not so where a node was removed, where it comes with another directory than it was met with, and
//! where it began with something else than the others: it would be turned away for ever, and ends with what is to be done.

use super::{Hello, Refused, Transport};
use crate::began::Began;
use crate::inbox::lock;
use crate::mistakes::{Mistake, MistakeKind};
use quorate_base::NodeId;
use quorate_node::lane::Event;

/// Why a peer will not talk to this node, where this node should not go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exclusion {
    /// It was removed.
    Removed,
    /// The peer has met it with another data directory.
    Forgetful,
    /// The peer began with something else: that.
    Began(Began),
}

/// What a node is that asks whether it is excluded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asking {
    /// It is led, by itself or by another.
    pub(crate) led: bool,
    /// The last entry of its log.
    pub(crate) last: u64,
}

impl Transport {
    /// Who said last that this node does not belong here, if anybody did. Where it is led a majority knows better: who said so may be one
    /// that was made to go on alone. But one that has nothing was met with something by whoever says so; and of other beginnings
    /// none is told that has gone on since. Members of another cluster may be about to make room, one by one: nobody ends for those.
    pub(crate) fn excluded(&self, Asking { led, last }: Asking) -> Option<(NodeId, Exclusion)> {
        let mut told = lock(&self.excluded);
        *told = told.filter(|(_, why)| match why {
            Exclusion::Removed => !led,
            Exclusion::Forgetful => !led || last == 0,
            Exclusion::Began(_) => !led && self.began.is_some_and(|began| began.index == last),
        });
        *told
    }

    fn exclude(&self, peer: NodeId, why: Exclusion) {
        *lock(&self.excluded) = Some((peer, why));
        self.inbox.push(Event::Tick);
    }

    /// A peer will not talk to this node.
    pub(super) fn turned_away(&self, peer: NodeId, why: Refused) -> Mistake {
        match why {
            Refused::Removed => self.exclude(peer, Exclusion::Removed),
            Refused::Forgetful => self.exclude(peer, Exclusion::Forgetful),
            Refused::Stranger | Refused::Twin => {}
        }
        why.mistake(peer)
    }

    /// Two that began otherwise turn each other away.
    pub(super) fn must_have_begun_alike(&self, peer: NodeId, theirs: Option<Began>) -> Result<(), Mistake> {
        let (Some(ours), Some(theirs)) = (self.began, theirs) else { return Ok(()) };
        if ours == theirs {
            return Ok(());
        }
        self.exclude(peer, Exclusion::Began(theirs));
        let why = format!(
            "node {peer} began with {theirs}, and this one with {ours}: they would answer differently for ever; restore all members from one \
             snapshot"
        );
        Err(Mistake::new(MistakeKind::Began, why))
    }

    /// Who dialled has greeted a second time.
    pub(super) fn left(&self, peer: NodeId, told: Result<Hello, Mistake>) -> String {
        let mistake = match told {
            Err(mistake) => mistake,
            Ok(hello) => match hello.refused {
                Some(why) if hello.cluster == self.cluster && hello.from == peer.get() => {
                    self.turned_away(peer, why)
                }
                _ => Mistake::new(MistakeKind::Packet, "it greeted twice"),
            },
        };
        if let Some(missed) = self.mistakes.note(mistake.kind, None, self.clock.now()) {
            tracing::warn!(%peer, missed, "the peer dialled, and then refused: {}", mistake.why);
        }
        mistake.why
    }
}
