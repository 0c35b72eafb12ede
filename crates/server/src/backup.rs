//! Snapshot files: verified, looked into, and made into the data directory of a node of a new cluster.
//!
//! A file is read once to verify it before anything is written. What is damaged is named by file and offset: each chunk has a
//! checksum of its own, and the whole one more (`quorate_node::backup` draws it).
//!
//! A restored directory holds a checkpoint with the snapshot's state, and a journal whose log begins behind it, with the members
//! of the new cluster as its configuration; names and addresses go into the log once one of them leads, so that all have the
//! same ones. Revisions and leases are as they were. Each member is restored from the same file,
//! with the same members; since all begin at one entry, their logs fit. The new cluster has another identity than the old one,
//! or a node of the old one that comes back would be taken for a member, with a log that goes further.

mod etcd;

use crate::began::Began;
use crate::config::ServerConfig;
use crate::datadir::{DataDir, RESTORING, TAKING_OVER, create_dir_durably};
use crate::disk::FsDisk;
use crate::error::{ServeError, ServeErrorKind};
use etcd::OfEtcd;
use quorate_base::{Base, Mint};
use quorate_lsm::LsmStore;
use quorate_node::backup::{ALIGN, BadHeader, CHUNK_MAX, HEADER, Header, SUM};
use quorate_protocol::raft::Membership;
use quorate_state::kv::{BUMPED_MAX, Contents, Kv, Revision, Survey};
use quorate_storage::journal::{CheckpointMark, Identity, Journal, Options};
use quorate_storage::state::{StateError, StateErrorKind, StateStore};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is in a snapshot file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspected {
    /// Whose it is, in either form; `None` for one of etcd.
    pub header: Option<Header>,
    /// What is in it.
    pub contents: Contents,
    /// Bytes of the file.
    pub size: u64,
}

/// Reads and verifies all of a snapshot file.
pub fn inspect(path: &Path) -> Result<Inspected, ServeError> {
    let (mut found, etcd) = look(path)?;
    if let Some(etcd) = etcd {
        (found.contents.keys, found.contents.changes) = etcd.count()?;
    }
    Ok(found)
}

/// The same, but for how many keys and changes one of etcd has.
fn look(path: &Path) -> Result<(Inspected, Option<OfEtcd>), ServeError> {
    if let Some(etcd) = OfEtcd::open(path)? {
        let found = Inspected { header: etcd.kept.header, contents: etcd.contents()?, size: etcd.size };
        return Ok((found, Some(etcd)));
    }
    let (mut file, mut survey) = (SnapshotFile::open(path)?, Survey::default());
    let header = Some(file.read(|chunk| survey.chunk(chunk))?);
    let contents = survey.finish().map_err(|e| damaged(path, 0, &e.context))?;
    Ok((Inspected { header, contents, size: file.size }, None))
}

/// What is made of a snapshot beside what is in it: the same on each node of the new cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Raises the revision by so much, and compacts all before ([`Kv::bump`]).
    pub bump: Option<u64>,
    /// Goes on without the tables whose items are not in the snapshot ([`Kv::drop_tables_elsewhere`]); without it, a snapshot that
    /// tells of such tables is refused.
    pub drop_tables: bool,
}

/// Makes the data directory of `config`'s node out of a snapshot file. It must not exist, or hold nothing but a restore that was
/// interrupted.
pub fn restore(path: &Path, config: &ServerConfig, changes: Changes) -> Result<Inspected, ServeError> {
    config.check()?;
    let (mut found, etcd) = look(path)?;
    if found.header.is_some_and(|header| header.cluster == config.cluster) {
        return Err(ServeError::new(
            ServeErrorKind::Config,
            format!("{} is of the cluster that it is to be restored into", path.display()),
            "give the new cluster another name with --cluster: a node of the old one could otherwise come back into it",
        ));
    }
    must_have_all(path, &found.contents, changes)?;
    let start = found.contents.revision;
    if changes.bump.is_some_and(|by| bumped(start, by).is_none()) {
        return Err(ServeError::new(
            ServeErrorKind::Config,
            format!("no revision is higher than {BUMPED_MAX}, and the snapshot's is {start}"),
            &format!(
                "raise it by {} at most: as much as may have been written since is enough",
                (BUMPED_MAX - start).max(0)
            ),
        ));
    }
    must_be_new(&config.data)?;
    let base = Base {
        id: found.contents.base.id,
        membership: Membership::of_voters(config.peers.iter().map(|p| p.id)).encode(),
    };
    let making = Making::begin(config, RESTORING, DataDir::open)?;
    let mut kv = making.state()?;
    if let Some(etcd) = etcd {
        match etcd.restore(&mut kv, &base) {
            Ok(counted) => (found.contents.keys, found.contents.changes) = counted,
            Err(error) => return Err(making.given_up(error)),
        }
    } else {
        import(path, &mut kv, &base)?;
    }
    if changes.drop_tables {
        kv.drop_tables_elsewhere();
    }
    if let Some(by) = changes.bump {
        kv.bump(i64::try_from(by).unwrap_or(i64::MAX));
    }
    making.end(kv, base)?;
    Ok(found)
}

fn import(path: &Path, kv: &mut Kv, base: &Base) -> Result<(), ServeError> {
    kv.import_begin().map_err(|e| of_state(&e))?;
    let mut seq = 0;
    SnapshotFile::open(path)?.read(|chunk| {
        let taken = kv.import_chunk(seq, chunk);
        seq += 1;
        taken
    })?;
    kv.import_finish(base.clone()).map_err(|e| of_state(&e))
}

/// A directory that is being made: it counts from its end on.
pub(crate) struct Making {
    data: DataDir,
    marker: PathBuf,
    identity: Identity,
}

impl Making {
    /// Begins, or begins again. The mark comes before all else, and stays where only the directory could not be opened a second time.
    pub(crate) fn begin(
        config: &ServerConfig,
        marker: &str,
        open: fn(&ServerConfig) -> Result<DataDir, ServeError>,
    ) -> Result<Self, ServeError> {
        let again = was_interrupted(&config.data);
        let marker = mark(&config.data, marker)?;
        let data = open(config).inspect_err(|_| {
            if !again {
                let _ = fs::remove_file(&marker);
            }
        })?;
        for part in ["state", "journal"] {
            remove_dir(&data.path().join(part))?;
        }
        Ok(Self { data, marker, identity: Identity { cluster: config.cluster, node: config.node } })
    }

    /// The machine, with nothing in it.
    pub(crate) fn state(&self) -> Result<Kv, ServeError> {
        let options = quorate_lsm::Options::default();
        let mut store = LsmStore::new(&self.data.path().join("state"), self.identity, options);
        let state = store.open(None).map_err(|e| of_state(&e))?;
        Kv::open(crate::run::KV, state).map_err(|e| of_state(&e))
    }

    /// What it is made of is damaged, as was found out on the way: nothing of it stays. Else it stays as it is, to be begun again.
    pub(crate) fn given_up(self, error: ServeError) -> ServeError {
        if error.kind == ServeErrorKind::Damaged {
            let path = self.data.path().to_path_buf();
            let gone = ["state", "journal"].iter().try_for_each(|part| remove_dir(&path.join(part)));
            if gone.is_ok() && self.data.forget() {
                let _ = fs::remove_file(&self.marker);
                // If there was nothing else.
                let _ = fs::remove_dir(&path);
            }
        }
        error
    }

    /// What the machine holds is the directory's, whose log begins behind `base`.
    pub(crate) fn end(self, mut kv: Kv, base: Base) -> Result<(), ServeError> {
        Began::of(&kv).store(self.data.path())?;
        let checkpoint = kv.seal().map_err(|e| of_state(&e))?;
        checkpoint.run(1).map_err(|e| of_state(&e))?;
        restore_journal(self.data.path(), self.identity, base)?;
        fs::remove_file(&self.marker).map_err(|e| io("remove", &self.marker, &e))?;
        // One of the other kind, which was interrupted before.
        for marker in [RESTORING, TAKING_OVER] {
            let _ = fs::remove_file(self.data.path().join(marker));
        }
        sync_dir(self.data.path())
    }
}

/// A snapshot's revision, raised; `None` where that would be higher than any may be.
pub fn bumped(revision: Revision, by: u64) -> Option<Revision> {
    let bumped = revision.checked_add(i64::try_from(by).ok()?)?;
    (bumped <= BUMPED_MAX).then_some(bumped)
}

/// Marks a directory as being restored, before anything else stands in it: whatever is half done at a loss of power is known by it.
fn mark(data: &Path, marker: &str) -> Result<PathBuf, ServeError> {
    create_dir_durably(data).map_err(|e| io("create", data, &e))?;
    let marker = data.join(marker);
    fs::write(&marker, "").map_err(|e| io("write", &marker, &e))?;
    sync_dir(data)?;
    Ok(marker)
}

fn sync_dir(path: &Path) -> Result<(), ServeError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|e| io("sync", path, &e))
}

/// Whether a restore into this directory was interrupted, or a taking over of what etcd has there.
pub(crate) fn was_interrupted(data: &Path) -> bool {
    data.join(RESTORING).exists() || taking_over(data)
}

/// The latter alone.
pub(crate) fn taking_over(data: &Path) -> bool {
    data.join(TAKING_OVER).exists()
}

fn must_be_new(data: &Path) -> Result<(), ServeError> {
    let has = |part: &str| data.join(part).exists();
    if (has("identity") || has("journal") || has("state")) && !was_interrupted(data) {
        return Err(ServeError::new(
            ServeErrorKind::DataDir,
            format!("{} is a node's data directory already", data.display()),
            "restore into a new directory; nothing was changed",
        ));
    }
    Ok(())
}

/// A table whose items are not in the snapshot would be empty in the new cluster, as if it always had been.
fn must_have_all(path: &Path, contents: &Contents, changes: Changes) -> Result<(), ServeError> {
    if contents.elsewhere.is_empty() || changes.drop_tables {
        return Ok(());
    }
    Err(ServeError::new(
        ServeErrorKind::Config,
        format!(
            "{} does not hold the items of tables that have shards of their own: {}",
            path.display(),
            contents.elsewhere.join(", ")
        ),
        "--drop-sharded-tables makes the new cluster without these tables; `quorate space import` brings back one that \
         `quorate space export` had put into files",
    ))
}

fn restore_journal(data: &Path, identity: Identity, base: Base) -> Result<(), ServeError> {
    let disk = Arc::new(FsDisk::new(data));
    let write = || {
        let opened = Journal::open(disk, "journal", identity, Options::default(), Mint::for_journal());
        let mut journal = opened?.0;
        journal.mark_checkpoint(CheckpointMark { generation: 1, bases: vec![(crate::run::KV, base)] })?;
        journal.sync().map(drop)
    };
    write().map_err(|e| ServeError::of_journal(&e))
}

/// A snapshot file while it is read.
struct SnapshotFile {
    path: PathBuf,
    file: BufReader<File>,
    sum: Sha256,
    size: u64,
    at: u64,
}

impl SnapshotFile {
    fn open(path: &Path) -> Result<Self, ServeError> {
        let file = File::open(path).map_err(|e| io("open", path, &e))?;
        let size = file.metadata().map_err(|e| io("read", path, &e))?.len();
        let file = BufReader::with_capacity(1 << 20, file);
        Ok(Self { path: path.to_path_buf(), file, sum: Sha256::new(), size, at: 0 })
    }

    /// Reads all of it and gives each chunk; what does not verify is named by its place.
    fn read(&mut self, mut each: impl FnMut(&[u8]) -> Result<(), StateError>) -> Result<Header, ServeError> {
        let mut head = [0; HEADER];
        self.take(&mut head)?;
        let header = Header::decode(&head).map_err(|e| self.bad_header(e))?;
        loop {
            let begun = self.at;
            let mut length = [0; 4];
            self.take(&mut length)?;
            let length = u32::from_le_bytes(length) as usize;
            if length == 0 {
                break;
            }
            if length > CHUNK_MAX {
                return Err(self.damaged(begun, "the length of a chunk makes no sense"));
            }
            let mut chunk = vec![0; length];
            self.take(&mut chunk)?;
            each(&chunk).map_err(|error| match error.kind {
                StateErrorKind::Damaged => self.damaged(begun, &error.context),
                _ => of_state(&error),
            })?;
        }
        self.end()?;
        Ok(header)
    }

    /// Padding and sum.
    fn end(&mut self) -> Result<(), ServeError> {
        let begun = self.at;
        let mut padding = vec![0; (begun.next_multiple_of(ALIGN) - begun) as usize];
        self.take(&mut padding)?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(self.damaged(begun, "the padding is not empty"));
        }
        let expected = std::mem::take(&mut self.sum).finalize();
        let begun = self.at;
        let mut sum = [0; SUM as usize];
        self.take(&mut sum)?;
        if expected[..] != sum {
            return Err(self.damaged(begun, "the sum over the whole file does not hold"));
        }
        if self.at != self.size {
            return Err(self.damaged(self.at, "more follows the sum"));
        }
        Ok(())
    }

    fn take(&mut self, into: &mut [u8]) -> Result<(), ServeError> {
        match self.file.read_exact(into) {
            Ok(()) => {
                self.at += into.len() as u64;
                self.sum.update(&into);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(self.size, "it ends too early"))
            }
            Err(error) => Err(io("read", &self.path, &error)),
        }
    }

    fn bad_header(&self, error: BadHeader) -> ServeError {
        let path = self.path.display();
        match error {
            BadHeader::Foreign => ServeError::new(
                ServeErrorKind::Config,
                format!("{path} is no snapshot, or its first bytes are damaged"),
                "give a file of `quorate snapshot save` or `etcdctl snapshot save`, from a Quorate node or from etcd",
            ),
            BadHeader::Version(version) => ServeError::new(
                ServeErrorKind::Config,
                format!("{path} has format version {version}, which this release does not read"),
                "use the release that wrote it",
            ),
            BadHeader::Damaged => self.damaged(0, "the header does not verify"),
        }
    }

    fn damaged(&self, at: u64, what: &str) -> ServeError {
        damaged(&self.path, at, what)
    }
}

fn damaged(path: &Path, at: u64, what: &str) -> ServeError {
    ServeError::new(
        ServeErrorKind::Damaged,
        format!("{} at offset {at}: {what}", path.display()),
        "use another snapshot; nothing was changed",
    )
}

pub(crate) fn of_state(error: &StateError) -> ServeError {
    ServeError::new(
        ServeErrorKind::DataDir,
        error.to_string(),
        "mend it, then restore again: the directory goes on being restored until that is through",
    )
}

fn remove_dir(path: &Path) -> Result<(), ServeError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", path, &e)),
        _ => Ok(()),
    }
}

fn io(what: &str, path: &Path, error: &std::io::Error) -> ServeError {
    ServeError::new(ServeErrorKind::DataDir, format!("cannot {what} {}: {error}", path.display()), "")
}
