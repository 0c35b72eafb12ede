//! Histories from a simulated database at a chosen level of isolation, from a seed: for measurements and tests.
//!
//! Sessions take turns at random. A transaction is invoked, runs its micro-operations one a turn, commits, and returns, so that
//! up to as many transactions are under way as there are sessions. The database keeps for each key all writes with the time of
//! their commit; levels differ in which of them a read sees and what a commit checks:
//!
//! - strict serializable: the whole transaction runs at its commit.
//! - snapshot isolation: reads see the beginning, a commit fails where a key that it writes was written since.
//! - lagging snapshots: as before, but the snapshot of a transaction lies some commits before its beginning.
//! - read committed: each read sees the last commit before it; a write locks its key, and who finds it locked fails.
//! - read uncommitted: each read sees all writes, also those of transactions that fail later.

use super::history::{Builder, Element, Fault};
use crate::history::Outcome;

/// What the simulated database promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All of a transaction at one moment between invocation and return.
    StrictSerializable,
    /// A snapshot of the beginning, first committer wins.
    Snapshot,
    /// An older snapshot, first committer wins.
    LaggingSnapshot,
    /// What was committed at each read.
    ReadCommitted,
    /// What was written at each read.
    ReadUncommitted,
}

/// What history to make.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many transactions.
    pub txns: u32,
    /// How many sessions at once.
    pub sessions: u32,
    /// Micro-operations of a transaction: at most so many, at least one.
    pub ops: u32,
    /// True where all transactions have so many.
    pub full: bool,
    /// How many keys are in use at once.
    pub keys: u32,
    /// A key is given up after so many writes.
    pub writes_a_key: u32,
    /// In a thousand: transactions whose end stays unknown (half of them happened).
    pub info: u32,
    /// In a thousand: transactions that fail of themselves.
    pub fail: u32,
    /// What the database promises.
    pub isolation: Isolation,
    /// Registers that are read and written, instead of lists.
    pub registers: bool,
    /// With registers: a write always follows a read of its key.
    pub read_first: bool,
    /// The end of the history reads every key still in use.
    pub final_reads: bool,
    /// Whence all chance comes.
    pub seed: u64,
}

impl Default for Plan {
    /// The history of the measurements: four micro-operations, 32 writes a key, 20 sessions, 5 % unknown.
    fn default() -> Self {
        Self {
            txns: 1000,
            sessions: 20,
            ops: 4,
            full: true,
            keys: 10,
            writes_a_key: 32,
            info: 50,
            fail: 0,
            isolation: Isolation::StrictSerializable,
            registers: false,
            read_first: false,
            final_reads: false,
            seed: 1,
        }
    }
}

/// One micro-operation of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Appends to a key's list, or writes its register.
    Write(u32, u32),
    /// Reads; the result is so many values of [`Event::values`], nothing where it is not known.
    Read(u32, Option<u32>),
}

/// An invocation (`outcome` is `None`) or a completion.
#[derive(Debug)]
pub struct Event<'a> {
    /// Which process.
    pub process: u32,
    /// How the transaction ended.
    pub outcome: Option<Outcome>,
    /// What it did.
    pub ops: &'a [Op],
    /// What its reads saw, one after the other.
    pub values: &'a [u32],
}

/// Splitmix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        (((word >> 32) * u64::from(n)) >> 32) as u32
    }
}

/// A write in the database: its value, when it was committed (`u32::MAX` before that), and whose it is.
#[derive(Clone, Copy)]
struct Written {
    value: u32,
    at: u32,
    of: u32,
}

/// A session and its transaction.
#[derive(Default)]
struct Session {
    process: u32,
    open: bool,
    txn: u32,
    ops: Vec<Op>,
    values: Vec<u32>,
    next: usize,
    snapshot: u32,
    /// How it will end, once its micro-operations are through.
    ended: Option<Outcome>,
}

struct Database {
    plan: Plan,
    chance: Chance,
    /// All writes of each key ever used.
    written: Vec<Vec<Written>>,
    /// How many values each key has given out.
    given: Vec<u32>,
    in_use: Vec<u32>,
    now: u32,
    processes: u32,
}

/// Makes a history, event by event.
pub fn generate(plan: &Plan, take: &mut dyn FnMut(Event<'_>)) {
    let keys = plan.keys.max(1);
    let mut database = Database {
        plan: *plan,
        chance: Chance::new(plan.seed),
        written: (0..keys).map(|_| Vec::new()).collect(),
        given: vec![0; keys as usize],
        in_use: (0..keys).collect(),
        now: 1,
        processes: 0,
    };
    let mut sessions: Vec<Session> = (0..plan.sessions.max(1)).map(|_| Session::default()).collect();
    for session in &mut sessions {
        session.process = database.process();
    }
    let mut begun = 0;
    while begun < plan.txns || sessions.iter().any(|session| session.open) {
        let at = database.chance.below(sessions.len() as u32) as usize;
        let session = &mut sessions[at];
        if session.open {
            database.turn(session, take);
        } else if begun < plan.txns {
            begun += 1;
            database.begin(session, begun, take);
        }
    }
    if plan.final_reads {
        database.last_reads(take);
    }
}

/// A history as the judge takes it.
pub fn history(plan: &Plan) -> Result<super::history::History, Fault> {
    let mut builder = Builder::new();
    let mut fault = None;
    let mut list: Vec<Element> = Vec::new();
    generate(plan, &mut |event| {
        let mut values = event.values.iter();
        for op in event.ops {
            match *op {
                Op::Write(key, value) => {
                    let (key, value) = (builder.int(key.into()), builder.int(value.into()));
                    if plan.registers { builder.write(key, value) } else { builder.append(key, value) }
                }
                Op::Read(key, None) => {
                    let key = builder.int(key.into());
                    builder.unknown(key);
                }
                Op::Read(key, Some(len)) => {
                    let key = builder.int(key.into());
                    list.clear();
                    list.extend(values.by_ref().take(len as usize).map(|&value| builder.int(value.into())));
                    if plan.registers {
                        builder.read(key, list.last().copied().unwrap_or(Element::NIL));
                    } else {
                        builder.list(key, &list);
                    }
                }
            }
        }
        let process = builder.int(event.process.into());
        let done = match event.outcome {
            None => builder.invoke(process),
            Some(outcome) => builder.complete(process, outcome),
        };
        fault = fault.take().or(done.err());
    });
    fault.map_or_else(|| builder.finish(), Err)
}

impl Database {
    fn process(&mut self) -> u32 {
        self.processes += 1;
        self.processes - 1
    }

    fn key(&mut self) -> u32 {
        let at = self.chance.below(self.in_use.len() as u32) as usize;
        self.in_use[at]
    }

    fn write(&mut self) -> Op {
        let at = self.chance.below(self.in_use.len() as u32) as usize;
        let key = self.in_use[at];
        let given = &mut self.given[key as usize];
        *given += 1;
        let value = *given;
        if value >= self.plan.writes_a_key {
            self.in_use[at] = self.written.len() as u32;
            self.written.push(Vec::new());
            self.given.push(0);
        }
        Op::Write(key, value)
    }

    fn begin(&mut self, session: &mut Session, txn: u32, take: &mut dyn FnMut(Event<'_>)) {
        let most = self.plan.ops.max(1);
        let count = if self.plan.full { most } else { 1 + self.chance.below(most) };
        session.ops.clear();
        while (session.ops.len() as u32) < count {
            if self.chance.below(2) == 0 {
                let key = self.key();
                session.ops.push(Op::Read(key, None));
                continue;
            }
            let write = self.write();
            let Op::Write(key, _) = write else { continue };
            if self.plan.read_first && !session.ops.contains(&Op::Read(key, None)) {
                session.ops.push(Op::Read(key, None));
            }
            session.ops.push(write);
        }
        session.values.clear();
        session.open = true;
        session.txn = txn;
        session.next = 0;
        session.ended = None;
        let lag = if self.plan.isolation == Isolation::LaggingSnapshot { self.chance.below(30) } else { 0 };
        session.snapshot = self.now.saturating_sub(1 + lag);
        take(Event { process: session.process, outcome: None, ops: &session.ops, values: &[] });
    }

    /// One turn of a session: a micro-operation, the commit, or the return.
    fn turn(&mut self, session: &mut Session, take: &mut dyn FnMut(Event<'_>)) {
        if let Some(outcome) = session.ended {
            take(Event {
                process: session.process,
                outcome: Some(outcome),
                ops: &session.ops,
                values: &session.values,
            });
            session.open = false;
            if outcome == Outcome::Info {
                session.process = self.process();
            }
            return;
        }
        let at_once = self.plan.isolation == Isolation::StrictSerializable;
        if session.next == session.ops.len() {
            session.ended = Some(self.commit(session));
            return;
        }
        if at_once {
            session.next = session.ops.len();
        } else {
            self.run(session);
        }
    }

    /// Runs the next micro-operation.
    fn run(&mut self, session: &mut Session) {
        let op = &mut session.ops[session.next];
        session.next += 1;
        match op {
            Op::Write(key, value) => {
                let open = |write: &Written| write.at == u32::MAX && write.of != session.txn;
                if self.plan.isolation == Isolation::ReadCommitted
                    && self.written[*key as usize].iter().any(open)
                {
                    session.next = session.ops.len();
                    session.ended = Some(Outcome::Fail);
                    self.undo(session);
                    return;
                }
                let write = Written { value: *value, at: u32::MAX, of: session.txn };
                self.written[*key as usize].push(write);
            }
            Op::Read(key, seen) => {
                let most = match self.plan.isolation {
                    Isolation::ReadUncommitted => u32::MAX,
                    Isolation::Snapshot | Isolation::LaggingSnapshot => session.snapshot,
                    Isolation::ReadCommitted | Isolation::StrictSerializable => self.now - 1,
                };
                let all = &self.written[*key as usize];
                let mut shown = all.iter().filter(|write| write.at <= most || write.of == session.txn);
                let before = session.values.len();
                if self.plan.registers {
                    session.values.extend(shown.next_back().map(|write| write.value));
                } else {
                    session.values.extend(shown.map(|write| write.value));
                }
                *seen = Some((session.values.len() - before) as u32);
            }
        }
    }

    fn commit(&mut self, session: &mut Session) -> Outcome {
        if self.plan.isolation == Isolation::StrictSerializable {
            session.next = 0;
            while session.next < session.ops.len() {
                self.run(session);
            }
        }
        let unknown = self.chance.below(1000) < self.plan.info;
        let fails =
            if unknown { self.chance.below(2) == 0 } else { self.chance.below(1000) < self.plan.fail };
        let snapshots = matches!(self.plan.isolation, Isolation::Snapshot | Isolation::LaggingSnapshot);
        let conflict = snapshots && session.ops.iter().any(|op| self.conflicts(op, session.snapshot));
        let fails = fails || conflict;
        for op in &session.ops {
            let Op::Write(key, _) = *op else { continue };
            self.end_write(key, session.txn, fails);
        }
        self.now += 1;
        if unknown {
            session.values.clear();
            for op in &mut session.ops {
                if let Op::Read(_, seen) = op {
                    *seen = None;
                }
            }
            return Outcome::Info;
        }
        if fails { Outcome::Fail } else { Outcome::Ok }
    }

    /// Takes a transaction's writes back.
    fn undo(&mut self, session: &Session) {
        for op in &session.ops {
            if let Op::Write(key, _) = *op {
                self.end_write(key, session.txn, true);
            }
        }
    }

    fn conflicts(&self, op: &Op, snapshot: u32) -> bool {
        let Op::Write(key, _) = *op else { return false };
        self.written[key as usize].iter().any(|write| write.at > snapshot && write.at != u32::MAX)
    }

    /// A transaction's writes become committed, in the order of commits, or vanish.
    fn end_write(&mut self, key: u32, txn: u32, fails: bool) {
        let dirty = self.plan.isolation == Isolation::ReadUncommitted;
        let all = &mut self.written[key as usize];
        if dirty {
            for write in all.iter_mut().filter(|write| write.of == txn && !fails) {
                write.at = self.now;
            }
            return;
        }
        let mut own: Vec<Written> = Vec::new();
        all.retain(|write| {
            let mine = write.of == txn && write.at == u32::MAX;
            if mine {
                own.push(Written { at: self.now, ..*write });
            }
            !mine
        });
        if !fails {
            let place = all.iter().position(|write| write.at == u32::MAX).unwrap_or(all.len());
            all.splice(place..place, own);
        }
    }

    fn last_reads(&mut self, take: &mut dyn FnMut(Event<'_>)) {
        let process = self.process();
        for key in 0..self.written.len() as u32 {
            let ops = [Op::Read(key, None)];
            take(Event { process, outcome: None, ops: &ops, values: &[] });
            let all = self.written[key as usize].iter().filter(|write| write.at != u32::MAX);
            let mut values: Vec<u32> = all.map(|write| write.value).collect();
            if self.plan.registers {
                values.drain(..values.len().saturating_sub(1));
            }
            let ops = [Op::Read(key, Some(values.len() as u32))];
            take(Event { process, outcome: Some(Outcome::Ok), ops: &ops, values: &values });
        }
    }
}
