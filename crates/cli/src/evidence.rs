//! `--evidence`: how one request went through the cluster, as a drawing or as JSON. The headers stand in docs/evidence.md.

use crate::report::say;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;
use tonic::metadata::{MetadataMap, MetadataValue};

/// What the headers of an answer said.
#[derive(Serialize, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    node: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<u64>,
    term: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    applied: u64,
    mode: String,
    acks: Vec<Ack>,
    voters: u64,
    /// Parts by their words.
    micros: BTreeMap<String, u64>,
    /// What the client saw.
    client_micros: u64,
}

#[derive(Serialize, Debug, Clone, Copy, PartialEq, Eq)]
struct Ack {
    node: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    micros: Option<u64>,
}

/// The request, asking for it.
pub(crate) fn asking<T>(mut request: tonic::Request<T>) -> tonic::Request<T> {
    request.metadata_mut().insert("quorate-evidence", MetadataValue::from_static("1"));
    request
}

impl Evidence {
    /// None if the other side does not give any.
    pub(crate) fn read(headers: &MetadataMap, took: Duration) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let number = |name: &str| text(name).and_then(|text| text.parse().ok());
        let list = |name: &str| text(name).unwrap_or_default().split(',').filter(|item| !item.is_empty());
        let acks = list("quorate-acks").filter_map(|item| {
            let (node, micros) = item.split_once('=').map_or((item, None), |(n, m)| (n, m.parse().ok()));
            Some(Ack { node: node.parse().ok()?, micros })
        });
        let micros = list("quorate-micros").filter_map(|item| {
            let (part, micros) = item.split_once('=')?;
            Some((part.to_string(), micros.parse().ok()?))
        });
        Some(Self {
            node: number("quorate-node")?,
            leader: number("quorate-leader"),
            term: number("quorate-term")?,
            index: number("quorate-index"),
            applied: number("quorate-applied")?,
            mode: text("quorate-mode")?.to_string(),
            acks: acks.collect(),
            voters: number("quorate-voters").unwrap_or(0),
            micros: micros.collect(),
            client_micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        })
    }

    /// Prints it.
    pub(crate) fn show(&self, json: bool) {
        if json {
            let line = serde_json::json!({ "evidence": self });
            say(&line.to_string());
        } else {
            say(&self.draw());
        }
    }

    /// The path of the request, from top to bottom.
    fn draw(&self) -> String {
        let Self { node, term, applied, .. } = self;
        let mut rows = Drawing::default();
        rows.plain("");
        rows.plain("client");
        rows.plain("  |");
        let leads = self.leader.is_some_and(|leader| leader == *node);
        let me = if leads { format!("node {node}, leader of term {term}") } else { format!("node {node}") };
        rows.timed(&me, self.part("queue"), "waited there");
        match (self.mode.as_str(), self.leader) {
            ("local", _) => rows.plain("  | its own state; nobody else was asked, it may be behind"),
            ("log", Some(leader)) => self.draw_write(&mut rows, leader),
            (_, Some(leader)) => self.draw_read(&mut rows, leader),
            _ => {}
        }
        rows.timed(&format!("node {node}, applied up to {applied}"), self.part("apply"), "");
        if let Some(read) = self.part("read") {
            rows.timed("  | on a reader's thread", Some(read), "");
        }
        rows.plain("  |");
        let seen = format!("in the cluster; {} us as seen from here", self.client_micros);
        rows.timed("client", self.part("total"), &seen);
        rows.0
    }

    fn draw_write(&self, rows: &mut Drawing, leader: u64) {
        let entry = self.index.map_or(String::new(), |index| format!("entry {index}"));
        if leader == self.node {
            rows.plain(&format!("  | {entry}"));
        } else {
            rows.timed("  | to the leader and back", self.part("forward"), "");
            rows.plain(&format!("node {leader}, leader of term {}, {entry}", self.term));
        }
        for Ack { node, micros } in &self.acks {
            rows.timed(&format!("  |-- on the disk of node {node}"), *micros, "");
        }
        if self.voters > 0 {
            let committed = format!("  | committed by {} of {} voters", self.acks.len(), self.voters);
            rows.timed(&committed, self.part("replicate"), "");
        } else {
            rows.plain("  | the leader's word about it was lost");
        }
    }

    fn draw_read(&self, rows: &mut Drawing, leader: u64) {
        if leader != self.node {
            rows.plain("  | asked for a read index");
            rows.plain(&format!("node {leader}, leader of term {}", self.term));
        }
        if self.mode == "lease" {
            rows.plain(&format!("  | the lease of node {leader} held: nobody else was asked"));
        }
        for Ack { node, .. } in self.acks.iter().filter(|ack| ack.node != leader) {
            rows.plain(&format!("  |-- node {node} said that it leads"));
        }
        let index = self.index.map_or("the leader's word".into(), |index| format!("read index {index}"));
        rows.timed(&format!("  | {index}"), self.part("confirm"), "");
    }

    fn part(&self, word: &str) -> Option<u64> {
        self.micros.get(word).copied()
    }
}

/// Lines with a column for times.
#[derive(Default)]
struct Drawing(String);

impl Drawing {
    fn plain(&mut self, text: &str) {
        let end = if self.0.is_empty() { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{end}{text}");
    }

    fn timed(&mut self, text: &str, micros: Option<u64>, more: &str) {
        let Some(micros) = micros else { return self.plain(text) };
        let line = format!("{text:<36} {micros:>8} us  {more}");
        self.plain(line.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> MetadataMap {
        let mut headers = MetadataMap::new();
        for (name, value) in of {
            headers.insert(*name, MetadataValue::from_static(value));
        }
        headers
    }

    /// Claim: the headers that docs/evidence.md shows are drawn as it draws them.
    #[test]
    fn the_documented_headers_are_drawn_as_documented() {
        let page = include_str!("../../../docs/evidence.md");
        let headers = headers(&[
            ("quorate-node", "2"),
            ("quorate-leader", "1"),
            ("quorate-term", "3"),
            ("quorate-index", "42"),
            ("quorate-applied", "43"),
            ("quorate-mode", "log"),
            ("quorate-acks", "1=180,3=420"),
            ("quorate-voters", "3"),
            ("quorate-micros", "queue=12,forward=310,flush=180,replicate=425,apply=60,total=807"),
        ]);
        let evidence = Evidence::read(&headers, Duration::from_micros(1604)).unwrap();
        for line in evidence.draw().lines() {
            assert!(
                page.contains(&format!("    {line}\n").replace("    \n", "\n")),
                "{line:?} is not on the page"
            );
        }
    }

    /// Claim: what another server does not say is no evidence; what is missing or strange in it is passed over.
    #[test]
    fn strange_headers_are_no_panic() {
        let took = Duration::ZERO;
        assert_eq!(Evidence::read(&headers(&[]), took), None);
        let strange = headers(&[
            ("quorate-node", "2"),
            ("quorate-term", "3"),
            ("quorate-applied", "43"),
            ("quorate-mode", "log"),
            ("quorate-acks", "1=x,=,,9"),
            ("quorate-micros", "queue,total=1,=,apply=-1"),
        ]);
        let evidence = Evidence::read(&strange, took).unwrap();
        assert_eq!(evidence.micros.len(), 1);
        assert_eq!(evidence.acks.len(), 2);
        assert!(evidence.draw().contains("applied up to 43"));
    }
}
