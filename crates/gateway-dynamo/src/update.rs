//! `UpdateTable`: settings, capacity, global indexes that come, change and go.

use crate::body::Params;
use crate::failure::{Answered, ApiError, Kind, Retry};
use crate::limits::{Constraints, table_name};
use crate::tables::{
    Parts, check_all_named, check_class, definition, invalid, no_global_tables, read_attributes, read_index,
    refuse_encryption, some_undefined, write,
};
use crate::{Gateway, describe, streams, throughput};
use quorate_wire::table::{
    Billing, Change, Definition, Index, IndexChange, IndexState, KeyNames, Scalar, Settings, What,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub(crate) async fn update(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let table = table_name(params)?;
    let mut constraints = Constraints::default();
    let billing = params.text("BillingMode")?;
    constraints.word(billing, "billingMode", &["PROVISIONED", "PAY_PER_REQUEST"]);
    let class = params.text("TableClass")?;
    check_class(class)?;
    let throughput = throughput::read(params, "provisionedThroughput", &mut constraints)?;
    let attributes = read_attributes(params, &mut constraints)?;
    streams::constrain(params, &mut constraints)?;
    let changes = params.objects("GlobalSecondaryIndexUpdates")?.unwrap_or_default();
    for (at, change) in changes.iter().enumerate() {
        constrain(at, *change, &mut constraints)?;
    }
    constraints.check()?;
    let protected = params.flag("DeletionProtectionEnabled")?;
    let stream = streams::specification(params, false)?;
    let capacity = throughput::Asked::read(params)?;
    let something = [billing.is_some(), class.is_some(), throughput.is_some(), protected.is_some()];
    let others = ["SSESpecification", "OnDemandThroughput", "WarmThroughput"];
    let others = others.iter().chain(&REPLICAS).any(|member| params.has(member));
    if !something.contains(&true) && stream.is_none() && changes.is_empty() && !others {
        return Err(ApiError::validation(
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates, \
             SSESpecification, ReplicaUpdates, MultiAccountReplicaReady, ReplicaTransitRoleArn, MultiRegionConsistency, \
             DeletionProtectionEnabled, OnDemandThroughput, WarmThroughput or TableClass is required",
        ));
    }
    if params.has("GlobalSecondaryIndexUpdates") && changes.is_empty() {
        return Err(invalid("List of GlobalSecondaryIndexUpdates is empty"));
    }
    check_together(params, &changes)?;
    refuse_encryption(params)?;
    if params.has("SSESpecification") {
        return Err(invalid("Table is already encrypted by default"));
    }
    refuse_replicas(params)?;
    if billing == Some("PROVISIONED") && throughput.is_none() {
        return Err(invalid("ProvisionedThroughput must be specified when BillingMode is PROVISIONED"));
    }
    // What this request itself is wrong in comes before whether there is such a table.
    let parsed = changes.into_iter().enumerate();
    let parsed =
        parsed.map(|(at, change)| index_change(at, change, params.has("AttributeDefinitions"), &attributes));
    let indexes = parsed.collect::<Answered<Vec<IndexChange>>>()?;
    check_once(&indexes)?;
    // Attributes are defined for an index that comes, and passed over else.
    let comes = indexes.iter().any(|change| matches!(change, IndexChange::Create(_)));
    let attributes = if comes { attributes } else { Vec::new() };
    let was = definition(gateway, &table).await?;
    crate::shards::check_settled(gateway, &table).await?;
    let now = &was.0;
    check_global(&indexes, now)?;
    let coming = indexes.iter().filter_map(|change| match change {
        IndexChange::Create(index) => Some(index),
        _ => None,
    });
    check_all_named(now.locals.iter().chain(&now.globals).chain(coming))?;
    if comes {
        check_filled(gateway, now.clone()).await?;
    }
    throughput::of_indexes(&indexes, billing, now)?;
    let billing = billing.map(|word| match word {
        "PAY_PER_REQUEST" => Billing::OnDemand,
        _ => Billing::Provisioned,
    });
    let throughput = match (billing, throughput) {
        (Some(billing), asked) if billing != now.billing || asked.is_some() => {
            Some(throughput::check(billing, asked)?).filter(|_| billing == Billing::Provisioned)
        }
        (_, Some(asked)) => Some(throughput::check(Billing::Provisioned, Some(asked))?),
        (_, None) => None,
    };
    let capacity = capacity.change(billing.unwrap_or(now.billing), "table")?;
    let updates = indexes.iter().any(|change| matches!(change, IndexChange::Update { .. }));
    let settings = Settings {
        // What needs no date can be read by earlier releases.
        dated: updates
            || billing.is_some()
            || throughput.is_some()
            || class.is_some()
            || !capacity.is_empty(),
        billing,
        throughput,
        capacity,
        protected,
        stream,
        class: class.map(String::from),
        indexes: indexes.clone(),
        attributes,
    };
    let change = Change::Settings(Box::new(settings));
    let changed = write(gateway, What::Change { table, change }, Retry::Harmful).await?;
    Ok(json!({ "TableDescription": describe::changed(changed, &was, &indexes) }))
}

/// What a request may change of a table beside its attributes.
const CHANGES: [&str; 9] = [
    "SSESpecification",
    "TableClass",
    "DeletionProtectionEnabled",
    "OnDemandThroughput",
    "WarmThroughput",
    "StreamSpecification",
    "ProvisionedThroughput",
    "BillingMode",
    "GlobalSecondaryIndexUpdates",
];

/// Most changes are made alone; what goes before what, where a request has several, is the service's order.
fn check_together(params: Params<'_>, indexes: &[Params<'_>]) -> Answered<()> {
    let there = |member: &str| match params.get(member) {
        // An empty one changes nothing.
        Some(Value::Object(members)) => !members.is_empty(),
        Some(Value::Array(elements)) => !elements.is_empty(),
        other => other.is_some(),
    };
    let any = |members: &[&str]| members.iter().any(|member| there(member));
    let several = CHANGES.iter().filter(|member| there(member)).count() > 1;
    for (member, what) in [
        ("SSESpecification", "Server-Side Encryption"),
        ("TableClass", "TableClass"),
        ("DeletionProtectionEnabled", "DeletionProtection"),
    ] {
        if several && there(member) {
            return Err(invalid(format!("{what} modification must be the only operation in the request")));
        }
    }
    if there("OnDemandThroughput") && any(&["StreamSpecification", "WarmThroughput"]) {
        return Err(invalid(
            "OnDemandThroughput can only be combined with BillingMode in an UpdateTable request",
        ));
    }
    if there("WarmThroughput") && any(&["StreamSpecification", "ProvisionedThroughput", "BillingMode"]) {
        return Err(invalid("WarmThroughput must be the only operation in the request"));
    }
    if there("WarmThroughput") && indexes.iter().any(|change| change.has("Create")) {
        return Err(invalid(
            "Create global secondary index cannot be specified when updating WarmThroughput",
        ));
    }
    let units = there("ProvisionedThroughput") || params.text("BillingMode")? == Some("PROVISIONED");
    let online = indexes.iter().any(|change| change.has("Create") || change.has("Delete"));
    match (units, there("StreamSpecification"), online) {
        (true, true, _) => Err(invalid("You cannot modify stream status while updating table IOPS")),
        (true, _, true) => Err(invalid("You cannot create or delete index while updating table IOPS")),
        (_, true, true) => Err(invalid("You cannot create or delete index while changing stream status")),
        _ => Ok(()),
    }
}

/// Holds a change of an index to its constraints.
fn constrain(at: usize, change: Params<'_>, constraints: &mut Constraints) -> Answered<()> {
    let path = format!("globalSecondaryIndexUpdates.{}.member", at + 1);
    if let Some(create) = change.object("Create")? {
        Parts::read(create, &format!("{path}.create"), constraints)?;
    }
    for (member, path) in [("Update", format!("{path}.update")), ("Delete", format!("{path}.delete"))] {
        let Some(asked) = change.object(member)? else { continue };
        let (name, of_name) = (asked.text("IndexName")?, format!("{path}.indexName"));
        if name.is_none() {
            constraints.missing(&of_name);
        }
        constraints.name(name, &of_name);
        if member == "Update" {
            throughput::read(asked, &format!("{path}.provisionedThroughput"), constraints)?;
        }
    }
    Ok(())
}

/// The keys of a new index must be defined in the request itself, even where the table has defined them already.
fn index_change(
    at: usize,
    change: Params<'_>,
    defined: bool,
    attributes: &[(String, Scalar)],
) -> Answered<IndexChange> {
    let path = format!("globalSecondaryIndexUpdates.{}.member", at + 1);
    let named =
        |params: Params<'_>| params.text("IndexName").map(|name| name.unwrap_or_default().to_string());
    if ["Create", "Update", "Delete"].into_iter().filter(|action| change.has(action)).count() > 1 {
        return Err(invalid(
            "Only one global secondary index action is allowed per GlobalSecondaryIndexUpdate object",
        ));
    }
    if let Some(create) = change.object("Create")? {
        if !defined {
            let name = named(create)?;
            return Err(invalid(format!("AttributeDefinitions is not specified for index: {name}")));
        }
        let many = create.list("KeySchema")?.map_or(0, Vec::len);
        if !attributes.is_empty() && many > attributes.len() {
            return Err(some_undefined());
        }
        let index = read_index(create, &format!("{path}.create"), true, &KeyNames::default(), attributes)?;
        return Ok(IndexChange::Create(index));
    }
    if let Some(update) = change.object("Update")? {
        let asked = throughput::read(update, "", &mut Constraints::default())?;
        let capacity = throughput::Asked::read(update)?;
        let name = named(update)?;
        if update.object("WarmThroughput")?.is_some_and(|asked| asked.0.is_empty()) {
            return Err(invalid(format!(
                "WarmThroughput must have at least one of ReadUnitsPerSecond or WriteUnitsPerSecond specified for index: \
                 {name}"
            )));
        }
        let throughput = match asked {
            Some(_) => Some(throughput::check(Billing::Provisioned, asked)?),
            None => None,
        };
        // Whether there may be bounds is seen where it is known how the table is paid for.
        let capacity = capacity.change(Billing::OnDemand, &format!("index {name}"))?;
        return Ok(IndexChange::Update { name, throughput, capacity });
    }
    if let Some(delete) = change.object("Delete")? {
        return Ok(IndexChange::Delete(named(delete)?));
    }
    Err(invalid(
        "One of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, GlobalSecondaryIndexUpdate.Delete \
         must not be null",
    ))
}

/// One change of an index at a time, and one index that comes or goes.
fn check_once(changes: &[IndexChange]) -> Answered<()> {
    let mut names = BTreeSet::new();
    for change in changes {
        let (IndexChange::Create(Index { name, .. })
        | IndexChange::Update { name, .. }
        | IndexChange::Delete(name)) = change;
        if !names.insert(name) {
            return Err(invalid(format!(
                "Only one global secondary index update per index is allowed simultaneously. Index: {name}"
            )));
        }
    }
    let online = changes.iter().filter(|change| !matches!(change, IndexChange::Update { .. }));
    if online.count() > 1 {
        return Err(one_at_a_time());
    }
    Ok(())
}

/// Local indexes stay as they were made; of the global ones only those that are there change.
fn check_global(changes: &[IndexChange], now: &Definition) -> Answered<()> {
    for change in changes {
        let (what, name) = match change {
            IndexChange::Create(_) => continue,
            IndexChange::Update { name, .. } => ("update", name),
            IndexChange::Delete(name) => ("delete", name),
        };
        if now.locals.iter().any(|index| index.name == *name) {
            return Err(ApiError::validation(format!(
                "Cannot {what} an index that is not a GlobalSecondaryIndex: {name}"
            )));
        }
        if !now.globals.iter().any(|index| index.name == *name) {
            let text = format!("Requested resource not found: Index {name} for table {}", now.name);
            return Err(ApiError::new(Kind::NotFound, text));
        }
    }
    Ok(())
}

/// A new index comes once the one before is filled. Of a table that lies in shard 1 that is looked at where the change is applied; here
/// whether the shards of one that has its own have filled it.
async fn check_filled(gateway: &Gateway, mut table: Definition) -> Answered<()> {
    let has_shards = crate::shards::figures(gateway, &mut table).await.is_some();
    let fills = table.globals.iter().any(|index| index.state != IndexState::Active);
    if has_shards && fills { Err(one_at_a_time()) } else { Ok(()) }
}

fn one_at_a_time() -> ApiError {
    ApiError::new(
        Kind::Limit,
        "Subscriber limit exceeded: Only 1 online index can be created or deleted simultaneously per table",
    )
}

/// What is said of copies in other regions.
const REPLICAS: [&str; 4] = [
    "ReplicaUpdates",
    "GlobalTableWitnessUpdates",
    "MultiRegionConsistency",
    "GlobalTableSettingsReplicationMode",
];

fn refuse_replicas(params: Params<'_>) -> Answered<()> {
    for member in REPLICAS {
        let Some(asked) = params.get(member) else { continue };
        if asked.as_array().is_some_and(Vec::is_empty) {
            let mut constraints = Constraints::default();
            let path = format!("{}{}", member[..1].to_ascii_lowercase(), &member[1..]);
            constraints.broken("[]", &path, "Member must have length greater than or equal to 1");
            constraints.check()?;
        }
        return Err(no_global_tables(member));
    }
    Ok(())
}
