//! The pages that say how the node does: `/health`, `/livez`, `/readyz`, as etcd has them.
//!
//! `/health` is one verdict: no alarm stands, there is a leader, a read is answered. `exclude=ALARM` passes an alarm over,
//! `serializable=true` asks for no leader. `/livez` and `/readyz` are made of checks, each with a page of its own
//! (`/readyz/linearizable_read`); `exclude=CHECK` leaves one out, `verbose` shows them one by one.
//!
//! A node that is alive turns its loop; one that is ready serves, has no CORRUPT alarm and is no learner. Want of room is no
//! reason to send clients elsewhere: the alarm is everybody's, and reads and deletions go on. A node that fetches its state
//! from its peers is alive and not ready, and so is one with too much to do: whoever restarts what is not alive would only make
//! them begin again. (etcd's `/livez` is a serializable read; it has no such states.)

use crate::front::{Page, json, text};
use crate::{Counters, Gateway, maintenance};
use quorate_node::api::{Answer, Body, Failure, Request, Status};
use quorate_wire::kv::{AlarmKind, KeyRange, Range};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a page waits for the node.
const PAGE_PATIENCE: Duration = Duration::from_secs(5);

/// One thing that is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
    /// In the place of etcd's serializable read: see the module page.
    Alive,
}

const LIVE: [Check; 1] = [Check::Alive];
const READY: [Check; 4] =
    [Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead | Self::Alive => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }
}

/// The values that a query gives to `name`, which may stand in it more than once; one without a value is empty.
fn values<'q>(query: &'q str, name: &'q str) -> impl Iterator<Item = &'q str> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

impl Gateway {
    /// The page at `path`, if it is one of these.
    pub(crate) async fn health_page(&self, path: &str, query: &str) -> Option<Page> {
        if path == "/health" {
            return Some(self.health(query).await);
        }
        let (page, part) = match path.strip_prefix('/')?.split_once('/') {
            Some((page, part)) => (page, Some(part)),
            None => (&path[1..], None),
        };
        let all: &[Check] = match page {
            "livez" => &LIVE,
            "readyz" => &READY,
            _ => return None,
        };
        let excluded: Vec<&str> = values(query, "exclude").collect();
        let chosen: Vec<Check> = match part {
            Some(part) => all.iter().copied().filter(|check| check.name() == part).collect(),
            None => all.iter().copied().filter(|check| !excluded.contains(&check.name())).collect(),
        };
        if part.is_some() && chosen.is_empty() {
            return None;
        }
        Some(self.checked(&chosen, values(query, "verbose").next().is_some()).await)
    }

    async fn health(&self, query: &str) -> Page {
        let serializable = values(query, "serializable").any(|value| value == "true");
        let excluded: Vec<&str> = values(query, "exclude").collect();
        let reason = self.unhealthy(serializable, &excluded).await;
        let Counters { healthy, unhealthy, .. } = &*self.counters;
        (if reason.is_none() { healthy } else { unhealthy }).fetch_add(1, Ordering::Relaxed);
        match reason {
            None => json(200, r#"{"health":"true","reason":""}"#.into()),
            Some(reason) => json(503, format!(r#"{{"health":"false","reason":"{reason}"}}"#)),
        }
    }

    async fn unhealthy(&self, serializable: bool, excluded: &[&str]) -> Option<String> {
        if let Ok(status) = self.status_now().await {
            let mut names = status.alarms.iter().map(|alarm| maintenance::name(alarm.kind));
            if let Some(name) = names.find(|name| !excluded.contains(name)) {
                return Some(format!("ALARM {name}"));
            }
        }
        self.unserved(serializable).await.map(str::to_string)
    }

    async fn checked(&self, checks: &[Check], verbose: bool) -> Page {
        let (mut lines, mut failed) = (String::new(), false);
        for &check in checks {
            // Writing to a String cannot fail.
            let _ = match self.check(check).await {
                None => writeln!(lines, "[+]{} ok", check.name()),
                Some(reason) => {
                    failed = true;
                    writeln!(lines, "[-]{} failed: {reason}", check.name())
                }
            };
        }
        match (failed, verbose) {
            (true, _) => text(503, lines),
            (false, true) => text(200, lines + "ok\n"),
            (false, false) => text(200, "ok\n".into()),
        }
    }

    /// Why a check fails; `None` if it holds.
    async fn check(&self, check: Check) -> Option<&'static str> {
        match check {
            Check::Alive => self.status_now().await.err(),
            Check::SerializableRead => self.unserved(true).await,
            Check::LinearizableRead => self.unserved(false).await,
            Check::DataCorruption => match self.status_now().await {
                Err(why) => Some(why),
                Ok(status) => {
                    status.alarms.iter().any(|a| a.kind == AlarmKind::Corrupt).then_some("ALARM CORRUPT")
                }
            },
            Check::NonLearner => match self.status_now().await {
                Err(why) => Some(why),
                Ok(status) => status.learner.then_some("LEARNER"),
            },
        }
    }

    /// The node's word about itself, or that its loop does not turn. One that has too much to do turns.
    async fn status_now(&self) -> Result<Status, &'static str> {
        if self.door.stopping() {
            return Err("STOPPING");
        }
        match self.call(Request::Status, Some(PAGE_PATIENCE)).await {
            Ok(Ok(Answer { body: Body::Status(status), .. })) => Ok(status),
            Ok(Err(Failure::Overloaded)) => Ok(Status::default()),
            _ => Err("STATUS ERROR"),
        }
    }

    /// Why a client's read would not be served; `None` if it would.
    async fn unserved(&self, serializable: bool) -> Option<&'static str> {
        if self.door.stopping() {
            return Some("STOPPING");
        }
        if self.door.away() {
            return Some("STATE LOST");
        }
        if !serializable && self.door.leaderless().is_some() {
            return Some("RAFT NO LEADER");
        }
        let range = KeyRange { key: vec![0].into(), end: vec![0].into() };
        let range = Range { range, limit: 1, keys_only: true, ..Range::default() };
        match self.call(Request::Range { range, serializable }, Some(PAGE_PATIENCE)).await {
            Ok(Ok(_)) => None,
            Ok(Err(Failure::NoLeader)) => Some("RAFT NO LEADER"),
            _ => Some("RANGE ERROR"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{Alone, gateway};
    use quorate_wire::kv::{Alarm, AlarmKind};
    use tonic::codegen::http;

    async fn page(node: Alone, path: &str) -> u16 {
        let asked = http::Request::get(path).body(()).unwrap().into_parts().0;
        gateway(std::sync::Arc::new(node)).page(&asked).await.status().as_u16()
    }

    /// Claim: a node that must not be restarted is alive, and one that does not serve is not ready.
    #[tokio::test]
    async fn alive_is_not_ready() {
        let (lost, overloaded) =
            (|| Alone { lost: true, ..Alone::default() }, || Alone { overloaded: true, ..Alone::default() });
        let nodes: [(&dyn Fn() -> Alone, u16, u16); 3] =
            [(&Alone::default, 200, 200), (&lost, 200, 503), (&overloaded, 200, 503)];
        for (node, alive, healthy) in nodes {
            assert_eq!(page(node(), "/livez").await, alive);
            assert_eq!(page(node(), "/health?serializable=true").await, healthy);
            assert_eq!(page(node(), "/health").await, 503, "there is no leader");
            assert_eq!(page(node(), "/readyz").await, 503, "there is no leader");
        }
    }

    /// Claim: an alarm makes `/health` say so unless it is excluded, and of `/readyz` that of a corruption alone.
    #[tokio::test]
    async fn alarms_are_unhealthy_unless_they_are_excluded() {
        let alarmed = |kind| Alone { alarms: vec![Alarm { kind, member: 1 }], ..Alone::default() };
        for (kind, name, corrupt) in
            [(AlarmKind::NoSpace, "NOSPACE", 200), (AlarmKind::Corrupt, "CORRUPT", 503)]
        {
            assert_eq!(page(alarmed(kind), "/health?serializable=true").await, 503);
            let excluded = format!("/health?serializable=true&exclude=OTHER&exclude={name}");
            assert_eq!(page(alarmed(kind), &excluded).await, 200);
            assert_eq!(page(alarmed(kind), "/readyz/data_corruption").await, corrupt);
            assert_eq!(page(alarmed(kind), "/readyz?exclude=linearizable_read").await, corrupt);
            assert_eq!(page(alarmed(kind), "/livez?verbose").await, 200);
        }
        assert_eq!(page(Alone::default(), "/readyz/linearizable_read").await, 503);
        assert_eq!(page(Alone::default(), "/readyz/no_such_check").await, 404);
    }
}
