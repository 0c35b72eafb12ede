//! The search without any of its savings, over whole clusters: what [`crate::search`] must agree with where both come to
//! their end. With ordered links, which lose and repeat nothing but what the budget allows, it reaches no more.

use crate::cluster::{Cluster, Packet};
use crate::locals::{Event, feed_member, feed_message, fingerprint, once, repeats_work};
use crate::search::{Budget, EVER, Past, events};
use quorate_base::NodeId;
use quorate_base::time::Duration;
use quorate_protocol::raft::{Input, ReadId};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

/// What the network does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Net {
    /// Whatever was said may come at any time, any number of times, or as often as the budget says.
    Set,
    /// In order, each once, but for this many that are lost.
    Links { lose: u32 },
}

#[derive(Clone)]
struct State {
    cluster: Cluster,
    past: Past,
    net: Net,
    /// What made a difference and may come again only within a budget.
    heard: BTreeSet<(NodeId, NodeId, u128)>,
}

/// All vectors of node states that can be reached, as fingerprints.
pub fn reach(cluster: &Cluster, budget: &Budget, net: Net) -> Result<BTreeSet<Vec<u128>>, String> {
    let start =
        State { cluster: cluster.clone(), past: Past::new(cluster, budget), net, heard: BTreeSet::new() };
    let mut seen = BTreeSet::from([start.key()]);
    let mut views = BTreeSet::from([start.view()]);
    let mut open = vec![start];
    while let Some(state) = open.pop() {
        for next in state.successors(budget) {
            next.cluster.verdict()?;
            if seen.insert(next.key()) {
                views.insert(next.view());
                open.push(next);
            }
        }
    }
    Ok(views)
}

impl State {
    fn view(&self) -> Vec<u128> {
        self.cluster.members.values().map(|m| fingerprint(|h| feed_member(m, false, h))).collect()
    }

    fn key(&self) -> (Vec<u128>, u128, u128) {
        let mut past = self.past.clone();
        past.checker = self.cluster.checker.clone();
        let said = |p: &Packet| fingerprint(|h| feed_message(&p.message, h));
        let mut links: BTreeMap<(NodeId, NodeId), Vec<u128>> = BTreeMap::new();
        for p in &self.cluster.net {
            links.entry((p.from, p.to)).or_default().push(said(p));
        }
        let lose = match self.net {
            Net::Set => {
                for link in links.values_mut() {
                    link.sort_unstable();
                }
                0
            }
            Net::Links { lose } => lose,
        };
        (self.view(), past.key(), fingerprint(|h| (&links, lose, &self.heard).hash(h)))
    }

    fn successors(&self, budget: &Budget) -> Vec<Self> {
        let mut out = vec![];
        for m in self.cluster.members.values() {
            for event in events(m, &self.past, budget) {
                let mut next = self.after(|c| happens(c, m.id, event, budget));
                next.past.spend(event);
                out.push(next);
            }
        }
        let mut links = BTreeSet::new();
        for (i, p) in self.cluster.net.iter().enumerate() {
            let first = links.insert((p.from, p.to));
            match self.net {
                Net::Set => out.extend(self.hears(p, budget)),
                Net::Links { lose } if first => {
                    out.push(self.after(|c| c.deliver_at(i)));
                    if let Some(lose) = lose.checked_sub(1) {
                        let mut next = self.after(|c| drop(c.net.remove(i)));
                        next.net = Net::Links { lose };
                        out.push(next);
                    }
                }
                Net::Links { .. } => {}
            }
        }
        out
    }

    fn hears(&self, p: &Packet, budget: &Budget) -> Option<Self> {
        let input = Input::Message { from: p.from, message: p.message.clone() };
        let mut next = self.after(|c| c.step(p.to, input));
        if budget.again == EVER || !repeats_work(&p.message) || next.view() == self.view() {
            return Some(next);
        }
        if !next.heard.insert((p.from, p.to, fingerprint(|h| feed_message(&p.message, h)))) {
            if !self.past.may_hear_again() {
                return None;
            }
            next.past.spend(Event::Again);
        }
        Some(next)
    }

    fn after(&self, act: impl FnOnce(&mut Cluster)) -> Self {
        let mut next = self.clone();
        next.cluster.now = next.cluster.now + Duration::from_nanos(100);
        act(&mut next.cluster);
        next.cluster.members.values_mut().for_each(once);
        if self.net == Net::Set {
            let mut said = BTreeSet::new();
            let net = &mut next.cluster.net;
            net.retain(|p| said.insert((p.from, p.to, fingerprint(|h| feed_message(&p.message, h)))));
        }
        next
    }
}

fn happens(c: &mut Cluster, node: NodeId, event: Event, budget: &Budget) {
    match event {
        Event::TimeOut => c.step(node, Input::Tick),
        Event::Flush => c.flush(node, 1),
        Event::Crash { kept } => c.restart(node, if kept { usize::MAX } else { 0 }),
        Event::Propose => {
            c.propose(node, "x");
        }
        Event::Read(id) => c.read_as(node, ReadId(id)),
        Event::Again => {}
        Event::Change(which) => {
            c.change(node, &budget.changes[usize::from(which)]);
        }
    }
}
