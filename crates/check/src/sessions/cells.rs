//! A history as sessions that read and write cells, where each read names the write that it saw.

use crate::budget::Spent;
use crate::history::{History, Moment, NEVER, Operation, Outcome};
use crate::model::Model;
use crate::models::{Register, RegisterAction, function};
use crate::table::Table;
use crate::value::Value;
use crate::verdict::Witness;

/// What an access did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It wrote a value of its own.
    Write,
    /// It read what this access wrote; `None`: what the cell held at first.
    Read(Option<u32>),
}

/// One read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whose.
    pub session: u32,
    /// Of which cell.
    pub key: u32,
    /// What it did.
    pub what: What,
    /// Its place in the history.
    pub source: u32,
    /// When it was invoked.
    pub invoked: Moment,
    /// When it returned.
    pub returned: Moment,
}

/// Accesses session by session, each in its order.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    /// All of them.
    pub accesses: Vec<Access>,
    /// Where each session begins, and the end.
    pub(crate) begins: Vec<u32>,
    /// By cell: a write of unknown outcome may still come.
    pub(crate) restless: Vec<bool>,
}

impl Cells {
    /// How many sessions there are.
    pub fn sessions(&self) -> u32 {
        self.begins.len() as u32 - 1
    }

    /// The accesses of a session.
    pub fn session(&self, session: u32) -> std::ops::Range<u32> {
        self.begins[session as usize]..self.begins[session as usize + 1]
    }

    /// Its number within its session, from 0.
    pub(crate) fn place_in_session(&self, access: u32) -> u32 {
        access - self.begins[self.accesses[access as usize].session as usize]
    }

    /// Sorts accesses whose reads name their writes by place in `accesses`.
    fn new(accesses: &[Access], restless: Vec<bool>) -> Self {
        let mut order: Vec<u32> = (0..accesses.len() as u32).collect();
        order.sort_by_key(|&place| {
            (
                accesses[place as usize].session,
                accesses[place as usize].invoked,
                accesses[place as usize].source,
            )
        });
        let mut new = vec![0; accesses.len()];
        for (to, &from) in order.iter().enumerate() {
            new[from as usize] = to as u32;
        }
        let mut cells = Self { accesses: Vec::with_capacity(accesses.len()), begins: vec![0], restless };
        let mut last = None;
        for &from in &order {
            let mut access = accesses[from as usize];
            if let What::Read(Some(write)) = access.what {
                access.what = What::Read(Some(new[write as usize]));
            }
            if last.is_some_and(|last| last != access.session) {
                cells.begins.push(cells.accesses.len() as u32);
            }
            last = Some(access.session);
            access.session = cells.begins.len() as u32 - 1;
            cells.accesses.push(access);
        }
        cells.begins.push(cells.accesses.len() as u32);
        cells
    }

    /// Those that are kept. Who read what is not kept must not be either.
    fn only(&self, keep: impl Fn(u32) -> bool) -> Self {
        let mut new = vec![u32::MAX; self.accesses.len()];
        let mut kept = Vec::new();
        for (place, access) in self.accesses.iter().enumerate() {
            if keep(place as u32) {
                new[place] = kept.len() as u32;
                kept.push(*access);
            }
        }
        for access in &mut kept {
            if let What::Read(Some(write)) = access.what {
                access.what = What::Read(Some(new[write as usize]));
            }
        }
        Self::new(&kept, self.restless.clone())
    }
}

/// What a history is to these levels.
#[derive(Debug)]
pub enum Cut {
    /// Every read names its write.
    Cells(Cells),
    /// Some reads could have seen one of several writes.
    Loose(Loose),
    /// A read returned what nobody wrote.
    Thin(Witness),
    /// It is not known which write a read saw, and why.
    Unsupported(String),
}

impl Cut {
    /// Cuts a history.
    pub fn new(history: &History, initial: Value) -> Self {
        let register = Register { initial, cas: true };
        let mut accesses: Vec<(Access, Value, bool)> = Vec::new();
        let mut keys: Table<Value, u32> = Table::default();
        let mut names: Vec<Value> = Vec::new();
        for (source, operation) in history.operations.iter().enumerate() {
            // To delete a key is to write what it held first.
            let deletes = matches!(function(operation.f, &history.values), "delete" | "del" | "remove");
            let action = match register.action(operation, &history.values) {
                _ if deletes && operation.outcome == Outcome::Fail => None,
                _ if deletes => Some(RegisterAction::Write(initial)),
                Ok(action) => action,
                Err(why) => return Self::Unsupported(why),
            };
            let (what, value) = match action {
                None | Some(RegisterAction::Differs(_)) => continue,
                Some(RegisterAction::Swap(..)) => {
                    return Self::Unsupported(
                        "compare-and-set is known to the sequential level alone".into(),
                    );
                }
                Some(RegisterAction::Write(value)) => (What::Write, value),
                Some(RegisterAction::Read(value)) => (What::Read(None), value),
            };
            let next = names.len() as u32;
            let key = *keys.or_insert_with(operation.key, || next);
            if key == next {
                names.push(operation.key);
            }
            let Operation { process, invoked, returned, .. } = *operation;
            let access = Access { session: process, key, what, source: source as u32, invoked, returned };
            accesses.push((access, value, false));
        }
        name_writes(accesses, &names, initial, history)
    }
}

/// Finds the writes that each read may have seen.
fn name_writes(
    mut accesses: Vec<(Access, Value, bool)>,
    names: &[Value],
    initial: Value,
    history: &History,
) -> Cut {
    let mut writers: Table<(u32, Value), Vec<u32>> = Table::default();
    for (place, &(access, value, _)) in accesses.iter().enumerate() {
        if access.what == What::Write {
            writers.or_insert_with((access.key, value), Vec::new).push(place as u32);
        }
    }
    let mut may = May { of: vec![0; accesses.len()], lists: vec![Vec::new()] };
    let mut lists: Table<(u32, Value), u32> = Table::default();
    let mut open = None;
    for place in 0..accesses.len() {
        let (access, value, _) = accesses[place];
        if access.what == What::Write {
            continue;
        }
        let fresh = may.lists.len() as u32;
        let list = *lists.or_insert_with((access.key, value), || fresh);
        may.of[place] = list;
        if list == fresh {
            let written = writers.get(&(access.key, value)).map_or(&[][..], Vec::as_slice);
            let first = (value == initial).then_some(None);
            may.lists.push(first.into_iter().chain(written.iter().copied().map(Some)).collect());
            for &write in written {
                accesses[write as usize].2 = true;
            }
        }
        let list = &may.lists[list as usize];
        let Some(&first) = list.first() else {
            return Cut::Thin(Witness {
                kind: "thin-air read".into(),
                words: format!("{} returned what nobody wrote", history.show(access.source)),
                core: vec![access.source],
                by: "a look at the values",
            });
        };
        if list.len() > 1 {
            open.get_or_insert((access.key, value));
        }
        accesses[place].0.what = What::Read(first);
    }
    // A pending write that nobody can have read may as well never have happened.
    let read: Vec<bool> =
        accesses.iter().map(|&(access, _, read)| read || access.returned != NEVER).collect();
    let mut restless = vec![false; names.len()];
    for (access, ..) in &accesses {
        restless[access.key as usize] |= access.returned == NEVER;
    }
    let all: Vec<Access> = accesses.into_iter().map(|(access, ..)| access).collect();
    let all = Cells { accesses: all, begins: vec![0], restless };
    let Some((key, value)) = open else { return Cut::Cells(all.only(|place| read[place as usize])) };
    let on = match names[key as usize] {
        Value::NIL => String::new(),
        name => format!(" to key {}", history.values.show(name)),
    };
    let why = format!(
        "{}{on} is written more than once: it is not known which write its readers saw",
        history.values.show(value)
    );
    let loose = Loose { cells: all, may, why };
    Cut::Loose(loose.only(|place| read[place as usize]))
}

/// A history of which some reads could have seen one of several writes.
#[derive(Clone, Debug)]
pub struct Loose {
    /// The accesses; such a read names the first that it may have seen.
    pub cells: Cells,
    /// What each read may have seen.
    pub may: May,
    /// Of which value that is so.
    pub why: String,
}

/// Which writes reads may have seen, in the order of their invocations; `None` for what the cell held at first. Reads of one value share
/// a list: with one each, a history of few values would need the square of its length.
#[derive(Clone, Debug)]
pub struct May {
    /// By access: its list; that of writes is the first, which is empty.
    of: Vec<u32>,
    lists: Vec<Vec<Option<u32>>>,
}

impl May {
    /// What a read may have seen; empty for a write.
    pub fn of(&self, access: u32) -> &[Option<u32>] {
        &self.lists[self.of[access as usize] as usize]
    }

    /// All accesses.
    pub(super) fn accesses(&self) -> std::ops::Range<u32> {
        0..self.of.len() as u32
    }
}

impl Loose {
    /// Those that are kept. Who may have read what is not kept must not be either.
    pub(super) fn only(&self, keep: impl Fn(u32) -> bool) -> Self {
        let lacks = |list: &Vec<Option<u32>>| list.iter().flatten().any(|&write| !keep(write));
        let lacking: Vec<bool> = self.may.lists.iter().map(lacks).collect();
        let gone = |place: u32| !keep(place) || lacking[self.may.of[place as usize] as usize];
        let kept: Vec<u32> = (0..self.cells.accesses.len() as u32).filter(|&place| !gone(place)).collect();
        // `Cells` sorts: by its place in the history an access is found again.
        let cells = self.cells.only(|place| !gone(place));
        let mut at: Table<u32, u32> = Table::default();
        for (place, access) in cells.accesses.iter().enumerate() {
            at.or_insert_with(access.source, || place as u32);
        }
        let new = |old: u32| *at.get(&self.cells.accesses[old as usize].source).unwrap_or(&0);
        let lists = self.may.lists.iter().zip(&lacking).map(|(list, &lacking)| {
            if lacking { Vec::new() } else { list.iter().map(|write| write.map(new)).collect() }
        });
        let mut may = May { of: vec![0; cells.accesses.len()], lists: lists.collect() };
        for old in kept {
            may.of[new(old) as usize] = self.may.of[old as usize];
        }
        Self { cells, may, why: self.why.clone() }
    }

    /// The accesses where each read saw what is chosen for it; reads for which nothing is are left out, which makes no history
    /// wrong that was right.
    pub(super) fn chosen(&self, chosen: &[Option<What>]) -> Cells {
        let mut cells = self.cells.clone();
        for (access, chosen) in cells.accesses.iter_mut().zip(chosen) {
            access.what = chosen.unwrap_or(access.what);
        }
        cells.only(|place| self.may.of(place).is_empty() || chosen[place as usize].is_some())
    }
}

/// What cannot be: its kind, and accesses each of which must be before the next, where it is a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The pattern's name.
    pub kind: &'static str,
    /// The accesses that show it.
    pub chain: Vec<u32>,
    /// The last must be before the first, too.
    pub round: bool,
}

impl Bad {
    /// In words.
    pub(super) fn words(&self, cells: &Cells, history: &History) -> String {
        let shown: Vec<String> =
            self.chain.iter().map(|&access| history.show(cells.accesses[access as usize].source)).collect();
        format!("{}: {}", self.kind, shown.join("; then "))
    }
}

/// Leaves out what is not needed for a violation of the same kind: reads, and writes together with all that read them. No
/// history that was right becomes wrong by that, so what is left convicts the whole. In the end nothing more can go.
pub(super) fn shrink(
    cells: &Cells,
    bad: Bad,
    mut find: impl FnMut(&Cells) -> Result<Option<Bad>, Spent>,
) -> Result<(Cells, Bad), Spent> {
    let (mut cells, mut bad) = (cells.clone(), bad);
    let mut size = cells.accesses.len().div_ceil(2).max(1);
    loop {
        let (mut went, mut from) = (false, 0);
        while from < cells.accesses.len() {
            let to = (from + size).min(cells.accesses.len());
            let gone = |place: u32| (from..to).contains(&(place as usize));
            let fewer = cells.only(|place| {
                let of_gone = match cells.accesses[place as usize].what {
                    What::Read(Some(write)) => gone(write),
                    _ => false,
                };
                !gone(place) && !of_gone
            });
            match find(&fewer) {
                Ok(Some(found)) if found.kind == bad.kind => {
                    (cells, bad) = (fewer, found);
                    went = true;
                }
                Ok(_) => from = to,
                // What is known so far is a witness too.
                Err(_) => return Ok((cells, bad)),
            }
        }
        match (size, went) {
            (1, false) => return Ok((cells, bad)),
            (1, true) => {}
            _ => size = size.div_ceil(2),
        }
    }
}
