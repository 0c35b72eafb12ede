//! Consumed capacity, computed as the service computes it: it bounds nothing here.

use crate::body::Params;
use crate::failure::Answered;
use crate::limits::Constraints;
use quorate_wire::table::Done;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What an answer tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    Total,
    Indexes,
}

impl Told {
    pub(crate) fn read(params: Params<'_>, constraints: &mut Constraints) -> Answered<Self> {
        let word = params.text("ReturnConsumedCapacity")?;
        constraints.word(word, "returnConsumedCapacity", &["INDEXES", "TOTAL", "NONE"]);
        Ok(match word {
            Some("TOTAL") => Self::Total,
            Some("INDEXES") => Self::Indexes,
            _ => Self::Nothing,
        })
    }
}

/// Units of one table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Units {
    table: f64,
    locals: BTreeMap<String, f64>,
    globals: BTreeMap<String, f64>,
}

/// Units of a read of so many bytes: one for each 4 KB, or half of one where an older state will do.
pub(crate) fn read_units(bytes: usize, consistent: bool) -> f64 {
    let units = bytes.div_ceil(4096).max(1) as f64;
    if consistent { units } else { units / 2.0 }
}

impl Units {
    /// Of a table's reads.
    pub(crate) fn of_table(units: f64) -> Self {
        Self { table: units, ..Self::default() }
    }

    /// Of an index' reads.
    pub(crate) fn of_index(name: &str, local: bool, units: f64) -> Self {
        let index = BTreeMap::from([(name.to_string(), units)]);
        if local {
            Self { locals: index, ..Self::default() }
        } else {
            Self { globals: index, ..Self::default() }
        }
    }

    /// Of a write, which counts twice in a transaction. What it changes in indexes counts once in any case.
    pub(crate) fn of_write(done: &Done, times: u64) -> Self {
        let mut units = Self::of_table((done.bytes.div_ceil(1024).max(1) * times) as f64);
        for (name, global, of_index) in &done.indexes {
            let map = if *global { &mut units.globals } else { &mut units.locals };
            *map.entry(name.clone()).or_default() += *of_index as f64;
        }
        units
    }

    /// Both together.
    pub(crate) fn add(&mut self, other: Self) {
        self.table += other.table;
        for (to, from) in [(&mut self.locals, other.locals), (&mut self.globals, other.globals)] {
            for (name, units) in from {
                *to.entry(name).or_default() += units;
            }
        }
    }

    fn total(&self) -> f64 {
        self.table + self.locals.values().sum::<f64>() + self.globals.values().sum::<f64>()
    }

    /// As an answer tells it; `kind` names the units of a transaction.
    pub(crate) fn told(&self, table: &str, told: Told, kind: Option<&str>) -> Value {
        let units = |n: f64| {
            let mut out = Map::from_iter([("CapacityUnits".to_string(), json!(n))]);
            if let Some(kind) = kind {
                out.insert(kind.into(), json!(n));
            }
            out
        };
        let mut out = units(self.total());
        out.insert("TableName".into(), json!(table));
        if told == Told::Indexes {
            out.insert("Table".into(), Value::Object(units(self.table)));
            for (name, map) in
                [("LocalSecondaryIndexes", &self.locals), ("GlobalSecondaryIndexes", &self.globals)]
            {
                if !map.is_empty() {
                    let of = map.iter().map(|(name, n)| (name.clone(), Value::Object(units(*n))));
                    out.insert(name.into(), Value::Object(of.collect()));
                }
            }
        }
        Value::Object(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::table::Outcome;

    #[test]
    fn units_are_the_service_s() {
        assert_eq!(json!([1, 4096, 4097].map(|n| read_units(n, true))), json!([1.0, 1.0, 2.0]));
        assert_eq!(json!([0, 8192].map(|n| read_units(n, false))), json!([0.5, 1.0]));
        let done = Done {
            bytes: 1025,
            indexes: vec![("g".into(), true, 2), ("l".into(), false, 1)],
            ..Done::of(Outcome::Done)
        };
        let told = Units::of_write(&done, 2).told("t", Told::Indexes, None);
        assert_eq!(told["CapacityUnits"], json!(7.0));
        assert_eq!(told["GlobalSecondaryIndexes"]["g"]["CapacityUnits"], json!(2.0));
        assert_eq!(told["Table"]["CapacityUnits"], json!(4.0));
    }
}
