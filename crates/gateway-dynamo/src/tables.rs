//! Operations on tables.

use crate::body::Params;
use crate::failure::{Answered, ApiError, Kind, Retry};
use crate::limits::{Constraints, table_name};
use crate::{Gateway, describe, drain, now_ms, streams, tags, throughput, unexpected};
use quorate_node::api::tables::{Described, Read, ReadReply};
use quorate_wire::table::{
    Billing, Capacity, Change, Command, Definition, EPOCH, Figures, Index, IndexState, KeyNames, Projected,
    Reply, Scalar, Throughput, What,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// So many local and global indexes a table may have.
const LOCALS_MAX: usize = 5;
const GLOBALS_MAX: usize = 20;
/// Where they stand in a request, and what its constraints call that.
const LOCALS: (&str, &str) = ("LocalSecondaryIndexes", "localSecondaryIndexes");
const GLOBALS: (&str, &str) = ("GlobalSecondaryIndexes", "globalSecondaryIndexes");
/// So many attributes beside its keys an index may name, and all of a table together.
const NAMED_MAX: usize = 20;
const NAMED_IN_ALL_MAX: usize = 100;

/// What is wrong with a request's values, in the service's words.
pub(crate) fn invalid(text: impl std::fmt::Display) -> ApiError {
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

/// The same for an operation on items, which says only that there is none.
pub(crate) async fn there(gateway: &Gateway, table: &str) -> Answered<Described> {
    described(gateway, table).await.map_err(|error| match error.kind {
        Kind::NotFound => ApiError { message: "Requested resource not found".into(), ..error },
        _ => error,
    })
}

pub(crate) async fn write(gateway: &Gateway, what: What, retry: Retry) -> Answered<(Definition, Figures)> {
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
    let name = constraints.table_itself(params)?;
    for (member, path) in [("AttributeDefinitions", "attributeDefinitions"), ("KeySchema", "keySchema")] {
        if !params.has(member) {
            constraints.missing(path);
        }
    }
    let billing = params.text("BillingMode")?;
    constraints.word(billing, "billingMode", &["PROVISIONED", "PAY_PER_REQUEST"]);
    let class = params.text("TableClass")?;
    check_class(class)?;
    let attributes = read_attributes(params, &mut constraints)?;
    let keys = read_keys(params, "keySchema", &mut constraints)?;
    let throughput = throughput::read(params, "provisionedThroughput", &mut constraints)?;
    streams::constrain(params, &mut constraints)?;
    for (member, path) in [LOCALS, GLOBALS] {
        for (at, index) in params.objects(member)?.into_iter().flatten().enumerate() {
            Parts::read(index, &format!("{path}.{}.member", at + 1), &mut constraints)?;
        }
    }
    constraints.check()?;
    let billing = if billing == Some("PAY_PER_REQUEST") { Billing::OnDemand } else { Billing::Provisioned };
    let throughput = throughput::check(billing, throughput)?;
    if keys.len() > attributes.len() {
        return Err(some_undefined());
    }
    let keys = check_keys(&keys, &attributes, 1)?;
    let locals = read_indexes(params, LOCALS, &keys, &attributes)?;
    let globals = read_indexes(params, GLOBALS, &keys, &attributes)?;
    refuse_encryption(params)?;
    refuse_unserved(params)?;
    let capacity = throughput::Asked::read(params)?.made("table")?;
    throughput::check_capacity(&capacity, (billing, throughput), "table")?;
    let definition = Definition {
        name,
        id: 0,
        created: 0,
        attributes,
        keys,
        locals: locals.unwrap_or_default(),
        globals: globals.unwrap_or_default(),
        next_index: 0,
        billing,
        throughput,
        capacity,
        on_demand_since: None,
        tags: tags::read(params)?,
        protected: params.flag("DeletionProtectionEnabled")?.unwrap_or(false),
        expires: None,
        stream: streams::specification(params, true)?.flatten(),
        latest_stream: None,
        class: class.map(String::from),
        class_since: None,
        closing: false,
    };
    check_indexes(&definition)?;
    Ok(definition)
}

/// What is told of a key with more attributes than are defined at all.
pub(crate) fn some_undefined() -> ApiError {
    ApiError::validation("Invalid KeySchema: Some index key attribute have no definition")
}

pub(crate) fn check_class(class: Option<&str>) -> Answered<()> {
    if class.is_none_or(|class| matches!(class, "STANDARD" | "STANDARD_INFREQUENT_ACCESS")) {
        return Ok(());
    }
    Err(ApiError::validation(
        "Invalid table-class parameter provided. Please try again with a valid table-class value: [STANDARD, \
         STANDARD_INFREQUENT_ACCESS].",
    ))
}

pub(crate) fn read_attributes(
    params: Params<'_>,
    constraints: &mut Constraints,
) -> Answered<Vec<(String, Scalar)>> {
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
        constraints.key_name(name, &path("attributeName"));
        let name = name.unwrap_or_default();
        let scalar = match kind {
            Some("N") => Scalar::N,
            Some("B") => Scalar::B,
            _ => Scalar::S,
        };
        if attributes.iter().any(|(known, _)| known == name) {
            return Err(ApiError::validation(format!("Attribute Name is duplicated: {name}")));
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
        constraints.key_name(name, &path("attributeName"));
        elements.push((name.unwrap_or_default().to_string(), kind != Some("RANGE")));
    }
    let most = if path == "keySchema" { 2 } else { 8 };
    if params.has("KeySchema") && elements.is_empty() {
        constraints.broken("[]", path, "Member must have length greater than or equal to 1");
    }
    if elements.len() > most {
        let shown: Vec<String> = elements
            .iter()
            .map(|(name, hash)| {
                let kind = if *hash { "HASH" } else { "RANGE" };
                format!("KeySchemaElement(attributeName={name}, keyType={kind})")
            })
            .collect();
        let what = format!("Member must have length less than or equal to {most}");
        constraints.broken(&listed(&shown), path, &what);
    }
    Ok(elements)
}

/// The names of a key, in the order in which the service finds fault: no definition, one name twice, the order of types.
fn check_keys(
    elements: &[(String, bool)],
    attributes: &[(String, Scalar)],
    most: usize,
) -> Answered<KeyNames> {
    let bad = |text: &str| Err(ApiError::validation(format!("Invalid KeySchema: {text}")));
    let names: Vec<String> = elements.iter().map(|(name, _)| name.clone()).collect();
    if names.iter().any(|name| attributes.iter().all(|(known, _)| known != name)) {
        let defined: Vec<String> = attributes.iter().map(|(name, _)| name.clone()).collect();
        return Err(invalid(format!(
            "Some index key attributes are not defined in AttributeDefinitions. Keys: {}, AttributeDefinitions: {}",
            listed(&names),
            listed(&defined)
        )));
    }
    if (1..names.len()).any(|at| names[..at].contains(&names[at])) {
        return Err(ApiError::validation(
            "Both the Hash Key and the Range Key element in the KeySchema have the same name",
        ));
    }
    if !elements.first().is_some_and(|(_, hash)| *hash) {
        return bad("The first KeySchemaElement is not a HASH key type");
    }
    let mut keys = KeyNames::default();
    for (name, hash) in elements {
        if *hash && !keys.range.is_empty() {
            return Err(invalid(
                "All HASH key attributes must precede RANGE key attributes in the KeySchema",
            ));
        }
        if *hash { keys.hash.push(name.clone()) } else { keys.range.push(name.clone()) }
    }
    if keys.hash.len() > most || keys.range.len() > most {
        return match most {
            1 if keys.hash.len() > 1 => bad("The second KeySchemaElement is not a RANGE key type"),
            _ => {
                let kind = if keys.hash.len() > most { "HASH" } else { "RANGE" };
                Err(invalid(format!(
                    "The KeySchema exceeds the maximum allowed number of {kind} key attributes"
                )))
            }
        };
    }
    Ok(keys)
}

fn listed(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}

fn read_indexes(
    params: Params<'_>,
    (member, path): (&str, &str),
    table: &KeyNames,
    attributes: &[(String, Scalar)],
) -> Answered<Option<Vec<Index>>> {
    let Some(list) = params.objects(member)? else { return Ok(None) };
    if list.is_empty() {
        return Err(invalid(format!("List of {member} is empty")));
    }
    let global = member == GLOBALS.0;
    let mut indexes: Vec<Index> = Vec::with_capacity(list.len().min(GLOBALS_MAX));
    for (at, index) in list.into_iter().enumerate() {
        let path = format!("{path}.{}.member", at + 1);
        let index = read_index(index, &path, global, table, attributes)?;
        if indexes.iter().any(|other| other.name == index.name) {
            return Err(invalid(format!("Duplicate index name: {}", index.name)));
        }
        indexes.push(index);
    }
    if !global && indexes.len() > LOCALS_MAX {
        return Err(invalid(format!(
            "Number of LocalSecondaryIndexes exceeds per-table limit of {LOCALS_MAX}"
        )));
    }
    if global && indexes.len() > GLOBALS_MAX {
        return Err(invalid(format!(
            "GlobalSecondaryIndex count exceeds the per-table limit of {GLOBALS_MAX}"
        )));
    }
    Ok(Some(indexes))
}

/// What a request says of an index.
pub(crate) struct Parts<'p> {
    name: &'p str,
    elements: Elements,
    kind: Option<&'p str>,
    named: Option<Vec<String>>,
    throughput: Option<(Option<i64>, Option<i64>)>,
}

impl<'p> Parts<'p> {
    /// Reads them, and holds them to their constraints.
    pub(crate) fn read(params: Params<'p>, path: &str, constraints: &mut Constraints) -> Answered<Self> {
        let name = params.text("IndexName")?;
        if name.is_none() {
            constraints.missing(&format!("{path}.indexName"));
        }
        constraints.name(name, &format!("{path}.indexName"));
        let projection = params.object("Projection")?;
        if projection.is_none() {
            constraints.missing(&format!("{path}.projection"));
        }
        let elements = read_keys(params, &format!("{path}.keySchema"), constraints)?;
        if !params.has("KeySchema") {
            constraints.missing(&format!("{path}.keySchema"));
        }
        let kind = projection.map_or(Ok(None), |projection| projection.text("ProjectionType"))?;
        let kind_path = format!("{path}.projection.projectionType");
        constraints.word(kind, &kind_path, &["ALL", "INCLUDE", "KEYS_ONLY"]);
        let named = projection.map_or(Ok(None), |projection| projection.texts("NonKeyAttributes"))?;
        check_named(named.as_deref(), &format!("{path}.projection.nonKeyAttributes"), constraints);
        let throughput = throughput::read(params, &format!("{path}.provisionedThroughput"), constraints)?;
        Ok(Self { name: name.unwrap_or_default(), elements, kind, named, throughput })
    }
}

pub(crate) fn read_index(
    params: Params<'_>,
    path: &str,
    global: bool,
    table: &KeyNames,
    attributes: &[(String, Scalar)],
) -> Answered<Index> {
    let mut constraints = Constraints::default();
    let parts = Parts::read(params, path, &mut constraints)?;
    constraints.check()?;
    let Parts { name, elements, kind, named, throughput } = parts;
    let name = name.to_string();
    if !global && table.range.is_empty() {
        return Err(invalid(
            "Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex",
        ));
    }
    let keys = check_keys(&elements, attributes, if global { 4 } else { 1 })?;
    if !global {
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
    let projected = read_projection(kind, named)?;
    let throughput = throughput.map_or_else(Throughput::default, |(read, write)| Throughput {
        read: read.unwrap_or(0) as u64,
        write: write.unwrap_or(0) as u64,
    });
    let capacity = if global {
        throughput::Asked::read(params)?.made(&format!("index {name}"))?
    } else {
        Capacity::default()
    };
    Ok(Index { name, id: 0, keys, projected, throughput, capacity, state: IndexState::Active })
}

fn check_named(names: Option<&[String]>, path: &str, constraints: &mut Constraints) {
    let Some(names) = names else { return };
    if names.is_empty() {
        constraints.broken("[]", path, "Member must have length greater than or equal to 1");
    }
    if names.len() > NAMED_MAX {
        let what = format!("Member must have length less than or equal to {NAMED_MAX}");
        constraints.broken(&listed(names), path, &what);
    }
    for name in names {
        constraints.key_name(Some(name), path);
    }
}

fn read_projection(kind: Option<&str>, names: Option<Vec<String>>) -> Answered<Projected> {
    match (kind, names) {
        (None, _) => Err(invalid("Unknown ProjectionType: null")),
        (Some("INCLUDE"), Some(names)) if !names.is_empty() => {
            match (1..names.len()).find(|at| names[..*at].contains(&names[*at])) {
                Some(at) => Err(invalid(format!("Duplicate element in NonKeyAttributes: {}", names[at]))),
                None => Ok(Projected::Include(names)),
            }
        }
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

/// What is not there is not promised.
pub(crate) fn refuse_encryption(params: Params<'_>) -> Answered<()> {
    let Some(asked) = params.object("SSESpecification")? else { return Ok(()) };
    let mut constraints = Constraints::default();
    let kind = asked.text("SSEType")?;
    constraints.word(kind, "sSESpecification.sSEType", &["AES256", "KMS"]);
    let key = asked.text("KMSMasterKeyId")?;
    constraints.length(key, "sSESpecification.kMSMasterKeyId", 1, 2048);
    constraints.check()?;
    let off = asked.flag("Enabled")? == Some(false);
    let wrong = match (kind, key) {
        (Some("AES256"), _) => Some("SSEType AES256 is not supported"),
        (Some(_), _) if off => Some("SSEType can not be specified if Enabled is false"),
        (None, Some(_)) if off => Some("KMSMasterKeyId can not be specified if Enabled is false"),
        (None, Some(_)) => Some("SSEType KMS is required if KMSMasterKeyId is specified"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        return Err(invalid(wrong));
    }
    if asked.flag("Enabled")? != Some(true) && kind.is_none() && !asked.has("KMSMasterKeyId") {
        return Ok(());
    }
    Err(ApiError::validation(
        "Encryption at rest is not available in this release of Quorate: leave SSESpecification out, or Enabled false",
    ))
}

/// The same of what else the service keeps with a table and nothing here does.
fn refuse_unserved(params: Params<'_>) -> Answered<()> {
    if params.has("ResourcePolicy") {
        return Err(ApiError::validation(
            "ResourcePolicy: policies of tables are not available in this release of Quorate; who may ask follows from the \
             door's keys",
        ));
    }
    for member in ["GlobalTableSourceArn", "GlobalTableSettingsReplicationMode"] {
        if params.has(member) {
            return Err(no_global_tables(member));
        }
    }
    Ok(())
}

/// There is one region: copies within the cluster follow from the table's policy.
pub(crate) fn no_global_tables(member: &str) -> ApiError {
    ApiError::validation(format!(
        "{member}: global tables are not available in this release of Quorate, which has one region; how many nodes of \
         the cluster have a copy follows from the table's tag quorate:survive"
    ))
}

/// Refuses more attributes, named by all indexes together, than a table's may.
pub(crate) fn check_all_named<'i>(indexes: impl Iterator<Item = &'i Index>) -> Answered<()> {
    let named = indexes.map(|index| match &index.projected {
        Projected::Include(names) => names.len(),
        _ => 0,
    });
    if named.sum::<usize>() <= NAMED_IN_ALL_MAX {
        return Ok(());
    }
    Err(invalid(format!(
        "Number of NonKeyAttributes of all indexes together exceeds the per-table limit of {NAMED_IN_ALL_MAX}"
    )))
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
    for index in &definition.globals {
        let what = format!("index {}", index.name);
        throughput::check_capacity(&index.capacity, (definition.billing, index.throughput), &what)?;
    }
    check_all_named(definition.locals.iter().chain(&definition.globals))?;
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
    let (mut definition, mut figures) = definition(gateway, &table_name(params)?).await?;
    let mut status = "ACTIVE";
    if let Some(of_shards) = crate::shards::figures(gateway, &mut definition).await {
        (figures, status) = of_shards;
    }
    if definition.closing {
        status = "DELETING";
    }
    Ok(json!({ "Table": describe::table(&definition, &figures, status) }))
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
    crate::shards::check_settled(gateway, &table).await?;
    // A second one would find no table, or one that somebody has made since.
    let what = What::Drop { table: table.clone(), drained: 0 };
    let (definition, figures) = write(gateway, what, Retry::Harmful).await?;
    if definition.closing {
        drain::wait(gateway, &table).await;
    }
    Ok(json!({ "TableDescription": describe::table(&definition, &figures, "DELETING") }))
}

// ---- what ends, limits ----

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
        constraints.key_name(name, "timeToLiveSpecification.attributeName");
    }
    constraints.check()?;
    crate::shards::check_settled(gateway, &table).await?;
    let (attribute, on) = (name.unwrap_or_default().to_string(), on.unwrap_or(false));
    let change = Change::Expiry { attribute: attribute.clone(), on };
    write(gateway, What::Change { table, change }, Retry::Harmful).await?;
    Ok(json!({ "TimeToLiveSpecification": { "AttributeName": attribute, "Enabled": on } }))
}

pub(crate) fn limits() -> Value {
    json!({
        "AccountMaxReadCapacityUnits": 80_000,
        "AccountMaxWriteCapacityUnits": 80_000,
        "TableMaxReadCapacityUnits": 40_000,
        "TableMaxWriteCapacityUnits": 40_000,
    })
}

/// Clients that look for endpoints are to stay where they are: at the address that they asked.
pub(crate) fn endpoints(host: &str) -> Value {
    json!({ "Endpoints": [{ "Address": host, "CachePeriodInMinutes": 1440 }] })
}
