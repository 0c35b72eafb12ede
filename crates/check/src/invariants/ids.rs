//! Unique ids: each `generate` that is acknowledged returns one, and no two the same. An id whose giving-out was never heard of
//! cannot be checked, and is not missed. A `generate-batch` returns a list of ids; else a list is one id, of several parts.

use super::{Looked, Stop, bad, function, members, unknown};
use crate::budget::Budget;
use crate::history::{History, Outcome};
use crate::table::Table;
use crate::value::Value;

pub(super) fn look(history: &History, looked: &mut Looked, budget: &mut Budget<'_>) -> Result<(), Stop> {
    let mut given: Table<Value, u32> = Table::default();
    let mut ids = 0_u64;
    for (place, operation) in history.operations.iter().enumerate() {
        budget.step()?;
        let batch = match function(history, operation) {
            "generate" | "next" | "id" => false,
            "generate-batch" | "batch" | "ids" => true,
            _ => return Err(unknown(history, place, "generate, generate-batch")),
        };
        if operation.outcome != Outcome::Ok {
            continue;
        }
        if operation.result == Value::NIL {
            return Err(bad(
                history,
                place,
                "this returned no id".to_owned(),
                "the value of an ok is the id",
            ));
        }
        // A vector is one id of several parts, unless several ids were asked for.
        let all = if batch { members(history, operation.result) } else { vec![operation.result] };
        for id in all {
            budget.step()?;
            budget.take(16)?;
            ids += 1;
            let place = place as u32;
            if let Some(first) = given.insert(id, place) {
                looked.violation(DUPLICATED, &[first, place], || {
                    format!("{} was given out twice.", history.values.show(id))
                });
            }
        }
    }
    looked.notes.push(format!("{ids} ids"));
    if ids == 0 {
        looked.blind = Some("no id was given out".to_owned());
    }
    Ok(())
}

const DUPLICATED: (&str, &str) = ("duplicated", "an id was given out twice");
