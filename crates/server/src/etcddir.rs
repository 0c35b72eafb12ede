//! Taking over a data directory of etcd, so that the member goes on with its space, its revisions and leases, under its own id.
//!
//! etcd keeps its space in `member/snap/db` and its log in `member/wal`. The store holds what was applied up to an entry that it names;
//! what the log has behind that is applied here, command for command. That is right where this member alone decides:
//!
//! - It is the only one. What its log holds is committed, or will be as soon as it leads.
//! - The directory was made by a restore, and no member has run since: the log has nothing but the members, the same in all their
//!   directories.
//!
//! Of a cluster of several that has run, the other members' logs may hold what was acknowledged and is not in this one: such a directory
//! is refused, with the way by a snapshot. So are users, whom there are none of here, and whatever does not verify. The pages of the
//! store have no checksums of their own. What can be held against each other is: each change behind the compacted revision follows the
//! one before of its key, revisions ascend, both descriptions of the store are sound; a value alone vouches for itself.
//!
//! etcd's files are only read, and locked against etcd meanwhile. All is read and verified before anything is written; what is written
//! lies beside `member`, and counts once the mark of a restore is taken away, at the end ([`crate::backup`]). Until then the next start
//! begins again. From then on it is this program's directory, and of etcd's files it is only asked whether an etcd went on with them
//! ([`since`]).

mod members;
mod since;
#[cfg(test)]
mod tests;
mod two;
mod wal;

use crate::backup::{self, Making};
use crate::bbolt::{self, Cluster, Kept, Source};
use crate::config::{Peer, ServerConfig};
use crate::datadir::{DataDir, OF_ETCD, TAKING_OVER};
use crate::error::{ServeError, ServeErrorKind};
use bytes::Bytes;
use members::Members;
use quorate_base::{Base, Entry, EntryId, EntryKind, Index, NodeId, Term};
use quorate_protocol::raft::Membership;
use quorate_state::kv::{Beside, Foreign, ForeignPart, KEY_MAX, Kv, Revision};
use quorate_wire::command;
use quorate_wire::kv::{Alarm, AlarmKind, Command, Op, Refused, Txn};
use quorate_wire::members::Book;
use sha2::{Digest, Sha256};
pub(crate) use since::{is_damaged, must_be_as_taken};
use std::fs::{self, File};
use std::path::Path;
use wal::{At, Kind, Wal};

/// The way out where a directory cannot be taken over.
const BY_SNAPSHOT: &str = "start etcd on it again, `etcdctl snapshot save FILE`, and restore that into a new directory: `etcdutl snapshot restore`, whose \
     directories are taken over, or `quorate snapshot restore` for `quorate serve`; nothing was changed";
/// The way out where etcd must judge its own files.
const BY_ETCD: &str = "let etcd start on it once and stop it with SIGTERM, which repairs or refuses it; if etcd refuses it, too, restore a \
     snapshot; nothing was changed";

/// What an entry of etcd's log is: a command, or nothing; in an error, why it cannot be had.
pub type Translate<'t> = dyn Fn(&Bytes) -> Result<Option<Command>, String> + 't;

/// What was taken over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// etcd's id of the cluster.
    pub cluster: u64,
    /// And of the member.
    pub node: NodeId,
    /// All members.
    pub peers: Vec<Peer>,
    /// Those without a vote.
    pub learners: Vec<NodeId>,
    /// The newest revision.
    pub revision: Revision,
    /// How many entries of the log the store did not hold.
    pub entries: usize,
    /// The log ended with a record that was not whole.
    pub torn: bool,
    /// There are users, who do not come along; none was asked for.
    pub users: bool,
}

/// Whether etcd has its files in a directory.
pub fn is_there(data: &Path) -> bool {
    data.join(OF_ETCD).join("snap").is_dir() || data.join(OF_ETCD).join("wal").is_dir()
}

/// Takes over what etcd has in the data directory of `config`, if it has anything and the directory is not this program's already.
/// Where it is `forced`, a member of several goes on as the only one, with what it knows to be committed.
pub fn take_over(
    config: &ServerConfig,
    translate: &Translate<'_>,
    forced: bool,
) -> Result<Option<Taken>, ServeError> {
    let data = &config.data;
    let ours = data.join("identity").exists() || data.join("journal").exists();
    let again = backup::taking_over(data);
    if !is_there(data) || (ours && !again) {
        return Ok(None);
    }
    let (read, _lock) = Read::all(data, translate, forced)?;
    let Read { members, wal, entries, users, .. } = &read;
    let no = |what: String| ServeError::new(ServeErrorKind::DataDir, what, BY_SNAPSHOT);
    let membership = members.membership().map_err(|what| no(format!("{}: {what}", data.display())))?;
    let config = ServerConfig { cluster: wal.cluster, node: NodeId(wal.node), ..config.clone() };
    let revision = write(&config, &read, translate, &membership).map_err(|e| begun(data, e))?;
    let (peers, learners) = listed(&membership);
    let taken = Taken {
        cluster: wal.cluster,
        node: NodeId(wal.node),
        peers,
        learners,
        revision,
        entries: *entries,
        torn: wal.torn.is_some(),
        users: *users,
    };
    Ok(Some(taken))
}

/// What to do where the writing did not come to its end.
fn begun(data: &Path, error: ServeError) -> ServeError {
    if error.kind == ServeErrorKind::Damaged || !backup::taking_over(data) {
        return error;
    }
    let hint = "it was not taken over: what was begun beside etcd's files counts for nothing, and those are as they were. Mend what is in the \
                way (the disk must have room for as much again), and start `quorate etcd` again, which begins anew; or go on with etcd, \
                and delete what stands beside `member`";
    ServeError::new(error.kind, error.message, hint)
}

/// The hint of an error behind a take-over that is complete, where it says that nothing was changed: that would send people back to etcd.
pub fn hint_behind(data: &Path, hint: &str) -> Option<String> {
    let rest =
        hint.strip_prefix("nothing was changed").filter(|_| since::is_taken(data) && is_there(data))?;
    Some(format!(
        "what etcd had here was taken over, all of it: do not start etcd on it any more, but `quorate etcd` again{rest}"
    ))
}

/// All that is in etcd's files, verified.
struct Read {
    store: Source,
    foreign: Foreign,
    /// What stands for all that was done before.
    digest: u64,
    members: Members,
    wal: Wal,
    /// How many there are behind the store's.
    entries: usize,
    /// The last entry in the store.
    applied: EntryId,
    users: bool,
}

impl Read {
    fn all(data: &Path, translate: &Translate<'_>, forced: bool) -> Result<(Self, File), ServeError> {
        let store = data.join(OF_ETCD).join("snap").join("db");
        let lock = lock(&store)?;
        let source = source(&store)?;
        let mut sum = Sha256::new();
        let kept = bbolt::read(&source, &mut |part| {
            add(&mut sum, &part);
            Ok(())
        });
        let Kept { mut foreign, cluster, .. } = kept.map_err(|e| damaged(&store, e.at, &e.what))?;
        if cluster.perhaps_older {
            return Err(damaged(&store, 0, "one of the two descriptions of the store does not verify"));
        }
        if cluster.asks_for_users {
            return Err(ServeError::new(
                ServeErrorKind::DataDir,
                format!("{} asks for users, of whom there are none in this release", store.display()),
                "whoever reaches its ports reads and writes all: where that is meant, `etcdctl auth disable` with etcd, and stop it; \
                 nothing was changed",
            ));
        }
        // Fences and tables are of another moment, if an etcd carries any along.
        foreign.beside = Beside::default();
        foreign.alarms = alarms(&cluster);
        let applied = cluster.applied.unwrap_or(0);
        let log = data.join(OF_ETCD).join("wal");
        let mut wal = wal::read(&log, applied)?;
        no_keys_of_two(data, &wal)?;
        let term = term(&wal, &cluster, applied, &log)?;
        let members = alone_or_new(data, &mut wal, &cluster, applied, forced)?;
        let applied = if applied == 0 { EntryId::ZERO } else { EntryId::new(Term(term), Index(applied)) };
        let digest = digest(sum, &foreign);
        let mut read =
            Self { store: source, foreign, digest, members, wal, entries: 0, applied, users: cluster.users };
        read.entries = read.behind(data, translate, &mut |_| Ok(()))?.1;
        Ok((read, lock))
    }

    /// Gives the entries of the log behind the store's last, as entries of this program; the last one, and how many there are. They may be
    /// more than fit into memory.
    fn behind(
        &self,
        data: &Path,
        translate: &Translate<'_>,
        each: &mut dyn FnMut(&Entry) -> Result<(), ServeError>,
    ) -> Result<(EntryId, usize), ServeError> {
        let (mut last, mut count) = (self.applied, 0);
        for at in self.wal.entries.iter().filter(|at| at.index > self.applied.index.get()) {
            let entry = command(data, &self.wal, at, translate)?;
            each(&entry)?;
            (last, count) = (entry.id, count + 1);
        }
        Ok((last, count))
    }
}

/// Keys of version 2 would be lost, in what the store has applied as in what it has not.
fn no_keys_of_two(data: &Path, wal: &Wal) -> Result<(), ServeError> {
    let (kept, upto) = two::kept(&data.join(OF_ETCD).join("snap"))?;
    let logged = wal.two.as_ref().filter(|(index, _)| *index > upto).map(|(_, key)| key.clone());
    let Some(key) = kept.or(logged) else { return Ok(()) };
    Err(ServeError::new(
        ServeErrorKind::DataDir,
        format!("{} has keys of etcd's version 2, as {key:?}, of which there are none here", data.display()),
        "where they are not needed any more, start etcd on it once more with --enable-v2 and delete them, let it take so many writes that it \
         makes a snapshot (--snapshot-count), and stop it; or take `etcdctl snapshot save`, which has only keys of version 3; nothing was changed",
    ))
}

fn source(store: &Path) -> Result<Source, ServeError> {
    let file = File::open(store).map_err(|e| io("open", store, &e))?;
    let len = file.metadata().map_err(|e| io("read", store, &e))?.len();
    Ok(Source::File(file, len))
}

/// etcd has its store locked while it runs.
fn lock(store: &Path) -> Result<File, ServeError> {
    let file = File::open(store).map_err(|e| io("open", store, &e))?;
    match file.try_lock_shared() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(ServeError::new(
            ServeErrorKind::DataDir,
            format!("{} is in use: an etcd runs on this directory", store.display()),
            "stop that etcd first",
        )),
        Err(fs::TryLockError::Error(e)) => Err(io("lock", store, &e)),
    }
}

fn alarms(cluster: &Cluster) -> Vec<Alarm> {
    let known = |&(member, kind): &(u64, i32)| {
        let kind = u8::try_from(kind).ok().and_then(AlarmKind::from_u8)?;
        Some(Alarm { kind, member })
    };
    cluster.alarms.iter().filter_map(known).collect()
}

/// The term of the last entry in the store.
fn term(wal: &Wal, cluster: &Cluster, applied: u64, log: &Path) -> Result<u64, ServeError> {
    let (last, newest) = wal.last;
    let behind = wal.entries.iter().find(|at| at.index == applied + 1);
    if applied > last
        || (applied < last && behind.is_none())
        || wal.first.is_some_and(|first| first > applied + 1)
    {
        return Err(damaged(log, 0, "the entries that follow those in the store are not there"));
    }
    let most = behind.map_or(newest, |at| at.term);
    // Earlier releases have none in the store; any up to that of the next entry is as good.
    Ok(cluster.term.filter(|&term| term > 0).unwrap_or(most).min(most))
}

/// The members, if this directory may be taken over by them.
fn alone_or_new(
    data: &Path,
    wal: &mut Wal,
    cluster: &Cluster,
    applied: u64,
    forced: bool,
) -> Result<Members, ServeError> {
    let store = data.join(OF_ETCD).join("snap").join("db");
    let log = data.join(OF_ETCD).join("wal");
    let stored = Members::stored(&cluster.members, &cluster.removed);
    let stored = stored.ok_or_else(|| damaged(&store, 0, "a member is malformed"))?;
    // A log from its first entry on knows them all. The store of an earlier release may still have those from before a restore.
    let whole = wal.first.is_none_or(|first| first == 1);
    let mut members = if whole { Members::default() } else { stored.clone() };
    let mut alone = true;
    let changes = wal.entries.iter().filter(|at| at.kind == Kind::Change);
    for at in changes.filter(|at| whole || at.index > applied) {
        // Others that the store still has may have decided more than stands here, whatever this log says of them behind that.
        alone &= at.index <= applied || members.len() == 0 || members.is_only(wal.node);
        if !members.change(&wal.data(at)?) {
            return Err(damaged(&log, 0, "a change of members makes no sense"));
        }
        alone &= at.index <= applied || members.is_only(wal.node);
    }
    alone &= members.is_only(wal.node);
    members.name(&stored);
    let new = whole && wal.normal == 0 && wal.commit == wal.last.0;
    if !members.contains(wal.node) {
        let what = format!("the member {:x} of {} was removed from its cluster", wal.node, data.display());
        return Err(ServeError::new(
            ServeErrorKind::DataDir,
            what,
            "choose an empty directory; nothing was changed",
        ));
    }
    if alone || (new && !forced) {
        return Ok(members);
    }
    if forced {
        // As etcd does: what is not known to be committed may be another's.
        let committed = wal.commit.max(applied);
        wal.entries.retain(|at| at.index <= committed);
        members.leave_alone(wal.node);
        return Ok(members);
    }
    Err(ServeError::new(
        ServeErrorKind::DataDir,
        format!(
            "{} is that of a member of a cluster of {}, which has run: others may hold what was acknowledged and is not in this log",
            data.display(),
            members.len()
        ),
        BY_SNAPSHOT,
    ))
}

/// What stands in an entry of the log, as an entry of this program.
fn command(data: &Path, wal: &Wal, at: &At, translate: &Translate<'_>) -> Result<Entry, ServeError> {
    let id = EntryId::new(Term(at.term), Index(at.index));
    let told = match at.kind {
        Kind::Change => Ok(None),
        Kind::Normal => translate(&wal.data(at)?.into()),
    };
    let told = told.and_then(|command| match command {
        Some(command) if !fits(&command) => Err(format!("a key is longer than {KEY_MAX} bytes")),
        command => Ok(command),
    });
    let told = told.map_err(|why| {
        let what = format!("{}: the entry {} of its log cannot be had here: {why}", data.display(), at.index);
        ServeError::new(ServeErrorKind::DataDir, what, BY_SNAPSHOT)
    })?;
    Ok(match told {
        None => Entry { id, kind: EntryKind::Empty, data: Bytes::new() },
        Some(command) => {
            Entry { id, kind: EntryKind::Command, data: command::encode(NodeId(0), 0, &command) }
        }
    })
}

/// Whether its keys are no longer than the state takes.
fn fits(command: &Command) -> bool {
    fn all_fit(txn: &Txn) -> bool {
        txn.success.iter().chain(&txn.failure).all(|op| match op {
            Op::Put(put) => put.key.len() <= KEY_MAX,
            Op::Txn(inner) => all_fit(inner),
            Op::Range(_) | Op::Delete(_) => true,
        })
    }
    match command {
        Command::Put(put) => put.key.len() <= KEY_MAX,
        Command::Txn(txn) => all_fit(txn),
        _ => true,
    }
}

/// What stands for all that was done before: equal where the space is, also where the file is not.
fn digest(versions: Sha256, foreign: &Foreign) -> u64 {
    let mut sum = Sha256::new();
    for number in [foreign.revision, foreign.compacted, foreign.leases.len() as i64] {
        sum.update(number.to_le_bytes());
    }
    for &(id, ttl, remaining) in &foreign.leases {
        for number in [id, ttl, remaining] {
            sum.update(number.to_le_bytes());
        }
    }
    sum.update(versions.finalize());
    sum.finalize().iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// Adds a version to the sum of all of them.
fn add(sum: &mut Sha256, part: &ForeignPart) {
    let ForeignPart::Version(version) = part else { return };
    let pair = version.pair.as_ref();
    let numbers = [
        version.revision,
        i64::from(version.sub),
        version.key.len() as i64,
        pair.map_or(-1, |pair| pair.value.len() as i64),
        pair.map_or(0, |pair| pair.lease),
    ];
    for number in numbers {
        sum.update(number.to_le_bytes());
    }
    sum.update(&version.key);
    sum.update(pair.map_or(&b""[..], |pair| &pair.value));
}

/// Writes all of it; the revision that it comes to.
fn write(
    config: &ServerConfig,
    read: &Read,
    translate: &Translate<'_>,
    membership: &Membership,
) -> Result<Revision, ServeError> {
    let making = Making::begin(config, TAKING_OVER, DataDir::beside_etcd)?;
    let mut kv = making.state()?;
    let begun = Base { id: read.applied, membership: membership.encode() };
    if let Err(error) = adopt(config, read, &mut kv, &begun) {
        return Err(making.given_up(error));
    }
    let log = config.data.join(OF_ETCD).join("wal");
    let (last, _) = read.behind(&config.data, translate, &mut |entry| apply(&mut kv, entry, &log))?;
    let revision = kv.revision();
    since::keep(&config.data)?;
    making.end(kv, Base { id: last, ..begun })?;
    Ok(revision)
}

fn adopt(config: &ServerConfig, read: &Read, kv: &mut Kv, base: &Base) -> Result<(), ServeError> {
    let store = config.data.join(OF_ETCD).join("snap").join("db");
    let adopting = kv.adopt(&read.foreign, read.applied, read.digest);
    let mut adopting = adopting.map_err(|e| damaged(&store, 0, &e.context))?;
    let mut sum = Sha256::new();
    let again = bbolt::read(&read.store, &mut |part| {
        add(&mut sum, &part);
        // Fences and tables are of another moment, if an etcd carries any along.
        if matches!(part, ForeignPart::Beside(..)) { Ok(()) } else { adopting.part(part) }
    });
    again.map_err(|e| match &e.untaken {
        Some(error) if !error.damaged() => backup::of_state(error),
        _ => damaged(&store, e.at, &e.what),
    })?;
    if digest(sum, &read.foreign) != read.digest {
        return Err(damaged(&store, 0, "it is not the same twice"));
    }
    adopting.finish(base).map(drop).map_err(|e| backup::of_state(&e))
}

/// What etcd's apply refuses is refused here, too; what only this program refuses would be lost.
fn apply(kv: &mut Kv, entry: &Entry, log: &Path) -> Result<(), ServeError> {
    let applied = kv.apply(entry).map_err(|e| backup::of_state(&e))?;
    match applied.outcome {
        Err(why @ (Refused::KeyTooLong | Refused::UnknownCommand | Refused::TooManyAlarms)) => {
            let what =
                format!("the entry {} of {} cannot be had here: {why:?}", entry.id.index, log.display());
            Err(ServeError::new(ServeErrorKind::DataDir, what, ""))
        }
        _ => Ok(()),
    }
}

/// The members as a configuration lists them, and those without a vote.
fn listed(membership: &Membership) -> (Vec<Peer>, Vec<NodeId>) {
    let bare = |url: &str| url.trim_start_matches("http://").trim_end_matches('/').to_string();
    let peer = |(id, info): (NodeId, quorate_wire::members::Info)| Peer {
        id,
        name: info.name,
        address: info.peer_urls.first().map(|url| bare(url)).unwrap_or_default(),
        client_url: info.client_urls.into_iter().next().unwrap_or_default(),
    };
    let peers = Book::of(membership).members.into_iter().map(peer).collect();
    (peers, membership.learners.iter().copied().collect())
}

fn damaged(path: &Path, at: u64, what: &str) -> ServeError {
    ServeError::new(ServeErrorKind::Damaged, format!("{} at offset {at}: {what}", path.display()), BY_ETCD)
}

fn io(what: &str, path: &Path, error: &std::io::Error) -> ServeError {
    let hint =
        "etcd's directory must be whole, and this user must be allowed to read it; nothing was changed";
    ServeError::new(ServeErrorKind::DataDir, format!("cannot {what} {}: {error}", path.display()), hint)
}
