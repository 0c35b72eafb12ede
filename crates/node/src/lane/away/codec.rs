//! What is asked of a shard elsewhere and what comes back, as bytes.
//!
//! ```text
//! request  := 1 command | 2 fresh epoch asked | 3
//! fresh    := 0 (local) | 1 (newest) | 2 (plain) | 3 (plain, within) milliseconds
//! answer   := 1 reply | 2 read reply | 3 status | 0 failure      failure := kind(1 byte) [words]
//! ```

use crate::api::{Answer, Body, Failure, Fresh, Head, Request, Status};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_base::time::Duration;
use quorate_base::{Index, NodeId, Term};
use quorate_state::table::{read_asked, read_reply, write_asked, write_reply};
use quorate_wire::codec::{Malformed, Read, Reader, Write};
use quorate_wire::command;
use quorate_wire::kv::{Command, Refused, Reply};
use quorate_wire::table::{self, Refusal};

/// The largest answer that is passed on: a peer reads packets up to a bound. (Whoever reads many items reads them in parts.)
const ANSWER_MAX: usize = 10 << 20;

/// A request, and whether it writes; `None` for one that is not passed on.
pub(super) fn request(request: &Request) -> Option<(Bytes, bool)> {
    let mut out = BytesMut::new();
    let writes = match request {
        Request::Write(command @ Command::Table(_)) => {
            out.put_u8(1);
            out.put_slice(&command::encode(NodeId(0), 0, command));
            true
        }
        Request::Table { read, fresh, epoch } => {
            out.put_u8(2);
            put_fresh(&mut out, *fresh);
            out.varint(*epoch);
            if !write_asked(&mut out, read) {
                return None;
            }
            false
        }
        Request::Status => {
            out.put_u8(3);
            false
        }
        _ => return None,
    };
    Some((out.freeze(), writes))
}

/// The inverse.
pub(super) fn read_request(body: &Bytes) -> Read<Request> {
    let mut input = Reader::new(body.clone());
    let request = match input.u8()? {
        1 => {
            let command = command::decode(&body.slice(1..)).map_err(|_| Malformed)?.command;
            return if matches!(command, Command::Table(_)) {
                Ok(Request::Write(command))
            } else {
                Err(Malformed)
            };
        }
        2 => {
            let (fresh, epoch) = (read_fresh(&mut input)?, input.varint()?);
            Request::Table { read: Box::new(read_asked(&mut input)?), fresh, epoch }
        }
        3 => Request::Status,
        _ => return Err(Malformed),
    };
    input.end()?;
    Ok(request)
}

fn put_fresh(out: &mut BytesMut, fresh: Fresh) {
    match fresh {
        Fresh::Local => out.put_u8(0),
        Fresh::Newest => out.put_u8(1),
        Fresh::Plain(None) => out.put_u8(2),
        Fresh::Plain(Some(within)) => {
            out.put_u8(3);
            out.varint(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        }
    }
}

fn read_fresh(input: &mut Reader) -> Read<Fresh> {
    Ok(match input.u8()? {
        0 => Fresh::Local,
        1 => Fresh::Newest,
        2 => Fresh::Plain(None),
        3 => Fresh::Plain(Some(Duration::from_millis(input.varint()?))),
        _ => return Err(Malformed),
    })
}

/// How a request ended.
pub(super) fn answer(result: &Result<Answer, Failure>) -> Bytes {
    let mut out = BytesMut::new();
    match result.as_ref().map(|answer| &answer.body) {
        Ok(Body::Reply(Reply::Table(reply))) => {
            out.put_u8(1);
            if reply.write(&mut out) {
                return if out.len() > ANSWER_MAX { failed(&Failure::TimedOut) } else { out.freeze() };
            }
        }
        Ok(Body::Table(reply)) => {
            out.put_u8(2);
            if write_reply(&mut out, reply) {
                return if out.len() > ANSWER_MAX { failed(&Failure::TooLarge) } else { out.freeze() };
            }
        }
        Ok(Body::Status(status)) => {
            out.put_u8(3);
            for n in [
                status.leader,
                status.term.get(),
                status.last.get(),
                status.commit.get(),
                status.applied.get(),
            ] {
                out.varint(n);
            }
            out.flag(status.learner);
            return out.freeze();
        }
        Ok(_) => {}
        Err(failure) => return failed(failure),
    }
    failed(&Failure::TimedOut)
}

fn failed(failure: &Failure) -> Bytes {
    let mut out = BytesMut::from(&[0][..]);
    match failure {
        Failure::Refused(Refused::Table(refusal), _) => {
            out.put_u8(1);
            refusal.write(&mut out);
        }
        Failure::Refused(Refused::NoSpace, _) => out.put_u8(2),
        Failure::Refused(Refused::Corrupt, _) => out.put_u8(3),
        Failure::Refused(..) => out.put_u8(4),
        Failure::NoLeader | Failure::NotLeader | Failure::Learner => out.put_u8(5),
        Failure::LeaderChanged => out.put_u8(6),
        Failure::Overloaded => out.put_u8(7),
        Failure::TooLarge => out.put_u8(8),
        Failure::Stopping => out.put_u8(9),
        Failure::Broken(words) => {
            out.put_u8(10);
            out.string(words.as_bytes());
        }
        Failure::TimedOut | Failure::Members(_) | Failure::BadTransferee => out.put_u8(11),
    }
    out.freeze()
}

/// The inverse of [`answer`], under another header.
pub(super) fn read_answer(body: Bytes, head: Head) -> Read<Result<Answer, Failure>> {
    let mut input = Reader::new(body);
    let body = match input.u8()? {
        0 => return read_failure(&mut input, head).map(Err),
        1 => Body::Reply(Reply::Table(Box::new(table::Reply::read(&mut input)?))),
        2 => Body::Table(Box::new(read_reply(&mut input)?)),
        3 => {
            let (leader, term) = (input.varint()?, Term(input.varint()?));
            let (last, commit, applied) = (input.varint()?, input.varint()?, input.varint()?);
            let (last, commit, applied) = (Index(last), Index(commit), Index(applied));
            let learner = input.flag()?;
            Body::Status(Status { leader, term, last, commit, applied, learner, ..Status::default() })
        }
        _ => return Err(Malformed),
    };
    input.end()?;
    Ok(Ok(Answer { head, body }))
}

fn read_failure(input: &mut Reader, head: Head) -> Read<Failure> {
    let refused = |refused| Failure::Refused(refused, head);
    Ok(match input.u8()? {
        1 => refused(Refused::Table(Refusal::read(input)?)),
        2 => refused(Refused::NoSpace),
        3 => refused(Refused::Corrupt),
        4 => refused(Refused::UnknownCommand),
        5 => Failure::NoLeader,
        6 => Failure::LeaderChanged,
        7 => Failure::Overloaded,
        8 => Failure::TooLarge,
        9 => Failure::Stopping,
        10 => Failure::Broken(String::from_utf8(input.bytes()?.to_vec()).map_err(|_| Malformed)?),
        11 => Failure::TimedOut,
        _ => return Err(Malformed),
    })
}
