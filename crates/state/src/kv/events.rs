//! What changed, as the watches are told: listed, or only named where it is too much to hold in memory.
//!
//! One entry can delete all keys there are. Listed with what they replaced, its changes would be the whole space in memory, on
//! each member, and again at each start that comes to that entry. So beyond [`LISTED_BYTES`] they are named by the keys between which they
//! lie: whoever watches one of these reads the history.

use bytes::Bytes;
use quorate_wire::kv::Event;

/// Bytes of changes that are listed at most. Few in the crate's own tests, which so see both forms.
const LISTED_BYTES: usize = if cfg!(test) { 1 << 10 } else { 4 << 20 };

/// A value up to this is copied rather than have it keep a page of 4 KiB.
const COPIED_MAX: usize = 1 << 10;

/// The changes of one entry or of some, in the order of the changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Events {
    /// All of them.
    Listed {
        /// They themselves.
        list: Vec<Event>,
        /// What they take, about.
        bytes: usize,
    },
    /// There are too many: the history has them.
    Between {
        /// The lowest key among them.
        first: Bytes,
        /// The highest.
        last: Bytes,
    },
}

impl Default for Events {
    fn default() -> Self {
        Self::Listed { list: Vec::new(), bytes: 0 }
    }
}

impl From<Vec<Event>> for Events {
    fn from(list: Vec<Event>) -> Self {
        let mut events = Self::default();
        events.add(list);
        events
    }
}

impl Events {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Listed { list, .. } if list.is_empty())
    }

    /// One more.
    pub fn push(&mut self, mut event: Event) {
        match self {
            Self::Listed { list, bytes } => {
                *bytes += event.size();
                let_go_of_pages(&mut event);
                list.push(event);
                if *bytes > LISTED_BYTES {
                    self.name();
                }
            }
            Self::Between { first, last } => widen(first, last, &event.kv.key),
        }
    }

    /// Those of the entries behind.
    pub fn append(&mut self, more: Self) {
        if self.is_empty() {
            *self = more;
            return;
        }
        match more {
            Self::Listed { list, .. } => self.add(list),
            Self::Between { first: a, last: b } => {
                self.name();
                if let Self::Between { first, last } = self {
                    widen(first, last, &a);
                    widen(first, last, &b);
                }
            }
        }
    }

    fn add(&mut self, list: Vec<Event>) {
        for event in list {
            self.push(event);
        }
    }

    /// Keeps the keys between which they lie.
    fn name(&mut self) {
        let Self::Listed { list, .. } = self else { return };
        let keys = || list.iter().map(|event| &event.kv.key);
        if let (Some(first), Some(last)) = (keys().min(), keys().max()) {
            // Copied: a slice would hold the page it came from.
            let (first, last) = (Bytes::copy_from_slice(first), Bytes::copy_from_slice(last));
            *self = Self::Between { first, last };
        }
    }
}

/// What was read from the store keeps the page that it came from, and these stay for a while.
fn let_go_of_pages(event: &mut Event) {
    let Some(prev) = &mut event.prev else { return };
    if prev.value.len() <= COPIED_MAX {
        prev.value = Bytes::copy_from_slice(&prev.value);
    }
    if event.deleted {
        event.kv.key = Bytes::copy_from_slice(&event.kv.key);
        prev.key = event.kv.key.clone();
    }
}

fn widen(first: &mut Bytes, last: &mut Bytes, key: &[u8]) {
    if key < &first[..] {
        *first = Bytes::copy_from_slice(key);
    } else if key > &last[..] {
        *last = Bytes::copy_from_slice(key);
    }
}
