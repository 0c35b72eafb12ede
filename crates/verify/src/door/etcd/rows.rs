//! Transactions over rows: everything is read at one revision; what was read, the gaps too, must be so when it is written.
//!
//! That no row came into a range is asked by one comparison over the range: all keys in it were last changed before. That none
//! went away is asked row by row: a key that is gone has no revision.

use super::{Etcd, at_revision, held, kv, put, revision};
use crate::op::{Ended, Op};
use bytes::Bytes;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::mvccpb::KeyValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tonic::transport::Channel;

/// Rows by number; nothing where one was deleted.
type Table = BTreeMap<u64, Option<Value>>;

impl Etcd {
    /// Does a transaction over rows. The result is its value, with what was read.
    pub(super) async fn rows(&self, channel: Channel, op: &Op) -> Ended {
        let steps = op.value.as_array().map_or(&[][..], Vec::as_slice);
        let ranges: Vec<(u64, u64)> = steps.iter().filter_map(range).collect();
        let success = ranges.iter().map(|&range| self.get_rows(range)).collect();
        let request = pb::TxnRequest { success, ..Default::default() };
        let reply = match self.within(kv(channel.clone()).txn(request)).await {
            Ok(reply) => reply,
            Err(trouble) => return trouble.of_read(),
        };
        let at = revision(reply.header.as_ref()).unwrap_or(0);
        let seen: BTreeMap<u64, &KeyValue> =
            reply.responses.iter().flat_map(found).filter_map(|kv| Some((number(kv)?, kv))).collect();
        let mut table: Table = seen.iter().map(|(&row, kv)| (row, Some(held(Some(kv))))).collect();
        let (done, changed) = match applied(steps, &mut table) {
            Ok(applied) => applied,
            Err(why) => return Ended::failed(why),
        };
        let success: Vec<pb::RequestOp> = changed
            .iter()
            .filter_map(|row| match table.get(row) {
                Some(Some(value)) => Some(put(&self.row(*row), value)),
                _ => seen.contains_key(row).then(|| delete(&self.row(*row))),
            })
            .collect();
        if success.is_empty() {
            return Ended::ok(done, Some(at));
        }
        let mut compare: Vec<pb::Compare> = ranges.iter().map(|&range| self.untouched(range, at)).collect();
        compare.extend(seen.values().copied().map(at_revision));
        let request = pb::TxnRequest { compare, success, failure: vec![] };
        match self.within(kv(channel).txn(request)).await {
            Ok(reply) if reply.succeeded => Ended::ok(done, revision(reply.header.as_ref())),
            Ok(_) => Ended::failed("another transaction came between"),
            Err(trouble) => trouble.of_write(),
        }
    }

    /// The key of a row: numbers of one length, so that keys stand as the rows do.
    fn row(&self, row: u64) -> Bytes {
        self.key(&json!(format!("row/{row:012}")))
    }

    fn get_rows(&self, (low, high): (u64, u64)) -> pb::RequestOp {
        let request =
            pb::RangeRequest { key: self.row(low), range_end: self.row(high + 1), ..Default::default() };
        pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(request)) }
    }

    /// True where nothing in a range was changed after a revision.
    fn untouched(&self, (low, high): (u64, u64), at: i64) -> pb::Compare {
        pb::Compare {
            key: self.row(low),
            range_end: self.row(high + 1),
            target: pb::compare::CompareTarget::Mod.into(),
            result: pb::compare::CompareResult::Less.into(),
            target_union: Some(pb::compare::TargetUnion::ModRevision(at + 1)),
        }
    }
}

/// The row that a key stands for.
fn number(kv: &KeyValue) -> Option<u64> {
    std::str::from_utf8(&kv.key).ok()?.rsplit_once('/')?.1.parse().ok()
}

/// The rows that a step is about.
fn range(step: &Value) -> Option<(u64, u64)> {
    let low = step[1].as_u64()?;
    let high = if step[0] == "scan" { step[2].as_u64()? } else { low };
    Some((low, high))
}

fn found(response: &pb::ResponseOp) -> &[KeyValue] {
    match &response.response {
        Some(pb::response_op::Response::ResponseRange(range)) => &range.kvs,
        _ => &[],
    }
}

/// What the steps read, and which rows they changed; or why they cannot be done.
fn applied(steps: &[Value], table: &mut Table) -> Result<(Vec<Value>, Vec<u64>), String> {
    let (mut done, mut changed) = (Vec::new(), Vec::new());
    for step in steps {
        let Some((row, high)) = range(step) else { return Err(format!("{step} is no step")) };
        let there = table.get(&row).and_then(Option::as_ref);
        let mut step = step.clone();
        match step[0].as_str() {
            Some("insert") if there.is_some() => return Err(format!("row {row} is there already")),
            Some("delete") if there.is_none() => return Err(format!("row {row} is not there")),
            Some("insert") => {
                table.insert(row, Some(step[2].clone()));
                changed.push(row);
            }
            Some("delete") => {
                table.insert(row, None);
                changed.push(row);
            }
            Some("scan") => {
                let rows = table.range(row..=high.max(row));
                let rows = rows.filter_map(|(row, value)| Some((row.to_string(), value.clone()?)));
                step[3] = Value::Object(rows.collect::<Map<_, _>>());
            }
            _ => step[2] = there.cloned().unwrap_or(Value::Null),
        }
        done.push(step);
    }
    Ok((done, changed))
}

fn delete(key: &Bytes) -> pb::RequestOp {
    let request = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestDeleteRange(request)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: steps see what the ones before them did, and what cannot be done is refused.
    #[test]
    fn steps_see_the_ones_before_them() {
        let table = || Table::from([(3, Some(json!(30))), (9, Some(json!(90)))]);
        let steps = [json!(["insert", 4, 40]), json!(["delete", 3]), json!(["scan", 3, 8, null])];
        let (done, changed) = applied(&steps, &mut table()).unwrap();
        assert_eq!((done[2].clone(), changed), (json!(["scan", 3, 8, {"4": 40}]), vec![4, 3]));
        let (done, _) = applied(&[json!(["r", 9, null]), json!(["r", 5, null])], &mut table()).unwrap();
        assert_eq!(done, [json!(["r", 9, 90]), json!(["r", 5, null])]);
        assert!(applied(&[json!(["insert", 3, 1])], &mut table()).is_err());
        assert!(applied(&[json!(["delete", 5])], &mut table()).is_err());
    }
}
