//! Transactions that append to lists and read them. Reads are one request at one moment; appends are one request that says what
//! is added, whatever is there. One that does both reads first, and writes if all is as it was.

use super::{Dynamo, expect, key, of_read, of_write, plain};
use crate::op::{Ended, Kind, Op};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

impl Dynamo {
    /// Does a transaction. The result is its value, with what was read.
    pub(super) async fn txn(&mut self, op: &Op) -> Ended {
        let steps = op.value.as_array().map_or(&[][..], Vec::as_slice);
        let mut added: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
        let mut named = BTreeSet::new();
        for step in steps {
            let Some(list) = step[1].as_i64() else { return Ended::failed("a list has a number") };
            named.insert(list);
            if step[0] == "append" {
                added.entry(list).or_default().push(step[2].clone());
            }
        }
        let reads = steps.iter().any(|step| step[0] == "r");
        if !reads {
            return self.append(op, &added).await;
        }
        let lists: Vec<i64> = named.into_iter().collect();
        let found = match self.look(&lists).await {
            Ok(found) => found,
            Err(ended) => return ended,
        };
        let mut now: BTreeMap<i64, Value> = lists.iter().copied().zip(found.iter().cloned()).collect();
        let done = applied(steps, &mut now);
        if added.is_empty() {
            return Ended::ok(done, None);
        }
        let write = |(list, old): (&i64, &Value)| {
            let mut write = json!({ "TableName": self.table, "Key": key(&name(*list)) });
            expect(&mut write, old);
            if let Some(elements) = added.get(list) {
                append_to(&mut write, elements);
                return json!({ "Update": write });
            }
            json!({ "ConditionCheck": write })
        };
        let writes = lists.iter().zip(&found).map(write).collect();
        match self.write_together(writes).await {
            Ok(()) => Ended::ok(done, None),
            Err(trouble) => of_transaction(of_write(&trouble)),
        }
    }

    /// One list is read as an item, several in one transaction.
    async fn look(&mut self, lists: &[i64]) -> Result<Vec<Value>, Ended> {
        let keys: Vec<Value> = lists.iter().map(|&list| name(list)).collect();
        let found = match &keys[..] {
            [one] => {
                let body = json!({ "TableName": self.table, "Key": key(one), "ConsistentRead": true });
                self.call("GetItem", &body).await.map(|reply| vec![plain(&reply["Item"]["v"])])
            }
            _ => self.read_together(&keys).await,
        };
        found.map_err(|trouble| of_read(&trouble))
    }

    /// Adds elements to lists. A single list is an item's update in half of the cases.
    async fn append(&mut self, op: &Op, added: &BTreeMap<i64, Vec<Value>>) -> Ended {
        let mut writes = Vec::new();
        for (list, elements) in added {
            let mut write = json!({ "TableName": self.table, "Key": key(&name(*list)) });
            append_to(&mut write, elements);
            writes.push(write);
        }
        let alone = writes.len() == 1 && op.value[0][2].as_i64().is_some_and(|element| element % 2 == 0);
        let done = match writes.pop() {
            Some(write) if alone => self.call("UpdateItem", &write).await.map(drop),
            last => {
                let writes = writes.into_iter().chain(last).map(|write| json!({ "Update": write })).collect();
                self.write_together(writes).await
            }
        };
        match done {
            Ok(()) => Ended::ok(op.value.clone(), None),
            Err(trouble) => of_write(&trouble),
        }
    }
}

fn name(list: i64) -> Value {
    json!(format!("a{list}"))
}

fn append_to(write: &mut Value, elements: &[Value]) {
    write["UpdateExpression"] = json!("SET v = list_append(if_not_exists(v, :none), :new)");
    write["ExpressionAttributeValues"][":none"] = json!({ "L": [] });
    write["ExpressionAttributeValues"][":new"] = super::attribute(&json!(elements));
}

/// What the steps read, one after the other, of lists as they were.
fn applied(steps: &[Value], lists: &mut BTreeMap<i64, Value>) -> Vec<Value> {
    let step = |step: &Value| {
        let list = step[1].as_i64().and_then(|list| lists.get_mut(&list));
        match (step[0] == "append", list) {
            (true, Some(list)) => {
                if !list.is_array() {
                    *list = json!([]);
                }
                if let Some(list) = list.as_array_mut() {
                    list.push(step[2].clone());
                }
                step.clone()
            }
            (_, list) => {
                json!(["r", step[1], list.filter(|list| list.is_array()).cloned().unwrap_or(json!([]))])
            }
        }
    };
    steps.iter().map(step).collect()
}

/// A transaction that met another one did nothing, and says nothing of any item.
fn of_transaction(ended: Ended) -> Ended {
    if ended.kind == Kind::Fail && ended.error.is_none() {
        return Ended::failed("another transaction came between");
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_sees_what_it_has_added() {
        let steps =
            [json!(["r", 1, null]), json!(["append", 1, 9]), json!(["r", 1, null]), json!(["r", 2, null])];
        let mut lists = BTreeMap::from([(1, json!([4])), (2, Value::Null)]);
        let done = applied(&steps, &mut lists);
        assert_eq!(json!(done), json!([["r", 1, [4]], ["append", 1, 9], ["r", 1, [4, 9]], ["r", 2, []]]));
    }
}
