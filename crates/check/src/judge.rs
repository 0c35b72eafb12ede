//! Judges whether a history of a single kind of object is linearizable: splits it by key, chooses for each part the fast
//! algorithm that takes it ([`crate::fast`]) or the general search, explains.

use crate::brute;
use crate::budget::{Budget, Spent};
use crate::fast::{Answer, Case, Refuted, Staleness};
use crate::history::{Call, History, NEVER, Operation};
use crate::model::Model;
use crate::read::BadInput;
use crate::search::{self, Found, Stuck};
use crate::shrink;
use crate::table::Table;
use crate::value::Value;
use crate::verdict::{Verdict, Witness};

/// A history as a model sees it: its independent parts, each to be judged alone, on any thread, in any order.
pub trait Judge: Sync + Send {
    /// How many parts there are.
    fn parts(&self) -> usize;

    /// The key of a part; nil where the history knows one object only.
    fn key(&self, part: usize) -> Value;

    /// How many operations a part has that do or tell something.
    fn operations(&self, part: usize) -> usize;

    /// Judges a part.
    fn linearizable(&self, part: usize, history: &History, budget: &mut Budget<'_>) -> Judged;

    /// How stale the reads of a part were, where that is defined and known how.
    fn staleness(&self, part: usize, history: &History, budget: &mut Budget<'_>) -> Option<Staleness>;

    /// A smallest set of operations that still cannot be ordered, by their places in the history. `stuck` is what
    /// [`linearizable`](Self::linearizable) found.
    fn core(&self, part: usize, stuck: &Longest, budget: &mut Budget<'_>) -> Core;
}

/// What was found of a part.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The verdict. A witness has no core yet: that costs more time, see [`Judge::core`].
    pub verdict: Verdict,
    /// An order of the whole part: operations by their places in the history. Empty where the algorithm made none.
    pub order: Vec<u32>,
    /// Why no fast algorithm took it; empty where one did.
    pub searched: String,
    /// Where it is refuted, how far an order comes.
    pub longest: Option<Longest>,
}

/// The longest prefix that can be ordered, and what comes behind it. Operations stand by their places in the history.
#[derive(Clone, Debug, Default)]
pub struct Longest {
    /// An order of all that returned before the blocked operation does.
    pub order: Vec<u32>,
    /// The operation that cannot be placed.
    pub blocked: u32,
    /// The operations that are open then, are not in the order, and change nothing about it.
    pub open: Vec<u32>,
    /// The state behind the order, in words.
    pub state: String,
    /// How many operations returned before.
    pub returns: u32,
    /// Operations that alone cannot be ordered, where the algorithm knows some; empty otherwise.
    pub guilty: Vec<u32>,
}

/// Operations that together cannot be ordered.
#[derive(Clone, Debug, Default)]
pub struct Core {
    /// Their places in the history, in the order of invocation.
    pub operations: Vec<u32>,
    /// None can be left out without making the rest innocent, or unfairly guilty; false where the budget was spent before
    /// that was seen.
    pub minimal: bool,
    /// Every order of them was tried too, by the plainest means, and none fits; `None` where they are too many for that.
    pub tried_all: Option<bool>,
}

/// More guilty operations are not shrunk.
const MOST_TO_SHRINK: usize = 2000;

/// The operations of one key.
struct Part<A> {
    key: Value,
    calls: Vec<Call<A>>,
}

struct Object<M: Model> {
    model: M,
    parts: Vec<Part<M::Action>>,
}

/// Looks at a history as the model does. An operation that the model does not know is bad input.
pub fn judge<M: Model + Send + 'static>(model: M, history: &History) -> Result<Box<dyn Judge>, BadInput>
where
    M::Action: Send,
{
    let mut object = Object { model, parts: Vec::new() };
    let mut places: Table<Value, usize> = Table::default();
    let mut latest = (Value::NIL, usize::MAX);
    for (source, operation) in history.operations.iter().enumerate() {
        let action = object.model.action(operation, &history.values).map_err(|what| BadInput {
            line: history.lines.get(source).copied().unwrap_or(0),
            column: 1,
            ..BadInput::new(what, "is this the right --model? `quorate check --models` lists them")
        })?;
        let Some(action) = action else { continue };
        if operation.returned == NEVER && object.model.observes(&action) {
            continue;
        }
        let key = if object.model.keyed() { operation.key } else { Value::NIL };
        if latest.1 == usize::MAX || latest.0 != key {
            let next = object.parts.len();
            latest = (key, *places.or_insert_with(key, || next));
            if latest.1 == next {
                object.parts.push(Part { key, calls: Vec::new() });
            }
        }
        let Operation { process, invoked, returned, .. } = *operation;
        let call = Call { process, invoked, returned, action, source: source as u32 };
        object.parts[latest.1].calls.push(call);
    }
    Ok(Box::new(object))
}

/// Equal actions are one for the search.
fn classes<A: Clone + Eq + std::hash::Hash>(calls: &[Call<A>]) -> (Vec<A>, Vec<Call<u32>>) {
    let mut known: Table<&A, u32> = Table::default();
    let mut actions = Vec::new();
    let class = |call: &Call<A>| {
        let Call { process, invoked, returned, source, .. } = *call;
        Call { process, invoked, returned, source, action: 0 }
    };
    let calls = calls
        .iter()
        .map(|call| {
            let fresh = actions.len() as u32;
            let action = *known.or_insert_with(&call.action, || fresh);
            if action == fresh {
                actions.push(call.action.clone());
            }
            Call { action, ..class(call) }
        })
        .collect();
    (actions, calls)
}

impl<M: Model + Send> Judge for Object<M>
where
    M::Action: Send,
{
    fn parts(&self) -> usize {
        self.parts.len()
    }

    fn key(&self, part: usize) -> Value {
        self.parts[part].key
    }

    fn operations(&self, part: usize) -> usize {
        self.parts[part].calls.len()
    }

    fn linearizable(&self, part: usize, history: &History, budget: &mut Budget<'_>) -> Judged {
        let calls = &self.parts[part].calls;
        let before = budget.bytes();
        let answer = self.model.fast(calls, &mut Case { history, budget });
        budget.give(budget.bytes() - before);
        let proved = |by, order: Vec<u32>| Judged {
            verdict: Verdict::Proved { by },
            order: order.iter().map(|&call| calls[call as usize].source).collect(),
            searched: String::new(),
            longest: None,
        };
        match answer {
            Answer::Holds(by, order) => proved(by, order),
            Answer::Refuted(refuted) => refute(calls, &refuted),
            Answer::Spent(spent) => unknown(spent_words(spent, 0, calls.len())),
            Answer::Passed(why) => Judged { searched: why, ..self.search(part, history, budget) },
        }
    }

    fn staleness(&self, part: usize, history: &History, budget: &mut Budget<'_>) -> Option<Staleness> {
        let before = budget.bytes();
        let stale = self.model.staleness(&self.parts[part].calls, &mut Case { history, budget });
        budget.give(budget.bytes() - before);
        stale.ok().flatten()
    }

    fn core(&self, part: usize, longest: &Longest, budget: &mut Budget<'_>) -> Core {
        // To shrink is to search again and again: that ends only where few are guilty.
        if longest.guilty.len() > MOST_TO_SHRINK {
            return Core { operations: longest.guilty.clone(), minimal: false, tried_all: None };
        }
        let calls = &self.parts[part].calls;
        let (actions, mut calls) = classes(calls);
        if !longest.guilty.is_empty() {
            calls.retain(|call| longest.guilty.binary_search(&call.source).is_ok());
        }
        let (calls, minimal) = shrink::shrink(&self.model, &actions, &calls, longest.blocked, budget);
        let tried_all =
            (calls.len() <= brute::MOST).then(|| !brute::orderable(&self.model, &actions, &calls));
        Core { operations: calls.iter().map(|call| call.source).collect(), minimal, tried_all }
    }
}

/// What a fast algorithm found: the guilty cannot be ordered once the last of them has returned.
fn refute<A>(calls: &[Call<A>], refuted: &Refuted) -> Judged {
    let guilty: Vec<u32> = refuted.guilty.iter().map(|&call| calls[call as usize].source).collect();
    let last = refuted.guilty.iter().map(|&call| &calls[call as usize]).filter(|call| !call.pending());
    let Some(last) = last.max_by_key(|call| call.returned) else {
        return unknown(format!("{} found a witness without a return: a bug of this program", refuted.by));
    };
    let longest = Longest {
        blocked: last.source,
        returns: calls.iter().filter(|call| call.returned < last.returned).count() as u32,
        guilty,
        ..Longest::default()
    };
    let witness = Witness {
        kind: refuted.kind.into(),
        words: refuted.words.clone(),
        core: longest.guilty.clone(),
        by: refuted.by,
    };
    Judged {
        verdict: Verdict::Refuted(witness),
        order: Vec::new(),
        searched: String::new(),
        longest: Some(longest),
    }
}

fn unknown(why: String) -> Judged {
    Judged { verdict: Verdict::Unknown { why }, order: Vec::new(), searched: String::new(), longest: None }
}

impl<M: Model> Object<M> {
    /// The general search.
    fn search(&self, part: usize, history: &History, budget: &mut Budget<'_>) -> Judged {
        let before = budget.bytes();
        let (actions, calls) = classes(&self.parts[part].calls);
        let found = search::search(&self.model, &actions, &calls, budget);
        budget.give(budget.bytes() - before);
        let none = Judged {
            verdict: Verdict::Proved { by: search::NAME },
            order: Vec::new(),
            searched: String::new(),
            longest: None,
        };
        match found {
            Found::Order(order) => {
                let order = order.iter().map(|&call| calls[call as usize].source).collect();
                Judged { order, ..none }
            }
            Found::Stuck(stuck) => {
                let longest = self.longest(&actions, &calls, history, &stuck);
                let witness = Witness {
                    kind: "no order".into(),
                    words: words(history, &longest),
                    core: Vec::new(),
                    by: search::NAME,
                };
                Judged { verdict: Verdict::Refuted(witness), longest: Some(longest), ..none }
            }
            Found::Spent(spent, returns) => unknown(spent_words(spent, returns, calls.len())),
        }
    }

    fn longest(
        &self,
        actions: &[M::Action],
        calls: &[Call<u32>],
        history: &History,
        stuck: &Stuck,
    ) -> Longest {
        let blocked = calls[stuck.blocked as usize];
        let mut placed = vec![false; calls.len()];
        for &call in &stuck.order {
            placed[call as usize] = true;
        }
        let open = |&(place, call): &(usize, &Call<u32>)| {
            !placed[place] && call.source != blocked.source && call.invoked < blocked.returned
        };
        let state = self.state_behind(actions, calls, &stuck.order);
        Longest {
            order: stuck.order.iter().map(|&call| calls[call as usize].source).collect(),
            blocked: blocked.source,
            open: calls.iter().enumerate().filter(open).map(|(_, call)| call.source).collect(),
            state: state.map_or(String::new(), |state| self.model.show(&state, &history.values)),
            returns: stuck.returns,
            guilty: Vec::new(),
        }
    }

    /// One of the states that an order leads to.
    fn state_behind(&self, actions: &[M::Action], calls: &[Call<u32>], order: &[u32]) -> Option<M::State> {
        let never = || false;
        let mut budget = Budget::new(&never, u64::MAX);
        let mut states = vec![self.model.initial()];
        for &call in order {
            let mut next = Vec::new();
            for state in &states {
                let action = &actions[calls[call as usize].action as usize];
                self.model.step(state, action, &mut crate::model::Next::new(&mut next, &mut budget));
            }
            // A few are enough to find one that goes on.
            next.truncate(64);
            states = next;
        }
        states.into_iter().next()
    }
}

fn words(history: &History, longest: &Longest) -> String {
    let blocked = history.show(longest.blocked);
    let open = match longest.open.len() {
        0 => "nothing else is open".into(),
        1 => "nor does it fit behind the other open operation".to_string(),
        n => format!("nor does it fit behind any of the {n} other open operations"),
    };
    format!(
        "{} operations returned before and can be ordered; at best {}, and {blocked} does not fit: {open}",
        longest.returns, longest.state
    )
}

fn spent_words(spent: Spent, returns: u32, calls: usize) -> String {
    let what = match spent {
        Spent::Time => "the time is spent",
        Spent::Memory => "the memory is spent",
    };
    format!(
        "{what}; {returns} returns of {calls} operations could be ordered, nothing contradicts the rest yet"
    )
}
