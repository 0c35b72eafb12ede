//! `Query` and `Scan`.

use crate::Gateway;
use crate::body::Params;
use crate::capacity::{Told, Units, read_units};
use crate::failure::{Answered, ApiError};
use crate::items::{Members, check_styles, expressions, of_item, operator_alone, projection, take, text};
use crate::limits::{Arns, Constraints};
use crate::reply::Reply;
use quorate_item::{Condition, Expressions, Item, KeySchema, Use, legacy};
use quorate_node::api::tables::{KeysAsked, Page, Paged};
use serde_json::json;

/// What both say.
struct Asked {
    table: String,
    arns: Arns,
    index: Option<String>,
    told: Told,
    consistent: bool,
    limit: Option<usize>,
    select: Option<String>,
}

/// The widest parallel scan.
const SEGMENTS_MAX: i64 = 1_000_000;

fn asked(members: &Members, scan: bool) -> Answered<Asked> {
    let params = Params(members);
    let mut constraints = Constraints::default();
    let table = constraints.table(params)?;
    let index = params.text("IndexName")?;
    constraints.name(index, "indexName");
    let limit = params.number("Limit")?;
    constraints.at_least(limit, "limit", 1);
    let select = params.text("Select")?;
    let words = ["SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"];
    constraints.word(select, "select", &words);
    if scan {
        let (segment, of) = (params.number("Segment")?, params.number("TotalSegments")?);
        constraints.at_least(segment, "segment", 0);
        constraints.at_most(segment, "segment", SEGMENTS_MAX - 1);
        constraints.at_least(of, "totalSegments", 1);
        constraints.at_most(of, "totalSegments", SEGMENTS_MAX);
    }
    constraints.word(params.text("ConditionalOperator")?, "conditionalOperator", &["OR", "AND"]);
    let told = Told::read(params, &mut constraints)?;
    constraints.check()?;
    Ok(Asked {
        table,
        arns: Arns::of(members),
        index: index.map(String::from),
        told,
        consistent: params.flag("ConsistentRead")?.unwrap_or(false),
        limit: limit.and_then(|n| usize::try_from(n).ok()),
        select: select.map(String::from),
    })
}

/// Whether whole items are wanted, and whether only how many; `projected` is the parameter that names attributes.
fn selected(asked: &Asked, projected: Option<&str>) -> Answered<(bool, bool)> {
    let bad = |text: String| Err(ApiError::validation(text));
    match asked.select.as_deref() {
        Some("ALL_PROJECTED_ATTRIBUTES") if asked.index.is_none() => bad(
            "One or more parameter values were invalid: ALL_PROJECTED_ATTRIBUTES can be used only when Querying using an \
             IndexName"
                .into(),
        ),
        Some("SPECIFIC_ATTRIBUTES") if projected.is_none() => bad(
            "One or more parameter values were invalid: Must specify the AttributesToGet or ProjectionExpression when \
             choosing to get SPECIFIC_ATTRIBUTES"
                .into(),
        ),
        select => match (select.filter(|select| *select != "SPECIFIC_ATTRIBUTES"), projected) {
            (Some(select), Some(named)) => {
                let what = if select == "COUNT" { "only the Count" } else { select };
                bad(format!(
                    "One or more parameter values were invalid: Cannot specify the {named} when choosing to get {what}"
                ))
            }
            _ => Ok((select == Some("ALL_ATTRIBUTES"), select == Some("COUNT"))),
        },
    }
}

/// The parameter that names attributes.
fn projected(members: &Members) -> Option<&'static str> {
    ["ProjectionExpression", "AttributesToGet"].into_iter().find(|name| Params(members).has(name))
}

fn start(members: &mut Members) -> Answered<Option<Item>> {
    take(members, "ExclusiveStartKey").map(Item::from_checked).transpose().map_err(of_item)
}

pub(crate) async fn query(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let asked = asked(&members, false)?;
    check_styles(
        &members,
        &["ProjectionExpression", "FilterExpression", "KeyConditionExpression"],
        &["AttributesToGet", "QueryFilter", "ConditionalOperator", "KeyConditions"],
    )?;
    let projected = projected(&members);
    let start = start(&mut members)?;
    let mut expressions = expressions(&mut members)?;
    let conditions = conditions(&mut members, &mut expressions)?;
    let filter = filter(&mut members, &mut expressions, legacy::Filter::Query)?;
    let projection = projection(&mut members, &mut expressions)?;
    expressions.finish().map_err(of_item)?;
    let (whole, count) = selected(&asked, projected)?;
    // What the request itself is wrong in comes before whether there is such a table.
    let keys = match conditions {
        Conditions::Expression(condition) => {
            condition.check_as_key().map_err(of_item)?;
            KeysAsked::Condition(condition)
        }
        // The older parameters are read by the keys' names.
        Conditions::Older(given) => {
            KeysAsked::Resolved(given.of(&schema(gateway, &asked).await?).map_err(of_item)?)
        }
    };
    let backward = Params(&members).flag("ScanIndexForward")? == Some(false);
    let page = Page {
        index: asked.index.clone(),
        filter,
        projection,
        whole,
        count,
        limit: asked.limit,
        start,
        backward,
        consistent: asked.consistent,
        ..Page::of(&asked.table, keys)
    };
    answer(gateway, &asked, page).await
}

/// What keys are asked for, in either form.
enum Conditions {
    Expression(Condition),
    Older(legacy::KeyConditions),
}

fn conditions(members: &mut Members, expressions: &mut Expressions) -> Answered<Conditions> {
    match (text(members, "KeyConditionExpression")?, take(members, "KeyConditions")) {
        (Some(text), _) => {
            expressions.condition(Use::KeyCondition, &text).map(Conditions::Expression).map_err(of_item)
        }
        (None, Some(given)) => legacy::KeyConditions::read(given).map(Conditions::Older).map_err(of_item),
        (None, None) => Err(ApiError::validation(
            "Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.",
        )),
    }
}

/// The keys of the table or the index that is asked.
async fn schema(gateway: &Gateway, asked: &Asked) -> Answered<KeySchema> {
    let described = crate::tables::there(gateway, &asked.table).await?;
    let Some(name) = &asked.index else { return Ok(described.schema) };
    let of = described.indexes.into_iter().find(|(index, _)| index == name);
    of.map(|(_, schema)| schema)
        .ok_or_else(|| ApiError::validation(format!("The table does not have the specified index: {name}")))
}

/// `FilterExpression`, or what was there before it.
fn filter(
    members: &mut Members,
    expressions: &mut Expressions,
    which: legacy::Filter,
) -> Answered<Option<Condition>> {
    let older = match which {
        legacy::Filter::Query => "QueryFilter",
        legacy::Filter::Scan => "ScanFilter",
    };
    let operator = text(members, "ConditionalOperator")?;
    match (text(members, "FilterExpression")?, take(members, older)) {
        (Some(text), _) => expressions.condition(Use::Filter, &text).map(Some).map_err(of_item),
        (None, Some(filter)) => legacy::filter(which, filter, operator.as_deref()).map(Some).map_err(of_item),
        (None, None) if operator.is_some() => Err(operator_alone()),
        (None, None) => Ok(None),
    }
}

pub(crate) async fn scan(gateway: &Gateway, mut members: Members) -> Answered<Vec<u8>> {
    let asked = asked(&members, true)?;
    check_styles(
        &members,
        &["ProjectionExpression", "FilterExpression"],
        &["AttributesToGet", "ScanFilter", "ConditionalOperator"],
    )?;
    let projected = projected(&members);
    let segment = segment(Params(&members))?;
    let start = start(&mut members)?;
    let mut expressions = expressions(&mut members)?;
    let filter = filter(&mut members, &mut expressions, legacy::Filter::Scan)?;
    let projection = projection(&mut members, &mut expressions)?;
    expressions.finish().map_err(of_item)?;
    let (whole, count) = selected(&asked, projected)?;
    let page = Page {
        index: asked.index.clone(),
        filter,
        projection,
        whole,
        count,
        limit: asked.limit,
        start,
        consistent: asked.consistent,
        ..Page::of(&asked.table, KeysAsked::All(segment))
    };
    answer(gateway, &asked, page).await
}

fn segment(params: Params<'_>) -> Answered<Option<(u32, u32)>> {
    let bad = |text: &str| Err(ApiError::validation(text));
    match (params.number("Segment")?, params.number("TotalSegments")?) {
        (None, None) => Ok(None),
        (Some(_), None) => bad(
            "The TotalSegments parameter is required but was not present in the request when Segment parameter is present",
        ),
        (None, Some(_)) => bad(
            "The Segment parameter is required but was not present in the request when parameter TotalSegments is present",
        ),
        (Some(segment), Some(of)) if segment >= of => bad(&format!(
            "The Segment parameter is zero-based and must be less than parameter TotalSegments: Segment: {segment} is not \
             less than TotalSegments: {of}"
        )),
        (Some(segment), Some(of)) => Ok(Some((segment as u32, of as u32))),
    }
}

async fn answer(gateway: &Gateway, asked: &Asked, page: Page) -> Answered<Vec<u8>> {
    let count = page.count;
    let paged = crate::route::page(gateway, page, asked.consistent).await?;
    let mut reply = Reply::new();
    if !count {
        reply.items("Items", &paged.items);
    }
    reply.value("Count", &json!(paged.count));
    reply.value("ScannedCount", &json!(paged.scanned));
    if let Some(last) = &paged.last {
        reply.item("LastEvaluatedKey", last);
    }
    if asked.told != Told::Nothing {
        let called = asked.arns.called(&asked.table);
        reply.value("ConsumedCapacity", &units(asked, &paged).told(called, asked.told, None));
    }
    Ok(reply.finish())
}

fn units(asked: &Asked, paged: &Paged) -> Units {
    let units = read_units(paged.bytes, asked.consistent);
    let mut units = match &asked.index {
        None => Units::of_table(units),
        Some(name) => Units::of_index(name, paged.local, units),
    };
    if paged.fetched > 0 {
        units.add(Units::of_table(read_units(paged.fetched, asked.consistent)));
    }
    units
}
