//! Keys: the schema of a table or an index, what must be true of an item's key attributes, the keys as bytes whose order is
//! that of the values, and key conditions.

use crate::condition::Condition;
use crate::error::Error;
use crate::value::{AttributeValue, Item, Map};
use std::ops::Bound;

/// The type of a key attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyType {
    /// A text.
    S,
    /// A number.
    N,
    /// Bytes.
    B,
}

/// An attribute of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyAttribute {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: KeyType,
}

/// The key of a table or of an index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeySchema {
    /// The partition key: one attribute, up to four in a global index.
    pub partition: Vec<KeyAttribute>,
    /// The sort key: none or one attribute, up to four in a global index.
    pub sort: Vec<KeyAttribute>,
}

/// The key of one item, as bytes: equal keys have equal bytes, and the order of `sort` is the order of the sort key's values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// The partition key: self-delimiting, so that what follows it cannot be taken for a part of it.
    pub partition: Vec<u8>,
    /// The sort key; empty where the schema has none.
    pub sort: Vec<u8>,
}

impl Key {
    /// Both, one after the other.
    pub fn bytes(&self) -> Vec<u8> {
        [self.partition.as_slice(), &self.sort].concat()
    }
}

/// What a `Query` asks for: one partition, and a range of sort keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyCondition {
    /// The bytes of the partition key, as in [`Key::partition`].
    pub partition: Vec<u8>,
    /// The sort keys, as in [`Key::sort`].
    pub sort: (Bound<Vec<u8>>, Bound<Vec<u8>>),
}

impl KeySchema {
    /// A table's schema.
    pub fn new(partition: KeyAttribute, sort: Option<KeyAttribute>) -> Self {
        Self { partition: vec![partition], sort: sort.into_iter().collect() }
    }

    /// The attributes of the key, the partition key's first.
    pub fn attributes(&self) -> impl Iterator<Item = &KeyAttribute> {
        self.partition.iter().chain(&self.sort)
    }

    /// The key of an item that is to be put, checked as `PutItem` does.
    pub fn key_of_item(&self, item: &Item) -> Result<Key, Error> {
        let _ = item;
        unimplemented!()
    }

    /// A `Key` parameter, checked as `GetItem` does: exactly the attributes of the schema.
    pub fn key_of(&self, key: &Item) -> Result<Key, Error> {
        let _ = key;
        unimplemented!()
    }

    /// The key of an item in an index: none if the item lacks an attribute of it. (A wrong type is refused at the write:
    /// [`check_index`](Self::check_index).)
    pub fn index_key(&self, item: &Item) -> Option<Key> {
        let _ = item;
        unimplemented!()
    }

    /// Checks an item that is to be written against an index with this name.
    pub fn check_index(&self, index: &str, item: &Item) -> Result<(), Error> {
        let _ = (index, item);
        unimplemented!()
    }

    /// The attributes of the key alone.
    pub fn only_key(&self, item: &Item) -> Item {
        let attributes = self.attributes().filter_map(|a| Some((a.name.clone(), item.get(&a.name)?.clone())));
        Item(attributes.collect::<Map>())
    }

    /// What a parsed `KeyConditionExpression` asks for.
    pub fn condition(&self, condition: &Condition) -> Result<KeyCondition, Error> {
        let _ = condition;
        unimplemented!()
    }

    /// The values of a key from its bytes.
    pub fn values(&self, key: &Key) -> Option<Vec<AttributeValue>> {
        let _ = key;
        unimplemented!()
    }
}
