//! The first checks of a tree, in the order of the text: reserved words, indexes of lists, functions that do not exist,
//! do not belong there, or have a wrong number of operands. Names and values are not looked at yet.

use super::reserved;
use super::tree::{Call, Part, RawCondition, RawOperand, RawPath, Section};

/// The largest index of a list.
const INDEX_MAX: u32 = i32::MAX as u32;

/// Where a function may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A condition by itself.
    Condition,
    /// An operand of a condition.
    Operand,
    /// A source of a `SET`.
    Source,
}

/// Functions, where each may stand, and how many operands it has.
const FUNCTIONS: [(&str, Place, usize); 8] = [
    ("attribute_exists", Place::Condition, 1),
    ("attribute_not_exists", Place::Condition, 1),
    ("attribute_type", Place::Condition, 2),
    ("begins_with", Place::Condition, 2),
    ("contains", Place::Condition, 2),
    ("size", Place::Operand, 1),
    ("if_not_exists", Place::Source, 2),
    ("list_append", Place::Source, 2),
];

pub(super) fn condition(raw: &RawCondition<'_>) -> Result<(), String> {
    match raw {
        RawCondition::Or(list) | RawCondition::And(list) => list.iter().try_for_each(condition),
        RawCondition::Not(inner) => condition(inner),
        RawCondition::Compare(_, a, b) => operands([a, b], Place::Operand),
        RawCondition::Between(a, low, high) => operands([a, low, high], Place::Operand),
        RawCondition::In(a, list) => operands(std::iter::once(a).chain(list), Place::Operand),
        RawCondition::Call(called) => call(called, Place::Condition),
    }
}

/// Sections are read kind by kind, and each kind may appear once.
pub(super) fn update(sections: &[Section<'_>]) -> Result<(), String> {
    for (i, first) in sections.iter().enumerate() {
        let same = |section: &&Section<'_>| section.verb == first.verb;
        if sections[..i].iter().any(|section| same(&section)) {
            continue;
        }
        for action in sections[i..].iter().filter(same).flat_map(|section| &section.actions) {
            path(&action.path)?;
            let sources = action.value.iter().flat_map(|source| source.operands());
            operands(sources, Place::Source)?;
        }
        if sections[i..].iter().filter(same).count() > 1 {
            let name = first.verb.name();
            return Err(format!("The \"{name}\" section can only be used once in an update expression;"));
        }
    }
    Ok(())
}

pub(super) fn projection(paths: &[RawPath<'_>]) -> Result<(), String> {
    paths.iter().try_for_each(path)
}

fn operands<'a, 't: 'a>(
    list: impl IntoIterator<Item = &'a RawOperand<'t>>,
    place: Place,
) -> Result<(), String> {
    list.into_iter().try_for_each(|operand| match operand {
        RawOperand::Path(raw) => path(raw),
        RawOperand::Value(_) => Ok(()),
        RawOperand::Call(called) => call(called, place),
    })
}

fn path(raw: &RawPath<'_>) -> Result<(), String> {
    for part in &raw.parts {
        match part {
            Part::Name(name) if reserved::is_reserved(name) => {
                return Err(format!("Attribute name is a reserved keyword; reserved keyword: {name}"));
            }
            Part::Index(digits) if index(digits).is_none() => {
                return Err(format!("List index is not within the allowable range; index: [{digits}]"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The index that these digits are.
pub(super) fn index(digits: &str) -> Option<u32> {
    digits.parse().ok().filter(|index| *index <= INDEX_MAX)
}

fn call(called: &Call<'_>, place: Place) -> Result<(), String> {
    let name = called.name;
    let Some((_, at_home, count)) = FUNCTIONS.iter().find(|(function, ..)| *function == name) else {
        return Err(format!("Invalid function name; function: {name}"));
    };
    match (place, at_home) {
        (Place::Source, Place::Source) => return source_call(called),
        (Place::Source, _) => {
            return Err(format!("The function is not allowed in an update expression; function: {name}"));
        }
        (_, Place::Source) => {
            return Err(format!("The function is not allowed in a condition expression; function: {name}"));
        }
        _ if place != *at_home => {
            return Err(format!(
                "The function is not allowed to be used this way in an expression; function: {name}"
            ));
        }
        _ => {}
    }
    count_operands(called, *count)?;
    operands(&called.operands, Place::Operand)
}

/// An update's functions are counted later, together with the checks of their operands.
fn source_call(called: &Call<'_>) -> Result<(), String> {
    let append = "list_append";
    let appends =
        |operand: &RawOperand<'_>| matches!(operand, RawOperand::Call(inner) if inner.name == append);
    if called.name == append && called.operands.iter().any(appends) {
        return Err(format!(
            "The function is not allowed to be used this way in an expression; function: {append}"
        ));
    }
    operands(&called.operands, Place::Source)
}

/// Whether a function has as many operands as it needs.
pub(super) fn count_operands(called: &Call<'_>, needed: usize) -> Result<(), String> {
    let (name, count) = (called.name, called.operands.len());
    if count == needed {
        return Ok(());
    }
    Err(format!(
        "Incorrect number of operands for operator or function; operator or function: {name}, number of operands: \
         {count}"
    ))
}
