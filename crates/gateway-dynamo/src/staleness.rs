//! How old the answer of one operation may be: its header `quorate-staleness`, a time with its unit (`1500ms`, `2s`).
//!
//! It counts for reads that are not `ConsistentRead`, of tables whose tag `quorate:staleness` allows answers of that age, and asks for
//! less than the tag does; the node refuses more. Without the header the tag's bound counts, without the tag there is none.

use crate::failure::{Answered, ApiError};
use hyper::header::HeaderMap;
use quorate_base::time::Duration;
use quorate_policy::ask::time;
use std::future::Future;

/// The header.
const HEADER: &str = "quorate-staleness";

tokio::task_local! {
    /// The bound of the operation that is being carried out.
    static WITHIN: Option<Duration>;
}

/// The bound that these headers ask for.
pub(crate) fn asked(headers: &HeaderMap) -> Answered<Option<Duration>> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let bad = |allowed: String| {
        ApiError::validation(format!("The header {HEADER} cannot be {text:?}: write {allowed}"))
    };
    time(&text).map(Some).map_err(|error| bad(error.allowed))
}

/// Carries an operation out within a bound, if there is one.
pub(crate) fn within<F: Future>(bound: Option<Duration>, carry_out: F) -> impl Future<Output = F::Output> {
    WITHIN.scope(bound, carry_out)
}

/// The bound of the operation that is being carried out.
pub(crate) fn bound() -> Option<Duration> {
    WITHIN.try_with(|bound| *bound).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    /// Claim: the header is a time with its unit, and what is none is refused with what to write.
    #[test]
    fn the_header_is_a_time() {
        let asked = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_static(value));
            asked(&headers)
        };
        assert_eq!(super::asked(&HeaderMap::new()), Ok(None));
        assert_eq!(asked("1500ms"), Ok(Some(Duration::from_millis(1500))));
        for bad in ["", "5", "soon", "-1s", "25h"] {
            let error = asked(bad).unwrap_err();
            assert!(error.message.contains("a time of at most a day with its unit"), "{}", error.message);
        }
    }
}
