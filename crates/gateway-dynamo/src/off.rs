//! Operations of the service that are off here: each answers as the service does where nothing of the kind is there, with the
//! error that its clients know for it, so that tools which look for backups, exports or global tables find none.

use crate::body::Params;
use crate::failure::{Answered, ApiError, Kind};
use crate::limits::{Constraints, table_name};
use crate::{Gateway, tables, tags};
use serde_json::{Value, json};

/// Their names, in order.
pub(crate) const NAMES: [&str; 31] = [
    "CreateBackup",
    "CreateGlobalTable",
    "DeleteBackup",
    "DeleteResourcePolicy",
    "DescribeBackup",
    "DescribeContributorInsights",
    "DescribeExport",
    "DescribeGlobalTable",
    "DescribeGlobalTableSettings",
    "DescribeImport",
    "DescribeKinesisStreamingDestination",
    "DescribeTableReplicaAutoScaling",
    "DisableKinesisStreamingDestination",
    "EnableKinesisStreamingDestination",
    "ExportTableToPointInTime",
    "GetResourcePolicy",
    "ImportTable",
    "ListBackups",
    "ListContributorInsights",
    "ListExports",
    "ListGlobalTables",
    "ListImports",
    "PutResourcePolicy",
    "RestoreTableFromBackup",
    "RestoreTableToPointInTime",
    "UpdateContinuousBackups",
    "UpdateContributorInsights",
    "UpdateGlobalTable",
    "UpdateGlobalTableSettings",
    "UpdateKinesisStreamingDestination",
    "UpdateTableReplicaAutoScaling",
];

/// Says that it is off.
pub(crate) async fn answer(gateway: &Gateway, name: &str, params: Params<'_>) -> Answered<Value> {
    let backups_off = || {
        named(
            "ContinuousBackupsUnavailableException",
            "Backups are not available in this release of Quorate; `quorate space export` writes a table into files",
        )
    };
    let recovery_off = || {
        named(
            "PointInTimeRecoveryUnavailableException",
            "Point in time recovery is not available in this release of Quorate; `quorate space export` writes a table into \
             files",
        )
    };
    match name {
        "ListBackups" => {
            check_limit(params, "Limit", Some(100))?;
            Ok(json!({ "BackupSummaries": [] }))
        }
        "ListExports" => {
            check_limit(params, "MaxResults", Some(25))?;
            Ok(json!({ "ExportSummaries": [] }))
        }
        "ListImports" => {
            check_limit(params, "PageSize", Some(25))?;
            Ok(json!({ "ImportSummaryList": [] }))
        }
        "ListGlobalTables" => {
            check_limit(params, "Limit", None)?;
            Ok(json!({ "GlobalTables": [] }))
        }
        "ListContributorInsights" => Ok(json!({ "ContributorInsightsSummaries": [] })),
        "DescribeBackup" | "DeleteBackup" | "RestoreTableFromBackup" => {
            Err(no_arn("BackupNotFoundException", "Backup", params, "BackupArn"))
        }
        "DescribeExport" => Err(no_arn("ExportNotFoundException", "Export", params, "ExportArn")),
        "DescribeImport" => Err(no_arn("ImportNotFoundException", "Import", params, "ImportArn")),
        "GetResourcePolicy" => {
            let arn = tags::there(gateway, params, name).await?;
            let text = format!("Resource-based policy not found for the provided ResourceArn: {arn}");
            Err(named("PolicyNotFoundException", text))
        }
        "DeleteResourcePolicy" => tags::there(gateway, params, name).await.map(|_| json!({})),
        "DescribeGlobalTable"
        | "DescribeGlobalTableSettings"
        | "UpdateGlobalTable"
        | "UpdateGlobalTableSettings" => {
            Err(absent("GlobalTableNotFoundException", "Global table", params, "GlobalTableName"))
        }
        "CreateBackup" => {
            let mut constraints = Constraints::default();
            constraints.table(params)?;
            let name = params.text("BackupName")?;
            if name.is_none() {
                constraints.missing("backupName");
            }
            constraints.length(name, "backupName", 3, 255);
            constraints.check()?;
            known(gateway, params).await?;
            Err(backups_off())
        }
        "UpdateContinuousBackups" => {
            let mut constraints = Constraints::default();
            let asked = params.object("PointInTimeRecoverySpecification")?;
            let on = asked.map_or(Ok(None), |asked| asked.flag("PointInTimeRecoveryEnabled"))?;
            if asked.is_none() {
                constraints.missing("pointInTimeRecoverySpecification");
            } else if on.is_none() {
                constraints.missing("pointInTimeRecoverySpecification.pointInTimeRecoveryEnabled");
            }
            constraints.check()?;
            if on == Some(true) {
                known(gateway, params).await?;
                return Err(backups_off());
            }
            describe_backups(gateway, params).await
        }
        "ExportTableToPointInTime" => {
            let mut constraints = Constraints::default();
            for (member, path) in [("TableArn", "tableArn"), ("S3Bucket", "s3Bucket")] {
                if params.text(member)?.is_none() {
                    constraints.missing(path);
                }
            }
            constraints.check()?;
            Err(recovery_off())
        }
        "RestoreTableToPointInTime" => {
            if let Some(source) = params.text("SourceTableName")? {
                known_as(gateway, source).await?;
            }
            Err(recovery_off())
        }
        "CreateGlobalTable" => {
            let mut constraints = Constraints::default();
            let table = params.text("GlobalTableName")?;
            constraints.name_of_table(table, "globalTableName");
            if table.is_none() {
                constraints.missing("globalTableName");
            }
            constraints.check()?;
            known_as(gateway, table.unwrap_or_default()).await?;
            Err(not_here(name))
        }
        "UpdateContributorInsights" => {
            let mut constraints = Constraints::default();
            constraints.table(params)?;
            let action = params.text("ContributorInsightsAction")?;
            if action.is_none() {
                constraints.missing("contributorInsightsAction");
            }
            constraints.word(action, "contributorInsightsAction", &["ENABLE", "DISABLE"]);
            constraints.check()?;
            there(gateway, params).await?;
            Err(not_here(name))
        }
        "EnableKinesisStreamingDestination"
        | "DisableKinesisStreamingDestination"
        | "UpdateKinesisStreamingDestination"
        | "DescribeTableReplicaAutoScaling"
        | "UpdateTableReplicaAutoScaling" => {
            there(gateway, params).await?;
            Err(not_here(name))
        }
        "DescribeContributorInsights" => {
            let table = there(gateway, params).await?;
            Ok(json!({ "TableName": table, "ContributorInsightsStatus": "DISABLED" }))
        }
        "DescribeKinesisStreamingDestination" => {
            let table = there(gateway, params).await?;
            Ok(json!({ "TableName": table, "KinesisDataStreamDestinations": [] }))
        }
        other => Err(not_here(other)),
    }
}

/// `DescribeContinuousBackups`. The service says of every table that these are enabled: what can be on or off is recovery.
pub(crate) async fn describe_backups(gateway: &Gateway, params: Params<'_>) -> Answered<Value> {
    known(gateway, params).await?;
    Ok(json!({ "ContinuousBackupsDescription": {
        "ContinuousBackupsStatus": "ENABLED",
        "PointInTimeRecoveryDescription": { "PointInTimeRecoveryStatus": "DISABLED" },
    } }))
}

fn not_here(name: &str) -> ApiError {
    ApiError::validation(format!("{name} is not available in this release of Quorate"))
}

/// How many of a list that is empty are asked for: at least one.
fn check_limit(params: Params<'_>, member: &str, most: Option<i64>) -> Answered<()> {
    let (limit, path) = (params.number(member)?, in_path(member));
    let mut constraints = Constraints::default();
    constraints.at_least(limit, &path, 1);
    if let Some(most) = most {
        constraints.at_most(limit, &path, most);
    }
    constraints.check()
}

/// How the service calls a member where it tells what is wrong with it.
fn in_path(member: &str) -> String {
    let (first, rest) = member.split_at(1);
    first.to_ascii_lowercase() + rest
}

/// The table that is asked about, if it is there.
async fn there(gateway: &Gateway, params: Params<'_>) -> Answered<String> {
    let table = table_name(params)?;
    tables::definition(gateway, &table).await.map(|_| table)
}

/// The same, in the words of operations on backups.
async fn known(gateway: &Gateway, params: Params<'_>) -> Answered<String> {
    let table = table_name(params)?;
    known_as(gateway, &table).await.map(|()| table)
}

async fn known_as(gateway: &Gateway, table: &str) -> Answered<()> {
    tables::definition(gateway, table).await.map(|_| ()).map_err(|error| match error.kind {
        Kind::NotFound => {
            ApiError { kind: Kind::TableNotFound, message: format!("Table not found: {table}"), ..error }
        }
        _ => error,
    })
}

fn named(kind: &'static str, text: impl Into<String>) -> ApiError {
    ApiError::new(Kind::Named(kind), text)
}

/// The same of what has an ARN, which is at least 37 characters long.
fn no_arn(kind: &'static str, what: &str, params: Params<'_>, member: &str) -> ApiError {
    let (arn, path) = (params.text(member).ok().flatten(), in_path(member));
    let mut constraints = Constraints::default();
    if arn.is_none() {
        constraints.missing(&path);
    }
    constraints.length(arn, &path, 37, 1024);
    constraints.check().err().unwrap_or_else(|| absent(kind, what, params, member))
}

fn absent(kind: &'static str, what: &str, params: Params<'_>, member: &str) -> ApiError {
    let name = params.text(member).ok().flatten().unwrap_or_default();
    named(kind, format!("{what} not found: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{alone, ask, with_table};

    #[tokio::test]
    async fn what_is_off_says_so_by_the_service_s_names() {
        let (gateway, _) = alone();
        with_table(&gateway).await;
        let table = json!({ "TableName": "items", "BackupName": "bac" });
        let arn = crate::describe::arn("a-table-with-a-long-name");
        for (name, body, kind) in [
            ("CreateBackup", table.clone(), "ContinuousBackupsUnavailableException"),
            ("DescribeBackup", json!({ "BackupArn": arn }), "BackupNotFoundException"),
            (
                "ExportTableToPointInTime",
                json!({ "TableArn": arn, "S3Bucket": "b" }),
                "PointInTimeRecoveryUnavailableException",
            ),
            (
                "RestoreTableToPointInTime",
                json!({ "SourceTableName": "items" }),
                "PointInTimeRecoveryUnavailableException",
            ),
            ("DescribeExport", json!({ "ExportArn": arn }), "ExportNotFoundException"),
            ("DescribeImport", json!({ "ImportArn": arn }), "ImportNotFoundException"),
            ("DescribeGlobalTable", json!({ "GlobalTableName": "g" }), "GlobalTableNotFoundException"),
            (
                "GetResourcePolicy",
                json!({ "ResourceArn": crate::describe::arn("items") }),
                "PolicyNotFoundException",
            ),
        ] {
            assert_eq!(ask(&gateway, name, body).await.unwrap_err().0, Kind::Named(kind), "{name}");
        }
        let none = json!({ "TableName": "none", "BackupName": "bac", "ResourceArn": crate::describe::arn("none"),
                "ContributorInsightsAction": "ENABLE", "SourceTableName": "none", "GlobalTableName": "none" });
        for (name, kind) in [
            ("CreateBackup", Kind::TableNotFound),
            ("RestoreTableToPointInTime", Kind::TableNotFound),
            ("CreateGlobalTable", Kind::TableNotFound),
            ("UpdateContributorInsights", Kind::NotFound),
            ("EnableKinesisStreamingDestination", Kind::NotFound),
            ("DisableKinesisStreamingDestination", Kind::NotFound),
            ("DescribeTableReplicaAutoScaling", Kind::NotFound),
            ("DescribeContributorInsights", Kind::NotFound),
            ("DescribeKinesisStreamingDestination", Kind::NotFound),
            ("GetResourcePolicy", Kind::NotFound),
            ("DeleteResourcePolicy", Kind::NotFound),
        ] {
            assert_eq!(ask(&gateway, name, none.clone()).await.unwrap_err().0, kind, "{name}");
        }
        for (name, body, words) in [
            ("CreateBackup", json!({ "TableName": "items", "BackupName": "a" }), "'backupName'"),
            ("DescribeBackup", json!({ "BackupArn": "x" }), "'backupArn'"),
            ("DescribeExport", json!({ "ExportArn": "x" }), "'exportArn'"),
            ("DescribeImport", json!({}), "'importArn'"),
            ("ExportTableToPointInTime", json!({}), "'tableArn'"),
            ("ListExports", json!({ "MaxResults": 0 }), "'maxResults'"),
            ("ListImports", json!({ "PageSize": 0 }), "'pageSize'"),
            (
                "UpdateContributorInsights",
                json!({ "TableName": "none", "ContributorInsightsAction": "X" }),
                "'contributorInsightsAction'",
            ),
        ] {
            let (kind, text) = ask(&gateway, name, body).await.unwrap_err();
            assert!(kind == Kind::Validation && text.contains(words), "{name}: {text}");
        }
        let backups = ask(&gateway, "ListBackups", json!({})).await.unwrap();
        assert_eq!(backups, json!({ "BackupSummaries": [] }));
        let off = json!({
            "TableName": "items", "PointInTimeRecoverySpecification": { "PointInTimeRecoveryEnabled": false },
        });
        assert!(ask(&gateway, "UpdateContinuousBackups", off).await.is_ok());
        for name in NAMES {
            let body = json!({ "TableName": "items" });
            if let Err((kind, text)) = ask(&gateway, name, body).await {
                assert!(
                    matches!(kind, Kind::Named(_) | Kind::Validation) && !text.is_empty(),
                    "{name}: {kind:?}"
                );
            }
        }
    }
}
