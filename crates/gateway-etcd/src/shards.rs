//! The Shards service: which replicas of tables' shards move, in which zones the members are, what leaders of shards know, and members that are to have none any more before they are removed.
//!
//! What it tells is what the asked node knows; that may be a little behind.

use crate::{Gateway, unexpected};
use quorate_base::time::Duration;
use quorate_base::{NodeId, ShardId};
use quorate_node::api::tables::{Close, Home, Placement, Short};
use quorate_node::api::{Body, Led, Member, MoveStep, Moving, Request};
use quorate_node::lane::Outlook;
use quorate_proto::quoratepb as pb;
use quorate_wire::kv::Command;
use quorate_wire::table::{self, EPOCH, What};
use std::collections::{BTreeMap, BTreeSet};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

#[tonic::async_trait]
impl pb::shards_server::Shards for Gateway {
    async fn leave(
        &self,
        r: tonic::Request<pb::LeaveRequest>,
    ) -> Result<Response<pb::LeaveResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        let node = NodeId(message.node);
        let members = self.members(&metadata, true).await?;
        if message.leaves && !members.iter().any(|member| member.id == message.node) {
            return Err(Status::not_found("etcdserver: member not found"));
        }
        let what = What::Leave { node, leaves: message.leaves };
        let command = Command::Table(Box::new(table::Command { epoch: EPOCH, now: 0, what }));
        self.ask(&metadata, Request::Write(command)).await?;
        Ok(Response::new(pb::LeaveResponse {}))
    }

    async fn moves(
        &self,
        r: tonic::Request<pb::MovesRequest>,
    ) -> Result<Response<pb::MovesResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        let members = self.members(&metadata, false).await?;
        let voters = members.iter().filter(|m| !m.learner).map(|m| NodeId(m.id)).collect();
        let asked = Some(NodeId(message.node)).filter(|node| node.get() != 0);
        let told = told(&self.door.placement(), &voters, asked);
        Ok(Response::new(pb::MovesResponse { dynamo: self.dynamo, etcd: self.etcd, ..told }))
    }

    async fn led(&self, r: tonic::Request<pb::LedRequest>) -> Result<Response<pb::LedResponse>, Status> {
        let (metadata, _, message) = r.into_parts();
        let silent = message.silent.into_iter().map(NodeId).collect();
        match self.ask(&metadata, Request::Led).await?.body {
            Body::Led(told) => Ok(Response::new(led(*told, &silent, &self.door.placement()))),
            other => Err(unexpected(&other)),
        }
    }
}

/// What a node knows as the leader of shards, and which have none: also those of which all replicas are on nodes that are silent.
fn led(led: Led, silent: &BTreeSet<NodeId>, placement: &Placement) -> pb::LedResponse {
    let all_silent = |(_, home): &(ShardId, Home)| {
        let mut replicas = home.before().into_iter().peekable();
        replicas.peek().is_some() && replicas.all(|node| silent.contains(&node))
    };
    let out_of_reach = placement.homes().filter(|one| !silent.is_empty() && all_silent(one));
    let out_of_reach = out_of_reach.map(|(shard, _)| (shard, Duration::ZERO));
    let leaderless = led.leaderless.into_iter().chain(out_of_reach).map(|(shard, lasts)| pb::Leaderless {
        shard: shard.get(),
        table: table(placement, shard),
        replicas: placement.home(shard).map(|home| ids(&home.before())).unwrap_or_default(),
        ms: millis(lasts),
    });
    let leaderless = leaderless.collect();
    let undecided = led.undecided.into_iter().map(|one| {
        let shard = |shard: &ShardId| pb::Shard { shard: shard.get(), table: table(placement, *shard) };
        pb::Undecided {
            id: format!("{}.{}.{}.{}", one.id.node, one.id.boot, one.id.sequence, one.id.attempt),
            age_ms: millis(one.age),
            waits_for: one.waits_for.iter().map(shard).collect(),
            holds: one.holds.into_iter().map(|(table, key)| pb::Holds { table, key }).collect(),
        }
    });
    let moves = led.moves.iter().map(moving).collect();
    pb::LedResponse { undecided: undecided.collect(), moves, leaderless }
}

fn moving(one: &Moving) -> pb::Moving {
    let told = pb::Moving {
        shard: one.shard.get(),
        step_ms: millis(one.lasts),
        moves_ms: millis(one.moves),
        ..pb::Moving::default()
    };
    match one.step {
        MoveStep::Waits => pb::Moving { step: "waits".into(), ..told },
        MoveStep::Listens(to) => pb::Moving { step: "listens".into(), to: to.get(), ..told },
        MoveStep::Snapshot { to, sent, of } => {
            pb::Moving { step: "snapshot".into(), to: to.get(), sent, of, ..told }
        }
        MoveStep::CatchesUp { to, behind } => {
            pb::Moving { step: "catches-up".into(), to: to.get(), behind, ..told }
        }
        MoveStep::Votes => pb::Moving { step: "votes".into(), ..told },
        MoveStep::Ends => pb::Moving { step: "ends".into(), ..told },
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Gateway {
    async fn members(&self, metadata: &MetadataMap, linearizable: bool) -> Result<Vec<Member>, Status> {
        match self.ask(metadata, Request::Members { linearizable }).await?.body {
            Body::Members(members) => Ok(members),
            other => Err(unexpected(&other)),
        }
    }
}

/// The table of a shard; empty for shard 1.
fn table(placement: &Placement, shard: ShardId) -> String {
    placement.block_of(shard).map(|block| block.name.clone()).unwrap_or_default()
}

fn told(placement: &Placement, voters: &BTreeSet<NodeId>, asked: Option<NodeId>) -> pb::MovesResponse {
    let mut nodes: BTreeSet<NodeId> = placement.leaving().intersection(voters).copied().collect();
    nodes.extend(asked);
    let leaver = |node: NodeId| {
        let leaver = placement.leaver(node, voters);
        pb::Leaver {
            node: node.get(),
            leaves: leaver.since.is_some(),
            shards: leaver.shards as u64,
            moving: leaver.moving as u64,
            stuck: leaver.stuck as u64,
        }
    };
    let moving = placement.homes().filter(|(_, home)| home.moving).map(|(shard, home)| {
        let (before, wanted) = (home.before(), home.wanted());
        pb::Move {
            shard: shard.get(),
            table: table(placement, shard),
            from: ids(&before.difference(&wanted).copied().collect()),
            to: ids(&wanted.difference(&before).copied().collect()),
        }
    });
    let moves: Vec<pb::Move> = moving.collect();
    let outlook = Outlook::of(placement, voters);
    let zones =
        placement.zones().names().map(|(node, name)| pb::Zone { node: node.get(), name: name.into() });
    pb::MovesResponse {
        leavers: nodes.into_iter().map(leaver).collect(),
        moves,
        left: outlook.left as u64,
        zones: zones.collect(),
        close: close(placement.close_shards(), outlook.close),
        dynamo: false,
        etcd: false,
        short: placement.short_shards().into_iter().map(short).collect(),
    }
}

/// Of which tables shards have replicas in one zone, now or when all moves are through.
fn close(now: Vec<Close>, then: Vec<Close>) -> Vec<pb::Close> {
    let mut all: BTreeMap<String, pb::Close> = BTreeMap::new();
    for (close, stays) in
        now.into_iter().map(|close| (close, false)).chain(then.into_iter().map(|close| (close, true)))
    {
        let known = all.entry(close.table.clone()).or_default();
        known.table = close.table;
        known.most = known.most.max(close.most);
        *(if stays { &mut known.stay } else { &mut known.shards }) = close.shards;
    }
    all.into_values().collect()
}

fn short(short: Short) -> pb::Short {
    let Short { table, shards, copies, asked } = short;
    pb::Short { table, shards, copies, asked }
}

fn ids(nodes: &BTreeSet<NodeId>) -> Vec<u64> {
    nodes.iter().map(|node| node.get()).collect()
}
