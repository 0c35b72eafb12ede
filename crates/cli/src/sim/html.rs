//! The space-time diagram of a run, as one page that needs nothing from outside: a lane a node, a slanted line a message.
//!
//! The page draws a window of time and is moved over the run; it holds at most [`MOST`] messages, those nearest to the end, where a
//! broken promise stands. Times are in microseconds since the run began.

use quorate_base::{Instant, NodeId};
use quorate_sim::{End, Fate, Record, What, role_in_words};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// So many messages a page holds.
const MOST: usize = 100_000;
const PAGE: &str = include_str!("diagram.html");

#[derive(Serialize, Default)]
struct Diagram<'a> {
    seed: u64,
    replay: &'a str,
    violation: Option<String>,
    left_out: usize,
    nodes: BTreeSet<u64>,
    clients: BTreeSet<i64>,
    /// What messages say, each once.
    texts: Vec<&'a str>,
    /// Sent, arrived, from, to, fate, text.
    messages: Vec<(u64, u64, u64, u64, u8, usize)>,
    /// When, node, role, term, leader.
    roles: Vec<(u64, u64, &'static str, u64, u64)>,
    /// When, node, life.
    ups: Vec<(u64, u64, u64)>,
    /// When, node, why.
    downs: Vec<(u64, u64, &'a str)>,
    /// When, node, commit, applied, last.
    commits: Vec<(u64, u64, u64, u64, u64)>,
    /// When, what.
    faults: Vec<(u64, &'a str)>,
    /// Client (-1: whoever changes members), node, asked, ended, how, what, answer.
    ops: Vec<(i64, u64, u64, u64, u8, &'a str, &'a str)>,
    end: u64,
}

fn micros(at: Instant) -> u64 {
    u64::try_from(at.since(Instant::ZERO).as_micros()).unwrap_or(u64::MAX)
}

/// A client's lane.
fn number(client: Option<usize>) -> i64 {
    client.map_or(-1, |client| i64::try_from(client).unwrap_or(i64::MAX))
}

/// The page for these records.
pub(super) fn page(seed: u64, replay: &str, records: &[Record]) -> String {
    let mut diagram = Diagram { seed, replay, ..Diagram::default() };
    let mut texts = BTreeMap::new();
    let messages = records.iter().filter(|record| matches!(record.what, What::Message { .. })).count();
    diagram.left_out = messages.saturating_sub(MOST);
    let (mut passed, mut waits) = (0, BTreeMap::new());
    for Record { at, what } in records {
        let at = micros(*at);
        diagram.end = diagram.end.max(at);
        if let What::Message { from, to, sent, fate, text } = what {
            passed += 1;
            if passed > diagram.left_out {
                let next = texts.len();
                let text = *texts.entry(text.as_str()).or_insert(next);
                let fate = match fate {
                    Fate::Arrived => 0,
                    Fate::Lost => 1,
                    Fate::Cut => 2,
                    Fate::Unheard => 3,
                };
                diagram.messages.push((micros(*sent), at, from.get(), to.get(), fate, text));
            }
        } else {
            diagram.add(at, what);
        }
        match what {
            What::Asked { client, node, op } => drop(waits.insert(*client, (at, node.get(), op.as_str()))),
            What::Answered { client, .. } => drop(waits.remove(client)),
            _ => {}
        }
    }
    for (client, (asked, node, op)) in waits {
        diagram.ops.push((number(client), node, asked, diagram.end, 2, op, "still waits for an answer"));
    }
    let mut in_order: Vec<_> = texts.into_iter().collect();
    in_order.sort_by_key(|&(_, number)| number);
    diagram.texts = in_order.into_iter().map(|(text, _)| text).collect();
    // Nothing in it may end the script.
    let data = serde_json::to_string(&diagram).unwrap_or_default().replace('<', "\\u003c");
    PAGE.replacen("/*DATA*/null", &data, 1)
}

impl<'a> Diagram<'a> {
    fn add(&mut self, at: u64, what: &'a What) {
        match what {
            What::Up { node, life } => {
                self.nodes.insert(node.get());
                self.ups.push((at, node.get(), *life));
            }
            What::Down { node, why } => self.downs.push((at, node.get(), why)),
            What::Role { node, role, term, leader } => {
                let leader = leader.map_or(0, NodeId::get);
                self.roles.push((at, node.get(), role_in_words(*role), term.0, leader));
            }
            What::Commit { node, commit, applied, last } => {
                self.commits.push((at, node.get(), commit.0, applied.0, last.0));
            }
            What::Fault(text) => self.faults.push((at, text)),
            What::Answered { client, node, asked, op, end, text } => {
                let client = number(*client);
                let end = match end {
                    End::Answered => 0,
                    End::Refused => 1,
                    End::Unknown => 2,
                };
                self.ops.push((client, node.get(), micros(*asked), at, end, op, text));
            }
            What::Asked { client, .. } => drop(self.clients.insert(number(*client))),
            What::Violation(text) => self.violation = Some(text.clone()),
            What::Message { .. } | What::Told { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: what a run says cannot end the script of its page.
    #[test]
    fn a_page_holds_its_records_and_nothing_ends_its_script() {
        let record = |what| Record { at: Instant(2_000_000), what };
        let (from, to, sent, fate) = (NodeId(1), NodeId(2), Instant(1_000_000), Fate::Arrived);
        let records = [
            record(What::Up { node: NodeId(1), life: 1 }),
            record(What::Message { from, to, sent, fate, text: "Append t1".into() }),
            record(What::Fault("</script><b>".into())),
        ];
        let page = page(7, "quorate sim --seed 7", &records);
        assert!(page.contains("[1000,2000,1,2,0,0]"), "{page}");
        assert!(!page.contains("</script><b>") && page.contains("\\u003c/script>"));
        assert!(!page.contains("/*DATA*/"));
    }
}
