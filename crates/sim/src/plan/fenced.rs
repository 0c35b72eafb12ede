//! Requests that show fencing tokens, and what must be true of them at the end. What is promised stands in `fences.rs`.

use super::{Run, number};
use crate::fences::{Fences, Show};
use bytes::Bytes;
use quorate_node::api::Request;
use quorate_state::kv::KvView;
use quorate_wire::kv::{Command, KeyRange, Op, Put, Range, Revision, Txn};
use std::collections::BTreeMap;

/// A transaction with the token: a write of it, or a read.
pub(super) fn request(show: Show) -> Request {
    let key = Bytes::from(show.key());
    let op = if show.writes {
        Op::Put(Put { key, value: show.value().into(), ..Put::default() })
    } else {
        Op::Range(Range { range: KeyRange { key, end: Bytes::new() }, ..Range::default() })
    };
    let txn = Txn { success: vec![op], ..Txn::default() };
    Request::Write(Command::Fenced { fence: show.fence(), command: Box::new(Command::Txn(txn)) })
}

impl Run {
    pub(super) fn shown(&mut self, show: Show, revision: Revision) -> Result<(), String> {
        if show.writes {
            self.acknowledged = self.acknowledged.max(revision);
        }
        self.world.counts.add("tokens taken");
        let at = show.writes.then_some(revision);
        self.fences.as_mut().map_or(Ok(()), |fences| fences.done(show, at))
    }

    pub(super) fn refused(&mut self, show: Show, seen: u64) -> Result<(), String> {
        self.world.counts.add("tokens refused");
        self.fences.as_mut().map_or(Ok(()), |fences| fences.refused(show, seen))
    }

    /// Every node knows the tokens, and what was written with them, acknowledged or not, has them in their order.
    pub(super) fn final_fences(&self) -> Result<(), String> {
        let Some(fences) = &self.fences else { return Ok(()) };
        for place in self.world.places.iter().filter(|place| self.world.members().contains(place.id)) {
            let Some(running) = place.running.as_ref() else { continue };
            let view = running.lane.view();
            fences.end(&view.fences().into_iter().collect())?;
            in_order(fences, view)?;
        }
        Ok(())
    }
}

fn in_order(fences: &Fences, view: &KvView) -> Result<(), String> {
    let mut highest: BTreeMap<String, u64> = fences.keys().map(|key| (key, 0)).collect();
    let mut from = view.compacted().max(1);
    while from <= view.revision() {
        let events = view.history(from, 1 << 20).map_err(|e| format!("reading the history: {e:?}"))?;
        let Some(last) = events.last().map(|e| e.kv.mod_revision) else { break };
        for event in &events {
            let key = str::from_utf8(&event.kv.key).unwrap_or_default();
            let Some(highest) = highest.get_mut(key) else { continue };
            let (token, at) = (number(&event.kv.value), event.kv.mod_revision);
            if token < *highest {
                return Err(format!("Fences: {key} has token {token} at {at}, after {highest}"));
            }
            *highest = token;
        }
        from = last + 1;
    }
    Ok(())
}
