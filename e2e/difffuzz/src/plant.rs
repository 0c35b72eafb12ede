//! Planted differences: proof that the comparison can fail. Each spoils what side B said in one small way, as a server
//! with a bug would have said it.

use crate::op::Op;
use crate::side::Reply;
use crate::watch::Item;
use clap::ValueEnum;
use std::collections::{BTreeMap, VecDeque};

/// What is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// A limited range counts only what it returns
    Count,
    /// A limited range never says that there is more
    More,
    /// A put forgets what it replaced
    PrevKv,
    /// Keys sorted by value are in another order where values are equal
    Ties,
    /// A delete of nothing takes a revision
    Revision,
    /// A refused transaction is refused in other words
    Text,
    /// A read below the compaction has another code
    Code,
    /// A lease forgets that it has keys
    LeaseKeys,
    /// A watch loses deletions of one key
    LostEvent,
    /// A watch says puts of one key twice
    EventTwice,
    /// A watch's creation is at the revision before
    CreatedAt,
}

impl Plant {
    /// Spoils a reply, where this plant is about its kind.
    pub fn spoil(self, op: &Op, reply: &mut Reply) {
        match (self, op, reply) {
            (Self::Count, Op::Range(_), Reply::Range(r)) if r.more => r.count = r.kvs.len() as i64,
            (Self::More, Op::Range(_), Reply::Range(r)) => r.more = false,
            (Self::PrevKv, _, Reply::Put(r)) => r.prev_kv = None,
            (Self::Ties, Op::Range(request), Reply::Range(r)) if request.sort_target == 4 => {
                if let Some(at) = (1..r.kvs.len()).find(|&at| r.kvs[at].value == r.kvs[at - 1].value) {
                    r.kvs.swap(at, at - 1);
                }
            }
            (Self::Revision, _, Reply::Delete(r)) if r.deleted == 0 => {
                r.header.iter_mut().for_each(|h| h.revision += 1);
            }
            (Self::Text, Op::Txn(_), Reply::Error { text, .. }) => text.push('.'),
            (Self::Code, Op::Range(_), Reply::Error { code, text }) if text.contains("compacted") => {
                *code = tonic::Code::InvalidArgument;
            }
            (Self::LeaseKeys, _, Reply::TimeToLive(r)) => r.keys.clear(),
            _ => {}
        }
    }

    /// Spoils what watches said, where this plant is about them.
    pub fn spoil_watches(self, queues: &mut BTreeMap<i64, VecDeque<Item>>) {
        let about = |item: &Item, kind: i32| match item {
            Item::Event(event) => {
                event.r#type == kind && event.kv.as_ref().is_some_and(|kv| kv.key[..] == b"a"[..])
            }
            _ => false,
        };
        for queue in queues.values_mut() {
            match self {
                Self::LostEvent => queue.retain(|item| !about(item, 1)),
                Self::EventTwice => {
                    if let Some(at) = queue.iter().position(|item| about(item, 0)) {
                        queue.insert(at, queue[at].clone());
                    }
                }
                Self::CreatedAt => {
                    for item in queue.iter_mut() {
                        if let Item::Created { revision, .. } = item {
                            *revision -= 1;
                        }
                    }
                }
                _ => {}
            }
        }
    }
}
