//! The oracle: the definitions themselves, by enumeration of all orders. Slow, and meant to be believed.

use quorate_check::sessions::Level;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    /// A value; 0 is what the cell held at first.
    Wrote(u32),
    /// 0: what the cell held at first.
    Read(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) session: u32,
    pub(crate) key: u32,
    pub(crate) did: Did,
    /// Nobody heard how it ended.
    pub(crate) lost: bool,
}

/// Operations in the order of time, of which each session's is its own.
pub(crate) struct Oracle {
    /// One for each choice of lost writes that happened.
    worlds: Vec<World>,
}

struct World {
    ops: Vec<Op>,
}

impl Oracle {
    pub(crate) fn new(ops: &[Op]) -> Self {
        let told: Vec<Op> =
            ops.iter().filter(|op| !(op.lost && matches!(op.did, Did::Read(_)))).copied().collect();
        let lost: Vec<usize> = (0..told.len()).filter(|&place| told[place].lost).collect();
        let worlds = (0..1u32 << lost.len()).map(|chosen| {
            let gone = |place: usize| {
                lost.iter().position(|&it| it == place).is_some_and(|bit| chosen & 1 << bit == 0)
            };
            World { ops: (0..told.len()).filter(|&place| !gone(place)).map(|place| told[place]).collect() }
        });
        Self { worlds: worlds.collect() }
    }

    pub(crate) fn holds(&self, level: Level) -> bool {
        self.worlds.iter().any(|world| world.holds(level))
    }
}

type Mask = u32;

fn members(mask: Mask) -> impl Iterator<Item = usize> {
    (0..32).filter(move |bit| mask & 1 << bit != 0)
}

impl World {
    fn len(&self) -> usize {
        self.ops.len()
    }

    /// By operation: those of its session before it.
    fn sessions(&self) -> Vec<Mask> {
        (0..self.len())
            .map(|place| {
                (0..place)
                    .filter(|&it| self.ops[it].session == self.ops[place].session)
                    .map(|it| 1 << it)
                    .sum()
            })
            .collect()
    }

    fn holds(&self, level: Level) -> bool {
        let po = self.sessions();
        let all: Mask = (1 << self.len()) - 1;
        match level {
            Level::Sequential => self.orderable(all, &po, all),
            Level::Pram => (0..self.len()).all(|place| {
                let own = self.only(|op| op.session == self.ops[place].session);
                self.orderable(own | self.only(|op| matches!(op.did, Did::Wrote(_))), &po, own)
            }),
            Level::Cc | Level::Cm | Level::Ccv => self.causal(level, &mut po.clone(), &po, 0, 1),
            Level::Convergence => self.converges(),
            _ => self.deciders(level, &mut Vec::new()),
        }
    }

    fn only(&self, which: impl Fn(&Op) -> bool) -> Mask {
        (0..self.len()).filter(|&place| which(&self.ops[place])).map(|place| 1 << place).sum()
    }

    /// True where the operations have an order that keeps `before` and in which the reads of `asked` are right.
    fn orderable(&self, which: Mask, before: &[Mask], asked: Mask) -> bool {
        self.extend(which, before, asked, 0, [0; 4])
    }

    fn extend(&self, which: Mask, before: &[Mask], asked: Mask, placed: Mask, held: [u32; 4]) -> bool {
        if placed == which {
            return true;
        }
        members(which & !placed).any(|place| {
            if before[place] & which & !placed != 0 {
                return false;
            }
            let (op, mut held) = (self.ops[place], held);
            match op.did {
                Did::Wrote(value) => held[op.key as usize] = value,
                Did::Read(value) if asked & 1 << place != 0 && held[op.key as usize] != value => {
                    return false;
                }
                Did::Read(_) => {}
            }
            self.extend(which, before, asked, placed | 1 << place, held)
        })
    }

    /// Tries all causality orders that keep each session's: each pair is ordered one way, the other, or not.
    fn causal(&self, level: Level, co: &mut Vec<Mask>, po: &[Mask], one: usize, other: usize) -> bool {
        if other >= self.len() {
            return if one + 2 < self.len() {
                self.causal(level, co, po, one + 1, one + 2)
            } else {
                self.is_causal(level, co, po)
            };
        }
        if self.causal(level, co, po, one, other + 1) {
            return true;
        }
        if po[other] & 1 << one != 0 {
            return false;
        }
        for (from, to) in [(one, other), (other, one)] {
            co[to] |= 1 << from;
            let found = self.causal(level, co, po, one, other + 1);
            co[to] &= !(1 << from);
            if found {
                return true;
            }
        }
        false
    }

    fn is_causal(&self, level: Level, co: &[Mask], po: &[Mask]) -> bool {
        let closed = (0..self.len()).all(|place| {
            co[place] & 1 << place == 0 && members(co[place]).all(|it| co[it] & !co[place] == 0)
        });
        if !closed {
            return false;
        }
        match level {
            Level::Cc => (0..self.len()).all(|it| self.orderable(co[it] | 1 << it, co, 1 << it)),
            Level::Cm => (0..self.len()).all(|it| self.orderable(co[it] | 1 << it, co, po[it] | 1 << it)),
            _ => self.arbitrated(co, 0, &mut Vec::new()),
        }
    }

    /// Tries all orders of all operations that keep causality.
    fn arbitrated(&self, co: &[Mask], placed: Mask, order: &mut Vec<usize>) -> bool {
        if order.len() == self.len() {
            return (0..self.len()).all(|place| match self.ops[place].did {
                Did::Wrote(_) => true,
                Did::Read(value) => self.last(order, co[place], self.ops[place].key) == value,
            });
        }
        (0..self.len()).any(|place| {
            if placed & 1 << place != 0 || co[place] & !placed != 0 {
                return false;
            }
            order.push(place);
            let found = self.arbitrated(co, placed | 1 << place, order);
            order.pop();
            found
        })
    }

    /// What a cell holds behind those of an order that are in a mask.
    fn last(&self, order: &[usize], mask: Mask, key: u32) -> u32 {
        let mut held = 0;
        for &place in order.iter().filter(|&&place| mask & 1 << place != 0) {
            match self.ops[place].did {
                Did::Wrote(value) if self.ops[place].key == key => held = value,
                _ => {}
            }
        }
        held
    }

    /// By operation: the write that a read saw; tries all where values repeat.
    fn deciders(&self, level: Level, chosen: &mut Vec<Option<usize>>) -> bool {
        let place = chosen.len();
        let Some(op) = self.ops.get(place) else {
            // What a session asks for itself it asks of an order of its own.
            let own = matches!(level, Level::ReadYourWrites | Level::MonotonicReads);
            return if own {
                (0..self.len())
                    .all(|it| self.guarantee(level, chosen, Some(self.ops[it].session), &mut Vec::new()))
            } else {
                self.guarantee(level, chosen, None, &mut Vec::new())
            };
        };
        let mut may = Vec::new();
        if let Did::Read(value) = op.did {
            may.extend((value == 0).then_some(None));
            let wrote = |it: &usize| self.ops[*it].did == Did::Wrote(value) && self.ops[*it].key == op.key;
            may.extend((0..self.len()).filter(wrote).map(Some));
        } else {
            may.push(None);
        }
        may.into_iter().any(|by| {
            chosen.push(by);
            let found = self.deciders(level, chosen);
            chosen.pop();
            found
        })
    }

    /// Tries all orders of the writes in which each session's writes to one cell are in its order.
    fn guarantee(
        &self,
        level: Level,
        decided: &[Option<usize>],
        session: Option<u32>,
        order: &mut Vec<usize>,
    ) -> bool {
        let writes = self.only(|op| matches!(op.did, Did::Wrote(_)));
        if order.len() == writes.count_ones() as usize {
            return (0..self.len())
                .filter(|&place| matches!(self.ops[place].did, Did::Read(_)))
                .filter(|&place| session.is_none_or(|session| self.ops[place].session == session))
                .all(|read| self.served(level, decided, order, read, writes));
        }
        members(writes).any(|place| {
            let early = members(self.sessions()[place]).any(|it| {
                writes & 1 << it != 0 && self.ops[it].key == self.ops[place].key && !order.contains(&it)
            });
            if order.contains(&place) || early {
                return false;
            }
            order.push(place);
            let found = self.guarantee(level, decided, session, order);
            order.pop();
            found
        })
    }

    /// True where some set of writes serves a read.
    fn served(
        &self,
        level: Level,
        deciders: &[Option<usize>],
        order: &[usize],
        read: usize,
        writes: Mask,
    ) -> bool {
        let sessions = self.sessions();
        let decided = |reads: Mask| -> Mask {
            members(reads).filter_map(|it| deciders[it]).fold(0, |mask, by| mask | 1 << by)
        };
        let at = |write: usize| order.iter().position(|&it| it == write);
        (0..=writes).filter(|set| set & !writes == 0).any(|set| {
            let fine = match level {
                Level::ReadYourWrites => sessions[read] & writes & !set == 0,
                Level::MonotonicReads => decided(sessions[read]) & !set == 0,
                Level::MonotonicWrites => members(set).all(|write| {
                    members(sessions[write] & writes).all(|it| set & 1 << it != 0 && at(it) < at(write))
                }),
                _ => members(set).all(|write| {
                    members(decided(sessions[write])).all(|it| set & 1 << it != 0 && at(it) < at(write))
                }),
            };
            let of_key = |it: &&usize| set & 1 << **it != 0 && self.ops[**it].key == self.ops[read].key;
            fine && order.iter().rfind(of_key).copied() == deciders[read]
        })
    }

    fn converges(&self) -> bool {
        let quiet = |place: usize| {
            !self.ops[place..]
                .iter()
                .any(|op| op.key == self.ops[place].key && matches!(op.did, Did::Wrote(_)))
                && !self
                    .ops
                    .iter()
                    .any(|op| op.key == self.ops[place].key && matches!(op.did, Did::Wrote(_)) && op.lost)
        };
        let last = |place: usize| {
            !self.ops[place + 1..].iter().any(|op| {
                op.session == self.ops[place].session
                    && op.key == self.ops[place].key
                    && matches!(op.did, Did::Read(_))
            })
        };
        let ends: Vec<&Op> = (0..self.len())
            .filter(|&place| matches!(self.ops[place].did, Did::Read(_)) && quiet(place) && last(place))
            .map(|place| &self.ops[place])
            .collect();
        ends.iter().all(|one| ends.iter().all(|other| one.key != other.key || one.did == other.did))
    }
}
