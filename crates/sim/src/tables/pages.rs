//! Single items, read as pages: by a query of their partition, or by a scan of their shard that leaves out all others. Such a read
//! promises what a read of the item does, in its newest state or within a bound on staleness, and comes to it in another way: it tells
//! which transactions are undecided in what it is of, and those that are committed are applied before it is read again.

use super::{Tables, ask};
use quorate_item::{Comparator, Condition, Operand, Path};
use quorate_node::api::{Fresh, Request};
use quorate_state::table::{Get, KeysAsked, Page, Paged, Read};

/// That it is this item.
fn is(get: &Get) -> Option<Condition> {
    let name = get.key.get("k")?.clone();
    Some(Condition::Compare(Comparator::Eq, Operand::Path(Path::attribute("k")), Operand::Value(name)))
}

/// What reads one item, as a page.
fn page(get: &Get, scans: bool, consistent: bool) -> Option<Page> {
    let is = is(get)?;
    let (keys, filter) =
        if scans { (KeysAsked::All(None), Some(is)) } else { (KeysAsked::Condition(is), None) };
    Some(Page { filter, whole: true, consistent, moved: get.moved, ..Page::of(&get.table, keys) })
}

/// What a page of one item found.
pub(super) fn found(paged: &Paged) -> Result<Vec<Option<ask::Held>>, String> {
    if !paged.met.is_empty() || paged.last.is_some() || paged.items.len() > 1 {
        return Err(format!("Tables: a page of one item was answered {paged:?}"));
    }
    Ok(vec![paged.items.first().map(ask::held)])
}

impl Tables {
    /// Some reads of one item are sent as pages; true if it is.
    pub(crate) fn paged(&mut self, request: &mut Request) -> bool {
        let (read, consistent) = match request {
            Request::Explained(request, _) => return self.paged(request),
            Request::Table { read, fresh, .. } => (read, *fresh == Fresh::Newest),
            _ => return false,
        };
        let Read::Get(gets) = &**read else { return false };
        let [get] = &gets[..] else { return false };
        if !self.pages.chance(1, 4) {
            return false;
        }
        // Tenants are scanned one by one.
        let scans = self.pages.chance(1, 8) && !ask::has_directory(self.name(), self.shards, self.bounded);
        let Some(page) = page(get, scans, consistent) else { return false };
        **read = Read::Page(Box::new(page));
        true
    }
}
