//! Attribute values and items: types, sizes, depth.

use crate::number::Number;
use std::collections::{BTreeMap, BTreeSet};

/// An item may be this large, in bytes as DynamoDB counts them.
pub const ITEM_SIZE: usize = 400 * 1024;
/// Documents may be nested this deep.
pub const DEPTH: usize = 32;

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
        use Type::{B, Bool, Bs, L, M, N, Ns, Null, S, Ss};
        [S, N, B, Bool, Null, M, L, Ss, Ns, Bs].into_iter().find(|kind| kind.name() == name)
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
        unimplemented!()
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
        unimplemented!()
    }
}
