//! Updates, parsed: what they make of an item.
//!
//! All is read from the item as it was before: sources, the places that paths lead to, and the indexes of lists. So
//! `SET a = b, b = a` exchanges, and `REMOVE l[0], l[1]` takes the first two. An index beyond the end of a list
//! appends; several such append in the order of their indexes. A set that loses its last element goes.
//!
//! What is wrong is told in this order: a place that is no map or no list where the path needs one, a wrong type, a
//! place that does not exist, an attribute that is not there to be read, a number out of range. (DynamoDB goes by the
//! sections of the text from the last to the first within these; a parsed update does not remember their order.)
//!
//! `UPDATED_OLD` and `UPDATED_NEW` show what stands at the paths of the text before and after, each in its place: for
//! an element that was removed from a list what stands at its index now, and for one that was appended beyond the end
//! what stands at that index, so mostly nothing. (Others saw the service do so.)
//!
//! Doubt: whether a source can read the key of an item that is only made by the update (here it can).

use crate::error::Error;
use crate::key::KeySchema;
use crate::number::{Number, NumberError};
use crate::path::{Path, Step};
use crate::projection;
use crate::value::{AttributeValue, Item};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const WRONG_TYPE: &str = "An operand in the update expression has an incorrect data type";
const WRONG_PATH: &str = "The document path provided in the update expression is invalid for update";
const MISSING: &str = "The provided expression refers to an attribute that does not exist in the item";

/// What an `UpdateExpression` does. All is read from the item as it was before.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Update {
    /// `SET path = …`, in the order of the text.
    pub set: Vec<(Path, Source)>,
    /// `REMOVE path`.
    pub remove: Vec<Path>,
    /// `ADD path :number` or `ADD path :set`. (A list, which only the older parameters can add, is appended.)
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

impl Source {
    fn collect_paths<'a>(&'a self, out: &mut Vec<&'a Path>) {
        match self {
            Self::Value(_) => {}
            Self::Path(path) => out.push(path),
            Self::IfNotExists(path, other) => {
                out.push(path);
                other.collect_paths(out);
            }
            Self::Plus(a, b) | Self::Minus(a, b) | Self::ListAppend(a, b) => {
                a.collect_paths(out);
                b.collect_paths(out);
            }
        }
    }
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
    /// Applies it to the item, or to a new one that has only the attributes of `key`. Refused are wrong types and
    /// paths, and an item that would be too large or too deep.
    pub fn apply(&self, item: Option<&Item>, key: &Item) -> Result<Updated, Error> {
        let before = item.unwrap_or(key);
        let edits = self.edits(before)?;
        let old = item.map(|item| projection::part(self.paths(), item)).unwrap_or_default();
        let only_takes = self.set.is_empty() && self.add.is_empty() && !self.is_empty();
        if item.is_none() && only_takes {
            return Ok(Updated { item: None, old, new: Item::default() });
        }
        let mut after = before.clone();
        for (name, edit) in edits {
            let was = after.0.remove(name);
            if let Some(value) = edit.apply(was) {
                after.0.insert(name.to_string(), value);
            }
        }
        after.check_updated()?;
        let new = projection::part(self.paths(), &after);
        Ok(Updated { item: Some(after), old, new })
    }

    /// Refuses to touch an attribute of the key.
    pub fn spares_key(&self, schema: &KeySchema) -> Result<(), Error> {
        for path in self.paths() {
            if schema.attributes().any(|attribute| attribute.name == path.root) {
                let name = &path.root;
                return Err(Error::invalid(format!(
                    "Cannot update attribute {name}. This attribute is part of the key"
                )));
            }
        }
        Ok(())
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.paths().next().is_none()
    }

    /// The paths that it writes to.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let set = self.set.iter().map(|(path, _)| path);
        let pairs = self.add.iter().chain(&self.delete).map(|(path, _)| path);
        set.chain(&self.remove).chain(pairs)
    }

    /// The paths that it reads to know what it sets.
    pub fn sources(&self) -> Vec<&Path> {
        let mut out = Vec::new();
        self.set.iter().for_each(|(_, source)| source.collect_paths(&mut out));
        out
    }

    /// Whether what comes of it depends on what was there, so that doing it twice is not the same as once.
    pub fn reads(&self) -> bool {
        !self.add.is_empty() || self.set.iter().any(|(_, source)| !matches!(source, Source::Value(_)))
    }

    /// What becomes of each attribute, by name.
    fn edits<'u>(&'u self, before: &Item) -> Result<BTreeMap<&'u str, Edit<'u>>, Error> {
        let targets = || self.paths().filter_map(|path| Some((path.steps.last()?, path.parent(before))));
        if targets().any(|(step, parent)| parent.is_some_and(|parent| !step.fits(parent))) {
            return Err(Error::validation(WRONG_PATH));
        }
        let sets: Vec<_> =
            self.set.iter().map(|(_, source)| source.value(before)).collect::<Result<_, Wrong>>()?;
        let adds: Vec<_> = self.add.iter().map(|(path, value)| add(path.get(before), value)).collect();
        let deletes: Vec<_> =
            self.delete.iter().map(|(path, value)| delete(path.get(before), value)).collect();
        let wrong_type = adds.iter().chain(&deletes).any(|result| *result == Err(Wrong::Type));
        if wrong_type {
            return Err(Error::validation(WRONG_TYPE));
        }
        if targets().any(|(_, parent)| parent.is_none()) {
            return Err(Error::validation(WRONG_PATH));
        }
        let sets: Vec<_> =
            sets.into_iter().collect::<Option<_>>().ok_or_else(|| Error::validation(MISSING))?;
        let mut edits = BTreeMap::new();
        for ((path, _), value) in self.set.iter().zip(sets) {
            plant(&mut edits, path, Write::Put(in_range(value)?));
        }
        for path in &self.remove {
            plant(&mut edits, path, Write::Remove);
        }
        for ((path, _), result) in self.add.iter().zip(adds).chain(self.delete.iter().zip(deletes)) {
            match result? {
                Some(value) => plant(&mut edits, path, Write::Put(value)),
                None => plant(&mut edits, path, Write::Remove),
            }
        }
        Ok(edits)
    }
}

/// Why there is no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Type,
    Number(NumberError),
}

impl From<Wrong> for Error {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Type => Self::validation(WRONG_TYPE),
            Wrong::Number(why) => Self::validation(why.message("")),
        }
    }
}

/// A value that is worked out: a number that left the range is kept as such, as other errors come before it.
enum Worked<'a> {
    Value(Cow<'a, AttributeValue>),
    OutOfRange(NumberError),
}

fn in_range(worked: Worked<'_>) -> Result<AttributeValue, Error> {
    match worked {
        Worked::Value(value) => Ok(value.into_owned()),
        Worked::OutOfRange(why) => Err(Wrong::Number(why).into()),
    }
}

impl Source {
    /// The value; nothing where it reads what is not there.
    fn value<'a>(&'a self, item: &'a Item) -> Result<Option<Worked<'a>>, Wrong> {
        let borrowed = |value: Option<&'a AttributeValue>| Ok(value.map(Cow::Borrowed).map(Worked::Value));
        match self {
            Self::Value(value) => borrowed(Some(value)),
            Self::Path(path) => borrowed(path.get(item)),
            Self::IfNotExists(path, other) => match path.get(item) {
                Some(value) => borrowed(Some(value)),
                None => other.value(item),
            },
            Self::Plus(a, b) => calculate(a, b, item, Number::plus),
            Self::Minus(a, b) => calculate(a, b, item, Number::minus),
            Self::ListAppend(a, b) => append(a, b, item),
        }
    }

    /// The paths that it reads.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::Value(_) => Vec::new(),
            Self::Path(path) => vec![path],
            Self::IfNotExists(path, other) => [vec![path], other.paths()].concat(),
            Self::Plus(a, b) | Self::Minus(a, b) | Self::ListAppend(a, b) => [a.paths(), b.paths()].concat(),
        }
    }
}

fn calculate<'a>(
    a: &Source,
    b: &Source,
    item: &Item,
    with: fn(Number, Number) -> Result<Number, NumberError>,
) -> Result<Option<Worked<'a>>, Wrong> {
    let number = |worked: Option<Worked<'_>>| match worked {
        None => Ok(None),
        Some(Worked::OutOfRange(why)) => Ok(Some(Err(why))),
        Some(Worked::Value(value)) => match &*value {
            AttributeValue::N(number) => Ok(Some(Ok(*number))),
            _ => Err(Wrong::Type),
        },
    };
    let (a, b) = (number(a.value(item)?)?, number(b.value(item)?)?);
    let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
    Ok(Some(match a.and_then(|a| with(a, b?)) {
        Ok(number) => Worked::Value(Cow::Owned(AttributeValue::N(number))),
        Err(why) => Worked::OutOfRange(why),
    }))
}

fn append<'a>(a: &Source, b: &Source, item: &Item) -> Result<Option<Worked<'a>>, Wrong> {
    let list = |worked: Option<Worked<'_>>| match worked {
        None => Ok(None),
        Some(Worked::Value(value)) => match value.into_owned() {
            AttributeValue::L(list) => Ok(Some(list)),
            _ => Err(Wrong::Type),
        },
        Some(Worked::OutOfRange(_)) => Err(Wrong::Type),
    };
    let (a, b) = (list(a.value(item)?)?, list(b.value(item)?)?);
    let (Some(mut a), Some(b)) = (a, b) else { return Ok(None) };
    a.extend(b);
    Ok(Some(Worked::Value(Cow::Owned(AttributeValue::L(a)))))
}

/// What `ADD` makes of a value.
fn add(was: Option<&AttributeValue>, value: &AttributeValue) -> Result<Option<AttributeValue>, Wrong> {
    let Some(was) = was else { return Ok(Some(value.clone())) };
    Ok(Some(match (was, value) {
        (AttributeValue::N(a), AttributeValue::N(b)) => AttributeValue::N(a.plus(*b).map_err(Wrong::Number)?),
        (AttributeValue::Ss(a), AttributeValue::Ss(b)) => AttributeValue::Ss(a | b),
        (AttributeValue::Ns(a), AttributeValue::Ns(b)) => AttributeValue::Ns(a | b),
        (AttributeValue::Bs(a), AttributeValue::Bs(b)) => AttributeValue::Bs(a | b),
        (AttributeValue::L(a), AttributeValue::L(b)) => AttributeValue::L([a.as_slice(), b].concat()),
        _ => return Err(Wrong::Type),
    }))
}

/// What `DELETE` leaves of a value.
fn delete(was: Option<&AttributeValue>, value: &AttributeValue) -> Result<Option<AttributeValue>, Wrong> {
    fn some<T: Ord>(set: BTreeSet<T>) -> Option<BTreeSet<T>> {
        (!set.is_empty()).then_some(set)
    }
    let Some(was) = was else { return Ok(None) };
    Ok(match (was, value) {
        (AttributeValue::Ss(a), AttributeValue::Ss(b)) => some(a - b).map(AttributeValue::Ss),
        (AttributeValue::Ns(a), AttributeValue::Ns(b)) => some(a - b).map(AttributeValue::Ns),
        (AttributeValue::Bs(a), AttributeValue::Bs(b)) => some(a - b).map(AttributeValue::Bs),
        _ => return Err(Wrong::Type),
    })
}

/// What is to be done at one place.
enum Write {
    Put(AttributeValue),
    Remove,
}

/// The writes as a tree: what becomes of one value.
#[derive(Default)]
struct Edit<'u> {
    here: Option<Write>,
    steps: BTreeMap<&'u Step, Edit<'u>>,
}

fn plant<'u>(edits: &mut BTreeMap<&'u str, Edit<'u>>, path: &'u Path, write: Write) {
    let mut edit = edits.entry(&path.root).or_default();
    for step in &path.steps {
        edit = edit.steps.entry(step).or_default();
    }
    edit.here = Some(write);
}

impl Edit<'_> {
    fn apply(self, was: Option<AttributeValue>) -> Option<AttributeValue> {
        match (self.here, was) {
            (Some(Write::Put(value)), _) => Some(value),
            (Some(Write::Remove), _) => None,
            (None, Some(AttributeValue::M(mut map))) => {
                for (step, edit) in self.steps {
                    let Step::Field(name) = step else { continue };
                    let was = map.remove(name);
                    if let Some(value) = edit.apply(was) {
                        map.insert(name.clone(), value);
                    }
                }
                Some(AttributeValue::M(map))
            }
            (None, Some(AttributeValue::L(list))) => {
                let mut list: Vec<Option<AttributeValue>> = list.into_iter().map(Some).collect();
                for (step, edit) in self.steps {
                    let Step::Index(index) = step else { continue };
                    match list.get_mut(*index as usize) {
                        Some(element) => *element = edit.apply(element.take()),
                        None => list.push(edit.apply(None)),
                    }
                }
                Some(AttributeValue::L(list.into_iter().flatten().collect()))
            }
            (None, was) => was,
        }
    }
}
