//! Events of clients and of the nemesis: written by each for itself, put in order, kept as JSON Lines and as EDN.
//!
//! The order is time. Where two events have the same time the invocation comes first, so that operations that touch are
//! concurrent.

use crate::op::Kind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// One event, as it stands in a history.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(crate) struct Event {
    /// Its place; assigned when all are in order.
    #[serde(default)]
    pub(crate) index: u64,
    /// Nanoseconds: of the machine's clock in a client's file, since the run's beginning in a history.
    pub(crate) time: i64,
    /// Who: a number, or `nemesis`.
    pub(crate) process: Value,
    /// What is known.
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// What was asked.
    pub(crate) f: String,
    /// On what.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) key: Value,
    /// With what, or with what result.
    #[serde(default)]
    pub(crate) value: Value,
    /// The order that the system gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<i64>,
    /// The node that was asked, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<u64>,
    /// Why it failed, or why nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Event {
    /// What the nemesis did.
    pub(crate) fn nemesis(time: i64, f: &str, value: impl Into<Value>) -> Self {
        Self {
            index: 0,
            time,
            process: json!("nemesis"),
            kind: Kind::Info,
            f: f.into(),
            key: Value::Null,
            value: value.into(),
            version: None,
            node: None,
            error: None,
        }
    }

    /// True for what the nemesis did.
    pub(crate) fn is_nemesis(&self) -> bool {
        self.process == "nemesis"
    }

    /// The number of the process that asked.
    pub(crate) fn number(&self) -> Option<u64> {
        self.process.as_u64()
    }
}

/// Puts events in order; times become those since `begin`.
pub(crate) fn in_order(mut events: Vec<Event>, begin: i64) -> Vec<Event> {
    events.sort_by_key(|event| (event.time, event.kind != Kind::Invoke));
    for (index, event) in events.iter_mut().enumerate() {
        event.index = index as u64;
        event.time -= begin;
    }
    events
}

/// Writes a history of ours.
pub(crate) fn write_lines(path: &Path, events: &[Event]) -> io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for event in events {
        serde_json::to_writer(&mut file, event)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Writes the same as EDN, as Jepsen's tools read it: where there are keys, values are pairs of key and value.
pub(crate) fn write_edn(path: &Path, events: &[Event]) -> io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    for event in events {
        let process = if event.is_nemesis() { ":nemesis".into() } else { event.process.to_string() };
        let kind = match event.kind {
            Kind::Invoke => "invoke",
            Kind::Ok => "ok",
            Kind::Fail => "fail",
            Kind::Info => "info",
        };
        let mut value = String::new();
        if matches!(event.f.as_str(), "txn" | "rows") {
            transaction(&event.value, &mut value);
        } else {
            edn(&event.value, &mut value);
        }
        if !event.key.is_null() {
            let mut key = String::new();
            edn(&event.key, &mut key);
            value = format!("[{key} {value}]");
        }
        let mut line = format!(
            "{{:index {}, :time {}, :process {process}, :type :{kind}, :f :{}, :value {value}",
            event.index, event.time, event.f
        );
        if let Some(error) = &event.error {
            line.push_str(", :error ");
            edn(&json!(error), &mut line);
        }
        writeln!(file, "{line}}}")?;
    }
    file.flush()
}

/// Steps are named by keywords.
fn transaction(value: &Value, out: &mut String) {
    let steps = value.as_array().into_iter().flatten().map(|step| {
        let mut text = format!("[:{}", step[0].as_str().unwrap_or("r"));
        for member in step.as_array().into_iter().flatten().skip(1) {
            text.push(' ');
            match member {
                Value::Object(rows) => numbered(rows, &mut text),
                member => edn(member, &mut text),
            }
        }
        text + "]"
    });
    // Writing to a String cannot fail.
    let _ = write!(out, "[{}]", steps.collect::<Vec<_>>().join(" "));
}

/// What a range held: rows by their numbers, which JSON writes as strings.
fn numbered(rows: &serde_json::Map<String, Value>, out: &mut String) {
    let pairs = rows.iter().map(|(row, value)| {
        let mut pair = format!("{row} ");
        edn(value, &mut pair);
        pair
    });
    // Writing to a String cannot fail.
    let _ = write!(out, "{{{}}}", pairs.collect::<Vec<_>>().join(", "));
}

fn edn(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("nil"),
        Value::Array(members) => {
            out.push('[');
            for (at, member) in members.iter().enumerate() {
                if at > 0 {
                    out.push(' ');
                }
                edn(member, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (at, (key, member)) in members.iter().enumerate() {
                // Writing to a String cannot fail.
                let _ = write!(out, "{}:{key} ", if at > 0 { ", " } else { "" });
                edn(member, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// Reads a history, or a client's file. A last line that was cut off is left out: its writer was killed.
pub(crate) fn read_lines(path: &Path) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut lines = BufReader::new(std::fs::File::open(path)?).lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        match serde_json::from_str(&line?) {
            Ok(event) => events.push(event),
            Err(_) if lines.peek().is_none() => {}
            Err(error) => {
                let what = format!("{}:{}: {error}", path.display(), at + 1);
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
    }
    Ok(events)
}

/// How many operations ended how.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Happened.
    pub(crate) ok: u64,
    /// Did not happen.
    pub(crate) fail: u64,
    /// Nobody knows.
    pub(crate) info: u64,
    /// The same for each function.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) by: BTreeMap<String, Tally>,
}

impl Tally {
    /// Counts completions.
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut all = Self::default();
        let (mut open, mut closed) = (0, 0);
        for event in events.iter().filter(|event| !event.is_nemesis()) {
            if event.kind == Kind::Invoke {
                open += 1;
                continue;
            }
            closed += 1;
            all.count(event.kind);
            all.by.entry(event.f.clone()).or_default().count(event.kind);
        }
        // Whose client was killed.
        all.info += open - std::cmp::min(open, closed);
        all
    }

    fn count(&mut self, kind: Kind) {
        match kind {
            Kind::Ok => self.ok += 1,
            Kind::Fail => self.fail += 1,
            Kind::Info => self.info += 1,
            Kind::Invoke => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: i64, process: u64, kind: Kind) -> Event {
        let mut event = Event::nemesis(time, "read", json!([1, null]));
        (event.process, event.kind, event.key) = (json!(process), kind, json!("k"));
        event
    }

    #[test]
    fn operations_that_touch_are_concurrent() {
        let ordered = in_order(
            vec![event(20, 1, Kind::Ok), event(20, 2, Kind::Invoke), event(10, 1, Kind::Invoke)],
            10,
        );
        let seen: Vec<(i64, Kind)> = ordered.iter().map(|e| (e.time, e.kind)).collect();
        assert_eq!(seen, [(0, Kind::Invoke), (10, Kind::Invoke), (10, Kind::Ok)]);
    }

    #[test]
    fn a_history_is_read_as_it_was_written_but_for_a_cut_line() {
        let dir = std::env::temp_dir().join(format!("quorate-record-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("h.jsonl");
        let events = in_order(vec![event(1, 1, Kind::Invoke), event(2, 1, Kind::Ok)], 0);
        write_lines(&path, &events).unwrap();
        assert_eq!(read_lines(&path).unwrap(), events);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 20]).unwrap();
        assert_eq!(read_lines(&path).unwrap(), events[..1]);
        std::fs::write(&path, format!("nonsense\n{text}")).unwrap();
        assert!(read_lines(&path).unwrap_err().to_string().contains("h.jsonl:1:"));
        write_edn(&path, &events).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(
                "{:index 0, :time 1, :process 1, :type :invoke, :f :read, :value [\"k\" [1 nil]]}"
            ),
            "{text}"
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
