//! A cluster whose majority is lost for good goes on as one member: `--force-new-cluster`.
//!
//! Before the node starts, its log gets one more entry: a configuration of this member alone, in a term of its own, for which it has
//! voted. What stands in the log before that is kept, also what was not known to be committed: it may have been acknowledged. What
//! others had acknowledged and this one never got is lost, and no check can tell. So it is never done unasked; and the former members
//! must not come back: who comes with an old id is told that it was removed, but a majority of them would go on by themselves.

use crate::config::ServerConfig;
use crate::datadir::{self, DataDir};
use crate::disk::FsDisk;
use crate::error::{ServeError, ServeErrorKind};
use crate::run::KV;
use quorate_base::{Append, Entry, EntryId, EntryKind, HardState, Index, Mint, NodeId, Term, WriteId};
use quorate_protocol::raft::Membership;
use quorate_storage::journal::{Identity, Journal, Options, Recovered, ShardLog};
use quorate_wire::members::Book;
use std::collections::BTreeSet;
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
}

/// Makes the node whose data are in `config`'s directory the only member of its cluster. It must not run.
pub fn new_cluster(config: &ServerConfig) -> Result<Forced, ServeError> {
    if datadir::owner(&config.data)?.is_none() || crate::backup::was_interrupted(&config.data) {
        return Ok(Forced::New);
    }
    let data = DataDir::open(config)?;
    let identity = Identity { cluster: config.cluster, node: config.node };
    let disk = Arc::new(FsDisk::new(data.path()));
    let opened = Journal::open(disk, "journal", identity, Options::default(), Mint::for_journal());
    let (mut journal, mut found) = opened.map_err(|e| ServeError::of_journal(&e))?;
    let log = whole_log(config, &mut found, data.withholds())?;
    let newest = log.entries.iter().rev().find(|entry| entry.kind == EntryKind::Membership);
    let newest = newest.map_or(&log.base.membership, |entry| &entry.data);
    let Some(before) = Membership::decode(newest) else {
        return Err(no(config, "who the members are cannot be read"));
    };
    let own = BTreeSet::from([config.node]);
    if before.nodes() == own && before.voters == own {
        return Ok(Forced::Alone);
    }
    if !before.contains(config.node) {
        return Err(no(config, "this node was removed from its cluster"));
    }
    let last = log.entries.last().map_or(log.base.id, |entry| entry.id);
    let append = alone(config.node, &before, log.hard, last);
    journal.append(&[append]).and_then(|()| journal.sync()).map_err(|e| ServeError::of_journal(&e))?;
    Ok(Forced::Left(before.nodes().difference(&own).copied().collect()))
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

    /// Claim: one of three becomes the only member by an entry behind all that it has, with the old ids used up; a second time nothing is
    /// changed, and where there are no data nothing is made.
    #[test]
    fn a_member_of_three_goes_on_alone_with_all_that_it_has() {
        let name = format!("quorate-force-{}", std::process::id());
        let mut config = good();
        config.data = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&config.data);
        assert_eq!(new_cluster(&config), Ok(Forced::New));
        assert!(!config.data.exists());
        drop(DataDir::open(&config).unwrap());
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
        let (mut before, _) = journal(&config);
        before.mark_checkpoint(CheckpointMark { generation: 0, bases: vec![(KV, base)] }).unwrap();
        before.append(&[append]).unwrap();
        before.sync().unwrap();
        drop(before);
        let others = BTreeSet::from([NodeId(2), NodeId(3)]);
        assert_eq!(new_cluster(&config), Ok(Forced::Left(others)));
        let (after, mut found) = journal(&config);
        let log = found.shards.remove(&KV).unwrap();
        assert_eq!(log.hard, HardState { term: Term(6), vote: Some(NodeId(1)), commit: Index(1) });
        let last = log.entries.last().unwrap();
        assert_eq!((log.entries.len(), last.id), (3, EntryId::new(Term(6), Index(3))));
        let alone = Membership::decode(&last.data).unwrap();
        assert_eq!((alone.nodes(), Book::of(&alone).used), ([NodeId(1)].into(), NodeId(3)));
        drop(after);
        assert_eq!(new_cluster(&config), Ok(Forced::Alone));
        std::fs::remove_dir_all(&config.data).unwrap();
    }
}
