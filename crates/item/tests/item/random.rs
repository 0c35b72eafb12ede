//! Random values, items, paths and expressions, from a seed.

use quorate_base::Rng;
use quorate_item::value::Map;
use quorate_item::{AttributeValue, Item, Number, Path, Step};

const TEXTS: [&str; 8] = ["", "a", "ab", "a\0b", "b", "é", "\u{10FFFF}", "text"];
const NAMES: [&str; 5] = ["a", "b", "c", "d", "a.b"];

/// A number, often near another or near a limit.
pub(crate) fn number(rng: &mut Rng) -> Number {
    loop {
        let digits = rng.between(1, 38);
        let mut text = String::new();
        for _ in 0..digits {
            text.push(*rng.pick(&['0', '1', '4', '5', '9', '9']));
        }
        let exponent = match rng.below(4) {
            0 => i64::try_from(rng.below(256)).unwrap() - 130 - i64::try_from(digits).unwrap(),
            1 => -i64::try_from(rng.below(6)).unwrap(),
            _ => 0,
        };
        let sign = if rng.chance(1, 2) { "-" } else { "" };
        if let Ok(number) = Number::parse(&format!("{sign}{text}E{exponent}")) {
            return number;
        }
    }
}

pub(crate) fn small_number(rng: &mut Rng) -> Number {
    Number::from(i64::try_from(rng.below(5)).unwrap() - 2)
}

fn bytes(rng: &mut Rng) -> Vec<u8> {
    (0..rng.below(4)).map(|_| *rng.pick(&[0, 1, 2, 0xFE, 0xFF])).collect()
}

fn text(rng: &mut Rng) -> String {
    (*rng.pick(&TEXTS)).to_string()
}

/// A text, a number or bytes.
pub(crate) fn scalar(rng: &mut Rng) -> AttributeValue {
    match rng.below(4) {
        0 => AttributeValue::S(text(rng)),
        1 => AttributeValue::B(bytes(rng)),
        2 => AttributeValue::N(number(rng)),
        _ => AttributeValue::N(small_number(rng)),
    }
}

pub(crate) fn value(rng: &mut Rng, depth: u64) -> AttributeValue {
    let count = rng.below(4);
    match rng.below(if depth == 0 { 8 } else { 12 }) {
        0..=2 => scalar(rng),
        3 => AttributeValue::Bool(rng.chance(1, 2)),
        4 => AttributeValue::Null,
        5 => AttributeValue::Ss((0..=count).map(|_| text(rng)).collect()),
        6 => AttributeValue::Ns((0..=count).map(|_| small_number(rng)).collect()),
        7 => AttributeValue::Bs((0..=count).map(|_| bytes(rng)).collect()),
        8 | 9 => AttributeValue::L((0..count).map(|_| value(rng, depth - 1)).collect()),
        _ => AttributeValue::M(map(rng, depth - 1)),
    }
}

fn map(rng: &mut Rng, depth: u64) -> Map {
    (0..rng.below(4)).map(|_| ((*rng.pick(&NAMES)).to_string(), value(rng, depth))).collect()
}

pub(crate) fn item(rng: &mut Rng) -> Item {
    Item(map(rng, 3))
}

pub(crate) fn path(rng: &mut Rng) -> Path {
    let mut path = Path::attribute(*rng.pick(&NAMES));
    for _ in 0..rng.below(3) {
        path.steps.push(if rng.chance(1, 2) {
            Step::Field((*rng.pick(&NAMES)).to_string())
        } else {
            Step::Index(u32::try_from(rng.below(5)).unwrap())
        });
    }
    path
}

/// Pieces of which expressions are made, right ones and wrong ones.
const PIECES: [&str; 52] = [
    "a",
    "b",
    "c.d",
    "a[0]",
    "a[1].b",
    "#a",
    "#b",
    "#dot",
    "#undefined",
    ":s",
    ":n",
    ":l",
    ":ss",
    ":undefined",
    "=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "(",
    ")",
    "((",
    "))",
    "[",
    "]",
    ",",
    ".",
    "+",
    "-",
    "AND",
    "or",
    "NOT",
    "BETWEEN",
    "in",
    "SET",
    "REMOVE",
    "add",
    "DELETE",
    "size(",
    "attribute_exists(",
    "begins_with(",
    "contains(",
    "attribute_type(",
    "if_not_exists(",
    "list_append(",
    "status",
    "_x",
    "007",
    "99999999999",
    "é",
    "#",
];

/// Pieces one after the other.
pub(crate) fn soup(rng: &mut Rng) -> String {
    let mut text = String::new();
    for _ in 0..rng.below(24) {
        let (piece, blank): (&&str, &&str) = (rng.pick(&PIECES), rng.pick(&["", " ", " ", "\t"]));
        text.push_str(piece);
        text.push_str(blank);
    }
    text
}

/// A text with a few characters lost, doubled or replaced.
pub(crate) fn harmed(rng: &mut Rng, text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=rng.below(3) {
        if chars.is_empty() {
            break;
        }
        let at = usize::try_from(rng.below(chars.len() as u64)).unwrap();
        match rng.below(4) {
            0 => drop(chars.remove(at)),
            1 => chars.insert(at, chars[at]),
            2 => chars[at] = *rng.pick(&['(', ')', ':', '#', '.', ' ', 'x', '0', ',', '\u{1F600}']),
            _ => chars.truncate(at),
        }
    }
    chars.into_iter().collect()
}

fn operand(rng: &mut Rng) -> String {
    match rng.below(6) {
        0 => format!("size({})", rng.pick(&["a", "#b", "c.d"])),
        1 | 2 => (*rng.pick(&["a", "b", "c", "#a", "a.b", "b[1]", "#dot"])).to_string(),
        3 => format!("({})", rng.pick(&[":s", "a", "size(b)"])),
        _ => (*rng.pick(&[":s", ":n", ":b", ":t", ":m"])).to_string(),
    }
}

/// A condition of the grammar. Its checks may refuse it.
pub(crate) fn condition(rng: &mut Rng, depth: u64) -> String {
    let inner = |rng: &mut Rng| condition(rng, depth - 1);
    match rng.below(if depth == 0 { 7 } else { 11 }) {
        0 | 1 => {
            format!("{} {} {}", operand(rng), rng.pick(&["=", "<>", "<", "<=", ">", ">="]), operand(rng))
        }
        2 => format!("{} BETWEEN {} and {}", operand(rng), operand(rng), operand(rng)),
        3 => format!("{} IN ({}, {})", operand(rng), operand(rng), operand(rng)),
        4 => format!("attribute_{}exists({})", rng.pick(&["", "not_"]), operand(rng)),
        5 => format!("{}({}, {})", rng.pick(&["begins_with", "contains"]), operand(rng), operand(rng)),
        6 => format!("attribute_type({}, :S)", operand(rng)),
        7 => format!("({})", inner(rng)),
        8 => format!("not {}", inner(rng)),
        9 => format!("{} AND {}", inner(rng), inner(rng)),
        _ => format!("{} OR ({})", inner(rng), inner(rng)),
    }
}

fn source(rng: &mut Rng, depth: u64) -> String {
    match rng.below(if depth == 0 { 3 } else { 7 }) {
        0 | 1 => (*rng.pick(&[":n", ":m", ":l", ":s", ":map"])).to_string(),
        2 => (*rng.pick(&["a", "b", "c[0]", "#dot", "a.b"])).to_string(),
        3 => format!("if_not_exists({}, {})", rng.pick(&["a", "b[0]", "c"]), source(rng, depth - 1)),
        4 => format!("list_append({}, {})", source(rng, 0), source(rng, 0)),
        5 => format!("({} - {})", source(rng, 0), source(rng, 0)),
        _ => format!("{} + {}", source(rng, 0), source(rng, 0)),
    }
}

/// An update of the grammar. Its checks may refuse it.
pub(crate) fn update(rng: &mut Rng) -> String {
    let target =
        |rng: &mut Rng| (*rng.pick(&["a", "b", "c", "d", "a.b", "a[0]", "b[7]", "c.d", "#dot"])).to_string();
    let mut sections = Vec::new();
    if rng.chance(2, 3) {
        sections.push(format!(
            "SET {} = {}, {} = {}",
            target(rng),
            source(rng, 2),
            target(rng),
            source(rng, 1)
        ));
    }
    if rng.chance(1, 2) {
        sections.push(format!("REMOVE {}, {}", target(rng), target(rng)));
    }
    if rng.chance(1, 2) {
        sections.push(format!("ADD {} {}", target(rng), rng.pick(&[":n", ":ss", ":ns", ":bs"])));
    }
    if rng.chance(1, 2) {
        sections.push(format!("DELETE {} {}", target(rng), rng.pick(&[":ss", ":ns", ":bs"])));
    }
    sections.join(" ")
}
