//! Pages of the newest state of one shard of a table, by the clients that use all of them: whatever transactions are under way, each holds
//! what the shard did at one moment. So it counts as a transaction that reads the lists that lie there.

use super::{Doing, End, Noted, PLACES, Step, Tables, ask};
use std::collections::BTreeSet;

impl Tables {
    /// A page, where it is time for one.
    pub(super) fn leaf(&mut self, ms: u64) -> Option<Doing> {
        if !self.across || !self.leaves.chance(1, 8) {
            return None;
        }
        let lists: BTreeSet<u64> = (0..PLACES).map(|place| self.number(ms, place)).collect();
        self.lists.extend(&lists);
        let steps = lists.into_iter().map(|list| Step::Read(list, None)).collect();
        Some(Doing::Leaf(self.leaves.below(u64::from(self.shards.max(1))) as u32, steps))
    }

    /// What a page holds of the lists that it was asked for. Which of the others lie in its shard it does not say.
    pub(super) fn leafed(
        &mut self,
        client: usize,
        doing: Doing,
        items: &[(String, ask::Held)],
    ) -> &'static str {
        let Doing::Leaf(shard, mut steps) = doing else { return "pages" };
        let invoked = Doing::Leaf(shard, steps.clone());
        steps.retain_mut(|step| {
            let Step::Read(list, held) = step else { return false };
            let name = ask::list(*list);
            let found = items.iter().find(|(of, _)| *of == name);
            *held = found.map(|(_, held)| held.list.clone());
            held.is_some()
        });
        match steps.len() {
            0 => {
                self.note(client, End::Fail, &invoked);
                "pages"
            }
            1 => {
                self.note_as(client, End::Ok, Noted::Steps(steps));
                "pages"
            }
            _ => {
                self.note_as(client, End::Ok, Noted::Steps(steps));
                "pages of several lists"
            }
        }
    }
}
