//! The levels by their definitions, slowly: every set of transactions that may have happened, every order of versions, every
//! order of commits. Nothing here is shared with the judges.
//!
//! Levels that Adya defines (1999) are asked of the direct serialization graph: all its simple cycles are enumerated. Levels
//! that Biswas and Enea define (2019) are asked of a total order of commits: their axioms are tried for every triple.

use quorate_check::history::Outcome;
use std::collections::BTreeSet;

/// One micro-operation; keys and elements are small numbers, each element is appended once in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Append(usize, u32),
    /// `None` where nobody knows.
    Read(usize, Option<Vec<u32>>),
}

#[derive(Clone, Debug)]
pub(crate) struct Txn {
    pub(crate) process: usize,
    pub(crate) outcome: Outcome,
    pub(crate) ops: Vec<Op>,
    /// An append is a write of a register, a list that was read is its one value or empty.
    pub(crate) registers: bool,
    /// The places of invocation and completion among all events.
    pub(crate) invoked: usize,
    pub(crate) completed: usize,
}

pub(crate) type History = Vec<Txn>;

/// A list as a version: who wrote each element.
type Order = Vec<u32>;

/// The first read of a key by a transaction: what it saw of others.
struct External {
    place: usize,
    key: usize,
    version: Vec<u32>,
}

/// The reads of a transaction that are of others' versions, and whether all its reads fit to its own operations.
fn externals(txn: &Txn) -> (Vec<External>, bool) {
    let mut found: Vec<External> = Vec::new();
    let mut fits = true;
    let keys: BTreeSet<usize> = txn.ops.iter().map(key).collect();
    for key in keys {
        let mut expected: Option<Vec<u32>> = None;
        let mut own = Vec::new();
        for (place, op) in txn.ops.iter().enumerate() {
            match op {
                Op::Append(of, element) if *of == key => {
                    own.push(*element);
                    match &mut expected {
                        _ if txn.registers => expected = Some(vec![*element]),
                        Some(list) => list.push(*element),
                        None => {}
                    }
                }
                Op::Read(of, Some(list)) if *of == key => {
                    let version = match &expected {
                        Some(expected) => {
                            fits &= expected == list;
                            own.is_empty().then(|| list.clone())
                        }
                        None if list.ends_with(&own) => Some(list[..list.len() - own.len()].to_vec()),
                        None => {
                            fits = false;
                            None
                        }
                    };
                    expected = Some(list.clone());
                    found.extend(version.map(|version| External { place, key, version }));
                }
                _ => {}
            }
        }
    }
    // The order of the operations, as some axioms look at it.
    found.sort_by_key(|read| read.place);
    let own_later = txn.ops.iter().enumerate().any(|(at, op)| match op {
        Op::Read(_, Some(list)) => {
            txn.ops[at..].iter().any(|op| matches!(op, Op::Append(_, element) if list.contains(element)))
        }
        _ => false,
    });
    (found, fits && !own_later)
}

fn key(op: &Op) -> usize {
    match op {
        Op::Append(key, _) | Op::Read(key, _) => *key,
    }
}

/// A world: who happened, and each key's order of elements.
struct World<'a> {
    history: &'a History,
    happened: Vec<bool>,
    orders: Vec<Order>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ww,
    Wr,
    Rw,
    Process,
    Realtime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: usize,
    to: usize,
    kind: Kind,
    key: usize,
}

pub(crate) fn precedes(history: &History, first: usize, second: usize) -> bool {
    history[first].outcome == Outcome::Ok && history[first].completed < history[second].invoked
}

/// The order of a process: a session ends with a transaction of unknown end.
pub(crate) fn session(history: &History, first: usize, second: usize) -> bool {
    let (one, other) = (&history[first], &history[second]);
    let broken = |txn: &Txn| {
        txn.process == one.process
            && txn.outcome == Outcome::Info
            && txn.invoked >= one.invoked
            && txn.invoked < other.invoked
    };
    one.process == other.process && one.invoked < other.invoked && !history.iter().any(broken)
}

impl World<'_> {
    fn writer(&self, element: u32) -> Option<usize> {
        (0..self.history.len()).find(|&id| {
            self.happened[id]
                && self.history[id].ops.iter().any(|op| matches!(op, Op::Append(_, own) if *own == element))
        })
    }

    fn version_writer(&self, version: &[u32]) -> Option<usize> {
        version.iter().rev().find_map(|&element| self.writer(element))
    }

    fn writes(&self, id: usize, key: usize) -> bool {
        self.history[id].ops.iter().any(|op| matches!(op, Op::Append(of, _) if *of == key))
    }

    fn edges(&self, order: Option<Kind>) -> BTreeSet<Edge> {
        let mut edges = BTreeSet::new();
        for (key, order) in self.orders.iter().enumerate() {
            let writers: Vec<usize> = order.iter().filter_map(|&element| self.writer(element)).collect();
            for pair in writers.windows(2).filter(|pair| pair[0] != pair[1]) {
                edges.insert(Edge { from: pair[0], to: pair[1], kind: Kind::Ww, key });
            }
        }
        let ok = |id: usize| self.history[id].outcome == Outcome::Ok;
        for id in (0..self.history.len()).filter(|&id| ok(id)) {
            for read in externals(&self.history[id]).0 {
                let last = self.version_writer(&read.version);
                if let Some(from) = last.filter(|&from| from != id) {
                    edges.insert(Edge { from, to: id, kind: Kind::Wr, key: read.key });
                }
                let order = &self.orders[read.key];
                let place = |element: &u32| order.iter().position(|on| on == element);
                let begin = read.version.iter().rev().find_map(place).map_or(0, |place| place + 1);
                let mut next = order[begin..].iter().filter_map(|&element| self.writer(element));
                let next = next.find(|&next| Some(next) != last);
                if let Some(to) = next.filter(|&to| to != id) {
                    edges.insert(Edge { from: id, to, kind: Kind::Rw, key: read.key });
                }
            }
        }
        for from in (0..self.history.len()).filter(|&id| self.happened[id]) {
            for to in (0..self.history.len()).filter(|&to| self.happened[to] && to != from) {
                let kind = order.filter(|&kind| match kind {
                    Kind::Process => session(self.history, from, to),
                    _ => precedes(self.history, from, to),
                });
                edges.extend(kind.map(|kind| Edge { from, to, kind, key: usize::MAX }));
            }
        }
        edges
    }

    /// True where some simple cycle fits.
    fn cycle(&self, edges: &BTreeSet<Edge>, fits: &dyn Fn(&[Edge]) -> bool) -> bool {
        let mut path = Vec::new();
        (0..self.history.len()).any(|start| extend(start, start, edges, &mut path, fits))
    }

    /// G1a, G1b, reads of nobody's elements, and whether the reads are beginnings of the orders.
    fn committed_reads(&self) -> bool {
        self.in_program_order()
            && self.history.iter().enumerate().filter(|(_, txn)| txn.outcome == Outcome::Ok).all(
                |(id, txn)| {
                    let lists = txn.ops.iter().filter_map(|op| match op {
                        Op::Read(key, Some(list)) => Some((*key, list)),
                        _ => None,
                    });
                    let whole =
                        txn.registers || lists.clone().all(|(key, list)| self.orders[key].starts_with(list));
                    let own = |element| self.writer(element) == Some(id);
                    let fine = lists
                        .clone()
                        .all(|(_, list)| list.iter().all(|&element| self.writer(element).is_some()));
                    let last = externals(txn).0.iter().all(|read| match read.version.last() {
                        Some(&element) if !own(element) => {
                            let writer = &self.history[self.writer(element).unwrap_or(id)];
                            let last = writer.ops.iter().rev().find_map(|op| match op {
                                Op::Append(key, own) if *key == read.key => Some(*own),
                                _ => None,
                            });
                            last == Some(element)
                        }
                        _ => true,
                    });
                    whole && fine && last
                },
            )
    }

    /// Each transaction's elements stand in its own order.
    fn in_program_order(&self) -> bool {
        let place = |key: usize, element| self.orders[key].iter().position(|&on| on == element);
        self.history.iter().enumerate().filter(|&(id, _)| self.happened[id]).all(|(_, txn)| {
            (0..self.orders.len()).all(|key| {
                let own = txn.ops.iter().filter_map(|op| match op {
                    Op::Append(of, element) if *of == key => Some(place(key, *element)),
                    _ => None,
                });
                own.collect::<Vec<_>>().is_sorted()
            })
        })
    }

    fn internal(&self) -> bool {
        self.history.iter().filter(|txn| txn.outcome == Outcome::Ok).all(|txn| externals(txn).1)
    }

    fn fractured(&self) -> bool {
        self.axiom_holds(&self.version_order(), &|order, t2, t3, _| order.wr(t2, t3), None)
    }

    /// The order of versions as a relation: what Adya's levels know of the order of commits.
    fn version_order(&self) -> Vec<Vec<bool>> {
        let n = self.history.len();
        let mut before = vec![vec![false; n]; n];
        for order in &self.orders {
            for (at, &first) in order.iter().enumerate() {
                for &second in &order[at + 1..] {
                    if let (Some(first), Some(second)) = (self.writer(first), self.writer(second)) {
                        before[first][second] |= first != second;
                    }
                }
            }
        }
        before
    }

    /// Biswas and Enea's axioms have one form: where t3 reads a key from t1, t2 writes it too, and `sees` holds of t2 and t3
    /// (and the place of the read), t2 must come before t1.
    fn axiom_holds(
        &self,
        before: &[Vec<bool>],
        sees: &dyn Fn(&Orders<'_>, usize, usize, usize) -> bool,
        order: Option<Kind>,
    ) -> bool {
        let orders = Orders::new(self, before, order);
        for t3 in (0..self.history.len()).filter(|&id| self.history[id].outcome == Outcome::Ok) {
            for (place, read) in externals(&self.history[t3]).0.iter().enumerate() {
                let t1 = self.version_writer(&read.version);
                for t2 in
                    (0..self.history.len()).filter(|&id| self.happened[id] && id != t3 && Some(id) != t1)
                {
                    let writes = self.writes(t2, read.key);
                    let fine = t1.is_some_and(|t1| before[t2][t1]);
                    if writes && sees(&orders, t2, t3, place) && !fine {
                        return false;
                    }
                }
            }
        }
        true
    }
}

/// Goes on from the end of a path, over nodes above the one that it began with.
fn extend(
    start: usize,
    at: usize,
    edges: &BTreeSet<Edge>,
    path: &mut Vec<Edge>,
    fits: &dyn Fn(&[Edge]) -> bool,
) -> bool {
    for edge in edges.iter().filter(|edge| edge.from == at && edge.to >= start) {
        if path.iter().any(|on| on.from == edge.to && edge.to != start) {
            continue;
        }
        path.push(*edge);
        let found = if edge.to == start { fits(path) } else { extend(start, edge.to, edges, path, fits) };
        path.pop();
        if found {
            return true;
        }
    }
    false
}

/// The relations of one world under one order of commits.
struct Orders<'a> {
    world: &'a World<'a>,
    before: &'a [Vec<bool>],
    wr: Vec<Vec<bool>>,
    so: Vec<Vec<bool>>,
    reach: Vec<Vec<bool>>,
}

impl<'a> Orders<'a> {
    fn new(world: &'a World<'a>, before: &'a [Vec<bool>], order: Option<Kind>) -> Self {
        let n = world.history.len();
        let edges = world.edges(order);
        let has = |from, to, kinds: &[Kind]| {
            edges.iter().any(|edge| edge.from == from && edge.to == to && kinds.contains(&edge.kind))
        };
        let table = |kinds: &[Kind]| -> Vec<Vec<bool>> {
            (0..n).map(|from| (0..n).map(|to| has(from, to, kinds)).collect()).collect()
        };
        let (wr, so) = (table(&[Kind::Wr]), table(&[Kind::Process, Kind::Realtime]));
        let mut reach: Vec<Vec<bool>> =
            (0..n).map(|a| (0..n).map(|b| wr[a][b] || so[a][b]).collect()).collect();
        for via in 0..n {
            for from in 0..n {
                for to in 0..n {
                    reach[from][to] |= reach[from][via] && reach[via][to];
                }
            }
        }
        Self { world, before, wr, so, reach }
    }

    fn wr(&self, from: usize, to: usize) -> bool {
        self.wr[from][to]
    }

    fn direct(&self, from: usize, to: usize) -> bool {
        self.wr[from][to] || self.so[from][to]
    }

    /// t3 read from t2 before its read of that place.
    fn read_before(&self, t2: usize, t3: usize, place: usize) -> bool {
        let reads = externals(&self.world.history[t3]).0;
        reads[..place].iter().any(|read| self.world.version_writer(&read.version) == Some(t2))
    }

    fn prefix(&self, t2: usize, t3: usize) -> bool {
        (0..self.before.len()).any(|via| (via == t2 || self.before[t2][via]) && self.direct(via, t3))
    }

    fn conflict(&self, t2: usize, t3: usize) -> bool {
        let world = self.world;
        (0..self.before.len()).any(|t4| {
            let both = (0..world.orders.len()).any(|key| world.writes(t4, key) && world.writes(t3, key));
            (t4 == t2 || self.before[t2][t4]) && self.before[t4][t3] && both
        })
    }
}

/// The axiom of a level, by what it says that t3 sees; and the order it includes. `None` for levels defined by cycles.
type Sees = fn(&Orders<'_>, usize, usize, usize) -> bool;

fn axioms(level: &str) -> Option<(Sees, Option<Kind>)> {
    let serial: Sees = |o, t2, t3, _| o.before[t2][t3];
    let snapshot: Sees = |o, t2, t3, _| o.prefix(t2, t3) || o.conflict(t2, t3);
    let prefix: Sees = |o, t2, t3, _| o.prefix(t2, t3);
    let (process, realtime) = (Some(Kind::Process), Some(Kind::Realtime));
    Some(match level {
        "monotonic-atomic-view" => (|o, t2, t3, place| o.read_before(t2, t3, place), None),
        "read-atomic" => (|o, t2, t3, _| o.wr(t2, t3), None),
        "causal" => (|o, t2, t3, _| o.reach[t2][t3], process),
        "prefix" => (prefix, None),
        "strong-session-prefix" => (prefix, process),
        "strong-prefix" => (prefix, realtime),
        "snapshot-isolation" => (snapshot, None),
        "strong-session-snapshot-isolation" => (snapshot, process),
        "strong-snapshot-isolation" => (snapshot, realtime),
        "serializable" => (serial, None),
        "strong-session-serializable" => (serial, process),
        "strict-serializable" => (serial, realtime),
        _ => return None,
    })
}

fn permutations<T: Clone>(of: &[T]) -> Vec<Vec<T>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for at in 0..of.len() {
        let mut rest = of.to_vec();
        let first = rest.remove(at);
        for mut tail in permutations(&rest) {
            tail.insert(0, first.clone());
            all.push(tail);
        }
    }
    all
}

fn was_read(history: &History, txn: &Txn) -> bool {
    let reads = |element: &u32| {
        let mut ops = history.iter().filter(|txn| txn.outcome == Outcome::Ok).flat_map(|txn| &txn.ops);
        ops.any(|op| matches!(op, Op::Read(_, Some(list)) if list.contains(element)))
    };
    txn.ops.iter().any(|op| matches!(op, Op::Append(_, element) if reads(element)))
}

/// All sets of transactions that may have happened; what was read did, unless it failed.
fn happenings(history: &History) -> Vec<Vec<bool>> {
    let mut all = vec![Vec::new()];
    for txn in history {
        let choices: &[bool] = match txn.outcome {
            Outcome::Ok => &[true],
            Outcome::Fail => &[false],
            Outcome::Info if was_read(history, txn) => &[true],
            Outcome::Info => &[false, true],
        };
        all = all
            .into_iter()
            .flat_map(|set: Vec<bool>| {
                choices.iter().map(move |&choice| [set.clone(), vec![choice]].concat())
            })
            .collect();
    }
    all
}

/// What holds of a history, level by level.
pub(crate) fn holds(history: &History, keys: usize, level: &str) -> bool {
    happenings(history).into_iter().any(|happened| match axioms(level) {
        Some((sees, order)) => by_commits(history, keys, &happened, level, sees, order),
        None => by_versions(history, keys, &happened, level),
    })
}

fn by_commits(
    history: &History,
    keys: usize,
    happened: &[bool],
    level: &str,
    sees: Sees,
    order: Option<Kind>,
) -> bool {
    let txns: Vec<usize> = (0..history.len()).filter(|&id| happened[id]).collect();
    permutations(&txns).into_iter().any(|commits| {
        let orders = (0..keys).map(|key| {
            let own = |&id: &usize| {
                history[id].ops.iter().filter_map(move |op| match op {
                    Op::Append(of, element) if *of == key => Some(*element),
                    _ => None,
                })
            };
            commits.iter().flat_map(own).collect()
        });
        let world = World { history, happened: happened.to_vec(), orders: orders.collect() };
        let place = |id: usize| commits.iter().position(|&on| on == id);
        let before: Vec<Vec<bool>> = (0..history.len())
            .map(|a| {
                (0..history.len())
                    .map(|b| place(a).is_some() && place(b).is_some() && place(a) < place(b))
                    .collect()
            })
            .collect();
        let included =
            world.edges(order).iter().all(|edge| edge.kind == Kind::Rw || before[edge.from][edge.to]);
        let internal = level == "monotonic-atomic-view" || world.internal();
        included && internal && world.committed_reads() && world.axiom_holds(&before, &sees, order)
    })
}

/// All orders of the elements that begin as the reads say, where these agree; all orders else.
fn orders_of(history: &History, happened: &[bool], key: usize) -> Vec<Order> {
    let mut lists: Vec<&Vec<u32>> = Vec::new();
    let mut elements = Vec::new();
    for (id, txn) in history.iter().enumerate() {
        for op in &txn.ops {
            match op {
                Op::Append(of, element) if *of == key && happened[id] => elements.push(*element),
                Op::Read(of, Some(list)) if *of == key && txn.outcome == Outcome::Ok && !txn.registers => {
                    lists.push(list);
                }
                _ => {}
            }
        }
    }
    lists.sort_by_key(|list| list.len());
    let twice = |list: &Vec<u32>| list.iter().collect::<BTreeSet<_>>().len() < list.len();
    let agree =
        lists.windows(2).all(|pair| pair[1].starts_with(pair[0])) && !lists.iter().any(|list| twice(list));
    let mut begin: Order =
        if agree { lists.last().map(|list| (*list).clone()).unwrap_or_default() } else { Vec::new() };
    begin.retain(|element| elements.contains(element));
    elements.retain(|element| !begin.contains(element));
    permutations(&elements).into_iter().map(|tail| [begin.clone(), tail].concat()).collect()
}

fn by_versions(history: &History, keys: usize, happened: &[bool], level: &str) -> bool {
    let mut worlds = vec![Vec::new()];
    for key in 0..keys {
        let choices = orders_of(history, happened, key);
        worlds = worlds
            .into_iter()
            .flat_map(|world: Vec<Order>| {
                choices.iter().map(move |order| [world.clone(), vec![order.clone()]].concat())
            })
            .collect();
    }
    worlds.into_iter().any(|orders| by_cycles(&World { history, happened: happened.to_vec(), orders }, level))
}

fn by_cycles(world: &World<'_>, level: &str) -> bool {
    let twice = |list: &Vec<u32>| list.iter().collect::<BTreeSet<_>>().len() < list.len();
    let duplicate =
        world.history.iter().filter(|txn| txn.outcome == Outcome::Ok).flat_map(|txn| &txn.ops).any(|op| {
            match op {
                Op::Read(_, Some(list)) => twice(list),
                _ => false,
            }
        });
    let rw = |cycle: &[Edge]| cycle.iter().filter(|edge| edge.kind == Kind::Rw).count();
    let none = |order, fits: &dyn Fn(&[Edge]) -> bool| !world.cycle(&world.edges(order), fits);
    let writes = |id: usize| world.history[id].ops.iter().any(|op| matches!(op, Op::Append(..)));
    let uncommitted = !duplicate && none(None, &|cycle| cycle.iter().all(|edge| edge.kind == Kind::Ww));
    if level == "read-uncommitted" {
        return uncommitted;
    }
    let committed = uncommitted && world.committed_reads() && none(None, &|cycle| rw(cycle) == 0);
    let cursor = |cycle: &[Edge]| {
        rw(cycle) == 1
            && cycle.iter().all(|edge| edge.key == cycle[0].key && matches!(edge.kind, Kind::Ww | Kind::Rw))
    };
    let one = |cycle: &[Edge]| rw(cycle) <= 1;
    let readers = |cycle: &[Edge]| cycle.iter().filter(|edge| !writes(edge.from)).count() <= 1;
    let (process, realtime) = (Some(Kind::Process), Some(Kind::Realtime));
    let atomic = || world.internal() && world.fractured();
    committed
        && match level {
            "read-committed" => true,
            "cursor-stability" => none(None, &cursor),
            "consistent-view" => none(None, &one),
            "update-serializable" => none(None, &one) && none(None, &readers),
            "repeatable-read" => none(None, &|_| true),
            "parallel-snapshot-isolation" => none(None, &one) && atomic(),
            "strong-session-read-committed" => none(process, &|cycle| rw(cycle) == 0),
            "strong-session-PSI" => none(process, &one) && atomic(),
            "strong-read-committed" => none(realtime, &|cycle| rw(cycle) == 0),
            "strong-PSI" => none(realtime, &one) && atomic(),
            other => panic!("no definition of {other} here"),
        }
}
