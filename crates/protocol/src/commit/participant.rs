//! The participant: what one shard's machine does with the entries of transactions, in the order of its log.
//!
//! Everything here is a function of the entry and of what the machine has stored. The rows belong to the machine
//! ([`View`], [`Machine`]), so that snapshots and digests carry them; the rules are here, once for every machine.

use super::types::{
    Answer, Command, Gate, Lock, Mode, Mutant, No, Outcome, Place, Prepare, Prepared, Record, TxnId, Vote,
    mutant,
};
use quorate_base::{Index, NodeId, ShardId};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::RangeInclusive;

/// A machine's record of a transaction.
pub type RecordOf<M> = Record<<M as View>::Key, <M as View>::Images, <M as View>::Reason>;
/// What a machine holds for a transaction.
pub type PreparedOf<M> = Prepared<<M as View>::Key, <M as View>::Images>;
/// Keys and how they are locked, or why there are none.
pub type Keys<M> = Result<Vec<(<M as View>::Key, Mode)>, <M as View>::Reason>;

/// What can be seen of the machine of a shard: its rows. An error is the store's.
pub trait View: Sized {
    /// What is locked: an item, a token.
    type Key: Clone + Ord + Debug;
    /// What a transaction does in this shard.
    type Ops;
    /// What its keys hold behind it.
    type Images: Clone;
    /// Why operations cannot be done.
    type Reason: Clone;
    /// The store failed.
    type Error;

    /// The keys of operations, each once, in an order that does not change; a key that is written and looked at is written.
    fn keys(&self, ops: &Self::Ops) -> Result<Keys<Self>, Self::Error>;
    /// Who holds a key.
    fn lock(&self, key: &Self::Key) -> Result<Option<Lock>, Self::Error>;
    /// Who holds any key.
    fn holders(&self) -> Result<BTreeSet<TxnId>, Self::Error>;
    /// What is known of a transaction.
    fn record(&self, id: &TxnId) -> Result<Option<RecordOf<Self>>, Self::Error>;
    /// What is known of a gateway.
    fn gate(&self, node: NodeId) -> Result<Gate, Self::Error>;

    /// The planted bug.
    fn mutant(&self) -> Option<Mutant> {
        None
    }
}

/// The machine of a shard, while it applies an entry.
///
/// All that is set here is replicated state: in snapshots, in digests, gone with the shard and not with a process. Behind an
/// error the machine must not be used again.
pub trait Machine: View {
    /// Why there is nothing to do, whoever holds the keys: a token among the operations has done its work, or cannot.
    fn spent(&self, _ops: &Self::Ops) -> Result<Option<Self::Reason>, Self::Error> {
        Ok(None)
    }
    /// What operations would leave, held against the committed state. Time comes from the entry.
    fn evaluate(&self, ops: &Self::Ops) -> Result<Result<Self::Images, Self::Reason>, Self::Error>;
    /// Makes it so; what changes gets this version.
    fn install(&mut self, images: &Self::Images, version: Index) -> Result<(), Self::Error>;
    /// What is remembered of a reason, for whoever asks again. The answer to the entry that it comes out of tells all of it.
    fn remembered(&self, reason: &Self::Reason) -> Self::Reason {
        reason.clone()
    }
    /// Says who holds a key.
    fn set_lock(&mut self, key: &Self::Key, lock: Option<&Lock>) -> Result<(), Self::Error>;
    /// Says what is known of a transaction.
    fn set_record(&mut self, id: &TxnId, record: Option<&RecordOf<Self>>) -> Result<(), Self::Error>;
    /// Says what is known of a gateway.
    fn set_gate(&mut self, node: NodeId, gate: &Gate) -> Result<(), Self::Error>;
    /// Transactions of this gateway that have a record, from one place to another.
    fn records(&self, node: NodeId, places: RangeInclusive<Place>) -> Result<Vec<TxnId>, Self::Error>;
}

/// Applies the entry at `at`.
pub fn apply<M: Machine>(
    machine: &mut M,
    at: Index,
    command: &Command<M::Ops>,
) -> Result<Answer<M::Reason>, M::Error> {
    match command {
        Command::Prepare(asked) => prepare(machine, at, asked),
        Command::Refuse { id, because } => refuse(machine, id, *because),
        Command::Outcome { id, outcome } => settle(machine, id, *outcome),
        Command::Execute(ops) => execute(machine, at, ops),
        Command::Fence { node, boot } => fence(machine, *node, *boot),
        Command::Forget { node, upto } => forget(machine, *node, *upto),
        Command::Close { node, boot } => close(machine, *node, *boot),
    }
}

/// The vote on a transaction, as a reader of the newest state may ask for it.
pub fn vote<M: View>(machine: &M, id: &TxnId) -> Result<Answer<M::Reason>, M::Error> {
    Ok(known(machine, id)?.unwrap_or(Answer::Missing))
}

/// Whether this outcome is applied already, so that it needs no entry.
pub fn is_settled<M: View>(machine: &M, id: &TxnId, outcome: Outcome) -> Result<bool, M::Error> {
    Ok(match machine.record(id)? {
        Some(Record::Over(before)) => before == outcome,
        Some(Record::No(_)) => outcome == Outcome::Abort,
        Some(Record::Yes(_)) => false,
        None => machine.gate(id.node)?.is_over(id),
    })
}

/// Who is about to write this key, and what it holds for that.
pub fn intent<M: View>(machine: &M, key: &M::Key) -> Result<Option<(TxnId, PreparedOf<M>)>, M::Error> {
    let Some(Lock::Exclusive(id)) = machine.lock(key)? else { return Ok(None) };
    match machine.record(&id)? {
        Some(Record::Yes(prepared)) => Ok(Some((id, prepared))),
        _ => Ok(None),
    }
}

/// Transactions that have voted Yes here and know no outcome, with their participants.
pub fn undecided<M: View>(machine: &M) -> Result<Vec<(TxnId, Vec<ShardId>)>, M::Error> {
    let mut undecided = Vec::new();
    for id in machine.holders()? {
        if let Some(Record::Yes(prepared)) = machine.record(&id)? {
            undecided.push((id, prepared.participants));
        }
    }
    Ok(undecided)
}

/// Who stands against one who wants this key so.
pub fn against<M: View>(machine: &M, key: &M::Key, mode: Mode) -> Result<Vec<TxnId>, M::Error> {
    Ok(match machine.lock(key)? {
        Some(Lock::Exclusive(id)) => vec![id],
        Some(Lock::Shared(ids)) if mode == Mode::Exclusive => ids.into_iter().collect(),
        _ => Vec::new(),
    })
}

/// Who stands against one who wants these keys and has none.
pub fn conflict<M: View>(machine: &M, keys: &[(M::Key, Mode)]) -> Result<Option<TxnId>, M::Error> {
    for (key, mode) in keys {
        if let Some(holder) = against(machine, key, *mode)?.first() {
            return Ok(Some(*holder));
        }
    }
    Ok(None)
}

/// What a Yes holds, or why there is none.
type Judged<M> = Result<(Vec<(<M as View>::Key, Mode)>, <M as View>::Images), No<<M as View>::Reason>>;

/// Evaluates operations whose keys nobody else may hold.
fn judge<M: Machine>(machine: &M, ops: &M::Ops) -> Result<Judged<M>, M::Error> {
    if let Some(reason) = machine.spent(ops)? {
        return Ok(Err(No::Reason(reason)));
    }
    let mut keys = match machine.keys(ops)? {
        Ok(keys) => keys,
        Err(reason) => return Ok(Err(No::Reason(reason))),
    };
    if let Some(holder) = conflict(machine, &keys)? {
        return Ok(Err(No::Conflict(holder)));
    }
    if mutant(machine.mutant(), Mutant::ChecksNotLocked) {
        keys.retain(|(_, mode)| *mode == Mode::Exclusive);
    }
    Ok(machine.evaluate(ops)?.map(|images| (keys, images)).map_err(No::Reason))
}

/// What stands already, if anything does: a vote, or that there will be none.
fn known<M: View>(machine: &M, id: &TxnId) -> Result<Option<Answer<M::Reason>>, M::Error> {
    if let Some(record) = machine.record(id)? {
        return Ok(Some(Answer::Vote(record.vote())));
    }
    let gate = machine.gate(id.node)?;
    if gate.is_over(id) {
        return Ok(Some(Answer::Over));
    }
    Ok((id.boot < gate.fence).then_some(Answer::Vote(Vote::No(No::Refused))))
}

fn prepare<M: Machine>(
    machine: &mut M,
    at: Index,
    asked: &Prepare<M::Ops>,
) -> Result<Answer<M::Reason>, M::Error> {
    let Prepare { id, began, participants, ops } = asked;
    match known(machine, id)? {
        Some(Answer::Over) if mutant(machine.mutant(), Mutant::LatePrepareReruns) => {}
        Some(answer) => return Ok(answer),
        None => {}
    }
    let record = match judge(machine, ops)? {
        Err(No::Reason(reason)) => {
            let record = Record::No(No::Reason(machine.remembered(&reason)));
            machine.set_record(id, Some(&record))?;
            return Ok(Answer::Vote(Vote::No(No::Reason(reason))));
        }
        Err(why) => Record::No(why),
        Ok((held, images)) => {
            let lost = mutant(machine.mutant(), Mutant::SharedLockLost);
            for (key, mode) in held.iter().filter(|(_, mode)| !lost || *mode == Mode::Exclusive) {
                let lock = match (mode, machine.lock(key)?) {
                    (Mode::Exclusive, _) => Lock::Exclusive(*id),
                    (Mode::Shared, Some(Lock::Shared(mut ids))) => {
                        ids.insert(*id);
                        Lock::Shared(ids)
                    }
                    (Mode::Shared, _) => Lock::Shared(BTreeSet::from([*id])),
                };
                machine.set_lock(key, Some(&lock))?;
            }
            Record::Yes(Prepared { at, began: *began, participants: participants.clone(), held, images })
        }
    };
    machine.set_record(id, Some(&record))?;
    Ok(Answer::Vote(record.vote()))
}

fn refuse<M: Machine>(
    machine: &mut M,
    id: &TxnId,
    because: Option<TxnId>,
) -> Result<Answer<M::Reason>, M::Error> {
    if let Some(answer) = known(machine, id)? {
        return Ok(answer);
    }
    let record = Record::No(because.map_or(No::Refused, No::Conflict));
    machine.set_record(id, Some(&record))?;
    Ok(Answer::Vote(record.vote()))
}

/// An outcome that contradicts the vote, or comes before one, changes nothing and is answered by what there is. (Nobody
/// sends one: the outcome is a function of the votes.) An abort without a vote is a refusal.
fn settle<M: Machine>(machine: &mut M, id: &TxnId, outcome: Outcome) -> Result<Answer<M::Reason>, M::Error> {
    let prepared = match (machine.record(id)?, outcome) {
        (Some(Record::Yes(prepared)), _) => prepared,
        (Some(Record::Over(before)), _) if before == outcome => return Ok(Answer::Settled),
        (Some(Record::No(_)), Outcome::Abort) => return Ok(Answer::Settled),
        (Some(record), _) => return Ok(Answer::Vote(record.vote())),
        (None, Outcome::Abort) => {
            refuse(machine, id, None)?;
            return Ok(Answer::Settled);
        }
        (None, Outcome::Commit) => {
            let over = machine.gate(id.node)?.is_over(id);
            return Ok(if over { Answer::Settled } else { Answer::Missing });
        }
    };
    for (key, _) in &prepared.held {
        let left = match machine.lock(key)? {
            Some(Lock::Shared(mut ids)) => {
                ids.remove(id);
                (!ids.is_empty()).then_some(Lock::Shared(ids))
            }
            Some(Lock::Exclusive(other)) if other != *id => Some(Lock::Exclusive(other)),
            _ => None,
        };
        machine.set_lock(key, left.as_ref())?;
    }
    if outcome == Outcome::Commit {
        machine.install(&prepared.images, prepared.at)?;
    }
    machine.set_record(id, Some(&Record::Over(outcome)))?;
    Ok(Answer::Settled)
}

fn execute<M: Machine>(machine: &mut M, at: Index, ops: &M::Ops) -> Result<Answer<M::Reason>, M::Error> {
    let vote = match judge(machine, ops)? {
        Err(why) => Vote::No(why),
        Ok((_, images)) => {
            machine.install(&images, at)?;
            Vote::Yes
        }
    };
    Ok(Answer::Vote(vote))
}

fn fence<M: Machine>(machine: &mut M, node: NodeId, boot: u64) -> Result<Answer<M::Reason>, M::Error> {
    let mut gate = machine.gate(node)?;
    if boot > gate.fence {
        gate.fence = boot;
        machine.set_gate(node, &gate)?;
    }
    Ok(Answer::Settled)
}

/// The sender vouches that everything up to there is over everywhere.
fn forget<M: Machine>(machine: &mut M, node: NodeId, upto: Place) -> Result<Answer<M::Reason>, M::Error> {
    let mut gate = machine.gate(node)?;
    let before = gate.marks.get(&upto.boot).copied().unwrap_or(0);
    if upto.boot >= gate.closed && upto.sequence > before {
        gate.marks.insert(upto.boot, upto.sequence);
        machine.set_gate(node, &gate)?;
        drop_records(machine, node, Place { sequence: before, ..upto }..=upto)?;
    }
    Ok(Answer::Settled)
}

/// The sender vouches that everything of earlier lives is over everywhere.
fn close<M: Machine>(machine: &mut M, node: NodeId, boot: u64) -> Result<Answer<M::Reason>, M::Error> {
    let mut gate = machine.gate(node)?;
    if boot > gate.closed {
        gate.closed = boot;
        gate.marks.retain(|life, _| *life >= boot);
        machine.set_gate(node, &gate)?;
        let last = Place { boot: boot - 1, sequence: u64::MAX };
        drop_records(machine, node, Place::default()..=last)?;
    }
    Ok(Answer::Settled)
}

/// What is undecided here stays nevertheless: then the sender erred, and an intent without a record could never be told from
/// a value.
fn drop_records<M: Machine>(
    machine: &mut M,
    node: NodeId,
    places: RangeInclusive<Place>,
) -> Result<(), M::Error> {
    for id in machine.records(node, places)? {
        if !matches!(machine.record(&id)?, Some(Record::Yes(_))) {
            machine.set_record(&id, None)?;
        }
    }
    Ok(())
}
