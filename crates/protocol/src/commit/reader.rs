//! Reads: what a key holds while somebody is about to write it, and several keys at one moment.
//!
//! A shard answers a read from its newest state (after a read index), with the intent that it met at a key, if any. The reader
//! then asks the other participants for their votes, each from its newest state: all Yes is a committed transaction, and the
//! intent is what the key holds. A No, or no vote yet, and the transaction was uncommitted when the shard was read: the key
//! held what was there before. Nobody waits for a lock, and nobody is pushed. A participant that has *forgotten* the
//! transaction says that its outcome is applied everywhere: the shard is read again, and the intent is gone.
//!
//! A read-only transaction reads all its keys, and when all of that is in, reads them again. Where each has the same version
//! both times, none changed between the last answer of the first round and the first question of the second: that is the
//! moment it happened at. Otherwise the second round is the first of another try. A shard that was alone and met no intent was
//! read at one moment already.

use super::types::{Answer, Mutant, TxnId, Vote, mutant};
use quorate_base::ShardId;
use std::collections::{BTreeMap, BTreeSet};

/// What one key holds, with its version: the index of its last committed write, or, where nothing is there, of the last
/// deletion that may have been its. The same key never has one version twice with another life in between.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Versioned<V> {
    /// What is there.
    pub value: Option<V>,
    /// Since when.
    pub version: u64,
}

/// What a shard says of one key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Seen<V> {
    /// What is committed and applied.
    pub pre: Versioned<V>,
    /// The intent at it.
    pub intent: Option<Met<V>>,
}

/// An intent that a read met.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Met<V> {
    /// Whose.
    pub id: TxnId,
    /// Its participants.
    pub participants: Vec<ShardId>,
    /// What the key will hold if it commits.
    pub post: Versioned<V>,
}

/// What a reader sends. A question is answered anew each time, with its number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Ask {
    /// For all its keys, in their order.
    Keys(u64),
    /// For the vote on a transaction.
    Vote(u64, TxnId),
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read<V> {
    /// What each shard's keys hold; of a transaction, at one moment.
    Values(BTreeMap<ShardId, Vec<Versioned<V>>>),
    /// A transaction found its keys changing in every try.
    Conflict,
}

/// A read of keys in some shards.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reader<V> {
    /// All keys at one moment; otherwise each for itself.
    at_once: bool,
    tries: u32,
    shards: Vec<ShardId>,
    /// The round under way. Answers to an earlier one are late.
    round: u64,
    seen: BTreeMap<ShardId, Vec<Seen<V>>>,
    votes: BTreeMap<(TxnId, ShardId), Option<Answered>>,
    before: Option<BTreeMap<ShardId, Vec<Versioned<V>>>>,
    mutant: Option<Mutant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Answered {
    Yes,
    /// No, or not yet.
    Not,
}

impl<V: Clone + PartialEq> Reader<V> {
    /// Reads the keys of these shards, each key for itself.
    pub fn single(shards: Vec<ShardId>, mutant: Option<Mutant>) -> Self {
        Self::new(shards, false, 0, mutant)
    }

    /// Reads all of them at one moment, and tries so often.
    pub fn transaction(shards: Vec<ShardId>, tries: u32, mutant: Option<Mutant>) -> Self {
        Self::new(shards, true, tries, mutant)
    }

    fn new(shards: Vec<ShardId>, at_once: bool, tries: u32, mutant: Option<Mutant>) -> Self {
        let (seen, votes) = (BTreeMap::new(), BTreeMap::new());
        Self { at_once, tries, shards, round: 1, seen, votes, before: None, mutant }
    }

    /// What to ask of whom now; to be asked again until it changes.
    pub fn questions(&self) -> Vec<(ShardId, Ask)> {
        let unread = self.shards.iter().filter(|shard| !self.seen.contains_key(shard));
        let mut asks: Vec<_> = unread.map(|shard| (*shard, Ask::Keys(self.round))).collect();
        let unheard = self.votes.iter().filter(|(_, vote)| vote.is_none());
        asks.extend(unheard.map(|((id, shard), _)| (*shard, Ask::Vote(self.round, *id))));
        asks
    }

    /// A shard says what its keys hold.
    pub fn keys(&mut self, from: ShardId, round: u64, seen: Vec<Seen<V>>) -> Option<Read<V>> {
        if round != self.round || !self.shards.contains(&from) || self.seen.contains_key(&from) {
            return None;
        }
        for met in seen.iter().filter_map(|seen| seen.intent.as_ref()) {
            let unasked = mutant(self.mutant, Mutant::IntentReadsOld);
            for shard in met.participants.iter().filter(|shard| **shard != from && !unasked) {
                self.votes.entry((met.id, *shard)).or_insert(None);
            }
        }
        self.seen.insert(from, seen);
        self.complete()
    }

    /// A participant says how it voted.
    pub fn vote<R>(&mut self, from: ShardId, round: u64, id: TxnId, answer: &Answer<R>) -> Option<Read<V>> {
        if round != self.round || !self.votes.contains_key(&(id, from)) {
            return None;
        }
        match answer {
            Answer::Vote(Vote::Yes) => drop(self.votes.insert((id, from), Some(Answered::Yes))),
            Answer::Over => self.read_again(id),
            // Whoever once had none may have one by now: what counts is that it had none after the shard was read.
            _ => drop(self.votes.insert((id, from), Some(Answered::Not))),
        }
        self.complete()
    }

    /// Its outcome is applied everywhere, so the shards that showed its intent show what came of it.
    fn read_again(&mut self, id: TxnId) {
        let shows =
            |seen: &Vec<Seen<V>>| seen.iter().any(|s| s.intent.as_ref().is_some_and(|met| met.id == id));
        self.seen.retain(|_, seen| !shows(seen));
        // What was asked for a shard that is read again is asked again, as no answer may be older than the reading.
        self.votes.clear();
        self.round += 1;
        let met: Vec<_> =
            self.seen.iter().flat_map(|(shard, seen)| seen.iter().map(|s| (*shard, s))).collect();
        let mut votes = BTreeMap::new();
        for (from, met) in met.into_iter().filter_map(|(shard, s)| Some((shard, s.intent.as_ref()?))) {
            for shard in met.participants.iter().filter(|shard| **shard != from) {
                votes.insert((met.id, *shard), None);
            }
        }
        self.votes = votes;
    }

    fn complete(&mut self) -> Option<Read<V>> {
        let all_read = self.seen.len() == self.shards.len();
        if !all_read || self.votes.values().any(Option::is_none) {
            return None;
        }
        let met = self.seen.values().flatten().any(|seen| seen.intent.is_some());
        let seen = std::mem::take(&mut self.seen);
        let values: BTreeMap<_, Vec<_>> =
            seen.into_iter().map(|(shard, seen)| (shard, self.resolved(shard, seen))).collect();
        self.votes.clear();
        self.round += 1;
        let alone = self.shards.len() == 1 && !met;
        if !self.at_once || alone || self.before.as_ref().is_some_and(|before| self.same(before, &values)) {
            return Some(Read::Values(values));
        }
        if self.before.replace(values).is_some() {
            self.tries = self.tries.saturating_sub(1);
            if self.tries == 0 {
                return Some(Read::Conflict);
            }
        }
        None
    }

    /// What each key holds, all votes being known.
    fn resolved(&self, from: ShardId, seen: Vec<Seen<V>>) -> Vec<Versioned<V>> {
        let committed = |met: &Met<V>| {
            let mut others = met.participants.iter().filter(|shard| **shard != from);
            others.all(|shard| self.votes.get(&(met.id, *shard)) == Some(&Some(Answered::Yes)))
        };
        let value = |seen: Seen<V>| match seen.intent {
            Some(met) if committed(&met) => met.post,
            _ => seen.pre,
        };
        seen.into_iter().map(value).collect()
    }

    fn same(
        &self,
        before: &BTreeMap<ShardId, Vec<Versioned<V>>>,
        now: &BTreeMap<ShardId, Vec<Versioned<V>>>,
    ) -> bool {
        let blind = mutant(self.mutant, Mutant::AbsentWithoutVersion);
        let same = |(a, b): (&Versioned<V>, &Versioned<V>)| match (&a.value, &b.value) {
            (None, None) => blind || a.version == b.version,
            (Some(_), Some(_)) => a.version == b.version,
            _ => false,
        };
        let pairs = before.iter().zip(now).all(|((a, before), (b, now))| {
            a == b && before.len() == now.len() && before.iter().zip(now).all(same)
        });
        before.len() == now.len() && pairs
    }

    /// Intents whose participants have not all been heard yet: what to say where one of them cannot be reached.
    pub fn waits_for(&self) -> BTreeSet<(TxnId, ShardId)> {
        let unheard = self.votes.iter().filter(|(_, vote)| vote.is_none());
        unheard.map(|(of, _)| *of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_base::NodeId;

    const HERE: ShardId = ShardId(2);
    const YES: Answer<()> = Answer::Vote(Vote::Yes);

    fn id(sequence: u64) -> TxnId {
        TxnId { node: NodeId(1), boot: 1, sequence, attempt: 1 }
    }

    fn at(version: u64) -> Versioned<u64> {
        Versioned { value: Some(version), version }
    }

    /// A key of the first version, of which a transaction that another shard takes part in is about to make the second.
    fn met(id: TxnId, other: u32) -> Seen<u64> {
        let intent = Met { id, participants: vec![HERE, ShardId(other)], post: at(2) };
        Seen { pre: at(1), intent: Some(intent) }
    }

    fn written() -> Seen<u64> {
        Seen { pre: at(2), intent: None }
    }

    fn both_are_of_the_second() -> Read<u64> {
        Read::Values(BTreeMap::from([(HERE, vec![at(2), at(2)])]))
    }

    /// Claim: what was said of a transaction before its shard was read once more does not count: it may have been committed since, and
    /// somebody may have been told so before the read began.
    #[test]
    fn a_vote_of_before_the_reading_does_not_count() {
        let mut reader = Reader::single(vec![HERE], None);
        assert_eq!(reader.keys(HERE, 1, vec![met(id(1), 3), met(id(2), 4)]), None);
        assert_eq!(reader.vote::<()>(ShardId(3), 1, id(1), &Answer::Over), None);
        assert_eq!(reader.keys(HERE, 2, vec![written(), met(id(2), 4)]), None);
        assert_eq!(reader.vote::<()>(ShardId(4), 1, id(2), &Answer::Missing), None, "it comes late");
        assert_eq!(reader.vote(ShardId(4), 2, id(2), &YES), Some(both_are_of_the_second()));
    }

    /// Claim: where one shard is read once more, what another one showed is asked about once more, too, and not taken for undecided.
    #[test]
    fn what_another_shard_showed_is_asked_about_again() {
        let other = ShardId(5);
        let mut reader = Reader::single(vec![HERE, other], None);
        reader.keys(HERE, 1, vec![met(id(1), 3)]);
        let theirs = Met { id: id(2), participants: vec![other, ShardId(4)], post: at(2) };
        reader.keys(other, 1, vec![Seen { pre: at(1), intent: Some(theirs) }]);
        reader.vote(ShardId(4), 1, id(2), &YES);
        assert_eq!(reader.vote::<()>(ShardId(3), 1, id(1), &Answer::Over), None);
        assert_eq!(reader.questions(), [(HERE, Ask::Keys(2)), (ShardId(4), Ask::Vote(2, id(2)))]);
        assert_eq!(reader.keys(HERE, 1, vec![met(id(1), 3)]), None, "it is of before");
        assert_eq!(reader.questions().len(), 2);
        assert_eq!(reader.keys(HERE, 2, vec![written()]), None);
        let both = BTreeMap::from([(HERE, vec![at(2)]), (other, vec![at(2)])]);
        assert_eq!(reader.vote(ShardId(4), 2, id(2), &YES), Some(Read::Values(both)));
    }

    /// Claim: one shard alone is read at one moment only where no intent is met: what is said of those is of several moments, and the one
    /// that was not committed when it was asked for may have been before the other, which was.
    #[test]
    fn one_shard_with_intents_is_read_again() {
        let mut reader = Reader::transaction(vec![HERE], 5, None);
        assert_eq!(reader.keys(HERE, 1, vec![met(id(1), 3), met(id(2), 4)]), None);
        assert_eq!(reader.vote::<()>(ShardId(3), 1, id(1), &Answer::Missing), None);
        assert_eq!(reader.vote(ShardId(4), 1, id(2), &YES), None);
        assert_eq!(reader.keys(HERE, 2, vec![written(), written()]), Some(both_are_of_the_second()));
    }
}
