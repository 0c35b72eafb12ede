//! Alarms: replicated words that a member has no room, or that the members' states differ. While one stands the space does not
//! grow, or does not change at all; it stands until somebody takes it back.
//!
//! Whether a disk is full differs from node to node, and apply must not ask: the log says it, once, for all.

use super::layout::{Keys, PREFIX, damaged, table};
use super::source::Source;
use super::{Kv, apply::Effect};
use quorate_storage::state::StateResult;
use quorate_wire::kv::{Alarm, AlarmKind, Command, Refused, Reply};
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

/// So many may stand: a member has one of each kind, but any number can be named.
pub(super) const ALARMS_MAX: usize = 256;
/// What the digest calls it.
const ALARM: u64 = 8;

/// All that stand, shared with the views.
pub(super) type Alarms = Arc<BTreeSet<Alarm>>;

/// The alarms in the store.
pub(super) fn load(source: &dyn Source, keys: Keys) -> StateResult<Alarms> {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    keys.start(&mut from, table::ALARM);
    keys.start(&mut to, table::ALARM + 1);
    let scan = source.scan((Bound::Included(&from), Bound::Excluded(&to)));
    let parsed = scan.map(|pair| parse(&pair?.0[PREFIX + 1..]).ok_or_else(|| damaged("an alarm")));
    Ok(Arc::new(parsed.collect::<StateResult<_>>()?))
}

fn parse(key: &[u8]) -> Option<Alarm> {
    let (&kind, member) = key.split_first()?;
    Some(Alarm { kind: AlarmKind::from_u8(kind)?, member: u64::from_be_bytes(member.try_into().ok()?) })
}

pub(super) fn stored(alarm: Alarm) -> [u8; 9] {
    let mut key = [alarm.kind as u8; 9];
    key[1..].copy_from_slice(&alarm.member.to_be_bytes());
    key
}

impl Kv {
    /// Whether an alarm forbids a command. What a node's own clock has decided about leases goes on: it would come again.
    pub(super) fn check_alarms(&self, command: &Command) -> Result<(), Refused> {
        if self.alarms.is_empty() || matches!(command, Command::Alarm { .. }) {
            return Ok(());
        }
        let stands = |kind| self.alarms.iter().any(|alarm| alarm.kind == kind);
        let clock = matches!(command, Command::LeaseExpire { .. } | Command::LeaseCheckpoint { .. });
        if !clock && stands(AlarmKind::Corrupt) {
            return Err(Refused::Corrupt);
        }
        // A token counts also where what it was shown with is refused: that is asked on its own. Fences are few and short.
        let fenced = matches!(command, Command::Fenced { .. });
        if !fenced && command.grows() && stands(AlarmKind::NoSpace) { Err(Refused::NoSpace) } else { Ok(()) }
    }

    pub(super) fn set_alarm(
        &mut self,
        alarm: Alarm,
        on: bool,
        effect: &mut Effect,
    ) -> Result<Reply, Refused> {
        let stands = self.alarms.contains(&alarm);
        if on && !stands && self.alarms.len() >= ALARMS_MAX {
            return Err(Refused::TooManyAlarms);
        }
        let key = self.keys.raw(&mut self.key_buf, table::ALARM, &stored(alarm));
        match (on, stands) {
            (true, false) => {
                self.state.put(key, b"");
                Arc::make_mut(&mut self.alarms).insert(alarm);
            }
            (false, true) => {
                self.state.delete(key);
                Arc::make_mut(&mut self.alarms).remove(&alarm);
            }
            _ => {}
        }
        for n in [ALARM, alarm.kind as u64, alarm.member, u64::from(on)] {
            effect.digest.number(n);
        }
        Ok(Reply::Alarms(if on || stands { vec![alarm] } else { Vec::new() }))
    }
}
