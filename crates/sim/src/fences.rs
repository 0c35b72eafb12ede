//! Fences, as clients see them: requests that show tokens, new ones and old ones.
//!
//! The promise: once a token was shown for a name, no request with a lower one is done. So nothing is done that shows a lower
//! token than one that was known to be shown when it was asked; what is written with tokens has them in their order; who is refused
//! is told a higher token, which somebody has shown; and at the end every node knows at least the highest that was answered for.

use quorate_base::Rng;
use quorate_wire::kv::{Fence, Revision};
use std::collections::BTreeMap;

/// The names.
const NAMES: u64 = 2;

/// A request that shows a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Show {
    name: u64,
    token: u64,
    /// The highest token of its name that was known to be shown when it was asked.
    floor: u64,
    /// It writes, too.
    pub(crate) writes: bool,
}

#[derive(Default)]
struct Name {
    /// The highest token that any request has shown, done or not.
    issued: u64,
    /// The highest that was answered for.
    seen: u64,
    /// Tokens of acknowledged writes by their revisions.
    written: BTreeMap<Revision, u64>,
}

/// The fences of a run.
pub(crate) struct Fences {
    rng: Rng,
    names: BTreeMap<u64, Name>,
}

impl Show {
    /// What it shows.
    pub(crate) fn fence(&self) -> Fence {
        Fence { name: name(self.name).into(), token: self.token }
    }

    /// The key that it is about.
    pub(crate) fn key(&self) -> String {
        key(self.name)
    }

    /// What it writes there.
    pub(crate) fn value(&self) -> String {
        self.token.to_string()
    }
}

impl Fences {
    pub(crate) fn new(seed: u64) -> Self {
        let names = (0..NAMES).map(|name| (name, Name::default())).collect();
        Self { rng: Rng::stream(seed, "fences"), names }
    }

    /// A client's next request that shows a token, if it is their turn.
    pub(crate) fn choose(&mut self) -> Option<Show> {
        if !self.rng.chance(1, 4) {
            return None;
        }
        let name = self.rng.below(NAMES);
        let of = self.names.get_mut(&name)?;
        let token = match self.rng.below(4) {
            0 => of.issued + 1,
            1 => self.rng.between(1, of.issued.max(1)),
            _ => of.issued.max(1),
        };
        of.issued = of.issued.max(token);
        Some(Show { name, token, floor: of.seen, writes: self.rng.chance(2, 3) })
    }

    /// It was done; `at` is the revision of what it has written.
    pub(crate) fn done(&mut self, show: Show, at: Option<Revision>) -> Result<(), String> {
        let Show { name, token, floor, .. } = show;
        if token < floor {
            return Err(format!(
                "Fences: token {token} of {name} was taken, though {floor} was shown before"
            ));
        }
        let Some(of) = self.names.get_mut(&name) else { return Ok(()) };
        of.seen = of.seen.max(token);
        let Some(at) = at else { return Ok(()) };
        let before = of.written.range(..at).next_back().map_or(0, |(_, &token)| token);
        let after = of.written.range(at..).next().map_or(u64::MAX, |(_, &token)| token);
        of.written.insert(at, token);
        if before <= token && token <= after {
            return Ok(());
        }
        Err(format!("Fences: token {token} of {name} has written at {at}, between {before} and {after}"))
    }

    /// It was refused, since `seen` was shown.
    pub(crate) fn refused(&mut self, show: Show, seen: u64) -> Result<(), String> {
        let Some(of) = self.names.get_mut(&show.name) else { return Ok(()) };
        of.seen = of.seen.max(seen);
        if show.token < seen && seen <= of.issued {
            return Ok(());
        }
        let (name, token, issued) = (show.name, show.token, of.issued);
        Err(format!("Fences: token {token} of {name} was refused for {seen}; the highest ever is {issued}"))
    }

    /// What a node knows at the end, with all that it has written of the names' keys, in order.
    pub(crate) fn end(&self, known: &BTreeMap<bytes::Bytes, u64>) -> Result<(), String> {
        for (&of, Name { issued, seen, .. }) in &self.names {
            let known = known.get(name(of).as_bytes()).copied().unwrap_or_default();
            if known < *seen || known > *issued {
                return Err(format!("Fences: {known} is known of {of}; {seen} was shown, at most {issued}"));
            }
        }
        Ok(())
    }

    /// The keys that are written with tokens.
    pub(crate) fn keys(&self) -> impl Iterator<Item = String> {
        self.names.keys().map(|&name| key(name))
    }
}

fn name(name: u64) -> String {
    format!("fence{name}")
}

fn key(name: u64) -> String {
    format!("fenced{name}")
}
