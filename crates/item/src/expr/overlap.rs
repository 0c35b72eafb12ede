//! Whether paths of one update or projection stand in each other's way. One of two that overlap is the other, or lies
//! inside it; two conflict where one goes into a map and the other into a list. In linear time: the paths are put into
//! a tree, one after the other.
//!
//! Doubt: which pair is told where several paths overlap (here: the first path of the text that meets an earlier one,
//! with the earliest that it meets).

use crate::path::{Path, Step};
use std::collections::BTreeMap;

/// A place that paths go through.
#[derive(Default)]
struct Place<'p> {
    /// The first path that came here.
    first: usize,
    /// The path that ends here.
    ends: Option<usize>,
    steps: BTreeMap<&'p Step, Place<'p>>,
}

/// Refuses paths that overlap, or else that conflict.
pub(super) fn check(paths: &[&Path]) -> Result<(), String> {
    let mut roots: BTreeMap<&str, Place<'_>> = BTreeMap::new();
    let mut conflict = None;
    for (i, path) in paths.iter().enumerate() {
        let mut place = roots.entry(&path.root).or_insert_with(|| at(i));
        let mut met = place.ends;
        for step in &path.steps {
            if met.is_some() {
                break;
            }
            // Steps into lists and steps into maps stand apart in a tree: those of the other kind at one of its ends.
            let end =
                if is_index(step) { place.steps.first_key_value() } else { place.steps.last_key_value() };
            let other = end.filter(|(other, _)| is_index(other) != is_index(step));
            conflict = conflict.or(other.map(|(_, other)| (other.first, i)));
            place = place.steps.entry(step).or_insert_with(|| at(i));
            met = place.ends;
        }
        if met.is_none() && place.first < i {
            met = Some(place.first);
        }
        if let Some(earlier) = met {
            return Err(told("overlap", paths[earlier], path));
        }
        place.ends = Some(i);
    }
    match conflict {
        None => Ok(()),
        Some((earlier, later)) => Err(told("conflict", paths[earlier], paths[later])),
    }
}

fn at<'p>(first: usize) -> Place<'p> {
    Place { first, ..Place::default() }
}

fn is_index(step: &Step) -> bool {
    matches!(step, Step::Index(_))
}

fn told(what: &str, one: &Path, two: &Path) -> String {
    format!(
        "Two document paths {what} with each other; must remove or rewrite one of these paths; path one: {one}, path \
         two: {two}"
    )
}
