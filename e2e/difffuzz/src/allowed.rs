//! The differences that are allowed, each with an id that `differences.md` explains. A test holds the two together.

use crate::op::Op;
use crate::side::Reply;
use crate::watch::Item;
use tonic::Code;

/// How far two clocks may be apart, in seconds of a lease's remaining time.
const CLOCKS: i64 = 2;

/// The ids of all rules.
#[cfg(test)]
const IDS: [&str; 3] = ["3.4-alarm-header", "3.4-auth-status", "3.4-progress"];

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

/// The rule that allows these replies to differ, if one does. Each comes with the version that its side reports.
pub fn reply(op: &Op, a: (&Reply, &str), b: (&Reply, &str)) -> Option<&'static str> {
    let old = |version: &str| version.starts_with("3.4.");
    match (old(a.1), old(b.1)) {
        (true, false) => of_3_4(op, a.0, b.0),
        (false, true) => of_3_4(op, b.0, a.0),
        _ => None,
    }
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

/// The rule that allows what two watches say to differ, if one does.
pub fn watch(_a: &Item, _b: &Item, _versions: (&str, &str)) -> Option<&'static str> {
    None
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
