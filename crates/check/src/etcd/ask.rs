//! What was asked of etcd, and what it answered: a history's values, understood.

use super::store::{NUMBERS, Range, Store};
use crate::history::Operation;
use crate::value::{Datum, Value, Values};

/// An operation, its answer, and of which revision that is.
pub(super) struct Asked {
    pub(super) place: u32,
    pub(super) ask: Ask,
    pub(super) told: Vec<Told>,
    pub(super) version: i64,
    pub(super) ok: bool,
}

#[derive(Debug)]
pub(super) enum Ask {
    Steps(Vec<Step>),
    Get { range: Range, revision: Option<i64>, serializable: bool },
    Txn { compares: Vec<Compare>, then: Vec<Step>, or: Vec<Step> },
    Revoke(i64),
}

#[derive(Debug)]
pub(super) enum Step {
    Put(String, Value, i64),
    Delete(Range),
    Get(Range),
}

#[derive(Debug)]
pub(super) struct Compare {
    pub(super) target: String,
    pub(super) key: String,
    pub(super) op: String,
    pub(super) what: Value,
}

/// The answer to one step.
#[derive(Debug)]
pub(super) enum Told {
    Nothing,
    Succeeded(bool),
    Count(i64),
    Held(Vec<Kv>),
}

/// What was told of a key; what was not told is not compared.
#[derive(Debug)]
pub(super) struct Kv {
    pub(super) key: String,
    pub(super) value: Option<Value>,
    pub(super) numbers: [Option<i64>; 4],
}

pub(super) fn text(value: Value, values: &Values) -> String {
    match values.datum(value) {
        Datum::Keyword(word) | Datum::Text(word) => word.to_string(),
        _ => values.show(value),
    }
}

pub(super) fn list(value: Value, values: &Values) -> &[Value] {
    match values.datum(value) {
        Datum::List(members) => members,
        _ => &[],
    }
}

pub(super) fn field(map: Value, name: &str, values: &Values) -> Option<Value> {
    let Datum::Map(pairs) = values.datum(map) else { return None };
    let named =
        |key: Value| matches!(values.datum(key), Datum::Keyword(word) | Datum::Text(word) if **word == *name);
    pairs.iter().find(|(key, _)| named(*key)).map(|(_, value)| *value).filter(|&value| value != Value::NIL)
}

pub(super) fn number(value: Value, values: &Values) -> Result<i64, String> {
    match values.datum(value) {
        Datum::Int(number) => Ok(*number),
        _ => Err(format!("a number should stand where {} stands", values.show(value))),
    }
}

pub(super) fn field_number(map: Value, name: &str, values: &Values) -> Result<Option<i64>, String> {
    field(map, name, values).map(|value| number(value, values)).transpose()
}

pub(super) fn truth(value: Option<Value>, values: &Values) -> bool {
    value.is_some_and(|value| *values.datum(value) == Datum::Bool(true))
}

impl Ask {
    pub(super) fn of(operation: &Operation, values: &Values) -> Result<Option<Self>, String> {
        let key = || text(operation.key, values);
        let options = operation.argument;
        let range = || match (field(options, "end", values), truth(field(options, "prefix", values), values))
        {
            (Some(end), _) => Range::From(key(), text(end, values)),
            (None, true) => Range::Prefix(key()),
            (None, false) => Range::One(key()),
        };
        Ok(Some(match text(operation.f, values).as_str() {
            "put" => match field(options, "value", values) {
                Some(value) => {
                    let lease = field_number(options, "lease", values)?.unwrap_or(0);
                    Self::Steps(vec![Step::Put(key(), value, lease)])
                }
                None => Self::Steps(vec![Step::Put(key(), options, 0)]),
            },
            "delete" => Self::Steps(vec![Step::Delete(range())]),
            "get" | "range" => Self::Get {
                range: range(),
                revision: field_number(options, "revision", values)?.filter(|&revision| revision > 0),
                serializable: truth(field(options, "serializable", values), values),
            },
            "txn" => {
                let part = |name| field(options, name, values).map_or(&[][..], |all| list(all, values));
                let steps =
                    |name| part(name).iter().map(|&it| Step::of(it, values)).collect::<Result<Vec<_>, _>>();
                let compares =
                    part("if").iter().map(|&it| Compare::of(it, values)).collect::<Result<_, _>>()?;
                Self::Txn { compares, then: steps("then")?, or: steps("else")? }
            }
            "revoke" => Self::Revoke(number(operation.argument, values)?),
            "grant" | "keepalive" | "compact" | "watch" => return Ok(None),
            _ => {
                return Err(format!(
                    "etcd knows put, delete, get, txn, grant, revoke, not {}",
                    values.show(operation.f)
                ));
            }
        }))
    }

    /// The answer, a part for each step.
    pub(super) fn told(&self, result: Value, values: &Values) -> Result<Vec<Told>, String> {
        match self {
            Self::Steps(steps) => steps.iter().map(|step| step.told(result, values)).collect(),
            Self::Get { .. } => Ok(vec![kvs(result, values)?]),
            Self::Revoke(_) => Ok(Vec::new()),
            Self::Txn { then, or, .. } => {
                let succeeded = truth(field(result, "succeeded", values), values);
                let steps = if succeeded { then } else { or };
                let results = field(result, "results", values).map_or(&[][..], |all| list(all, values));
                if results.len() != steps.len() {
                    return Err(format!("{} steps have {} results", steps.len(), results.len()));
                }
                let told = steps.iter().zip(results).map(|(step, &result)| step.told(result, values));
                std::iter::once(Ok(Told::Succeeded(succeeded))).chain(told).collect()
            }
        }
    }

    /// True where the answer says that it changed the store; `None` where it does not say.
    pub(super) fn changed(&self, told: &[Told]) -> Option<bool> {
        let step = |(step, told): (&Step, &Told)| match (step, told) {
            (Step::Put(..), _) => true,
            (Step::Delete(_), Told::Count(count)) => *count > 0,
            _ => false,
        };
        match (self, told.first()) {
            (Self::Steps(steps), _) => Some(steps.iter().zip(told).any(step)),
            (Self::Txn { then, .. }, Some(Told::Succeeded(true))) => {
                Some(then.iter().zip(&told[1..]).any(step))
            }
            (Self::Txn { or, .. }, Some(_)) => Some(or.iter().zip(&told[1..]).any(step)),
            (Self::Get { .. }, _) => Some(false),
            _ => None,
        }
    }
}

pub(super) fn kvs(result: Value, values: &Values) -> Result<Told, String> {
    let kv = |&it: &Value| {
        let mut numbers = [None; 4];
        for (number, name) in numbers.iter_mut().zip(NUMBERS) {
            *number = field_number(it, name, values)?;
        }
        let key = field(it, "key", values).ok_or_else(|| format!("{} tells no key", values.show(it)))?;
        Ok(Kv { key: text(key, values), value: field(it, "value", values), numbers })
    };
    list(result, values).iter().map(kv).collect::<Result<_, String>>().map(Told::Held)
}

impl Step {
    pub(super) fn of(step: Value, values: &Values) -> Result<Self, String> {
        let word = |value: &Value| text(*value, values);
        match list(step, values) {
            [put, key, value] if word(put) == "put" => Ok(Self::Put(word(key), *value, 0)),
            [put, key, value, lease] if word(put) == "put" => {
                Ok(Self::Put(word(key), *value, number(*lease, values)?))
            }
            [delete, key] if word(delete) == "delete" => Ok(Self::Delete(Range::One(word(key)))),
            [delete, key, end] if word(delete) == "delete" => {
                Ok(Self::Delete(Range::From(word(key), word(end))))
            }
            [get, key] if word(get) == "get" => Ok(Self::Get(Range::One(word(key)))),
            [get, key, end] if word(get) == "get" => Ok(Self::Get(Range::From(word(key), word(end)))),
            _ => Err(format!(
                "{} is no step: write [put key value], [delete key] or [get key]",
                values.show(step)
            )),
        }
    }

    pub(super) fn told(&self, result: Value, values: &Values) -> Result<Told, String> {
        match self {
            Self::Put(..) => Ok(Told::Nothing),
            Self::Delete(_) => number(result, values).map(Told::Count),
            Self::Get(_) => kvs(result, values),
        }
    }
}

impl Compare {
    pub(super) fn of(compare: Value, values: &Values) -> Result<Self, String> {
        match list(compare, values) {
            [target, key, op, what] => Ok(Self {
                target: text(*target, values),
                key: text(*key, values),
                op: text(*op, values),
                what: *what,
            }),
            _ => Err(format!("{} is no comparison: write [target key op what]", values.show(compare))),
        }
    }

    pub(super) fn holds(&self, store: &Store, values: &Values) -> bool {
        let held = store.at(&self.key, i64::MAX);
        let order = if self.target == "value" {
            // An absent key has no value to compare.
            let Some(held) = held.and_then(|held| held.value) else { return false };
            if held == self.what {
                std::cmp::Ordering::Equal
            } else {
                text(held, values).cmp(&text(self.what, values))
            }
        } else {
            let place = NUMBERS.iter().position(|name| *name == self.target).unwrap_or(0);
            let held = held.map_or(0, |held| held.numbers()[place]);
            held.cmp(&number(self.what, values).unwrap_or(0))
        };
        match self.op.as_str() {
            "=" | "==" => order.is_eq(),
            "!=" => order.is_ne(),
            "<" => order.is_lt(),
            _ => order.is_gt(),
        }
    }
}
