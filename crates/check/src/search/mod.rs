//! The general search for linearizability, of any model: Wing and Gong's, with Lowe's memory of where it was.
//!
//! It looks for an order of the operations that the model allows and that keeps real time: one that returned before another
//! was invoked stands before it. It goes forward by linearizing one operation after the other and back where nothing fits.
//! The problem is NP-complete (Gibbons and Korach 1997), so a budget bounds it. What makes it fast in practice:
//!
//! - **Window.** At any place all operations that returned before some moment are linearized, and some of those that are
//!   open at it. So a place is a frontier, a mask over *slots* (an open operation holds the lowest free one), and a state: 24
//!   bytes, whatever the length of the history ([`memo`]). At a moment where nothing is open the mask is empty, so that of
//!   all before it only the reachable states remain.
//! - **Observers at once.** An operation that never changes the state is linearized as soon as it fits. That loses nothing:
//!   in any order that has it later it can be moved to here.
//! - **Pending operations** may be used once or never. Equal ones are a class with a count; a place is worth no second visit
//!   with more of them used than the first time. One is used only where what comes next would not do the same without it:
//!   else an order without it is an order too. Those that only observe were dropped before.
//! - **Fills** of a cell (plain writes) are linearized only where they must be: when they return next, or when what comes
//!   next needs what they fill in. When one is, all other open ones become *loose*: they could have been right before it
//!   without a trace. A loose one may still be linearized later, or return as if it had been. So nobody has to choose which
//!   writes to hide behind which. The proof: take any order, and in it a run of fills up to what needs the last of them. The
//!   search comes to the same state by that last one alone, or by those that had to return and then that last one; the rest
//!   is loose, or was a fill with what the cell held already, which is tried too. After it, it is where the order is, with
//!   more fills still free.
//! - **Twins**: of equal operations that are open, only the one that must return first is tried.
//! - **Order of trying.** What fits in few states goes before what fits in all. Then first the operation that must return
//!   next; if it does not fit, those on a shortest way to where it does, and where there is no such way, nothing; then the
//!   others in the order of their returns. Pending ones come last in each round.
//!
//! Takes every kind of `info` and `fail`. Cost: exponential in the worst case; about one step an operation where nothing
//! surprising happened.

mod memo;
mod plan;
mod way;

use crate::budget::{Budget, Spent};
use crate::history::Call;
use crate::machine::Machine;
use crate::model::Model;
use memo::{Memo, Place, Sets};
use plan::{Nature, Plan, bits, without};

pub use plan::MOST_OPEN;

/// The name of this algorithm in verdicts.
pub const NAME: &str = "Wing-Gong-Lowe search";

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An order: places of calls, pending ones that were used among them.
    Order(Vec<u32>),
    /// There is none.
    Stuck(Stuck),
    /// The budget was spent; so many returns could be ordered at most.
    Spent(Spent, u32),
}

/// How far the longest order came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stuck {
    /// The longest order that ends before a return: places of calls.
    pub order: Vec<u32>,
    /// The call that has to be linearized next and cannot.
    pub blocked: u32,
    /// So many returns were behind it.
    pub returns: u32,
}

/// Searches an order of `calls`, sorted by invocation, whose actions are places in `actions`.
pub fn search<M: Model>(
    model: &M,
    actions: &[M::Action],
    calls: &[Call<u32>],
    budget: &mut Budget<'_>,
) -> Found {
    let plan = match Plan::new(calls, budget) {
        Ok(plan) => plan,
        Err(spent) => return Found::Spent(spent, 0),
    };
    let natures: Vec<Nature> = actions.iter().map(|action| Nature::of(model, action)).collect();
    let machine = match Machine::new(model, actions, budget) {
        Ok(machine) => machine,
        Err(spent) => return Found::Spent(spent, 0),
    };
    sized(machine, calls, &plan, &natures, budget)
}

/// The search with sets of open calls of the size that a history needs.
fn sized(
    machine: Machine<'_>,
    calls: &[Call<u32>],
    plan: &Plan,
    natures: &[Nature],
    budget: &mut Budget<'_>,
) -> Found {
    match plan.slots.div_ceil(64) {
        0..=1 => Search::<1>::new(machine, calls, plan, natures).run(budget),
        2 => Search::<2>::new(machine, calls, plan, natures).run(budget),
        3..=4 => Search::<4>::new(machine, calls, plan, natures).run(budget),
        5..=16 => Search::<16>::new(machine, calls, plan, natures).run(budget),
        17..=64 => Search::<64>::new(machine, calls, plan, natures).run(budget),
        _ => Found::Spent(Spent::Memory, 0),
    }
}

/// Which choice of a place comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// The one that must return next is loose: it was linearized before.
    Hide,
    /// Completed ones that fit in few states, while the one that must return next is not so choosy.
    Choosy,
    /// The operation that must return next.
    Due,
    /// Completed ones that make it fit.
    Help,
    /// Pending ones that make it fit.
    PendingHelp,
    /// The other completed ones.
    Rest,
    /// The other pending ones.
    PendingRest,
    /// None is left.
    Over,
}

/// A place on the way, and what was tried from it.
#[derive(Clone, Copy, Debug)]
struct Frame<const W: usize> {
    place: Place<W>,
    loose: [u64; W],
    used: u32,
    /// The length of the order here.
    ordered: u32,
    round: Round,
    /// The state before a pending operation that was just used, and that what comes next must need; [`ANY`] where anything
    /// may come.
    before: u32,
    /// The operation due next fits here, so that nobody need help it.
    fits: bool,
    /// Where it does not: the next state on a shortest way to one where it does; [`ANY`] where that was not found.
    toward: u32,
    /// The last tried: a rank or a class, one more than it; 0 for none.
    tried: u32,
    /// Which of its results comes next.
    nth: u32,
}

/// Marks a call in an order that was linearized earlier than where it stands.
const HIDDEN: u32 = 1 << 31;

/// No way was found, and none was ruled out.
const ANY: u32 = u32::MAX;

struct Search<'a, const W: usize> {
    machine: Machine<'a>,
    calls: &'a [Call<u32>],
    plan: &'a Plan,
    natures: &'a [Nature],
    here: Place<W>,
    /// Open fills that are not linearized, and could have been right before another one that was.
    loose: [u64; W],
    used: u32,
    /// As in a frame.
    before: u32,
    /// What was linearized, in order: places of calls.
    order: Vec<u32>,
    /// By slot: the open call that holds it.
    open: Vec<u32>,
    open_mask: [u64; W],
    /// The open calls that only observe.
    observing: [u64; W],
    /// The open calls that fill.
    filling: [u64; W],
    /// By class: the pending calls, in the order of invocation, and how many of them are invoked here.
    pending: Vec<(u32, Vec<u32>)>,
    invoked: Vec<u32>,
    /// By action: its class among the pending, one more than it; 0 for none.
    class: Vec<u32>,
    memo: Memo<W>,
    sets: Sets,
    stack: Vec<Frame<W>>,
    /// For the search of a way: the states met, each with the first state behind here, and the actions that are there.
    way: Vec<(u32, u32)>,
    there: Vec<u32>,
    best: Stuck,
    /// Up to here the best order is still the current one.
    common: usize,
}

impl<'a, const W: usize> Search<'a, W> {
    fn new(machine: Machine<'a>, calls: &'a [Call<u32>], plan: &'a Plan, natures: &'a [Nature]) -> Self {
        let mut class = vec![0; natures.len()];
        let mut pending: Vec<(u32, Vec<u32>)> = Vec::new();
        for (place, call) in calls.iter().enumerate().filter(|(_, call)| call.pending()) {
            let class = &mut class[call.action as usize];
            if *class == 0 {
                pending.push((call.action, Vec::new()));
                *class = pending.len() as u32;
            }
            pending[*class as usize - 1].1.push(place as u32);
        }
        let initial = Machine::INITIAL;
        let mut search = Self {
            machine,
            calls,
            plan,
            natures,
            here: Place { mask: [0; W], frontier: 0, state: initial },
            loose: [0; W],
            used: Sets::NONE,
            before: ANY,
            order: Vec::with_capacity(calls.len()),
            open: vec![0; plan.slots],
            open_mask: [0; W],
            observing: [0; W],
            filling: [0; W],
            invoked: vec![0; pending.len()],
            pending,
            class,
            memo: Memo::new(!natures.contains(&Nature::Fills)),
            sets: Sets::new(),
            stack: Vec::new(),
            way: Vec::new(),
            there: Vec::new(),
            best: Stuck::default(),
            common: 0,
        };
        search.open_news();
        search
    }

    fn run(mut self, budget: &mut Budget<'_>) -> Found {
        match self.go(budget) {
            Ok(true) => Found::Order(self.unfold(&self.order)),
            Ok(false) => {
                self.best.order = self.unfold(&self.best.order);
                self.best.blocked = self.plan.by_return[self.best.returns as usize];
                Found::Stuck(self.best)
            }
            Err(spent) => Found::Spent(spent, self.best.returns.max(self.here.frontier)),
        }
    }

    /// True where an order was found: it then stands in `order`.
    fn go(&mut self, budget: &mut Budget<'_>) -> Result<bool, Spent> {
        if self.arrive(budget)? {
            return Ok(true);
        }
        while let Some(&frame) = self.stack.last() {
            budget.step()?;
            self.back_to(&frame);
            if !self.choose(budget)? {
                self.stack.pop();
            } else if self.arrive(budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Settles at a new place, and notes it with all that can be tried from it, unless that was done before. True at the
    /// end of the history.
    fn arrive(&mut self, budget: &mut Budget<'_>) -> Result<bool, Spent> {
        let ordered = self.order.len();
        self.settle(budget)?;
        if self.order.len() > ordered {
            self.before = ANY;
        }
        if self.here.frontier as usize == self.plan.by_return.len() {
            return Ok(true);
        }
        // Where not everything may come next, not everything was tried: nothing to be remembered.
        if self.before != ANY || self.memo.visit(&self.here, self.used, self.loose, &self.sets, budget)? {
            let frame = Frame {
                place: self.here,
                loose: self.loose,
                used: self.used,
                before: self.before,
                ordered: self.order.len() as u32,
                // What must need the last one is not chosen by what else it is good for.
                round: if self.before == ANY { Round::Hide } else { Round::Due },
                fits: self.before != ANY,
                toward: ANY,
                tried: 0,
                nth: 0,
            };
            if self.stack.len() == self.stack.capacity() {
                let more = self.stack.len().max(32);
                budget.take((more * size_of::<Frame<W>>()) as u64)?;
                self.stack.reserve_exact(more);
            }
            self.stack.push(frame);
        }
        Ok(false)
    }

    /// Linearizes what only observes and fits, and passes the returns of what is linearized, until neither goes on.
    fn settle(&mut self, budget: &mut Budget<'_>) -> Result<(), Spent> {
        loop {
            for slot in bits(without(self.observing, self.here.mask)) {
                let call = self.open[slot];
                if self.machine.enabled(self.here.state, self.calls[call as usize].action, budget)? {
                    self.here.mask[slot / 64] |= 1 << (slot % 64);
                    self.order.push(call);
                }
            }
            if !self.advance() {
                return Ok(());
            }
        }
    }

    /// Passes the returns of linearized operations. False where the next is not linearized.
    fn advance(&mut self) -> bool {
        let mut moved = false;
        while let Some(&due) = self.plan.by_return.get(self.here.frontier as usize) {
            let slot = usize::from(self.plan.slot[due as usize]);
            let (word, bit) = (slot / 64, 1 << (slot % 64));
            if self.here.mask[word] & bit == 0 {
                break;
            }
            self.here.mask[word] &= !bit;
            self.close(slot);
            self.here.frontier += 1;
            self.open_news();
            moved = true;
        }
        moved
    }

    /// The calls that are invoked between the return before the frontier and the one at it.
    fn news(&self) -> std::ops::Range<usize> {
        let at = self.here.frontier as usize;
        let from = if at == 0 { 0 } else { self.plan.reach[at - 1] as usize };
        from..self.plan.reach.get(at).map_or(from, |&to| to as usize)
    }

    fn open_news(&mut self) {
        for call in self.news() {
            let action = self.calls[call].action as usize;
            if self.calls[call].pending() {
                self.invoked[self.class[action] as usize - 1] += 1;
                continue;
            }
            self.open(call as u32);
        }
    }

    fn open(&mut self, call: u32) {
        let slot = usize::from(self.plan.slot[call as usize]);
        let (word, bit) = (slot / 64, 1 << (slot % 64));
        self.open[slot] = call;
        self.open_mask[word] |= bit;
        match self.natures[self.calls[call as usize].action as usize] {
            Nature::Observes => self.observing[word] |= bit,
            Nature::Fills => self.filling[word] |= bit,
            Nature::Changes => {}
        }
    }

    fn close(&mut self, slot: usize) {
        for mask in [&mut self.open_mask, &mut self.observing, &mut self.filling] {
            mask[slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// Goes back to a place on the way.
    fn back_to(&mut self, frame: &Frame<W>) {
        if self.here.frontier > self.best.returns || (self.best.order.is_empty() && frame.ordered == 0) {
            self.best.returns = self.here.frontier;
            self.best.order.truncate(self.common);
            self.best.order.extend_from_slice(&self.order[self.common..]);
            self.common = self.order.len();
        }
        self.order.truncate(frame.ordered as usize);
        self.common = self.common.min(self.order.len());
        while self.here.frontier > frame.place.frontier {
            for call in self.news() {
                if self.calls[call].pending() {
                    self.invoked[self.class[self.calls[call].action as usize] as usize - 1] -= 1;
                    continue;
                }
                self.close(usize::from(self.plan.slot[call]));
            }
            self.here.frontier -= 1;
            self.open(self.plan.by_return[self.here.frontier as usize]);
        }
        self.here = frame.place;
        self.loose = frame.loose;
        self.used = frame.used;
        self.before = frame.before;
    }

    /// Linearizes the next choice of the last frame. False where there is none left.
    fn choose(&mut self, budget: &mut Budget<'_>) -> Result<bool, Spent> {
        let Some(mut frame) = self.stack.last().copied() else { return Ok(false) };
        let due = self.plan.by_return[self.here.frontier as usize];
        let due_action = self.calls[due as usize].action;
        let chosen = loop {
            let next = match frame.round {
                Round::Hide => {
                    let slot = usize::from(self.plan.slot[due as usize]);
                    if frame.before == ANY && frame.nth == 0 && self.loose[slot / 64] & 1 << (slot % 64) != 0
                    {
                        frame.nth = 1;
                        self.place(due, due | HIDDEN);
                        self.before = ANY;
                        break true;
                    }
                    None
                }
                Round::Choosy => {
                    if self.machine.choosy(due_action)
                        || !self.machine.enabled(self.here.state, due_action, budget)?
                    {
                        None
                    } else {
                        frame.fits = true;
                        self.completed(&mut frame, due_action, budget)?
                    }
                }
                Round::Due => {
                    self.machine.step(self.here.state, due_action, frame.nth, budget)?.map(|state| {
                        frame.fits = true;
                        frame.nth += 1;
                        (due, state)
                    })
                }
                Round::Help | Round::Rest => self.completed(&mut frame, due_action, budget)?,
                Round::PendingHelp | Round::PendingRest => {
                    self.use_pending(&mut frame, due_action, budget)?
                }
                Round::Over => break false,
            };
            if let Some((call, state)) = next {
                let action = self.calls[call as usize].action;
                if frame.before != ANY && self.leads(frame.before, action, state, budget)? {
                    continue;
                }
                let (fills, pending) =
                    (self.natures[action as usize] == Nature::Fills, self.calls[call as usize].pending());
                self.before = ANY;
                if pending || (fills && frame.round != Round::Due) {
                    if state == self.here.state {
                        let fast = without(without(self.filling, self.here.mask), self.loose);
                        if !fills || fast == [0; W] {
                            continue;
                        }
                    } else if self.needed(state, budget)? {
                        self.before = self.here.state;
                    } else {
                        continue;
                    }
                }
                if pending {
                    let class = self.class[action as usize] - 1;
                    self.used = self.sets.plus(self.used, class, budget)?;
                }
                self.take(call, state);
                break true;
            }
            (frame.tried, frame.nth) = (0, 0);
            frame.round = match frame.round {
                Round::Hide => Round::Choosy,
                Round::Choosy => Round::Due,
                Round::Due if frame.fits => Round::Rest,
                Round::Due => match self.way_to(due_action, budget)? {
                    Some(toward) => {
                        frame.toward = toward;
                        Round::Help
                    }
                    None => Round::Over,
                },
                Round::Help => Round::PendingHelp,
                Round::PendingHelp => Round::Rest,
                Round::Rest => Round::PendingRest,
                Round::PendingRest | Round::Over => Round::Over,
            };
        };
        if let Some(last) = self.stack.last_mut() {
            *last = frame;
        }
        Ok(chosen)
    }

    /// True where an action may lead from one state to another.
    fn leads(&mut self, from: u32, action: u32, to: u32, budget: &mut Budget<'_>) -> Result<bool, Spent> {
        let mut nth = 0;
        while let Some(next) = self.machine.step(from, action, nth, budget)? {
            if next == to {
                return Ok(true);
            }
            nth += 1;
        }
        Ok(false)
    }

    /// True where something that is there would do in a state what it does not do here.
    fn needed(&mut self, state: u32, budget: &mut Budget<'_>) -> Result<bool, Spent> {
        for slot in bits(without(self.observing, self.here.mask)) {
            if self.machine.enabled(state, self.calls[self.open[slot] as usize].action, budget)? {
                return Ok(true);
            }
        }
        for slot in bits(without(without(self.open_mask, self.observing), self.here.mask)) {
            if self.differs(state, self.calls[self.open[slot] as usize].action, budget)? {
                return Ok(true);
            }
        }
        for class in 0..self.pending.len() {
            let action = self.pending[class].0;
            if self.invoked[class] > 0 && self.differs(state, action, budget)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// True where an action may lead from a state to one where it does not lead from here.
    fn differs(&mut self, from: u32, action: u32, budget: &mut Budget<'_>) -> Result<bool, Spent> {
        let mut nth = 0;
        while let Some(next) = self.machine.step(from, action, nth, budget)? {
            if !self.leads(self.here.state, action, next, budget)? {
                return Ok(true);
            }
            nth += 1;
        }
        Ok(false)
    }

    /// True where a choice belongs to this round: those that lead toward the operation due next come first.
    fn belongs(
        &mut self,
        frame: &Frame<W>,
        state: u32,
        due: u32,
        budget: &mut Budget<'_>,
    ) -> Result<bool, Spent> {
        let helping = matches!(frame.round, Round::Help | Round::PendingHelp);
        Ok(frame.fits
            || helping
                == if frame.toward == ANY {
                    self.machine.enabled(state, due, budget)?
                } else {
                    state == frame.toward
                })
    }

    /// The next completed operation that fits, of those that this round tries.
    fn completed(
        &mut self,
        frame: &mut Frame<W>,
        due: u32,
        budget: &mut Budget<'_>,
    ) -> Result<Option<(u32, u32)>, Spent> {
        let free = without(without(self.open_mask, self.observing), self.here.mask);
        loop {
            // Of the open ones behind the last tried, the one that returns first; several results of one come in turn.
            let rank = |&slot: &usize| self.plan.rank[self.open[slot] as usize];
            let from = frame.tried - u32::from(frame.nth > 0);
            let Some(slot) =
                bits(free).filter(|slot| rank(slot) >= from.max(self.here.frontier + 1)).min_by_key(rank)
            else {
                return Ok(None);
            };
            let call = self.open[slot];
            if rank(&slot) >= frame.tried {
                (frame.tried, frame.nth) = (rank(&slot) + 1, 0);
            }
            let action = self.calls[call as usize].action;
            if bits(free).any(|other| {
                self.calls[self.open[other] as usize].action == action
                    && self.plan.rank[self.open[other] as usize] < self.plan.rank[call as usize]
            }) {
                frame.nth = 0;
                continue;
            }
            match self.machine.step(self.here.state, action, frame.nth, budget)? {
                None => frame.nth = 0,
                Some(state) => {
                    frame.nth += 1;
                    let belongs = match frame.round {
                        Round::Choosy => self.machine.choosy(action),
                        _ => self.belongs(frame, state, due, budget)?,
                    };
                    if belongs {
                        return Ok(Some((call, state)));
                    }
                }
            }
        }
    }

    /// The next pending operation that fits and changes something, of those that this round tries.
    fn use_pending(
        &mut self,
        frame: &mut Frame<W>,
        due: u32,
        budget: &mut Budget<'_>,
    ) -> Result<Option<(u32, u32)>, Spent> {
        loop {
            let class = frame.tried as usize;
            let Some(&invoked) = self.invoked.get(class) else { return Ok(None) };
            let action = self.pending[class].0;
            let used = if invoked > 0 { self.sets.count(self.used, class as u32) } else { 0 };
            let free = without(without(self.open_mask, self.observing), self.here.mask);
            let twin = || bits(free).any(|slot| self.calls[self.open[slot] as usize].action == action);
            let next = if used < invoked && !twin() {
                self.machine.step(self.here.state, action, frame.nth, budget)?
            } else {
                None
            };
            let Some(state) = next else {
                (frame.tried, frame.nth) = (frame.tried + 1, 0);
                continue;
            };
            frame.nth += 1;
            let belongs = self.belongs(frame, state, due, budget)?;
            if belongs {
                return Ok(Some((self.pending[class].1[used as usize], state)));
            }
        }
    }

    fn take(&mut self, call: u32, state: u32) {
        self.here.state = state;
        self.place(call, call);
        if self.natures[self.calls[call as usize].action as usize] == Nature::Fills {
            self.loose = without(self.filling, self.here.mask);
        }
    }

    fn place(&mut self, call: u32, as_call: u32) {
        self.order.push(as_call);
        if !self.calls[call as usize].pending() {
            let slot = usize::from(self.plan.slot[call as usize]);
            self.here.mask[slot / 64] |= 1 << (slot % 64);
            self.loose[slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// The order with what was hidden in its place: right before the last fill that came before it was hidden.
    fn unfold(&self, order: &[u32]) -> Vec<u32> {
        let mut hidden: Vec<(usize, u32)> = Vec::new();
        let mut fill = 0;
        for (place, &call) in order.iter().enumerate() {
            if call & HIDDEN != 0 {
                hidden.push((fill, call & !HIDDEN));
            } else if self.natures[self.calls[call as usize].action as usize] == Nature::Fills {
                fill = place;
            }
        }
        let mut hidden = hidden.into_iter().peekable();
        let mut unfolded = Vec::with_capacity(order.len());
        for (place, &call) in order.iter().enumerate() {
            while let Some((_, call)) = hidden.next_if(|&(before, _)| before == place) {
                unfolded.push(call);
            }
            if call & HIDDEN == 0 {
                unfolded.push(call);
            }
        }
        unfolded
    }
}
