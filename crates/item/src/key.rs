//! Keys: the schema of a table or an index, what must be true of an item's key attributes, the keys as bytes whose
//! order is that of the values ([`bytes`]), and key conditions ([`query`]).
//!
//! Doubt: which attribute is named where those of an index' key are too large together (here the largest of them).

pub mod bytes;
pub mod query;

use crate::condition::Condition;
use crate::error::Error;
use crate::path::Path;
use crate::value::{AttributeValue, Item, Map};
pub use query::{KeyCondition, KeyTerm};

/// A partition key may be this large, in bytes; all its attributes together.
pub const PARTITION_SIZE: usize = 2048;
/// A sort key may be this large, in bytes; all its attributes together.
pub const SORT_SIZE: usize = 1024;

/// What is told of a key that is not one of its table.
pub const NOT_THE_SCHEMA: &str = "The provided key element does not match the schema";
/// What is told of an update that gives an index key another type.
pub const INDEX_KEY_TYPE: &str =
    "The update expression attempted to update the secondary index key to unsupported type";

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

impl KeyType {
    /// As DynamoDB writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
        }
    }

    fn is_of(self, value: &AttributeValue) -> bool {
        self.name() == value.kind().name()
    }
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

/// The key of one item, as bytes: equal keys have equal bytes, and the order of `sort` is the order of the sort key's
/// values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// The partition key: self-delimiting, so that what follows it cannot be taken for a part of it.
    pub partition: Vec<u8>,
    /// The sort key, self-delimiting too; empty where the schema has none.
    pub sort: Vec<u8>,
}

impl Key {
    /// Both, one after the other.
    pub fn bytes(&self) -> Vec<u8> {
        [self.partition.as_slice(), &self.sort].concat()
    }
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
        for KeyAttribute { name, kind } in self.attributes() {
            let Some(value) = item.get(name) else {
                return Err(Error::invalid(format!("Missing the key {name} in the item")));
            };
            if !kind.is_of(value) {
                let (expected, actual) = (kind.name(), value.kind().name());
                return Err(Error::invalid(format!(
                    "Type mismatch for key {name} expected: {expected} actual: {actual}"
                )));
            }
            not_empty(name, value)?;
        }
        self.checked_key(item)
    }

    /// A `Key` parameter, checked as `GetItem` does: exactly the attributes of the schema.
    pub fn key_of(&self, key: &Item) -> Result<Key, Error> {
        if key.0.len() != self.attributes().count() {
            return Err(Error::validation(NOT_THE_SCHEMA));
        }
        for KeyAttribute { name, kind } in self.attributes() {
            match key.get(name) {
                Some(value) if kind.is_of(value) => not_empty(name, value)?,
                _ => return Err(Error::validation(NOT_THE_SCHEMA)),
            }
        }
        self.checked_key(key)
    }

    /// The key of an item in an index: none if the item lacks an attribute of it, or has something there that no key may be:
    /// another type, nothing, too much. (That is refused at the write, [`check_index`](Self::check_index); an item that was there
    /// before its index may have it all the same.)
    pub fn index_key(&self, item: &Item) -> Option<Key> {
        let fits = |a: &KeyAttribute| {
            item.get(&a.name).is_some_and(|value| a.kind.is_of(value) && emptiness(value).is_none())
        };
        let small = self.limits().into_iter().all(|(attributes, most)| size_of(attributes, item) <= most);
        (small && self.attributes().all(fits)).then(|| self.key(item))
    }

    /// Checks an item that is to be put against an index with this name.
    pub fn check_index(&self, index: &str, item: &Item) -> Result<(), Error> {
        for KeyAttribute { name, kind } in self.attributes() {
            let Some(value) = item.get(name) else { continue };
            if !kind.is_of(value) {
                let (expected, actual) = (kind.name(), value.kind().name());
                return Err(Error::invalid(format!(
                    "Type mismatch for Index Key {name} Expected: {expected} Actual: {actual} IndexName: {index}"
                )));
            }
            if let Some(empty) = emptiness(value) {
                return Err(Error::Validation(format!(
                    "One or more parameter values are not valid. A value specified for a secondary index key is \
                     not supported. The AttributeValue for a key attribute cannot contain an {empty} value. \
                     IndexName: {index}, IndexKey: {name}"
                )));
            }
        }
        for (attributes, most) in self.limits() {
            let size = size_of(attributes, item);
            if size > most {
                let of = |a: &&KeyAttribute| item.get(&a.name).map_or(0, AttributeValue::size);
                let name = attributes.iter().max_by_key(of).map_or("", |a| &a.name);
                return Err(Error::invalid(format!(
                    "Size limit exceeded for Index Key {name} Actual Size: {size} bytes Max Size: {most} bytes \
                     IndexName: {index}"
                )));
            }
        }
        Ok(())
    }

    /// Checks what an update made of an item against an index with these keys: what it left as it was may be what it likes.
    pub fn check_index_updated(&self, old: Option<&Item>, item: &Item) -> Result<(), Error> {
        let changed = |a: &KeyAttribute| old.is_none_or(|old| old.get(&a.name) != item.get(&a.name));
        for attribute in self.attributes().filter(|a| changed(a)) {
            let Some(value) = item.get(&attribute.name) else { continue };
            if !attribute.kind.is_of(value) {
                return Err(Error::validation(INDEX_KEY_TYPE));
            }
            if let Some(empty) = emptiness(value) {
                return Err(Error::Validation(format!(
                    "One or more parameter values are not valid. The update expression attempted to update a secondary \
                     index key to a value that is not supported. The AttributeValue for a key attribute cannot contain \
                     an {empty} value."
                )));
            }
        }
        let over = |(attributes, most): (&[KeyAttribute], usize)| {
            attributes.iter().any(changed) && size_of(attributes, item) > most
        };
        if self.limits().into_iter().any(over) {
            return Err(Error::validation(
                "The update expression attempted to update the secondary index key beyond allowed size limits",
            ));
        }
        Ok(())
    }

    /// Refuses paths into the key: its attributes have no parts.
    pub fn check_paths<'p>(&self, paths: impl IntoIterator<Item = &'p Path>) -> Result<(), Error> {
        self.spared_by(paths, "Key")
    }

    /// The same for the key of an index, which reads alone are held to.
    pub fn check_index_paths<'p>(&self, paths: impl IntoIterator<Item = &'p Path>) -> Result<(), Error> {
        self.spared_by(paths, "IndexKey")
    }

    fn spared_by<'p>(&self, paths: impl IntoIterator<Item = &'p Path>, what: &str) -> Result<(), Error> {
        let into_key = |path: &&Path| !path.steps.is_empty() && self.has(&path.root);
        match paths.into_iter().find(into_key) {
            None => Ok(()),
            Some(path) => Err(Error::Validation(format!(
                "Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: {what}: {}",
                path.root
            ))),
        }
    }

    /// Refuses a `FilterExpression` of a `Query` that looks at the key: the key condition does that.
    pub fn check_filter(&self, filter: &Condition) -> Result<(), Error> {
        self.check_filtered("Filter Expression", filter)
    }

    /// The same for a `QueryFilter`.
    pub fn check_query_filter(&self, filter: &Condition) -> Result<(), Error> {
        self.check_filtered("QueryFilter", filter)
    }

    fn check_filtered(&self, what: &str, filter: &Condition) -> Result<(), Error> {
        let paths = filter.paths();
        match self.attributes().find(|a| paths.iter().any(|path| path.root == a.name)) {
            None => Ok(()),
            Some(KeyAttribute { name, .. }) => Err(Error::Validation(format!(
                "{what} can only contain non-primary key attributes: Primary key attribute: {name}"
            ))),
        }
    }

    /// The attributes of the key alone.
    pub fn only_key(&self, item: &Item) -> Item {
        let attributes = self.attributes().filter_map(|a| Some((a.name.clone(), item.get(&a.name)?.clone())));
        Item(attributes.collect::<Map>())
    }

    /// The values of a key from its bytes: the attributes of the key alone.
    pub fn values(&self, key: &Key) -> Option<Item> {
        let partition = bytes::decode(&self.partition, &key.partition)?;
        let sort = bytes::decode(&self.sort, &key.sort)?;
        let names = self.attributes().map(|a| a.name.clone());
        Some(Item(names.zip(partition.into_iter().chain(sort)).collect()))
    }

    /// The same from the bytes of both halves, one after the other, as [`Key::bytes`] has them.
    pub fn values_of(&self, both: &[u8]) -> Option<Item> {
        let attributes: Vec<KeyAttribute> = self.attributes().cloned().collect();
        let values = bytes::decode(&attributes, both)?;
        Some(Item(attributes.into_iter().map(|attribute| attribute.name).zip(values).collect()))
    }

    fn has(&self, name: &str) -> bool {
        self.attributes().any(|attribute| attribute.name == name)
    }

    fn checked_key(&self, item: &Item) -> Result<Key, Error> {
        self.check_sizes(item)?;
        Ok(self.key(item))
    }

    fn check_sizes(&self, item: &Item) -> Result<(), Error> {
        if size_of(&self.partition, item) > PARTITION_SIZE {
            return Err(too_large_partition());
        }
        if size_of(&self.sort, item) > SORT_SIZE { Err(too_large_sort()) } else { Ok(()) }
    }

    /// How large each half of a key may be.
    fn limits(&self) -> [(&[KeyAttribute], usize); 2] {
        [(&self.partition, PARTITION_SIZE), (&self.sort, SORT_SIZE)]
    }

    fn key(&self, item: &Item) -> Key {
        let encode = |attributes: &[KeyAttribute]| {
            let mut out = Vec::new();
            for value in attributes.iter().filter_map(|a| item.get(&a.name)) {
                bytes::encode(value, &mut out);
            }
            out
        };
        Key { partition: encode(&self.partition), sort: encode(&self.sort) }
    }
}

/// Bytes of the attributes of a key; numbers have a size of their own, which no limit meets.
fn size_of(attributes: &[KeyAttribute], item: &Item) -> usize {
    let values = attributes.iter().filter_map(|a| item.get(&a.name));
    values.filter(|value| !matches!(value, AttributeValue::N(_))).map(AttributeValue::size).sum()
}

fn too_large_partition() -> Error {
    Error::invalid("Size of hashkey has exceeded the maximum size limit of2048 bytes")
}

fn too_large_sort() -> Error {
    Error::invalid("Aggregated size of all range keys has exceeded the size limit of 1024 bytes")
}

/// How a key's value is empty, if it is.
fn emptiness(value: &AttributeValue) -> Option<&'static str> {
    match value {
        AttributeValue::S(text) if text.is_empty() => Some("empty string"),
        AttributeValue::B(bytes) if bytes.is_empty() => Some("empty binary"),
        _ => None,
    }
}

fn not_empty(name: &str, value: &AttributeValue) -> Result<(), Error> {
    match emptiness(value) {
        None => Ok(()),
        Some(empty) => Err(Error::Validation(format!(
            "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an \
             {empty} value. Key: {name}"
        ))),
    }
}
