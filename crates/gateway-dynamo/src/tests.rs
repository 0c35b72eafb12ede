//! The door over a machine without a log: each write is applied at once. What it answers, in the protocol's form.

mod answers;
mod capacity;
mod deleting;
mod divided;
mod sharded;
mod tenants;

use crate::{Gateway, Options, failure, front, operation};
use bytes::Bytes;
use hyper::header::HeaderMap;
use quorate_base::time::Duration;
use quorate_base::{Entry, EntryId, EntryKind, Index, NodeId, ShardId, Term};
use quorate_faulty::FaultyDisk;
use quorate_node::api::tables::Read;
use quorate_node::api::{
    Answer, Body, Done, Door, Failure, Fresh, Head, Member, Opened, Patience, Request, Wait, WatchStream,
};
use quorate_node::evidence::{Evidence, Mode, Part};
use quorate_state::kv::{Kv, ReadError};
use quorate_storage::journal::Identity;
use quorate_storage::memory::MemoryStore;
use quorate_storage::state::StateStore;
use quorate_wire::command;
use quorate_wire::table::EPOCH;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a door says of a node that is well, and that nobody watches or saves.
macro_rules! quiet {
    () => {
        fn head(&self) -> Head {
            Head::default()
        }

        fn leaderless(&self) -> Option<Duration> {
            None
        }

        fn away(&self) -> bool {
            false
        }

        fn stopping(&self) -> bool {
            false
        }

        fn watch(&self, _: Box<dyn Fn() + Send + Sync>) -> Box<dyn WatchStream> {
            unreachable!("nobody watches here")
        }

        fn snapshot(&self, _: quorate_node::api::SnapshotForm, opened: Opened) {
            opened(Err(Failure::Overloaded));
        }

        fn patience(&self) -> Patience {
            let second = Duration::from_secs(1);
            Patience { request: second, leaderless: 3 * second, election: second, least_lease: 1 }
        }
    };
}
use quiet;

/// A node of one, which may lose the answers of writes.
pub(crate) struct Alone {
    kv: Mutex<Kv>,
    lost: Mutex<bool>,
}

impl Alone {
    fn write(&self, command: &quorate_wire::kv::Command) -> Result<Body, Failure> {
        let mut kv = self.kv.lock().unwrap();
        let id = EntryId::new(Term(1), kv.applied().index.next());
        assert!(id.index > Index(0));
        let entry = Entry { id, kind: EntryKind::Command, data: command::encode(NodeId(1), 1, command) };
        let applied = kv.apply(&entry).unwrap();
        if *self.lost.lock().unwrap() {
            return Err(Failure::LeaderChanged);
        }
        applied.outcome.map(Body::Reply).map_err(|refused| Failure::Refused(refused, Head::default()))
    }
}

impl Door for Alone {
    fn call(&self, request: Request, _: Wait, done: Done) {
        let request = match request {
            Request::Explained(request, slot) => {
                slot.put(evidence(&request));
                *request
            }
            request => request,
        };
        let request = match request {
            Request::Gather(asked) => {
                let read = Read::Get(asked.gets.into_iter().map(|(_, get)| get).collect());
                Request::Table { read: Box::new(read), fresh: Fresh::Newest, epoch: EPOCH }
            }
            request => request,
        };
        let body = match request {
            Request::Write(command) => self.write(&command),
            Request::Table { read, .. } => {
                match self.kv.lock().unwrap().view().tables_while(&read, &|_| true) {
                    Ok(reply) => Ok(Body::Table(Box::new(reply.unwrap()))),
                    Err(ReadError::Refused(refused)) => Err(Failure::Refused(refused, Head::default())),
                    Err(ReadError::Store(error)) => panic!("{error}"),
                }
            }
            Request::Members { .. } => Ok(Body::Members(vec![Member::default(); 3])),
            _ => Err(Failure::NoLeader),
        };
        done(body.map(|body| Answer { head: Head::default(), body }));
    }

    quiet!();
}

/// How a node that is alone might say that it served a request.
fn evidence(request: &Request) -> Evidence {
    let writes = matches!(request, Request::Write(_));
    let consistent = matches!(request, Request::Table { fresh: Fresh::Newest, .. });
    Evidence {
        node: NodeId(1),
        leader: Some(NodeId(1)),
        term: Term(1),
        index: (writes || consistent).then_some(Index(7)),
        applied: Index(7),
        mode: if writes {
            Mode::Log
        } else if consistent {
            Mode::Leader
        } else {
            Mode::Local
        },
        acks: vec![(NodeId(1), Some(5))],
        voters: u64::from(writes),
        closed: None,
        missed: None,
        parts: vec![(Part::Total, 9)],
    }
}

pub(crate) fn alone() -> (Gateway, Arc<Alone>) {
    let identity = Identity { cluster: 1, node: NodeId(1) };
    let mut store = MemoryStore::new(Arc::new(FaultyDisk::new(1)), "state", identity);
    let kv = Kv::open(ShardId(1), store.open(None).unwrap()).unwrap();
    let door = Arc::new(Alone { kv: Mutex::new(kv), lost: Mutex::new(false) });
    (Gateway { door: door.clone() }, door)
}

/// The answer, or the kind of the error and its text.
pub(crate) async fn ask(
    gateway: &Gateway,
    name: &str,
    body: Value,
) -> Result<Value, (failure::Kind, String)> {
    target(gateway, &format!("DynamoDB_20120810.{name}"), body).await
}

/// The same of an operation that the service does not have.
pub(crate) async fn own(
    gateway: &Gateway,
    name: &str,
    body: Value,
) -> Result<Value, (failure::Kind, String)> {
    target(gateway, &format!("Quorate.{name}"), body).await
}

async fn target(gateway: &Gateway, target: &str, body: Value) -> Result<Value, (failure::Kind, String)> {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-target", target.parse().unwrap());
    let operation = operation::named(&headers).map_err(|e| (e.kind, e.message))?;
    let body = Bytes::from(body.to_string());
    match operation::carry_out(gateway, operation, "localhost:8000", &body).await {
        Ok(answer) => Ok(serde_json::from_slice(&answer).unwrap()),
        Err(error) => Err((error.kind, error.message)),
    }
}

pub(crate) async fn with_table(gateway: &Gateway) {
    let table = json!({
        "TableName": "items",
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
    });
    ask(gateway, "CreateTable", table).await.unwrap();
}

#[tokio::test]
async fn what_is_put_is_got() {
    let (gateway, _) = alone();
    with_table(&gateway).await;
    let item = json!({ "id": { "S": "a\"é" }, "n": { "N": "1.50" } });
    ask(&gateway, "PutItem", json!({ "TableName": "items", "Item": item })).await.unwrap();
    let got =
        ask(&gateway, "GetItem", json!({ "TableName": "items", "Key": { "id": { "S": "a\"é" } } })).await;
    assert_eq!(got.unwrap(), json!({ "Item": { "id": { "S": "a\"é" }, "n": { "N": "1.5" } } }));
    let listed = ask(&gateway, "ListTables", json!({})).await.unwrap();
    assert_eq!(listed, json!({ "TableNames": ["items"] }));
}

/// What may have been done is told to the SDKs' retries only where doing it twice does no harm.
#[tokio::test]
async fn an_unknown_outcome_is_tried_again_only_where_that_is_harmless() {
    use failure::Kind::{Internal, OutcomeUnknown};
    let (gateway, door) = alone();
    with_table(&gateway).await;
    *door.lost.lock().unwrap() = true;
    let key = json!({ "id": { "S": "a" } });
    let one = json!({ ":v": { "N": "1" } });
    let update = |text: &str| json!({ "TableName": "items", "Key": key, "UpdateExpression": text, "ExpressionAttributeValues": one });
    let put = json!({ "TableName": "items", "Item": key });
    let mut conditional = put.clone();
    conditional["ConditionExpression"] = json!("attribute_not_exists(id)");
    let mut returning = put.clone();
    returning["ReturnValues"] = json!("ALL_OLD");
    let transaction = json!({ "TransactItems": [{ "Put": put }] });
    let mut token = transaction.clone();
    token["ClientRequestToken"] = json!("t");
    for (name, body, kind) in [
        ("PutItem", put, Internal),
        ("PutItem", conditional, OutcomeUnknown),
        ("PutItem", returning, OutcomeUnknown),
        ("UpdateItem", update("SET v = :v"), Internal),
        ("UpdateItem", update("SET v = v + :v"), OutcomeUnknown),
        ("UpdateItem", update("ADD v :v"), OutcomeUnknown),
        ("TransactWriteItems", transaction, OutcomeUnknown),
        ("TransactWriteItems", token, Internal),
        ("DeleteTable", json!({ "TableName": "items" }), OutcomeUnknown),
    ] {
        assert_eq!(ask(&gateway, name, body.clone()).await.unwrap_err().0, kind, "{name} {body}");
    }
}

#[tokio::test]
async fn bad_requests_are_told_in_the_service_s_words() {
    use failure::Kind::{NotFound, Serialization, UnknownOperation, Validation};
    let (gateway, _) = alone();
    with_table(&gateway).await;
    let key = || json!({ "id": { "S": "a" } });
    for (name, body, kind, text) in [
        ("Nothing", json!({}), UnknownOperation, ""),
        (
            "ExecuteStatement",
            json!({}),
            UnknownOperation,
            "not available in this release of Quorate: it has no PartiQL yet",
        ),
        (
            "BatchWriteItem",
            json!({ "RequestItems": { "items": [{ "DeleteRequest": { "Key": key() } }, { "PutRequest": {} }] } }),
            Validation,
            "Value null at 'requestItems.items.member.2.member.putRequest.item' failed",
        ),
        (
            "GetItem",
            json!({ "TableName": "items", "Key": key(), "ProjectionExpression": "id[0]" }),
            Validation,
            "Key attributes must be scalars",
        ),
        ("GetItem", json!([]), Serialization, "Unexpected field type"),
        (
            "GetItem",
            json!({ "TableName": 1, "Key": key() }),
            Serialization,
            "NUMBER_VALUE cannot be converted to String",
        ),
        (
            "GetItem",
            json!({ "Key": key() }),
            Validation,
            "Value null at 'tableName' failed to satisfy constraint: Member must not be null",
        ),
        (
            "GetItem",
            json!({ "TableName": "ab", "Key": key() }),
            Validation,
            "length greater than or equal to 3",
        ),
        ("GetItem", json!({ "TableName": "other", "Key": key() }), NotFound, "Requested resource not found"),
        (
            "PutItem",
            json!({ "TableName": "items", "Item": { "id": { "S": "" } } }),
            Validation,
            "empty string value",
        ),
        (
            "PutItem",
            json!({ "TableName": "items", "Item": { "id": { "S": "a" }, "v": { "SS": [] } } }),
            Validation,
            "empty",
        ),
        (
            "PutItem",
            json!({ "TableName": "items", "Item": key(), "ReturnValues": "ALL_NEW" }),
            Validation,
            "ReturnValues can only be ALL_OLD or NONE",
        ),
        (
            "Query",
            json!({ "TableName": "items" }),
            Validation,
            "KeyConditionExpression parameter must be specified",
        ),
        ("Scan", json!({ "TableName": "items", "Limit": 0 }), Validation, "greater than or equal to 1"),
        (
            "Scan",
            json!({ "TableName": "items", "Segment": 1 }),
            Validation,
            "TotalSegments parameter is required",
        ),
        ("BatchGetItem", json!({ "RequestItems": {} }), Validation, "requestItems"),
        ("TransactWriteItems", json!({ "TransactItems": [{}] }), Validation, "only contain one of"),
        ("CreateTable", json!({ "TableName": "new", "KeySchema": [] }), Validation, "attributeDefinitions"),
        // What has another form is told before all else, whatever member it is.
        (
            "Query",
            json!({ "TableName": "ab", "ScanIndexForward": "x" }),
            Serialization,
            "Unexpected token received from parser",
        ),
        ("GetItem", json!({ "TableName": "ab", "Key": "x" }), Serialization, "Unexpected field type"),
        (
            "CreateTable",
            json!({ "Tags": {} }),
            Serialization,
            "Start of structure or map found where not expected",
        ),
        ("UpdateTable", json!({ "SSESpecification": [] }), Serialization, "Unrecognized collection type"),
        ("Scan", json!({ "Segment": "1" }), Serialization, "STRING_VALUE cannot be converted to Integer"),
        // Operations on tables have their own words for one that is not named, and say no more.
        ("CreateTable", json!({}), Validation, "The parameter 'TableName' is required but was not present"),
        ("DescribeTable", json!({}), Validation, "The parameter 'TableName' is required but was not present"),
        ("UpdateTable", json!({ "TableName": "a;b" }), Validation, "'a;b' at 'tableName' failed"),
        // A key of more attributes than are defined is told before which of them are not.
        (
            "UpdateTable",
            json!({
                "TableName": "items", "AttributeDefinitions": [{ "AttributeName": "y", "AttributeType": "S" }],
                "GlobalSecondaryIndexUpdates": [{ "Create": {
                    "IndexName": "by-y", "Projection": { "ProjectionType": "ALL" }, "KeySchema": [
                        { "AttributeName": "y", "KeyType": "HASH" }, { "AttributeName": "z", "KeyType": "RANGE" },
                    ],
                } }],
            }),
            Validation,
            "Invalid KeySchema: Some index key attribute have no definition",
        ),
        // Constraints on a map's keys and values are told of the map.
        (
            "BatchGetItem",
            json!({ "RequestItems": { "ab": { "Keys": [key()] } } }),
            Validation,
            "Value '{ab=KeysAndAttributes}' at 'requestItems' failed to satisfy constraint: Map keys must satisfy \
             constraint: [Member must have length less than or equal to 255, Member must have length greater than or \
             equal to 3, Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+]",
        ),
        (
            "BatchWriteItem",
            json!({ "RequestItems": { "items": [] } }),
            Validation,
            "Value '{items=[]}' at 'requestItems' failed to satisfy constraint: Map value must satisfy constraint: \
             [Member must have length less than or equal to 25, Member must have length greater than or equal to 1]",
        ),
    ] {
        let (found, said) = ask(&gateway, name, body.clone()).await.expect_err(name);
        assert_eq!(found, kind, "{name} {body}: {said}");
        assert!(said.contains(text), "{name} {body}: {said}");
    }
}

/// One request over a real socket.
async fn http(request: Vec<u8>) -> String {
    let (gateway, _) = alone();
    with_table(&gateway).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options { clients_max: 4, ..Options::default() };
    let served = tokio::spawn(front::accept(listener, gateway, options));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    served.abort();
    String::from_utf8(answer).unwrap()
}

fn post(target: &str, signed: bool, body: &str) -> Vec<u8> {
    let signature = if signed {
        "Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=0\r\nX-Amz-Date: 20260101T000000Z\r\n"
    } else {
        ""
    };
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Amz-Target: {target}\r\n{signature}Content-Type: \
         application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body.as_bytes()].concat()
}

#[tokio::test]
async fn answers_have_the_headers_that_sdks_look_at() {
    let answer = http(post("DynamoDB_20120810.ListTables", true, "{}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body = "{\"TableNames\":[\"items\"]}";
    assert!(answer.ends_with(body), "{answer}");
    let crc = format!("x-amz-crc32: {}\r\n", crate::crc::crc32(body.as_bytes()));
    for header in [crc.as_str(), "x-amzn-requestid: ", "content-type: application/x-amz-json-1.0\r\n"] {
        assert!(answer.contains(header), "{header} is not in {answer}");
    }
}

#[tokio::test]
async fn strangers_are_told_what_is_wrong() {
    for (request, status, text) in [
        (post("DynamoDB_20120810.ListTables", false, "{}"), 400, "MissingAuthenticationTokenException"),
        (post("DynamoDB_20120810.Nothing", true, "{}"), 400, "UnknownOperationException"),
        (post("Other.ListTables", true, "{}"), 400, "UnknownOperationException"),
        (
            post("DynamoDB_20120810.ListTables", true, "{"),
            400,
            "com.amazon.coral.service#SerializationException",
        ),
        (
            post("DynamoDB_20120810.ListTables", true, "{\"Limit\":0}"),
            400,
            "com.amazon.coral.validate#ValidationException",
        ),
        (
            String::from_utf8(post("DynamoDB_20120810.ListTables", true, "{}"))
                .unwrap()
                .replace("x-amz-json-1.0", "xml")
                .into_bytes(),
            404,
            "UnknownOperationException",
        ),
        (b"GET / HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n".to_vec(), 200, "healthy: a:80"),
        (
            b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
            404,
            "UnknownOperationException",
        ),
        (
            b"GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
            404,
            "UnknownOperationException",
        ),
        (
            b"OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: b\r\nAccess-Control-Request-Headers: x-amz-target\r\n\
              Connection: close\r\n\r\n"
                .to_vec(),
            200,
            "access-control-allow-headers: x-amz-target",
        ),
    ] {
        let answer = http(request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(text), "{answer}");
    }
    let huge = post("DynamoDB_20120810.ListTables", true, "{}");
    let huge = String::from_utf8(huge).unwrap().replace("Content-Length: 2", "Content-Length: 99999999999");
    let answer = http(huge.into_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
