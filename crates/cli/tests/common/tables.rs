//! A client of the DynamoDB door that asks one thing after the other.

use quorate_client::dynamo::{Operation, Trouble, call};
use quorate_client::http::Link;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How long a connection, and how long an answer, may take.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(20);

/// No table of a test has so many pages.
const PAGES_MAX: usize = 2_000;

/// One table, at one or more nodes.
pub(crate) struct Table {
    name: String,
    links: Vec<Link>,
    operations: BTreeMap<&'static str, Operation>,
    runtime: Runtime,
}

impl Table {
    /// At these endpoints, numbered from 0.
    pub(crate) fn at(name: &str, urls: &[&str]) -> Self {
        let links = urls.iter().map(|url| Link::new(url, CONNECT, ANSWER)).collect();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { name: name.into(), links, operations: BTreeMap::new(), runtime }
    }

    /// Asks one of the nodes about the table.
    pub(crate) fn try_ask(
        &mut self,
        node: usize,
        what: &'static str,
        mut body: Value,
    ) -> Result<Value, Trouble> {
        if !what.starts_with("Batch") && !what.starts_with("Transact") {
            body["TableName"] = json!(self.name);
        }
        let operation = self.operations.entry(what).or_insert_with(|| Operation::named(what));
        let body = body.to_string();
        let answer = self.runtime.block_on(call(&mut self.links[node], operation, body.as_bytes()))?;
        Ok(serde_json::from_slice(answer).unwrap())
    }

    /// The same where it must be done.
    pub(crate) fn ask(&mut self, node: usize, what: &'static str, body: Value) -> Value {
        self.try_ask(node, what, body)
            .unwrap_or_else(|trouble| panic!("node {}: {what}: {trouble}", node + 1))
    }

    /// The same where it must be refused: the error's name, and what is said of it.
    pub(crate) fn refused(&mut self, node: usize, what: &'static str, body: Value) -> (String, String) {
        match self.try_ask(node, what, body) {
            Err(Trouble::Refused { name, text, .. }) => (name, text),
            other => panic!("node {}: {what} is not refused: {other:?}", node + 1),
        }
    }

    /// All pages of a query or scan, in their order.
    pub(crate) fn pages(&mut self, node: usize, what: &'static str, mut body: Value) -> Vec<Value> {
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut page = self.ask(node, what, body.clone());
            items.append(page["Items"].as_array_mut().unwrap());
            match page["LastEvaluatedKey"].take() {
                Value::Null => return items,
                last => body["ExclusiveStartKey"] = last,
            }
        }
        panic!("there is no end of pages");
    }
}
