//! A node made from its disk, of the parts that ship.

use crate::harmless::Harmless;
use crate::place::{Logs, Running};
use crate::planted::Planted;
use crate::world::{CLUSTER, KV, World};
use quorate_base::time::Duration;
use quorate_base::{Mint, NodeId, Rng};
use quorate_clock::Hlc;
use quorate_node::applier::Applier;
use quorate_node::boot;
use quorate_node::lane::{Lane, Settings, Upkeep};
use quorate_node::watch::Hub;
use quorate_protocol::raft;
use quorate_storage::journal::{Identity, Journal, Options};
use quorate_storage::memory::MemoryStore;
use std::sync::{Arc, Mutex};

/// Why a node does not start.
pub(crate) struct Refusal {
    pub(crate) why: String,
    /// What it finds was never written by a sound node, and is no damage.
    pub(crate) broken: bool,
}

impl World {
    /// Whether the nodes have this harmless change.
    pub(crate) fn changed(&self, change: Harmless) -> bool {
        self.knobs.planted.is_some_and(|planted| planted.is(change))
    }

    /// Starts over what its disk holds; the error says why it cannot.
    pub(crate) fn boot(&mut self, at: usize) -> Result<Running, Refusal> {
        let id = self.places[at].id;
        let mut rng = Rng::new(self.seeds.next_u64());
        let disk = Arc::new(self.places[at].disk.clone());
        let identity = Identity { cluster: CLUSTER, node: id };
        let options = Options {
            segment_bytes: if self.changed(Harmless::SmallSegments) {
                8 << 10
            } else {
                self.knobs.segment_bytes
            },
            mutant: self.knobs.planted.and_then(Planted::journal),
        };
        let (mut journal, found) =
            Journal::open(disk.clone(), "journal", identity, options, Mint::for_journal())
                .map_err(|error| Refusal { why: error.to_string(), broken: false })?;
        let mut store = MemoryStore::new(disk, "state", identity);
        let mut config = raft::Config::new(KV, id);
        (config.election_min, config.election_max) = (self.knobs.election_min, self.knobs.election_max);
        config.max_append_entries = self.knobs.append_entries;
        config.window_messages = self.knobs.window_messages;
        config.commit_patience = self.knobs.commit_patience;
        config.log_keep_bytes = self.knobs.log_keep_bytes;
        config.log_pin_bytes = 4 * self.knobs.log_keep_bytes;
        config.max_unapplied_bytes = 2 * self.knobs.log_keep_bytes;
        config.lease_reads = self.knobs.lease_reads;
        if self.changed(Harmless::SingleEntries) {
            config.max_append_entries = 1;
        }
        if self.changed(Harmless::SingleMessages) {
            config.window_messages = 1;
        }
        self.places[at].at_a_time = config.max_append_entries * config.window_messages;
        if self.changed(Harmless::MoreHeartbeats) {
            config.heartbeat /= 2;
        }
        if self.changed(Harmless::LongLog) {
            config.log_keep_bytes *= 50;
        }
        config.mutant = self.knobs.planted.and_then(Planted::raft);
        let bound = config.lease_reads.is_some() && self.places[at].life > 1;
        let now = self.places[at].local(self.now);
        let founders = self.places[at].founders.clone();
        let parts = boot::Parts {
            raft: config.clone(),
            found,
            store: &mut store,
            founders,
            campaign_at_once: id == NodeId(1),
            disk_lost: self.places[at].disk_lost,
            promised: if bound { config.election_min } else { Duration::ZERO },
        };
        let booted = boot::boot(parts, &mut journal, &mut rng, now).map_err(|error| Refusal {
            why: error.to_string(),
            broken: matches!(error, boot::Error::Boot(_) | boot::Error::Ahead { .. }),
        })?;
        if !booted.notes.is_empty() {
            self.counts.add("damage named");
        }
        if booted.raft.state_lost() {
            self.counts.add("states lost");
        }
        let (ring_bytes, message_bytes) = (self.knobs.ring_bytes, self.knobs.message_bytes);
        let options = quorate_node::watch::Options { ring_bytes, message_bytes, ..Default::default() };
        let bells = self.bells.clone();
        let bell = move || {
            if let Ok(mut bells) = bells.lock() {
                bells.insert(id);
            }
        };
        let hub = Arc::new(Mutex::new(Hub::new(options, booted.view.clone(), Box::new(bell))));
        let members = self.settings_of(at);
        let settings = Settings {
            cluster: CLUSTER,
            node: id,
            raft: config,
            members,
            zone: self.zone_of(at),
            at_once: if self.changed(Harmless::ReadsInLane) { 1 << 30 } else { self.knobs.at_once },
            upkeep: Upkeep::default(),
        };
        let others = booted.others.iter().map(|other| (other.shard, &other.raft));
        let written = Logs::of(others.chain([(KV, &booted.raft)]));
        let mut lane = Lane::new(settings, booted.raft, booted.view, hub.clone(), &mut rng, now);
        let mut kv = booted.kv;
        kv.plant(self.knobs.planted.and_then(Planted::kv));
        kv.plant_in_tables(self.knobs.planted.and_then(Planted::table));
        let seal_bytes = self.knobs.seal_bytes / if self.changed(Harmless::MoreCheckpoints) { 4 } else { 1 };
        let mut applier = Applier::new(kv, booted.lost, id, booted.generation, seal_bytes);
        lane.plant_in_transactions(self.knobs.planted.and_then(Planted::commit));
        let earlier = self.places[at].bound;
        let bound = earlier.max(Hlc::of(self.places[at].wall(self.now)));
        self.places[at].bound = bound;
        lane.restores_clock(earlier, bound);
        lane.plant_in_closed(self.knobs.planted.and_then(Planted::closed));
        lane.doubts(booted.doubts);
        for kv in booted.dead {
            applier.bury(kv);
        }
        for other in booted.others {
            lane.add(other.shard, other.raft, other.view, now);
            applier.add(other.kv, other.lost);
        }
        Ok(Running::new(lane, journal, applier, hub, written))
    }
}
