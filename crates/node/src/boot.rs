//! From what the journal and the checkpoint hold to cores and machines that may go on.
//!
//! The checkpoint that the journal names is the state; the entries behind it are the log. Nothing is applied here: what is
//! committed comes through the core again. A journal that says it may have forgotten something (damage, a torn tail that
//! may have been acknowledged) makes the replica *withhold*: its yes to a candidate is conditional until its
//! peers have shown it the log again (see the page of the core).
//!
//! # What is damaged, and what is done
//!
//! | damaged | done |
//! | --- | --- |
//! | entries, a vote, a torn tail | the replica withholds |
//! | the state: it does not open, or has failed a read | set aside; the log is kept, the state comes from the peers, and till then nothing is served. All shards have it in common, so all of them lose theirs |
//! | the same, and a replica of a table's shard has no vote by the newest configuration in its log | it begins as one whose disk is lost: it may have come back, which nobody here knows any more |
//! | the same, and a checkpoint was made before all shards had theirs again | those that had not wait for it as before |
//! | the journal's record of the checkpoint | the newest checkpoint that is there says itself how far it goes; the replica withholds |
//! | that record, and there is no checkpoint | the log alone will do if it is whole from its first entry; else as a state that is lost |
//! | flushed entries or the state, and there is no other voter | the node does not start: whatever it served would lack what was acknowledged |

use crate::applier::Lost;
use crate::lane::{Doubts, followed_at, let_go};
use quorate_base::time::Duration;
use quorate_base::{Base, EntryId, EntryKind, HardState, Index, Instant, NodeId, Rng, ShardId};
use quorate_protocol::raft::{self, BootError, Membership, Raft};
use quorate_state::kv::{Kv, KvView};
use quorate_state::table::Home;
use quorate_storage::journal::{CheckpointMark, Damage, Journal, JournalError, Recovered, ShardLog};
use quorate_storage::state::{State, StateError, StateResult, StateStore};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// What a node is made of at its start.
pub struct Parts<'a> {
    /// Timing, and who the core is; the shard is that of the key-value space, the first there is.
    pub raft: raft::Config,
    /// What the journal's recovery found.
    pub found: Recovered,
    /// Where the states of checkpoints are.
    pub store: &'a mut dyn StateStore,
    /// For a node that is new: the first configuration, or the one that it joins, in which it has no vote.
    pub founders: Membership,
    /// The node ran before, and its disk was lost; said at each start until [`Raft::disk_lost`] says no more.
    pub disk_lost: bool,
    /// A new node of a new cluster campaigns without waiting for a time-out.
    pub campaign_at_once: bool,
    /// For so long an earlier life may have promised to vote for nobody, for its leader's lease.
    pub promised: Duration,
}

/// A node ready to run.
pub struct Booted {
    /// The core of the key-value space.
    pub raft: Raft,
    /// Its machine, which has the state.
    pub kv: Kv,
    /// What of it is readable.
    pub view: Arc<KvView>,
    /// Whether its state is lost.
    pub lost: Lost,
    /// All other shards.
    pub others: Vec<BootedShard>,
    /// What is left of shards that were dropped or are not here any more, to be swept away.
    pub dead: Vec<Kv>,
    /// What this node may have forgotten, also of shards that it is still to hear of.
    pub doubts: Doubts,
    /// The newest checkpoint's number, or 0.
    pub generation: u64,
    /// What the operator should know, a sentence each.
    pub notes: Vec<String>,
}

/// One shard ready to run.
pub struct BootedShard {
    /// Which.
    pub shard: ShardId,
    /// Its core.
    pub raft: Raft,
    /// Its machine, without the state, which all machines share.
    pub kv: Kv,
    /// What of it is readable.
    pub view: Arc<KvView>,
    /// Whether its state is lost.
    pub lost: Lost,
}

/// Why a node cannot start.
#[derive(Debug)]
pub enum Error {
    /// The state is unreadable.
    State(StateError),
    /// The journal took no record.
    Journal(JournalError),
    /// The parts do not fit together.
    Boot(BootError),
    /// The state holds what the journal does not vouch for.
    Ahead {
        /// Applied in the state.
        applied: EntryId,
        /// What the journal says the checkpoint holds.
        base: EntryId,
    },
    /// What was acknowledged is damaged, and no other replica has it.
    Alone {
        /// What is damaged, in words.
        damage: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(error) => error.fmt(f),
            Self::Journal(error) => error.fmt(f),
            Self::Boot(error) => write!(f, "the log and the state do not fit together: {error:?}"),
            Self::Ahead { applied, base } => {
                write!(f, "the state stands at {applied:?}, its journal's checkpoint at {base:?}")
            }
            Self::Alone { damage } => {
                write!(f, "{damage}; this node is the only voter, so no other has what is missing")
            }
        }
    }
}

impl std::error::Error for Error {}

/// Puts cores and machines together: those of `parts.raft.shard`, and of every other shard that the journal knows.
pub fn boot(parts: Parts<'_>, journal: &mut Journal, rng: &mut Rng, now: Instant) -> Result<Booted, Error> {
    let Parts { raft: config, mut found, store, founders, campaign_at_once, disk_lost, promised } = parts;
    let founders = founders.encode();
    let newest = store.newest().map_err(Error::State)?;
    let named = found.checkpoint.as_ref().map_or(0, |mark| mark.generation);
    let mut notes: Vec<String> = found.harmless.iter().map(ToString::to_string).collect();
    let mut logs = read_logs(&mut found, &config, newest, &founders);
    if logs.iter().any(|log| log.new) {
        // Before anything else, so that it never depends on flags again.
        record(journal, named, &logs)?;
    }
    // One record is of all shards. What it does not tell of has nothing in its checkpoint either.
    let generation = if logs.iter().any(|log| log.based) { named } else { newest.unwrap_or(0) };
    let alone = logs.iter().any(|log| log.alone);
    let shards: Vec<ShardId> = logs.iter().map(|log| log.shard).collect();
    let opened = open_or_set_aside(&shards, store, generation, alone, &mut notes)?;
    let placement = opened.machines.first().map(|kv| kv.placement().clone()).unwrap_or_default();
    // By a newer word than the state knows.
    let has = |log: &&Begun| !let_go(&placement, log.shard, config.id, log.members().as_ref());
    let kept: BTreeSet<ShardId> = logs.iter().filter(has).map(|log| log.shard).collect();
    let gone = |shard| placement.is_elsewhere(shard, config.id) && !kept.contains(&shard);
    // Of a shard that was dropped, or is elsewhere now, nothing is missed, though its votes may still be there.
    let stays = |log: &&Begun| !gone(log.shard);
    let noted = logs.iter().filter(stays).flat_map(|log| &log.damage).map(ToString::to_string);
    noted.for_each(|note| say_once(&mut notes, note));
    if logs.iter().filter(stays).any(|log| log.alone && log.entries_lost) {
        return Err(Error::Alone { damage: notes.join("; ") });
    }
    // The record may name what was let go of by the last entry that its checkpoint holds. Were that checkpoint lost, the replica would
    // begin again: with all that it has promised and confirmed, or not at all.
    let bases = found.checkpoint.iter().flat_map(|mark| &mark.bases);
    let recorded: BTreeSet<ShardId> = bases.map(|(shard, _)| *shard).collect();
    let elsewhere = |shard| gone(shard) && !recorded.contains(&shard);
    let dropped = |shard| placement.was_dropped(shard) && !recorded.contains(&shard);
    journal.forget(elsewhere, dropped).map_err(Error::Journal)?;
    let damage = !found.damage.is_empty() || found.checkpoint.is_none() && newest.is_some();
    let missing = |shard, first: &bytes::Bytes| {
        let log = unread(&found, shard, newest, first, config.id).filter(|_| damage)?;
        let alone = is_only_voter(&log, config.id);
        Some(Begun { shard, log, new: false, alone, lost: false })
    };
    let (opened, dead) =
        follow_placement(opened, &mut logs, config.id, gone, missing).map_err(Error::State)?;
    let Opened { machines, mut state, damaged } = opened;
    let mut found_out = false;
    let many = logs.len();
    for (log, kv) in logs.iter_mut().zip(&machines) {
        found_out |= log.join(kv, damaged, many, &mut notes)?;
    }
    if found_out {
        // From here on a start finds it where it looks for it.
        record(journal, generation, &logs)?;
    }
    let (mut shards, first) = (Vec::new(), config.shard);
    // Where shard 1's state is gone nobody knows here who had left what.
    let unknown = logs.first().is_some_and(|log| log.lost);
    for (log, mut kv) in logs.into_iter().zip(machines) {
        kv.begin(&log.base.membership);
        if !log.lost && kv.applied() != log.base.id {
            return Err(Error::Ahead { applied: kv.applied(), base: log.base.id });
        }
        kv.lend(state);
        let view = kv.view();
        state = kv.give_back();
        let (shard, lost) = (log.shard, log.lost());
        let doubtful = unknown && shard != first && !log.votes(config.id);
        let returns = |home: Home| log.returns(&home, config.id);
        let disk_lost = disk_lost || doubtful || placement.home(shard).is_some_and(returns);
        let config = if shard == first { config.clone() } else { of_table(&config, shard) };
        let boot = log.into_boot(campaign_at_once, disk_lost, promised);
        let raft = Raft::new(config, rng.fork("raft"), boot, now).map_err(Error::Boot)?;
        shards.push(BootedShard { shard, raft, kv, view, lost });
    }
    // Shard numbers begin with that of the key-value space.
    let BootedShard { raft, mut kv, view, lost, .. } = shards.remove(0);
    kv.lend(state);
    let doubts = Doubts { disk_lost, upto: if damage { raft.last().index } else { Index(0) } };
    let generation = generation.max(named);
    Ok(Booted { raft, kv, view, lost, others: shards, dead, doubts, generation, notes })
}

/// News of commits waits so many times as long in a table's shard as in the key-value space, for the append that it could go with: among
/// many shards each has few, and a message of its own for each costs a follower as much as the append did. Nobody watches
/// them, and a plain read of a table is of some moment before it is asked.
const NEWS_WAITS: u32 = 30;

/// What the core of a table's shard is told.
pub(crate) fn of_table(space: &raft::Config, shard: ShardId) -> raft::Config {
    let commit_patience = (NEWS_WAITS * space.commit_patience).min(space.heartbeat);
    raft::Config { shard, rests: true, commit_patience, ..space.clone() }
}

/// The log of one shard at a start, and what is known about it so far.
struct Begun {
    shard: ShardId,
    log: ShardLog,
    /// Nothing was here before.
    new: bool,
    /// Nobody else votes.
    alone: bool,
    /// Its state is.
    lost: bool,
}

impl Deref for Begun {
    type Target = ShardLog;
    fn deref(&self) -> &ShardLog {
        &self.log
    }
}

impl Begun {
    /// Finds out whether the state is there, and what the log begins behind where the record of that is damaged; true if that was
    /// found out.
    fn join(
        &mut self,
        kv: &Kv,
        damaged: bool,
        shards: usize,
        notes: &mut Vec<String>,
    ) -> Result<bool, Error> {
        self.lost = damaged;
        let mut found = false;
        if !self.based && !damaged {
            let whole = find_base(&mut self.log, kv);
            if self.alone && !whole {
                return Err(Error::Alone { damage: notes.join("; ") });
            }
            self.lost = self.base.id == EntryId::ZERO && !whole;
            found = !self.lost;
        } else if !damaged && shards > 1 && kv.applied() == EntryId::ZERO && self.base.id != EntryId::ZERO {
            // A checkpoint from when the state of this shard had not come yet.
            let missing = format!("the checkpoint holds nothing of shard {}", self.shard);
            if self.alone {
                return Err(Error::Alone { damage: missing });
            }
            say_once(notes, missing);
            self.lost = true;
        }
        if self.lost {
            if !self.based {
                self.log.entries.clear();
            }
            let note = "the state comes from the peers; until it is here this node serves no client";
            say_once(notes, note.into());
        }
        self.log.based |= found;
        Ok(found)
    }

    fn lost(&self) -> Lost {
        match (self.lost, self.based) {
            (false, _) => Lost::No,
            (true, true) => Lost::Behind(self.base.clone()),
            (true, false) => Lost::Wholly,
        }
    }

    /// Whether this replica was let go once and has come back, and has not been given its vote since: it has promised things that it knows
    /// nothing of. (That it was given it stands in a configuration that follows the word by which it came back, or a later one: it had
    /// healed by then, and holds all that it may have confirmed before.)
    fn returns(&self, home: &Home, me: NodeId) -> bool {
        if !home.had_left(me) {
            return false;
        }
        // By a newer word than the state knows, if it has none.
        let since = home.since(me).unwrap_or(home.at.next());
        let own =
            self.entries.iter().filter(|entry| entry.kind == EntryKind::Membership).map(|entry| &entry.data);
        let mut all = own.chain([&self.base.membership]).filter_map(|bytes| Membership::decode(bytes));
        !all.any(|members| members.is_voter(me) && followed_at(&members).is_some_and(|at| at >= since))
    }

    /// Whether this replica votes by the newest configuration that it has. One that does not may have come back, and not healed yet: it
    /// was let go once, and has promised things that it knows nothing of. (Found by the simulator: it had voted, was let go, came
    /// back, and lost the state in which that stands.)
    fn votes(&self, me: NodeId) -> bool {
        self.members().is_some_and(|members| members.is_voter(me))
    }

    /// The newest configuration that it has.
    fn members(&self) -> Option<Membership> {
        let own = self.entries.iter().rev().filter(|entry| entry.kind == EntryKind::Membership);
        let newest = own.map(|entry| &entry.data).chain([&self.base.membership]).next();
        newest.and_then(|bytes| Membership::decode(bytes))
    }

    fn into_boot(self, campaign_at_once: bool, disk_lost: bool, promised: Duration) -> raft::Boot {
        let Self { log, new, lost, .. } = self;
        raft::Boot {
            hard: log.hard,
            applied: log.base.id.index,
            withheld_upto: log.withheld_upto,
            withhold_votes: log.hard_uncertain,
            disk_lost,
            state_lost: lost,
            base: log.base,
            entries: log.entries,
            campaign_at_once: new && campaign_at_once,
            promised,
        }
    }
}

fn say_once(notes: &mut Vec<String>, note: String) {
    if !notes.contains(&note) {
        notes.push(note);
    }
}

/// The logs of all shards that anything is known of, in their order; of a new group where there is nothing of the first.
fn read_logs(
    found: &mut Recovered,
    config: &raft::Config,
    newest: Option<u64>,
    founders: &bytes::Bytes,
) -> Vec<Begun> {
    let known = found.shards.keys().chain(found.votes.keys()).copied();
    let shards: BTreeSet<ShardId> = known.chain([config.shard]).collect();
    let read = |shard| {
        let begun = found.shards.remove(&shard).or_else(|| unread(found, shard, newest, founders, config.id));
        let new = begun.is_none();
        let mut log = begun.unwrap_or_else(|| new_group(founders));
        if !log.based {
            log.base = Base { id: EntryId::ZERO, membership: founders.clone() };
        }
        let alone = is_only_voter(&log, config.id);
        Begun { shard, log, new, alone, lost: false }
    };
    shards.into_iter().map(read).collect()
}

/// The machines over one state, which have given it back.
struct Opened {
    machines: Vec<Kv>,
    state: Box<dyn State>,
    /// They are empty because what was there is damaged.
    damaged: bool,
}

/// Opens what is there. The only voter's state is left where it is.
fn open_or_set_aside(
    shards: &[ShardId],
    store: &mut dyn StateStore,
    generation: u64,
    alone: bool,
    notes: &mut Vec<String>,
) -> Result<Opened, Error> {
    let error = match open(shards, store, generation) {
        Ok((machines, state)) => return Ok(Opened { machines, state, damaged: false }),
        Err(error) if !error.damaged() => return Err(Error::State(error)),
        Err(error) if alone => return Err(Error::Alone { damage: error.to_string() }),
        Err(error) => error,
    };
    notes.push(match store.set_aside().map_err(Error::State)? {
        Some(place) => format!(
            "{error}; it was set aside as {place}, which this node never reads again: remove it when it is not needed"
        ),
        None => format!("{error}; there is no other checkpoint"),
    });
    let (machines, state) = open(shards, store, 0).map_err(Error::State)?;
    Ok(Opened { machines, state, damaged: true })
}

fn open(
    shards: &[ShardId],
    store: &mut dyn StateStore,
    generation: u64,
) -> StateResult<(Vec<Kv>, Box<dyn State>)> {
    let mut state = store.open((generation > 0).then_some(generation))?;
    let mut machines = Vec::new();
    for &shard in shards {
        let mut kv = Kv::open(shard, state)?;
        state = kv.give_back();
        machines.push(kv);
    }
    Ok((machines, state))
}

/// Holds what the journal knows of against the placement in the state of the first shard: what was dropped is let go, and what the
/// journal may have lost its records of is there all the same.
fn follow_placement(
    opened: Opened,
    logs: &mut Vec<Begun>,
    me: NodeId,
    gone: impl Fn(ShardId) -> bool,
    missing: impl Fn(ShardId, &bytes::Bytes) -> Option<Begun>,
) -> StateResult<(Opened, Vec<Kv>)> {
    let Opened { machines, mut state, damaged } = opened;
    let Some(placement) = machines.first().map(|kv| kv.placement().clone()) else {
        return Ok((Opened { machines, state, damaged }, Vec::new()));
    };
    let (mut kept, mut dead) = (Vec::new(), Vec::new());
    for kv in machines {
        let of = if gone(kv.shard()) { &mut dead } else { &mut kept };
        of.push(kv);
    }
    logs.retain(|log| !gone(log.shard));
    for log in logs.iter_mut().filter(|log| !log.based) {
        if let Some(first) = placement.first_members(log.shard, me) {
            log.log.base.membership = first.encode();
        }
    }
    let known: BTreeSet<ShardId> = logs.iter().map(|log| log.shard).collect();
    for shard in placement.hosted_by(me).filter(|shard| !known.contains(shard)) {
        let Some(first) = placement.first_members(shard, me) else { continue };
        let Some(log) = missing(shard, &first.encode()) else { continue };
        let mut kv = Kv::open(shard, state)?;
        state = kv.give_back();
        logs.push(log);
        kept.push(kv);
    }
    for shard in Kv::shards_in(&*state)? {
        if gone(shard) && !dead.iter().any(|kv| kv.shard() == shard) {
            let mut kv = Kv::open(shard, state)?;
            state = kv.give_back();
            dead.push(kv);
        }
    }
    for kv in &mut dead {
        kv.lend(state);
        kv.dissolve()?;
        state = kv.give_back();
    }
    Ok((Opened { machines: kept, state, damaged }, dead))
}

/// A journal whose records of this shard are all damaged is not a new one, and neither is one beside a checkpoint. But for
/// a group of one that was cut off in its first write: nothing was promised to anybody, and nobody else could help.
fn unread(
    found: &Recovered,
    shard: ShardId,
    newest: Option<u64>,
    founders: &bytes::Bytes,
    id: NodeId,
) -> Option<ShardLog> {
    let promised = found.votes.get(&shard).copied();
    let mut log = ShardLog {
        hard: promised.unwrap_or_default(),
        damage: found.damage.clone(),
        hard_uncertain: true,
        entries_lost: newest.is_some() || found.damage.iter().any(|d| d.certain),
        ..ShardLog::default()
    };
    log.base.membership.clone_from(founders);
    let first_write = found.damage.len() == 1 && is_only_voter(&log, id);
    let fresh = newest.is_none()
        && promised.is_none()
        && (found.damage.is_empty() || (first_write && !log.entries_lost));
    if log.damage.is_empty() {
        let what = "nothing of the log is there, though there is a checkpoint of it or a vote";
        log.damage.push(Damage { file: "journal".into(), offset: 0, what, certain: false });
    }
    (!fresh).then_some(log)
}

/// Whether nobody else votes, by the newest configuration in the log.
fn is_only_voter(log: &ShardLog, id: NodeId) -> bool {
    let entries = log.entries.iter().chain(log.runs.iter().flat_map(|run| &run.entries));
    let newest = entries.rev().find(|e| e.kind == EntryKind::Membership);
    let newest = newest.map_or(&log.base.membership, |entry| &entry.data);
    Membership::decode(newest).is_some_and(|m| m.outgoing.is_none() && m.voters.iter().eq([&id]))
}

/// The base of a log whose record of it is damaged: what the state says that it holds, or the beginning. Takes the entries
/// that follow it; false if some do not.
fn find_base(log: &mut ShardLog, kv: &Kv) -> bool {
    if kv.applied() != EntryId::ZERO {
        log.base = Base { id: kv.applied(), membership: kv.membership().clone() };
    }
    let base = log.base.id;
    let runs = std::mem::take(&mut log.runs);
    let last = runs.last().and_then(|run| run.entries.last()).map_or(Index(0), |e| e.id.index);
    for mut run in runs {
        if let Some(at) = run.entries.iter().position(|e| e.id == base) {
            log.entries = run.entries.split_off(at + 1);
        } else if run.prev == base {
            log.entries = run.entries;
        }
    }
    let end = log.entries.last().map_or(base.index, |e| e.id.index);
    end >= last && end > Index(0)
}

/// What a new group's log is.
fn new_group(founders: &bytes::Bytes) -> ShardLog {
    let base = Base { id: EntryId::ZERO, membership: founders.clone() };
    let hard = HardState { commit: Index(0), ..HardState::default() };
    ShardLog { hard, base, based: true, ..ShardLog::default() }
}

/// Writes down what each log begins behind, as far as it is known.
fn record(journal: &mut Journal, generation: u64, logs: &[Begun]) -> Result<(), Error> {
    let based = logs.iter().filter(|log| log.based);
    let mark = CheckpointMark { generation, bases: based.map(|log| (log.shard, log.base.clone())).collect() };
    journal.mark_checkpoint(mark).and_then(|()| journal.sync()).map(drop).map_err(Error::Journal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: news of commits in a table's shard waits longer than in the key-value space, and never beyond a heartbeat; where nothing
    /// waits there, nothing waits here.
    #[test]
    fn news_of_a_tables_shard_waits_for_the_next_append() {
        let mut space = raft::Config::new(ShardId(1), NodeId(1));
        space.heartbeat = Duration::from_millis(100);
        for (patience, waits) in [(0, 0), (1, 30), (50, 100)] {
            space.commit_patience = Duration::from_millis(patience);
            let table = of_table(&space, ShardId(7));
            assert_eq!(table.commit_patience, Duration::from_millis(waits));
            assert!(table.rests && table.shard == ShardId(7) && table.heartbeat == space.heartbeat);
        }
    }
}
