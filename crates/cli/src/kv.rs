//! `quorate kv`: keys and values from the command line, against any etcd v3 endpoint.

use crate::evidence::{self, Evidence};
use crate::probe::{Cluster, time};
use crate::report::{Exit, Problem, said, say};
use bytes::Bytes;
use quorate_client::{Client, ClientError, broke, told};
use quorate_proto::{etcdserverpb as pb, mvccpb};
use serde::Serialize;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  quorate kv put greeting hello
  quorate kv put report done --fence nightly=42
  quorate kv put here 10.0.0.4 --lease 694d8f2a1c06ef0b
  quorate kv get greeting
  quorate kv get report --fence nightly=42          a read that is refused, too, once another holds the name
  quorate kv get users/ --prefix --limit 10
  quorate kv get greeting --serializable --timeout 300ms --endpoints 127.0.0.1:12379,127.0.0.1:22379
  quorate kv del greeting
  quorate kv put greeting hello --evidence
  quorate kv watch users/ --prefix --rev 1
  quorate kv put $'\\xff\\x01' $'\\x80' && quorate kv get $'\\xff\\x01' --json

Keys and values are bytes. With --json those that are no UTF-8 stand as base64 in key_base64 and value_base64, where key and value would
stand.";

/// Between two nodes that are asked for a watch.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

/// Read, write and watch keys
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    cluster: Cluster,
    /// Speak JSON: one line a result
    #[arg(long, global = true)]
    json: bool,
    /// Show how the request was served: by whom, on whose word, and how long each part took; not for `watch`
    #[arg(long, global = true)]
    evidence: bool,
    /// How long to wait for an answer; for `watch`, for a node that goes on with it
    #[arg(long, value_name = "TIME", global = true, value_parser = time, default_value = "5s")]
    timeout: Duration,
    /// Refused once a higher token was shown for the name; not for `watch`
    #[arg(long, value_name = "NAME=TOKEN", global = true, value_parser = crate::fence::metadata)]
    fence: Option<String>,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Show keys
    Get {
        /// The key
        key: OsString,
        /// All keys that begin with it
        #[arg(long)]
        prefix: bool,
        /// At most so many; 0 for all
        #[arg(long, value_name = "N", default_value_t = 0)]
        #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..))]
        limit: i64,
        /// As they were at this revision; 0 for now
        #[arg(long, value_name = "REVISION", default_value_t = 0)]
        #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..))]
        rev: i64,
        /// From the asked node's own state, which may be behind
        #[arg(long)]
        serializable: bool,
        /// Without values
        #[arg(long)]
        keys_only: bool,
    },
    /// Set a key
    Put {
        /// The key
        key: OsString,
        /// The value
        value: OsString,
        /// Attach it to this lease; 0 for none. Digits alone are a decimal number; with 0x before them, or a letter among them,
        /// they are hexadecimal, as etcdctl prints leases
        #[arg(long, value_name = "ID", default_value = "0", value_parser = lease)]
        lease: i64,
    },
    /// Remove keys
    Del {
        /// The key
        key: OsString,
        /// All keys that begin with it
        #[arg(long)]
        prefix: bool,
    },
    /// Show changes as they come
    Watch {
        /// The key
        key: OsString,
        /// All keys that begin with it
        #[arg(long)]
        prefix: bool,
        /// From this revision on; 0 for now
        #[arg(long, value_name = "REVISION", default_value_t = 0)]
        #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(0..))]
        rev: i64,
    },
}

/// One pair, for JSON. Bytes that are no text are there as base64, under another name: no reader takes the one for the other.
#[derive(Serialize)]
struct Pair<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    create_revision: i64,
    mod_revision: i64,
    version: i64,
    lease: i64,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    let runtime = crate::runtime()?;
    runtime.block_on(async {
        if let Command::Watch { key, prefix: false, .. } = &args.command
            && key.is_empty()
        {
            let hint = "name one; with --prefix it is all keys";
            return Err(Problem::new(Exit::Usage, "no key is empty, and none would ever come", hint));
        }
        let patience = args.timeout;
        let mut client = Client::connect(&args.cluster.endpoints, 1, patience)
            .await
            .map_err(|e| read_problem(&e, &args.cluster.endpoints))?;
        if let Some(fence) = &args.fence {
            client = client.fenced(fence).map_err(|e| problem(&e, &args.cluster.endpoints))?;
        }
        if let Command::Watch { key, prefix, rev } = &args.command {
            if args.evidence {
                return Err(Problem::new(
                    Exit::Usage,
                    "a watch is no single request, and shows no evidence here",
                    "--evidence goes with get, put and del",
                ));
            }
            if args.fence.is_some() {
                let hint = "a watch changes nothing; show the token with what you do about it";
                return Err(Problem::new(Exit::Usage, "a watch shows no token: leave out --fence", hint));
            }
            let create = pb::WatchCreateRequest {
                key: start(key, *prefix),
                range_end: end(key, *prefix),
                start_revision: *rev,
                ..pb::WatchCreateRequest::default()
            };
            return watch(&client, create, args).await;
        }
        match tokio::time::timeout(patience, once(&client, args)).await {
            Ok(done) => done,
            Err(_) => Err(Problem::new(
                Exit::Failed,
                match &args.command {
                    Command::Get { .. } => format!("no answer within {patience:?}"),
                    _ => format!("no answer within {patience:?}; the write may or may not have happened"),
                },
                "quorate status shows whether the cluster has a leader; --timeout waits longer",
            )),
        }
    })
}

async fn once(client: &Client, args: &Args) -> Result<(), Problem> {
    match &args.command {
        Command::Get { key, prefix, limit, rev, serializable, keys_only } => {
            let request = pb::RangeRequest {
                key: start(key, *prefix),
                range_end: end(key, *prefix),
                limit: *limit,
                revision: *rev,
                serializable: *serializable,
                keys_only: *keys_only,
                ..pb::RangeRequest::default()
            };
            let (reply, evidence) = if args.evidence {
                explained(client.showing(request), async |request| client.kv(0).range(request).await)
                    .await
                    .map_err(|e| read_problem(&e, &args.cluster.endpoints))?
            } else {
                (client.range(request).await.map_err(|e| read_problem(&e, &args.cluster.endpoints))?, None)
            };
            if reply.kvs.is_empty() && !args.json {
                eprintln!("no such key at revision {}", reply.header.map_or(0, |h| h.revision));
            }
            let _ = reply.kvs.iter().all(|kv| show(None, kv, args.json));
            evidence.inspect(|evidence| evidence.show(args.json));
        }
        Command::Put { key, value, lease } => {
            let request = pb::PutRequest {
                key: Bytes::copy_from_slice(key.as_bytes()),
                value: Bytes::copy_from_slice(value.as_bytes()),
                lease: *lease,
                ..pb::PutRequest::default()
            };
            let (reply, evidence) = if args.evidence {
                explained(client.showing(request), async |request| client.kv(0).put(request).await)
                    .await
                    .map_err(|e| problem(&e, &args.cluster.endpoints))?
            } else {
                (client.put(request).await.map_err(|e| problem(&e, &args.cluster.endpoints))?, None)
            };
            done(args.json, 1, reply.header);
            evidence.inspect(|evidence| evidence.show(args.json));
        }
        Command::Del { key, prefix } => {
            let request = pb::DeleteRangeRequest {
                key: start(key, *prefix),
                range_end: end(key, *prefix),
                prev_kv: false,
            };
            let (reply, evidence) = if args.evidence {
                explained(client.showing(request), async |request| client.kv(0).delete_range(request).await)
                    .await
                    .map_err(|e| problem(&e, &args.cluster.endpoints))?
            } else {
                (client.delete(request).await.map_err(|e| problem(&e, &args.cluster.endpoints))?, None)
            };
            done(args.json, reply.deleted, reply.header);
            evidence.inspect(|evidence| evidence.show(args.json));
        }
        Command::Watch { .. } => {}
    }
    Ok(())
}

/// Asks one node, once, for an answer and how it came to be.
async fn explained<Q, A>(
    request: tonic::Request<Q>,
    call: impl AsyncFnOnce(tonic::Request<Q>) -> Result<tonic::Response<A>, tonic::Status>,
) -> Result<(A, Option<Evidence>), ClientError> {
    let since = std::time::Instant::now();
    let reply = call(evidence::asking(request)).await.map_err(ClientError::Status)?;
    let evidence = Evidence::read(reply.metadata(), since.elapsed());
    if evidence.is_none() {
        eprintln!("this node gives no evidence: it is no node of Quorate, or of an older release");
    }
    Ok((reply.into_inner(), evidence))
}

/// Why a watch came to an end.
enum Ended {
    /// Its node went away, or lost its leader: another one goes on with it.
    Passing(String),
    Final(Problem),
    /// What it shows cannot be written.
    Unread,
}

/// Shows changes for ever, through one node after the other: where one goes away, the next goes on behind the last change that
/// was shown. It ends where none of them serves it for `patience`.
async fn watch(client: &Client, mut create: pb::WatchCreateRequest, args: &Args) -> Result<(), Problem> {
    let patience = args.timeout;
    let mut since = tokio::time::Instant::now();
    for at in 0.. {
        let began = create.start_revision;
        let why = match watch_through(client, at, &mut create, args).await {
            Ended::Final(problem) => return Err(problem),
            Ended::Unread => return Ok(()),
            Ended::Passing(why) => why,
        };
        // A node that had nothing to say may still have served it for long.
        if create.start_revision > began || since.elapsed() > 2 * patience {
            since = tokio::time::Instant::now();
        }
        if since.elapsed() > patience {
            let hint = match create.start_revision {
                0 => "begin again".to_string(),
                next => format!("begin again with --rev {next}"),
            };
            let message =
                format!("{}: no node goes on with the watch: {why}", args.cluster.endpoints.join(", "));
            return Err(Problem::new(Exit::Failed, message, hint));
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
    Ok(())
}

/// One stream through one node; `create` comes to ask for what follows on all that was shown.
async fn watch_through(
    client: &Client,
    at: usize,
    create: &mut pb::WatchCreateRequest,
    args: &Args,
) -> Ended {
    let union = Some(pb::watch_request::RequestUnion::CreateRequest(create.clone()));
    let (give, take) = tokio::sync::mpsc::channel(1);
    let _ = give.send(pb::WatchRequest { request_union: union }).await;
    let requests = tokio_stream::wrappers::ReceiverStream::new(take);
    let failed = |status: tonic::Status| match status.code() {
        tonic::Code::Unavailable | tonic::Code::Internal | tonic::Code::Unknown => {
            Ended::Passing(told(&status))
        }
        _ => Ended::Final(read_problem(&ClientError::Status(status), &args.cluster.endpoints)),
    };
    let mut stream = match client.watch(at).watch(requests).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return failed(status),
    };
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Ended::Passing("the node ended the watch".into()),
            Err(status) => return failed(status),
        };
        if message.canceled {
            let hint = if message.compact_revision > 0 {
                format!("begin at revision {} or later with --rev", message.compact_revision)
            } else {
                String::new()
            };
            let why = if message.cancel_reason.is_empty() {
                "the revision asked for has been compacted".to_string()
            } else {
                message.cancel_reason
            };
            return Ended::Final(Problem::new(Exit::Failed, why, hint));
        }
        if message.created && create.start_revision == 0 {
            // From here on, whichever node goes on.
            create.start_revision = message.header.as_ref().map_or(0, |h| h.revision + 1);
        }
        for event in &message.events {
            if let Some(kv) = &event.kv {
                if !show(Some(if event.r#type == 1 { "delete" } else { "put" }), kv, args.json) {
                    return Ended::Unread;
                }
                create.start_revision = create.start_revision.max(kv.mod_revision + 1);
            }
        }
    }
}

/// Parses a lease's id, as decimal or as etcdctl prints it.
fn lease(text: &str) -> Result<i64, String> {
    let hex =
        text.strip_prefix("0x").or_else(|| text.bytes().any(|b| b.is_ascii_alphabetic()).then_some(text));
    let id = match hex {
        // A sign is none of its digits.
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => i64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    };
    id.filter(|id| *id >= 0).ok_or_else(|| {
        format!(
            "{text:?} is no lease: write its id as a decimal number, or hexadecimal as in 0x694d8f2a1c06ef0b"
        )
    })
}

/// Where a prefix starts: every key has the empty one, and the least key is the byte 0.
fn start(key: &OsStr, prefix: bool) -> Bytes {
    if prefix && key.is_empty() { Bytes::from_static(&[0]) } else { Bytes::copy_from_slice(key.as_bytes()) }
}

/// The end of a prefix: its last byte that can be raised, raised; the byte 0 where none can.
fn end(key: &OsStr, prefix: bool) -> Bytes {
    if !prefix {
        return Bytes::new();
    }
    let mut end = key.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xFF {
            end.push(last + 1);
            return Bytes::from(end);
        }
    }
    Bytes::from_static(&[0])
}

/// Prints a pair, or a change; false where nobody reads it.
fn show(event: Option<&str>, kv: &mvccpb::KeyValue, json: bool) -> bool {
    let line = if json {
        let ((key, key_base64), (value, value_base64)) = (text_or_base64(&kv.key), text_or_base64(&kv.value));
        let pair = Pair {
            event,
            key,
            key_base64,
            value,
            value_base64,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        };
        serde_json::to_string(&pair).unwrap_or_default()
    } else {
        let event = event.map_or(String::new(), |e| format!("{:>6} {e} ", kv.mod_revision));
        let [key, value] = [&kv.key, &kv.value].map(|bytes| String::from_utf8_lossy(bytes));
        format!("{event}{key} = {value}")
    };
    said(&line)
}

/// Bytes as text, or else as base64.
fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (Some(text), None);
    }
    let mut digits = Vec::new();
    quorate_item::base64::encode(bytes, &mut digits);
    (None, String::from_utf8(digits).ok())
}

fn done(json: bool, keys: i64, header: Option<pb::ResponseHeader>) {
    let revision = header.map_or(0, |h| h.revision);
    if json {
        say(&format!("{{\"keys\":{keys},\"revision\":{revision}}}"));
    } else {
        say(&format!("{keys} key{} at revision {revision}", if keys == 1 { "" } else { "s" }));
    }
}

/// What went wrong with a write.
pub(crate) fn problem(error: &ClientError, endpoints: &[String]) -> Problem {
    let again = "somebody else got the name since; take it again, and read again what this write stands on";
    let doubt = "the write may or may not have happened; `quorate status` shows how the cluster is";
    of_client(error, endpoints, doubt, again)
}

/// What went wrong with what changes nothing.
pub(crate) fn read_problem(error: &ClientError, endpoints: &[String]) -> Problem {
    let again = "somebody else got the name since; take it again before you act on what you read";
    of_client(error, endpoints, "`quorate status` shows how the cluster is", again)
}

fn of_client(error: &ClientError, endpoints: &[String], unavailable: &str, fenced: &str) -> Problem {
    let (mut message, mut hint) = (error.to_string(), String::new());
    match error {
        ClientError::Address(_) => hint.push_str("write endpoints as http://host:port, separated by commas"),
        ClientError::Unreachable(_) => {
            hint.push_str("is the cluster up? `quorate up` starts one; --endpoints says where it is");
        }
        ClientError::Status(status) if broke(status).is_some() => {
            message = format!("{}: {message}", endpoints.join(", "));
            hint = format!(
                "{unavailable}. Is that where etcd clients connect (--etcd, 2379 if nothing else was said)? No ports for other \
                 nodes or for DynamoDB's clients answer here"
            );
        }
        ClientError::Status(status) => hint.push_str(match status.message() {
            text if text.starts_with("quorate: fenced") => fenced,
            text if text.ends_with("database space exceeded") => {
                "the alarm NOSPACE stands: `quorate status` says on which member. Delete keys, compact and defragment, or make \
                 room on its disk, and then `etcdctl alarm disarm`"
            }
            text if text.ends_with("required revision has been compacted") => {
                "history that old is gone: leave --rev out for what is there now, or name a later revision"
            }
            text if text.ends_with("required revision is a future revision") => {
                "no change has that number yet: leave --rev out for what is there now"
            }
            _ if status.code() == tonic::Code::Unavailable => unavailable,
            _ => "",
        }),
    }
    Problem::new(Exit::Failed, message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_decimal_or_as_etcdctl_prints_it() {
        for (text, id) in [
            ("0", 0),
            ("1234", 1234),
            ("0x1234", 0x1234),
            ("694d8f2a1c06ef0b", 0x694d_8f2a_1c06_ef0b),
            ("0x7fffffffffffffff", i64::MAX),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(lease(text), Ok(id), "{text}");
        }
        for bad in ["", "-1", "0x", "0x-1", "g1", "0xg", "8000000000000000000a", "9223372036854775808", "1 2"]
        {
            assert!(lease(bad).unwrap_err().contains("0x"), "{bad}");
        }
    }

    /// Claim: bytes that are no text stand under another name, whole.
    #[test]
    fn bytes_that_are_no_text_are_base64() {
        assert_eq!(text_or_base64("wört".as_bytes()), (Some("wört"), None));
        assert_eq!(text_or_base64(b"\xff\x00k"), (None, Some("/wBr".into())));
        assert_eq!(text_or_base64(b"\x80"), (None, Some("gA==".into())));
    }

    #[test]
    fn a_prefix_ends_where_no_key_has_it_any_more() {
        let end = |key: &[u8], prefix| end(OsStr::from_bytes(key), prefix);
        assert_eq!(end(b"ab", true), Bytes::from_static(b"ac"));
        assert_eq!(end(b"a\xff", true), Bytes::from_static(b"b"));
        assert_eq!(end(b"\xff", true), Bytes::from_static(&[0]));
        assert_eq!(end(b"", true), Bytes::from_static(&[0]));
        assert_eq!(end(b"ab", false), Bytes::new());
    }
}
