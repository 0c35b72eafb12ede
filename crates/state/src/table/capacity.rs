//! What becomes of a table's capacity, and of its global indexes', and what they remember of it: times are those of the entries.

use super::change::invalid;
use quorate_wire::table::{
    Billing, Capacity, CapacityChange, Definition, Index, Refusal, Settings, Throughput,
};

/// What DynamoDB is ready for at once where it is paid for by request.
const ON_DEMAND: Throughput = Throughput { read: 12_000, write: 4_000 };
/// A day, by which decreases are counted.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What a table, or an index of one, is ready for without being told: its throughput, or what is usual.
pub(super) fn base(billing: Billing, throughput: Throughput) -> Throughput {
    match billing {
        Billing::OnDemand => ON_DEMAND,
        Billing::Provisioned => throughput,
    }
}

/// How a table is paid for, and its own throughput.
pub(super) fn pay(definition: &mut Definition, change: &Settings) -> Result<(), Refusal> {
    let before = (definition.billing, definition.throughput);
    let ready = base(definition.billing, definition.throughput);
    if let Some(billing) = change.billing {
        definition.billing = billing;
        if billing == Billing::OnDemand {
            definition.throughput = Throughput::default();
            definition.globals.iter_mut().for_each(|index| index.throughput = Throughput::default());
        } else if before.0 == Billing::OnDemand {
            // Bounds go with what they bound.
            unbounded(&mut definition.capacity);
            definition.globals.iter_mut().for_each(|index| unbounded(&mut index.capacity));
        }
    }
    if let Some(throughput) = change.throughput {
        if definition.billing == Billing::OnDemand {
            return Err(invalid(
                "One or more parameter values were invalid: Neither ReadCapacityUnits nor WriteCapacityUnits can be \
                 specified when BillingMode is PAY_PER_REQUEST",
            ));
        }
        if before == (Billing::Provisioned, throughput) && change.indexes.is_empty() {
            return Err(Refusal::Validation(format!(
                "The provisioned throughput for the table will not change. The requested value equals the current value. \
                 Current ReadCapacityUnits provisioned for the table: {}. Requested ReadCapacityUnits: {0}. Current \
                 WriteCapacityUnits provisioned for the table: {}. Requested WriteCapacityUnits: {1}. Refer to the Amazon \
                 DynamoDB Developer Guide for current limits and how to request higher limits.",
                throughput.read, throughput.write
            )));
        }
        definition.throughput = throughput;
    }
    self::change(&mut definition.capacity, ready, &change.capacity, "table")
}

fn unbounded(capacity: &mut Capacity) {
    (capacity.most_reads, capacity.most_writes) = (None, None);
}

/// Bounds, and what it is to be ready for, which may only grow; `ready` is what it was ready for without being told.
pub(super) fn change(
    capacity: &mut Capacity,
    ready: Throughput,
    change: &CapacityChange,
    what: &str,
) -> Result<(), Refusal> {
    capacity.most_reads = change.most_reads.unwrap_or(capacity.most_reads);
    capacity.most_writes = change.most_writes.unwrap_or(capacity.most_writes);
    let (read, write) = (change.warm_reads, change.warm_writes);
    if (read, write) == (None, None) {
        return Ok(());
    }
    let now = larger(capacity.warm.unwrap_or_default(), ready);
    for (asked, now, name) in
        [(read, now.read, "ReadUnitsPerSecond"), (write, now.write, "WriteUnitsPerSecond")]
    {
        if asked.is_some_and(|asked| asked < now) {
            return Err(Refusal::Validation(format!(
                "One or more parameter values were invalid: Requested {name} for WarmThroughput for {what} is lower than \
                 current WarmThroughput, decreasing WarmThroughput is not supported"
            )));
        }
    }
    capacity.warm = Some(Throughput { read: read.unwrap_or(now.read), write: write.unwrap_or(now.write) });
    Ok(())
}

fn larger(one: Throughput, other: Throughput) -> Throughput {
    Throughput { read: one.read.max(other.read), write: one.write.max(other.write) }
}

/// Notes when something changed. What a table was ready for it stays ready for.
pub(super) fn remember(before: &Definition, definition: &mut Definition, now: u64) {
    let billing = definition.billing;
    let switched = billing != before.billing;
    if switched {
        // A table that was made so was so since then.
        let made = before.on_demand_since.or(Some(before.created));
        definition.on_demand_since = if billing == Billing::OnDemand { Some(now) } else { made };
    }
    let at = (now, switched);
    let was = (before.billing, before.throughput);
    note(&mut definition.capacity, was, (billing, definition.throughput), at);
    for Index { id, throughput, capacity, .. } in &mut definition.globals {
        if let Some(index) = before.globals.iter().find(|index| index.id == *id) {
            note(capacity, (before.billing, index.throughput), (billing, *throughput), at);
        }
    }
}

fn note(
    capacity: &mut Capacity,
    before: (Billing, Throughput),
    after: (Billing, Throughput),
    (now, switched): (u64, bool),
) {
    let (old, new) = (before.1, after.1);
    if base(before.0, old) != base(after.0, new) {
        capacity.warm = Some(larger(capacity.warm.unwrap_or_default(), base(before.0, old)));
    }
    if new.read > old.read || new.write > old.write {
        capacity.grew = Some(now);
    }
    if new.read < old.read || new.write < old.write {
        let today = capacity.shrank.is_some_and(|then| then / DAY_MS == now / DAY_MS);
        let so_far = if today { capacity.decreases } else { 0 };
        // One that is paid for otherwise was not made smaller.
        capacity.decreases = so_far + u32::from(!switched);
        capacity.shrank = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::table::{IndexState, KeyNames, Projected};

    const DAY: u64 = 20_000 * DAY_MS;

    fn units(read: u64, write: u64) -> Throughput {
        Throughput { read, write }
    }

    fn table(billing: Billing, throughput: Throughput) -> Definition {
        let keys = KeyNames { hash: vec!["p".into()], range: Vec::new() };
        let index = Index {
            name: "i".into(),
            id: 1,
            keys: keys.clone(),
            projected: Projected::All,
            throughput,
            capacity: Capacity::default(),
            state: IndexState::Active,
        };
        Definition {
            name: "t".into(),
            id: 1,
            created: 5,
            keys,
            globals: vec![index],
            next_index: 2,
            billing,
            throughput,
            ..Definition::default()
        }
    }

    fn becomes(definition: &mut Definition, change: &Settings, now: u64) -> Result<(), Refusal> {
        let before = definition.clone();
        pay(definition, change)?;
        remember(&before, definition, now);
        Ok(())
    }

    fn to(read: u64, write: u64) -> Settings {
        Settings { throughput: Some(units(read, write)), ..Settings::default() }
    }

    fn paid(billing: Billing) -> Settings {
        Settings { billing: Some(billing), ..Settings::default() }
    }

    #[test]
    fn what_grows_and_shrinks_is_remembered_with_its_day() {
        let mut table = table(Billing::Provisioned, units(5, 5));
        for (change, now, grew, shrank, decreases) in [
            (to(6, 5), DAY, Some(DAY), None, 0),
            (to(6, 4), DAY + 1, Some(DAY), Some(DAY + 1), 1),
            (to(7, 3), DAY + 2, Some(DAY + 2), Some(DAY + 2), 2),
            (to(7, 4), DAY + 3, Some(DAY + 3), Some(DAY + 2), 2),
            (to(1, 1), DAY + DAY_MS, Some(DAY + 3), Some(DAY + DAY_MS), 1),
        ] {
            becomes(&mut table, &change, now).unwrap();
            let seen = (table.capacity.grew, table.capacity.shrank, table.capacity.decreases);
            assert_eq!(seen, (grew, shrank, decreases), "at {now}");
        }
        // It stays ready for what it once had.
        assert_eq!(table.capacity.warm, Some(units(7, 5)));
        assert_eq!(table.globals[0].capacity, Capacity::default());
    }

    #[test]
    fn a_table_remembers_when_it_was_last_paid_for_by_request() {
        let mut table = table(Billing::OnDemand, Throughput::default());
        let most_reads = Some(Some(9));
        let bound = Settings {
            capacity: CapacityChange { most_reads, ..CapacityChange::default() },
            ..Settings::default()
        };
        becomes(&mut table, &bound, 10).unwrap();
        assert_eq!(table.capacity.most_reads, Some(9));
        let provisioned = Settings { billing: Some(Billing::Provisioned), ..to(3, 4) };
        becomes(&mut table, &provisioned, 20).unwrap();
        assert_eq!((table.on_demand_since, table.capacity.most_reads), (Some(5), None));
        assert_eq!(table.capacity.warm, Some(ON_DEMAND));
        assert_eq!((table.capacity.grew, table.capacity.decreases), (Some(20), 0));
        becomes(&mut table, &paid(Billing::OnDemand), 30).unwrap();
        assert_eq!((table.on_demand_since, table.throughput), (Some(30), Throughput::default()));
        assert_eq!((table.capacity.shrank, table.capacity.decreases), (Some(30), 0));
        assert_eq!(table.globals[0].capacity.grew, None);
    }

    #[test]
    fn what_a_table_is_ready_for_only_grows() {
        let mut table = table(Billing::OnDemand, Throughput::default());
        let warm = |warm_reads, warm_writes| Settings {
            capacity: CapacityChange { warm_reads, warm_writes, ..CapacityChange::default() },
            ..Settings::default()
        };
        for low in [warm(Some(11_999), None), warm(None, Some(1))] {
            let Err(Refusal::Validation(text)) = becomes(&mut table, &low, 1) else { panic!("taken") };
            assert!(text.ends_with("decreasing WarmThroughput is not supported"), "{text}");
        }
        becomes(&mut table, &warm(Some(13_000), None), 1).unwrap();
        assert_eq!(table.capacity.warm, Some(units(13_000, 4_000)));
        becomes(&mut table, &warm(Some(13_000), Some(5_000)), 1).unwrap();
        assert_eq!(table.capacity.warm, Some(units(13_000, 5_000)));
        assert!(becomes(&mut table, &warm(Some(12_999), Some(5_000)), 1).is_err());
    }
}
