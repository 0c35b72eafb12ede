//! Who the members of a cluster are besides their ids: the *book* that a configuration carries along, and the changes that
//! are asked for.
//!
//! The book stands in the configuration, so that it is where that is: in the log, in the journal's record of the log's
//! beginning, in snapshots. Whoever knows who votes knows where they are, whatever else is lost.
//!
//! ```text
//! book   := version(1 byte) used(varint) change list(member)        list := count(varint) that many
//! change := 0 | 1 origin(varint) request(varint) member(varint)
//! member := id(varint) flags(1 byte: 1 joins) name(bytes) peer_urls(list of bytes) client_urls(list of bytes)
//! ```
//!
//! *An id is never used twice*: `used` is the highest that ever was, and new members are numbered on from there. So whoever
//! comes with an id up to it and is no member was removed.
//!
//! A member that is added as a voter *joins*: it has no vote before it holds the log, when its leader gives it one. (etcd
//! counts it at once, so that a member which never starts can cost a small cluster its majority.)

use crate::codec::{Malformed, Read, Reader, Write};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_base::{EntryKind, NodeId};
use quorate_protocol::raft::{BOOK_MAX, Membership};
use std::collections::BTreeMap;

const VERSION: u8 = 1;
/// The longest name or URL.
pub const TEXT_MAX: usize = 512;
/// So many URLs of each kind a member may have.
pub const URLS_MAX: usize = 8;

/// What is known of one member besides its id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Info {
    /// Its name; empty until it first started.
    pub name: String,
    /// `http://host:port` where other members reach it.
    pub peer_urls: Vec<String>,
    /// `http://host:port` where clients reach it; empty until it first started.
    pub client_urls: Vec<String>,
    /// It gets a vote as soon as it holds the log.
    pub joins: bool,
}

/// Who asked for the change that made a configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The node that was asked.
    pub origin: NodeId,
    /// Its number for it.
    pub request: u64,
    /// The member that it is about.
    pub member: NodeId,
}

/// The book of a configuration.
///
/// Entries of nodes that are in the configuration no longer stay until the next change: while they leave they must be found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Book {
    /// The highest id that was ever given.
    pub used: NodeId,
    /// Who asked for this configuration, if somebody waits for it.
    pub asked: Option<Asked>,
    /// The members.
    pub members: BTreeMap<NodeId, Info>,
}

/// What is asked about the members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// One more, under the next id.
    Add {
        /// Where the others reach it.
        peer_urls: Vec<String>,
        /// Without a vote.
        learner: bool,
    },
    /// One less.
    Remove {
        /// Which.
        id: NodeId,
    },
    /// A learner gets a vote.
    Promote {
        /// Which.
        id: NodeId,
    },
    /// It is reached elsewhere.
    Update {
        /// Which.
        id: NodeId,
        /// Where.
        peer_urls: Vec<String>,
    },
    /// A member says of itself how it is called and where clients reach it.
    Publish {
        /// Which.
        id: NodeId,
        /// Its name.
        name: String,
        /// Its clients' URLs.
        client_urls: Vec<String>,
    },
}

/// Why a change is refused, as etcd tells the reasons apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// No such member.
    NotFound = 1,
    /// A member has one of the peer URLs.
    UrlExists = 2,
    /// It has a vote already.
    NotLearner = 3,
    /// It does not hold the log yet.
    NotReady = 4,
    /// There are as many learners as there may be.
    TooManyLearners = 5,
    /// Too few of those that would be voters have ever started.
    NotEnoughStarted = 6,
    /// A voter is out of reach.
    Unhealthy = 7,
    /// URLs, names or members are more or longer than there may be.
    TooLarge = 8,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NotFound,
        Self::UrlExists,
        Self::NotLearner,
        Self::NotReady,
        Self::TooManyLearners,
        Self::NotEnoughStarted,
        Self::Unhealthy,
        Self::TooLarge,
    ];

    /// The one with this number in frames.
    pub fn from_u8(n: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| *refusal as u8 == n)
    }
}

impl Book {
    /// The book of a configuration; empty where it has none that can be read.
    pub fn of(membership: &Membership) -> Self {
        Self::decode(&membership.book).unwrap_or_default()
    }

    /// Whether this id was a member's that is no member of `membership` any more.
    pub fn was_removed(&self, membership: &Membership, id: NodeId) -> bool {
        id <= self.used && !membership.contains(id)
    }

    /// Its form in a configuration; `None` if it is longer than one takes.
    pub fn encode(&self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        out.varint(self.used.get());
        out.flag(self.asked.is_some());
        if let Some(Asked { origin, request, member }) = self.asked {
            out.varint(origin.get());
            out.varint(request);
            out.varint(member.get());
        }
        out.varint(self.members.len() as u64);
        for (id, info) in &self.members {
            out.varint(id.get());
            out.put_u8(u8::from(info.joins));
            out.string(info.name.as_bytes());
            put_texts(&mut out, &info.peer_urls);
            put_texts(&mut out, &info.client_urls);
        }
        (out.len() <= BOOK_MAX).then(|| out.freeze())
    }

    /// The inverse.
    pub fn decode(bytes: &Bytes) -> Read<Self> {
        let mut r = Reader::new(bytes.clone());
        if r.u8()? != VERSION {
            return Err(Malformed);
        }
        let used = id(&mut r)?;
        let asked = if r.flag()? {
            Some(Asked { origin: id(&mut r)?, request: r.varint()?, member: id(&mut r)? })
        } else {
            None
        };
        let mut members = BTreeMap::new();
        for _ in 0..r.count()? {
            let id = id(&mut r)?;
            let joins = r.flag()?;
            let name = text(&mut r)?;
            let info = Info { name, joins, peer_urls: texts(&mut r)?, client_urls: texts(&mut r)? };
            if members.insert(id, info).is_some() {
                return Err(Malformed);
            }
        }
        r.end()?;
        Ok(Self { used, asked, members })
    }
}

/// Who waits for the configuration in an entry of the log, once that is in force: not before the old voters are out of it.
pub fn answered(kind: EntryKind, data: &[u8]) -> Option<Asked> {
    let membership = (kind == EntryKind::Membership).then(|| Membership::decode(data))??;
    if membership.is_joint() { None } else { Book::of(&membership).asked }
}

const ADD: u8 = 1;
const REMOVE: u8 = 2;
const PROMOTE: u8 = 3;
const UPDATE: u8 = 4;
const PUBLISH: u8 = 5;

impl Change {
    /// The texts in it are no more and no longer than there may be.
    pub fn fits(&self) -> bool {
        let urls = |urls: &[String]| urls.len() <= URLS_MAX && urls.iter().all(|url| url.len() <= TEXT_MAX);
        match self {
            Self::Add { peer_urls, .. } | Self::Update { peer_urls, .. } => urls(peer_urls),
            Self::Publish { name, client_urls, .. } => name.len() <= TEXT_MAX && urls(client_urls),
            Self::Remove { .. } | Self::Promote { .. } => true,
        }
    }

    /// Writes it behind what is there.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Add { peer_urls, learner } => {
                out.put_u8(ADD);
                out.flag(*learner);
                put_texts(out, peer_urls);
            }
            Self::Remove { id } | Self::Promote { id } => {
                out.put_u8(if matches!(self, Self::Remove { .. }) { REMOVE } else { PROMOTE });
                out.varint(id.get());
            }
            Self::Update { id, peer_urls } => {
                out.put_u8(UPDATE);
                out.varint(id.get());
                put_texts(out, peer_urls);
            }
            Self::Publish { id, name, client_urls } => {
                out.put_u8(PUBLISH);
                out.varint(id.get());
                out.string(name.as_bytes());
                put_texts(out, client_urls);
            }
        }
    }

    /// The inverse.
    pub fn decode(r: &mut Reader) -> Read<Self> {
        Ok(match r.u8()? {
            ADD => Self::Add { learner: r.flag()?, peer_urls: texts(r)? },
            REMOVE => Self::Remove { id: id(r)? },
            PROMOTE => Self::Promote { id: id(r)? },
            UPDATE => Self::Update { id: id(r)?, peer_urls: texts(r)? },
            PUBLISH => Self::Publish { id: id(r)?, name: text(r)?, client_urls: texts(r)? },
            _ => return Err(Malformed),
        })
    }
}

fn id(r: &mut Reader) -> Read<NodeId> {
    r.varint().map(NodeId)
}

fn text(r: &mut Reader) -> Read<String> {
    let bytes = r.bytes()?;
    if bytes.len() > TEXT_MAX {
        return Err(Malformed);
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

fn texts(r: &mut Reader) -> Read<Vec<String>> {
    let count = r.count()?;
    if count > URLS_MAX {
        return Err(Malformed);
    }
    (0..count).map(|_| text(r)).collect()
}

fn put_texts(out: &mut BytesMut, texts: &[String]) {
    out.varint(texts.len() as u64);
    for text in texts {
        out.string(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::Rng;

    fn book() -> Book {
        let info = |n: u64| Info {
            name: format!("n{n}"),
            peer_urls: vec![format!("http://h:{n}")],
            client_urls: vec![],
            joins: n == 4,
        };
        let asked = Some(Asked { origin: NodeId(2), request: u64::MAX, member: NodeId(4) });
        Book { used: NodeId(7), asked, members: [1, 2, 4].map(|n| (NodeId(n), info(n))).into() }
    }

    #[test]
    fn a_book_comes_back_and_cuts_are_errors() {
        let bytes = book().encode().unwrap();
        assert_eq!(Book::decode(&bytes), Ok(book()));
        for cut in 0..bytes.len() {
            assert_eq!(Book::decode(&bytes.slice(..cut)), Err(Malformed), "{cut}");
        }
        let mut long = book();
        for n in 10..2_500 {
            let info = Info { name: "n".repeat(TEXT_MAX), ..Info::default() };
            long.members.insert(NodeId(n), info);
        }
        assert_eq!(long.encode(), None);
    }

    /// Seed 5.
    #[test]
    fn no_bytes_are_a_panic() {
        let mut rng = Rng::new(5);
        let good = book().encode().unwrap();
        let mut read = 0;
        for _ in 0..20_000 {
            let mut bytes = good.to_vec();
            for _ in 0..rng.between(1, 3) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = *rng.pick(&[0, 1, 2, 0x7f, 0xff, rng.clone().next_u64() as u8]);
            }
            if let Ok(book) = Book::decode(&bytes.clone().into()) {
                assert_eq!(Book::decode(&book.encode().unwrap()), Ok(book));
                read += 1;
            }
            let _ = Change::decode(&mut Reader::new(bytes.into()));
        }
        assert!(read > 1_000, "{read}");
    }

    #[test]
    fn changes_come_back() {
        let (id, urls) = (NodeId(9), vec!["http://h:1".to_string()]);
        for change in [
            Change::Add { peer_urls: urls.clone(), learner: true },
            Change::Remove { id },
            Change::Promote { id },
            Change::Update { id, peer_urls: urls.clone() },
            Change::Publish { id, name: "n".into(), client_urls: urls },
        ] {
            let mut out = BytesMut::new();
            change.encode(&mut out);
            let mut reader = Reader::new(out.freeze());
            assert_eq!(Change::decode(&mut reader), Ok(change));
            assert_eq!(reader.end(), Ok(()));
        }
    }

    #[test]
    fn the_answer_waits_until_the_old_voters_are_out() {
        let old = Membership::of_voters([1, 2, 3].map(NodeId));
        let target =
            Membership { book: book().encode().unwrap(), ..Membership::of_voters([1, 2].map(NodeId)) };
        let joint = old.joint(&target);
        assert_eq!(answered(EntryKind::Membership, &joint.encode()), None);
        assert_eq!(answered(EntryKind::Membership, &joint.left().encode()), book().asked);
        assert_eq!(answered(EntryKind::Command, &joint.left().encode()), None);
        assert_eq!(answered(EntryKind::Membership, &old.encode()), None);
    }
}
