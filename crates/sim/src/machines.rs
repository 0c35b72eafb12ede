//! Machines that stand still: a node hears and says all that it should, and applies nothing of it for a while, since its disk compacts, or
//! its processor has other work. What it serves from its own state meanwhile must not be taken for more than it is.

use crate::plan::Run;
use crate::steps::Breaker;
use crate::world::{Script, World, place_of};
use quorate_base::time::Duration;
use quorate_base::{Instant, NodeId};

/// So often it is looked whether a machine goes on.
const LOOK: Duration = Duration::from_millis(40);

impl Run {
    /// A machine stands still for a while.
    pub(crate) fn still_machines(&mut self, round: u64) {
        if self.calm || round != self.round {
            return;
        }
        let pause = Duration::from_millis(self.machines.between(200, 6_000));
        self.world.schedule(pause, Script::Machines(round));
        let one = self.world.any(&mut self.machines);
        let most = *self.machines.pick(&[200, 1_500, 5_000]);
        let span = Duration::from_millis(self.machines.between(50, most));
        let Some(name) = self.world.takes(Breaker::Machines) else { return };
        self.world.fault(|| format!("{name}: the machine of n{one} applies nothing for {span:?}"));
        self.world.still_machine(one, span);
    }
}

impl World {
    /// What a node has committed is not applied there for so long.
    fn still_machine(&mut self, id: NodeId, span: Duration) {
        let place = &mut self.places[place_of(id)];
        if place.running.is_some() {
            place.still_until = Some(self.now + span);
            self.counts.add("machines that stood still");
        }
    }

    /// How long a machine that was to work now waits before it looks again.
    pub(crate) fn machine_waits(&self, at: usize) -> Option<Duration> {
        let until: Instant = self.places[at].still_until?;
        (until > self.now).then(|| until.since(self.now).min(LOOK))
    }
}
