//! How the keys of a table are divided: in which of its shards an item lies, and in which order items lie there. The table's tags
//! say it when it is made (`quorate:partition-by`, by the name of [`Partitioning`], and [`SPLITS_TAG`]), and it stays so.
//!
//! | by | an item's shard | so |
//! | --- | --- | --- |
//! | hash | the one whose slots have the hash of its partition key | load is even; a query asks one shard, a scan has no order |
//! | range | the one whose range has its partition key | a scan has the order of the keys; keys that grow all go to the last shard |
//! | directory | the one that the directory says, tenant by tenant, which is all items of a partition key | tenants share shards as their owner likes, and move from one to another; one that the directory does not have is not written |
//! | time and hash | by the hash of its whole key: the partition key is a stretch of time (an hour, a day), and the items of one lie in all shards | the newest stretch has the room of all shards; a query of one asks them all, and merges |
//!
//! A row begins with the four bytes of a *slot*: of the hash of its partition key, or, where the order of the keys is to be kept, the first
//! four bytes of the key itself.

use super::layout::hash32;
use quorate_item::{AttributeValue, Item, Key, KeySchema, KeyType, Number, base64};
use quorate_policy::tags::from_tags;
use quorate_policy::{Partitioning, Policy};
use quorate_wire::table::{Definition, SHARDS_TAG, SPLITS_TAG};

/// See the module page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Division {
    /// By the hash of the partition key.
    #[default]
    Hash,
    /// By the order of the partition keys: a shard begins with each of these, and the first below the first.
    Range(Vec<Vec<u8>>),
    /// By the hash of the whole key.
    TimeHash,
    /// As the directory of the table says ([`super::placement::Directory`]).
    Directory,
}

impl Division {
    /// That of a table, by its tags; or what is wrong with them.
    pub(super) fn of(definition: &Definition, schema: &KeySchema) -> Result<Self, String> {
        let by = policy(definition).and_then(|policy| policy.partition_by);
        let splits = definition.tags.iter().find(|(key, _)| key == SPLITS_TAG);
        match (by, splits) {
            (Some(Partitioning::Range), splits) => {
                splits.map_or(Ok(Vec::new()), |(_, text)| points(text, schema)).map(Self::Range)
            }
            (_, Some(_)) => {
                Err(format!("the tag {SPLITS_TAG} goes with a table that is partitioned by range"))
            }
            (Some(Partitioning::TimeHash), None) if !definition.locals.is_empty() => Err(
                "a table that is partitioned by time+hash has no local secondary index: the items of one partition key lie in all \
                 of its shards; a global one does"
                    .into(),
            ),
            (Some(Partitioning::TimeHash), None) => Ok(Self::TimeHash),
            (Some(Partitioning::Directory), None) => Ok(Self::Directory),
            _ => Ok(Self::Hash),
        }
    }

    /// How many shards it makes by itself; `None` if as many as one likes.
    pub(super) fn shards(&self) -> Option<usize> {
        match self {
            Self::Range(points) => Some(points.len() + 1),
            Self::Hash | Self::TimeHash | Self::Directory => None,
        }
    }

    /// The how-manieth of `count` shards an item lies in; `None` if only the directory knows.
    pub(super) fn shard_of(&self, key: &Key, count: u32) -> Option<u32> {
        Some(match self {
            Self::Hash => share(hash32(&key.partition), count),
            Self::TimeHash => share(hash32(&key.bytes()), count),
            Self::Range(points) => points.partition_point(|from| *from <= key.partition) as u32,
            Self::Directory => return None,
        })
    }

    /// The partition key with which the how-manieth shard begins, if it begins with one.
    pub(super) fn begin(&self, at: usize) -> Option<&[u8]> {
        let Self::Range(points) = self else { return None };
        points.get(at.checked_sub(1)?).map(Vec::as_slice)
    }

    /// Whether all items of a partition key lie in one shard.
    pub fn keeps_partitions(&self) -> bool {
        *self != Self::TimeHash
    }

    /// Where the rows of a partition key lie.
    pub(super) fn slot_of(&self, partition: &[u8]) -> [u8; SLOT] {
        match self {
            Self::Hash | Self::TimeHash | Self::Directory => hashed(partition),
            Self::Range(_) => std::array::from_fn(|at| partition.get(at).copied().unwrap_or(0)),
        }
    }
}

/// So many bytes a slot has.
pub(super) const SLOT: usize = 4;

/// The slot of what is divided by hash.
pub(super) fn hashed(partition: &[u8]) -> [u8; SLOT] {
    hash32(partition).to_be_bytes()
}

/// The how-manieth of `count` equal parts of all hashes one lies in.
pub(super) fn share(hash: u32, count: u32) -> u32 {
    ((u64::from(hash) * u64::from(count)) >> 32) as u32
}

/// What the tags of a table promise. Tags that are no policy say nothing: the door has looked at them.
pub(super) fn policy(definition: &Definition) -> Option<Policy> {
    let tags = definition.tags.iter().filter(|(key, _)| key != SHARDS_TAG && key != SPLITS_TAG);
    from_tags(tags.map(|(key, value)| (key.as_str(), value.as_str()))).ok()
}

/// The partition keys at which ranges begin.
fn points(text: &str, schema: &KeySchema) -> Result<Vec<Vec<u8>>, String> {
    let partition = KeySchema { partition: schema.partition.clone(), sort: Vec::new() };
    let [attribute] = &partition.partition[..] else {
        return Err("a table with a partition key of several attributes is not partitioned by range".into());
    };
    let point = |word: &str| {
        let bad = |why: String| {
            format!("the tag {SPLITS_TAG} has {word:?}, which is no partition key of this table: {why}")
        };
        let value = match attribute.kind {
            KeyType::S => AttributeValue::S(word.into()),
            KeyType::N => AttributeValue::N(Number::parse(word).map_err(|e| bad(e.message(word)))?),
            KeyType::B => AttributeValue::B(base64::decode(word).map_err(bad)?),
        };
        let key = Item([(attribute.name.clone(), value)].into_iter().collect());
        Ok(partition.key_of(&key).map_err(|e| bad(e.message().into()))?.partition)
    };
    let points =
        text.split(' ').filter(|word| !word.is_empty()).map(point).collect::<Result<Vec<_>, String>>()?;
    if points.is_empty() || !points.is_sorted_by(|a, b| a < b) {
        return Err(format!(
            "the tag {SPLITS_TAG} must name partition keys in their order, with a space between two of them"
        ));
    }
    Ok(points)
}
