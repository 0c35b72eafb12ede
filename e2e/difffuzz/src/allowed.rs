//! The differences that are allowed, each with an id that `differences.md` explains. A test holds the two together.

use crate::op::Op;
use crate::side::Reply;
use crate::watch::Item;
use quorate_proto::mvccpb::Event;
use tonic::Code;

/// How far two clocks may be apart, in seconds of a lease's remaining time.
const CLOCKS: i64 = 2;

/// The ids of all rules.
#[cfg(test)]
const IDS: [&str; 7] = [
    "3.4-alarm-header",
    "3.4-auth-status",
    "3.4-progress",
    "compacted-prev-kv",
    "progress-after-compaction",
    "same-revision-prev-kv",
    "unknown-compare",
];

/// Takes the difference of clocks out of a reply: what remains of a lease was read at two moments.
pub fn clocks(a: &Reply, b: &mut Reply) {
    match (a, b) {
        (Reply::TimeToLive(a), Reply::TimeToLive(b)) if a.ttl > 0 && (a.ttl - b.ttl).abs() <= CLOCKS => {
            b.ttl = a.ttl;
        }
        (Reply::Several(a), Reply::Several(b)) => {
            a.iter().zip(b).for_each(|(a, b)| clocks(a, b));
        }
        _ => {}
    }
}

/// The rule that allows these replies to differ, if one does. Each comes with whether its side is etcd 3.4; `overtaken`
/// says that the step is about a stream of which a compaction cancelled a watch.
pub fn reply(op: &Op, overtaken: bool, a: (&Reply, bool), b: (&Reply, bool)) -> Option<&'static str> {
    if matches!(op, Op::Txn(_)) && [a.0, b.0].into_iter().any(refuses_compare) {
        return Some("unknown-compare");
    }
    if overtaken && matches!((a.0, b.0), (Reply::Progress(_), Reply::Progress(_))) {
        return Some("progress-after-compaction");
    }
    match (a.1, b.1) {
        (true, false) => of_3_4(op, a.0, b.0),
        (false, true) => of_3_4(op, b.0, a.0),
        _ => None,
    }
}

/// Quorate's answer to a compare that does not exist.
fn refuses_compare(reply: &Reply) -> bool {
    matches!(reply, Reply::Error { code: Code::InvalidArgument, text }
        if text.starts_with("etcdserver: the ") && text.ends_with(" of a compare is unknown"))
}

/// What changed between etcd 3.4, which answered `old`, and what is current.
fn of_3_4(op: &Op, old: &Reply, new: &Reply) -> Option<&'static str> {
    match (op, old, new) {
        (Op::Alarms, Reply::Alarms(old), Reply::Alarms(new)) => {
            (old.header.is_none() && old.alarms == new.alarms).then_some("3.4-alarm-header")
        }
        (Op::AuthStatus, Reply::Error { code: Code::Unimplemented, .. }, _) => Some("3.4-auth-status"),
        (Op::WatchProgress { .. }, Reply::Progress(Some(_)), Reply::Progress(None)) => Some("3.4-progress"),
        _ => None,
    }
}

/// The rule that allows what two watches say to differ, if one does; the store is compacted at `compacted`.
pub fn watch(a: &Item, b: &Item, compacted: i64) -> Option<&'static str> {
    match (a, b) {
        (Item::Event(a), Item::Event(b)) => {
            let revision = a.kv.as_ref().map_or(i64::MAX, |kv| kv.mod_revision);
            let alike = Event { prev_kv: None, ..a.clone() } == Event { prev_kv: None, ..b.clone() };
            let gone = a.prev_kv.is_none() || b.prev_kv.is_none();
            let of = |event: &Event| event.prev_kv.as_ref().map(|kv| kv.mod_revision);
            if alike && gone && revision <= compacted {
                Some("compacted-prev-kv")
            } else if alike && (of(a) == Some(revision) || of(b) == Some(revision)) {
                Some("same-revision-prev-kv")
            } else {
                None
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::IDS;

    #[test]
    fn every_rule_is_explained_and_every_explanation_has_a_rule() {
        let page = include_str!("../../differences.md");
        let explained: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("## `")?.split('`').next()).collect();
        assert_eq!(explained, IDS);
    }
}
