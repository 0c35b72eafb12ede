//! From what the journal and the checkpoint hold to a core and a machine that may go on.
//!
//! The checkpoint that the journal names is the state; the entries behind it are the log. Nothing is applied here: what is
//! committed comes through the core again. A journal that says it may have forgotten something (damage, a torn tail that
//! may have been acknowledged) makes the replica *withhold*: its yes to a candidate is conditional until its
//! peers have shown it the log again (see the page of the core).

use quorate_base::{Base, EntryId, HardState, Index, Instant, NodeId, Rng};
use quorate_protocol::raft::{self, BootError, Membership, Raft};
use quorate_state::kv::{Kv, KvView};
use quorate_storage::journal::{CheckpointMark, Journal, JournalError, Recovered, ShardLog};
use quorate_storage::state::{State, StateError};
use std::fmt;
use std::sync::Arc;

/// What a node is made of at its start.
pub struct Parts {
    /// Timing, and who the core is.
    pub raft: raft::Config,
    /// What the journal's recovery found.
    pub found: Recovered,
    /// The state of the checkpoint that the journal names, or an empty one.
    pub state: Box<dyn State>,
    /// The first configuration's voters, for a node that is new.
    pub voters: Vec<NodeId>,
    /// A new node of a new cluster campaigns without waiting for a time-out.
    pub campaign_at_once: bool,
}

/// A node ready to run.
pub struct Booted {
    /// The core.
    pub raft: Raft,
    /// The machine.
    pub kv: Kv,
    /// What is readable.
    pub view: Arc<KvView>,
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
        }
    }
}

impl std::error::Error for Error {}

/// Puts core and machine together.
pub fn boot(parts: Parts, journal: &mut Journal, rng: &mut Rng, now: Instant) -> Result<Booted, Error> {
    let shard = parts.raft.shard;
    let mut found = parts.found;
    let log = found.shards.remove(&shard);
    let new = log.is_none();
    let log = match log {
        Some(log) => log,
        None => found_the_group(shard, parts.voters, journal)?,
    };
    let mut kv = Kv::open(shard, parts.state).map_err(Error::State)?;
    kv.begin(&log.base.membership);
    if kv.applied() != log.base.id {
        return Err(Error::Ahead { applied: kv.applied(), base: log.base.id });
    }
    let notes = log.damage.iter().map(ToString::to_string).collect();
    let boot = raft::Boot {
        hard: log.hard,
        applied: log.base.id.index,
        withheld_upto: log.withheld_upto,
        withhold_votes: log.hard_uncertain,
        // A state that does not open stops the start (see `Error::State`).
        state_lost: false,
        base: log.base,
        entries: log.entries,
        campaign_at_once: new && parts.campaign_at_once,
    };
    let raft = Raft::new(parts.raft, rng.fork("raft"), boot, now).map_err(Error::Boot)?;
    let view = kv.view();
    Ok(Booted { raft, kv, view, notes })
}

/// A new node writes down the first configuration before anything else, so that it never depends on flags again.
fn found_the_group(
    shard: quorate_base::ShardId,
    voters: Vec<NodeId>,
    journal: &mut Journal,
) -> Result<ShardLog, Error> {
    let base = Base { id: EntryId::ZERO, membership: Membership::of_voters(voters).encode() };
    let mark = CheckpointMark { generation: 0, bases: vec![(shard, base.clone())] };
    journal.mark_checkpoint(mark).map_err(Error::Journal)?;
    journal.sync().map_err(Error::Journal)?;
    Ok(ShardLog { hard: HardState { commit: Index(0), ..HardState::default() }, base, ..ShardLog::default() })
}
