//! Projections: a part of an item.

use crate::path::Path;
use crate::value::Item;

/// What of an item is answered.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Projection {
    /// The paths, none inside another.
    pub paths: Vec<Path>,
}

impl Projection {
    /// The part of the item that stands at the paths, each where it stood; elements of lists close up.
    pub fn of(&self, item: &Item) -> Item {
        let _ = item;
        unimplemented!()
    }

    /// The names of the attributes that are looked at.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|path| path.root.as_str())
    }
}
