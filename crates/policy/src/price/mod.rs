//! The price of a decision: what each operation waits for, what each side of a partition does, what is lost and when.
//!
//! What is counted stands in [`operations`] and [`sides`], what is said in [`words`]; this file has the sums that both
//! need. Round trips are counted between the nodes that hold copies; the way from the asked node to the one that serves
//! is told apart, since it is free where they are the same. Flushes of several disks at once count as one deep.

mod operations;
mod sides;
mod words;

pub(crate) use operations::operations;
pub(crate) use sides::sides;
pub(crate) use words::{assumes, gives_up, headline, in_a_line, losses, notes, pacelc, reasons, scope};

use crate::ask::{Consistency, Partitioning};
use crate::decide::Decision;
use crate::mechanism::{Mechanism, PrimaryMode, Rmw};
use crate::plan::{Cost, Part, Span};
use crate::rule::Rule;

/// Nodes that the cluster needs: as many as there are copies, and where others must agree on who leads, their majority.
pub(crate) fn nodes(m: Mechanism) -> u8 {
    match m {
        Mechanism::Primary { n, .. } => n.max(m.survives() * 2 + 1),
        _ => m.copies(),
    }
}

/// What of the product the decision stands on.
pub(crate) fn needs(d: &Decision) -> Vec<Part> {
    let mut parts = vec![match d.mechanism {
        Mechanism::Raft { .. } => Part::Raft,
        Mechanism::Quorum { .. } | Mechanism::Abd { .. } => Part::Leaderless,
        Mechanism::Paxos { .. } => Part::Paxos,
        Mechanism::Primary { .. } => Part::Primary,
    }];
    let many = d.partition_by != Partitioning::None;
    if many || !matches!(d.mechanism, Mechanism::Raft { .. }) {
        parts.push(Part::Spaces);
    }
    if many {
        parts.push(Part::Shards);
    }
    if many && d.promise == Consistency::StrictSerializable {
        parts.push(Part::Transactions);
    }
    if matches!(d.promise, Consistency::Sequential | Consistency::Causal) {
        parts.push(Part::Sessions);
    }
    if d.staleness.is_some() && !never_stale(d) {
        parts.push(Part::BoundedReads);
    }
    if matches!(d.mechanism, Mechanism::Quorum { rmw, .. } if rmw.serial()) {
        parts.push(Part::Paxos);
    }
    parts.sort();
    parts
}

/// The theorems and rules that shaped the decision.
pub(crate) fn rules(d: &Decision) -> Vec<Rule> {
    let m = d.mechanism;
    if m.copies() == 1 {
        return vec![Rule::Cap];
    }
    let quorum = matches!(m, Mechanism::Quorum { .. });
    let asynchronous = matches!(m, Mechanism::Primary { mode: PrimaryMode::Async, .. });
    let sequential = d.promise == Consistency::Sequential;
    let of = [
        (true, Rule::Cap),
        (true, Rule::Pacelc),
        (m.is_consensus(), Rule::Flp),
        (quorum, Rule::Overlap),
        (d.promise.implies(Consistency::Linearizable) || sequential, Rule::AttiyaWelch),
        (sequential, Rule::LiptonSandberg),
        (sequential || d.promise == Consistency::Linearizable, Rule::HerlihyWing),
        (matches!(m, Mechanism::Abd { .. } | Mechanism::Quorum { .. }), Rule::Herlihy),
        (matches!(m, Mechanism::Abd { .. }) || (quorum && m.overlaps()), Rule::Abd),
        (quorum && d.promise == Consistency::Causal, Rule::Sticky),
        (d.promise == Consistency::StrictSerializable, Rule::Skeen),
        (d.staleness.is_some() && !never_stale(d), Rule::LundeliusLynch),
        (quorum && !m.overlaps(), Rule::Pbs),
        (asynchronous, Rule::Failover),
    ];
    of.into_iter().filter_map(|(holds, rule)| holds.then_some(rule)).collect()
}

/// True if no read can be old: a bound on staleness then costs nothing.
pub(crate) fn never_stale(d: &Decision) -> bool {
    match d.mechanism {
        Mechanism::Abd { .. } | Mechanism::Paxos { .. } => true,
        Mechanism::Quorum { .. } => d.mechanism.overlaps(),
        Mechanism::Raft { n } | Mechanism::Primary { n, .. } => n == 1,
    }
}

/// Copies, messages, processor time.
pub(crate) fn cost(d: &Decision) -> Cost {
    let m = d.mechanism;
    let n = m.copies();
    let others = n - 1;
    let there_and_back = others * 2;
    let asked = (m.read_quorum(d.promise) - 1) * 2;
    let (write_messages, read_messages) = match m {
        Mechanism::Raft { .. } if d.promise.recent() => {
            (Span::always(there_and_back), Span::always(there_and_back))
        }
        Mechanism::Raft { .. } | Mechanism::Primary { .. } => {
            (Span::always(there_and_back), Span::always(asked))
        }
        Mechanism::Quorum { rmw: Rmw::Always, .. } => {
            (Span { usual: there_and_back, worst: there_and_back * 2 }, Span::always(asked))
        }
        Mechanism::Quorum { .. } => (Span::always(there_and_back), Span::always(asked)),
        Mechanism::Abd { .. } => {
            (Span::always(there_and_back * 2), Span { usual: there_and_back, worst: there_and_back * 2 })
        }
        Mechanism::Paxos { .. } => {
            let ballots = Span { usual: there_and_back, worst: there_and_back * 2 };
            (ballots, ballots)
        }
    };
    Cost { copies: n, write_messages, read_messages, words: cost_words(d, write_messages, read_messages) }
}

fn cost_words(d: &Decision, write: Span, read: Span) -> Vec<String> {
    let m = d.mechanism;
    let n = m.copies();
    if n == 1 {
        return vec!["one copy: disk and processor time of one node a write, and no messages".into()];
    }
    let mut words = vec![format!(
        "{n} copies: a write takes the disk, and the time to apply it, of {n} nodes; {} between them, \
         gathered with those of other writes",
        messages(write)
    )];
    words.push(match (m, read.worst) {
        (_, 0) => "a read takes the time of one node, so every replica adds reads; none adds writes".into(),
        (Mechanism::Raft { .. }, _) => {
            format!(
                "reads that wait at the same time share one round of {}; the reading itself takes one node",
                messages(read)
            )
        }
        (Mechanism::Paxos { .. }, _) => {
            format!("a read costs what a write costs: {} and a flush", messages(read))
        }
        _ => format!("a read takes {}, and the time of {} nodes", messages(read), m.read_quorum(d.promise)),
    });
    match m {
        Mechanism::Raft { .. } => words
            .push("the leader encodes and sends for all: spread leaders over the nodes, one a shard".into()),
        Mechanism::Primary { .. } => {
            words.push(
                "consensus for metadata, not for every write: who leads and who is in sync is \
                 decided by the meta group"
                    .into(),
            );
        }
        Mechanism::Quorum { .. } | Mechanism::Abd { .. } => {
            words.push(
                "besides: repair by comparing hash trees, and tombstones until each replica is \
                 known to have them"
                    .into(),
            );
        }
        Mechanism::Paxos { .. } => words.push("besides: ballot state for every key".into()),
    }
    if let Mechanism::Primary { mode: PrimaryMode::Async, .. } = m {
        words.push("messages to backups go out behind the reply, in batches".into());
    }
    words
}

fn messages(span: Span) -> String {
    let one = |count: u8| if count == 1 { "1 message".to_string() } else { format!("{count} messages") };
    if span.usual == span.worst { one(span.usual) } else { format!("{} to {}", span.usual, one(span.worst)) }
}
