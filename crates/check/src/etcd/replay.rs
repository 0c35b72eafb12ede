//! Plays the store again, revision by revision, and tries what may have caused those that nobody claims.

use super::ask::{Ask, Asked, Step, Told};
use super::store::{Held, Store};
use super::{BY, witness};
use crate::history::History;
use crate::value::Value;
use crate::verdict::{Verdict, Witness};
use std::collections::{BTreeMap, BTreeSet};

/// So many causes are tried for revisions that nobody claims.
const MOST_TRIED: u32 = 200_000;

/// A key that was read: its value, and the numbers told.
type Seen = (String, Value, [Option<i64>; 4]);

/// A cause of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// An operation: its place in `asked`.
    Asked(usize),
    /// The end of a lease.
    Ended(i64),
    /// Somebody before the history began.
    Before,
}

pub(super) struct Replay<'a> {
    history: &'a History,
    asked: &'a [Asked],
    store: Store,
    /// By revision: the acknowledged change, and the other answers.
    known: BTreeMap<i64, usize>,
    answers: BTreeMap<i64, Vec<usize>>,
    /// What was read of a revision: key, value, and the numbers told.
    seen: BTreeMap<i64, Vec<Seen>>,
    base: i64,
    /// The first revision of an answer: what was read of earlier ones may have been there before.
    first: i64,
    /// Keys that were there before: how often they were written nobody knows.
    old: BTreeSet<String>,
    top: i64,
    used: BTreeSet<usize>,
}

/// A revision with the causes that are left to be tried, and the one that is.
struct Choice {
    revision: i64,
    causes: Vec<Cause>,
    next: usize,
    used: Option<usize>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(history: &'a History, asked: &'a [Asked]) -> Self {
        let mut replay = Self {
            history,
            asked,
            store: Store::default(),
            known: BTreeMap::new(),
            answers: BTreeMap::new(),
            seen: BTreeMap::new(),
            base: i64::MAX,
            first: asked.iter().filter(|it| it.ok).map(|it| it.version).min().unwrap_or(0),
            old: BTreeSet::new(),
            top: 0,
            used: BTreeSet::new(),
        };
        // Any that was asked for by then may have come before the first answer.
        let first = asked.iter().filter(|it| it.ok).min_by_key(|it| it.version);
        let end = first.map_or(0, |it| history.operations[it.place as usize].returned);
        let early = |it: &&Asked| !it.ok && history.operations[it.place as usize].invoked < end;
        let unheard = asked.iter().filter(early).count() as i64;
        for (place, it) in asked.iter().enumerate().filter(|(_, it)| it.ok) {
            replay.top = replay.top.max(it.version);
            if it.ask.changed(&it.told) == Some(true) {
                replay.known.insert(it.version, place);
                replay.base = replay.base.min(it.version - 1);
            } else {
                replay.answers.entry(it.version).or_default().push(place);
                replay.base = replay.base.min(it.version);
            }
            for told in &it.told {
                let Told::Held(all) = told else { continue };
                for kv in all {
                    if let Some(create) = kv.numbers[1].filter(|&create| create < replay.first) {
                        replay.base = replay.base.min(create - 1);
                        replay.old.insert(kv.key.clone());
                    }
                    let (Some(revision), Some(value)) = (kv.numbers[0], kv.value) else { continue };
                    replay.seen.entry(revision).or_default().push((kv.key.clone(), value, kv.numbers));
                    replay.base = replay.base.min(revision - 1);
                }
            }
        }
        replay.base = (replay.base - unheard).max(0);
        // Revision 1 is the empty store: then all that there is came from here.
        if replay.first - 1 <= unheard + 1 {
            replay.old.clear();
            let changed = replay.known.keys().next().map_or(i64::MAX, |first| first - 1);
            replay.base = replay.base.max(1).min(replay.first).min(changed);
        }
        replay
    }

    pub(super) fn run(&mut self) -> Verdict {
        if self.top == 0 {
            return Verdict::Proved { by: BY };
        }
        let mut stack: Vec<Choice> = Vec::new();
        // The furthest failure is the one to be told.
        let mut worst: (i64, Option<Witness>) = (i64::MIN, None);
        let mut tried = 0;
        if let Some(witness) = self.answers_fit(self.base) {
            return Verdict::Refuted(witness);
        }
        let mut revision = self.base + 1;
        if revision > self.top {
            return Verdict::Proved { by: BY };
        }
        stack.push(self.choice(revision));
        while let Some(mut choice) = stack.pop() {
            revision = choice.revision;
            self.store.back_to(revision);
            if let Some(used) = choice.used.take() {
                self.used.remove(&used);
            }
            let Some(&cause) = choice.causes.get(choice.next) else {
                if choice.causes.is_empty() && worst.0 < revision {
                    let what = format!("nothing that is known made revision {revision}");
                    worst = (
                        revision,
                        Some(witness(
                            self.history,
                            "revision without a cause",
                            &what,
                            &self.around(revision),
                        )),
                    );
                }
                continue;
            };
            choice.next += 1;
            tried += u32::from(choice.causes.len() > 1);
            if tried > MOST_TRIED {
                return Verdict::Unknown {
                    why: format!("too many causes are possible for revisions up to {revision}"),
                };
            }
            let fits = self.make(cause, revision);
            if let Cause::Asked(place) = cause {
                self.used.insert(place);
                choice.used = Some(place);
            }
            stack.push(choice);
            let failed = if fits { self.answers_fit(revision) } else { Some(self.wrong(cause, revision)) };
            match failed {
                None if revision == self.top => return Verdict::Proved { by: BY },
                None => stack.push(self.choice(revision + 1)),
                Some(witness) if worst.0 < revision => worst = (revision, Some(witness)),
                Some(_) => {}
            }
        }
        Verdict::Refuted(worst.1.unwrap_or_default())
    }

    fn wrong(&self, cause: Cause, revision: i64) -> Witness {
        let place = match cause {
            Cause::Asked(place) => self.asked[place].place,
            Cause::Ended(_) | Cause::Before => 0,
        };
        witness(
            self.history,
            "wrong answer",
            &format!("this is not what the store gives as revision {revision}"),
            &[place],
        )
    }

    /// The changes next to a revision that has no cause.
    fn around(&self, revision: i64) -> Vec<u32> {
        let before = self.known.range(..revision).next_back();
        let after = self.known.range(revision..).next();
        before.into_iter().chain(after).map(|(_, &place)| self.asked[place].place).collect()
    }

    /// What may have made a revision.
    fn choice(&self, revision: i64) -> Choice {
        let causes = match self.known.get(&revision) {
            Some(&place) => vec![Cause::Asked(place)],
            None => self.candidates(revision),
        };
        Choice { revision, causes, next: 0, used: None }
    }

    fn candidates(&self, revision: i64) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (place, it) in self.asked.iter().enumerate() {
            let revoke = matches!(it.ask, Ask::Revoke(_)) && it.ok && it.version == revision;
            if (revoke || !it.ok)
                && !self.used.contains(&place)
                && self.in_time(it, revision)
                && self.shows(it, revision)
            {
                causes.push(Cause::Asked(place));
            }
        }
        if !self.seen.contains_key(&revision) {
            let leases: BTreeSet<i64> = self
                .store
                .keys
                .keys()
                .filter_map(|key| self.store.at(key, i64::MAX))
                .map(|held| held.lease)
                .collect();
            causes.extend(leases.into_iter().filter(|&lease| lease != 0).map(Cause::Ended));
        }
        if revision <= self.first {
            causes.push(Cause::Before);
        }
        causes
    }

    /// No answer of this revision or a later one was over before it was asked for.
    fn in_time(&self, it: &Asked, revision: i64) -> bool {
        let begin = self.history.operations[it.place as usize].invoked;
        !self.asked.iter().any(|other| {
            other.ok
                && other.version >= revision
                && self.history.operations[other.place as usize].returned < begin
        })
    }

    /// It wrote what was read of the revision.
    fn shows(&self, it: &Asked, revision: i64) -> bool {
        let Some(seen) = self.seen.get(&revision) else { return true };
        let puts = |steps: &[Step]| {
            seen.iter().all(|(key, value, _)| {
                steps
                    .iter()
                    .any(|step| matches!(step, Step::Put(put, what, _) if put == key && what == value))
            })
        };
        match &it.ask {
            Ask::Steps(steps) => puts(steps),
            Ask::Txn { then, or, .. } => puts(then) || puts(or),
            _ => false,
        }
    }

    /// Changes the store; false where that is no change, or not what was answered.
    fn make(&mut self, cause: Cause, revision: i64) -> bool {
        let before = self.store.done.len();
        let fits = match cause {
            Cause::Before => {
                for (key, value, [_, create, ver, lease]) in
                    self.seen.get(&revision).cloned().unwrap_or_default()
                {
                    let (create, ver) = (create.unwrap_or(revision), ver.unwrap_or(1));
                    let lease = lease.unwrap_or(0);
                    self.store.set(&key, Held { revision, value: Some(value), create, ver, lease });
                }
                return true;
            }
            Cause::Ended(lease) => {
                self.revoke(lease, revision);
                true
            }
            Cause::Asked(place) => {
                let asked = self.asked;
                self.play(&asked[place], revision)
            }
        };
        fits && self.store.done.len() > before
    }

    fn revoke(&mut self, lease: i64, revision: i64) {
        for key in self.store.leased(lease) {
            self.store.delete(&key, revision);
        }
    }

    /// Does what was asked, and compares the answer, if there was one.
    fn play(&mut self, it: &Asked, revision: i64) -> bool {
        match &it.ask {
            Ask::Steps(steps) => self.steps(steps, &it.told, revision),
            Ask::Revoke(lease) => {
                self.revoke(*lease, revision);
                true
            }
            Ask::Get { range, revision: asked, .. } => {
                let at = asked.unwrap_or(revision);
                // Nothing is known of what was before the beginning.
                at < self.first
                    || it.told.first().is_none_or(|told| self.same(told, &self.store.within(range, at)))
            }
            Ask::Txn { compares, then, or } => {
                let yes = compares.iter().all(|compare| compare.holds(&self.store, &self.history.values));
                let told = match it.told.first() {
                    Some(Told::Succeeded(told)) if *told != yes => return false,
                    Some(_) => &it.told[1..],
                    None => &[],
                };
                self.steps(if yes { then } else { or }, told, revision)
            }
        }
    }

    fn steps(&mut self, steps: &[Step], told: &[Told], revision: i64) -> bool {
        for (at, step) in steps.iter().enumerate() {
            let told = told.get(at);
            match step {
                Step::Put(key, value, lease) => self.store.put(key, *value, *lease, revision),
                Step::Delete(range) => {
                    let gone = self.store.within(range, i64::MAX);
                    if matches!(told, Some(Told::Count(count)) if *count != gone.len() as i64) {
                        return false;
                    }
                    for (key, _) in gone {
                        self.store.delete(&key, revision);
                    }
                }
                Step::Get(range) => {
                    if told.is_some_and(|told| !self.same(told, &self.store.within(range, i64::MAX))) {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Compares the answers of a revision that changed nothing with the store.
    fn answers_fit(&mut self, revision: i64) -> Option<Witness> {
        let places = self.answers.get(&revision).cloned().unwrap_or_default();
        let asked = self.asked;
        places.into_iter().find_map(|place| {
            if self.used.contains(&place) || matches!(asked[place].ask, Ask::Revoke(_)) {
                return None;
            }
            let before = self.store.done.len();
            let fits = self.play(&asked[place], revision) && self.store.done.len() == before;
            (!fits).then(|| {
                let what = format!("this is not the store at revision {revision}");
                witness(self.history, "wrong answer", &what, &[asked[place].place])
            })
        })
    }

    /// What was told of keys is what is there.
    fn same(&self, told: &Told, there: &[(String, Held)]) -> bool {
        let Told::Held(told) = told else { return true };
        told.len() == there.len()
            && told.iter().zip(there).all(|(told, (key, held))| {
                let mut numbers = told.numbers.iter().zip(held.numbers());
                let compared = if self.old.contains(key) { 1 } else { 4 };
                told.key == *key
                    && told.value.is_none_or(|value| held.value == Some(value))
                    && numbers
                        .by_ref()
                        .take(compared)
                        .all(|(told, held)| told.is_none_or(|told| told == held))
            })
    }
}
