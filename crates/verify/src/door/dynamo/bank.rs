//! A bank whose accounts are items. A transfer says what is added and what is taken, under the condition that there is enough:
//! nothing is read before.

use super::{Dynamo, item, key, of_read, of_write};
use crate::op::{Ended, Op};
use crate::workload::ACCOUNTS;
use serde_json::{Value, json};

fn account(number: &Value) -> Value {
    json!(format!("account{number}"))
}

impl Dynamo {
    /// Puts money into all accounts, unless somebody has.
    pub(super) async fn open_bank(&mut self, op: &Op) -> Ended {
        let (accounts, balance) = (op.value[0].as_u64().unwrap_or(0), &op.value[1]);
        let put = |number| {
            let put = json!({ "TableName": self.table, "Item": item(&account(&json!(number)), balance),
                "ConditionExpression": "attribute_not_exists(k)" });
            json!({ "Put": put })
        };
        let puts = (0..accounts).map(put).collect();
        match self.write_together(puts).await {
            Ok(()) => Ended::ok(op.value.clone(), None),
            Err(trouble) => of_write(&trouble),
        }
    }

    /// All balances at one moment; none of a bank that is not open.
    pub(super) async fn read_bank(&mut self) -> Ended {
        let accounts: Vec<Value> = (0..ACCOUNTS).map(|number| account(&json!(number))).collect();
        match self.read_together(&accounts).await {
            Ok(balances) if balances.iter().all(Value::is_null) => Ended::ok(json!([]), None),
            Ok(balances) => Ended::ok(balances, None),
            Err(trouble) => of_read(&trouble),
        }
    }

    /// Moves money, if there is enough of it.
    pub(super) async fn transfer(&mut self, op: &Op) -> Ended {
        let (from, to, amount) = (&op.value[0], &op.value[1], &op.value[2]);
        let update = |number: &Value, sign: &str, condition: &str| {
            json!({ "Update": {
                "TableName": self.table,
                "Key": key(&account(number)),
                "UpdateExpression": format!("SET v = v {sign} :amount"),
                "ConditionExpression": condition,
                "ExpressionAttributeValues": { ":amount": { "N": amount.to_string() } },
            } })
        };
        let writes = vec![update(from, "-", "v >= :amount"), update(to, "+", "attribute_exists(v)")];
        match self.write_together(writes).await {
            Ok(()) => Ended::ok(op.value.clone(), None),
            Err(trouble) => of_write(&trouble),
        }
    }
}
