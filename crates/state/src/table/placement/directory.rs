//! In which shards the tenants of a table lie that is divided by directory: each item of a partition key, its *tenant*, in the shard that
//! the directory says. It is part of shard 1's state, and changes there tenant by tenant ([`What::Assign`]).
//!
//! A tenant that is new is where it is said to be, and nothing else is to be done, since nobody wrote it before. One that was said to lie
//! in another shard *moves* ([`Move`]), one of a table at a time:
//!
//! 1. The word stands here. Requests still go to the shard that it leaves, while its items are copied to the one that it comes to
//!    ([`crate::table::tenants`]).
//! 2. It has *arrived*: requests go there.
//! 3. Nothing is left of it where it was: the move is over.
//!
//! For each shard it is remembered by which word a tenant last left it or came to it. Whoever reads what lies in several shards names
//! that, and a shard that is not as far, or further, refuses: so it sees each tenant in one of them.

use super::{Block, Placement, Tables, bad};
use crate::digest::Digest;
use crate::kv::source::Source;
use crate::table::change::invalid;
use crate::table::closing::being_deleted;
use crate::table::division::{Division, share};
use crate::table::layout::{hash32, row, varint};
use bytes::Bytes;
use quorate_base::{Index, ShardId};
use quorate_item::{Item, KeySchema};
use quorate_storage::state::{State, StateResult};
use quorate_wire::codec::{Read, Reader};
#[cfg(doc)]
use quorate_wire::table::What;
use quorate_wire::table::{Assigned, Refusal, Reply, Tenant};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// So many tenants a directory has: every node has all of them in memory.
pub const TENANTS_MAX: usize = 20_000;
/// Behind the number of the table's first shard: how its moves are, or a tenant.
const MOVES: u8 = 0;
const TENANT: u8 = 1;

/// See the module page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Directory {
    /// The how-manieth shard each tenant lies in, by its partition key.
    tenants: BTreeMap<Bytes, u32>,
    moves: Option<Move>,
    /// By which word a tenant last left the how-manieth shard, or came to it.
    moved: BTreeMap<u32, Index>,
}

/// A tenant that moves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// Its partition key.
    pub tenant: Bytes,
    /// The how-manieth shard it leaves.
    pub from: u32,
    /// The one that it comes to.
    pub to: u32,
    /// The place in shard 1's log of the word that it is to move.
    pub at: Index,
    /// It is there.
    pub arrived: bool,
}

impl Directory {
    /// The tenants, in the order of their keys, each with the how-manieth shard it lies in.
    pub fn tenants(&self) -> &BTreeMap<Bytes, u32> {
        &self.tenants
    }

    /// The tenant that moves.
    pub fn moves(&self) -> Option<&Move> {
        self.moves.as_ref()
    }

    /// By which word a tenant last left the how-manieth shard, or came to it.
    pub(super) fn moved(&self, shard: u32) -> Index {
        self.moved.get(&shard).copied().unwrap_or_default()
    }

    fn encode_moves(&self) -> Vec<u8> {
        let mut out = vec![u8::from(self.moves.is_some())];
        if let Some(Move { tenant, from, to, at, arrived }) = &self.moves {
            varint(&mut out, tenant.len() as u64);
            out.extend_from_slice(tenant);
            for n in [u64::from(*from), u64::from(*to), at.get(), u64::from(*arrived)] {
                varint(&mut out, n);
            }
        }
        varint(&mut out, self.moved.len() as u64);
        for (shard, at) in &self.moved {
            varint(&mut out, u64::from(*shard));
            varint(&mut out, at.get());
        }
        out
    }

    fn decode_moves(&mut self, stored: Bytes) -> StateResult<()> {
        let mut input = Reader::new(stored);
        let mut read = || -> Read<_> {
            let moves = if input.flag()? {
                let tenant = input.bytes()?;
                let numbers = [input.varint()?, input.varint()?, input.varint()?];
                Some((tenant, numbers, input.flag()?))
            } else {
                None
            };
            let pair = |input: &mut Reader| Ok((input.varint()?, input.varint()?));
            let moved = (0..input.count()?).map(|_| pair(&mut input)).collect::<Read<Vec<_>>>()?;
            input.end()?;
            Ok((moves, moved))
        };
        let (moves, moved) = read().map_err(|_| bad())?;
        let small = |n: u64| u32::try_from(n).map_err(|_| bad());
        if let Some((tenant, [from, to, at], arrived)) = moves {
            let (from, to) = (small(from)?, small(to)?);
            self.moves = Some(Move { tenant, from, to, at: Index(at), arrived });
        }
        for (shard, at) in moved {
            self.moved.insert(small(shard)?, Index(at));
        }
        Ok(())
    }
}

impl Block {
    /// The how-manieth of its shards one is.
    pub fn place_of(&self, shard: ShardId) -> Option<u32> {
        shard.get().checked_sub(self.first).filter(|at| *at < self.count)
    }

    /// The how-manieth of its shards.
    pub fn shard_at(&self, at: u32) -> ShardId {
        ShardId(self.first + at.min(self.count - 1))
    }

    /// By which word a tenant last left a shard, or came to it; 0 if never.
    pub fn moved(&self, shard: ShardId) -> Index {
        self.place_of(shard).map_or(Index(0), |at| self.directory.moved(at))
    }

    /// The tenants from one on, in the order of their keys, that fall into one of so many segments of a scan; each with its shard.
    pub fn tenants_from<'a>(
        &'a self,
        first: &[u8],
        segment: Option<(u32, u32)>,
    ) -> impl Iterator<Item = (&'a Bytes, ShardId)> {
        let (from, to) = (Bound::Included(first), Bound::Unbounded);
        let all = self.directory.tenants.range::<[u8], _>((from, to));
        let inside = move |(tenant, _): &(&Bytes, &u32)| is_in_segment(tenant, segment);
        all.filter(inside).map(|(tenant, at)| (tenant, self.shard_at(*at)))
    }

    /// The value of a tenant's partition key.
    pub fn tenant_in_words(&self, tenant: &[u8]) -> Option<Item> {
        let partition = KeySchema { partition: self.schema.partition.clone(), sort: Vec::new() };
        partition.values_of(tenant)
    }
}

/// Whether a tenant falls into a segment of a scan: each falls into one, wherever it lies.
pub fn is_in_segment(tenant: &[u8], segment: Option<(u32, u32)>) -> bool {
    segment.is_none_or(|(segment, of)| share(hash32(tenant), of.max(1)) == segment)
}

impl Placement {
    /// The shards of a table, by its number.
    fn numbered(&self, table: u32) -> Option<&Arc<Block>> {
        self.blocks.values().find(|block| block.table == table)
    }
}

impl Tables {
    pub(super) fn load_directories(&self, source: &dyn Source, placement: &mut Placement) -> StateResult<()> {
        let (from, to) = (self.rows.kind(row::TENANT), self.rows.kind(row::TENANT + 1));
        for pair in source.scan((Bound::Included(&from), Bound::Excluded(&to))) {
            let (key, stored) = pair?;
            let rest = self.rows.rest(&key)?;
            let (first, what) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
            let block = placement.blocks.get_mut(&u32::from_be_bytes(*first)).ok_or_else(bad)?;
            let directory = Arc::make_mut(&mut Arc::make_mut(block).directory);
            match what.first() {
                Some(&MOVES) => directory.decode_moves(stored)?,
                Some(&TENANT) => {
                    let shard = Reader::new(stored).varint().ok().and_then(|n| u32::try_from(n).ok());
                    directory.tenants.insert(rest.slice(5..), shard.ok_or_else(bad)?);
                }
                _ => return Err(bad()),
            }
        }
        Ok(())
    }

    /// Where a tenant lies.
    pub(in crate::table) fn assign(
        &mut self,
        state: &mut dyn State,
        (tenant, word): (&Tenant, Assigned),
        at: Index,
        digest: &mut Digest,
    ) -> Result<Reply, Refusal> {
        let block =
            self.placement.numbered(tenant.table).filter(|block| block.division == Division::Directory);
        let block = block.cloned().ok_or(Refusal::NotFound)?;
        let before = &block.directory;
        let changed = match (word, before.moves.clone()) {
            (Assigned::New(_), _) if before.tenants.contains_key(&tenant.key) => None,
            (Assigned::To(shard) | Assigned::New(shard), _) => {
                self.may_assign(&block, &tenant.key, shard)?.then(|| {
                    let mut directory = (**before).clone();
                    match before.tenants.get(&tenant.key) {
                        Some(&from) => {
                            let tenant = tenant.key.clone();
                            directory.moves = Some(Move { tenant, from, to: shard, at, arrived: false });
                        }
                        None => drop(directory.tenants.insert(tenant.key.clone(), shard)),
                    }
                    directory
                })
            }
            (Assigned::Arrived(since), Some(moves)) if moves.is(tenant, since) => {
                (!moves.arrived).then(|| {
                    let mut directory = (**before).clone();
                    directory.tenants.insert(tenant.key.clone(), moves.to);
                    for shard in [moves.from, moves.to] {
                        directory.moved.insert(shard, moves.at);
                    }
                    directory.moves = Some(Move { arrived: true, ..moves });
                    directory
                })
            }
            (Assigned::Swept(since), Some(moves)) if moves.is(tenant, since) && moves.arrived => {
                Some(Directory { moves: None, ..(**before).clone() })
            }
            (Assigned::Arrived(_) | Assigned::Swept(_), _) => return Err(Refusal::Moved),
        };
        if let Some(directory) = changed {
            self.put_directory(state, &block, &tenant.key, directory, digest);
        }
        Ok(Reply::Placed)
    }

    /// Whether a tenant may be said to lie in the how-manieth shard, and does not yet.
    fn may_assign(&self, block: &Block, tenant: &Bytes, shard: u32) -> Result<bool, Refusal> {
        if self.catalog.get(&block.name).is_some_and(|table| table.definition.closing) {
            return Err(being_deleted(&block.name));
        }
        if block.tenant_in_words(tenant).is_none() {
            return Err(invalid("The tenant is no partition key of the table"));
        }
        if shard >= block.count {
            return Err(invalid("The shard is none of the table's"));
        }
        let Directory { tenants, moves, .. } = &*block.directory;
        let Some(lies) = tenants.get(tenant) else {
            if tenants.len() >= TENANTS_MAX {
                let text = "Subscriber limit exceeded: a table's directory has";
                return Err(Refusal::Limit(format!("{text} {TENANTS_MAX} tenants at most")));
            }
            return Ok(true);
        };
        let own = moves.as_ref().filter(|moves| moves.tenant == *tenant && !moves.arrived);
        if own.map_or(*lies, |moves| moves.to) == shard {
            return Ok(false);
        }
        if moves.is_some() {
            let text = "Attempt to change a resource which is still in use: a tenant moves, and one of a table at a time:";
            return Err(Refusal::InUse(format!("{text} {}", block.name)));
        }
        if self.catalog.get(&block.name).is_some_and(|table| table.definition.stream.is_some()) {
            return Err(invalid(
                "A tenant's changes before and behind a move would stand in two shards of the table's stream, with no order \
                 between them: disable the stream, move the tenant, and enable it again",
            ));
        }
        Ok(true)
    }

    fn put_directory(
        &mut self,
        state: &mut dyn State,
        block: &Arc<Block>,
        tenant: &Bytes,
        directory: Directory,
        digest: &mut Digest,
    ) {
        let lies = directory.tenants.get(tenant).copied().unwrap_or_default();
        let mut value = Vec::new();
        varint(&mut value, lies.into());
        let key = |kind: u8, rest: &[u8]| {
            self.rows.numbered(row::TENANT, block.first, &[&[kind][..], rest].concat())
        };
        let (moves, row) = (directory.encode_moves(), key(TENANT, tenant));
        digest.number(ASSIGN);
        digest.number(block.first.into());
        digest.bytes(tenant);
        digest.number(lies.into());
        digest.bytes(&moves);
        state.put(&row, &value);
        state.put(&key(MOVES, b""), &moves);
        let block = Block { directory: Arc::new(directory), ..(**block).clone() };
        Arc::make_mut(&mut self.placement).blocks.insert(block.first, Arc::new(block));
    }

    /// The directory of a table that goes.
    pub(super) fn drop_directory(&self, state: &mut dyn State, block: &Block) {
        if block.division != Division::Directory {
            return;
        }
        let key = |rest: &[u8]| self.rows.numbered(row::TENANT, block.first, rest);
        for tenant in block.directory.tenants.keys() {
            state.delete(&key(&[&[TENANT][..], tenant].concat()));
        }
        state.delete(&key(&[MOVES]));
    }

    /// Refuses what is not to be done to a table while a tenant of it moves.
    pub(in crate::table) fn check_still(&self, table: &str) -> Result<(), Refusal> {
        if self.placement.table(table).is_none_or(|block| block.directory.moves.is_none()) {
            return Ok(());
        }
        let text = "Attempt to change a resource which is still in use: a tenant moves within the table:";
        Err(Refusal::InUse(format!("{text} {table}")))
    }
}

impl Move {
    fn is(&self, tenant: &Tenant, since: u64) -> bool {
        self.tenant == tenant.key && self.at == Index(since)
    }
}

/// What the digest calls the effect.
const ASSIGN: u64 = 124;
