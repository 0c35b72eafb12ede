//! Requests as bytes, and what is understood of answers.

use serde_json::{Value, json};
use std::fmt;
use std::io::Write;
use std::ops::Range;

/// The tag that says how many shards a table has.
const SHARDS: &str = "quorate:shards";

/// Bodies of requests about one table.
pub(super) struct Body {
    table: String,
    /// The value of all items.
    value: String,
    consistent: bool,
}

impl Body {
    /// With values of so many bytes. `consistent` reads see the newest state.
    pub(super) fn new(table: &str, bytes: usize, consistent: bool) -> Self {
        Self { table: table.into(), value: "v".repeat(bytes), consistent }
    }

    /// With shards of its own if they are more than one.
    pub(super) fn create(&self, shards: u32) -> Vec<u8> {
        let attribute = r#""AttributeDefinitions":[{"AttributeName":"k","AttributeType":"S"}]"#;
        let key = r#""KeySchema":[{"AttributeName":"k","KeyType":"HASH"}]"#;
        let tags = match shards {
            1 => String::new(),
            _ => format!(r#","Tags":[{{"Key":"{SHARDS}","Value":"{shards}"}}]"#),
        };
        format!(r#"{{"TableName":"{}",{attribute},{key},"BillingMode":"PAY_PER_REQUEST"{tags}}}"#, self.table)
            .into()
    }

    /// Asks for the tags of a table that was described.
    pub(super) fn tags(described: &[u8]) -> Vec<u8> {
        let value: Value = serde_json::from_slice(described).unwrap_or_default();
        json!({ "ResourceArn": value["Table"]["TableArn"] }).to_string().into()
    }

    pub(super) fn describe(&self) -> Vec<u8> {
        format!(r#"{{"TableName":"{}"}}"#, self.table).into()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>, key: u64) {
        let (table, item) = (&self.table, self.item(key));
        written(out, format_args!(r#"{{"TableName":"{table}","Item":{item}}}"#));
    }

    pub(super) fn get(&self, out: &mut Vec<u8>, key: u64) {
        let (table, key, consistent) = (&self.table, Key(key), self.consistent);
        written(out, format_args!(r#"{{"TableName":"{table}","Key":{key},"ConsistentRead":{consistent}}}"#));
    }

    pub(super) fn update(&self, out: &mut Vec<u8>, key: u64) {
        let (table, key, value) = (&self.table, Key(key), &self.value);
        let update = r#""UpdateExpression":"SET v = :v","ExpressionAttributeValues":"#;
        let text =
            format_args!(r#"{{"TableName":"{table}","Key":{key},{update}{{":v":{{"S":"{value}"}}}}}}"#);
        written(out, text);
    }

    /// So many items behind one.
    pub(super) fn scan(&self, out: &mut Vec<u8>, behind: u64, items: u64) {
        let (table, key, consistent) = (&self.table, Key(behind), self.consistent);
        let page = format_args!(r#""ExclusiveStartKey":{key},"Limit":{items}"#).to_string();
        written(out, format_args!(r#"{{"TableName":"{table}",{page},"ConsistentRead":{consistent}}}"#));
    }

    pub(super) fn transact_put(&self, out: &mut Vec<u8>, keys: &[u64], token: Option<&str>) {
        let put = |key| format!(r#"{{"Put":{{"TableName":"{}","Item":{}}}}}"#, self.table, self.item(key));
        let puts = keys.iter().map(|&key| put(key)).collect::<Vec<_>>().join(",");
        let token = token.map(|token| format!(r#","ClientRequestToken":"{token}""#)).unwrap_or_default();
        written(out, format_args!(r#"{{"TransactItems":[{puts}]{token}}}"#));
    }

    pub(super) fn transact_get(&self, out: &mut Vec<u8>, keys: &[u64]) {
        let get = |key| format!(r#"{{"Get":{{"TableName":"{}","Key":{}}}}}"#, self.table, Key(key));
        let gets = keys.iter().map(|&key| get(key)).collect::<Vec<_>>().join(",");
        written(out, format_args!(r#"{{"TransactItems":[{gets}]}}"#));
    }

    /// Many items at once.
    pub(super) fn fill(&self, out: &mut Vec<u8>, keys: Range<u64>) {
        let puts = keys.map(|key| format!(r#"{{"PutRequest":{{"Item":{}}}}}"#, self.item(key)));
        let puts = puts.collect::<Vec<_>>().join(",");
        written(out, format_args!(r#"{{"RequestItems":{{"{}":[{puts}]}}}}"#, self.table));
    }

    fn item(&self, key: u64) -> Item<'_> {
        Item { key, value: &self.value }
    }
}

/// A key, as it stands in requests.
struct Key(u64);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"k":{{"S":"user{:012}"}}}}"#, self.0)
    }
}

/// An item.
struct Item<'v> {
    key: u64,
    value: &'v str,
}

impl fmt::Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"k":{{"S":"user{:012}"}},"v":{{"S":"{}"}}}}"#, self.key, self.value)
    }
}

fn written(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    out.clear();
    // Writing into memory cannot fail.
    let _ = out.write_fmt(text);
}

/// Whether a description says that the table can be used.
pub(super) fn is_active(described: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(described).unwrap_or_default();
    value["Table"]["TableStatus"] == "ACTIVE"
}

/// How many shards a table has, by its tags.
pub(super) fn shards(tags: &[u8]) -> u32 {
    let value: Value = serde_json::from_slice(tags).unwrap_or_default();
    let tags = value["Tags"].as_array().map_or(&[][..], Vec::as_slice);
    let tag = tags.iter().find(|tag| tag["Key"] == SHARDS);
    tag.and_then(|tag| tag["Value"].as_str()?.parse().ok()).unwrap_or(1)
}

/// Whether all of a batch was taken.
pub(super) fn is_whole(answer: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(answer).unwrap_or_default();
    value["UnprocessedItems"].as_object().is_none_or(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_with_what_was_asked() {
        let (body, mut out) = (Body::new("t-1", 3, true), Vec::new());
        let mut read = |write: &dyn Fn(&mut Vec<u8>)| -> Value {
            write(&mut out);
            serde_json::from_slice(&out).unwrap()
        };
        let key = json!({ "k": { "S": "user000000000007" } });
        let item = json!({ "k": { "S": "user000000000007" }, "v": { "S": "vvv" } });
        assert_eq!(read(&|out| body.put(out, 7)), json!({ "TableName": "t-1", "Item": item }));
        assert_eq!(
            read(&|out| body.get(out, 7)),
            json!({ "TableName": "t-1", "Key": key, "ConsistentRead": true })
        );
        assert_eq!(read(&|out| body.update(out, 7))["ExpressionAttributeValues"][":v"]["S"], "vvv");
        assert_eq!(read(&|out| body.scan(out, 7, 9))["Limit"], 9);
        let txn = read(&|out| body.transact_put(out, &[7, 8], Some("x")));
        assert!(txn["TransactItems"][0]["Put"]["Item"] == item && txn["ClientRequestToken"] == "x");
        assert_eq!(read(&|out| body.transact_get(out, &[8, 7]))["TransactItems"][1]["Get"]["Key"], key);
        assert_eq!(read(&|out| body.fill(out, 5..8))["RequestItems"]["t-1"][2]["PutRequest"]["Item"], item);
        let created = |shards| -> Value { serde_json::from_slice(&body.create(shards)).unwrap() };
        assert!(created(1)["KeySchema"][0]["KeyType"] == "HASH" && created(1)["Tags"].is_null());
        assert_eq!((shards(created(6).to_string().as_bytes()), shards(b"{}")), (6, 1));
        assert_eq!(Body::tags(br#"{"Table":{"TableArn":"arn"}}"#), br#"{"ResourceArn":"arn"}"#);
    }
}
