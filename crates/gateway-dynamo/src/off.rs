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
            check_limit(params, Some(100))?;
            Ok(json!({ "BackupSummaries": [] }))
        }
        "ListExports" => Ok(json!({ "ExportSummaries": [] })),
        "ListImports" => Ok(json!({ "ImportSummaryList": [] })),
        "ListGlobalTables" => {
            check_limit(params, None)?;
            Ok(json!({ "GlobalTables": [] }))
        }
        "ListContributorInsights" => Ok(json!({ "ContributorInsightsSummaries": [] })),
        "DescribeBackup" | "DeleteBackup" | "RestoreTableFromBackup" => {
            Err(absent("BackupNotFoundException", "Backup", params, "BackupArn"))
        }
        "DescribeExport" => Err(absent("ExportNotFoundException", "Export", params, "ExportArn")),
        "DescribeImport" => Err(absent("ImportNotFoundException", "Import", params, "ImportArn")),
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
        "ExportTableToPointInTime" | "RestoreTableToPointInTime" => Err(recovery_off()),
        "DescribeContributorInsights" => {
            let table = there(gateway, params).await?;
            Ok(json!({ "TableName": table, "ContributorInsightsStatus": "DISABLED" }))
        }
        "DescribeKinesisStreamingDestination" => {
            let table = there(gateway, params).await?;
            Ok(json!({ "TableName": table, "KinesisDataStreamDestinations": [] }))
        }
        other => Err(ApiError::validation(format!("{other} is not available in this release of Quorate"))),
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

/// How many of a list that is empty are asked for: at least one.
fn check_limit(params: Params<'_>, most: Option<i64>) -> Answered<()> {
    let limit = params.number("Limit")?;
    let mut constraints = Constraints::default();
    constraints.at_least(limit, "limit", 1);
    if let Some(most) = most {
        constraints.at_most(limit, "limit", most);
    }
    constraints.check()
}

/// The table that is asked about, if it is there.
async fn there(gateway: &Gateway, params: Params<'_>) -> Answered<String> {
    let table = table_name(params)?;
    tables::definition(gateway, &table).await.map(|_| table)
}

/// The same, in the words of operations on backups.
async fn known(gateway: &Gateway, params: Params<'_>) -> Answered<String> {
    let table = table_name(params)?;
    there(gateway, params).await.map_err(|error| match error.kind {
        Kind::NotFound => {
            ApiError { kind: Kind::TableNotFound, message: format!("Table not found: {table}"), ..error }
        }
        _ => error,
    })
}

fn named(kind: &'static str, text: impl Into<String>) -> ApiError {
    ApiError::new(Kind::Named(kind), text)
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
        let table = json!({ "TableName": "items", "BackupName": "b" });
        for (name, body, kind) in [
            ("CreateBackup", table.clone(), "ContinuousBackupsUnavailableException"),
            ("DescribeBackup", json!({ "BackupArn": "arn:b" }), "BackupNotFoundException"),
            ("ExportTableToPointInTime", json!({}), "PointInTimeRecoveryUnavailableException"),
            ("DescribeExport", json!({ "ExportArn": "arn:e" }), "ExportNotFoundException"),
            ("DescribeImport", json!({ "ImportArn": "arn:i" }), "ImportNotFoundException"),
            ("DescribeGlobalTable", json!({ "GlobalTableName": "g" }), "GlobalTableNotFoundException"),
            (
                "GetResourcePolicy",
                json!({ "ResourceArn": crate::describe::arn("items") }),
                "PolicyNotFoundException",
            ),
        ] {
            assert_eq!(ask(&gateway, name, body).await.unwrap_err().0, Kind::Named(kind), "{name}");
        }
        let none =
            json!({ "TableName": "none", "BackupName": "b", "ResourceArn": crate::describe::arn("none") });
        for (name, kind) in [
            ("CreateBackup", Kind::TableNotFound),
            ("DescribeContributorInsights", Kind::NotFound),
            ("DescribeKinesisStreamingDestination", Kind::NotFound),
            ("GetResourcePolicy", Kind::NotFound),
            ("DeleteResourcePolicy", Kind::NotFound),
        ] {
            assert_eq!(ask(&gateway, name, none.clone()).await.unwrap_err().0, kind, "{name}");
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
