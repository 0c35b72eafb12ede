//! Document paths: `a.b[0].c`, with the names put in.

use crate::value::{AttributeValue, Item};

/// A path in an item.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Path {
    /// The attribute.
    pub root: String,
    /// The way from there.
    pub steps: Vec<Step>,
}

/// One step of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Into a map.
    Field(String),
    /// Into a list.
    Index(u32),
}

impl Path {
    /// The path of a whole attribute.
    pub fn attribute(name: impl Into<String>) -> Self {
        Self { root: name.into(), steps: Vec::new() }
    }

    /// What stands there.
    pub fn get<'i>(&self, item: &'i Item) -> Option<&'i AttributeValue> {
        follow(item.get(&self.root)?, &self.steps)
    }

    /// What stands around it: the map or the list that its last step leads into. None for a whole attribute.
    pub(crate) fn parent<'i>(&self, item: &'i Item) -> Option<&'i AttributeValue> {
        let (_, before) = self.steps.split_last()?;
        follow(item.get(&self.root)?, before)
    }
}

fn follow<'i>(mut value: &'i AttributeValue, steps: &[Step]) -> Option<&'i AttributeValue> {
    for step in steps {
        value = match (step, value) {
            (Step::Field(name), AttributeValue::M(map)) => map.get(name)?,
            (Step::Index(index), AttributeValue::L(list)) => list.get(*index as usize)?,
            _ => return None,
        };
    }
    Some(value)
}

impl Step {
    /// Whether it leads into this value.
    pub(crate) fn fits(&self, value: &AttributeValue) -> bool {
        match self {
            Self::Field(_) => matches!(value, AttributeValue::M(_)),
            Self::Index(_) => matches!(value, AttributeValue::L(_)),
        }
    }
}

/// As DynamoDB's errors show it: `[a, b, [0]]`.
impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}", self.root)?;
        for step in &self.steps {
            match step {
                Step::Field(name) => write!(f, ", {name}")?,
                Step::Index(index) => write!(f, ", [{index}]")?,
            }
        }
        f.write_str("]")
    }
}
