//! What a client of the key-value space was answered must be so.

use super::ops::{Asked, key_bytes, leased_key, number};
use super::{KEYS, Run, Sent};
use crate::compaction::Compaction;
use crate::leases::Step;
use quorate_node::api::{Answer, Body};
use quorate_node::evidence::Mode;
use quorate_wire::kv::{LeaseId, Reply, Revision};

impl Run {
    /// What a read says of how it was served must be so.
    fn judge_evidence(&mut self, sent: &Sent) -> Result<(), String> {
        let Some(evidence) = sent.slot.take() else { return Ok(()) };
        match evidence.mode {
            Mode::Lease => self.world.counts.add("reads under a lease"),
            Mode::Leader | Mode::ReadIndex => {
                // The leader stands among those who said so, and they are a majority. Where members come and go, the number of
                // voters may be that of a later configuration than the one that was asked.
                if self.churn.is_none() && evidence.acks.len() as u64 <= evidence.voters / 2 {
                    return Err(format!("the evidence names no majority: {evidence:?}"));
                }
            }
            Mode::Log | Mode::Local | Mode::Bounded => {
                return Err(format!("a linearizable read was not: {evidence:?}"));
            }
        }
        if evidence.index.is_none_or(|index| index > evidence.applied) {
            return Err(format!("a read was served before its index: {evidence:?}"));
        }
        Ok(())
    }

    pub(super) fn judge(&mut self, sent: &Sent, answer: &Answer) -> Result<(), String> {
        let revision = answer.head.revision;
        if let (Asked::Look(look), Body::Reply(Reply::Range(range))) = (&sent.asked, &answer.body)
            && look.is_here()
        {
            self.looked_on(*look, sent, range, revision)?;
            self.has_shown(sent.node, revision);
            return Ok(());
        }
        self.judge_evidence(sent)?;
        if let Asked::Lease { id, step } = sent.asked {
            return self.judge_lease(id, step, sent, answer);
        }
        if revision < sent.floor {
            return Err(format!(
                "stale: {:?}, asked at {:?}, was answered at revision {revision} after {} was acknowledged",
                sent.asked, sent.at, sent.floor
            ));
        }
        if matches!(sent.asked, Asked::Get { .. } | Asked::List | Asked::Look(_)) {
            self.has_shown(sent.node, revision);
        }
        match (&sent.asked, &answer.body) {
            (Asked::Show(show), Body::Reply(Reply::Txn { .. })) => self.shown(*show, revision),
            (Asked::Put { key, value, .. }, _) => self.wrote(*key, revision, Some(*value)),
            (Asked::Delete { key }, Body::Reply(Reply::Delete { deleted, .. })) => {
                if let Some(asked) = self.deleting.get_mut(key) {
                    *asked -= 1;
                }
                if *deleted == 1 { self.wrote(*key, revision, None) } else { Ok(()) }
            }
            (Asked::Count { version }, Body::Reply(Reply::Txn { succeeded: true, .. })) => {
                if !self.counted_at.insert(*version) {
                    return Err(format!("counted twice: version {version} was counted before"));
                }
                self.counted = self.counted.max(version + 1);
                self.acknowledged = self.acknowledged.max(revision);
                Ok(())
            }
            (Asked::Compact { revision }, Body::Reply(Reply::Compact)) => {
                self.world.counts.add("compactions");
                if let Some(compaction) = &mut self.compaction {
                    compaction.compacted(*revision);
                }
                Ok(())
            }
            (Asked::GetAt { key, revision, floor }, Body::Reply(Reply::Range(range))) => {
                self.world.counts.add("reads of old revisions");
                Compaction::answered(*revision, *floor)?;
                let found = range.kvs.first().map(|kv| (kv.mod_revision, number(&kv.value)));
                self.read(*key, *revision, found)
            }
            (Asked::ReadCount, Body::Reply(Reply::Range(range))) => {
                let version = range.kvs.first().map_or(0, |kv| kv.version);
                if version > self.count_tries {
                    return Err(format!("the counter is at {version} after {} tries", self.count_tries));
                }
                self.counted = self.counted.max(version);
                Ok(())
            }
            (Asked::Get { key }, Body::Reply(Reply::Range(range))) => {
                let found = range.kvs.first().map(|kv| (kv.mod_revision, number(&kv.value)));
                self.read(*key, revision, found)
            }
            (Asked::Look(look), Body::Reply(Reply::Range(range))) => {
                self.world.counts.add("linearizable reads of parts of a list");
                self.tells(*look, range, revision)
            }
            (Asked::List, Body::Reply(Reply::Range(range))) => {
                self.world.counts.add("lists");
                let ordered = range.kvs.is_sorted_by(|a, b| a.key < b.key);
                if !ordered || range.more || range.count != range.kvs.len() as i64 {
                    return Err(format!("a list of all keys is none: {range:?}"));
                }
                (0..KEYS).try_for_each(|key| {
                    let found = range.kvs.iter().find(|kv| kv.key == key_bytes(key));
                    self.read(key, revision, found.map(|kv| (kv.mod_revision, number(&kv.value))))
                })
            }
            (Asked::Count { .. }, Body::Reply(Reply::Txn { succeeded: false, .. })) => Ok(()),
            (asked, body) => Err(format!("{asked:?} was answered {body:?}")),
        }
    }

    fn wrote(&mut self, key: u64, revision: Revision, value: Option<u64>) -> Result<(), String> {
        self.acknowledged = self.acknowledged.max(revision);
        match self.history.entry(key).or_default().insert(revision, value) {
            None => Ok(()),
            Some(other) => {
                Err(format!("key {key}: revision {revision} was given to {other:?} and {value:?}"))
            }
        }
    }

    pub(super) fn read(
        &mut self,
        key: u64,
        revision: Revision,
        found: Option<(Revision, u64)>,
    ) -> Result<(), String> {
        let known = self.history.entry(key).or_default();
        let newest = known.range(..=revision).next_back().map(|(&at, &value)| (at, value));
        if let Some((at, value)) = found {
            if self.written.get(&value) != Some(&key) {
                return Err(format!("key {key}: the value {value} was never written there"));
            }
            if at > revision {
                return Err(format!(
                    "key {key}: a read at revision {revision} got {value}, which was written at {at}"
                ));
            }
            if let Some(&there) = known.get(&at)
                && there != Some(value)
            {
                return Err(format!("key {key} at revision {at}: {there:?} was written, {value} was read"));
            }
        }
        let at = found.map_or(0, |(at, _)| at);
        match newest {
            Some((newest, value)) if found.is_some() && at < newest => Err(format!(
                "stale: key {key} was {value:?} since revision {newest}; a read at {revision} got {found:?}"
            )),
            // Only a deletion whose answer has not come takes it away unseen.
            Some((newest, Some(value)))
                if found.is_none() && self.deleting.get(&key).is_none_or(|&n| n == 0) =>
            {
                Err(format!(
                    "lost write: key {key} was {value} since revision {newest}; a read at {revision} found nothing"
                ))
            }
            _ => Ok(()),
        }
    }

    fn judge_lease(&mut self, id: LeaseId, step: Step, sent: &Sent, answer: &Answer) -> Result<(), String> {
        let (now, revision) = (self.world.now, answer.head.revision);
        let Some(leases) = &mut self.leases else { return Ok(()) };
        match (step, &answer.body) {
            (Step::Grant { .. }, Body::Reply(Reply::LeaseGrant { ttl, .. })) => {
                leases.granted(id, *ttl, sent.at);
            }
            (Step::Attach, Body::Reply(Reply::Put { .. })) => {
                self.acknowledged = self.acknowledged.max(revision);
                leases.attached(id, now);
            }
            (Step::KeepAlive, Body::KeepAlive { ttl: 0, .. })
            | (Step::Ask, Body::TimeToLive { ttl: -1, .. }) => return leases.gone(id, now),
            (Step::KeepAlive, Body::KeepAlive { .. }) => leases.kept(id, sent.at),
            (Step::Read, Body::Reply(Reply::Range(range))) if range.kvs.is_empty() => {
                return leases.unread(id, sent.at, now);
            }
            (Step::Read, Body::Reply(Reply::Range(_))) => {}
            (Step::Ask, Body::TimeToLive { keys, .. }) if !keys.contains(&leased_key(id)) => {
                self.world.counts.add("leases asked for their keys");
                return leases.unread(id, sent.at, now);
            }
            (Step::Ask, Body::TimeToLive { .. }) => self.world.counts.add("leases asked for their keys"),
            (step, body) => return Err(format!("{step:?} was answered {body:?}")),
        }
        self.world.counts.add("steps with leases");
        Ok(())
    }
}
