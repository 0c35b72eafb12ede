//! How a table is deleted: not before the transactions over several shards that hold anything in it are at their end, so that none
//! of them is done in part, and no other shard asks for a vote that nobody has any more.
//!
//! [`What::Drop`] marks the table: from then on nobody reads or writes items of it, nor prepares anything, and what is prepared is
//! brought to its end by its gateway or whoever recovers it. One that lies in shard 1 goes by the entry that lets go of the last of
//! its items. One with shards of its own goes by another such entry, from whoever has seen that its shards are *drained*:
//!
//! 1. Each of them has heard of the mark and holds nothing any more, neither items nor tokens. As it has the mark, it votes No from
//!    then on, so it stays so.
//! 2. In no other shard is anything undecided that one of them takes part in, where one of them remembers that it has committed
//!    anything. What is committed in one of them may be undecided elsewhere for as long as the outcome is on its way; what is prepared
//!    elsewhere only after this was asked is not committed anywhere, as one of them has said No or will.
//!
//! So whoever asks a shard that is gone for its vote is right to hear No.

use super::Tables;
use super::catalog::Table;
use super::change::{CHANGE, answer};
use super::commit::Stored;
use super::lock;
use crate::digest::Digest;
use quorate_base::{Index as At, ShardId};
use quorate_protocol::commit::{Outcome, Record};
use quorate_storage::state::State;
#[cfg(doc)]
use quorate_wire::table::What;
use quorate_wire::table::{Definition, Refusal, Reply};
use std::sync::Arc;

pub(super) fn being_deleted(name: &str) -> Refusal {
    Refusal::InUse(format!(
        "Attempt to change a resource which is still in use: Table is being deleted: {name}"
    ))
}

pub(super) fn check_protected(definition: &Definition) -> Result<(), Refusal> {
    if !definition.protected {
        return Ok(());
    }
    let text = "Resource cannot be deleted as it is currently protected against deletion. Disable deletion protection \
                first.";
    Err(Refusal::Validation(text.into()))
}

impl Tables {
    /// Deletes a table, or marks it as one that is being deleted: the answer says which.
    pub(super) fn close_table(
        &mut self,
        state: &mut dyn State,
        (name, drained): (&str, u32),
        at: At,
        digest: &mut Digest,
    ) -> Result<Reply, Refusal> {
        let Some(table) = self.catalog.get(name).cloned() else {
            return Err(Refusal::TableNotFound(name.into()));
        };
        check_protected(&table.definition)?;
        let closing = table.definition.closing;
        let ready = match self.placement().table(name) {
            Some(block) => closing && drained == block.count,
            None => !self.is_held(table.definition.id),
        };
        if ready {
            let reply = answer(&table);
            self.end_stream(state, &table.definition, at);
            self.take_away(state, (name, table.definition.id), digest);
            return Ok(reply);
        }
        if closing {
            return Err(being_deleted(name));
        }
        let marked = table.changed(Definition { closing: true, ..table.definition.clone() });
        let marked: Table = marked.ok_or_else(|| being_deleted(name))?;
        digest.number(CHANGE);
        digest.bytes(&marked.definition.encode());
        self.change_placed(state, name, at);
        let reply = answer(&marked);
        self.put_table(state, marked);
        Ok(reply)
    }

    /// Tables that lie here, are being deleted, and in which nothing is held any more go.
    pub(super) fn drop_closed(&mut self, state: &mut dyn State, at: At, digest: &mut Digest) {
        if self.catalog.closing().is_empty() {
            return;
        }
        let closing: Vec<Arc<Table>> =
            self.catalog.closing().iter().filter_map(|name| self.catalog.get(name).cloned()).collect();
        for table in closing {
            let Definition { name, id, .. } = &table.definition;
            // In a shard of its own it stays for as long as shard 1 says.
            if self.adopted == At(0) && !self.is_elsewhere(name) && !self.is_held(*id) {
                self.end_stream(state, &table.definition, at);
                self.take_away(state, (name, *id), digest);
            }
        }
    }

    /// Whether a transaction holds an item of a table here.
    fn is_held(&self, table: u32) -> bool {
        let first = lock::item(table, b"");
        self.held.keys(&first).next().is_some()
    }

    /// See [`What::Drained`].
    pub(super) fn drained(&self, (first, count): (ShardId, u32), inside: bool) -> Result<Reply, Refusal> {
        let under_way = || Err(Refusal::InUse("Transactions are under way".into()));
        if inside {
            if !self.catalog.is_closed() || self.held.is_locked() {
                return under_way();
            }
            let committed = |record: &&Stored| matches!(record, Record::Over(Outcome::Commit));
            return Ok(Reply::Expired(self.held.records().filter(committed).count() as u64));
        }
        let range = first.get()..first.get().saturating_add(count);
        let takes_part = |record: &Stored| match record {
            Record::Yes(prepared) => prepared.participants.iter().any(|shard| range.contains(&shard.get())),
            _ => false,
        };
        if self.held.records().any(takes_part) { under_way() } else { Ok(Reply::Expired(0)) }
    }
}
