//! Tenants of a table that is divided by directory, which move between its shards, as the doors of tables drive them
//! (`state::table`, `tenants`). Here every item is a tenant.
//!
//! Each mover says of some tenant that it is to lie elsewhere, or takes the next step of a move that is under way, at any node, by what it
//! saw last, which may be long ago. What must be true of reads and writes meanwhile others say (`tables.rs`); and a move that was begun
//! comes to its end once all is mended.

use crate::tables::SHARDED;
use bytes::Bytes;
use quorate_base::{NodeId, Rng, ShardId};
use quorate_node::api::{Answer, Body, Failure, Fresh, Request};
use quorate_state::table::{
    Block, Division, Move, Next, Part, Placement, Read, ReadReply, TenantSeen, next as next_step,
};
use quorate_wire::kv::{Command as Any, Refused};
use quorate_wire::table::{Assigned, Command, Refusal, Step, Tenant, What};

/// So many move tenants.
pub(crate) const MOVERS: usize = 2;
/// A tenant that is to move is mostly one of so many that came last.
const LATELY: usize = 6;
/// So many items a step sweeps: few, to need several.
const SWEPT: u32 = 1;

/// What a mover waits for.
enum Doing {
    /// How the tenant stands where it comes to.
    Comes,
    /// The same where it leaves, once the former was seen.
    Leaves(TenantSeen),
    /// Its rows, which are to be copied behind a place in the log.
    Rows(u64),
    /// What was noted is copied; the notes are to go.
    CopyNoted(Vec<(Bytes, u64)>),
    /// A step, with what is counted if it is taken.
    Step(Option<&'static str>),
}

/// One of them.
#[derive(Default)]
struct Mover {
    node: Option<NodeId>,
    /// The move that it is at, and what it does next.
    moves: Option<(u32, u32, Move)>,
    next: Option<(ShardId, Request, Doing)>,
    doing: Option<Doing>,
    waited: u32,
}

/// All of them.
pub(crate) struct Tenants {
    rng: Rng,
    movers: [Mover; MOVERS],
    begun: bool,
}

/// A request, and to which shard it goes.
type Sent = (ShardId, Request);

fn write(epoch: u64, what: What) -> Request {
    Request::Write(Any::Table(Box::new(Command { epoch, now: 0, what })))
}

fn read(block: &Block, moves: &Move, part: Part) -> Request {
    let read = Read::Tenant { table: block.name.clone(), key: moves.tenant.clone(), part };
    Request::Table { read: Box::new(read), fresh: Fresh::Newest, epoch: block.epoch }
}

/// The table, if it is divided by directory.
fn directory(placement: &Placement) -> Option<&Block> {
    placement.table(SHARDED).map(|block| &**block).filter(|block| block.division == Division::Directory)
}

/// What the newest tenants end with.
fn number(block: &Block, tenant: &Bytes) -> u64 {
    let name = block.tenant_in_words(tenant).and_then(|key| crate::tables::ask::name(&key).map(String::from));
    name.and_then(|name| name.get(1..)?.parse().ok()).unwrap_or(0)
}

impl Tenants {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::stream(seed, "tenants that move"), movers: Default::default(), begun: false }
    }

    /// They begin, if they have not; from then on each goes on for ever, over all rounds.
    pub(crate) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }

    /// How long a mover rests, in milliseconds: mostly not for long, that a move is there while others read and write.
    pub(crate) fn pause(&mut self) -> u64 {
        if self.rng.chance(1, 12) { self.rng.between(200, 1_500) } else { self.rng.between(1, 40) }
    }

    /// Whom a mover asks, of these: the one that it has asked before, or any.
    pub(crate) fn node(&mut self, mover: usize, nodes: &[NodeId]) -> NodeId {
        let any = *self.rng.pick(nodes);
        let stays = self.movers[mover].node.filter(|_| self.rng.chance(3, 4));
        *self.movers[mover].node.insert(stays.unwrap_or(any))
    }

    /// What a mover sends, by the map of the node that is asked, with words for it; nothing to begin anew unless it `begins`.
    pub(crate) fn next(
        &mut self,
        mover: usize,
        placement: &Placement,
        begins: bool,
    ) -> Option<(Sent, String)> {
        let block = directory(placement)?;
        if let Some((shard, request, doing)) = self.movers[mover].next.take() {
            self.movers[mover].doing = Some(doing);
            return Some(((shard, request), "a tenant's next step".into()));
        }
        let Some(moves) = block.directory.moves() else {
            return if begins { self.assign(mover, block) } else { None };
        };
        self.movers[mover].moves = Some((block.table, block.first, moves.clone()));
        self.movers[mover].doing = Some(Doing::Comes);
        let words = format!("how {moves:?} stands");
        Some(((block.shard_at(moves.to), read(block, moves, Part::Standing)), words))
    }

    /// Says that some tenant is to lie elsewhere.
    fn assign(&mut self, mover: usize, block: &Block) -> Option<(Sent, String)> {
        let mut tenants: Vec<(&Bytes, u32)> =
            block.directory.tenants().iter().map(|(tenant, at)| (tenant, *at)).collect();
        tenants.sort_by_key(|(tenant, _)| std::cmp::Reverse(number(block, tenant)));
        let most = if self.rng.chance(7, 8) { LATELY.min(tenants.len()) } else { tenants.len() };
        let (tenant, lies) = *tenants.get(self.rng.below(most.max(1) as u64) as usize)?;
        let to = (lies + 1 + self.rng.below(u64::from(block.count.max(2) - 1)) as u32) % block.count;
        let what = What::Assign {
            tenant: Tenant { table: block.table, key: tenant.clone() },
            word: Assigned::To(to),
        };
        self.movers[mover].doing = Some(Doing::Step(None));
        Some(((ShardId(1), write(block.epoch, what)), format!("assign {tenant:?} to {to}")))
    }

    /// A mover is answered, by a node with this map. Gives what is to be counted.
    pub(crate) fn answered(
        &mut self,
        mover: usize,
        placement: Option<&Placement>,
        result: Result<Answer, Failure>,
    ) -> Result<Option<&'static str>, String> {
        let Some(doing) = self.movers[mover].doing.take() else { return Ok(None) };
        let Some(block) = placement.and_then(directory) else { return Ok(None) };
        let seen = match result {
            Ok(Answer { body: Body::Table(reply), .. }) => match *reply {
                ReadReply::Tenant(seen) => Some(*seen),
                other => return Err(format!("Tenants: a read was answered {other:?}")),
            },
            Ok(_) => None,
            Err(failure) => return failed(failure).map(|()| None),
        };
        let moves = self.movers[mover]
            .moves
            .clone()
            .filter(|(table, first, _)| (*table, *first) == (block.table, block.first));
        match (doing, seen, moves) {
            (Doing::Step(counted), None, _) => return Ok(counted),
            (Doing::Comes, Some(comes), Some((.., moves))) => {
                let request = read(block, &moves, Part::Noted);
                self.movers[mover].next = Some((block.shard_at(moves.from), request, Doing::Leaves(comes)));
            }
            (Doing::Leaves(comes), Some(leaves), Some((.., moves))) => {
                self.decide(mover, block, &moves, (leaves, comes));
            }
            (Doing::Rows(behind), Some(seen), Some((.., moves))) => {
                let upto = seen.rows.last().map(|(at, ..)| at.clone());
                let rows = seen.rows.into_iter().map(|(at, _, item)| (at, item)).collect();
                let step = Step::Copy { behind, rows, upto, whole: !seen.more };
                self.step(mover, block, (&moves, moves.to), step, None);
            }
            (Doing::CopyNoted(noted), None, Some((.., moves))) => {
                let counted = Some("notes of tenants copied");
                self.step(mover, block, (&moves, moves.from), Step::Noted(noted), counted);
            }
            _ => {}
        }
        Ok(None)
    }

    fn step(
        &mut self,
        mover: usize,
        block: &Block,
        (moves, at): (&Move, u32),
        step: Step,
        counted: Option<&'static str>,
    ) {
        let tenant = Tenant { table: block.table, key: moves.tenant.clone() };
        let request = write(block.epoch, What::Step { tenant, since: moves.at.get(), step });
        self.movers[mover].next = Some((block.shard_at(at), request, Doing::Step(counted)));
    }

    fn word(
        &mut self,
        mover: usize,
        block: &Block,
        moves: &Move,
        word: Assigned,
        counted: Option<&'static str>,
    ) {
        let tenant = Tenant { table: block.table, key: moves.tenant.clone() };
        let request = write(block.epoch, What::Assign { tenant, word });
        self.movers[mover].next = Some((ShardId(1), request, Doing::Step(counted)));
    }

    /// By what a mover has seen.
    fn decide(
        &mut self,
        mover: usize,
        block: &Block,
        moves: &Move,
        (leaves, comes): (TenantSeen, TenantSeen),
    ) {
        let since = moves.at.get();
        let next = next_step(moves, &leaves, &comes);
        self.movers[mover].waited = if next == Next::Wait { self.movers[mover].waited + 1 } else { 0 };
        match next {
            Next::From(Step::Sweep(_)) => {
                self.step(mover, block, (moves, moves.from), Step::Sweep(SWEPT), None);
            }
            Next::From(step) => self.step(mover, block, (moves, moves.from), step, None),
            Next::To(step) => self.step(mover, block, (moves, moves.to), step, None),
            Next::Copy(upto, behind) => {
                let request = read(block, moves, Part::Rows(upto));
                self.movers[mover].next =
                    Some((block.shard_at(moves.from), request, Doing::Rows(behind.get())));
            }
            Next::CopyNoted(behind) => {
                let noted = leaves.rows.iter().map(|(at, noted, _)| (at.clone(), *noted)).collect();
                let rows = leaves.rows.into_iter().map(|(at, _, item)| (at, item)).collect();
                let copy = Step::Copy { behind: behind.get(), rows, upto: None, whole: false };
                self.step(mover, block, (moves, moves.to), copy, None);
                if let Some((.., doing)) = &mut self.movers[mover].next {
                    *doing = Doing::CopyNoted(noted);
                }
            }
            Next::Wait if self.movers[mover].waited > 3 => {
                self.movers[mover].waited = 0;
                self.step(
                    mover,
                    block,
                    (moves, moves.from),
                    Step::Leave,
                    Some("tenants that were not sealed for ever"),
                );
            }
            Next::Wait => {}
            Next::Arrived => self.word(mover, block, moves, Assigned::Arrived(since), Some("tenants moved")),
            Next::Swept => self.word(mover, block, moves, Assigned::Swept(since), None),
        }
    }
}

/// Whether a tenant moves.
pub(crate) fn any_moves(placement: &Placement) -> Option<&Move> {
    directory(placement)?.directory.moves()
}

/// The error is of what no door may hear.
fn failed(failure: Failure) -> Result<(), String> {
    match failure {
        Failure::Refused(
            Refused::Table(Refusal::Moved | Refusal::StaleEpoch | Refusal::NotFound | Refusal::InUse(_)),
            _,
        ) => Ok(()),
        Failure::Refused(refused, _) => Err(format!("Tenants: refused: {refused:?}")),
        _ => Ok(()),
    }
}
