//! The commands of transactions across shards ([`quorate_protocol::commit`]) as bytes.
//!
//! ```text
//! commit   := kind(1 byte) body
//! id       := node boot sequence attempt (varints)
//! prepare  := id began(varint) participants(list of varint) execute
//! refuse   := id option(id)              outcome := id 0|1
//! execute  := as [`super`] has it        fence, close := node boot        forget := node boot sequence
//! ```

use super::codec::{list, small};
use super::{Done, Execute, read_execute, write_execute};
use crate::codec::{Malformed, Read, Reader, Write};
use bytes::{BufMut, BytesMut};
use quorate_base::{NodeId, ShardId};
use quorate_protocol::commit::{Command, Outcome, Place, Prepare, TxnId};

/// Why a participant cannot do its part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// What stands against each operation; [`super::Outcome::Done`] where nothing does.
    Ops(Vec<Done>),
    /// The request makes no sense; in DynamoDB's words.
    Validation(String),
    /// The token has done its work.
    Repeated,
    /// The token came with another request.
    TokenMismatch,
    /// A tenant that it is of does not lie here, or is about to leave.
    Moved,
}

/// Appends a transaction's name.
pub fn write_id(out: &mut BytesMut, id: &TxnId) {
    for n in [id.node.0, id.boot, id.sequence, u64::from(id.attempt)] {
        out.varint(n);
    }
}

/// Reads one.
pub fn read_id(input: &mut Reader) -> Read<TxnId> {
    Ok(TxnId {
        node: NodeId(input.varint()?),
        boot: input.varint()?,
        sequence: input.varint()?,
        attempt: small(input)?,
    })
}

/// Appends the participants of a transaction.
pub fn write_shards(out: &mut BytesMut, shards: &[ShardId]) {
    out.varint(shards.len() as u64);
    for shard in shards {
        out.varint(u64::from(shard.0));
    }
}

/// Reads them.
pub fn read_shards(input: &mut Reader) -> Read<Vec<ShardId>> {
    list(input, |input| Ok(ShardId(small(input)?)))
}

pub(super) fn write(out: &mut BytesMut, command: &Command<Execute>) {
    match command {
        Command::Prepare(Prepare { id, began, participants, ops }) => {
            out.put_u8(1);
            write_id(out, id);
            out.varint(*began);
            write_shards(out, participants);
            write_execute(out, ops);
        }
        Command::Refuse { id, because } => {
            out.put_u8(2);
            write_id(out, id);
            out.flag(because.is_some());
            if let Some(because) = because {
                write_id(out, because);
            }
        }
        Command::Outcome { id, outcome } => {
            out.put_u8(3);
            write_id(out, id);
            out.flag(*outcome == Outcome::Commit);
        }
        Command::Execute(ops) => {
            out.put_u8(4);
            write_execute(out, ops);
        }
        Command::Fence { node, boot } => {
            out.put_u8(5);
            out.varint(node.0);
            out.varint(*boot);
        }
        Command::Forget { node, upto } => {
            out.put_u8(6);
            for n in [node.0, upto.boot, upto.sequence] {
                out.varint(n);
            }
        }
        Command::Close { node, boot } => {
            out.put_u8(7);
            out.varint(node.0);
            out.varint(*boot);
        }
    }
}

pub(super) fn read(input: &mut Reader) -> Read<Command<Execute>> {
    Ok(match input.u8()? {
        1 => Command::Prepare(Prepare {
            id: read_id(input)?,
            began: input.varint()?,
            participants: read_shards(input)?,
            ops: read_execute(input)?,
        }),
        2 => Command::Refuse {
            id: read_id(input)?,
            because: if input.flag()? { Some(read_id(input)?) } else { None },
        },
        3 => Command::Outcome {
            id: read_id(input)?,
            outcome: if input.flag()? { Outcome::Commit } else { Outcome::Abort },
        },
        4 => Command::Execute(read_execute(input)?),
        5 => Command::Fence { node: NodeId(input.varint()?), boot: input.varint()? },
        6 => {
            let node = NodeId(input.varint()?);
            Command::Forget { node, upto: Place { boot: input.varint()?, sequence: input.varint()? } }
        }
        7 => Command::Close { node: NodeId(input.varint()?), boot: input.varint()? },
        _ => return Err(Malformed),
    })
}
