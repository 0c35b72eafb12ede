//! Operations by name, and what is not there yet.

use crate::body::{Params, parse};
use crate::failure::{Answered, ApiError, Kind};
use crate::{
    Gateway, batch, items, off, query, shape, shards, streams, tables, tags, tenants, transact, update,
};
use bytes::Bytes;
use hyper::header::HeaderMap;
use serde_json::Value;

/// What stands before an operation's name.
const VERSION: &str = "DynamoDB_20120810.";
/// The same for streams, whose operations the door takes under either.
const STREAMS: &str = "DynamoDBStreams_20120810.";

/// What stands before the names of those that the service does not have.
const OWN: &str = "Quorate.";

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    BatchGetItem,
    BatchWriteItem,
    CreateTable,
    DeleteItem,
    DeleteTable,
    DescribeContinuousBackups,
    DescribeEndpoints,
    DescribeLimits,
    DescribeStream,
    DescribeTable,
    DescribeTimeToLive,
    GetItem,
    GetRecords,
    GetShardIterator,
    ListStreams,
    ListTables,
    ListTagsOfResource,
    PutItem,
    Query,
    Scan,
    TagResource,
    TransactGetItems,
    TransactWriteItems,
    UntagResource,
    UpdateItem,
    UpdateTable,
    UpdateTimeToLive,
    /// Of Quorate alone.
    AssignTenant,
    /// Of Quorate alone.
    DescribeShards,
    /// Of Quorate alone.
    ListTenants,
    /// One of the service's that is not there yet.
    NotYet(&'static str),
    /// One of the service's that is off here.
    Off(&'static str),
}

/// Statements of a query language, which this release does not have.
const NOT_YET: [&str; 3] = ["BatchExecuteStatement", "ExecuteStatement", "ExecuteTransaction"];

/// The operation that a request's headers name.
pub(crate) fn named(headers: &HeaderMap) -> Answered<Operation> {
    use Operation as O;
    let unknown = || ApiError::new(Kind::UnknownOperation, "");
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).ok_or_else(unknown)?;
    match target.strip_prefix(OWN) {
        Some("AssignTenant") => return Ok(O::AssignTenant),
        Some("DescribeShards") => return Ok(O::DescribeShards),
        Some("ListTenants") => return Ok(O::ListTenants),
        _ => {}
    }
    let streams = target.strip_prefix(STREAMS);
    let name = streams.or_else(|| target.strip_prefix(VERSION)).ok_or_else(unknown)?;
    let of_streams = match name {
        "DescribeStream" => Some(O::DescribeStream),
        "GetRecords" => Some(O::GetRecords),
        "GetShardIterator" => Some(O::GetShardIterator),
        "ListStreams" => Some(O::ListStreams),
        _ => None,
    };
    if of_streams.is_some() || streams.is_some() {
        return of_streams.ok_or_else(unknown);
    }
    Ok(match name {
        "BatchGetItem" => O::BatchGetItem,
        "BatchWriteItem" => O::BatchWriteItem,
        "CreateTable" => O::CreateTable,
        "DeleteItem" => O::DeleteItem,
        "DeleteTable" => O::DeleteTable,
        "DescribeContinuousBackups" => O::DescribeContinuousBackups,
        "DescribeEndpoints" => O::DescribeEndpoints,
        "DescribeLimits" => O::DescribeLimits,
        "DescribeTable" => O::DescribeTable,
        "DescribeTimeToLive" => O::DescribeTimeToLive,
        "GetItem" => O::GetItem,
        "ListTables" => O::ListTables,
        "ListTagsOfResource" => O::ListTagsOfResource,
        "PutItem" => O::PutItem,
        "Query" => O::Query,
        "Scan" => O::Scan,
        "TagResource" => O::TagResource,
        "TransactGetItems" => O::TransactGetItems,
        "TransactWriteItems" => O::TransactWriteItems,
        "UntagResource" => O::UntagResource,
        "UpdateItem" => O::UpdateItem,
        "UpdateTable" => O::UpdateTable,
        "UpdateTimeToLive" => O::UpdateTimeToLive,
        other => {
            let among = |names: &[&'static str]| names.iter().find(|name| **name == other).copied();
            match (among(&NOT_YET), among(&off::NAMES)) {
                (Some(name), _) => O::NotYet(name),
                (_, Some(name)) => O::Off(name),
                _ => return Err(unknown()),
            }
        }
    })
}

/// Carries a request out that was sent to this host; the answer's body.
pub(crate) async fn carry_out(
    gateway: &Gateway,
    operation: Operation,
    host: &str,
    body: &Bytes,
) -> Answered<Vec<u8>> {
    use Operation as O;
    let mut members = parse(body)?;
    shape::check(&members, shape::of(operation))?;
    match operation {
        O::PutItem => return items::put(gateway, members).await,
        O::GetItem => return items::get(gateway, members).await,
        O::DeleteItem => return items::delete(gateway, members).await,
        O::UpdateItem => return items::update(gateway, members).await,
        O::Query => return query::query(gateway, members).await,
        O::Scan => return query::scan(gateway, members).await,
        O::BatchGetItem => return batch::get(gateway, members).await,
        O::BatchWriteItem => return batch::write(gateway, members).await,
        O::TransactGetItems => return transact::get(gateway, members).await,
        O::TransactWriteItems => return transact::write(gateway, members).await,
        O::GetRecords => return streams::records(gateway, Params(&members)).await,
        _ => {}
    }
    members.retain(|_, value| !value.is_null());
    let params = Params(&members);
    let answer: Value = match operation {
        O::CreateTable => tables::create(gateway, params).await?,
        O::DescribeTable => tables::describe(gateway, params).await?,
        O::ListTables => tables::list(gateway, params).await?,
        O::DeleteTable => tables::delete(gateway, params).await?,
        O::UpdateTable => update::update(gateway, params).await?,
        O::DescribeTimeToLive => tables::describe_expiry(gateway, params).await?,
        O::UpdateTimeToLive => tables::update_expiry(gateway, params).await?,
        O::DescribeContinuousBackups => off::describe_backups(gateway, params).await?,
        O::ListStreams => streams::list(gateway, params).await?,
        O::DescribeStream => streams::describe(gateway, params).await?,
        O::GetShardIterator => streams::iterator(gateway, params).await?,
        O::DescribeShards => shards::describe(gateway, params).await?,
        O::AssignTenant => tenants::assign(gateway, params).await?,
        O::ListTenants => tenants::list(gateway, params).await?,
        O::DescribeLimits => tables::limits(),
        O::DescribeEndpoints => tables::endpoints(host),
        O::TagResource => tags::tag(gateway, params).await?,
        O::UntagResource => tags::untag(gateway, params).await?,
        O::ListTagsOfResource => tags::list(gateway, params).await?,
        O::Off(name) => off::answer(gateway, name, params).await?,
        O::NotYet(name) => {
            return Err(ApiError::new(
                Kind::UnknownOperation,
                format!("{name} is not available in this release of Quorate: it has no PartiQL yet"),
            ));
        }
        _ => return Err(crate::unexpected()),
    };
    Ok(answer.to_string().into_bytes())
}
