//! Attribute values and items: types, sizes, depth.
//!
//! Sizes are those that DynamoDB's limits and capacities are counted in, not those of any encoding: a name and a text
//! count their UTF-8 bytes, a number its digits ([`Number::size`]), a map or a list three bytes and one for each
//! element.
//!
//! Sets are kept in order: DynamoDB promises none, and equal items must be equal bytes here.

use crate::error::Error;
use crate::number::Number;
use std::collections::{BTreeMap, BTreeSet};

/// An item may be this large, in bytes as DynamoDB counts them.
pub const ITEM_SIZE: usize = 400 * 1024;
/// Documents may be nested this deep, the attribute itself counted.
pub const DEPTH: usize = 32;
/// An attribute's name is shorter than this, in bytes.
pub const NAME_SIZE: usize = 64 * 1024;

/// Attribute names and values. Ordered, so that equal maps are encoded to equal bytes.
pub type Map = BTreeMap<String, AttributeValue>;

/// One attribute's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttributeValue {
    /// A text.
    S(String),
    /// A number.
    N(Number),
    /// Bytes.
    B(Vec<u8>),
    /// Truth.
    Bool(bool),
    /// Nothing.
    Null,
    /// A map.
    M(Map),
    /// A list.
    L(Vec<AttributeValue>),
    /// A set of texts, not empty.
    Ss(BTreeSet<String>),
    /// A set of numbers, not empty.
    Ns(BTreeSet<Number>),
    /// A set of bytes, not empty.
    Bs(BTreeSet<Vec<u8>>),
}

/// The type of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Type {
    /// A text.
    S,
    /// A number.
    N,
    /// Bytes.
    B,
    /// Truth.
    Bool,
    /// Nothing.
    Null,
    /// A map.
    M,
    /// A list.
    L,
    /// A set of texts.
    Ss,
    /// A set of numbers.
    Ns,
    /// A set of bytes.
    Bs,
}

impl Type {
    /// All of them, in the order of their codes.
    pub(crate) const ALL: [Self; 10] =
        [Self::S, Self::N, Self::B, Self::Bool, Self::Null, Self::M, Self::L, Self::Ss, Self::Ns, Self::Bs];

    /// As DynamoDB writes it: `S`, `BOOL`, `NS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::N => "N",
            Self::B => "B",
            Self::Bool => "BOOL",
            Self::Null => "NULL",
            Self::M => "M",
            Self::L => "L",
            Self::Ss => "SS",
            Self::Ns => "NS",
            Self::Bs => "BS",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// As the errors of `ADD` and `DELETE` write it.
    pub(crate) fn long_name(self) -> &'static str {
        match self {
            Self::S => "STRING",
            Self::N => "NUMBER",
            Self::B => "BINARY",
            Self::Bool => "BOOLEAN",
            Self::Null => "NULL",
            Self::M => "MAP",
            Self::L => "LIST",
            Self::Ss => "STRING_SET",
            Self::Ns => "NUMBER_SET",
            Self::Bs => "BINARY_SET",
        }
    }

    /// Whether values of it have an order: texts, numbers and bytes.
    pub(crate) fn is_ordered(self) -> bool {
        matches!(self, Self::S | Self::N | Self::B)
    }

    /// Whether it is a set.
    pub(crate) fn is_set(self) -> bool {
        matches!(self, Self::Ss | Self::Ns | Self::Bs)
    }
}

impl AttributeValue {
    /// Its type.
    pub fn kind(&self) -> Type {
        match self {
            Self::S(_) => Type::S,
            Self::N(_) => Type::N,
            Self::B(_) => Type::B,
            Self::Bool(_) => Type::Bool,
            Self::Null => Type::Null,
            Self::M(_) => Type::M,
            Self::L(_) => Type::L,
            Self::Ss(_) => Type::Ss,
            Self::Ns(_) => Type::Ns,
            Self::Bs(_) => Type::Bs,
        }
    }

    /// Its size in bytes, as DynamoDB counts it, without the attribute's name.
    pub fn size(&self) -> usize {
        match self {
            Self::S(text) => text.len(),
            Self::N(number) => number.size(),
            Self::B(bytes) => bytes.len(),
            Self::Bool(_) | Self::Null => 1,
            Self::M(map) => 3 + map.iter().map(|(name, value)| 1 + name.len() + value.size()).sum::<usize>(),
            Self::L(list) => 3 + list.iter().map(|value| 1 + value.size()).sum::<usize>(),
            Self::Ss(set) => set.iter().map(String::len).sum(),
            Self::Ns(set) => set.iter().map(|number| number.size()).sum(),
            Self::Bs(set) => set.iter().map(Vec::len).sum(),
        }
    }

    /// How deep it is nested: one for a value without others in it, one more for each map or list around.
    pub fn depth(&self) -> usize {
        match self {
            Self::M(map) => 1 + map.values().map(Self::depth).max().unwrap_or(0),
            Self::L(list) => 1 + list.iter().map(Self::depth).max().unwrap_or(0),
            _ => 1,
        }
    }

    /// Texts by their bytes, numbers by their value, bytes by bytes; no order between types, nor within others.
    pub fn order(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::S(a), Self::S(b)) => Some(a.cmp(b)),
            (Self::N(a), Self::N(b)) => Some(a.cmp(b)),
            (Self::B(a), Self::B(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// An item: its attributes by name.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Item(pub Map);

impl Item {
    /// An attribute.
    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.0.get(name)
    }

    /// Its size in bytes, as DynamoDB counts it: names and values.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.size()).sum()
    }

    /// Refuses an item that is too large or too deep to be put.
    pub fn check(&self) -> Result<(), Error> {
        self.check_depth()?;
        match self.size() {
            size if size > ITEM_SIZE => {
                Err(Error::validation("Item size has exceeded the maximum allowed size"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses an item that an update made too large or too deep.
    pub(crate) fn check_updated(&self) -> Result<(), Error> {
        self.check_depth()?;
        match self.size() {
            size if size > ITEM_SIZE => {
                Err(Error::validation("Item size to update has exceeded the maximum allowed size"))
            }
            _ => Ok(()),
        }
    }

    fn check_depth(&self) -> Result<(), Error> {
        if self.0.values().all(|value| value.depth() <= DEPTH) { Ok(()) } else { Err(Error::too_deep()) }
    }
}
