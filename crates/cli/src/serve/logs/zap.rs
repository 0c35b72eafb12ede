//! The log as etcd writes it, one object of JSON a line: what collects etcd's logs, and what waits for a line in them, goes on as it was.
//!
//! ```text
//! {"level":"info","ts":"2026-11-29T12:41:09.392642Z","caller":"quorate_server/run.rs:88","msg":"serving","node":1}
//! ```

use std::fmt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The form of `--logger=zap --log-format=json`, etcd's default.
pub(super) struct Zap;

impl<S, N> FormatEvent<S, N> for Zap
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let meta = event.metadata();
        let level = match *meta.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        write!(out, r#"{{"level":"{level}","ts":""#)?;
        SystemTime.format_time(&mut out)?;
        write!(out, r#"","caller":{},"msg":"#, quoted(&caller(meta.file(), meta.line())))?;
        let mut said = Said::default();
        event.record(&mut said);
        writeln!(out, "{}{}}}", quoted(&said.message), said.fields)
    }
}

/// `crate/file.rs:LINE`; where the compiler has put it does not matter.
fn caller(file: Option<&str>, line: Option<u32>) -> String {
    let file = file.unwrap_or("?").replace("/src/", "/");
    let from = file.rmatch_indices('/').nth(1).map_or(0, |(at, _)| at + 1);
    format!("{}:{}", &file[from..], line.unwrap_or(0))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    /// Each with the comma before it.
    fields: String,
}

impl Said {
    fn field(&mut self, field: &Field, value: &str) {
        self.fields.extend([",", &quoted(field.name()), ":", value]);
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.field(field, &quoted(&format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, &quoted(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, &value.to_string());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, if value { "true" } else { "false" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Claim: a line is JSON with etcd's keys, whatever is in the texts; numbers are numbers.
    #[test]
    fn a_line_is_json_with_the_keys_of_etcd() {
        let kept = Kept::default();
        let writer = kept.clone();
        let lines = tracing_subscriber::fmt::layer().event_format(Zap).with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::warn!(node = 3, path = %"a\"b\n", well = true, why = ?"x", "it is {}", "\"late\"");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["msg"]), (&"warn".into(), &"it is \"late\"".into()));
        assert_eq!((&line["node"], &line["well"]), (&3.into(), &true.into()));
        assert_eq!((&line["path"], &line["why"]), (&"a\"b\n".into(), &"\"x\"".into()));
        assert!(line["caller"].as_str().unwrap().starts_with("logs/zap.rs:"), "{line}");
        assert!(line["ts"].as_str().unwrap().ends_with('Z'));
    }
}
