//! Replicas of shards that move between nodes: to who comes, from who goes, and on where somebody died half-way.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

impl Cluster {
    /// A member is added, started with an empty disk, and gets its vote.
    pub(super) fn come(&mut self, id: u64) {
        self.join(id);
        self.pass(2_000);
        self.publish((1..=NODES).chain([id]));
        let leader = self.leaders(KV)[0];
        self.ask(leader, KV, Request::ChangeMembers(Change::Promote { id: NodeId(id) }));
    }

    /// They say their names: they have started.
    fn publish(&mut self, nodes: impl IntoIterator<Item = u64>) {
        let leader = self.leaders(KV)[0];
        for node in nodes {
            let (id, name, client_urls) = (NodeId(node), format!("n{node}"), Vec::new());
            self.ask(leader, KV, Request::ChangeMembers(Change::Publish { id, name, client_urls }));
        }
    }

    fn go(&mut self, id: u64) {
        let leader = self.leaders(KV)[0];
        self.ask(leader, KV, Request::ChangeMembers(Change::Remove { id: NodeId(id) }));
    }

    /// How many replicas each node has, by what the nodes have.
    fn shares(&self) -> BTreeMap<u64, usize> {
        let of = |node: &Node| {
            let has = |shard: &&ShardId| node.lane.core(**shard).is_some();
            (node.id.get(), self.shards.iter().filter(has).count())
        };
        self.nodes.iter().flatten().map(of).collect()
    }

    fn voters(&self, shard: ShardId) -> Vec<u64> {
        let leader = self.leaders(shard)[0];
        let node = self.nodes[leader as usize - 1].as_ref().unwrap();
        node.lane.core(shard).unwrap().membership().voters.iter().map(|node| node.get()).collect()
    }

    /// Passes time until nothing moves, at most so long. At every step each group has a majority of sound replicas, and nobody has
    /// forgotten a shard in whose group it votes. Which nodes were seen to have replicas that heal.
    fn settles(&mut self, millis: u64) -> BTreeSet<u64> {
        let (mut quiet, mut healing) = (0, BTreeSet::new());
        for _ in 0..millis / 10 {
            self.pass(10);
            self.sweep();
            self.is_safe();
            // Who was removed hears of nothing more.
            let members = self.nodes[self.leaders(KV).first().map_or(0, |id| *id as usize - 1)].as_ref();
            let members = members.map(|node| node.lane.raft().committed_membership().clone());
            let present = |node: &&Node| members.as_ref().is_none_or(|members| members.contains(node.id));
            let placements = self.nodes.iter().flatten().filter(present);
            let placements = placements.map(|node| node.lane.view().tables().placement());
            let moving =
                placements.into_iter().any(|placement| placement.homes().any(|(_, home)| home.moving));
            quiet = if moving { 0 } else { quiet + 1 };
            for node in self.nodes.iter().flatten() {
                let heals = |shard: &ShardId| node.lane.core(*shard).is_some_and(raft::Raft::disk_lost);
                healing.extend(self.shards.iter().any(heals).then_some(node.id.get()));
            }
            if quiet > 300 {
                return healing;
            }
        }
        panic!("shards still move after {millis} ms: {}", self.moves_in_words());
    }

    /// Where each shard is, as each node sees it.
    fn moves_in_words(&self) -> String {
        let mut words = String::new();
        for node in self.nodes.iter().flatten() {
            for &shard in &self.shards {
                let home = node.lane.view().tables().placement().home(shard);
                let of = |r: &raft::Raft| {
                    (r.membership().to_string(), r.role(), r.term(), r.disk_lost(), r.leader())
                };
                let core = node.lane.core(shard).map(of);
                words.extend(["\n".to_string(), format!("node {} {shard} {home:?} {core:?}", node.id)]);
            }
        }
        words
    }

    /// What nodes do in the background, bit by bit.
    pub(super) fn sweep(&mut self) {
        let now = self.now;
        self.nodes.iter_mut().flatten().for_each(|node| _ = node.sweeps(now));
    }

    fn is_safe(&self) {
        for &shard in &self.shards {
            for leader in self.leaders(shard) {
                let node = self.nodes[leader as usize - 1].as_ref().unwrap();
                let members = node.lane.core(shard).unwrap().committed_membership().clone();
                let sound = |id: NodeId| {
                    let node = self.nodes.get(id.get() as usize - 1).and_then(Option::as_ref);
                    node.is_none_or(|node| node.lane.core(shard).is_some_and(|raft| !raft.disk_lost()))
                };
                let voters: Vec<NodeId> = members.voters.iter().copied().filter(|&id| !sound(id)).collect();
                assert!(
                    voters.len() * 2 < members.voters.len(),
                    "{shard}: {voters:?} of {members} are not sound"
                );
            }
        }
    }

    /// How many sound replicas of each shard there are on the first nodes.
    fn sound_of(&self, shards: &[ShardId]) -> Vec<usize> {
        let first = || self.nodes.iter().take(NODES as usize).flatten();
        let sound = |node: &&Node, shard| node.lane.core(shard).is_some_and(|raft| !raft.disk_lost());
        shards.iter().map(|&shard| first().filter(|node| sound(node, shard)).count()).collect()
    }

    /// Every item is read at every node, of whichever shard.
    fn all_read(&mut self, shards: &[ShardId], nodes: &[u64]) {
        for (n, &shard) in shards.iter().enumerate() {
            for &id in nodes {
                let held = format!("{:?}", self.ask(id, shard, get_item(n)).body);
                assert!(held.contains(&format!("item {n}")), "shard {shard} at node {id}: {held}");
            }
        }
    }
}

/// Who comes gets its share of the shards that there are, one replica of each at a time; every node serves all of them, also those of
/// which it has nothing; what a node has given away is swept away, and a start brings nothing of it back.
#[test]
fn who_comes_gets_its_share() {
    let (mut cluster, shards) = filled(8);
    cluster.come(4);
    cluster.settles(60_000);
    assert_eq!(cluster.shares(), [(1, 6), (2, 6), (3, 6), (4, 6)].into());
    assert!(shards.iter().all(|&shard| cluster.voters(shard).len() == 3));
    cluster.all_read(&shards, &[1, 2, 3, 4]);
    for (n, &shard) in shards.iter().enumerate() {
        for id in 1..=4 {
            cluster.ask(id, shard, put_item(100 + n));
        }
    }
    for id in 1..=4 {
        let node = cluster.nodes[id - 1].as_mut().unwrap();
        while node.sweeps(cluster.now) {}
        let here = |shard: &&ShardId| node.applier.kv(**shard).is_some();
        assert_eq!(shards.iter().filter(here).count(), 6, "node {id}");
    }
    for id in 1..=4 {
        cluster.kill(id);
        cluster.start(id);
        cluster.pass(6_000);
        assert_eq!(cluster.shares()[&id], 6, "node {id}");
    }
    cluster.all_read(&shards, &[4, 3, 2, 1]);
}

/// A move that loses the leader of shard 1, or of the shard, or whoever comes, half-way, is gone on with by whoever leads then.
#[test]
fn a_move_outlives_whoever_began_it() {
    for (round, dies) in [1_u64, 2, 3, 4].into_iter().enumerate() {
        let (mut cluster, shards) = filled(6);
        cluster.come(4);
        let moving = |cluster: &Cluster| {
            let node = cluster.nodes.iter().flatten().next().unwrap();
            node.lane.view().tables().placement().homes().any(|(_, home)| home.moving)
        };
        let end = cluster.now + Duration::from_secs(60);
        while !moving(&cluster) {
            assert!(cluster.now < end, "nothing moves to who came, 60 s later");
            cluster.pass(10);
        }
        cluster.pass(20 * round as u64);
        cluster.kill(dies);
        for _ in 0..400 {
            cluster.pass(10);
            cluster.is_safe();
        }
        let others: Vec<u64> = (1..=4).filter(|id| *id != dies).collect();
        cluster.all_read(&shards, &others);
        cluster.start(dies);
        cluster.settles(60_000);
        let shares = cluster.shares();
        assert!(shares.values().all(|share| (4..=5).contains(share)), "{dies} died: {shares:?}");
        cluster.all_read(&shards, &[1, 2, 3, 4]);
    }
}

/// Who is to leave is left by every shard while it is a member and serves, and gets nothing again, also behind restarts of all nodes,
/// until that is taken back.
#[test]
fn who_is_to_leave_is_left_while_it_serves() {
    let (mut cluster, shards) = filled(8);
    cluster.come(4);
    cluster.settles(60_000);
    cluster.ask(2, KV, command(What::Leave { node: NodeId(4), leaves: true }));
    cluster.settles(90_000);
    for id in 1..=4 {
        cluster.kill(id);
        cluster.start(id);
        cluster.pass(4_000);
    }
    cluster.settles(90_000);
    assert_eq!(cluster.shares(), [(1, 8), (2, 8), (3, 8), (4, 0)].into());
    cluster.all_read(&shards, &[1, 2, 3, 4]);
    cluster.ask(2, KV, command(What::Leave { node: NodeId(4), leaves: false }));
    // It comes back to shards whose logs begin later by now, and gets a snapshot of each.
    assert_eq!(cluster.settles(90_000), [4].into());
    assert_eq!(cluster.shares(), [(1, 6), (2, 6), (3, 6), (4, 6)].into());
    cluster.all_read(&shards, &[1, 2, 3, 4]);
}

/// Who is removed is left by every shard: those go back to the members that are left, also to nodes that had them before and have
/// forgotten what they promised then.
#[test]
fn shards_come_back_to_who_had_them() {
    let (mut cluster, shards) = filled(8);
    cluster.come(4);
    assert_eq!(cluster.settles(60_000), BTreeSet::new(), "who is new has promised nothing");
    cluster.go(4);
    assert_eq!(cluster.settles(90_000), [1, 2, 3].into(), "who comes back has");
    let mut shares = cluster.shares();
    assert_eq!(shares.remove(&4), Some(6), "it hears of nothing more, and stops");
    assert_eq!(shares, [(1, 8), (2, 8), (3, 8)].into());
    assert!(shards.iter().all(|&shard| cluster.voters(shard) == [1, 2, 3]));
    let sure = |node: &Node| node.id == NodeId(4) || node.lane.roster().was_removed(NodeId(4));
    assert!(cluster.nodes.iter().flatten().all(sure));
    cluster.kill(4);
    // Each of them has healed, and counts again.
    for id in 1..=3 {
        cluster.kill(id);
        cluster.pass(4_000);
        let others: Vec<u64> = (1..=3).filter(|other| *other != id).collect();
        cluster.all_read(&shards, &others);
        cluster.start(id);
        cluster.pass(4_000);
    }
}

/// Claim: who comes back to a shard, and is started again before it has been given its vote, has still promised what it knows nothing of.
#[test]
fn who_comes_back_is_not_trusted_behind_a_start() {
    let (mut cluster, shards) = filled(8);
    cluster.come(4);
    cluster.settles(60_000);
    cluster.go(4);
    let comes_back = |node: &Node| {
        let heals = |shard: &&ShardId| {
            let core = node.lane.core(**shard);
            core.is_some_and(|core| core.disk_lost() && !core.membership().is_voter(node.id))
        };
        Some((node.id, *shards.iter().find(heals)?))
    };
    let mut started = 0;
    for _ in 0..6_000 {
        cluster.pass(10);
        cluster.sweep();
        // Node 4 goes, and has nothing to come back to.
        let Some((id, shard)) = cluster.nodes[..3].iter().flatten().find_map(comes_back) else { continue };
        cluster.kill(id.get());
        cluster.start(id.get());
        let node = cluster.nodes[id.get() as usize - 1].as_ref().unwrap();
        let trusted = node.lane.core(shard).is_some_and(|core| !core.disk_lost());
        assert!(!trusted, "{id:?} has a sound replica of {shard:?} behind a start");
        started += 1;
        if started == 6 {
            break;
        }
    }
    assert!(started > 2, "{started} were started again");
}

/// A move onto one that dies is called off, whether that is removed then or only stays away: no replica that is sound is let go of for it.
/// It dies at different moments of the moves, or is only not heard any more.
#[test]
fn a_move_to_who_dies_costs_no_sound_replica() {
    for round in 0..40 {
        let (removed, silent) = (round % 2 == 0, round % 4 < 2);
        let (mut cluster, shards) = filled(6);
        cluster.come(4);
        let moving = |cluster: &Cluster, all: bool| {
            let node = cluster.nodes.iter().flatten().next().unwrap();
            let homes: Vec<_> = node.lane.view().tables().placement().homes().collect();
            homes.iter().any(|(_, home)| home.moving && (all || home.hosts(NodeId(4))))
        };
        let end = cluster.now + Duration::from_secs(60);
        while !moving(&cluster, false) {
            assert!(cluster.now < end, "nothing moves to who came, 60 s later");
            cluster.pass(10);
        }
        cluster.pass_busily(10 * round / 4, |_| ());
        if silent {
            cluster.nodes[3] = None;
        } else {
            cluster.kill(4);
        }
        // What was said already is still done.
        cluster.pass(1_000);
        let mut sound = cluster.sound_of(&shards);
        if removed {
            cluster.go(4);
        }
        for _ in 0..3_000 {
            cluster.pass(10);
            cluster.sweep();
            cluster.is_safe();
            let now = cluster.sound_of(&shards);
            let fewer = sound.iter().zip(&now).any(|(before, now)| now < before);
            assert!(!fewer, "round {round}: {sound:?}, then {now:?}");
            sound = now;
        }
        assert!(!moving(&cluster, true), "round {round}: {}", cluster.moves_in_words());
        assert!(!removed || sound.iter().all(|many| *many == 3), "round {round}: {sound:?}");
        cluster.all_read(&shards, &[1, 2, 3]);
    }
}

/// Who is to leave leads nothing, though it keeps its replicas where nobody else could have them; once that is taken back it leads its share
/// again.
#[test]
fn who_is_to_leave_leads_nothing() {
    let (mut cluster, shards) = filled(6);
    let led = |cluster: &Cluster, id: u64| {
        shards.iter().filter(|shard| cluster.leaders(**shard).contains(&id)).count()
    };
    cluster.pass(10_000);
    assert_eq!([1, 2, 3].map(|id| led(&cluster, id)), [2, 2, 2]);
    cluster.ask(1, KV, command(What::Leave { node: NodeId(3), leaves: true }));
    cluster.pass(5_000);
    for _ in 0..500 {
        cluster.pass(10);
        assert_eq!((led(&cluster, 3), led(&cluster, 1) + led(&cluster, 2)), (0, 6));
    }
    assert_eq!(cluster.shares()[&3], 6, "there is nobody else");
    cluster.ask(1, KV, command(What::Leave { node: NodeId(3), leaves: false }));
    cluster.pass(10_000);
    assert_eq!([1, 2, 3].map(|id| led(&cluster, id)), [2, 2, 2]);
}

/// A node that has lost the state of shard 1, and hears nothing of it any more since it was removed, leads a shard whose members are to be
/// others and cannot know it: it hands the shard on, and the move comes to its end. (Seed 190 of the simulator, once.)
#[test]
fn who_knows_nothing_of_shard_one_hands_on_what_it_leads() {
    let (mut cluster, shards) = filled(6);
    cluster.publish(1..=NODES);
    cluster.pass(10_000);
    cluster.kill(3);
    let disk = cluster.disks[2].clone();
    let states = disk.files().into_iter().filter(|(path, _)| path.starts_with("state/"));
    states.for_each(|(path, _)| disk.flip_bit(&path, 500));
    cluster.deaf = Some(NodeId(3));
    cluster.start(3);
    // Its shards have healed, and are handed to it in turn.
    let leads = |cluster: &Cluster| shards.iter().any(|shard| cluster.leaders(*shard).contains(&3));
    let has_lost = |cluster: &Cluster| cluster.nodes[2].as_ref().unwrap().lane.raft().state_lost();
    for _ in 0..3_000 {
        cluster.pass(10);
        if leads(&cluster) {
            break;
        }
    }
    assert!(leads(&cluster) && has_lost(&cluster));
    let change = Request::ChangeMembers(Change::Remove { id: NodeId(3) });
    let leader = cluster.leaders(KV)[0];
    let answers = cluster.call(leader, KV, change);
    cluster.settle();
    assert!(
        leads(&cluster) && matches!(answers.lock().unwrap()[..], [Ok(_)]),
        "{:?} {}",
        answers.lock().unwrap(),
        leads(&cluster)
    );
    for _ in 0..3_000 {
        cluster.pass(10);
        cluster.sweep();
    }
    assert!(has_lost(&cluster) && !leads(&cluster), "{}", cluster.moves_in_words());
    assert!(shards.iter().all(|shard| cluster.voters(*shard) == [1, 2]), "{}", cluster.moves_in_words());
}

/// Claim: a write that was passed on to a node which is lost sight of may have been done, and goes to no other one; a read does.
#[test]
fn a_write_is_passed_on_once_to_who_may_have_done_it() {
    let (mut cluster, shards) = filled(8);
    cluster.come(4);
    cluster.settles(60_000);
    let elsewhere = |id: u64| shards.iter().copied().find(|&shard| !cluster.has(id, shard));
    let (id, shard) = (1..=4).find_map(|id| Some((id, elsewhere(id)?))).unwrap();
    for (request, again) in [(put_item(7), false), (get_item(7), true)] {
        let answers = cluster.call(id, shard, request);
        // What is sent does not arrive.
        let asked = |cluster: &mut Cluster| -> Vec<NodeId> {
            let sent = cluster.drain().unwrap_or_default().into_iter();
            let asks = |body: Bytes| {
                Packet::read(body).filter_map(Result::ok).any(|frame| matches!(frame, Frame::Ask { .. }))
            };
            sent.filter(|(from, _, body)| from.get() == id && asks(body.clone()))
                .map(|(_, to, _)| to)
                .collect()
        };
        let first = asked(&mut cluster);
        assert_eq!(first.len(), 1);
        for (event, others) in [(Event::PeerDown(first[0]), usize::from(again)), (Event::PeerUp(first[0]), 0)]
        {
            let now = cluster.now;
            cluster.nodes[id as usize - 1].as_mut().unwrap().lane.handle(now, event);
            assert_eq!(asked(&mut cluster).len(), others);
        }
        let answer = answers.lock().unwrap().pop();
        assert_eq!(matches!(answer, Some(Err(Failure::LeaderChanged))), !again, "{answer:?}");
    }
}
