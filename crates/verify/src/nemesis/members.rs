//! Members that go and come.

use super::{Effect, Stage};
use crate::target;
use quorate_proto::etcdserverpb::Member;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A change may have to be asked for again for so long: while another one is on its way it is refused.
const PATIENCE: Duration = Duration::from_secs(60);

/// A member is removed; in its place, with nothing of what it held, a new one is added, which gets all from the others: in
/// half of the cases as a learner that is promoted by a request of its own.
pub(super) async fn replace(stage: &mut Stage<'_>) -> Result<(String, Effect), String> {
    let (claim, who) = stage.claim().await;
    let victim = claim.at;
    stage.mend_unread(victim);
    stage.whole(victim).await?;
    let learner = stage.rng.chance(1, 2);
    let how = if learner { ", by a learner that is promoted" } else { "" };
    let what = format!("{who}{how}");
    let place = stage.cluster.places[victim].clone();
    let old = stage.says_its_id(victim).await?;
    stage.note("remove", &what);
    let remove = |url: String| async move { target::remove_member(&url, old).await };
    stage.change(victim, remove, |members| members.iter().all(|m| m.id != old)).await?;
    stage.hold(200, 3000).await;
    // What was removed stops by itself, or is of no use any more.
    stage.cluster.kill(victim).await?;
    std::fs::remove_dir_all(&place.data).map_err(|e| format!("{}: {e}", place.data.display()))?;
    stage.note("add", &what);
    let peer = place.peer_url();
    let add = |url: String| {
        let peer = peer.clone();
        async move { target::add_member(&url, &peer, learner).await }
    };
    let added = |members: &[Member]| members.iter().any(|m| m.id != old && m.peer_ur_ls.contains(&peer));
    stage.change(victim, add, added).await?;
    stage.cluster.places[victim].joins.set(true);
    stage.cluster.start(victim)?;
    if learner {
        let id = stage.says_its_id(victim).await?;
        stage.note("promote", &what);
        let promote = |url: String| async move { target::promote_member(&url, id).await };
        stage.change(victim, promote, |members| members.iter().any(|m| m.id == id && !m.is_learner)).await?;
    }
    stage.whole(victim).await?;
    let new = stage.says_its_id(victim).await?;
    stage.note("joined", &what);
    let replaced = u64::from(new != old);
    Ok((what, Effect::new(replaced, format!("member {old:x} went, member {new:x} came and serves"))))
}

impl Stage<'_> {
    /// The id of a node, which may be just starting, or slow after what was done to it; a learner tells it, too.
    async fn says_its_id(&self, at: usize) -> Result<u64, String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let why = match target::status(&self.cluster.places[at].direct()).await {
                Ok(status) if status.id != 0 => return Ok(status.id),
                Ok(_) => "it has no id yet".to_string(),
                Err(why) => why,
            };
            if Instant::now() > end {
                return Err(format!(
                    "node {} does not say who it is: {why}{}",
                    at + 1,
                    self.cluster.tail(at)
                ));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks the other nodes in turn for a change until it is done.
    async fn change<F>(
        &self,
        but: usize,
        ask: impl Fn(String) -> F,
        done: impl Fn(&[Member]) -> bool,
    ) -> Result<(), String>
    where
        F: Future<Output = Result<(), String>>,
    {
        let others = self.cluster.places.iter().enumerate().filter(|(at, _)| *at != but);
        let urls: Vec<String> = others.map(|(_, place)| place.direct()).collect();
        settle(&urls, PATIENCE, ask, |url| async move { target::list_members(&url).await }, done).await
    }
}

/// Asks the nodes in turn for a change until it is done. An answer that did not come leaves open whether it is, and so does a refusal
/// behind it, whatever its words: the list of members says so, once a node can give it. After `patience` it gives up.
async fn settle<A, L>(
    urls: &[String],
    patience: Duration,
    ask: impl Fn(String) -> A,
    list: impl Fn(String) -> L,
    done: impl Fn(&[Member]) -> bool,
) -> Result<(), String>
where
    A: Future<Output = Result<(), String>>,
    L: Future<Output = Result<Vec<Member>, String>>,
{
    let (end, pause) = (Instant::now() + patience, patience / 300);
    let mut turns = urls.iter().cycle();
    while let Some(url) = turns.next() {
        let Err(why) = ask(url.clone()).await else { return Ok(()) };
        for url in turns.by_ref() {
            let listed = list(url.clone()).await;
            match listed {
                Ok(members) if done(&members) => return Ok(()),
                Ok(_) => break,
                Err(unknown) if Instant::now() > end => {
                    return Err(format!(
                        "whether the members were changed is not known: {why}; then: {unknown}"
                    ));
                }
                Err(_) => sleep(pause).await,
            }
        }
        if Instant::now() > end {
            return Err(format!("the members cannot be changed: {why}"));
        }
        sleep(pause).await;
    }
    Err("there is no other node to ask".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Claim: a removal that is done though nobody said so is no finding, whatever the next answers are; and what is not done is asked
    /// for again.
    #[tokio::test]
    async fn what_was_done_without_an_answer_is_done() {
        let urls = ["a".to_string(), "b".to_string()];
        let (asked, listed) = (Cell::new(0), Cell::new(0));
        let old = Member { id: 7, ..Member::default() };
        // The first is lost, the second is done without an answer, all others are refused in any words.
        let ask = |_: String| {
            asked.set(asked.get() + 1);
            async { Err(if asked.get() < 3 { "no answer" } else { "unhealthy cluster" }.to_string()) }
        };
        let list = |_: String| {
            listed.set(listed.get() + 1);
            let there = if asked.get() < 2 { vec![old.clone()] } else { vec![] };
            let answers = listed.get() % 3 == 0;
            async move { if answers { Ok(there) } else { Err("no leader".to_string()) } }
        };
        let gone = |members: &[Member]| members.iter().all(|m| m.id != 7);
        assert_eq!(settle(&urls, PATIENCE / 10, ask, list, gone).await, Ok(()));
        assert_eq!((asked.get(), listed.get()), (2, 6));
    }

    /// Claim: what stays undone, or unknown, is a finding.
    #[tokio::test]
    async fn what_is_never_done_is_told() {
        let urls = ["a".to_string()];
        let refuse = |_: String| async { Err("unhealthy cluster".to_string()) };
        let told = settle(&urls, Duration::from_millis(30), refuse, |_| async { Ok(vec![]) }, |_| false)
            .await
            .unwrap_err();
        assert!(told.contains("cannot be changed: unhealthy cluster"), "{told}");
        let silent = |_: String| async { Err("no answer".to_string()) };
        let told = settle(&urls, Duration::from_millis(30), refuse, silent, |_| true).await.unwrap_err();
        assert!(told.contains("not known"), "{told}");
    }
}
