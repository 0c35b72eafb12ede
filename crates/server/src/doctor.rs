//! The doctor: reads every record and file of a data directory that no node uses, and names what is damaged. It changes nothing,
//! not even the lock.
//!
//! What it reads: the identity; every batch of the journal, in the way a start does, and the second record of votes; in it every
//! configuration, with the book of its members; of every checkpoint the manifest, every small file, every block of every table and its end; the notes of peers. What it does not: the
//! directory `live`, which each start makes anew from a checkpoint, and the journal's spare segment.

use crate::datadir::{self, Identity};
use crate::error::{ServeError, ServeErrorKind};
use crate::{met, promised, readings};
use quorate_base::disk::{Disk, DiskError, DiskErrorKind, DiskResult, File};
use quorate_base::{EntryKind, NodeId};
use quorate_protocol::raft::Membership;
use quorate_storage::journal::{self, ShardLog};
use quorate_wire::members::Book;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Whose directory it is: cluster and node, where that can be read.
    pub owner: Option<(u64, NodeId)>,
    /// The checkpoint that the journal names.
    pub checkpoint: Option<u64>,
    /// Entries of the log behind it.
    pub entries: u64,
    /// The newest configuration in it, where one can be read.
    pub members: Option<Members>,
    /// Files of checkpoints that were read, and bytes of them.
    pub files: u64,
    /// See `files`.
    pub bytes: u64,
    /// What is damaged, harmless or not.
    pub findings: Vec<Finding>,
}

/// Who the members are, as the newest configuration of a log says; it need not be committed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    /// All of them, in the order of their ids.
    pub nodes: Vec<NodeId>,
    /// Those of them that have no vote.
    pub learners: Vec<NodeId>,
    /// A change of voters is under way.
    pub joint: bool,
    /// Whose directory it is was a member and is none any more.
    pub removed: bool,
}

/// A place that is damaged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The file, below the directory.
    pub file: String,
    /// Where in it, if that can be told.
    pub offset: Option<u64>,
    /// What is wrong, and what comes of it.
    pub what: String,
    /// The same is known from another place: a start mends it without loss.
    pub harmless: bool,
}

impl Report {
    /// Nothing is damaged but what costs nothing.
    pub fn is_healthy(&self) -> bool {
        self.findings.iter().all(|finding| finding.harmless)
    }

    fn find(
        &mut self,
        file: impl Into<String>,
        offset: Option<u64>,
        what: impl Into<String>,
        harmless: bool,
    ) {
        self.findings.push(Finding { file: file.into(), offset, what: what.into(), harmless });
    }
}

/// Reads all of `dir`. An error says that it is in use, is no data directory, or cannot be read.
pub fn examine(dir: &Path) -> Result<Report, ServeError> {
    let _free = datadir::must_be_free(dir)?;
    let mut report = Report::default();
    let identity = match Identity::load(dir) {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            let message = format!("{} holds no node's identity", dir.display());
            let hint = "give a node's data directory, as in quorate-data/n1";
            return Err(ServeError::new(ServeErrorKind::DataDir, message, hint));
        }
        Err(error) if error.kind == ServeErrorKind::Damaged => {
            report.find("identity", Some(0), "it is damaged; without it nothing else can be verified", false);
            return Ok(report);
        }
        Err(error) => return Err(error),
    };
    let owner = (identity.cluster(), identity.node());
    report.owner = Some(owner);
    let owner = journal::Identity { cluster: owner.0, node: owner.1 };
    examine_journal(dir, owner, &mut report)?;
    examine_state(dir, owner, &mut report)?;
    for note in met::damaged(dir) {
        report.find(format!("met/{note}"), Some(0), "a note of a peer is damaged; it is written anew", true);
    }
    if readings::is_damaged(dir) {
        report.find("clock", Some(0), "the bound of the hybrid clock is damaged; it is noted anew", true);
    }
    if promised::is_damaged(dir) {
        let what =
            "what the node may have promised to leases is damaged; it is taken for the longest there is";
        report.find(promised::NAME, Some(0), what, true);
    }
    if crate::began::is_damaged(dir) {
        let what =
            "the note of what it began with is damaged; peers that began otherwise are not known by it";
        report.find(datadir::BEGAN, Some(0), what, true);
    }
    if crate::force::is_damaged(dir) {
        let what =
            "the note that --force-new-cluster was done is damaged; a start without the flag takes it away";
        report.find(datadir::FORCED, Some(0), what, true);
    }
    if crate::etcddir::is_damaged(dir) {
        let what = "how etcd's log ended when it was taken over is damaged; once `member` is moved away, it is not asked for";
        report.find(datadir::FROM_ETCD, Some(0), what, false);
    }
    if crate::backup::taking_over(dir) {
        report.find(
            "taking-over",
            None,
            "the taking over of what etcd has here was interrupted; start `quorate etcd` again",
            false,
        );
    } else if crate::backup::was_interrupted(dir) {
        report.find("restoring", None, "the restore of a snapshot was interrupted; run it again", false);
    }
    Ok(report)
}

fn examine_journal(dir: &Path, owner: journal::Identity, report: &mut Report) -> Result<(), ServeError> {
    if !dir.join("journal").exists() {
        if dir.join("state").exists() {
            report.find("journal", None, "it is missing, though this node has run before", false);
        }
        return Ok(());
    }
    let found = match journal::examine(&Looking(dir.to_path_buf()), "journal", owner) {
        Ok(found) => found,
        Err(journal::JournalError::Damaged(damage)) => {
            report.find(damage.file, Some(damage.offset), damage.what, false);
            return Ok(());
        }
        Err(error) => return Err(ServeError::of_journal(&error)),
    };
    for (damage, harmless) in
        found.damage.iter().map(|d| (d, false)).chain(found.harmless.iter().map(|d| (d, true)))
    {
        report.find(damage.file.clone(), Some(damage.offset), damage.what, harmless);
    }
    report.entries = found.shards.values().map(|log| log.entries.len() as u64).sum();
    for log in found.shards.values() {
        examine_members(log, owner.node, report);
    }
    report.checkpoint = found.checkpoint.map(|mark| mark.generation).filter(|&generation| generation > 0);
    Ok(())
}

/// Every record verified before it was written: what cannot be read here was written by a newer release, or is a mistake of ours.
fn examine_members(log: &ShardLog, owner: NodeId, report: &mut Report) {
    let base = (log.base.id.index, &log.base.membership);
    let entries = log.entries.iter().filter(|entry| entry.kind == EntryKind::Membership);
    let all = std::iter::once(base).filter(|_| log.based).chain(entries.map(|e| (e.id.index, &e.data)));
    for (index, bytes) in all.filter(|(_, bytes)| !bytes.is_empty()) {
        if let Some(members) = configuration(bytes, owner) {
            report.members = Some(members);
        } else {
            let what =
                format!("the configuration of the members at entry {index} cannot be read by this release");
            report.find("journal", None, what, false);
        }
    }
}

fn configuration(bytes: &[u8], owner: NodeId) -> Option<Members> {
    let membership = Membership::decode(bytes)?;
    let removed = match &membership.book {
        book if book.is_empty() => false,
        book => Book::decode(book).ok()?.was_removed(&membership, owner),
    };
    let nodes: Vec<NodeId> = membership.nodes().into_iter().collect();
    let learners = nodes.iter().copied().filter(|&id| membership.is_learner(id)).collect();
    Some(Members { nodes, learners, joint: membership.is_joint(), removed })
}

fn examine_state(dir: &Path, owner: journal::Identity, report: &mut Report) -> Result<(), ServeError> {
    let state = dir.join("state");
    let found = quorate_lsm::examine(&state, owner, report.checkpoint).map_err(|e| {
        ServeError::new(ServeErrorKind::DataDir, format!("cannot read {}: {e}", state.display()), "")
    })?;
    (report.files, report.bytes) = (found.files, found.bytes);
    if let Some(named) = report.checkpoint.filter(|named| !found.generations.contains(named)) {
        let what = "the checkpoint that the journal names is missing";
        report.find(format!("state/{named:016}"), None, what, false);
    }
    for fault in found.faults {
        let path = fault.path.strip_prefix(dir).unwrap_or(&fault.path).display().to_string();
        // One that the journal does not name is not opened.
        let unused = report.checkpoint.is_some_and(|named| !path.contains(&format!("/{named:016}/")));
        report.find(path, fault.offset, fault.what, unused && fault.path.parent() != Some(&state));
    }
    Ok(())
}

/// A disk that can be looked at and no more.
struct Looking(PathBuf);

struct Seen(fs::File, PathBuf);

fn failed(path: &Path, error: &std::io::Error) -> DiskError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => DiskErrorKind::NotFound,
        _ => DiskErrorKind::Io,
    };
    DiskError { kind, context: format!("read {}", path.display()), message: error.to_string() }
}

fn refused<T>(call: &str) -> DiskResult<T> {
    let message = "nothing is written here".to_string();
    Err(DiskError { kind: DiskErrorKind::Io, context: call.to_string(), message })
}

impl Disk for Looking {
    fn create(&self, _: &str, _: u64) -> DiskResult<Box<dyn File>> {
        refused("create")
    }

    fn open(&self, path: &str) -> DiskResult<Box<dyn File>> {
        let path = self.0.join(path);
        match fs::File::open(&path) {
            Ok(file) => Ok(Box::new(Seen(file, path))),
            Err(error) => Err(failed(&path, &error)),
        }
    }

    fn create_dir(&self, _: &str) -> DiskResult<()> {
        refused("create_dir")
    }

    fn list(&self, dir: &str) -> DiskResult<Vec<String>> {
        let path = self.0.join(dir);
        let entries = fs::read_dir(&path).and_then(|entries| {
            entries
                .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
                .collect::<std::io::Result<Vec<_>>>()
        });
        let mut names = entries.map_err(|e| failed(&path, &e))?;
        names.sort();
        Ok(names)
    }

    fn rename(&self, _: &str, _: &str) -> DiskResult<()> {
        refused("rename")
    }

    fn remove(&self, _: &str) -> DiskResult<()> {
        refused("remove")
    }

    fn sync_dir(&self, _: &str) -> DiskResult<()> {
        refused("sync_dir")
    }
}

impl File for Seen {
    fn size(&self) -> DiskResult<u64> {
        self.0.metadata().map(|meta| meta.len()).map_err(|e| failed(&self.1, &e))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> DiskResult<()> {
        self.0.read_exact_at(buf, offset).map_err(|e| failed(&self.1, &e))
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> DiskResult<()> {
        refused("write")
    }

    fn sync(&mut self) -> DiskResult<()> {
        refused("sync")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use quorate_base::{Base, Entry, EntryId, Index, Term};

    /// Claim: each small file beside journal and state that makes no sense is named, and so is a half-made directory.
    #[test]
    fn small_files_that_make_no_sense_are_named() {
        let dir = std::env::temp_dir().join(format!("quorate-doctor-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let config = crate::config::ServerConfig { data: dir.clone(), ..crate::config::tests::good() };
        drop(datadir::DataDir::open(&config).unwrap_or_else(|error| panic!("{error}")));
        let examined = || examine(&dir).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(examined().findings, []);
        let small = ["began", "clock", "forced", "from-etcd", "met/2", "promised"];
        let write = |name: &str| {
            let path = dir.join(name);
            let made =
                path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, "x = 1\n"));
            assert!(made.is_ok(), "{made:?}");
        };
        small.into_iter().for_each(write);
        let mut named: Vec<String> = examined().findings.into_iter().map(|finding| finding.file).collect();
        named.sort();
        assert_eq!(named, small);
        for mark in [datadir::RESTORING, datadir::TAKING_OVER] {
            write(mark);
            let found = examined();
            assert!(!found.is_healthy() && found.findings.iter().any(|f| f.file == mark), "{found:?}");
        }
        let _ = fs::remove_dir_all(&dir);
    }

    /// Claim: configurations of both forms are read, with the book where there is one; one that is neither, or whose book makes
    /// no sense, is named by its entry.
    #[test]
    fn configurations_are_read_and_what_is_none_is_named() {
        let me = NodeId(3);
        let plain = Membership::of_voters([1, 2, 3].map(NodeId));
        let book = Book { used: NodeId(4), ..Book::default() }.encode().unwrap_or_default();
        let left = Membership { book, ..Membership::of_voters([1, 2].map(NodeId)) };
        let torn = Membership { book: Bytes::from_static(b"no book"), ..plain.clone() };
        let examined = |data: &[Bytes]| {
            let entries = data.iter().enumerate().map(|(at, data)| Entry {
                id: EntryId::new(Term(1), Index(at as u64 + 8)),
                kind: EntryKind::Membership,
                data: data.clone(),
            });
            let base = Base { id: EntryId::new(Term(1), Index(7)), membership: plain.encode() };
            let log = ShardLog { base, based: true, entries: entries.collect(), ..ShardLog::default() };
            let mut report = Report::default();
            examine_members(&log, me, &mut report);
            report
        };
        let all = Members { nodes: [1, 2, 3].map(NodeId).into(), ..Members::default() };
        assert_eq!(examined(&[]).members, Some(all.clone()));
        let gone = Members { nodes: [1, 2].map(NodeId).into(), removed: true, ..Members::default() };
        let found = examined(&[left.encode()]);
        assert!(found.members == Some(gone) && found.is_healthy(), "{found:?}");
        let joint = examined(&[plain.joint(&left).encode()]).members;
        assert!(joint.is_some_and(|m| m.joint && !m.removed && m.nodes == all.nodes));
        for bad in [torn.encode(), Bytes::from_static(&[9, 0])] {
            let found = examined(&[bad]);
            assert!(!found.is_healthy() && found.findings[0].what.contains("at entry 8"), "{found:?}");
            assert_eq!(found.members, Some(all.clone()), "the one before it");
        }
    }
}
