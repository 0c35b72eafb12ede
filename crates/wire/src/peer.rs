//! What nodes say to each other: a packet is a run of frames, one packet a peer a drain.
//!
//! Each frame starts with a kind byte. Entries stand in frames as they stand in the log: index and term of the first,
//! then each one's kind, term step and data. Frames of a kind that is not known end the packet: peers of one protocol
//! version (checked when they connect) know the same kinds. Terms and indices are below 2^62, so that whoever counts on
//! from what a peer says does not run over: no cluster lives to see a larger one.

use crate::codec::{Malformed, Read, Reader, Write};
use crate::members::{self, Change};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_base::time::Duration;
use quorate_base::{Entry, EntryId, EntryKind, Index, NodeId, ShardId, Term};
use quorate_clock::{Hlc, Wall};
use quorate_protocol::raft::{Message, Proof, SnapshotId, SnapshotMeta};
use std::collections::BTreeSet;
use std::sync::Arc;

/// One statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// A core speaks.
    Raft {
        /// Whose.
        shard: ShardId,
        /// What.
        message: Message,
    },
    /// A command for the leader of `term`, and of no other.
    Forward {
        /// Which log.
        shard: ShardId,
        /// Whose leader.
        term: Term,
        /// The sender's number for it.
        request: u64,
        /// The encoded command.
        data: Bytes,
        /// The sender wants to hear how it was committed.
        explain: bool,
    },
    /// How a command that was forwarded so was committed. It comes with the news that it was, or never.
    Committed {
        /// The asker's number.
        request: u64,
        /// How.
        how: Commitment,
    },
    /// A question about a lease for the leader.
    Lease {
        /// Which space's.
        shard: ShardId,
        /// The sender's number for it.
        request: u64,
        /// What.
        ask: LeaseAsk,
    },
    /// The answer to `Lease`.
    LeaseAnswer {
        /// The asker's number.
        request: u64,
        /// Remaining or renewed seconds; -1 or 0 for an unknown lease.
        ttl: i64,
        /// Granted seconds.
        granted: i64,
    },
    /// A request was not taken: nothing was done.
    Refused {
        /// The asker's number.
        request: u64,
        /// Why.
        why: Declined,
    },
    /// A change of members for the leader of `term`, and of no other. That it was made stands in the log.
    Members {
        /// Whose.
        shard: ShardId,
        /// Whose leader.
        term: Term,
        /// The sender's number for it.
        request: u64,
        /// What.
        change: Change,
    },
    /// The leader will not make it: nothing was done.
    MembersRefused {
        /// The asker's number.
        request: u64,
        /// Why.
        why: members::Refusal,
    },
    /// The sender lives, and with it the leaders of all groups that rest under it.
    Alive,
    /// What the sender leads, and up to when it is closed: see `quorate_node`, `lane::closed`.
    Close(Close),
    /// The answer to `Close`.
    Follows(Follows),
    /// How long a flush takes at the sender: the shortest of late, in whole microseconds.
    Flush {
        /// So long.
        took: Duration,
    },
    /// The leader is asked to let no transaction over several shards into its log for a moment: a page that the sender reads finds others
    /// committed each time. Nobody answers it.
    Pause {
        /// Whose leader.
        shard: ShardId,
        /// For so many milliseconds.
        millis: u64,
    },
    /// A request of a shard that the sender has no replica of, for one that has.
    Ask {
        /// Which.
        shard: ShardId,
        /// The sender's number for it.
        request: u64,
        /// So many milliseconds the sender waits.
        patience: u64,
        /// What, encoded.
        body: Bytes,
    },
    /// The answer to `Ask`.
    Told {
        /// The asker's number.
        request: u64,
        /// What, encoded.
        body: Bytes,
    },
}

/// Of the groups that a node leads and the receiver has replicas of: how far each is, and up to when that is all.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Close {
    /// The sender's name for its present life.
    pub stream: u64,
    /// What the sender's hybrid clock shows.
    pub clock: Hlc,
    /// Numbers what a stream says, from 1.
    pub round: u64,
    /// What is said below of groups is what has changed since this round; 0 is before all of them.
    pub base: u64,
    /// A round whose leaders were confirmed, and when it began by the sender's wall clock.
    pub closed: Option<(u64, Wall)>,
    /// Groups of which that is not known.
    pub open: Vec<ShardId>,
    /// Groups that the sender leads, in which term, and up to where they are committed.
    pub led: Vec<(ShardId, Term, Index)>,
    /// Groups that it leads no longer.
    pub gone: Vec<ShardId>,
}

/// Who heard a [`Close`] says that it has voted in no higher term than that of any group there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Follows {
    /// Whose.
    pub stream: u64,
    /// Which; 0 where the base of what was said is not known here, and all is to be said anew.
    pub round: u64,
    /// What the answering node's wall clock shows.
    pub wall: Wall,
    /// What its hybrid clock shows.
    pub clock: Hlc,
    /// But of these groups it does not say so.
    pub not: Vec<ShardId>,
}

/// How an entry was committed, as its leader saw it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Commitment {
    /// The entry.
    pub id: EntryId,
    /// The voters whose disks held it when it was committed, each with the microseconds from the proposal until the leader
    /// knew; its own are those of its flush.
    pub acks: Vec<(NodeId, u64)>,
    /// How many voters there were.
    pub voters: u64,
    /// Microseconds from when the command came to the leader until it was committed.
    pub micros: u64,
}

/// Why a request was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Declined {
    /// Who was asked does not lead.
    NotLeading = 0,
    /// Too much waits there.
    Overloaded = 1,
    /// The command is of a newer release than the node that was asked.
    Unknown = 2,
}

/// What is asked about a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeaseAsk {
    /// Prolong it.
    KeepAlive(i64),
    /// How long does it last?
    TimeToLive(i64),
}

const RAFT: u8 = 1;
const FORWARD: u8 = 2;
const KEEP_ALIVE: u8 = 3;
const TIME_TO_LIVE: u8 = 4;
const LEASE_ANSWER: u8 = 5;
const REFUSED: u8 = 6;
const MEMBERS: u8 = 7;
const MEMBERS_REFUSED: u8 = 8;
const FORWARD_EXPLAINED: u8 = 9;
const COMMITTED: u8 = 10;
const ALIVE: u8 = 11;
const ASK: u8 = 12;
const TOLD: u8 = 13;
const CLOSE: u8 = 14;
const FOLLOWS: u8 = 15;
const FLUSH: u8 = 16;
const PAUSE: u8 = 17;

/// Frames for one peer, as they gather.
#[derive(Default)]
pub struct Packet {
    bytes: BytesMut,
}

impl Packet {
    /// Adds a frame.
    pub fn push(&mut self, frame: &Frame) {
        let out = &mut self.bytes;
        match frame {
            Frame::Raft { shard, message } => {
                out.put_u8(RAFT);
                out.varint(u64::from(shard.0));
                put_message(out, message);
            }
            Frame::Forward { shard, term, request, data, explain } => {
                out.put_u8(if *explain { FORWARD_EXPLAINED } else { FORWARD });
                out.varint(u64::from(shard.0));
                out.varint(term.0);
                out.varint(*request);
                out.string(data);
            }
            Frame::Committed { request, how } => {
                out.put_u8(COMMITTED);
                out.varint(*request);
                put_id(out, how.id);
                out.varint(how.voters);
                out.varint(how.micros);
                out.varint(how.acks.len() as u64);
                for (node, micros) in &how.acks {
                    out.varint(node.0);
                    out.varint(*micros);
                }
            }
            Frame::Lease { shard, request, ask } => {
                let (kind, lease) = match ask {
                    LeaseAsk::KeepAlive(id) => (KEEP_ALIVE, id),
                    LeaseAsk::TimeToLive(id) => (TIME_TO_LIVE, id),
                };
                out.put_u8(kind);
                out.varint(u64::from(shard.0));
                out.varint(*request);
                out.int(*lease);
            }
            Frame::LeaseAnswer { request, ttl, granted } => {
                out.put_u8(LEASE_ANSWER);
                out.varint(*request);
                out.int(*ttl);
                out.int(*granted);
            }
            Frame::Refused { request, why } => {
                out.put_u8(REFUSED);
                out.varint(*request);
                out.put_u8(*why as u8);
            }
            Frame::Members { shard, term, request, change } => {
                out.put_u8(MEMBERS);
                out.varint(u64::from(shard.0));
                out.varint(term.0);
                out.varint(*request);
                change.encode(out);
            }
            Frame::MembersRefused { request, why } => {
                out.put_u8(MEMBERS_REFUSED);
                out.varint(*request);
                out.put_u8(*why as u8);
            }
            Frame::Alive => out.put_u8(ALIVE),
            Frame::Close(close) => {
                out.put_u8(CLOSE);
                put_close(out, close);
            }
            Frame::Follows(Follows { stream, round, wall, clock, not }) => {
                out.put_u8(FOLLOWS);
                out.put_u64_le(*stream);
                out.varint(*round);
                out.varint(wall.0);
                out.put_u64_le(clock.0);
                put_shards(out, not);
            }
            Frame::Flush { took } => {
                out.put_u8(FLUSH);
                out.varint(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            Frame::Pause { shard, millis } => {
                out.put_u8(PAUSE);
                out.varint(u64::from(shard.0));
                out.varint(*millis);
            }
            Frame::Ask { shard, request, patience, body } => {
                out.put_u8(ASK);
                out.varint(u64::from(shard.0));
                out.varint(*request);
                out.varint(*patience);
                out.string(body);
            }
            Frame::Told { request, body } => {
                out.put_u8(TOLD);
                out.varint(*request);
                out.string(body);
            }
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The body of the packet.
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }

    /// The frames of a body. After an error nothing more comes.
    pub fn read(body: Bytes) -> Frames {
        Frames { reader: Reader::new(body), failed: false }
    }
}

/// Iterates over a packet.
pub struct Frames {
    reader: Reader,
    failed: bool,
}

impl Iterator for Frames {
    type Item = Read<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.remaining() == 0 {
            return None;
        }
        let frame = read_frame(&mut self.reader);
        self.failed = frame.is_err();
        Some(frame)
    }
}

fn read_frame(r: &mut Reader) -> Read<Frame> {
    match r.u8()? {
        RAFT => Ok(Frame::Raft { shard: shard(r)?, message: read_message(r)? }),
        kind @ (FORWARD | FORWARD_EXPLAINED) => {
            let (shard, term, request, data) = (shard(r)?, term(r)?, r.varint()?, r.bytes()?);
            Ok(Frame::Forward { shard, term, request, data, explain: kind == FORWARD_EXPLAINED })
        }
        COMMITTED => Ok(Frame::Committed { request: r.varint()?, how: read_commitment(r)? }),
        KEEP_ALIVE => {
            Ok(Frame::Lease { shard: shard(r)?, request: r.varint()?, ask: LeaseAsk::KeepAlive(r.int()?) })
        }
        TIME_TO_LIVE => {
            Ok(Frame::Lease { shard: shard(r)?, request: r.varint()?, ask: LeaseAsk::TimeToLive(r.int()?) })
        }
        LEASE_ANSWER => Ok(Frame::LeaseAnswer { request: r.varint()?, ttl: r.int()?, granted: r.int()? }),
        REFUSED => Ok(Frame::Refused { request: r.varint()?, why: declined(r)? }),
        MEMBERS => {
            let (shard, term, request) = (shard(r)?, term(r)?, r.varint()?);
            Ok(Frame::Members { shard, term, request, change: Change::decode(r)? })
        }
        MEMBERS_REFUSED => {
            let request = r.varint()?;
            let why = members::Refusal::from_u8(r.u8()?).ok_or(Malformed)?;
            Ok(Frame::MembersRefused { request, why })
        }
        ALIVE => Ok(Frame::Alive),
        FLUSH => Ok(Frame::Flush { took: Duration::from_micros(r.varint()?) }),
        PAUSE => Ok(Frame::Pause { shard: shard(r)?, millis: r.varint()? }),
        ASK => {
            let (shard, request, patience) = (shard(r)?, r.varint()?, r.varint()?);
            Ok(Frame::Ask { shard, request, patience, body: r.bytes()? })
        }
        TOLD => Ok(Frame::Told { request: r.varint()?, body: r.bytes()? }),
        CLOSE => read_close(r).map(Frame::Close),
        FOLLOWS => {
            let (stream, round, wall) = (r.u64()?, number(r)?, number(r).map(Wall)?);
            Ok(Frame::Follows(Follows { stream, round, wall, clock: r.u64().map(Hlc)?, not: shards(r)? }))
        }
        _ => Err(Malformed),
    }
}

fn put_close(out: &mut BytesMut, close: &Close) {
    out.put_u64_le(close.stream);
    out.put_u64_le(close.clock.0);
    out.varint(close.round);
    out.varint(close.base);
    out.flag(close.closed.is_some());
    if let Some((round, time)) = close.closed {
        out.varint(round);
        out.varint(time.0);
    }
    put_shards(out, &close.open);
    out.varint(close.led.len() as u64);
    for (shard, term, index) in &close.led {
        out.varint(u64::from(shard.0));
        out.varint(term.0);
        out.varint(index.0);
    }
    put_shards(out, &close.gone);
}

fn read_close(r: &mut Reader) -> Read<Close> {
    let (stream, clock) = (r.u64()?, r.u64().map(Hlc)?);
    let (round, base) = (number(r)?, number(r)?);
    let closed = if r.flag()? { Some((number(r)?, number(r).map(Wall)?)) } else { None };
    let open = shards(r)?;
    let led = (0..r.count()?).map(|_| Ok((shard(r)?, term(r)?, index(r)?))).collect::<Read<_>>()?;
    Ok(Close { stream, clock, round, base, closed, open, led, gone: shards(r)? })
}

fn put_shards(out: &mut BytesMut, shards: &[ShardId]) {
    out.varint(shards.len() as u64);
    for shard in shards {
        out.varint(u64::from(shard.0));
    }
}

fn shards(r: &mut Reader) -> Read<Vec<ShardId>> {
    (0..r.count()?).map(|_| shard(r)).collect()
}

fn read_commitment(r: &mut Reader) -> Read<Commitment> {
    let (id, voters, micros) = (read_id(r)?, r.varint()?, r.varint()?);
    let acks = (0..r.count()?).map(|_| Ok((NodeId(r.varint()?), r.varint()?))).collect::<Read<_>>()?;
    Ok(Commitment { id, acks, voters, micros })
}

fn put_proof(out: &mut BytesMut, proof: &Proof) {
    out.flag(matches!(proof, Proof::Lease));
    if let Proof::Round(nodes) = proof {
        out.varint(nodes.len() as u64);
        nodes.iter().for_each(|node| out.varint(node.0));
    }
}

fn read_proof(r: &mut Reader) -> Read<Proof> {
    if r.flag()? {
        return Ok(Proof::Lease);
    }
    let nodes = (0..r.count()?).map(|_| r.varint().map(NodeId)).collect::<Read<BTreeSet<_>>>()?;
    Ok(Proof::Round(Arc::new(nodes)))
}

fn declined(r: &mut Reader) -> Read<Declined> {
    match r.u8()? {
        0 => Ok(Declined::NotLeading),
        1 => Ok(Declined::Overloaded),
        2 => Ok(Declined::Unknown),
        _ => Err(Malformed),
    }
}

fn shard(r: &mut Reader) -> Read<ShardId> {
    u32::try_from(r.varint()?).map(ShardId).map_err(|_| Malformed)
}

/// See the module page.
const NUMBER_MAX: u64 = 1 << 62;

fn number(r: &mut Reader) -> Read<u64> {
    let n = r.varint()?;
    if n < NUMBER_MAX { Ok(n) } else { Err(Malformed) }
}

fn term(r: &mut Reader) -> Read<Term> {
    number(r).map(Term)
}

fn index(r: &mut Reader) -> Read<Index> {
    number(r).map(Index)
}

fn put_id(out: &mut BytesMut, id: EntryId) {
    out.varint(id.term.0);
    out.varint(id.index.0);
}

fn read_id(r: &mut Reader) -> Read<EntryId> {
    Ok(EntryId::new(term(r)?, index(r)?))
}

fn put_entries(out: &mut BytesMut, entries: &[Entry]) {
    out.varint(entries.len() as u64);
    for entry in entries {
        out.put_u8(entry.kind as u8);
        put_id(out, entry.id);
        out.string(&entry.data);
    }
}

fn read_entries(r: &mut Reader) -> Read<Vec<Entry>> {
    let count = r.count()?;
    let mut entries = Vec::with_capacity(count.min(4096));
    for _ in 0..count {
        let kind = EntryKind::from_u8(r.u8()?).ok_or(Malformed)?;
        entries.push(Entry { kind, id: read_id(r)?, data: r.bytes()? });
    }
    Ok(entries)
}

fn put_message(out: &mut BytesMut, message: &Message) {
    out.put_u8(kind(message));
    out.varint(message.term().0);
    match message {
        Message::RequestVote { pre, transfer, last, .. } => {
            out.flag(*pre);
            out.flag(*transfer);
            put_id(out, *last);
        }
        Message::Vote { pre, granted, withheld, .. } => {
            out.flag(*pre);
            out.flag(*granted);
            out.flag(*withheld);
        }
        Message::Append { prev, entries, commit, .. } => {
            put_id(out, *prev);
            out.varint(commit.0);
            put_entries(out, entries);
        }
        Message::Appended { matched, .. } => out.varint(matched.0),
        Message::AppendRejected { prev, hint, .. } => {
            out.varint(prev.0);
            put_id(out, *hint);
        }
        Message::Heartbeat { commit, round, lease, .. } => {
            out.varint(commit.0);
            out.varint(*round);
            out.varint(u64::try_from(lease.as_micros()).unwrap_or(u64::MAX));
        }
        Message::HeartbeatResponse { round, withheld, promised, asks, .. } => {
            out.varint(*round);
            out.flag(*withheld);
            out.flag(*promised);
            out.flag(asks.is_some());
            if let Some(life) = asks {
                out.put_u64_le(*life);
            }
        }
        Message::Commit { commit, .. } => out.varint(commit.0),
        Message::ReadIndex { context, .. } => out.put_u64_le(*context),
        Message::ReadIndexResponse { context, index, proof, .. } => {
            out.put_u64_le(*context);
            out.flag(index.is_some());
            out.varint(index.map_or(0, |i| i.0));
            put_proof(out, proof);
        }
        Message::TimeoutNow { .. } => {}
        Message::SnapshotChunk { snapshot, meta, seq, data, last, .. } => {
            out.put_u64_le(snapshot.0);
            put_id(out, meta.id);
            out.string(&meta.membership);
            out.varint(*seq);
            out.flag(*last);
            out.string(data);
        }
        Message::SnapshotWant { snapshot, seq, .. } => {
            out.put_u64_le(snapshot.0);
            out.varint(*seq);
        }
        Message::TermVouched { life, .. } => out.put_u64_le(*life),
        Message::Rest { upto, .. } | Message::Rested { upto, .. } => out.varint(upto.0),
    }
}

const fn kind(message: &Message) -> u8 {
    match message {
        Message::RequestVote { .. } => 1,
        Message::Vote { .. } => 2,
        Message::Append { .. } => 3,
        Message::Appended { .. } => 4,
        Message::AppendRejected { .. } => 5,
        Message::Heartbeat { .. } => 6,
        Message::HeartbeatResponse { .. } => 7,
        Message::Commit { .. } => 8,
        Message::ReadIndex { .. } => 9,
        Message::ReadIndexResponse { .. } => 10,
        Message::TimeoutNow { .. } => 11,
        Message::SnapshotChunk { .. } => 12,
        Message::SnapshotWant { .. } => 13,
        Message::TermVouched { .. } => 14,
        Message::Rest { .. } => 15,
        Message::Rested { .. } => 16,
    }
}

fn read_message(r: &mut Reader) -> Read<Message> {
    let kind = r.u8()?;
    let term = term(r)?;
    Ok(match kind {
        1 => Message::RequestVote { term, pre: r.flag()?, transfer: r.flag()?, last: read_id(r)? },
        2 => Message::Vote { term, pre: r.flag()?, granted: r.flag()?, withheld: r.flag()? },
        3 => {
            let (prev, commit) = (read_id(r)?, index(r)?);
            Message::Append { term, prev, commit, entries: read_entries(r)? }
        }
        4 => Message::Appended { term, matched: index(r)? },
        5 => Message::AppendRejected { term, prev: index(r)?, hint: read_id(r)? },
        6 => {
            let (commit, round, lease) = (index(r)?, r.varint()?, Duration::from_micros(r.varint()?));
            Message::Heartbeat { term, commit, round, lease }
        }
        7 => {
            let (round, withheld, promised) = (r.varint()?, r.flag()?, r.flag()?);
            let asks = if r.flag()? { Some(r.u64()?) } else { None };
            Message::HeartbeatResponse { term, round, withheld, promised, asks }
        }
        8 => Message::Commit { term, commit: index(r)? },
        9 => Message::ReadIndex { term, context: r.u64()? },
        10 => {
            let (context, some, index) = (r.u64()?, r.flag()?, index(r)?);
            Message::ReadIndexResponse { term, context, index: some.then_some(index), proof: read_proof(r)? }
        }
        11 => Message::TimeoutNow { term },
        12 => {
            let snapshot = SnapshotId(r.u64()?);
            let meta = SnapshotMeta { id: read_id(r)?, membership: r.bytes()? };
            let (seq, last) = (r.varint()?, r.flag()?);
            Message::SnapshotChunk { term, snapshot, meta, seq, data: r.bytes()?, last }
        }
        13 => Message::SnapshotWant { term, snapshot: SnapshotId(r.u64()?), seq: r.varint()? },
        14 => Message::TermVouched { term, life: r.u64()? },
        15 => Message::Rest { term, upto: index(r)? },
        16 => Message::Rested { term, upto: index(r)? },
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests;
