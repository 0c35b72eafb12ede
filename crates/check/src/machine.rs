//! A model as a machine over small numbers: states and actions are interned, each transition is asked of the model once.

use crate::budget::{Budget, Spent};
use crate::model::{Model, Next};
use crate::table::Table;

/// A transition that was not asked yet.
const UNKNOWN: u32 = u32::MAX;
/// The action cannot be in this state.
const NONE: u32 = u32::MAX - 1;
/// Several states follow: the rest of the number is a place in `many`.
const MANY: u32 = 1 << 31;
/// Memory for remembered transitions; what does not fit is asked again each time.
const ROWS: usize = 32 << 20;

pub(crate) struct Machine<'m> {
    states: Box<dyn States + 'm>,
    /// By state: what follows each action; empty where there is no room.
    rows: Vec<Box<[u32]>>,
    room: usize,
    many: Vec<Box<[u32]>>,
    /// By action: there is a state in which it cannot be.
    choosy: Vec<bool>,
    /// The states that follow one transition, while it is asked.
    found: Vec<u32>,
}

/// A model's states by their numbers. A search knows them alone by this, so that it is compiled once and not for each model.
trait States {
    /// Adds the numbers of the states that follow an action in a state to `found`: in order, none twice.
    fn follow(
        &mut self,
        state: u32,
        action: u32,
        found: &mut Vec<u32>,
        budget: &mut Budget<'_>,
    ) -> Result<(), Spent>;

    /// So many have numbers.
    fn count(&self) -> usize;
}

impl<'m> Machine<'m> {
    pub(crate) fn new<M: Model>(
        model: &'m M,
        actions: &'m [M::Action],
        budget: &mut Budget<'_>,
    ) -> Result<Self, Spent> {
        let mut states =
            Interned { model, actions, states: Vec::new(), known: Table::default(), found: Vec::new() };
        states.intern(model.initial(), budget)?;
        Ok(Self {
            states: Box::new(states),
            rows: vec![Box::default()],
            room: ROWS,
            many: Vec::new(),
            choosy: vec![false; actions.len()],
            found: Vec::new(),
        })
    }

    /// The first state's number.
    pub(crate) const INITIAL: u32 = 0;

    /// The `nth` state that may follow; `None` behind the last.
    #[inline]
    pub(crate) fn step(
        &mut self,
        state: u32,
        action: u32,
        nth: u32,
        budget: &mut Budget<'_>,
    ) -> Result<Option<u32>, Spent> {
        let known = self.rows[state as usize].get(action as usize).copied().unwrap_or(UNKNOWN);
        let next = if known == UNKNOWN { self.ask(state, action, budget)? } else { known };
        Ok(match next {
            NONE => None,
            next if next & MANY == 0 => (nth == 0).then_some(next),
            next => self.many[(next & !MANY) as usize].get(nth as usize).copied(),
        })
    }

    /// True where it is known that the action does not fit in every state.
    pub(crate) fn choosy(&self, action: u32) -> bool {
        self.choosy[action as usize]
    }

    /// True where some state may follow.
    #[inline]
    pub(crate) fn enabled(
        &mut self,
        state: u32,
        action: u32,
        budget: &mut Budget<'_>,
    ) -> Result<bool, Spent> {
        Ok(self.step(state, action, 0, budget)?.is_some())
    }

    #[cold]
    fn ask(&mut self, state: u32, action: u32, budget: &mut Budget<'_>) -> Result<u32, Spent> {
        self.found.clear();
        self.states.follow(state, action, &mut self.found, budget)?;
        self.rows.resize_with(self.states.count(), Box::default);
        let entry = match self.found[..] {
            [] => {
                self.choosy[action as usize] = true;
                NONE
            }
            [one] => one,
            _ => {
                budget.take(4 * self.found.len() as u64)?;
                self.many.push(self.found[..].into());
                MANY | (self.many.len() - 1) as u32
            }
        };
        let actions = self.choosy.len();
        let row = &mut self.rows[state as usize];
        if row.is_empty() && self.room >= 4 * actions {
            budget.take(4 * actions as u64)?;
            self.room -= 4 * actions;
            *row = vec![UNKNOWN; actions].into();
        }
        if let Some(place) = row.get_mut(action as usize) {
            *place = entry;
        }
        Ok(entry)
    }
}

struct Interned<'m, M: Model> {
    model: &'m M,
    actions: &'m [M::Action],
    states: Vec<M::State>,
    known: Table<M::State, u32>,
    found: Vec<M::State>,
}

impl<M: Model> States for Interned<'_, M> {
    fn follow(
        &mut self,
        state: u32,
        action: u32,
        found: &mut Vec<u32>,
        budget: &mut Budget<'_>,
    ) -> Result<(), Spent> {
        let mut states = std::mem::take(&mut self.found);
        states.clear();
        let mut next = Next::new(&mut states, budget);
        self.model.step(&self.states[state as usize], &self.actions[action as usize], &mut next);
        budget.step()?;
        for state in states.drain(..) {
            found.push(self.intern(state, budget)?);
        }
        self.found = states;
        found.sort_unstable();
        found.dedup();
        Ok(())
    }

    fn count(&self) -> usize {
        self.states.len()
    }
}

impl<M: Model> Interned<'_, M> {
    fn intern(&mut self, state: M::State, budget: &mut Budget<'_>) -> Result<u32, Spent> {
        if let Some(&known) = self.known.get(&state) {
            return Ok(known);
        }
        // Twice the state, the table's slot, the row.
        let bytes = 2 * (size_of::<M::State>() + self.model.weight(&state)) + 16 + size_of::<Box<[u32]>>();
        budget.take(bytes as u64)?;
        let number = self.states.len() as u32;
        if number >= MANY - 2 {
            return Err(Spent::Memory);
        }
        self.states.push(state.clone());
        self.known.insert(state, number);
        Ok(number)
    }
}
