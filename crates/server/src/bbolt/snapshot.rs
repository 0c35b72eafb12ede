//! A snapshot as etcd would have given it: the file of its store with all versions, leases and alarms in the buckets where its tools
//! and its server look for them.
//!
//! Versions go by revision there, as far as the log of changes has them in that order; those that stand with their keys alone are
//! sorted first ([`super::sorted`]). Then all is gone through twice, since the file's first page tells of its last: once to count
//! and once to write. A file of its own, put right at its end and sent then, would take the room of a second copy of everything on
//! the disk, where this takes that of the versions before the compaction; and the time of reading it back is that of the counting.
//!
//! What etcd does not know stands in a bucket of its own, [`BESIDE`], which it passes over: whose snapshot it is, the machine's
//! numbers, fences, tables. A restore by this program has all of that again. Members are left out: whoever restores it names new
//! ones. So is the cluster's version: the new cluster settles its own, and an earlier release would refuse a later one.

use super::pages::{Layout, NOWHERE, Pages, Take, Tree, Unwanted};
use super::sorted::{Merged, Place, Sorted, Sorter};
use super::{AlarmMember, BESIDE, HEADER_KEY, Lease, Pair};
use crate::room::Spare;
use bytes::Bytes;
use prost::Message;
use quorate_base::NodeId;
use quorate_node::api::TakePiece;
use quorate_node::backup::{ALIGN, Header, SUM};
use quorate_protocol::raft::Membership;
use quorate_state::kv::{ForeignVersion, KvView};
use quorate_storage::state::{StateError, StateResult};
use std::collections::BTreeSet;
use std::io;
use std::iter::Peekable;

/// Why a snapshot was not written.
#[derive(Debug)]
pub(crate) enum Unwritten {
    /// Nobody wants it any more.
    Unwanted,
    /// The state cannot be read.
    State(StateError),
    /// It cannot be sorted.
    Sorting(io::Error),
}

impl From<Unwanted> for Unwritten {
    fn from(_: Unwanted) -> Self {
        Self::Unwanted
    }
}

impl From<StateError> for Unwritten {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Self {
        Self::Sorting(error)
    }
}

type Done<T> = Result<T, Unwritten>;

/// One that is to be written.
pub(crate) struct Snapshot<'v> {
    /// What of.
    pub(crate) view: &'v KvView,
    /// Whose it is.
    pub(crate) header: Header,
    /// The version of etcd's data.
    pub(crate) version: &'v str,
    /// Where may be sorted.
    pub(crate) spare: &'v Spare,
}

/// After so many versions somebody is asked whether the snapshot is still wanted.
const ASK_EVERY: usize = 4096;

impl Snapshot<'_> {
    /// All of the file, but the sum at its end.
    pub(crate) fn write(&self, take: &mut TakePiece<'_>) -> Done<()> {
        let about = u64::try_from(self.view.sizes().0).unwrap_or(0);
        let swept = self.sort(&mut || take(Bytes::new(), about))?;
        let layout = self.buckets(&swept, Pages::counted(&mut |piece| take(piece, about)))?;
        let whole = layout.bytes() + SUM;
        let mut take: Box<Take<'_>> = Box::new(|piece| take(piece, whole));
        let written = self.buckets(&swept, Pages::written(&mut take, layout)?)?;
        // A snapshot whose first page lies about its last would be worse than none.
        if written != layout {
            return Err(io::Error::other("a snapshot for etcd was not the same twice").into());
        }
        Ok(())
    }

    /// The versions that stand with their keys alone.
    fn sort(&self, wanted: &mut dyn FnMut() -> bool) -> Done<Sorted> {
        let mut sorter = Sorter::new(self.spare);
        for (n, version) in self.view.swept().enumerate() {
            if n % ASK_EVERY == 0 && !wanted() {
                return Err(Unwritten::Unwanted);
            }
            let version = version?;
            sorter.add((version.revision, version.sub), pair(version))?;
        }
        Ok(sorter.end())
    }

    fn buckets(&self, swept: &Sorted, mut pages: Pages<'_, '_>) -> Done<Layout> {
        let mut roots = Vec::new();
        for (name, pairs) in [
            ("alarm", self.alarms()),
            ("auth", vec![]),
            ("authRoles", vec![]),
            ("authUsers", vec![]),
            ("cluster", vec![]),
            ("lease", self.leases()),
            ("members", vec![]),
            ("members_removed", vec![]),
            ("meta", self.meta()),
        ] {
            if pairs.is_empty() {
                roots.push((name, NOWHERE));
                continue;
            }
            let mut tree = Tree::new();
            for (key, value) in pairs {
                tree.add(&mut pages, &key, &value)?;
            }
            roots.push((name, tree.end(&mut pages)?));
        }
        roots.push((BESIDE, self.beside(&mut pages)?));
        roots.push(("key", self.versions(swept, &mut pages)?));
        Ok(pages.end(roots)?)
    }

    fn versions(&self, swept: &Sorted, pages: &mut Pages<'_, '_>) -> Done<u64> {
        let mut tree = Tree::new();
        let logged = (Box::new(self.view.logged()) as Box<dyn Iterator<Item = _>>).peekable();
        for version in (Versions { logged, swept: swept.read().peekable() }) {
            let ((main, sub), deleted, value) = version?;
            let mut key = main.to_be_bytes().to_vec();
            key.push(b'_');
            key.extend(u64::from(sub).to_be_bytes());
            if deleted {
                key.push(b't');
            }
            tree.add(pages, &key, &value)?;
        }
        Ok(tree.end(pages)?)
    }

    fn beside(&self, pages: &mut Pages<'_, '_>) -> Done<u64> {
        let mut tree = Tree::new();
        tree.add(pages, HEADER_KEY, &self.header.encode())?;
        for pair in self.view.beside() {
            let (key, value) = pair?;
            tree.add(pages, &key, &value)?;
        }
        Ok(tree.end(pages)?)
    }

    fn alarms(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let stored =
            |alarm: &quorate_wire::kv::Alarm| AlarmMember { member: alarm.member, kind: alarm.kind as i32 };
        let keys: BTreeSet<Vec<u8>> =
            self.view.alarms().iter().map(|alarm| stored(alarm).encode_to_vec()).collect();
        keys.into_iter().map(|key| (key, Vec::new())).collect()
    }

    fn leases(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut leases: Vec<_> = self
            .view
            .leases()
            .into_iter()
            .map(|(id, lease)| {
                let stored = Lease { id, ttl: lease.ttl, remaining: lease.remaining };
                (id.to_be_bytes().to_vec(), stored.encode_to_vec())
            })
            .collect();
        // Negative ones, which are none of ours, come last.
        leases.sort_unstable();
        leases
    }

    /// By their names.
    fn meta(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut meta = vec![("confState", conf_state(self.view.membership()).into_bytes())];
        let applied = self.view.applied();
        meta.push(("consistent_index", applied.index.get().to_be_bytes().to_vec()));
        // Whatever is still there of what was compacted goes with etcd's next compaction.
        if self.view.compacted() > 0 {
            let mut compacted = self.view.compacted().to_be_bytes().to_vec();
            compacted.push(b'_');
            compacted.extend(0_u64.to_be_bytes());
            meta.push(("finishedCompactRev", compacted.clone()));
            meta.push(("scheduledCompactRev", compacted));
        }
        meta.push(("storageVersion", self.version.as_bytes().to_vec()));
        meta.push(("term", applied.term.get().to_be_bytes().to_vec()));
        meta.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value)).collect()
    }
}

/// The configuration as etcd keeps it, in JSON.
fn conf_state(membership: &[u8]) -> String {
    let Membership { voters, outgoing, learners, .. } = Membership::decode(membership).unwrap_or_default();
    let list = |nodes: &BTreeSet<NodeId>| {
        nodes.iter().map(|node| node.get().to_string()).collect::<Vec<_>>().join(",")
    };
    let joint = outgoing.is_some();
    format!(
        r#"{{"voters":[{}],"learners":[{}],"voters_outgoing":[{}],"learners_next":[],"auto_leave":{joint}}}"#,
        list(&voters),
        list(&learners),
        list(&outgoing.unwrap_or_default()),
    )
}

/// The pair that etcd keeps of a version: of a deletion the key alone.
fn pair(version: ForeignVersion) -> Bytes {
    let pair = match version.pair {
        None => Pair { key: version.key, ..Pair::default() },
        Some(pair) => Pair {
            key: pair.key,
            value: pair.value,
            create_revision: pair.create_revision,
            mod_revision: pair.mod_revision,
            version: pair.version,
            lease: pair.lease,
        },
    };
    pair.encode_to_vec().into()
}

/// Both kinds of versions in the order of their revisions.
struct Versions<'v> {
    logged: Peekable<Box<dyn Iterator<Item = StateResult<ForeignVersion>> + 'v>>,
    swept: Peekable<Merged<'v>>,
}

impl Iterator for Versions<'_> {
    type Item = Done<(Place, bool, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let swept_first = match (self.swept.peek(), self.logged.peek()) {
            (Some(Ok((swept, _))), Some(Ok(logged))) => *swept < (logged.revision, logged.sub),
            (swept, logged) => logged.is_none() || matches!(swept, Some(Err(_))),
        };
        if swept_first {
            let swept = self.swept.next()?;
            return Some(swept.map(|(place, bytes)| (place, false, bytes)).map_err(Unwritten::from));
        }
        let logged = self.logged.next()?;
        Some(logged.map_err(Unwritten::from).map(|version| {
            let (place, deleted) = ((version.revision, version.sub), version.pair.is_none());
            (place, deleted, pair(version))
        }))
    }
}

/// Pages are a multiple of what a snapshot is padded to: nothing is added to these.
const _: () = assert!((super::pages::PAGE as u64).is_multiple_of(ALIGN));
