//! What must hold of the history of a store, given who wrote what and what they were told. Pure: it knows no cluster.
//!
//! Every key belongs to one writer, who puts 1, 2, 3 and so on, or is a counter that several writers raise by
//! compare-and-set. Nobody else writes, so that
//!
//! 1. revisions have no gap: each belongs to exactly one event;
//! 2. an acknowledged write is there once, at the revision of its acknowledgement;
//! 3. a write whose outcome is unknown is there at most once, perhaps late;
//! 4. nothing is there that nobody asked for, and nothing twice; a counter counts by one;
//! 5. a key's version counts its writes;
//! 6. a write that began after another was acknowledged has the higher revision.
//!
//! Windows of history are checked one after the other, so that memory stays bounded; a digest of all of them is compared
//! with one reading of the whole at the end.

use std::collections::BTreeMap;

/// One change as a watch tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub revision: i64,
    pub key: usize,
    pub value: u64,
    pub version: i64,
}

/// When and where an acknowledged write was.
#[derive(Clone, Copy, Debug)]
struct Ack {
    revision: i64,
    began: u64,
    ended: u64,
}

/// What is known of one key.
#[derive(Clone, Debug, Default)]
struct Key {
    counter: bool,
    /// Acknowledged, not yet seen.
    acked: BTreeMap<u64, Ack>,
    /// In doubt, not yet seen, with how often.
    unknown: BTreeMap<u64, u32>,
    version: i64,
    last: Option<Event>,
}

/// What was written, and what of it was seen.
#[derive(Debug)]
pub struct Ledger {
    keys: Vec<Key>,
    /// The revision up to which all is checked.
    pub revision: i64,
    /// Over all events that were checked.
    pub digest: u64,
    /// Writes in doubt that turned out to be there.
    pub late: u64,
}

impl Ledger {
    /// `owned` keys with one writer each, then `counters`; nothing was written after `revision`.
    pub fn new(owned: usize, counters: usize, revision: i64) -> Self {
        let key = |at| Key { counter: at >= owned, ..Key::default() };
        Self { keys: (0..owned + counters).map(key).collect(), revision, digest: digest_start(), late: 0 }
    }

    /// A write was acknowledged. Times are on one clock, in any unit.
    pub fn acked(
        &mut self,
        key: usize,
        value: u64,
        revision: i64,
        began: u64,
        ended: u64,
    ) -> Result<(), String> {
        match self.keys[key].acked.insert(value, Ack { revision, began, ended }) {
            None => Ok(()),
            Some(other) => {
                Err(format!("key {key}: {value} was acknowledged at {} and at {revision}", other.revision))
            }
        }
    }

    /// A write may have happened, or may happen yet.
    pub fn unknown(&mut self, key: usize, value: u64) {
        *self.keys[key].unknown.entry(value).or_default() += 1;
    }

    /// Checks the events since the last window. All acknowledgements so far must be among them.
    pub fn window(&mut self, events: &[Event]) -> Result<(), String> {
        let mut acks = Vec::new();
        for event in events {
            if event.revision != self.revision + 1 {
                return Err(format!("after revision {} comes {event:?}", self.revision));
            }
            self.revision = event.revision;
            self.digest = digest(self.digest, event);
            let key =
                self.keys.get_mut(event.key).ok_or_else(|| format!("nobody writes the key of {event:?}"))?;
            if let Some(ack) = key.take(event)? {
                acks.push(ack);
            } else {
                self.late += 1;
            }
        }
        for (at, key) in self.keys.iter().enumerate() {
            if let Some((value, ack)) = key.acked.first_key_value() {
                return Err(format!(
                    "LOST: key {at}: {value} was acknowledged at revision {} and is not there ({} such)",
                    ack.revision,
                    key.acked.len()
                ));
            }
        }
        in_real_time(&acks)
    }

    /// What each key must hold now.
    pub fn last(&self) -> impl Iterator<Item = Option<Event>> + '_ {
        self.keys.iter().map(|key| key.last)
    }
}

impl Key {
    /// Accounts for an event; gives the acknowledgement that it had.
    fn take(&mut self, event: &Event) -> Result<Option<Ack>, String> {
        self.version += 1;
        if event.version != self.version {
            return Err(format!("{event:?} should have version {}", self.version));
        }
        if self.counter && event.value != event.version as u64 {
            return Err(format!("{event:?} should count to {}", event.version));
        }
        self.last = Some(*event);
        if let Some(ack) = self.acked.remove(&event.value) {
            if ack.revision != event.revision {
                return Err(format!("{event:?} was acknowledged at revision {}", ack.revision));
            }
            return Ok(Some(ack));
        }
        match self.unknown.get_mut(&event.value) {
            Some(left) if *left > 0 => {
                *left -= 1;
                Ok(None)
            }
            _ => Err(format!("{event:?} is there twice, or nobody asked for it")),
        }
    }
}

/// No acknowledged write has a lower revision than one that was acknowledged before it began.
fn in_real_time(acks: &[Ack]) -> Result<(), String> {
    let mut earliest: Option<&Ack> = None;
    for ack in acks.iter().rev() {
        if let Some(later) = earliest.filter(|later| later.ended < ack.began) {
            return Err(format!(
                "{ack:?} began when {later:?}, of a higher revision, was acknowledged already"
            ));
        }
        if earliest.is_none_or(|e| ack.ended < e.ended) {
            earliest = Some(ack);
        }
    }
    Ok(())
}

/// The digest of no events.
pub fn digest_start() -> u64 {
    0xCBF2_9CE4_8422_2325
}

/// One more event.
pub fn digest(mut sum: u64, event: &Event) -> u64 {
    for word in [event.revision as u64, event.key as u64, event.value, event.version as u64] {
        sum = (sum ^ word).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(23);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: i64, key: usize, value: u64, version: i64) -> Event {
        Event { revision, key, value, version }
    }

    /// Two owned keys and a counter; key 0 has put 1 and 2, the counter stands at 1, one put of key 1 is in doubt.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(2, 1, 1);
        ledger.acked(0, 1, 2, 0, 10).unwrap();
        ledger.acked(0, 2, 4, 20, 30).unwrap();
        ledger.acked(2, 1, 3, 5, 15).unwrap();
        ledger.unknown(1, 1);
        ledger
    }

    fn history() -> Vec<Event> {
        vec![event(2, 0, 1, 1), event(3, 2, 1, 1), event(4, 0, 2, 2), event(5, 1, 1, 1)]
    }

    #[test]
    fn a_good_history_passes_with_and_without_what_was_in_doubt() {
        ledger().window(&history()).unwrap();
        ledger().window(&history()[..3]).unwrap();
        let mut late = ledger();
        late.window(&history()[..3]).unwrap();
        late.window(&history()[3..]).unwrap();
        assert_eq!((late.late, late.revision), (1, 5));
    }

    #[test]
    fn each_kind_of_wrong_is_found() {
        let refused = |spoil: fn(&mut Vec<Event>), part: &str| {
            let mut events = history();
            spoil(&mut events);
            let error = ledger().window(&events).unwrap_err();
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        };
        refused(|e| drop(e.drain(2..)), "LOST: key 0: 2");
        refused(|e| e[2].revision = 5, "after revision 3");
        refused(|e| drop(e.drain(1..2)), "after revision 2");
        refused(|e| e[2].version = 1, "should have version 2");
        refused(|e| e.push(event(6, 1, 1, 2)), "twice");
        refused(|e| e.push(event(6, 1, 9, 2)), "nobody asked");
        refused(|e| e.push(event(6, 2, 3, 2)), "should count to 2");
        refused(|e| e.swap(0, 2), "after revision 1");
        refused(|e| (e[0].revision, e[1].revision) = (3, 2), "after revision 1");
        // The same events in another order: an acknowledged revision moved.
        refused(
            |e| *e = vec![event(2, 2, 1, 1), event(3, 0, 1, 1), e[2], e[3]],
            "was acknowledged at revision 3",
        );
    }

    #[test]
    fn real_time_is_kept() {
        let mut ledger = Ledger::new(2, 0, 1);
        ledger.acked(0, 1, 3, 0, 10).unwrap();
        ledger.acked(1, 1, 2, 11, 20).unwrap();
        let error = ledger.window(&[event(2, 1, 1, 1), event(3, 0, 1, 1)]).unwrap_err();
        assert!(error.contains("acknowledged already"), "{error}");
    }

    #[test]
    fn one_write_is_not_acknowledged_twice() {
        assert!(ledger().acked(0, 1, 7, 40, 50).is_err());
    }
}
