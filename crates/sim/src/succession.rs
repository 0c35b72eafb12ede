//! Leaders that were succeeded and do not know it yet.
//!
//! A leader is parted from the others, in one of several ways, until another one leads and has committed something. Then that one is
//! parted in its turn, something happens to one of those who may have voted for it (most often it loses its disk, and with it the memory
//! of its vote), and the old leader is heard again while clients read and write there: at that moment it must know that it is none, or
//! do nothing that only a leader may do. All of it is drawn, each step may be left out, and the other faults go on beside it.

use crate::plan::Run;
use crate::steps::Breaker;
use crate::world::{Script, World, place_of};
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};
use quorate_node::lane::Event;

/// For so long it is waited for a successor, and for what it commits.
const PATIENCE: Duration = Duration::from_secs(4);
/// So often it is looked.
const LOOK: Duration = Duration::from_millis(8);

/// How a leader is parted from the others.
#[derive(Clone, Copy, Debug)]
enum Parting {
    CutOff,
    NotHeard,
    Deaf,
    /// The others learn at once that it is gone, and it does not.
    Broken,
    /// It stands still meanwhile: it finds that time has passed when it is heard again.
    Paused,
    /// It has been told to hand its leadership over, and is cut off as it does.
    HandedOver,
}

/// What happens to who succeeded it.
#[derive(Clone, Copy, Debug)]
enum Fall {
    CutOff,
    /// From the two that are to meet alone.
    CutFromTwo,
    Killed,
    PowerLost,
}

/// What happens to one of the others.
#[derive(Clone, Copy, Debug)]
enum Harm {
    DiskLost,
    Killed,
    PowerLost,
    Nothing,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// It is cut off as soon as it has told another to campaign.
    HandsOver,
    /// It is parted, and nobody leads in its place yet.
    Parted,
    /// Another leads, and has to commit what is newer than all that was acknowledged before.
    Succeeded { by: NodeId, revision: i64, since: Instant },
    /// It is heard again; clients come so many times more.
    Heard { by: NodeId, times: u64 },
}

/// One leader that is to be succeeded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Succession {
    old: NodeId,
    stage: Stage,
    /// Until when the stage may last.
    until: Instant,
    /// For so long the successor serves before the old leader is heard again: one that stands still meanwhile knows nothing of all that.
    linger: Duration,
}

impl Run {
    /// The next step of a succession, or the beginning of another.
    pub(crate) fn succession(&mut self, round: u64) {
        if self.calm || round != self.round {
            return;
        }
        let after = match self.succession {
            None => self.part_leader(),
            Some(now) => self.go_on(now),
        };
        let after = after.unwrap_or_else(|| {
            self.succession = None;
            Duration::from_millis(self.successions.between(200, 2_000))
        });
        self.world.schedule(after, Script::Succession(round));
    }

    /// A leader is parted from the others.
    fn part_leader(&mut self) -> Option<Duration> {
        let parting = match self.successions.below(10) {
            0 => Parting::CutOff,
            1 => Parting::NotHeard,
            2 => Parting::Deaf,
            3..=4 => Parting::Broken,
            5..=8 => Parting::Paused,
            _ => Parting::HandedOver,
        };
        let moment = self.world.knobs.delay_max.as_nanos() as u64;
        let moment = Duration::from_nanos(self.successions.below(2 * moment));
        let old = self.world.leader()?;
        let name = self.world.takes(Breaker::Successions)?;
        self.world.fault(|| {
            let how = match parting {
                Parting::CutOff => "is cut off",
                Parting::NotHeard => "is not heard",
                Parting::Deaf => "hears nothing",
                Parting::Broken => "is cut off, which the others are told,",
                Parting::Paused => "is paused, and cut off",
                Parting::HandedOver => "is to hand its leadership over, and is cut off then",
            };
            format!("{name}: the leader n{old} {how} until another leads")
        });
        let stage = if matches!(parting, Parting::HandedOver) {
            self.world.hand_over(old);
            Stage::HandsOver
        } else {
            let (out, into) = (!matches!(parting, Parting::Deaf), !matches!(parting, Parting::NotHeard));
            self.isolate(old, out, into);
            Stage::Parted
        };
        match parting {
            Parting::Paused => self.world.pause(old, PATIENCE),
            Parting::Broken => self.world.tell_down(old),
            _ => {}
        }
        let linger = match parting {
            Parting::Paused => Duration::from_millis(*self.successions.pick(&[0, 0, 500, 1_500])),
            _ => Duration::ZERO,
        };
        self.succession = Some(Succession { old, stage, until: self.world.now + PATIENCE, linger });
        Some(if matches!(stage, Stage::HandsOver) { moment } else { LOOK })
    }

    fn go_on(&mut self, now: Succession) -> Option<Duration> {
        let Succession { old, stage, until, linger } = now;
        let newer = self.world.leader().filter(|&leader| leader != old);
        if self.world.now > until || !self.world.leads(old) {
            self.reunite(now);
            return None;
        }
        let to = |stage| Some(Succession { stage, ..now });
        match stage {
            Stage::HandsOver => {
                self.isolate(old, true, true);
                self.succession = to(Stage::Parted);
            }
            Stage::Parted => {
                if let Some(by) = newer {
                    for _ in 0..self.successions.between(1, 3) {
                        self.guest_writes(by);
                    }
                    let since = self.world.now;
                    self.succession = to(Stage::Succeeded { by, revision: self.acknowledged, since });
                }
            }
            Stage::Succeeded { by, revision, since }
                if self.acknowledged > revision && self.world.now.since(since) >= linger =>
            {
                self.world.counts.add("leaders succeeded unawares");
                if !self.meet(old, by) {
                    self.reunite(now);
                    return None;
                }
                let times = self.successions.between(3, 25);
                self.succession = to(Stage::Heard { by, times });
            }
            Stage::Succeeded { .. } => {}
            Stage::Heard { times: 0, .. } => {
                self.reunite(now);
                return None;
            }
            Stage::Heard { by, times } => {
                self.world.counts.add("reads at leaders that were succeeded");
                for _ in 0..self.successions.between(1, 3) {
                    self.guest_reads(old);
                }
                if self.successions.chance(1, 8) {
                    self.guest_writes(old);
                }
                self.succession = to(Stage::Heard { by, times: times - 1 });
                return Some(Duration::from_millis(self.successions.between(1, 60)));
            }
        }
        Some(LOOK)
    }

    /// The successor falls, one of the others is harmed, and the old leader is heard again by all but its successor. False if that step
    /// is left out.
    fn meet(&mut self, old: NodeId, by: NodeId) -> bool {
        let fall = match self.successions.below(8) {
            0..=3 => Fall::CutOff,
            4..=5 => Fall::CutFromTwo,
            6 => Fall::Killed,
            _ => Fall::PowerLost,
        };
        let harm = match self.successions.below(8) {
            0..=4 => Harm::DiskLost,
            5 => Harm::Killed,
            6 => Harm::PowerLost,
            _ => Harm::Nothing,
        };
        let others: Vec<NodeId> = self.world.ids().filter(|&id| id != old && id != by).collect();
        if others.is_empty() {
            return false;
        }
        let one = *self.successions.pick(&others);
        let after = Duration::from_millis(self.successions.below(60));
        let Some(name) = self.world.takes(Breaker::Successions) else { return false };
        self.world.fault(|| {
            let fall = match fall {
                Fall::CutOff => "is cut off".into(),
                Fall::CutFromTwo => format!("is cut off from n{old} and n{one}"),
                Fall::Killed => "is killed".into(),
                Fall::PowerLost => "loses its power".into(),
            };
            let harm = match harm {
                Harm::DiskLost => format!("n{one} is killed and loses its disk, if none else is harmed, "),
                Harm::Killed => format!("n{one} is killed, "),
                Harm::PowerLost => format!("n{one} loses its power, "),
                Harm::Nothing => String::new(),
            };
            format!("{name}: n{by}, which leads now, {fall}, {harm}and n{old}, which led, is heard again")
        });
        match fall {
            Fall::CutOff => self.isolate(by, true, true),
            Fall::CutFromTwo => {
                for node in [old, one] {
                    self.world.cut(by, node);
                    self.world.cut(node, by);
                }
            }
            Fall::Killed => self.world.kill(by),
            Fall::PowerLost => self.world.power_loss(by),
        }
        match harm {
            Harm::DiskLost => {
                self.world.kill(one);
                if self.may_lose_disks {
                    self.world.lose_disk(one);
                }
            }
            Harm::Killed => self.world.kill(one),
            Harm::PowerLost => self.world.power_loss(one),
            Harm::Nothing => {}
        }
        self.world.schedule(after, Script::Start(one));
        let of = |link: (NodeId, NodeId), node| link.0 == node || link.1 == node;
        self.world.cut.retain(|&link| !of(link, old) || of(link, by));
        self.world.reaches(old);
        true
    }

    /// Nobody is kept apart any more.
    pub(crate) fn reunite(&mut self, Succession { old, stage, .. }: Succession) {
        self.rejoin(old);
        if let Stage::Succeeded { by, .. } | Stage::Heard { by, .. } = stage {
            self.rejoin(by);
            self.world.start(by);
        }
        self.world.reaches(old);
    }
}

impl World {
    /// A node goes on, and its connections to those whom it reaches are there.
    fn reaches(&mut self, id: NodeId) {
        for peer in self.ids().filter(|&peer| peer != id) {
            if self.is_up(id) && !self.cut.contains(&(id, peer)) {
                self.deliver(peer, Event::PeerUp(id));
                self.settle(place_of(peer));
            }
        }
        self.places[place_of(id)].paused_until = None;
        self.settle(place_of(id));
    }
}
