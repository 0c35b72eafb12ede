//! `GET /members` on the peer port, as etcd's members have it: a node that joins knows only where its peers are.
//!
//! The answer is etcd's: a list in JSON, and the cluster's id in the header `X-Etcd-Cluster-ID`. It is the list of a linearizable read,
//! so that a member that was just added finds itself in it. Nothing else is served over HTTP there.

use super::Transport;
use super::stream::{Reading, Stream};
use quorate_node::api::{Answer, Body, Failure, Member, Request};
use quorate_node::lane::Event;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// What such a request begins with; the rest of it, up to a bound, is not looked at.
pub(super) const ASKED: &[u8] = b"GET /members ";
const REST_MAX: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(5);

impl Transport {
    /// Answers; `first` was read already.
    pub(super) async fn list_members(&self, mut stream: Stream, first: Vec<u8>) {
        let served = async {
            read_head(&mut stream.read, first).await?;
            let (status, cluster, body) = match self.ask_members().await {
                Some(members) => ("200 OK", self.cluster, json(&members)),
                None => ("503 Service Unavailable", self.cluster, "{\"message\":\"no leader\"}".to_string()),
            };
            let page = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Etcd-Cluster-ID: {cluster:x}\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write.write_all(page.as_bytes()).await
        };
        // Who asked and left, or is too slow, asks again.
        let _ = tokio::time::timeout(2 * PATIENCE, served).await;
    }

    async fn ask_members(&self) -> Option<Vec<Member>> {
        let (give, take) = tokio::sync::oneshot::channel();
        let done = Box::new(move |result: Result<Answer, Failure>| drop(give.send(result)));
        let request = Request::Members { linearizable: true };
        self.inbox.push(Event::Call { shard: crate::run::KV, request, wait: Some(PATIENCE).into(), done });
        match take.await {
            Ok(Ok(Answer { body: Body::Members(members), .. })) => Some(members),
            _ => None,
        }
    }
}

/// Reads to the end of the request's head.
async fn read_head(stream: &mut Reading, mut head: Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 512];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await?;
        if read == 0 || head.len() + read > REST_MAX {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&buffer[..read]);
    }
    Ok(())
}

fn json(members: &[Member]) -> String {
    let list = |urls: &[String]| urls.iter().map(|url| text(url)).collect::<Vec<_>>().join(",");
    let member = |m: &Member| {
        format!(
            "{{\"id\":{},\"peerURLs\":[{}],\"name\":{},\"clientURLs\":[{}],\"isLearner\":{}}}",
            m.id,
            list(&m.peer_urls),
            text(&m.name),
            list(&m.client_urls),
            m.learner
        )
    };
    format!("[{}]", members.iter().map(member).collect::<Vec<_>>().join(","))
}

/// A string of JSON.
fn text(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_json() {
        let member = Member {
            id: 7,
            name: "a\"b\\c\n".into(),
            peer_urls: vec!["http://h:1".into()],
            client_urls: vec![],
            learner: true,
        };
        assert_eq!(
            json(&[member.clone(), member])[..96],
            *"[{\"id\":7,\"peerURLs\":[\"http://h:1\"],\"name\":\"a\\\"b\\\\c\\u000a\",\"clientURLs\":[],\"isLearner\":true},{\"id"
        );
    }
}
