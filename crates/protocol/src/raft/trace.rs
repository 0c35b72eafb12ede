//! Messages in words, one line each, for traces and scripts: `Append t2 prev 1@3 [2@4] commit 3`. An entry is `term@index`.

use super::{Message, SnapshotId};
use quorate_base::EntryId;
use std::fmt;

/// `term@index`.
struct Id(EntryId);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.0.term, self.0.index)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pre = |pre: bool| if pre { "Pre" } else { "" };
        let term = self.term();
        match self {
            Self::RequestVote { pre: p, transfer, last, .. } => {
                write!(f, "Request{}Vote t{term} last {}", pre(*p), Id(*last))?;
                if *transfer { f.write_str(" transfer") } else { Ok(()) }
            }
            Self::Vote { pre: p, granted, withheld, .. } => {
                let answer = match (granted, withheld) {
                    (false, _) => "no",
                    (true, false) => "yes",
                    (true, true) => "yes if all do",
                };
                write!(f, "{}Vote t{term} {answer}", pre(*p))
            }
            Self::Append { prev, entries, commit, .. } => {
                write!(f, "Append t{term} prev {} [", Id(*prev))?;
                match entries.as_slice() {
                    [] => {}
                    [one] => write!(f, "{}", Id(one.id))?,
                    [first, .., last] => write!(f, "{}..{}", Id(first.id), Id(last.id))?,
                }
                write!(f, "] commit {commit}")
            }
            Self::Appended { matched, .. } => write!(f, "Appended t{term} matched {matched}"),
            Self::AppendRejected { prev, hint, .. } => {
                write!(f, "AppendRejected t{term} prev {prev} hint {}", Id(*hint))
            }
            Self::Heartbeat { commit, round, lease, .. } => {
                write!(f, "Heartbeat t{term} commit {commit} round {round}")?;
                if lease.is_zero() { Ok(()) } else { write!(f, " lease {lease:?}") }
            }
            Self::HeartbeatResponse { round, withheld, promised, asks, .. } => {
                let but = if *withheld { ", withholds" } else { "" };
                let and = if *promised { ", promises" } else { "" };
                let asks = if asks.is_some() { ", asks for the term" } else { "" };
                write!(f, "HeartbeatResponse t{term} round {round}{but}{and}{asks}")
            }
            Self::Commit { commit, .. } => write!(f, "Commit t{term} commit {commit}"),
            // The context is random: a trace that is compared must not show it.
            Self::ReadIndex { .. } => write!(f, "ReadIndex t{term}"),
            Self::ReadIndexResponse { index, .. } => match index {
                Some(index) => write!(f, "ReadIndexResponse t{term} index {index}"),
                None => write!(f, "ReadIndexResponse t{term} none"),
            },
            Self::TimeoutNow { .. } => write!(f, "TimeoutNow t{term}"),
            Self::SnapshotChunk { meta, seq, last, .. } => {
                let end = if *last { " last" } else { "" };
                write!(f, "SnapshotChunk t{term} of {} chunk {seq}{end}", Id(meta.id))
            }
            Self::SnapshotWant { snapshot: SnapshotId::ANY, .. } => write!(f, "SnapshotWant t{term} of any"),
            Self::SnapshotWant { seq, .. } => write!(f, "SnapshotWant t{term} chunk {seq}"),
            Self::TermVouched { .. } => write!(f, "TermVouched t{term}"),
            Self::Rest { upto, .. } => write!(f, "Rest t{term} upto {upto}"),
            Self::Rested { upto, .. } => write!(f, "Rested t{term} upto {upto}"),
        }
    }
}
