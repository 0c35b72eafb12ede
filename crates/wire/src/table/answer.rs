//! What the machine answers, and that as bytes: for a node that asked on behalf of its client. Nothing of it is ever stored.
//!
//! ```text
//! reply    := kind(1 byte) body               dones := count { done }
//! done     := outcome option(attributes) bytes(varint) count { index(text) global(flag) units(varint) }
//! answer   := vote | missing | over | settled | undecided count { id participants }
//! ```
//!
//! Left out: replies to changes of tables, which only shard 1 gives.

use super::codec::{list, text};
use super::{Definition, Unfit, read_id, read_shards, write_id, write_shards};
use crate::codec::{Malformed, Read, Reader, Write};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_protocol::commit::{Answer, No, Vote};

/// What the machine answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// To `Create`, `Delete`, `Drop`, `Change`: the table behind the change, or as it was.
    Table(Box<Definition>, Figures),
    /// To `Execute`: one for each operation, in order. Of one that is atomic either all are [`Outcome::Done`], or nothing was
    /// done and these are the reasons.
    Executed(Vec<Done>),
    /// To `Execute` with a token that has done its work before: nothing was done now.
    Repeated,
    /// To `Fill`.
    Filled,
    /// To `Expire`: how many went. To `Drained`: of how many transactions that were committed it is still known.
    Expired(u64),
    /// To `Trim`.
    Trimmed,
    /// To `Adopt`.
    Adopted,
    /// To `Outcomes`: that all are settled, or what is said of the first that is not. To `Commit`: the answer and, behind a vote that was given now, what its operations come to.
    Commit(Answer<Unfit>, Vec<Done>),
    /// To `Live`: the number.
    Lives(u64),
    /// To `Move`, `Moved`, `Leave`, `Zone`, `Assign` and `Step`: it stands, also where it stood before.
    Placed,
}

/// How large a table and its indexes are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Items.
    pub items: u64,
    /// Their bytes, as DynamoDB counts them.
    pub bytes: u64,
    /// The same of each index, by its number.
    pub indexes: Vec<(u32, u64, u64)>,
}

/// What came of one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// Whether it was done.
    pub outcome: Outcome,
    /// What was asked to be returned, as an item.
    pub attributes: Option<Bytes>,
    /// The larger of the item's sizes before and behind, in bytes.
    pub bytes: u64,
    /// The indexes that changed with it, whether they are global, and how many units of writing that took.
    pub indexes: Vec<(String, bool, u64)>,
}

impl Done {
    /// Nothing came of it but this.
    pub fn of(outcome: Outcome) -> Self {
        Self { outcome, attributes: None, bytes: 0, indexes: Vec::new() }
    }
}

/// Whether an operation was done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was, or nothing is against it.
    Done,
    /// Its condition does not hold.
    ConditionFailed,
    /// It makes no sense for this table or this item; in DynamoDB's words.
    Invalid(String),
    /// There is no such table.
    NoTable(String),
    /// A transaction that is under way holds the item.
    Conflict,
}

/// Why the machine refuses a command as a whole. Deterministic: every replica comes to the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It makes no sense; in DynamoDB's words.
    Validation(String),
    /// There is no such thing.
    NotFound,
    /// There is no such table.
    TableNotFound(String),
    /// There is one of that name.
    TableExists(String),
    /// It cannot be done while something else is.
    InUse(String),
    /// There are as many as may be.
    Limit(String),
    /// The token came with another request.
    TokenMismatch,
    /// A transaction with this token is under way.
    TokenInUse,
    /// The shard is not the one that the command was routed to.
    StaleEpoch,
    /// A tenant does not lie in this shard, or is about to leave it; or its move has come further than whoever asks knows.
    Moved,
}

impl Reply {
    /// Appends it; false if it is none of those that are passed on.
    pub fn write(&self, out: &mut BytesMut) -> bool {
        match self {
            Self::Executed(dones) => {
                out.put_u8(1);
                write_dones(out, dones);
            }
            Self::Repeated => out.put_u8(2),
            Self::Expired(count) => {
                out.put_u8(3);
                out.varint(*count);
            }
            Self::Commit(answer, dones) => {
                out.put_u8(4);
                write_answer(out, answer);
                write_dones(out, dones);
            }
            Self::Adopted => out.put_u8(5),
            Self::Placed => out.put_u8(6),
            Self::Table(..) | Self::Filled | Self::Trimmed | Self::Lives(_) => return false,
        }
        true
    }

    /// Reads one.
    pub fn read(input: &mut Reader) -> Read<Self> {
        Ok(match input.u8()? {
            1 => Self::Executed(read_dones(input)?),
            2 => Self::Repeated,
            3 => Self::Expired(input.varint()?),
            4 => Self::Commit(read_answer(input)?, read_dones(input)?),
            5 => Self::Adopted,
            6 => Self::Placed,
            _ => return Err(Malformed),
        })
    }
}

fn write_dones(out: &mut BytesMut, dones: &[Done]) {
    out.varint(dones.len() as u64);
    for Done { outcome, attributes, bytes, indexes } in dones {
        write_outcome(out, outcome);
        out.flag(attributes.is_some());
        if let Some(attributes) = attributes {
            out.string(attributes);
        }
        out.varint(*bytes);
        out.varint(indexes.len() as u64);
        for (index, global, units) in indexes {
            out.string(index.as_bytes());
            out.flag(*global);
            out.varint(*units);
        }
    }
}

fn read_dones(input: &mut Reader) -> Read<Vec<Done>> {
    list(input, |input| {
        let outcome = read_outcome(input)?;
        let attributes = if input.flag()? { Some(input.bytes()?) } else { None };
        let bytes = input.varint()?;
        let indexes = list(input, |input| Ok((text(input)?, input.flag()?, input.varint()?)))?;
        Ok(Done { outcome, attributes, bytes, indexes })
    })
}

fn write_outcome(out: &mut BytesMut, outcome: &Outcome) {
    let (kind, words) = match outcome {
        Outcome::Done => (0, None),
        Outcome::ConditionFailed => (1, None),
        Outcome::Invalid(words) => (2, Some(words)),
        Outcome::NoTable(name) => (3, Some(name)),
        Outcome::Conflict => (4, None),
    };
    out.put_u8(kind);
    if let Some(words) = words {
        out.string(words.as_bytes());
    }
}

fn read_outcome(input: &mut Reader) -> Read<Outcome> {
    Ok(match input.u8()? {
        0 => Outcome::Done,
        1 => Outcome::ConditionFailed,
        2 => Outcome::Invalid(text(input)?),
        3 => Outcome::NoTable(text(input)?),
        4 => Outcome::Conflict,
        _ => return Err(Malformed),
    })
}

/// Appends what a participant of a transaction says.
pub fn write_answer(out: &mut BytesMut, answer: &Answer<Unfit>) {
    match answer {
        Answer::Vote(Vote::Yes) => out.put_u8(1),
        Answer::Vote(Vote::No(no)) => {
            out.put_u8(2);
            write_no(out, no);
        }
        Answer::Missing => out.put_u8(3),
        Answer::Over => out.put_u8(4),
        Answer::Settled => out.put_u8(5),
        Answer::Undecided(all) => {
            out.put_u8(6);
            out.varint(all.len() as u64);
            for (id, participants) in all {
                write_id(out, id);
                write_shards(out, participants);
            }
        }
    }
}

/// Reads it.
pub fn read_answer(input: &mut Reader) -> Read<Answer<Unfit>> {
    Ok(match input.u8()? {
        1 => Answer::Vote(Vote::Yes),
        2 => Answer::Vote(Vote::No(read_no(input)?)),
        3 => Answer::Missing,
        4 => Answer::Over,
        5 => Answer::Settled,
        6 => Answer::Undecided(list(input, |input| Ok((read_id(input)?, read_shards(input)?)))?),
        _ => return Err(Malformed),
    })
}

fn write_no(out: &mut BytesMut, no: &No<Unfit>) {
    match no {
        No::Conflict(id) => {
            out.put_u8(1);
            write_id(out, id);
        }
        No::Refused => out.put_u8(2),
        No::Reason(Unfit::Ops(dones)) => {
            out.put_u8(3);
            write_dones(out, dones);
        }
        No::Reason(Unfit::Validation(words)) => {
            out.put_u8(4);
            out.string(words.as_bytes());
        }
        No::Reason(Unfit::Repeated) => out.put_u8(5),
        No::Reason(Unfit::TokenMismatch) => out.put_u8(6),
        No::Reason(Unfit::Moved) => out.put_u8(7),
    }
}

fn read_no(input: &mut Reader) -> Read<No<Unfit>> {
    Ok(match input.u8()? {
        1 => No::Conflict(read_id(input)?),
        2 => No::Refused,
        3 => No::Reason(Unfit::Ops(read_dones(input)?)),
        4 => No::Reason(Unfit::Validation(text(input)?)),
        5 => No::Reason(Unfit::Repeated),
        6 => No::Reason(Unfit::TokenMismatch),
        7 => No::Reason(Unfit::Moved),
        _ => return Err(Malformed),
    })
}

impl Refusal {
    /// Appends it.
    pub fn write(&self, out: &mut BytesMut) {
        let (kind, words) = match self {
            Self::Validation(words) => (1, Some(words)),
            Self::NotFound => (2, None),
            Self::TableNotFound(name) => (3, Some(name)),
            Self::TableExists(name) => (4, Some(name)),
            Self::InUse(words) => (5, Some(words)),
            Self::Limit(words) => (6, Some(words)),
            Self::TokenMismatch => (7, None),
            Self::TokenInUse => (8, None),
            Self::StaleEpoch => (9, None),
            Self::Moved => (10, None),
        };
        out.put_u8(kind);
        if let Some(words) = words {
            out.string(words.as_bytes());
        }
    }

    /// Reads one.
    pub fn read(input: &mut Reader) -> Read<Self> {
        Ok(match input.u8()? {
            1 => Self::Validation(text(input)?),
            2 => Self::NotFound,
            3 => Self::TableNotFound(text(input)?),
            4 => Self::TableExists(text(input)?),
            5 => Self::InUse(text(input)?),
            6 => Self::Limit(text(input)?),
            7 => Self::TokenMismatch,
            8 => Self::TokenInUse,
            9 => Self::StaleEpoch,
            10 => Self::Moved,
            _ => return Err(Malformed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use quorate_base::{NodeId, Rng, ShardId};
    use quorate_protocol::commit::TxnId;

    fn replies() -> Vec<Reply> {
        let id = TxnId { node: NodeId(3), boot: 2, sequence: 900, attempt: 1 };
        let outcomes = [
            Outcome::Done,
            Outcome::ConditionFailed,
            Outcome::Invalid("no".into()),
            Outcome::NoTable("t".into()),
            Outcome::Conflict,
        ];
        let dones: Vec<Done> = outcomes.into_iter().map(Done::of).collect();
        let full = Done {
            attributes: Some(Bytes::from_static(b"item")),
            bytes: 1 << 40,
            indexes: vec![("i".into(), true, 7), ("l".into(), false, 0)],
            ..dones[0].clone()
        };
        let answers = [
            Answer::Vote(Vote::Yes),
            Answer::Vote(Vote::No(No::Conflict(id))),
            Answer::Vote(Vote::No(No::Refused)),
            Answer::Vote(Vote::No(No::Reason(Unfit::Ops(dones.clone())))),
            Answer::Vote(Vote::No(No::Reason(Unfit::Validation("no".into())))),
            Answer::Vote(Vote::No(No::Reason(Unfit::Repeated))),
            Answer::Vote(Vote::No(No::Reason(Unfit::TokenMismatch))),
            Answer::Vote(Vote::No(No::Reason(Unfit::Moved))),
            Answer::Missing,
            Answer::Over,
            Answer::Settled,
            Answer::Undecided(vec![(id, vec![ShardId(2), ShardId(300)])]),
        ];
        let commits = answers.into_iter().map(|answer| Reply::Commit(answer, vec![full.clone()]));
        let others =
            [Reply::Executed(dones), Reply::Repeated, Reply::Expired(9), Reply::Adopted, Reply::Placed];
        commits.chain(others).collect()
    }

    fn bytes(reply: &Reply) -> Bytes {
        let mut out = BytesMut::new();
        assert!(reply.write(&mut out));
        out.freeze()
    }

    #[test]
    fn replies_and_refusals_come_back() {
        for reply in replies() {
            let mut input = Reader::new(bytes(&reply));
            assert_eq!(Reply::read(&mut input), Ok(reply));
            assert_eq!(input.end(), Ok(()));
        }
        for refusal in [
            Refusal::Validation("v".into()),
            Refusal::NotFound,
            Refusal::TableNotFound("t".into()),
            Refusal::TableExists("t".into()),
            Refusal::InUse("w".into()),
            Refusal::Limit("l".into()),
            Refusal::TokenMismatch,
            Refusal::TokenInUse,
            Refusal::StaleEpoch,
            Refusal::Moved,
        ] {
            let mut out = BytesMut::new();
            refusal.write(&mut out);
            assert_eq!(Refusal::read(&mut Reader::new(out.freeze())), Ok(refusal));
        }
    }

    /// Seed 6.
    #[test]
    fn no_bytes_are_a_panic() {
        let mut rng = Rng::new(6);
        for good in replies().iter().map(bytes) {
            for _ in 0..2_000 {
                let mut harmed = good.to_vec();
                for _ in 0..rng.between(1, 3) {
                    let at = rng.below(harmed.len() as u64) as usize;
                    harmed[at] = *rng.pick(&[0, 1, 2, 0x7f, 0x80, 0xff]);
                }
                let _ = Reply::read(&mut Reader::new(harmed.into()));
            }
        }
    }
}
