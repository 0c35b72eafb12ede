//! Conditions and filters, parsed: whether they hold for an item.

use crate::path::Path;
use crate::value::{AttributeValue, Item, Type};

/// How two values are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparator {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// What a condition looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operand {
    /// What stands in the item.
    Path(Path),
    /// A value that was given.
    Value(AttributeValue),
    /// `size(path)`: a number.
    Size(Path),
}

/// A condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// All hold. Of none: it holds.
    All(Vec<Condition>),
    /// One holds. Of none: it does not hold.
    Any(Vec<Condition>),
    /// It does not hold.
    Not(Box<Condition>),
    /// Two operands compared.
    Compare(Comparator, Operand, Operand),
    /// Not below the second, not above the third.
    Between(Operand, Operand, Operand),
    /// Equal to one of these.
    In(Operand, Vec<Operand>),
    /// Something stands there.
    Exists(Path),
    /// Nothing stands there.
    NotExists(Path),
    /// Something of this type stands there.
    IsType(Path, Type),
    /// The first begins with the second.
    BeginsWith(Operand, Operand),
    /// The first, a text, a set or a list, contains the second.
    Contains(Operand, Operand),
}

impl Condition {
    /// Whether it holds. No item is an item without attributes.
    pub fn holds(&self, item: Option<&Item>) -> bool {
        let _ = item;
        unimplemented!()
    }
}
