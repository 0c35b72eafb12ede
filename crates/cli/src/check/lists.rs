//! What `--models` and `--levels` list.

use crate::report::say;
use quorate_check::invariants::NAMES as INVARIANTS;
use quorate_check::models::NAMES;
use quorate_check::promises::MODELS;
use quorate_check::txn::levels::Level;
use serde_json::json;

/// The models of transactions.
const TRANSACTIONS: [(&str, &str); 3] = [
    (
        "list-append",
        "transactions that append unique elements to lists and read whole lists; the surest to judge",
    ),
    ("rw-register", "transactions that read and write registers, each value written once"),
    ("predicate", "transactions that insert and delete rows, read single rows and scan ranges: phantoms"),
];

/// The models.
pub(super) fn models() {
    for model in &NAMES {
        let aliases = if model.aliases.is_empty() {
            String::new()
        } else {
            format!(" (also {})", model.aliases.join(", "))
        };
        say(&format!("{}{aliases}\n    {}", model.name, model.about));
    }
    for (name, about) in TRANSACTIONS {
        say(&format!("{name}\n    {about}"));
    }
    for (_, name, others, about) in INVARIANTS {
        say(&format!("{name} (also {})\n    {about}", others.join(", ")));
    }
    for model in &MODELS {
        say(&format!("{} (also {})\n    {}", model.name, model.aliases.join(", "), model.about));
        for (name, about) in model.promises {
            say(&format!("    --level {name}: {about}"));
        }
    }
}

/// The same, a line of JSON each.
pub(super) fn models_json() {
    let tell = |kind: &str, name: &str, aliases: &[&str], about: &str, levels: &[&str]| {
        let line = json!({"kind": kind, "model": name, "aliases": aliases, "about": about, "levels": levels});
        say(&line.to_string());
    };
    for model in &NAMES {
        tell("object", model.name, model.aliases, model.about, &[]);
    }
    for (name, about) in TRANSACTIONS {
        tell("transactions", name, &[], about, &[]);
    }
    for (_, name, aliases, about) in INVARIANTS {
        tell("invariant", name, aliases, about, &[]);
    }
    for model in &MODELS {
        let levels: Vec<&str> = model.promises.iter().map(|(name, _)| *name).collect();
        tell("promises", model.name, model.aliases, model.about, &levels);
    }
}

/// The levels, stronger ones first.
pub(super) fn levels() {
    for level in Level::all().collect::<Vec<_>>().into_iter().rev() {
        let row = level.row();
        let aliases = if row.aliases.is_empty() {
            String::new()
        } else {
            format!(" (also {})", row.aliases.join(", "))
        };
        let above = if row.weaker.is_empty() {
            "the weakest".to_owned()
        } else {
            format!("above {}", row.weaker.join(", "))
        };
        say(&format!("{}{aliases}\n    {above}", row.name));
    }
}

/// The same, a line of JSON each.
pub(super) fn levels_json() {
    for level in Level::all().collect::<Vec<_>>().into_iter().rev() {
        let row = level.row();
        say(&json!({"level": row.name, "aliases": row.aliases, "above": row.weaker}).to_string());
    }
}
