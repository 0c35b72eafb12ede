//! A cluster whose majority is lost for good goes on as one member: `--force-new-cluster`.
//!
//! Before the node starts, its log gets one more entry: a configuration of this member alone, in a term of its own, for which it has
//! voted. What stands in the log before that is kept, also what was not known to be committed: it may have been acknowledged. What
//! others had acknowledged and this one never got is lost, and no check can tell. So it is never done unasked; and the former members
//! must not come back: who comes with an old id is told that it was removed, but a majority of them would go on by themselves.
//!
//! A flag that stays in a unit's file is given at each start, also long after other members were added, who have acknowledged what this
//! one does not have. So it is spent by the first start with it: a file `forced` says when, and behind which entry. It is there before
//! the entry is, and counts once the log has that; a start that was cut off in between forces again. A start without the flag takes it
//! away, after which the flag has its effect once more.

use crate::config::ServerConfig;
use crate::datadir::{self, DataDir, FORCED};
use crate::disk::FsDisk;
use crate::error::{ServeError, ServeErrorKind};
use crate::run::KV;
use crate::sealed;
use quorate_base::{Append, Entry, EntryId, EntryKind, HardState, Index, Mint, NodeId, Term, WriteId};
use quorate_protocol::raft::Membership;
use quorate_storage::journal::{Identity, Journal, Options, Recovered, ShardLog};
use quorate_wire::members::Book;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forced {
    /// There are no data of this node yet: it begins as it would have.
    New,
    /// It was the only member already.
    Alone,
    /// These are members no more.
    Left(BTreeSet<NodeId>),
    /// It was done at a start before, at this time: nothing was changed.
    Spent(String),
}

/// When the flag had its effect, and the entry with which: that one is in the log, or it had none.
struct Mark {
    at: String,
    entry: EntryId,
}

impl Mark {
    fn load(data: &Path) -> Result<Option<Self>, ServeError> {
        let damaged = |what: &str| {
            let what = format!(
                "{} {what}: whether --force-new-cluster was done before cannot be told",
                data.join(FORCED).display()
            );
            let hint = "leave the flag out: that start takes the file away, and changes nothing else";
            ServeError::new(ServeErrorKind::Damaged, what, hint)
        };
        let text = sealed::load(data, FORCED).map_err(|e| match e.kind {
            ServeErrorKind::Damaged => damaged("is damaged"),
            _ => e,
        })?;
        text.map(|text| Self::decode(&text).ok_or_else(|| damaged("is not known here"))).transpose()
    }

    fn decode(text: &str) -> Option<Self> {
        let number = |name: &str| sealed::field(text, name)?.parse().ok();
        let entry = EntryId::new(Term(number("term")?), Index(number("index")?));
        Some(Self { at: sealed::field(text, "at")?.to_string(), entry })
    }

    fn store(&self, data: &Path) -> Result<(), ServeError> {
        let Self { at, entry } = self;
        let text = format!(
            "# When --force-new-cluster had its effect: it has none while this stands. A start without the flag removes it.\n\
             at = {at}\nterm = {}\nindex = {}\n",
            entry.term.get(),
            entry.index.get()
        );
        sealed::store(data, FORCED, &text)
    }
}

/// A start without the flag: the next one with it has its effect again. Whether it had been spent.
pub fn not_asked(data: &Path) -> Result<bool, ServeError> {
    sealed::remove(data, FORCED)
}

/// Whether the directory's mark does not verify.
pub(crate) fn is_damaged(data: &Path) -> bool {
    sealed::is_damaged(data, FORCED, Mark::decode)
}

/// Makes the node whose data are in `config`'s directory the only member of its cluster, at the time `now`, unless a start before had
/// done so. It must not run.
pub fn new_cluster(config: &ServerConfig, now: &str) -> Result<Forced, ServeError> {
    let mark = Mark::load(&config.data)?;
    let nothing = Mark { at: now.to_string(), entry: EntryId::ZERO };
    if datadir::owner(&config.data)?.is_none() || crate::backup::was_interrupted(&config.data) {
        datadir::create_dir_durably(&config.data).map_err(|e| datadir::io(&config.data, "create", &e))?;
        nothing.store(&config.data)?;
        return Ok(Forced::New);
    }
    let data = DataDir::open(config)?;
    let identity = Identity { cluster: config.cluster, node: config.node };
    let disk = Arc::new(FsDisk::new(data.path()));
    let opened = Journal::open(disk, "journal", identity, Options::default(), Mint::for_journal());
    let (mut journal, mut found) = opened.map_err(|e| ServeError::of_journal(&e))?;
    if let Some(mark) = mark.filter(|mark| mark.entry.index <= last(&found).index) {
        return Ok(Forced::Spent(mark.at));
    }
    let log = whole_log(config, &mut found, data.withholds())?;
    let newest = log.entries.iter().rev().find(|entry| entry.kind == EntryKind::Membership);
    let newest = newest.map_or(&log.base.membership, |entry| &entry.data);
    let Some(before) = Membership::decode(newest) else {
        return Err(no(config, "who the members are cannot be read"));
    };
    let own = BTreeSet::from([config.node]);
    if before.nodes() == own && before.voters == own {
        nothing.store(data.path())?;
        return Ok(Forced::Alone);
    }
    if !before.contains(config.node) {
        return Err(no(config, "this node was removed from its cluster"));
    }
    let last = log.entries.last().map_or(log.base.id, |entry| entry.id);
    let append = alone(config.node, &before, log.hard, last);
    let entry = append.entries.last().map_or(last, |entry| entry.id);
    Mark { entry, ..nothing }.store(data.path())?;
    journal.append(&[append]).and_then(|()| journal.sync()).map_err(|e| ServeError::of_journal(&e))?;
    Ok(Forced::Left(before.nodes().difference(&own).copied().collect()))
}

/// The last entry that is there, whatever may be missing before it.
fn last(found: &Recovered) -> EntryId {
    let log = found.shards.get(&KV);
    log.map_or(EntryId::ZERO, |log| log.entries.last().map_or(log.base.id, |entry| entry.id))
}

/// The log, if nothing of it is missing, and it is the only one: replicas of tables' shards have members of their own.
fn whole_log(config: &ServerConfig, found: &mut Recovered, withholds: bool) -> Result<ShardLog, ServeError> {
    if found.shards.keys().any(|&shard| shard != KV) {
        return Err(no(config, "there are tables that have shards of their own, each with its members"));
    }
    let log = found.shards.remove(&KV).ok_or_else(|| no(config, "nothing of its log is there"))?;
    let uncertain = log.hard_uncertain || log.entries_lost || log.withheld_upto.is_some() || !log.based;
    if uncertain || !log.damage.is_empty() || !found.damage.is_empty() || withholds {
        return Err(no(config, "something of what this node had acknowledged is damaged or lost"));
    }
    Ok(log)
}

/// The entry behind `last` that makes a node the only member, with the vote by which it stands.
fn alone(node: NodeId, before: &Membership, hard: HardState, last: EntryId) -> Append {
    let mut book = Book::of(before);
    book.members.retain(|id, _| *id == node);
    book.asked = None;
    book.used = before.nodes().into_iter().chain([book.used]).max().unwrap_or(node);
    let book = book.encode().unwrap_or_default();
    let membership = Membership { voters: [node].into(), book, ..Membership::default() };
    let term = Term(hard.term.get().max(last.term.get()) + 1);
    let id = EntryId::new(term, Index(last.index.get() + 1));
    Append {
        shard: KV,
        write: WriteId(0),
        hard: Some(HardState { term, vote: Some(node), ..hard }),
        prev: last,
        entries: vec![Entry { id, kind: EntryKind::Membership, data: membership.encode() }],
    }
}

fn no(config: &ServerConfig, what: &str) -> ServeError {
    ServeError::new(
        ServeErrorKind::DataDir,
        format!("no new cluster is forced out of {}: {what}", config.data.display()),
        "`quorate snapshot save` takes what a member that is up has, also without a leader, and `quorate snapshot restore` begins a \
         new cluster with it; nothing was changed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::good;
    use quorate_base::Base;
    use quorate_storage::journal::CheckpointMark;

    fn journal(config: &ServerConfig) -> (Journal, Recovered) {
        let identity = Identity { cluster: config.cluster, node: config.node };
        let disk = Arc::new(FsDisk::new(&config.data));
        Journal::open(disk, "journal", identity, Options::default(), Mint::for_journal()).unwrap()
    }

    fn config(name: &str) -> ServerConfig {
        let name = format!("quorate-force-{}-{name}", std::process::id());
        let config = ServerConfig { data: std::env::temp_dir().join(name), ..good() };
        let _ = std::fs::remove_dir_all(&config.data);
        config
    }

    /// A member of three, with two entries.
    fn three(config: &ServerConfig) {
        drop(DataDir::open(config).unwrap());
        let three = Membership::of_voters([1, 2, 3].map(NodeId));
        let entry = |n: u64| Entry {
            id: EntryId::new(Term(2), Index(n)),
            kind: EntryKind::Empty,
            data: bytes::Bytes::new(),
        };
        let hard = HardState { term: Term(5), vote: Some(NodeId(2)), commit: Index(1) };
        let append = Append {
            shard: KV,
            write: WriteId(0),
            hard: Some(hard),
            prev: EntryId::ZERO,
            entries: vec![entry(1), entry(2)],
        };
        let base = Base { id: EntryId::ZERO, membership: three.encode() };
        let (mut before, _) = journal(config);
        before.mark_checkpoint(CheckpointMark { generation: 0, bases: vec![(KV, base)] }).unwrap();
        before.append(&[append]).unwrap();
        before.sync().unwrap();
        drop(before);
    }

    /// Adds entries to the log behind all that it has, the last of them with these members.
    fn append(config: &ServerConfig, members: &[u64]) {
        let (mut journal, mut found) = journal(config);
        let log = found.shards.remove(&KV).unwrap();
        let prev = log.entries.last().map_or(log.base.id, |entry| entry.id);
        let id = EntryId::new(log.hard.term, Index(prev.index.get() + 1));
        let data = Membership::of_voters(members.iter().copied().map(NodeId)).encode();
        let entries = vec![Entry { id, kind: EntryKind::Membership, data }];
        let append = Append { shard: KV, write: WriteId(0), hard: Some(log.hard), prev, entries };
        journal.append(&[append]).and_then(|()| journal.sync()).unwrap();
    }

    /// Claim: a flag that stays is spent by the start at which it has its effect: members that were added since stay members. It has its
    /// effect again after a start without it, and where the start that had it was cut off before the entry was there.
    #[test]
    fn the_flag_is_spent_by_the_first_start_with_it() {
        let config = config("spent");
        three(&config);
        let others = || Ok(Forced::Left([NodeId(2), NodeId(3)].into()));
        let mark = Mark { at: "cut off".into(), entry: EntryId::new(Term(6), Index(3)) };
        mark.store(&config.data).unwrap();
        assert_eq!(new_cluster(&config, "first"), others());
        append(&config, &[1, 2, 3]);
        assert_eq!(new_cluster(&config, "second"), Ok(Forced::Spent("first".into())));
        assert_eq!((not_asked(&config.data), not_asked(&config.data)), (Ok(true), Ok(false)));
        assert_eq!(new_cluster(&config, "third"), others());
        std::fs::write(config.data.join(FORCED), "at = 1\n").unwrap();
        let refused = new_cluster(&config, "fourth").unwrap_err();
        assert!(
            refused.kind == ServeErrorKind::Damaged && refused.hint.contains("leave the flag out"),
            "{refused}"
        );
        let found = crate::doctor::examine(&config.data).unwrap().findings;
        assert!(found.iter().any(|finding| finding.file == FORCED && finding.harmless), "{found:?}");
        std::fs::remove_dir_all(&config.data).unwrap();
    }

    /// Claim: the flag is spent, too, at a start that had nothing to change: the one member may be one of three at the next.
    #[test]
    fn the_flag_is_spent_where_it_changes_nothing() {
        let config = config("nothing");
        assert_eq!(new_cluster(&config, "first"), Ok(Forced::New));
        three(&config);
        assert_eq!(new_cluster(&config, "second"), Ok(Forced::Spent("first".into())));
        not_asked(&config.data).unwrap();
        append(&config, &[1]);
        assert_eq!(new_cluster(&config, "third"), Ok(Forced::Alone));
        append(&config, &[1, 2, 3]);
        assert_eq!(new_cluster(&config, "fourth"), Ok(Forced::Spent("third".into())));
        std::fs::remove_dir_all(&config.data).unwrap();
    }

    /// Claim: one of three becomes the only member by an entry behind all that it has, with the old ids used up.
    #[test]
    fn a_member_of_three_goes_on_alone_with_all_that_it_has() {
        let config = config("alone");
        three(&config);
        let others = BTreeSet::from([NodeId(2), NodeId(3)]);
        assert_eq!(new_cluster(&config, "then"), Ok(Forced::Left(others)));
        let (after, mut found) = journal(&config);
        let log = found.shards.remove(&KV).unwrap();
        assert_eq!(log.hard, HardState { term: Term(6), vote: Some(NodeId(1)), commit: Index(1) });
        let last = log.entries.last().unwrap();
        assert_eq!((log.entries.len(), last.id), (3, EntryId::new(Term(6), Index(3))));
        let alone = Membership::decode(&last.data).unwrap();
        assert_eq!((alone.nodes(), Book::of(&alone).used), ([NodeId(1)].into(), NodeId(3)));
        drop(after);
        std::fs::remove_dir_all(&config.data).unwrap();
    }
}
