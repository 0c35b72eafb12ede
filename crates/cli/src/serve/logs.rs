//! The log of a node: what is told, and how a line of it looks.

mod zap;

use crate::report::{Exit, Problem, colours};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use zap::Zap;

/// What is logged. The library takes a word that is no level for the name of a part of the program, all of which is then logged:
/// whoever mistypes a level would hear nothing.
pub(super) fn log_filter(filter: &str) -> Result<Targets, Problem> {
    let bad = |why: String| {
        Problem::new(
            Exit::Usage,
            format!("the log filter {filter:?} makes no sense: {why}"),
            "use error, warn, info, debug or trace, or a list as in warn,quorate_server=debug",
        )
    };
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    for part in filter.split(',').map(str::trim).filter(|part| !part.contains('=')) {
        if !levels.iter().any(|level| part.eq_ignore_ascii_case(level)) {
            return Err(bad(format!("{part:?} is no level")));
        }
    }
    filter.parse().map_err(|e: tracing_subscriber::filter::ParseError| bad(e.to_string()))
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// For people.
    Own,
    /// As etcd's.
    Zap,
}

/// The first call counts.
pub(crate) fn start_logging(filter: &str, lines: Lines) -> Result<(), Problem> {
    let filter = log_filter(filter)?;
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry();
    let _ = match lines {
        Lines::Own => registry.with(layer.with_ansi(colours(&std::io::stderr()))).with(filter).try_init(),
        Lines::Zap => registry.with(layer.event_format(Zap)).with(filter).try_init(),
    };
    Ok(())
}
