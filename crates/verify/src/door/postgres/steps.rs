//! What each operation is in SQL. Every one is a transaction of the asked isolation, and takes its decisions on the client's
//! side where a program would: reads what is there, computes, writes the result. That is what isolation is there for.

use super::{Session, Trouble};
use crate::op::Op;
use serde_json::{Map, Value, json};

/// The tables of all workloads.
pub(super) const TABLES: &str = "\
    CREATE TABLE IF NOT EXISTS lists (k bigint PRIMARY KEY, v text NOT NULL);\
    CREATE TABLE IF NOT EXISTS rows (k bigint PRIMARY KEY, v bigint NOT NULL);\
    CREATE TABLE IF NOT EXISTS registers (k text PRIMARY KEY, v bigint NOT NULL);\
    CREATE TABLE IF NOT EXISTS members (s text, e bigint, PRIMARY KEY (s, e));\
    CREATE TABLE IF NOT EXISTS accounts (a bigint PRIMARY KEY, balance bigint NOT NULL);\
    CREATE SEQUENCE IF NOT EXISTS ids";

impl Session {
    /// Does it, inside a transaction; the result is the operation's value.
    pub(super) async fn steps(&mut self, op: &Op) -> Result<Value, Trouble> {
        match op.f.as_str() {
            "txn" => self.lists(op).await,
            "rows" => self.rows(op).await,
            "read" => self.register(op).await,
            "write" => self.write(op).await,
            "cas" => self.cas(op).await,
            "add" => self.add(op).await,
            "read-set" => self.read_set(op).await,
            "generate" => Ok(json!(number(&self.query("SELECT nextval('ids')").await?))),
            "open" => self.open_bank(op).await,
            "read-bank" => self.balances().await,
            "transfer" => self.transfer(op).await,
            other => Err(Trouble::Refused(format!("this door knows no {other}"))),
        }
    }

    /// Appends to lists and reads of lists.
    async fn lists(&mut self, op: &Op) -> Result<Value, Trouble> {
        let mut done = Vec::new();
        for step in op.value.as_array().into_iter().flatten() {
            let (Some(f), Some(key)) = (step[0].as_str(), step[1].as_i64()) else {
                return Err(Trouble::Refused(format!("{step} is no step")));
            };
            if f == "r" {
                let rows = self.query(&format!("SELECT v FROM lists WHERE k = {key}")).await?;
                let list: Option<Vec<i64>> =
                    rows.first().map(|text| text.split(',').filter_map(|n| n.parse().ok()).collect());
                done.push(json!(["r", key, list]));
            } else {
                let element = step[2].as_i64().unwrap_or(0);
                let add = format!(
                    "INSERT INTO lists (k, v) VALUES ({key}, '{element}') \
                     ON CONFLICT (k) DO UPDATE SET v = lists.v || ',{element}'"
                );
                self.query(&add).await?;
                done.push(step.clone());
            }
        }
        Ok(done.into())
    }

    /// Inserts and deletes of rows, reads of rows and ranges.
    async fn rows(&mut self, op: &Op) -> Result<Value, Trouble> {
        let mut done = Vec::new();
        for step in op.value.as_array().into_iter().flatten() {
            let (Some(f), Some(row)) = (step[0].as_str(), step[1].as_i64()) else {
                return Err(Trouble::Refused(format!("{step} is no step")));
            };
            let second = step[2].as_i64().unwrap_or(row);
            let mut step = step.clone();
            match f {
                "insert" => {
                    self.query(&format!("INSERT INTO rows (k, v) VALUES ({row}, {second})")).await?;
                }
                "delete" => {
                    let gone = self.query(&format!("DELETE FROM rows WHERE k = {row} RETURNING k")).await?;
                    if gone.is_empty() {
                        return Err(Trouble::Refused(format!("row {row} is not there")));
                    }
                }
                "scan" => {
                    let range = format!("SELECT k || ':' || v FROM rows WHERE k BETWEEN {row} AND {second}");
                    let rows = self.query(&range).await?;
                    let pair = |text: &String| {
                        let (row, value) = text.split_once(':')?;
                        Some((row.to_string(), json!(value.parse::<i64>().ok()?)))
                    };
                    step[3] = Value::Object(rows.iter().filter_map(pair).collect::<Map<_, _>>());
                }
                _ => step[2] = json!(number(&self.query(&read("rows", &row.to_string())).await?)),
            }
            done.push(step);
        }
        Ok(done.into())
    }

    async fn register(&mut self, op: &Op) -> Result<Value, Trouble> {
        Ok(json!(number(&self.query(&read("registers", &text(&op.key))).await?)))
    }

    async fn write(&mut self, op: &Op) -> Result<Value, Trouble> {
        let key = text(&op.key);
        let sql = match op.value.as_i64() {
            None => format!("DELETE FROM registers WHERE k = {key}"),
            Some(value) => {
                format!(
                    "INSERT INTO registers VALUES ({key}, {value}) ON CONFLICT (k) DO UPDATE SET v = {value}"
                )
            }
        };
        self.query(&sql).await?;
        Ok(op.value.clone())
    }

    async fn cas(&mut self, op: &Op) -> Result<Value, Trouble> {
        let (Some(old), Some(new)) = (op.value[0].as_i64(), op.value[1].as_i64()) else {
            return Err(Trouble::Refused("a compare-and-set takes [old new]".into()));
        };
        let key = text(&op.key);
        let swap = format!("UPDATE registers SET v = {new} WHERE k = {key} AND v = {old} RETURNING k");
        if self.query(&swap).await?.is_empty() { Err(Trouble::Met) } else { Ok(op.value.clone()) }
    }

    async fn add(&mut self, op: &Op) -> Result<Value, Trouble> {
        let element = op.value.as_i64().unwrap_or(0);
        self.query(&format!("INSERT INTO members VALUES ({}, {element})", text(&op.key))).await?;
        Ok(op.value.clone())
    }

    async fn read_set(&mut self, op: &Op) -> Result<Value, Trouble> {
        let rows = self.query(&format!("SELECT e FROM members WHERE s = {}", text(&op.key))).await?;
        Ok(rows.iter().filter_map(|row| row.parse::<i64>().ok()).collect())
    }

    async fn open_bank(&mut self, op: &Op) -> Result<Value, Trouble> {
        if !self.query("SELECT a FROM accounts").await?.is_empty() {
            return Err(Trouble::Met);
        }
        let (accounts, balance) = (op.value[0].as_i64().unwrap_or(0), op.value[1].as_i64().unwrap_or(0));
        let fill =
            format!("INSERT INTO accounts SELECT a, {balance} FROM generate_series(0, {}) a", accounts - 1);
        self.query(&fill).await?;
        Ok(op.value.clone())
    }

    async fn balances(&mut self) -> Result<Value, Trouble> {
        let rows = self.query("SELECT balance FROM accounts ORDER BY a").await?;
        Ok(rows.iter().filter_map(|row| row.parse::<i64>().ok()).collect())
    }

    async fn transfer(&mut self, op: &Op) -> Result<Value, Trouble> {
        let (Some(from), Some(to), Some(amount)) =
            (op.value[0].as_i64(), op.value[1].as_i64(), op.value[2].as_i64())
        else {
            return Err(Trouble::Refused("a transfer takes [from to amount]".into()));
        };
        let mut after = Vec::new();
        for (account, change) in [(from, -amount), (to, amount)] {
            let held =
                number(&self.query(&format!("SELECT balance FROM accounts WHERE a = {account}")).await?);
            let Some(held) = held else { return Err(Trouble::Refused("the bank is not open".into())) };
            if held + change < 0 {
                return Err(Trouble::Met);
            }
            after.push((account, held + change));
        }
        // In the order of accounts, so that two transfers that cross do not wait for each other.
        after.sort_unstable();
        for (account, balance) in after {
            self.query(&format!("UPDATE accounts SET balance = {balance} WHERE a = {account}")).await?;
        }
        Ok(op.value.clone())
    }
}

fn read(table: &str, key: &str) -> String {
    format!("SELECT v FROM {table} WHERE k = {key}")
}

fn number(rows: &[String]) -> Option<i64> {
    rows.first()?.parse().ok()
}

/// A key as a literal.
fn text(key: &Value) -> String {
    format!("'{}'", key.as_str().unwrap_or("").replace('\'', "''"))
}
