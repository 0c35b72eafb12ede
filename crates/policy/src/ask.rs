//! The words of a policy: what can be asked of a space, and how it is spelled on the command line and in tags.
//!
//! Nothing here judges. A field that is `None` was not asked for, and the planner chooses.

use crate::mechanism::Replication;
use std::fmt;
use std::time::Duration;

/// What a space is asked to promise. The default asks for nothing, and gets what a table without tags gets:
/// linearizable, hash-partitioned, surviving one failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What a read may see.
    pub consistency: Option<Consistency>,
    /// Over how much of the space one order of operations is asked for.
    pub over: Option<Scope>,
    /// With how many failed nodes the space still serves reads and writes.
    pub survive: Option<u8>,
    /// How many disks hold a write before its reply, at least.
    pub durability: Option<u8>,
    /// What a side of a partition does that cannot reach the other.
    pub on_partition: Option<OnPartition>,
    /// How old an answer may be at most, where a read may be answered with an old one.
    pub staleness: Option<Duration>,
    /// Which operations are answered without a message to another replica.
    pub local: Option<Local>,
    /// How keys are divided into shards.
    pub partition_by: Option<Partitioning>,
    /// The mechanism, named outright.
    pub replication: Option<Replication>,
}

/// A word that is none of those that could stand in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadWord {
    /// What stood there.
    pub word: String,
    /// What may stand there, as one would say it.
    pub allowed: String,
}

impl fmt::Display for BadWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not known here: write {}", self.word, self.allowed)
    }
}

impl std::error::Error for BadWord {}

/// An enumeration whose values have one spelling each.
macro_rules! words {
    ($name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl $name {
            /// Every value, in the order in which they are explained.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its spelling.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::ask::BadWord;

            fn from_str(text: &str) -> Result<Self, $crate::ask::BadWord> {
                let found = Self::ALL.iter().find(|value| value.word() == text);
                let allowed = || $crate::ask::one_of(Self::ALL.iter().map(|v| v.word()));
                found.copied().ok_or_else(|| $crate::ask::BadWord { word: text.into(), allowed: allowed() })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}
pub(crate) use words;

/// `a, b or c`.
pub(crate) fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_string(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// What a read may see, from the strongest down. The order of the variants is the order in which they are explained,
/// not one of strength: regular and sequential are incomparable, and so are regular and causal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consistency {
    /// Transactions over several keys take effect at one instant between call and reply.
    StrictSerializable,
    /// Each operation on one key takes effect at one instant between call and reply.
    Linearizable,
    /// All see one order of operations, in which each client's own are in its order; the order may lag behind real
    /// time.
    Sequential,
    /// A read sees the last completed write or one that runs beside it (Lamport's regular register).
    Regular,
    /// Whoever sees a write sees what that write's author had seen.
    Causal,
    /// Replicas that hold the same writes give the same answer, sooner or later.
    Eventual,
}

words!(Consistency {
    StrictSerializable = "strict-serializable",
    Linearizable = "linearizable",
    Sequential = "sequential",
    Regular = "regular",
    Causal = "causal",
    Eventual = "eventual",
});

impl Consistency {
    /// True if all that holds `self` holds `other`, too.
    pub fn implies(self, other: Self) -> bool {
        use Consistency::{Causal, Eventual, Linearizable, Regular, Sequential, StrictSerializable};
        let below: &[Self] = match self {
            StrictSerializable => &[Linearizable, Sequential, Regular, Causal, Eventual],
            Linearizable => &[Sequential, Regular, Causal, Eventual],
            Sequential => &[Causal, Eventual],
            Regular | Causal => &[Eventual],
            Eventual => &[],
        };
        self == other || below.contains(&other)
    }

    /// True for the levels that say something about real time: a read that begins after a write was confirmed sees it.
    pub const fn recent(self) -> bool {
        matches!(self, Self::StrictSerializable | Self::Linearizable | Self::Regular)
    }

    /// True for the levels whose replicas may differ for as long as they cannot hear each other.
    pub const fn may_diverge(self) -> bool {
        matches!(self, Self::Causal | Self::Eventual)
    }

    /// What it means, in one sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::StrictSerializable => {
                "transactions over several keys take effect at one instant between call and reply"
            }
            Self::Linearizable => {
                "each operation takes effect at one instant between call and reply: a read sees every \
                 write confirmed before it began"
            }
            Self::Sequential => {
                "all clients see one order of operations, each its own in its order; the order may lag \
                 behind real time"
            }
            Self::Regular => {
                "a read sees the last confirmed write or one that runs beside it; two reads beside a \
                 write may see the new value, then the old"
            }
            Self::Causal => {
                "whoever sees a write sees all that its author had seen; a client sees its own writes; \
                 concurrent writes may be seen in different orders"
            }
            Self::Eventual => {
                "replicas that hold the same writes answer alike, sooner or later; until then a read may \
                 miss any write"
            }
        }
    }
}

/// Over how much of a space one order of operations is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Over the keys that share a partition key.
    Key,
    /// Over all keys.
    Space,
}

words!(Scope { Key = "key", Space = "space" });

/// What a side of a partition does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPartition {
    /// The side that could break the promise answers with an error.
    Refuse,
    /// Every side goes on reading and writing as far as the disks that it reaches allow.
    Serve,
}

words!(OnPartition { Refuse = "refuse", Serve = "serve" });

/// Which operations are answered without a message to another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// Reads.
    Reads,
    /// Writes.
    Writes,
    /// Both.
    Both,
}

words!(Local { Reads = "reads", Writes = "writes", Both = "both" });

impl Local {
    /// True if reads are.
    pub const fn reads(self) -> bool {
        matches!(self, Self::Reads | Self::Both)
    }

    /// True if writes are.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Writes | Self::Both)
    }
}

/// How keys are divided into shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioning {
    /// One shard for ever, as the key-value space is.
    None,
    /// By order of the keys.
    Range,
    /// By hash of the partition key, sorted by sort key within.
    Hash,
    /// By an explicit map, one tenant movable at a time.
    Directory,
    /// By time, and by hash within each interval.
    TimeHash,
}

words!(Partitioning {
    None = "none",
    Range = "range",
    Hash = "hash",
    Directory = "directory",
    TimeHash = "time+hash",
});

impl Partitioning {
    /// How a plan's headline says it.
    pub const fn said(self) -> &'static str {
        match self {
            Self::None => "one shard",
            Self::Range => "range-partitioned",
            Self::Hash => "hash-partitioned",
            Self::Directory => "partitioned by directory",
            Self::TimeHash => "partitioned by time and hash",
        }
    }
}

/// Parses a time with its unit: `700ms`, `5s`, `2m`, `1h`. A bare number has no meaning here.
pub fn time(text: &str) -> Result<Duration, BadWord> {
    let bad = || BadWord {
        word: text.into(),
        allowed: "a time of at most a day with its unit, as in 700ms, 5s, 2m or 1h".into(),
    };
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(bad()),
    };
    match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)) {
        Some(ms @ 0..=86_400_000) => Ok(Duration::from_millis(ms)),
        _ => Err(bad()),
    }
}

/// Spells a time so that [`time`] reads it back.
pub fn spell_time(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => "0ms".into(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// Parses a count of nodes or disks.
pub fn count(text: &str) -> Result<u8, BadWord> {
    text.parse()
        .ok()
        .filter(|n| *n <= 99)
        .ok_or_else(|| BadWord { word: text.into(), allowed: "a whole number from 0 to 99".into() })
}

/// One field of a policy, under the name that it has everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// [`Policy::consistency`].
    Consistency,
    /// [`Policy::over`].
    Over,
    /// [`Policy::survive`].
    Survive,
    /// [`Policy::durability`].
    Durability,
    /// [`Policy::on_partition`].
    OnPartition,
    /// [`Policy::staleness`].
    Staleness,
    /// [`Policy::local`].
    Local,
    /// [`Policy::partition_by`].
    PartitionBy,
    /// [`Policy::replication`].
    Replication,
}

words!(Field {
    Consistency = "consistency",
    Over = "over",
    Survive = "survive",
    Durability = "durability",
    OnPartition = "on-partition",
    Staleness = "staleness",
    Local = "local",
    PartitionBy = "partition-by",
    Replication = "replication",
});

impl Policy {
    /// Sets one field from its spelling.
    pub fn set(&mut self, field: Field, text: &str) -> Result<(), BadWord> {
        match field {
            Field::Consistency => self.consistency = Some(text.parse()?),
            Field::Over => self.over = Some(text.parse()?),
            Field::Survive => self.survive = Some(count(text)?),
            Field::Durability => self.durability = Some(count(text)?),
            Field::OnPartition => self.on_partition = Some(text.parse()?),
            Field::Staleness => self.staleness = Some(time(text)?),
            Field::Local => self.local = Some(text.parse()?),
            Field::PartitionBy => self.partition_by = Some(text.parse()?),
            Field::Replication => self.replication = Some(text.parse()?),
        }
        Ok(())
    }

    /// The spelling of one field, if it was asked for.
    pub fn get(&self, field: Field) -> Option<String> {
        match field {
            Field::Consistency => self.consistency.map(|v| v.to_string()),
            Field::Over => self.over.map(|v| v.to_string()),
            Field::Survive => self.survive.map(|v| v.to_string()),
            Field::Durability => self.durability.map(|v| v.to_string()),
            Field::OnPartition => self.on_partition.map(|v| v.to_string()),
            Field::Staleness => self.staleness.map(spell_time),
            Field::Local => self.local.map(|v| v.to_string()),
            Field::PartitionBy => self.partition_by.map(|v| v.to_string()),
            Field::Replication => self.replication.as_ref().map(ToString::to_string),
        }
    }

    /// All that was asked for, as `(name, spelling)`.
    pub fn asked(&self) -> Vec<(Field, String)> {
        Field::ALL.iter().filter_map(|field| Some((*field, self.get(*field)?))).collect()
    }

    /// Takes over what `other` asks for; what `other` leaves open stays.
    pub fn overlay(&mut self, other: &Self) {
        fn take<T: Clone>(mine: &mut Option<T>, theirs: Option<&T>) {
            if let Some(theirs) = theirs {
                *mine = Some(theirs.clone());
            }
        }
        take(&mut self.consistency, other.consistency.as_ref());
        take(&mut self.over, other.over.as_ref());
        take(&mut self.survive, other.survive.as_ref());
        take(&mut self.durability, other.durability.as_ref());
        take(&mut self.on_partition, other.on_partition.as_ref());
        take(&mut self.staleness, other.staleness.as_ref());
        take(&mut self.local, other.local.as_ref());
        take(&mut self.partition_by, other.partition_by.as_ref());
        take(&mut self.replication, other.replication.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: every spelling is read back as what it spells.
    #[test]
    fn what_is_spelled_is_read_back() {
        for level in Consistency::ALL {
            assert_eq!(level.word().parse(), Ok(*level));
        }
        for ms in [0, 1, 700, 1_000, 90_000, 120_000, 3_600_000, 86_400_000] {
            let value = Duration::from_millis(ms);
            assert_eq!(time(&spell_time(value)), Ok(value));
        }
        let mut policy = Policy::default();
        let asked = [
            (Field::Consistency, "causal"),
            (Field::Over, "space"),
            (Field::Survive, "2"),
            (Field::Durability, "3"),
            (Field::OnPartition, "serve"),
            (Field::Staleness, "1500ms"),
            (Field::Local, "both"),
            (Field::PartitionBy, "time+hash"),
            (Field::Replication, "quorum:n=3,w=2,r=1,sloppy"),
        ];
        for (field, text) in asked {
            policy.set(field, text).unwrap();
        }
        let spelled: Vec<_> = policy.asked();
        assert_eq!(spelled, asked.map(|(field, text)| (field, text.to_string())));
    }

    /// Claim: a word that is not known is answered with those that are.
    #[test]
    fn a_bad_word_names_the_good_ones() {
        let error = "strong".parse::<Consistency>().unwrap_err().to_string();
        assert!(
            error.contains("\"strong\"") && error.contains("sequential, regular, causal or eventual"),
            "{error}"
        );
        for bad in ["", "5", "s", "-1s", "1.5s", "25h", "99999999999999999999s"] {
            assert!(time(bad).unwrap_err().to_string().contains("700ms"), "{bad}");
        }
        for bad in ["", "-1", "100", "one", "1.0"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }

    /// Claim: `implies` is a partial order whose top is strict serializability and whose bottom is eventual.
    #[test]
    fn the_levels_form_a_lattice() {
        let all = Consistency::ALL;
        for a in all {
            assert!(
                a.implies(*a)
                    && Consistency::StrictSerializable.implies(*a)
                    && a.implies(Consistency::Eventual)
            );
            for b in all {
                assert!(a == b || !(a.implies(*b) && b.implies(*a)), "{a} {b}");
                for c in all {
                    assert!(!(a.implies(*b) && b.implies(*c)) || a.implies(*c), "{a} {b} {c}");
                }
            }
        }
        assert!(!Consistency::Regular.implies(Consistency::Causal));
        assert!(!Consistency::Sequential.implies(Consistency::Regular));
    }
}
