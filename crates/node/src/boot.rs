//! From what the journal and the checkpoint hold to a core and a machine that may go on.
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
//! | the state: it does not open, or has failed a read | set aside; the log is kept, the state comes from the peers, and till then nothing is served |
//! | the journal's record of the checkpoint | the newest checkpoint that is there says itself how far it goes; the replica withholds |
//! | that record, and there is no checkpoint | the log alone will do if it is whole from its first entry; else as a state that is lost |
//! | flushed entries or the state, and there is no other voter | the node does not start: whatever it served would lack what was acknowledged |

use quorate_base::time::Duration;
use quorate_base::{Base, EntryId, EntryKind, HardState, Index, Instant, NodeId, Rng, ShardId};
use quorate_protocol::raft::{self, BootError, Membership, Raft};
use quorate_state::kv::{Kv, KvView};
use quorate_storage::journal::{CheckpointMark, Damage, Journal, JournalError, Recovered, ShardLog};
use quorate_storage::state::{StateError, StateResult, StateStore};
use std::fmt;
use std::sync::Arc;

/// What a node is made of at its start.
pub struct Parts<'a> {
    /// Timing, and who the core is.
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
    /// The core.
    pub raft: Raft,
    /// The machine.
    pub kv: Kv,
    /// What is readable.
    pub view: Arc<KvView>,
    /// The newest checkpoint's number, or 0.
    pub generation: u64,
    /// What the operator should know, a sentence each.
    pub notes: Vec<String>,
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

/// Puts core and machine together.
pub fn boot(parts: Parts<'_>, journal: &mut Journal, rng: &mut Rng, now: Instant) -> Result<Booted, Error> {
    let Parts { raft: config, mut found, store, founders, campaign_at_once, disk_lost, promised } = parts;
    let (shard, id) = (config.shard, config.id);
    let founders = founders.encode();
    let newest = store.newest().map_err(Error::State)?;
    let begun = found.shards.remove(&shard).or_else(|| unread(&found, shard, newest, &founders, id));
    let new = begun.is_none();
    let mut log = match begun {
        Some(log) => log,
        None => found_the_group(shard, &founders, journal)?,
    };
    let named = found.checkpoint.map_or(0, |mark| mark.generation);
    let generation = if log.based { named } else { newest.unwrap_or(0) };
    if !log.based {
        log.base = Base { id: EntryId::ZERO, membership: founders };
    }
    let mut notes: Vec<String> = found.harmless.iter().chain(&log.damage).map(ToString::to_string).collect();
    let alone = is_only_voter(&log, id);
    if alone && log.entries_lost {
        return Err(Error::Alone { damage: notes.join("; ") });
    }
    let (mut kv, mut lost) = open_or_set_aside(shard, store, generation, alone, &mut notes)?;
    if !log.based && !lost {
        let whole = find_base(&mut log, &kv);
        if alone && !whole {
            return Err(Error::Alone { damage: notes.join("; ") });
        }
        lost = log.base.id == EntryId::ZERO && !whole;
        if !lost {
            // From here on a start finds it where it looks for it.
            record(journal, generation, shard, &log.base)?;
        }
    }
    if lost {
        if !log.based {
            log.entries.clear();
        }
        notes.push("the state comes from the peers; until it is here this node serves no client".into());
    }
    kv.begin(&log.base.membership);
    if !lost && kv.applied() != log.base.id {
        return Err(Error::Ahead { applied: kv.applied(), base: log.base.id });
    }
    let boot = raft::Boot {
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
    };
    let raft = Raft::new(config, rng.fork("raft"), boot, now).map_err(Error::Boot)?;
    let view = kv.view();
    Ok(Booted { raft, kv, view, generation: generation.max(named), notes })
}

fn open(shard: ShardId, store: &mut dyn StateStore, generation: u64) -> StateResult<Kv> {
    Kv::open(shard, store.open((generation > 0).then_some(generation))?)
}

/// The machine, and whether it is empty because its state is damaged. The only voter's state is left where it is.
fn open_or_set_aside(
    shard: ShardId,
    store: &mut dyn StateStore,
    generation: u64,
    alone: bool,
    notes: &mut Vec<String>,
) -> Result<(Kv, bool), Error> {
    let error = match open(shard, store, generation) {
        Ok(kv) => return Ok((kv, false)),
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
    Ok((open(shard, store, 0).map_err(Error::State)?, true))
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

/// A new node writes down the first configuration before anything else, so that it never depends on flags again.
fn found_the_group(
    shard: ShardId,
    founders: &bytes::Bytes,
    journal: &mut Journal,
) -> Result<ShardLog, Error> {
    let base = Base { id: EntryId::ZERO, membership: founders.clone() };
    record(journal, 0, shard, &base)?;
    let hard = HardState { commit: Index(0), ..HardState::default() };
    Ok(ShardLog { hard, base, based: true, ..ShardLog::default() })
}

fn record(journal: &mut Journal, generation: u64, shard: ShardId, base: &Base) -> Result<(), Error> {
    let mark = CheckpointMark { generation, bases: vec![(shard, base.clone())] };
    journal.mark_checkpoint(mark).and_then(|()| journal.sync()).map(drop).map_err(Error::Journal)
}
