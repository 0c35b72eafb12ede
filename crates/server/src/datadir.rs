//! A node's data directory: whose it is, and that one process uses it.
//!
//! Two small files stand beside what the journal and the state keep there:
//!
//! - `lock` is held by `flock` for as long as the process lives and names its pid, so that a second process is told who
//!   has it. The lock is the kernel's: a crash leaves none behind.
//! - `identity` says in checksummed text which node of which cluster this is, in which format it is kept, and its *life*: a
//!   number drawn when it was made, by which peers tell it from another of the same node ([`crate::met`]). It is written once,
//!   before anything else, and never again: a directory that is not this node's, is damaged, or is newer than this program is
//!   refused before a byte of it changes.
//!
//! A directory that was made because the node's former one is lost says so in `data-lost`, for ever, and in `withholds`, until
//! its peers have healed it. Both are there before the identity is.

use crate::began::Began;
use crate::config::ServerConfig;
use crate::durable;
use crate::error::{ServeError, ServeErrorKind};
use crate::met::Met;
use crate::sealed;
use quorate_base::{NodeId, Term};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The format of the directory as a whole. A newer one is refused, an older one is read.
pub const FORMAT: u32 = 1;
const IDENTITY: &str = "identity";
const LOCK: &str = "lock";
/// Stands in a directory while a snapshot is restored into it.
pub(crate) const RESTORING: &str = "restoring";
/// Stands in a directory while what etcd has in it is taken over.
pub(crate) const TAKING_OVER: &str = "taking-over";
/// What may lie in a directory that is not yet a node's: the lock, a half-written identity, the mark of a restore (which
/// comes before all else), the log of a supervisor, and what file systems put at their root.
const HARMLESS: [&str; 15] = [
    LOCK,
    "identity.new",
    RESTORING,
    TAKING_OVER,
    "log",
    "log.old",
    "lost+found",
    DATA_LOST,
    WITHHOLDS,
    FORCED,
    "forced.new",
    FROM_ETCD,
    "from-etcd.new",
    BEGAN,
    "began.new",
];
/// Says that `--force-new-cluster` had its effect, so that it has none at the next start ([`crate::force`]).
pub(crate) const FORCED: &str = "forced";
/// What etcd has in its data directory.
pub(crate) const OF_ETCD: &str = "member";
/// How that ended when it was taken over.
pub(crate) const FROM_ETCD: &str = "from-etcd";
/// With what it began ([`crate::began`]).
pub(crate) const BEGAN: &str = "began";
/// Stands where `quorate up` keeps a cluster, beside its nodes' directories.
pub const CLUSTER: &str = "cluster.toml";
/// The node ran before, with a directory that is lost.
const DATA_LOST: &str = "data-lost";
/// And it may still have forgotten what it promised then.
const WITHHOLDS: &str = "withholds";

/// What tells a directory from every other one of the same node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// Drawn when it was made.
    pub number: u64,
    /// It was made because the former one is lost, and the node knows that it has forgotten what it promised.
    pub taken_back: bool,
}

/// An opened data directory; dropping it gives it free.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    life: Life,
    _lock: File,
}

impl DataDir {
    /// Opens the directory of `config`'s node, or makes it.
    pub fn open(config: &ServerConfig) -> Result<Self, ServeError> {
        Self::open_beside(config, None)
    }

    /// The same, beside what etcd has in it.
    pub(crate) fn beside_etcd(config: &ServerConfig) -> Result<Self, ServeError> {
        Self::open_beside(config, Some(OF_ETCD))
    }

    fn open_beside(config: &ServerConfig, other: Option<&str>) -> Result<Self, ServeError> {
        let path = config.data.clone();
        // Randomly seeded by the standard library, for each process anew.
        let life = RandomState::new().build_hasher().finish();
        let wanted = Identity { format: FORMAT, cluster: config.cluster, node: config.node.get(), life };
        // What is refused is left as it was, without a lock in it.
        if path.is_dir() {
            match Identity::load(&path)? {
                Some(found) => {
                    found.must_fit(&wanted, &path)?;
                    if other.is_none() {
                        crate::etcddir::must_be_as_taken(&path)?;
                    }
                }
                None => must_be_unused(&path, other)?,
            }
        }
        create_dir_durably(&path).map_err(|e| io(&path, "create", &e))?;
        let lock = lock_dir(&path)?;
        let identity = if let Some(found) = Identity::load(&path)? {
            found.must_fit(&wanted, &path)?;
            found
        } else {
            must_be_unused(&path, other)?;
            if config.data_lost {
                mark(&path, WITHHOLDS)?;
                mark(&path, DATA_LOST)?;
            } else if !config.joins && !config.learners.contains(&config.node) {
                Began::EMPTY.store(&path)?;
            }
            wanted.store(&path)?;
            wanted
        };
        let life = Life { number: identity.life, taken_back: path.join(DATA_LOST).exists() };
        Ok(Self { path, life, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells it from every other directory of the same node.
    pub fn life(&self) -> Life {
        self.life
    }

    /// Whether the node may have forgotten everything that it promised, with the directory that it had before.
    pub fn withholds(&self) -> bool {
        self.path.join(WITHHOLDS).exists()
    }

    /// It is no node's any more; false where that cannot be done.
    pub(crate) fn forget(self) -> bool {
        let gone = |name: &str| match fs::remove_file(self.path.join(name)) {
            Err(error) => error.kind() == ErrorKind::NotFound,
            Ok(()) => true,
        };
        gone(IDENTITY) && gone(BEGAN) && gone(LOCK)
    }

    /// Refuses `--data-lost` where it comes too late: the directory was made before it was given, so that peers that know another
    /// one turn this away, and the node has never had to do with anybody since. What has run knows a term.
    pub(crate) fn must_be_marked(&self, config: &ServerConfig, term: Term) -> Result<(), ServeError> {
        if !config.data_lost || self.life.taken_back || term > Term(0) {
            return Ok(());
        }
        let dir = self.path.display();
        Err(ServeError::new(
            ServeErrorKind::DataDir,
            format!("{dir} was made by a start without --data-lost, and there is nothing in it"),
            &format!(
                "delete {dir}, and start the node with --data-lost again: its peers take back only what was made with it"
            ),
        ))
    }

    /// Its peers have healed it.
    pub fn healed(&self) -> Result<(), ServeError> {
        durable::remove(&self.path, WITHHOLDS).map_err(|e| io(&self.path.join(WITHHOLDS), "remove", &e))
    }
}

/// Durable before it returns.
fn mark(dir: &Path, name: &str) -> Result<(), ServeError> {
    durable::mark(dir, name).map_err(|e| io(&dir.join(name), "write", &e))
}

/// Which node of which cluster keeps its data in `dir`, if one has begun to: its cluster's id and its own.
pub fn owner(dir: &Path) -> Result<Option<(u64, NodeId)>, ServeError> {
    let identity = Identity::load(dir)?.filter(|_| holds_journal(dir));
    Ok(identity.map(|identity| (identity.cluster, NodeId(identity.node))))
}

fn holds_journal(dir: &Path) -> bool {
    fs::read_dir(dir.join("journal")).is_ok_and(|mut files| files.next().is_some())
}

/// Whether the directory of a node is not the one with which its peers have met it, by the directories of those: its data are
/// elsewhere, or gone, or without what makes them its own. One that says itself that its former one is lost is its own.
pub fn is_lost(node: NodeId, dir: &Path, mut peers: impl Iterator<Item = PathBuf>) -> bool {
    let own = match Identity::load(dir) {
        // Who was met had a journal.
        Ok(own) => own.filter(|_| holds_journal(dir)),
        Err(error) if error.kind == ServeErrorKind::Damaged => None,
        // What else is wrong is named by who starts on it.
        Err(_) => return false,
    };
    !dir.join(DATA_LOST).exists()
        && peers.any(|peer| {
            let (Ok(Some(theirs)), Some(life)) = (Identity::load(&peer), Met::beside(&peer).life_of(node))
            else {
                return false;
            };
            own.is_none_or(|own| own.cluster == theirs.cluster && own.life != life)
        })
}

/// Whose directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    format: u32,
    cluster: u64,
    node: u64,
    life: u64,
}

impl Identity {
    fn encode(self) -> String {
        format!(
            "# Which node this directory belongs to. Written once; changing it loses the node.\n\
             format = {}\ncluster = {:016x}\nnode = {}\nlife = {:016x}\n",
            self.format, self.cluster, self.node, self.life
        )
    }

    fn decode(text: &str) -> Option<Self> {
        let field = |name: &str| sealed::field(text, name);
        Some(Self {
            format: field("format")?.parse().ok()?,
            cluster: u64::from_str_radix(field("cluster")?, 16).ok()?,
            node: field("node")?.parse().ok()?,
            // The first directories had none.
            life: field("life").map_or(Some(0), |life| u64::from_str_radix(life, 16).ok())?,
        })
    }

    pub(crate) fn cluster(self) -> u64 {
        self.cluster
    }

    pub(crate) fn node(self) -> NodeId {
        NodeId(self.node)
    }

    pub(crate) fn load(dir: &Path) -> Result<Option<Self>, ServeError> {
        let Some(text) = sealed::load(dir, IDENTITY)? else { return Ok(None) };
        let damaged = || ServeError::damaged(&format!("{} is damaged", dir.join(IDENTITY).display()));
        Self::decode(&text).map(Some).ok_or_else(damaged)
    }

    fn must_fit(&self, wanted: &Self, dir: &Path) -> Result<(), ServeError> {
        let dir = dir.display();
        if self.format > FORMAT {
            return Err(refuse(
                format!(
                    "{dir} is kept in format {}, and this program knows formats up to {FORMAT}",
                    self.format
                ),
                "start the newer program that wrote it",
            ));
        }
        if self.cluster != wanted.cluster {
            return Err(refuse(
                format!(
                    "{dir} belongs to another cluster ({:016x}; this one is {:016x})",
                    self.cluster, wanted.cluster
                ),
                "give the cluster name it was made with, or choose another data directory",
            ));
        }
        if self.node != wanted.node {
            return Err(refuse(
                format!("{dir} belongs to node {}, and this is node {}", self.node, wanted.node),
                "two nodes must never share an identity: choose this node's own directory",
            ));
        }
        Ok(())
    }

    /// Durable before it returns: content, then name.
    fn store(&self, dir: &Path) -> Result<(), ServeError> {
        sealed::store(dir, IDENTITY, &self.encode())
    }
}

/// Creates a directory and what is missing above it; an existing one is fine. A name outlives a power cut only where the
/// directory that holds it was synced, and whoever made an existing one may have died before it could do that: its parent
/// is synced in any case.
pub fn create_dir_durably(path: &Path) -> std::io::Result<()> {
    let path = std::path::absolute(path)?;
    let missing = path.ancestors().take_while(|dir| !dir.exists()).count();
    fs::create_dir_all(&path)?;
    for parent in path.ancestors().skip(1).take(missing.max(1)) {
        match File::open(parent) {
            // What this user may not even read was not made by it.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            parent => parent?.sync_all()?,
        }
    }
    Ok(())
}

/// Takes a directory's lock and leaves our pid in it; dropping the file gives the lock free.
pub fn lock_dir(dir: &Path) -> Result<File, ServeError> {
    let path = dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| io(&path, "open", &e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = Read::by_ref(&mut file).take(32).read_to_string(&mut pid);
            let holder = match pid.trim() {
                "" => "another process".to_string(),
                pid => format!("process {pid}"),
            };
            return Err(refuse(
                format!("{} is in use by {holder}", dir.display()),
                "stop that process first, or choose another data directory",
            ));
        }
        Err(fs::TryLockError::Error(e)) => return Err(io(&path, "lock", &e)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|e| io(&path, "write", &e))?;
    Ok(file)
}

/// Refuses a directory that a process uses; what comes back keeps others from using it. Unlike [`lock_dir`] it writes nothing.
pub(crate) fn must_be_free(dir: &Path) -> Result<Option<File>, ServeError> {
    let path = dir.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound && dir.is_dir() => return Ok(None),
        Err(e) => return Err(io(&path, "open", &e)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Err(refuse(
            format!("{} is in use by a process", dir.display()),
            "stop that process first; a node that runs reads its own files again and again (scrub)",
        )),
        Err(fs::TryLockError::Error(e)) => Err(io(&path, "lock", &e)),
    }
}

/// A directory without an identity must hold nothing that could be somebody's data.
fn must_be_unused(dir: &Path, other: Option<&str>) -> Result<(), ServeError> {
    for entry in fs::read_dir(dir).map_err(|e| io(dir, "list", &e))? {
        let name = entry.map_err(|e| io(dir, "list", &e))?.file_name();
        if !HARMLESS.iter().copied().chain(other).any(|known| name == *known) {
            if dir.join(CLUSTER).exists() {
                return Err(refuse(
                    format!("{} is where `quorate up` keeps a whole cluster", dir.display()),
                    &format!(
                        "start that with `quorate up --data {}`, or choose an empty directory",
                        dir.display()
                    ),
                ));
            }
            if name == OF_ETCD && !crate::etcddir::is_there(dir) {
                return Err(refuse(
                    format!(
                        "{} holds `member`, as etcd's directories do, but neither member/snap nor member/wal",
                        dir.display()
                    ),
                    "remove `member` if nothing in it is wanted, and start again; else bring back what etcd had in it",
                ));
            }
            if let Some(of_etcd) = other {
                return Err(refuse(
                    format!(
                        "{} holds {:?} beside what etcd has in {of_etcd:?}",
                        dir.display(),
                        name.to_string_lossy()
                    ),
                    "it may be somebody's data: move it out of this directory, and start again; nothing was changed",
                ));
            }
            if dir.join(OF_ETCD).exists() {
                return Err(refuse(
                    format!("{} is a data directory of etcd", dir.display()),
                    "`quorate etcd --data-dir` takes over what is in it; or choose an empty directory",
                ));
            }
            return Err(refuse(
                format!("{} holds {:?} but no node's identity", dir.display(), name.to_string_lossy()),
                "choose an empty directory; if this was a node's, its file `identity` is gone: restore it from a backup",
            ));
        }
    }
    Ok(())
}

fn refuse(message: String, hint: &str) -> ServeError {
    ServeError::new(ServeErrorKind::DataDir, message, hint)
}

pub(crate) fn io(path: &Path, what: &str, error: &std::io::Error) -> ServeError {
    ServeError::new(
        ServeErrorKind::DataDir,
        format!("cannot {what} {}: {error}", path.display()),
        match error.kind() {
            ErrorKind::PermissionDenied => "run as the user who owns it, or give it to this one (`chown -R`)",
            ErrorKind::NotADirectory | ErrorKind::NotFound => "give a directory",
            _ => "the data directory must be on a disk with room that this user may write",
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Peer;
    use std::net::SocketAddr;
    use std::time::Duration;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("quorate-datadir-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            Self(path)
        }

        fn config(&self, cluster: u64, node: u64) -> ServerConfig {
            ServerConfig {
                cluster,
                node: NodeId(node),
                name: "n".into(),
                data: self.0.join("n"),
                etcd_listen: SocketAddr::from(([127, 0, 0, 1], 1)),
                etcd_also: Vec::new(),
                dynamo_listen: None,
                etcd_advertise: "http://127.0.0.1:1".into(),
                etcd_advertise_also: Vec::new(),
                peer_listen: SocketAddr::from(([127, 0, 0, 1], 2)),
                peer_also: Vec::new(),
                peer_files: Vec::new(),
                peers: Vec::<Peer>::new(),
                learners: std::collections::BTreeSet::new(),
                joins: false,
                heartbeat: Duration::from_millis(100),
                election_min: Duration::from_millis(700),
                election_max: Duration::from_millis(1400),
                campaign_at_once: false,
                reported_version: ServerConfig::REPORTED_VERSION.into(),
                lease_reads: None,
                watch_progress: None,
                zone: String::new(),
                insecure: false,
                data_lost: false,
                starter: crate::config::Starter::Serve,
                upkeep: crate::config::Upkeep::default(),
            }
        }

        fn refusal(&self, cluster: u64, node: u64) -> ServeError {
            DataDir::open(&self.config(cluster, node)).expect_err("must be refused")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_directory_is_one_nodes_and_one_process_at_a_time() {
        let scratch = Scratch::new("owner");
        let open = DataDir::open(&scratch.config(7, 1)).unwrap();
        let error = scratch.refusal(7, 1);
        assert!(error.message.contains(&format!("in use by process {}", std::process::id())), "{error}");
        drop(open);
        drop(DataDir::open(&scratch.config(7, 1)).unwrap());
        assert!(scratch.refusal(8, 1).message.contains("another cluster"));
        assert!(scratch.refusal(7, 2).message.contains("belongs to node 1, and this is node 2"));
        DataDir::open(&scratch.config(7, 1)).unwrap();
    }

    /// Claim: a directory that was made without `--data-lost` is not taken for one that was made with it, and is refused with what to
    /// do where nothing was ever in it.
    #[test]
    fn data_lost_comes_too_late_for_a_directory_that_is_made() {
        let scratch = Scratch::new("late");
        drop(DataDir::open(&scratch.config(7, 1)).unwrap());
        let late = ServerConfig { data_lost: true, ..scratch.config(7, 1) };
        let open = DataDir::open(&late).unwrap();
        let refused = open.must_be_marked(&late, Term(0)).unwrap_err();
        assert!(
            refused.message.contains("without --data-lost") && refused.hint.contains("delete"),
            "{refused}"
        );
        assert!(open.must_be_marked(&late, Term(1)).is_ok(), "it has run since");
        drop(open);
        fs::remove_dir_all(scratch.0.join("n")).unwrap();
        let open = DataDir::open(&late).unwrap();
        assert!(open.must_be_marked(&late, Term(0)).is_ok() && open.withholds());
    }

    /// Claim: what a directory says of itself is there before it is a node's: where that cannot be written there is no identity, with which
    /// the next start would take it for one that never said so.
    #[test]
    fn what_a_directory_says_of_itself_is_there_first() {
        for (name, data_lost) in [(DATA_LOST, true), (WITHHOLDS, true), ("began.new", false)] {
            let scratch = Scratch::new(&format!("first-{name}"));
            let dir = scratch.0.join("n");
            // No file can be written there.
            fs::create_dir_all(dir.join(name)).unwrap();
            let config = ServerConfig { data_lost, ..scratch.config(7, 1) };
            assert!(DataDir::open(&config).is_err() && !dir.join(IDENTITY).exists(), "{name}");
            fs::remove_dir(dir.join(name)).unwrap();
            let open = DataDir::open(&config).unwrap();
            assert_eq!((open.withholds(), open.life().taken_back), (data_lost, data_lost), "{name}");
        }
    }

    /// Claim: only a directory that is founded notes with what it began: who joins, is a learner or has lost its disk takes all from the
    /// others. No two directories have one life, and one that is given up has nothing of the node that it was.
    #[test]
    fn only_founders_note_with_what_they_began() {
        let scratch = Scratch::new("began");
        let mut lives = std::collections::BTreeSet::new();
        for (joins, learns, data_lost) in
            [(false, false, false), (true, false, false), (false, true, false), (false, false, true)]
        {
            let learners = learns.then_some(NodeId(1)).into_iter().collect();
            let config = ServerConfig { learners, joins, data_lost, ..scratch.config(7, 1) };
            let open = DataDir::open(&config).unwrap();
            let founds = !joins && !learns && !data_lost;
            assert_eq!(Began::load(open.path()), founds.then_some(Began::EMPTY));
            assert!(lives.insert(open.life().number), "{lives:?}");
            assert!(open.forget());
            if !data_lost {
                assert_eq!(fs::read_dir(scratch.0.join("n")).unwrap().count(), 0);
            }
        }
    }

    /// Claim: whom a peer has met and who has no identity that can be read, or no journal, is lost as one whose directory is gone.
    #[test]
    fn a_directory_that_is_no_use_is_lost() {
        let scratch = Scratch::new("lost");
        let (own, peer) = (scratch.0.join("n"), scratch.0.join("p"));
        let open = DataDir::open(&scratch.config(7, 1)).unwrap();
        let life = open.life();
        drop(open);
        drop(DataDir::open(&ServerConfig { data: peer.clone(), ..scratch.config(7, 2) }).unwrap());
        let lost = || is_lost(NodeId(1), &own, std::iter::once(peer.clone()));
        assert!(!lost(), "nobody has met it");
        Met::beside(&peer).meet(NodeId(1), life).unwrap();
        assert!(lost(), "without a journal");
        fs::create_dir(own.join("journal")).unwrap();
        fs::write(own.join("journal/1.seg"), "").unwrap();
        assert!(!lost());
        fs::write(own.join(IDENTITY), "node = 1").unwrap();
        assert!(lost(), "its identity is damaged");
    }

    #[test]
    fn every_flipped_bit_of_the_identity_is_seen() {
        let scratch = Scratch::new("flips");
        drop(DataDir::open(&scratch.config(7, 1)).unwrap());
        let path = scratch.0.join("n/identity");
        let good = fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            let error = scratch.refusal(7, 1);
            assert_eq!(error.kind, ServeErrorKind::Damaged, "bit {bit}: {error}");
        }
        for cut in 0..good.len() {
            fs::write(&path, &good[..cut]).unwrap();
            assert_eq!(scratch.refusal(7, 1).kind, ServeErrorKind::Damaged, "cut at {cut}");
        }
    }

    #[test]
    fn newer_formats_and_strangers_data_are_refused_untouched() {
        let scratch = Scratch::new("strange");
        let dir = scratch.0.join("n");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("thesis.txt"), "years of work").unwrap();
        assert!(scratch.refusal(7, 1).message.contains("thesis.txt"));
        assert!(!dir.join(IDENTITY).exists());
        fs::remove_file(dir.join("thesis.txt")).unwrap();
        fs::write(dir.join("log"), "a supervisor's").unwrap();
        drop(DataDir::open(&scratch.config(7, 1)).unwrap());
        let newer = Identity { format: FORMAT + 1, cluster: 7, node: 1, life: 3 };
        newer.store(&dir).unwrap();
        assert!(scratch.refusal(7, 1).message.contains("format 2"));
    }

    /// Claim: what is wrong with a directory of etcd is said of it, and not of a node's.
    #[test]
    fn a_directory_of_etcd_has_words_of_its_own() {
        let scratch = Scratch::new("words");
        let dir = scratch.0.join("n");
        fs::create_dir_all(dir.join("member")).unwrap();
        let empty = scratch.refusal(7, 1);
        assert!(empty.hint.starts_with("remove `member`"), "{}", empty.hint);
        fs::create_dir_all(dir.join("member/wal")).unwrap();
        assert!(scratch.refusal(7, 1).hint.starts_with("`quorate etcd --data-dir`"));
        fs::write(dir.join("lost.txt"), "").unwrap();
        assert!(scratch.refusal(7, 1).hint.starts_with("`quorate etcd --data-dir`"));
        let beside = DataDir::beside_etcd(&scratch.config(7, 1)).unwrap_err();
        assert!(
            beside.message.contains("\"lost.txt\" beside") && beside.hint.contains("move it out"),
            "{beside}"
        );
    }

    /// Seed 3: a checksum that holds over nonsense. Damaged, or an identity.
    #[test]
    fn no_text_is_a_panic() {
        let mut rng = quorate_base::Rng::new(3);
        let good = Identity { format: FORMAT, cluster: u64::MAX, node: 7, life: u64::MAX }.encode();
        let words = [
            "",
            "-1",
            "0x7",
            "18446744073709551616",
            "99999999999",
            "ffffffffffffffffff",
            "\0",
            "é",
            "=",
            "\n",
        ];
        let mut read = 0;
        for _ in 0..20_000 {
            let mut text = good.clone();
            let at: usize = rng.below(text.len() as u64) as usize;
            let upto = (at + rng.below(8) as usize).min(text.len());
            text.replace_range(at..upto, rng.pick::<&str>(&words));
            if let Some(identity) = Identity::decode(&text) {
                assert_eq!(Identity::decode(&identity.encode()), Some(identity));
                read += 1;
            }
        }
        assert!(read > 1_000, "{read}");
    }
}
