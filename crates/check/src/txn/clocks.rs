//! Vector clocks of transactions: how much of each session is in one's causal past.
//!
//! Sessions end all the time where ends of transactions stay unknown, and a clock has a place for each: a session that begins
//! when another's end is in its past takes that one's place over. What is left is mostly old and the same for everybody; so a
//! clock is kept as its differences from a *base*, which is renewed every thousand transactions.

use super::facts::Facts;
use super::history::{Id, NONE};
use crate::budget::{Budget, Spent};

/// The clocks of all transactions.
pub(super) struct Clocks {
    /// The place of each transaction's session in the clocks, `NONE` for those that took no part.
    pub(super) chain: Vec<u32>,
    /// How many of its chain came up to it, itself included.
    pub(super) place: Vec<u32>,
    base: Vec<u32>,
    /// Where each one's differences begin; one more at the end.
    from: Vec<u32>,
    len: Vec<u32>,
    differences: Vec<(u32, u32)>,
    bases: Vec<Vec<u32>>,
}

/// So many transactions share a base.
const RENEWED: usize = 1024;

impl Clocks {
    /// The clocks, where `order` puts each transaction behind those that it read from and that precede it in its session.
    pub(super) fn new(facts: &Facts, order: &[Id], budget: &mut Budget<'_>) -> Result<Self, Spent> {
        let n = facts.len();
        budget.take(n as u64 * 24)?;
        let mut clocks = Self {
            chain: vec![NONE; n],
            place: vec![0; n],
            base: vec![0; n],
            from: vec![0; n],
            len: vec![0; n],
            differences: Vec::new(),
            bases: vec![Vec::new()],
        };
        let mut before = vec![NONE; n];
        for (id, &next) in facts.next.iter().enumerate().filter(|&(_, &next)| next != NONE) {
            before[next as usize] = id as u32;
        }
        let mut chains = Chains::default();
        let (mut clock, mut other) = (Vec::new(), Vec::new());
        for (at, &id) in order.iter().enumerate() {
            budget.step()?;
            let alone = before[id as usize] == NONE && facts.next[id as usize] == NONE;
            if alone && facts.reads(id).is_empty() && facts.writes(id).is_empty() {
                // It failed, or nobody knows of it.
                continue;
            }
            if at % RENEWED == RENEWED - 1 {
                clocks.renew(&clock, budget)?;
            }
            clocks.past(facts, id, before[id as usize], chains.len(), &mut clock, &mut other);
            let known = Some(before[id as usize]).filter(|&before| before != NONE);
            let chain = known.map(|before| clocks.chain[before as usize]);
            let chain = chain.unwrap_or_else(|| chains.begin(&mut clock));
            clock[chain as usize] = chains.extend(chain, facts.next[id as usize] != NONE);
            clocks.chain[id as usize] = chain;
            clocks.place[id as usize] = clock[chain as usize];
            clocks.keep(id, &clock, budget)?;
        }
        Ok(clocks)
    }

    /// The clock of one, as a place for each chain.
    pub(super) fn read(&self, id: Id, chains: usize, into: &mut Vec<u32>) {
        into.clear();
        into.extend_from_slice(&self.bases[self.base[id as usize] as usize]);
        into.resize(chains.max(into.len()), 0);
        for &(chain, seen) in self.differences(id) {
            into[chain as usize] = seen;
        }
    }

    /// True where that place of that chain is one's own or in its past.
    pub(super) fn includes(&self, id: Id, chain: u32, place: u32) -> bool {
        let differences = self.differences(id);
        let seen = match differences.binary_search_by_key(&chain, |&(chain, _)| chain) {
            Ok(at) => differences[at].1,
            Err(_) => self.bases[self.base[id as usize] as usize].get(chain as usize).copied().unwrap_or(0),
        };
        seen >= place
    }

    /// How many chains there are.
    pub(super) fn chains(&self) -> usize {
        self.chain.iter().filter(|&&chain| chain != NONE).max().map_or(0, |&chain| chain as usize + 1)
    }

    fn differences(&self, id: Id) -> &[(u32, u32)] {
        let from = self.from[id as usize] as usize;
        &self.differences[from..from + self.len[id as usize] as usize]
    }

    /// The greatest of the clocks that one follows.
    fn past(
        &self,
        facts: &Facts,
        id: Id,
        before: Id,
        chains: usize,
        clock: &mut Vec<u32>,
        other: &mut Vec<u32>,
    ) {
        let read = facts.reads(id).iter().map(|read| read.of).filter(|&of| of != NONE && of != id);
        let mut past = read.chain(Some(before).filter(|&id| id != NONE));
        if let Some(first) = past.next() {
            self.read(first, chains, clock);
        } else {
            clock.clear();
            clock.resize(chains, 0);
        }
        for next in past {
            self.read(next, chains, other);
            clock.iter_mut().zip(other.iter()).for_each(|(mine, &other)| *mine = (*mine).max(other));
        }
    }

    fn keep(&mut self, id: Id, clock: &[u32], budget: &mut Budget<'_>) -> Result<(), Spent> {
        let number = self.bases.len() - 1;
        let base = &self.bases[number];
        let begin = self.differences.len();
        let common = base.len().min(clock.len());
        let differ =
            clock[..common].iter().zip(&base[..common]).enumerate().filter(|(_, (mine, base))| mine != base);
        self.differences.extend(differ.map(|(chain, (&mine, _))| (chain as u32, mine)));
        let new = clock[common..].iter().enumerate().filter(|&(_, &mine)| mine != 0);
        self.differences.extend(new.map(|(at, &mine)| ((common + at) as u32, mine)));
        let len = self.differences.len() - begin;
        budget.take(len as u64 * 8)?;
        self.base[id as usize] = number as u32;
        self.from[id as usize] = begin as u32;
        self.len[id as usize] = len as u32;
        Ok(())
    }

    /// A new base: what the last one, or the last clock, has seen.
    fn renew(&mut self, clock: &[u32], budget: &mut Budget<'_>) -> Result<(), Spent> {
        budget.take(clock.len() as u64 * 4)?;
        let mut base = clock.to_vec();
        base.iter_mut()
            .zip(self.bases.last().into_iter().flatten())
            .for_each(|(new, &old)| *new = (*new).max(old));
        self.bases.push(base);
        Ok(())
    }
}

/// How long each chain is, and whether its session goes on.
#[derive(Default)]
struct Chains {
    all: Vec<(u32, bool)>,
}

impl Chains {
    fn len(&self) -> usize {
        self.all.len()
    }

    /// The chain for a session that begins: one that ended in its past, or a new one.
    fn begin(&mut self, clock: &mut Vec<u32>) -> u32 {
        let ended = |(&(len, open), &seen): (&(u32, bool), &u32)| !open && seen == len;
        let free = self.all.iter().zip(clock.iter()).position(ended);
        free.unwrap_or_else(|| {
            self.all.push((0, true));
            clock.push(0);
            self.all.len() - 1
        }) as u32
    }

    /// One more in a chain; its place.
    fn extend(&mut self, chain: u32, goes_on: bool) -> u32 {
        let (len, open) = &mut self.all[chain as usize];
        *len += 1;
        *open = goes_on;
        *len
    }
}
