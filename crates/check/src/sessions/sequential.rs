//! Sequential consistency of any model, by search.
//!
//! It looks for one order of all operations that keeps each session's order and that the model allows; real time is free. A
//! place of the search is how far each session came and what each object is; it is visited once. What only observes is placed
//! as soon as it fits, which loses nothing. The session whose next operation was invoked first is tried first: where the
//! system was nearly linearizable, that goes straight through. For k sessions of n operations there are at most n^k places
//! for each state, so a budget bounds it.
//!
//! Takes every kind of `info` and `fail`: an operation of unknown outcome is the last of its session and may be left out.

use super::{shrink, spent_words};
use crate::budget::{Budget, Spent};
use crate::history::{Call, History, NEVER};
use crate::machine::Machine;
use crate::model::Model;
use crate::models::{self, With};
use crate::read::BadInput;
use crate::table::Table;
use crate::value::Value;
use crate::verdict::{Verdict, Witness};

/// The name of this algorithm in verdicts.
pub const NAME: &str = "search over the sessions' positions";

/// Judges a history.
pub fn judge(
    model: &str,
    initial: Value,
    history: &History,
    budget: &mut Budget<'_>,
) -> Result<Verdict, BadInput> {
    models::with(model, initial, &history.values, Sequential { history, budget })
}

struct Sequential<'a, 'b, 'c> {
    history: &'a History,
    budget: &'b mut Budget<'c>,
}

impl With for Sequential<'_, '_, '_> {
    type Out = Verdict;

    fn with<M>(self, model: M) -> Result<Verdict, BadInput>
    where
        M: Model + Send + 'static,
        M::Action: Send,
    {
        let mut calls: Vec<(Call<u32>, u32)> = Vec::new();
        let mut actions: Vec<M::Action> = Vec::new();
        let mut known: Table<M::Action, u32> = Table::default();
        let (mut keys, mut objects): (Table<Value, u32>, u32) = (Table::default(), 0);
        for (source, operation) in self.history.operations.iter().enumerate() {
            let action = model
                .action(operation, &self.history.values)
                .map_err(|what| BadInput::new(what, "is this the right --model?"))?;
            let Some(action) = action else { continue };
            if operation.returned == NEVER && model.observes(&action) {
                continue;
            }
            let key = if model.keyed() { operation.key } else { Value::NIL };
            let key = *keys.or_insert_with(key, || objects);
            objects = objects.max(key + 1);
            let fresh = actions.len() as u32;
            let class = *known.or_insert_with(action.clone(), || fresh);
            if class == fresh {
                actions.push(action);
            }
            let call = Call {
                process: operation.process,
                invoked: operation.invoked,
                returned: operation.returned,
                action: class,
                source: source as u32,
            };
            calls.push((call, key));
        }
        Ok(match search(&model, &actions, &calls, self.budget) {
            Ok(None) => Verdict::Proved { by: NAME },
            Ok(Some(placed)) => {
                let core = shrink::shrink(&model, &actions, &calls, self.budget);
                Verdict::Refuted(Witness {
                    kind: "no order".into(),
                    words: format!(
                        "no order of all operations keeps each session's; at best {placed} of {} can be placed; {} alone \
                         have none: {}",
                        calls.len(),
                        core.len(),
                        shown(&core, self.history)
                    ),
                    core,
                    by: NAME,
                })
            }
            Err(spent) => Verdict::Unknown { why: spent_words(spent) },
        })
    }
}

/// The first operations of a core.
fn shown(core: &[u32], history: &History) -> String {
    let first: Vec<String> = core.iter().take(8).map(|&operation| history.show(operation)).collect();
    format!("{}{}", first.join("; "), if core.len() > 8 { "; …" } else { "" })
}

/// Nothing where an order was found, else how many could be placed at most. What it kept is given back.
pub(super) fn search<M: Model>(
    model: &M,
    actions: &[M::Action],
    calls: &[(Call<u32>, u32)],
    budget: &mut Budget<'_>,
) -> Result<Option<u32>, Spent> {
    let mut plan =
        Plan { observes: actions.iter().map(|action| model.observes(action)).collect(), ..Plan::default() };
    for &(call, key) in calls {
        plan.add(call, key);
    }
    let before = budget.bytes();
    let found = Search::new(model, actions, &plan, budget).and_then(|mut search| search.run(budget));
    budget.give(budget.bytes() - before);
    found
}

/// The calls session by session, each with the number of its object.
#[derive(Default)]
struct Plan {
    sessions: Vec<Vec<(Call<u32>, u32)>>,
    numbers: Table<u32, u32>,
    keys: u32,
    observes: Vec<bool>,
    total: u32,
}

impl Plan {
    fn add(&mut self, call: Call<u32>, key: u32) {
        let next = self.sessions.len() as u32;
        let session = *self.numbers.or_insert_with(call.process, || next);
        if session == next {
            self.sessions.push(Vec::new());
        }
        self.sessions[session as usize].push((call, key));
        self.keys = self.keys.max(key + 1);
        self.total += 1;
    }
}

/// A place, and what comes next from it.
struct Frame {
    /// How far each session is, then each object's state.
    place: Box<[u32]>,
    /// Sessions in the order in which they are tried, each with the number of its result that comes next.
    tried: u32,
    nth: u32,
    placed: u32,
}

struct Search<'a> {
    machine: Machine<'a>,
    plan: &'a Plan,
    known: Table<Box<[u32]>, ()>,
    stack: Vec<Frame>,
    needed: u32,
    best: u32,
}

impl<'a> Search<'a> {
    fn new<M: Model>(
        model: &'a M,
        actions: &'a [M::Action],
        plan: &'a Plan,
        budget: &mut Budget<'_>,
    ) -> Result<Self, Spent> {
        let pending = plan.sessions.iter().flatten().filter(|(call, _)| call.pending()).count() as u32;
        Ok(Self {
            machine: Machine::new(model, actions, budget)?,
            plan,
            known: Table::default(),
            stack: Vec::new(),
            needed: plan.total - pending,
            best: 0,
        })
    }

    /// Nothing where an order was found, else how many could be placed at most.
    fn run(&mut self, budget: &mut Budget<'_>) -> Result<Option<u32>, Spent> {
        let mut start = vec![0u32; self.plan.sessions.len()];
        start.resize(self.plan.sessions.len() + self.plan.keys as usize, Machine::INITIAL);
        if self.arrive(start, 0, budget)? {
            return Ok(None);
        }
        while let Some(mut frame) = self.stack.pop() {
            // A step looks at every session: the clock costs nothing beside it.
            budget.look()?;
            if let Some(next) = self.next(&mut frame, budget)? {
                let placed = frame.placed;
                self.stack.push(frame);
                if self.arrive(next.0, placed + next.1, budget)? {
                    return Ok(None);
                }
            }
        }
        Ok(Some(self.best))
    }

    /// Places what only observes and fits; notes the place. True where all that returned is placed.
    fn arrive(
        &mut self,
        mut place: Vec<u32>,
        mut placed: u32,
        budget: &mut Budget<'_>,
    ) -> Result<bool, Spent> {
        let sessions = self.plan.sessions.len();
        let mut moved = true;
        while moved {
            moved = false;
            for session in 0..sessions {
                while let Some((call, key)) = self.plan.sessions[session].get(place[session] as usize) {
                    if !self.plan.observes[call.action as usize]
                        || !self.machine.enabled(place[sessions + *key as usize], call.action, budget)?
                    {
                        break;
                    }
                    place[session] += 1;
                    placed += 1;
                    moved = true;
                }
            }
        }
        self.best = self.best.max(placed);
        if placed == self.needed {
            return Ok(true);
        }
        if self.known.get(&place[..]).is_none() {
            // Twice, here and on the stack, each behind a pointer; and its slot in the table, of which a part is empty.
            budget.take(2 * (4 * place.len() as u64 + 16) + 72)?;
            let place: Box<[u32]> = place.into();
            self.known.insert(place.clone(), ());
            self.stack.push(Frame { place, tried: 0, nth: 0, placed });
        }
        Ok(false)
    }

    /// The next place from here, and how many completed operations that placed.
    fn next(&mut self, frame: &mut Frame, budget: &mut Budget<'_>) -> Result<Option<(Vec<u32>, u32)>, Spent> {
        let sessions = self.plan.sessions.len();
        let mut heads: Vec<(bool, u32, usize)> = (0..sessions)
            .filter_map(|session| {
                let (call, _) = self.plan.sessions[session].get(frame.place[session] as usize)?;
                (!self.plan.observes[call.action as usize]).then_some((call.pending(), call.invoked, session))
            })
            .collect();
        heads.sort_unstable();
        while let Some(&(pending, _, session)) = heads.get(frame.tried as usize) {
            let (call, key) = self.plan.sessions[session][frame.place[session] as usize];
            let at = sessions + key as usize;
            if let Some(state) = self.machine.step(frame.place[at], call.action, frame.nth, budget)? {
                frame.nth += 1;
                let mut place = frame.place.to_vec();
                place[session] += 1;
                place[at] = state;
                return Ok(Some((place, u32::from(!pending))));
            }
            (frame.tried, frame.nth) = (frame.tried + 1, 0);
        }
        Ok(None)
    }
}
