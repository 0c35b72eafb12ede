//! Updates, parsed: what they make of an item.

use crate::error::Error;
use crate::key::KeySchema;
use crate::path::Path;
use crate::value::{AttributeValue, Item};

/// What an `UpdateExpression` does. All is read from the item as it was before.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Update {
    /// `SET path = …`, in the order of the text.
    pub set: Vec<(Path, Source)>,
    /// `REMOVE path`.
    pub remove: Vec<Path>,
    /// `ADD path :number` or `ADD path :set`.
    pub add: Vec<(Path, AttributeValue)>,
    /// `DELETE path :set`.
    pub delete: Vec<(Path, AttributeValue)>,
}

/// Where the new value of a `SET` comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A value that was given.
    Value(AttributeValue),
    /// What stands in the item.
    Path(Path),
    /// `a + b`
    Plus(Box<Source>, Box<Source>),
    /// `a - b`
    Minus(Box<Source>, Box<Source>),
    /// `if_not_exists(path, other)`
    IfNotExists(Path, Box<Source>),
    /// `list_append(a, b)`
    ListAppend(Box<Source>, Box<Source>),
}

/// What came of an update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Updated {
    /// The item as it is now: none, if there was none and the update only takes away.
    pub item: Option<Item>,
    /// The updated attributes as they were, for `UPDATED_OLD`: empty if none was there.
    pub old: Item,
    /// The updated attributes as they are, for `UPDATED_NEW`.
    pub new: Item,
}

impl Update {
    /// Applies it to the item, or to a new one that has only the attributes of `key`. Refused are wrong types and paths, and
    /// an item that would be too large or too deep.
    pub fn apply(&self, item: Option<&Item>, key: &Item) -> Result<Updated, Error> {
        let _ = (item, key);
        unimplemented!()
    }

    /// Refuses to touch an attribute of the key.
    pub fn spares_key(&self, schema: &KeySchema) -> Result<(), Error> {
        let _ = schema;
        unimplemented!()
    }
}
