//! Reads of the whole list of keys or a part of it: serializable ones by those who only look on, each answered by the asked node alone, as
//! it is (they send nothing, and what others do does not hang on them); and linearizable ones, by clients, in place of some of their
//! lists.
//!
//! The promise of a serializable one: what is told is the state at the revision that the answer carries, and a node never goes back behind a revision that a
//! read there has shown, over its restarts too. Of a range with a limit the first come, in the order that was asked for; `count` is how
//! many there are in all, `more` whether any were left out; keys without values are those that there are. A linearizable one promises that of a revision that is not behind any that was acknowledged
//! before it was asked, as every read of a client does.

use super::ops::{key_bytes, number};
use super::{Asked, KEYS, Run, Sent};
use quorate_base::{NodeId, Rng};
use quorate_node::api::Request;
use quorate_wire::kv::{KeyRange, Range, RangeReply, Revision, SortOrder};
use std::fmt;

/// From this number on clients look on.
const LOOKERS: usize = 1 << 33;

/// What of the list is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    limit: i64,
    descend: bool,
    what: What,
    /// By the asked node alone.
    here: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Pairs,
    Keys,
    Count,
}

impl Look {
    pub(super) fn request(self) -> Request {
        let range = Range {
            range: KeyRange { key: "key".into(), end: "kez".into() },
            limit: self.limit,
            sort_order: if self.descend { SortOrder::Descend } else { SortOrder::None },
            keys_only: self.what == What::Keys,
            count_only: self.what == What::Count,
            ..Range::default()
        };
        Request::Range { range, serializable: self.here }
    }

    /// Whether the asked node answers by itself.
    pub(super) fn is_here(self) -> bool {
        self.here
    }

    /// What is wrong with an answer, whatever there was.
    fn shape(self, reply: &RangeReply) -> Option<&'static str> {
        let many = reply.kvs.len() as i64;
        if self.what == What::Count {
            return (many > 0 || reply.more).then_some("a count tells of keys");
        }
        let most = if self.limit > 0 { self.limit.min(reply.count) } else { reply.count };
        let in_order =
            reply.kvs.is_sorted_by(|a, b| if self.descend { a.key > b.key } else { a.key < b.key });
        match () {
            () if !in_order => Some("its keys are not in the order asked for"),
            () if many != most => Some("it has not as many keys as its count and limit say"),
            () if reply.more != (many < reply.count) => Some("it says wrongly whether there are more"),
            () if self.what == What::Keys && reply.kvs.iter().any(|kv| !kv.value.is_empty()) => {
                Some("it has values, and only keys were asked for")
            }
            () => None,
        }
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.descend { "last" } else { "first" };
        let here = if self.here { ", here" } else { "" };
        match (self.what, self.limit) {
            (What::Count, _) => write!(f, "count the keys{here}"),
            (What::Keys, limit) => write!(f, "list the {order} {limit} keys without values{here}"),
            (What::Pairs, limit) => write!(f, "list the {order} {limit} keys{here}"),
        }
    }
}

fn draw(chance: &mut Rng, here: bool) -> Look {
    Look {
        limit: *chance.pick(&[0, 1, 3, KEYS as i64 - 1, KEYS as i64]),
        descend: chance.chance(1, 3),
        what: *chance.pick(&[What::Pairs, What::Pairs, What::Keys, What::Count]),
        here,
    }
}

impl Run {
    /// Somebody looks on, now and then.
    pub(super) fn look_on(&mut self) {
        if self.load.is_some() || !self.looks.chance(1, 4) {
            return;
        }
        let look = draw(&mut self.looks, true);
        let node = self.world.any(&mut self.looks);
        self.lookers += 1;
        let floor = self.shown.get(&node).copied().unwrap_or(0);
        let client = LOOKERS + self.lookers;
        self.ask_of(node, client, Asked::Look(look));
        if let Some(sent) = self.sent.get_mut(&client) {
            sent.floor = floor;
        }
    }

    /// What a client asks for in place of some of its lists.
    pub(super) fn list(&mut self) -> Asked {
        if let Some(limits) = &mut self.limits
            && limits.chance(1, 2)
        {
            return Asked::Look(draw(limits, false));
        }
        Asked::List
    }

    /// A read at a node has shown this revision.
    pub(super) fn has_shown(&mut self, node: NodeId, revision: Revision) {
        let shown = self.shown.entry(node).or_default();
        *shown = revision.max(*shown);
    }

    pub(super) fn looked_on(
        &mut self,
        look: Look,
        sent: &Sent,
        reply: &RangeReply,
        revision: Revision,
    ) -> Result<(), String> {
        self.world.counts.add("serializable reads");
        if revision < sent.floor {
            return Err(format!(
                "Serializable reads: node {} showed revision {}, and then {revision}",
                sent.node, sent.floor
            ));
        }
        self.tells(look, reply, revision)
    }

    /// What it tells is so at the revision that it says.
    pub(super) fn tells(&mut self, look: Look, reply: &RangeReply, revision: Revision) -> Result<(), String> {
        if let Some(wrong) = look.shape(reply) {
            return Err(format!("Reads of ranges: {look}: {wrong}: {reply:?}"));
        }
        // Which keys the answer tells of: all, or those up to the last that came.
        let told = |key: u64| match (look.what, reply.kvs.last()) {
            (What::Count, _) => false,
            (_, Some(last)) if reply.more && look.descend => key_bytes(key) >= last.key,
            (_, Some(last)) if reply.more => key_bytes(key) <= last.key,
            _ => true,
        };
        for key in (0..KEYS).filter(|&key| told(key)) {
            let found = reply.kvs.iter().find(|kv| kv.key == key_bytes(key));
            match found {
                Some(kv) if look.what == What::Keys => self.read_bare(key, revision, kv.mod_revision)?,
                found => self.read(key, revision, found.map(|kv| (kv.mod_revision, number(&kv.value))))?,
            }
        }
        let sure = (0..KEYS).filter(|key| self.surely_there(*key, revision)).count() as i64;
        if (sure..=KEYS as i64).contains(&reply.count) {
            return Ok(());
        }
        Err(format!(
            "Reads of ranges: {look} at revision {revision}: there are {sure} keys at least, {} it says",
            reply.count
        ))
    }

    /// A key was read without its value.
    fn read_bare(&mut self, key: u64, revision: Revision, at: Revision) -> Result<(), String> {
        match self.history.get(&key).and_then(|known| known.get(&at)) {
            Some(&Some(value)) => self.read(key, revision, Some((at, value))),
            Some(None) => Err(format!("key {key} was deleted at revision {at}, and read as written then")),
            None if at > revision => {
                Err(format!("key {key}: a read at revision {revision} got what was written at {at}"))
            }
            None => Ok(()),
        }
    }

    /// It was written, and nobody can have deleted it since.
    fn surely_there(&self, key: u64, revision: Revision) -> bool {
        let newest = self.history.get(&key).and_then(|known| known.range(..=revision).next_back());
        newest.is_some_and(|(_, value)| value.is_some()) && self.deleting.get(&key).is_none_or(|&n| n == 0)
    }
}
