//! A file of settings that is written in JSON, as whatever makes such files by program writes them: one object, whose values are texts,
//! numbers, switches, lists of them, or the object of a section.

use super::Setting;
use serde_json::{Map, Value};

/// What the object sets, by the names of its keys; or the line that is not understood, and why.
pub(super) fn parse(text: &str) -> Result<Vec<Setting>, (usize, String)> {
    let object: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| (error.line(), error.to_string()))?;
    let mut settings = Vec::new();
    for (key, value) in &object {
        let line = line_of(text, key);
        match value {
            Value::Object(section) => {
                settings.push(Setting { key: key.clone(), value: String::new(), line });
                for (inner, value) in section {
                    let line = line_of(text, inner);
                    let value = plain(value).ok_or((line, nested(inner)))?;
                    settings.push(Setting { key: format!("{key}.{inner}"), value, line });
                }
            }
            value => {
                let value = plain(value).ok_or((line, nested(key)))?;
                settings.push(Setting { key: key.clone(), value, line });
            }
        }
    }
    Ok(settings)
}

/// A value as on the command line; nothing where it has parts of its own.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(on) => Some(on.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let scalar = |item: &Value| !matches!(item, Value::Array(_) | Value::Object(_));
            let items: Option<Vec<String>> =
                items.iter().map(|item| plain(item).filter(|_| scalar(item))).collect();
            Some(items?.join(","))
        }
        Value::Object(_) => None,
    }
}

fn nested(key: &str) -> String {
    format!("{key} has a value within a value, which is not read here")
}

/// The line in which a key stands first, from 1.
fn line_of(text: &str, key: &str) -> usize {
    let quoted = Value::from(key).to_string();
    let mut places = text.match_indices(&quoted);
    let at = places.find(|(at, _)| text[at + quoted.len()..].trim_start().starts_with(':'));
    at.map_or(1, |(at, _)| text[..at].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Claim: an object sets what the same keys set in YAML, and what is wrong is named with its line.
    #[test]
    fn an_object_sets_what_lines_set() {
        let text = "{\"name\": \"a\",\n \"heartbeat-interval\": 50, \"force-new-cluster\": false,\n \"wal-dir\": null,\n\
            \"log-outputs\": [\"stderr\", \"x\"],\n \"client-transport-security\": {\n \"cert-file\": \"/c\"}, \"x\": {}}";
        let read: Vec<_> = parse(text).unwrap().into_iter().map(|s| (s.key, s.value, s.line)).collect();
        for (key, value, line) in [
            ("name", "a", 1),
            ("heartbeat-interval", "50", 2),
            ("force-new-cluster", "false", 2),
            ("wal-dir", "", 3),
            ("log-outputs", "stderr,x", 4),
            ("client-transport-security", "", 5),
            ("client-transport-security.cert-file", "/c", 6),
            ("x", "", 6),
        ] {
            assert!(read.contains(&(key.into(), value.into(), line)), "{key}: {read:?}");
        }
        for (text, line, says) in [
            ("{\"a\": 1,\n}", 2, "trailing comma"),
            ("{\"a\":\n [[1]]}", 1, "within a value"),
            ("{\"a\": {\n\"b\": {}}}", 2, "within a value"),
            ("{\"a\": 1} {}", 1, "trailing"),
        ] {
            let (at, why) = parse(text).unwrap_err();
            assert!(at == line && why.contains(says), "{text:?}: line {at}: {why}");
        }
    }
}
