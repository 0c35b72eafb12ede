//! Exhaustive search: from one start, everything that may happen within stated budgets, in every order.
//!
//! Time plays no part: every timer may fire at any moment (the election timeout is a nanosecond, the heartbeat an age). The
//! network is a set: whatever was said may come at any time, in any order, any number of times, or never. So loss and
//! reordering have no budget: to lose a message is not to deliver it. Neither has duplication, but for two kinds of messages
//! that make their receiver begin anew each time ([`crate::locals::repeats_work`]): a rejected append, and a question for a
//! read index. One of these that made a difference comes again, or is said and comes again with the same words, as often as
//! [`Budget::again`] says. A search that comes to its end proves the properties of [`crate::checker`] for its budgets; one that
//! is stopped by its limit is a very patient test. The first violation found is one of the nearest, and is told step by step.
//!
//! # What keeps the states few, and why no violation is lost
//!
//! - *Each step of a core is done once.* It depends on that node and its input alone; [`crate::locals`] looks it up. A state
//!   is then one number a node, for its core, its disk and all that it has said, and one for the past that judges: these are
//!   compared as they are, only the states of single nodes go by fingerprints.
//! - *Who can answer without changing has answered.* Such a step adds messages and does nothing else. Whatever could happen
//!   without them still can, since no message must be delivered; so the state with them stands for the one without.
//! - *What can make no difference to its receiver, now or ever, is not there*: answers of a term that is over
//!   ([`crate::locals::dead`]); and what is there of a kind that gets one and the same answer is there once
//!   ([`crate::locals::stale`]). What is held for a write is held once ([`crate::locals::once`]), and the answers to a
//!   heartbeat that asks no read round are not there at all. These states have the same future as those that they stand for.
//! - *A no in a poll counts as silence*: see [`quorate_protocol::raft::Raft::fingerprint`].
//!
//! [`crate::plain`] does without any of this, and must reach the same states of nodes.
//!
//! # What it leaves out
//!
//! A leader that gives up because it hears no majority, repetitions (nothing is lost for good), compaction and snapshots,
//! broken connections, transfers. The random schedules and the simulator have all of them.
//!
//! `cargo run --release -p quorate-protocol --example search` lists the configurations and runs one to its end.

use crate::checker::{Checker, Sight};
use crate::cluster::{Cluster, Member};
use crate::locals::{Event, Id, Locals, Map, Mix, NODES, Set, Way, fingerprint};
use quorate_base::NodeId;
use quorate_protocol::raft::Membership;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};

/// What may happen, and how often on one path. What the network does has no bounds, but for `again`.
#[derive(Clone, Debug, Hash)]
pub struct Budget {
    /// Who may lose patience.
    pub campaigners: Vec<u64>,
    /// Nobody campaigns in a higher term.
    pub term_max: u64,
    /// How often somebody may lose patience.
    pub timeouts: u32,
    /// The first time-out is that of the first campaigner, the second that of the second.
    pub in_turn: bool,
    /// How often a rejected append, or a question for a read index, that made a difference may come once more. These are
    /// what a network that repeats at will is mostly busy with, without end where each question begins a new round.
    pub again: u32,
    pub crash: u32,
    pub propose: u32,
    pub read: u32,
    /// Changes of members that a leader may be asked for, each once.
    pub changes: Vec<Membership>,
}

impl Budget {
    /// Changes one number, as in `timeouts=3`; false if there is none of that name.
    pub fn set(&mut self, words: &str) -> bool {
        let Some((name, value)) = words.split_once('=') else { return false };
        let numbers: Vec<u64> = value.split(',').filter_map(|n| n.parse().ok()).collect();
        let Some(&number) = numbers.first() else { return false };
        match name {
            "campaigners" => self.campaigners = numbers,
            "again" => self.again = number as u32,
            "in_turn" => self.in_turn = number == 1,
            "terms" => self.term_max = number,
            "timeouts" => self.timeouts = number as u32,
            "crashes" => self.crash = number as u32,
            "proposals" => self.propose = number as u32,
            "reads" => self.read = number as u32,
            _ => return false,
        }
        true
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let often = |n: u32| if n == EVER { "ever".to_owned() } else { n.to_string() };
        write!(f, "campaigners {:?}{}", self.campaigners, if self.in_turn { " in turn" } else { "" })?;
        write!(f, ", terms {}, timeouts {}", self.term_max, often(self.timeouts))?;
        write!(f, ", again {}, crashes {}", often(self.again), self.crash)?;
        write!(f, ", proposals {}, reads {}, changes {}", self.propose, self.read, self.changes.len())
    }
}

/// As often as one likes.
pub const EVER: u32 = u32::MAX;

impl Default for Budget {
    fn default() -> Self {
        Self {
            campaigners: vec![1, 2, 3],
            term_max: 2,
            timeouts: EVER,
            in_turn: false,
            again: EVER,
            crash: 0,
            propose: 0,
            read: 0,
            changes: vec![],
        }
    }
}

/// What has been seen and what is left of the budget.
#[derive(Clone)]
pub struct Past {
    pub checker: Checker,
    timeouts: u32,
    again: u32,
    crash: u32,
    propose: u32,
    read: u32,
    /// Changes already asked for, a bit each.
    changed: u8,
}

impl Past {
    pub fn new(cluster: &Cluster, b: &Budget) -> Self {
        Self {
            checker: cluster.checker.clone(),
            timeouts: b.timeouts,
            again: b.again,
            crash: b.crash,
            propose: b.propose,
            read: b.read,
            changed: 0,
        }
    }

    /// Some of a budget for it is left; without one, what was heard is not marked.
    pub fn may_hear_again(&self) -> bool {
        self.again != EVER && self.again > 0
    }

    pub fn key(&self) -> u128 {
        fingerprint(|h| {
            self.checker.fingerprint(h);
            (self.timeouts, self.again, self.crash, self.propose, self.read, self.changed).hash(h);
        })
    }

    pub fn spend(&mut self, event: Event) {
        match event {
            Event::TimeOut if self.timeouts == EVER => {}
            Event::TimeOut => self.timeouts -= 1,
            Event::Flush => {}
            Event::Again => self.again -= 1,
            Event::Crash { .. } => self.crash -= 1,
            Event::Propose => self.propose -= 1,
            Event::Read(_) => self.read -= 1,
            Event::Change(which) => self.changed |= 1 << which,
        }
    }
}

/// Given a node, what happened there, the message that came, and the state after it; true to stop.
type Each<'a> = &'a mut dyn FnMut(&mut Search, (usize, Option<Event>, Id), State) -> bool;

/// All nodes, then the past.
type State = [Id; NODES + 1];

/// What a search has seen.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub states: usize,
    pub steps: usize,
    pub longest: usize,
    pub tables: String,
    /// Nothing was left to visit.
    pub complete: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.complete { "complete" } else { "stopped at its limit" };
        write!(
            f,
            "{} states, {} steps, longest way {}; {}: {end}",
            self.states, self.steps, self.longest, self.tables
        )
    }
}

pub struct Search {
    budget: Budget,
    locals: Locals,
    pasts: Vec<Past>,
    past_ids: Map<u128, Id>,
    judged: Map<(u64, u64), Id>,
    /// In the order in which they were found, each with the one that it was found from.
    states: Vec<(State, u32)>,
    seen: Seen,
    matching: Set<u64>,
    steps: usize,
    /// Off only where a test compares.
    pub trim: bool,
}

/// Visits all states, at most `limit`; the error says what is wrong and how it came about.
pub fn search(cluster: &Cluster, budget: Budget, limit: usize) -> Result<Report, String> {
    let mut search = Search::new(cluster, budget);
    let complete = search.run(limit)?;
    Ok(search.report(complete))
}

impl Search {
    pub fn new(cluster: &Cluster, budget: Budget) -> Self {
        let (locals, start) =
            Locals::new(cluster, budget.changes.clone(), budget.read > 0, budget.again != EVER);
        assert!(start.len() <= NODES, "a group of {} is too large to be searched", start.len());
        let mut search = Self {
            locals,
            pasts: vec![],
            past_ids: Map::default(),
            judged: Map::default(),
            states: vec![],
            seen: Seen::default(),
            matching: Set::default(),
            steps: 0,
            trim: true,
            budget,
        };
        let past = Past::new(cluster, &search.budget);
        let mut state = [0; NODES + 1];
        state[..start.len()].copy_from_slice(&start);
        state[NODES] = search.past(past);
        search.settle(&mut state, (1 << start.len()) - 1);
        search.keep(state, 0);
        search
    }

    /// True if nothing is left.
    pub fn run(&mut self, limit: usize) -> Result<bool, String> {
        let mut at = 0;
        while at < self.states.len() {
            if self.states.len() >= limit {
                return Ok(false);
            }
            self.expand(at as u32, &mut |search, _, next| {
                search.keep(next, at as u32);
                false
            })?;
            at += 1;
        }
        Ok(true)
    }

    pub fn report(&self, complete: bool) -> Report {
        Report {
            states: self.states.len(),
            steps: self.steps,
            longest: self.way_to(self.states.len() as u32 - 1).len() - 1,
            tables: self.locals.sizes(),
            complete,
        }
    }

    fn past(&mut self, past: Past) -> Id {
        let next = self.pasts.len() as Id;
        let id = *self.past_ids.entry(past.key()).or_insert(next);
        if id == next {
            self.pasts.push(past);
        }
        id
    }

    fn keep(&mut self, state: State, from: u32) {
        let states = &self.states;
        if self.seen.insert(&state, states.len() as u32, |i| &states[i as usize].0) {
            if self.states.len() == self.states.capacity() {
                // Not twice as many: there may be hundreds of millions.
                self.states.reserve_exact(self.states.len() / 8 + (1 << 16));
            }
            self.states.push((state, from));
        }
    }

    // ---- one state's successors ----

    /// Hands all successors to `each` until it says stop.
    fn expand(&mut self, at: u32, each: Each<'_>) -> Result<(), String> {
        let state = self.states[at as usize].0;
        let nodes = self.locals.names.len();
        for i in 0..nodes {
            for j in 0..nodes {
                let (from, to) = self.locals.hears_any(state[i], self.locals.sent(state[j], i));
                for w in from..to {
                    let way = self.locals.way(w);
                    let mut state = state;
                    if self.locals.counts(way.message) {
                        state[j] = self.locals.heard(state[j], i, way.message);
                    }
                    let next = self.next(at, &state, i, way, None)?;
                    if each(self, (i, None, way.message), next) {
                        return Ok(());
                    }
                }
            }
            let past = &self.pasts[state[NODES] as usize];
            let again = past.may_hear_again();
            for j in (0..nodes).filter(|_| again) {
                for way in self.locals.hears_again(state[i], self.locals.sent(state[j], i)) {
                    let next = self.next(at, &state, i, way, Some(Event::Again))?;
                    if each(self, (i, Some(Event::Again), way.message), next) {
                        return Ok(());
                    }
                }
            }
            let past = &self.pasts[state[NODES] as usize];
            for event in events(self.locals.member(state[i]), past, &self.budget) {
                let way = self.locals.after(state[i], event);
                let next = self.next(at, &state, i, way, Some(event))?;
                if each(self, (i, Some(event), 0), next) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The state in which node `i` has gone this way.
    fn next(
        &mut self,
        at: u32,
        state: &State,
        i: usize,
        way: Way,
        event: Option<Event>,
    ) -> Result<State, String> {
        self.steps += 1;
        let mut next = *state;
        next[i] = way.local;
        let free = |e: Event| e == Event::Flush || (e == Event::TimeOut && self.budget.timeouts == EVER);
        if way.news != 0 || event.is_some_and(|e| !free(e)) {
            match self.judged(state, way, event) {
                Ok(past) => next[NODES] = past,
                Err(why) => return Err(format!("{why}\n{}", self.story(at, i, way, event))),
            }
        }
        if let Err(why) = self.logs_match(&next, i) {
            return Err(format!("{why}\n{}", self.story(at, i, way, event)));
        }
        self.settle(&mut next, 1 << i);
        Ok(next)
    }

    /// The past after this step. What a leader commits is judged by all disks, anything else by the past alone.
    fn judged(&mut self, state: &State, way: Way, event: Option<Event>) -> Result<Id, String> {
        let by_disks = self.locals.news[way.news as usize].sights.iter().any(Sight::is_by_disks);
        let key = (u64::from(state[NODES]) << 32 | u64::from(way.news), event.map_or(u64::MAX, Event::code));
        if let Some(&past) = self.judged.get(&key).filter(|_| !by_disks) {
            return Ok(past);
        }
        let past = self.judge(state, way, event)?;
        let past = self.past(past);
        self.judged.insert(key, past);
        Ok(past)
    }

    fn judge(&self, state: &State, way: Way, event: Option<Event>) -> Result<Past, String> {
        let mut past = self.pasts[state[NODES] as usize].clone();
        if let Some(event) = event {
            past.spend(event);
        }
        let locals = &self.locals;
        let place = |node: NodeId| locals.names.iter().position(|&n| n == node);
        let holds = |node: NodeId, id| place(node).is_some_and(|p| locals.holds(state[p], id));
        let news = &locals.news[way.news as usize];
        for sight in &news.sights {
            past.checker.judge(sight, &holds)?;
        }
        if let Some(why) = &news.fault {
            return Err(why.clone());
        }
        Ok(past)
    }

    fn logs_match(&mut self, state: &State, i: usize) -> Result<(), String> {
        let own = self.locals.log(state[i]);
        for &other in &state[..self.locals.names.len()] {
            let other = self.locals.log(other);
            let key = u64::from(own.min(other)) << 32 | u64::from(own.max(other));
            if own == other || self.matching.contains(&key) {
                continue;
            }
            if let (Some(a), Some(b)) = (self.locals.with_log(own), self.locals.with_log(other)) {
                crate::checker::logs_match(a, b)?;
            }
            self.matching.insert(key);
        }
        Ok(())
    }

    /// Whatever a node can answer without changing, it has answered; what can make no difference to its receiver is gone. The
    /// nodes in the mask are new.
    fn settle(&mut self, state: &mut State, mut new: u8) {
        let nodes = self.locals.names.len();
        // A new node looks at all mailboxes, and all look at its.
        let mut hears = new;
        while new != 0 {
            let before = *state;
            for (i, j) in pairs(nodes).filter(|&(i, j)| (hears >> i | new >> j) & 1 == 1) {
                let mailbox = self.locals.sent(state[j], i);
                state[i] = self.locals.answers(state[i], mailbox);
            }
            new |= changed(&before, state);
            for (i, j) in pairs(nodes).filter(|&(i, j)| (hears >> i | new >> j) & 1 == 1 && self.trim) {
                state[j] = self.locals.forgets(state[j], state[i], i);
            }
            hears = 0;
            new = changed(&before, state);
        }
    }

    // ---- how it came about ----

    fn way_to(&self, at: u32) -> Vec<u32> {
        let mut way = vec![at];
        while let Some(&last) = way.last().filter(|&&l| l != 0) {
            way.push(self.states[last as usize].1);
        }
        way.reverse();
        way
    }

    /// The steps to a state, and the one after it.
    fn story(&mut self, at: u32, i: usize, way: Way, event: Option<Event>) -> String {
        let ids = self.way_to(at);
        let mut lines = vec![];
        for pair in ids.windows(2) {
            let target = self.states[pair[1] as usize].0;
            let mut line = None;
            let _ = self.expand(pair[0], &mut |search, (i, event, message), next| {
                if next == target {
                    line = Some(search.words(i, event, message));
                }
                next == target
            });
            lines.push(line.unwrap_or_default());
        }
        lines.push(self.words(i, event, way.message));
        format!("  {}", lines.join("\n  "))
    }

    fn words(&self, i: usize, event: Option<Event>, message: Id) -> String {
        let node = self.locals.names[i];
        match event {
            Some(Event::Again) => {
                format!("n{node} hears once more {}", self.locals.messages[message as usize])
            }
            Some(event) => format!("n{node}: {event:?}"),
            None => format!("n{node} hears {}", self.locals.messages[message as usize]),
        }
    }

    // ---- ask ----

    /// Whether such a state was visited.
    pub fn visits(&self, sought: fn(&[&Member]) -> bool) -> bool {
        let nodes = self.locals.names.len();
        self.states.iter().any(|(s, _)| {
            let members: Vec<&Member> = s[..nodes].iter().map(|&l| self.locals.member(l)).collect();
            sought(&members)
        })
    }

    /// Each state that was visited, as what `view` makes of its nodes.
    pub fn views<T: Ord>(&self, view: impl Fn(&Member) -> T) -> BTreeSet<Vec<T>> {
        let nodes = self.locals.names.len();
        self.states
            .iter()
            .map(|(s, _)| s[..nodes].iter().map(|&l| view(self.locals.member(l))).collect())
            .collect()
    }
}

fn pairs(nodes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..nodes).flat_map(move |i| (0..nodes).filter(move |&j| i != j).map(move |j| (i, j)))
}

/// The nodes that differ, a bit each.
fn changed(before: &State, now: &State) -> u8 {
    (0..NODES).map(|i| u8::from(before[i] != now[i]) << i).sum()
}

/// What may happen at a node, but for messages that come.
pub fn events(m: &Member, past: &Past, budget: &Budget) -> Vec<Event> {
    let Some(raft) = &m.raft else { return vec![] };
    let mut out = vec![];
    let campaigns = past.timeouts > 0
        && if budget.in_turn {
            budget.campaigners.get((budget.timeouts - past.timeouts) as usize) == Some(&m.id.0)
        } else {
            budget.campaigners.contains(&m.id.0)
        };
    if campaigns && !raft.is_leader() && raft.term().0 < budget.term_max {
        out.push(Event::TimeOut);
    }
    if !m.unflushed.is_empty() {
        out.push(Event::Flush);
    }
    if past.crash > 0 {
        out.push(Event::Crash { kept: false });
        if !m.unflushed.is_empty() {
            out.push(Event::Crash { kept: true });
        }
    }
    if past.read > 0 && raft.leader().is_some() {
        out.push(Event::Read(u64::from(past.read) << 4 | m.id.0));
    }
    if raft.is_leader() {
        if past.propose > 0 {
            out.push(Event::Propose);
        }
        let open = (0..budget.changes.len() as u8).filter(|c| past.changed & 1 << c == 0);
        out.extend(open.map(Event::Change));
    }
    out
}

/// A set of states by their places in a list: open addressing, at most three quarters full.
#[derive(Default)]
struct Seen {
    slots: Vec<u32>,
    len: usize,
}

impl Seen {
    const FREE: u32 = u32::MAX;

    fn hash(state: &State) -> u64 {
        let mut h = Mix::default();
        for &x in state {
            h.write_u32(x);
        }
        h.finish()
    }

    /// False if it is there.
    fn insert<'a>(&mut self, state: &State, at: u32, get: impl Fn(u32) -> &'a State) -> bool {
        if self.len * 4 >= self.slots.len() * 3 {
            let old = std::mem::take(&mut self.slots);
            self.slots = vec![Self::FREE; (old.len() * 2).max(1 << 10)];
            for i in old.into_iter().filter(|&i| i != Self::FREE) {
                let slot = self.slot(get(i), |_| false);
                self.slots[slot] = i;
            }
        }
        let slot = self.slot(state, |i| get(i) == state);
        if self.slots[slot] != Self::FREE {
            return false;
        }
        self.slots[slot] = at;
        self.len += 1;
        true
    }

    fn slot(&self, state: &State, is: impl Fn(u32) -> bool) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = Self::hash(state) as usize & mask;
        while self.slots[slot] != Self::FREE && !is(self.slots[slot]) {
            slot = (slot + 1) & mask;
        }
        slot
    }
}
