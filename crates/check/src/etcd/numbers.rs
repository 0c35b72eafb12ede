//! What the answers say of one key at one revision must agree, and what they say of it at two must be of one course.
//!
//! A key's life begins with a put at `create`, which is version 1; each put is a revision of its own (a transaction puts a key once) and
//! adds one to the version; no number of it changes in between. This needs no store, and so it holds for keys that are older
//! than the history too, of which the replay does not know how often they were written.

use super::ask::{Asked, Told};
use super::witness;
use crate::history::History;
use crate::value::Value;
use crate::verdict::Witness;
use std::collections::BTreeMap;

/// What is known of a key as one revision left it, and an answer that told something of it.
#[derive(Clone, Copy)]
struct Seen {
    value: Option<Value>,
    create: Option<i64>,
    ver: Option<i64>,
    lease: Option<i64>,
    by: u32,
}

/// Two answers that contradict each other, or one that is of no store.
pub(super) fn contradiction(history: &History, asked: &[Asked]) -> Option<Witness> {
    let wrong = |what: String, core: &[u32]| Some(witness(history, "numbers that do not fit", &what, core));
    let mut keys: BTreeMap<&str, BTreeMap<i64, Seen>> = BTreeMap::new();
    for it in asked.iter().filter(|it| it.ok) {
        for kv in it
            .told
            .iter()
            .filter_map(|told| if let Told::Held(all) = told { Some(all) } else { None })
            .flatten()
        {
            let [Some(revision), create, ver, lease] = kv.numbers else { continue };
            let new = Seen { value: kv.value, create, ver, lease, by: it.place };
            if !new.possible(revision) {
                return wrong(format!("no store holds {:?} like this", kv.key), &[it.place]);
            }
            let seen = keys.entry(&kv.key).or_default().entry(revision).or_insert(new);
            if !seen.agrees(&new) {
                let what = format!("revision {revision} of {:?} is told in two ways", kv.key);
                return wrong(what, &[seen.by, it.place]);
            }
            seen.add(&new);
        }
    }
    for (key, seen) in keys {
        for ((first, one), (second, two)) in seen.iter().zip(seen.iter().skip(1)) {
            if !one.becomes(*first, two, *second) {
                let what = format!("{key:?} does not come from revision {first} to {second} like this");
                return wrong(what, &[one.by, two.by]);
            }
        }
    }
    None
}

impl Seen {
    /// Some course of puts leads to this at a revision.
    fn possible(&self, revision: i64) -> bool {
        let made = self.create.is_none_or(|create| (1..=revision).contains(&create));
        let counted = self.ver.is_none_or(|ver| ver >= 1);
        let both = self.create.zip(self.ver).is_none_or(|(create, ver)| {
            // The first and the last put are of these revisions; the others lie between.
            ver - 1 <= revision - create && (ver == 1) == (create == revision)
        });
        made && counted && both
    }

    fn agrees(&self, other: &Self) -> bool {
        fn same<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        same(self.value, other.value)
            && same(self.create, other.create)
            && same(self.ver, other.ver)
            && same(self.lease, other.lease)
    }

    fn add(&mut self, other: &Self) {
        self.value = self.value.or(other.value);
        self.create = self.create.or(other.create);
        self.ver = self.ver.or(other.ver);
        self.lease = self.lease.or(other.lease);
    }

    /// The key may be like `later` at a later revision.
    fn becomes(&self, at: i64, later: &Self, then: i64) -> bool {
        let Some((made, create)) = self.create.zip(later.create) else { return true };
        if create > at {
            return true;
        }
        let puts = self.ver.zip(later.ver).map(|(ver, later)| later - ver);
        create == made && puts.is_none_or(|puts| (1..=then - at).contains(&puts))
    }
}
