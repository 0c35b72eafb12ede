//! A policy in the tags of a table: `quorate:consistency = causal` and so on.
//!
//! The names are those of the command line's flags behind `quorate:`; `quorate:preset` takes a preset, over which the
//! other tags win. Tags of other names are somebody else's and are passed over. AWS allows letters, digits, spaces
//! and `+ - = . _ : / @` in a tag, and so no comma: in `quorate:replication` a space stands for it (`quorum:n=3 w=2
//! r=2`).

use crate::ask::{Field, Policy, one_of};
use crate::preset;
use std::fmt;

/// What all tags of a policy begin with.
pub const PREFIX: &str = "quorate:";
/// The tag that takes a preset's name.
const PRESET: &str = "preset";

/// Why tags are no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagError {
    /// No such tag.
    Unknown {
        /// As it was given.
        key: String,
        /// The one that was meant, perhaps.
        near: Option<String>,
    },
    /// The same tag twice.
    Twice {
        /// As it was given.
        key: String,
    },
    /// A value that cannot stand there.
    Value {
        /// The tag.
        key: String,
        /// What stood there.
        value: String,
        /// What may stand there.
        allowed: String,
    },
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { key, near: Some(near) } => {
                write!(f, "there is no tag {key}; {near} was meant, perhaps")
            }
            Self::Unknown { key, near: None } => {
                write!(f, "there is no tag {key}: write {PREFIX} and {}", names())
            }
            Self::Twice { key } => write!(f, "the tag {key} is given twice: leave one out"),
            Self::Value { key, value, allowed } => {
                write!(f, "the tag {key} cannot be {value:?}: write {allowed}")
            }
        }
    }
}

impl std::error::Error for TagError {}

fn names() -> String {
    one_of(Field::ALL.iter().map(|field| field.word()).chain([PRESET]))
}

/// Reads the policy of a table from its tags, as `(key, value)`. No tag of ours asks for nothing: the default policy.
///
/// Whether the policy has a plan is for [`crate::plan()`] to say.
pub fn from_tags<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Policy, TagError> {
    let mut asked = Policy::default();
    let mut base = None;
    for (key, value) in tags {
        let Some(name) = key.strip_prefix(PREFIX) else { continue };
        let bad = |allowed: String| TagError::Value { key: key.into(), value: value.into(), allowed };
        if name == PRESET {
            let preset = preset::named(value).map_err(|e| bad(e.allowed))?;
            if base.replace(preset.policy).is_some() {
                return Err(TagError::Twice { key: key.into() });
            }
            continue;
        }
        let field =
            name.parse::<Field>().map_err(|_| TagError::Unknown { key: key.into(), near: near(name) })?;
        if asked.get(field).is_some() {
            return Err(TagError::Twice { key: key.into() });
        }
        asked.set(field, value).map_err(|e| bad(e.allowed))?;
    }
    let mut policy = base.unwrap_or_default();
    policy.overlay(&asked);
    Ok(policy)
}

/// The tags that say `policy`: [`from_tags`] reads them back.
pub fn to_tags(policy: &Policy) -> Vec<(String, String)> {
    let tag = |(field, value): (Field, String)| (format!("{PREFIX}{field}"), value.replace(',', " "));
    policy.asked().into_iter().map(tag).collect()
}

/// The tag that `name` may have been meant for: the same letters, whatever their case and what stands between them.
fn near(name: &str) -> Option<String> {
    let letters = |text: &str| {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect::<String>()
    };
    let known = Field::ALL.iter().map(|field| field.word()).chain([PRESET]);
    known.into_iter().find(|word| letters(word) == letters(name)).map(|word| format!("{PREFIX}{word}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::{Consistency, OnPartition};
    use crate::mechanism::Replication;

    /// Claim: tags say what flags say, other tags are passed over, and no tags ask for nothing.
    #[test]
    fn tags_say_what_flags_say() {
        let tags = [
            ("team", "payments"),
            ("quorate:consistency", "eventual"),
            ("quorate:on-partition", "serve"),
            ("quorate:survive", "2"),
            ("quorate:replication", "quorum:n=5 w=1 r=1"),
            ("aws:cloudformation:stack-name", "x"),
        ];
        let policy = from_tags(tags).unwrap();
        assert_eq!(policy.consistency, Some(Consistency::Eventual));
        assert_eq!(policy.on_partition, Some(OnPartition::Serve));
        assert_eq!((policy.survive, policy.durability), (Some(2), None));
        assert_eq!(policy.replication, "quorum:n=5,w=1,r=1".parse::<Replication>().ok());
        assert_eq!(from_tags([]), Ok(Policy::default()));
        assert_eq!(from_tags([("Quorate", "x"), ("quorate", "y")]), Ok(Policy::default()));
    }

    /// Claim: what is asked beside a preset wins over it, in whatever order the tags come.
    #[test]
    fn a_preset_gives_way_to_what_is_asked() {
        let tags = [("quorate:survive", "2"), ("quorate:preset", "etcd-like")];
        let policy = from_tags(tags).unwrap();
        assert_eq!((policy.survive, policy.consistency), (Some(2), Some(Consistency::Linearizable)));
    }

    /// Claim: every preset, written as tags, is read back; its tags are what AWS allows in a tag.
    #[test]
    fn what_is_written_is_read_back() {
        for preset in preset::all() {
            let tags = to_tags(&preset.policy);
            let allowed = |c: char| c.is_ascii_alphanumeric() || " +-=._:/@".contains(c);
            assert!(
                tags.iter().all(|(k, v)| k.chars().chain(v.chars()).all(allowed) && v.len() <= 256),
                "{tags:?}"
            );
            let read = from_tags(tags.iter().map(|(k, v)| (k.as_str(), v.as_str())));
            assert_eq!(read, Ok(preset.policy), "{}", preset.name);
        }
    }

    /// Claim: each mistake says what is wrong and what to write.
    #[test]
    fn mistakes_say_what_to_write() {
        let said = |tags: &[(&str, &str)]| from_tags(tags.iter().copied()).unwrap_err().to_string();
        for (tags, words) in [
            (
                &[("quorate:consistency", "strong")][..],
                "quorate:consistency cannot be \"strong\": write strict-serializable",
            ),
            (&[("quorate:consistency", "")], "write strict-serializable"),
            (&[("quorate:Consistency", "causal")], "quorate:consistency was meant"),
            (&[("quorate:onPartition", "serve")], "quorate:on-partition was meant"),
            (&[("quorate:colour", "red")], "write quorate: and consistency, over"),
            (&[("quorate:", "red")], "there is no tag quorate:"),
            (&[("quorate:survive", "1"), ("quorate:survive", "1")], "quorate:survive is given twice"),
            (&[("quorate:preset", "etcd-like"), ("quorate:preset", "etcd-like")], "given twice"),
            (&[("quorate:preset", "etcd")], "etcd-like, spanner-like"),
            (&[("quorate:survive", "-1")], "a whole number"),
            (&[("quorate:staleness", "5")], "with its unit"),
            (&[("quorate:replication", "quorum:n=3 x")], "behind quorum:"),
        ] {
            assert!(said(tags).contains(words), "{tags:?}: {}", said(tags));
        }
    }
}
