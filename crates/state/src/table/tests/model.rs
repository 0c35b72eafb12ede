//! Maps that say what tables should: the plainest rules, one operation after the other.

use super::*;

/// Partition and sort key of an item.
pub(super) type Key = (String, i64);

#[derive(Default, Clone)]
pub(super) struct ModelTable {
    pub(super) items: BTreeMap<Key, Item>,
    /// The global index that is added and taken away.
    pub(super) later: bool,
    /// The change feed that it has now.
    pub(super) feed: Option<u64>,
    /// What the entry under way has changed.
    pub(super) changes: Vec<Change3>,
}

/// An item's key, and the item before and behind.
pub(super) type Change3 = (Key, Option<Item>, Option<Item>);

/// A change feed: its records with their entries.
#[derive(Default)]
pub(super) struct ModelFeed {
    pub(super) records: Vec<(u64, Change3)>,
    pub(super) ended: Option<u64>,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) tables: BTreeMap<String, ModelTable>,
    /// Tokens that have done their work: until when, and for what.
    pub(super) tokens: BTreeMap<Bytes, (u64, Bytes)>,
    /// Change feeds by their tables' names and their labels.
    pub(super) feeds: BTreeMap<(String, u64), ModelFeed>,
    /// Entries that noted the time.
    pub(super) notes: Vec<(u64, u64)>,
    pub(super) horizon: u64,
}

pub(super) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.into())
}

pub(super) fn item(pairs: &[(&str, AttributeValue)]) -> Item {
    Item(pairs.iter().map(|(name, value)| ((*name).to_string(), value.clone())).collect())
}

pub(super) fn key_item(key: &Key) -> Item {
    item(&[("p", s(&key.0)), ("q", n(key.1))])
}

pub(super) fn index(name: &str, hash: &str, range: Option<&str>, projected: Projected) -> TableIndex {
    TableIndex {
        name: name.into(),
        id: 0,
        keys: KeyNames { hash: vec![hash.into()], range: range.into_iter().map(String::from).collect() },
        projected,
        throughput: Throughput::default(),
        capacity: Capacity::default(),
        state: IndexState::Active,
    }
}

pub(super) fn definition(name: &str) -> Definition {
    let scalar = |name: &str, scalar| (name.to_string(), scalar);
    Definition {
        name: name.into(),
        attributes: vec![
            scalar("p", Scalar::S),
            scalar("q", Scalar::N),
            scalar("l", Scalar::N),
            scalar("g", Scalar::S),
        ],
        keys: KeyNames { hash: vec!["p".into()], range: vec!["q".into()] },
        locals: vec![index("local", "p", Some("l"), Projected::KeysOnly)],
        globals: vec![index("global", "g", Some("q"), Projected::Include(vec!["v".into()]))],
        ..Definition::default()
    }
}

/// What stands behind an operation on `old`, by the plainest rules; `None`: its condition does not hold.
#[allow(clippy::option_option, reason = "the outer one says whether the condition holds")]
pub(super) fn model_op(op: &Asked, old: Option<&Item>) -> Option<Option<Item>> {
    let holds = match &op.condition {
        Held::Always => true,
        Held::Exists => old.is_some(),
        Held::Absent => old.is_none(),
        Held::Value(v) => old.is_some_and(|item| item.get("v") == Some(&n(*v))),
    };
    if !holds {
        return None;
    }
    Some(match &op.what {
        Doing::Put(item) => Some(item.clone()),
        Doing::Delete => None,
        Doing::Check => old.cloned(),
        Doing::Set(v) => {
            let mut item = old.cloned().unwrap_or_else(|| key_item(&op.key));
            item.0.insert("v".into(), n(*v));
            Some(item)
        }
        Doing::Add(v) => {
            let mut item = old.cloned().unwrap_or_else(|| key_item(&op.key));
            let before = match item.get("v") {
                Some(AttributeValue::N(number)) => number.to_i64().unwrap(),
                _ => 0,
            };
            item.0.insert("v".into(), n(before + v));
            Some(item)
        }
    })
}

#[derive(Clone, Debug)]
pub(super) enum Held {
    Always,
    Exists,
    Absent,
    Value(i64),
}

#[derive(Clone, Debug)]
pub(super) enum Doing {
    Put(Item),
    Delete,
    Check,
    Set(i64),
    Add(i64),
}

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) table: String,
    pub(super) key: Key,
    pub(super) condition: Held,
    pub(super) what: Doing,
}

impl Asked {
    pub(super) fn random(rng: &mut Rng) -> Self {
        let key = (format!("p{}", rng.below(4)), rng.below(8) as i64 - 3);
        let what = match rng.below(6) {
            0 | 1 => {
                let mut item = key_item(&key);
                item.0.insert("v".into(), n(rng.below(4) as i64));
                if rng.chance(2, 3) {
                    item.0.insert("l".into(), n(rng.below(5) as i64));
                }
                if rng.chance(2, 3) {
                    let g = if rng.chance(1, 2) { "x" } else { "y" };
                    item.0.insert("g".into(), s(g));
                }
                item.0.insert("rest".into(), s(&"r".repeat(rng.below(30) as usize)));
                Doing::Put(item)
            }
            2 => Doing::Delete,
            3 => Doing::Check,
            4 => Doing::Set(rng.below(4) as i64),
            _ => Doing::Add(rng.below(4) as i64),
        };
        let condition = match rng.below(6) {
            0 => Held::Exists,
            1 => Held::Absent,
            2 => Held::Value(rng.below(4) as i64),
            _ => Held::Always,
        };
        Self { table: format!("t{}", rng.below(3)), key, condition, what }
    }

    pub(super) fn op(&self) -> Op {
        let (path, value) = (Path::attribute("v"), |v: i64| Operand::Value(n(v)));
        let condition = match &self.condition {
            Held::Always => None,
            Held::Exists => Some(Condition::Exists(Path::attribute("p"))),
            Held::Absent => Some(Condition::NotExists(Path::attribute("p"))),
            Held::Value(v) => {
                Some(Condition::Compare(Comparator::Eq, Operand::Path(path.clone()), value(*v)))
            }
        };
        let key: Bytes = key_item(&self.key).encode().into();
        let update = |update: Update| Action::Update { key: key.clone(), update: update.encode().into() };
        let action = match &self.what {
            Doing::Put(item) => Action::Put { item: item.encode().into() },
            Doing::Delete => Action::Delete { key },
            Doing::Check => Action::Check { key },
            Doing::Set(v) => update(Update { set: vec![(path, Source::Value(n(*v)))], ..Update::default() }),
            Doing::Add(v) => update(Update { add: vec![(path, n(*v))], ..Update::default() }),
        };
        Op {
            table: self.table.clone(),
            action,
            condition: condition.map(|condition| condition.encode().into()),
            returns: Returns::AllOld,
            old_on_failure: true,
        }
    }
}

pub(super) fn run(tables: &mut BTreeMap<String, ModelTable>, asked: &Asked) -> (Outcome, Option<Item>) {
    let Some(table) = tables.get_mut(&asked.table) else {
        return (Outcome::NoTable(asked.table.clone()), None);
    };
    let old = table.items.get(&asked.key).cloned();
    match model_op(asked, old.as_ref()) {
        None => (Outcome::ConditionFailed, old),
        Some(new) => {
            if new != old {
                table.changes.push((asked.key.clone(), old.clone(), new.clone()));
            }
            match new {
                Some(item) => table.items.insert(asked.key.clone(), item),
                None => table.items.remove(&asked.key),
            };
            let told = if matches!(asked.what, Doing::Check) { None } else { old };
            (Outcome::Done, told)
        }
    }
}
