//! The differences that are allowed, each with an id that `differences.md` explains. A test holds the two together.

use crate::op::Op;
use crate::side::Reply;
use crate::watch::Item;

/// How far two clocks may be apart, in seconds of a lease's remaining time.
const CLOCKS: i64 = 2;

/// The ids of all rules.
#[cfg(test)]
const IDS: [&str; 0] = [];

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
pub fn reply(
    _op: &Op,
    (_a, _version_a): (&Reply, &str),
    (_b, _version_b): (&Reply, &str),
) -> Option<&'static str> {
    None
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
