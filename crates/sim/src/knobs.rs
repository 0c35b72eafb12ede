//! What a run draws from its seed before it begins, and what it counts while it goes on.

use crate::coverage::MESSAGES;
use crate::planted::Planted;
use crate::swarm::Swarm;
use quorate_base::Rng;
use quorate_base::time::Duration;
use quorate_node::lane::AT_ONCE;
use std::collections::BTreeMap;

/// How often what fired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub BTreeMap<&'static str, u64>, [u64; MESSAGES.len()]);

impl Counts {
    /// Those that were counted before.
    pub fn of(counted: BTreeMap<&'static str, u64>) -> Self {
        Self(counted, Default::default())
    }

    /// One more.
    pub fn add(&mut self, what: &'static str) {
        self.times(what, 1);
    }

    /// A message more, by the place of its kind in the list of kinds.
    pub(crate) fn hear(&mut self, kind: usize) {
        self.1[kind] += 1;
    }

    /// Messages are counted apart, since there are so many; here they come to the rest.
    pub(crate) fn with_messages(mut self) -> Self {
        for (name, times) in MESSAGES.into_iter().zip(std::mem::take(&mut self.1)) {
            self.times(name, times);
        }
        self
    }

    /// So many more.
    pub fn times(&mut self, what: &'static str, times: u64) {
        if times > 0 {
            *self.0.entry(what).or_default() += times;
        }
    }
}

/// Knobs of one run, drawn from its seed.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// How many nodes.
    pub nodes: u64,
    /// How many groups beside that of the key-value space.
    pub groups: u32,
    /// In how many zones the nodes are; 0 where none says.
    pub zones: u64,
    /// Packets lost, of 1,000.
    pub drop: u64,
    /// Packets sent twice, of 1,000.
    pub duplicate: u64,
    /// Now and then a packet takes much longer than others.
    pub late: bool,
    /// The shortest and the longest election timeout.
    pub election_min: Duration,
    /// See above.
    pub election_max: Duration,
    /// The longest delay of a packet.
    pub delay_max: Duration,
    /// The longest flush.
    pub flush_max: Duration,
    /// Entries a message.
    pub append_entries: usize,
    /// Messages under way to one follower.
    pub window_messages: usize,
    /// So long news of a commitment waits for the next append.
    pub commit_patience: Duration,
    /// Bytes of log kept for slow followers.
    pub log_keep_bytes: usize,
    /// Bytes between checkpoints.
    pub seal_bytes: u64,
    /// Bytes of a journal segment.
    pub segment_bytes: u64,
    /// What a read may cost that the lane answers itself.
    pub at_once: usize,
    /// Bytes of events that watches are told without reading history.
    pub ring_bytes: usize,
    /// Bytes of events in one message to a watch.
    pub message_bytes: usize,
    /// The longest large read.
    pub read_max: Duration,
    /// Reads under leases, which allow for clocks that drift by so many millionths; the nodes' clocks drift up to that.
    pub lease_reads: Option<u32>,
    /// Tables bound the staleness of plain reads, and the nodes' wall clocks are up to so many milliseconds apart; `None` where no
    /// table does, and so nobody looks at them.
    pub offsets: Option<u64>,
    /// The longest that a client rests between two requests.
    pub rest: Duration,
    /// Clients compact, and look at old revisions.
    pub compaction: bool,
    /// There are clients of tables.
    pub tables: bool,
    /// Tables have items that end.
    pub ends: bool,
    /// A table is deleted and made again, where there are other groups.
    pub drops: bool,
    /// What the faults are like.
    pub swarm: Swarm,
    /// Members come and go.
    pub members: bool,
    /// A planted bug.
    pub planted: Option<Planted>,
}

impl Knobs {
    /// The knobs of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::stream(seed, "knobs");
        let mut reads = Rng::stream(seed, "reading knobs");
        let mut clocks = Rng::stream(seed, "clock knobs");
        let mut groups = Rng::stream(seed, "how many groups");
        Self {
            nodes: if rng.chance(1, 4) { 5 } else { 3 },
            groups: if groups.chance(1, 3) { groups.between(2, 4) as u32 } else { 0 },
            zones: *Rng::stream(seed, "zone knobs").pick(&[0, 2, 3, 4]),
            drop: *rng.pick(&[0, 5, 30]),
            duplicate: *rng.pick(&[0, 5, 30]),
            late: true,
            election_min: Duration::from_millis(700),
            election_max: Duration::from_millis(1400),
            delay_max: Duration::from_micros(*rng.pick(&[300, 2_000, 30_000])),
            flush_max: Duration::from_micros(*rng.pick(&[200, 5_000, 40_000])),
            append_entries: *rng.pick(&[1, 4, 64, 1024]),
            window_messages: *Rng::stream(seed, "window knobs").pick(&[1, 4, 64]),
            commit_patience: Duration::from_millis(*Rng::stream(seed, "commit patience").pick(&[0, 1, 50])),
            log_keep_bytes: *rng.pick(&[200, 4_000, 100_000]),
            seal_bytes: *rng.pick(&[300, 2_000, 20_000, 200_000]),
            segment_bytes: *rng.pick(&[8 << 10, 64 << 10]),
            at_once: *reads.pick(&[0, 3, AT_ONCE]),
            ring_bytes: *reads.pick(&[300, 2_000, 8 << 20]),
            message_bytes: *reads.pick(&[4_000, 1 << 20]),
            read_max: Duration::from_micros(*reads.pick(&[500, 5_000, 30_000, 3_000_000])),
            lease_reads: clocks.chance(1, 2).then(|| *clocks.pick(&[0, 1_000, 50_000])),
            offsets: {
                let mut walls = Rng::stream(seed, "wall clock knobs");
                walls.chance(2, 3).then(|| *walls.pick(&[0, 0, 100, 500, 120_000]))
            },
            rest: Duration::from_millis(*Rng::stream(seed, "rest knobs").pick(&[20, 20, 300])),
            compaction: Rng::stream(seed, "compaction knobs").chance(1, 2),
            tables: Rng::stream(seed, "table knobs").chance(1, 2),
            ends: Rng::stream(seed, "items that end").chance(1, 3),
            drops: Rng::stream(seed, "tables that come and go").chance(1, 3),
            swarm: Swarm::all(),
            planted: None,
            members: Rng::stream(seed, "member knobs").chance(1, 2),
        }
    }

    /// Draws what the faults of this seed are like, too.
    pub fn swarm(mut self, seed: u64) -> Self {
        self.swarm = Swarm::draw(&mut Rng::stream(seed, "swarm"), &mut self);
        // From a stream of its own: what else a seed draws stays what it was.
        self.swarm = self.swarm.with_successions(&mut Rng::stream(seed, "successions of a round"));
        self.swarm.clocks = Rng::stream(seed, "clocks of a round").chance(1, 3);
        let flushes = *Rng::stream(seed, "failed flushes of a round").pick(&[0, 0, 3, 60]);
        self.swarm.flushes_last = (flushes > 0).then(|| Duration::from_millis(flushes));
        self.swarm = self.swarm.with_stranded(&mut Rng::stream(seed, "stranded nodes of a round"));
        self.swarm.machines = !self.swarm.alone && Rng::stream(seed, "machines of a round").chance(1, 3);
        if !self.swarm.alone {
            self.swarm.cut_at_decisions = *Rng::stream(seed, "gateways of a round").pick(&[0, 0, 5, 30]);
        }
        self
    }

    /// For one more round, all that may change while a cluster lives is as in `other`: network and disks at once, the rest where a
    /// node starts. What nodes must agree in, and what kinds of clients there are, stays.
    pub(crate) fn turn(&mut self, other: Self) {
        let Self { nodes, late, election_min, election_max, segment_bytes, lease_reads, .. } = *self;
        let Self { compaction, tables, ends, drops, groups, zones, members, planted, offsets, .. } = *self;
        *self = Self {
            nodes,
            groups,
            zones,
            late,
            election_min,
            election_max,
            segment_bytes,
            lease_reads,
            offsets,
            compaction,
            tables,
            ends,
            drops,
            members,
            planted,
            ..other
        };
    }
}
