//! Conditions and filters, parsed: whether they hold for an item.
//!
//! A condition has no errors: what cannot be compared does not hold. `<>` is the one that holds where something is
//! missing or of another type, since it then is not equal.
//!
//! `size` of a text counts code units of UTF-16, as the service does, whose strings are Java's; what an item may weigh is
//! counted in bytes of UTF-8. Conditions in entries of earlier releases count bytes there, too, and still mean that: else
//! replicas of two releases would come to different states.

use crate::number::Number;
use crate::path::Path;
use crate::value::{AttributeValue, Item, Type};
use std::borrow::Cow;
use std::cmp::Ordering;

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

impl Comparator {
    /// All of them, in the order of their codes.
    pub(crate) const ALL: [Self; 6] = [Self::Eq, Self::Ne, Self::Lt, Self::Le, Self::Gt, Self::Ge];

    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "<>",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }

    /// The same with its sides changed.
    pub(crate) fn mirrored(self) -> Self {
        match self {
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
            same => same,
        }
    }

    fn holds(self, a: Option<&AttributeValue>, b: Option<&AttributeValue>) -> bool {
        let equal = || a.is_some() && a == b;
        let order = || a?.order(b?);
        match self {
            Self::Eq => equal(),
            Self::Ne => !equal(),
            Self::Lt => order().is_some_and(Ordering::is_lt),
            Self::Le => order().is_some_and(Ordering::is_le),
            Self::Gt => order().is_some_and(Ordering::is_gt),
            Self::Ge => order().is_some_and(Ordering::is_ge),
        }
    }
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
    /// The same, as earlier releases wrote it: of a text, its bytes.
    SizeInBytes(Path),
}

impl Operand {
    fn value<'a>(&'a self, item: &'a Item) -> Option<Cow<'a, AttributeValue>> {
        match self {
            Self::Path(path) => path.get(item).map(Cow::Borrowed),
            Self::Value(value) => Some(Cow::Borrowed(value)),
            Self::Size(path) => Some(Cow::Owned(size(path.get(item)?)?)),
            Self::SizeInBytes(path) => Some(Cow::Owned(match path.get(item)? {
                AttributeValue::S(text) => AttributeValue::N(Number::from(text.len() as i64)),
                other => size(other)?,
            })),
        }
    }
}

/// What `size` answers: code units of texts, bytes of bytes, elements of others. Numbers, truth and nothing have none.
pub(crate) fn size(value: &AttributeValue) -> Option<AttributeValue> {
    let size = match value {
        AttributeValue::S(text) => text.encode_utf16().count(),
        AttributeValue::B(bytes) => bytes.len(),
        AttributeValue::M(map) => map.len(),
        AttributeValue::L(list) => list.len(),
        AttributeValue::Ss(set) => set.len(),
        AttributeValue::Ns(set) => set.len(),
        AttributeValue::Bs(set) => set.len(),
        AttributeValue::N(_) | AttributeValue::Bool(_) | AttributeValue::Null => return None,
    };
    Some(AttributeValue::N(Number::from(size as i64)))
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
    /// The first, a text, bytes, a set or a list, contains the second.
    Contains(Operand, Operand),
}

impl Condition {
    /// Whether it holds. No item is an item without attributes.
    pub fn holds(&self, item: Option<&Item>) -> bool {
        let nothing = Item::default();
        self.holds_for(item.unwrap_or(&nothing))
    }

    fn holds_for(&self, item: &Item) -> bool {
        match self {
            Self::All(list) => list.iter().all(|condition| condition.holds_for(item)),
            Self::Any(list) => list.iter().any(|condition| condition.holds_for(item)),
            Self::Not(condition) => !condition.holds_for(item),
            comparison => comparison.compares(item),
        }
    }

    /// A condition that has no others in it. (Apart, so that what nests needs little of the stack.)
    fn compares(&self, item: &Item) -> bool {
        match self {
            Self::Compare(comparator, a, b) => {
                comparator.holds(a.value(item).as_deref(), b.value(item).as_deref())
            }
            Self::Between(a, low, high) => {
                let (a, low, high) = (a.value(item), low.value(item), high.value(item));
                Comparator::Ge.holds(a.as_deref(), low.as_deref())
                    && Comparator::Le.holds(a.as_deref(), high.as_deref())
            }
            Self::In(a, list) => a.value(item).is_some_and(|a| {
                list.iter().any(|b| Comparator::Eq.holds(Some(&a), b.value(item).as_deref()))
            }),
            Self::Exists(path) => path.get(item).is_some(),
            Self::NotExists(path) => path.get(item).is_none(),
            Self::IsType(path, kind) => path.get(item).is_some_and(|value| value.kind() == *kind),
            Self::BeginsWith(a, b) => both(a.value(item), b.value(item), begins_with),
            Self::Contains(a, b) => both(a.value(item), b.value(item), contains),
            other => other.holds_for(item),
        }
    }

    /// Whether it measures anything as earlier releases do not.
    pub(crate) fn measures(&self) -> bool {
        let size = |operand: &Operand| matches!(operand, Operand::Size(_));
        match self {
            Self::All(list) | Self::Any(list) => list.iter().any(Self::measures),
            Self::Not(condition) => condition.measures(),
            Self::Compare(_, a, b) | Self::BeginsWith(a, b) | Self::Contains(a, b) => size(a) || size(b),
            Self::Between(a, low, high) => [a, low, high].into_iter().any(size),
            Self::In(a, list) => size(a) || list.iter().any(size),
            Self::Exists(_) | Self::NotExists(_) | Self::IsType(..) => false,
        }
    }

    /// The paths that it looks at.
    pub fn paths(&self) -> Vec<&Path> {
        let mut out = Vec::new();
        self.collect_paths(&mut out);
        out
    }

    fn collect_paths<'a>(&'a self, out: &mut Vec<&'a Path>) {
        let mut add = |operand: &'a Operand| match operand {
            Operand::Path(path) | Operand::Size(path) | Operand::SizeInBytes(path) => out.push(path),
            Operand::Value(_) => {}
        };
        match self {
            Self::All(list) | Self::Any(list) => list.iter().for_each(|c| c.collect_paths(out)),
            Self::Not(condition) => condition.collect_paths(out),
            Self::Compare(_, a, b) | Self::BeginsWith(a, b) | Self::Contains(a, b) => {
                [a, b].into_iter().for_each(add);
            }
            Self::Between(a, low, high) => [a, low, high].into_iter().for_each(add),
            Self::In(a, list) => {
                add(a);
                list.iter().for_each(add);
            }
            Self::Exists(path) | Self::NotExists(path) | Self::IsType(path, _) => out.push(path),
        }
    }
}

fn both(
    a: Option<Cow<'_, AttributeValue>>,
    b: Option<Cow<'_, AttributeValue>>,
    holds: fn(&AttributeValue, &AttributeValue) -> bool,
) -> bool {
    matches!((a, b), (Some(a), Some(b)) if holds(&a, &b))
}

fn begins_with(a: &AttributeValue, b: &AttributeValue) -> bool {
    match (a, b) {
        (AttributeValue::S(a), AttributeValue::S(b)) => a.starts_with(b.as_str()),
        (AttributeValue::B(a), AttributeValue::B(b)) => a.starts_with(b),
        _ => false,
    }
}

fn contains(a: &AttributeValue, b: &AttributeValue) -> bool {
    match (a, b) {
        (AttributeValue::S(a), AttributeValue::S(b)) => a.contains(b.as_str()),
        (AttributeValue::B(a), AttributeValue::B(b)) => has_bytes(a, b),
        (AttributeValue::Ss(a), AttributeValue::S(b)) => a.contains(b),
        (AttributeValue::Ns(a), AttributeValue::N(b)) => a.contains(b),
        (AttributeValue::Bs(a), AttributeValue::B(b)) => a.contains(b),
        (AttributeValue::L(a), b) => a.contains(b),
        _ => false,
    }
}

/// Whether the bytes stand in the others, in linear time (Knuth, Morris and Pratt 1977): both come from clients.
fn has_bytes(hay: &[u8], needle: &[u8]) -> bool {
    if needle.is_empty() || needle.len() > hay.len() {
        return needle.is_empty();
    }
    let mut border = vec![0; needle.len()];
    let mut matched = 0;
    for (i, byte) in needle.iter().enumerate().skip(1) {
        while matched > 0 && *byte != needle[matched] {
            matched = border[matched - 1];
        }
        matched += usize::from(*byte == needle[matched]);
        border[i] = matched;
    }
    let mut matched = 0;
    for byte in hay {
        while matched > 0 && *byte != needle[matched] {
            matched = border[matched - 1];
        }
        matched += usize::from(*byte == needle[matched]);
        if matched == needle.len() {
            return true;
        }
    }
    false
}
