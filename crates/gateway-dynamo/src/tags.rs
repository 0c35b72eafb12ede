//! Tags, and the policy that a table's tags carry (`quorate:consistency` and so on).

use crate::body::{Params, text};
use crate::failure::{Answered, ApiError, Kind};
use crate::limits::Constraints;
use crate::{Gateway, unexpected};
use quorate_node::api::{Body, Request};
use quorate_policy::tags::{PREFIX, TagError, from_tags};
use quorate_policy::{Part, Partitioning, Policy, plan};
use quorate_wire::table::{Change, Command, EPOCH, SHARDS_TAG, SPLITS_TAG, What};
use serde_json::{Value, json};

/// No table has more tags.
const TAGS_MAX: usize = 50;

/// Reads a member `Tags`.
pub(crate) fn read(params: Params<'_>) -> Answered<Vec<(String, String)>> {
    let Some(list) = params.objects("Tags")? else { return Ok(Vec::new()) };
    let mut tags: Vec<(String, String)> = Vec::with_capacity(list.len());
    for tag in list {
        let Some(key) = tag.text("Key")? else {
            return Err(ApiError::validation("The Tag Key provided is invalid, Key: null"));
        };
        let value = tag.text("Value")?;
        check_tag(key, value)?;
        let value = value.unwrap_or_default();
        if tags.iter().any(|(known, _)| known == key) {
            return Err(ApiError::validation(format!(
                "Duplicate Tag Keys provided as input: Duplicate Tag Key found {key}"
            )));
        }
        tags.push((key.into(), value.into()));
    }
    check_count(tags.len())?;
    Ok(tags)
}

fn check_tag(key: &str, value: Option<&str>) -> Answered<()> {
    let bad = |text: String| Err(ApiError::validation(text));
    if key.is_empty() || key.chars().count() > 128 {
        return bad(format!("The Tag Key provided is invalid, Key: {key}"));
    }
    if value.is_none_or(|value| value.chars().count() > 256) {
        return bad(format!("The Tag Value provided is invalid, Value: {}", value.unwrap_or("null")));
    }
    if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        return bad(format!("Tag Key cannot be prefixed with aws:, Key: {key}"));
    }
    // Taken for somebody else's tag it would be passed over, and the table be another one than was asked for.
    let start = key.get(..PREFIX.len()).unwrap_or_default();
    if start != PREFIX && start.eq_ignore_ascii_case(PREFIX) {
        return bad(format!(
            "One or more parameter values were invalid: tag keys of Quorate begin with {PREFIX}, in small letters: {key}"
        ));
    }
    Ok(())
}

fn check_count(tags: usize) -> Answered<()> {
    if tags <= TAGS_MAX {
        return Ok(());
    }
    Err(ApiError::validation("Number of Tags exceed the current limit for the provided ResourceArn"))
}

/// Refuses tags whose policy this release cannot keep, by name.
pub(crate) async fn check_policy(gateway: &Gateway, tags: &[(String, String)]) -> Answered<()> {
    // How many shards there are, and where they begin, is no promise; the machine looks at it.
    let asks =
        |(key, _): &&(String, String)| key.starts_with(PREFIX) && key != SHARDS_TAG && key != SPLITS_TAG;
    if !tags.iter().any(|tag| asks(&tag)) {
        return Ok(());
    }
    let pairs = tags.iter().filter(asks).map(|(key, value)| (key.as_str(), value.as_str()));
    let policy = from_tags(pairs).map_err(|error| ApiError::validation(unknown(&error)))?;
    let plan = plan(&policy).map_err(|refusal| ApiError::validation(refusal.to_string()))?;
    let lacks: Vec<&str> = plan.missing().into_iter().map(Part::said).collect();
    if !lacks.is_empty() {
        return Err(ApiError::validation(format!(
            "The policy of these tags is not available yet: {} ({}) needs {}",
            plan.promise,
            plan.headline,
            lacks.join(", ")
        )));
    }
    let shards = tags.iter().find(|(key, _)| key == SHARDS_TAG);
    if plan.partition_by == Partitioning::None && shards.is_some_and(|(_, count)| count != "1") {
        return Err(ApiError::validation(format!(
            "The policy of these tags asks for one order of all keys, which one shard has: leave the tag {SHARDS_TAG} out"
        )));
    }
    if names_copies(&policy) { enough(plan.copies, voters(gateway).await?) } else { Ok(()) }
}

/// Whether it says how many copies there are. One that does not has as many as there are members, up to its plan's, as a table without
/// tags has: another tag does not make the default a promise.
fn names_copies(policy: &Policy) -> bool {
    policy.survive.is_some() || policy.durability.is_some() || policy.replication.is_some()
}

/// Refuses a policy that asks for more copies than there can be.
fn enough(copies: u8, voters: usize) -> Answered<()> {
    if usize::from(copies) <= voters {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "The policy of these tags needs {copies} copies of each item, and this cluster has {voters} voting members: add some \
         (quorate node add), or let it survive fewer failures (the tag {PREFIX}survive)"
    )))
}

/// The copies of a table with shards of its own are placed when it is made: another number is not promised that nobody brings about.
fn check_copies(old: &[(String, String)], new: &[(String, String)]) -> Answered<()> {
    let survive = format!("{PREFIX}survive");
    let of = |tags: &[(String, String)], name: &str| {
        tags.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let whole = of(old, SHARDS_TAG).or(of(old, SPLITS_TAG)).is_none();
    if whole || of(old, &survive) == of(new, &survive) {
        return Ok(());
    }
    Err(ApiError::validation(format!(
        "The policy of these tags is not available yet: how many copies a table with shards of its own has is said when it is made, and {survive} stays as it is; make another table and copy the items"
    )))
}

/// Among the tags that there are is one that is none of a policy's.
fn unknown(error: &TagError) -> String {
    match error {
        TagError::Unknown { key, near: None } if key.eq_ignore_ascii_case(SHARDS_TAG) => {
            format!("there is no tag {key}; {SHARDS_TAG} was meant, perhaps")
        }
        TagError::Unknown { near: None, .. } => {
            format!("{error}; or {SHARDS_TAG} with a number, {SPLITS_TAG} with partition keys")
        }
        _ => error.to_string(),
    }
}

async fn voters(gateway: &Gateway) -> Answered<usize> {
    let answer = gateway.ask(crate::route::META, Request::Members { linearizable: false }).await;
    match answer.map_err(|failure| crate::of_node(failure, crate::Retry::Harmless))?.body {
        Body::Members(members) => Ok(members.iter().filter(|member| !member.learner).count()),
        _ => Err(unexpected()),
    }
}

/// `TagResource`.
pub(crate) async fn tag(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let table = resource(params, "TagResource")?;
    let tags = read(params)?;
    if tags.is_empty() {
        return Err(ApiError::validation("Atleast one Tag needs to be provided as Input."));
    }
    let old = current(gateway, &table).await?;
    let mut all = old.clone();
    all.retain(|(key, _)| tags.iter().all(|(new, _)| new != key));
    all.extend(tags.iter().cloned());
    check_count(all.len())?;
    check_policy(gateway, &all).await?;
    check_copies(&old, &all)?;
    change(gateway, table, Change::Tag(tags)).await
}

/// `UntagResource`.
pub(crate) async fn untag(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let table = resource(params, "UntagResource")?;
    let keys = params.list("TagKeys")?.map_or(&[][..], Vec::as_slice);
    if keys.is_empty() {
        return Err(ApiError::validation("Atleast one Tag Key needs to be provided as Input."));
    }
    let keys = keys.iter().map(|key| text(key).map(String::from)).collect::<Answered<Vec<_>>>()?;
    let old = current(gateway, &table).await?;
    let left: Vec<_> = old.iter().filter(|(key, _)| !keys.contains(key)).cloned().collect();
    check_copies(&old, &left)?;
    change(gateway, table, Change::Untag(keys)).await
}

/// `ListTagsOfResource`.
pub(crate) async fn list(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    let table = resource(params, "ListTagsOfResource")?;
    let tags = current(gateway, &table).await?;
    let tags: Vec<Value> =
        tags.into_iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    Ok(json!({ "Tags": tags }))
}

/// The ARN that an operation names, if it is a table's that is there.
pub(crate) async fn there(gateway: &Gateway, params: Params<'_>, operation: &str) -> Answered<String> {
    let table = resource(params, operation)?;
    current(gateway, &table).await.map(|_| crate::describe::arn(&table))
}

async fn current(gateway: &Gateway, table: &str) -> Answered<Vec<(String, String)>> {
    Ok(crate::tables::definition(gateway, table).await.map_err(|e| not_a_resource(e, table))?.0.tags)
}

async fn change(gateway: &Gateway, table: String, change: Change) -> Answered<Value> {
    let name = table.clone();
    let what = What::Change { table, change };
    let command = Command { epoch: EPOCH, now: crate::now_ms(), what };
    // Tags that are set or gone already are set or gone.
    let done = gateway.write(command, crate::Retry::Harmless).await;
    done.map_err(|e| not_a_resource(e, &name))?;
    Ok(json!({}))
}

fn not_a_resource(error: ApiError, table: &str) -> ApiError {
    if error.kind != crate::failure::Kind::NotFound {
        return error;
    }
    let arn = crate::describe::arn(table);
    ApiError { message: format!("Requested resource not found: ResourcArn: {arn} not found"), ..error }
}

/// The table that an ARN names. What is no resource of this service at all, nobody may touch.
fn resource(params: Params<'_>, operation: &str) -> Answered<String> {
    let mut constraints = Constraints::default();
    let arn = params.text("ResourceArn")?;
    if arn.is_none() {
        constraints.missing("resourceArn");
    }
    constraints.check()?;
    let arn = arn.unwrap_or_default();
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    if parts.len() < 6 || parts[0] != "arn" || parts[2] != "dynamodb" {
        return Err(ApiError::new(
            Kind::AccessDenied,
            format!("User is not authorized to perform: dynamodb:{operation} on resource: {arn}"),
        ));
    }
    let table = parts[5].strip_prefix("table/").filter(|name| !name.is_empty() && !name.contains('/'));
    match table {
        Some(name) => Ok(name.to_string()),
        None => Err(ApiError::validation(format!(
            "Invalid TableArn: Invalid ResourceArn provided as input {arn}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: what a policy says of copies binds, and what it leaves open does not: a bound on staleness can be had on one node.
    #[test]
    fn only_what_is_said_takes_copies() {
        let enough = |tags: &[(&str, &str)], voters| {
            let policy = from_tags(tags.iter().copied()).unwrap();
            if names_copies(&policy) { enough(plan(&policy).unwrap().copies, voters) } else { Ok(()) }
        };
        assert!(enough(&[("quorate:staleness", "5s")], 1).is_ok());
        assert!(enough(&[("quorate:consistency", "linearizable")], 1).is_ok());
        assert!(enough(&[("quorate:survive", "1")], 3).is_ok());
        assert!(enough(&[("quorate:survive", "0")], 1).is_ok());
        let refused = enough(&[("quorate:survive", "1")], 1).unwrap_err().message;
        assert!(refused.contains("needs 3 copies") && refused.contains("quorate node add"), "{refused}");
    }
}
