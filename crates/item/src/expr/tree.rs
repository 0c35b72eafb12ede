//! Expressions as they are written: names and values are still placeholders, and nothing but the grammar was checked.

use crate::condition::Comparator;

/// A document path.
#[derive(Debug)]
pub(super) struct RawPath<'t> {
    /// Its parts; there is one at least, and the first is a name.
    pub(super) parts: Vec<Part<'t>>,
}

/// A part of a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'t> {
    /// A name as it is.
    Name(&'t str),
    /// `#name`
    Placeholder(&'t str),
    /// An index of a list, as its digits.
    Index(&'t str),
}

/// What is compared, or given to a function.
#[derive(Debug)]
pub(super) enum RawOperand<'t> {
    Path(RawPath<'t>),
    /// `:value`
    Value(&'t str),
    Call(Call<'t>),
}

/// `function(operand, …)`
#[derive(Debug)]
pub(super) struct Call<'t> {
    pub(super) name: &'t str,
    pub(super) operands: Vec<RawOperand<'t>>,
}

/// A condition.
#[derive(Debug)]
pub(super) enum RawCondition<'t> {
    Or(Vec<RawCondition<'t>>),
    And(Vec<RawCondition<'t>>),
    Not(Box<RawCondition<'t>>),
    Compare(Comparator, RawOperand<'t>, RawOperand<'t>),
    Between(RawOperand<'t>, RawOperand<'t>, RawOperand<'t>),
    In(RawOperand<'t>, Vec<RawOperand<'t>>),
    Call(Call<'t>),
}

/// A section of an update.
#[derive(Debug)]
pub(super) struct Section<'t> {
    pub(super) verb: Verb,
    pub(super) actions: Vec<Action<'t>>,
}

/// What a section does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verb {
    Set,
    Remove,
    Add,
    Delete,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Remove => "REMOVE",
            Self::Add => "ADD",
            Self::Delete => "DELETE",
        }
    }
}

/// What is done to one path.
#[derive(Debug)]
pub(super) struct Action<'t> {
    pub(super) verb: Verb,
    pub(super) path: RawPath<'t>,
    /// What is written, added or deleted; nothing for `REMOVE`.
    pub(super) value: Option<RawSource<'t>>,
}

/// What stands right of a `SET`'s equals sign.
#[derive(Debug)]
pub(super) enum RawSource<'t> {
    Operand(RawOperand<'t>),
    Plus(RawOperand<'t>, RawOperand<'t>),
    Minus(RawOperand<'t>, RawOperand<'t>),
}

impl<'t> RawSource<'t> {
    pub(super) fn operands(&self) -> Vec<&RawOperand<'t>> {
        match self {
            Self::Operand(a) => vec![a],
            Self::Plus(a, b) | Self::Minus(a, b) => vec![a, b],
        }
    }
}
