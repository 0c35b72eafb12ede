//! The members of etcd's cluster, as its store and its log tell of them.

use crate::sockets::UNIX;
use prost::Message;
use quorate_base::NodeId;
use quorate_protocol::raft::Membership;
use quorate_wire::members::{Book, Info};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Ids above are left for the members that are still to come.
const ID_MAX: u64 = u64::MAX - (1 << 20);

/// Who they are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Members {
    all: BTreeMap<u64, Member>,
    /// Ids of former ones.
    removed: BTreeSet<u64>,
}

/// One, in etcd's JSON.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
struct Member {
    id: u64,
    #[serde(rename = "peerURLs", default)]
    peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default)]
    learner: bool,
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Option<Vec<String>>,
    /// Only in a change: a learner gets a vote.
    #[serde(rename = "isPromote", default)]
    promoted: bool,
}

/// A change of them in the log.
#[derive(Clone, PartialEq, Message)]
struct Change {
    #[prost(uint64, tag = "2")]
    kind: u64,
    #[prost(uint64, tag = "3")]
    node: u64,
    #[prost(bytes = "vec", tag = "4")]
    context: Vec<u8>,
}

const ADD: u64 = 0;
const REMOVE: u64 = 1;
const UPDATE: u64 = 2;
const ADD_LEARNER: u64 = 3;

impl Members {
    /// As the store has them.
    pub(super) fn stored(members: &[bytes::Bytes], removed: &[bytes::Bytes]) -> Option<Self> {
        let mut all = BTreeMap::new();
        for member in members {
            let member: Member = serde_json::from_slice(member).ok()?;
            all.insert(member.id, member);
        }
        let id = |key: &bytes::Bytes| u64::from_str_radix(std::str::from_utf8(key).ok()?, 16).ok();
        Some(Self { all, removed: removed.iter().map(id).collect::<Option<_>>()? })
    }

    /// Does what an entry of the log says; false where it makes no sense.
    pub(super) fn change(&mut self, data: &[u8]) -> bool {
        let Ok(Change { kind, node, context }) = Change::decode(data) else { return false };
        let told = || serde_json::from_slice::<Member>(&context).ok().filter(|member| member.id == node);
        match (kind, self.all.get_mut(&node)) {
            (REMOVE, _) => {
                self.all.remove(&node);
                self.removed.insert(node);
                true
            }
            (ADD | UPDATE | ADD_LEARNER, known) => match (told(), known) {
                (None, _) => false,
                (Some(told), Some(known)) if told.promoted => {
                    known.learner = false;
                    true
                }
                // The store may be ahead of the log.
                (Some(told), Some(known)) => {
                    if kind == UPDATE {
                        known.peer_urls = told.peer_urls;
                    }
                    true
                }
                (Some(told), None) => {
                    self.all.insert(node, Member { learner: kind == ADD_LEARNER, ..told });
                    true
                }
            },
            _ => false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether this is the only one, with a vote.
    pub(super) fn is_only(&self, node: u64) -> bool {
        self.all.len() == 1 && self.all.get(&node).is_some_and(|member| !member.learner)
    }

    /// What they have said of themselves stands in the store.
    pub(super) fn name(&mut self, stored: &Self) {
        for (id, member) in &mut self.all {
            if let Some(told) = stored.all.get(id).filter(|told| !told.name.is_empty()) {
                (member.name, member.client_urls) = (told.name.clone(), told.client_urls.clone());
            }
        }
        self.removed.extend(&stored.removed);
    }

    /// All others are members no more, and this one votes.
    pub(super) fn leave_alone(&mut self, node: u64) {
        self.removed.extend(self.all.keys().filter(|&&id| id != node));
        self.all.retain(|&id, _| id == node);
        self.all.values_mut().for_each(|member| member.learner = false);
    }

    pub(super) fn contains(&self, node: u64) -> bool {
        self.all.contains_key(&node)
    }

    /// The configuration with its book; an error says in words what cannot be had.
    pub(super) fn membership(&self) -> Result<Membership, String> {
        let (mut membership, mut book) = (Membership::default(), Book::default());
        for (&id, member) in &self.all {
            if !(1..=ID_MAX).contains(&id) {
                return Err(format!("the member {id:x} has an id that this release does not take"));
            }
            let urls = |urls: &Option<Vec<String>>| urls.clone().unwrap_or_default();
            let (peer_urls, client_urls) = (urls(&member.peer_urls), urls(&member.client_urls));
            let known = |url: &&String| url.starts_with("http://") || url.starts_with(UNIX);
            if let Some(url) = peer_urls.iter().find(|url| !known(url)) {
                return Err(format!(
                    "the member {id:x} is reached at {url}, and only http:// and {UNIX} are known here"
                ));
            }
            if peer_urls.is_empty() {
                return Err(format!("the member {id:x} has no peer URL"));
            }
            if member.learner { &mut membership.learners } else { &mut membership.voters }.insert(NodeId(id));
            let info = Info { name: member.name.clone(), peer_urls, client_urls, joins: false };
            book.members.insert(NodeId(id), info);
        }
        book.used =
            self.all.keys().chain(&self.removed).max().map_or(NodeId(0), |&id| NodeId(id.min(ID_MAX)));
        let book = book.encode().ok_or("there are more members, or longer URLs, than this release takes")?;
        Ok(Membership { book, ..membership })
    }
}
