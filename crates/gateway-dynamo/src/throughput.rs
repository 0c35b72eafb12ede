//! Capacity, as tables and indexes ask for it. It bounds nothing here; what makes no sense is refused as the service does.

use crate::body::Params;
use crate::failure::{Answered, ApiError};
use crate::limits::Constraints;
use crate::tables::invalid;
use quorate_wire::table::{Billing, Definition, Index, IndexChange, Throughput};

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

/// A member `OnDemandThroughput`: a table that is paid for by capacity has none, and each bound is a number from 1, or -1 for none.
pub(crate) fn check_on_demand(params: Params<'_>, billing: Billing) -> Answered<()> {
    let Some(asked) = params.object("OnDemandThroughput")? else { return Ok(()) };
    for name in ["MaxReadRequestUnits", "MaxWriteRequestUnits"] {
        let Some(units) = asked.number(name)? else { continue };
        if billing == Billing::Provisioned {
            return Err(invalid(format!(
                "{name} for OnDemandThroughput cannot be specified when the table BillingMode is PROVISIONED"
            )));
        }
        if units < 1 && units != -1 {
            return Err(invalid(format!(
                "Requested {name} for OnDemandThroughput for table is outside of valid range"
            )));
        }
    }
    Ok(())
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
            IndexChange::Update(name, _) if on_demand => {
                return Err(invalid(format!(
                    "The only Updates for index: {name} when TableThroughputMode is PAY_PER_REQUEST can be to \
                     OnDemandThroughput, WarmThroughput"
                )));
            }
            IndexChange::Update(name, throughput) => check_changes(name, *throughput, now)?,
            _ => {}
        }
    }
    if on_demand || now.billing == Billing::Provisioned {
        return Ok(());
    }
    // Where capacity comes back, each index that stays needs its own.
    let named = |index: &&Index| {
        changes.iter().any(|change| match change {
            IndexChange::Update(name, _) | IndexChange::Delete(name) => *name == index.name,
            IndexChange::Create(_) => false,
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
