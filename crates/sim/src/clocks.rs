//! Wall clocks that are set, forwards and backwards, by a second or by hours, while a cluster lives.
//!
//! What is promised of bounded reads holds as long as most clocks are right: so one at a time is wrong, and what others know of it may be
//! some seconds old before the next one is. Of that one node nothing is assumed. (Where all clocks are minutes apart from the
//! beginning, they stay so.) What hybrid clocks promise holds whatever wall clocks do, and is looked at after each step.

use crate::plan::Run;
use crate::steps::Breaker;
use crate::world::{Script, World, place_of};
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};
use quorate_clock::hybrid::WINDOW;
use quorate_clock::{Hlc, MAX_OFFSET, Wall};

/// For so long another one's clock may be remembered as it was.
const REMEMBERED: Duration = Duration::from_secs(6);

impl Run {
    /// A wall clock is set to something, or right again.
    pub(crate) fn set_clocks(&mut self, round: u64) {
        if self.calm || round != self.round {
            return;
        }
        let pause = Duration::from_millis(self.clocks.between(100, 6_000));
        self.world.schedule(pause, Script::Clocks(round));
        let far = match self.clocks.below(3) {
            0 => self.clocks.between(300, 1_500),
            1 => self.clocks.between(1_500, 10_000),
            _ => self.clocks.between(60_000, 7_200_000),
        } as i64;
        let far = if self.clocks.chance(1, 2) { far } else { -far };
        let right = self.clocks.chance(2, 3);
        let any = self.world.any(&mut self.clocks);
        let wrong = self.world.wrong_clock();
        let one = wrong.unwrap_or(any);
        if wrong.is_none() && !self.world.bears_a_wrong_clock() {
            return;
        }
        let Some(name) = self.world.takes(Breaker::Clocks) else { return };
        let to = if right && wrong.is_some() { 0 } else { far };
        self.world
            .fault(|| format!("{name}: the wall clock of n{one} is set, {to} ms from where it was at first"));
        self.world.set_clock(one, to);
    }
}

impl World {
    fn wrong_clock(&self) -> Option<NodeId> {
        self.places.iter().find(|place| !place.gone && place.set_by != 0).map(|place| place.id)
    }

    fn bears_a_wrong_clock(&self) -> bool {
        let apart = Duration::from_millis(self.knobs.offsets.unwrap_or(0));
        let long_ago = |at: Instant| self.now.since(at) > REMEMBERED;
        apart <= MAX_OFFSET && self.places.iter().all(|place| place.set_at.is_none_or(long_ago))
    }

    /// A node's wall clock shows so much more than it did at first.
    fn set_clock(&mut self, id: NodeId, by: i64) {
        let now = self.now;
        let place = &mut self.places[place_of(id)];
        let forwards = by > place.set_by;
        // Also if it makes a bound durable in between and shows none of it before its next life (seed 574).
        place.latest = place.latest.max(place.wall(now));
        place.set_wall(now, by);
        place.latest = place.latest.max(place.wall(now));
        self.counts.add(if forwards { "wall clocks set forwards" } else { "wall clocks set backwards" });
    }

    /// Before this moment no wall clock that there is, or was, has shown that.
    pub(crate) fn shown_first(&self, wall: Wall) -> Instant {
        self.places.iter().filter_map(|place| place.showed_first(wall)).min().unwrap_or(Instant::ZERO)
    }

    /// All clocks are right again.
    pub(crate) fn set_clocks_right(&mut self) {
        for at in 0..self.places.len() {
            if self.places[at].set_by != 0 {
                self.set_clock(self.places[at].id, 0);
            }
        }
    }

    /// Of a node's hybrid clock: it never goes back, over all lives, and wherever it goes its own wall clock has been, or nearly.
    pub(crate) fn check_hybrid(&mut self, at: usize) -> Result<(), String> {
        let wall = self.places[at].wall(self.now);
        let place = &mut self.places[at];
        let Some(running) = place.running.as_ref() else { return Ok(()) };
        let (id, shows) = (place.id, running.lane.hybrid());
        place.latest = place.latest.max(wall);
        if shows < place.showed {
            return Err(format!(
                "Clocks: the hybrid clock of node {id} showed {}, and now {shows}",
                place.showed
            ));
        }
        place.showed = shows;
        let most = place.latest.0 + (MAX_OFFSET + WINDOW).as_millis() as u64 + 1;
        if shows > Hlc::of(Wall(most)) {
            return Err(format!(
                "Clocks: the hybrid clock of node {id} shows {shows}, and its wall clock never more than {}",
                place.latest
            ));
        }
        Ok(())
    }
}
