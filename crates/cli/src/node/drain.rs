//! Before a member is removed, its replicas of tables' shards move to others.
//!
//! The cluster is told that the member is to leave, and it keeps that: whoever moves replicas gives it none any more and takes away
//! those that it has, while it serves on. Here that is only waited for. Who stops waiting has stopped nothing: given again the
//! command finds the rest, and `quorate node keep` takes it back.
//!
//! A member that does not answer is removed at once, since the others have to make its replicas anew anyhow; and so is one whose
//! shards would have fewer copies without it, as far as these are concerned.

use super::{Guide, PATIENCE, Step, explain};
use crate::probe;
use crate::report::{Exit, Problem};
use quorate_proto::quoratepb as pb;
use quorate_proto::quoratepb::shards_client::ShardsClient;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is asked how far it is.
const LOOK: Duration = Duration::from_millis(500);
/// How long a member may take to answer at all.
const ANSWERS: Duration = Duration::from_secs(2);
/// A member that so often does not answer is taken for dead.
const SILENCES: u32 = 5;

/// Why replicas do not move away before their member goes.
#[derive(Clone, Copy, Serialize, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Why {
    /// It does not answer.
    Silent,
    /// There are too few others for the copies that they have.
    TooFewNodes,
}

impl Step<'_> {
    pub(super) fn words_of_drain(&self) -> String {
        let of = |shards: u64| if shards == 1 { "1 shard".into() } else { format!("{shards} shards") };
        match self {
            Self::Drains { id, shards } => format!(
                "member {id:x} is to leave: its replicas of {} move to others, also while nobody waits for it; \
                 `quorate node keep {id:x}` takes that back",
                of(*shards)
            ),
            Self::Draining { id, left, moved, seconds_left } => {
                let about = seconds_left.map_or_else(String::new, |s| format!(", about {} left", span(s)));
                format!("member {id:x} still has {}, {moved} moved{about}", of(*left))
            }
            Self::Undrained { id, shards, why: Why::Silent } => format!(
                "member {id:x} does not answer: it is removed at once, and the others make its replicas of {} anew",
                of(*shards)
            ),
            Self::Undrained { id, shards, why: Why::TooFewNodes } => format!(
                "too few members stay for all copies of {} of member {id:x}: these have fewer copies from now on, until a \
                 member is added",
                of(*shards)
            ),
            Self::Drained { id } => {
                format!("member {id:x} has no replicas of tables' shards that could go elsewhere")
            }
            _ => String::new(),
        }
    }
}

/// A time in words, short.
fn span(seconds: u64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    }
}

/// How fast replicas went so far.
struct Rate {
    began: Instant,
    had: u64,
}

impl Rate {
    /// How long the rest takes if it goes on like this; nothing is known before anything went.
    fn seconds_left(&self, left: u64, now: Instant) -> Option<u64> {
        let moved = self.had.checked_sub(left).filter(|&moved| moved > 0)?;
        let took = now.saturating_duration_since(self.began).as_secs_f64();
        Some((took / moved as f64 * left as f64).ceil() as u64)
    }
}

impl Guide {
    /// What the cluster knows of a member's replicas; `None` if it knows of no such thing.
    async fn leaver(&self, id: u64) -> Result<Option<pb::Leaver>, Problem> {
        let mut failures = Vec::new();
        for endpoint in &self.endpoints {
            match probe::moves(endpoint, PATIENCE, id).await {
                Ok(told) => {
                    return Ok(told.and_then(|told| told.leavers.into_iter().find(|l| l.node == id)));
                }
                Err(why) => failures.push(format!("{endpoint}: {why}")),
            }
        }
        let what = format!("no endpoint tells of the shards of member {id:x}: {}", failures.join("; "));
        Err(Problem::new(Exit::Failed, what, "name members that serve with --endpoints"))
    }

    async fn say_leaves(&self, node: u64, leaves: bool) -> Result<(), Problem> {
        let mut failures = Vec::new();
        for endpoint in &self.endpoints {
            match probe::connect(endpoint, PATIENCE).await {
                Ok(channel) => {
                    let said = ShardsClient::new(channel).leave(pb::LeaveRequest { node, leaves }).await;
                    let what = if leaves { "have the member leave" } else { "keep the member" };
                    return said.map(drop).map_err(|status| explain(what, &status));
                }
                Err(why) => failures.push(format!("{endpoint}: {why}")),
            }
        }
        let hint = "name members that serve with --endpoints";
        Err(Problem::new(Exit::Failed, format!("no endpoint answers: {}", failures.join("; ")), hint))
    }

    /// The member is to stay after all.
    pub(super) async fn keep(&self, node: &str) -> Result<(), Problem> {
        let member = self.find(node).await?;
        self.say_leaves(member.id, false).await?;
        self.tell(&Step::Stays { id: member.id });
        Ok(())
    }

    /// Has a member's replicas moved to others, as far as they can be, and waits for that.
    pub(super) async fn drain(&self, id: u64) -> Result<(), Problem> {
        let Some(leaver) = self.leaver(id).await?.filter(|leaver| leaver.shards > 0) else { return Ok(()) };
        let members = self.members().await?;
        let url = members.iter().find(|m| m.id == id).and_then(|m| m.client_urls.first()).cloned();
        let Some(url) = url.filter(|_| leaver.stuck < leaver.shards) else {
            let why = if leaver.stuck < leaver.shards { Why::Silent } else { Why::TooFewNodes };
            self.tell(&Step::Undrained { id, shards: leaver.shards, why });
            return Ok(());
        };
        if !self.answers(&url).await {
            self.tell(&Step::Undrained { id, shards: leaver.shards, why: Why::Silent });
            return Ok(());
        }
        self.say_leaves(id, true).await?;
        self.tell(&Step::Drains { id, shards: leaver.shards - leaver.stuck });
        self.drains(id, &url, leaver.shards - leaver.stuck).await
    }

    /// Whether the cluster has been told that a member is to leave.
    pub(super) async fn is_to_leave(&self, id: u64) -> Result<bool, Problem> {
        Ok(self.leaver(id).await?.is_some_and(|leaver| leaver.leaves))
    }

    /// Says of a member that it is to leave, where the cluster can know such a thing: another is about to take its place.
    pub(super) async fn leaves_for_another(&self, id: u64) -> Result<(), Problem> {
        match self.leaver(id).await? {
            Some(leaver) if !leaver.leaves => self.say_leaves(id, true).await,
            _ => Ok(()),
        }
    }

    async fn answers(&self, url: &str) -> bool {
        probe::status(url, ANSWERS).await.is_ok()
    }

    async fn drains(&self, id: u64, url: &str, had: u64) -> Result<(), Problem> {
        let rate = Rate { began: Instant::now(), had };
        let (mut seen, mut left, mut end, mut silent) = (false, had, rate.began + self.timeout, 0);
        loop {
            let Some(leaver) = self.leaver(id).await? else { return Ok(()) };
            if seen && !leaver.leaves {
                let what = format!("member {id:x} is not to leave any more: that was taken back");
                return Err(Problem::new(Exit::Failed, what, "it is a member still; give the command again"));
            }
            seen |= leaver.leaves;
            let now = leaver.shards.saturating_sub(leaver.stuck);
            if seen && now == 0 {
                if leaver.stuck > 0 {
                    self.tell(&Step::Undrained { id, shards: leaver.stuck, why: Why::TooFewNodes });
                }
                self.tell(&Step::Drained { id });
                return Ok(());
            }
            if now != left {
                let seconds_left = rate.seconds_left(now, Instant::now());
                self.tell(&Step::Draining { id, left: now, moved: had.saturating_sub(now), seconds_left });
                (left, end) = (now, Instant::now() + self.timeout);
            }
            silent = if self.answers(url).await { 0 } else { silent + 1 };
            if silent >= SILENCES {
                self.tell(&Step::Undrained { id, shards: leaver.shards, why: Why::Silent });
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Problem::new(
                    Exit::Failed,
                    format!(
                        "member {id:x} still has {left} shards, and none moved within {:?}",
                        self.timeout
                    ),
                    format!(
                        "`quorate status` names what is not well; it goes on when it can, give the command again to wait for it; \
                         --no-drain removes the member at once, and `quorate node keep {id:x}` keeps it"
                    ),
                ));
            }
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_estimated_by_what_went() {
        let began = Instant::now();
        let rate = Rate { began, had: 40 };
        let after = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(rate.seconds_left(40, after(9)), None, "nothing went yet");
        assert_eq!(rate.seconds_left(30, after(10)), Some(30));
        assert_eq!(rate.seconds_left(0, after(10)), Some(0));
        assert_eq!(rate.seconds_left(41, after(10)), None, "a table was made meanwhile");
        assert_eq!([span(119), span(600), span(7_300)], ["119 s", "10 min", "2 h"]);
    }

    #[test]
    fn each_step_has_words() {
        let steps = [
            (Step::Drains { id: 10, shards: 3 }, "quorate node keep a"),
            (
                Step::Draining { id: 10, left: 1, moved: 2, seconds_left: Some(9) },
                "1 shard, 2 moved, about 9 s left",
            ),
            (Step::Draining { id: 10, left: 2, moved: 0, seconds_left: None }, "2 shards, 0 moved"),
            (Step::Drained { id: 10 }, "member a has no replicas"),
            (Step::Undrained { id: 10, shards: 2, why: Why::Silent }, "removed at once"),
            (Step::Undrained { id: 10, shards: 2, why: Why::TooFewNodes }, "fewer copies"),
        ];
        for (step, words) in steps {
            assert!(step.words().contains(words), "{}", step.words());
        }
    }
}
