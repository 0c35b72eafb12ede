//! Pages of what lies in all shards of a table: of a global index, and of one partition of a table whose partitions are divided
//! ([`quorate_node::api::tables::Division`]). Each shard has the rows of its own items, in their order, so
//! all are asked at once and what they tell is merged row by row: by the index' key, then by the table's, as if all lay in one.
//!
//! A page ends as in one shard: behind so many rows, or behind 1 MB of them, whichever of them pass the filter. No shard
//! tells more than about its share of that at first; one whose rows are used up before the page is full is asked for the next,
//! twice as many each time, since they may all lie there. So a page of a thousand rows costs each of four shards some 250, and
//! one of a single row costs each one.

use crate::failure::{Answered, ApiError, Kind};
use crate::route::{Place, beside, in_block, moved, paged, there};
use crate::{Gateway, unexpected};
use quorate_item::Item;
use quorate_node::api::tables::{Block, Described, Page, Paged, Read, ReadReply, Row};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;

/// A page ends behind about so many bytes of items.
const PAGE_BYTES: usize = 1 << 20;

/// A row, and where it stands in the index.
type Placed = (Vec<u8>, Row);

/// What one shard has told and nobody has used yet.
#[derive(Default)]
struct Told {
    rows: VecDeque<Placed>,
    /// From behind these keys it goes on; from the page's start unless set.
    behind: Option<Item>,
    /// It has nothing behind its rows.
    ended: bool,
    /// How often it was asked.
    asked: u32,
}

/// What all shards have told, and the page as far as it is merged.
struct Merge {
    told: Vec<Told>,
    /// The first rows of the shards, by where they stand.
    heads: BTreeMap<Vec<u8>, usize>,
    backward: bool,
    most: usize,
    paged: Paged,
}

/// How much of a page is asked for: rows and bytes.
type Share = (Option<usize>, usize);

impl Merge {
    fn new(shards: usize, page: &Page) -> Self {
        Self {
            told: (0..shards).map(|_| Told::default()).collect(),
            heads: BTreeMap::new(),
            backward: page.backward,
            most: page.limit.unwrap_or(usize::MAX),
            paged: Paged::default(),
        }
    }

    /// The shards that must be asked before another row can be taken, and for how much.
    fn dry(&self) -> Vec<(usize, Share)> {
        let shards = self.told.len().max(1);
        let (rows, bytes) = (self.most - self.paged.scanned, PAGE_BYTES - self.paged.bytes.min(PAGE_BYTES));
        let share = |all: usize, asked: u32| {
            let part = all.div_ceil(shards).max(1);
            part.saturating_mul(1 << asked.min(20)).min(all.max(1))
        };
        let dry = |(at, told): (usize, &Told)| {
            let limit = (self.most < usize::MAX).then(|| share(rows, told.asked));
            (told.rows.is_empty() && !told.ended).then(|| (at, (limit, share(bytes, told.asked))))
        };
        self.told.iter().enumerate().filter_map(dry).collect()
    }

    fn hear(&mut self, at: usize, rows: Vec<Placed>, more: bool) {
        let told = &mut self.told[at];
        told.asked += 1;
        // Without a row there is nothing behind which it could go on.
        told.ended = !more || rows.is_empty();
        if let Some((_, last)) = rows.last() {
            told.behind = Some(last.keys.clone());
        }
        told.rows = rows.into();
        self.expose(at);
    }

    fn expose(&mut self, at: usize) {
        if let Some((place, _)) = self.told[at].rows.front() {
            self.heads.insert(place.clone(), at);
        }
    }

    /// Takes rows until a shard must be asked. True once the page is whole.
    fn go_on(&mut self) -> bool {
        while self.told.iter().all(|told| told.ended || !told.rows.is_empty()) {
            let first = if self.backward { self.heads.pop_last() } else { self.heads.pop_first() };
            let Some((_, at)) = first else { return true };
            // A shard that is not dry has a head; only a run of rows of one shard goes on without looking at the others.
            while let Some((place, _)) = self.told[at].rows.front() {
                let next =
                    if self.backward { self.heads.last_key_value() } else { self.heads.first_key_value() };
                let behind =
                    next.is_some_and(|(next, _)| if self.backward { next > place } else { next < place });
                if behind {
                    break;
                }
                if self.take(at) {
                    return true;
                }
            }
            self.expose(at);
        }
        false
    }

    /// Takes a shard's first row. True if it fills the page.
    fn take(&mut self, at: usize) -> bool {
        let Some((_, row)) = self.told[at].rows.pop_front() else { return false };
        let paged = &mut self.paged;
        paged.scanned += 1;
        paged.bytes += row.bytes;
        paged.count += usize::from(row.passed);
        paged.items.extend(row.item);
        let full = paged.scanned >= self.most || paged.bytes >= PAGE_BYTES;
        if full {
            paged.last = Some(row.keys);
        }
        full
    }
}

/// A page of a global index.
pub(crate) async fn page(
    gateway: &Gateway,
    block: &Block,
    described: &Described,
    index: &str,
    page: &Page,
) -> Answered<Paged> {
    merged(block, page, |place, part| {
        let part = Page { moved: block.moved(place.shard), ..part };
        rows(gateway, place, described, index, part)
    })
    .await
}

/// A page of one partition of a table, which lies in all shards.
pub(crate) async fn query(
    gateway: &Gateway,
    block: &Block,
    page: &Page,
    consistent: bool,
) -> Answered<Paged> {
    check(gateway, block, page).await?;
    merged(block, page, |place, part| items(gateway, place, (block, page), part, consistent)).await
}

/// What the shards would say of it, which are asked for whole items.
async fn check(gateway: &Gateway, block: &Block, page: &Page) -> Answered<()> {
    let ReadReply::Table(described) = gateway.read(Read::Describe(page.table.clone()), false).await? else {
        return Err(unexpected());
    };
    let indexes = described.indexes.iter().map(|(_, schema)| schema);
    let checked = page.check(&block.schema, indexes, &block.schema);
    checked.map_err(|error| ApiError::validation(error.message()))
}

async fn merged<F: Future<Output = Answered<(Vec<Placed>, bool)>>>(
    block: &Block,
    page: &Page,
    ask: impl Fn(Place, Page) -> F,
) -> Answered<Paged> {
    let places: Vec<Place> = block.shards().map(|shard| in_block(block, shard)).collect();
    let mut merge = Merge::new(places.len(), page);
    while !merge.go_on() {
        let dry = merge.dry();
        let part = |(at, (limit, bytes)): &(usize, Share)| {
            let start = merge.told[*at].behind.clone().or_else(|| page.start.clone());
            ask(places[*at], Page { limit: *limit, bytes: Some(*bytes), start, ..page.clone() })
        };
        let parts = beside(dry.iter().map(part)).await;
        for ((at, _), part) in dry.iter().zip(parts) {
            let (rows, more) = part?;
            merge.hear(*at, rows, more);
        }
    }
    Ok(merge.paged)
}

/// Items of one shard, as rows of what `asked` is, and whether it has more. They come whole: those that do not pass count, too, and of those
/// that do the keys say where they stand.
async fn items(
    gateway: &Gateway,
    place: Place,
    (block, asked): (&Block, &Page),
    part: Page,
    consistent: bool,
) -> Answered<(Vec<Placed>, bool)> {
    let part = Page { filter: None, projection: None, count: false, ..part };
    let paged = paged(gateway, place, part, consistent).await?;
    let row = |item: Item| {
        let at = block.schema.key_of_item(&item).ok()?.bytes();
        let (keys, bytes) = (block.schema.only_key(&item), item.size());
        let passed = asked.filter.as_ref().is_none_or(|filter| filter.holds(Some(&item)));
        let item = (passed && !asked.count).then(|| {
            asked.projection.as_ref().map_or_else(|| item.clone(), |projection| projection.of(&item))
        });
        Some((at, Row { keys, bytes, passed, item }))
    };
    let rows = paged.items.into_iter().map(row).collect::<Option<_>>().ok_or_else(unexpected)?;
    Ok((rows, paged.last.is_some()))
}

/// Rows of one shard of an index, and whether it has more.
async fn rows(
    gateway: &Gateway,
    place: Place,
    described: &Described,
    index: &str,
    page: Page,
) -> Answered<(Vec<Placed>, bool)> {
    let (table, consistent) = (page.table.clone(), page.consistent);
    match there(place, gateway.read_from(place, Read::Rows(Box::new(page)), consistent).await) {
        Ok(ReadReply::Rows(rows, more)) => {
            let placed = |row: Row| Some((described.place_in_index(index, &row.keys)?, row));
            // Another index under the same name: the shard or this node's map is old.
            let rows = rows.into_iter().map(placed).collect::<Option<_>>().ok_or_else(moved)?;
            Ok((rows, more))
        }
        Ok(_) => Err(unexpected()),
        // A shard hears of a new index a moment later.
        Err(error) if error.kind == Kind::Validation && lacks(gateway, place, &table, index).await => {
            Err(moved())
        }
        Err(error) => Err(error),
    }
}

async fn lacks(gateway: &Gateway, place: Place, table: &str, index: &str) -> bool {
    match gateway.read_from(place, Read::Describe(table.into()), false).await {
        Ok(ReadReply::Table(described)) => described.indexes.iter().all(|(name, _)| name != index),
        _ => false,
    }
}

/// The table as shard 1 describes it, if what is asked for is a global index of it.
pub(crate) async fn global(gateway: &Gateway, page: &Page) -> Answered<Option<(String, Described)>> {
    let Some(index) = &page.index else { return Ok(None) };
    // An index that this node has not heard of may be a new one.
    for newest in [false, true] {
        let ReadReply::Table(described) = gateway.read(Read::Describe(page.table.clone()), newest).await?
        else {
            return Err(unexpected());
        };
        if described.indexes.iter().any(|(name, _)| name == index) {
            let global = described.definition.globals.iter().any(|global| global.name == *index);
            return Ok(global.then(|| (index.clone(), *described)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Index;
    use quorate_base::rng::Rng;
    use quorate_node::api::tables::KeysAsked;

    fn asked(limit: Option<usize>, backward: bool) -> Page {
        Page {
            table: "t".into(),
            index: Some("i".into()),
            keys: KeysAsked::All(None),
            filter: None,
            projection: None,
            whole: false,
            count: false,
            limit,
            bytes: None,
            start: None,
            backward,
            consistent: false,
            moved: Index(0),
        }
    }

    /// Whatever the shards have, a merged page is the page of one that has it all, and no shard tells more than twice what the
    /// page holds of it, and its share.
    #[test]
    fn rows_of_all_shards_come_in_one_order() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let shards = 1 + rng.below(6) as usize;
            let skewed = rng.chance(1, 4);
            let mut of: Vec<Vec<u64>> = vec![Vec::new(); shards];
            let mut all: Vec<u64> = (0..rng.below(60)).map(|n| n * 3).collect();
            for n in &all {
                of[if skewed { 0 } else { rng.below(shards as u64) as usize }].push(*n);
            }
            let backward = rng.chance(1, 2);
            if backward {
                all.reverse();
                for of in &mut of {
                    of.reverse();
                }
            }
            let limit = rng.chance(3, 4).then(|| 1 + rng.below(30) as usize);
            let size = if rng.chance(1, 3) { PAGE_BYTES / 7 } else { 10 };
            let mut merge = Merge::new(shards, &asked(limit, backward));
            let (mut at, mut told) = (vec![0; shards], 0);
            while !merge.go_on() {
                let dry = merge.dry();
                assert!(!dry.is_empty(), "seed {seed}: nothing to ask, and not at its end");
                for (shard, (rows, bytes)) in dry {
                    let upto = rows.unwrap_or(usize::MAX).min(bytes.div_ceil(size).max(1));
                    let left = &of[shard][at[shard]..];
                    let part: Vec<u64> = left.iter().copied().take(upto).collect();
                    at[shard] += part.len();
                    told += part.len();
                    let more = part.len() == upto;
                    let row =
                        |n: u64| Row { keys: key(n), bytes: size, passed: n.is_multiple_of(2), item: None };
                    merge.hear(shard, part.into_iter().map(|n| (vec![n as u8], row(n))).collect(), more);
                }
            }
            let most = limit.unwrap_or(usize::MAX).min(PAGE_BYTES.div_ceil(size));
            let expected = &all[..all.len().min(most)];
            let paged = merge.paged;
            assert_eq!(paged.scanned, expected.len(), "seed {seed}");
            assert_eq!(paged.count, expected.iter().filter(|n| n.is_multiple_of(2)).count(), "seed {seed}");
            let last = (expected.len() == most).then(|| key(expected[most - 1]));
            assert_eq!(paged.last, last, "seed {seed}");
            let bound = 3 * expected.len() + 2 * shards * most.min(all.len()).div_ceil(shards).max(1);
            assert!(told <= bound, "seed {seed}: {told} rows for {}", expected.len());
        }
    }

    fn key(n: u64) -> Item {
        let value = quorate_item::AttributeValue::N((n as i64).into());
        Item([("k".to_string(), value)].into_iter().collect())
    }
}
