//! What one seed did, shown: as lines, one an event, and as a page.

use super::html;
use crate::report::{Exit, Problem};
use quorate_base::Instant;
use quorate_base::time::Duration;
use quorate_sim::{Record, What, role_in_words};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// How a run is shown.
#[derive(clap::Args, Debug)]
pub(super) struct Show {
    /// Print what happens, one line an event
    #[arg(long, requires = "seed", conflicts_with = "seeds")]
    trace: bool,
    /// Draw what happens as a page for a browser: a lane a node, a line a message
    #[arg(long, value_name = "FILE", requires = "seed", conflicts_with = "seeds")]
    html: Option<PathBuf>,
    /// Of the trace and the page only what happens from this simulated second on
    #[arg(long, value_name = "S", default_value_t = 0.0, value_parser = seconds)]
    from: f64,
    /// And only up to this one
    #[arg(long, value_name = "S", default_value_t = f64::INFINITY, value_parser = seconds, hide_default_value = true)]
    to: f64,
    /// Of the trace only these kinds
    #[arg(long = "show", value_name = "KINDS", value_delimiter = ',', requires = "trace")]
    kinds: Vec<Kind>,
}

/// A kind of events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// What nodes send to each other
    Messages,
    /// Roles, terms, commit indexes, starts and ends of nodes
    Nodes,
    /// What is broken and mended
    Faults,
    /// What clients and watchers ask and hear
    Clients,
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s: &f64| *s >= 0.0).ok_or_else(|| format!("{text:?} is no number of seconds"))
}

impl Show {
    /// Whether there is anything to show.
    pub(super) fn wanted(&self) -> bool {
        self.trace || self.html.is_some()
    }

    /// Refuses a time in which nothing lies.
    pub(super) fn check(&self) -> Result<(), Problem> {
        if self.from <= self.to {
            return Ok(());
        }
        let what = format!("--from {} is later than --to {}: nothing would be shown", self.from, self.to);
        Err(Problem::new(Exit::Usage, what, "name the earlier second with --from"))
    }

    /// Shows it.
    pub(super) fn show(
        &self,
        seed: u64,
        replay: &str,
        records: &[Record],
        json: bool,
    ) -> Result<(), Problem> {
        let after = |s: f64| Instant::ZERO + Duration::from_secs_f64(s.min(1e9));
        let (from, to) = (after(self.from), after(self.to));
        let records: Vec<Record> =
            records.iter().filter(|record| (from..=to).contains(&record.at)).cloned().collect();
        if let Some(file) = &self.html {
            std::fs::write(file, html::page(seed, replay, &records)).map_err(|error| {
                // No promise was broken.
                Problem::new(
                    Exit::Usage,
                    format!("{} cannot be written: {error}", file.display()),
                    "name a file in a directory that is there and writable",
                )
            })?;
            eprintln!("the diagram is in {}", file.display());
        }
        if self.trace {
            crate::report::speaks();
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            for record in
                records.iter().filter(|record| self.kinds.is_empty() || self.kinds.contains(&kind(record)))
            {
                let line = if json { in_json(record) } else { record.to_string() };
                if writeln!(out, "{line}").is_err() {
                    // Nobody reads on.
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn kind(record: &Record) -> Kind {
    match record.what {
        What::Message { .. } => Kind::Messages,
        What::Up { .. } | What::Down { .. } | What::Role { .. } | What::Commit { .. } => Kind::Nodes,
        What::Fault(_) | What::Violation(_) => Kind::Faults,
        What::Asked { .. } | What::Answered { .. } | What::Told { .. } => Kind::Clients,
    }
}

/// An event for a program.
#[derive(Serialize)]
struct Line<'a> {
    /// Seconds.
    at: f64,
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<u64>,
    text: String,
}

fn in_json(record: &Record) -> String {
    let (mut role, mut term, mut commit) = (None, None, None);
    let node = match &record.what {
        What::Message { to, .. } => Some(to),
        What::Role { node, role: is, term: of, .. } => {
            (role, term) = (Some(role_in_words(*is)), Some(of.0));
            Some(node)
        }
        What::Commit { node, commit: upto, .. } => {
            commit = Some(upto.0);
            Some(node)
        }
        What::Up { node, .. }
        | What::Down { node, .. }
        | What::Asked { node, .. }
        | What::Answered { node, .. }
        | What::Told { node, .. } => Some(node),
        What::Fault(_) | What::Violation(_) => None,
    };
    let (at, kind, text) =
        (record.at.since(Instant::ZERO).as_secs_f64(), kind(record), record.what.to_string());
    let line = Line { at, kind, node: node.map(|node| node.get()), role, term, commit, text };
    serde_json::to_string(&line).unwrap_or_default()
}
