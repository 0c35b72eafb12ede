//! Projections: a part of an item.

use crate::path::{Path, Step};
use crate::value::{AttributeValue, Item, Map};
use std::collections::BTreeMap;

/// What of an item is answered.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Projection {
    /// The paths, none inside another.
    pub paths: Vec<Path>,
}

impl Projection {
    /// The part of the item that stands at the paths, each where it stood; elements of lists close up, in their order.
    /// What has nothing at its paths is left out.
    pub fn of(&self, item: &Item) -> Item {
        part(self.paths.iter(), item)
    }

    /// The names of the attributes that are looked at.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|path| path.root.as_str())
    }
}

/// The part of an item that stands at the paths.
pub(crate) fn part<'p>(paths: impl Iterator<Item = &'p Path>, item: &Item) -> Item {
    let mut wanted: BTreeMap<&str, Wanted<'p>> = BTreeMap::new();
    for path in paths {
        let mut node = wanted.entry(&path.root).or_default();
        for step in &path.steps {
            node = node.steps.entry(step).or_default();
        }
        node.whole = true;
    }
    let found =
        wanted.into_iter().filter_map(|(name, wanted)| Some((name.to_string(), wanted.of(item.get(name)?)?)));
    Item(found.collect())
}

/// The paths as a tree: what is wanted of one value.
#[derive(Default)]
struct Wanted<'p> {
    whole: bool,
    steps: BTreeMap<&'p Step, Wanted<'p>>,
}

impl Wanted<'_> {
    fn of(&self, value: &AttributeValue) -> Option<AttributeValue> {
        if self.whole {
            return Some(value.clone());
        }
        // The tree is in order, so elements come in the order of their indexes.
        let found = self.steps.iter().filter_map(|(step, wanted)| match (step, value) {
            (Step::Field(name), AttributeValue::M(map)) => Some((name.as_str(), wanted.of(map.get(name)?)?)),
            (Step::Index(index), AttributeValue::L(list)) => {
                Some(("", wanted.of(list.get(*index as usize)?)?))
            }
            _ => None,
        });
        if matches!(value, AttributeValue::M(_)) {
            let map: Map = found.map(|(name, value)| (name.to_string(), value)).collect();
            return (!map.is_empty()).then_some(AttributeValue::M(map));
        }
        let list: Vec<AttributeValue> = found.map(|(_, value)| value).collect();
        (!list.is_empty()).then_some(AttributeValue::L(list))
    }
}
