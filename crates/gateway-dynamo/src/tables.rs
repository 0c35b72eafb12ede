//! Operations on tables.

use crate::body::Params;
use crate::failure::{Answered, ApiError, Kind, Retry};
use crate::limits::{Constraints, bare, table_name};
use crate::{Gateway, describe, now_ms, streams, tags, unexpected};
use quorate_node::api::tables::{Described, Read, ReadReply};
use quorate_wire::table::{
    Billing, Change, Command, Definition, EPOCH, Figures, Index, IndexChange, IndexState, KeyNames,
    Projected, Reply, Scalar, Throughput, What,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// So many local and global indexes a table may have.
const LOCALS_MAX: usize = 5;
const GLOBALS_MAX: usize = 20;

/// What is wrong with a request's values, in the service's words.
fn invalid(text: impl std::fmt::Display) -> ApiError {
    ApiError::validation(format!("One or more parameter values were invalid: {text}"))
}

/// A table as it is now, and its description.
pub(crate) async fn definition(gateway: &Gateway, table: &str) -> Answered<(Definition, Figures)> {
    let described = described(gateway, table).await?;
    Ok((described.definition, described.figures))
}

/// A table as it is now.
pub(crate) async fn described(gateway: &Gateway, table: &str) -> Answered<Described> {
    match gateway.read(Read::Describe(table.into()), true).await? {
        ReadReply::Table(described) => Ok(*described),
        _ => Err(unexpected()),
    }
}

async fn write(gateway: &Gateway, what: What, retry: Retry) -> Answered<(Definition, Figures)> {
    match gateway.write(Command { epoch: EPOCH, now: now_ms(), what }, retry).await? {
        Reply::Table(definition, figures) => Ok((*definition, figures)),
        _ => Err(unexpected()),
    }
}

// ---- CreateTable ----

pub(crate) async fn create(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let definition = read_definition(params)?;
    tags::check_policy(gateway, &definition.tags).await?;
    // Made twice it says that it is there.
    let (definition, figures) = write(gateway, What::Create(Box::new(definition)), Retry::Harmless).await?;
    Ok(json!({ "TableDescription": describe::table(&definition, &figures, "CREATING") }))
}

fn read_definition(params: Params<'_>) -> Answered<Definition> {
    let mut constraints = Constraints::default();
    let name = params.text("TableName")?.map(bare);
    if name.is_none() {
        constraints.missing("tableName");
    }
    constraints.name(name, "tableName");
    for (member, path) in [("AttributeDefinitions", "attributeDefinitions"), ("KeySchema", "keySchema")] {
        if !params.has(member) {
            constraints.missing(path);
        }
    }
    let billing = params.text("BillingMode")?;
    constraints.word(billing, "billingMode", &["PROVISIONED", "PAY_PER_REQUEST"]);
    let class = params.text("TableClass")?;
    constraints.word(class, "tableClass", &["STANDARD", "STANDARD_INFREQUENT_ACCESS"]);
    let attributes = read_attributes(params, &mut constraints)?;
    let keys = read_keys(params, "keySchema", &mut constraints)?;
    let throughput = read_throughput(params, "provisionedThroughput", &mut constraints)?;
    constraints.check()?;
    let billing = if billing == Some("PAY_PER_REQUEST") { Billing::OnDemand } else { Billing::Provisioned };
    let throughput = check_throughput(billing, throughput)?;
    let keys = check_keys(&keys, 1)?;
    for name in keys.all() {
        if attributes.iter().all(|(known, _)| known != name) {
            return Err(undefined(&keys, &attributes));
        }
    }
    let locals = read_indexes(params, "LocalSecondaryIndexes", &keys, &attributes)?;
    let globals = read_indexes(params, "GlobalSecondaryIndexes", &keys, &attributes)?;
    let definition = Definition {
        name: name.unwrap_or_default().into(),
        id: 0,
        created: 0,
        attributes,
        keys,
        locals: locals.unwrap_or_default(),
        globals: globals.unwrap_or_default(),
        next_index: 0,
        billing,
        throughput,
        tags: tags::read(params)?,
        protected: params.flag("DeletionProtectionEnabled")?.unwrap_or(false),
        expires: None,
        stream: streams::specification(params)?.flatten(),
        latest_stream: None,
        class: class.map(String::from),
    };
    check_indexes(&definition)?;
    Ok(definition)
}

fn read_attributes(params: Params<'_>, constraints: &mut Constraints) -> Answered<Vec<(String, Scalar)>> {
    let mut attributes: Vec<(String, Scalar)> = Vec::new();
    let list = params.objects("AttributeDefinitions")?.unwrap_or_default();
    for (at, definition) in list.into_iter().enumerate() {
        let path = |member: &str| format!("attributeDefinitions.{}.member.{member}", at + 1);
        let (name, kind) = (definition.text("AttributeName")?, definition.text("AttributeType")?);
        if name.is_none() {
            constraints.missing(&path("attributeName"));
        }
        if kind.is_none() {
            constraints.missing(&path("attributeType"));
        }
        constraints.word(kind, &path("attributeType"), &["B", "N", "S"]);
        let name = name.unwrap_or_default();
        if name.len() > 255 {
            constraints.broken(
                name,
                &path("attributeName"),
                "Member must have length less than or equal to 255",
            );
        }
        let scalar = match kind {
            Some("N") => Scalar::N,
            Some("B") => Scalar::B,
            _ => Scalar::S,
        };
        if attributes.iter().any(|(known, _)| known == name) {
            return Err(invalid(format!("Duplicate AttributeName in AttributeDefinitions: {name}")));
        }
        attributes.push((name.into(), scalar));
    }
    Ok(attributes)
}

/// Elements of a key schema: name, and whether it is a hash key.
type Elements = Vec<(String, bool)>;

fn read_keys(params: Params<'_>, path: &str, constraints: &mut Constraints) -> Answered<Elements> {
    let mut elements = Vec::new();
    for (at, element) in params.objects("KeySchema")?.unwrap_or_default().into_iter().enumerate() {
        let path = |member: &str| format!("{path}.{}.member.{member}", at + 1);
        let (name, kind) = (element.text("AttributeName")?, element.text("KeyType")?);
        if name.is_none() {
            constraints.missing(&path("attributeName"));
        }
        if kind.is_none() {
            constraints.missing(&path("keyType"));
        }
        constraints.word(kind, &path("keyType"), &["HASH", "RANGE"]);
        elements.push((name.unwrap_or_default().to_string(), kind != Some("RANGE")));
    }
    let most = if path == "keySchema" { 2 } else { 8 };
    if params.has("KeySchema") && elements.is_empty() {
        constraints.broken("[]", path, "Member must have length greater than or equal to 1");
    }
    if elements.len() > most {
        let what = format!("Member must have length less than or equal to {most}");
        constraints.broken("[KeySchemaElements]", path, &what);
    }
    Ok(elements)
}

fn check_keys(elements: &[(String, bool)], most: usize) -> Answered<KeyNames> {
    let bad = |text: &str| Err(ApiError::validation(format!("Invalid KeySchema: {text}")));
    if !elements.first().is_some_and(|(_, hash)| *hash) {
        return bad("The first KeySchemaElement is not a HASH key type");
    }
    let mut keys = KeyNames::default();
    for (name, hash) in elements {
        if *hash && !keys.range.is_empty() {
            return bad("HASH key types stand before RANGE key types");
        }
        if keys.all().any(|known| known == name) {
            return Err(ApiError::validation(
                "Both the Hash Key and the Range Key element in the KeySchema have the same name",
            ));
        }
        if *hash { keys.hash.push(name.clone()) } else { keys.range.push(name.clone()) }
    }
    if keys.hash.len() > most || keys.range.len() > most {
        return match most {
            1 if keys.hash.len() > 1 => bad("The second KeySchemaElement is not a RANGE key type"),
            _ => bad(&format!("at most {most} key elements of each type are allowed")),
        };
    }
    Ok(keys)
}

fn read_throughput(
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

fn check_throughput(billing: Billing, asked: Option<(Option<i64>, Option<i64>)>) -> Answered<Throughput> {
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
            Ok(Throughput { read: units(read), write: units(write) })
        }
    }
}

fn listed(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}

fn undefined(keys: &KeyNames, attributes: &[(String, Scalar)]) -> ApiError {
    let keys: Vec<String> = keys.all().cloned().collect();
    let defined: Vec<String> = attributes.iter().map(|(name, _)| name.clone()).collect();
    invalid(format!(
        "Some index key attributes are not defined in AttributeDefinitions. Keys: {}, AttributeDefinitions: {}",
        listed(&keys),
        listed(&defined)
    ))
}

fn read_indexes(
    params: Params<'_>,
    member: &str,
    table: &KeyNames,
    attributes: &[(String, Scalar)],
) -> Answered<Option<Vec<Index>>> {
    let Some(list) = params.objects(member)? else { return Ok(None) };
    if list.is_empty() {
        return Err(invalid(format!("List of {member} is empty")));
    }
    let global = member == "GlobalSecondaryIndexes";
    if !global && list.len() > LOCALS_MAX {
        return Err(invalid(format!(
            "Number of LocalSecondaryIndexes exceeds per-table limit of {LOCALS_MAX}"
        )));
    }
    if global && list.len() > GLOBALS_MAX {
        return Err(invalid(format!(
            "GlobalSecondaryIndex count exceeds the per-table limit of {GLOBALS_MAX}"
        )));
    }
    let read = |index| read_index(index, global, table, attributes);
    list.into_iter().map(read).collect::<Answered<_>>().map(Some)
}

fn read_index(
    params: Params<'_>,
    global: bool,
    table: &KeyNames,
    attributes: &[(String, Scalar)],
) -> Answered<Index> {
    let path = if global { "globalSecondaryIndexes.1.member" } else { "localSecondaryIndexes.1.member" };
    let mut constraints = Constraints::default();
    let name = params.text("IndexName")?;
    if name.is_none() {
        constraints.missing(&format!("{path}.indexName"));
    }
    constraints.name(name, &format!("{path}.indexName"));
    let projection = params.object("Projection")?;
    if projection.is_none() {
        constraints.missing(&format!("{path}.projection"));
    }
    let elements = read_keys(params, &format!("{path}.keySchema"), &mut constraints)?;
    if !params.has("KeySchema") {
        constraints.missing(&format!("{path}.keySchema"));
    }
    let kind = projection.map_or(Ok(None), |projection| projection.text("ProjectionType"))?;
    let kind_path = format!("{path}.projection.projectionType");
    constraints.word(kind, &kind_path, &["ALL", "INCLUDE", "KEYS_ONLY"]);
    let throughput = read_throughput(params, &format!("{path}.provisionedThroughput"), &mut constraints)?;
    constraints.check()?;
    let name = name.unwrap_or_default().to_string();
    let keys = check_keys(&elements, if global { 4 } else { 1 })?;
    if keys.all().any(|key| attributes.iter().all(|(known, _)| known != key)) {
        return Err(undefined(&keys, attributes));
    }
    if !global {
        if table.range.is_empty() {
            return Err(invalid(
                "Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex",
            ));
        }
        if keys.range.is_empty() {
            return Err(invalid(format!("Index KeySchema does not have a range key for index: {name}")));
        }
        if keys.hash != table.hash {
            return Err(invalid(format!(
                "Index KeySchema does not have the same leading hash key as table KeySchema for index: {name}. index \
                 hash key: {}, table hash key: {}",
                keys.hash.join(", "),
                table.hash.join(", ")
            )));
        }
    }
    let projected = read_projection(projection, kind)?;
    let throughput = throughput.map_or_else(Throughput::default, |(read, write)| Throughput {
        read: read.unwrap_or(0) as u64,
        write: write.unwrap_or(0) as u64,
    });
    Ok(Index { name, id: 0, keys, projected, throughput, state: IndexState::Active })
}

fn read_projection(projection: Option<Params<'_>>, kind: Option<&str>) -> Answered<Projected> {
    let names = match projection {
        Some(projection) => projection.texts("NonKeyAttributes")?,
        None => None,
    };
    match (kind, names) {
        (None, _) => Err(invalid("Unknown ProjectionType: null")),
        (Some("INCLUDE"), Some(names)) if !names.is_empty() => Ok(Projected::Include(names)),
        (Some("INCLUDE"), _) => {
            Err(invalid("ProjectionType is INCLUDE, but NonKeyAttributes is not specified"))
        }
        (Some(kind), Some(_)) => {
            Err(invalid(format!("ProjectionType is {kind}, but NonKeyAttributes is specified")))
        }
        (Some("KEYS_ONLY"), None) => Ok(Projected::KeysOnly),
        (Some(_), None) => Ok(Projected::All),
    }
}

/// What follows from all indexes together.
fn check_indexes(definition: &Definition) -> Answered<()> {
    let mut names = BTreeSet::new();
    let mut used: Vec<String> = definition.keys.all().cloned().collect();
    for index in definition.locals.iter().chain(&definition.globals) {
        if !names.insert(&index.name) {
            return Err(invalid(format!("Duplicate index name: {}", index.name)));
        }
        used.extend(index.keys.all().filter(|key| !definition.keys.all().any(|k| k == *key)).cloned());
        if definition.billing == Billing::OnDemand && index.throughput != Throughput::default() {
            return Err(invalid(format!(
                "ProvisionedThroughput should not be specified for index: {} when BillingMode is PAY_PER_REQUEST",
                index.name
            )));
        }
    }
    if definition.billing == Billing::Provisioned
        && let Some(index) = definition.globals.iter().find(|index| index.throughput == Throughput::default())
    {
        return Err(invalid(format!("ProvisionedThroughput is not specified for index: {}", index.name)));
    }
    used.dedup();
    let defined: Vec<String> = definition.attributes.iter().map(|(name, _)| name.clone()).collect();
    if defined.iter().all(|name| used.contains(name)) {
        return Ok(());
    }
    if names.is_empty() {
        return Err(invalid(
            "Number of attributes in KeySchema does not exactly match number of attributes defined in \
             AttributeDefinitions",
        ));
    }
    Err(invalid(format!(
        "Some AttributeDefinitions are not used. AttributeDefinitions: {}, keys used: {}",
        listed(&defined),
        listed(&used)
    )))
}

// ---- what there is ----

pub(crate) async fn describe(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let (definition, figures) = definition(gateway, &table_name(params)?).await?;
    Ok(json!({ "Table": describe::table(&definition, &figures, "ACTIVE") }))
}

pub(crate) async fn list(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let mut constraints = Constraints::default();
    let after = params.text("ExclusiveStartTableName")?;
    constraints.name(after, "exclusiveStartTableName");
    let limit = params.number("Limit")?;
    constraints.at_least(limit, "limit", 1);
    constraints.at_most(limit, "limit", 100);
    constraints.check()?;
    let limit = limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(100);
    let read = Read::List { after: after.map(String::from), limit };
    let ReadReply::Names(names, more) = gateway.read(read, true).await? else { return Err(unexpected()) };
    let mut out = json!({ "TableNames": names });
    if let (true, Some(last), Some(out)) = (more, names.last(), out.as_object_mut()) {
        out.insert("LastEvaluatedTableName".into(), json!(last));
    }
    Ok(out)
}

pub(crate) async fn delete(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let table = table_name(params)?;
    // A second one would find no table, or one that somebody has made since.
    let (definition, figures) = write(gateway, What::Delete(table), Retry::Harmful).await?;
    Ok(json!({ "TableDescription": describe::table(&definition, &figures, "DELETING") }))
}

// ---- UpdateTable ----

pub(crate) async fn update(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let table = table_name(params)?;
    let mut constraints = Constraints::default();
    let billing = params.text("BillingMode")?;
    constraints.word(billing, "billingMode", &["PROVISIONED", "PAY_PER_REQUEST"]);
    let class = params.text("TableClass")?;
    constraints.word(class, "tableClass", &["STANDARD", "STANDARD_INFREQUENT_ACCESS"]);
    let throughput = read_throughput(params, "provisionedThroughput", &mut constraints)?;
    let attributes = read_attributes(params, &mut constraints)?;
    constraints.check()?;
    let protected = params.flag("DeletionProtectionEnabled")?;
    let stream = streams::specification(params)?;
    let changes = params.objects("GlobalSecondaryIndexUpdates")?.unwrap_or_default();
    let something = [billing.is_some(), class.is_some(), throughput.is_some(), protected.is_some()];
    let sse = params.has("SSESpecification");
    if !something.contains(&true) && stream.is_none() && changes.is_empty() && !sse {
        return Err(ApiError::validation(
            "At least one of ProvisionedThroughput, BillingMode, UpdateStreamEnabled, GlobalSecondaryIndexUpdates or \
             SSESpecification or ReplicaUpdates is required",
        ));
    }
    let (now, _) = definition(gateway, &table).await?;
    let mut indexes = Vec::new();
    let mut known = now.attributes.clone();
    known.extend(attributes.iter().cloned());
    for change in changes {
        indexes.push(index_change(change, &now, &known)?);
    }
    let billing = billing.map(|word| match word {
        "PAY_PER_REQUEST" => Billing::OnDemand,
        _ => Billing::Provisioned,
    });
    let throughput = match (billing, throughput) {
        (Some(billing), asked) if billing != now.billing || asked.is_some() => {
            Some(check_throughput(billing, asked)?).filter(|_| billing == Billing::Provisioned)
        }
        (_, Some(asked)) => Some(check_throughput(Billing::Provisioned, Some(asked))?),
        (_, None) => None,
    };
    let class = class.map(String::from);
    let change = Change::Settings { billing, throughput, protected, stream, class, indexes, attributes };
    let (definition, figures) = write(gateway, What::Change { table, change }, Retry::Harmful).await?;
    Ok(json!({ "TableDescription": describe::table(&definition, &figures, "UPDATING") }))
}

fn index_change(
    change: Params<'_>,
    table: &Definition,
    attributes: &[(String, Scalar)],
) -> Answered<IndexChange> {
    let named = |params: Params<'_>| {
        let mut constraints = Constraints::default();
        let name = params.text("IndexName")?;
        if name.is_none() {
            constraints.missing("globalSecondaryIndexUpdates.1.member.indexName");
        }
        constraints.name(name, "globalSecondaryIndexUpdates.1.member.indexName");
        constraints.check()?;
        Ok::<_, ApiError>(name.unwrap_or_default().to_string())
    };
    if let Some(create) = change.object("Create")? {
        let index = read_index(create, true, &table.keys, attributes)?;
        return Ok(IndexChange::Create(index));
    }
    if let Some(update) = change.object("Update")? {
        let mut constraints = Constraints::default();
        let path = "globalSecondaryIndexUpdates.1.member.update.provisionedThroughput";
        let asked = read_throughput(update, path, &mut constraints)?;
        constraints.check()?;
        let throughput = check_throughput(Billing::Provisioned, asked)?;
        return Ok(IndexChange::Update(named(update)?, throughput));
    }
    if let Some(delete) = change.object("Delete")? {
        return Ok(IndexChange::Delete(named(delete)?));
    }
    Err(invalid("One of GlobalSecondaryIndexUpdate's members Create, Update, Delete must be given"))
}

// ---- what ends, backups, limits ----

pub(crate) async fn describe_expiry(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let (definition, _) = definition(gateway, &table_name(params)?).await?;
    Ok(json!({ "TimeToLiveDescription": match definition.expires {
        Some(name) => json!({ "TimeToLiveStatus": "ENABLED", "AttributeName": name }),
        None => json!({ "TimeToLiveStatus": "DISABLED" }),
    } }))
}

pub(crate) async fn update_expiry(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let table = table_name(params)?;
    let asked = params.object("TimeToLiveSpecification")?;
    let mut constraints = Constraints::default();
    if asked.is_none() {
        constraints.missing("timeToLiveSpecification");
    }
    let (mut name, mut on) = (None, None);
    if let Some(asked) = asked {
        (name, on) = (asked.text("AttributeName")?, asked.flag("Enabled")?);
        if name.is_none() {
            constraints.missing("timeToLiveSpecification.attributeName");
        }
        if on.is_none() {
            constraints.missing("timeToLiveSpecification.enabled");
        }
    }
    constraints.check()?;
    let (attribute, on) = (name.unwrap_or_default().to_string(), on.unwrap_or(false));
    if attribute.is_empty() {
        return Err(ApiError::validation("TimeToLiveSpecification.AttributeName must not be empty"));
    }
    let change = Change::Expiry { attribute: attribute.clone(), on };
    write(gateway, What::Change { table, change }, Retry::Harmful).await?;
    Ok(json!({ "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": on } }))
}

pub(crate) async fn describe_backups(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let table = table_name(params)?;
    definition(gateway, &table).await.map_err(|error| match error.kind {
        Kind::NotFound => {
            ApiError { kind: Kind::TableNotFound, message: format!("Table not found: {table}"), ..error }
        }
        _ => error,
    })?;
    Ok(json!({ "ContinuousBackupsDescription": {
        "ContinuousBackupsStatus": "DISABLED",
        "PointInTimeRecoveryDescription": { "PointInTimeRecoveryStatus": "DISABLED" },
    } }))
}

pub(crate) fn limits() -> Value {
    json!({
        "AccountMaxReadCapacityUnits": 80_000,
        "AccountMaxWriteCapacityUnits": 80_000,
        "TableMaxReadCapacityUnits": 40_000,
        "TableMaxWriteCapacityUnits": 40_000,
    })
}

/// Clients that look for endpoints are to stay where they are.
pub(crate) fn endpoints() -> Value {
    json!({ "Endpoints": [{ "Address": "localhost:8000", "CachePeriodInMinutes": 1440 }] })
}
