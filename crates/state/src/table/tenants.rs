//! Tenants that move from one shard to another, in a table that is divided by directory: what the two shards do. The words by which a move
//! begins and ends are shard 1's ([`super::placement`]); who takes the steps is whoever sees that the move is not over, and any number may
//! at once: each step says what it follows, and a shard refuses one that it is not at.
//!
//! ```text
//! where it leaves:    here ── Leave ──► leaving ── Seal ──► sealed ── Close ──► gone (… Sweep: nothing is left)
//!                                          ▲── Leave ──────────┘
//! where it comes to:  nothing ── Come ──► coming (… Copy) ── Open ──► here
//! ```
//!
//! | it is | writes | reads | |
//! | --- | --- | --- | --- |
//! | leaving | yes | yes | what is written is noted, row by row, and copied once more |
//! | sealed | no | yes | for as long as the last of that takes, and until no transaction holds any of it |
//! | gone | no | no | closed before it opens elsewhere: no two shards ever serve it |
//! | coming | no | no | |
//!
//! Rows are copied in the order of their keys while the tenant is written, then those that were noted meanwhile. A copy names the place in
//! the log of the one before it, and is refused behind any other. Whoever copies learns that place before it reads what it copies: so what
//! is read later lies above what was read sooner, whoever sends it, and however late. A note is let go of once what stood in the row at its
//! place was copied. A tenant closes where no note and no lock is left, and opens where the first round of copies was through; the
//! driver ([`next`]) opens it behind the closing.
//!
//! A replica that is behind its shard may be asked, too, by who takes a state that is old. What it has of a tenant that left it once had,
//! and may tell. Of one that came it may not know yet: so whoever asks says by which word a tenant last came or left, and a replica that
//! is not as far is refused.
//!
//! An item's version is the place of the write in the log of the shard that it is in. So none lives over a move; who compares two
//! versions asks one shard twice, and is refused by one where the tenant is not any more. Should it have come back meanwhile, what is absent
//! has a version of behind that.

use super::apply::{Applied, Becomes, Moment, Planned, decode_stored};
use super::catalog::Table;
use super::division::Division;
use super::layout::{behind, damaged, row, varint};
use super::placement::Move;
use super::read::{invalid, refused};
use super::{Tables, TablesView, lock};
use crate::digest::Digest;
use crate::kv::ReadError;
use crate::kv::source::Source;
use bytes::Bytes;
use quorate_base::Index;
use quorate_item::Item;
use quorate_item::codec::Codec;
use quorate_storage::state::{State, StateResult};
use quorate_wire::codec::Reader;
use quorate_wire::table::{Copied, Done, Execute, Outcome, Refusal, Reply, Step, Tenant};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// Rows that are read at once to be copied: so many bytes, about, ...
const COPY_BYTES: usize = 512 << 10;
/// ... and so many rows.
const COPY_ROWS: usize = 1_000;
/// With no more notes than these a tenant is sealed.
const FEW: usize = 64;
/// So many items are swept by a step.
const SWEPT: u32 = 500;

/// How a tenant is in a shard that it leaves or comes to. Where nothing is known it is here, if the directory says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// What is written is noted.
    Leaving,
    /// Writes are held back.
    Sealed,
    /// It was here.
    Gone {
        /// Nothing of it is left.
        swept: bool,
        /// Nothing of it is left up to this row. Whoever looked for the rest from its beginning went through all that was swept before, which a
        /// store keeps for a while as deleted.
        upto: Bytes,
    },
    /// It will be here.
    Coming {
        /// The place in the log of the last step.
        last: Index,
        /// The first round of copies has come to this row.
        upto: Bytes,
        /// That round is through.
        whole: bool,
    },
}

/// The same with the word by which it moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stands {
    /// The word's place in shard 1's log.
    pub since: Index,
    /// How it is.
    pub standing: Standing,
}

/// What is asked of a tenant in a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// How it stands.
    Standing,
    /// Its rows behind one.
    Rows(Bytes),
    /// Those that were noted.
    Noted,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TenantSeen {
    /// How it stands, if it moves or has moved.
    pub stands: Option<Stands>,
    /// By which word a tenant last left this shard or came to it.
    pub moved: Index,
    /// A transaction holds some of it.
    pub locked: bool,
    /// Its rows: where they lie, at which place of the log each was noted, and the item.
    pub rows: Vec<(Bytes, u64, Option<Bytes>)>,
    /// There are more.
    pub more: bool,
}

/// What is to be done next for a tenant that moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// This step where it leaves.
    From(Step),
    /// This one where it comes to.
    To(Step),
    /// Rows behind this one are to be copied, of a state that is read now, behind the step at that place.
    Copy(Bytes, Index),
    /// Those that were noted, and then the notes of them go.
    CopyNoted(Index),
    /// Transactions are waited for.
    Wait,
    /// Shard 1 is to know that it has arrived.
    Arrived,
    /// Shard 1 is to know that the move is over.
    Swept,
}

/// What is to be done next for a tenant that moves, by how it stands in the shard that it leaves, with what was noted there, and in
/// the one that it comes to. What was read there must be read before what is read in the former is.
pub fn next(moves: &Move, from: &TenantSeen, to: &TenantSeen) -> Next {
    let of = |seen: &TenantSeen| {
        seen.stands.as_ref().filter(|stands| stands.since == moves.at).map(|stands| stands.standing.clone())
    };
    let (leaves, comes) = (of(from), of(to));
    if moves.arrived {
        return match leaves {
            Some(Standing::Gone { swept: true, .. }) | None => Next::Swept,
            Some(_) => Next::From(Step::Sweep(SWEPT)),
        };
    }
    let coming = match comes {
        Some(Standing::Coming { last, upto, whole }) => Some((last, upto, whole)),
        _ => None,
    };
    match (leaves, coming) {
        (Some(Standing::Gone { .. }), Some(_)) => Next::To(Step::Open),
        (Some(Standing::Gone { .. }), None) => Next::Arrived,
        (None, _) => Next::From(Step::Leave),
        (Some(_), None) => Next::To(Step::Come),
        (Some(_), Some((last, upto, false))) => Next::Copy(upto, last),
        (Some(Standing::Sealed), Some((last, _, true))) => match (from.rows.is_empty(), from.locked) {
            (false, _) => Next::CopyNoted(last),
            (true, true) => Next::Wait,
            (true, false) => Next::From(Step::Close),
        },
        (Some(_), Some(_)) if !from.more && from.rows.len() <= FEW => Next::From(Step::Seal),
        (Some(_), Some((last, ..))) => Next::CopyNoted(last),
    }
}

/// How the tenants stand that move or have moved, in a shard; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Standings {
    stand: Arc<BTreeMap<(u32, Bytes), Stands>>,
    /// By which word a tenant last left this shard or came to it.
    moved: Index,
    /// The place in this shard's log at which it did.
    at: Index,
}

impl Standings {
    pub(super) fn of(&self, table: u32, partition: &[u8]) -> Option<&Stands> {
        if self.stand.is_empty() {
            return None;
        }
        self.stand.get(&(table, Bytes::copy_from_slice(partition)))
    }

    pub(super) fn any(&self) -> bool {
        !self.stand.is_empty()
    }

    /// Whether its items are not to be seen here.
    fn hides(&self, table: u32, partition: &[u8]) -> bool {
        let standing = self.of(table, partition).map(|stands| &stands.standing);
        matches!(standing, Some(Standing::Gone { .. } | Standing::Coming { .. }))
    }

    /// Whether they are not to be written here.
    pub(super) fn holds_back(&self, table: u32, partition: &[u8]) -> bool {
        let standing = self.of(table, partition).map(|stands| &stands.standing);
        !matches!(standing, None | Some(Standing::Leaving))
    }

    /// Whether what is written of it is to be noted.
    pub(super) fn notes(&self, table: u32, partition: &[u8]) -> bool {
        let standing = self.of(table, partition).map(|stands| &stands.standing);
        matches!(standing, Some(Standing::Leaving | Standing::Sealed))
    }
}

impl Stands {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint(&mut out, self.since.get());
        match &self.standing {
            Standing::Leaving => out.push(1),
            Standing::Sealed => out.push(2),
            Standing::Gone { swept, upto } if upto.is_empty() => out.extend([3, u8::from(*swept)]),
            Standing::Gone { swept, upto } => {
                out.extend([5, u8::from(*swept)]);
                varint(&mut out, upto.len() as u64);
                out.extend_from_slice(upto);
            }
            Standing::Coming { last, upto, whole } => {
                out.push(4);
                varint(&mut out, last.get());
                varint(&mut out, upto.len() as u64);
                out.extend_from_slice(upto);
                out.push(u8::from(*whole));
            }
        }
        out
    }

    fn decode(stored: Bytes) -> StateResult<Self> {
        let mut input = Reader::new(stored);
        let mut read = || -> quorate_wire::codec::Read<Self> {
            let stands = read_stands(&mut input)?;
            input.end()?;
            Ok(stands)
        };
        read().map_err(|_| damaged("how a tenant stands"))
    }
}

pub(super) fn write_stands(stands: &Stands) -> Vec<u8> {
    stands.encode()
}

pub(super) fn read_stands(input: &mut Reader) -> quorate_wire::codec::Read<Stands> {
    let since = Index(input.varint()?);
    let standing = match input.u8()? {
        1 => Standing::Leaving,
        2 => Standing::Sealed,
        3 => Standing::Gone { swept: input.flag()?, upto: Bytes::new() },
        4 => Standing::Coming { last: Index(input.varint()?), upto: input.bytes()?, whole: input.flag()? },
        5 => Standing::Gone { swept: input.flag()?, upto: input.bytes()? },
        _ => return Err(quorate_wire::codec::Malformed),
    };
    Ok(Stands { since, standing })
}

/// What the rows of a tenant begin with, behind the table's number.
fn beginning(table: &Table, partition: &[u8]) -> Vec<u8> {
    [&table.division.slot_of(partition)[..], partition].concat()
}

impl Tables {
    pub(super) fn load_tenants(&self, source: &dyn Source) -> StateResult<Standings> {
        let mut tenants = Standings::default();
        let mut stand = BTreeMap::new();
        let (from, to) = (self.rows.kind(row::STANDS), self.rows.kind(row::STANDS + 1));
        for pair in source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
            let (key, stored) = pair?;
            let rest = self.rows.rest(&key)?;
            let table = rest.first_chunk::<4>().ok_or_else(|| damaged("a tenant's key"))?;
            let table = u32::from_be_bytes(*table);
            match rest.slice(4..) {
                // Behind no tenant: of the shard.
                none if none.is_empty() => {
                    let mut input = Reader::new(stored);
                    let mut read = || -> quorate_wire::codec::Read<_> {
                        let (moved, at) = (Index(input.varint()?), Index(input.varint()?));
                        input.end()?;
                        Ok((moved, at))
                    };
                    (tenants.moved, tenants.at) = read().map_err(|_| damaged("a shard's last tenant"))?;
                }
                partition => drop(stand.insert((table, partition), Stands::decode(stored)?)),
            }
        }
        tenants.stand = Arc::new(stand);
        Ok(tenants)
    }

    /// A step of a tenant's move.
    pub(super) fn step_of_move(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        (tenant, since, step): (&Tenant, Index, &Step),
        digest: &mut Digest,
    ) -> Applied<Reply> {
        let table = self.catalog.tables().find(|table| table.definition.id == tenant.table).cloned();
        // Under no key the shard's own row stands.
        let table = table.filter(|table| table.division == Division::Directory && !tenant.key.is_empty());
        let Some(table) = table else { return Ok(Err(Refusal::Moved)) };
        let stands = self.tenants.of(tenant.table, &tenant.key).cloned();
        let now = stands.as_ref().filter(|stands| stands.since == since).map(|stands| &stands.standing);
        // A word that was before the last one is of a move that is over.
        let fresh = since > self.tenants.moved && stands.as_ref().is_none_or(|stands| stands.since < since);
        let moment = Moment { moves: true, ..moment };
        let becomes = match (step, now) {
            (Step::Leave, None) if fresh && stands.is_none() => Some(Standing::Leaving),
            (Step::Leave, Some(Standing::Leaving | Standing::Sealed)) => Some(Standing::Leaving),
            (Step::Noted(rows), Some(Standing::Leaving | Standing::Sealed)) => {
                self.forget_notes(state, &table, rows)?;
                return Ok(Ok(Reply::Placed));
            }
            (Step::Seal, Some(Standing::Leaving | Standing::Sealed)) => Some(Standing::Sealed),
            (Step::Close, Some(Standing::Sealed)) if self.is_settled(state, &table, &tenant.key)? => {
                self.put_moved(state, tenant.table, (since, moment.index));
                Some(Standing::Gone { swept: false, upto: Bytes::new() })
            }
            (Step::Close, Some(gone @ Standing::Gone { .. }))
            | (Step::Sweep(_), Some(gone @ Standing::Gone { swept: true, .. })) => Some(gone.clone()),
            (Step::Sweep(items), Some(Standing::Gone { upto, .. })) => {
                let what = (&tenant.key[..], &upto.clone()[..], (*items).min(SWEPT));
                let (swept, upto) = self.sweep_tenant(state, moment, &table, what, digest)?;
                Some(Standing::Gone { swept, upto })
            }
            (Step::Come, None) if fresh => match stands.as_ref().map(|stands| &stands.standing) {
                None | Some(Standing::Gone { swept: true, .. }) => {
                    Some(Standing::Coming { last: moment.index, upto: Bytes::new(), whole: false })
                }
                Some(_) => None,
            },
            (Step::Come, Some(coming @ Standing::Coming { .. })) => Some(coming.clone()),
            (
                Step::Copy { behind, rows, upto, whole },
                Some(Standing::Coming { last, upto: before, whole: through }),
            ) if *last == Index(*behind) => {
                let (before, through) = (before.clone(), *through);
                self.copy_in(state, moment, (&table, &tenant.key), rows, digest)?;
                let upto = upto.clone().unwrap_or(before);
                Some(Standing::Coming { last: moment.index, upto, whole: through || *whole })
            }
            (Step::Open, Some(Standing::Coming { whole: true, .. })) => {
                self.put_moved(state, tenant.table, (since, moment.index));
                self.put_stands(state, tenant, None, digest);
                return Ok(Ok(Reply::Placed));
            }
            _ => None,
        };
        let Some(standing) = becomes else { return Ok(Err(Refusal::Moved)) };
        if now != Some(&standing) {
            self.put_stands(state, tenant, Some(Stands { since, standing }), digest);
        }
        Ok(Ok(Reply::Placed))
    }

    fn put_stands(
        &mut self,
        state: &mut dyn State,
        tenant: &Tenant,
        stands: Option<Stands>,
        digest: &mut Digest,
    ) {
        let row = self.rows.numbered(row::STANDS, tenant.table, &tenant.key);
        let stand = Arc::make_mut(&mut self.tenants.stand);
        let key = (tenant.table, tenant.key.clone());
        digest.number(STANDS);
        digest.bytes(&tenant.key);
        if let Some(stands) = stands {
            let encoded = stands.encode();
            digest.bytes(&encoded);
            state.put(&row, &encoded);
            stand.insert(key, stands);
        } else {
            state.delete(&row);
            stand.remove(&key);
        }
    }

    fn put_moved(&mut self, state: &mut dyn State, table: u32, (since, at): (Index, Index)) {
        (self.tenants.moved, self.tenants.at) = (since, at);
        let mut value = Vec::new();
        varint(&mut value, since.get());
        varint(&mut value, at.get());
        state.put(&self.rows.numbered(row::STANDS, table, b""), &value);
    }

    /// Notes that a row was written of a tenant that leaves.
    pub(super) fn note_written(
        &self,
        state: &mut dyn State,
        table: &Table,
        (partition, at): (&[u8], &[u8]),
        index: Index,
    ) {
        let id = table.definition.id;
        if self.tenants.notes(id, partition) {
            state.put(&self.rows.numbered(row::NOTED, id, at), &index.get().to_be_bytes());
        }
    }

    fn forget_notes(&self, state: &mut dyn State, table: &Table, rows: &[(Bytes, u64)]) -> StateResult<()> {
        for (at, noted) in rows {
            let row = self.rows.numbered(row::NOTED, table.definition.id, at);
            if state.get(&row)?.is_some_and(|stored| stored[..] == noted.to_be_bytes()) {
                state.delete(&row);
            }
        }
        Ok(())
    }

    /// Whether no note of a tenant is left, and nobody holds any of it.
    fn is_settled(&self, state: &dyn State, table: &Table, partition: &[u8]) -> StateResult<bool> {
        let (id, all) = (table.definition.id, beginning(table, partition));
        if self.held.keys(&lock::item(id, &all)).next().is_some() {
            return Ok(false);
        }
        let from = self.rows.numbered(row::NOTED, id, &all);
        let to = behind(from.clone());
        let mut noted = state.scan((Bound::Included(&from), Bound::Excluded(&to)));
        Ok(noted.next().transpose()?.is_none())
    }

    /// Takes items of a tenant away that is gone, behind a row up to which none is; whether none is left, and up to where.
    fn sweep_tenant(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        table: &Arc<Table>,
        (partition, upto, items): (&[u8], &[u8], u32),
        digest: &mut Digest,
    ) -> StateResult<(bool, Bytes)> {
        let id = table.definition.id;
        let all = self.rows.item(id, &beginning(table, partition));
        let (last, to) = (self.rows.item(id, upto), behind(all.clone()));
        let from = if upto.is_empty() { Bound::Included(&all[..]) } else { Bound::Excluded(&last[..]) };
        let scan = state.scan((from, Bound::Excluded(&to))).take(items as usize);
        let found: Vec<(Bytes, Bytes)> = scan.collect::<StateResult<_>>()?;
        let left = found.len() == items as usize;
        let mut upto = Bytes::copy_from_slice(upto);
        for (row, stored) in found {
            upto = self.rows.rest(&row)?.slice(4..);
            self.remove(state, moment, table, decode_stored(stored)?.item, digest)?;
        }
        // Who is through has nothing more to remember.
        Ok(if left { (false, upto) } else { (true, Bytes::new()) })
    }

    fn copy_in(
        &mut self,
        state: &mut dyn State,
        moment: Moment,
        (table, partition): (&Arc<Table>, &[u8]),
        rows: &[Copied],
        digest: &mut Digest,
    ) -> StateResult<()> {
        let all = beginning(table, partition);
        for (at, bytes) in rows.iter().filter(|(at, _)| at.starts_with(&all)) {
            let row = self.rows.item(table.definition.id, at);
            let old = state.get(&row)?.map(decode_stored).transpose()?.map(|stored| stored.item);
            let new = bytes.as_ref().map(|bytes| Item::decode(bytes)).transpose();
            // What no replica can read none takes.
            let Ok(new) = new else { continue };
            let Some(key) =
                new.as_ref().or(old.as_ref()).and_then(|item| table.schema.key_of_item(item).ok())
            else {
                continue;
            };
            if table.at(&key)[..] != at[..] {
                continue;
            }
            let becomes = match (new, bytes) {
                (Some(item), Some(bytes)) => Becomes::Item(item, bytes.clone()),
                _ => Becomes::Nothing,
            };
            let (at, done) = (at.to_vec(), Done::of(Outcome::Done));
            let planned = Planned { table: table.clone(), key, at, old, becomes, done };
            self.carry_out(state, moment, planned, digest)?;
        }
        Ok(())
    }

    /// Whether operations are of a tenant that is not written here.
    pub(super) fn holds_back(&self, ops: &Execute) -> bool {
        holds_back(&self.tenants, &self.catalog, ops)
    }
}

/// See [`Tables::holds_back`].
pub(super) fn holds_back(tenants: &Standings, catalog: &super::catalog::Catalog, ops: &Execute) -> bool {
    let held = |op: &quorate_wire::table::Op| {
        let Some(table) = catalog.get(&op.table) else { return false };
        let Ok(asked) = super::apply::Asked::read(table, op) else { return false };
        tenants.holds_back(table.definition.id, &asked.key.partition)
    };
    tenants.any() && ops.ops.iter().any(held)
}

impl TablesView {
    /// Refuses to read a tenant that is not here, or not as far as is known: who is behind the word by which the tenant came does not know
    /// that it lacks it.
    pub(super) fn check_here(
        &self,
        table: &Table,
        (partition, moved): (&[u8], Index),
    ) -> Result<(), ReadError> {
        let hidden = self.tenants.hides(table.definition.id, partition);
        if hidden || self.tenants.moved < moved { Err(refused(Refusal::Moved)) } else { Ok(()) }
    }

    /// Refuses whoever reads several shards by another state of the directory than this shard's.
    pub(super) fn check_moved(&self, table: &Table, moved: Index) -> Result<(), ReadError> {
        let same = table.division != Division::Directory || self.tenants.moved == moved;
        if same { Ok(()) } else { Err(refused(Refusal::Moved)) }
    }

    /// No item that is absent has a version below this: it may have been there, and gone, in another shard.
    pub(super) fn absent_since(&self) -> u64 {
        self.tenants.at.get()
    }

    /// Whether a row of an index is of a tenant that is not here.
    pub(super) fn is_hidden(&self, table: &Table, item: &Item) -> bool {
        let hides = |key: quorate_item::Key| self.tenants.hides(table.definition.id, &key.partition);
        self.tenants.any() && table.schema.key_of_item(item).is_ok_and(hides)
    }

    /// Whether operations are of a tenant that is not written here.
    pub(super) fn holds_back(&self, ops: &Execute) -> bool {
        holds_back(&self.tenants, &self.catalog, ops)
    }

    /// How a tenant stands here, and what of it is asked for.
    pub(super) fn tenant(
        &self,
        (table, key, part): (&str, &Bytes, &Part),
        source: &dyn Source,
    ) -> Result<TenantSeen, ReadError> {
        let table = self.table(table)?;
        if table.division != Division::Directory {
            return Err(invalid("The table has no directory"));
        }
        let (id, all) = (table.definition.id, beginning(table, key));
        let locked = self.held.keys(&lock::item(id, &all)).next().is_some();
        let stands = self.tenants.of(id, key).cloned();
        let mut seen = TenantSeen { stands, moved: self.tenants.moved, locked, ..TenantSeen::default() };
        let (kind, after) = match part {
            Part::Standing => return Ok(seen),
            Part::Rows(after) => (row::ITEM, &after[..]),
            Part::Noted => (row::NOTED, &b""[..]),
        };
        let first = self.rows.numbered(kind, id, &all);
        let to = behind(first.clone());
        let behind_last = self.rows.numbered(kind, id, after);
        let from =
            if behind_last > first { Bound::Excluded(&behind_last[..]) } else { Bound::Included(&first[..]) };
        let mut bytes = 0;
        for pair in source.scan((from, Bound::Excluded(&to))) {
            if seen.rows.len() >= COPY_ROWS || bytes >= COPY_BYTES {
                seen.more = true;
                break;
            }
            let (row, stored) = pair?;
            let at = self.rows.rest(&row)?.slice(4..);
            let (noted, item) = match part {
                Part::Noted => {
                    let noted = stored[..].try_into().map_err(|_| damaged("a note"))?;
                    (u64::from_be_bytes(noted), source.get(&self.rows.item(id, &at))?)
                }
                _ => (0, Some(stored)),
            };
            let item = item.map(decode_stored).transpose()?.map(|stored| Bytes::from(stored.item.encode()));
            bytes += at.len() + item.as_ref().map_or(0, Bytes::len);
            seen.rows.push((at, noted, item));
        }
        Ok(seen)
    }
}

/// What the digest calls the effect.
const STANDS: u64 = 125;
