//! With what a member's directory began, by which members know that they began with the same.
//!
//! A log tells of what follows a state, and of that state nothing. Members that were restored from different snapshots, or one of which
//! was restored while the others began empty, could agree on every entry, and answer differently ever after. So a directory
//! that was founded or restored notes behind which entry its log begins, at which revision, and what stands for all that was done before.
//! Nodes greet with it, and turn away who began otherwise.
//!
//! Who joins a cluster, or has lost its disk, takes all from the others, and notes nothing; directories of earlier releases have no note
//! either. Nobody is turned away for that.

use crate::datadir::BEGAN;
use crate::error::ServeError;
use crate::sealed;
use quorate_state::kv::Kv;
use std::fmt;
use std::path::Path;

/// With what a directory began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Began {
    /// Its log begins behind this entry.
    pub(crate) index: u64,
    /// The revision of the space there.
    pub(crate) revision: i64,
    /// What stands for all that was done before.
    pub(crate) digest: u64,
}

impl Began {
    /// A new cluster's.
    pub(crate) const EMPTY: Self = Self { index: 0, revision: 1, digest: 0 };

    /// That of a machine that was restored.
    pub(crate) fn of(kv: &Kv) -> Self {
        Self { index: kv.applied().index.get(), revision: kv.revision(), digest: kv.digest() }
    }

    /// What a directory notes. It only guards against a mistake, so a note that is damaged keeps no node from its start.
    pub(crate) fn load(data: &Path) -> Option<Self> {
        let text = sealed::load(data, BEGAN).unwrap_or_else(|error| {
            tracing::warn!("{error}: peers that began otherwise are not known by it");
            None
        });
        Self::decode(&text?)
    }

    /// Durable before it returns.
    pub(crate) fn store(self, data: &Path) -> Result<(), ServeError> {
        let Self { index, revision, digest } = self;
        let text = format!(
            "# With what this directory began. All members of a cluster began with the same.\n\
             index = {index}\nrevision = {revision}\ndigest = {digest:016x}\n"
        );
        sealed::store(data, BEGAN, &text)
    }

    fn decode(text: &str) -> Option<Self> {
        let field = |name: &str| sealed::field(text, name);
        Some(Self {
            index: field("index")?.parse().ok()?,
            revision: field("revision")?.parse().ok()?,
            digest: u64::from_str_radix(field("digest")?, 16).ok()?,
        })
    }
}

impl fmt::Display for Began {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::EMPTY {
            return f.write_str("nothing");
        }
        write!(f, "a space restored at revision {} (digest {:016x})", self.revision, self.digest)
    }
}

/// Whether a directory's note does not verify.
pub(crate) fn is_damaged(data: &Path) -> bool {
    sealed::is_damaged(data, BEGAN, Began::decode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_one_that_is_damaged_is_none() {
        let data = std::env::temp_dir().join(format!("quorate-began-{}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        assert_eq!(Began::load(&data), None);
        let began = Began { index: 7, revision: 100, digest: u64::MAX };
        began.store(&data).unwrap();
        assert_eq!((Began::load(&data), is_damaged(&data)), (Some(began), false));
        assert_eq!(began.to_string(), "a space restored at revision 100 (digest ffffffffffffffff)");
        std::fs::write(data.join(BEGAN), "index = 7\n").unwrap();
        assert_eq!((Began::load(&data), is_damaged(&data)), (None, true));
        std::fs::remove_dir_all(&data).unwrap();
    }
}
