//! A table's change feed: writes that say what was there before, and reads of all that was recorded.

use super::{Dynamo, item, key, of_read, of_write, plain};
use crate::op::{Ended, Op};
use quorate_client::dynamo::Trouble;
use serde_json::{Value, json};

impl Dynamo {
    /// A write, or for null a deletion: what it wrote, and what was there before.
    pub(super) async fn change(&mut self, op: &Op) -> Ended {
        let mut body = json!({ "TableName": self.table, "ReturnValues": "ALL_OLD" });
        let done = if op.value.is_null() {
            body["Key"] = key(&op.key);
            self.call("DeleteItem", &body).await
        } else {
            body["Item"] = item(&op.key, &op.value);
            self.call("PutItem", &body).await
        };
        match done {
            Ok(reply) => Ended::ok(json!({ "new": op.value, "old": plain(&reply["Attributes"]["v"]) }), None),
            Err(trouble) => of_write(&trouble),
        }
    }

    /// All records behind those that the operation names, of each shard in order: shard, number, key, what happened, the value before
    /// and the value behind.
    pub(super) async fn stream(&mut self, op: &Op) -> Ended {
        match self.records(&op.value["after"]).await {
            Ok(records) => Ended::ok(records, None),
            Err(trouble) => of_read(&trouble),
        }
    }

    async fn records(&mut self, after: &Value) -> Result<Vec<Value>, Trouble> {
        let table = self.call("DescribeTable", &json!({ "TableName": self.table })).await?;
        let arn = table["Table"]["LatestStreamArn"].clone();
        let mut records = Vec::new();
        for shard in self.stream_shards(&arn).await? {
            let mut body = json!({ "StreamArn": arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON" });
            if let Some(number) = shard.as_str().and_then(|shard| after[shard].as_str()) {
                body["ShardIteratorType"] = json!("AFTER_SEQUENCE_NUMBER");
                body["SequenceNumber"] = json!(number);
            }
            let mut iterator = self.call("GetShardIterator", &body).await?["ShardIterator"].take();
            // To its end, however long it is: what is judged at last is all of it (an hour's feed was taken for one that lacks records).
            while !iterator.is_null() {
                let page = self.call("GetRecords", &json!({ "ShardIterator": iterator })).await?;
                iterator = take_page(&page, &shard, &mut records);
            }
        }
        Ok(records)
    }

    async fn stream_shards(&mut self, arn: &Value) -> Result<Vec<Value>, Trouble> {
        let (mut shards, mut body) = (Vec::new(), json!({ "StreamArn": arn }));
        loop {
            let page = self.call("DescribeStream", &body).await?["StreamDescription"].clone();
            let all = page["Shards"].as_array().into_iter().flatten();
            shards.extend(all.map(|shard| shard["ShardId"].clone()));
            let last = &page["LastEvaluatedShardId"];
            if last.is_null() {
                return Ok(shards);
            }
            body["ExclusiveStartShardId"] = last.clone();
        }
    }
}

/// Takes the records of a page, and where the next one begins; null at the end of what there is: behind a page without any, and where the
/// shard is closed, with that page's records.
fn take_page(page: &Value, shard: &Value, records: &mut Vec<Value>) -> Value {
    let found = page["Records"].as_array().map_or(&[][..], Vec::as_slice);
    let next = if found.is_empty() { Value::Null } else { page["NextShardIterator"].clone() };
    records.extend(found.iter().map(|record| told(shard, record)));
    next
}

/// A record, as the history has it.
fn told(shard: &Value, record: &Value) -> Value {
    let of = &record["dynamodb"];
    let (old, new) = (plain(&of["OldImage"]["v"]), plain(&of["NewImage"]["v"]));
    json!([shard, of["SequenceNumber"], of["Keys"]["k"]["S"], record["eventName"], old, new])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_ends_behind_its_last_record() {
        let record =
            |n: u64| json!({ "eventName": "INSERT", "dynamodb": { "SequenceNumber": n.to_string() } });
        let page = |records: Value, next: Value| json!({ "Records": records, "NextShardIterator": next });
        let (shard, mut records) = (json!("s"), Vec::new());
        // However many pages there are.
        for n in 0..100 {
            let next = take_page(&page(json!([record(n)]), json!("next")), &shard, &mut records);
            assert_eq!(next, "next", "{n}");
        }
        assert!(take_page(&page(json!([]), json!("next")), &shard, &mut records).is_null(), "an open shard");
        assert_eq!(records.len(), 100);
        let closed = take_page(&page(json!([record(100), record(101)]), Value::Null), &shard, &mut records);
        assert!(closed.is_null());
        assert_eq!(
            (records.len(), &records[101][1]),
            (102, &json!("101")),
            "with what a closed shard told at last"
        );
    }
}
