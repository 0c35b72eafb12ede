//! Items whose time is over: found by whoever leads, taken away by the log.

use super::apply::{Applied, Moment, decode_stored};
use super::catalog::Table;
use super::layout::behind;
use super::lock;
use super::{Tables, TablesView};
use crate::digest::Digest;
use crate::kv::source::Source;
use bytes::Bytes;
use quorate_item::{AttributeValue, Item};
use quorate_storage::state::{State, StateResult};
use quorate_wire::table::Reply;
use std::ops::Bound;

/// What ended longer ago than this is no time of expiry, but a number of another meaning: five years, in seconds.
const LONG_AGO: i64 = 5 * 365 * 24 * 3600;

/// Where a search through all tables is: a table's number and an item's key in it.
pub type Place = (u32, Bytes);

/// Items whose time is over, by their tables' numbers, and where the search goes on, if it is not through.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overdue {
    /// They.
    pub items: Vec<Place>,
    /// Where it goes on.
    pub next: Option<Place>,
}

/// Whether an item's time is over, by the attribute that its table names.
fn is_over(table: &Table, item: &Item, now: u64) -> bool {
    let Some(name) = &table.definition.expires else { return false };
    let Some(AttributeValue::N(number)) = item.get(name) else { return false };
    let now = i64::try_from(now / 1000).unwrap_or(i64::MAX);
    number.whole().is_some_and(|end| end <= now && end > now.saturating_sub(LONG_AGO))
}

impl Tables {
    pub(super) fn expire(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        (table, keys): (u32, &[Bytes]),
        digest: &mut Digest,
    ) -> Applied<Reply> {
        let table = self.catalog.expiring().find(|t| t.definition.id == table).cloned();
        let Some(table) = table else { return Ok(Ok(Reply::Expired(0))) };
        let moment = Moment { by_time: true, ..moment };
        let mut gone = 0;
        for key in keys {
            if self.held.lock(&lock::item(table.definition.id, key)).is_some() {
                // A transaction holds it; it is found again.
                continue;
            }
            let Some(stored) = state.get(&self.rows.item(table.definition.id, key))? else { continue };
            let item = decode_stored(stored)?.item;
            let tenant = table.schema.key_of_item(&item).map(|key| key.partition);
            if tenant.is_ok_and(|tenant| self.tenants.holds_back(table.definition.id, &tenant)) {
                continue;
            }
            if is_over(&table, &item, moment.now) {
                self.remove(state, moment, &table, item, digest)?;
                gone += 1;
            }
        }
        Ok(Ok(Reply::Expired(gone)))
    }
}

impl TablesView {
    /// Looks at so many items of the tables that have an attribute for their end.
    pub(super) fn overdue(
        &self,
        after: Option<&Place>,
        now: u64,
        items: usize,
        source: &dyn Source,
    ) -> StateResult<Overdue> {
        let mut found = Overdue::default();
        let mut left = items.max(1);
        let mut tables: Vec<_> = self.catalog.expiring().collect();
        tables.sort_by_key(|table| table.definition.id);
        for table in tables {
            let id = table.definition.id;
            if after.is_some_and(|(at, _)| id < *at) {
                continue;
            }
            let all = self.rows.item(id, b"");
            let from = match after {
                Some((at, key)) if *at == id => Bound::Excluded(self.rows.item(id, key)),
                _ => Bound::Included(all.clone()),
            };
            let range = (from.as_ref().map(Vec::as_slice), Bound::Excluded(&behind(all)[..]));
            for pair in source.scan(range) {
                let (row, stored) = pair?;
                let key = self.rows.rest(&row)?.slice(4..);
                if is_over(table, &decode_stored(stored)?.item, now) {
                    found.items.push((id, key.clone()));
                }
                left -= 1;
                if left == 0 {
                    found.next = Some((id, key));
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }
}
