//! Capacity, as tables and indexes ask for it. It bounds nothing here; what makes no sense is refused as the service does.

use crate::body::Params;
use crate::failure::{Answered, ApiError};
use crate::limits::Constraints;
use crate::tables::invalid;
use quorate_wire::table::{Billing, Capacity, CapacityChange, Definition, Index, IndexChange, Throughput};

/// No capacity is larger.
const UNITS_MAX: i64 = 1_000_000_000_000;

/// A member `ProvisionedThroughput`, as it was asked for.
pub(crate) fn read(
    params: Params<'_>,
    path: &str,
    constraints: &mut Constraints,
) -> Answered<Option<(Option<i64>, Option<i64>)>> {
    let Some(asked) = params.object("ProvisionedThroughput")? else { return Ok(None) };
    let (read, write) = (asked.number("ReadCapacityUnits")?, asked.number("WriteCapacityUnits")?);
    for (value, name) in [(read, "readCapacityUnits"), (write, "writeCapacityUnits")] {
        let path = format!("{path}.{name}");
        if value.is_none() {
            constraints.missing(&path);
        }
        constraints.at_least(value, &path, 1);
    }
    Ok(Some((read, write)))
}

/// The capacity of a table that is paid for so, or of one of its indexes.
pub(crate) fn check(billing: Billing, asked: Option<(Option<i64>, Option<i64>)>) -> Answered<Throughput> {
    let units = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    match (billing, asked) {
        (Billing::OnDemand, None) => Ok(Throughput::default()),
        (Billing::OnDemand, Some(_)) => Err(invalid(
            "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified when BillingMode is PAY_PER_REQUEST",
        )),
        (Billing::Provisioned, None) => Err(invalid(
            "ReadCapacityUnits and WriteCapacityUnits must both be specified when BillingMode is PROVISIONED",
        )),
        (Billing::Provisioned, Some((read, write))) => {
            for (value, name) in [(read, "ReadCapacityUnits"), (write, "WriteCapacityUnits")] {
                if let Some(value) = value.filter(|value| *value > UNITS_MAX) {
                    let text = format!("Given value {value} for {name} is out of bounds");
                    return Err(ApiError::validation(text));
                }
            }
            Ok(Throughput { read: units(read), write: units(write) })
        }
    }
}

/// What `DescribeTable` tells of a table that is paid for by request, and was never told what to be ready for.
const READY: Throughput = Throughput { read: 12_000, write: 4_000 };

/// Members `OnDemandThroughput` and `WarmThroughput`, of a table or of an index.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// Each bound is a number from 1, or -1 for none.
    most: Option<(Option<i64>, Option<i64>)>,
    warm: Option<(Option<i64>, Option<i64>)>,
}

impl Asked {
    pub(crate) fn read(params: Params<'_>) -> Answered<Self> {
        let pair = |member: &str, read: &str, write: &str| {
            let Some(asked) = params.object(member)? else { return Ok(None) };
            Ok::<_, ApiError>(Some((asked.number(read)?, asked.number(write)?)))
        };
        Ok(Self {
            most: pair("OnDemandThroughput", "MaxReadRequestUnits", "MaxWriteRequestUnits")?,
            warm: pair("WarmThroughput", "ReadUnitsPerSecond", "WriteUnitsPerSecond")?,
        })
    }

    /// As a change of `what` that is paid for so: whether it may be ready for no more than that is seen where it is applied.
    pub(crate) fn change(self, billing: Billing, what: &str) -> Answered<CapacityChange> {
        let (reads, writes) = self.most.unwrap_or_default();
        let bound = |units: Option<i64>, name: &str| {
            let Some(units) = units else { return Ok(None) };
            if billing == Billing::Provisioned {
                return Err(unbounded(name));
            }
            match u64::try_from(units) {
                Ok(units) if units > 0 => Ok(Some(Some(units))),
                Err(_) if units == -1 => Ok(Some(None)),
                _ => Err(invalid(format!(
                    "Requested {name} for OnDemandThroughput for {what} is outside of valid range"
                ))),
            }
        };
        let (most_reads, most_writes) =
            (bound(reads, "MaxReadRequestUnits")?, bound(writes, "MaxWriteRequestUnits")?);
        let (reads, writes) = self.warm.unwrap_or_default();
        // What makes no sense is less than anything is ready for.
        let units = |units: Option<i64>| units.map(|units| u64::try_from(units).unwrap_or(0).max(1));
        Ok(CapacityChange { most_reads, most_writes, warm_reads: units(reads), warm_writes: units(writes) })
    }

    /// Of `what` when it is made: [`check_capacity`] says whether it may be so.
    pub(crate) fn made(self, what: &str) -> Answered<Capacity> {
        let asked = self.change(Billing::OnDemand, what)?;
        let warm = (asked.warm_reads, asked.warm_writes);
        let warm = (warm != (None, None))
            .then(|| Throughput { read: warm.0.unwrap_or(0), write: warm.1.unwrap_or(0) });
        Ok(Capacity {
            most_reads: asked.most_reads.flatten(),
            most_writes: asked.most_writes.flatten(),
            warm,
            ..Capacity::default()
        })
    }
}

/// Whether what is made, and paid for so, may be told that of its capacity.
pub(crate) fn check_capacity(
    capacity: &Capacity,
    (billing, throughput): (Billing, Throughput),
    what: &str,
) -> Answered<()> {
    for (most, name) in
        [(capacity.most_reads, "MaxReadRequestUnits"), (capacity.most_writes, "MaxWriteRequestUnits")]
    {
        if most.is_some() && billing == Billing::Provisioned {
            return Err(unbounded(name));
        }
    }
    let Some(warm) = capacity.warm else { return Ok(()) };
    let ready = ready(billing, throughput);
    // 0 was not asked for.
    for (asked, least, name) in
        [(warm.read, ready.read, "ReadUnitsPerSecond"), (warm.write, ready.write, "WriteUnitsPerSecond")]
    {
        if asked == 0 || asked >= least {
            continue;
        }
        let text = format!("Requested {name} for WarmThroughput for {what} is lower than");
        return Err(invalid(match billing {
            Billing::OnDemand => format!(
                "{text} initial throughput for OnDemand. See: https://docs.aws.amazon.com/amazondynamodb/latest/\
                 developerguide/on-demand-capacity-mode.html#on-demand-capacity-mode-initial"
            ),
            Billing::Provisioned => {
                format!("{text} current WarmThroughput, decreasing WarmThroughput is not supported")
            }
        }));
    }
    Ok(())
}

/// What something is ready for that was never told.
pub(crate) fn ready(billing: Billing, throughput: Throughput) -> Throughput {
    if billing == Billing::OnDemand { READY } else { throughput }
}

/// Where capacity is paid for, nothing else bounds it.
fn unbounded(name: &str) -> ApiError {
    invalid(format!(
        "{name} for OnDemandThroughput cannot be specified when the table BillingMode is PROVISIONED"
    ))
}

/// New indexes have a capacity where the table, as it is to be, has one, and only there.
pub(crate) fn of_indexes(changes: &[IndexChange], billing: Option<&str>, now: &Definition) -> Answered<()> {
    let on_demand = billing.map_or(now.billing == Billing::OnDemand, |word| word == "PAY_PER_REQUEST");
    for change in changes {
        match change {
            IndexChange::Create(index) if !on_demand && index.throughput == Throughput::default() => {
                let name = &index.name;
                return Err(invalid(format!(
                    "Both ReadCapacityUnits and WriteCapacityUnits must be specified for index: {name}"
                )));
            }
            IndexChange::Create(Index { name, throughput, .. })
                if on_demand && *throughput != Throughput::default() =>
            {
                return Err(invalid(format!(
                    "Neither ReadCapacityUnits nor WriteCapacityUnits can be specified for index: {name} when BillingMode \
                     is PAY_PER_REQUEST"
                )));
            }
            IndexChange::Create(index) => {
                let billing = if on_demand { Billing::OnDemand } else { Billing::Provisioned };
                check_capacity(
                    &index.capacity,
                    (billing, index.throughput),
                    &format!("index {}", index.name),
                )?;
            }
            IndexChange::Update { capacity, .. } if !on_demand && capacity.most_reads.is_some() => {
                return Err(unbounded("MaxReadRequestUnits"));
            }
            IndexChange::Update { capacity, .. } if !on_demand && capacity.most_writes.is_some() => {
                return Err(unbounded("MaxWriteRequestUnits"));
            }
            IndexChange::Update { name, throughput, capacity }
                if on_demand && (throughput.is_some() || capacity.is_empty()) =>
            {
                return Err(invalid(format!(
                    "The only Updates for index: {name} when TableThroughputMode is PAY_PER_REQUEST can be to \
                     OnDemandThroughput, WarmThroughput"
                )));
            }
            IndexChange::Update { name, throughput: Some(throughput), .. } => {
                check_changes(name, *throughput, now)?;
            }
            IndexChange::Update { name, throughput: None, capacity } if capacity.is_empty() => {
                return Err(invalid(format!(
                    "Both ReadCapacityUnits and WriteCapacityUnits must be specified for index: {name}"
                )));
            }
            IndexChange::Update { .. } | IndexChange::Delete(_) => {}
        }
    }
    if on_demand || now.billing == Billing::Provisioned {
        return Ok(());
    }
    // Where capacity comes back, each index that stays needs its own.
    let named = |index: &&Index| {
        changes.iter().any(|change| match change {
            IndexChange::Update { name, throughput: Some(_), .. } | IndexChange::Delete(name) => {
                *name == index.name
            }
            IndexChange::Create(_) | IndexChange::Update { .. } => false,
        })
    };
    let without: Vec<&str> =
        now.globals.iter().filter(|index| !named(index)).map(|index| &index.name[..]).collect();
    if without.is_empty() {
        return Ok(());
    }
    Err(invalid(format!("ProvisionedThroughput must be specified for index: {}", without.join(","))))
}

/// A capacity that is asked for is another one than there is.
fn check_changes(name: &str, asked: Throughput, now: &Definition) -> Answered<()> {
    if !now.globals.iter().any(|index| index.name == name && index.throughput == asked) {
        return Ok(());
    }
    let Throughput { read, write } = asked;
    Err(ApiError::validation(format!(
        "The provisioned throughput for the index {name} will not change. The requested value equals the current value. \
         Current ReadCapacityUnits provisioned for index {name}: {read}. Requested ReadCapacityUnits: {read}. Current \
         WriteCapacityUnits provisioned for index {name}: {write}. Requested WriteCapacityUnits: {write}. Refer to the \
         Amazon DynamoDB Developer Guide for current limits and how to request higher limits."
    )))
}
