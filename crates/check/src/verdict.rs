//! What a judge says of one level: refuted with a witness, proved by a complete algorithm, or neither, and why.

/// The verdict on one level (or one guarantee).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does not hold.
    Refuted(Witness),
    /// It holds: a complete algorithm says so, by this name.
    Proved {
        /// The algorithm that decided, as its page names it.
        by: &'static str,
    },
    /// No violation was found by an inference that is not complete.
    NotRefuted {
        /// What the inference cannot see here.
        why: String,
    },
    /// The budget was spent before an end.
    Unknown {
        /// Which budget, and how far it got.
        why: String,
    },
    /// No algorithm here decides this level of this model.
    Unsupported {
        /// What there would have to be.
        why: String,
    },
}

/// Why a level does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// The kind of violation: an anomaly's name where it has one ("G-single", "stale read").
    pub kind: String,
    /// In words, with the operations' values.
    pub words: String,
    /// The operations that together cannot be, by their place in the history; a minimal core where it was shrunk to one.
    pub core: Vec<u32>,
    /// The algorithm that found it.
    pub by: &'static str,
}
