//! `quorate node`: members come and go, step by step and with progress.
//!
//! Each command says what it does, waits until that is so, and can be interrupted and given again: what is done already is
//! found and passed over. Nothing is kept here; the cluster's member list is the memory, and its word about who is to leave
//! ([`drain`]). It works by etcd's Cluster service.

mod drain;
mod start;

use crate::probe::{self, Cluster, MemberInfo, time};
use crate::report::{Exit, Problem, say};
use quorate_client::told;
use quorate_proto::etcdserverpb as pb;
use quorate_proto::quoratepb::MovesResponse;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// How a cluster refuses a change that it might not bear, in etcd's words.
const UNHEALTHY: &str = "etcdserver: unhealthy cluster";
/// How often the cluster is asked how far it is.
const POLL: Duration = Duration::from_millis(200);
/// So far behind a learner may be to be called caught up.
const CLOSE: u64 = 100;

const EXAMPLES: &str = "\
Examples:
  quorate node add 10.0.0.4:7100                  a member more; prints what to start there, and waits for its vote
  quorate node add 10.0.0.5:7100 --learner        one without a vote, to be promoted later
  quorate node promote 5
  quorate node remove n2                          its shards of tables move to others before it goes
  quorate node keep n2                            it is to stay after all
  quorate node replace 3 --with 10.0.0.6:7100     a new member in the place of one whose disk is lost

NODE is a member's id or name, as `quorate status` shows them. A command that was interrupted goes on where it stopped when
it is given again.";

/// Add, promote, remove and replace members
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    cluster: Cluster,
    /// How long to wait for each step
    #[arg(long, value_name = "TIME", global = true, value_parser = time, default_value = "10m")]
    timeout: Duration,
    /// Speak JSON: one line a step
    #[arg(long, global = true)]
    json: bool,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Add a member, and wait until it holds the data and votes
    Add {
        /// Where the other nodes will reach it
        #[arg(value_name = "HOST:PORT", value_parser = peer)]
        peer: String,
        /// Give it no vote
        #[arg(long)]
        learner: bool,
        /// Do not wait for it to start
        #[arg(long)]
        no_wait: bool,
    },
    /// Give a learner its vote, once it holds the data
    Promote {
        /// Which
        node: String,
    },
    /// Remove a member; its replicas of tables' shards move to others first, and a leader hands over
    Remove {
        /// Which
        node: String,
        /// Remove it at once: the others rebuild its replicas afterwards
        #[arg(long)]
        no_drain: bool,
    },
    /// Take back that a member is to leave, where its removal was interrupted
    Keep {
        /// Which
        node: String,
    },
    /// Put a new member in the place of an old one
    Replace {
        /// Which
        node: String,
        /// Where the other nodes will reach the new one
        #[arg(long, value_name = "HOST:PORT", value_parser = peer)]
        with: String,
        /// Remove the old one at once: the others rebuild its replicas of tables' shards afterwards
        #[arg(long)]
        no_drain: bool,
    },
}

fn peer(text: &str) -> Result<String, String> {
    let address = address(&probe::url(text, "10.0.0.4:7100")?);
    let everywhere = ["0.0.0.0:", "[::]:"].iter().any(|any| address.starts_with(any));
    if everywhere {
        return Err(format!(
            "{address} is every address of a machine, and none at which others reach it: name one, as in 10.0.0.4:7100"
        ));
    }
    Ok(address)
}

/// `host:port` of a URL.
fn address(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_string()
}

/// What happened, for scripts.
#[derive(Serialize, Debug, PartialEq, Eq)]
#[serde(tag = "step", rename_all = "kebab-case")]
enum Step<'a> {
    Added { id: u64, peer: &'a str, start: &'a str, variables: &'a [String] },
    There { id: u64, peer: &'a str },
    Starts { id: u64 },
    CatchesUp { id: u64, lag: u64 },
    Votes { id: u64 },
    Settles,
    CaughtUp { id: u64 },
    Drains { id: u64, shards: u64 },
    Draining { id: u64, left: u64, moved: u64, seconds_left: Option<u64> },
    Drained { id: u64 },
    Undrained { id: u64, shards: u64, why: drain::Why },
    Stays { id: u64 },
    HandedOver { from: u64, to: u64 },
    Removed { id: u64 },
    Gone { node: &'a str },
}

impl Step<'_> {
    /// The same for people.
    fn words(&self) -> String {
        match self {
            Self::Added { id, peer, start, variables } => {
                let added =
                    format!("added member {id:x}, to be reached at {peer}; start it there:\n  {start}");
                let otherwise = "\nor, as the member that was asked, by `quorate etcd` with these variables or flags:\n  ";
                if variables.is_empty() { added } else { added + otherwise + &variables.join("\n  ") }
            }
            Self::There { id, peer } => format!("member {id:x} at {peer} is there already"),
            Self::Starts { id } => format!("waiting for member {id:x} to start"),
            Self::CatchesUp { id, lag } => {
                let behind = if *lag == 1 { "1 entry".into() } else { format!("{lag} entries") };
                format!("member {id:x} catches up: {behind} behind")
            }
            Self::Votes { id } => format!("member {id:x} holds the data and votes"),
            Self::Settles => {
                "waiting for the groups of tables' shards to follow the last change of members".into()
            }
            Self::CaughtUp { id } => format!("member {id:x} holds the data; it has no vote"),
            Self::Drains { .. } | Self::Draining { .. } | Self::Drained { .. } | Self::Undrained { .. } => {
                self.words_of_drain()
            }
            Self::Stays { id } => format!("member {id:x} stays"),
            Self::HandedOver { from, to } => format!("the leadership went from member {from:x} to {to:x}"),
            Self::Removed { id } => {
                format!(
                    "removed member {id:x}; its process stops once the others have its shards of tables, and then its data directory can \
                     be deleted"
                )
            }
            Self::Gone { node } => format!("there is no member {node} any more: taken for removed already"),
        }
    }
}

/// Does it.
pub(crate) fn run(args: &Args) -> Result<(), Problem> {
    let runtime = crate::runtime()?;
    let drains = match &args.command {
        Command::Remove { no_drain, .. } | Command::Replace { no_drain, .. } => !no_drain,
        _ => true,
    };
    let (endpoints, timeout, json) = (args.cluster.endpoints.clone(), args.timeout, args.json);
    let mut guide = Guide { endpoints, timeout, json, drains, replaces: None };
    runtime.block_on(async {
        match &args.command {
            Command::Add { peer, learner, no_wait } => {
                let id = guide.add(peer, *learner).await?;
                if *no_wait { Ok(()) } else { guide.wait_for(id, !learner).await }
            }
            Command::Promote { node } => guide.promote(node).await,
            Command::Remove { node, .. } => {
                let member = guide.find(node).await?;
                guide.remove(member.id).await
            }
            Command::Keep { node } => guide.keep(node).await,
            Command::Replace { node, with, .. } => guide.replace(node, with).await,
        }
    })
}

struct Guide {
    endpoints: Vec<String>,
    timeout: Duration,
    json: bool,
    /// Whoever goes is left by its replicas first.
    drains: bool,
    /// In whose place a member comes that is added.
    replaces: Option<u64>,
}

impl Guide {
    fn tell(&self, step: &Step<'_>) {
        say(&if self.json { serde_json::to_string(step).unwrap_or_default() } else { step.words() });
    }

    /// The members, as the leader knows them.
    async fn members(&self) -> Result<Vec<MemberInfo>, Problem> {
        let mut failures = Vec::new();
        for endpoint in &self.endpoints {
            match probe::cluster(endpoint, PATIENCE, true).await {
                Ok((_, members)) => return Ok(members),
                Err(why) => failures.push(format!("{endpoint}: {why}")),
            }
        }
        Err(Problem::new(
            Exit::Failed,
            format!("no endpoint answers for the cluster: {}", failures.join("; ")),
            "name members that serve with --endpoints; without a majority of its voters a cluster changes nothing",
        ))
    }

    async fn find(&self, node: &str) -> Result<MemberInfo, Problem> {
        let members = self.members().await?;
        which(&members, node).cloned().ok_or_else(|| no_such(&members, node))
    }

    /// A change of the members. Where it is refused for what passes by itself it is asked for again: a learner that is not in sync
    /// yet, and a cluster that takes no change though all who stay answer, since the groups of its tables follow the last one.
    async fn change<T, F>(
        &self,
        what: &str,
        goes: Option<u64>,
        call: impl Fn(pb::cluster_client::ClusterClient<Channel>) -> F,
    ) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let end = Instant::now() + self.timeout;
        let mut told = false;
        loop {
            let status = match self.try_call(&call).await? {
                Ok(done) => return Ok(done),
                Err(status) => status,
            };
            let unhealthy = status.message() == UNHEALTHY;
            let passes =
                status.message().contains("in sync") || unhealthy && self.others_answer(goes).await?;
            if !passes || Instant::now() >= end {
                return Err(explain(what, &status));
            }
            if unhealthy && !std::mem::replace(&mut told, true) {
                self.tell(&Step::Settles);
            }
            sleep(POLL).await;
        }
    }

    /// Whether all voters answer but the one that is to go.
    async fn others_answer(&self, goes: Option<u64>) -> Result<bool, Problem> {
        for member in self.members().await?.iter().filter(|m| !m.learner && Some(m.id) != goes) {
            // One that has not started has no say yet.
            let Some(url) = member.client_urls.first() else { continue };
            if probe::status(url, Duration::from_secs(2)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn try_call<T, F>(
        &self,
        call: impl Fn(pb::cluster_client::ClusterClient<Channel>) -> F,
    ) -> Result<Result<T, Status>, Problem>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut failures = Vec::new();
        for endpoint in &self.endpoints {
            match probe::connect(endpoint, PATIENCE).await {
                Ok(channel) => return Ok(call(pb::cluster_client::ClusterClient::new(channel)).await),
                Err(why) => failures.push(format!("{endpoint}: {why}")),
            }
        }
        let hint = "name members that serve with --endpoints";
        Err(Problem::new(Exit::Failed, format!("no endpoint answers: {}", failures.join("; ")), hint))
    }

    /// Adds it, unless it is there; its id.
    async fn add(&self, peer: &str, learner: bool) -> Result<u64, Problem> {
        if let Some(member) = self.members().await?.iter().find(|m| is_at(m, peer)) {
            self.tell(&Step::There { id: member.id, peer });
            return Ok(member.id);
        }
        let request =
            pb::MemberAddRequest { peer_ur_ls: vec![format!("http://{peer}")], is_learner: learner };
        let reply = self
            .change("add the member", None, |mut client| {
                let request = request.clone();
                async move { client.member_add(request).await.map(tonic::Response::into_inner) }
            })
            .await?;
        let id = reply.member.as_ref().map_or(0, |member| member.id);
        let others = self.others().await;
        let (start, variables) = (self.start(peer, &others), start::variables(peer, &reply.members, &others));
        self.tell(&Step::Added { id, peer, start: &start, variables: &variables });
        Ok(id)
    }

    /// What the first node that tells says of the members' zones, and of what it serves; nothing where none does.
    async fn others(&self) -> MovesResponse {
        for endpoint in &self.endpoints {
            if let Ok(Some(told)) = probe::moves(endpoint, PATIENCE, 0).await {
                return told;
            }
        }
        MovesResponse::default()
    }

    /// Waits until the member has started, holds the data and, if it is to, votes.
    async fn wait_for(&self, id: u64, votes: bool) -> Result<(), Problem> {
        let end = Instant::now() + self.timeout;
        let (mut told_start, mut last_lag) = (false, None);
        loop {
            let members = self.members().await?;
            let Some(member) = members.iter().find(|m| m.id == id) else {
                let what = format!("member {id:x} was removed while it was waited for");
                return Err(Problem::new(Exit::Failed, what, "add it again"));
            };
            let waits = match member.client_urls.first() {
                None => {
                    if !told_start {
                        told_start = true;
                        self.tell(&Step::Starts { id });
                    }
                    "it has not started: its own output says why, where it was tried".to_string()
                }
                Some(url) => match self.lag(id, url).await {
                    Ok((learner, lag)) if lag <= CLOSE && !(votes && learner) => {
                        self.tell(&if learner { Step::CaughtUp { id } } else { Step::Votes { id } });
                        return Ok(());
                    }
                    Ok((_, lag)) => {
                        if last_lag != Some(lag) {
                            last_lag = Some(lag);
                            self.tell(&Step::CatchesUp { id, lag });
                        }
                        format!("it is {lag} entries behind")
                    }
                    Err(why) => format!("{url}: {why}"),
                },
            };
            if Instant::now() >= end {
                return Err(Problem::new(
                    Exit::Failed,
                    format!("member {id:x} does not serve after {:?}: {waits}", self.timeout),
                    "nothing was undone: give the command again to go on waiting, or `quorate node remove` to give it up",
                ));
            }
            sleep(POLL).await;
        }
    }

    /// Whether a member has no vote, and how many entries it is behind the furthest.
    async fn lag(&self, id: u64, url: &str) -> Result<(bool, u64), String> {
        let status = probe::status(url, PATIENCE).await?;
        if status.id != id {
            return Err(format!("member {:x} answers there", status.id));
        }
        let mut furthest = status.index;
        for endpoint in &self.endpoints {
            if let Ok(other) = probe::status(endpoint, PATIENCE).await {
                furthest = furthest.max(other.index);
                break;
            }
        }
        Ok((status.learner, furthest.saturating_sub(status.applied)))
    }

    async fn promote(&self, node: &str) -> Result<(), Problem> {
        let member = self.find(node).await?;
        self.gets_its_vote(&member).await
    }

    /// Waits until the member has started, holds the data and votes; a learner is promoted.
    async fn gets_its_vote(&self, member: &MemberInfo) -> Result<(), Problem> {
        let id = member.id;
        if !member.learner {
            return self.wait_for(id, true).await;
        }
        self.wait_for(id, false).await?;
        // From here on it looks like any other voter: that somebody is to leave is what tells whose place it takes.
        if let Some(old) = self.replaces.filter(|_| self.drains) {
            self.leaves_for_another(old).await?;
        }
        self.change("promote the member", None, |mut client| async move {
            client.member_promote(pb::MemberPromoteRequest { id }).await
        })
        .await?;
        self.tell(&Step::Votes { id });
        Ok(())
    }

    async fn remove(&self, id: u64) -> Result<(), Problem> {
        if self.drains {
            self.drain(id).await?;
        }
        self.hand_over(id).await?;
        self.change("remove the member", Some(id), |mut client| async move {
            client.member_remove(pb::MemberRemoveRequest { id }).await
        })
        .await?;
        self.tell(&Step::Removed { id });
        Ok(())
    }

    /// Where the member leads, another is to lead first: so no write waits for an election. If that fails, it is removed all
    /// the same.
    async fn hand_over(&self, id: u64) -> Result<(), Problem> {
        let members = self.members().await?;
        let Some(url) = members.iter().find(|m| m.id == id).and_then(|m| m.client_urls.first()) else {
            return Ok(());
        };
        if !probe::status(url, PATIENCE).await.is_ok_and(|status| status.leader == id) {
            return Ok(());
        }
        for other in members.iter().filter(|m| m.id != id && !m.learner) {
            let Some(theirs) = other.client_urls.first() else { continue };
            if !probe::status(theirs, PATIENCE).await.is_ok_and(|status| !status.learner) {
                continue;
            }
            let Ok(channel) = probe::connect(url, PATIENCE).await else { return Ok(()) };
            let mut client = pb::maintenance_client::MaintenanceClient::new(channel);
            if client.move_leader(pb::MoveLeaderRequest { target_id: other.id }).await.is_ok() {
                self.tell(&Step::HandedOver { from: id, to: other.id });
                return Ok(());
            }
        }
        Ok(())
    }

    async fn replace(&mut self, node: &str, with: &str) -> Result<(), Problem> {
        let members = self.members().await?;
        let there = members.iter().find(|m| is_at(m, with));
        let Some(old) = which(&members, node) else {
            // Done before, as it seems: where nobody is in its place either, there never was such a member.
            let new = there.filter(|new| may_follow(node, new)).ok_or_else(|| no_such(&members, node))?;
            self.tell(&Step::Gone { node });
            self.tell(&Step::There { id: new.id, peer: with });
            return self.gets_its_vote(new).await;
        };
        let same_place = is_at(old, with);
        let up = match old.client_urls.first() {
            Some(url) => probe::status(url, Duration::from_secs(2)).await.is_ok(),
            None => false,
        };
        if up && same_place {
            return Err(Problem::new(
                Exit::Usage,
                format!("member {:x} serves, and the new one cannot have its address {with}", old.id),
                "give the new one another port with --with; or stop the old one first",
            ));
        }
        if let Some(new) = there.filter(|m| m.id != old.id)
            && self.is_full(new).await
            && !(goes_on(&members, old, new) && self.is_to_leave(old.id).await?)
        {
            return Err(Problem::new(
                Exit::Usage,
                format!("member {:x} at {with} is a full member already: it takes nobody's place", new.id),
                format!(
                    "--with names where a new node is to be; `quorate node remove {:x}` removes member {0:x} without another \
                     in its place, also where member {:x} was meant to come there and the command was interrupted",
                    old.id, new.id
                ),
            ));
        }
        self.replaces = Some(old.id);
        // One that is up helps to a majority until the new one votes; one that is down only stands in the way of it.
        if !up {
            self.remove(old.id).await?;
            return self.add_full(with, false).await;
        }
        // As a learner until it holds the data: by that it is known when the command is given again. There is room for one.
        self.add_full(with, !members.iter().any(|m| m.learner)).await?;
        self.remove(old.id).await
    }

    /// Adds it, unless it is there, and waits until it votes.
    async fn add_full(&self, peer: &str, learner: bool) -> Result<(), Problem> {
        let id = self.add(peer, learner).await?;
        let member = self.find(&format!("{id:x}")).await?;
        self.gets_its_vote(&member).await
    }

    /// Whether the member votes already; one that has started and does not answer is taken for one that does.
    async fn is_full(&self, member: &MemberInfo) -> bool {
        match member.client_urls.first() {
            Some(url) => probe::status(url, PATIENCE).await.map_or(!member.learner, |status| !status.learner),
            None => false,
        }
    }
}

/// Whether a member may have come in the place of one that is not there: ids are given in their order, and none twice. Of a name
/// nobody knows any more.
fn may_follow(gone: &str, new: &MemberInfo) -> bool {
    u64::from_str_radix(gone, 16).map_or(!gone.is_empty(), |gone| 0 < gone && gone < new.id)
}

/// Whether a member that votes may have come in the place of one that is still there and is to leave: the newest, by which the
/// voters became an even number. If it is another, the cluster bears as many failures without the old one as with it.
fn goes_on(members: &[MemberInfo], old: &MemberInfo, new: &MemberInfo) -> bool {
    let voters = members.iter().filter(|m| !m.learner).count();
    voters.is_multiple_of(2) && new.id > old.id && members.iter().all(|m| m.id <= new.id)
}

fn is_at(member: &MemberInfo, peer: &str) -> bool {
    member.peer_urls.iter().any(|url| address(url) == peer)
}

fn no_such(members: &[MemberInfo], node: &str) -> Problem {
    let known: Vec<String> = members.iter().map(|m| format!("{:x} ({})", m.id, m.name)).collect();
    let hint = format!("there are {}", known.join(", "));
    Problem::new(Exit::Failed, format!("there is no member {node:?}"), hint)
}

/// The member with this id (in hexadecimal, as it is shown) or name.
fn which<'a>(members: &'a [MemberInfo], node: &str) -> Option<&'a MemberInfo> {
    let id = u64::from_str_radix(node, 16).ok();
    members
        .iter()
        .find(|m| Some(m.id) == id)
        .or_else(|| members.iter().find(|m| !node.is_empty() && m.name == node))
}

fn explain(what: &str, status: &Status) -> Problem {
    let text = status.message();
    let hint = match (status.code(), text) {
        (_, UNHEALTHY) => {
            "a voter is out of reach, and the change could cost the majority: `quorate status` names it; bring it back, or \
             remove it first. Where all answer, a voter still heals from what its disk lost, or the groups of tables with shards \
             of their own still follow the last change: wait"
        }
        (_, text) if text.contains("not enough started") => {
            "members that were added have not started yet, or too few would be left: start them, or remove them first"
        }
        (_, text) if text.contains("too many learner") => {
            "promote the learner that there is (`quorate node promote`), or remove it first"
        }
        (_, text) if text.contains("in sync") => "it still catches up: wait, and give the command again",
        (Code::Unavailable, _) => {
            "it may or may not have been done: give the command again, it goes on where it stopped"
        }
        (Code::Unimplemented, _) => "run the same release on all nodes",
        _ => "",
    };
    Problem::new(Exit::Failed, format!("cannot {what}: {}", told(status)), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_by_id_or_name() {
        let member = |id: u64, name: &str| MemberInfo {
            id,
            name: name.into(),
            peer_urls: vec![],
            client_urls: vec![],
            learner: false,
        };
        let members = [member(1, "n1"), member(0x1f, "b"), member(11, "x"), member(12, "")];
        let id = |node| which(&members, node).map(|m| m.id);
        assert_eq!([id("1"), id("1f"), id("n1"), id("x")], [Some(1), Some(31), Some(1), Some(11)]);
        assert_eq!(id("b"), Some(11), "an id comes before a name");
        assert_eq!([id("7"), id(""), id("n7")], [None, None, None]);
    }

    #[test]
    fn only_who_was_there_before_another_was_replaced_by_it() {
        let new =
            MemberInfo { id: 5, name: "n5".into(), peer_urls: vec![], client_urls: vec![], learner: false };
        assert!(["4", "1", "n4", "old"].iter().all(|gone| may_follow(gone, &new)));
        assert!(!["5", "6", "77", "0", ""].iter().any(|gone| may_follow(gone, &new)));
    }

    #[test]
    fn only_the_newest_of_an_even_number_may_have_come_in_the_place_of_another() {
        let members = |voters: &[u64]| -> Vec<MemberInfo> {
            let member = |&id: &u64| MemberInfo {
                id,
                name: format!("n{id}"),
                peer_urls: vec![],
                client_urls: vec![],
                learner: false,
            };
            voters.iter().map(member).collect()
        };
        let goes_on = |voters: &[u64], old: usize, new: usize| {
            let members = members(voters);
            goes_on(&members, &members[old], &members[new])
        };
        assert!(goes_on(&[1, 2, 3, 4], 1, 3));
        assert!(!goes_on(&[1, 2, 3], 1, 2), "three are less without it");
        assert!(!goes_on(&[1, 2, 3, 4], 1, 2), "another came later");
        assert!(!goes_on(&[1, 2, 3, 4], 3, 0), "it was there before");
    }

    #[test]
    fn each_refusal_has_a_hint() {
        for text in [
            "etcdserver: unhealthy cluster",
            "etcdserver: re-configuration failed due to not enough started members",
            "etcdserver: too many learner members in cluster",
            "etcdserver: can only promote a learner member which is in sync with leader",
        ] {
            let problem = explain("do it", &Status::failed_precondition(text));
            assert!(problem.message.contains(text) && !problem.hint.is_empty());
        }
        assert!(explain("do it", &Status::unavailable("etcdserver: leader changed")).hint.contains("again"));
    }

    #[test]
    fn peers_are_hosts_with_ports() {
        assert_eq!(peer("http://h:1/"), Ok("h:1".into()));
        assert!(peer("h").is_err());
        for everywhere in ["0.0.0.0:1", "http://[::]:1"] {
            assert!(peer(everywhere).unwrap_err().contains("name one"), "{everywhere}");
        }
    }
}
