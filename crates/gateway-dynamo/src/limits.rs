//! Constraints that every request is held to before it is looked at more closely, and the service's words for them. All
//! that are broken are told at once.

use crate::body::Params;
use crate::failure::{Answered, ApiError};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Broken constraints, as they gather.
#[derive(Debug, Default)]
pub(crate) struct Constraints(Vec<String>);

impl Constraints {
    /// `value` at `path` breaks `what`.
    pub(crate) fn broken(&mut self, value: &str, path: &str, what: &str) {
        self.0.push(format!("Value '{value}' at '{path}' failed to satisfy constraint: {what}"));
    }

    /// A member that must be there is not.
    pub(crate) fn missing(&mut self, path: &str) {
        self.0.push(format!("Value null at '{path}' failed to satisfy constraint: Member must not be null"));
    }

    /// One of these words, if it is there.
    pub(crate) fn word(&mut self, value: Option<&str>, path: &str, allowed: &[&str]) {
        if let Some(value) = value.filter(|value| !allowed.contains(value)) {
            let allowed = allowed.join(", ");
            self.broken(value, path, &format!("Member must satisfy enum value set: [{allowed}]"));
        }
    }

    /// At least `least`, if it is there.
    pub(crate) fn at_least(&mut self, value: Option<i64>, path: &str, least: i64) {
        if let Some(value) = value.filter(|value| *value < least) {
            let what = format!("Member must have value greater than or equal to {least}");
            self.broken(&value.to_string(), path, &what);
        }
    }

    /// At most `most`, if it is there.
    pub(crate) fn at_most(&mut self, value: Option<i64>, path: &str, most: i64) {
        if let Some(value) = value.filter(|value| *value > most) {
            let what = format!("Member must have value less than or equal to {most}");
            self.broken(&value.to_string(), path, &what);
        }
    }

    /// From `least` to `most` bytes, if it is there.
    pub(crate) fn length(&mut self, value: Option<&str>, path: &str, least: usize, most: usize) {
        let Some(value) = value else { return };
        if value.len() < least {
            self.broken(value, path, &format!("Member must have length greater than or equal to {least}"));
        }
        if value.len() > most {
            self.broken(value, path, &format!("Member must have length less than or equal to {most}"));
        }
    }

    /// The name of the table that a request must name; empty if it does not.
    pub(crate) fn table(&mut self, params: Params<'_>) -> Answered<String> {
        let name = params.text("TableName")?.map(bare);
        if name.is_none() {
            self.missing("tableName");
        }
        self.name_of_table(name, "tableName");
        Ok(name.unwrap_or_default().to_string())
    }

    /// The same of operations on tables themselves, which say that it is not there before all else, and in other words.
    pub(crate) fn table_itself(&mut self, params: Params<'_>) -> Answered<String> {
        if !params.has("TableName") {
            return Err(ApiError::validation(
                "The parameter 'TableName' is required but was not present in the request",
            ));
        }
        self.table(params)
    }

    /// A name of a table where its ARN may stand, too: an empty one is too short for either.
    pub(crate) fn name_of_table(&mut self, value: Option<&str>, path: &str) {
        if value == Some("") {
            self.broken("", path, "Member must have length greater than or equal to 1");
        } else {
            self.name(value, path);
        }
    }

    /// A name of a table or an index.
    pub(crate) fn name(&mut self, value: Option<&str>, path: &str) {
        let Some(value) = value else { return };
        if value.is_empty() || !value.bytes().all(is_name_byte) {
            let what = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
            self.broken(value, path, what);
        }
        if value.len() < 3 {
            self.broken(value, path, "Member must have length greater than or equal to 3");
        }
        if value.len() > 255 {
            self.broken(value, path, "Member must have length less than or equal to 255");
        }
    }

    /// The name of an attribute of a key or of one that an index names: shorter than others.
    pub(crate) fn key_name(&mut self, value: Option<&str>, path: &str) {
        self.length(value, path, 1, 255);
    }

    /// Nothing is broken.
    pub(crate) fn check(self) -> Answered<()> {
        let Self(broken) = self;
        if broken.is_empty() {
            return Ok(());
        }
        let plural = if broken.len() == 1 { "" } else { "s" };
        Err(ApiError::validation(format!(
            "{} validation error{plural} detected: {}",
            broken.len(),
            broken.join("; ")
        )))
    }
}

/// Whether a table may be called so: [`Constraints::name`] has nothing to say against it.
pub(crate) fn is_table_name(name: &str) -> bool {
    (3..=255).contains(&name.len()) && name.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

/// The table that an operation on tables names, which may be an ARN.
pub(crate) fn table_name(params: Params<'_>) -> Answered<String> {
    let mut constraints = Constraints::default();
    let name = constraints.table_itself(params)?;
    constraints.check()?;
    Ok(name)
}

/// The name in the ARN of a table, or the name itself. There is one region and one account, so what the ARN calls them is not looked
/// at; an ARN of anything else is no name of a table.
pub(crate) fn bare(name: &str) -> &str {
    let parts: Vec<&str> = name.splitn(6, ':').collect();
    let &["arn", partition, "dynamodb", region, account, table] = &parts[..] else { return name };
    let whose = partition.starts_with("aws")
        && !region.is_empty()
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit());
    table.strip_prefix("table/").filter(|table| whose && !table.contains('/')).unwrap_or(name)
}

/// The ARNs by which a request calls tables, by the tables' names: whoever names one by its ARN is told of it by that.
#[derive(Debug, Default)]
pub(crate) struct Arns(BTreeMap<String, String>);

impl Arns {
    /// Of what a request names as its table, of a batch, or of a transaction.
    pub(crate) fn of(members: &Map<String, Value>) -> Self {
        let mut arns = Self::default();
        arns.note(members.get("TableName"));
        if let Some(Value::Object(tables)) = members.get("RequestItems") {
            tables.keys().for_each(|name| arns.note_text(name));
        }
        if let Some(Value::Array(operations)) = members.get("TransactItems") {
            let operations = operations.iter().filter_map(Value::as_object).flat_map(Map::values);
            operations.for_each(|operation| arns.note(operation.get("TableName")));
        }
        arns
    }

    fn note(&mut self, name: Option<&Value>) {
        if let Some(name) = name.and_then(Value::as_str) {
            self.note_text(name);
        }
    }

    fn note_text(&mut self, name: &str) {
        let table = bare(name);
        if table.len() < name.len() {
            self.0.insert(table.into(), name.into());
        }
    }

    /// What a table is called in the answer.
    pub(crate) fn called<'n>(&'n self, table: &'n str) -> &'n str {
        self.0.get(table).map_or(table, |arn| arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn broken_constraints_are_told_together() {
        let mut constraints = Constraints::default();
        constraints.name(Some(""), "tableName");
        assert_eq!(
            constraints.check().unwrap_err().message,
            "2 validation errors detected: Value '' at 'tableName' failed to satisfy constraint: Member must satisfy regular \
             expression pattern: [a-zA-Z0-9_.-]+; Value '' at 'tableName' failed to satisfy constraint: Member must have \
             length greater than or equal to 3"
        );
        let mut constraints = Constraints::default();
        constraints.name(Some("a;"), "tableName");
        constraints.word(Some("x"), "returnValues", &["NONE", "ALL_OLD"]);
        assert_eq!(
            constraints.check().unwrap_err().message,
            "3 validation errors detected: Value 'a;' at 'tableName' failed to satisfy constraint: Member must satisfy \
             regular expression pattern: [a-zA-Z0-9_.-]+; Value 'a;' at 'tableName' failed to satisfy constraint: Member \
             must have length greater than or equal to 3; Value 'x' at 'returnValues' failed to satisfy constraint: \
             Member must satisfy enum value set: [NONE, ALL_OLD]"
        );
        assert_eq!(bare("arn:aws:dynamodb:local:000000000000:table/orders"), "orders");
        assert_eq!(bare("arn:aws:dynamodb:us-east-1:123456789012:table/orders"), "orders");
        for other in [
            "arn:aws:dynamodb:local:000000000000:table/orders/index/x",
            "arn:aws:dynamodb:local:000000000000:table/orders/stream/x",
            "arn:aws:sqs:local:000000000000:table/orders",
            "arn:aws:dynamodb:local:1:table/orders",
            "arn:aws:dynamodb::000000000000:table/orders",
            "arn:elsewhere:dynamodb:local:000000000000:table/orders",
            "arn:aws:dynamodb:local:000000000000:orders",
        ] {
            assert_eq!(bare(other), other);
        }
        assert_eq!(bare("orders"), "orders");
        let arn = |name| format!("arn:aws:dynamodb:local:000000000000:table/{name}");
        let put = json!({ "Put": { "TableName": arn("c") } });
        let asked =
            json!({ "TableName": arn("a"), "RequestItems": { arn("b"): {} }, "TransactItems": [put, 1] });
        let arns = Arns::of(asked.as_object().unwrap());
        for table in ["a", "b", "c"] {
            assert_eq!(arns.called(table), arn(table));
        }
        assert_eq!(arns.called("d"), "d");
        let long = "n".repeat(256);
        for name in ["", "ab", "abc", "a-b_c.D9", "a;bc", "ü12", &long[1..], &long] {
            let mut constraints = Constraints::default();
            constraints.name(Some(name), "tableName");
            assert_eq!(constraints.check().is_ok(), is_table_name(name), "{name}");
        }
    }
}
