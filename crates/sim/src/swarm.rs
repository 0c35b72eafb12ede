//! Which faults a run has, and those that strike between two effects of a node.

use crate::knobs::Knobs;
use crate::steps::Breaker;
use crate::stranded::ALONE;
use crate::world::{Script, World};
use quorate_base::time::Duration;
use quorate_base::{NodeId, Rng};

/// What the faults of one run are like: not all at once, since one kind can keep another from showing (swarm testing, Groce et al.,
/// ISSTA 2012).
#[derive(Clone, Debug)]
pub struct Swarm {
    /// By number, which of the nemesis' steps it takes.
    pub steps: u32,
    /// The longest pause between two of them.
    pub pause_max: Duration,
    /// Power goes between two effects of a node, of 100,000.
    pub cut_at_effects: u64,
    /// Power goes behind a vote or a new term that was not yet flushed, of 100.
    pub cut_at_votes: u64,
    /// A new leader is harmed within this time.
    pub leaders_last: Option<Duration>,
    /// A node that went down comes back within this time; without it, when the nemesis mends.
    pub down_at_most: Option<Duration>,
    /// Bits flip.
    pub flips: bool,
    /// Disks fail.
    pub disks: bool,
    /// Disks are put back to old copies, too.
    pub copies: bool,
    /// Power goes behind a flush that makes a checkpoint or a snapshot count, of 100.
    pub cut_at_marks: u64,
    /// Who has voted goes down within this time.
    pub voters_last: Option<Duration>,
    /// What replaced entries of a log is harmed within this time.
    pub rewrites_last: Option<Duration>,
    /// Whose disk has failed a flush loses its power within this time.
    pub flushes_last: Option<Duration>,
    /// Many writes come at once.
    pub bursts: bool,
    /// Leaders are succeeded and do not know it; see `succession.rs`.
    pub successions: bool,
    /// And then nothing else breaks.
    pub alone: bool,
    /// Wall clocks are set; see `clocks.rs`.
    pub clocks: bool,
    /// Nodes to which replicas move are cut off for long; see `stranded.rs`.
    pub stranded: bool,
    /// Machines stand still; see `machines.rs`.
    pub machines: bool,
    /// A gateway goes down as it answers that a transaction over shards is done, before anybody else hears of that, of 1,000.
    pub cut_at_decisions: u64,
}

impl Swarm {
    /// All that there is, each at its usual pace.
    pub fn all() -> Self {
        Self {
            steps: u32::MAX,
            pause_max: Duration::from_millis(2500),
            cut_at_effects: 0,
            cut_at_votes: 0,
            leaders_last: None,
            down_at_most: None,
            flips: true,
            disks: true,
            copies: true,
            cut_at_marks: 0,
            voters_last: None,
            rewrites_last: None,
            flushes_last: None,
            bursts: false,
            successions: false,
            alone: false,
            clocks: false,
            stranded: false,
            machines: false,
            cut_at_decisions: 0,
        }
    }

    /// That of a seed, with what of the other knobs goes with it.
    pub(crate) fn draw(rng: &mut Rng, knobs: &mut Knobs) -> Self {
        let millis = |n: u64| (n > 0).then(|| Duration::from_millis(n));
        let some = Self {
            steps: rng.next_u64() as u32,
            pause_max: Duration::from_millis(*rng.pick(&[300, 2_500, 10_000])),
            cut_at_effects: *rng.pick(&[0, 0, 20, 200]),
            down_at_most: millis(*rng.pick(&[0, 20, 300, 3_000])),
            flips: rng.chance(1, 3),
            disks: rng.chance(1, 3),
            copies: rng.chance(1, 2),
            cut_at_marks: *rng.pick(&[0, 0, 5, 30]),
            rewrites_last: millis(*rng.pick(&[0, 300, 1_000])),
            bursts: rng.chance(1, 2),
            ..Self::all()
        };
        match rng.below(4) {
            0 => Self::all(),
            1 => some,
            // Elections, one upon the other.
            2 => {
                (knobs.nodes, knobs.append_entries) = (*rng.pick(&[3, 5, 5]), *rng.pick(&[1, 1, 1024]));
                knobs.window_messages = *rng.pick(&[1, 1, 64]);
                (knobs.election_min, knobs.election_max) = *rng.pick(&[
                    (Duration::from_millis(250), Duration::from_millis(300)),
                    (Duration::from_millis(700), Duration::from_millis(1400)),
                ]);
                let (leaders_last, cut_at_votes) =
                    (millis(*rng.pick(&[0, 3, 60, 1_000])), *rng.pick(&[0, 3, 20]));
                let voters_last = millis(*rng.pick(&[0, 0, 3, 60]));
                let flips = rng.chance(1, 2);
                Self { leaders_last, voters_last, cut_at_votes, flips, disks: false, ..some }
            }
            // What a disk says is wrong, and the node goes up and down with it.
            _ => Self {
                flips: true,
                disks: rng.chance(1, 2),
                down_at_most: millis(*rng.pick(&[20, 300])),
                ..some
            },
        }
    }
}

impl Swarm {
    /// With successions of leaders, by chance: beside all else, or with nothing else that breaks them off.
    pub(crate) fn with_successions(self, rng: &mut Rng) -> Self {
        if !rng.chance(1, 3) {
            return self;
        }
        if rng.chance(1, 3) {
            return Self { successions: true, ..self };
        }
        let (flips, disks, copies) = (false, false, false);
        let bursts = self.bursts;
        Self { successions: true, alone: true, flips, disks, copies, bursts, ..Self::all() }
    }
}

impl Swarm {
    /// With nodes that are stranded, by chance: beside all else, or with nothing else.
    pub(crate) fn with_stranded(self, rng: &mut Rng) -> Self {
        if !rng.chance(1, 5) {
            return self;
        }
        let (some, all) = ALONE;
        if self.alone || !rng.chance(some, all) {
            return Self { stranded: true, ..self };
        }
        let (flips, disks, copies) = (false, false, false);
        let bursts = self.bursts;
        Self { stranded: true, alone: true, flips, disks, copies, bursts, ..Self::all() }
    }
}

impl World {
    /// A node that went down comes back by itself, where that is how it is.
    pub(crate) fn come_back(&mut self, id: NodeId) {
        if let (true, Some(most)) = (self.faults_on, self.knobs.swarm.down_at_most) {
            let after = Duration::from_nanos(self.swarm.below(most.as_nanos() as u64));
            self.schedule(after, Script::Start(id));
        }
    }

    /// A new leader is harmed soon, where that is how it is.
    pub(crate) fn envy(&mut self, leader: NodeId) {
        if let (true, Some(most)) = (self.faults_on, self.knobs.swarm.leaders_last) {
            let after = Duration::from_nanos(self.swarm.below(most.as_nanos() as u64));
            self.schedule(after, Script::HarmLeader(leader));
        }
    }

    /// Who has voted is harmed soon, where that is how it is.
    pub(crate) fn spite(&mut self, voter: NodeId) {
        if let (true, Some(most)) = (self.faults_on, self.knobs.swarm.voters_last)
            && self.swarm.chance(1, 4)
        {
            let after = Duration::from_nanos(self.swarm.below(most.as_nanos() as u64));
            self.schedule(after, Script::HarmVoter(voter));
        }
    }

    /// A disk that has failed a flush is no good: soon its power goes, where that is how it is. (What that flush lost lies at the end of
    /// the log for moments only; behind it, it is damage that is seen as such.)
    pub(crate) fn doubt(&mut self, node: NodeId) {
        if let (true, Some(most)) = (self.faults_on, self.knobs.swarm.flushes_last) {
            let after = Duration::from_nanos(self.swarm.below(most.as_nanos() as u64));
            self.schedule(after, Script::HarmFlusher(node));
        }
    }

    /// Who has replaced entries of its log is harmed soon, where that is how it is.
    pub(crate) fn regret(&mut self, node: NodeId) {
        if let (true, Some(most)) = (self.faults_on, self.knobs.swarm.rewrites_last)
            && self.swarm.chance(1, 2)
        {
            let after = Duration::from_nanos(self.swarm.below(most.as_nanos() as u64));
            self.schedule(after, Script::HarmRewriter(node));
        }
    }

    /// Whether a node loses its power here, where a checkpoint or a snapshot has just begun to count: rather where a log lies `behind`
    /// that is none any more.
    pub(crate) fn power_goes_at_mark(&mut self, id: NodeId, behind: bool) -> bool {
        let often = self.knobs.swarm.cut_at_marks * if behind { 10 } else { 1 };
        let goes = self.faults_on && often > 0 && self.swarm.chance(often, 100);
        let Some(name) = goes.then(|| self.takes(Breaker::Effects)).flatten() else { return false };
        self.counts.add("power lost behind a checkpoint");
        self.fault(|| format!("{name}: the power of n{id} goes as its checkpoint begins to count"));
        true
    }

    /// A gateway that has just answered goes down, with all that it was about to say, where that is how it is; true if it does.
    pub(crate) fn gateway_goes(&mut self, id: NodeId) -> bool {
        let often = self.knobs.swarm.cut_at_decisions;
        let goes = self.faults_on && often > 0 && self.swarm.chance(often, 1_000);
        let Some(name) = goes.then(|| self.takes(Breaker::Effects)).flatten() else { return false };
        self.counts.add("gateways lost as they answered");
        self.fault(|| format!("{name}: n{id} goes down as it answers that a transaction is done"));
        if self.swarm.chance(1, 2) {
            self.kill(id);
        } else {
            self.power_loss(id);
        }
        true
    }

    /// Whether a node loses its power here, with what it has said on its way and what it has written not flushed.
    pub(crate) fn power_goes(&mut self, id: NodeId, voted: bool) -> bool {
        let Swarm { cut_at_effects, cut_at_votes, .. } = self.knobs.swarm;
        let goes = self.faults_on
            && ((cut_at_effects > 0 && self.swarm.chance(cut_at_effects, 100_000))
                || (voted && cut_at_votes > 0 && self.swarm.chance(cut_at_votes, 100)));
        let Some(name) = goes.then(|| self.takes(Breaker::Effects)).flatten() else { return false };
        self.counts.add("power lost between two effects");
        self.fault(|| format!("{name}: the power of n{id} goes between two effects"));
        true
    }
}
