//! The theorems and rules that a policy can run into, and how a contradiction is said.

use crate::ask::words;
use std::fmt;

/// Why something that was asked for cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Consistency, availability, partition tolerance.
    Cap,
    /// Else: latency or consistency.
    Pacelc,
    /// No consensus that surely ends, where one process may have stopped.
    Flp,
    /// Quorums that meet.
    Overlap,
    /// What operations must wait for.
    AttiyaWelch,
    /// The sum of a read's and a write's time.
    LiptonSandberg,
    /// Which properties compose.
    HerlihyWing,
    /// What registers cannot do.
    Herlihy,
    /// Why a reader writes.
    Abd,
    /// Availability that hangs on staying with one replica.
    Sticky,
    /// Atomic commitment that does not block.
    Skeen,
    /// How well clocks can agree.
    LundeliusLynch,
    /// Staleness of partial quorums.
    Pbs,
    /// A failover that forgets.
    Failover,
    /// Numbers that do not fit each other.
    Counting,
    /// What this product offers, short of what theory would allow.
    Offer,
}

words!(Rule {
    Cap = "CAP",
    Pacelc = "PACELC",
    Flp = "FLP",
    Overlap = "R+W>N",
    AttiyaWelch = "Attiya-Welch",
    LiptonSandberg = "Lipton-Sandberg",
    HerlihyWing = "Herlihy-Wing",
    Herlihy = "Herlihy",
    Abd = "ABD",
    Sticky = "HAT",
    Skeen = "Skeen",
    LundeliusLynch = "Lundelius-Lynch",
    Pbs = "PBS",
    Failover = "failover",
    Counting = "counting",
    Offer = "offer",
});

impl Rule {
    /// What it states, in full sentences.
    pub const fn statement(self) -> &'static str {
        match self {
            Self::Cap => {
                "While messages between two sides are lost, a side that answers cannot know what the \
                 other side was told: either it refuses, or its answers stop being recent."
            }
            Self::Pacelc => {
                "Under a partition a system chooses availability or consistency; else it chooses latency \
                 or consistency, since what must be known elsewhere before the reply costs a message \
                 there and back."
            }
            Self::Flp => {
                "In an asynchronous network a stopped node looks like a slow one, so no protocol for \
                 consensus surely ends if one node may stop. With time-outs it ends in practice, and \
                 stays safe, if more than half of the nodes live: f failures need 2f+1."
            }
            Self::Overlap => {
                "A read meets a write for certain only if each read quorum shares a replica with each \
                 write quorum: R+W>N."
            }
            Self::AttiyaWelch => {
                "In a linearizable store neither reads nor writes can be faster than a part of the \
                 network's delay. In a sequentially consistent one either kind may be answered locally, \
                 but not both."
            }
            Self::LiptonSandberg => {
                "In a sequentially consistent store a read and a write together take at least the \
                 network's delay: two sides that cannot hear each other cannot both go on."
            }
            Self::HerlihyWing => {
                "Linearizability is local: if it holds for each object it holds for all together. \
                 Sequential consistency is not: two objects can be sequential, and no one order fits \
                 both."
            }
            Self::Herlihy => {
                "Read-write registers have consensus number 1: no number of them makes a compare-and-set, \
                 and so no condition, no counter and no transaction, that does not wait for others."
            }
            Self::Abd => {
                "With R+W>N alone a read beside a write may see the new value and a later read the old \
                 one. A read must write back what it saw before it replies, and a write must first learn \
                 the newest timestamp."
            }
            Self::Sticky => {
                "Causal consistency and reading one's own writes are available under partition only to \
                 clients that stay with replicas that hold what they wrote and saw (sticky availability); \
                 no recency and no compare-and-set is."
            }
            Self::Skeen => {
                "Two-phase commit blocks while its coordinator is gone, and no commit protocol is free of \
                 blocking where the network may part, unless votes are chosen by majorities."
            }
            Self::LundeliusLynch => {
                "Clocks of n nodes cannot be set closer to each other than u(1-1/n), where u is the \
                 uncertainty of the network's delay: an age that is smaller than the clocks' error cannot \
                 be proved."
            }
            Self::Pbs => {
                "Where R+W<=N a read is fresh with some probability only (probabilistically bounded \
                 staleness), and repair has no deadline."
            }
            Self::Failover => {
                "A new primary knows what its own disk and those that it hears hold. What was confirmed \
                 by a set that it need not meet can be missing after the failover."
            }
            Self::Counting => "The numbers do not fit each other.",
            Self::Offer => "Theory would allow it; this product has no mechanism for it.",
        }
    }

    /// Where it was shown; empty for what needs no source.
    pub const fn source(self) -> &'static str {
        match self {
            Self::Cap => "Gilbert and Lynch 2002",
            Self::Pacelc => "Abadi 2012",
            Self::Flp => "Fischer, Lynch and Paterson 1985; Dwork, Lynch and Stockmeyer 1988",
            Self::Overlap => "Gifford 1979",
            Self::AttiyaWelch => "Attiya and Welch 1994",
            Self::LiptonSandberg => "Lipton and Sandberg 1988",
            Self::HerlihyWing => "Herlihy and Wing 1990",
            Self::Herlihy => "Herlihy 1991",
            Self::Abd => "Attiya, Bar-Noy and Dolev 1995",
            Self::Sticky => "Bailis and others 2013 (highly available transactions)",
            Self::Skeen => "Skeen 1981; Gray and Lamport 2006",
            Self::LundeliusLynch => "Lundelius and Lynch 1984",
            Self::Pbs => "Bailis and others 2012",
            Self::Failover | Self::Counting | Self::Offer => "",
        }
    }
}

/// One thing that stands against a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The rule that it runs into.
    pub rule: Rule,
    /// What cannot be had together, and why, in words that name what was asked.
    pub message: String,
}

impl Contradiction {
    pub(crate) fn new(rule: Rule, message: impl Into<String>) -> Self {
        Self { rule, message: message.into() }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Rule::Counting | Rule::Offer => f.write_str(&self.message),
            rule => write!(f, "{} ({rule})", self.message),
        }
    }
}
