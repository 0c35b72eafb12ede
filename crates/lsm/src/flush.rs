//! Memtables become tables.
//!
//! The tree can do this by itself, in one go that nothing interrupts; here it goes at a pace ([`crate::pace`]).

use crate::{Shared, lock};
use lsm_tree::{AbstractTree, InternalValue, Memtable, SeqNo};
use quorate_storage::state::StateResult;

impl Shared {
    /// Flushes what was set aside, oldest first, each into a run of its own; one flush at a time, and merges beside it.
    pub(crate) fn flush(&self) -> StateResult<()> {
        let flushing = self.tree.get_flush_lock();
        loop {
            let Some(memtable) = lock(&self.graves).waiting() else { break };
            self.changing("flushing", || self.flush_one(&memtable))?;
            self.paced.waiting.memtables(lock(&self.graves).flushed());
        }
        drop(flushing);
        Ok(())
    }

    /// Lets go of memtables that were flushed and that no view sees, where a merge keeps the rest from its turn.
    pub(crate) fn free_memtables(&self) {
        // Taken out under the lock, dropped when it is free again.
        let dead = lock(&self.graves).dead_memtables();
        drop(dead);
    }

    fn flush_one(&self, memtable: &Memtable) -> lsm_tree::Result<()> {
        let watermark = self.watermark();
        let mut pace = self.paced.pace();
        let needed = newest(memtable.iter(), watermark).map(|item| {
            pace.item(item.key.user_key.len() + item.value.len());
            Ok(item)
        });
        let Some((tables, blobs)) = self.tree.flush_to_tables(needed)? else { return Ok(()) };
        self.tree.register_tables(&tables, blobs.as_deref(), None, &[memtable.id()], watermark)
    }
}

/// Of `items`, which come by key and newest first, those that somebody can see: a view stands at `watermark` or above and sees of
/// each key the newest below its number.
fn newest(
    items: impl Iterator<Item = InternalValue>,
    watermark: SeqNo,
) -> impl Iterator<Item = InternalValue> {
    let mut above: Option<(lsm_tree::Slice, SeqNo)> = None;
    items.filter(move |item| {
        let hidden =
            above.as_ref().is_some_and(|(key, seqno)| *key == item.key.user_key && *seqno < watermark);
        if !hidden {
            above = Some((item.key.user_key.clone(), item.key.seqno));
        }
        !hidden
    })
}

#[cfg(test)]
mod tests {
    use super::newest;
    use lsm_tree::{InternalValue, SeqNo, ValueType};

    fn kept(items: &[(&str, SeqNo)], watermark: SeqNo) -> Vec<(String, SeqNo)> {
        let items = items
            .iter()
            .map(|&(key, seqno)| InternalValue::from_components(key, "", seqno, ValueType::Value));
        let name =
            |item: InternalValue| (String::from_utf8_lossy(&item.key.user_key).into_owned(), item.key.seqno);
        newest(items, watermark).map(name).collect()
    }

    #[test]
    fn a_version_stays_while_a_view_may_see_it() {
        let items = [("a", 9), ("a", 5), ("a", 3), ("b", 7), ("c", 2), ("c", 1)];
        let named =
            |wanted: &[(&str, SeqNo)]| wanted.iter().map(|&(k, s)| (k.to_owned(), s)).collect::<Vec<_>>();
        // A view at 9 does not see what has that number.
        assert_eq!(kept(&items, 9), named(&[("a", 9), ("a", 5), ("b", 7), ("c", 2)]));
        assert_eq!(kept(&items, 10), named(&[("a", 9), ("b", 7), ("c", 2)]));
        assert_eq!(kept(&items, 4), named(&[("a", 9), ("a", 5), ("a", 3), ("b", 7), ("c", 2)]));
        assert_eq!(kept(&items, 0), named(&items));
    }
}
