//! Changes that break no promise: what raises no alarm in the healthy build must raise none with any of them, or an alarm says little.

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Harmless {
    /// One entry a message.
    SingleEntries,
    /// One message under way to a follower.
    SingleMessages,
    /// Heartbeats come twice as often.
    MoreHeartbeats,
    /// Every flush is done twice.
    FlushTwice,
    /// Four times as many checkpoints.
    MoreCheckpoints,
    /// The smallest segments of the journal.
    SmallSegments,
    /// The log is kept for long.
    LongLog,
    /// No read leaves the lane.
    ReadsInLane,
    /// What a lane wants is carried out in another order: first the disk, then the network.
    DiskFirst,
    /// The machine waits before it applies.
    LateApply,
    /// A lane is drained once more.
    DrainTwice,
}

impl Harmless {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 11] = [
        ("single-entries", Self::SingleEntries),
        ("single-messages", Self::SingleMessages),
        ("more-heartbeats", Self::MoreHeartbeats),
        ("flush-twice", Self::FlushTwice),
        ("more-checkpoints", Self::MoreCheckpoints),
        ("small-segments", Self::SmallSegments),
        ("long-log", Self::LongLog),
        ("reads-in-lane", Self::ReadsInLane),
        ("disk-first", Self::DiskFirst),
        ("late-apply", Self::LateApply),
        ("drain-twice", Self::DrainTwice),
    ];
}
