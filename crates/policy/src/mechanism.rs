//! What can be built: the mechanisms that keep promises, how they are named outright, and what follows from their
//! numbers alone.
//!
//! [`Replication`] is a mechanism as it is asked for, with its numbers left open or not; [`Mechanism`] has them all.
//! What a mechanism holds, survives and answers locally is arithmetic over quorums, and stands here; the tests count
//! subsets of replicas to hold it to its meaning.

use crate::ask::{BadWord, Consistency, words};
use std::fmt;
use std::str::FromStr;

/// Replicas that a shard may have. More than nine would make each write wait for more disks than any promise needs.
pub const MOST_REPLICAS: u8 = 9;

/// A mechanism, named outright. A number that is `None` is the planner's to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// A replicated log with a leader.
    Raft {
        /// Replicas.
        n: Option<u8>,
    },
    /// Leaderless: W replicas take a write, R answer a read.
    Quorum(Quorum),
    /// Leaderless registers with a timestamp round and write-back (Attiya, Bar-Noy, Dolev).
    Abd {
        /// Replicas.
        n: Option<u8>,
    },
    /// One Paxos register a key (CASPaxos): every operation is a ballot.
    Paxos {
        /// Replicas.
        n: Option<u8>,
    },
    /// One primary, and backups that follow it.
    Primary {
        /// For whom a write waits.
        mode: PrimaryAsk,
        /// Replicas, the primary included.
        n: Option<u8>,
    },
}

/// A leaderless mechanism as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    /// Replicas.
    pub n: Option<u8>,
    /// Replicas that take a write before its reply.
    pub w: Option<u8>,
    /// Replicas that answer a read.
    pub r: Option<u8>,
    /// Hints on other nodes count as writes.
    pub sloppy: bool,
    /// What becomes of concurrent writes.
    pub conflicts: Conflicts,
    /// What becomes of writes that depend on what was there.
    pub rmw: Option<Rmw>,
}

/// For whom a primary's write waits, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrimaryAsk {
    /// All of the in-sync set, which may shrink to `min_in_sync`.
    Sync {
        /// Members of the in-sync set below which writes are refused, the primary included.
        min_in_sync: Option<u8>,
    },
    /// Any so many backups.
    SemiSync {
        /// Backups.
        acks: u8,
    },
    /// Nobody.
    Async,
}

/// What becomes of concurrent writes to one attribute of one item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflicts {
    /// The later by hybrid logical clock stays, the other is dropped.
    #[default]
    LastWriterWins,
    /// Both are kept until a writer that saw both replaces them.
    Siblings,
}

/// What becomes of writes that read before they write, on leaderless tables: conditions, `ADD`, old values returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rmw {
    /// Every write is a Paxos ballot, so that plain and conditional ones have one order.
    Always,
    /// They are ballots, plain writes are not: a plain one may race them.
    Only,
    /// They are refused.
    Forbid,
    /// They read, then write, and may lose each other's effects.
    Unsafe,
}

words!(Rmw { Always = "always", Only = "only", Forbid = "forbid", Unsafe = "unsafe" });

impl Rmw {
    /// True if some writes are ballots.
    pub const fn serial(self) -> bool {
        matches!(self, Self::Always | Self::Only)
    }
}

/// A mechanism with all its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// A replicated log with a leader; a majority commits.
    Raft {
        /// Replicas.
        n: u8,
    },
    /// Leaderless.
    Quorum {
        /// Replicas.
        n: u8,
        /// Replicas that take a write before its reply.
        w: u8,
        /// Replicas that answer a read.
        r: u8,
        /// Hints on other nodes count as writes.
        sloppy: bool,
        /// What becomes of concurrent writes.
        conflicts: Conflicts,
        /// What becomes of writes that depend on what was there.
        rmw: Rmw,
    },
    /// Leaderless linearizable registers.
    Abd {
        /// Replicas.
        n: u8,
    },
    /// One Paxos register a key.
    Paxos {
        /// Replicas.
        n: u8,
    },
    /// One primary, and backups.
    Primary {
        /// Replicas, the primary included.
        n: u8,
        /// For whom a write waits.
        mode: PrimaryMode,
    },
}

/// For whom a primary's write waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrimaryMode {
    /// All of the in-sync set.
    Sync {
        /// Members below which writes are refused, the primary included.
        min_in_sync: u8,
    },
    /// Any so many backups.
    SemiSync {
        /// Backups.
        acks: u8,
    },
    /// Nobody.
    Async,
}

/// More than half of `n`.
pub const fn majority(n: u8) -> u8 {
    n / 2 + 1
}

impl Mechanism {
    /// Copies of each item.
    pub const fn copies(self) -> u8 {
        match self {
            Self::Raft { n }
            | Self::Quorum { n, .. }
            | Self::Abd { n }
            | Self::Paxos { n }
            | Self::Primary { n, .. } => n,
        }
    }

    /// W: replicas that hold a write on disk before its reply, at least.
    pub const fn write_quorum(self) -> u8 {
        match self {
            Self::Raft { n } | Self::Abd { n } | Self::Paxos { n } => majority(n),
            Self::Quorum { n, w, rmw, .. } => {
                if matches!(rmw, Rmw::Always) && majority(n) > w {
                    majority(n)
                } else {
                    w
                }
            }
            Self::Primary { mode: PrimaryMode::Sync { min_in_sync }, .. } => min_in_sync,
            Self::Primary { mode: PrimaryMode::SemiSync { acks }, .. } => acks.saturating_add(1),
            Self::Primary { mode: PrimaryMode::Async, .. } => 1,
        }
    }

    /// R: replicas that take part in a read that keeps the promise of `level`.
    pub fn read_quorum(self, level: Consistency) -> u8 {
        match self {
            _ if self.copies() == 1 => 1,
            Self::Quorum { r, .. } => r,
            Self::Abd { n } | Self::Paxos { n } => majority(n),
            Self::Raft { n } => {
                if level.recent() {
                    majority(n)
                } else {
                    1
                }
            }
            Self::Primary { mode: PrimaryMode::Sync { .. }, .. } => {
                if level.recent() {
                    2
                } else {
                    1
                }
            }
            Self::Primary { mode: PrimaryMode::SemiSync { acks }, .. } => {
                if level.recent() {
                    acks.saturating_add(1)
                } else {
                    1
                }
            }
            Self::Primary { mode: PrimaryMode::Async, .. } => 1,
        }
    }

    /// Failed nodes, any of those that hold a copy, with which reads and writes that keep the promise are still served.
    ///
    /// For a synchronous primary: failed at once, out of a set in which all were in sync.
    pub fn survives(self) -> u8 {
        let n = self.copies();
        let minority = n.saturating_sub(1) / 2;
        match self {
            Self::Raft { .. } | Self::Abd { .. } | Self::Paxos { .. } => minority,
            Self::Quorum { r, rmw, .. } => {
                let plain = n.saturating_sub(self.write_quorum().max(r));
                if rmw.serial() { plain.min(minority) } else { plain }
            }
            Self::Primary { mode: PrimaryMode::Sync { min_in_sync }, .. } => n.saturating_sub(min_in_sync),
            // A promotion must hear b−k+1 of b backups, and a write needs k of those that are left.
            Self::Primary { mode: PrimaryMode::SemiSync { acks }, .. } => {
                acks.min(n.saturating_sub(1).saturating_sub(acks))
            }
            Self::Primary { mode: PrimaryMode::Async, .. } => n.saturating_sub(1),
        }
    }

    /// True if each read quorum meets each write quorum.
    pub const fn overlaps(self) -> bool {
        match self {
            Self::Quorum { n, r, sloppy, .. } => !sloppy && self.write_quorum() as u16 + r as u16 > n as u16,
            Self::Primary { n, mode: PrimaryMode::Async } => n == 1,
            _ => true,
        }
    }

    /// True if both sides of some partition can take writes.
    pub const fn writes_on_two_sides(self) -> bool {
        match self {
            Self::Quorum { n, sloppy, .. } => sloppy || (n > 1 && self.write_quorum() as u16 * 2 <= n as u16),
            _ => false,
        }
    }

    /// True if a read that keeps the promise of `level` can be answered without a message to another replica.
    pub fn reads_locally(self, level: Consistency) -> bool {
        self.read_quorum(level) == 1
    }

    /// True if a write can be answered without a message to another replica.
    pub const fn writes_locally(self) -> bool {
        match self {
            // All that are in sync hold a write before its reply, however few they may become.
            Self::Primary { n, mode: PrimaryMode::Sync { .. } } => n == 1,
            _ => self.write_quorum() == 1,
        }
    }

    /// True if operations are decided by majorities that vote: progress then hangs on time-outs.
    pub const fn is_consensus(self) -> bool {
        match self {
            Self::Raft { .. } | Self::Paxos { .. } => true,
            Self::Quorum { rmw, .. } => rmw.serial(),
            Self::Abd { .. } | Self::Primary { .. } => false,
        }
    }

    /// Its name, as DESIGN's words have it.
    pub const fn protocol(self) -> &'static str {
        match self {
            Self::Raft { .. } => "raft",
            Self::Quorum { .. } => "quorum",
            Self::Abd { .. } => "abd",
            Self::Paxos { .. } => "paxos",
            Self::Primary { .. } => "primary",
        }
    }

    /// The same, named outright with all its numbers.
    pub fn outright(self) -> Replication {
        match self {
            Self::Raft { n } => Replication::Raft { n: Some(n) },
            Self::Abd { n } => Replication::Abd { n: Some(n) },
            Self::Paxos { n } => Replication::Paxos { n: Some(n) },
            Self::Quorum { n, w, r, sloppy, conflicts, rmw } => Replication::Quorum(Quorum {
                n: Some(n),
                w: Some(w),
                r: Some(r),
                sloppy,
                conflicts,
                rmw: (rmw != Rmw::Forbid).then_some(rmw),
            }),
            Self::Primary { n, mode } => {
                let mode = match mode {
                    PrimaryMode::Sync { min_in_sync } => PrimaryAsk::Sync { min_in_sync: Some(min_in_sync) },
                    PrimaryMode::SemiSync { acks } => PrimaryAsk::SemiSync { acks },
                    PrimaryMode::Async => PrimaryAsk::Async,
                };
                Replication::Primary { mode, n: Some(n) }
            }
        }
    }
}

impl Replication {
    /// The number of replicas, if it is named.
    pub const fn copies(&self) -> Option<u8> {
        match self {
            Self::Raft { n } | Self::Abd { n } | Self::Paxos { n } | Self::Primary { n, .. } => *n,
            Self::Quorum(quorum) => quorum.n,
        }
    }
}

impl fmt::Display for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut number = |name: &str, value: Option<u8>| parts.extend(value.map(|v| format!("{name}={v}")));
        let head = match self {
            Self::Raft { n } => {
                number("n", *n);
                "raft".to_string()
            }
            Self::Abd { n } => {
                number("n", *n);
                "abd".to_string()
            }
            Self::Paxos { n } => {
                number("n", *n);
                "paxos".to_string()
            }
            Self::Quorum(q) => {
                number("n", q.n);
                number("w", q.w);
                number("r", q.r);
                parts.extend(q.sloppy.then(|| "sloppy".to_string()));
                parts.extend((q.conflicts == Conflicts::Siblings).then(|| "siblings".to_string()));
                parts.extend(q.rmw.map(|rmw| format!("rmw={rmw}")));
                "quorum".to_string()
            }
            Self::Primary { mode, n } => {
                number("n", *n);
                let word = match mode {
                    PrimaryAsk::Sync { min_in_sync } => {
                        number("min-in-sync", *min_in_sync);
                        "sync".to_string()
                    }
                    PrimaryAsk::SemiSync { acks } => format!("semi-sync:{acks}"),
                    PrimaryAsk::Async => "async".to_string(),
                };
                parts.insert(0, word);
                "primary".to_string()
            }
        };
        f.write_str(&head)?;
        if parts.is_empty() { Ok(()) } else { write!(f, ":{}", parts.join(",")) }
    }
}

const PROTOCOLS: &str = "raft, quorum, abd, paxos or primary:sync|semi-sync:N|async";

impl FromStr for Replication {
    type Err = BadWord;

    /// Reads `raft:n=5`, `quorum:n=3,w=2,r=2,sloppy`, `primary:semi-sync:1,n=3`. A space stands for a comma, too:
    /// tags have none.
    fn from_str(text: &str) -> Result<Self, BadWord> {
        let (head, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut options = Options::new(rest);
        let parsed = match head {
            "raft" => Self::Raft { n: options.number("n")? },
            "abd" => Self::Abd { n: options.number("n")? },
            "paxos" => Self::Paxos { n: options.number("n")? },
            "quorum" => Self::Quorum(Quorum {
                n: options.number("n")?,
                w: options.number("w")?,
                r: options.number("r")?,
                sloppy: options.flag("sloppy"),
                conflicts: if options.flag("siblings") {
                    Conflicts::Siblings
                } else {
                    Conflicts::LastWriterWins
                },
                rmw: options.value("rmw").map(str::parse).transpose()?,
            }),
            "primary" => Self::Primary { mode: options.mode(text)?, n: options.number("n")? },
            _ => return Err(BadWord { word: text.into(), allowed: PROTOCOLS.into() }),
        };
        options.nothing_left(head)?;
        Ok(parsed)
    }
}

/// What follows the protocol's name, taken out piece by piece.
struct Options<'a>(Vec<&'a str>);

impl<'a> Options<'a> {
    fn new(text: &'a str) -> Self {
        Self(text.split([',', ' ']).filter(|piece| !piece.is_empty()).collect())
    }

    fn flag(&mut self, name: &str) -> bool {
        let found = self.0.iter().position(|piece| *piece == name);
        found.map(|at| self.0.remove(at)).is_some()
    }

    fn value(&mut self, name: &str) -> Option<&'a str> {
        let at =
            self.0.iter().position(|piece| piece.split_once('=').is_some_and(|(left, _)| left == name))?;
        self.0.remove(at).split_once('=').map(|(_, value)| value)
    }

    fn number(&mut self, name: &str) -> Result<Option<u8>, BadWord> {
        let allowed = || format!("{name}= and a whole number from 1 to {MOST_REPLICAS}");
        let checked = |text: &str| {
            let number = text.parse().ok().filter(|n| (1..=MOST_REPLICAS).contains(n));
            number.ok_or_else(|| BadWord { word: format!("{name}={text}"), allowed: allowed() })
        };
        self.value(name).map(checked).transpose()
    }

    fn mode(&mut self, text: &str) -> Result<PrimaryAsk, BadWord> {
        let bad = || BadWord {
            word: text.into(),
            allowed: "primary:sync, primary:semi-sync:N or primary:async".into(),
        };
        if self.0.is_empty() {
            return Err(bad());
        }
        match self.0.remove(0) {
            "sync" => Ok(PrimaryAsk::Sync { min_in_sync: self.number("min-in-sync")? }),
            "async" => Ok(PrimaryAsk::Async),
            mode => {
                let acks = mode.strip_prefix("semi-sync:").and_then(|acks| acks.parse().ok());
                acks.filter(|n| (1..MOST_REPLICAS).contains(n))
                    .map(|acks| PrimaryAsk::SemiSync { acks })
                    .ok_or_else(bad)
            }
        }
    }

    fn nothing_left(&self, head: &str) -> Result<(), BadWord> {
        let allowed = match head {
            "quorum" => "n=, w=, r=, sloppy, siblings and rmw=, each once, behind quorum:",
            "primary" => "n= behind any mode, min-in-sync= behind sync, each once",
            _ => "nothing but n= there, once",
        };
        match self.0.first() {
            Some(piece) => Err(BadWord { word: (*piece).into(), allowed: allowed.into() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: a mechanism that is spelled is read back, and a tag's spaces do as commas.
    #[test]
    fn what_is_spelled_is_read_back() {
        for text in [
            "raft",
            "raft:n=5",
            "abd:n=3",
            "paxos",
            "quorum",
            "quorum:n=3,w=2,r=2",
            "quorum:n=3,w=2,r=2,sloppy,siblings,rmw=only",
            "primary:sync",
            "primary:sync,n=3,min-in-sync=2",
            "primary:semi-sync:1",
            "primary:semi-sync:2,n=5",
            "primary:async,n=2",
        ] {
            let parsed: Replication = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(text.replace(',', " ").parse(), Ok(parsed));
        }
    }

    /// Claim: what makes no sense is named, with what would.
    #[test]
    fn nonsense_is_named() {
        for (text, word) in [
            ("", "raft, quorum"),
            ("chain", "raft, quorum"),
            ("raft:n=0", "from 1 to 9"),
            ("raft:n=10", "from 1 to 9"),
            ("raft:n=3,n=5", "once"),
            ("raft:w=2", "nothing but n="),
            ("quorum:n=3,w", "behind quorum:"),
            ("quorum:rmw=maybe", "always, only, forbid or unsafe"),
            ("quorum:sloppy,sloppy", "each once"),
            ("primary", "primary:sync"),
            ("primary:n=3", "primary:sync"),
            ("primary:semi-sync", "primary:semi-sync:N"),
            ("primary:semi-sync:0", "primary:semi-sync:N"),
            ("primary:async,min-in-sync=2", "behind sync"),
        ] {
            let error = text.parse::<Replication>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    /// All sets of `k` of `n` replicas, as bits.
    fn sets(n: u8, k: u8) -> impl Iterator<Item = u16> + Clone {
        (0_u16..1 << n).filter(move |set| set.count_ones() == u32::from(k))
    }

    /// Claim: `overlaps`, `survives` and `writes_on_two_sides` of leaderless mechanisms are what counting sets of
    /// replicas says.
    #[test]
    fn arithmetic_is_what_counting_says() {
        for n in 1..=6_u8 {
            for (w, r) in (1..=n).flat_map(|w| (1..=n).map(move |r| (w, r))) {
                let conflicts = Conflicts::LastWriterWins;
                let m = Mechanism::Quorum { n, w, r, sloppy: false, conflicts, rmw: Rmw::Forbid };
                let meet = sets(n, w).all(|ws| sets(n, r).all(|rs| ws & rs != 0));
                assert_eq!(m.overlaps(), meet, "{m:?}");
                let all = (1_u16 << n) - 1;
                let served = |dead: u16| {
                    let quorum = |k| sets(n, k).any(|set| set & dead == 0);
                    quorum(w) && quorum(r)
                };
                let most = (0..=n).rev().find(|f| sets(n, *f).all(served)).unwrap();
                assert_eq!(m.survives(), most, "{m:?}");
                let writes = |side: u16| sets(n, w).any(|set| set & !side == 0);
                let both = (1..all).any(|side| writes(side) && writes(all & !side));
                assert_eq!(m.writes_on_two_sides(), both, "{m:?}");
            }
        }
    }

    /// Claim: a semi-synchronous primary survives what counting says: whoever fails, a promotion hears enough backups
    /// to find each acknowledged write, and enough are left to acknowledge the next.
    #[test]
    fn semi_sync_survives_what_counting_says() {
        for n in 2..=7_u8 {
            for acks in 1..n {
                let backups = n - 1;
                let served = |dead: u16| {
                    let alive = u32::from(n) - dead.count_ones();
                    let primary_dead = dead & 1 != 0;
                    let heard = u32::from(backups) - (dead >> 1).count_ones();
                    let promoted = !primary_dead || heard > u32::from(backups - acks);
                    promoted && alive > u32::from(acks)
                };
                let most = (0..=n).rev().find(|f| sets(n, *f).all(served)).unwrap_or(0);
                let m = Mechanism::Primary { n, mode: PrimaryMode::SemiSync { acks } };
                assert_eq!(m.survives(), most, "n={n} acks={acks}");
            }
        }
    }
}
