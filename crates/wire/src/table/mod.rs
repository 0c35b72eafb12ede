//! The commands of tables: what a door makes of its requests, what the log carries, what the machine answers.
//!
//! Items, keys and expressions are bytes here, in the codec of the room `item`: whoever proposes has encoded them, the
//! machine decodes them, and what lies between looks at neither. Times are milliseconds since 1970 by the clock of the node
//! that took the request; a machine knows no other time.
//!
//! ```text
//! command     := kind(1 byte) epoch(varint) now(varint) body
//! text        := bytes, UTF-8               option := flag [value]
//! definition  := name id created attributes key(2 lists) locals globals billing tags … (`Definition::write`)
//! execute     := flags(1 byte) [token] count { table action condition returns on_failure }
//! ```
//!
//! # Labels
//!
//! A table's change feed is known by the table's name and a *label*: when it began, in milliseconds since 1970, moved behind
//! that of any earlier feed under the same name.
//!
//! Each command names the epoch of the shard that it was routed to: one of another epoch is refused when it is applied, not
//! only where it is proposed, since a shard may change between the two.

mod answer;
mod capacity;
mod codec;
mod commit;
mod definition;
mod tenant;

pub use answer::{Done, Figures, Outcome, Refusal, Reply, read_answer, write_answer};
pub use capacity::{Capacity, CapacityChange, Throughput};
pub use commit::{Unfit, read_id, read_shards, write_id, write_shards};
pub use definition::{
    Billing, Change, Definition, Index, IndexChange, IndexState, KeyNames, Projected, Scalar, Settings,
    StreamView,
};
pub use tenant::{Assigned, Copied, Step, Tenant};

use crate::codec::{Malformed, Read, Reader, Write};
use bytes::{BufMut, Bytes, BytesMut};
use codec::{list, small, text};
use definition::{read_change, write_change};
use quorate_base::{NodeId, ShardId};
use quorate_protocol::commit::{Command as Commit, TxnId};
use tenant::{read_assigned, read_step, read_tenant, write_assigned, write_step, write_tenant};

/// The epoch with which every shard begins.
pub const EPOCH: u64 = 1;
/// The tag by which a table gets shards of its own: how many, from 1 (then its items lie in shard 1, as those of a table without
/// the tag) to [`SHARDS_MAX`].
pub const SHARDS_TAG: &str = "quorate:shards";
/// The tag that says at which partition keys the shards of a table begin that is partitioned by range, but for the first: in their
/// order, with a space between two; bytes as base64.
pub const SPLITS_TAG: &str = "quorate:split-at";
/// The tags by which a policy says how a table's keys are divided: by name, or as a preset does.
pub const PARTITION_TAG: &str = "quorate:partition-by";
/// What [`PARTITION_TAG`] says of a table whose partition keys lie where its directory says.
pub const BY_DIRECTORY: &str = "directory";
/// See [`PARTITION_TAG`].
pub const PRESET_TAG: &str = "quorate:preset";
/// So many shards a table may have.
pub const SHARDS_MAX: u32 = 2_000;

/// The version of conditions that every release reads; it is their first byte.
const CONDITIONS: u8 = 1;

/// What a write answers beside that it was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Returns {
    /// Nothing.
    #[default]
    None = 0,
    /// The item before.
    AllOld = 1,
    /// Of the item before, what the update names.
    UpdatedOld = 2,
    /// The item behind.
    AllNew = 3,
    /// Of the item behind, what the update names.
    UpdatedNew = 4,
}

/// What is done with an item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The item takes the place of what is there.
    Put {
        /// It, with its key in it.
        item: Bytes,
    },
    /// It goes.
    Delete {
        /// Its key's attributes, as an item.
        key: Bytes,
    },
    /// It changes, or is made.
    Update {
        /// Its key's attributes, as an item.
        key: Bytes,
        /// The encoded update.
        update: Bytes,
    },
    /// Nothing; only the condition counts.
    Check {
        /// Its key's attributes, as an item.
        key: Bytes,
    },
}

/// One operation on one item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Op {
    /// The table's name.
    pub table: String,
    /// What is done.
    pub action: Action,
    /// The encoded condition under which it is done.
    pub condition: Option<Bytes>,
    /// What it answers.
    pub returns: Returns,
    /// Where the condition fails, the answer has the item in it.
    pub old_on_failure: bool,
}

/// By what a transaction is known that may come twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// The client's word.
    pub token: Bytes,
    /// A fingerprint of the request: the same word for another request is refused.
    pub fingerprint: Bytes,
}

impl Op {
    /// About how many bytes it takes.
    pub fn size(&self) -> usize {
        let action = match &self.action {
            Action::Put { item } => item.len(),
            Action::Delete { key } | Action::Check { key } => key.len(),
            Action::Update { key, update } => key.len() + update.len(),
        };
        32 + self.table.len() + action + self.condition.as_ref().map_or(0, Bytes::len)
    }
}

/// Operations in one entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Execute {
    /// All are done or none; otherwise each is for itself.
    pub atomic: bool,
    /// By what it is known, if it may come twice.
    pub token: Option<Token>,
    /// They.
    pub ops: Vec<Op>,
}

impl Execute {
    /// Whether a condition is encoded as earlier releases cannot read it. They would refuse what newer ones do.
    fn knows_more(&self) -> bool {
        let later = |condition: &Bytes| condition.first().is_some_and(|version| *version > CONDITIONS);
        self.ops.iter().any(|op| op.condition.as_ref().is_some_and(later))
    }

    fn grows(&self) -> bool {
        self.ops.iter().any(|op| matches!(op.action, Action::Put { .. } | Action::Update { .. }))
    }

    fn size(&self) -> usize {
        64 + self.ops.iter().map(Op::size).sum::<usize>()
    }
}

/// What the log carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The epoch of the shard that it was routed to.
    pub epoch: u64,
    /// When its request came, in milliseconds since 1970.
    pub now: u64,
    /// What is to be done.
    pub what: What,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Make a table; the machine gives it its number.
    Create(Box<Definition>),
    /// Delete one, whatever transactions hold in it: entries of before version 10.
    Delete(String),
    /// Delete one. While transactions hold items of it, or its shards are not known to be drained, it is only being deleted.
    Drop {
        /// Its name.
        table: String,
        /// So many shards it has, and all of them are drained ([`What::Drained`]); 0 if that is not known.
        drained: u32,
    },
    /// Whether shards of a table that is being deleted are out of all transactions. Asked of such a shard: whether it holds nothing any more;
    /// the answer is how many transactions are committed there and not forgotten. Of another: whether nothing is undecided there that
    /// such a shard takes part in.
    Drained {
        /// The first of the shards.
        first: ShardId,
        /// How many there are.
        count: u32,
        /// Whether one of them is asked.
        inside: bool,
    },
    /// Change one.
    Change {
        /// Its name.
        table: String,
        /// What changes.
        change: Change,
    },
    /// Operations on items.
    Execute(Execute),
    /// Fill an index with so many more items.
    Fill {
        /// The table's number.
        table: u32,
        /// The index' number.
        index: u32,
        /// How many.
        items: u32,
    },
    /// Delete items of a table whose time is over. What is not, or not any more, is passed over.
    Expire {
        /// The table's number.
        table: u32,
        /// The items' keys, as their rows have them.
        keys: Vec<Bytes>,
    },
    /// Note the time, and let go of the records of change feeds that are a day old by earlier notes.
    Trim,
    /// Make a table, with shards of its own if its tags ask for them. The node that was asked says with which configuration their
    /// groups begin: a machine does not know that alike everywhere, since a member that joins begins with what it was told.
    Place {
        /// The table.
        definition: Box<Definition>,
        /// The configuration, encoded.
        founders: Bytes,
    },
    /// A shard of a table takes its definition over from shard 1.
    Adopt {
        /// The place in shard 1's log at which it changed last.
        version: u64,
        /// It.
        definition: Box<Definition>,
    },
    /// A step of a transaction over several shards: [`quorate_protocol::commit`].
    Commit(Commit<Execute>),
    /// Steps of several such transactions: each of them is committed.
    Outcomes(Vec<TxnId>),
    /// In shard 1: a life of a gateway for such transactions begins, and gets a number above that of any before.
    Live,
    /// In shard 1: a shard's replicas are to be these nodes. Whoever asks names the place in the log of the last word about that, and is
    /// refused where it was not the last.
    Move {
        /// Which.
        shard: ShardId,
        /// The place of the last word.
        since: u64,
        /// Who is to have it.
        replicas: Vec<NodeId>,
    },
    /// In shard 1: the group of a shard has the members, and no others, that it was to have by the word at that place.
    Moved {
        /// Which.
        shard: ShardId,
        /// The place of the word.
        since: u64,
    },
    /// In shard 1: a node is to leave, and to have no replicas of shards any more; or that is taken back.
    Leave {
        /// Which.
        node: NodeId,
        /// Whether it is to leave.
        leaves: bool,
    },
    /// In shard 1: what a node is together with when something fails, a rack or a data center, has this name; it says so itself.
    Zone {
        /// Which.
        node: NodeId,
        /// The name, as [`is_zone`] has it; empty for none.
        zone: String,
    },
    /// In shard 1: where a tenant of a table that is divided by directory lies.
    Assign {
        /// Which.
        tenant: Tenant,
        /// Where.
        word: Assigned,
    },
    /// A step of a tenant's move to another shard.
    Step {
        /// Which.
        tenant: Tenant,
        /// The place in shard 1's log of the word that it is to move.
        since: u64,
        /// What is done.
        step: Step,
    },
}

/// The longest name of a zone.
const ZONE_MAX: usize = 64;

/// Whether a text is the name of a zone: 1 to 64 letters, digits, dots, underscores and hyphens of ASCII.
pub fn is_zone(text: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    (1..=ZONE_MAX).contains(&text.len()) && text.bytes().all(fits)
}

impl Command {
    /// The first version of the log's entries that has it: see [`crate::command`].
    pub(crate) fn version(&self) -> u8 {
        let feeds = match &self.what {
            What::Trim => true,
            What::Create(definition) => definition.stream.is_some(),
            What::Change { change: Change::Settings(settings), .. } => settings.stream.is_some(),
            _ => false,
        };
        let placed = match &self.what {
            What::Place { .. } => true,
            What::Create(definition) => definition.asks_for_shards(),
            What::Change { change: Change::Tag(tags), .. } => tags.iter().any(|(key, _)| key == SHARDS_TAG),
            What::Change { change: Change::Untag(keys), .. } => keys.iter().any(|key| key == SHARDS_TAG),
            _ => false,
        };
        // An older machine takes such a definition over and keeps neither.
        let kept = match &self.what {
            What::Place { definition, .. } | What::Adopt { definition, .. } => {
                definition.latest_stream.is_some()
                    || definition.stream.is_some()
                    || !definition.globals.is_empty()
            }
            _ => false,
        };
        let knows_more = match &self.what {
            What::Create(definition) | What::Place { definition, .. } | What::Adopt { definition, .. } => {
                definition.knows_more()
            }
            What::Change { change: Change::Settings(settings), .. } => settings.knows_more(),
            _ => false,
        };
        let measures = match &self.what {
            What::Execute(ops) | What::Commit(Commit::Execute(ops)) => ops.knows_more(),
            What::Commit(Commit::Prepare(asked)) => asked.ops.knows_more(),
            _ => false,
        };
        let divided = match &self.what {
            What::Create(definition) | What::Place { definition, .. } | What::Adopt { definition, .. } => {
                definition.is_divided()
            }
            _ => false,
        };
        match &self.what {
            What::Assign { word: Assigned::New(_), .. } => 15,
            What::Assign { .. } | What::Step { .. } => 14,
            What::Create(definition) | What::Place { definition, .. } | What::Adopt { definition, .. }
                if definition.has_directory() =>
            {
                14
            }
            _ if divided => 13,
            _ if measures => 12,
            What::Outcomes(_) => 11,
            What::Drop { .. } | What::Drained { .. } => 10,
            _ if knows_more => 10,
            _ if kept => 8,
            What::Zone { .. } => 9,
            What::Leave { .. } => 8,
            What::Move { .. } | What::Moved { .. } => 7,
            What::Adopt { .. } | What::Commit(_) | What::Live => 6,
            _ if placed => 6,
            _ if feeds => 5,
            _ => 4,
        }
    }

    /// Whether it makes the state grow.
    pub fn grows(&self) -> bool {
        match &self.what {
            What::Create(_)
            | What::Change { .. }
            | What::Adopt { .. }
            | What::Place { .. }
            | What::Assign { word: Assigned::To(_) | Assigned::New(_), .. }
            | What::Step { step: Step::Copy { .. }, .. } => true,
            What::Execute(ops) | What::Commit(Commit::Execute(ops)) => ops.grows(),
            What::Commit(Commit::Prepare(asked)) => asked.ops.grows(),
            What::Delete(_)
            | What::Drop { .. }
            | What::Drained { .. }
            | What::Fill { .. }
            | What::Expire { .. }
            | What::Trim
            | What::Commit(_)
            | What::Outcomes(_)
            | What::Move { .. }
            | What::Moved { .. }
            | What::Leave { .. }
            | What::Zone { .. }
            | What::Assign { .. }
            | What::Step { .. }
            | What::Live => false,
        }
    }

    /// About how many bytes it takes.
    pub fn size_hint(&self) -> usize {
        match &self.what {
            What::Execute(ops) | What::Commit(Commit::Execute(ops)) => ops.size(),
            What::Commit(Commit::Prepare(asked)) => asked.ops.size(),
            What::Outcomes(ids) => 32 * ids.len(),
            What::Step { step, .. } => step.size(),
            _ => 256,
        }
    }

    pub(crate) fn write(&self, out: &mut BytesMut) {
        out.put_u8(match &self.what {
            What::Create(_) => 1,
            What::Delete(_) => 2,
            What::Change { .. } => 3,
            What::Execute(_) => 4,
            What::Fill { .. } => 5,
            What::Expire { .. } => 6,
            What::Trim => 7,
            What::Adopt { .. } => 8,
            What::Commit(_) => 9,
            What::Place { .. } => 10,
            What::Live => 11,
            What::Move { .. } => 12,
            What::Moved { .. } => 13,
            What::Leave { .. } => 14,
            What::Zone { .. } => 15,
            What::Drop { .. } => 16,
            What::Drained { .. } => 17,
            What::Outcomes(_) => 18,
            What::Assign { .. } => 19,
            What::Step { .. } => 20,
        });
        out.varint(self.epoch);
        out.varint(self.now);
        match &self.what {
            What::Create(definition) => definition.write(out),
            What::Delete(table) => out.string(table.as_bytes()),
            What::Change { table, change } => {
                out.string(table.as_bytes());
                write_change(out, change);
            }
            What::Execute(execute) => write_execute(out, execute),
            What::Fill { table, index, items } => {
                for n in [table, index, items] {
                    out.varint(u64::from(*n));
                }
            }
            What::Expire { table, keys } => {
                out.varint(u64::from(*table));
                out.varint(keys.len() as u64);
                for key in keys {
                    out.string(key);
                }
            }
            What::Trim | What::Live => {}
            What::Place { definition, founders } => {
                out.string(founders);
                definition.write(out);
            }
            What::Adopt { version, definition } => {
                out.varint(*version);
                definition.write(out);
            }
            What::Commit(commit) => commit::write(out, commit),
            What::Outcomes(ids) => {
                out.varint(ids.len() as u64);
                for id in ids {
                    write_id(out, id);
                }
            }
            What::Move { shard, since, replicas } => {
                out.varint(u64::from(shard.0));
                out.varint(*since);
                out.varint(replicas.len() as u64);
                for node in replicas {
                    out.varint(node.0);
                }
            }
            What::Moved { shard, since } => {
                out.varint(u64::from(shard.0));
                out.varint(*since);
            }
            What::Leave { node, leaves } => {
                out.varint(node.0);
                out.flag(*leaves);
            }
            What::Zone { node, zone } => {
                out.varint(node.0);
                out.string(zone.as_bytes());
            }
            What::Drop { table, drained } => {
                out.string(table.as_bytes());
                out.varint(u64::from(*drained));
            }
            What::Drained { first, count, inside } => {
                out.varint(u64::from(first.0));
                out.varint(u64::from(*count));
                out.flag(*inside);
            }
            What::Assign { tenant, word } => {
                write_tenant(out, tenant);
                write_assigned(out, *word);
            }
            What::Step { tenant, since, step } => {
                write_tenant(out, tenant);
                out.varint(*since);
                write_step(out, step);
            }
        }
    }

    pub(crate) fn read(input: &mut Reader) -> Read<Self> {
        let (kind, epoch, now) = (input.u8()?, input.varint()?, input.varint()?);
        let what = match kind {
            1 => What::Create(Box::new(Definition::read(input)?)),
            2 => What::Delete(text(input)?),
            3 => What::Change { table: text(input)?, change: read_change(input)? },
            4 => What::Execute(read_execute(input)?),
            5 => What::Fill { table: small(input)?, index: small(input)?, items: small(input)? },
            6 => What::Expire { table: small(input)?, keys: list(input, Reader::bytes)? },
            7 => What::Trim,
            8 => What::Adopt { version: input.varint()?, definition: Box::new(Definition::read(input)?) },
            9 => What::Commit(commit::read(input)?),
            10 => {
                let founders = input.bytes()?;
                What::Place { definition: Box::new(Definition::read(input)?), founders }
            }
            11 => What::Live,
            12 => What::Move {
                shard: ShardId(small(input)?),
                since: input.varint()?,
                replicas: list(input, |input| Ok(NodeId(input.varint()?)))?,
            },
            13 => What::Moved { shard: ShardId(small(input)?), since: input.varint()? },
            14 => What::Leave { node: NodeId(input.varint()?), leaves: input.flag()? },
            15 => What::Zone { node: NodeId(input.varint()?), zone: text(input)? },
            16 => What::Drop { table: text(input)?, drained: small(input)? },
            17 => {
                What::Drained { first: ShardId(small(input)?), count: small(input)?, inside: input.flag()? }
            }
            18 => What::Outcomes(list(input, read_id)?),
            19 => What::Assign { tenant: read_tenant(input)?, word: read_assigned(input)? },
            20 => What::Step { tenant: read_tenant(input)?, since: input.varint()?, step: read_step(input)? },
            _ => return Err(Malformed),
        };
        Ok(Self { epoch, now, what })
    }
}

const ATOMIC: u8 = 1;
const TOKEN: u8 = 2;

fn write_execute(out: &mut BytesMut, execute: &Execute) {
    let flag = |on, bit| if on { bit } else { 0 };
    out.put_u8(flag(execute.atomic, ATOMIC) | flag(execute.token.is_some(), TOKEN));
    if let Some(Token { token, fingerprint }) = &execute.token {
        out.string(token);
        out.string(fingerprint);
    }
    out.varint(execute.ops.len() as u64);
    for op in &execute.ops {
        out.string(op.table.as_bytes());
        match &op.action {
            Action::Put { item } => {
                out.put_u8(1);
                out.string(item);
            }
            Action::Delete { key } => {
                out.put_u8(2);
                out.string(key);
            }
            Action::Update { key, update } => {
                out.put_u8(3);
                out.string(key);
                out.string(update);
            }
            Action::Check { key } => {
                out.put_u8(4);
                out.string(key);
            }
        }
        out.flag(op.condition.is_some());
        if let Some(condition) = &op.condition {
            out.string(condition);
        }
        out.put_u8(op.returns as u8);
        out.flag(op.old_on_failure);
    }
}

fn read_execute(input: &mut Reader) -> Read<Execute> {
    let flags = input.u8()?;
    if flags & !(ATOMIC | TOKEN) != 0 {
        return Err(Malformed);
    }
    let token = if flags & TOKEN == 0 {
        None
    } else {
        Some(Token { token: input.bytes()?, fingerprint: input.bytes()? })
    };
    let ops = list(input, |input| {
        let table = text(input)?;
        let action = match input.u8()? {
            1 => Action::Put { item: input.bytes()? },
            2 => Action::Delete { key: input.bytes()? },
            3 => Action::Update { key: input.bytes()?, update: input.bytes()? },
            4 => Action::Check { key: input.bytes()? },
            _ => return Err(Malformed),
        };
        let condition = if input.flag()? { Some(input.bytes()?) } else { None };
        let returns = match input.u8()? {
            0 => Returns::None,
            1 => Returns::AllOld,
            2 => Returns::UpdatedOld,
            3 => Returns::AllNew,
            4 => Returns::UpdatedNew,
            _ => return Err(Malformed),
        };
        Ok(Op { table, action, condition, returns, old_on_failure: input.flag()? })
    })?;
    Ok(Execute { atomic: flags & ATOMIC != 0, token, ops })
}

#[cfg(test)]
mod tests;
